//! Storms: a device that does anything at any time, within the memory that it has, and a driver
//! that lives through it.
//!
//! A step is one call into the driver or one thing that the device does. After each step: no call
//! waited longer than its deadline by the platform's clock, and the memory that both sides reach is
//! what they may reach (the platform ends the test otherwise). After each stop of the driver:
//! everything came home, for what a device keeps that would not be reset is kept in parts until it
//! is; and what no lie excuses was not done. After each storm the driver, started again on the same
//! device, now honest, carries 10,000 frames each way with none lost.
//!
//! How many steps, and from which seed on: see `paravane_mock_hal::storms`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::result_large_err, reason = "errors give the device back")]

use std::time::Duration;

use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_hal::time::{Clock as _, Instant};
use paravane_mock_hal::fault::{Action, FaultPlan, FaultPoint, Seeded};
use paravane_mock_hal::model::virtio::net::{RX, TX, bits};
use paravane_mock_hal::model::virtio::{Net, Personality, Plugged, Virtio, Wish, common_register};
use paravane_mock_hal::storms::{self, Steps};
use paravane_mock_hal::{ChangingLoads, MockPlatform, PciHost};
use paravane_net::{
    Burst, Control as _, Frame, FrameLayout, FramePool, RxFilter, RxQueue as _, TxQueue as _,
};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::net::{Config, Device, Running, StopError};
use paravane_virtio::transport::pci::{self, Pci};

const STEPS_A_STORM: u64 = 10_000;
const DEFAULT_STEPS: u64 = 60_000;
const HONEST_FRAMES: u32 = 10_000;
/// No call into the driver waits longer: for a reset.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const FRAMES: u32 = 512;
const MAC: [u8; 6] = [0x52, 0x54, 0, 0xba, 0xd0, 1];
const DEVICE_STATUS: u32 = common_register(0x14);

type Bus = Pci<MockPlatform, PciHost>;
type MockDevice = Device<MockPlatform, Bus>;
type Up = Running<MockPlatform, Bus>;

/// What storms came to.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Faults of the device.
    hits: u64,
    /// Calls that ended in a typed fault.
    faults: u64,
    restarts: u64,
    /// Starts that failed.
    refused: u64,
    /// Loads of the driver that were answered with another value.
    changed: u64,
    /// Stops, and starts that failed, after which the device kept its memory.
    stuck: u64,
}

struct Storm {
    chance: Seeded,
    steps: Steps,
    platform: MockPlatform,
    plugged: Plugged<Net>,
    pool: FramePool,
    /// Frames and bytes that are there when nothing runs.
    at_rest: (usize, usize),
    messages: Vec<MsiMessage>,
    /// Without lies, the loads that change are all that is wrong, and the model has an eye on
    /// everything else.
    lies: bool,
    loads: Option<ChangingLoads>,
    tally: Tally,
}

impl Storm {
    fn new(seed: u64, steps: &Steps) -> Self {
        let mut chance = Seeded::new(seed);
        let personalities = Personality::all();
        let mut personality = personalities[usize::try_from(seed).unwrap() % personalities.len()];
        personality.shuffles = chance.below(2) == 0;
        let mut net = Net::of(&personality, MAC);
        // Fewer than the monitor has make other paths.
        let without = [0, bits::MRG_RXBUF, bits::CSUM | bits::GUEST_CSUM, bits::MAC | bits::STATUS];
        net.features &= !without[chance.below(4) as usize];
        let platform = MockPlatform::builder().without_sites().build();
        let plugged = Virtio::plug(&platform, PciAddress::new(0, 0, 3, 0).unwrap(), net, personality);
        let pool = FramePool::new(platform.clone(), FrameLayout::new(FRAMES)).unwrap();
        let at_rest = (pool.free(), platform.memory().bytes());
        let messages = platform.interrupts().messages(3);
        let (steps, tally) = (steps.clone(), Tally::default());
        Self { chance, steps, platform, plugged, pool, at_rest, messages, lies: true, loads: None, tally }
    }

    fn claim(&self) -> MockDevice {
        let function = Function::claim(self.plugged.host.clone(), self.plugged.address).unwrap();
        pci::open(function, self.platform.clone(), Device::new).unwrap()
    }

    /// A fresh storm breaks loose, as hard as chance will have it.
    fn break_loose(&mut self) {
        let per_million = [0, 2_000, 20_000, 100_000, 400_000][self.chance.below(5) as usize];
        self.calm();
        self.lies = per_million > 0;
        self.plugged.lock().faults = FaultPlan::storm(self.chance.next_u64(), per_million);
        let loads = self.plugged.changing_loads(&self.platform, self.chance.next_u64());
        let loads = loads.one_in([2, 30, 500][self.chance.below(3) as usize]);
        self.loads = Some(loads.first_too([0, 100, 2000][self.chance.below(3) as usize]));
    }

    fn calm(&mut self) {
        self.tally.changed += self.loads.take().map_or(0, |loads| loads.changed());
        let mut model = self.plugged.lock();
        self.tally.hits += model.faults.hits();
        model.repent();
        model.class.link_up = true;
        for queue in &mut model.queues {
            queue.wish = Wish::After(0);
        }
    }

    fn assert_in_time(&self, before: Instant) {
        let waited = self.platform.now().since(before);
        assert!(waited <= LONGEST_WAIT, "waited {waited:?}");
    }

    /// Starts the driver; on a device that will not, an honest one in the end.
    fn start(&mut self, mut device: MockDevice) -> Up {
        for attempt in 0.. {
            assert!(attempt < 50, "an honest device does not start");
            if attempt == 20 {
                self.calm();
            }
            let entries = 16 << self.chance.below(3);
            let config = Config::default().with_tx_entries(entries).with_rx_entries(entries);
            let interrupts = match self.chance.below(3) {
                0 => Interrupts::POLLING,
                1 => Interrupts::LINE,
                _ => Interrupts::msix(&self.messages),
            };
            let before = self.platform.now();
            let started = device.start(&config, self.pool.clone(), interrupts);
            self.assert_in_time(before);
            match started {
                Ok(up) => return up,
                Err(failed) => {
                    self.tally.refused += 1;
                    (_, device) = failed.into_parts();
                    if device.keeps_memory() {
                        self.assert_explained();
                    } else {
                        self.assert_at_rest();
                    }
                    self.plugged.lock().gone = false;
                }
            }
        }
        unreachable!("the loop ends by itself")
    }

    /// Stops the driver; on a device that will not, an honest one in the end. Its parts are kept in
    /// between, and so nothing is lost.
    fn stop(&mut self, mut up: Up) -> MockDevice {
        let mut device = None;
        for attempt in 0..4 {
            let before = self.platform.now();
            let stopped = up.stop();
            self.assert_in_time(before);
            match stopped {
                Ok(stopped) => {
                    device = Some(stopped);
                    break;
                }
                Err(failed) => {
                    let error;
                    (error, up) = failed.into_parts();
                    assert_ne!(error, StopError::ForeignQueue, "its own queues");
                    self.assert_explained();
                }
            }
            self.plugged.lock().gone = false;
            if attempt == 2 {
                self.calm();
            }
        }
        let device = device.expect("an honest device stops");
        self.assert_at_rest();
        let mut model = self.plugged.lock();
        assert_eq!(model.violations, Vec::<String>::new(), "after {:?}", model.faults.fired());
        assert!(!self.plugged.host.is_bus_master(self.plugged.address));
        model.refusals.clear();
        drop(model);
        device
    }

    fn assert_at_rest(&self) {
        let now = (self.pool.free(), self.platform.memory().bytes());
        assert_eq!(now, self.at_rest, "everything came home");
    }

    /// The device has what it was told of: only if it would not be reset.
    fn assert_explained(&mut self) {
        self.tally.stuck += 1;
        let model = self.plugged.lock();
        let misled = model.faults.fired().iter().any(|fired| {
            fired.point == FaultPoint::RegisterRead && fired.subject == DEVICE_STATUS
                || fired.action == Action::AllOnes
        });
        assert!(model.gone || misled, "it was not reset, after {:?}", model.faults.fired());
    }

    fn restart(&mut self, up: Up) -> Up {
        self.tally.restarts += 1;
        // A device that is gone keeps everything; most come back in time.
        if self.chance.below(4) != 0 {
            self.plugged.lock().gone = false;
        }
        let device = self.stop(up);
        self.break_loose();
        self.start(device)
    }

    /// One thing that the device does.
    fn device_step(&mut self) {
        let number = self.chance.next_u32();
        let bytes = self.chance.below(5000) as usize;
        let queue = self.chance.below(2) as usize;
        let id = if self.chance.below(8) == 0 { number } else { self.chance.below(70) };
        let len_bytes = if self.chance.below(8) == 0 { number } else { self.chance.below(2100) };
        let ahead = [0, 0, 1, number.to_le_bytes()[0].into()][self.chance.below(4) as usize];
        let header = number.to_le_bytes().repeat(3).try_into().unwrap();
        let kind = self.chance.below(32);
        let mut model = self.plugged.lock();
        let is_live = model.is_live() && model.queues[queue].is_enabled;
        let lies = self.lies && is_live;
        match kind {
            0..16 => _ = model.deliver(&numbered(number)),
            16 | 17 => _ = model.deliver(&vec![7; bytes]),
            18 if self.lies => _ = model.deliver_with(header, &numbered(number)),
            19 => model.set_link(number & 1 == 0),
            20 if lies => model.put(queue, id, len_bytes),
            21 if lies => model.show(queue, ahead),
            22 if lies => _ = model.fill_one(&numbered(number)[..bytes % 60]),
            23 if lies => _ = model.send_one(),
            24 if is_live => {
                model.queues[TX].wish = [Wish::Never, Wish::After(0), Wish::After(5)][number as usize % 3];
                model.tell_wish(TX);
            }
            25 if is_live => model.tell_wish(RX),
            _ => model.tick(),
        }
        model.take_sent();
        model.doorbells.clear();
        model.statuses.clear();
        drop(model);
        let _ = self.platform.take_interrupts();
    }

    /// A frame to send, in one piece or three.
    fn frame(&mut self) -> Option<Frame> {
        let number = self.chance.next_u32();
        if self.pool.free() < 4 {
            return None;
        }
        let mut frame = self.pool.get()?;
        let _ = frame.append(&numbered(number));
        if number.is_multiple_of(3) {
            let [mut second, mut third] = [self.pool.get()?, self.pool.get()?];
            let _ = second.append(&[1; 100]);
            let _ = third.append(&[2; 9]);
            second.set_next(third);
            frame.set_next(second);
        }
        Some(frame)
    }

    /// One call into the driver. Whether it is still whole.
    fn driver_step(&mut self, up: &mut Up) -> bool {
        let mut burst = Burst::new();
        let choice = self.chance.below(16);
        if (5..8).contains(&choice) {
            for _ in 0..=self.chance.below(8) {
                if let Some(frame) = self.frame() {
                    burst.push(frame).map_err(|_| "full").unwrap();
                }
            }
        }
        let filter = RxFilter::from_bits_truncate(self.chance.below(32).try_into().unwrap());
        // A look at the clock: here a call begins.
        let before = self.platform.now();
        let whole = match choice {
            0..5 => up.rx.receive(&mut burst).is_ok(),
            5..8 => up.tx.transmit(&mut burst).is_ok(),
            8 | 9 => up.tx.reclaim().is_ok(),
            10 => {
                up.tx.flush();
                up.rx.refill();
                true
            }
            11 => up.rx.arm().is_ok() & up.tx.arm().is_ok() & up.control.arm().is_ok(),
            12 => {
                up.rx.disarm();
                up.tx.disarm();
                up.control.acknowledge();
                true
            }
            13 => {
                // What the device does not have is refused, which breaks nothing.
                let _ = up.control.set_filter(filter);
                true
            }
            14 => {
                self.platform.clock().advance(Duration::from_millis(100));
                up.control.poll().is_ok()
            }
            _ => up.control.poll().is_ok(),
        };
        self.assert_in_time(before);
        whole
    }

    /// All of it: `steps` hostile steps, then an honest device.
    fn run(mut self, steps: u64) -> Tally {
        let device = self.claim();
        self.break_loose();
        let mut up = self.start(device);
        for _ in 0..steps {
            self.steps.step();
            let whole = if self.chance.below(2) == 0 {
                self.device_step();
                true
            } else {
                self.driver_step(&mut up)
            };
            self.tally.faults += u64::from(!whole);
            // A broken driver is called a few times more before it is restarted; a whole one is
            // restarted too, now and then.
            if self.chance.chance(if whole { 1_000 } else { 300_000 }) {
                up = self.restart(up);
            }
        }
        self.calm();
        let stuck = self.tally.stuck;
        let device = self.stop(up);
        assert_eq!(self.tally.stuck, stuck, "an honest device stops");
        self.carry_frames(device);
        self.tally
    }

    /// The device is honest: every frame arrives, both ways, once, in order, as it was, and no rule
    /// is broken.
    fn carry_frames(&self, device: MockDevice) {
        self.plugged.lock().take_sent();
        let loads = ChangingLoads::counted();
        let config = Config::default().with_tx_entries(64).with_rx_entries(64);
        let mut up = device.start(&config, self.pool.clone(), Interrupts::msix(&self.messages)).unwrap();
        for first in (0..HONEST_FRAMES).step_by(16) {
            let numbers = first..first + 16;
            let mut burst = Burst::new();
            for number in numbers.clone() {
                assert!(self.plugged.lock().deliver(&numbered(number)), "frame {number} is lost");
                let mut frame = self.pool.get().unwrap();
                let _ = frame.append(&numbered(number));
                burst.push(frame).map_err(|_| "full").unwrap();
            }
            while !burst.is_empty() {
                up.tx.transmit(&mut burst).unwrap();
                self.plugged.lock().tick();
                up.tx.reclaim().unwrap();
            }
            let sent = self.plugged.lock().take_sent();
            assert!(sent.into_iter().map(|sent| sent.bytes).eq(numbers.clone().map(numbered)));
            let mut received = Burst::new();
            up.rx.receive(&mut received).unwrap();
            let received = std::iter::from_fn(|| received.pop()).map(|frame| {
                let mut bytes = vec![0; frame.total_bytes()];
                frame.copy_out(&mut bytes).unwrap();
                bytes
            });
            assert!(received.eq(numbers.map(numbered)));
            let _ = self.platform.take_interrupts();
        }
        assert!(loads.loads() > u64::from(HONEST_FRAMES));
        assert_eq!(loads.again(), 0, "no word is loaded twice in a call");
        let (rx, tx) = (up.rx.counters(), up.tx.counters());
        assert_eq!((rx.frames, rx.dropped()), (HONEST_FRAMES.into(), 0));
        assert_eq!(tx.frames, u64::from(HONEST_FRAMES));
        assert!(up.stop().is_ok());
        assert_eq!((self.pool.free(), self.platform.memory().bytes()), self.at_rest);
        let model = self.plugged.lock();
        assert_eq!(model.violations, Vec::<String>::new());
        assert_eq!(model.refusals, Vec::<String>::new());
    }
}

/// A frame that says which one it is, in one of all sizes.
fn numbered(number: u32) -> Vec<u8> {
    let len = 60 + number as usize % 1455;
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

#[test]
fn a_device_that_lies_does_no_harm() {
    let mut all = Tally::default();
    let storms = storms::run(STEPS_A_STORM, DEFAULT_STEPS, |seed, steps| {
        let Tally { hits, faults, restarts, refused, changed, stuck } =
            Storm::new(seed, steps).run(STEPS_A_STORM);
        all.hits += hits;
        all.faults += faults;
        all.restarts += restarts;
        all.refused += refused;
        all.changed += changed;
        all.stuck += stuck;
    });
    println!("{storms} seeds: {all:?}");
    let least = [all.hits, all.faults, all.restarts, all.refused].into_iter().min();
    assert!(least > Some(10 * storms) && all.stuck > 0, "it did storm: {all:?}");
}
