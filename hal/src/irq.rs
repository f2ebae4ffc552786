//! Interrupts, as far as a driver needs to know them.
//!
//! A driver never installs a handler. The kernel decides which vector rings where, hands the driver
//! plain messages, and calls back into the driver's queues when something rang. What the driver
//! owes in return is the *arm* step: ask for the next interrupt, then look once more, so that work
//! which slipped in between is reported and never slept on.

use core::fmt;

/// What a device writes to raise a message-signalled interrupt.
///
/// To the device it is a write like any other: with another address, it reaches memory. So there is
/// no safe way to make one from numbers, as with a [`DmaAddr`](crate::addr::DmaAddr): it comes from
/// the platform.
///
/// ```compile_fail,E0451
/// use paravane_hal::irq::MsiMessage;
/// let message = MsiMessage { address: 0x1000, data: 0 };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    address: u64,
    data: u32,
}

impl MsiMessage {
    /// Names a message. For platforms only.
    ///
    /// # Safety
    ///
    /// A device that writes `data` to `address` interrupts a program that is ready for it, and does
    /// nothing else: no memory lies at that address.
    #[must_use]
    #[expect(unsafe_code, reason = "the one door through which numbers become a write of a device")]
    pub const unsafe fn from_platform(address: u64, data: u32) -> Self {
        Self { address, data }
    }

    /// Where the device writes (on x86: a local APIC).
    #[must_use]
    pub const fn address(self) -> u64 {
        self.address
    }

    /// What it writes (on x86: vector and delivery mode).
    #[must_use]
    pub const fn data(self) -> u32 {
        self.data
    }
}

/// The ways in which a device may interrupt: what the kernel is ready for.
///
/// The driver takes the best that device and bus have as well, and steps down where one does not
/// work: messages by MSI-X, a message by MSI, the line, and where there is none of these the kernel
/// looks by itself. Which one it became, the control half says as an [`InterruptMode`].
///
/// ```
/// # fn f(messages: &[paravane_hal::irq::MsiMessage]) {
/// use paravane_hal::irq::Interrupts;
///
/// let any = Interrupts::msix(messages).or_msi(messages[0]).or_line();
/// let none = Interrupts::POLLING;
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interrupts<'a> {
    /// One message per MSI-X vector; none: not by MSI-X. The driver spreads its queues over as many
    /// as it is given, in every driver in the same order: receive, transmit, events (of the link
    /// and the device itself). With two, the first is for both queues, the second for events; with
    /// one, it is for all.
    pub msix: &'a [MsiMessage],
    /// One message for everything.
    pub msi: Option<MsiMessage>,
    /// The device's line is routed, or will be once the driver says that it is in use.
    pub line: bool,
}

impl<'a> Interrupts<'a> {
    /// None: the kernel looks by itself.
    pub const POLLING: Self = Self { msix: &[], msi: None, line: false };
    /// By the line.
    pub const LINE: Self = Self { line: true, ..Self::POLLING };

    /// By MSI-X, a message per vector.
    #[must_use]
    pub const fn msix(messages: &'a [MsiMessage]) -> Self {
        Self { msix: messages, ..Self::POLLING }
    }

    /// By MSI.
    #[must_use]
    pub const fn msi(message: MsiMessage) -> Self {
        Self { msi: Some(message), ..Self::POLLING }
    }

    /// The same, and by MSI.
    #[must_use]
    pub const fn or_msi(self, message: MsiMessage) -> Self {
        Self { msi: Some(message), ..self }
    }

    /// The same, and by the line.
    #[must_use]
    pub const fn or_line(self) -> Self {
        Self { line: true, ..self }
    }

    /// The same with no more than `vectors` messages by MSI-X: a driver has no use for more.
    #[must_use]
    pub fn with_at_most(self, vectors: usize) -> Self {
        Self { msix: self.msix.get(..vectors).unwrap_or(self.msix), ..self }
    }

    /// The same without MSI-X.
    #[must_use]
    pub const fn without_msix(self) -> Self {
        Self { msix: &[], ..self }
    }

    /// The same without MSI.
    #[must_use]
    pub const fn without_msi(self) -> Self {
        Self { msi: None, ..self }
    }

    /// The same without the line.
    #[must_use]
    pub const fn without_line(self) -> Self {
        Self { line: false, ..self }
    }
}

/// How a running device interrupts: one of the ways that it was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterruptMode {
    /// By MSI-X.
    Msix {
        /// How many of the messages offered are in use.
        vectors: u16,
    },
    /// By MSI: one message for everything.
    Msi,
    /// By its line.
    Line,
    /// Not at all.
    Polling,
}

impl InterruptMode {
    /// In a word, as it is asked for.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Msix { .. } => "msix",
            Self::Msi => "msi",
            Self::Line => "line",
            Self::Polling => "polling",
        }
    }

    /// How many messages are in use.
    #[must_use]
    pub const fn messages(self) -> u16 {
        match self {
            Self::Msix { vectors } => vectors,
            Self::Msi => 1,
            Self::Line | Self::Polling => 0,
        }
    }

    /// Which message queue number `queue` has, in the order in which [`Interrupts`] lists them:
    /// one of its own, or that of an earlier queue. 0 where there are no messages.
    ///
    /// Queues that come in pairs share with their like: receive queues with receive queues.
    #[must_use]
    pub const fn queue_vector(self, queue: u16) -> u16 {
        // The last message is the events', unless it is the only one.
        let vectors = self.messages().saturating_sub(1);
        match vectors {
            0 | 1 => 0,
            _ if queue < vectors => queue,
            _ => queue % (vectors & !1),
        }
    }

    /// Which message events have.
    #[must_use]
    pub const fn event_vector(self) -> u16 {
        self.messages().saturating_sub(1)
    }
}

impl fmt::Display for InterruptMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Msix { vectors: 1 } => f.write_str("msix, 1 vector"),
            Self::Msix { vectors } => write!(f, "msix, {vectors} vectors"),
            other => f.write_str(other.name()),
        }
    }
}

/// What arming found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "work that was already pending raises no interrupt; sleeping on it loses the wake-up"]
pub enum Armed {
    /// Nothing is pending: the next event interrupts.
    Idle,
    /// Work slipped in while arming: serve it now.
    Pending,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_messages_are_shared_and_the_last_is_for_events() {
        let of = |vectors| {
            let mode = InterruptMode::Msix { vectors };
            ([0, 1, 2, 3, 4].map(|queue| mode.queue_vector(queue)), mode.event_vector())
        };
        assert_eq!(of(1), ([0, 0, 0, 0, 0], 0));
        assert_eq!(of(2), ([0, 0, 0, 0, 0], 1));
        assert_eq!(of(3), ([0, 1, 0, 1, 0], 2));
        assert_eq!(of(4), ([0, 1, 2, 1, 0], 3));
        assert_eq!(of(5), ([0, 1, 2, 3, 0], 4));
    }

    #[test]
    fn without_msix_everything_has_number_0() {
        for mode in [InterruptMode::Msi, InterruptMode::Line, InterruptMode::Polling] {
            assert_eq!((mode.queue_vector(1), mode.event_vector()), (0, 0), "{mode}");
        }
    }
}
