//! The device by its registers: no queues, no rings, nothing taken for granted.

pub(crate) mod block;
pub(crate) mod layout;
pub(crate) mod live;
pub(crate) mod ring;

use alloc::string::{String, ToString as _};

use paravane_hal::Platform;
use paravane_hal::dma::Quiet;
use paravane_hal::irq::{InterruptMode, Interrupts, MsiMessage};
use paravane_hal::mmio::{Mmio as _, MmioMap};
use paravane_pci::{Command, ConfigAccess, Function, FunctionInterrupts};

use layout::{bar0, bar1, cmd};

/// Both BARs are a page at least.
const BAR_BYTES: usize = 0x1000;
/// The newest revision that is asked for anything.
pub(crate) const NEWEST: u8 = 7;

/// The device.
pub(crate) struct Raw<P: Platform, C> {
    pub(crate) function: Function<C>,
    pub(crate) platform: P,
    bar0: P::Region,
    bar1: P::Region,
    interrupts: FunctionInterrupts<P::Region>,
}

impl<P: Platform, C: ConfigAccess> Raw<P, C> {
    /// Wakes it and maps its registers.
    pub(crate) fn open(mut function: Function<C>, platform: P) -> Result<Self, String> {
        function.ensure_d0(&platform).map_err(|error| error.to_string())?;
        let bar0 = function.map_bar(&platform, 0, BAR_BYTES).map_err(|error| error.to_string())?;
        let bar1 = match function.map_bar(&platform, 1, BAR_BYTES) {
            Ok(bar1) => bar1,
            Err(error) => {
                MmioMap::unmap(&platform, bar0);
                return Err(error.to_string());
            }
        };
        if let Err(error) = function.enable(Command::MEMORY) {
            MmioMap::unmap(&platform, bar0);
            MmioMap::unmap(&platform, bar1);
            return Err(error.to_string());
        }
        let interrupts = FunctionInterrupts::open(&mut function, &platform);
        Ok(Self { function, platform, bar0, bar1, interrupts })
    }

    /// Gives the mappings back.
    pub(crate) fn close(self) {
        let Self { mut function, platform, bar0, bar1, interrupts } = self;
        interrupts.close(&mut function, &platform);
        MmioMap::unmap(&platform, bar0);
        MmioMap::unmap(&platform, bar1);
    }

    /// Reads a register of BAR1.
    pub(crate) fn read(&self, offset_bytes: usize) -> u32 {
        self.bar1.read32(offset_bytes)
    }

    /// Writes a register of BAR1.
    pub(crate) fn write(&self, offset_bytes: usize, value: u32) {
        self.bar1.write32(offset_bytes, value);
    }

    /// Writes a doorbell of queue `queue`, or the mask of that vector.
    pub(crate) fn write_bar0(&self, kind: usize, queue: usize, value: u32) {
        self.bar0.write32(kind.wrapping_add(queue.wrapping_mul(8)), value);
    }

    /// Reads the mask of a vector.
    pub(crate) fn read_mask(&self, vector: usize) -> u32 {
        self.bar0.read32(bar0::IMR.wrapping_add(vector.wrapping_mul(8)))
    }

    /// Writes the mask of a vector.
    pub(crate) fn mask(&self, vector: usize, masked: bool) {
        self.write_bar0(bar0::IMR, vector, masked.into());
    }

    /// Gives a command, and reads the answer.
    pub(crate) fn command(&self, command: u32) -> u32 {
        self.write(bar1::CMD, command);
        self.read(bar1::CMD)
    }

    /// Says where `DriverShared` is; 0 for nowhere.
    pub(crate) fn set_shared(&self, address: u64) {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is the point")]
        self.write(bar1::DSAL, address as u32);
        self.write(bar1::DSAH, (address >> 32) as u32);
    }

    /// The newest revision that is offered, up to `most`; 0 when there is none.
    pub(crate) fn offered(&self, most: u8) -> u8 {
        let offered = self.read(bar1::VRRS);
        (1..=most.min(32)).rev().find(|number| offered >> (number - 1) & 1 != 0).unwrap_or(0)
    }

    /// Chooses a revision.
    pub(crate) fn choose(&self, revision: u8) {
        self.write(bar1::VRRS, 1_u32.checked_shl(u32::from(revision).saturating_sub(1)).unwrap_or(0));
        self.write(bar1::UVRS, 1);
    }

    /// The address in `MACL` and `MACH`.
    pub(crate) fn read_mac(&self) -> [u8; 6] {
        mac(self.read(bar1::MACL), self.read(bar1::MACH))
    }

    /// Writes the address there.
    pub(crate) fn write_mac(&self, [a, b, c, d, e, f]: [u8; 6]) {
        self.write(bar1::MACL, u32::from_le_bytes([a, b, c, d]));
        self.write(bar1::MACH, u32::from_le_bytes([e, f, 0, 0]));
    }

    /// The address that it was made with.
    pub(crate) fn permanent_mac(&self) -> [u8; 6] {
        mac(self.command(cmd::GET_PERM_MAC_LO), self.command(cmd::GET_PERM_MAC_HI))
    }

    /// Lets it master the bus, or not.
    pub(crate) fn set_bus_master(&mut self, on: bool) -> Result<(), String> {
        let done = if on {
            self.function.enable(Command::BUS_MASTER)
        } else {
            self.function.disable(Command::BUS_MASTER)
        };
        done.map_err(|error| error.to_string())
    }

    /// Lets it send `messages`, one a vector; in how many ways it does.
    pub(crate) fn switch_on(&mut self, messages: &[MsiMessage]) -> InterruptMode {
        self.interrupts.switch_on(&mut self.function, Interrupts::msix(messages))
    }

    pub(crate) fn switch_off(&mut self) {
        self.interrupts.switch_off(&mut self.function);
    }

    /// Stops it by its own means, then by the bus's: quiesced, off the bus, reset.
    ///
    /// The line is asked about in between, for a reset would leave it up; with messages on there is
    /// none, and QEMU can end itself over the question.
    pub(crate) fn silence(&mut self) -> Result<Quiet<'_>, String> {
        let quiesced = self.command(cmd::QUIESCE_DEV);
        if self.function.read_messages_on() == Ok(None) {
            let _ = self.read(bar1::ICR);
        }
        let Self { function, platform, bar1: registers, .. } = self;
        let quiet = function.quiesce(platform).map_err(|error| error.to_string())?;
        registers.write32(bar1::CMD, cmd::RESET_DEV);
        let reset = registers.read32(bar1::CMD);
        if quiesced != 0 && reset != 0 {
            return Err(alloc::format!("answers {quiesced:#x} to QUIESCE_DEV and {reset:#x} to RESET_DEV"));
        }
        registers.write32(bar1::DSAL, 0);
        registers.write32(bar1::DSAH, 0);
        Ok(quiet)
    }
}

fn mac(low: u32, high: u32) -> [u8; 6] {
    let ([a, b, c, d], [e, f, ..]) = (low.to_le_bytes(), high.to_le_bytes());
    [a, b, c, d, e, f]
}
