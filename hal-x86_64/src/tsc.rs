//! A clock made of the time-stamp counter.
//!
//! How fast the counter runs is asked of whoever knows, best first:
//!
//! 1. the hypervisor's timing leaf, then kvmclock: they know of scaling that the CPU's own leaves
//!    do not;
//! 2. the CPU's TSC leaf with the crystal's frequency;
//! 3. the PIT, by measurement, in a tenth to half of a millisecond;
//! 4. the CPU's base frequency, a rounded number from the data sheet.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`TscClock`]: ticks to time and back |
//! | [`leaves`] | what CPUID says, as a pure function of its leaves |
//! | [`kvmclock`] | KVM's page of conversion factors |
//! | [`pit`] | the measurement, against any ports and any counter |

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use core::fmt;
use core::time::Duration;

use paravane_hal::port::PortIo;
use paravane_hal::time::{Clock, Instant};

pub mod kvmclock;
pub mod leaves;
pub mod pit;

use kvmclock::KvmClock;

/// Reads the counter, not before what the program did before has been done.
#[must_use]
#[inline]
#[expect(unsafe_code, reason = "an instruction that the language does not offer")]
pub fn read_tsc() -> u64 {
    let (low, high): (u32, u32);
    // The fence waits for what came before; it needs no vector registers, so it is fine in a kernel
    // that has none. SAFETY: every x86_64 CPU has both instructions, and a kernel may read the
    // counter; neither touches memory. Without `nomem`, so that the compiler moves no access
    // across.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// Who said how fast the counter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TscSource {
    /// CPUID leaf `0x40000010`: the hypervisor.
    HypervisorLeaf,
    /// KVM's clock page.
    KvmClock,
    /// CPUID leaf `0x15`: the CPU, with its crystal.
    TscLeaf,
    /// Measured against the PIT.
    Pit,
    /// CPUID leaf `0x16`: the CPU's base frequency.
    BaseFrequency,
    /// The kernel's guess: nobody knew.
    Assumed,
}

impl fmt::Display for TscSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HypervisorLeaf => "the hypervisor's CPUID leaf 0x40000010",
            Self::KvmClock => "kvmclock",
            Self::TscLeaf => "CPUID leaf 0x15",
            Self::Pit => "the PIT",
            Self::BaseFrequency => "CPUID leaf 0x16",
            Self::Assumed => "assumption",
        })
    }
}

/// Nobody could tell how fast the counter runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTscRate;

impl fmt::Display for UnknownTscRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no CPUID leaf, no kvmclock and no PIT tells how fast the TSC runs")
    }
}

impl core::error::Error for UnknownTscRate {}

/// The counter as a clock. Its start is when the counter was zero, or where
/// [`starting_at`](Self::starting_at) put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscClock {
    hz: u64,
    /// Nanoseconds a tick, times 2³².
    nanos_per_tick: u64,
    start: u64,
    source: TscSource,
}

/// Rates beyond these are taken for nonsense: 10 MHz and 100 GHz.
const PLAUSIBLE_HZ: core::ops::RangeInclusive<u64> = 10_000_000..=100_000_000_000;
const NANOS: u64 = 1_000_000_000;

impl TscClock {
    /// A clock whose counter runs at `hz`, as `source` says. `None` when that is no rate of a TSC.
    #[must_use]
    pub fn new(hz: u64, source: TscSource) -> Option<Self> {
        PLAUSIBLE_HZ.contains(&hz).then(|| Self { hz, nanos_per_tick: (NANOS << 32) / hz, start: 0, source })
    }

    /// Finds out the rate. `kvmclock` is asked if given; the ports are used if nobody else knows:
    /// for half a millisecond, and again where somebody paused the program meanwhile.
    ///
    /// # Errors
    ///
    /// [`UnknownTscRate`].
    pub fn calibrate(ports: &impl PortIo, kvmclock: Option<KvmClock<'_>>) -> Result<Self, UnknownTscRate> {
        let cpuid = |leaf, subleaf| __cpuid_count(leaf, subleaf);
        let hypervisor =
            || leaves::hypervisor_hz(cpuid).and_then(|hz| Self::new(hz, TscSource::HypervisorLeaf));
        let kvm = || kvmclock.and_then(KvmClock::tsc_hz).and_then(|hz| Self::new(hz, TscSource::KvmClock));
        let crystal = || leaves::crystal_hz(cpuid).and_then(|hz| Self::new(hz, TscSource::TscLeaf));
        let measured = || pit::tsc_hz(ports, read_tsc).and_then(|hz| Self::new(hz, TscSource::Pit));
        let base = || leaves::base_hz(cpuid).and_then(|hz| Self::new(hz, TscSource::BaseFrequency));
        hypervisor().or_else(kvm).or_else(crystal).or_else(measured).or_else(base).ok_or(UnknownTscRate)
    }

    /// The same clock, with time starting when the counter stood at `start`.
    #[must_use]
    pub const fn starting_at(self, start: u64) -> Self {
        Self { start, ..self }
    }

    /// Ticks a second.
    #[must_use]
    pub const fn hz(&self) -> u64 {
        self.hz
    }

    /// Who said so.
    #[must_use]
    pub const fn source(&self) -> TscSource {
        self.source
    }

    /// Ticks since the clock's start.
    #[must_use]
    #[inline]
    pub fn ticks_now(&self) -> u64 {
        read_tsc().saturating_sub(self.start)
    }

    /// How long `ticks` last. Cannot overflow: 64 by 64 bits are 128, and only a thousand years at
    /// 10 MHz do not fit afterwards.
    #[must_use]
    #[inline]
    pub fn duration(&self, ticks: u64) -> Duration {
        Duration::from_nanos(self.nanos(ticks))
    }

    #[inline]
    fn nanos(&self, ticks: u64) -> u64 {
        u64::try_from((u128::from(ticks) * u128::from(self.nanos_per_tick)) >> 32).unwrap_or(u64::MAX)
    }

    /// How many ticks `duration` lasts.
    #[must_use]
    pub fn ticks(&self, duration: Duration) -> u64 {
        let whole = duration.as_secs().saturating_mul(self.hz);
        let rest = u128::from(duration.subsec_nanos()) * u128::from(self.hz) / u128::from(NANOS);
        whole.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX))
    }
}

impl Clock for TscClock {
    #[inline]
    fn now(&self) -> Instant {
        Instant::from_nanos(self.nanos(self.ticks_now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(hz: u64) -> TscClock {
        TscClock::new(hz, TscSource::Assumed).unwrap()
    }

    #[test]
    fn a_tick_of_a_gigahertz_is_a_nanosecond() {
        assert_eq!(clock(NANOS).duration(1_234_567), Duration::from_nanos(1_234_567));
        assert_eq!(clock(NANOS).ticks(Duration::from_micros(5)), 5000);
    }

    #[test]
    fn odd_rates_stay_true_for_years() {
        let clock = clock(2_893_202_000);
        let year = Duration::from_secs(365 * 86_400);
        let back = clock.duration(clock.ticks(year));
        assert!(year.abs_diff(back) < Duration::from_millis(20), "{back:?}");
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        assert_eq!(clock(10_000_000).duration(u64::MAX).as_nanos(), u128::from(u64::MAX));
        assert_eq!(clock(100_000_000_000).ticks(Duration::MAX), u64::MAX);
    }

    #[test]
    fn nonsense_is_no_rate() {
        assert!(TscClock::new(0, TscSource::Pit).is_none());
        assert!(TscClock::new(1000, TscSource::Pit).is_none());
        assert!(TscClock::new(u64::MAX, TscSource::Pit).is_none());
    }

    #[test]
    fn time_starts_where_it_is_told_and_moves_on() {
        let clock = clock(NANOS).starting_at(read_tsc());
        let first = clock.now();
        assert!(first.since(Instant::default()) < Duration::from_secs(1));
        assert!(clock.now() >= first);
        assert_eq!(clock.starting_at(u64::MAX).now(), Instant::default(), "before the start it is the start");
    }
}
