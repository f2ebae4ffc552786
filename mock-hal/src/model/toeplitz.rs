//! The hash by which devices spread received frames over queues.
//!
//! Spec: Microsoft, "RSS Hashing Functions" and "Verifying the RSS Hash Calculation".

/// The hash of `input` by `key`: of each bit of the input that is set, the 32 bits of the key from
/// there on, all added without a carry. A key that is too short goes on with zeroes.
pub(super) fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let key_byte = |at: usize| u64::from(key.get(at).copied().unwrap_or(0));
    // 40 bits of the key: what the eight bits of an input byte see of it.
    let mut seen = (0..4).fold(0, |seen, at| seen << 8 | key_byte(at));
    let mut hash = 0_u64;
    for (at, byte) in input.iter().enumerate() {
        seen = (seen << 8 | key_byte(at + 4)) & 0xff_ffff_ffff;
        for bit in (0..8).filter(|bit| byte >> bit & 1 != 0) {
            hash ^= seen >> (bit + 1);
        }
    }
    (hash & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// What the published hashes were made with.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// Source and its port, destination and its port, the hash of the addresses, and that of ports
    /// too.
    type Vector = (&'static str, u16, &'static str, u16, u32, u32);

    const PUBLISHED: [Vector; 8] = [
        ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e_8fc2, 0x51cc_c178),
        ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718_262a, 0xc626_b0ea),
        ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0_a5de, 0x5c2b_394a),
        ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x8298_9176, 0xafc7_327f),
        ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d18_09c5, 0x10e8_28a2),
        ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc1_8cd5, 0x4020_7d3d),
        ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c_461c, 0xdde5_1bbf),
        (
            "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
            44251,
            "fe80::200:f8ff:fe21:67cf",
            38024,
            0x4b61_e985,
            0x02d1_feef,
        ),
    ];

    fn octets(address: &str) -> Vec<u8> {
        match address.parse().unwrap() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        for (source, source_port, destination, port, of_addresses, of_ports_too) in PUBLISHED {
            let addresses = [octets(source), octets(destination)].concat();
            let ports = [source_port.to_be_bytes(), port.to_be_bytes()].concat();
            assert_eq!(toeplitz(&KEY, &addresses), of_addresses, "{source}");
            assert_eq!(toeplitz(&KEY, &[addresses, ports].concat()), of_ports_too, "{source}");
        }
    }

    #[test]
    fn what_lies_beyond_the_key_adds_nothing() {
        assert_eq!(toeplitz(&[], &[0xff; 8]), 0);
        assert_eq!(toeplitz(&KEY[..4], &[0x80, 0xff, 0, 0, 0xff]), toeplitz(&KEY[..4], &[0x80, 0xff]));
    }
}
