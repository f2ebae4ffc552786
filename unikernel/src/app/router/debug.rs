//! Pages for who looks for a fault: flows, neighbours, frames. They come in pieces, each made in a
//! turn of its own, so that packets do not wait for who reads.
//!
//! | Target | Gives | To |
//! |---|---|---|
//! | `/debug/flows?service=S&address=A&port=P` | each flow, a line of JSON | anybody on `admin` |
//! | `/debug/neighbours` | each neighbour, a line of JSON | anybody on `admin` |
//! | `/debug/pcap?interface=I&filter=F&seconds=S&packets=N&bytes=B` | frames, as pcapng | who says the token: it shows what people say |

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use log::info;
use paravane_appliance::flow::{Direction, Flow};
use paravane_appliance::path::Path;
use paravane_hal::time::Instant;
use serde::Serialize;

use super::capture::{Capture, Query};
use super::{Router, change, outside, pages};
use crate::app::http::{Change, Handle};
use crate::app::server::{Page, Piece};

/// So many of these pages at a time.
const MOST: usize = 4;
/// Places of the flows' table that are looked at in a turn, and neighbours that are shown.
const PLACES: u32 = 1024;
const NEIGHBOURS: usize = 128;

const LINES: &str = "application/x-ndjson";
const PCAPNG: &str = "application/x-pcapng";

/// A page that is being read.
#[derive(Debug)]
pub(super) struct Stream {
    handle: Handle,
    of: Of,
}

#[derive(Debug)]
enum Of {
    Flows { next: u32, wanted: Wanted },
    Neighbours { next: usize },
    Capture(Capture),
}

/// Parameters of a target, understood as far as `%` and `+` go.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads those of `query`, which have to be among `known`, each once.
    ///
    /// # Errors
    ///
    /// What is wrong, in a line.
    pub(super) fn read(query: &str, known: &[&str]) -> Result<Self, String> {
        let mut all: Vec<(String, String)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if known.is_empty() {
                return Err(format!("'{key}': this takes no parameters"));
            }
            if !known.contains(&key) {
                return Err(format!("no such parameter '{key}'; there are: {}", known.join(", ")));
            }
            if all.iter().any(|(before, _)| before == key) {
                return Err(format!("'{key}' is said twice"));
            }
            let wrong =
                || format!("'{key}': behind each '%' are two hexadecimal digits, and all of it is UTF-8");
            all.push((key.into(), decoded(value).ok_or_else(wrong)?));
        }
        Ok(Self(all))
    }

    /// What is said of `key`, if anything is.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        let said = self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
        said.filter(|value| !value.is_empty())
    }

    pub(super) fn number(&self, key: &str, least: u32, most: u32) -> Result<Option<u32>, String> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_plain && (least..=most).contains(number));
        number.map(Some).ok_or_else(|| format!("{key} is a number from {least} to {most}"))
    }
}

/// Spec: URL Standard, 5.1 "application/x-www-form-urlencoded parsing".
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut all = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        all.push(match byte {
            b'+' => b' ',
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(all).ok()
}

/// Which flows are shown.
#[derive(Clone, Debug, Default)]
struct Wanted {
    service: Option<u16>,
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl Wanted {
    fn read(router: &Router, query: &str) -> Result<Self, String> {
        let parameters = Parameters::read(query, &["service", "address", "port"])?;
        let services = || router.path.as_ref().and_then(Path::balancer).map_or(&[][..], |all| all.services());
        let service = parameters.text("service").map(|name| {
            let number = services().iter().position(|serving| serving.service().name == name);
            let number = number.and_then(|number| u16::try_from(number).ok());
            number.ok_or_else(|| format!("there is no service '{name}'"))
        });
        let address = parameters.text("address");
        let address = address.map(|text| text.parse().map_err(|_| format!("'{text}' is no address")));
        let port = parameters.number("port", 0, u16::MAX.into())?;
        Ok(Self {
            service: service.transpose()?,
            address: address.transpose()?,
            port: port.and_then(|port| u16::try_from(port).ok()),
        })
    }

    fn is(&self, flow: &Flow) -> bool {
        let [original, reply] = [Direction::Original, Direction::Reply].map(|way| flow.key(way));
        let keys = [original, reply];
        let has =
            |address: IpAddr| keys.iter().any(|key| key.source() == address || key.destination() == address);
        let uses =
            |port: u16| keys.iter().any(|key| key.source_port() == port || key.destination_port() == port);
        self.service.is_none_or(|service| flow.tag().service == service)
            && self.address.is_none_or(has)
            && self.port.is_none_or(uses)
    }
}

#[derive(Serialize)]
struct FlowLine<'a> {
    service: &'a str,
    protocol: &'static str,
    state: &'static str,
    client: String,
    listen: String,
    /// What the server sees.
    from: String,
    server: String,
    spliced: bool,
    answered: bool,
}

#[derive(Serialize)]
struct NeighbourLine<'a> {
    interface: &'a str,
    address: String,
    mac: Option<String>,
    state: &'static str,
    pinned: bool,
}

fn line(of: &impl Serialize, to: &mut Vec<u8>) {
    to.extend(serde_json::to_string(of).unwrap_or_default().into_bytes());
    to.push(b'\n');
}

/// Begins a page in pieces; its content type, too.
pub(super) fn open(
    router: &mut Router,
    asked: &Change,
    now: Instant,
) -> Result<(&'static str, Handle), Page> {
    const TEXT: &str = pages::TEXT;
    let refuse = |status, why: String| Err((status, TEXT, format!("{why}\n").into()));
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    close_left(router);
    if router.streams.len() >= MOST {
        return refuse("503 Service Unavailable", format!("{MOST} such pages are being read"));
    }
    let bad = |why: String| ("400 Bad Request", TEXT, format!("{why}\n").into());
    let (kind, of) = match path {
        "/debug/flows" => {
            let wanted = Wanted::read(router, query).map_err(bad)?;
            (LINES, Of::Flows { next: 0, wanted })
        }
        "/debug/neighbours" => {
            Parameters::read(query, &[]).map_err(bad)?;
            (LINES, Of::Neighbours { next: 0 })
        }
        _ => {
            let token = router.config.admin_token.value.as_deref();
            if let Err((status, why)) = change::is_allowed(token, asked.token.as_deref()) {
                return refuse(status, why);
            }
            if router.streams.iter().any(|stream| matches!(stream.of, Of::Capture(_))) {
                return refuse("409 Conflict", "another capture is under way".into());
            }
            let names: Vec<_> = router.interfaces.iter().map(|named| named.name.as_str()).collect();
            let query = Query::read(query, &names).map_err(bad)?;
            let offset_us = router.outside.offset_us().unwrap_or(0);
            let capture = Capture::begin(query, &names, outside::MADE_BY, offset_us, now);
            let capture =
                capture.map_err(|why| ("503 Service Unavailable", TEXT, format!("{why}\n").into()))?;
            info!("admin: frames are captured");
            (PCAPNG, Of::Capture(capture))
        }
    };
    let handle = Handle::new(0);
    router.streams.push(Stream { handle: handle.clone(), of });
    Ok((kind, handle))
}

/// The next piece of what `handle` is for.
pub(super) fn piece(router: &mut Router, handle: &Handle, now: Instant) -> Piece {
    let Some(at) = router.streams.iter().position(|stream| stream.handle.is_same(handle)) else {
        return Piece::End;
    };
    let mut stream = router.streams.swap_remove(at);
    let piece = match &mut stream.of {
        Of::Flows { next, wanted } => flows(router, next, wanted).map_or(Piece::End, Piece::Bytes),
        Of::Neighbours { next } => neighbours(router, next, now).map_or(Piece::End, Piece::Bytes),
        Of::Capture(capture) => match capture.piece(now) {
            None => Piece::End,
            Some(bytes) if bytes.is_empty() => Piece::Later,
            Some(bytes) => Piece::Bytes(bytes),
        },
    };
    if !matches!(piece, Piece::End) {
        router.streams.push(stream);
    }
    piece
}

/// Forgets what nobody reads any more.
pub(super) fn close_left(router: &mut Router) {
    router.streams.retain(|stream| !stream.handle.is_alone());
}

/// The capture that is under way.
pub(super) fn capture(streams: &mut [Stream]) -> Option<&mut Capture> {
    streams.iter_mut().find_map(|stream| match &mut stream.of {
        Of::Capture(capture) => Some(capture),
        _ => None,
    })
}

fn flows(router: &Router, next: &mut u32, wanted: &Wanted) -> Option<Vec<u8>> {
    let balancer = router.path.as_ref()?.balancer()?;
    let (flows, first) = (balancer.flows(), *next);
    if first >= flows.limits().flows {
        return None;
    }
    *next = first.saturating_add(PLACES);
    let mut lines = Vec::new();
    for flow in (first..*next).filter_map(|place| flows.get(place)).filter(|flow| wanted.is(flow)) {
        let [original, reply] = [Direction::Original, Direction::Reply].map(|way| flow.key(way));
        let service = balancer.services().get(usize::from(flow.tag().service));
        let end = |address, port| SocketAddr::new(address, port).to_string();
        let protocol = service.map_or("?", |serving| serving.service().protocol.name());
        let of = FlowLine {
            service: service.map_or("?", |serving| &serving.service().name),
            protocol,
            state: flow.state().name(),
            client: end(original.source(), original.source_port()),
            listen: end(original.destination(), original.destination_port()),
            from: end(reply.destination(), reply.destination_port()),
            server: end(reply.source(), reply.source_port()),
            spliced: flow.is_spliced(),
            answered: flow.is_proven(),
        };
        line(&of, &mut lines);
    }
    Some(lines)
}

fn neighbours(router: &Router, next: &mut usize, now: Instant) -> Option<Vec<u8>> {
    let all = router.path.as_ref()?.neighbours();
    let mut lines = Vec::new();
    let first = *next;
    *next = first.saturating_add(NEIGHBOURS);
    for neighbour in all.iter(now).skip(first).take(NEIGHBOURS) {
        let of = NeighbourLine {
            interface: router.name(neighbour.interface),
            address: neighbour.address.to_string(),
            mac: neighbour.mac.map(|mac| mac.to_string()),
            state: neighbour.state.name(),
            pinned: neighbour.is_pinned,
        };
        line(&of, &mut lines);
    }
    (!lines.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use super::super::tests::ready;
    use super::*;

    const TOKEN: &str = "correct-horse-battery";

    fn open_as(
        router: &mut Router,
        target: &str,
        token: Option<&str>,
    ) -> Result<(&'static str, Handle), Page> {
        let mut asked = Change::new("GET", target);
        asked.token = token.map(Into::into);
        open(router, &asked, Instant::default())
    }

    fn status(opened: Result<(&'static str, Handle), Page>) -> &'static str {
        opened.map_or_else(|(status, ..)| status, |_| "200 OK")
    }

    #[test]
    fn frames_are_for_who_says_the_token() {
        let mut router = ready();
        let target = "/debug/pcap?packets=1";
        assert_eq!(status(open_as(&mut router, target, Some(TOKEN))), "403 Forbidden", "nobody may");
        router.config.admin_token.value = Some(TOKEN.into());
        for token in [None, Some(""), Some("correct-horse-batterx")] {
            assert_eq!(status(open_as(&mut router, target, token)), "401 Unauthorized");
        }
        assert!(router.streams.is_empty());
        let one = open_as(&mut router, target, Some(TOKEN));
        assert!(matches!(one, Ok((PCAPNG, _))));
        assert_eq!(status(open_as(&mut router, target, Some(TOKEN))), "409 Conflict");
        drop(one);
        assert_eq!(status(open_as(&mut router, target, Some(TOKEN))), "200 OK", "who left makes room");
    }

    #[test]
    fn so_many_pages_are_read_at_a_time() {
        let mut router = ready();
        let all: Vec<_> = (0..MOST).map(|_| open_as(&mut router, "/debug/neighbours", None)).collect();
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(status(open_as(&mut router, "/debug/flows", None)), "503 Service Unavailable");
        drop(all);
        close_left(&mut router);
        assert!(router.streams.is_empty());
    }

    #[test]
    fn a_page_of_nothing_ends() {
        let mut router = ready();
        for target in ["/debug/flows?address=10.0.0.1&port=80", "/debug/neighbours"] {
            let (kind, handle) = open_as(&mut router, target, None).unwrap();
            assert_eq!(kind, LINES);
            let last = (0..3).find(|_| matches!(piece(&mut router, &handle, Instant::default()), Piece::End));
            assert!(last.is_some() && router.streams.is_empty(), "{target}");
        }
    }

    #[test]
    fn what_is_asked_wrongly_is_said() {
        let mut router = ready();
        for (target, wrong) in [
            ("/debug/flows?service=web", "there is no service 'web'\n"),
            ("/debug/flows?address=ten", "'ten' is no address\n"),
            ("/debug/flows?port=65536", "port is a number from 0 to 65535\n"),
            ("/debug/neighbours?x=1", "'x': this takes no parameters\n"),
        ] {
            let (status, _, why) = open_as(&mut router, target, None).unwrap_err();
            assert_eq!((status, &*why), ("400 Bad Request", wrong), "{target}");
        }
    }
}
