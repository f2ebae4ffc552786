//! What is read before there is a driver: configuration space, and firmware's tables.

use paravane_hal::addr::PhysAddr;
use paravane_mock_hal::{FunctionSpace, MockPlatform};
use paravane_pci::mcfg::{ecam_entries, search_bios_area};
use paravane_pci::{Command, Function, PciAddress, enumerate};

/// The bytes are a function's configuration space.
pub fn config_space(bytes: &[u8]) {
    let platform = MockPlatform::builder().record_faults().without_sites().build();
    let at = PciAddress::new(0, 0, 4, 0).unwrap();
    let mut space = FunctionSpace::endpoint(0x15ad, 0x07b0, 0x02).enabled();
    for (at, byte) in (4..).zip(bytes.iter().take(4092)) {
        space.set8(at, *byte);
    }
    platform.pci().insert(at, space);
    enumerate(platform.pci(), &mut |_| {});
    let Ok(mut function) = Function::claim(platform.pci().clone(), at) else { return };
    let _ = function.ensure_d0(&platform);
    for index in 0..7 {
        let _ = function.map_bar(&platform, index, 16);
    }
    assert!(function.capabilities().count() <= 49, "48 places, and one error");
    assert!(function.extended_capabilities().count() <= 961);
    for vendor in function.vendor_capabilities().flatten() {
        let _ = (vendor.read8(3), vendor.read16(u8::MAX), vendor.read32(vendor.len_bytes()));
    }
    let _ = function.enable(Command::MEMORY);
    if let Ok(Some(msix)) = function.msix() {
        let _ = msix.open(&mut function, &platform);
    }
    let _ = function.quiesce(&platform);
}

/// The bytes are physical memory from an address on; the RSDP is at its start.
pub fn acpi(bytes: &[u8]) {
    const START: u64 = 0xe_0000;
    let read = |from: PhysAddr, into: &mut [u8]| {
        let found = from
            .get()
            .checked_sub(START)
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| bytes.get(at..));
        match found.and_then(|rest| rest.get(..into.len())) {
            Some(here) => {
                into.copy_from_slice(here);
                true
            }
            None => false,
        }
    };
    let _ = ecam_entries(&read, PhysAddr::new(START), &mut |_| {});
    let _ = search_bios_area(&read);
}
