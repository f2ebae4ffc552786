//! `paravane.toml`: keys of the command line with their values as strings, one a line.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use toml_parser::decoder::ScalarKind;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{ParseError, Source, Span};

/// What the file is called.
pub const NAME: &str = "paravane.toml";
/// The longest file that is read.
pub const MAX_BYTES: u32 = 64 * 1024;

/// How deep arrays and tables may lie in one another. None may be there at all, but the parser
/// should live to say so.
const MAX_DEPTH: u32 = 8;

/// A key, and its value if that is a string.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) line: usize,
    /// With the table that it is in before it, and a dot in between.
    pub(super) key: String,
    pub(super) value: Option<String>,
}

/// Why a file is no TOML, and in which line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// What `text` says, in its order.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, Malformed> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut reader =
        Reader { source, table: String::new(), key: String::new(), depth: 0, entries: Vec::new() };
    let mut failure: Option<ParseError> = None;
    // What is wrong inside a string shows only when that is decoded.
    let mut undecoded: Option<ParseError> = None;
    let mut take = |event: Event| reader.take(event, &mut undecoded);
    parse_document(&tokens, &mut RecursionGuard::new(&mut take, MAX_DEPTH), &mut failure);
    match failure.or(undecoded) {
        None => Ok(reader.entries),
        Some(error) => {
            let place = error.unexpected().or(error.context());
            let line = place.map_or(1, |place| line_of(text, place));
            Err(Malformed { line, reason: error.description().into() })
        }
    }
}

fn line_of(text: &str, place: Span) -> usize {
    let before = text.as_bytes().get(..place.start()).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Follows the parser's events.
struct Reader<'t> {
    source: Source<'t>,
    /// The table that the next keys are in.
    table: String,
    /// The key that is being read, of a value or of a table's head.
    key: String,
    /// How many arrays and inline tables are open.
    depth: u32,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn take(&mut self, event: Event, failure: &mut Option<ParseError>) {
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.table.clear();
                self.key.clear();
            }
            EventKind::StdTableClose | EventKind::ArrayTableClose => {
                self.table = core::mem::take(&mut self.key);
                self.table.push('.');
            }
            // Keys and values inside a value are that value's.
            EventKind::InlineTableOpen | EventKind::ArrayOpen => {
                if self.depth == 0 {
                    self.put(event.span(), None);
                }
                self.depth += 1;
            }
            EventKind::InlineTableClose | EventKind::ArrayClose => self.depth = self.depth.saturating_sub(1),
            _ if self.depth > 0 => {}
            EventKind::SimpleKey => {
                let mut part = String::new();
                if let Some(raw) = self.source.get(event) {
                    raw.decode_key(&mut part, failure);
                }
                self.key.push_str(&part);
            }
            EventKind::KeySep => self.key.push('.'),
            EventKind::Scalar => {
                let mut value = alloc::borrow::Cow::Borrowed("");
                let kind = self.source.get(event).map(|raw| raw.decode_scalar(&mut value, failure));
                let is_string = matches!(kind, Some(ScalarKind::String));
                self.put(event.span(), is_string.then(|| value.into_owned()));
            }
            _ => {}
        }
    }

    fn put(&mut self, place: Span, value: Option<String>) {
        let key = format!("{}{}", self.table, core::mem::take(&mut self.key));
        self.entries.push(Entry { line: line_of(self.source.input(), place), key, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, String, Option<String>)> {
        entries(text).unwrap().into_iter().map(|entry| (entry.line, entry.key, entry.value)).collect()
    }

    #[test]
    fn keys_come_with_their_lines_and_strings() {
        let text = "# first\nirq = \"msix\"\r\n\nadmin = '10.0.0.1/8' # mine\nlog = \"de\\u0062ug\"";
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            read(text),
            [
                (2, "irq".into(), some("msix")),
                (4, "admin".into(), some("10.0.0.1/8")),
                (5, "log".into(), some("debug")),
            ]
        );
    }

    #[test]
    fn what_is_no_string_is_a_key_without_value() {
        let text = "a = 7\nb = [\"x\", [\"y\"]]\nc = { d = \"z\" }\ne = true\n[f.g]\nh = \"i\"\n[[j]]\n\"k l\".m = 1";
        let keys: Vec<_> =
            read(text).into_iter().map(|(line, key, value)| (line, key, value.is_some())).collect();
        let expected = [
            (1, "a", false),
            (2, "b", false),
            (3, "c", false),
            (4, "e", false),
            (6, "f.g.h", true),
            (8, "j.k l.m", false),
        ];
        assert_eq!(keys, expected.map(|(line, key, is_string)| (line, key.to_owned(), is_string)));
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        for (text, line) in [("irq = \"msix\nlog = \"info\"", 1), ("a = 'b'\n\nirq msix\n", 3), ("=", 1)] {
            let malformed = entries(text).unwrap_err();
            assert_eq!(malformed.line, line, "{text:?}: {}", malformed.reason);
            assert!(!malformed.reason.is_empty());
        }
        assert_eq!(entries("a = 'b'\nc = \"\\q\"").unwrap_err().line, 2, "inside a string");
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("a = {}", "[".repeat(60_000));
        assert!(entries(&deep).is_err());
        let deep = format!("a = {}1{}", "[".repeat(60_000), "]".repeat(60_000));
        assert!(entries(&deep).is_err());
    }
}
