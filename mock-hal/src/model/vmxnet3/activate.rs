//! Activation: the device reads its whole configuration. Every reason to refuse that the driver
//! should have seen itself is written down.

use std::collections::VecDeque;

use super::Vmxnet3;
use super::coalesce::Pace;
use super::filter::Filter;
use super::layout::{queue_desc, shared, upt};
use super::queue::{Ring, RxQueue, RxRing, TxQueue};
use super::revision::Revision;
use super::rss::{DEFAULT_FIELDS, Rss};
use super::settings::{MAX_MODERATION, Settings};
use super::stats::Counters;

/// What activation made.
#[derive(Debug)]
pub(super) struct Active {
    /// Where `DriverShared` is.
    pub(super) shared: u64,
    /// Where `intrCtrl` is.
    pub(super) intr_ctrl: u64,
    pub(super) tx: Vec<TxQueue>,
    pub(super) rx: Vec<RxQueue>,
    pub(super) event_vector: u8,
    pub(super) auto_mask: bool,
    /// `numIntrs`.
    pub(super) vectors_in_use: u8,
    /// `modLevels`, of the vectors in use.
    pub(super) moderation: Vec<u8>,
    /// What commands told.
    pub(super) settings: Settings,
    /// Interrupts that wait for more.
    pub(super) pace: Pace,
    pub(super) max_rx_buffers: u16,
    pub(super) mtu: u32,
    pub(super) filter: Filter,
    /// `uptFeatures`.
    pub(super) features: u64,
    /// How frames are spread, if the driver asked for that and the device does so.
    pub(super) rss: Option<Rss>,
    /// What `GET_RSS_FIELDS` tells.
    pub(super) rss_fields: u32,
    /// Holds what it was given by name. Not any more after a lie that lets the driver use what the
    /// device still has.
    pub(super) keeps_leases: bool,
}

/// Vectors that the first place for the interrupt configuration has room for.
const CLASSIC_VECTORS: u8 = 25;

fn in_place(ring: &Ring) -> bool {
    ring.base != 0 && ring.base.is_multiple_of(512)
}

fn legal(ring: &Ring) -> bool {
    in_place(ring) && (32..=4096).contains(&ring.entries) && ring.entries.is_multiple_of(32)
}

/// Whether a device with so many queues reads the interrupt configuration from its second place.
pub(super) fn is_extended(tx_queues: usize, rx_queues: usize) -> bool {
    tx_queues > 8 || rx_queues > 16
}

fn legal_count(count: u8, most: u8, any_number: bool) -> bool {
    (1..=most).contains(&count) && (any_number || count.is_power_of_two())
}

impl Vmxnet3 {
    /// `ACTIVATE_DEV`. Whether it runs now.
    pub(super) fn activate(&mut self) -> bool {
        if self.active.is_some() {
            self.broken("activated twice");
            return true;
        }
        let at = self.shared;
        if self.refuse_activation || self.get32(at + shared::MAGIC) != shared::MAGIC_VALUE {
            return false;
        }
        let Some(revision) = self.revision() else {
            self.broken(format!("at activation: {:#x} chosen of the revisions", self.chosen_revision));
            return false;
        };
        let mut active = self.read_active(at);
        let mut failed = self.failed_checks(&active, &revision);
        if self.personality.spreads && active.features & upt::RSS != 0 {
            match self.read_rss(at, active.rx.len()) {
                Ok(rss) => active.rss = Some(rss),
                Err(what) => failed.push(what),
            }
        }
        for what in &failed {
            self.broken(format!("at activation: {what}"));
        }
        if !failed.is_empty() {
            return false;
        }
        for queue in &active.tx {
            self.put32(queue.desc + queue_desc::TX_THRESHOLD, self.personality.tx_threshold);
        }
        for queue in &active.rx {
            self.put(queue.desc + queue_desc::UPDATE_RX_PROD, &[self.personality.update_rx_prod.into()]);
        }
        if self.personality.restores_mac {
            self.mac = self.permanent_mac;
        }
        if !self.personality.activates_filters {
            active.filter = Filter::closed();
        }
        self.active = Some(active);
        true
    }

    fn read_active(&mut self, at: u64) -> Active {
        let table = self.get64(at + shared::QUEUE_DESC_PA);
        let tx_queues = self.get8(at + shared::NUM_TX_QUEUES);
        let rx_queues = self.get8(at + shared::NUM_RX_QUEUES);
        let rx_table = table + u64::from(tx_queues) * queue_desc::BYTES;
        let desc = |table: u64, queue: u8| table + u64::from(queue) * queue_desc::BYTES;
        let is_extended = is_extended(tx_queues.into(), rx_queues.into());
        let intr_conf = at + if is_extended { shared::AUTO_MASK_EXT } else { shared::AUTO_MASK };
        let intr_ctrl = at + if is_extended { shared::INTR_CTRL_EXT } else { shared::INTR_CTRL };
        let [auto_mask, vectors_in_use, event_vector] = self.get(intr_conf).unwrap_or([0; 3]);
        Active {
            shared: at,
            intr_ctrl,
            tx: (0..tx_queues).map(|queue| self.read_tx(desc(table, queue))).collect(),
            rx: (0..rx_queues).map(|queue| self.read_rx(desc(rx_table, queue))).collect(),
            event_vector,
            auto_mask: auto_mask != 0,
            vectors_in_use,
            moderation: self.read_moderation(at, vectors_in_use, is_extended),
            settings: Settings::default(),
            pace: Pace::default(),
            max_rx_buffers: self.get16(at + shared::MAX_NUM_RX_SG),
            mtu: self.get32(at + shared::MTU),
            filter: self.read_filter(at),
            features: self.get64(at + shared::UPT_FEATURES),
            rss: None,
            rss_fields: DEFAULT_FIELDS,
            keeps_leases: true,
        }
    }

    fn read_ring(&mut self, base: u64, size: u64) -> Ring {
        Ring::new(self.get64(base), self.get32(size))
    }

    fn read_tx(&mut self, desc: u64) -> TxQueue {
        TxQueue {
            desc,
            ring: self.read_ring(desc + queue_desc::RING_BASE_PA, desc + queue_desc::RING_SIZE),
            completions: self
                .read_ring(desc + queue_desc::COMP_RING_BASE_PA, desc + queue_desc::COMP_RING_SIZE),
            data: self.read_tx_data(desc),
            vector: self.get8(desc + queue_desc::INTR_IDX),
            stopped: None,
            held: VecDeque::new(),
            deferred: Some(0),
            late: None,
            counters: Counters::default(),
        }
    }

    fn read_rx(&mut self, desc: u64) -> RxQueue {
        let first = self.read_ring(desc + queue_desc::RING_BASE_PA, desc + queue_desc::RING_SIZE);
        let second = self.read_ring(desc + queue_desc::RING2_BASE_PA, desc + queue_desc::RING2_SIZE);
        RxQueue {
            desc,
            rings: [first, second].map(RxRing::new),
            completions: self
                .read_ring(desc + queue_desc::COMP_RING_BASE_PA, desc + queue_desc::COMP_RING_SIZE),
            data: self.read_rx_data(desc),
            vector: self.get8(desc + queue_desc::INTR_IDX),
            stopped: None,
            late: None,
            counters: Counters::default(),
        }
    }

    fn failed_checks(&mut self, active: &Active, revision: &Revision) -> Vec<&'static str> {
        let Revision { number, any_number, max_mtu, vectors, .. } = *revision;
        let [tx_queues, rx_queues] = self.personality.max_queues(revision);
        let at = active.shared;
        let table = self.get64(at + shared::QUEUE_DESC_PA);
        let queues = active.tx.len() + active.rx.len();
        let [tx_count, rx_count] =
            [shared::NUM_TX_QUEUES, shared::NUM_RX_QUEUES].map(|of| self.get8(at + of));
        let vectors = if is_extended(active.tx.len(), active.rx.len()) {
            vectors
        } else {
            vectors.min(CLASSIC_VECTORS)
        };
        let in_use = active.vectors_in_use;
        let tx_slot_bytes = self.tx_slot_bytes();
        let masks_by_itself = self.personality.conf_intr >> 2 & 0b11 == 0;
        let mut indices = (active.tx.iter().map(|queue| queue.vector))
            .chain(active.rx.iter().map(|queue| queue.vector))
            .chain([active.event_vector]);
        let command_rings = active
            .tx
            .iter()
            .map(|queue| &queue.ring)
            .chain(active.rx.iter().flat_map(|queue| queue.rings.iter().map(|ring| &ring.ring)));
        let completion_rings = (active.tx.iter().map(|queue| &queue.completions))
            .chain(active.rx.iter().map(|queue| &queue.completions));
        let checks = [
            ("numTxQueues", legal_count(tx_count, tx_queues, any_number)),
            ("numRxQueues", legal_count(rx_count, rx_queues, any_number)),
            ("revisions in DriverShared are 1", self.get64(at + shared::REV_SPT) == 1 << 32 | 1),
            ("not a Windows guest", self.get32(at + shared::GOS) >> 2 & 0xf == 1),
            ("uptFeatures has what the revision knows", active.features & !revision.features() == 0),
            ("queueDescPA is at 128 bytes", table.is_multiple_of(128)),
            (
                "queueDescLen",
                u64::from(self.get32(at + shared::QUEUE_DESC_LEN)) == queues as u64 * queue_desc::BYTES,
            ),
            ("mtu", (60..=max_mtu).contains(&active.mtu)),
            ("maxNumRxSG is set", active.max_rx_buffers > 0),
            ("rings are at 512 bytes and have 32 to 4096 entries in steps of 32", {
                let mut rings = command_rings.clone();
                rings.all(legal)
            }),
            ("completion rings are at 512 bytes", {
                let mut rings = completion_rings;
                rings.all(in_place)
            }),
            ("the lengths of rings are powers of two from revision 7 on", {
                let mut rings = command_rings;
                number < 7 || rings.all(|ring| ring.entries.is_power_of_two())
            }),
            (
                "the transmit completion ring is as long",
                active.tx.iter().all(|queue| queue.completions.entries == queue.ring.entries),
            ),
            (
                "the receive completion ring takes both rings",
                active.rx.iter().all(|queue| {
                    let [first, second] = &queue.rings;
                    let all = first.ring.entries.saturating_add(second.ring.entries);
                    (all..=8192).contains(&queue.completions.entries)
                }),
            ),
            (
                "transmit data rings: a slot for each descriptor, as long as the device says",
                active.tx.iter().all(|queue| queue.data.is_legal_tx(&queue.ring, tx_slot_bytes)),
            ),
            (
                "receive data rings: from revision 3 on, slots of up to 2048 bytes in steps of 64",
                active.rx.iter().all(|queue| queue.data.is_legal_rx(&queue.rings[0].ring, number >= 3)),
            ),
            ("numIntrs", (1..=vectors).contains(&in_use)),
            ("autoMask is what GET_CONF_INTR asks for", active.auto_mask == masks_by_itself),
            ("modLevels are 0 to 8", active.moderation.iter().all(|level| *level <= MAX_MODERATION)),
            ("vectors are below numIntrs", indices.all(|index| index < in_use)),
            ("interrupts are disabled", self.get32(active.intr_ctrl) & shared::DISABLE_ALL != 0),
            ("untagged frames pass the VLAN filter", active.filter.vlans[0] & 1 == 1),
        ];
        checks.iter().filter(|(_, holds)| !holds).map(|(what, _)| *what).collect()
    }
}
