//! A split virtqueue where a device of the legacy interface finds it: one area, of which it is told
//! the page where it begins, and the used ring at the next page behind the other two.
//!
//! ```text
//!  page               page
//!  | descriptor table | available ring |   ...   | used ring |   ...   |
//! ```
//!
//! Spec: VIRTIO 1.2, 2.7.2 "Legacy Interfaces: A Note on Virtqueue Layout".

use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, Dma, DmaBlock, DmaError, DmaErrorReason};

use super::layout::{avail_words, used_words};
use super::memory::SplitMemory;
use crate::ring::QueueSize;

/// What the area starts at a multiple of, and the used ring in it: the only alignment that the
/// interface over PCI has.
const QUEUE_ALIGN: Align = Align::PAGE;

/// How long the area is, padding and all.
#[must_use]
const fn area_bytes(size: QueueSize) -> usize {
    let table = (size.entries() as usize).wrapping_mul(16);
    // At most 16 and 2 times 32768 bytes, and a page.
    let front = table.wrapping_add(avail_words(size).wrapping_mul(2)).next_multiple_of(QUEUE_ALIGN.bytes());
    front.wrapping_add(used_words(size).wrapping_mul(4).next_multiple_of(QUEUE_ALIGN.bytes()))
}

/// Allocates the area, all zero.
///
/// # Errors
///
/// [`DmaError`]; nothing stays allocated.
pub(crate) fn memory<D: Dma>(of: &DeviceDma<D>, size: QueueSize) -> Result<SplitMemory<D>, DmaError> {
    let len_bytes = area_bytes(size);
    // It is as long as its parts are.
    let short = DmaError::new(len_bytes, DmaErrorReason::BadLength);
    let mut area = DmaBlock::zeroed(of, len_bytes, QUEUE_ALIGN)?;
    let descriptors = area.ring(size.entries().into()).ok_or(short)?;
    let avail = area.words(avail_words(size)).ok_or(short)?;
    area.skip_to(QUEUE_ALIGN);
    let used = area.words(used_words(size)).ok_or(short)?;
    Ok(SplitMemory::over(descriptors, avail, used, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_hal::dma::DeviceTag;
    use paravane_mock_hal::MockPlatform;

    /// `vring_size` and the places of `vring_init` in 2.7.2, for every legal size.
    #[test]
    fn the_area_is_laid_out_as_the_specification_says() {
        let aligned = |bytes: u64| (bytes + 4095) & !4095;
        for log in 0..=15 {
            let size = QueueSize::new(1 << log).unwrap();
            let n = u64::from(size.entries());
            let bytes = aligned(16 * n + 2 * (3 + n)) + aligned(6 + 8 * n);
            assert_eq!(area_bytes(size) as u64, bytes);
            let of = DeviceDma::new(MockPlatform::new(), DeviceTag::unique(), 44);
            let memory = memory(&of, size).unwrap();
            let at = memory.addresses();
            let start = at.descriptors.get();
            assert_eq!(start % 4096, 0);
            assert_eq!(at.driver.get(), start + 16 * n);
            assert_eq!(at.device.get(), start + aligned(16 * n + 2 * (3 + n)));
            of.dma().memory().expect_leak(None);
        }
    }
}
