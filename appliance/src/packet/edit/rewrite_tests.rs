//! Packets with other ends, held against packets that had these from the start.

use proptest::prelude::*;

use super::*;
use crate::packet::testing::{Carries, Said, Sample, address, bytes_of, plain, said, samples, single};

/// What makes packets like `from` packets like `to`. An echo has an identifier for a port.
fn between(from: &Sample, to: &Sample) -> Rewrite {
    let has_ports = !matches!(from.carries, Carries::Icmp(_));
    let port = |port: u16| if has_ports { port } else { 0 };
    fn ends<A>([source, destination]: [A; 2], [source_port, destination_port]: [u16; 2]) -> Ends<A> {
        Ends { source, destination, source_port, destination_port }
    }
    let [from_ports, to_ports] = [from, to].map(|sample| [sample.ports[0], port(sample.ports[1])]);
    if from.is_v6 {
        let [from, to] = [from, to].map(|sample| [sample.source, sample.destination].map(Ipv6Addr::from));
        return Rewrite::v6(ends(from, from_ports), ends(to, to_ports));
    }
    let [from, to] = [from, to]
        .map(|sample| [sample.source, sample.destination].map(|[a, b, c, d, ..]| Ipv4Addr::new(a, b, c, d)));
    Rewrite::v4(ends(from, from_ports), ends(to, to_ports))
}

/// `from` with the ends of another, as far as packets of its kind have them.
fn with_ends(from: &Sample, source: [u8; 16], destination: [u8; 16], ports: [u16; 2]) -> Sample {
    let mut to = Sample { source, destination, ..from.clone() };
    match from.carries {
        Carries::Icmp(kind) if if from.is_v6 { kind >= 128 } else { matches!(kind, 0 | 8) } => {
            to.ports[0] = ports[0];
        }
        Carries::Icmp(_) => {}
        _ => to.ports = ports,
    }
    to
}

fn rewritten(frame: &mut Frame, to: &Rewrite) -> (Packet, Transport) {
    let mut packet = Packet::read(frame).unwrap();
    let mut transport = packet.transport(frame).unwrap().unwrap();
    rewrite(&mut packet, &mut transport, frame, to).unwrap();
    (packet, transport)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Whatever is said of the checksum, and damage shows as before.
    #[test]
    fn a_packet_gets_other_ends(
        from in samples(0..200),
        addresses in [address(), address()],
        changes in any::<[bool; 2]>(),
        ports in any::<[u16; 2]>(),
        said in said(),
        damage in any::<Option<prop::sample::Index>>(),
    ) {
        let source = if changes[0] { addresses[0] } else { from.source };
        let destination = if changes[1] { addresses[1] } else { from.destination };
        let to = with_ends(&from, source, destination, ports);
        let [mut bytes, mut expected] = [&from, &to].map(|sample| sample.bytes(said));
        if let (Some(damage), len @ 1..) = (damage, from.payload.len()) {
            let at = bytes.len() - from.padding - 1 - damage.index(len);
            bytes[at] ^= 0x11;
            expected[at] ^= 0x11;
        }
        let mut frame = single(&bytes);
        from.say(said, &mut frame);
        let before = (frame.rx_checksum(), frame.offload());
        let (packet, transport) = rewritten(&mut frame, &between(&from, &to));
        prop_assert_eq!(bytes_of(&frame), expected);
        prop_assert_eq!((frame.rx_checksum(), frame.offload()), before);
        // What was read says what the frame says.
        let again = Packet::read(&frame).unwrap();
        prop_assert_eq!(format!("{packet:?}"), format!("{again:?}"));
        prop_assert_eq!(format!("{transport:?}"), format!("{:?}", again.transport(&frame).unwrap().unwrap()));
    }
}

#[test]
fn a_checksum_of_zero_is_written_where_it_does_not_mean_none() {
    for is_v6 in [false, true] {
        for (carries, checksum_at, zero) in [
            (Carries::Udp(true), 6, [0xff, 0xff]),
            (Carries::Tcp(Vec::new(), 0x10), 16, [0, 0]),
            (Carries::Icmp(if is_v6 { 128 } else { 8 }), 2, [0, 0]),
        ] {
            let from = plain(is_v6, carries);
            let at = from.transport_at() + checksum_at;
            let bytes = from.bytes(Said::Good);
            // The port that adds what is missing to the sum.
            let checksum = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let mut to = from.clone();
            to.ports[0] = Sum::ZERO.and(checksum).and(from.ports[0]).folded();
            let mut frame = single(&bytes);
            rewritten(&mut frame, &between(&from, &to));
            assert_eq!(bytes_of(&frame)[at..at + 2], zero);
            assert_eq!(bytes_of(&frame), to.bytes(Said::Good));
        }
    }
}

#[test]
fn an_identifier_may_stand_for_either_port() {
    let from = plain(false, Carries::Icmp(0));
    let [source, destination] = [Ipv4Addr::new(32, 32, 32, 32), Ipv4Addr::new(48, 48, 48, 48)];
    let ends = |destination_port| Ends { source, destination, source_port: 0, destination_port };
    let mut frame = single(&from.bytes(Said::Good));
    rewritten(&mut frame, &Rewrite::v4(ends(from.ports[0]), ends(77)));
    let to = Sample { ports: [77, from.ports[1]], ..from };
    assert_eq!(bytes_of(&frame), to.bytes(Said::Good));
}

#[test]
fn a_packet_of_the_other_version_is_left_alone() {
    let (four, six) = (plain(false, Carries::Udp(true)), plain(true, Carries::Udp(true)));
    for (sample, other) in [(&four, &six), (&six, &four)] {
        let mut frame = single(&sample.bytes(Said::Good));
        let mut packet = Packet::read(&frame).unwrap();
        let mut transport = packet.transport(&frame).unwrap().unwrap();
        let to = between(other, other);
        assert_eq!(rewrite(&mut packet, &mut transport, &mut frame, &to), Err(EditError::Version));
        assert_eq!(bytes_of(&frame), sample.bytes(Said::Good));
    }
}

#[test]
fn another_frames_headers_are_not_written() {
    let from = plain(false, Carries::Tcp(Vec::new(), 0x10));
    let frame = single(&from.bytes(Said::Good));
    let mut packet = Packet::read(&frame).unwrap();
    let mut transport = packet.transport(&frame).unwrap().unwrap();
    for len in [30, 35, 50] {
        let mut short = single(&vec![0; len]);
        let to = between(&from, &from);
        assert_eq!(rewrite(&mut packet, &mut transport, &mut short, &to), Err(EditError::Place));
    }
}
