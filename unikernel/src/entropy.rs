//! Where this machine's random numbers come from: the CPU, else an entropy device, else nowhere.

use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::error::Error;

use log::{info, warn};
use paravane_appliance::random::Random;
use paravane_hal::Failed;
use paravane_hal::entropy::{Entropy, EntropyError};
use paravane_hal_x86_64::entropy::CpuEntropy;
use paravane_virtio::rng::{DEVICE_ID, Source};
use paravane_virtio::transport::any::{self, Any};
use paravane_virtio::transport::mmio::MmioTransport;

use crate::bus::{Place, pci};
use crate::platform::{Machine, Platform};

/// What the source is called where there is none.
pub const NONE: &str = "none";

/// A generator, and where its seed is from.
#[derive(Debug)]
pub struct Seeded {
    /// The generator.
    pub random: Random,
    /// What the source is called.
    pub source: &'static str,
}

/// An entropy device, on whichever bus it is.
type Device = Source<Platform, Any<Platform, pci::Bus>>;

/// Whether an entropy device is at `place`.
#[must_use]
pub fn is_device(place: &Place) -> bool {
    place.virtio_id() == Some(DEVICE_ID)
}

/// A generator, seeded from the first source that works: the CPU, then the devices at `places`.
/// What does not work is said. None is made from anything else, so that nobody takes for random
/// what is not.
pub fn find(machine: &Machine, places: Vec<Place>) -> Option<Seeded> {
    match CpuEntropy::find().and_then(|cpu| seed(&cpu)) {
        Ok(seeded) => return Some(seeded),
        Err(reason) if reason.is_failing() => warn!("entropy: {reason}"),
        Err(_) => {}
    }
    places.into_iter().find_map(|place| {
        let name = place.to_string();
        let seeded = open(machine, place).and_then(|device| Ok(seed(&device)?));
        seeded.inspect_err(|reason| warn!("entropy: {name}: {reason}")).ok()
    })
}

/// A generator with a seed of `source`.
fn seed(source: &dyn Entropy) -> Result<Seeded, EntropyError> {
    let random = Random::new(source)?;
    info!("entropy: {}", source.name());
    Ok(Seeded { random, source: source.name() })
}

/// The device at `place`.
fn open(machine: &Machine, place: Place) -> Result<Device, Box<dyn Error>> {
    let device = match place {
        Place::Pci { bus, address, path, .. } => {
            let function = pci::claim(bus, address, &path)?;
            any::open_pci(function, machine.platform).map_err(Failed::into_error)?
        }
        Place::Mmio(device) => {
            let transport = MmioTransport::open(device.claim(machine)?).map_err(Failed::into_error)?;
            any::open_mmio(transport, machine.platform).map_err(Failed::into_error)?
        }
    };
    Ok(Source::new(device))
}
