//! Addresses and VLANs that frames are received for.

use core::fmt;

use crate::control::MacAddr;

/// How many addresses a [`MacTable`] holds: half of what QEMU's device keeps of both kinds.
pub const MAC_TABLE_ENTRIES: usize = 32;
/// How many VLAN ids there are.
const VLANS: u16 = 1 << 12;

/// Addresses, of stations or of groups, that frames are received for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MacTable {
    entries: [MacAddr; MAC_TABLE_ENTRIES],
    count: u8,
}

impl MacTable {
    /// None.
    pub const EMPTY: Self = Self { entries: [MacAddr([0; 6]); MAC_TABLE_ENTRIES], count: 0 };

    /// These. `None` when there are more than [`MAC_TABLE_ENTRIES`].
    #[must_use]
    pub fn of(addresses: &[MacAddr]) -> Option<Self> {
        let mut table = Self::EMPTY;
        table.entries.get_mut(..addresses.len())?.copy_from_slice(addresses);
        table.count = u8::try_from(addresses.len()).ok()?;
        Some(table)
    }

    /// They, in the order in which they were given.
    #[must_use]
    pub fn addresses(&self) -> &[MacAddr] {
        self.entries.get(..self.count.into()).unwrap_or_default()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for MacTable {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for MacTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.addresses()).finish()
    }
}

/// VLAN ids whose frames are received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VlanSet([u64; VLANS as usize / 64]);

impl VlanSet {
    /// None: frames without a tag alone.
    pub const EMPTY: Self = Self([0; VLANS as usize / 64]);

    /// Whether `vid` is among them.
    #[must_use]
    pub fn contains(&self, vid: u16) -> bool {
        self.0.get(usize::from(vid / 64)).is_some_and(|word| word & 1 << (vid % 64) != 0)
    }

    /// The same with `vid`, or without it. One that does not exist changes nothing.
    #[must_use]
    pub fn with(mut self, vid: u16, wanted: bool) -> Self {
        if let Some(word) = self.0.get_mut(usize::from(vid / 64)) {
            let bit = 1 << (vid % 64);
            *word = if wanted { *word | bit } else { *word & !bit };
        }
        self
    }

    /// They, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..VLANS).filter(|vid| self.contains(*vid))
    }
}

impl fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_table_holds_so_many_and_no_more() {
        let addresses: Vec<_> = (0..33).map(MacAddr::local).collect();
        let table = MacTable::of(&addresses[..32]).unwrap();
        assert_eq!(table.addresses(), &addresses[..32]);
        assert_eq!(MacTable::of(&addresses), None);
        assert!(MacTable::of(&[]).unwrap().is_empty() && !table.is_empty());
    }
}
