//! Giving addresses to BARs that firmware left without, and bus numbers and windows to the bridges
//! before them. Opt-in: a kernel that boots where nobody assigned anything calls it, with windows
//! that it knows to be free and routed to the bus.
//!
//! | Call | Gives |
//! |---|---|
//! | [`assign_all`] | everything below one root bus: bus numbers, windows, addresses of BARs |
//! | [`Function::assign_bars`] | the BARs of one function, on a root bus or behind bridges that pass the windows on |
//!
//! What has an address keeps it: monitors place some BARs for good, and somebody may be using them.
//! What a bridge on the way does not pass on counts as none, and so does what another one on the
//! bus has as well.

use core::{fmt, ops::RangeInclusive};

use crate::bar::{Bar, BarErrorReason, BarKind, BarShape, register, with_decoding_off};
use crate::bridge::{BridgeWindow, close_window, halves, open_window};
use crate::{BridgeBuses, ConfigAccess, Function, PciAddress};

mod plan;
mod resource;
mod survey;
#[cfg(test)]
mod tree_tests;

use resource::State;
pub use resource::{Outcome, Part, Resource};

/// A range of addresses to give away, from the bottom up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AddressWindow {
    next: u64,
    /// How much is left from `next` on.
    left_bytes: u64,
}

impl AddressWindow {
    /// Nothing to give.
    pub const EMPTY: Self = Self { next: 0, left_bytes: 0 };

    /// `len_bytes` from `start` on, cut off at the end of the address space.
    #[must_use]
    pub const fn new(start: u64, len_bytes: u64) -> Self {
        let room = u64::MAX.saturating_sub(start);
        Self { next: start, left_bytes: if len_bytes < room { len_bytes } else { room } }
    }

    /// How much is left, gaps for alignment included.
    #[must_use]
    pub const fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// The first `len_bytes` that are aligned to `align`, a power of two, end at or before `limit`,
    /// and of which nothing is `taken`: what that is asked is the first and the last address, its
    /// answer the last address of somebody who has one of them.
    fn find(
        &self,
        len_bytes: u64,
        align: u64,
        limit: u64,
        taken: &dyn Fn((u64, u64)) -> Option<u64>,
    ) -> Option<u64> {
        // Address 0 in a BAR means that it has none.
        let mut start = self.next.max(1).checked_next_multiple_of(align)?;
        let mut last = start.checked_add(len_bytes)?.checked_sub(1)?;
        // Ends: each turn gets past one that has something there.
        while let Some(end) = taken((start, last)) {
            start = end.checked_add(1)?.checked_next_multiple_of(align)?;
            last = start.checked_add(len_bytes)?.checked_sub(1)?;
        }
        (last <= limit && self.contains(last)).then_some(start)
    }

    fn contains(&self, address: u64) -> bool {
        address.checked_sub(self.next).is_some_and(|inside| inside < self.left_bytes)
    }

    /// Gives nothing up to `last` away any more, if that is one of its own.
    fn use_up(&mut self, last: u64) {
        if self.contains(last) {
            let next = last.saturating_add(1);
            let used = next.saturating_sub(self.next);
            *self = Self { next, left_bytes: self.left_bytes.saturating_sub(used) };
        }
    }
}

/// Ranges that are free and lead to the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Windows {
    /// Ports.
    pub io: AddressWindow,
    /// Memory below 4 GiB.
    pub memory32: AddressWindow,
    /// Memory anywhere, for 64-bit BARs; where it is empty or full they go below 4 GiB.
    pub memory64: AddressWindow,
    /// Memory for which the bridge may merge writes and read ahead: prefetchable BARs try it first.
    pub prefetchable: AddressWindow,
}

impl Windows {
    /// A place for `shape` in the window that suits it best.
    fn find(&self, shape: BarShape, align: u64, taken: &dyn Fn((u64, u64)) -> Option<u64>) -> Option<u64> {
        let Self { io, memory32, memory64, prefetchable } = self;
        let (len_bytes, limit) = (shape.len_bytes, limit_of(shape.kind));
        if shape.kind == BarKind::Io {
            return io.find(len_bytes, align, limit, taken);
        }
        let wide = shape.kind == BarKind::Memory64;
        let find = |window: &AddressWindow, suits: bool| {
            if suits { window.find(len_bytes, align, limit, taken) } else { None }
        };
        let preferred = find(prefetchable, shape.prefetchable).or_else(|| find(memory64, wide));
        preferred.or_else(|| memory32.find(len_bytes, align, limit_of(BarKind::Memory32), taken))
    }

    /// Gives nothing up to `last` away any more, in whichever window that is.
    fn use_up(&mut self, is_io: bool, last: u64) {
        if is_io {
            return self.io.use_up(last);
        }
        for window in [&mut self.memory32, &mut self.memory64, &mut self.prefetchable] {
            window.use_up(last);
        }
    }

    /// A place for a BAR, which is gone then.
    fn take(&mut self, shape: BarShape) -> Option<u64> {
        let start = self.find(shape, shape.len_bytes, &|_| None)?;
        self.use_up(shape.kind == BarKind::Io, start.saturating_add(shape.len_bytes.saturating_sub(1)));
        Some(start)
    }
}

/// The last address that a BAR of `kind` can have.
const fn limit_of(kind: BarKind) -> u64 {
    match kind {
        BarKind::Io => u16::MAX as u64,
        BarKind::Memory32 => u32::MAX as u64,
        BarKind::Memory64 => u64::MAX,
    }
}

/// Something could not be given addresses, or bus numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssignError {
    /// Whose.
    pub address: PciAddress,
    /// What of it.
    pub part: Part,
    /// Why not.
    pub reason: AssignErrorReason,
}

/// Why something could not be given addresses, or bus numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssignErrorReason {
    /// No window has room for it.
    NoRoom,
    /// A bridge on the way has no window that could pass it on.
    Unreachable,
    /// The function does not answer.
    Gone,
    /// It did not take the address.
    Refused {
        /// What it was given.
        wanted: u64,
        /// What it holds, flag bits aside.
        seen: u64,
    },
    /// The BAR is unusable for another reason.
    Bar(BarErrorReason),
    /// No bus number is left within what the bridges before it pass on.
    NoBusNumbers,
    /// The bridge did not take its bus numbers.
    NotNumbered,
    /// The bus numbers that firmware gave the bridge make no sense, or belong to another as well.
    BadBuses(BridgeBuses),
    /// The bridge is behind [`MAX_DEPTH`](crate::MAX_DEPTH) others.
    TooDeep,
}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.address, self.part)?;
        match self.reason {
            AssignErrorReason::NoRoom => f.write_str("no window has room for it, name a larger one"),
            AssignErrorReason::Unreachable => f.write_str("no bridge window on the way could pass it on"),
            AssignErrorReason::Gone => f.write_str("the function does not answer any more"),
            AssignErrorReason::Refused { wanted, seen } => {
                write!(f, "was given {wanted:#x} and holds {seen:#x}, so it cannot be moved")
            }
            AssignErrorReason::Bar(reason) => reason.fmt(f),
            AssignErrorReason::NoBusNumbers => {
                f.write_str("no bus number is left among those that the bridges before it pass on")
            }
            AssignErrorReason::NotNumbered => f.write_str("it does not take them"),
            AssignErrorReason::BadBuses(buses) => write!(
                f,
                "claims {:#04x} to {:#04x} behind bus {:#04x}, which makes no sense or overlaps another's",
                buses.secondary, buses.subordinate, buses.primary
            ),
            AssignErrorReason::TooDeep => {
                write!(f, "there are {} bridges before it", crate::MAX_DEPTH)
            }
        }
    }
}

impl core::error::Error for AssignError {}

/// The list given has too few places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListTooShort {
    /// How many it has.
    pub places: usize,
    /// How many there have to be, going by what the functions say: a host that shows nonsense can
    /// make this large, and the work grows with its square, so a caller sets a limit of its own.
    pub needed: usize,
}

impl fmt::Display for ListTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { places, needed } = self;
        write!(f, "the buses hold {needed} BARs, windows and bridges, and the list given has {places} places")
    }
}

impl core::error::Error for ListTooShort {}

/// Does what firmware would have done below one root bus: numbers the buses behind bridges that
/// have no numbers, opens windows through them, and gives every BAR without an address one from
/// `windows`. What firmware did stays.
///
/// `buses` are the root bus and those that the bridges below it may lead to; on a machine with
/// several root buses they end before the next one. `list` is where it works, and what came of each
/// thing is there afterwards: take a few hundred places, or as many as the error asks for; it is in
/// the order of addresses then. Each window is as long as what is behind it needs. A BAR that does
/// not fit goes without an address; of what is behind a bridge, the largest do, until the rest
/// fits.
///
/// No function of these buses may be in use. Decoding is as before afterwards, off with a machine
/// that nobody set up: [`Function::enable_path`] opens the way to a function that is wanted.
///
/// ```
/// # use paravane_pci::{AssignError, ConfigAccess};
/// use paravane_pci::assign::{AddressWindow, ListTooShort, Resource, Windows, assign_all};
///
/// fn without_firmware<C: ConfigAccess>(access: &C) -> Result<(), ListTooShort> {
///     let mut windows = Windows {
///         io: AddressWindow::new(0xc000, 0x4000),
///         memory32: AddressWindow::new(0xe000_0000, 0x1e00_0000),
///         memory64: AddressWindow::new(0x80_0000_0000, 0x80_0000_0000),
///         prefetchable: AddressWindow::EMPTY,
///     };
///     let mut list = [Resource::EMPTY; 256];
///     for resource in assign_all(access, access.buses(), &mut windows, &mut list)? {
///         println!("{resource}");
///     }
///     Ok(())
/// }
/// ```
///
/// # Errors
///
/// [`ListTooShort`]: the buses are numbered, and nothing has an address that had none. What single
/// things did not get is in the list.
pub fn assign_all<'l, C: ConfigAccess + ?Sized>(
    access: &C,
    buses: RangeInclusive<u8>,
    windows: &mut Windows,
    list: &'l mut [Resource],
) -> Result<&'l [Resource], ListTooShort> {
    let (root, last) = buses.into_inner();
    let places = list.len();
    let mut survey = survey::Survey::new(&access, list);
    survey.bus(root, last, 0);
    let needed = survey.met;
    let list = list.get_mut(..needed).ok_or(ListTooShort { places, needed })?;
    *windows = plan::solve(list, root, *windows);
    // Bridges come before what is behind them.
    for index in 0..list.len() {
        write(&access, list, index);
    }
    plan::sort(list, |one, other| {
        one.address.cmp(&other.address).then_with(|| one.part.rank().cmp(&other.part.rank()))
    });
    for resource in list.iter() {
        let level = if resource.error().is_some() { log::Level::Warn } else { log::Level::Debug };
        log::log!(level, "pci: {resource}");
    }
    Ok(list)
}

/// Puts the resource at `index` where it was placed.
fn write<C: ConfigAccess>(access: &C, list: &mut [Resource], index: usize) {
    let Some(resource) = list.get_mut(index) else { return };
    let (at, placed) = (resource.address, resource.state == State::Placed);
    match resource.part {
        _ if resource.state == State::Kept => {}
        Part::Buses | Part::BrokenBar { .. } => {}
        Part::Bar { index, shape } => {
            let wanted = if placed { resource.start } else { 0 };
            let seen = place_bar(access, at, index, shape.kind, wanted);
            resource.state = match seen {
                _ if !placed => resource.state,
                None => State::Failed(AssignErrorReason::Gone),
                Some(seen) if seen != wanted => State::Failed(AssignErrorReason::Refused { wanted, seen }),
                Some(_) => State::Placed,
            };
        }
        Part::Window(kind) => {
            close_window(access, at, kind);
            let wanted = BridgeWindow { start: resource.start, last: resource.last() };
            let seen = if placed { open_window(access, at, kind, wanted) } else { None };
            if placed && seen != Some(wanted) {
                close_window(access, at, kind);
                let seen = seen.map_or(0, |window| window.start);
                let reason = AssignErrorReason::Refused { wanted: wanted.start, seen };
                resource.state = State::Failed(reason);
                let (behind, is_io) = (resource.secondary..=resource.subordinate, resource.is_io());
                for inside in list.iter_mut().filter(|other| behind.contains(&other.address.bus())) {
                    let lost = inside.state == State::Placed && inside.shape().is_some();
                    if lost && inside.is_io() == is_io && wanted.covers(inside.start, inside.last()) {
                        inside.state = State::Failed(AssignErrorReason::Unreachable);
                    }
                }
            }
        }
    }
}

/// Writes `start` into a BAR; what address it holds then. `None` when the function does not answer.
fn place_bar<C: ConfigAccess>(
    access: &C,
    at: PciAddress,
    index: u8,
    kind: BarKind,
    start: u64,
) -> Option<u64> {
    let (low_at, high_at) = (register(index), register(index.wrapping_add(1)));
    let (low, high) = halves(start);
    with_decoding_off(access, at, || {
        access.write32(at, low_at, low);
        let low_seen = access.read32(at, low_at);
        match kind {
            BarKind::Io => u64::from(low_seen & !0x3),
            BarKind::Memory32 => u64::from(low_seen & !0xf),
            BarKind::Memory64 => {
                access.write32(at, high_at, high);
                u64::from(access.read32(at, high_at)) << 32 | u64::from(low_seen & !0xf)
            }
        }
    })
}

impl<C: ConfigAccess> Function<C> {
    /// Gives every BAR without an address one from `windows`. Largest first is the caller's
    /// business: per function the order is that of the registers, and natural alignment is kept by
    /// leaving gaps.
    ///
    /// How many were assigned. Decoding is off meanwhile and then as before;
    /// [`enable`](Self::enable) it after.
    ///
    /// # Errors
    ///
    /// [`AssignError`] of the first that failed. Each of the others was tried for itself: one
    /// without room for its ports still has its registers in memory.
    pub fn assign_bars(&mut self, windows: &mut Windows) -> Result<u8, AssignError> {
        let (mut assigned, mut failed) = (0_u8, None);
        for index in 0..crate::bar::BARS {
            let Err(error) = self.bar(index) else { continue };
            let BarErrorReason::Unassigned(shape) = error.reason else { continue };
            match self.assign_bar(error.index, shape, windows) {
                Ok(()) => {
                    log::debug!("pci: {} BAR{} was given an address", error.address, error.index);
                    assigned = assigned.saturating_add(1);
                }
                Err(reason) => {
                    let part = Part::Bar { index: error.index, shape };
                    failed.get_or_insert(AssignError { address: error.address, part, reason });
                }
            }
        }
        failed.map_or(Ok(assigned), Err)
    }

    /// Gives BAR `index`, which asks for `shape`, an address from `windows`.
    fn assign_bar(
        &mut self,
        index: u8,
        shape: BarShape,
        windows: &mut Windows,
    ) -> Result<(), AssignErrorReason> {
        let start = windows.take(shape).ok_or(AssignErrorReason::NoRoom)?;
        let seen = place_bar(self.access(), self.address(), index, shape.kind, start)
            .ok_or(AssignErrorReason::Gone)?;
        if seen != start {
            return Err(AssignErrorReason::Refused { wanted: start, seen });
        }
        let BarShape { kind, prefetchable, len_bytes } = shape;
        if let Some(place) = self.bars_mut().get_mut(usize::from(index)) {
            *place = Ok(Bar { index, kind, prefetchable, start, len_bytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockBar, MockBus, MockFunction, Reaction, at};

    fn windows() -> Windows {
        Windows {
            io: AddressWindow::new(0x1001, 0x100),
            memory32: AddressWindow::new(0x1000_0000, 0x10_0000),
            memory64: AddressWindow::new(0x80_0000_1000, 0x10_0000),
            prefetchable: AddressWindow::EMPTY,
        }
    }

    #[test]
    fn bars_without_an_address_get_one_aligned_to_their_length() {
        let nic = MockFunction::nic()
            .with(0x04, &[0x03])
            .bar(MockBar::memory32(0, 0, 0x1000))
            .bar(MockBar::memory32(1, 0, 0x4000))
            .bar(MockBar::io(2, 0, 0x20))
            .bar(MockBar::memory64(4, 0, 0x4000));
        let bus = MockBus::of(nic);
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(function.assign_bars(&mut windows()), Ok(4));
        let places: Vec<_> =
            function.bars().map(|bar| bar.unwrap()).map(|bar| (bar.index, bar.start)).collect();
        assert_eq!(places, [(0, 0x1000_0000), (1, 0x1000_4000), (2, 0x1020), (4, 0x80_0000_4000)]);
        assert!(!bus.moved_while_decoding.get());
        assert_eq!(bus.read16(at("00:04.0"), 0x04), 0x03, "decoding is as it was");
        let seen: Vec<_> = Function::claim(&bus, at("00:04.0")).unwrap().bars().collect();
        assert_eq!(seen, function.bars().collect::<Vec<_>>(), "the device knows as well");
    }

    #[test]
    fn what_has_an_address_keeps_it() {
        let nic = MockFunction::nic()
            .bar(MockBar::memory32(0, 0xfebc_0000, 0x1000))
            .bar(MockBar::memory32(1, 0, 0x1000));
        let bus = MockBus::of(nic);
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        bus.writes.borrow_mut().clear();
        assert_eq!(function.assign_bars(&mut windows()), Ok(1));
        assert!(!bus.writes.borrow().iter().any(|&(offset, ..)| offset == 0x10));
        assert_eq!(function.assign_bars(&mut windows()), Ok(0), "nothing is left to do");
    }

    #[test]
    fn a_window_that_is_too_small_is_reported() {
        let bus = MockBus::of(MockFunction::nic().bar(MockBar::memory32(0, 0, 0x20_0000)));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let mut windows = windows();
        let error = function.assign_bars(&mut windows).unwrap_err();
        assert_eq!(
            error.to_string(),
            "00:04.0 BAR0, which wants 0x200000 bytes of memory: no window has room for it, name a larger one"
        );
        assert_eq!(windows, self::windows(), "a window that could not serve gives nothing away");
    }

    #[test]
    fn a_bar_without_room_takes_none_from_the_others() {
        let nic = MockFunction::nic().bar(MockBar::io(0, 0, 0x20)).bar(MockBar::memory32(1, 0, 0x1000));
        let bus = MockBus::of(nic);
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let mut windows = Windows { io: AddressWindow::EMPTY, ..windows() };
        let error = function.assign_bars(&mut windows).unwrap_err();
        assert!(matches!(error.part, Part::Bar { index: 0, .. }), "{error}");
        assert_eq!(error.reason, AssignErrorReason::NoRoom);
        assert_eq!(function.bar(1).unwrap().start, 0x1000_0000);
    }

    #[test]
    fn a_bar_that_does_not_move_is_reported() {
        let bus =
            MockBus::of(MockFunction::nic().bar(MockBar::memory32(0, 0, 0x1000).reacting(Reaction::OneShot)));
        let mut function = Function::claim(&bus, at("00:04.0")).unwrap();
        let error = function.assign_bars(&mut windows()).unwrap_err();
        assert_eq!(error.reason, AssignErrorReason::Refused { wanted: 0x1000_0000, seen: 0 });
        assert!(function.bar(0).is_err());
    }

    #[test]
    fn a_prefetchable_bar_falls_back_step_by_step() {
        let shape = BarShape { kind: BarKind::Memory64, prefetchable: true, len_bytes: 0x1000 };
        let one = |start| AddressWindow::new(start, 0x1000);
        let mut windows = Windows {
            io: AddressWindow::EMPTY,
            memory32: one(0x1000),
            memory64: one(0x2_0000_0000),
            prefetchable: one(0x3_0000_0000),
        };
        assert_eq!(
            windows.take(BarShape { kind: BarKind::Memory32, ..shape }),
            Some(0x1000),
            "4 GiB is the end for it"
        );
        windows.memory32 = one(0x1000);
        let taken: Vec<_> = std::iter::from_fn(|| windows.take(shape)).collect();
        assert_eq!(taken, [0x3_0000_0000, 0x2_0000_0000, 0x1000]);
    }

    #[test]
    fn address_0_is_never_given() {
        assert_eq!(AddressWindow::new(0, 0x1_0000).find(0x1000, 0x1000, u64::MAX, &|_| None), Some(0x1000));
    }

    proptest::proptest! {
        /// What a window gives lies inside it, is aligned, and is given once.
        #[test]
        fn a_window_gives_each_byte_once(start: u64, len_bytes: u64, shifts in proptest::collection::vec(0_u32..63, 1..20)) {
            let mut window = AddressWindow::new(start, len_bytes);
            let mut from = start;
            for shift in shifts {
                let wanted = 1 << shift;
                if let Some(given) = window.find(wanted, wanted, u64::MAX, &|_| None) {
                    window.use_up(given + (wanted - 1));
                    assert!(given >= from && given.is_multiple_of(wanted) && given != 0);
                    from = given.checked_add(wanted).unwrap();
                    assert!(from - start <= len_bytes);
                }
            }
        }
    }
}
