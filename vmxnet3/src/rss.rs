//! How received frames are spread over queues: as the device is told, and what it can be told.
//!
//! Key and kinds are read when it is activated; the table may change while it runs.

use paravane_net::{ChangeError, RSS_TABLE_ENTRIES, Rss, RssKinds};
use zerocopy::little_endian::U16;

use crate::shared::{HASH_KEY_BYTES, RssConf};

/// `hashFunc`.
const TOEPLITZ: u16 = 1;

/// What is hashed, and the bit of `hashType` for it.
const HASH_TYPES: [(RssKinds, u16); 4] =
    [(RssKinds::IP4, 1), (RssKinds::TCP4, 1 << 1), (RssKinds::IP6, 1 << 2), (RssKinds::TCP6, 1 << 3)];

/// Whether a device with so many receive queues can spread by `rss`.
///
/// # Errors
///
/// [`ChangeError::NotOffered`] with one queue, [`ChangeError::OutOfRange`] where it hashes no such
/// thing, or has no such queue.
pub(crate) fn check(rss: &Rss, rx_queues: u8) -> Result<(), ChangeError> {
    if rx_queues < 2 {
        return Err(ChangeError::NotOffered);
    }
    let kinds = HASH_TYPES.iter().fold(RssKinds::empty(), |kinds, (kind, _)| kinds | *kind);
    let has_queues = rss.table().iter().all(|queue| *queue < rx_queues.into());
    // By none, it would be no spread, and the device has no word for that.
    if !rss.kinds().is_empty() && kinds.contains(rss.kinds()) && has_queues {
        Ok(())
    } else {
        Err(ChangeError::OutOfRange)
    }
}

/// Whether a device that spreads by `from` can be told of `to` while it runs.
pub(crate) fn differ_by_table(from: &Rss, to: &Rss) -> bool {
    // Of another length, the table would be read with the old one.
    from.kinds() == to.kinds() && from.key() == to.key() && from.table().len() == to.table().len()
}

/// `indTable`; each entry was checked.
pub(crate) fn ind_table(rss: &Rss) -> [u8; RSS_TABLE_ENTRIES] {
    let mut table = [0; RSS_TABLE_ENTRIES];
    for (place, queue) in table.iter_mut().zip(rss.table()) {
        *place = u8::try_from(*queue).unwrap_or(0);
    }
    table
}

/// How many queues `rss` is about.
pub(crate) fn queues(rss: &Rss) -> u16 {
    rss.table().iter().max().map_or(1, |last| last.saturating_add(1))
}

impl From<&Rss> for RssConf {
    fn from(rss: &Rss) -> Self {
        let kinds = HASH_TYPES.iter().filter(|(kind, _)| rss.kinds().contains(*kind));
        Self {
            hash_type: U16::new(kinds.fold(0, |bits, (_, bit)| bits | bit)),
            hash_func: U16::new(TOEPLITZ),
            hash_key_size: U16::new(HASH_KEY_BYTES),
            ind_table_size: U16::new(u16::try_from(rss.table().len()).unwrap_or(0)),
            hash_key: *rss.key(),
            ind_table: ind_table(rss),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_lies_in_memory_as_the_headers_say() {
        let mut key = [9; 40];
        key[39] = 1;
        let rss = Rss::new(RssKinds::TCP4 | RssKinds::IP6, &[0, 3, 1, 2]).unwrap().with_key(key);
        let conf = RssConf::from(&rss);
        assert_eq!((conf.hash_type.get(), conf.hash_func.get()), (0b0110, 1));
        assert_eq!((conf.hash_key_size.get(), conf.ind_table_size.get()), (40, 4));
        assert_eq!((conf.hash_key, &conf.ind_table[..5]), (key, &[0, 3, 1, 2, 0][..]));
        let all = RssKinds::IP4 | RssKinds::TCP4 | RssKinds::IP6 | RssKinds::TCP6;
        assert_eq!(RssConf::from(&Rss::new(all, &[0]).unwrap()).hash_type.get(), 0b1111);
        assert_eq!(queues(&rss), 4);
    }

    #[test]
    fn what_no_device_spreads_by_is_refused() {
        let rss = |kinds, table: &[u16]| Rss::new(kinds, table).unwrap();
        let tcp = RssKinds::TCP4 | RssKinds::TCP6;
        assert_eq!(check(&rss(tcp, &[0, 1]), 1), Err(ChangeError::NotOffered));
        assert_eq!(check(&rss(tcp, &[0, 1]), 2), Ok(()));
        assert_eq!(check(&rss(tcp, &[0, 2]), 2), Err(ChangeError::OutOfRange));
        assert_eq!(check(&rss(tcp | RssKinds::UDP4, &[0, 1]), 2), Err(ChangeError::OutOfRange));
        assert_eq!(check(&rss(RssKinds::UDP6, &[0, 1]), 2), Err(ChangeError::OutOfRange));
        assert_eq!(check(&rss(RssKinds::empty(), &[0, 1]), 2), Err(ChangeError::OutOfRange));
    }

    #[test]
    fn only_the_table_may_change() {
        let rss = Rss::new(RssKinds::TCP4, &[0, 1]).unwrap();
        assert!(differ_by_table(&rss, &Rss::new(RssKinds::TCP4, &[1, 0]).unwrap()));
        assert!(!differ_by_table(&rss, &Rss::new(RssKinds::TCP4, &[1, 0, 0, 1]).unwrap()));
        assert!(!differ_by_table(&rss, &Rss::new(RssKinds::IP4, &[0, 1]).unwrap()));
        assert!(!differ_by_table(&rss, &rss.with_key([1; 40])));
    }
}
