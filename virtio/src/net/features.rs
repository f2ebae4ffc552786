//! Feature bits of the network device, which of them this driver implements, the fields that go
//! with them, and what was agreed.
//!
//! Spec: VIRTIO 1.2, 5.1.3 "Feature bits", 5.1.3.1 "Feature bit requirements".

use paravane_hal::reg::{ReadOnly, Reg};
use paravane_net::Offloads;

use crate::config::end_bytes;
use crate::feature::{self, ClassFeatures, Dependency, FieldEnd, RingFeatures};
use crate::net::header::{HASH_HEADER_BYTES, HEADER_BYTES, SHORT_HEADER_BYTES};

/// Where `mac` ends, which starts the configuration.
pub(crate) const MAC_END_BYTES: usize = 6;
/// `status`: bit 0 is the link.
pub(crate) const STATUS: Reg<u16, ReadOnly> = Reg::at(6);
/// `max_virtqueue_pairs`.
pub(crate) const MAX_PAIRS: Reg<u16, ReadOnly> = Reg::at(8);
/// `mtu`: the largest IP packet that the device takes or sends.
pub(crate) const MTU: Reg<u16, ReadOnly> = Reg::at(10);
/// `speed`, in Mbit/s.
pub(crate) const SPEED: Reg<u32, ReadOnly> = Reg::at(12);
/// `duplex`: 1 is full, 0 is half.
pub(crate) const DUPLEX: Reg<u8, ReadOnly> = Reg::at(16);

/// `rss_max_key_size`, in bytes.
pub(crate) const RSS_MAX_KEY_SIZE: Reg<u8, ReadOnly> = Reg::at(17);
/// `rss_max_indirection_table_length`, in entries.
pub(crate) const RSS_MAX_TABLE_LENGTH: Reg<u16, ReadOnly> = Reg::at(18);
/// `supported_hash_types`.
pub(crate) const SUPPORTED_HASH_TYPES: Reg<u32, ReadOnly> = Reg::at(20);

bitflags::bitflags! {
    /// Features of the network device that this driver implements. All others are left alone.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NetFeatures: u64 {
        /// The device completes layer-4 checksums of frames sent.
        const CSUM = 1;
        /// Frames received may have a partial checksum, or one that the device vouches for.
        const GUEST_CSUM = 1 << 1;
        /// What is done to received frames may be changed while it runs.
        const CTRL_GUEST_OFFLOADS = 1 << 2;
        /// The device says what the largest IP packet is.
        const MTU = 1 << 3;
        /// The device says what our address is.
        const MAC = 1 << 5;
        /// The device puts TCP over IPv4 together. Agreed, as all of this kind, if it is asked for.
        const GUEST_TSO4 = 1 << 7;
        /// The device puts TCP over IPv6 together.
        const GUEST_TSO6 = 1 << 8;
        /// It does so also where the congestion window was reduced.
        const GUEST_ECN = 1 << 9;
        /// The device cuts large TCP packets over IPv4.
        const HOST_TSO4 = 1 << 11;
        /// The device cuts large TCP packets over IPv6.
        const HOST_TSO6 = 1 << 12;
        /// It cuts them also where the congestion window was reduced.
        const HOST_ECN = 1 << 13;
        /// A received frame may be spread over several buffers.
        const MRG_RXBUF = 1 << 15;
        /// The device says whether the link is up.
        const STATUS = 1 << 16;
        /// The device takes commands.
        const CTRL_VQ = 1 << 17;
        /// It filters what is received by kinds and addresses.
        const CTRL_RX = 1 << 18;
        /// It filters by VLAN. Agreed if there are VLANs to be told of.
        const CTRL_VLAN = 1 << 19;
        /// It filters by more kinds.
        const CTRL_RX_EXTRA = 1 << 20;
        /// It says when the addresses are to be announced.
        const GUEST_ANNOUNCE = 1 << 21;
        /// It has several pairs of queues.
        const MQ = 1 << 22;
        /// Our address may be changed while it runs.
        const CTRL_MAC_ADDR = 1 << 23;
        /// It interrupts for several frames together, as each queue was told.
        const VQ_NOTF_COAL = 1 << 52;
        /// It interrupts for several frames together.
        const NOTF_COAL = 1 << 53;
        /// The device puts UDP over IPv4 together.
        const GUEST_USO4 = 1 << 54;
        /// The device puts UDP over IPv6 together.
        const GUEST_USO6 = 1 << 55;
        /// The device cuts large UDP packets.
        const HOST_USO = 1 << 56;
        /// It says what the hash of a received frame is. Agreed if there is one to be told.
        const HASH_REPORT = 1 << 57;
        /// It spreads received frames by their hash. Agreed if there is a spread to be told.
        const RSS = 1 << 60;
        /// The device says how fast the link is, and whether both sides may send at once.
        const SPEED_DUPLEX = 1 << 63;
    }
}

impl NetFeatures {
    /// Those by which the device makes large packets of what it received.
    pub(crate) const LARGE_RX: Self = Self::GUEST_TSO4
        .union(Self::GUEST_TSO6)
        .union(Self::GUEST_ECN)
        .union(Self::GUEST_USO4)
        .union(Self::GUEST_USO6);
}

impl ClassFeatures for NetFeatures {
    const FIELDS: &'static [FieldEnd] = &[
        (Self::MAC.bits(), MAC_END_BYTES),
        (Self::STATUS.bits(), end_bytes(&STATUS)),
        (Self::MQ.bits(), end_bytes(&MAX_PAIRS)),
        (Self::MTU.bits(), end_bytes(&MTU)),
        (Self::RSS.bits(), end_bytes(&SUPPORTED_HASH_TYPES)),
        (Self::HASH_REPORT.bits(), end_bytes(&SUPPORTED_HASH_TYPES)),
        (Self::SPEED_DUPLEX.bits(), end_bytes(&DUPLEX)),
    ];
    const DEPENDENCIES: &'static [Dependency] = &[
        (Self::HOST_TSO4.bits(), Self::CSUM.bits()),
        (Self::HOST_TSO6.bits(), Self::CSUM.bits()),
        (Self::HOST_ECN.bits(), Self::HOST_TSO4.bits() | Self::HOST_TSO6.bits()),
        (Self::HOST_USO.bits(), Self::CSUM.bits()),
        (Self::GUEST_TSO4.bits(), Self::GUEST_CSUM.bits()),
        (Self::GUEST_TSO6.bits(), Self::GUEST_CSUM.bits()),
        (Self::GUEST_ECN.bits(), Self::GUEST_TSO4.bits() | Self::GUEST_TSO6.bits()),
        (Self::GUEST_USO4.bits(), Self::GUEST_CSUM.bits()),
        (Self::GUEST_USO6.bits(), Self::GUEST_CSUM.bits()),
        (Self::CTRL_GUEST_OFFLOADS.bits(), Self::CTRL_VQ.bits()),
        (Self::CTRL_RX.bits(), Self::CTRL_VQ.bits()),
        (Self::CTRL_VLAN.bits(), Self::CTRL_VQ.bits()),
        (Self::CTRL_RX_EXTRA.bits(), Self::CTRL_RX.bits()),
        (Self::GUEST_ANNOUNCE.bits(), Self::CTRL_VQ.bits()),
        // The wish is a bit of the status.
        (Self::GUEST_ANNOUNCE.bits(), Self::STATUS.bits()),
        (Self::MQ.bits(), Self::CTRL_VQ.bits()),
        (Self::CTRL_MAC_ADDR.bits(), Self::CTRL_VQ.bits()),
        (Self::VQ_NOTF_COAL.bits(), Self::CTRL_VQ.bits()),
        (Self::NOTF_COAL.bits(), Self::CTRL_VQ.bits()),
        (Self::HASH_REPORT.bits(), Self::CTRL_VQ.bits()),
        (Self::RSS.bits(), Self::CTRL_VQ.bits()),
    ];
}

/// Which features may be agreed, if the device offers them.
pub type Allowed = feature::Allowed<NetFeatures>;

/// The features that driver and device agreed on.
pub type Negotiated = feature::Negotiated<NetFeatures>;

impl Negotiated {
    /// What may be asked of the device on the way out.
    #[must_use]
    pub fn offloads(self) -> Offloads {
        [
            (NetFeatures::CSUM, Offloads::CHECKSUM),
            (NetFeatures::HOST_TSO4, Offloads::TSO4),
            (NetFeatures::HOST_TSO6, Offloads::TSO6),
            (NetFeatures::HOST_USO, Offloads::USO),
            (NetFeatures::HOST_ECN, Offloads::ECN),
        ]
        .into_iter()
        .filter_map(|(feature, offload)| self.has(feature).then_some(offload))
        .collect()
    }

    /// How long the header in front of a frame is.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6 "Device Operation", 5.1.6.1 "Legacy Interface: Device Operation".
    #[must_use]
    pub(crate) fn header_bytes(self) -> u16 {
        if self.has(NetFeatures::HASH_REPORT) {
            HASH_HEADER_BYTES
        } else if self.has_ring(RingFeatures::VERSION_1) || self.has(NetFeatures::MRG_RXBUF) {
            HEADER_BYTES
        } else {
            SHORT_HEADER_BYTES
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_offers_everything_gets_what_is_implemented() {
        let chosen = Negotiated::confirmed(Allowed::default().choose(u64::MAX));
        assert!(chosen.has(NetFeatures::all()));
        assert!(chosen.has_ring(RingFeatures::IMPLEMENTED));
        assert_eq!(
            std::format!("{chosen}"),
            "INDIRECT_DESC EVENT_IDX VERSION_1 ACCESS_PLATFORM RING_PACKED IN_ORDER ORDER_PLATFORM NOTIFICATION_DATA RING_RESET CSUM GUEST_CSUM CTRL_GUEST_OFFLOADS MTU MAC GUEST_TSO4 GUEST_TSO6 GUEST_ECN HOST_TSO4 HOST_TSO6 HOST_ECN MRG_RXBUF STATUS CTRL_VQ CTRL_RX CTRL_VLAN CTRL_RX_EXTRA GUEST_ANNOUNCE MQ CTRL_MAC_ADDR VQ_NOTF_COAL NOTF_COAL GUEST_USO4 GUEST_USO6 HOST_USO HASH_REPORT RSS SPEED_DUPLEX"
        );
    }

    #[test]
    fn segmentation_goes_with_checksums() {
        let offered = NetFeatures::HOST_TSO4 | NetFeatures::HOST_TSO6 | NetFeatures::MAC;
        assert_eq!(Allowed::default().choose(offered.bits()), NetFeatures::MAC.bits());
        let no_csum = Allowed::default().with_class(NetFeatures::all() - NetFeatures::CSUM);
        assert_eq!(no_csum.choose((offered | NetFeatures::CSUM).bits()), NetFeatures::MAC.bits());
    }

    #[test]
    fn large_packets_go_with_checksums_and_reduced_windows_with_tcp() {
        let choose =
            |offered: NetFeatures| NetFeatures::from_bits_retain(Allowed::default().choose(offered.bits()));
        let large =
            NetFeatures::LARGE_RX | NetFeatures::HOST_USO | NetFeatures::HOST_ECN | NetFeatures::HOST_TSO6;
        let sent = large - NetFeatures::LARGE_RX;
        assert_eq!(choose(large | NetFeatures::CSUM), sent | NetFeatures::CSUM);
        assert_eq!(choose(large | NetFeatures::GUEST_CSUM), NetFeatures::LARGE_RX | NetFeatures::GUEST_CSUM);
        let udp = NetFeatures::GUEST_CSUM | NetFeatures::GUEST_USO4 | NetFeatures::GUEST_USO6;
        assert_eq!(choose(udp | NetFeatures::GUEST_ECN), udp);
        let udp = NetFeatures::CSUM | NetFeatures::HOST_USO;
        assert_eq!(choose(udp | NetFeatures::HOST_ECN), udp);
    }

    #[test]
    fn the_bits_are_those_of_the_specification() {
        let bit = |feature: NetFeatures| feature.bits().trailing_zeros();
        let features = [
            NetFeatures::GUEST_TSO4,
            NetFeatures::GUEST_TSO6,
            NetFeatures::GUEST_ECN,
            NetFeatures::HOST_ECN,
            NetFeatures::VQ_NOTF_COAL,
            NetFeatures::GUEST_USO4,
            NetFeatures::GUEST_USO6,
            NetFeatures::HOST_USO,
            NetFeatures::HASH_REPORT,
        ];
        assert_eq!(features.map(bit), [7, 8, 9, 13, 52, 54, 55, 56, 57]);
    }

    #[test]
    fn commands_go_with_their_queue() {
        let commands = NetFeatures::CTRL_GUEST_OFFLOADS
            | NetFeatures::CTRL_RX
            | NetFeatures::CTRL_VLAN
            | NetFeatures::CTRL_RX_EXTRA
            | NetFeatures::GUEST_ANNOUNCE
            | NetFeatures::MQ
            | NetFeatures::CTRL_MAC_ADDR
            | NetFeatures::NOTF_COAL
            | NetFeatures::VQ_NOTF_COAL
            | NetFeatures::HASH_REPORT
            | NetFeatures::RSS;
        let offered = commands | NetFeatures::STATUS;
        assert_eq!(Allowed::default().choose(offered.bits()), NetFeatures::STATUS.bits());
        let all = offered | NetFeatures::CTRL_VQ;
        assert_eq!(Allowed::default().choose(all.bits()), all.bits());
        let mute = all - NetFeatures::STATUS;
        assert_eq!(Allowed::default().choose(mute.bits()), (mute - NetFeatures::GUEST_ANNOUNCE).bits());
    }

    #[test]
    fn what_has_to_be_accepted_is_not_a_choice() {
        let nothing = Allowed::default().with_ring(RingFeatures::empty()).with_class(NetFeatures::empty());
        assert_eq!(nothing.choose(u64::MAX), 1 << 32 | 1 << 33 | 1 << 36);
    }
}
