//! Decides about the same packets again and again, for `valgrind --tool=callgrind
//! --toggle-collect='*decide_once*'`: the name of a file of rules, and how often.

#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::hint::black_box;

use paravane_compiled_firewall::{Draw, subject};
use paravane_firewall::{Decision, Packet};

#[inline(never)]
fn decide_once(decide: fn(&Packet) -> Decision, packet: &Packet) -> Decision {
    decide(packet)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap();
    let subject = subject(&name);
    let mut draw = Draw::new(7);
    let mut hits = 0;
    for number in 0..1_000 {
        let packet = draw.packet_of(&subject.rules, number % subject.rules.rules().len());
        let decision = black_box(decide_once(subject.compiled.decide, black_box(&packet)));
        hits += u32::from(decision.rule != subject.rules.default_number());
    }
    println!("{name}: 1000 decisions, {hits} by a rule");
}
