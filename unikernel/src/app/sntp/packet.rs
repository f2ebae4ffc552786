//! A question and an answer of SNTP, as bytes.
//!
//! ```text
//!  0   leap 2 bits | version 3 | mode 3      16   reference timestamp
//!  1   stratum                               24   originate: what the question had at 40
//!  2   poll, 3 precision                     32   receive: when the question came
//!  4   root delay                            40   transmit: when this left
//!  8   root dispersion                       seconds since 1900, and 2^-32 of them
//!  12  reference identifier, or a kiss code
//! ```
//!
//! Spec: RFC 5905, 7.3 "Packet Header Variables"; RFC 4330, 4 "Message Format".
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used, clippy::panic)]

use core::fmt;

/// Both are so long; an answer may have more behind it.
pub const BYTES: usize = 48;

/// Leap 0, version 4, mode 3: a client.
const CLIENT: u8 = 4 << 3 | 3;
const SERVER: u8 = 4;
const NOT_SYNCHRONISED: u8 = 3;
/// From there on a server is not synchronised.
const MOST_STRATUM: u8 = 15;
/// A server that is farther from the truth, in units of 2^-16 s: a second.
const MOST_DISPERSION: u32 = 1 << 16;
/// From 1900 to 1970.
const BEFORE_1970_S: u64 = 2_208_988_800;

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is no answer to what was asked.
    NotOurs,
    /// The server does not know the time.
    NotSynchronised,
    /// The server does not want to be asked so often.
    Rate,
    /// The server does not want to be asked.
    Denied,
    /// Its times contradict each other.
    Times,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOurs => "an answer to another question",
            Self::NotSynchronised => "the server itself does not know the time",
            Self::Rate => "the server wants to be asked less often (RATE)",
            Self::Denied => "the server does not want to be asked (DENY or RSTR); it is not asked again",
            Self::Times => "the times in the answer contradict each other",
        })
    }
}

/// The times of an answer, in units of 2^-32 s since 1900, of its era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    received: u64,
    sent: u64,
}

/// A question. What it has as the time that it leaves is `number`: who answers repeats it, and
/// learns nothing of this machine's clock.
pub(super) fn question(number: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    if let Some(first) = bytes.first_mut() {
        *first = CLIENT;
    }
    if let Some(last) = bytes.last_chunk_mut::<8>() {
        *last = number.to_be_bytes();
    }
    bytes
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl Answer {
    /// Reads the answer to the question with `number`.
    ///
    /// Spec: RFC 4330, 5 "SNTP Client Operations"; RFC 5905, 7.4 "The Kiss-o'-Death Packet".
    ///
    /// # Errors
    ///
    /// [`Unusable`].
    pub fn read(bytes: &[u8], number: u64) -> Result<Self, Unusable> {
        let time = |at| word(bytes, at).map(u64::from_be_bytes).ok_or(Unusable::NotOurs);
        let head: [u8; 4] = word(bytes, 0).ok_or(Unusable::NotOurs)?;
        let [flags, stratum, ..] = head;
        let (originate, received, sent) = (time(24)?, time(32)?, time(40)?);
        let (leap, version, mode) = (flags >> 6, flags >> 3 & 7, flags & 7);
        if originate != number || mode != SERVER || !matches!(version, 3 | 4) {
            return Err(Unusable::NotOurs);
        }
        let word_at = |at| word(bytes, at).map(u32::from_be_bytes).ok_or(Unusable::NotOurs);
        let kiss: [u8; 4] = word(bytes, 12).ok_or(Unusable::NotOurs)?;
        match (stratum, &kiss) {
            (0, b"DENY" | b"RSTR") => return Err(Unusable::Denied),
            (0, b"RATE") => return Err(Unusable::Rate),
            (1..=MOST_STRATUM, _) if leap != NOT_SYNCHRONISED && sent != 0 => {}
            _ => return Err(Unusable::NotSynchronised),
        }
        if word_at(4)? >= MOST_DISPERSION || word_at(8)? >= MOST_DISPERSION {
            return Err(Unusable::NotSynchronised);
        }
        Ok(Self { received, sent })
    }

    /// The time now, in microseconds since 1970, where the answer came so many microseconds after
    /// its question was sent: half of what it was on its way was the way back. `None` where the
    /// server says that it took longer than that, or that it answered before it was asked.
    #[must_use]
    pub fn unix_us(self, travelled_us: u64) -> Option<u64> {
        // Across the end of an era, too.
        let held = self.sent.wrapping_sub(self.received);
        let held_us = fraction_us(held)?;
        let on_its_way_us = travelled_us.checked_sub(held_us)?;
        let seconds = self.sent >> 32;
        // Spec: RFC 4330, 3 "NTP Timestamp Format": from 2036 on, seconds begin anew.
        let era: u64 = if seconds >> 31 == 0 { 1 << 32 } else { 0 };
        let unix_s = seconds.checked_add(era)?.checked_sub(BEFORE_1970_S)?;
        let part_us = fraction_us(self.sent & u64::from(u32::MAX))?;
        unix_s.checked_mul(1_000_000)?.checked_add(part_us)?.checked_add(on_its_way_us / 2)
    }
}

/// Units of 2^-32 s as microseconds.
fn fraction_us(time: u64) -> Option<u64> {
    let micros = u128::from(time).checked_mul(1_000_000)? >> 32;
    u64::try_from(micros).ok()
}
