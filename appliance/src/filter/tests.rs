//! Limits, counters and logs of rules.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use paravane_firewall::Rules;
use paravane_firewall::rules::Verdict;
use paravane_hal::entropy::{Entropy, EntropyError};
use paravane_hal::time::Instant;

use super::{Filter, FilterError, First, Hits, RuleSet};
use crate::drops::Reason;
use crate::interface::InterfaceId;
use crate::random::Random;

const NAMES: [&str; 2] = ["public", "private"];
const ZONES: [&str; 3] = ["self", "private", "public"];

struct Known;

impl Entropy for Known {
    fn name(&self) -> &'static str {
        "known"
    }
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        to.fill(7);
        Ok(())
    }
}

fn read(text: &str, zones: &[&str]) -> RuleSet {
    RuleSet::Read(Rules::read(text, zones).unwrap().0)
}

fn filter(text: &str) -> Filter {
    Filter::new(read(text, &ZONES), &NAMES, &mut Random::new(&Known).unwrap()).unwrap()
}

/// A packet in words, as the path would see it.
fn first(words: &str) -> First {
    let (rules, _) = Rules::read("default drop", &ZONES).unwrap();
    let packet = rules.packet(words).unwrap();
    let interface = |zone: usize| {
        let place = NAMES.iter().position(|name| *name == ZONES[zone]);
        place.map(|place| InterfaceId(u8::try_from(place).unwrap()))
    };
    First {
        from: interface(packet.from.0.into()).unwrap(),
        to: interface(packet.to.0.into()),
        addresses: packet.addresses,
        transport: packet.transport,
    }
}

fn at(millis: u64) -> Instant {
    Instant::default().saturating_add(Duration::from_millis(millis))
}

const WEB: &str = "public -> private tcp 203.0.113.7:5000 10.0.0.11:80";

#[test]
fn zones_are_found_by_their_names() {
    let mut filter = filter("allow public -> private tcp 80\nreject private -> self\ndefault drop");
    assert_eq!(filter.judge(&first(WEB), at(0)), Ok(()));
    let own = first("private -> self tcp 10.0.0.11:5000 10.0.0.1:80");
    assert_eq!(filter.judge(&own, at(0)), Err(Reason::RuleReject));
    let back = first("private -> public tcp 10.0.0.11:80 203.0.113.7:5000");
    assert_eq!(filter.judge(&back, at(0)), Err(Reason::RuleDrop));
    assert_eq!(filter.permits(&back), Err(Reason::RuleDrop));
    assert_eq!([0, 1, 2, 3].map(|rule| filter.hits(rule).all), [1, 1, 1, 0]);
    // A zone that nobody knows is in no rule, not even in those for all.
    let mut any = self::filter("allow any -> any\ndefault drop");
    let nowhere = First { from: InterfaceId(9), ..first(WEB) };
    assert_eq!(any.judge(&nowhere, at(0)), Err(Reason::RuleDrop));
}

#[test]
fn rules_for_other_zones_are_refused() {
    let mut random = Random::new(&Known).unwrap();
    let mut made = |zones: &[&str]| Filter::new(read("default drop", zones), &NAMES, &mut random).err();
    assert_eq!(made(&["public", "self"]), Some(FilterError::NoZone("private".into())));
    assert_eq!(made(&["public", "private"]), Some(FilterError::NoZone("self".into())));
    assert_eq!(made(&["lab", "self", "private", "public"]), None);
}

#[test]
fn limits_let_so_many_through_in_their_time() {
    for (per, millis) in [("s", 1000), ("min", 60_000), ("h", 3_600_000)] {
        let text = alloc::format!("allow public -> private limit 2/{per} burst 3\ndefault drop");
        let mut filter = filter(&text);
        let mut through = |millis| filter.judge(&first(WEB), at(millis)).is_ok();
        assert_eq!([0, 0, 0, 0].map(&mut through), [true, true, true, false], "{per}");
        assert_eq!([millis / 2 - 1, millis / 2, millis / 2].map(&mut through), [false, true, false], "{per}");
        assert_eq!(filter.hits(0), Hits { all: 7, limited: 3 });
        assert_eq!(filter.permits(&first(WEB)), Ok(()), "without limits");
    }
}

#[test]
fn each_source_has_a_limit_of_its_own() {
    let mut filter = filter("allow public -> private tcp 80 limit 1/min per source\ndefault drop");
    let from = |host: &str| first(&WEB.replace("203.0.113.7", host));
    assert_eq!(filter.judge(&from("203.0.113.7"), at(0)), Ok(()));
    assert_eq!(filter.judge(&from("203.0.113.7"), at(1)), Err(Reason::RuleLimit));
    assert_eq!(filter.judge(&from("203.0.113.8"), at(1)), Ok(()), "its neighbour");
    let v6 = |host: &str| first(&alloc::format!("public -> private tcp [{host}]:5000 [2001:db8:2::1]:80"));
    assert_eq!(filter.judge(&v6("2001:db8::1"), at(2)), Ok(()));
    assert_eq!(filter.judge(&v6("2001:db8::2"), at(2)), Err(Reason::RuleLimit), "one host has 64 bits");
    assert_eq!(filter.uncounted(), 0);
}

#[test]
fn a_counter_is_of_all_rules_that_name_it() {
    let mut filter = filter(
        "allow public -> private tcp 80 counter web\nallow public -> private tcp 81 limit 1/h counter web\n\
         drop private -> any counter out\ndefault drop",
    );
    for port in ["80", "81", "81", "82"] {
        let _ = filter.judge(&first(&WEB.replace(":80", &alloc::format!(":{port}"))), at(0));
    }
    let counters: Vec<_> = filter.counters().map(|(name, count)| (name.to_string(), count)).collect();
    assert_eq!(counters, [("web".into(), 3), ("out".into(), 0)]);
}

#[test]
fn what_is_to_be_logged_is_said_once_and_not_too_often() {
    let mut filter = filter(
        "reject public -> private tcp 80 limit 1/h log \"web\"\nallow public -> private\ndefault drop",
    );
    assert_eq!(filter.judge(&first(WEB), at(0)), Err(Reason::RuleReject));
    assert_eq!(filter.judge(&first(WEB), at(0)), Err(Reason::RuleLimit));
    assert_eq!(filter.judge(&first(&WEB.replace(":80", ":81")), at(0)), Ok(()));
    let (one, two) = (filter.take_logged().unwrap(), filter.take_logged().unwrap());
    assert_eq!((one.rule, one.verdict, one.is_limited), (0, Verdict::Reject, false));
    assert_eq!((two.rule, two.is_limited), (0, true));
    assert_eq!(filter.rules().action(one.rule).unwrap().log.as_deref(), Some("web"));
    assert_eq!((filter.take_logged(), filter.unlogged()), (None, 0), "no log, no word");
    for _ in 0..100 {
        let _ = filter.judge(&first(WEB), at(0));
    }
    let said = core::iter::from_fn(|| filter.take_logged()).count();
    assert_eq!((said, filter.unlogged()), (58, 42), "60 at once, of which two are said");
    for second in 1..10 {
        let _ = filter.judge(&first(WEB), at(1000 * second));
    }
    assert_eq!(core::iter::from_fn(|| filter.take_logged()).count(), 9);
}
