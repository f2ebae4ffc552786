//! Device addresses: unlike any CPU address, never neighbours, and used again only when none is
//! left.

/// Unmapped space behind each piece.
const GAP_BYTES: u64 = 4096;
/// Where addresses start when the device drives enough bits: beyond 4 GiB, so that a lost upper
/// half shows.
const HIGH_START: u64 = 0x12_3400_0000;

/// From one domain's first high address to the next one's: an address of one means nothing in
/// another.
const HIGH_STRIDE: u64 = 1 << 32;
/// The same for low ones.
const LOW_STRIDE: u64 = 1 << 24;
/// After so many domains it starts over; all of them fit the bits.
const STRIDES: u32 = 64;

/// What was given out, in each of the ranges that devices differ in.
#[derive(Debug, Default)]
pub(super) struct AddressSpace {
    /// Which domain's it is.
    pub(super) number: u32,
    high_used: u64,
    low_used: u64,
    tiny_used: u64,
}

impl AddressSpace {
    /// An aligned address for `len_bytes` below 2 to `address_bits`. `is_free` says whether nothing
    /// lies between two addresses.
    pub(super) fn place(
        &mut self,
        len_bytes: u64,
        align_bytes: u64,
        address_bits: u8,
        is_free: impl Fn(u64, u64) -> bool,
    ) -> Option<u64> {
        let turn = u64::from(self.number % STRIDES);
        let (used, start) = match address_bits {
            40.. => (&mut self.high_used, HIGH_START + HIGH_STRIDE * turn),
            32.. => (&mut self.low_used, 0x4000_0000 + LOW_STRIDE * turn),
            _ => (&mut self.tiny_used, 0x1000),
        };
        let end = 1_u64.checked_shl(address_bits.into()).unwrap_or(u64::MAX);
        // Twice: all that is left, then from the start again.
        for _ in 0..2 {
            loop {
                let addr = (start + *used).next_multiple_of(align_bytes.max(1));
                if addr.checked_add(len_bytes).is_none_or(|last| last > end) {
                    break;
                }
                *used = (addr - start + len_bytes + GAP_BYTES).next_multiple_of(GAP_BYTES);
                if is_free(addr, addr + len_bytes + GAP_BYTES) {
                    return Some(addr);
                }
            }
            *used = 0;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_do_not_share_addresses() {
        for address_bits in [32, 40, 64] {
            let mut starts: Vec<_> = (0..STRIDES)
                .map(|number| AddressSpace { number, ..AddressSpace::default() })
                .map(|mut space| space.place(0x1000, 1, address_bits, |_, _| true).unwrap())
                .collect();
            assert!(starts.iter().all(|start| start.checked_shr(address_bits.into()).unwrap_or(0) == 0));
            starts.dedup();
            assert_eq!(starts.len(), STRIDES as usize, "{address_bits} bits");
        }
    }

    #[test]
    fn addresses_come_back_only_when_none_is_left() {
        let mut space = AddressSpace::default();
        let mut seen = Vec::new();
        for _ in 0..7 {
            seen.push(space.place(0x1000, 1, 16, |_, _| true).unwrap());
        }
        assert_eq!(seen, [0x1000, 0x3000, 0x5000, 0x7000, 0x9000, 0xb000, 0xd000]);
        assert_eq!(space.place(0x1000, 1, 16, |_, _| true), Some(0xf000));
        assert_eq!(space.place(0x1000, 1, 16, |start, _| start != 0x1000), Some(0x3000));
        assert_eq!(space.place(0x1000, 1, 16, |_, _| false), None);
        assert_eq!(space.place(0x1_0000, 1, 16, |_, _| true), None, "longer than there are addresses");
    }
}
