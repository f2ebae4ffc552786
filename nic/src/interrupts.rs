//! Which ways to interrupt a NIC is offered: what is asked for, and what device and platform have.
//! Which of them works, its driver finds out.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_pci::{ConfigAccess, Function};

/// How many vectors a NIC can use: received frames, sent frames, events, in this order. With two,
/// the first is for frames either way; one is for everything.
const VECTORS_PER_NIC: usize = 3;

/// How NICs are asked to interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IrqMode {
    /// The best that device and platform have: MSI-X, MSI, the line, polling.
    #[default]
    Auto,
    /// MSI-X, or the next step down.
    Msix,
    /// MSI, or the next step down.
    Msi,
    /// The line, or polling.
    Line,
    /// None.
    Polling,
}

/// What a device has, as its capabilities say, and what it would rather have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vectors {
    /// MSI-X table entries; zero without the capability.
    pub msix: usize,
    /// MSI.
    pub msi: bool,
    /// The line: for a function, the one that firmware routed its pin to.
    pub line: Option<u8>,
    /// What its host wants, if it says. Asked first where nothing else was asked for.
    pub wanted: IrqMode,
}

impl Vectors {
    /// What `function` has. A capability that cannot be read counts as missing; the driver that
    /// needs it says why.
    pub(crate) fn of<C: ConfigAccess>(function: &Function<C>) -> Self {
        Self {
            msix: function.msix().ok().flatten().map_or(0, |msix| usize::from(msix.entries())),
            msi: function.msi().ok().flatten().is_some(),
            line: function.read_interrupt_pin().and_then(|_| function.read_interrupt_line()),
            wanted: IrqMode::Auto,
        }
    }

    /// A line alone, as a device in a place of registers has.
    pub(crate) const fn line(line: Option<u8>) -> Self {
        Self { msix: 0, msi: false, line, wanted: IrqMode::Auto }
    }
}

/// What one NIC is offered. Made once; restarts use it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterruptPlan {
    /// A message per MSI-X vector.
    pub msix: Vec<MsiMessage>,
    /// A message by MSI.
    pub msi: Option<MsiMessage>,
    /// The line, to be opened when the NIC [uses](crate::Nic::line) it: others that share it might
    /// never be served. It may be up by then, and not every controller looks at that (QEMU's I/O
    /// APIC does not), so acknowledge and serve once after opening it.
    pub line: Option<u8>,
}

impl InterruptPlan {
    /// None of them.
    pub const POLLING: Self = Self { msix: Vec::new(), msi: None, line: None };

    /// Decides. `allocate` gives a message for a free vector, while there are any; `has_line` says
    /// whether the platform has a line. Also returns what to say when the best of it is not what
    /// was asked for.
    ///
    /// Where it is open which, what the host wants is best, and what is above that is left out.
    pub fn decide(
        asked: IrqMode,
        has: Vectors,
        mut allocate: impl FnMut() -> Option<MsiMessage>,
        has_line: impl FnOnce(u8) -> bool,
    ) -> (Self, Option<String>) {
        let line = has.line.filter(|_| asked != IrqMode::Polling).filter(|line| has_line(*line));
        let best = match (asked, has.wanted) {
            (IrqMode::Auto, IrqMode::Line) if line.is_some() => IrqMode::Line,
            (IrqMode::Auto, IrqMode::Msi) if has.msi => IrqMode::Msi,
            _ => asked,
        };
        let msix = match best {
            IrqMode::Auto | IrqMode::Msix => {
                core::iter::from_fn(&mut allocate).take(has.msix.min(VECTORS_PER_NIC)).collect()
            }
            _ => Vec::new(),
        };
        let msi = match best {
            IrqMode::Line | IrqMode::Polling => None,
            // Never in use together.
            _ if has.msi => msix.first().copied().or_else(allocate),
            _ => None,
        };
        let plan = Self { msix, msi, line };
        let remark = plan.remark(asked);
        (plan, remark)
    }

    /// What the driver is told.
    #[must_use]
    pub fn interrupts(&self) -> Interrupts<'_> {
        let offered = Interrupts::msix(&self.msix);
        let offered = self.msi.map_or(offered, |message| offered.or_msi(message));
        if self.line.is_some() { offered.or_line() } else { offered }
    }

    /// What to say when a step or more was taken down from what was asked for. Nothing was asked
    /// for by `auto`.
    fn remark(&self, asked: IrqMode) -> Option<String> {
        let first = match asked {
            IrqMode::Auto | IrqMode::Polling => return None,
            IrqMode::Msix => 0,
            IrqMode::Msi => 1,
            IrqMode::Line => 2,
        };
        let steps =
            [("MSI-X", !self.msix.is_empty()), ("MSI", self.msi.is_some()), ("line", self.line.is_some())];
        let missing: Vec<_> =
            steps.iter().skip(first).take_while(|(_, is_there)| !is_there).map(|(name, _)| *name).collect();
        (!missing.is_empty()).then(|| format!("no {} here", missing.join(", no ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> MsiMessage {
        paravane_mock_hal::MockPlatform::new().interrupts().messages(1)[0]
    }

    const ALL: Vectors = Vectors { msix: 25, msi: true, line: Some(11), wanted: IrqMode::Auto };

    fn decide(asked: IrqMode, has: Vectors, vectors: usize) -> (InterruptPlan, Option<String>) {
        let mut left = vectors;
        let allocate = || {
            left = left.checked_sub(1)?;
            Some(message())
        };
        InterruptPlan::decide(asked, has, allocate, |line| line != 2)
    }

    /// How many messages by MSI-X, whether one by MSI, and the line, of a plan.
    fn ways((plan, _): (InterruptPlan, Option<String>)) -> (usize, bool, Option<u8>) {
        let offered = plan.interrupts();
        assert_eq!(offered.msi, plan.msi);
        assert_eq!((offered.msix.len(), offered.line), (plan.msix.len(), plan.line.is_some()));
        (plan.msix.len(), plan.msi.is_some(), plan.line)
    }

    #[test]
    fn all_there_is_is_offered() {
        assert_eq!(ways(decide(IrqMode::Auto, ALL, 10)), (3, true, Some(11)));
        assert_eq!(ways(decide(IrqMode::Auto, Vectors { msix: 0, ..ALL }, 10)), (0, true, Some(11)));
        let line = Vectors { line: Some(11), ..Vectors::default() };
        assert_eq!(ways(decide(IrqMode::Auto, line, 10)), (0, false, Some(11)));
        assert_eq!(decide(IrqMode::Auto, Vectors::default(), 10), (InterruptPlan::POLLING, None));
    }

    #[test]
    fn what_the_host_wants_is_best_and_is_no_condition() {
        let wanted = |asked, wanted| ways(decide(asked, Vectors { wanted, ..ALL }, 10));
        assert_eq!(wanted(IrqMode::Auto, IrqMode::Line), (0, false, Some(11)));
        assert_eq!(wanted(IrqMode::Auto, IrqMode::Msi), (0, true, Some(11)));
        assert_eq!(wanted(IrqMode::Msix, IrqMode::Line), (3, true, Some(11)), "we were asked");
        let dead_end = Vectors { wanted: IrqMode::Line, line: Some(2), ..ALL };
        assert_eq!(ways(decide(IrqMode::Auto, dead_end, 10)), (3, true, None));
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!(ways(decide(IrqMode::Msi, ALL, 10)), (0, true, Some(11)));
        assert_eq!(ways(decide(IrqMode::Line, ALL, 10)), (0, false, Some(11)));
        assert_eq!(decide(IrqMode::Polling, ALL, 10), (InterruptPlan::POLLING, None));
    }

    #[test]
    fn a_step_down_is_said() {
        let (plan, remark) = decide(IrqMode::Msix, Vectors { line: Some(10), ..Vectors::default() }, 10);
        assert_eq!((plan.line, remark.as_deref()), (Some(10), Some("no MSI-X, no MSI here")));
        assert_eq!(decide(IrqMode::Msi, ALL, 10).1, None);
    }

    #[test]
    fn a_line_that_leads_nowhere_is_not_offered() {
        let (plan, remark) = decide(IrqMode::Line, Vectors { line: Some(2), ..ALL }, 10);
        assert_eq!((plan, remark.as_deref()), (InterruptPlan::POLLING, Some("no line here")));
    }

    #[test]
    fn few_vectors_are_shared_and_none_is_a_step_down() {
        assert_eq!(ways(decide(IrqMode::Auto, ALL, 2)), (2, true, Some(11)));
        assert_eq!(ways(decide(IrqMode::Auto, ALL, 0)), (0, false, Some(11)));
    }
}
