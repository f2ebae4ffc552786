//! What the self-test found: a line for each check.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::finding::Finding;

/// One thing that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// `Dma::limits` is constant and makes sense.
    Limits,
    /// `Dma::domain` is constant, and a clone's is the same.
    Domain,
    /// `Dma::alloc` gives what every driver needs.
    Alloc,
    /// Regions are as long as asked.
    Length,
    /// The CPU's address is aligned as asked.
    CpuAlignment,
    /// The device's address is aligned as asked.
    DeviceAlignment,
    /// The device's address is as low as asked.
    AddressWidth,
    /// Regions are zero, also where somebody had the memory before.
    Zeroing,
    /// Regions that live at once are apart, and keep what is stored in them.
    Overlap,
    /// What nobody can have is refused.
    Refusal,
    /// `Dma::free` gives back.
    Free,
    /// `Dma::map` and `Dma::unmap`.
    Mapping,
    /// The clock moves, forward, in steps that waits can use.
    Clock,
    /// The clock is about as fast as time.
    ClockRate,
    /// A region of registers can be mapped, and known registers have known values.
    Registers,
    /// An access is as wide as its method says.
    RegisterWidth,
    /// A mapping that does not start at a page.
    RegisterPart,
    /// Two mappings of the same registers.
    RegisterOverlap,
    /// An access outside a region reaches nothing.
    RegisterBounds,
    /// A range that no registers are in is refused.
    RegisterRefusal,
    /// The pool has frames for the rings and for what is under way.
    PoolSize,
    /// The NIC starts.
    NicStart,
    /// It sends, and what it writes to say so arrives.
    NicSend,
    /// It receives, and what it writes arrives.
    NicReceive,
    /// It stops, and everything comes back.
    NicStop,
}

impl Check {
    /// In a few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limits => "memory: limits",
            Self::Domain => "memory: domain",
            Self::Alloc => "memory: allocation",
            Self::Length => "memory: length",
            Self::CpuAlignment => "memory: CPU alignment",
            Self::DeviceAlignment => "memory: device alignment",
            Self::AddressWidth => "memory: address width",
            Self::Zeroing => "memory: zeroing",
            Self::Overlap => "memory: overlap",
            Self::Refusal => "memory: refusal",
            Self::Free => "memory: free",
            Self::Mapping => "memory: map and unmap",
            Self::Clock => "clock: movement",
            Self::ClockRate => "clock: rate",
            Self::Registers => "registers: values",
            Self::RegisterWidth => "registers: width",
            Self::RegisterPart => "registers: part of a page",
            Self::RegisterOverlap => "registers: two mappings",
            Self::RegisterBounds => "registers: bounds",
            Self::RegisterRefusal => "registers: refusal",
            Self::PoolSize => "pool: size",
            Self::NicStart => "nic: start",
            Self::NicSend => "nic: send",
            Self::NicReceive => "nic: receive",
            Self::NicStop => "nic: stop",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// As it has to be.
    Passed,
    /// The platform does not offer it, and may.
    NotOffered(&'static str),
    /// It could not be looked at, and why.
    NotRun(String),
    /// A promise is not kept.
    Failed(Finding),
}

/// One check, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which.
    pub check: Check,
    /// How.
    pub verdict: Verdict,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, verdict } = self;
        match verdict {
            Verdict::Passed => write!(f, "passed       {check}"),
            Verdict::NotOffered(what) => write!(f, "not offered  {check}: {what}"),
            Verdict::NotRun(why) => write!(f, "not run      {check}: {why}"),
            Verdict::Failed(finding) => write!(f, "FAILED       {check}: {finding}"),
        }
    }
}

/// All checks of a run, in order. Shown, it is a line for each and one that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "what was found is in it"]
pub struct Report {
    outcomes: Vec<Outcome>,
}

impl Report {
    /// The checks, in the order they were run.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// What was found wrong.
    pub fn findings(&self) -> impl Iterator<Item = (Check, &Finding)> + '_ {
        self.outcomes.iter().filter_map(|outcome| match &outcome.verdict {
            Verdict::Failed(finding) => Some((outcome.check, finding)),
            _ => None,
        })
    }

    /// Whether nothing was found wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings().next().is_none()
    }

    /// How `check` ended; `None` when it was not part of the run.
    #[must_use]
    pub fn verdict(&self, check: Check) -> Option<&Verdict> {
        self.outcomes.iter().find(|outcome| outcome.check == check).map(|outcome| &outcome.verdict)
    }

    /// Adds what another run found.
    pub fn append(&mut self, mut other: Self) {
        self.outcomes.append(&mut other.outcomes);
    }

    pub(crate) fn add(&mut self, check: Check, verdict: Verdict) {
        self.outcomes.push(Outcome { check, verdict });
    }

    /// Passed, or what was found.
    pub(crate) fn judge(&mut self, check: Check, found: Result<(), Finding>) {
        self.add(check, found.map_or_else(Verdict::Failed, |()| Verdict::Passed));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.outcomes {
            writeln!(f, "{outcome}")?;
        }
        let failed = self.findings().count();
        write!(f, "{} checks, {failed} failed", self.outcomes.len())
    }
}
