//! Rules of a file: what is said of wrong ones, and what a router does with right ones.

use alloc::collections::BTreeMap;

use paravane_mock_hal::MockPlatform;
use paravane_net::{Frame, FrameLayout, MacAddr};
use serde_json::Value;

use super::rules::Loaded;
use super::testing::{Known, info, report};
use super::*;

const LINE: &str = "public=192.0.2.1/24 private=10.0.0.1/24 rules=shop.rules";
const RULES: &str = "allow public -> private udp 53 limit 2/min counter dns log \"names\"\nallow private -> self\n\ndefault drop";

/// What there is on the disk.
fn disk() -> BTreeMap<&'static str, Vec<u8>> {
    BTreeMap::from([
        ("shop.rules", RULES.into()),
        ("wrong.rules", b"allow public -> privte udp 53\nallow lab -> self\ndefault drop".into()),
        ("odd.rules", b"allow public -> private\nallow public -> private tcp 80\ndefault drop".into()),
        ("bytes.rules", b"default drop\n\xff".into()),
    ])
}

fn load(line: &str) -> (Config, Option<Loaded>) {
    let mut config = Config::of("", line, None);
    let names = ["public", "private"].map(String::from);
    let loaded = Loaded::of(&mut config, &names, &mut |name| {
        disk().remove(name).ok_or_else(|| "there is no such file on the disk".into())
    });
    (config, loaded)
}

fn faults(rules: &str) -> Vec<String> {
    let (config, loaded) = load(&LINE.replace("shop.rules", rules));
    assert!(loaded.is_none(), "{rules}");
    config.faults.iter().map(|fault| fault.to_string()).collect()
}

fn router(heap_bytes: usize) -> Router {
    let pool = FramePool::new(MockPlatform::new(), FrameLayout::new(64)).unwrap();
    let (config, loaded) = load(LINE);
    let mut plan = Plan::new(config).with_rules(loaded);
    for (name, low) in ["public", "private"].into_iter().zip(0..) {
        plan.add(name, &info(low));
    }
    let mut random = paravane_appliance::random::Random::new(&Known).unwrap();
    let mut router = plan.build(pool, Some(&mut random), &|| heap_bytes, Instant::default());
    [0, 1].into_iter().for_each(|id| router.link_changed(InterfaceId(id), true, Instant::default()));
    router
}

#[test]
fn each_mistake_is_a_line_that_says_where_and_what_would_be_right() {
    assert_eq!(
        faults("wrong.rules"),
        [
            "command line:47: wrong.rules:1:17: error: there is no zone `privte`: did you mean `private`?",
            "command line:47: wrong.rules:2:7: error: there is no zone `lab`: there is `private`, `public` or `self`",
        ]
    );
    assert_eq!(faults("none.rules"), ["command line:47: none.rules: there is no such file on the disk"]);
    assert_eq!(faults("bytes.rules"), ["command line:47: bytes.rules:2: this is no text of UTF-8"]);
    let (config, loaded) = load(&LINE.replace("shop.rules", "a/b"));
    assert!(loaded.is_none());
    assert!(config.faults[0].reason.starts_with("'a/b' is no file in the disk's root directory"));
}

#[test]
fn what_was_surely_not_meant_is_said_and_does_no_harm() {
    let (config, loaded) = load(&LINE.replace("shop.rules", "odd.rules"));
    assert!(config.faults.is_empty());
    let warnings = loaded.unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("odd.rules:2:1: warning:") && warnings[0].contains("line 1"),
        "{warnings:?}"
    );
    let (config, loaded) = load(&LINE.replace("shop.rules", "none"));
    assert!(config.faults.is_empty() && loaded.is_none());
    assert!(
        config
            .effective()
            .iter()
            .any(|(key, value, _)| (key.as_str(), value.as_str()) == ("firewall.rules", "none"))
    );
}

#[test]
fn a_file_has_a_table_for_it() {
    let config = Config::of(
        "",
        "",
        Some(b"[firewall]\nrules = 'shop.rules'\npick-up = true\n[public]\nreverse-path = 'loose'"),
    );
    let lines: Vec<_> = config
        .effective()
        .iter()
        .map(|(key, value, origin)| alloc::format!("{key} = {value} ({origin})"))
        .collect();
    for line in [
        "firewall.rules = shop.rules (paravane.toml:2:9)",
        "firewall.pick-up = true (paravane.toml:3:11)",
        "public.reverse-path = loose (paravane.toml:5:16)",
    ] {
        assert!(lines.iter().any(|one| one == line), "{line}: {lines:?}");
    }
    for (text, wanted) in [
        ("[[firewall]]", "1:3: write [firewall], once"),
        ("[firewall]\nrule = 'x'", "2:1: unknown key 'rule' in [firewall]; there are rules, pick-up"),
        ("[public]\nreverse-path = 'lose'", "2:16: 'lose' is no reverse path; there are strict, loose"),
        ("[firewall]\npick-up = 'yes'", "2:11: "),
    ] {
        let config = Config::of("", "", Some(text.as_bytes()));
        assert_eq!(config.faults.len(), 1);
        assert!(
            config.faults[0].to_string().starts_with(&alloc::format!("paravane.toml:{wanted}")),
            "{}",
            config.faults[0]
        );
    }
}

/// A datagram from a host on `public` to one on `private`.
fn datagram(router: &mut Router, port: u16, source_port: u16) {
    let mut bytes = vec![0; 46];
    bytes[..6].copy_from_slice(&MacAddr::local(0).0);
    bytes[6..12].copy_from_slice(&[2; 6]);
    bytes[12..34]
        .copy_from_slice(&[8, 0, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 9, 10, 0, 0, 9]);
    let sum: u32 = bytes[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes[34..36].copy_from_slice(&source_port.to_be_bytes());
    bytes[36..38].copy_from_slice(&port.to_be_bytes());
    bytes[39] = 12;
    let mut frame: Frame = router.pool.get().unwrap();
    assert!(frame.append(&bytes));
    let mut burst = Burst::new();
    burst.push(frame);
    router.take(InterfaceId(0), &mut burst, Instant::from_nanos(1));
}

#[test]
fn hits_are_told_by_their_lines() {
    let mut router = router(32 << 20);
    assert_eq!(router.unready(), [""; 0]);
    for source_port in 1..=3 {
        datagram(&mut router, 53, source_port);
    }
    datagram(&mut router, 54, 1);
    let status: Value = serde_json::from_str(&status::to_json(&router, &report())).unwrap();
    let firewall = &status["firewall"];
    assert_eq!(firewall["from"], "shop.rules");
    assert_eq!(firewall["is_compiled"], false);
    let rules: Vec<_> = firewall["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            (
                rule["line"].as_u64().unwrap(),
                rule["hits_total"].as_u64().unwrap(),
                rule["limited_total"].as_u64(),
            )
        })
        .collect();
    assert_eq!(rules, [(1, 3, Some(1)), (2, 0, None), (4, 1, None)]);
    assert_eq!(firewall["rules"][2]["verdict"], "drop");
    assert_eq!(firewall["counters"]["dns"], 3);
    assert_eq!(status["interfaces"][0]["drops"]["rule_limit"], 1);
    assert_eq!(status["interfaces"][0]["drops"]["rule_drop"], 1);
    let metrics = metrics::to_text(&router, &report());
    for line in [
        "paravane_rule_hits_total{rule=\"1\"} 3",
        "paravane_rule_hits_total{rule=\"4\"} 1",
        "paravane_rule_limited_total{rule=\"1\"} 1",
        "paravane_counter_hits_total{counter=\"dns\"} 3",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}");
    }
}

#[test]
fn without_room_for_flows_nothing_passes() {
    let router = router(1 << 20);
    assert!(router.path.is_none());
    assert!(router.unready()[0].contains("nothing is passed on: 65536 flows take"), "{:?}", router.unready());
}
