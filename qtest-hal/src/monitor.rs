//! QEMU's machine protocol (QMP) over a unix socket: one command, one answer, events passed over.
//!
//! Spec: QEMU documentation, "QEMU Machine Protocol Specification".

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::QtestError;

/// QEMU answers from its main loop; without an answer for so long, it hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A connection to the monitor, ready for commands.
#[derive(Debug)]
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Does the opening exchange over `stream`.
    ///
    /// # Errors
    ///
    /// Something else than a monitor is behind it, or nothing that answers.
    pub fn over(stream: UnixStream) -> Result<Self, QtestError> {
        let fails = |error| QtestError::system("set the monitor's socket up", error);
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(fails)?;
        stream.set_write_timeout(Some(ANSWER_LIMIT)).map_err(fails)?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        let greeting = monitor.read("the connection")?;
        if greeting.get("QMP").is_none() {
            let answer = greeting.to_string();
            return Err(QtestError::Answer { command: "the connection".into(), answer });
        }
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Runs one command; its return value.
    ///
    /// # Errors
    ///
    /// QEMU's refusal, or no answer in time.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QtestError> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        sent.map_err(|_| QtestError::Closed { during: command.into() })?;
        loop {
            let mut answer = self.read(command)?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(QtestError::Answer { command: command.into(), answer: error.to_string() });
            }
        }
    }

    /// Takes the link of `netdev` up or down, as pulling the cable would.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn set_link(&mut self, netdev: &str, up: bool) -> Result<(), QtestError> {
        self.execute("set_link", json!({ "name": netdev, "up": up })).map(drop)
    }

    fn read(&mut self, command: &str) -> Result<Value, QtestError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => return Err(QtestError::Closed { during: command.into() }),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(QtestError::NoAnswer { command: command.into(), waited: ANSWER_LIMIT });
            }
            Err(_) => return Err(QtestError::Closed { during: command.into() }),
        }
        let command = command.into();
        serde_json::from_str(&line).map_err(|_| QtestError::Answer { command, answer: line })
    }
}
