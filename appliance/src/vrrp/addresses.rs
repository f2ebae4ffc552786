//! The addresses of a message, in a place of their own: to read what a stranger says allocates
//! nothing.

use core::net::{IpAddr, Ipv4Addr};
use core::ops::Deref;

/// So many addresses a virtual router has at most.
pub const MAX_ADDRESSES: usize = 20;

/// Addresses, [`MAX_ADDRESSES`] at most; those beyond are left out.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    all: [IpAddr; MAX_ADDRESSES],
    len: usize,
}

impl Deref for Addresses {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        self.all.get(..self.len).unwrap_or_default()
    }
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut all = [IpAddr::V4(Ipv4Addr::UNSPECIFIED); MAX_ADDRESSES];
        let places = all.iter_mut().zip(addresses);
        let len = places.map(|(place, address)| *place = address).count();
        Self { all, len }
    }
}

impl PartialEq for Addresses {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Addresses {}

impl Addresses {
    /// Whether these are the same ones, in whatever order.
    #[must_use]
    pub fn is_same_as(&self, others: &[IpAddr]) -> bool {
        self.len() == others.len() && self.iter().all(|address| others.contains(address))
    }
}
