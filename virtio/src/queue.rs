//! The virtqueue: what is lent to the device, and what it gives back.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Virtqueue`]: publish, observe, arm; every check of a count |
//! | [`tokens`] | the general record: chains of any shape, used in any order |
//! | [`tables`] | tables of descriptors beside the ring |
//!
//! A queue knows `paravane-hal` and its [`ring`](crate::ring), and no class of device. A class that
//! lends in a way of its own brings its own [`Record`].
//!
//! All of it stays inside the crate. What takes a [`Segment`](crate::ring::Segment) trusts the
//! length that comes with the address, and what takes sent frames home trusts the count: from
//! outside, either would need no `unsafe` to reach memory that nobody gave.
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

pub(crate) mod tables;
pub(crate) mod tokens;

use paravane_hal::dma::{DeviceDma, DeviceTag, Dma, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;

use crate::ring::{AnyRing, Format, QueueAddresses, QueueSize, Ring, UsedElement, each_format};
use tables::Tables;

/// A used element that names, of chains that are used in order, one behind those that the device
/// says it used.
pub(crate) const BATCH_TOO_LONG: DeviceFault = DeviceFault::OutOfSequence {
    what: "a used element names a buffer behind those that the used idx counts",
};

/// Tells the device that a queue has something new. Found once, kept with the queue.
pub(crate) trait Doorbell: Send {
    /// Tells it. One register write, ordered after all stores to shared memory before. Where the
    /// queue goes on, `position` says, for devices that want to be told.
    fn ring(&self, position: impl FnOnce() -> u16);
}

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
    /// Whether it describes chains in tables, where that was agreed.
    const TABLES: bool = false;

    /// Nothing lent yet of `size` descriptors of a ring of that format, to `device`.
    ///
    /// # Errors
    ///
    /// [`DmaError`] when there is no memory for it.
    fn new(size: QueueSize, format: Format, device: DeviceTag) -> Result<Self, DmaError>;

    /// How many descriptors are free.
    fn room(&self) -> u16;

    /// Drops what is lent, all of which the device has given up: nothing is lent then.
    fn clear(&mut self);

    /// Gives what was lent back, against proof that the device has let go. False when the proof is
    /// about another device: it is leaked.
    fn reclaim(self, quiet: &Quiet<'_>) -> bool;
}

/// One virtqueue that lends as `R` does.
pub(crate) struct Virtqueue<R, D: Dma, B> {
    ring: AnyRing<D>,
    lent: R,
    tables: Option<Tables<D>>,
    /// Chains of up to so many segments are in tables.
    table_most: u16,
    /// What the device said of the last of several chains that it used in order, as long as not
    /// all of them were taken.
    batch: Option<UsedElement>,
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
        format: Format,
        doorbell: B,
    ) -> Result<Self, DmaError> {
        let mut queue = Self {
            ring: AnyRing::new(of, size, format)?,
            lent: R::new(size, format, of.device())?,
            tables: if R::TABLES && format.indirect { Some(Tables::new(of, size)?) } else { None },
            table_most: 0,
            batch: None,
            armed: true,
            untold: false,
            fault: None,
            doorbell,
            device: of.device(),
        };
        queue.table_most = queue.tables.as_ref().map_or(0, Tables::most);
        queue.disarm();
        Ok(queue)
    }

    /// Where the device finds the queue.
    #[must_use]
    pub(crate) fn addresses(&self) -> QueueAddresses {
        self.ring.addresses()
    }

    /// How many entries it has.
    #[must_use]
    #[inline(always)]
    pub(crate) fn size(&self) -> QueueSize {
        each_format!(&self.ring, ring => ring.size())
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
        each_format!(&self.ring, ring => ring.in_flight()).into()
    }

    /// Its doorbell.
    pub(crate) fn doorbell(&self) -> &B {
        &self.doorbell
    }

    /// Which device it belongs to.
    #[must_use]
    pub(crate) fn device(&self) -> DeviceTag {
        self.device
    }

    /// The ring and what is lent, for the record's own ways to post and to take. What they find
    /// wrong, [`fail`](Self::fail) has to hear of.
    #[inline(always)]
    pub(crate) fn parts(&mut self) -> (&mut AnyRing<D>, &mut R) {
        (&mut self.ring, &mut self.lent)
    }

    /// The ring, for tests that play the device.
    #[cfg(test)]
    pub(crate) fn ring(&self) -> &AnyRing<D> {
        &self.ring
    }

    /// What is lent.
    #[inline(always)]
    pub(crate) fn lent(&self) -> &R {
        &self.lent
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

    /// Makes what was posted available to the device, and rings the doorbell if the device wants
    /// that. Once per batch.
    #[inline]
    pub(crate) fn publish(&mut self) -> Kick {
        let Some(owed) = each_format!(&mut self.ring, ring => ring.publish()) else {
            return Kick::Nothing;
        };
        self.untold = !owed;
        if owed {
            self.tell();
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
            self.tell();
        }
        owed
    }

    /// Rings the doorbell.
    #[inline(always)]
    fn tell(&self) {
        self.doorbell.ring(|| each_format!(&self.ring, ring => ring.position()));
    }

    /// Rings the doorbell if anything is in flight, whatever the device asked for and was told.
    /// Whether it did.
    pub(crate) fn remind(&mut self) -> bool {
        self.untold |= self.in_flight() > 0;
        self.flush()
    }

    /// How many completions may wait to be taken: a ring that does not count them says how many the
    /// device has.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the queue is broken, or the device says that it is done with more than it
    /// has.
    #[inline]
    pub(crate) fn observe(&mut self) -> Result<u16, DeviceFault> {
        self.check()?;
        let (waiting, in_flight) = each_format!(&self.ring, ring => (ring.waiting(), ring.in_flight()));
        if waiting > in_flight {
            let (completed, in_flight) = (waiting.into(), in_flight.into());
            return Err(self.fail(DeviceFault::TooManyCompletions { completed, in_flight }));
        }
        Ok(waiting)
    }

    /// Breaks the queue, for the device names a chain that it does not have.
    #[cold]
    pub(crate) fn unknown(&mut self, id: u32) -> DeviceFault {
        let entries = u32::from(self.size().entries());
        self.fail(if id >= entries {
            DeviceFault::IndexOutOfRange { index: id, entries }
        } else {
            DeviceFault::NotInFlight { index: id }
        })
    }

    /// Notes that the device says with `last` that it used the next `chains` chains, whose last one
    /// that is about: those before it are taken without a look at the ring.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: that many it does not count. The queue is broken.
    ///
    /// Spec: VIRTIO 1.3, 2.7.9 and 2.8.9 "In-order use of descriptors".
    #[cold]
    pub(crate) fn open_batch(&mut self, last: UsedElement, chains: u16) -> Result<(), DeviceFault> {
        if chains > self.observe()? {
            return Err(self.fail(BATCH_TOO_LONG));
        }
        self.batch = Some(last);
        Ok(())
    }

    /// What the device said of a batch of which not all chains were taken.
    #[inline(always)]
    pub(crate) fn batch(&self) -> Option<UsedElement> {
        self.batch
    }

    /// The chain of number `id` was taken. If it was the last of a batch, the ring is looked at
    /// again.
    #[inline(always)]
    pub(crate) fn close_batch(&mut self, id: u16) {
        if self.batch.is_some_and(|last| last.id == id.into()) {
            self.batch = None;
        }
    }

    /// Asks for an interrupt when `count` more completions are there, or before, then looks once
    /// more.
    ///
    /// # Errors
    ///
    /// As [`observe`](Self::observe).
    pub(crate) fn arm(&mut self, count: u16) -> Result<Armed, DeviceFault> {
        self.check()?;
        each_format!(&self.ring, ring => ring.arm(count));
        self.armed = true;
        let waiting = self.observe()?;
        if self.batch.is_some() || each_format!(&self.ring, ring => ring.is_used(waiting)) {
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
        each_format!(&self.ring, ring => ring.disarm());
    }

    /// Starts over, on the same memory: nothing is posted and nothing lent, and the queue is whole
    /// and disarmed. The device has let go of it, and does not know yet where it is.
    pub(crate) fn renew(&mut self) {
        self.lent.clear();
        each_format!(&mut self.ring, ring => ring.renew());
        (self.armed, self.untold, self.batch, self.fault) = (true, false, None, None);
        self.disarm();
    }

    /// Gives all memory back, rings and what was lent, against proof that the device has let go.
    /// False when the proof is about another device: all of it is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        let Self { ring, lent, tables, .. } = self;
        lent.reclaim(quiet) & ring.free(quiet) & tables.is_none_or(|tables| tables.free(quiet))
    }
}
