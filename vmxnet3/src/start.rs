//! From a stopped device to a running one: check, allocate, describe, activate.
//!
//! Whatever fails, the device is shut down again before its memory is freed, and handed back.

use alloc::boxed::Box;

use log::{info, warn};
use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DmaBox, DmaError, Quiet};
use paravane_hal::field;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::{Failed, Platform};
use paravane_net::{FramePool, NicInfo, Offloads};
use paravane_pci::{Command as PciCommand, ConfigAccess};
use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

use crate::config::{Config, Plan};
use crate::control::VmxControl;
use crate::device::{Device, shut_down};
use crate::error::{ShutDownError, StartError};
use crate::event;
use crate::filter::{EVERY_VLAN, RxMode};
use crate::intr::{MAX_VECTORS, Vectors};
use crate::offload::{MAX_SEGMENTS, MAX_TSO_SEGMENTS};
use crate::regs::{Command, MaskMode, Query, bar0};
use crate::running::Running;
use crate::rx::{RxQueue, RxSetup};
use crate::shared::{
    ADAPTIVE, DISABLE_ALL, DRIVER_VERSION, DriverShared, FEATURE_RXCSUM, FEATURE_RXVLAN, GUEST_OS, MAGIC,
    RxQueueDesc, TxQueueDesc,
};
use crate::table::{QueueTable, TABLE_BYTES};
use crate::tx::{TxQueue, TxSetup};

/// How many address bits the device drives.
const ADDRESS_BITS: u8 = 64;

/// Everything that a running device reaches.
pub(crate) struct Memory<P: Platform> {
    pub(crate) shared: DmaBox<DriverShared, P>,
    pub(crate) table: QueueTable<P>,
    pub(crate) rx: RxQueue<P>,
    pub(crate) tx: TxQueue<P>,
}

/// What a start came to.
struct Started<P: Platform> {
    memory: Memory<P>,
    plan: Plan,
    vectors: Vectors,
    /// The device's answer.
    link: u32,
}

impl<P: Platform> Memory<P> {
    fn new<C: ConfigAccess>(
        device: &Device<P, C>,
        plan: &Plan,
        vectors: &Vectors,
        pool: FramePool,
    ) -> Result<Self, StartError> {
        let of = DeviceDma::new(device.platform.clone(), device.function.tag(), ADDRESS_BITS);
        let table = QueueTable::new(&of)?;
        let tx = TxQueue::new(
            &of,
            TxSetup {
                table: table.clone(),
                bar0: device.bar0.clone(),
                doorbell: bar0::TXPROD,
                vector: vectors.vector(vectors.tx),
                entries: plan.tx_entries,
                limits: plan.tx_limits,
            },
        )?;
        let rx = RxQueue::new(
            &of,
            RxSetup {
                table: table.clone(),
                bar0: device.bar0.clone(),
                doorbells: [bar0::RXPROD, bar0::RXPROD2],
                vector: vectors.vector(vectors.rx),
                pool,
                geometry: plan.geometry,
                completion_entries: plan.rx_completion_entries,
                max_buffers: plan.max_rx_buffers,
            },
        )?;
        Ok(Self { shared: DmaBox::zeroed(&of, Align::new(512))?, table, rx, tx })
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
    fn describe(&mut self, config: &Config, plan: &Plan, vectors: &Vectors, mask_mode: MaskMode) {
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

impl<P: Platform, C: ConfigAccess> Device<P, C> {
    /// Starts the device with `config`. Receive buffers come from `pool`, now and while it runs.
    ///
    /// Queues and control start disarmed: nothing interrupts before one of them was armed.
    ///
    /// # Errors
    ///
    /// [`StartError`], and the device back, stopped, to be started in another way.
    #[expect(clippy::result_large_err, reason = "the device comes back by move; this is called once a start")]
    pub fn start(
        mut self,
        config: &Config,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, C>, Failed<StartError, Self>> {
        match self.try_start(config, pool, interrupts) {
            Ok(Started { memory, plan, vectors, link }) => {
                let info = NicInfo {
                    driver: "vmxnet3",
                    mac: plan.mac,
                    ip_mtu_bytes: plan.ip_mtu_bytes,
                    max_frame_bytes: plan.max_frame_bytes,
                    offloads: Offloads::all(),
                    max_segments: MAX_SEGMENTS,
                    max_cut_segments: MAX_TSO_SEGMENTS,
                    rx_slots: config.rx_entries,
                    tx_slots: plan.tx_entries,
                };
                let link = event::link(link);
                info!(
                    "vmxnet3 {}: started: {}, MTU {}, {} receive and {} transmit slots, {}, link {link}",
                    self.function.address(),
                    info.mac,
                    info.ip_mtu_bytes,
                    info.rx_slots,
                    info.tx_slots,
                    vectors.mode
                );
                let Memory { shared, table, rx, tx } = memory;
                let control = VmxControl::new(self, shared, table, vectors, info, link);
                Ok(Running { control, rx, tx })
            }
            Err(error) => {
                warn!("vmxnet3 {}: {error}", self.function.address());
                Err(Failed::new(error, self))
            }
        }
    }

    fn try_start(
        &mut self,
        config: &Config,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<Started<P>, StartError> {
        let (theirs, ours) = (pool.domain(), self.platform.domain());
        if theirs != ours {
            return Err(StartError::ForeignPool { pool: theirs, device: ours });
        }
        let plan = config.check(self.mac, &pool)?;
        self.settle().map_err(StartError::NotStopped)?;
        let Self { interrupts: ways, function, .. } = self;
        let vectors = Vectors::spread(ways.switch_on(function, interrupts.with_at_most(MAX_VECTORS)));
        let outcome = match Memory::new(self, &plan, &vectors, pool) {
            Ok(mut memory) => match self.activate(config, &plan, &vectors, &mut memory) {
                Ok(link) => return Ok(Started { memory, plan, vectors, link }),
                Err(error) => self.give_up(error, memory),
            },
            Err(error) => error,
        };
        self.interrupts.switch_off(&mut self.function);
        Err(outcome)
    }

    /// Shows the device its memory and starts it. The link, as it answers.
    fn activate(
        &mut self,
        config: &Config,
        plan: &Plan,
        vectors: &Vectors,
        memory: &mut Memory<P>,
    ) -> Result<u32, StartError> {
        if memory.rx.fill() == 0 {
            return Err(StartError::PoolEmpty);
        }
        memory.describe(config, plan, vectors, self.mask_mode);
        let regs = &mut self.regs;
        // Harmless when it still holds, needed if the reset of a stop took it back.
        regs.choose(self.revision.bit());
        regs.set_shared(memory.shared.dma_addr().get());
        // Only now: until here the device had nothing valid to write to.
        self.function.enable(PciCommand::BUS_MASTER).map_err(StartError::Command)?;
        match regs.run(Command::ActivateDev)? {
            0 => {}
            code => return Err(StartError::Refused { code }),
        }
        memory.rx.announce();
        // After activation, for that brings the permanent address back on QEMU.
        regs.set_mac(plan.mac);
        memory
            .shared
            .set(field!(DriverShared, rx_filter_conf.rx_mode), RxMode::from(config.filter).bits().into());
        regs.tell(Command::UpdateRxMode);
        regs.tell(Command::UpdateVlanFilters);
        regs.tell(Command::UpdateMacFilters);
        let link = regs.ask(Query::Link)?;
        if vectors.mode != InterruptMode::Polling {
            memory.shared.set(field!(DriverShared, intr_conf.intr_ctrl), U32::ZERO);
        }
        Ok(link)
    }

    /// Takes memory back from a device that did not start.
    fn give_up(&mut self, error: StartError, memory: Memory<P>) -> StartError {
        self.kept = Some(Box::new(memory));
        match self.settle() {
            Ok(()) => error,
            Err(not_stopped) => {
                // The one that is given back says what is to be done; this is why.
                warn!("vmxnet3 {}: {error}", self.function.address());
                StartError::NotStopped(not_stopped)
            }
        }
    }

    /// Stops a device that did not stop when its start failed, and takes back what it kept.
    fn settle(&mut self) -> Result<(), ShutDownError> {
        if self.kept.is_none() {
            return Ok(());
        }
        let quiet = shut_down(&mut self.function, &mut self.regs, &self.platform)?;
        let freed = self.kept.take().is_none_or(|memory| memory.release(&quiet));
        debug_assert!(freed, "the proof is about this device, and nobody else has handles");
        Ok(())
    }
}

impl From<DmaError> for StartError {
    fn from(error: DmaError) -> Self {
        Self::Memory(error)
    }
}
