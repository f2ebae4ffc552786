//! The test socket: one line asks, one line answers, and lines about interrupts come in between.
//!
//! After the first failure nothing is sent any more: every question is answered with that failure
//! at once, so that a driver that goes on reading registers runs into its own deadlines and not
//! into ours.
//!
//! Spec: QEMU `softmmu/qtest.c`, "QTest Protocol".

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::error::QtestError;

/// QEMU answers from its main loop; a register takes microseconds.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long an answer is looked for without sleeping: most come within this.
const SPIN: Duration = Duration::from_micros(60);
/// Interrupt lines that are told apart.
const LINES: usize = u32::BITS as usize;

/// A connection to the test socket.
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    answer_limit: Duration,
}

#[derive(Debug)]
struct State {
    stream: UnixStream,
    /// What came and is no whole line yet.
    pending: Vec<u8>,
    failed: Option<QtestError>,
    lines: Lines,
}

/// The intercepted interrupt lines.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    level: u32,
    raises: [u32; LINES],
}

impl Link {
    pub(crate) fn over(stream: UnixStream, answer_limit: Duration) -> Result<Self, QtestError> {
        stream.set_nonblocking(true).map_err(|error| QtestError::system("set the test socket up", error))?;
        let state = State { stream, pending: Vec::new(), failed: None, lines: Lines::default() };
        Ok(Self { state: Mutex::new(state), answer_limit })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first failure, if there was one.
    pub(crate) fn failure(&self) -> Option<QtestError> {
        self.lock().failed.clone()
    }

    /// Sends `command`; the number that it is answered with, zero when there is none.
    pub(crate) fn ask(&self, command: &str) -> Result<u64, QtestError> {
        let mut state = self.lock();
        if let Some(failed) = &state.failed {
            return Err(failed.clone());
        }
        let answer = state.ask(command, self.answer_limit);
        if let Err(error) = &answer {
            state.failed = Some(error.clone());
        }
        answer
    }

    /// Which intercepted lines are up, bit by bit.
    pub(crate) fn lines_up(&self) -> u32 {
        let mut state = self.lock();
        state.hear();
        state.lines.level
    }

    /// How often line `line` went up.
    pub(crate) fn line_raises(&self, line: u8) -> u32 {
        let mut state = self.lock();
        state.hear();
        state.lines.raises.get(usize::from(line)).copied().unwrap_or(0)
    }
}

impl State {
    fn ask(&mut self, command: &str, limit: Duration) -> Result<u64, QtestError> {
        let start = Instant::now();
        let mut rest = format!("{command}\n").into_bytes();
        while !rest.is_empty() {
            match self.stream.write(&rest) {
                Ok(written) => drop(rest.drain(..written)),
                Err(error) => self.after(&error, PollFlags::OUT, command, start, limit)?,
            }
        }
        loop {
            while let Some(line) = self.next_line() {
                let mut words = line.split(' ');
                match words.next() {
                    Some("IRQ") => self.lines.note(words),
                    Some("OK") => {
                        return parse(words.next()).ok_or_else(|| QtestError::Answer {
                            command: command.into(),
                            answer: line.clone(),
                        });
                    }
                    _ => return Err(QtestError::Answer { command: command.into(), answer: line }),
                }
            }
            match self.receive() {
                Ok(0) => return Err(QtestError::Closed { during: command.into() }),
                Ok(_) => {}
                Err(error) => self.after(&error, PollFlags::IN, command, start, limit)?,
            }
        }
    }

    /// Waits for the socket after `error` said that it is not ready.
    fn after(
        &self,
        error: &std::io::Error,
        ready: PollFlags,
        command: &str,
        start: Instant,
        limit: Duration,
    ) -> Result<(), QtestError> {
        match error.kind() {
            ErrorKind::Interrupted => return Ok(()),
            ErrorKind::WouldBlock => {}
            _ => return Err(QtestError::Closed { during: command.into() }),
        }
        let spent = start.elapsed();
        if spent < SPIN {
            std::hint::spin_loop();
            return Ok(());
        }
        let Some(left) = limit.checked_sub(spent) else {
            return Err(QtestError::NoAnswer { command: command.into(), waited: spent });
        };
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        // What it says is found out by trying again; the limit above ends the loop.
        let _ = rustix::event::poll(&mut [PollFd::new(&self.stream, ready)], Some(&timeout));
        Ok(())
    }

    fn receive(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; 512];
        let len = self.stream.read(&mut chunk)?;
        self.pending.extend_from_slice(chunk.get(..len).unwrap_or_default());
        Ok(len)
    }

    fn next_line(&mut self) -> Option<String> {
        let end = self.pending.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.pending.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Takes in what came without being asked for.
    fn hear(&mut self) {
        while self.failed.is_none() {
            match self.receive() {
                Ok(0) => self.failed = Some(QtestError::Closed { during: "nothing in particular".into() }),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        while let Some(line) = self.next_line() {
            let mut words = line.split(' ');
            if words.next() == Some("IRQ") {
                self.lines.note(words);
            }
        }
    }
}

impl Lines {
    /// `raise 16` or `lower 16`.
    fn note<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) {
        let is_up = words.next() == Some("raise");
        let Some(line) = words.next().and_then(|word| word.parse::<usize>().ok()) else { return };
        let Some(raises) = self.raises.get_mut(line) else { return };
        if is_up {
            *raises = raises.saturating_add(1);
            self.level |= 1 << line;
        } else {
            self.level &= !(1 << line);
        }
    }
}

/// The number of an answer: hexadecimal with prefix, decimal, or none.
fn parse(word: Option<&str>) -> Option<u64> {
    let Some(word) = word else { return Some(0) };
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::thread;

    /// A QEMU that answers one line after another, then hangs up.
    fn scripted(answers: &'static [&'static str]) -> (Link, thread::JoinHandle<Vec<String>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let script = thread::spawn(move || {
            let mut theirs = BufReader::new(theirs);
            let mut heard = Vec::new();
            for answer in answers {
                let mut line = String::new();
                if theirs.read_line(&mut line).unwrap() == 0 {
                    break;
                }
                heard.push(line.trim_end().to_owned());
                theirs.get_mut().write_all(answer.as_bytes()).unwrap();
            }
            heard
        });
        (Link::over(ours, Duration::from_millis(200)).unwrap(), script)
    }

    #[test]
    fn answers_and_interrupts_are_told_apart() {
        let (link, script) =
            scripted(&["OK 0x0000000000001af4\n", "IRQ raise 16\nIRQ lower 16\nIRQ raise 20\nOK\n"]);
        assert_eq!(link.ask("readl 0x10"), Ok(0x1af4));
        assert_eq!(link.ask("writel 0x10 0x1"), Ok(0));
        assert_eq!((link.line_raises(16), link.lines_up()), (1, 1 << 20));
        assert_eq!(script.join().unwrap(), ["readl 0x10", "writel 0x10 0x1"]);
    }

    #[test]
    fn a_socket_that_closes_in_the_middle_is_an_error_that_stays() {
        let (link, _script) = scripted(&["OK 0x1\n", "OK 0x"]);
        assert_eq!(link.ask("readl 0x10"), Ok(1));
        let closed = QtestError::Closed { during: "readl 0x14".into() };
        assert_eq!(link.ask("readl 0x14"), Err(closed.clone()));
        assert_eq!(link.ask("readl 0x18"), Err(closed.clone()), "and nothing is waited for any more");
        assert_eq!(link.failure(), Some(closed));
    }

    #[test]
    fn silence_ends() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let link = Link::over(ours, Duration::from_millis(30)).unwrap();
        let error = link.ask("readl 0x10").unwrap_err();
        assert!(matches!(error, QtestError::NoAnswer { .. }), "{error}");
        let start = Instant::now();
        assert_eq!(link.ask("readl 0x10"), Err(error));
        assert!(start.elapsed() < Duration::from_millis(30));
    }

    #[test]
    fn what_is_no_answer_is_shown() {
        for answer in ["FAIL Unknown command 'x'\n", "OK zero\n", "hello\n"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(answer.as_bytes()).unwrap();
            let link = Link::over(ours, ANSWER_LIMIT).unwrap();
            let error = link.ask("x").unwrap_err();
            assert!(error.to_string().contains(answer.trim_end()), "{error}");
        }
    }

    #[test]
    fn lines_beyond_the_last_are_nobodys() {
        let mut lines = Lines::default();
        lines.note("raise 32".split(' '));
        lines.note("raise x".split(' '));
        assert_eq!(lines.level, 0);
    }
}
