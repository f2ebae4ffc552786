//! The block device: many requests at once, of all kinds, in pieces of all lengths.

use std::time::Duration;

use paravane_block::{
    BlockLayout, BlockPool, Control as _, Operation, Remains, Request, RequestQueue as _, SubmitError,
};
use paravane_hal::dma::Quiet;
use paravane_hal::fault::DeviceFault;
use paravane_hal::recover::RecoverError;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field, Seeded};
use paravane_mock_hal::model::virtio::blk::{REQUESTS, bits};
use paravane_mock_hal::model::virtio::{Blk, Personality, VirtioBlk, Wish};
use paravane_virtio::blk::{Config, Device, Running};
use paravane_virtio::feature::RingFeatures;
use paravane_virtio::{QueueResetError, StopError};

use crate::kind::{Back, Kind, Left, PATIENCE, Scene, Trouble, Way};
use crate::ledger::{Data, Ledger, SECTOR, pattern};
use crate::place::{Bus, Place};

const SECTORS: usize = 256;
const BUFFERS: u32 = 128;
const BUFFER_BYTES: usize = 2048;
/// How many times an honest device gets eight requests.
const HONEST_ROUNDS: u64 = 125;

pub struct Disk {
    pool: BlockPool,
    ledger: Ledger,
    next_token: u64,
}

impl Kind for Disk {
    type Model = Blk;
    type Device<T: Bus> = Device<MockPlatform, T>;
    type Up<T: Bus> = Running<MockPlatform, T, Data>;

    fn model(personality: &Personality, chance: &mut Seeded) -> Blk {
        let mut blk = Blk::of(personality, SECTORS);
        // Others than the monitor has make other paths.
        match chance.below(8) {
            0 => blk.features |= bits::RO,
            1 => blk.features &= !bits::FLUSH,
            2 | 3 => blk.features |= bits::SIZE_MAX,
            4..7 => {
                blk.features |= bits::DISCARD
                    | bits::WRITE_ZEROES
                    | bits::SECURE_ERASE
                    | bits::LIFETIME
                    | bits::CONFIG_WCE;
                blk.discard.max_sectors = [0, 2, 16][chance.below(3) as usize];
            }
            _ => {}
        }
        blk.size_max = 1024 << chance.below(3);
        blk.seg_max = [126, 126, 4, 2][chance.below(4) as usize];
        blk.blk_size = [512, 512, 1024][chance.below(3) as usize];
        blk.takes_its_time = chance.below(2) == 0;
        blk
    }

    fn new(platform: &MockPlatform) -> Self {
        let layout = BlockLayout::new(BUFFERS).with_buffer_bytes(BUFFER_BYTES.try_into().unwrap());
        let pool = BlockPool::new(platform.clone(), layout).unwrap();
        Self { pool, ledger: Ledger::default(), next_token: 1 }
    }

    fn open<T: Bus>(bus: T, platform: MockPlatform) -> Device<MockPlatform, T> {
        Device::new(bus, platform).unwrap()
    }

    fn keeps_memory<T: Bus>(device: &Device<MockPlatform, T>) -> bool {
        device.keeps_memory()
    }

    fn start<P: Place<Model = Blk>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Device<MockPlatform, P::Bus>,
    ) -> Result<Running<MockPlatform, P::Bus, Data>, Device<MockPlatform, P::Bus>> {
        let config = Config::default().with_entries(8 << scene.chance.below(6));
        let started = device.start(&config, scene.interrupts());
        let up = started.map_err(|failed| failed.into_parts().1)?;
        self.ledger.open(&scene.place.lock());
        Ok(up)
    }

    fn stop<T: Bus>(
        &mut self,
        up: Running<MockPlatform, T, Data>,
    ) -> Result<Device<MockPlatform, T>, (StopError, Running<MockPlatform, T, Data>)> {
        let before = self.ledger.len();
        let stopped = up.stop(&mut |request, _| self.ledger.back(&request));
        assert_eq!(self.ledger.len(), if stopped.is_ok() { 0 } else { before }, "all or none came back");
        stopped.map_err(|failed| failed.into_parts())
    }

    fn recover<P: Place<Model = Blk>>(
        &mut self,
        scene: &Scene<P>,
        up: Running<MockPlatform, P::Bus, Data>,
    ) -> Back<Self, P> {
        let before = self.ledger.len();
        let back = &mut |request: Request<Data>, _: &Quiet<'_>| self.ledger.back(&request);
        let (error, remains) = match up.recover(scene.same_interrupts(), back) {
            Ok(up) => {
                assert_eq!((up.queue.in_flight(), self.ledger.len()), (0, 0), "all came back");
                self.ledger.open(&scene.place.lock());
                return Ok(up);
            }
            Err(failed) => failed.into_parts(),
        };
        let is_stopped = !matches!(error, RecoverError::NotStopped(_));
        assert_eq!(self.ledger.len(), if is_stopped { 0 } else { before }, "all or none came back");
        Err(match (error, remains) {
            (RecoverError::NotStopped(error), Remains::Running(up)) => {
                assert!(matches!(error, StopError::NoReset(_) | StopError::NotQuiet(_)), "{error}");
                Left::NotStopped(up)
            }
            (RecoverError::NotStarted(_), Remains::Stopped(device, _)) => Left::NotStarted(device),
            (RecoverError::Changed, Remains::Running(up)) => Left::Changed(up),
            (error, remains) => panic!("{error}, and what is left is {remains:?}"),
        })
    }

    fn terms<T: Bus>(up: &Running<MockPlatform, T, Data>) -> String {
        let control = &up.control;
        let (features, cache) = (control.features(), control.write_cache());
        format!("{:?} {features:?} {:?} cache: {cache}", control.info(), control.interrupts())
    }

    fn told(&self, model: &VirtioBlk) -> Option<String> {
        Some(format!("writeback: {}", model.class.writeback))
    }

    fn free(&self) -> usize {
        self.pool.free()
    }

    fn assert_home(&self) {
        assert_eq!(self.pool.free(), self.pool.buffers(), "every buffer came home");
    }

    fn calm(model: &mut VirtioBlk) {
        model.class.serves_doorbells = true;
        model.class.bad_sectors.clear();
    }

    fn device_step<P: Place<Model = Blk>>(&mut self, scene: &mut Scene<P>) {
        let chance = &mut scene.chance;
        let number = chance.next_u32();
        let id = if chance.below(8) == 0 { number } else { chance.below(70) };
        let len_bytes = if chance.below(8) == 0 { number } else { chance.below(2100) };
        let ahead = [0, 0, 1, number.to_le_bytes()[0].into()][chance.below(4) as usize];
        let kind = chance.below(64);
        let mut model = scene.place.lock();
        let is_live = model.is_live() && model.queues[REQUESTS].is_enabled;
        let lies = scene.lies && is_live;
        match kind {
            0..8 => model.serve_all(),
            8..12 if is_live && model.serve_one().is_some() => model.show(REQUESTS, 0),
            12..16 if is_live => model.scrawl(REQUESTS, number),
            16 | 17 if lies => model.put(REQUESTS, id, len_bytes),
            18 | 19 if lies => model.show(REQUESTS, ahead),
            20 if lies => model.misplace(REQUESTS, ahead),
            21 if lies => _ = model.serve_one(),
            22..26 if is_live => {
                model.queues[REQUESTS].wish =
                    [Wish::Never, Wish::After(0), Wish::After(5)][number as usize % 3];
                model.tell_wish(REQUESTS);
            }
            26 => model.class.serves_doorbells = !model.class.serves_doorbells,
            27 => model.personality.shuffles = !model.personality.shuffles,
            28 => _ = model.class.bad_sectors.insert(u64::from(number) % SECTORS as u64),
            29 => model.class.bad_sectors.clear(),
            30 if number.is_multiple_of(8) => {
                let sectors = SECTORS / 2 + number as usize % SECTORS / 2 * 2;
                self.ledger.resize(sectors * SECTOR);
                model.resize(sectors);
            }
            _ => model.tick(),
        }
        model.take_done();
    }

    fn driver_step<P: Place<Model = Blk>>(
        &mut self,
        scene: &mut Scene<P>,
        up: &mut Running<MockPlatform, P::Bus, Data>,
    ) -> bool {
        let whole = match scene.chance.below(17) {
            0..5 => self.submit_some(scene, up),
            5..10 => self.poll_some(scene, up),
            10 => {
                up.queue.publish();
                true
            }
            11 => {
                up.queue.remind();
                true
            }
            12 => up.queue.arm().is_ok() & up.control.arm().is_ok(),
            13 => {
                let on = scene.chance.below(2) == 0;
                let _ = up.control.set_write_cache(on);
                up.queue.disarm();
                up.control.acknowledge();
                true
            }
            14 => {
                scene.platform.clock().advance(Duration::from_millis(100));
                up.control.poll().is_ok()
            }
            15 if scene.chance.below(4) == 0 => {
                let back = &mut |request: Request<Data>| self.ledger.back(&request);
                let reset = up.control.reset_queue(&mut up.queue, back);
                if reset.is_ok() {
                    self.ledger.look(&scene.place.lock());
                }
                matches!(reset, Ok(()) | Err(QueueResetError::NotOffered))
            }
            _ => up.control.poll().is_ok(),
        };
        assert_eq!(up.queue.in_flight(), self.ledger.len(), "what is out is out");
        whole
    }

    fn start_well<P: Place<Model = Blk>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Device<MockPlatform, P::Bus>,
    ) -> Up<P> {
        scene.place.lock().resize(SECTORS);
        scene.way = Way::Polling;
        let config = Config::default().with_entries(64);
        let up = device.start(&config, scene.same_interrupts()).unwrap();
        self.ledger.open(&scene.place.lock());
        up
    }

    /// What is written is stored, and what is stored is read, many at once.
    fn prove<P: Place<Model = Blk>>(&mut self, scene: &mut Scene<P>, up: &mut Up<P>) {
        self.ledger.compared = 0;
        for round in 0..HONEST_ROUNDS {
            if round % 40 == 7 && up.control.features().has_ring(RingFeatures::RING_RESET) {
                let back = &mut |_| panic!("all was done");
                assert_eq!(up.control.reset_queue(&mut up.queue, back), Ok(()));
            }
            for place in 0..8 {
                let operation = match (round % 4, up.control.info().read_only) {
                    (0 | 1, false) => Operation::Write { sector: place * 32 + round % 8 * 2 },
                    (3, _) if place == 0 => Operation::Flush,
                    (3, _) if place == 1 => Operation::Identify,
                    _ => Operation::Read { sector: place * 32 + (round + 6) % 8 * 2 },
                };
                let len_bytes = if operation == Operation::Identify { 20 } else { 2 * SECTOR };
                let request = self.request(operation, &[len_bytes]).unwrap();
                self.ledger.ask(&request);
                up.queue.submit(request).unwrap();
            }
            for look in 0.. {
                let _ = scene.call_begins();
                let _ = scene.platform.take_interrupts();
                match up.queue.poll().unwrap() {
                    Some(completion) => {
                        completion.result.unwrap();
                        self.ledger.answered(&scene.place.lock(), &completion);
                    }
                    None if self.ledger.len() == 0 => break,
                    None => scene.place.lock().tick(),
                }
                assert!(look < 100, "they are done");
            }
        }
        let counters = up.queue.counters();
        assert_eq!((counters.completed, counters.failed), (8 * HONEST_ROUNDS, 0));
        assert_eq!(self.ledger.compared, 8 * HONEST_ROUNDS);
        assert!(up.control.poll().is_ok());
    }

    fn get_into<P: Place<Model = Blk>>(&mut self, trouble: Trouble, scene: &mut Scene<P>, up: &mut Up<P>) {
        let _ = up.control.set_write_cache(scene.chance.below(2) == 0);
        scene.place.lock().class.serves_doorbells = false;
        for place in 0..4 {
            let request = self.request(Operation::Read { sector: place * 32 }, &[2 * SECTOR]).unwrap();
            self.ledger.ask(&request);
            up.queue.submit(request).unwrap();
        }
        up.queue.publish();
        let mut progress = || up.control.watch(up.queue.counters().into(), PATIENCE);
        match trouble {
            Trouble::AsksForReset => {
                scene.place.lock().need_reset();
                scene.platform.clock().advance(Duration::from_millis(100));
                assert_eq!(up.control.poll(), Err(DeviceFault::NeedsReset));
            }
            Trouble::Lies => {
                let lie = Action::Set { field: Field::Index, value: 77 };
                let mut model = scene.place.lock();
                model.faults.add(Fault::nth(FaultPoint::RequestCompletion, 1, lie));
                assert!(model.serve_one().is_some());
                model.show(REQUESTS, 0);
                drop(model);
                assert!(up.queue.poll().is_err());
            }
            Trouble::Hangs => {
                assert_eq!(progress(), Ok(()));
                scene.platform.clock().advance(PATIENCE);
                assert_eq!(progress(), Err(DeviceFault::NoAnswer { after_ms: 5000 }));
            }
        }
        scene.place.lock().class.serves_doorbells = true;
    }
}

type Up<P> = Running<MockPlatform, <P as Place>::Bus, Data>;

impl Disk {
    /// A request whose data is of so many pieces.
    fn request(&mut self, operation: Operation, lengths: &[usize]) -> Option<Request<Data>> {
        let token = self.next_token;
        let mut data = Data::new();
        if operation.direction().is_some() {
            let mut rest = &pattern(token, lengths.iter().sum())[..];
            for len_bytes in lengths {
                let mut piece = self.pool.get()?;
                assert!(piece.set_len_bytes(*len_bytes));
                let (now, later) = rest.split_at(*len_bytes);
                assert!(piece.copy_in(0, now));
                rest = later;
                data.push(piece);
            }
        }
        self.next_token += 1;
        let data = operation.direction().map(|_| data);
        Some(Request { operation, token, data })
    }

    /// A range to discard, to fill or to erase, longer than a disk takes at once and than there is
    /// too.
    fn any_range(&self, chance: &mut Seeded, sector: u64) -> Operation {
        let sectors = 2 * chance.below(24);
        match chance.below(4) {
            0 => Operation::Discard { sector, sectors },
            1 => Operation::SecureErase { sector, sectors },
            kind => Operation::WriteZeroes { sector, sectors, may_unmap: kind == 2 },
        }
    }

    /// Anything that a disk could be asked for, and some that it could not.
    fn any_request(&mut self, chance: &mut Seeded, capacity_sectors: u64) -> Option<Request<Data>> {
        let sector = u64::from(chance.below(u32::try_from(capacity_sectors).unwrap_or(1000).min(1000) + 2));
        let operation = match chance.below(16) {
            0 => Operation::Flush,
            1 => Operation::Identify,
            2 => self.any_range(chance, sector & !1),
            3 if chance.below(4) == 0 => Operation::Lifetime,
            3..9 => Operation::Read { sector: sector & !1 },
            _ => Operation::Write { sector: sector & !1 },
        };
        let mut left = match operation {
            Operation::Identify => 20,
            Operation::Lifetime => 6,
            _ if operation.direction().is_none() => 0,
            _ => 2 * SECTOR * (1 + chance.below(4) as usize),
        };
        if chance.below(32) == 0 && left > 0 {
            left += 3;
        }
        if !self.ledger.has_no_order(operation, left) {
            return None;
        }
        let mut lengths = Vec::new();
        while left > 0 {
            let most = left.min(BUFFER_BYTES);
            let whole = lengths.len() > 6 || chance.below(2) == 0;
            let now = if whole { most } else { 1 + chance.below(most.try_into().unwrap()) as usize };
            lengths.push(now);
            left -= now;
        }
        self.request(operation, &lengths)
    }

    fn submit_some<P: Place<Model = Blk>>(
        &mut self,
        scene: &mut Scene<P>,
        up: &mut Running<MockPlatform, P::Bus, Data>,
    ) -> bool {
        for _ in 0..=scene.chance.below(8) {
            let capacity = up.control.capacity_sectors();
            let Some(request) = self.any_request(&mut scene.chance, capacity) else { continue };
            self.ledger.ask(&request);
            if let Err(failed) = up.queue.submit(request) {
                let (error, request) = failed.into_parts();
                self.ledger.back(&request);
                if matches!(error, SubmitError::Fault(_)) {
                    return false;
                }
            }
        }
        true
    }

    fn poll_some<P: Place<Model = Blk>>(
        &mut self,
        scene: &mut Scene<P>,
        up: &mut Running<MockPlatform, P::Bus, Data>,
    ) -> bool {
        for _ in 0..=scene.chance.below(8) {
            match up.queue.poll() {
                Ok(Some(completion)) => self.ledger.answered(&scene.place.lock(), &completion),
                Ok(None) => break,
                Err(_) => return false,
            }
            let _ = scene.call_begins();
        }
        true
    }
}
