//! What every class of device goes through on its way up and down: reset, features, queues,
//! interrupts, and the way home of memory. Once, for all of them.
//!
//! ```text
//!  begin       reset, memory kept from an earlier start freed, bus opened
//!  (class)     features agreed, configuration read
//!  set_up      each queue: memory, addresses, doorbell
//!  interrupts  the best that device and bus have
//!  go          queues enabled, DRIVER_OK
//! ```
//!
//! Memory that the device knows of is freed only after it confirmed a reset *and* the bus vouches
//! for its silence. Until then it is kept: in the parts that a stop gives back, or in here when a
//! start failed.

use alloc::boxed::Box;

use log::warn;
use paravane_hal::dma::{DeviceDma, Quiet};
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::{Failed, Platform};

use crate::error::{BringUpError, SetUpError, StopError};
use crate::init::{self, InitError};
use crate::queue::{Record, Virtqueue};
use crate::ring::{Format, QueueSize};
use crate::transport::{Location, QueueDoorbell, QueueError, Transport, Vector};

/// Virtio devices drive whole addresses.
const ADDRESS_BITS: u8 = 64;

/// A queue of a device on platform `P`.
pub(crate) type Queue<R, P> = Virtqueue<R, P, QueueDoorbell<<P as paravane_hal::mmio::MmioMap>::Region>>;

/// A class of device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Class {
    /// Its number.
    ///
    /// Spec: VIRTIO 1.2, 5 "Device Types".
    pub(crate) device_id: u16,
    /// What it is called in messages.
    pub(crate) name: &'static str,
}

/// Queues that the device may know of and that nobody has: while bring-up is under way, and after
/// it failed.
pub(crate) trait Rings: Default {
    /// Whether there is none.
    fn is_none(&self) -> bool;

    /// Frees their memory and what is lent there, against proof that the device has let go.
    fn free(self, quiet: &Quiet<'_>);
}

/// A claimed device of any class: it was reset, or does not answer to that.
pub(crate) struct Device<P: Platform, T, K> {
    pub(crate) transport: T,
    pub(crate) platform: P,
    class: Class,
    /// Of a start that failed, while the device has not confirmed its reset. Dropped, it is leaked.
    /// In a box that is there before it is needed: a failure does not ask for memory.
    kept: Box<K>,
}

impl<P: Platform, T: Transport<P::Region>, K: Rings> Device<P, T, K> {
    /// Takes the device behind `transport` into use: resets it, so that whatever drove it before
    /// is over. It may not use memory until it is started.
    ///
    /// # Errors
    ///
    /// [`BringUpError`], and the transport back.
    pub(crate) fn open(mut transport: T, platform: P, class: Class) -> Result<Self, Failed<BringUpError, T>> {
        let (at, seen) = (transport.location(), transport.device_id());
        if seen != class.device_id {
            let error = BringUpError::OtherClass { at, seen, expected: class.device_id };
            return Err(Failed::new(error, transport));
        }
        match init::reset(&mut transport, &platform) {
            Ok(()) => Ok(Self { transport, platform, class, kept: Box::default() }),
            Err(error) => Err(Failed::new(BringUpError::Init(error), transport)),
        }
    }

    /// Where it is.
    pub(crate) fn location(&self) -> Location {
        self.transport.location()
    }

    /// Whether it keeps memory of a start that failed.
    pub(crate) fn keeps_memory(&self) -> bool {
        !self.kept.is_none()
    }

    /// Begins a start: resets it, frees what it kept, and lets it reach memory.
    ///
    /// # Errors
    ///
    /// [`SetUpError`].
    pub(crate) fn begin(&mut self) -> Result<(), SetUpError> {
        let Self { transport, platform, kept, .. } = self;
        init::reset(transport, platform)?;
        if !kept.is_none() {
            let quiet = transport.quiesce(platform).map_err(SetUpError::Bus)?;
            core::mem::take(&mut **kept).free(&quiet);
        }
        // Only now: a device that was left running by whoever was here before must not write to
        // memory that is ours today.
        transport.open_memory().map_err(SetUpError::Bus)
    }

    /// Its way to memory that it shares with the driver.
    pub(crate) fn dma(&self) -> DeviceDma<P> {
        DeviceDma::new(self.platform.clone(), self.transport.tag(), ADDRESS_BITS)
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
        let doorbell = transport.doorbell(queue)?;
        let ring = place.insert(Virtqueue::new(&dma, size, format, doorbell)?);
        transport.write_queue(queue, size, &ring.addresses());
        Ok(())
    }

    /// Switches interrupts on in the best way offered, for queues 0 to `queues`, and finds out how
    /// far the device goes along.
    ///
    /// It has to confirm every vector: reading back "none" means that it has no resources for it,
    /// and then the next step down is tried *for all*, for a half-vectored device would sleep on
    /// what the other half holds. Below a single vector that is the line, where it is offered.
    ///
    /// Comes before the queues are enabled.
    ///
    /// Spec: VIRTIO 1.2, 4.1.5.1.2 "MSI-X Vector Configuration".
    pub(crate) fn choose_interrupts(&mut self, offered: Interrupts<'_>, queues: u16) -> InterruptMode {
        let (at, name) = (self.location(), self.class.name);
        let transport = &mut self.transport;
        // One for each queue, and one for events; more have no use.
        let offered = offered.with_at_most(usize::from(queues).saturating_add(1));
        let all = match transport.switch_interrupts(offered) {
            InterruptMode::Msix { vectors } => vectors,
            other => return other,
        };
        for vectors in (1..=all).rev() {
            let mode = InterruptMode::Msix { vectors };
            if assign(transport, mode, queues) {
                if vectors < all {
                    warn!("{name} {at}: the device has no resources for {all} messages; {mode}");
                }
                return mode;
            }
        }
        warn!("{name} {at}: the device has no resources for messages");
        // Taking a vector away needs no resources, so there is nothing to confirm.
        let _ = transport.set_config_vector(Vector::None);
        for queue in 0..queues {
            let _ = transport.set_queue_vector(queue, Vector::None);
        }
        transport.switch_interrupts(offered.without_msix())
    }

    /// Enables queues 0 to `queues`. Comes last before [`go`](Self::go).
    pub(crate) fn enable_queues(&mut self, queues: u16) {
        for queue in 0..queues {
            self.transport.enable_queue(queue);
        }
    }

    /// Starts the device.
    ///
    /// # Errors
    ///
    /// [`SetUpError::Init`].
    pub(crate) fn go(&mut self) -> Result<(), SetUpError> {
        init::go(&mut self.transport).map_err(SetUpError::Init)
    }

    /// After a start that failed: says so to the device, resets it, and takes the memory back if
    /// that worked. `set_up` is the step that failed, if it was one of these.
    pub(crate) fn abandon(&mut self, rings: K, set_up: Option<&SetUpError>) {
        let reset = match set_up {
            // Its reset is still under way, and must not meet another status; or it does not hear.
            // Another wait would end no better.
            Some(SetUpError::Init(error @ (InitError::NoReset { .. } | InitError::Gone))) => Err(*error),
            _ => {
                init::give_up(&mut self.transport);
                init::reset(&mut self.transport, &self.platform)
            }
        };
        let (at, name) = (self.location(), self.class.name);
        // Why the start failed says more than why the stop did.
        match self.silence(reset) {
            Ok(quiet) => rings.free(&quiet),
            Err(stop) => {
                warn!("{name} {at}: {stop}");
                // There are none of before: a device that keeps any is not told of new ones.
                if !rings.is_none() {
                    *self.kept = rings;
                }
            }
        }
    }

    /// Stops the device.
    ///
    /// # Errors
    ///
    /// [`StopError`]: it may still reach memory.
    pub(crate) fn shut_down(&mut self) -> Result<Quiet<'_>, StopError> {
        let reset = init::reset(&mut self.transport, &self.platform);
        self.silence(reset)
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

/// How long `queue` is, of which `entries` are wanted, in a packed ring or a split one.
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
    Ok(QueueSize::at_most(entries, device_max, packed).ok_or(QueueError::Absent { queue })?)
}

/// Asks for the vectors of `mode`. False when the device has no resources for one.
fn assign<R>(transport: &mut impl Transport<R>, mode: InterruptMode, queues: u16) -> bool {
    transport.set_config_vector(Vector::Entry(mode.event_vector()))
        && (0..queues).all(|queue| transport.set_queue_vector(queue, Vector::Entry(mode.queue_vector(queue))))
}
