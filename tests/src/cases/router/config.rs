//! Where the configuration is from, and what is said of a wrong one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{PAIRS, bare_plan, case, status};
use crate::fat::{self, Disk, Place};
use crate::guest::{self, Guest, Plan};
use crate::http::Request;
use crate::qemu::Machine;
use crate::runner::{Case, Subject};

const LINE_LIMIT: Duration = Duration::from_secs(20);
const DISK: &str = "virtio-blk-pci,disable-legacy=on,disable-modern=off,addr=0x10";

/// A file that is right.
const GOOD: &str = r#"# by a test
log = "debug"

[admin]
address = "10.77.0.2/24"

[public]
addresses = ["10.77.1.2/24", "fd77:0:0:1::2/64"]
mtu = 1400

[private]
addresses = ["10.77.2.2/24"]

[[route]]
to = "0.0.0.0/0"
via = "10.77.1.1"

[[route]]
to = "198.51.100.0/24"
kind = "blackhole"
"#;

/// Something wrong: what in the file is changed to what, and the line that is said.
struct Wrong {
    name: &'static str,
    change: (&'static str, &'static str),
    said: &'static str,
}

const WRONG: [Wrong; 8] = [
    Wrong {
        name: "unknown-key",
        change: ("mtu = 1400", "mut = 1400"),
        said: "paravane.toml:9:1: unknown key 'mut' in [public]; there are addresses, mtu, reverse-path",
    },
    Wrong {
        name: "bad-prefix",
        change: ("10.77.1.2/24", "10.77.1.2/33"),
        said: "paravane.toml:8:14: '10.77.1.2/33': the length of a prefix is 1 to 32, as 10.77.1.2/24",
    },
    Wrong {
        name: "host-bits",
        change: ("198.51.100.0/24", "198.51.100.7/24"),
        said: "paravane.toml:19:6: '198.51.100.7/24': the address has bits behind its prefix: 198.51.100.0/24 may be meant",
    },
    Wrong {
        name: "far-gateway",
        change: ("via = \"10.77.1.1\"", "via = \"192.0.2.1\""),
        said: "paravane.toml:16:7: 192.0.2.1 is in no network of the router; a gateway is a neighbour",
    },
    Wrong {
        name: "two-links",
        change: ("10.77.2.2/24", "10.77.1.3/24"),
        said: "paravane.toml:12:14: 10.77.1.0/24 of private overlaps 10.77.1.0/24 of public; each network is on one link",
    },
    Wrong {
        name: "no-toml",
        change: ("[private]", "[private"),
        said: "paravane.toml:11:9: this is no TOML: unclosed table; all of the file is ignored",
    },
    Wrong {
        name: "unknown-table",
        change: ("[private]", "[privat]"),
        said: "paravane.toml:11:2: no such table 'privat'; there are log, irq, [admin], [syslog], [time], [public], [private], [nic3].., [[route]], [[vrrp]], [balancer], [[service]], [firewall], [stop]",
    },
    Wrong {
        name: "wrong-type",
        change: ("mtu = 1400", "mtu = \"1400\""),
        said: "paravane.toml:9:7: a string; an MTU is a number of bytes from 576 to 9000",
    },
];

pub(super) fn cases() -> Vec<Case> {
    let wrong =
        |wrong: Wrong| case(&format!("config/{}", wrong.name), move |subject| refused(subject, &wrong));
    let mut cases: Vec<_> = WRONG.into_iter().map(wrong).collect();
    cases.push(case("config/disk-first", disk_first));
    cases.push(case("config/command-line", wrong_word));
    cases.push(case("config/built-in", built_in));
    cases.push(case("no-entropy", no_entropy));
    cases
}

/// A router with `text` on its disk, and an address for admin on the command line.
/// NICs are the pair of that number.
pub(super) fn plan_with(disk: &Disk, pair: usize) -> Plan {
    let (_, pair) = PAIRS[pair];
    bare_plan(Machine::Q35, pair, "auto")
        .extras(fat::options(&disk.path(), DISK, ""))
        .word("admin=10.77.0.2/24")
}

/// The one line that is said, admin says so too, and nothing is passed on.
fn refused(subject: Subject<'_>, wrong: &Wrong) -> Result<String> {
    let (from, to) = wrong.change;
    ensure!(GOOD.contains(from), "{from} is not in the file");
    let disk = Disk::make(Place::Mbr, 16, &[("paravane.toml", GOOD.replace(from, to).as_bytes())])?;
    guest::run(subject.image, &plan_with(&disk, 0), |guest| {
        let line = guest.wait_line(0, &["router: ", wrong.said], LINE_LIMIT)?;
        let text = crate::console::text(&line.line).to_owned();
        ensure!(text == format!("router: {}", wrong.said), "the line says more: {text}");
        let lines = guest.qemu().console().lines_from(0);
        let faults = lines.iter().filter(|line| line.contains("router: paravane.toml")).count();
        ensure!(faults == 1, "{faults} lines about it, not one");
        expect_unready(guest, wrong.said)?;
        let status = status(guest)?;
        let nics = status["nics"].as_array().context("no NICs in the status")?;
        ensure!(nics.len() == 1 && nics[0]["name"] == "admin", "others than admin run: {}", status["nics"]);
        Ok(text)
    })
}

pub(super) fn expect_unready(guest: &mut Guest, reason: &str) -> Result<()> {
    let mut why = Vec::new();
    let response = guest.request(0, Request::new("GET", "/readyz"), &mut why, guest::REQUEST_LIMIT)?;
    let why = String::from_utf8_lossy(&why).into_owned();
    ensure!(response.status == 503 && why.contains(reason), "readyz: {} {why}", response.status);
    ensure!(guest.get(0, "/livez")? == b"ok\n", "not alive");
    Ok(())
}

/// What the disk says counts; the command line says the rest.
fn disk_first(subject: Subject<'_>) -> Result<String> {
    let disk = Disk::make(Place::Mbr, 16, &[("paravane.toml", GOOD.as_bytes())])?;
    let plan = plan_with(&disk, 0).word("public=10.99.0.1/8,mtu=1300").word("private=10.88.0.1/16,mtu=1350");
    guest::run(subject.image, &plan, |guest| {
        let status = status(guest)?;
        let values = status["configuration"].as_array().context("no configuration in the status")?;
        let wanted = [
            ("log", "debug", "paravane.toml:2:7"),
            // The plan's own word.
            ("irq", "auto", "command line:5"),
            ("admin.address", "10.77.0.2/24", "paravane.toml:5:11"),
            ("admin.gateway", "none", "default"),
            ("public.addresses", "10.77.1.2/24, fd77:0:0:1::2/64", "paravane.toml:8:13"),
            ("public.mtu", "1400", "paravane.toml:9:7"),
            ("private.addresses", "10.77.2.2/24", "paravane.toml:12:13"),
            ("private.mtu", "1350", "command line:"),
            ("route", "0.0.0.0/0 via 10.77.1.1 by public", "paravane.toml:14:3"),
            ("route", "198.51.100.0/24 blackhole", "paravane.toml:18:3"),
        ];
        for (key, value, origin) in wanted {
            let is_it = |seen: &serde_json::Value| {
                seen["key"] == key
                    && seen["value"] == value
                    && seen["origin"].as_str().is_some_and(|seen| seen.starts_with(origin))
            };
            ensure!(values.iter().any(is_it), "no {key} = {value} ({origin}) in {}", status["configuration"]);
            let line = format!("config: {key} = {value} ({origin}");
            guest.wait_line(0, &[&line], LINE_LIMIT)?;
        }
        ensure!(status["ready"] == true, "not ready: {}", status["troubles"]);
        Ok(format!("{} values from three sources", values.len()))
    })
}

/// A word that is wrong is named with its column; one that nobody knows is passed over.
fn wrong_word(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[0];
    let mut plan = bare_plan(Machine::Pc, pair, "auto").word("wibble=1").word("admin=10.77.0.2/24");
    plan = plan.word("private=10.77.2.2/24,mtu=99");
    guest::run(subject.image, &plan, |guest| {
        guest.wait_line(0, &["command line: 'wibble=1' ignored: no such word"], LINE_LIMIT)?;
        let said = "command line:63: '99'; an MTU is a number of bytes from 576 to 9000";
        guest.wait_line(0, &[said], LINE_LIMIT)?;
        expect_unready(guest, said)?;
        Ok(said.into())
    })
}

/// Nothing is said: the machine can be reached by DHCP, and passes nothing on.
fn built_in(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[0];
    guest::run(subject.image, &bare_plan(Machine::Q35, pair, "auto"), |guest| {
        let words = ["config: admin.address = dhcp (built-in paravane.toml:"];
        let line = guest.wait_line(0, &words, LINE_LIMIT)?.line;
        Ok(crate::console::text(&line).to_owned())
    })
}

/// Without random numbers nothing is passed on, and that is said.
fn no_entropy(subject: Subject<'_>) -> Result<String> {
    let (_, pair) = PAIRS[0];
    let mut plan = super::plan(Machine::Q35, pair, "auto", super::MTU_BYTES);
    plan.extras = vec!["-cpu".into(), "qemu64".into()];
    guest::run(subject.image, &plan, |guest| {
        let reason = "nothing is passed on: there are no random numbers";
        let line = guest.wait_line(0, &["router: ", reason, "virtio-rng"], LINE_LIMIT)?.line;
        expect_unready(guest, reason)?;
        Ok(crate::console::text(&line).to_owned())
    })
}
