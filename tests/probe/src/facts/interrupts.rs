//! Messages: what is masked when, what fires when. All is vector 0.

use alloc::format;
use core::time::Duration;

use paravane_suite::Environment;

use super::{Fact, events};
use crate::bench::{ANSWER, Bench, QUIET};
use crate::frame::plain;
use crate::raw::layout::{bar1, cmd, ecr, shared};
use crate::report::{Answer, seen};

/// For a hand to find the cable, as the suite has it.
const HAND: Duration = Duration::from_secs(15);

pub(super) fn facts<E: Environment>() -> [Fact<E>; 10] {
    [
        Fact { id: "IMR-AFTER-RESET", expected: "all masks read 1", ask: after_reset },
        Fact { id: "IMR-READ-BACK", expected: "0 and 1 as written", ask: read_back },
        Fact { id: "IMR-HOLDS", expected: "no message while masked", ask: |bench| masked(bench, false) },
        Fact { id: "UNMASK-FIRES", expected: "a message on unmasking", ask: |bench| masked(bench, true) },
        Fact { id: "IMR-OVER-QUIESCE", expected: "a message without unmasking again", ask: over_quiesce },
        Fact {
            id: "AUTO-MASK",
            expected: "one message, the next on unmasking",
            ask: |bench| fires(bench, true),
        },
        Fact { id: "NO-AUTO-MASK", expected: "a message each time", ask: |bench| fires(bench, false) },
        Fact { id: "INTR-CTRL-HOLDS", expected: "no message while all are disabled", ask: disabled },
        Fact { id: "INTR-CTRL-RELEASES", expected: "a message on unmasking again", ask: enabled_again },
        Fact { id: "LINK-EVENT", expected: "event LINK and a message, gone once acknowledged", ask: link },
    ]
}

/// Brings it up with messages; vector 0 is masked.
fn up<E: Environment>(bench: &mut Bench<'_, E>) -> Result<(), alloc::string::String> {
    let mut plan = bench.plan();
    plan.interrupts = true;
    bench.up(plan)
}

/// Whether a message comes, which is waited for long when it is due.
fn rings<E: Environment>(bench: &mut Bench<'_, E>, is_due: bool) -> bool {
    let limit = if is_due { ANSWER } else { QUIET };
    bench.wait(limit, |bench| bench.environment.rang().then_some(())).is_some()
}

/// Sends a frame that nobody answers, which would interrupt too, and waits until it is completed.
fn work<E: Environment>(bench: &mut Bench<'_, E>) -> Result<(), alloc::string::String> {
    let mut frame = plain(bench.mac, 60);
    if let Some(last) = frame.get_mut(5) {
        *last ^= 1;
    }
    bench.send(&frame)?;
    bench.wait(ANSWER, |bench| bench.completion(0)).map(drop).ok_or_else(|| "no completion".into())
}

fn after_reset<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    let masked = (0..25).filter(|vector| bench.raw.read_mask(*vector) == 1).count();
    seen(masked == 25, format!("{masked} of 25"))
}

fn read_back<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    up(bench)?;
    let read = [false, true].map(|masked| {
        bench.raw.mask(0, masked);
        bench.raw.read_mask(0)
    });
    seen(read == [0, 1], format!("{read:?} for 0 and 1"))
}

/// Work while the vector is masked; then it is unmasked.
fn masked<E: Environment>(bench: &mut Bench<'_, E>, unmask: bool) -> Answer {
    up(bench)?;
    work(bench)?;
    let early = rings(bench, false);
    if !unmask {
        return seen(!early, if early { "a message" } else { "none" });
    }
    bench.raw.mask(0, false);
    let fires = rings(bench, true);
    seen(fires, if fires { "a message" } else { "none" })
}

fn over_quiesce<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    up(bench)?;
    bench.raw.mask(0, false);
    bench.raw.command(cmd::QUIESCE_DEV);
    // The rings begin again where the device believes they do, so they are made anew.
    bench.renew()?;
    bench.go()?;
    work(bench)?;
    let fires = rings(bench, true);
    seen(fires, if fires { "a message" } else { "none" })
}

fn fires<E: Environment>(bench: &mut Bench<'_, E>, auto_mask: bool) -> Answer {
    let mut plan = bench.plan();
    plan.interrupts = true;
    plan.auto_mask = auto_mask;
    bench.up(plan)?;
    bench.raw.mask(0, false);
    work(bench)?;
    let first = rings(bench, true);
    work(bench)?;
    let second = rings(bench, !auto_mask);
    bench.raw.mask(0, false);
    let third = rings(bench, auto_mask);
    let fits = [first, second, third] == [true, !auto_mask, auto_mask];
    seen(fits, format!("first {first}, second {second}, on unmasking {third}"))
}

fn disabled<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    up(bench)?;
    bench.live()?.shared.put32(shared::INTR_CTRL, 1);
    bench.raw.mask(0, false);
    work(bench)?;
    let fires = rings(bench, false);
    seen(!fires, if fires { "a message" } else { "none" })
}

fn enabled_again<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    up(bench)?;
    bench.live()?.shared.put32(shared::INTR_CTRL, 1);
    bench.raw.mask(0, false);
    work(bench)?;
    if rings(bench, false) {
        return Err("it came while all were disabled".into());
    }
    bench.live()?.shared.put32(shared::INTR_CTRL, 0);
    let alone = rings(bench, false);
    bench.raw.mask(0, false);
    let fires = alone || rings(bench, true);
    seen(fires, format!("by itself {alone}, on unmasking {fires}"))
}

/// Somebody pulls the cable, where the platform has a way; that may be a hand.
fn link<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    if !bench.environment.tells_of_link() {
        return Err("nobody pulls the cable here".into());
    }
    up(bench)?;
    bench.raw.mask(0, false);
    let before = bench.raw.command(cmd::GET_LINK);
    bench.environment.set_link(false);
    let told = bench.wait(HAND, |bench| events(bench).ok().filter(|events| events & ecr::LINK != 0));
    let fires = told.is_some() && rings(bench, true);
    let after = bench.raw.command(cmd::GET_LINK);
    bench.raw.write(bar1::ECR, ecr::LINK);
    let left = events(bench)?;
    bench.environment.set_link(true);
    // So that the next fact has a link.
    bench.wait(HAND, |bench| (bench.raw.command(cmd::GET_LINK) & 1 != 0).then_some(()));
    if told.is_none() && after & 1 != 0 {
        return Err("nobody pulled the cable in time".into());
    }
    let gone = left & ecr::LINK == 0;
    seen(
        told.is_some() && fires && gone && after & 1 == 0,
        format!("event {}, a message {fires}, link {before:#x} to {after:#x}, gone {gone}", told.is_some()),
    )
}
