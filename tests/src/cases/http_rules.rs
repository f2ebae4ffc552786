//! What the server owes any client, whatever the NIC: message framing, refusals, connections that
//! stay open.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::digest::{DigestSink, DigestSource};
use crate::guest::{self, Guest, Plan, REQUEST_LIMIT, check_digest_answer};
use crate::http::{Body, Request};
use crate::noise::Noise;
use crate::qemu::{Machine, NicModel};
use crate::runner::{Case, Subject};

const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, body: fn(&mut Guest) -> Result<String>| {
        Case::new(name, move |subject: Subject<'_>| {
            guest::run(subject.image, &Plan::new(Machine::Pc, &[NicModel::Vmxnet3], "auto"), body)
        })
    };
    vec![
        case("http/keep-alive", keep_alive),
        case("http/bodies", bodies),
        case("http/refusals", refusals),
        case("http/bytes", bytes),
    ]
}

fn keep_alive(guest: &mut Guest) -> Result<String> {
    const REQUESTS: usize = 50;
    let mut client = guest.client(0, LIMIT)?;
    for number in 0..REQUESTS {
        let request = Request::new("GET", "/status.json").keeping_alive();
        let response = client.send(request, &mut io::sink()).with_context(|| format!("request {number}"))?;
        response.expect_status(200)?;
        // A body that is not read to its end would be taken for the next request.
        let mut source = Noise::new(number as u64);
        let body = Body::Sized { source: &mut source, len_bytes: 5000 };
        let request = Request::new("POST", "/digest").with_body(body).keeping_alive();
        client.send(request, &mut io::sink())?.expect_status(200)?;
    }
    client.send(Request::new("GET", "/"), &mut io::sink())?.expect_status(200)?;
    client.expect_close()?;
    Ok(format!("{} requests on one connection", 2 * REQUESTS + 1))
}

/// Lengths around segments, buffers and nothing at all; both framings; with and without `Expect`.
fn bodies(guest: &mut Guest) -> Result<String> {
    let mut count = 0;
    for len_bytes in [0, 1, 1459, 1460, 1461, 65_535, 65_536, 1_000_003] {
        for (is_chunked, expects) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut source = DigestSource::new(Noise::new(len_bytes));
            let body = if is_chunked {
                Body::Chunked { source: &mut source, len_bytes }
            } else {
                Body::Sized { source: &mut source, len_bytes }
            };
            let mut request = Request::new("POST", "/digest").with_body(body);
            // A server need not ask for a body of no bytes to be sent.
            if expects && len_bytes > 0 {
                request = request.expecting_continue();
            }
            let what = || format!("{len_bytes} bytes, chunked {is_chunked}, Expect {expects}");
            let mut answer = Vec::new();
            let response = guest.request(0, request, &mut answer, LIMIT).with_context(what)?;
            response.expect_status(200).with_context(what)?;
            check_digest_answer(&answer, source.finish()).with_context(what)?;
            count += 1;
        }
    }
    Ok(format!("{count} bodies"))
}

fn refusals(guest: &mut Guest) -> Result<String> {
    // A number that fits no integer may count as malformed or as too large; likewise a target that
    // is no path.
    let wrong: [(&str, &str, &[u16]); 11] = [
        ("GET", "/no-such-page", &[404]),
        ("GET", "/bytes/", &[400]),
        ("GET", "/bytes/many", &[400]),
        ("GET", "/bytes/-1", &[400]),
        ("GET", "/bytes/1073741825", &[413]),
        ("GET", "/bytes/99999999999999999999999999", &[400, 413]),
        ("DELETE", "/", &[405]),
        ("GET", "/digest", &[405]),
        ("GET", "/nics/admin/restart", &[405]),
        ("POST", "/nics/no-such-nic/restart", &[404]),
        ("GET", "nonsense", &[400, 404]),
    ];
    for (method, target, wanted) in wrong {
        let what = || format!("{method} {target}");
        let mut body = Vec::new();
        let response = guest.request(0, Request::new(method, target), &mut body, REQUEST_LIMIT)?;
        let seen = response.status;
        ensure!(wanted.contains(&seen), "{}: expected one of {wanted:?}, got {seen}", what());
        let text = String::from_utf8(body).with_context(what)?;
        let lines = text.lines().count();
        ensure!(lines == 1, "{}: a refusal is one line of text, got {lines}: {text:?}", what());
    }
    guest.get(0, "/").context("after the refusals")?;
    Ok(format!("{} requests refused", wrong.len()))
}

fn bytes(guest: &mut Guest) -> Result<String> {
    for len_bytes in [0, 1, 1460, 65_537, 3_000_000] {
        guest.download(0, len_bytes, LIMIT)?;
    }
    let mut digest = |target: &str| -> Result<String> {
        let mut sink = DigestSink::default();
        guest.request(0, Request::new("GET", target), &mut sink, LIMIT)?.expect_status(200)?;
        Ok(sink.finish().1)
    };
    let (first, again) = (digest("/bytes/100000?seed=1")?, digest("/bytes/100000?seed=1")?);
    let other = digest("/bytes/100000?seed=2")?;
    ensure!(first == again, "one seed gave two streams: {first} and {again}");
    ensure!(first != other, "two seeds gave one stream: {first}");
    Ok("lengths and seeds".into())
}
