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
    assert_eq!(Refused::ALL.len(), 3, "each has a test that fires it; see `choose_tests`");
}

#[test]
fn a_drained_server_keeps_what_it_has_until_it_is_over() {
    for algorithm in ALGORITHMS {
        let (mut pool, ids) = pool_of(algorithm, 2);
        let mut had = choose_many(&mut pool, 100);
        let left = had.iter().filter(|id| **id == ids[0]).count();
        assert!(left > 20, "{algorithm:?}: {left}");
        let until = after(10);
        pool.drain(ids[0], Some(until)).unwrap();
        pool.poll();
        let view = pool.server(ids[0], START).unwrap();
        assert_eq!(view.state, State::Draining { until: Some(until) });
        assert_eq!(view.connections as usize, left, "so many are left");
        for id in choose_many(&mut pool, 50) {
            assert_eq!(id, ids[1], "nothing new");
            had.push(id);
        }
        assert!(!pool.is_over(0, after(9)));
        assert!(pool.is_over(0, until));
        assert!(!pool.is_over(1, until));
        release_all(&mut pool, had);
        assert!(pool.server(ids[0], until).is_some(), "it is drained, and stays");
        assert_eq!((pool.connections(), pool.server(ids[0], until).unwrap().connections), (0, 0));
        pool.resume(ids[0], until).unwrap();
        assert!(!pool.is_over(0, after(1000)), "it is there again");
        assert_eq!(pool.server(ids[0], until).unwrap().state, State::Up);
    }
}

#[test]
fn a_removed_server_goes_with_its_last_connection() {
    for algorithm in ALGORITHMS {
        let (mut pool, ids) = pool_of(algorithm, 2);
        let (own, others): (Vec<_>, Vec<_>) =
            choose_many(&mut pool, 40).into_iter().partition(|id| *id == ids[0]);
        pool.remove(ids[0], None).unwrap();
        pool.poll();
        assert_eq!(pool.server(ids[0], START).unwrap().state, State::Leaving { until: None });
        assert!(!pool.is_over(0, after(100_000)), "nobody said when");
        assert_eq!(pool.find("web-0"), None);
        // Its name and address are free; it is another server all the same.
        let again = pool.add(server(0), Health::Up).unwrap();
        assert_ne!(again, ids[0]);
        assert_eq!(pool.find("web-0"), Some(again));
        let (last, before) = own.split_first().unwrap();
        before.iter().for_each(|id| pool.release(id.place()));
        assert_eq!(pool.at(0), Some(ids[0]));
        pool.release(last.place());
        assert!(pool.server(ids[0], START).is_none() && pool.at(0).is_none(), "{algorithm:?}");
        assert!(pool.is_over(0, START));
        assert_eq!(pool.connections() as usize, others.len());
        release_all(&mut pool, others);
        assert_eq!(pool.connections(), 0);
    }
}

#[test]
fn a_place_is_nobody_elses_while_connections_are_counted_there() {
    let (mut pool, ids) = pool_of(Algorithm::RoundRobin, 1);
    let old = choose_many(&mut pool, 3);
    pool.remove(ids[0], Some(after(5))).unwrap();
    assert!(!pool.is_over(0, after(4)));
    assert!(pool.is_over(0, after(5)), "whoever has them ends them");
    // There are two places, and that one is taken for as long as it takes.
    let other = pool.add(server(1), Health::Up).unwrap();
    assert_eq!(pool.at(0), Some(ids[0]));
    assert_eq!((other.place(), pool.add(server(2), Health::Up)), (1, Err(PoolError::Full { limit: 2 })));
    assert_eq!(pool.connections(), 3);
    release_all(&mut pool, old);
    let another = pool.add(server(2), Health::Up).unwrap();
    assert_eq!((another.place, another.generation), (ids[0].place, ids[0].generation + 1));
    assert!(!pool.is_over(0, after(5)), "that was the end of another");
    // Of what is not counted nothing is taken off.
    assert_eq!(choose_many(&mut pool, 2).len(), 2);
    [0, 0, 0, 2].into_iter().for_each(|place| pool.release(place));
    assert_eq!((pool.connections(), pool.server(other, START).unwrap().connections), (1, 1));
}

#[test]
fn who_is_out_of_the_pool_is_unknown() {
    let (mut pool, ids) = pool_of(Algorithm::RoundRobin, 2);
    let last = pool.choose(source(1), START).unwrap();
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
    pool.release(last.place());
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
        pool.poll();
        let states: Vec<_> = pool.servers(START).map(|view| view.state).collect();
        assert_eq!(states, [State::Down, State::Maintenance, State::Up, State::Up]);
        assert!(choose_many(&mut pool, 100).iter().all(|id| *id == ids[3]), "{algorithm:?}");
        pool.mark(ids[3], Health::Down, START).unwrap();
        assert!(!pool.is_ready());
        assert_eq!(pool.choose(source(1), START), Err(Refused::NoServer));
        // Each comes back by what took it out.
        pool.mark(ids[0], Health::Up, START).unwrap();
        pool.resume(ids[1], START).unwrap();
        pool.set_weight(ids[2], 1).unwrap();
        pool.poll();
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
        pool.poll();
        assert_eq!(pool.server(ids[0], START).unwrap().ramp_percent, 100, "no ramp at the start");
        pool.mark(ids[0], Health::Down, START).unwrap();
        pool.mark(ids[0], Health::Up, START).unwrap();
        let mut before = 0;
        for (seconds, due) in [(0, 0), (10, 90), (50, 333), (90, 473), (100, 500), (1000, 500)] {
            let now = after(seconds);
            let had: Vec<_> = (0..1000).map(|number| pool.choose(source(number), now).unwrap()).collect();
            let share = had.iter().filter(|id| **id == ids[0]).count();
            // By hash a part goes elsewhere, and elsewhere is here as well.
            let near = if matches!(algorithm, Algorithm::Maglev { .. }) { 90 } else { 3 };
            assert!(share.abs_diff(due) <= near, "{algorithm:?}, {seconds} s: {share}");
            assert!(share >= before, "{algorithm:?}, {seconds} s: {share} < {before}");
            before = share;
            assert_eq!(u64::from(pool.server(ids[0], now).unwrap().ramp_percent), seconds.min(100));
            release_all(&mut pool, had);
        }
    }
}

#[test]
fn the_only_server_takes_all_however_new_it_is() {
    for algorithm in ALGORITHMS {
        let settings = Settings { algorithm, slow_start: Duration::from_secs(100), ..Settings::new(9) };
        let mut pool = pool(settings);
        let id = pool.add(server(0), Health::Down).unwrap();
        pool.poll();
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
