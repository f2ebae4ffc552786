//! What rules do besides deciding, as arrays.

use std::fmt::Write as _;

use paravane_firewall::rules::Limit;
use paravane_firewall::{Action, Rules};

pub(crate) fn actions(rules: &Rules) -> String {
    let all = rules.rules().iter().map(|rule| &rule.action).chain([rules.default_action()]);
    let mut out = format!("pub static ACTIONS: [Action; {}] = [\n", rules.rules().len() + 1);
    for Action { verdict, limit, log, counter, line } in all {
        let limit = limit.as_ref().map(|Limit { flows, per, burst, per_source }| {
            format!("Limit {{ flows: {flows}, per: Per::{per:?}, burst: {burst}, per_source: {per_source} }}")
        });
        let log = log.as_ref().map(|text| format!("Cow::Borrowed({text:?})"));
        let counter = counter.map(|counter| counter.to_string());
        let [limit, log, counter] = [limit, log, counter].map(some);
        _ = writeln!(
            out,
            "Action {{ verdict: Verdict::{verdict:?}, limit: {limit}, log: {log}, counter: {counter}, line: {line} }},"
        );
    }
    let names =
        |names: &[String]| names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let (counters, zones) = (names(rules.counters()), names(rules.zones()));
    _ = write!(
        out,
        "];\n\
         pub static FIREWALL: Compiled =\n\
         Compiled {{ decide, actions: &ACTIONS, counters: &[{counters}], zones: &[{zones}] }};\n"
    );
    out
}

fn some(value: Option<String>) -> String {
    value.map_or("None".into(), |value| format!("Some({value})"))
}
