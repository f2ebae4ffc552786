//! A table that says by hash which server it is, and says the same on each balancer.
//!
//! Each server has an order of all places of its own, which comes from its name. The servers take
//! turns, and at each turn one claims the next of its places that is free; who has less weight
//! claims less often. So each has its share to a place, and where a server comes or goes nearly all
//! others keep what they had.
//!
//! Nothing else goes in: not in which order the servers came, not who is up, no key that was drawn
//! at the start. Two balancers with the same servers, weights and key have the same table.
//!
//! Spec: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", 2016, 3.4
//! "Consistent Hashing".

use alloc::vec::Vec;
use core::net::IpAddr;

use siphasher::{sip, sip128};

use super::PoolError;

/// No server.
const NONE: u16 = u16::MAX;
/// So often another place is looked at, where a server takes nothing new.
const TRIES: u64 = 8;
/// The most places that a table has.
const MAX_PLACES: u32 = 1 << 20;

/// A server's name, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameHash {
    pub(super) first: u64,
    second: u64,
}

/// A server that claims places.
#[derive(Debug)]
struct Claimant {
    name: NameHash,
    member: u16,
    weight: u16,
    /// What it has towards its next claim.
    saved: u32,
    /// The next place in its order.
    next: u32,
    skip: u32,
}

/// The table. Nothing is allocated once it is made.
#[derive(Debug)]
pub(super) struct Table {
    members: Vec<u16>,
    claimants: Vec<Claimant>,
    of_names: sip128::SipHasher13,
    of_sources: sip::SipHasher13,
}

/// A place at which one may look for a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try {
    pub(super) member: u16,
    /// A number of 16 bits: as large as that, and a server that takes its share by and by does not
    /// take this one yet.
    pub(super) threshold: u32,
}

impl Table {
    /// One without servers, for `servers` at most.
    pub(super) fn new(places: u32, servers: u16, key: [u64; 2]) -> Result<Self, PoolError> {
        if places <= u32::from(servers) || places > MAX_PLACES || !is_prime(places) {
            return Err(PoolError::Places { places });
        }
        let [k0, k1] = key;
        Ok(Self {
            members: alloc::vec![NONE; usize::try_from(places).unwrap_or(0)],
            claimants: Vec::with_capacity(servers.into()),
            of_names: sip128::SipHasher13::new_with_keys(k0, k1),
            of_sources: sip::SipHasher13::new_with_keys(k0, k1),
        })
    }

    pub(super) fn name_hash(&self, name: &str) -> NameHash {
        let hash = self.of_names.hash(name.as_bytes());
        NameHash { first: hash.h1, second: hash.h2 }
    }

    pub(super) fn source_hash(&self, source: IpAddr) -> u64 {
        match source {
            IpAddr::V4(address) => self.of_sources.hash(&address.octets()),
            IpAddr::V6(address) => self.of_sources.hash(&address.octets()),
        }
    }

    /// Divides all places among `members`, of which each is a name, a place and a weight that is
    /// not 0, in any order. About as many steps as there are places, times their logarithm.
    pub(super) fn build<'a>(&mut self, members: impl Iterator<Item = (&'a str, u16, u16)>) {
        self.members.fill(NONE);
        self.claimants.clear();
        for (name, member, weight) in members.take(self.claimants.capacity()) {
            let claimant = self.claimant(self.name_hash(name), member, weight);
            self.claimants.push(claimant);
        }
        self.claimants.sort_unstable_by_key(|claimant| claimant.name);
        let most = self.claimants.iter().map(|claimant| u32::from(claimant.weight)).max().unwrap_or(0);
        if most == 0 {
            return;
        }
        // To the nearest place, and not always to the one below, or what the light ones lose the
        // heavy ones get.
        self.claimants.iter_mut().for_each(|claimant| claimant.saved = most / 2);
        let mut free = self.members.len();
        while free > 0 {
            for claimant in &mut self.claimants {
                claimant.saved = claimant.saved.saturating_add(claimant.weight.into());
                if free > 0 && claimant.saved >= most {
                    claimant.saved = claimant.saved.saturating_sub(most);
                    claimant.claim(&mut self.members);
                    free = free.saturating_sub(1);
                }
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "below the number of places, which has 21 bits")]
    fn claimant(&self, name: NameHash, member: u16, weight: u16) -> Claimant {
        let places = self.members.len() as u64;
        let next = name.first.checked_rem(places).unwrap_or(0) as u32;
        let skip = name.second.checked_rem(places.saturating_sub(1)).unwrap_or(0) as u32;
        Claimant { name, member, weight, saved: 0, next, skip: skip.saturating_add(1) }
    }

    /// Where to look for a server, one place after the other: the first one is that of the table,
    /// and the others are where a server there takes nothing.
    #[inline]
    pub(super) fn tries(&self, source_hash: u64) -> impl Iterator<Item = Try> {
        (0..TRIES).filter_map(move |number| {
            let hash = mix(source_hash.wrapping_add(number));
            let place = scaled(hash, self.members.len());
            let member = *self.members.get(place)?;
            let threshold = u32::try_from(mix(!hash) >> 48).unwrap_or(0);
            (member != NONE).then_some(Try { member, threshold })
        })
    }

    #[cfg(test)]
    pub(super) fn members(&self) -> &[u16] {
        &self.members
    }
}

impl Claimant {
    /// Claims its next free place; there is one.
    fn claim(&mut self, members: &mut [u16]) {
        let places = u32::try_from(members.len()).unwrap_or(0);
        for _ in 0..places {
            let place = usize::try_from(self.next).ok().and_then(|next| members.get_mut(next));
            let next = self.next.saturating_add(self.skip);
            // Both are below the number of places.
            self.next = next.checked_sub(places).unwrap_or(next);
            if let Some(place) = place.filter(|place| **place == NONE) {
                *place = self.member;
                return;
            }
        }
    }
}

/// Another number for each: one of which the bits have nothing to do with those of `word`.
///
/// Spec: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014, 5 "mix64".
#[inline]
pub(super) const fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// `hash` as a place among so many.
#[inline]
fn scaled(hash: u64, places: usize) -> usize {
    let place = (u128::from(hash) * places as u128) >> 64;
    usize::try_from(place).unwrap_or(0)
}

fn is_prime(number: u32) -> bool {
    let divisors = (2..).take_while(|divisor: &u32| divisor.saturating_mul(*divisor) <= number);
    number >= 2 && divisors.into_iter().all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
#[path = "maglev_tests.rs"]
mod tests;
