//! The router at work: a host on each side, streams and pings between them, and a table of what the
//! router says of itself meanwhile.

use std::io::IsTerminal as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use paravane_tests::cases::router::{MTU_BYTES, PRIVATE, PUBLIC, words};
use paravane_tests::dgram::Cable;
use paravane_tests::guest::{
    PING_LIMIT, guest_address, guest_address_v6, host_address, host_address_v6, host_mac, nic_name,
};
use paravane_tests::host::Peer;
use paravane_tests::qemu::{Accel, Backend, Config, Qemu};
use paravane_tests::{stream, table};
use serde_json::Value;
use tempfile::TempDir;

use crate::fetch::curl;
use crate::session::Session;
use crate::{Options, config, step};

const STREAM_BYTES: u64 = 32 << 20;
const STREAM_LIMIT: Duration = Duration::from_secs(120);
const PORT: u16 = 7000;
const PINGS: u16 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const PAGE_LIMIT: Duration = Duration::from_secs(15);
/// For an address of admin.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long nobody may answer who is not to.
const SILENCE: Duration = Duration::from_secs(2);

/// Boots the router and shows it. Whether all was right.
pub(crate) fn show(options: &Options, image: &Path, accel: Accel) -> Result<bool> {
    let (mut config, host_port) = between_hosts(options, image, accel)?;
    let words = words("dhcp", MTU_BYTES).join(" ");
    config.append = format!("{} {words}", config.append);

    step(&format!("booting a router of 3 NICs on machine {}: {words}", config.machine.name()));
    let (mut session, mut hosts) = boot(&config)?;
    session.wait_ready()?;
    let admin = Admin { folder: TempDir::new()?, host_port };
    admin.wait_ready()?;
    session.show_new_lines();

    step("pings and streams between public and private, over both IP versions");
    let (done, mut follower) = (AtomicBool::new(false), Follower::default());
    let worked = thread::scope(|scope| {
        let work = scope.spawn(|| {
            let result = work(&mut hosts);
            done.store(true, Ordering::Relaxed);
            result
        });
        while !done.load(Ordering::Relaxed) {
            // What is wrong with one look shows in the last one too.
            if let Ok(status) = admin.status() {
                follower.show(&status);
            }
            thread::sleep(LOOK_AGAIN);
        }
        work.join().map_err(|_| anyhow!("a host of ours panicked"))
    })?;
    session.show_new_lines();
    let judged = worked.and_then(|lines| {
        let status = admin.status()?;
        follower.show(&status);
        lines.iter().for_each(|line| println!("    {line}"));
        check(&status, &admin)
    });
    session.close(options, &config, judged)
}

/// A machine whose `admin` is reached by a port of the host, with hosts of ours on the other sides.
pub(crate) fn between_hosts(options: &Options, image: &Path, accel: Accel) -> Result<(Config, u16)> {
    let nics = options.nics();
    ensure!(nics.len() == 3, "there are three NICs here (admin, public, private), not {}", nics.len());
    let mut config = config(options, image, accel)?;
    for (_, backend) in config.nics.iter_mut().skip(1) {
        *backend = Backend::Cable;
    }
    if accel != Accel::Kvm {
        // For random numbers; KVM has them.
        config.extras = vec!["-cpu".into(), "max".into()];
    }
    let Some((_, Backend::User { host_port })) = config.nics.first().copied() else {
        return Err(anyhow!("admin has no port"));
    };
    Ok((config, host_port))
}

/// Starts QEMU with a host of ours on each side.
pub(crate) fn boot(config: &Config) -> Result<(Session, [Peer; 2])> {
    let folder = Qemu::folder()?;
    // Our sockets first: QEMU drops what it cannot deliver.
    let cables = [PUBLIC, PRIVATE].map(|nic| Cable::bind(&Qemu::our_socket(&folder, nic)));
    let session = Session::start_in(config, folder)?;
    let deadline = session.qemu().start_deadline();
    let [public, private] = cables;
    let host = |cable: Result<Cable>, nic| -> Result<Peer> {
        let cable = cable?;
        cable.connect(&session.qemu().their_socket(nic), deadline)?;
        let host = Peer::new(cable, host_mac(nic), host_address(nic), 24)?;
        host.behind(host_address_v6(nic), guest_address(nic), guest_address_v6(nic))
    };
    let hosts = [host(public, PUBLIC)?, host(private, PRIVATE)?];
    Ok((session, hosts))
}

/// What the hosts do. What came of it, in lines.
fn work(hosts: &mut [Peer; 2]) -> Result<Vec<String>> {
    let [public, private] = hosts;
    let mut lines = vec![ping(public, private)?];
    lines.push(send(public, private, IpAddr::V4(host_address(PRIVATE)))?);
    lines.push(send(private, public, IpAddr::V6(host_address_v6(PUBLIC)))?);
    // The machine itself listens on admin alone.
    let own = SocketAddr::new(guest_address(PUBLIC).into(), 80);
    let answered = public.connect(own, Instant::now() + SILENCE).is_ok();
    ensure!(!answered, "{own} answers a host on public");
    lines.push(format!("{own} answers nobody on public"));
    Ok(lines)
}

/// Pings from one host to the other, which answers meanwhile.
fn ping(from: &mut Peer, to: &mut Peer) -> Result<String> {
    let done = AtomicBool::new(false);
    let times = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // A cable that is gone shows at the other host.
                let _ = to.turn(Duration::from_millis(5));
            }
        });
        let one = |seq_no| from.ping(host_address(PRIVATE), seq_no, 56, Instant::now() + PING_LIMIT);
        let times = (0..PINGS).map(one).collect::<Result<Vec<_>>>();
        done.store(true, Ordering::Relaxed);
        times
    })?;
    let slowest = times.iter().max().copied().unwrap_or_default();
    Ok(format!(
        "{PINGS} pings from public to private, none lost, the slowest {:.1} ms",
        slowest.as_secs_f64() * 1e3
    ))
}

/// A stream from one host to the other.
fn send(from: &mut Peer, to: &mut Peer, address: IpAddr) -> Result<String> {
    let start = Instant::now();
    stream::send(from, to, SocketAddr::new(address, PORT), STREAM_BYTES, start + STREAM_LIMIT)
        .with_context(|| format!("a stream to {address}"))?;
    let rate = STREAM_BYTES as f64 / f64::from(1 << 20) / start.elapsed().as_secs_f64();
    Ok(format!("{} MiB of TCP to {address}, all of them: {rate:.1} MiB/s", STREAM_BYTES >> 20))
}

/// The router's own pages.
pub(crate) struct Admin {
    pub(crate) folder: TempDir,
    pub(crate) host_port: u16,
}

impl Admin {
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>> {
        Ok(curl(self.folder.path(), &format!("http://127.0.0.1:{}{path}", self.host_port), PAGE_LIMIT)?.body)
    }

    pub(crate) fn status(&self) -> Result<Value> {
        serde_json::from_slice(&self.get("/status.json")?).context("the status is no JSON")
    }

    /// Waits until the router says that it is ready.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            match self.get("/readyz") {
                Ok(_) => return Ok(()),
                Err(why) if Instant::now() >= deadline => return Err(why).context("the router is not ready"),
                Err(_) => thread::sleep(LOOK_AGAIN),
            }
        }
    }
}

/// Whether the router counted what there was.
fn check(status: &Value, admin: &Admin) -> Result<()> {
    ensure!(status["ready"] == true, "the router is not ready: {}", status["troubles"]);
    let forwarded = |nic: usize| -> Result<u64> {
        let name = nic_name(nic);
        let interface = interfaces(status).find(|interface| interface["name"] == name.as_str());
        let count = interface.and_then(|interface| interface["forwarded"].as_u64());
        count.with_context(|| format!("the status says nothing of {name}"))
    };
    // Segments of a stream one way, and what acknowledges them, are far more than that.
    let least = STREAM_BYTES / 1500;
    for nic in [PUBLIC, PRIVATE] {
        let count = forwarded(nic)?;
        ensure!(count >= least, "{} passed {count} packets on, at least {least} were sent", nic_name(nic));
    }
    let metrics = String::from_utf8(admin.get("/metrics")?).context("the metrics are not UTF-8")?;
    ensure!(metrics.contains("\nparavane_ready 1\n"), "the metrics do not say that it is ready");
    Ok(())
}

pub(crate) fn interfaces(status: &Value) -> impl Iterator<Item = &Value> {
    status["interfaces"].as_array().into_iter().flatten()
}

/// Shows one table in the place of the one before.
#[derive(Default)]
pub(crate) struct Follower {
    /// Lines of the table before.
    lines: usize,
    /// What had been passed on then, by each interface, and when.
    before: Option<(Instant, Vec<u64>)>,
}

impl Follower {
    fn show(&mut self, status: &Value) {
        let now = Instant::now();
        let counts: Vec<u64> =
            interfaces(status).map(|one| one["forwarded"].as_u64().unwrap_or_default()).collect();
        let heading =
            ["interface", "link", "received", "forwarded", "a second", "errors", "dropped", "reasons"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for (index, interface) in interfaces(status).enumerate() {
            let rate = self.before.as_ref().and_then(|(at, before)| {
                let more = counts.get(index)?.checked_sub(*before.get(index)?)?;
                Some(format!("{:.0}", more as f64 / now.duration_since(*at).as_secs_f64()))
            });
            let number = |key: &str| interface[key].as_u64().unwrap_or_default().to_string();
            rows.push(vec![
                interface["name"].as_str().unwrap_or("?").into(),
                if interface["is_up"] == true { "up" } else { "down" }.into(),
                number("received"),
                number("forwarded"),
                rate.unwrap_or_default(),
                number("errors"),
                number("dropped"),
                reasons(&interface["drops"]),
            ]);
        }
        self.before = Some((now, counts));
        self.show_rows(&rows);
    }

    /// Shows a table in the place of the one before.
    pub(crate) fn show_rows(&mut self, rows: &[Vec<String>]) {
        let text = table::layout(rows);
        if std::io::stdout().is_terminal() && self.lines > 0 {
            // Up to where the last one began, and all below is cleared.
            print!("\x1b[{}A\x1b[J", self.lines);
        }
        self.lines = text.lines().count();
        print!("{text}");
    }
}

/// The reasons that there were.
pub(crate) fn reasons(drops: &Value) -> String {
    let drops = drops.as_object().into_iter().flatten();
    let seen =
        drops.filter_map(|(reason, count)| Some((reason, count.as_u64()?))).filter(|(_, count)| *count > 0);
    seen.map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasons_that_there_were_are_shown() {
        assert_eq!(reasons(&json!({"echo": 0, "group": 3, "no_route": 1})), "group 3, no_route 1");
        assert_eq!(reasons(&Value::Null), "");
    }

    #[test]
    fn a_router_that_passed_too_little_on_is_not_all_right() {
        let admin = Admin { folder: TempDir::new().unwrap(), host_port: 1 };
        let one = |name: &str, forwarded: u64| json!({"name": name, "forwarded": forwarded});
        let status = |ready: bool, count| json!({"ready": ready, "interfaces": [one("public", count), one("private", 1 << 20)]});
        for (status, wanted) in [
            (status(false, 1 << 20), "not ready"),
            (status(true, 5), "public passed 5"),
            (json!({"ready": true}), "nothing of public"),
        ] {
            let error = check(&status, &admin).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
