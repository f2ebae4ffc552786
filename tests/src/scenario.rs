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

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use paravane_hal::Platform;
use paravane_hal::irq::MsiMessage;
use paravane_hal::mmio::{MmioDevice, MmioMap};
use paravane_hal::time::wait_for;
use paravane_pci::{ConfigAccess, Found, Function, Ids, enumerate};

mod disk;
pub mod firmware;
pub mod fixture;
mod nic;
mod offloads;
pub mod qtest;
pub mod replay;
pub mod topology;

/// How long anything may take on a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(5);

/// Which driver plays, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// `paravane-vmxnet3`.
    Vmxnet3,
    /// The same with several queues, tags, long frames, segments, and a recovery.
    Vmxnet3Offloads,
    /// `paravane-virtio`'s for network devices, on PCI.
    VirtioNet,
    /// The same for one in memory.
    VirtioNetMmio,
    /// `paravane-virtio`'s for disks, on PCI.
    VirtioBlk,
}

/// The whole life of the device that `driver` is for.
///
/// # Errors
///
/// Something went otherwise than on a device that works.
pub fn life<S: Stage>(stage: &S, driver: Driver) -> Result<()> {
    match driver {
        Driver::Vmxnet3 => nic::life_of_vmxnet3(stage),
        Driver::Vmxnet3Offloads => offloads::life_of_vmxnet3(stage),
        Driver::VirtioNet => nic::life_of_virtio(stage),
        Driver::VirtioNetMmio => nic::life_of_virtio_mmio(stage),
        Driver::VirtioBlk => disk::life_of_virtio(stage),
    }
}

/// Registers, as the drivers of a stage see them.
pub type Region<S> = <<S as Stage>::Platform as MmioMap>::Region;

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

    /// Claims the device that is on no bus.
    ///
    /// # Errors
    ///
    /// There is none.
    fn claim_mmio(&self) -> Result<MmioDevice<Region<Self>>> {
        bail!("every device is on a bus here")
    }

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

/// Claims the first function that `is_it` knows.
fn claim<S: Stage>(stage: &S, is_it: impl Fn(&Ids) -> bool) -> Result<Function<S::Config>> {
    let mut address = None;
    enumerate(&stage.config(), &mut |found| {
        if let Found::Function(found) = found
            && is_it(&found.ids)
        {
            address = address.or(Some(found.address));
        }
    });
    said(Function::claim(stage.config(), address.context("no such device on the bus")?), "cannot claim")
}

/// Waits until `look` has an answer or fails.
fn wait<T>(stage: &impl Stage, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let platform = stage.platform();
    match wait_for(&platform, LIMIT, || look().transpose()) {
        Ok(result) => result,
        Err(late) => bail!("waited for {what}: {late}"),
    }
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
