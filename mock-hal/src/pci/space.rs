//! One function's configuration space: bytes, each bit writable or not, and BARs with a will of
//! their own.

use std::ops::RangeInclusive;

use paravane_hal::irq::MsiMessage;
use paravane_pci::EXTENDED_CONFIG_BYTES;

use super::bar::Bar;
use super::msix::MsixTable;
use crate::message;

const SPACE: usize = EXTENDED_CONFIG_BYTES as usize;
const COMMAND: usize = 0x04;
const BARS: usize = 0x10;

/// One function's configuration space.
#[derive(Clone, Debug)]
pub struct FunctionSpace {
    bytes: Box<[u8; SPACE]>,
    writable: Box<[u8; SPACE]>,
    /// Where the list of capabilities ends, to be continued.
    last_link: usize,
    /// The same for extended capabilities; zero without any.
    last_extended: usize,
    pub(super) bars: Vec<Bar>,
    pub(super) msix: Option<MsixTable>,
    pub(super) msi_at: Option<usize>,
    pub(super) power_at: Option<usize>,
}

impl FunctionSpace {
    fn empty(vendor: u16, device: u16) -> Self {
        let mut space = Self {
            bytes: Box::new([0; SPACE]),
            writable: Box::new([0; SPACE]),
            last_link: 0x34,
            last_extended: 0,
            bars: Vec::new(),
            msix: None,
            msi_at: None,
            power_at: None,
        };
        space.set16(0x00, vendor);
        space.set16(0x02, device);
        // I/O, memory, bus master, INTx disable.
        space.allow(COMMAND, &0x0407_u16.to_le_bytes());
        space.allow(0x3c, &[0xff]);
        space
    }

    /// An endpoint with these IDs, decoding nothing.
    #[must_use]
    pub fn endpoint(vendor: u16, device: u16, class: u8) -> Self {
        let mut space = Self::empty(vendor, device);
        space.set8(0x0b, class);
        space.set16(0x2c, vendor);
        space.set16(0x2e, device);
        space
    }

    /// A bridge to buses `secondary` to `subordinate`, as firmware leaves it: forwarding memory,
    /// ports and DMA.
    #[must_use]
    pub fn bridge(vendor: u16, device: u16, secondary: u8, subordinate: u8) -> Self {
        let mut space = Self::empty(vendor, device);
        space.set16(0x0a, 0x0604);
        space.set8(0x0e, 1);
        space.set8(0x19, secondary);
        space.set8(0x1a, subordinate);
        // Bus numbers, then the three windows and the upper halves of two.
        space.allow(0x18, &[0xff; 4]);
        space.allow(0x1c, &[0xf0, 0xf0]);
        space.allow(0x20, &[0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff]);
        space.allow(0x28, &[0xff; 8]);
        space.set16(COMMAND, 0b111);
        space
    }

    /// Has memory and bus mastering on from the start, as after firmware.
    #[must_use]
    pub fn enabled(mut self) -> Self {
        self.bytes[COMMAND] |= 0b111;
        self
    }

    /// Says that the device has more functions than this one.
    #[must_use]
    pub fn multi_function(mut self) -> Self {
        self.bytes[0x0e] |= 0x80;
        self
    }

    /// Adds a BAR.
    #[must_use]
    pub fn bar(mut self, bar: Bar) -> Self {
        self.bars.push(bar);
        self
    }

    /// Adds a 32-bit memory BAR of `len_bytes`, a power of two, assigned to `start`.
    #[must_use]
    pub fn memory_bar(self, index: u8, start: u32, len_bytes: u32) -> Self {
        self.bar(Bar::memory32(index, start, len_bytes))
    }

    /// Gives it an interrupt pin, 1 for `INTA#`.
    #[must_use]
    pub fn pin(mut self, pin: u8) -> Self {
        self.set8(0x3d, pin);
        self
    }

    /// Says which interrupt line firmware routed the pin to.
    #[must_use]
    pub fn line(mut self, line: u8) -> Self {
        self.set8(0x3c, line);
        self
    }

    /// Adds an MSI-X capability at `at`. `table` and `pba` are offset and BAR in one word.
    #[must_use]
    pub fn msix(mut self, at: u8, entries: u16, table: u32, pba: u32) -> Self {
        let at = self.link(at, 0x11);
        self.set16(at + 2, entries - 1);
        self.set32(at + 4, table);
        self.set32(at + 8, pba);
        self.allow(at + 2, &0xc000_u16.to_le_bytes());
        self.msix = Some(MsixTable::new(at, entries, table, pba));
        self
    }

    /// Adds an MSI capability with a 64-bit address and one vector at `at`.
    #[must_use]
    pub fn msi(mut self, at: u8) -> Self {
        let at = self.link(at, 0x05);
        self.set16(at + 2, 1 << 7);
        self.allow(at + 2, &1_u16.to_le_bytes());
        self.allow(at + 4, &[0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        self.msi_at = Some(at);
        self
    }

    /// Adds a PCI Express capability of version 2 for an endpoint at `at`.
    #[must_use]
    pub fn express(mut self, at: u8) -> Self {
        let at = self.link(at, 0x10);
        self.set16(at + 2, 2);
        self
    }

    /// Adds a vendor's capability at `at`: `body` follows the length.
    #[must_use]
    pub fn vendor(mut self, at: u8, body: &[u8]) -> Self {
        let at = self.link(at, 0x09);
        self.set8(at + 2, u8::try_from(body.len() + 3).unwrap_or(u8::MAX));
        self.bytes[at + 3..at + 3 + body.len()].copy_from_slice(body);
        self
    }

    /// Adds an extended capability at `at`: the first at `0x100`.
    #[must_use]
    pub fn extended(mut self, at: u16, id: u16, version: u8, body: &[u8]) -> Self {
        let at = usize::from(at);
        self.set32(at, u32::from(id) | u32::from(version) << 16);
        self.bytes[at + 4..at + 4 + body.len()].copy_from_slice(body);
        if self.last_extended != 0 {
            let next =
                u16::try_from(at << 4).unwrap_or(0) | u16::from(self.bytes[self.last_extended + 2] & 0xf);
            self.set16(self.last_extended + 2, next);
        }
        self.last_extended = at;
        self
    }

    /// Appends a capability of kind `id` to the list.
    pub(super) fn link(&mut self, at: u8, id: u8) -> usize {
        self.bytes[0x06] |= 1 << 4;
        let last = self.last_link;
        self.set8(last, at);
        self.set8(usize::from(at), id);
        self.last_link = usize::from(at) + 1;
        at.into()
    }

    /// Sets a byte, writable or not.
    pub fn set8(&mut self, at: usize, value: u8) {
        self.bytes[at] = value;
    }

    /// Sets 16 bits, writable or not.
    pub fn set16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets 32 bits, writable or not.
    pub fn set32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Makes exactly these bits writable, from byte `at` on.
    pub fn allow(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }

    /// 16 bits as they are.
    pub(super) fn get16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// 32 bits as they are.
    fn get32(&self, at: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|i| self.bytes[at + i]))
    }

    /// 64 bits as they are.
    pub(super) fn get64(&self, at: usize) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|i| self.bytes[at + i]))
    }

    /// What a bridge forwards: memory in `start..=end`, in whole MiB. `prefetchable` chooses the
    /// window, which may then lie anywhere.
    #[must_use]
    pub fn window(mut self, start: u64, end: u64, prefetchable: bool) -> Self {
        let at = if prefetchable { 0x24 } else { 0x20 };
        let field = |addr: u64| u16::try_from(addr >> 16 & 0xfff0).unwrap_or(0);
        self.set16(at, field(start) | u16::from(prefetchable));
        self.set16(at + 2, field(end) | u16::from(prefetchable));
        if prefetchable {
            self.set32(0x28, u32::try_from(start >> 32).unwrap_or(0));
            self.set32(0x2c, u32::try_from(end >> 32).unwrap_or(0));
        }
        self
    }

    /// What a bridge forwards: I/O ports in `start..=end`, in whole 4096 of them.
    #[must_use]
    pub fn ports(mut self, start: u16, end: u16) -> Self {
        let [_, start] = start.to_le_bytes();
        let [_, end] = end.to_le_bytes();
        self.set8(0x1c, start & 0xf0);
        self.set8(0x1d, end & 0xf0);
        self
    }

    const fn is_bridge(&self) -> bool {
        self.bytes[0x0e] & 0x7f == 1
    }

    /// The buses behind a bridge that firmware or a driver has numbered.
    pub(super) fn bridged_buses(&self) -> Option<RangeInclusive<u8>> {
        let (secondary, subordinate) = (self.bytes[0x19], self.bytes[0x1a]);
        (self.is_bridge() && secondary != 0).then_some(secondary..=subordinate)
    }

    /// What memory a bridge forwards. A window that ends before it starts is closed.
    pub(super) fn windows(&self) -> [RangeInclusive<u64>; 2] {
        let low = |at: usize| u64::from(self.get16(at) & 0xfff0) << 16;
        [
            low(0x20)..=low(0x22) | 0xf_ffff,
            low(0x24) | u64::from(self.get32(0x28)) << 32
                ..=low(0x26) | u64::from(self.get32(0x2c)) << 32 | 0xf_ffff,
        ]
    }

    /// What ports a bridge forwards; closed as above.
    pub(super) fn port_window(&self) -> RangeInclusive<u64> {
        let field = |at: usize| u64::from(self.bytes[at] & 0xf0) << 8;
        field(0x1c)..=field(0x1d) | 0xfff
    }

    /// Which line firmware routed the pin to.
    pub(super) const fn interrupt_line(&self) -> u8 {
        self.bytes[0x3c]
    }

    /// MSI-X messages that may be sent now.
    pub(super) fn take_due(&mut self) -> Vec<MsiMessage> {
        let control = self.msix.as_ref().map_or(0, |msix| self.get16(msix.at + 2));
        self.msix.as_mut().map_or_else(Vec::new, |msix| msix.due(control))
    }

    /// What MSI is set to send.
    pub(super) fn msi_message(&self) -> Option<MsiMessage> {
        let at = self.msi_at?;
        Some(message(self.get64(at + 4), self.get16(at + 12).into()))
    }

    /// The command register.
    pub(super) fn command(&self) -> u16 {
        self.get16(COMMAND)
    }

    /// As after power-on: nothing decoded, no BAR assigned that can be, no message.
    pub(super) fn forget(&mut self) {
        self.set16(COMMAND, 0);
        for bar in &mut self.bars {
            bar.forget();
        }
        if let Some(msix) = &mut self.msix {
            msix.forget();
        }
        for control in [self.msix.as_ref().map(|msix| msix.at), self.msi_at].into_iter().flatten() {
            let kept = self.get16(control + 2) & !self.writable16(control + 2);
            self.set16(control + 2, kept);
        }
    }

    fn writable16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.writable[at], self.writable[at + 1]])
    }

    /// The BAR behind a register, and which half of it.
    fn bar_at(&mut self, at: usize) -> Option<(&mut Bar, usize)> {
        let index = at.checked_sub(BARS)? / 4;
        self.bars.iter_mut().find_map(|bar| bar.half(index).map(|half| (bar, half)))
    }

    pub(super) fn read<const N: usize>(&mut self, at: usize) -> [u8; N] {
        if let Some((bar, half)) = self.bar_at(at) {
            let word = bar.read(half).to_le_bytes();
            return std::array::from_fn(|i| word[at % 4 + i]);
        }
        std::array::from_fn(|i| self.bytes[at + i])
    }

    pub(super) fn write(&mut self, at: usize, value: &[u8]) {
        if let Some((bar, half)) = self.bar_at(at) {
            // Narrower writes to a BAR are legal and of no use: nobody moves one by bytes.
            if let Ok(word) = value.try_into() {
                bar.write(half, u32::from_le_bytes(word));
            }
            return;
        }
        for (i, new) in value.iter().enumerate() {
            let mask = self.writable[at + i];
            self.bytes[at + i] = (self.bytes[at + i] & !mask) | (new & mask);
        }
    }
}
