//! A data ring: a slot beside each descriptor of a command ring, for the bytes of short frames.
//!
//! The device knows its memory, and spares itself the way to a buffer; what that is worth, only a
//! host can say. Here each such frame is copied once.

use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, Dma, DmaBox, DmaError, Quiet};
use paravane_net::{Frame, FrameSegment};

/// Slots are so many of these.
const LINE_BYTES: u16 = 64;
/// The longest slot that there is.
pub(crate) const MAX_SLOT_BYTES: u16 = 2048;
/// What a transmit slot has where nothing else was agreed, and at least.
pub(crate) const TX_SLOT_BYTES: u16 = 128;

/// How long a slot is for frames of up to `bytes`: whole lines.
pub(crate) const fn slot_bytes(bytes: u16) -> u16 {
    let bytes = if bytes < MAX_SLOT_BYTES { bytes } else { MAX_SLOT_BYTES };
    bytes.div_ceil(LINE_BYTES).wrapping_mul(LINE_BYTES)
}

/// How long a transmit slot is, by the device's answer to `GET_TXDATA_DESC_SIZE`.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is it")]
pub(crate) const fn answered_slot_bytes(answer: u32) -> u16 {
    match answer as u16 {
        bytes @ TX_SLOT_BYTES..=MAX_SLOT_BYTES if bytes.is_multiple_of(LINE_BYTES) => bytes,
        _ => TX_SLOT_BYTES,
    }
}

/// The memory of a data ring.
pub(crate) struct DataRing<D: Dma> {
    lines: DmaBox<[u8; LINE_BYTES as usize], D>,
    slot_bytes: u16,
}

impl<D: Dma> DataRing<D> {
    /// For a command ring of `entries`, each slot of whole lines.
    pub(crate) fn new(of: &DeviceDma<D>, entries: u16, slot_bytes: u16) -> Result<Self, DmaError> {
        let lines = usize::from(entries).saturating_mul(usize::from(slot_bytes / LINE_BYTES));
        Ok(Self { lines: DmaBox::array_zeroed(of, lines, Align::new(512))?, slot_bytes })
    }

    pub(crate) fn dma_addr(&self) -> u64 {
        self.lines.dma_addr().get()
    }

    pub(crate) const fn slot_bytes(&self) -> u16 {
        self.slot_bytes
    }

    fn first_line(&self, slot: usize) -> usize {
        slot.saturating_mul(usize::from(self.slot_bytes / LINE_BYTES))
    }

    /// Copies a frame into a slot, which it fits; where the device finds it. `None` where there is
    /// no such slot.
    pub(crate) fn put(&mut self, slot: usize, frame: &Frame) -> Option<u64> {
        let first = self.first_line(slot);
        let addr = self.lines.dma_addr_of(first)?;
        let (mut line, mut filled, mut at) = ([0; LINE_BYTES as usize], 0_usize, first);
        for segment in frame.segments() {
            let mut copied = 0_usize;
            // Ends: each turn copies some.
            while let Some(room) = rest_of(&mut line, filled, segment, copied) {
                if !segment.copy_out(copied, room) {
                    return None;
                }
                (copied, filled) = (copied.wrapping_add(room.len()), filled.wrapping_add(room.len()));
                if filled == line.len() {
                    if !self.lines.write_at(at, &line) {
                        return None;
                    }
                    (at, filled) = (at.wrapping_add(1), 0);
                }
            }
        }
        (filled == 0 || self.lines.write_at(at, &line)).then(|| addr.get())
    }

    /// Copies the first `len_bytes` of a slot, no more than it has, to the end of `frame`. False
    /// where they do not fit.
    #[must_use = "false says that it did not fit"]
    pub(crate) fn take(&self, slot: u32, len_bytes: u16, frame: &mut Frame) -> bool {
        let (mut at, mut left) = (self.first_line(slot as usize), usize::from(len_bytes));
        // Ends: each turn copies some.
        while left > 0 {
            let Some(line) = self.lines.read_at(at) else { return false };
            let bytes = line.get(..left).unwrap_or(&line);
            if !frame.append(bytes) {
                return false;
            }
            (at, left) = (at.wrapping_add(1), left.saturating_sub(bytes.len()));
        }
        true
    }

    /// Gives the memory back, against proof. False when it had to be leaked.
    #[must_use = "false means a leak"]
    pub(crate) fn free(self, quiet: &Quiet<'_>) -> bool {
        self.lines.free(quiet).is_ok()
    }
}

/// What of `line` behind `filled` is for the rest of `segment` behind `copied`; `None` when all is
/// copied.
fn rest_of<'l>(
    line: &'l mut [u8],
    filled: usize,
    segment: FrameSegment<'_>,
    copied: usize,
) -> Option<&'l mut [u8]> {
    let left = segment.len_bytes().saturating_sub(copied);
    let end = filled.saturating_add(left).min(line.len());
    line.get_mut(filled..end).filter(|room| !room.is_empty())
}

/// The data ring of a transmit queue, and what goes there.
pub(crate) struct Copies<D: Dma> {
    pub(crate) ring: DataRing<D>,
    /// The longest frame that is copied: it fits a slot.
    pub(crate) most_bytes: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_hal::dma::DeviceTag;
    use paravane_mock_hal::Memory;
    use paravane_net::{FrameLayout, FramePool};
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn slots_are_whole_lines_and_no_longer_than_there_are() {
        assert_eq!([1, 64, 65, 128, 2048, u16::MAX].map(slot_bytes), [64, 64, 128, 128, 2048, 2048]);
        for (answer, bytes) in [
            (0, 128),
            (64, 128),
            (128, 128),
            (256, 256),
            (200, 128),
            (2048, 2048),
            (2112, 128),
            (256 << 16 | 512, 512),
            (u32::MAX, 128),
        ] {
            assert_eq!(answered_slot_bytes(answer), bytes, "{answer:#x}");
        }
    }

    #[test]
    fn what_is_put_into_a_slot_is_there_and_nowhere_else() {
        let memory = Memory::default();
        let of = DeviceDma::new(memory.clone(), DeviceTag::unique(), 64);
        let pool = FramePool::new(memory.clone(), FrameLayout::new(8)).unwrap();
        let mut ring = DataRing::new(&of, 32, 192).unwrap();
        for lengths in [&[1][..], &[64], &[65], &[192], &[14, 50, 128], &[63, 1, 1, 127], &[100, 64]] {
            for slot in [0_u8, 1, 31] {
                let bytes: Vec<u8> = (0..lengths.iter().sum()).map(|at: u8| at ^ slot).collect();
                let (mut frame, mut rest) = (None::<Frame>, &bytes[..]);
                for len_bytes in lengths {
                    let (piece, behind) = rest.split_at(usize::from(*len_bytes));
                    let mut next = pool.get().unwrap();
                    assert!(next.append(piece));
                    match &mut frame {
                        Some(frame) => frame.extend(next),
                        None => frame = Some(next),
                    }
                    rest = behind;
                }
                let addr = ring.put(slot.into(), &frame.unwrap()).unwrap();
                assert_eq!(addr, ring.dma_addr() + 192 * u64::from(slot));
                let mut there = vec![0; bytes.len()];
                memory.device_read(addr, &mut there).unwrap();
                assert_eq!(there, bytes, "{lengths:?}");
                let mut back = pool.get().unwrap();
                assert!(ring.take(slot.into(), u16::try_from(bytes.len()).unwrap(), &mut back));
                let mut copied = vec![0; bytes.len()];
                assert_eq!(back.copy_out(&mut copied), Some(bytes.len()));
                assert_eq!(copied, bytes);
            }
        }
        let mut frame = pool.get().unwrap();
        assert!(frame.append(&[1]));
        assert_eq!(ring.put(32, &frame), None);
        assert!(!ring.take(32, 1, &mut frame));
    }
}
