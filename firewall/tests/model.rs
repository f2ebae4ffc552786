//! Rules against a naive reading of the language's definition.

#![allow(clippy::unwrap_used, reason = "tests")]

mod written;

use paravane_firewall::{Action, Diagnostic, Rules};
use proptest::prelude::*;

use written::{File, ZONES};

fn read(text: &str) -> (Rules, Vec<Diagnostic>) {
    let read = Rules::read(text, &ZONES);
    assert!(read.is_ok(), "{read:?}\n{text}");
    read.unwrap()
}

/// Rules without the lines that they stand on.
fn lineless(text: &str) -> (Vec<paravane_firewall::Rule>, Action, Vec<String>) {
    let (rules, _) = read(text);
    let without = |action: &Action| Action { line: 0, ..action.clone() };
    let each = rules
        .rules()
        .iter()
        .map(|rule| paravane_firewall::Rule { action: without(&rule.action), ..rule.clone() });
    (each.collect(), without(rules.default_action()), rules.counters().to_vec())
}

proptest! {
    #[test]
    fn a_decision_is_what_the_definition_says(
        file in File::any(),
        packets in prop::collection::vec(written::packet(), 64),
    ) {
        let text = file.to_string();
        let (rules, _) = read(&text);
        for packet in packets {
            let expected = file.first_match(&packet);
            let decision = rules.decide(&packet);
            prop_assert_eq!((decision.rule, decision.verdict), expected, "{:?}\n{}", packet, &text);
            prop_assert_eq!(rules.explain(&packet).before.len(), usize::try_from(decision.rule).unwrap());
        }
    }

    #[test]
    fn what_is_printed_reads_back(file in File::any()) {
        let text = file.to_string();
        let (rules, _) = read(&text);
        prop_assert_eq!(lineless(&text), lineless(&rules.to_string()), "{}\n{}", text, rules);
    }

    /// A rule of which a warning says that it never decides does not.
    #[test]
    fn a_rule_that_is_said_to_be_shadowed_never_decides(
        file in File::any(),
        packets in prop::collection::vec(written::packet(), 64),
    ) {
        let (rules, warnings) = read(&file.to_string());
        for warning in warnings.iter().filter(|warning| warning.message.starts_with("this rule never decides")) {
            for packet in &packets {
                prop_assert_ne!(rules.action(rules.decide(packet).rule).line, warning.place.line);
            }
        }
    }

    #[test]
    fn any_text_is_read_or_told_why_not(text in any_text()) {
        let (Err(problems) | Ok((_, problems))) = Rules::read(&text, &ZONES);
        for problem in problems {
            prop_assert!(text.get(problem.span.clone()).is_some());
            prop_assert!(!problem.message.is_empty() && !problem.help.is_empty());
        }
    }

    #[test]
    fn any_words_are_a_packet_or_told_why_not(words in any_text()) {
        let (rules, _) = Rules::read("default drop", &ZONES).unwrap();
        if let Err(error) = rules.packet(&words) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

/// Words of the language in any order, and others.
fn any_text() -> impl Strategy<Value = String> {
    const WORDS: [&str; 40] = [
        "zone",
        "set",
        "service",
        "allow",
        "reject",
        "drop",
        "default",
        "from",
        "to",
        "tcp",
        "udp",
        "icmp",
        "icmpv6",
        "protocol",
        "limit",
        "log",
        "counter",
        "any",
        "source-port",
        "burst",
        "per",
        "source",
        "\n",
        "\n",
        "->",
        "->",
        "=",
        "=",
        "{",
        "}",
        ",",
        "\"",
        "#",
        "public",
        "self",
        "a",
        "80",
        "10.0.0.0/8",
        "::1",
        "5/s",
    ];
    let word = prop_oneof![9 => prop::sample::select(&WORDS[..]).prop_map(String::from), 1 => "\\PC{0,4}"];
    prop::collection::vec(word, 0..60).prop_map(|words| words.join(" "))
}
