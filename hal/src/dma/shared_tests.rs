#![expect(unsafe_code, reason = "proofs about devices that do not exist")]

use super::*;
use crate::dma::copy::volatile_copy;
use crate::testing::Heap;
use core::sync::atomic::Ordering;
use zerocopy::KnownLayout;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Inner {
    a: u16,
    b: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Shape {
    word: u32,
    inner: Inner,
    bytes: [u8; 3],
    last: u8,
}

const ANY: Shape = Shape { word: 0x1122_3344, inner: Inner { a: 5, b: 6 }, bytes: [7, 8, 9], last: 10 };

fn device(heap: &Heap) -> DeviceDma<Heap> {
    DeviceDma::new(heap.clone(), DeviceTag::unique(), 64)
}

fn stopped(of: &DeviceDma<Heap>) -> Quiet<'static> {
    // SAFETY: there is no device.
    unsafe { Quiet::vouch(of.device()) }
}

fn out(heap: &Heap) -> usize {
    heap.regions.load(Ordering::SeqCst)
}

#[test]
fn a_structure_goes_in_and_out() {
    let of = device(&Heap::default());
    let mut shared = DmaBox::<Shape, _>::array_zeroed(&of, 3, Align::BYTE).unwrap();
    assert!(shared.write_at(2, &ANY));
    assert_eq!(shared.read_at(2), Some(ANY));
    assert_eq!(shared.read().word, 0, "zeroed, and apart");
    assert_eq!(shared.get_at(2, crate::field!(Shape, inner.b)), Some(6));
    assert!(shared.set_at(2, crate::field!(Shape, last), 99));
    assert_eq!(shared.read_at(2).unwrap().last, 99);
    shared.set(crate::field!(Shape, word), 77);
    assert_eq!((shared.get(crate::field!(Shape, word)), shared.read().word), (77, 77));
}

#[test]
fn there_is_nothing_outside() {
    let of = device(&Heap::default());
    let mut shared = DmaBox::<Shape, _>::array_zeroed(&of, 3, Align::BYTE).unwrap();
    assert_eq!(shared.read_at(3), None);
    assert!(!shared.write_at(usize::MAX, &ANY));
    assert_eq!(shared.get_at(3, crate::field!(Shape, word)), None);
    assert!(!shared.set_at(3, crate::field!(Shape, word), 1));
    assert_eq!(shared.dma_addr_of(3), None);
}

#[test]
#[should_panic(expected = "a field lies inside its structure")]
fn a_field_that_wraps_around_is_none() {
    let _ = Field::<Shape, u16>::of(usize::MAX, |shape| &shape.inner.a);
}

#[test]
fn the_device_address_is_another_one() {
    let of = device(&Heap::default());
    let ring = DmaRing::<4, _>::zeroed(&of, 32, Align::new(512)).unwrap();
    let at = ring.dma_addr().get();
    let entries = [0, 1, 31, 32].map(|index| ring.dma_addr_of(index).map(|addr| addr.get() - at));
    assert_eq!(entries, [Some(0), Some(16), Some(31 * 16), None]);
    assert_eq!(ring.dma_addr().get() % 512, 0);
    assert_ne!(ring.dma_addr().get(), ring.slots().as_ptr().addr() as u64);
    // SAFETY: there is no device.
    ring.free(&unsafe { Quiet::vouch(of.device()) }).ok().unwrap();
}

#[test]
fn words_are_little_endian() {
    let of = device(&Heap::default());
    let ring = DmaRing::<4, _>::zeroed(&of, 2, Align::BYTE).unwrap();
    ring.slots()[1].store::<2>(0x0102_0304);
    assert_eq!(ring.slots()[1].snapshot(), [0, 0, 0x0102_0304, 0]);
    assert_eq!(ring.slots()[1].load::<2>(), 0x0102_0304);
}

#[test]
fn memory_no_device_knows_of_is_freed_on_drop() {
    let heap = Heap::default();
    let of = device(&heap);
    drop(DmaBox::<Shape, _>::zeroed(&of, Align::PAGE));
    drop(DmaRing::<4, _>::zeroed(&of, 8, Align::PAGE));
    drop(DmaWords::<Word16, _>::zeroed(&of, 8, Align::PAGE));
    assert_eq!(out(&heap), 0);
}

#[test]
fn memory_a_device_may_know_of_is_freed_on_proof_only() {
    let heap = Heap::default();
    let of = device(&heap);
    let ring = DmaRing::<4, _>::zeroed(&of, 8, Align::PAGE).unwrap();
    let _ = ring.dma_addr();
    let other = device(&heap);
    let ring = ring.free(&stopped(&other)).err().unwrap();
    assert_eq!(out(&heap), 1);
    assert!(ring.free(&stopped(&of)).is_ok());
    assert_eq!(out(&heap), 0);
    let words = DmaWords::<Word32, _>::zeroed(&of, 8, Align::PAGE).unwrap();
    let _ = words.dma_addr();
    drop(words);
    assert_eq!(out(&heap), 1, "leaked: the device may still write there");
}

#[test]
fn a_platform_that_does_not_keep_to_the_request_is_not_believed() {
    let heap = Heap::default();
    let narrow = DeviceDma::new(heap.clone(), DeviceTag::unique(), 32);
    let error = DmaRing::<4, _>::zeroed(&narrow, 8, Align::PAGE).err().unwrap();
    assert_eq!(error.reason, DmaErrorReason::AddressWidth { address_bits: 32 });
    assert_eq!(out(&heap), 0, "and what it gave goes back");
    let short = Heap { short_by: 1, ..Heap::default() };
    let error = DmaRing::<4, _>::zeroed(&device(&short), 8, Align::PAGE).err().unwrap();
    assert_eq!(error.reason, DmaErrorReason::TooShort { has_bytes: 127 });
    assert_eq!(out(&short), 0);
}

#[test]
fn lengths_that_overflow_are_refused() {
    let of = device(&Heap::default());
    assert!(DmaRing::<4, _>::zeroed(&of, usize::MAX / 2, Align::BYTE).is_err());
    assert!(DmaBox::<Shape, _>::array_zeroed(&of, 0, Align::BYTE).is_err());
    assert!(DmaWords::<Word16, _>::zeroed(&of, usize::MAX, Align::BYTE).is_err());
}

proptest::proptest! {
    #[test]
    fn a_volatile_copy_copies_any_piece(len in 0_usize..70, from_skew in 0_usize..9, to_skew in 0_usize..9, seed: u8) {
        let from: Vec<u8> = (0..80_u8).map(|i| i.wrapping_mul(31).wrapping_add(seed)).collect();
        let mut to = vec![0xee_u8; 80];
        let (source, target) = (from.as_ptr().wrapping_add(from_skew), to.as_mut_ptr().wrapping_add(to_skew));
        // SAFETY: both are 80 bytes long, and skew plus length stays below that.
        unsafe { volatile_copy(source, target, len) };
        proptest::prop_assert_eq!(&to[to_skew..to_skew + len], &from[from_skew..from_skew + len]);
        proptest::prop_assert!(to[..to_skew].iter().chain(&to[to_skew + len..]).all(|&byte| byte == 0xee));
    }
}

#[cfg(feature = "alloc")]
#[test]
fn parts_of_a_block_follow_one_another_and_go_home_together() {
    let heap = Heap::default();
    let of = device(&heap);
    let mut block = DmaBlock::zeroed(&of, 4096 + 8, Align::new(4096)).unwrap();
    let ring = block.ring::<4>(2).unwrap();
    let halves = block.words::<Word16>(3).unwrap();
    assert!(block.words::<Word32>(1).is_none(), "38 bytes in, no word of 32 bits is aligned");
    block.skip_to(Align::new(4096));
    assert!(block.words::<Word32>(3).is_none(), "more than is left");
    let words = block.words::<Word32>(2).unwrap();
    assert!(block.words::<Word16>(1).is_none(), "nothing is left");
    drop(block);
    let start = ring.dma_addr().get();
    assert_eq!((halves.dma_addr().get() - start, words.dma_addr().get() - start), (32, 4096));
    words.words()[1].store(0x1122_3344);
    halves.words()[0].store(7);
    ring.slots()[1].store::<3>(9);
    assert_eq!((words.words()[1].load(), halves.words()[0].load()), (0x1122_3344, 7));
    assert_eq!(ring.slots()[1].snapshot(), [0, 0, 0, 9]);

    let another = device(&heap);
    let ring = ring.free(&stopped(&another)).err().unwrap();
    assert!(ring.free(&stopped(&of)).is_ok());
    assert!(halves.free(&stopped(&of)).is_ok());
    assert_eq!(out(&heap), 1, "a part is left");
    assert!(words.free(&stopped(&of)).is_ok());
    assert_eq!(out(&heap), 0);
}

#[cfg(feature = "alloc")]
#[test]
fn a_block_whose_last_part_is_dropped_stays_with_its_device() {
    let heap = Heap::default();
    let of = device(&heap);
    let mut block = DmaBlock::zeroed(&of, 64, Align::new(16)).unwrap();
    let (ring, words) = (block.ring::<4>(2).unwrap(), block.words::<Word16>(3).unwrap());
    drop((block, words));
    let _ = ring.dma_addr();
    drop(ring);
    assert_eq!(out(&heap), 1, "the device may know of it");
    drop(DmaBlock::zeroed(&of, 64, Align::new(16)).unwrap());
    assert_eq!(out(&heap), 1, "of this one it cannot");
}
