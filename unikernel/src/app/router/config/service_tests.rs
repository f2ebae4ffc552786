use super::*;
use paravane_appliance::check::{Http, Probe};

const FILE: &str = r#"
[public]
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
[private]
addresses = ["10.0.0.1/24", "2001:db8:2::1/64"]
[balancer]
flows = 1_000
sources = ["10.0.0.1"]
key = "00112233445566778899aabbccddeeff"
source-rate = 50
[[service]]
name = "web"
listen = "192.0.2.80:80"
algorithm = "maglev"
pick-up = true
check = "http"
path = "/health"
expect = "200"
interval = "500ms"
failures = 3
[[service.server]]
name = "a"
address = "10.0.0.11:8080"
weight = 3
[[service.server]]
address = "10.0.0.12:8080"
connections = 100
[[service]]
name = "dns"
listen = "[2001:db8:1::53]:53"
protocol = "udp"
idle-timeout = "1m"
[[service.server]]
name = "a"
address = "[2001:db8:2::53]:53"
"#;

fn of_file(text: &str) -> Config {
    Config::of("", "", Some(text.as_bytes()))
}

fn said(config: &Config) -> Vec<String> {
    config.faults.iter().map(ToString::to_string).collect()
}

/// The one line about a file that is [`FILE`] but for a change.
fn said_of(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    let said = said(&of_file(&FILE.replacen(from, to, 1)));
    assert!(!said.is_empty(), "{from} -> {to}");
    assert!(said.len() == 1 || to.contains("serve]]"), "{from} -> {to}: {said:?}");
    said[0].strip_prefix("paravane.toml:").unwrap().to_owned()
}

fn effective(config: &Config) -> Vec<String> {
    let all = config.effective().into_iter();
    let of_services = all.filter(|(key, ..)| key.starts_with("service.") || key.starts_with("balancer."));
    of_services.map(|(key, value, origin)| format!("{key} = {value} ({origin})")).collect()
}

#[test]
fn a_file_says_what_is_balanced() {
    let config = of_file(FILE);
    assert_eq!(said(&config), [""; 0]);
    let lines = effective(&config);
    for line in [
        "balancer.flows = 1000 (paravane.toml:7:9)",
        "balancer.key = set (paravane.toml:9:7)",
        "balancer.source-connections = no limit (default)",
        "balancer.source-rate = 50 a second (paravane.toml:10:15)",
        "service.web.listen = 192.0.2.80:80 (paravane.toml:13:10)",
        "service.web.mode = dnat (default)",
        "service.web.algorithm = maglev (paravane.toml:14:13)",
        "service.web.pick-up = true (paravane.toml:15:11)",
        "service.web.expect = 200-200 (paravane.toml:18:10)",
        "service.web.host = 192.0.2.80:80 (default)",
        "service.web.interval = 500ms (paravane.toml:19:12)",
        "service.web.server.a = 10.0.0.11:8080 weight 3, connections no limit, rate no limit (paravane.toml:21:3)",
        "service.web.server.10.0.0.12:8080 = 10.0.0.12:8080 weight 1, connections 100, rate no limit (paravane.toml:25:3)",
        "service.dns.check = none (default)",
        "service.dns.idle-timeout = 60s (paravane.toml:32:16)",
    ] {
        assert!(lines.iter().any(|seen| seen == line), "{line} in {lines:#?}");
    }
    let interfaces = config.services.iter().map(|service| service.interface.as_ref().unwrap().value.as_str());
    assert_eq!(interfaces.collect::<Vec<_>>(), ["public", "public"]);
    assert!(!format!("{lines:?}").contains("00112233"), "who knows the key chooses servers");
}

#[test]
fn checks_have_the_header_that_servers_want() {
    let of = |more: &str| {
        let text = format!(
            "[public]\naddresses = [\"192.0.2.1/24\"]\n[private]\naddresses = [\"10.0.0.1/24\"]\n\
             [balancer]\nsources = [\"10.0.0.1\"]\n[[service]]\nname = \"web\"\nlisten = \"192.0.2.80:80\"\n\
             mode = \"splice\"\ncheck = \"http\"\n{more}[[service.server]]\naddress = \"10.0.0.11:80\"\n"
        );
        let config = of_file(&text);
        assert_eq!(said(&config), [""; 0]);
        config.services[0].service.checks.probe.clone()
    };
    let plain = Http::get("192.0.2.80:80", "/").unwrap();
    assert_eq!(of(""), Some(Probe::Http(plain.clone())));
    assert_eq!(of("proxy-protocol = true\n"), Some(Probe::Http(plain.clone().behind_proxy_header())));
    assert_eq!(of("proxy-protocol = true\nport = 8081\n"), Some(Probe::Http(plain)));
}

#[test]
fn the_command_line_says_a_service_in_a_word() {
    let line = "public=192.0.2.1/24 private=10.0.0.1/24 sources=10.0.0.1 \
                service=web,192.0.2.80:80,full,least-connections,check=/health,10.0.0.11:80,10.0.0.12:80*5 \
                service=log,198.51.100.9:514,udp,10.0.0.13:514";
    let config = Config::of("", line, None);
    assert_eq!(said(&config), [""; 0]);
    let [web, log] = &*config.services else { panic!("two services") };
    assert_eq!(web.service.mode, paravane_appliance::nat::Mode::Full);
    assert_eq!(web.servers.iter().map(|one| one.server.weight).collect::<Vec<_>>(), [1, 5]);
    assert_eq!((web.service.checks.is_http(), log.service.checks.probe.is_none()), (true, true));
    // In no network of ours: a neighbour has a route to it.
    assert_eq!(log.interface.as_ref().unwrap().value, "public");
    let wrong = Config::of("", &line.replace("10.0.0.12:80*5", "10.0.0.12:80*500"), None);
    let column = line.find("*5 ").unwrap() + 2;
    assert_eq!(said(&wrong), [format!("command line:{column}: '500'; a number from 0 to 256 is wanted")]);
}

#[test]
fn services_are_one_value_all_together() {
    let line = "public=192.0.2.1/24 private=10.0.0.1/24 service=old,192.0.2.81:80,10.0.0.11:80";
    let config = Config::of("", line, Some(FILE.as_bytes()));
    let names: Vec<_> = config.services.iter().map(|service| &*service.service.name).collect();
    assert_eq!((said(&config), names), (Vec::new(), vec!["web", "dns"]));
}

#[test]
fn what_is_wrong_with_a_service_is_named() {
    let mut others = Vec::new();
    for (from, to, wanted) in [
        ("[balancer]", "[[balancer]]", "6:3: write [balancer], once"),
        ("flows = 1_000", "flow = 1_000", "7:1: unknown key 'flow' in [balancer]; there are flows, sources"),
        ("flows = 1_000", "flows = 8", "7:9: '8'; a number from 64 to 16777216 is wanted"),
        ("[\"10.0.0.1\"]", "[\"10.0.0.2\"]", "8:11: 10.0.0.2 is no address of an interface; write it"),
        ("[\"10.0.0.1\"]", "\"10.0.0.1\"", "8:11: a string where a list is wanted, as"),
        ("\"0011", "\"11", "9:7: a key is of 32 hexadecimal digits"),
        (
            "path = \"/health\"",
            "paht = \"/health\"",
            "17:1: unknown key 'paht' in [[service]]; there are name",
        ),
        ("weight = 3", "wait = 3", "24:1: unknown key 'wait' in [[service.server]]; there are name, address"),
        ("weight = 3", "weight = 257", "24:10: '257'; a number from 0 to 256 is wanted"),
        ("weight = 3", "weight = \"3\"", "24:10: a string; a number from 0 to 256 is wanted"),
        (
            "weight = 3",
            "weight = 3\nweight = 4",
            "25:1: 'weight' is said twice; first at paravane.toml:24:10",
        ),
        ("name = \"web\"", "name = \"w b\"", "12:8: 'w b' is no name; one has 1 to 64 letters"),
        ("192.0.2.80:80", "192.0.2.80", "13:10: '192.0.2.80' is no address with a port; write it as"),
        ("192.0.2.80:80", "192.0.2.80:0", "13:10: '192.0.2.80:0' is no address with a port"),
        ("192.0.2.80:80", "224.0.0.1:80", "13:10: '224.0.0.1:80' is no host's address"),
        ("\"maglev\"", "\"random\"", "14:13: 'random' is no algorithm; there are round-robin, least-conn"),
        ("true", "\"yes\"", "15:11: a string where true or false is wanted"),
        ("\"http\"", "\"icmp\"", "16:9: 'icmp' is no check; there are none, tcp, http"),
        ("\"/health\"", "\"health\"", "17:8: not a path: it begins with"),
        ("\"200\"", "\"20x\"", "18:10: '20x' is no status; write it as 200 or 200-399"),
        ("\"200\"", "\"300-200\"", "18:10: no answer has a status from 300 to 200"),
        ("\"500ms\"", "\"500\"", "19:12: '500' is no time; write it as 500ms, 2s or 5m"),
        ("\"500ms\"", "\"0s\"", "19:12: '0s': it has to be more"),
        ("\"1m\"", "\"1000000m\"", "32:16: '1000000m': 12 days at most"),
        ("protocol = \"udp\"", "protocol = \"sctp\"", "31:12: 'sctp' is no protocol; there are tcp, udp"),
        ("pick-up = true", "proxy-protocol = true", "15:18: 'proxy-protocol' goes with mode = \"splice\""),
        (
            "pick-up = true",
            "mode = \"splice\"\nwindow-scale = 15",
            "16:16: '15'; a number from 0 to 14 is wanted",
        ),
        ("protocol", "mode = \"splice\"\nprotocol", "31:8: this mode needs an address of IPv6"),
        (
            "protocol",
            "mode = \"splice\"\nkeep-source = true\nprotocol",
            "31:8: splice goes with protocol = \"tcp\"",
        ),
        ("pick-up = true", "pick-up = true\nmode = \"splice\"", "15:11: pick-up goes with mode"),
        ("name = \"web\"\n", "", "11:3: a service needs 'name'"),
        ("listen = \"192.0.2.80:80\"\n", "", "11:3: a service needs 'listen'"),
        ("\"web\"", "\"dns\"", "29:8: two services are called 'dns'"),
        ("pick-up = true", "pick-up = true\nmode = \"full\"", "15:11: pick-up goes with mode = \"dnat\""),
        ("key = \"00112233445566778899aabbccddeeff\"\n", "", "14:11: pick-up goes with algorithm"),
        ("\"maglev\"", "\"round-robin\"", "15:11: pick-up goes with algorithm = \"maglev\", and a key"),
        ("protocol", "mode = \"full\"\nprotocol", "31:8: this mode needs an address of IPv6 that stands"),
        ("check = \"http\"", "check = \"tcp\"", "17:8: 'path' goes with check = \"http\""),
        ("protocol", "check = \"tcp\"\nprotocol", "31:9: a check of a service of UDP needs 'port'"),
        ("address = \"10.0.0.11:8080\"\n", "", "21:3: a server needs 'address'"),
        (
            "10.0.0.11:8080",
            "[2001:db8::1]:8080",
            "23:11: [2001:db8::1]:8080 and 192.0.2.80:80 are of different",
        ),
        ("10.0.0.12:8080", "10.0.0.11:8080", "26:11: two servers listen on 10.0.0.11:8080"),
        ("listen = \"192", "interface = \"nic3\"\nlisten = \"192", "13:13: nic3 has no addresses"),
        (
            "[[service.server]]\nname = \"a\"\naddress = \"10",
            "[[service.serve]]\nx = \"10",
            "21:3: no such table 'service.serve'",
        ),
    ] {
        let said = said_of(from, to);
        if !said.starts_with(wanted) {
            others.push((said, wanted));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
    assert!(
        said(&of_file("[service]\nname = 'a'"))[0]
            .ends_with(":1:2: write [[service]], once for each of them")
    );
    let said = said(&of_file("[[service.server]]\nname = 'a'"));
    assert!(said[0].starts_with("paravane.toml:1:3: a server goes with a [[service]] before it"), "{said:?}");
}

#[test]
fn a_token_is_long_and_shown_to_nobody() {
    let with = |token: &str| of_file(&format!("[admin]\ntoken = \"{token}\""));
    let config = with("correct-horse-battery");
    assert_eq!(said(&config), [""; 0]);
    let shown = config.effective().into_iter().find(|(key, ..)| key == "admin.token").unwrap();
    assert_eq!((shown.1.as_str(), shown.2.to_string()), ("set", "paravane.toml:2:9".into()));
    for token in ["short", "with a blank in between"] {
        assert!(said(&with(token))[0].starts_with("paravane.toml:2:9: a token has 16 characters"));
    }
    let words = Config::of("", "admin=dhcp,token=correct-horse-battery", None);
    assert_eq!(
        (said(&words), words.admin_token.value.as_deref()),
        (Vec::new(), Some("correct-horse-battery"))
    );
}
