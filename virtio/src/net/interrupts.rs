//! How a running device interrupts: the plan, and the ladder it steps down when the device cannot
//! follow.
//!
//! ```text
//!  3 messages   receive | transmit | configuration
//!  2 messages   both queues | configuration
//!  1 message    everything
//!  the line     everything; the device says why when asked
//!  polling      nothing
//! ```
//!
//! The device has to confirm every vector: reading back "none" means that it has no resources for
//! it, and then the next step down is tried *for all*, for a half-vectored device would sleep on
//! what the other half holds. The ladder does not step from messages to the line: a kernel that
//! offered messages has no handler there. It steps to polling, and [`InterruptsInUse`] says so; a
//! kernel that has a line can start again with that.
//!
//! Spec: VIRTIO 1.2, 4.1.5.1.2 "MSI-X Vector Configuration".

use core::fmt;

use crate::net::{RX_QUEUE, TX_QUEUE};
use crate::transport::{Transport, Vector};

/// How a running device interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptsInUse {
    /// By messages. Each number says which of the messages offered.
    Msix {
        /// For received frames.
        rx: u16,
        /// For sent frames.
        tx: u16,
        /// For events: changes of the configuration.
        config: u16,
    },
    /// By its line.
    Intx,
    /// Not at all.
    Polling,
}

impl InterruptsInUse {
    /// How many different messages are in use.
    #[must_use]
    pub const fn messages(self) -> u16 {
        match self {
            // Plans number their messages from zero without gaps, and events have the last.
            Self::Msix { config, .. } => config.saturating_add(1),
            Self::Intx | Self::Polling => 0,
        }
    }
}

impl fmt::Display for InterruptsInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Msix { .. } => {
                let messages = self.messages();
                write!(f, "msix, {messages} vector{}", if messages == 1 { "" } else { "s" })
            }
            Self::Intx => f.write_str("intx"),
            Self::Polling => f.write_str("polling"),
        }
    }
}

/// More messages have no use.
pub(crate) const MOST_MESSAGES: usize = 3;

/// The plan for `messages` messages; `None` for none.
#[must_use]
const fn plan(messages: usize) -> Option<InterruptsInUse> {
    match messages {
        0 => None,
        1 => Some(InterruptsInUse::Msix { rx: 0, tx: 0, config: 0 }),
        2 => Some(InterruptsInUse::Msix { rx: 0, tx: 0, config: 1 }),
        _ => Some(InterruptsInUse::Msix { rx: 0, tx: 1, config: 2 }),
    }
}

/// Assigns vectors by the best plan for up to `messages` messages that the device confirms; polling
/// when it confirms none.
///
/// Comes before the queues are enabled. Message interrupts are switched on already.
pub(crate) fn assign(transport: &mut impl Transport, messages: usize) -> InterruptsInUse {
    for count in (1..=messages.min(MOST_MESSAGES)).rev() {
        let Some(InterruptsInUse::Msix { rx, tx, config }) = plan(count) else { continue };
        let entry = Vector::Entry;
        if transport.set_config_vector(entry(config))
            && transport.set_queue_vector(RX_QUEUE, entry(rx))
            && transport.set_queue_vector(TX_QUEUE, entry(tx))
        {
            return InterruptsInUse::Msix { rx, tx, config };
        }
    }
    clear(transport);
    InterruptsInUse::Polling
}

/// Takes all vectors away.
fn clear(transport: &mut impl Transport) {
    // Taking a vector away needs no resources, so there is nothing to confirm.
    let _ = transport.set_config_vector(Vector::None);
    for queue in [RX_QUEUE, TX_QUEUE] {
        let _ = transport.set_queue_vector(queue, Vector::None);
    }
}
