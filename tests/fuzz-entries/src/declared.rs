//! What firmware declares of virtio devices in memory: AML, and device trees.

use paravane_virtio::transport::mmio::{REGISTERS_BYTES, acpi, device_tree};

/// In front of AML: a signature, and how long the table is.
const HEADER_BYTES: usize = 36;

/// The bytes are what a DSDT declares, and a device tree.
pub fn declared_places(bytes: &[u8]) {
    let mut table = b"DSDT".to_vec();
    table.extend(u32::try_from(HEADER_BYTES + bytes.len()).unwrap().to_le_bytes());
    table.resize(HEADER_BYTES, 0);
    table.extend(bytes);
    let mut said = 0;
    acpi::find(&table, &mut |found| {
        said += 1;
        if let Ok(place) = found {
            assert!(place.len_bytes >= REGISTERS_BYTES, "{place:?}");
            assert!(place.start.checked_add(place.len_bytes as u64).is_some(), "{place:?}");
        }
    })
    .unwrap();
    assert!(said <= bytes.len(), "{said} things are said of {} bytes", bytes.len());

    let _ = device_tree::find(bytes, &mut |found| {
        if let Ok(place) = found {
            assert!(place.len_bytes >= REGISTERS_BYTES, "{place:?}");
        }
    });
}
