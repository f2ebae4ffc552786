//! Everything that a running device reaches: allocated, described, given back.

use alloc::vec::Vec;
use core::cell::Cell;
use core::mem::offset_of;

use log::warn;
use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DmaBox, DmaError, DmaErrorReason, Quiet};
use paravane_net::{BURST_FRAMES, FramePool};
use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

use crate::change;
use crate::config::Config;
use crate::data_ring::{Copies, DataRing, TX_SLOT_BYTES};
use crate::desc::{BufferKind, RingIds, RxGeometry};
use crate::filter;
use crate::intr::Vectors;
use crate::pairs::{self, Pair, RxQueues};
use crate::plan::Plan;
use crate::regs::{MaskMode, bar0};
use crate::revision::Features;
use crate::rx::{RxQueue, RxSetup};
use crate::shared::{
    ADAPTIVE, DISABLE_ALL, DRIVER_VERSION, GUEST_OS, MAGIC, RSS_CONF_BYTES, RssConf, RxQueueDesc, Shared,
    TxQueueDesc,
};
use crate::table::QueueTable;
use crate::tx::{TxQueue, TxSetup};

/// Everything that a running device reaches.
pub(crate) struct Memory<P: Platform> {
    pub(crate) shared: DmaBox<Shared, P>,
    pub(crate) table: QueueTable<P>,
    pub(crate) rx: RxQueues<P>,
    /// The first transmit queue; the others are their pairs'.
    pub(crate) tx: TxQueue<P>,
}

/// Where data rings come from. A queue works without.
struct DataRings<'m, P: Platform> {
    of: &'m DeviceDma<P>,
    /// That there was no memory for one was said.
    is_short: Cell<bool>,
}

impl<P: Platform> DataRings<'_, P> {
    /// One, if it is wanted and there is memory for it.
    fn one(&self, entries: u16, slot_bytes: u16) -> Option<DataRing<P>> {
        if slot_bytes == 0 {
            return None;
        }
        let ring = DataRing::new(self.of, entries, slot_bytes);
        if let Err(error) = &ring
            && !self.is_short.replace(true)
        {
            warn!("vmxnet3: goes on without data rings: {error}");
        }
        ring.ok()
    }
}

/// There is no memory for so many.
fn too_many(count: u16) -> DmaError {
    DmaError::new(count.into(), DmaErrorReason::OutOfMemory)
}

impl<P: Platform> Memory<P> {
    /// Allocates it, for a device whose doorbells are in `bar0`.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(
        of: &DeviceDma<P>,
        bar0: &P::Region,
        plan: &Plan,
        vectors: &Vectors,
        pool: &FramePool,
    ) -> Result<Self, DmaError> {
        let counts = plan.queues;
        let table = QueueTable::new(of, counts)?;
        let rings = DataRings { of, is_short: Cell::new(false) };
        let (most_bytes, slot_bytes) = match plan.tx_copies {
            (0, _) => (0, 0),
            copies => copies,
        };
        let tx = |queue: u8| {
            // Fewer than there are doorbells.
            let doorbell = bar0::TXPROD.get(queue.into()).ok_or_else(|| too_many(queue.into()))?;
            TxQueue::new(
                of,
                TxSetup {
                    words: table.tx(queue),
                    bar0: bar0.clone(),
                    doorbell,
                    vector: vectors.vector(vectors.tx(queue)),
                    entries: plan.tx_entries,
                    limits: plan.tx_limits,
                    copies: rings.one(plan.tx_entries, slot_bytes).map(|ring| Copies { ring, most_bytes }),
                },
            )
        };
        let rx = |queue: u8| {
            let doorbells = [bar0::RXPROD, bar0::RXPROD2].map(|of| of.get(queue.into()));
            let [Some(first), Some(second)] = doorbells else { return Err(too_many(queue.into())) };
            RxQueue::new(
                of,
                RxSetup {
                    words: table.rx(queue),
                    bar0: bar0.clone(),
                    doorbells: [first, second],
                    vector: vectors.vector(vectors.rx(queue)),
                    pool: pool.clone(),
                    geometry: RxGeometry { ids: RingIds::of(queue, counts.rx), ..plan.geometry },
                    data: rings.one(plan.geometry.entries[0], plan.rx_slot_bytes),
                    completion_entries: plan.rx_completion_entries,
                    max_buffers: plan.max_rx_buffers,
                    large: plan.large,
                    queues: counts.rx.into(),
                    tunnels: plan.tunnels,
                },
            )
        };
        let mut others = Vec::new();
        others.try_reserve_exact(counts.rx.into()).map_err(|_| too_many(counts.rx.into()))?;
        for queue in 1..counts.rx {
            let tx = if queue < counts.tx { Some(tx(queue)?) } else { None };
            others.push(Pair { rx: rx(queue)?, tx });
        }
        let (rx, tx) = (RxQueues::new(rx(0)?, others), tx(0)?);
        Ok(Self { shared: DmaBox::zeroed(of, Align::new(512))?, table, rx, tx })
    }

    /// Gives everything back, against proof. False when some had to be leaked.
    #[must_use = "false means a leak"]
    pub(crate) fn release(self, quiet: &Quiet<'_>) -> bool {
        let Self { shared, table, rx, tx } = self;
        let queues = [pairs::release(rx, quiet), tx.release(quiet)];
        // After the queues, which had handles to the table.
        let rest = [table.free(quiet), shared.free(quiet).is_ok()];
        queues == [true; 2] && rest == [true; 2]
    }

    /// Posts buffers for the first time: each queue gets its share of what the pool can spare, and
    /// each of its rings half of that, or what the other does not take. False when there is a queue
    /// whose rings cannot receive a frame.
    pub(crate) fn fill(&mut self, pool: &FramePool) -> bool {
        let queues = usize::from(self.table.counts().rx);
        // Not in rings: a burst for each queue, which each may have in stock, or half of all.
        let free = pool.free();
        let left = free.saturating_sub(BURST_FRAMES.saturating_mul(queues)).max(free / 2);
        let has_bodies = self.rx.queues_mut().any(|rx| rx.has_bodies());
        let (heads, all) = self.share(BufferKind::Head, if has_bodies { left.div_ceil(2) } else { left });
        let (bodies, all_bodies) = self.share(BufferKind::Body, left.saturating_sub(heads));
        self.share(BufferKind::Head, left.saturating_sub(heads).saturating_sub(bodies));
        all && (all_bodies || !has_bodies)
    }

    /// Posts up to `left` buffers of `kind`, as many in each queue. How many, and whether each got
    /// some.
    #[inline(never)]
    fn share(&mut self, kind: BufferKind, left: usize) -> (usize, bool) {
        let queues = usize::from(self.table.counts().rx);
        (1..=queues).rev().zip(self.rx.queues_mut()).fold((0, true), |(posted, all), (queues, rx)| {
            let share = left.saturating_sub(posted).checked_div(queues).unwrap_or(0);
            let more = rx.fill(kind, share);
            (posted.saturating_add(more), all && more > 0)
        })
    }

    /// Writes down for the device what it is to work with.
    pub(crate) fn describe(&mut self, config: &Config, plan: &Plan, vectors: &Vectors, mask_mode: MaskMode) {
        self.describe_queues(plan, vectors);
        let counts = plan.queues;
        let at = self.shared.dma_addr().get();
        let place = |offset: usize| U64::new(at.wrapping_add(offset as u64));
        let settings = &config.settings;
        let mut all = Shared::new_zeroed();
        let shared = &mut all.driver;
        shared.magic = U32::new(MAGIC);
        shared.misc.driver_version = U32::new(DRIVER_VERSION);
        shared.misc.gos = U32::new(GUEST_OS);
        shared.misc.vmxnet3_rev_spt = U32::new(1);
        shared.misc.upt_ver_spt = U32::new(1);
        shared.misc.upt_features = change::upt_features(config, settings);
        shared.misc.queue_desc_pa = U64::new(self.table.dma_addr());
        shared.misc.queue_desc_len = U32::new(self.table.len_bytes());
        shared.misc.mtu = U32::new(plan.ip_mtu_bytes.into());
        shared.misc.max_num_rx_sg = U16::new(plan.max_rx_buffers);
        shared.misc.num_tx_queues = counts.tx;
        shared.misc.num_rx_queues = counts.rx;
        let auto_mask = u8::from(mask_mode == MaskMode::Auto);
        if counts.are_extended() {
            shared.intr_conf_ext.auto_mask = auto_mask;
            shared.intr_conf_ext.num_intrs = vectors.count;
            shared.intr_conf_ext.event_intr_idx = vectors.events();
            shared.intr_conf_ext.mod_levels = [ADAPTIVE; 65];
        } else {
            shared.intr_conf.auto_mask = auto_mask;
            shared.intr_conf.num_intrs = vectors.count;
            shared.intr_conf.event_intr_idx = vectors.events();
            shared.intr_conf.mod_levels = [ADAPTIVE; 25];
        }
        shared.intr_conf.intr_ctrl = U32::new(DISABLE_ALL);
        shared.intr_conf_ext.intr_ctrl = U32::new(DISABLE_ALL);
        // `rxMode` stays 0 until the device runs; what it goes by is there.
        let (groups, len_bytes) = filter::groups(&settings.multicast);
        shared.rx_filter_conf.mf_table_len = U16::new(len_bytes);
        shared.rx_filter_conf.mf_table_pa = place(offset_of!(Shared, groups));
        shared.rx_filter_conf.vf_table = filter::vlans(settings);
        if let Some(rss) = &settings.rss {
            shared.rss_conf.conf_ver = U32::new(1);
            shared.rss_conf.conf_len = U32::new(RSS_CONF_BYTES);
            shared.rss_conf.conf_pa = place(offset_of!(Shared, rss));
            all.rss = RssConf::from(rss);
        }
        all.groups = groups;
        self.shared.write(&all);
    }

    fn describe_queues(&self, plan: &Plan, vectors: &Vectors) {
        for (queue, tx) in (0..).zip(pairs::tx_queues(&self.rx, &self.tx)) {
            let rings = tx.rings();
            let mut desc = TxQueueDesc::new_zeroed();
            desc.tx_ring_base_pa = U64::new(rings.ring);
            desc.comp_ring_base_pa = U64::new(rings.completions);
            desc.tx_ring_size = U32::new(plan.tx_entries.into());
            desc.comp_ring_size = U32::new(plan.tx_entries.into());
            desc.intr_idx = vectors.tx(queue);
            let (data, slot_bytes) = rings.data;
            if slot_bytes > 0 {
                desc.data_ring_base_pa = U64::new(data);
                desc.data_ring_size = U32::new(plan.tx_entries.into());
            }
            if plan.features.contains(Features::DATA_RINGS) {
                // Never less, as all known drivers have it, whether there is a ring or not.
                desc.tx_data_ring_desc_size = U16::new(slot_bytes.max(TX_SLOT_BYTES));
            }
            self.table.describe_tx(queue, &desc);
        }
        for (queue, rx) in (0..).zip(pairs::rx_queues(&self.rx)) {
            let rings = rx.rings();
            let mut desc = RxQueueDesc::new_zeroed();
            desc.rx_ring_base_pa = rings.rings.map(U64::new);
            desc.comp_ring_base_pa = U64::new(rings.completions);
            desc.rx_ring_size = plan.geometry.entries.map(|entries| U32::new(entries.into()));
            desc.comp_ring_size = U32::new(plan.rx_completion_entries.into());
            desc.intr_idx = vectors.rx(queue);
            let (data, slot_bytes) = rings.data;
            desc.rx_data_ring_base_pa = U64::new(data);
            desc.rx_data_ring_desc_size = U16::new(slot_bytes);
            self.table.describe_rx(queue, &desc);
        }
    }
}
