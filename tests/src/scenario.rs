//! What a driver does on a device, written once: on a real device to record it, and against the
//! recording.
//!
//! A [`Stage`] is where it plays. Scenarios call drivers as a kernel would, check what they see,
//! and come to rest at each step, so that a recording has a definite order.
//!
//! | stage | the device |
//! |---|---|
//! | [`qtest::Live`] | QEMU's own, with a recorder between it and the driver |
//! | [`replay::Replay`] | a recording |

use anyhow::{Context as _, Result, bail, ensure};
use paravane_hal::Platform;
use paravane_hal::irq::MsiMessage;
use paravane_pci::ConfigAccess;

pub mod firmware;
pub mod fixture;
pub mod nic;
pub mod qtest;
pub mod replay;
pub mod topology;

/// Where a scenario plays.
pub trait Stage {
    /// What the driver runs on.
    type Platform: Platform + 'static;
    /// Its configuration space.
    type Config: ConfigAccess + Clone + Send;

    /// The platform. A clone is the same one.
    fn platform(&self) -> Self::Platform;
    /// Configuration space. A clone is the same one.
    fn config(&self) -> Self::Config;

    /// Begins the part of the scenario called `name`.
    ///
    /// # Errors
    ///
    /// The device is gone.
    fn step(&self, name: &str) -> Result<()>;

    /// Puts a frame on the cable.
    ///
    /// # Errors
    ///
    /// There is no cable, or the device is gone.
    fn give(&self, frame: &[u8]) -> Result<()>;

    /// The next frame that the device puts on the cable.
    ///
    /// # Errors
    ///
    /// None came in time.
    fn take(&self) -> Result<Vec<u8>>;

    /// Lets the device come to rest.
    ///
    /// # Errors
    ///
    /// It does not.
    fn rest(&self) -> Result<()>;

    /// Takes the link up or down.
    ///
    /// # Errors
    ///
    /// It cannot be.
    fn set_link(&self, up: bool) -> Result<()>;

    /// A message for each vector that a driver may use.
    ///
    /// # Errors
    ///
    /// There are none.
    fn messages(&self) -> Result<Vec<MsiMessage>>;

    /// Waits for an interrupt; its vector.
    ///
    /// # Errors
    ///
    /// None came in time.
    fn interrupt(&self) -> Result<u16>;
}

/// A frame's header, and the number that tells it apart.
const HEADER_BYTES: usize = 18;
/// Who sends what the device receives: locally administered, so nobody's.
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// For experiments on a local network.
///
/// Spec: IEEE 802, "Local Experimental EtherTypes".
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// Frame `number`, `len_bytes` long, to `to`: unlike any other, and with a payload that a recording
/// writes in one word.
#[must_use]
pub fn frame(to: [u8; 6], number: u32, len_bytes: usize) -> Vec<u8> {
    let mut bytes = [&to[..], &PEER, &ETHERTYPE, &number.to_be_bytes()].concat();
    let [.., low] = number.to_be_bytes();
    let (start, step) = (low.wrapping_mul(31), low.wrapping_mul(2) | 1);
    let payload = (0..=u8::MAX).cycle().map(|i| start.wrapping_add(i.wrapping_mul(step)));
    bytes.extend(payload.take(len_bytes.saturating_sub(HEADER_BYTES)));
    bytes
}

/// Fails with both frames' lengths and the first byte that differs.
fn ensure_same(what: &str, got: &[u8], expected: &[u8]) -> Result<()> {
    ensure!(got.len() == expected.len(), "{what}: {} bytes, expected {}", got.len(), expected.len());
    match got.iter().zip(expected).position(|(got, expected)| got != expected) {
        Some(at) => bail!("{what}: differs in byte {at} of {}", got.len()),
        None => Ok(()),
    }
}

/// The error of a driver's call, in words.
fn said<T, E: std::fmt::Debug>(result: Result<T, E>, what: &'static str) -> Result<T> {
    result.map_err(|error| anyhow::anyhow!("{error:?}")).context(what)
}
