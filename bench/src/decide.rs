//! Decisions of compiled rules: which rule says what becomes of a flow.

use std::hint::black_box;

use anyhow::{Result, ensure};
use paravane_compiled_firewall::{Draw, subject};
use paravane_firewall::{Decision, Packet};

use crate::subject::Moving;

/// Decisions of a turn.
pub const BURST: usize = 32;
/// Packets that differ, at least: each rule has one.
const PACKETS: usize = 1_000;

/// Files of rules that are measured: what they are, and instructions for a decision at most.
pub const FILES: [(&str, &str, Option<f64>); 5] = [
    ("distinct_16", "16 rules that share nothing", Some(150.0)),
    ("distinct_256", "256 rules that share nothing", Some(400.0)),
    ("distinct_4096", "4,096 rules that share nothing", Some(1_500.0)),
    ("one_set", "a rule over a set of 4,096 addresses", Some(150.0)),
    ("mixed_4096", "4,096 rules that overlap", None),
];

/// The same packets in turn, at and beside the bounds of the rules, each rule's as often.
struct Deciding {
    decide: fn(&Packet) -> Decision,
    packets: Vec<Packet>,
    /// What an interpreter decided of each.
    expected: Vec<Decision>,
    next: usize,
    are_right: bool,
}

/// Decides by the rules of this name.
pub fn start(name: &str) -> Result<Box<dyn Moving>> {
    ensure!(FILES.iter().any(|(file, ..)| *file == name), "there are no rules {name}");
    let subject = subject(name);
    let rules = subject.rules.rules().len();
    let mut draw = Draw::new(7);
    let packets: Vec<_> = (0..rules.max(PACKETS).next_multiple_of(BURST))
        .map(|number| draw.packet_of(&subject.rules, number % rules))
        .collect();
    let expected = packets.iter().map(|packet| subject.rules.decide(packet)).collect();
    Ok(Box::new(Deciding { decide: subject.compiled.decide, packets, expected, next: 0, are_right: true }))
}

impl Moving for Deciding {
    fn turn(&mut self, around: &mut dyn FnMut(&mut dyn FnMut())) {
        let range = self.next..self.next + BURST;
        self.next = range.end % self.packets.len();
        let (packets, expected) = (&self.packets[range.clone()], &self.expected[range]);
        let mut decisions = [expected[0]; BURST];
        around(&mut || {
            for (decision, packet) in decisions.iter_mut().zip(packets) {
                *decision = (self.decide)(black_box(packet));
            }
        });
        self.are_right &= decisions == expected;
    }

    fn check(&self) -> Result<()> {
        ensure!(self.are_right, "compiled rules decide otherwise than interpreted ones");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_decision_is_noticed() {
        let mut deciding = start("distinct_16").unwrap();
        deciding.turn(&mut |work| work());
        deciding.check().unwrap();
        // As if the device of this bench were broken: nothing is decided.
        deciding.turn(&mut |_| ());
        assert!(deciding.check().is_err());
        assert!(start("none").is_err());
    }
}
