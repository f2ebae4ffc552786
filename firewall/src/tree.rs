//! A file as it was written, before names are looked up.

use alloc::vec::Vec;
use core::ops::Range;

use crate::rules::Verdict;

pub(crate) type Span = Range<usize>;

/// A name, a number, an address: what it is depends on where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Word<'a> {
    pub(crate) text: &'a str,
    pub(crate) span: Span,
}

impl Word<'_> {
    /// Whether it can be a name only: numbers begin with a digit, or have colons.
    pub(crate) fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_ascii_alphabetic()) && !self.text.contains(':')
    }
}

/// `zone`, `set` or `service`, with a name and what it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Definition<'a, T> {
    pub(crate) name: Word<'a>,
    pub(crate) items: Vec<T>,
}

/// A service: by its name, or by what it is.
#[derive(Clone, Debug)]
pub(crate) enum Service<'a> {
    Named(Word<'a>),
    Plain { protocol: Word<'a>, selector: Vec<Word<'a>>, source_port: Vec<Word<'a>> },
}

/// `limit`
#[derive(Clone, Debug)]
pub(crate) struct Limit<'a> {
    pub(crate) span: Span,
    pub(crate) rate: Word<'a>,
    pub(crate) burst: Option<Word<'a>>,
    pub(crate) per_source: bool,
}

/// `log`
#[derive(Clone, Debug)]
pub(crate) struct Log<'a> {
    pub(crate) text: &'a str,
    pub(crate) span: Span,
}

/// What stands behind the zones. Lists that are not there are none; those that are have items.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clauses<'a> {
    pub(crate) services: Option<Vec<Service<'a>>>,
    pub(crate) source: Option<Vec<Word<'a>>>,
    pub(crate) destination: Option<Vec<Word<'a>>>,
    pub(crate) limit: Option<Limit<'a>>,
    pub(crate) log: Option<Log<'a>>,
    pub(crate) counter: Option<Word<'a>>,
}

/// `allow`, `reject` or `drop`.
#[derive(Clone, Debug)]
pub(crate) struct Rule<'a> {
    pub(crate) span: Span,
    pub(crate) verdict: Verdict,
    pub(crate) from: Vec<Word<'a>>,
    pub(crate) to: Vec<Word<'a>>,
    pub(crate) clauses: Clauses<'a>,
}

/// `default`
#[derive(Clone, Debug)]
pub(crate) struct Default<'a> {
    pub(crate) span: Span,
    pub(crate) verdict: Verdict,
    pub(crate) clauses: Clauses<'a>,
}

/// A line that says something; a list in braces may go on over several.
#[derive(Clone, Debug)]
pub(crate) enum Statement<'a> {
    Zone(Definition<'a, Word<'a>>),
    Set(Definition<'a, Word<'a>>),
    Service(Definition<'a, Service<'a>>),
    Rule(Rule<'a>),
    Default(Default<'a>),
    /// Something was wrong with it, and was said. A definition's name is known all the same.
    Broken {
        keyword: &'a str,
        name: Option<Word<'a>>,
    },
}

impl<'a> Statement<'a> {
    pub(crate) fn as_rule(&self) -> Option<&Rule<'a>> {
        match self {
            Self::Rule(rule) => Some(rule),
            _ => None,
        }
    }

    /// The name that it gives to something of that kind.
    pub(crate) fn defines(&self, kind: &str) -> Option<&Word<'a>> {
        match (self, kind) {
            (Self::Zone(Definition { name, .. }), "zone")
            | (Self::Set(Definition { name, .. }), "set")
            | (Self::Service(Definition { name, .. }), "service") => Some(name),
            (Self::Broken { keyword, name }, _) if *keyword == kind => name.as_ref(),
            _ => None,
        }
    }

    /// What stands where zones do.
    pub(crate) fn zones(&self) -> impl Iterator<Item = &Word<'a>> {
        let (from, to) = match self {
            Self::Zone(Definition { items, .. }) => (items.as_slice(), &[][..]),
            Self::Rule(Rule { from, to, .. }) => (from.as_slice(), to.as_slice()),
            _ => (&[][..], &[][..]),
        };
        from.iter().chain(to)
    }
}
