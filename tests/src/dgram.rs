//! One end of a virtual Ethernet cable whose other end is a NIC of QEMU.
//!
//! QEMU's `-netdev dgram` carries each Ethernet frame as one datagram over a unix socket, which
//! needs neither privileges nor an interface of the host. [`Cable`] is our end, as a smoltcp
//! [`Device`].
//!
//! The queue of such a socket is short (ten datagrams by default), so that a full one is an
//! everyday event. Frames that do not fit wait in `outbound`, and while any waits, smoltcp is given
//! no more room to send; it still gets room to answer, because an answer belongs to a frame that it
//! already has. Nothing here ever waits for room without watching for incoming frames as well.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant as StdInstant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Largest Ethernet frame on the cable, header included, checksum not: an MTU of 1500.
pub const MAX_FRAME_BYTES: usize = 1514;
/// Answers beyond this many frames in waiting are dropped, as a switch would.
const MAX_OUTBOUND: usize = 256;

/// Our end of the cable.
#[derive(Debug)]
pub struct Cable {
    socket: UnixDatagram,
    received: Vec<u8>,
    sending: Sending,
}

/// The sending half, apart from the rest so that a frame can be answered while it is being read.
#[derive(Debug)]
struct Sending {
    outbound: VecDeque<Vec<u8>>,
    frame: Vec<u8>,
    other_end_gone: bool,
}

impl Cable {
    /// Our end at the path `ours`, waiting for [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// The path is taken, too long for a socket address, or not writable.
    pub fn bind(ours: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(ours).with_context(|| format!("cannot bind {}", ours.display()))?;
        Self::over(socket).context("cannot set the socket up")
    }

    /// A cable over a socket that is connected already.
    ///
    /// # Errors
    ///
    /// The socket refuses to become non-blocking.
    pub fn over(socket: UnixDatagram) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let sending = Sending { outbound: VecDeque::new(), frame: Vec::new(), other_end_gone: false };
        Ok(Self { socket, received: vec![0; 1 << 16], sending })
    }

    /// Plugs the cable in at `theirs`, once QEMU has made that socket.
    ///
    /// # Errors
    ///
    /// There is no socket at `theirs` when `deadline` passes.
    pub fn connect(&self, theirs: &Path, deadline: StdInstant) -> Result<()> {
        loop {
            match self.socket.connect(theirs) {
                Ok(()) => return Ok(()),
                Err(error) if StdInstant::now() >= deadline => {
                    return Err(error).with_context(|| format!("no netdev socket at {}", theirs.display()));
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Whether frames wait for room at the other end.
    pub fn is_congested(&self) -> bool {
        !self.sending.outbound.is_empty()
    }

    /// Whether the other end was seen to have closed its socket.
    pub fn is_other_end_gone(&self) -> bool {
        self.sending.other_end_gone
    }

    /// Waits until a frame is there, waiting frames can move on, or `max_wait` is over.
    ///
    /// # Errors
    ///
    /// What `poll(2)` says, interruptions apart.
    pub fn wait(&self, max_wait: Duration) -> io::Result<()> {
        let mut interest = PollFlags::IN;
        if self.is_congested() {
            interest |= PollFlags::OUT;
        }
        let mut sockets = [PollFd::new(&self.socket, interest)];
        let timeout = Timespec::try_from(max_wait).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match rustix::event::poll(&mut sockets, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Sending {
    /// Moves waiting frames on, in order, as far as there is room.
    fn flush(&mut self, socket: &UnixDatagram) {
        while let Some(frame) = self.outbound.front() {
            if !Self::send(socket, frame, &mut self.other_end_gone) {
                return;
            }
            self.outbound.pop_front();
        }
    }

    /// Sends the frame in `self.frame`, or lets it wait behind the others.
    fn send_or_wait(&mut self, socket: &UnixDatagram) {
        let must_wait =
            !self.outbound.is_empty() || !Self::send(socket, &self.frame, &mut self.other_end_gone);
        if must_wait && self.outbound.len() < MAX_OUTBOUND {
            self.outbound.push_back(self.frame.clone());
        }
    }

    /// Whether the frame is off our hands: sent, or lost because nobody is there to take it.
    fn send(socket: &UnixDatagram, frame: &[u8], other_end_gone: &mut bool) -> bool {
        loop {
            match socket.send(frame) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    *other_end_gone = true;
                    return true;
                }
                Ok(_) => return true,
            }
        }
    }
}

impl Device for Cable {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Room<'_>)> {
        self.sending.flush(&self.socket);
        let len = loop {
            match self.socket.recv(&mut self.received) {
                Ok(len) => break len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        };
        let room = Room { socket: &self.socket, sending: &mut self.sending };
        Some((Received(self.received.get(..len)?), room))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Room<'_>> {
        self.sending.flush(&self.socket);
        self.sending.outbound.is_empty().then_some(Room { socket: &self.socket, sending: &mut self.sending })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME_BYTES;
        capabilities
    }
}

/// A frame that came in.
#[derive(Debug)]
pub struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Permission to send one frame.
#[derive(Debug)]
pub struct Room<'a> {
    socket: &'a UnixDatagram,
    sending: &'a mut Sending,
}

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.sending.frame.clear();
        self.sending.frame.resize(len, 0);
        let result = f(&mut self.sending.frame);
        self.sending.send_or_wait(self.socket);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A cable, and its other end as QEMU has it: bound, not connected. Between two sockets that
    /// are connected to each other the kernel does not apply the short limit that matters here.
    fn pair() -> (Cable, UnixDatagram, TempDir) {
        let folder = TempDir::new().unwrap();
        let theirs = UnixDatagram::bind(folder.path().join("theirs")).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let cable = Cable::bind(&folder.path().join("ours")).unwrap();
        cable.connect(&folder.path().join("theirs"), StdInstant::now()).unwrap();
        (cable, theirs, folder)
    }

    fn fill(cable: &mut Cable) -> u8 {
        for number in 0..=u8::MAX {
            let Some(room) = cable.transmit(Instant::ZERO) else { return number };
            room.consume(60, |frame| frame.fill(number));
        }
        panic!("a socket queue of more than 256 datagrams");
    }

    #[test]
    fn a_full_queue_delays_frames_and_keeps_their_order() {
        let (mut cable, theirs, _folder) = pair();
        let sent = fill(&mut cable);
        assert!(cable.is_congested());
        let mut seen = Vec::new();
        let mut frame = [0; 100];
        while usize::from(sent) > seen.len() {
            while let Ok(len) = theirs.recv(&mut frame) {
                assert_eq!(len, 60);
                seen.push(frame[0]);
            }
            if cable.is_congested() {
                cable.wait(Duration::from_secs(5)).unwrap();
                let _ = cable.transmit(Instant::ZERO);
            }
        }
        assert_eq!(seen, (0..sent).collect::<Vec<_>>());
        assert!(!cable.is_congested());
    }

    #[test]
    fn frames_come_in_while_none_can_go_out() {
        let (mut cable, theirs, folder) = pair();
        fill(&mut cable);
        theirs.send_to(&[7; 64], folder.path().join("ours")).unwrap();
        cable.wait(Duration::from_secs(5)).unwrap();
        let (received, answer) = cable.receive(Instant::ZERO).unwrap();
        received.consume(|frame| assert_eq!(frame, [7; 64]));
        answer.consume(60, |frame| frame.fill(8));
        assert!(cable.transmit(Instant::ZERO).is_none());
    }

    #[test]
    fn waiting_answers_are_bounded() {
        let (mut cable, theirs, folder) = pair();
        fill(&mut cable);
        for _ in 0..2 * MAX_OUTBOUND {
            theirs.send_to(&[7; 64], folder.path().join("ours")).unwrap();
            let (_, answer) = cable.receive(Instant::ZERO).unwrap();
            answer.consume(60, |frame| frame.fill(8));
        }
        assert_eq!(cable.sending.outbound.len(), MAX_OUTBOUND);
    }

    #[test]
    fn notices_that_the_other_end_is_gone() {
        let (mut cable, theirs, _folder) = pair();
        drop(theirs);
        cable.transmit(Instant::ZERO).unwrap().consume(60, |frame| frame.fill(1));
        assert!(cable.is_other_end_gone());
        assert!(!cable.is_congested());
    }
}
