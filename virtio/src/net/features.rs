//! Feature bits of the network device, which of them this driver implements, the fields that go
//! with them, and what was agreed.
//!
//! Spec: VIRTIO 1.2, 5.1.3 "Feature bits", 5.1.3.1 "Feature bit requirements".

use paravane_hal::reg::{ReadOnly, Reg};
use paravane_net::Offloads;

use crate::config::end_bytes;
use crate::feature::{self, ClassFeatures, Dependency, FieldEnd, RingFeatures};
use crate::net::header::{HEADER_BYTES, SHORT_HEADER_BYTES};

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
        /// The device cuts large TCP packets over IPv4.
        const HOST_TSO4 = 1 << 11;
        /// The device cuts large TCP packets over IPv6.
        const HOST_TSO6 = 1 << 12;
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
        /// It interrupts for several frames together.
        const NOTF_COAL = 1 << 53;
        /// It spreads received frames by their hash. Agreed if there is a spread to be told.
        const RSS = 1 << 60;
        /// The device says how fast the link is.
        const SPEED_DUPLEX = 1 << 63;
    }
}

impl ClassFeatures for NetFeatures {
    const FIELDS: &'static [FieldEnd] = &[
        (Self::MAC.bits(), MAC_END_BYTES),
        (Self::STATUS.bits(), end_bytes(&STATUS)),
        (Self::MQ.bits(), end_bytes(&MAX_PAIRS)),
        (Self::MTU.bits(), end_bytes(&MTU)),
        (Self::RSS.bits(), end_bytes(&SUPPORTED_HASH_TYPES)),
        (Self::SPEED_DUPLEX.bits(), end_bytes(&SPEED)),
    ];
    const DEPENDENCIES: &'static [Dependency] = &[
        (Self::HOST_TSO4.bits(), Self::CSUM.bits()),
        (Self::HOST_TSO6.bits(), Self::CSUM.bits()),
        (Self::CTRL_GUEST_OFFLOADS.bits(), Self::CTRL_VQ.bits()),
        (Self::CTRL_RX.bits(), Self::CTRL_VQ.bits()),
        (Self::CTRL_VLAN.bits(), Self::CTRL_VQ.bits()),
        (Self::CTRL_RX_EXTRA.bits(), Self::CTRL_RX.bits()),
        (Self::GUEST_ANNOUNCE.bits(), Self::CTRL_VQ.bits()),
        // The wish is a bit of the status.
        (Self::GUEST_ANNOUNCE.bits(), Self::STATUS.bits()),
        (Self::MQ.bits(), Self::CTRL_VQ.bits()),
        (Self::CTRL_MAC_ADDR.bits(), Self::CTRL_VQ.bits()),
        (Self::NOTF_COAL.bits(), Self::CTRL_VQ.bits()),
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
        ]
        .into_iter()
        .filter_map(|(feature, offload)| self.has(feature).then_some(offload))
        .collect()
    }

    /// How long the header in front of a frame is.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.1 "Legacy Interface: Device Operation".
    #[must_use]
    pub(crate) fn header_bytes(self) -> u16 {
        if self.has_ring(RingFeatures::VERSION_1) || self.has(NetFeatures::MRG_RXBUF) {
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
        assert!(!chosen.has_ring(RingFeatures::IN_ORDER));
        assert_eq!(
            std::format!("{chosen}"),
            "INDIRECT_DESC EVENT_IDX VERSION_1 ACCESS_PLATFORM RING_PACKED ORDER_PLATFORM NOTIFICATION_DATA RING_RESET CSUM GUEST_CSUM CTRL_GUEST_OFFLOADS MTU MAC HOST_TSO4 HOST_TSO6 MRG_RXBUF STATUS CTRL_VQ CTRL_RX CTRL_VLAN CTRL_RX_EXTRA GUEST_ANNOUNCE MQ CTRL_MAC_ADDR NOTF_COAL RSS SPEED_DUPLEX"
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
    fn commands_go_with_their_queue() {
        let commands = NetFeatures::CTRL_GUEST_OFFLOADS
            | NetFeatures::CTRL_RX
            | NetFeatures::CTRL_VLAN
            | NetFeatures::CTRL_RX_EXTRA
            | NetFeatures::GUEST_ANNOUNCE
            | NetFeatures::MQ
            | NetFeatures::CTRL_MAC_ADDR
            | NetFeatures::NOTF_COAL
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
