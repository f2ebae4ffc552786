//! One thing that wants addresses or bus numbers, and what came of it.

use core::fmt;

use super::AssignErrorReason;
use crate::bar::{BarKind, BarShape};
use crate::bridge::WindowKind;
use crate::{AssignError, PciAddress};

/// What of a function wants addresses, or bus numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// A base address register.
    Bar {
        /// Which.
        index: u8,
        /// What it asks for.
        shape: BarShape,
    },
    /// A base address register that cannot be used as it is.
    BrokenBar {
        /// Which.
        index: u8,
    },
    /// A bridge's window.
    Window(WindowKind),
    /// A bridge's bus numbers.
    Buses,
}

impl Part {
    /// Its place among the others of its function.
    pub(super) fn rank(self) -> (u8, u8) {
        match self {
            Self::Buses => (0, 0),
            Self::Window(kind) => (1, kind as u8),
            Self::Bar { index, .. } | Self::BrokenBar { index } => (2, index),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bar { index, shape } => {
                let space = if shape.kind == BarKind::Io { "ports" } else { "bytes of memory" };
                write!(f, "BAR{index}, which wants {:#x} {space}", shape.len_bytes)
            }
            Self::BrokenBar { index } => write!(f, "BAR{index}"),
            Self::Window(WindowKind::Io) => f.write_str("bridge window for ports"),
            Self::Window(WindowKind::Memory) => f.write_str("bridge window for memory"),
            Self::Window(WindowKind::Prefetchable) => f.write_str("bridge window for prefetchable memory"),
            Self::Buses => f.write_str("bus numbers of the bridge"),
        }
    }
}

/// What came of a [`Resource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It has what firmware gave it.
    Kept,
    /// It was given what it has.
    Given,
    /// It needs nothing: a window behind which nobody asks for addresses. It is closed.
    Nothing,
    /// It has nothing. A BAR without an address is 0, a bridge without bus numbers leads nowhere. A
    /// bridge whose numbers make no sense keeps them, and its windows: what is behind it is not
    /// looked at.
    Failed(AssignErrorReason),
}

/// One thing that wants addresses or bus numbers, and what came of it: an entry of the list that
/// [`assign_all`](super::assign_all) works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    pub(super) address: PciAddress,
    pub(super) part: Part,
    pub(super) state: State,
    /// Where it starts; means something when it is kept or placed.
    pub(super) start: u64,
    /// How long it is; of a window that is wanted, what is behind it needs.
    pub(super) len_bytes: u64,
    pub(super) align: u64,
    /// Of a bridge: the buses behind it.
    pub(super) secondary: u8,
    pub(super) subordinate: u8,
    /// Of a bridge: it passes on what nobody else claims, whatever its windows are.
    pub(super) passes_all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Kept,
    Wanted,
    Placed,
    Failed(AssignErrorReason),
}

impl Resource {
    /// What a list is made of before it is used.
    pub const EMPTY: Self = Self::new(PciAddress::from_devfn(0, 0, 0), Part::Buses, State::Wanted);

    pub(super) const fn new(address: PciAddress, part: Part, state: State) -> Self {
        Self {
            address,
            part,
            state,
            start: 0,
            len_bytes: 0,
            align: 1,
            secondary: 0,
            subordinate: 0,
            passes_all: false,
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn address(&self) -> PciAddress {
        self.address
    }

    /// What of that function.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// What came of it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.state {
            State::Kept => Outcome::Kept,
            State::Placed => Outcome::Given,
            State::Wanted => Outcome::Nothing,
            State::Failed(reason) => Outcome::Failed(reason),
        }
    }

    /// The first and the last of its addresses, or of the buses behind the bridge; `None` when it
    /// has none.
    #[must_use]
    pub fn range(&self) -> Option<(u64, u64)> {
        match (self.state, self.part) {
            (State::Wanted | State::Failed(_), _) => None,
            (_, Part::Buses) => Some((self.secondary.into(), self.subordinate.into())),
            _ => Some((self.start, self.last())),
        }
    }

    /// Why it has nothing, as an error.
    #[must_use]
    pub fn error(&self) -> Option<AssignError> {
        match self.state {
            State::Failed(reason) => Some(AssignError { address: self.address, part: self.part, reason }),
            State::Kept | State::Wanted | State::Placed => None,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.start.saturating_add(self.len_bytes.saturating_sub(1))
    }

    pub(super) fn is_there(&self) -> bool {
        matches!(self.state, State::Kept | State::Placed)
    }

    /// Whether it is the window of `kind` that leads to `bus`.
    pub(super) fn leads_to(&self, bus: u8, kind: WindowKind) -> bool {
        self.part == Part::Window(kind) && self.secondary == bus
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.address, self.part) == (other.address, other.part)
    }

    pub(super) fn is_bar(&self) -> bool {
        matches!(self.part, Part::Bar { .. })
    }

    /// Whether it is in port space; the rest is in memory.
    pub(super) fn is_io(&self) -> bool {
        match self.part {
            Part::Bar { shape, .. } => shape.kind == BarKind::Io,
            Part::Window(kind) => kind == WindowKind::Io,
            Part::BrokenBar { .. } | Part::Buses => false,
        }
    }

    /// What it asks of a window; `None` for what asks for no addresses.
    pub(super) fn shape(&self) -> Option<BarShape> {
        let len_bytes = self.len_bytes;
        let window = |kind, prefetchable| Some(BarShape { kind, prefetchable, len_bytes });
        match self.part {
            Part::Bar { shape, .. } => Some(shape),
            Part::Window(WindowKind::Io) => window(BarKind::Io, false),
            Part::Window(WindowKind::Memory) => window(BarKind::Memory32, false),
            Part::Window(WindowKind::Prefetchable) => window(BarKind::Memory64, true),
            Part::BrokenBar { .. } | Part::Buses => None,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = self.error() {
            return error.fmt(f);
        }
        write!(f, "{} {}: ", self.address, self.part)?;
        match (self.outcome(), self.range()) {
            (Outcome::Kept, Some((first, last))) => write!(f, "{first:#x} to {last:#x}, as before"),
            (_, Some((first, last))) => write!(f, "{first:#x} to {last:#x}"),
            (_, None) => f.write_str("closed, nobody behind it asks for any"),
        }
    }
}
