use core::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

/// A frame of what a filter asks for: an EtherType, and an IP packet whose header it begins with.
fn frame(ethertype: u16, packet: Vec<u8>) -> Vec<u8> {
    [vec![2; 12], ethertype.to_be_bytes().to_vec(), packet].concat()
}

/// `part`: flags and offset of fragments.
fn ipv4([source, destination]: [Ipv4Addr; 2], protocol: u8, part: u16, ports: [u16; 2]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0];
    packet.extend(part.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend([source.octets(), destination.octets()].concat());
    packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    frame(0x0800, packet)
}

fn ipv6([source, destination]: [Ipv6Addr; 2], protocol: u8, ports: [u16; 2]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 8, protocol, 64];
    packet.extend([source.octets(), destination.octets()].concat());
    packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    frame(0x86dd, packet)
}

fn arp([sender, target]: [Ipv4Addr; 2]) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2];
    packet.extend(sender.octets());
    packet.extend([0; 6]);
    packet.extend(target.octets());
    frame(0x0806, packet)
}

const ONE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

fn lets(filter: &str, frame: &[u8]) -> bool {
    Filter::read(filter).unwrap().lets(&Facts::of(frame))
}

#[test]
fn each_word_means_what_tcpdump_means() {
    let web = ipv4([ONE, TWO], 6, 0, [1234, 80]);
    for (filter, is) in [
        ("", true),
        ("ip", true),
        ("ip6 or arp", false),
        ("tcp", true),
        ("udp or icmp or icmp6", false),
        ("host 10.0.0.1", true),
        ("dst host 10.0.0.1", false),
        ("src host 10.0.0.1 and dst host 10.1.0.2", true),
        ("net 10.1.0.0/16", true),
        ("src net 10.1.0.0/16", false),
        ("port 80", true),
        ("src port 80", false),
        ("dst port 80 and src port 1234", true),
        ("host 2001:db8::1", false),
        ("not not tcp", true),
        ("! udp && tcp", true),
        // From left to right: neither goes before the other.
        ("tcp or udp and udp", false),
        ("tcp or (udp and udp)", true),
        ("not (tcp and port 80)", false),
    ] {
        assert_eq!(lets(filter, &web), is, "{filter}");
    }
    assert!(!lets("port 80", &ipv4([ONE, TWO], 6, 1, [1234, 80])), "a later part has no ports");
    assert!(lets("port 80", &ipv4([ONE, TWO], 17, 0x2000, [80, 1])), "the first part has");
    assert!(!lets("port 80", &ipv4([ONE, TWO], 1, 0, [80, 80])), "an echo has none");
    assert!(lets("arp and host 10.1.0.2 and not ip", &arp([ONE, TWO])));
    let v6 = ipv6(["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()], 58, [0, 0]);
    assert!(lets("icmp6 and ip6 and net 2001:db8::/32 and not icmp", &v6));
    assert!(!lets("ip or ip6 or arp", &frame(0x88cc, vec![])) && lets("not ip", &[]));
}

#[test]
fn what_is_wrong_is_said_with_its_column() {
    for (filter, wrong) in [
        ("foo", "filter:1: 'foo' is no word of a filter; there are host, net, port"),
        ("tcp and", "filter:8: it ends where a test is wanted"),
        ("tcp udp", "filter:5: 'udp' where and, or, or the end is wanted"),
        ("host", "filter:5: an address, as 10.0.0.1 or 2001:db8::1, is missing"),
        ("host and tcp", "filter:6: an address"),
        ("host web", "filter:6: 'web' is no address; write it as"),
        ("net 10.0.0.1/8", "filter:5: '10.0.0.1/8': "),
        ("net 10.0.0.0", "filter:5: '10.0.0.0': not a prefix"),
        ("port 65536", "filter:6: '65536' is no port; it is a number from 0 to 65535"),
        ("port +80", "filter:6: '+80' is no port"),
        ("src tcp", "filter:5: 'tcp' where host, net or port is wanted"),
        ("src", "filter:4: it ends"),
        ("(tcp", "filter:5: a ')' is missing"),
        ("tcp)", "filter:4: ')' closes nothing"),
        ("()", "filter:2: ')' is no word of a filter"),
    ] {
        let reason = Filter::read(filter).unwrap_err();
        assert!(reason.starts_with(wrong), "{filter}: {reason}");
        assert!(!reason.contains('\n'), "{reason}");
    }
    let many = vec!["tcp"; 65].join(" or ");
    assert!(Filter::read(&many).unwrap_err().ends_with("more than 64 tests"));
    assert!(Filter::read(&many[..many.len() - 7]).is_ok());
    let deep = |depth| format!("{}tcp{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::read(&deep(16)).is_ok());
    assert_eq!(Filter::read(&deep(17)).unwrap_err(), "filter:17: brackets in brackets, 16 at most");
    assert_eq!(Filter::read(&"x".repeat(513)).unwrap_err(), "filter: 513 bytes long, 512 at most");
}

/// A filter as a tree: what the steps have to come to.
#[derive(Clone, Debug)]
enum Tree {
    Test(&'static str),
    Not(Box<Self>),
    Both(Box<Self>, Box<Self>),
    Any(Box<Self>, Box<Self>),
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Test(test) => (*test).into(),
            Self::Not(tree) => format!("not ({})", tree.text()),
            Self::Both(one, other) => format!("({}) and ({})", one.text(), other.text()),
            Self::Any(one, other) => format!("({}) or ({})", one.text(), other.text()),
        }
    }

    fn lets(&self, frame: &[u8]) -> bool {
        match self {
            Self::Test(test) => lets(test, frame),
            Self::Not(tree) => !tree.lets(frame),
            Self::Both(one, other) => one.lets(frame) && other.lets(frame),
            Self::Any(one, other) => one.lets(frame) || other.lets(frame),
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    const TESTS: &[&str] = &[
        "arp",
        "ip",
        "ip6",
        "tcp",
        "udp",
        "icmp",
        "host 10.0.0.1",
        "src host 10.0.0.1",
        "port 80",
        "dst port 80",
    ];
    let test = proptest::sample::select(TESTS).prop_map(Tree::Test);
    test.prop_recursive(4, 24, 2, |tree| {
        let two = (tree.clone(), tree.clone());
        prop_oneof![
            tree.prop_map(|tree| Tree::Not(tree.into())),
            two.clone().prop_map(|(one, other)| Tree::Both(one.into(), other.into())),
            two.prop_map(|(one, other)| Tree::Any(one.into(), other.into())),
        ]
    })
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let address = proptest::sample::select(vec![ONE, TWO, Ipv4Addr::new(192, 0, 2, 1)]);
    let ports = proptest::array::uniform2(proptest::sample::select(vec![80_u16, 443, 1234]));
    let protocol = proptest::sample::select(vec![1_u8, 6, 17, 58]);
    (proptest::array::uniform2(address), protocol, ports, 0..4).prop_map(|(ends, protocol, ports, kind)| {
        match kind {
            0 => arp(ends),
            1 => ipv6(ends.map(|address| address.to_ipv6_mapped()), protocol, ports),
            2 => ipv4(ends, protocol, 100, ports),
            _ => ipv4(ends, protocol, 0, ports),
        }
    })
}

proptest! {
    #[test]
    fn steps_come_to_what_the_tree_does(tree in trees(), frame in frames()) {
        let text = tree.text();
        prop_assume!(text.len() <= MAX_BYTES);
        prop_assert_eq!(lets(&text, &frame), tree.lets(&frame), "{}", text);
    }

    #[test]
    fn any_text_is_a_filter_or_a_line(text in "([a-z0-9.:/ ()!&|]|and |or |not |host |net |port |tcp ){0,60}", frame in proptest::collection::vec(any::<u8>(), 0..80)) {
        match Filter::read(&text) {
            Ok(filter) => _ = filter.lets(&Facts::of(&frame)),
            Err(reason) => prop_assert!(reason.starts_with("filter:") && reason.len() < 250, "{}", reason),
        }
    }
}
