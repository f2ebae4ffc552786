//! The ring under a queue: memory that driver and device share, and how far each of them is.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Ring`]: what a queue and its records ask of a ring, whichever format it has |
//! | [`size`] | how long a ring is, and places in it that wrap. Numbers only |
//! | [`split`] | the format of three areas |
//! | [`packed`] | the format of one ring |
//!
//! A ring knows `paravane-hal` and nothing else. It believes nothing and remembers little: what the
//! device wrote comes out as it is, and the queue and its record hold it against what was lent.
//!
//! Which format a ring has is agreed at run time. [`AnyRing`] is asked once for a batch, with
//! [`each_format!`]; what it leads to is compiled once for each format.

pub(crate) mod packed;
#[cfg(test)]
pub(crate) mod referee;
pub(crate) mod size;
pub(crate) mod split;

use core::slice;

use paravane_hal::addr::DmaAddr;
use paravane_hal::dma::{DeviceDma, Dma, DmaError, Quiet, Words};

use packed::PackedRing;
pub(crate) use size::{Position, QueueSize};
use split::SplitRing;

/// What a queue and its device agreed on of the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Format {
    /// One ring instead of three areas.
    pub(crate) packed: bool,
    /// Each side says from which entry on it wants to be told.
    pub(crate) event_idx: bool,
    /// The three areas are one, as devices of the legacy interface find them.
    pub(crate) legacy: bool,
    /// A descriptor may name a table of descriptors.
    pub(crate) indirect: bool,
    /// The device is told where a queue goes on.
    pub(crate) notification_data: bool,
    /// The device uses chains in the order in which they were made available.
    pub(crate) in_order: bool,
}

/// A piece of memory as a descriptor names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Where.
    pub(crate) addr: DmaAddr,
    /// How long.
    pub(crate) len_bytes: u32,
    /// Whether the device writes it; else it reads it.
    pub(crate) writable: bool,
}

/// Where the device finds the three areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueAddresses {
    /// The "descriptor area".
    pub(crate) descriptors: DmaAddr,
    /// The "driver area".
    pub(crate) driver: DmaAddr,
    /// The "device area".
    pub(crate) device: DmaAddr,
}

/// What the device says that it is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsedElement {
    /// The number of the chain, it says.
    pub(crate) id: u32,
    /// Bytes it wrote, it says.
    pub(crate) len: u32,
}

/// What is known of the completion behind those that were taken. Each is read once a call: what was
/// not there is not looked for again, and what was read is what is acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Nothing: it was not read.
    Unread,
    /// It is not there yet.
    NotThere,
    /// This.
    Read(UsedElement),
}

/// Words of one descriptor, in either format.
pub(crate) const DESC_WORDS: usize = 4;

/// One descriptor.
pub(crate) type Descriptor = Words<DESC_WORDS>;

/// A ring of some format.
///
/// Chains have *numbers*, by which the device names them when it is done. Whoever posts picks them:
/// a descriptor of the chain's own in the split format, and any that no other chain has in the
/// packed one. A number of the chain's own descriptors serves both. Where the device uses chains in
/// order, their descriptors follow one another round the ring, and with them their numbers.
pub(crate) trait Ring {
    /// A completion as it lies in memory.
    type Used;
    /// Describes chains, see [`run`](Self::run).
    type Run<'r>: Run<'r>
    where
        Self: 'r;
    /// Looks at completions, see [`completions`](Self::completions).
    type Completions<'r>: Completions
    where
        Self: 'r;
    /// Takes chains of one and offers them again, see [`exchange`](Self::exchange).
    type Exchange<'r>: Exchange<Used = Self::Used>
    where
        Self: 'r;

    /// How many descriptors it has.
    fn size(&self) -> QueueSize;

    /// How many chains the device has.
    fn in_flight(&self) -> u16;

    /// Posts a chain of one.
    fn post(&mut self, number: u16, segment: Segment);

    /// Describes the next part of the chain numbered `head` in the descriptor numbered `number`,
    /// from where the chain goes on with `next`, or ends. [`post_chain`](Self::post_chain) makes it
    /// count.
    fn describe_part(&mut self, head: u16, number: u16, segment: Segment, next: Option<u16>);

    /// Describes a part of a chain in `entry` of a table outside of the ring, whose entry `next` is
    /// the next part; `None` for the last.
    fn describe_entry(entry: &Descriptor, segment: Segment, next: Option<u16>);

    /// Describes the chain numbered `head`, which is in `table`, in the descriptor of that number.
    /// [`post_chain`](Self::post_chain) makes it count.
    fn describe_table(&mut self, head: u16, table: Segment);

    /// Posts the chain numbered `head`, of which every part was described, and of no other since.
    fn post_chain(&mut self, head: u16);

    /// Takes back the `parts` parts described last, of a chain that is not posted.
    fn take_back(&mut self, parts: u16);

    /// Describes chains in the descriptors numbered from `number` on, of which `free` are free.
    /// Where the ring ends, no chain begins any more. [`offer`](Self::offer) makes them count.
    fn run(&self, number: u16, free: u16) -> Self::Run<'_>;

    /// Offers the `chains` chains that a [`run`](Self::run) described.
    fn offer(&mut self, chains: u16, described: Described);

    /// Makes what was posted available. Whether the device wants to be told; `None` when nothing
    /// was posted.
    ///
    /// # Ordering
    ///
    /// Whatever was described is visible to a device that sees it available. The look at the
    /// device's wish comes after: a device that goes to sleep either sees what is available or is
    /// seen asking.
    fn publish(&mut self) -> Option<bool>;

    /// Where the device finds what is published next, as a notification says it.
    ///
    /// Spec: VIRTIO 1.2, 2.9 "Driver Notifications".
    fn position(&self) -> u16;

    /// How many completions may wait to be taken: as many as the device says, or as it has.
    ///
    /// # Ordering
    ///
    /// Completions and payload read after this are at least as new as what it saw.
    fn waiting(&self) -> u16;

    /// Whether the next completion is there, where [`waiting`](Self::waiting) counted `waiting`.
    fn is_used(&self, waiting: u16) -> bool;

    /// Reads the next completion, where [`waiting`](Self::waiting) counted one. `None` when it is
    /// not there. It stays the next one until [`took`](Self::took).
    fn read_used(&self) -> Option<UsedElement>;

    /// Takes the next completions, of `chains` chains that have `descriptors` in all.
    fn took(&mut self, chains: u16, descriptors: u16);

    /// The next completions, up to `at_most`, or to where the ring ends.
    fn completions(&self, at_most: u16) -> Self::Completions<'_>;

    /// The next completions, up to `at_most` or to where the ring ends, to be taken and offered
    /// again with `len_bytes` to be written. [`exchanged`](Self::exchanged) makes them count.
    fn exchange(&self, at_most: u16, len_bytes: u32) -> (&[Self::Used], Self::Exchange<'_>);

    /// Takes and offers `count` chains of one that were exchanged; `first` is what was kept back.
    fn exchanged(&mut self, count: u16, first: Kept);

    /// Asks for an interrupt when `count` more completions are there, at the latest.
    ///
    /// # Ordering
    ///
    /// A look at completions after this finds what slipped in, or the device finds the wish.
    fn arm(&self, count: u16);

    /// Asks for no interrupts. A hint, so it needs no order.
    fn disarm(&self);

    /// Starts over: nothing available, nothing used. The device has let go of it, and looks at it
    /// again no sooner than it is told.
    fn renew(&mut self);
}

/// The word that makes the first chain of a batch available, where a format has one: it is written
/// last.
pub(crate) type Kept = Option<u32>;

/// How many of `all` are what `is` says of each and of a number, from `number` on.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no ring is longer")]
fn in_order<T>(all: &[T], number: u16, mut is: impl FnMut(&T, u32) -> bool) -> u16 {
    let mut next = u32::from(number);
    let mut is_next = |one: &T| {
        let is_next = is(one, next);
        next = next.wrapping_add(is_next.into());
        is_next
    };
    // Four at a time, which spares most of the counting.
    let (fours, rest) = all.as_chunks();
    let _ = fours.iter().all(|[a, b, c, d]| is_next(a) && is_next(b) && is_next(c) && is_next(d))
        && rest.iter().all(is_next);
    (next as u16).wrapping_sub(number)
}

/// Free descriptors, in order, round the end of the ring.
#[derive(Clone)]
struct Slots<'r> {
    /// Up to the end of the ring.
    before: slice::Iter<'r, Descriptor>,
    /// From its beginning on.
    behind: &'r [Descriptor],
    /// The number of the next one; that of the end of the ring, where it ends.
    number: u16,
}

#[expect(clippy::cast_possible_truncation, reason = "no ring is longer")]
impl<'r> Slots<'r> {
    /// `free` of `all` from the one numbered `number` on.
    #[inline(always)]
    fn new(all: &'r [Descriptor], number: u16, free: u16) -> Self {
        let (first, before) = all.split_at_checked(number.into()).unwrap_or_default();
        match before.get(..free.into()) {
            Some(before) => Self { before: before.iter(), behind: &[], number },
            None => {
                let behind = first.get(..usize::from(free).wrapping_sub(before.len())).unwrap_or_default();
                Self { before: before.iter(), behind, number }
            }
        }
    }

    /// Passes over the next `count` up to the end of the ring.
    #[inline(always)]
    fn pass(&mut self, count: usize) {
        self.before = self.before.as_slice().get(count..).unwrap_or_default().iter();
        self.number = self.number.wrapping_add(count as u16);
    }

    /// The next one up to the end of the ring.
    #[inline(always)]
    fn next(&mut self) -> Option<&'r Descriptor> {
        let next = self.before.next();
        self.number = self.number.wrapping_add(next.is_some().into());
        next
    }

    /// The first one from the beginning of the ring on.
    #[inline(always)]
    fn turn(&mut self) -> Option<&'r Descriptor> {
        self.before = core::mem::take(&mut self.behind).iter();
        self.number = 0;
        self.next()
    }

    /// The number of the next one, round the end of the ring.
    #[inline(always)]
    fn number_of_next(&self) -> u16 {
        if self.before.len() > 0 { self.number } else { 0 }
    }

    /// How many are left.
    #[inline(always)]
    fn left(&self) -> u16 {
        (self.before.len() as u16).wrapping_add(self.behind.len() as u16)
    }
}

/// What a [`Run`] described.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described {
    /// How many descriptors.
    pub(crate) descriptors: u16,
    /// The number behind the last one's.
    end: u16,
    /// How many chains of one there are behind the last one of several.
    singles: u16,
    /// What was kept back.
    kept: Kept,
}

/// Describes chains, one after the other.
pub(crate) trait Run<'r>: Clone {
    /// The descriptors of the next chains of one, up to where the ring ends or is full.
    fn slots(&self) -> &'r [Descriptor];

    /// Describes a chain of one in the next of these. [`passed`](Self::passed) makes them count.
    fn single(&mut self, slot: &Descriptor, segment: Segment);

    /// So many of these were described.
    fn passed(&mut self, singles: usize);

    /// Describes the next part of a chain. False, and nothing was written, when the ring is full,
    /// or ends before the first.
    fn part(&mut self, segment: Segment, is_first: bool, goes_on: bool) -> bool;

    /// The chain whose parts were described since the run was as `before` is whole.
    fn chained(&mut self, before: &Self);

    /// Takes back what was described since the run was as `before` is.
    fn give_up(&mut self, before: Self);

    /// What was described.
    fn described(self) -> Described;
}

/// Looks at completions, one after the other, each once.
pub(crate) trait Completions {
    /// How many of the next ones are about chains of one from `number` on, none of them behind the
    /// end of the ring. Nothing is asked after this but [`behind`](Self::behind).
    fn are_about(&mut self, number: u16) -> u16;

    /// Whether the next one is about the chain of that number, of `descriptors` descriptors. If so,
    /// the one behind it is the next.
    fn is_about(&mut self, number: u16, descriptors: u16) -> bool;

    /// What the last one was that was looked at, if it was about something else.
    fn behind(self) -> Behind;
}

/// Takes chains of one and offers them again.
pub(crate) trait Exchange {
    /// A completion as it lies in memory.
    type Used;

    /// Reads a completion, each word once. `None` when it is not there.
    fn load(&self, used: &Self::Used) -> Option<UsedElement>;

    /// Whether the next completion may be about chain `id`.
    #[inline(always)]
    fn may_be(&self, _id: u32) -> bool {
        true
    }

    /// Offers chain `id` again, with its memory now at `addr`. False, and nothing has happened,
    /// when there is no such chain or no place.
    fn repost(&mut self, id: u32, addr: DmaAddr) -> bool;

    /// What was kept back.
    fn kept(self) -> Kept;
}

/// The same of chains that are used in the order of their numbers.
pub(crate) struct InOrder<E> {
    pub(crate) by: E,
    /// The number of the next one.
    pub(crate) next: u16,
    pub(crate) size: QueueSize,
}

impl<E: Exchange> Exchange for InOrder<E> {
    type Used = E::Used;

    #[inline(always)]
    fn load(&self, used: &E::Used) -> Option<UsedElement> {
        self.by.load(used)
    }

    #[inline(always)]
    fn may_be(&self, id: u32) -> bool {
        id == self.next.into()
    }

    #[inline(always)]
    fn repost(&mut self, id: u32, addr: DmaAddr) -> bool {
        self.next = self.size.step(self.next, 1);
        self.by.repost(id, addr)
    }

    #[inline(always)]
    fn kept(self) -> Kept {
        self.by.kept()
    }
}

/// A ring of the format that was agreed.
pub(crate) enum AnyRing<D: Dma> {
    /// Three areas.
    Split(SplitRing<D>),
    /// One ring.
    Packed(PackedRing<D>),
}

/// Does the same with a ring of either format.
macro_rules! each_format {
    ($any:expr, $ring:ident => $what:expr) => {
        match $any {
            $crate::ring::AnyRing::Split($ring) => $what,
            $crate::ring::AnyRing::Packed($ring) => $what,
        }
    };
}
pub(crate) use each_format;

impl<D: Dma> AnyRing<D> {
    /// A ring of `size` descriptors over fresh memory: nothing available, nothing used.
    ///
    /// # Errors
    ///
    /// [`DmaError`]; nothing stays allocated.
    pub(crate) fn new(of: &DeviceDma<D>, size: QueueSize, format: Format) -> Result<Self, DmaError> {
        if format.packed {
            PackedRing::new(of, size, format.event_idx).map(Self::Packed)
        } else if format.legacy {
            let memory = split::legacy::memory(of, size)?;
            Ok(Self::Split(SplitRing::over(memory, format.event_idx)))
        } else {
            SplitRing::new(of, size, format.event_idx).map(Self::Split)
        }
    }

    /// Where the device finds it. From here on the memory counts as known to the device.
    pub(crate) fn addresses(&self) -> QueueAddresses {
        each_format!(self, ring => ring.addresses())
    }

    /// Gives the memory back, against proof that the device has let go. False when the proof is
    /// about another device: the memory is leaked.
    #[must_use]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        each_format!(self, ring => ring.free(quiet))
    }
}
