//! The platform as a driver sees it: memory, registers, ports and time of a
//! [`Machine`](crate::Machine).

#![expect(unsafe_code, reason = "`Dma` is an unsafe trait; every call goes to the machine's RAM")]

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant as HostInstant;

use paravane_hal::addr::PhysAddr;
use paravane_hal::barrier;
use paravane_hal::dma::{Direction, Dma, DmaError, DmaLimits, DmaMapping, DmaRegion, DmaRequest, DomainTag};
use paravane_hal::mmio::{MapError, MapErrorReason, Mmio, MmioMap};
use paravane_hal::port::PortIo;
use paravane_hal::time::{Clock, Instant};

use crate::error::QtestError;
use crate::link::Link;
use crate::ram::Ram;

/// A handle to a machine's memory, registers, ports and time. A clone is another handle to the
/// same.
///
/// Once the machine has stopped answering, reads give all ones and writes go nowhere, as on a bus
/// from which the device was pulled; [`failure`](Self::failure) tells why.
#[derive(Clone)]
pub struct Qtest(Arc<Inner>);

struct Inner {
    link: Link,
    ram: Ram,
    started: HostInstant,
}

impl Qtest {
    pub(crate) fn new(link: Link, ram: Ram) -> Self {
        Self(Arc::new(Inner { link, ram, started: HostInstant::now() }))
    }

    /// Why the machine stopped answering, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<QtestError> {
        self.0.link.failure()
    }

    /// DMA memory allocated or mapped.
    #[must_use]
    pub fn dma_bytes_in_use(&self) -> usize {
        self.0.ram.bytes_in_use()
    }

    pub(crate) fn ram(&self) -> &Ram {
        &self.0.ram
    }

    pub(crate) fn link(&self) -> &Link {
        &self.0.link
    }

    /// Sends a command that is answered with a value; all ones without an answer.
    fn read(&self, command: &str, at: u64) -> u64 {
        let value = self.0.link.ask(&format!("{command} {at:#x}")).unwrap_or(u64::MAX);
        barrier::after_mmio();
        value
    }

    fn write(&self, command: &str, at: u64, value: u32) {
        barrier::before_mmio();
        // A failure is kept by the link, for whoever asks.
        let _ = self.0.link.ask(&format!("{command} {at:#x} {value:#x}"));
    }
}

impl fmt::Debug for Qtest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Qtest({} bytes in use, {:?})", self.dma_bytes_in_use(), self.failure())
    }
}

// SAFETY: every call goes to `Ram`, which keeps the promises; a clone holds the same RAM.
unsafe impl Dma for Qtest {
    fn limits(&self) -> DmaLimits {
        self.0.ram.limits()
    }
    fn domain(&self) -> DomainTag {
        self.0.ram.domain()
    }
    fn alloc(&self, request: DmaRequest) -> Result<DmaRegion, DmaError> {
        self.0.ram.alloc(request)
    }
    unsafe fn free(&self, region: DmaRegion) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.0.ram.free(&region) }
    }
    unsafe fn map(&self, memory: NonNull<[u8]>, direction: Direction) -> Result<DmaMapping, DmaError> {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.0.ram.map(memory, direction) }
    }
    unsafe fn unmap(&self, mapping: DmaMapping) {
        // SAFETY: the caller's obligations are the same ones.
        unsafe { self.0.ram.unmap(&mapping) }
    }
}

impl Clock for Qtest {
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.0.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
    /// Lets QEMU run, which may need this very core.
    fn relax(&self) {
        std::thread::yield_now();
    }
}

impl PortIo for Qtest {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the command says how wide, and all ones stay all ones"
    )]
    fn in8(&self, port: u16) -> u8 {
        self.read("inb", port.into()) as u8
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the command says how wide, and all ones stay all ones"
    )]
    fn in16(&self, port: u16) -> u16 {
        self.read("inw", port.into()) as u16
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the command says how wide, and all ones stay all ones"
    )]
    fn in32(&self, port: u16) -> u32 {
        self.read("inl", port.into()) as u32
    }
    fn out8(&self, port: u16, value: u8) {
        self.write("outb", port.into(), value.into());
    }
    fn out16(&self, port: u16, value: u16) {
        self.write("outw", port.into(), value.into());
    }
    fn out32(&self, port: u16, value: u32) {
        self.write("outl", port.into(), value);
    }
}

impl MmioMap for Qtest {
    type Region = Registers;

    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<Registers, MapError> {
        let fails = |reason| Err(MapError::new(start, len_bytes, reason));
        if len_bytes == 0 || start.checked_add(len_bytes as u64).is_none() {
            return fails(MapErrorReason::OutOfRange);
        }
        if self.0.ram.overlaps(start.get(), len_bytes) {
            return fails(MapErrorReason::NotRegisters);
        }
        Ok(Registers { platform: self.clone(), start: start.get(), len_bytes, are_ports: false })
    }

    fn map_ports(&self, first: u16, len_bytes: usize) -> Result<Registers, MapError> {
        let start = PhysAddr::new(first.into());
        if len_bytes == 0 || usize::from(first).saturating_add(len_bytes) > 1 << 16 {
            return Err(MapError::new(start, len_bytes, MapErrorReason::OutOfRange));
        }
        Ok(Registers { platform: self.clone(), start: first.into(), len_bytes, are_ports: true })
    }
}

/// Registers at the other end of the socket: each access is a message.
#[derive(Clone, Debug)]
pub struct Registers {
    platform: Qtest,
    start: u64,
    len_bytes: usize,
    are_ports: bool,
}

impl Registers {
    /// Where an access lands, if it is aligned and inside.
    fn place(&self, offset_bytes: usize, width_bytes: usize) -> Option<u64> {
        let end = offset_bytes.checked_add(width_bytes)?;
        let answers = end <= self.len_bytes && offset_bytes.is_multiple_of(width_bytes);
        answers.then(|| self.start.wrapping_add(offset_bytes as u64))
    }

    /// The command for registers in memory, or for ports.
    fn command<'c>(&self, [in_memory, among_ports]: [&'c str; 2]) -> &'c str {
        if self.are_ports { among_ports } else { in_memory }
    }

    fn read(&self, commands: [&str; 2], offset_bytes: usize, width_bytes: usize) -> u64 {
        let command = self.command(commands);
        self.place(offset_bytes, width_bytes).map_or(u64::MAX, |at| self.platform.read(command, at))
    }

    fn write(&self, commands: [&str; 2], offset_bytes: usize, width_bytes: usize, value: u32) {
        let command = self.command(commands);
        if let Some(at) = self.place(offset_bytes, width_bytes) {
            self.platform.write(command, at, value);
        }
    }
}

impl Mmio for Registers {
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the command says how wide, and all ones stay all ones"
    )]
    fn read8(&self, offset_bytes: usize) -> u8 {
        self.read(["readb", "inb"], offset_bytes, 1) as u8
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the command says how wide, and all ones stay all ones"
    )]
    fn read16(&self, offset_bytes: usize) -> u16 {
        self.read(["readw", "inw"], offset_bytes, 2) as u16
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the command says how wide, and all ones stay all ones"
    )]
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.read(["readl", "inl"], offset_bytes, 4) as u32
    }
    fn write8(&self, offset_bytes: usize, value: u8) {
        self.write(["writeb", "outb"], offset_bytes, 1, value.into());
    }
    fn write16(&self, offset_bytes: usize, value: u16) {
        self.write(["writew", "outw"], offset_bytes, 2, value.into());
    }
    fn write32(&self, offset_bytes: usize, value: u32) {
        self.write(["writel", "outl"], offset_bytes, 4, value);
    }
}
