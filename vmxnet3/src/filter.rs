//! Which frames the device lets through: `rxMode`, and the table of VLAN ids.

use paravane_net::RxFilter;
use zerocopy::little_endian::U32;

bitflags::bitflags! {
    /// `rxMode`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct RxMode: u32 {
        /// To our own address. Without it not even that comes.
        const UCAST = 1;
        /// To groups in the table.
        const MCAST = 1 << 1;
        /// To everyone.
        const BCAST = 1 << 2;
        /// To any group.
        const ALL_MULTI = 1 << 3;
        /// All there are. On ESXi the port group has to allow it.
        const PROMISC = 1 << 4;
    }
}

impl From<RxFilter> for RxMode {
    fn from(filter: RxFilter) -> Self {
        [
            (RxFilter::UNICAST, Self::UCAST),
            (RxFilter::BROADCAST, Self::BCAST),
            (RxFilter::ALL_MULTICAST, Self::ALL_MULTI),
            (RxFilter::PROMISCUOUS, Self::PROMISC),
            // It has no other way to tell stations from groups.
            (RxFilter::ALL_UNICAST, Self::PROMISC),
        ]
        .into_iter()
        .filter(|(wanted, _)| filter.contains(*wanted))
        .fold(Self::empty(), |mode, (_, bit)| mode | bit)
    }
}

/// `vfTable` that lets every VLAN through, untagged frames included: tags are the stack's business.
///
/// All zeros would not mean "no filter": QEMU then drops tagged frames.
pub(crate) const EVERY_VLAN: [U32; 128] = [U32::new(u32::MAX); 128];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wish_is_one_bit() {
        assert_eq!(RxMode::from(RxFilter::default()).bits(), 0b0_0101);
        assert_eq!(RxMode::from(RxFilter::all()).bits(), 0b1_1101);
        assert_eq!(RxMode::from(RxFilter::empty()).bits(), 0);
    }
}
