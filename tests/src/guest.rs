//! A booted guest with one of our hosts at the far end of each NIC's cable.
//!
//! NIC `i` of the guest is `10.77.i.2/24`; the host on its cable is `10.77.i.1`. Everything a case
//! does with a guest goes through [`run`], so that every failure comes with the end of the console.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::console::Found;
use crate::dgram::Cable;
use crate::digest::{DigestSink, DigestSource};
use crate::host::{Connection, Peer};
use crate::http::{Body, Client, Request, Response};
use crate::noise::Noise;
use crate::qemu::{self, Accel, Backend, Config, Machine, NicModel, Qemu};
use crate::status::Status;

/// From the start of QEMU to the line `ready`, firmware included, on a busy machine.
pub const BOOT_LIMIT: Duration = Duration::from_secs(40);
/// One small request.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(15);
/// One echo request.
pub const PING_LIMIT: Duration = Duration::from_secs(5);
/// Console lines shown after a failure.
const REPORT_LINES: usize = 25;
const HTTP_PORT: u16 = 80;

/// What to boot.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Chipset.
    pub machine: Machine,
    /// What runs the guest.
    pub accel: Accel,
    /// RAM.
    pub memory_mib: u32,
    /// NICs, in PCI order.
    pub nics: Vec<NicModel>,
    /// Whether the command line has an address for each NIC.
    pub addressed: bool,
    /// Words of the command line beside the addresses.
    pub words: Vec<String>,
    /// Options of QEMU for devices that are no NICs.
    pub extras: Vec<String>,
}

impl Plan {
    /// `nics` on `machine`, under TCG, with interrupt mode `irq`.
    pub fn new(machine: Machine, nics: &[NicModel], irq: &str) -> Self {
        let words = vec![format!("irq={irq}")];
        let (accel, memory_mib) = (Accel::Tcg, qemu::MEMORY_MIB);
        Self { machine, accel, memory_mib, nics: nics.to_vec(), addressed: true, words, extras: Vec::new() }
    }

    /// The same with one more word on the command line. A later word for a NIC replaces its
    /// address.
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// The same with more options of QEMU.
    pub fn extras(mut self, extras: Vec<String>) -> Self {
        self.extras.extend(extras);
        self
    }

    fn command_line(&self) -> String {
        let is_given = |name: &str| self.words.iter().any(|word| word.starts_with(&format!("{name}=")));
        let addresses = (0..self.nics.len()).filter(|&nic| self.addressed && !is_given(&nic_name(nic)));
        let addresses = addresses.map(|nic| format!("{}={}/24", nic_name(nic), guest_address(nic)));
        addresses.chain(self.words.iter().cloned()).collect::<Vec<_>>().join(" ")
    }
}

/// The guest's name for NIC `index`.
pub fn nic_name(index: usize) -> String {
    match index {
        0 => "admin".into(),
        1 => "public".into(),
        2 => "private".into(),
        _ => format!("nic{index}"),
    }
}

/// The guest's address on NIC `index`.
pub fn guest_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, octet(index), 2)
}

/// The same of IPv6, with a prefix of 64 bits, where the guest has any.
pub fn guest_address_v6(index: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, octet(index).into(), 0, 0, 0, 2)
}

/// The address of the host on the cable of NIC `index`.
pub fn host_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, octet(index), 1)
}

/// The same of IPv6.
pub fn host_address_v6(index: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, octet(index).into(), 0, 0, 0, 1)
}

/// Its hardware address.
pub fn host_mac(index: usize) -> [u8; 6] {
    [0x02, 0, 0, 0x70, 0x76, octet(index)]
}

fn octet(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}

/// Bytes moved, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Length of the body.
    pub len_bytes: u64,
    /// From the connection's first frame to the end of the answer.
    pub took: Duration,
}

impl Transfer {
    /// MiB per second.
    pub fn mib_per_second(self) -> f64 {
        self.len_bytes as f64 / f64::from(1 << 20) / self.took.as_secs_f64()
    }
}

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    qemu: Qemu,
    peers: Vec<Peer>,
}

/// Boots `plan` from `image`, waits for the servers to listen, does `body`, and ends the guest.
///
/// # Errors
///
/// Those of `body`, or a boot that does not get that far; each with the end of the console.
pub fn run<T>(image: &Path, plan: &Plan, body: impl FnOnce(&mut Guest) -> Result<T>) -> Result<T> {
    run_to(image, plan, &["] ready"], body)
}

/// As [`run`], for a boot that is expected to end in a line with all of `words`.
///
/// # Errors
///
/// As [`run`].
pub fn run_to<T>(
    image: &Path,
    plan: &Plan,
    words: &[&str],
    body: impl FnOnce(&mut Guest) -> Result<T>,
) -> Result<T> {
    let mut guest = Guest::start(image, plan)?;
    let result = guest.wait_line(0, words, BOOT_LIMIT).context("booting").and_then(|_| body(&mut guest));
    result.map_err(|error| {
        let ended = guest.qemu.ended().map(|how| format!("    {how}\n")).unwrap_or_default();
        anyhow!("{error:#}\n{ended}{}", guest.qemu.report(REPORT_LINES))
    })
}

impl Guest {
    fn start(image: &Path, plan: &Plan) -> Result<Self> {
        let folder = Qemu::folder()?;
        // Our sockets first: QEMU drops what it cannot deliver.
        let cables = (0..plan.nics.len())
            .map(|nic| Cable::bind(&Qemu::our_socket(&folder, nic)))
            .collect::<Result<Vec<_>>>()?;
        let config = Config {
            machine: plan.machine,
            accel: plan.accel,
            memory_mib: plan.memory_mib,
            nics: plan.nics.iter().map(|&model| (model, Backend::Cable)).collect(),
            extras: plan.extras.clone(),
            image: image.to_path_buf(),
            append: plan.command_line(),
        };
        let qemu = Qemu::start(&config, folder)?;
        let deadline = qemu.start_deadline();
        let mut peers = Vec::new();
        for (nic, cable) in cables.into_iter().enumerate() {
            cable
                .connect(&qemu.their_socket(nic), deadline)
                .map_err(|error| anyhow!("{error:#}\n{}", qemu.report(REPORT_LINES)))?;
            let peer = Peer::new(cable, host_mac(nic), host_address(nic), 24)?;
            peers.push(peer.behind(host_address_v6(nic), guest_address(nic), guest_address_v6(nic))?);
        }
        Ok(Self { qemu, peers })
    }

    /// The hosts on the cables of these NICs.
    ///
    /// # Errors
    ///
    /// The plan has too few NICs.
    pub fn peers<const N: usize>(&mut self, nics: [usize; N]) -> Result<[&mut Peer; N]> {
        self.peers.get_disjoint_mut(nics).context("the plan has too few NICs")
    }

    /// The QEMU process.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// Ends QEMU at once, as `kill -9` does.
    ///
    /// # Errors
    ///
    /// It ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.qemu.kill()
    }

    /// Waits for QEMU to end by itself, and the hosts live on meanwhile. Its exit code.
    ///
    /// # Errors
    ///
    /// It still runs after `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> Result<i32> {
        let deadline = Instant::now() + limit;
        while !self.qemu.console().has_ended() && Instant::now() < deadline {
            self.idle_briefly();
        }
        self.qemu.wait_end(deadline.saturating_duration_since(Instant::now()))
    }

    /// The position that the next console line will have.
    pub fn position(&self) -> usize {
        self.qemu.console().position()
    }

    /// Waits for a console line, at or after `from`, that holds all of `words`. The hosts live on
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// No such line within `limit`, or QEMU ended.
    pub fn wait_line(&mut self, from: usize, words: &[&str], limit: Duration) -> Result<Found> {
        let deadline = Instant::now() + limit;
        loop {
            let has_ended = self.qemu.console().has_ended();
            if let Some(found) = self.qemu.console().find(from, words) {
                return Ok(found);
            }
            if has_ended {
                bail!("expected a console line with {words:?}, but the console was closed");
            }
            if Instant::now() >= deadline {
                bail!("expected a console line with {words:?}; none came within {} s", limit.as_secs_f32());
            }
            self.idle_briefly();
        }
    }

    /// Lets the hosts answer what the guest asks, for about 5 ms.
    fn idle_briefly(&mut self) {
        const SLICE: Duration = Duration::from_millis(5);
        let share = SLICE / u32::try_from(self.peers.len().max(1)).unwrap_or(1);
        let until = Instant::now() + SLICE;
        for peer in &mut self.peers {
            // That QEMU is gone is noticed on the console.
            let _ = peer.turn(share);
        }
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    /// Pings the guest over NIC `nic`.
    ///
    /// # Errors
    ///
    /// As [`Peer::ping`].
    pub fn ping(&mut self, nic: usize, seq_no: u16, payload_bytes: usize) -> Result<Duration> {
        let deadline = Instant::now() + PING_LIMIT;
        let peer = self.peer(nic)?;
        peer.ping(guest_address(nic), seq_no, payload_bytes, deadline).with_context(|| on(nic, "ping"))
    }

    /// A client on a new connection over NIC `nic`, for use within `limit`.
    ///
    /// # Errors
    ///
    /// As [`Peer::connect`].
    pub fn client(&mut self, nic: usize, limit: Duration) -> Result<Client<Connection<'_>>> {
        let to = SocketAddrV4::new(guest_address(nic), HTTP_PORT);
        let deadline = Instant::now() + limit;
        let connection = self.peer(nic)?.connect(to, deadline).with_context(|| on(nic, "connect"))?;
        Ok(Client::new(connection))
    }

    /// One request on a connection of its own, which the server has to close afterwards.
    ///
    /// # Errors
    ///
    /// As [`Client::send`], or the connection stays open.
    pub fn request(
        &mut self,
        nic: usize,
        request: Request<'_>,
        sink: &mut dyn Write,
        limit: Duration,
    ) -> Result<Response> {
        let mut client = self.client(nic, limit)?;
        let response = client.send(request, sink).with_context(|| on(nic, "HTTP"))?;
        client.expect_close().with_context(|| on(nic, "HTTP"))?;
        Ok(response)
    }

    /// `GET target`, expecting status 200.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), or another status.
    pub fn get(&mut self, nic: usize, target: &str) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        let response = self.request(nic, Request::new("GET", target), &mut body, REQUEST_LIMIT)?;
        response
            .expect_status(200)
            .with_context(|| format!("GET {target}: {:?}", String::from_utf8_lossy(&body)))?;
        Ok(body)
    }

    /// The status report, fetched over NIC `nic`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), or not a report.
    pub fn status(&mut self, nic: usize) -> Result<Status> {
        Status::parse(&self.get(nic, "/status.json")?)
    }

    /// `GET /bytes/len_bytes`: length and digest have to match the trailer.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), or a mismatch.
    pub fn download(&mut self, nic: usize, len_bytes: u64, limit: Duration) -> Result<Transfer> {
        let start = Instant::now();
        let target = format!("/bytes/{len_bytes}");
        let mut sink = DigestSink::default();
        let response = self.request(nic, Request::new("GET", &target), &mut sink, limit)?;
        let took = start.elapsed();
        check_trailer(&response, len_bytes, sink)?;
        Ok(Transfer { len_bytes, took })
    }

    /// `POST /digest` with `len_bytes` of noise: the guest has to report their length and digest.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), or a mismatch.
    pub fn upload(&mut self, nic: usize, len_bytes: u64, seed: u64, limit: Duration) -> Result<Transfer> {
        let start = Instant::now();
        let mut source = DigestSource::new(Noise::new(seed));
        let request =
            Request::new("POST", "/digest").with_body(Body::Sized { source: &mut source, len_bytes });
        let mut answer = Vec::new();
        let response = self.request(nic, request, &mut answer, limit)?;
        let took = start.elapsed();
        response.expect_status(200).context("upload")?;
        check_digest_answer(&answer, source.finish()).context("upload")?;
        Ok(Transfer { len_bytes, took })
    }

    /// `GET /bytes/len_bytes` over NIC `nic`, while its driver is restarted `restarts` times, asked
    /// for over NIC `other`: the connection and its bytes have to survive.
    ///
    /// # Errors
    ///
    /// As [`download`](Self::download), or a restart is refused.
    pub fn download_across_restarts(
        &mut self,
        nic: usize,
        other: usize,
        len_bytes: u64,
        restarts: u64,
        limit: Duration,
    ) -> Result<Transfer> {
        let start = Instant::now();
        let deadline = start + limit;
        let [peer, other_peer] =
            self.peers.get_disjoint_mut([nic, other]).context("the plan has too few NICs")?;
        let mut sink = RestartingSink {
            digest: DigestSink::default(),
            seen_bytes: 0,
            peer: other_peer,
            server: SocketAddrV4::new(guest_address(other), HTTP_PORT),
            target: format!("/nics/{}/restart", nic_name(nic)),
            step_bytes: len_bytes / (restarts + 1),
            restarts_left: restarts,
        };
        let target = format!("/bytes/{len_bytes}");
        let connection = peer.connect(SocketAddrV4::new(guest_address(nic), HTTP_PORT), deadline)?;
        let response = Client::new(connection)
            .send(Request::new("GET", &target), &mut sink)
            .with_context(|| format!("with {} of {restarts} restarts to go", sink.restarts_left))?;
        ensure!(sink.restarts_left == 0, "{} of {restarts} restarts to go at the end", sink.restarts_left);
        check_trailer(&response, len_bytes, sink.digest)?;
        Ok(Transfer { len_bytes, took: start.elapsed() })
    }

    /// Makes the guest send `count` frames over NIC `nic` to a host that takes none.
    ///
    /// # Errors
    ///
    /// As [`Peer::knock_unheard`].
    pub fn knock_unheard(&mut self, nic: usize, count: u16, limit: Duration) -> Result<()> {
        let to = SocketAddrV4::new(guest_address(nic), HTTP_PORT);
        self.peer(nic)?.knock_unheard(to, count, Instant::now() + limit).with_context(|| on(nic, "flood"))
    }

    /// Takes the link of NIC `nic` up or down.
    ///
    /// # Errors
    ///
    /// QEMU refuses.
    pub fn set_link(&mut self, nic: usize, up: bool) -> Result<()> {
        Ok(self.qemu.monitor()?.set_link(&qemu::netdev_id(nic), up)?)
    }

    fn peer(&mut self, nic: usize) -> Result<&mut Peer> {
        self.peers.get_mut(nic).with_context(|| format!("the plan has no NIC {nic}"))
    }
}

/// Takes a download in and asks for a restart each time that `step_bytes` more have come.
struct RestartingSink<'a> {
    digest: DigestSink,
    seen_bytes: u64,
    peer: &'a mut Peer,
    server: SocketAddrV4,
    target: String,
    step_bytes: u64,
    restarts_left: u64,
}

impl RestartingSink<'_> {
    fn restart(&mut self) -> Result<()> {
        let connection = self.peer.connect(self.server, Instant::now() + REQUEST_LIMIT)?;
        let response = Client::new(connection).send(Request::new("POST", &self.target), &mut io::sink())?;
        response.expect_status(202)
    }
}

impl Write for RestartingSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let steps_before = self.seen_bytes / self.step_bytes;
        self.seen_bytes += bytes.len() as u64;
        if self.restarts_left > 0 && self.seen_bytes / self.step_bytes > steps_before {
            self.restart().map_err(|error| io::Error::other(format!("{error:#}")))?;
            self.restarts_left -= 1;
        }
        self.digest.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compares what a download brought with what its trailer promises.
fn check_trailer(response: &Response, len_bytes: u64, sink: DigestSink) -> Result<()> {
    response.expect_status(200).context("download")?;
    let (seen_bytes, digest) = sink.finish();
    ensure!(seen_bytes == len_bytes, "download of {len_bytes} bytes brought {seen_bytes}");
    let promised = response.trailers.get("X-SHA256").context("download without a trailer X-SHA256")?;
    ensure!(promised == digest, "download: the trailer says {promised}, the bytes say {digest}");
    Ok(())
}

/// Compares the answer of `POST /digest` with what was sent.
///
/// # Errors
///
/// They differ, or the answer is not one.
pub fn check_digest_answer(answer: &[u8], sent: (u64, String)) -> Result<()> {
    let shown = || format!("answer {:?}", String::from_utf8_lossy(answer));
    let value: serde_json::Value = serde_json::from_slice(answer).with_context(shown)?;
    let seen = (value["length"].as_u64(), value["sha256"].as_str());
    ensure!(seen == (Some(sent.0), Some(sent.1.as_str())), "sent {sent:?}, {}", shown());
    Ok(())
}

fn on(nic: usize, what: impl Display) -> String {
    format!("{what} over NIC {}", nic_name(nic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nic_gets_an_address_unless_a_word_gives_one() {
        let plan = Plan::new(Machine::Pc, &[NicModel::Vmxnet3; 4], "msix").word("public=dhcp,mtu=9500");
        assert_eq!(
            plan.command_line(),
            "admin=10.77.0.2/24 private=10.77.2.2/24 nic3=10.77.3.2/24 irq=msix public=dhcp,mtu=9500"
        );
    }

    #[test]
    fn digest_answers_are_compared_in_full() {
        let sent = || (3, "ab".to_owned());
        check_digest_answer(br#"{"length":3,"sha256":"ab"}"#, sent()).unwrap();
        for wrong in
            [&br#"{"length":4,"sha256":"ab"}"#[..], br#"{"length":3,"sha256":"AC"}"#, br#"{}"#, b"ok"]
        {
            check_digest_answer(wrong, sent()).unwrap_err();
        }
    }
}
