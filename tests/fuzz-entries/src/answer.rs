//! Answers to what a path sent, as a neighbour or the other end of a connection would give them:
//! with the numbers that are wanted, more often than chance has them.

use crate::input::Input;

/// What went out last by one interface, and may be answered.
#[derive(Default)]
pub(crate) struct Heard(Vec<u8>);

const ETHERNET_BYTES: usize = 14;
const SYN: u8 = 2;
const FIN: u8 = 1;
const ACK: u8 = 16;

/// What kind of packet it is that can be answered.
enum Kind {
    /// A question of ARP,
    Arp,
    /// or of NDP;
    Solicitation,
    /// a TCP segment, with the place of its header.
    Tcp(usize),
}

fn kind(bytes: &[u8]) -> Option<Kind> {
    match bytes.get(12..14)? {
        [8, 6] if bytes.get(20..22)? == [0, 1] => Some(Kind::Arp),
        [8, 0] if *bytes.get(23)? == 6 => Some(Kind::Tcp(ETHERNET_BYTES + 20)),
        [0x86, 0xdd] if *bytes.get(20)? == 6 => Some(Kind::Tcp(ETHERNET_BYTES + 40)),
        [0x86, 0xdd] if *bytes.get(20)? == 58 && *bytes.get(54)? == 135 => Some(Kind::Solicitation),
        _ => None,
    }
}

impl Heard {
    /// Keeps a frame that can be answered.
    pub(crate) fn take(&mut self, frame: Vec<u8>) {
        if kind(&frame).is_some() {
            self.0 = frame;
        }
    }

    /// An answer to it, from that station.
    pub(crate) fn answer(&self, input: &mut Input<'_>, mac: [u8; 6]) -> Option<Vec<u8>> {
        let bytes = &self.0;
        let mut answer = [bytes.get(6..12)?, &mac, bytes.get(12..14)?].concat();
        match kind(bytes)? {
            Kind::Arp => {
                answer.extend([0, 1, 8, 0, 6, 4, 0, 2]);
                answer.extend(mac);
                answer.extend(bytes.get(38..42)?);
                answer.extend(bytes.get(22..32)?);
            }
            Kind::Solicitation => {
                let target = bytes.get(62..78)?;
                answer.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
                answer.extend(target);
                answer.extend(bytes.get(22..38)?);
                let advertisement = [&[136, 0, 0, 0, 0x60, 0, 0, 0], target, &[2, 1], &mac].concat();
                let sum = checksum(answer.get(22..54)?, 58, &advertisement);
                answer.extend(advertisement);
                answer.get_mut(56..58)?.copy_from_slice(&sum.to_be_bytes());
            }
            Kind::Tcp(at) => segment(bytes, at, input, &mut answer)?,
        }
        Some(answer)
    }
}

/// A segment from the other end.
fn segment(bytes: &[u8], at: usize, input: &mut Input<'_>, answer: &mut Vec<u8>) -> Option<()> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (header, flags) = (bytes.get(at..at + 20)?, *bytes.get(at + 13)?);
    let data_at = at + usize::from(header[12] >> 4) * 4;
    let data = u32::try_from(bytes.len().checked_sub(data_at)?).ok()?;
    let numbered = data + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let off = u32::from(input.byte().saturating_sub(250));
    let sequence = if flags & ACK != 0 { word(at + 8)? } else { 9000 };
    let (sequence, acknowledgement) = (sequence.wrapping_add(off), word(at + 4)?.wrapping_add(numbered));
    let says = input.pick([0x12, 0x12, 0x10, 0x10, 0x18, 0x11, 0x14, 0x04]);
    let mut options = Vec::new();
    if says & SYN != 0 {
        options.extend([2, 4, 5, 0xb4, 1, 3, 3, input.byte() % 16, 4, 2, 1, 1]);
    }
    if input.bit() {
        options.extend([1, 1, 8, 10, 0, 0, 0, 77]);
        // What was said last, where that is where it usually is.
        options.extend(bytes.get(at + 24..at + 28).unwrap_or(&[0; 4]));
    }
    let body = if says & SYN != 0 { 0 } else { usize::from(input.byte() % 64) };
    let mut tcp =
        [&header[2..4], &header[0..2], &sequence.to_be_bytes(), &acknowledgement.to_be_bytes()].concat();
    tcp.extend([u8::try_from(20 + options.len()).ok()? << 2, says]);
    tcp.extend(input.half().to_be_bytes());
    tcp.extend([0, 0, 0, 0]);
    tcp.extend(options);
    tcp.resize(tcp.len() + body, 7);
    let ends = if at == ETHERNET_BYTES + 20 {
        let len = u16::try_from(20 + tcp.len()).ok()?.to_be_bytes();
        let mut ip =
            [&[0x45, 0, len[0], len[1], 0, 0, 0x40, 0, 64, 6, 0, 0], bytes.get(30..34)?, bytes.get(26..30)?]
                .concat();
        let sum = checksum(&[], 0, &ip);
        ip.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
        answer.extend(&ip);
        answer.get(26..34)?.to_vec()
    } else {
        let [high, low] = u16::try_from(tcp.len()).ok()?.to_be_bytes();
        answer.extend([0x60, 0, 0, 0, high, low, 6, 64]);
        answer.extend(bytes.get(38..54)?);
        answer.extend(bytes.get(22..38)?);
        answer.get(22..54)?.to_vec()
    };
    let sum = checksum(&ends, 6, &tcp);
    tcp.get_mut(16..18)?.copy_from_slice(&sum.to_be_bytes());
    answer.extend(tcp);
    Some(())
}

/// The checksum of `bytes` between these addresses; without any, that of a header.
fn checksum(ends: &[u8], protocol: u8, bytes: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | two.get(1).map_or(0, |low| u32::from(*low))).sum()
    };
    let pseudo = if ends.is_empty() { 0 } else { u32::from(protocol) + u32::try_from(bytes.len()).unwrap() };
    let mut sum = words(ends) + pseudo + words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
