//! What is fetched through one NIC, with curl as any user would, and what has to come back.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use paravane_tests::digest::DigestSink;
use paravane_tests::http::Headers;
use paravane_tests::qemu::NicModel;
use paravane_tests::status::{NicStatus, Status};
use paravane_tests::tool;
use tempfile::TempDir;

const FILE_BYTES: u64 = 8 << 20;
const PAGE_LIMIT: Duration = Duration::from_secs(15);
const FILE_LIMIT: Duration = Duration::from_secs(90);

/// One line of the table, and what is wrong with it.
pub(crate) struct Verdict {
    pub(crate) row: Vec<String>,
    pub(crate) problem: Option<String>,
}

pub(crate) fn heading() -> Vec<String> {
    let names = ["nic", "driver", "place", "interrupts", "link", "address", "page bytes", "sha-256", "MiB/s"];
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Fetches status, page and file of the NIC called `name` over `port` of the loopback interface.
pub(crate) fn through(name: &str, model: NicModel, irq: Option<&str>, port: u16) -> Verdict {
    let mut row = vec![name.to_owned()];
    let problem = fill(&mut row, name, model, irq, port).err().map(|error| format!("{error:#}"));
    if problem.is_some() {
        row.push("FAILED".into());
    }
    Verdict { row, problem }
}

/// Adds cells as they are known; stops at the first thing that is wrong.
fn fill(row: &mut Vec<String>, name: &str, model: NicModel, irq: Option<&str>, port: u16) -> Result<()> {
    let folder = TempDir::new().context("no folder for temporary files")?;
    let fetch = |path: &str, limit| curl(folder.path(), &format!("http://127.0.0.1:{port}{path}"), limit);

    let nic = Status::parse(&fetch("/status.json", PAGE_LIMIT)?.body)?.nic(name)?;
    row.extend([nic.driver.clone(), nic.place.clone(), nic.interrupts.clone()]);
    row.push(if nic.is_link_up { "up" } else { "down" }.into());
    row.push(nic.address.clone().unwrap_or_else(|| "none".into()));
    check(&nic, model, irq)?;

    let page = fetch("/", PAGE_LIMIT)?;
    row.push(page.body.len().to_string());
    let is_page = page.body.windows(5).any(|tag| tag.eq_ignore_ascii_case(b"<html"));
    ensure!(is_page, "what came as the page is not HTML");

    let file = fetch(&format!("/bytes/{FILE_BYTES}"), FILE_LIMIT)?;
    let mut sink = DigestSink::default();
    std::io::Write::write_all(&mut sink, &file.body)?;
    let (len_bytes, digest) = sink.finish();
    ensure!(len_bytes == FILE_BYTES, "{len_bytes} of {FILE_BYTES} bytes came");
    let promised = file.headers.get("X-SHA256").context("no trailer X-SHA256 behind the file")?;
    ensure!(promised == digest, "the trailer says {promised}, the bytes say {digest}");
    row.push("ok".into());
    row.push(format!("{:.1}", FILE_BYTES as f64 / f64::from(1 << 20) / file.seconds));
    Ok(())
}

fn check(nic: &NicStatus, model: NicModel, irq: Option<&str>) -> Result<()> {
    ensure!(nic.driver == model.driver(), "driver {:?}, expected {:?}", nic.driver, model.driver());
    ensure!(nic.is_link_up, "the link is down");
    ensure!(nic.address.is_some(), "no address");
    if let Some(irq) = irq {
        ensure!(nic.interrupts == irq, "interrupt mode {:?}, expected {irq:?}", nic.interrupts);
    }
    Ok(())
}

pub(crate) struct Fetched {
    /// Header and trailer fields together, as curl writes them down.
    headers: Headers,
    pub(crate) body: Vec<u8>,
    seconds: f64,
}

/// Fetches `url`, with files in `folder`.
pub(crate) fn curl(folder: &Path, url: &str, limit: Duration) -> Result<Fetched> {
    let (headers, body) = (folder.join("headers"), folder.join("body"));
    let output = Command::new(tool::find("curl")?)
        // Neither a configuration file nor a proxy of this machine has any business here.
        .args(["--disable", "--noproxy", "*", "--silent", "--show-error", "--fail", "--max-time"])
        .arg(limit.as_secs().to_string())
        .arg("--dump-header")
        .arg(&headers)
        .arg("--output")
        .arg(&body)
        .args(["--write-out", "%{time_total}"])
        .arg(url)
        .output()
        .context("cannot run curl")?;
    ensure!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr).trim());
    let seconds = String::from_utf8_lossy(&output.stdout).trim().parse().context("curl gave no time")?;
    let headers = Headers::from_lines(&fs::read_to_string(&headers).context("curl wrote no headers")?);
    // An empty body makes no file.
    let body = fs::read(&body).unwrap_or_default();
    Ok(Fetched { headers, body, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    /// Answers one connection with `answer`.
    fn serve(answer: &'static str) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        port
    }

    fn fetch(answer: &'static str) -> Result<Fetched> {
        let folder = TempDir::new().unwrap();
        curl(folder.path(), &format!("http://127.0.0.1:{}/", serve(answer)), PAGE_LIMIT)
    }

    /// The demonstration says that curl is missing; these tests then have nothing to try.
    fn is_curl_here() -> bool {
        tool::find("curl").is_ok()
    }

    #[test]
    fn curl_hands_trailers_over() {
        if !is_curl_here() {
            return;
        }
        let fetched = fetch(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-SHA256\r\n\r\n\
             2\r\nhi\r\n0\r\nX-SHA256: abc\r\n\r\n",
        )
        .unwrap();
        assert_eq!(fetched.body, b"hi");
        assert_eq!(fetched.headers.get("x-sha256"), Some("abc"));
    }

    #[test]
    fn a_refusal_is_an_error_that_names_the_address() {
        if !is_curl_here() {
            return;
        }
        let error = fetch("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").err().unwrap();
        assert!(
            error.to_string().contains("404") && error.to_string().contains("http://127.0.0.1"),
            "{error:#}"
        );
    }

    #[test]
    fn a_nic_that_does_not_answer_is_a_failed_row() {
        if !is_curl_here() {
            return;
        }
        let port = serve("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
        let verdict = through("admin", NicModel::Vmxnet3, None, port);
        assert_eq!(verdict.row, ["admin", "FAILED"]);
        assert!(verdict.problem.unwrap().contains("500"));
    }
}
