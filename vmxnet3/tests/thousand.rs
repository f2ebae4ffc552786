//! A thousand faults under traffic, one after the other: each ends in a device that works as it did
//! before.
//!
//! Frames are numbered and unlike one another. One that was delivered, or left, is checked to the
//! last byte and crossed off; whatever comes up that was not due, because it came before, was lost
//! in a fault or never existed, ends the test. So does a buffer that is missing, a setting that is
//! another one, and a recovery that takes longer than [`DEADLINE`].
//!
//! Lies are those that a driver can know for lies. Of a completion that names another buffer which
//! the device does have, nobody can.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod support;
#[path = "support/told.rs"]
mod told;

use std::collections::BTreeSet;
use std::time::Duration;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_hal::recover::Progress;
use paravane_hal::time::Clock as _;
use paravane_mock_hal::fault::{Action, Fault, FaultPlan, FaultPoint, Field, Seeded};
use paravane_mock_hal::model::vmxnet3::{Personality, QueueId};
use paravane_net::{
    Burst, Change, Control as _, MacAddr, MacTable, Remains, Rss, RssKinds, RxFilter, RxQueue as _, Settings,
    TxQueue as _, VlanSet,
};
use paravane_vmxnet3::Config;
use support::{MESSAGES, Machine, MockRunning, bytes_of, numbered, small};
use told::told;

/// No recovery takes longer, by the platform's clock.
const DEADLINE: Duration = Duration::from_secs(10);
const HANGS_AFTER: Duration = Duration::from_secs(5);
const FAULTS_A_SEED: usize = 42;
const SEEDS: u64 = 24;
const ACTIVATE: u32 = 0xcafe_0000;
const QUIESCE: u32 = 0xcafe_0001;
const RESET: u32 = 0xcafe_0002;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    StopsTx,
    StopsRx,
    RxIndex,
    RxLength,
    RxQueue,
    TxIndex,
    Hangs,
    Gone,
    Changes,
    Moves,
    RefusesToStart,
    RefusesToStop,
    Lies,
}

impl Kind {
    /// The driver is led to believe what is not so.
    const fn is_lie(self) -> bool {
        matches!(
            self,
            Self::RxIndex | Self::RxLength | Self::RxQueue | Self::TxIndex | Self::Gone | Self::Lies
        )
    }

    /// A driver that runs notices. The others are about its next start, or harmless.
    const fn stops_traffic(self) -> bool {
        !matches!(self, Self::Changes | Self::Moves | Self::RefusesToStart | Self::RefusesToStop | Self::Lies)
    }
}

const KINDS: [Kind; 13] = [
    Kind::StopsTx,
    Kind::StopsRx,
    Kind::RxIndex,
    Kind::RxLength,
    Kind::RxQueue,
    Kind::TxIndex,
    Kind::Hangs,
    Kind::Gone,
    Kind::Changes,
    Kind::Moves,
    Kind::RefusesToStart,
    Kind::RefusesToStop,
    Kind::Lies,
];

struct Trial {
    seed: u64,
    machine: Machine,
    chance: Seeded,
    config: Config,
    mac: MacAddr,
    number: u32,
    /// Frames that are on their way, in and out.
    due: [BTreeSet<u32>; 2],
    /// How many came out.
    moved: [usize; 2],
    kind: Option<Kind>,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let mut chance = Seeded::new(seed);
        let personality = match seed % 4 {
            0 => Personality::qemu(),
            _ => Personality {
                tx_threshold: chance.below(12),
                update_rx_prod: chance.below(2) == 0,
                completes_every_frame: chance.below(2) == 0,
                ..Personality::esxi().up_to(1 + (seed % 7) as u8)
            },
        };
        let pairs = [1, 4, 16][(seed % 3) as usize];
        let pairs = if personality.name == "qemu" { pairs.min(8) } else { pairs };
        let queues: Vec<u16> = (0..pairs).collect();
        let mut settings = Settings::default().with_vlans(VlanSet::EMPTY.with(7, true));
        if pairs > 1 {
            settings = settings.with_rss(Rss::new(RssKinds::TCP4, &queues).unwrap());
        }
        let config = small()
            .with_pairs(pairs)
            .with_rx_entries(32 * pairs)
            .with_ip_mtu_bytes([1500, 9000][chance.below(2) as usize])
            .with_max_revision(7)
            .with_settings(settings);
        let machine = Machine::new(personality);
        Self {
            seed,
            machine,
            chance,
            config,
            mac: MacAddr(support::MAC),
            number: 0,
            due: [BTreeSet::new(), BTreeSet::new()],
            moved: [0; 2],
            kind: None,
        }
    }

    fn is_qemu(&self) -> bool {
        self.machine.model().personality.name == "qemu"
    }

    /// The frame with a number: in two buffers now and then, where the MTU has room for that.
    fn frame(&self, number: u32) -> Vec<u8> {
        let mut bytes = numbered(number);
        if self.config.ip_mtu_bytes > 1500 && number.is_multiple_of(5) {
            bytes.resize(1900 + number as usize % 1500, number as u8);
        }
        bytes
    }

    fn next(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    /// A frame came out at one end: the one that it says it is, and for the first time.
    fn cross_off(&mut self, direction: usize, mut bytes: Vec<u8>) {
        let number = u32::from_be_bytes(bytes[14..18].try_into().unwrap());
        bytes[..6].copy_from_slice(&support::MAC);
        assert!(bytes == self.frame(number), "seed {}: {:?} altered {number}", self.seed, self.kind);
        assert!(
            self.due[direction].remove(&number),
            "seed {}: {:?} had {number} come out again, way {direction}",
            self.seed,
            self.kind
        );
        self.moved[direction] += 1;
    }

    /// Frames both ways on all queues. The first error that a call into the driver had.
    fn traffic(&mut self, up: &mut MockRunning) -> Result<(), DeviceFault> {
        let mut outcome = Ok(());
        let queues = if self.is_qemu() { 1 } else { u32::from(up.control.pairs()) };
        for _ in 0..self.chance.below(4 * queues) + 1 {
            let number = self.next();
            let mut bytes = self.frame(number);
            bytes[..6].copy_from_slice(&self.mac.0);
            let queue = self.chance.below(queues) as usize;
            if self.machine.model().deliver_to(queue, &bytes) {
                self.due[0].insert(number);
            }
        }
        let queues = 1 + up.rx.others_mut().iter().filter(|pair| pair.tx.is_some()).count();
        for queue in 0..queues {
            let mut burst = Burst::new();
            for _ in 0..self.chance.below(6) {
                let number = self.next();
                let bytes = self.frame(number);
                let (first, rest) = bytes.split_at(bytes.len().min(1000));
                burst.push(if rest.is_empty() {
                    self.machine.frame(first)
                } else {
                    let rest: Vec<_> = rest.chunks(900).collect();
                    self.machine.chain(&[&[first], &rest[..]].concat())
                });
                self.due[1].insert(number);
            }
            let tx = match queue {
                0 => &mut up.tx,
                _ => up.rx.others_mut()[queue - 1].tx.as_mut().unwrap(),
            };
            for _ in 0..3 {
                outcome = outcome.and(tx.transmit(&mut burst).map(drop));
                tx.flush();
                self.machine.model().tick();
                outcome = outcome.and(tx.reclaim().map(drop));
            }
            // What the queue did not take was not given.
            while let Some(frame) = burst.pop() {
                let number = u32::from_be_bytes(bytes_of(&frame)[14..18].try_into().unwrap());
                self.due[1].remove(&number);
            }
        }
        loop {
            let mut burst = Burst::new();
            let received = up.rx.receive(&mut burst);
            let came = burst.len();
            while let Some(frame) = burst.pop() {
                self.cross_off(0, bytes_of(&frame));
            }
            outcome = outcome.and(received.map(drop));
            if came == 0 || received.is_err() {
                break;
            }
        }
        let sent = self.machine.model().take_sent();
        sent.into_iter().for_each(|sent| self.cross_off(1, sent.bytes));
        outcome.and(up.control.poll().map(drop))
    }

    /// A device that works: all that is given comes out.
    fn works(&mut self, up: &mut MockRunning) {
        for _ in 0..3 {
            assert_eq!(self.traffic(up), Ok(()), "seed {}: after {:?}", self.seed, self.kind);
            let lost = self.due.each_ref().map(BTreeSet::len);
            assert_eq!(lost, [0, 0], "seed {}: after {:?}", self.seed, self.kind);
        }
        assert_eq!(self.machine.model().violations, [""; 0], "seed {}: after {:?}", self.seed, self.kind);
    }

    /// Something that a restart has to bring back is changed.
    fn change(&mut self, up: &mut MockRunning) {
        let change = match self.chance.below(4) {
            0 => Change::Mac(MacAddr::local(1 + self.chance.below(200))),
            1 => Change::Vlan { vid: 1 + self.chance.below(4000) as u16, wanted: true },
            2 => {
                Change::Filter(RxFilter::UNICAST | RxFilter::from_bits_truncate(self.chance.below(16) as u8))
            }
            _ => {
                let group = MacAddr([1, 0, 0x5e, 0, 0, self.chance.below(200) as u8]);
                let multicast = MacTable::of(&[group]).unwrap();
                Change::Addresses { unicast: MacTable::EMPTY, multicast }
            }
        };
        up.control.change(change).unwrap();
        if let Change::Mac(mac) = change {
            self.mac = mac;
        }
    }

    fn plan(&mut self, fault: Fault) {
        self.machine.model().faults.add(fault);
    }

    fn break_it(&mut self, kind: Kind, up: &MockRunning) {
        let tx_queues = up.control.pairs().min(8);
        let rx_queues = up.control.pairs();
        let lie = |field, value| Action::Set { field, value };
        match kind {
            Kind::StopsTx | Kind::StopsRx => {
                let code = 0x8000_0000 | self.chance.below(8);
                let queue = if kind == Kind::StopsTx {
                    QueueId::Tx(self.chance.below(tx_queues.into()) as usize)
                } else {
                    QueueId::Rx(self.chance.below(rx_queues.into()) as usize)
                };
                self.machine.model().stop_queue(queue, code);
            }
            Kind::RxIndex => {
                let index = 33 + self.chance.below(4000);
                self.plan(Fault::nth(FaultPoint::RxCompletion, 1, lie(Field::Index, index)));
            }
            Kind::RxLength => {
                self.plan(Fault::nth(FaultPoint::RxCompletion, 1, lie(Field::Length, 0x3fff)));
            }
            Kind::RxQueue => {
                let queue = u32::from(3 * rx_queues) + self.chance.below(900);
                self.plan(Fault::nth(FaultPoint::RxCompletion, 1, lie(Field::Queue, queue)));
            }
            Kind::TxIndex => {
                let index = 32 + self.chance.below(4000);
                self.plan(Fault::nth(FaultPoint::TxCompletion, 1, lie(Field::Index, index)));
            }
            // One queue, or all.
            Kind::Hangs => {
                let mut hang = Fault::always(FaultPoint::TxCompletion, Action::Drop);
                hang.on.subject = (self.chance.below(2) == 0).then(|| self.chance.below(tx_queues.into()));
                self.plan(hang);
            }
            Kind::Gone => self.plan(Fault::nth(FaultPoint::RegisterWrite, 1, Action::AllOnes)),
            Kind::Changes => self.machine.model().device_changed(),
            Kind::Moves => {
                let other = Personality {
                    tx_threshold: self.chance.below(12),
                    update_rx_prod: self.chance.below(2) == 0,
                    ..self.machine.model().personality
                };
                let other = if self.is_qemu() { Personality { tx_threshold: 1, ..other } } else { other };
                self.machine.model().move_to(other);
            }
            Kind::RefusesToStart | Kind::RefusesToStop => {
                // Either of two commands is enough to stop it.
                let commands =
                    if kind == Kind::RefusesToStart { &[ACTIVATE][..] } else { &[QUIESCE, RESET][..] };
                let count = 1 + u64::from(self.chance.below(2));
                for command in commands {
                    let mut refuse = Fault::nth(FaultPoint::Command, 1, Action::Refuse).of(*command);
                    refuse.on.count = count;
                    self.plan(refuse);
                }
            }
            Kind::Lies => {
                let value = self.chance.next_u32();
                let nth = 1 + u64::from(self.chance.below(16));
                self.plan(Fault::nth(FaultPoint::Reply, nth, lie(Field::Value, value)));
            }
        }
    }

    /// Traffic until the fault is noticed. Some are none that a driver that runs has to notice.
    fn notice(&mut self, kind: Kind, up: &mut MockRunning) {
        for _ in 0..40 {
            let seen = self.traffic(up).and_then(|()| {
                self.machine.platform.clock().advance(Duration::from_secs(1));
                let others = up.rx.others_mut().iter().filter_map(|pair| pair.tx.as_ref());
                let queues: Vec<_> =
                    [&up.tx].into_iter().chain(others).map(|tx| Progress::from(tx.counters())).collect();
                (0..)
                    .zip(queues)
                    .try_for_each(|(queue, progress)| up.control.watch_queue(queue, progress, HANGS_AFTER))
            });
            if seen.is_err() {
                return;
            }
            if !kind.stops_traffic() {
                return;
            }
        }
        panic!("seed {}: {kind:?} was never noticed", self.seed);
    }

    /// Back to a device that works, whatever it takes within a few attempts.
    fn recover(&mut self, mut up: MockRunning) -> MockRunning {
        let interrupts = Interrupts::msix(&MESSAGES);
        let mut attempts_left = 6;
        loop {
            let before = self.machine.platform.now();
            let recovered = up.recover_within(3, interrupts);
            let waited = self.machine.platform.now().since(before);
            assert!(waited < DEADLINE, "seed {}: {:?} took {waited:?}", self.seed, self.kind);
            attempts_left -= 1;
            let failed = match recovered {
                Ok(up) => return up,
                Err(failed) => failed,
            };
            let (error, remains) = failed.into_parts();
            assert!(attempts_left > 0, "seed {}: {:?}: {error}", self.seed, self.kind);
            // It lies no more, and is back.
            self.machine.model().be_honest();
            up = match remains {
                Remains::Running(up) => up,
                Remains::Stopped(device, config, pool) => device.start(&config, pool, interrupts).unwrap(),
            };
        }
    }

    fn run(mut self) -> ([usize; KINDS.len()], [usize; 2]) {
        let mut done = [0; KINDS.len()];
        let mut up = self.machine.start(&self.config, Interrupts::msix(&MESSAGES));
        let revision = if self.is_qemu() { 1 } else { 1 + (self.seed % 7) as u8 };
        assert_eq!(up.control.revision(), revision);
        let posted = self.machine.pool.free();
        let bytes = self.machine.platform.memory().bytes();
        self.works(&mut up);
        for _ in 0..FAULTS_A_SEED {
            self.change(&mut up);
            self.works(&mut up);
            let is = |up: &MockRunning| {
                (up.control.info(), up.control.pairs(), up.control.settings(), up.control.link())
            };
            let before = (is(&up), told(&self.machine));
            let kind = KINDS[self.chance.below(KINDS.len() as u32) as usize];
            self.kind = Some(kind);
            done[kind as usize] += 1;
            self.break_it(kind, &up);
            self.notice(kind, &mut up);
            if matches!(kind, Kind::Changes | Kind::Moves) {
                // That is no fault, and costs no frame.
                assert_eq!((is(&up), told(&self.machine)), before, "seed {}: {kind:?}", self.seed);
                self.works(&mut up);
            }
            // Neither a refusal nor a lie is over before it was met.
            if !matches!(kind, Kind::RefusesToStart | Kind::RefusesToStop | Kind::Lies | Kind::Gone) {
                self.machine.model().be_honest();
            }
            up = self.recover(up);
            self.machine.model().faults = FaultPlan::default();
            if kind.is_lie() {
                // What a liar causes is the liar's.
                self.machine.model().violations.clear();
            }
            // What was said of the link stands until the next event.
            self.machine.model().set_link(true);
            up.control.poll().unwrap();
            // Lost for good.
            self.due = [BTreeSet::new(), BTreeSet::new()];
            assert_eq!((is(&up), told(&self.machine)), before, "seed {}: after {kind:?}", self.seed);
            assert_eq!(self.machine.pool.free(), posted, "seed {}: after {kind:?}", self.seed);
            assert_eq!(self.machine.platform.memory().bytes(), bytes, "seed {}: {kind:?}", self.seed);
            self.machine.model().take_sent();
            self.works(&mut up);
        }
        up.stop().unwrap();
        assert_eq!(self.machine.pool.free(), self.machine.pool.buffers(), "seed {}", self.seed);
        assert_eq!(self.machine.platform.memory().faults(), [], "seed {}", self.seed);
        (done, self.moved)
    }
}

#[test]
fn a_thousand_faults_each_end_in_a_device_that_works() {
    let mut done = [0; KINDS.len()];
    let mut moved = [0; 2];
    for seed in 0..SEEDS {
        let (faults, frames) = Trial::new(seed).run();
        done.iter_mut().zip(faults).for_each(|(all, more)| *all += more);
        moved.iter_mut().zip(frames).for_each(|(all, more)| *all += more);
    }
    println!("{done:?} faults, {moved:?} frames received and sent");
    assert!(done.iter().sum::<usize>() >= 1000);
    assert!(done.iter().all(|times| *times > 20), "{done:?}");
    assert!(moved.iter().all(|frames| *frames > 50_000), "{moved:?}");
}
