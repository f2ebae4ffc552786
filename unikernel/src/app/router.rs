//! A router: packets between `public`, `private` and further NICs, by
//! [`Path`]; on `admin` a stack that says how that goes.
//!
//! ```text
//!  admin   -- stack of its own -- HTTP: status, metrics, health
//!  public  -- lane --+
//!                    +-- Path      nothing leads from here to the stack above
//!  private -- lane --+
//! ```
//!
//! | Part | Holds |
//! |---|---|
//! | [`config`] | what it is told to be |
//! | this file | [`Router`]: the path with its interfaces, as the loop over NICs drives it |
//! | `build` | from configuration and NICs to a path |
//! | [`checks`] | whether servers answer, asked over the path |
//! | `pages` | which pages there are |
//! | `change` | what may be changed while it runs, and by whom |
//! | `shared` | what machines share, and what is said of that |
//! | `debug`, [`capture`] | flows, neighbours and frames, for who looks for a fault |
//! | `outside` | whom the machine itself talks to: a collector of its log, a server of time |
//! | `history` | what passed in the last minutes, for the page's charts |
//! | `status`, `metrics`, `services`, `firewall` | what they say |
//! | [`rules`] | a firewall's, of a file or built in |
//! | [`program`] | the image from start to loop |

mod build;
pub mod capture;
mod change;
#[cfg(test)]
mod check_tests;
pub mod checks;
pub mod config;
mod debug;
mod firewall;
#[cfg(test)]
mod firewall_tests;
mod history;
mod metrics;
mod outside;
mod pages;
pub mod program;
pub mod rules;
mod services;
mod shared;
mod status;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use log::{error, info, warn};
use paravane_appliance::balance::Balancer;
use paravane_appliance::interface::InterfaceId;
use paravane_appliance::neighbour::{self, Event};
use paravane_appliance::path::Path;
use paravane_hal::time::Instant;
use paravane_net::{Burst, FramePool};

pub use build::Plan;
use checks::Checker;
use config::Config;
use debug::Stream;
use history::History;
use outside::Outside;
pub use pages::routes;

use crate::app::http::{Change, Handle};
use crate::app::server::{Datagrams, End, Forwarding, Page, Passed, Piece};
use crate::app::status::Report;

/// One event of neighbours is said in so long; the others are counted.
const EVENT_PAUSE: Duration = Duration::from_secs(1);

/// An interface, as people know it.
#[derive(Clone, Debug)]
struct Named {
    /// Its NIC's name.
    name: String,
    /// Whether its link is up.
    is_up: bool,
}

/// The path, or the reasons why there is none.
#[derive(Debug)]
pub struct Router {
    config: Config,
    /// Nothing is passed on without one.
    path: Option<Path>,
    /// Who asks servers, where there are services.
    checker: Option<Checker>,
    /// Whence the firewall's rules are, where there are any.
    rules_from: Option<String>,
    /// The interfaces of the path.
    interfaces: Vec<Named>,
    /// What keeps it from its work, in a line each.
    troubles: Vec<String>,
    pool: FramePool,
    events_said_at: Option<Instant>,
    events: u64,
    history: History,
    outside: Outside,
    /// Pages in pieces that are being read.
    streams: Vec<Stream>,
    /// Somebody asked for the machine to end so.
    end: Option<End>,
    /// It is about to.
    is_closed: bool,
}

impl Router {
    /// Says on the console what is in effect, and where each value is from.
    pub(super) fn say(&self) {
        for (key, value, origin) in self.config.effective() {
            info!("config: {key} = {value} ({origin})");
        }
        if self.path.is_none() {
            error!("router: nothing is passed on");
        }
    }

    /// Why it is not ready, in lines; none when it is.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let stopping = self.is_closed.then(|| "the machine is about to end".into());
        let down = self.interfaces.iter().filter(|interface| !interface.is_up);
        let down = down.map(|interface| alloc::format!("{}: the link is down", interface.name));
        stopping.into_iter().chain(self.troubles.iter().cloned()).chain(down).collect()
    }

    /// How long connections may go on once the machine is to end.
    pub(super) fn drain(&self) -> Duration {
        self.config.stop.drain.value
    }

    fn balancer(&self) -> Option<&Balancer> {
        self.path.as_ref()?.balancer()
    }

    fn balancer_mut(&mut self) -> Option<&mut Balancer> {
        self.path.as_mut()?.balancer_mut()
    }

    fn name(&self, interface: InterfaceId) -> &str {
        self.interfaces.get(interface.index()).map_or("?", |named| &named.name)
    }

    /// Tells the link which addresses this machine has: others may know the one that had them
    /// before.
    fn announce(&mut self, interface: InterfaceId) {
        let Some(path) = &mut self.path else { return };
        let Some(own) = path.interfaces().get(interface.index()).cloned() else { return };
        let v4 = own.v4.iter().map(|(address, _)| IpAddr::V4(*address));
        let addresses: Vec<_> = v4.chain(own.v6.iter().map(|(address, _)| IpAddr::V6(*address))).collect();
        for address in addresses {
            if let Some(mut frame) = self.pool.get()
                && neighbour::announce(&mut frame, &own, address)
                && let Some(egress) = path.egress(interface)
            {
                egress.push(frame);
            }
        }
    }

    /// Says what happened among neighbours, not more often than people can read it.
    fn say_events(&mut self, now: Instant) {
        while let Some(event) = self.path.as_mut().and_then(Path::take_event) {
            self.events = self.events.saturating_add(1);
            if self.events_said_at.is_some_and(|said| now.since(said) < EVENT_PAUSE) {
                continue;
            }
            self.events_said_at = Some(now);
            match event {
                Event::Changed { interface, address, old, new } => {
                    info!("{}: {address} was at {old} and is at {new} now", self.name(interface));
                }
                Event::Conflict { interface, address, mac } => {
                    warn!("{}: {mac} uses {address}, which is ours", self.name(interface));
                }
            }
        }
    }
}

/// When it was so.
const fn now_of(report: &Report) -> Instant {
    Instant::from_nanos(report.uptime_us.saturating_mul(1000))
}

impl Forwarding for Router {
    fn take(&mut self, from: InterfaceId, burst: &mut Burst, now: Instant) {
        if let Some(capture) = debug::capture(&mut self.streams) {
            capture.came(from, burst, now);
        }
        match &mut self.path {
            Some(path) => path.take(from, burst, now),
            None => burst.clear(),
        }
    }

    fn egress(&mut self, to: InterfaceId) -> Option<&mut Burst> {
        self.path.as_mut()?.egress(to)
    }

    fn link_changed(&mut self, interface: InterfaceId, is_up: bool, now: Instant) {
        if let Some(named) = self.interfaces.get_mut(interface.index()) {
            named.is_up = is_up;
        }
        if let Some(path) = &mut self.path {
            path.link_changed(interface, is_up, now);
        }
        if is_up {
            self.announce(interface);
        }
    }

    fn poll(&mut self, now: Instant) -> Option<Instant> {
        let path = self.path.as_mut()?;
        let asked = self.checker.as_mut().and_then(|checker| checker.turn(path, now));
        let due = path.poll(now);
        self.say_events(now);
        self.say_vrrp();
        self.say_flows();
        [asked, due].into_iter().flatten().min()
    }

    fn keeps_history(&self) -> bool {
        true
    }

    fn second(&mut self, passed: &mut dyn Iterator<Item = Passed<'_>>, now: Instant) {
        history::second(self, passed, now);
        debug::close_left(self);
    }

    fn leaving(&mut self, to: InterfaceId, shown: usize, now: Instant) {
        let Some(capture) = debug::capture(&mut self.streams) else { return };
        if let Some(burst) = self.path.as_mut().and_then(|path| path.egress(to)) {
            capture.goes(to, burst, shown, now);
        }
    }

    fn wants_to_speak(&self) -> bool {
        self.outside.wants_to_speak()
    }

    fn speak(&mut self, datagrams: &mut dyn Datagrams, now: Instant) -> bool {
        self.outside.speak(datagrams, now)
    }

    fn open(&mut self, asked: &Change, now: Instant) -> Result<(&'static str, Handle), Page> {
        debug::open(self, asked, now)
    }

    fn piece(&mut self, of: &Handle, now: Instant) -> Piece {
        debug::piece(self, of, now)
    }

    fn page(&self, name: &str, report: &Report) -> Page {
        pages::page(self, name, report)
    }

    fn change(&mut self, change: &Change, now: Instant) -> Page {
        change::change(self, change, now)
    }

    fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    fn close(&mut self, now: Instant) {
        self.is_closed = true;
        // Who has the shared addresses next takes what comes for them, before anybody is refused.
        self.path.iter_mut().for_each(|path| path.resign(now));
        self.say_vrrp();
        self.balancer_mut().into_iter().for_each(Balancer::close);
    }

    fn is_anything_open(&mut self, now: Instant) -> bool {
        self.balancer_mut().is_some_and(|balancer| balancer.is_anything_open(now))
    }

    fn open_connections(&self, now: Instant) -> u32 {
        self.balancer().map_or(0, |balancer| balancer.open_flows(now))
    }

    fn cut_off(&mut self) {
        self.balancer_mut().into_iter().for_each(Balancer::cut_off);
    }

    fn is_over(&self) -> bool {
        self.balancer().is_none_or(|balancer| balancer.is_over())
    }
}
