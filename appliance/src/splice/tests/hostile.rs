//! Both sides say anything at all: nothing panics, what is sent is right, and every list is whole.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::*;
use super::segment::Say;
use super::world::{Plan, at, random};
use crate::flow::{self, Direction, Key, New, Segment, Table, Tag};
use crate::packet::Packet;
use crate::packet::edit::Ends;
use crate::packet::testing::{Said, bytes_of, pool, said, single};

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// A segment comes: of which flow, from which side, and what of it is damaged.
    Segment { place: u8, is_client: bool, say: Numbers, said: Said, harm: Vec<(u8, u8)> },
    /// A connection begins, with or without these.
    Begin { place: u8, bits: u8 },
    /// It is over.
    End { place: u8 },
    /// Its flow is over, and nobody said so.
    Remove { place: u8 },
    /// Time goes on.
    Poll { millis: u16, most: u8 },
}

#[derive(Clone, Debug)]
struct Numbers {
    flags: u8,
    /// Which number it has, and how far from it.
    sequence: (u8, i8),
    acknowledgement: (u8, i8),
    options: Vec<u8>,
    data: u8,
}

const KNOWN: [u32; 6] = [0, 1000, 5_000_000, 900_000_000, u32::MAX - 3, 1 << 31];

fn numbers() -> impl Strategy<Value = Numbers> {
    let number = || (0_u8..6, prop_oneof![3 => -1_i8..3, 1 => any::<i8>()]);
    let flags = prop_oneof![Just(2_u8), Just(0x12), Just(0x10), Just(0x14), Just(4), Just(0x11), any::<u8>()];
    let options = prop_oneof![
        2 => Just(Vec::new()),
        3 => Just(vec![2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 3, 232, 1, 3, 3, 7]),
        3 => Just(vec![1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 3, 232]),
        2 => vec(any::<u8>(), 0..=40),
    ];
    (flags, number(), number(), options, any::<u8>()).prop_map(
        |(flags, sequence, acknowledgement, options, data)| Numbers {
            flags,
            sequence,
            acknowledgement,
            options,
            data,
        },
    )
}

fn events() -> impl Strategy<Value = Event> {
    let place = || 0_u8..4;
    prop_oneof![
        8 => (place(), any::<bool>(), numbers(), said(), vec((0_u8..60, any::<u8>()), 0..3)).prop_map(
            |(place, is_client, say, said, harm)| Event::Segment { place, is_client, say, said, harm }
        ),
        3 => (place(), any::<u8>()).prop_map(|(place, bits)| Event::Begin { place, bits }),
        1 => place().prop_map(|place| Event::End { place }),
        1 => place().prop_map(|place| Event::Remove { place }),
        2 => (any::<u16>(), any::<u8>()).prop_map(|(millis, most)| Event::Poll { millis, most }),
    ]
}

fn keys(place: u8, is_v6: bool) -> [Key; 2] {
    let v = |first: u8| -> core::net::IpAddr { if is_v6 { [first; 16].into() } else { [first; 4].into() } };
    let ends = |source, destination, [source_port, destination_port]: [u16; 2], zone| {
        Key::new(Ends { source, destination, source_port, destination_port }, 6, zone).unwrap()
    };
    let place = u16::from(place);
    [ends(v(0x20), v(0x30), [40_000 + place, 80], 0), ends(v(0x40), v(0x50), [8080, 6000 + place], 1)]
}

struct Stage {
    is_v6: bool,
    flows: Table,
    splices: Splices,
    cookies: Cookies,
    millis: u64,
}

impl Stage {
    fn index(&self, place: u8) -> Option<u32> {
        let [original, _] = keys(place, self.is_v6);
        self.flows.find(&original).map(|hit| hit.index)
    }

    fn act(&mut self, event: Event) {
        let mut frames = Vec::new();
        let mut out = |index: u32, output: Output| {
            assert!(index < 8);
            if let Output::Send(_, frame) = output {
                frames.push(bytes_of(&frame));
            }
        };
        let now = at(self.millis);
        match event {
            Event::Begin { place, bits } => {
                let is = |bit: u32| bits >> bit & 1 == 1;
                let [original, reply] = keys(place, self.is_v6);
                let first = Segment::test(0x10, 1, 1, 0);
                let tag = Tag { service: 0, server: 0 };
                let new = New { original, reply, tag, direction: Direction::Original, segment: Some(&first) };
                let _ = self.flows.open(&new, now, &mut |_, _, _| {});
                let client = Client {
                    isn: KNOWN[usize::from(bits % 6)],
                    cookie: KNOWN[usize::from(bits / 6 % 6)],
                    mss_bytes: u16::from(bits) * 250,
                    window: u16::MAX,
                    scale: is(0).then_some(bits % 16),
                    sack: is(1),
                    ecn: is(2) && is(6),
                    time: is(3).then_some([9, 1000]),
                    tries: bits % 4,
                    tried: [bits.into(); 2],
                };
                let service = Service { offer: Offer { scale: bits, ..Plan::OFFER }, proxy: is(4) };
                let index = self.index(place).unwrap();
                let flow = self.flows.get(index).unwrap();
                assert!(self.splices.begin(index, flow, &client, &service, now, &mut out));
            }
            Event::End { place } => {
                if let Some(index) = self.index(place) {
                    self.splices.end(index);
                }
            }
            Event::Remove { place } => {
                if let Some(index) = self.index(place) {
                    self.flows.remove(index, &mut |_, _, _| {});
                }
            }
            Event::Poll { millis, most } => {
                self.millis += u64::from(millis);
                let now = at(self.millis);
                let next = self.splices.poll(&self.flows, now, most.into(), &mut out);
                assert_eq!(next.is_some(), self.splices.waiting() > 0);
            }
            Event::Segment { place, is_client, say, said, harm } => {
                let number = |(which, by): (u8, i8)| {
                    KNOWN[usize::from(which)].wrapping_add(i32::from(by).cast_unsigned())
                };
                let said_by =
                    Say::new(self.is_v6, say.flags, number(say.sequence), number(say.acknowledgement))
                        .options(say.options)
                        .data(&vec![7; usize::from(say.data)]);
                let mut bytes = said_by.bytes(said);
                for (at_bytes, by) in harm {
                    if let Some(byte) = bytes.get_mut(said_by.sample.transport_at() + usize::from(at_bytes)) {
                        *byte ^= by;
                    }
                }
                let mut frame = single(&bytes);
                said_by.sample.say(said, &mut frame);
                let packet = Packet::read(&frame).unwrap();
                let Ok(Some(mut transport)) = packet.transport(&frame) else { return };
                let [original, reply] = keys(place, self.is_v6);
                let key = if is_client { original } else { reply };
                let _ = self.cookies.check(&key, &packet, &transport, &frame, now);
                if let Some(index) = self.index(place) {
                    let flow = self.flows.get(index).unwrap();
                    let (packet, transport) = (&packet, &mut transport);
                    let mut arrived = Arrived { index, flow, packet, transport, frame: &mut frame };
                    let verdict = if is_client {
                        self.splices.from_client(&mut arrived, now, &mut out)
                    } else {
                        self.splices.from_server(&mut arrived, now, &mut out)
                    };
                    assert!(
                        verdict == Verdict::Pass || !matches!(said, Said::Good) || bytes_of(&frame) == bytes
                    );
                }
                let answer =
                    self.cookies.answer_syn(&key, &packet, &transport, &mut frame, &Plan::OFFER, now);
                if answer.is_ok() {
                    frames.push(bytes_of(&frame));
                }
            }
        }
        frames.iter().for_each(|bytes| super::is_right(bytes));
        self.splices.waiting();
    }
}

proptest! {
    #[test]
    fn whatever_is_said_is_borne(is_v6 in any::<bool>(), events in vec(events(), 1..60)) {
        let mut flows = Table::new(flow::Limits::new(8), &mut random());
        flows.set_service(0, flow::Service { picks_up: true, ..flow::Service::GENERAL });
        let mut stage = Stage {
            is_v6,
            flows,
            splices: Splices::new(8, Settings::GENERAL, pool(8)),
            cookies: Cookies::new(&mut random()),
            millis: 0,
        };
        for event in events {
            stage.act(event);
        }
    }
}
