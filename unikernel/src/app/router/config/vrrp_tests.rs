use super::*;

const FILE: &str = r#"
[public]
addresses = ["192.0.2.2/24", "2001:db8:1::2/64"]
[private]
addresses = ["10.0.0.2/24"]
[[vrrp]]
interface = "public"
id = 7
addresses = ["192.0.2.80", "2001:db8:1::80", "fe80::7"]
priority = 150
interval = "500ms"
sync = "pair"
[[vrrp]]
interface = "private"
id = 8
addresses = ["10.0.0.1"]
priority = 150
interval = "500ms"
sync = "pair"
[[service]]
name = "web"
listen = "192.0.2.80:80"
[[service.server]]
address = "10.0.0.11:8080"
"#;

fn said(config: &Config) -> Vec<String> {
    config.faults.iter().map(ToString::to_string).collect()
}

/// The one line about a file that is [`FILE`] but for a change.
fn said_of(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    let said = said(&Config::of("", "", Some(FILE.replacen(from, to, 1).as_bytes())));
    assert_eq!(said.len(), 1, "{from} -> {to}: {said:?}");
    said[0].strip_prefix("paravane.toml:").unwrap().to_owned()
}

#[test]
fn a_file_says_what_is_shared() {
    let config = Config::of("", "", Some(FILE.as_bytes()));
    assert_eq!(said(&config), [""; 0]);
    let lines: Vec<_> = config
        .effective()
        .into_iter()
        .map(|(key, value, origin)| format!("{key} = {value} ({origin})"))
        .collect();
    for line in [
        "vrrp.public.7.addresses = 192.0.2.80, 2001:db8:1::80, fe80::7 (paravane.toml:9:13)",
        "vrrp.public.7.priority = 150 (paravane.toml:10:12)",
        "vrrp.private.8.interval = 500ms (paravane.toml:18:12)",
        "vrrp.private.8.preempt = false (default)",
        "vrrp.private.8.checksum = message (default)",
        "vrrp.private.8.sync = pair (paravane.toml:19:8)",
    ] {
        assert!(lines.iter().any(|seen| seen == line), "{line} in {lines:#?}");
    }
    let [public, private] = &*config.vrrp else { panic!("two of them") };
    let counts = [public, private]
        .map(|one| [true, false].map(|is_v4| one.settings(is_v4).map(|it| it.addresses.len())));
    assert_eq!(counts, [[Some(1), Some(2)], [Some(1), None]]);
    assert!(config.shares("192.0.2.80".parse().unwrap()) && !config.shares("192.0.2.2".parse().unwrap()));
    assert_eq!(config.services[0].interface.as_ref().unwrap().value, "public");
}

#[test]
fn the_command_line_says_it_in_a_word() {
    let line = "public=192.0.2.2/24 private=10.0.0.2/24 vrrp=public,7,192.0.2.80,192.0.2.81,priority=120,sync=a,preempt \
                vrrp=private,8,10.0.0.1,priority=120,interval=1s,checksum=pseudo-header,sync=a,preempt";
    let config = Config::of("", line, None);
    assert_eq!(said(&config), [""; 0]);
    let [public, private] = &*config.vrrp else { panic!("two of them") };
    assert_eq!(
        (public.id.get(), public.addresses.len(), public.priority, public.preempts),
        (7, 2, 120, true)
    );
    assert_eq!(private.checksum, paravane_appliance::vrrp::Checksum::PseudoHeader);
    let column = line.find("10.0.0.1,p").unwrap() + 1;
    let wrong = said(&Config::of("", &line.replace("10.0.0.1,p", "10.0.9.1,p"), None));
    assert_eq!(
        wrong,
        [format!(
            "command line:{column}: 10.0.9.1 is in no network of private; what is shared there is a neighbour of its addresses"
        )]
    );
}

#[test]
fn what_is_wrong_is_named_with_what_would_be_right() {
    for (from, to, wanted) in [
        ("id = 7", "id = 0", "8:6: '0'; a number from 1 to 255 is wanted"),
        ("id = 7", "id = 256", "8:6: '256'; a number from 1 to 255 is wanted"),
        ("id = 7\n", "", "6:3: a virtual router needs 'id', as id = 7"),
        ("priority = 150", "priority = 255", "10:12: '255'; a number from 1 to 254 is wanted"),
        ("priority = 150", "priority = 0", "10:12: '0'; a number from 1 to 254 is wanted"),
        (
            "priority = 150",
            "priority = 151",
            "17:12: those that move together have the same priority; another is at paravane.toml:10:12",
        ),
        (
            "interval = \"500ms\"",
            "interval = \"5ms\"",
            "11:12: '5ms': an interval is 10ms to 40950ms, in steps of 10ms",
        ),
        (
            "interval = \"500ms\"",
            "interval = \"41s\"",
            "11:12: '41s': an interval is 10ms to 40950ms, in steps of 10ms",
        ),
        (
            "interval = \"500ms\"",
            "interval = \"15ms\"",
            "11:12: '15ms': an interval is 10ms to 40950ms, in steps of 10ms",
        ),
        (
            "\"192.0.2.80\"",
            "\"192.0.3.80\"",
            "9:14: 192.0.3.80 is in no network of public; what is shared there is a neighbour of its addresses",
        ),
        (
            "\"192.0.2.80\"",
            "\"192.0.2.80/24\"",
            "9:14: '192.0.2.80/24' is no address; write it as 192.0.2.80, without the length of a prefix",
        ),
        (
            "\"192.0.2.80\"",
            "\"192.0.2.255\"",
            "9:14: 192.0.2.255 is the network 192.0.2.0/24 itself, or all of its hosts; a host's address is wanted",
        ),
        (
            "\"192.0.2.80\"",
            "\"192.0.2.2\"",
            "9:14: 192.0.2.2 is this machine's own; what machines share is another one",
        ),
        ("\"192.0.2.80\"", "\"224.0.0.18\"", "9:14: '224.0.0.18' is no host's address"),
        ("\"fe80::7\"", "\"192.0.2.80\"", "9:14: 192.0.2.80 is shared twice; first at paravane.toml:9:46"),
        (
            "addresses = [\"10.0.0.1\"]",
            "addresses = [\"fe80::8\"]",
            "16:14: fe80::8 is in no network of private; what is shared there is a neighbour of its addresses",
        ),
        ("addresses = [\"10.0.0.1\"]", "addresses = []", "16:13: there is nothing to share"),
        (
            "addresses = [\"10.0.0.1\"]",
            "addresses = \"10.0.0.1\"",
            "16:13: a string where a list is wanted, as [\"192.0.2.80\", \"2001:db8:1::80\"]",
        ),
        (
            "interface = \"private\"",
            "interface = \"nic3\"",
            "14:13: nic3 has no addresses; write [nic3] with addresses",
        ),
        (
            "interface = \"private\"",
            "interface = \"admin\"",
            "14:13: 'admin' is no interface that packets are passed on by; there are public, private, nic3..",
        ),
        (
            "sync = \"pair\"",
            "sync = \"pair\"\nsnyc = \"x\"",
            "13:1: unknown key 'snyc' in [[vrrp]]; there are interface, id, addresses, priority, interval, preempt, sync, checksum",
        ),
        (
            "sync = \"pair\"",
            "checksum = \"none\"",
            "12:12: 'none' is no way to make a checksum; there are message (RFC 9568), pseudo-header (keepalived)",
        ),
        ("sync = \"pair\"", "preempt = 1", "12:11: a number where true or false is wanted"),
        ("[[vrrp]]", "[vrrp]", "6:2: write [[vrrp]], once for each of them"),
    ] {
        let said = said_of(from, to);
        assert_eq!(said, wanted, "{from} -> {to}");
    }
    // Two of the same id on an interface.
    let twice = FILE.replace(
        "interface = \"private\"\nid = 8\naddresses = [\"10.0.0.1\"]",
        "interface = \"public\"\nid = 7\naddresses = [\"192.0.2.81\"]",
    );
    let said = said(&Config::of("", "", Some(twice.as_bytes())));
    assert_eq!(said, ["paravane.toml:15:6: two virtual routers on public have the id 7"]);
}
