//! The second step: an address for everything, in memory alone. Nothing is read again, so nothing
//! that a device says twice can differ.
//!
//! A window is as long as what is behind it needs, so lengths are summed up from the highest bus to
//! the lowest, a bridge always leading to a higher one. Then addresses are given from the root
//! down, largest alignment first, which leaves no gaps between lengths that are powers of two. A
//! BAR that does not fit goes without. Of what is behind a window that does not fit, the largest
//! BAR goes without, and everything is placed anew, until the rest fits.

use core::cmp::Ordering;

use super::resource::{Part, Resource, State};
use super::{AddressWindow, AssignErrorReason, Windows, limit_of};
use crate::bar::BarKind;
use crate::bridge::{BridgeWindow, WindowKind};

/// Sorts `list`, in one function for every order: the code of a sort is long, and these are few.
#[inline(never)]
pub(super) fn sort(list: &mut [Resource], order: fn(&Resource, &Resource) -> Ordering) {
    list.sort_unstable_by(order);
}

/// Gives everything in `list` that wants an address one from `windows`, or a reason. What is left
/// of `windows`.
pub(super) fn solve(list: &mut [Resource], root: u8, windows: Windows) -> Windows {
    sort(list, |one, other| {
        one.address.bus().cmp(&other.address.bus()).then_with(|| other.is_bar().cmp(&one.is_bar()))
    });
    forget_unreachable(list, root);
    loop {
        for resource in list.iter_mut().filter(|resource| resource.state == State::Placed) {
            if !matches!(resource.part, Part::Buses) {
                resource.state = State::Wanted;
            }
        }
        for bus in (root..=u8::MAX).rev() {
            sum_up(list, bus);
        }
        let mut all_fit = true;
        for bus in root..=u8::MAX {
            all_fit &= place(list, bus, root, &windows);
        }
        // Each further turn has one BAR fewer that wants a place.
        if all_fit {
            break;
        }
    }
    let mut left = windows;
    let on_root = |resource: &&Resource| resource.address.bus() == root && resource.shape().is_some();
    for placed in list.iter().filter(on_root).filter(|resource| resource.state == State::Placed) {
        left.use_up(placed.is_io(), placed.last());
    }
    left
}

/// The resources of lower buses, and those of `bus`.
fn split(list: &mut [Resource], bus: u8) -> (&mut [Resource], &mut [Resource]) {
    let end = list.partition_point(|resource| resource.address.bus() <= bus);
    let upto = list.get_mut(..end).unwrap_or_default();
    let start = upto.partition_point(|resource| resource.address.bus() < bus);
    upto.split_at_mut_checked(start).unwrap_or_default()
}

/// The windows that lead to one bus.
struct Ways([Option<Resource>; 3]);

impl Ways {
    /// Those to `bus`, among the resources of `lower` buses.
    fn to(lower: &[Resource], bus: u8) -> Self {
        Self(WindowKind::ALL.map(|kind| {
            let leads = |resource: &&Resource| resource.leads_to(bus, kind);
            lower.iter().find(leads).filter(|window| !matches!(window.state, State::Failed(_))).copied()
        }))
    }

    fn get(&self, kind: WindowKind) -> Option<&Resource> {
        self.0.get(kind as usize)?.as_ref()
    }

    /// Which of them `resource` has to be in: prefetchable memory of 64 bits may go into the one
    /// for memory, where there is no other.
    fn kind_for(&self, resource: &Resource) -> Option<WindowKind> {
        let shape = resource.shape()?;
        let wide = shape.prefetchable && shape.kind == BarKind::Memory64;
        let kind = match shape.kind {
            BarKind::Io => WindowKind::Io,
            _ if wide && self.get(WindowKind::Prefetchable).is_some() => WindowKind::Prefetchable,
            _ => WindowKind::Memory,
        };
        self.get(kind).map(|_| kind)
    }

    /// Whether one of them passes on what `resource` has.
    fn pass_on(&self, resource: &Resource) -> bool {
        WindowKind::ALL.into_iter().filter_map(|kind| self.get(kind)).any(|window| {
            let range = BridgeWindow { start: window.start, last: window.last() };
            let inside = window.state == State::Kept
                && window.is_io() == resource.is_io()
                && range.covers(resource.start, resource.last());
            inside || window.passes_all
        })
    }
}

/// An address that no window on the way passes on is none, nor is one that something else on the
/// bus has as well: whatever has one gets another.
fn forget_unreachable(list: &mut [Resource], root: u8) {
    for bus in root..=u8::MAX {
        let (lower, here) = split(list, bus);
        let ways = Ways::to(lower, bus);
        for index in 0..here.len() {
            // BARs come first, so a window is held against all of them.
            let (before, from) = here.split_at_mut_checked(index).unwrap_or_default();
            let Some(resource) = from.first_mut().filter(|resource| resource.state == State::Kept) else {
                continue;
            };
            let reachable = bus == root || ways.pass_on(resource);
            let range = (resource.start, resource.last());
            let shared = end_of_overlap(before, resource.is_io(), range).is_some();
            if resource.shape().is_some() && (!reachable || shared) {
                resource.state = State::Wanted;
            }
        }
    }
}

/// The last address of one that has some of `start` to `last`.
fn end_of_overlap(others: &[Resource], is_io: bool, (start, last): (u64, u64)) -> Option<u64> {
    let overlaps = |other: &&Resource| {
        other.is_there()
            && other.shape().is_some()
            && other.is_io() == is_io
            && other.start <= last
            && start <= other.last()
    };
    others.iter().find(overlaps).map(Resource::last)
}

/// Sums up what is wanted on `bus` into the windows that lead there, and sorts the bus for placing.
fn sum_up(list: &mut [Resource], bus: u8) {
    let (lower, here) = split(list, bus);
    sort(here, |one, other| other.align.cmp(&one.align));
    let ways = Ways::to(lower, bus);
    for window in lower.iter_mut() {
        let Part::Window(kind) = window.part else { continue };
        if window.secondary != bus || window.state != State::Wanted {
            continue;
        }
        let (mut len_bytes, mut align) = (0_u64, kind.granule());
        let inside = |resource: &&Resource| {
            let wanted = resource.state == State::Wanted && resource.len_bytes != 0;
            wanted && ways.kind_for(resource) == Some(kind)
        };
        for resource in here.iter().filter(inside) {
            align = align.max(resource.align);
            let start = len_bytes.checked_next_multiple_of(resource.align).unwrap_or(u64::MAX);
            len_bytes = start.saturating_add(resource.len_bytes);
        }
        window.align = align;
        window.len_bytes = len_bytes.checked_next_multiple_of(kind.granule()).unwrap_or(u64::MAX);
    }
}

/// Gives what is wanted on `bus` its addresses; whether all of it has one. If not, each BAR without
/// one is given up, and of what is behind a window without one, the largest.
fn place(list: &mut [Resource], bus: u8, root: u8, windows: &Windows) -> bool {
    let (lower, here) = split(list, bus);
    let ways = Ways::to(lower, bus);
    let own = WindowKind::ALL.map(|kind| match ways.get(kind) {
        Some(window) if window.is_there() => Some(AddressWindow::new(window.start, window.len_bytes)),
        _ => None,
    });
    let (mut all_fit, mut closed) = (true, None);
    for index in 0..here.len() {
        let wants = |resource: &Resource| resource.state == State::Wanted && resource.len_bytes != 0;
        let Some(resource) = here.get(index).filter(|resource| wants(resource)) else { continue };
        let Some(shape) = resource.shape() else { continue };
        let taken = |range| end_of_overlap(here, resource.is_io(), range);
        let place = if bus == root {
            windows.find(shape, resource.align, &taken).ok_or(AssignErrorReason::NoRoom)
        } else if let Some(kind) = ways.kind_for(resource) {
            // A window without a place is placed in another turn, and then this as well.
            let Some(window) = own.get(kind as usize).and_then(Option::as_ref) else { continue };
            let place = window.find(shape.len_bytes, resource.align, limit_of(shape.kind), &taken);
            place.ok_or(AssignErrorReason::NoRoom)
        } else {
            Err(AssignErrorReason::Unreachable)
        };
        let Some(resource) = here.get_mut(index) else { continue };
        match place {
            Ok(start) => (resource.start, resource.state) = (start, State::Placed),
            Err(reason) => {
                all_fit = false;
                if resource.is_bar() {
                    resource.state = State::Failed(reason);
                } else {
                    closed.get_or_insert((*resource, reason));
                }
            }
        }
    }
    if let Some((window, reason)) = closed {
        give_up_behind(list, &window, reason);
    }
    all_fit
}

/// Gives up the largest BAR that has to be inside `window`. If there is none, the window itself is
/// given up.
fn give_up_behind(list: &mut [Resource], window: &Resource, reason: AssignErrorReason) {
    let is_victim = |other: &Resource| {
        let wants = matches!(other.state, State::Wanted | State::Placed);
        wants && other.is_bar() && is_within(list, other, window)
    };
    let victims = list.iter().enumerate().filter(|(_, other)| is_victim(other));
    let largest = victims.max_by_key(|(_, other)| other.len_bytes).map(|(index, _)| index);
    let itself = || list.iter().position(|other| other.is_same(window));
    if let Some(index) = largest.or_else(itself)
        && let Some(victim) = list.get_mut(index)
    {
        victim.state = State::Failed(reason);
    }
}

/// Whether `inside` has to have its place in `window`, or in one that has.
fn is_within(list: &[Resource], inside: &Resource, window: &Resource) -> bool {
    let mut inside = *inside;
    // Each turn is at a lower bus.
    while (window.secondary..=window.subordinate).contains(&inside.address.bus()) {
        let ways = Ways::to(list, inside.address.bus());
        let Some(around) = ways.kind_for(&inside).and_then(|kind| ways.get(kind)) else { return false };
        if around.is_same(window) {
            return true;
        }
        inside = *around;
    }
    false
}
