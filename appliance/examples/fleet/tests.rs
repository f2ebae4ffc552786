use super::*;
use ecmp::Ecmp;
use play::{Count, Tally};
use scenario::{Event, HOUR, MAX_DELAY, Step, hour};

const OPTIONS: Options = Options { balancers: 8, servers: 20, flows: 20_000, places: 2039, ..Options::SMALL };

/// What becomes of connections where these things happen in the hour.
fn play(kind: Kind, steps: &[Step]) -> Tally {
    let apart = HOUR / (steps.len() as u32 + 1);
    let at = (1..).map(|number| number * apart);
    let events = at.zip(steps).map(|(at, step)| Event { at, step: step.clone() }).collect();
    World::with(&OPTIONS, kind, events).unwrap().play()
}

fn sum(tally: &Tally, of: impl Fn(&Count) -> u64) -> u64 {
    tally.counts.iter().map(of).sum()
}

#[test]
fn balancers_that_know_the_same_break_nothing() {
    for kind in Kind::ALL {
        let tally = play(kind, &[Step::Fail(0..3), Step::Return(0..3), Step::Fail(7..8)]);
        assert!(sum(&tally, |count| count.moved) > 100, "{kind:?}");
        assert_eq!(sum(&tally, |count| count.without + count.with), 0, "{kind:?}");
    }
}

#[test]
fn balancers_that_stay_break_nothing_they_remember() {
    let steps = [Step::Drain(3), Step::Add(20..21), Step::Weigh(5..9, 3), Step::Remove(3)];
    let tally = play(Kind::Modulo, &steps);
    assert!(tally.counts[..3].iter().all(|count| count.without > 50), "{tally:?}");
    assert_eq!(tally.counts[3].without, 0, "it was drained before");
    assert_eq!(sum(&tally, |count| count.with), 0);
}

#[test]
fn what_moves_after_a_change_breaks() {
    let tally = play(Kind::Modulo, &[Step::Add(20..21), Step::Fail(0..1)]);
    let [added, failed] = &tally.counts[..] else { panic!() };
    assert!(added.with == 0 && failed.without == 0);
    // Nearly all move on, and of those that began before the change a twentieth goes elsewhere.
    assert!(failed.with > 0 && failed.with < added.without, "{tally:?}");
}

#[test]
fn a_server_that_crashes_takes_its_own_and_no_others() {
    let tally = play(Kind::Threshold, &[Step::Crash(3), Step::Recover(3)]);
    let [crashed, recovered] = &tally.counts[..] else { panic!() };
    assert_eq!((crashed.without, crashed.with), (0, 0));
    let share = crashed.died as f64 / crashed.open as f64;
    assert!((0.03..0.08).contains(&share), "a twentieth: {share}");
    assert!(recovered.without > 0, "those that went elsewhere meanwhile");
    assert_eq!((recovered.with, recovered.died), (0, 0));
    assert!(tally.began_dead > 0);
}

#[test]
fn two_runs_are_alike_and_two_seeds_are_not() {
    let run = |seed| World::new(&Options { seed, ..OPTIONS }, Kind::Threshold).unwrap().play();
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_router_moves_what_its_kind_says() {
    let there: Vec<u16> = (1..8).collect();
    for (kind, least, most) in
        [(Kind::Resilient, 0.124, 0.126), (Kind::Threshold, 0.49, 0.51), (Kind::Modulo, 0.86, 0.89)]
    {
        let before = Ecmp::new(kind, 8);
        let after = before.then(&there);
        let hashes = || (0..100_000).map(|number| play::mix(number) as u32);
        let moved = hashes().filter(|hash| before.of(*hash) != after.of(*hash)).count();
        let share = moved as f64 / 100_000.0;
        assert!((least - 0.005..most + 0.005).contains(&share), "{kind:?}: {share}");
        assert!(hashes().all(|hash| after.of(hash) != 0));
        for balancer in 1..8 {
            let has = hashes().filter(|hash| after.of(*hash) == balancer).count();
            assert!((13_600..15_000).contains(&has), "{kind:?}: {has}");
        }
        let back = after.then(&(0..8).collect::<Vec<_>>());
        let moved = hashes().filter(|hash| back.of(*hash) != after.of(*hash)).count();
        assert!(moved as f64 / 100_000.0 < most + 0.005, "{kind:?}");
    }
}

#[test]
fn nothing_happens_before_the_last_thing_is_known() {
    let events = hour(&OPTIONS);
    assert!(events.windows(2).all(|pair| pair[1].at - pair[0].at > MAX_DELAY));
    assert!(events.iter().all(|event| (0..256).all(|balancer| event.delay(balancer) <= MAX_DELAY)));
}

#[test]
fn options_say_how_large_it_is() {
    let parse = |text: &str| Options::parse(text.split_whitespace().map(String::from));
    assert_eq!(parse(""), Ok(Some(Options::SMALL)));
    assert_eq!(parse("--help"), Ok(None));
    assert_eq!(parse("--seed 7 --full"), Ok(Some(Options { seed: 7, ..Options::FULL })));
    let some = Options { flows: 1_000, ecmp: Some(Kind::Resilient), ..Options::FULL };
    assert_eq!(parse("--full --flows 1,000 --ecmp resilient"), Ok(Some(some)));
    for bad in ["--flows", "--flows x", "--balancers 257", "--servers 0", "--ecmp any", "--more 1"] {
        assert!(parse(bad).unwrap_err().contains(bad.split_whitespace().next().unwrap()), "{bad}");
    }
    assert!(World::new(&Options { places: 8192, ..OPTIONS }, Kind::Modulo).is_err());
}
