//! Interrupts: how many messages, who masks what, the pin, and what is left of them.

#![allow(clippy::unwrap_used, clippy::result_large_err, reason = "helpers of tests")]

mod support;

use paravane_hal::irq::{Armed, InterruptMode, Interrupts};
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_mock_hal::pci::FunctionSpace;
use paravane_net::{Control as _, RxQueue as _, TxQueue as _};
use paravane_pci::{ConfigAccess as _, InterruptError};
use paravane_vmxnet3::WantedInterrupts;
use support::{MESSAGES, MSIX_ENABLE, Machine, both, exchange, numbered, receive_all, send, small};

#[test]
fn interrupts_are_spread_over_what_there_is() {
    for (messages, vectors) in [(3, [0, 1, 2]), (2, [0, 0, 1]), (1, [0, 0, 0])] {
        let machine = Machine::new(Personality::qemu());
        let mut running = machine.start(&small(), Interrupts::msix(&MESSAGES[..messages]));
        let count = u16::try_from(messages).unwrap();
        assert_eq!(running.control.interrupts(), InterruptMode::Msix { vectors: count });
        machine.model().deliver(&numbered(1));
        assert_eq!(machine.model().interrupts, [], "masked until armed");
        let _ = receive_all(&mut running);

        // What came while it was masked interrupts now, and the vector is masked by that; so once
        // more.
        assert_eq!(running.rx.arm(), Ok(Armed::Idle));
        assert_eq!(machine.model().interrupts, [vectors[0]]);
        assert_eq!(running.rx.arm(), Ok(Armed::Idle));
        machine.model().interrupts.clear();
        machine.model().deliver(&numbered(2));
        assert_eq!(machine.model().interrupts, [vectors[0]]);
        let message = MESSAGES[usize::from(vectors[0])];
        assert_eq!(machine.platform.take_interrupts(), [message; 2], "through the table, as programmed");
        let _ = receive_all(&mut running);

        assert_eq!(running.tx.arm(), Ok(Armed::Idle));
        machine.model().interrupts.clear();
        send(&mut running, machine.frame(&numbered(3)));
        assert_eq!(machine.model().interrupts, [vectors[1]]);

        assert_eq!(running.control.arm(), Ok(Armed::Idle));
        machine.model().interrupts.clear();
        machine.model().set_link(false);
        assert_eq!(machine.model().interrupts, [vectors[2]]);
        assert!(running.stop().is_ok());
        machine.assert_clean();
    }
}

#[test]
fn arming_reports_what_slipped_in() {
    both(|machine| {
        let mut running = machine.start(&small(), Interrupts::msix(&MESSAGES));
        machine.model().deliver(&numbered(1));
        assert_eq!(running.rx.arm(), Ok(Armed::Pending));
        send(&mut running, machine.frame(&numbered(2)));
        running.tx.flush();
        machine.model().look();
        assert_eq!(running.tx.arm(), Ok(Armed::Pending));
        machine.model().set_link(false);
        assert_eq!(running.control.arm(), Ok(Armed::Pending));
    });
}

#[test]
fn a_shared_vector_is_masked_for_nobody_alone() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start(&small(), Interrupts::msix(&MESSAGES[..1]));
    assert_eq!(running.control.arm(), Ok(Armed::Idle));
    running.rx.disarm();
    machine.model().set_link(false);
    assert_eq!(machine.model().interrupts, [0], "control still hears of its events");
}

#[test]
fn the_pin_is_asked_and_falls() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start(&small(), Interrupts::LINE);
    assert_eq!(running.control.interrupts(), InterruptMode::Line);
    assert_eq!(running.rx.arm(), Ok(Armed::Idle));
    assert!(!running.control.acknowledge(), "not ours");
    machine.model().deliver(&numbered(1));
    assert!(machine.model().line());
    assert!(running.control.acknowledge());
    assert!(!machine.model().line());
    // The line fell and the vector is masked; what comes now is seen by the look after arming.
    machine.model().deliver(&numbered(2));
    assert_eq!(running.rx.arm(), Ok(Armed::Pending));
    assert_eq!(receive_all(&mut running).len(), 2);
    assert!(running.stop().is_ok());
    machine.assert_clean();
}

#[test]
fn a_raised_pin_stays_up_while_others_arm() {
    // Automatic, active, lazy, and what is not known yet: the device masks in the first case only.
    for conf_intr in [0, 1 << 2, 2 << 2, 3 << 2] {
        let machine = Machine::new(Personality { conf_intr, ..Personality::qemu() });
        let mut running = machine.start(&small(), Interrupts::LINE);
        // Twice: the mask is written again after the first round.
        for number in 0..2 {
            assert_eq!(running.rx.arm(), Ok(Armed::Idle));
            machine.model().deliver(&numbered(number));
            assert!(machine.model().line());
            assert_eq!(running.tx.arm(), Ok(Armed::Idle));
            assert_eq!(running.control.arm(), Ok(Armed::Idle));
            assert!(machine.model().line(), "round {number}");
            assert!(running.control.acknowledge());
            assert_eq!(receive_all(&mut running).len(), 1);
        }
        assert!(running.stop().is_ok());
        machine.assert_clean();
    }
}

#[test]
fn where_the_driver_masks_the_pin_it_does() {
    let machine = Machine::new(Personality { conf_intr: 1 << 2, ..Personality::qemu() });
    let mut running = machine.start(&small(), Interrupts::LINE);
    assert_eq!(running.rx.arm(), Ok(Armed::Idle));
    machine.model().deliver(&numbered(1));
    assert!(running.control.acknowledge());
    machine.model().deliver(&numbered(2));
    assert!(!machine.model().line(), "masked by the handler's first step");
}

#[test]
fn where_the_driver_masks_a_shared_message_it_does() {
    for mask_mode in 1..=3 {
        mask_a_shared_message(Personality { conf_intr: mask_mode << 2 | 2, ..Personality::qemu() });
    }
}

fn mask_a_shared_message(personality: Personality) {
    let machine = Machine::new(personality);
    let device = machine.claim();
    assert_eq!(device.wanted_interrupts(), WantedInterrupts::Msi);
    let mut running = device.start(&small(), machine.pool.clone(), Interrupts::msi(MESSAGES[0])).unwrap();
    assert_eq!(running.rx.arm(), Ok(Armed::Idle));
    machine.model().deliver(&numbered(1));
    assert!(!running.control.acknowledge(), "there is no line");
    for number in 2..9 {
        machine.model().deliver(&numbered(number));
    }
    assert_eq!(machine.model().interrupts, [0], "one message for all of them");
    assert_eq!(receive_all(&mut running).len(), 8);
    assert_eq!(running.control.arm(), Ok(Armed::Idle));
    assert_eq!(machine.model().interrupts, [0, 0], "what came while it was masked");
    assert!(running.stop().is_ok());
    machine.assert_clean();
}

#[test]
fn a_vector_of_its_own_is_left_to_its_user() {
    let machine = Machine::new(Personality { conf_intr: 1 << 2, ..Personality::qemu() });
    let mut running = machine.start(&small(), Interrupts::msix(&MESSAGES));
    assert_eq!(running.rx.arm(), Ok(Armed::Idle));
    assert!(!running.control.acknowledge());
    machine.model().deliver(&numbered(1));
    assert_eq!(machine.model().interrupts, [0], "whoever waits for frames is woken");
    running.rx.disarm();
    machine.model().deliver(&numbered(2));
    assert_eq!(machine.model().interrupts, [0]);
}

#[test]
fn polling_leaves_every_vector_masked() {
    let machine = Machine::new(Personality::qemu());
    let mut running = machine.start_small();
    assert_eq!(running.control.interrupts(), InterruptMode::Polling);
    assert_eq!((running.rx.arm(), running.tx.arm()), (Ok(Armed::Idle), Ok(Armed::Idle)));
    machine.model().deliver(&numbered(1));
    assert_eq!(machine.model().interrupts, []);
    assert_eq!(running.rx.arm(), Ok(Armed::Pending), "the look is worth something without an interrupt too");
}

#[test]
fn what_is_missing_or_broken_is_stepped_over_within_one_start() {
    let mode_of = |spoil: &dyn Fn(&Machine)| {
        let machine = Machine::new(Personality::qemu());
        spoil(&machine);
        let all = Interrupts::msix(&MESSAGES).or_msi(MESSAGES[0]).or_line();
        let mut running = machine.start(&small(), all);
        exchange(&machine, &mut running, 1);
        let (mode, error) = (running.control.interrupts(), running.control.device().interrupt_error());
        assert!(running.stop().is_ok());
        machine.assert_clean();
        (mode, error.is_some())
    };
    let set = |machine: &Machine, change: &dyn Fn(&mut FunctionSpace)| {
        machine.device.config.with(machine.device.address, |space| change(space));
    };
    assert_eq!(mode_of(&|_| {}), (InterruptMode::Msix { vectors: 3 }, false));
    let no_table = |machine: &Machine| set(machine, &|space| space.set32(MSIX_TABLE, 0x4000 | 2));
    assert_eq!(mode_of(&no_table), (InterruptMode::Msi, true));
    let no_messages = |machine: &Machine| {
        no_table(machine);
        set(machine, &|space| space.allow(MSI_CONTROL, &[0, 0]));
    };
    assert_eq!(mode_of(&no_messages), (InterruptMode::Line, true));
    let nothing = |machine: &Machine| {
        no_messages(machine);
        set(machine, &|space| space.set8(0x3d, 0));
    };
    assert_eq!(mode_of(&nothing), (InterruptMode::Polling, true));
}

/// What the MSI-X capability of the device says about itself.
const MSIX_CONTROL: usize = 0x9e;
const MSI_CONTROL: usize = 0x86;
const MSIX_TABLE: usize = 0xa0;

/// A life on the pin, restart and interrupts included.
fn live_on_the_pin(machine: &Machine) {
    let mut device = machine.claim();
    for number in 0..2 {
        let mut running = device.start(&small(), machine.pool.clone(), Interrupts::LINE).unwrap();
        assert_eq!(running.rx.arm(), Ok(Armed::Idle));
        assert!(machine.model().deliver(&numbered(number)));
        assert!(machine.model().line(), "by the pin, not by a message of somebody else's");
        assert!(running.control.acknowledge());
        assert_eq!(receive_all(&mut running).len(), 1);
        // It stops with its pin raised.
        assert_eq!(running.rx.arm(), Ok(Armed::Idle));
        assert!(machine.model().deliver(&numbered(number)));
        device = running.stop().unwrap();
        assert!(!machine.model().line());
    }
    machine.assert_clean();
}

#[test]
fn a_message_table_out_of_reach_leaves_the_pin_usable() {
    // Beyond its BAR, and in a BAR that cannot be.
    for table in [0x4000 | 2, 7] {
        let machine = Machine::new(Personality::qemu());
        machine.device.config.with(machine.device.address, |space| {
            space.set16(MSIX_CONTROL, MSIX_ENABLE | 24);
            space.set32(MSIX_TABLE, table);
        });
        live_on_the_pin(&machine);
        assert_eq!(machine.device.config.read16(machine.device.address, 0x9e) & MSIX_ENABLE, 0);
    }
}

#[test]
fn messages_that_stay_on_rule_the_pin_out_and_its_cause_is_never_asked_for() {
    let machine = Machine::new(Personality::qemu());
    machine.device.config.with(machine.device.address, |space| {
        space.set16(MSIX_CONTROL, MSIX_ENABLE | 24);
        space.allow(MSIX_CONTROL, &0x4000_u16.to_le_bytes());
    });
    let mut running = machine.claim().start(&small(), machine.pool.clone(), Interrupts::LINE).unwrap();
    assert_eq!(running.control.interrupts(), InterruptMode::Polling);
    let error = running.control.device().interrupt_error().unwrap();
    assert!(matches!(error, InterruptError::Messages(_)), "{error}");
    exchange(&machine, &mut running, 1);
    assert!(running.stop().is_ok());
    machine.assert_clean();
}
