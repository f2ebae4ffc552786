use super::*;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

const INTERFACE: InterfaceId = InterfaceId(0);
const KEY: [u64; 2] = [7; 2];
const MS: Duration = Duration::from_millis(1);

fn limits(interface: [u32; 2], network: [u32; 2]) -> Limits {
    let rate = |[per_second, burst]: [u32; 2]| Rate { per_second, burst };
    Limits { interface: rate(interface), network: rate(network), networks: 64 }
}

/// How many of `asks` are answered, one each `step` from `start` on.
fn answered(
    limiter: &mut Limiter,
    address: impl Fn(u32) -> IpAddr,
    start: Instant,
    step: Duration,
    asks: u32,
) -> usize {
    let mut now = start;
    let mut ask = |n| {
        let answer = limiter.take(INTERFACE, address(n), now);
        now = now.saturating_add(step);
        answer.is_ok()
    };
    (0..asks).filter(|n| ask(*n)).count()
}

fn v4(network: u32, host: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0b00_0000 + (network << 8) + host).into()
}

#[test]
fn a_burst_and_then_a_rate() {
    let mut limiter = Limiter::new(limits([100, 50], [1000, 1000]), KEY, 1);
    let start = Instant::from_nanos(5);
    assert_eq!(answered(&mut limiter, |_| v4(1, 1), start, Duration::ZERO, 1000), 50);
    // Ten seconds, asked each millisecond: what comes back in them.
    assert_eq!(answered(&mut limiter, |_| v4(1, 1), start.saturating_add(MS), MS, 10_000), 1000);
    let rested = start.saturating_add(Duration::from_secs(20));
    assert_eq!(
        answered(&mut limiter, |_| v4(1, 1), rested, Duration::ZERO, 1000),
        50,
        "no more than a whole one"
    );
}

#[test]
fn a_network_is_held_to_its_own_rate_whichever_host_asks() {
    let mut limiter = Limiter::new(limits([10_000, 10_000], [100, 50]), KEY, 1);
    assert_eq!(answered(&mut limiter, |n| v4(1, n % 256), Instant::default(), Duration::ZERO, 300), 50);
    assert_eq!(limiter.take(INTERFACE, v4(1, 3), Instant::default()), Err(Empty::Network));
    assert_eq!(limiter.take(INTERFACE, v4(2, 3), Instant::default()), Ok(()), "another one");
    let v6 = |low: u32| Ipv6Addr::from_bits(0x2001_0db8_0001_0002_u128 << 64 | u128::from(low)).into();
    assert_eq!(answered(&mut limiter, v6, Instant::default(), Duration::ZERO, 300), 50);
    let other = Ipv6Addr::from_bits(0x2001_0db8_0001_0003_u128 << 64).into();
    assert_eq!(limiter.take(INTERFACE, other, Instant::default()), Ok(()));
}

#[test]
fn who_is_refused_costs_the_others_nothing() {
    let mut limiter = Limiter::new(limits([1000, 100], [100, 50]), KEY, 2);
    assert_eq!(answered(&mut limiter, |_| v4(1, 1), Instant::default(), Duration::ZERO, 100_000), 50);
    // Of the interface's 100 there are 50 left for the others.
    assert_eq!(answered(&mut limiter, |n| v4(2 + n, 1), Instant::default(), Duration::ZERO, 100), 50);
    assert_eq!(limiter.take(INTERFACE, v4(500, 1), Instant::default()), Err(Empty::Interface));
    assert_eq!(limiter.take(InterfaceId(1), v4(500, 1), Instant::default()), Ok(()), "its own bucket");
    assert_eq!(limiter.take(InterfaceId(2), v4(501, 1), Instant::default()), Err(Empty::Interface), "none");
}

#[test]
fn an_interface_that_refuses_costs_the_network_nothing() {
    let mut limiter = Limiter::new(limits([1, 1], [1, 2]), KEY, 2);
    assert_eq!(limiter.take(INTERFACE, v4(1, 1), Instant::default()), Ok(()));
    assert_eq!(limiter.take(INTERFACE, v4(1, 1), Instant::default()), Err(Empty::Interface));
    assert_eq!(limiter.take(InterfaceId(1), v4(1, 1), Instant::default()), Ok(()), "the second of two");
}

#[test]
fn a_rate_or_a_burst_of_zero_is_none() {
    for rate in [[0, 50], [100, 0]] {
        let mut limiter = Limiter::new(limits(rate, [100, 50]), KEY, 1);
        assert_eq!(answered(&mut limiter, |_| v4(1, 1), Instant::default(), MS, 10_000), 0);
    }
    let mut limiter = Limiter::new(Limits { networks: 0, ..limits([5, 5], [5, 5]) }, KEY, 1);
    assert_eq!(limiter.take(INTERFACE, v4(1, 1), Instant::default()), Ok(()));
}

#[test]
fn a_clock_that_stands_at_its_end_is_no_fault() {
    let mut limiter = Limiter::new(limits([100, 50], [100, 50]), KEY, 1);
    let end = Instant::from_nanos(u64::MAX);
    // Nothing is taken that cannot be counted, or everything is: but it ends.
    answered(&mut limiter, |_| v4(1, 1), end, MS, 100);
    assert_eq!(limiter.take(INTERFACE, v4(2, 1), Instant::default()), Err(Empty::Interface));
}

#[test]
fn a_hundred_thousand_sources_share_what_the_interface_has() {
    let mut limiter = Limiter::new(Limits::ERRORS, KEY, 1);
    let rows = limiter.networks.rows.len();
    // Ten seconds of a flood from 100,000 networks, each of which asks once.
    let step = Duration::from_micros(100);
    let heard = answered(&mut limiter, |n| v4(n, 1), Instant::default(), step, 100_000);
    assert!((10_400..=10_500).contains(&heard), "1000 a second and a burst of 500, not {heard}");
    assert_eq!(limiter.networks.rows.len(), rows);
    // One network more, of which nothing is known, is heard as soon as the flood is over.
    let after = Instant::default().saturating_add(Duration::from_secs(11));
    assert_eq!(answered(&mut limiter, |_| v4(1, 1), after, Duration::ZERO, 1000), 50);
}

#[test]
fn who_has_no_place_is_held_to_the_interface_s_rate() {
    let few = Limits { networks: 4, ..limits([1_000_000, 1000], [1, 2]) };
    let mut limiter = Limiter::new(few, KEY, 1);
    let start = Instant::default();
    for network in 0..4 {
        assert_eq!(limiter.take(INTERFACE, v4(network, 1), start), Ok(()));
    }
    assert_eq!(answered(&mut limiter, |_| v4(9, 1), start, Duration::ZERO, 500), 500, "nobody counts them");
    assert_eq!(answered(&mut limiter, |_| v4(0, 1), start, Duration::ZERO, 500), 1, "the second of two");
    // A bucket that is full again says nothing, and its place is another's.
    let later = start.saturating_add(Duration::from_secs(1));
    assert_eq!(answered(&mut limiter, |_| v4(9, 1), later, Duration::ZERO, 500), 2);
}

/// A token and something to hold.
const BOTH: Ask = Ask { token: true, hold: true };

fn take(networks: &mut Networks, network: u64, now: Instant) -> Result<bool, Short> {
    let admitted = networks.admit(network, BOTH, now)?;
    Ok(networks.take(&admitted))
}

#[test]
fn who_holds_something_keeps_its_place() {
    let mut networks = Networks::new(Rate { per_second: 1, burst: 1 }.into(), 2, 4, KEY);
    let start = Instant::from_nanos(5);
    let after = |seconds| start.saturating_add(Duration::from_secs(seconds));
    for network in 0..4 {
        assert_eq!(take(&mut networks, network, start), Ok(true));
    }
    assert_eq!(take(&mut networks, 1, start), Err(Short::Tokens));
    assert_eq!(take(&mut networks, 1, after(9)), Ok(true));
    assert_eq!(take(&mut networks, 1, after(20)), Err(Short::Room));
    assert_eq!(take(&mut networks, 9, after(20)), Ok(false), "there is no place");
    assert_eq!(networks.held(), 5);
    networks.give_back(1);
    assert_eq!(take(&mut networks, 9, after(20)), Ok(false), "one is left of two");
    networks.give_back(1);
    assert_eq!(take(&mut networks, 9, after(20)), Ok(true));
    // What it holds no more says something for as long as its bucket is not full.
    networks.give_back(9);
    assert_eq!(take(&mut networks, 10, after(20)), Ok(false));
    assert_eq!(take(&mut networks, 10, after(21)), Ok(true));
    [9, 9, 77].into_iter().for_each(|network| networks.give_back(network));
    assert_eq!(networks.held(), 4, "who has nothing gives nothing back");
}

#[test]
fn each_network_asks_for_what_it_wants() {
    let mut networks = Networks::new(Rate { per_second: 1, burst: 1 }.into(), 1, 64, KEY);
    let now = Instant::default();
    for _ in 0..10 {
        assert!(networks.admit(1, BOTH, now).is_ok(), "nothing is taken");
    }
    assert_eq!(take(&mut networks, 1, now), Ok(true));
    let [token, hold] = [[true, false], [false, true]].map(|[token, hold]| Ask { token, hold });
    assert_eq!(networks.admit(1, token, now).err(), Some(Short::Tokens));
    assert_eq!(networks.admit(1, hold, now).err(), Some(Short::Room));
    networks.give_back(1);
    let admitted = networks.admit(1, hold, now).unwrap();
    assert!(networks.take(&admitted));
    let later = now.saturating_add(Duration::from_secs(1));
    let admitted = networks.admit(1, token, later).unwrap();
    assert!(networks.take(&admitted));
    assert_eq!(networks.held(), 1);
}

#[test]
fn networks_of_both_versions_are_told_apart() {
    let v4: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(network_of(v4), network_of("192.0.2.255".parse().unwrap()));
    assert_ne!(network_of(v4), network_of("192.0.3.1".parse().unwrap()));
    let alike: IpAddr = Ipv6Addr::from_bits(0xc0_0002_u128 << 64).into();
    assert_ne!(network_of(v4), network_of(alike));
}
