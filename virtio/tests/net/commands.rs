//! What the device is told over the control queue: that it does it, what becomes of a command that
//! it refuses, lies about or never answers, and that a start brings it all back.

use std::time::Duration;

use crate::support::*;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{Armed, Interrupts};
use paravane_hal::time::Clock as _;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::{Personality, Reset, net::bits};
use paravane_net::{
    Burst, Change, ChangeError, Coalescing, Control, Events, MacAddr, MacTable, RxFilter, RxFilterError,
    RxOffloads, RxQueue, Settings, TxQueue, VlanSet,
};
use paravane_virtio::net::{COMMAND_TIMEOUT, StartError, StopError};

/// What a device has that has all commands but those of pairs.
const COMMANDS: u64 = BASIC
    | bits::GUEST_CSUM
    | bits::CTRL_VQ
    | bits::CTRL_RX
    | bits::CTRL_RX_EXTRA
    | bits::CTRL_VLAN
    | bits::CTRL_MAC_ADDR
    | bits::CTRL_GUEST_OFFLOADS
    | bits::GUEST_ANNOUNCE
    | bits::NOTF_COAL;
/// The number of the control queue behind one pair.
const COMMAND_QUEUE: u32 = 2;

const BROADCAST: [u8; 6] = [0xff; 6];
const GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 1];
const OTHER_GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const STRANGER: [u8; 6] = [0x02, 9, 9, 9, 9, 9];

/// Either ring.
const RINGS: [u64; 3] = [0, EVENT_IDX, RING_PACKED | EVENT_IDX];

fn frame_to(to: [u8; 6]) -> Vec<u8> {
    [&to[..], &bytes(54, 1)].concat()
}

fn tagged(to: [u8; 6], vid: u16) -> Vec<u8> {
    let [high, low] = vid.to_be_bytes();
    [&to[..], &MAC[..], &[0x81, 0, high, low], &bytes(44, 1)].concat()
}

/// Which of the frames to these addresses arrive.
fn arrive<const N: usize>(bench: &Bench, up: &mut Up, addresses: [[u8; 6]; N]) -> [bool; N] {
    addresses.map(|to| {
        let frame = frame_to(to);
        let delivered = bench.model().deliver(&frame);
        let mut burst = Burst::new();
        assert_eq!(up.rx.receive(&mut burst), Ok(usize::from(delivered)));
        assert!(burst.pop().is_none_or(|received| content(&received) == frame));
        delivered
    })
}

fn with(settings: Settings) -> paravane_virtio::net::Config {
    small().with_settings(settings)
}

const EVERYONE: [[u8; 6]; 5] = [MAC, BROADCAST, GROUP, OTHER_GROUP, STRANGER];

#[test]
fn a_filter_keeps_out_what_it_says_5_1_6_5_1() {
    for ring in RINGS {
        let bench = Bench::new(COMMANDS | ring);
        let mut up = bench.start();
        assert!(up.control.info().filters);
        for (filter, expected) in [
            (RxFilter::default(), [true, true, false, false, false]),
            (RxFilter::UNICAST, [true, false, false, false, false]),
            (RxFilter::BROADCAST, [false, true, false, false, false]),
            (RxFilter::default() | RxFilter::ALL_MULTICAST, [true, true, true, true, false]),
            (RxFilter::ALL_UNICAST, [true, false, false, false, true]),
            (RxFilter::PROMISCUOUS, [true; 5]),
            (RxFilter::default(), [true, true, false, false, false]),
        ] {
            assert_eq!(up.control.set_filter(filter), Ok(()));
            assert_eq!(up.control.settings().filter, filter);
            assert_eq!(arrive(&bench, &mut up, EVERYONE), expected, "{filter:?}");
        }
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

#[test]
fn a_device_with_few_modes_lets_through_at_least_what_was_asked() {
    let bench = Bench::new(BASIC | bits::CTRL_VQ | bits::CTRL_RX);
    let mut up = bench.start();
    assert_eq!(arrive(&bench, &mut up, EVERYONE), [true, true, false, false, false]);
    assert_eq!(up.control.set_filter(RxFilter::ALL_UNICAST), Ok(()));
    assert_eq!(arrive(&bench, &mut up, EVERYONE), [true; 5]);
    assert_eq!(up.control.set_filter(RxFilter::UNICAST), Ok(()));
    assert_eq!(arrive(&bench, &mut up, EVERYONE), [true, true, false, false, false]);
    bench.assert_clean();
}

#[test]
fn tables_let_addresses_through_5_1_6_5_2() {
    for ring in RINGS {
        let bench = Bench::new(COMMANDS | ring);
        let mut up = bench.start();
        let multicast = MacTable::of(&[MacAddr(GROUP)]).unwrap();
        let unicast = MacTable::of(&[MacAddr(STRANGER), MacAddr::local(1)]).unwrap();
        assert_eq!(up.control.change(Change::Addresses { unicast, multicast }), Ok(()));
        assert_eq!(arrive(&bench, &mut up, EVERYONE), [true, true, true, false, true]);
        let none = MacTable::EMPTY;
        assert_eq!(up.control.change(Change::Addresses { unicast: none, multicast: none }), Ok(()));
        assert_eq!(arrive(&bench, &mut up, EVERYONE), [true, true, false, false, false]);
        bench.assert_clean();
    }
}

#[test]
fn our_address_is_what_we_say() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    assert_eq!(up.control.change(Change::Mac(MacAddr(STRANGER))), Ok(()));
    assert_eq!(up.control.info().mac, MacAddr(STRANGER));
    assert_eq!(arrive(&bench, &mut up, [MAC, STRANGER]), [false, true]);
    assert_eq!(up.control.change(Change::Mac(MacAddr(GROUP))), Err(ChangeError::OutOfRange));
    bench.assert_clean();
}

/// One that the device does not know, it would filter out.
#[test]
fn an_address_of_our_own_making_is_let_through() {
    let bench = Bench::new(COMMANDS & !bits::MAC);
    let mut up = bench.start();
    let MacAddr(ours) = up.control.info().mac;
    assert_eq!(arrive(&bench, &mut up, [ours, STRANGER]), [true, false]);
    assert_eq!(up.control.change(Change::Mac(MacAddr(STRANGER))), Ok(()));
    assert_eq!(up.control.set_filter(RxFilter::default()), Ok(()));
    assert_eq!(arrive(&bench, &mut up, [ours, STRANGER]), [false, true], "ours is the other one now");
    bench.assert_clean();
}

#[test]
fn vlans_are_joined_and_left_5_1_6_5_3() {
    for ring in RINGS {
        let bench = Bench::new(COMMANDS | ring);
        let vlans = VlanSet::EMPTY.with(7, true).with(4095, true);
        let mut up = bench.start_with(&with(Settings::default().with_vlans(vlans)), Interrupts::POLLING);
        let passes = |vid| bench.model().deliver(&tagged(MAC, vid));
        assert_eq!([7, 4095, 8].map(passes), [true, true, false]);
        assert_eq!(up.control.change(Change::Vlan { vid: 8, wanted: true }), Ok(()));
        assert_eq!(up.control.change(Change::Vlan { vid: 7, wanted: false }), Ok(()));
        assert_eq!([7, 4095, 8].map(passes), [false, true, true]);
        assert!(bench.model().deliver(&frame_to(MAC)), "no tag, no filter");
        let expected = VlanSet::EMPTY.with(8, true).with(4095, true);
        assert_eq!(up.control.settings().vlans, Some(expected));
        assert_eq!(up.control.change(Change::Vlan { vid: 4096, wanted: true }), Err(ChangeError::OutOfRange));
        bench.assert_clean();
    }
}

/// A device that filters VLANs keeps out all that it was not told of.
#[test]
fn without_vlans_to_tell_of_none_is_kept_out() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    assert_eq!(bench.model().accepted() & bits::CTRL_VLAN, 0);
    assert!(bench.model().deliver(&tagged(MAC, 7)));
    assert_eq!(up.control.change(Change::Vlan { vid: 7, wanted: true }), Err(ChangeError::NotOffered));
    bench.assert_clean();
}

#[test]
fn offloads_are_switched_while_it_runs_5_1_6_5_6() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    assert_eq!(up.control.change(Change::RxOffloads(RxOffloads::empty())), Ok(()));
    assert_eq!(bench.model().class.told.guest_offloads, Some(0));
    assert_eq!(up.control.change(Change::RxOffloads(RxOffloads::CHECKSUM)), Ok(()));
    assert_eq!(bench.model().class.told.guest_offloads, Some(bits::GUEST_CSUM));
    let large = Change::RxOffloads(RxOffloads::TCP4);
    assert_eq!(up.control.change(large), Err(ChangeError::NotOffered), "not agreed");
    bench.assert_clean();
}

#[test]
fn interrupts_are_put_together_5_1_6_5_8() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    let coalescing = |max_frames, max_micros| Coalescing { max_frames, max_micros };
    assert_eq!(up.control.change(Change::RxCoalescing(coalescing(8, 100))), Ok(()));
    assert_eq!(up.control.change(Change::TxCoalescing(coalescing(32, 50))), Ok(()));
    let told = bench.model().class.told.clone();
    assert_eq!((told.rx_coalescing, told.tx_coalescing), (Some((8, 100)), Some((32, 50))));
    bench.assert_clean();
}

/// Each queue by itself, until all are told; a start tells all, then each.
#[test]
fn interrupts_of_one_queue_are_put_together_by_themselves_5_1_6_5_8() {
    let bench = Bench::new(COMMANDS | bits::MQ | bits::VQ_NOTF_COAL);
    let mut up = bench.start_with(&small().with_rx_entries(32), Interrupts::POLLING);
    assert_eq!(up.control.pairs(), 2);
    let coalescing = |max_frames| Coalescing { max_frames, max_micros: 100 };
    for change in [
        Change::RxCoalescing(coalescing(1)),
        Change::RxPairCoalescing { pair: 1, coalescing: coalescing(2) },
        Change::TxPairCoalescing { pair: 0, coalescing: coalescing(3) },
        Change::TxPairCoalescing { pair: 1, coalescing: coalescing(4) },
    ] {
        assert_eq!(up.control.change(change), Ok(()), "{change:?}");
    }
    let told = bench.model().class.told.clone();
    let queues: Vec<_> = told.queue_coalescing.iter().map(|(queue, (frames, _))| (*queue, *frames)).collect();
    assert_eq!((told.rx_coalescing, queues), (Some((1, 100)), vec![(1, 3), (2, 2), (3, 4)]));
    let none = Change::RxPairCoalescing { pair: 2, coalescing: coalescing(1) };
    assert_eq!(up.control.change(none), Err(ChangeError::OutOfRange));

    let settings = up.control.settings();
    let device = up.stop().unwrap();
    let config = small().with_rx_entries(32).with_settings(settings);
    let mut up = bench.restart(device, &config, Interrupts::POLLING);
    assert_eq!(bench.model().class.told, told);
    // All of one direction, and none is as it was.
    assert_eq!(up.control.change(Change::TxCoalescing(coalescing(5))), Ok(()));
    let queues: Vec<_> = bench.model().class.told.queue_coalescing.keys().copied().collect();
    assert_eq!(queues, [2]);
    let settings = up.control.settings();
    assert_eq!(
        (settings.tx_pair_coalescing.iter().count(), settings.rx_pair_coalescing.iter().count()),
        (0, 1)
    );
    bench.assert_clean();
}

#[test]
fn a_queue_by_itself_is_told_of_where_that_was_agreed() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    let change = Change::RxPairCoalescing { pair: 0, coalescing: Coalescing::default() };
    assert_eq!(up.control.change(change), Err(ChangeError::NotOffered));
    bench.assert_clean();
}

#[test]
fn an_announcement_is_asked_for_once_and_acknowledged_5_1_6_5_4() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    bench.model().want_announcement();
    assert_eq!(up.control.poll(), Ok(Events::ANNOUNCE));
    assert_eq!(up.control.poll(), Ok(Events::empty()), "it was said");
    assert_eq!(up.control.change(Change::Announced), Ok(()));
    assert!(!bench.model().class.wants_announcement);
    bench.model().want_announcement();
    assert_eq!(up.control.poll(), Ok(Events::ANNOUNCE), "and again");
    bench.assert_clean();
}

/// Everything that was told, by the start or since, by a start with the settings as they are.
#[test]
fn a_restart_brings_everything_back() {
    for ring in RINGS {
        let bench = Bench::new(COMMANDS | ring);
        let vlans = VlanSet::EMPTY.with(7, true);
        let mut up = bench.start_with(&with(Settings::default().with_vlans(vlans)), Interrupts::POLLING);
        let multicast = MacTable::of(&[MacAddr(GROUP), MacAddr(OTHER_GROUP)]).unwrap();
        for change in [
            Change::Filter(RxFilter::UNICAST),
            Change::Mac(MacAddr::local(5)),
            Change::Addresses { unicast: MacTable::of(&[MacAddr(STRANGER)]).unwrap(), multicast },
            Change::Vlan { vid: 9, wanted: true },
            Change::RxOffloads(RxOffloads::empty()),
            Change::RxCoalescing(Coalescing { max_frames: 3, max_micros: 4 }),
            Change::TxCoalescing(Coalescing { max_frames: 5, max_micros: 6 }),
        ] {
            assert_eq!(up.control.change(change), Ok(()), "{change:?}");
        }
        let (settings, told) = (up.control.settings(), bench.model().class.told.clone());
        let device = up.stop().unwrap();
        let mut up = bench.restart(device, &with(settings), Interrupts::POLLING);
        assert_eq!(bench.model().class.told, told);
        assert_eq!(up.control.settings(), settings);
        assert_eq!(up.control.info().mac, MacAddr::local(5));
        assert_eq!(arrive(&bench, &mut up, EVERYONE), [false, false, true, true, true]);
        assert!(up.stop().is_ok());
        bench.assert_clean();
        bench.assert_at_rest();
    }
}

/// Begun, looked at, waited for by message, done; meanwhile no other.
#[test]
fn a_change_is_made_while_its_driver_does_other_things() {
    for ring in RINGS {
        let bench = Bench::new(COMMANDS | ring);
        let mut up = bench.start();
        bench.model().class.answers_commands = false;
        assert_eq!(up.control.submit_change(Change::Mac(MacAddr(STRANGER))), Ok(()));
        assert_eq!(up.control.poll_change(), Ok(false));
        assert_eq!(up.control.submit_change(Change::Announced), Err(ChangeError::Busy));
        assert_eq!(up.control.change(Change::Announced), Err(ChangeError::Busy));
        assert_eq!(up.control.set_filter(RxFilter::empty()), Err(RxFilterError::Busy));
        assert_eq!(up.control.settings().mac, None, "not before it is made");
        assert_eq!(up.control.arm(), Ok(Armed::Idle));
        assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
        assert_eq!(bench.messages(), []);
        bench.model().class.answers_commands = true;
        bench.model().tick();
        assert_eq!(bench.messages(), [MESSAGES[2].data()], "by the message of events");
        assert_eq!(up.control.poll_change(), Ok(true));
        assert_eq!(up.control.poll_change(), Ok(true), "none is under way");
        assert_eq!(up.control.settings().mac, Some(MacAddr(STRANGER)));
        bench.assert_clean();
    }
}

#[test]
fn arming_reports_an_answer_that_slipped_in() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    assert_eq!(up.control.submit_change(Change::Mac(MacAddr(STRANGER))), Ok(()));
    assert_eq!(up.control.arm(), Ok(Armed::Pending));
    assert_eq!(up.control.poll_change(), Ok(true));
    assert_eq!(up.control.arm(), Ok(Armed::Idle));
    bench.assert_clean();
}

#[test]
fn a_refusal_is_an_answer_and_breaks_nothing() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    let settings = up.control.settings();
    bench.model().class.refuses = Some((1, 1));
    assert_eq!(up.control.change(Change::Mac(MacAddr(STRANGER))), Err(ChangeError::Refused));
    assert_eq!(up.control.info().mac, MacAddr(MAC));
    bench.model().class.refuses = Some((0, 5));
    assert_eq!(up.control.set_filter(RxFilter::UNICAST), Err(RxFilterError::Refused));
    assert_eq!(up.control.settings(), settings);
    bench.model().class.refuses = None;
    assert_eq!(up.control.set_filter(RxFilter::UNICAST), Ok(()));
    assert_eq!(up.control.poll(), Ok(Events::empty()));
    bench.assert_clean();
}

/// Its command is the device's until that was reset.
#[test]
fn a_device_that_never_answers_is_waited_for_and_not_for_ever() {
    for ring in RINGS {
        let bench = Bench::new(COMMANDS | ring);
        let mut up = bench.start();
        bench.model().class.answers_commands = false;
        let memory = bench.platform.memory().bytes();
        let before = bench.platform.now();
        let silent = DeviceFault::NoAnswer { after_ms: 3000 };
        assert_eq!(up.control.change(Change::Mac(MacAddr(STRANGER))), Err(ChangeError::Fault(silent)));
        let waited = bench.platform.now().since(before);
        assert!(waited >= COMMAND_TIMEOUT && waited < COMMAND_TIMEOUT * 2, "{waited:?}");
        // No other goes where the first one lies.
        assert_eq!(up.control.change(Change::Announced), Err(ChangeError::Fault(silent)));
        assert_eq!(up.control.set_filter(RxFilter::empty()), Err(RxFilterError::Fault(silent)));
        assert_eq!((up.control.poll(), up.control.arm()), (Err(silent), Err(silent)));
        assert_eq!(bench.platform.memory().bytes(), memory);
        // Late: the device writes to what is still its own.
        bench.model().class.answers_commands = true;
        bench.model().tick();
        assert_eq!(up.control.poll_change(), Ok(true), "none is under way");
        assert_eq!(up.control.change(Change::Announced), Err(ChangeError::Fault(silent)));
        // Frames go on.
        assert_eq!(up.tx.transmit(&mut burst([bench.frame(&bytes(60, 1))])), Ok(1));
        let device = up.stop().unwrap();
        bench.assert_at_rest();
        let mut up = bench.restart(device, &small(), Interrupts::POLLING);
        assert_eq!(up.control.change(Change::Mac(MacAddr(STRANGER))), Ok(()));
        bench.assert_clean();
    }
}

#[test]
fn an_answer_is_awaited_by_polls_as_long_as_by_waiting() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    bench.model().class.answers_commands = false;
    assert_eq!(up.control.submit_change(Change::Mac(MacAddr(STRANGER))), Ok(()));
    bench.platform.clock().advance(COMMAND_TIMEOUT - Duration::from_millis(1));
    assert_eq!(up.control.poll_change(), Ok(false));
    bench.platform.clock().advance(Duration::from_millis(2));
    let silent = DeviceFault::NoAnswer { after_ms: 3000 };
    assert_eq!(up.control.poll_change(), Err(ChangeError::Fault(silent)));
    assert!(up.stop().is_ok());
    bench.assert_at_rest();
}

#[test]
fn an_ack_that_does_not_exist_is_a_lie() {
    let set = |field, value| Action::Set { field, value };
    for (action, expected) in [
        (set(Field::Kind, 2), DeviceFault::UnknownKind { what: "ack", value: 2 }),
        (set(Field::Kind, 0xff), DeviceFault::UnknownKind { what: "ack", value: 0xff }),
        // Said to be done, and nothing written over what lent memory holds here.
        (set(Field::Kind, 0x100), DeviceFault::UnknownKind { what: "ack", value: 0xdb }),
        (set(Field::Index, 3), DeviceFault::NotInFlight { index: 3 }),
        (set(Field::Index, 4), DeviceFault::IndexOutOfRange { index: 4, entries: 4 }),
        (set(Field::Length, 2), DeviceFault::LengthTooLong { len_bytes: 2, max_bytes: 1 }),
    ] {
        for ring in RINGS {
            let bench = Bench::new(COMMANDS | ring);
            let mut up = bench.start();
            bench.model().faults.add(Fault::nth(FaultPoint::RequestCompletion, 1, action).of(COMMAND_QUEUE));
            let changed = up.control.change(Change::Mac(MacAddr(STRANGER)));
            assert_eq!(changed, Err(ChangeError::Fault(expected)), "{action:?}");
            assert_eq!(up.control.poll(), Err(expected));
            bench.model().repent();
            let device = up.stop().unwrap();
            bench.assert_at_rest();
            let mut up = bench.restart(device, &small(), Interrupts::POLLING);
            assert_eq!(up.control.change(Change::Mac(MacAddr(STRANGER))), Ok(()), "a restart heals");
            bench.assert_clean();
        }
    }
}

/// How much it says that it wrote is not what counts.
#[test]
fn an_ack_of_no_bytes_is_one_all_the_same() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    let nothing = Action::Set { field: Field::Length, value: 0 };
    bench.model().faults.add(Fault::nth(FaultPoint::RequestCompletion, 1, nothing).of(COMMAND_QUEUE));
    assert_eq!(up.control.change(Change::Mac(MacAddr(STRANGER))), Ok(()));
}

#[test]
fn a_start_that_is_not_told_everything_gives_everything_back() {
    let vlans = Settings::default().with_vlans(VlanSet::EMPTY.with(1, true));
    for (offered, settings, refuses, what, error) in [
        (COMMANDS, Settings::default(), Some((0, 0)), "receive filter", ChangeError::Refused),
        (COMMANDS, vlans, Some((2, 0)), "VLAN", ChangeError::Refused),
        (COMMANDS & !bits::CTRL_VLAN, vlans, None, "VLAN", ChangeError::NotOffered),
        (
            BASIC,
            Settings::default().with_filter(RxFilter::PROMISCUOUS),
            None,
            "receive filter",
            ChangeError::NotOffered,
        ),
    ] {
        let bench = Bench::new(offered);
        bench.model().class.refuses = refuses;
        let failed = bench.device().start(&with(settings), bench.pool.clone(), Interrupts::POLLING);
        let (seen, device) = failed.unwrap_err().into_parts();
        assert_eq!(seen, StartError::Setting { what, error });
        assert!(seen.to_string().contains(what), "{seen}");
        bench.assert_at_rest();
        assert_eq!(bench.model().status(), 0);
        bench.model().class.refuses = None;
        assert!(bench.restart(device, &small(), Interrupts::POLLING).stop().is_ok());
        bench.assert_clean();
    }
}

#[test]
fn a_start_does_not_wait_for_a_mute_device_for_ever() {
    let bench = Bench::new(COMMANDS);
    bench.model().class.answers_commands = false;
    let before = bench.platform.now();
    let failed = bench.device().start(&small(), bench.pool.clone(), Interrupts::POLLING);
    let (error, mut device) = failed.unwrap_err().into_parts();
    let silent = ChangeError::Fault(DeviceFault::NoAnswer { after_ms: 3000 });
    assert_eq!(error, StartError::Setting { what: "receive filter", error: silent });
    assert!(bench.platform.now().since(before) < COMMAND_TIMEOUT * 2);
    bench.assert_at_rest();
    // And one that does not even reset keeps it all, until it does.
    bench.model().personality.reset = Reset::Never;
    let failed = device.start(&small(), bench.pool.clone(), Interrupts::POLLING);
    device = failed.unwrap_err().into_parts().1;
    assert!(device.keeps_memory());
    assert_eq!(bench.pool.free(), bench.pool.buffers() - 16);
    bench.model().personality.reset = Reset::AtOnce;
    bench.model().class.answers_commands = true;
    assert!(bench.restart(device, &small(), Interrupts::POLLING).stop().is_ok());
    bench.assert_at_rest();
    bench.assert_clean();
}

#[test]
fn a_stop_that_is_not_confirmed_keeps_the_command_too() {
    let bench = Bench::new(COMMANDS);
    let mut up = bench.start();
    bench.model().class.answers_commands = false;
    assert_eq!(up.control.submit_change(Change::Mac(MacAddr(STRANGER))), Ok(()));
    let memory = bench.platform.memory().bytes();
    bench.model().personality.reset = Reset::Never;
    let (error, mut up) = up.stop().unwrap_err().into_parts();
    assert!(matches!(error, StopError::NoReset(_)), "{error}");
    assert_eq!(bench.platform.memory().bytes(), memory);
    let reset = ChangeError::Fault(DeviceFault::NeedsReset);
    assert_eq!(up.control.poll_change(), Err(reset));
    assert_eq!(up.control.change(Change::Announced), Err(reset));
    bench.model().personality.reset = Reset::AtOnce;
    assert!(up.stop().is_ok());
    bench.assert_at_rest();
    bench.assert_clean();
}

/// Header, data and ack, each by itself, to every monitor that takes commands.
#[test]
fn commands_are_such_as_the_simple_ones_take() {
    let personality = Personality::cloud_hypervisor();
    let bench = Bench::of(personality, personality.ring_features | COMMANDS);
    let mut up = bench.start();
    assert_eq!(up.control.change(Change::Mac(MacAddr(STRANGER))), Ok(()));
    bench.assert_clean();
}

#[test]
fn a_queue_too_short_for_a_command_is_named() {
    let mut personality = Personality::qemu();
    personality.max_entries = 2;
    let bench = Bench::of(personality, COMMANDS);
    let failed = bench.device().start(&small(), bench.pool.clone(), Interrupts::POLLING);
    assert_eq!(failed.unwrap_err().into_error(), StartError::ControlQueueTooShort { entries: 2, needed: 3 });
    bench.assert_at_rest();
}
