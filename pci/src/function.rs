//! One function, claimed: who it is, where its registers are, what else it says about itself.
//!
//! What it may do (decode, master the bus) is in `command.rs`.

use core::fmt;

use paravane_hal::addr::PhysAddr;
use paravane_hal::dma::DeviceTag;
use paravane_hal::mmio::MmioMap;

use crate::bar::{BARS, Bar, BarError, BarErrorReason, Bars, size_all};
use crate::capability::pcie::Pcie;
use crate::capability::vendor::VendorCapability;
use crate::capability::{Capabilities, Capability, CapabilityError, CapabilityId, ExtendedCapabilities};
use crate::header::{Header, HeaderKind, INTERRUPT_LINE, INTERRUPT_PIN, Ids, InterruptPin, Presence, look};
use crate::{ConfigAccess, PciAddress};

/// A function that one driver owns.
///
/// Claim an address once: the claim sizes the BARs, which briefly stops the function from
/// answering, and each claim has a tag of its own. Nothing here keeps a second claim away, as
/// nothing keeps a holder of a [`ConfigAccess`] from writing anywhere; the kernel that enumerates
/// hands each address out once.
pub struct Function<C> {
    access: C,
    address: PciAddress,
    header: Header,
    tag: DeviceTag,
    bars: Bars,
}

impl<C: ConfigAccess> Function<C> {
    /// Takes the function at `address` and sizes its BARs. The function must not be in use.
    ///
    /// Its command register is as before afterwards: what firmware left running still runs, until
    /// [`quiesce`](Self::quiesce) stops it.
    ///
    /// # Errors
    ///
    /// [`ClaimError`]; the function is untouched.
    pub fn claim(access: C, address: PciAddress) -> Result<Self, ClaimError> {
        let header = match look(&access, address) {
            Presence::Absent => return Err(ClaimError::Absent { address }),
            Presence::NotReady => return Err(ClaimError::NotReady { address }),
            Presence::Present(header) => header,
        };
        let bars = match header.kind {
            HeaderKind::Other(kind) => {
                return Err(ClaimError::UnknownHeader { address, ids: header.ids, kind });
            }
            _ if header.ids.is_host_bridge() => [Err(BarErrorReason::HostBridge); BARS],
            HeaderKind::Endpoint => size_all(&access, address, 6),
            HeaderKind::Bridge => size_all(&access, address, 2),
        };
        let function = Self { access, address, header, tag: DeviceTag::unique(), bars };
        log::debug!("pci: {address} {} claimed", header.ids);
        for error in function.bars().filter_map(Result::err) {
            log::info!("pci: {error}");
        }
        Ok(function)
    }

    /// Gives the access back. The function stays as it is.
    #[must_use]
    pub fn release(self) -> C {
        self.access
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> PciAddress {
        self.address
    }

    /// Who made it and what it is.
    #[must_use]
    pub fn ids(&self) -> Ids {
        self.header.ids
    }

    /// Endpoint or bridge.
    #[must_use]
    pub fn header_kind(&self) -> HeaderKind {
        self.header.kind
    }

    /// Whom the memory that this function reaches belongs to: what a
    /// [`Quiet`](paravane_hal::dma::Quiet) for it names.
    #[must_use]
    pub fn tag(&self) -> DeviceTag {
        self.tag
    }

    /// Which interrupt pin it uses; `None` when it uses none.
    #[must_use]
    pub fn read_interrupt_pin(&self) -> Option<InterruptPin> {
        InterruptPin::from_register(self.read8(INTERRUPT_PIN))
    }

    /// Which interrupt line firmware routed its pin to, on machines where that means something;
    /// `None` when it routed none.
    #[must_use]
    pub fn read_interrupt_line(&self) -> Option<u8> {
        match self.read8(INTERRUPT_LINE) {
            0xff => None,
            line => Some(line),
        }
    }

    /// The BAR in register `index`, as it was when the function was claimed or assigned.
    ///
    /// # Errors
    ///
    /// [`BarError`] says what is in that register instead.
    pub fn bar(&self, index: usize) -> Result<Bar, BarError> {
        let reason = match self.bars.get(index) {
            Some(Ok(bar)) => return Ok(*bar),
            Some(Err(reason)) => *reason,
            None => BarErrorReason::NoSuchBar,
        };
        Err(self.bar_error(index, reason))
    }

    /// The BARs that are there. One that is there and unusable is an error; a register that holds
    /// none is left out, and so are all of a host bridge.
    pub fn bars(&self) -> impl Iterator<Item = Result<Bar, BarError>> + '_ {
        (0..BARS).map(|index| self.bar(index)).filter(|bar| {
            !bar.is_err_and(|error| {
                matches!(
                    error.reason,
                    BarErrorReason::NoSuchBar
                        | BarErrorReason::Unimplemented
                        | BarErrorReason::UpperHalf
                        | BarErrorReason::HostBridge
                )
            })
        })
    }

    /// Maps the whole of memory BAR `index`, which has to be at least `min_len_bytes` long. Who has
    /// the region gives it back by [`MmioMap::unmap`] in the end.
    ///
    /// Mapping needs no memory decoding, using the registers does: [`enable`](Self::enable) it
    /// before.
    ///
    /// # Errors
    ///
    /// [`BarError`]; nothing is mapped.
    pub fn map_bar<M: MmioMap>(
        &self,
        mapper: &M,
        index: usize,
        min_len_bytes: usize,
    ) -> Result<M::Region, BarError> {
        let len_bytes = self.bar(index)?.len_bytes;
        let wanted_bytes = u64::try_from(min_len_bytes).unwrap_or(u64::MAX);
        let whole = usize::try_from(len_bytes).ok().filter(|_| len_bytes >= wanted_bytes);
        let too_short = BarErrorReason::TooShort { len_bytes, wanted_bytes };
        self.map_bar_part(mapper, index, 0, whole.ok_or(self.bar_error(index, too_short))?)
    }

    /// Maps `len_bytes` of memory BAR `index`, from `offset_bytes` on.
    ///
    /// # Errors
    ///
    /// [`BarError`], also when the BAR ends before the part does; nothing is mapped.
    pub fn map_bar_part<M: MmioMap>(
        &self,
        mapper: &M,
        index: usize,
        offset_bytes: u64,
        len_bytes: usize,
    ) -> Result<M::Region, BarError> {
        let bar = self.bar(index)?;
        let start = bar.memory().ok_or(self.bar_error(index, BarErrorReason::NotMemory))?;
        let wanted_bytes = offset_bytes.saturating_add(u64::try_from(len_bytes).unwrap_or(u64::MAX));
        let too_short = BarErrorReason::TooShort { len_bytes: bar.len_bytes, wanted_bytes };
        let inside: Option<PhysAddr> =
            if wanted_bytes <= bar.len_bytes { start.checked_add(offset_bytes) } else { None };
        let start = inside.ok_or(self.bar_error(index, too_short))?;
        mapper.map(start, len_bytes).map_err(|error| self.bar_error(index, BarErrorReason::Map(error)))
    }

    /// The ports of I/O BAR `index`, which has to have at least `min_len_bytes` of them, as a
    /// region. As [`map_bar`](Self::map_bar), with I/O decoding in place of memory's.
    ///
    /// # Errors
    ///
    /// [`BarError`], also where the platform has no ports.
    pub fn map_port_bar<M: MmioMap>(
        &self,
        mapper: &M,
        index: usize,
        min_len_bytes: usize,
    ) -> Result<M::Region, BarError> {
        let bar = self.bar(index)?;
        let first = bar.port().ok_or(self.bar_error(index, BarErrorReason::NotPorts))?;
        let wanted_bytes = u64::try_from(min_len_bytes).unwrap_or(u64::MAX);
        let too_short = BarErrorReason::TooShort { len_bytes: bar.len_bytes, wanted_bytes };
        let whole = usize::try_from(bar.len_bytes).ok().filter(|_| bar.len_bytes >= wanted_bytes);
        let whole = whole.ok_or(self.bar_error(index, too_short))?;
        mapper.map_ports(first, whole).map_err(|error| self.bar_error(index, BarErrorReason::Map(error)))
    }

    /// Its capabilities, in the order of its list.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities<&C> {
        Capabilities::new(&self.access, self.address)
    }

    /// Its extended capabilities; none where the access does not reach that far.
    #[must_use]
    pub fn extended_capabilities(&self) -> ExtendedCapabilities<&C> {
        ExtendedCapabilities::new(&self.access, self.address)
    }

    /// The first capability of kind `id`.
    ///
    /// # Errors
    ///
    /// [`CapabilityError`], when the list breaks before there is one.
    pub fn find(&self, id: CapabilityId) -> Result<Option<Capability>, CapabilityError> {
        for capability in self.capabilities() {
            let capability = capability?;
            if capability.id == id {
                return Ok(Some(capability));
            }
        }
        Ok(None)
    }

    /// Its vendor-specific capabilities.
    pub fn vendor_capabilities(
        &self,
    ) -> impl Iterator<Item = Result<VendorCapability<'_, C>, CapabilityError>> {
        self.capabilities()
            .filter(|capability| !capability.is_ok_and(|capability| capability.id != CapabilityId::VENDOR))
            .map(|capability| VendorCapability::new(self, capability?))
    }

    /// Where its PCI Express capability is; `None` for a conventional function.
    ///
    /// # Errors
    ///
    /// [`CapabilityError`]: the list, or the capability, is broken.
    pub fn pcie(&self) -> Result<Option<Pcie>, CapabilityError> {
        self.find(CapabilityId::PCIE)?.map(|capability| Pcie::new(self, capability)).transpose()
    }

    /// Reads a byte of its configuration space.
    #[must_use]
    pub fn read8(&self, offset: u16) -> u8 {
        self.access.read8(self.address, offset)
    }

    /// Reads 16 bits of its configuration space.
    #[must_use]
    pub fn read16(&self, offset: u16) -> u16 {
        self.access.read16(self.address, offset)
    }

    /// Reads 32 bits of its configuration space.
    #[must_use]
    pub fn read32(&self, offset: u16) -> u32 {
        self.access.read32(self.address, offset)
    }

    pub(crate) fn access(&self) -> &C {
        &self.access
    }

    pub(crate) fn bars_mut(&mut self) -> &mut Bars {
        &mut self.bars
    }

    /// `index` fits: there are six registers, and one that does not exist is reported as the last
    /// number there is.
    pub(crate) fn bar_error(&self, index: usize, reason: BarErrorReason) -> BarError {
        BarError { address: self.address, index: u8::try_from(index).unwrap_or(u8::MAX), reason }
    }
}

impl<C> fmt::Debug for Function<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({} {})", self.address, self.header.ids)
    }
}

/// An address cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimError {
    /// Nobody answers.
    Absent {
        /// Where.
        address: PciAddress,
    },
    /// Somebody answers that it is not ready to be configured, again and again.
    NotReady {
        /// Where.
        address: PciAddress,
    },
    /// It is neither an endpoint nor a PCI bridge.
    UnknownHeader {
        /// Where.
        address: PciAddress,
        /// Who it says it is.
        ids: Ids,
        /// Its header type.
        kind: u8,
    },
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { address } => write!(f, "{address}: no function answers there"),
            Self::NotReady { address } => write!(f, "{address}: answers that it is not ready, still"),
            Self::UnknownHeader { address, ids, kind } => {
                write!(f, "{address} {ids}: has header type {kind}, expected 0 (device) or 1 (bridge)")
            }
        }
    }
}

impl core::error::Error for ClaimError {}
