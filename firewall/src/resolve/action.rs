//! What a rule does besides finding its flows.

use alloc::borrow::{Cow, ToOwned};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::diagnostic::Problems;
use crate::rules::{Action, Limit, Per, Verdict};
use crate::tree::{self, Clauses, Span, Word};
use crate::value::{self, Wrong};

/// The counters' names, and their places.
#[derive(Default)]
pub(super) struct Counters {
    names: Vec<String>,
    places: BTreeMap<String, u16>,
}

impl Counters {
    pub(super) fn names(self) -> Vec<String> {
        self.names
    }

    fn place(&mut self, name: &Word<'_>) -> Option<u16> {
        if let Some(&place) = self.places.get(name.text) {
            return Some(place);
        }
        // There is one for each rule at most, and of rules there are fewer.
        let place = u16::try_from(self.names.len()).ok()?;
        self.names.push(name.text.to_owned());
        self.places.insert(name.text.to_owned(), place);
        Some(place)
    }

    pub(super) fn action(
        &mut self,
        verdict: Verdict,
        clauses: &Clauses<'_>,
        span: &Span,
        problems: &mut Problems<'_>,
    ) -> Action {
        if let (Verdict::Drop, Some(limit)) = (verdict, &clauses.limit) {
            let help = "what is above a limit is dropped: `allow` or `reject` up to it";
            problems.error(&limit.span, "a `drop` has nothing to limit", help);
        }
        if let Some(log) = &clauses.log
            && log.text.chars().any(char::is_control)
        {
            problems.error(&log.span, "a text has no control characters", "blanks are fine");
        }
        Action {
            verdict,
            limit: clauses.limit.as_ref().and_then(|given| limit(given, problems)),
            log: clauses.log.as_ref().map(|log| Cow::Owned(log.text.to_owned())),
            counter: clauses.counter.as_ref().and_then(|name| self.place(name)),
            line: problems.line(span.start),
        }
    }
}

/// Without a burst, that of the rate's number.
fn limit(given: &tree::Limit<'_>, problems: &mut Problems<'_>) -> Option<Limit> {
    let mut said = |word: &Word<'_>, (message, help): Wrong| problems.error(&word.span, message, help);
    let rate = value::rate(given.rate.text).map_err(|wrong| said(&given.rate, wrong));
    let burst = given.burst.as_ref().map(|word| value::count(word.text).map_err(|wrong| said(word, wrong)));
    let (flows, per): (u32, Per) = rate.ok()?;
    let burst = burst.unwrap_or(Ok(flows)).ok()?;
    Some(Limit { flows, per, burst, per_source: given.per_source })
}
