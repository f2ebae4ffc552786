//! Interrupts, as far as a driver needs to know them.
//!
//! A driver never installs a handler. The kernel decides which vector rings where, hands the driver
//! plain messages, and calls back into the driver's queues when something rang. What the driver
//! owes in return is the *arm* step: ask for the next interrupt, then look once more, so that work
//! which slipped in between is reported and never slept on.

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

/// How a device may interrupt: what the kernel offers, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interrupts<'a> {
    /// One message per MSI-X vector. The driver spreads its queues over as many as it is given, in
    /// every driver in the same order: receive, transmit, events (of the link and the device
    /// itself). With two, the first is for both queues, the second for events; with one, it is for
    /// all.
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
