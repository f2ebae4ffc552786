//! virtio's disk: its ring of either format, what it says of requests, configuration and status.

use std::collections::BTreeSet;

use paravane_block::{
    BlockBuffer, BlockLayout, BlockPool, Completion, Control as _, Request, RequestQueue as _, SectorRange,
};
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::virtio::blk::{REQUESTS, SECTOR_BYTES, bits};
use paravane_mock_hal::model::virtio::{Blk, Personality, Plugged, Virtio, feature};
use paravane_mock_hal::{FaultKind, MockPlatform, PciHost};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::blk::{Config, Device, Running, StopError};
use paravane_virtio::transport::pci::{self, Pci};

use crate::input::{Input, as_often_as};
use crate::lie::{BLK_POINTS, lie};
use crate::queue::{put, scribble, show};

const SECTORS: usize = 32;
const RANGES: u64 = bits::DISCARD | bits::WRITE_ZEROES | bits::SECURE_ERASE | bits::LIFETIME;
const ENTRIES: u16 = 16;

type Data = Vec<BlockBuffer>;
type Up = Running<MockPlatform, Pci<MockPlatform, PciHost>, Data>;
type Stopped = Device<MockPlatform, Pci<MockPlatform, PciHost>>;

struct Bench {
    platform: MockPlatform,
    plugged: Plugged<Blk>,
    pool: BlockPool,
    bytes_at_rest: usize,
    /// Requests that are out, by their tokens.
    out: BTreeSet<u64>,
    next_token: u64,
}

impl Bench {
    fn new(input: &mut Input<'_>) -> Self {
        let platform = MockPlatform::builder().without_sites().build();
        let mut personality = input.pick(Personality::all());
        personality.ring_features |= input.pick([0, feature::RING_PACKED]);
        let mut blk = Blk::of(&personality, SECTORS);
        blk.features |= input.pick([0, bits::SIZE_MAX, bits::RO, bits::SEG_MAX, RANGES, RANGES]);
        blk.size_max = 1024;
        blk.seg_max = input.pick([126, 1, 2]);
        blk.takes_its_time = input.bit();
        let plugged = Virtio::plug(&platform, PciAddress::new(0, 0, 3, 0).unwrap(), blk, personality);
        let layout = BlockLayout::new(32).with_buffer_bytes(2048);
        let pool = BlockPool::new(platform.clone(), layout).unwrap();
        let bytes_at_rest = platform.memory().bytes();
        Self { platform, plugged, pool, bytes_at_rest, out: BTreeSet::new(), next_token: 0 }
    }

    fn claim(&self) -> Stopped {
        let function = Function::claim(self.plugged.host.clone(), self.plugged.address).unwrap();
        pci::open(function, self.platform.clone(), Device::new).unwrap_or_else(|failed| {
            self.plugged.lock().repent();
            let (_, function) = failed.into_parts();
            pci::open(function, self.platform.clone(), Device::new).unwrap()
        })
    }

    /// Starts the driver on a device that may still lie, and on an honest one after that.
    fn start(&self, mut device: Stopped) -> Up {
        for _ in 0..2 {
            match device.start(&Config::default().with_entries(ENTRIES), Interrupts::LINE) {
                Ok(up) => return up,
                Err(failed) => (_, device) = failed.into_parts(),
            }
            if !device.keeps_memory() {
                self.assert_home();
            }
            self.be_honest();
        }
        panic!("an honest device does not start")
    }

    /// Stops the driver on a device that may still lie, and on an honest one after that: its parts
    /// are kept in between, and so nothing is lost.
    fn stop(&mut self, mut up: Up) -> Stopped {
        for _ in 0..2 {
            let out = &mut self.out;
            match up.stop(&mut |request, _| assert!(out.remove(&request.token), "it was out")) {
                Ok(device) => {
                    assert_eq!(self.out.len(), 0, "each came back");
                    self.assert_home();
                    return device;
                }
                Err(failed) => {
                    assert_ne!(*failed.error(), StopError::ForeignQueue, "it is its own queue");
                    (_, up) = failed.into_parts();
                }
            }
            self.be_honest();
        }
        panic!("an honest device does not stop")
    }

    fn assert_home(&self) {
        assert_eq!(self.platform.memory().bytes(), self.bytes_at_rest, "everything came home");
        assert_eq!(self.pool.free(), self.pool.buffers());
    }

    fn change_registers(&self, input: &mut Input<'_>) {
        let mut model = self.plugged.lock();
        match input.byte() % 6 {
            0 => model.config_changed(),
            1 => model.restless_config = input.bit(),
            2 => model.need_reset(),
            3 => model.queues_stay_enabled = input.bit(),
            4 => model.rejects_features = input.bit(),
            _ => model.resize(SECTORS / 2 + usize::from(input.byte()) % SECTORS),
        }
    }

    fn be_honest(&self) {
        let mut model = self.plugged.lock();
        model.repent();
        model.restless_config = false;
        model.queues_stay_enabled = false;
        model.rejects_features = false;
    }

    fn data(&self, lengths: &[usize]) -> Option<Data> {
        let piece = |len_bytes: &usize| {
            let mut piece = self.pool.get()?;
            assert!(piece.set_len_bytes(*len_bytes));
            Some(piece)
        };
        lengths.iter().map(piece).collect()
    }

    /// Asks for something; what is refused comes back at once.
    fn submit(&mut self, up: &mut Up, input: &mut Input<'_>) {
        let sector = u64::from(input.byte()) % (SECTORS as u64 + 2);
        let cut = 1 + usize::from(input.half()) % (SECTOR_BYTES - 1);
        let lengths = input.pick([[SECTOR_BYTES, 0], [2 * SECTOR_BYTES, 0], [cut, SECTOR_BYTES - cut]]);
        let lengths: Vec<usize> = lengths.into_iter().filter(|len_bytes| *len_bytes > 0).collect();
        let range = SectorRange { sector, sectors: u32::from(input.byte()) };
        let request = match input.byte() % 8 {
            0 => Some(Request::flush()),
            3 => Some(Request::discard(range)),
            4 => Some(Request::write_zeroes(range, input.bit())),
            5 => Some(Request::secure_erase(range)),
            6 => self.data(&[6]).map(Request::lifetime),
            1 => self.data(&[20]).map(Request::identify),
            2 => self.data(&lengths).map(|data| Request::read(sector, data)),
            _ => self.data(&lengths).map(|data| Request::write(sector, data)),
        };
        let Some(request) = request else { return };
        self.next_token += 1;
        if up.queue.submit(request.with_token(self.next_token)).is_ok() {
            self.out.insert(self.next_token);
        }
    }

    fn poll(&mut self, up: &mut Up) {
        if let Ok(Some(Completion { request, .. })) = up.queue.poll() {
            assert!(self.out.remove(&request.token), "out, and done once");
        }
        assert_eq!(up.queue.in_flight(), self.out.len());
    }

    /// Stops what the device broke, and sees it work again.
    fn heal(mut self, up: Up) {
        let device = self.stop(up);
        self.be_honest();
        let mut model = self.plugged.lock();
        model.violations.clear();
        model.class.disk[0] = 0x52;
        drop(model);
        let mut up = self.start(device);
        let data = self.data(&[2 * SECTOR_BYTES]).unwrap();
        up.queue.submit(Request::read(0, data)).unwrap();
        up.queue.publish();
        self.plugged.lock().tick();
        let Completion { request, result } = up.queue.poll().unwrap().unwrap();
        assert_eq!(result, Ok(()), "a restart heals");
        let mut first = [0];
        assert!(request.data.unwrap()[0].copy_out(0, &mut first));
        assert_eq!(first, [0x52]);
        drop(self.stop(up));
        assert_eq!(self.plugged.lock().violations, [""; 0]);
        let Self { platform, pool, .. } = self;
        drop(pool);
        // A device that was cut off from memory in the middle of its work has tried to reach it.
        let (faults, violations) = platform.memory().forgive();
        assert!(faults.iter().all(|fault| fault.kind == FaultKind::BusMasterOff), "{faults:?}");
        assert_eq!(violations, [""; 0]);
        platform.finish();
    }
}

/// Each input byte is an act of the device or of the driver.
pub fn virtio_blk(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut bench = Bench::new(&mut input);
    for _ in 0..input.byte() % 4 {
        bench.plugged.lock().faults.add(lie(BLK_POINTS, &mut input));
    }
    let seed = input.seed();
    let loads = as_often_as(seed, bench.plugged.changing_loads(&bench.platform, seed));
    let mut up = bench.start(bench.claim());
    while !input.is_empty() {
        loads.next_call();
        match input.byte() % 16 {
            0 => put(&bench.plugged, REQUESTS, input.word(), input.word()),
            // Likely ones get further than noise does.
            1 => {
                let [head, len_bytes] = input.array();
                put(&bench.plugged, REQUESTS, u32::from(head) % 20, u32::from(len_bytes) * 9);
            }
            2 => show(&bench.plugged, REQUESTS, u16::from(input.byte() % 4)),
            3 => scribble(&bench.plugged, &bench.platform, REQUESTS, &mut input),
            4 => bench.plugged.lock().faults.add(lie(BLK_POINTS, &mut input)),
            5 => bench.change_registers(&mut input),
            6 | 7 => bench.plugged.lock().tick(),
            8..11 => bench.submit(&mut up, &mut input),
            11 | 12 => bench.poll(&mut up),
            13 => {
                let _ = (up.queue.arm(), up.control.arm());
                up.queue.disarm();
            }
            14 => {
                up.control.acknowledge();
                let _ = up.control.poll();
            }
            _ => {
                let device = bench.stop(up);
                bench.be_honest();
                up = bench.start(device);
            }
        }
    }
    drop(loads);
    bench.heal(up);
}
