//! Interrupts, as far as a driver needs to know them.
//!
//! A driver never installs a handler. The kernel decides which vector rings where, hands the driver plain messages,
//! and calls back into the driver's queues when something rang. What the driver owes in return is the
//! *arm* step: ask for the next interrupt, then look once more, so that work which slipped in between is reported and never slept on.

/// What a device writes to raise a message-signalled interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Where (on x86: a local APIC).
    pub address: u64,
    /// What (on x86: vector and delivery mode).
    pub data: u32,
}

/// How a device may interrupt: what the kernel offers, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interrupts<'a> {
    /// One message per MSI-X vector. The driver spreads its queues over as many as it is given: one each, or all on one.
    Msix(&'a [MsiMessage]),
    /// One message for everything.
    Msi(MsiMessage),
    /// The device's interrupt pin; the kernel routed the line.
    Intx,
    /// None. The kernel looks by itself.
    Polling,
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
