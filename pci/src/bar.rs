//! Base address registers: decoding and sizing.
//!
//! ```text
//! memory  31                            4   3   2 1  0
//!        +-------------------------------+-----+----+---+   type 00: 32 bits
//!        |  address, bits 31:4           | pref|type| 0 |   type 10: 64 bits, the next register holds the upper half
//!        +-------------------------------+-----+----+---+   type 01: below 1 MiB, as old as it sounds; like 00
//! I/O     31                               2     1    0
//!        +---------------------------------+---------+---+
//!        |  port, bits 31:2                |    0    | 1 |
//!        +---------------------------------+---------+---+
//! ```
//!
//! A register is sized by writing all ones and looking which bits stuck. While that lasts the
//! device must not answer anywhere, so decoding is off. The value written is all ones exactly, and
//! the answer is read **once**: some monitors recognise the probe by its value and answer it a
//! single time.
//!
//! Spec: PCI Local Bus 3.0, 6.2.5 "Base Addresses" and its implementation note on sizing.

use core::fmt;

use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::MapError;

use crate::command::answered_command;
use crate::header::{BAR0, COMMAND, Command};
use crate::{ConfigAccess, PciAddress};

/// The last port that a CPU can name.
const PORTS: u64 = u16::MAX as u64;

/// How many registers a type 0 header has; a type 1 header has two.
pub const BARS: usize = 6;

/// Where a BAR's range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; takes two registers.
    Memory64,
    /// I/O ports.
    Io,
}

/// A BAR that is there and has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Which of the six registers; for a 64-bit one, the lower.
    pub index: u8,
    /// Memory or I/O, and how wide.
    pub kind: BarKind,
    /// Reads have no side effects and writes may be merged. Registers rarely are.
    pub prefetchable: bool,
    /// Where it starts: a physical address or a port.
    pub start: u64,
    /// How long it is: a power of two.
    pub len_bytes: u64,
}

impl Bar {
    /// Where its registers are, if it is in memory.
    #[must_use]
    pub fn memory(&self) -> Option<PhysAddr> {
        match self.kind {
            BarKind::Memory32 | BarKind::Memory64 => Some(PhysAddr::new(self.start)),
            BarKind::Io => None,
        }
    }

    /// Its first port, if it is in I/O space and a CPU can name it.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self.kind {
            BarKind::Io => u16::try_from(self.start).ok(),
            BarKind::Memory32 | BarKind::Memory64 => None,
        }
    }
}

/// What a BAR asks for, wherever it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarShape {
    /// Memory or I/O, and how wide.
    pub kind: BarKind,
    /// Reads have no side effects.
    pub prefetchable: bool,
    /// How long it is: a power of two, and its alignment.
    pub len_bytes: u64,
}

/// A BAR cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarError {
    /// Whose.
    pub address: PciAddress,
    /// Which.
    pub index: u8,
    /// Why not.
    pub reason: BarErrorReason,
}

/// Why a BAR cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BarErrorReason {
    /// The header has no register of that number.
    NoSuchBar,
    /// The register is there and asks for nothing.
    Unimplemented,
    /// The register is the upper half of the 64-bit BAR before it.
    UpperHalf,
    /// Type 11, which means nothing.
    ReservedType,
    /// A 64-bit BAR in the header's last register.
    NoUpperHalf,
    /// Firmware gave it no address.
    Unassigned(BarShape),
    /// It does not react to being sized; its length is not known.
    NotSizable {
        /// What it holds, probe or not.
        value: u64,
    },
    /// Its address is not a multiple of its length, or its end is beyond the last address.
    Misplaced {
        /// Where it claims to start.
        start: u64,
        /// How long it claims to be.
        len_bytes: u64,
    },
    /// After sizing it did not take its value back.
    NotRestored {
        /// What it held and should hold.
        expected: u64,
        /// What it holds.
        seen: u64,
    },
    /// Host bridges are not sized: with their decoding off, memory itself may be.
    HostBridge,
    /// The function does not answer.
    Gone,
    /// It is shorter than what is wanted of it.
    TooShort {
        /// Its length.
        len_bytes: u64,
        /// The least that would do.
        wanted_bytes: u64,
    },
    /// It is in memory, where ports are needed.
    NotPorts,
    /// It is in I/O space, where memory is needed.
    NotMemory,
    /// The platform could not map it.
    Map(MapError),
}

impl fmt::Display for BarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} BAR{}: {}", self.address, self.index, self.reason)
    }
}

impl fmt::Display for BarErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoSuchBar => f.write_str("the header has no such register"),
            Self::Unimplemented => f.write_str("not implemented"),
            Self::UpperHalf => f.write_str("is the upper half of the 64-bit BAR before it"),
            Self::ReservedType => f.write_str("has the reserved memory type 3"),
            Self::NoUpperHalf => f.write_str("is 64 bits wide, but no register follows it"),
            Self::Unassigned(shape) => write!(
                f,
                "wants {:#x} bytes and has no address; firmware assigned none, so the kernel has to",
                shape.len_bytes
            ),
            Self::NotSizable { value } => {
                write!(f, "holds {value:#x} and does not react to sizing, so its length is unknown")
            }
            Self::Misplaced { start, len_bytes } => {
                write!(f, "claims {len_bytes:#x} bytes at {start:#x}, which is not aligned or wraps around")
            }
            Self::NotRestored { expected, seen } => {
                write!(f, "holds {seen:#x} after sizing, expected {expected:#x} as before")
            }
            Self::HostBridge => f.write_str("belongs to a host bridge, which is not sized"),
            Self::Gone => f.write_str("the function does not answer any more"),
            Self::TooShort { len_bytes, wanted_bytes } => {
                write!(f, "is {len_bytes:#x} bytes long, expected at least {wanted_bytes:#x}")
            }
            Self::NotMemory => f.write_str("is in I/O space, expected memory"),
            Self::NotPorts => f.write_str("is in memory, expected I/O space"),
            Self::Map(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for BarError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.reason {
            BarErrorReason::Map(error) => Some(error),
            _ => None,
        }
    }
}

/// What the six registers are, once and for all.
pub(crate) type Bars = [Result<Bar, BarErrorReason>; BARS];

/// The offset of register `index`.
pub(crate) const fn register(index: u8) -> u16 {
    BAR0.wrapping_add((index as u16).wrapping_mul(4))
}

/// Runs `body` while the function answers at no BAR, then gives it its command register back.
/// `None`, and nothing is written, when it does not answer at all.
pub(crate) fn with_decoding_off<T>(
    access: &impl ConfigAccess,
    at: PciAddress,
    body: impl FnOnce() -> T,
) -> Option<T> {
    let before = answered_command(access, at)?;
    access.write16(at, COMMAND, before.difference(Command::MEMORY | Command::IO).bits());
    let result = body();
    access.write16(at, COMMAND, before.bits());
    Some(result)
}

/// Sizes the `count` registers of `at`. The function must not be in use.
pub(crate) fn size_all(access: &impl ConfigAccess, at: PciAddress, count: u8) -> Bars {
    with_decoding_off(access, at, || {
        let mut bars: Bars = [Err(BarErrorReason::NoSuchBar); BARS];
        let mut upper_half = false;
        for (index, place) in (0..count).zip(&mut bars) {
            if upper_half {
                *place = Err(BarErrorReason::UpperHalf);
                upper_half = false;
                continue;
            }
            let last = index.saturating_add(1) == count;
            (*place, upper_half) = size_one(access, at, index, last);
        }
        bars
    })
    .unwrap_or([Err(BarErrorReason::Gone); BARS])
}

/// What the low bits of a register say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Memory { wide: bool },
    Io,
}

impl Layout {
    const fn of(low: u32) -> Result<Self, BarErrorReason> {
        match (low & 1, low >> 1 & 0b11) {
            (1, _) => Ok(Self::Io),
            (_, 0b00 | 0b01) => Ok(Self::Memory { wide: false }),
            (_, 0b10) => Ok(Self::Memory { wide: true }),
            _ => Err(BarErrorReason::ReservedType),
        }
    }
}

/// What register `index` is, and whether it takes the next one with it.
fn size_one(
    access: &impl ConfigAccess,
    at: PciAddress,
    index: u8,
    last: bool,
) -> (Result<Bar, BarErrorReason>, bool) {
    let low = access.read32(at, register(index));
    if low == u32::MAX {
        return (Err(BarErrorReason::Gone), false);
    }
    match Layout::of(low) {
        Err(reason) => (Err(reason), false),
        Ok(Layout::Memory { wide: true }) if last => (Err(BarErrorReason::NoUpperHalf), false),
        Ok(layout @ Layout::Memory { wide: true }) => {
            let bar = probe_wide(access, at, index, low)
                .and_then(|(before, probe)| decode(index, layout, before, probe));
            (bar, true)
        }
        Ok(layout) => {
            let bar = probe_narrow(access, at, index, low)
                .and_then(|probe| decode(index, layout, low.into(), probe.into()));
            (bar, false)
        }
    }
}

/// The answer of the register to all ones. It holds `before`, and does so again afterwards.
fn probe_narrow(
    access: &impl ConfigAccess,
    at: PciAddress,
    index: u8,
    before: u32,
) -> Result<u32, BarErrorReason> {
    let register = register(index);
    access.write32(at, register, u32::MAX);
    let probe = access.read32(at, register);
    access.write32(at, register, before);
    restored(before.into(), access.read32(at, register).into()).map(|()| probe)
}

/// What two registers held, and their answer to all ones. Both halves are written before either is
/// read: they are one value.
fn probe_wide(
    access: &impl ConfigAccess,
    at: PciAddress,
    index: u8,
    low: u32,
) -> Result<(u64, u64), BarErrorReason> {
    let (low_at, high_at) = (register(index), register(index.wrapping_add(1)));
    let high = access.read32(at, high_at);
    access.write32(at, low_at, u32::MAX);
    access.write32(at, high_at, u32::MAX);
    let probe = join(access.read32(at, low_at), access.read32(at, high_at));
    access.write32(at, low_at, low);
    access.write32(at, high_at, high);
    let before = join(low, high);
    restored(before, join(access.read32(at, low_at), access.read32(at, high_at))).map(|()| (before, probe))
}

fn restored(expected: u64, seen: u64) -> Result<(), BarErrorReason> {
    if seen == expected { Ok(()) } else { Err(BarErrorReason::NotRestored { expected, seen }) }
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Makes sense of what a register held `before` and what it answered to the `probe`.
fn decode(index: u8, layout: Layout, before: u64, probe: u64) -> Result<Bar, BarErrorReason> {
    let (kind, flag_bits, highest) = match layout {
        Layout::Memory { wide: false } => (BarKind::Memory32, 0xf, u64::from(u32::MAX)),
        Layout::Memory { wide: true } => (BarKind::Memory64, 0xf, u64::MAX),
        Layout::Io => (BarKind::Io, 0x3, u64::from(u32::MAX)),
    };
    let start = before & !flag_bits;
    let mask = probe & !flag_bits;
    if mask == 0 {
        let unsized_address = start != 0;
        return Err(if unsized_address {
            BarErrorReason::NotSizable { value: before }
        } else {
            BarErrorReason::Unimplemented
        });
    }
    // The lowest bit that sticks is the length; `mask` is not 0, so there is one.
    let len_bytes = mask & mask.wrapping_neg();
    let below = len_bytes.wrapping_sub(1);
    // An I/O BAR may have no more address bits than there are ports.
    let highest = if kind == BarKind::Io && mask | below == PORTS { PORTS } else { highest };
    // A register that holds its value whatever is written. The same answer is honest when every
    // address bit is set in both.
    if mask == start && mask | below != highest {
        return Err(BarErrorReason::NotSizable { value: before });
    }
    let prefetchable = kind != BarKind::Io && before & 0b1000 != 0;
    if start == 0 {
        return Err(BarErrorReason::Unassigned(BarShape { kind, prefetchable, len_bytes }));
    }
    let end_is_beyond = start.checked_add(below).is_none_or(|end| end > highest);
    if start & below != 0 || end_is_beyond {
        return Err(BarErrorReason::Misplaced { start, len_bytes });
    }
    Ok(Bar { index, kind, prefetchable, start, len_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;
    use crate::testing::{MockBar, MockBus, MockFunction, MockMap, Reaction, at};
    use paravane_hal::mmio::{MapErrorReason, Mmio as _};
    use paravane_hal::port::{PortIo, WithPorts};

    /// Ports that nobody uses.
    #[derive(Clone, Debug)]
    struct NoPorts;

    impl PortIo for NoPorts {
        fn in8(&self, _: u16) -> u8 {
            unreachable!("ports are mapped alone")
        }
        fn in16(&self, _: u16) -> u16 {
            unreachable!("ports are mapped alone")
        }
        fn in32(&self, _: u16) -> u32 {
            unreachable!("ports are mapped alone")
        }
        fn out8(&self, _: u16, _: u8) {
            unreachable!("ports are mapped alone")
        }
        fn out16(&self, _: u16, _: u16) {
            unreachable!("ports are mapped alone")
        }
        fn out32(&self, _: u16, _: u32) {
            unreachable!("ports are mapped alone")
        }
    }

    fn reason(function: &Function<&MockBus>, index: usize) -> BarErrorReason {
        function.bar(index).unwrap_err().reason
    }

    #[test]
    fn every_kind_of_bar_is_decoded_and_sized() {
        let bus = MockBus::of(
            MockFunction::nic()
                .bar(MockBar::memory32(0, 0xfebc_1000, 0x1000))
                .bar(MockBar::io(1, 0xc040, 0x20))
                .bar(MockBar::memory64(2, 0x40_0000_0000, 0x8_0000))
                .bar(MockBar::memory64(4, 0xfe00_0000, 0x4000).prefetchable()),
        );
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        let bar =
            |index, kind, prefetchable, start, len_bytes| Bar { index, kind, prefetchable, start, len_bytes };
        assert_eq!(
            function.bars().collect::<Result<Vec<_>, _>>().unwrap(),
            [
                bar(0, BarKind::Memory32, false, 0xfebc_1000, 0x1000),
                bar(1, BarKind::Io, false, 0xc040, 0x20),
                bar(2, BarKind::Memory64, false, 0x40_0000_0000, 0x8_0000),
                bar(4, BarKind::Memory64, true, 0xfe00_0000, 0x4000),
            ]
        );
        assert_eq!(reason(&function, 3), BarErrorReason::UpperHalf);
        assert_eq!(reason(&function, 6), BarErrorReason::NoSuchBar);
        assert_eq!(function.bar(1).unwrap().port(), Some(0xc040));
        assert_eq!(function.bar(1).unwrap().memory(), None);
    }

    #[test]
    fn sizing_happens_with_decoding_off_and_leaves_no_trace() {
        let bus = MockBus::of(MockFunction::nic().with(0x04, &[0x07, 0x00]).bar(MockBar::memory64(
            0,
            0x8000_0000,
            0x4000,
        )));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert!(!bus.moved_while_decoding.get());
        assert_eq!(bus.read16(at("00:04.0"), COMMAND), 0x0007, "bus mastering stayed, decoding came back");
        assert_eq!(bus.read32(at("00:04.0"), 0x10), 0x8000_0004);
        assert_eq!(function.bar(0).unwrap().len_bytes, 0x4000);
        let command_writes: Vec<_> =
            bus.writes.borrow().iter().copied().filter(|write| write.0 < 8).collect();
        assert_eq!(
            command_writes,
            [(0x04, 2, 0x0004), (0x04, 2, 0x0007)],
            "16 bits wide: the status beside it is left alone"
        );
    }

    #[test]
    fn a_bar_that_answers_one_probe_and_never_moves_is_sized() {
        // As Firecracker has it: beyond 256 GiB, and each half answers once.
        let bar = MockBar::memory64(0, 0x40_0000_0000, 0x8_0000).reacting(Reaction::OneShot);
        let bus = MockBus::of(MockFunction::nic().bar(bar));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        let bar = function.bar(0).unwrap();
        assert_eq!((bar.start, bar.len_bytes), (0x40_0000_0000, 0x8_0000));
        let again = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(again.bar(0), Ok(bar), "no half-answered probe is left behind");
    }

    #[test]
    fn a_bar_that_reacts_to_nothing_has_no_length() {
        let bars = [(0, 0xfebc_0000), (1, 0x7fff_f000)];
        let mut nic = MockFunction::nic();
        for (index, start) in bars {
            nic = nic.bar(MockBar::memory32(index, start, 0x1000).reacting(Reaction::Fixed));
        }
        let bus = MockBus::of(nic);
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        for (index, value) in bars {
            assert_eq!(reason(&function, index.into()), BarErrorReason::NotSizable { value });
        }
    }

    #[test]
    fn the_topmost_page_is_no_bar_that_reacts_to_nothing() {
        let bus = MockBus::of(MockFunction::nic().bar(MockBar::memory32(0, 0xffff_f000, 0x1000)));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(function.bar(0).unwrap().len_bytes, 0x1000);
    }

    #[test]
    fn a_bar_without_an_address_says_what_it_wants() {
        let bus = MockBus::of(MockFunction::nic().bar(MockBar::memory64(0, 0, 0x4000).prefetchable()));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        let shape = BarShape { kind: BarKind::Memory64, prefetchable: true, len_bytes: 0x4000 };
        assert_eq!(reason(&function, 0), BarErrorReason::Unassigned(shape));
        assert_eq!(reason(&function, 1), BarErrorReason::UpperHalf);
        assert_eq!(reason(&function, 2), BarErrorReason::Unimplemented);
        assert_eq!(
            function.bar(0).unwrap_err().to_string(),
            "00:04.0 BAR0: wants 0x4000 bytes and has no address; firmware assigned none, so the kernel has to"
        );
    }

    #[test]
    fn a_bar_that_loses_its_address_is_reported() {
        let bar = MockBar::memory32(0, 0xfebc_1000, 0x1000).reacting(Reaction::Forgets);
        let bus = MockBus::of(MockFunction::nic().bar(bar));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(reason(&function, 0), BarErrorReason::NotRestored { expected: 0xfebc_1000, seen: 0 });
    }

    #[test]
    fn reserved_types_and_halves_without_a_partner_are_refused() {
        let bus = MockBus::of(
            MockFunction::nic()
                .with(0x10, &0xfebc_0006_u32.to_le_bytes())
                .with(0x14, &[0xff; 4])
                .bar(MockBar::memory64(5, 0xfe00_0000, 0x1000)),
        );
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(reason(&function, 0), BarErrorReason::ReservedType);
        assert_eq!(reason(&function, 1), BarErrorReason::Gone);
        assert_eq!(reason(&function, 5), BarErrorReason::NoUpperHalf);
        assert_eq!(
            function.bars().filter(Result::is_err).count(),
            3,
            "broken ones are reported, empty ones are not"
        );
    }

    #[test]
    fn a_bridge_has_two_bars_and_its_bus_numbers_are_none() {
        let bus = MockBus::of(MockFunction::bridge(0, 1, 1).bar(MockBar::memory32(0, 0xfea0_0000, 0x1000)));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(function.bar(0).unwrap().len_bytes, 0x1000);
        assert_eq!(reason(&function, 2), BarErrorReason::NoSuchBar);
        assert!(!bus.writes.borrow().iter().any(|&(offset, ..)| (0x18..0x40).contains(&offset)));
    }

    #[test]
    fn a_function_that_does_not_answer_is_not_sized() {
        let bus = MockBus::of(MockFunction::nic().with(0x04, &[0xff, 0xff]));
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(reason(&function, 0), BarErrorReason::Gone);
        assert_eq!(*bus.writes.borrow(), []);
    }

    #[test]
    fn a_host_bridge_is_left_alone() {
        let host =
            MockFunction::nic().with(0x0a, &[0x00, 0x06]).bar(MockBar::memory32(0, 0xe000_0000, 0x1000));
        let bus = MockBus::of(host);
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        assert_eq!(reason(&function, 0), BarErrorReason::HostBridge);
        assert_eq!(*bus.writes.borrow(), []);
    }

    #[test]
    fn a_bar_is_mapped_whole_or_in_part_and_never_beyond() {
        let bus = MockBus::of(
            MockFunction::nic()
                .bar(MockBar::memory32(0, 0xfebc_0000, 0x4000))
                .bar(MockBar::io(1, 0xc000, 0x20)),
        );
        let function = Function::claim(&bus, at("00:04.0")).unwrap();
        let map = MockMap::default();
        let mapped = || {
            map.last
                .lock()
                .unwrap()
                .as_ref()
                .map(|(start, region)| (*start, region.words.lock().unwrap().len() * 4))
        };
        function.map_bar(&map, 0, 0x1000).unwrap();
        assert_eq!(mapped(), Some((0xfebc_0000, 0x4000)));
        function.map_bar_part(&map, 0, 0x3000, 0x1000).unwrap();
        assert_eq!(mapped(), Some((0xfebc_3000, 0x1000)));
        let failed = |result: Result<_, BarError>| result.unwrap_err().reason;
        let too_short = |wanted_bytes| BarErrorReason::TooShort { len_bytes: 0x4000, wanted_bytes };
        assert_eq!(failed(function.map_bar(&map, 0, 0x4001)), too_short(0x4001));
        assert_eq!(failed(function.map_bar_part(&map, 0, 0x3000, 0x1001)), too_short(0x4001));
        assert_eq!(failed(function.map_bar_part(&map, 0, u64::MAX, 16)), too_short(u64::MAX));
        assert_eq!(failed(function.map_bar(&map, 1, 1)), BarErrorReason::NotMemory);

        let mapper = WithPorts { mapper: map.clone(), io: NoPorts };
        assert_eq!(function.map_port_bar(&mapper, 1, 0x18).unwrap().len_bytes(), 0x20);
        let failed = |index, wanted_bytes| {
            function.map_port_bar(&mapper, index, wanted_bytes).map(drop).unwrap_err().reason
        };
        let too_short = BarErrorReason::TooShort { len_bytes: 0x20, wanted_bytes: 0x21 };
        assert_eq!(failed(1, 0x21), too_short);
        assert_eq!(failed(0, 1), BarErrorReason::NotPorts);
        let without = function.map_port_bar(&map, 1, 1).unwrap_err().reason;
        assert!(matches!(without, BarErrorReason::Map(MapError { reason: MapErrorReason::NoPorts, .. })));
    }

    #[test]
    fn a_bar_that_is_not_where_its_length_allows_is_refused() {
        let layout = Layout::Memory { wide: false };
        assert_eq!(
            decode(0, layout, 0xfebc_1000, 0xffff_0000),
            Err(BarErrorReason::Misplaced { start: 0xfebc_1000, len_bytes: 0x1_0000 })
        );
    }

    #[test]
    fn an_io_bar_may_leave_its_upper_half_zero() {
        let bar = decode(0, Layout::Io, 0xc041, 0x0000_ffe1).unwrap();
        assert_eq!((bar.start, bar.len_bytes), (0xc040, 0x20));
    }

    #[test]
    fn an_io_bar_at_the_top_of_port_space_is_sized() {
        for (probe, before) in [(0x0000_ffe1, 0xffe1), (0xffff_ffe1, 0xffff_ffe1)] {
            let bar = decode(0, Layout::Io, before, probe).unwrap();
            assert_eq!((bar.start, bar.len_bytes), (before & !1, 0x20));
        }
        let fixed = decode(0, Layout::Io, 0xc041, 0xc041);
        assert_eq!(fixed, Err(BarErrorReason::NotSizable { value: 0xc041 }));
        let beyond = decode(0, Layout::Io, 0x1_ffe1, 0x0000_ffe1);
        assert_eq!(beyond, Err(BarErrorReason::Misplaced { start: 0x1_ffe0, len_bytes: 0x20 }));
    }

    proptest::proptest! {
        /// Whatever was read: a BAR that is accepted lies in its address space, aligned to its
        /// length.
        #[test]
        fn an_accepted_bar_is_sound(before: u64, probe: u64, wide: bool, io: bool) {
            let layout = if io { Layout::Io } else { Layout::Memory { wide } };
            let narrow = |value: u64| if wide && !io { value } else { value & 0xffff_ffff };
            if let Ok(bar) = decode(0, layout, narrow(before), narrow(probe)) {
                assert!(bar.len_bytes.is_power_of_two() && bar.start.is_multiple_of(bar.len_bytes));
                let last = bar.start.checked_add(bar.len_bytes - 1).unwrap();
                assert!(bar.kind == BarKind::Memory64 || last <= u32::MAX.into());
            }
        }
    }
}
