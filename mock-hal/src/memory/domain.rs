//! Who has which bytes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ptr::NonNull;

use paravane_hal::dma::{Direction, DmaError, DmaErrorReason};

use super::block::Block;
use super::fault::{AccessFault, FaultKind};
use super::lease::{self, Lease};
use super::settings::Settings;
use super::site::Site;
use super::space::AddressSpace;

/// Freed memory, and memory that the other side has, holds this.
pub(super) const POISON: u8 = 0xdb;
/// How much freed memory is kept to be watched.
const KEPT_BYTES: usize = 16 << 20;
/// How many freed regions and ended mappings are kept.
const KEPT_PIECES: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Domain {
    pub(super) settings: Settings,
    /// By device address of the first byte.
    pub(super) pieces: BTreeMap<u64, Piece>,
    /// Given back lately, oldest first by `gone_order`.
    gone: BTreeMap<u64, Piece>,
    gone_order: VecDeque<u64>,
    gone_bytes: usize,
    pub(super) leases: BTreeMap<u64, Lease>,
    pub(super) space: AddressSpace,
    pub(super) allocations: u64,
    pub(super) mappings: u64,
    /// Allocations and mappings from this one on fail.
    pub(super) calls_left: Option<usize>,
    pub(super) faults: Vec<AccessFault>,
    /// Rules of the platform that the driver broke.
    pub(super) violations: Vec<String>,
    pub(super) is_finished: bool,
}

/// Something the device can reach, or could.
#[derive(Debug)]
pub(super) struct Piece {
    /// What the device reaches.
    pub(super) cpu: NonNull<u8>,
    pub(super) len_bytes: usize,
    pub(super) kind: Kind,
    /// Which allocation or mapping it was, counted from 1.
    pub(super) number: u64,
    /// The memory, where it is the domain's own.
    pub(super) block: Option<Block>,
    pub(super) site: Site,
    /// Who gave it back.
    pub(super) gone_by: Option<Site>,
}

// SAFETY: a piece is a place, and only the domain, under its lock, follows it.
unsafe impl Send for Piece {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Coherent,
    Mapped(Direction),
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, len_bytes, site, .. } = self;
        match self.kind {
            Kind::Coherent => write!(f, "region #{number} ({len_bytes} bytes, coherent, ")?,
            Kind::Mapped(direction) => {
                write!(f, "mapping #{number} ({len_bytes} bytes, {direction:?}, ")?;
            }
        }
        match (&self.gone_by, self.kind) {
            (Some(by), _) => write!(f, "owned by nobody, given back by {by}; "),
            (None, Kind::Coherent) => f.write_str("owned by both; "),
            (None, Kind::Mapped(_)) => f.write_str("owned by the device; "),
        }?;
        write!(f, "asked for by {site})")
    }
}

impl Domain {
    /// Where the CPU finds what the device calls `addr`, for all of `len_bytes`, and in which piece
    /// at which offset that is.
    pub(super) fn reach(
        &mut self,
        who: &str,
        addr: u64,
        len_bytes: usize,
        access: Direction,
    ) -> Result<(NonNull<u8>, u64, usize), AccessFault> {
        self.find(addr, len_bytes, access).map_err(|kind| self.refuse(who, addr, len_bytes, access, kind))
    }

    /// What is wrong with an access that is not made, if anything.
    pub(super) fn missing(&self, addr: u64, len_bytes: usize, access: Direction) -> Option<AccessFault> {
        let kind = self.find(addr, len_bytes, access).err()?;
        Some(AccessFault { addr, len_bytes, kind, report: kind.why().into() })
    }

    /// The sum of bytes that the device can read, unless they are gone.
    pub(super) fn sum(&self, addr: u64, len_bytes: usize) -> Option<u64> {
        let (from, ..) = self.find(addr, len_bytes, Direction::ToDevice).ok()?;
        let mut bytes = vec![0; len_bytes];
        // SAFETY: `find` checked that all of it lies in a piece that is still given out; `bytes` is
        // fresh.
        unsafe { from.as_ptr().copy_to_nonoverlapping(bytes.as_mut_ptr(), len_bytes) };
        Some(lease::sum(&bytes))
    }

    /// The last lease with any of these bytes. Leases that keep the rules do not overlap, so none
    /// that starts before that one reaches further.
    pub(super) fn held(&self, addr: u64, len_bytes: usize) -> Option<&Lease> {
        let (_, last) = self.leases.range(..addr + len_bytes as u64).next_back()?;
        last.overlaps(addr, len_bytes).then_some(last)
    }

    /// Device `who` wrote here: what it has to read there itself counts as it is now.
    pub(super) fn sum_anew(&mut self, who: &str, addr: u64, len_bytes: usize) {
        let Some(lease) = self.held(addr, len_bytes) else { return };
        let Lease { addr, len_bytes, .. } = *lease;
        if lease.sum.is_none() || *lease.holder != *who {
            return;
        }
        let sum = self.sum(addr, len_bytes);
        if let Some(lease) = self.leases.get_mut(&addr) {
            lease.sum = sum;
        }
    }

    fn find(
        &self,
        addr: u64,
        len_bytes: usize,
        access: Direction,
    ) -> Result<(NonNull<u8>, u64, usize), FaultKind> {
        let Some((piece, offset)) = around(&self.pieces, addr) else {
            return Err(if around(&self.gone, addr).is_some() {
                FaultKind::Gone
            } else {
                FaultKind::Unmapped
            });
        };
        if len_bytes > piece.len_bytes - offset {
            return Err(FaultKind::Overrun);
        }
        match piece.kind {
            Kind::Mapped(direction) if direction != Direction::Both && direction != access => {
                Err(FaultKind::Direction)
            }
            // SAFETY: `offset` lies inside the piece.
            _ => Ok((unsafe { piece.cpu.add(offset) }, piece.number, offset)),
        }
    }

    /// The piece that the CPU finds at `place`: the device's address of that, where in the piece it
    /// is, and the piece.
    pub(super) fn around_place(&self, place: usize) -> Option<(u64, usize, &Piece)> {
        self.pieces.iter().find_map(|(addr, piece)| {
            let offset =
                place.checked_sub(piece.cpu.addr().get()).filter(|offset| *offset < piece.len_bytes)?;
            Some((addr + offset as u64, offset, piece))
        })
    }

    /// Writes a refused access down.
    pub(super) fn refuse(
        &mut self,
        who: &str,
        addr: u64,
        len_bytes: usize,
        access: Direction,
        kind: FaultKind,
    ) -> AccessFault {
        let verb = if access == Direction::ToDevice { "read" } else { "wrote" };
        let place = match around(&self.pieces, addr).or_else(|| around(&self.gone, addr)) {
            Some((piece, offset)) => format!("offset {offset} of {piece}"),
            None => match self.pieces.range(..addr).next_back() {
                Some((start, piece)) => format!(
                    "{} bytes behind {piece}, the nearest before it",
                    addr - start - piece.len_bytes as u64
                ),
                None => "below all regions".into(),
            },
        };
        let report =
            format!("device `{who}` {verb} {len_bytes} bytes at dma:{addr:#x}, but {}: {place}", kind.why());
        let fault = AccessFault { addr, len_bytes, kind, report };
        self.faults.push(fault.clone());
        fault
    }

    /// Finds a device address for `len_bytes`, no wider than `address_bits`, at `skew_bytes` past a
    /// multiple of `align_bytes`.
    pub(super) fn place(
        &mut self,
        len_bytes: usize,
        align_bytes: usize,
        address_bits: u8,
        skew_bytes: usize,
    ) -> Result<u64, DmaError> {
        let address_bits = address_bits.min(self.settings.address_bits);
        let (pieces, gone) = (&self.pieces, &self.gone);
        let is_free = |start: u64, end: u64| {
            [pieces, gone].iter().all(|map| {
                map.range(..end).next_back().is_none_or(|(at, piece)| at + piece.len_bytes as u64 <= start)
            })
        };
        self.space
            .place((len_bytes + skew_bytes) as u64, align_bytes as u64, address_bits, is_free)
            .map(|start| start + skew_bytes as u64)
            .ok_or(DmaError::new(len_bytes, DmaErrorReason::AddressWidth { address_bits }))
    }

    /// Counts a call, and says whether it goes through.
    pub(super) fn admit(&mut self, len_bytes: usize, kind: Kind) -> Result<u64, DmaError> {
        let (count, failing) = match kind {
            Kind::Coherent => (&mut self.allocations, &self.settings.failing_allocations),
            Kind::Mapped(_) => (&mut self.mappings, &self.settings.failing_mappings),
        };
        *count += 1;
        let number = *count;
        let is_over = self.calls_left == Some(0);
        if is_over || failing.contains(&number) {
            return Err(DmaError::new(len_bytes, DmaErrorReason::OutOfMemory));
        }
        self.calls_left = self.calls_left.map(|left| left - 1);
        let max_segment_bytes = self.settings.max_segment_bytes;
        if len_bytes > max_segment_bytes {
            return Err(DmaError::new(len_bytes, DmaErrorReason::TooLong { max_segment_bytes }));
        }
        Ok(number)
    }

    /// Takes a piece off the map and keeps it, poisoned, to see who still writes to it.
    pub(super) fn retire(&mut self, addr: u64, mut piece: Piece) {
        piece.gone_by = Some(Site::here(self.settings.sites));
        if let Some(held) = self.held(addr, piece.len_bytes) {
            self.violations.push(format!("given back while the device has it: {held}, in {piece}"));
        }
        if let Some(at) = piece.block.as_ref().and_then(Block::broken_guard) {
            self.violations.push(format!("a guard byte was overwritten at offset {at} of {piece}"));
        }
        if let Some(block) = &piece.block {
            block.fill(POISON);
            self.gone_bytes += piece.len_bytes;
        }
        self.gone.insert(addr, piece);
        self.gone_order.push_back(addr);
        while self.gone_bytes > KEPT_BYTES || self.gone_order.len() > KEPT_PIECES {
            let Some(old) = self.gone_order.pop_front().and_then(|addr| self.gone.remove(&addr)) else {
                break;
            };
            if old.block.is_some() {
                self.gone_bytes -= old.len_bytes;
            }
            self.violations.extend(written_after(&old));
        }
    }

    /// Everything that is wrong now, if this is the end.
    pub(super) fn verdict(&self) -> Vec<String> {
        let mut wrong = self.violations.clone();
        wrong.extend(self.faults.iter().map(|fault| fault.report.clone()));
        for piece in self.pieces.values().chain(self.gone.values()) {
            if let Some(at) = piece.block.as_ref().and_then(Block::broken_guard) {
                wrong.push(format!("a guard byte was overwritten at offset {at} of {piece}"));
            }
        }
        wrong.extend(self.gone.values().filter_map(written_after));
        if let Some(expected) = self.settings.leaks
            && expected != self.pieces.len()
        {
            wrong.push(format!("{} pieces of memory are out, {expected} expected", self.pieces.len()));
            wrong.extend(self.pieces.values().map(|piece| format!("out: {piece}")));
        }
        wrong
    }
}

/// Who wrote to a piece since it was given back.
fn written_after(piece: &Piece) -> Option<String> {
    let at = piece.block.as_ref()?.first_other_than(POISON)?;
    Some(format!("written after it was given back: offset {at} of {piece}"))
}

/// The piece that has `addr`, and where in it that is.
fn around(pieces: &BTreeMap<u64, Piece>, addr: u64) -> Option<(&Piece, usize)> {
    let (start, piece) = pieces.range(..=addr).next_back()?;
    let offset = usize::try_from(addr - start).ok()?;
    (offset < piece.len_bytes).then_some((piece, offset))
}

impl Drop for Domain {
    fn drop(&mut self) {
        let wrong = if self.settings.panics && !self.is_finished { self.verdict() } else { Vec::new() };
        for piece in std::mem::take(&mut self.pieces).into_values() {
            // Whoever still has a pointer into it keeps it: leaked memory is leaked, never
            // dangling.
            std::mem::forget(piece.block);
        }
        if !std::thread::panicking() {
            assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
    }
}
