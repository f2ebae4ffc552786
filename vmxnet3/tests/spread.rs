//! A spread by more than TCP and IP, as far as device and revision have it.

#![allow(clippy::unwrap_used, clippy::result_large_err, reason = "helpers of tests")]

mod support;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_net::{ChangeError, Control as _, Rss, RssKinds, Settings};
use paravane_vmxnet3::{Config, StartError};
use support::{Machine, exchange, small};

const SET_RSS_FIELDS: u32 = 0xcafe_0010;
const GET_RSS_FIELDS: u32 = 0xf00d_000c;
const TCP: RssKinds = RssKinds::TCP4.union(RssKinds::TCP6);
const UDP: RssKinds = RssKinds::UDP4.union(RssKinds::UDP6);
const ESP: RssKinds = RssKinds::ESP4.union(RssKinds::ESP6);

fn by(kinds: RssKinds) -> Config {
    let settings = Settings::default().with_rss(Rss::new(kinds, &[0, 1]).unwrap());
    small().with_pairs(2).with_rx_entries(64).with_max_revision(7).with_settings(settings)
}

#[test]
fn each_kind_is_had_from_its_revision_on() {
    for revision in 1..=7 {
        for (kinds, since) in [(TCP, 1), (TCP | UDP, 4), (UDP | RssKinds::ESP4, 4), (RssKinds::ESP6, 6)] {
            let machine = Machine::new(Personality::esxi().up_to(revision));
            let started = machine.claim().start(&by(kinds), machine.pool.clone(), Interrupts::POLLING);
            if revision < since {
                let error =
                    StartError::Setting { what: "receive-side scaling", error: ChangeError::OutOfRange };
                assert_eq!(*started.unwrap_err().error(), error);
                continue;
            }
            let mut up = started.unwrap();
            assert_eq!(up.control.spread_by(), kinds, "revision {revision}");
            let asked = machine.model().commands.contains(&SET_RSS_FIELDS);
            assert_eq!(asked, kinds != TCP, "what activation tells is not told again");
            exchange(&machine, &mut up, 1);
            up.stop().unwrap();
            machine.assert_clean();
        }
    }
}

/// By the model's own hash: datagrams of one pair of stations, from port to port.
#[test]
fn datagrams_are_spread_by_their_ports_and_again_after_a_recovery() {
    let datagram = |port: u16| {
        let mut frame = support::MAC.to_vec();
        frame.extend([2, 0, 0, 0, 0, 1, 8, 0]);
        frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(port.to_be_bytes());
        frame.extend([0, 53, 0, 26, 0, 0]);
        frame.resize(60, 0);
        frame
    };
    for revision in [4, 6, 7] {
        let machine = Machine::new(Personality::esxi().up_to(revision));
        let mut up = machine.start(&by(UDP), Interrupts::POLLING);
        for _ in 0..2 {
            let queues: Vec<_> = (0..16).map(|port| machine.model().queue_of(&datagram(port))).collect();
            assert!(queues.contains(&0) && queues.contains(&1), "{queues:?}");
            up = up.recover(Interrupts::POLLING).unwrap();
        }
        up.stop().unwrap();
    }
}

#[test]
fn what_the_device_does_not_grant_is_said_and_asked_for_again() {
    // Bits 2 and 3 are UDP's; bit 0 of the capabilities as well.
    let without_fields = Personality { rss_fields: !0b1100, ..Personality::esxi() };
    let without_capability = Personality { capabilities: !1 & 0xffff, ..Personality::esxi() };
    let without_hardware = Personality { pass_through: !1 & 0xffff, ..Personality::esxi() };
    for personality in [without_fields, without_capability, without_hardware] {
        let machine = Machine::new(personality);
        let config = by(TCP | UDP | ESP);
        let up = machine.start(&config, Interrupts::POLLING);
        assert_eq!(up.control.spread_by(), TCP | ESP);
        assert_eq!(up.control.settings(), config.settings, "what was asked for stays");
        machine.model().commands.clear();
        machine.model().move_to(Personality::esxi());
        let mut up = up;
        up.control.poll().unwrap();
        for command in [SET_RSS_FIELDS, GET_RSS_FIELDS] {
            assert!(machine.model().commands.contains(&command), "{command:#x}");
        }
        assert_eq!(up.control.spread_by(), TCP | UDP | ESP, "the other host has it");
        up.stop().unwrap();
        machine.assert_clean();
    }
}

#[test]
fn nothing_is_asked_for_without_a_spread() {
    let machine = Machine::new(Personality::esxi());
    let up = machine.start(&small().with_max_revision(7), Interrupts::POLLING);
    assert_eq!(up.control.spread_by(), RssKinds::empty());
    for command in [SET_RSS_FIELDS, GET_RSS_FIELDS] {
        assert!(!machine.model().commands.contains(&command), "{command:#x}");
    }
    up.stop().unwrap();
    machine.assert_clean();
}
