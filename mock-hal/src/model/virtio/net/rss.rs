//! The spread of received frames by their hash.
//!
//! Spec: VIRTIO 1.2, 5.1.6.4.3 "Hash calculation for incoming packets", 5.1.6.5.7 "Receive-side
//! scaling (RSS)".

use crate::model::toeplitz::toeplitz;

/// Longest key and table.
pub(super) const MAX_KEY_BYTES: u8 = 40;
pub(super) const MAX_TABLE_ENTRIES: u16 = 128;
/// IPv4, TCPv4, UDPv4, IPv6, TCPv6, UDPv6.
pub(super) const HASH_TYPES: u32 = 0x3f;

/// What is hashed, and by which key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashes {
    /// `hash_types`.
    pub types: u32,
    /// `hash_key_data`.
    pub key: Vec<u8>,
}

/// `struct virtio_net_rss_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// `hash_types` and `hash_key_data`.
    pub hashes: Hashes,
    /// `unclassified_queue`.
    pub unclassified: u16,
    /// `indirection_table`.
    pub table: Vec<u16>,
    /// `max_tx_vq`.
    pub max_tx_vq: u16,
}

impl Spread {
    /// From the data of a command to a device with `max_pairs`, or which rule that breaks.
    pub(super) fn parse(data: &[u8], max_pairs: u16) -> Result<Self, String> {
        let short = "a configuration that ends early";
        let (hash_types, rest) = data.split_first_chunk::<4>().ok_or(short)?;
        let (mask, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
        let (unclassified, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
        let mask = u16::from_le_bytes(*mask);
        let entries = usize::from(mask) + 1;
        if !entries.is_power_of_two() || entries > MAX_TABLE_ENTRIES.into() {
            return Err(format!("a table of {entries}"));
        }
        let (table, rest) = rest.split_at_checked(2 * entries).ok_or(short)?;
        let table: Vec<_> = table.as_chunks().0.iter().map(|entry| u16::from_le_bytes(*entry)).collect();
        let (max_tx_vq, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
        let hashes = Hashes::of(*hash_types, rest)?;
        let unclassified = u16::from_le_bytes(*unclassified);
        let max_tx_vq = u16::from_le_bytes(*max_tx_vq);
        if table.iter().chain([&unclassified]).any(|pair| *pair >= max_pairs) || max_tx_vq > max_pairs {
            return Err("a queue that is not there".into());
        }
        Ok(Self { hashes, unclassified, table, max_tx_vq })
    }

    /// How many pairs it uses.
    pub(super) fn pairs(&self) -> u16 {
        let most = self.table.iter().chain([&self.unclassified]).max();
        most.map_or(1, |pair| pair + 1).max(self.max_tx_vq)
    }

    /// The pair that a frame goes to.
    pub fn pair_of(&self, frame: &[u8]) -> u16 {
        let Some((hash, _)) = self.hashes.hash_of(frame) else { return self.unclassified };
        self.table[hash as usize & (self.table.len() - 1)]
    }
}

impl Hashes {
    /// From their types and a key behind its length.
    fn of(types: [u8; 4], rest: &[u8]) -> Result<Self, String> {
        let (key_bytes, key) = rest.split_first().ok_or("a configuration that ends early")?;
        if key.len() != usize::from(*key_bytes) || *key_bytes > MAX_KEY_BYTES {
            return Err(format!("a key of {key_bytes} bytes in {}", key.len()));
        }
        let types = u32::from_le_bytes(types);
        if types & !HASH_TYPES != 0 {
            return Err(format!("hash types {types:#x}"));
        }
        Ok(Self { types, key: key.to_vec() })
    }

    /// `struct virtio_net_hash_config`, or which rule the data breaks.
    pub(super) fn parse(data: &[u8]) -> Result<Self, String> {
        let short = "a configuration that ends early";
        let (types, rest) = data.split_first_chunk::<4>().ok_or(short)?;
        let (reserved, rest) = rest.split_first_chunk::<8>().ok_or(short)?;
        if *reserved != [0; 8] {
            return Err(format!("reserved fields {reserved:?}"));
        }
        Self::of(*types, rest)
    }

    /// The hash of a frame, and the number of the type that was hashed, if it is of a kind that is:
    /// of IPv4 without options, or IPv6 without extensions.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.4.3.1 "Supported/enabled hash types".
    #[must_use]
    pub fn hash_of(&self, frame: &[u8]) -> Option<(u32, u32)> {
        let kind = frame.get(12..14)?;
        let packet = frame.get(14..)?;
        let (addresses, protocol, rest, shift) = match kind {
            [0x08, 0x00] => (packet.get(12..20)?, packet[9], packet.get(20..)?, 0),
            [0x86, 0xdd] => (packet.get(8..40)?, packet[6], packet.get(40..)?, 3),
            _ => return None,
        };
        let ports = rest.get(..4).unwrap_or_default();
        let bit = match protocol {
            6 => 1,
            17 => 2,
            _ => 0,
        };
        let has = |bit: u32| self.types >> (shift + bit) & 1 != 0;
        if bit != 0 && has(bit) && ports.len() == 4 {
            Some((toeplitz(&self.key, &[addresses, ports].concat()), shift + bit))
        } else {
            has(0).then(|| (toeplitz(&self.key, addresses), shift))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of the vectors that the makers of the hash published with it.
    #[test]
    fn what_is_hashed_is_what_the_types_say() {
        const KEY: [u8; 40] = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let addresses = [66, 9, 149, 187, 161, 142, 100, 80];
        let ports = [2794_u16.to_be_bytes(), 1766_u16.to_be_bytes()].concat();
        let mut frame = vec![0; 14 + 20];
        frame[12] = 8;
        frame[14 + 9] = 6;
        frame[14 + 12..].copy_from_slice(&addresses);
        frame.extend(ports);
        let hashes = |types| Hashes { types, key: KEY.to_vec() };
        assert_eq!(hashes(0b11).hash_of(&frame), Some((0x51cc_c178, 1)));
        assert_eq!(hashes(0b01).hash_of(&frame), Some((0x323e_8fc2, 0)));
        assert_eq!(hashes(0b100).hash_of(&frame), None);
    }
}
