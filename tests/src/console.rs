//! The guest's serial console as a list of lines that can be waited for.
//!
//! A thread reads the pipe, so QEMU never blocks on a full one, whatever the test is busy with. The
//! text of a line is kept as it came, time prefix and all; [`text`] gives the part behind the
//! prefix. The same type collects QEMU's own complaints from its standard error.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A guest that floods its console loses its oldest lines, not our memory.
const MAX_LINES: usize = 20_000;
/// A line without an end is cut here.
const MAX_LINE_BYTES: usize = 4096;

/// Lines seen so far, filled in by a reader thread.
#[derive(Clone, Debug)]
pub struct Console {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    /// How many lines were dropped from the front: positions stay valid.
    dropped: usize,
    partial: Vec<u8>,
    ended: bool,
}

/// A line and its position among all lines ever seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Position of the line, counted from the first one.
    pub at: usize,
    /// The line as it came, time prefix included.
    pub line: String,
}

impl Console {
    /// Reads `source` to its end in a thread of its own.
    pub fn watch(mut source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A read error on a pipe means the same as its end: nothing more will come.
            while let Ok(len @ 1..) = source.read(&mut buffer) {
                writer.lock().take_in(buffer.get(..len).unwrap_or_default());
                writer.changed.notify_all();
            }
            let mut state = writer.lock();
            if !state.partial.is_empty() {
                state.end_line();
            }
            state.ended = true;
            drop(state);
            writer.changed.notify_all();
        });
        Self { shared }
    }

    /// Number of lines seen so far; the position that the next line will have.
    pub fn position(&self) -> usize {
        let state = self.shared.lock();
        state.dropped + state.lines.len()
    }

    /// Whether the other side closed the console, which QEMU does by ending.
    pub fn has_ended(&self) -> bool {
        self.shared.lock().ended
    }

    /// The first line at or after `from` that holds all of `words`. Never waits.
    pub fn find(&self, from: usize, words: &[&str]) -> Option<Found> {
        self.shared.lock().find(from, words)
    }

    /// Waits until a line holds all of `words`, the console ends, or `deadline` passes.
    pub fn find_by(&self, from: usize, words: &[&str], deadline: Instant) -> Option<Found> {
        let mut state = self.shared.lock();
        loop {
            let found = state.find(from, words);
            let left = deadline.saturating_duration_since(Instant::now());
            if found.is_some() || state.ended || left == Duration::ZERO {
                return found;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines at or after `from` that were not dropped.
    pub fn lines_from(&self, from: usize) -> Vec<String> {
        let state = self.shared.lock();
        state.lines.iter().skip(from.saturating_sub(state.dropped)).cloned().collect()
    }

    /// The last `count` lines, for a person to read after a failure.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let state = self.shared.lock();
        let skip = state.lines.len().saturating_sub(count);
        state.lines.iter().skip(skip).cloned().collect()
    }
}

impl Shared {
    /// No code of ours panics while it holds the lock, and the lines are of use even if it did.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_in(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                _ => {
                    self.partial.push(byte);
                    if self.partial.len() >= MAX_LINE_BYTES {
                        self.end_line();
                    }
                }
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).trim_end_matches('\r').to_owned();
        self.partial.clear();
        self.lines.push_back(line);
        if self.lines.len() > MAX_LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
    }

    fn find(&self, from: usize, words: &[&str]) -> Option<Found> {
        let skip = from.saturating_sub(self.dropped);
        let lines = self.lines.iter().enumerate().skip(skip);
        lines
            .filter(|(_, line)| words.iter().all(|word| line.contains(word)))
            .map(|(index, line)| Found { at: self.dropped + index, line: line.clone() })
            .next()
    }
}

/// The part of a console line behind its `[   0.001234] ` prefix; all of it where there is none.
pub fn text(line: &str) -> &str {
    let Some((time, rest)) = line.strip_prefix('[').and_then(|line| line.split_once("] ")) else {
        return line;
    };
    let is_time = !time.is_empty() && time.chars().all(|c| c == ' ' || c == '.' || c.is_ascii_digit());
    if is_time { rest } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn finds_lines_by_words_from_a_position() {
        let console =
            Console::watch(&b"nic admin: link up\r\nnic public: link up\nnic admin: link down\n"[..]);
        let first = console.find_by(0, &["nic admin:", "link"], soon()).unwrap();
        assert_eq!(first, Found { at: 0, line: "nic admin: link up".into() });
        let second = console.find_by(first.at + 1, &["nic admin:"], soon()).unwrap();
        assert_eq!(second.at, 2);
        assert_eq!(console.find_by(3, &["nic"], soon()), None, "the end of the console ends the wait");
        assert!(console.has_ended());
    }

    #[test]
    fn waits_for_a_line_that_comes_in_pieces() {
        let (reader, mut writer) = io::pipe().unwrap();
        let console = Console::watch(reader);
        assert_eq!(console.find_by(0, &["ready"], Instant::now()), None);
        writer.write_all(b"[   0.0012").unwrap();
        let waiting = console.clone();
        let waiter = thread::spawn(move || waiting.find_by(0, &["ready"], soon()));
        writer.write_all(b"34] ready\n").unwrap();
        assert_eq!(waiter.join().unwrap().unwrap().line, "[   0.001234] ready");
        assert!(!console.has_ended());
    }

    #[test]
    fn keeps_an_unfinished_last_line_and_cuts_an_endless_one() {
        let mut bytes = vec![b'x'; MAX_LINE_BYTES + 7];
        bytes.extend(b"\npanic: half a li");
        let console = Console::watch(io::Cursor::new(bytes));
        assert!(console.find_by(0, &["half a li"], soon()).is_some());
        let lengths: Vec<_> = console.tail(10).iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE_BYTES, 7, 16]);
    }

    #[test]
    fn a_flood_drops_the_oldest_lines_and_keeps_positions() {
        let mut bytes = Vec::new();
        for number in 0..MAX_LINES + 5 {
            bytes.extend(format!("line {number}.\n").bytes());
        }
        let console = Console::watch(io::Cursor::new(bytes));
        let last = format!("line {}.", MAX_LINES + 4);
        assert_eq!(console.find_by(0, &[&last], soon()).unwrap().at, MAX_LINES + 4);
        assert_eq!(console.find(0, &["line 4."]), None);
        assert_eq!(console.find(0, &["line 5."]).unwrap().at, 5);
        assert_eq!(console.position(), MAX_LINES + 5);
        assert_eq!(console.lines_from(MAX_LINES + 3).len(), 2);
        assert_eq!(console.lines_from(0).len(), MAX_LINES);
    }

    #[test]
    fn strips_the_time_prefix_only() {
        assert_eq!(text("[   0.001234] ready"), "ready");
        assert_eq!(text("[warn] ready"), "[warn] ready");
        assert_eq!(text("ready"), "ready");
    }
}
