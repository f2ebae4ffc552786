//! Sums against smoltcp's.

use proptest::collection::vec;
use proptest::prelude::*;
use smoltcp::wire::checksum;

use super::*;

/// Equal in ones' complement, where zero has two faces.
fn is_same(one: u16, other: u16) -> bool {
    u32::from(one) % 0xffff == u32::from(other) % 0xffff
}

proptest! {
    #[test]
    fn bytes_are_summed(bytes in vec(any::<u8>(), 0..3000)) {
        prop_assert_eq!(Sum::ZERO.and_bytes(&bytes).folded(), checksum::data(&bytes));
    }

    /// Wherever they are parted.
    #[test]
    fn parts_make_the_whole(bytes in vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>()) {
        let (front, behind) = bytes.split_at(at.index(bytes.len() + 1));
        let sum = Sum::ZERO.and_bytes(front);
        let sum = if front.len() % 2 == 0 { sum.and_bytes(behind) } else { sum.and_odd_bytes(behind) };
        prop_assert!(is_same(sum.folded(), checksum::data(&bytes)));
    }

    /// A change adds what came and takes away what went.
    #[test]
    fn a_change_is_summed(old in vec(any::<u8>(), 40), new in vec(any::<u8>(), 40), rest in any::<u16>()) {
        let of = |bytes: &[u8]| Sum::ZERO.and(rest).and_bytes(bytes).checksum();
        let change = Sum::ZERO.and_bytes(&new).without_bytes(&old);
        prop_assert!(is_same(change.applied_to(of(&old)), of(&new)));
    }

    #[test]
    fn a_pseudo_header_is_summed(source in any::<[u8; 16]>(), destination in any::<[u8; 16]>(), protocol in any::<u8>(), len_bytes in 0_u32..0x1_0000) {
        let sum = Sum::pseudo_header(&source, &destination, protocol, len_bytes).folded();
        let other = checksum::pseudo_header_v6(&source.into(), &destination.into(), protocol.into(), len_bytes);
        prop_assert!(is_same(sum, other));
    }
}
