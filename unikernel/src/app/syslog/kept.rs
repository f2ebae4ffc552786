//! What was said on the console and not told the collector yet, in memory that does not grow.
//!
//! Where there is no room, the oldest goes. Who says the same thing over and over is heard some
//! times in a while, and then only counted. Both counts are told.

use core::fmt::{self, Write};
use core::time::Duration;

/// The longest text that is kept of one message, in bytes.
pub const TEXT_BYTES: usize = 900;

/// What is kept beside each text: severity, which message it is, when, and how long the text is.
const HEAD_BYTES: usize = 1 + 8 + 2;

/// A message is kept so often in each [`WINDOW`].
const OFTEN: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);
/// So many messages are told apart by how often they come.
const SOURCES: usize = 16;

/// Where a message is from: its place in the source code, whatever of it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: &'static str,
    /// The line of it.
    pub line: u32,
}

/// How often a message came.
#[derive(Clone, Copy, Debug)]
struct Often {
    source: Source,
    since_us: u64,
    /// When it came last.
    seen_us: u64,
    count: u32,
}

/// A message that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    /// How bad it is.
    pub level: log::Level,
    /// Microseconds since the start.
    pub uptime_us: u64,
    /// What it says.
    pub text: &'a str,
}

/// Messages in so many bytes, the oldest first.
#[derive(Debug)]
pub struct Kept<const BYTES: usize> {
    bytes: [u8; BYTES],
    /// Where the oldest begins, and how many bytes they are together.
    start: usize,
    len: usize,
    /// What was put out for others and not told of yet.
    lost: u32,
    often: [Option<Often>; SOURCES],
    /// What came too often and was not told of yet.
    repeated: u32,
}

impl<const BYTES: usize> Kept<BYTES> {
    /// Nothing.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is made where constants are")]
    pub const fn new() -> Self {
        const { assert!(BYTES > HEAD_BYTES + TEXT_BYTES, "there is room for one") };
        Self { bytes: [0; BYTES], start: 0, len: 0, lost: 0, often: [None; SOURCES], repeated: 0 }
    }

    /// Whether there is something to tell.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0 && self.lost == 0 && self.repeated == 0
    }

    /// Keeps what was said at `source`.
    pub fn push(
        &mut self,
        level: log::Level,
        source: Option<Source>,
        uptime_us: u64,
        text: fmt::Arguments<'_>,
    ) {
        if source.is_some_and(|source| self.is_too_often(source, uptime_us)) {
            self.repeated = self.repeated.saturating_add(1);
            return;
        }
        let mut line = Line { bytes: [0; TEXT_BYTES], len: 0 };
        // One that is too long is cut, and that is no error.
        let _ = line.write_fmt(text);
        let Line { bytes, len } = line;
        while BYTES - self.len < HEAD_BYTES + len {
            self.drop_oldest();
            self.lost = self.lost.saturating_add(1);
        }
        let Ok(len_bytes) = u16::try_from(len) else { return };
        self.append(&[level as u8]);
        self.append(&uptime_us.to_le_bytes());
        self.append(&len_bytes.to_le_bytes());
        self.append(bytes.get(..len).unwrap_or(&[]));
    }

    /// The oldest message, whose text is put into `room`; that of what is missing goes before.
    pub fn take<'a>(&mut self, uptime_us: u64, room: &'a mut [u8; TEXT_BYTES]) -> Option<Said<'a>> {
        let (lost, repeated) = (self.lost, self.repeated);
        let mut line = Line { bytes: [0; TEXT_BYTES], len: 0 };
        if lost > 0 {
            self.lost = 0;
            // Shorter than the room.
            let _ = write!(line, "syslog: {lost} messages were lost: there was no room to keep them");
        } else if self.len == 0 && repeated > 0 {
            self.repeated = 0;
            let _ = write!(line, "syslog: {repeated} messages were left out: they came too often");
        }
        if line.len > 0 {
            *room = line.bytes;
            let text = core::str::from_utf8(room.get(..line.len)?).ok()?;
            return Some(Said { level: log::Level::Warn, uptime_us, text });
        }
        let (level, uptime_us, len) = self.head()?;
        for (place, offset) in room.iter_mut().zip(0..len) {
            *place = self.at(HEAD_BYTES + offset);
        }
        self.drop_oldest();
        let text = core::str::from_utf8(room.get(..len)?).ok()?;
        Some(Said { level, uptime_us, text })
    }

    /// Whether a message of `source` came as often as it may; it is counted.
    fn is_too_often(&mut self, source: Source, now_us: u64) -> bool {
        let window_us = u64::try_from(WINDOW.as_micros()).unwrap_or(u64::MAX);
        let same = |often: &Option<Often>| often.is_some_and(|often| often.source == source);
        let place = self.often.iter().position(same).or_else(|| {
            // The one of which nothing was heard for longest has its place.
            (0..SOURCES).min_by_key(|at| {
                self.often.get(*at).copied().flatten().map_or((false, 0), |often| (true, often.seen_us))
            })
        });
        let Some(often) = place.and_then(|place| self.often.get_mut(place)) else { return false };
        match often {
            Some(often) if often.source == source && now_us.saturating_sub(often.since_us) < window_us => {
                often.seen_us = now_us;
                often.count = often.count.saturating_add(1);
                often.count > OFTEN
            }
            _ => {
                *often = Some(Often { source, since_us: now_us, seen_us: now_us, count: 1 });
                false
            }
        }
    }

    fn head(&self) -> Option<(log::Level, u64, usize)> {
        if self.len < HEAD_BYTES {
            return None;
        }
        let level = log::Level::iter().find(|level| *level as u8 == self.at(0))?;
        let uptime_us = u64::from_le_bytes(core::array::from_fn(|at| self.at(1 + at)));
        let len = u16::from_le_bytes(core::array::from_fn(|at| self.at(9 + at)));
        Some((level, uptime_us, len.into()))
    }

    /// The byte so far behind the start of the oldest.
    fn at(&self, offset: usize) -> u8 {
        self.bytes.get((self.start + offset) % BYTES).copied().unwrap_or(0)
    }

    fn append(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut((self.start + self.len) % BYTES) {
                *place = *byte;
            }
            self.len += 1;
        }
    }

    fn drop_oldest(&mut self) {
        let bytes = self.head().map_or(self.len, |(.., len)| (HEAD_BYTES + len).min(self.len));
        self.start = (self.start + bytes) % BYTES;
        self.len -= bytes;
    }
}

/// A text as it is written, up to where there is room; never a part of a character.
struct Line {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            let end = self.len + char.len_utf8();
            let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
            char.encode_utf8(room);
            self.len = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use log::Level;
    use proptest::prelude::*;

    use super::*;

    fn all<const BYTES: usize>(kept: &mut Kept<BYTES>) -> Vec<(Level, u64, String)> {
        let mut room = [0; TEXT_BYTES];
        let next = || kept.take(7, &mut room).map(|said| (said.level, said.uptime_us, said.text.to_owned()));
        core::iter::from_fn(next).collect()
    }

    #[test]
    fn what_is_said_comes_out_in_order() {
        let mut kept = Kept::<2000>::new();
        assert!(kept.is_empty());
        kept.push(Level::Info, None, 1, format_args!("link {}", "up"));
        kept.push(Level::Error, None, 2, format_args!(""));
        assert!(!kept.is_empty());
        assert_eq!(all(&mut kept), [(Level::Info, 1, "link up".into()), (Level::Error, 2, String::new())]);
        assert!(kept.is_empty());
    }

    #[test]
    fn without_room_the_oldest_go_and_are_counted() {
        let mut kept = Kept::<1000>::new();
        for number in 0..300 {
            kept.push(Level::Info, None, number, format_args!("message {number:03}"));
        }
        let said = all(&mut kept);
        let left = 1000 / (HEAD_BYTES + 11);
        assert_eq!(said.len(), left + 1);
        let lost = format!("syslog: {} messages were lost: there was no room to keep them", 300 - left);
        assert_eq!(said[0], (Level::Warn, 7, lost));
        assert_eq!(said[1].2, format!("message {}", 300 - left));
        assert_eq!(said[left], (Level::Info, 299, "message 299".into()));
    }

    #[test]
    fn who_says_the_same_over_and_over_is_counted() {
        let mut kept = Kept::<8000>::new();
        let source = |line| Some(Source { file: "a.rs", line });
        for number in 0..100 {
            kept.push(Level::Info, source(1), number, format_args!("again {number}"));
            kept.push(
                Level::Info,
                source(2 + u32::try_from(number).unwrap() / 4),
                number,
                format_args!("other"),
            );
        }
        let said = all(&mut kept);
        assert_eq!(said.iter().filter(|(.., text)| text.starts_with("again")).count(), 5, "{said:?}");
        assert_eq!(said.iter().filter(|(.., text)| text == "other").count(), 100);
        assert_eq!(said[105].2, "syslog: 95 messages were left out: they came too often");
        kept.push(Level::Info, source(1), 10_000_000, format_args!("again later"));
        assert_eq!(all(&mut kept).len(), 1);
    }

    proptest! {
        /// Against a list: it keeps the end of what was said, and counts what is missing.
        #[test]
        fn it_is_the_end_of_what_was_said(texts in proptest::collection::vec("\\PC{0,400}", 0..60), takes in any::<u64>()) {
            let mut kept = Kept::<2500>::new();
            let mut said: VecDeque<(u64, String)> = VecDeque::new();
            let mut room = [0; TEXT_BYTES];
            let mut missing = 0;
            for (number, text) in (0..).zip(&texts) {
                kept.push(Level::Info, None, number, format_args!("{text}"));
                let mut end = text.len().min(TEXT_BYTES);
                while !text.is_char_boundary(end) { end -= 1; }
                said.push_back((number, text[..end].into()));
                if takes >> (number % 64) & 1 == 0 { continue }
                while let Some(taken) = kept.take(0, &mut room) {
                    if let Some(lost) = taken.text.strip_prefix("syslog: ").and_then(|text| text.strip_suffix(" messages were lost: there was no room to keep them")) {
                        missing += lost.parse::<usize>().unwrap();
                        for _ in 0..lost.parse::<usize>().unwrap() { said.pop_front(); }
                        continue;
                    }
                    let (uptime_us, text) = said.pop_front().unwrap();
                    prop_assert_eq!((taken.uptime_us, taken.text), (uptime_us, &*text));
                }
                prop_assert!(said.is_empty() && kept.is_empty());
            }
            prop_assert!(missing <= texts.len());
        }
    }
}
