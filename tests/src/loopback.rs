//! A balancer between hosts of ours, whose `admin` is reached by a port of the loopback interface:
//! for programs that other people wrote.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::cases::router::{MTU_BYTES, PRIVATE, PUBLIC, words};
use crate::dgram::Cable;
use crate::guest::{BOOT_LIMIT, guest_address, guest_address_v6, host_address, host_address_v6, host_mac};
use crate::host::Peer;
use crate::host::web::{BackEnds, Clients};
use crate::qemu::{Accel, Backend, Config, MEMORY_MIB, Machine, NicModel, Qemu};
use anyhow::{Context as _, Error, Result, anyhow};

const BACK_ENDS: [(&str, u16); 3] = [("one", 8001), ("two", 8002), ("three", 8003)];
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 80);
/// Requests begun together.
const AT_A_TIME: usize = 6;
const BATCH: u64 = 12;
const LIMIT: Duration = Duration::from_secs(600);
const REPORT_LINES: usize = 25;

/// What this machine's loopback interface is called on `admin`'s network.
pub const HOST: &str = "10.0.2.2";

/// Who says this may change something.
pub const TOKEN: &str = "correct-horse-battery";

/// What a page must not take for its own.
pub const MARKUP: &str = "<img/src=x/onerror=alert(1)>";

/// The words of a balancer with two services, of which one has a server that is not there.
pub fn words_right() -> Vec<String> {
    let server = |port: u16| format!("{}:{port}", host_address(PRIVATE));
    let all = BACK_ENDS.map(|(_, port)| server(port)).join(",");
    let mut all_words = words(&format!("dhcp,token={TOKEN}"), MTU_BYTES);
    all_words.push(format!("service=web,{VIP}:80,check=/,{all}"));
    all_words.push(format!("service=mail,{VIP}:25,least-connections,{}*3,{}", server(8001), server(8009)));
    all_words
}

/// The words of one whose configuration is wrong.
pub fn words_wrong() -> Vec<String> {
    vec!["admin=dhcp".into(), format!("public={MARKUP}")]
}

/// A port of the loopback interface that nobody listens on now.
///
/// # Errors
///
/// There is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

/// One that runs.
#[derive(Debug)]
pub struct Running(Qemu);

impl Running {
    /// Boots the image with `words`, its `admin` at `host_port`, and hosts of ours on both sides.
    ///
    /// # Errors
    ///
    /// It does not come up; with the end of its console.
    pub fn boot(image: &Path, host_port: u16, words: Vec<String>) -> Result<(Self, [Peer; 2])> {
        let folder = Qemu::folder()?;
        let cables = [PUBLIC, PRIVATE].map(|nic| Cable::bind(&Qemu::our_socket(&folder, nic)));
        let nics = [
            (NicModel::Vmxnet3, Backend::User { host_port }),
            (NicModel::Vmxnet3, Backend::Cable),
            (NicModel::VirtioModern, Backend::Cable),
        ];
        let config = Config {
            machine: Machine::Q35,
            accel: Accel::Tcg,
            memory_mib: MEMORY_MIB,
            nics: nics.to_vec(),
            extras: vec!["-cpu".into(), "max".into()],
            image: image.to_path_buf(),
            append: words.join(" "),
        };
        let qemu = Qemu::start(&config, folder)?;
        let deadline = qemu.start_deadline();
        let [public, private] = cables;
        let host = |cable: Result<Cable>, nic| -> Result<Peer> {
            let cable = cable?;
            cable.connect(&qemu.their_socket(nic), deadline)?;
            let host = Peer::new(cable, host_mac(nic), host_address(nic), 24)?;
            host.behind(host_address_v6(nic), guest_address(nic), guest_address_v6(nic))
        };
        let hosts = [host(public, PUBLIC)?, host(private, PRIVATE)?];
        let running = Self(qemu);
        let found = running.0.console().find_by(0, &["nic admin: address"], Instant::now() + BOOT_LIMIT);
        if found.is_none() {
            return Err(running.explain(anyhow!("admin has no address")));
        }
        Ok((running, hosts))
    }

    /// `error`, with the end of the console.
    pub fn explain(&self, error: Error) -> Error {
        anyhow!("{error:#}\n{}", self.0.report(REPORT_LINES))
    }
}

/// What clients heard.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that were answered.
    pub answered: AtomicU64,
    /// Requests that were not.
    pub failed: AtomicU64,
}

/// Does `work` while clients on one side ask back ends on the other.
pub fn with_traffic<T>([mut public, mut private]: [Peer; 2], work: impl FnOnce(&Tally) -> T) -> T {
    let (done, tally) = (AtomicBool::new(false), Tally::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            let Ok(mut back_ends) = BackEnds::new(&mut private, &BACK_ENDS) else { return };
            // What is wrong with a cable shows in figures that stand still.
            while !done.load(Ordering::Relaxed) {
                let _ = back_ends.turn(Duration::from_millis(5));
            }
        });
        scope.spawn(|| {
            let mut clients = Clients::new(&mut public);
            let (to, deadline) = (SocketAddr::new(VIP.into(), 80), Instant::now() + LIMIT);
            // Now more, now less: a line that is straight shows nothing.
            let mut pauses = [40, 10, 90, 20, 160, 60, 5, 120].into_iter().cycle();
            while !done.load(Ordering::Relaxed) {
                let _ = clients.ask(to, BATCH, AT_A_TIME, deadline, |answered| {
                    let count = if answered.by.is_ok() { &tally.answered } else { &tally.failed };
                    count.fetch_add(1, Ordering::Relaxed);
                });
                thread::sleep(Duration::from_millis(pauses.next().unwrap_or(50)));
            }
        });
        let worked = work(&tally);
        done.store(true, Ordering::Relaxed);
        worked
    })
}
