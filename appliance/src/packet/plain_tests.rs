//! Plain packets, held against what is said of packets in general.

use core::net::Ipv4Addr;

use paravane_net::MacAddr;
use proptest::prelude::*;

use super::*;
use crate::packet::edit::{Ends, Rewrite};
use crate::packet::testing::{Said, Sample, bytes_of, said, samples, single};
use crate::packet::{Body, Packet, Transport, edit};

fn hop() -> impl Strategy<Value = Hop> {
    let mac = || any::<[u8; 6]>().prop_map(MacAddr);
    (mac(), mac()).prop_map(|(destination, source)| Hop { destination, source })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// It is plain only if the other way says that it is a packet, and then both say the same.
    #[test]
    fn what_is_plain_is_what_a_packet_is(
        sample in samples(0..100),
        said in said(),
        ttl in prop_oneof![any::<u8>(), 0_u8..3],
        damage in any::<Option<(u8, u8)>>(),
        hop in hop(),
    ) {
        let mut bytes = Sample { ttl, ..sample.clone() }.bytes(said);
        if let Some((at, by)) = damage {
            let at = usize::from(at) % bytes.len().min(40);
            bytes[at] ^= by;
        }
        let (mut frame, mut other) = (single(&bytes), single(&bytes));
        sample.say(said, &mut frame);
        let (plain, packet) = (Plain::read(frame.first_segment()), Packet::read(&other));
        let is_usual = matches!(&packet, Ok(Packet { body: Body::V4(ip), .. }) if ip.header_bytes() == 20);
        let asks = matches!(said, Said::Partial | Said::Asked) && frame.offload().checksum.is_some();
        let is_long = bytes.len() >= 40;
        let is_source = plain.is_none_or(|plain| !matches!(plain.source()[0], 0 | 127 | 224..));
        if is_source {
            prop_assert_eq!(plain.is_some(), is_usual && !asks && is_long);
        }
        let (Some(plain), Ok(packet)) = (plain, packet) else { return Ok(()) };
        let Body::V4(ip) = packet.body else { panic!("plain, and not of IPv4") };
        prop_assert_eq!(plain.source(), ip.source().octets());
        prop_assert_eq!(plain.destination(), ip.destination().octets());
        prop_assert_eq!(plain.total_bytes(), ip.total_bytes());
        prop_assert_eq!(plain.hops_left(), ip.header.ttl);
        let own = Hop { destination: packet.destination, source: hop.source };
        prop_assert!(plain.is_for(own.into()));
        prop_assert_eq!(plain.is_for(hop.into()), hop.destination == packet.destination);
        let done = plain.forward(&mut frame.first_segment_mut(), hop.into());
        prop_assert_eq!(done, edit::forward(&packet, &mut other, hop).is_ok());
        prop_assert_eq!(bytes_of(&frame), bytes_of(&other));
    }
}

/// The ends of a packet, as it has them.
fn ends_of(packet: &Packet, transport: &Transport) -> Option<Ends<Ipv4Addr>> {
    let Body::V4(ip) = &packet.body else { return None };
    let (source, destination) = (ip.source(), ip.destination());
    let [source_port, destination_port] = match transport {
        Transport::Tcp(tcp, _) => [tcp.source_port.get(), tcp.destination_port.get()],
        Transport::Udp(udp, _) => [udp.source_port.get(), udp.destination_port.get()],
        _ => return None,
    };
    Some(Ends { source, destination, source_port, destination_port })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// It says of its ports and what is behind them what the other way says, and gets other ends as
    /// it does there.
    #[test]
    fn what_is_plain_gets_other_ends_as_a_packet_does(
        sample in samples(0..100),
        said in said(),
        cut in prop::option::weighted(0.2, 0..60_usize),
        damage in prop::option::weighted(0.3, (34..54_usize, any::<u8>())),
        addresses in any::<[[u8; 4]; 2]>(),
        ports in any::<[u16; 2]>(),
        hop in hop(),
    ) {
        let mut bytes = sample.bytes(said);
        if let Some((at, by)) = damage && let Some(byte) = bytes.get_mut(at) {
            *byte ^= by;
        }
        if let Some(cut) = cut {
            bytes.truncate(bytes.len().saturating_sub(cut).max(40));
        }
        let (mut frame, mut other) = (single(&bytes), single(&bytes));
        let Some(plain) = Plain::read(frame.first_segment()) else { return Ok(()) };
        let mut packet = Packet::read(&other).unwrap();
        let transport = packet.transport(&other);
        let (tcp, udp) = (plain.tcp(frame.first_segment()), plain.udp(frame.first_segment()));
        let checksum = match &transport {
            Ok(Some(Transport::Tcp(header, at_bytes))) if !plain.is_fragment() => {
                let tcp = tcp.unwrap();
                prop_assert_eq!(tcp.sequence, header.sequence.get());
                prop_assert_eq!(tcp.acknowledgement, header.acknowledgement.get());
                prop_assert_eq!(tcp.window, header.window.get());
                prop_assert_eq!(tcp.checksum, header.checksum.get());
                prop_assert_eq!(u16::from(tcp.flags), header.offset_flags.get() & 0xff);
                let end = ETHERNET_BYTES + plain.total_bytes();
                let data = end - at_bytes - usize::from(header.offset_flags.get() >> 12) * 4;
                prop_assert_eq!(tcp.data_bytes as usize, data);
                tcp.checksum
            }
            Ok(Some(Transport::Udp(header, _))) if !plain.is_fragment() => {
                prop_assert_eq!((udp, tcp.is_none()), (Some(header.checksum.get()), true));
                header.checksum.get()
            }
            _ => {
                prop_assert!(plain.is_fragment() || tcp.is_none() && udp.is_none(), "{:?}", transport);
                return Ok(());
            }
        };
        let mut transport = transport.unwrap().unwrap();
        let from = ends_of(&packet, &transport).unwrap();
        let [source, destination] = addresses.map(Ipv4Addr::from_octets);
        let [source_port, destination_port] = ports;
        let to = Ends { source, destination, source_port, destination_port };
        let ([a, b, c, d], [e, f, g, h]) = (source.octets(), destination.octets());
        let [[i, j], [k, l]] = ports.map(u16::to_be_bytes);
        let plain_ends = PlainEnds {
            addresses: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            ports: u32::from_le_bytes([i, j, k, l]),
            change: Change::v4(&from, &to),
        };
        prop_assert_eq!(plain_ends.destination(), destination.octets());
        let done = plain.forward_as(&mut frame.first_segment_mut(), checksum, plain_ends, hop.into());
        edit::rewrite(&mut packet, &mut transport, &mut other, &Rewrite::v4(from, to)).unwrap();
        prop_assert_eq!(done, edit::forward(&packet, &mut other, hop).is_ok());
        if done {
            prop_assert_eq!(bytes_of(&frame), bytes_of(&other));
        }
    }
}

/// A packet of 46 bytes, without its checksum.
fn unsummed() -> [u8; 60] {
    let mut bytes = [0_u8; 60];
    bytes[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    bytes[16..24].copy_from_slice(&[0, 46, 0, 0, 0, 0, 64, 17]);
    bytes[26..34].copy_from_slice(&[192, 0, 2, 7, 203, 0, 113, 9]);
    bytes
}

#[test]
fn a_packet_is_as_long_as_its_header_and_no_longer_than_its_frame() {
    for (total_bytes, is_plain) in
        [(0, false), (19, false), (20, true), (46, true), (47, false), (0xffff, false)]
    {
        let mut bytes = unsummed();
        bytes[16..18].copy_from_slice(&u16::to_be_bytes(total_bytes));
        let checksum = crate::packet::sum::Sum::ZERO.and_bytes(&bytes[14..34]).checksum();
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(Plain::read(single(&bytes).first_segment()).is_some(), is_plain, "{total_bytes}");
    }
}

#[test]
fn a_header_of_any_sum_is_told_from_a_damaged_one() {
    // Each checksum that there is, by an id that makes it, and each neighbour of it.
    let mut bytes = unsummed();
    let mut frame = single(&bytes);
    for id in (0..=u16::MAX).step_by(7).chain([0xffff, 0xfffe]) {
        bytes[18..20].copy_from_slice(&id.to_be_bytes());
        bytes[24..26].copy_from_slice(&[0, 0]);
        let checksum = crate::packet::sum::Sum::ZERO.and_bytes(&bytes[14..34]).checksum();
        for (off, holds) in [(0, true), (1, false), (0x100, false), (0xffff, false)] {
            let written = checksum.wrapping_add(off);
            // The two zeroes of ones' complement.
            let is_other_zero = off != 0 && matches!((checksum, written), (0, 0xffff) | (0xffff, 0));
            assert!(frame.write(18, &id.to_be_bytes()) && frame.write(24, &written.to_be_bytes()));
            assert_eq!(
                Plain::read(frame.first_segment()).is_some(),
                holds || is_other_zero,
                "{id:x} {off:x}"
            );
        }
    }
}
