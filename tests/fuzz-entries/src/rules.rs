//! Bytes play who writes a firewall's rules, and who asks what becomes of a packet.

use paravane_firewall::{Action, Diagnostic, Packet, Rule, Rules};

const ZONES: [&str; 5] = ["public", "private", "lab", "admin", "self"];

/// The first line is a packet, and the others are a file of rules.
pub fn rules(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (words, file) = text.split_once('\n').unwrap_or(("", &text));
    let rules = match Rules::read(file, &ZONES) {
        Ok((rules, warnings)) => {
            can_be_shown(file, &warnings);
            rules
        }
        Err(errors) => {
            assert!(errors.iter().any(Diagnostic::is_error), "no rules, and no error");
            return can_be_shown(file, &errors);
        }
    };
    let printed = rules.to_string();
    let (again, _) =
        Rules::read(&printed, &ZONES).unwrap_or_else(|errors| panic!("{}\n{printed}", errors[0]));
    assert_eq!(lineless(&rules), lineless(&again), "{printed}");
    match rules.packet(words) {
        Ok(packet) => is_decided(&rules, &again, &packet),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Each has a place in the file, and something to say.
fn can_be_shown(file: &str, said: &[Diagnostic]) {
    for Diagnostic { span, place, message, help, related, .. } in said {
        assert!(file.get(span.clone()).is_some(), "{span:?}: {message}");
        assert!(place.line > 0 && place.column > 0 && !message.is_empty() && !help.is_empty(), "{message}");
        assert!(related.as_ref().is_none_or(|other| file.get(other.span.clone()).is_some()), "{message}");
    }
}

/// Rules without the lines that they stand on.
fn lineless(rules: &Rules) -> (Vec<Rule>, Action, &[String]) {
    let without = |action: &Action| Action { line: 0, ..action.clone() };
    let each = rules.rules().iter().map(|rule| Rule { action: without(&rule.action), ..rule.clone() });
    (each.collect(), without(rules.default_action()), rules.counters())
}

/// What decides is the first rule that has nothing against the packet.
fn is_decided(rules: &Rules, again: &Rules, packet: &Packet) {
    let decision = rules.decide(packet);
    assert_eq!(decision, again.decide(packet));
    assert_eq!(rules.action(decision.rule).verdict, decision.verdict);
    let before = rules.explain(packet).before;
    assert_eq!(before.len(), usize::try_from(decision.rule).unwrap());
    for (mismatch, rule) in before.iter().zip(rules.rules()) {
        assert_eq!(rule.mismatch(packet), Some(*mismatch));
    }
}
