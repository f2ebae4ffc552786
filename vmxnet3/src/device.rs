//! A claimed, negotiated, stopped device: how it becomes one, and how a running one is shut down to
//! be one again.
//!
//! Starting it is [`start`](crate::start)'s part.

use alloc::boxed::Box;
use core::fmt;

use log::{info, warn};
use paravane_hal::dma::Quiet;
use paravane_hal::mmio::{Mmio, MmioMap};
use paravane_hal::time::Clock;
use paravane_hal::{Failed, Platform};
use paravane_net::{DeviceStats, MacAddr};
use paravane_pci::{Command as PciCommand, ConfigAccess, Function, FunctionInterrupts, Ids, InterruptError};

use crate::command::ControlRegs;
use crate::error::{BringUpError, ShutDownError};
use crate::intr::WantedInterrupts;
use crate::memory::Memory;
use crate::regs::{BAR_BYTES, Command, GONE, MaskMode, Query, bar0, bar1};
use crate::revision::{HIGHEST_BY_DEFAULT, Revision};

/// Whether a function is a VMXNET3 device. Its PCI revision says nothing: the protocol's is agreed
/// through registers.
#[must_use]
pub const fn is_vmxnet3(ids: &Ids) -> bool {
    ids.vendor == 0x15ad && ids.device == 0x07b0
}

/// A VMXNET3 device that is stopped: it reaches no memory and raises no interrupt.
///
/// Dropped, it stays so. After a start that failed with
/// [`NotStopped`](crate::StartError::NotStopped) it is not known to have stopped; then, and when it
/// was [suspended](crate::VmxControl::suspend), it keeps the memory of that start until the next
/// start has stopped it, and dropped it leaks that.
pub struct Device<P: Platform, C: ConfigAccess> {
    pub(crate) function: Function<C>,
    pub(crate) platform: P,
    pub(crate) bar0: P::Region,
    pub(crate) regs: ControlRegs<P::Region>,
    pub(crate) interrupts: FunctionInterrupts<P::Region>,
    /// Revisions that it speaks: bit n for revision n + 1.
    pub(crate) offered: u32,
    /// As the last start agreed, or the next one will by default.
    pub(crate) revision: Revision,
    /// The one it was made with.
    pub(crate) mac: MacAddr,
    pub(crate) mask_mode: MaskMode,
    wanted: WantedInterrupts,
    /// What it counted in activations that are over.
    pub(crate) counted: DeviceStats,
    /// How often it became another.
    pub(crate) takeovers: u64,
    /// It was put to sleep.
    pub(crate) is_asleep: bool,
    /// What a device may still reach that did not stop, or was suspended.
    pub(crate) kept: Option<Box<Memory<P>>>,
}

/// The device's registers, mapped.
struct Registers<R> {
    bar0: R,
    regs: ControlRegs<R>,
    interrupts: FunctionInterrupts<R>,
}

/// What [`Device::new`] agreed on with the device.
struct Agreed {
    offered: u32,
    revision: Revision,
    mac: MacAddr,
    mask_mode: MaskMode,
    wanted: WantedInterrupts,
}

impl<P: Platform, C: ConfigAccess> Device<P, C> {
    /// Takes over `function`: wakes it, stops whatever a previous owner (firmware, a crashed
    /// kernel) left running, and agrees on a revision.
    ///
    /// `platform` is where its registers are mapped and its memory comes from; the device drives
    /// all 64 address bits.
    ///
    /// # Errors
    ///
    /// [`BringUpError`], and the function back.
    #[expect(
        clippy::result_large_err,
        reason = "the function comes back by move; this is called once a device"
    )]
    pub fn new(mut function: Function<C>, platform: P) -> Result<Self, Failed<BringUpError, Function<C>>> {
        let mut registers = match Registers::map(&mut function, &platform) {
            Ok(registers) => registers,
            Err(error) => return Err(not_opened(error, function)),
        };
        match agree(&mut function, &platform, &mut registers.regs) {
            Ok(Agreed { offered, revision, mac, mask_mode, wanted }) => {
                let Registers { bar0, regs, interrupts } = registers;
                let address = function.address();
                info!(
                    "vmxnet3 {address}: {mac}, revision {revision} (VRRS {offered:#b}), masks: {mask_mode:?}, interrupts: {wanted:?}"
                );
                let counted = DeviceStats::default();
                Ok(Self {
                    function,
                    platform,
                    bar0,
                    regs,
                    interrupts,
                    offered,
                    revision,
                    mac,
                    mask_mode,
                    wanted,
                    counted,
                    takeovers: 0,
                    is_asleep: false,
                    kept: None,
                })
            }
            Err(error) => {
                registers.unmap(&mut function, &platform);
                Err(not_opened(error, function))
            }
        }
    }

    /// The agreed revision of the protocol: of the last start or, before the first, the one that a
    /// start agrees on by default.
    #[must_use]
    pub fn revision(&self) -> u8 {
        self.revision.number()
    }

    /// The address that the device was made with.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Why it does not interrupt in a better way, if it has one and something is wrong with that.
    #[must_use]
    pub fn interrupt_error(&self) -> Option<InterruptError> {
        self.interrupts.error()
    }

    /// Which kind of interrupt it would rather have. [`start`](Self::start) takes any.
    #[must_use]
    pub fn wanted_interrupts(&self) -> WantedInterrupts {
        self.wanted
    }

    /// Its PCI function.
    #[must_use]
    pub fn function(&self) -> &Function<C> {
        &self.function
    }

    /// Gives the function back, for another driver. It stays stopped. Memory that was kept is
    /// leaked.
    #[must_use]
    pub fn into_function(self) -> Function<C> {
        let Self { mut function, platform, bar0, regs, interrupts, .. } = self;
        Registers { bar0, regs, interrupts }.unmap(&mut function, &platform);
        function
    }
}

impl<P: Platform, C: ConfigAccess> fmt::Debug for Device<P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vmxnet3::Device({:?}, revision {}, {})", self.function, self.revision, self.mac)
    }
}

/// The function was not taken; said to the log as well.
fn not_opened<C: ConfigAccess>(
    error: BringUpError,
    function: Function<C>,
) -> Failed<BringUpError, Function<C>> {
    warn!("vmxnet3 {}: {error}", function.address());
    Failed::new(error, function)
}

impl<R: Mmio> Registers<R> {
    /// Wakes the device and maps its registers. Its interrupts are off afterwards, as far as they
    /// can be switched off.
    fn map<C: ConfigAccess>(
        function: &mut Function<C>,
        platform: &(impl MmioMap<Region = R> + Clock),
    ) -> Result<Self, BringUpError> {
        if !is_vmxnet3(&function.ids()) {
            return Err(BringUpError::WrongIds(function.ids()));
        }
        function.ensure_d0(platform).map_err(BringUpError::Power)?;
        let bar0 = function.map_bar(platform, bar0::INDEX.into(), BAR_BYTES)?;
        let bar1 = match function.map_bar(platform, bar1::INDEX.into(), BAR_BYTES) {
            Ok(bar1) => bar1,
            Err(error) => {
                platform.unmap(bar0);
                return Err(error.into());
            }
        };
        if let Err(error) = function.enable(PciCommand::MEMORY) {
            platform.unmap(bar0);
            platform.unmap(bar1);
            return Err(BringUpError::Command(error));
        }
        let interrupts = FunctionInterrupts::open(function, platform);
        Ok(Self { bar0, regs: ControlRegs::new(bar1), interrupts })
    }

    /// Gives the mappings back.
    fn unmap<C: ConfigAccess>(self, function: &mut Function<C>, mapper: &impl MmioMap<Region = R>) {
        mapper.unmap(self.bar0);
        mapper.unmap(self.regs.into_region());
        self.interrupts.close(function, mapper);
    }
}

/// Stops what a previous owner left running, and agrees with the device on how to talk.
fn agree<C: ConfigAccess>(
    function: &mut Function<C>,
    clock: &impl Clock,
    regs: &mut ControlRegs<impl Mmio>,
) -> Result<Agreed, BringUpError> {
    // The proof is not needed: there is no memory of ours yet.
    let _quiet = shut_down(function, regs, clock).map_err(BringUpError::StillRunning)?;

    let offered = regs.read_revisions()?;
    // A start may allow a higher one. What is asked here is the same in all.
    let revision = Revision::agree(offered, HIGHEST_BY_DEFAULT).or_else(|| Revision::agree(offered, u8::MAX));
    let revision = revision.ok_or(BringUpError::Revision { offered })?;
    let upt_versions = regs.read_upt_versions()?;
    if upt_versions & 1 == 0 {
        return Err(BringUpError::UptVersion { offered: upt_versions });
    }
    regs.choose(revision.bit());

    let permanent = regs.ask_permanent_mac()?;
    // A device without a burned-in address may still have a current one.
    let mac = if permanent.is_unicast() { permanent } else { regs.read_mac() };
    let answer = regs.ask(Query::ConfIntr)?;
    let (mask_mode, wanted) = (MaskMode::from_conf_intr(answer), WantedInterrupts::from_conf_intr(answer));
    Ok(Agreed { offered, revision, mac, mask_mode, wanted })
}

/// Stops the device by its own means, then by the bus's. What it answers to `QUIESCE_DEV`; the
/// proof stands where that is 0.
///
/// A device that may have raised its pin is asked about it, for a reset would leave the line up.
/// One with messages on has not, and must not be asked: QEMU can end itself over that.
///
/// # Errors
///
/// [`ShutDownError::Bus`].
pub(crate) fn halt<'f, C: ConfigAccess>(
    function: &'f mut Function<C>,
    regs: &mut ControlRegs<impl Mmio>,
    clock: &impl Clock,
) -> Result<(u32, Quiet<'f>), ShutDownError> {
    let quiesce = regs.run(Command::QuiesceDev).unwrap_or(GONE);
    if function.read_messages_on() == Ok(None) {
        let _ = regs.take_line();
    }
    Ok((quiesce, function.quiesce(clock).map_err(ShutDownError::Bus)?))
}

/// [Stops](halt) the device, resets it, and proves that it stopped.
///
/// Bus mastering goes off between the two commands: reset forgets where `DriverShared` is, and a
/// link change would then have QEMU write to a fixed guest address (`ecr` of a structure at 0). A
/// device that keeps the bus is not reset.
///
/// The device has to confirm it as well, for not every monitor looks at bus mastering: it answers 0
/// to `QUIESCE_DEV` or, where it refused that, to `RESET_DEV`.
///
/// # Errors
///
/// [`ShutDownError`]: it may still reach memory. It was told to stop, and may be told again.
pub(crate) fn shut_down<'f, C: ConfigAccess>(
    function: &'f mut Function<C>,
    regs: &mut ControlRegs<impl Mmio>,
    clock: &impl Clock,
) -> Result<Quiet<'f>, ShutDownError> {
    let address = function.address();
    let (quiesce, quiet) = halt(function, regs, clock)?;
    let reset = regs.run(Command::ResetDev).unwrap_or(GONE);
    if quiesce != 0 && reset != 0 {
        return Err(ShutDownError::Unconfirmed { quiesce, reset });
    }
    if quiesce != 0 {
        warn!("vmxnet3 {address}: answers {quiesce:#x} to QUIESCE_DEV; it was reset");
    }
    // It has no business there any more, and not every device forgets it by itself.
    regs.set_shared(0);
    Ok(quiet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pci_revision_does_not_matter() {
        let ids = Ids {
            vendor: 0x15ad,
            device: 0x07b0,
            subsystem_vendor: 0x15ad,
            subsystem: 0x07b0,
            revision: 0x42,
            class: 2,
            subclass: 0,
            prog_if: 0,
        };
        assert!(is_vmxnet3(&ids));
        assert!(!is_vmxnet3(&Ids { device: 0x0720, ..ids }), "the older vmxnet");
    }
}
