//! The self-test over QEMU's own devices, with nothing booted. Skipped, with a word about why,
//! where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
#![allow(unsafe_code, reason = "breaks the promises of `Dma` to see them missed")]

#[path = "support/arp.rs"]
mod arp;

use std::ptr::NonNull;

use paravane_hal::Parts;
use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{Direction, Dma, DmaError, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag};
use paravane_hal_check::{Check, Settings, Verdict, check_nic, check_platform};
use paravane_pci::Function;
use paravane_qtest_hal::{Chipset, Machine, Qtest, Setup};

fn run(chipset: Chipset, nic: &str) {
    let Some(machine) = Machine::start_or_skip(&Setup::new(chipset).nic(nic)) else { return };
    let platform = machine.platform();
    let in_use = || platform.dma_bytes_in_use();
    let cable = machine.cable(0).unwrap();
    let turn = || {
        while let Some(frame) = cable.receive() {
            if let Some(answer) = arp::answer(&frame) {
                cable.send(&answer).unwrap();
            }
        }
    };
    let settings = Settings::default()
        .with_free_rounds(256)
        .with_bytes_in_use(&in_use)
        .with_peer(arp::PEER)
        .with_turn(&turn);
    let mut report = check_platform(platform, &settings);
    let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
    report.append(check_nic(platform, function, &settings));
    machine.check().unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.verdict(Check::NicReceive), Some(&Verdict::Passed), "{report}");
    assert_eq!(platform.dma_bytes_in_use(), 0);
}

#[test]
fn vmxnet3() {
    run(Chipset::Pc, "vmxnet3");
    run(Chipset::Q35, "vmxnet3");
}

#[test]
fn virtio_modern() {
    run(Chipset::Pc, "virtio-net-pci,disable-legacy=on,disable-modern=off");
    run(Chipset::Q35, "virtio-net-pci,disable-legacy=on,disable-modern=off");
}

#[test]
fn virtio_transitional() {
    run(Chipset::Pc, "virtio-net-pci,disable-legacy=off,disable-modern=off");
}

/// Memory whose device addresses are so many bytes off.
#[derive(Clone)]
struct Off(Qtest, i64);

// SAFETY: none, that is what is planted; it stays within the margins of the memory that the driver
// gets.
unsafe impl Dma for Off {
    fn limits(&self) -> DmaLimits {
        self.0.limits()
    }
    fn domain(&self) -> DomainTag {
        self.0.domain()
    }
    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        let region = self.0.alloc(request)?;
        Ok(moved(&region, self.1))
    }
    unsafe fn free(&self, region: DmaRegion) {
        // SAFETY: the region that the platform gave.
        unsafe { self.0.free(moved(&region, -self.1)) };
    }
    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { Dma::map(&self.0, memory, direction) }
    }
    unsafe fn unmap(&self, mapping: DmaMapping) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { Dma::unmap(&self.0, mapping) }
    }
}

fn moved(region: &DmaRegion, by: i64) -> DmaRegion {
    // SAFETY: none, as above.
    let dma = unsafe { DmaAddr::from_platform(region.dma().get().wrapping_add_signed(by)) };
    DmaRegion::new(region.cpu(), dma, region.len_bytes())
}

#[test]
fn a_page_off_is_measured_on_real_devices() {
    for nic in ["vmxnet3", "virtio-net-pci,disable-legacy=on,disable-modern=off"] {
        let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Pc).nic(nic)) else { return };
        for (by, shown) in [(4096, "+4096"), (-8192, "-8192")] {
            let qemu = machine.platform().clone();
            let platform = Parts { dma: Off(qemu.clone(), by), mmio: qemu.clone(), clock: qemu };
            let function =
                Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
            let report = check_nic(&platform, function, &Settings::default());
            let Some(Verdict::Failed(finding)) = report.verdict(Check::NicSend) else {
                panic!("{nic}: {report}");
            };
            assert!(finding.to_string().contains(&format!("writes {shown} bytes from")), "{nic}: {finding}");
        }
    }
}
