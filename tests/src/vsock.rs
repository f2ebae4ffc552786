//! The host's end of a virtio socket: `vhost-device-vsock`, which plays the device for QEMU over a
//! vhost-user socket, with memory that both share.

use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::tool;

/// The guest's number.
pub const GUEST: u64 = 3;
/// Between two looks.
const SLICE: Duration = Duration::from_millis(5);

/// The device side, in a process of its own, which ends with this value.
#[derive(Debug)]
pub struct Vsock {
    child: Child,
    folder: PathBuf,
}

impl Vsock {
    /// Starts it, with its sockets in `folder`, ready for a QEMU.
    ///
    /// # Errors
    ///
    /// It is not installed, cannot be started, or has no socket when `limit` is over.
    pub fn start(folder: &Path, limit: Duration) -> Result<Self> {
        let program = tool::vhost_device_vsock()?;
        let mut command = tool::tied(&program);
        command.args(["--guest-cid", &GUEST.to_string()]).arg("--socket").arg(device_socket(folder));
        command.arg("--uds-path").arg(folder.join("vsock"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        let mut this = Self { child, folder: folder.into() };
        let deadline = Instant::now() + limit;
        while !device_socket(folder).exists() {
            if let Some(status) = this.child.try_wait()? {
                bail!("{} ended with {status}", program.display());
            }
            ensure!(Instant::now() < deadline, "{} makes no socket", program.display());
            thread::sleep(SLICE);
        }
        Ok(this)
    }

    /// QEMU's options for the device with `device_options` and a RAM of `memory_mib`.
    pub fn qemu_options(&self, memory_mib: u32, device_options: &str) -> Vec<String> {
        let words = [
            ["-object", &format!("memory-backend-memfd,id=ram,size={memory_mib}M,share=on")],
            ["-machine", "memory-backend=ram"],
            ["-chardev", &format!("socket,id=vsock,path={}", device_socket(&self.folder).display())],
            ["-device", &format!("vhost-user-vsock-{device_options},chardev=vsock")],
        ];
        words.as_flattened().iter().map(|word| String::from(*word)).collect()
    }

    /// Where programs of the host are called by the guest, at `port`.
    ///
    /// # Errors
    ///
    /// The folder is not writable.
    pub fn listen(&self, port: u32) -> Result<UnixListener> {
        let path = self.folder.join(format!("vsock_{port}"));
        UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))
    }
}

impl Drop for Vsock {
    fn drop(&mut self) {
        // Both fail only if the process is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn device_socket(folder: &Path) -> PathBuf {
    folder.join("vhost-user")
}

/// The first who calls at `listener`.
///
/// # Errors
///
/// Nobody does for `limit`.
pub fn accept(listener: &UnixListener, limit: Duration) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + limit;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ensure!(Instant::now() < deadline, "the guest does not call");
                thread::sleep(SLICE);
            }
            Err(error) => return Err(error).context("the guest's call"),
        }
    }
}
