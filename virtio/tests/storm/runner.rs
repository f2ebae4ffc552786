//! Storms, whatever the kind of device and wherever it sits.

use std::time::Duration;

use paravane_hal::time::{Clock as _, Instant};
use paravane_mock_hal::fault::{Action, FaultPlan, FaultPoint, Seeded};
use paravane_mock_hal::model::virtio::{Reset, Wish, common_register, feature};
use paravane_mock_hal::storms::{self, Steps};
use paravane_mock_hal::{ChangingLoads, MockPlatform};
use paravane_virtio::StopError;

use super::kind::{Kind, Left, Scene, Trouble, Way};
use super::looks::{Marks, Shape, assert_looks_once, shapes};
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
    /// Ways back in one call that were tried,
    recoveries: u64,
    /// and that led back to all that was before.
    back: u64,
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
        self.recoveries += other.recoveries;
        self.back += other.back;
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
    let counts = [all.hits, all.faults, all.restarts, all.recoveries, all.back, all.refused, all.changed];
    let least = counts.into_iter().min();
    assert!(least > Some(storms), "it did storm: {all:?}");
    assert!(all.stuck > 0 || storms < 100, "some devices would not be reset: {all:?}");
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
    /// The driver heard nothing but the truth when it was started,
    started_truly: bool,
    /// and there were so many DMA bytes then, and buffers at home.
    when_started: (usize, usize),
    /// Where its queues were then.
    shapes: Vec<Shape>,
    tally: Tally,
}

impl<K: Kind, P: Place<Model = K::Model>> Storm<K, P> {
    fn new(seed: u64, rings: Rings, steps: &Steps) -> Self {
        let mut chance = Seeded::new(seed);
        let personalities = P::personalities();
        let mut personality = personalities[usize::try_from(seed).unwrap() % personalities.len()];
        personality.shuffles = chance.below(2) == 0;
        personality.batches = chance.below(2) == 0;
        personality.ring_features &= !feature::RING_PACKED;
        if rings == Rings::Packed {
            personality.ring_features |= feature::RING_PACKED;
        }
        if chance.below(3) == 0 {
            personality.ring_features &= !feature::EVENT_IDX;
        }
        let any =
            [feature::INDIRECT_DESC, feature::NOTIFICATION_DATA, feature::RING_RESET, feature::IN_ORDER];
        for feature in any {
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
        let scene = Scene { chance, platform, place, lies: true, messages, way: Way::Polling };
        Self {
            kind,
            scene,
            steps: steps.clone(),
            bytes_at_rest,
            loads: None,
            is_true: false,
            started_truly: false,
            when_started: (0, 0),
            shapes: Vec::new(),
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
        // One that was when it was started may have a queue of which the device does not know.
        if self.is_true && self.started_truly {
            assert_looks_once(&self.scene.platform, &self.shapes, &loads, Marks::Again);
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
                Ok(up) => {
                    self.note_start();
                    return up;
                }
                Err(back) => device = self.refused(back),
            }
        }
        unreachable!("the loop ends by itself")
    }

    fn note_start(&mut self) {
        self.started_truly = self.is_truth();
        self.when_started = self.extent();
        self.shapes = shapes(&self.scene);
    }

    /// DMA bytes, and buffers at home.
    fn extent(&self) -> (usize, usize) {
        (self.scene.platform.memory().bytes(), self.kind.free())
    }

    /// Nothing false was said, since the last reset and since this storm broke loose.
    fn is_truth(&self) -> bool {
        let model = self.scene.place.lock();
        let loads_hold = self.loads.as_ref().is_none_or(|loads| loads.changed() == 0);
        model.is_truthful() && model.faults.fired().is_empty() && loads_hold
    }

    /// `device` was not started.
    fn refused(&mut self, device: K::Device<P::Bus>) -> K::Device<P::Bus> {
        self.tally.refused += 1;
        if K::keeps_memory(&device) {
            self.assert_explained();
        } else {
            self.assert_at_rest();
        }
        self.scene.place.lock().gone = false;
        device
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

    /// Brings the driver back in one call. A device that is honest again, and was when it was
    /// started, comes back as it was; what keeps another one from that is a lie, and it is started
    /// again as in any storm.
    fn recover(&mut self, up: K::Up<P::Bus>) -> K::Up<P::Bus> {
        self.tally.recoveries += 1;
        let is_truth = self.started_truly && self.is_truth();
        let is_honest = self.scene.chance.below(2) == 0;
        if is_honest {
            self.calm();
        } else {
            self.hold_still();
        }
        let mut model = self.scene.place.lock();
        if self.scene.chance.below(4) != 0 {
            model.gone = false;
        }
        if self.scene.chance.below(2) == 0 {
            model.need_reset();
        }
        let told = self.kind.told(&model);
        drop(model);
        let (terms, when_started) = (K::terms(&up), self.when_started);
        let before = self.scene.platform.now();
        let recovered = self.kind.recover(&self.scene, up);
        let waited = self.scene.platform.now().since(before);
        assert!(waited <= 2 * LONGEST_WAIT, "waited {waited:?}");
        // It would be as it was.
        let (is_same, is_sure) = (is_honest && self.started_truly, is_honest && is_truth);
        let device = match recovered {
            Ok(up) => {
                self.note_start();
                if is_same {
                    self.tally.back += 1;
                    assert_eq!(K::terms(&up), terms);
                    assert_eq!(self.when_started, when_started, "as much memory and as many buffers");
                }
                if is_sure && told.is_some() {
                    assert_eq!(self.kind.told(&self.scene.place.lock()), told);
                }
                self.break_loose();
                return up;
            }
            Err(Left::NotStopped(up)) => {
                assert!(!is_honest, "an honest device stops");
                self.assert_explained();
                self.stop(up)
            }
            Err(Left::NotStarted(device)) => {
                assert!(!is_same, "an honest device starts again");
                self.refused(device)
            }
            Err(Left::Refused(device)) => {
                assert!(!is_sure, "an honest device takes what it took");
                self.refused(device)
            }
            Err(Left::Changed(up)) => {
                assert!(!is_same, "an honest device is what it was");
                self.stop(up)
            }
        };
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
                let in_one = self.scene.chance.below(2) == 0;
                up = if in_one { self.recover(up) } else { self.restart(up) };
            }
        }
        self.calm();
        let stuck = self.tally.stuck;
        let device = self.stop(up);
        assert_eq!(self.tally.stuck, stuck, "an honest device stops");
        self.prove(device);
        self.tally
    }

    /// The device is honest, and no rule is broken. Once there is trouble, and all is as it was
    /// afterwards.
    fn prove(&mut self, device: K::Device<P::Bus>) {
        let mut up = self.kind.start_well(&mut self.scene, device);
        let extent = self.extent();
        self.prove_up(&mut up);
        let troubles = [Trouble::AsksForReset, Trouble::Lies, Trouble::Hangs];
        let trouble = troubles[self.scene.chance.below(3) as usize];
        self.kind.get_into(trouble, &mut self.scene, &mut up);
        let (terms, told) = (K::terms(&up), self.kind.told(&self.scene.place.lock()));
        let Ok(mut up) = self.kind.recover(&self.scene, up) else { panic!("back from {trouble:?}") };
        assert_eq!(K::terms(&up), terms, "after {trouble:?}");
        if told.is_some() {
            assert_eq!(self.kind.told(&self.scene.place.lock()), told, "after {trouble:?}");
        }
        assert_eq!(self.extent(), extent, "as much memory and as many buffers");
        self.prove_up(&mut up);
        assert!(self.kind.stop(up).is_ok());
        self.assert_at_rest();
        let model = self.scene.place.lock();
        assert_eq!(model.violations, Vec::<String>::new());
        assert_eq!(model.refusals, Vec::<String>::new());
    }

    fn prove_up(&mut self, up: &mut K::Up<P::Bus>) {
        let (loads, shapes) = (ChangingLoads::counted(), shapes(&self.scene));
        self.kind.prove(&mut self.scene, up);
        assert!(loads.loads() > 1000);
        assert_looks_once(&self.scene.platform, &shapes, &loads, Marks::Once);
    }
}
