//! The box, and what comes out of it.

use core::net::IpAddr;
use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_mock_hal::MockPlatform;
use paravane_net::{Frame, FrameLayout, FramePool, MacAddr};
use std::vec::Vec;

pub(super) use super::said::*;

use crate::interface::{Interface, InterfaceId};
use crate::neighbour::{Dropped, Event, Ignored, Limits, Neighbour, Neighbours, Output, State};
use crate::packet::Packet;

pub(super) const LINK: InterfaceId = InterfaceId(0);
/// Where what waits came in.
const INGRESS: InterfaceId = InterfaceId(7);

thread_local! {
    /// One for each test: it takes a while to look through its memory when it goes.
    static POOL: FramePool =
        FramePool::new(MockPlatform::new(), FrameLayout::new(160).with_buffer_bytes(1024)).unwrap();
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(super) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What came out, with a frame's mark in place of a frame that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Send(Said),
    Release(MacAddr, u32),
    Unreachable(IpAddr, u32),
    Drop(Dropped, u32),
    Event(Event),
}

pub(super) struct Router {
    pub(super) neighbours: Neighbours,
    pub(super) interfaces: Vec<Interface>,
    pub(super) pool: FramePool,
    pub(super) now: Instant,
    pub(super) outs: Vec<Out>,
    pub(super) next: Option<Instant>,
}

impl Router {
    pub(super) fn new() -> Self {
        Self::with(Limits { learned: 1024, pinned: 16, ..Limits::new(1) })
    }

    pub(super) fn with(limits: Limits) -> Self {
        let mut interface = Interface::new(OURS, 1500);
        interface.v4.push((OUR_V4, 8));
        interface.v6.extend([(OUR_V6, 64), (OUR_WIDE_V6, 64)]);
        Self {
            neighbours: Neighbours::new(limits, [1, 2]),
            interfaces: std::vec![interface],
            pool: POOL.with(Clone::clone),
            now: Instant::from_nanos(1_000_000_000),
            outs: Vec::new(),
            next: None,
        }
    }

    pub(super) fn frame(&self, bytes: &[u8]) -> Frame {
        let mut frame = self.pool.get().unwrap();
        assert!(frame.append(bytes));
        frame
    }

    pub(super) fn note(outs: &mut Vec<Out>, output: Output) {
        let mark = |frame: Frame| frame.read::<u32>(0).unwrap();
        outs.push(match output {
            Output::Send { interface, frame } => {
                assert_eq!(interface, LINK);
                let mut bytes = std::vec![0; frame.total_bytes()];
                frame.copy_out(&mut bytes).unwrap();
                Out::Send(Said::read(&bytes))
            }
            Output::Release { mac, frame, .. } => Out::Release(mac, mark(frame)),
            Output::Unreachable { address, from, frame, .. } => {
                assert_eq!(from, Some(INGRESS));
                Out::Unreachable(address, mark(frame))
            }
            Output::Drop { frame, reason, .. } => Out::Drop(reason, mark(frame)),
            Output::Event(event) => Out::Event(event),
        });
    }

    pub(super) fn lookup(&mut self, address: IpAddr) -> Option<MacAddr> {
        self.neighbours.lookup(LINK, address, self.now)
    }

    /// Has the frame `mark` wait.
    pub(super) fn wait(&mut self, address: IpAddr, mark: u32) {
        let frame = self.frame(&mark.to_ne_bytes());
        let outs = &mut self.outs;
        self.neighbours.wait(LINK, address, frame, Some(INGRESS), self.now, &mut |out| Self::note(outs, out));
    }

    pub(super) fn hear(&mut self, said: Said) -> Result<(), Ignored> {
        self.hear_bytes(&said.bytes())
    }

    pub(super) fn hear_bytes(&mut self, bytes: &[u8]) -> Result<(), Ignored> {
        let frame = self.frame(bytes);
        let packet = Packet::read(&frame).unwrap();
        self.hear_frame(&packet, frame)
    }

    pub(super) fn hear_frame(&mut self, packet: &Packet, frame: Frame) -> Result<(), Ignored> {
        let outs = &mut self.outs;
        let note = &mut |out| Self::note(outs, out);
        self.neighbours.receive(LINK, &self.interfaces[0], packet, frame, self.now, note)
    }

    pub(super) fn poll(&mut self) {
        let outs = &mut self.outs;
        let note = &mut |out| Self::note(outs, out);
        self.next = self.neighbours.poll(self.now, &self.pool, &self.interfaces, note);
        assert_eq!(self.next, self.neighbours.next_poll());
    }

    /// Lets time pass, without a look at what is due.
    pub(super) fn pass(&mut self, by: Duration) {
        self.now = self.now.saturating_add(by);
    }

    /// Lets time pass, and does what is due when it is.
    pub(super) fn run(&mut self, by: Duration) {
        let end = self.now.saturating_add(by);
        self.poll();
        while let Some(next) = self.next.filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.poll();
        }
        self.now = end;
    }

    pub(super) fn outs(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.outs)
    }

    /// Asks and is answered.
    pub(super) fn resolve(&mut self, address: IpAddr, mac: MacAddr) {
        self.wait(address, 0);
        self.poll();
        self.hear(answer(address, mac)).unwrap();
        self.outs.clear();
    }

    pub(super) fn known(&self, address: IpAddr) -> Option<Neighbour> {
        let mut of_address = self.neighbours.iter(self.now).filter(|entry| entry.address == address);
        let found = of_address.next();
        assert_eq!(of_address.next(), None, "one entry each");
        found
    }

    pub(super) fn state(&self, address: IpAddr) -> Option<State> {
        self.known(address).map(|known| known.state)
    }
}
