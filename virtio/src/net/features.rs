//! Feature bits of the network device, which of them this driver implements, and what was agreed.
//!
//! Spec: VIRTIO 1.2, 5.1.3 "Feature bits", 5.1.3.1 "Feature bit requirements".

use core::fmt;

use paravane_net::Offloads;

use crate::feature::{self, Dependency, RingFeatures};
use crate::ring::Format;

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

/// What needs what, among the features implemented.
const DEPENDENCIES: [Dependency; 2] = [
    (NetFeatures::HOST_TSO4.bits(), NetFeatures::CSUM.bits()),
    (NetFeatures::HOST_TSO6.bits(), NetFeatures::CSUM.bits()),
];

/// Which features may be agreed, if the device offers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allowed {
    /// Of the rings and the transport. `VERSION_1` and the features that a driver must accept are
    /// allowed whatever this says.
    pub ring: RingFeatures,
    /// Of the network device.
    pub net: NetFeatures,
}

impl Default for Allowed {
    /// All that are implemented.
    fn default() -> Self {
        Self { ring: RingFeatures::IMPLEMENTED, net: NetFeatures::all() }
    }
}

/// Features that a driver has to accept when they are offered.
const NOT_A_CHOICE: RingFeatures =
    RingFeatures::VERSION_1.union(RingFeatures::ACCESS_PLATFORM).union(RingFeatures::ORDER_PLATFORM);

impl Allowed {
    /// The same with other features of the [ring](Self::ring).
    #[must_use]
    pub const fn with_ring(self, ring: RingFeatures) -> Self {
        Self { ring, ..self }
    }

    /// The same with other features of the [network device](Self::net).
    #[must_use]
    pub const fn with_net(self, net: NetFeatures) -> Self {
        Self { net, ..self }
    }

    /// What is agreed with a device that offers `offered`.
    #[must_use]
    pub fn choose(self, offered: u64) -> u64 {
        let ring = self.ring.union(NOT_A_CHOICE).intersection(RingFeatures::IMPLEMENTED);
        feature::agree(offered, ring.bits() | self.net.bits(), &DEPENDENCIES)
    }
}

/// The features that driver and device agreed on. Made by bring-up alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated(u64);

impl Negotiated {
    /// What the device has confirmed.
    pub(crate) const fn confirmed(features: u64) -> Self {
        Self(features)
    }

    /// Whether all of `features` of the network device are agreed.
    #[must_use]
    pub const fn has(self, features: NetFeatures) -> bool {
        self.0 & features.bits() == features.bits()
    }

    /// Whether all of `features` of the ring are agreed.
    #[must_use]
    pub const fn has_ring(self, features: RingFeatures) -> bool {
        self.0 & features.bits() == features.bits()
    }

    /// The format of its rings.
    pub(crate) const fn format(self) -> Format {
        RingFeatures::from_bits_truncate(self.0).format()
    }

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

    /// The word itself.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Negotiated {
    /// The features' names, as the specification spells them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = RingFeatures::from_bits_truncate(self.0);
        let net = NetFeatures::from_bits_truncate(self.0);
        for (i, (name, _)) in ring.iter_names().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { " " })?;
        }
        for (name, _) in net.iter_names() {
            write!(f, " {name}")?;
        }
        Ok(())
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
        let no_csum = Allowed { net: NetFeatures::all() - NetFeatures::CSUM, ..Allowed::default() };
        assert_eq!(no_csum.choose((offered | NetFeatures::CSUM).bits()), NetFeatures::MAC.bits());
    }

    #[test]
    fn what_has_to_be_accepted_is_not_a_choice() {
        let nothing = Allowed { ring: RingFeatures::empty(), net: NetFeatures::empty() };
        assert_eq!(nothing.choose(u64::MAX), 1 << 32 | 1 << 33 | 1 << 36);
    }
}
