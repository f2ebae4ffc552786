//! Who is asked when.

use super::*;

#[test]
fn a_server_is_asked_each_interval_more_or_less() {
    let (mut checks, _) = one(tcp(), Health::Up);
    let mut then = checks.next().unwrap();
    assert!(then >= START && then < after(2 * SECOND), "within the first one");
    let mut waits = Vec::new();
    for _ in 0..2000 {
        hear(&mut checks, true);
        waits.push(checks.next().unwrap().since(then));
        then = checks.next().unwrap();
    }
    let (least, most) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
    assert!(least >= 1800 * MS && least < 1805 * MS, "{least:?}");
    assert!(most <= 2200 * MS && most > 2195 * MS, "{most:?}");
    let mean = waits.iter().sum::<Duration>() / 2000;
    assert!(mean > 1990 * MS && mean < 2010 * MS, "{mean:?}");
    // Without jitter it is just that.
    let (mut checks, _) = one(Settings { jitter_percent: 0, ..tcp() }, Health::Up);
    let then = checks.next().unwrap();
    hear(&mut checks, true);
    assert_eq!(checks.next().unwrap().since(then), 2 * SECOND);
}

#[test]
fn nobody_is_asked_before_the_last_answer() {
    let slow = Settings { timeout: 5 * SECOND, jitter_percent: 0, ..tcp() };
    let (mut checks, _) = one(slow, Health::Up);
    let (attempt, now) = attempt(&mut checks);
    assert_eq!((checks.next(), checks.due(now.saturating_add(4 * SECOND))), (None, None));
    let end = now.saturating_add(5 * SECOND);
    assert!(attempt.is_over(end));
    checks.end(attempt, end);
    assert_eq!(checks.next(), Some(end), "it is late already");
}

#[test]
fn no_more_are_asked_at_a_time_than_there_are_sockets() {
    let mut checks = checks(tcp());
    let ids = ids(100);
    ids.iter().for_each(|id| checks.add(*id, Health::Up, START));
    let now = after(10 * SECOND);
    let mut running: Vec<_> = core::iter::from_fn(|| checks.due(now)).collect();
    assert_eq!(running.len(), 8);
    assert_eq!(checks.next(), None);
    let mut asked = std::collections::HashSet::new();
    for _ in 0..92 {
        let Due::Probe(mut attempt) = running.remove(0) else { panic!() };
        assert!(asked.insert(attempt.server()), "nobody twice before everybody once");
        attempt.connected();
        checks.end(attempt, now);
        running.push(checks.due(now).unwrap());
        assert_eq!(checks.due(now), None);
    }
}

#[test]
fn a_thousand_servers_are_each_asked_in_time() {
    let mut checks = Checks::new(tcp(), 1000, 64, &mut random()).unwrap();
    let ids = ids(1000);
    ids.iter().for_each(|id| checks.add(*id, Health::Up, START));
    let mut asked = std::collections::HashMap::new();
    let mut running: std::collections::VecDeque<(Instant, Attempt)> = std::collections::VecDeque::new();
    let mut now = START;
    while now < after(60 * SECOND) {
        // Sleeps until something is to be done: nothing is missed by that.
        let ends = running.front().map(|(end, _)| *end);
        now = checks.next().into_iter().chain(ends).min().unwrap().max(now);
        while running.front().is_some_and(|(end, _)| *end <= now) {
            let (_, mut attempt) = running.pop_front().unwrap();
            attempt.connected();
            assert_eq!(checks.end(attempt, now), None);
        }
        while let Some(due) = checks.due(now) {
            let Due::Probe(attempt) = due else { panic!() };
            *asked.entry(attempt.server()).or_insert(0) += 1;
            running.push_back((now.saturating_add(10 * MS), attempt));
            assert!(running.len() <= 64);
        }
    }
    assert_eq!(asked.len(), 1000);
    assert!(asked.values().all(|times| (27..=34).contains(times)), "30 each, more or less");
}

#[test]
fn of_whom_is_gone_nothing_is_said() {
    let (mut checks, id) = one(tcp(), Health::Up);
    let (mut attempt_, now) = attempt(&mut checks);
    checks.remove(id);
    attempt_.closed();
    assert_eq!(checks.end(attempt_, now), None);
    assert_eq!((checks.health(id), checks.last(id), checks.failures(id)), (None, None, 0));
    assert_eq!(checks.due(after(1000 * SECOND)), None);
    assert_eq!(checks.next(), None);
    // Another one at its place is not it.
    let other = {
        let mut pool = pool::Pool::new(pool::Settings::new(1)).unwrap();
        let server = || Server::new("name", ([10, 0, 0, 1], 80).into());
        let old = pool.add(server(), Health::Up).unwrap();
        pool.remove(old, None).unwrap();
        pool.add(server(), Health::Up).unwrap()
    };
    assert!(other.place() == id.place() && other != id);
    checks.add(id, Health::Up, START);
    let (mut late, now) = attempt(&mut checks);
    checks.add(other, Health::Up, START);
    late.closed();
    assert_eq!(checks.end(late, now), None);
    assert_eq!(checks.failures(other), 0);
    checks.remove(id);
    assert_eq!(checks.health(other), Some(Health::Up));
}

#[test]
fn who_cannot_be_asked_now_is_asked_later() {
    let (mut checks, id) = one(Settings { jitter_percent: 0, ..tcp() }, Health::Up);
    let (attempt_, now) = attempt(&mut checks);
    checks.put_off(attempt_, now);
    assert_eq!(checks.last(id), None);
    assert_eq!(checks.next(), Some(now.saturating_add(2 * SECOND)));
    for _ in 0..20 {
        let (attempt, now) = attempt(&mut checks);
        checks.put_off(attempt, now);
    }
    assert_eq!(hear(&mut checks, true), None, "sockets are not used up by that");
}
