//! The box, and what comes out of it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_mock_hal::MockPlatform;
use paravane_net::{Frame, FrameLayout, FramePool, MacAddr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};
use std::vec::Vec;

use crate::interface::{Interface, InterfaceId};
use crate::neighbour::{Dropped, Event, Ignored, Limits, Neighbour, Neighbours, Output, State};
use crate::packet::Packet;

pub(super) const LINK: InterfaceId = InterfaceId(0);
pub(super) const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xaa]);
pub(super) const OUR_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const OUR_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
pub(super) const OUR_WIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// A neighbour of either version.
pub(super) const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xbb]);
pub(super) const THEIR_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(super) const THEIR_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x1234, 0x5678);
/// Another MAC address.
pub(super) const OTHERS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xcc]);
pub(super) const BOTH: [IpAddr; 2] = [IpAddr::V4(THEIR_V4), IpAddr::V6(THEIR_V6)];

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

/// A message on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) from: MacAddr,
    pub(super) to: MacAddr,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Arp {
        is_reply: bool,
        sender: (MacAddr, Ipv4Addr),
        target: (MacAddr, Ipv4Addr),
    },
    Solicit {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<MacAddr>,
    },
    Advertise {
        source: Ipv6Addr,
        destination: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<MacAddr>,
        /// Router, solicited, override.
        flags: [bool; 3],
    },
}

fn ethernet(mac: MacAddr) -> EthernetAddress {
    EthernetAddress(mac.0)
}

impl Said {
    /// As bytes of a frame.
    pub(super) fn bytes(self) -> Vec<u8> {
        let (ethertype, body) = match self.what {
            What::Arp { is_reply, sender, target } => {
                let repr = ArpRepr::EthernetIpv4 {
                    operation: if is_reply { ArpOperation::Reply } else { ArpOperation::Request },
                    source_hardware_addr: ethernet(sender.0),
                    source_protocol_addr: sender.1,
                    target_hardware_addr: ethernet(target.0),
                    target_protocol_addr: target.1,
                };
                let mut body = std::vec![0; repr.buffer_len()];
                repr.emit(&mut ArpPacket::new_unchecked(&mut body[..]));
                (EthernetProtocol::Arp, body)
            }
            What::Solicit { source, destination, target, mac } => {
                let lladdr = mac.map(|mac| ethernet(mac).into());
                let repr = NdiscRepr::NeighborSolicit { target_addr: target, lladdr };
                (EthernetProtocol::Ipv6, message(source, destination, repr))
            }
            What::Advertise { source, destination, target, mac, flags: [router, solicited, overrides] } => {
                let mut flags = NdiscNeighborFlags::empty();
                flags.set(NdiscNeighborFlags::ROUTER, router);
                flags.set(NdiscNeighborFlags::SOLICITED, solicited);
                flags.set(NdiscNeighborFlags::OVERRIDE, overrides);
                let lladdr = mac.map(|mac| ethernet(mac).into());
                let repr = NdiscRepr::NeighborAdvert { flags, target_addr: target, lladdr };
                (EthernetProtocol::Ipv6, message(source, destination, repr))
            }
        };
        let repr = EthernetRepr { src_addr: ethernet(self.from), dst_addr: ethernet(self.to), ethertype };
        let mut bytes = std::vec![0; repr.buffer_len()];
        repr.emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
        bytes.extend(body);
        bytes
    }

    /// Reads such a frame, and holds all of it against what it has to be.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let frame = EthernetFrame::new_checked(bytes).unwrap();
        let mac = |address: EthernetAddress| MacAddr(address.0);
        let what = match frame.ethertype() {
            EthernetProtocol::Arp => {
                let ArpRepr::EthernetIpv4 {
                    operation,
                    source_hardware_addr,
                    source_protocol_addr,
                    target_hardware_addr,
                    target_protocol_addr,
                } = ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).unwrap()).unwrap()
                else {
                    panic!("it is no ARP of Ethernet and IPv4");
                };
                What::Arp {
                    is_reply: operation == ArpOperation::Reply,
                    sender: (mac(source_hardware_addr), source_protocol_addr),
                    target: (mac(target_hardware_addr), target_protocol_addr),
                }
            }
            EthernetProtocol::Ipv6 => read_message(frame.payload()),
            other => panic!("{other} is not expected"),
        };
        let said = Self { from: mac(frame.src_addr()), to: mac(frame.dst_addr()), what };
        assert_eq!(said.bytes(), bytes, "and nothing more is in it");
        said
    }
}

fn message(source: Ipv6Addr, destination: Ipv6Addr, ndisc: NdiscRepr<'_>) -> Vec<u8> {
    let icmp = Icmpv6Repr::Ndisc(ndisc);
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: 255,
    };
    let mut bytes = std::vec![0; ip.buffer_len() + icmp.buffer_len()];
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[..]));
    let mut packet = Icmpv6Packet::new_unchecked(&mut bytes[ip.buffer_len()..]);
    icmp.emit(&source, &destination, &mut packet, &ChecksumCapabilities::default());
    bytes
}

fn read_message(bytes: &[u8]) -> What {
    let ip = Ipv6Repr::parse(&Ipv6Packet::new_checked(bytes).unwrap()).unwrap();
    assert_eq!((ip.hop_limit, ip.next_header), (255, IpProtocol::Icmpv6));
    let (source, destination) = (ip.src_addr, ip.dst_addr);
    let packet = Icmpv6Packet::new_checked(&bytes[40..]).unwrap();
    assert!(packet.verify_checksum(&source, &destination));
    let mac = |address: smoltcp::wire::RawHardwareAddress| MacAddr(address.as_bytes().try_into().unwrap());
    match Icmpv6Repr::parse(&source, &destination, &packet, &ChecksumCapabilities::default()).unwrap() {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, lladdr }) => {
            What::Solicit { source, destination, target: target_addr, mac: lladdr.map(mac) }
        }
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr, lladdr }) => What::Advertise {
            source,
            destination,
            target: target_addr,
            mac: lladdr.map(mac),
            flags: [NdiscNeighborFlags::ROUTER, NdiscNeighborFlags::SOLICITED, NdiscNeighborFlags::OVERRIDE]
                .map(|flag| flags.contains(flag)),
        },
        other => panic!("{other:?} is not expected"),
    }
}

/// What `address`, which is at `mac`, answers to our question.
pub(super) fn answer(address: IpAddr, mac: MacAddr) -> Said {
    let what = match address {
        IpAddr::V4(address) => What::Arp { is_reply: true, sender: (mac, address), target: (OURS, OUR_V4) },
        IpAddr::V6(address) => What::Advertise {
            source: address,
            destination: our_v6_for(address),
            target: address,
            mac: Some(mac),
            flags: [false, true, true],
        },
    };
    Said { from: mac, to: OURS, what }
}

/// What `address`, which is at `mac`, says to all unasked.
pub(super) fn announcement(address: IpAddr, mac: MacAddr) -> Said {
    match address {
        IpAddr::V4(address) => Said {
            from: mac,
            to: MacAddr([0xff; 6]),
            what: What::Arp { is_reply: false, sender: (mac, address), target: (MacAddr([0; 6]), address) },
        },
        IpAddr::V6(address) => Said {
            from: mac,
            to: MacAddr([0x33, 0x33, 0, 0, 0, 1]),
            what: What::Advertise {
                source: address,
                destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
                target: address,
                mac: Some(mac),
                flags: [false, false, true],
            },
        },
    }
}

/// The question of `address`, which is at `mac`, for our address.
pub(super) fn question(address: IpAddr, mac: MacAddr) -> Said {
    match address {
        IpAddr::V4(address) => Said {
            from: mac,
            to: MacAddr([0xff; 6]),
            what: What::Arp { is_reply: false, sender: (mac, address), target: (MacAddr([0; 6]), OUR_V4) },
        },
        IpAddr::V6(address) => Said {
            from: mac,
            to: MacAddr([0x33, 0x33, 0xff, 0, 0, 1]),
            what: What::Solicit {
                source: address,
                destination: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1),
                target: our_v6_for(address),
                mac: Some(mac),
            },
        },
    }
}

/// What we ask for `address`: all, or the one at `mac`.
pub(super) fn our_question(address: IpAddr, mac: Option<MacAddr>) -> Said {
    match address {
        IpAddr::V4(address) => Said {
            from: OURS,
            to: mac.unwrap_or(MacAddr([0xff; 6])),
            what: What::Arp { is_reply: false, sender: (OURS, OUR_V4), target: (MacAddr([0; 6]), address) },
        },
        IpAddr::V6(address) => {
            let [.., a, b, c] = address.octets();
            let mut group = [0; 16];
            group[..2].copy_from_slice(&[0xff, 2]);
            group[11..].copy_from_slice(&[1, 0xff, a, b, c]);
            Said {
                from: OURS,
                to: mac.unwrap_or(MacAddr([0x33, 0x33, 0xff, a, b, c])),
                what: What::Solicit {
                    source: our_v6_for(address),
                    destination: if mac.is_some() { address } else { group.into() },
                    target: address,
                    mac: Some(OURS),
                },
            }
        }
    }
}

fn our_v6_for(address: Ipv6Addr) -> Ipv6Addr {
    if address.segments()[0] == 0xfe80 { OUR_V6 } else { OUR_WIDE_V6 }
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
            Output::Unreachable { address, frame, .. } => Out::Unreachable(address, mark(frame)),
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
        self.neighbours.wait(LINK, address, frame, self.now, &mut |out| Self::note(outs, out));
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
