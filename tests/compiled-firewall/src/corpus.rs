//! Files of rules of many sizes, the same each time.

use std::fmt::Write as _;

pub(crate) const ZONES: [&str; 5] = ["public", "private", "lab", "admin", "self"];

/// All, by their names.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    vec![
        ("example", include_str!("../../../firewall/rules/example.rules").into()),
        ("distinct_16", distinct(16)),
        ("distinct_256", distinct(256)),
        ("distinct_4096", distinct(4_096)),
        ("one_set", one_set()),
        ("mixed_256", mixed(256)),
        ("mixed_4096", mixed(4_096)),
        ("many_zones", many_zones()),
    ]
}

/// Rules that share nothing: each has servers, clients and a port of its own, in both versions.
fn distinct(count: u32) -> String {
    let mut text = String::new();
    for number in 0..count {
        let verdict = ["allow", "reject", "drop"][number as usize % 3];
        let (high, low) = (number / 256, number % 256);
        let port = 1_024 + number * 7;
        _ = writeln!(
            text,
            "{verdict} public -> private tcp {port} from {{ 100.{high}.{low}.0/24, 2001:db8:{number:x}::/48 }} \
             to {{ 10.{high}.{low}.16/28, fd00:{number:x}::/64 }}"
        );
    }
    text + "default drop\n"
}

/// One rule over many addresses.
fn one_set() -> String {
    let mut text = String::from("set blocked = {\n");
    for number in 0..4_096_u32 {
        _ = writeln!(text, "198.{}.{}.{},", 18 + number / 2_048, number / 8 % 256, number % 8 * 32 + 7);
    }
    text + "}\ndrop public -> any from blocked\nallow public -> private\ndefault drop\n"
}

/// Rules as they grow over years: by servers, by clients, by ports, for everybody; exceptions above
/// what they are exceptions of, and some that nothing comes to.
fn mixed(count: u32) -> String {
    let mut text =
        String::from("set office = { 192.0.2.0/25, 2001:db8:1::/48 }\nset web = { 80, 443, 8000-8080 }\n");
    let mut state = 0x2545_f491_u32;
    let mut draw = |below: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % below
    };
    for number in 0..count {
        let verdict = ["allow", "allow", "reject", "drop"][draw(4) as usize];
        let zones = [
            "public -> private",
            "public -> { private, lab }",
            "any -> self",
            "admin -> any",
            "lab -> public",
        ];
        let zones = zones[draw(5) as usize];
        let server = format!("10.{}.{}.{}", draw(4), draw(count.div_ceil(16)), draw(256));
        let network = format!("203.{}.{}.0/24", draw(4), draw(256));
        let port = 1 + draw(2_000);
        _ = match draw(10) {
            0..3 => writeln!(text, "{verdict} {zones} tcp {port} to {server}"),
            3 | 4 => writeln!(
                text,
                "{verdict} {zones} {{ tcp {port}-{}, udp {port} }} from {network}",
                port + draw(9)
            ),
            5 => writeln!(text, "{verdict} {zones} {{ tcp web, icmp echo-request }} from office to {server}"),
            6 => writeln!(text, "{verdict} {zones} udp {port} source-port {} to {server}", port % 64),
            7 => writeln!(text, "{verdict} {zones} to {{ {server}, fd00:{number:x}::/96 }} from {network}"),
            8 => writeln!(
                text,
                "{verdict} {zones} {{ protocol {}, icmpv6 {} }} to any",
                draw(5) + 100,
                draw(255)
            ),
            _ => writeln!(text, "{verdict} {zones} tcp {port}"),
        };
    }
    text + "default reject\n"
}

/// Rules that many pairs of zones have, each pair others.
fn many_zones() -> String {
    let zones = [
        "any -> self",
        "any -> private",
        "admin -> any",
        "{ public, lab } -> any",
        "public -> { private, lab }",
        "lab -> public",
        "any -> any",
    ];
    let mut text = String::new();
    for number in 0..600 {
        let verdict = ["allow", "reject", "drop"][number % 3];
        let (zones, host) = (zones[number * 5 % 7], number / 4);
        _ = match number % 4 {
            0 => writeln!(text, "{verdict} {zones} tcp {}-{} to 10.0.0.{host}", number, number + 40),
            1 => writeln!(text, "{verdict} {zones} udp {} from 10.1.0.{host}", number / 2),
            2 => writeln!(text, "{verdict} {zones} to 10.0.0.{host}-10.0.0.{}", host + 3),
            _ => writeln!(text, "{verdict} {zones} tcp {} source-port {}", number / 2, host + 1_000),
        };
    }
    text + "default drop\n"
}
