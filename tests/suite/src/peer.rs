//! The other end of the cable: it answers each test frame with that frame, sent to whom the frame
//! asks.
//!
//! ```text
//!  0            6            12     14            20          24
//!  | to         | from       | 88b5 | answer to   | number    | filling ...
//! ```
//!
//! What is no test frame is passed over. So the tests decide who an answer is addressed to, and the
//! other end knows nothing of filters.

use alloc::vec::Vec;

use paravane_net::MacAddr;

/// The EtherType for local experiments.
///
/// Spec: IEEE Std 802, "Local Experimental EtherTypes".
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Where the other end is. Nothing depends on it.
const PEER: MacAddr = MacAddr::local(0x7065_6572);
/// Shortest frame on a wire, without its checksum.
pub const MIN_FRAME_BYTES: usize = 60;
/// Longest standard frame.
pub const MAX_FRAME_BYTES: usize = 1514;

/// What the other end answers `frame` with.
#[must_use]
pub fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let ethertype = frame.get(12..14)?;
    let to = frame.get(14..20)?;
    if ethertype != ETHERTYPE {
        return None;
    }
    let mut answer = Vec::with_capacity(frame.len());
    answer.extend_from_slice(to);
    answer.extend_from_slice(&PEER.0);
    answer.extend_from_slice(frame.get(12..)?);
    Some(answer)
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
