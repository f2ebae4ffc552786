//! What each revision of the protocol adds or allows.

use super::layout::{rss_field, upt};

/// What a revision of the protocol adds or allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Which, from 1.
    pub number: u8,
    /// The last command of the SET family, counted from its first.
    pub last_set: u16,
    /// The same of the GET family.
    pub last_get: u16,
    /// Most transmit queues.
    pub tx_queues: u8,
    /// Most receive queues.
    pub rx_queues: u8,
    /// Takes numbers of queues that are no power of two.
    pub any_number: bool,
    /// Longest IP packet.
    pub max_mtu: u32,
    /// Interrupt vectors.
    pub vectors: u8,
    /// What `SET_RSS_FIELDS` knows; 0 where there is no such command.
    pub rss_fields: u32,
}

impl Revision {
    /// What `uptFeatures` may ask for.
    pub(super) const fn features(&self) -> u64 {
        let first = upt::RXCSUM | upt::RSS | upt::RXVLAN | upt::LRO;
        if self.number < 4 { first } else { first | upt::RXINNEROFLD }
    }
}

const V1: Revision = Revision {
    number: 1,
    last_set: 0x09,
    last_get: 0x09,
    tx_queues: 8,
    rx_queues: 16,
    any_number: false,
    max_mtu: 9000,
    vectors: 25,
    rss_fields: 0,
};
const V3: Revision = Revision { number: 3, last_set: 0x0f, last_get: 0x0b, ..V1 };
const V4: Revision = Revision {
    number: 4,
    last_set: 0x10,
    last_get: 0x0c,
    rss_fields: rss_field::ALL & !rss_field::ESP6,
    ..V3
};
const V6: Revision = Revision {
    number: 6,
    last_get: 0x0f,
    tx_queues: 32,
    rx_queues: 32,
    any_number: true,
    max_mtu: 9190,
    vectors: 65,
    rss_fields: rss_field::ALL,
    ..V4
};

/// QEMU knows one, and takes fewer queues than that has.
pub const QEMU_REVISIONS: &[Revision] = &[Revision { rx_queues: 8, ..V1 }];

/// What ESXi offers up to virtual hardware 19.
pub const ESXI_REVISIONS: &[Revision] = &[
    V1,
    Revision { number: 2, ..V1 },
    V3,
    V4,
    Revision { number: 5, ..V4 },
    V6,
    Revision { number: 7, last_set: 0x13, last_get: 0x12, ..V6 },
];
