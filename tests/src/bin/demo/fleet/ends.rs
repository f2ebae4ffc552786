//! Clients and servers: lines of text over TCP, which are answered by who the server is.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::network::{server, settle};

/// How long an answer may take, however many segments are lost on the way.
const LIMIT: Duration = Duration::from_secs(30);
/// Where each server listens, and its name.
pub(crate) const SERVERS: [(&str, SocketAddrV4); 2] =
    [("one", SocketAddrV4::new(server(11), 8001)), ("two", SocketAddrV4::new(server(12), 8001))];

/// One that has no part in what these share.
pub(crate) const THIRD: (&str, SocketAddrV4) = ("three", SocketAddrV4::new(server(13), 8001));

/// Becomes the servers, in a network namespace that is just made, until standard input ends.
pub(crate) fn serve() -> Result<()> {
    settle()?;
    println!("settled");
    let mut lines = io::stdin().lock().lines();
    lines.next().transpose()?;
    for (name, address) in all() {
        let listener = TcpListener::bind(address).with_context(|| format!("{name} at {address}"))?;
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that leaves, or a health check, ends it.
                thread::spawn(move || answer(name, stream));
            }
        });
    }
    println!("listening");
    lines.try_for_each(|line| line.map(drop)).context("standard input")
}

fn all() -> impl Iterator<Item = (&'static str, SocketAddrV4)> {
    SERVERS.into_iter().chain([THIRD])
}

fn answer(name: &str, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        stream.write_all(format!("{name} {}\n", line?).as_bytes())?;
    }
    Ok(())
}

/// A client's connection.
pub(crate) struct Talk {
    client: Ipv4Addr,
    stream: BufReader<TcpStream>,
    /// Who answers.
    pub(crate) server: String,
    /// Lines that were answered.
    pub(crate) lines: u64,
    /// How long the slowest answer took.
    pub(crate) slowest: Duration,
}

impl Talk {
    /// Connects, and learns who answers.
    pub(crate) fn new(client: Ipv4Addr, to: SocketAddrV4) -> Result<Self> {
        let stream = dial(client, to).with_context(|| format!("{client} cannot connect to {to}"))?;
        let stream = BufReader::new(stream);
        let mut talk = Self { client, stream, server: String::new(), lines: 0, slowest: Duration::ZERO };
        talk.server = talk.ask()?;
        ensure!(all().any(|(name, _)| name == talk.server), "{:?} answers {client}", talk.server);
        Ok(talk)
    }

    /// Sends a line; the same server has to answer just that.
    pub(crate) fn again(&mut self) -> Result<()> {
        let server = self.ask()?;
        ensure!(server == self.server, "{server} answers {}, {} did before", self.client, self.server);
        Ok(())
    }

    /// Sends a line; who answered.
    fn ask(&mut self) -> Result<String> {
        let (start, line) = (Instant::now(), format!("{} {}", self.client, self.lines));
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        let read = self.stream.read_line(&mut answer);
        read.with_context(|| format!("{} waits for the answer to its line {}", self.client, self.lines))?;
        let server = answer.strip_suffix(&format!(" {line}\n"));
        let server = server.with_context(|| format!("{line:?} was answered by {answer:?}"))?.to_owned();
        self.lines += 1;
        self.slowest = self.slowest.max(start.elapsed());
        Ok(server)
    }
}

/// Connects from an address of ours.
fn dial(client: Ipv4Addr, to: SocketAddrV4) -> Result<TcpStream> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(LIMIT))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(LIMIT))?;
    bind(&socket, &SocketAddr::new(client.into(), 0))?;
    connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_server_has_to_answer_just_what_was_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(to) = listener.local_addr().unwrap() else { panic!("not IPv4") };
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for (answer, line) in ["one", "one", "two", "one 7"].into_iter().zip(lines) {
                stream.write_all(format!("{answer} {}\n", line.unwrap()).as_bytes()).unwrap();
            }
        });
        let mut talk = Talk::new(Ipv4Addr::LOCALHOST, to).unwrap();
        talk.again().unwrap();
        assert_eq!((&*talk.server, talk.lines), ("one", 2));
        let error = talk.again().unwrap_err().to_string();
        assert!(error.contains("two answers 127.0.0.1, one did before"), "{error}");
        assert!(talk.again().is_err());
        // The server is gone.
        server.join().unwrap();
        assert!(talk.again().is_err());
    }
}
