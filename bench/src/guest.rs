//! Instructions a frame inside a guest, on QEMU's own devices: the image `paravane-guest-bench`,
//! booted with `-icount shift=0`.
//!
//! There the guest's time stamp counter advances by one an instruction, whatever the host does. The
//! host sends frames without pause, so that the guest finds whole bursts.

mod boot;
pub mod reads;

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::subject::{Direction, Driver, Kind, Point};
use boot::Guest;
pub use boot::Spread;

/// Boots that each give every figure once.
pub const BOOTS: usize = 5;

/// One figure of one boot.
#[derive(Clone, Copy, Debug)]
struct Counted {
    point: Point,
    /// Instructions a frame.
    instructions: f64,
}

/// What several boots say of one point.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Whose.
    pub driver: Driver,
    /// Of what.
    pub point: Point,
    /// Instructions a frame.
    pub instructions: Spread,
}

/// Boots `image` [`BOOTS`] times with one NIC of `driver`'s kind and frames of `bytes`, and
/// collects what it prints.
pub fn count(image: &Path, driver: Driver, bytes: usize) -> Result<Vec<Figures>> {
    let mut all = Vec::<(Point, Vec<f64>)>::new();
    for _ in 0..BOOTS {
        for Counted { point, instructions } in boot(image, driver, bytes)? {
            match all.iter_mut().find(|(of, _)| *of == point) {
                Some((_, figures)) => figures.push(instructions),
                None => all.push((point, vec![instructions])),
            }
        }
    }
    let figures = |(point, figures)| Figures { driver, point, instructions: Spread::of(figures) };
    Ok(all.into_iter().map(figures).collect())
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
    let nic = format!("{device},netdev=n,mac=52:54:00:70:76:00,romfile=");
    let guest = Guest::start(image, &["-netdev", &netdev, "-device", &nic], &format!("bytes={bytes}"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let sender = thread::spawn({
        let stop = Arc::clone(&stop);
        move || send_frames(&socket, &theirs, bytes, &stop)
    });
    let outcome = guest.collect(|words| parse(words, driver));
    stop.store(true, Relaxed);
    // It ends with the flag, and panics nowhere.
    let _ = sender.join();
    outcome.with_context(|| format!("{device}, {bytes} bytes"))
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
    boot::build("--bin", "paravane-guest-bench")
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
