//! A balancer among programs that its operators have: `rsyslog` takes what it says, `chrony` tells
//! it the time, and Wireshark's `tshark` reads what it captured.

mod others;

use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use paravane_tests::cases::router::PRIVATE;
use paravane_tests::guest::host_address;
use paravane_tests::http::{Client, Request, Response};
use paravane_tests::loopback::{HOST, Running, TOKEN, Tally, free_port, with_traffic, words_right};
use paravane_tests::{image, tool};
use serde_json::Value;

use others::{Chrony, Rsyslog, tshark};

/// Boots a balancer under QEMU beside rsyslog and chrony, and has tshark read what it captured.
#[derive(Debug, Parser)]
#[command(name = "ci/operate", after_help = tool::QEMU_HELP)]
struct Options {}

const LIMIT: Duration = Duration::from_secs(40);
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// How far the box's clock may be from this machine's: both are busy.
const MOST_APART: Duration = Duration::from_secs(2);
const NAME: &str = "lb-1.example";
/// A message beside those of the start, which has to come out as it went in.
const CHANGE: &str = "admin: web/10.77.2.1:8002: weight 7";

fn main() -> ExitCode {
    Options::parse();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("ci/operate: {problem:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let image = image::build(image::ROUTER)?;
    let folder = tempfile::Builder::new().prefix("paravane-operate-").tempdir()?;
    let rsyslog = Rsyslog::start(folder.path())?;
    let chrony = Chrony::start(folder.path())?;
    let mut words = words_right();
    words.push(format!("syslog={HOST}:{},{NAME}", rsyslog.port));
    words.push(format!("time={HOST}:{}", chrony.port));
    let admin = Admin(free_port()?);
    let (running, hosts) = Running::boot(&image, admin.0, words)?;
    with_traffic(hosts, |tally| look(&admin, &rsyslog, folder.path(), tally))
        .map_err(|error| running.explain(error))
}

fn look(admin: &Admin, rsyslog: &Rsyslog, folder: &Path, tally: &Tally) -> Result<()> {
    let status = admin.wait(|status| status["time"]["utc"].is_string())?;
    let utc = status["time"]["utc"].as_str().context("no time")?;
    let apart = others::apart(utc, SystemTime::now())?;
    ensure!(apart < MOST_APART, "the box has {utc}, {apart:?} from this machine's time");
    println!("ok  chrony told it the time: {utc}, {} ms from this machine's", apart.as_millis());

    let set = Request::new("POST", "/services/web/servers/10.77.2.1:8002/weight?value=7").with_token(TOKEN);
    admin.ask(set, &mut Vec::new())?.expect_status(200)?;
    messages(rsyslog, status["build"].as_str().context("no build")?)?;
    captured(admin, folder, tally)?;
    lists(admin)
}

/// What rsyslog wrote to its file is what was said.
fn messages(rsyslog: &Rsyslog, build: &str) -> Result<()> {
    let messages = rsyslog.wait(|message| message["msg"] == CHANGE, LIMIT)?;
    let first = messages.first().context("no message")?;
    let origin = format!("[origin software=\"paravane\" swVersion=\"{build}\"]");
    ensure!(first["msg"] == "started" && first["structured-data"] == origin, "the first message: {first}");
    for message in &messages {
        let is_so = message["hostname"] == NAME
            && message["app-name"] == "paravane"
            && message["syslogfacility"] == "16"
            && message["protocol-version"] == "1";
        ensure!(is_so, "a message that rsyslog read otherwise: {message}");
    }
    let said = |text: &str| {
        messages.iter().any(|message| message["msg"].as_str().is_some_and(|msg| msg.starts_with(text)))
    };
    ensure!(said("Paravane "), "what was said before there was a network is missing");
    ensure!(said("nic public: "), "what was said of NICs is missing");
    let change =
        messages.iter().find(|message| message["msg"] == CHANGE).context("no message of the change")?;
    let raw = change["rawmsg"].as_str().context("no raw message")?;
    let time = raw.split(' ').nth(1).context("no time in the message")?;
    let apart = others::apart(time, SystemTime::now())?;
    ensure!(apart < LIMIT, "the message has the time {time}");
    let untimed = messages
        .iter()
        .filter(|message| message["rawmsg"].as_str().is_some_and(|raw| raw.contains(">1 - ")))
        .count();
    println!(
        "ok  rsyslog read {} messages, {untimed} of them from before the time was known; the last: {raw}",
        messages.len()
    );
    Ok(())
}

/// Wireshark reads what was captured, and nobody lost a frame by it.
fn captured(admin: &Admin, folder: &Path, tally: &Tally) -> Result<()> {
    let target = "/debug/pcap?filter=tcp+and+port+80&seconds=4&packets=5000&bytes=96";
    let refused = admin.ask(Request::new("GET", target), &mut Vec::new())?;
    refused.expect_status(401)?;
    let wrong = Request::new("GET", "/debug/pcap?filter=tcp+nad+port+80").with_token(TOKEN);
    let mut why = Vec::new();
    admin.ask(wrong, &mut why)?.expect_status(400)?;
    let why = String::from_utf8_lossy(&why).into_owned();
    ensure!(why.starts_with("filter:5: 'nad' where and, or"), "{why}");

    let before = admin.status()?;
    let (answered, failed) = (tally.answered.load(Ordering::Relaxed), tally.failed.load(Ordering::Relaxed));
    let mut file = Vec::new();
    let response = admin.ask(Request::new("GET", target).with_token(TOKEN), &mut file)?;
    response.expect_status(200)?;
    let path = folder.join("captured.pcapng");
    std::fs::write(&path, &file)?;
    let answered = tally.answered.load(Ordering::Relaxed) - answered;
    let failed = tally.failed.load(Ordering::Relaxed) - failed;
    let after = admin.status()?;

    let frames = tshark(&path, "tcp.port == 80 && ip.addr == 10.77.1.80")?;
    let all = tshark(&path, "")?;
    ensure!(
        !frames.is_empty() && frames.len() == all.len(),
        "{} of {} frames are of port 80",
        frames.len(),
        all.len()
    );
    ensure!(all.iter().all(|frame| frame.starts_with("public")), "frames of another interface: {all:?}");
    let syns = tshark(&path, "tcp.flags.syn == 1 && tcp.flags.ack == 0")?;
    ensure!(syns.len() as u64 >= answered.min(100) / 2, "{} SYNs, {answered} requests", syns.len());
    ensure!(failed == 0, "{failed} of {answered} requests failed during the capture");
    for (nic, dropped) in dropped(&before)? {
        let now =
            self::dropped(&after)?.into_iter().find(|(name, _)| *name == nic).map(|(_, dropped)| dropped);
        ensure!(now == Some(dropped), "{nic} dropped frames during the capture: {dropped}, then {now:?}");
    }
    println!(
        "ok  tshark read {} frames of {} KiB; {answered} requests meanwhile, none failed",
        all.len(),
        file.len() >> 10
    );
    Ok(())
}

/// What each NIC's queues dropped.
fn dropped(status: &Value) -> Result<Vec<(String, u64)>> {
    let nics = status["nics"].as_array().context("no NICs in the status")?;
    let one = |nic: &Value| {
        let dropped = nic["rx"]["dropped"].as_u64()? + nic["tx"]["dropped"].as_u64()?;
        Some((nic["name"].as_str()?.to_owned(), dropped))
    };
    nics.iter().map(|nic| one(nic).context("a NIC without counters")).collect()
}

/// Flows and neighbours, a line of JSON each.
fn lists(admin: &Admin) -> Result<()> {
    let flows = admin.lines("/debug/flows?service=web&port=8002")?;
    ensure!(!flows.is_empty(), "no flows");
    let server = format!("{}:8002", host_address(PRIVATE));
    let is_one = |flow: &Value| {
        flow["service"] == "web"
            && flow["protocol"] == "tcp"
            && flow["listen"] == "10.77.1.80:80"
            && flow["server"] == server.as_str()
    };
    ensure!(
        flows.iter().all(is_one),
        "a flow that was not asked for: {:?}",
        flows.iter().find(|flow| !is_one(flow))
    );
    let none = admin.lines("/debug/flows?address=192.0.2.77")?;
    ensure!(none.is_empty(), "flows of nobody: {none:?}");
    let neighbours = admin.lines("/debug/neighbours")?;
    let own = host_address(PRIVATE).to_string();
    let known = neighbours.iter().find(|one| one["address"] == own.as_str() && one["interface"] == "private");
    ensure!(known.is_some_and(|one| one["mac"].is_string()), "{own} is not among {neighbours:?}");
    println!("ok  {} flows of one server, {} neighbours", flows.len(), neighbours.len());
    Ok(())
}

/// The box on this port of the loopback interface.
struct Admin(u16);

impl Admin {
    fn ask(&self, request: Request<'_>, body: &mut Vec<u8>) -> Result<Response> {
        let stream = TcpStream::connect(("127.0.0.1", self.0))?;
        stream.set_read_timeout(Some(REQUEST_LIMIT))?;
        Client::new(stream).send(request, body)
    }

    fn get(&self, target: &str) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        self.ask(Request::new("GET", target), &mut body)?.expect_status(200)?;
        Ok(body)
    }

    fn status(&self) -> Result<Value> {
        serde_json::from_slice(&self.get("/status.json")?).context("the status is no JSON")
    }

    fn lines(&self, target: &str) -> Result<Vec<Value>> {
        let text = String::from_utf8(self.get(target)?)?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect()
    }

    /// Waits until the status is so.
    fn wait(&self, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let status = self.status()?;
            if is_so(&status) {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "in vain waited; the status: {status}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}
