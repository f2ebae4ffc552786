//! A station that answers ARP.

#![allow(unreachable_pub, reason = "shared by test files")]

use paravane_hal_check::ArpPeer;

pub const PEER: ArpPeer = ArpPeer::QEMU_USER;
/// Its address.
const STATION: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// What the station answers.
pub fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let is_question = frame.get(12..14)? == [0x08, 0x06] && frame.get(38..42)? == PEER.peer;
    is_question.then(|| {
        let mut answer = frame.to_vec();
        answer.copy_within(6..12, 0);
        answer[6..12].copy_from_slice(&STATION);
        answer[21] = 2;
        answer.copy_within(22..32, 32);
        answer[22..28].copy_from_slice(&STATION);
        answer[28..32].copy_from_slice(&PEER.peer);
        answer
    })
}
