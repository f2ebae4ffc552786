//! The cables between two NICs of a guest and the hosts that are played here.
//!
//! QEMU's `-netdev stream` carries Ethernet frames over a unix stream socket, each behind its
//! length in four bytes. What is written at once is given to the NIC at once, so that a burst
//! stays one.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::packet;

/// How long QEMU may take to plug a cable in.
const PLUG_LIMIT: Duration = Duration::from_secs(20);
/// No frame is longer.
const MAX_FRAME_BYTES: usize = 1 << 16;
/// For what is read at once.
const CHUNK_BYTES: usize = 1 << 17;

/// One end of a cable.
#[derive(Debug)]
struct Link {
    stream: UnixStream,
    received: Vec<u8>,
    outbound: Vec<u8>,
    frames: VecDeque<Vec<u8>>,
}

/// Both cables: the first leads to `public`, the second to `private`.
#[derive(Debug)]
pub(crate) struct Cables {
    links: [Link; 2],
    chunk: Vec<u8>,
}

/// Which cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Public,
    Private,
}

impl Side {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Public, Self::Private];

    /// The number of the NIC.
    pub(crate) fn nic(self) -> usize {
        match self {
            Self::Public => 1,
            Self::Private => 2,
        }
    }
}

/// A place where QEMU can plug a cable in.
#[derive(Debug)]
pub(crate) struct Socket(UnixListener);

impl Socket {
    /// One at `path`, which has to be there before QEMU starts.
    pub(crate) fn bind(path: &Path) -> Result<Self> {
        let listener =
            UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    fn accept(&self) -> Result<Link> {
        let deadline = Instant::now() + PLUG_LIMIT;
        loop {
            match self.0.accept() {
                Ok((stream, _)) => return Link::new(stream),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                Err(_) => ensure!(Instant::now() < deadline, "QEMU does not plug its NICs in"),
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Cables {
    /// Waits for QEMU to plug both in.
    pub(crate) fn accept(sockets: &[Socket; 2]) -> Result<Self> {
        let [public, private] = sockets;
        Ok(Self { links: [public.accept()?, private.accept()?], chunk: vec![0; CHUNK_BYTES] })
    }

    /// Both ends of both cables.
    #[cfg(test)]
    pub(crate) fn pair() -> (Self, Self) {
        let [public, private] = [UnixStream::pair().unwrap(), UnixStream::pair().unwrap()];
        let of = |public, private| Self {
            links: [public, private].map(|stream| Link::new(stream).unwrap()),
            chunk: vec![0; CHUNK_BYTES],
        };
        (of(public.0, private.0), of(public.1, private.1))
    }

    /// Puts `frame` behind those that wait; [`flush`](Self::flush) sends them, all at once.
    pub(crate) fn queue(&mut self, side: Side, frame: &[u8]) {
        let outbound = &mut self.link(side).outbound;
        // No frame of ours is longer than that field can say.
        outbound.extend_from_slice(&u32::try_from(frame.len()).unwrap_or(0).to_be_bytes());
        outbound.extend_from_slice(frame);
    }

    /// Sends what waits, as far as QEMU takes it now.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.links.iter_mut().try_for_each(Link::flush)
    }

    /// The next frame that came in there. Who asks for an address by ARP was answered.
    pub(crate) fn next(&mut self, side: Side) -> Option<Vec<u8>> {
        loop {
            let frame = self.link(side).frames.pop_front()?;
            match packet::answer_arp(side, &frame) {
                Some(answer) => self.queue(side, &answer),
                None => return Some(frame),
            }
        }
    }

    /// Waits until a frame is there or can be sent, or `max_wait` is over.
    pub(crate) fn wait(&mut self, max_wait: Duration) -> Result<()> {
        self.flush()?;
        let interest = |link: &Link| match link.outbound.is_empty() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        };
        let [public, private] = &self.links;
        let mut sockets = [public, private].map(|link| PollFd::new(&link.stream, interest(link)));
        let timeout = Timespec::try_from(max_wait).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match rustix::event::poll(&mut sockets, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for link in &mut self.links {
            link.take_in(&mut self.chunk)?;
        }
        Ok(())
    }

    /// Takes in and drops what comes until nothing does for `quiet`, at most for `limit`.
    pub(crate) fn drain(&mut self, quiet: Duration, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut last = Instant::now();
        while last.elapsed() < quiet && Instant::now() < deadline {
            self.wait(Duration::from_millis(5))?;
            for side in Side::ALL {
                while self.next(side).is_some() {
                    last = Instant::now();
                }
            }
        }
        Ok(())
    }

    fn link(&mut self, side: Side) -> &mut Link {
        let [public, private] = &mut self.links;
        match side {
            Side::Public => public,
            Side::Private => private,
        }
    }
}

impl Link {
    fn new(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        let (received, outbound) = (Vec::new(), Vec::new());
        Ok(Self { stream, received, outbound, frames: VecDeque::new() })
    }

    fn flush(&mut self) -> Result<()> {
        while !self.outbound.is_empty() {
            match self.stream.write(&self.outbound) {
                Ok(len) => drop(self.outbound.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("QEMU took its end of a cable away"),
            }
        }
        Ok(())
    }

    /// Takes in what is there.
    fn take_in(&mut self, chunk: &mut [u8]) -> Result<()> {
        loop {
            match self.stream.read(chunk) {
                Ok(0) => bail!("QEMU closed a cable"),
                Ok(len) => self.received.extend_from_slice(chunk.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("a cable is broken"),
            }
        }
        let mut rest = self.received.as_slice();
        while let Some((len, behind)) = rest.split_first_chunk::<4>() {
            let len = u32::from_be_bytes(*len) as usize;
            ensure!(len <= MAX_FRAME_BYTES, "a frame of {len} bytes on a cable");
            let Some((frame, behind)) = behind.split_at_checked(len) else { break };
            self.frames.push_back(frame.to_vec());
            rest = behind;
        }
        let done = self.received.len() - rest.len();
        self.received.drain(..done);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cables() -> (Cables, [UnixStream; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let sockets = ["a", "b"].map(|name| Socket::bind(&path(name)).unwrap());
        let theirs = ["a", "b"].map(|name| UnixStream::connect(path(name)).unwrap());
        (Cables::accept(&sockets).unwrap(), theirs)
    }

    #[test]
    fn a_burst_is_one_piece_of_the_stream() {
        let (mut cables, [mut theirs, _private]) = cables();
        cables.queue(Side::Public, &[7; 3]);
        cables.queue(Side::Public, &[8; 2]);
        cables.flush().unwrap();
        let mut bytes = [0; 64];
        let len = theirs.read(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], [0, 0, 0, 3, 7, 7, 7, 0, 0, 0, 2, 8, 8]);
    }

    #[test]
    fn frames_that_come_in_pieces_are_whole_again() {
        let (mut cables, [_public, mut theirs]) = cables();
        for piece in [&[0, 0][..], &[0, 4, 1, 2], &[3, 4, 0, 0, 0, 1, 9, 0]] {
            theirs.write_all(piece).unwrap();
            cables.wait(Duration::from_secs(5)).unwrap();
        }
        assert_eq!(cables.next(Side::Private).unwrap(), [1, 2, 3, 4]);
        assert_eq!(cables.next(Side::Private).unwrap(), [9]);
        assert_eq!(cables.next(Side::Private), None);
        drop(theirs);
        assert!(cables.wait(Duration::from_secs(5)).unwrap_err().to_string().contains("closed a cable"));
    }
}
