//! Revisions, activation, stopping.

use alloc::format;

use paravane_suite::Environment;

use super::Fact;
use crate::bench::Bench;
use crate::raw::NEWEST;
use crate::raw::layout::{cmd, shared};
use crate::report::{Answer, seen};

pub(super) fn facts<E: Environment>() -> [Fact<E>; 5] {
    [
        Fact {
            id: "CHOICE-OUTLIVES-RESET",
            expected: "the same answer to GET_TXDATA_DESC_SIZE before and after",
            ask: choice_outlives_reset,
        },
        Fact { id: "RESET-OFF-BUS", expected: "answer 0 and a device that starts again", ask: reset_off_bus },
        Fact { id: "RESET-FORGETS-SHARED", expected: "no activation after it", ask: reset_forgets_shared },
        Fact { id: "QUIESCE-KEEPS-SHARED", expected: "activation answers 0", ask: quiesce_keeps_shared },
        Fact { id: "ACTIVATE-TWICE", expected: "answer 0 and nothing read again", ask: activate_twice },
    ]
}

/// A command that revision 1 does not have tells which one is chosen.
fn choice_outlives_reset<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let raw = &bench.raw;
    let revision = raw.offered(NEWEST);
    if revision < 3 {
        return Err(format!("no revision after {revision} is offered"));
    }
    let ask = || raw.command(cmd::GET_TXDATA_DESC_SIZE);
    raw.choose(1);
    let first = ask();
    raw.choose(revision);
    let before = ask();
    if first == before {
        return Err(format!("it answers {first:#x} at revisions 1 and {revision}"));
    }
    raw.command(cmd::RESET_DEV);
    let after = ask();
    seen(
        after == before,
        format!("{first:#x} at revision 1, {before:#x} at {revision}, {after:#x} after a reset"),
    )
}

fn reset_off_bus<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    bench.raw.command(cmd::QUIESCE_DEV);
    bench.raw.set_bus_master(false)?;
    let answer = bench.raw.command(cmd::RESET_DEV);
    bench.down()?;
    let again = bench.up(plan);
    let what = match &again {
        Ok(()) => format!("answer {answer:#x}, and it starts again"),
        Err(why) => format!("answer {answer:#x}, then {why}"),
    };
    seen(answer == 0 && again.is_ok(), what)
}

fn reset_forgets_shared<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.lay(plan)?;
    bench.raw.command(cmd::RESET_DEV);
    bench.raw.choose(plan.revision);
    let answer = bench.activate();
    seen(answer != 0, format!("ACTIVATE_DEV answers {answer:#x} where nobody told it anew"))
}

fn quiesce_keeps_shared<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    bench.raw.command(cmd::QUIESCE_DEV);
    let answer = bench.activate();
    seen(answer == 0, format!("ACTIVATE_DEV answers {answer:#x} where nobody told it anew"))
}

/// An MTU that is none shows whether it was read.
fn activate_twice<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    bench.live()?.shared.put32(shared::MTU, 59);
    let answer = bench.activate();
    seen(answer == 0, format!("answer {answer:#x} with an MTU of 59"))
}
