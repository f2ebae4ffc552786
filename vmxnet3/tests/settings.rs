//! What the device is told: by its start, by changes while it runs, and again by a restart.

#![allow(
    clippy::unwrap_used,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

#[path = "support/hand.rs"]
mod hand;
mod support;

use hand::Hand;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::fault::{Action, Fault, FaultPlan, FaultPoint};
use paravane_mock_hal::model::vmxnet3::Personality;
use paravane_net::{
    Change, ChangeError, Coalescing, Control as _, HashReport, MacAddr, MacTable, Rss, RssKinds, RxFilter,
    RxHash, RxHashKind, RxOffloads, Settings, VlanSet,
};
use paravane_vmxnet3::{Config, StartError};
use support::{MAC, Machine, both, exchange, numbered, receive_all, small};

/// As faults number registers: the BAR in bits 16 and 17.
const BAR1: u32 = 1 << 16;
const MACL: u32 = 0x28;
const MACH: u32 = 0x30;
const UPDATE_RSSIDT: u32 = 0xcafe_0006;
const UPDATE_FEATURE: u32 = 0xcafe_0009;
const KINDS: RssKinds = RssKinds::IP4.union(RssKinds::TCP4).union(RssKinds::IP6).union(RssKinds::TCP6);

const fn group(low: u8) -> MacAddr {
    MacAddr([1, 0, 0x5e, 0, 0, low])
}

fn groups(groups: &[MacAddr]) -> Change {
    Change::Addresses { unicast: MacTable::EMPTY, multicast: MacTable::of(groups).unwrap() }
}

fn to(address: MacAddr) -> Vec<u8> {
    [&address.0[..], &numbered(1)[6..]].concat()
}

fn tagged(vid: u16) -> Vec<u8> {
    let mut tagged = numbered(1);
    tagged.splice(12..12, [&[0x81, 0x00][..], &vid.to_be_bytes()].concat());
    tagged
}

/// Bytes of `DriverShared`.
fn shared<const N: usize>(machine: &Machine, at: u64) -> [u8; N] {
    let shared = machine.model().shared_addr().unwrap();
    machine.platform.memory().device_get(shared + at).unwrap()
}

#[test]
fn each_change_takes_effect_at_once() {
    both(|machine| {
        let mut up = machine.start_small();
        let hears = |frame: &[u8]| machine.model().deliver(frame);
        let mut tell = |change| assert_eq!(up.control.change(change), Ok(()), "{change:?}");

        assert!(!hears(&to(group(1))) && !hears(&to(group(2))));
        tell(groups(&[group(1), group(3)]));
        assert!(hears(&to(group(1))) && !hears(&to(group(2))));
        tell(groups(&[group(2)]));
        assert!(!hears(&to(group(1))) && hears(&to(group(2))));
        tell(Change::Filter(RxFilter::default() | RxFilter::ALL_MULTICAST));
        assert!(hears(&to(group(1))));
        tell(Change::Filter(RxFilter::default()));
        assert!(!hears(&to(group(1))) && hears(&to(group(2))), "the table is there again");
        tell(groups(&[]));
        assert!(!hears(&to(group(2))));

        let other = MacAddr::local(7);
        assert!(!hears(&to(other)));
        tell(Change::Mac(other));
        assert!(hears(&to(other)) && !hears(&to(MacAddr(MAC))));
        tell(Change::Mac(MacAddr(MAC)));
        // It has no table of stations, so it listens to all of them.
        let unicast = MacTable::of(&[other]).unwrap();
        tell(Change::Addresses { unicast, multicast: MacTable::EMPTY });
        assert!(hears(&to(other)));
        tell(groups(&[]));
        assert!(!hears(&to(other)));

        assert!(hears(&tagged(7)), "all, as long as nobody names one");
        tell(Change::Vlan { vid: 9, wanted: true });
        assert!(hears(&tagged(9)) && !hears(&tagged(7)) && hears(&numbered(1)));
        tell(Change::Filter(RxFilter::PROMISCUOUS));
        assert!(hears(&tagged(7)), "who wants all wants those of every VLAN");
        tell(Change::Filter(RxFilter::default()));
        assert!(!hears(&tagged(7)));
        tell(Change::Addresses { unicast, multicast: MacTable::EMPTY });
        assert!(hears(&to(other)) && hears(&tagged(9)) && !hears(&tagged(7)), "nobody asked for other VLANs");
        tell(groups(&[]));
        tell(Change::Vlan { vid: 9, wanted: false });
        assert!(!hears(&tagged(9)) && hears(&numbered(1)));
        drop(receive_all(&mut up));
        up.stop().unwrap();
        machine.assert_clean();
    });
}

#[test]
fn checksums_are_looked_at_as_long_as_that_is_wanted() {
    let machine = Machine::new(Personality::esxi());
    let mut up = machine.start_small();
    for (offloads, bits) in [(RxOffloads::empty(), 0), (RxOffloads::CHECKSUM, 1)] {
        machine.model().commands.clear();
        assert_eq!(up.control.change(Change::RxOffloads(offloads)), Ok(()));
        assert_eq!(machine.model().commands, [UPDATE_FEATURE]);
        assert_eq!(u64::from_le_bytes(shared(&machine, 0x18)), bits);
    }
    assert_eq!(up.control.change(Change::RxOffloads(RxOffloads::TCP4)), Err(ChangeError::NotOffered));
    let device = up.stop().unwrap();
    let without = small().with_rx_checksum(false);
    let mut up = device.start(&without, machine.pool.clone(), Interrupts::POLLING).unwrap();
    let wanted = Change::RxOffloads(RxOffloads::CHECKSUM);
    assert_eq!(up.control.change(wanted), Err(ChangeError::NotOffered), "not agreed at the start");
    assert_eq!(u64::from_le_bytes(shared(&machine, 0x18)), 0);
    up.stop().unwrap();
    machine.assert_clean();
}

#[test]
fn what_the_device_has_not_is_refused_and_nothing_changes() {
    let machine = Machine::new(Personality::esxi());
    let mut up = machine.start_small();
    let before = up.control.settings();
    machine.model().commands.clear();
    let not_offered = [
        Change::RxPairCoalescing { pair: 0, coalescing: Coalescing::default() },
        Change::Rss(Rss::new(KINDS, &[0]).unwrap()),
        Change::HashReport(HashReport::new(KINDS)),
        Change::Announced,
    ];
    for change in not_offered {
        assert_eq!(up.control.change(change), Err(ChangeError::NotOffered), "{change:?}");
        let settings = before.with(change);
        if settings != before {
            let config = small().with_settings(settings);
            let failed = Machine::new(Personality::esxi());
            let error = failed.claim().start(&config, failed.pool.clone(), Interrupts::POLLING).unwrap_err();
            let error = error.into_error();
            assert_eq!(error, StartError::Setting { what: change.name(), error: ChangeError::NotOffered });
            assert!(error.to_string().contains("leave it out of the settings"));
        }
    }
    for change in [
        Change::Mac(group(1)),
        Change::Vlan { vid: 4096, wanted: true },
        groups(&[group(1), MacAddr::local(1)]),
    ] {
        assert_eq!(up.control.change(change), Err(ChangeError::OutOfRange), "{change:?}");
    }
    assert_eq!((up.control.settings(), machine.model().commands.len()), (before, 0));
    machine.model().gone = true;
    let promiscuous = Change::Filter(RxFilter::PROMISCUOUS);
    assert_eq!(up.control.change(promiscuous), Err(ChangeError::Fault(DeviceFault::Gone)));
    assert_eq!(up.control.settings(), before);
    machine.model().gone = false;
    assert_eq!(up.control.change(promiscuous), Err(ChangeError::Fault(DeviceFault::Gone)), "and it stays so");
    up.stop().unwrap();
    machine.assert_clean();
}

/// Another MTU, other rings, other queues: what was told before is told again.
#[test]
fn a_restart_brings_settings_and_counters_along() {
    both(|machine| {
        let mut up = machine.start_small();
        let vlan = Change::Vlan { vid: 9, wanted: true };
        let filter = Change::Filter(RxFilter::UNICAST);
        for change in [Change::Mac(MacAddr::local(7)), groups(&[group(2)]), vlan, filter] {
            assert_eq!(up.control.change(change), Ok(()));
        }
        let settings = up.control.settings();
        assert_eq!(up.control.info().mac, MacAddr::local(7));
        let mut frames = 0;
        for (pairs, rx_entries, ip_mtu_bytes) in [(1, 64, 1500), (4, 256, 9000), (2, 64, 60)] {
            let device = up.stop().unwrap();
            let config = Config::default()
                .with_pairs(pairs)
                .with_rx_entries(rx_entries)
                .with_tx_entries(rx_entries)
                .with_ip_mtu_bytes(ip_mtu_bytes)
                .with_settings(settings);
            up = device.start(&config, machine.pool.clone(), Interrupts::POLLING).unwrap();
            assert_eq!(up.control.settings(), settings);
            assert_eq!(
                (up.control.info().ip_mtu_bytes, up.control.info().mac),
                (ip_mtu_bytes, MacAddr::local(7))
            );
            let heard = [to(MacAddr::local(7)), to(group(2))];
            let unheard = [to(MacAddr(MAC)), to(group(1)), to(MacAddr([0xff; 6])), tagged(8)];
            assert!(heard.iter().all(|frame| machine.model().deliver(frame)));
            assert!(!unheard.iter().any(|frame| machine.model().deliver(frame)));
            assert_eq!(receive_all(&mut up).len(), 2);
            frames += 2;
            let counted = up.control.read_device_stats().unwrap().unwrap();
            assert_eq!(counted.rx_frames, frames, "over all starts");
        }
        up.stop().unwrap();
        machine.assert_clean();
    });
}

#[test]
fn a_start_tells_how_to_spread() {
    let key = core::array::from_fn(|at| at as u8 + 1);
    let rss = Rss::new(RssKinds::TCP4 | RssKinds::IP6, &[0, 3, 1, 2]).unwrap().with_key(key);
    let machine = Machine::new(Personality::esxi());
    let config = paravane_net::Config::default().with_settings(Settings::default().with_rss(rss));
    let up = machine.start(&config.into(), Interrupts::POLLING);
    assert_eq!(up.control.pairs(), 4, "as many as the table names");
    assert_eq!(u64::from_le_bytes(shared(&machine, 0x18)), 0b11, "RXCSUM and RSS");
    let conf: [u32; 2] = [0, 4].map(|at| u32::from_le_bytes(shared(&machine, 0x288 + at)));
    assert_eq!(conf, [1, 176]);
    let at = u64::from_le_bytes(shared(&machine, 0x290));
    let told: [u8; 176] = machine.platform.memory().device_get(at).unwrap();
    assert_eq!(told[..8], [0b0110, 0, 1, 0, 40, 0, 4, 0]);
    assert_eq!((&told[8..48], &told[48..53]), (&key[..], &[0, 3, 1, 2, 0][..]));
    up.stop().unwrap();
    machine.assert_clean();
}

#[test]
fn the_table_changes_while_it_runs_and_nothing_else_of_the_spread() {
    let rss = Rss::new(KINDS, &[0, 1, 2, 3]).unwrap();
    let machine = Machine::new(Personality::esxi());
    let config = small().with_pairs(4).with_rx_entries(128);
    let mut up = machine.start(&config.with_settings(Settings::default().with_rss(rss)), Interrupts::POLLING);
    let at = u64::from_le_bytes(shared(&machine, 0x290));
    machine.model().commands.clear();
    let other = Rss::new(KINDS, &[3, 3, 0, 2]).unwrap();
    assert_eq!(up.control.change(Change::Rss(other)), Ok(()));
    assert_eq!(machine.model().commands, [UPDATE_RSSIDT]);
    assert_eq!(machine.platform.memory().device_get(at + 0x30), Ok([3, 3, 0, 2, 0]));
    assert_eq!(up.control.settings().rss, Some(other));
    for (change, error) in [
        (Rss::new(KINDS, &[0, 1, 2, 4]).unwrap(), ChangeError::OutOfRange),
        (Rss::new(KINDS | RssKinds::UDP4, &[0, 1, 2, 3]).unwrap(), ChangeError::NotOffered),
        (Rss::new(KINDS, &[0, 1]).unwrap(), ChangeError::NotOffered),
        (Rss::new(RssKinds::IP4, &[0, 1, 2, 3]).unwrap(), ChangeError::NotOffered),
        (other.with_key([9; 40]), ChangeError::NotOffered),
    ] {
        assert_eq!(up.control.change(Change::Rss(change)), Err(error), "{change:?}");
    }
    assert_eq!(up.control.settings().rss, Some(other));
    assert_eq!(up.control.change(Change::HashReport(HashReport::new(KINDS))), Ok(()));
    up.stop().unwrap();
}

#[test]
fn the_hash_of_a_frame_comes_along() {
    let rss = Rss::new(KINDS, &[0, 1]).unwrap();
    let machine = Machine::new(Personality::esxi());
    let config = small().with_pairs(2).with_rx_entries(64);
    let mut up = machine.start(&config.with_settings(Settings::default().with_rss(rss)), Interrupts::POLLING);
    let mut hand = Hand::of(&machine, 1);
    for (kind, wanted) in
        [(1, RxHashKind::Ip4), (2, RxHashKind::Tcp4), (3, RxHashKind::Ip6), (4, RxHashKind::Tcp6)]
    {
        hand.deliver(&numbered(kind), [kind << 26, 0xdead_0000 + kind, 0, 0]);
        let frames = receive_all(&mut up);
        let hash = RxHash { value: 0xdead_0000 + kind, kind: wanted };
        assert_eq!(frames.iter().map(|frame| frame.rx_hash()).collect::<Vec<_>>(), [Some(hash)]);
    }
    up.stop().unwrap();
}

#[test]
fn vlans_and_groups_of_a_start_hold_from_its_first_frame() {
    both(|machine| {
        let vlans = VlanSet::EMPTY.with(5, true);
        let settings = Settings::default().with_vlans(vlans).with(groups(&[group(9)]));
        let mut up = machine.start(&small().with_settings(settings), Interrupts::POLLING);
        assert!(machine.model().deliver(&tagged(5)) && machine.model().deliver(&to(group(9))));
        assert!(!machine.model().deliver(&tagged(6)) && !machine.model().deliver(&to(group(8))));
        assert_eq!(receive_all(&mut up).len(), 2);
        exchange(&machine, &mut up, 1);
        up.stop().unwrap();
        machine.assert_clean();
    });
}

/// A host may forbid another address, and says so by keeping the old one.
#[test]
fn an_address_that_the_device_does_not_take_is_refused() {
    let keeps_its_own = |machine: &Machine| {
        let lost = |offset| Fault::always(FaultPoint::RegisterWrite, Action::Drop).of(BAR1 | offset);
        machine.model().faults = FaultPlan::new([lost(MACL), lost(MACH)]);
    };
    let machine = Machine::new(Personality::esxi());
    let mut up = machine.start_small();
    keeps_its_own(&machine);
    let before = up.control.settings();
    let other = MacAddr::local(7);
    assert_eq!(up.control.change(Change::Mac(other)), Err(ChangeError::Refused));
    assert_eq!((up.control.settings(), up.control.info().mac), (before, MacAddr(MAC)));
    assert_eq!(machine.model().mac(), MAC);
    machine.model().be_honest();
    assert_eq!(up.control.change(Change::Mac(other)), Ok(()));
    assert_eq!(up.control.info().mac, other);
    let device = up.stop().unwrap();

    keeps_its_own(&machine);
    let config = small().with_settings(Settings::default().with(Change::Mac(MacAddr::local(8))));
    let failed = device.start(&config, machine.pool.clone(), Interrupts::POLLING).unwrap_err();
    assert_eq!(*failed.error(), StartError::Setting { what: "address", error: ChangeError::Refused });
    machine.model().be_honest();
    let (_, device) = failed.into_parts();
    device.start(&config, machine.pool.clone(), Interrupts::POLLING).unwrap().stop().unwrap();
}

#[test]
fn a_device_that_is_gone_has_no_address_to_change() {
    let machine = Machine::new(Personality::esxi());
    let mut up = machine.start_small();
    machine.model().gone = true;
    let gone = Err(ChangeError::Fault(DeviceFault::Gone));
    assert_eq!(up.control.change(Change::Mac(MacAddr::local(7))), gone);
    assert_eq!(up.control.info().mac, MacAddr(MAC));
    assert_eq!(up.control.poll(), Err(DeviceFault::Gone));
}
