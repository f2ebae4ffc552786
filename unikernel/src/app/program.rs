//! What the images do: find every NIC, bring it up, and serve HTTP over all of them; and a disk's
//! files, in an image that has a way to mount one.
//!
//! It reads top to bottom as it happens: understand the command line, find the devices, mount the
//! disk, understand its file, start the NICs, serve. A [router](super::router::program) does the
//! same steps for another end.

pub mod disks;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::time::Duration;

use crate::app::config::{Config, nic_name};
use crate::app::http::{Files, routes};
use crate::app::server::{Boot, Carrier, End, Host, Identity, Nic, Rung, Server, Stacked};
use crate::bus::pci::{self, Bus};
use crate::bus::words::{MmioPlace, Words};
use crate::bus::{self, Found, FoundNic, Place};
use crate::console;
use crate::disk;
use crate::entropy::{self, Seeded};
use crate::interrupts::LINES;
use crate::last_panic;
use crate::platform::{Machine, Platform};
use crate::power::{self, Power};
use log::{error, info, warn};
use paravane_hal::Failed;
use paravane_hal::time::Clock;
use paravane_hal_x86_64::line::Trigger;
use paravane_net::{FrameLayout, FramePool};
use paravane_nic::{Config as NicConfig, InterruptPlan, IrqMode, Kind as NicKind, Nic as Device};

/// How long an image sleeps that has nothing to serve, before it looks at the power button again.
const NOTHING_TO_DO: Duration = Duration::from_millis(100);

/// What is missing where nothing gives random numbers.
const NO_ENTROPY: &str = "entropy: none: neither RDSEED nor RDRAND works here, and there is no virtio-rng (1af4:1044, 1af4:1005); \
    off: sequence numbers, ports and transaction ids that nobody can guess, for they begin with the clock; \
    add -cpu max or -device virtio-rng-pci";

/// What a disk has for the program.
pub struct Mounted {
    /// What its file says; the command line goes before.
    pub config: Option<Config>,
    /// Its files, to be served.
    pub files: Box<dyn Files>,
}

/// Mounts the first of the disks at these places that can be; what is wrong with one is said.
pub type Mount = fn(&Machine, Vec<Place>) -> Option<Mounted>;

/// Runs, with `mount` for disks if there is one; without, disks are nobody's.
pub fn run(machine: Machine, mount: Option<Mount>) -> ! {
    let words = || machine.boot.command_line.words().map(|word| word.text);
    let config = Config::default().with_words(words());
    console::set_level(config.log);
    for rejected in &config.rejected {
        warn!("{rejected}");
    }

    say_foreign(&config.foreign);
    last_panic::tell();

    let Devices { nics: found, disks, entropy } = Devices::find(&machine, &config.devices);
    let seeded = seed(&machine, entropy);

    let mut mounted = mount.and_then(|mount| mount(&machine, disks));
    let config = match mounted.as_mut().and_then(|mounted| mounted.config.take()) {
        Some(of_file) => of_file.with_words(words()),
        None => config,
    };
    console::set_level(config.log);

    let nic_config = |name: &str| NicConfig::default().with_ip_mtu_bytes(config.nic(name).ip_mtu_bytes);
    let frames = (0..found.len()).map(|nic| nic_config(&nic_name(nic)).frames()).sum();
    let pool = make_pool(&machine, frames, found.len());
    let mut nics = Vec::new();
    for (index, found) in found.into_iter().enumerate() {
        let identity = identity(index, &found);
        let carrier = Box::new(Stacked::new(config.nic(&identity.name).addressing, routes));
        let nic_config = nic_config(&identity.name);
        nics.extend(start(&machine, config.irq, identity, found, nic_config, carrier, &pool));
    }

    let server = make_server(machine, nics, pool, seeded);
    match mounted {
        Some(Mounted { files, .. }) => server.with_files(files).run(),
        None => server.run(),
    }
}

/// Says which words are no mistake and nothing to us.
pub(super) fn say_foreign(words: &[String]) {
    if !words.is_empty() {
        info!("command line: for Linux, not for this image: {}", words.join(" "));
    }
}

/// Makes a pool of so many frames for so many NICs. Without NICs, or memory, the machine sleeps.
pub(super) fn make_pool(machine: &Machine, frames: u32, nics: usize) -> FramePool {
    if nics == 0 {
        warn!(
            "no NIC found: there is neither a vmxnet3 (15ad:07b0) nor a virtio-net (1af4:1041, 1af4:1000) on a PCI bus, \
             nor a virtio-net (1) in memory"
        );
        idle(machine);
    }
    match FramePool::new(machine.platform, FrameLayout::new(frames)) {
        Ok(pool) => pool,
        Err(reason) => {
            error!("no frames for {nics} NICs: {reason}; give the machine more memory");
            idle(machine);
        }
    }
}

/// Says how long the boot took, and makes the server.
pub(super) fn make_server(
    machine: Machine,
    nics: Vec<Nic<Platform, Bus>>,
    pool: FramePool,
    seeded: Option<Seeded>,
) -> Server<Platform, Bus, impl Host> {
    let clock = machine.platform.clock;
    let ticks = clock.ticks_now();
    let micros = u64::try_from(clock.duration(ticks).as_micros()).unwrap_or(u64::MAX);
    let up = nics.iter().filter(|nic| nic.is_up()).count();
    info!("boot: {up} NICs up with link after {micros} us, {ticks} tsc ticks since the first instruction");
    let power = Power::find(&machine);
    Server::new(Hosting { machine, power }, nics, pool, seeded, Boot { micros, ticks })
}

/// A generator of random numbers. Where nothing gives a seed, that is said.
pub(super) fn seed(machine: &Machine, places: Vec<Place>) -> Option<Seeded> {
    let seeded = entropy::find(machine, places);
    if seeded.is_none() {
        warn!("{NO_ENTROPY}");
    }
    seeded
}

/// What there is in the machine.
pub(super) struct Devices {
    pub(super) nics: Vec<FoundNic>,
    pub(super) disks: Vec<Place>,
    pub(super) entropy: Vec<Place>,
}

impl Devices {
    /// Finds them, where `words` say and elsewhere.
    pub(super) fn find(machine: &Machine, words: &Words) -> Self {
        let mut devices = Self { nics: Vec::new(), disks: Vec::new(), entropy: Vec::new() };
        for Found { place, kind } in bus::find(machine, words, &Kind::of) {
            match kind {
                Kind::Nic(kind) => devices.nics.push(Found { place, kind }),
                Kind::Disk => devices.disks.push(place),
                Kind::Entropy => devices.entropy.push(place),
            }
        }
        devices
    }
}

/// What is looked for.
enum Kind {
    Nic(NicKind),
    Disk,
    Entropy,
}

impl Kind {
    fn of(place: &Place) -> Option<Self> {
        let nic = place.nic_kind().map(Self::Nic);
        let disk = || disk::is_disk(place).then_some(Self::Disk);
        nic.or_else(disk).or_else(|| entropy::is_device(place).then_some(Self::Entropy))
    }
}

/// What the NIC at `index` is known by.
pub(super) fn identity(index: usize, found: &FoundNic) -> Identity {
    Identity { name: nic_name(index), place: found.place.address(), ids: found.place.ids() }
}

/// Takes one NIC from its place to where it carries frames; or says why not.
pub(super) fn start(
    machine: &Machine,
    irq: IrqMode,
    identity: Identity,
    found: FoundNic,
    config: NicConfig,
    carrier: Box<dyn Carrier<Platform>>,
    pool: &FramePool,
) -> Option<Nic<Platform, Bus>> {
    let Identity { name, place, ids } = identity.clone();
    let started = try_start(machine, irq, identity, found, config, carrier, pool);
    started.inspect_err(|reason| error!("nic {name}: {place} {ids}: {reason}; skipped")).ok()
}

fn try_start(
    machine: &Machine,
    irq: IrqMode,
    identity: Identity,
    found: FoundNic,
    config: NicConfig,
    carrier: Box<dyn Carrier<Platform>>,
    pool: &FramePool,
) -> Result<Nic<Platform, Bus>, Box<dyn Error>> {
    let (device, trigger) = match found.place {
        Place::Pci { bus, address, path, .. } => {
            let function = pci::claim(bus, address, &path)?;
            (Device::open(function, machine.platform).map_err(Failed::into_error)?, Trigger::Level)
        }
        Place::Mmio(device) => {
            let MmioPlace { line, trigger, .. } = device.place();
            let device = device.claim(machine)?;
            (Device::open_mmio(device, Some(line), machine.platform).map_err(Failed::into_error)?, trigger)
        }
    };
    let allocate = || machine.interrupts.allocate_vector().ok().map(|(_, message)| message);
    let (plan, remark) = InterruptPlan::decide(irq, device.vectors(), allocate, |line| line < LINES);
    if let Some(remark) = remark {
        warn!("nic {}: {} {}: {remark}", identity.name, identity.place, identity.ids);
    }
    Ok(Nic::start(identity, device, config, carrier, (plan, trigger), pool.clone())?)
}

/// What the server needs of the machine.
struct Hosting {
    machine: Machine,
    power: &'static Power,
}

impl Host for Hosting {
    fn now(&self) -> paravane_hal::time::Instant {
        self.machine.platform.now()
    }
    fn sleep(&self, timeout: Option<Duration>) {
        self.machine.interrupts.idle(timeout);
    }
    fn take_rung(&self) -> Rung {
        let pending = self.machine.interrupts.take_pending();
        Rung { lines: pending.lines, messages: pending.messages != 0 }
    }
    fn open_line(&self, line: u8, trigger: Trigger) -> bool {
        self.machine.enable_line(line, trigger).is_ok()
    }
    fn unmask_line(&self, line: u8) {
        self.machine.interrupts.unmask_line(line);
    }
    fn heap_bytes_free(&self) -> usize {
        self.machine.heap_bytes_free()
    }
    fn dma_bytes_in_use(&self) -> u64 {
        self.machine.platform.dma.dma_bytes_in_use() as u64
    }
    fn clock_source(&self) -> String {
        alloc::format!("{}", self.machine.platform.clock.source())
    }
    fn has_power_button(&self) -> bool {
        self.power.has_button()
    }
    fn is_power_button_pressed(&self) -> bool {
        self.power.is_pressed()
    }
    fn end(&self, end: End) -> ! {
        match end {
            End::Off => self.power.off(),
            End::Restart => power::reset(),
        }
    }
}

/// There is nothing to serve: sleeps until the machine is turned off.
fn idle(machine: &Machine) -> ! {
    let power = Power::find(machine);
    while !power.is_pressed() {
        machine.interrupts.idle(Some(NOTHING_TO_DO));
        let _ = machine.interrupts.take_pending();
    }
    power.off()
}
