//! How many times as fast one driver is as another, on one core, in one process.
//!
//! The machine's speed wanders by factors, but slowly against a window of 64 bursts. So the two
//! alternate, window by window; each pair of windows gives a ratio, and of those the median. Only
//! the driver's turns are on the clock, and what reading the clock takes is subtracted.

#![expect(unsafe_code, reason = "the cycle counter is read by an intrinsic")]

use anyhow::Result;

use crate::subject::Moving;

/// Bursts in a window.
const WINDOW: u64 = 64;
/// Pairs of windows.
const PAIRS: usize = 400;

/// The time, in ticks of the processor's counter, after everything before it has happened.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ticks() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { _mm_lfence() };
    // SAFETY: every x86-64 processor has a counter, and Linux lets programs read it.
    let now = unsafe { _rdtsc() };
    // SAFETY: as above.
    unsafe { _mm_lfence() };
    now
}

/// The time, in nanoseconds.
#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}

/// What reading the clock twice takes: the least of many tries.
fn overhead() -> u64 {
    (0..10_000)
        .map(|_| {
            let start = ticks();
            ticks() - start
        })
        .min()
        .unwrap_or(0)
}

/// Ticks that the driver's turns of a window take.
fn window(moving: &mut dyn Moving, overhead: u64) -> u64 {
    let mut total = 0;
    for _ in 0..WINDOW {
        moving.turn(&mut |work| {
            let start = ticks();
            work();
            total += (ticks() - start).saturating_sub(overhead);
        });
    }
    total.max(1)
}

/// The median; zero of nothing.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// How many times as fast `ours` is as `theirs`: this process's median.
pub fn measure(ours: &mut dyn Moving, theirs: &mut dyn Moving) -> Result<f64> {
    let overhead = overhead();
    let mut ratios = Vec::with_capacity(PAIRS);
    for pair in 0..PAIRS {
        // Whoever goes first finds the caches as the other left them; so they take turns in that as
        // well.
        let (a, b) = if pair % 2 == 0 {
            let a = window(ours, overhead);
            (a, window(theirs, overhead))
        } else {
            let b = window(theirs, overhead);
            (window(ours, overhead), b)
        };
        ratios.push(b as f64 / a as f64);
    }
    ours.check()?;
    theirs.check()?;
    Ok(median(&mut ratios))
}
