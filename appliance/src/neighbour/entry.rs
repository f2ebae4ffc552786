//! What is known of one neighbour, and whose it is.

use core::hash::Hasher;
use core::net::IpAddr;

use paravane_hal::time::Instant;
use paravane_net::MacAddr;
use siphasher::sip::SipHasher13;

use super::list::Node;
use super::table::{Index, NONE};
use crate::interface::InterfaceId;

/// Whose entry it is: interface, version and address in a form that is compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    high: u64,
    low: u64,
    interface_version: u16,
}

impl Key {
    #[inline(always)]
    pub(super) fn new(interface: InterfaceId, address: IpAddr) -> Self {
        let interface = u16::from(interface.0) << 8;
        match address {
            IpAddr::V4(v4) => Self { high: 0, low: v4.to_bits().into(), interface_version: interface | 4 },
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                #[expect(clippy::cast_possible_truncation, reason = "halves of 128 bits")]
                let (high, low) = ((bits >> 64) as u64, bits as u64);
                Self { high, low, interface_version: interface | 6 }
            }
        }
    }

    /// The interface.
    pub(super) const fn interface(self) -> InterfaceId {
        let [interface, _] = self.interface_version.to_be_bytes();
        InterfaceId(interface)
    }

    /// The address.
    pub(super) fn address(self) -> IpAddr {
        let bits = u128::from(self.high) << 64 | u128::from(self.low);
        match self.interface_version & 0xff {
            4 => IpAddr::V4(u32::try_from(self.low).unwrap_or_default().into()),
            _ => IpAddr::V6(bits.into()),
        }
    }

    /// Its hash with that key. Lengths differ by version, and count.
    #[inline(always)]
    pub(super) fn hash(self, [k0, k1]: [u64; 2]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(k0, k1);
        if self.interface_version & 0xff == 4 {
            hasher.write_u64(self.low | u64::from(self.interface_version) << 32);
        } else {
            hasher.write_u64(self.high);
            hasher.write_u64(self.low);
            hasher.write_u64(self.interface_version.into());
        }
        hasher.finish()
    }
}

/// What is known of a neighbour's reachability.
///
/// Spec: RFC 4861, 7.3.2 "Neighbor Cache Entry States"; held for ARP as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody answered when last asked, or nobody was asked yet. Of pinned ones alone.
    Unresolved,
    /// It is being asked for its MAC address.
    Incomplete,
    /// It answered in the last 30 seconds.
    Reachable,
    /// Its MAC address was right once.
    Stale,
    /// That was used again; it is asked soon.
    Delay,
    /// It is being asked whether it still has that MAC address.
    Probe,
}

impl State {
    /// As status pages have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unresolved => "unresolved",
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Delay => "delay",
            Self::Probe => "probe",
        }
    }

    /// Whether its MAC address is known.
    #[inline(always)]
    pub(super) const fn has_mac(self) -> bool {
        matches!(self, Self::Reachable | Self::Stale | Self::Delay | Self::Probe)
    }
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    /// Where it is, in a state that has one.
    pub(super) mac: MacAddr,
    pub(super) state: State,
    /// It was looked up since somebody last looked at this.
    pub(super) used: bool,
    /// How often it was asked in this state.
    pub(super) asked: u8,
    /// How many want it to stay.
    pub(super) pins: u32,
    /// Since when it is in this state, or when it was asked last.
    pub(super) at: Instant,
    /// When it last said its MAC address.
    pub(super) heard_at: Instant,
    /// The next one in its bucket.
    pub(super) next_in_bucket: Index,
    pub(super) node: Node,
}

impl AsMut<Node> for Entry {
    fn as_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}

impl Entry {
    /// One of nobody.
    pub(super) const FREE: Self = Self {
        key: Key { high: 0, low: 0, interface_version: 0 },
        mac: MacAddr([0; 6]),
        state: State::Unresolved,
        used: false,
        asked: 0,
        pins: 0,
        at: Instant::from_nanos(0),
        heard_at: Instant::from_nanos(0),
        next_in_bucket: NONE,
        node: Node::LOOSE,
    };

    /// Whether the limit of those that are asked for counts it.
    pub(super) const fn is_question(&self) -> bool {
        matches!(self.state, State::Incomplete) && self.pins == 0
    }
}

const _: () = assert!(size_of::<Entry>() <= 72);
