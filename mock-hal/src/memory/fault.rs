//! What went wrong, as values and as sentences.

use std::fmt;

/// A device access that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFault {
    /// The device address.
    pub addr: u64,
    /// How many bytes were asked for.
    pub len_bytes: usize,
    /// Why it was refused.
    pub kind: FaultKind,
    /// The same for a person: region, offset, who asked for it and who owns it.
    pub report: String,
}

/// Why a device access was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// Nothing is there, nor was lately.
    Unmapped,
    /// It starts inside a region and runs past its end.
    Overrun,
    /// A write to memory that is mapped for reading, or the reverse.
    Direction,
    /// The region was freed, or the mapping ended.
    Gone,
    /// The function may not reach memory: bus mastering is off. Like a real bus, this one drops the
    /// access and the driver goes on; the test fails at its end. A model whose device goes on by
    /// itself when it is cut off asks [`PciDevice::is_bus_master`](crate::PciDevice::is_bus_master)
    /// first.
    BusMasterOff,
}

impl FaultKind {
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Unmapped => "nothing is there",
            Self::Overrun => "it runs past the end",
            Self::Direction => "that is the wrong direction",
            Self::Gone => "it was given back already",
            Self::BusMasterOff => "bus mastering is off (its own or that of a bridge above it)",
        }
    }
}

impl fmt::Display for AccessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)
    }
}

impl std::error::Error for AccessFault {}
