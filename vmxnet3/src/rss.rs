//! How received frames are spread over queues: as the device is told, and what it can be told.
//!
//! Key and kinds are read when it is activated; the table may change while it runs.

use paravane_hal::Platform;
use paravane_hal::dma::DmaBox;
use paravane_hal::fault::DeviceFault;
use paravane_hal::field;
use paravane_hal::mmio::Mmio;
use paravane_net::{ChangeError, RSS_TABLE_ENTRIES, Rss, RssKinds};
use zerocopy::little_endian::U16;

use crate::cmd_info;
use crate::command::ControlRegs;
use crate::regs::{Command, Query};
use crate::revision::Features;
use crate::shared::{HASH_KEY_BYTES, RssConf, Shared};

/// `hashFunc`.
const TOEPLITZ: u16 = 1;

/// What is hashed, and the bit of `hashType` for it.
const HASH_TYPES: [(RssKinds, u16); 4] =
    [(RssKinds::IP4, 1), (RssKinds::TCP4, 1 << 1), (RssKinds::IP6, 1 << 2), (RssKinds::TCP6, 1 << 3)];

/// What is hashed, and the bit of `SET_RSS_FIELDS` for it. IP alone has none.
const FIELDS: [(RssKinds, u32); 6] = [
    (RssKinds::TCP4, 1),
    (RssKinds::TCP6, 1 << 1),
    (RssKinds::UDP4, 1 << 2),
    (RssKinds::UDP6, 1 << 3),
    (RssKinds::ESP4, 1 << 4),
    (RssKinds::ESP6, 1 << 5),
];

/// What `hashType` has bits for.
fn in_hash_type() -> RssKinds {
    HASH_TYPES.iter().fold(RssKinds::empty(), |kinds, (kind, _)| kinds | *kind)
}

/// What a device of such features may hash, if it has it.
fn known(features: Features) -> RssKinds {
    let kinds = [
        (Features::RSS_FIELDS, RssKinds::UDP4 | RssKinds::UDP6 | RssKinds::ESP4),
        (Features::RSS_ESP6, RssKinds::ESP6),
    ];
    let more = kinds.into_iter().filter(|(feature, _)| features.contains(*feature));
    more.fold(in_hash_type(), |known, (_, kinds)| known | kinds)
}

/// Asks a device that was activated for those kinds of `rss` that it was not told of by that. By
/// what it spreads then: not every device has all.
///
/// # Errors
///
/// [`DeviceFault::Gone`].
pub(crate) fn ask_for_fields<P: Platform>(
    regs: &mut ControlRegs<impl Mmio>,
    shared: &mut DmaBox<Shared, P>,
    rss: &Rss,
) -> Result<RssKinds, DeviceFault> {
    let kinds = rss.kinds();
    if in_hash_type().contains(kinds) {
        return Ok(kinds);
    }
    let wanted = FIELDS.iter().filter(|(kind, _)| kinds.contains(*kind)).fold(0, |bits, (_, bit)| bits | bit);
    shared.set(field!(Shared, driver.cmd_info), cmd_info::rss_fields(wanted));
    // Whatever it answers, the question after it tells.
    regs.run(Command::SetRssFields)?;
    let granted = regs.ask(Query::RssFields)?;
    let lacks = FIELDS.iter().filter(|(_, bit)| granted & bit == 0);
    Ok(lacks.fold(kinds, |kinds, (kind, _)| kinds.difference(*kind)))
}

/// Whether a device with so many receive queues, of such features, can spread by `rss`.
///
/// # Errors
///
/// [`ChangeError::NotOffered`] with one queue, [`ChangeError::OutOfRange`] where it hashes no such
/// thing, or has no such queue.
pub(crate) fn check(rss: &Rss, rx_queues: u8, features: Features) -> Result<(), ChangeError> {
    if rx_queues < 2 {
        return Err(ChangeError::NotOffered);
    }
    let has_queues = rss.table().iter().all(|queue| *queue < rx_queues.into());
    // By none, it would be no spread, and the device has no word for that.
    if !rss.kinds().is_empty() && known(features).contains(rss.kinds()) && has_queues {
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
        assert_eq!(check(&rss(tcp, &[0, 1]), 1, Features::empty()), Err(ChangeError::NotOffered));
        assert_eq!(check(&rss(tcp, &[0, 1]), 2, Features::empty()), Ok(()));
        assert_eq!(check(&rss(tcp, &[0, 2]), 2, Features::empty()), Err(ChangeError::OutOfRange));
        assert_eq!(
            check(&rss(tcp | RssKinds::UDP4, &[0, 1]), 2, Features::empty()),
            Err(ChangeError::OutOfRange)
        );
        assert_eq!(check(&rss(RssKinds::UDP6, &[0, 1]), 2, Features::empty()), Err(ChangeError::OutOfRange));
        assert_eq!(
            check(&rss(RssKinds::empty(), &[0, 1]), 2, Features::empty()),
            Err(ChangeError::OutOfRange)
        );
        let at = |features, kinds| check(&rss(kinds, &[0, 1]), 2, features).is_ok();
        let fourth = Features::RSS_FIELDS;
        assert!(at(fourth, RssKinds::UDP4 | RssKinds::UDP6 | RssKinds::ESP4) && !at(fourth, RssKinds::ESP6));
        assert!(at(fourth | Features::RSS_ESP6, RssKinds::all()));
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
