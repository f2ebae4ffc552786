//! Giving addresses to BARs that firmware left without. Opt-in: a kernel that boots where nobody assigned anything calls it, with
//! windows that it knows to be free and routed to the bus.
//!
//! What has an address keeps it: monitors place some BARs for good, and somebody may be using them. Windows of bridges are
//! not programmed, so it serves functions on a root bus, or behind bridges whose windows cover the ranges given.

use core::fmt;

use crate::bar::{Bar, BarErrorReason, BarKind, BarShape, register, with_decoding_off};
use crate::{ConfigAccess, Function, PciAddress};

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

    /// `len_bytes`, a power of two, aligned to itself and ending at or before `limit`.
    fn take(&mut self, len_bytes: u64, limit: u64) -> Option<u64> {
        // Address 0 in a BAR means that it has none.
        let start = self.next.max(1).checked_next_multiple_of(len_bytes)?;
        let taken = start.checked_sub(self.next)?.checked_add(len_bytes)?;
        let left_bytes = self.left_bytes.checked_sub(taken)?;
        let end = start.checked_add(len_bytes)?;
        if end.checked_sub(1)? > limit {
            return None;
        }
        *self = Self { next: end, left_bytes };
        Some(start)
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
    /// A place for a BAR of `shape`, from the window that suits it best.
    fn take(&mut self, shape: BarShape) -> Option<u64> {
        const BELOW_4G: u64 = u32::MAX as u64;
        let Self { io, memory32, memory64, prefetchable } = self;
        let len_bytes = shape.len_bytes;
        let limit = if shape.kind == BarKind::Memory64 { u64::MAX } else { BELOW_4G };
        if shape.kind == BarKind::Io {
            return io.take(len_bytes, u16::MAX.into());
        }
        let preferred = if shape.prefetchable { prefetchable.take(len_bytes, limit) } else { None };
        let wide = || if shape.kind == BarKind::Memory64 { memory64.take(len_bytes, limit) } else { None };
        preferred.or_else(wide).or_else(|| memory32.take(len_bytes, BELOW_4G))
    }
}

/// A BAR could not be given an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssignError {
    /// Whose.
    pub address: PciAddress,
    /// Which.
    pub index: u8,
    /// What it asks for.
    pub shape: BarShape,
    /// Why not.
    pub reason: AssignErrorReason,
}

/// Why a BAR could not be given an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignErrorReason {
    /// No window has room for it.
    NoRoom,
    /// The function does not answer.
    Gone,
    /// It did not take the address.
    Refused {
        /// What it was given.
        wanted: u64,
        /// What it holds, flag bits aside.
        seen: u64,
    },
}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.shape.kind == BarKind::Io { "ports" } else { "bytes of memory" };
        write!(f, "{} BAR{}, which wants {:#x} {space}: ", self.address, self.index, self.shape.len_bytes)?;
        match self.reason {
            AssignErrorReason::NoRoom => f.write_str("no window has room for it, name a larger one"),
            AssignErrorReason::Gone => f.write_str("the function does not answer any more"),
            AssignErrorReason::Refused { wanted, seen } => {
                write!(f, "was given {wanted:#x} and holds {seen:#x}, so it cannot be moved")
            }
        }
    }
}

impl core::error::Error for AssignError {}

impl<C: ConfigAccess> Function<C> {
    /// Gives every BAR without an address one from `windows`. Largest first is the caller's business: per function the order is that of the
    /// registers, and natural alignment is kept by leaving gaps.
    ///
    /// How many were assigned. Decoding is off meanwhile and then as before; [`enable`](Self::enable) it after.
    ///
    /// # Errors
    ///
    /// [`AssignError`] of the first that failed. Each of the others was tried for itself: one without room for its
    /// ports still has its registers in memory.
    pub fn assign_bars(&mut self, windows: &mut Windows) -> Result<u8, AssignError> {
        let (mut assigned, mut failed) = (0_u8, None);
        for index in 0..crate::bar::BARS {
            let Err(error) = self.bar(index) else { continue };
            let BarErrorReason::Unassigned(shape) = error.reason else { continue };
            match self.assign_bar(error.index, shape, windows) {
                Ok(()) => assigned = assigned.saturating_add(1),
                Err(reason) => {
                    let error = AssignError { address: error.address, index: error.index, shape, reason };
                    failed.get_or_insert(error);
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
        let seen = self.place_bar(index, shape.kind, start).ok_or(AssignErrorReason::Gone)?;
        if seen != start {
            return Err(AssignErrorReason::Refused { wanted: start, seen });
        }
        let BarShape { kind, prefetchable, len_bytes } = shape;
        if let Some(place) = self.bars_mut().get_mut(usize::from(index)) {
            *place = Ok(Bar { index, kind, prefetchable, start, len_bytes });
        }
        Ok(())
    }

    /// Writes `start` into a BAR; what address it holds then. `None` when the function does not answer.
    fn place_bar(&self, index: u8, kind: BarKind, start: u64) -> Option<u64> {
        let (access, at) = (self.access(), self.address());
        let (low_at, high_at) = (register(index), register(index.wrapping_add(1)));
        let [a, b, c, d, high @ ..] = start.to_le_bytes();
        let (low, high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(high));
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
        assert_eq!((error.index, error.reason), (0, AssignErrorReason::NoRoom));
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
        assert_eq!(AddressWindow::new(0, 0x1_0000).take(0x1000, u64::MAX), Some(0x1000));
    }

    proptest::proptest! {
        /// What a window gives lies inside it, is aligned, and is given once.
        #[test]
        fn a_window_gives_each_byte_once(start: u64, len_bytes: u64, shifts in proptest::collection::vec(0_u32..63, 1..20)) {
            let mut window = AddressWindow::new(start, len_bytes);
            let mut from = start;
            for shift in shifts {
                let wanted = 1 << shift;
                if let Some(given) = window.take(wanted, u64::MAX) {
                    assert!(given >= from && given.is_multiple_of(wanted) && given != 0);
                    from = given.checked_add(wanted).unwrap();
                    assert!(from - start <= len_bytes);
                }
            }
        }
    }
}
