//! Any one change of a rule is noticed by packets from the rules' bounds.

#![allow(clippy::unwrap_used, reason = "tests")]

use paravane_compiled_firewall::{Draw, Subject, subject};
use paravane_firewall::ranges::{Number, Ranges};
use paravane_firewall::rules::{Rule, Zones};
use paravane_firewall::{Rules, Verdict};

/// A range's first number earlier and later by one, and so its last.
fn moved<T: Number>(ranges: &Ranges<T>, before: fn(T) -> T) -> Vec<Ranges<T>> {
    let mut all = Vec::new();
    for place in 0..ranges.as_slice().len() {
        let with = |change: &dyn Fn(&mut (T, T))| {
            let mut changed = ranges.as_slice().to_vec();
            change(&mut changed[place]);
            changed.into_iter().collect::<Ranges<T>>()
        };
        all.push(with(&|range| range.0 = before(range.0)));
        all.push(with(&|range| range.0 = range.0.next().unwrap_or(range.0)));
        all.push(with(&|range| range.1 = before(range.1)));
        all.push(with(&|range| range.1 = range.1.next().unwrap_or(range.1)));
    }
    // Nothing is before the first number, or behind the last.
    all.retain(|changed| changed != ranges);
    all
}

/// The rule with one thing changed, in each way.
fn changes(rule: &Rule) -> Vec<Rule> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Rule)| {
        let mut changed = rule.clone();
        change(&mut changed);
        all.push(changed);
    };
    // As if it were not there, but those behind it keep their numbers.
    add(&|rule| rule.from = Zones::default());
    for verdict in [Verdict::Allow, Verdict::Reject, Verdict::Drop] {
        if rule.action.verdict != verdict {
            add(&|rule| rule.action.verdict = verdict);
        }
    }
    // Of a version that one side has none of, the other side's make no difference.
    let has = |v4: bool| match v4 {
        true => !rule.source.v4.is_empty() && !rule.destination.v4.is_empty(),
        false => !rule.source.v6.is_empty() && !rule.destination.v6.is_empty(),
    };
    for ranges in moved(&rule.source.v4, |n| n.saturating_sub(1)).into_iter().filter(|_| has(true)) {
        add(&|rule| rule.source.v4 = ranges.clone());
    }
    for ranges in moved(&rule.destination.v4, |n| n.saturating_sub(1)).into_iter().filter(|_| has(true)) {
        add(&|rule| rule.destination.v4 = ranges.clone());
    }
    for ranges in moved(&rule.source.v6, |n| n.saturating_sub(1)).into_iter().filter(|_| has(false)) {
        add(&|rule| rule.source.v6 = ranges.clone());
    }
    for ranges in moved(&rule.destination.v6, |n| n.saturating_sub(1)).into_iter().filter(|_| has(false)) {
        add(&|rule| rule.destination.v6 = ranges.clone());
    }
    for place in 0..rule.services.len() {
        for ranges in moved(&rule.services[place].selector, |n| n.saturating_sub(1)) {
            add(&|rule| rule.services[place].selector = ranges.clone());
        }
        for ranges in moved(&rule.services[place].source_port, |n| n.saturating_sub(1)) {
            add(&|rule| rule.services[place].source_port = ranges.clone());
        }
    }
    all
}

/// Whether what is compiled differs from `changed`.
fn is_noticed(subject: &Subject, changed: &Rules, place: usize) -> bool {
    let mut draw = Draw::new(place as u64 + 1);
    (0..20_000).any(|number| {
        let packet = draw.packet_of(if number % 2 == 0 { &subject.rules } else { changed }, place);
        (subject.compiled.decide)(&packet) != changed.decide(&packet)
    })
}

fn all_are_noticed(name: &str) -> usize {
    let subject = subject(name);
    let rules = &subject.rules;
    let mut count = 0;
    for (place, rule) in rules.rules().iter().enumerate() {
        for change in changes(rule) {
            let mut all = rules.rules().to_vec();
            all[place] = change;
            let changed = Rules::new(
                rules.zones().to_vec(),
                rules.counters().to_vec(),
                all,
                rules.default_action().clone(),
            );
            assert!(is_noticed(&subject, &changed, place), "{name}, rule {place}:\n{rules}\n{changed}");
            count += 1;
        }
    }
    count
}

#[test]
fn each_change_of_a_rule_is_noticed() {
    let counts = ["example", "distinct_16", "distinct_256"].map(all_are_noticed);
    // Itself, its two other verdicts, and the bounds: four of each range but of all ports, which
    // have two.
    assert_eq!(counts[1], 16 * (1 + 2 + 5 * 4 + 2));
    assert!(counts[0] > 200, "{counts:?}");
}
