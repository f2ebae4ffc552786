//! The long tail: `virtio-drivers` has drivers for consoles, entropy, sockets, input, displays and
//! sound, and they run over the transports and the bring-up of this crate. With feature
//! `virtio-drivers`.
//!
//! ```no_run
//! # use paravane_hal::{Platform, irq::Interrupts, dma::fixed::{FixedHal, Place}};
//! # use paravane_pci::{ConfigAccess, Function};
//! # fn random<S: Place, P: Platform, C: ConfigAccess>(
//! #     function: Function<C>, platform: P) -> Option<u64> {
//! use paravane_virtio::bridge::Bridge;
//! use paravane_virtio::transport::pci::PciTransport;
//! use virtio_drivers::device::rng::VirtIORng;
//!
//! let transport = PciTransport::open(function, &platform).ok()?;
//! let bridge = Bridge::<S, _, _>::new(transport, platform);
//! let mut entropy = VirtIORng::<FixedHal<S>, _>::new(bridge).ok()?;
//! let mut bytes = [0; 8];
//! entropy.request_entropy(&mut bytes).ok()?;
//! # Some(u64::from_ne_bytes(bytes)) }
//! ```
//!
//! What they gain: a status that grows bit by bit, a reset that is waited for and vouched for,
//! features read back, registers written in halves; so they run on monitors that are strict. What
//! stays theirs: rings, on which one request waits at a time and without a limit, and whose device
//! is believed in part. So this is for hosts that are trusted, unlike the rest of this crate. The
//! line or polling, no messages; and no legacy devices, whose queues are not as long as theirs.
//!
//! Their memory comes from a static, for their `Hal` is a type: see
//! [`fixed`](paravane_hal::dma::fixed), where what is `unsafe` of it lives, beside the other
//! memory that devices reach.

use alloc::vec::Vec;
use core::fmt::Debug;
use core::marker::PhantomData;
use core::ops::BitAnd;

use bitflags::Flags;
use log::warn;
use paravane_hal::Platform;
use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::fixed::Place;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::{Mmio, Window};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::config;
use crate::error::SetUpError;
use crate::feature::RingFeatures;
use crate::init::{self, InitError};
use crate::queue::Doorbell as _;
use crate::ring::{QueueAddresses, QueueSize};
use crate::status::Status;
use crate::transport::{QueueDoorbell, QueueError, Transport};

/// Their features that stay off. Their `EVENT_IDX` looks at the device's wish without an order
/// behind what it published, and indirect descriptors have them ask the heap at every request.
const LEFT_ALONE: u64 = RingFeatures::EVENT_IDX.union(RingFeatures::INDIRECT_DESC).bits();

/// A device for a driver of `virtio-drivers`: their `Transport` over one of ours. Dropped, it
/// resets the device.
///
/// The driver's memory is at `S`: it is a driver over `FixedHal<S>`. One with another `Hal` is made
/// and never answered, for the device is not told of memory that is not there.
pub struct Bridge<S: Place, P: Platform, T: Transport<P::Region>> {
    transport: T,
    platform: P,
    doorbells: Vec<(u16, QueueDoorbell<P::Region>)>,
    /// Where its rings are.
    rings: Vec<DmaAddr>,
    interrupts: InterruptMode,
    wants_line: bool,
    phase: Phase,
    place: PhantomData<fn() -> S>,
}

/// How far a device has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It was not reset yet, or is silent again.
    Down,
    /// Its driver sets it up, or uses it.
    Up,
    /// A step failed.
    Failed,
}

impl<S: Place, P: Platform, T: Transport<P::Region>> Bridge<S, P, T> {
    /// The device behind `transport`, polled. Nothing is written until a driver is made over it.
    #[must_use]
    pub fn new(transport: T, platform: P) -> Self {
        Self {
            transport,
            platform,
            doorbells: Vec::new(),
            rings: Vec::new(),
            interrupts: InterruptMode::Polling,
            wants_line: false,
            phase: Phase::Down,
            place: PhantomData,
        }
    }

    /// The same with the interrupt line, if there is one.
    #[must_use]
    pub fn with_line(mut self) -> Self {
        self.wants_line = true;
        self
    }

    /// Up to features that are agreed.
    fn agree(&mut self, supported: u64) -> Result<u64, SetUpError> {
        self.silence();
        init::reset(&mut self.transport, &self.platform)?;
        if self.transport.interface().is_legacy() {
            // A legacy queue is as long as the device says, and theirs are as long as they are.
            return Err(InitError::NotVersion1 { offered: self.transport.read_device_features() }.into());
        }
        self.transport.open_memory().map_err(SetUpError::Bus)?;
        init::acknowledge_and_claim(&mut self.transport)?;
        // What a driver has to accept, whether that crate knows it or not: addresses are the
        // platform's here.
        let supported = supported & !LEFT_ALONE | RingFeatures::ACCESS_PLATFORM.bits();
        let agreed = init::negotiate(&mut self.transport, |_, offered| offered & supported)?;
        let offered = if self.wants_line { Interrupts::LINE } else { Interrupts::POLLING };
        self.interrupts = self.transport.switch_interrupts(offered);
        Ok(agreed)
    }

    /// How long `queue` may be, with its doorbell found: what is missing shows before that crate
    /// sets the queue up, which it believes never to fail.
    fn find(&mut self, queue: u16) -> Result<u16, SetUpError> {
        let entries = self.transport.read_queue_max(queue)?;
        if entries != 0 && self.doorbell(queue).is_none() {
            let doorbell = self.transport.doorbell(queue, false)?;
            self.doorbells.push((queue, doorbell));
        }
        Ok(entries)
    }

    fn doorbell(&self, queue: u16) -> Option<&QueueDoorbell<P::Region>> {
        self.doorbells.iter().find_map(|(number, doorbell)| (*number == queue).then_some(doorbell))
    }

    /// `None` where memory is not that of `S`.
    fn set_up(&mut self, queue: u16, entries: u32, addrs: [PhysAddr; 3]) -> Option<()> {
        let size = QueueSize::new(u16::try_from(entries).ok()?)?;
        let [Some(descriptors), Some(driver), Some(device)] = addrs.map(|addr| S::fixed().dma_addr(addr))
        else {
            return None;
        };
        let addresses = QueueAddresses { descriptors, driver, device };
        self.transport.write_queue(queue, size, &addresses);
        self.transport.enable_queue(queue);
        self.rings.extend([descriptors, driver, device]);
        Some(())
    }

    /// Notes that a step failed, and says so to the device. Queues have no entries from here on, so
    /// that its driver is not made.
    fn fail(&mut self, error: &SetUpError) {
        warn!("virtio {}: not started: {error}", self.transport.location());
        self.phase = Phase::Failed;
        if let SetUpError::Init(InitError::NoReset { .. } | InitError::Gone) = error {
            // Its reset is still under way, and must not meet another status; or it does not hear.
            // What was not told of memory needs no second one.
            if self.rings.is_empty() {
                self.phase = Phase::Down;
            }
            return;
        }
        init::give_up(&mut self.transport);
    }

    /// Resets a device that was up. Its rings stay allocated unless it and its bus confirm that.
    fn silence(&mut self) {
        if self.phase == Phase::Down {
            return;
        }
        self.phase = Phase::Down;
        self.doorbells.clear();
        let reset = init::reset(&mut self.transport, &self.platform);
        self.transport.switch_interrupts(Interrupts::POLLING);
        let is_quiet = reset.is_ok() && self.transport.quiesce(&self.platform).is_ok();
        let rings = core::mem::take(&mut self.rings);
        if !is_quiet {
            let at = self.transport.location();
            warn!("virtio {at}: does not let go of memory, which stays allocated");
            self.transport.close_memory(&self.platform);
            rings.into_iter().for_each(|addr| S::fixed().keep(addr));
        }
    }
}

impl<S: Place, P: Platform, T: Transport<P::Region>> Drop for Bridge<S, P, T> {
    fn drop(&mut self) {
        self.silence();
    }
}

impl<S: Place, P: Platform, T: Transport<P::Region>> virtio_drivers::transport::Transport
    for Bridge<S, P, T>
{
    /// Kinds that crate has no number for are none that it drives.
    fn device_type(&self) -> DeviceType {
        DeviceType::try_from(u32::from(self.transport.device_id())).unwrap_or(DeviceType::Pstore)
    }

    fn read_device_features(&mut self) -> u64 {
        self.transport.read_device_features()
    }

    fn write_driver_features(&mut self, features: u64) {
        self.transport.write_driver_features(features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        match self.phase {
            Phase::Up => match self.find(queue) {
                Ok(entries) => entries.into(),
                Err(error) => {
                    self.fail(&error);
                    0
                }
            },
            Phase::Down | Phase::Failed => 0,
        }
    }

    fn notify(&mut self, queue: u16) {
        if let Some(doorbell) = self.doorbell(queue) {
            doorbell.ring(|| 0);
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.transport.read_status().bits().into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let status = u8::try_from(status.bits()).map_or(Status::FAILED, Status::from_bits_retain);
        self.transport.write_status(status);
    }

    /// There is none: pages are a legacy device's.
    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        let is_set = self.set_up(queue, size, [descriptors, driver_area, device_area]);
        if is_set.is_none() {
            self.fail(&QueueError::Absent { queue }.into());
        }
        debug_assert!(is_set.is_some(), "a driver whose memory is elsewhere than its bridge says");
    }

    /// Resets the whole device, for that is what has it let go of a queue.
    fn queue_unset(&mut self, _queue: u16) {
        self.silence();
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        matches!(self.transport.read_queue_max(queue), Err(QueueError::AlreadyEnabled { .. }))
    }

    /// Nothing, where the line is not used.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        if self.interrupts != InterruptMode::Line {
            return InterruptStatus::empty();
        }
        InterruptStatus::from_bits_retain(self.transport.take_interrupt_status().bits().into())
    }

    /// Steps 1 to 5 of [`init`]. Nothing is agreed if one of them fails.
    fn begin_init<F: Flags<Bits = u64> + BitAnd<Output = F> + Debug>(&mut self, supported: F) -> F {
        match self.agree(supported.bits()) {
            Ok(agreed) => {
                self.phase = Phase::Up;
                F::from_bits_truncate(agreed)
            }
            Err(error) => {
                self.fail(&error);
                F::empty()
            }
        }
    }

    /// Step 7.
    fn finish_init(&mut self) {
        if self.phase == Phase::Up
            && let Err(error) = init::go(&mut self.transport)
        {
            self.fail(&error.into());
        }
    }

    fn read_config_generation(&self) -> u32 {
        // None is a legacy device's, which is not driven here.
        self.transport.read_config_generation().unwrap_or(0)
    }

    fn read_config_space<V: FromBytes + IntoBytes>(&self, offset: usize) -> Result<V, Error> {
        let mut value = V::new_zeroed();
        let window = self.transport.config();
        each_access::<V, _>(window, offset, |window, at, width_bytes| {
            let bytes = value.as_mut_bytes();
            let place = at
                .checked_sub(offset)
                .and_then(|start| bytes.get_mut(start..start.checked_add(width_bytes)?));
            let Some(place) = place else { return };
            match width_bytes {
                1 => place.copy_from_slice(&window.read8(at).to_ne_bytes()),
                2 => place.copy_from_slice(&window.read16(at).to_ne_bytes()),
                _ => place.copy_from_slice(&window.read32(at).to_ne_bytes()),
            }
        })?;
        Ok(value)
    }

    fn write_config_space<V: IntoBytes + Immutable>(&mut self, offset: usize, value: V) -> Result<(), Error> {
        let bytes = value.as_bytes();
        each_access::<V, _>(self.transport.config(), offset, |window, at, width_bytes| {
            let rest = at.checked_sub(offset).and_then(|start| bytes.get(start..)).unwrap_or_default();
            match (width_bytes, rest) {
                (1, &[a, ..]) => window.write8(at, a),
                (2, &[a, b, ..]) => window.write16(at, u16::from_ne_bytes([a, b])),
                (_, &[a, b, c, d, ..]) => window.write32(at, u32::from_ne_bytes([a, b, c, d])),
                _ => {}
            }
        })
    }

    /// A configuration that never stands still is an error.
    fn read_consistent<V>(&self, look: impl Fn() -> Result<V, Error>) -> Result<V, Error> {
        let stands_still = (0..config::ATTEMPTS).find_map(|_| {
            let generation = self.transport.read_config_generation();
            let seen = look();
            (self.transport.read_config_generation() == generation).then_some(seen)
        });
        stands_still.unwrap_or(Err(Error::NotReady))
    }
}

/// Goes through a value of type `V` at `offset` of a configuration space in accesses of its own
/// width, 32 bits at most: where each is, and how wide.
///
/// Spec: VIRTIO 1.2, 2.5.3 "Device Requirements: Device Configuration Space".
fn each_access<V, R: Mmio>(
    window: &Window<R>,
    offset: usize,
    mut access: impl FnMut(&Window<R>, usize, usize),
) -> Result<(), Error> {
    let end = offset.checked_add(size_of::<V>()).ok_or(Error::ConfigSpaceTooSmall)?;
    if end > window.len_bytes() {
        return Err(Error::ConfigSpaceTooSmall);
    }
    let width_bytes = align_of::<V>().min(4);
    (offset..end).step_by(width_bytes).for_each(|at| access(window, at, width_bytes));
    Ok(())
}
