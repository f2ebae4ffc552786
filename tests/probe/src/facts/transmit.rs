//! Frames on their way out: doorbells, completions, lengths.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use paravane_suite::Environment;

use super::{Fact, events, status};
use crate::bench::{ANSWER, Bench, QUIET};
use crate::frame::plain;
use crate::raw::layout::{bar0, cmd, ecr, queue, stats, stop};
use crate::raw::ring::Offload;
use crate::report::{Answer, seen};

/// Asks for no completion.
const UNASKED: Offload = Offload { quiet: true, ..Offload::NONE };

pub(super) fn facts<E: Environment>() -> [Fact<E>; 11] {
    [
        Fact { id: "TX-THRESHOLD", expected: "above 1", ask: threshold },
        Fact { id: "TX-UNRUNG", expected: "a completion without a doorbell", ask: unrung },
        Fact { id: "TXPROD-VALUE", expected: "a completion whatever the doorbell says", ask: txprod_value },
        Fact { id: "CQ-CLEAR", expected: "no completion where none is asked for", ask: cq_clear },
        Fact {
            id: "CQ-CUMULATIVE",
            expected: "one completion for three frames, of the last",
            ask: cumulative,
        },
        Fact { id: "TCD-TYPE", expected: "type 0", ask: completion_type },
        Fact { id: "TX-RUNT", expected: "completed, counted as an error", ask: runt },
        Fact { id: "TX-PADDING", expected: "30 bytes arrive of 30", ask: padding },
        Fact { id: "TX-17", expected: "the queue stops with 0x80000002, event TQERR", ask: seventeen },
        Fact {
            id: "ECR-READ",
            expected: "the register reads 0 while an event waits in memory",
            ask: ecr_read,
        },
        Fact {
            id: "STATS-RESTART",
            expected: "3 sent, and none after the next activation",
            ask: stats_restart,
        },
    ]
}

fn threshold<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    let live = bench.live()?;
    let value = live.table.get32(live.tx_desc(0) + queue::TX_THRESHOLD);
    seen(value > 1, format!("{value}"))
}

/// How long it takes until a completion comes, in words.
fn completed_after<E: Environment>(bench: &mut Bench<'_, E>) -> (bool, String) {
    let start = bench.now();
    match bench.wait(ANSWER, |bench| bench.completion(0)) {
        Some(_) => (true, format!("completed after {} us", bench.now().since(start).as_micros())),
        None => (false, format!("no completion within {} ms", ANSWER.as_millis())),
    }
}

fn unrung<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 60);
    bench.push(0, &[&frame], &Offload::NONE)?;
    let (fits, what) = completed_after(bench);
    seen(fits, what)
}

fn txprod_value<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 60);
    bench.push(0, &[&frame], &Offload::NONE)?;
    let live = bench.live()?;
    live.table.put32(live.tx_desc(0) + queue::TX_NUM_DEFERRED, 0);
    bench.raw.write_bar0(bar0::TXPROD, 0, 0);
    let (fits, what) = completed_after(bench);
    seen(fits, format!("{what}, the doorbell said 0 for 1"))
}

fn cq_clear<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 60);
    bench.push(0, &[&frame], &UNASKED)?;
    bench.ring(0)?;
    let came = bench.wait(QUIET, |bench| bench.completion(0)).is_some();
    seen(!came, if came { "a completion" } else { "none" })
}

fn cumulative<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 60);
    for offload in [UNASKED, UNASKED, Offload::NONE] {
        bench.push(0, &[&frame], &offload)?;
    }
    bench.ring(0)?;
    let first = bench.wait(ANSWER, |bench| bench.completion(0)).ok_or("no completion")?;
    let mut named: Vec<_> = [first[0] & 0xfff].into();
    while named.len() < 4
        && let Some(next) = bench.wait(QUIET, |bench| bench.completion(0))
    {
        named.push(next[0] & 0xfff);
    }
    seen(named == [2], format!("completions of descriptors {named:?}"))
}

fn completion_type<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 60);
    bench.send(&frame)?;
    let [first, second, third, last] =
        bench.wait(ANSWER, |bench| bench.completion(0)).ok_or("no completion")?;
    let kind = last >> 24 & 0x7f;
    seen(kind == 0, format!("type {kind}, words {first:#x} {second:#x} {third:#x} {last:#x}"))
}

fn runt<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 13);
    bench.send(&frame)?;
    let completed = bench.wait(ANSWER, |bench| bench.completion(0)).is_some();
    bench.raw.command(cmd::GET_STATS);
    let live = bench.live()?;
    let errors = live.counter(live.tx_desc(0), stats::TX_ERROR);
    let what = status(bench, 0)?;
    seen(completed && errors == 1, format!("completed {completed}, {errors} errors, {what}"))
}

fn padding<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    bench.need_peer()?;
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 30);
    bench.send(&frame)?;
    let (_, len_bytes) = bench.arrived(ANSWER).ok_or("it did not arrive")?;
    seen(len_bytes == 30, format!("{len_bytes} bytes arrive of 30"))
}

/// Sends a frame of more descriptors than one may have; whether the device said so in time.
fn send_too_many<E: Environment>(bench: &mut Bench<'_, E>) -> Result<bool, String> {
    let plan = bench.plan();
    bench.up(plan)?;
    let frame = plain(bench.mac, 17 * 16);
    let pieces: Vec<_> = frame.chunks(16).collect();
    bench.push(0, &pieces, &Offload::NONE)?;
    bench.ring(0)?;
    let told = bench.wait(ANSWER, |bench| {
        let events = events(bench).unwrap_or(0);
        (events != 0 || bench.completion(0).is_some()).then_some(events)
    });
    Ok(told.is_some_and(|events| events & ecr::TQERR != 0))
}

fn seventeen<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let told = send_too_many(bench)?;
    let what = status(bench, 0)?;
    let live = bench.live()?;
    let error = live.table.get32(live.tx_desc(0) + queue::ERROR);
    seen(told && error == stop::BIG_PKT, format!("{what}, event TQERR {told}"))
}

fn ecr_read<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    if !send_too_many(bench)? {
        return Err("no event could be had".into());
    }
    let waiting = events(bench)?;
    let read = bench.raw.read(crate::raw::layout::bar1::ECR);
    bench.raw.write(crate::raw::layout::bar1::ECR, waiting);
    let left = events(bench)?;
    seen(
        read == 0 && left == 0,
        format!("{read:#x} with {waiting:#x} in memory, {left:#x} there once acknowledged"),
    )
}

/// Where counters go, memory is not 0 before, so that it shows what is written.
fn stats_restart<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    let mut counts = [0; 2];
    for (count, frames) in counts.iter_mut().zip([3, 0]) {
        bench.up(plan)?;
        let frame = plain(bench.mac, 60);
        for _ in 0..frames {
            bench.send(&frame)?;
            bench.wait(ANSWER, |bench| bench.completion(0)).ok_or("no completion")?;
        }
        let live = bench.live()?;
        let at = live.tx_desc(0) + queue::STATS;
        (0..20).for_each(|word| live.table.put32(at + word * 4, 0x5555_5555));
        bench.raw.command(cmd::GET_STATS);
        let live = bench.live()?;
        *count = live.counter(live.tx_desc(0), stats::UCAST);
    }
    let [before, after] = counts;
    seen((before, after) == (3, 0), format!("{before} sent, and {after} after the next activation"))
}
