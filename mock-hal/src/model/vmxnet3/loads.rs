//! What a driver may believe that saw another word than the device wrote.

use super::{Plugged, Vmxnet3};
use crate::loads::{ChangedLoad, ChangingLoads};
use crate::platform::MockPlatform;

impl Plugged {
    /// Arms loads that change, of the thread that calls, and has the model excuse what its driver
    /// does about them.
    ///
    /// # Panics
    ///
    /// In a load, when the model panicked before.
    pub fn changing_loads(&self, platform: &MockPlatform, seed: u64) -> ChangingLoads {
        let (model, memory) = (self.model.clone(), platform.memory().clone());
        ChangingLoads::armed(seed).telling(move |change| {
            if let (Some(addr), Ok(mut model)) = (memory.dma_address_of(change.place), model.lock()) {
                model.misheard(addr, change);
            }
        })
    }
}

impl Vmxnet3 {
    /// The driver saw another value than the device wrote: in the word at `addr`. What that tells
    /// it about whose memory is whose, it may believe; but not what a second look at an index says,
    /// of which one is enough.
    pub fn misheard(&mut self, addr: u64, change: ChangedLoad) {
        let Some(active) = &self.active else { return };
        let tx = active.tx.iter().map(|queue| queue.completions);
        let rx = active.rx.iter().map(|queue| queue.completions);
        let rings: Vec<_> = tx.enumerate().map(|(at, ring)| (false, at, ring)).collect();
        let rings =
            rings.into_iter().chain(rx.enumerate().map(|(at, ring)| (true, at, ring))).collect::<Vec<_>>();
        let told = u32::try_from(change.told).unwrap_or(u32::MAX);
        for (is_rx, queue, ring) in rings {
            let Some(offset) = addr.checked_sub(ring.base).filter(|at| *at < u64::from(ring.entries) * 16)
            else {
                continue;
            };
            let is_unwritten = offset / 16 >= u64::from(ring.next);
            let is_last = (offset / 16 + 1) % u64::from(ring.entries) == u64::from(ring.next);
            // What comes behind it is then about other buffers than those that were meant.
            if offset % 16 == 0 && !change.is_repeated && !is_last {
                return self.lose_track();
            }
            let word0 = match offset % 16 {
                0 if !change.is_repeated => told,
                // An old entry that looks new.
                12 if is_unwritten && (told >> 31 != 0) == ring.generation => self.get32(addr - 12),
                _ => return,
            };
            if is_rx { self.release_rx(queue, word0) } else { self.release_tx(queue, word0 & 0xfff) }
        }
    }
}
