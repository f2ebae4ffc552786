//! `qemu-storage-daemon`, which has a disk for whoever comes to its socket.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::blk::{MAX_BYTES, SECTOR_BYTES};
use crate::device::virtio::SECTORS;

/// Comes with QEMU.
const PROGRAM: &str = "qemu-storage-daemon";
/// Until it listens; it takes some milliseconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where the disk has [`SAMPLE`]; elsewhere it has zeros.
pub const SAMPLE_OFFSET_BYTES: u64 = 0x2000;
/// Each two bytes are where they are.
pub static SAMPLE: &[u8; MAX_BYTES] = &sample();

const fn sample() -> [u8; MAX_BYTES] {
    let mut bytes = [0; MAX_BYTES];
    let mut at = 0;
    while at < MAX_BYTES {
        [bytes[at], bytes[at + 1], ..] = at.to_le_bytes();
        at += 2;
    }
    bytes
}

/// The process, which ends with this.
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    _folder: TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Starts it, on a disk as long as the others'.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("paravane-").tempdir()?;
        let (disk, socket) = (folder.path().join("disk"), folder.path().join("socket"));
        let file = File::create(&disk)?;
        file.set_len(SECTORS * SECTOR_BYTES as u64)?;
        file.write_all_at(SAMPLE, SAMPLE_OFFSET_BYTES)?;
        let export = "type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=";
        let child = Command::new(PROGRAM)
            .arg("--blockdev")
            .arg(format!("driver=file,node-name=disk,read-only=on,filename={}", disk.display()))
            .arg("--export")
            .arg(format!("{export}{}", socket.display()))
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("{PROGRAM} cannot be run; it comes with QEMU"))?;
        Ok(Self { child, socket, _folder: folder })
    }

    /// Has `connect` go to the socket until somebody answers there.
    pub fn connect<T>(&mut self, connect: impl Fn(&str) -> io::Result<T>) -> Result<T> {
        let path = self.socket.to_str().context("the socket's path is no text")?;
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match connect(path) {
                Ok(connection) => return Ok(connection),
                Err(error) if Instant::now() > deadline => {
                    return Err(error)
                        .with_context(|| format!("{PROGRAM} does not answer after {TIMEOUT:?}"));
                }
                Err(_) => {}
            }
            ensure!(self.child.try_wait()?.is_none(), "{PROGRAM} ended before it answered");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
