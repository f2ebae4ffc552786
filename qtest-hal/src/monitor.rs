//! QEMU's machine protocol (QMP) over a unix socket: one command, one answer, events passed over.
//!
//! Spec: QEMU documentation, "QEMU Machine Protocol Specification".

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

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
    /// Connects, once QEMU has made the socket at `path`, and does the opening exchange.
    ///
    /// # Errors
    ///
    /// No socket by `deadline`, or as [`over`](Self::over).
    pub fn connect(path: &Path, deadline: Instant) -> Result<Self, QtestError> {
        let start = Instant::now();
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return Self::over(stream),
                Err(_) if Instant::now() >= deadline => {
                    return Err(QtestError::NoSocket { path: path.into(), waited: start.elapsed() });
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

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

    /// Runs one line of the monitor that people use; what it prints.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn command_line(&mut self, line: &str) -> Result<String, QtestError> {
        const COMMAND: &str = "human-monitor-command";
        let answer = self.execute(COMMAND, json!({ "command-line": line }))?;
        let text = answer.as_str().map(str::to_owned);
        text.ok_or_else(|| QtestError::Answer { command: line.into(), answer: answer.to_string() })
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A monitor that says `answers` one after another, one for each line it hears.
    fn scripted(answers: &'static [&'static str]) -> (UnixStream, thread::JoinHandle<Vec<String>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let script = thread::spawn(move || {
            let mut stream = BufReader::new(theirs);
            let mut heard = Vec::new();
            for answer in answers {
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap() == 0 {
                    break;
                }
                heard.push(line);
            }
            heard
        });
        (ours, script)
    }

    #[test]
    fn passes_events_over_and_reports_refusals() {
        let (stream, script) = scripted(&[
            "{\"QMP\": {}}\r\n",
            "{\"return\": {}}\r\n",
            "{\"event\": \"RESUME\"}\r\n{\"return\": {}}\r\n",
            "{\"error\": {\"class\": \"DeviceNotFound\"}}\r\n",
            "",
        ]);
        let mut monitor = Monitor::over(stream).unwrap();
        monitor.set_link("n0", false).unwrap();
        let error = monitor.set_link("n9", true).unwrap_err();
        assert!(error.to_string().contains("DeviceNotFound"), "{error}");
        drop(monitor);
        let heard = script.join().unwrap();
        assert_eq!(heard.len(), 3);
        let sent: Value = serde_json::from_str(&heard[1]).unwrap();
        assert_eq!(sent, json!({"execute": "set_link", "arguments": {"name": "n0", "up": false}}));
    }

    #[test]
    fn something_else_behind_the_socket_is_an_error() {
        let (stream, _script) = scripted(&["{\"hello\": 1}\n"]);
        assert!(Monitor::over(stream).is_err());
    }
}
