//! The longest segment that a TCP connection takes, kept to what fits the way.

use paravane_net::Frame;

use super::{EditError, adjusted, put, put_words};
use crate::packet::Transport;
use crate::packet::sum::Sum;
use crate::packet::wire::TCP_BYTES;

/// Of `offset_flags`: a connection begins.
const SYN: u16 = 1 << 1;
/// End of options.
const OPTION_END: u8 = 0;
/// An option of one byte that says nothing.
const OPTION_NOTHING: u8 = 1;
/// The longest segment that the sender takes.
const OPTION_MSS: u8 = 2;
/// How long that option is.
const OPTION_MSS_BYTES: u8 = 4;
/// From the header's start.
const CHECKSUM_AT: usize = 16;

/// Has the sender of a SYN say that it takes segments of `mss_bytes` at most. True when it said
/// more, and now does not. One that says nothing takes 536 bytes over IPv4, and 1220 over IPv6, and
/// stays as it is; so does every packet that is no SYN.
///
/// `transport` was read from `frame`, and says afterwards what it says.
///
/// # Errors
///
/// [`EditError::Place`].
///
/// Spec: RFC 9293, 3.7.1 "Maximum Segment Size Option"; RFC 6691.
pub fn clamp_mss(transport: &mut Transport, frame: &mut Frame, mss_bytes: u16) -> Result<bool, EditError> {
    let Transport::Tcp(header, at_bytes) = transport else { return Ok(false) };
    if header.offset_flags.get() & SYN == 0 {
        return Ok(false);
    }
    let header_bytes = usize::from(header.offset_flags.get() >> 12).saturating_mul(4);
    let then = clamp_mss_at(frame, *at_bytes, header_bytes, header.checksum.get(), mss_bytes)?;
    if let Some(checksum) = then {
        header.checksum.set(checksum);
    }
    Ok(then.is_some())
}

/// The same of a SYN whose header lies there, and has that `checksum`; the one that it then has, if
/// it is another one.
///
/// # Errors
///
/// [`EditError::Place`].
pub(crate) fn clamp_mss_at(
    frame: &mut Frame,
    at_bytes: usize,
    header_bytes: usize,
    checksum: u16,
    mss_bytes: u16,
) -> Result<Option<u16>, EditError> {
    let end = at_bytes.saturating_add(header_bytes);
    let mut at = at_bytes.saturating_add(TCP_BYTES);
    let mut change = None;
    // Ends: each turn goes on by a byte at least. Should it be said twice, both are kept small.
    while at < end {
        let kind: u8 = frame.read(at).ok_or(EditError::Place)?;
        let len_bytes: u8 = match kind {
            OPTION_END => break,
            OPTION_NOTHING => 1,
            _ => frame.read(at.saturating_add(1)).ok_or(EditError::Place)?,
        };
        let next = at.saturating_add(len_bytes.into());
        if len_bytes < 2 && kind != OPTION_NOTHING || next > end {
            // The receiver's to judge.
            break;
        }
        if kind == OPTION_MSS && len_bytes == OPTION_MSS_BYTES {
            let value_at = at.saturating_add(2);
            let said = u16::from_be_bytes(frame.read(value_at).ok_or(EditError::Place)?);
            if said > mss_bytes {
                put(frame, value_at, &mss_bytes.to_be_bytes())?;
                let sum = of_value(value_at.saturating_sub(at_bytes), said, mss_bytes);
                change = Some(change.unwrap_or(Sum::ZERO).and_all(sum));
            }
        }
        at = next;
    }
    let Some(change) = change else { return Ok(None) };
    let checksum_at = at_bytes.saturating_add(CHECKSUM_AT);
    let checksum = adjusted(frame, checksum_at, checksum, 0, change.folded());
    put_words(frame, checksum_at, [checksum])?;
    Ok(Some(checksum))
}

/// By how much the sum changes when a value does that lies `offset_bytes` into what is summed:
/// from an odd place on, its bytes are the other halves of words.
fn of_value(offset_bytes: usize, old: u16, new: u16) -> Sum {
    let [old, new] = [old, new].map(|value| if offset_bytes % 2 == 1 { value.swap_bytes() } else { value });
    Sum::ZERO.and(new).without(old)
}
