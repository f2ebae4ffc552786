//! Devices in machines: the model, and where its driver finds it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paravane_hal::addr::PhysAddr;
use paravane_hal::mmio::{MapError, MmioDevice};
use paravane_pci::PciAddress;

use super::front::{Front, Trigger, Wire};
use super::{Class, Personality, Virtio};
use crate::loads::ChangingLoads;
use crate::pci::PciHost;
use crate::platform::MockPlatform;
use crate::registers::ModelRegion;

/// Where `Status` is where there is no bus.
const STATUS: usize = 0x70;

/// A device on a PCI bus.
pub struct Plugged<C> {
    /// The model.
    pub model: Arc<Mutex<Virtio<C>>>,
    /// The bus.
    pub host: PciHost,
    /// Its address there.
    pub address: PciAddress,
}

/// A device on no bus.
pub struct PluggedMmio<C> {
    /// The model.
    pub model: Arc<Mutex<Virtio<C>>>,
    /// Where its registers start.
    pub start: PhysAddr,
    /// How many bytes of them there are.
    pub len_bytes: usize,
    /// Its line.
    pub line: u8,
    /// What that does.
    pub trigger: Trigger,
}

impl<C> Clone for Plugged<C> {
    fn clone(&self) -> Self {
        Self { model: Arc::clone(&self.model), host: self.host.clone(), address: self.address }
    }
}

impl<C> Clone for PluggedMmio<C> {
    fn clone(&self) -> Self {
        Self { model: Arc::clone(&self.model), ..*self }
    }
}

impl<C> Plugged<C> {
    /// The model. Not to be held across a call into a driver.
    pub fn lock(&self) -> MutexGuard<'_, Virtio<C>> {
        lock(&self.model)
    }
}

impl<C> PluggedMmio<C> {
    /// The model. Not to be held across a call into a driver.
    pub fn lock(&self) -> MutexGuard<'_, Virtio<C>> {
        lock(&self.model)
    }
}

// A model that panicked has failed its test already.
fn lock<C>(model: &Mutex<Virtio<C>>) -> MutexGuard<'_, Virtio<C>> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: Class> Plugged<C> {
    /// Arms loads that change, of the thread that calls, and has the model excuse what its driver
    /// does about them.
    pub fn changing_loads(&self, platform: &MockPlatform, seed: u64) -> ChangingLoads {
        changing_loads(&self.model, platform, seed)
    }
}

impl<C: Class> PluggedMmio<C> {
    /// Its registers, claimed for a driver, which resets it by its status.
    ///
    /// # Errors
    ///
    /// [`MapError`]; nothing is mapped.
    pub fn claim(&self, platform: &MockPlatform) -> Result<MmioDevice<ModelRegion>, MapError> {
        platform.claim(self.start, self.len_bytes, STATUS)
    }

    /// The same as [`Plugged::changing_loads`].
    pub fn changing_loads(&self, platform: &MockPlatform, seed: u64) -> ChangingLoads {
        changing_loads(&self.model, platform, seed)
    }
}

fn changing_loads<C: Class>(
    model: &Arc<Mutex<Virtio<C>>>,
    platform: &MockPlatform,
    seed: u64,
) -> ChangingLoads {
    let (model, memory) = (Arc::clone(model), platform.memory().clone());
    ChangingLoads::armed(seed).telling(move |change| {
        let Some(addr) = memory.dma_address_of(change.place) else { return };
        let mut model = lock(&model);
        // A driver that looks a second time at what it acts on has itself to blame for what it
        // believes then.
        if !change.is_repeated || model.is_hint(addr) {
            model.misheard(addr, change.width_bytes, change.told);
        }
    })
}

impl<C: Class> Virtio<C> {
    /// Plugs a device into `platform`, at `address` of its PCI bus; where its BARs are is the
    /// machine's to say.
    #[must_use]
    pub fn plug(
        platform: &MockPlatform,
        address: PciAddress,
        class: C,
        personality: Personality,
    ) -> Plugged<C> {
        let host = platform.pci().clone();
        host.insert(address, personality.function::<C>(&host, class.config().len()));
        let front = Front::Pci(host.device(address));
        let name = format!("virtio {address}");
        let model = Arc::new(Mutex::new(Self::new(platform, front, &name, class, personality)));
        host.connect(address, model.clone());
        Plugged { model, host, address }
    }

    /// Puts a device at `start` of `platform`'s physical memory, with an interrupt line.
    #[must_use]
    pub fn plug_mmio(
        platform: &MockPlatform,
        start: PhysAddr,
        line: u8,
        class: C,
        personality: Personality,
    ) -> PluggedMmio<C> {
        let Personality { trigger, mmio_bytes: len_bytes, .. } = personality;
        let front = Front::Mmio(Wire::new(platform, start, line, trigger));
        let name = format!("virtio {:#x}", start.get());
        let model = Arc::new(Mutex::new(Self::new(platform, front, &name, class, personality)));
        platform.attach(start, len_bytes, model.clone(), 0);
        PluggedMmio { model, start, len_bytes, line, trigger }
    }
}
