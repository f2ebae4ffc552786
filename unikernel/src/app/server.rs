//! The program's one loop: every NIC is served, then armed, then the machine sleeps.
//!
//! ```text
//! turn every NIC            frames in, connections, frames out
//! send by every NIC         what others had for it
//!   something moved?        again
//! arm every NIC             look once more after asking for interrupts
//!   something slipped in?   again
//! sleep                     until an interrupt, or the next timer of a stack
//! ```

mod carrier;
mod forwarding;
mod lane;
mod nic;
mod report;
mod sending;
mod stop;
#[cfg(test)]
mod stop_tests;
#[cfg(test)]
mod tests;

pub use carrier::{Carrier, Moved, Stacked};
use forwarding::NoForwarding;
pub use forwarding::{Answer, Datagrams, Forwarding, Line, Page, Passed, Piece};
pub use lane::Lane;
pub use nic::{Identity, Nic};
use stop::Stop;
pub use stop::{DRAIN, End};

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use log::{error, info, warn};
use paravane_hal::Platform;
use paravane_hal::time::Instant;
use paravane_hal_x86_64::line::Trigger;
use paravane_net::FramePool;
use paravane_pci::ConfigAccess;

use crate::app::http::{Files, NoFiles, Wanted};
use crate::app::stack::{CONNECTION_BYTES, MAX_CONNECTIONS};
use crate::entropy::Seeded;
use crate::interrupts::LINES;

/// How long a loop without interrupts looks on after something moved, before it begins to sleep in
/// between.
const SPIN: Duration = Duration::from_micros(200);
/// The first and the longest sleep of a loop without interrupts.
const POLL_SLEEPS: (Duration, Duration) = (Duration::from_micros(250), Duration::from_millis(10));
/// Events are looked for no more often than this, for a look may cost a device access; after an
/// interrupt, which may have told of one, no later.
const EVENT_POLL: Duration = Duration::from_millis(20);

/// What passed is told so often to who keeps it.
const SECOND: Duration = Duration::from_secs(1);

/// So often may a line ring in a row without any of our NICs being behind it. More, and somebody
/// else holds it for good.
const UNCLAIMED: u32 = 10_000;

/// How long a device may take to send what it has before it is stopped.
const FLUSH: Duration = Duration::from_millis(20);

/// What the loop needs of the machine.
pub trait Host {
    /// The time.
    fn now(&self) -> Instant;
    /// Sleeps until an interrupt, or until `timeout` has passed. Returns at once if an interrupt
    /// came since the last call.
    fn sleep(&self, timeout: Option<Duration>);
    /// What rang since the last call.
    fn take_rung(&self) -> Rung;
    /// Lets devices interrupt by `line`. False when the machine has no such line.
    fn open_line(&self, line: u8, trigger: Trigger) -> bool;
    /// Lets `line` interrupt again.
    fn unmask_line(&self, line: u8);
    /// What is left of the heap.
    fn heap_bytes_free(&self) -> usize;
    /// DMA memory allocated.
    fn dma_bytes_in_use(&self) -> u64;
    /// Where the clock's rate comes from.
    fn clock_source(&self) -> String;
    /// Whether there is a power button to look at.
    fn has_power_button(&self) -> bool;
    /// Whether it was pressed since the last call.
    fn is_power_button_pressed(&self) -> bool;
    /// Ends the machine.
    fn end(&self, end: End) -> !;
}

/// What rang.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rung {
    /// The interrupt lines that fired, bit by bit; those that are level-triggered are masked now.
    pub lines: u64,
    /// Whether any message came. Which one does not matter: it may have been about an event.
    pub messages: bool,
}

/// What stays the same while the program runs.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    /// From the first instruction to all NICs up, in microseconds.
    pub micros: u64,
    /// The same in ticks.
    pub ticks: u64,
}

/// The NICs and the loop over them.
pub struct Server<P: Platform, C: ConfigAccess, H: Host> {
    host: H,
    nics: Vec<Nic<P, C>>,
    pool: FramePool,
    files: Box<dyn Files>,
    forwarding: Box<dyn Forwarding>,
    /// When that is to be looked at again.
    forwarding_due: Option<Instant>,
    /// When the next second is over.
    second: Instant,
    /// A connection sends pieces.
    has_pieces: bool,
    seeded: Option<Seeded>,
    boot: Boot,
    /// When something last moved.
    busy: Instant,
    events_looked_for: Instant,
    /// Since then an interrupt may have told of an event, or a device was given frames, which it
    /// may fail to send.
    stirred_since: bool,
    /// The lines that were opened, bit by bit.
    open_lines: u64,
    /// How often in a row lines rang that none of the NICs had raised.
    unclaimed: u32,
    poll_sleep: Duration,
    stop: Stop,
}

impl<P: Platform, C: ConfigAccess + Send, H: Host> Server<P, C, H> {
    /// A server over `nics`.
    pub fn new(host: H, nics: Vec<Nic<P, C>>, pool: FramePool, seeded: Option<Seeded>, boot: Boot) -> Self {
        let now = host.now();
        Self {
            host,
            nics,
            pool,
            files: Box::new(NoFiles),
            forwarding: Box::new(NoForwarding),
            forwarding_due: None,
            second: now,
            has_pieces: false,
            seeded,
            boot,
            busy: now,
            events_looked_for: now,
            stirred_since: false,
            open_lines: 0,
            unclaimed: 0,
            poll_sleep: POLL_SLEEPS.0,
            stop: Stop::new(DRAIN, now),
        }
    }

    /// The same, with files to serve.
    #[must_use]
    pub fn with_files(self, files: Box<dyn Files>) -> Self {
        Self { files, ..self }
    }

    /// The same, with somebody who passes frames on between the NICs that have lanes.
    #[must_use]
    pub fn with_forwarding(self, forwarding: Box<dyn Forwarding>) -> Self {
        Self { forwarding, ..self }
    }

    /// The same, that waits so long for connections before it stops.
    #[must_use]
    pub fn with_drain(self, drain: Duration) -> Self {
        Self { stop: Stop::new(drain, self.host.now()), ..self }
    }

    /// Gives every NIC a stack and serves, until the machine is to end.
    pub fn run(mut self) -> ! {
        let now = self.host.now();
        let connections = self.connections_per_nic();
        for (index, nic) in self.nics.iter_mut().enumerate() {
            nic.attach_stack(stack_seed(self.seeded.as_mut(), index, now), connections, now);
        }
        info!("ready");
        loop {
            self.cycle();
            if let Some(end) = self.follow_stop() {
                self.end(end);
            }
        }
    }

    /// As many as there is memory for, and the same for every NIC: an allocation that fails would
    /// end the program.
    fn connections_per_nic(&self) -> usize {
        let free = self.host.heap_bytes_free();
        // The rest is for heads of requests, and pages.
        let buffers = free - free / 4;
        let stacks = self.nics.iter().filter(|nic| nic.wants_stack()).count();
        let possible = buffers / CONNECTION_BYTES / stacks.max(1);
        if possible < MAX_CONNECTIONS {
            warn!(
                "{possible} connections at a time for each NIC, not {MAX_CONNECTIONS}: only {} KiB of heap are left",
                free / 1024
            );
        }
        possible.min(MAX_CONNECTIONS)
    }

    /// Once around.
    fn cycle(&mut self) {
        let now = self.host.now();
        let Rung { lines, messages } = self.host.take_rung();
        let look_for_events = now.since(self.events_looked_for) >= EVENT_POLL;
        if look_for_events {
            self.events_looked_for = now;
            self.stirred_since = false;
        } else if messages {
            // It came while nobody slept, and was taken just now: nothing else will remember it.
            self.stirred_since = true;
        }
        let (mut moved, mut claimed) = (Moved::default(), lines == 0);
        for nic in &mut self.nics {
            claimed |= nic.acknowledge(lines, messages);
            moved |= nic.turn(now, look_for_events, &mut *self.forwarding);
        }
        let sent = self.forward(now, moved.is_any());
        let is_second = self.tell_seconds(now);
        self.unclaimed = if claimed { 0 } else { self.unclaimed.saturating_add(1) };
        if moved.served || self.has_pieces {
            moved.again |= self.serve(now);
        }
        if moved.served || is_second || self.forwarding.wants_to_speak() {
            self.nics.iter_mut().for_each(|nic| nic.speak(&mut *self.forwarding, now));
        }
        self.stirred_since |= sent || moved.is_any();
        if sent || moved.busy || moved.again {
            self.busy = now;
            self.poll_sleep = POLL_SLEEPS.0;
        }
        // Lines only after every NIC on them was asked and served: they are level-triggered, and
        // shared.
        self.unmask(lines);
        if !self.open_lines() && !moved.again && !self.arm() {
            self.sleep(now);
        }
    }

    /// Gives connections what they want from the program. Returns whether anything moved.
    fn serve(&mut self, now: Instant) -> bool {
        let mut moved = self.answer();
        self.has_pieces = false;
        for nic in &mut self.nics {
            let (has_more, has_moved) = nic.move_pieces(&mut |handle| self.forwarding.piece(handle, now));
            self.has_pieces |= has_more;
            moved |= has_moved;
        }
        for nic in &mut self.nics {
            moved |= nic.move_files(&mut *self.files);
        }
        self.files.close_left();
        moved
    }

    /// Sends what is to be passed on; what waits for time to pass is looked at when that is over,
    /// and after anything `moved`. Returns whether there was anything to send.
    fn forward(&mut self, now: Instant, moved: bool) -> bool {
        if moved || self.forwarding_due.is_some_and(|due| now >= due) {
            self.forwarding_due = self.forwarding.poll(now);
        }
        self.nics.iter_mut().fold(false, |sent, nic| nic.send(&mut *self.forwarding, now) | sent)
    }

    /// Tells who keeps it what passed, once a second; the next one begins where this was to end.
    /// Whether that was now.
    fn tell_seconds(&mut self, now: Instant) -> bool {
        if now < self.second || !self.forwarding.keeps_history() {
            return false;
        }
        let next = self.second.saturating_add(SECOND);
        self.second = if next > now { next } else { now.saturating_add(SECOND) };
        let mut passed = self.nics.iter().map(|nic| {
            let (tx, rx) = nic.counted();
            (nic.name(), tx, rx)
        });
        self.forwarding.second(&mut passed, now);
        true
    }

    /// Opens the lines that NICs use since they were started: others on a line might never be
    /// served. True when there were any, and their NICs are to be served before anybody sleeps.
    fn open_lines(&mut self) -> bool {
        let mut opened = 0;
        for nic in &mut self.nics {
            let Some((line, trigger)) = nic.line() else { continue };
            let bit = 1_u64.checked_shl(line.into()).unwrap_or(0);
            if (self.open_lines | opened) & bit != 0 {
                continue;
            }
            if bit != 0 && self.host.open_line(line, trigger) {
                opened |= bit;
            } else {
                warn!("nic {}: {}: interrupt line {line} leads nowhere", nic.name(), nic.place());
                nic.abandon_lines(u64::MAX);
            }
        }
        // One that is up already may never ring: QEMU's I/O APIC looks at a level when it changes,
        // and not when it is told to look. Asked, its devices lower it.
        if opened != 0 {
            self.nics.iter_mut().for_each(|nic| _ = nic.acknowledge(opened, false));
        }
        self.open_lines |= opened;
        opened != 0
    }

    /// Whether something is left to do after asking for interrupts.
    fn arm(&mut self) -> bool {
        let mut pending = false;
        for nic in &mut self.nics {
            pending |= nic.arm();
        }
        pending
    }

    fn unmask(&mut self, lines: u64) {
        if lines == 0 {
            return;
        }
        if self.unclaimed > UNCLAIMED {
            // Left open it would ring for ever, and nothing else would happen.
            error!("interrupt lines {lines:#x}: held by something that is no NIC of ours; masked");
            self.nics.iter_mut().for_each(|nic| nic.abandon_lines(lines));
            self.unclaimed = 0;
            return;
        }
        for line in 0..LINES {
            if lines & (1 << line) != 0 {
                self.host.unmask_line(line);
            }
        }
    }

    fn sleep(&mut self, now: Instant) {
        let second = self.forwarding.keeps_history().then_some(self.second);
        let due = [self.forwarding_due, second].into_iter().flatten().map(|due| due.since(now));
        let due = due.chain(self.stop.idle_time(self.host.has_power_button(), now));
        let mut timeout = self.nics.iter_mut().filter_map(|nic| nic.idle_time(now)).chain(due).min();
        if self.nics.iter().any(Nic::is_polled) {
            if now.since(self.busy) < SPIN {
                return;
            }
            timeout = Some(timeout.map_or(self.poll_sleep, |timeout| timeout.min(self.poll_sleep)));
            self.poll_sleep = self.poll_sleep.saturating_mul(2).min(POLL_SLEEPS.1);
        }
        if self.stirred_since {
            timeout = Some(timeout.map_or(EVENT_POLL, |timeout| timeout.min(EVENT_POLL)));
        }
        if timeout != Some(Duration::ZERO) {
            self.host.sleep(timeout);
            self.stirred_since = true;
            for nic in &mut self.nics {
                nic.woke();
            }
        }
    }

    /// Answers what connections want from the program. Returns whether there was anything.
    fn answer(&mut self) -> bool {
        let mut page = false;
        let mut status = false;
        let mut other = false;
        let mut restarts = Vec::new();
        for wanted in self.nics.iter().flat_map(Nic::wanted) {
            match wanted {
                Wanted::Page => page = true,
                Wanted::Status => status = true,
                Wanted::Restart(name) => restarts.push(name.clone()),
                Wanted::Program(_) | Wanted::Change(_) | Wanted::Pieces(_) => other = true,
            }
        }
        if !page && !status && !other && restarts.is_empty() {
            return false;
        }
        let report = self.report();
        let page = if page { report.to_html() } else { String::new() };
        let status = if status { report.to_json() } else { String::new() };
        let known: Vec<String> = self.nics.iter().map(|nic| nic.name().into()).collect();
        let (forwarding, now) = (&mut self.forwarding, self.host.now());
        for nic in &mut self.nics {
            nic.answer(|wanted| {
                Answer::Page(match wanted {
                    Wanted::Page => ("200 OK", "text/html; charset=utf-8", page.clone().into()),
                    Wanted::Status => ("200 OK", "application/json", status.clone().into()),
                    Wanted::Restart(name) if known.contains(name) => (
                        "202 Accepted",
                        "application/json",
                        alloc::format!("{{\"restarting\":\"{name}\"}}\n").into(),
                    ),
                    Wanted::Program(name) => forwarding.page(name, &report),
                    Wanted::Change(change) => forwarding.change(change, now),
                    Wanted::Pieces(asked) => match forwarding.open(asked, now) {
                        Ok((content_type, handle)) => return Answer::Pieces(content_type, handle),
                        Err(page) => page,
                    },
                    Wanted::Restart(name) => {
                        ("404 Not Found", "text/plain", alloc::format!("no NIC is called {name}\n").into())
                    }
                })
            });
        }
        self.restart(&restarts);
        true
    }

    fn restart(&mut self, names: &[String]) {
        let now = self.host.now();
        for nic in self.nics.iter_mut().filter(|nic| names.iter().any(|name| name == nic.name())) {
            // The answer goes out first; what the device has not sent by then, TCP sends again.
            nic.turn(now, false, &mut *self.forwarding);
            while nic.is_sending() && self.host.now().since(now) < FLUSH {
                nic.turn(self.host.now(), false, &mut *self.forwarding);
            }
            if let Err(reason) = nic.restart() {
                error!("nic {}: {}: not restarted: {reason}", nic.name(), nic.place());
            }
        }
    }
}

/// What the stack of the NIC at `index` begins with. Without a source of entropy that is the clock:
/// it differs between NICs and boots, and can be guessed.
fn stack_seed(seeded: Option<&mut Seeded>, index: usize, now: Instant) -> u64 {
    let by_clock = || now.as_nanos().wrapping_add((index as u64) << 32);
    seeded.map_or_else(by_clock, |seeded| seeded.random.u64())
}
