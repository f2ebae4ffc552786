//! A small HTTP/1.1 client over any byte stream: enough to be a strict judge of the guest's server.
//!
//! It is strict on purpose: a wrong chunk length, a header line without a colon or a body that ends
//! early is an error, because the server under test is ours and has no excuse. It follows no
//! redirects and speaks no TLS.
//!
//! Spec: RFC 9112 "HTTP/1.1", sections 2 to 7 (messages, transfer codings), and RFC 9110, section
//! 10.1.1 "Expect".

mod framing;

use std::io::{self, BufRead as _, BufReader, Read, Write};

use anyhow::{Context as _, Result, bail, ensure};

pub use framing::Headers;

/// Body bytes are written, and read, in pieces of this size.
const PIECE_BYTES: usize = 16 * 1024;

/// What a request carries.
pub enum Body<'a> {
    /// Nothing.
    None,
    /// The next `len_bytes` of `source`, announced by `Content-Length`.
    Sized {
        /// Where the bytes come from.
        source: &'a mut dyn Read,
        /// How many to send.
        len_bytes: u64,
    },
    /// The next `len_bytes` of `source`, in chunks of growing and shrinking sizes.
    Chunked {
        /// Where the bytes come from.
        source: &'a mut dyn Read,
        /// How many to send.
        len_bytes: u64,
    },
}

/// One request.
pub struct Request<'a> {
    /// `GET`, `POST` or whatever is to be refused.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// What it carries.
    pub body: Body<'a>,
    /// Ask the server to keep the connection open; otherwise `Connection: close` is said.
    pub keep_alive: bool,
    /// Send the body only once the server has said `100 Continue`.
    pub expect_continue: bool,
    /// A bearer's token.
    pub token: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// A request without a body, for a connection of its own.
    pub fn new(method: &'a str, target: &'a str) -> Self {
        Self { method, target, body: Body::None, keep_alive: false, expect_continue: false, token: None }
    }

    /// The same with a body.
    pub fn with_body(self, body: Body<'a>) -> Self {
        Self { body, ..self }
    }

    /// The same on a bearer's word.
    pub fn with_token(self, token: &'a str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The same, leaving the connection open.
    pub fn keeping_alive(self) -> Self {
        Self { keep_alive: true, ..self }
    }

    /// The same, holding the body back until the server wants it.
    pub fn expecting_continue(self) -> Self {
        Self { expect_continue: true, ..self }
    }
}

/// What came back, apart from the body, which went to the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: Headers,
    /// Trailer fields; empty unless the body was chunked.
    pub trailers: Headers,
    /// Length of the body.
    pub body_bytes: u64,
    /// Whether `100 Continue` came first.
    pub continued: bool,
}

impl Response {
    /// # Errors
    ///
    /// The status is not `status`.
    pub fn expect_status(&self, status: u16) -> Result<()> {
        ensure!(self.status == status, "expected status {status}, got {}", self.status);
        Ok(())
    }
}

/// A client on one connection.
#[derive(Debug)]
pub struct Client<S> {
    stream: BufReader<S>,
}

impl<S: Read + Write> Client<S> {
    /// A client on `stream`, on which nothing was said yet.
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::with_capacity(64 * 1024, stream) }
    }

    /// Sends `request`, writes the body of the answer to `sink`, and gives the rest.
    ///
    /// # Errors
    ///
    /// The stream's own, deadlines included; an answer that is not well-formed HTTP/1.1; a refusal
    /// by `sink`.
    pub fn send(&mut self, request: Request<'_>, sink: &mut dyn Write) -> Result<Response> {
        let what = format!("{} {}", request.method, request.target);
        self.exchange(request, sink).with_context(|| what)
    }

    fn exchange(&mut self, request: Request<'_>, sink: &mut dyn Write) -> Result<Response> {
        let no_body_in_answer = request.method == "HEAD";
        self.send_head(&request).context("sending the request")?;

        let mut continued = false;
        if request.expect_continue {
            let (status, headers) =
                framing::read_head(&mut self.stream).context("waiting for 100 Continue")?;
            if status != 100 {
                return self.read_rest(status, headers, no_body_in_answer, false, sink);
            }
            continued = true;
        }
        // A server that refuses the body may say so and close; what it said matters more than the
        // broken pipe.
        let sent = self.send_body(request.body);
        let (status, headers) = match (framing::read_head(&mut self.stream), sent) {
            (Ok(head), Ok(())) => head,
            (Ok(head @ (400.., _)), Err(_)) => head,
            (_, Err(error)) => return Err(error).context("sending the body"),
            (Err(error), Ok(())) => return Err(error).context("reading the answer"),
        };
        self.read_rest(status, headers, no_body_in_answer, continued, sink)
    }

    fn send_head(&mut self, request: &Request<'_>) -> io::Result<()> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: guest\r\n", request.method, request.target);
        if !request.keep_alive {
            head.push_str("Connection: close\r\n");
        }
        if let Some(token) = request.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if request.expect_continue {
            head.push_str("Expect: 100-continue\r\n");
        }
        match request.body {
            Body::None => {}
            Body::Sized { len_bytes, .. } => head.push_str(&format!("Content-Length: {len_bytes}\r\n")),
            Body::Chunked { .. } => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        self.stream.get_mut().write_all(head.as_bytes())
    }

    fn send_body(&mut self, body: Body<'_>) -> Result<()> {
        let stream = self.stream.get_mut();
        match body {
            Body::None => {}
            Body::Sized { source, len_bytes } => {
                let mut piece = vec![0; PIECE_BYTES];
                let mut left = len_bytes;
                while left > 0 {
                    let len = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
                    let piece = &mut piece[..len];
                    source.read_exact(piece)?;
                    stream
                        .write_all(piece)
                        .with_context(|| format!("after {} of {len_bytes} bytes", len_bytes - left))?;
                    left -= len as u64;
                }
            }
            Body::Chunked { source, len_bytes } => framing::write_chunked(stream, source, len_bytes)?,
        }
        Ok(())
    }

    /// Spec: RFC 9112, 6.3 "Message Body Length".
    fn read_rest(
        &mut self,
        status: u16,
        headers: Headers,
        no_body: bool,
        continued: bool,
        sink: &mut dyn Write,
    ) -> Result<Response> {
        let mut trailers = Headers::default();
        let body_bytes = if no_body || status == 204 || status == 304 {
            0
        } else if let Some(coding) = headers.get("transfer-encoding") {
            ensure!(coding.eq_ignore_ascii_case("chunked"), "unknown transfer coding {coding:?}");
            ensure!(headers.get("content-length").is_none(), "both Transfer-Encoding and Content-Length");
            let (len_bytes, fields) = framing::read_chunked(&mut self.stream, sink)?;
            trailers = fields;
            len_bytes
        } else if let Some(len) = headers.get("content-length") {
            let len: u64 = len.parse().with_context(|| format!("bad Content-Length {len:?}"))?;
            framing::copy_exactly(&mut self.stream, len, sink).context("reading the body")?;
            len
        } else {
            framing::copy_to_end(&mut self.stream, sink).context("reading the body")?
        };
        Ok(Response { status, headers, trailers, body_bytes, continued })
    }

    /// Checks that the server closes the connection now, as it was asked to.
    ///
    /// # Errors
    ///
    /// It sends more instead, or neither by the stream's deadline.
    pub fn expect_close(&mut self) -> Result<()> {
        let more = self.stream.fill_buf().context("waiting for the server to close")?;
        if more.is_empty() {
            return Ok(());
        }
        bail!("{} bytes behind the last answer, starting {:?}", more.len(), more.first_chunk::<16>());
    }
}

#[cfg(test)]
mod tests;
