//! Where interrupts arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use paravane_hal::irq::MsiMessage;

/// A message that a device on a mock platform writes.
///
/// Safe, for such a device reaches no memory but the mock's, and that by calls: whatever the
/// address, the write is put into an inbox.
#[must_use]
#[expect(unsafe_code, reason = "as a platform does, for devices that are part of the program")]
pub const fn message(address: u64, data: u32) -> MsiMessage {
    // SAFETY: the devices of this crate are values, whose messages go to `Interrupts::send` and
    // nowhere else.
    unsafe { MsiMessage::from_platform(address, data) }
}

/// The interrupt controller of a platform: an inbox for messages, and lines with a level. A clone
/// is the same one.
#[derive(Clone, Debug, Default)]
pub struct Interrupts(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    messages: Vec<MsiMessage>,
    /// Who holds which line up. A line is shared: it falls when the last one lets go.
    raised: BTreeSet<(u8, u32)>,
    /// Pulses on each line that nobody took.
    pulses: BTreeMap<u8, usize>,
    given: u32,
}

impl Interrupts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `count` messages that nobody else has, for a driver.
    #[must_use]
    pub fn messages(&self, count: u32) -> Vec<MsiMessage> {
        let mut state = self.lock();
        let first = state.given;
        state.given += count;
        (first..state.given).map(|index| message(0xfee0_0000, 0x40 + index)).collect()
    }

    /// A device sends a message.
    pub fn send(&self, message: MsiMessage) {
        self.lock().messages.push(message);
    }

    /// Messages since the last call, in order.
    pub fn take(&self) -> Vec<MsiMessage> {
        std::mem::take(&mut self.lock().messages)
    }

    /// How many of them were `message`; the others stay.
    pub fn take_of(&self, message: MsiMessage) -> usize {
        let messages = &mut self.lock().messages;
        let before = messages.len();
        messages.retain(|other| *other != message);
        before - messages.len()
    }

    /// `source` pulls a line up or lets go of it.
    pub fn set_line(&self, line: u8, source: u32, up: bool) {
        let raised = &mut self.lock().raised;
        if up {
            raised.insert((line, source));
        } else {
            raised.remove(&(line, source));
        }
    }

    /// A device pulses a line: an edge up, and nobody holds it.
    pub fn pulse(&self, line: u8) {
        *self.lock().pulses.entry(line).or_insert(0) += 1;
    }

    /// How often `line` was pulsed since the last call.
    #[must_use]
    pub fn take_pulses(&self, line: u8) -> usize {
        self.lock().pulses.remove(&line).unwrap_or(0)
    }

    /// `source` is gone, and lets go of every line.
    pub(crate) fn drop_source(&self, source: u32) {
        self.lock().raised.retain(|(_, other)| *other != source);
    }

    /// Whether anybody holds `line` up.
    #[must_use]
    pub fn is_raised(&self, line: u8) -> bool {
        self.lock().raised.iter().any(|(raised, _)| *raised == line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_once() {
        let interrupts = Interrupts::default();
        let vectors = interrupts.messages(2);
        assert_ne!(vectors[0], interrupts.messages(1)[0], "no message twice");
        for index in [1, 0, 1] {
            interrupts.send(vectors[index]);
        }
        assert_eq!(interrupts.take_of(vectors[1]), 2);
        assert_eq!(interrupts.take(), [vectors[0]]);
        assert_eq!(interrupts.take(), []);
    }

    #[test]
    fn a_pulse_leaves_its_line_down_and_is_taken_once() {
        let interrupts = Interrupts::default();
        interrupts.pulse(5);
        interrupts.pulse(5);
        assert!(!interrupts.is_raised(5));
        assert_eq!([5, 6, 5].map(|line| interrupts.take_pulses(line)), [2, 0, 0]);
    }

    #[test]
    fn a_shared_line_falls_with_the_last() {
        let interrupts = Interrupts::default();
        interrupts.set_line(10, 1, true);
        interrupts.set_line(10, 2, true);
        interrupts.set_line(10, 1, false);
        assert!(interrupts.is_raised(10));
        interrupts.set_line(10, 2, false);
        assert!(!interrupts.is_raised(10));
    }
}
