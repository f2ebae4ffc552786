//! Other numbers for a TCP segment: what becomes of it between two connections that are spliced.

use paravane_net::Frame;
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::{EditError, adjusted, put, put_words};
use crate::packet::options::{NOTHING, SACK, TIME, TcpOptions};
use crate::packet::quote::Quoted;
use crate::packet::sum::Sum;
use crate::packet::wire::{PROTOCOL_TCP, TCP_BYTES};
use crate::packet::{Body, Packet, Transport};

/// What is added to the numbers of each segment that goes one way. Numbers go round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Renumber {
    /// To the sequence number.
    pub sequence: u32,
    /// To the acknowledgement number, and to each edge of a selective acknowledgement.
    pub acknowledgement: u32,
    /// To the timestamp, TSval.
    pub time: u32,
    /// To the one that is sent back, TSecr.
    pub echo: u32,
    /// By how many bits the window is shifted to the left, or, below zero, to the right: it never
    /// says more than 65,535, nor more than there is.
    pub window: i8,
    /// Selective acknowledgements are taken out, for who does not understand them.
    pub blanks_sack: bool,
}

/// The two first of those, and by how much they change the checksum: all that becomes of a segment
/// without options.
///
/// ```text
///  sum' = sum + Σ shift - (1 for each number that went round)
/// ```
///
/// As 2¹⁶ is one in ones' complement, and so 2³² too, a sum grows by what a number grows by,
/// wherever the halves carry; but for 2³², which a number loses that goes round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    sequence: u32,
    acknowledgement: u32,
    sum: Sum,
}

impl Shift {
    /// Adds these.
    #[must_use]
    pub const fn new(sequence: u32, acknowledgement: u32) -> Self {
        Self { sequence, acknowledgement, sum: Sum::ZERO.and_u32(sequence).and_u32(acknowledgement) }
    }

    /// What sequence and acknowledgement number become, and by how much the sum of what a checksum
    /// covers changes: for a segment that has the ACK flag, and is no SYN.
    #[must_use]
    #[inline(always)]
    pub const fn of(self, sequence: u32, acknowledgement: u32) -> (u32, u32, Sum) {
        let (sequence, is_round) = sequence.overflowing_add(self.sequence);
        let (acknowledgement, is_round_too) = acknowledgement.overflowing_add(self.acknowledgement);
        // One less is 2¹⁶ - 2 more.
        let less = (is_round as u32 + is_round_too as u32) * 0xfffe;
        (sequence, acknowledgement, self.sum.and_u32(less))
    }
}

/// Gives a TCP segment other numbers, with the checksum that covers them. One that is open stays as
/// it is, for what is summed there does not hold them. A frame that is to be cut is one segment
/// here, as its headers are.
///
/// `transport` was read from it, and says afterwards what it says.
///
/// # Errors
///
/// [`EditError`]: it may be changed in part, and is to be dropped.
///
/// Spec: RFC 9293, 3.1; RFC 2018, 3 "Sack Option Format"; RFC 7323, 2.2, 3.2; RFC 1624.
#[inline]
pub fn renumber(transport: &mut Transport, frame: &mut Frame, by: &Renumber) -> Result<(), EditError> {
    let Transport::Tcp(header, at_bytes) = transport else { return Err(EditError::Version) };
    let at_bytes = *at_bytes;
    let [_, flags] = header.offset_flags.get().to_be_bytes();
    // Without that flag, what is acknowledged and what is sent back are nothing.
    let by = if flags & ACK == 0 { Renumber { acknowledgement: 0, echo: 0, ..*by } } else { *by };
    let (old_sequence, old_acknowledgement) = (header.sequence.get(), header.acknowledgement.get());
    let sequence = old_sequence.wrapping_add(by.sequence);
    let acknowledgement = old_acknowledgement.wrapping_add(by.acknowledgement);
    // That of a SYN is never scaled.
    let window = if flags & SYN == 0 { shifted(header.window.get(), by.window) } else { header.window.get() };
    let mut change = changed(old_sequence, sequence)
        .and_all(changed(old_acknowledgement, acknowledgement))
        .and(window)
        .without(header.window.get());
    let behind = TcpOptions::of(header, at_bytes);
    if behind.len_bytes() > 0 && by.concerns_options() {
        change = change.and_all(options(behind, at_bytes, frame, &by)?);
    }
    let checksum_at = at_bytes.saturating_add(CHECKSUM_AT);
    let checksum = adjusted(frame, checksum_at, header.checksum.get(), 0, change.folded());
    header.sequence.set(sequence);
    header.acknowledgement.set(acknowledgement);
    header.window.set(window);
    header.checksum.set(checksum);
    let written = Written {
        sequence: header.sequence,
        acknowledgement: header.acknowledgement,
        offset_flags: header.offset_flags,
        window: header.window,
        checksum: header.checksum,
    };
    let words: [u16; 7] = zerocopy::transmute!(written);
    put(frame, at_bytes.saturating_add(SEQUENCE_AT), &words)
}

/// What is written of a header, in one.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Written {
    sequence: U32,
    acknowledgement: U32,
    offset_flags: U16,
    window: U16,
    checksum: U16,
}

impl Renumber {
    /// Whether anything in options changes.
    #[inline(always)]
    const fn concerns_options(&self) -> bool {
        self.acknowledgement != 0 || self.time != 0 || self.echo != 0 || self.blanks_sack
    }
}

/// Changes options; by how much that changes their sum.
#[inline]
fn options(
    mut options: TcpOptions,
    header_at: usize,
    frame: &mut Frame,
    by: &Renumber,
) -> Result<Sum, EditError> {
    let mut change = Sum::ZERO;
    // Nearly all segments have the timestamps alone, behind two bytes of nothing.
    let first_at = header_at.saturating_add(TCP_BYTES);
    let words = if options.len_bytes() < 12 { None } else { frame.read::<[U32; 3]>(first_at) };
    if let Some([TIME_FIRST, value, echo]) = words.map(|words| words.map(|word| word.get())) {
        let (new_value, new_echo) = (value.wrapping_add(by.time), echo.wrapping_add(by.echo));
        put(frame, first_at.saturating_add(4), &[U32::new(new_value), U32::new(new_echo)])?;
        change = changed(value, new_value).and_all(changed(echo, new_echo));
        options = options.behind(12);
    }
    while let Some(found) = options.next(frame) {
        let value_at = found.at_bytes.saturating_add(2);
        match (found.kind, found.len_bytes) {
            (TIME, 10) => {
                change = change.and_all(add(frame, header_at, value_at, by.time)?).and_all(add(
                    frame,
                    header_at,
                    value_at.saturating_add(4),
                    by.echo,
                )?);
            }
            (SACK, len_bytes) if by.blanks_sack => {
                for at in (found.at_bytes..).take(len_bytes) {
                    let old: u8 = frame.read(at).ok_or(EditError::Place)?;
                    put(frame, at, &NOTHING)?;
                    let is_odd = at.wrapping_sub(header_at) % 2 == 1;
                    let word = |byte: u8| if is_odd { u16::from(byte) } else { u16::from(byte) << 8 };
                    change = change.and(word(NOTHING)).without(word(old));
                }
            }
            (SACK, len_bytes) if by.acknowledgement != 0 => {
                let edges = len_bytes.saturating_sub(2) / 4;
                for at in (value_at..).step_by(4).take(edges) {
                    change = change.and_all(add(frame, header_at, at, by.acknowledgement)?);
                }
            }
            _ => {}
        }
    }
    Ok(change)
}

/// Adds to the number at `at_bytes`; by how much that changes the sum of what begins at
/// `header_at`: from an odd place on, its bytes are the other halves of words.
fn add(frame: &mut Frame, header_at: usize, at_bytes: usize, by: u32) -> Result<Sum, EditError> {
    let old: [u8; 4] = frame.read(at_bytes).ok_or(EditError::Place)?;
    let new = u32::from_be_bytes(old).wrapping_add(by).to_be_bytes();
    put(frame, at_bytes, &new)?;
    let [old, new] = if at_bytes.wrapping_sub(header_at) % 2 == 1 {
        [old, new].map(|[a, b, c, d]| u32::from_be_bytes([b, a, d, c]))
    } else {
        [old, new].map(u32::from_be_bytes)
    };
    Ok(changed(old, new))
}

/// Gives the TCP segment that an ICMP error quotes other numbers, as far as they are quoted, with
/// all checksums that cover them. `packet` and `transport` are the error's.
///
/// # Errors
///
/// [`EditError`]: it may be changed in part, and is to be dropped.
///
/// Spec: RFC 5508, 4.2; RFC 1624.
pub fn renumber_quoted(
    quoted: &Quoted,
    packet: &Packet,
    transport: &mut Transport,
    frame: &mut Frame,
    by: &Renumber,
) -> Result<(), EditError> {
    let Transport::Icmp(icmp, icmp_at) = transport else { return Err(EditError::Version) };
    let end_bytes = match &packet.body {
        Body::V4(ip) => ip.at_bytes.saturating_add(ip.total_bytes()),
        Body::V6(ip) => ip.at_bytes.saturating_add(ip.total_bytes()),
        Body::Arp => return Err(EditError::Version),
    };
    if quoted.protocol != PROTOCOL_TCP {
        return Ok(());
    }
    let (tcp_at, icmp_at) = (quoted.ports_at, *icmp_at);
    let mut change = Sum::ZERO;
    for (field_at, by) in [(SEQUENCE_AT, by.sequence), (ACKNOWLEDGEMENT_AT, by.acknowledgement)] {
        let at = tcp_at.saturating_add(field_at);
        if at.saturating_add(4) <= end_bytes {
            change = change.and_all(add(frame, icmp_at, at, by)?);
        }
    }
    if let Some((at_bytes, old)) = quoted.checksum {
        let checksum = change.applied_to(old);
        put_words(frame, at_bytes, [checksum])?;
        change = change.and(checksum).without(old);
    }
    let checksum_at = icmp_at.saturating_add(ICMP_CHECKSUM_AT);
    let checksum = adjusted(frame, checksum_at, icmp.checksum.get(), 0, change.folded());
    put_words(frame, checksum_at, [checksum])?;
    icmp.checksum.set(checksum);
    Ok(())
}

/// By how much a sum changes when a number does.
#[inline(always)]
const fn changed(old: u32, new: u32) -> Sum {
    Sum::ZERO.and_u32(new).and_u32(!old)
}

/// A window in units that are smaller, or larger where `by` is below zero.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "no more than 65,535")]
pub(crate) const fn shifted(window: u16, by: i8) -> u16 {
    let bits = by.unsigned_abs() as u32 & 15;
    if by < 0 {
        return window >> bits;
    }
    let window = (window as u32) << bits;
    if window > 0xffff { 0xffff } else { window as u16 }
}

/// Of `offset_flags`.
const SYN: u8 = 1 << 1;
const ACK: u8 = 1 << 4;
/// Nothing, nothing, timestamps, of 10 bytes.
const TIME_FIRST: u32 = u32::from_be_bytes([NOTHING, NOTHING, TIME, 10]);

// Where fields are in their headers.
const SEQUENCE_AT: usize = 4;
const ACKNOWLEDGEMENT_AT: usize = 8;
const CHECKSUM_AT: usize = 16;
const ICMP_CHECKSUM_AT: usize = 2;

#[cfg(test)]
#[path = "renumber_tests.rs"]
mod tests;
