//! Chromium without a window, driven over its DevTools protocol by two pipes: messages of JSON,
//! each ended by a zero byte.
//!
//! Facts: chromedevtools.github.io/devtools-protocol; `--remote-debugging-pipe` has the browser
//! read commands from file descriptor 3 and write answers and events to 4.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::Engine as _;
use paravane_tests::tool;
use serde_json::{Value, json};
use tempfile::TempDir;

/// One command, on a machine whose processors are busy.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    number: u64,
    session: String,
    /// What the page complained of, in words.
    pub(crate) complaints: Vec<String>,
    /// What it asked for.
    pub(crate) requests: Vec<String>,
    /// Its settings and its files, which vanish with it.
    _profile: TempDir,
}

impl Browser {
    /// Starts `program` with one empty page.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let profile = tempfile::Builder::new().prefix("paravane-page-").tempdir()?;
        // A shell gives the two pipes the numbers that the browser looks for.
        let mut command = tool::tied(Path::new("bash"));
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "page"]);
        command.arg(program).arg(format!("--user-data-dir={}", profile.path().display())).args([
            "--headless=new",
            "--remote-debugging-pipe",
            // Whoever tests as root, in a container, has no sandbox; only our own page is opened.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--no-default-browser-check",
            "--hide-scrollbars",
            // Edges of letters without colours: a smaller picture.
            "--disable-lcd-text",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the pipes of a process just started are missing");
        };
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let (complaints, requests) = Default::default();
        let mut browser = Self {
            child,
            commands,
            messages,
            number: 0,
            session: String::new(),
            complaints,
            requests,
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.ask("Target.attachToTarget", attach)?;
        browser.session = session["sessionId"].as_str().context("no session with the page")?.into();
        for domain in ["Page", "Runtime", "Network", "Log"] {
            browser.ask(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(browser)
    }

    /// Gives a command. Its answer.
    pub(crate) fn ask(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = Value::from(&*self.session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).context("the browser has ended")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(left);
            let message = message.map_err(|_| anyhow!("{method}: no answer of the browser"))?;
            if message["id"] == self.number {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]);
                return Ok(message["result"].clone());
            }
            self.note(&message);
        }
    }

    /// Keeps what an event says that is of interest here.
    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                self.requests.extend(parameters["request"]["url"].as_str().map(str::to_owned));
            }
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(parameters["exceptionDetails"].to_string());
            }
            Some("Runtime.consoleAPICalled") if parameters["type"] != "log" => {
                self.complaints.push(parameters["args"].to_string());
            }
            Some("Log.entryAdded") if parameters["entry"]["level"] != "info" => {
                self.complaints.push(parameters["entry"]["text"].to_string());
            }
            _ => {}
        }
    }

    /// What `expression` is in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.ask("Runtime.evaluate", parameters)?;
        ensure!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].take())
    }

    /// Waits until `expression` is true in the page.
    pub(crate) fn wait(&mut self, expression: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.value(expression)? != true {
            ensure!(self.complaints.is_empty(), "the page complains: {:?}", self.complaints);
            ensure!(
                Instant::now() < deadline,
                "in vain waited for {expression}; the page says: {}",
                self.value("document.body.innerText")?
            );
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Goes to `url`.
    pub(crate) fn open(&mut self, url: &str) -> Result<()> {
        self.ask("Page.navigate", json!({"url": url})).map(drop)
    }

    /// Makes the page so wide and so high, and dark or light.
    pub(crate) fn show_at(&mut self, width: u32, height: u32, is_dark: bool) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", size)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", features).map(drop)
    }

    /// A picture of it, as PNG.
    pub(crate) fn picture(&mut self) -> Result<Vec<u8>> {
        let answer = self.ask("Page.captureScreenshot", json!({"format": "png"}))?;
        let text = answer["data"].as_str().context("no picture")?;
        Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
