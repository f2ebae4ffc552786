//! A NIC, by its driver: does what the platform's addresses lead to be the memory that the device
//! reads and writes?
//!
//! The driver runs on the author's platform through [`Watched`], which sees where the device went
//! instead.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use paravane_hal::Platform;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_hal::time::wait_for;
use paravane_net::{
    BURST_FRAMES, Burst, Config, Control as _, Device, FrameLayout, FramePool, MacAddr, Running, RxQueue,
    TxQueue,
};
use paravane_pci::{ConfigAccess, Function};
use paravane_virtio::net as virtio_net;
use paravane_virtio::transport::pci;

use crate::clock;
use crate::finding::Finding;
use crate::raw::watched::Watched;
use crate::registers::{self, Kind};
use crate::report::{Check, Report, Verdict};
use crate::settings::{ArpPeer, Settings};

/// The checks made here, in order.
const CHECKS: [Check; 5] =
    [Check::PoolSize, Check::NicStart, Check::NicSend, Check::NicReceive, Check::NicStop];
/// A standard frame and headroom.
const BUFFER_BYTES: u16 = 2048;
/// Structures that a device reads are no longer.
const STRUCTURE_BYTES: usize = 4096;

/// How many frames a pool should have for one NIC: both rings full, a burst just received and not
/// yet answered, and one not yet sent.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a burst is short")]
pub const fn frames_wanted(rx_entries: u16, tx_entries: u16) -> u32 {
    rx_entries as u32 + tx_entries as u32 + 2 * BURST_FRAMES as u32
}

/// Checks registers and memory over the NIC behind `function`: whether its registers answer as they
/// should, whether it reads what is stored in DMA memory, and whether what it writes arrives.
/// Without interrupts. The NIC is stopped afterwards, and may be claimed again.
///
/// Memory and clock have to be in order: run [`check_platform`](crate::check_platform) first.
pub fn check_nic<P, C>(platform: &P, mut function: Function<C>, settings: &Settings<'_>) -> Report
where
    P: Platform + 'static,
    C: ConfigAccess + Send,
{
    let mut report = Report::default();
    let Some(kind) = Kind::of(&function) else {
        let why = registers::no_driver(&function);
        report.add(Check::Registers, Verdict::NotRun(why));
        return report;
    };
    // Drivers wait by the clock; one that stands still would have them wait for ever.
    (settings.before)(Check::Clock);
    let moves = clock::movement(platform, settings.clock_looks);
    let is_moving = moves.is_ok();
    report.judge(Check::Clock, moves);
    if !is_moving {
        skip(&mut report, &CHECKS, "drivers wait by the clock");
        return report;
    }
    if !registers::run(platform, &mut function, kind, settings, &mut report) {
        skip(&mut report, &CHECKS, "registers come first");
        return report;
    }
    match kind {
        Kind::Virtio => {
            // Without commands, which the device would read before the first frame: a fault of the
            // platform then shows where it is looked for.
            let class = virtio_net::NetFeatures::all().difference(virtio_net::NetFeatures::CTRL_VQ);
            let allowed = virtio_net::Allowed::default().with_class(class);
            let config = |config| virtio_net::Config::from(config).with_allowed(allowed);
            let driver = Driver { config: &config, reads_at_start: false, is_refusal: |_| false };
            let open = |platform| {
                pci::open(function, platform, virtio_net::Device::new).map_err(|failed| failed.to_string())
            };
            live(platform, open, &driver, settings, &mut report);
        }
        Kind::Vmxnet3 => {
            let is_refusal = |error: &_| matches!(error, paravane_vmxnet3::StartError::Refused { .. });
            let driver = Driver { config: &Into::into, reads_at_start: true, is_refusal };
            let open = |platform| {
                paravane_vmxnet3::Device::new(function, platform).map_err(|failed| failed.to_string())
            };
            live(platform, open, &driver, settings, &mut report);
        }
    }
    report
}

fn skip(report: &mut Report, checks: &[Check], why: &str) {
    for check in checks {
        report.add(*check, Verdict::NotRun(why.into()));
    }
}

/// What differs between the drivers, as far as it matters here.
struct Driver<'d, D: Device> {
    /// Its own configuration.
    config: &'d dyn Fn(Config) -> D::Config,
    /// Whether a device that runs has read what was stored for it.
    reads_at_start: bool,
    /// Whether it was the device that did not want to start: it was told where its structures are.
    is_refusal: fn(&D::StartError) -> bool,
}

/// What is known while the NIC is up.
struct Bench<'s, P> {
    watched: Watched<P>,
    settings: &'s Settings<'s>,
    was_read: bool,
}

/// The life of the NIC that `open` takes over.
fn live<P: Platform + 'static, D: Device>(
    platform: &P,
    open: impl FnOnce(Watched<P>) -> Result<D, String>,
    driver: &Driver<'_, D>,
    settings: &Settings<'_>,
    report: &mut Report,
) {
    let bench = Bench { watched: Watched::new(platform.clone()), settings, was_read: driver.reads_at_start };
    (settings.before)(Check::PoolSize);
    let Some(pool) = make_pool(&bench, report) else { return };
    (settings.before)(Check::NicStart);
    let entries = settings.ring_entries;
    let config = Config::default().with_tx_entries(entries).with_rx_entries(entries);
    let running = open(bench.watched.clone())
        .map_err(|reason| bench.refused("take the device over", reason, false))
        .and_then(|stopped| {
            stopped.start(&(driver.config)(config), pool.clone(), Interrupts::POLLING).map_err(|failed| {
                let by_device = (driver.is_refusal)(failed.error());
                bench.refused("start the device", failed.to_string(), by_device)
            })
        });
    let Running { mut control, mut rx, mut tx } = match running {
        Ok(running) => running,
        Err(finding) => {
            report.add(Check::NicStart, Verdict::Failed(finding));
            return skip(
                report,
                &[Check::NicSend, Check::NicReceive, Check::NicStop],
                "the NIC did not start",
            );
        }
    };
    report.judge(Check::NicStart, bench.strayed("starting the device"));

    (settings.before)(Check::NicSend);
    let mac = control.info().mac;
    let sent = bench.send(&mut rx, &mut tx, &pool, &question(mac, settings.peer));
    let has_sent = sent.is_ok();
    report.judge(Check::NicSend, sent);

    (settings.before)(Check::NicReceive);
    let verdict = match settings.peer {
        _ if !has_sent => Verdict::NotRun("sending comes first".into()),
        None => Verdict::NotOffered("no station was named that answers ARP"),
        Some(peer) => match bench.receive(&mut rx, &mut tx, &pool, mac, peer) {
            Err(Finding::NoAnswer { waited, .. }) => {
                let _ = control.poll();
                Verdict::Failed(Finding::NoAnswer { waited, link_up: control.link().is_up() })
            }
            Err(finding) => Verdict::Failed(finding),
            Ok(()) => Verdict::Passed,
        },
    };
    report.add(Check::NicReceive, verdict);

    (settings.before)(Check::NicStop);
    let stopped = D::stop(Running { control, rx, tx })
        .map_err(|failed| bench.refused("stop the device", failed.to_string(), false));
    let missing = pool.buffers().saturating_sub(pool.free());
    let home = if missing == 0 { Ok(()) } else { Err(Finding::NotHome { missing, frames: pool.buffers() }) };
    report.judge(Check::NicStop, stopped.map(drop).and(home));
}

/// The pool that the author means to use, if it is one to begin with.
fn make_pool<P>(bench: &Bench<'_, P>, report: &mut Report) -> Option<FramePool>
where
    P: Platform + 'static,
{
    let wanted = bench.frames_wanted();
    let frames = bench.settings.pool_frames.unwrap_or(wanted);
    let finding = match FramePool::new(
        bench.watched.clone(),
        FrameLayout::new(frames.max(1)).with_buffer_bytes(BUFFER_BYTES),
    ) {
        Ok(pool) if frames >= wanted => {
            report.add(Check::PoolSize, Verdict::Passed);
            return Some(pool);
        }
        Ok(_) => Finding::PoolTooSmall { has: frames, wanted, ring_entries: bench.settings.ring_entries },
        Err(error) => Finding::PoolMemory { frames, error },
    };
    report.add(Check::PoolSize, Verdict::Failed(finding));
    skip(
        report,
        &[Check::NicStart, Check::NicSend, Check::NicReceive, Check::NicStop],
        "the pool comes first",
    );
    None
}

impl<P: Platform + 'static> Bench<'_, P> {
    fn frames_wanted(&self) -> u32 {
        frames_wanted(self.settings.ring_entries, self.settings.ring_entries)
    }

    /// What a driver's error says about the platform. By the device: it was told where its
    /// structures are, and does not want them.
    fn refused(&self, step: &'static str, reason: String, by_device: bool) -> Finding {
        if let Err(finding) = self.strayed(step) {
            return finding;
        }
        if by_device && let (Some(place), _) = self.watched.first(STRUCTURE_BYTES) {
            return Finding::NotRead { place, reason };
        }
        let hint = "registers answered as they should, so look at what the message names";
        Finding::Driver { step, reason, hint }
    }

    /// Whether the device was seen to write somewhere else.
    fn strayed(&self, step: &'static str) -> Result<(), Finding> {
        match self.watched.stray() {
            Some((place, by_bytes)) => Err(Finding::Elsewhere { place, by_bytes, step }),
            None => Ok(()),
        }
    }

    /// Sends a frame and waits until the device says that it did.
    fn send(
        &self,
        rx: &mut impl RxQueue,
        tx: &mut impl TxQueue,
        pool: &FramePool,
        bytes: &[u8],
    ) -> Result<(), Finding> {
        let wait = self.settings.wait;
        self.put(tx, pool, bytes)?;
        let mut fault = None;
        let mut completed = |wait: Duration, rx: &mut dyn RxQueue, tx: &mut dyn TxQueue| {
            wait_for(&self.watched, wait, || {
                (self.settings.turn)();
                let moved = tx.reclaim().and_then(|_| rx.receive(&mut Burst::new()));
                fault = moved.err();
                (fault.is_some() || tx.counters().completed > 0).then_some(())
            })
            .is_ok()
        };
        let at_once = completed(wait, rx, tx);
        let later = at_once || {
            tx.remind();
            completed(wait, rx, tx)
        };
        match (fault, at_once, later) {
            (Some(fault), ..) => Err(self.broken(fault)),
            (None, true, _) => Ok(()),
            (None, false, true) => Err(Finding::DoorbellLost { waited: wait }),
            (None, false, false) => Err(self.silence(wait.saturating_mul(2))),
        }
    }

    fn put(&self, tx: &mut impl TxQueue, pool: &FramePool, bytes: &[u8]) -> Result<(), Finding> {
        let none = || Finding::PoolTooSmall {
            has: u32::try_from(pool.buffers()).unwrap_or(u32::MAX),
            wanted: self.frames_wanted(),
            ring_entries: self.settings.ring_entries,
        };
        let mut frame = pool.get().ok_or_else(none)?;
        let mut burst = Burst::new();
        // A fresh frame holds sixty bytes, and a fresh burst a frame.
        let _ = frame.append(bytes);
        burst.push(frame);
        tx.transmit(&mut burst).map_err(|fault| self.broken(fault))?;
        tx.flush();
        Ok(())
    }

    fn broken(&self, fault: DeviceFault) -> Finding {
        match self.strayed("sending a frame") {
            Err(finding) => finding,
            Ok(()) => Finding::Broken { fault: fault.to_string() },
        }
    }

    /// Registers answer, and nothing comes.
    fn silence(&self, waited: Duration) -> Finding {
        if let Err(finding) = self.strayed("sending a frame") {
            return finding;
        }
        match self.watched.first(STRUCTURE_BYTES) {
            (Some(place), regions) => Finding::NoWrites { place, regions, was_read: self.was_read, waited },
            (None, _) => Finding::Driver {
                step: "see a frame sent",
                reason: format!("nothing in {waited:?}"),
                hint: "and it asked the platform for no memory",
            },
        }
    }

    /// Asks for the peer until it answers.
    fn receive(
        &self,
        rx: &mut impl RxQueue,
        tx: &mut impl TxQueue,
        pool: &FramePool,
        mac: MacAddr,
        peer: ArpPeer,
    ) -> Result<(), Finding> {
        self.put(tx, pool, &question(mac, Some(peer)))?;
        let mut burst = Burst::new();
        let mut ended = None;
        let waited = wait_for(&self.watched, self.settings.wait, || {
            (self.settings.turn)();
            if let Err(fault) = rx.receive(&mut burst).and_then(|_| tx.reclaim()) {
                ended = Some(Err(self.broken(fault)));
            }
            while let Some(frame) = burst.pop() {
                let mut bytes = vec![0; frame.total_bytes()];
                let _ = frame.copy_out(&mut bytes);
                ended = ended.take().or_else(|| judge(&bytes, mac, peer));
            }
            ended.is_some().then_some(())
        });
        match (ended, waited) {
            (Some(end), _) => end,
            (None, _) => {
                self.strayed("receiving a frame")?;
                Err(Finding::NoAnswer { waited: self.settings.wait, link_up: false })
            }
        }
    }
}

/// Where in an ARP frame everything is.
///
/// Spec: RFC 826.
const ETHERTYPE: usize = 12;
const OPERATION: usize = 20;
const SENDER_IP: usize = 28;
const TARGET_MAC: usize = 32;
const TARGET_IP: usize = 38;
const END: usize = 42;
/// ARP over Ethernet, for IPv4: EtherType, kinds and lengths of both addresses.
const ARP: [u8; 8] = [0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4];

/// A broadcast question, who has the peer's address. Without a peer, for an address that no station
/// has.
fn question(mac: MacAddr, peer: Option<ArpPeer>) -> Vec<u8> {
    let ArpPeer { own, peer } = peer.unwrap_or(ArpPeer { own: [0; 4], peer: [192, 0, 2, 1] });
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&ARP);
    frame.extend_from_slice(&[0, 1]);
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&own);
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&peer);
    // The shortest frame on a wire.
    frame.resize(60, 0);
    frame
}

/// Whether `frame` is the peer's answer, byte for byte, or nothing that may arrive at all. `None`
/// for what others said.
fn judge(frame: &[u8], mac: MacAddr, peer: ArpPeer) -> Option<Result<(), Finding>> {
    let frame_bytes = frame.len();
    let Some(header) = frame.get(..END) else {
        // Nothing shorter is on a wire, and no frame of others is to be judged by its contents.
        return None;
    };
    // A frame of zeros alone was reported and not written.
    if header.iter().all(|byte| *byte == 0) {
        return Some(Err(Finding::WrongBytes { at: ETHERTYPE, expected: 0x08, seen: 0, frame_bytes }));
    }
    let is_arp = header.get(ETHERTYPE..OPERATION) == Some(&ARP)
        && header.get(SENDER_IP..TARGET_MAC) == Some(&peer.peer);
    if !is_arp || header.get(OPERATION..OPERATION + 2) != Some(&[0, 2]) {
        return None;
    }
    let expected = mac.0.iter().chain(&peer.own);
    let seen = header.get(TARGET_MAC..TARGET_IP + 4).unwrap_or(&[]);
    let wrong = expected.zip(seen).enumerate().find(|(_, (expected, seen))| expected != seen);
    Some(match wrong {
        None => Ok(()),
        Some((at, (expected, seen))) => Err(Finding::WrongBytes {
            at: TARGET_MAC.saturating_add(at),
            expected: *expected,
            seen: *seen,
            frame_bytes,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
    const PEER: ArpPeer = ArpPeer::QEMU_USER;

    /// What a station answers.
    fn answer() -> Vec<u8> {
        let mut frame = question(MAC, Some(PEER));
        frame[OPERATION + 1] = 2;
        frame[SENDER_IP..TARGET_MAC].copy_from_slice(&PEER.peer);
        frame[TARGET_MAC..TARGET_IP].copy_from_slice(&MAC.0);
        frame[TARGET_IP..END].copy_from_slice(&PEER.own);
        frame
    }

    #[test]
    fn the_answer_is_known_among_what_others_say() {
        assert_eq!(judge(&answer(), MAC, PEER), Some(Ok(())));
        assert_eq!(judge(&question(MAC, Some(PEER)), MAC, PEER), None, "a question");
        assert_eq!(judge(&[1; 14], MAC, PEER), None);
        assert_eq!(judge(&[1; 60], MAC, PEER), None);
    }

    #[test]
    fn a_frame_that_was_reported_and_not_written_is_no_frame() {
        let zeros = judge(&[0; 60], MAC, PEER);
        assert!(matches!(zeros, Some(Err(Finding::WrongBytes { .. }))));
        let mut spoiled = answer();
        spoiled[TARGET_IP] = 0;
        let finding = Finding::WrongBytes { at: TARGET_IP, expected: 10, seen: 0, frame_bytes: 60 };
        assert_eq!(judge(&spoiled, MAC, PEER), Some(Err(finding)));
    }
}
