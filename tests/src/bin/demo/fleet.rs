//! Two balancers between equal routes of Linux's (ECMP), one of which is killed: the connections
//! that it had live on by the other one.

pub(crate) mod ends;
pub(crate) mod network;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use paravane_tests::fat::{self, Disk, Place};
use paravane_tests::qemu::{Accel, Backend};
use paravane_tests::tool;
use serde_json::Value;
use tempfile::TempDir;

use crate::balancer::{DISK, wait_up};
use crate::router::{Admin, Follower, interfaces, reasons};
use crate::session::Session;
use crate::{Options, config, step};
use ends::{SERVERS, Talk};
use network::{CLIENTS, Network, PRIVATE, PUBLIC, VIP, client, ends as addresses};

const BALANCERS: usize = 2;
/// Connections that stay, and as many that begin when one balancer is gone.
const TALKS: u8 = 100;
/// Of two ways, each connection has either by chance: so far from half no chance is.
const LEAST: u64 = TALKS as u64 / 5;
/// Lines that each connection has to have answered after the balancer is gone.
const LEAST_LINES: u64 = 10;
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(6);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Between two lines of a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts this program once more, in a network namespace of its own. Whether all was right there.
pub(crate) fn enter(options: &Options, image: &Path) -> Result<bool> {
    tool::find("ip").context("`ci/demo` with this option installs iproute2 as root")?;
    let mut command = tool::tied(&tool::find("unshare")?);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--"]).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    if options.image.is_none() {
        command.arg("--image").arg(image);
    }
    let status = command.args(["--role", "inside"]).status().context("cannot start unshare")?;
    Ok(status.success())
}

/// One of them.
struct Balancer {
    session: Session,
    admin: Admin,
    _disk: Disk,
}

/// What balancer `nth` reads; all of it but the addresses is the same for both.
fn paravane_toml(nth: usize) -> Result<String> {
    let device =
        |names: [&'static str; BALANCERS]| names.get(nth).copied().context("there are two balancers");
    let ([public, client_hop], [private, server_hop]) =
        (addresses(device(PUBLIC)?), addresses(device(PRIVATE)?));
    let servers = SERVERS
        .map(|(name, address)| format!("\n[[service.server]]\nname = \"{name}\"\naddress = \"{address}\"\n"));
    Ok(format!(
        "[public]\naddresses = [\"{public}/24\"]\n\n[private]\naddresses = [\"{private}/24\"]\n\n\
         [[route]]\nto = \"{CLIENTS}\"\nvia = \"{client_hop}\"\n\n\
         [[route]]\nto = \"{}\"\nvia = \"{server_hop}\"\n\n\
         [balancer]\nkey = \"000102030405060708090a0b0c0d0e0f\"\n\n\
         [[service]]\nname = \"lines\"\nlisten = \"{VIP}\"\nmode = \"dnat\"\n\
         algorithm = \"maglev\"\npick-up = true\ncheck = \"tcp\"\ninterval = \"500ms\"\n{}",
        network::SERVERS,
        servers.concat(),
    ))
}

impl Balancer {
    fn start(options: &Options, image: &Path, accel: Accel, nth: usize) -> Result<Self> {
        let mut config = config(options, image, accel)?;
        ensure!(config.nics.len() == 3, "a balancer has three NICs (admin, public, private)");
        for ((_, backend), devices) in config.nics.iter_mut().skip(1).zip([PUBLIC, PRIVATE]) {
            *backend = Backend::Tap(devices[nth]);
        }
        let Some((_, Backend::User { host_port })) = config.nics.first().copied() else {
            return Err(anyhow!("admin has no port"));
        };
        let disk = Disk::make(Place::Whole, 16, &[("paravane.toml", paravane_toml(nth)?.as_bytes())])?;
        config.extras = fat::options(&disk.path(), DISK, "");
        if accel != Accel::Kvm {
            // For random numbers; KVM has them.
            config.extras.extend(["-cpu".into(), "max".into()]);
        }
        let admin = Admin { folder: TempDir::new()?, host_port };
        Ok(Self { session: Session::start(&config)?, admin, _disk: disk })
    }
}

/// Boots them and shows it, in a network namespace that is just made. Whether all was right.
pub(crate) fn show(options: &Options, image: &Path, accel: Accel) -> Result<bool> {
    let mut network = Network::new()?;
    step("the second one's paravane.toml, on a disk; the first one's has other addresses:");
    paravane_toml(1)?.lines().for_each(|line| println!("    {line}"));
    step("booting two balancers between two network namespaces, each on links of its own");
    let start = |nth| Balancer::start(options, image, accel, nth);
    let mut fleet = (0..BALANCERS).map(start).collect::<Result<Vec<_>>>()?;
    let judged = ready(&mut fleet, &mut network).and_then(|()| work(&mut fleet));
    match judged {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("    {line}"));
            println!("all right");
            Ok(true)
        }
        Err(problem) => {
            println!("!!  {problem:#}");
            fleet.iter().for_each(|balancer| print!("{}", balancer.session.report()));
            println!("NOT all right");
            Ok(false)
        }
    }
}

/// Waits until both have found their servers.
fn ready(fleet: &mut [Balancer], network: &mut Network) -> Result<()> {
    fleet.iter_mut().try_for_each(|balancer| balancer.session.wait_ready())?;
    network.join()?;
    fleet.iter().try_for_each(|balancer| wait_up(&balancer.admin, "L4OK"))
}

/// What clients do. What came of it, in lines.
fn work(fleet: &mut [Balancer]) -> Result<Vec<String>> {
    step(&format!("{TALKS} connections to {VIP}, over each of which a line goes {PAUSE:?} after its answer"));
    let connect = |number| Talk::new(client(number), VIP);
    let mut talks = (1..=TALKS).map(connect).collect::<Result<Vec<_>>>()?;
    let mut lines = vec![format!("{TALKS} connections: {}", shares(&talks))];
    let (stop, killed) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut follower = Follower::default();
    let after = thread::scope(|scope| {
        let go_on = |talk| scope.spawn(|| go_on(talk, &stop, &killed));
        let talking: Vec<_> = talks.iter_mut().map(go_on).collect();
        let followed = follow(fleet, BEFORE, &mut follower).and_then(|()| {
            fleet.iter().try_for_each(has_its_share)?;
            step("killing the first one");
            let first = fleet.first_mut().context("there is no first one")?;
            first.session.kill()?;
            killed.store(true, Ordering::Relaxed);
            follower = Follower::default();
            follow(fleet.get(1..).unwrap_or_default(), AFTER, &mut follower)
        });
        stop.store(true, Ordering::Relaxed);
        let ended = talking.into_iter().map(|one| one.join().map_err(|_| anyhow!("a client panicked"))?);
        let ended = ended.collect::<Result<Vec<_>>>();
        followed.and(ended)
    })?;
    let least = after.iter().min().copied().unwrap_or_default();
    ensure!(least >= LEAST_LINES, "a connection had {least} lines answered after that, and then no more");
    let slowest = talks.iter().map(|talk| talk.slowest).max().unwrap_or_default();
    lines.push(format!(
        "one balancer is killed: {} of {TALKS} live on, with the servers that they had; {} lines since, the slowest in {:.1} s",
        after.len(),
        after.iter().sum::<u64>(),
        slowest.as_secs_f64(),
    ));
    let new = (1..=TALKS).map(|number| Talk::new(client(TALKS + number), VIP)).collect::<Result<Vec<_>>>()?;
    lines.push(format!("{TALKS} new ones by the other balancer: {}", shares(&new)));
    let last = fleet.last().context("there is no last one")?;
    let held = flows(&last.admin.status()?);
    ensure!(held >= 2 * u64::from(TALKS), "it has {held} flows, {} are expected", 2 * TALKS);
    Ok(lines)
}

/// Sends line after line; how many were sent and answered since one balancer was killed.
fn go_on(talk: &mut Talk, stop: &AtomicBool, killed: &AtomicBool) -> Result<u64> {
    let mut after = 0;
    while !stop.load(Ordering::Relaxed) {
        let counts = killed.load(Ordering::Relaxed);
        talk.again()?;
        after += u64::from(counts);
        thread::sleep(PAUSE);
    }
    Ok(after)
}

/// Shows a table of what these say of themselves for a while.
fn follow(fleet: &[Balancer], time: Duration, follower: &mut Follower) -> Result<()> {
    let start = Instant::now();
    loop {
        let statuses = fleet.iter().map(|balancer| balancer.admin.status()).collect::<Result<Vec<_>>>()?;
        let first = BALANCERS - statuses.len() + 1;
        follower.show_rows(&rows(first, &statuses));
        if start.elapsed() >= time {
            return Ok(());
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// A row for each, of which the first is called by that number.
fn rows(first: usize, statuses: &[Value]) -> Vec<Vec<String>> {
    let heading =
        ["balancer", "flows", "packets of clients", "packets of servers", "drops of public", "of private"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for (number, status) in (first..).zip(statuses) {
        let forwarded = |name| interface(status, name)["forwarded"].as_u64().unwrap_or_default().to_string();
        let drops = |name| reasons(&interface(status, name)["drops"]);
        rows.push(vec![
            number.to_string(),
            flows(status).to_string(),
            forwarded("public"),
            forwarded("private"),
            drops("public"),
            drops("private"),
        ]);
    }
    rows
}

fn interface<'s>(status: &'s Value, name: &str) -> &'s Value {
    interfaces(status).find(|one| one["name"] == name).unwrap_or(&Value::Null)
}

fn flows(status: &Value) -> u64 {
    status["flows"]["current"].as_u64().unwrap_or_default()
}

/// Whether it has enough of the connections, or of their halves.
fn has_its_share(balancer: &Balancer) -> Result<()> {
    let held = flows(&balancer.admin.status()?);
    ensure!(held >= LEAST, "a balancer has {held} flows, of {TALKS} connections {LEAST} are expected");
    Ok(())
}

/// How many each server has.
fn shares(talks: &[Talk]) -> String {
    let share = |(name, _): &(&str, _)| {
        format!("{} with server {name}", talks.iter().filter(|talk| talk.server == *name).count())
    };
    SERVERS.iter().map(share).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn balancers_differ_in_their_addresses_alone() {
        let [one, two] = [0, 1].map(|nth| paravane_toml(nth).unwrap());
        let differ: Vec<_> = one.lines().zip(two.lines()).filter(|(one, two)| one != two).collect();
        assert_eq!(differ.len(), 4, "two networks and two hops: {differ:?}");
        assert!(paravane_toml(2).is_err());
    }

    #[test]
    fn a_row_says_what_passed() {
        let one = |name: &str, count| json!({"name": name, "forwarded": count, "drops": {"no_flow": 1}});
        let status = json!({"flows": {"current": 7}, "interfaces": [one("public", 5), one("private", 6)]});
        let rows = rows(2, &[status, Value::Null]);
        assert_eq!(rows[1], ["2", "7", "5", "6", "no_flow 1", "no_flow 1"]);
        assert_eq!(rows[2][..4], ["3", "0", "0", "0"]);
    }
}
