//! A firewall whose rules are on a disk, and what is said of wrong ones.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::config::{expect_unready, plan_with};
use super::{MTU_BYTES, PAIRS, case, stations, status, words};
use crate::fat::{Disk, Place};
use crate::firewall::{self, RULES};
use crate::guest::{self, Plan};
use crate::runner::{Case, Subject};

const LINE_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = [0, 2]
        .map(|pair| case(&format!("firewall/{}", PAIRS[pair].0), move |subject| judged(subject, pair)))
        .into();
    cases.push(case("firewall/wrong-rules", wrong));
    cases.push(case("firewall/no-file", missing));
    cases
}

/// A router between both hosts, with that disk; where admin is, it is told already.
fn plan(disk: &Disk, pair: usize) -> Plan {
    words("", MTU_BYTES).into_iter().skip(1).fold(plan_with(disk, pair), Plan::word)
}

/// Each packet becomes what the rules say, and each rule's hits are told.
fn judged(subject: Subject<'_>, pair: usize) -> Result<String> {
    let file = "[firewall]\nrules = \"shop.rules\"\n";
    let disk =
        Disk::make(Place::Mbr, 16, &[("paravane.toml", file.as_bytes()), ("shop.rules", RULES.as_bytes())])?;
    let plan = plan(&disk, pair);
    guest::run(subject.image, &plan, |guest| {
        guest.wait_line(0, &["config: firewall.rules = shop.rules (paravane.toml:2:9)"], LINE_LIMIT)?;
        let probes = firewall::probes();
        let mut stations = stations(guest)?;
        for probe in &probes {
            firewall::send(&mut stations, probe)?;
        }
        let seen = status(guest)?;
        firewall::check_hits(&seen)?;
        ensure!(seen["firewall"]["from"] == "shop.rules", "{}", seen["firewall"]);
        // What is logged is said with the rule's line and text, in the words that `explain` takes.
        let said = "firewall: office: allow by line 13: public -> private tcp 203.0.113.7:40006 10.77.2.1:22";
        guest.wait_line(0, &[said], LINE_LIMIT)?;
        let metrics = String::from_utf8(guest.get(0, "/metrics")?)?;
        for (line, hits) in firewall::expected_hits() {
            let wanted = format!("paravane_rule_hits_total{{rule=\"{line}\"}} {hits}\n");
            ensure!(metrics.contains(&wanted), "the metrics do not say {wanted}");
        }
        Ok(format!("{} packets, {} rules", probes.len(), firewall::expected_hits().len()))
    })
}

/// All that is wrong is said, each in a line with its place, and nothing is passed on.
fn wrong(subject: Subject<'_>) -> Result<String> {
    let rules = "allow public -> privte tcp 80\nallow nic3 -> self\ndefault allow drop\n";
    let file = "[firewall]\nrules = \"shop.rules\"\n";
    let disk =
        Disk::make(Place::Mbr, 16, &[("paravane.toml", file.as_bytes()), ("shop.rules", rules.as_bytes())])?;
    let plan = plan(&disk, 0);
    guest::run(subject.image, &plan, |guest| {
        for said in [
            "shop.rules:1:17: error: there is no zone `privte`: did you mean `private`?",
            "shop.rules:2:7: error: there is no zone `nic3`: there is `private`, `public` or `self`",
            "shop.rules:3:15: error: ",
        ] {
            guest.wait_line(0, &["router: paravane.toml:2:9: ", said], LINE_LIMIT)?;
            expect_unready(guest, said)?;
        }
        let status = status(guest)?;
        ensure!(status["nics"].as_array().is_some_and(|nics| nics.len() == 1), "others than admin run");
        Ok("three mistakes, three lines".into())
    })
}

/// A file that is not there is as wrong.
fn missing(subject: Subject<'_>) -> Result<String> {
    let file = "[firewall]\nrules = \"shop.rules\"\n";
    let disk = Disk::make(Place::Mbr, 16, &[("paravane.toml", file.as_bytes())])?;
    guest::run(subject.image, &plan_with(&disk, 0), |guest| {
        let said = "paravane.toml:2:9: shop.rules: there is no such file on the disk";
        guest.wait_line(0, &["router: ", said], LINE_LIMIT)?;
        expect_unready(guest, said)?;
        Ok(said.into())
    })
}
