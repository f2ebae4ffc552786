//! What activation refuses, one thing at a time. The device says yes or no, and never why.
//!
//! Left out is what a device is known to end its machine over: vectors that there are not.

use alloc::format;

use paravane_suite::Environment;

use super::Fact;
use crate::bench::Bench;
use crate::raw::NEWEST;
use crate::raw::layout::{queue, shared};
use crate::raw::live::Live;
use crate::report::{Answer, seen};

/// A fact about a device that is shown something wrong: which, whether it refuses that, the first
/// and the last revision to ask at, and what is wrong.
macro_rules! shown {
    ($id:literal, $expected:tt, $first:literal..=$last:expr, $change:expr) => {
        Fact {
            id: $id,
            expected: shown!(@$expected),
            ask: |bench| ask(bench, shown!(@@$expected), [$first, $last], $change),
        }
    };
    (@refused) => { "refused" };
    (@taken) => { "taken" };
    (@@refused) => { true };
    (@@taken) => { false };
}

pub(super) fn facts<E: Environment>() -> [Fact<E>; 22] {
    [
        shown!("ACT-MAGIC", refused, 1..=NEWEST, |live| live.shared.put32(shared::MAGIC, 0)),
        shown!("ACT-MTU-60", taken, 1..=NEWEST, |live| live.shared.put32(shared::MTU, 60)),
        shown!("ACT-MTU-59", refused, 1..=NEWEST, |live| live.shared.put32(shared::MTU, 59)),
        shown!("ACT-MTU-9000", taken, 1..=NEWEST, |live| live.shared.put32(shared::MTU, 9000)),
        shown!("ACT-MTU-9001", refused, 1..=5, |live| live.shared.put32(shared::MTU, 9001)),
        shown!("ACT-MTU-9190", taken, 6..=NEWEST, |live| live.shared.put32(shared::MTU, 9190)),
        shown!("ACT-MTU-9191", refused, 6..=NEWEST, |live| live.shared.put32(shared::MTU, 9191)),
        shown!("ACT-TX-3", refused, 1..=5, |live| queues(live, 3, 1)),
        shown!("ACT-TX-3-REV-6", taken, 6..=NEWEST, |live| queues(live, 3, 1)),
        shown!("ACT-TX-0", refused, 1..=NEWEST, |live| queues(live, 0, 1)),
        shown!("ACT-RX-0", refused, 1..=NEWEST, |live| queues(live, 1, 0)),
        shown!("ACT-TX-33", refused, 1..=NEWEST, |live| queues(live, 33, 1)),
        shown!("ACT-RX-33", refused, 1..=NEWEST, |live| queues(live, 1, 33)),
        shown!("ACT-RING-BASE", refused, 1..=NEWEST, |live| {
            let base = live.tx.first().map_or(0, |queue| queue.ring.address(256));
            live.table.put64(live.tx_desc(0) + queue::RING_BASE_PA, base);
        }),
        shown!("ACT-RING-SIZE", refused, 1..=NEWEST, |live| tx_ring(live, 48)),
        shown!("ACT-RING-96-REV-7", refused, 7..=NEWEST, |live| tx_ring(live, 96)),
        shown!("ACT-TX-COMP", refused, 1..=NEWEST, |live| {
            live.table.put32(live.tx_desc(0) + queue::COMP_RING_SIZE, 32);
        }),
        shown!("ACT-RX-COMP", refused, 1..=NEWEST, |live| {
            live.table.put32(live.rx_desc(0) + queue::COMP_RING_SIZE, 32);
        }),
        shown!("ACT-RX-COMP-160-REV-7", taken, 7..=NEWEST, |live| {
            live.table.put32(live.rx_desc(0) + queue::COMP_RING_SIZE, 160);
        }),
        shown!("ACT-TABLE-BASE", refused, 1..=NEWEST, |live| {
            let bytes = live.table.get(0, 2 * queue::BYTES);
            live.table.put(64, &bytes);
            live.shared.put64(shared::QUEUE_DESC_PA, live.table.address(64));
        }),
        shown!("ACT-TABLE-LEN", refused, 1..=NEWEST, |live| live.shared.put32(shared::QUEUE_DESC_LEN, 0)),
        Fact { id: "ACT-OFF-BUS", expected: "refused", ask: off_bus },
    ]
}

/// Transmit ring 0 has `entries`, and so have its completions.
fn tx_ring<P: paravane_hal::Platform>(live: &Live<P>, entries: u32) {
    live.table.put32(live.tx_desc(0) + queue::RING_SIZE, entries);
    live.table.put32(live.tx_desc(0) + queue::COMP_RING_SIZE, entries);
}

/// So many queues, all of a kind with the rings of the first, where nothing is.
fn queues<P: paravane_hal::Platform>(live: &mut Live<P>, tx: u8, rx: u8) {
    live.plan.tx_queues = tx;
    live.plan.rx_queues = rx;
    live.shared.put8(shared::NUM_TX_QUEUES, tx);
    live.shared.put8(shared::NUM_RX_QUEUES, rx);
    let all = u32::from(tx).wrapping_add(rx.into());
    live.shared.put32(shared::QUEUE_DESC_LEN, all.wrapping_mul(queue::LEN));
    (0..tx.into()).for_each(|queue| live.describe_tx(queue, 0));
    (0..rx.into()).for_each(|queue| live.describe_rx(queue, 0));
}

/// Shows the device `change`, at the newest revision within `revisions`.
fn ask<E: Environment>(
    bench: &mut Bench<'_, E>,
    refused: bool,
    [first, last]: [u8; 2],
    change: fn(&mut Live<E::Platform>),
) -> Answer {
    let revision = bench.raw.offered(last);
    if revision < first {
        return Err(format!("no revision from {first} to {last} is offered"));
    }
    let mut plan = bench.plan();
    plan.revision = revision;
    bench.lay(plan)?;
    change(bench.live()?);
    let answer = bench.activate();
    seen((answer != 0) == refused, format!("answer {answer:#x} at revision {revision}"))
}

fn off_bus<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = bench.plan();
    bench.lay(plan)?;
    bench.raw.set_bus_master(false)?;
    let answer = bench.activate();
    seen(answer != 0, format!("answer {answer:#x}"))
}
