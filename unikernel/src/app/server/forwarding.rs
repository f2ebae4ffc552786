//! What passes frames on between NICs, as far as the loop over them knows it.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use paravane_appliance::interface::InterfaceId;
use paravane_hal::time::Instant;
use paravane_net::{Burst, RxCounters, TxCounters};

use super::stop::End;
use crate::app::http::{Change, Handle};
use crate::app::status::Report;

/// A page: status, content type, body.
pub type Page = (&'static str, &'static str, Cow<'static, str>);

/// What passed a NIC since the start: its name, and what its queues counted.
pub type Passed<'a> = (&'a str, TxCounters, RxCounters);

/// One of two lines by which a program speaks by UDP on `admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// What it says.
    Log,
    /// What it asks for the time, and what it hears.
    Time,
}

/// How a program speaks by UDP on `admin`.
pub trait Datagrams {
    /// Its address there, once it has one.
    fn address(&self) -> Option<Ipv4Addr>;
    /// Whether something can be sent.
    fn has_room(&mut self, line: Line) -> bool;
    /// Sends `bytes` from `port`; whether there was room for it. What comes back to another port
    /// than the last is nobody's.
    fn send(&mut self, line: Line, port: u16, to: SocketAddrV4, bytes: &[u8]) -> bool;
    /// What came, put into `into`: from where, and how long it is.
    fn receive(&mut self, line: Line, into: &mut [u8]) -> Option<(SocketAddrV4, usize)>;
}

/// What comes next of a page that comes in pieces.
#[derive(Debug)]
pub enum Piece {
    /// This; then more, perhaps at once. It may be empty.
    Bytes(Vec<u8>),
    /// Nothing yet.
    Later,
    /// Nothing more.
    End,
}

/// What a connection that asked the program is answered with.
#[derive(Debug)]
pub enum Answer {
    /// A page.
    Page(Page),
    /// Pieces, of that content type, by this handle.
    Pieces(&'static str, Handle),
}

/// Who passes frames on, and says how that goes.
pub trait Forwarding {
    /// Takes every frame of `burst`, which came in by `from`.
    fn take(&mut self, from: InterfaceId, burst: &mut Burst, now: Instant);
    /// What is to be sent by `to`: what its NIC does not take stays.
    fn egress(&mut self, to: InterfaceId) -> Option<&mut Burst>;
    /// The link of an interface came, or went.
    fn link_changed(&mut self, interface: InterfaceId, is_up: bool, now: Instant);
    /// What time brings. When to call again, at the latest, if nothing comes in before.
    fn poll(&mut self, now: Instant) -> Option<Instant>;
    /// Whether it wants to be told of each second.
    fn keeps_history(&self) -> bool {
        false
    }
    /// A second is over, or several: what passed each NIC until now.
    fn second(&mut self, _passed: &mut dyn Iterator<Item = Passed<'_>>, _now: Instant) {}
    /// Looks at what `to` is about to send, but for the first frames of it, which it was shown.
    fn leaving(&mut self, _to: InterfaceId, _shown: usize, _now: Instant) {}
    /// Whether it has something to say by UDP at once.
    fn wants_to_speak(&self) -> bool {
        false
    }
    /// Says what it has to say by UDP, and hears what came. Whether it said anything.
    fn speak(&mut self, _datagrams: &mut dyn Datagrams, _now: Instant) -> bool {
        false
    }
    /// Begins a page that comes in pieces.
    ///
    /// # Errors
    ///
    /// What is answered instead.
    fn open(&mut self, _asked: &Change, _now: Instant) -> Result<(&'static str, Handle), Page> {
        Err(("404 Not Found", "text/plain", Cow::Borrowed("")))
    }
    /// The next piece of what was begun.
    fn piece(&mut self, _of: &Handle, _now: Instant) -> Piece {
        Piece::End
    }
    /// The page called `name`, when all else is as `report` says.
    fn page(&self, name: &str, report: &Report) -> Page;
    /// Does what is asked for on `admin`, or says why not.
    fn change(&mut self, change: &Change, now: Instant) -> Page;
    /// Whether there is anybody.
    fn is_there(&self) -> bool {
        true
    }
    /// How the machine is to end, if somebody asked for that on `admin` since the last call.
    fn take_end(&mut self) -> Option<End>;
    /// The machine is about to end: no connection begins from now on.
    fn close(&mut self, now: Instant);
    /// Whether any connection is open. To be asked often, once it is closed.
    fn is_anything_open(&mut self, now: Instant) -> bool;
    /// How many are. Looks at all of them.
    fn open_connections(&self, now: Instant) -> u32;
    /// Ends those that are left, in the turns that follow.
    fn cut_off(&mut self);
    /// Whether that is done.
    fn is_over(&self) -> bool;
}

/// Nobody: every NIC has a stack of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoForwarding;

impl Forwarding for NoForwarding {
    fn take(&mut self, _from: InterfaceId, burst: &mut Burst, _now: Instant) {
        burst.clear();
    }
    fn egress(&mut self, _to: InterfaceId) -> Option<&mut Burst> {
        None
    }
    fn link_changed(&mut self, _interface: InterfaceId, _is_up: bool, _now: Instant) {}
    fn poll(&mut self, _now: Instant) -> Option<Instant> {
        None
    }
    fn page(&self, _name: &str, _report: &Report) -> Page {
        ("404 Not Found", "text/plain", Cow::Borrowed(""))
    }
    fn change(&mut self, _change: &Change, _now: Instant) -> Page {
        ("404 Not Found", "text/plain", Cow::Borrowed(""))
    }
    fn is_there(&self) -> bool {
        false
    }
    fn take_end(&mut self) -> Option<End> {
        None
    }
    fn close(&mut self, _now: Instant) {}
    fn is_anything_open(&mut self, _now: Instant) -> bool {
        false
    }
    fn open_connections(&self, _now: Instant) -> u32 {
        0
    }
    fn cut_off(&mut self) {}
    fn is_over(&self) -> bool {
        true
    }
}
