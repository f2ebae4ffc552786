//! Interrupts, observed: messages are collected in the machine's memory, lines are reported over
//! the socket. Nobody is interrupted.

use std::sync::atomic::Ordering;

use paravane_hal::irq::MsiMessage;

use crate::platform::Qtest;
use crate::ram::MAILBOX_COUNT;

/// A message that a device sends when it is asked to interrupt, and the place where it lands.
///
/// A message-signalled interrupt is a write to memory; here the memory is not an interrupt
/// controller's but a word of RAM. How often a device wrote it cannot be told, only whether it did
/// since it was last looked at.
#[derive(Clone, Debug)]
pub struct Mailbox {
    platform: Qtest,
    index: usize,
    message: MsiMessage,
}

impl Mailbox {
    /// Number `index` of the machine; the same number is the same mailbox. `None` beyond the last.
    pub(crate) fn open(platform: &Qtest, index: usize) -> Option<Self> {
        let (_, address) = platform.ram().mailbox(index)?;
        // Not zero, and told apart from every other.
        let data = 0x4d00 | u32::try_from(index).ok()?;
        #[expect(unsafe_code, reason = "as a platform does: numbers that become a write of a device")]
        // SAFETY: the address is that of a word of the machine's RAM that is kept for this and
        // nothing else, and looked at by polling.
        let message = unsafe { MsiMessage::from_platform(address, data) };
        Some(Self { platform: platform.clone(), index, message })
    }

    /// What the device is to be given.
    #[must_use]
    pub fn message(&self) -> MsiMessage {
        self.message
    }

    /// Whether the message has come since the last call.
    #[must_use]
    pub fn take(&self) -> bool {
        let word = self.platform.ram().mailbox(self.index).map(|(word, _)| word);
        word.is_some_and(|word| word.swap(0, Ordering::AcqRel) == self.message.data())
    }
}

impl Qtest {
    /// How many mailboxes there are.
    pub const MAILBOXES: usize = MAILBOX_COUNT;

    /// Mailbox `index`. `None` beyond the last.
    #[must_use]
    pub fn mailbox(&self, index: usize) -> Option<Mailbox> {
        Mailbox::open(self, index)
    }

    /// The inputs of the I/O interrupt controller that are up, bit by bit.
    #[must_use]
    pub fn lines_up(&self) -> u32 {
        self.link().lines_up()
    }

    /// How often input `line` of the I/O interrupt controller went up.
    #[must_use]
    pub fn line_raises(&self, line: u8) -> u32 {
        self.link().line_raises(line)
    }
}
