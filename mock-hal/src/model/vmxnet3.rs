//! A VMXNET3 device.
//!
//! Two personalities: [`Personality::qemu`] does what QEMU's device was seen to do,
//! [`Personality::esxi`] what drivers for the original provide for and QEMU never shows (deferred
//! doorbells, cumulative completions, doorbells for buffers).
//!
//! # For the test of a driver
//!
//! *Which revision.* The device offers what its personality lists, and the driver agrees on one:
//! [`Personality::up_to`] leaves out what is newer. [`Personality::qemu`] offers the first only.
//! What the agreed revision does not have is refused, and is a line in
//! [`violations`](Vmxnet3::violations).
//!
//! *How many queues.* As many as the driver asks for at activation, up to what the revision has: 8
//! to transmit and 16 to receive, powers of two, before revision 6; 32 of each, any number, from
//! then on. [`Personality::with_queues`] makes a device with fewer. QEMU's has 8 of each and fills
//! receive queue 0 alone.
//!
//! ```
//! use paravane_mock_hal::MockPlatform;
//! use paravane_mock_hal::model::vmxnet3::{Personality, Vmxnet3};
//! use paravane_pci::PciAddress;
//!
//! let platform = MockPlatform::new();
//! let address = PciAddress::new(0, 0, 4, 0).unwrap();
//! let personality = Personality::esxi().up_to(4).with_queues(4, 8);
//! let plugged = Vmxnet3::plug(&platform, address, [2, 0, 0, 0, 0, 1], personality);
//! let mut model = plugged.model.lock().unwrap();
//! assert_eq!(model.agreed_revision(), None, "until a driver chooses");
//! assert!(!model.deliver_to(3, &[0; 60]), "and it does not run yet");
//! ```
//!
//! *Which queue.* [`Sent::queue`] says by which one a frame was sent. [`Vmxnet3::deliver`] takes
//! the queue that the hash of the frame says ([`Vmxnet3::queue_of`] tells), or queue 0 when the
//! driver did not ask for RSS; [`Vmxnet3::deliver_to`] any. What is named for a queue in other
//! calls is queue 0, with a twin that ends in `_in` for all of them. Each queue has its own rings,
//! doorbells, interrupt, status and counters.
//!
//! *What is on the wire.* [`Sent`] has a frame as the driver gave it, and [`Sent::on_wire`] the
//! frames that leave for it: checksums made, cut into segments, tagged. What arrives in segments of
//! a connection goes to [`Vmxnet3::deliver_lro`], and [`cut`] makes such. A device that
//! [checks headers](Personality::checks_headers), as ESXi's, takes a request for what the headers
//! bear out: for a checksum, the sum of the pseudo-header in its field; for segments, TCP with the
//! sum of a pseudo-header of length 0, an IPv4 checksum of 0, and all headers in the first
//! descriptor. It judges the checksums of what it receives, where the driver asked for that.
//!
//! *What was told.* [`Vmxnet3::coalescing`], [`moderation`](Vmxnet3::moderation),
//! [`memory_regions`](Vmxnet3::memory_regions), [`buffer_sizes`](Vmxnet3::buffer_sizes) and
//! [`would_wake`](Vmxnet3::would_wake) have what commands left behind. Shorter buffers than were
//! announced are a violation. Coalescing holds interrupts of queues back until so many completions
//! were written or [`pass_time`](Vmxnet3::pass_time) says that their time has come. Events never
//! wait.
//!
//! *Sleep.* A device with power management ([`Personality::sleep`]) in D3 reaches no memory and
//! takes no frame. One that [`would_wake`](Vmxnet3::would_wake) its machine is a
//! [wake-up call](Vmxnet3::wake_up_calls), where configuration space allows that. Waking forgets
//! all, or nothing; a device that still runs is quiesced and reset before it is activated anew.
//!
//! *Migration.* [`Vmxnet3::device_changed`] raises the event alone; [`Vmxnet3::move_to`] puts
//! another personality behind a device that runs, as a move to another host does.
//!
//! *What goes wrong.* [`Vmxnet3::faults`] is a plan; [`FaultPlan::storm`] draws one by chance. The
//! subject of a completion's fault is its queue, of a command's or a reply's the command, of an
//! interrupt's the vector, of a register's its BAR in bits 16 and 17 over its offset.
//!
//! | Lie | Fault |
//! |---|---|
//! | another queue or ring in `rqID` | `RxCompletion`, `Set` of `Queue` |
//! | a frame sent, completed in the ring of another queue | `TxCompletion`, `Set` or `Add` of `Queue`, with several queues |
//! | longer than a buffer or a slot of a data ring | `RxCompletion`, `Length` |
//! | a type of hash that there is not | `RxCompletion`, `HashType` |
//! | 0 segments, or segments of 0 bytes | `RxCompletion`, `Segments`, `SegmentBytes`, where the type is 4 |
//! | no interrupt; another one, or one too many, masked or not | `Interrupt`, `Drop`; `Invent`, `Duplicate` |
//! | an answer to a command that it was not | `Reply`, `Set` of `Value` |
//! | a completion of what nobody posted | `Tick`, `Invent`: bit 0 says receive, the bits from 13 on which queue, those between the slot |
//! | a queue that stops | `StopQueue` at its doorbell or completion; [`Vmxnet3::stop_queue`] |
//!
//! # Inside
//!
//! | Part | Plays |
//! |---|---|
//! | [`Personality`], [`Revision`] | what differs from device to device, and what each revision adds, as data |
//! | `layout` | names of registers, commands and shared fields |
//! | `registers`, `command` | what an access does |
//! | `activate`, `queue`, `data_ring` | what the driver described, queue by queue |
//! | `capability` | what it asked for, from revision 7 on |
//! | `tx`, `rx`, `rx_ring`, `filter`, `stats` | frames, buffers |
//! | `packet`, `rss` | what is in a frame, and the queue that it goes to |
//! | `offload`, `sent`, `segment`, `checksum` | what the device does to frames, and whether it can |
//! | `interrupt`, `coalesce` | vectors, the pin, events; interrupts that wait for more |
//! | `settings`, `wake` | what commands tell; sleep |
//! | `migrate` | another host behind the device |
//! | `faults`, `says` | what a device does that lies |
//! | `loads` | what a driver may believe whose loads change |
//!
//! Descriptors say whose memory is whose: the device holds what it took until a completion or a
//! reset gives it back, and the platform ends a test in which the driver uses or gives away what
//! the device has.
//!
//! The wire is the test's: frames that were sent are taken with [`Vmxnet3::take_sent`], frames to
//! receive are given to [`Vmxnet3::deliver`].

mod activate;
mod capability;
mod checksum;
mod coalesce;
mod command;
mod data_ring;
mod faults;
mod filter;
mod interrupt;
mod layout;
mod loads;
mod migrate;
mod offload;
mod packet;
mod personality;
mod queue;
mod registers;
mod revision;
mod rss;
mod rx;
mod rx_ring;
mod says;
mod segment;
mod sent;
mod settings;
mod stats;
mod tx;
mod wake;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use paravane_hal::dma::Direction;
use paravane_pci::PciAddress;

use crate::device::DeviceMemory;
use crate::fault::FaultPlan;
use crate::memory::Lease;
use crate::pci::{FunctionSpace, PciDevice, PciHost};
use crate::platform::MockPlatform;

pub use layout::stop;
pub use personality::{Personality, Sleep};
pub use queue::QueueId;
pub use revision::{ESXI_REVISIONS, QEMU_REVISIONS, Revision};
pub use segment::cut;
pub use sent::Sent;
pub use settings::{BufferSizes, Coalescing, MemoryRegion};

use activate::Active;
use faults::Later;
use queue::{RxQueue, TxQueue};
use wake::Wake;

const VECTORS: usize = 65;

/// The device. [The module](self) says how a test asks for a revision, queues and faults.
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
    /// Capabilities that were asked for and that it has.
    granted: u32,
    /// What wakes its machine.
    wake: Wake,
    /// How often it asked for its machine to be woken, and was allowed to.
    pub wake_up_calls: usize,
    masked: [bool; VECTORS],
    pending: [bool; VECTORS],
    line: bool,
    link: bool,
    active: Option<Active>,
    sent: Vec<Sent>,
    /// What was put off, each for so many ticks.
    later: Vec<(u32, Later)>,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// Says no to the next activations.
    pub refuse_activation: bool,
    /// Registers read all ones, writes go nowhere.
    pub gone: bool,
    /// Vectors that interrupted, in order.
    pub interrupts: Vec<u8>,
    /// How often its driver read or wrote a register.
    pub accesses: u64,
    /// Doorbells: which register of BAR0, which value.
    pub doorbells: Vec<(usize, u32)>,
    /// Commands, in order.
    pub commands: Vec<u32>,
    /// Vectors in use that were unmasked when the device was last quiesced.
    pub left_unmasked: Vec<u8>,
    /// Rules that the driver broke.
    pub violations: Vec<String>,
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
    /// Plugs a device with address `mac` into `platform`. Where its BARs are, and whether it has a
    /// pin, is the machine's to say; off the root bus it is found behind a bridge that is there
    /// already.
    #[must_use]
    pub fn plug(
        platform: &MockPlatform,
        address: PciAddress,
        mac: [u8; 6],
        personality: Personality,
    ) -> Plugged {
        let config = platform.pci().clone();
        let has_large = personality.capabilities & capability::LARGE_BAR != 0;
        let pt_bytes = if has_large { 0x2000 } else { 0x1000 };
        let function = FunctionSpace::endpoint(0x15ad, 0x07b0, 0x02)
            .bar(config.low_bar(0, pt_bytes))
            .bar(config.low_bar(1, 0x1000))
            .bar(config.low_bar(2, 0x2000))
            .msi(0x84)
            .msix(0x9c, personality.vectors().into(), 2, 0x1000 | 2);
        let function = match personality.sleep {
            Sleep::Never => function,
            Sleep::Forgets => function.power(0x40),
            Sleep::Keeps => function.power(0x40).keeping_state(),
        };
        config.insert(address, config.machine().wired(function));
        let model = Arc::new(Mutex::new(Self {
            memory: platform.device_memory(&format!("vmxnet3 {address}")),
            function: config.device(address),
            personality,
            shared: 0,
            pending_low: None,
            result: 0,
            permanent_mac: mac,
            mac,
            chosen_revision: 0,
            granted: 0,
            wake: Wake::default(),
            wake_up_calls: 0,
            masked: [true; VECTORS],
            pending: [false; VECTORS],
            line: false,
            link: true,
            active: None,
            sent: Vec::new(),
            later: Vec::new(),
            faults: FaultPlan::default(),
            refuse_activation: false,
            gone: false,
            interrupts: Vec::new(),
            accesses: 0,
            doorbells: Vec::new(),
            commands: Vec::new(),
            left_unmasked: Vec::new(),
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

    /// Where it believes `DriverShared` is; `None` when it knows of none.
    #[must_use]
    pub fn shared_addr(&self) -> Option<u64> {
        (self.shared != 0).then_some(self.shared)
    }

    /// Its address as it is now.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Whether it raises its pin.
    #[must_use]
    pub fn line(&self) -> bool {
        self.line
    }

    /// The number of the revision that the driver chose of those that are offered.
    #[must_use]
    pub fn agreed_revision(&self) -> Option<u8> {
        self.revision().map(|revision| revision.number)
    }

    fn revision(&self) -> Option<Revision> {
        self.personality.revision(self.chosen_revision)
    }

    fn tx(&mut self, queue: usize) -> Option<&mut TxQueue> {
        self.active.as_mut()?.tx.get_mut(queue)
    }

    fn rx(&mut self, queue: usize) -> Option<&mut RxQueue> {
        self.active.as_mut()?.rx.get_mut(queue)
    }

    fn broken(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    fn get8(&mut self, addr: u64) -> u8 {
        self.get(addr).map_or(0, u8::from_le_bytes)
    }

    fn get16(&mut self, addr: u64) -> u16 {
        self.get(addr).map_or(0, u16::from_le_bytes)
    }

    fn get32(&mut self, addr: u64) -> u32 {
        self.get(addr).map_or(0, u32::from_le_bytes)
    }

    fn get64(&mut self, addr: u64) -> u64 {
        self.get(addr).map_or(0, u64::from_le_bytes)
    }

    /// The four words of a descriptor.
    fn words(&mut self, addr: u64) -> Option<[u32; 4]> {
        let bytes = self.get::<16>(addr)?;
        let (words, _) = bytes.as_chunks();
        Some(std::array::from_fn(|index| u32::from_le_bytes(words[index])))
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
                self.broken(format!("led to read where nothing is: {fault}"));
                false
            }
        }
    }

    fn put(&mut self, addr: u64, bytes: &[u8]) {
        if self.function.is_bus_master()
            && let Err(fault) = self.memory.write(addr, bytes)
        {
            self.broken(format!("led to write where nothing is: {fault}"));
        }
    }

    fn put32(&mut self, addr: u64, value: u32) {
        self.put(addr, &value.to_le_bytes());
    }

    /// Bytes that a descriptor names are the device's from here on.
    fn lease(&mut self, addr: u64, len_bytes: usize, direction: Direction) -> Option<Lease> {
        if !self.active.as_ref()?.keeps_leases || !self.function.is_bus_master() || len_bytes == 0 {
            return None;
        }
        match self.memory.take(addr, len_bytes, direction) {
            Ok(lease) => Some(lease),
            Err(fault) => {
                self.broken(format!("given what is not there: {fault}"));
                None
            }
        }
    }

    fn keeps_leases(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.keeps_leases)
    }

    fn give_back(&self, leases: &[Lease]) {
        if self.keeps_leases() {
            leases.iter().for_each(|lease| self.memory.give_back(lease));
        }
    }

    /// The device told a lie about whose memory is whose: what the driver does with it until it is
    /// reset is no fault of the driver.
    fn lose_track(&mut self) {
        if let Some(active) = &mut self.active {
            active.keeps_leases = false;
            self.memory.give_all_back();
        }
    }

    /// Writes were lost, doorbells maybe among them.
    fn lose_count(&mut self) {
        if let Some(active) = &mut self.active {
            active.tx.iter_mut().for_each(|queue| queue.deferred = None);
        }
    }

    fn deactivate(&mut self) {
        self.active = None;
        self.later.clear();
        self.memory.give_all_back();
    }
}

fn low(mac: [u8; 6]) -> u32 {
    u32::from_le_bytes([mac[0], mac[1], mac[2], mac[3]])
}

fn high(mac: [u8; 6]) -> u32 {
    u32::from_le_bytes([mac[4], mac[5], 0, 0])
}
