//! SYN cookies: a sequence number that says what its SYN said, so that nothing is kept of it.
//!
//! ```text
//!  K = H(k0; tuple) + C + (t << 24) + (H(k1; tuple, C, t) + 2 i) mod 2^24
//!  TSval = now in ms, the low 6 bits: 0-3 window scale (15: none), 4 SACK, 5 ECN
//! ```
//!
//! `C` is the client's number, `t` counts minutes, and `i` says which of four the largest segment
//! is. As `C` is in it, and `t` goes on, numbers of a tuple grow as those of hosts do. One is good
//! for as long as `t` is the same or the next one. Of all numbers 8 are good: a guess is right once
//! in 2²⁸ times or less, for each connection.
//!
//! A probe for a closed window has the number before the next, as if nothing had come yet. Whoever
//! lost its ACK is known by that too; `C` within the second hash, and `i` counting by two, keep
//! both apart.
//!
//! Spec: RFC 4987, 3.6 "SYN Cookies", appendix A; RFC 7323, 5 (timestamps).

use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_net::Frame;
use siphasher::sip::SipHasher24;

use core::hash::Hasher;

use super::Refusal;
use super::heard::{ACK, Heard, RST, SYN};
use crate::flow::Key;
use crate::packet::{Packet, Transport};
use crate::random::Random;

/// The largest segments that a cookie can say, over IPv4,
const MSS_V4: [u16; 4] = [536, 1300, 1440, 1460];
/// and over IPv6.
const MSS_V6: [u16; 4] = [1220, 1420, 1440, 8940];
/// Of how many minutes cookies are good.
const MAX_AGE_MINUTES: u32 = 2;
/// The same in milliseconds.
const MAX_AGE_MILLIS: u32 = MAX_AGE_MINUTES * 60_000;
/// Of `number`: what is not the time.
const LOW: u32 = (1 << 24) - 1;
/// Of our TSval: what says what the SYN said.
pub(super) const TIME_OPTIONS: u32 = (1 << 6) - 1;
/// There is no window scale.
const NO_SCALE: u32 = 15;
/// The largest that there is.
///
/// Spec: RFC 7323, 2.3.
pub(super) const MAX_SCALE: u8 = 14;

/// What clients are promised before a server is asked: what all servers of a service do, as their
/// health checks learn it. One that changes takes as long to be true as cookies are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The largest segment that servers take, and that fits the links on both sides.
    pub mss_bytes: u16,
    /// By how many bits their windows are shifted, 14 at most.
    pub scale: u8,
    /// They have selective acknowledgements.
    pub sack: bool,
    /// They have timestamps. Without, a cookie holds neither scale nor selective acknowledgements.
    pub timestamps: bool,
    /// They have ECN.
    pub ecn: bool,
}

impl Offer {
    /// What general-purpose hosts do over Ethernet, which take segments of so many bytes.
    #[must_use]
    pub const fn general(mss_bytes: u16) -> Self {
        Self { mss_bytes, scale: 7, sack: true, timestamps: true, ecn: false }
    }
}

/// What a client's SYN and the ACK of our answer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The number of its SYN.
    pub isn: u32,
    /// That of our answer.
    pub cookie: u32,
    /// The largest segment that it takes, rounded down; 536 or 1,220 bytes at the least.
    pub mss_bytes: u16,
    /// Its window, in units of its scale.
    pub window: u16,
    /// By how many bits that is shifted, if there are scales.
    pub scale: Option<u8>,
    /// It has selective acknowledgements, and was promised them.
    pub sack: bool,
    /// The same of ECN.
    pub ecn: bool,
    /// Its clock, and ours as it came back; if there are timestamps.
    pub time: Option<[u32; 2]>,
    /// How many servers were tried so far.
    pub tries: u8,
    /// Those of them before the last one, as whoever chooses them numbers them, latest first.
    pub tried: [u16; 2],
}

/// Who makes cookies, and knows them again.
#[derive(Debug)]
pub struct Cookies {
    keys: [[u64; 2]; 2],
    sent: Option<Instant>,
    given_out: u64,
}

impl Cookies {
    /// One whose cookies no other knows.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        Self { keys: [random.hash_key(), random.hash_key()], sent: None, given_out: 0 }
    }

    /// Whether a cookie was given out that may still come back.
    #[must_use]
    pub fn is_expecting(&self, now: Instant) -> bool {
        let good = Duration::from_secs(60 * u64::from(MAX_AGE_MINUTES));
        self.sent.is_some_and(|sent| now.since(sent) <= good)
    }

    /// How many were given out.
    #[must_use]
    pub const fn given_out(&self) -> u64 {
        self.given_out
    }

    /// The cookie for a SYN that says these.
    pub(super) fn number(&mut self, key: &Key, isn: u32, mss_bytes: u16, now: Instant) -> u32 {
        self.sent = Some(now);
        self.given_out = self.given_out.wrapping_add(1);
        let minute = minute(now);
        // The largest that is not larger.
        let smaller = table(key).iter().skip(1).filter(|known| **known <= mss_bytes).count();
        let index = u32::try_from(smaller).unwrap_or_default();
        let low = self.second(key, isn, minute).wrapping_add(index * 2) & LOW;
        self.first(key).wrapping_add(isn).wrapping_add(minute << 24).wrapping_add(low)
    }

    /// What the SYN said that `frame`, a segment with that key, answers the answer to.
    ///
    /// It costs a hash, and another one where it might be right. What data it has is not taken: our
    /// window is closed, and it will come again.
    ///
    /// # Errors
    ///
    /// [`Refusal`], and it is to be dropped.
    pub fn check(
        &self,
        key: &Key,
        packet: &Packet,
        transport: &Transport,
        frame: &Frame,
        now: Instant,
    ) -> Result<Client, Refusal> {
        if !self.is_expecting(now) {
            return Err(Refusal::NoneSent);
        }
        let heard = Heard::of(packet, transport, frame).ok_or(Refusal::NotTcp)?;
        if heard.flags() & (SYN | RST | ACK) != ACK {
            return Err(Refusal::Flags);
        }
        let cookie = heard.acknowledgement().wrapping_sub(1);
        let (isn, mss_bytes) = self.known(key, heard.sequence(), cookie, now).ok_or(Refusal::Cookie)?;
        if !heard.is_intact(packet, frame) {
            return Err(Refusal::Checksum);
        }
        let window = heard.header.window.get();
        let mut client = Client {
            isn,
            cookie,
            mss_bytes,
            window,
            scale: None,
            sack: false,
            ecn: false,
            time: heard.said(frame).time,
            tries: 0,
            tried: [u16::MAX; 2],
        };
        if let Some([_, ours]) = client.time {
            if millis(now).wrapping_sub(ours) > MAX_AGE_MILLIS {
                return Err(Refusal::Time);
            }
            (client.scale, client.sack, client.ecn) = options_in(ours);
        }
        Ok(client)
    }

    /// The client's number and its largest segment, of a segment with that sequence number which
    /// acknowledges `cookie`.
    fn known(&self, key: &Key, sequence: u32, cookie: u32, now: Instant) -> Option<(u32, u16)> {
        let first = self.first(key);
        // The next number, or, of a probe, the one before.
        [sequence.wrapping_sub(1), sequence].into_iter().find_map(|isn| {
            let rest = cookie.wrapping_sub(first).wrapping_sub(isn);
            let now = minute(now);
            // What the low part carries into the time is in `rest`, which is taken off whole.
            (0..MAX_AGE_MINUTES).find_map(|age| {
                let then = now.wrapping_sub(age);
                let low = rest.wrapping_sub(then << 24);
                if low > LOW {
                    return None;
                }
                let twice = low.wrapping_sub(self.second(key, isn, then)) & LOW;
                let mss_bytes = table(key).get(usize::try_from(twice / 2).ok()?)?;
                twice.is_multiple_of(2).then_some((isn, *mss_bytes))
            })
        })
    }

    fn first(&self, key: &Key) -> u32 {
        let [keys, _] = self.keys;
        hash(keys, key, 0)
    }

    fn second(&self, key: &Key, isn: u32, minute: u32) -> u32 {
        let [_, keys] = self.keys;
        hash(keys, key, u64::from(isn) << 32 | u64::from(minute))
    }
}

/// A keyed hash of a connection's ends and a number more.
#[expect(clippy::cast_possible_truncation, reason = "any 32 bits of it")]
fn hash([k0, k1]: [u64; 2], key: &Key, more: u64) -> u32 {
    let mut hasher = SipHasher24::new_with_keys(k0, k1);
    if let Some(ends) = key.ends_v4() {
        hasher.write_u64(u64::from(ends.source.to_bits()) << 32 | u64::from(ends.destination.to_bits()));
    } else if let Some(ends) = key.ends_v6() {
        for address in [ends.source, ends.destination] {
            let bits = address.to_bits();
            hasher.write_u64((bits >> 64) as u64);
            hasher.write_u64(bits as u64);
        }
    }
    hasher.write_u64(u64::from(key.source_port()) << 16 | u64::from(key.destination_port()));
    hasher.write_u64(more);
    hasher.finish() as u32
}

const fn table(key: &Key) -> &'static [u16; 4] {
    if key.is_v6() { &MSS_V6 } else { &MSS_V4 }
}

/// The low bits of our TSval that say these.
pub(super) fn options_of(scale: Option<u8>, sack: bool, ecn: bool) -> u32 {
    let scale = scale.map_or(NO_SCALE, |scale| scale.min(MAX_SCALE).into());
    scale | u32::from(sack) << 4 | u32::from(ecn) << 5
}

/// What they say.
fn options_in(time: u32) -> (Option<u8>, bool, bool) {
    let scale = u8::try_from(time & NO_SCALE).ok().filter(|scale| *scale <= MAX_SCALE);
    (scale, time & 1 << 4 != 0, time & 1 << 5 != 0)
}

/// Our clock, for timestamps. It goes round after 49 days, as timestamps do.
///
/// Spec: RFC 7323, 5.4 (from 1 ms to 1 s a tick).
#[expect(clippy::cast_possible_truncation, reason = "it goes round")]
pub(super) const fn millis(now: Instant) -> u32 {
    (now.as_nanos() / 1_000_000) as u32
}

const fn minute(now: Instant) -> u32 {
    (now.as_nanos() / 60_000_000_000) as u32
}
