//! The balancer at work: clients on `public`, two HTTP back ends on `private`, one of which is
//! killed on the way, and a table of what the balancer says of itself meanwhile.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use paravane_tests::cases::router::{PRIVATE, PUBLIC};
use paravane_tests::fat::{self, Disk, Place};
use paravane_tests::guest::{guest_address, host_address};
use paravane_tests::host::web::{Answered, BackEnds, Clients};
use paravane_tests::qemu::Accel;
use serde_json::Value;
use tempfile::TempDir;

use crate::router::{Admin, Follower, between_hosts, boot};
use crate::{Options, step};

/// What is asked in all.
const REQUESTS: u64 = 1000;
/// So many of them while both back ends live.
const BEFORE: u64 = 400;
/// So many are asked between two looks at whether the balancer knows.
const BATCH: u64 = 10;
/// Those that may be under way, and those that begin until the balancer knows: far less than all.
const MOST_IN_BETWEEN: u64 = 300;
const AT_A_TIME: usize = 8;
const LIMIT: Duration = Duration::from_secs(180);
/// For both back ends to have been asked.
const UP_LIMIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const BACK_ENDS: [(&str, u16); 2] = [("one", 8001), ("two", 8002)];
pub(crate) const DISK: &str = "virtio-blk-pci,disable-legacy=on,disable-modern=off,addr=0x10";

/// Where the service is.
const VIP: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 1, 80), 80);

/// What the balancer reads.
fn paravane_toml() -> String {
    let [one, two] = BACK_ENDS.map(|(name, port)| {
        let address = SocketAddr::new(host_address(PRIVATE).into(), port);
        format!("[[service.server]]\nname = \"{name}\"\naddress = \"{address}\"\n")
    });
    let (vip, port) = VIP;
    format!(
        "[public]\naddresses = [\"{}/24\"]\n\n[private]\naddresses = [\"{}/24\"]\n\n\
         [[service]]\nname = \"web\"\nlisten = \"{vip}:{port}\"\nmode = \"dnat\"\n\
         check = \"http\"\ninterval = \"500ms\"\nfall = 2\nfailures = 5\n\n{one}\n{two}",
        guest_address(PUBLIC),
        guest_address(PRIVATE),
    )
}

/// Boots the balancer and shows it. Whether all was right.
pub(crate) fn show(options: &Options, image: &Path, accel: Accel) -> Result<bool> {
    let toml = paravane_toml();
    step("its paravane.toml, on a disk:");
    toml.lines().for_each(|line| println!("    {line}"));
    let disk = Disk::make(Place::Whole, 16, &[("paravane.toml", toml.as_bytes())])?;
    let (mut config, host_port) = between_hosts(options, image, accel)?;
    config.extras.extend(fat::options(&disk.path(), DISK, ""));

    let models: Vec<_> = config.nics.iter().map(|(nic, _)| nic.driver()).collect();
    step(&format!("booting a balancer on machine {} with {}", config.machine.name(), models.join(", ")));
    let (mut session, [mut public, mut private]) = boot(&config)?;
    let admin = Admin { folder: TempDir::new()?, host_port };
    let (done, kill) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut follower = Follower::default();
    let mut back_ends = BackEnds::new(&mut private, &BACK_ENDS)?;
    let worked = thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&mut back_ends, &kill, &done));
        let ready = session.wait_ready().and_then(|()| wait_up(&admin, "L7OK"));
        session.show_new_lines();
        step(&format!("{REQUESTS} requests through {}:{}, {AT_A_TIME} at a time", VIP.0, VIP.1));
        let asking = scope.spawn(|| {
            let result = ready.and_then(|()| work(&mut Clients::new(&mut public), &kill, host_port));
            done.store(true, Ordering::Relaxed);
            result
        });
        while !done.load(Ordering::Relaxed) {
            // What is wrong with one look shows in the last one too.
            if let Ok(status) = admin.status() {
                follower.show_rows(&servers(&status));
            }
            thread::sleep(LOOK_AGAIN);
        }
        let joined = asking.join().map_err(|_| anyhow!("the clients panicked"))?;
        serving.join().map_err(|_| anyhow!("the back ends panicked"))??;
        joined
    });
    session.show_new_lines();
    let judged = worked.and_then(|lines| {
        let status = admin.status()?;
        follower.show_rows(&servers(&status));
        lines.iter().for_each(|line| println!("    {line}"));
        check(&status, &admin)
    });
    session.close(options, &config, judged)
}

/// Waits until the balancer has heard of both back ends that they are up: that outcome of checks.
pub(crate) fn wait_up(admin: &Admin, check: &str) -> Result<()> {
    admin.wait_ready()?;
    let deadline = Instant::now() + UP_LIMIT;
    loop {
        let status = admin.status()?;
        let services = status["services"].as_array().context("the status has no service")?;
        let mut servers = services.iter().filter_map(|service| service["servers"].as_array()).flatten();
        if servers.all(|server| server["status"] == "UP" && server["check_status"] == check) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the balancer does not find its servers up: {}",
            status["services"]
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// The back ends, until all is done; the first is killed when that is said.
fn serve(back_ends: &mut BackEnds<'_>, kill: &AtomicBool, done: &AtomicBool) -> Result<()> {
    let mut is_killed = false;
    while !done.load(Ordering::Relaxed) {
        back_ends.turn(Duration::from_millis(5)).context("the back ends' cable")?;
        if kill.load(Ordering::Relaxed) && !is_killed {
            back_ends.kill("one");
            is_killed = true;
        }
    }
    Ok(())
}

/// Who answered, how often, and how long it took.
#[derive(Default)]
struct Tally {
    by: BTreeMap<String, u64>,
    failed: Vec<String>,
    took: Vec<Duration>,
}

impl Tally {
    fn take(&mut self, answered: Answered) {
        match answered.by {
            Ok(name) => {
                *self.by.entry(name).or_default() += 1;
                self.took.push(answered.took);
            }
            Err(why) => self.failed.push(why),
        }
    }

    fn of(&self, name: &str) -> u64 {
        self.by.get(name).copied().unwrap_or(0)
    }

    fn count(&self) -> u64 {
        self.by.values().sum::<u64>() + self.failed.len() as u64
    }
}

/// What the clients do. What came of it, in lines.
fn work(clients: &mut Clients<'_>, kill: &AtomicBool, host_port: u16) -> Result<Vec<String>> {
    let deadline = Instant::now() + LIMIT;
    let to = SocketAddr::new(VIP.0.into(), VIP.1);
    let mut ask = |count| -> Result<Tally> {
        let mut tally = Tally::default();
        clients.ask(to, count, AT_A_TIME, deadline, |answered| tally.take(answered))?;
        Ok(tally)
    };
    let start = Instant::now();
    let both = ask(BEFORE)?;
    let rate = BEFORE as f64 / start.elapsed().as_secs_f64();
    ensure!(
        both.failed.is_empty(),
        "{} of {BEFORE} requests failed: {:?}",
        both.failed.len(),
        both.failed.first()
    );
    for (name, _) in BACK_ENDS {
        let share = both.of(name);
        ensure!(share >= BEFORE * 2 / 5, "{name} answered {share} of {BEFORE} requests, about half is right");
    }

    kill.store(true, Ordering::Relaxed);
    let killed = Instant::now();
    let mut between = Tally::default();
    let admin = Admin { folder: TempDir::new()?, host_port };
    while is_up(&admin.status()?, "one")? {
        let more = ask(BATCH)?;
        more.by.iter().for_each(|(name, count)| *between.by.entry(name.clone()).or_default() += count);
        between.failed.extend(more.failed);
        ensure!(between.count() < MOST_IN_BETWEEN, "the balancer does not see that a back end is dead");
    }
    let noticed = killed.elapsed();

    let rest = ask(REQUESTS - BEFORE - between.count())?;
    ensure!(
        rest.failed.is_empty(),
        "{} requests failed after the mark-down: {:?}",
        rest.failed.len(),
        rest.failed.first()
    );
    ensure!(rest.of("two") == rest.count(), "a back end that is down answered: {:?}", rest.by);
    let mut took: Vec<Duration> = [&*both.took, &*rest.took].concat();
    took.sort();
    let percentile = |percent| {
        took.get(took.len() * percent / 100).map_or(0.0, |took: &Duration| took.as_secs_f64() * 1e3)
    };
    Ok(vec![
        format!(
            "{BEFORE} requests: {} by one, {} by two; {rate:.0} a second",
            both.of("one"),
            both.of("two")
        ),
        format!(
            "one is killed; known after {:.1} s, in which {} requests met it and {} were answered",
            noticed.as_secs_f64(),
            between.failed.len(),
            between.of("one") + between.of("two")
        ),
        format!("{} requests after that: all by two, none lost", rest.count()),
        format!(
            "half of them took less than {:.1} ms, 99 % less than {:.1} ms",
            percentile(50),
            percentile(99)
        ),
    ])
}

/// The only service.
fn service(status: &Value) -> Result<&Value> {
    status["services"].get(0).context("the status has no service")
}

fn is_up(status: &Value, name: &str) -> Result<bool> {
    let servers = service(status)?["servers"].as_array().context("the service has no servers")?;
    let server = servers.iter().find(|server| server["name"] == name);
    Ok(server.with_context(|| format!("there is no server {name}"))?["status"] == "UP")
}

/// Whether the balancer counted what there was.
fn check(status: &Value, admin: &Admin) -> Result<()> {
    ensure!(status["ready"] == true, "the balancer is not ready: {}", status["troubles"]);
    let service = service(status)?;
    ensure!(service["sessions_total"] == REQUESTS, "it counted {} connections", service["sessions_total"]);
    ensure!(!is_up(status, "one")? && is_up(status, "two")?, "it does not say who is up");
    let metrics = String::from_utf8(admin.get("/metrics")?).context("the metrics are not UTF-8")?;
    let down = "\nparavane_server_up{service=\"web\",server=\"one\"} 0\n";
    ensure!(metrics.contains(down), "the metrics do not say that one is down");
    Ok(())
}

/// A row for each server.
fn servers(status: &Value) -> Vec<Vec<String>> {
    let heading = ["server", "status", "check", "sessions", "in all", "bytes in", "bytes out"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let servers = status["services"].get(0).and_then(|service| service["servers"].as_array());
    for server in servers.into_iter().flatten() {
        let text = |key: &str| match &server[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let keys = [
            "name",
            "status",
            "check_status",
            "current_sessions",
            "sessions_total",
            "bytes_in_total",
            "bytes_out_total",
        ];
        rows.push(keys.map(text).to_vec());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_balancer_that_counted_otherwise_is_not_all_right() {
        let admin = Admin { folder: TempDir::new().unwrap(), host_port: 1 };
        let server = |name: &str, status: &str| json!({"name": name, "status": status});
        let status = |ready: bool, total: u64, one: &str| {
            let servers = [server("one", one), server("two", "UP")];
            json!({"ready": ready, "services": [{"sessions_total": total, "servers": servers}]})
        };
        for (status, wanted) in [
            (status(false, REQUESTS, "DOWN"), "not ready"),
            (status(true, REQUESTS - 1, "DOWN"), "counted 999"),
            (status(true, REQUESTS, "UP"), "who is up"),
            (json!({"ready": true}), "no service"),
        ] {
            let error = check(&status, &admin).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
