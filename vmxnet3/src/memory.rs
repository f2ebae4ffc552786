//! Everything that a running device reaches: allocated, described, given back.

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DmaBox, DmaError, Quiet};
use paravane_net::FramePool;
use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

use crate::config::{Config, Plan};
use crate::filter::EVERY_VLAN;
use crate::intr::Vectors;
use crate::regs::{MaskMode, bar0};
use crate::rx::{RxQueue, RxSetup};
use crate::shared::{
    ADAPTIVE, DISABLE_ALL, DRIVER_VERSION, DriverShared, FEATURE_RXCSUM, FEATURE_RXVLAN, GUEST_OS, MAGIC,
    RxQueueDesc, TxQueueDesc,
};
use crate::table::{QueueTable, TABLE_BYTES};
use crate::tx::{TxQueue, TxSetup};

/// Everything that a running device reaches.
pub(crate) struct Memory<P: Platform> {
    pub(crate) shared: DmaBox<DriverShared, P>,
    pub(crate) table: QueueTable<P>,
    pub(crate) rx: RxQueue<P>,
    pub(crate) tx: TxQueue<P>,
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
        pool: FramePool,
    ) -> Result<Self, DmaError> {
        let table = QueueTable::new(of)?;
        let tx = TxQueue::new(
            of,
            TxSetup {
                table: table.clone(),
                bar0: bar0.clone(),
                doorbell: bar0::TXPROD,
                vector: vectors.vector(vectors.tx),
                entries: plan.tx_entries,
                limits: plan.tx_limits,
            },
        )?;
        let rx = RxQueue::new(
            of,
            RxSetup {
                table: table.clone(),
                bar0: bar0.clone(),
                doorbells: [bar0::RXPROD, bar0::RXPROD2],
                vector: vectors.vector(vectors.rx),
                pool,
                geometry: plan.geometry,
                completion_entries: plan.rx_completion_entries,
                max_buffers: plan.max_rx_buffers,
            },
        )?;
        Ok(Self { shared: DmaBox::zeroed(of, Align::new(512))?, table, rx, tx })
    }

    /// Gives everything back, against proof. False when some had to be leaked.
    #[must_use = "false means a leak"]
    pub(crate) fn release(self, quiet: &Quiet<'_>) -> bool {
        let Self { shared, table, rx, tx } = self;
        let queues = [rx.release(quiet), tx.release(quiet)];
        // After the queues, which had handles to the table.
        let rest = [table.free(quiet), shared.free(quiet).is_ok()];
        queues == [true; 2] && rest == [true; 2]
    }

    /// Writes down for the device what it is to work with.
    pub(crate) fn describe(&mut self, config: &Config, plan: &Plan, vectors: &Vectors, mask_mode: MaskMode) {
        let [rx_entries, rx2_entries] = plan.geometry.entries;
        let (tx_rings, rx_rings) = (self.tx.rings(), self.rx.rings());
        let mut tx = TxQueueDesc::new_zeroed();
        tx.tx_ring_base_pa = U64::new(tx_rings.ring);
        tx.comp_ring_base_pa = U64::new(tx_rings.completions);
        tx.tx_ring_size = U32::new(plan.tx_entries.into());
        tx.comp_ring_size = U32::new(plan.tx_entries.into());
        tx.intr_idx = vectors.tx;
        let mut rx = RxQueueDesc::new_zeroed();
        rx.rx_ring_base_pa = rx_rings.rings.map(U64::new);
        rx.comp_ring_base_pa = U64::new(rx_rings.completions);
        rx.rx_ring_size = [U32::new(rx_entries.into()), U32::new(rx2_entries.into())];
        rx.comp_ring_size = U32::new(plan.rx_completion_entries.into());
        rx.intr_idx = vectors.rx;
        self.table.describe(&tx, &rx);

        let mut shared = DriverShared::new_zeroed();
        shared.magic = U32::new(MAGIC);
        shared.misc.driver_version = U32::new(DRIVER_VERSION);
        shared.misc.gos = U32::new(GUEST_OS);
        shared.misc.vmxnet3_rev_spt = U32::new(1);
        shared.misc.upt_ver_spt = U32::new(1);
        let rx_checksum = if config.rx_checksum { FEATURE_RXCSUM } else { 0 };
        let strip_vlan = if config.strip_vlan { FEATURE_RXVLAN } else { 0 };
        shared.misc.upt_features = U64::new(rx_checksum | strip_vlan);
        shared.misc.queue_desc_pa = U64::new(self.table.dma_addr());
        shared.misc.queue_desc_len = U32::new(TABLE_BYTES);
        shared.misc.mtu = U32::new(plan.ip_mtu_bytes.into());
        shared.misc.max_num_rx_sg = U16::new(plan.max_rx_buffers);
        shared.misc.num_tx_queues = 1;
        shared.misc.num_rx_queues = 1;
        shared.intr_conf.auto_mask = u8::from(mask_mode == MaskMode::Auto);
        shared.intr_conf.num_intrs = vectors.count;
        shared.intr_conf.event_intr_idx = vectors.events;
        shared.intr_conf.mod_levels = [ADAPTIVE; 25];
        shared.intr_conf.intr_ctrl = U32::new(DISABLE_ALL);
        // `rxMode` stays 0 until the device runs; its table comes with it.
        shared.rx_filter_conf.vf_table = EVERY_VLAN;
        self.shared.write(&shared);
    }
}
