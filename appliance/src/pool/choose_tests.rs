use super::super::testing::*;
use super::super::{Health, Server, Settings};
use super::*;
use crate::limit::Rate;
use std::vec::Vec;

/// Which servers so many new connections go to, by their place.
fn places(pool: &mut Pool, connections: u32) -> Vec<u16> {
    choose_many(pool, connections).iter().map(|id| id.place).collect()
}

fn weigh(pool: &mut Pool, ids: &[ServerId], weights: &[u16]) {
    for (id, weight) in ids.iter().zip(weights) {
        pool.set_weight(*id, *weight).unwrap();
    }
    pool.poll();
}

#[test]
fn turns_come_evenly_and_as_often_as_the_weight_says() {
    let (mut pool, ids) = pool_of(Algorithm::RoundRobin, 3);
    assert_eq!(places(&mut pool, 7), [0, 1, 2, 0, 1, 2, 0]);
    let (mut pool, _) = pool_of(Algorithm::RoundRobin, 3);
    weigh(&mut pool, &ids, &[5, 1, 1]);
    assert_eq!(places(&mut pool, 14), [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn turns_go_on_where_one_was_away() {
    let (mut pool, ids) = pool_of(Algorithm::RoundRobin, 3);
    assert_eq!(places(&mut pool, 4), [0, 1, 2, 0]);
    pool.mark(ids[1], Health::Down, START).unwrap();
    let mut found = places(&mut pool, 100);
    found.sort_unstable();
    assert!(found.iter().filter(|place| **place == 0).count().abs_diff(50) <= 1, "{found:?}");
    pool.mark(ids[1], Health::Up, START).unwrap();
    let back = places(&mut pool, 30);
    let count = back.iter().filter(|place| **place == 1).count();
    assert!((9..=11).contains(&count), "its share, and not what it missed: {back:?}");
}

#[test]
fn the_fewest_connections_for_the_weight() {
    let (mut pool, ids) = pool_of(Algorithm::LeastConnections, 3);
    assert_eq!(places(&mut pool, 9), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    // Two end at the second one: it gets the next two, and then they are equal again.
    pool.release(1);
    pool.release(1);
    assert_eq!(places(&mut pool, 2), [1, 1]);
    let mut next = places(&mut pool, 3);
    next.sort_unstable();
    assert_eq!(next, [0, 1, 2]);

    let (mut pool, _) = pool_of(Algorithm::LeastConnections, 3);
    weigh(&mut pool, &ids, &[1, 3, 6]);
    let found = places(&mut pool, 1000);
    for (place, due) in [(0, 100), (1, 300), (2, 600)] {
        let has = found.iter().filter(|found| **found == place).count();
        assert!(has.abs_diff(due) <= 1, "{place}: {has} of {due}");
    }
}

#[test]
fn the_same_source_goes_to_the_same_server_on_each_balancer() {
    let (mut here, ids) = pool_of(MAGLEV, 10);
    let mut there = pool(Settings { algorithm: MAGLEV, ..Settings::new(64) });
    for number in (0..10).rev() {
        there.add(server(number), Health::Up).unwrap();
    }
    there.poll();
    let mut has = [0; 10];
    for number in 0..10_000 {
        let one = here.choose(source(number), START).unwrap();
        let two = there.adopt(source(number)).unwrap();
        let name = |pool: &Pool, id| pool.server(id, START).unwrap().server.name.clone();
        assert_eq!(name(&here, one), name(&there, two));
        assert_eq!(here.lookup(source(number)), Some(one));
        has[usize::from(one.place)] += 1;
    }
    assert!(has.iter().all(|has| (850..1150).contains(has)), "a tenth each: {has:?}");
    assert_eq!(ids.len(), 10);
}

/// Where so many sources go.
fn ways(pool: &Pool) -> Vec<ServerId> {
    (0..10_000).map(|number| pool.lookup(source(number)).unwrap()).collect()
}

#[test]
fn a_server_that_is_down_moves_nobody_elses() {
    let (mut pool, ids) = pool_of(MAGLEV, 10);
    let before = ways(&pool);
    pool.mark(ids[3], Health::Down, START).unwrap();
    // The table is built anew all the same.
    pool.set_weight(ids[0], 1).unwrap();
    pool.poll();
    let down = ways(&pool);
    let mut to = [0; 10];
    for (was, is) in before.iter().zip(&down) {
        if *was == ids[3] {
            to[usize::from(is.place)] += 1;
        } else {
            assert_eq!(was, is);
        }
    }
    assert_eq!(to[3], 0);
    let rest = to.iter().enumerate().filter(|(place, _)| *place != 3);
    assert!(rest.clone().all(|(_, more)| (60..170).contains(more)), "a ninth of a thousand each: {to:?}");
    pool.mark(ids[3], Health::Up, START).unwrap();
    assert_eq!(ways(&pool), before);
}

#[test]
fn what_operators_do_moves_hardly_anybody_elses() {
    let (mut pool, ids) = pool_of(MAGLEV, 10);
    let before = ways(&pool);
    pool.drain(ids[3], None).unwrap();
    assert!(ways(&pool).iter().all(|is| *is != ids[3]), "at once");
    pool.poll();
    let drained = ways(&pool);
    let moved = before.iter().zip(&drained).filter(|(was, is)| **was != ids[3] && was != is).count();
    assert!(moved < 300, "{moved} of 10,000");
    pool.remove(ids[3], None).unwrap();
    pool.poll();
    assert_eq!(ways(&pool), drained, "that it is out moves nobody");
}

#[test]
fn where_most_are_down_the_rest_shares() {
    let (mut pool, ids) = pool_of(MAGLEV, 100);
    for id in &ids[..96] {
        pool.mark(*id, Health::Down, START).unwrap();
    }
    let mut has = [0; 100];
    ways(&pool).iter().for_each(|id| has[usize::from(id.place)] += 1);
    assert!(has[96..].iter().all(|has| (2200..2800).contains(has)), "a quarter each: {:?}", &has[96..]);
}

#[test]
fn a_server_has_its_most_and_the_rest_goes_elsewhere() {
    for algorithm in ALGORITHMS {
        let mut pool = pool(Settings { algorithm, ..Settings::new(3) });
        let few = pool.add(Server { max_connections: 3, ..server(0) }, Health::Up).unwrap();
        let more = pool.add(Server { max_connections: 20, ..server(1) }, Health::Up).unwrap();
        pool.poll();
        let had = choose_many(&mut pool, 23);
        assert_eq!(pool.server(few, START).unwrap().connections, 3);
        assert_eq!(pool.server(more, START).unwrap().connections, 20);
        assert_eq!(pool.choose(source(99), START), Err(Refused::Busy), "{algorithm:?}");
        assert_eq!(pool.refusals(Refused::Busy), 1);
        release_all(&mut pool, had);
        assert_eq!(choose_many(&mut pool, 23).len(), 23);
    }
}

#[test]
fn a_server_gets_new_ones_at_its_rate() {
    for algorithm in ALGORITHMS {
        let mut pool = pool(Settings { algorithm, ..Settings::new(3) });
        let slow = Server { rate: Some(Rate { per_second: 10, burst: 2 }), ..server(0) };
        pool.add(slow, Health::Up).unwrap();
        pool.poll();
        let new =
            |pool: &mut Pool, now| (0..100).filter(|from| pool.choose(source(*from), now).is_ok()).count();
        assert_eq!(new(&mut pool, START), 2);
        assert_eq!(pool.choose(source(1), START), Err(Refused::Busy));
        assert_eq!(new(&mut pool, after(10)), 2);
    }
}

#[test]
fn who_is_refused_costs_nothing() {
    let rate = Some(Rate { per_second: 1, burst: 5 });
    let mut pool = pool(Settings::new(3));
    for _ in 0..100 {
        assert_eq!(pool.choose(source(1), START), Err(Refused::NoServer));
    }
    let id = pool.add(Server { rate, ..server(0) }, Health::Up).unwrap();
    assert_eq!(choose_many(&mut pool, 5).len(), 5, "all five tokens");
    for _ in 0..100 {
        assert_eq!(pool.choose(source(77), START), Err(Refused::Busy));
    }
    assert_eq!((pool.server(id, START).unwrap().total, pool.total()), (5, 5));
    assert_eq!((pool.refusals(Refused::NoServer), pool.refusals(Refused::Busy)), (100, 100));
    assert!(pool.choose(source(77), after(1)).is_ok(), "who asks in vain does not put it off");
}

#[test]
fn what_is_adopted_is_there_already() {
    let mut pool = pool(Settings { algorithm: MAGLEV, ..Settings::new(3) });
    let rate = Some(Rate { per_second: 1, burst: 1 });
    let id = pool.add(Server { max_connections: 3, rate, ..server(0) }, Health::Up).unwrap();
    pool.poll();
    let had: Vec<_> = (0..2).map(|_| pool.adopt(source(1)).unwrap()).collect();
    assert_eq!(had, [pool.lookup(source(1)).unwrap(); 2]);
    assert_eq!(pool.choose(source(2), START), Ok(id), "they took no token");
    assert_eq!(pool.choose(source(2), after(9)), Err(Refused::Busy), "but they are there");
    assert_eq!(pool.adopt(source(1)), Ok(id));
    let view = pool.server(id, START).unwrap();
    assert_eq!((view.connections, view.total, pool.connections(), pool.total()), (4, 4, 4, 4));
}

#[test]
fn nobody_adopts_what_nothing_tells_of() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastConnections] {
        let (mut pool, _) = pool_of(algorithm, 2);
        assert_eq!(pool.adopt(source(1)), Err(Refused::Untold));
        assert_eq!(pool.lookup(source(1)), None);
    }
    let (mut pool, ids) = pool_of(MAGLEV, 1);
    pool.mark(ids[0], Health::Down, START).unwrap();
    assert_eq!(pool.adopt(source(1)), Err(Refused::NoServer));
}

#[test]
fn who_does_not_answer_is_tried_no_more() {
    for algorithm in ALGORITHMS {
        let (mut pool, ids) = pool_of(algorithm, 3);
        for from in 0..50 {
            let mut id = pool.choose(source(from), START).unwrap();
            let mut tried = Vec::new();
            while tried.len() < 2 {
                let next = pool.retry(id.place(), source(from), &tried, START).unwrap();
                tried.push(id);
                assert!(!tried.contains(&next), "{algorithm:?}");
                assert_eq!(pool.connections(), 1, "it is the same connection");
                id = next;
            }
            assert_eq!(pool.retry(id.place(), source(from), &tried, START), Err(Refused::NoServer));
            assert_eq!(pool.connections(), 0);
            assert!(ids.iter().all(|id| pool.server(*id, START).unwrap().connections == 0));
        }
        assert_eq!(pool.total(), 50);
    }
}
