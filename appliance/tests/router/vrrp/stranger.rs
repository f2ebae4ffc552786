//! What else comes by the links: questions for addresses that are not here, and advertisements that
//! are none.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use etherparse::PacketBuilder;
use paravane_appliance::drops::Reason;
use paravane_appliance::vrrp::{Advertisement, Checksum, State};
use paravane_net::{Frame, MacAddr};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
};

use super::{EGRESS_FRAMES, FRAMES, Links, Machine, PRIVATE_VIP, PUBLIC_VIP, VIP_V6, id, mac, own_v4};
use crate::world::{PRIVATE, PUBLIC, bytes_of};

const HOST_MAC: MacAddr = MacAddr::local(0x999);
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
const SECOND: Duration = Duration::from_secs(1);

/// Who has `target`?
fn who_has(target: Ipv4Addr) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(HOST_MAC.0),
        source_protocol_addr: HOST,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let header = EthernetRepr {
        src_addr: EthernetAddress(HOST_MAC.0),
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    let mut bytes = vec![0; header.buffer_len() + arp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    header.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

fn ping(to: MacAddr, target: Ipv4Addr) -> Vec<u8> {
    let packet = PacketBuilder::ethernet2(HOST_MAC.0, to.0)
        .ipv4(HOST.octets(), target.octets(), 64)
        .icmpv4_echo_request(1, 1);
    let mut bytes = vec![0; packet.size(0)];
    packet.write_to_slice(&mut bytes, b"").unwrap();
    bytes
}

/// Somebody's advertisement, from that address and with that MAC address.
fn advertisement(of: &Machine, from: MacAddr, source: IpAddr, priority: u8) -> Vec<u8> {
    let said = Advertisement {
        id: id(7),
        priority,
        interval_centis: 100,
        addresses: [if source.is_ipv4() { PUBLIC_VIP.into() } else { IpAddr::from(VIP_V6) }]
            .into_iter()
            .collect(),
        checksum: Checksum::Message,
    };
    let frame: Frame = said.frame(&of.pool, from, source).unwrap();
    bytes_of(&frame)
}

fn settled() -> Links {
    let mut links = Links::of([150, 100]);
    links.pass(10 * SECOND);
    assert!(links.machines[0].is(State::Active));
    links
}

#[test]
fn only_the_active_one_answers_for_the_addresses() {
    let mut links = settled();
    let now = links.now;
    for nth in 0..2 {
        let machine = &mut links.machines[nth];
        machine.take(PUBLIC, &who_has(PUBLIC_VIP), now);
        let answered = machine.sent(PUBLIC);
        assert_eq!(answered.len(), usize::from(nth == 0), "machine {nth}");
        if let [answer] = &*answered {
            assert_eq!((&answer[6..12], &answer[22..28]), (&mac(0, PUBLIC).0[..], &mac(0, PUBLIC).0[..]));
        }
        machine.take(PUBLIC, &ping(mac(nth, PUBLIC), PUBLIC_VIP), now);
        machine.path.poll(now);
        let echoes =
            machine.sent(PUBLIC).into_iter().filter(|frame| frame[12] == 8 && frame[13] == 0).count();
        assert_eq!(echoes, usize::from(nth == 0), "machine {nth}");
        // Each has its own address.
        machine.take(PUBLIC, &who_has(own_v4(nth, PUBLIC)), now);
        assert_eq!(machine.sent(PUBLIC).len(), 1);
    }
}

#[test]
fn what_a_host_still_sends_to_the_one_before_goes_on_to_the_next() {
    let mut links = settled();
    let now = links.now;
    links.machines[0].path.resign(now);
    links.carry(0);
    links.pass(2 * SECOND);
    assert!(links.machines[1].is(State::Active));
    // A host that ignored what was announced.
    links.passed.clear();
    let now = links.now;
    links.machines[0].take(PUBLIC, &ping(mac(0, PUBLIC), PUBLIC_VIP), now);
    links.pass(SECOND);
    let is_echo = |bytes: &[u8]| bytes[12..14] == [8, 0] && bytes[23] == 1;
    let echoes: Vec<_> = links.passed.iter().filter(|passed| is_echo(&passed.bytes)).collect();
    let by: Vec<_> = echoes.iter().map(|passed| passed.from).collect();
    assert_eq!(by, [0, 1], "by way of the first, and answered by the second");
}

#[test]
fn what_is_no_advertisement_is_dropped_for_a_reason() {
    let mut links = settled();
    let now = links.now;
    let pool = Machine::new(5, 1);
    let good = advertisement(&pool, HOST_MAC, HOST.into(), 254);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        smoltcp::wire::Ipv4Packet::new_unchecked(&mut bytes[14..]).fill_checksum();
        bytes
    };
    let v6 = |source: &str| advertisement(&pool, HOST_MAC, source.parse::<Ipv6Addr>().unwrap().into(), 254);
    for (what, bytes, reason) in [
        ("by a router", with(22, 254), Reason::Vrrp),
        ("a checksum", with(40, 0xaa), Reason::Vrrp),
        ("version 2", with(34, 0x21), Reason::Vrrp),
        ("in parts", with(20, 0x20), Reason::Vrrp),
        ("to another group", with(33, 19), Reason::Group),
        (
            "of another network",
            advertisement(&pool, HOST_MAC, Ipv4Addr::new(10, 0, 0, 9).into(), 254),
            Reason::ReversePath,
        ),
        ("from our address", advertisement(&pool, HOST_MAC, own_v4(0, PUBLIC).into(), 254), Reason::Spoofed),
        ("from our MAC address", advertisement(&pool, mac(0, PUBLIC), HOST.into(), 254), Reason::Spoofed),
        ("from no address of the link", v6("2001:db8:1::99"), Reason::ReversePath),
        (
            "of another machine's router",
            {
                let said = Advertisement {
                    id: id(9),
                    priority: 254,
                    interval_centis: 100,
                    addresses: [IpAddr::from(PUBLIC_VIP)].into_iter().collect(),
                    checksum: Checksum::Message,
                };
                bytes_of(&said.frame(&pool.pool, HOST_MAC, HOST.into()).unwrap())
            },
            Reason::Group,
        ),
    ] {
        let machine = &mut links.machines[0];
        let before = (machine.path.drops().of(PUBLIC, reason), machine.path.drops().total(PUBLIC));
        machine.take(PUBLIC, &bytes, now);
        let after = (machine.path.drops().of(PUBLIC, reason), machine.path.drops().total(PUBLIC));
        assert_eq!(after, (before.0 + 1, before.1 + 1), "{what}");
        assert!(machine.is(State::Active), "{what}");
    }
    // The good one is heard: on one side, and both go.
    links.machines[0].take(PUBLIC, &good, now);
    assert!(links.machines[0].is(State::Backup));
    assert!(!links.machines[0].has(PRIVATE, PRIVATE_VIP));
}

#[test]
fn one_without_virtual_routers_drops_what_others_say() {
    let mut world = crate::world::World::new();
    let said = advertisement(&Machine::new(5, 1), HOST_MAC, HOST.into(), 100);
    world.take(PUBLIC, &said);
    assert_eq!(world.dropped(), [(PUBLIC, Reason::Group, 1)]);
}

#[test]
fn one_that_is_told_often_that_it_is_not_alone_does_not_answer_each_time() {
    let mut links = settled();
    let said = advertisement(&Machine::new(5, 1), HOST_MAC, HOST.into(), 10);
    links.passed.clear();
    for _ in 0..100 {
        for _ in 0..10 {
            let now = links.now;
            links.machines[0].take(PUBLIC, &said, now);
        }
        links.pass(super::STEP);
    }
    let answers = links
        .passed
        .iter()
        .filter(|passed| passed.link == PUBLIC && passed.bytes[12] == 8 && passed.advertisement().is_some());
    assert!(answers.count() <= 101, "one each 10 ms at most, of 1000");
    let rivals =
        links.machines[0].events().into_iter().filter(|event| matches!(event, super::Event::Rival { .. }));
    assert_eq!(rivals.count(), 1, "said once");
}

#[test]
fn it_speaks_while_others_hold_all_frames() {
    let mut links = settled();
    let machine = &mut links.machines[0];
    let held: Vec<_> = core::iter::from_fn(|| machine.pool.get()).collect();
    assert!(held.len() < FRAMES as usize);
    links.passed.clear();
    // Nobody hears anything else: the other machine has frames of its own.
    links.pass(Duration::from_millis(1000));
    assert_eq!(links.passed.iter().filter(|passed| passed.advertisement().is_some()).count(), 3);
    drop(held);
    links.pass(5 * SECOND);
    assert!(links.machines[0].is(State::Active) && links.machines[1].is(State::Backup));
}

#[test]
fn it_speaks_behind_however_much_leaves_by_that_link() {
    let mut links = settled();
    let machine = &mut links.machines[0];
    let egress = machine.path.egress(PUBLIC).unwrap();
    // As many as a path holds for a NIC that takes none.
    while egress.len() < usize::from(EGRESS_FRAMES) {
        egress.push(machine.pool.get().unwrap());
    }
    let now = links.now.saturating_add(SECOND);
    links.machines[0].path.poll(now);
    let sent = links.machines[0].sent(PUBLIC);
    assert_eq!(sent.len(), usize::from(EGRESS_FRAMES) + 2, "one for each IP version");
}
