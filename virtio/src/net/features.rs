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
/// `mtu`: the largest IP packet that the device takes or sends.
pub(crate) const MTU: Reg<u16, ReadOnly> = Reg::at(10);
/// `speed`, in Mbit/s.
pub(crate) const SPEED: Reg<u32, ReadOnly> = Reg::at(12);

bitflags::bitflags! {
    /// Features of the network device that this driver implements. All others are left alone.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NetFeatures: u64 {
        /// The device completes layer-4 checksums of frames sent.
        const CSUM = 1;
        /// Frames received may have a partial checksum, or one that the device vouches for.
        const GUEST_CSUM = 1 << 1;
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
        /// The device says how fast the link is.
        const SPEED_DUPLEX = 1 << 63;
    }
}

impl ClassFeatures for NetFeatures {
    const FIELDS: &'static [FieldEnd] = &[
        (Self::MAC.bits(), MAC_END_BYTES),
        (Self::STATUS.bits(), end_bytes(&STATUS)),
        (Self::MTU.bits(), end_bytes(&MTU)),
        (Self::SPEED_DUPLEX.bits(), end_bytes(&SPEED)),
    ];
    const DEPENDENCIES: &'static [Dependency] =
        &[(Self::HOST_TSO4.bits(), Self::CSUM.bits()), (Self::HOST_TSO6.bits(), Self::CSUM.bits())];
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
            "EVENT_IDX VERSION_1 ACCESS_PLATFORM RING_PACKED ORDER_PLATFORM CSUM GUEST_CSUM MTU MAC HOST_TSO4 HOST_TSO6 MRG_RXBUF STATUS SPEED_DUPLEX"
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
    fn what_has_to_be_accepted_is_not_a_choice() {
        let nothing = Allowed::default().with_ring(RingFeatures::empty()).with_class(NetFeatures::empty());
        assert_eq!(nothing.choose(u64::MAX), 1 << 32 | 1 << 33 | 1 << 36);
    }
}
