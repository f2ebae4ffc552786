//! Where a device sits: on a PCI bus, or on none.

use std::sync::MutexGuard;

use paravane_hal::mmio::MmioMap;
use paravane_mock_hal::model::virtio::status::DRIVER_OK;
use paravane_mock_hal::model::virtio::{Class, Personality, Plugged, PluggedMmio, Virtio};
use paravane_mock_hal::{ChangingLoads, MockPlatform, PciHost};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::transport::Transport;
use paravane_virtio::transport::legacy::{Legacy, LegacyTransport};
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::transport::pci::{Pci, PciTransport};

type Region = <MockPlatform as MmioMap>::Region;

/// A transport of the platform.
pub trait Bus: Transport<Region> + Send {}

impl<T: Transport<Region> + Send> Bus for T {}

/// A device where its driver finds it.
pub trait Place: Sized {
    type Model: Class;
    type Bus: Bus;

    /// All monitors that have devices here, and can reset them.
    fn personalities() -> Vec<Personality>;

    fn plug(platform: &MockPlatform, class: Self::Model, personality: Personality) -> Self;

    fn open(&self, platform: &MockPlatform) -> Self::Bus;

    fn lock(&self) -> MutexGuard<'_, Virtio<Self::Model>>;

    fn changing_loads(&self, platform: &MockPlatform, seed: u64) -> ChangingLoads;

    /// Whether it was kept from memory when its driver was stopped.
    fn is_silent(&self) -> bool;
}

pub type OnPci<C> = Plugged<C>;
pub type OnMmio<C> = PluggedMmio<C>;

impl<C: Class> Place for OnPci<C> {
    type Model = C;
    type Bus = Pci<MockPlatform, PciHost>;

    fn personalities() -> Vec<Personality> {
        Personality::all().to_vec()
    }

    fn plug(platform: &MockPlatform, class: C, personality: Personality) -> Self {
        Virtio::plug(platform, PciAddress::new(0, 0, 3, 0).unwrap(), class, personality)
    }

    fn open(&self, platform: &MockPlatform) -> Self::Bus {
        let function = Function::claim(self.host.clone(), self.address).unwrap();
        PciTransport::open(function, platform).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, Virtio<C>> {
        Plugged::lock(self)
    }

    fn changing_loads(&self, platform: &MockPlatform, seed: u64) -> ChangingLoads {
        Plugged::changing_loads(self, platform, seed)
    }

    fn is_silent(&self) -> bool {
        !self.host.is_bus_master(self.address) && has_let_go(&self.lock())
    }
}

impl<C: Class> Place for OnMmio<C> {
    type Model = C;
    type Bus = MmioTransport<Region>;

    fn personalities() -> Vec<Personality> {
        let mut personalities = Personality::on_no_bus().to_vec();
        personalities.push(Personality::microvm_legacy());
        personalities
    }

    fn plug(platform: &MockPlatform, class: C, personality: Personality) -> Self {
        let (start, line) = personality.place(0);
        Virtio::plug_mmio(platform, start, line, class, personality)
    }

    fn open(&self, platform: &MockPlatform) -> Self::Bus {
        MmioTransport::open(self.claim(platform).unwrap()).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, Virtio<C>> {
        PluggedMmio::lock(self)
    }

    fn changing_loads(&self, platform: &MockPlatform, seed: u64) -> ChangingLoads {
        PluggedMmio::changing_loads(self, platform, seed)
    }

    /// Nothing but its own reset keeps it from memory: no bus has a say.
    fn is_silent(&self) -> bool {
        has_let_go(&self.lock())
    }
}

/// By the ports of the legacy interface, where a device may have the other one as well.
pub struct OnPorts<C>(Plugged<C>);

impl<C: Class> Place for OnPorts<C> {
    type Model = C;
    type Bus = Legacy<MockPlatform, PciHost>;

    fn personalities() -> Vec<Personality> {
        vec![Personality::qemu_legacy(), Personality::qemu_transitional()]
    }

    fn plug(platform: &MockPlatform, class: C, personality: Personality) -> Self {
        Self(Place::plug(platform, class, personality))
    }

    fn open(&self, platform: &MockPlatform) -> Self::Bus {
        let function = Function::claim(self.0.host.clone(), self.0.address).unwrap();
        LegacyTransport::open(function, platform).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, Virtio<C>> {
        self.0.lock()
    }

    fn changing_loads(&self, platform: &MockPlatform, seed: u64) -> ChangingLoads {
        self.0.changing_loads(platform, seed)
    }

    fn is_silent(&self) -> bool {
        Place::is_silent(&self.0)
    }
}

/// A device that was reset has no queues. It may say already that it needs another reset.
fn has_let_go<C: Class>(model: &Virtio<C>) -> bool {
    model.status() & DRIVER_OK == 0 && model.queues.iter().all(|queue| !queue.is_enabled)
}
