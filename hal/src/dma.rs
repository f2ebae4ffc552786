//! Memory that a device reaches.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Dma`], the contract with the platform, and what goes over it |
//! | [`domain`] | [`DomainTag`]: whose addresses they are |
//! | [`quiet`] | [`Quiet`], the proof that a device has let go |
//! | [`shared`] | [`DmaBox`], [`DmaRing`]: coherent memory as a driver uses it |
//! | [`words`] | [`Words`]: one entry of a ring; [`Word16`], [`Word32`]: single words |
//! | [`load`] | how all of them are loaded, and a door for tests that have them change |
//! | `fixed` | the same for `virtio-drivers`, whose platform is a type |
//! | [`stream`] | [`Mapped`]: memory that existed before, lent to a device by move |
//!
//! # The one honest paragraph
//!
//! Without an IOMMU, a driver can point its device at any memory there is, `unsafe` or not: the
//! device is the one that writes. So a [`DmaAddr`] comes only from a region or mapping that the
//! platform handed out, drivers cannot make one from a number, and the few lines that write one
//! into a descriptor or a register are the ones to review twice.

#![expect(unsafe_code, reason = "the contract with the platform: raw memory and the promises about it")]

use core::fmt;
use core::num::NonZeroUsize;
use core::ptr::{NonNull, null_mut};

pub(crate) mod copy;
pub mod domain;
#[cfg(feature = "virtio-drivers")]
pub mod fixed;
pub mod load;
pub mod quiet;
pub mod shared;
pub mod stream;
pub mod words;

pub use domain::DomainTag;
pub use quiet::{DeviceDma, DeviceTag, Quiesce, Quiet};
#[cfg(feature = "alloc")]
pub use shared::DmaBlock;
pub use shared::{DmaBox, DmaRing, DmaWords, Field};
pub use stream::{Direction, Mapped, StableMemory};
pub use words::{Word16, Word32, Words};

use crate::addr::{Align, DmaAddr};

/// What memory a device needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaRequest {
    /// How much. The region may be longer, never shorter.
    pub len_bytes: NonZeroUsize,
    /// Divides the device address, and the CPU address too.
    pub align: Align,
    /// How many address bits the device drives: no byte of the memory may lie beyond 2 to this
    /// power.
    pub address_bits: u8,
}

impl DmaRequest {
    /// `len_bytes` at `align`, anywhere in 64 bits.
    #[must_use]
    pub const fn new(len_bytes: NonZeroUsize, align: Align) -> Self {
        Self { len_bytes, align, address_bits: 64 }
    }

    /// Whether `addr` satisfies this request.
    #[must_use]
    pub const fn accepts(&self, addr: DmaAddr) -> bool {
        let aligned = addr.get().is_multiple_of(self.align.bytes() as u64);
        let Some(last) = addr.get().checked_add(self.len_bytes.get() as u64 - 1) else {
            return false;
        };
        aligned && (self.address_bits >= 64 || last >> self.address_bits == 0)
    }

    /// Checks that `region` is what was asked for. Whoever builds on a region asks this first: a
    /// platform may be wrong.
    ///
    /// # Errors
    ///
    /// [`DmaError`]: what it is not.
    pub fn check(&self, region: &DmaRegion) -> Result<(), DmaError> {
        let has_bytes = region.len_bytes().get();
        let align_bytes = self.align.bytes();
        let is_aligned = region.cpu().addr().get().is_multiple_of(align_bytes)
            && region.dma().get().is_multiple_of(align_bytes as u64);
        let reason = if has_bytes < self.len_bytes.get() {
            DmaErrorReason::TooShort { has_bytes }
        } else if !is_aligned {
            DmaErrorReason::Alignment { align: self.align }
        } else if !self.accepts(region.dma()) {
            DmaErrorReason::AddressWidth { address_bits: self.address_bits }
        } else {
            return Ok(());
        };
        Err(DmaError::new(self.len_bytes.get(), reason))
    }
}

/// What a platform's DMA can do at all.
///
/// A platform says it by what differs from [`NONE`](Self::NONE):
/// `DmaLimits::NONE.with_address_bits(32)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DmaLimits {
    /// The longest piece that is contiguous for the device.
    pub max_segment_bytes: usize,
    /// Device addresses have at most this many bits, whatever a request says.
    pub address_bits: u8,
    /// Mappings start and end at multiples of this, as seen by the device; one byte where nothing
    /// is rounded. A `map` that does not bounce refuses other memory, so that its neighbours stay
    /// out of reach.
    pub mapping_granule: Align,
}

impl DmaLimits {
    /// No limits: an identity-mapped machine without an IOMMU.
    pub const NONE: Self =
        Self { max_segment_bytes: usize::MAX, address_bits: 64, mapping_granule: Align::BYTE };

    /// The same with pieces of at most `max_segment_bytes`.
    #[must_use]
    pub const fn with_max_segment_bytes(self, max_segment_bytes: usize) -> Self {
        Self { max_segment_bytes, ..self }
    }

    /// The same with addresses of at most `address_bits` bits.
    #[must_use]
    pub const fn with_address_bits(self, address_bits: u8) -> Self {
        Self { address_bits, ..self }
    }

    /// The same with mappings that start and end at multiples of `mapping_granule`.
    #[must_use]
    pub const fn with_mapping_granule(self, mapping_granule: Align) -> Self {
        Self { mapping_granule, ..self }
    }
}

/// DMA memory and mappings.
///
/// **Driver authors** rarely call this: [`DmaBox`], [`DmaRing`], [`Mapped`] and
/// [`Pool`](crate::pool::Pool) do, and keep the obligations. Nothing here is called from a data
/// path except `map` and `unmap`.
///
/// **Platform authors** implement it for a value, not for a type: two devices may sit behind two
/// IOMMU domains. A clone reaches the same domain; on bare metal it is no more than a pointer to
/// one. Every call may come from any core and must not wait for a device.
///
/// # Safety
///
/// From the moment [`alloc`](Self::alloc) or [`map`](Self::map) returns until [`free`](Self::free)
/// or [`unmap`](Self::unmap) is called, the implementation guarantees that
///
/// - the device reaches exactly the memory named, contiguously, at the device address returned;
/// - for `alloc`: the region is as long, aligned on both sides, and low as was asked for
///   ([`DmaRequest::check`]); the CPU address is valid for reads and writes of the whole region,
///   nothing else in the program uses it, both sides see each other's stores without cache
///   maintenance, and the memory was zeroed before it was returned;
/// - for `map`: with [`Direction::ToDevice`] and [`Direction::Both`] the device sees what the CPU
///   stored before the call; with [`Direction::FromDevice`] and [`Direction::Both`] the CPU sees,
///   after `unmap`, what the device stored.
///
/// And always, that a clone reaches the same domain, so that what came from one may go back to the
/// other, and that values with the same [`domain`](Self::domain) reach the same memory at the same
/// device addresses.
pub unsafe trait Dma: Clone {
    /// What this domain can do. Constant over its life.
    fn limits(&self) -> DmaLimits;

    /// Which domain this is: what tells a driver that a buffer's address means nothing to its
    /// device. Constant over its life.
    ///
    /// **Platform authors** leave it where all devices see one address space, which is so without
    /// an IOMMU. Whoever puts devices behind page tables of their own gives the value for each a
    /// [`DomainTag::unique`], which its clones share.
    fn domain(&self) -> DomainTag {
        DomainTag::MACHINE
    }

    /// Allocates zeroed memory that CPU and device share coherently.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing is allocated, and a smaller request may still succeed.
    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError>;

    /// Takes a region back.
    ///
    /// # Safety
    ///
    /// `region` came from `alloc` on this domain, nothing uses its CPU address any more, and no
    /// device has any business with it: none learnt the address, or each that did has been stopped
    /// since, or has completed all that it was given there.
    unsafe fn free(&self, region: DmaRegion);

    /// Makes existing memory reachable for the device.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; the memory is untouched.
    ///
    /// # Safety
    ///
    /// `memory` stays valid, unmoved and otherwise unused until `unmap`.
    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError>;

    /// Ends a mapping.
    ///
    /// # Safety
    ///
    /// `mapping` came from `map` on this domain, its memory is still valid, and the device has let
    /// go of it: it never learnt the address, has been stopped since, or has completed the memory.
    unsafe fn unmap(&self, mapping: DmaMapping);
}

// SAFETY: every call goes through to the implementation behind the reference, which keeps the
// promises.
unsafe impl<D: Dma> Dma for &D {
    fn limits(&self) -> DmaLimits {
        (**self).limits()
    }
    fn domain(&self) -> DomainTag {
        (**self).domain()
    }
    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        (**self).alloc(request)
    }
    unsafe fn free(&self, region: DmaRegion) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { (**self).free(region) }
    }
    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { (**self).map(memory, direction) }
    }
    unsafe fn unmap(&self, mapping: DmaMapping) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { (**self).unmap(mapping) }
    }
}

/// One contiguous piece of coherent memory: the same bytes under two addresses.
#[derive(Debug)]
pub struct DmaRegion {
    cpu: NonNull<u8>,
    dma: DmaAddr,
    len_bytes: NonZeroUsize,
    cookie: *mut (),
}

// SAFETY: a region is a claim to memory, not a view of thread-bound state; what is done with the
// memory is its owner's matter. The cookie is a number to everyone but the platform, whose calls
// may come from any core.
unsafe impl Send for DmaRegion {}

impl DmaRegion {
    /// Names a region. For platforms, in [`Dma::alloc`].
    #[must_use]
    pub const fn new(cpu: NonNull<u8>, dma: DmaAddr, len_bytes: NonZeroUsize) -> Self {
        Self { cpu, dma, len_bytes, cookie: null_mut() }
    }

    /// The same with a word of the platform's own, which comes back with the region in
    /// [`Dma::free`].
    ///
    /// For a kernel whose memory is a value that owns it: the value goes into a box, the box's
    /// pointer in here, and no table of what is out is needed.
    ///
    /// ```
    /// # use core::{num::NonZeroUsize, ptr::NonNull};
    /// # use paravane_hal::{addr::DmaAddr, dma::DmaRegion};
    /// struct MappedPages(Box<[u64]>); // unmaps them when it is dropped
    ///
    /// fn region_of(mut pages: MappedPages, dma: DmaAddr) -> DmaRegion {
    ///     let cpu = NonNull::from(&mut *pages.0).cast();
    ///     let len_bytes = NonZeroUsize::new(pages.0.len() * 8).expect("pages");
    ///     DmaRegion::new(cpu, dma, len_bytes).with_cookie(Box::into_raw(Box::new(pages)).cast())
    /// }
    ///
    /// /// # Safety
    /// ///
    /// /// As `Dma::free`: the region is one that `region_of` made, and is given up.
    /// unsafe fn free(region: DmaRegion) {
    ///     drop(unsafe { Box::from_raw(region.cookie().cast::<MappedPages>()) });
    /// }
    /// # let dma = unsafe { DmaAddr::from_platform(0x1000) };
    /// # unsafe { free(region_of(MappedPages(vec![0; 512].into()), dma)) };
    /// ```
    #[must_use]
    pub const fn with_cookie(self, cookie: *mut ()) -> Self {
        Self { cookie, ..self }
    }

    /// The platform's own word; null where it gave none.
    #[must_use]
    pub const fn cookie(&self) -> *mut () {
        self.cookie
    }

    /// Where the CPU finds it.
    #[must_use]
    pub const fn cpu(&self) -> NonNull<u8> {
        self.cpu
    }

    /// Where the device finds it.
    #[must_use]
    pub const fn dma(&self) -> DmaAddr {
        self.dma
    }

    /// How long it is.
    #[must_use]
    pub const fn len_bytes(&self) -> NonZeroUsize {
        self.len_bytes
    }
}

/// Existing memory that a device reaches.
#[derive(Debug)]
pub struct DmaMapping {
    memory: NonNull<[u8]>,
    dma: DmaAddr,
    direction: Direction,
    cookie: *mut (),
}

// SAFETY: as for `DmaRegion`: a claim, not a view.
unsafe impl Send for DmaMapping {}

impl DmaMapping {
    /// Names a mapping. For platforms, in [`Dma::map`].
    #[must_use]
    pub const fn new(memory: NonNull<[u8]>, dma: DmaAddr, direction: Direction) -> Self {
        Self { memory, dma, direction, cookie: null_mut() }
    }

    /// The same with a word of the platform's own, which comes back in [`Dma::unmap`]: as
    /// [`DmaRegion::with_cookie`].
    #[must_use]
    pub const fn with_cookie(self, cookie: *mut ()) -> Self {
        Self { cookie, ..self }
    }

    /// The platform's own word; null where it gave none.
    #[must_use]
    pub const fn cookie(&self) -> *mut () {
        self.cookie
    }

    /// The memory mapped.
    #[must_use]
    pub const fn memory(&self) -> NonNull<[u8]> {
        self.memory
    }

    /// Where the device finds it.
    #[must_use]
    pub const fn dma(&self) -> DmaAddr {
        self.dma
    }

    /// Who may write.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }
}

/// DMA memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DmaError {
    /// How much was asked for.
    pub len_bytes: usize,
    /// Why not.
    pub reason: DmaErrorReason,
}

/// Why DMA memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DmaErrorReason {
    /// No contiguous memory of that size left.
    OutOfMemory,
    /// Nothing was asked for, or a size that overflows.
    BadLength,
    /// Longer than the domain's longest segment.
    TooLong {
        /// The longest.
        max_segment_bytes: usize,
    },
    /// The platform gave less than was asked for.
    TooShort {
        /// How much it gave.
        has_bytes: usize,
    },
    /// No memory at addresses narrow enough for the device.
    AddressWidth {
        /// What the device drives.
        address_bits: u8,
    },
    /// A region is not aligned as it was asked for; or memory to be mapped is not aligned to the
    /// domain's mapping granule, and the domain does not bounce.
    Alignment {
        /// What it has to be aligned to.
        align: Align,
    },
    /// The memory is not the kind that this domain can map.
    Unmappable,
}

impl fmt::Display for DmaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} bytes of DMA memory: ", self.len_bytes)?;
        match self.reason {
            DmaErrorReason::OutOfMemory => f.write_str("none left of that size"),
            DmaErrorReason::BadLength => f.write_str("not a length"),
            DmaErrorReason::TooLong { max_segment_bytes } => {
                write!(f, "segments here are at most {max_segment_bytes} bytes")
            }
            DmaErrorReason::TooShort { has_bytes } => write!(f, "the platform gave {has_bytes}"),
            DmaErrorReason::AddressWidth { address_bits } => write!(f, "none below 2^{address_bits}"),
            DmaErrorReason::Alignment { align } => write!(f, "not aligned to {} bytes", align.bytes()),
            DmaErrorReason::Unmappable => f.write_str("not memory that this domain can map"),
        }
    }
}

impl core::error::Error for DmaError {}

impl DmaError {
    /// An error about `len_bytes`.
    #[must_use]
    pub const fn new(len_bytes: usize, reason: DmaErrorReason) -> Self {
        Self { len_bytes, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(raw: u64) -> DmaAddr {
        // SAFETY: no device ever sees the address.
        unsafe { DmaAddr::from_platform(raw) }
    }

    #[test]
    fn a_request_knows_which_addresses_it_accepts() {
        let request = DmaRequest {
            address_bits: 32,
            ..DmaRequest::new(NonZeroUsize::new(4096).unwrap(), Align::new(512))
        };
        assert!(request.accepts(at(0xffff_f000)));
        assert!(!request.accepts(at(0xffff_f200)), "the last byte lies beyond 32 bits");
        assert!(!request.accepts(at(0x1_0000_0000)));
        assert!(!request.accepts(at(0x1100)), "not aligned");
        let anywhere = DmaRequest { address_bits: 64, ..request };
        assert!(anywhere.accepts(at(0x1_0000_0000)));
        assert!(!anywhere.accepts(at(u64::MAX - 511)), "runs past the end of the address space");
    }

    #[test]
    fn a_region_is_what_was_asked_for_or_it_says_what_is_wrong() {
        let page = |cpu, dma, len| {
            let cpu = NonNull::without_provenance(core::num::NonZeroUsize::new(cpu).unwrap());
            DmaRegion::new(cpu, at(dma), NonZeroUsize::new(len).unwrap())
        };
        let request = DmaRequest {
            address_bits: 32,
            ..DmaRequest::new(NonZeroUsize::new(4096).unwrap(), Align::new(512))
        };
        let reason = |region| request.check(&region).map_err(|error| error.reason);
        assert_eq!(reason(page(0x1000, 0x2000, 4096)), Ok(()));
        assert_eq!(reason(page(0x1000, 0x2000, 8192)), Ok(()), "longer is fine");
        assert_eq!(reason(page(0x1000, 0x2000, 4095)), Err(DmaErrorReason::TooShort { has_bytes: 4095 }));
        let misaligned = Err(DmaErrorReason::Alignment { align: Align::new(512) });
        assert_eq!(reason(page(0x1100, 0x2000, 4096)), misaligned);
        assert_eq!(reason(page(0x1000, 0x2100, 4096)), misaligned);
        let beyond = Err(DmaErrorReason::AddressWidth { address_bits: 32 });
        assert_eq!(reason(page(0x1000, 0xffff_f200, 4096)), beyond);
    }
}
