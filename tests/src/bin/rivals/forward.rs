//! Packets from `public` to `private`, in bursts.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::link::{Cables, Side};
use crate::packet::{self, Ends};

/// How long a burst may take before those of it that are missing are lost.
const LIMIT: Duration = Duration::from_secs(5);

/// Which packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Length of each frame.
    pub(crate) bytes: usize,
    /// Frames sent at once; the next burst goes when all of one have come out.
    pub(crate) burst: u8,
}

/// Sends `rounds` bursts of the flows that `ends` gives the numbers of, from 0. How long each took,
/// from the first byte in to the last frame out.
pub(crate) fn bursts(
    cables: &mut Cables,
    load: Load,
    rounds: u32,
    mut ends: impl FnMut(u32) -> Ends,
) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for round in 0..rounds {
        let numbers = (0..load.burst).map(|place| round * u32::from(load.burst) + u32::from(place));
        let frames: Vec<_> =
            numbers.map(|number| packet::datagram(load.bytes, ends(number), number)).collect();
        let start = Instant::now();
        frames.iter().for_each(|frame| cables.queue(Side::Public, frame));
        let mut missing = u32::from(load.burst);
        while missing > 0 {
            cables.wait(Duration::from_millis(100))?;
            while let Some(frame) = cables.next(Side::Private) {
                let number = packet::number_of(&frame);
                if number.is_some_and(|number| number / u32::from(load.burst) == round) {
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
