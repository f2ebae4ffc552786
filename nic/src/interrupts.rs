//! Which way a NIC interrupts: what is asked for, what device and platform have, and the step down
//! in between.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use paravane_hal::irq::{InterruptMode, Interrupts, MsiMessage};
use paravane_pci::{ConfigAccess, Function};

/// How many vectors a NIC can use: received frames, sent frames, events, in this order. With two,
/// the first is for frames either way; one is for everything.
const VECTORS_PER_NIC: usize = 3;

/// How NICs are asked to interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IrqMode {
    /// The best that device and platform have: MSI-X, MSI, INTx, polling.
    #[default]
    Auto,
    /// MSI-X, or the next step down.
    Msix,
    /// MSI, or the next step down.
    Msi,
    /// INTx, or polling.
    Intx,
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
    /// The interrupt line that firmware routed its pin to.
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

/// The decision for one NIC. Made once; restarts use it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterruptPlan {
    /// One message a vector.
    Msix(Vec<MsiMessage>),
    /// One message.
    Msi(MsiMessage),
    /// The line.
    Intx(u8),
    /// None.
    Polling,
}

impl InterruptPlan {
    /// Decides. `allocate` gives a message for a free vector, while there are any; `route` opens a
    /// line, if the platform has it. Also returns what to say when it is not what was asked for.
    pub fn decide(
        asked: IrqMode,
        has: Vectors,
        mut allocate: impl FnMut() -> Option<MsiMessage>,
        mut route: impl FnMut(u8) -> bool,
    ) -> (Self, Option<String>) {
        let first = match asked {
            IrqMode::Auto | IrqMode::Msix => 0,
            IrqMode::Msi => 1,
            IrqMode::Intx => 2,
            IrqMode::Polling => 3,
        };
        let wanted = match has.wanted {
            IrqMode::Msix => Some(0),
            IrqMode::Msi => Some(1),
            IrqMode::Intx => Some(2),
            IrqMode::Auto | IrqMode::Polling => None,
        };
        let wanted = wanted.filter(|_| asked == IrqMode::Auto);
        let mut missing = Vec::new();
        for step in wanted.into_iter().chain((first..3).filter(|step| Some(*step) != wanted)) {
            let (plan, name) = match step {
                0 => {
                    let count = has.msix.min(VECTORS_PER_NIC);
                    let messages: Vec<_> = core::iter::from_fn(&mut allocate).take(count).collect();
                    ((!messages.is_empty()).then_some(Self::Msix(messages)), "MSI-X")
                }
                1 => (has.msi.then(&mut allocate).flatten().map(Self::Msi), "MSI"),
                _ => (has.line.filter(|line| route(*line)).map(Self::Intx), "INTx"),
            };
            match plan {
                Some(plan) => return (plan, remark(asked, &missing)),
                None => missing.push(name),
            }
        }
        (Self::Polling, remark(asked, &missing))
    }

    /// What the driver is told.
    #[must_use]
    pub fn interrupts(&self) -> Interrupts<'_> {
        match self {
            Self::Msix(messages) => Interrupts::Msix(messages),
            Self::Msi(message) => Interrupts::Msi(*message),
            Self::Intx(_) => Interrupts::Intx,
            Self::Polling => Interrupts::Polling,
        }
    }
}

/// How a running NIC interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By MSI-X.
    Msix,
    /// By MSI.
    Msi,
    /// By its line.
    Intx,
    /// Not at all.
    Polling,
}

impl Mode {
    pub(crate) const fn of(mode: InterruptMode) -> Self {
        match mode {
            InterruptMode::Msix { .. } => Self::Msix,
            InterruptMode::Msi => Self::Msi,
            InterruptMode::Line => Self::Intx,
            _ => Self::Polling,
        }
    }

    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Msix => "msix",
            Self::Msi => "msi",
            Self::Intx => "intx",
            Self::Polling => "polling",
        }
    }
}

/// What to say when a step or more was taken down from what was asked for. Nothing was asked for by
/// `auto`.
fn remark(asked: IrqMode, missing: &[&str]) -> Option<String> {
    if asked == IrqMode::Auto || missing.is_empty() {
        return None;
    }
    Some(format!("no {} here", missing.join(", no ")))
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

    #[test]
    fn the_best_there_is() {
        assert_eq!(decide(IrqMode::Auto, ALL, 10), (InterruptPlan::Msix(vec![message(); 3]), None));
        assert_eq!(
            decide(IrqMode::Auto, Vectors { msix: 0, ..ALL }, 10),
            (InterruptPlan::Msi(message()), None)
        );
        assert_eq!(
            decide(IrqMode::Auto, Vectors { line: Some(11), ..Vectors::default() }, 10).0,
            InterruptPlan::Intx(11)
        );
        assert_eq!(decide(IrqMode::Auto, Vectors::default(), 10), (InterruptPlan::Polling, None));
    }

    #[test]
    fn what_the_host_wants_comes_first_and_is_no_condition() {
        for (wanted, plan) in
            [(IrqMode::Intx, InterruptPlan::Intx(11)), (IrqMode::Msi, InterruptPlan::Msi(message()))]
        {
            assert_eq!(decide(IrqMode::Auto, Vectors { wanted, ..ALL }, 10), (plan, None));
        }
        let dead_end = Vectors { wanted: IrqMode::Intx, line: Some(2), ..ALL };
        assert_eq!(decide(IrqMode::Auto, dead_end, 10).0, InterruptPlan::Msix(vec![message(); 3]));
        assert_eq!(decide(IrqMode::Msi, dead_end, 10).0, InterruptPlan::Msi(message()), "we were asked");
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!(decide(IrqMode::Msi, ALL, 10).0, InterruptPlan::Msi(message()));
        assert_eq!(decide(IrqMode::Intx, ALL, 10).0, InterruptPlan::Intx(11));
        assert_eq!(decide(IrqMode::Polling, ALL, 10), (InterruptPlan::Polling, None));
    }

    #[test]
    fn a_step_down_is_said() {
        let (plan, remark) = decide(IrqMode::Msix, Vectors { line: Some(10), ..Vectors::default() }, 10);
        assert_eq!((plan, remark.as_deref()), (InterruptPlan::Intx(10), Some("no MSI-X, no MSI here")));
    }

    #[test]
    fn a_line_that_leads_nowhere_is_not_used() {
        assert_eq!(decide(IrqMode::Intx, Vectors { line: Some(2), ..ALL }, 10).0, InterruptPlan::Polling);
    }

    #[test]
    fn few_vectors_are_shared_and_none_is_a_step_down() {
        assert_eq!(decide(IrqMode::Auto, ALL, 2).0, InterruptPlan::Msix(vec![message(); 2]));
        assert_eq!(decide(IrqMode::Auto, ALL, 0).0, InterruptPlan::Intx(11));
    }
}
