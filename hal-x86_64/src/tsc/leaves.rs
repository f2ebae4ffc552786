//! What CPUID says about the TSC's rate.
//!
//! Functions of the leaves alone, so that tests can play any CPU. Values are other people's:
//! nothing here divides by one unseen.
//!
//! Spec: Intel SDM volume 2, "CPUID", leaves 15H and 16H; the hypervisor's timing leaf is VMware's,
//! taken up by KVM and others.

use core::arch::x86_64::CpuidResult;

/// The first of the hypervisor's leaves: its last one, and its name.
const HYPERVISOR: u32 = 0x4000_0000;
/// The TSC's rate and the APIC timer's, in kHz.
const HYPERVISOR_TIMING: u32 = 0x4000_0010;
const TSC: u32 = 0x15;
const FREQUENCIES: u32 = 0x16;

/// Whether a hypervisor says that it is there.
pub fn has_hypervisor(cpuid: impl Fn(u32, u32) -> CpuidResult) -> bool {
    cpuid(1, 0).ecx & 1 << 31 != 0
}

/// The hypervisor's last leaf and its name, if it is there.
pub fn hypervisor(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Option<(u32, [u8; 12])> {
    if !has_hypervisor(&cpuid) {
        return None;
    }
    let CpuidResult { eax, ebx, ecx, edx } = cpuid(HYPERVISOR, 0);
    let mut name = [0; 12];
    for (bytes, word) in name.chunks_exact_mut(4).zip([ebx, ecx, edx]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Some((eax, name))
}

/// Whose timing leaf means kHz. Hyper-V's leaf numbers mean other things, so a name not listed is
/// not asked.
const TIMING_LEAF_OF: [&[u8; 12]; 3] = [b"VMwareVMware", b"KVMKVMKVM\0\0\0", b"ACRNACRNACRN"];

/// The rate that the hypervisor states.
pub fn hypervisor_hz(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Option<u64> {
    let (last, name) = hypervisor(&cpuid)?;
    if last < HYPERVISOR_TIMING || !TIMING_LEAF_OF.contains(&&name) {
        return None;
    }
    match cpuid(HYPERVISOR_TIMING, 0).eax {
        0 | u32::MAX => None,
        khz => Some(u64::from(khz) * 1000),
    }
}

/// The rate by the crystal and its ratio, if the CPU states all three numbers.
pub fn crystal_hz(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Option<u64> {
    if cpuid(0, 0).eax < TSC {
        return None;
    }
    let CpuidResult { eax: denominator, ebx: numerator, ecx: crystal, .. } = cpuid(TSC, 0);
    if numerator == 0 || crystal == 0 {
        return None;
    }
    u64::from(crystal).checked_mul(u64::from(numerator))?.checked_div(u64::from(denominator))
}

/// The CPU's base frequency, at which its TSC runs.
pub fn base_hz(cpuid: impl Fn(u32, u32) -> CpuidResult) -> Option<u64> {
    if cpuid(0, 0).eax < FREQUENCIES {
        return None;
    }
    match cpuid(FREQUENCIES, 0).eax & 0xffff {
        0 => None,
        mhz => Some(u64::from(mhz) * 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: CpuidResult = CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };

    /// A CPU with these leaves and zeros elsewhere.
    fn cpu(leaves: &[(u32, [u32; 4])]) -> impl Fn(u32, u32) -> CpuidResult {
        move |leaf, _| {
            leaves
                .iter()
                .find(|(number, _)| *number == leaf)
                .map_or(NONE, |&(_, [eax, ebx, ecx, edx])| CpuidResult { eax, ebx, ecx, edx })
        }
    }

    const GUEST: (u32, [u32; 4]) = (1, [0, 0, 1 << 31, 0]);

    fn named(last: u32, name: &[u8; 12]) -> (u32, [u32; 4]) {
        let word = |at: usize| u32::from_le_bytes(name[at..at + 4].try_into().unwrap());
        (HYPERVISOR, [last, word(0), word(4), word(8)])
    }

    #[test]
    fn vmware_states_kilohertz() {
        let leaves =
            [GUEST, named(0x4000_0010, b"VMwareVMware"), (HYPERVISOR_TIMING, [2_893_202, 66_000, 0, 0])];
        assert_eq!(hypervisor_hz(cpu(&leaves)), Some(2_893_202_000));
    }

    #[test]
    fn others_mean_other_things_by_the_leaf() {
        let hyper_v = [GUEST, named(0x4000_0010, b"Microsoft Hv"), (HYPERVISOR_TIMING, [2_893_202, 0, 0, 0])];
        assert_eq!(hypervisor_hz(cpu(&hyper_v)), None);
        let short =
            [GUEST, named(0x4000_0001, b"KVMKVMKVM\0\0\0"), (HYPERVISOR_TIMING, [2_893_202, 0, 0, 0])];
        assert_eq!(hypervisor_hz(cpu(&short)), None);
        let metal = [named(0x4000_0010, b"VMwareVMware"), (HYPERVISOR_TIMING, [2_893_202, 0, 0, 0])];
        assert_eq!(hypervisor_hz(cpu(&metal)), None);
    }

    #[test]
    fn the_crystal_needs_all_three_numbers() {
        let skylake = [(0, [0x16, 0, 0, 0]), (TSC, [2, 216, 24_000_000, 0])];
        assert_eq!(crystal_hz(cpu(&skylake)), Some(2_592_000_000));
        for missing in [[0, 216, 24_000_000, 0], [2, 0, 24_000_000, 0], [2, 216, 0, 0]] {
            assert_eq!(crystal_hz(cpu(&[(0, [0x16, 0, 0, 0]), (TSC, missing)])), None);
        }
        assert_eq!(crystal_hz(cpu(&[(0, [0x14, 0, 0, 0]), (TSC, [2, 216, 24_000_000, 0])])), None);
    }

    #[test]
    fn the_base_frequency_is_in_megahertz() {
        assert_eq!(
            base_hz(cpu(&[(0, [0x16, 0, 0, 0]), (FREQUENCIES, [2600, 3500, 100, 0])])),
            Some(2_600_000_000)
        );
        assert_eq!(base_hz(cpu(&[(0, [0x16, 0, 0, 0])])), None);
        assert_eq!(base_hz(cpu(&[(0, [0x15, 0, 0, 0]), (FREQUENCIES, [2600, 0, 0, 0])])), None);
    }
}
