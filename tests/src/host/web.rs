//! HTTP over a [`Peer`]: back ends that say who they are, and clients that ask them, one after the
//! other or several at a time.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::{PORTS, Peer, left};

/// Connections that a back end has at a time; one more is refused.
const BACK_END_SOCKETS: usize = 32;
/// Of requests and answers, which are short.
const BUFFER_BYTES: usize = 4096;
/// How long a turn waits at most.
const TURN: Duration = Duration::from_millis(20);
/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";

fn socket() -> tcp::Socket<'static> {
    let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket.set_ack_delay(None);
    socket.set_nagle_enabled(false);
    socket
}

/// HTTP servers of one host, each on a port of its own.
#[derive(Debug)]
pub struct BackEnds<'p> {
    peer: &'p mut Peer,
    all: Vec<BackEnd>,
}

#[derive(Debug)]
struct BackEnd {
    name: String,
    port: u16,
    is_alive: bool,
    sockets: Vec<SocketHandle>,
    served: u64,
}

impl<'p> BackEnds<'p> {
    /// One for each name and port.
    ///
    /// # Errors
    ///
    /// One listens on port zero.
    pub fn new(peer: &'p mut Peer, all: &[(&str, u16)]) -> Result<Self> {
        let one = |&(name, port): &(&str, u16)| -> Result<BackEnd> {
            let mut sockets = Vec::new();
            for _ in 0..BACK_END_SOCKETS {
                let mut socket = socket();
                socket.listen(port).with_context(|| format!("cannot listen on port {port}"))?;
                sockets.push(peer.sockets.add(socket));
            }
            Ok(BackEnd { name: name.into(), port, is_alive: true, sockets, served: 0 })
        };
        let all = all.iter().map(one).collect::<Result<_>>()?;
        Ok(Self { peer, all })
    }

    /// Answers who asks, and waits for more, at most so long.
    ///
    /// # Errors
    ///
    /// As [`Peer::turn`].
    pub fn turn(&mut self, max_wait: Duration) -> io::Result<()> {
        self.peer.turn(max_wait)?;
        for back_end in self.all.iter_mut().filter(|back_end| back_end.is_alive) {
            back_end.serve(self.peer);
        }
        Ok(())
    }

    /// Ends one as the end of its process does: who is connected is cut off, who connects is
    /// refused.
    pub fn kill(&mut self, name: &str) {
        for back_end in self.all.iter_mut().filter(|back_end| back_end.name == name) {
            back_end.is_alive = false;
            for handle in &back_end.sockets {
                self.peer.sockets.get_mut::<tcp::Socket<'_>>(*handle).abort();
            }
        }
    }

    /// How many requests that one answered, health checks included.
    pub fn served(&self, name: &str) -> u64 {
        self.all.iter().find(|back_end| back_end.name == name).map_or(0, |back_end| back_end.served)
    }
}

impl BackEnd {
    fn serve(&mut self, peer: &mut Peer) {
        for handle in &mut self.sockets {
            let socket = peer.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            // A request fits into one segment, so that its end comes with its beginning.
            let asked = socket.can_recv()
                && socket.recv(|bytes| (bytes.len(), bytes.ends_with(b"\r\n\r\n"))).unwrap_or(false);
            if asked {
                let body = format!("{}\n", self.name);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close", body.len());
                // The buffer is empty, and longer than that.
                let _ = socket.send_slice(format!("{head}\r\n\r\n{body}").as_bytes());
                socket.close();
                self.served += 1;
            }
            // The client may leave first, or without a word.
            if socket.state() == tcp::State::CloseWait {
                socket.close();
            }
            if matches!(socket.state(), tcp::State::TimeWait | tcp::State::Closed) {
                // Nobody waits for the end of a wait here.
                peer.sockets.remove(*handle);
                let mut next = self::socket();
                // It has been listened on before.
                let _ = next.listen(self.port);
                *handle = peer.sockets.add(next);
            }
        }
    }
}

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Answered {
    /// When it began.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    /// Who answered, or what went wrong.
    pub by: Result<String, String>,
}

/// HTTP clients of one host.
#[derive(Debug)]
pub struct Clients<'p> {
    peer: &'p mut Peer,
}

/// A connection over which nothing was asked yet.
#[derive(Debug)]
pub struct Held(Asking);

/// One request under way.
#[derive(Debug)]
struct Asking {
    handle: SocketHandle,
    at: Instant,
    is_sent: bool,
    answer: Vec<u8>,
}

impl<'p> Clients<'p> {
    /// They use `peer` for themselves.
    pub fn new(peer: &'p mut Peer) -> Self {
        Self { peer }
    }

    /// The host that they are on.
    pub fn peer(&mut self) -> &mut Peer {
        self.peer
    }

    /// Asks `to` so often, each time on a connection of its own, and so many at a time; says what
    /// became of each when it is known.
    ///
    /// # Errors
    ///
    /// As [`Peer::turn`], or not all were done by `deadline`. That a request fails is none.
    pub fn ask(
        &mut self,
        to: SocketAddr,
        count: u64,
        at_a_time: usize,
        deadline: Instant,
        done: impl FnMut(Answered),
    ) -> Result<()> {
        self.ask_amid(to, count, at_a_time, deadline, &mut |_| {}, done)
    }

    /// The same, while something else is done at each turn.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub fn ask_amid(
        &mut self,
        to: SocketAddr,
        count: u64,
        at_a_time: usize,
        deadline: Instant,
        amid: &mut dyn FnMut(&mut Peer),
        mut done: impl FnMut(Answered),
    ) -> Result<()> {
        let (mut begun, mut asking) = (0, Vec::new());
        while begun < count || !asking.is_empty() {
            ensure!(Instant::now() < deadline, "out of time: {begun} of {count} requests begun");
            while begun < count && asking.len() < at_a_time {
                asking.push(self.begin(to)?);
                begun += 1;
            }
            amid(self.peer);
            self.peer.turn(left(deadline).min(TURN))?;
            let mut at = 0;
            while let Some(one) = asking.get_mut(at) {
                match self.step(one) {
                    Some(by) => {
                        let Asking { handle, at: began, .. } = asking.swap_remove(at);
                        self.peer.sockets.remove(handle);
                        done(Answered { at: began, took: began.elapsed(), by });
                    }
                    None => at += 1,
                }
            }
        }
        // The last acknowledgements go out.
        self.peer.turn(Duration::ZERO)?;
        Ok(())
    }

    /// Connects to `to`, and asks nothing yet.
    ///
    /// # Errors
    ///
    /// Nobody takes the connection by `deadline`.
    pub fn connect(&mut self, to: SocketAddr, deadline: Instant) -> Result<Held> {
        let asking = self.begin(to)?;
        while !self.peer.sockets.get::<tcp::Socket<'_>>(asking.handle).may_send() {
            ensure!(Instant::now() < deadline, "{to} takes no connection");
            self.peer.turn(TURN)?;
        }
        Ok(Held(asking))
    }

    /// Asks over a connection that there is. Who answered.
    ///
    /// # Errors
    ///
    /// Nobody does.
    pub fn ask_over(&mut self, Held(mut asking): Held) -> Result<String> {
        asking.at = Instant::now();
        let by = loop {
            match self.step(&mut asking) {
                Some(by) => break by,
                None => self.peer.turn(TURN)?,
            }
        };
        self.peer.sockets.remove(asking.handle);
        by.map_err(|why| anyhow!(why))
    }

    /// Waits for a connection to be cut off by the other end.
    ///
    /// # Errors
    ///
    /// It is not by `deadline`.
    pub fn expect_reset(&mut self, Held(asking): Held, deadline: Instant) -> Result<()> {
        while self.peer.sockets.get::<tcp::Socket<'_>>(asking.handle).state() != tcp::State::Closed {
            ensure!(Instant::now() < deadline, "the connection is not cut off");
            self.peer.turn(TURN)?;
        }
        self.peer.sockets.remove(asking.handle);
        Ok(())
    }

    fn begin(&mut self, to: SocketAddr) -> Result<Asking> {
        let port = self.peer.next_port;
        self.peer.next_port = if port + 1 == PORTS.end { PORTS.start } else { port + 1 };
        let mut socket = socket();
        socket.connect(self.peer.interface.context(), to, port)?;
        let handle = self.peer.sockets.add(socket);
        Ok(Asking { handle, at: Instant::now(), is_sent: false, answer: Vec::new() })
    }

    /// Moves one on. What became of it, once that is known.
    fn step(&mut self, one: &mut Asking) -> Option<Result<String, String>> {
        let socket = self.peer.sockets.get_mut::<tcp::Socket<'_>>(one.handle);
        if !one.is_sent && socket.may_send() {
            one.is_sent = socket.send_slice(REQUEST) == Ok(REQUEST.len());
        }
        while socket.can_recv() {
            let _ = socket.recv(|bytes| {
                one.answer.extend_from_slice(bytes);
                (bytes.len(), ())
            });
        }
        match socket.state() {
            tcp::State::CloseWait => socket.close(),
            // Both have said their last, and this end knows.
            tcp::State::Closed if !one.answer.is_empty() => return Some(read(&one.answer)),
            tcp::State::Closed => return Some(Err("the connection was refused or reset".into())),
            _ if one.at.elapsed() > REQUEST_LIMIT => {
                let state = socket.state();
                socket.abort();
                return Some(Err(format!("no answer within {} s ({state})", REQUEST_LIMIT.as_secs())));
            }
            _ => {}
        }
        None
    }
}

/// Who answered.
fn read(answer: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(answer);
    let whole = text.strip_prefix("HTTP/1.1 200 OK\r\n").and_then(|rest| rest.split_once("\r\n\r\n"));
    let name = whole.and_then(|(_, body)| body.strip_suffix('\n'));
    name.map(str::to_owned).ok_or_else(|| format!("an answer that is none: {text:?}"))
}
