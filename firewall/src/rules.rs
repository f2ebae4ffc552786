//! Rules as they are judged by: no names, no order but their own.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::diagnostic::{Diagnostic, Problems};
use crate::packet::Zone;
use crate::ranges::Ranges;
use crate::tree::Statement;
use crate::{parse, resolve, shadow};

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on.
    Allow,
    /// It does not, and who sent it is told: TCP by a reset, others by an ICMP error.
    Reject,
    /// It does not, and nobody is told.
    Drop,
}

/// What decides, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the flow.
    pub verdict: Verdict,
    /// The rule's number, from 0; the default's is the number of rules.
    ///
    /// It is the place of the rule's [`Action`], and of whatever the caller keeps for each rule.
    pub rule: u32,
}

/// For how long a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

/// How many flows a rule lets through; what is above is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many flows, in the time of `per`.
    pub flows: u32,
    /// In which time.
    pub per: Per,
    /// How many at once, after a time without any.
    pub burst: u32,
    /// Whether each source has that many of its own.
    pub per_source: bool,
}

/// What a rule does besides finding its flows. The caller does it, by the number in [`Decision`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What becomes of the flow.
    pub verdict: Verdict,
    /// How many flows of these there may be.
    pub limit: Option<Limit>,
    /// Each flow is logged, with this text.
    pub log: Option<Cow<'static, str>>,
    /// The counter that goes up by one, a place in [`Rules::counters`].
    pub counter: Option<u16>,
    /// The rule's line in its file, from 1.
    pub line: u32,
}

/// Some of the zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zones(u64);

impl Zones {
    /// How many there may be in all.
    pub const LIMIT: usize = u64::BITS as usize;

    /// The first `count`.
    #[must_use]
    pub fn first(count: usize) -> Self {
        (0..count.min(Self::LIMIT)).filter_map(|zone| u8::try_from(zone).ok()).map(Zone).collect()
    }

    /// Whether `zone` is one of them.
    #[must_use]
    pub fn contains(self, zone: Zone) -> bool {
        self.0.checked_shr(zone.0.into()).is_some_and(|bits| bits & 1 != 0)
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Those of both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Zone> for Zones {
    fn from_iter<I: IntoIterator<Item = Zone>>(zones: I) -> Self {
        Self(zones.into_iter().fold(0, |bits, zone| bits | 1_u64.checked_shl(zone.0.into()).unwrap_or(0)))
    }
}

/// Addresses of both versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    /// Those of IPv4.
    pub v4: Ranges<u32>,
    /// Those of IPv6.
    pub v6: Ranges<u128>,
}

impl AddressSet {
    /// All addresses.
    #[must_use]
    pub fn all() -> Self {
        Self { v4: Ranges::all(), v6: Ranges::all() }
    }

    /// Whether it has all addresses.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.v4.is_all() && self.v6.is_all()
    }
}

/// A protocol, and which of its packets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// The protocol's number.
    pub protocol: u8,
    /// Of TCP and UDP the destination's ports; of ICMP each type × 256 + code.
    pub selector: Ranges<u16>,
    /// Of TCP and UDP the source's ports.
    pub source_port: Ranges<u16>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where a packet comes in.
    pub from: Zones,
    /// Where it goes out.
    pub to: Zones,
    /// Who sent it.
    pub source: AddressSet,
    /// Who it is for.
    pub destination: AddressSet,
    /// What it carries: one of these, or anything if there are none.
    pub services: Vec<Service>,
    /// What is done then.
    pub action: Action,
}

/// All rules: the first that matches decides, the default where none does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub(crate) zones: Vec<String>,
    pub(crate) counters: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) default: Action,
}

impl Rule {
    /// Whether there are IPv4 packets that it may match.
    pub(crate) fn has_v4(&self) -> bool {
        !self.source.v4.is_empty() && !self.destination.v4.is_empty()
    }

    /// Whether there are IPv6 packets that it may match.
    pub(crate) fn has_v6(&self) -> bool {
        !self.source.v6.is_empty() && !self.destination.v6.is_empty()
    }
}

impl Rules {
    /// How many rules there may be, without the default.
    pub const LIMIT: usize = 16_384;

    /// Reads a file of rules. The numbers of `zones` are their places in the list; no two have the
    /// same name.
    ///
    /// With the rules come warnings, about what was surely not meant: rules that never decide, and
    /// sets that no rule uses.
    ///
    /// # Errors
    ///
    /// All that is wrong with the file, in its order; the first 1,000 found, if it is as much.
    pub fn read(text: &str, zones: &[&str]) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut problems = Problems::new(text);
        let file = parse::file(text, &mut problems);
        let resolved = resolve::rules(&file, zones, &mut problems);
        if let (Some((rules, spans)), false) = (resolved, problems.has_errors()) {
            shadow::warn(&rules, &spans, &mut problems);
            Ok((rules, problems.in_order()))
        } else {
            let mut errors = problems.in_order();
            errors.retain(Diagnostic::is_error);
            Err(errors)
        }
    }

    /// The zones that a file speaks of without making them, in its order: what
    /// [`read`](Self::read) may be given where there is no other list.
    #[must_use]
    pub fn zones_in(text: &str) -> Vec<&str> {
        let file = parse::file(text, &mut Problems::new(text));
        let made: Vec<&str> =
            { file.iter() }.filter_map(|line| line.defines("zone")).map(|name| name.text).collect();
        let mut zones = Vec::new();
        for word in file.iter().flat_map(Statement::zones).filter(|word| word.is_name() && word.text != "any")
        {
            if !made.contains(&word.text) && !zones.contains(&word.text) {
                zones.push(word.text);
            }
        }
        zones
    }

    /// Without what was resolved from a file: for generators and tests.
    ///
    /// Zones that are no name, counters that are out of range and the like are the caller's to
    /// avoid: nothing panics, and nothing says so.
    #[must_use]
    pub fn new(zones: Vec<String>, counters: Vec<String>, rules: Vec<Rule>, default: Action) -> Self {
        Self { zones, counters, rules, default }
    }

    /// The zones' names.
    #[must_use]
    pub fn zones(&self) -> &[String] {
        &self.zones
    }

    /// The counters' names.
    #[must_use]
    pub fn counters(&self) -> &[String] {
        &self.counters
    }

    /// The rules, without the default.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What is done when no rule matches.
    #[must_use]
    pub fn default_action(&self) -> &Action {
        &self.default
    }

    /// What the rule of this number does, or the default.
    #[must_use]
    pub fn action(&self, rule: u32) -> &Action {
        let place = usize::try_from(rule).ok();
        place.and_then(|place| self.rules.get(place)).map_or(&self.default, |rule| &rule.action)
    }

    /// The default's number: that of all rules.
    #[must_use]
    pub fn default_number(&self) -> u32 {
        u32::try_from(self.rules.len()).unwrap_or(u32::MAX)
    }
}
