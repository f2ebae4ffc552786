//! How a disk may tell of completions.

use alloc::vec::Vec;

use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_hal_x86_64::line::Trigger;
use paravane_unikernel::interrupts::VectorId;
use paravane_unikernel::platform::Machine;

/// One of the ways.
pub enum Way {
    /// Messages, each with its vector.
    Messages(Vec<VectorId>, Vec<MsiMessage>),
    /// The line of that number.
    Line(u8),
    /// None.
    Polling,
}

impl Way {
    /// What the command line asks for, or the next step down.
    pub fn choose(machine: &Machine, msix_entries: usize, line: Option<(u8, Trigger)>) -> Self {
        let asked = machine.boot.command_line.words().find(|word| word.key == "irq");
        let asked = asked.and_then(|word| word.value).unwrap_or("msix");
        // One for the queue, one for events.
        let messages = (0..msix_entries.min(2)).filter(|_| asked == "msix");
        let (ids, messages): (Vec<_>, Vec<_>) =
            messages.map_while(|_| machine.interrupts.allocate_vector().ok()).unzip();
        if !messages.is_empty() {
            return Self::Messages(ids, messages);
        }
        match line.filter(|_| asked != "polling") {
            Some((line, trigger)) if machine.enable_line(line, trigger).is_ok() => Self::Line(line),
            _ => Self::Polling,
        }
    }

    /// What the driver is told.
    pub fn interrupts(&self) -> Interrupts<'_> {
        match self {
            Self::Messages(_, messages) => Interrupts::msix(messages),
            Self::Line(_) => Interrupts::LINE,
            Self::Polling => Interrupts::POLLING,
        }
    }
}
