//! Registers whose values are known: those of virtio's common configuration, and BAR1 of VMXNET3.
//!
//! Nothing here starts a device. It is reset, spoken to, and reset again, before any memory is
//! named to it.

use alloc::format;
use alloc::string::ToString as _;

use paravane_hal::Platform;
use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::{Mmio, MmioMap};
use paravane_hal::time::Clock;
use paravane_pci::{Command, ConfigAccess, Function};
use paravane_virtio::transport::pci;

use crate::finding::{Finding, Register, Width};
use crate::report::{Check, Report, Verdict};
use crate::settings::Settings;

/// How often a device is asked whether it is reset.
const RESET_LOOKS: u32 = 1_000_000;
/// How often a part is mapped and given up again.
const MAPPING_ROUNDS: u32 = 64;

/// The checks made here, in order.
const CHECKS: [Check; 6] = [
    Check::Registers,
    Check::RegisterWidth,
    Check::RegisterPart,
    Check::RegisterOverlap,
    Check::RegisterBounds,
    Check::RegisterRefusal,
];

/// Where the registers of a device are, and one of them to look at again and again.
struct Known {
    start: PhysAddr,
    len_bytes: usize,
    /// Reads the same each time.
    steady: Register,
    /// Where in it a small mapping starts: a multiple of 8 that is none of a page.
    part_offset_bytes: usize,
}

/// What kind of device it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Virtio,
    Vmxnet3,
}

impl Kind {
    /// The kind of a function that a driver takes.
    pub(crate) fn of<C: ConfigAccess>(function: &Function<C>) -> Option<Self> {
        let ids = function.ids();
        if pci::device_id(&ids) == Some(paravane_virtio::net::DEVICE_ID) {
            Some(Self::Virtio)
        } else if paravane_vmxnet3::is_vmxnet3(&ids) {
            Some(Self::Vmxnet3)
        } else {
            None
        }
    }
}

/// Whether the registers are as they should be, so that a driver may be let at them.
pub(crate) fn run<P: Platform, C: ConfigAccess>(
    platform: &P,
    function: &mut Function<C>,
    kind: Kind,
    settings: &Settings<'_>,
    report: &mut Report,
) -> bool {
    let skip = |report: &mut Report, why: &str| {
        CHECKS.iter().for_each(|check| report.add(*check, Verdict::NotRun(why.into())));
        false
    };
    if let Err(error) = function.ensure_d0(platform) {
        return skip(report, &error.to_string());
    }
    if let Err(error) = function.enable(Command::MEMORY) {
        return skip(report, &error.to_string());
    }
    let place = match kind {
        Kind::Virtio => virtio_place(function),
        Kind::Vmxnet3 => vmxnet3_place(function),
    };
    let Some(known) = place else {
        return skip(report, "the device names no memory BAR for its registers");
    };
    let before = settings.before;

    before(Check::Registers);
    let region = match whole(platform, &known) {
        Ok(region) => region,
        Err(finding) => {
            report.add(Check::Registers, Verdict::Failed(finding));
            CHECKS
                .iter()
                .skip(1)
                .for_each(|check| report.add(*check, Verdict::NotRun("nothing is mapped".into())));
            return false;
        }
    };
    let values = match kind {
        Kind::Virtio => virtio_values(&region, &known, platform),
        Kind::Vmxnet3 => vmxnet3_values(&region, &known),
    };
    report.judge(Check::Registers, values.clone());
    before(Check::RegisterWidth);
    match kind {
        Kind::Virtio => report.judge(Check::RegisterWidth, virtio_widths(&region, &known)),
        Kind::Vmxnet3 => {
            let why = "all registers of a VMXNET3 are 32 bits wide; a virtio device would tell";
            report.add(Check::RegisterWidth, Verdict::NotOffered(why));
        }
    }
    before(Check::RegisterPart);
    report.judge(Check::RegisterPart, part(platform, &region, &known));
    before(Check::RegisterOverlap);
    report.judge(Check::RegisterOverlap, overlap(platform, &region, &known));
    before(Check::RegisterBounds);
    report.judge(Check::RegisterBounds, bounds(platform, &known));
    before(Check::RegisterRefusal);
    report.judge(Check::RegisterRefusal, refusal(platform, &known));
    if kind == Kind::Virtio {
        region.write8(virtio::DEVICE_STATUS, 0);
    }
    give_back(platform, region);
    // No driver reaches beyond a region or maps nonsense.
    let harmless = [Check::RegisterBounds, Check::RegisterRefusal];
    let failed = report.findings().map(|(check, _)| check);
    failed.filter(|check| CHECKS.contains(check) && !harmless.contains(check)).count() == 0
}

impl Known {
    fn register(&self, name: &'static str, offset_bytes: usize, width: Width) -> Register {
        Register { name, start: self.start, offset_bytes, width }
    }
}

fn get(region: &impl Mmio, offset_bytes: usize, width: Width) -> u32 {
    match width {
        Width::Byte => region.read8(offset_bytes).into(),
        Width::Half => region.read16(offset_bytes).into(),
        Width::Word => region.read32(offset_bytes),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "values fit the register they are written to")]
fn put(region: &impl Mmio, register: &Register, value: u32) {
    match register.width {
        Width::Byte => region.write8(register.offset_bytes, value as u8),
        Width::Half => region.write16(register.offset_bytes, value as u16),
        Width::Word => region.write32(register.offset_bytes, value),
    }
}

/// Reads a register that has to satisfy `is_right`.
fn expect(
    region: &impl Mmio,
    register: Register,
    expected: &'static str,
    is_right: impl FnOnce(u32) -> bool,
) -> Result<u32, Finding> {
    let seen = get(region, register.offset_bytes, register.width);
    if is_right(seen) { Ok(seen) } else { Err(Finding::RegisterReads { register, expected, seen }) }
}

/// Writes a register, and reads it back.
fn keeps(region: &impl Mmio, register: Register, written: u32) -> Result<(), Finding> {
    put(region, &register, written);
    let seen = get(region, register.offset_bytes, register.width);
    if seen == written { Ok(()) } else { Err(Finding::RegisterKeeps { register, written, seen }) }
}

fn whole<P: Platform>(platform: &P, known: &Known) -> Result<P::Region, Finding> {
    map(platform, known.start, known.len_bytes, "the registers of a device")
}

fn map<P: Platform>(
    platform: &P,
    start: PhysAddr,
    len_bytes: usize,
    what: &'static str,
) -> Result<P::Region, Finding> {
    let region =
        MmioMap::map(platform, start, len_bytes).map_err(|error| Finding::CannotMap { error, what })?;
    let has_bytes = region.len_bytes();
    if has_bytes < len_bytes {
        return Err(Finding::RegionTooShort { start, wanted_bytes: len_bytes, has_bytes });
    }
    Ok(region)
}

/// Registers of virtio's common configuration.
///
/// Spec: VIRTIO 1.2, 4.1.4.3 "Common configuration structure layout".
mod virtio {
    pub(super) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(super) const DEVICE_FEATURE: usize = 0x04;
    pub(super) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(super) const NUM_QUEUES: usize = 0x12;
    pub(super) const DEVICE_STATUS: usize = 0x14;
    pub(super) const QUEUE_SELECT: usize = 0x16;
    pub(super) const QUEUE_SIZE: usize = 0x18;
    /// As long as every device has it.
    pub(super) const LEN_BYTES: usize = 0x38;
    pub(super) const ACKNOWLEDGE: u32 = 1;
    pub(super) const DRIVER: u32 = 2;
    /// The kind of capability that names it.
    pub(super) const COMMON: u8 = 1;
    /// The most entries that a queue can have.
    pub(super) const MAX_ENTRIES: u32 = 0x8000;
}

/// Spec: VIRTIO 1.2, 4.1.4 "Virtio Structure PCI Capabilities".
fn virtio_place<C: ConfigAccess>(function: &Function<C>) -> Option<Known> {
    let capability = function
        .vendor_capabilities()
        .filter_map(Result::ok)
        .find(|capability| capability.read8(3) == Some(virtio::COMMON))?;
    let bar = function.bar(capability.read8(4)?.into()).ok()?;
    let start = bar.memory()?.checked_add(capability.read32(8)?.into())?;
    let steady = Register { name: "num_queues", start, offset_bytes: virtio::NUM_QUEUES, width: Width::Half };
    Some(Known { start, len_bytes: virtio::LEN_BYTES, steady, part_offset_bytes: 0x10 })
}

fn virtio_values(region: &impl Mmio, known: &Known, clock: &impl Clock) -> Result<(), Finding> {
    let status = known.register("device_status", virtio::DEVICE_STATUS, Width::Byte);
    put(region, &status, 0);
    let mut seen = u32::MAX;
    for _ in 0..RESET_LOOKS {
        seen = get(region, status.offset_bytes, status.width);
        if seen == 0 {
            break;
        }
        clock.relax();
    }
    if seen != 0 {
        return Err(Finding::RegisterKeeps { register: status, written: 0, seen });
    }
    let offered = known.register("device_feature_select", virtio::DEVICE_FEATURE_SELECT, Width::Word);
    let accepted = known.register("driver_feature_select", virtio::DRIVER_FEATURE_SELECT, Width::Word);
    keeps(region, offered, 1)?;
    let features = known.register("device_feature, upper half", virtio::DEVICE_FEATURE, Width::Word);
    expect(region, features, "bit 0 set (VIRTIO_F_VERSION_1), and not all bits", |seen| {
        seen & 1 == 1 && seen != u32::MAX
    })?;
    // Two registers of one kind: an offset that is off by some meets the other one.
    keeps(region, offered, 0)?;
    keeps(region, accepted, 1)?;
    expect(region, offered, "0, as was written before its neighbour", |seen| seen == 0)?;
    keeps(region, accepted, 0)?;
    expect(region, known.steady, "2 to 32768, the queues of a network device", |seen| {
        (2..=virtio::MAX_ENTRIES).contains(&seen)
    })?;
    keeps(region, status, virtio::ACKNOWLEDGE)
}

fn virtio_widths(region: &impl Mmio, known: &Known) -> Result<(), Finding> {
    let status = known.register("device_status", virtio::DEVICE_STATUS, Width::Byte);
    let select = known.register("queue_select", virtio::QUEUE_SELECT, Width::Half);
    let size = known.register("queue_size", virtio::QUEUE_SIZE, Width::Half);
    keeps(region, select, 1)?;
    let is_size = |seen: u32| (1..=virtio::MAX_ENTRIES).contains(&seen);
    expect(region, size, "1 to 32768, the entries of queue 1", is_size)?;
    let unchanged = |written: Register, neighbour: Register, before: u32| {
        let after = get(region, neighbour.offset_bytes, neighbour.width);
        if after == before {
            Ok(())
        } else {
            Err(Finding::NeighbourChanged { written, neighbour, before, after })
        }
    };
    keeps(region, status, virtio::ACKNOWLEDGE | virtio::DRIVER)?;
    unchanged(status, select, 1)?;
    keeps(region, select, 0)?;
    unchanged(select, status, virtio::ACKNOWLEDGE | virtio::DRIVER)?;
    expect(region, size, "1 to 32768, the entries of queue 0", is_size)?;
    expect(region, known.steady, "2 to 32768, the queues of a network device", is_size)?;
    Ok(())
}

/// Registers of VMXNET3, in BAR1.
mod vmxnet3 {
    pub(super) const BAR: usize = 1;
    pub(super) const VRRS: usize = 0x00;
    pub(super) const UVRS: usize = 0x08;
    pub(super) const CMD: usize = 0x20;
    pub(super) const MACL: usize = 0x28;
    pub(super) const MACH: usize = 0x30;
    pub(super) const LEN_BYTES: usize = 0x1000;
    /// Asks for the first four bytes of the address that the device was made with,
    pub(super) const GET_PERM_MAC_LO: u32 = 0xf00d_0003;
    /// and the last two.
    pub(super) const GET_PERM_MAC_HI: u32 = 0xf00d_0004;
}

fn vmxnet3_place<C: ConfigAccess>(function: &Function<C>) -> Option<Known> {
    let bar = function.bar(vmxnet3::BAR).ok()?;
    let start = bar.memory()?;
    let len_bytes = usize::try_from(bar.len_bytes).ok()?.min(vmxnet3::LEN_BYTES);
    let steady = Register { name: "MACL", start, offset_bytes: vmxnet3::MACL, width: Width::Word };
    Some(Known { start, len_bytes, steady, part_offset_bytes: vmxnet3::MACL })
}

fn vmxnet3_values(region: &impl Mmio, known: &Known) -> Result<(), Finding> {
    let word = |name, offset_bytes| known.register(name, offset_bytes, Width::Word);
    let revisions = "bit 0 set, for revision 1, which every device speaks, and not all bits";
    let has_first = |seen: u32| seen & 1 == 1 && seen != u32::MAX;
    expect(region, word("VRRS", vmxnet3::VRRS), revisions, has_first)?;
    expect(region, word("UVRS", vmxnet3::UVRS), revisions, has_first)?;
    let high = expect(
        region,
        word("MACH", vmxnet3::MACH),
        "the last two bytes of an Ethernet address, and zeros above",
        |seen| seen >> 16 == 0,
    )?;
    let low = expect(region, known.steady, "the first four bytes of a station's address", |seen| {
        seen & 1 == 0 && seen | high != 0
    })?;
    let command = word("CMD", vmxnet3::CMD);
    for (question, current) in [(vmxnet3::GET_PERM_MAC_LO, low), (vmxnet3::GET_PERM_MAC_HI, high)] {
        put(region, &command, question);
        expect(region, command, "the answer to the command just written: MACL or MACH", |seen| {
            // A device without a burned-in address says zero.
            seen == current || seen == 0
        })?;
    }
    Ok(())
}

/// A small mapping that does not start at a page, again and again.
fn part<P: Platform>(platform: &P, whole: &P::Region, known: &Known) -> Result<(), Finding> {
    let Known { steady, part_offset_bytes, .. } = *known;
    let start = part_start(known, part_offset_bytes);
    for round in 0..MAPPING_ROUNDS {
        let mapped = map(platform, start, 8, "8 bytes of registers at no multiple of a page");
        let region = match mapped {
            Err(Finding::CannotMap { error, .. }) if round > 0 => {
                return Err(Finding::MapsRunOut { rounds: round, error });
            }
            other => other?,
        };
        let seen = get(&region, steady.offset_bytes.saturating_sub(part_offset_bytes), steady.width);
        let expected = get(whole, steady.offset_bytes, steady.width);
        give_back(platform, region);
        if seen != expected {
            let (whole, part) = (expected, seen);
            return Err(Finding::PartDiffers { register: steady, part_offset_bytes, whole, part });
        }
    }
    Ok(())
}

/// The structure's end was computed by the device or the bus already.
fn part_start(known: &Known, offset_bytes: usize) -> PhysAddr {
    known.start.checked_add(offset_bytes as u64).unwrap_or(known.start)
}

/// Ends a mapping.
fn give_back<P: Platform>(platform: &P, region: P::Region) {
    MmioMap::unmap(platform, region);
}

/// Two mappings of the same registers, of which the second goes first, while a clone of it is
/// about.
fn overlap<P: Platform>(platform: &P, first: &P::Region, known: &Known) -> Result<(), Finding> {
    let Known { steady, .. } = *known;
    let look = |region: &P::Region| get(region, steady.offset_bytes, steady.width);
    let expected = look(first);
    let same = |when, seen| {
        if seen == expected {
            Ok(())
        } else {
            Err(Finding::OverlapDiffers { register: steady, when, first: expected, second: seen })
        }
    };
    let second = map(platform, known.start, known.len_bytes, "registers that are mapped already")?;
    same("through a second one", look(&second))?;
    same("through the first one, with a second one there", look(first))?;
    let clone = second.clone();
    give_back(platform, second);
    same("through a clone of one that was unmapped", look(&clone))?;
    drop(clone);
    same("through the first one, once a second one was unmapped", look(first))
}

/// Accesses beyond the end of a short region, and across a register's alignment.
fn bounds<P: Platform>(platform: &P, known: &Known) -> Result<(), Finding> {
    let Known { start, steady, .. } = *known;
    // Ends right before a register that answers, in the same page: a region that answers there does
    // not look at its end.
    let len_bytes = steady.offset_bytes;
    let region = map(platform, start, len_bytes, "the first bytes of a structure of registers")?;
    if region.len_bytes() > len_bytes {
        return Err(Finding::RegionTooShort {
            start,
            wanted_bytes: len_bytes,
            has_bytes: region.len_bytes(),
        });
    }
    let ones = |width: Width| u32::MAX >> (32 - u32::from(width.bits()));
    let outside = [
        (len_bytes, steady.width),
        (usize::MAX, Width::Byte),
        (usize::MAX - 3, Width::Word),
        // Half of it is inside.
        (len_bytes - len_bytes % 4 - 2, Width::Word),
    ];
    for (offset_bytes, width) in outside {
        let seen = get(&region, offset_bytes, width);
        if seen != ones(width) {
            return Err(Finding::AnsweredOutside { start, len_bytes, offset_bytes, width, seen });
        }
    }
    give_back(platform, region);
    Ok(())
}

fn refusal<P: Platform>(platform: &P, known: &Known) -> Result<(), Finding> {
    let nonsense = [(known.start, 0), (PhysAddr::new(u64::MAX - 0xfff), 0x2000)];
    for (start, len_bytes) in nonsense {
        if let Ok(region) = MmioMap::map(platform, start, len_bytes) {
            give_back(platform, region);
            return Err(Finding::NonsenseMapped { start, len_bytes });
        }
    }
    Ok(())
}

/// The name of a function, for what cannot be run.
pub(crate) fn no_driver<C: ConfigAccess>(function: &Function<C>) -> alloc::string::String {
    format!("{} {} is neither virtio-net nor VMXNET3", function.address(), function.ids())
}
