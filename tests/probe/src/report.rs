//! What is reported, in a form that people and programs read: one line a fact.
//!
//! ```text
//! probe: identity NAME: WHAT
//! probe: FACT-ID: expected WHAT: seen WHAT: as expected
//! probe: FACT-ID: expected WHAT: seen WHAT: differs
//! probe: FACT-ID: expected WHAT: seen nothing: not shown (WHY)
//! ```
//!
//! Between the parts is `: `, and nowhere in them.

use alloc::format;
use alloc::string::String;
use core::fmt;

use paravane_suite::Environment;

/// What a device answered.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// In words.
    pub(crate) what: String,
    /// Whether that is what was expected.
    pub(crate) fits: bool,
}

/// What came of asking: what was seen, or why nothing was.
pub(crate) type Answer = Result<Seen, String>;

/// What was seen, and whether it fits.
#[expect(clippy::unnecessary_wraps, reason = "what every fact ends with")]
pub(crate) fn seen(fits: bool, what: impl Into<String>) -> Answer {
    Ok(Seen { what: what.into(), fits })
}

/// How many facts came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The device does what was expected.
    pub as_expected: usize,
    /// It does something else.
    pub differs: usize,
    /// It could not be brought to show what it does, or has no such thing.
    pub not_shown: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { as_expected, differs, not_shown } = self;
        write!(f, "{as_expected} as expected, {differs} differ, {not_shown} not shown")
    }
}

impl Summary {
    /// Reports a fact and counts it.
    pub(crate) fn tell<E: Environment>(
        &mut self,
        environment: &mut E,
        id: &str,
        expected: &str,
        answer: &Answer,
    ) {
        let (what, verdict, count) = match answer {
            Ok(Seen { what, fits: true }) => (what.as_str(), "as expected".into(), &mut self.as_expected),
            Ok(Seen { what, fits: false }) => (what.as_str(), "differs".into(), &mut self.differs),
            Err(why) => ("nothing", format!("not shown ({})", part(why)), &mut self.not_shown),
        };
        *count = count.saturating_add(1);
        environment.report(format_args!(
            "probe: {id}: expected {}: seen {}: {verdict}",
            part(expected),
            part(what)
        ));
    }
}

/// Reports what the device says of itself.
pub(crate) fn identity<E: Environment>(environment: &mut E, name: &str, what: &str) {
    environment.report(format_args!("probe: identity {name}: {}", part(what)));
}

/// A part of a line, which has no mark of one in it.
fn part(text: &str) -> String {
    text.replace(": ", ", ").replace('\n', " ")
}
