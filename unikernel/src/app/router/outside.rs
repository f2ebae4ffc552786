//! Whom the machine itself talks to by `admin`: a collector of what it says, and a server that
//! knows the time.

use alloc::string::{String, ToString};
use core::fmt::Write;
use core::net::SocketAddrV4;

use log::{info, warn};
use paravane_appliance::random::Random;
use paravane_hal::time::Instant;
use serde::Serialize;

use super::config::Config;
use super::metrics::family;
use crate::app::server::{Datagrams, Line};
use crate::app::sntp::{Client, Trouble};
use crate::app::syslog::calendar::Utc;
use crate::app::syslog::kept::{Said, TEXT_BYTES};
use crate::app::syslog::message::{MAX_BYTES, Message, Severity};
use crate::{build, console};

/// Who writes captures, for who reads them.
pub(super) const MADE_BY: &str =
    concat!("Paravane ", env!("CARGO_PKG_VERSION"), " ", env!("PARAVANE_COMMIT"));

/// Messages sent in a turn; then packets have theirs.
const MESSAGES: usize = 4;
/// Where messages come from; where from is nothing to their collector.
const LOG_PORT: u16 = 514;
/// Where questions for the time come from: another one each time.
///
/// Spec: RFC 6335, 6 "Port Number Ranges", dynamic ports.
const TIME_PORTS: core::ops::RangeInclusive<u16> = 49_152..=65_535;

/// Both of them.
#[derive(Debug, Default)]
pub(super) struct Outside {
    syslog: Option<Syslog>,
    time: Option<Time>,
}

#[derive(Debug)]
struct Syslog {
    to: SocketAddrV4,
    name: Option<String>,
    sent: u64,
    /// The first message tells which build it is.
    has_begun: bool,
}

#[derive(Debug)]
struct Time {
    server: SocketAddrV4,
    client: Client,
    random: Random,
    /// What was said of it last.
    said: Option<Trouble>,
}

/// What is known of the time.
#[derive(Debug, Serialize)]
pub(super) struct TimeStatus {
    server: String,
    /// The time, where it is known.
    utc: Option<String>,
    /// Good answers so far.
    answers: u64,
    /// What was wrong with the last one.
    trouble: Option<String>,
}

/// What became of messages.
#[derive(Debug, Serialize)]
pub(super) struct SyslogStatus {
    to: String,
    sent: u64,
}

impl Outside {
    /// As it was said; without random numbers, nobody is asked for the time.
    pub(super) fn new(config: &Config, random: Option<&mut Random>, now: Instant) -> Self {
        let syslog = config.syslog.to.value.map(|to| {
            let name = config.syslog.name.value.clone();
            Syslog { to, name, sent: 0, has_begun: false }
        });
        if syslog.is_none() {
            console::stop_keeping();
        }
        let time = config.time_server.value.and_then(|server| {
            let Some(random) = random else {
                warn!("time: {server} is not asked: there are no random numbers to tell its answers by");
                return None;
            };
            Some(Time { server, client: Client::new(now), random: random.fork(), said: None })
        });
        Self { syslog, time }
    }

    /// What has to be added to the uptime to have microseconds since 1970, where that is known.
    pub(super) fn offset_us(&self) -> Option<u64> {
        self.time.as_ref()?.client.offset_us()
    }

    /// Whether there is something to say at once.
    pub(super) fn wants_to_speak(&self) -> bool {
        self.syslog.as_ref().is_some_and(|syslog| !syslog.has_begun || console::has_kept())
    }

    /// Says what there is to say, as far as there is room; hears what came. Whether it said
    /// anything.
    pub(super) fn speak(&mut self, datagrams: &mut dyn Datagrams, now: Instant) -> bool {
        let has_asked = self.time.as_mut().is_some_and(|time| time.ask(datagrams, now));
        let offset_us = self.offset_us();
        has_asked | self.syslog.as_mut().is_some_and(|syslog| syslog.send(datagrams, offset_us, now))
    }

    pub(super) fn time_status(&self, now: Instant) -> Option<TimeStatus> {
        let Time { server, client, .. } = self.time.as_ref()?;
        let utc = client
            .offset_us()
            .and_then(|offset_us| Utc::of((now.as_nanos() / 1000).saturating_add(offset_us)));
        Some(TimeStatus {
            server: server.to_string(),
            utc: utc.map(|utc| utc.to_string()),
            answers: client.good(),
            trouble: client.trouble().map(|trouble| trouble.to_string()),
        })
    }

    pub(super) fn syslog_status(&self) -> Option<SyslogStatus> {
        let Syslog { to, sent, .. } = self.syslog.as_ref()?;
        Some(SyslogStatus { to: to.to_string(), sent: *sent })
    }

    /// The same for Prometheus.
    pub(super) fn write_metrics(&self, text: &mut String) -> core::fmt::Result {
        if let Some(time) = &self.time {
            let is_known = time.client.offset_us().is_some();
            family(text, ("paravane_time_known", "gauge", "Whether a server told the time."))?;
            writeln!(text, "paravane_time_known {}", u8::from(is_known))?;
        }
        if let Some(syslog) = &self.syslog {
            family(text, ("paravane_syslog_messages_total", "counter", "Messages sent to the collector."))?;
            writeln!(text, "paravane_syslog_messages_total {}", syslog.sent)?;
        }
        Ok(())
    }
}

impl Time {
    /// Whether it asked.
    fn ask(&mut self, datagrams: &mut dyn Datagrams, now: Instant) -> bool {
        let mut has_asked = false;
        let mut bytes = [0; 128];
        while let Some((from, len)) = datagrams.receive(Line::Time, &mut bytes) {
            let answer = bytes.get(..len).unwrap_or(&[]);
            if from == self.server && self.client.receive(answer, now) {
                let known = (now.as_nanos() / 1000).saturating_add(self.client.offset_us().unwrap_or(0));
                if let Some(utc) = Utc::of(known).filter(|_| self.client.good() == 1 || self.said.is_some()) {
                    info!("time: {utc} by {}", self.server);
                }
                self.said = None;
            }
        }
        if datagrams.has_room(Line::Time) && self.client.due().is_some_and(|due| now >= due) {
            // Zero is what answers have that repeat nothing.
            let number = self.random.u64() | 1;
            let spread = u16::try_from(self.random.u32() & 0x3fff).unwrap_or(0);
            if let Some(question) = self.client.ask(now, number) {
                let port = TIME_PORTS.start().saturating_add(spread);
                has_asked = datagrams.send(Line::Time, port, self.server, &question);
            }
        }
        if let Some(trouble) = self.client.trouble().filter(|trouble| self.said != Some(*trouble)) {
            warn!("time: {}: {trouble}", self.server);
            self.said = Some(trouble);
        }
        has_asked
    }
}

impl Syslog {
    /// Whether it sent anything.
    fn send(&mut self, datagrams: &mut dyn Datagrams, offset_us: Option<u64>, now: Instant) -> bool {
        let Some(address) = datagrams.address() else { return false };
        let host = self.name.clone().unwrap_or_else(|| address.to_string());
        let uptime_us = now.as_nanos() / 1000;
        let before = self.sent;
        for _ in 0..MESSAGES {
            if !datagrams.has_room(Line::Log) {
                break;
            }
            let mut room = [0; TEXT_BYTES];
            let said = if self.has_begun {
                console::take_kept(uptime_us, &mut room)
            } else {
                Some(Said { level: log::Level::Info, uptime_us, text: "started" })
            };
            let Some(Said { level, uptime_us, text }) = said else { break };
            let message = Message {
                severity: Severity::from(level),
                unix_us: offset_us.map(|offset_us| uptime_us.saturating_add(offset_us)),
                host: &host,
                build: (!self.has_begun).then_some(build::ID),
                text,
            };
            let mut bytes = [0; MAX_BYTES];
            let len = message.write(&mut bytes);
            datagrams.send(Line::Log, LOG_PORT, self.to, bytes.get(..len).unwrap_or(&[]));
            self.has_begun = true;
            self.sent = self.sent.saturating_add(1);
        }
        self.sent > before
    }
}
