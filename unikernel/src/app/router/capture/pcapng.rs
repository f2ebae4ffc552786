//! Frames as Wireshark and tcpdump read them from a file, block by block.
//!
//! ```text
//! section header | interface description … | enhanced packet … | interface statistics …
//! ```
//!
//! Spec: draft-ietf-opsawg-pcapng "PCAP Next Generation (pcapng) Capture File Format", 4 "Block
//! Definitions". Words are in this machine's order, which the first block tells.

use alloc::vec::Vec;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;

/// Options, by the block that they are in.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const EPB_FLAGS: u16 = 2;
    pub(super) const ISB_IFRECV: u16 = 4;
    pub(super) const ISB_IFDROP: u16 = 5;
}

/// What a frame takes beside its bytes: the block around it, and which way it went.
pub(super) const PACKET_BYTES: usize = 32 + 12;

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In = 1,
    Out = 2,
}

/// How many bytes fill the last word.
const fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

/// Puts a block of that kind around what `fill` adds.
fn block(to: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    fill(&mut body);
    let len = u32::try_from(body.len().saturating_add(12)).unwrap_or(u32::MAX);
    for word in [kind, len] {
        to.extend(word.to_le_bytes());
    }
    to.append(&mut body);
    to.extend(len.to_le_bytes());
}

fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    to.extend(code.to_le_bytes());
    to.extend(len.to_le_bytes());
    let value = value.get(..len.into()).unwrap_or(value);
    to.extend(value);
    to.extend(core::iter::repeat_n(0, padding(value.len())));
}

/// What begins a file: who made it, and the interfaces by name, of whose frames at most so many
/// bytes are kept.
pub(super) fn begin<'n>(made_by: &str, names: impl Iterator<Item = &'n str>, most_bytes: u32) -> Vec<u8> {
    let mut file = Vec::new();
    block(&mut file, SECTION_HEADER, |body| {
        body.extend(BYTE_ORDER.to_le_bytes());
        // Version 1.0, and nobody knows how long.
        body.extend([1, 0, 0, 0]);
        body.extend(u64::MAX.to_le_bytes());
        option(body, option::SHB_USERAPPL, made_by.as_bytes());
        option(body, option::END, &[]);
    });
    for name in names {
        block(&mut file, INTERFACE_DESCRIPTION, |body| {
            body.extend(ETHERNET.to_le_bytes());
            body.extend(most_bytes.to_le_bytes());
            option(body, option::IF_NAME, name.as_bytes());
            option(body, option::END, &[]);
        });
    }
    file
}

/// What stands before a frame's bytes and behind them, of which `kept` are there.
pub(super) fn packet(
    interface: u32,
    unix_us: u64,
    (kept, whole): (usize, usize),
    way: Way,
) -> ([u8; 28], usize, [u8; 16]) {
    let small = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let len = small(PACKET_BYTES.saturating_add(kept).saturating_add(padding(kept)));
    let [low, high] =
        [unix_us & u64::from(u32::MAX), unix_us >> 32].map(|part| u32::try_from(part).unwrap_or(0));
    let mut head = [0; 28];
    let words = [ENHANCED_PACKET, len, interface, high, low, small(kept), small(whole)];
    for (place, word) in head.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let mut tail = [0; 16];
    let flags = u32::from(option::EPB_FLAGS) | 4 << 16;
    for (place, word) in tail.chunks_exact_mut(4).zip([flags, way as u32, option::END.into(), len]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    (head, padding(kept), tail)
}

/// What ends a file: of each interface, how many frames were let through and how many of them there
/// was no room for.
pub(super) fn end(counts: impl Iterator<Item = (u64, u64)>, unix_us: u64) -> Vec<u8> {
    let mut file = Vec::new();
    for (number, (seen, lost)) in (0_u32..).zip(counts) {
        block(&mut file, INTERFACE_STATISTICS, |body| {
            body.extend(number.to_le_bytes());
            let [low, high] = [unix_us & u64::from(u32::MAX), unix_us >> 32];
            for part in [high, low] {
                body.extend(u32::try_from(part).unwrap_or(0).to_le_bytes());
            }
            option(body, option::ISB_IFRECV, &seen.to_le_bytes());
            option(body, option::ISB_IFDROP, &lost.to_le_bytes());
            option(body, option::END, &[]);
        });
    }
    file
}
