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
    /// [`AssignError`] of the first that failed; those before it have their addresses.
    pub fn assign_bars(&mut self, windows: &mut Windows) -> Result<u8, AssignError> {
        let mut assigned = 0_u8;
        for index in 0..crate::bar::BARS {
            let Err(error) = self.bar(index) else { continue };
            let BarErrorReason::Unassigned(shape) = error.reason else { continue };
            let fail = |reason| AssignError { address: error.address, index: error.index, shape, reason };
            let start = windows.take(shape).ok_or(fail(AssignErrorReason::NoRoom))?;
            let seen = self.place_bar(error.index, shape.kind, start);
            if seen != start {
                return Err(fail(AssignErrorReason::Refused { wanted: start, seen }));
            }
            let BarShape { kind, prefetchable, len_bytes } = shape;
            if let Some(place) = self.bars_mut().get_mut(index) {
                *place = Ok(Bar { index: error.index, kind, prefetchable, start, len_bytes });
            }
            assigned = assigned.saturating_add(1);
        }
        Ok(assigned)
    }

    /// Writes `start` into a BAR; what address it holds then.
    fn place_bar(&self, index: u8, kind: BarKind, start: u64) -> u64 {
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
