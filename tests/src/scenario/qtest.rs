//! QEMU's own device as a stage, with a recorder between it and the driver.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use paravane_hal::irq::MsiMessage;
use paravane_hal::mmio::MmioDevice;
use paravane_mock_hal::record::{RecordedConfig, Recorder, Recording};
use paravane_qtest_hal::{Cable, Config, Machine, Mailbox, Qtest, Setup};

use super::fixture::{MMIO_BUS, link_step, message_line};
use super::{Region, Stage};

/// How many vectors drivers are offered.
const VECTORS: usize = 3;
/// How far looks at the device's memory are apart while it comes to rest.
const LOOK: Duration = Duration::from_millis(2);
/// A device that wrote nothing between so many looks is at rest.
const QUIET_LOOKS: u32 = 2;
/// How long anything may take on a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(5);

/// A machine with one device, recorded.
pub struct Live {
    machine: Machine,
    recorder: Recorder<Qtest>,
    config: RecordedConfig<Config>,
    mailboxes: Vec<Mailbox>,
}

impl Live {
    /// Starts the machine that `setup` describes.
    ///
    /// # Errors
    ///
    /// QEMU is not installed, or does not start.
    pub fn start(setup: &Setup) -> Result<Self> {
        let machine = Machine::start(setup)?;
        let recorder = Recorder::new(machine.platform().clone());
        let config = recorder.config(machine.config().clone());
        let mailboxes = (0..VECTORS).map(|index| machine.platform().mailbox(index).context("no mailbox"));
        let mailboxes = mailboxes.collect::<Result<_>>()?;
        Ok(Self { machine, recorder, config, mailboxes })
    }

    /// The recording, with where it comes from: `device` as QEMU calls it, and the `command` that
    /// made it.
    ///
    /// # Errors
    ///
    /// The machine stopped answering, so that what was recorded is not a device's behaviour.
    pub fn finish(&self, device: &str, command: &str) -> Result<Recording> {
        self.machine.check()?;
        let messages: Vec<String> =
            self.mailboxes.iter().map(|mailbox| message_line(mailbox.message())).collect();
        let version = Machine::qemu_version()?;
        let date = super::fixture::today();
        let mut provenance = vec![
            ("device", device),
            ("qemu", &version),
            ("command-line", self.machine.command_line()),
            ("date", &date),
            ("made-by", command),
        ];
        provenance.extend(messages.iter().map(|message| ("message", message.as_str())));
        Ok(self.recorder.finish(&provenance)?)
    }

    fn cable(&self) -> Result<&Cable> {
        self.machine.cable(0).context("the machine has no NIC")
    }
}

impl Stage for Live {
    type Platform = Recorder<Qtest>;
    type Config = RecordedConfig<Config>;

    fn platform(&self) -> Recorder<Qtest> {
        self.recorder.clone()
    }

    fn config(&self) -> RecordedConfig<Config> {
        self.config.clone()
    }

    fn claim_mmio(&self) -> Result<MmioDevice<Region<Self>>> {
        let device = self.machine.claim_virtio_mmio(MMIO_BUS).context("there is no such place")?;
        Ok(self.recorder.claim(device)?)
    }

    fn step(&self, name: &str) -> Result<()> {
        self.machine.check()?;
        self.recorder.step(name);
        Ok(())
    }

    fn give(&self, frame: &[u8]) -> Result<()> {
        self.recorder.give(frame);
        self.cable()?.send(frame)?;
        self.rest()
    }

    fn take(&self) -> Result<Vec<u8>> {
        let frame = self.cable()?.receive_by(LIMIT).context("nothing came out of the device")?;
        self.rest()?;
        self.recorder.take(&frame);
        Ok(frame)
    }

    fn rest(&self) -> Result<()> {
        // Seldom, so that what a device does in one go is seen in one look, and recordings of the
        // same are the same.
        let start = Instant::now();
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            thread::sleep(LOOK);
            quiet = if self.recorder.synchronise() { 0 } else { quiet + 1 };
            if start.elapsed() > LIMIT {
                bail!("the device does not come to rest");
            }
        }
        Ok(())
    }

    fn set_link(&self, up: bool) -> Result<()> {
        self.recorder.step(link_step(up));
        Ok(self.machine.set_link(0, up)?)
    }

    fn messages(&self) -> Result<Vec<MsiMessage>> {
        Ok(self.mailboxes.iter().map(Mailbox::message).collect())
    }

    fn interrupt(&self) -> Result<u16> {
        let start = Instant::now();
        loop {
            let rung = (0..).zip(&self.mailboxes).find(|(_, mailbox)| mailbox.take());
            if let Some((vector, _)) = rung {
                self.recorder.interrupt(vector);
                return Ok(vector);
            }
            if start.elapsed() > LIMIT {
                bail!("no interrupt");
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}
