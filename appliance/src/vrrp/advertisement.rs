//! What instances say to each other.
//!
//! ```text
//!  bytes  0          1      2          3          4, 5            6, 7       8 ...
//!         0x31       id     priority   addresses  interval, 1/100 s checksum   addresses, 4 or 16 bytes each
//! ```
//!
//! Spec: RFC 9568, 5.1 "VRRP Packet Format", 5.2 "VRRP Field Descriptions".

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZero;

use paravane_net::{Frame, FramePool, MacAddr};
use zerocopy::IntoBytes;
use zerocopy::byteorder::network_endian::{U16, U32};

use super::addresses::{Addresses, MAX_ADDRESSES};
use crate::packet::sum::Sum;
use crate::packet::wire::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthernetHeader, IPV4_BYTES, IPV6_BYTES, Ipv4Header, Ipv6Header,
};
use crate::packet::{Body, Packet};

/// IP's number for it.
pub const PROTOCOL_VRRP: u8 = 112;
/// No router passes it on: what has less came from elsewhere.
const TTL: u8 = 255;
const VERSION_TYPE: u8 = 0x31;
const HEADER_BYTES: usize = 8;
const CHECKSUM_AT_BYTES: usize = 6;
/// Of one that gives its addresses up.
pub(super) const LEAVES: u8 = 0;
/// The longest message, with so many addresses of IPv6.
const MAX_MESSAGE_BYTES: usize = HEADER_BYTES + 16 * MAX_ADDRESSES;
/// The longest frame that one is read out of: with options of IP, or padding.
const MAX_FRAME_BYTES: usize = 512;

/// Who listens to messages.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// What the checksum of an advertisement over IPv4 is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The message alone.
    ///
    /// Spec: RFC 9568, 5.2.8 "Checksum".
    #[default]
    Message,
    /// A pseudo-header of the addresses as well, as keepalived and others read RFC 5798.
    PseudoHeader,
}

/// Why an advertisement is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is shorter than it says, or than any is.
    Length,
    /// A router passed it on.
    Hops,
    /// Another version, or no advertisement.
    Version,
    /// Nobody has this number.
    Id,
    /// Its checksum is another.
    Checksum,
    /// It has no interval.
    Interval,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "shorter than it says",
            Self::Hops => "passed on by a router: its TTL is not 255",
            Self::Version => "not an advertisement of VRRP, version 3",
            Self::Id => "the number of no virtual router",
            Self::Checksum => "a wrong checksum",
            Self::Interval => "no interval",
        })
    }
}

impl core::error::Error for Malformed {}

/// What an active instance says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The virtual router.
    pub id: NonZero<u8>,
    /// 1 to 255; 0 of one that stops.
    pub priority: u8,
    /// How often it says so, in hundredths of a second: 1 to 4095.
    pub interval_centis: u16,
    /// The addresses that it has, of one IP version.
    pub addresses: Addresses,
    /// How its checksum is made; of IPv6 there is one way.
    pub checksum: Checksum,
}

impl Advertisement {
    /// Reads the payload of an IP packet of [`PROTOCOL_VRRP`], with the packet's ends and its TTL.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: it is not to be believed.
    pub fn read(bytes: &[u8], source: IpAddr, destination: IpAddr, ttl: u8) -> Result<Self, Malformed> {
        if ttl != TTL {
            return Err(Malformed::Hops);
        }
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::Length)?;
        let [version_type, id, priority, count, high, low, ..] = *header;
        if version_type != VERSION_TYPE {
            return Err(Malformed::Version);
        }
        let id = NonZero::new(id).ok_or(Malformed::Id)?;
        let address_bytes = if source.is_ipv4() { 4 } else { 16 };
        let len_bytes = usize::from(count).saturating_mul(address_bytes);
        let listed = rest.get(..len_bytes).ok_or(Malformed::Length)?;
        let whole = bytes.get(..HEADER_BYTES.saturating_add(len_bytes)).ok_or(Malformed::Length)?;
        let checksum = way_of(whole, source, destination).ok_or(Malformed::Checksum)?;
        // The four bits before it are reserved.
        let interval_centis = u16::from_be_bytes([high & 0xf, low]);
        if interval_centis == 0 {
            return Err(Malformed::Interval);
        }
        let addresses = listed.chunks_exact(address_bytes).filter_map(address).collect();
        Ok(Self { id, priority, interval_centis, addresses, checksum })
    }

    /// Reads one out of a frame whose headers are `packet`; `None` where it is none of VRRP's, by
    /// its group and its protocol.
    pub(crate) fn of(packet: &Packet, frame: &Frame) -> Option<Result<Self, Malformed>> {
        let (at_bytes, end_bytes, ttl) = match &packet.body {
            Body::V4(ip) if ip.destination() == GROUP_V4 && ip.header.protocol == PROTOCOL_VRRP => {
                if ip.is_fragment() {
                    return Some(Err(Malformed::Length));
                }
                let at_bytes = ip.at_bytes.saturating_add(ip.header_bytes());
                (at_bytes, ip.at_bytes.saturating_add(ip.total_bytes()), ip.header.ttl)
            }
            Body::V6(ip) if ip.destination() == GROUP_V6 && ip.header.next_header == PROTOCOL_VRRP => {
                let at_bytes = ip.at_bytes.saturating_add(IPV6_BYTES);
                (at_bytes, ip.at_bytes.saturating_add(ip.total_bytes()), ip.header.hop_limit)
            }
            _ => return None,
        };
        let (source, destination) = packet.addresses()?;
        let mut room = [0; MAX_FRAME_BYTES];
        let message = frame.copy_out(&mut room).and_then(|_| room.get(at_bytes..end_bytes));
        Some(message.ok_or(Malformed::Length).and_then(|bytes| Self::read(bytes, source, destination, ttl)))
    }

    /// A frame that says so, from the station `mac` and its address `source`. `None` when `pool`
    /// has none.
    #[must_use]
    pub fn frame(&self, pool: &FramePool, mac: MacAddr, source: IpAddr) -> Option<Frame> {
        self.write(pool.get()?, mac, source)
    }

    /// The same in an empty frame that is there already.
    pub(crate) fn write(&self, mut frame: Frame, mac: MacAddr, source: IpAddr) -> Option<Frame> {
        let is_whole = match source {
            IpAddr::V4(source) => self.v4(&mut frame, mac, source),
            IpAddr::V6(source) => self.v6(&mut frame, mac, source),
        };
        is_whole.then_some(frame)
    }

    fn v4(&self, frame: &mut Frame, mac: MacAddr, source: Ipv4Addr) -> bool {
        let mut room = [0; MAX_MESSAGE_BYTES];
        let message = self.message(&mut room, source.into(), GROUP_V4.into());
        let Ok(total_bytes) = u16::try_from(IPV4_BYTES.saturating_add(message.len())) else { return false };
        let mut header = Ipv4Header {
            version_length: 0x45,
            // Internetwork control. Spec: RFC 2474, 4.2.2.
            class: 0xc0,
            total_bytes: total_bytes.into(),
            id: U16::ZERO,
            fragment: U16::ZERO,
            ttl: TTL,
            protocol: PROTOCOL_VRRP,
            checksum: U16::ZERO,
            source: source.octets(),
            destination: GROUP_V4.octets(),
        };
        header.checksum = Sum::ZERO.and_bytes(header.as_bytes()).checksum().into();
        let ethernet = ethernet(mac, [1, 0, 0x5e, 0, 0, 18], ETHERTYPE_IPV4);
        frame.append(ethernet.as_bytes()) && frame.append(header.as_bytes()) && frame.append(message)
    }

    fn v6(&self, frame: &mut Frame, mac: MacAddr, source: Ipv6Addr) -> bool {
        let mut room = [0; MAX_MESSAGE_BYTES];
        let message = self.message(&mut room, source.into(), GROUP_V6.into());
        let Ok(payload_bytes) = u16::try_from(message.len()) else { return false };
        let header = Ipv6Header {
            version_class_flow: U32::new(0x6c00_0000),
            payload_bytes: payload_bytes.into(),
            next_header: PROTOCOL_VRRP,
            hop_limit: TTL,
            source: source.octets(),
            destination: GROUP_V6.octets(),
        };
        let ethernet = ethernet(mac, [0x33, 0x33, 0, 0, 0, 0x12], ETHERTYPE_IPV6);
        frame.append(ethernet.as_bytes()) && frame.append(header.as_bytes()) && frame.append(message)
    }

    /// Writes the message into `room`.
    fn message<'r>(&self, room: &'r mut [u8; MAX_MESSAGE_BYTES], source: IpAddr, group: IpAddr) -> &'r [u8] {
        let [high, low] = self.interval_centis.to_be_bytes();
        let count = u8::try_from(self.addresses.len()).unwrap_or(0);
        let header = [VERSION_TYPE, self.id.get(), self.priority, count, high, low, 0, 0];
        let mut len_bytes = put(room, 0, &header);
        for address in self.addresses.iter() {
            len_bytes = match address {
                IpAddr::V4(address) => put(room, len_bytes, &address.octets()),
                IpAddr::V6(address) => put(room, len_bytes, &address.octets()),
            };
        }
        let message = room.get_mut(..len_bytes).unwrap_or_default();
        let sum = sum(message, source, group, self.checksum).checksum();
        put(message, CHECKSUM_AT_BYTES, &sum.to_be_bytes());
        message
    }
}

/// Puts `bytes` at a place; where the next ones go.
fn put(room: &mut [u8], at_bytes: usize, bytes: &[u8]) -> usize {
    let end_bytes = at_bytes.saturating_add(bytes.len());
    match room.get_mut(at_bytes..end_bytes) {
        Some(place) => {
            place.copy_from_slice(bytes);
            end_bytes
        }
        None => at_bytes,
    }
}

/// The sum of a message between these ends.
fn sum(message: &[u8], source: IpAddr, destination: IpAddr, way: Checksum) -> Sum {
    let len_bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let before = match (source, destination, way) {
        (IpAddr::V4(source), IpAddr::V4(to), Checksum::PseudoHeader) => {
            Sum::pseudo_header(&source.octets(), &to.octets(), PROTOCOL_VRRP, len_bytes)
        }
        (IpAddr::V6(source), IpAddr::V6(to), _) => {
            Sum::pseudo_header(&source.octets(), &to.octets(), PROTOCOL_VRRP, len_bytes)
        }
        _ => Sum::ZERO,
    };
    before.and_bytes(message)
}

/// In which way the checksum of `message` is right.
fn way_of(message: &[u8], source: IpAddr, destination: IpAddr) -> Option<Checksum> {
    let is_right = |way: &Checksum| sum(message, source, destination, *way).folded() == 0xffff;
    [Checksum::Message, Checksum::PseudoHeader].into_iter().find(is_right)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn ethernet(mac: MacAddr, group: [u8; 6], ethertype: u16) -> EthernetHeader {
    EthernetHeader { destination: group, source: mac.0, ethertype: ethertype.into() }
}
