//! Machines that share their addresses by VRRP, in the middle of connections: a balancer is killed,
//! and another one goes on; that one is, and keepalived does; keepalived is stopped, and a balancer
//! that was booted meanwhile does.

pub(crate) mod keepalived;
mod network;

use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use paravane_tests::fat::{self, Disk, Place};
use paravane_tests::qemu::{Accel, Backend};
use tempfile::TempDir;

use crate::balancer::{DISK, wait_up};
use crate::fleet::ends::{SERVERS, THIRD, Talk};
use crate::fleet::network::client;
use crate::namespace::Namespace;
use crate::router::Admin;
use crate::session::Session;
use crate::{Options, config, step};
use network::{
    BOTH, CLIENT_HOP, CLIENTS, KEEPALIVED, Network, PRIVATE, PRIVATE_VIP, PUBLIC, PUBLIC_VIP, SERVER_HOP,
    SINGLE, own,
};

/// The virtual routers' numbers.
const PUBLIC_ID: u8 = 7;
const PRIVATE_ID: u8 = 8;
/// How often the active machine says that it is.
const INTERVAL_MS: u16 = 250;
/// Of the balancers, in the order in which they are booted.
const PRIORITIES: [u8; 3] = [150, 100, 150];
const TALKS: u8 = 100;
/// Between two lines of a connection.
const PAUSE: Duration = Duration::from_millis(50);
/// How long connections go on before something happens.
const BEFORE: Duration = Duration::from_secs(2);
/// Lines that each connection has to have answered after that, and how long that may take: who
/// lost a segment sends it again after 0.2 s, 0.4 s, 0.8 s.
const LEAST_LINES: u64 = 10;
const AFTER_LIMIT: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const BOOT_LIMIT: Duration = Duration::from_secs(60);
const ACTIVE_LIMIT: Duration = Duration::from_secs(20);

/// One of the balancers.
struct Balancer {
    session: Session,
    admin: Admin,
    _disk: Disk,
}

/// What balancer `nth` reads.
fn paravane_toml(nth: usize) -> Result<String> {
    let priority = PRIORITIES.get(nth).context("there are three balancers")?;
    let [public, private] = own(nth);
    let vrrp = |interface: &str, id: u8, address| {
        format!(
            "[[vrrp]]\ninterface = \"{interface}\"\nid = {id}\naddresses = [\"{address}\"]\npriority = {priority}\n\
             interval = \"{INTERVAL_MS}ms\"\nsync = \"pair\"\nchecksum = \"pseudo-header\"\n\n"
        )
    };
    let service = |name: &str, listen, servers: &[(&str, SocketAddrV4)]| {
        let servers = servers.iter().map(|(name, address)| {
            format!("\n[[service.server]]\nname = \"{name}\"\naddress = \"{address}\"\n")
        });
        format!(
            "[[service]]\nname = \"{name}\"\nlisten = \"{listen}\"\nmode = \"dnat\"\nalgorithm = \"maglev\"\n\
             pick-up = true\ncheck = \"tcp\"\ninterval = \"500ms\"\n{}\n",
            servers.collect::<String>()
        )
    };
    Ok(format!(
        "[public]\naddresses = [\"{public}/24\"]\n\n[private]\naddresses = [\"{private}/24\"]\n\n\
         [[route]]\nto = \"{CLIENTS}\"\nvia = \"{CLIENT_HOP}\"\n\n\
         [[route]]\nto = \"{}\"\nvia = \"{SERVER_HOP}\"\n\n{}{}\
         [balancer]\nkey = \"000102030405060708090a0b0c0d0e0f\"\n\n{}{}",
        network::SERVERS,
        vrrp("public", PUBLIC_ID, PUBLIC_VIP),
        vrrp("private", PRIVATE_ID, PRIVATE_VIP),
        service("both", BOTH, &SERVERS),
        service("single", SINGLE, &[THIRD]),
    ))
}

impl Balancer {
    fn start(options: &Options, image: &Path, accel: Accel, nth: usize) -> Result<Self> {
        network::make_taps(nth)?;
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

    /// Waits until it has found its servers.
    fn ready(&mut self, network: &Network, nth: usize) -> Result<()> {
        self.session.wait(&["] ready"], BOOT_LIMIT)?;
        network.join(nth)?;
        wait_up(&self.admin, "L4OK")
    }

    /// Waits until it has all of what is shared.
    fn wait_active(&self) -> Result<()> {
        let deadline = Instant::now() + ACTIVE_LIMIT;
        for words in ["vrrp public", "vrrp private"] {
            let limit = deadline.saturating_duration_since(Instant::now());
            self.session.wait(&[words, ": active"], limit)?;
        }
        Ok(())
    }

    /// How it takes part, and that no other machine was active beside it.
    fn state(&self) -> Result<String> {
        let status = self.admin.status()?;
        let all = status["vrrp"].as_array().context("the status says nothing of what is shared")?;
        ensure!(all.iter().all(|one| one["state"] == all[0]["state"]), "one side moved alone: {all:?}");
        ensure!(all.iter().all(|one| one["rivals"] == 0), "two machines were active at once: {all:?}");
        Ok(all[0]["state"].as_str().unwrap_or_default().to_owned())
    }
}

/// Boots machines and shows it, in a network namespace that is just made. Whether all was right.
pub(crate) fn show(options: &Options, image: &Path, accel: Accel) -> Result<bool> {
    let network = Network::new()?;
    step("the first one's paravane.toml, on a disk; the second one's has other addresses, and priority 100:");
    paravane_toml(0)?.lines().for_each(|line| println!("    {line}"));
    let mut balancers = Vec::new();
    match work(options, image, accel, &network, &mut balancers) {
        Ok(()) => {
            println!("all right");
            Ok(true)
        }
        Err(problem) => {
            println!("!!  {problem:#}");
            for balancer in &balancers {
                print!("{}", balancer.session.report());
                if let Ok(status) = balancer.admin.status() {
                    println!("    {}\n    {}", status["vrrp"], status["services"]);
                }
            }
            println!("NOT all right");
            Ok(false)
        }
    }
}

/// What happens, step by step.
fn work(
    options: &Options,
    image: &Path,
    accel: Accel,
    network: &Network,
    balancers: &mut Vec<Balancer>,
) -> Result<()> {
    step("booting two balancers on the same two links");
    // The first one first: whoever comes later takes nothing from one that works.
    balancers.push(Balancer::start(options, image, accel, 0)?);
    balancers.iter_mut().try_for_each(|first| first.ready(network, 0).and_then(|()| first.wait_active()))?;
    balancers.push(Balancer::start(options, image, accel, 1)?);
    let [first, second] = &mut **balancers else { return Err(anyhow!("there are two balancers")) };
    second.ready(network, 1)?;
    ensure!(second.state()? == "backup", "the second one is no backup");

    step(&format!(
        "{TALKS} connections to {BOTH}, over each of which a line goes {PAUSE:?} after its answer"
    ));
    let mut talks = Talks::begin(BOTH)?;
    let line = talks.go_on(|happened| {
        step("the first balancer is killed");
        first.session.kill()?;
        happened.measure(|| second.wait_active())
    })?;
    println!("    the second one goes on: {line}");

    step(
        "keepalived becomes the other half, in a namespace, with Linux's translation for a service of one server",
    );
    let mut other = Namespace::new("keepalived")?;
    other.hear("settled")?;
    network.join_namespace(&other, KEEPALIVED)?;
    other.tell("go")?;
    other.hear("backup")?;
    let mut talks = Talks::begin(SINGLE)?;
    let line = talks.go_on(|happened| {
        ensure!(second.state()? == "active", "the second one is not active beside keepalived");
        step("the second balancer is killed");
        second.session.kill()?;
        happened.measure(|| other.hear("active"))
    })?;
    println!("    keepalived goes on: {line}");

    let mut third = Balancer::start(options, image, accel, 2)?;
    let line = talks.go_on(|happened| {
        step("a third balancer is booted, of a higher priority: it takes nothing from one that works");
        third.ready(network, 2)?;
        ensure!(third.state()? == "backup", "the third one is no backup of keepalived");
        step("keepalived is told to stop: it says so, and nobody has to miss it");
        happened.measure(|| {
            drop(other);
            third.wait_active()
        })
    })?;
    println!("    the third one goes on: {line}");
    let status = third.admin.status()?;
    balancers.push(third);
    let held = status["flows"]["current"].as_u64().unwrap_or_default();
    ensure!(
        held >= u64::from(TALKS),
        "it has {held} flows, {TALKS} at least are expected: {}",
        status["flows"]
    );
    Ok(())
}

/// Whether what is waited for has happened, and how many connections have gone on since.
#[derive(Debug, Default)]
struct Happened {
    has: AtomicBool,
    went_on: AtomicUsize,
}

impl Happened {
    /// It does now; how long until `is_over`.
    fn measure(&self, is_over: impl FnOnce() -> Result<()>) -> Result<Duration> {
        self.has.store(true, Ordering::Relaxed);
        let start = Instant::now();
        is_over()?;
        Ok(start.elapsed())
    }

    /// Waits until all connections have gone on since.
    fn wait_for_all(&self) -> Result<()> {
        let start = Instant::now();
        while self.went_on.load(Ordering::Relaxed) < usize::from(TALKS) {
            let went_on = self.went_on.load(Ordering::Relaxed);
            ensure!(
                start.elapsed() < AFTER_LIMIT,
                "{went_on} of {TALKS} connections go on, after {AFTER_LIMIT:?}"
            );
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

/// Connections that stay.
struct Talks(Vec<Talk>);

impl Talks {
    fn begin(to: SocketAddrV4) -> Result<Self> {
        Ok(Self((1..=TALKS).map(|number| Talk::new(client(number), to)).collect::<Result<_>>()?))
    }

    /// Has lines go to and fro over all of them: for a while before something happens, meanwhile,
    /// and after that. How long it took, and what became of them.
    fn go_on(&mut self, happens: impl FnOnce(&Happened) -> Result<Duration>) -> Result<String> {
        let (stop, happened) = (AtomicBool::new(false), Happened::default());
        let (took, since) = thread::scope(|scope| {
            let talk = |talk| scope.spawn(|| go_on(talk, &stop, &happened));
            let talking: Vec<_> = self.0.iter_mut().map(talk).collect();
            thread::sleep(BEFORE);
            let took = happens(&happened).and_then(|took| happened.wait_for_all().map(|()| took));
            stop.store(true, Ordering::Relaxed);
            let ended =
                talking.into_iter().map(|one| one.join().map_err(|_| anyhow!("a client panicked"))?);
            let ended = ended.collect::<Result<Vec<_>>>();
            took.and_then(|took| Ok((took, ended?)))
        })?;
        let slowest = since.iter().map(|(_, slowest)| *slowest).max().unwrap_or_default();
        Ok(format!(
            "after {:.2} s; {} of {TALKS} connections live on, with the servers that they had, {} lines since, the slowest in {:.2} s",
            took.as_secs_f64(),
            since.len(),
            since.iter().map(|(lines, _)| lines).sum::<u64>(),
            slowest.as_secs_f64(),
        ))
    }
}

/// Sends line after line; how many were answered since it happened, and how long the slowest of
/// them took.
fn go_on(talk: &mut Talk, stop: &AtomicBool, happened: &Happened) -> Result<(u64, Duration)> {
    let (mut lines, mut slowest) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        talk.again()?;
        if happened.has.load(Ordering::Relaxed) {
            (lines, slowest) = (lines + 1, slowest.max(start.elapsed()));
            if lines == LEAST_LINES {
                happened.went_on.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(PAUSE);
    }
    Ok((lines, slowest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balancers_differ_in_their_addresses_and_priority_alone() {
        let [one, two] = [0, 1].map(|nth| paravane_toml(nth).unwrap());
        let differ: Vec<_> = one.lines().zip(two.lines()).filter(|(one, two)| one != two).collect();
        assert_eq!(differ.len(), 4, "two addresses and two priorities: {differ:?}");
        assert!(paravane_toml(3).is_err());
    }
}
