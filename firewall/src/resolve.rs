//! Names looked up: a tree as rules.

mod action;
mod lists;
mod scope;
mod services;

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::diagnostic::Problems;
use crate::packet::Zone;
use crate::rules::{AddressSet, Rule, Rules, Service, Zones};
use crate::tree::{self, Span, Statement};
use action::Counters;
use lists::Set;
use scope::Scope;

/// All that has a name.
struct Names<'a> {
    zones: Scope<'a, Zones>,
    sets: Scope<'a, Set>,
    services: Scope<'a, Vec<Service>>,
    /// What `any` means among zones.
    any: Zones,
}

/// The rules, and where each stands; none if there is no default. What is wrong is said.
pub(crate) fn rules<'a>(
    file: &[Statement<'a>],
    zones: &[&'a str],
    problems: &mut Problems<'_>,
) -> Option<(Rules, Vec<Span>)> {
    let mut names = Names::new(file, zones, problems);
    for statement in file {
        names.define(statement, problems);
    }
    let mut counters = Counters::default();
    let mut resolved = Vec::new();
    let mut spans = Vec::new();
    for rule in file.iter().filter_map(Statement::as_rule) {
        resolved.extend(names.rule(rule, &mut counters, problems));
        spans.push(rule.span.clone());
    }
    if let Some(span) = spans.get(Rules::LIMIT) {
        let help = "what shares a verdict stands in one rule, with a set";
        problems.error(
            span,
            format!("this is one rule more than the {} that there may be", Rules::LIMIT),
            help,
        );
    }
    let default = the_default(file, problems)
        .map(|default| counters.action(default.verdict, &default.clauses, &default.span, problems));
    names.warn_of_unused(problems);
    let zones = zones.iter().map(ToString::to_string).collect();
    Some((Rules::new(zones, counters.names(), resolved, default?), spans))
}

/// The one default, behind all rules.
fn the_default<'s, 'a>(
    file: &'s [Statement<'a>],
    problems: &mut Problems<'_>,
) -> Option<&'s tree::Default<'a>> {
    let mut default: Option<&tree::Default<'a>> = None;
    let mut is_broken = false;
    for statement in file {
        match (statement, default) {
            (Statement::Default(second), Some(first)) => {
                problems.error(&second.span, "there is a default already", "one stands behind all rules");
                problems.beside(&first.span, "it is here");
            }
            (Statement::Default(first), None) => default = Some(first),
            (Statement::Rule(rule), Some(first)) => {
                problems.error(
                    &rule.span,
                    "no packet comes to this rule",
                    "the default stands behind all rules",
                );
                problems.beside(&first.span, "it is here");
            }
            (Statement::Broken { keyword, .. }, _) => is_broken |= *keyword == "default",
            _ => {}
        }
    }
    match default {
        None if !is_broken => {
            let end = problems.end();
            problems.error(
                &end,
                "there is no default",
                "what no rule matches has a verdict too: write `default drop`",
            );
        }
        Some(tree::Default { clauses, span, .. }) => {
            let asks =
                clauses.services.is_some() || clauses.source.is_some() || clauses.destination.is_some();
            if asks {
                problems.error(
                    span,
                    "a default asks for nothing",
                    "what is meant for some packets is a rule",
                );
            }
        }
        None => {}
    }
    default
}

impl<'a> Names<'a> {
    fn new(file: &[Statement<'a>], zones: &[&'a str], problems: &mut Problems<'_>) -> Self {
        let all = Zones::first(zones.len());
        let mut names = Self {
            zones: Scope::new("zone", file.iter().filter_map(|statement| statement.defines("zone"))),
            sets: Scope::new("set", file.iter().filter_map(|statement| statement.defines("set"))),
            services: Scope::new("service", file.iter().filter_map(|statement| statement.defines("service"))),
            any: all,
        };
        for (zone, number) in zones.iter().zip(0..) {
            names.zones.give(zone, Zones::from_iter([Zone(number)]));
        }
        if zones.len() > Zones::LIMIT {
            let help = format!("there may be {}", Zones::LIMIT);
            problems.error(&(0..0), format!("there are {} zones", zones.len()), help);
        }
        names
    }

    fn define(&mut self, statement: &Statement<'a>, problems: &mut Problems<'_>) {
        match statement {
            Statement::Zone(definition) => {
                let value = self.zone_list(&definition.items, problems);
                self.zones.define(&definition.name, value, problems);
            }
            Statement::Set(definition) => {
                let value = self.set(&definition.items, problems);
                self.sets.define(&definition.name, value, problems);
            }
            Statement::Service(definition) => {
                let value = self.service_list(&definition.items, problems);
                self.services.define(&definition.name, value, problems);
            }
            Statement::Broken { keyword, name: Some(name) } => match *keyword {
                "zone" => self.zones.define(name, None, problems),
                "set" => self.sets.define(name, None, problems),
                "service" => self.services.define(name, None, problems),
                _ => {}
            },
            Statement::Broken { .. } | Statement::Rule(_) | Statement::Default(_) => {}
        }
    }

    /// Looks at all of a rule, so that all that is wrong with it is said.
    fn rule(
        &self,
        rule: &tree::Rule<'a>,
        counters: &mut Counters,
        problems: &mut Problems<'_>,
    ) -> Option<Rule> {
        let clauses = &rule.clauses;
        let from = self.zone_list(&rule.from, problems);
        let to = self.zone_list(&rule.to, problems);
        let source = self.addresses_or_all(clauses.source.as_deref(), problems);
        let destination = self.addresses_or_all(clauses.destination.as_deref(), problems);
        let services = match &clauses.services {
            Some(services) => self.service_list(services, problems),
            None => Some(Vec::new()),
        };
        let action = counters.action(rule.verdict, clauses, &rule.span, problems);
        let rule = Rule {
            from: from?,
            to: to?,
            source: source?,
            destination: destination?,
            services: services?,
            action,
        };
        if !rule.has_v4() && !rule.has_v6() {
            let span =
                clauses.destination.as_ref().and_then(|list| list.first()).map(|word| word.span.clone());
            let help = "`from` and `to` share a version; an IPv4 packet has no IPv6 address";
            problems.error(
                &span.unwrap_or_default(),
                "no packet has such a source and such a destination",
                help,
            );
        }
        Some(rule)
    }

    fn addresses_or_all(
        &self,
        list: Option<&[tree::Word<'a>]>,
        problems: &mut Problems<'_>,
    ) -> Option<AddressSet> {
        match list {
            Some(list) => self.addresses(list, problems),
            None => Some(AddressSet::all()),
        }
    }

    fn warn_of_unused(&self, problems: &mut Problems<'_>) {
        self.zones.warn_of_unused(problems);
        self.sets.warn_of_unused(problems);
        self.services.warn_of_unused(problems);
    }
}
