//! `paravane.toml`, read to the end: keys with their values, and where each is.
//!
//! What the keys mean is the business of who reads them.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use toml_parser::decoder::ScalarKind;
use toml_parser::parser::{Event, EventKind, RecursionGuard, parse_document};
use toml_parser::{ParseError, Source};

/// What the file is called.
pub const NAME: &str = "paravane.toml";
/// The longest file that is read.
pub const MAX_BYTES: u32 = 64 * 1024;

/// How deep arrays and tables may lie in one another. No key here takes more than a list, but the
/// parser should live to say so.
const MAX_DEPTH: u32 = 8;

/// A place in a text. Both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    String(String),
    /// As it is written.
    Integer(String),
    Boolean(bool),
    List(Vec<(At, Value)>),
    /// Nothing: it is the head of a table, or of one of several that are called so.
    Head {
        is_one_of_several: bool,
    },
    /// Something else, of this kind.
    Other(&'static str),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where the key is.
    pub(crate) key_at: At,
    /// Where the value is.
    pub(crate) at: At,
    /// In the how manieth table it is.
    pub(crate) table: usize,
    /// With the table that it is in before it, and a dot in between.
    pub(crate) key: String,
    pub(crate) value: Value,
}

/// Why a file is no TOML, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) at: At,
    pub(crate) reason: String,
}

/// What `text` says, in its order.
pub(crate) fn entries(text: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let text = str::from_utf8(text).map_err(|error| {
        let good = text.get(..error.valid_up_to()).and_then(|good| str::from_utf8(good).ok());
        let at = Cursor::new(good.unwrap_or_default()).at(error.valid_up_to());
        Malformed { at, reason: "not UTF-8".into() }
    })?;
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut reader = Reader {
        source,
        cursor: Cursor::new(text),
        table: String::new(),
        tables: 0,
        key: String::new(),
        key_at: None,
        list: None,
        depth: 0,
        entries: Vec::new(),
    };
    let mut failure: Option<ParseError> = None;
    // What is wrong inside a string shows only when that is decoded.
    let mut undecoded: Option<ParseError> = None;
    let mut take = |event: Event| reader.take(event, &mut undecoded);
    parse_document(&tokens, &mut RecursionGuard::new(&mut take, MAX_DEPTH), &mut failure);
    match failure.or(undecoded) {
        None => Ok(reader.entries),
        Some(error) => {
            let place = error.unexpected().or(error.context());
            let at = Cursor::new(text).at(place.map_or(0, |place| place.start()));
            Err(Malformed { at, reason: error.description().into() })
        }
    }
}

/// Tells places, of which each lies behind the one before.
struct Cursor<'t> {
    text: &'t str,
    bytes: usize,
    at: At,
}

impl<'t> Cursor<'t> {
    const fn new(text: &'t str) -> Self {
        Self { text, bytes: 0, at: At { line: 1, column: 1 } }
    }

    fn at(&mut self, bytes: usize) -> At {
        for char in self.text.get(self.bytes..bytes).unwrap_or_default().chars() {
            if char == '\n' {
                self.at = At { line: self.at.line.saturating_add(1), column: 1 };
            } else {
                self.at.column = self.at.column.saturating_add(1);
            }
        }
        self.bytes = self.bytes.max(bytes);
        self.at
    }
}

/// Follows the parser's events.
struct Reader<'t> {
    source: Source<'t>,
    cursor: Cursor<'t>,
    /// The table that the next keys are in.
    table: String,
    /// How many heads of tables there were.
    tables: usize,
    /// The key that is being read, of a value or of a table's head.
    key: String,
    key_at: Option<At>,
    /// The list that is being read.
    list: Option<(At, Vec<(At, Value)>)>,
    /// How many lists and inline tables are open.
    depth: u32,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn take(&mut self, event: Event, failure: &mut Option<ParseError>) {
        let at = self.cursor.at(event.span().start());
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.table.clear();
                self.key.clear();
                self.key_at = None;
            }
            EventKind::StdTableClose => self.open_table(at, false),
            EventKind::ArrayTableClose => self.open_table(at, true),
            EventKind::InlineTableOpen => {
                self.put_or_add(at, Value::Other("a table"));
                self.depth = self.depth.saturating_add(1);
            }
            EventKind::ArrayOpen => {
                if self.depth == 0 {
                    self.list = Some((at, Vec::new()));
                } else {
                    self.put_or_add(at, Value::Other("a list"));
                }
                self.depth = self.depth.saturating_add(1);
            }
            EventKind::InlineTableClose | EventKind::ArrayClose => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0
                    && let Some((at, items)) = self.list.take()
                {
                    self.put(at, Value::List(items));
                }
            }
            EventKind::SimpleKey if self.depth == 0 => {
                let mut part = String::new();
                if let Some(raw) = self.source.get(event) {
                    raw.decode_key(&mut part, failure);
                }
                self.key_at.get_or_insert(at);
                self.key.push_str(&part);
            }
            EventKind::KeySep if self.depth == 0 => self.key.push('.'),
            EventKind::Scalar => {
                let mut value = Cow::Borrowed("");
                let kind = self.source.get(event).map(|raw| raw.decode_scalar(&mut value, failure));
                let value = match kind {
                    Some(ScalarKind::String) => Value::String(value.into_owned()),
                    Some(ScalarKind::Integer(_)) => Value::Integer(value.into_owned()),
                    Some(ScalarKind::Boolean(value)) => Value::Boolean(value),
                    _ => Value::Other("a number or a date"),
                };
                self.put_or_add(at, value);
            }
            _ => {}
        }
    }

    fn open_table(&mut self, at: At, is_one_of_several: bool) {
        self.tables = self.tables.saturating_add(1);
        let name = core::mem::take(&mut self.key);
        self.table = format!("{name}.");
        self.entries.push(Entry {
            key_at: self.key_at.take().unwrap_or(at),
            at,
            table: self.tables,
            key: name,
            value: Value::Head { is_one_of_several },
        });
    }

    /// Adds a value to the list that is open, or puts it behind its key. What is in a value that is
    /// in a value is that one's.
    fn put_or_add(&mut self, at: At, value: Value) {
        match (self.depth, &mut self.list) {
            (0, _) => self.put(at, value),
            (1, Some((_, items))) => items.push((at, value)),
            _ => {}
        }
    }

    fn put(&mut self, at: At, value: Value) {
        let key = format!("{}{}", self.table, core::mem::take(&mut self.key));
        let key_at = self.key_at.take().unwrap_or(at);
        self.entries.push(Entry { key_at, at, table: self.tables, key, value });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, Value)> {
        let entries = entries(text.as_bytes()).unwrap().into_iter();
        entries.map(|entry| (format!("{} {}", entry.key_at, entry.at), entry.key, entry.value)).collect()
    }

    fn entry(places: &str, key: &str, value: Value) -> (String, String, Value) {
        (places.into(), key.into(), value)
    }

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn keys_and_strings_come_with_their_places() {
        let source = "# first\nirq = \"msix\"\r\n\n  \"ä\" = '10.0.0.1/8' # mine\nlog = \"de\\u0062ug\"";
        assert_eq!(
            read(source),
            [
                entry("2:1 2:7", "irq", text("msix")),
                entry("4:3 4:9", "ä", text("10.0.0.1/8")),
                entry("5:1 5:7", "log", text("debug")),
            ]
        );
    }

    #[test]
    fn values_of_all_kinds_are_told_apart() {
        let source = "a = 1_000\nb = [\"x\", 7, [\"y\"], {}, # z\n true]\nc = { d = \"z\" }\ne = true\n[f.g]\nh = \"i\"\n\
                      [[j]]\n\"k l\".m = 1.5\n[[j]]";
        let at = |line, column| At { line, column };
        let list = Value::List(vec![
            (at(2, 6), text("x")),
            (at(2, 11), Value::Integer("7".into())),
            (at(2, 14), Value::Other("a list")),
            (at(2, 21), Value::Other("a table")),
            (at(3, 2), Value::Boolean(true)),
        ]);
        let head = |is_one_of_several| Value::Head { is_one_of_several };
        let expected = [
            entry("1:1 1:5", "a", Value::Integer("1000".into())),
            entry("2:1 2:5", "b", list),
            entry("4:1 4:5", "c", Value::Other("a table")),
            entry("5:1 5:5", "e", Value::Boolean(true)),
            entry("6:2 6:5", "f.g", head(false)),
            entry("7:1 7:5", "f.g.h", text("i")),
            entry("8:3 8:4", "j", head(true)),
            entry("9:1 9:11", "j.k l.m", Value::Other("a number or a date")),
            entry("10:3 10:4", "j", head(true)),
        ];
        assert_eq!(read(source), expected);
        let tables: Vec<_> = entries(source.as_bytes()).unwrap().iter().map(|entry| entry.table).collect();
        assert_eq!(tables, [0, 0, 0, 0, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_place() {
        for (text, line, column) in [
            ("irq = \"msix\nlog = \"info\"", 1, 12),
            ("a = 'b'\n\nirq msix\n", 3, 5),
            ("=", 1, 1),
            ("a = 'b'\nc = \"\\q\"", 2, 7),
        ] {
            let malformed = entries(text.as_bytes()).unwrap_err();
            assert_eq!(malformed.at, At { line, column }, "{text:?}: {}", malformed.reason);
            assert!(!malformed.reason.is_empty());
        }
        let malformed = entries(b"a = 'b'\nc\xff").unwrap_err();
        assert_eq!((malformed.at, &*malformed.reason), (At { line: 2, column: 2 }, "not UTF-8"));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("a = {}", "[".repeat(60_000));
        assert!(entries(deep.as_bytes()).is_err());
        let deep = format!("a = {}1{}", "[".repeat(60_000), "]".repeat(60_000));
        assert!(entries(deep.as_bytes()).is_err());
    }
}
