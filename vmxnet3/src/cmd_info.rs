//! `cmdInfo`: the argument of a command, which means something else to each.

use crate::desc::RxGeometry;

/// The argument of `SET_RING_BUFFER_SIZE`: how long a buffer at the head of a frame is, one of ring
/// 1 that is not, of which there are none, and one of ring 2.
pub(crate) fn buffer_sizes(geometry: &RxGeometry) -> [u8; 16] {
    // Below 16384.
    let len_bytes = u16::try_from(geometry.buffer_bytes).unwrap_or(0).to_le_bytes();
    let mut info = [0; 16];
    let [head, _, body, ..] = info.as_chunks_mut().0 else { return info };
    (*head, *body) = (len_bytes, len_bytes);
    info
}

/// The argument of a command that takes more: version 1, of `len_bytes` at `addr`.
pub(crate) fn var_conf(len_bytes: u32, addr: u64) -> [u8; 16] {
    let mut info = [0; 16];
    let [version, len, low, high] = info.as_chunks_mut().0 else { return info };
    (*version, *len) = (1_u32.to_le_bytes(), len_bytes.to_le_bytes());
    let [a, b, c, d, e, f, g, h] = addr.to_le_bytes();
    (*low, *high) = ([a, b, c, d], [e, f, g, h]);
    info
}

/// The argument of `SET_RSS_FIELDS`.
pub(crate) fn rss_fields(fields: u32) -> [u8; 16] {
    let mut info = [0; 16];
    let [first, ..] = info.as_chunks_mut().0 else { return info };
    *first = fields.to_le_bytes();
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::RingIds;

    #[test]
    fn more_lies_elsewhere() {
        let due = [1, 0, 0, 0, 16, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1];
        assert_eq!(var_conf(16, 0x0102_0304_0506_0708), due);
    }

    #[test]
    fn fields_are_a_word() {
        assert_eq!(rss_fields(0x8000_0031)[..6], [0x31, 0, 0, 0x80, 0, 0]);
    }

    #[test]
    fn buffers_are_heads_in_the_first_ring_and_bodies_in_the_second() {
        let geometry = RxGeometry {
            ids: RingIds::of(0, 1),
            entries: [32; 2],
            buffer_bytes: 1984,
            usual_bytes: 1984,
            data_slot_bytes: 0,
        };
        let mut due = [0; 16];
        (due[0], due[1], due[4], due[5]) = (0xc0, 0x07, 0xc0, 0x07);
        assert_eq!(buffer_sizes(&geometry), due);
    }
}
