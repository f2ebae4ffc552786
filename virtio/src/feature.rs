//! Feature bits of the transport and the rings, and the rule by which features are agreed.
//!
//! Bits of a device class live with the class ([`net::NetFeatures`](crate::net::NetFeatures)). Both
//! are parts of one 64-bit word.
//!
//! What is accepted is *offered and implemented*, never "offered and known": a driver that accepts
//! a ring format it cannot drive breaks on the first device that offers it.
//!
//! Spec: VIRTIO 1.2, 2.2 "Feature Bits", 6 "Reserved Feature Bits".

use core::fmt;
use core::marker::PhantomData;

use bitflags::Flags;

use crate::ring::Format;

bitflags::bitflags! {
    /// Features of the ring and the transport, which every device class shares.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RingFeatures: u64 {
        /// A device of the legacy interface takes buffers cut up in any way. All others do.
        const ANY_LAYOUT = 1 << 27;
        /// A descriptor may name a table of descriptors, so that a chain takes one of a ring.
        const INDIRECT_DESC = 1 << 28;
        /// Each side says from which index on it wants to be told.
        const EVENT_IDX = 1 << 29;
        /// Not the legacy interface: what is not driven by that has to offer it.
        const VERSION_1 = 1 << 32;
        /// Addresses go through the platform's translation. Accepted whenever offered: addresses
        /// here only ever come from the platform.
        const ACCESS_PLATFORM = 1 << 33;
        /// The ring is one array of descriptors that both sides write.
        const RING_PACKED = 1 << 34;
        /// Buffers are used in the order in which they were made available.
        const IN_ORDER = 1 << 35;
        /// Memory is ordered as for a device on a bus. Accepted whenever offered: the barriers here
        /// always order towards a device.
        const ORDER_PLATFORM = 1 << 36;
        /// Notifications say where the queue goes on.
        const NOTIFICATION_DATA = 1 << 38;
        /// A queue can be reset alone.
        const RING_RESET = 1 << 40;
    }
}

impl RingFeatures {
    /// What this crate's queue and transports implement.
    pub const IMPLEMENTED: Self = Self::INDIRECT_DESC
        .union(Self::EVENT_IDX)
        .union(Self::VERSION_1)
        .union(Self::ACCESS_PLATFORM)
        .union(Self::RING_PACKED)
        .union(Self::IN_ORDER)
        .union(Self::ORDER_PLATFORM)
        .union(Self::NOTIFICATION_DATA)
        .union(Self::RING_RESET);

    /// What a driver has to accept when it is offered.
    const NOT_A_CHOICE: Self = Self::VERSION_1.union(Self::ACCESS_PLATFORM).union(Self::ORDER_PLATFORM);

    /// What they say of the format of a ring.
    pub(crate) const fn format(self) -> Format {
        Format {
            packed: self.contains(Self::RING_PACKED),
            event_idx: self.contains(Self::EVENT_IDX),
            legacy: !self.contains(Self::VERSION_1),
            indirect: self.contains(Self::INDIRECT_DESC),
            notification_data: self.contains(Self::NOTIFICATION_DATA),
            in_order: self.contains(Self::IN_ORDER),
        }
    }
}

/// A feature, and features of which at least one has to come with it.
pub type Dependency = (u64, u64);

/// A feature, and where its field of the configuration space ends.
pub type FieldEnd = (u64, usize);

/// Features of a class of device that its driver implements: the other bits of the word.
pub trait ClassFeatures: Flags<Bits = u64> + Copy {
    /// Which of them have a field in the configuration space.
    const FIELDS: &'static [FieldEnd] = &[];

    /// What needs what among them.
    const DEPENDENCIES: &'static [Dependency] = &[];

    /// Those that a driver has to accept when they are offered.
    const NOT_A_CHOICE: u64 = 0;
}

/// Which features may be agreed with a device of class `F`, if it offers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allowed<F> {
    /// Of the rings and the transport. `VERSION_1` and what else a driver has to accept is allowed
    /// whatever this says.
    pub ring: RingFeatures,
    /// Of the class; likewise.
    pub class: F,
}

impl<F: ClassFeatures> Default for Allowed<F> {
    /// All that are implemented.
    fn default() -> Self {
        Self { ring: RingFeatures::IMPLEMENTED, class: F::all() }
    }
}

impl<F: ClassFeatures> Allowed<F> {
    /// The same with other features of the [ring](Self::ring).
    #[must_use]
    pub fn with_ring(self, ring: RingFeatures) -> Self {
        Self { ring, ..self }
    }

    /// The same with other features of the [class](Self::class).
    #[must_use]
    pub fn with_class(self, class: F) -> Self {
        Self { class, ..self }
    }

    /// What is agreed with a device that offers `offered`.
    #[must_use]
    pub fn choose(self, offered: u64) -> u64 {
        let ring = self.ring.union(RingFeatures::NOT_A_CHOICE).intersection(RingFeatures::IMPLEMENTED);
        // The bit means something on the legacy interface alone, where nothing is lost by it.
        let is_legacy = offered & RingFeatures::VERSION_1.bits() == 0;
        let ring = if is_legacy { ring.union(RingFeatures::ANY_LAYOUT) } else { ring };
        agree(offered, ring.bits() | self.class.bits() | F::NOT_A_CHOICE, F::DEPENDENCIES)
    }
}

/// The features that driver and device agreed on. Made by bring-up alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated<F>(u64, PhantomData<F>);

impl<F: ClassFeatures> Negotiated<F> {
    /// What the device has confirmed.
    pub(crate) const fn confirmed(features: u64) -> Self {
        Self(features, PhantomData)
    }

    /// Whether all of `features` of the class are agreed.
    #[must_use]
    pub fn has(self, features: F) -> bool {
        self.0 & features.bits() == features.bits()
    }

    /// Whether all of `features` of the ring are agreed.
    #[must_use]
    pub const fn has_ring(self, features: RingFeatures) -> bool {
        self.0 & features.bits() == features.bits()
    }

    /// All of it, and no more: what a start may agree on that is to come to the same.
    pub(crate) fn allowed(self) -> Allowed<F> {
        Allowed { ring: RingFeatures::from_bits_truncate(self.0), class: F::from_bits_truncate(self.0) }
    }

    /// The format of its rings.
    pub(crate) const fn format(self) -> Format {
        RingFeatures::from_bits_truncate(self.0).format()
    }

    /// The word itself.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl<F: ClassFeatures> fmt::Display for Negotiated<F> {
    /// The features' names, as the specification spells them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ring = RingFeatures::from_bits_truncate(self.0);
        let class = F::from_bits_truncate(self.0);
        let names = ring.iter_names().map(|(name, _)| name).chain(class.iter_names().map(|(name, _)| name));
        for (i, name) in names.enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// The part of `offered & implemented` whose dependencies are met, in `dependencies`' terms.
///
/// A device that offers a feature without what it depends on is broken in that feature alone, so
/// that feature is dropped. Dropping one may leave another without its ground; hence the
/// repetition, which ends because every turn but the last drops a bit.
#[must_use]
pub fn agree(offered: u64, implemented: u64, dependencies: &[Dependency]) -> u64 {
    let mut agreed = offered & implemented;
    loop {
        let orphans = dependencies
            .iter()
            .filter(|(feature, needs_one_of)| agreed & feature != 0 && agreed & needs_one_of == 0)
            .fold(0, |orphans, (feature, _)| orphans | feature);
        if orphans == 0 {
            return agreed;
        }
        agreed &= !orphans;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unimplemented_feature_is_never_accepted() {
        let everything = agree(u64::MAX, RingFeatures::IMPLEMENTED.bits(), &[]);
        let ring = 1 << 28 | 1 << 29 | 1 << 34 | 1 << 35;
        assert_eq!(everything, ring | 1 << 32 | 1 << 33 | 1 << 36 | 1 << 38 | 1 << 40);
    }

    #[test]
    fn dropping_a_feature_drops_what_leans_on_it() {
        // 2 needs 1, 1 needs 0, and 0 is not offered. Listed so that one pass is not enough.
        let chain = [(0b100, 0b010), (0b010, 0b001)];
        assert_eq!(agree(0b1110, 0b1111, &chain), 0b1000);
        assert_eq!(agree(0b1111, 0b1111, &chain), 0b1111);
    }

    #[test]
    fn one_of_several_grounds_is_enough() {
        let either = [(0b100, 0b011)];
        assert_eq!(agree(0b101, 0b111, &either), 0b101);
        assert_eq!(agree(0b110, 0b111, &either), 0b110);
        assert_eq!(agree(0b100, 0b111, &either), 0);
    }

    proptest! {
        #[test]
        fn what_is_agreed_is_closed(
            offered in any::<u64>(),
            implemented in any::<u64>(),
            pairs in proptest::collection::vec((0_u32..64, any::<u64>()), 0..16),
        ) {
            let dependencies: std::vec::Vec<Dependency> = pairs.iter().map(|(bit, needs)| (1 << bit, *needs)).collect();
            let agreed = agree(offered, implemented, &dependencies);
            prop_assert_eq!(agreed & !(offered & implemented), 0);
            for (feature, needs) in dependencies {
                prop_assert!(agreed & feature == 0 || agreed & needs != 0);
            }
        }
    }
}
