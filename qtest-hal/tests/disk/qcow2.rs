//! Empty images of QEMU's own format, for which nothing but this file is needed.

/// Two to the power of this many bytes are a cluster.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: usize = 1 << CLUSTER_BITS;
/// As long as a header of version 3 is at least.
const HEADER_BYTES: u32 = 104;
/// Counters of 16 bits.
const REFCOUNT_ORDER: u32 = 4;

/// An image of `bytes` without content: header, table of counters, counters, table of the first
/// level, a cluster each.
pub fn empty(bytes: u64) -> Vec<u8> {
    let cluster = |number: u64| number << CLUSTER_BITS;
    let mut image = vec![0; 4 * CLUSTER];
    let mut header = b"QFI\xfb".to_vec();
    let word = |header: &mut Vec<u8>, value: u32| header.extend(value.to_be_bytes());
    let long = |header: &mut Vec<u8>, value: u64| header.extend(value.to_be_bytes());
    word(&mut header, 3);
    // No backing file.
    long(&mut header, 0);
    word(&mut header, 0);
    word(&mut header, CLUSTER_BITS);
    long(&mut header, bytes);
    // Not encrypted.
    word(&mut header, 0);
    // An entry of the first level leads to a cluster of entries of eight bytes.
    let entry_bytes = (CLUSTER as u64 / 8) << CLUSTER_BITS;
    word(&mut header, u32::try_from(bytes.div_ceil(entry_bytes)).unwrap());
    long(&mut header, cluster(3));
    long(&mut header, cluster(1));
    word(&mut header, 1);
    // No snapshots, no features.
    word(&mut header, 0);
    (0..4).for_each(|_| long(&mut header, 0));
    word(&mut header, REFCOUNT_ORDER);
    word(&mut header, HEADER_BYTES);
    assert_eq!(header.len(), HEADER_BYTES as usize);
    image[..header.len()].copy_from_slice(&header);
    image[CLUSTER..CLUSTER + 8].copy_from_slice(&cluster(2).to_be_bytes());
    for used in 0..4 {
        let at = 2 * CLUSTER + 2 * used;
        image[at..at + 2].copy_from_slice(&1_u16.to_be_bytes());
    }
    image
}
