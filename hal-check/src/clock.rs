//! Time: does it move, forward, in steps that waits can use, and about as fast as it should.

use core::time::Duration;

use paravane_hal::time::{Clock, Instant};

use crate::finding::Finding;
use crate::report::{Check, Report, Verdict};
use crate::settings::Settings;

/// Steps longer than this make a wait of milliseconds a matter of luck.
const COARSEST: Duration = Duration::from_millis(100);
/// So many steps are looked for.
const STEPS: u32 = 8;
/// No CPU calls a function and pauses faster than four times a nanosecond.
const LOOKS_PER_NANO: u128 = 4;
/// How long the clock is measured against another.
const MEASURED: u64 = 20_000_000;

pub(crate) fn run(clock: &impl Clock, settings: &Settings<'_>, report: &mut Report) {
    (settings.before)(Check::Clock);
    let moves = movement(clock, settings.clock_looks);
    report.judge(Check::Clock, moves.clone());
    (settings.before)(Check::ClockRate);
    let verdict = match (&moves, settings.reference_nanos) {
        (Err(_), _) => Verdict::NotRun("the clock does not move as it should".into()),
        (Ok(()), None) => Verdict::NotOffered("no other clock was given to measure it against"),
        (Ok(()), Some(reference)) => {
            rate(clock, reference, settings.clock_looks).map_or_else(Verdict::Failed, |()| Verdict::Passed)
        }
    };
    report.add(Check::ClockRate, verdict);
}

/// Looks at the clock until it has made a few steps. Ends after `looks` looks, whatever the clock
/// does.
pub(crate) fn movement(clock: &impl Clock, looks: u32) -> Result<(), Finding> {
    let first = clock.now();
    let mut last = first;
    let mut steps = 0;
    let mut smallest = Duration::MAX;
    let mut looked: u32 = 0;
    while looked < looks && steps < STEPS {
        clock.relax();
        let now = clock.now();
        looked = looked.saturating_add(1);
        if now < last {
            return Err(Finding::ClockBackwards { earlier: last, later: now });
        }
        if now > last {
            smallest = smallest.min(now.since(last));
            steps += 1;
        }
        last = now;
    }
    let passed = last.since(first);
    if steps == 0 {
        return Err(Finding::ClockStopped { looks: looked, at: first });
    }
    if smallest > COARSEST {
        return Err(Finding::ClockCoarse { smallest });
    }
    // A few looks may fall within one tick of a fine clock; many cannot.
    if looked > 10_000 && u128::from(looked) > passed.as_nanos().saturating_mul(LOOKS_PER_NANO) {
        return Err(Finding::ClockSlow { looks: looked, passed });
    }
    Ok(())
}

/// Measures the clock against another, within a factor of two.
fn rate(clock: &impl Clock, reference: &dyn Fn() -> u64, looks: u32) -> Result<(), Finding> {
    let start = (clock.now(), reference());
    let since = |start: (Instant, u64)| {
        (clock.now().since(start.0).as_nanos(), u128::from(reference().saturating_sub(start.1)))
    };
    let mut passed = (0, 0);
    for _ in 0..looks {
        clock.relax();
        passed = since(start);
        if passed.1 >= u128::from(MEASURED) {
            break;
        }
    }
    let (own, other) = passed;
    if other < u128::from(MEASURED) {
        return Err(Finding::ReferenceStopped { looks });
    }
    if own.saturating_mul(2) < other || other.saturating_mul(2) < own {
        return Err(Finding::ClockRate { own_nanos: own, reference_nanos: other });
    }
    Ok(())
}
