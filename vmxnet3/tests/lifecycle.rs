//! Bring-up, stop, and both again; interrupts; events.

#![allow(clippy::unwrap_used, clippy::result_large_err, reason = "helpers of tests")]

mod support;

use paravane_hal::dma::Dma as _;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, Interrupts};
use paravane_mock_hal::fault::{Action, Fault, FaultPlan, FaultPoint};
use paravane_mock_hal::model::vmxnet3::{ESXI_REVISIONS, Personality, QueueId, Revision, stop};
use paravane_net::{
    Change, Control as _, Events, Link, MacAddr, RxFilter, RxQueue as _, Settings, TxQueue as _,
};
use paravane_pci::{ConfigAccess as _, Function};
use paravane_vmxnet3::{BringUpError, ConfigError, Device, ShutDownError, StartError, StopError};
use support::{
    MAC, MESSAGES, MSIX_ENABLE, Machine, both, bytes_of, exchange, numbered, receive_all, send, small,
};

const ACTIVATE: u32 = 0xcafe_0000;
const QUIESCE: u32 = 0xcafe_0001;
const RESET: u32 = 0xcafe_0002;

#[test]
fn a_device_comes_up_and_talks() {
    both(|machine| {
        let device = machine.claim();
        assert_eq!(device.mac(), MacAddr(MAC));
        assert!(!machine.device.config.is_bus_master(machine.device.address), "nothing to write to yet");
        let mut running = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
        assert!(running.control.link().is_up());
        assert_eq!(running.control.info().max_frame_bytes, 1514);
        exchange(&machine, &mut running, 7);
        machine.assert_clean();
    });
}

#[test]
fn a_hundred_restarts_leave_no_memory_behind() {
    both(|machine| {
        let at_rest = (machine.platform.memory().bytes(), machine.pool.free());
        let mut device = machine.claim();
        let interrupts = [
            Interrupts::POLLING,
            Interrupts::LINE,
            Interrupts::msi(MESSAGES[0]),
            Interrupts::msix(&MESSAGES),
        ];
        for round in 0..100 {
            let config = small().with_tx_entries(32 * (1 + round % 4)).with_rx_entries(64);
            let interrupts = interrupts[usize::from(round) % interrupts.len()];
            let mut running = device.start(&config, machine.pool.clone(), interrupts).unwrap();
            exchange(&machine, &mut running, u32::from(round) * 2);
            // Frames in flight both ways come home with the rest.
            assert!(machine.model().deliver(&numbered(1)));
            send(&mut running, machine.frame(&numbered(2)));
            assert!(machine.model().is_active());
            device = running.stop().unwrap();
            machine.model().take_sent();
            assert!(!machine.model().is_active());
            assert_eq!((machine.platform.memory().bytes(), machine.pool.free()), at_rest, "round {round}");
        }
        machine.assert_clean();
    });
}

#[test]
fn what_a_previous_owner_left_running_is_stopped() {
    let without_msix = Machine::new(Personality::qemu());
    without_msix.device.config.with(without_msix.device.address, |space| space.set8(0x85, 0));
    take_over_from_previous_owner(&without_msix);
    take_over_from_previous_owner(&Machine::new(Personality::qemu()));
}

fn take_over_from_previous_owner(machine: &Machine) {
    // An owner that went away without a word, in line-interrupt mode, with its line raised.
    let mut owner = machine.start(&small(), Interrupts::LINE);
    assert_eq!(owner.rx.arm(), Ok(Armed::Idle));
    machine.model().deliver(&numbered(1));
    assert!(machine.model().line());
    core::mem::forget(owner);

    machine.model().commands.clear();
    let device = machine.claim();
    assert_eq!(machine.model().commands[..2], [QUIESCE, RESET]);
    assert!(!machine.model().line(), "asked before the reset, which would leave the line up");
    assert!(!machine.model().is_active());
    assert!(!machine.device.config.is_bus_master(machine.device.address));
    drop(device);
    machine.assert_clean();
}

#[test]
fn the_address_is_set_after_activation() {
    let machine = Machine::new(Personality::qemu());
    let other = MacAddr([0x02, 0, 0, 0, 0, 9]);
    let running = machine
        .start(&small().with_settings(Settings::default().with(Change::Mac(other))), Interrupts::POLLING);
    assert_eq!(machine.model().mac(), other.0);
    assert_eq!(running.control.info().mac, other);
    machine.assert_clean();
}

#[test]
fn a_device_that_is_no_vmxnet3_is_given_back() {
    let machine = Machine::new(Personality::qemu());
    machine.device.config.with(machine.device.address, |space| space.set16(2, 0x0720));
    let function = Function::claim(machine.device.config.clone(), machine.device.address).unwrap();
    let (error, function) = Device::new(function, machine.platform.clone()).unwrap_err().into_parts();
    assert!(matches!(error, BringUpError::WrongIds(_)));
    assert_eq!(error.to_string(), "not a vmxnet3 device: 15ad:0720, expected 15ad:07b0");
    assert_eq!(function.address(), machine.device.address);
}

#[test]
fn a_device_that_is_given_up_gives_its_registers_back() {
    let machine = Machine::new(Personality::qemu());
    let device = machine.claim();
    assert_eq!(machine.platform.mapped_regions(), 3, "both BARs and the message table");
    let device = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
    let function = device.into_function();
    assert_eq!(machine.platform.mapped_regions(), 0);
    machine.model().gone = true;
    let (_, mut function) = Device::new(function, machine.platform.clone()).unwrap_err().into_parts();
    assert_eq!(machine.platform.mapped_regions(), 0, "after a bring-up that failed");
    machine.model().gone = false;
    machine.device.config.with(machine.device.address, |space| space.allow(0x04, &[0, 0]));
    function.disable(paravane_pci::Command::MEMORY).unwrap_err();
    assert!(Device::new(function, machine.platform.clone()).is_ok(), "memory decoding is stuck on");
}

#[test]
fn a_device_without_a_common_revision_says_what_it_offers() {
    const LATER: &[Revision] = &[Revision { number: 9, ..ESXI_REVISIONS[6] }];
    let machine = Machine::new(Personality { revisions: LATER, ..Personality::esxi() });
    let function = Function::claim(machine.device.config.clone(), machine.device.address).unwrap();
    let (error, _) = Device::new(function, machine.platform.clone()).unwrap_err().into_parts();
    assert_eq!(error, BringUpError::Revision { offered: 1 << 8 });
}

#[test]
fn a_failed_start_gives_everything_back() {
    let machine = Machine::new(Personality::qemu());
    let at_rest = (machine.platform.memory().bytes(), machine.pool.free());
    let mut device = machine.claim();
    // Memory runs out at each allocation in turn; the next start after that works.
    for allocations in 0.. {
        machine.platform.memory().limit_allocations(Some(allocations));
        match device.start(&small(), machine.pool.clone(), Interrupts::POLLING) {
            Ok(running) => {
                assert!(allocations > 4, "several pieces were asked for");
                device = running.stop().unwrap();
                break;
            }
            Err(failed) => {
                let (error, back) = failed.into_parts();
                assert!(matches!(error, StartError::Memory(_)), "{error}");
                device = back;
            }
        }
        assert_eq!((machine.platform.memory().bytes(), machine.pool.free()), at_rest);
    }
    assert_eq!((machine.platform.memory().bytes(), machine.pool.free()), at_rest);
    drop(device);
    machine.assert_clean();
}

#[test]
fn a_refused_activation_gives_everything_back() {
    let machine = Machine::new(Personality::qemu());
    let at_rest = (machine.platform.memory().bytes(), machine.pool.free());
    let device = machine.claim();
    machine.model().refuse_activation = true;
    let (error, device) =
        device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap_err().into_parts();
    assert_eq!(error, StartError::Refused { code: 1 });
    assert_eq!((machine.platform.memory().bytes(), machine.pool.free()), at_rest);
    machine.model().refuse_activation = false;
    let running = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
    assert!(running.stop().is_ok());
}

#[test]
fn a_pool_of_another_dma_domain_is_refused() {
    let (machine, other) = (Machine::new(Personality::qemu()), Machine::new(Personality::qemu()));
    let at_rest = machine.platform.memory().bytes();
    let (error, _) =
        machine.claim().start(&small(), other.pool.clone(), Interrupts::POLLING).unwrap_err().into_parts();
    let (pool, device) = (other.platform.domain(), machine.platform.domain());
    assert_eq!(error, StartError::ForeignPool { pool, device });
    assert_eq!((machine.platform.memory().bytes(), other.pool.free()), (at_rest, other.pool.buffers()));
    machine.assert_clean();
}

#[test]
fn an_empty_pool_is_noticed_before_activation() {
    let machine = Machine::with_pool(Personality::qemu(), 1);
    let held = machine.pool.get();
    let (error, _) =
        machine.claim().start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap_err().into_parts();
    assert_eq!(error, StartError::PoolEmpty);
    assert!(held.is_some());
}

#[test]
fn a_wrong_configuration_is_named() {
    let machine = Machine::new(Personality::qemu());
    let config = small().with_rx_entries(100);
    let (error, _) =
        machine.claim().start(&config, machine.pool.clone(), Interrupts::POLLING).unwrap_err().into_parts();
    assert_eq!(error, StartError::Config(ConfigError::RingEntries { ring: "rx", entries: 100 }));
}

#[test]
fn memory_stays_when_the_device_cannot_be_stopped() {
    let machine = Machine::new(Personality::qemu());
    let running = machine.start_small();
    let in_use = machine.platform.memory().bytes();
    // Bus mastering is stuck.
    let address = machine.device.address;
    machine.device.config.with(address, |space| space.allow(0x04, &0x0403_u16.to_le_bytes()));
    machine.model().commands.clear();
    let (error, mut running) = running.stop().unwrap_err().into_parts();
    assert!(matches!(error, StopError::StillRunning(ShutDownError::Bus(_))));
    assert_eq!(machine.platform.memory().bytes(), in_use, "nothing was freed");
    assert!(machine.model().commands.contains(&QUIESCE));
    assert!(!machine.model().commands.contains(&RESET), "it would write its events to a fixed address then");
    assert_eq!(running.rx.receive(&mut paravane_net::Burst::new()), Err(DeviceFault::NeedsReset));
    // It comes loose, and stopping works.
    machine.device.config.with(address, |space| space.allow(0x04, &0x0407_u16.to_le_bytes()));
    assert!(running.stop().is_ok());
    assert!(machine.platform.memory().bytes() < in_use);
}

/// The device answers these commands with a 1, and does not carry them out.
fn refuse(machine: &Machine, commands: &[u32]) {
    let refused = |command: &u32| Fault::always(FaultPoint::Command, Action::Refuse).of(*command);
    machine.model().faults = FaultPlan::new(commands.iter().map(refused).collect::<Vec<_>>());
}

#[test]
fn memory_stays_when_the_device_confirms_neither_its_stop_nor_its_reset() {
    let machine = Machine::new(Personality::esxi());
    let at_rest = (machine.platform.memory().bytes(), machine.pool.free());
    let running = machine.start_small();
    let in_use = (machine.platform.memory().bytes(), machine.pool.free());
    refuse(&machine, &[QUIESCE, RESET]);
    let (error, mut running) = running.stop().unwrap_err().into_parts();
    let unconfirmed = ShutDownError::Unconfirmed { quiesce: 1, reset: 1 };
    assert_eq!(error, StopError::StillRunning(unconfirmed));
    assert_eq!((machine.platform.memory().bytes(), machine.pool.free()), in_use, "nothing was freed");
    assert_eq!(running.rx.receive(&mut paravane_net::Burst::new()), Err(DeviceFault::NeedsReset));
    assert_eq!(running.control.poll(), Err(DeviceFault::NeedsReset));
    // It was slow, or out of its mind for a while.
    machine.model().be_honest();
    assert!(running.stop().is_ok());
    assert_eq!((machine.platform.memory().bytes(), machine.pool.free()), at_rest);
}

#[test]
fn a_device_that_refuses_to_quiesce_is_stopped_by_its_reset() {
    let machine = Machine::new(Personality::esxi());
    let running = machine.start_small();
    refuse(&machine, &[QUIESCE]);
    let device = running.stop().unwrap();
    assert!(!machine.model().is_active());
    assert_eq!(machine.pool.free(), machine.pool.buffers());
    // The same at bring-up.
    let device = Device::new(device.into_function(), machine.platform.clone()).unwrap();
    refuse(&machine, &[QUIESCE, RESET]);
    let (error, _) = Device::new(device.into_function(), machine.platform.clone()).unwrap_err().into_parts();
    assert!(matches!(error, BringUpError::StillRunning(ShutDownError::Unconfirmed { .. })));
}

#[test]
fn a_start_that_can_neither_go_on_nor_back_keeps_its_memory_for_the_next() {
    let machine = Machine::new(Personality::esxi());
    let at_rest = (machine.platform.memory().bytes(), machine.pool.free());
    let mut device = machine.claim();
    refuse(&machine, &[ACTIVATE, QUIESCE, RESET]);
    for _ in 0..3 {
        let failed = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap_err();
        let (error, back) = failed.into_parts();
        assert!(matches!(error, StartError::NotStopped(ShutDownError::Unconfirmed { .. })), "{error}");
        assert_eq!(at_rest.1 - machine.pool.free(), 31, "one ring's buffers, and not one more each time");
        device = back;
    }
    machine.model().be_honest();
    let mut running = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
    exchange(&machine, &mut running, 1);
    assert!(running.stop().is_ok());
    assert_eq!((machine.platform.memory().bytes(), machine.pool.free()), at_rest);
    machine.assert_clean();
}

#[test]
fn a_stopped_device_does_not_know_where_memory_was() {
    both(|machine| {
        let device = machine.start_small().stop().unwrap();
        assert_eq!(machine.model().shared_addr(), None, "after a stop");
        machine.model().refuse_activation = true;
        let failed = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap_err();
        assert_eq!(machine.model().shared_addr(), None, "after an activation that failed");
        machine.model().refuse_activation = false;
        let device = failed.into_parts().1;
        core::mem::forget(device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap());
        let _taken_over = machine.claim();
        assert_eq!(machine.model().shared_addr(), None, "after somebody else");
        machine.assert_clean();
    });
}

#[test]
fn every_vector_is_masked_before_the_device_stops_listening() {
    for interrupts in [Interrupts::LINE, Interrupts::msi(MESSAGES[0]), Interrupts::msix(&MESSAGES)] {
        let machine = Machine::new(Personality::qemu());
        let mut running = machine.start(&small(), interrupts);
        let armed = [running.rx.arm(), running.tx.arm(), running.control.arm()];
        assert_eq!(armed, [Ok(Armed::Idle); 3]);
        let device = running.stop().unwrap();
        assert_eq!(machine.model().left_unmasked, [0; 0], "{interrupts:?}");
        // It would interrupt the next owner before that has armed.
        assert!(device.start(&small(), machine.pool.clone(), interrupts).is_ok());
        machine.assert_clean();
    }
}

#[test]
fn a_stopped_device_interrupts_in_no_way() {
    for interrupts in [Interrupts::LINE, Interrupts::msi(MESSAGES[0]), Interrupts::msix(&MESSAGES)] {
        let machine = Machine::new(Personality::qemu());
        let is_off = |when: &str| {
            let read = |at| machine.device.config.read16(machine.device.address, at);
            let (command, msi, msix) = (read(0x04), read(0x86), read(0x9e));
            assert_eq!((msi & 1, msix & MSIX_ENABLE), (0, 0), "messages {when}, {interrupts:?}");
            assert_ne!(command & 1 << 10, 0, "the pin {when}, {interrupts:?}");
        };
        let device = machine.start(&small(), interrupts).stop().unwrap();
        is_off("after a stop");
        machine.model().refuse_activation = true;
        let failed = device.start(&small(), machine.pool.clone(), interrupts).unwrap_err();
        is_off("after a start that failed");
        machine.model().refuse_activation = false;
        let (_, device) = failed.into_parts();
        let running = device.start(&small(), machine.pool.clone(), interrupts).unwrap();
        refuse(&machine, &[QUIESCE, RESET]);
        let (_, running) = running.stop().unwrap_err().into_parts();
        is_off("after a stop that was not confirmed");
        machine.model().be_honest();
        assert!(running.stop().is_ok());
        machine.assert_clean();
    }
}

#[test]
fn queues_of_another_device_do_not_stop_this_one() {
    let (one, other) = (Machine::new(Personality::qemu()), Machine::new(Personality::qemu()));
    let (running, foreign) = (one.start_small(), other.start_small());
    let error = running.control.stop(foreign.rx, running.tx).unwrap_err();
    assert_eq!(*error.error(), StopError::ForeignQueue);
    assert!(one.model().is_active());
}

#[test]
fn link_changes_are_events() {
    both(|machine| {
        let mut running = machine.start_small();
        assert_eq!(running.control.poll(), Ok(Events::empty()));
        machine.model().set_link(false);
        assert_eq!(running.control.poll(), Ok(Events::LINK));
        assert_eq!(running.control.link(), Link::Down);
        machine.model().set_link(true);
        assert_eq!(running.control.poll(), Ok(Events::LINK));
        assert!(running.control.link().is_up());
        assert_eq!(running.control.poll(), Ok(Events::empty()), "acknowledged");
        machine.assert_clean();
    });
}

#[test]
fn a_stopped_queue_gives_its_code_and_a_restart_heals() {
    for queue in [QueueId::Tx(0), QueueId::Rx(0)] {
        let machine = Machine::new(Personality::esxi());
        let mut running = machine.start_small();
        machine.model().stop_queue(queue, stop::BIG_PKT);
        send(&mut running, machine.frame(&numbered(1)));
        running.tx.flush();
        assert_eq!(
            machine.model().take_sent().len(),
            usize::from(queue == QueueId::Rx(0)),
            "the other one goes on"
        );
        assert_eq!(machine.model().deliver(&numbered(2)), queue == QueueId::Tx(0));
        let fault = DeviceFault::Stopped { code: stop::BIG_PKT };
        assert_eq!(running.control.poll(), Err(fault));
        assert_eq!(running.control.poll(), Err(fault), "and stays");
        assert_eq!(paravane_vmxnet3::stop_reason(stop::BIG_PKT), "too many descriptors in a frame");
        let device = running.stop().unwrap();
        let mut running = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
        assert_eq!(running.control.poll(), Ok(Events::empty()));
        exchange(&machine, &mut running, 1);
        machine.assert_clean();
    }
}

#[test]
fn a_device_that_changed_behind_the_scenes_goes_on_and_is_told_all_again() {
    both(|machine| {
        let mut running = machine.start(&small(), Interrupts::msix(&MESSAGES));
        // Each time: a host may say so after each activation.
        for times in 1..4 {
            assert_eq!(running.control.arm(), Ok(Armed::Idle));
            machine.model().interrupts.clear();
            machine.model().commands.clear();
            machine.model().device_changed();
            assert_eq!(machine.model().interrupts, [2]);
            assert_eq!(running.control.poll(), Ok(Events::LINK));
            let told = [0xf00d_0000, 0xcafe_0009, 0xcafe_0005, 0xcafe_0004, 0xcafe_0003, 0xf00d_0002];
            assert_eq!(machine.model().commands, told);
            assert_eq!(running.control.poll(), Ok(Events::empty()));
            assert_eq!(running.control.takeovers(), times);
            exchange(&machine, &mut running, 1);
        }
        let device = running.stop().unwrap();
        let running = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
        assert_eq!(running.control.takeovers(), 3, "over all starts");
        running.stop().unwrap();
        machine.assert_clean();
    });
}

#[test]
fn one_that_took_over_and_has_a_queue_stopped_is_broken() {
    let machine = Machine::new(Personality::esxi());
    let mut running = machine.start_small();
    machine.model().stop_queue(QueueId::Rx(0), stop::SWITCH);
    // The error itself is not told.
    let shared = machine.model().shared_addr().unwrap();
    machine.model().overwrite(shared + 0x2b8, &[0; 4]);
    assert_eq!(running.control.poll(), Ok(Events::empty()));
    machine.model().device_changed();
    let fault = DeviceFault::Stopped { code: stop::SWITCH };
    assert_eq!(running.control.poll(), Err(fault));
    assert_eq!(running.control.poll(), Err(fault), "and it stays so");
    running.stop().unwrap();
}

#[test]
fn filters_take_effect_at_once() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    let mut to_group = numbered(1);
    to_group[0] = 0x01;
    assert!(!machine.model().deliver(&to_group));
    running.control.set_filter(RxFilter::default() | RxFilter::ALL_MULTICAST).unwrap();
    assert!(machine.model().deliver(&to_group));
    running.control.set_filter(RxFilter::empty()).unwrap();
    assert!(!machine.model().deliver(&numbered(1)));
}

#[test]
fn tagged_frames_pass_whatever_the_device_reads_at_activation() {
    both(|machine| {
        let mut running = machine.start_small();
        for tag in [0, 1, 0x0123, 4095_u16] {
            let mut tagged = numbered(1);
            tagged.splice(12..12, [&[0x81, 0x00][..], &tag.to_be_bytes()].concat());
            assert!(machine.model().deliver(&tagged), "VLAN {tag}");
            assert_eq!(receive_all(&mut running).iter().map(bytes_of).collect::<Vec<_>>(), [tagged]);
        }
        machine.assert_clean();
    });
}

#[test]
fn the_device_counts_too() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    exchange(&machine, &mut running, 40);
    let stats = running.control.read_device_stats().unwrap().unwrap();
    assert_eq!((stats.rx_frames, stats.rx_bytes), (1, numbered(40).len() as u64));
    assert_eq!((stats.tx_frames, stats.tx_bytes), (1, numbered(41).len() as u64));
}

#[test]
fn what_the_device_counted_outlives_a_restart() {
    let machine = Machine::new(Personality::qemu());
    let mut device = machine.claim();
    for round in 1..4 {
        let mut running = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
        exchange(&machine, &mut running, 40);
        let stats = running.control.read_device_stats().unwrap().unwrap();
        assert_eq!((stats.rx_frames, stats.tx_frames), (round, round));
        device = running.stop().unwrap();
    }
}

#[test]
fn a_device_that_goes_away_is_noticed() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    machine.model().set_link(false);
    machine.model().gone = true;
    machine.device.config.remove(machine.device.address);
    assert_eq!(running.control.poll(), Err(DeviceFault::Gone));
    assert_eq!(running.control.read_device_stats(), Err(DeviceFault::Gone));
    assert_eq!(machine.device.config.read16(machine.device.address, 0), u16::MAX);
    let failed = running.stop().unwrap_err();
    assert!(matches!(failed.error(), StopError::StillRunning(ShutDownError::Bus(_))));
}
