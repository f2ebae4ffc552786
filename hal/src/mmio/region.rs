//! What a region of registers is.

/// A mapped region of device registers.
///
/// **Driver authors** check once, at bring-up, that [`len_bytes`](Self::len_bytes) covers every
/// register they name; after that no access can fail.
///
/// **Platform authors** keep these promises:
/// - An access is one access of exactly that width, in program order with the other accesses to the
///   region.
/// - Values are in the CPU's byte order; the registers are little-endian.
/// - A write happens after every earlier store to memory that the device shares, so a doorbell is
///   never early ([`barrier::before_mmio`](crate::barrier::before_mmio)); a read happens before
///   every later load from it ([`barrier::after_mmio`](crate::barrier::after_mmio)).
/// - Out of range, or not aligned to its width, an access behaves as on a bus where nobody answers:
///   reads give all ones, writes go nowhere. It must not touch memory outside the region, whatever
///   the offset.
pub trait Mmio {
    /// Length of the region.
    fn len_bytes(&self) -> usize;
    /// Reads a byte.
    fn read8(&self, offset_bytes: usize) -> u8;
    /// Reads 16 bits.
    fn read16(&self, offset_bytes: usize) -> u16;
    /// Reads 32 bits.
    fn read32(&self, offset_bytes: usize) -> u32;
    /// Writes a byte.
    fn write8(&self, offset_bytes: usize, value: u8);
    /// Writes 16 bits.
    fn write16(&self, offset_bytes: usize, value: u16);
    /// Writes 32 bits.
    fn write32(&self, offset_bytes: usize, value: u32);

    /// Writes 64 bits as two 32-bit writes, low half first, which every device takes.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the point")]
    fn write64_halves(&self, offset_bytes: usize, value: u64) {
        self.write32(offset_bytes, value as u32);
        self.write32(offset_bytes.wrapping_add(4), (value >> 32) as u32);
    }

    /// Reads 64 bits as two 32-bit reads, low half first.
    fn read64_halves(&self, offset_bytes: usize) -> u64 {
        let low = self.read32(offset_bytes);
        let high = self.read32(offset_bytes.wrapping_add(4));
        u64::from(low) | u64::from(high) << 32
    }
}
