//! Rules that never decide, for one before them matches all that they do.

use alloc::format;

use crate::diagnostic::Problems;
use crate::rules::{Rule, Rules, Service};
use crate::tree::Span;

/// Warns of each, with the first rule that is in its way.
pub(crate) fn warn(rules: &Rules, spans: &[Span], problems: &mut Problems<'_>) {
    for (place, (rule, span)) in rules.rules().iter().zip(spans).enumerate() {
        let earlier = rules.rules().iter().zip(spans).take(place);
        let Some((first, first_span)) = { earlier }.find(|(earlier, _)| earlier.covers(rule)) else {
            continue;
        };
        let line = first.action.line;
        let help = if first.action.verdict == rule.action.verdict {
            format!("take it out, or put it above line {line} if it counts or logs")
        } else {
            format!("put it above line {line} if it is an exception, or take it out")
        };
        problems.warning(
            span,
            format!("this rule never decides: line {line} matches all of its packets"),
            help,
        );
        problems.beside(first_span, "this one decides");
    }
}

impl Rule {
    /// Whether each packet that `other` matches is matched by this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.from.covers(other.from)
            && self.to.covers(other.to)
            && (!other.has_v4()
                || self.source.v4.covers(&other.source.v4)
                    && self.destination.v4.covers(&other.destination.v4))
            && (!other.has_v6()
                || self.source.v6.covers(&other.source.v6)
                    && self.destination.v6.covers(&other.destination.v6))
            && self.covers_services(&other.services)
    }

    fn covers_services(&self, others: &[Service]) -> bool {
        let covers = |other: &Service| self.services.iter().any(|service| service.covers(other));
        self.services.is_empty() || !others.is_empty() && others.iter().all(covers)
    }
}

impl Service {
    fn covers(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.selector.covers(&other.selector)
            && self.source_port.covers(&other.source_port)
    }
}
