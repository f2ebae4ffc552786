//! A virtio network function written from the specification: configuration space, registers, rings. Strict, and on request a liar.
//!
//! | Part | Plays |
//! |---|---|
//! | [`config_space`] | the PCI function |
//! | [`registers`] | common configuration, doorbells, interrupt status, device configuration, MSI-X table |
//! | [`rings`] | the device's side of the queues |
//!
//! What a driver must not do is written down in [`NetModel::violations`], and every test ends by looking there.

pub mod config_space;
pub mod registers;
pub mod rings;

use std::sync::{Arc, Mutex, MutexGuard};

use paravane_hal::addr::PhysAddr;
use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_mock_hal::MockPlatform;
use paravane_net::{Burst, Frame, FramePool};
use paravane_pci::Function;
use paravane_virtio::net::{Config, Device, Running};

pub use config_space::{BAR_BYTES, BAR_START, ConfigSpace};
pub use registers::NetModel;

pub type Net = Device<MockPlatform, ConfigSpace>;
pub type Up = Running<MockPlatform, ConfigSpace>;

/// VERSION_1.
pub const VERSION_1: u64 = 1 << 32;
/// EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << 29;
/// MAC, STATUS.
pub const BASIC: u64 = VERSION_1 | 1 << 5 | 1 << 16;
/// MRG_RXBUF.
pub const MRG_RXBUF: u64 = 1 << 15;
/// CSUM, GUEST_CSUM, HOST_TSO4, HOST_TSO6.
pub const OFFLOADS: u64 = 1 | 1 << 1 | 1 << 11 | 1 << 12;

/// Three messages that tell themselves apart.
pub const MESSAGES: [MsiMessage; 3] = [
    MsiMessage { address: 0xfee0_0000, data: 0x40 },
    MsiMessage { address: 0xfee0_0000, data: 0x41 },
    MsiMessage { address: 0xfee0_0000, data: 0x42 },
];

/// A platform with one device on it.
pub struct Bench {
    pub platform: MockPlatform,
    pub model: Arc<Mutex<NetModel>>,
    pub space: ConfigSpace,
    pub pool: FramePool,
    /// DMA bytes in use before any device was started.
    pub bytes_at_rest: usize,
}

impl Bench {
    pub fn new(offered: u64) -> Self {
        Self::with_buffers(offered, 1024, 2048)
    }

    pub fn with_buffers(offered: u64, frames: u32, buffer_bytes: u16) -> Self {
        let platform = MockPlatform::new();
        let space = ConfigSpace::new();
        let model = NetModel::new(platform.memory().clone(), space.clone(), offered);
        let model = Arc::new(Mutex::new(model));
        platform.attach(PhysAddr::new(BAR_START), BAR_BYTES, model.clone(), 0);
        let pool = FramePool::new(platform.clone(), frames, buffer_bytes, 64).unwrap();
        let bytes_at_rest = platform.memory().bytes();
        Self { platform, model, space, pool, bytes_at_rest }
    }

    pub fn model(&self) -> MutexGuard<'_, NetModel> {
        self.model.lock().unwrap()
    }

    pub fn function(&self) -> Function<ConfigSpace> {
        Function::claim(self.space.clone(), config_space::ADDRESS).unwrap()
    }

    pub fn device(&self) -> Net {
        Net::new(self.function(), self.platform.clone()).map_err(|(error, _)| error).unwrap()
    }

    pub fn start_with(&self, config: &Config, interrupts: Interrupts<'_>) -> Up {
        self.restart(self.device(), config, interrupts)
    }

    pub fn restart(&self, device: Net, config: &Config, interrupts: Interrupts<'_>) -> Up {
        device.start(config, self.pool.clone(), interrupts).map_err(|(error, _)| error).unwrap()
    }

    /// Starts with small rings and three messages.
    pub fn start(&self) -> Up {
        self.start_with(&small(), Interrupts::Msix(&MESSAGES))
    }

    /// A frame of `payload`.
    pub fn frame(&self, payload: &[u8]) -> Frame {
        let mut frame = self.pool.get().unwrap();
        assert!(frame.append(payload));
        frame
    }

    /// Nothing forbidden happened, on either side.
    pub fn assert_clean(&self) {
        assert_eq!(self.model().violations, Vec::<String>::new());
        assert_eq!(self.platform.memory().faults(), []);
    }

    /// Nothing is out: memory as before the first start, every frame home.
    pub fn assert_at_rest(&self) {
        assert_eq!(self.platform.memory().bytes(), self.bytes_at_rest);
        assert_eq!(self.pool.free(), self.pool.frames());
    }
}

/// Rings small enough to wrap often.
pub fn small() -> Config {
    Config { tx_entries: 16, rx_entries: 16, ..Config::default() }
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
        burst.push(frame).map_err(|_| "full").unwrap();
    }
    burst
}
