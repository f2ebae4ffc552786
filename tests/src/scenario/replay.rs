//! A recording as a stage.

use anyhow::{Context as _, Result};
use paravane_hal::addr::PhysAddr;
use paravane_hal::irq::MsiMessage;
use paravane_hal::mmio::MmioDevice;
use paravane_mock_hal::record::{Recording, ReplayConfig, Replayer};
use paravane_virtio::transport::mmio::RESET_AT_BYTES;

use super::fixture::{MMIO_BYTES, MMIO_START, messages_of};
use super::{Region, Stage};

/// A recording that is played back. The first difference panics, with the place in the recording.
pub struct Replay {
    replayer: Replayer,
    messages: Vec<MsiMessage>,
}

impl Replay {
    /// Plays `recording` back.
    #[must_use]
    pub fn new(recording: &Recording) -> Self {
        Self { replayer: Replayer::new(recording.clone()), messages: messages_of(recording) }
    }

    /// Plays `recording` back; after the first difference the device is gone, and
    /// [`Replayer::finish`] tells of it.
    #[must_use]
    pub fn lenient(recording: &Recording) -> Self {
        Self { replayer: Replayer::lenient(recording.clone()), messages: messages_of(recording) }
    }

    /// The player, for a look at its memory and its end.
    #[must_use]
    pub fn replayer(&self) -> &Replayer {
        &self.replayer
    }
}

impl Stage for Replay {
    type Platform = Replayer;
    type Config = ReplayConfig;

    fn platform(&self) -> Replayer {
        self.replayer.clone()
    }

    fn config(&self) -> ReplayConfig {
        self.replayer.config()
    }

    fn claim_mmio(&self) -> Result<MmioDevice<Region<Self>>> {
        Ok(self.replayer.claim(PhysAddr::new(MMIO_START), MMIO_BYTES, RESET_AT_BYTES)?)
    }

    fn step(&self, name: &str) -> Result<()> {
        self.replayer.step(name);
        Ok(())
    }

    fn give(&self, frame: &[u8]) -> Result<()> {
        self.replayer.give(frame);
        Ok(())
    }

    fn take(&self) -> Result<Vec<u8>> {
        self.replayer.take().context("the recorded device put nothing on the cable here")
    }

    fn rest(&self) -> Result<()> {
        self.replayer.synchronise();
        Ok(())
    }

    fn set_link(&self, up: bool) -> Result<()> {
        self.replayer.step(super::fixture::link_step(up));
        Ok(())
    }

    fn messages(&self) -> Result<Vec<MsiMessage>> {
        Ok(self.messages.clone())
    }

    fn interrupt(&self) -> Result<u16> {
        self.replayer.interrupt().context("the recorded device did not interrupt here")
    }
}
