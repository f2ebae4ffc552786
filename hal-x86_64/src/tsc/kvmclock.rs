//! KVM's clock page: the factors by which it turns TSC ticks into nanoseconds, and so the TSC's
//! rate.
//!
//! The page is registered, read once, and taken back: the clock itself is the TSC.
//!
//! Spec: Linux, Documentation/virt/kvm/x86/msr.rst, "MSR_KVM_SYSTEM_TIME_NEW".

#![expect(unsafe_code, reason = "a model-specific register that lets the hypervisor write memory")]

use core::arch::x86_64::{__cpuid_count, CpuidResult};
use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed},
    fence,
};

use paravane_hal::addr::PhysAddr;
use x86_64::registers::model_specific::Msr;

use crate::tsc::leaves;

const SYSTEM_TIME_NEW: u32 = 0x4b56_4d01;
const ENABLED: u64 = 1;
/// Feature bit: the register above exists.
const CLOCKSOURCE2: u32 = 1 << 3;
const FEATURES: u32 = 0x4000_0001;

/// Where the hypervisor writes: eight words.
///
/// ```text
/// word  0        1    2..3           4..5           6                  7
///       version  pad  tsc_timestamp  system_time    tsc_to_system_mul  tsc_shift, flags, pad
/// ```
///
/// The version is odd while it writes.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct KvmClockPage([AtomicU32; 8]);

const _: () = assert!(size_of::<KvmClockPage>() == 64, "so aligned it cannot cross a page");

const VERSION: usize = 0;
const MULTIPLIER: usize = 6;
const SHIFT: usize = 7;

impl KvmClockPage {
    /// Nothing written yet.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 8])
    }

    /// Multiplier and shift of one and the same version; `None` while the hypervisor has written
    /// nothing, or writes for ever.
    fn factors(&self) -> Option<(u32, i8)> {
        for _ in 0..64 {
            let before = self.0[VERSION].load(Acquire);
            let multiplier = self.0[MULTIPLIER].load(Relaxed);
            let [shift, ..] = self.0[SHIFT].load(Relaxed).to_le_bytes();
            fence(Acquire);
            let after = self.0[VERSION].load(Relaxed);
            if before == after && before != 0 && before.is_multiple_of(2) {
                return Some((multiplier, shift.cast_signed()));
            }
        }
        None
    }
}

impl Default for KvmClockPage {
    fn default() -> Self {
        Self::new()
    }
}

/// A page, and where it is for the hypervisor.
#[derive(Clone, Copy, Debug)]
pub struct KvmClock<'page> {
    page: &'page KvmClockPage,
    phys: PhysAddr,
}

impl<'page> KvmClock<'page> {
    /// Names the page.
    ///
    /// # Safety
    ///
    /// `page` is at `phys` in physical memory, and the program runs in ring 0.
    #[must_use]
    pub const unsafe fn new(page: &'page KvmClockPage, phys: PhysAddr) -> Self {
        Self { page, phys }
    }

    /// The TSC's rate, if the hypervisor is KVM and says so.
    pub(super) fn tsc_hz(self) -> Option<u64> {
        let cpuid = |leaf, subleaf| __cpuid_count(leaf, subleaf);
        if !is_offered(cpuid) {
            return None;
        }
        let mut register = Msr::new(SYSTEM_TIME_NEW);
        // SAFETY: the register exists (`is_offered`). The hypervisor writes 32 bytes at `phys`,
        // which are `page` by the constructor's promise, and made of atomics.
        unsafe { register.write(self.phys.get() | ENABLED) };
        let factors = self.page.factors();
        // SAFETY: as above; a register without the enabled bit tells the hypervisor to stop
        // writing.
        unsafe { register.write(0) };
        let (multiplier, shift) = factors?;
        rate(multiplier, shift)
    }
}

fn is_offered(cpuid: impl Fn(u32, u32) -> CpuidResult) -> bool {
    leaves::hypervisor(&cpuid).is_some_and(|(last, name)| {
        name == *b"KVMKVMKVM\0\0\0" && last >= FEATURES && cpuid(FEATURES, 0).eax & CLOCKSOURCE2 != 0
    })
}

/// The rate behind the factors: nanoseconds are ticks shifted left by `shift`, times `multiplier`,
/// divided by 2³².
fn rate(multiplier: u32, shift: i8) -> Option<u64> {
    let base = (1_000_000_000u128 << 32).checked_div(u128::from(multiplier))?;
    let shifted = match shift {
        0..=31 => base >> shift,
        -31..0 => base << shift.unsigned_abs(),
        _ => return None,
    };
    u64::try_from(shifted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_comes_out_of_the_factors() {
        // 2 GHz: half a nanosecond a tick.
        assert_eq!(rate(1 << 31, 0), Some(2_000_000_000));
        assert_eq!(rate(1 << 31, 1), Some(1_000_000_000));
        assert_eq!(rate(1 << 31, -1), Some(4_000_000_000));
        assert_eq!(rate(0, 0), None);
        assert_eq!(rate(1, -31), None, "no clock runs that fast");
        assert_eq!(rate(1 << 31, 64), None);
    }

    #[test]
    fn a_page_being_written_is_not_believed() {
        let page = KvmClockPage::new();
        page.0[MULTIPLIER].store(1 << 31, Relaxed);
        assert_eq!(page.factors(), None, "never written");
        page.0[VERSION].store(3, Relaxed);
        assert_eq!(page.factors(), None, "being written");
        page.0[VERSION].store(4, Relaxed);
        page.0[SHIFT].store(0x0000_01ff, Relaxed);
        assert_eq!(page.factors(), Some((1 << 31, -1)));
    }

    #[test]
    fn only_kvm_with_the_feature_has_the_register() {
        let cpu = |name: &'static [u8; 12], features| {
            move |leaf: u32, _: u32| {
                let word = |at: usize| u32::from_le_bytes(name[at..at + 4].try_into().unwrap());
                match leaf {
                    1 => CpuidResult { eax: 0, ebx: 0, ecx: 1 << 31, edx: 0 },
                    0x4000_0000 => CpuidResult { eax: FEATURES, ebx: word(0), ecx: word(4), edx: word(8) },
                    FEATURES => CpuidResult { eax: features, ebx: 0, ecx: 0, edx: 0 },
                    _ => CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 },
                }
            }
        };
        assert!(is_offered(cpu(b"KVMKVMKVM\0\0\0", 1 << 3)));
        assert!(!is_offered(cpu(b"KVMKVMKVM\0\0\0", 1 << 0)));
        assert!(!is_offered(cpu(b"TCGTCGTCGTCG", 1 << 3)));
    }
}
