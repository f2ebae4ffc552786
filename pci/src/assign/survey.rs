//! The first step: every bridge gets bus numbers, and everything that wants an address is noted.
//!
//! Depth first. A bridge that firmware numbered keeps its numbers; the others get those above,
//! within what the bridges before them pass on. While the buses behind a new bridge are being
//! counted, it has all that may become its own.

use super::AssignErrorReason;
use super::resource::{Part, Resource, State};
use crate::bar::{Bar, BarErrorReason, BarShape, Bars, size_all};
use crate::bridge::{Reach, WindowKind, close_window, decodes_subtractively, number, read_window};
use crate::enumerate::{BusSet, MAX_DEPTH, functions_on};
use crate::header::{Header, HeaderKind, Presence, bridge_buses};
use crate::{BridgeBuses, ConfigAccess, PciAddress};

/// Notes what there is in `list`, from its start on.
pub(super) struct Survey<'s, C> {
    access: &'s C,
    list: &'s mut [Resource],
    /// How many resources were met, whether or not the list has a place for them.
    pub(super) met: usize,
}

impl<'s, C: ConfigAccess> Survey<'s, C> {
    pub(super) fn new(access: &'s C, list: &'s mut [Resource]) -> Self {
        Self { access, list, met: 0 }
    }

    /// Visits `bus`, and what is behind it in buses up to `limit`; the last bus that is in use.
    pub(super) fn bus(&mut self, bus: u8, limit: u8, depth: usize) -> u8 {
        let mut last = bus;
        let mut claimed = BusSet::default();
        for (at, header) in self.functions(bus) {
            self.bars(at, &header);
            if header.kind != HeaderKind::Bridge {
                continue;
            }
            let buses = bridge_buses(self.access, at);
            if buses.secondary == 0 {
                continue;
            }
            let sound = bus < buses.secondary && buses.secondary <= buses.subordinate;
            let mut range = buses.secondary..=buses.subordinate;
            if !sound || buses.subordinate > limit || range.any(|bus| claimed.contains(bus)) {
                self.numbers(at, buses, State::Failed(AssignErrorReason::BadBuses(buses)));
                // It keeps them and answers for them, so they are given to nobody else.
                if buses.secondary <= buses.subordinate {
                    last = last.max(buses.subordinate.min(limit));
                }
                continue;
            }
            (buses.secondary..=buses.subordinate).for_each(|bus| claimed.insert(bus));
            last = last.max(buses.subordinate);
            if depth < MAX_DEPTH {
                self.numbers(at, buses, State::Kept);
                self.windows(at, buses, false);
                self.bus(buses.secondary, buses.subordinate, depth.saturating_add(1));
            } else {
                self.numbers(at, buses, State::Failed(AssignErrorReason::TooDeep));
            }
        }
        for (at, header) in self.functions(bus) {
            if header.kind == HeaderKind::Bridge && bridge_buses(self.access, at).secondary == 0 {
                last = self.cross(at, last, limit, depth);
            }
        }
        last
    }

    /// Numbers a bridge that has no numbers, and what is behind it: buses above `last`. The last
    /// one then.
    fn cross(&mut self, at: PciAddress, last: u8, limit: u8, depth: usize) -> u8 {
        let fresh = |secondary, subordinate| BridgeBuses { primary: at.bus(), secondary, subordinate };
        let mut used = last;
        let failed = match last.checked_add(1).filter(|next| *next <= limit) {
            None => AssignErrorReason::NoBusNumbers,
            Some(_) if depth >= MAX_DEPTH => AssignErrorReason::TooDeep,
            Some(secondary) if number(self.access, at, secondary, limit) => {
                used = self.bus(secondary, limit, depth.saturating_add(1));
                if number(self.access, at, secondary, used) {
                    self.numbers(at, fresh(secondary, used), State::Placed);
                    self.windows(at, fresh(secondary, used), true);
                    return used;
                }
                AssignErrorReason::NotNumbered
            }
            Some(_) => AssignErrorReason::NotNumbered,
        };
        // It leads nowhere. What was noted behind it has no way to it, and its numbers are given to
        // nobody else.
        let _ = number(self.access, at, 0, 0);
        for kind in WindowKind::ALL {
            close_window(self.access, at, kind);
        }
        self.numbers(at, fresh(0, 0), State::Failed(failed));
        used
    }

    fn numbers(&mut self, at: PciAddress, buses: BridgeBuses, state: State) {
        let BridgeBuses { secondary, subordinate, .. } = buses;
        self.note(Resource { secondary, subordinate, ..Resource::new(at, Part::Buses, state) });
    }

    /// Notes the windows of a bridge: those that firmware opened, and those that can be opened.
    /// What the windows of a `fresh` bridge pass on leads nowhere, and is forgotten.
    fn windows(&mut self, at: PciAddress, buses: BridgeBuses, fresh: bool) {
        for kind in WindowKind::ALL {
            let BridgeBuses { secondary, subordinate, .. } = buses;
            let passes_all = decodes_subtractively(self.access, at);
            let align = kind.granule();
            let window = Resource {
                secondary,
                subordinate,
                passes_all,
                align,
                ..Resource::new(at, Part::Window(kind), State::Wanted)
            };
            let open = if fresh { None } else { read_window(self.access, at, kind) };
            if let Some(open) = open {
                let len_bytes = open.last.wrapping_sub(open.start).saturating_add(1);
                self.note(Resource { state: State::Kept, start: open.start, len_bytes, ..window });
                continue;
            }
            match (kind, close_window(self.access, at, kind)) {
                // What would go there goes below 4 GiB in any case: the window for memory does as
                // well.
                (_, Reach::Absent) | (WindowKind::Prefetchable, Reach::Narrow) => {}
                _ => self.note(window),
            }
        }
    }

    fn bars(&mut self, at: PciAddress, header: &Header) {
        let count = match header.kind {
            HeaderKind::Endpoint if !header.ids.is_host_bridge() => 6,
            HeaderKind::Bridge => 2,
            _ => return,
        };
        let bars: Bars = size_all(self.access, at, count);
        for (index, bar) in (0..count).zip(bars) {
            let wanted = |shape: BarShape, start, state| {
                let (len_bytes, align) = (shape.len_bytes, shape.len_bytes);
                Resource { start, len_bytes, align, ..Resource::new(at, Part::Bar { index, shape }, state) }
            };
            match bar {
                Ok(Bar { kind, prefetchable, start, len_bytes, .. }) => {
                    self.note(wanted(BarShape { kind, prefetchable, len_bytes }, start, State::Kept));
                }
                Err(BarErrorReason::Unassigned(shape)) => self.note(wanted(shape, 0, State::Wanted)),
                Err(BarErrorReason::Unimplemented | BarErrorReason::UpperHalf) => {}
                Err(reason) => {
                    let state = State::Failed(AssignErrorReason::Bar(reason));
                    self.note(Resource::new(at, Part::BrokenBar { index }, state));
                }
            }
        }
    }

    fn functions(&self, bus: u8) -> impl Iterator<Item = (PciAddress, Header)> + use<'s, C> {
        functions_on(self.access, bus).filter_map(|(at, presence)| match presence {
            Presence::Present(header) => Some((at, header)),
            Presence::Absent | Presence::NotReady => None,
        })
    }

    fn note(&mut self, resource: Resource) {
        if let Some(place) = self.list.get_mut(self.met) {
            *place = resource;
        }
        self.met = self.met.saturating_add(1);
    }
}
