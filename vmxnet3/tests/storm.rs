//! Storms: a device that does anything at any time, within the memory that it has, and a driver
//! that lives through it.
//!
//! A step is one call into the driver or one thing that the device does. After each step: no call
//! waited longer than its deadline by the platform's clock, and the memory that both sides reach is
//! what they may reach (the platform ends the test otherwise). After each storm: everything came
//! home, and the driver, started again on the same device, now honest, carries 10,000 frames each
//! way with none lost.
//!
//! How many steps, and from which seed on: see `paravane_mock_hal::storms`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/inside.rs"]
mod inside;
mod support;
#[path = "support/tcp.rs"]
mod tcp;

use inside::Inside;
use paravane_hal::irq::Interrupts;
use paravane_hal::time::Clock;
use paravane_mock_hal::ChangingLoads;
use paravane_mock_hal::fault::{FaultPlan, Seeded};
use paravane_mock_hal::model::vmxnet3::{Personality, cut};
use paravane_mock_hal::storms::{self, Steps};
use paravane_net::{Burst, Control, Frame, RxFilter, RxQueue, TxOffload, TxQueue};
use paravane_vmxnet3::{Config, ShutDownError, StopError, TunnelPorts};
use support::{MESSAGES, Machine, MockDevice, MockRunning, bytes_of, numbered, small};
use tcp::{PLAIN, Tcp};

type MockRx = <MockDevice as paravane_net::Device>::Rx;
type MockTx = <MockDevice as paravane_net::Device>::Tx;

const STEPS_A_STORM: u64 = 10_000;
const DEFAULT_STEPS: u64 = 60_000;
const HONEST_FRAMES: u32 = 10_000;
/// No call into the driver waits longer.
const DEADLINE_NANOS: u64 = 10_000_000_000;

struct Storm {
    machine: Machine,
    config: Config,
    seed: u64,
    chance: Seeded,
    steps: Steps,
    hits: u64,
    restarts: u64,
    faults: u64,
    /// Without lies, the loads that change are all that is wrong, and the platform has an eye on
    /// everything else.
    lies: bool,
    loads: Option<ChangingLoads>,
    changed: u64,
    /// All kinds of them.
    tunnels: Vec<Inside>,
}

impl Storm {
    fn new(seed: u64, steps: &Steps) -> Self {
        let mut chance = Seeded::new(seed);
        // Every other one is QEMU's, the rest ESXi's with each of its revisions in turn.
        let personality = match seed % 14 {
            even if even % 2 == 0 => Personality::qemu(),
            odd => Personality::esxi().up_to(1 + odd.to_le_bytes()[0] / 2),
        };
        let ip_mtu_bytes = [1500, 9000, 4000][chance.below(3) as usize];
        // Powers of two, as revision 7 has them.
        let entries = [32, 64, 128][chance.below(3) as usize];
        let pairs = [1, 1, 2, 8][chance.below(4) as usize];
        let config = small()
            .with_ip_mtu_bytes(ip_mtu_bytes)
            .with_tx_entries(entries)
            .with_pairs(pairs)
            .with_rx_entries(32 * pairs)
            .with_max_revision(7)
            // Long enough for a packet that the device puts together.
            .with_rx2_entries(64)
            .with_lro(chance.below(2) == 1)
            .with_tunnels(if seed & 4 == 0 { TunnelPorts::NONE } else { TunnelPorts::ASSIGNED })
            .with_tx_copy_bytes([0, 100, 2048][chance.below(3) as usize])
            .with_rx_copy_bytes([0, 100, 2048][chance.below(3) as usize]);
        let machine = Machine::with_pool(personality, 256 * u32::from(pairs).next_power_of_two());
        Self {
            machine,
            config,
            seed,
            chance,
            steps: steps.clone(),
            hits: 0,
            restarts: 0,
            faults: 0,
            lies: true,
            loads: None,
            changed: 0,
            tunnels: inside::kinds().collect(),
        }
    }

    /// A fresh storm breaks loose, as hard as chance will have it.
    fn break_loose(&mut self) {
        let per_million = [0, 2_000, 20_000, 100_000, 400_000][self.chance.below(5) as usize];
        self.lies = per_million > 0;
        self.hold_still();
        let loads = self.machine.device.changing_loads(&self.machine.platform, self.chance.next_u64());
        let loads = loads.one_in([2, 30, 500][self.chance.below(3) as usize]);
        self.loads = Some(loads.first_too([0, 100, 2000][self.chance.below(3) as usize]));
        let plan = FaultPlan::storm(self.chance.next_u64(), per_million);
        let mut model = self.machine.model();
        let old = std::mem::replace(&mut model.faults, plan);
        self.hits += old.hits();
    }

    /// Loads change no more.
    fn hold_still(&mut self) {
        self.changed += self.loads.take().map_or(0, |loads| loads.changed());
    }

    fn calm(&mut self) {
        self.hold_still();
        let mut model = self.machine.model();
        self.hits += std::mem::take(&mut model.faults).hits();
        model.be_honest();
    }

    /// Starts the driver; on a device that will not, an honest one in the end.
    fn start(&mut self, mut device: MockDevice) -> MockRunning {
        for attempt in 0.. {
            assert!(attempt < 50, "seed {}: an honest device does not start", self.seed);
            if attempt == 20 {
                self.calm();
            }
            let interrupts = match self.chance.below(4) {
                0 => Interrupts::POLLING,
                1 => Interrupts::LINE,
                2 => Interrupts::msi(MESSAGES[0]),
                _ => Interrupts::msix(&MESSAGES),
            };
            let before = self.machine.platform.now();
            let started = device.start(&self.config, self.machine.pool.clone(), interrupts);
            self.assert_in_time(before);
            match started {
                Ok(running) => return running,
                Err(failed) => {
                    device = failed.into_parts().1;
                    self.machine.model().gone = false;
                }
            }
        }
        unreachable!("the loop ends by itself")
    }

    fn assert_in_time(&self, before: paravane_hal::time::Instant) {
        let waited = self.machine.platform.now().as_nanos() - before.as_nanos();
        assert!(waited < DEADLINE_NANOS, "seed {}: waited {waited} ns", self.seed);
    }

    /// One of the pairs of queues that were asked for.
    fn pair(&mut self) -> usize {
        self.chance.below(self.config.pairs.into()) as usize
    }

    /// A packet of TCP.
    fn packet(&mut self) -> Tcp {
        let (shape, payload_bytes) = (self.chance.below(4), 1 + self.chance.below(7000) as usize);
        let tag = (shape & 2 != 0).then_some(5);
        Tcp { is_v6: shape & 1 != 0, tag, payload_bytes, ..PLAIN }
    }

    /// The same in buffers of the pool, to be cut.
    fn frame_to_cut(&mut self) -> Frame {
        let packet = self.packet();
        let bytes = packet.open_frame();
        let pieces: Vec<_> = bytes.chunks(1984).collect();
        let mut frame = self.machine.chain(&pieces);
        let (checksum, segmentation) = packet.asked(1000);
        frame.set_offload(TxOffload { checksum: Some(checksum), segmentation: Some(segmentation) });
        frame
    }

    /// A packet in a tunnel, with a checksum or more to be made inside.
    fn frame_in_tunnel(&self, number: u32) -> Frame {
        let packet = self.tunnelled(number);
        packet.given(&self.machine, (packet.is_tcp && number & 1 << 9 == 0).then_some(900))
    }

    fn tunnelled(&self, number: u32) -> Inside {
        let kind = self.tunnels[number as usize >> 10 & 15];
        Inside { is_tcp: number & 1 << 14 == 0, payload_bytes: 1 + number as usize % 1700, ..kind }
    }

    /// One thing that the device does.
    fn device_step(&mut self) {
        let number = self.chance.next_u32();
        let words = std::array::from_fn(|_| self.chance.next_u32());
        let likely = self.chance.below(40) | self.chance.below(4) << 14 | self.chance.below(3) << 16;
        let len = self.chance.below(2200);
        let bytes = self.chance.below(5000) as usize;
        let kind = self.chance.below(16);
        let pair = self.pair();
        let type_and_mss = [0, 3, 4][self.chance.below(3) as usize] << 24 | self.chance.below(3000);
        let (packet, tunnelled) = (self.packet(), self.tunnelled(number));
        let mut model = self.machine.model();
        // QEMU's fills its first queue alone; what it completes is a lie in all of them.
        let filled = if model.personality.spreads { pair } else { 0 };
        match kind {
            0..=5 => _ = model.deliver_to(filled, &numbered(number)),
            6 if self.config.ip_mtu_bytes > 1500 => {
                let mut long = numbered(number);
                long.resize(1500 + bytes % 2500, 7);
                let _ = model.deliver_to(filled, &long);
            }
            7 if self.lies => model.complete_rx_in(pair, words),
            8 if self.lies => model.complete_rx_in(pair, [likely, number, len, type_and_mss]),
            9 if self.lies => model.complete_tx_in(pair, number & 0x3f),
            10 => model.skip_in(filled, (number & 1) as usize, 1),
            11 => model.return_unused_in(filled),
            12 => model.set_link(number & 1 == 0),
            13 => _ = model.deliver_lro(&cut(&packet.frame(), 1000)),
            15 if self.lies => {
                let said = [words[0] & 3 << 12, number, 0, type_and_mss | words[3] & 0x7f << 16];
                _ = model.deliver_with(&tunnelled.whole(), said);
            }
            _ => model.tick(),
        }
        model.take_sent();
        model.interrupts.clear();
        model.doorbells.clear();
        model.commands.clear();
        // What a liar causes is the liar's.
        model.violations.clear();
    }

    /// One call into the driver. Whether it is still whole.
    fn driver_step(&mut self, running: &mut MockRunning) -> bool {
        let pair = self.pair();
        let MockRunning { control, rx, tx } = running;
        let mut burst = Burst::new();
        let before = self.machine.platform.now();
        let whole = match self.chance.below(16) {
            0..=4 => rx.receive(&mut burst).is_ok(),
            5..=7 => {
                for _ in 0..=self.chance.below(8) {
                    let number = self.chance.next_u32();
                    if self.machine.pool.free() < 4 {
                        break;
                    }
                    let frame = match number % 4 {
                        1 => self.frame_to_cut(),
                        2 if number & 1 << 8 == 0 => self.frame_in_tunnel(number),
                        0 => self.machine.chain(&[&numbered(number)[..60], &[1; 100], &[2; 9]]),
                        _ => self.machine.frame(&numbered(number)),
                    };
                    burst.push(frame);
                }
                tx_of(rx, tx, pair).transmit(&mut burst).is_ok()
            }
            8 | 9 => tx_of(rx, tx, pair).reclaim().is_ok(),
            10 => {
                tx_of(rx, tx, pair).flush();
                rx.refill();
                true
            }
            11 => rx.arm().is_ok() & tx_of(rx, tx, pair).arm().is_ok() & control.arm().is_ok(),
            12 => {
                rx.disarm();
                tx_of(rx, tx, pair).disarm();
                control.acknowledge();
                true
            }
            13 => control
                .set_filter(RxFilter::from_bits_truncate(self.chance.below(32).try_into().unwrap()))
                .is_ok(),
            14 => control.read_device_stats().is_ok(),
            _ => control.poll().is_ok(),
        };
        self.assert_in_time(before);
        whole
    }

    /// All of it: `steps` hostile steps, then an honest device.
    fn run(mut self, steps: u64) -> (u64, u64, u64, u64) {
        let at_rest = (self.machine.platform.memory().bytes(), self.machine.pool.free());
        let device = self.machine.claim();
        self.break_loose();
        let mut running = self.start(device);
        for _ in 0..steps {
            self.steps.step();
            let whole = if self.chance.below(2) == 0 {
                self.device_step();
                true
            } else {
                self.driver_step(&mut running)
            };
            self.faults += u64::from(!whole);
            // A broken driver is called a few times more before it is restarted; a whole one is
            // restarted too, now and then.
            if self.chance.chance(if whole { 1_000 } else { 300_000 }) {
                running = self.restart(running);
            }
        }
        self.calm();
        let device = self.stop(running);
        assert_eq!(
            (self.machine.platform.memory().bytes(), self.machine.pool.free()),
            at_rest,
            "seed {}",
            self.seed
        );
        self.carry_frames(device);
        (self.hits, self.restarts, self.faults, self.changed)
    }

    /// Stops the driver: at once, unless the device does not confirm it; once it does, at the
    /// latest.
    fn stop(&mut self, running: MockRunning) -> MockDevice {
        let before = self.machine.platform.now();
        let stopped = running.stop();
        self.assert_in_time(before);
        stopped.unwrap_or_else(|failed| {
            let (error, running) = failed.into_parts();
            let unconfirmed = matches!(error, StopError::StillRunning(ShutDownError::Unconfirmed { .. }));
            assert!(unconfirmed, "seed {}: {error}", self.seed);
            assert!(self.machine.pool.free() < self.machine.pool.buffers(), "seed {}: kept", self.seed);
            self.calm();
            running.stop().expect("an honest device stops")
        })
    }

    fn restart(&mut self, running: MockRunning) -> MockRunning {
        let device = self.stop(running);
        assert_eq!(
            self.machine.pool.free(),
            self.machine.pool.buffers(),
            "seed {}: everything came home",
            self.seed
        );
        self.restarts += 1;
        self.machine.model().be_honest();
        self.break_loose();
        self.start(device)
    }

    /// The device is honest: every frame arrives, both ways, and no rule is broken.
    fn carry_frames(&self, device: MockDevice) {
        let machine = &self.machine;
        machine.model().violations.clear();
        // What left before the device was honest is none of these.
        machine.model().take_sent();
        let loads = ChangingLoads::counted();
        let mut running = device.start(&self.config, machine.pool.clone(), Interrupts::POLLING).unwrap();
        let mut burst = Burst::new();
        let spreads = machine.model().personality.spreads;
        let pairs = usize::from(running.control.pairs());
        for first in (0..HONEST_FRAMES).step_by(16) {
            let pair = first as usize / 16 % pairs;
            for number in first..first + 16 {
                let filled = if spreads { pair } else { 0 };
                assert!(
                    machine.model().deliver_to(filled, &numbered(number)),
                    "seed {}: frame {number} lost",
                    self.seed
                );
                burst.push(machine.frame(&numbered(number)));
            }
            while !burst.is_empty() {
                let tx = tx_of(&mut running.rx, &mut running.tx, pair);
                tx.transmit(&mut burst).unwrap();
                machine.model().tick();
                tx.reclaim().unwrap();
            }
            let sent = machine.model().take_sent();
            assert!(
                sent.iter().map(|sent| sent.bytes.clone()).eq((first..first + 16).map(numbered)),
                "seed {}",
                self.seed
            );
            assert!(sent.iter().all(|sent| sent.queue == pair), "seed {}", self.seed);
            let received = support::receive_all(&mut running);
            assert!(
                received.iter().map(bytes_of).eq((first..first + 16).map(numbered)),
                "seed {}",
                self.seed
            );
            let mut model = machine.model();
            model.doorbells.clear();
            model.interrupts.clear();
        }
        assert!(loads.loads() > u64::from(HONEST_FRAMES));
        // Whether a completion is new is looked at twice: to guess how many there are, and for
        // good, with the word's other bits. The first one of another kind than was expected is read
        // again as a whole, two words of it for the second time.
        let other = loads.again_at().into_iter().filter(|place| place % 16 != 12).count();
        assert!(other <= 2, "{other} other words were loaded twice in a call");
        drop(loads);
        let rx = running.rx.counters();
        assert_eq!((rx.frames, rx.dropped()), (HONEST_FRAMES.into(), 0));
        let tx = (0..pairs).map(|pair| tx_of(&mut running.rx, &mut running.tx, pair).counters().frames);
        assert_eq!(tx.sum::<u64>(), u64::from(HONEST_FRAMES));
        assert!(running.stop().is_ok());
        machine.assert_clean();
        assert_eq!(machine.pool.free(), machine.pool.buffers());
    }
}

/// The transmit queue of a pair; the first one's where there are fewer than were asked for: of
/// pairs, or of queues that send.
fn tx_of<'a>(rx: &'a mut MockRx, tx: &'a mut MockTx, pair: usize) -> &'a mut MockTx {
    let others = pair.checked_sub(1).and_then(|other| rx.others_mut().get_mut(other));
    others.and_then(|pair| pair.tx.as_mut()).unwrap_or(tx)
}

#[test]
fn the_driver_lives_through_storms() {
    let (mut hits, mut restarts, mut faults, mut changed) = (0, 0, 0, 0);
    let storms = storms::run(STEPS_A_STORM, DEFAULT_STEPS, |seed, steps| {
        let (hit, restarted, fault, change) = Storm::new(seed, steps).run(STEPS_A_STORM);
        hits += hit;
        restarts += restarted;
        faults += fault;
        changed += change;
    });
    println!(
        "{storms} seeds: {hits} faults of the device, {faults} errors of the driver, {restarts} restarts, {changed} loads changed"
    );
    assert!(hits > storms && faults > 0 && restarts > 0 && changed > storms, "it did storm");
}
