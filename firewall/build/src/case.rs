//! Rules as boxes: a range or several in each of four directions.

use std::rc::Rc;

use paravane_firewall::Rules;
use paravane_firewall::ranges::{Number, Ranges};
use paravane_firewall::rules::{Rule, Service};

/// What a decision may look at, in the order in which it is cheapest to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// The destination's port, or ICMP's type and code.
    Selector,
    /// The destination's address.
    Destination,
    /// The source's address.
    Source,
    /// The source's port.
    SourcePort,
}

pub(crate) const AXES: [Axis; 4] = [Axis::Selector, Axis::Destination, Axis::Source, Axis::SourcePort];

impl Axis {
    /// What it is called in the code.
    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Self::Selector => "port",
            Self::Destination => "to",
            Self::Source => "from",
            Self::SourcePort => "source_port",
        }
    }

    const fn place(self) -> usize {
        self as usize
    }
}

/// Which version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Version {
    V4,
    V6,
}

impl Version {
    /// The type of numbers along `axis`, and the largest of them.
    pub(crate) const fn numbers(self, axis: Axis) -> (&'static str, u128) {
        match (axis, self) {
            (Axis::Selector | Axis::SourcePort, _) => ("u16", u16::MAX as u128),
            (Axis::Destination | Axis::Source, Self::V4) => ("u32", u32::MAX as u128),
            (Axis::Destination | Axis::Source, Self::V6) => ("u128", u128::MAX),
        }
    }
}

pub(crate) type Side = Rc<[(u128, u128)]>;

/// A rule, or one of its services, for packets of one version and protocol.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The rule's number.
    pub(crate) rule: u32,
    /// Along each axis.
    sides: [Side; 4],
    /// Whether there is nothing to look at along each axis.
    full: [bool; 4],
}

impl Case {
    pub(crate) fn side(&self, axis: Axis) -> &Side {
        &self.sides[axis.place()]
    }

    pub(crate) fn is_full(&self, axis: Axis) -> bool {
        self.full[axis.place()]
    }
}

/// A rule's addresses, so that its cases share them.
pub(crate) struct Boxes<'r> {
    rules: Vec<(&'r Rule, [[Side; 2]; 2])>,
}

fn side<T: Number + Into<u128>>(ranges: &Ranges<T>) -> Side {
    ranges.as_slice().iter().map(|&(first, last)| (first.into(), last.into())).collect()
}

impl<'r> Boxes<'r> {
    pub(crate) fn new(rules: &'r Rules) -> Self {
        let sides = |rule: &Rule| {
            [
                [side(&rule.destination.v4), side(&rule.source.v4)],
                [side(&rule.destination.v6), side(&rule.source.v6)],
            ]
        };
        Self { rules: rules.rules().iter().map(|rule| (rule, sides(rule))).collect() }
    }

    /// The cases of `rules` for a version and a protocol; without its header, where ports are not
    /// known.
    pub(crate) fn cases(&self, rules: &[u32], version: Version, protocol: u8, has_header: bool) -> Vec<Case> {
        let mut cases = Vec::new();
        for &number in rules {
            let (rule, sides) = &self.rules[number as usize];
            let [destination, source] = &sides[version as usize];
            if destination.is_empty() || source.is_empty() {
                continue;
            }
            let mut add = |selector: Side, source_port: Side| {
                let sides = [selector, destination.clone(), source.clone(), source_port];
                let full = AXES.map(|axis| *sides[axis.place()] == [(0, version.numbers(axis).1)]);
                if has_header || full[Axis::Selector.place()] && full[Axis::SourcePort.place()] {
                    cases.push(Case { rule: number, sides, full });
                }
            };
            if rule.services.is_empty() {
                add(side(&Ranges::<u16>::all()), side(&Ranges::<u16>::all()));
            }
            for Service { selector, source_port, .. } in
                rule.services.iter().filter(|is| is.protocol == protocol)
            {
                add(side(selector), side(source_port));
            }
        }
        cases
    }
}
