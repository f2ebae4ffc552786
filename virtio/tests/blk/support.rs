//! A bench with a disk of mock-hal, and what all tests do with it.

use std::sync::MutexGuard;

use paravane_block::{BlockBuffer, BlockLayout, BlockPool, Completion, Request, RequestQueue as _};
use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint};
use paravane_mock_hal::model::virtio::{Blk, Personality, Plugged, Virtio, VirtioBlk, feature};
use paravane_mock_hal::{MockPlatform, PciHost, message};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::blk::{Config, Device, Running};
use paravane_virtio::transport::pci::{self, Pci};

pub const SECTOR: usize = 512;
pub const SECTORS: usize = 64;
pub const MESSAGES: [MsiMessage; 2] = [message(0xfee0_0000, 0x40), message(0xfee0_0000, 0x41)];

pub type Bus = Pci<MockPlatform, PciHost>;
pub type Data = Vec<BlockBuffer>;
pub type Up = Running<MockPlatform, Bus, Data>;

pub struct Bench {
    pub platform: MockPlatform,
    pub plugged: Plugged<Blk>,
    pub pool: BlockPool,
    pub bytes_at_rest: usize,
    pub entries: u16,
}

impl Bench {
    pub fn new() -> Self {
        Self::of(Blk::new(SECTORS), Personality::qemu())
    }

    pub fn of(blk: Blk, personality: Personality) -> Self {
        let platform = MockPlatform::new();
        let plugged = Virtio::plug(&platform, PciAddress::new(0, 0, 3, 0).unwrap(), blk, personality);
        let pool = BlockPool::new(platform.clone(), BlockLayout::new(64)).unwrap();
        let bytes_at_rest = platform.memory().bytes();
        Self { platform, plugged, pool, bytes_at_rest, entries: 32 }
    }

    pub fn packed() -> Self {
        let bench = Self::new();
        let offered = bench.model().offered() | feature::RING_PACKED;
        bench.model().offer(offered);
        bench
    }

    pub fn is_packed(&self) -> bool {
        self.model().offered() & feature::RING_PACKED != 0
    }

    /// The same with exactly so much less offered.
    pub fn without(self, features: u64) -> Self {
        let offered = self.model().offered() & !features;
        self.model().offer(offered);
        self
    }

    pub fn model(&self) -> MutexGuard<'_, VirtioBlk> {
        self.plugged.lock()
    }

    pub fn device(&self) -> Device<MockPlatform, Bus> {
        let function = Function::claim(self.plugged.host.clone(), self.plugged.address).unwrap();
        pci::open(function, self.platform.clone(), Device::new).unwrap()
    }

    pub fn start(&self) -> Up {
        self.device()
            .start(&Config::default().with_entries(self.entries), Interrupts::msix(&MESSAGES))
            .unwrap()
    }

    /// Pieces of so many bytes.
    pub fn data(&self, pieces: &[usize]) -> Data {
        let piece = |bytes: &usize| {
            let mut buffer = self.pool.get().unwrap();
            assert!(buffer.set_len_bytes(*bytes));
            buffer
        };
        pieces.iter().map(piece).collect()
    }

    pub fn filled(&self, pieces: &[usize], fill: u8) -> Data {
        let mut data = self.data(pieces);
        for piece in &mut data {
            let bytes = vec![fill; piece.len_bytes()];
            assert!(piece.copy_in(0, &bytes));
        }
        data
    }

    /// The next lie about a request that was done.
    pub fn lie(&self, action: Action) {
        self.model().faults.add(Fault::nth(FaultPoint::RequestCompletion, 1, action));
    }

    pub fn assert_at_rest(&self) {
        assert_eq!(self.platform.memory().bytes(), self.bytes_at_rest);
        assert_eq!(self.pool.free(), self.pool.buffers());
        assert_eq!(self.model().violations, [""; 0]);
    }
}

pub fn bytes_of(data: &Data) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in data {
        let mut bytes = vec![0; piece.len_bytes()];
        assert!(piece.copy_out(0, &mut bytes));
        all.extend(bytes);
    }
    all
}

/// The one request that is complete.
pub fn completed(up: &mut Up) -> Completion<Data> {
    up.queue.poll().unwrap().unwrap()
}

pub fn ask(up: &mut Up, request: Request<Data>) -> Completion<Data> {
    up.queue.submit(request).unwrap();
    up.queue.publish();
    completed(up)
}

pub fn stop(up: Up) -> usize {
    let mut unfinished = 0;
    up.stop(&mut |_, _| unfinished += 1).unwrap();
    unfinished
}
