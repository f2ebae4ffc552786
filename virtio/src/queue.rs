//! The virtqueue: what is lent to the device, and what it gives back.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Virtqueue`]: publish, observe, arm; every check of a count |
//! | [`in_place`] | lending where descriptors stay posted: what comes back is exchanged. Receiving |
//! | [`in_turn`] | lending by the run, descriptors in the order of the ring. Sending |
//! | [`split`] | the shared memory, and the ordering |
//! | [`layout`] | sizes and places, as numbers |
//! | [`notify`] | when a notification is owed |
//!
//! All of it stays inside the crate. What takes a [`Segment`] trusts the length that comes with the
//! address, and what takes sent frames home trusts the count: from outside, either would need no
//! `unsafe` to reach memory that nobody gave.
//!
//! ```compile_fail,E0603
//! use paravane_virtio::queue::Virtqueue;
//! ```
//!
//! What is lent is moved in and comes back when the device has used its chain, or by
//! [`free`](Virtqueue::free) when the device has been stopped.
//!
//! The device is not believed: heads, lengths and counts are held against the driver's own record,
//! and the first lie breaks the queue. A broken queue answers every call with the same fault until
//! its device was stopped and started.

pub(crate) mod in_place;
pub(crate) mod in_turn;
pub(crate) mod layout;
pub(crate) mod notify;
pub(crate) mod split;

use paravane_hal::dma::{DeviceDma, DeviceTag, Dma, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;

pub(crate) use in_place::Completion;
pub(crate) use in_place::InPlace;
pub(crate) use in_turn::InTurn;
pub(crate) use layout::QueueSize;
pub(crate) use split::{QueueAddresses, Segment, UsedElement};

use crate::transport::Doorbell;
use split::SplitMemory;

/// What became of the question whether to ring the doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kick {
    /// Nothing new was published.
    Nothing,
    /// The doorbell was rung.
    Rung,
    /// The device said that it looks anyway.
    Saved,
}

/// What a queue has lent to its device, and in which descriptors. Private memory, which no device
/// sees.
pub(crate) trait Record: Sized {
    /// Nothing lent yet of `size` descriptors, to `device`.
    ///
    /// # Errors
    ///
    /// [`DmaError`] when there is no memory for it.
    fn new(size: QueueSize, device: DeviceTag) -> Result<Self, DmaError>;

    /// How many descriptors are free.
    fn room(&self) -> u16;

    /// Gives what was lent back, against proof that the device has let go. False when the proof is
    /// about another device: it is leaked.
    fn reclaim(self, quiet: &Quiet<'_>) -> bool;
}

/// One split virtqueue that lends as `R` does.
pub(crate) struct Virtqueue<R, D: Dma, B> {
    memory: SplitMemory<D>,
    lent: R,
    /// Number of the next chain to be offered. Free-running.
    offered: u16,
    /// What the device was last told of it, which is also where the last decision about the
    /// doorbell was taken.
    published: u16,
    /// Number of the next used element to be taken. Free-running.
    taken: u16,
    event_idx: bool,
    armed: bool,
    /// Something was published since the doorbell last rang.
    untold: bool,
    fault: Option<DeviceFault>,
    doorbell: B,
    device: DeviceTag,
}

impl<R: Record, D: Dma, B: Doorbell> Virtqueue<R, D, B> {
    /// A queue of `size` entries, empty and disarmed, over fresh memory. Where the memory is,
    /// [`addresses`](Self::addresses) says.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(
        of: &DeviceDma<D>,
        size: QueueSize,
        event_idx: bool,
        doorbell: B,
    ) -> Result<Self, DmaError> {
        let mut queue = Self {
            memory: SplitMemory::new(of, size)?,
            lent: R::new(size, of.device())?,
            offered: 0,
            published: 0,
            taken: 0,
            event_idx,
            armed: true,
            untold: false,
            fault: None,
            doorbell,
            device: of.device(),
        };
        queue.disarm();
        Ok(queue)
    }

    /// Where the device finds the queue.
    #[must_use]
    pub(crate) fn addresses(&self) -> QueueAddresses {
        self.memory.addresses()
    }

    /// How many entries it has.
    #[must_use]
    #[inline(always)]
    pub(crate) fn size(&self) -> QueueSize {
        self.memory.size()
    }

    /// How many descriptors are free.
    #[must_use]
    #[inline(always)]
    pub(crate) fn room(&self) -> u16 {
        self.lent.room()
    }

    /// How many chains the device has.
    #[must_use]
    #[inline(always)]
    pub(crate) fn in_flight(&self) -> usize {
        // Each chain is counted when it is offered and again when it is taken back.
        self.offered.wrapping_sub(self.taken).into()
    }

    /// Which device it belongs to.
    #[must_use]
    pub(crate) fn device(&self) -> DeviceTag {
        self.device
    }

    /// The fault that broke it, if it is broken.
    ///
    /// # Errors
    ///
    /// That fault.
    #[inline(always)]
    pub(crate) fn check(&self) -> Result<(), DeviceFault> {
        match self.fault {
            None => Ok(()),
            Some(fault) => Err(fault),
        }
    }

    /// Breaks the queue.
    #[cold]
    pub(crate) fn fail(&mut self, fault: DeviceFault) -> DeviceFault {
        *self.fault.get_or_insert(fault)
    }

    #[inline(always)]
    fn offer(&mut self, head: u16) {
        self.memory.offer(self.offered, head);
        self.offered = self.offered.wrapping_add(1);
    }

    /// Makes what was posted available to the device, and rings the doorbell if the device wants
    /// that. Once per batch.
    #[inline]
    pub(crate) fn publish(&mut self) -> Kick {
        if self.offered == self.published {
            return Kick::Nothing;
        }
        self.memory.publish(self.offered);
        let owed = self.memory.reads_kick_owed(self.event_idx, self.offered, self.published);
        self.published = self.offered;
        self.untold = !owed;
        if owed {
            self.doorbell.ring();
            Kick::Rung
        } else {
            Kick::Saved
        }
    }

    /// Rings the doorbell if the device has something that it was not told about. True when it
    /// rang.
    pub(crate) fn flush(&mut self) -> bool {
        let owed = self.untold && self.in_flight() > 0;
        if owed {
            self.untold = false;
            self.doorbell.ring();
        }
        owed
    }

    /// Rings the doorbell if anything is in flight, whatever the device asked for and was told.
    /// Whether it did.
    pub(crate) fn remind(&mut self) -> bool {
        self.untold |= self.in_flight() > 0;
        self.flush()
    }

    /// How many completions wait to be taken.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the queue is broken, or the device says that it is done with more than it
    /// has.
    #[inline]
    pub(crate) fn observe(&mut self) -> Result<u16, DeviceFault> {
        self.check()?;
        let waiting = self.memory.read_used_idx().wrapping_sub(self.taken);
        if usize::from(waiting) > self.in_flight() {
            let in_flight = u32::try_from(self.in_flight()).unwrap_or(u32::MAX);
            return Err(
                self.fail(DeviceFault::TooManyCompletions { completed: u32::from(waiting), in_flight })
            );
        }
        Ok(waiting)
    }

    /// A head that is not in flight.
    #[cold]
    fn unknown_head(&mut self, id: u32) -> DeviceFault {
        let entries = u32::from(self.size().entries());
        self.fail(if id >= entries {
            DeviceFault::IndexOutOfRange { index: id, entries }
        } else {
            DeviceFault::NotInFlight { index: id }
        })
    }

    /// Asks for an interrupt when `count` more completions are there, then looks once more.
    ///
    /// Without `EVENT_IDX` the device can only be asked to interrupt at every one.
    ///
    /// # Errors
    ///
    /// As [`observe`](Self::observe).
    pub(crate) fn arm(&mut self, count: u16) -> Result<Armed, DeviceFault> {
        self.check()?;
        if self.event_idx {
            self.memory.ask_at(notify::after(self.taken, count.max(1)));
        } else {
            self.memory.ask_always();
        }
        self.armed = true;
        if self.observe()? > 0 {
            self.disarm();
            return Ok(Armed::Pending);
        }
        Ok(Armed::Idle)
    }

    /// Asks for no interrupts. A hint: one may still come.
    #[inline]
    pub(crate) fn disarm(&mut self) {
        if !self.armed {
            return;
        }
        self.armed = false;
        if self.event_idx {
            self.memory.ask_not_before_lap(self.taken);
        } else {
            self.memory.ask_never();
        }
    }

    /// Gives all memory back, rings and what was lent, against proof that the device has let go.
    /// False when the proof is about another device: all of it is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        let Self { memory, lent, .. } = self;
        lent.reclaim(quiet) & memory.free(quiet)
    }
}
