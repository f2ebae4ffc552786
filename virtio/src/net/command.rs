//! What is asked over the control queue, as values.
//!
//! ```text
//!  class (1) | command (1) | data, the command's own | ack (1, the device writes)
//! ```
//!
//! Spec: VIRTIO 1.2, 5.1.6.5 "Control Virtqueue".

use paravane_net::{Coalescing, HashReport, MacAddr, MacTable, Rss};

/// Room for the data of the longest command.
pub(crate) const DATA_BYTES: usize = 512;

/// `VIRTIO_NET_CTRL_RX`, its commands as numbered there.
const RX: u8 = 0;
/// `VIRTIO_NET_CTRL_MAC`.
const MAC: u8 = 1;
const MAC_TABLE_SET: u8 = 0;
const MAC_ADDR_SET: u8 = 1;
/// `VIRTIO_NET_CTRL_VLAN`.
const VLAN: u8 = 2;
const VLAN_ADD: u8 = 0;
const VLAN_DEL: u8 = 1;
/// `VIRTIO_NET_CTRL_ANNOUNCE`.
const ANNOUNCE: u8 = 3;
const ANNOUNCE_ACK: u8 = 0;
/// `VIRTIO_NET_CTRL_MQ`.
const MQ: u8 = 4;
const MQ_VQ_PAIRS_SET: u8 = 0;
const MQ_RSS_CONFIG: u8 = 1;
const MQ_HASH_CONFIG: u8 = 2;
/// `VIRTIO_NET_CTRL_GUEST_OFFLOADS`.
const GUEST_OFFLOADS: u8 = 5;
const GUEST_OFFLOADS_SET: u8 = 0;
/// `VIRTIO_NET_CTRL_NOTF_COAL`.
const NOTF_COAL: u8 = 6;
const NOTF_COAL_TX_SET: u8 = 0;
const NOTF_COAL_RX_SET: u8 = 1;
const NOTF_COAL_VQ_SET: u8 = 2;

/// A mode of `VIRTIO_NET_CTRL_RX`.
///
/// Spec: VIRTIO 1.2, 5.1.6.5.1 "Packet Receive Filtering".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RxMode {
    /// Everything is received.
    Promisc = 0,
    /// All groups.
    AllMulti = 1,
    /// All stations.
    AllUni = 2,
    /// No group.
    NoMulti = 3,
    /// No station.
    NoUni = 4,
    /// Nothing that goes to everyone.
    NoBcast = 5,
}

/// A command, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Class and command.
    pub(crate) header: [u8; 2],
    /// Its data, and nothing behind.
    pub(crate) data: [u8; DATA_BYTES],
    /// How long the data is.
    pub(crate) data_bytes: u16,
}

impl Command {
    fn new(class: u8, command: u8) -> Self {
        Self { header: [class, command], data: [0; DATA_BYTES], data_bytes: 0 }
    }

    /// The same with `bytes` behind its data. Each command fits, which a test shows of the longest.
    fn and(mut self, bytes: &[u8]) -> Self {
        let start = usize::from(self.data_bytes);
        let end = start.saturating_add(bytes.len());
        debug_assert!(end <= DATA_BYTES, "a command of {end} bytes");
        if let Some(place) = self.data.get_mut(start..end) {
            place.copy_from_slice(bytes);
            self.data_bytes = u16::try_from(end).unwrap_or(self.data_bytes);
        }
        self
    }

    fn and_addresses(self, own: Option<MacAddr>, table: &MacTable) -> Self {
        let addresses = own.iter().chain(table.addresses());
        let count = u32::try_from(addresses.clone().count()).unwrap_or(0);
        addresses.fold(self.and(&count.to_le_bytes()), |command, MacAddr(bytes)| command.and(bytes))
    }

    /// A mode goes on or off.
    pub(crate) fn rx_mode(mode: RxMode, on: bool) -> Self {
        Self::new(RX, mode as u8).and(&[on.into()])
    }

    /// These addresses are let through, `own` among the stations.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.5.2 "Setting MAC Address Filtering".
    pub(crate) fn mac_table(own: Option<MacAddr>, unicast: &MacTable, multicast: &MacTable) -> Self {
        Self::new(MAC, MAC_TABLE_SET).and_addresses(own, unicast).and_addresses(None, multicast)
    }

    /// The device's own address is another one.
    pub(crate) fn mac(MacAddr(bytes): MacAddr) -> Self {
        Self::new(MAC, MAC_ADDR_SET).and(&bytes)
    }

    /// A VLAN is let through, or not any more.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.5.3 "VLAN Filtering".
    pub(crate) fn vlan(vid: u16, wanted: bool) -> Self {
        Self::new(VLAN, if wanted { VLAN_ADD } else { VLAN_DEL }).and(&vid.to_le_bytes())
    }

    /// The addresses were announced.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.5.4 "Gratuitous Packet Sending".
    pub(crate) fn announced() -> Self {
        Self::new(ANNOUNCE, ANNOUNCE_ACK)
    }

    /// The first `pairs` pairs of queues are used, spread over as the device likes.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.5.5 "Device operation in multiqueue mode".
    pub(crate) fn pairs(pairs: u16) -> Self {
        Self::new(MQ, MQ_VQ_PAIRS_SET).and(&pairs.to_le_bytes())
    }

    /// Frames are spread over queues so, and sent by `pairs` of them.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.5.7.1 "Setting RSS parameters".
    pub(crate) fn rss(rss: &Rss, pairs: u16) -> Self {
        let table = rss.table();
        let mask = u16::try_from(table.len().saturating_sub(1)).unwrap_or(0);
        let unclassified = table.first().copied().unwrap_or(0);
        let head = Self::new(MQ, MQ_RSS_CONFIG)
            .and(&u32::from(rss.kinds().bits()).to_le_bytes())
            .and(&mask.to_le_bytes())
            .and(&unclassified.to_le_bytes());
        let key_bytes = u8::try_from(rss.key().len()).unwrap_or(0);
        table
            .iter()
            .fold(head, |command, queue| command.and(&queue.to_le_bytes()))
            .and(&pairs.to_le_bytes())
            .and(&[key_bytes])
            .and(rss.key())
    }

    /// Frames are hashed so, and the hash is reported.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.5.6.4 "Hash calculation".
    pub(crate) fn hash(report: &HashReport) -> Self {
        let key_bytes = u8::try_from(report.key().len()).unwrap_or(0);
        Self::new(MQ, MQ_HASH_CONFIG)
            .and(&u32::from(report.kinds().bits()).to_le_bytes())
            // Where a spread has its table.
            .and(&[0; 8])
            .and(&[key_bytes])
            .and(report.key())
    }

    /// The device does that to received frames: bits as of features.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.5.6 "Offloads State Configuration".
    pub(crate) fn guest_offloads(bits: u64) -> Self {
        Self::new(GUEST_OFFLOADS, GUEST_OFFLOADS_SET).and(&bits.to_le_bytes())
    }

    /// It interrupts so for frames received.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.5.8 "Notifications Coalescing".
    pub(crate) fn rx_coalescing(coalescing: Coalescing) -> Self {
        Self::new(NOTF_COAL, NOTF_COAL_RX_SET).and_coalescing(coalescing)
    }

    /// And so for frames sent.
    pub(crate) fn tx_coalescing(coalescing: Coalescing) -> Self {
        Self::new(NOTF_COAL, NOTF_COAL_TX_SET).and_coalescing(coalescing)
    }

    /// And so for frames of the queue of that number.
    ///
    /// Spec: VIRTIO 1.3, 5.1.6.5.8 "Notifications Coalescing".
    pub(crate) fn queue_coalescing(queue: u16, coalescing: Coalescing) -> Self {
        Self::new(NOTF_COAL, NOTF_COAL_VQ_SET)
            .and(&queue.to_le_bytes())
            .and(&[0; 2])
            .and_coalescing(coalescing)
    }

    fn and_coalescing(self, Coalescing { max_frames, max_micros }: Coalescing) -> Self {
        self.and(&max_frames.to_le_bytes()).and(&max_micros.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_net::{MAC_TABLE_ENTRIES, RSS_TABLE_ENTRIES, RssKinds};
    use std::vec::Vec;

    /// Class, command and data.
    fn bytes(command: &Command) -> Vec<u8> {
        let data = &command.data[..command.data_bytes.into()];
        [&command.header[..], data].concat()
    }

    #[test]
    fn bytes_are_where_the_specification_puts_them() {
        let station = MacAddr([2, 0, 0, 0, 0, 7]);
        let group = MacAddr([1, 0, 0x5e, 0, 0, 1]);
        let table = |address| MacTable::of(&[address]).unwrap();
        let coalescing = Coalescing { max_frames: 0x0102_0304, max_micros: 5 };
        for (command, expected) in [
            (Command::rx_mode(RxMode::Promisc, false), &[0, 0, 0][..]),
            (Command::rx_mode(RxMode::NoBcast, true), &[0, 5, 1]),
            (
                Command::mac_table(None, &table(station), &table(group)),
                &[1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 7, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1],
            ),
            (
                Command::mac_table(Some(station), &MacTable::EMPTY, &MacTable::EMPTY),
                &[1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0],
            ),
            (Command::mac(station), &[1, 1, 2, 0, 0, 0, 0, 7]),
            (Command::vlan(0x0abc, true), &[2, 0, 0xbc, 0x0a]),
            (Command::vlan(1, false), &[2, 1, 1, 0]),
            (Command::announced(), &[3, 0]),
            (Command::pairs(0x102), &[4, 0, 2, 1]),
            (Command::guest_offloads(1 << 7 | 1 << 54), &[5, 0, 0x80, 0, 0, 0, 0, 0, 0x40, 0]),
            (Command::tx_coalescing(coalescing), &[6, 0, 4, 3, 2, 1, 5, 0, 0, 0]),
            (Command::rx_coalescing(coalescing), &[6, 1, 4, 3, 2, 1, 5, 0, 0, 0]),
            (Command::queue_coalescing(0x102, coalescing), &[6, 2, 2, 1, 0, 0, 4, 3, 2, 1, 5, 0, 0, 0]),
        ] {
            assert_eq!(bytes(&command), expected);
        }
    }

    #[test]
    fn the_spread_is_where_the_specification_puts_it() {
        let rss = Rss::new(RssKinds::TCP4 | RssKinds::UDP6, &[3, 0x201]).unwrap().with_key([9; 40]);
        let encoded = bytes(&Command::rss(&rss, 4));
        let (head, key) = encoded.split_at(17);
        assert_eq!(head, [4, 1, 0b10_0010, 0, 0, 0, 1, 0, 3, 0, 3, 0, 1, 2, 4, 0, 40]);
        assert_eq!(key, [9; 40]);
    }

    #[test]
    fn the_hash_is_where_the_specification_puts_it() {
        let report = HashReport::new(RssKinds::UDP6 | RssKinds::IP4).with_key([9; 40]);
        let encoded = bytes(&Command::hash(&report));
        let (head, key) = encoded.split_at(15);
        assert_eq!(head, [4, 2, 0b10_0001, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40]);
        assert_eq!(key, [9; 40]);
    }

    #[test]
    fn the_longest_fit() {
        let table = MacTable::of(&[MacAddr([0xff; 6]); MAC_TABLE_ENTRIES]).unwrap();
        let command = Command::mac_table(Some(MacAddr([1; 6])), &table, &table);
        assert_eq!(usize::from(command.data_bytes), 4 + 6 * 33 + 4 + 6 * 32);
        let rss = Rss::new(RssKinds::VIRTIO, &[1; RSS_TABLE_ENTRIES]).unwrap();
        assert_eq!(Command::rss(&rss, 1).data_bytes, 4 + 2 + 2 + 2 * 128 + 2 + 1 + 40);
    }
}
