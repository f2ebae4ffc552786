//! The other end of the cable: it answers each test frame with that frame, sent to whom the frame
//! asks.
//!
//! ```text
//!  0            6            12     14            20          24
//!  | to         | from       | 88b5 | answer to   | number    | filling ...
//! ```
//!
//! So the tests decide who an answer is addressed to, and the other end knows nothing of filters.
//!
//! Frames of any kind go through it in a wrapper, both ways. What is sent to the other end in one,
//! it takes out and sends; any other frame to its address it sends back in one, to show what
//! arrived.
//!
//! ```text
//!  0            6            12     14              16
//!  | to         | from       | 88b6 | bytes inside  | the frame ...
//! ```
//!
//! All else is passed over.

use alloc::vec::Vec;

use paravane_net::MacAddr;

/// The EtherTypes for local experiments: of test frames, and of wrappers.
///
/// Spec: IEEE Std 802, "Local Experimental EtherTypes".
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const WRAPPER: [u8; 2] = [0x88, 0xb6];
/// In front of the frame in a wrapper.
const WRAPPER_BYTES: usize = 16;
/// Where the other end is. Nothing in a test frame depends on it.
pub const PEER: MacAddr = MacAddr::local(0x7065_6572);
/// Shortest frame on a wire, without its checksum.
pub const MIN_FRAME_BYTES: usize = 60;
/// Longest standard frame.
pub const MAX_FRAME_BYTES: usize = 1514;

/// What the other end answers `frame` with.
#[must_use]
pub fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let ethertype = frame.get(12..14)?;
    if ethertype != ETHERTYPE {
        return through(frame);
    }
    let to = frame.get(14..20)?;
    let mut answer = Vec::with_capacity(frame.len());
    answer.extend_from_slice(to);
    answer.extend_from_slice(&PEER.0);
    answer.extend_from_slice(frame.get(12..)?);
    Some(answer)
}

/// A frame that is no test frame, out of its wrapper or into one.
fn through(frame: &[u8]) -> Option<Vec<u8>> {
    if frame.get(..6)? != PEER.0 {
        return None;
    }
    match unwrapped(frame) {
        Some((inside, len_bytes)) => inside.get(..len_bytes).map(<[u8]>::to_vec),
        None => wrapped(MacAddr(*frame.get(6..)?.first_chunk()?), PEER, frame),
    }
}

/// `frame` in a wrapper; of one that is too long, the beginning. `None` for one that no wrapper can
/// tell the length of.
#[must_use]
pub fn wrapped(to: MacAddr, from: MacAddr, frame: &[u8]) -> Option<Vec<u8>> {
    let len_bytes = u16::try_from(frame.len()).ok()?;
    let beginning = frame.get(..MAX_FRAME_BYTES - WRAPPER_BYTES).unwrap_or(frame);
    let mut wrapper = [&to.0[..], &from.0, &WRAPPER, &len_bytes.to_be_bytes(), beginning].concat();
    wrapper.resize(wrapper.len().max(MIN_FRAME_BYTES), 0);
    Some(wrapper)
}

/// What is in a wrapper, and how long the frame in it was: longer than what is there when it did
/// not fit. `None` when it is none.
#[must_use]
pub fn unwrapped(wrapper: &[u8]) -> Option<(&[u8], usize)> {
    if wrapper.get(12..14)? != WRAPPER {
        return None;
    }
    let len_bytes = u16::from_be_bytes(*wrapper.get(14..)?.first_chunk()?).into();
    let inside = wrapper.get(WRAPPER_BYTES..)?;
    Some((inside.get(..len_bytes).unwrap_or(inside), len_bytes))
}

/// Test frame `number` of `len_bytes`, whose answer goes to `answer_to`.
#[must_use]
pub(crate) fn question(from: MacAddr, answer_to: MacAddr, number: u32, len_bytes: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(len_bytes.max(MIN_FRAME_BYTES));
    frame.extend_from_slice(&PEER.0);
    frame.extend_from_slice(&from.0);
    frame.extend_from_slice(&ETHERTYPE);
    frame.extend_from_slice(&answer_to.0);
    frame.extend_from_slice(&number.to_be_bytes());
    // Even steps from byte to byte, which a recording says in a word; not the same from frame to
    // frame, so that a shift shows.
    let [.., low] = number.to_be_bytes();
    let filling = (0..=u8::MAX).cycle().map(|at| low.wrapping_add(at.wrapping_mul(low | 1)));
    let room = len_bytes.max(MIN_FRAME_BYTES).saturating_sub(frame.len());
    frame.extend(filling.take(room));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: MacAddr = MacAddr::local(7);

    fn frame(to: MacAddr, from: MacAddr, kind: [u8; 2], len_bytes: usize) -> Vec<u8> {
        let mut frame = [&to.0[..], &from.0, &kind].concat();
        frame.resize(len_bytes, 0xa5);
        frame
    }

    #[test]
    fn what_comes_bare_is_shown_to_whom_it_came_from() {
        for (len_bytes, shown) in [(14, 14), (30, 30), (1498, 1498), (1514, 1498)] {
            let sent = frame(PEER, US, [0x08, 0x00], len_bytes);
            let answer = answer(&sent);
            let answer = answer.as_deref().unwrap_or(&[]);
            assert!(answer.starts_with(&US.0) && (60..=1514).contains(&answer.len()));
            assert_eq!(unwrapped(answer), Some((&sent[..shown], len_bytes)));
        }
    }

    #[test]
    fn what_comes_in_a_wrapper_is_sent_as_it_is() {
        let inside = frame(US, PEER, [0x81, 0x00], 40);
        assert_eq!(wrapped(PEER, US, &inside).and_then(|wrapper| answer(&wrapper)), Some(inside));
        let cut = wrapped(PEER, US, &frame(US, PEER, [0x81, 0x00], 1514));
        assert_eq!(cut.and_then(|wrapper| answer(&wrapper)), None, "not what was to be sent");
    }

    #[test]
    fn what_is_for_others_is_passed_over() {
        assert_eq!(answer(&frame(US, PEER, [0x08, 0x00], 60)), None);
        assert_eq!(answer(&frame(PEER, US, [0x08, 0x00], 13)), None);
    }
}
