//! Which frames the device lets through: `rxMode`, the table of groups, and the table of VLAN ids.

use paravane_net::{MAC_TABLE_ENTRIES, MacTable, RxFilter, Settings, VlanSet};
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

impl RxMode {
    /// What `settings` come to.
    pub(crate) fn of(settings: &Settings) -> Self {
        let Settings { filter, unicast, multicast, .. } = settings;
        let modes = [
            (filter.contains(RxFilter::UNICAST), Self::UCAST),
            (filter.contains(RxFilter::BROADCAST), Self::BCAST),
            (filter.contains(RxFilter::ALL_MULTICAST), Self::ALL_MULTI),
            (!filter.contains(RxFilter::ALL_MULTICAST) && !multicast.is_empty(), Self::MCAST),
            // It has no other way to tell stations from groups, and no table of stations.
            (filter.intersects(RxFilter::PROMISCUOUS | RxFilter::ALL_UNICAST), Self::PROMISC),
            (!unicast.is_empty(), Self::PROMISC),
        ];
        modes.into_iter().filter(|(wanted, _)| *wanted).fold(Self::empty(), |mode, (_, bit)| mode | bit)
    }
}

/// `mfTablePA`: the groups, and `mfTableLen` in bytes.
pub(crate) fn groups(table: &MacTable) -> ([[u8; 6]; MAC_TABLE_ENTRIES], u16) {
    let mut groups = [[0; 6]; MAC_TABLE_ENTRIES];
    let mut len_bytes = 0_u16;
    for (place, group) in groups.iter_mut().zip(table.addresses()) {
        *place = group.0;
        len_bytes = len_bytes.saturating_add(6);
    }
    (groups, len_bytes)
}

/// `vfTable`: untagged frames and those VLANs, or all.
///
/// All zeros would not mean "no filter": QEMU then drops tagged frames. Who wants every frame wants
/// those of every VLAN.
pub(crate) fn vlans(settings: &Settings) -> [U32; 128] {
    let vlans = settings.vlans.filter(|_| !settings.filter.contains(RxFilter::PROMISCUOUS));
    let mut table = vlans.as_ref().map_or([U32::new(u32::MAX); 128], only);
    // Frames without a tag.
    let [first, ..] = &mut table;
    *first |= 1;
    table
}

/// Those VLANs alone.
fn only(vlans: &VlanSet) -> [U32; 128] {
    let mut table = [U32::ZERO; 128];
    for vid in vlans.iter() {
        if let Some(word) = table.get_mut(usize::from(vid >> 5)) {
            *word |= 1_u32.wrapping_shl(u32::from(vid & 31));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_net::MacAddr;

    fn mode(filter: RxFilter) -> u32 {
        RxMode::of(&Settings::default().with_filter(filter)).bits()
    }

    #[test]
    fn each_wish_is_one_bit() {
        assert_eq!(mode(RxFilter::default()), 0b0_0101);
        assert_eq!(mode(RxFilter::all()), 0b1_1101);
        assert_eq!(mode(RxFilter::ALL_UNICAST), 0b1_0000);
        assert_eq!(mode(RxFilter::empty()), 0);
    }

    #[test]
    fn groups_are_a_table_unless_all_are_wanted() {
        let group = |low| MacAddr([1, 0, 0x5e, 0, 0, low]);
        let mut settings = Settings::default();
        settings.multicast = MacTable::of(&[group(1), group(2)]).unwrap();
        assert_eq!(RxMode::of(&settings).bits(), 0b0_0111);
        let (table, len_bytes) = groups(&settings.multicast);
        assert_eq!((table[0], table[1], table[2], len_bytes), (group(1).0, group(2).0, [0; 6], 12));
        settings.filter |= RxFilter::ALL_MULTICAST;
        assert_eq!(RxMode::of(&settings).bits(), 0b0_1101);
        let full: std::vec::Vec<_> = (0..32).map(group).collect();
        assert_eq!(groups(&MacTable::of(&full).unwrap()).1, 192);
    }

    #[test]
    fn other_stations_have_no_table() {
        let mut settings = Settings::default();
        settings.unicast = MacTable::of(&[MacAddr::local(1)]).unwrap();
        assert_eq!(RxMode::of(&settings).bits(), 0b1_0101);
    }

    #[test]
    fn vlans_are_a_bit_each_and_untagged_frames_are_always_let_through() {
        let bits = |settings: &Settings| vlans(settings).map(U32::get);
        assert_eq!(bits(&Settings::default()), [u32::MAX; 128]);
        let set = VlanSet::EMPTY.with(33, true).with(4095, true);
        let settings = Settings::default().with_vlans(set);
        let table = bits(&settings);
        assert_eq!((table[0], table[1], table[127]), (1, 2, 1 << 31));
        assert!(table[2..127].iter().all(|word| *word == 0));
        assert_eq!(bits(&Settings::default().with_vlans(VlanSet::EMPTY))[0], 1);
        let everything = settings.with_filter(RxFilter::PROMISCUOUS);
        assert_eq!(bits(&everything), [u32::MAX; 128]);
    }
}
