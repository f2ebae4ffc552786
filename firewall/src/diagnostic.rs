//! What is wrong with a file, for people.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// There are no rules.
    Error,
    /// There are rules, and they may not be what was meant.
    Warning,
}

/// A place in a text, as editors count: both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The character in it.
    pub column: u32,
}

/// Another place that has to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Its bytes in the text.
    pub span: Range<usize>,
    /// Where they begin.
    pub place: Place,
    /// What is there.
    pub message: String,
}

/// Something that is wrong with a file of rules, or is likely to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Its bytes in the text.
    pub span: Range<usize>,
    /// Where they begin.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// Another place that has to do with it.
    pub related: Option<Related>,
}

impl Diagnostic {
    /// Whether there are no rules because of it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// A line: `12:5: error: what is wrong: what would be right`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_error() { "error" } else { "warning" };
        let Self { place: Place { line, column }, message, help, .. } = self;
        write!(f, "{line}:{column}: {severity}: {message}: {help}")?;
        match &self.related {
            Some(related) => write!(f, " (line {}: {})", related.place.line, related.message),
            None => Ok(()),
        }
    }
}

/// What was found so far, and the text that it was found in.
pub(crate) struct Problems<'a> {
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    found: Vec<Diagnostic>,
    /// Whether the last one that was said is among them.
    is_last_kept: bool,
}

/// Who has as many to mend needs no more at once, and a file that was made to have them gets none.
/// All errors are said before all warnings.
const LIMIT: usize = 1_000;

impl<'a> Problems<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = text.bytes().zip(1..).filter(|&(byte, _)| byte == b'\n').map(|(_, next)| next);
        Self {
            text,
            lines: core::iter::once(0).chain(starts).collect(),
            found: Vec::new(),
            is_last_kept: false,
        }
    }

    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|&start| start <= offset);
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("").chars().count();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Place { line: number(line), column: number(before).saturating_add(1) }
    }

    /// Behind the last character that is no blank.
    pub(crate) fn end(&self) -> Range<usize> {
        let end = self.text.trim_end().len();
        end..end
    }

    pub(crate) fn line(&self, offset: usize) -> u32 {
        self.place(offset).line
    }

    fn add(&mut self, severity: Severity, span: &Range<usize>, message: String, help: String) {
        self.is_last_kept = self.found.len() < LIMIT;
        if self.is_last_kept {
            let place = self.place(span.start);
            self.found.push(Diagnostic { severity, span: span.clone(), place, message, help, related: None });
        }
    }

    pub(crate) fn error(&mut self, span: &Range<usize>, message: impl ToString, help: impl ToString) {
        self.add(Severity::Error, span, message.to_string(), help.to_string());
    }

    pub(crate) fn warning(&mut self, span: &Range<usize>, message: impl ToString, help: impl ToString) {
        self.add(Severity::Warning, span, message.to_string(), help.to_string());
    }

    /// Says of the last one that it has to do with `span`.
    pub(crate) fn beside(&mut self, span: &Range<usize>, message: impl ToString) {
        let related =
            Related { span: span.clone(), place: self.place(span.start), message: message.to_string() };
        if let (Some(last), true) = (self.found.last_mut(), self.is_last_kept) {
            last.related = Some(related);
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(Diagnostic::is_error)
    }

    /// All, as the file has them.
    pub(crate) fn in_order(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|problem| problem.span.start);
        self.found
    }
}
