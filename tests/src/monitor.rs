//! QEMU's machine protocol (QMP) over a unix socket: one command, one answer, events passed over.
//!
//! Spec: QEMU documentation, "QEMU Machine Protocol Specification".

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// QEMU answers from its main loop; five seconds without an answer means that it hangs.
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
    /// No socket by `deadline`, or something else than a monitor behind it.
    pub fn connect(path: &Path, deadline: Instant) -> Result<Self> {
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("no monitor at {}", path.display()));
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        };
        Self::over(stream)
    }

    fn over(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        let greeting = monitor.read().context("waiting for the monitor's greeting")?;
        if greeting.get("QMP").is_none() {
            bail!("not a QMP greeting: {greeting}");
        }
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Runs one command and gives its return value.
    ///
    /// # Errors
    ///
    /// QEMU's refusal, or no answer in time.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.stream.get_mut().write_all(line.as_bytes()).with_context(|| format!("sending {command}"))?;
        loop {
            let mut answer = self.read().with_context(|| format!("waiting for the answer to {command}"))?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("the monitor refused {command}: {error}");
            }
        }
    }

    /// Takes the link of `netdev` up or down, as pulling the cable would.
    ///
    /// # Errors
    ///
    /// As [`execute`](Self::execute).
    pub fn set_link(&mut self, netdev: &str, up: bool) -> Result<()> {
        self.execute("set_link", json!({ "name": netdev, "up": up })).map(drop)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the monitor's connection was closed");
        }
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))
    }
}

#[cfg(test)]
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
        assert!(error.to_string().contains("DeviceNotFound"), "{error:#}");
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
