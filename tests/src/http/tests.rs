//! The client against scripted answers.

use super::*;
use crate::noise::Noise;

/// A stream that answers from a script and keeps what was said to it.
struct Script {
    answer: io::Cursor<Vec<u8>>,
    said: Vec<u8>,
    /// Refuse to take more than this many bytes, as a server does that has closed.
    max_said: usize,
}

impl Script {
    fn new(answer: &str) -> Self {
        Self { answer: io::Cursor::new(answer.as_bytes().to_vec()), said: Vec::new(), max_said: usize::MAX }
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Three bytes at a time: nothing may depend on where reads end.
        let len = buffer.len().min(3);
        self.answer.read(&mut buffer[..len])
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.said.len() >= self.max_said {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.said.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn get(answer: &str) -> Result<(Response, String)> {
    let mut body = Vec::new();
    let response = Client::new(Script::new(answer)).send(Request::new("GET", "/"), &mut body)?;
    Ok((response, String::from_utf8(body).unwrap()))
}

fn error_of(answer: &str) -> String {
    format!("{:#}", get(answer).unwrap_err())
}

#[test]
fn a_sized_answer() {
    let (response, body) =
        get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Thing:  a b \r\n\r\nhello").unwrap();
    assert_eq!((response.status, response.body_bytes, body.as_str()), (200, 5, "hello"));
    assert_eq!(response.headers.get("x-thing"), Some("a b"));
}

#[test]
fn a_chunked_answer_with_a_trailer() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-SHA256\r\n\r\n\
                  5\r\nhello\r\n0A;ext=1\r\n, chunked!\r\n0\r\nX-SHA256: abc\r\n\r\n";
    let (response, body) = get(answer).unwrap();
    assert_eq!(body, "hello, chunked!");
    assert_eq!(response.body_bytes, 15);
    assert_eq!(response.trailers.get("X-Sha256"), Some("abc"));
}

#[test]
fn an_answer_that_ends_with_the_connection() {
    let (response, body) = get("HTTP/1.1 200 OK\r\n\r\nto the end").unwrap();
    assert_eq!((response.body_bytes, body.as_str()), (10, "to the end"));
}

#[test]
fn broken_answers_are_errors_that_say_what_is_wrong() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        ("", "the connection was closed"),
        ("HTTP/1.0 200 OK\r\n\r\n", "a bad status line"),
        ("HTTP/1.1 2 OK\r\n\r\n", "a bad status line"),
        ("HTTP/1.1 200 OK\n\n", "a line without CRLF"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "a field without a colon"),
        ("HTTP/1.1 200 OK\r\nBad name: x\r\n\r\n", "a bad field name"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "closed after 4 of 5 bytes"),
        ("HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", "bad Content-Length"),
        (&format!("{chunked}5\r\nhel"), "closed after 3 of 5 bytes"),
        (&format!("{chunked}5\r\nhello!\r\n"), "1 bytes behind the end of a chunk"),
        (&format!("{chunked}+5\r\nhello\r\n"), "a bad chunk size"),
        (&format!("{chunked}11112222333344445\r\n"), "a bad chunk size"),
        (&format!("{chunked}5\r\nhello\r\n0\r\n"), "in the trailer"),
    ];
    for (answer, wanted) in cases {
        let error = error_of(answer);
        assert!(error.contains(wanted), "{answer:?} gave {error:?}, not {wanted:?}");
    }
}

#[test]
fn endless_lines_and_heads_end() {
    assert!(error_of(&"x".repeat(100_000)).contains("without CRLF"));
    let fields = "a: b\r\n".repeat(1000);
    assert!(error_of(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).contains("more than 100 fields"));
}

#[test]
fn a_sized_body_is_announced_and_sent() {
    let mut client = Client::new(Script::new("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let body = Body::Sized { source: &mut Noise::new(1), len_bytes: 40_000 };
    client.send(Request::new("POST", "/digest").with_body(body), &mut io::sink()).unwrap();
    let said = &client.stream.get_ref().said;
    let head = b"POST /digest HTTP/1.1\r\nHost: guest\r\nConnection: close\r\nContent-Length: 40000\r\n\r\n";
    assert!(said.starts_with(head));
    let mut wanted = vec![0; 40_000];
    Noise::new(1).read_exact(&mut wanted).unwrap();
    assert!(said[head.len()..] == wanted);
}

#[test]
fn a_chunked_body_reads_back() {
    let mut client = Client::new(Script::new("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let body = Body::Chunked { source: &mut Noise::new(2), len_bytes: 50_000 };
    client.send(Request::new("POST", "/digest").with_body(body), &mut io::sink()).unwrap();
    let said = &client.stream.get_ref().said;
    let at = said.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let mut back = Vec::new();
    let (len_bytes, trailers) = framing::read_chunked(&mut &said[at..], &mut back).unwrap();
    let mut wanted = vec![0; 50_000];
    Noise::new(2).read_exact(&mut wanted).unwrap();
    assert_eq!((len_bytes, trailers.count()), (50_000, 0));
    assert!(back == wanted);
}

#[test]
fn the_body_waits_for_100_continue() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut client = Client::new(Script::new(answer));
    let body = Body::Sized { source: &mut Noise::new(1), len_bytes: 10 };
    let request = Request::new("POST", "/digest").with_body(body).expecting_continue();
    let response = client.send(request, &mut io::sink()).unwrap();
    assert!(response.continued);
    assert_eq!(response.status, 200);
}

#[test]
fn a_refused_body_is_not_sent() {
    let mut client = Client::new(Script::new("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"));
    let body = Body::Sized { source: &mut Noise::new(1), len_bytes: 10 };
    let request = Request::new("POST", "/digest").with_body(body).expecting_continue();
    let response = client.send(request, &mut io::sink()).unwrap();
    assert_eq!((response.status, response.continued), (413, false));
    assert!(client.stream.get_ref().said.ends_with(b"\r\n\r\n"));
}

#[test]
fn a_refusal_counts_more_than_the_broken_pipe_behind_it() {
    for (status, wanted) in [("413 Too Large", true), ("200 OK", false)] {
        let mut script = Script::new(&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        script.max_said = 1000;
        let body = Body::Sized { source: &mut Noise::new(1), len_bytes: 1_000_000 };
        let request = Request::new("POST", "/digest").with_body(body);
        assert_eq!(Client::new(script).send(request, &mut io::sink()).is_ok(), wanted, "{status}");
    }
}

#[test]
fn several_requests_on_one_connection() {
    let one = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n";
    let mut client = Client::new(Script::new(&format!("{one}a{one}b")));
    let mut body = Vec::new();
    client.send(Request::new("GET", "/").keeping_alive(), &mut body).unwrap();
    assert!(client.expect_close().is_err());
    client.send(Request::new("GET", "/"), &mut body).unwrap();
    assert_eq!(body, b"ab");
    client.expect_close().unwrap();
    let said = String::from_utf8(client.stream.get_ref().said.clone()).unwrap();
    assert_eq!(said.matches("Connection: close").count(), 1);
}

#[test]
fn a_head_answer_has_no_body() {
    let mut client = Client::new(Script::new("HTTP/1.1 405 Not Allowed\r\nContent-Length: 9\r\n\r\n"));
    let response = client.send(Request::new("HEAD", "/"), &mut io::sink()).unwrap();
    assert_eq!((response.status, response.body_bytes), (405, 0));
}
