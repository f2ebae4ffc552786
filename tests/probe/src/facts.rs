//! What is asked, in order.

mod filter;
mod interrupts;
mod later;
mod life;
mod offload;
mod receive;
mod refuse;
mod spread;
mod transmit;

use alloc::format;
use alloc::string::String;

use paravane_suite::Environment;

use crate::bench::Bench;
use crate::raw::layout::{cmd, queue, shared};
use crate::report::Answer;

/// Something that is believed of the device.
pub(crate) struct Fact<E: Environment> {
    /// What the report and `docs/vmxnet3-device.md` call it.
    pub(crate) id: &'static str,
    pub(crate) expected: &'static str,
    /// Begins with a stopped device, and may leave it running.
    pub(crate) ask: fn(&mut Bench<'_, E>) -> Answer,
}

/// All of them.
pub(crate) fn all<E: Environment>() -> impl Iterator<Item = Fact<E>> {
    life::facts()
        .into_iter()
        .chain(transmit::facts())
        .chain(offload::facts())
        .chain(receive::facts())
        .chain(filter::facts())
        .chain(interrupts::facts())
        .chain(later::facts())
        .chain(spread::facts())
        .chain(refuse::facts())
}

/// Events that wait.
fn events<E: Environment>(bench: &mut Bench<'_, E>) -> Result<u32, String> {
    Ok(bench.live()?.shared.get32(shared::ECR))
}

/// What the device says of the queue whose descriptor is number `number`, transmit queues first.
fn status<E: Environment>(bench: &mut Bench<'_, E>, number: usize) -> Result<String, String> {
    bench.raw.command(cmd::GET_QUEUE_STATUS);
    let live = bench.live()?;
    let desc = live.tx_desc(number);
    let stopped = live.table.get8(desc.wrapping_add(queue::STOPPED)) != 0;
    let code = live.table.get32(desc.wrapping_add(queue::ERROR));
    Ok(if stopped { format!("stopped with {code:#x}") } else { "not stopped".into() })
}
