//! What an operator does with a pool, and what becomes of connections.

mod accounts;

use super::testing::*;
use super::*;
use core::time::Duration;
use std::string::ToString;
use std::vec;

#[test]
fn servers_are_told_apart() {
    let mut pool = pool(Settings::new(2));
    pool.add(server(1), Health::Up).unwrap();
    let alike = Server { address: server(2).address, ..server(1) };
    assert_eq!(pool.add(alike, Health::Up), Err(PoolError::NameTaken));
    let there = Server { name: "other".into(), ..server(1) };
    assert_eq!(pool.add(there, Health::Up), Err(PoolError::AddressTaken { address: server(1).address }));
    pool.add(server(2), Health::Up).unwrap();
    assert_eq!(pool.add(server(3), Health::Up), Err(PoolError::Full { limit: 2 }));
    assert_eq!(pool.servers(START).count(), 2);
}

#[test]
fn what_is_no_server_is_refused() {
    let mut pool = pool(Settings::new(9));
    for (len_bytes, is_good) in [(0, false), (1, true), (64, true), (65, false)] {
        let name = "n".repeat(len_bytes);
        let address = std::net::SocketAddr::from(([10, 0, 0, 1], u16::try_from(len_bytes).unwrap()));
        let result = pool.add(Server::new(name, address), Health::Up).map(|_| ());
        assert_eq!(result, if is_good { Ok(()) } else { Err(PoolError::Name { len_bytes }) });
    }
    let heavy = Server { weight: 257, ..server(1) };
    assert_eq!(pool.add(heavy, Health::Up), Err(PoolError::Weight { weight: 257 }));
    let one = pool.add(Server { weight: 256, ..server(1) }, Health::Up).unwrap();
    assert_eq!(pool.set_weight(one, 257), Err(PoolError::Weight { weight: 257 }));
    assert_eq!(pool.server(one, START).unwrap().server.weight, 256, "nothing happened");
}

#[test]
fn every_error_says_what_would_be_right() {
    let address = "10.0.0.1:80".parse().unwrap();
    for (error, said) in [
        (PoolError::Places { places: 8192 }, "8191"),
        (PoolError::Full { limit: 16 }, "16"),
        (PoolError::Name { len_bytes: 65 }, "1 to 64"),
        (PoolError::NameTaken, "name"),
        (PoolError::AddressTaken { address }, "10.0.0.1:80"),
        (PoolError::Weight { weight: 300 }, "256"),
        (PoolError::Unknown, "not in the pool"),
    ] {
        assert!(error.to_string().contains(said), "{error}");
    }
    let names: Vec<_> = Refused::ALL.iter().map(|refused| refused.name()).collect();
    let mut different = names.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(names.len(), different.len());
    assert_eq!(Refused::ALL.len(), 7, "each has a test that fires it; see `choose_tests`");
}

#[test]
fn a_drained_server_keeps_what_it_has_until_it_is_over() {
    for algorithm in ALGORITHMS {
        let (mut pool, ids) = pool_of(algorithm, 2);
        let mut leases = choose_many(&mut pool, 100);
        let left = leases.iter().filter(|lease| lease.server() == ids[0]).count();
        assert!(left > 20, "{algorithm:?}: {left}");
        let until = after(10);
        pool.drain(ids[0], Some(until)).unwrap();
        pool.poll(START);
        let view = pool.server(ids[0], START).unwrap();
        assert_eq!(view.state, State::Draining { until: Some(until) });
        assert_eq!(view.connections as usize, left, "so many are left");
        for lease in choose_many(&mut pool, 50) {
            assert_eq!(lease.server(), ids[1], "nothing new");
            leases.push(lease);
        }
        assert!(!pool.is_over(ids[0], after(9)));
        assert!(pool.is_over(ids[0], until));
        assert!(!pool.is_over(ids[1], until));
        pool.poll(until);
        assert!(pool.server(ids[0], until).is_some(), "it is drained, and stays");
        leases.into_iter().for_each(|lease| pool.release(lease));
        assert_eq!((pool.connections(), pool.server(ids[0], until).unwrap().connections), (0, 0));
        pool.resume(ids[0], until).unwrap();
        assert!(!pool.is_over(ids[0], after(1000)), "it is there again");
        assert_eq!(pool.server(ids[0], until).unwrap().state, State::Up);
    }
}

#[test]
fn a_removed_server_goes_with_its_last_connection() {
    for algorithm in ALGORITHMS {
        let (mut pool, ids) = pool_of(algorithm, 2);
        let (own, others): (Vec<_>, Vec<_>) =
            choose_many(&mut pool, 40).into_iter().partition(|lease| lease.server() == ids[0]);
        pool.remove(ids[0], None).unwrap();
        pool.poll(START);
        assert_eq!(pool.server(ids[0], START).unwrap().state, State::Leaving { until: None });
        assert!(!pool.is_over(ids[0], after(100_000)), "nobody said when");
        assert_eq!(pool.find("web-0"), None);
        // Its name and address are free; it is another server all the same.
        let again = pool.add(server(0), Health::Up).unwrap();
        assert_ne!(again, ids[0]);
        assert_eq!(pool.find("web-0"), Some(again));
        let mut own = own.into_iter();
        let last = own.next().unwrap();
        own.for_each(|lease| pool.release(lease));
        assert!(pool.server(ids[0], START).is_some());
        pool.release(last);
        assert!(pool.server(ids[0], START).is_none(), "{algorithm:?}");
        assert!(pool.is_over(ids[0], START));
        assert_eq!(pool.connections() as usize, others.len());
        others.into_iter().for_each(|lease| pool.release(lease));
    }
}

#[test]
fn at_its_end_a_removed_server_goes_with_what_is_left() {
    let (mut pool, ids) = pool_of(Algorithm::RoundRobin, 3);
    let old = choose_many(&mut pool, 30);
    pool.remove(ids[0], Some(after(5))).unwrap();
    pool.remove(ids[1], Some(after(7))).unwrap();
    pool.poll(after(4));
    assert_eq!(pool.connections(), 30);
    pool.poll(after(5));
    assert_eq!(pool.connections(), 20);
    assert!(pool.server(ids[0], START).is_none() && pool.is_over(ids[0], START));
    // Another one has the place: nothing of the old ones' counts there.
    let another = pool.add(server(7), Health::Up).unwrap();
    assert_eq!((another.place, another.generation), (ids[0].place, ids[0].generation + 1));
    pool.poll(after(6));
    let new = choose_many(&mut pool, 2);
    assert_eq!(pool.server(another, START).unwrap().connections, 1);
    assert_eq!(pool.server(ids[1], START).unwrap().connections, 10, "its end is a later one");
    pool.poll(after(7));
    assert_eq!(pool.connections(), 12);
    old.into_iter().for_each(|lease| pool.release(lease));
    assert_eq!((pool.connections(), pool.server(another, START).unwrap().connections), (2, 1));
    new.into_iter().for_each(|lease| pool.release(lease));
    assert_eq!((pool.connections(), pool.server(another, START).unwrap().connections), (0, 0));
}

#[test]
fn who_is_out_of_the_pool_is_unknown() {
    let (mut pool, ids) = pool_of(Algorithm::RoundRobin, 2);
    let lease = pool.choose(source(1), START).unwrap();
    pool.remove(ids[0], None).unwrap();
    pool.remove(ids[1], None).unwrap();
    for id in ids {
        assert_eq!(pool.drain(id, None), Err(PoolError::Unknown));
        assert_eq!(pool.maintain(id), Err(PoolError::Unknown));
        assert_eq!(pool.resume(id, START), Err(PoolError::Unknown));
        assert_eq!(pool.remove(id, None), Err(PoolError::Unknown));
        assert_eq!(pool.set_weight(id, 2), Err(PoolError::Unknown));
        assert_eq!(pool.mark(id, Health::Down, START), Err(PoolError::Unknown));
    }
    pool.release(lease);
    assert_eq!(pool.servers(START).count(), 0);
}

#[test]
fn nothing_new_goes_to_who_is_down_or_maintained_or_weighs_nothing() {
    for algorithm in ALGORITHMS {
        let (mut pool, ids) = pool_of(algorithm, 4);
        assert_eq!(pool.mark(ids[0], Health::Down, START), Ok(true));
        assert_eq!(pool.mark(ids[0], Health::Down, START), Ok(false));
        pool.maintain(ids[1]).unwrap();
        pool.set_weight(ids[2], 0).unwrap();
        pool.poll(START);
        let states: Vec<_> = pool.servers(START).map(|view| view.state).collect();
        assert_eq!(states, [State::Down, State::Maintenance, State::Up, State::Up]);
        assert!(choose_many(&mut pool, 100).iter().all(|lease| lease.server() == ids[3]), "{algorithm:?}");
        pool.mark(ids[3], Health::Down, START).unwrap();
        assert!(!pool.is_ready());
        assert_eq!(pool.choose(source(1), START), Err(Refused::NoServer));
        // Each comes back by what took it out.
        pool.mark(ids[0], Health::Up, START).unwrap();
        pool.resume(ids[1], START).unwrap();
        pool.set_weight(ids[2], 1).unwrap();
        pool.poll(START);
        let found = servers_of(&choose_many(&mut pool, 100));
        assert_eq!(found, vec![ids[0], ids[1], ids[2]]);
    }
}

#[test]
fn a_server_that_came_up_has_its_share_by_and_by() {
    for algorithm in ALGORITHMS {
        let settings = Settings { algorithm, slow_start: Duration::from_secs(100), ..Settings::new(9) };
        let mut pool = pool(settings);
        let ids: Vec<_> = (0..2).map(|number| pool.add(server(number), Health::Up).unwrap()).collect();
        pool.poll(START);
        assert_eq!(pool.server(ids[0], START).unwrap().ramp_percent, 100, "no ramp at the start");
        pool.mark(ids[0], Health::Down, START).unwrap();
        pool.mark(ids[0], Health::Up, START).unwrap();
        let mut before = 0;
        for (seconds, due) in [(0, 0), (10, 90), (50, 333), (90, 473), (100, 500), (1000, 500)] {
            let now = after(seconds);
            let leases: Vec<_> = (0..1000).map(|number| pool.choose(source(number), now).unwrap()).collect();
            let share = leases.iter().filter(|lease| lease.server() == ids[0]).count();
            // By hash a part goes elsewhere, and elsewhere is here as well.
            let near = if matches!(algorithm, Algorithm::Maglev { .. }) { 90 } else { 3 };
            assert!(share.abs_diff(due) <= near, "{algorithm:?}, {seconds} s: {share}");
            assert!(share >= before, "{algorithm:?}, {seconds} s: {share} < {before}");
            before = share;
            assert_eq!(u64::from(pool.server(ids[0], now).unwrap().ramp_percent), seconds.min(100));
            leases.into_iter().for_each(|lease| pool.release(lease));
        }
    }
}

#[test]
fn the_only_server_takes_all_however_new_it_is() {
    for algorithm in ALGORITHMS {
        let settings = Settings { algorithm, slow_start: Duration::from_secs(100), ..Settings::new(9) };
        let mut pool = pool(settings);
        let id = pool.add(server(0), Health::Down).unwrap();
        pool.poll(START);
        pool.mark(id, Health::Up, START).unwrap();
        assert_eq!(choose_many(&mut pool, 100).len(), 100);
    }
}

#[test]
fn a_place_that_comes_back_has_another_generation() {
    let mut pool = pool(Settings::new(1));
    let mut seen = std::collections::HashSet::new();
    for number in 0..1000 {
        let id = pool.add(server(number), Health::Up).unwrap();
        assert!(seen.insert(id));
        pool.remove(id, None).unwrap();
    }
}
