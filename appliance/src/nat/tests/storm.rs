//! All of it at once, over packets of which parts are made up.

use paravane_hal::pool::Chain;
use paravane_net::Burst;
use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::wire::Ipv4Packet;

use super::super::*;
use super::support::*;
use crate::flow::{Limits, New, Segment, Service, Verdict};
use crate::packet::testing::{Said, Sample, samples, single};

/// A box between two zones, with tables that are soon full.
struct Gate {
    table: Table,
    nat: Nat,
    fragments: Fragments,
    servers: [IpAddr; 2],
}

impl Gate {
    fn new() -> Self {
        let mut table = Table::new(Limits::new(12), &mut random());
        table.set_service(0, Service { picks_up: true, ..Service::GENERAL });
        let own = vec![[172, 16, 0, 1].into(), [7; 16].into()];
        let limits = FragmentLimits { datagrams: 8, waiting: 5, tcp: true };
        Self {
            table,
            nat: Nat::new(Sources::new(own).with_ports(5000..=5007), &mut random()),
            fragments: Fragments::new(limits, &mut random()),
            servers: [[10, 0, 0, 9].into(), [9; 16].into()],
        }
    }

    /// What a path does with a frame, as far as it is done here.
    fn take(&mut self, mut frame: Frame, zone: u8, mode: Mode, millis: u64) -> Option<()> {
        let now = at(millis);
        let mut packet = Packet::read(&frame).ok()?;
        let mut transport = packet.transport(&frame).ok()??;
        let part = Part::of(&packet, &frame, zone).ok()?;
        if let Some(part) = part.filter(|part| !part.is_first()) {
            let Later::Goes(mut frame, hit) = self.fragments.later(&part, frame, &self.table, now) else {
                return None;
            };
            let flow = self.table.get(hit.index)?;
            return translate(flow, hit.direction, &mut packet, &mut transport, &mut frame, None).ok();
        }
        if let Some((quoted, key)) = error_of(&packet, &transport, &frame, zone) {
            let hit = self.table.find(&key)?;
            let flow = self.table.get(hit.index)?;
            let (packet, transport) = (&mut packet, &mut transport);
            return translate_error(flow, hit.direction, &quoted, packet, transport, &mut frame).ok();
        }
        let key = Key::of(&packet, &transport, zone)?;
        let segment = Segment::of(&packet, &transport, &frame);
        let hit = match self.table.find(&key) {
            Some(hit) => match self.table.track(hit, segment.as_ref(), now, &mut |_, _, _| {}) {
                Verdict::Pass => hit,
                _ => return None,
            },
            None => {
                let address = self.servers[usize::from(key.is_v6())];
                let target = Target { address, port: 80, zone: 1 - zone, mode };
                let reply = self.nat.reply_key(&self.table, &key, &target).ok()?;
                let direction = Direction::Original;
                let new = New { original: key, reply, tag: TAG, direction, segment: segment.as_ref() };
                self.table.open(&new, now, &mut |_, _, _| {}).ok()?
            }
        };
        if let Some(part) = part {
            let mut released: Burst = Chain::new();
            self.fragments.first(&part, hit, &key, now, &mut released).ok()?;
        }
        let flow = self.table.get(hit.index)?;
        translate(flow, hit.direction, &mut packet, &mut transport, &mut frame, Some(500)).ok()
    }
}

/// Bytes of a packet of which some are others; its header's sum is right, or nobody looks further.
fn spoilt(sample: &Sample, changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = sample.bytes(Said::Good);
    for (at, byte) in changes {
        let at = 14 + at.index(bytes.len() - 14);
        bytes[at] = *byte;
    }
    if !sample.is_v6 {
        let mut ip = Ipv4Packet::new_unchecked(&mut bytes[14..]);
        if ip.check_len().is_ok() && ip.header_len() >= 20 {
            ip.fill_checksum();
        }
    }
    bytes
}

proptest! {
    #[test]
    fn tables_stay_whole_whatever_comes(
        all in vec(
            (samples(0..120), vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), any::<[bool; 3]>(), 0_u64..3000),
            1..40,
        ),
    ) {
        let mut gate = Gate::new();
        let mut millis = 0;
        for (sample, changes, [is_inside, is_full, again], wait) in all {
            let zone = u8::from(is_inside);
            let mode = if is_full { Mode::Full } else { Mode::Dnat };
            let bytes = spoilt(&sample, &changes);
            for _ in 0..=u8::from(again) {
                let _ = gate.take(single(&bytes), zone, mode, millis);
            }
            millis += wait;
            gate.table.poll(at(millis), 3, &mut |_, _, _| {});
            gate.fragments.poll(at(millis));
            prop_assert!(gate.fragments.waiting() <= 5);
        }
        gate.table.check();
        millis += 20_000_000;
        while gate.table.poll(at(millis), 100, &mut |_, _, _| {}).is_some() {}
        gate.fragments.poll(at(millis));
        prop_assert_eq!((gate.table.len(), gate.fragments.waiting()), (0, 0));
        gate.table.check();
    }
}
