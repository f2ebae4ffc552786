//! A packet in words is the packet that the words say.

#![allow(clippy::unwrap_used, reason = "tests")]

use paravane_firewall::{Rules, Zone};

#[test]
fn words_are_read_as_what_they_were_written_of() {
    let zones = ["public", "private", "self"];
    let (rules, _) = Rules::read("default drop", &zones).unwrap();
    for words in [
        "public -> private tcp 203.0.113.7:5000 10.0.0.11:80",
        "private -> self udp [2001:db8::7]:53 [2001:db8::1]:5000",
        "public -> self icmp 203.0.113.7 192.0.2.1 8/0",
        "public -> self icmpv6 2001:db8::7 2001:db8::1 1/4",
        "self -> private protocol 47 10.0.0.1 10.0.0.2",
    ] {
        let packet = rules.packet(words).unwrap();
        assert_eq!(packet.words(|Zone(zone)| zones[usize::from(zone)]), words);
    }
}
