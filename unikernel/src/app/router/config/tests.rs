use super::*;
use log::LevelFilter;

const FILE: &str = r#"
log = "debug"
[admin]
address = "10.0.0.2/24"
gateway = "10.0.0.1"
mtu = 9000
[public]
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
[private]
addresses = ["10.1.0.1/16"]
mtu = 1_400
[[route]]
to = "0.0.0.0/0"
via = "192.0.2.254"
[[route]]
to = "2001:db8:ff::/48"
via = "fe80::1"
interface = "public"
[[route]]
to = "10.2.0.0/16"
interface = "private"
[[route]]
to = "198.51.100.0/24"
kind = "unreachable"
[stop]
drain-seconds = 5
panic = "halt"
"#;

fn of_file(text: &str) -> Config {
    Config::of("", "", Some(text.as_bytes()))
}

fn said(config: &Config) -> Vec<String> {
    config.faults.iter().map(ToString::to_string).collect()
}

fn effective(config: &Config) -> Vec<String> {
    config.effective().iter().map(|(key, value, origin)| format!("{key} = {value} ({origin})")).collect()
}

/// The one line about a file that is [`FILE`] but for a change.
fn said_of(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    let said = said(&of_file(&FILE.replacen(from, to, 1)));
    assert_eq!(said.len(), 1, "{from} -> {to}: {said:?}");
    said[0].strip_prefix("paravane.toml:").unwrap().to_owned()
}

#[test]
fn a_file_says_all_of_it() {
    let config = of_file(FILE);
    assert_eq!(said(&config), [""; 0]);
    assert_eq!(
        effective(&config),
        [
            "log = debug (paravane.toml:2:7)",
            "irq = auto (default)",
            "admin.address = 10.0.0.2/24 (paravane.toml:4:11)",
            "admin.gateway = 10.0.0.1 (paravane.toml:5:11)",
            "admin.mtu = 9000 (paravane.toml:6:7)",
            "admin.token = none: read only (default)",
            "stop.drain-seconds = 5 (paravane.toml:26:17)",
            "stop.panic = halt (paravane.toml:27:9)",
            "public.addresses = 192.0.2.1/24, 2001:db8:1::1/64 (paravane.toml:8:13)",
            "public.mtu = 1500 (default)",
            "private.addresses = 10.1.0.1/16 (paravane.toml:10:13)",
            "private.mtu = 1400 (paravane.toml:11:7)",
            "route = 0.0.0.0/0 via 192.0.2.254 by public (paravane.toml:12:3)",
            "route = 2001:db8:ff::/48 via fe80::1 by public (paravane.toml:15:3)",
            "route = 10.2.0.0/16 by private (paravane.toml:19:3)",
            "route = 198.51.100.0/24 unreachable (paravane.toml:22:3)",
        ]
    );
}

#[test]
fn the_command_line_says_the_same_in_words() {
    let line = "log=debug admin=10.0.0.2/24,10.0.0.1,mtu=9000 public=192.0.2.1/24,2001:db8:1::1/64 \
                private=10.1.0.1/16,mtu=1400 route=0.0.0.0/0,192.0.2.254 route=2001:db8:ff::/48,fe80::1,public \
                route=10.2.0.0/16,private route=198.51.100.0/24,unreachable drain=5 panic=halt";
    let (words, file) = (Config::of("", line, None), of_file(FILE));
    assert_eq!(said(&words), [""; 0]);
    let values = |config: &Config| {
        config.effective().into_iter().map(|(key, value, _)| (key, value)).collect::<Vec<_>>()
    };
    assert_eq!(values(&words), values(&file));
    let gateway = words.effective().into_iter().find(|(key, ..)| key == "admin.gateway").unwrap();
    assert_eq!(gateway.2.to_string(), format!("command line:{}", line.find("10.0.0.1,").unwrap() + 1));
}

#[test]
fn of_each_key_the_first_that_has_it_counts() {
    let built_in = "log = 'error'\nirq = 'msix'\n[public]\nmtu = 1300\n[[route]]\nto = '10.9.0.0/16'\nkind = 'blackhole'";
    let line = "log=warn public=192.0.2.1/24 route=10.8.0.0/16,blackhole route=10.7.0.0/16,blackhole";
    let disk = "log = 'trace'\n[private]\naddresses = ['10.1.0.1/24']";
    let config = Config::of(built_in, line, Some(disk.as_bytes()));
    assert_eq!(said(&config), [""; 0]);
    assert_eq!(
        effective(&config)[..2],
        ["log = trace (paravane.toml:1:7)", "irq = msix (built-in paravane.toml:2:7)"]
    );
    assert_eq!(config.port("public").unwrap().mtu_bytes.value, 1300);
    assert_eq!(config.port("private").unwrap().addresses.origin.to_string(), "paravane.toml:3:13");
    let routes: Vec<_> = config.routes.iter().map(ToString::to_string).collect();
    assert_eq!(
        routes,
        ["10.8.0.0/16 blackhole", "10.7.0.0/16 blackhole"],
        "all of one source, and no others"
    );
    let config = Config::of(built_in, line, Some(b"[[route]]\nto = '10.6.0.0/16'\nkind = 'unreachable'"));
    assert_eq!(config.routes.len(), 1);
}

#[test]
fn the_built_in_file_is_right() {
    let config = Config::of(BUILT_IN, "", None);
    assert_eq!((said(&config), config.admin.addressing()), (Vec::new(), Addressing::Dhcp));
    assert_eq!(config.log.value, LevelFilter::Info);
}

#[test]
fn what_is_unknown_is_named_with_what_there_is() {
    for (from, to, wanted) in [
        ("mtu = 9000", "mut = 9000", "6:1: unknown key 'mut' in [admin]; there are address, gateway, mtu"),
        (
            "addresses = [\"10",
            "address = [\"10",
            "10:1: unknown key 'address' in [private]; there are addresses, mtu",
        ),
        ("kind =", "knid =", "24:1: unknown key 'knid' in [[route]]; there are to, via, interface, kind"),
        ("log =", "lgo =", "2:1: unknown key 'lgo'; there are log, irq, [admin]"),
        ("[private]", "[privat]\nx = 1\n[private]", "9:2: no such table 'privat'; there are log, irq"),
        ("[private]", "[private.x]\n[private]", "9:2: no such table 'private.x'; there are log, irq"),
        ("[admin]", "[[admin]]", "3:3: write [admin], once"),
        ("[stop]", "[[stop]]", "25:3: write [stop], once"),
        ("drain-seconds", "drain", "26:1: unknown key 'drain' in [stop]; there are drain-seconds, panic"),
    ] {
        let said = said_of(from, to);
        assert!(said.starts_with(wanted), "{said}");
    }
    assert_eq!(
        said(&of_file("[route]\nto = '::/0'\nkind = 'blackhole'")),
        ["paravane.toml:1:2: write [[route]], once for each route"]
    );
}

#[test]
fn a_value_that_is_none_is_named_with_what_would_be_one() {
    for (from, to, wanted) in [
        ("\"debug\"", "7", "2:7: a number where a string in quotes is wanted"),
        ("\"debug\"", "\"loud\"", "2:7: 'loud' is no level; there are error"),
        ("10.0.0.2/24", "10.0.0.2", "4:11: '10.0.0.2' is no address with the length of its prefix"),
        ("10.0.0.2/24", "2001:db8::2/64", "4:11: '2001:db8::2/64': admin has IPv4 alone"),
        ("= 9000", "= 9001", "6:7: '9001'; an MTU is a number of bytes from 576 to 9000"),
        ("= 9000", "= -1", "6:7: '-1'; an MTU is"),
        ("= 9000", "= \"9000\"", "6:7: a string; an MTU is"),
        (
            "192.0.2.1/24",
            "192.0.2.1/33",
            "8:14: '192.0.2.1/33': the length of a prefix is 1 to 32, as 192.0.2.1/24",
        ),
        ("2001:db8:1::1/64", "2001:db8:1::1/", "8:30: '2001:db8:1::1/' is no address with"),
        (
            "2001:db8:1::1/64",
            "2001:db8:1::1/164",
            "8:30: '2001:db8:1::1/164': the length of a prefix is 1 to 128, as 2001:db8:1::1/64",
        ),
        ("192.0.2.1/24", "192.0.2.0/24", "8:14: '192.0.2.0/24' is the network itself"),
        ("192.0.2.1/24", "192.0.2.255/24", "8:14: '192.0.2.255/24' is the network itself"),
        ("192.0.2.1/24", "224.0.0.1/24", "8:14: '224.0.0.1/24' is no host's address"),
        ("[\"10.1.0.1/16\"]", "\"10.1.0.1/16\"", "10:13: a string where a list is wanted"),
        ("[\"10.1.0.1/16\"]", "[\"10.1.0.1/16\", 7]", "10:29: a number where a string in quotes is wanted"),
        (
            "0.0.0.0/0",
            "0.0.0.1/0",
            "13:6: '0.0.0.1/0': the address has bits behind its prefix: 0.0.0.0/0 may be meant",
        ),
        ("192.0.2.254", "gateway", "14:7: 'gateway' is no address of a gateway"),
        ("\"private\"", "\"admin\"", "21:13: 'admin' is no interface that packets are passed on by"),
        ("= 5", "= 3601", "26:17: '3601'; a number of seconds from 0 to 3600 is wanted"),
        ("\"halt\"", "\"stop\"", "27:9: 'stop' is nothing that follows a panic; there are reset, halt"),
        ("= 5", "= '5'", "26:17: a string; a number of seconds"),
        ("\"unreachable\"", "\"lost\"", "24:8: 'lost' is no kind; there are blackhole, unreachable"),
    ] {
        let said = said_of(from, to);
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn what_does_not_go_together_is_named() {
    for (from, to, wanted) in [
        ("10.0.0.2/24", "dhcp", "5:11: a gateway of admin goes with an address"),
        ("\"10.0.0.1\"", "\"10.0.1.1\"", "5:11: 10.0.1.1 is no neighbour of 10.0.0.2/24"),
        (
            "10.0.0.2/24\"\ngateway = \"10.0.0.1",
            "192.0.2.9/28\"\ngateway = \"192.0.2.8",
            "8:14: 192.0.2.0/24 of public overlaps 192.0.2.0/28 of admin",
        ),
        ("10.1.0.1/16", "192.0.2.129/25", "10:14: 192.0.2.128/25 of private overlaps 192.0.2.0/24 of public"),
        ("[private]", "mtu = 1279\n[private]", "9:7: public with IPv6 has an MTU of 1280 bytes at least"),
        ("192.0.2.254", "192.0.2.1", "14:7: 192.0.2.1 is an address of the router itself"),
        ("192.0.2.254", "192.0.3.254", "14:7: 192.0.3.254 is in no network of the router"),
        ("192.0.2.254", "2001:db8:1::2", "14:7: 2001:db8:1::2 and 0.0.0.0/0 are of different IP versions"),
        (
            "192.0.2.254\"",
            "192.0.2.254\"\ninterface = \"private\"",
            "14:7: 192.0.2.254 is on the link of public, not of private",
        ),
        ("interface = \"public\"\n", "", "17:7: fe80::1 is good on one link alone; say which by 'interface'"),
        ("\"private\"\n[[", "\"nic3\"\n[[", "21:13: nic3 has no addresses"),
        ("to = \"198.51.100.0/24\"\n", "", "22:3: a route needs 'to'"),
        ("kind = \"unreachable\"\n", "", "22:3: a route needs 'via', 'interface' or 'kind'"),
        (
            "kind = \"unreachable\"",
            "kind = \"unreachable\"\nvia = \"192.0.2.9\"",
            "24:8: a route has a kind, or leads somewhere",
        ),
        (
            "mtu = 9000",
            "mtu = 9000\nmtu = 1500",
            "7:1: 'admin.mtu' is said twice; first at paravane.toml:6:7",
        ),
        (
            "to = \"10.2.0.0/16\"",
            "to = \"10.2.0.0/16\"\nto = \"10.3.0.0/16\"",
            "21:1: 'route.to' is said twice; first at paravane.toml:20:6",
        ),
    ] {
        let said = said_of(from, to);
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn all_that_cannot_be_read_is_said_at_once() {
    let config =
        of_file("log = 'x'\n[public]\naddresses = ['10.0.0.1/24']\nmtu = 1\n[[route]]\nto = 'y'\nvia = 'z'");
    let lines: Vec<_> = said(&config).iter().map(|said| said[..17].to_owned()).collect();
    assert_eq!(lines, ["paravane.toml:1:7", "paravane.toml:4:7", "paravane.toml:6:6", "paravane.toml:7:7"]);
}

#[test]
fn a_file_that_is_no_toml_is_one_line_and_the_others_count() {
    let config = Config::of("", "admin=10.0.0.2/24", Some(b"[admin\n"));
    assert_eq!(said(&config).len(), 1);
    assert!(said(&config)[0].contains("this is no TOML: "), "{:?}", config.faults);
    assert!(config.admin.address.value.is_some());
}

#[test]
fn a_word_is_named_with_its_column() {
    let config =
        Config::of("", "quiet  public=10.0.0.1/24,10.1.0.1/33 wibble=7 route=10.2.0.0/16,private,x", None);
    assert_eq!(
        said(&config),
        [
            "command line:27: '10.1.0.1/33': the length of a prefix is 1 to 32, as 10.1.0.1/24",
            "command line:74: 'x' is no address of a gateway; write it as 10.0.0.1 or 2001:db8::1",
        ]
    );
}

#[test]
fn what_linux_does_after_a_panic_is_none_of_ours() {
    let config = Config::of("", "panic=1 reboot=k panic=-1", None);
    assert_eq!((said(&config), config.stop.panic.value), (Vec::new(), OnPanic::Reset));
    assert!(!is_word("panic=1") && is_word("panic=reset") && is_word("panic=halt"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_named(text in "[a-z0-9\\[\\]=\"'\\.\n:/ ,{}#-]{0,200}") {
        let config = Config::of(&text, &text, Some(text.as_bytes()));
        for fault in &config.faults {
            proptest::prop_assert!(!fault.to_string().contains('\n') || text.contains('\n'));
        }
    }
}
