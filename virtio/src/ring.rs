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
/// packed one. A number of the chain's own descriptors serves both.
pub(crate) trait Ring {
    /// A completion as it lies in memory.
    type Used;
    /// Describes chains of one, see [`run`](Self::run).
    type Run: Run;
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

    /// Posts a chain of `chain`'s descriptors, numbered and in order; the first number is the
    /// chain's. Nothing, when there are none.
    fn post_chain(&mut self, chain: impl Iterator<Item = (u16, Segment)>);

    /// Descriptors for chains of one, numbered from `number` on: up to `at_most`, which are free,
    /// or to where the ring ends. [`offer_run`](Self::offer_run) makes them count.
    fn run(&self, number: u16, at_most: u16) -> (&[Descriptor], Self::Run);

    /// Offers the first `count` chains that a [`run`](Self::run) from `number` on described;
    /// `first` is what it kept back.
    fn offer_run(&mut self, number: u16, count: u16, first: Kept);

    /// Makes what was posted available. Whether the device wants to be told; `None` when nothing
    /// was posted.
    ///
    /// # Ordering
    ///
    /// Whatever was described is visible to a device that sees it available. The look at the
    /// device's wish comes after: a device that goes to sleep either sees what is available or is
    /// seen asking.
    fn publish(&mut self) -> Option<bool>;

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

    /// Of the next completions, up to `at_most`: how many are about chains of one from `number` on,
    /// in turn, or one chain of several that has that number; and the one behind them, which is
    /// about another if it was read.
    fn in_turn(&self, number: u16, at_most: u16) -> (u16, Behind);

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
}

/// The word that makes the first chain of a batch available, where a format has one: it is written
/// last.
pub(crate) type Kept = Option<u32>;

/// Describes chains of one, one after the other.
pub(crate) trait Run {
    /// Describes the next one, in `slot`.
    fn describe(&mut self, slot: &Descriptor, segment: Segment);

    /// What was kept back.
    fn kept(self) -> Kept;
}

/// Takes chains of one and offers them again.
pub(crate) trait Exchange {
    /// A completion as it lies in memory.
    type Used;

    /// Reads a completion, each word once. `None` when it is not there.
    fn load(&self, used: &Self::Used) -> Option<UsedElement>;

    /// Offers chain `id` again, with its memory now at `addr`. False, and nothing has happened,
    /// when there is no such chain or no place.
    fn repost(&mut self, id: u32, addr: DmaAddr) -> bool;

    /// What was kept back.
    fn kept(self) -> Kept;
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
