//! The device as a source of entropy.

use core::cell::Cell;
use core::time::Duration;

use log::warn;
use paravane_hal::Platform;
use paravane_hal::entropy::{Entropy, EntropyError, EntropyErrorReason, RepetitionCount};

use super::{Device, Rng};
use crate::device::Class as _;
use crate::transport::Transport;

/// How long a device may take for each piece. Monitors may let so many bytes through a second, and
/// no more.
const LIMIT: Duration = Duration::from_secs(2);

/// An entropy device that is started for each fill and stopped after it. What only a broken source
/// gives is refused.
pub struct Source<P: Platform, T> {
    /// Not there while it is read.
    device: Cell<Option<Device<P, T>>>,
}

impl<P: Platform, T> Source<P, T> {
    /// What `device` gives.
    #[must_use]
    pub const fn new(device: Device<P, T>) -> Self {
        Self { device: Cell::new(Some(device)) }
    }

    /// The device.
    #[must_use]
    pub fn into_device(self) -> Option<Device<P, T>> {
        self.device.into_inner()
    }
}

impl<P: Platform, T: Transport<P::Region>> Entropy for Source<P, T> {
    fn name(&self) -> &'static str {
        Rng::NAME
    }

    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        let fails = |reason| Err(EntropyError::new(self.name(), reason));
        let Some(device) = self.device.take() else { return fails(EntropyErrorReason::Broken) };
        match device.read(to, LIMIT) {
            Ok(device) => self.device.set(Some(device)),
            Err(failed) => {
                let (error, device) = failed.into_parts();
                warn!("{} {}: {error}", self.name(), device.location());
                self.device.set(Some(device));
                return fails(EntropyErrorReason::Broken);
            }
        }
        let mut repetitions = RepetitionCount::default();
        let (words, _) = to.as_chunks();
        let is_good = words.iter().all(|word| repetitions.accepts(u64::from_ne_bytes(*word)));
        if is_good { Ok(()) } else { fails(EntropyErrorReason::Stuck) }
    }
}
