//! A request's head: what is asked, and how its body comes.

use alloc::string::{String, ToString};

use super::files::Name;

/// The longest head that is read.
pub const MAX_HEAD_BYTES: usize = 4096;

/// The most headers that are read.
const MAX_HEADERS: usize = 48;

/// The most bytes `/bytes/N` gives.
const MAX_BYTES: u64 = 1 << 30;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The page.
    Page,
    /// The status as JSON.
    Status,
    /// So many pseudo-random bytes.
    Bytes {
        /// How many.
        count: u64,
        /// Which ones.
        seed: u64,
    },
    /// The length and digest of the body.
    Digest,
    /// Stop a NIC's driver and start it again.
    Restart {
        /// Its name.
        nic: String,
    },
    /// A file.
    File(Name),
    /// The body is to be a file.
    StoreFile(Name),
    /// A page of the program, by its name.
    Program(&'static str),
    /// The program is to do something.
    Change(Change),
    /// A page of the program that comes in pieces.
    Pieces(Change),
}

/// What the program is to do, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// What the head has as a bearer's token, if it has one.
    ///
    /// Spec: RFC 6750, 2.1 "Authorization Request Header Field".
    pub token: Option<String>,
}

impl Change {
    /// One that nobody gave his word for yet.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), token: None }
    }
}

/// What a method and a target ask for, at a server: another one may have other pages.
pub type Routes = fn(method: &str, target: &str) -> Result<Route, Refusal>;

/// How a body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Nobody said that there is one.
    None,
    /// So many bytes.
    Known(u64),
    /// In chunks.
    Chunked,
}

/// A head, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub route: Route,
    /// How the body comes.
    pub body: BodyLength,
    /// Only the head of the answer is wanted (`HEAD`).
    pub head_only: bool,
    /// The peer speaks HTTP/1.1, so the answer may come in chunks. One of HTTP/1.0 finds its end by
    /// length or close.
    pub takes_chunks: bool,
    /// Another request may follow on the connection.
    pub keep_alive: bool,
    /// The peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// A request that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status code and its phrase.
    pub status: &'static str,
    /// One line for people.
    pub why: &'static str,
    /// Only the head of the answer is wanted (`HEAD`).
    pub head_only: bool,
}

impl Refusal {
    /// For another request than `HEAD`.
    #[must_use]
    pub const fn new(status: &'static str, why: &'static str) -> Self {
        Self { status, why, head_only: false }
    }
    const BAD: Self = Self::new("400 Bad Request", "this is not an HTTP/1.1 request");
    /// A head that does not end.
    pub(super) const TOO_LARGE: Self =
        Self::new("431 Request Header Fields Too Large", "the head is longer than 4096 bytes");
    /// A body that is not what its head says.
    pub(super) const BAD_BODY: Self = Self::new("400 Bad Request", "the body's chunks are malformed");
    /// A file without its length.
    const NO_LENGTH: Self =
        Self::new("411 Length Required", "a file comes with Content-Length, and not in chunks");
}

/// Understands `head`, if it is complete. Returns its length too.
///
/// # Errors
///
/// [`Refusal`]: answer with it and close the connection.
pub(super) fn parse(head: &[u8], routes: Routes) -> Result<Option<(Request, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let result = understand(&mut parsed, head, routes);
    result.map_err(|refusal| Refusal { head_only: parsed.method == Some("HEAD"), ..refusal })
}

fn understand<'h>(
    parsed: &mut httparse::Request<'_, 'h>,
    head: &'h [u8],
    routes: Routes,
) -> Result<Option<(Request, usize)>, Refusal> {
    let len = match parsed.parse(head) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if head.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::TOO_LARGE);
        }
        Err(_) => return Err(Refusal::BAD),
    };
    let fields = Fields::of(parsed.headers)?;
    let mut route = routes(parsed.method.unwrap_or(""), parsed.path.unwrap_or(""))?;
    if let Route::Change(change) | Route::Pieces(change) = &mut route {
        change.token = fields.token.map(String::from);
    }
    if matches!((&route, fields.body), (Route::StoreFile(_), BodyLength::None | BodyLength::Chunked)) {
        return Err(Refusal::NO_LENGTH);
    }
    let takes_chunks = parsed.version == Some(1);
    Ok(Some((
        Request {
            route,
            body: fields.body,
            head_only: parsed.method == Some("HEAD"),
            takes_chunks,
            // An older peer would have to be told that the connection stays open; it is closed
            // instead.
            keep_alive: takes_chunks && !fields.close,
            expects_continue: takes_chunks && fields.expects_continue,
        },
        len,
    )))
}

/// What the headers say.
struct Fields<'h> {
    token: Option<&'h str>,
    body: BodyLength,
    close: bool,
    expects_continue: bool,
}

impl<'h> Fields<'h> {
    fn of(headers: &[httparse::Header<'h>]) -> Result<Self, Refusal> {
        let mut fields = Self { token: None, body: BodyLength::None, close: false, expects_continue: false };
        let mut length = None;
        for header in headers {
            // Blanks of other kinds are no blanks to others.
            let value = core::str::from_utf8(header.value).unwrap_or("").trim_matches([' ', '\t']);
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let lists = |word: &str| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(word));
            if is("content-length") {
                let bytes: u64 = value.parse().map_err(|_| Refusal::BAD)?;
                // A sign is none of its digits.
                let is_signed = value.starts_with('+');
                if is_signed || length.is_some_and(|before| before != bytes) {
                    return Err(Refusal::BAD);
                }
                length = Some(bytes);
            } else if is("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err(Refusal::new(
                        "501 Not Implemented",
                        "the only transfer encoding here is chunked",
                    ));
                }
                if fields.body == BodyLength::Chunked {
                    return Err(Refusal::BAD);
                }
                fields.body = BodyLength::Chunked;
            } else if is("connection") {
                fields.close |= lists("close");
            } else if is("authorization") {
                let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
                // Two of them would be two men's words.
                if fields.token.is_some() {
                    return Err(Refusal::BAD);
                }
                fields.token = scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '));
            } else if is("expect") {
                fields.expects_continue = value.eq_ignore_ascii_case("100-continue");
            }
        }
        match (fields.body, length) {
            // Both would let two readers disagree about where the next request starts.
            (BodyLength::Chunked, Some(_)) => Err(Refusal::BAD),
            (_, Some(bytes)) => Ok(Self { body: BodyLength::Known(bytes), ..fields }),
            _ => Ok(fields),
        }
    }
}

/// `route` where the method is the `right` one; else `why` not.
///
/// # Errors
///
/// [`Refusal`].
pub fn only(right: bool, route: Route, why: &'static str) -> Result<Route, Refusal> {
    if right { Ok(route) } else { Err(Refusal::new("405 Method Not Allowed", why)) }
}

/// The pages of the images that serve HTTP for its own sake.
///
/// # Errors
///
/// [`Refusal`]: there is no such page, or it is not to be had so.
pub fn routes(method: &str, target: &str) -> Result<Route, Refusal> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_get = matches!(method, "GET" | "HEAD");
    if let Some(count) = path.strip_prefix("/bytes/") {
        let count: u64 = count
            .parse()
            .map_err(|_| Refusal::new("400 Bad Request", "/bytes/N takes a decimal number of bytes"))?;
        if count > MAX_BYTES {
            return Err(Refusal::new("413 Content Too Large", "/bytes/N gives at most 1073741824 bytes"));
        }
        let seed = query.split('&').find_map(|pair| pair.strip_prefix("seed=")).map_or(Ok(1), str::parse);
        let seed = seed.map_err(|_| Refusal::new("400 Bad Request", "seed= takes a decimal number"))?;
        return only(is_get, Route::Bytes { count, seed }, "/bytes/N is for GET");
    }
    if let Some(nic) = path.strip_prefix("/nics/").and_then(|rest| rest.strip_suffix("/restart")) {
        return only(
            method == "POST",
            Route::Restart { nic: nic.to_string() },
            "/nics/NAME/restart is for POST",
        );
    }
    if let Some(part) = path.strip_prefix("/files/") {
        let name = Name::of(part)?;
        return match method {
            "PUT" => Ok(Route::StoreFile(name)),
            _ => only(is_get, Route::File(name), "/files/NAME is for GET and PUT"),
        };
    }
    match path {
        "/" => only(is_get, Route::Page, "/ is for GET"),
        "/status.json" => only(is_get, Route::Status, "/status.json is for GET"),
        "/digest" => only(method == "POST", Route::Digest, "/digest is for POST"),
        _ => Err(Refusal::new(
            "404 Not Found",
            "there are /, /status.json, /files/NAME, /bytes/N, /digest and /nics/NAME/restart",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(head: &str) -> Result<Request, Refusal> {
        parse(head.as_bytes(), routes).map(|parsed| parsed.unwrap().0)
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nmore";
        for len in 0..head.len() - 5 {
            assert_eq!(parse(&head[..len], routes), Ok(None), "{len}");
        }
        let (request, len) = parse(head, routes).unwrap().unwrap();
        assert_eq!((request.route, len, request.keep_alive), (Route::Page, head.len() - 4, true));
    }

    #[test]
    fn connection_and_version_decide_what_follows() {
        assert!(!get("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap().keep_alive);
        let old = get("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap();
        assert_eq!((old.keep_alive, old.takes_chunks), (false, false));
        assert!(!get("GET / HTTP/1.1\r\nConnection: close\r\nConnection: TE\r\n\r\n").unwrap().keep_alive);
        let old = get("POST /digest HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
        assert!(!old.unwrap().expects_continue, "it knows no such answer");
    }

    #[test]
    fn bodies() {
        let post = |headers: &str| get(&format!("POST /digest HTTP/1.1\r\n{headers}\r\n"));
        assert_eq!(post("Content-Length: 7\r\n").unwrap().body, BodyLength::Known(7));
        assert_eq!(post("Transfer-Encoding: chunked\r\n").unwrap().body, BodyLength::Chunked);
        assert!(post("Content-Length: 7\r\nExpect: 100-continue\r\n").unwrap().expects_continue);
        assert!(
            post("Content-Length: 7\r\nTransfer-Encoding: chunked\r\n").is_err(),
            "two readers would disagree"
        );
        assert!(post("Content-Length: 7\r\nContent-Length: 8\r\n").is_err());
        for length in ["seven", "+7", "-7", "", "7 7", "0x7", "\u{a0}7", "18446744073709551616"] {
            assert!(post(&format!("Content-Length: {length}\r\n")).is_err(), "{length:?}");
        }
        // What others would not take for the word, or would take twice.
        for coding in ["\u{a0}chunked", "chunked\u{2003}", "chunked\r\nTransfer-Encoding: chunked"] {
            assert!(post(&format!("Transfer-Encoding: {coding}\r\n")).is_err(), "{coding:?}");
        }
    }

    #[test]
    fn targets() {
        let ask = |line: &str| get(&format!("{line} HTTP/1.1\r\n\r\n"));
        assert_eq!(ask("GET /bytes/1000?seed=7").unwrap().route, Route::Bytes { count: 1000, seed: 7 });
        assert_eq!(ask("GET /bytes/1073741824").unwrap().route, Route::Bytes { count: 1 << 30, seed: 1 });
        assert_eq!(ask("GET /bytes/1073741825").unwrap_err().status, "413 Content Too Large");
        assert_eq!(ask("GET /bytes/-1").unwrap_err().status, "400 Bad Request");
        assert_eq!(ask("POST /nics/admin/restart").unwrap().route, Route::Restart { nic: "admin".into() });
        assert_eq!(ask("GET /digest").unwrap_err().status, "405 Method Not Allowed");
        assert_eq!(ask("GET /nothing").unwrap_err().status, "404 Not Found");
        assert!(ask("HEAD /").unwrap().head_only);
    }

    #[test]
    fn files_are_fetched_and_stored_with_a_length() {
        let ask = |line: &str, fields: &str| get(&format!("{line} HTTP/1.1\r\n{fields}\r\n"));
        let name = Name::of("a b.txt").unwrap();
        assert_eq!(ask("GET /files/a%20b.txt?x", "").unwrap().route, Route::File(name.clone()));
        let put = ask("PUT /files/a%20b.txt", "Content-Length: 0\r\n").unwrap();
        assert_eq!((put.route, put.body), (Route::StoreFile(name), BodyLength::Known(0)));
        for fields in ["", "Transfer-Encoding: chunked\r\n"] {
            assert_eq!(ask("PUT /files/a", fields).unwrap_err().status, "411 Length Required");
        }
        assert_eq!(ask("PUT /files/..", "Content-Length: 1\r\n").unwrap_err().status, "400 Bad Request");
        assert_eq!(ask("GET /files/", "").unwrap_err().status, "400 Bad Request");
        assert_eq!(ask("GET /files/a/b", "").unwrap_err().status, "400 Bad Request");
        assert_eq!(ask("DELETE /files/a", "").unwrap_err().status, "405 Method Not Allowed");
        assert_eq!(ask("PUT /", "").unwrap_err().status, "405 Method Not Allowed");
    }

    #[test]
    fn a_head_without_end_is_refused() {
        let endless = [b'a'; MAX_HEAD_BYTES];
        assert!(parse(&endless, routes).is_err());
        let headers = "X: y\r\n".repeat(MAX_HEADERS + 1);
        assert_eq!(get(&format!("GET / HTTP/1.1\r\n{headers}\r\n")), Err(Refusal::TOO_LARGE));
    }
}
