//! When a notification is owed, in either direction. Arithmetic only.
//!
//! Indices run freely and wrap at 2^16, so every test here is on distances, never on order.
//!
//! Spec: VIRTIO 1.2, 2.7.7 "Used Buffer Notification Suppression", 2.7.10 "Available Buffer
//! Notification Suppression".

/// Whether moving an index from `old` to `new` stepped over `event`.
///
/// `old` is the index at the last *decision*, not at the last entry: whoever adds several entries
/// and then decides once has to look at all of them.
#[must_use]
#[inline(always)]
pub(crate) const fn need_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// An event index that the next 2^16 - 1 entries after `idx` do not step over: "do not tell me".
///
/// The entry after those does step over it, so one stray notification in 65536 may come;
/// suppression is best effort anyway.
#[must_use]
#[inline(always)]
pub(crate) const fn never(idx: u16) -> u16 {
    idx.wrapping_sub(1)
}

/// The event index that asks to be told when `count` (at least one) of the entries after `idx` are
/// there.
#[must_use]
#[inline(always)]
pub(crate) const fn after(idx: u16, count: u16) -> u16 {
    // Stepping over `event` means that the entry numbered `event` is there, and `idx` numbers the
    // next one.
    idx.wrapping_add(count).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let vectors = [
            (0, 1, 0, true),
            (5, 6, 5, true),
            (5, 5, 4, false),
            (0xffff, 0, 0xffff, true),
            (0xfffe, 2, 0xfffe, true),
            (10, 10, 5, false),
            (7, 10, 5, true),
        ];
        for (event, new, old, owed) in vectors {
            assert_eq!(need_event(event, new, old), owed, "event {event}, new {new}, old {old}");
        }
    }

    /// Against the plain meaning: walk from `old` to `new` and look whether `event` was passed. All
    /// events, all short batches, around every wrap.
    #[test]
    fn an_event_is_owed_exactly_when_it_was_stepped_over() {
        for old in (0..=u16::MAX).step_by(251).chain(65_500..=u16::MAX).chain(0..40) {
            for batch in [0_u16, 1, 2, 3, 31, 32, 33, 255, 256] {
                let new = old.wrapping_add(batch);
                for distance in (0..=300).chain([32767, 32768, 65534, 65535]) {
                    let event = old.wrapping_add(distance);
                    let stepped_over = distance < batch;
                    assert_eq!(
                        need_event(event, new, old),
                        stepped_over,
                        "old {old} batch {batch} distance {distance}"
                    );
                }
            }
        }
    }

    /// Deciding once for a batch is as good as deciding for each entry.
    #[test]
    fn one_decision_a_batch_misses_nothing() {
        for old in [0_u16, 1, 65_520, 65_535] {
            for batch in 0..64_u16 {
                for event in (0..128_u16).map(|d| old.wrapping_add(d).wrapping_sub(32)) {
                    let each =
                        (0..batch).any(|i| need_event(event, old.wrapping_add(i + 1), old.wrapping_add(i)));
                    assert_eq!(need_event(event, old.wrapping_add(batch), old), each);
                }
            }
        }
    }

    #[test]
    fn never_is_never_within_a_lap() {
        for idx in [0, 1, 77, 65_530, u16::MAX] {
            for ahead in [1, 2, 256, 32_768, 65_535] {
                assert!(!need_event(never(idx), idx.wrapping_add(ahead), idx));
            }
        }
    }

    #[test]
    fn after_counts_entries() {
        for idx in [0, 9, 65_530, u16::MAX] {
            for count in [1, 2, 200, 32_768] {
                assert!(!need_event(after(idx, count), idx.wrapping_add(count - 1), idx));
                assert!(need_event(after(idx, count), idx.wrapping_add(count), idx));
            }
        }
    }
}
