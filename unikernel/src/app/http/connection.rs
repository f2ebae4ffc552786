//! One connection: bytes in, bytes out.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::body::BodyReader;
use super::bytes::ByteStream;
use super::files::{Files, Handle};
use super::hex;
use super::request::{self, BodyLength, Change, MAX_HEAD_BYTES, Refusal, Request, Route, Routes};
use super::transfer::{Outcome, Transfer};

/// What a page of the program may have a browser do: load and ask what is here, and nothing else.
///
/// Spec: Content Security Policy Level 3, 6 "Content Security Policy Directives".
const POLICY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
                      X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n";

/// Data bytes in one chunk of `/bytes`.
const CHUNK_BYTES: u64 = 32 * 1024;

/// Something only the rest of the program can answer; [`Connection::answer`] takes the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The page.
    Page,
    /// The status as JSON.
    Status,
    /// A restart of the NIC named.
    Restart(String),
    /// The program's page of that name.
    Program(&'static str),
    /// That the program does something.
    Change(Change),
    /// That the program begins a page in pieces.
    Pieces(Change),
}

/// Where a connection stands.
#[derive(Debug)]
enum State {
    /// Waiting for a head, with what came of it.
    Head,
    /// Taking a body in.
    Body(Request, BodyReader),
    /// Waiting for the rest of the program.
    Asking(Request, Wanted),
    /// Sending `/bytes` in chunks, with the digest behind them.
    Chunks { keep_alive: bool, left: u64, chunk_left: u64, stream: ByteStream },
    /// Sending `/bytes` plainly, then closing.
    Plain { left: u64, stream: ByteStream },
    /// Sending or taking in a file.
    File(Transfer),
    /// Sending what the program has of this, piece by piece.
    Pieces { handle: Handle, keep_alive: bool, in_chunks: bool },
    /// Sending what is staged, then waiting for the next head, or closing.
    Draining { keep_alive: bool },
    /// Nothing more comes or goes.
    Closing,
    /// The same, and what was sent last is not whole.
    Broken,
}

/// A server's side of one HTTP connection.
#[derive(Debug)]
pub struct Connection {
    state: State,
    head: Vec<u8>,
    /// Small things to send: heads, chunk sizes, pages.
    staged: Vec<u8>,
    /// How much of `staged` is sent.
    sent: usize,
    served: u64,
    routes: Routes,
}

impl Connection {
    /// A connection to the pages of `routes` that nothing came over yet.
    #[must_use]
    pub const fn new(routes: Routes) -> Self {
        Self { state: State::Head, head: Vec::new(), staged: Vec::new(), sent: 0, served: 0, routes }
    }

    /// The next one in its place. How many requests this one served.
    pub fn renew(&mut self) -> u64 {
        core::mem::replace(self, Self::new(self.routes)).served
    }

    /// How many requests were served.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Whether it is time to close: everything is said.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closing) && self.staged_left().is_empty()
    }

    /// Whether it has to be cut off: the peer is not to take what it got for the whole.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    /// Whether nothing is under way: a peer that closes now loses nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty() && self.staged_left().is_empty()
    }

    /// Whether the connection cannot go on without more bytes from the peer, in the middle of a
    /// request.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        match &self.state {
            State::Head => !self.head.is_empty(),
            State::Body(..) => true,
            State::File(transfer) => transfer.is_waiting(),
            _ => false,
        }
    }

    /// What the rest of the program is asked for.
    #[must_use]
    pub fn wanted(&self) -> Option<&Wanted> {
        match &self.state {
            State::Asking(_, wanted) => Some(wanted),
            _ => None,
        }
    }

    /// Takes what it can of `bytes`, which came from the peer. Returns how much that was; the rest
    /// is for later.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0_usize;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let step = match &mut self.state {
                State::Head => self.take_head(rest),
                State::Body(request, reader) => match reader.take(rest) {
                    Ok(len) => {
                        if reader.is_done() {
                            self.finish_body();
                        }
                        len
                    }
                    Err(refusal) => {
                        let head_only = request.head_only;
                        self.refuse(Refusal { head_only, ..refusal });
                        rest.len()
                    }
                },
                State::File(transfer) => transfer.receive(rest),
                // One request after the other: what follows waits in the socket.
                State::Asking(..)
                | State::Chunks { .. }
                | State::Plain { .. }
                | State::Pieces { .. }
                | State::Draining { .. } => 0,
                State::Closing | State::Broken => rest.len(),
            };
            if step == 0 {
                break;
            }
            taken = taken.saturating_add(step);
        }
        taken
    }

    /// Puts what is to be sent into `room`. Returns how much that was; zero when there is nothing
    /// to send now.
    pub fn produce(&mut self, room: &mut [u8]) -> usize {
        let mut made = 0_usize;
        while let Some(rest) = room.get_mut(made..).filter(|rest| !rest.is_empty()) {
            let step = if self.staged_left().is_empty() {
                self.produce_bytes(rest)
            } else {
                self.produce_staged(rest)
            };
            match step {
                Some(len) => made = made.saturating_add(len),
                None => break,
            }
        }
        made
    }

    /// Answers what was [`wanted`](Self::wanted): `content_type` and `body`, or nothing known by
    /// that name.
    pub fn answer(&mut self, status: &str, content_type: &str, body: &str) {
        let State::Asking(request, wanted) = &self.state else {
            return;
        };
        let (keep_alive, head_only) = (request.keep_alive, request.head_only);
        let policy = if matches!(wanted, Wanted::Program(_)) { POLICY } else { "" };
        self.respond_with(policy, (status, content_type, body), keep_alive, head_only);
    }

    /// Answers what was [`wanted`](Self::wanted) with pieces of that content type, which come as
    /// `handle` has them.
    pub fn answer_in_pieces(&mut self, content_type: &str, handle: Handle) {
        let State::Asking(request, _) = &self.state else { return };
        let (keep_alive, head_only, in_chunks) =
            (request.keep_alive, request.head_only, request.takes_chunks);
        let framing = if in_chunks { "Transfer-Encoding: chunked\r\n" } else { "" };
        self.stage(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{framing}Cache-Control: no-store\r\n{POLICY}{}\r\n",
            connection_header(keep_alive)
        ));
        self.state = if head_only {
            State::Draining { keep_alive }
        } else {
            State::Pieces { handle, keep_alive, in_chunks }
        };
    }

    /// Of what it is to be given the next [`piece`](Self::piece), now that the last one is sent.
    #[must_use]
    pub fn wants_piece(&self) -> Option<&Handle> {
        match &self.state {
            State::Pieces { handle, .. } if self.staged_left().is_empty() => Some(handle),
            _ => None,
        }
    }

    /// Whether it sends pieces.
    #[must_use]
    pub fn is_in_pieces(&self) -> bool {
        matches!(self.state, State::Pieces { .. })
    }

    /// Sends a piece; `None`: that was all.
    pub fn piece(&mut self, piece: Option<&[u8]>) {
        let State::Pieces { keep_alive, in_chunks, .. } = self.state else { return };
        match (piece, in_chunks) {
            // An empty chunk would be the last one.
            (Some([]), _) => {}
            (Some(bytes), true) => {
                self.stage(&format!("{:x}\r\n", bytes.len()));
                self.staged.extend_from_slice(bytes);
                self.stage("\r\n");
            }
            (Some(bytes), false) => {
                self.stage("");
                self.staged.extend_from_slice(bytes);
            }
            (None, true) => {
                self.stage("0\r\n\r\n");
                self.state = State::Draining { keep_alive };
            }
            (None, false) => self.state = State::Closing,
        }
    }

    /// Moves a file on, if one is under way. Returns whether anything moved.
    pub fn move_file(&mut self, files: &mut dyn Files) -> bool {
        let is_sent = self.staged_left().is_empty();
        let State::File(transfer) = &mut self.state else { return false };
        if !is_sent {
            return false;
        }
        let keep_alive = transfer.request.keep_alive;
        let (bytes, next) = match transfer.step(files) {
            Outcome::Waits => return false,
            Outcome::Stage(bytes) => (bytes, None),
            Outcome::Last(bytes) => (bytes, Some(State::Draining { keep_alive })),
            Outcome::Refused(refusal) => {
                let refusal = Refusal { head_only: transfer.request.head_only, ..refusal };
                // What the peer sends of a file that nobody takes is no request.
                let keep_alive = keep_alive && !transfer.is_upload();
                self.answer_refusal(refusal, keep_alive);
                return true;
            }
            Outcome::Broken => (Vec::new(), Some(State::Broken)),
        };
        // Pieces go as they come: none of their memory is kept.
        (self.staged, self.sent) = (bytes, 0);
        if let Some(next) = next {
            self.state = next;
        }
        true
    }

    /// The file that is under way, while it is open.
    #[cfg(test)]
    pub(super) fn handle(&self) -> Option<super::files::Handle> {
        match &self.state {
            State::File(transfer) => transfer.handle(),
            _ => None,
        }
    }

    fn staged_left(&self) -> &[u8] {
        self.staged.get(self.sent..).unwrap_or(&[])
    }

    fn stage(&mut self, text: &str) {
        if self.staged_left().is_empty() {
            self.staged.clear();
            self.sent = 0;
        }
        self.staged.extend_from_slice(text.as_bytes());
    }

    /// Collects a head. Returns how many bytes belong to it.
    fn take_head(&mut self, bytes: &[u8]) -> usize {
        let before = self.head.len();
        let room = MAX_HEAD_BYTES.saturating_sub(before).min(bytes.len());
        self.head.extend(bytes.iter().take(room));
        match request::parse(&self.head, self.routes) {
            Ok(None) => room,
            Ok(Some((request, len))) => {
                self.head.clear();
                self.begin(request);
                len.saturating_sub(before)
            }
            Err(refusal) => {
                self.refuse(refusal);
                bytes.len()
            }
        }
    }

    fn begin(&mut self, request: Request) {
        self.served = self.served.saturating_add(1);
        if let (Route::StoreFile(name), BodyLength::Known(len_bytes)) = (&request.route, request.body) {
            let name = name.clone();
            self.state = State::File(Transfer::store(request, name, len_bytes));
            return;
        }
        let reader = BodyReader::new(request.body);
        let done = reader.is_done();
        if request.expects_continue && !done {
            self.stage("HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.state = State::Body(request, reader);
        if done {
            self.finish_body();
        }
    }

    /// The request is complete: acts on it.
    fn finish_body(&mut self) {
        let State::Body(request, reader) = core::mem::replace(&mut self.state, State::Closing) else {
            return;
        };
        let (keep_alive, head_only) = (request.keep_alive, request.head_only);
        match request.route.clone() {
            Route::Page => self.state = State::Asking(request, Wanted::Page),
            Route::Status => self.state = State::Asking(request, Wanted::Status),
            Route::Restart { nic } => self.state = State::Asking(request, Wanted::Restart(nic)),
            Route::Program(name) => self.state = State::Asking(request, Wanted::Program(name)),
            Route::Change(change) => self.state = State::Asking(request, Wanted::Change(change)),
            Route::Pieces(asked) => self.state = State::Asking(request, Wanted::Pieces(asked)),
            Route::File(name) => self.state = State::File(Transfer::fetch(request, name)),
            // It has a length, so it began elsewhere.
            Route::StoreFile(_) => {}
            Route::Digest => {
                let (len_bytes, digest) = reader.finish();
                let body = format!("{{\"length\":{len_bytes},\"sha256\":\"{}\"}}\n", hex(&digest));
                self.respond("200 OK", "application/json", &body, keep_alive, head_only);
            }
            Route::Bytes { count, seed } => {
                let stream = ByteStream::new(seed);
                let (framing, sending) = if request.takes_chunks {
                    (
                        "Transfer-Encoding: chunked\r\nTrailer: X-SHA256".into(),
                        State::Chunks { keep_alive, left: count, chunk_left: 0, stream },
                    )
                } else {
                    (format!("Content-Length: {count}"), State::Plain { left: count, stream })
                };
                self.stage(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n{framing}\r\n{}\r\n",
                    connection_header(keep_alive)
                ));
                self.state = if head_only { State::Draining { keep_alive } } else { sending };
            }
        }
    }

    fn respond(&mut self, status: &str, content_type: &str, body: &str, keep_alive: bool, head_only: bool) {
        self.respond_with("", (status, content_type, body), keep_alive, head_only);
    }

    /// The same, with more `fields` in the head, each a line.
    fn respond_with(
        &mut self,
        fields: &str,
        (status, content_type, body): (&str, &str, &str),
        keep_alive: bool,
        head_only: bool,
    ) {
        self.stage(&format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{fields}{}\r\n",
            body.len(),
            connection_header(keep_alive)
        ));
        if !head_only {
            self.stage(body);
        }
        self.state = State::Draining { keep_alive };
    }

    /// Answers with an error and closes: what follows cannot be trusted to be a request.
    fn refuse(&mut self, refusal: Refusal) {
        self.head.clear();
        self.answer_refusal(refusal, false);
    }

    fn answer_refusal(&mut self, refusal: Refusal, keep_alive: bool) {
        self.respond(
            refusal.status,
            "text/plain",
            &format!("{}\n", refusal.why),
            keep_alive,
            refusal.head_only,
        );
    }

    /// Sends staged bytes; when the last is gone, moves on.
    fn produce_staged(&mut self, room: &mut [u8]) -> Option<usize> {
        let left = self.staged_left();
        let len = left.len().min(room.len());
        for (to, from) in room.iter_mut().zip(left) {
            *to = *from;
        }
        self.sent = self.sent.saturating_add(len);
        if let (true, State::Draining { keep_alive }) = (self.staged_left().is_empty(), &self.state) {
            self.state = if *keep_alive { State::Head } else { State::Closing };
        }
        Some(len)
    }

    /// Sends the next piece of `/bytes`, or stages what frames it. `None` when there is nothing to
    /// send.
    fn produce_bytes(&mut self, room: &mut [u8]) -> Option<usize> {
        match &mut self.state {
            State::Chunks { left: 0, chunk_left: 0, keep_alive, stream } => {
                let (keep_alive, digest) = (*keep_alive, stream.clone().digest());
                self.state = State::Draining { keep_alive };
                self.stage(&format!("0\r\nX-SHA256: {}\r\n\r\n", hex(&digest)));
                Some(0)
            }
            State::Chunks { left, chunk_left: chunk_left @ 0, .. } => {
                *chunk_left = CHUNK_BYTES.min(*left);
                *left = left.saturating_sub(*chunk_left);
                let size = format!("{:x}\r\n", *chunk_left);
                self.stage(&size);
                Some(0)
            }
            State::Chunks { chunk_left, stream, .. } => {
                let len = fill(room, chunk_left, stream);
                if *chunk_left == 0 {
                    self.stage("\r\n");
                }
                Some(len)
            }
            State::Plain { left: 0, .. } => {
                self.state = State::Closing;
                None
            }
            State::Plain { left, stream } => Some(fill(room, left, stream)),
            _ => None,
        }
    }
}

/// Puts the next bytes of `stream` into `room`, at most `left`. Returns how many.
fn fill(room: &mut [u8], left: &mut u64, stream: &mut ByteStream) -> usize {
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(room.len());
    if let Some(room) = room.get_mut(..len) {
        stream.fill(room);
    }
    *left = left.saturating_sub(len as u64);
    len
}

fn connection_header(keep_alive: bool) -> &'static str {
    if keep_alive { "" } else { "Connection: close\r\n" }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
