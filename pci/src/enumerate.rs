//! Finding functions.
//!
//! The walk starts at a root bus and follows bridges by the bus numbers that firmware gave them.
//! Each bus is visited once, whatever the bridges say, so it ends. What is passed over is reported
//! with the reason.
//!
//! [`enumerate`] follows bridges from the first bus of the range and looks nowhere else: probing
//! 256 buses by ports costs sixteen thousand exits to the hypervisor. A segment with more than one
//! root bus (a second host bridge) is what [`enumerate_all`] is for. A bridge that nobody numbered
//! passes nothing on, so looking for what is behind it would find nothing; it is reported.

use core::fmt;

use crate::header::{BridgeBuses, Header, HeaderKind, Ids, Presence, bridge_buses, look};
use crate::{ConfigAccess, PciAddress};

/// Bridges behind bridges that are followed. Physical machines have five; the limit keeps the walk
/// off the heap.
pub const MAX_DEPTH: usize = 32;

/// What a walk meets.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A function.
    Function(FoundFunction<'a>),
    /// Something that is passed over.
    Skipped(Skip),
}

/// A function that a walk met.
#[derive(Clone, Copy, Debug)]
pub struct FoundFunction<'a> {
    /// Where it is.
    pub address: PciAddress,
    /// Who it is.
    pub ids: Ids,
    /// Endpoint or bridge.
    pub kind: HeaderKind,
    /// The bridges on the way to it, outermost first: what
    /// [`Function::enable_path`](crate::Function::enable_path) takes.
    pub path: &'a [PciAddress],
}

/// Something that a walk passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Where. For a bridge that is not followed: of the bridge, which itself was reported as found.
    pub address: PciAddress,
    /// Why.
    pub reason: SkipReason,
}

/// Why something was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// It answers that it is not ready to be configured, again and again.
    NotReady,
    /// It is neither an endpoint nor a PCI bridge.
    UnknownHeader {
        /// Who it says it is.
        ids: Ids,
        /// Its header type.
        kind: u8,
    },
    /// A bridge that nobody gave bus numbers.
    Unnumbered,
    /// A bridge whose bus numbers make no sense, or lie outside the range that can be reached.
    BadBuses(BridgeBuses),
    /// A bridge that leads to a bus which another way led to before.
    Revisited {
        /// The bus.
        bus: u8,
    },
    /// A bridge behind [`MAX_DEPTH`] others.
    TooDeep,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.address)?;
        match self.reason {
            SkipReason::NotReady => f.write_str("skipped, answers that it is not ready"),
            SkipReason::UnknownHeader { ids, kind } => {
                write!(f, "{ids} skipped, has header type {kind}, expected 0 (device) or 1 (bridge)")
            }
            SkipReason::Unnumbered => f.write_str("bridge not followed, firmware gave it no bus numbers"),
            SkipReason::BadBuses(buses) => write!(
                f,
                "bridge not followed, claims buses {:#04x} to {:#04x} behind bus {:#04x}",
                buses.secondary, buses.subordinate, buses.primary
            ),
            SkipReason::Revisited { bus } => {
                write!(f, "bridge not followed, leads to bus {bus:#04x}, which was visited before")
            }
            SkipReason::TooDeep => write!(f, "bridge not followed, there are {MAX_DEPTH} before it"),
        }
    }
}

/// Reports every function that can be reached from the first bus of `access`: depth first, a bridge
/// before what is behind it.
pub fn enumerate<C: ConfigAccess + ?Sized>(access: &C, visit: &mut dyn FnMut(Found<'_>)) {
    Walk::new(&access, visit).bus(*access.buses().start());
}

/// Like [`enumerate`], from another root bus on.
pub fn enumerate_from<C: ConfigAccess + ?Sized>(access: &C, root: u8, visit: &mut dyn FnMut(Found<'_>)) {
    Walk::new(&access, visit).bus(root);
}

/// Like [`enumerate`], and then takes every bus of the range that no bridge leads to for a root of
/// its own. A bus behind a bridge that was passed over is none: what sits there is reached through
/// that bridge, or not at all.
pub fn enumerate_all<C: ConfigAccess + ?Sized>(access: &C, visit: &mut dyn FnMut(Found<'_>)) {
    let mut walk = Walk::new(&access, visit);
    // A bridge leads to a higher bus only, so a bus that was not visited yet when its turn comes
    // has no bridge before it.
    for bus in access.buses() {
        if !walk.visited.contains(bus) && !walk.behind_skipped.contains(bus) {
            walk.bus(bus);
        }
    }
}

/// Every function of one bus, as the walk asks for it. Functions 1 to 7 exist only beside a
/// function 0 that says so; single-function devices may answer at all eight.
pub(crate) fn functions_on<C: ConfigAccess>(
    access: &C,
    bus: u8,
) -> impl Iterator<Item = (PciAddress, Presence)> + '_ {
    let segment = access.segment();
    let mut multi_function = false;
    (0..=u8::MAX).filter_map(move |devfn| {
        let address = PciAddress::from_devfn(segment, bus, devfn);
        if address.function() != 0 && !multi_function {
            return None;
        }
        let presence = look(access, address);
        if address.function() == 0 {
            multi_function = matches!(presence, Presence::Present(header) if header.multi_function);
        }
        Some((address, presence))
    })
}

/// A set of buses.
#[derive(Default)]
pub(crate) struct BusSet([u32; 8]);

impl BusSet {
    pub(crate) fn contains(&self, bus: u8) -> bool {
        self.0.get(usize::from(bus >> 5)).is_some_and(|word| word >> (bus & 31) & 1 != 0)
    }

    pub(crate) fn insert(&mut self, bus: u8) {
        if let Some(word) = self.0.get_mut(usize::from(bus >> 5)) {
            *word |= 1 << (bus & 31);
        }
    }

    /// All that a bridge passes accesses on to; nothing when nobody numbered it.
    fn insert_behind(&mut self, buses: BridgeBuses) {
        if buses.secondary != 0 {
            (buses.secondary..=buses.subordinate).for_each(|bus| self.insert(bus));
        }
    }
}

struct Walk<'w, C> {
    access: &'w C,
    visit: &'w mut dyn FnMut(Found<'_>),
    visited: BusSet,
    /// Buses that a bridge which is not followed passes accesses on to.
    behind_skipped: BusSet,
    /// The bridges on the way to the current bus: the first `depth` of these.
    path: [PciAddress; MAX_DEPTH],
    depth: usize,
}

impl<'w, C: ConfigAccess> Walk<'w, C> {
    fn new(access: &'w C, visit: &'w mut dyn FnMut(Found<'_>)) -> Self {
        let nowhere = PciAddress::from_devfn(0, 0, 0);
        let (visited, behind_skipped) = (BusSet::default(), BusSet::default());
        Self { access, visit, visited, behind_skipped, path: [nowhere; MAX_DEPTH], depth: 0 }
    }

    /// Visits one bus and what is behind it. Recursion ends after [`MAX_DEPTH`] bridges.
    fn bus(&mut self, bus: u8) {
        self.visited.insert(bus);
        for (address, presence) in functions_on(self.access, bus) {
            match presence {
                Presence::Absent => {}
                Presence::NotReady => self.skip(address, SkipReason::NotReady),
                Presence::Present(header) => self.function(address, header),
            }
        }
    }

    /// Visits one function, and what is behind it if it is a bridge.
    fn function(&mut self, address: PciAddress, header: Header) {
        let (ids, kind) = (header.ids, header.kind);
        if let HeaderKind::Other(kind) = kind {
            return self.skip(address, SkipReason::UnknownHeader { ids, kind });
        }
        let path = self.path.get(..self.depth).unwrap_or_default();
        (self.visit)(Found::Function(FoundFunction { address, ids, kind, path }));
        if kind == HeaderKind::Bridge {
            let buses = bridge_buses(self.access, address);
            match self.may_follow(address, buses) {
                Ok(()) => self.behind(address, buses.secondary),
                Err(reason) => {
                    self.skip(address, reason);
                    self.behind_skipped.insert_behind(buses);
                }
            }
        }
    }

    /// Whether the bus that `bridge` leads to is one to visit.
    fn may_follow(&self, bridge: PciAddress, buses: BridgeBuses) -> Result<(), SkipReason> {
        let bus = buses.secondary;
        if bus == 0 {
            return Err(SkipReason::Unnumbered);
        }
        if bus <= bridge.bus() || buses.subordinate < bus || !self.access.buses().contains(&bus) {
            return Err(SkipReason::BadBuses(buses));
        }
        if self.visited.contains(bus) {
            return Err(SkipReason::Revisited { bus });
        }
        if self.depth == MAX_DEPTH {
            return Err(SkipReason::TooDeep);
        }
        Ok(())
    }

    /// Visits the bus behind a bridge.
    fn behind(&mut self, bridge: PciAddress, bus: u8) {
        let depth = self.depth;
        // There is a place: `may_follow` says so.
        if let Some(place) = self.path.get_mut(depth) {
            *place = bridge;
        }
        self.depth = depth.saturating_add(1);
        self.bus(bus);
        self.depth = depth;
    }

    fn skip(&mut self, address: PciAddress, reason: SkipReason) {
        (self.visit)(Found::Skipped(Skip { address, reason }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBus, MockFunction, at};

    type Enumerator = fn(&MockBus, &mut dyn FnMut(Found<'_>));

    fn walk(bus: &MockBus, how: Enumerator) -> (Vec<String>, Vec<Skip>) {
        let (mut functions, mut skips) = (Vec::new(), Vec::new());
        how(bus, &mut |found| match found {
            Found::Function(function) => {
                let path: Vec<_> = function.path.iter().map(ToString::to_string).collect();
                functions.push(format!("{}>{}", path.join(">"), function.address));
            }
            Found::Skipped(skip) => skips.push(skip),
        });
        (functions, skips)
    }

    #[test]
    fn functions_beyond_the_first_need_the_multi_function_bit() {
        let bus = MockBus::new([
            ("00:03.0", MockFunction::nic()),
            ("00:03.1", MockFunction::nic()),
            ("00:05.0", MockFunction::nic().multi_function()),
            ("00:05.2", MockFunction::nic()),
            ("00:06.1", MockFunction::nic()),
        ]);
        let (functions, skips) = walk(&bus, enumerate);
        assert_eq!(functions, [">00:03.0", ">00:05.0", ">00:05.2"]);
        assert_eq!(skips, []);
    }

    #[test]
    fn bridges_are_followed_and_the_way_is_reported() {
        let bus = MockBus::new([
            ("00:01.0", MockFunction::bridge(0, 1, 2)),
            ("01:00.0", MockFunction::bridge(1, 2, 2)),
            ("02:00.0", MockFunction::nic()),
            ("00:02.0", MockFunction::bridge(0, 3, 3)),
            ("03:00.0", MockFunction::nic()),
            ("00:1f.7", MockFunction::nic()),
        ]);
        let (functions, skips) = walk(&bus, enumerate);
        assert_eq!(
            functions,
            [">00:01.0", "00:01.0>01:00.0", "00:01.0>01:00.0>02:00.0", ">00:02.0", "00:02.0>03:00.0",],
            "and function 7 of a device without a function 0 is none"
        );
        assert_eq!(skips, []);
    }

    #[test]
    fn a_bridge_that_leads_astray_is_reported_and_not_followed() {
        let bus = MockBus::new([
            ("00:01.0", MockFunction::bridge(0, 0, 0)),
            ("00:02.0", MockFunction::bridge(0, 5, 4)),
            ("00:03.0", MockFunction::bridge(0, 1, 9)),
            ("00:04.0", MockFunction::bridge(0, 1, 1)),
            ("00:05.0", MockFunction::bridge(0, 200, 200)),
            ("01:00.0", MockFunction::bridge(1, 1, 1)),
            ("01:01.0", MockFunction::bridge(1, 0xff, 0xff)),
        ])
        .buses(0..=100);
        let (functions, skips) = walk(&bus, enumerate);
        assert_eq!(functions.len(), 7, "each bridge is a function that was found");
        let bad = |primary, secondary, subordinate| {
            SkipReason::BadBuses(BridgeBuses { primary, secondary, subordinate })
        };
        assert_eq!(
            skips,
            [
                Skip { address: at("00:01.0"), reason: SkipReason::Unnumbered },
                Skip { address: at("00:02.0"), reason: bad(0, 5, 4) },
                Skip { address: at("01:00.0"), reason: bad(1, 1, 1) },
                Skip { address: at("01:01.0"), reason: bad(1, 0xff, 0xff) },
                Skip { address: at("00:04.0"), reason: SkipReason::Revisited { bus: 1 } },
                Skip { address: at("00:05.0"), reason: bad(0, 200, 200) },
            ]
        );
        assert_eq!(
            skips[1].to_string(),
            "00:02.0: bridge not followed, claims buses 0x05 to 0x04 behind bus 0x00"
        );
    }

    #[test]
    fn a_chain_of_bridges_ends() {
        let names: Vec<&'static str> = (0..=40_u8).map(|bus| &*format!("{bus:02x}:00.0").leak()).collect();
        let chain = (0..).zip(names).map(|(bus, name)| (name, MockFunction::bridge(bus, bus + 1, 255)));
        let bus = MockBus::new(chain);
        let (functions, skips) = walk(&bus, enumerate);
        assert_eq!(functions.len(), MAX_DEPTH + 1);
        assert_eq!(skips, [Skip { address: at("20:00.0"), reason: SkipReason::TooDeep }]);
    }

    #[test]
    fn what_is_no_function_of_ours_is_reported() {
        let bus = MockBus::new([
            ("00:01.0", MockFunction::nic().with(0x00, &[0x01, 0x00])),
            ("00:02.0", MockFunction::nic().with(0x00, &[0x00, 0x00, 0xff, 0xff])),
            ("00:03.0", MockFunction::nic().with(0x0e, &[0x02])),
            ("00:04.0", MockFunction::nic()),
        ]);
        let (functions, skips) = walk(&bus, enumerate);
        assert_eq!(functions, [">00:04.0"]);
        assert_eq!(skips.len(), 2);
        assert_eq!(skips[0], Skip { address: at("00:01.0"), reason: SkipReason::NotReady });
        assert_eq!(
            skips[1].to_string(),
            "00:03.0: 15ad:07b0 skipped, has header type 2, expected 0 (device) or 1 (bridge)"
        );
    }

    #[test]
    fn the_walk_starts_where_the_range_does() {
        let bus = MockBus::new([("00:01.0", MockFunction::nic()), ("40:01.0", MockFunction::nic())])
            .buses(0x40..=0x4f);
        assert_eq!(walk(&bus, enumerate).0, [">40:01.0"]);
    }

    #[test]
    fn other_root_buses_are_found_when_asked_for() {
        let bus = MockBus::new([
            ("00:01.0", MockFunction::bridge(0, 1, 1)),
            ("01:00.0", MockFunction::nic()),
            ("80:00.0", MockFunction::bridge(0x80, 0x81, 0x81)),
            ("81:00.0", MockFunction::nic()),
        ]);
        assert_eq!(walk(&bus, enumerate).0.len(), 2);
        let (functions, skips) = walk(&bus, enumerate_all);
        assert_eq!(functions, [">00:01.0", "00:01.0>01:00.0", ">80:00.0", "80:00.0>81:00.0"]);
        assert_eq!(skips, []);
    }

    #[test]
    fn a_bus_behind_a_bridge_that_is_not_followed_is_no_root() {
        let names: Vec<&'static str> = (0..=40_u8).map(|bus| &*format!("{bus:02x}:00.0").leak()).collect();
        let chain = (0..).zip(names).map(|(bus, name)| (name, MockFunction::bridge(bus, bus + 1, 41)));
        let bus = MockBus::new(chain.chain([("40:00.0", MockFunction::nic())]));
        let (functions, skips) = walk(&bus, enumerate_all);
        assert_eq!(functions.len(), MAX_DEPTH + 2);
        assert_eq!(functions.last().unwrap(), ">40:00.0", "a root is one still");
        assert_eq!(skips, [Skip { address: at("20:00.0"), reason: SkipReason::TooDeep }]);

        let bus = MockBus::new([
            ("00:01.0", MockFunction::bridge(0, 2, 2)),
            ("00:02.0", MockFunction::bridge(0, 2, 5)),
            ("02:00.0", MockFunction::nic()),
            ("04:00.0", MockFunction::nic()),
            ("06:00.0", MockFunction::nic()),
        ]);
        let (functions, _) = walk(&bus, enumerate_all);
        assert_eq!(functions, [">00:01.0", "00:01.0>02:00.0", ">00:02.0", ">06:00.0"]);
    }
}
