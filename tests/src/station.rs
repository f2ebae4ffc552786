//! A station on a cable that sends and takes whole frames, for what a stack would not send, and
//! would not show.
//!
//! It answers who asks for its addresses, by ARP and NDP. All else that comes in is kept.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use smoltcp::phy::{Device as _, RxToken as _, TxToken as _};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Message,
    Icmpv6Packet, Ipv6Packet, NdiscNeighborFlags,
};

use crate::dgram::Cable;

/// How long a frame may wait for room in the cable.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// Length of an Ethernet header, of an IPv6 header, and of an advertisement with an address.
const ETHERNET: usize = 14;
const IPV6: usize = 40;
const ADVERTISEMENT: usize = 32;

/// One station.
pub struct Station<'c> {
    cable: &'c mut Cable,
    mac: [u8; 6],
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    kept: VecDeque<Vec<u8>>,
}

impl<'c> Station<'c> {
    /// One on `cable`, with these addresses.
    pub fn new(cable: &'c mut Cable, mac: [u8; 6], v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self { cable, mac, v4, v6, kept: VecDeque::new() }
    }

    /// Its hardware address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Sends `frame`.
    ///
    /// # Errors
    ///
    /// The other end takes no frame, or is gone.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        let deadline = Instant::now() + SEND_LIMIT;
        loop {
            if let Some(room) = self.cable.transmit(StackInstant::ZERO) {
                room.consume(frame.len(), |place| place.copy_from_slice(frame));
                ensure!(!self.cable.is_other_end_gone(), "the other end of the cable is gone");
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "no frame is taken for {} s", SEND_LIMIT.as_secs());
            // Whoever does not listen may be waited for by the other end.
            self.listen()?;
            thread::yield_now();
        }
    }

    /// Takes in what came.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), for an answer.
    pub fn listen(&mut self) -> Result<()> {
        loop {
            let Some((frame, _)) = self.cable.receive(StackInstant::ZERO) else { return Ok(()) };
            let frame = frame.consume(<[u8]>::to_vec);
            match self.answer(&frame) {
                Some(answer) => self.send(&answer)?,
                None => self.kept.push_back(frame),
            }
        }
    }

    /// All that was kept.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        self.kept.drain(..).collect()
    }

    /// The answer to who asks for one of its addresses.
    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        match ethernet.ethertype() {
            EthernetProtocol::Arp => self.answer_arp(ethernet.payload()),
            EthernetProtocol::Ipv6 => self.answer_solicitation(ethernet.src_addr(), ethernet.payload()),
            _ => None,
        }
    }

    fn answer_arp(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&ArpPacket::new_checked(payload).ok()?).ok()?
        else {
            return None;
        };
        if target_protocol_addr != self.v4 {
            return None;
        }
        let reply = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(self.mac),
            source_protocol_addr: self.v4,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: source_protocol_addr,
        };
        let mut answer = self.ethernet(source_hardware_addr, EthernetProtocol::Arp, reply.buffer_len());
        reply.emit(&mut ArpPacket::new_unchecked(answer.get_mut(ETHERNET..)?));
        Some(answer)
    }

    /// Spec: RFC 4861, 4.4 "Neighbor Advertisement Message Format".
    fn answer_solicitation(&self, from: EthernetAddress, payload: &[u8]) -> Option<Vec<u8>> {
        let asked = Ipv6Packet::new_checked(payload).ok()?;
        let message = Icmpv6Packet::new_checked(asked.payload()).ok()?;
        if message.msg_type() != Icmpv6Message::NeighborSolicit || message.target_addr() != self.v6 {
            return None;
        }
        let mut answer = self.ethernet(from, EthernetProtocol::Ipv6, IPV6 + ADVERTISEMENT);
        let mut ip = Ipv6Packet::new_unchecked(answer.get_mut(ETHERNET..)?);
        ip.set_version(6);
        ip.set_payload_len(u16::try_from(ADVERTISEMENT).ok()?);
        ip.set_next_header(smoltcp::wire::IpProtocol::Icmpv6);
        ip.set_hop_limit(255);
        ip.set_src_addr(self.v6);
        ip.set_dst_addr(asked.src_addr());
        let mut advert = Icmpv6Packet::new_unchecked(ip.payload_mut());
        advert.set_msg_type(Icmpv6Message::NeighborAdvert);
        advert.set_msg_code(0);
        advert.clear_reserved();
        advert.set_neighbor_flags(NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE);
        advert.set_target_addr(self.v6);
        // The option with the address: its type, its length in units of 8 bytes, the address.
        let option = advert.payload_mut();
        option.get_mut(..2)?.copy_from_slice(&[2, 1]);
        option.get_mut(2..8)?.copy_from_slice(&self.mac);
        advert.fill_checksum(&self.v6, &asked.src_addr());
        Some(answer)
    }

    fn ethernet(&self, to: EthernetAddress, kind: EthernetProtocol, payload_bytes: usize) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET + payload_bytes];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame);
        ethernet.set_dst_addr(to);
        ethernet.set_src_addr(EthernetAddress(self.mac));
        ethernet.set_ethertype(kind);
        frame
    }
}

/// Waits until a frame that is `wanted` comes in at station `at`; the others answer meanwhile. What
/// else was kept there before it is dropped.
///
/// # Errors
///
/// None comes within `limit`: `what` is missing.
pub fn expect(
    stations: &mut [Station<'_>],
    at: usize,
    what: &str,
    limit: Duration,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let mut others = Vec::new();
    loop {
        for station in stations.iter_mut() {
            station.listen()?;
        }
        if let Some(station) = stations.get_mut(at) {
            while let Some(frame) = station.kept.pop_front() {
                if wanted(&frame) {
                    return Ok(frame);
                }
                others.push(frame);
            }
        }
        if Instant::now() >= deadline {
            let last = others.last().map(|frame| format!("{:02x?}", frame.get(..60).unwrap_or(frame)));
            bail!(
                "{what}: none came within {:.1} s, but {} other frames, last {last:?}",
                limit.as_secs_f32(),
                others.len()
            );
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lets all of them answer for `time`.
///
/// # Errors
///
/// As [`Station::listen`].
pub fn settle(stations: &mut [Station<'_>], time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while Instant::now() < until {
        for station in stations.iter_mut() {
            station.listen()?;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);

    /// What a question for `target` brings back.
    fn ask(target: Ipv4Addr) -> Option<Vec<u8>> {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut cable = Cable::over(ours).unwrap();
        let mut station = Station::new(&mut cable, MAC, V4, V6);
        let question = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: EthernetAddress([2, 0, 0, 0, 0, 9]),
            source_protocol_addr: Ipv4Addr::new(10, 0, 0, 9),
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: target,
        };
        let mut frame = vec![0; ETHERNET + question.buffer_len()];
        frame[12..14].copy_from_slice(&[8, 6]);
        question.emit(&mut ArpPacket::new_unchecked(&mut frame[ETHERNET..]));
        theirs.send(&frame).unwrap();
        station.listen().unwrap();
        let mut answer = [0; 100];
        theirs.recv(&mut answer).ok().map(|len| answer[..len].to_vec())
    }

    #[test]
    fn who_asks_for_its_address_is_answered_and_nobody_else() {
        let answer = ask(V4).unwrap();
        let arp = ArpRepr::parse(&ArpPacket::new_checked(&answer[ETHERNET..]).unwrap()).unwrap();
        let ArpRepr::EthernetIpv4 { operation, source_hardware_addr, source_protocol_addr, .. } = arp else {
            panic!("another ARP")
        };
        assert_eq!((operation, source_hardware_addr.0, source_protocol_addr), (ArpOperation::Reply, MAC, V4));
        assert_eq!(ask(Ipv4Addr::new(10, 0, 0, 2)), None);
    }
}
