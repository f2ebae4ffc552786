//! A VMXNET3 device of one transmit and one receive queue.
//!
//! Two personalities: [`Personality::qemu`] does what QEMU's device was seen to do, [`Personality::esxi`] what drivers for the
//! original provide for and QEMU never shows (deferred doorbells, cumulative completions, doorbells for buffers).
//!
//! The wire is the test's: frames that were sent are taken with [`Vmxnet3::take_sent`], frames to receive are given to [`Vmxnet3::deliver`].

mod faults;
mod personality;
mod registers;
mod rx;
mod tx;

use std::sync::{Arc, Mutex};

use paravane_pci::PciAddress;

use crate::device::DeviceMemory;
use crate::fault::{Action, FaultPlan, FaultPoint};
use crate::pci::{FunctionSpace, InterruptMode, PciDevice, PciHost};
use crate::platform::MockPlatform;

use faults::Later;
pub use personality::Personality;
pub use tx::Sent;

const VECTORS: usize = 25;

/// A command ring, as the device sees it.
#[derive(Clone, Copy, Debug)]
struct Ring {
    base: u64,
    entries: u32,
    next: u32,
    generation: bool,
}

impl Ring {
    const fn new(base: u64, entries: u32) -> Self {
        Self { base, entries, next: 0, generation: true }
    }

    fn addr(&self) -> u64 {
        self.base + u64::from(self.next) * 16
    }

    fn advance(&mut self) {
        self.next += 1;
        if self.next == self.entries {
            self.next = 0;
            self.generation = !self.generation;
        }
    }
}

/// What activation made.
#[derive(Clone, Copy, Debug)]
struct Active {
    shared: u64,
    tx_desc: u64,
    rx_desc: u64,
    tx: Ring,
    tx_completions: Ring,
    rx: [Ring; 2],
    rx_completions: Ring,
    tx_vector: u8,
    rx_vector: u8,
    event_vector: u8,
    auto_mask: bool,
    max_rx_buffers: u16,
    rx_mode: u32,
    /// The doorbells' last values.
    rx_told: [Option<u32>; 2],
}

/// The device.
pub struct Vmxnet3 {
    memory: DeviceMemory,
    function: PciDevice,
    /// What it is like. Takes effect as it is changed.
    pub personality: Personality,
    shared: u64,
    pending_low: Option<u32>,
    result: u32,
    permanent_mac: [u8; 6],
    mac: [u8; 6],
    chosen_revision: u32,
    masked: [bool; VECTORS],
    pending: [bool; VECTORS],
    line: bool,
    link: bool,
    stop_code: Option<u32>,
    active: Option<Active>,
    sent: Vec<Sent>,
    stats: Stats,
    waiting: faults::Waiting,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// Says no to the next activations.
    pub refuse_activation: bool,
    /// Registers read all ones, writes go nowhere.
    pub gone: bool,
    /// Vectors that interrupted, in order.
    pub interrupts: Vec<u8>,
    /// Doorbells: which register of BAR0, which value.
    pub doorbells: Vec<(usize, u32)>,
    /// Commands, in order.
    pub commands: Vec<u32>,
    /// Rules that the driver broke.
    pub violations: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    tx_frames: u64,
    tx_bytes: u64,
    rx_frames: u64,
    rx_bytes: u64,
    rx_out_of_buffers: u64,
}

/// A device in a machine: the model, and where its driver finds it.
#[derive(Clone)]
pub struct Plugged {
    /// The model.
    pub model: Arc<Mutex<Vmxnet3>>,
    /// Configuration space of its machine.
    pub config: PciHost,
    /// Its address there.
    pub address: PciAddress,
}

impl Vmxnet3 {
    /// Plugs a device with address `mac` into `platform`. Where its BARs are, and
    /// whether it has a pin, is the machine's to say; off the root bus it is found behind a bridge that is there already.
    #[must_use]
    pub fn plug(
        platform: &MockPlatform,
        address: PciAddress,
        mac: [u8; 6],
        personality: Personality,
    ) -> Plugged {
        let config = platform.pci().clone();
        let function = FunctionSpace::endpoint(0x15ad, 0x07b0, 0x02)
            .bar(config.low_bar(0, 0x1000))
            .bar(config.low_bar(1, 0x1000))
            .bar(config.low_bar(2, 0x2000))
            .msi(0x84)
            .msix(0x9c, 25, 2, 0x1000 | 2);
        config.insert(address, config.machine().wired(function));
        let model = Arc::new(Mutex::new(Self {
            memory: platform.device_memory("vmxnet3"),
            function: config.device(address),
            personality,
            shared: 0,
            pending_low: None,
            result: 0,
            permanent_mac: mac,
            mac,
            chosen_revision: 0,
            masked: [true; VECTORS],
            pending: [false; VECTORS],
            line: false,
            link: true,
            stop_code: None,
            active: None,
            sent: Vec::new(),
            stats: Stats::default(),
            waiting: faults::Waiting::default(),
            faults: FaultPlan::default(),
            refuse_activation: false,
            gone: false,
            interrupts: Vec::new(),
            doorbells: Vec::new(),
            commands: Vec::new(),
            violations: Vec::new(),
        }));
        config.connect(address, model.clone());
        Plugged { model, config, address }
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Its address as it is now.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Plugs or pulls the cable.
    pub fn set_link(&mut self, up: bool) {
        self.link = up;
        self.raise_event(1 << 2);
    }

    /// Stops both queues with `code` and reports it.
    pub fn stop_queues(&mut self, code: u32) {
        self.stop_code = Some(code);
        self.raise_event(0b11);
    }

    /// Whether it raises its pin.
    #[must_use]
    pub fn line(&self) -> bool {
        self.line
    }

    fn broken(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    fn get32(&mut self, addr: u64) -> u32 {
        self.get::<4>(addr).map_or(0, u32::from_le_bytes)
    }

    fn get64(&mut self, addr: u64) -> u64 {
        self.get::<8>(addr).map_or(0, u64::from_le_bytes)
    }

    fn get<const N: usize>(&mut self, addr: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read_memory(addr, &mut bytes).then_some(bytes)
    }

    fn read_memory(&mut self, addr: u64, to: &mut [u8]) -> bool {
        if !self.function.is_bus_master() {
            return false;
        }
        match self.memory.read(addr, to) {
            Ok(()) => true,
            Err(fault) => {
                self.broken(format!("led to read where nothing is: {fault:?}"));
                false
            }
        }
    }

    fn put(&mut self, addr: u64, bytes: &[u8]) {
        if self.function.is_bus_master()
            && let Err(fault) = self.memory.write(addr, bytes)
        {
            self.broken(format!("led to write where nothing is: {fault:?}"));
        }
    }

    fn put32(&mut self, addr: u64, value: u32) {
        self.put(addr, &value.to_le_bytes());
    }

    fn words(&mut self, addr: u64) -> [u32; 4] {
        let bytes = self.get::<16>(addr).unwrap_or([0; 16]);
        std::array::from_fn(|i| {
            u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
        })
    }

    fn message_interrupts(&self) -> (bool, bool) {
        let mode = self.function.mode();
        (mode == InterruptMode::Msi, mode == InterruptMode::Msix)
    }

    fn raise_event(&mut self, bit: u32) {
        if let Some(active) = self.active {
            let ecr = self.get32(active.shared + 0x2b8) | bit;
            self.put32(active.shared + 0x2b8, ecr);
            self.raise(active.event_vector);
        }
    }

    /// Interrupts by `vector`, or remembers to.
    fn raise(&mut self, vector: u8) {
        let Some(active) = self.active else { return };
        let index = usize::from(vector);
        let here = |action: &Action| matches!(action, Action::Drop | Action::Delay { .. });
        match self.ask(FaultPoint::Interrupt, vector.into(), &mut (), here) {
            Some(Action::Drop) => return,
            Some(Action::Delay { ticks }) => return self.put_off(ticks, Later::Interrupt(vector)),
            _ => {}
        }
        if self.masked[index] || self.get32(active.shared + 0x6c) & 1 != 0 {
            self.pending[index] = true;
            return;
        }
        self.pending[index] = false;
        let (msi, msix) = self.message_interrupts();
        if !msi && !msix {
            if vector != 0 {
                self.broken(format!("vector {vector} on the pin"));
            }
            self.line = true;
        } else if active.auto_mask {
            self.masked[index] = true;
        }
        if msi && vector != 0 {
            self.broken(format!("vector {vector} with MSI"));
        }
        if msix {
            self.function.raise_msix(vector.into());
        } else if msi {
            self.function.raise_msi();
        } else {
            self.function.set_pin(true);
        }
        self.interrupts.push(vector);
    }

    fn command(&mut self, command: u32) {
        self.commands.push(command);
        self.result = 0;
        let here = |action: &Action| match action {
            // Never these two; see `faults`.
            Action::Drop => !matches!(command, 0xcafe_0001 | 0xcafe_0002),
            Action::Refuse => command == 0xcafe_0000,
            _ => false,
        };
        match self.ask(FaultPoint::Command, command, &mut (), here) {
            Some(Action::Drop) => {}
            Some(_) => self.result = 1,
            None if self.gone => {}
            None => self.run(command),
        }
    }

    fn run(&mut self, command: u32) {
        match command {
            0xcafe_0000 => self.result = u32::from(!self.activate()),
            0xcafe_0001 => self.deactivate(),
            0xcafe_0002 => {
                self.deactivate();
                self.shared = 0;
                self.mac = self.permanent_mac;
                self.masked = [true; VECTORS];
                self.pending = [false; VECTORS];
                if self.line {
                    self.broken("reset with the line raised: it stays up");
                }
            }
            0xcafe_0003 => {
                if let Some(mut active) = self.active {
                    active.rx_mode = self.get32(active.shared + 0x78);
                    self.active = Some(active);
                }
            }
            0xcafe_0004 | 0xcafe_0005 => {}
            0xf00d_0000 => self.write_status(),
            0xf00d_0001 => self.write_stats(),
            0xf00d_0002 if self.link => self.result = self.personality.link_up,
            0xf00d_0002 => self.result = self.personality.link_up & !1,
            0xf00d_0003 => self.result = low(self.permanent_mac),
            0xf00d_0004 => self.result = high(self.permanent_mac),
            0xf00d_0008 => self.result = self.personality.conf_intr,
            unknown => self.broken(format!("command {unknown:#x} at revision 1")),
        }
    }

    fn deactivate(&mut self) {
        self.active = None;
        self.waiting = faults::Waiting::default();
    }

    /// Reads the whole configuration. False refuses it, and every reason that the driver should have seen itself is written down.
    fn activate(&mut self) -> bool {
        if self.active.is_some() {
            self.broken("activated twice");
            return true;
        }
        let shared = self.shared;
        if self.refuse_activation || self.get32(shared) != 0xbabe_fee1 {
            return false;
        }
        let byte = |model: &mut Self, addr| model.get::<1>(addr).map_or(0, |[byte]| byte);
        let table = self.get64(shared + 0x28);
        let vectors = byte(self, shared + 0x51);
        let mtu = self.get32(shared + 0x38);
        let (tx_desc, rx_desc) = (table, table + 256);
        let active = Active {
            shared,
            tx_desc,
            rx_desc,
            tx: Ring::new(self.get64(tx_desc + 0x10), self.get32(tx_desc + 0x38)),
            tx_completions: Ring::new(self.get64(tx_desc + 0x20), self.get32(tx_desc + 0x40)),
            rx: [
                Ring::new(self.get64(rx_desc + 0x10), self.get32(rx_desc + 0x38)),
                Ring::new(self.get64(rx_desc + 0x18), self.get32(rx_desc + 0x3c)),
            ],
            rx_completions: Ring::new(self.get64(rx_desc + 0x20), self.get32(rx_desc + 0x40)),
            tx_vector: byte(self, tx_desc + 0x48),
            rx_vector: byte(self, rx_desc + 0x48),
            event_vector: byte(self, shared + 0x52),
            auto_mask: byte(self, shared + 0x50) != 0,
            max_rx_buffers: self.get::<2>(shared + 0x3c).map_or(0, u16::from_le_bytes),
            rx_mode: self.get32(shared + 0x78),
            rx_told: [None; 2],
        };
        let rings = [active.tx, active.rx[0], active.rx[1]];
        let checks = [
            ("a revision was chosen", self.chosen_revision == 1),
            ("one queue of each kind", byte(self, shared + 0x3e) == 1 && byte(self, shared + 0x3f) == 1),
            ("revisions in DriverShared are 1", self.get64(shared + 0x10) == 1 << 32 | 1),
            ("not a Windows guest", self.get32(shared + 0x0c) >> 2 & 0xf == 1),
            ("queueDescPA is at 128 bytes", table.is_multiple_of(128)),
            ("queueDescLen", self.get32(shared + 0x34) == 512),
            ("mtu is from 60 to 9000", (60..=9000).contains(&mtu)),
            ("maxNumRxSG is set", active.max_rx_buffers > 0),
            (
                "rings are at 512 bytes",
                rings.iter().all(|ring| ring.base != 0 && ring.base.is_multiple_of(512)),
            ),
            ("rings have 32 to 4096 entries in steps of 32", rings.iter().all(|ring| legal(ring.entries))),
            ("the transmit completion ring is as long", active.tx_completions.entries == active.tx.entries),
            (
                "the receive completion ring takes both rings",
                active.rx_completions.entries >= active.rx[0].entries + active.rx[1].entries,
            ),
            (
                "vectors are below numIntrs",
                [active.tx_vector, active.rx_vector, active.event_vector]
                    .iter()
                    .all(|index| *index < vectors),
            ),
            ("interrupts are disabled", self.get32(shared + 0x6c) & 1 == 1),
            ("untagged frames pass the VLAN filter", self.get32(shared + 0x88) & 1 == 1),
        ];
        let failed: Vec<&str> = checks.iter().filter(|(_, holds)| !holds).map(|(what, _)| *what).collect();
        for what in &failed {
            self.broken(format!("at activation: {what}"));
        }
        if !failed.is_empty() {
            return false;
        }
        self.put32(tx_desc + 4, self.personality.tx_threshold);
        self.put(rx_desc, &[u8::from(self.personality.update_rx_prod)]);
        if self.personality.restores_mac {
            self.mac = self.permanent_mac;
        }
        self.stats = Stats::default();
        self.stop_code = None;
        self.active = Some(active);
        true
    }

    fn write_status(&mut self) {
        if let (Some(active), Some(code)) = (self.active, self.stop_code) {
            for desc in [active.tx_desc, active.rx_desc] {
                self.put(desc + 0x50, &[1]);
                self.put32(desc + 0x54, code);
            }
        }
    }

    fn write_stats(&mut self) {
        let Some(active) = self.active else { return };
        let Stats { tx_frames, tx_bytes, rx_frames, rx_bytes, rx_out_of_buffers } = self.stats;
        let counters = [
            (active.tx_desc, 2, tx_frames),
            (active.tx_desc, 3, tx_bytes),
            (active.rx_desc, 2, rx_frames),
            (active.rx_desc, 3, rx_bytes),
            (active.rx_desc, 8, rx_out_of_buffers),
        ];
        for (desc, index, value) in counters {
            self.put(desc + 0x58 + index * 8, &value.to_le_bytes());
        }
    }
}

fn legal(entries: u32) -> bool {
    (32..=4096).contains(&entries) && entries.is_multiple_of(32)
}

fn low(mac: [u8; 6]) -> u32 {
    u32::from_le_bytes([mac[0], mac[1], mac[2], mac[3]])
}

fn high(mac: [u8; 6]) -> u32 {
    u32::from_le_bytes([mac[4], mac[5], 0, 0])
}
