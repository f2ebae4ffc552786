//! What stands between hosts: flows, translation and what is tested here, joined as a balancer
//! does.

use paravane_hal::time::Instant;
use paravane_net::{Frame, FramePool};

use super::super::*;
use super::world::{CLIENT_ZONE, Plan, SERVER_PORT, SERVER_ZONE, ip};
use crate::flow::{self, Direction, Key, New, Segment, Table, Tag};
use crate::nat::{self, Mode, Nat, Sources, Target};
use crate::packet::edit::Shift;
use crate::packet::testing::pool;
use crate::packet::{Packet, Transport};
use crate::random::Random;

/// What stands between.
pub(super) struct Middle {
    pub(super) flows: Table,
    nat: Nat,
    pub(super) cookies: Cookies,
    pub(super) splices: Splices,
    pub(super) pool: FramePool,
    /// Servers by number; the next client gets the first.
    next_server: usize,
    servers: usize,
    pub(super) done: Vec<&'static str>,
    pub(super) drops: Vec<Reason>,
    pub(super) fast: usize,
    pub(super) untracked: Vec<(Side, flow::Verdict)>,
}

impl Middle {
    pub(super) fn new(plan: &Plan, servers: usize) -> Self {
        let mut random = Random::from_seed([plan.seed as u8; 32]);
        let mut flows = Table::new(flow::Limits::new(64), &mut random);
        flows.set_service(0, flow::Service { picks_up: true, ..flow::Service::GENERAL });
        let sources = Sources::new(vec![ip(plan.is_v6, 1, 200)]);
        let pool = pool(256);
        Self {
            flows,
            nat: Nat::new(sources, &mut random),
            cookies: Cookies::new(&mut random),
            splices: Splices::new(64, Settings::GENERAL, pool.clone()),
            pool,
            next_server: 0,
            servers,
            done: Vec::new(),
            drops: Vec::new(),
            fast: 0,
            untracked: Vec::new(),
        }
    }

    pub(super) fn begin(
        &mut self,
        plan: &Plan,
        original: Key,
        first: &Segment,
        client: &Client,
        now: Instant,
        outputs: &mut Vec<(u32, Output)>,
    ) {
        let address = ip(plan.is_v6, 1, u8::try_from(self.next_server).unwrap() + 1);
        self.next_server = (self.next_server + 1) % self.servers;
        let target = Target { address, port: SERVER_PORT, zone: SERVER_ZONE, mode: Mode::Splice };
        let reply = self.nat.reply_key(&self.flows, &original, &target).unwrap();
        let tag = Tag { service: 0, server: 0 };
        let new = New { original, reply, tag, direction: Direction::Original, segment: Some(first) };
        let hit = self.flows.open(&new, now, &mut |_, _, _| {}).unwrap();
        let flow = self.flows.get(hit.index).unwrap();
        let service = Service { offer: plan.offer, proxy: plan.proxy };
        let out = &mut |index, output| outputs.push((index, output));
        assert!(self.splices.begin(hit.index, flow, client, &service, now, out));
    }

    /// What becomes of a frame; what is sent.
    pub(super) fn take(
        &mut self,
        plan: &Plan,
        from: Side,
        mut frame: Frame,
        now: Instant,
    ) -> Vec<(Side, Frame)> {
        let (mut sent, mut outputs) = (Vec::new(), Vec::new());
        let mut packet = Packet::read(&frame).unwrap();
        let mut transport = packet.transport(&frame).unwrap().unwrap();
        let segment = Segment::of(&packet, &transport, &frame).unwrap();
        let zone = if from == Side::Client { CLIENT_ZONE } else { SERVER_ZONE };
        let key = Key::of(&packet, &transport, zone).unwrap();
        let hit = self.flows.find(&key);
        match (hit, from) {
            (None, Side::Server) => {}
            (None, Side::Client) if segment.is_syn() => {
                let answer = self.cookies.answer_syn(&key, &packet, &transport, &mut frame, &plan.offer, now);
                if answer.is_ok() {
                    sent.push((Side::Client, frame));
                }
            }
            (None, Side::Client) => {
                if let Ok(client) = self.cookies.check(&key, &packet, &transport, &frame, now) {
                    self.begin(plan, key, &segment, &client, now, &mut outputs);
                }
            }
            (Some(hit), _) => {
                let flow = self.flows.get(hit.index).unwrap();
                let mut out = |index, output| outputs.push((index, output));
                // What the fast way says of it has to be the same.
                let shift = self.splices.shift(hit.index, hit.direction);
                let before = transport;
                let mut arrived = Arrived {
                    index: hit.index,
                    flow,
                    packet: &packet,
                    transport: &mut transport,
                    frame: &mut frame,
                };
                let verdict = match from {
                    Side::Client => self.splices.from_client(&mut arrived, now, &mut out),
                    Side::Server => self.splices.from_server(&mut arrived, now, &mut out),
                };
                if let (Some(shift), Verdict::Pass) = (shift, verdict) {
                    self.fast += usize::from(is_shifted(shift, &before, &transport));
                }
                match verdict {
                    Verdict::Drop(reason) => self.drops.push(reason),
                    Verdict::Pass => {
                        let segment = if from == Side::Client {
                            segment
                        } else {
                            Segment::of(&packet, &transport, &frame).unwrap()
                        };
                        let tracked = self.flows.track(hit, Some(&segment), now, &mut |_, _, _| {});
                        if tracked != flow::Verdict::Pass {
                            self.untracked.push((from, tracked));
                        }
                        if tracked == flow::Verdict::Pass {
                            let flow = self.flows.get(hit.index).unwrap();
                            nat::translate(
                                flow,
                                hit.direction,
                                &mut packet,
                                &mut transport,
                                &mut frame,
                                None,
                            )
                            .unwrap();
                            let to = if from == Side::Client { Side::Server } else { Side::Client };
                            sent.push((to, frame));
                        }
                    }
                }
            }
        }
        self.act(plan, outputs, now, &mut sent);
        sent
    }

    fn act(&mut self, plan: &Plan, outputs: Vec<(u32, Output)>, now: Instant, sent: &mut Vec<(Side, Frame)>) {
        for (index, output) in outputs {
            match output {
                Output::Send(to, frame) => sent.push((to, frame)),
                Output::Opened => {}
                Output::TryAnother(client) => {
                    self.done.push("another");
                    let original = *self.flows.get(index).unwrap().key(Direction::Original);
                    self.flows.remove(index, &mut |_, _, _| {});
                    let first =
                        Segment::test(0x10, client.isn.wrapping_add(1), client.cookie.wrapping_add(1), 0);
                    let mut more = Vec::new();
                    self.begin(plan, original, &first, &client, now, &mut more);
                    self.act(plan, more, now, sent);
                }
                Output::GaveUp => {
                    self.done.push("gave up");
                    self.flows.remove(index, &mut |_, _, _| {});
                }
                Output::Closed => {
                    self.done.push("closed");
                    self.flows.remove(index, &mut |_, _, _| {});
                }
            }
        }
    }

    pub(super) fn poll(&mut self, plan: &Plan, now: Instant) -> Vec<(Side, Frame)> {
        let (mut sent, mut outputs) = (Vec::new(), Vec::new());
        let out = &mut |index, output| outputs.push((index, output));
        let next = self.splices.poll(&self.flows, now, 8, out);
        assert_eq!(next.is_some(), self.splices.waiting() > 0, "{next:?}");
        self.act(plan, outputs, now, &mut sent);
        sent
    }
}

/// Whether the fast way is the right one for a header, which it then has to be.
fn is_shifted(shift: Shift, before: &Transport, after: &Transport) -> bool {
    let (Transport::Tcp(before, _), Transport::Tcp(after, _)) = (before, after) else { return false };
    if !Splices::is_plain(before.offset_flags.get()) {
        return false;
    }
    let (sequence, acknowledgement, sum) = shift.of(before.sequence.get(), before.acknowledgement.get());
    assert_eq!([sequence, acknowledgement], [after.sequence.get(), after.acknowledgement.get()]);
    let checksum = sum.applied_to(before.checksum.get());
    // Both zeroes are right.
    assert_eq!(checksum % 0xffff, after.checksum.get() % 0xffff);
    true
}
