//! How received frames are spread over queues: receive-side scaling.

/// Bytes of the key: what the hash of addresses and ports of IPv6 takes.
pub const RSS_KEY_BYTES: usize = 40;
/// How many entries an indirection table has at most: what most devices have.
pub const RSS_TABLE_ENTRIES: usize = 128;

bitflags::bitflags! {
    /// Which parts of a frame are hashed, the most that it has.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RssKinds: u16 {
        /// IPv4 addresses.
        const IP4 = 1;
        /// IPv4 addresses and TCP ports.
        const TCP4 = 1 << 1;
        /// IPv4 addresses and UDP ports.
        const UDP4 = 1 << 2;
        /// IPv6 addresses.
        const IP6 = 1 << 3;
        /// IPv6 addresses and TCP ports.
        const TCP6 = 1 << 4;
        /// IPv6 addresses and UDP ports.
        const UDP6 = 1 << 5;
        /// IPv4 addresses and the security parameter index of ESP. Not with virtio, which has other
        /// kinds in the bits between.
        const ESP4 = 1 << 9;
        /// IPv6 addresses and the security parameter index of ESP. Not with virtio.
        const ESP6 = 1 << 10;
    }
}

impl RssKinds {
    /// All that virtio has.
    pub const VIRTIO: Self = Self::all().difference(Self::ESP4.union(Self::ESP6));
}

/// How received frames are spread: the low bits of a frame's hash choose an entry of a table, and
/// that names a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rss {
    kinds: RssKinds,
    key: [u8; RSS_KEY_BYTES],
    table: [u16; RSS_TABLE_ENTRIES],
    entries: u8,
}

impl Rss {
    /// By `kinds`, through `table` of pairs of queues, counted from 0. Frames of no such kind go to
    /// the first of them. `None` unless the table has 1 to [`RSS_TABLE_ENTRIES`] entries, a power
    /// of two.
    ///
    /// The key is one that sends both directions of a connection to the same queue.
    #[must_use]
    pub fn new(kinds: RssKinds, table: &[u16]) -> Option<Self> {
        if !table.len().is_power_of_two() {
            return None;
        }
        let mut entries = [0; RSS_TABLE_ENTRIES];
        entries.get_mut(..table.len())?.copy_from_slice(table);
        Some(Self { kinds, key: symmetric_key(), table: entries, entries: u8::try_from(table.len()).ok()? })
    }

    /// The same with another key.
    #[must_use]
    pub const fn with_key(self, key: [u8; RSS_KEY_BYTES]) -> Self {
        Self { key, ..self }
    }

    /// What is hashed.
    #[must_use]
    pub const fn kinds(&self) -> RssKinds {
        self.kinds
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &[u8; RSS_KEY_BYTES] {
        &self.key
    }

    /// The table: never empty.
    #[must_use]
    pub fn table(&self) -> &[u16] {
        self.table.get(..self.entries.into()).unwrap_or_default()
    }
}

/// What received frames are hashed by where a device says so and does not spread them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashReport {
    kinds: RssKinds,
    key: [u8; RSS_KEY_BYTES],
}

impl HashReport {
    /// By `kinds`; none switches it off. The key is as with [`Rss::new`].
    #[must_use]
    pub fn new(kinds: RssKinds) -> Self {
        Self { kinds, key: symmetric_key() }
    }

    /// The same with another key.
    #[must_use]
    pub const fn with_key(self, key: [u8; RSS_KEY_BYTES]) -> Self {
        Self { key, ..self }
    }

    /// What is hashed.
    #[must_use]
    pub const fn kinds(&self) -> RssKinds {
        self.kinds
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &[u8; RSS_KEY_BYTES] {
        &self.key
    }
}

/// The same two bytes over and over: source and destination weigh the same.
fn symmetric_key() -> [u8; RSS_KEY_BYTES] {
    core::array::from_fn(|i| if i % 2 == 0 { 0x6d } else { 0x5a })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_a_power_of_two_long() {
        for (entries, fits) in [(0, false), (1, true), (3, false), (4, true), (128, true), (256, false)] {
            let table = std::vec![1; entries];
            let rss = Rss::new(RssKinds::IP4, &table);
            assert_eq!(rss.is_some(), fits, "{entries}");
            assert!(rss.is_none_or(|rss| rss.table() == table), "{entries}");
        }
    }
}
