//! A device's configuration space: what may be read of it, and how to read what belongs together.
//!
//! Which fields there are, each class knows.
//!
//! Spec: VIRTIO 1.2, 2.5 "Device Configuration Space".

use paravane_hal::reg::{Reg, RegValue};

use crate::feature::ClassFeatures;
use crate::transport::Transport;

/// How often fields are read again because they changed meanwhile. A configuration that changes
/// that often is not one to believe.
pub(crate) const ATTEMPTS: usize = 16;

/// Where a field ends.
pub(crate) const fn end_bytes<T: RegValue, A>(field: &Reg<T, A>) -> usize {
    field.offset_bytes().saturating_add(T::WIDTH_BYTES)
}

/// Those of `features` whose fields lie inside a configuration space of `len_bytes`.
///
/// Devices expose exactly as many bytes as their features need, so a feature whose field is not
/// there is not accepted.
#[must_use]
pub(crate) fn readable<F: ClassFeatures>(features: u64, len_bytes: usize) -> u64 {
    F::FIELDS
        .iter()
        .filter(|(_, end)| *end > len_bytes)
        .fold(features, |readable, (feature, _)| readable & !feature)
}

/// What `look` sees while the configuration stands still. `None` when it never does.
///
/// The legacy interface has no generation: there it stands still when two looks see the same.
///
/// Spec: VIRTIO 1.2, 2.5.1 "Driver Requirements: Device Configuration Space", 2.5.4 "Legacy
/// Interface: Device Configuration Space".
pub(crate) fn stable<R, T: PartialEq>(transport: &impl Transport<R>, look: impl Fn() -> T) -> Option<T> {
    let mut before = None;
    (0..ATTEMPTS).find_map(|_| {
        let generation = transport.read_config_generation();
        let seen = look();
        let stood_still = match generation {
            Some(_) => transport.read_config_generation() == generation,
            None => before.as_ref() == Some(&seen),
        };
        if stood_still {
            return Some(seen);
        }
        before = Some(seen);
        None
    })
}
