mod schedule;

use super::*;
use crate::pool::{self, Algorithm, Server, State};
use paravane_hal::entropy::{Entropy, EntropyError};
use proptest::prelude::*;
use std::format;
use std::string::ToString;

const START: Instant = Instant::from_nanos(5_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

struct Known;

impl Entropy for Known {
    fn name(&self) -> &'static str {
        "known"
    }
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        to.fill(9);
        Ok(())
    }
}

fn random() -> Random {
    Random::new(&Known).unwrap()
}

fn after(time: Duration) -> Instant {
    START.saturating_add(time)
}

/// Ids of so many servers.
fn ids(servers: u16) -> Vec<ServerId> {
    let settings = pool::Settings { algorithm: Algorithm::RoundRobin, ..pool::Settings::new(servers) };
    let mut pool = pool::Pool::new(settings).unwrap();
    let server = |number: u16| Server::new(format!("{number}"), ([10, 0, 0, 1], number).into());
    (0..servers).map(|number| pool.add(server(number), Health::Up).unwrap()).collect()
}

fn checks(settings: Settings) -> Checks {
    Checks::new(settings, 1000, 8, &mut random()).unwrap()
}

fn tcp() -> Settings {
    Settings::new(Probe::Tcp)
}

fn http() -> Settings {
    Settings::new(Probe::Http(Http::get("host", "/health").unwrap()))
}

/// Checks of one server.
fn one(settings: Settings, health: Health) -> (Checks, ServerId) {
    let (mut checks, id) = (checks(settings), ids(1)[0]);
    checks.add(id, health, START);
    (checks, id)
}

/// The next attempt, and when it is due.
fn attempt(checks: &mut Checks) -> (Attempt, Instant) {
    let now = checks.next().unwrap();
    match checks.due(now) {
        Some(Due::Probe(attempt)) => (attempt, now),
        other => panic!("{other:?}"),
    }
}

/// One attempt that ends so, at once.
fn hear(checks: &mut Checks, is_good: bool) -> Option<Health> {
    let (mut attempt, now) = attempt(checks);
    if is_good {
        attempt.connected()
    } else {
        attempt.closed()
    }
    assert!(attempt.is_over(now));
    checks.end(attempt, now).map(|(_, health)| health)
}

#[test]
fn so_many_failures_and_it_is_down_so_many_good_answers_and_it_is_up() {
    let (mut checks, id) = one(tcp(), Health::Up);
    assert_eq!(hear(&mut checks, true), None);
    for results in [&[false, false, true, false, false][..], &[true, false, false]] {
        assert!(results.iter().all(|result| hear(&mut checks, *result).is_none()), "never three in a row");
    }
    assert_eq!(hear(&mut checks, false), Some(Health::Down));
    assert_eq!((checks.health(id), checks.failures(id)), (Some(Health::Down), 7));
    for result in [false, true, false, true] {
        assert_eq!(hear(&mut checks, result), None, "never two in a row");
    }
    assert_eq!(hear(&mut checks, true), Some(Health::Up));
    assert_eq!(hear(&mut checks, false), None);
}

#[test]
fn what_is_said_of_a_server_at_first_is_a_guess() {
    assert_eq!(hear(&mut one(tcp(), Health::Up).0, false), Some(Health::Down));
    assert_eq!(hear(&mut one(tcp(), Health::Down).0, true), Some(Health::Up));
    assert_eq!(hear(&mut one(tcp(), Health::Up).0, true), None);
    assert_eq!(hear(&mut one(tcp(), Health::Down).0, false), None);
}

#[test]
fn who_does_not_answer_in_time_has_failed() {
    let (mut checks, id) = one(http(), Health::Up);
    let (attempt_, now) = attempt(&mut checks);
    assert!(!attempt_.is_over(now.saturating_add(999 * MS)));
    assert_eq!(attempt_.deadline(), now.saturating_add(SECOND));
    let end = attempt_.deadline();
    assert!(attempt_.is_over(end));
    assert_eq!(checks.end(attempt_, end), Some((id, Health::Down)));
    assert_eq!(checks.last(id), Some(Last { at: end, took: SECOND, result: Err(Failure::ConnectTimeout) }));
    let (mut attempt, now) = attempt(&mut checks);
    attempt.connected();
    attempt.received(b"HTTP/1.1 20");
    let end = now.saturating_add(1500 * MS);
    checks.end(attempt, end);
    let last = checks.last(id).unwrap();
    assert_eq!((last.took, last.result), (1500 * MS, Err(Failure::AnswerTimeout)));
}

#[test]
fn a_page_is_asked_for_in_pieces_and_answered_in_pieces() {
    let (mut checks, id) = one(http(), Health::Down);
    let settings = checks.settings().clone();
    let (mut attempt, now) = attempt(&mut checks);
    assert_eq!(attempt.server(), id);
    assert!(attempt.unsent(&settings).is_empty(), "not before it is connected");
    let mut sent = Vec::new();
    loop {
        attempt.connected();
        let some = attempt.unsent(&settings).get(..7).unwrap_or(attempt.unsent(&settings)).to_vec();
        if some.is_empty() {
            break;
        }
        attempt.sent(some.len());
        sent.extend(some);
    }
    assert!(sent.starts_with(b"GET /health HTTP/1.1\r\nHost: host\r\n") && sent.ends_with(b"\r\n\r\n"));
    for byte in b"HTTP/1.1 204" {
        attempt.received(&[*byte]);
        assert!(!attempt.is_over(now));
    }
    attempt.received(b" ");
    assert!(attempt.is_over(now));
    attempt.closed();
    attempt.received(b"HTTP/1.1 500 ");
    assert!(attempt.unsent(&settings).is_empty());
    assert_eq!(checks.end(attempt, now), Some((id, Health::Up)), "what came later does not count");
}

#[test]
fn every_failure_has_its_code() {
    type Act = fn(&mut Attempt);
    let cases: [(Act, Failure, &str); 6] = [
        (|_| (), Failure::ConnectTimeout, "L4TOUT"),
        (|attempt| attempt.closed(), Failure::Refused, "L4CON"),
        (|attempt| attempt.connected(), Failure::AnswerTimeout, "L7TOUT"),
        (|attempt| (attempt.connected(), attempt.closed()).0, Failure::Closed, "L7RSP"),
        (|attempt| (attempt.connected(), attempt.received(b"220 mail")).0, Failure::NotHttp, "L7RSP"),
        (
            |attempt| (attempt.connected(), attempt.received(b"HTTP/1.1 503 ")).0,
            Failure::Status(503),
            "L7STS",
        ),
    ];
    for (act, failure, code) in cases {
        let (mut checks, id) = one(http(), Health::Up);
        let (mut attempt, now) = attempt(&mut checks);
        act(&mut attempt);
        let end = now.saturating_add(SECOND);
        assert_eq!(checks.end(attempt, end), Some((id, Health::Down)), "{failure}");
        assert_eq!(checks.last(id).unwrap().result, Err(failure));
        assert_eq!(failure.code(), code);
    }
    // What is expected is the operator's.
    let moved = Http::get("host", "/").unwrap().expecting(500..=503).unwrap();
    let (mut checks, id) = one(Settings::new(Probe::Http(moved)), Health::Down);
    let (mut attempt, now) = attempt(&mut checks);
    attempt.connected();
    attempt.received(b"HTTP/1.1 503 ");
    assert_eq!(checks.end(attempt, now), Some((id, Health::Up)));
}

#[test]
fn connections_that_fail_in_a_row_take_a_server_down() {
    let passive = Some(Passive { failures: 3, window: 10 * SECOND, hold: 30 * SECOND });
    let (mut checks, id) = one(Settings { passive, ..tcp() }, Health::Up);
    let mut report = |report, seconds: u32| checks.report(id, report, after(SECOND * seconds));
    for (kind, seconds) in [
        (Report::Failed, 0),
        (Report::Failed, 1),
        (Report::Good, 1),
        (Report::Failed, 2),
        (Report::Failed, 3),
        // Too late to be with those two: a new window.
        (Report::Failed, 13),
        (Report::Failed, 22),
    ] {
        assert_eq!(report(kind, seconds), None, "{kind:?} at {seconds} s");
    }
    assert_eq!(report(Report::Failed, 23), Some(Health::Down));
    assert_eq!(report(Report::Failed, 23), None, "that is known");
    assert_eq!(report(Report::Good, 24), None, "it has to be asked");
    assert_eq!(hear(&mut checks, true), None);
    assert_eq!(hear(&mut checks, true), Some(Health::Up), "as many as after failed checks");
    let (mut none, id) = one(tcp(), Health::Up);
    assert!((0..100).all(|_| none.report(id, Report::Failed, START).is_none()), "unless they count");
}

#[test]
fn whom_nobody_asks_is_up_again_after_a_while() {
    let passive = Some(Passive { failures: 1, window: SECOND, hold: 30 * SECOND });
    let (mut checks, id) = one(Settings { passive, probe: None, ..tcp() }, Health::Up);
    assert_eq!((checks.next(), checks.due(after(100 * SECOND))), (None, None));
    let down = after(200 * SECOND);
    assert_eq!(checks.report(id, Report::Failed, down), Some(Health::Down));
    let up = down.saturating_add(30 * SECOND);
    assert_eq!(checks.next(), Some(up));
    assert_eq!(checks.due(up), Some(Due::Marked(id, Health::Up)));
    assert_eq!((checks.health(id), checks.due(up)), (Some(Health::Up), None));
    assert_eq!(checks.report(id, Report::Failed, up), Some(Health::Down));
}

#[test]
fn settings_that_find_nothing_out_are_refused() {
    let passive = Some(Passive { failures: 0, window: SECOND, hold: SECOND });
    for (settings, said) in [
        (Settings { interval: Duration::ZERO, ..tcp() }, "interval"),
        (Settings { timeout: Duration::ZERO, ..tcp() }, "timeout"),
        (Settings { fall: 0, ..tcp() }, "fall"),
        (Settings { rise: 0, ..tcp() }, "rise"),
        (Settings { jitter_percent: 101, ..tcp() }, "101 %"),
        (Settings { passive, ..tcp() }, "failures"),
    ] {
        let error = Checks::new(settings, 1, 1, &mut random()).err().unwrap();
        assert!(error.to_string().contains(said), "{error}");
    }
    assert_eq!(
        Checks::new(tcp(), 1, 0, &mut random()).err(),
        Some(CheckError::Zero { setting: "max_running" })
    );
    for (error, said) in [(CheckError::Path, "`/`"), (CheckError::Host, "255 bytes")] {
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_server_is_asked_at_its_own_port_or_another() {
    let server = Server::new("name", "10.0.0.1:80".parse().unwrap());
    assert_eq!(tcp().address_of(&server), "10.0.0.1:80".parse().unwrap());
    let other = Settings { port: Some(8080), ..tcp() };
    assert_eq!(other.address_of(&server), "10.0.0.1:8080".parse().unwrap());
    let v6 = Server::new("name", "[2001:db8::1]:80".parse().unwrap());
    assert_eq!(other.address_of(&v6), "[2001:db8::1]:8080".parse().unwrap());
}

#[test]
fn a_pool_hears_what_the_checks_found() {
    let mut pool = pool::Pool::new(pool::Settings::new(4)).unwrap();
    let id = pool.add(Server::new("name", ([10, 0, 0, 1], 80).into()), Health::Down).unwrap();
    let mut checks = checks(tcp());
    checks.add(id, Health::Down, START);
    let (mut attempt, now) = attempt(&mut checks);
    attempt.connected();
    let (server, health) = checks.end(attempt, now).unwrap();
    assert_eq!(pool.mark(server, health, now), Ok(true));
    assert_eq!(pool.server(id, now).unwrap().state, State::Up);
}

proptest! {
    #[test]
    fn health_is_what_the_last_results_say(
        results in proptest::collection::vec(any::<bool>(), 0..100),
        (fall, rise) in (1_u8..6, 1_u8..6),
    ) {
        let (mut checks, id) = one(Settings { fall, rise, ..tcp() }, Health::Up);
        // Since when it is as it is; as many failures as it takes but one are said to be before.
        let (mut health, mut since) = (Health::Up, Vec::from_iter((1..fall).map(|_| false)));
        for result in results {
            let change = hear(&mut checks, result);
            since.push(result);
            let needed = usize::from(if health == Health::Up { fall } else { rise });
            let against = since.iter().rev().take_while(|result| **result != (health == Health::Up)).count();
            let expected = (against >= needed).then_some(match health {
                Health::Up => Health::Down,
                Health::Down => Health::Up,
            });
            prop_assert_eq!(change, expected);
            if let Some(changed) = expected {
                health = changed;
                since.clear();
            }
            prop_assert_eq!(checks.health(id), Some(health));
        }
    }

    #[test]
    fn whatever_a_server_does_an_attempt_ends(
        steps in proptest::collection::vec(
            prop_oneof![
                Just(None),
                Just(Some(Vec::new())),
                proptest::collection::vec(any::<u8>(), 0..40).prop_map(Some),
                Just(Some(b"HTTP/1.1 200 OK\r\n".to_vec())),
            ],
            0..20,
        ),
        connects in any::<bool>(),
    ) {
        let (mut checks, id) = one(http(), Health::Up);
        let settings = checks.settings().clone();
        let (mut attempt, now) = attempt(&mut checks);
        if connects {
            attempt.connected();
        }
        for step in steps {
            match step {
                None => attempt.closed(),
                Some(bytes) => attempt.received(&bytes),
            }
            let unsent = attempt.unsent(&settings).len();
            attempt.sent(unsent.div_ceil(2));
        }
        prop_assert!(attempt.is_over(now.saturating_add(SECOND)));
        checks.end(attempt, now.saturating_add(SECOND));
        prop_assert!(checks.last(id).is_some());
        prop_assert!(checks.next().is_some());
    }
}
