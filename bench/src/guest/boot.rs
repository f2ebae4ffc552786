//! A guest that counts and says so on its console.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Run where the variable `QEMU` names no other.
const PROGRAM: &str = "qemu-system-x86_64";
/// Longest that one boot may take; ten times what it does.
const TIMEOUT: Duration = Duration::from_secs(180);
/// Lines of the console that are shown when it does not finish.
const CONSOLE_TAIL: usize = 12;

/// QEMU, which ends however this comes to its end.
pub(super) struct Guest {
    child: Child,
    console: mpsc::Receiver<String>,
    complaints: mpsc::Receiver<String>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Guest {
    /// Boots `image` with these devices; its time is its instructions.
    pub(super) fn start(image: &Path, devices: &[&str], words: &str) -> Result<Self> {
        let program = std::env::var_os("QEMU").unwrap_or_else(|| PROGRAM.into());
        let mut child = Command::new(&program)
            .args(["-machine", "q35", "-accel", "tcg", "-icount", "shift=0", "-m", "64", "-display", "none"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-serial", "stdio"])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
            .args(devices)
            .args(["-append", words, "-kernel"])
            .arg(image)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| {
                format!("{} cannot be run; the environment variable QEMU names another", program.display())
            })?;
        let (lines, console) = mpsc::channel();
        let (its_own, complaints) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let guest = Self { child, console, complaints };
        pass_on(stdout.context("the pipe of a process just started is missing")?, lines);
        pass_on(stderr.context("the pipe of a process just started is missing")?, its_own);
        Ok(guest)
    }

    /// Reads the console until the image says that it is done: what `parse` makes of its lines.
    pub(super) fn collect<T>(self, mut parse: impl FnMut(&str) -> Option<T>) -> Result<Vec<T>> {
        let deadline = Instant::now() + TIMEOUT;
        let (mut found, mut said) = (Vec::new(), Vec::new());
        loop {
            let Ok(line) = self.console.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            else {
                let end = said.split_off(said.len().saturating_sub(CONSOLE_TAIL));
                let complaints: Vec<String> = self.complaints.try_iter().collect();
                bail!(
                    "the image did not finish; QEMU says {:?}; the end of its console:\n{}",
                    complaints.join("; "),
                    end.join("\n")
                );
            };
            if let Some((_, words)) = line.split_once("bench: ") {
                if words.trim() == "done" {
                    return Ok(found);
                }
                found.extend(parse(words));
            }
            said.push(line);
        }
    }
}

/// Sends each line of `from` to `to`, in a thread that ends with either.
fn pass_on(from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
}

/// Builds an image, the `--bin` or `--example` of this name; where it is.
pub(super) fn build(kind: &str, name: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--release", "--package", "paravane-unikernel", kind, name])
        .args(["--target", "x86_64-unknown-none", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the image does not build ({})", output.status);
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo did not say where it put the image")
}

/// What several boots say of one thing. They differ: how much a device has worked on when the guest
/// looks is a matter of time.
#[derive(Clone, Debug)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// Of these figures, one at least.
    pub(super) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// The least.
    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(0.0)
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(0.0)
    }

    /// The most.
    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }
}
