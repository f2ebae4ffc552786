//! Every revision of the protocol, and how one of them is agreed.

#![allow(clippy::unwrap_used, clippy::result_large_err, reason = "helpers of tests")]

mod support;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::fault::{Action, Fault, FaultPlan, FaultPoint, Field};
use paravane_mock_hal::model::vmxnet3::{BufferSizes, ESXI_REVISIONS, Personality};
use paravane_net::Control as _;
use paravane_vmxnet3::{Config, ConfigError, StartError};
use support::{Machine, exchange, small};

const SET_RING_BUFFER_SIZE: u32 = 0xcafe_0013;

fn up_to(highest: u8) -> Machine {
    Machine::new(Personality::esxi().up_to(highest))
}

#[test]
fn frames_go_both_ways_at_every_revision() {
    for number in 1..=7 {
        let machine = up_to(number);
        let config = small().with_pairs(2).with_rx_entries(64).with_max_revision(7);
        let mut up = machine.start(&config, Interrupts::POLLING);
        assert_eq!((machine.model().agreed_revision(), up.control.revision()), (Some(number), number));
        // Around the rings.
        (0..40).for_each(|frame| exchange(&machine, &mut up, frame));
        let mut up = up.recover(Interrupts::POLLING).unwrap();
        assert_eq!(machine.model().agreed_revision(), Some(number));
        (0..40).for_each(|frame| exchange(&machine, &mut up, frame));
        up.stop().unwrap();
        machine.assert_clean();
    }
}

#[test]
fn by_default_it_stays_below_the_seventh() {
    let machine = up_to(7);
    let device = machine.claim();
    assert_eq!((device.revision(), machine.model().agreed_revision()), (6, Some(6)));
    let up = device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap();
    assert_eq!(up.control.revision(), 6);
    assert!(!machine.model().commands.contains(&SET_RING_BUFFER_SIZE));
    up.stop().unwrap();
    machine.assert_clean();
}

#[test]
fn a_caller_may_want_an_older_one_and_another_one_the_next_time() {
    let machine = up_to(7);
    let mut device = machine.claim();
    for (max_revision, agreed) in [(1, 1), (7, 7), (3, 3), (u8::MAX, 7)] {
        let config = small().with_max_revision(max_revision);
        let mut up = device.start(&config, machine.pool.clone(), Interrupts::POLLING).unwrap();
        assert_eq!((machine.model().agreed_revision(), up.control.revision()), (Some(agreed), agreed));
        exchange(&machine, &mut up, 1);
        let up = up.recover(Interrupts::POLLING).unwrap();
        assert_eq!((machine.model().agreed_revision(), up.control.revision()), (Some(agreed), agreed));
        device = up.stop().unwrap();
        assert_eq!(device.revision(), agreed);
    }
    machine.assert_clean();
}

/// It says so before anything is allocated or told, and another start is free to allow more.
#[test]
fn one_that_has_none_of_those_allowed_is_not_started() {
    let machine = up_to(7);
    let commands = |machine: &Machine| machine.model().commands.len();
    let device = machine.claim();
    let before = commands(&machine);
    let config = small().with_max_revision(0);
    let failed = device.start(&config, machine.pool.clone(), Interrupts::POLLING).unwrap_err();
    assert_eq!(*failed.error(), StartError::Revision { offered: 0b111_1111, max_revision: 0 });
    assert!(failed.error().to_string().contains("0b1111111 (VRRS), and 0 is the highest allowed"));
    assert_eq!(commands(&machine), before);
    let (_, device) = failed.into_parts();
    device.start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
    machine.assert_clean();
}

#[test]
fn one_that_has_the_seventh_alone_is_there_for_who_allows_that() {
    let machine = Machine::new(Personality { revisions: &ESXI_REVISIONS[6..], ..Personality::esxi() });
    let failed = machine.claim().start(&small(), machine.pool.clone(), Interrupts::POLLING).unwrap_err();
    assert_eq!(*failed.error(), StartError::Revision { offered: 1 << 6, max_revision: 6 });
    let (_, device) = failed.into_parts();
    let config = small().with_max_revision(7);
    device.start(&config, machine.pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
    machine.assert_clean();
}

#[test]
fn the_seventh_is_told_how_long_buffers_are() {
    let machine = up_to(7);
    let config = small().with_max_revision(7).with_ip_mtu_bytes(9000);
    let up = machine.start(&config, Interrupts::POLLING);
    let sizes = BufferSizes { head_bytes: 1984, ring1_body_bytes: 0, ring2_body_bytes: 1984 };
    assert_eq!(machine.model().buffer_sizes(), Some(sizes));
    let device = up.stop().unwrap();

    let says_no = Action::Set { field: Field::Value, value: 5 };
    machine.model().faults =
        FaultPlan::new([Fault::nth(FaultPoint::Reply, 1, says_no).of(SET_RING_BUFFER_SIZE)]);
    let failed = device.start(&config, machine.pool.clone(), Interrupts::POLLING).unwrap_err();
    assert_eq!(*failed.error(), StartError::BufferSizes { code: 5 });
    assert_eq!(machine.pool.free(), machine.pool.buffers());
    let (_, device) = failed.into_parts();
    device.start(&config, machine.pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
    machine.assert_clean();
}

/// A previous owner may have been granted what would have the device work in another way.
#[test]
fn what_is_not_asked_for_ends_at_the_seventh_or_it_is_not_started() {
    const GET_DCR0: u32 = 0xf00d_0012;
    for (answer, comes_up) in [(0, true), (1 << 31, true), (0xffff, true), (1 << 16, false), (1 << 17, false)]
    {
        let machine = up_to(7);
        let config = small().with_max_revision(7);
        let lie = Action::Set { field: Field::Value, value: answer };
        machine.model().faults = FaultPlan::new([Fault::nth(FaultPoint::Reply, 1, lie).of(GET_DCR0)]);
        let started = machine.claim().start(&config, machine.pool.clone(), Interrupts::POLLING);
        assert!(machine.model().commands.contains(&GET_DCR0), "asked, though nothing is wanted");
        assert_eq!(started.is_ok(), comes_up, "{answer:#x}");
        if let Err(failed) = started {
            let broken = DeviceFault::UnknownKind { what: "capabilities", value: answer };
            assert_eq!(*failed.error(), StartError::Fault(broken));
        }
    }
}

/// Another implementation behind the device learns of the buffers as well.
#[test]
fn one_that_took_over_is_told_how_long_buffers_are() {
    let machine = up_to(7);
    let mut up = machine.start(&small().with_max_revision(7), Interrupts::POLLING);
    machine.model().commands.clear();
    machine.model().device_changed();
    up.control.poll().unwrap();
    assert!(machine.model().commands.contains(&SET_RING_BUFFER_SIZE));
    exchange(&machine, &mut up, 1);
    machine.assert_clean();
}

/// Drivers known write no less, with a ring or without.
#[test]
fn the_length_of_a_slot_is_told_without_a_ring_too() {
    for (revision, told) in [(2, 0_u16), (3, 128), (6, 128)] {
        let machine = up_to(revision);
        let _up = machine.start(&small(), Interrupts::POLLING);
        let shared = machine.model().shared_addr().unwrap();
        let memory = machine.platform.memory();
        let table = u64::from_le_bytes(memory.device_get(shared + 0x28).unwrap());
        let length = memory.device_get(table + 0x4a).unwrap();
        assert_eq!(u16::from_le_bytes(length), told, "revision {revision}");
    }
}

#[test]
fn rings_of_another_size_are_refused_at_the_seventh_alone() {
    let config = Config::default().with_tx_entries(96);
    for (max_revision, outcome) in
        [(6, Ok(())), (7, Err(StartError::Config(ConfigError::RingNoPowerOfTwo { ring: "tx", entries: 96 })))]
    {
        let machine = up_to(7);
        let config = config.with_max_revision(max_revision);
        let started = machine.claim().start(&config, machine.pool.clone(), Interrupts::POLLING);
        assert_eq!(started.map(drop).map_err(|failed| failed.into_error()), outcome);
    }
}
