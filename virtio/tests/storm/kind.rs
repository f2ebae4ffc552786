//! What a storm has to know of a kind of device.

use std::time::Duration;

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
    /// How the driver was told to have the device interrupt when it was started.
    pub way: Way,
}

/// A way to interrupt.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Polling,
    Line,
    Messages,
    MessagesOrLine,
}

impl<P> Scene<P> {
    /// A look at the clock: here a call into the driver begins, and when that is.
    pub fn call_begins(&self) -> Instant {
        self.platform.now()
    }

    /// Any way to interrupt.
    pub fn interrupts(&mut self) -> Interrupts<'_> {
        let ways = [Way::Polling, Way::Line, Way::Messages, Way::MessagesOrLine];
        self.way = ways[self.chance.below(4) as usize];
        self.same_interrupts()
    }

    /// The way that was taken last.
    pub fn same_interrupts(&self) -> Interrupts<'_> {
        match self.way {
            Way::Polling => Interrupts::POLLING,
            Way::Line => Interrupts::LINE,
            Way::Messages => Interrupts::msix(&self.messages),
            Way::MessagesOrLine => Interrupts::msix(&self.messages).or_line(),
        }
    }
}

/// What is left of a driver `U` of a device `D` that did not come back.
#[allow(dead_code, reason = "not every kind has all of them")]
pub enum Left<D, U> {
    /// The device may still reach memory.
    NotStopped(U),
    /// It was stopped, and not started again.
    NotStarted(D),
    /// The same: what it is said to have taken before, it does not take now.
    Refused(D),
    /// It runs, and is another than before.
    Changed(U),
}

/// How a way back ends, at place `P`.
pub type Back<K, P> = Result<
    <K as Kind>::Up<<P as Place>::Bus>,
    Left<<K as Kind>::Device<<P as Place>::Bus>, <K as Kind>::Up<<P as Place>::Bus>>,
>;

/// What may go wrong with a device that runs.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    AsksForReset,
    Lies,
    Hangs,
}

/// No device is silent for longer.
pub const PATIENCE: Duration = Duration::from_secs(5);

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

    /// Brings a driver back, with interrupts as before.
    fn recover<P: Place<Model = Self::Model>>(
        &mut self,
        scene: &Scene<P>,
        up: Self::Up<P::Bus>,
    ) -> Back<Self, P>;

    /// All that has to be so again when a driver is back.
    fn terms<T: Bus>(up: &Self::Up<T>) -> String;

    /// What the device was told, which is what it has to be told again. `None` while that is open.
    fn told(&self, model: &Virtio<Self::Model>) -> Option<String>;

    /// How many buffers are at home.
    fn free(&self) -> usize;

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

    /// Starts the driver, on a device that is honest.
    fn start_well<P: Place<Model = Self::Model>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Self::Device<P::Bus>,
    ) -> Self::Up<P::Bus>;

    /// The driver was just started, on a device that is honest: all that is asked of it is done, as
    /// it should be.
    fn prove<P: Place<Model = Self::Model>>(&mut self, scene: &mut Scene<P>, up: &mut Self::Up<P::Bus>);

    /// Tells the device what there is to tell, has it in the middle of its work, and has something
    /// go wrong, which the driver notices.
    fn get_into<P: Place<Model = Self::Model>>(
        &mut self,
        trouble: Trouble,
        scene: &mut Scene<P>,
        up: &mut Self::Up<P::Bus>,
    );
}
