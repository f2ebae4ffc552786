//! What later revisions add: slots for short frames, moderation, regions, capabilities.

use alloc::format;
use alloc::string::String;

use paravane_hal::Platform;
use paravane_suite::Environment;

use super::receive::to_us;
use super::{Fact, status};
use crate::bench::{ANSWER, Bench};
use crate::frame::plain;
use crate::raw::NEWEST;
use crate::raw::layout::{bar1, cmd, queue, shared};
use crate::raw::live::{Live, Plan};
use crate::raw::ring::{BUFFER_BYTES, ENTRIES};
use crate::report::{Answer, seen};

/// What moves registers, or completes out of order: nobody is to have that unasked.
const LEFT_ALONE: u32 = 1 << 16 | 1 << 17 | 1 << 31;
/// Of a slot to receive.
const SLOT_BYTES: u16 = 256;

pub(super) fn facts<E: Environment>() -> [Fact<E>; 9] {
    [
        Fact { id: "TX-DATA-SLOT", expected: "arrives from a slot", ask: tx_slot },
        Fact { id: "RX-DATA-SLOT", expected: "arrives in a slot, rqID 2", ask: rx_slot },
        Fact { id: "RX-DATA-LONGER", expected: "arrives in a buffer, rqID 0", ask: rx_longer },
        Fact { id: "COALESCE-DEFAULT", expected: "any answer", ask: coalesce_default },
        Fact { id: "COALESCE-READ-BACK", expected: "answer 0, and what was set", ask: coalesce },
        Fact { id: "MEMORY-REGIONS", expected: "answer 0", ask: regions },
        Fact { id: "RING-BUFFER-SIZES", expected: "answer 0", ask: buffer_sizes },
        Fact { id: "CAPABILITIES-GRANTED", expected: "all that are asked for", ask: granted },
        Fact { id: "CAPABILITIES-REPLACED", expected: "none, once none are asked for", ask: replaced },
    ]
}

/// A plan, where the device has revision `since`.
pub(super) fn plan_since<E: Environment>(bench: &Bench<'_, E>, since: u8) -> Result<Plan, String> {
    let plan = bench.plan();
    if plan.revision < since {
        return Err(format!("no revision from {since} to {NEWEST} is offered"));
    }
    Ok(plan)
}

fn tx_slot<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    bench.need_peer()?;
    let plan = plan_since(bench, 3)?;
    bench.raw.choose(plan.revision);
    // Only a length that slots may have is one.
    let said = bench.raw.command(cmd::GET_TXDATA_DESC_SIZE) & 0xffff;
    let slot_bytes = if (128..=2048).contains(&said) && said.is_multiple_of(64) { said } else { 128 };
    bench.lay(plan)?;
    let live = bench.live()?;
    let desc = live.tx_desc(0);
    // The buffers lie one behind the other, as slots do, and are as many; each is at least as long.
    let slots = live.tx.first_mut().map_or(0, |ring| ring.slots(slot_bytes));
    live.table.put64(desc + queue::TX_DATA_BASE_PA, slots);
    live.table.put32(desc + queue::TX_DATA_SIZE, ENTRIES);
    live.table.put16(desc + queue::DATA_DESC_SIZE, u16::try_from(slot_bytes).unwrap_or(0));
    bench.go()?;
    let frame = plain(bench.mac, 100);
    bench.send(&frame)?;
    let arrived = bench.arrived(ANSWER);
    let fits = arrived.as_ref().is_some_and(|(bytes, _)| *bytes == frame);
    let what = match arrived {
        Some((_, len_bytes)) => format!("{len_bytes} bytes of 100 arrive, slots of {slot_bytes}"),
        None => format!("nothing arrives, slots of {slot_bytes}, queue {}", status(bench, 0)?),
    };
    seen(fits, what)
}

/// A frame of `len_bytes` where there are slots to receive: `rqID`, and whether it is in the slot,
/// or in a buffer.
fn into_slot<E: Environment>(
    bench: &mut Bench<'_, E>,
    len_bytes: usize,
) -> Result<(u32, bool, bool), String> {
    let plan = plan_since(bench, 3)?;
    bench.lay(plan)?;
    let live = bench.live()?;
    let desc = live.rx_desc(0);
    // Beside 64 entries, slots of 256 bytes take four pages.
    live.table.put64(desc + queue::RX_DATA_BASE_PA, live.slots.address(0));
    live.table.put16(desc + queue::DATA_DESC_SIZE, SLOT_BYTES);
    bench.go()?;
    let frame = to_us(bench, len_bytes);
    bench.have_sent(&frame)?;
    let received = bench.frame_anyhow(ANSWER).ok_or("nothing arrives")?;
    let index = (received.words[0] & 0xfff) as usize;
    let id = received.queues.first().copied().unwrap_or(u32::MAX);
    let slot = bench.live()?.slots.get(index.wrapping_mul(SLOT_BYTES.into()), len_bytes);
    Ok((id, slot == frame, received.bytes == frame))
}

fn rx_slot<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let (id, in_slot, in_buffer) = into_slot(bench, 100)?;
    seen(id == 2 && in_slot, format!("rqID {id}, in the slot {in_slot}, in the buffer {in_buffer}"))
}

fn rx_longer<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let (id, _, in_buffer) = into_slot(bench, 400)?;
    seen(id == 0 && in_buffer, format!("rqID {id}, in the buffer {in_buffer}"))
}

/// Gives `command` about what is at `at` in the scratch page: version 1, of `len_bytes`.
fn about<P: Platform>(live: &Live<P>, at: usize, len_bytes: u32) {
    live.shared.put32(shared::CMD_INFO, 1);
    live.shared.put32(shared::CMD_INFO + 4, len_bytes);
    live.shared.put64(shared::CMD_INFO + 8, live.scratch.address(at));
}

/// `GET_COALESCE`: the answer, and the four words.
fn get_coalesce<E: Environment>(bench: &mut Bench<'_, E>) -> Result<(u32, [u32; 4]), String> {
    let live = bench.live()?;
    (0..4).for_each(|word| live.scratch.put32(64 + word * 4, 0x5555_5555));
    about(live, 64, 16);
    let answer = bench.raw.command(cmd::GET_COALESCE);
    let live = bench.live()?;
    Ok((answer, [64, 68, 72, 76].map(|at| live.scratch.get32(at))))
}

fn coalesce_default<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = plan_since(bench, 3)?;
    bench.up(plan)?;
    let (answer, words) = get_coalesce(bench)?;
    seen(true, format!("answer {answer:#x}, {words:?}"))
}

fn coalesce<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    /// Static, by three depths.
    const SCHEME: [u32; 4] = [2, 32, 48, 64];
    let plan = plan_since(bench, 3)?;
    bench.up(plan)?;
    let live = bench.live()?;
    for (at, word) in [0, 4, 8, 12].into_iter().zip(SCHEME) {
        live.scratch.put32(at, word);
    }
    about(live, 0, 16);
    let set = bench.raw.command(cmd::SET_COALESCE);
    let (get, words) = get_coalesce(bench)?;
    seen(set == 0 && words == SCHEME, format!("answers {set:#x} and {get:#x}, {words:?} for {SCHEME:?}"))
}

fn regions<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = plan_since(bench, 3)?;
    bench.up(plan)?;
    let live = bench.live()?;
    let start = live.rx.first().map_or(0, |queue| queue.heads());
    // One region: what queue 0 receives into.
    live.scratch.put32(0, 1);
    live.scratch.put64(8, start);
    live.scratch.put32(16, ENTRIES * BUFFER_BYTES);
    live.scratch.put32(20, 1 << 16);
    about(live, 0, 24);
    let answer = bench.raw.command(cmd::REGISTER_MEMREGS);
    seen(answer == 0, format!("answer {answer:#x}"))
}

fn buffer_sizes<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let plan = plan_since(bench, 7)?;
    bench.up(plan)?;
    let live = bench.live()?;
    live.shared.put32(shared::CMD_INFO, BUFFER_BYTES);
    live.shared.put32(shared::CMD_INFO + 4, BUFFER_BYTES);
    let answer = bench.raw.command(cmd::SET_RING_BUFFER_SIZE);
    seen(answer == 0, format!("answer {answer:#x}"))
}

/// Asks for all capabilities that leave registers and order as they are: what was asked for, what
/// is granted.
pub(super) fn ask_for_all<E: Environment>(bench: &mut Bench<'_, E>) -> Result<(u32, u32), String> {
    let plan = plan_since(bench, 7)?;
    bench.raw.choose(plan.revision);
    let wanted = bench.raw.read(bar1::DCR0) & !LEFT_ALONE;
    bench.raw.write(bar1::DCR0, wanted);
    Ok((wanted, bench.raw.command(cmd::GET_DCR0_REG)))
}

fn granted<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let (wanted, granted) = ask_for_all(bench)?;
    let pass_through = bench.raw.read(bar1::PTCR0);
    seen(wanted == granted, format!("{granted:#x} of {wanted:#x}, PTCR0 {pass_through:#x}"))
}

fn replaced<E: Environment>(bench: &mut Bench<'_, E>) -> Answer {
    let (_, before) = ask_for_all(bench)?;
    if before == 0 {
        return Err("none is granted".into());
    }
    bench.raw.write(bar1::DCR0, 0);
    let after = bench.raw.command(cmd::GET_DCR0_REG);
    ask_for_all(bench)?;
    bench.raw.command(cmd::RESET_DEV);
    let reset = bench.raw.command(cmd::GET_DCR0_REG);
    seen(after == 0, format!("{before:#x}, then {after:#x}; {reset:#x} after a reset"))
}
