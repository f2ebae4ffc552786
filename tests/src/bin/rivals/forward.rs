//! Packets that are routed from `public` to `private`, in bursts.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::link::{Cables, Side};
use crate::packet;

/// How long a burst may take before those of it that are missing are lost.
const LIMIT: Duration = Duration::from_secs(5);
/// Bursts that differ.
const KINDS: u32 = 8;

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Length of each frame.
    pub(crate) bytes: usize,
    /// Frames sent at once; the next burst goes when all of one have come out.
    pub(crate) burst: u8,
}

/// Sends `rounds` bursts. How long each took, from the first byte in to the last frame out.
pub(crate) fn bursts(cables: &mut Cables, load: Load, rounds: u32) -> Result<Vec<Duration>> {
    let number = |kind: u32, flow: u8| kind << 8 | u32::from(flow);
    let burst = |kind| -> Vec<Vec<u8>> {
        (0..load.burst).map(|flow| packet::routed(load.bytes, flow, number(kind, flow))).collect()
    };
    let kinds: Vec<_> = (0..KINDS).map(burst).collect();
    let mut times = Vec::new();
    for (kind, frames) in (0..KINDS).zip(&kinds).cycle().take(rounds as usize) {
        let start = Instant::now();
        frames.iter().for_each(|frame| cables.queue(Side::Public, frame));
        let mut missing = u32::from(load.burst);
        while missing > 0 {
            cables.wait(Duration::from_millis(100))?;
            while let Some(frame) = cables.next(Side::Private) {
                if packet::number_of(&frame).is_some_and(|number| number >> 8 == kind) {
                    missing = missing.saturating_sub(1);
                }
            }
            // What the guest says there is not asked for.
            while cables.next(Side::Public).is_some() {}
            if start.elapsed() > LIMIT {
                bail!("{missing} of {} frames did not come out within {} s", load.burst, LIMIT.as_secs());
            }
        }
        times.push(start.elapsed());
    }
    Ok(times)
}
