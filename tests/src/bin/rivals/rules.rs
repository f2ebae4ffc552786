//! Rules of a firewall in its language and in nftables', and flows that they let through.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::packet::Ends;

/// Addresses of the set.
const SET_ADDRESSES: u32 = 4_096;
/// The default of both.
const OURS_END: &str = "default drop\n";
const THEIRS_END: &str = "    }\n}\n";
/// What people write first: whoever was let through goes on, and nobody else is heard.
const CHAIN: &str = "    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
";

/// A file of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// So many that share nothing: each lets the clients of a network of its own to servers of its
    /// own, at a port of its own.
    Distinct(u32),
    /// A rule that drops what comes from [`SET_ADDRESSES`] addresses, and one that lets the rest
    /// through.
    Set,
}

/// Clients of a rule, a /24; its servers, a /28; and their port.
fn ends(rule: u32) -> (Ipv4Addr, Ipv4Addr, u32) {
    let (client, server) = (Ipv4Addr::from_bits(0x6440_0000 | rule << 8), Ipv4Addr::new(10, 128, 0, 16));
    (client, Ipv4Addr::from_bits(server.to_bits() | rule << 8), 1_024 + rule * 7)
}

/// An address of the set: none is beside another one.
fn of_set(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x6440_0007 | number << 5)
}

impl Rules {
    /// In the firewall's language.
    pub(crate) fn ours(self) -> String {
        let mut text = String::new();
        match self {
            Self::Distinct(count) => {
                for rule in 0..count {
                    let (client, server, port) = ends(rule);
                    _ = writeln!(text, "allow public -> private udp {port} from {client}/24 to {server}/28");
                }
            }
            Self::Set => {
                let all: Vec<_> = (0..SET_ADDRESSES).map(|number| of_set(number).to_string()).collect();
                _ = write!(
                    text,
                    "set blocked = {{ {} }}\ndrop public -> any from blocked\n",
                    all.join(",\n")
                );
                text += "allow public -> private\n";
            }
        }
        text + OURS_END
    }

    /// For nftables, as it stands in its manual: a rule a line.
    pub(crate) fn theirs(self) -> String {
        let mut text = String::from("table ip filter {\n");
        match self {
            Self::Distinct(count) => {
                text += CHAIN;
                for rule in 0..count {
                    let (client, server, port) = ends(rule);
                    _ = writeln!(text, "ip saddr {client}/24 ip daddr {server}/28 udp dport {port} accept");
                }
            }
            Self::Set => {
                let all: Vec<_> = (0..SET_ADDRESSES).map(|number| of_set(number).to_string()).collect();
                _ = writeln!(text, "set blocked {{ type ipv4_addr; elements = {{ {} }}; }}", all.join(", "));
                text =
                    text + CHAIN + "iifname eth1 ip saddr @blocked drop\niifname eth1 oifname eth2 accept\n";
            }
        }
        text + THEIRS_END
    }

    /// A flow that they let through: each number is another one, of each rule as many.
    pub(crate) fn flow(self, number: u32) -> Ends {
        // Below 1024 nobody begins.
        let port = |number: u32| 1_024 + u16::try_from(number % 60_000).unwrap_or(0);
        match self {
            Self::Distinct(count) => {
                let (rule, number) = (number % count, number / count);
                let (client, server, to) = ends(rule);
                let from = Ipv4Addr::from_bits(client.to_bits() | (1 + number % 250));
                let to = (server, u16::try_from(to).unwrap_or(0));
                Ends { from: (from, port(number / 250)), to }
            }
            Self::Set => {
                // Right beside one that is blocked.
                let from = of_set(number % SET_ADDRESSES).to_bits() + 1;
                let from = (Ipv4Addr::from_bits(from), port(number / SET_ADDRESSES));
                Ends { from, to: (Ipv4Addr::new(10, 128, 0, 16), 9) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_flow_is_another_one_and_each_rule_has_some() {
        for rules in [Rules::Distinct(16), Rules::Distinct(4_096), Rules::Set] {
            let flows: Vec<_> = (0..60_000).map(|number| rules.flow(number)).collect();
            let different: HashSet<_> = flows.iter().collect();
            assert_eq!(different.len(), flows.len(), "{rules:?}");
        }
        let rules = Rules::Distinct(256);
        let ports: HashSet<_> = (0..256).map(|number| rules.flow(number).to.1).collect();
        assert_eq!(ports.len(), 256);
    }

    #[test]
    fn a_rule_is_the_same_in_each_form() {
        let rules = Rules::Distinct(2);
        assert!(
            rules.ours().contains("allow public -> private udp 1031 from 100.64.1.0/24 to 10.128.1.16/28")
        );
        assert!(
            rules.theirs().contains("ip saddr 100.64.1.0/24 ip daddr 10.128.1.16/28 udp dport 1031 accept")
        );
        assert_eq!(rules.flow(1).to, (Ipv4Addr::new(10, 128, 1, 16), 1031));
        assert_eq!(Rules::Set.ours().matches(",\n").count(), 4_095);
    }
}
