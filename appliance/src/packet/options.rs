//! The options of a TCP header, one after the other.

use paravane_net::Frame;

use super::wire::{TCP_BYTES, TcpHeader};

/// End of options.
pub(crate) const END: u8 = 0;
/// An option of one byte that says nothing.
pub(crate) const NOTHING: u8 = 1;
/// The longest segment that the sender takes.
pub(crate) const MSS: u8 = 2;
/// By how many bits windows are shifted.
pub(crate) const SCALE: u8 = 3;
/// Selective acknowledgements are understood.
pub(crate) const SACK_PERMITTED: u8 = 4;
/// What came behind a gap.
pub(crate) const SACK: u8 = 5;
/// Two clocks.
pub(crate) const TIME: u8 = 8;

/// An option: what it is, and where in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: u8,
    /// Where it begins, with its kind.
    pub(crate) at_bytes: usize,
    /// Kind and length included.
    pub(crate) len_bytes: usize,
}

/// The options that are not looked at yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpOptions {
    at_bytes: usize,
    end_bytes: usize,
}

impl TcpOptions {
    /// All of `header`, which begins `at_bytes` into its frame.
    #[inline]
    pub(crate) fn of(header: &TcpHeader, at_bytes: usize) -> Self {
        let header_bytes = usize::from(header.offset_flags.get() >> 12).saturating_mul(4);
        Self {
            at_bytes: at_bytes.saturating_add(TCP_BYTES),
            end_bytes: at_bytes.saturating_add(header_bytes),
        }
    }

    /// How long they are, those that say nothing included.
    #[inline]
    pub(crate) const fn len_bytes(&self) -> usize {
        self.end_bytes.saturating_sub(self.at_bytes)
    }

    /// Those behind the next `len_bytes`.
    #[inline]
    pub(crate) fn behind(self, len_bytes: usize) -> Self {
        Self { at_bytes: self.at_bytes.saturating_add(len_bytes), ..self }
    }

    /// The next one that says something. `None` at their end, and where what follows is no option:
    /// that is the receiver's to judge.
    ///
    /// Spec: RFC 9293, 3.2 "Specific Option Definitions".
    pub(crate) fn next(&mut self, frame: &Frame) -> Option<Found> {
        // Ends: each turn goes on by a byte.
        while self.at_bytes < self.end_bytes {
            let at_bytes = self.at_bytes;
            let kind: u8 = frame.read(at_bytes)?;
            match kind {
                END => return None,
                NOTHING => self.at_bytes = at_bytes.saturating_add(1),
                _ => {
                    let len_bytes: u8 = frame.read(at_bytes.saturating_add(1))?;
                    let next = at_bytes.saturating_add(len_bytes.into());
                    if len_bytes < 2 || next > self.end_bytes {
                        return None;
                    }
                    self.at_bytes = next;
                    return Some(Found { kind, at_bytes, len_bytes: len_bytes.into() });
                }
            }
        }
        None
    }
}
