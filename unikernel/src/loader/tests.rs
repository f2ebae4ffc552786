//! What both loaders' tests read from.

use super::*;

/// Memory from 0x1000 on.
pub(super) struct Bytes(pub(super) Vec<u8>);

pub(super) const START: u64 = 0x1000;

impl PhysicalMemory for Bytes {
    fn read(&self, at: PhysAddr, into: &mut [u8]) -> bool {
        let Some(first) = at.get().checked_sub(START).and_then(|first| usize::try_from(first).ok()) else {
            return false;
        };
        let Some(bytes) = first.checked_add(into.len()).and_then(|end| self.0.get(first..end)) else {
            return false;
        };
        into.copy_from_slice(bytes);
        true
    }
}

#[test]
fn who_started_us_is_told_by_the_structure_first() {
    let zeroes = Bytes(vec![0; 64]);
    let at = PhysAddr::new(START);
    assert_eq!(
        read(&zeroes, at, 0x2bad_b002).unwrap_err(),
        LoaderError::Unknown { at, found: 0, number: 0x2bad_b002 }
    );
    let no_map = |of| LoaderError::NoMemoryMap { of };
    assert_eq!(read(&zeroes, at, multiboot2::MAGIC).unwrap_err(), no_map("Multiboot2 information"));
    let mut pvh = zeroes;
    pvh.0[..4].copy_from_slice(&pvh::MAGIC.to_le_bytes());
    assert_eq!(read(&pvh, at, multiboot2::MAGIC).unwrap_err(), no_map("hvm_start_info"));
}
