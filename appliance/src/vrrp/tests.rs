use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZero;
use core::time::Duration;

use etherparse::{NetSlice, SlicedPacket};
use paravane_hal::time::Instant;
use paravane_mock_hal::MockPlatform;
use paravane_net::{FrameLayout, FramePool, MacAddr};
use proptest::prelude::*;

use super::*;

const ID: NonZero<u8> = NonZero::new(2).unwrap();
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18));

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// What keepalived sends: 3 addresses of priority 150, from 10.0.0.3.
fn of_keepalived(checksum: [u8; 2]) -> Vec<u8> {
    let mut bytes = vec![0x31, 2, 150, 3, 0, 100, checksum[0], checksum[1]];
    bytes.extend([185, 203, 112, 1, 10, 0, 0, 1, 10, 0, 8, 1]);
    bytes
}

#[test]
fn both_ways_to_make_a_checksum_are_understood() {
    for (checksum, way) in [([0x08, 0x2d], Checksum::PseudoHeader), ([0xf2, 0xc6], Checksum::Message)] {
        let read = Advertisement::read(&of_keepalived(checksum), v4(3), GROUP, 255).unwrap();
        assert_eq!((read.id, read.priority, read.interval_centis, read.checksum), (ID, 150, 100, way));
        let others = [Ipv4Addr::new(10, 0, 8, 1).into(), Ipv4Addr::new(185, 203, 112, 1).into()];
        assert_eq!(*read.addresses, [others[1], v4(1), others[0]]);
        assert!(read.addresses.is_same_as(&[others[0], v4(1), others[1]]));
        assert!(!read.addresses.is_same_as(&[others[0], v4(2), others[1]]));
    }
}

#[test]
fn what_is_none_is_refused() {
    let good = of_keepalived([0x08, 0x2d]);
    let read = |bytes: &[u8], ttl| Advertisement::read(bytes, v4(3), GROUP, ttl).map(|read| read.priority);
    assert_eq!(read(&good, 254), Err(Malformed::Hops));
    assert_eq!(Advertisement::read(&good, v4(4), GROUP, 255), Err(Malformed::Checksum), "from another");
    for (at, byte, why) in [
        (0, 0x21, Malformed::Version),
        (0, 0x32, Malformed::Version),
        (1, 0, Malformed::Id),
        (2, 151, Malformed::Checksum),
        (3, 4, Malformed::Length),
        (19, 0, Malformed::Checksum),
    ] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        assert_eq!(read(&bytes, 255), Err(why), "byte {at}");
    }
    for len in 0..good.len() {
        assert_eq!(read(&good[..len], 255), Err(Malformed::Length), "{len} bytes");
    }
    let mut settings = Settings::new(ID, vec![v4(1)]);
    let mut silent = Instance::new(settings.clone()).unwrap();
    let mut said = silent.start(Instant::default());
    assert_eq!(said.send.take(), None);
    settings.priority = 0;
    assert_eq!(Instance::new(settings.clone()).unwrap_err(), SettingsError::Priority);
    settings.priority = 1;
    for millis in [0, 9, 40_960] {
        settings.interval = Duration::from_millis(millis);
        assert_eq!(
            Instance::new(settings.clone()).unwrap_err(),
            SettingsError::Interval { interval: settings.interval }
        );
    }
    settings.interval = Duration::from_millis(40_950);
    assert!(Instance::new(settings.clone()).is_ok());
    for addresses in [vec![], vec![v4(1), Ipv6Addr::LOCALHOST.into()]] {
        settings.addresses = addresses;
        assert_eq!(Instance::new(settings.clone()).unwrap_err(), SettingsError::Addresses);
    }
    settings.addresses = (1..=20).map(v4).collect();
    assert!(Instance::new(settings.clone()).is_ok());
    settings.addresses.push(v4(21));
    assert_eq!(Instance::new(settings).unwrap_err(), SettingsError::TooMany { count: 21 });
}

proptest! {
    #[test]
    fn what_is_sent_is_what_is_read(
        (id, priority, interval) in (1..=255_u8, any::<u8>(), 1..=4095_u16),
        (is_v6, pseudo) in (any::<bool>(), any::<bool>()),
        last in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let address = |last: &u8| -> IpAddr {
            if is_v6 { Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, (*last).into()).into() } else { v4(*last) }
        };
        let checksum = if pseudo && !is_v6 { Checksum::PseudoHeader } else { Checksum::Message };
        let said = Advertisement {
            id: NonZero::new(id).unwrap(),
            priority,
            interval_centis: interval,
            addresses: last.iter().map(address).collect(),
            checksum,
        };
        let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(2)).unwrap();
        let (mac, source) = (MacAddr::local(7), address(&99));
        let frame = said.frame(&pool, mac, source).unwrap();
        let mut bytes = vec![0; frame.total_bytes()];
        frame.copy_out(&mut bytes).unwrap();
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        let (ends, ttl): ([IpAddr; 2], u8) = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                prop_assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum());
                ([header.source_addr().into(), header.destination_addr().into()], header.ttl())
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                ([header.source_addr().into(), header.destination_addr().into()], header.hop_limit())
            }
            other => panic!("{other:?}"),
        };
        let payload = packet.net.as_ref().unwrap().ip_payload_ref().unwrap().payload;
        prop_assert_eq!(ends[0], source);
        prop_assert_eq!(&bytes[6..12], &mac.0);
        prop_assert_eq!(Advertisement::read(payload, ends[0], ends[1], ttl), Ok(said));
    }

    #[test]
    fn noise_is_no_advertisement(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        // All that is read has a checksum, of 16 bits: noise has it hardly ever.
        if let Ok(read) = Advertisement::read(&bytes, v4(3), GROUP, 255) {
            prop_assert!(read.addresses.len() <= 20);
        }
    }
}

/// Machines on a link, which are asked each 10 ms.
struct Link {
    machines: Vec<(IpAddr, Instance, bool)>,
    now: Instant,
    /// Whether what one says reaches another one.
    reaches: Box<dyn FnMut(usize, usize) -> bool>,
}

impl Link {
    fn new(priorities: &[u8], preempts: bool) -> Self {
        let one = |(nth, priority): (u8, &u8)| {
            let settings = Settings { priority: *priority, preempts, ..Settings::new(ID, vec![v4(1)]) };
            (v4(10 + nth), Instance::new(settings).unwrap(), false)
        };
        let machines = (0..).zip(priorities).map(one).collect();
        Self { machines, now: Instant::default(), reaches: Box::new(|_, _| true) }
    }

    fn start(&mut self, nth: usize) {
        let output = self.machines[nth].1.start(self.now);
        self.machines[nth].2 = true;
        self.tell(nth, output);
    }

    fn tell(&mut self, from: usize, output: Output) {
        let Some(said) = output.send else { return };
        let source = self.machines[from].0;
        for to in 0..self.machines.len() {
            if to != from && self.machines[to].2 && (self.reaches)(from, to) {
                let (own, now) = (self.machines[to].0, self.now);
                let answer = self.machines[to].1.heard(&said, source, own, now);
                self.tell(to, answer);
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.now = self.now.saturating_add(Duration::from_millis(10));
            for nth in 0..self.machines.len() {
                if self.machines[nth].2 {
                    let output = self.machines[nth].1.poll(self.now);
                    self.tell(nth, output);
                }
            }
        }
    }

    fn active(&self) -> Vec<usize> {
        let all = self.machines.iter().enumerate();
        all.filter(|(_, (_, one, runs))| *runs && one.role() == Role::Active).map(|(nth, _)| nth).collect()
    }
}

#[test]
fn the_next_takes_over_within_the_time_that_is_promised() {
    let mut link = Link::new(&[200, 150, 100], false);
    (0..3).for_each(|nth| link.start(nth));
    // Three intervals, and for 200 of 256 less than a quarter of one.
    link.pass(3200);
    assert_eq!(link.active(), []);
    link.pass(10);
    assert_eq!(link.active(), [0]);
    link.machines[0].2 = false;
    // It spoke just now: three intervals, and 106 of 256.
    link.pass(3400);
    assert_eq!(link.active(), []);
    link.pass(10);
    assert_eq!(link.active(), [1]);
    // It comes back, and takes nothing from one that works.
    link.machines[0].1.stop().send.unwrap();
    link.start(0);
    link.pass(10_000);
    assert_eq!(link.active(), [1]);
    // Who leaves says so: the next one takes over as soon as the others are known to be behind it.
    let output = link.machines[1].1.stop();
    assert_eq!(output.became, Some(Role::Initialize));
    link.tell(1, output);
    link.pass(220);
    assert_eq!(link.active(), [0]);
}

#[test]
fn the_one_that_preempts_takes_over_from_one_that_works() {
    let mut link = Link::new(&[200, 100], true);
    link.start(1);
    link.pass(4000);
    assert_eq!(link.active(), [1]);
    link.start(0);
    link.pass(3300);
    assert_eq!(link.active(), [0]);
    // It may do less now.
    link.machines[0].1.set_priority(50).unwrap();
    assert!(link.machines[0].1.set_priority(0).is_err());
    link.pass(4700);
    assert_eq!(link.active(), [1]);
}

#[test]
fn the_owner_is_active_at_once_and_of_two_equals_the_higher_address() {
    let mut link = Link::new(&[255, 100], false);
    link.start(0);
    assert_eq!(link.active(), [0]);
    let mut link = Link::new(&[100, 100], false);
    link.reaches = Box::new(|_, _| false);
    (0..2).for_each(|nth| link.start(nth));
    link.pass(4000);
    link.reaches = Box::new(|_, _| true);
    link.pass(1000);
    assert_eq!(link.active(), [1]);
}

#[test]
fn two_that_did_not_hear_each_other_settle_it_once_they_do() {
    let mut link = Link::new(&[150, 100], false);
    link.reaches = Box::new(|_, _| false);
    (0..2).for_each(|nth| link.start(nth));
    link.pass(5000);
    assert_eq!(link.active(), [0, 1]);
    link.reaches = Box::new(|_, _| true);
    link.pass(1000);
    assert_eq!(link.active(), [0]);
}

#[test]
fn others_and_those_that_take_no_part_are_not_heard() {
    let mut one = Instance::new(Settings::new(ID, vec![v4(1)])).unwrap();
    let said = Advertisement::read(&of_keepalived([0x08, 0x2d]), v4(3), GROUP, 255).unwrap();
    let now = Instant::default();
    assert_eq!(one.heard(&said, v4(3), v4(9), now), Output::default());
    assert_eq!((one.role(), one.next()), (Role::Initialize, None));
    assert_eq!(one.start(now).became, Some(Role::Backup));
    assert_eq!(one.start(now), Output::default(), "it has begun");
    let due = one.next();
    let others = Advertisement { id: NonZero::new(3).unwrap(), ..said.clone() };
    let later = now.saturating_add(Duration::from_secs(1));
    assert_eq!(one.heard(&others, v4(3), v4(9), later), Output::default());
    assert_eq!(one.heard(&said, v4(9), v4(9), later), Output::default(), "its own");
    assert_eq!(one.next(), due);
    // It speaks slower than we would: three times its interval and more.
    let slow = Advertisement { interval_centis: 200, ..said };
    let _ = one.heard(&slow, v4(3), v4(9), later);
    assert_eq!(one.next().unwrap().since(later), Duration::from_millis(6000 + 1210));
    // And makes its checksums otherwise: so do we, once it is our turn.
    let output = one.poll(one.next().unwrap());
    assert_eq!(output.became, Some(Role::Active));
    assert_eq!(output.send.unwrap().checksum, Checksum::PseudoHeader);
}

proptest! {
    #[test]
    fn one_is_active_however_much_is_lost_meanwhile(
        priorities in prop::collection::vec(1..=254_u8, 2..5),
        lost in prop::collection::vec(any::<bool>(), 200),
        ends in prop::collection::vec(0..5_usize, 3),
        preempts in any::<bool>(),
    ) {
        let mut link = Link::new(&priorities, preempts);
        let mut at = 0;
        link.reaches = Box::new(move |_, _| {
            at += 1;
            !lost[at % lost.len()]
        });
        for nth in 0..priorities.len() {
            link.start(nth);
            link.pass(700);
        }
        for end in ends {
            link.pass(5000);
            if let Some(one) = link.machines.get_mut(end) {
                one.2 = !one.2;
            }
        }
        // All is well again, and somebody is there.
        link.reaches = Box::new(|_, _| true);
        link.machines[0].2 = true;
        let now = link.now;
        let _ = link.machines[0].1.start(now);
        link.pass(8000);
        let active = link.active();
        prop_assert_eq!(active.len(), 1, "{:?}", active);
        if preempts {
            let best = link.machines.iter().filter(|one| one.2).map(|one| one.1.settings().priority).max();
            prop_assert_eq!(Some(link.machines[active[0]].1.settings().priority), best);
        }
    }
}
