//! Where things are in a split virtqueue: sizes, word positions, flags. Numbers only.
//!
//! ```text
//!  descriptor table   N x  | addr: u64 | len: u32 | flags: u16 | next: u16 |            16 bytes each
//!  available ring     | flags: u16 | idx: u16 | ring: u16 x N | used_event: u16 |       written by the driver
//!  used ring          | flags: u16 | idx: u16 | (id: u32, len: u32) x N | avail_event: u16 |   written by the device
//! ```
//!
//! The used ring is seen here as 32-bit words: word 0 holds flags (low) and idx (high), so that one
//! load gives both, and each element is two whole words. Its last 16-bit field is the low half of
//! one more word.
//!
//! Spec: VIRTIO 1.2, 2.7 "Split Virtqueues".

use paravane_hal::addr::Align;

use crate::ring::size::QueueSize;

/// Alignment of the descriptor table.
pub(crate) const DESC_ALIGN: Align = Align::new(16);
/// Alignment of the available ring.
pub(crate) const AVAIL_ALIGN: Align = Align::new(2);
/// Alignment of the used ring.
pub(crate) const USED_ALIGN: Align = Align::new(4);

/// The chain goes on with the descriptor named by `next`.
pub(crate) const DESC_F_NEXT: u32 = 1;
/// The device writes the buffer; else it reads it.
pub(crate) const DESC_F_WRITE: u32 = 1 << 1;
/// The buffer is a table of descriptors, in which the chain goes on.
pub(crate) const DESC_F_INDIRECT: u32 = 1 << 2;

/// Word of the available ring that holds its flags.
pub(crate) const AVAIL_FLAGS: usize = 0;
/// Word of the available ring that holds its idx.
pub(crate) const AVAIL_IDX: usize = 1;
/// First ring word of the available ring.
pub(crate) const AVAIL_RING: usize = 2;
/// The driver wants no interrupts. Only without `EVENT_IDX`; with it the flags stay zero.
pub(crate) const AVAIL_F_NO_INTERRUPT: u16 = 1;

/// Word of the used ring that holds flags and idx.
pub(crate) const USED_HEAD: usize = 0;
/// First element word of the used ring.
pub(crate) const USED_RING: usize = 1;
/// The device wants no notifications. Without `EVENT_IDX` only.
pub(crate) const USED_F_NO_NOTIFY: u32 = 1;

/// How many 16-bit words the available ring has.
#[must_use]
pub(crate) const fn avail_words(size: QueueSize) -> usize {
    used_event_word(size).wrapping_add(1)
}

/// How many 32-bit words the used ring has.
#[must_use]
pub(crate) const fn used_words(size: QueueSize) -> usize {
    avail_event_word(size).wrapping_add(1)
}

/// Word of the available ring that holds `used_event`.
#[must_use]
#[inline(always)]
pub(crate) const fn used_event_word(size: QueueSize) -> usize {
    AVAIL_RING.wrapping_add(size.entries() as usize)
}

/// Word of the used ring that holds `avail_event`.
#[must_use]
#[inline(always)]
pub(crate) const fn avail_event_word(size: QueueSize) -> usize {
    USED_RING.wrapping_add((size.entries() as usize).wrapping_mul(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The byte counts of 2.7 "Split Virtqueues", for every legal size.
    #[test]
    fn areas_are_as_long_as_the_specification_says() {
        for log in 0..=15 {
            let size = QueueSize::new(1 << log).unwrap();
            let n = usize::from(size.entries());
            assert_eq!(avail_words(size) * 2, 6 + 2 * n);
            assert_eq!(used_event_word(size) * 2, 4 + 2 * n);
            // Rounded up to whole words.
            assert_eq!(used_words(size) * 4, (6 + 8 * n).next_multiple_of(4));
            assert_eq!(avail_event_word(size) * 4, 4 + 8 * n);
        }
    }
}
