//! Compiled rules decide as interpreted ones do.
//!
//! `FIREWALL_PACKETS` says how many packets are drawn for each file: ten million are for a night.

#![allow(clippy::unwrap_used, reason = "tests")]

use paravane_compiled_firewall::{Draw, Subject, subject, subjects};

/// Decides about so many packets both ways. How often each rule decided, and the default.
fn agree(subject: &Subject, packets: usize) -> Vec<usize> {
    let Subject { name, rules, compiled } = subject;
    let mut hits = vec![0; rules.rules().len() + 1];
    let mut draw = Draw::new(0x9e37_79b9_7f4a_7c15);
    for number in 0..packets {
        // Each rule in turn, so that none is left out.
        let packet = draw.packet_of(rules, number % rules.rules().len());
        let decision = rules.decide(&packet);
        assert_eq!((compiled.decide)(&packet), decision, "{name}: {packet:?}");
        hits[usize::try_from(decision.rule).unwrap()] += 1;
    }
    hits
}

fn packets() -> usize {
    std::env::var("FIREWALL_PACKETS").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000)
}

#[test]
fn what_is_compiled_decides_as_what_is_interpreted() {
    for subject in subjects() {
        let hits = agree(&subject, packets().max(16 * subject.rules.rules().len()));
        let missed = hits.iter().filter(|&&hits| hits == 0).count();
        let some_are_shadowed = subject.name.starts_with('m');
        assert!(
            if some_are_shadowed { missed < hits.len() / 2 } else { missed == 0 },
            "{}: {missed}",
            subject.name
        );
    }
}

#[test]
fn actions_are_those_of_the_rules() {
    for Subject { rules, compiled, .. } in subjects() {
        let actions = (0..=rules.default_number()).map(|number| rules.action(number));
        assert!(actions.eq(compiled.actions.iter()));
        assert!(rules.counters().iter().eq(compiled.counters.iter()));
        assert!(rules.zones().iter().eq(compiled.zones.iter()));
    }
    assert_eq!(subject("example").compiled.counters.len(), 5);
}
