//! Another host behind a device that runs.

use super::layout::queue_desc;
use super::{Personality, Vmxnet3, capability};

impl Vmxnet3 {
    /// Puts `personality` behind the device, running or not, and tells of it (`DIC`): as a move to
    /// another host does, or between emulation and hardware that is passed through.
    ///
    /// Its words for the driver (`txThreshold`, `updateRxProd`) are written anew, and of what was
    /// granted stays what the new one has; the permanent address is back where activation brings it
    /// back. It has the buffers that were posted, told or not. Where
    /// it does not offer the agreed revision, the driver has to agree on another one.
    pub fn move_to(&mut self, personality: Personality) {
        let queues = self.active.as_ref().map_or(0, |active| active.rx.len());
        for (queue, ring) in (0..queues).flat_map(|queue| [(queue, 0), (queue, 1)]) {
            self.hear(queue, ring);
        }
        self.personality = personality;
        self.granted &= self.available();
        // As its activation does.
        if personality.restores_mac {
            self.mac = self.permanent_mac;
        }
        let fields = self.grantable_fields();
        let Some(active) = &mut self.active else { return };
        active.rss_fields &= fields;
        let thresholds: Vec<_> = active.tx.iter().map(|queue| queue.desc).collect();
        let wishes: Vec<_> = active.rx.iter().map(|queue| queue.desc).collect();
        for desc in thresholds {
            self.put32(desc + queue_desc::TX_THRESHOLD, personality.tx_threshold);
        }
        for desc in wishes {
            self.put(desc + queue_desc::UPDATE_RX_PROD, &[personality.update_rx_prod.into()]);
        }
        self.device_changed();
    }

    /// Capabilities that a driver may have.
    pub(super) fn available(&self) -> u32 {
        let passed_through = match self.personality.pass_through {
            hardware if hardware & capability::NOT_APPLICABLE != 0 => u32::MAX,
            hardware => hardware,
        };
        // Buffers are completed in order, whatever is asked for.
        self.personality.capabilities & passed_through & !capability::OUT_OF_ORDER
    }

    /// Takes what was posted to a ring, whether a doorbell told of it or not.
    fn hear(&mut self, queue: usize, ring: usize) {
        let wants_doorbells = std::mem::replace(&mut self.personality.update_rx_prod, false);
        self.fetch(queue, ring);
        self.personality.update_rx_prod = wants_doorbells;
        if let Some(queue) = self.rx(queue) {
            let ring = &mut queue.rings[ring];
            ring.told = Some(ring.ring.next);
        }
    }
}
