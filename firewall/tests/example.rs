//! The example, which has all of the language.

use paravane_firewall::{Rules, Verdict};

const EXAMPLE: &str = include_str!("../rules/example.rules");
const ZONES: [&str; 5] = ["public", "private", "lab", "admin", "self"];

#[test]
fn each_packet_meets_its_rule() {
    let (rules, warnings) = Rules::read(EXAMPLE, &ZONES).unwrap();
    assert_eq!(warnings, []);
    let cases = [
        (
            "public -> private tcp 198.51.100.7:5000 10.0.0.11:80",
            Verdict::Drop,
            "drop   public -> any  from scanners",
        ),
        (
            "public -> lab tcp 203.0.113.128:5000 10.0.0.19:443",
            Verdict::Allow,
            "allow  public -> inside  web",
        ),
        (
            "public -> lab udp 203.0.113.128:5000 10.0.0.19:443",
            Verdict::Allow,
            "allow  public -> inside  web",
        ),
        ("public -> lab udp 203.0.113.128:5000 10.0.0.19:80", Verdict::Drop, "default"),
        (
            "public -> private tcp [2001:db8:9::1]:1 [2001:db8:2::ffff]:80",
            Verdict::Allow,
            "allow  public -> inside  web",
        ),
        ("public -> private tcp 203.0.113.7:5000 10.0.0.20:80", Verdict::Drop, "default"),
        (
            "public -> private tcp 203.0.113.7:5000 10.0.0.11:113",
            Verdict::Reject,
            "reject any -> any     tcp 113",
        ),
        (
            "public -> self icmp 203.0.113.7 192.0.2.1 echo-request",
            Verdict::Allow,
            "allow  public -> self    ping",
        ),
        ("public -> self icmp 203.0.113.7 192.0.2.1 echo-reply", Verdict::Drop, "default"),
        (
            "public -> self protocol 112 192.0.2.2 224.0.0.18",
            Verdict::Allow,
            "allow  public -> self    protocol 112",
        ),
        (
            "lab -> public udp 10.0.0.10:123 192.0.2.123:123",
            Verdict::Allow,
            "allow  inside -> public  udp 123",
        ),
        ("lab -> public udp 10.0.0.10:124 192.0.2.123:123", Verdict::Drop, "default"),
        ("lab -> self icmp 10.0.0.10 10.0.0.1 3/4", Verdict::Allow, "allow  inside -> self"),
        ("admin -> self tcp 192.0.2.200:999 10.9.0.1:22", Verdict::Allow, "allow  admin -> self"),
        ("admin -> self tcp 10.9.0.2:999 10.9.0.1:22", Verdict::Reject, "reject admin -> self"),
        ("admin -> lab tcp [2001:db8:1::7]:999 [2001:db8:2::1]:22", Verdict::Allow, "allow  admin -> inside"),
    ];
    for (words, verdict, begins) in cases {
        let decision = rules.decide(&rules.packet(words).unwrap());
        let line = rules.action(decision.rule).line;
        let text = EXAMPLE.lines().nth(usize::try_from(line).unwrap() - 1).unwrap();
        assert!(decision.verdict == verdict && text.starts_with(begins), "{words}: {decision:?}: {text}");
    }
}

#[test]
fn what_a_rule_does_is_kept() {
    let (rules, _) = Rules::read(EXAMPLE, &ZONES).unwrap();
    assert_eq!(rules.counters(), ["scanners", "web", "operators", "lost", "dropped"]);
    assert_eq!(rules.action(rules.default_number()).counter, Some(4));
    assert_eq!(rules.action(0).log.as_deref(), Some("scanner"));
    let limit = rules.action(2).limit.unwrap();
    assert_eq!((limit.flows, limit.burst, limit.per_source), (20_000, 40_000, false));
    let limit = rules.action(3).limit.unwrap();
    assert_eq!((limit.flows, limit.burst, limit.per_source), (10, 10, true));
}

#[test]
fn each_condition_is_named_that_does_not_hold() {
    let (rules, _) = Rules::read(EXAMPLE, &ZONES).unwrap();
    let explain = |words: &str| {
        let explanation = rules.explain(&rules.packet(words).unwrap());
        assert_eq!(explanation.before.len(), usize::try_from(explanation.decision.rule).unwrap());
        explanation.before.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let public = explain("public -> private tcp 203.0.113.7:5000 10.0.0.20:80");
    assert_eq!(public[0], "203.0.113.7 is not among its sources");
    assert_eq!(public[1], "port 80 is not among its services");
    assert_eq!(public[2], "10.0.0.20 is not among its destinations");
    assert_eq!(public[3], "protocol 6 is not among its services");
    assert_eq!(public[4], "it goes to another zone");
    assert_eq!(public[6], "it comes from another zone");
    let inside = explain("lab -> public udp 10.0.0.10:124 192.0.2.123:123");
    assert_eq!(inside[7], "source port 124 is not among its services");
    let icmp = explain("lab -> self icmp 10.0.0.10 10.0.0.1 13/0");
    assert_eq!(icmp[10], "ICMP 13/0 is not among its services");
    let unknown = explain("admin -> self protocol 6 10.9.0.2 10.9.0.1");
    assert_eq!(unknown[1], "it names ports or types, and the packet's are not known");
}

#[test]
fn words_that_are_no_packet_are_told_why() {
    let (rules, _) = Rules::read(EXAMPLE, &ZONES).unwrap();
    let shape = "a packet looks like `public -> private tcp 203.0.113.7:5000 10.0.0.11:80`";
    let cases = [
        ("", format!("where it comes from is missing; {shape}")),
        ("public private", format!("`->` is expected in place of `private`; {shape}")),
        ("pubic -> private", "there is no zone `pubic`: did you mean `public`?".into()),
        (
            "public -> lab sctp",
            "`sctp` is no protocol: there are tcp, udp, icmp, icmpv6 and protocol NUMBER".into(),
        ),
        ("public -> lab tcp 1.1.1.1:1", format!("its destination is missing; {shape}")),
        (
            "public -> lab tcp 1.1.1.1 2.2.2.2:1",
            "`1.1.1.1` is no address and port, such as `192.0.2.1:80` or `[2001:db8::1]:80`".into(),
        ),
        ("public -> lab icmp 1.1.1.1 ::1 8", "1.1.1.1 and ::1 are of two versions".into()),
        (
            "public -> lab icmp 1.1.1.1 1.1.1.2 echo-requst",
            "`echo-requst` is no type of ICMP: did you mean `echo-request`?".into(),
        ),
        ("public -> lab icmp 1.1.1.1 1.1.1.2 8 9", format!("`9` is one word too many; {shape}")),
        (
            "public -> lab protocol 256 1.1.1.1 1.1.1.2",
            "`256` is no protocol: it is a number from 0 to 255".into(),
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(rules.packet(words).map_err(|error| error.to_string()), Err(expected), "{words}");
    }
}

#[test]
fn a_file_knows_its_zones() {
    assert_eq!(Rules::zones_in(EXAMPLE), ["private", "lab", "public", "self", "admin"]);
}
