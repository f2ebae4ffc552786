//! What status, metrics and the console say of a firewall.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use log::info;
use paravane_appliance::balance::Balancer;
use paravane_appliance::filter::{Filter, Logged, RuleSet};
use paravane_appliance::path::Path;
use paravane_firewall::Zone;
use serde::Serialize;

use super::Router;
use super::metrics::{Family, family};

/// The rules, and how often each decided.
#[derive(Debug, Serialize)]
pub(super) struct FirewallStatus<'a> {
    /// The file that they are from, or `built in`.
    from: &'a str,
    is_compiled: bool,
    /// In their order; the last one is the default.
    rules: Vec<RuleStatus>,
    counters: BTreeMap<String, u64>,
    /// Flows whose source could not be held to a limit of its own, for there were too many.
    uncounted_total: u64,
    /// Flows that were to be logged, and were too many.
    unlogged_total: u64,
}

/// One rule.
#[derive(Debug, Serialize)]
struct RuleStatus {
    line: u32,
    verdict: String,
    hits_total: u64,
    /// Those of them that were dropped, for they were above its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    limited_total: Option<u64>,
}

fn filter(router: &Router) -> Option<&Filter> {
    router.path.as_ref().and_then(Path::balancer).and_then(Balancer::filter)
}

fn rules(filter: &Filter) -> impl Iterator<Item = RuleStatus> + '_ {
    (0..).map_while(|rule| {
        let action = filter.rules().action(rule)?;
        let hits = filter.hits(rule);
        Some(RuleStatus {
            line: action.line,
            verdict: action.verdict.to_string(),
            hits_total: hits.all,
            limited_total: action.limit.map(|_| hits.limited),
        })
    })
}

/// Its firewall, if there is one.
pub(super) fn status(router: &Router) -> Option<FirewallStatus<'_>> {
    let filter = filter(router)?;
    Some(FirewallStatus {
        from: router.rules_from.as_deref()?,
        is_compiled: matches!(filter.rules(), RuleSet::Compiled(_)),
        rules: rules(filter).collect(),
        counters: filter.counters().map(|(name, count)| (name.into(), count)).collect(),
        uncounted_total: filter.uncounted(),
        unlogged_total: filter.unlogged(),
    })
}

/// The same for Prometheus. A rule is known by its line.
pub(super) fn write_metrics(router: &Router, text: &mut String) -> core::fmt::Result {
    const HITS: Family =
        ("paravane_rule_hits_total", "counter", "Flows on which the firewall's rule of that line decided.");
    const LIMITED: Family =
        ("paravane_rule_limited_total", "counter", "Those of them that were above the rule's limit.");
    const COUNTERS: Family =
        ("paravane_counter_hits_total", "counter", "Flows of the rules that name the counter.");
    let Some(filter) = filter(router) else { return Ok(()) };
    family(text, HITS)?;
    for RuleStatus { line, hits_total, .. } in rules(filter) {
        writeln!(text, "{}{{rule=\"{line}\"}} {hits_total}", HITS.0)?;
    }
    family(text, LIMITED)?;
    for RuleStatus { line, limited_total, .. } in rules(filter) {
        if let Some(limited) = limited_total {
            writeln!(text, "{}{{rule=\"{line}\"}} {limited}", LIMITED.0)?;
        }
    }
    family(text, COUNTERS)?;
    for (name, count) in filter.counters() {
        writeln!(text, "{}{{counter=\"{name}\"}} {count}", COUNTERS.0)?;
    }
    Ok(())
}

impl Router {
    /// Says which flows rules with `log` decided on.
    pub(super) fn say_flows(&mut self) {
        let filter = self.path.as_mut().and_then(Path::balancer_mut).and_then(Balancer::filter_mut);
        let Some(filter) = filter else { return };
        while let Some(logged) = filter.take_logged() {
            info!("firewall: {}", in_words(filter, &logged));
        }
    }
}

/// What became of a flow, by which rule; the flow as `paravane-firewall explain` takes it.
fn in_words(filter: &Filter, logged: &Logged) -> String {
    let Logged { packet, rule, verdict, is_limited } = logged;
    let zones: Vec<&str> = filter.rules().zones().collect();
    let zone = |Zone(zone)| zones.get(usize::from(zone)).copied().unwrap_or("?");
    let action = filter.rules().action(*rule);
    let line = action.map_or(0, |action| action.line);
    let said = if *is_limited { "above its limit".into() } else { verdict.to_string() };
    let text = action.and_then(|action| action.log.as_ref()).map_or("", Cow::as_ref);
    let blank = if text.is_empty() { "" } else { ": " };
    alloc::format!("{text}{blank}{said} by line {line}: {}", packet.words(zone))
}
