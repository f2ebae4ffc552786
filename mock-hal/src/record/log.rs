//! What a recorder has written down so far, and the memory that it watches.

use std::collections::BTreeMap;

use paravane_hal::dma::{Direction, DmaLimits, DmaRegion};
use paravane_pci::PciAddress;

use super::entry::{Access, Entry, Operation, Place, Space, Value, memory_name};
use super::mirror::Mirror;
use super::recording::ConfigShape;
use crate::registers::Width;

/// How often memory is looked at again while the device goes on writing.
const LOOKS: usize = 64;
/// Where BAR registers are in configuration space.
const BAR_REGISTERS: std::ops::RangeInclusive<u16> = 0x10..=0x24;
/// The longest distance of a mapping from the start of the BAR that it is taken to be part of.
const BAR_REACH_BYTES: u64 = 1 << 26;

/// Everything behind a recorder's lock.
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    pub(super) limits: DmaLimits,
    pub(super) config: Option<ConfigShape>,
    mirrors: BTreeMap<u32, Mirror>,
    lent: Vec<Lent>,
    named: u32,
    bars: Vec<Bar>,
    unknown_blocks: u32,
}

/// Memory of the driver's own that a device has for a while.
pub(super) struct Lent {
    pub(super) memory: u32,
    pub(super) dma: u64,
    pub(super) direction: Direction,
    /// As it was when it was lent.
    pub(super) before: Vec<u8>,
}

/// A BAR register, as last written.
struct Bar {
    at: PciAddress,
    index: u16,
    value: u32,
}

impl Log {
    pub(super) fn new(limits: DmaLimits) -> Self {
        Self {
            entries: Vec::new(),
            limits,
            config: None,
            mirrors: BTreeMap::new(),
            lent: Vec::new(),
            named: 0,
            bars: Vec::new(),
            unknown_blocks: 0,
        }
    }

    /// The number of the next memory.
    fn name(&mut self) -> u32 {
        let number = self.named;
        self.named += 1;
        number
    }

    pub(super) fn watch(&mut self, mirror: Mirror) -> u32 {
        let memory = self.name();
        self.mirrors.insert(memory, mirror);
        memory
    }

    /// Stops watching the memory whose device address is `dma`.
    pub(super) fn unwatch(&mut self, dma: u64) -> Option<(u32, Mirror)> {
        let (memory, _) = self.mirrors.iter().find(|(_, mirror)| mirror.device().dma().get() == dma)?;
        let memory = *memory;
        Some((memory, self.mirrors.remove(&memory)?))
    }

    pub(super) fn lend(&mut self, dma: u64, direction: Direction, before: Vec<u8>) -> u32 {
        let memory = self.name();
        self.lent.push(Lent { memory, dma, direction, before });
        memory
    }

    pub(super) fn take_back(&mut self, dma: u64) -> Option<Lent> {
        let at = self.lent.iter().position(|lent| lent.dma == dma)?;
        Some(self.lent.swap_remove(at))
    }

    /// Shows the device what the driver stored.
    pub(super) fn push(&mut self) {
        for mirror in self.mirrors.values_mut() {
            mirror.push();
        }
    }

    /// Shows the driver what the device stored, and writes it down. False when that was nothing.
    ///
    /// Looks until nothing changes: a device writes a payload, then the word that says so; who sees
    /// the word sees the payload at the next look.
    pub(super) fn pull(&mut self) -> bool {
        let mut anything = false;
        for _ in 0..LOOKS {
            let mut changed = false;
            for (memory, mirror) in &mut self.mirrors {
                for run in mirror.pull() {
                    changed = true;
                    let (memory, offset_bytes, bytes) = (*memory, run.offset_bytes, run.bytes);
                    self.entries.push(Entry::Device { memory, offset_bytes, bytes });
                }
            }
            if !changed {
                break;
            }
            anything = true;
        }
        anything
    }

    /// Writes down that the driver may have seen what follows, if something follows.
    pub(super) fn look(&mut self) {
        let before = self.entries.len();
        self.entries.push(Entry::Look);
        if !self.pull() {
            self.entries.truncate(before);
        }
    }

    /// Writes an access down: repeated reads as one line, halves of device addresses by name.
    pub(super) fn access(&mut self, operation: Operation, width: Width, space: Space, value: u32) {
        self.learn_bar(operation, width, &space, value);
        let mut access = Access { operation, width, space, value: Value::Number(value), times: 1 };
        if let Some(Entry::Access(last)) = self.entries.last_mut() {
            let same = Access { times: last.times, ..access.clone() } == *last;
            if same && operation == Operation::Read {
                last.times = last.times.saturating_add(1);
                return;
            }
            if let Some((of_last, of_this)) = address_halves(&self.mirrors, last, &access) {
                last.value = of_last;
                access.value = of_this;
            }
        }
        self.entries.push(Entry::Access(access));
    }

    /// Remembers where BARs are, to name mappings after them.
    fn learn_bar(&mut self, operation: Operation, width: Width, space: &Space, value: u32) {
        let Space::Config { at, offset } = *space else { return };
        // All ones only ask for the size.
        let places = operation == Operation::Write && width == Width::Word && value != u32::MAX;
        if !places || !BAR_REGISTERS.contains(&offset) {
            return;
        }
        let index = (offset - BAR_REGISTERS.start()) / 4;
        match self.bars.iter_mut().find(|bar| bar.at == at && bar.index == index) {
            Some(bar) => bar.value = value,
            None => self.bars.push(Bar { at, index, value }),
        }
    }

    /// A name for the registers at `start`.
    pub(super) fn name_registers(&mut self, start: u64) -> Place {
        let first = self.bars.first().map(|bar| bar.at);
        let nearest = self
            .bars
            .iter()
            .filter_map(|bar| {
                let base = self.bar_base(bar)?;
                let offset = start.checked_sub(base).filter(|offset| *offset < BAR_REACH_BYTES)?;
                Some((usize::try_from(offset).ok()?, bar))
            })
            .min_by_key(|(offset, _)| *offset);
        match nearest {
            Some((offset_bytes, bar)) => {
                let of_function = if Some(bar.at) == first { String::new() } else { format!("@{}", bar.at) };
                Place { name: format!("bar{}{of_function}", bar.index), offset_bytes }
            }
            None => {
                let name = format!("mmio{}", self.unknown_blocks);
                self.unknown_blocks += 1;
                Place { name, offset_bytes: 0 }
            }
        }
    }

    /// The address in a memory BAR's register, and in the next one where it is 64 bits wide.
    fn bar_base(&self, bar: &Bar) -> Option<u64> {
        let low = u64::from(bar.value & !0xf);
        let wide = bar.value & 0b110 == 0b100;
        let high = self.bars.iter().find(|other| wide && other.at == bar.at && other.index == bar.index + 1);
        let base = low | high.map_or(0, |high| u64::from(high.value) << 32);
        (bar.value & 1 == 0 && base != 0).then_some(base)
    }
}

/// How two writes in a row are the two halves of a device address: low half first, in registers
/// side by side, or with one left free between them (as in VMXNET3, whose registers lie 8 bytes
/// apart).
fn address_halves(mirrors: &BTreeMap<u32, Mirror>, low: &Access, high: &Access) -> Option<(Value, Value)> {
    let (Space::Register(low_at), Space::Register(high_at)) = (&low.space, &high.space) else { return None };
    let apart = high_at.offset_bytes.checked_sub(low_at.offset_bytes)?;
    let side_by_side = low_at.name == high_at.name && matches!(apart, 4 | 8);
    let written =
        [low, high].iter().all(|half| half.operation == Operation::Write && half.width == Width::Word);
    let (Value::Number(low), Value::Number(high)) = (&low.value, &high.value) else { return None };
    let addr = u64::from(*low) | u64::from(*high) << 32;
    let place = (side_by_side && written).then(|| place_of(mirrors, addr))??;
    Some((Value::Low(place.clone()), Value::High(place)))
}

fn place_of(mirrors: &BTreeMap<u32, Mirror>, addr: u64) -> Option<Place> {
    mirrors.iter().find_map(|(memory, mirror)| {
        let offset_bytes = offset_in(mirror.device(), addr)?;
        Some(Place { name: memory_name(*memory), offset_bytes })
    })
}

fn offset_in(region: &DmaRegion, addr: u64) -> Option<usize> {
    let offset = usize::try_from(addr.checked_sub(region.dma().get())?).ok()?;
    (offset < region.len_bytes().get()).then_some(offset)
}
