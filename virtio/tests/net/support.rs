//! A platform with one device of mock-hal's on it, and the driver's ways to it.

use std::sync::MutexGuard;

use paravane_hal::Failed;
use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_mock_hal::model::virtio::{self as model, Personality, Plugged, Virtio, VirtioNet};
use paravane_mock_hal::{MockPlatform, PciHost, message, pci as mock_pci};
use paravane_net::{Burst, Frame, FrameLayout, FramePool};
use paravane_pci::{ConfigAccess, Function, PciAddress};
use paravane_virtio::net::{Config, Device, Running};
use paravane_virtio::transport::pci::{self, OpenError, Pci};

pub use model::net::{RX, TX};
pub use model::{Reset, Wish};

pub type Bus = Pci<MockPlatform, PciHost>;
pub type Net = Device<MockPlatform, Bus>;
pub type Up = Running<MockPlatform, Bus>;

/// VERSION_1.
pub const VERSION_1: u64 = 1 << 32;
/// EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << 29;
/// RING_PACKED.
pub const RING_PACKED: u64 = 1 << 34;
/// MAC, STATUS.
pub const BASIC: u64 = VERSION_1 | 1 << 5 | 1 << 16;
/// MRG_RXBUF.
pub const MRG_RXBUF: u64 = 1 << 15;
/// CSUM, GUEST_CSUM, HOST_TSO4, HOST_TSO6.
pub const OFFLOADS: u64 = 1 | 1 << 1 | 1 << 11 | 1 << 12;

pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// Three messages that tell themselves apart.
pub const MESSAGES: [MsiMessage; 3] =
    [message(0xfee0_0000, 0x40), message(0xfee0_0000, 0x41), message(0xfee0_0000, 0x42)];

pub struct Bench {
    pub platform: MockPlatform,
    pub plugged: Plugged<model::Net>,
    pub pool: FramePool,
    /// DMA bytes in use before any device was started.
    pub bytes_at_rest: usize,
}

impl Bench {
    /// QEMU's device, which says most about what it did not like; it offers exactly `offered`.
    pub fn new(offered: u64) -> Self {
        Self::of(Personality::qemu(), offered)
    }

    pub fn of(personality: Personality, offered: u64) -> Self {
        Self::on(MockPlatform::new(), personality, offered, (1024, 2048))
    }

    pub fn with_buffers(offered: u64, frames: u32, buffer_bytes: u16) -> Self {
        Self::on(MockPlatform::new(), Personality::qemu(), offered, (frames, buffer_bytes))
    }

    /// The same with other places and lengths of registers.
    pub fn with_layout(offered: u64, change: impl FnOnce(&mut model::Layout)) -> Self {
        let mut personality = Personality::qemu();
        change(&mut personality.layout);
        Self::of(personality, offered)
    }

    pub fn on(
        platform: MockPlatform,
        personality: Personality,
        offered: u64,
        (frames, buffer_bytes): (u32, u16),
    ) -> Self {
        let net = model::Net::new(MAC).with_features(offered);
        let plugged = Virtio::plug(&platform, PciAddress::new(0, 0, 3, 0).unwrap(), net, personality);
        plugged.lock().offer(offered);
        let pool = FramePool::new(platform.clone(), FrameLayout::new(frames).with_buffer_bytes(buffer_bytes))
            .unwrap();
        let bytes_at_rest = platform.memory().bytes();
        Self { platform, plugged, pool, bytes_at_rest }
    }

    pub fn model(&self) -> MutexGuard<'_, VirtioNet> {
        self.plugged.lock()
    }

    /// Changes configuration space, as a device or firmware would.
    pub fn space<T>(&self, look: impl FnOnce(&mut mock_pci::FunctionSpace) -> T) -> T {
        self.plugged.host.with(self.plugged.address, look).unwrap()
    }

    /// Takes MSI-X out of the list of capabilities: it is the last one, behind that at 0x84.
    pub fn without_msix(&self) {
        self.space(|space| space.set8(0x85, 0));
    }

    pub fn masters_bus(&self) -> bool {
        self.plugged.host.is_bus_master(self.plugged.address)
    }

    /// Whether MSI-X is on: bit 15 of the word of control, which is the capability's second.
    pub fn sends_messages(&self) -> bool {
        let (host, at) = (&self.plugged.host, self.plugged.address);
        let [_, capability] = host.read16(at, 0x84).to_le_bytes();
        host.read16(at, u16::from(capability) + 2) & 1 << 15 != 0
    }

    pub fn pin_disabled(&self) -> bool {
        self.plugged.host.read16(self.plugged.address, 4) & 1 << 10 != 0
    }

    /// Messages since the last call: their data.
    pub fn messages(&self) -> Vec<u32> {
        self.platform.take_interrupts().iter().map(|message| message.data()).collect()
    }

    /// Frames sent since the last call, each behind its header.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        self.model().take_sent().iter().map(|sent| [&sent.header[..], &sent.bytes].concat()).collect()
    }

    pub fn function(&self) -> Function<PciHost> {
        Function::claim(self.plugged.host.clone(), self.plugged.address).unwrap()
    }

    pub fn device(&self) -> Net {
        pci::open(self.function(), self.platform.clone(), Net::new).unwrap()
    }

    /// Why the function is not taken, and the function.
    pub fn not_opened(&self) -> Failed<OpenError, Function<PciHost>> {
        pci::open(self.function(), self.platform.clone(), Net::new).unwrap_err()
    }

    pub fn start_with(&self, config: &Config, interrupts: Interrupts<'_>) -> Up {
        self.restart(self.device(), config, interrupts)
    }

    pub fn restart(&self, device: Net, config: &Config, interrupts: Interrupts<'_>) -> Up {
        device.start(config, self.pool.clone(), interrupts).unwrap()
    }

    /// Starts with small rings and three messages.
    pub fn start(&self) -> Up {
        self.start_with(&small(), Interrupts::msix(&MESSAGES))
    }

    /// A frame of `payload`.
    pub fn frame(&self, payload: &[u8]) -> Frame {
        let mut frame = self.pool.get().unwrap();
        assert!(frame.append(payload));
        frame
    }

    /// Nothing forbidden happened, on either side, and the monitor ignored nothing.
    pub fn assert_clean(&self) {
        assert_eq!(self.model().violations, Vec::<String>::new());
        assert_eq!(self.model().refusals, Vec::<String>::new());
        assert_eq!(self.platform.memory().faults(), []);
    }

    /// Nothing is out: memory as before the first start, every frame home.
    pub fn assert_at_rest(&self) {
        assert_eq!(self.platform.memory().bytes(), self.bytes_at_rest);
        assert_eq!(self.pool.free(), self.pool.buffers());
    }
}

/// Rings small enough to wrap often.
pub fn small() -> Config {
    Config::default().with_tx_entries(16).with_rx_entries(16)
}

/// `len` bytes that tell `seed` apart.
pub fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i % 251).unwrap() ^ seed).collect()
}

/// The whole of a frame.
pub fn content(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![0; frame.total_bytes()];
    assert_eq!(frame.copy_out(&mut bytes), Some(bytes.len()));
    bytes
}

/// A burst of `frames`.
pub fn burst(frames: impl IntoIterator<Item = Frame>) -> Burst {
    let mut burst = Burst::new();
    for frame in frames {
        burst.push(frame);
    }
    burst
}
