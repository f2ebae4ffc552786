//! One message of syslog as a datagram: a plain value, and its bytes.
//!
//! ```text
//! <134>1 2026-11-30T16:05:00.123456Z lb1 paravane - - [origin …] nic public: link up
//!  |   | |                          |   |        | | |          |
//!  |   | when, or -                 |   what     | | which build, once  what happened
//!  |   version                      who          | kind
//!  facility and severity                         process
//! ```
//!
//! Spec: RFC 5424, 6 "Syslog Message Format"; RFC 5426, 3.1 "One Message Per Datagram".

use core::fmt::{self, Write};

use super::calendar::Utc;

/// The longest message: what any receiver takes but the oldest. Longer ones are cut.
///
/// Spec: RFC 5424, 6.1 "Message Length"; RFC 5426, 3.2 "Message Size".
pub const MAX_BYTES: usize = 1024;

/// What the messages are from.
const APP_NAME: &str = "paravane";

/// The facility local0.
const LOCAL0: u8 = 16;

/// The longest `swVersion`, in characters.
///
/// Spec: RFC 5424, 7.2.4 "swVersion".
const VERSION_CHARS: usize = 32;

/// What a cut message ends in.
const CUT: &[u8] = b"...";

/// How bad it is.
///
/// Spec: RFC 5424, table 2 "Syslog Message Severities".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something does not work.
    Error = 3,
    /// Something may not work.
    Warning = 4,
    /// Something happened.
    Informational = 6,
    /// Something is looked for.
    Debug = 7,
}

impl From<log::Level> for Severity {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Error => Self::Error,
            log::Level::Warn => Self::Warning,
            log::Level::Info => Self::Informational,
            log::Level::Debug | log::Level::Trace => Self::Debug,
        }
    }
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// When it happened, in microseconds since 1970, where that is known.
    pub unix_us: Option<u64>,
    /// Which machine says it: a name or an address.
    pub host: &'a str,
    /// Which build it is, in a message that says so.
    pub build: Option<&'a str>,
    /// What happened.
    pub text: &'a str,
}

impl Message<'_> {
    /// Writes it to the start of `to`; how many bytes it takes there. What does not fit is cut off.
    pub fn write(&self, to: &mut [u8; MAX_BYTES]) -> usize {
        let mut out = Out { to, len: 0, is_cut: false };
        // Writing there does not fail; what has no room is cut off.
        let _ = write!(out, "<{}>1 ", LOCAL0 * 8 + self.severity as u8);
        // Spec: RFC 5424, 6.2.3 "TIMESTAMP".
        let _ = match self.unix_us.and_then(Utc::of) {
            Some(utc) => write!(out, "{utc}"),
            None => write!(out, "-"),
        };
        out.byte(b' ');
        out.word(self.host, 255);
        out.byte(b' ');
        out.plain(APP_NAME);
        // Neither a process, nor kinds of messages.
        out.plain(" - - ");
        match self.build {
            Some(build) => {
                // Spec: RFC 5424, 7.2 "origin".
                out.plain("[origin software=\"");
                out.plain(APP_NAME);
                out.plain("\" swVersion=\"");
                out.value(build);
                out.plain("\"]");
            }
            None => out.byte(b'-'),
        }
        out.byte(b' ');
        out.text(self.text);
        out.end()
    }
}

/// Where the bytes go: never past the end, and never a part of a character.
struct Out<'a> {
    to: &'a mut [u8; MAX_BYTES],
    len: usize,
    is_cut: bool,
}

impl Out<'_> {
    /// Adds all of `bytes`, or nothing of them and of what comes later.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        let room = self.to.get_mut(self.len..end).filter(|_| !self.is_cut);
        let Some(room) = room else {
            self.is_cut = true;
            return;
        };
        room.copy_from_slice(bytes);
        self.len = end;
    }

    fn byte(&mut self, byte: u8) {
        self.put(&[byte]);
    }

    fn plain(&mut self, text: &str) {
        self.put(text.as_bytes());
    }

    /// A word of a head: printable ASCII without blanks, and not too long; `-` where nothing is
    /// left of it.
    ///
    /// Spec: RFC 5424, 6 "Syslog Message Format", `PRINTUSASCII`.
    fn word(&mut self, text: &str, most: usize) {
        let before = self.len;
        text.bytes().filter(u8::is_ascii_graphic).take(most).for_each(|byte| self.byte(byte));
        if self.len == before {
            self.byte(b'-');
        }
    }

    /// A value of structured data: three characters have a backslash before them.
    ///
    /// Spec: RFC 5424, 6.3.3 "SD-PARAM".
    fn value(&mut self, text: &str) {
        for char in text.chars().take(VERSION_CHARS) {
            if matches!(char, '"' | '\\' | ']') {
                self.byte(b'\\');
            }
            self.char(char);
        }
    }

    /// What happened. Where that has control characters, it could be taken for something else, by
    /// a terminal or as a line of its own: each becomes a blank.
    ///
    /// Spec: RFC 5424, 6.4 "MSG", and 8.2 "Control Characters".
    fn text(&mut self, text: &str) {
        text.chars().for_each(|char| self.char(char));
    }

    fn char(&mut self, char: char) {
        let char = if char.is_control() { ' ' } else { char };
        self.put(char.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// How long it is. Of one that was cut, the end says so.
    fn end(self) -> usize {
        if !self.is_cut {
            return self.len;
        }
        let mut end = self.len.min(MAX_BYTES - CUT.len());
        // Back to where a character begins: it may be one that is in part where the end is to be.
        while end > 0 && self.to.get(end).is_some_and(|byte| end < self.len && byte & 0xc0 == 0x80) {
            end -= 1;
        }
        let after = end + CUT.len();
        if let Some(place) = self.to.get_mut(end..after) {
            place.copy_from_slice(CUT);
        }
        after
    }
}

impl Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.plain(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(message: &Message<'_>) -> String {
        let mut to = [0; MAX_BYTES];
        let len = message.write(&mut to);
        String::from_utf8(to[..len].to_vec()).unwrap()
    }

    const LINK: Message<'_> = Message {
        severity: Severity::Informational,
        unix_us: None,
        host: "lb1",
        build: None,
        text: "nic public: link up",
    };

    #[test]
    fn as_the_standard_has_it() {
        assert_eq!(written(&LINK), "<134>1 - lb1 paravane - - - nic public: link up");
        let start = Message {
            severity: Severity::Error,
            unix_us: Some(1_796_054_700_123_456),
            build: Some("0.1.0+abc"),
            host: "",
            ..LINK
        };
        assert_eq!(
            written(&start),
            "<131>1 2026-11-30T16:05:00.123456Z - paravane - - [origin software=\"paravane\" swVersion=\"0.1.0+abc\"] nic public: link up"
        );
    }

    #[test]
    fn what_could_be_taken_for_something_else_cannot() {
        let odd =
            Message { host: "l b\n1 é", build: Some(r#"a"b\c]d"#), text: "a\nb\u{7f}\u{85}c\0d", ..LINK };
        assert_eq!(
            written(&odd),
            "<134>1 - lb1 paravane - - [origin software=\"paravane\" swVersion=\"a\\\"b\\\\c\\]d\"] a b  c d"
        );
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        for text in ["x".repeat(2000), "é".repeat(700), format!("x{}", "𝄞".repeat(400))] {
            let written = written(&Message { text: &text, ..LINK });
            assert!(written.ends_with("...") && written.len() > MAX_BYTES - 4, "{}", written.len());
            assert!(written.len() <= MAX_BYTES);
        }
        let head = written(&Message { text: "", ..LINK }).len();
        let fits = "x".repeat(MAX_BYTES - head);
        assert!(written(&Message { text: &fits, ..LINK }).ends_with("xxx"));
        assert!(written(&Message { text: &(fits + "x"), ..LINK }).ends_with("x..."));
    }

    /// Reads a message as the standard's grammar has it: version, time, host, build, text.
    fn read(message: &str) -> Option<(u32, &str, &str, Option<String>, &str)> {
        let (priority, rest) = message.strip_prefix('<')?.split_once(">1 ")?;
        let (time, rest) = rest.split_once(' ')?;
        let (host, rest) = rest.split_once(' ')?;
        let rest = rest.strip_prefix("paravane - - ")?;
        if let Some(text) = rest.strip_prefix("- ") {
            return Some((priority.parse().ok()?, time, host, None, text));
        }
        let rest = rest.strip_prefix("[origin software=\"paravane\" swVersion=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        loop {
            match chars.next()?.1 {
                '\\' => value.push(chars.next()?.1),
                '"' => break,
                ']' => return None,
                char => value.push(char),
            }
        }
        let text = chars.as_str().strip_prefix("] ")?;
        Some((priority.parse().ok()?, time, host, Some(value), text))
    }

    proptest! {
        #[test]
        fn whatever_is_said_can_be_read(
            unix_us in proptest::option::of(any::<u64>()),
            host in "\\PC{0,300}",
            build in proptest::option::of("[ -~é]{0,32}"),
            text in any::<String>(),
        ) {
            let message = Message { unix_us, host: &host, build: build.as_deref(), text: &text, ..LINK };
            let written = written(&message);
            prop_assert!(written.len() <= MAX_BYTES);
            prop_assert!(!written.chars().any(char::is_control));
            let (priority, time, said_by, said_build, said) = read(&written).unwrap();
            prop_assert_eq!(priority, 134);
            prop_assert_eq!(time == "-", unix_us.and_then(Utc::of).is_none());
            prop_assert!(said_by.len() <= 255 && said_by.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(said_build, build);
            let plain: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
            let whole = said == plain;
            let cut = said.strip_suffix("...").is_some_and(|said| plain.starts_with(said));
            prop_assert!(whole || (cut && written.len() > MAX_BYTES - 4));
        }
    }
}
