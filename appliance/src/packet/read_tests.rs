//! Headers against two readers that are not ours.

use etherparse::{
    Ipv4HeaderSlice, Ipv6HeaderSlice, SlicedPacket, TcpHeaderSlice, TransportSlice, UdpHeaderSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::wire::{Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket};

use super::testing::{Carries, Said, frame_of, pool, samples, single};
use super::*;

/// What must hold of whatever was accepted: each header lies in its packet, and that in the frame.
fn is_consistent(bytes: &[u8], frame: &Frame) -> Result<(), TestCaseError> {
    let Ok(packet) = Packet::read(frame) else { return Ok(()) };
    let ip = bytes.get(14..).unwrap_or_default();
    let end = match packet.body {
        Body::Arp => return Ok(()),
        Body::V4(header) => {
            let smoltcp = Ipv4Packet::new_checked(ip).unwrap();
            prop_assert!(smoltcp.verify_checksum());
            let other = Ipv4HeaderSlice::from_slice(ip).unwrap();
            prop_assert_eq!(header.header_bytes(), other.slice().len());
            prop_assert_eq!(header.total_bytes(), usize::from(other.total_len()));
            prop_assert_eq!(header.dont_fragment(), other.dont_fragment());
            prop_assert_eq!(header.is_fragment(), other.is_fragmenting_payload());
            14 + header.total_bytes()
        }
        Body::V6(header) => {
            let smoltcp = Ipv6Packet::new_checked(ip).unwrap();
            prop_assert_eq!(header.total_bytes(), smoltcp.total_len());
            let other = Ipv6HeaderSlice::from_slice(ip).unwrap();
            prop_assert_eq!(header.header.next_header, other.next_header().0);
            14 + header.total_bytes()
        }
    };
    prop_assert!(end <= bytes.len());
    match packet.transport(frame) {
        Ok(Some(Transport::Tcp(header, at))) => {
            let packet = &bytes[at..end];
            prop_assert!(TcpPacket::new_checked(packet).is_ok());
            let other = TcpHeaderSlice::from_slice(packet).unwrap();
            prop_assert_eq!(header.source_port.get(), other.source_port());
            prop_assert_eq!(header.sequence.get(), other.sequence_number());
        }
        Ok(Some(Transport::Udp(header, at))) => {
            let datagram = &bytes[at..end];
            let is_part = match packet.body {
                Body::V4(ip) => ip.is_fragment(),
                Body::V6(ip) => ip.upper(frame).unwrap().is_fragment,
                Body::Arp => false,
            };
            prop_assert!(is_part || UdpPacket::new_checked(datagram).is_ok());
            prop_assert_eq!(
                header.destination_port.get(),
                UdpHeaderSlice::from_slice(datagram).unwrap().destination_port()
            );
        }
        Ok(Some(Transport::Icmp(_, at))) => prop_assert!(at + 8 <= end),
        Ok(Some(Transport::Other(_, at))) => prop_assert!(at <= end),
        Ok(Some(Transport::LaterFragment(_)) | None) | Err(_) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A packet that is right is read as it was written, and as another reader reads it.
    #[test]
    fn what_is_right_is_read(sample in samples(0..600)) {
        let bytes = sample.bytes(Said::Good);
        let frame = single(&bytes);
        let packet = Packet::read(&frame).unwrap();
        let (source, destination) = packet.addresses().unwrap();
        prop_assert_eq!((source.into(), destination.into()), sample.ends());
        let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
        prop_assert_eq!(sliced.is_ip_payload_fragmented(), sample.is_fragment());
        let transport = packet.transport(&frame).unwrap().unwrap();
        let at = sample.transport_at();
        match (transport, &sample.carries) {
            (Transport::LaterFragment(protocol), _) => {
                prop_assert!(sample.is_later_fragment());
                prop_assert_eq!(protocol, sample.protocol());
            }
            (Transport::Tcp(header, found), Carries::Tcp(..)) => {
                prop_assert_eq!((found, header.sequence.get()), (at, sample.sequence));
                prop_assert_eq!([header.source_port.get(), header.destination_port.get()], sample.ports);
                if let Some(TransportSlice::Tcp(other)) = sliced.transport {
                    prop_assert_eq!(header.checksum.get(), other.checksum());
                    prop_assert_eq!(other.payload(), &sample.payload[..]);
                }
            }
            (Transport::Udp(header, found), Carries::Udp(_)) => {
                prop_assert_eq!([header.source_port.get(), header.destination_port.get()], sample.ports);
                prop_assert_eq!((found, usize::from(header.len_bytes.get())), (at, 8 + sample.payload.len()));
            }
            (Transport::Icmp(header, found), Carries::Icmp(kind)) => {
                prop_assert_eq!((found, header.kind), (at, *kind));
            }
            (Transport::Other(protocol, found), Carries::Other(other)) => {
                prop_assert_eq!((found, protocol), (at, *other));
            }
            (transport, _) => prop_assert!(false, "{transport:?}"),
        }
        is_consistent(&bytes, &frame)?;
    }

    /// Wherever it is cut, what a packet's headers say is the same, as long as they lie in front.
    #[test]
    fn segments_do_not_matter(sample in samples(0..600), each in 1_usize..400) {
        let bytes = sample.bytes(Said::Good);
        let first = sample.transport_at() + sample.transport_bytes();
        let frame = frame_of(&pool(700), &bytes, first, each);
        let (spread, whole) = (Packet::read(&frame).unwrap(), single(&bytes));
        prop_assert_eq!(format!("{spread:?}"), format!("{:?}", Packet::read(&whole).unwrap()));
        let [spread, whole] = [&frame, &whole].map(|frame| format!("{:?}", spread.transport(frame)));
        prop_assert_eq!(spread, whole);
    }

    /// Cut short anywhere inside the packet, it is refused.
    #[test]
    fn what_is_cut_short_is_refused(sample in samples(1..80), cut in any::<prop::sample::Index>()) {
        let bytes = sample.bytes(Said::Good);
        let end = bytes.len() - sample.padding;
        let frame = single(&bytes[..cut.index(end)]);
        prop_assert!(matches!(Packet::read(&frame), Err(Malformed::TooShort | Malformed::Length)));
    }

    /// Bytes that change on the way are refused, or at least make sense.
    #[test]
    fn what_is_damaged_makes_sense(
        sample in samples(0..200),
        damage in vec((0_usize..140, any::<u8>()), 1..6),
        mends in any::<bool>(),
    ) {
        let mut bytes = sample.bytes(Said::Good);
        for (at, byte) in damage {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        // Else hardly any gets past the checksum.
        if mends && !sample.is_v6 {
            let mut ip = Ipv4Packet::new_unchecked(&mut bytes[14..]);
            if usize::from(ip.header_len()) <= ip.as_ref().len() && ip.header_len() >= 20 {
                ip.fill_checksum();
            }
        }
        is_consistent(&bytes, &single(&bytes))?;
    }

    /// So do bytes of any kind.
    #[test]
    fn noise_makes_sense(mut bytes in vec(any::<u8>(), 0..200), kind in 0_u8..4, each in 1_usize..60) {
        let types = [[8, 0], [0x86, 0xdd], [8, 6], [0x12, 0x34]];
        if let Some(place) = bytes.get_mut(12..15) {
            place[..2].copy_from_slice(&types[usize::from(kind)]);
            place[2] = [0x45, 0x60, 0, 0][usize::from(kind)];
        }
        is_consistent(&bytes, &single(&bytes))?;
        let frame = frame_of(&pool(201), &bytes, each, each);
        is_consistent(&bytes, &frame)?;
    }
}

/// The bytes of a packet without anything special, changed by `change`.
fn changed(is_v6: bool, carries: Carries, change: impl FnOnce(&mut super::testing::Sample)) -> Vec<u8> {
    let mut sample = super::testing::plain(is_v6, carries);
    change(&mut sample);
    sample.bytes(Said::Good)
}

fn refusal(bytes: &[u8]) -> Option<Malformed> {
    let frame = single(bytes);
    Packet::read(&frame).and_then(|packet| packet.transport(&frame)).err()
}

#[test]
fn each_refusal_has_its_reason() {
    let udp = || Carries::Udp(true);
    assert_eq!(refusal(&changed(false, udp(), |_| {})), None);
    assert_eq!(refusal(&changed(false, udp(), |_| {})[..13]), Some(Malformed::TooShort));
    let mut bytes = changed(false, udp(), |_| {});
    bytes[12] = 0x12;
    assert_eq!(refusal(&bytes), Some(Malformed::EtherType));
    bytes[12..15].copy_from_slice(&[8, 0, 0x65]);
    assert_eq!(refusal(&bytes), Some(Malformed::Version));
    bytes[14] = 0x44;
    assert_eq!(refusal(&bytes), Some(Malformed::Length));
    bytes[14] = 0x45;
    bytes[22] ^= 1;
    assert_eq!(refusal(&bytes), Some(Malformed::HeaderChecksum));
    for route in [131, 137] {
        let bytes = changed(false, udp(), |sample| sample.options = vec![1, route, 3, 4]);
        assert_eq!(refusal(&bytes), Some(Malformed::SourceRoute));
    }
    let option_without_an_end = changed(false, udp(), |sample| sample.options = vec![7, 0, 0, 0]);
    assert_eq!(refusal(&option_without_an_end), Some(Malformed::Length));
    let mut routed = changed(true, udp(), |sample| sample.extensions = vec![(43, 0)]);
    assert_eq!(refusal(&routed), None);
    routed[14 + 40 + 2] = 0;
    assert_eq!(refusal(&routed), Some(Malformed::SourceRoute));
    for source in [0, 127, 224, 255] {
        let bytes = changed(false, udp(), |sample| sample.source[0] = source);
        assert_eq!(refusal(&bytes), Some(Malformed::Source), "{source}");
    }
    let group = changed(true, udp(), |sample| sample.source[0] = 0xff);
    assert_eq!(refusal(&group), Some(Malformed::Source));
}

#[test]
fn a_datagram_longer_than_its_packet_is_refused_unless_it_goes_on() {
    for (is_v6, at) in [(false, 34), (true, 54)] {
        let mut bytes = changed(is_v6, Carries::Udp(true), |_| {});
        let len = bytes.len() - at + 1;
        bytes[at + 4..at + 6].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        assert_eq!(refusal(&bytes), Some(Malformed::Length));
        let mut first = changed(is_v6, Carries::Udp(true), |sample| sample.fragment = 0x2000);
        let at = first.len() - (bytes.len() - at);
        first[at + 4..at + 6].copy_from_slice(&[0x20, 0]);
        assert_eq!(refusal(&first), None);
    }
}

#[test]
fn eight_extension_headers_are_stepped_over_and_no_ninth() {
    let with =
        |headers| changed(true, Carries::Udp(true), |sample| sample.extensions = vec![(60, 0); headers]);
    assert_eq!(refusal(&with(8)), None);
    assert_eq!(refusal(&with(9)), Some(Malformed::Length));
}

#[test]
fn a_second_fragment_header_takes_nothing_back() {
    // The first says that more follow, the second that it is all.
    let mut bytes = changed(true, Carries::Udp(true), |sample| {
        sample.fragment = 0x2000;
        sample.extensions = vec![(60, 0)];
    });
    // Fragment headers both, the first where the other extension was.
    bytes[14 + 6] = 44;
    bytes[54..62].copy_from_slice(&[44, 0, 0, 1, 0, 0, 0, 1]);
    bytes[62..70].copy_from_slice(&[17, 0, 0, 0, 0, 0, 0, 1]);
    let frame = single(&bytes);
    let Ok(Packet { body: Body::V6(ip), .. }) = Packet::read(&frame) else { panic!("it is one") };
    assert!(ip.upper(&frame).unwrap().is_fragment);
}
