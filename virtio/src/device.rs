//! What every class of device goes through on its way up and down: reset, features, queues,
//! interrupts, and the way home of memory. Once, for all of them.
//!
//! ```text
//!  begin    reset, memory kept from an earlier start freed, bus opened
//!  agree    features, of those allowed and offered
//!  (class)  configuration read
//!  set_up   each queue: memory, addresses, doorbell
//!  enable   interrupts, the best that device and bus have; then the queues
//!  go       DRIVER_OK
//! ```
//!
//! A class says what is its own of that in a [`Class`], and how it is started in a function that
//! [`bring_up`](Device::bring_up) runs between the first step and the last.
//!
//! Memory that the device knows of is freed only after it confirmed a reset *and* the bus vouches
//! for its silence. Until then it is kept: in the parts that a stop gives back, or in here when a
//! start failed.

#![expect(private_bounds, reason = "classes are sealed: nobody outside names them")]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use log::{info, warn};
use paravane_hal::dma::{DeviceDma, Dma, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::Mmio as _;
use paravane_hal::{Failed, Platform};

use crate::config::readable;
use crate::error::{BringUpError, SetUpError, StopError};
use crate::feature::{Allowed, ClassFeatures, Negotiated};
use crate::init::{self, InitError};
use crate::queue::{Doorbell, Record, Virtqueue};
use crate::ring::{Format, QueueSize};
use crate::transport::{Interface, Location, QueueDoorbell, QueueError, Transport, Vector};

/// A queue of a device on platform `P`.
pub(crate) type Queue<R, P> = Virtqueue<R, P, QueueDoorbell<<P as paravane_hal::mmio::MmioMap>::Region>>;

/// A class of device.
pub(crate) trait Class {
    /// Its number.
    ///
    /// Spec: VIRTIO 1.2, 5 "Device Types".
    const DEVICE_ID: u16;

    /// What it is called in messages.
    const NAME: &'static str;

    /// What the device may know of and nobody has, while bring-up is under way and after it failed.
    type Rings<P: Platform>: Rings;
}

/// Queues, and other memory that the device is told of, as far as they are there.
pub(crate) trait Rings: Default + Sized {
    /// Whether there is none.
    fn is_none(&self) -> bool;

    /// Frees their memory and what is lent there, against proof that the device has let go. False
    /// when the proof is about another device: it is leaked.
    fn free(self, quiet: &Quiet<'_>) -> bool;
}

impl<R: Record, D: Dma, B: Doorbell> Rings for Option<Virtqueue<R, D, B>> {
    fn is_none(&self) -> bool {
        self.is_none()
    }

    fn free(self, quiet: &Quiet<'_>) -> bool {
        self.is_none_or(|queue| queue.free(quiet))
    }
}

impl<A: Rings, B: Rings> Rings for (A, B) {
    fn is_none(&self) -> bool {
        self.0.is_none() && self.1.is_none()
    }

    fn free(self, quiet: &Quiet<'_>) -> bool {
        self.0.free(quiet) & self.1.free(quiet)
    }
}

/// Of as many queues as there are.
impl<A: Rings> Rings for Vec<A> {
    fn is_none(&self) -> bool {
        self.iter().all(A::is_none)
    }

    fn free(self, quiet: &Quiet<'_>) -> bool {
        self.into_iter().fold(true, |freed, rings| rings.free(quiet) & freed)
    }
}

/// A claimed device of class `C` that does not run: it was reset, or does not answer to that.
pub struct Device<P: Platform, T, C: Class> {
    pub(crate) transport: T,
    pub(crate) platform: P,
    /// Of a start that failed, while the device has not confirmed its reset. Dropped, it is leaked.
    /// In a box that is there before it is needed: a failure does not ask for memory.
    kept: Box<C::Rings<P>>,
}

impl<P: Platform, T: Transport<P::Region>, C: Class> Device<P, T, C> {
    /// Takes the device behind `transport` into use: resets it, so that whatever drove it before is
    /// over. It may not use memory until it is started.
    ///
    /// # Errors
    ///
    /// [`BringUpError`], and the transport back.
    pub fn new(mut transport: T, platform: P) -> Result<Self, Failed<BringUpError, T>> {
        let (at, seen) = (transport.location(), transport.device_id());
        if seen != C::DEVICE_ID {
            let error = BringUpError::OtherClass { at, seen, expected: C::DEVICE_ID };
            return Err(Failed::new(error, transport));
        }
        match init::reset(&mut transport, &platform) {
            Ok(()) => Ok(Self { transport, platform, kept: Box::default() }),
            Err(error) => Err(Failed::new(BringUpError::Init(error), transport)),
        }
    }

    /// The transport.
    #[must_use]
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> Location {
        self.transport.location()
    }

    /// Whether a start failed and the device did not confirm the reset after it: the memory that it
    /// was told of waits in here for a start that begins with a reset which the device does
    /// confirm.
    #[must_use]
    pub fn keeps_memory(&self) -> bool {
        !self.kept.is_none()
    }

    /// The same device over what `map` makes of its transport, which has to reach the same device.
    pub(crate) fn map_transport<U>(self, map: impl FnOnce(T) -> U) -> Device<P, U, C> {
        let Self { transport, platform, kept } = self;
        Device { transport: map(transport), platform, kept }
    }

    /// Gives transport and platform up. Memory that it [keeps](Self::keeps_memory) is leaked.
    #[must_use]
    pub fn into_parts(self) -> (T, P) {
        (self.transport, self.platform)
    }

    /// Brings it up. `steps` does what is its class's own of that: it agrees on features, reads the
    /// configuration, sets up queues, which it leaves in the rings, and interrupts. What that found
    /// out comes back with the device and the rings; the device runs.
    ///
    /// # Errors
    ///
    /// Of `steps`, or a [`SetUpError`], and the device back, [abandoned](Self::abandon).
    #[expect(clippy::type_complexity, reason = "all that there is by then, each by its name")]
    pub(crate) fn bring_up<A, E: From<SetUpError> + Error + 'static>(
        mut self,
        steps: impl FnOnce(&mut Self, &mut C::Rings<P>) -> Result<A, E>,
    ) -> Result<(Self, C::Rings<P>, A), Failed<E, Self>> {
        let mut rings = C::Rings::default();
        let all_steps = || -> Result<A, E> {
            self.begin()?;
            let found = steps(&mut self, &mut rings)?;
            init::go(&mut self.transport).map_err(SetUpError::Init)?;
            Ok(found)
        };
        match all_steps() {
            Ok(found) => Ok((self, rings, found)),
            Err(error) => Err(self.abandon(rings, error)),
        }
    }

    /// Resets it, frees what it kept, and lets it reach memory.
    fn begin(&mut self) -> Result<(), SetUpError> {
        let Self { transport, platform, kept, .. } = self;
        init::reset(transport, platform)?;
        if !kept.is_none() {
            let quiet = transport.quiesce(platform).map_err(SetUpError::Bus)?;
            free(core::mem::take(&mut **kept), &quiet);
        }
        // Only now: a device that was left running by whoever was here before must not write to
        // memory that is ours today.
        transport.open_memory().map_err(SetUpError::Bus)
    }

    /// Agrees on features: those that are `allowed` and offered, and whose fields are there.
    ///
    /// # Errors
    ///
    /// [`SetUpError::Init`].
    pub(crate) fn agree<F: ClassFeatures>(
        &mut self,
        allowed: Allowed<F>,
    ) -> Result<Negotiated<F>, SetUpError> {
        init::acknowledge_and_claim(&mut self.transport)?;
        let chosen = init::negotiate(&mut self.transport, |transport, offered| {
            allowed.choose(readable::<F>(offered, transport.config().len_bytes()))
        })?;
        Ok(Negotiated::confirmed(chosen))
    }

    /// Its way to memory that it shares with the driver.
    pub(crate) fn dma(&self) -> DeviceDma<P> {
        let address_bits = self.transport.interface().address_bits();
        DeviceDma::new(self.platform.clone(), self.transport.tag(), address_bits)
    }

    /// Sets up one queue, except for its vector and the last step, and leaves it in `place`.
    ///
    /// # Errors
    ///
    /// [`SetUpError`].
    pub(crate) fn set_up<R: Record>(
        &mut self,
        queue: u16,
        size: QueueSize,
        format: Format,
        place: &mut Option<Queue<R, P>>,
    ) -> Result<(), SetUpError> {
        let dma = self.dma();
        let transport = &mut self.transport;
        let doorbell = transport.doorbell(queue, format.notification_data)?;
        let ring = place.insert(Virtqueue::new(&dma, size, format, doorbell)?);
        transport.write_queue(queue, size, &ring.addresses());
        Ok(())
    }

    /// Switches interrupts on in the best way offered, for queues 0 to `queues` and one of
    /// `commands`, which interrupts as events do; and finds out how far the device goes along.
    ///
    /// It has to confirm every vector: reading back "none" means that it has no resources for it,
    /// and then the next step down is tried *for all*, for a half-vectored device would sleep on
    /// what the other half holds. Below a single vector that is the line, where it is offered.
    ///
    /// Spec: VIRTIO 1.2, 4.1.5.1.2 "MSI-X Vector Configuration".
    fn choose_interrupts(
        &mut self,
        offered: Interrupts<'_>,
        queues: u16,
        commands: Option<u16>,
    ) -> InterruptMode {
        let (at, name) = (self.location(), C::NAME);
        let transport = &mut self.transport;
        // One for each queue, and one for events; more have no use.
        let offered = offered.with_at_most(usize::from(queues).saturating_add(1));
        let all = match transport.switch_interrupts(offered) {
            InterruptMode::Msix { vectors } => vectors,
            other => return other,
        };
        for vectors in (1..=all).rev() {
            let mode = InterruptMode::Msix { vectors };
            if assign(transport, mode, queues, commands) {
                if vectors < all {
                    warn!("{name} {at}: the device has no resources for {all} messages; {mode}");
                }
                return mode;
            }
        }
        warn!("{name} {at}: the device has no resources for messages");
        // Taking a vector away needs no resources, so there is nothing to confirm.
        let _ = transport.set_config_vector(Vector::None);
        for queue in (0..queues).chain(commands) {
            let _ = transport.set_queue_vector(queue, Vector::None);
        }
        transport.switch_interrupts(offered.without_msix())
    }

    /// The last of a class's own steps: chooses interrupts for queues 0 to `queues`, among those
    /// that are offered, and then enables these.
    pub(crate) fn enable(&mut self, queues: u16, offered: Interrupts<'_>) -> InterruptMode {
        self.enable_with(queues, None, offered)
    }

    /// The same with a queue of commands besides, wherever that is among the numbers.
    pub(crate) fn enable_with(
        &mut self,
        queues: u16,
        commands: Option<u16>,
        offered: Interrupts<'_>,
    ) -> InterruptMode {
        let interrupts = self.choose_interrupts(offered, queues, commands);
        for queue in (0..queues).chain(commands) {
            self.transport.enable_queue(queue);
        }
        interrupts
    }

    /// Has the device, which runs and interrupts as `mode` says, give `queue` up, with all that is
    /// lent there, and starts it again, as long as it was and in the same place. Queues next to it
    /// go on. What was lent is dropped. It is a feature, which was agreed.
    ///
    /// # Errors
    ///
    /// [`QueueError`]: the queue is broken. Where the device gave it up nothing is lent any more.
    pub(crate) fn restart_queue<R: Record>(
        &mut self,
        queue: &mut Queue<R, P>,
        mode: InterruptMode,
    ) -> Result<(), QueueError> {
        let (at, number) = (self.location(), queue.doorbell().queue());
        let transport = &mut self.transport;
        if let Err(error) = init::reset_queue(transport, number, &self.platform) {
            warn!("{} {at}: {error}", C::NAME);
            queue.fail(DeviceFault::NeedsReset);
            return Err(error);
        }
        queue.renew();
        transport.write_queue(number, queue.size(), &queue.addresses());
        if matches!(mode, InterruptMode::Msix { .. })
            && !transport.set_queue_vector(number, Vector::Entry(mode.queue_vector(number)))
        {
            queue.fail(DeviceFault::NeedsReset);
            return Err(QueueError::NoVector { queue: number });
        }
        transport.enable_queue(number);
        info!("{} {at}: queue {number} was reset and runs again", C::NAME);
        Ok(())
    }

    /// After a start that failed with `error`: says so to the device, resets it, and takes the
    /// memory back if that worked. The device [keeps](Self::keeps_memory) it if not.
    pub(crate) fn abandon<E: Error + 'static>(mut self, rings: C::Rings<P>, error: E) -> Failed<E, Self> {
        let (at, name) = (self.location(), C::NAME);
        warn!("{name} {at}: not started: {error}");
        let reset = match step_of(&error) {
            // Its reset is still under way, and must not meet another status; or it does not hear.
            // Another wait would end no better.
            Some(SetUpError::Init(error @ (InitError::NoReset { .. } | InitError::Gone))) => Err(*error),
            _ => {
                init::give_up(&mut self.transport);
                init::reset(&mut self.transport, &self.platform)
            }
        };
        // Why the start failed says more than why the stop did.
        match self.silence(reset) {
            Ok(quiet) => free(rings, &quiet),
            Err(stop) => {
                warn!("{name} {at}: {stop}");
                // There are none of before: a device that keeps any is not told of new ones.
                if !rings.is_none() {
                    *self.kept = rings;
                }
            }
        }
        Failed::new(error, self)
    }

    /// Stops the device.
    ///
    /// # Errors
    ///
    /// [`StopError`]: it may still reach memory.
    pub(crate) fn shut_down(&mut self) -> Result<Quiet<'_>, StopError> {
        let at = self.location();
        let reset = init::reset(&mut self.transport, &self.platform);
        let stopped = self.silence(reset);
        match &stopped {
            Ok(_) => info!("{} {at}: stopped", C::NAME),
            Err(error) => warn!("{} {at}: {error}", C::NAME),
        }
        stopped
    }

    /// After the device was asked to reset: switches its interrupts and its way to memory off, and
    /// vouches that it has let go if it confirmed the reset and the bus vouches for it.
    fn silence(&mut self, reset: Result<(), InitError>) -> Result<Quiet<'_>, StopError> {
        let Self { transport, platform, .. } = self;
        // The line may be shared, and a device that is reset has nothing to say on it.
        transport.switch_interrupts(Interrupts::POLLING);
        match reset {
            Ok(()) => transport.quiesce(platform).map_err(StopError::NotQuiet),
            Err(error) => {
                // By itself it is not enough: some monitors do not look at that bit.
                transport.close_memory(platform);
                Err(StopError::NoReset(error))
            }
        }
    }
}

impl<P: Platform, T: Transport<P::Region>, C: Class> fmt::Debug for Device<P, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({} {})", C::NAME, self.location())
    }
}

/// Frees what was made for the device that the proof is about.
fn free(rings: impl Rings, quiet: &Quiet<'_>) {
    let freed = rings.free(quiet);
    debug_assert!(freed, "a ring of another device");
}

/// The step of bring-up that failed, if `error` is one of these or was caused by one.
fn step_of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e SetUpError> {
    error.downcast_ref().or_else(|| error.source()?.downcast_ref())
}

/// How long `queue` is, of which `entries` are wanted, in a packed ring or a split one. Some legacy
/// devices have no choice.
///
/// # Errors
///
/// [`SetUpError`].
pub(crate) fn queue_size<R>(
    transport: &mut impl Transport<R>,
    queue: u16,
    entries: u16,
    packed: bool,
) -> Result<QueueSize, SetUpError> {
    if entries == 0 {
        return Err(SetUpError::NoEntries { queue });
    }
    let device_max = transport.read_queue_max(queue)?;
    if transport.interface() == (Interface::Legacy { fixed_size: true }) && device_max > 0 {
        let size = QueueSize::new(device_max).filter(|_| device_max.is_power_of_two());
        return Ok(size.ok_or(QueueError::Size { queue, entries: device_max })?);
    }
    Ok(QueueSize::at_most(entries, device_max, packed).ok_or(QueueError::Absent { queue })?)
}

/// Asks for the vectors of `mode`. False when the device has no resources for one.
fn assign<R>(
    transport: &mut impl Transport<R>,
    mode: InterruptMode,
    queues: u16,
    commands: Option<u16>,
) -> bool {
    let events = Vector::Entry(mode.event_vector());
    transport.set_config_vector(events)
        && (0..queues).all(|queue| transport.set_queue_vector(queue, Vector::Entry(mode.queue_vector(queue))))
        && commands.is_none_or(|queue| transport.set_queue_vector(queue, events))
}
