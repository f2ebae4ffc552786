//! The driver suite between QEMU and a recording: [`record`] runs it on QEMU's device and writes
//! down what passes, [`replay`] runs it on what was written.
//!
//! A recording has one order of events, a machine has not. So the recorded other end of the cable
//! moves when the device is at rest: all frames that the device has to send are taken, then all are
//! answered, then the device comes to rest again. What the driver finds at its next look is then
//! the same each time.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use paravane_hal::irq::MsiMessage;
use paravane_mock_hal::record::{RecordedConfig, Recorder, Recording, ReplayConfig, Replayer};
use paravane_net::MacAddr;
use paravane_pci::PciAddress;
use paravane_qtest_hal::{Chipset, Config, Machine, Mailbox, Qtest, Setup};
use paravane_suite::{Environment, peer};

use crate::scenario::fixture::{message_line, messages_of};

/// Recordings of the suite: the fixture's name, the chipset, QEMU's name of the device.
pub const FIXTURES: [(&str, Chipset, &str); 4] = [
    ("suite-vmxnet3", Chipset::Q35, "vmxnet3"),
    ("suite-virtio-net-modern", Chipset::Q35, "virtio-net-pci,disable-legacy=on,disable-modern=off"),
    (
        "suite-virtio-net-packed",
        Chipset::Q35,
        "virtio-net-pci,disable-legacy=on,disable-modern=off,packed=on",
    ),
    ("suite-virtio-net-transitional", Chipset::Pc, "virtio-net-pci,disable-legacy=off,disable-modern=off"),
];

/// How many messages drivers are offered.
const VECTORS: usize = 3;
/// How far looks at the device's memory are apart while it comes to rest: seldom, so that what it
/// does in one go is seen in one look.
const LOOK: Duration = Duration::from_millis(2);
/// A device that did nothing between so many looks is at rest.
const QUIET_LOOKS: u32 = 2;
/// A device that is never at rest is given up.
const REST_LIMIT: Duration = Duration::from_secs(10);

/// Runs the suite on QEMU's `device` and writes it down.
///
/// # Errors
///
/// QEMU is not there or stops answering, or a test does not pass.
pub fn record(chipset: Chipset, device: &str, command: &str, date: &str) -> Result<Recording> {
    let machine = Machine::start(&Setup::new(chipset).nic(device))?;
    let address = machine.nic_address(0).context("the machine has no NIC")?;
    let recorder = Recorder::new(machine.platform().clone());
    let config = recorder.config(machine.config().clone());
    let mailboxes = (0..VECTORS).map(|index| machine.platform().mailbox(index).context("no mailbox"));
    let mailboxes = mailboxes.collect::<Result<Vec<_>>>()?;
    let messages: Vec<_> = mailboxes.iter().map(|mailbox| message_line(mailbox.message())).collect();
    let mut stage = Recorded { machine, recorder, config, mailboxes, failure: None };
    let passed = paravane_suite::run(&mut stage, address);
    stage.machine.check()?;
    stage.failure.map_or(Ok(()), Err)?;
    let tests = passed?.to_string();
    let version = Machine::qemu_version()?;
    let (mac, address) = (MacAddr(Setup::mac(0)).to_string(), address.to_string());
    let mut provenance = vec![
        ("device", device),
        ("qemu", &version),
        ("command-line", stage.machine.command_line()),
        ("date", date),
        ("made-by", command),
        ("mac", &mac),
        ("address", &address),
        ("tests", &tests),
    ];
    provenance.extend(messages.iter().map(|message| ("message", message.as_str())));
    Ok(stage.recorder.finish(&provenance)?)
}

/// Runs the suite on `recording`; how many tests there were.
///
/// # Errors
///
/// The driver did something else than the recorded one, or a test does not pass.
pub fn replay(recording: &Recording) -> Result<usize> {
    let said = |name: &'static str| {
        recording.provenance_of(name).with_context(|| format!("the recording names no {name}"))
    };
    let address = said("address")?.parse::<PciAddress>().map_err(|error| anyhow!("{error}"))?;
    let mac =
        said("mac")?.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<Vec<_>, _>>()?;
    let mac = MacAddr(mac.try_into().map_err(|mac| anyhow!("{mac:?} is no address"))?);
    let recorded: usize = said("tests")?.parse()?;
    let replayer = Replayer::lenient(recording.clone());
    let mut stage = Replayed { replayer, mac, messages: messages_of(recording) };
    let passed = paravane_suite::run(&mut stage, address);
    // Where the two parted says more than what a test then ran into.
    stage.replayer.finish()?;
    match passed? {
        passed if passed == recorded => Ok(passed),
        passed => bail!("{passed} tests passed, {recorded} were recorded"),
    }
}

/// QEMU's device, with a recorder between it and the driver.
struct Recorded {
    machine: Machine,
    recorder: Recorder<Qtest>,
    config: RecordedConfig<Config>,
    mailboxes: Vec<Mailbox>,
    /// What went wrong outside the driver.
    failure: Option<anyhow::Error>,
}

impl Recorded {
    /// Lets the device come to rest; the frames that it put on the cable meanwhile.
    fn rest(&self) -> Result<Vec<Vec<u8>>> {
        let cable = self.machine.cable(0).context("the machine has no NIC")?;
        let mut frames = Vec::new();
        let (start, mut quiet) = (Instant::now(), 0);
        while quiet < QUIET_LOOKS {
            thread::sleep(LOOK);
            let before = frames.len();
            frames.extend(std::iter::from_fn(|| cable.receive()));
            let moved = self.recorder.synchronise() || frames.len() > before;
            quiet = if moved { 0 } else { quiet + 1 };
            if start.elapsed() > REST_LIMIT {
                bail!("the device does not come to rest");
            }
        }
        Ok(frames)
    }

    fn turn(&self) -> Result<()> {
        let frames = self.rest()?;
        frames.iter().for_each(|frame| self.recorder.take(frame));
        let answers: Vec<_> = frames.iter().filter_map(|frame| peer::answer(frame)).collect();
        for answer in &answers {
            self.recorder.give(answer);
            self.machine.cable(0).context("the machine has no NIC")?.send(answer)?;
        }
        if !answers.is_empty() && !self.rest()?.is_empty() {
            bail!("the device sent frames that nobody gave it");
        }
        Ok(())
    }

    fn unplug(&self, up: bool) -> Result<()> {
        self.recorder.step(link_step(up));
        self.machine.set_link(0, up)?;
        self.rest().map(drop)
    }
}

impl Environment for Recorded {
    type Platform = Recorder<Qtest>;
    type Config = RecordedConfig<Config>;

    fn platform(&self) -> Recorder<Qtest> {
        self.recorder.clone()
    }
    fn config(&self) -> RecordedConfig<Config> {
        self.config.clone()
    }
    fn mac(&self) -> MacAddr {
        MacAddr(Setup::mac(0))
    }
    fn dma_bytes_in_use(&self) -> usize {
        self.machine.platform().dma_bytes_in_use()
    }
    fn set_link(&mut self, up: bool) {
        self.failure = self.failure.take().or(Recorded::unplug(self, up).err());
    }
    fn turn(&mut self) {
        self.failure = self.failure.take().or(Recorded::turn(self).err());
    }
    fn messages(&self) -> Vec<MsiMessage> {
        self.mailboxes.iter().map(Mailbox::message).collect()
    }
    fn rang(&mut self) -> bool {
        let mut rang = false;
        for (vector, mailbox) in (0..).zip(&self.mailboxes) {
            if mailbox.take() {
                self.recorder.interrupt(vector);
                rang = true;
            }
        }
        rang
    }
    fn report(&mut self, line: fmt::Arguments<'_>) {
        self.recorder.step(&line.to_string());
    }
}

/// A recording in the place of the device.
struct Replayed {
    replayer: Replayer,
    mac: MacAddr,
    messages: Vec<MsiMessage>,
}

impl Environment for Replayed {
    type Platform = Replayer;
    type Config = ReplayConfig;

    fn platform(&self) -> Replayer {
        self.replayer.clone()
    }
    fn config(&self) -> ReplayConfig {
        self.replayer.config()
    }
    fn mac(&self) -> MacAddr {
        self.mac
    }
    fn dma_bytes_in_use(&self) -> usize {
        self.replayer.memory().bytes()
    }
    fn set_link(&mut self, up: bool) {
        self.replayer.step(link_step(up));
        self.replayer.synchronise();
    }
    fn turn(&mut self) {
        self.replayer.synchronise();
        let frames: Vec<_> = std::iter::from_fn(|| self.replayer.take()).collect();
        for answer in frames.iter().filter_map(|frame| peer::answer(frame)) {
            self.replayer.give(&answer);
        }
        self.replayer.synchronise();
    }
    fn messages(&self) -> Vec<MsiMessage> {
        self.messages.clone()
    }
    fn rang(&mut self) -> bool {
        let mut rang = false;
        while self.replayer.interrupt().is_some() {
            rang = true;
        }
        rang
    }
    fn report(&mut self, line: fmt::Arguments<'_>) {
        self.replayer.step(&line.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

fn link_step(up: bool) -> &'static str {
    if up { "set link up" } else { "set link down" }
}
