//! Storms, whatever the kind of device and wherever it sits.

use std::time::Duration;

use paravane_hal::time::{Clock as _, Instant};
use paravane_mock_hal::fault::{Action, FaultPlan, FaultPoint, Seeded};
use paravane_mock_hal::model::virtio::{Reset, Wish, common_register, feature};
use paravane_mock_hal::storms::{self, Steps};
use paravane_mock_hal::{ChangingLoads, MockPlatform};
use paravane_virtio::StopError;

use super::kind::{Kind, Scene};
use super::looks::{Marks, assert_looks_once};
use super::place::Place;

const STEPS_A_STORM: u64 = 2_500;
const DEFAULT_STEPS: u64 = 20_000;
/// No call into the driver waits longer: for a reset.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const DEVICE_STATUS: u32 = common_register(0x14);

/// Which rings the device offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    Split,
    Packed,
}

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

impl Tally {
    fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.faults += other.faults;
        self.restarts += other.restarts;
        self.refused += other.refused;
        self.changed += other.changed;
        self.stuck += other.stuck;
    }
}

/// One storm after the other.
pub fn storm<K: Kind, P: Place<Model = K::Model>>(rings: Rings) {
    let mut all = Tally::default();
    let storms = storms::run(STEPS_A_STORM, DEFAULT_STEPS, |seed, steps| {
        all.add(Storm::<K, P>::new(seed, rings, steps).run(STEPS_A_STORM));
    });
    println!("{storms} seeds: {all:?}");
    let least = [all.hits, all.faults, all.restarts, all.refused, all.changed].into_iter().min();
    assert!(least > Some(storms), "it did storm: {all:?}");
    assert!(all.stuck > 0 || storms < 10, "some devices would not be reset: {all:?}");
}

struct Storm<K: Kind, P: Place<Model = K::Model>> {
    kind: K,
    scene: Scene<P>,
    steps: Steps,
    /// DMA bytes that are there when nothing runs.
    bytes_at_rest: usize,
    loads: Option<ChangingLoads>,
    /// Nothing is wrong, and no load is answered falsely.
    is_true: bool,
    tally: Tally,
}

impl<K: Kind, P: Place<Model = K::Model>> Storm<K, P> {
    fn new(seed: u64, rings: Rings, steps: &Steps) -> Self {
        let mut chance = Seeded::new(seed);
        let personalities = P::personalities();
        let mut personality = personalities[usize::try_from(seed).unwrap() % personalities.len()];
        personality.shuffles = chance.below(2) == 0;
        personality.ring_features &= !feature::RING_PACKED;
        if rings == Rings::Packed {
            personality.ring_features |= feature::RING_PACKED;
        }
        if chance.below(3) == 0 {
            personality.ring_features &= !feature::EVENT_IDX;
        }
        for feature in [feature::INDIRECT_DESC, feature::NOTIFICATION_DATA, feature::RING_RESET] {
            personality.ring_features &= !feature;
            if chance.below(2) == 0 {
                personality.ring_features |= feature;
            }
        }
        let model = K::model(&personality, &mut chance);
        let platform = MockPlatform::builder().without_sites().build();
        let place = P::plug(&platform, model, personality);
        let kind = K::new(&platform);
        let bytes_at_rest = platform.memory().bytes();
        let messages = platform.interrupts().messages(3);
        let scene = Scene { chance, platform, place, lies: true, messages };
        Self {
            kind,
            scene,
            steps: steps.clone(),
            bytes_at_rest,
            loads: None,
            is_true: false,
            tally: Tally::default(),
        }
    }

    /// A fresh storm breaks loose, as hard as chance will have it.
    fn break_loose(&mut self) {
        self.calm();
        let Scene { chance, platform, place, lies, .. } = &mut self.scene;
        let per_million = [0, 0, 2_000, 20_000, 100_000, 400_000][chance.below(6) as usize];
        *lies = per_million > 0;
        let first_one_in = [0, 100, 2000][chance.below(3) as usize];
        let again_one_in = [0, 2, 30, 500][chance.below(4) as usize];
        self.is_true = per_million == 0 && first_one_in == 0 && again_one_in == 0;
        let mut model = place.lock();
        model.faults = FaultPlan::storm(chance.next_u64(), per_million);
        match chance.below(64) {
            0 => model.rejects_features = true,
            1 => model.ignores_status = true,
            2 => model.queues_stay_enabled = true,
            3 => model.restless_config = true,
            _ => {}
        }
        drop(model);
        let loads = place.changing_loads(platform, chance.next_u64());
        self.loads = Some(loads.one_in(again_one_in).first_too(first_one_in));
    }

    fn calm(&mut self) {
        self.hold_still();
        let mut model = self.scene.place.lock();
        self.tally.hits += model.faults.hits();
        model.repent();
        model.rejects_features = false;
        model.ignores_status = false;
        model.queues_stay_enabled = false;
        model.restless_config = false;
        model.queue_reset = Reset::AfterReads(1);
        for queue in &mut model.queues {
            queue.wish = Wish::After(0);
        }
        K::calm(&mut model);
    }

    /// Loads change no more.
    fn hold_still(&mut self) {
        let Some(loads) = self.loads.take() else { return };
        self.tally.changed += loads.changed();
        // A driver that is lied to may go round its ring in one call, and meet its own words again.
        if self.is_true {
            assert_looks_once(&self.scene, &loads, Marks::Again);
        }
    }

    fn assert_in_time(&self, before: Instant) {
        let waited = self.scene.platform.now().since(before);
        assert!(waited <= LONGEST_WAIT, "waited {waited:?}");
    }

    /// Starts the driver; on a device that will not, an honest one in the end.
    fn start(&mut self, mut device: K::Device<P::Bus>) -> K::Up<P::Bus> {
        for attempt in 0.. {
            assert!(attempt < 50, "an honest device does not start");
            if attempt == 20 {
                self.calm();
            }
            let before = self.scene.platform.now();
            let started = self.kind.start(&mut self.scene, device);
            self.assert_in_time(before);
            match started {
                Ok(up) => return up,
                Err(back) => {
                    self.tally.refused += 1;
                    device = back;
                    if K::keeps_memory(&device) {
                        self.assert_explained();
                    } else {
                        self.assert_at_rest();
                    }
                    self.scene.place.lock().gone = false;
                }
            }
        }
        unreachable!("the loop ends by itself")
    }

    /// Stops the driver; on a device that will not, an honest one in the end. Its parts are kept in
    /// between, and so nothing is lost.
    fn stop(&mut self, mut up: K::Up<P::Bus>) -> K::Device<P::Bus> {
        let mut device = None;
        for attempt in 0..4 {
            let before = self.scene.platform.now();
            let stopped = self.kind.stop(up);
            self.assert_in_time(before);
            match stopped {
                Ok(stopped) => {
                    device = Some(stopped);
                    break;
                }
                Err((error, back)) => {
                    assert_ne!(error, StopError::ForeignQueue, "its own queues");
                    up = back;
                    self.assert_explained();
                }
            }
            self.scene.place.lock().gone = false;
            if attempt == 2 {
                self.calm();
            }
        }
        let device = device.expect("an honest device stops");
        self.assert_at_rest();
        assert!(self.scene.place.is_silent());
        let mut model = self.scene.place.lock();
        assert_eq!(model.violations, Vec::<String>::new(), "after {:?}", model.faults.fired());
        model.refusals.clear();
        drop(model);
        device
    }

    fn assert_at_rest(&self) {
        self.kind.assert_home();
        assert_eq!(self.scene.platform.memory().bytes(), self.bytes_at_rest, "everything came home");
    }

    /// The device has what it was told of: only if it would not be reset.
    fn assert_explained(&mut self) {
        self.tally.stuck += 1;
        let model = self.scene.place.lock();
        let misled = model.faults.fired().iter().any(|fired| {
            fired.point == FaultPoint::RegisterRead && fired.subject == DEVICE_STATUS
                || fired.action == Action::AllOnes
        });
        assert!(model.gone || misled, "it was not reset, after {:?}", model.faults.fired());
    }

    fn restart(&mut self, up: K::Up<P::Bus>) -> K::Up<P::Bus> {
        self.tally.restarts += 1;
        // A device that is gone keeps everything; most come back in time.
        if self.scene.chance.below(4) != 0 {
            self.scene.place.lock().gone = false;
        }
        self.hold_still();
        let device = self.stop(up);
        self.break_loose();
        self.start(device)
    }

    /// One thing that the device does: what any could, or what this kind can.
    fn device_step(&mut self) {
        let mut model = self.scene.place.lock();
        match self.scene.chance.below(4096) {
            0 | 1 => model.need_reset(),
            2..10 => model.config_changed(),
            10..12 => model.restless_config = !model.restless_config,
            12..16 => {
                let resets = [Reset::AtOnce, Reset::AfterReads(1), Reset::AfterReads(30), Reset::Never];
                model.queue_reset = resets[self.scene.chance.below(4) as usize];
            }
            _ => {
                drop(model);
                self.kind.device_step(&mut self.scene);
                model = self.scene.place.lock();
            }
        }
        model.doorbells.clear();
        model.statuses.clear();
        drop(model);
        let _ = self.scene.platform.take_interrupts();
    }

    fn driver_step(&mut self, up: &mut K::Up<P::Bus>) -> bool {
        let before = self.scene.call_begins();
        let whole = self.kind.driver_step(&mut self.scene, up);
        self.assert_in_time(before);
        whole
    }

    /// All of it: `steps` hostile steps, then an honest device.
    fn run(mut self, steps: u64) -> Tally {
        let device = K::open(self.scene.place.open(&self.scene.platform), self.scene.platform.clone());
        self.break_loose();
        let mut up = self.start(device);
        for _ in 0..steps {
            self.steps.step();
            let whole = if self.scene.chance.below(2) == 0 {
                self.device_step();
                true
            } else {
                self.driver_step(&mut up)
            };
            self.tally.faults += u64::from(!whole);
            // A broken driver is called a few times more before it is restarted; a whole one is
            // restarted too, now and then.
            if self.scene.chance.chance(if whole { 1_000 } else { 300_000 }) {
                up = self.restart(up);
            }
        }
        self.calm();
        let stuck = self.tally.stuck;
        let device = self.stop(up);
        assert_eq!(self.tally.stuck, stuck, "an honest device stops");
        self.prove(device);
        self.tally
    }

    /// The device is honest, and no rule is broken.
    fn prove(&mut self, device: K::Device<P::Bus>) {
        let loads = ChangingLoads::counted();
        let up = self.kind.prove(&mut self.scene, device);
        assert!(loads.loads() > 1000);
        assert_looks_once(&self.scene, &loads, Marks::Once);
        drop(loads);
        assert!(self.kind.stop(up).is_ok());
        self.assert_at_rest();
        let model = self.scene.place.lock();
        assert_eq!(model.violations, Vec::<String>::new());
        assert_eq!(model.refusals, Vec::<String>::new());
    }
}
