//! Copies to and from memory that a device may write: volatile on its side, in the widest pieces
//! that fit.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Whether a `T` at `shared` is copied in pieces of `P`: when its type is aligned for them, or when
/// it is one such piece and happens to lie right. The latter is for integers of a given byte order,
/// whose types are not aligned at all.
#[inline(always)]
fn goes_by<T, P>(shared: *const u8) -> bool {
    align_of::<T>() >= size_of::<P>()
        || (size_of::<T>() == size_of::<P>() && shared.addr() & (size_of::<P>() - 1) == 0)
}

/// Whether a `T` at `shared` is one word of four bytes and then words of eight.
#[inline(always)]
fn goes_by_four_and_eights<T>(shared: *const u8) -> bool {
    align_of::<T>() == 4 && size_of::<T>() & 7 == 4 && shared.addr() & 7 == 4
}

/// Copies one `T` in the widest pieces that go by its alignment at `$shared`, the one of the two
/// places that a device may reach: `$read` from `$from`, `$write` to `$to`.
///
/// For use in an unsafe block: one place is valid for reads, the other for writes of a `T`, and
/// they do not overlap. The access to the place that is not shared takes any address.
macro_rules! copy_value {
    ($value:ty, $shared:expr, $from:expr, $read:ident, $to:expr, $write:ident) => {{
        let (from, to) = ($from.cast::<u8>(), $to.cast::<u8>());
        let mut at = 0;
        if goes_by_four_and_eights::<$value>($shared.cast::<u8>().cast_const()) {
            to.cast::<u32>().$write(from.cast::<u32>().$read());
            at = size_of::<u32>();
            // Aligned, for the place is half a word off at its start.
            while at < size_of::<$value>() {
                to.wrapping_add(at).cast::<u64>().$write(from.wrapping_add(at).cast::<u64>().$read());
                at += size_of::<u64>();
            }
        }
        copy_value!(pieces of u64, $value, $shared, from.$read, to.$write, at);
        copy_value!(pieces of u32, $value, $shared, from.$read, to.$write, at);
        copy_value!(pieces of u16, $value, $shared, from.$read, to.$write, at);
        copy_value!(pieces of u8, $value, $shared, from.$read, to.$write, at);
        let _ = at;
    }};
    // In bounds by the loop's condition; aligned, for the shared place starts so and `at` grows in
    // whole pieces.
    (pieces of $piece:ty, $value:ty, $shared:expr, $from:ident.$read:ident, $to:ident.$write:ident, $at:ident) => {
        if goes_by::<$value, $piece>($shared.cast::<u8>().cast_const()) {
            while size_of::<$value>() - $at >= size_of::<$piece>() {
                let piece = $from.wrapping_add($at).cast::<$piece>().$read();
                $to.wrapping_add($at).cast::<$piece>().$write(piece);
                $at += size_of::<$piece>();
            }
        }
    };
}

/// Copies a `T` out of shared memory: in one access when it is an aligned integer, else in the
/// widest aligned pieces.
///
/// # Safety
///
/// `from` is valid for reads of a `T`.
#[inline(always)]
pub(crate) unsafe fn volatile_read<T: FromBytes>(from: NonNull<T>) -> T {
    if !from.is_aligned() {
        // SAFETY: the caller's obligations are the same ones.
        return unsafe { read_unaligned(from) };
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: `from` by the caller, and aligned; `value` is ours and as long. Only the shared side
    // is volatile, so that the value need not pass through memory.
    unsafe {
        copy_value!(T, from.as_ptr(), from.as_ptr(), read_volatile, value.as_mut_ptr(), write_unaligned)
    };
    // SAFETY: every byte was copied, and every pattern is a `T`.
    unsafe { seen(from, value).assume_init() }
}

/// What a driver sees of the `value` that was copied from `place`.
#[cfg(not(feature = "changing-loads"))]
#[inline(always)]
fn seen<T>(_place: NonNull<T>, value: MaybeUninit<T>) -> MaybeUninit<T> {
    value
}

/// What a driver sees of the `value` that was copied from `place`, every byte of it.
#[cfg(feature = "changing-loads")]
fn seen<T>(place: NonNull<T>, mut value: MaybeUninit<T>) -> MaybeUninit<T> {
    // SAFETY: as long as it is, and every byte was copied.
    let bytes = unsafe { core::slice::from_raw_parts_mut(value.as_mut_ptr().cast(), size_of::<T>()) };
    super::load::changing::see_bytes(place.as_ptr().cast_const().cast(), bytes);
    value
}

/// Copies a `T` into shared memory; the counterpart of [`volatile_read`].
///
/// # Safety
///
/// `to` is valid for writes of a `T`.
#[inline(always)]
pub(crate) unsafe fn volatile_write<T: IntoBytes + Immutable>(to: NonNull<T>, value: &T) {
    if !to.is_aligned() {
        // SAFETY: `to` by the caller; `value` is a reference, without padding by `IntoBytes`.
        return unsafe {
            volatile_copy(core::ptr::from_ref(value).cast(), to.as_ptr().cast(), size_of::<T>())
        };
    }
    // SAFETY: `to` by the caller, and aligned; `value` is a reference, without padding by
    // `IntoBytes`.
    unsafe {
        copy_value!(T, to.as_ptr(), core::ptr::from_ref(value), read_unaligned, to.as_ptr(), write_volatile)
    };
}

/// [`volatile_read`] from anywhere.
///
/// # Safety
///
/// The same.
#[cold]
#[inline(never)]
unsafe fn read_unaligned<T: FromBytes>(from: NonNull<T>) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: `from` by the caller; `value` is ours and as long.
    unsafe { volatile_copy(from.as_ptr().cast(), value.as_mut_ptr().cast(), size_of::<T>()) };
    // SAFETY: every byte was copied, and every pattern is a `T`.
    unsafe { seen(from, value).assume_init() }
}

/// Copies `len_bytes` with volatile accesses on both sides, in the widest pieces that both
/// addresses are aligned to.
///
/// # Safety
///
/// `from` is valid for reads and `to` for writes of `len_bytes`, and they do not overlap.
#[inline(always)]
pub(crate) unsafe fn volatile_copy(from: *const u8, to: *mut u8, len_bytes: usize) {
    let skew = (from.addr() | to.addr()) & 7;
    let mut at = 0;
    macro_rules! pieces {
        ($piece:ty) => {
            if skew & (size_of::<$piece>() - 1) == 0 {
                while len_bytes - at >= size_of::<$piece>() {
                    // SAFETY: in bounds by the loop's condition; aligned, for both start so and
                    // `at` grows in whole pieces.
                    let piece = unsafe { from.add(at).cast::<$piece>().read_volatile() };
                    // SAFETY: as above.
                    unsafe { to.add(at).cast::<$piece>().write_volatile(piece) };
                    at += size_of::<$piece>();
                }
            }
        };
    }
    pieces!(u64);
    pieces!(u32);
    pieces!(u16);
    pieces!(u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::little_endian::{U32, U64};

    #[test]
    fn an_integer_of_a_given_byte_order_is_one_access_where_it_lies_right() {
        let at = |addr| core::ptr::without_provenance(addr);
        assert!(goes_by::<U32, u32>(at(4)) && !goes_by::<U32, u32>(at(6)));
        assert!(goes_by::<U64, u64>(at(8)) && !goes_by::<U64, u64>(at(4)));
        assert!(goes_by::<u32, u32>(at(4)), "as before");
        assert!(!goes_by::<[U32; 3], u32>(at(4)), "no test for what is several pieces");
        assert!(!goes_by::<U32, u64>(at(8)), "not beyond its end");
    }

    #[test]
    fn values_arrive_wherever_they_lie() {
        let mut words = [0_u64; 3];
        let bytes: NonNull<u8> = NonNull::from(&mut words).cast();
        for offset in 0..8 {
            // SAFETY: sixteen bytes inside the array.
            let place = unsafe { bytes.add(offset) };
            let value = U32::new(0x0403_0201 + u32::try_from(offset).unwrap());
            // SAFETY: four bytes inside the array.
            unsafe { volatile_write(place.cast(), &value) };
            // SAFETY: as above.
            assert_eq!(unsafe { volatile_read::<U32>(place.cast()) }, value);
        }
    }
}
