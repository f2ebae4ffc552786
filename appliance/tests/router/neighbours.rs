//! Who has which address, by hosts that smoltcp's formats speak for.

use core::time::Duration;

use paravane_appliance::drops::Reason;
use paravane_net::MacAddr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    Icmpv4Packet, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags,
    NdiscRepr,
};

use super::world::{
    FAR_V4, HOST_MAC, HOST_V4, HOST_V6, OWN_MAC, OWN_V4, OWN_V6, PRIVATE, PUBLIC, World, udp,
};

/// What the host with `mac` answers to `asked`, if that is a question for an address.
pub fn answer(asked: &[u8], mac: MacAddr) -> Option<Vec<u8>> {
    let frame = EthernetFrame::new_checked(asked).unwrap();
    let own = EthernetAddress(mac.0);
    let (protocol, body) = match frame.ethertype() {
        EthernetProtocol::Arp => (EthernetProtocol::Arp, answer_arp(frame.payload(), own)?),
        EthernetProtocol::Ipv6 => (EthernetProtocol::Ipv6, answer_ndp(frame.payload(), own)?),
        _ => return None,
    };
    let header = EthernetRepr { src_addr: own, dst_addr: frame.src_addr(), ethertype: protocol };
    let mut bytes = vec![0; header.buffer_len() + body.len()];
    let mut out = EthernetFrame::new_unchecked(&mut bytes);
    header.emit(&mut out);
    out.payload_mut().copy_from_slice(&body);
    Some(bytes)
}

/// The same of any frame: `None` of one of hosts.
pub fn answer_of_any(asked: &[u8], mac: MacAddr) -> Option<Vec<u8>> {
    let is_ndp = asked[12..14] == [0x86, 0xdd] && asked[20] == 58;
    (asked[12..14] == [8, 6] || is_ndp).then(|| answer(asked, mac)).flatten()
}

fn answer_arp(body: &[u8], own: EthernetAddress) -> Option<Vec<u8>> {
    let packet = ArpPacket::new_checked(body).unwrap();
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&packet).unwrap()
    else {
        return None;
    };
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: own,
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let mut bytes = vec![0; reply.buffer_len()];
    reply.emit(&mut ArpPacket::new_unchecked(&mut bytes));
    Some(bytes)
}

fn answer_ndp(body: &[u8], own: EthernetAddress) -> Option<Vec<u8>> {
    let ip = Ipv6Packet::new_checked(body).unwrap();
    let (asks, caps) = (ip.src_addr(), ChecksumCapabilities::default());
    let message = Icmpv6Packet::new_checked(ip.payload()).unwrap();
    let Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. }) =
        Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &message, &caps).unwrap()
    else {
        return None;
    };
    let reply = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
        target_addr,
        lladdr: Some(own.into()),
    });
    let header = Ipv6Repr {
        src_addr: target_addr,
        dst_addr: asks,
        next_header: IpProtocol::Icmpv6,
        payload_len: reply.buffer_len(),
        hop_limit: 255,
    };
    let mut bytes = vec![0; header.buffer_len() + reply.buffer_len()];
    let mut out = Ipv6Packet::new_unchecked(&mut bytes);
    header.emit(&mut out);
    reply.emit(&target_addr, &asks, &mut Icmpv6Packet::new_unchecked(out.payload_mut()), &caps);
    Some(bytes)
}

#[test]
fn a_host_that_asks_for_the_router_is_answered() {
    let mut world = World::new();
    let asks = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(HOST_MAC.0),
        source_protocol_addr: HOST_V4,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: OWN_V4[1],
    };
    let header = EthernetRepr {
        src_addr: EthernetAddress(HOST_MAC.0),
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    let mut bytes = vec![0; header.buffer_len() + asks.buffer_len()];
    let mut out = EthernetFrame::new_unchecked(&mut bytes);
    header.emit(&mut out);
    asks.emit(&mut ArpPacket::new_unchecked(out.payload_mut()));
    world.take(PRIVATE, &bytes);
    let sent = world.sent_one(PRIVATE);
    let frame = EthernetFrame::new_checked(&sent[..]).unwrap();
    assert_eq!(frame.dst_addr().0, HOST_MAC.0);
    let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } =
        ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).unwrap()).unwrap()
    else {
        panic!("another protocol")
    };
    assert_eq!(
        (operation, source_hardware_addr.0, source_protocol_addr),
        (ArpOperation::Reply, OWN_MAC[1].0, OWN_V4[1])
    );
    assert!(world.all_home() && world.is_silent());
}

#[test]
fn who_does_not_answer_is_given_up_and_the_sender_is_told() {
    let mut world = World::acquainted();
    let nobody = core::net::Ipv4Addr::new(10, 0, 0, 99);
    world.take(PUBLIC, &udp(super::world::GATEWAY_MAC, OWN_MAC[0], FAR_V4.into(), nobody.into(), b"hello"));
    let mut asked = 0;
    for _ in 0..5 {
        world.pass(Duration::from_secs(1));
        asked += world.sent(PRIVATE).len();
    }
    assert_eq!(asked, 3, "three requests");
    let sent = world.sent_one(PUBLIC);
    let ip = Ipv4Packet::new_checked(&sent[14..]).unwrap();
    assert_eq!((ip.src_addr(), ip.dst_addr()), (OWN_V4[0], FAR_V4));
    let message = Icmpv4Packet::new_checked(ip.payload()).unwrap();
    assert!(message.verify_checksum());
    assert_eq!((u8::from(message.msg_type()), message.msg_code()), (3, 1), "host unreachable");
    assert_eq!(world.path.drops().of(PUBLIC, Reason::Unresolved), 1);
    assert!(world.all_home());
}

#[test]
fn a_ping_is_answered_whatever_its_hop_limit() {
    for hop_limit in [1, 64, 255] {
        let mut world = World::acquainted();
        let mut bytes = Vec::new();
        etherparse::PacketBuilder::ethernet2(HOST_MAC.0, OWN_MAC[1].0)
            .ipv6(HOST_V6.octets(), OWN_V6[1].octets(), hop_limit)
            .icmpv6_echo_request(7, 9)
            .write(&mut bytes, b"anybody there")
            .unwrap();
        world.take(PRIVATE, &bytes);
        let sent = world.sent_one(PRIVATE);
        let ip = Ipv6Packet::new_checked(&sent[14..]).unwrap();
        assert_eq!((ip.src_addr(), ip.dst_addr()), (OWN_V6[1], HOST_V6));
        let message = Icmpv6Packet::new_checked(ip.payload()).unwrap();
        let parsed =
            Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &message, &ChecksumCapabilities::default());
        assert_eq!(
            parsed.unwrap(),
            Icmpv6Repr::EchoReply { ident: 7, seq_no: 9, data: b"anybody there" },
            "{hop_limit}"
        );
        assert!(world.all_home());
    }
}
