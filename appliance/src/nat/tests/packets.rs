//! Whole packets, there and back.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::super::*;
use super::support::*;
use crate::packet::testing::{
    Carries, Said, Sample, bytes_of, frame_of, is_summed, plain, pool, said, samples, single,
};

/// Ends as somebody else reads them.
fn parsed(bytes: &[u8]) -> (IpAddr, IpAddr, Option<[u16; 2]>) {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let (source, destination) = match packet.net.unwrap() {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Arp(_) => panic!("no ARP"),
    };
    let ports = match packet.transport {
        Some(TransportSlice::Tcp(tcp)) => Some([tcp.source_port(), tcp.destination_port()]),
        Some(TransportSlice::Udp(udp)) => Some([udp.source_port(), udp.destination_port()]),
        _ => None,
    };
    (source, destination, ports)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_packet_goes_to_its_server_and_its_answer_comes_from_the_service(
        from in of_flows(0..400),
        back in samples(0..400),
        world in world(),
        said in said(),
        first in 128_usize..500,
    ) {
        let mut table = table();
        let pool = pool(40);
        let mut frame = frame_of(&pool, &from.bytes(said), first, 100);
        from.say(said, &mut frame);
        let before = (frame.rx_checksum(), frame.offload());
        let Some((hit, [original, reply])) = world.open(&mut table, &frame) else {
            // Ends that are the same on both sides are nobody's.
            return Ok(());
        };
        let flow = table.get(hit.index).unwrap();

        let (mut packet, mut transport) = read(&frame);
        translate(flow, hit.direction, &mut packet, &mut transport, &mut frame, None).unwrap();
        let to = with_ends(&from, &reply.reversed(OUTSIDE));
        prop_assert_eq!(bytes_of(&frame), to.bytes(said));
        prop_assert_eq!((frame.rx_checksum(), frame.offload()), before);
        let bytes = bytes_of(&frame);
        let (source, destination, ports) = parsed(&bytes);
        prop_assert_eq!(destination, ip(&world.server, from.is_v6));
        let client = if world.is_full { &world.own } else { &from.source };
        prop_assert_eq!(source, ip(client, from.is_v6));
        if let Some([source, destination]) = ports {
            prop_assert_eq!(destination, world.port);
            let is_right = if world.is_full { source >= 1024 } else { source == from.ports[0] };
            prop_assert!(is_right);
        }
        if said == Said::Good && from.padding == 0 {
            prop_assert!(is_summed(&bytes, &to));
        }

        // What comes back is of the service, however it looks otherwise.
        let back = Sample { is_v6: from.is_v6, carries: from.carries.clone(), fragment: 0, ..back };
        let mut frame = frame_of(&pool, &answer(&back, &reply).bytes(said), first, 100);
        answer(&back, &reply).say(said, &mut frame);
        let (mut packet, mut transport) = read(&frame);
        let key = Key::of(&packet, &transport, INSIDE).unwrap();
        prop_assert_eq!(key, reply);
        let hit = table.find(&key).unwrap();
        prop_assert_eq!(hit.direction, Direction::Reply);
        let flow = table.get(hit.index).unwrap();
        translate(flow, hit.direction, &mut packet, &mut transport, &mut frame, None).unwrap();
        prop_assert_eq!(bytes_of(&frame), answer(&back, &original.reversed(INSIDE)).bytes(said));
    }
}

#[test]
fn a_syn_says_what_fits_both_links() {
    for (is_v6, mss) in [(false, mss_of(1400, false)), (true, mss_of(1400, true))] {
        assert_eq!(mss, if is_v6 { 1340 } else { 1360 });
        let said_mss = |mss: u16| vec![2, 4, (mss >> 8) as u8, mss as u8];
        let from = plain(is_v6, Carries::Tcp(said_mss(1460), 2));
        let world = World { is_full: false, server: [9; 16], own: [8; 16], port: 8080 };
        let mut frame = single(&from.bytes(Said::Good));
        let mut table = table();
        let (hit, [original, reply]) = world.open(&mut table, &frame).unwrap();
        let flow = table.get(hit.index).unwrap();
        let (mut packet, mut transport) = read(&frame);
        translate(flow, hit.direction, &mut packet, &mut transport, &mut frame, Some(mss)).unwrap();
        let to = Sample { carries: Carries::Tcp(said_mss(mss), 2), ..from.clone() };
        assert_eq!(bytes_of(&frame), with_ends(&to, &reply.reversed(OUTSIDE)).bytes(Said::Good));
        // And its answer, which says less.
        let back = Sample { carries: Carries::Tcp(said_mss(500), 0x12), ..from };
        let mut frame = single(&with_ends(&back, &reply).bytes(Said::Good));
        let (mut packet, mut transport) = read(&frame);
        translate(flow, Direction::Reply, &mut packet, &mut transport, &mut frame, Some(mss)).unwrap();
        assert_eq!(bytes_of(&frame), with_ends(&back, &original.reversed(INSIDE)).bytes(Said::Good));
    }
}

#[test]
fn what_nothing_is_said_of_stays_as_it_is() {
    let from = plain(false, Carries::Udp(true));
    let mut frame = single(&from.bytes(Said::Good));
    let mut table = table();
    let (mut packet, mut transport) = read(&frame);
    let original = Key::of(&packet, &transport, OUTSIDE).unwrap();
    let new = crate::flow::New {
        original,
        reply: original.reversed(INSIDE),
        tag: TAG,
        direction: Direction::Original,
        segment: None,
    };
    let hit = table.open(&new, at(0), &mut |_, _, _| {}).unwrap();
    let flow = table.get(hit.index).unwrap();
    assert!(!flow.is_translated() && flow.rewrite(Direction::Reply).is_none());
    translate(flow, hit.direction, &mut packet, &mut transport, &mut frame, None).unwrap();
    assert_eq!(bytes_of(&frame), from.bytes(Said::Good));
}
