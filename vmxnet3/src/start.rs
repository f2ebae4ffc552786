//! From a stopped device to a running one: check, allocate, describe, activate.
//!
//! Whatever fails, the device is shut down again before its memory is freed, and handed back.

use alloc::boxed::Box;

use log::{info, warn};
use paravane_hal::dma::{DeviceDma, DmaError};
use paravane_hal::field;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::{Failed, Platform};
use paravane_net::{Change, ChangeError, FramePool, Link, NicInfo, Offloads, RssKinds};
use paravane_pci::{Command as PciCommand, ConfigAccess};
use zerocopy::little_endian::U32;

use crate::capability::Capabilities;
use crate::change;
use crate::cmd_info;
use crate::coalesce;
use crate::config::{Config, LRO};
use crate::control::VmxControl;
use crate::data_ring;
use crate::device::{Device, shut_down};
use crate::error::{ShutDownError, StartError, StopError};
use crate::event;
use crate::filter::RxMode;
use crate::intr::Vectors;
use crate::memory::Memory;
use crate::offload::{MAX_SEGMENTS, MAX_TSO_SEGMENTS};
use crate::pairs::{self, RxQueues};
use crate::plan::Plan;
use crate::regs::{Command, Query};
use crate::revision::{Features, Revision};
use crate::rss;
use crate::rx::RxQueue;
use crate::shared::Shared;
use crate::table::QueueCounts;
use crate::tunnel::Tunnels;
use crate::tx::TxQueue;

/// How many address bits the device drives.
const ADDRESS_BITS: u8 = 64;
/// What every device does.
const OFFLOADS: Offloads =
    Offloads::CHECKSUM.union(Offloads::TSO4).union(Offloads::TSO6).union(Offloads::VLAN);

/// What a start came to.
struct Started<P: Platform> {
    memory: Memory<P>,
    /// As it was asked for, without what the buffers do not hold.
    config: Config,
    plan: Plan,
    vectors: Vectors,
    answers: Answers,
}

/// What a device that was activated answered.
pub(crate) struct Answers {
    pub(crate) link: Link,
    /// By what it spreads.
    pub(crate) spread_by: RssKinds,
    /// What it may be asked about frames in tunnels.
    pub(crate) tunnels: Tunnels,
    /// What it was told with `SET_RING_BUFFER_SIZE`, where it has that.
    pub(crate) buffer_sizes: Option<[u8; 16]>,
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
    ) -> Result<Running<P, C>, Failed<StartError, Self>>
    where
        C: Send,
    {
        match self.try_start(config, pool, interrupts) {
            Ok(Started { memory, config, plan, vectors, answers }) => {
                let [rx_entries, _] = plan.geometry.entries;
                let info = NicInfo {
                    driver: "vmxnet3",
                    mac: plan.mac,
                    ip_mtu_bytes: plan.ip_mtu_bytes,
                    max_frame_bytes: plan.max_frame_bytes,
                    offloads: OFFLOADS | answers.tunnels.offloads(),
                    filters: true,
                    max_segments: MAX_SEGMENTS,
                    max_cut_segments: MAX_TSO_SEGMENTS,
                    rx_slots: rx_entries.saturating_mul(plan.queues.rx.into()),
                    tx_slots: plan.tx_entries,
                };
                let link = answers.link;
                info!(
                    "vmxnet3 {}: started: revision {}, {}, MTU {}, {} receive and {} transmit slots, {} pair{} of queues, {}, link {link}",
                    self.function.address(),
                    self.revision,
                    info.mac,
                    info.ip_mtu_bytes,
                    info.rx_slots,
                    info.tx_slots,
                    plan.queues.rx,
                    if plan.queues.rx == 1 { "" } else { "s" },
                    vectors.mode
                );
                let Memory { shared, table, rx, tx } = memory;
                let control = VmxControl::new(self, shared, table, vectors, info, answers, &config);
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
        self.settle().map_err(StartError::NotStopped)?;
        // It may have moved since it was asked.
        self.offered = self.regs.read_revisions()?;
        let max_revision = config.max_revision;
        self.revision = Revision::agree(self.offered, max_revision)
            .ok_or(StartError::Revision { offered: self.offered, max_revision })?;
        let features = self.revision.features();
        let most = if features.contains(Features::MANY_QUEUES) {
            self.regs.choose(self.revision.bit());
            QueueCounts::from_max_queues_conf(self.regs.ask(Query::MaxQueuesConf)?)
        } else {
            QueueCounts::CLASSIC
        };
        let mut plan = config.check(features, most, self.mac, &pool)?;
        if config.lro && plan.large.is_none() {
            let address = self.function.address();
            warn!(
                "vmxnet3 {address}: no large packets: they need checksums verified, and more or longer buffers"
            );
        }
        let mut config = Config { lro: plan.large.is_some(), tunnels: plan.tunnels, ..*config };
        if !config.lro {
            // Or it would be asked for what it was just said not to have.
            config.settings.rx_offloads = config.settings.rx_offloads.map(|asked| asked.difference(LRO));
        }
        let config = &config;
        for change in config.settings.changes() {
            let checked = change::check(config, features, plan.queues.rx, &change);
            checked.map_err(|error| StartError::Setting { what: change.name(), error })?;
        }
        if config.tx_copy_bytes > 0 && plan.features.contains(Features::DATA_RINGS) {
            self.regs.choose(self.revision.bit());
            let slot_bytes = data_ring::answered_slot_bytes(self.regs.ask(Query::TxDataDescSize)?);
            plan.tx_copies = (config.tx_copy_bytes.min(slot_bytes), slot_bytes);
        }
        let Self { interrupts: ways, function, mask_mode, .. } = self;
        let offered = Vectors::used(interrupts, plan.queues, *mask_mode);
        let vectors = Vectors::spread(ways.switch_on(function, offered), plan.queues);
        let of = DeviceDma::new(self.platform.clone(), self.function.tag(), ADDRESS_BITS);
        let outcome = match Memory::new(&of, &self.bar0, &plan, &vectors, &pool) {
            Ok(mut memory) => match self.activate(config, &plan, &vectors, &pool, &mut memory) {
                Ok(answers) => return Ok(Started { memory, config: *config, plan, vectors, answers }),
                Err(error) => self.give_up(error, memory),
            },
            Err(error) => error.into(),
        };
        self.interrupts.switch_off(&mut self.function);
        Err(outcome)
    }

    /// Shows the device its memory and starts it. What it answers.
    fn activate(
        &mut self,
        config: &Config,
        plan: &Plan,
        vectors: &Vectors,
        pool: &FramePool,
        memory: &mut Memory<P>,
    ) -> Result<Answers, StartError> {
        if !memory.fill(pool) {
            return Err(StartError::PoolEmpty);
        }
        memory.describe(config, plan, vectors, self.mask_mode);
        let regs = &mut self.regs;
        // Once more, harmless when it still holds; or another one, now that nothing runs.
        regs.choose(self.revision.bit());
        let wanted = Capabilities::of(config.settings.rss.as_ref(), config.tunnels);
        let granted = wanted.ask_for(regs, plan.features)?;
        let tunnels = Tunnels::new(config.tunnels, plan.features, granted);
        pairs::allow(&mut memory.rx, &mut memory.tx, tunnels);
        regs.set_shared(memory.shared.dma_addr().get());
        // Only now: until here the device had nothing valid to write to.
        self.function.enable(PciCommand::BUS_MASTER).map_err(StartError::Command)?;
        match regs.run(Command::ActivateDev)? {
            0 => {}
            code => return Err(StartError::Refused { code }),
        }
        let has_sizes = plan.features.contains(Features::BUFFER_SIZES);
        let buffer_sizes = has_sizes.then(|| cmd_info::buffer_sizes(&plan.geometry));
        if let Some(sizes) = buffer_sizes {
            memory.shared.set(field!(Shared, driver.cmd_info), sizes);
            match regs.run(Command::SetRingBufferSize)? {
                0 => {}
                code => return Err(StartError::BufferSizes { code }),
            }
        }
        if !coalesce::tell(regs, &mut memory.shared, &config.settings)? {
            return Err(StartError::Setting { what: "coalescing", error: ChangeError::Refused });
        }
        let spread_by = match &config.settings.rss {
            Some(rss) => rss::ask_for_fields(regs, &mut memory.shared, rss)?,
            None => RssKinds::empty(),
        };
        memory.rx.queues_mut().for_each(RxQueue::announce);
        // After activation, for that brings the permanent address back on QEMU.
        if config.settings.mac.is_none() {
            regs.set_mac(plan.mac);
        } else if !regs.change_mac(plan.mac)? {
            let what = Change::Mac(plan.mac).name();
            return Err(StartError::Setting { what, error: ChangeError::Refused });
        }
        let mode = U32::new(RxMode::of(&config.settings).bits());
        memory.shared.set(field!(Shared, driver.rx_filter_conf.rx_mode), mode);
        regs.tell(Command::UpdateRxMode);
        regs.tell(Command::UpdateVlanFilters);
        regs.tell(Command::UpdateMacFilters);
        let link = event::link(regs.ask(Query::Link)?);
        if vectors.mode != InterruptMode::Polling {
            memory.shared.set(field!(Shared, driver.intr_conf.intr_ctrl), U32::ZERO);
            memory.shared.set(field!(Shared, driver.intr_conf_ext.intr_ctrl), U32::ZERO);
        }
        Ok(Answers { link, spread_by, tunnels, buffer_sizes })
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

    /// Wakes a device that sleeps; stops one that was suspended, or did not stop when its start
    /// failed, and takes back what it kept.
    fn settle(&mut self) -> Result<(), ShutDownError> {
        if self.is_asleep {
            self.function.ensure_d0(&self.platform).map_err(ShutDownError::Power)?;
            self.is_asleep = false;
        }
        if self.kept.is_none() {
            return Ok(());
        }
        let quiet = shut_down(&mut self.function, &mut self.regs, &self.platform)?;
        let freed = self.kept.take().is_none_or(|memory| memory.release(&quiet));
        debug_assert!(freed, "the proof is about this device, and nobody else has handles");
        Ok(())
    }
}

/// A running device, in three parts that may go to different cores.
pub type Running<P, C> = paravane_net::Running<Device<P, C>>;

impl<P: Platform, C: ConfigAccess + Send> paravane_net::Device for Device<P, C> {
    type Control = VmxControl<P, C>;
    type Rx = RxQueues<P>;
    type Tx = TxQueue<P>;
    type Config = Config;
    type StartError = StartError;
    type StopError = StopError;

    fn start(
        self,
        config: &Config,
        pool: FramePool,
        interrupts: Interrupts<'_>,
    ) -> Result<Running<P, C>, Failed<StartError, Self>> {
        Device::start(self, config, pool, interrupts)
    }

    fn stop(Running { control, rx, tx }: Running<P, C>) -> Result<Self, Failed<StopError, Running<P, C>>> {
        control.stop(rx, tx)
    }
}

impl<P: Platform, C: ConfigAccess + Send> paravane_net::Recover for Device<P, C> {
    fn terms(running: &Running<P, C>) -> (Config, FramePool) {
        (running.control.terms(), running.rx.first().pool().clone())
    }
}

impl From<DmaError> for StartError {
    fn from(error: DmaError) -> Self {
        Self::Memory(error)
    }
}
