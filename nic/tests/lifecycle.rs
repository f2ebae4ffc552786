//! NICs of either kind live the same life: opened by their ids, started, restarted in their place;
//! and whatever fails, nothing is lost.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::error::Error as _;

use paravane_hal::Failed;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, InterruptMode};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint};
use paravane_mock_hal::model::virtio::{self, Net, Virtio};
use paravane_mock_hal::model::vmxnet3::{self, Vmxnet3};
use paravane_mock_hal::wire::{Habits, Wire};
use paravane_mock_hal::{FunctionSpace, MockPlatform, PciHost};
use paravane_net::{
    Burst, Change, Control as _, FrameLayout, FramePool, RxFilter, RxQueue as _, TxQueue as _,
};
use paravane_nic::{Config, InterruptPlan, IrqMode, Kind, Nic, NicError, Place, Queues};
use paravane_pci::{Function, PciAddress};

const SLOT: PciAddress = PciAddress::new(0, 0, 4, 0).unwrap();
const OTHER_SLOT: PciAddress = PciAddress::new(0, 0, 5, 0).unwrap();

type MockNic = Nic<MockPlatform, PciHost>;

/// A machine with a NIC of each kind, on one wire.
struct Machine {
    platform: MockPlatform,
    host: PciHost,
    pool: FramePool,
    vmxnet3: vmxnet3::Plugged,
    virtio: virtio::Plugged<Net>,
}

impl Machine {
    fn new() -> Self {
        let platform = MockPlatform::new();
        let vmxnet3 = Vmxnet3::plug(&platform, SLOT, [2, 0, 0, 0, 0, 4], vmxnet3::Personality::qemu());
        let personality = virtio::Personality::qemu();
        let net = Net::of(&personality, [2, 0, 0, 0, 0, 5]);
        let virtio = Virtio::plug(&platform, OTHER_SLOT, net, personality);
        let pool = FramePool::new(platform.clone(), FrameLayout::new(2 * config().frames())).unwrap();
        Self { host: platform.pci().clone(), platform, pool, vmxnet3, virtio }
    }

    fn open(&self, slot: PciAddress) -> MockNic {
        let function = Function::claim(self.host.clone(), slot).unwrap();
        Nic::open(function, self.platform.clone()).unwrap()
    }

    fn start(&self, nic: &mut MockNic) -> Queues<MockPlatform> {
        nic.start(config(), self.pool.clone(), InterruptPlan::POLLING).unwrap()
    }

    /// Whether bus mastering of the NIC goes off when it is told to.
    fn let_go(&self, slot: PciAddress, lets_go: bool) {
        let bits: u16 = if lets_go { 0x0407 } else { 0x0403 };
        self.host.with(slot, |space: &mut FunctionSpace| space.allow(0x04, &bits.to_le_bytes()));
    }
}

fn config() -> Config {
    Config::default().with_rx_entries(64).with_tx_entries(64)
}

/// Sends so many frames from one NIC to another.
fn send(machine: &Machine, from: &mut Queues<MockPlatform>, to: &mut Queues<MockPlatform>, frames: usize) {
    let models = (machine.vmxnet3.model.clone(), machine.virtio.model.clone());
    let mut wire = Wire::new(machine.platform.clock(), models.0, models.1, Habits::default());
    let mut arrived = Burst::new();
    let mut out = machine.pool.take_with(frames, |mut frame| {
        assert!(frame.append(&[0xff; 60]));
        frame
    });
    assert_eq!(from.tx.transmit(&mut out), Ok(frames));
    wire.turn().unwrap();
    assert_eq!(to.rx.receive(&mut arrived), Ok(frames));
    assert_eq!(from.tx.reclaim(), Ok(frames));
}

#[test]
fn both_kinds_are_opened_by_their_ids() {
    let machine = Machine::new();
    for (slot, kind) in [(SLOT, Kind::Vmxnet3), (OTHER_SLOT, Kind::VirtioNet)] {
        let mut nic = machine.open(slot);
        assert_eq!((nic.kind(), nic.is_running(), nic.info()), (kind, false, None));
        assert!(nic.control().is_none());
        let queues = machine.start(&mut nic);
        let info = nic.info().unwrap();
        assert_eq!((info.driver, info.rx_slots, info.tx_slots), (kind.name(), 64, 64));
        let control = nic.control().unwrap();
        assert!(control.link().is_up());
        assert_eq!(control.interrupts(), InterruptMode::Polling);
        nic.stop(queues).unwrap();
        let Place::Pci(function) = nic.into_place().unwrap() else { panic!("on PCI") };
        assert_eq!(function.address(), slot);
    }
}

#[test]
fn what_no_driver_takes_comes_back() {
    let machine = Machine::new();
    let bridge = PciAddress::new(0, 0, 9, 0).unwrap();
    machine.host.insert(bridge, FunctionSpace::endpoint(0x8086, 0x100e, 2));
    let function = Function::claim(machine.host.clone(), bridge).unwrap();
    let (error, function) = Nic::open(function, machine.platform.clone()).unwrap_err().into_parts();
    assert!(matches!(error, NicError::NoDriver(ids) if ids.device == 0x100e));
    assert!(error.to_string().contains("8086:100e") && error.to_string().contains("15ad:07b0"), "{error}");
    assert_eq!(function.address(), bridge);
}

#[test]
fn frames_cross_before_and_after_restarts() {
    let machine = Machine::new();
    let (mut left, mut right) = (machine.open(SLOT), machine.open(OTHER_SLOT));
    let (mut one, mut other) = (machine.start(&mut left), machine.start(&mut right));
    let in_use = machine.platform.memory().bytes();
    for _ in 0..3 {
        send(&machine, &mut one, &mut other, 20);
        send(&machine, &mut other, &mut one, 20);
        one = left.restart(one).unwrap();
        other = right.restart(other).unwrap();
        assert_eq!(machine.platform.memory().bytes(), in_use);
    }
    left.stop(one).unwrap();
    right.stop(other).unwrap();
    assert_eq!(machine.pool.free(), machine.pool.buffers(), "every frame is home");
}

/// By either driver: what was changed since the start.
#[test]
fn a_restart_brings_back_what_was_changed() {
    let machine = Machine::new();
    let filter = RxFilter::UNICAST | RxFilter::ALL_MULTICAST;
    for slot in [SLOT, OTHER_SLOT] {
        let mut nic = machine.open(slot);
        let queues = machine.start(&mut nic);
        assert_eq!(nic.control().unwrap().settings().filter, RxFilter::default());
        assert_eq!(nic.control().unwrap().change(Change::Filter(filter)), Ok(()));
        let queues = nic.restart(queues).unwrap();
        assert_eq!(nic.control().unwrap().settings().filter, filter);
        if slot == OTHER_SLOT {
            let told = machine.virtio.lock().class.told.clone();
            assert!(told.all_multi && told.no_bcast && !told.promisc, "{told:?}");
        }
        nic.stop(queues).unwrap();
    }
}

#[test]
fn a_restart_keeps_its_settings() {
    let machine = Machine::new();
    let mut nic = machine.open(OTHER_SLOT);
    let messages = machine.platform.interrupts().messages(3);
    let queues = nic
        .start(
            config().with_ip_mtu_bytes(Some(1400)),
            machine.pool.clone(),
            InterruptPlan { msix: messages, ..InterruptPlan::POLLING },
        )
        .unwrap();
    let before = (nic.info(), nic.control().unwrap().interrupts());
    assert_eq!(
        (before.0.unwrap().ip_mtu_bytes, before.0.unwrap().max_frame_bytes, before.1),
        (1400, 1414, InterruptMode::Msix { vectors: 3 })
    );
    let queues = nic.restart(queues).unwrap();
    assert_eq!((nic.info(), nic.control().unwrap().interrupts()), before);
    nic.stop(queues).unwrap();
}

#[test]
fn a_stop_that_is_not_confirmed_may_be_tried_again() {
    for slot in [SLOT, OTHER_SLOT] {
        let machine = Machine::new();
        let mut nic = machine.open(slot);
        let queues = machine.start(&mut nic);
        machine.let_go(slot, false);
        let in_use = machine.platform.memory().bytes();
        let (error, queues) = nic.restart(queues).unwrap_err().into_parts();
        assert!(matches!(error, NicError::Vmxnet3Stop(_) | NicError::VirtioStop(_)), "{error:?}");
        assert_eq!(machine.platform.memory().bytes(), in_use, "nothing was freed");
        let failed: Failed<_, _> = nic.stop(queues.expect("they come back")).unwrap_err();
        let (error, mut queues) = failed.into_parts();
        assert!(matches!(error, NicError::Vmxnet3Stop(_) | NicError::VirtioStop(_)), "{error:?}");
        assert_eq!(queues.rx.receive(&mut Burst::new()), Err(DeviceFault::NeedsReset));
        machine.let_go(slot, true);
        let queues = nic.restart(queues).unwrap();
        nic.stop(queues).unwrap();
        assert_eq!(machine.pool.free(), machine.pool.buffers(), "every frame is home");
    }
}

#[test]
fn a_restart_tries_a_few_times() {
    // Of three attempts.
    for (refusals, comes_back) in [(2, true), (3, false)] {
        for slot in [SLOT, OTHER_SLOT] {
            let machine = Machine::new();
            let mut nic = machine.open(slot);
            let queues = machine.start(&mut nic);
            let refuse = |point| {
                let mut fault = Fault::nth(point, 1, Action::Refuse);
                fault.on.count = refusals;
                fault
            };
            let activation = refuse(FaultPoint::Command).of(0xcafe_0000);
            machine.vmxnet3.model.lock().unwrap().faults.add(activation);
            // Both halves of the features are refused in one attempt.
            let mut features = refuse(FaultPoint::Features);
            features.on.subject = Some(0);
            machine.virtio.lock().faults.add(features);
            match nic.restart(queues) {
                Ok(queues) => {
                    assert!(comes_back);
                    nic.stop(queues).unwrap();
                }
                Err(failed) => {
                    assert!(!comes_back);
                    let (error, queues) = failed.into_parts();
                    assert!(
                        matches!(error, NicError::Vmxnet3Start(_) | NicError::VirtioStart(_)),
                        "{error:?}"
                    );
                    assert!(queues.is_none() && !nic.is_running());
                }
            }
            assert_eq!(machine.pool.free(), machine.pool.buffers());
        }
    }
}

#[test]
fn a_start_that_fails_leaves_it_stopped() {
    let machine = Machine::new();
    let foreign = FramePool::new(MockPlatform::new(), FrameLayout::new(300)).unwrap();
    for slot in [SLOT, OTHER_SLOT] {
        let mut nic = machine.open(slot);
        let error = nic.start(config(), foreign.clone(), InterruptPlan::POLLING).unwrap_err();
        assert!(matches!(error, NicError::Vmxnet3Start(_) | NicError::VirtioStart(_)), "{error:?}");
        assert!(error.source().is_some() && !nic.is_running());
        let queues = machine.start(&mut nic);
        assert_eq!(
            nic.start(config(), machine.pool.clone(), InterruptPlan::POLLING).unwrap_err(),
            NicError::Running
        );
        nic.stop(queues).unwrap();
    }
}

#[test]
fn queues_of_another_nic_come_back() {
    let machine = Machine::new();
    let (mut left, mut right) = (machine.open(SLOT), machine.open(OTHER_SLOT));
    let (one, other) = (machine.start(&mut left), machine.start(&mut right));
    let failed: Failed<_, _> = left.stop(other).unwrap_err();
    assert_eq!(*failed.error(), NicError::ForeignQueues);
    let (_, other) = failed.into_parts();
    left.stop(one).unwrap();
    right.stop(other).unwrap();

    let again = machine.start(&mut right);
    let (error, again) = left.stop(again).unwrap_err().into_parts();
    assert_eq!(error, NicError::NotRunning);
    right.stop(again).unwrap();
}

#[test]
fn messages_are_for_received_frames_sent_frames_and_events_in_this_order() {
    let machine = Machine::new();
    let messages = machine.platform.interrupts().messages(3);
    for slot in [SLOT, OTHER_SLOT] {
        let (mut nic, mut peer) =
            (machine.open(slot), machine.open(if slot == SLOT { OTHER_SLOT } else { SLOT }));
        let (plan, remark) = {
            let mut left = messages.iter().copied();
            InterruptPlan::decide(IrqMode::Auto, nic.vectors(), || left.next(), |_| false)
        };
        assert_eq!((&plan.msix, remark), (&messages, None));
        let mut queues = nic.start(config(), machine.pool.clone(), plan).unwrap();
        let mut others = machine.start(&mut peer);
        let _ = machine.platform.take_interrupts();
        assert_eq!((queues.rx.arm(), queues.tx.arm()), (Ok(Armed::Idle), Ok(Armed::Idle)));
        send(&machine, &mut others, &mut queues, 1);
        assert_eq!(machine.platform.take_interrupts(), [messages[0]], "received, {slot}");
        send(&machine, &mut queues, &mut others, 1);
        assert_eq!(machine.platform.take_interrupts(), [messages[1]], "sent, {slot}");
        nic.stop(queues).unwrap();
        peer.stop(others).unwrap();
    }
}

#[test]
fn parts_may_go_to_other_cores() {
    const fn is_send<T: Send>() {}
    const fn is_error<T: core::error::Error + Send + Sync + 'static>() {}
    const {
        is_send::<MockNic>();
        is_send::<Queues<MockPlatform>>();
        is_error::<NicError>();
        is_send::<Failed<NicError, Queues<MockPlatform>>>();
    }
}
