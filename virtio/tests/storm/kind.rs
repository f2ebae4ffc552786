//! What a storm has to know of a kind of device.

use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_hal::time::{Clock as _, Instant};
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::fault::Seeded;
use paravane_mock_hal::model::virtio::{Class, Personality, Virtio};
use paravane_virtio::StopError;

use super::place::{Bus, Place};

/// A device in its place, and who talks to it.
pub struct Scene<P> {
    pub chance: Seeded,
    pub platform: MockPlatform,
    pub place: P,
    /// Without lies, the loads that change are all that is wrong, and the model has an eye on
    /// everything else.
    pub lies: bool,
    pub messages: Vec<MsiMessage>,
}

impl<P> Scene<P> {
    /// A look at the clock: here a call into the driver begins, and when that is.
    pub fn call_begins(&self) -> Instant {
        self.platform.now()
    }

    /// Any way to interrupt.
    pub fn interrupts(&mut self) -> Interrupts<'_> {
        match self.chance.below(4) {
            0 => Interrupts::POLLING,
            1 => Interrupts::LINE,
            2 => Interrupts::msix(&self.messages),
            _ => Interrupts::msix(&self.messages).or_line(),
        }
    }
}

/// A kind of device, and its driver.
pub trait Kind: Sized {
    type Model: Class;
    /// The driver of one that is stopped,
    type Device<T: Bus>;
    /// and of one that runs.
    type Up<T: Bus>;

    /// The device of that monitor, or one that has less.
    fn model(personality: &Personality, chance: &mut Seeded) -> Self::Model;

    fn new(platform: &MockPlatform) -> Self;

    fn open<T: Bus>(bus: T, platform: MockPlatform) -> Self::Device<T>;

    /// Whether a start that failed left memory with the device.
    fn keeps_memory<T: Bus>(device: &Self::Device<T>) -> bool;

    /// Starts the driver, in any way. The device back when that fails.
    fn start<P: Place<Model = Self::Model>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Self::Device<P::Bus>,
    ) -> Result<Self::Up<P::Bus>, Self::Device<P::Bus>>;

    /// Stops the driver.
    fn stop<T: Bus>(&mut self, up: Self::Up<T>) -> Result<Self::Device<T>, (StopError, Self::Up<T>)>;

    /// Everything is at home that the driver was given.
    fn assert_home(&self);

    /// The device is in order again.
    fn calm(model: &mut Virtio<Self::Model>);

    /// One thing that the device does.
    fn device_step<P: Place<Model = Self::Model>>(&mut self, scene: &mut Scene<P>);

    /// One call into the driver. Whether it is still whole.
    fn driver_step<P: Place<Model = Self::Model>>(
        &mut self,
        scene: &mut Scene<P>,
        up: &mut Self::Up<P::Bus>,
    ) -> bool;

    /// Starts the driver, on a device that is honest: all that is asked of it is done, as it should
    /// be.
    fn prove<P: Place<Model = Self::Model>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Self::Device<P::Bus>,
    ) -> Self::Up<P::Bus>;
}
