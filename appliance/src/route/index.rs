//! Addresses of IPv4 by their bits: where each leads to, in four looks at most.
//!
//! ```text
//!  bits of the address   0 ............... 15   16 ..... 23   24 .. 27   28 .. 31
//!  looked up in          the first block        a block of    of 16      of 16
//!                        of 65,536              256
//! ```
//!
//! A place in a block says where all addresses there lead to, or which block tells them apart. So
//! addresses of networks of up to 24 bits take two looks, and a host's own route takes four. It
//! says what the stretches of a table say, and is painted anew where these change. A prefix longer
//! than 16 bits takes 1 KiB that all within these 16 bits share, one longer than 24 up to 128 bytes
//! more.
//!
//! Nothing is said of reserved addresses: the table is asked for these, whatever its routes are.

use alloc::vec::Vec;

use super::Kind;
use super::groups::{Group, GroupId};
use super::table::Table;
use crate::interface::InterfaceId;

/// Where an address leads to; inside the index also, which block knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way(u32);

impl Way {
    /// It is known here; else, the rest is where a block begins.
    const LEAF: u32 = 1 << 31;
    /// It is sent on, by the interface of the four bits from [`INTERFACE_AT`](Self::INTERFACE_AT).
    const UNICAST: u32 = 1 << 30;
    const INTERFACE_AT: u32 = 26;
    /// The group.
    const GROUP: u32 = (1 << Self::INTERFACE_AT) - 1;
    /// To nobody: no group has that number.
    const NONE: Self = Self(Self::LEAF | Self::GROUP);
    /// The table says it: reserved, or there is no room for it here.
    const UNKNOWN: Self = Self(Self::LEAF | (Self::GROUP - 1));

    /// By the group of that place, if there is one.
    fn to(place: GroupId, group: Option<&Group>) -> Self {
        let Some(group) = group else { return Self::NONE };
        match group.first {
            _ if place >= Self::UNKNOWN.group() => Self::UNKNOWN,
            Kind::Unicast(hop) if hop.interface.0 < 16 => {
                let interface = u32::from(hop.interface.0) << Self::INTERFACE_AT;
                Self(Self::LEAF | Self::UNICAST | interface | place)
            }
            _ => Self(Self::LEAF | place),
        }
    }

    /// Whether packets are sent on there by `interface`.
    #[inline(always)]
    pub(crate) const fn is_by(self, interface: InterfaceId) -> bool {
        let by = (Self::LEAF | Self::UNICAST) >> Self::INTERFACE_AT;
        self.0 >> Self::INTERFACE_AT == by | interface.0 as u32
    }

    /// Which group's routes lead there. Those that lead to the same next hop have the same one.
    #[inline(always)]
    pub(crate) const fn group(self) -> GroupId {
        self.0 & Self::GROUP
    }

    /// Whether it is the table that knows.
    #[inline(always)]
    pub(super) fn is_unknown(self) -> bool {
        self == Self::UNKNOWN
    }

    #[inline(always)]
    const fn is_leaf(self) -> bool {
        self.0 & Self::LEAF != 0
    }
}

/// One look: at so many bits, with so many behind them.
#[derive(Clone, Copy)]
struct Look {
    bits: u32,
    behind: u32,
}

/// The looks behind the first one.
const LOOKS: [Look; 3] =
    [Look { bits: 8, behind: 8 }, Look { bits: 4, behind: 4 }, Look { bits: 4, behind: 0 }];
/// Places in the first block.
const FIRST: usize = 1 << 16;

/// Where each address leads to.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// The first block, and then the others.
    places: Vec<Way>,
    /// Blocks of 16 places and of 256 that are of no use now.
    free: [Vec<u32>; 2],
}

impl Index {
    /// No route anywhere.
    pub(super) fn new() -> Self {
        let way = |high| if is_reserved(high) { Way::UNKNOWN } else { Way::NONE };
        Self { places: (0..FIRST).map(way).collect(), free: [Vec::new(), Vec::new()] }
    }

    /// Where `address` leads to.
    #[inline(always)]
    pub(super) fn find(&self, address: u32) -> Way {
        let mut way = self.at(address >> 16);
        if !way.is_leaf() {
            way = self.at(way.0.wrapping_add(address >> 8 & 0xff));
            if !way.is_leaf() {
                way = self.at(way.0.wrapping_add(address >> 4 & 0xf));
                if !way.is_leaf() {
                    way = self.at(way.0.wrapping_add(address & 0xf));
                }
            }
        }
        way
    }

    #[inline(always)]
    fn at(&self, place: u32) -> Way {
        self.places.get(place as usize).copied().unwrap_or(Way::UNKNOWN)
    }

    /// Takes over what `table` says of `first..=last`.
    pub(super) fn follow(&mut self, table: &Table<u32>, first: u32, last: u32) {
        for (first, last, place) in table.stretches(first, last) {
            self.paint(first, last, Way::to(place, table.group(place)));
        }
    }

    /// Has all of `first..=last` lead there.
    fn paint(&mut self, first: u32, last: u32, way: Way) {
        for high in (first >> 16..=last >> 16).filter(|high| !is_reserved(*high as usize)) {
            let (from, to) = (first.max(high << 16), last.min(high << 16 | 0xffff));
            let painted = self.painted(self.at(high), &LOOKS, from, to, way);
            self.set(high, painted);
        }
    }

    /// What becomes of a place with `before` in it, where `looks` are left to tell addresses apart,
    /// once `first..=last` lead to `way`.
    fn painted(&mut self, before: Way, looks: &[Look], first: u32, last: u32, way: Way) -> Way {
        let Some((Look { bits, behind }, deeper)) = looks.split_first() else { return way };
        let all = u32::MAX.wrapping_shr(32_u32.saturating_sub(bits.saturating_add(*behind)));
        if first & all == 0 && last & all == all {
            self.close(before, looks);
            return way;
        }
        if before == way {
            return way;
        }
        let block = if before.is_leaf() { self.open(*bits, before) } else { before };
        if block.is_leaf() {
            return block;
        }
        let part = |address: u32| (address & all).wrapping_shr(*behind);
        for number in part(first)..=part(last) {
            let start = first & !all | number.wrapping_shl(*behind);
            let end = start | !u32::MAX.wrapping_shl(*behind);
            let place = block.0.wrapping_add(number);
            let painted = self.painted(self.at(place), deeper, first.max(start), last.min(end), way);
            self.set(place, painted);
        }
        self.merged(block, *bits)
    }

    fn set(&mut self, place: u32, way: Way) {
        if let Some(place) = self.places.get_mut(place as usize) {
            *place = way;
        }
    }

    /// A block for so many bits, all of it leading where `way` does; the table where there is no
    /// number left for it.
    fn open(&mut self, bits: u32, way: Way) -> Way {
        let len = 1_usize.wrapping_shl(bits);
        let [small, large] = &mut self.free;
        let freed = if bits == 4 { small.pop() } else { large.pop() };
        let first = match freed {
            Some(first) => first as usize,
            None => self.places.len(),
        };
        let end = first.saturating_add(len);
        if end > Way::LEAF as usize {
            return Way::UNKNOWN;
        }
        if end > self.places.len() {
            self.places.resize(end, way);
        } else if let Some(places) = self.places.get_mut(first..end) {
            places.fill(way);
        }
        u32::try_from(first).map_or(Way::UNKNOWN, Way)
    }

    /// Gives up the block that `way` leads to, and all behind it.
    fn close(&mut self, way: Way, looks: &[Look]) {
        let (false, Some((Look { bits, .. }, deeper))) = (way.is_leaf(), looks.split_first()) else { return };
        for number in 0..1_u32.wrapping_shl(*bits) {
            self.close(self.at(way.0.wrapping_add(number)), deeper);
        }
        let [small, large] = &mut self.free;
        if *bits == 4 { small } else { large }.push(way.0);
    }

    /// A block; where all of it leads to one place, that, and the block is free.
    fn merged(&mut self, block: Way, bits: u32) -> Way {
        let way = self.at(block.0);
        let is_one = (0..1_u32.wrapping_shl(bits)).all(|number| self.at(block.0.wrapping_add(number)) == way);
        if !is_one || !way.is_leaf() {
            return block;
        }
        let [small, large] = &mut self.free;
        if bits == 4 { small } else { large }.push(block.0);
        way
    }
}

/// Whether addresses that begin so are for or from no host that packets are passed on to: "this
/// network", loopback, those of a link, groups and what is behind them.
///
/// Spec: RFC 1122, 3.2.1.3; RFC 3927, 2.6; RFC 1112, 4.
fn is_reserved(high: usize) -> bool {
    matches!(high >> 8, 0 | 127 | 224..) || high == 169 << 8 | 254
}

#[cfg(test)]
impl Index {
    /// Panics unless it says of each stretch what `table` says, and keeps no more blocks than that
    /// needs.
    pub(super) fn check(&self, table: &Table<u32>) {
        for (first, last, place) in table.stretches(0, u32::MAX) {
            let way = Way::to(place, table.group(place));
            for address in [first, last, first.midpoint(last)] {
                let found = self.find(address);
                let is_reserved = is_reserved(address as usize >> 16);
                assert_eq!(found, if is_reserved { Way::UNKNOWN } else { way }, "{address:x}");
            }
        }
        let mut anew = Self::new();
        anew.follow(table, 0, u32::MAX);
        assert_eq!(self.used(), anew.used());
    }

    fn used(&self) -> usize {
        self.places.len() - 16 * self.free[0].len() - 256 * self.free[1].len()
    }
}
