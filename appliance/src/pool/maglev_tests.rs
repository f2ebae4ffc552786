use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::format;
use std::string::String;
use std::vec::Vec;

const KEY: [u64; 2] = [1, 2];
const SMALL: u32 = 2039;
const USUAL: u32 = 8191;
const LARGE: u32 = 65_537;

fn names(servers: u16) -> Vec<(String, u16, u16)> {
    (0..servers).map(|number| (format!("web-{number}"), number, 1)).collect()
}

fn table(places: u32, members: &[(String, u16, u16)]) -> Table {
    let servers = u16::try_from(members.len()).unwrap();
    let mut table = Table::new(places, servers, KEY).unwrap();
    table.build(members.iter().map(|(name, member, weight)| (name.as_str(), *member, *weight)));
    table
}

/// How many places each member has.
fn shares(table: &Table) -> HashMap<u16, usize> {
    let mut shares = HashMap::new();
    table.members().iter().for_each(|member| *shares.entry(*member).or_insert(0) += 1);
    shares
}

/// How much more than its share the largest one has, in parts of 10,000.
fn imbalance(places: u32, servers: u16) -> u64 {
    let shares = shares(&table(places, &names(servers)));
    assert_eq!(shares.len(), usize::from(servers));
    let most = *shares.values().max().unwrap() as u64;
    most * u64::from(servers) * 10_000 / u64::from(places) - 10_000
}

#[test]
fn shares_differ_by_no_more_than_a_place() {
    for (places, servers, at_most) in [
        (SMALL, 10, 50),
        (USUAL, 10, 11),
        (USUAL, 80, 100),
        (USUAL, 100, 110),
        (LARGE, 10, 2),
        (LARGE, 100, 20),
        (LARGE, 655, 100),
    ] {
        let found = imbalance(places, servers);
        std::println!("imbalance: {places} places, {servers} servers: {found} of 10,000");
        assert!(found <= at_most, "{places} places, {servers} servers: {found} of 10,000");
    }
}

/// Of the places that all but one of `servers` had, which part has another owner once that one is
/// gone, in parts of 10,000; on average of all of them.
fn moved(places: u32, servers: u16) -> usize {
    let all = names(servers);
    let before = table(places, &all);
    let mut changed = 0;
    for gone in 0..servers {
        let mut rest = all.clone();
        rest.remove(gone.into());
        let after = table(places, &rest);
        let pairs = before.members().iter().zip(after.members());
        changed += pairs.filter(|(was, is)| **was != gone && was != is).count();
    }
    changed * 10_000 / (places as usize * usize::from(servers - 1))
}

#[test]
fn who_goes_moves_hardly_anything_of_the_others() {
    for (places, servers, at_most) in [(SMALL, 10, 300), (USUAL, 10, 150), (USUAL, 100, 500), (LARGE, 10, 50)]
    {
        let found = moved(places, servers);
        std::println!("moved needlessly: {places} places, one of {servers}: {found} of 10,000");
        assert!(found <= at_most, "{places} places, one of {servers}: {found} of 10,000");
    }
}

#[test]
fn the_order_in_which_servers_came_is_nothing() {
    let mut members = names(100);
    for (number, (_, _, weight)) in members.iter_mut().enumerate() {
        *weight = 1 + u16::try_from(number % 7).unwrap();
    }
    let one = table(USUAL, &members);
    members.reverse();
    members.rotate_left(37);
    assert_eq!(one.members(), table(USUAL, &members).members());
    // Nor is where one sits: who has the place is the same server.
    for (number, (_, member, _)) in (0..).zip(&mut members) {
        *member = number;
    }
    let other = table(USUAL, &members);
    let name = |member: u16| &members[usize::from(member)].0;
    let seated = names(100);
    assert!(one.members().iter().zip(other.members()).all(|(a, b)| seated[usize::from(*a)].0 == *name(*b)));
}

#[test]
fn another_key_is_another_table() {
    let one = table(USUAL, &names(10));
    let mut other = Table::new(USUAL, 1000, [1, 3]).unwrap();
    let members = names(10);
    other.build(members.iter().map(|(name, member, weight)| (name.as_str(), *member, *weight)));
    let same = one.members().iter().zip(other.members()).filter(|(a, b)| a == b).count();
    assert!(same < 1200, "a tenth by chance, not {same} of 8191");
    let source = "192.0.2.1".parse().unwrap();
    assert_ne!(one.source_hash(source), other.source_hash(source));
}

/// A balancer of another version, or on another machine, has the same table: this is how it is. The
/// numbers are those of another implementation, which was written from the text alone.
#[test]
fn the_table_stays_the_same_for_ever() {
    let mut members = names(5);
    members[3].2 = 4;
    let table = table(13, &members);
    assert_eq!(table.members(), [0, 3, 3, 3, 2, 1, 3, 3, 3, 4, 1, 0, 4]);
    let source = |text: &str| table.source_hash(text.parse().unwrap());
    assert_eq!(source("192.0.2.1"), 15_253_546_113_201_539_726);
    assert_eq!(source("2001:db8::1"), 7_711_197_083_516_476_920);
}

#[test]
fn who_weighs_more_has_more() {
    let mut members = names(4);
    for ((_, _, weight), is) in members.iter_mut().zip([1, 2, 5, 256]) {
        *weight = is;
    }
    let shares = shares(&table(LARGE, &members));
    for (_, member, weight) in &members {
        let due = f64::from(LARGE) * f64::from(*weight) / 264.0;
        let has = shares[member] as f64;
        assert!((has - due).abs() <= 2.0, "weight {weight}: {has} of {due}");
    }
}

#[test]
fn a_table_has_a_prime_of_places_and_more_than_servers() {
    for places in [0, 1, 4, 8190, 8192, 65_536, MAX_PLACES + 7, u32::MAX, 7, 3] {
        assert_eq!(Table::new(places, 7, KEY).err(), Some(PoolError::Places { places }));
    }
    for places in [11, SMALL, USUAL, LARGE, 1_048_573] {
        assert!(Table::new(places, 7, KEY).is_ok(), "{places}");
    }
}

#[test]
fn without_servers_nobody_is_found() {
    let mut table = table(SMALL, &names(3));
    assert_eq!(table.tries(5).count(), 8);
    table.build(core::iter::empty());
    assert_eq!(table.tries(5).count(), 0);
}

#[test]
fn tries_look_elsewhere_each_time() {
    let table = table(USUAL, &names(100));
    let mut first = [0_u32; 100];
    let (mut again, mut below) = (0, 0);
    for source in 0..100_000_u64 {
        let tries: Vec<_> = table.tries(mix(source)).collect();
        first[usize::from(tries[0].member)] += 1;
        again += u32::from(tries[0].member == tries[1].member);
        below += u32::from(tries[0].threshold < 1 << 15);
    }
    assert!(first.iter().all(|count| (850..1150).contains(count)), "a hundredth each: {first:?}");
    assert!((850..1150).contains(&again), "the same one again by chance alone: {again}");
    assert!((49_000..51_000).contains(&below), "half of the thresholds in the lower half: {below}");
}

proptest! {
    #[test]
    fn every_place_has_an_owner_by_weight(
        weights in proptest::collection::vec(1_u16..=256, 1..40),
        places in proptest::sample::select(&[41_u32, 257, SMALL][..]),
    ) {
        let members: Vec<_> =
            weights.iter().zip(0..).map(|(weight, number)| (format!("{number}"), number, *weight)).collect();
        let shares = shares(&table(places, &members));
        let all: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
        prop_assert!(!shares.contains_key(&NONE));
        for (_, member, weight) in &members {
            let due = f64::from(places) * f64::from(*weight) / f64::from(all);
            let has = shares.get(member).copied().unwrap_or(0) as f64;
            prop_assert!((has - due).abs() <= 2.0, "weight {}: {} of {}", weight, has, due);
        }
    }
}
