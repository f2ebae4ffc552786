//! What a domain can do, and what it makes of a broken rule.

use std::collections::BTreeSet;

use paravane_hal::addr::Align;

/// The settings of a domain.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Device addresses have at most this many bits.
    pub(crate) address_bits: u8,
    pub(crate) max_segment_bytes: usize,
    pub(crate) mapping_granule: Align,
    /// Mapped memory is copied to where the device can see it, and back.
    pub(crate) bounces: bool,
    /// Which allocations fail, counted from 1.
    pub(crate) failing_allocations: BTreeSet<u64>,
    /// Which mappings fail, counted from 1.
    pub(crate) failing_mappings: BTreeSet<u64>,
    /// A broken rule panics at once. Otherwise it is only written down.
    pub(crate) panics: bool,
    /// How many regions and mappings are out at the end; `None` for no matter how many.
    pub(crate) leaks: Option<usize>,
    /// Whether to remember who asked for memory.
    pub(crate) sites: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address_bits: 64,
            max_segment_bytes: usize::MAX,
            mapping_granule: Align::BYTE,
            bounces: false,
            failing_allocations: BTreeSet::new(),
            failing_mappings: BTreeSet::new(),
            panics: false,
            leaks: None,
            sites: true,
        }
    }
}
