//! How a server comes to its end, on a machine whose button and clock are the test's.

use core::cell::RefCell;
use std::rc::Rc;

use paravane_appliance::interface::InterfaceId;
use paravane_net::Burst;

use super::tests::two_on_a_line;
use super::*;
use crate::app::http::Change;
use crate::app::status::Report;

/// Somebody with connections, and what he was told.
#[derive(Clone, Default)]
struct Holder(Rc<RefCell<Held>>);

#[derive(Default)]
struct Held {
    asked: Option<End>,
    open: u32,
    left: u32,
    is_closed: bool,
    is_cut_off: bool,
}

impl Forwarding for Holder {
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
        unreachable!("nobody asks")
    }
    fn change(&mut self, _change: &Change, _now: Instant) -> Page {
        unreachable!("nobody asks")
    }
    fn take_end(&mut self) -> Option<End> {
        self.0.borrow_mut().asked.take()
    }
    fn close(&mut self, _now: Instant) {
        self.0.borrow_mut().is_closed = true;
    }
    fn is_anything_open(&mut self, _now: Instant) -> bool {
        self.0.borrow().open > 0
    }
    fn open_connections(&self, _now: Instant) -> u32 {
        self.0.borrow().open
    }
    fn cut_off(&mut self) {
        self.0.borrow_mut().is_cut_off = true;
    }
    fn is_over(&self) -> bool {
        self.0.borrow().left == 0
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_press_ends_a_machine_with_nothing_open() {
    let (mut server, _models) = two_on_a_line(16);
    assert_eq!(server.follow_stop(), None, "nobody asked");
    server.host.presses.set(Some(1));
    assert_eq!(server.follow_stop(), None, "it was looked at a moment ago");
    server.host.platform.clock().advance(SECOND);
    assert_eq!(server.follow_stop(), None, "nothing is left to cut off, and that is said");
    server.host.platform.clock().advance(SECOND);
    assert_eq!(server.follow_stop(), Some(End::Off));
    assert_eq!(server.host.presses.get(), Some(0));
}

#[test]
fn connections_are_waited_for_up_to_the_limit() {
    let (server, _models) = two_on_a_line(16);
    let holder = Holder::default();
    let mut server = server.with_forwarding(Box::new(holder.clone())).with_drain(3 * SECOND);
    let clock = server.host.platform.clone();
    let step = |server: &mut Server<_, _, _>| {
        clock.clock().advance(SECOND);
        server.follow_stop()
    };
    *holder.0.borrow_mut() = Held { asked: Some(End::Restart), open: 5, left: 5, ..Held::default() };
    assert_eq!(step(&mut server), None);
    assert!(holder.0.borrow().is_closed && !holder.0.borrow().is_cut_off);
    let told = server.report().stopping.unwrap();
    assert_eq!((told.end, told.seconds_left, told.connections_left), (End::Restart, 3, 5));
    assert_eq!((step(&mut server), step(&mut server)), (None, None));
    assert!(!holder.0.borrow().is_cut_off);
    assert_eq!(step(&mut server), None);
    assert!(holder.0.borrow().is_cut_off, "the time is over");
    assert_eq!(step(&mut server), None, "both ends are told");
    holder.0.borrow_mut().left = 0;
    assert_eq!(step(&mut server), Some(End::Restart));
}

#[test]
fn a_second_press_ends_the_wait() {
    let (server, _models) = two_on_a_line(16);
    let holder = Holder::default();
    let mut server = server.with_forwarding(Box::new(holder.clone()));
    holder.0.borrow_mut().open = 5;
    for (presses, is_cut_off) in [(1, false), (0, false), (1, true)] {
        server.host.presses.set(Some(presses));
        server.host.platform.clock().advance(SECOND);
        assert_eq!(server.follow_stop(), None);
        assert_eq!(holder.0.borrow().is_cut_off, is_cut_off);
    }
    server.host.platform.clock().advance(SECOND);
    assert_eq!(server.follow_stop(), Some(End::Off));
}
