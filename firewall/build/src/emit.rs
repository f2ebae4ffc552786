//! Rules as Rust.

mod actions;
mod tables;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use paravane_firewall::rules::{Verdict, Zones};
use paravane_firewall::{Rules, Zone};

use crate::case::{AXES, Axis, Boxes, Case, Version};
use crate::plan::{Known, Plan, plan};
use crate::sweep::Sweep;
use tables::Tables;

/// How many cases, or arms, one function has: what rustc and LLVM do with one grows faster than it.
const FUNCTION: usize = 64;

/// Rust that decides as [`Rules::decide`] does, for `include!` in a module of its own.
///
/// It has `decide`, with the same arguments and results; `ACTIONS`, by the rules' numbers; and both
/// together as `FIREWALL`, a `paravane_firewall::compiled::Compiled`. The crate that includes it
/// depends on `paravane-firewall`. There is no `unsafe` in it, and nothing that may panic.
#[must_use]
pub fn compile(rules: &Rules) -> String {
    let mut code = Code {
        rules,
        boxes: Boxes::new(rules),
        tables: Tables::default(),
        functions: HashMap::new(),
        out: String::new(),
    };
    let decide = code.decide();
    let default = code.decision(rules.default_number());
    let Code { tables, out, .. } = code;
    let actions = actions::actions(rules);
    format!(
        "// Made from rules: change those.\n\
         mod compiled {{\n\
         #![allow(unused, clippy::all, clippy::pedantic, missing_docs, unreachable_pub)]\n\
         use ::paravane_firewall::compiled::{{Compiled, Cow, contains, step}};\n\
         use ::paravane_firewall::rules::{{Action, Limit, Per}};\n\
         use ::paravane_firewall::{{Addresses, Decision, Packet, Transport, Verdict}};\n\
         const fn allow(rule: u32) -> Decision {{ Decision {{ verdict: Verdict::Allow, rule }} }}\n\
         const fn reject(rule: u32) -> Decision {{ Decision {{ verdict: Verdict::Reject, rule }} }}\n\
         const fn drop(rule: u32) -> Decision {{ Decision {{ verdict: Verdict::Drop, rule }} }}\n\
         const DEFAULT: Decision = {default};\n\
         {decide}{out}{tables}{actions}}}\n\
         #[allow(unused_imports, unreachable_pub)]\n\
         pub use compiled::{{ACTIONS, FIREWALL, decide}};\n"
    )
}

struct Code<'r> {
    rules: &'r Rules,
    boxes: Boxes<'r>,
    tables: Tables,
    /// Functions by what they do, and their names.
    functions: HashMap<String, String>,
    out: String,
}

/// Where a piece of code stands, and so what it has.
#[derive(Clone, Copy)]
struct Place<'c> {
    cases: &'c [Case],
    version: Version,
}

impl Code<'_> {
    fn decision(&self, rule: u32) -> String {
        match self.rules.action(rule).verdict {
            Verdict::Allow => format!("allow({rule})"),
            Verdict::Reject => format!("reject({rule})"),
            Verdict::Drop => format!("drop({rule})"),
        }
    }

    /// Zones first: each pair's rules, where those differ.
    fn decide(&mut self) -> String {
        let mut pairs: BTreeMap<Vec<u32>, Vec<String>> = BTreeMap::new();
        let zones = || (0..u8::MAX).take(self.rules.zones().len().min(Zones::LIMIT)).map(Zone);
        for (from, to) in zones().flat_map(|from| zones().map(move |to| (from, to))) {
            let rules = self.rules.rules().iter().zip(0..);
            let theirs = rules.filter(|(rule, _)| rule.from.contains(from) && rule.to.contains(to));
            let pair = format!("({}, {})", from.0, to.0);
            pairs.entry(theirs.map(|(_, number)| number).collect()).or_default().push(pair);
        }
        pairs.remove(&[][..]);
        let listed: usize = pairs.keys().map(Vec::len).sum();
        let is_shared = listed > 2 * self.rules.rules().len() + 1_024;
        let mut arms = String::new();
        for (rules, pairs) in pairs {
            let call = if is_shared { self.by_zones(&rules) } else { self.zones(&rules) };
            _ = writeln!(arms, "{} => {call},", pairs.join(" | "));
        }
        let body = format!("match (packet.from.0, packet.to.0) {{\n{arms}_ => DEFAULT,\n}}");
        format!("pub fn decide(packet: &Packet) -> Decision {{\n{body}\n}}\n")
    }

    /// Rules whose zones are the same together, so that pairs which have them share their code.
    fn by_zones(&mut self, rules: &[u32]) -> String {
        let mut groups: Vec<((Zones, Zones), Vec<u32>)> = Vec::new();
        for &number in rules {
            let rule = &self.rules.rules()[number as usize];
            match groups.iter_mut().find(|(zones, _)| *zones == (rule.from, rule.to)) {
                Some((_, group)) => group.push(number),
                None => groups.push(((rule.from, rule.to), vec![number])),
            }
        }
        let calls = groups.iter().map(|(_, group)| (group.first().copied().unwrap_or(0), self.zones(group)));
        let body = earliest(&calls.collect::<Vec<_>>());
        self.function("pair", "packet: &Packet", "Decision", body) + "(packet)"
    }

    /// Then the version, then the protocol.
    fn zones(&mut self, rules: &[u32]) -> String {
        let mut body = String::from("match packet.addresses {\n");
        for (version, name) in [(Version::V4, "V4"), (Version::V6, "V6")] {
            _ = writeln!(
                body,
                "Addresses::{name} {{ source, destination }} => {{\n\
                 let (from, to, source_port) = (source.to_bits(), destination.to_bits(), 0);\n\
                 match packet.transport {{"
            );
            for (protocol, pattern) in [
                (6, "Tcp { source: source_port, destination: port }"),
                (17, "Udp { source: source_port, destination: port }"),
            ] {
                let call = self.protocol(rules, version, protocol, true);
                _ = writeln!(body, "Transport::{pattern} => {call},");
            }
            for (protocol, name) in [(1, "Icmp"), (58, "Icmpv6")] {
                let call = self.protocol(rules, version, protocol, true);
                _ = writeln!(
                    body,
                    "Transport::{name} {{ kind, code }} => {{ let port = u16::from_be_bytes([kind, code]); {call} }}"
                );
            }
            body += &self.others(rules, version);
            body += "}\n}\n";
        }
        body += "}";
        self.function("zones", "packet: &Packet", "Decision", body) + "(packet)"
    }

    /// Protocols by their numbers: those that rules name, and the rest.
    fn others(&mut self, rules: &[u32], version: Version) -> String {
        let named: BTreeSet<u8> = { rules.iter() }
            .flat_map(|&number| &self.rules.rules()[number as usize].services)
            .map(|service| service.protocol)
            .collect();
        let mut arms = String::new();
        // No rule names one that is not among these.
        let unnamed = (0..=u8::MAX).find(|number| !named.contains(number));
        for protocol in named {
            let call = self.protocol(rules, version, protocol, false);
            _ = writeln!(arms, "Transport::Other({protocol}) => {{ let port = 0; {call} }}");
        }
        let call = unnamed.map_or("DEFAULT".into(), |unnamed| self.protocol(rules, version, unnamed, false));
        _ = writeln!(arms, "Transport::Other(_) => {{ let port = 0; {call} }}");
        arms
    }

    fn protocol(&mut self, rules: &[u32], version: Version, protocol: u8, has_header: bool) -> String {
        let cases = self.boxes.cases(rules, version, protocol, has_header);
        let all: Vec<usize> = (0..cases.len()).collect();
        self.among(Place { cases: &cases, version }, &all, Known::default())
    }

    /// An expression that decides among these cases.
    fn among(&mut self, place: Place<'_>, which: &[usize], known: Known) -> String {
        let Some(&first) = which.first() else { return "DEFAULT".into() };
        if known.open(&place.cases[first]).next().is_none() {
            return self.decision(place.cases[first].rule);
        }
        match plan(place.cases, which, known, place.version) {
            Plan::Chain if which.len() == 1 => {
                let condition = self.condition(place, first, known);
                format!("if {condition} {{ {} }} else {{ DEFAULT }}", self.decision(place.cases[first].rule))
            }
            Plan::Chain => self.chain(place, which, known),
            Plan::Steps(axis, sweep) => self.steps(place, axis, &sweep, known.with(axis)),
            Plan::Groups(groups) => self.groups(place, &groups, known),
        }
    }

    fn chain(&mut self, place: Place<'_>, which: &[usize], known: Known) -> String {
        let mut body = String::new();
        for part in which.chunks(FUNCTION) {
            let mut tests = String::new();
            let mut last = String::from("None");
            for &case in part {
                let decision = self.decision(place.cases[case].rule);
                if known.open(&place.cases[case]).next().is_none() {
                    // Nothing behind it is reached.
                    last = format!("Some({decision})");
                    break;
                }
                let condition = self.condition(place, case, known);
                _ = writeln!(tests, "if {condition} {{ return Some({decision}); }}");
            }
            tests += &last;
            let call = self.call("chain", place.version, "Option<Decision>", tests);
            _ = writeln!(body, "if let Some(decision) = {call} {{ return decision; }}");
        }
        body += "DEFAULT";
        self.call("chains", place.version, "Decision", body)
    }

    fn steps(&mut self, place: Place<'_>, axis: Axis, sweep: &Sweep, known: Known) -> String {
        let table = self.tables.steps(place.version.numbers(axis), &sweep.steps);
        let leaves: Vec<String> = { sweep.lists.iter() }.map(|list| self.among(place, list, known)).collect();
        let leaf = format!("step(&{table}, {})", axis.variable());
        let body = if leaves.len() <= FUNCTION {
            format!("match {leaf} {{\n{}_ => DEFAULT,\n}}", arms(0, &leaves))
        } else {
            let mut parts = Vec::new();
            for (part, first) in leaves.chunks(FUNCTION).zip((0..).step_by(FUNCTION)) {
                let body = format!("match leaf {{\n{}_ => DEFAULT,\n}}", arms(first, part));
                let arguments = parameters(place.version) + ", leaf: u16";
                let name = self.function("leaves", &arguments, "Decision", body);
                parts.push(format!("{name}(port, to, from, source_port, leaf)"));
            }
            format!("let leaf = {leaf};\nmatch leaf / {FUNCTION} {{\n{}_ => DEFAULT,\n}}", arms(0, &parts))
        };
        self.call("steps", place.version, "Decision", body)
    }

    fn groups(&mut self, place: Place<'_>, groups: &[Vec<usize>], known: Known) -> String {
        let calls = groups.iter().map(|group| {
            let first = group.first().map_or(0, |&case| place.cases[case].rule);
            (first, self.among(place, group, known))
        });
        let body = earliest(&calls.collect::<Vec<_>>());
        self.call("groups", place.version, "Decision", body)
    }

    /// What is left to be looked at.
    fn condition(&mut self, place: Place<'_>, case: usize, known: Known) -> String {
        let case = &place.cases[case];
        let each = known.open(case).map(|axis| {
            let numbers = place.version.numbers(axis);
            self.tables.test(axis.variable(), numbers, case.side(axis))
        });
        each.collect::<Vec<_>>().join(" && ")
    }

    /// A function with that body, called.
    fn call(&mut self, kind: &str, version: Version, result: &str, body: String) -> String {
        let name = self.function(kind, &parameters(version), result, body);
        format!("{name}(port, to, from, source_port)")
    }

    /// A function with that body, or the one that there is.
    fn function(&mut self, kind: &str, parameters: &str, result: &str, body: String) -> String {
        let rest = format!("({parameters}) -> {result} {{\n{body}\n}}\n");
        let number = self.functions.len();
        let out = &mut self.out;
        let name = self.functions.entry(rest).or_insert_with_key(|rest| {
            let name = format!("{kind}_{number}");
            _ = write!(out, "#[inline(never)]\nfn {name}{rest}");
            name
        });
        name.clone()
    }
}

/// The earliest rule of what these expressions find, each beside the first rule that it may find.
fn earliest(calls: &[(u32, String)]) -> String {
    let mut body = String::from("let mut found = DEFAULT;\n");
    for (first, call) in calls {
        _ = writeln!(
            body,
            "if found.rule > {first} {{ let other = {{ {call} }}; if other.rule < found.rule {{ found = other; }} }}"
        );
    }
    body + "found"
}

fn parameters(version: Version) -> String {
    AXES.map(|axis| format!("{}: {}", axis.variable(), version.numbers(axis).0)).join(", ")
}

fn arms(first: usize, leaves: &[String]) -> String {
    let mut arms = String::new();
    for (number, leaf) in (first..).zip(leaves) {
        _ = writeln!(arms, "{number} => {{ {leaf} }}");
    }
    arms
}
