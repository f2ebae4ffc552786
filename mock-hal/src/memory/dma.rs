//! The contract with drivers: memory is given out and taken back here.

use std::ptr::NonNull;

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{
    Direction, Dma, DmaError, DmaErrorReason, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag,
};

use super::Memory;
use super::block::Block;
use super::domain::{Kind, POISON, Piece};
use super::site::Site;

// SAFETY:
// - `alloc`: the global allocator gives unique memory of the layout asked for, and `Block` fills it
//   with zeros. The device reaches it through `Memory` alone, under the device address given out,
//   in full; both sides work on the same bytes.
// - `map`: the device reaches the memory itself, or a copy that is made before `map` returns and
//   copied back in `unmap`.
unsafe impl Dma for Memory {
    fn limits(&self) -> DmaLimits {
        let domain = self.lock();
        DmaLimits::NONE
            .with_max_segment_bytes(domain.settings.max_segment_bytes)
            .with_address_bits(domain.settings.address_bits)
            .with_mapping_granule(domain.settings.mapping_granule)
    }

    fn domain(&self) -> DomainTag {
        self.0.tag
    }

    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let mut domain = self.lock();
        let len_bytes = request.len_bytes.get();
        let number = domain.admit(len_bytes, Kind::Coherent)?;
        let align_bytes = request.align.bytes();
        let addr = domain.place(len_bytes, align_bytes, request.address_bits, 0)?;
        let block = Block::new(len_bytes, align_bytes, 0)
            .ok_or(DmaError::new(len_bytes, DmaErrorReason::OutOfMemory))?;
        let cpu = block.start();
        let site = Site::here(domain.settings.sites);
        let piece =
            Piece { cpu, len_bytes, kind: Kind::Coherent, number, block: Some(block), site, gone_by: None };
        domain.pieces.insert(addr, piece);
        // SAFETY: the device reaches `cpu` under this address from the line above on.
        let dma = unsafe { DmaAddr::from_platform(addr) };
        Ok(DmaRegion::new(cpu, dma, request.len_bytes))
    }

    unsafe fn free(&self, region: DmaRegion) {
        let mut domain = self.lock();
        let before = domain.violations.len();
        let addr = region.dma().get();
        match domain.pieces.remove(&addr) {
            Some(piece) if piece.cpu == region.cpu() => domain.retire(addr, piece),
            _ => {
                let what = format!("dma:{addr:#x} is no region of this domain, or was freed before");
                domain.violations.push(what);
            }
        }
        Self::judge(domain, before);
    }

    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        let mut domain = self.lock();
        let len_bytes = memory.len();
        let number = domain.admit(len_bytes, Kind::Mapped(direction))?;
        let own: NonNull<u8> = memory.cast();
        let granule = domain.settings.mapping_granule;
        let (bounces, address_bits) = (domain.settings.bounces, domain.settings.address_bits);
        let fits = |number: usize| number.is_multiple_of(granule.bytes());
        if !(bounces || fits(own.addr().get()) && fits(len_bytes)) {
            return Err(DmaError::new(len_bytes, DmaErrorReason::Alignment { align: granule }));
        }
        // Without a copy, the place in a cache line is the memory's own, as behind an IOMMU: no
        // driver gets alignment for free.
        let skew_bytes = if bounces { 0 } else { own.addr().get() % 64 };
        let addr = domain.place(len_bytes, granule.bytes().max(64), address_bits, skew_bytes)?;
        let (cpu, block) = if bounces {
            let block = Block::new(len_bytes, granule.bytes(), POISON)
                .ok_or(DmaError::new(len_bytes, DmaErrorReason::OutOfMemory))?;
            let copy = block.start();
            if direction != Direction::FromDevice {
                // SAFETY: both are `len_bytes` long and apart; the caller lends `memory`.
                unsafe { copy.as_ptr().copy_from_nonoverlapping(own.as_ptr(), len_bytes) };
            }
            (copy, Some(block))
        } else {
            (own, None)
        };
        // What the device alone writes is nobody's to read until then; what bounces is not even
        // there.
        if direction == Direction::FromDevice || bounces && direction == Direction::Both {
            // SAFETY: the caller lends `memory` until `unmap`, to be written.
            unsafe { own.as_ptr().write_bytes(POISON, len_bytes) };
        }
        let site = Site::here(domain.settings.sites);
        let kind = Kind::Mapped(direction);
        domain.pieces.insert(addr, Piece { cpu, len_bytes, kind, number, block, site, gone_by: None });
        // SAFETY: as in `alloc`.
        let dma = unsafe { DmaAddr::from_platform(addr) };
        Ok(DmaMapping::new(memory, dma, direction))
    }

    unsafe fn unmap(&self, mapping: DmaMapping) {
        let mut domain = self.lock();
        let before = domain.violations.len();
        let addr = mapping.dma().get();
        match domain.pieces.remove(&addr) {
            Some(piece) if piece.kind == Kind::Mapped(mapping.direction()) => {
                if piece.block.is_some() && mapping.direction() != Direction::ToDevice {
                    let own: NonNull<u8> = mapping.memory().cast();
                    // SAFETY: the caller's memory is still valid and as long as the copy, which
                    // lives in the piece.
                    unsafe { own.as_ptr().copy_from_nonoverlapping(piece.cpu.as_ptr(), piece.len_bytes) };
                }
                domain.retire(addr, piece);
            }
            _ => {
                let what = format!("dma:{addr:#x} is no mapping of this domain, or was unmapped before");
                domain.violations.push(what);
            }
        }
        Self::judge(domain, before);
    }
}
