//! Where things are in a packed virtqueue: words, flags, and the marks that go with a lap. Numbers
//! only.
//!
//! ```text
//!  descriptor ring    N x  | addr: u64 | len: u32 | id: u16 | flags: u16 |                16 bytes each
//!  event suppression  | offset: u15, wrap: u1 | flags: u16 |        one by the driver, one by the device
//! ```
//!
//! The last word of a descriptor holds id (low) and flags (high), so one store hands it over; with
//! the length before it, one load takes it back. An event suppression structure is one word.
//!
//! Spec: VIRTIO 1.2, 2.8 "Packed Virtqueues".

use paravane_hal::addr::Align;

use crate::ring::size::{Position, QueueSize};

/// Alignment of the descriptor ring.
pub(crate) const DESC_ALIGN: Align = Align::new(16);
/// Alignment of an event suppression structure.
pub(crate) const EVENT_ALIGN: Align = Align::new(4);

/// The id in the last word of a descriptor.
pub(crate) const ID: u32 = 0xffff;
/// The chain goes on in the next slot.
pub(crate) const DESC_F_NEXT: u32 = 1 << 16;
/// The device writes the buffer; else it reads it.
pub(crate) const DESC_F_WRITE: u32 = 1 << 17;
/// The buffer is a table of descriptors: all of the chain.
pub(crate) const DESC_F_INDIRECT: u32 = 1 << 18;
/// Like the driver's lap: available.
pub(crate) const DESC_F_AVAIL: u32 = 1 << (16 + 7);
/// Like the device's lap: used.
pub(crate) const DESC_F_USED: u32 = 1 << (16 + 15);
/// Both marks.
pub(crate) const MARKS: u32 = DESC_F_AVAIL | DESC_F_USED;

/// Tell me of each.
pub(crate) const EVENT_F_ENABLE: u32 = 0;
/// Tell me of none.
pub(crate) const EVENT_F_DISABLE: u32 = 1 << 16;
/// Tell me of the one at that position. With `EVENT_IDX` only.
pub(crate) const EVENT_F_DESC: u32 = 2 << 16;
/// The flags of an event suppression structure.
const EVENT_FLAGS: u32 = 3 << 16;
/// The place in an event suppression structure.
const EVENT_PLACE: u32 = 0x7fff;
/// Its lap: the first of two.
const EVENT_WRAP: u32 = WRAP as u32;
/// The same in a position of 16 bits.
const WRAP: u16 = 0x8000;

/// The marks of a descriptor that is available in that lap.
#[must_use]
#[inline(always)]
pub(crate) const fn available(first_lap: bool) -> u32 {
    if first_lap { DESC_F_AVAIL } else { DESC_F_USED }
}

/// The marks of a descriptor that was used in that lap.
#[must_use]
#[inline(always)]
pub(crate) const fn used(first_lap: bool) -> u32 {
    if first_lap { MARKS } else { 0 }
}

/// `at` in 16 bits: its place, and its lap in the highest.
#[must_use]
#[inline(always)]
pub(crate) const fn position(size: QueueSize, at: Position) -> u16 {
    let wrap = if size.is_first_lap(at) { WRAP } else { 0 };
    wrap | size.place(at)
}

/// A wish to be told of the descriptor at `at`.
#[must_use]
#[inline(always)]
pub(crate) const fn wish_at(size: QueueSize, at: Position) -> u32 {
    EVENT_F_DESC | position(size, at) as u32
}

/// Whether `wish` is to be told of one of the descriptors from `old` to before `new`.
///
/// `old` is the position at the last *decision*. What makes no sense is a wish to be told: a
/// notification too many costs little.
#[must_use]
#[inline(always)]
pub(crate) const fn is_wanted(
    wish: u32,
    event_idx: bool,
    size: QueueSize,
    old: Position,
    new: Position,
) -> bool {
    match wish & EVENT_FLAGS {
        EVENT_F_DISABLE => false,
        EVENT_F_DESC if event_idx => {
            let place = (wish & EVENT_PLACE) as u16;
            match size.position(place, wish & EVENT_WRAP != 0) {
                Some(event) => size.steps(old, event) < size.steps(old, new),
                None => true,
            }
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn flags_are_where_the_specification_puts_them() {
        assert_eq!(DESC_F_NEXT >> 16, 1);
        assert_eq!(DESC_F_WRITE >> 16, 2);
        assert_eq!(DESC_F_INDIRECT >> 16, 4);
        assert_eq!(DESC_F_AVAIL >> 16, 0x80);
        assert_eq!(DESC_F_USED >> 16, 0x8000);
        assert_eq!((EVENT_F_ENABLE, EVENT_F_DISABLE, EVENT_F_DESC), (0, 0x1_0000, 0x2_0000));
    }

    /// What was written in one lap is neither available nor used in the next.
    #[test]
    fn marks_tell_laps_apart() {
        for lap in [true, false] {
            assert_eq!(available(lap), if lap { DESC_F_AVAIL } else { DESC_F_USED });
            for other in [available(!lap), used(lap), used(!lap), available(lap) ^ MARKS] {
                assert_ne!(other, available(lap));
            }
            for other in [used(!lap), available(lap), available(!lap)] {
                assert_ne!(other, used(lap));
            }
        }
        assert_ne!(used(true), 0, "fresh memory holds nothing that was used");
        assert_ne!(available(true), 0, "and nothing that is available");
    }

    proptest! {
        /// Against the plain meaning, with numbers that never wrap.
        #[test]
        fn an_event_is_owed_exactly_when_it_was_stepped_over(
            entries in 1_u16..=32768,
            old in any::<u32>(),
            batch in any::<u16>(),
            distance in any::<u32>(),
        ) {
            let (size, n) = (QueueSize::new(entries).unwrap(), u64::from(entries));
            let at = |number: u64| {
                let place = u16::try_from(number % n).unwrap();
                size.position(place, (number / n).is_multiple_of(2)).unwrap()
            };
            let (batch, distance) = (u64::from(batch) % (n + 1), u64::from(distance) % (2 * n));
            let (old, event) = (u64::from(old), u64::from(old) + distance);
            let wish = wish_at(size, at(event));
            let owed = is_wanted(wish, true, size, at(old), at(old + batch));
            prop_assert_eq!(owed, distance < batch);
        }

        /// Any word is a wish, and one that names no place is one to be told.
        #[test]
        fn any_word_is_a_wish(wish in any::<u32>(), entries in 1_u16..=32768, event_idx in any::<bool>()) {
            let size = QueueSize::new(entries).unwrap();
            let (old, new) = (Position::default(), size.ahead(Position::default(), 1));
            let owed = is_wanted(wish, event_idx, size, old, new);
            let flags = wish >> 16 & 3;
            let names_none = flags == 2 && (!event_idx || wish & 0x7fff >= entries.into());
            prop_assert!(owed || flags == 1 || flags == 2 && !names_none);
            prop_assert!(!owed || flags != 1);
        }
    }
}
