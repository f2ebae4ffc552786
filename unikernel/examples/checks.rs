//! What an image must survive, or must not: one check a boot, chosen by the command line's first
//! word.
//!
//! | Word | What it does | How QEMU ends with `isa-debug-exit` |
//! |---|---|---|
//! | `stack` | uses up the stack | 39, and the console says so |
//! | `null`, `code`, `data` | reads through null, writes to code, runs data | 39, a page fault |
//! | `panic` | panics | 37 |
//! | `kept` | panics, and is reset; told of that, it is content | 33 |
//! | `panics` | panics, and is reset, as often as that is done | 37 |
//! | `memory` | heap and DMA memory, taken and given back | 33 |
//! | `hal` | the self-test for platforms, over every NIC: memory, clock, registers, frames | 33 |
//! | `edu` | interrupts of QEMU's `edu` device: MSI, then its line | 33 |
//! | `ivshmem`, `ivshmem-high` | registers of `ivshmem-plain` below and above 4 GiB; RAM refused as registers | 33 |

#![no_std]
#![no_main]
#![expect(unsafe_code, clippy::panic, reason = "breaks the rules to see them kept")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "registers of devices in configuration space are parts of words"
)]

extern crate alloc;

use alloc::vec::Vec;
use core::num::NonZeroUsize;
use core::time::Duration;

use log::info;
use paravane_hal::addr::{Align, PhysAddr};
use paravane_hal::dma::{Dma, DmaRequest};
use paravane_hal::mmio::{MapErrorReason, Mmio, MmioMap};
use paravane_hal::port::PortIo;
use paravane_hal::time::Clock;
use paravane_hal_check::{ArpPeer, Settings, check_nic, check_platform};
use paravane_hal_x86_64::line::Trigger;
use paravane_unikernel::bus::{self, Place, Words, pci};
use paravane_unikernel::exit::{Exit, exit};
use paravane_unikernel::last_panic;
use paravane_unikernel::platform::Machine;

paravane_unikernel::entry!(main);

fn main(machine: Machine) -> ! {
    let word = machine.boot.command_line.words().next();
    let passed = match word.map_or("", |word| word.key) {
        "stack" => deeper(0) == 0,
        "null" => read_null(),
        "code" => write_code(),
        "data" => run_data(),
        "panic" => panic!("as asked"),
        "kept" => kept(),
        "panics" => panics(),
        "memory" => memory(&machine),
        "hal" => hal(&machine),
        "edu" => edu(&machine),
        "ivshmem" => ivshmem(&machine, false),
        "ivshmem-high" => ivshmem(&machine, true),
        other => {
            info!("no check named {other:?}");
            false
        }
    };
    info!("{}", if passed { "passed" } else { "failed" });
    exit(if passed { Exit::Success } else { Exit::Failure })
}

fn kept() -> bool {
    last_panic::reset_after(true);
    match last_panic::tell() {
        Some(last) => last.in_a_row == 1 && last.message.ends_with("kept as asked"),
        None => panic!("kept as asked"),
    }
}

fn panics() -> bool {
    last_panic::reset_after(true);
    last_panic::tell();
    panic!("again, as asked")
}

#[inline(never)]
fn deeper(depth: usize) -> usize {
    let frame = core::hint::black_box([depth; 64]);
    if depth == usize::MAX { 0 } else { deeper(depth + 1).wrapping_add(frame[depth % 64]) }
}

fn read_null() -> bool {
    // SAFETY: none; the fault is what is looked for.
    unsafe { core::ptr::with_exposed_provenance::<u8>(core::hint::black_box(8)).read_volatile() == 0 }
}

fn write_code() -> bool {
    let code = (write_code as fn() -> bool as *const u8).cast_mut();
    // SAFETY: none; the fault is what is looked for.
    unsafe { core::hint::black_box(code).write_volatile(0xc3) };
    false
}

fn run_data() -> bool {
    static DATA: [u8; 1] = [0xc3];
    let data = core::hint::black_box(DATA.as_ptr());
    // SAFETY: none; the fault is what is looked for.
    unsafe { core::mem::transmute::<*const u8, extern "C" fn()>(data)() };
    false
}

fn memory(machine: &Machine) -> bool {
    let words: Vec<u64> = (0..100_000).collect();
    let sum: u64 = words.iter().sum();
    let platform = machine.platform;
    let (used, free) = (platform.dma.dma_bytes_in_use(), machine.dma_bytes_free());
    for round in 0..200usize {
        let len = NonZeroUsize::MIN.saturating_add(round * 977);
        let request = DmaRequest { address_bits: 32, ..DmaRequest::new(len, Align::new(1 << (round % 17))) };
        let Ok(region) = platform.alloc(request) else { return false };
        // SAFETY: the region is that long, and nobody else's.
        let first = unsafe { region.cpu().read_volatile() };
        if first != 0 || !request.accepts(region.dma()) || platform.dma.dma_bytes_in_use() < used + len.get()
        {
            return false;
        }
        // SAFETY: as above; dirtied, so that the next round sees zeroing.
        unsafe { region.cpu().write_volatile(0xff) };
        // SAFETY: from this platform, and no device ever knew of it.
        unsafe { platform.free(region) };
    }
    info!("{used} bytes of DMA memory in use, {free} free");
    sum == 4_999_950_000 && platform.dma.dma_bytes_in_use() == used && machine.dma_bytes_free() == free
}

fn hal(machine: &Machine) -> bool {
    let platform = machine.platform;
    let in_use = || platform.dma.dma_bytes_in_use();
    let before = |check| info!("checking {check}");
    let settings =
        Settings::default().with_before(&before).with_bytes_in_use(&in_use).with_peer(ArpPeer::QEMU_USER);
    let mut report = check_platform(&platform, &settings);
    let nics = bus::find_nics(machine, &Words::default());
    for nic in &nics {
        let Place::Pci { bus, address, path, .. } = &nic.place else { continue };
        match pci::claim(bus, *address, path) {
            Ok(function) => report.append(check_nic(&platform, function, &settings)),
            Err(reason) => {
                info!("{reason}");
                return false;
            }
        }
    }
    report.outcomes().iter().for_each(|outcome| info!("{outcome}"));
    info!("{} NICs, {} findings", nics.len(), report.findings().count());
    !nics.is_empty() && report.is_clean() && platform.dma.dma_bytes_in_use() == 0
}

/// Configuration space of bus 0, by ports.
struct Config<'a>(&'a Machine, u32);

impl<'a> Config<'a> {
    fn find(machine: &'a Machine, ids: u32) -> Option<Self> {
        (0..32).map(|device| Self(machine, 0x8000_0000 | device << 11)).find(|config| config.read(0) == ids)
    }
    fn read(&self, offset: u32) -> u32 {
        self.0.ports.out32(0xcf8, self.1 | offset);
        self.0.ports.in32(0xcfc)
    }
    fn write(&self, offset: u32, value: u32) {
        self.0.ports.out32(0xcf8, self.1 | offset);
        self.0.ports.out32(0xcfc, value);
    }
    /// The capability with this id.
    fn capability(&self, id: u32) -> Option<u32> {
        let mut at = self.read(0x34) & 0xfc;
        for _ in 0..48 {
            match self.read(at) {
                word if word & 0xff == id => return Some(at),
                word => at = word >> 8 & 0xfc,
            }
        }
        None
    }
}

/// Memory decoding and bus mastering on, the interrupt pin on.
const COMMAND: u32 = 0x06;

fn edu(machine: &Machine) -> bool {
    const RAISE: usize = 0x60;
    const ACKNOWLEDGE: usize = 0x64;
    let Some(config) = Config::find(machine, 0x11e8_1234) else { return false };
    config.write(0x04, COMMAND);
    let bar = PhysAddr::new(u64::from(config.read(0x10) & !0xf));
    let Ok(registers) = MmioMap::map(&machine.platform, bar, 0x1000) else { return false };
    let irq = machine.interrupts;
    let woken_within = |limit: Duration| {
        let start = machine.platform.now();
        irq.idle(Some(limit));
        machine.platform.now().since(start) < limit / 2
    };

    let (Ok((vector, message)), Some(msi)) = (irq.allocate_vector(), config.capability(0x05)) else {
        return false;
    };
    config.write(msi + 4, message.address() as u32);
    config.write(msi + 8, 0);
    config.write(msi + 12, message.data());
    config.write(msi, config.read(msi) | 1 << 16);
    registers.write32(RAISE, 1);
    let by_message = woken_within(Duration::from_millis(200)) && irq.take_pending().messages == vector.bit();
    registers.write32(ACKNOWLEDGE, 1);
    let silent = !woken_within(Duration::from_millis(50)) && irq.take_pending().is_empty();
    info!("message: {by_message}, then silence: {silent}");

    config.write(msi, config.read(msi) & !(1 << 16));
    let line = config.read(0x3c) as u8;
    if machine.enable_line(line, Trigger::Level).is_err() {
        return false;
    }
    let mut by_line = true;
    for _ in 0..3 {
        registers.write32(RAISE, 2);
        by_line &= woken_within(Duration::from_millis(200)) && irq.take_pending().lines == 1 << line;
        // Masked until let through, though the device still rings.
        by_line &= !woken_within(Duration::from_millis(50)) && irq.take_pending().is_empty();
        registers.write32(ACKNOWLEDGE, 2);
        irq.unmask_line(line);
    }
    info!("line {line}: {by_line}");
    by_message && silent && by_line
}

fn ivshmem(machine: &Machine, above_4_gib: bool) -> bool {
    let Some(config) = Config::find(machine, 0x1110_1af4) else { return false };
    config.write(0x04, COMMAND);
    let bar = PhysAddr::new(u64::from(config.read(0x1c)) << 32 | u64::from(config.read(0x18) & !0xf));
    info!("BAR 2 at {:#x}", bar.get());
    if (bar.get() >= 1 << 32) != above_4_gib {
        return false;
    }
    let platform = machine.platform;
    let mapped = |len| match MmioMap::map(&platform, bar, len) {
        Ok(region) => Some(region),
        Err(error) => {
            info!("{error}");
            None
        }
    };
    // A page, then all of it by large pages, then a page again: the same memory each time.
    let (Some(page), Some(all), Some(again)) = (mapped(0x1000), mapped(0x40_0000), mapped(0x800)) else {
        return false;
    };
    let free = machine.dma_bytes_free();
    page.write32(0x10, 0x1234_5678);
    all.write32(0x3f_fff0, 0x9abc_def0);
    let same =
        all.read32(0x10) == 0x1234_5678 && again.read16(0x12) == 0x1234 && again.read32(0x800) == u32::MAX;
    let kept = all.read32(0x3f_fff0) == 0x9abc_def0;
    let mapped_again = (0..1000).all(|_| mapped(0x40_0000).is_some());
    let costs_nothing = mapped_again && machine.dma_bytes_free() == free;
    let refused = |start: u64, len, reason| {
        MmioMap::map(&platform, PhysAddr::new(start), len).is_err_and(|error| error.reason == reason)
    };
    let ram_is_ram = refused(0x20_0000, 0x1000, MapErrorReason::NotRegisters)
        && refused(0x10_0000, 1, MapErrorReason::NotRegisters);
    let ends =
        refused(u64::MAX, 1, MapErrorReason::OutOfRange) && refused(1 << 50, 1, MapErrorReason::OutOfRange);
    info!(
        "same {same}, kept {kept}, again for nothing {costs_nothing}, RAM refused {ram_is_ram}, ends {ends}"
    );
    same && kept && costs_nothing && ram_is_ram && ends
}
