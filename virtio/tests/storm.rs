//! Storms: a device that lies at any point and for a long time. Nothing panics, nothing hangs, nothing is freed under the device, nothing is lost for
//! good; and after a reset against an honest device ten thousand frames go through, with none missing.
//!
//! A step is one call into the driver, or one act of the device. `PARAVANE_STORM_STEPS` says how many there are in all; fewer without it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests"
)]
#![allow(clippy::result_large_err, reason = "errors give the device back")]

use std::collections::VecDeque;
use std::time::Duration;

use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_hal::time::Clock as _;
use paravane_mock_hal::fault::{FaultPlan, Seeded};
use paravane_mock_hal::model::virtio::net::bits;
use paravane_mock_hal::model::virtio::{Net, Personality, Plugged, Virtio};
use paravane_mock_hal::{FaultKind, MockPlatform, PciHost};
use paravane_net::{Burst, Control as _, FramePool, RxQueue as _, TxQueue as _};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::net::{Config, Device, Running, StopError};

const DEFAULT_STEPS: u64 = 20_000;
/// Steps of one start of the driver.
const STEPS_PER_START: u64 = 500;
const STARTS_PER_STORM: u64 = 8;
/// The longest that a call may wait for the device: a reset.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const FRAMES_AFTERWARDS: u32 = 10_000;
const MAC: [u8; 6] = [0x52, 0x54, 0, 0xba, 0xd0, 1];

/// What storms came to.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    steps: u64,
    /// Lies that the device told.
    lies: u64,
    /// Starts that failed.
    refused: u64,
    /// Calls that ended in a typed fault.
    broken: u64,
}

type MockDevice = Device<MockPlatform, PciHost>;
type Up = Running<MockPlatform, PciHost>;

/// One device on one platform, with a driver that outlives what the device does to it.
struct Storm {
    seed: u64,
    chance: Seeded,
    platform: MockPlatform,
    plugged: Plugged<Net>,
    pool: FramePool,
    messages: Vec<MsiMessage>,
    /// Frames lost for good to a device that did not stop.
    leaked_frames: usize,
    /// Restarts that a device refused, and queues that broke.
    refused: u64,
    broken: u64,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let personalities = Personality::all();
        let kind = seed % personalities.len() as u64;
        let mut personality = personalities[usize::try_from(kind).unwrap()];
        let mut chance = Seeded::new(seed);
        personality.shuffles = chance.below(2) == 0;
        let more = [
            0,
            bits::MRG_RXBUF,
            bits::CSUM | bits::GUEST_CSUM | bits::HOST_TSO4,
            bits::MTU | bits::MRG_RXBUF,
        ];
        let net = Net::new(MAC).with_features(bits::MAC | bits::STATUS | more[chance.below(4) as usize]);
        // A device that lies breaks rules of the platform by the way; they are looked at one by one.
        let platform = MockPlatform::builder().record_faults().allow_leaks().without_sites().build();
        let plugged = Virtio::plug(&platform, PciAddress::new(0, 0, 3, 0).unwrap(), net, personality);
        let pool = FramePool::new(platform.clone(), 1024, 2048, 64).unwrap();
        let messages = platform.interrupts().messages(3);
        Self { seed, chance, platform, plugged, pool, messages, leaked_frames: 0, refused: 0, broken: 0 }
    }

    fn claim(&self) -> Option<MockDevice> {
        let function = Function::claim(self.plugged.host.clone(), self.plugged.address).ok()?;
        Device::new(function, self.platform.clone()).ok()
    }

    /// One call, which ends before its deadline.
    fn in_time<T>(&self, call: impl FnOnce() -> T) -> T {
        let before = self.platform.now();
        let result = call();
        let took = self.platform.now().since(before);
        assert!(took <= LONGEST_WAIT, "seed {}: a call took {took:?}", self.seed);
        result
    }

    fn start(&mut self, device: MockDevice) -> Result<Up, MockDevice> {
        let size = 16 << self.chance.below(3);
        let config = Config { tx_entries: size, rx_entries: size, ..Config::default() };
        let mode = self.chance.below(3);
        let messages = self.messages.clone();
        let interrupts = match mode {
            0 => Interrupts::Polling,
            1 => Interrupts::Intx,
            _ => Interrupts::Msix(&messages),
        };
        self.in_time(|| device.start(&config, self.pool.clone(), interrupts)).map_err(|(_, device)| device)
    }

    fn stop(&mut self, up: Up) -> MockDevice {
        match self.in_time(|| up.control.stop(up.rx, up.tx)) {
            Ok(device) => device,
            Err(StopError::Stuck { device, leaked_frames, .. }) => {
                self.leaked_frames += leaked_frames;
                device
            }
            Err(StopError::OthersQueues { .. }) => panic!("seed {}: its own queues", self.seed),
        }
    }

    /// One step: the driver or the device does something.
    fn step(&mut self, up: &mut Up, held: &mut Burst) {
        let choice = self.chance.below(12);
        let len = 1 + self.chance.below(2000) as usize;
        let is_fine = match choice {
            0..3 => {
                let mut burst = Burst::new();
                for _ in 0..=self.chance.below(8) {
                    if let Some(mut frame) = self.pool.get() {
                        frame.append(&vec![choice as u8; len.min(1514)]);
                        burst.push(frame).map_err(|_| "full").unwrap();
                    }
                }
                self.in_time(|| up.tx.transmit(&mut burst)).is_ok()
            }
            3..5 => self.in_time(|| up.rx.receive(held)).is_ok(),
            5 => self.in_time(|| up.tx.reclaim()).is_ok(),
            6 => self.in_time(|| up.rx.arm()).is_ok() && self.in_time(|| up.tx.arm()).is_ok(),
            7 => self.in_time(|| up.control.poll()).is_ok() && self.in_time(|| up.control.arm()).is_ok(),
            8 => {
                up.rx.refill();
                up.tx.flush();
                held.clear();
                true
            }
            9 => {
                self.platform.clock().advance(Duration::from_millis(100));
                self.plugged.lock().tick();
                true
            }
            _ => {
                self.plugged.lock().deliver(&vec![choice as u8; len]);
                true
            }
        };
        self.broken += u64::from(!is_fine);
    }

    /// Storms over several starts, then an honest device.
    fn run(mut self) -> Tally {
        let mut tally = Tally::default();
        let mut device = None;
        for _ in 0..STARTS_PER_STORM {
            self.plugged.lock().gone = false;
            let Some(mut stopped) = device.take().or_else(|| self.claim()) else {
                self.refused += 1;
                self.plugged.lock().repent();
                continue;
            };
            // Half of the storms begin before the driver does.
            let rate = [2_000, 20_000, 200_000][self.chance.below(3) as usize];
            let early = self.chance.below(2) == 0;
            let plan = FaultPlan::storm(self.chance.next_u64(), rate);
            if early {
                self.plugged.lock().faults = plan.clone();
            }
            match self.start(stopped) {
                Ok(mut up) => {
                    if !early {
                        self.plugged.lock().faults = plan;
                    }
                    let mut held = Burst::new();
                    for _ in 0..STEPS_PER_START {
                        self.step(&mut up, &mut held);
                        tally.steps += 1;
                    }
                    drop(held);
                    stopped = self.stop(up);
                }
                Err(refused) => {
                    self.refused += 1;
                    stopped = refused;
                    self.forgive_leak();
                }
            }
            assert!(!self.plugged.host.is_bus_master(self.plugged.address) || self.plugged.lock().gone);
            self.assert_memory();
            device = Some(stopped);
            tally.lies += self.plugged.lock().faults.hits();
        }
        drop(device);
        self.carry_frames();
        Tally { refused: self.refused, broken: self.broken, ..tally }
    }

    /// A start that failed leaks what a device has that will not be reset either, and never more than the receive ring.
    fn forgive_leak(&mut self) {
        let missing = self.pool.frames() - self.pool.free() - self.leaked_frames;
        let lied = self.plugged.lock().faults.hits() > 0;
        assert!(missing == 0 || lied && missing <= 64, "seed {}: {missing} frames are missing", self.seed);
        self.leaked_frames += missing;
    }

    /// No device reached what was given back, and nothing that a device had was freed.
    fn assert_memory(&self) {
        let memory = self.platform.memory();
        // Where bus mastering is off, the bus stopped the device; that is what it was switched off for.
        let reached = memory.faults().into_iter().filter(|fault| fault.kind != FaultKind::BusMasterOff);
        let faults: Vec<String> = reached.map(|fault| fault.report).collect();
        let fired = self.plugged.lock().faults.fired().to_vec();
        assert_eq!(faults, Vec::<String>::new(), "seed {}, after {fired:?}", self.seed);
        assert_eq!(memory.violations(), Vec::<String>::new(), "seed {}, after {fired:?}", self.seed);
        assert_eq!(
            self.pool.free() + self.leaked_frames,
            self.pool.frames(),
            "seed {}: frames are missing, after {fired:?}",
            self.seed
        );
    }

    /// The device is honest again: a reset, and every frame arrives, in both directions, once, in order, as it was.
    fn carry_frames(&mut self) {
        {
            let mut model = self.plugged.lock();
            model.repent();
            model.class.link_up = true;
            model.violations.clear();
            model.refusals.clear();
            model.take_sent();
        }
        let bytes_before = self.platform.memory().bytes();
        let device = self.claim().expect("an honest device is taken");
        let config = Config { tx_entries: 64, rx_entries: 64, ..Config::default() };
        let messages = self.messages.clone();
        let mut up = device
            .start(&config, self.pool.clone(), Interrupts::Msix(&messages))
            .map_err(|(error, _)| error.to_string())
            .unwrap();
        let (mut sent, mut received) = (0_u32, 0_u32);
        let mut on_the_wire = VecDeque::new();
        let mut burst = Burst::new();
        // Ten thousand frames take this many turns only if some are lost.
        for _ in 0..FRAMES_AFTERWARDS {
            while sent < FRAMES_AFTERWARDS && burst.len() < 16 {
                let Some(mut frame) = self.pool.get() else { break };
                frame.append(&numbered(sent));
                burst.push(frame).map_err(|_| "full").unwrap();
                sent += 1;
            }
            up.tx.transmit(&mut burst).unwrap();
            up.tx.reclaim().unwrap();
            {
                let mut model = self.plugged.lock();
                on_the_wire.extend(model.take_sent().into_iter().map(|sent| sent.bytes));
                while on_the_wire.front().is_some_and(|frame| model.deliver(frame)) {
                    on_the_wire.pop_front();
                }
            }
            let mut arrived = Burst::new();
            up.rx.receive(&mut arrived).unwrap();
            while let Some(frame) = arrived.pop() {
                let mut bytes = vec![0; frame.total_bytes()];
                frame.copy_out(&mut bytes).unwrap();
                assert_eq!(bytes, numbered(received), "seed {}", self.seed);
                received += 1;
            }
            if received == FRAMES_AFTERWARDS {
                break;
            }
        }
        assert_eq!(received, FRAMES_AFTERWARDS, "seed {}", self.seed);
        assert!(up.control.stop(up.rx, up.tx).is_ok());
        assert_eq!(self.platform.memory().bytes(), bytes_before, "seed {}", self.seed);
        let model = self.plugged.lock();
        assert_eq!(model.violations, Vec::<String>::new(), "seed {}", self.seed);
        assert_eq!(model.refusals, Vec::<String>::new(), "seed {}", self.seed);
        drop(model);
        self.assert_memory();
    }
}

/// A frame that says which one it is, in one of all sizes.
fn numbered(number: u32) -> Vec<u8> {
    let len = 60 + number as usize * 37 % 1455;
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

#[test]
fn a_device_that_lies_does_no_harm() {
    let wanted = std::env::var("PARAVANE_STORM_STEPS")
        .map_or(DEFAULT_STEPS, |steps| steps.parse().expect("PARAVANE_STORM_STEPS is a number"));
    let (mut all, mut storms) = (Tally::default(), 0);
    while all.steps < wanted {
        let Tally { steps, lies, refused, broken } = Storm::new(storms).run();
        all = Tally {
            steps: all.steps + steps,
            lies: all.lies + lies,
            refused: all.refused + refused,
            broken: all.broken + broken,
        };
        storms += 1;
    }
    println!("{storms} storms: {all:?}");
    assert!(all.lies > all.steps / 1000, "a storm that is none: {all:?}");
    assert!(all.refused > 0 && all.broken > 0, "nothing was noticed: {all:?}");
}
