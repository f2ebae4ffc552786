//! Instructions a frame inside a guest, on QEMU's own devices: the image `paravane-guest-bench`,
//! booted with `-icount shift=0`.
//!
//! There the guest's time stamp counter advances by one an instruction, whatever the host does. The
//! host sends frames without pause, so that the guest finds whole bursts.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::subject::{Direction, Driver, Kind, Point};

/// Run where the variable `QEMU` names no other.
const PROGRAM: &str = "qemu-system-x86_64";
/// Longest that one boot may take; ten times what it does.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Lines of the console that are shown when it does not finish.
const CONSOLE_TAIL: usize = 12;

/// Boots that each give every figure once.
pub const BOOTS: usize = 5;

/// One figure of one boot.
#[derive(Clone, Copy, Debug)]
struct Counted {
    point: Point,
    /// Instructions a frame.
    instructions: f64,
}

/// What several boots say of one point. They differ: how many frames a device has worked on when
/// the guest looks is a matter of time.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Whose.
    pub driver: Driver,
    /// Of what.
    pub point: Point,
    /// Instructions a frame, by boot, least first.
    instructions: Vec<f64>,
}

impl Figures {
    /// The least.
    pub fn min(&self) -> f64 {
        self.instructions.first().copied().unwrap_or(0.0)
    }

    /// The one in the middle.
    pub fn median(&self) -> f64 {
        self.instructions.get(self.instructions.len() / 2).copied().unwrap_or(0.0)
    }

    /// The most.
    pub fn max(&self) -> f64 {
        self.instructions.last().copied().unwrap_or(0.0)
    }
}

/// Boots `image` [`BOOTS`] times with one NIC of `driver`'s kind and frames of `bytes`, and
/// collects what it prints.
pub fn count(image: &Path, driver: Driver, bytes: usize) -> Result<Vec<Figures>> {
    let mut all = Vec::<Figures>::new();
    for _ in 0..BOOTS {
        for Counted { point, instructions } in boot(image, driver, bytes)? {
            match all.iter_mut().find(|figures| figures.point == point) {
                Some(figures) => figures.instructions.push(instructions),
                None => all.push(Figures { driver, point, instructions: vec![instructions] }),
            }
        }
    }
    for figures in &mut all {
        figures.instructions.sort_by(f64::total_cmp);
    }
    Ok(all)
}

/// Ends QEMU however this comes to its end.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots `image` once.
fn boot(image: &Path, driver: Driver, bytes: usize) -> Result<Vec<Counted>> {
    let folder = tempfile::Builder::new().prefix("paravane-").tempdir()?;
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let socket = UnixDatagram::bind(&ours)?;
    let device = match driver {
        Driver::Vmxnet3 => "vmxnet3",
        Driver::Virtio => "virtio-net-pci,disable-legacy=on",
        Driver::VirtioPacked => "virtio-net-pci,disable-legacy=on,packed=on",
        Driver::VirtioDrivers => bail!("there is no image of that driver"),
    };
    let netdev = format!(
        "dgram,id=n,local.type=unix,local.path={},remote.type=unix,remote.path={}",
        theirs.display(),
        ours.display()
    );
    let program = std::env::var_os("QEMU").unwrap_or_else(|| PROGRAM.into());
    let mut guest = Command::new(&program)
        .args(["-machine", "q35", "-accel", "tcg", "-icount", "shift=0", "-m", "64", "-display", "none"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-serial", "stdio"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .args(["-netdev", &netdev, "-device", &format!("{device},netdev=n,mac=52:54:00:70:76:00,romfile=")])
        .args(["-append", &format!("bytes={bytes}"), "-kernel"])
        .arg(image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Guest)
        .with_context(|| {
            format!("{} cannot be run; the environment variable QEMU names another", program.display())
        })?;
    let console = guest.0.stdout.take().context("the pipe of a process just started is missing")?;
    let complaints = guest.0.stderr.take().context("the pipe of a process just started is missing")?;
    let (lines, console_lines) = mpsc::channel();
    let (its_own, its_lines) = mpsc::channel();
    pass_on(console, lines);
    pass_on(complaints, its_own);
    let stop = Arc::new(AtomicBool::new(false));
    let sender = thread::spawn({
        let stop = Arc::clone(&stop);
        move || send_frames(&socket, &theirs, bytes, &stop)
    });
    let outcome = collect(&console_lines, driver);
    drop(guest);
    let complaints: Vec<String> = its_lines.iter().collect();
    let outcome = outcome.with_context(|| {
        format!("{} with {device}, {bytes} bytes: {}", program.display(), complaints.join("; "))
    });
    stop.store(true, Relaxed);
    // It ends with the flag, and panics nowhere.
    let _ = sender.join();
    outcome
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

/// Reads the console until the image says that it is done.
fn collect(console: &mpsc::Receiver<String>, driver: Driver) -> Result<Vec<Counted>> {
    let deadline = Instant::now() + TIMEOUT;
    let mut counted = Vec::new();
    let mut said = Vec::new();
    loop {
        let Ok(line) = console.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
            let tail = said.len().saturating_sub(CONSOLE_TAIL);
            bail!("the image did not finish; the end of its console:\n{}", said.split_off(tail).join("\n"));
        };
        if let Some((_, words)) = line.split_once("bench: ") {
            if words.trim() == "done" {
                return Ok(counted);
            }
            counted.extend(parse(words, driver));
        }
        said.push(line);
    }
}

/// A line like `vmxnet3 tx 64 32 1234`, of this driver: tenths of an instruction.
fn parse(words: &str, driver: Driver) -> Option<Counted> {
    let mut words = words.split_whitespace();
    if words.next()? != driver.name() {
        return None;
    }
    let direction = match words.next()? {
        "tx" => Direction::Tx,
        "rx" => Direction::Rx,
        _ => return None,
    };
    let mut numbers = words.map_while(|word| word.parse::<u32>().ok());
    let (bytes, burst, tenths) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let point = Point { direction, bytes: bytes as usize, burst: burst as usize, kind: Kind::Plain };
    Some(Counted { point, instructions: f64::from(tenths) / 10.0 })
}

/// Sends frames to everybody, as fast as they go, and lets those that the guest sends lie.
fn send_frames(socket: &UnixDatagram, theirs: &Path, bytes: usize, stop: &AtomicBool) {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame.resize(bytes, 0x5a);
    // Neither end waits for the other: QEMU drops what it cannot send.
    let _ = socket.set_nonblocking(true);
    let mut scratch = [0; 2048];
    while !stop.load(Relaxed) {
        let sent = socket.send_to(&frame, theirs).is_ok();
        let received = socket.recv(&mut scratch).is_ok();
        if !sent && !received {
            thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Builds the image; where it is.
pub fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["build", "--release", "--package", "paravane-unikernel", "--bin", "paravane-guest-bench"])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_and_anything_else_is_not() {
        let counted = parse("vmxnet3 tx 64 32 1234", Driver::Vmxnet3)
            .map(|counted| (counted.point, counted.instructions));
        let point = Point { direction: Direction::Tx, bytes: 64, burst: 32, kind: Kind::Plain };
        assert_eq!(counted, Some((point, 123.4)));
        for other in
            ["virtio tx 64 32 1234", "vmxnet3 up 64 32 1", "vmxnet3 tx 64 32", "vmxnet3 tx 64 many 3", ""]
        {
            assert!(parse(other, Driver::Vmxnet3).is_none(), "{other}");
        }
    }
}
