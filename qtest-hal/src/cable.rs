//! The other end of a NIC's cable: a unix datagram socket, one frame a datagram.
//!
//! It does nothing by itself: a test sends frames and takes those that came. A full socket queue is
//! an everyday event, waited for up to a deadline.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::QtestError;

/// Longest frame that is taken whole.
const MAX_FRAME_BYTES: usize = 1 << 16;
/// How long QEMU may leave frames in its socket.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// Our end of a cable.
#[derive(Debug)]
pub struct Cable {
    socket: UnixDatagram,
}

impl Cable {
    pub(crate) fn bind(ours: &Path) -> Result<Self, QtestError> {
        let fails = |error| QtestError::system(format!("bind {}", ours.display()), error);
        Ok(Self { socket: UnixDatagram::bind(ours).map_err(fails)? })
    }

    /// Plugs it in at `theirs`, which QEMU has made by the time that its other sockets answer.
    pub(crate) fn connect(&self, theirs: &Path) -> Result<(), QtestError> {
        let fails = |error| QtestError::system(format!("connect to {}", theirs.display()), error);
        self.socket.connect(theirs).map_err(fails)?;
        self.socket.set_nonblocking(true).map_err(fails)
    }

    /// Sends a frame to the NIC.
    ///
    /// # Errors
    ///
    /// QEMU closed its end, or let its queue stay full.
    pub fn send(&self, frame: &[u8]) -> Result<(), QtestError> {
        let start = Instant::now();
        loop {
            match self.socket.send(frame) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && start.elapsed() < SEND_LIMIT => {
                    thread::sleep(Duration::from_micros(50));
                }
                Err(error) => return Err(QtestError::system("send a frame", error)),
            }
        }
    }

    /// The next frame that the NIC sent, if one is there.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; MAX_FRAME_BYTES];
        let len = self.socket.recv(&mut frame).ok()?;
        frame.truncate(len);
        Some(frame)
    }

    /// The next frame that the NIC sent, waited for up to `limit`.
    #[must_use]
    pub fn receive_by(&self, limit: Duration) -> Option<Vec<u8>> {
        let start = Instant::now();
        loop {
            if let Some(frame) = self.receive() {
                return Some(frame);
            }
            if start.elapsed() >= limit {
                return None;
            }
            thread::sleep(Duration::from_micros(50));
        }
    }
}
