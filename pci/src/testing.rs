//! A bus made of memory, for this crate's own tests: functions with the BARs that real monitors
//! have, and with ones that no sound device has.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paravane_hal::addr::PhysAddr;
use paravane_hal::irq::MsiMessage;
use paravane_hal::mmio::{MapError, MapErrorReason, Mmio, MmioMap};
use paravane_hal::time::{Clock, Instant};

use crate::{ConfigAccess, PciAddress};

/// A message that no device ever writes.
#[expect(unsafe_code, reason = "numbers are enough to look at the registers that they go to")]
pub(crate) const fn message(address: u64, data: u32) -> MsiMessage {
    // SAFETY: the buses here have no devices.
    unsafe { MsiMessage::from_platform(address, data) }
}

pub(crate) fn at(text: &str) -> PciAddress {
    text.parse().unwrap()
}

/// How a BAR reacts to writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// As the specification has it.
    Movable,
    /// Answers all ones once, a half at a time; ignores every other write.
    OneShot,
    /// Ignores every write.
    Fixed,
    /// Forgets its address when written.
    Forgets,
}

#[derive(Clone, Debug)]
pub(crate) struct MockBar {
    index: u8,
    flags: u32,
    len_bytes: u64,
    value: u64,
    reaction: Reaction,
    probed: [bool; 2],
}

impl MockBar {
    fn new(index: u8, flags: u32, value: u64, len_bytes: u64) -> Self {
        Self { index, flags, len_bytes, value, reaction: Reaction::Movable, probed: [false; 2] }
    }
    pub(crate) fn memory32(index: u8, start: u64, len_bytes: u64) -> Self {
        Self::new(index, 0, start, len_bytes)
    }
    pub(crate) fn memory64(index: u8, start: u64, len_bytes: u64) -> Self {
        Self::new(index, 0b0100, start, len_bytes)
    }
    pub(crate) fn io(index: u8, start: u64, len_bytes: u64) -> Self {
        Self::new(index, 1, start, len_bytes)
    }
    pub(crate) fn prefetchable(mut self) -> Self {
        self.flags |= 0b1000;
        self
    }
    pub(crate) fn reacting(mut self, reaction: Reaction) -> Self {
        self.reaction = reaction;
        self
    }

    fn is_wide(&self) -> bool {
        self.flags & 0b111 == 0b100
    }

    /// Which half of this BAR register `index` is.
    fn half(&self, index: u8) -> Option<usize> {
        if index == self.index { Some(0) } else { (self.is_wide() && index == self.index + 1).then_some(1) }
    }

    fn word(&self, half: usize, value: u64) -> u32 {
        let flags = if half == 0 { self.flags } else { 0 };
        u32::try_from(value >> (32 * half) & 0xffff_ffff).unwrap() | flags
    }

    fn read(&mut self, half: usize) -> u32 {
        let probed = std::mem::take(&mut self.probed[half]);
        self.word(half, if probed { !(self.len_bytes - 1) } else { self.value })
    }

    fn write(&mut self, half: usize, value: u32) {
        match self.reaction {
            Reaction::Movable => {
                let shift = 32 * half;
                let kept = self.value & !(0xffff_ffff << shift);
                self.value = kept | (u64::from(value) << shift & !(self.len_bytes - 1));
            }
            Reaction::OneShot => self.probed[half] |= value == u32::MAX,
            Reaction::Fixed => {}
            Reaction::Forgets => self.value = if value == u32::MAX { !(self.len_bytes - 1) } else { 0 },
        }
    }
}

/// One function: bytes, which of their bits can be written, and BARs.
#[derive(Clone)]
pub(crate) struct MockFunction {
    bytes: Vec<u8>,
    writable: Vec<u8>,
    bars: Vec<MockBar>,
}

impl std::fmt::Debug for MockFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MockFunction {{ {:x?}, {:?} }}", &self.bytes[..64], self.bars)
    }
}

impl MockFunction {
    /// A network controller of VMware's without BARs or capabilities.
    pub(crate) fn nic() -> Self {
        let mut function = Self { bytes: vec![0; 4096], writable: vec![0; 4096], bars: Vec::new() };
        function.put(0x00, &[0xad, 0x15, 0xb0, 0x07]);
        function.put(0x08, &[0x01, 0x00, 0x00, 0x02]);
        function.put(0x2c, &[0xad, 0x15, 0xb1, 0x07]);
        function.put(0x3c, &[11, 1]);
        // I/O, memory, bus mastering, INTx disable.
        function.writable(0x04, &[0x07, 0x04])
    }

    /// A bridge that leads to buses `secondary` to `subordinate`.
    pub(crate) fn bridge(primary: u8, secondary: u8, subordinate: u8) -> Self {
        let mut function = Self::nic();
        function.put(0x08, &[0, 0, 0x04, 0x06]);
        function.with(0x0e, &[1]).with(0x18, &[primary, secondary, subordinate, 0])
    }

    pub(crate) fn is_bridge(&self) -> bool {
        self.bytes[0x0e] & 0x7f == 1
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    pub(crate) fn with(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.put(offset, bytes);
        self
    }
    pub(crate) fn writable(mut self, offset: usize, masks: &[u8]) -> Self {
        self.writable[offset..offset + masks.len()].copy_from_slice(masks);
        self
    }
    pub(crate) fn multi_function(mut self) -> Self {
        self.bytes[0x0e] |= 0x80;
        self
    }
    pub(crate) fn bar(mut self, bar: MockBar) -> Self {
        self.bars.push(bar);
        self
    }
    /// As after reset: no BAR has an address.
    pub(crate) fn without_addresses(mut self) -> Self {
        self.bars.iter_mut().for_each(|bar| bar.value = 0);
        self
    }
    pub(crate) fn without_bars(mut self) -> Self {
        self.bars.clear();
        self
    }
    /// A capability list with these: offset, then id, then what follows the pointer.
    pub(crate) fn capabilities(mut self, list: &[(u8, u8, &[u8])]) -> Self {
        let mut pointer_at = 0x34;
        self.bytes[0x06] |= 0x10;
        for &(offset, id, body) in list {
            self.bytes[pointer_at] = offset;
            let offset = usize::from(offset);
            self.put(offset, &[id, 0]);
            let room = body.len().min(256 - offset - 2);
            self.put(offset + 2, &body[..room]);
            pointer_at = offset + 1;
        }
        self
    }

    fn read_byte(&self, offset: usize) -> u8 {
        self.bytes[offset]
    }

    fn write_byte(&mut self, offset: usize, value: u8) {
        let mask = self.writable[offset];
        self.bytes[offset] = self.bytes[offset] & !mask | value & mask;
    }

    fn decodes(&self) -> bool {
        self.bytes[0x04] & 0b11 != 0
    }
}

/// A segment of such functions. Remembers what was written where.
#[derive(Debug)]
pub(crate) struct MockBus {
    functions: RefCell<BTreeMap<PciAddress, MockFunction>>,
    pub(crate) writes: RefCell<Vec<(u16, u8, u32)>>,
    pub(crate) reads: Cell<u32>,
    /// A BAR was written while its function answered at it.
    pub(crate) moved_while_decoding: Cell<bool>,
    config_bytes: u16,
    buses: RangeInclusive<u8>,
}

impl MockBus {
    pub(crate) fn new(functions: impl IntoIterator<Item = (&'static str, MockFunction)>) -> Self {
        Self {
            functions: RefCell::new(
                functions.into_iter().map(|(text, function)| (at(text), function)).collect(),
            ),
            writes: RefCell::default(),
            reads: Cell::new(0),
            moved_while_decoding: Cell::new(false),
            config_bytes: 4096,
            buses: 0..=255,
        }
    }
    /// A bus with `function` at 00:04.0.
    pub(crate) fn of(function: MockFunction) -> Self {
        Self::new([("00:04.0", function)])
    }
    pub(crate) fn insert(&self, at: PciAddress, function: MockFunction) {
        self.functions.borrow_mut().insert(at, function);
    }
    pub(crate) fn remove(&self, at: PciAddress) -> Option<MockFunction> {
        self.functions.borrow_mut().remove(&at)
    }
    pub(crate) fn config_bytes(mut self, config_bytes: u16) -> Self {
        self.config_bytes = config_bytes;
        self
    }
    pub(crate) fn buses(mut self, buses: RangeInclusive<u8>) -> Self {
        self.buses = buses;
        self
    }
    /// Changes the function at 00:04.0 behind everybody's back.
    pub(crate) fn tamper(&self, change: impl FnOnce(MockFunction) -> MockFunction) {
        let mut functions = self.functions.borrow_mut();
        let function = functions.remove(&at("00:04.0")).unwrap();
        functions.insert(at("00:04.0"), change(function));
    }
    pub(crate) fn unplug(&self) {
        self.functions.borrow_mut().clear();
    }

    fn read<const WIDTH: usize>(&self, at: PciAddress, offset: u16) -> [u8; WIDTH] {
        self.reads.set(self.reads.get() + 1);
        let offset = usize::from(offset);
        let mut functions = self.functions.borrow_mut();
        let reach = offset.is_multiple_of(WIDTH) && offset + WIDTH <= usize::from(self.config_bytes);
        let Some(function) = functions.get_mut(&at).filter(|_| reach) else { return [0xff; WIDTH] };
        if let Some(index) = bar_index(offset) {
            let mut halves = function.bars.iter_mut().filter_map(|bar| Some((bar.half(index)?, bar)));
            if let Some((half, bar)) = halves.next() {
                let word = bar.read(half).to_le_bytes();
                return word[offset % 4..offset % 4 + WIDTH].try_into().unwrap();
            }
        }
        std::array::from_fn(|byte| function.read_byte(offset + byte))
    }

    fn write<const WIDTH: usize>(&self, at: PciAddress, offset: u16, bytes: [u8; WIDTH]) {
        let mut word = [0; 4];
        word[..WIDTH].copy_from_slice(&bytes);
        let value = u32::from_le_bytes(word);
        self.writes.borrow_mut().push((offset, u8::try_from(WIDTH).unwrap(), value));
        let offset = usize::from(offset);
        let mut functions = self.functions.borrow_mut();
        let reach = offset.is_multiple_of(WIDTH) && offset + WIDTH <= usize::from(self.config_bytes);
        let Some(function) = functions.get_mut(&at).filter(|_| reach) else { return };
        if let Some(index) = bar_index(offset) {
            let decodes = function.decodes();
            let mut halves = function.bars.iter_mut().filter_map(|bar| Some((bar.half(index)?, bar)));
            if let Some((half, bar)) = halves.next() {
                assert_eq!(WIDTH, 4, "BARs are written whole");
                self.moved_while_decoding.set(self.moved_while_decoding.get() || decodes);
                return bar.write(half, value);
            }
        }
        for (byte, value) in bytes.into_iter().enumerate() {
            function.write_byte(offset + byte, value);
        }
    }
}

fn bar_index(offset: usize) -> Option<u8> {
    (0x10..0x28).contains(&offset).then(|| u8::try_from((offset - 0x10) / 4).unwrap())
}

impl ConfigAccess for MockBus {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        u8::from_le_bytes(self.read(at, offset))
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        u16::from_le_bytes(self.read(at, offset))
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        u32::from_le_bytes(self.read(at, offset))
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        self.write(at, offset, value.to_le_bytes());
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.write(at, offset, value.to_le_bytes());
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        self.write(at, offset, value.to_le_bytes());
    }
    fn config_bytes(&self) -> u16 {
        self.config_bytes
    }
    fn segment(&self) -> u16 {
        0
    }
    fn buses(&self) -> RangeInclusive<u8> {
        self.buses.clone()
    }
}

/// A monitor that answers every read with whatever comes to its mind, and counts how long it is
/// listened to.
#[derive(Debug)]
pub(crate) struct Liar {
    state: Cell<u64>,
    pub(crate) reads: Cell<u64>,
    /// Bits that are set in no answer, so that some lies are believable.
    pub(crate) never: u32,
}

impl Liar {
    pub(crate) fn new(seed: u64, never: u32) -> Self {
        Self { state: Cell::new(seed | 1), reads: Cell::new(0), never }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "random bits are as good cut")]
impl ConfigAccess for Liar {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        self.read32(at, offset) as u8
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        self.read32(at, offset) as u16
    }
    fn read32(&self, _at: PciAddress, _offset: u16) -> u32 {
        self.reads.set(self.reads.get() + 1);
        let mut state = self.state.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.state.set(state);
        (state >> 16) as u32 & !self.never
    }
    fn write8(&self, _at: PciAddress, _offset: u16, _value: u8) {}
    fn write16(&self, _at: PciAddress, _offset: u16, _value: u16) {}
    fn write32(&self, _at: PciAddress, _offset: u16, _value: u32) {}
    fn config_bytes(&self) -> u16 {
        4096
    }
    fn segment(&self) -> u16 {
        0
    }
    fn buses(&self) -> RangeInclusive<u8> {
        0..=7
    }
}

/// Maps anything below 1 TiB to RAM, and remembers the last mapping.
#[derive(Clone, Debug, Default)]
pub(crate) struct MockMap {
    pub(crate) last: Arc<Mutex<Option<(u64, MockRegion)>>>,
    /// How many regions came back.
    pub(crate) unmapped: Arc<Mutex<usize>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct MockRegion {
    pub(crate) words: Arc<Mutex<Vec<u32>>>,
}

impl MmioMap for MockMap {
    type Region = MockRegion;
    fn map(&self, start: PhysAddr, len_bytes: usize) -> Result<MockRegion, MapError> {
        if start.get() >> 40 != 0 || len_bytes > 1 << 24 {
            return Err(MapError::new(start, len_bytes, MapErrorReason::OutOfRange));
        }
        let region = MockRegion { words: Arc::new(Mutex::new(vec![0; len_bytes / 4])) };
        *self.last.lock().unwrap() = Some((start.get(), region.clone()));
        Ok(region)
    }
    fn unmap(&self, _region: MockRegion) {
        *self.unmapped.lock().unwrap() += 1;
    }
}

impl Mmio for MockRegion {
    fn len_bytes(&self) -> usize {
        self.words.lock().unwrap().len() * 4
    }
    fn read8(&self, _offset_bytes: usize) -> u8 {
        unreachable!("tables are read in dwords")
    }
    fn read16(&self, _offset_bytes: usize) -> u16 {
        unreachable!("tables are read in dwords")
    }
    fn read32(&self, offset_bytes: usize) -> u32 {
        self.words.lock().unwrap().get(offset_bytes / 4).copied().unwrap_or(u32::MAX)
    }
    fn write8(&self, _offset_bytes: usize, _value: u8) {
        unreachable!("tables are written in dwords")
    }
    fn write16(&self, _offset_bytes: usize, _value: u16) {
        unreachable!("tables are written in dwords")
    }
    fn write32(&self, offset_bytes: usize, value: u32) {
        if let Some(word) = self.words.lock().unwrap().get_mut(offset_bytes / 4) {
            *word = value;
        }
    }
}

/// Moves a millisecond each time it is read, and can do something meanwhile.
pub(crate) struct Ticking<F = fn(Duration)> {
    now: Cell<Duration>,
    each_tick: F,
}

impl Ticking {
    pub(crate) fn new() -> Self {
        Self::doing(|_| {})
    }
}

impl<F: Fn(Duration)> Ticking<F> {
    pub(crate) fn doing(each_tick: F) -> Self {
        Self { now: Cell::new(Duration::ZERO), each_tick }
    }
    pub(crate) fn elapsed(&self) -> Duration {
        self.now.get()
    }
}

impl<F: Fn(Duration)> Clock for Ticking<F> {
    fn now(&self) -> Instant {
        self.now.set(self.now.get() + Duration::from_millis(1));
        (self.each_tick)(self.now.get());
        Instant::from_nanos(u64::try_from(self.now.get().as_nanos()).unwrap())
    }
}
