//! The virtqueue: what is lent to the device, and what it gives back.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Virtqueue`]: post, publish, observe, take back; every check of what the device says |
//! | [`split`] | the shared memory, and the ordering |
//! | [`layout`] | sizes and places, as numbers |
//! | [`free`] | which descriptors are free, and the driver's own record of the others |
//! | [`notify`] | when a notification is owed |
//! | [`run`] | posting and taking many chains of one descriptor |
//!
//! The queue carries *tokens*: whatever owns the memory that was posted (a frame; later a block request). A token is moved in with its chain and
//! comes back when the device has used the chain, or by [`free`](Virtqueue::free) when the device has been stopped. It is never lent.
//!
//! The device is not believed: heads, lengths and counts are held against the driver's own record, and the first lie breaks
//! the queue. A broken queue answers every call with the same fault until its device was stopped and started.

pub mod free;
pub mod layout;
pub mod notify;
pub mod run;
pub mod split;

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{DeviceDma, DeviceTag, Dma, DmaError, Quiet};
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Armed;
use paravane_hal::pool::Posted;

pub use layout::QueueSize;
pub use split::{QueueAddresses, Segment};

use crate::transport::Doorbell;
use free::{FreeList, Run};
use split::SplitMemory;

/// What became of the question whether to ring the doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kick {
    /// Nothing new was published.
    Nothing,
    /// The doorbell was rung.
    Rung,
    /// The device said that it looks anyway.
    Saved,
}

/// A chain that the device says it is done with, checked: the head is in flight, and no more was written than it may write.
#[derive(Debug)]
pub struct Completion {
    head: u16,
    written_bytes: u32,
}

impl Completion {
    /// How many bytes the device says it wrote; at most what it may write.
    #[must_use]
    #[inline(always)]
    pub fn written_bytes(&self) -> u32 {
        self.written_bytes
    }
}

/// One split virtqueue that carries tokens `T`.
pub struct Virtqueue<T, D: Dma, B> {
    memory: SplitMemory<D>,
    descriptors: FreeList,
    tokens: Posted<T>,
    /// Number of the next chain to be offered. Free-running.
    offered: u16,
    /// What the device was last told of it, which is also where the last decision about the doorbell was taken.
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

impl<T, D: Dma, B: Doorbell> Virtqueue<T, D, B> {
    /// A queue of `size` entries, empty and disarmed, over fresh memory. Where the memory is, [`addresses`](Self::addresses) says.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub fn new(of: &DeviceDma<D>, size: QueueSize, event_idx: bool, doorbell: B) -> Result<Self, DmaError> {
        let mut queue = Self {
            memory: SplitMemory::new(of, size)?,
            descriptors: FreeList::new(size)?,
            tokens: Posted::new(usize::from(size.entries()), of.device())?,
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
    pub fn addresses(&self) -> QueueAddresses {
        self.memory.addresses()
    }

    /// How many entries it has.
    #[must_use]
    #[inline(always)]
    pub fn size(&self) -> QueueSize {
        self.memory.size()
    }

    /// How many descriptors are free.
    #[must_use]
    #[inline(always)]
    pub fn room(&self) -> u16 {
        self.descriptors.free()
    }

    /// How many chains the device has.
    #[must_use]
    #[inline(always)]
    pub fn in_flight(&self) -> usize {
        // Each chain is counted when it is offered and again when it is taken back.
        self.offered.wrapping_sub(self.taken).into()
    }

    /// Which device it belongs to.
    #[must_use]
    pub fn device(&self) -> DeviceTag {
        self.device
    }

    /// The fault that broke it, if it is broken.
    ///
    /// # Errors
    ///
    /// That fault.
    #[inline(always)]
    pub fn check(&self) -> Result<(), DeviceFault> {
        match self.fault {
            None => Ok(()),
            Some(fault) => Err(fault),
        }
    }

    /// Breaks the queue.
    #[cold]
    pub fn fail(&mut self, fault: DeviceFault) -> DeviceFault {
        *self.fault.get_or_insert(fault)
    }

    /// Posts a chain of one descriptor. The device learns of it with [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// `token`, when no descriptor is free.
    #[inline(always)]
    pub fn post(&mut self, segment: Segment, token: T) -> Result<(), T> {
        let writable_bytes = if segment.writable { segment.len_bytes } else { 0 };
        let Some(head) = self.descriptors.take_one(writable_bytes) else { return Err(token) };
        self.memory.describe(head, segment, None);
        match self.tokens.put(usize::from(head), token) {
            Ok(()) => {
                self.offer(head);
                Ok(())
            }
            // A descriptor that is free has no token, so this does not happen.
            Err(token) => {
                self.descriptors.give_back(head);
                Err(token)
            }
        }
    }

    /// Starts a chain of several descriptors. `None` when no descriptor is free.
    ///
    /// Segments that the device reads come before those it writes.
    #[inline]
    pub fn chain(&mut self, first: Segment) -> Option<Chain<'_, T, D, B>> {
        let writable_bytes = if first.writable { first.len_bytes } else { 0 };
        let run = self.descriptors.first(writable_bytes)?;
        Some(Chain { queue: self, run, last: first })
    }

    /// Puts a described run into the available ring.
    #[inline(always)]
    fn commit(&mut self, run: Run, token: T) -> Result<(), T> {
        // A descriptor that is free has no token, so this succeeds.
        self.tokens.put(usize::from(run.head()), token)?;
        self.descriptors.take(run);
        self.offer(run.head());
        Ok(())
    }

    #[inline(always)]
    fn offer(&mut self, head: u16) {
        self.memory.offer(self.offered, head);
        self.offered = self.offered.wrapping_add(1);
    }

    /// Makes what was posted available to the device, and rings the doorbell if the device wants that. Once per batch.
    #[inline]
    pub fn publish(&mut self) -> Kick {
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

    /// Rings the doorbell if the device has something that it was not told about. True when it rang.
    pub fn flush(&mut self) -> bool {
        let owed = self.untold && self.in_flight() > 0;
        if owed {
            self.untold = false;
            self.doorbell.ring();
        }
        owed
    }

    /// Rings the doorbell if anything is in flight, whatever the device asked for and was told. Whether it did.
    pub fn remind(&mut self) -> bool {
        self.untold |= self.in_flight() > 0;
        self.flush()
    }

    /// How many completions wait to be taken.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the queue is broken, or the device says that it is done with more than it has.
    #[inline]
    pub fn observe(&mut self) -> Result<u16, DeviceFault> {
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

    /// Looks at the next completion, which [`observe`](Self::observe) has counted, and at its token. It stays where it is until taken.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: the device names what it does not have, or a length that cannot be. The queue is broken.
    #[inline(always)]
    pub fn look(&mut self) -> Result<(Completion, &T), DeviceFault> {
        let element = self.memory.read_used(self.taken);
        match u16::try_from(element.id) {
            Ok(head) if self.tokens.holds(usize::from(head)) => {
                let max_bytes = self.descriptors.writable_bytes(head);
                if element.len > max_bytes {
                    return Err(self.fail(DeviceFault::LengthTooLong { len_bytes: element.len, max_bytes }));
                }
                let completion = Completion { head, written_bytes: element.len };
                match self.tokens.get(usize::from(head)) {
                    Some(token) => Ok((completion, token)),
                    None => Err(DeviceFault::NotInFlight { index: element.id }),
                }
            }
            _ => Err(self.unknown_head(element.id)),
        }
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

    /// Takes the next chain back, which [`observe`](Self::observe) has counted, and which the device could only read. For one alone;
    /// [`take_read_run`](Self::take_read_run) costs less for several.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn take_read(&mut self) -> Result<T, DeviceFault> {
        let id = self.memory.read_used(self.taken).id;
        match u16::try_from(id).ok().and_then(|head| Some((head, self.tokens.take(usize::from(head))?))) {
            Some((head, token)) => {
                self.descriptors.give_back(head);
                self.taken = self.taken.wrapping_add(1);
                Ok(token)
            }
            None => Err(self.unknown_head(id)),
        }
    }

    /// Takes the token of `completion`, a chain of one descriptor, back and posts `token` in its place: memory at `addr`, as long as the old.
    ///
    /// # Errors
    ///
    /// [`DeviceFault`]: it was taken already. The queue is broken, and `token` is gone with it.
    #[inline(always)]
    pub fn exchange(&mut self, completion: Completion, addr: DmaAddr, token: T) -> Result<T, DeviceFault> {
        match self.tokens.replace(usize::from(completion.head), token) {
            Ok(old) => {
                self.memory.describe_address(completion.head, addr);
                self.repost(completion);
                Ok(old)
            }
            Err(_) => Err(self.unknown_head(u32::from(completion.head))),
        }
    }

    /// Gives the chain of `completion` to the device again as it is.
    #[inline(always)]
    pub fn repost(&mut self, completion: Completion) {
        self.taken = self.taken.wrapping_add(1);
        self.offer(completion.head);
    }

    /// Asks for an interrupt when `count` more completions are there, then looks once more.
    ///
    /// Without `EVENT_IDX` the device can only be asked to interrupt at every one.
    ///
    /// # Errors
    ///
    /// As [`observe`](Self::observe).
    pub fn arm(&mut self, count: u16) -> Result<Armed, DeviceFault> {
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
    pub fn disarm(&mut self) {
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

    /// Gives memory and tokens back, against proof that the device has let go. False when the proof is about another device: all of it is leaked.
    #[must_use]
    pub fn free(self, quiet: &Quiet<'_>) -> bool {
        let Self { memory, tokens, .. } = self;
        tokens.reclaim(quiet).is_ok() & memory.free(quiet)
    }
}

/// A chain that is being described. Dropped before it is finished, it never was.
pub struct Chain<'q, T, D: Dma, B> {
    queue: &'q mut Virtqueue<T, D, B>,
    run: Run,
    /// The last segment so far: its descriptor is written when it is known whether another follows.
    last: Segment,
}

impl<T, D: Dma, B: Doorbell> Chain<'_, T, D, B> {
    /// Adds a segment to the end. False, and the chain can only be dropped, when no descriptor is free.
    #[must_use]
    #[inline]
    pub fn push(&mut self, segment: Segment) -> bool {
        let writable_bytes = if segment.writable { segment.len_bytes } else { 0 };
        let Some(longer) = self.queue.descriptors.extend(self.run, writable_bytes) else { return false };
        self.queue.memory.describe(self.run.last(), self.last, Some(longer.last()));
        self.run = longer;
        self.last = segment;
        true
    }

    /// Posts the chain.
    ///
    /// # Errors
    ///
    /// `token`, if a descriptor that is free had one, which does not happen.
    #[inline]
    pub fn finish(self, token: T) -> Result<(), T> {
        self.queue.memory.describe(self.run.last(), self.last, None);
        self.queue.commit(self.run, token)
    }
}
