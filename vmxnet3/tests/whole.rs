//! What goes in comes out, at each revision, with any features, rings and traffic; checksums,
//! segments and tags are read by a parser of somebody else's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::result_large_err,
    reason = "tests"
)]

#[path = "support/inside.rs"]
mod inside;
mod support;

use etherparse::{PacketBuilder, PacketHeaders, TcpHeader, TransportHeader};
use inside::{Inside, check_sums, sum};
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::vmxnet3::{Personality, Sent};
use paravane_net::{
    Burst, ChecksumRequest, Frame, Rss, RssKinds, RxChecksum, Segmentation, SegmentationKind, Settings,
    TunnelKind, TxOffload, TxQueue, VlanTag,
};
use paravane_vmxnet3::{Config, TunnelPorts};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{MAC, Machine, MockRunning, bytes_of, receive_all};

/// What is left to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Nothing,
    Checksum,
    /// Segments with so much in each.
    Cut(u16),
}

#[derive(Clone, Debug)]
struct Packet {
    is_v6: bool,
    is_tcp: bool,
    payload_bytes: usize,
    tag: Option<u16>,
    wants: Wants,
    port: u16,
    /// Broken on its way in.
    is_damaged: bool,
}

impl Packet {
    fn header_bytes(&self) -> [usize; 2] {
        let l4 = if self.is_v6 { 54 } else { 34 };
        [l4, l4 + if self.is_tcp { 32 } else { 8 }]
    }

    fn payload(&self) -> Vec<u8> {
        (0..self.payload_bytes).map(|at| (at * 7 + usize::from(self.port)) as u8).collect()
    }

    /// As it is when nothing is left to do.
    fn whole(&self) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], MAC);
        let ip = if self.is_v6 {
            ethernet.ipv6([0x20; 16], [0x21; 16], 64)
        } else {
            ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut bytes = Vec::new();
        if self.is_tcp {
            let mut tcp = TcpHeader::new(self.port, 80, 0xffff_f000, 1000);
            (tcp.ack, tcp.psh) = (true, true);
            tcp.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
            ip.tcp_header(tcp).write(&mut bytes, &self.payload()).unwrap();
        } else {
            ip.udp(self.port, 53).write(&mut bytes, &self.payload()).unwrap();
        }
        bytes
    }

    fn request(&self) -> ChecksumRequest {
        let [l4, _] = self.header_bytes();
        ChecksumRequest { start_bytes: l4 as u16, offset_bytes: if self.is_tcp { 16 } else { 6 } }
    }

    /// As a stack leaves it that leaves the rest to the device.
    fn given(&self, machine: &Machine) -> Frame {
        let mut bytes = self.whole();
        let request = self.request();
        if self.wants != Wants::Nothing {
            let [l4, _] = self.header_bytes();
            let addresses = if self.is_v6 { 22..54 } else { 26..34 };
            let protocol = [0, if self.is_tcp { 6 } else { 17 }];
            let length = ((bytes.len() - l4) as u16).to_be_bytes();
            let sum = sum(&[&bytes[addresses], &protocol, &length].concat());
            let at = usize::from(request.start_bytes + request.offset_bytes);
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        let pieces: Vec<&[u8]> = bytes.chunks(1984).collect();
        let mut frame = machine.chain(&pieces);
        let segmentation = match self.wants {
            Wants::Cut(mss_bytes) => Some(Segmentation {
                kind: if self.is_v6 { SegmentationKind::Tcp6 } else { SegmentationKind::Tcp4 },
                header_bytes: self.header_bytes()[1] as u16,
                mss_bytes,
                ecn: false,
            }),
            _ => None,
        };
        let checksum = (self.wants != Wants::Nothing).then_some(request);
        frame.set_offload(TxOffload { checksum, segmentation });
        frame.set_vlan(self.tag.map(VlanTag));
        frame
    }

    /// What went over the wire for it is it.
    fn check_wire(&self, wire: &[Vec<u8>]) {
        let mut payload = Vec::new();
        for (position, bytes) in wire.iter().enumerate() {
            let parsed = PacketHeaders::from_ethernet_slice(bytes).unwrap();
            let tag = parsed.vlan_ids().first().map(|vid| vid.value());
            assert_eq!(tag, self.tag);
            let part = parsed.payload.slice();
            check_sums(&parsed, part, true);
            if let Some(TransportHeader::Tcp(tcp)) = &parsed.transport {
                assert_eq!(tcp.sequence_number, 0xffff_f000_u32.wrapping_add(payload.len() as u32));
                assert_eq!((tcp.psh, tcp.options.len()), (position + 1 == wire.len(), 12));
            }
            payload.extend_from_slice(part);
        }
        let parts = match self.wants {
            Wants::Cut(mss_bytes) => self.payload_bytes.div_ceil(mss_bytes.into()),
            _ => 1,
        };
        assert_eq!((wire.len(), payload), (parts, self.payload()));
    }
}

/// A packet in a tunnel, of which a checksum is left to the device, or segments.
#[derive(Clone, Copy, Debug)]
struct Tunnelled {
    packet: Inside,
    mss_bytes: Option<u16>,
    tag: Option<u16>,
    is_damaged: bool,
}

impl Tunnelled {
    fn given(&self, machine: &Machine) -> Frame {
        let mut frame = self.packet.given(machine, self.mss_bytes);
        frame.set_vlan(self.tag.map(VlanTag));
        frame
    }
}

#[derive(Clone, Debug)]
enum Traffic {
    Plain(Packet),
    Tunnelled(Tunnelled),
}

#[derive(Clone, Debug)]
struct Case {
    revision: u8,
    pairs: u16,
    entries: [u16; 2],
    ip_mtu_bytes: u16,
    rx_checksum: bool,
    strip_vlan: bool,
    lro: bool,
    tunnels: TunnelPorts,
    tx_threshold: u32,
    update_rx_prod: bool,
    packets: Vec<Traffic>,
}

impl Case {
    /// Whether the device is asked about the inside of any tunnel, and of such a one.
    fn looks_inside(&self, packet: &Inside) -> [bool; 2] {
        let looks = self.revision >= 4 && !self.tunnels.is_none();
        [looks, looks && self.tunnels.port(packet.kind).is_some()]
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    let wants =
        prop_oneof![Just(Wants::Nothing), Just(Wants::Checksum), (500_u16..1400).prop_map(Wants::Cut)];
    let tag = prop_oneof![3 => Just(None), 1 => (1_u16..4095).prop_map(Some)];
    (any::<[bool; 2]>(), 1_usize..20_000, tag, wants, any::<u16>(), 0..8).prop_map(
        |([is_v6, is_tcp], payload_bytes, tag, wants, port, damage)| Packet {
            is_v6,
            is_tcp: is_tcp || matches!(wants, Wants::Cut(_)),
            payload_bytes: if matches!(wants, Wants::Cut(_)) {
                payload_bytes
            } else {
                payload_bytes % 1400 + 1
            },
            tag,
            wants,
            port,
            is_damaged: damage == 0,
        },
    )
}

fn tunnelled() -> impl Strategy<Value = Tunnelled> {
    let kinds: Vec<_> = inside::kinds().collect();
    let mss = prop::option::of(500_u16..1300);
    let tag = prop_oneof![3 => Just(None), 1 => (1_u16..4095).prop_map(Some)];
    (prop::sample::select(kinds), any::<bool>(), 1_usize..20_000, mss, tag, 0..8).prop_map(
        |(packet, is_tcp, payload_bytes, mss_bytes, tag, damage)| {
            let is_cut = mss_bytes.is_some();
            let payload_bytes = if is_cut { payload_bytes } else { payload_bytes % 1300 + 1 };
            let packet = Inside { is_tcp: is_tcp || is_cut, payload_bytes, ..packet };
            Tunnelled { packet, mss_bytes, tag, is_damaged: damage == 0 }
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let traffic = prop_oneof![
        2 => packet().prop_map(Traffic::Plain),
        1 => tunnelled().prop_map(Traffic::Tunnelled),
    ];
    let entries = prop_oneof![Just(32_u16), Just(64), Just(96), Just(128), Just(224)];
    (
        (
            1..=7_u8,
            1..=8_u16,
            [entries.clone(), entries],
            prop_oneof![Just(1500_u16), Just(4000), Just(9000)],
        ),
        (any::<[bool; 4]>(), 0..10_u32, any::<[bool; 2]>()),
        vec(traffic, 1..40),
    )
        .prop_map(
            |(
                (revision, pairs, entries, ip_mtu_bytes),
                (features, tx_threshold, [geneve, vxlan]),
                packets,
            )| {
                let [rx_checksum, strip_vlan, lro, update_rx_prod] = features;
                let ports =
                    TunnelPorts::NONE.with(TunnelKind::Geneve, if geneve { inside::GENEVE } else { 0 });
                let tunnels = ports.with(TunnelKind::Vxlan, if vxlan { inside::VXLAN } else { 0 });
                // A ring that is no power of two is refused there.
                let entries =
                    if revision == 7 { entries.map(|entries| 1 << entries.ilog2()) } else { entries };
                Case {
                    revision,
                    pairs,
                    entries,
                    ip_mtu_bytes,
                    rx_checksum,
                    strip_vlan,
                    lro,
                    tunnels,
                    tx_threshold,
                    update_rx_prod,
                    packets,
                }
            },
        )
}

/// What goes over the wire for a frame; nothing if it is refused.
fn transmit(tx: &mut impl TxQueue, machine: &Machine, frame: Frame) -> Vec<Vec<u8>> {
    let refused = tx.counters().refused;
    let mut burst = Burst::new();
    burst.push(frame);
    assert_eq!(tx.transmit(&mut burst), Ok(1));
    let sent = u32::from(tx.counters().refused == refused);
    tx.flush();
    machine.model().tick();
    assert_eq!(tx.reclaim(), Ok(sent as usize));
    let on_wire: Vec<_> = machine.model().take_sent().iter().map(Sent::on_wire).collect();
    assert_eq!(on_wire.len(), sent as usize);
    on_wire.concat()
}

/// A frame comes in, whole or damaged; what is handed over is it, and nothing is said of it that is
/// not so.
fn receive(case: &Case, machine: &Machine, up: &mut MockRunning, packet: &Packet, mut wire: Vec<u8>) {
    if packet.is_damaged {
        // The first byte of what it carries: behind that may be padding.
        wire[packet.header_bytes()[1] + if packet.tag.is_some() { 4 } else { 0 }] ^= 0x40;
    }
    assert!(machine.model().deliver(&wire));
    let frames = receive_all(up);
    assert_eq!(frames.len(), 1);
    let frame = &frames[0];
    let is_stripped = case.strip_vlan && packet.tag.is_some();
    assert_eq!(frame.vlan(), packet.tag.filter(|_| is_stripped).map(VlanTag));
    if is_stripped {
        wire.drain(12..16);
    }
    assert!(bytes_of(frame) == wire);
    let verdict = match (case.rx_checksum, packet.is_damaged) {
        (false, _) => vec![RxChecksum::Unverified],
        (true, false) => vec![RxChecksum::Good],
        (true, true) => vec![RxChecksum::BadL4, RxChecksum::Unverified],
    };
    assert!(verdict.contains(&frame.rx_checksum()), "{:?}", frame.rx_checksum());
}

/// The same of one in a tunnel.
fn receive_inside(case: &Case, machine: &Machine, up: &mut MockRunning, of: Tunnelled, mut wire: Vec<u8>) {
    let Tunnelled { packet, tag, is_damaged, .. } = of;
    if is_damaged {
        wire[packet.places()[3] + if tag.is_some() { 4 } else { 0 }] ^= 0x40;
    }
    assert!(machine.model().deliver(&wire));
    let frames = receive_all(up);
    assert_eq!(frames.len(), 1);
    if case.strip_vlan && tag.is_some() {
        assert_eq!(frames[0].vlan(), tag.map(VlanTag));
        wire.drain(12..16);
    }
    assert!(bytes_of(&frames[0]) == wire);
    let [looks, looks_there] = case.looks_inside(&packet);
    let is_good = |looks| case.rx_checksum && looks && !is_damaged;
    assert_eq!(frames[0].has_good_inner_checksum(), is_good(looks_there));
    let is_outer_good = is_good(!looks && packet.outer_checksum);
    assert_eq!(frames[0].rx_checksum() == RxChecksum::Good, is_outer_good, "{:?}", frames[0].rx_checksum());
}

fn goes_in_and_comes_out(case: &Case) {
    let personality = Personality {
        tx_threshold: case.tx_threshold,
        update_rx_prod: case.update_rx_prod,
        ..Personality::esxi().up_to(case.revision)
    };
    let machine = Machine::new(personality);
    let queues: Vec<u16> = (0..1 << case.pairs.ilog2()).collect();
    let mut settings = Settings::default();
    if queues.len() > 1 {
        settings = settings.with_rss(Rss::new(RssKinds::TCP4 | RssKinds::TCP6, &queues).unwrap());
    }
    let config = Config::default()
        .with_tx_entries(case.entries[0])
        .with_rx_entries(case.entries[1] * queues.len() as u16)
        .with_rx2_entries(32)
        .with_pairs(queues.len() as u16)
        .with_ip_mtu_bytes(case.ip_mtu_bytes)
        .with_rx_checksum(case.rx_checksum)
        .with_strip_vlan(case.strip_vlan)
        .with_lro(case.lro)
        .with_tunnels(case.tunnels)
        .with_max_revision(7)
        .with_settings(settings);
    let mut up = machine.start(&config, Interrupts::POLLING);
    assert_eq!((up.control.revision(), up.control.pairs()), (case.revision, queues.len() as u16));
    for (number, packet) in case.packets.iter().enumerate() {
        let frame = match packet {
            Traffic::Plain(packet) => packet.given(&machine),
            Traffic::Tunnelled(tunnelled) => tunnelled.given(&machine),
        };
        let queue = number % queues.len();
        let wire = match queue {
            0 => transmit(&mut up.tx, &machine, frame),
            _ => transmit(up.rx.others_mut()[queue - 1].tx.as_mut().unwrap(), &machine, frame),
        };
        match packet {
            Traffic::Plain(packet) => packet.check_wire(&wire),
            Traffic::Tunnelled(Tunnelled { packet, mss_bytes: Some(_), .. })
                if case.looks_inside(packet) != [true; 2] =>
            {
                assert!(wire.is_empty(), "nobody cuts it");
            }
            Traffic::Tunnelled(Tunnelled { packet, mss_bytes, .. }) => packet.check_wire(&wire, *mss_bytes),
        }
        for segment in wire {
            match packet {
                Traffic::Plain(packet) => receive(case, &machine, &mut up, packet, segment),
                Traffic::Tunnelled(tunnelled) => receive_inside(case, &machine, &mut up, *tunnelled, segment),
            }
        }
    }
    machine.assert_clean();
    up.stop().unwrap();
    assert_eq!(machine.pool.free(), machine.pool.buffers());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(case in case()) {
        goes_in_and_comes_out(&case);
    }
}
