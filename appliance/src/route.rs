//! Routes: which interface and next hop an address is reached by.
//!
//! ```
//! use paravane_appliance::interface::InterfaceId;
//! use paravane_appliance::route::{Kind, NextHop, Route, Routes};
//!
//! let (public, private) = (InterfaceId(0), InterfaceId(1));
//! let gateway = "192.0.2.1".parse()?;
//! let mut routes = Routes::new(100);
//! routes.insert(Route { prefix: "0.0.0.0/0".parse()?, kind: Kind::via(public, gateway) })?;
//! routes.insert(Route { prefix: "10.0.0.0/8".parse()?, kind: Kind::Unreachable })?;
//! routes.insert(Route { prefix: "10.1.0.0/16".parse()?, kind: Kind::on_link(private) })?;
//!
//! assert_eq!(routes.lookup_v4("10.1.2.3".parse()?), Some(&Kind::on_link(private)));
//! assert_eq!(routes.lookup_v4("10.2.2.3".parse()?), Some(&Kind::Unreachable));
//! assert_eq!(routes.lookup_v4("203.0.113.7".parse()?), Some(&Kind::via(public, gateway)));
//! assert!(!routes.is_reverse_path("10.1.2.3".parse()?, public), "comes in the wrong way");
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Routes`], and what one says |
//! | `prefix` | [`Prefix`] |
//! | `table` | the routes of one version, by stretches of addresses |
//! | `groups` | where these lead to, each once |
//! | `index` | the stretches of IPv4 again, found by an address's bits |
//! | `key` | addresses as numbers |

mod groups;
mod index;
mod key;
mod prefix;
mod table;

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::interface::InterfaceId;

use groups::Group;
use index::Index;
pub(crate) use index::Way;
use key::Key;
pub use prefix::{Prefix, PrefixError};
use table::Table;

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextHop {
    /// By this interface.
    pub interface: InterfaceId,
    /// To this router; to the destination itself, which is on the link, if there is none.
    pub gateway: Option<IpAddr>,
}

/// What is done with packets for a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// They are sent on.
    Unicast(NextHop),
    /// They are dropped, and nobody hears of it.
    Blackhole,
    /// They are dropped, and who sent one is told that the host cannot be reached.
    Unreachable,
    /// They are for this machine, by an address of that interface.
    Local(InterfaceId),
    /// They are for everybody on a link, which nobody beyond it may ask for.
    ///
    /// Spec: RFC 2644 "Changing the Default for Directed Broadcasts in Routers".
    Broadcast,
}

impl Kind {
    /// Sent on to `gateway`.
    #[must_use]
    pub const fn via(interface: InterfaceId, gateway: IpAddr) -> Self {
        Self::Unicast(NextHop { interface, gateway: Some(gateway) })
    }

    /// Sent to the destination, which is on the link.
    #[must_use]
    pub const fn on_link(interface: InterfaceId) -> Self {
        Self::Unicast(NextHop { interface, gateway: None })
    }
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// For which addresses.
    pub prefix: Prefix,
    /// What is done.
    pub kind: Kind,
}

/// Why a route was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// There are as many as there may be.
    Full {
        /// How many.
        limit: u32,
    },
    /// The gateway's version is not the prefix's.
    Version {
        /// The gateway.
        gateway: IpAddr,
    },
}

/// All routes, of both versions. The longest prefix wins.
///
/// Several routes may have one prefix: of these equals the first one is used, and the others count
/// for the [reverse path](Self::is_reverse_path).
#[derive(Clone, Debug)]
pub struct Routes {
    v4: Table<u32>,
    /// What `v4` says, found faster.
    index: Index,
    v6: Table<u128>,
    routes: u32,
    limit: u32,
}

/// Calls a table's method with a prefix's number, for its version.
macro_rules! of_version {
    ($routes:expr, $prefix:expr, |$table:ident, $address:ident| $call:expr) => {
        match $prefix.address() {
            IpAddr::V4(address) => {
                let ($table, $address) = (&mut $routes.v4, address.to_bits());
                $call
            }
            IpAddr::V6(address) => {
                let ($table, $address) = (&mut $routes.v6, address.to_bits());
                $call
            }
        }
    };
}

impl Routes {
    /// None yet, and never more than `limit`. Takes 256 KiB, whatever the limit is.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { v4: Table::new(), index: Index::new(), v6: Table::new(), routes: 0, limit }
    }

    /// Adds a route, behind those that have its prefix already. False when it is there already.
    ///
    /// What it takes grows with how many prefixes lie within this one, and in a large table with
    /// the table: for a hundred thousand some 0.1 ms.
    ///
    /// # Errors
    ///
    /// [`RouteError`].
    pub fn insert(&mut self, route: Route) -> Result<bool, RouteError> {
        let is_new = self.add(route)?;
        if is_new {
            self.settle(route.prefix);
        }
        Ok(is_new)
    }

    /// Adds many routes at once: much faster than one by one.
    ///
    /// # Errors
    ///
    /// [`RouteError`]: those before the one that was refused are in.
    pub fn extend(&mut self, routes: impl IntoIterator<Item = Route>) -> Result<(), RouteError> {
        let added = routes.into_iter().try_for_each(|route| self.add(route).map(drop));
        self.settle_v4(0, 0);
        self.v6.settle(0, 0);
        added
    }

    /// Makes `route` the only one of its prefix.
    ///
    /// # Errors
    ///
    /// [`RouteError`].
    pub fn replace(&mut self, route: Route) -> Result<(), RouteError> {
        let Route { prefix, kind } = route;
        let before = of_version!(self, prefix, |table, address| table.count(address, prefix.bits()));
        self.check(route, before)?;
        self.forget(prefix);
        self.add(Route { prefix, kind })?;
        self.settle(prefix);
        Ok(())
    }

    /// Removes one route. False when there is none such.
    pub fn remove(&mut self, route: &Route) -> bool {
        let Route { prefix, kind } = route;
        let removed = of_version!(self, prefix, |table, address| table.remove(address, prefix.bits(), kind));
        if removed {
            self.routes = self.routes.saturating_sub(1);
            self.settle(*prefix);
        }
        removed
    }

    /// Removes all routes of just that prefix. False when there was none.
    pub fn remove_all(&mut self, prefix: Prefix) -> bool {
        let removed = self.forget(prefix);
        if removed {
            self.settle(prefix);
        }
        removed
    }

    /// Every route: those of IPv4 first, by prefix, equals in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Route> {
        let route = |address: IpAddr, bits: u8, kind: &Kind| {
            Some(Route { prefix: Prefix::new(address, bits).ok()?, kind: *kind })
        };
        let v4 = self
            .v4
            .iter()
            .filter_map(move |(address, bits, kind)| route(Ipv4Addr::from_bits(address).into(), bits, kind));
        let v6 = self
            .v6
            .iter()
            .filter_map(move |(address, bits, kind)| route(Ipv6Addr::from_bits(address).into(), bits, kind));
        v4.chain(v6)
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.routes
    }

    /// The route to `destination`; `None` where there is none.
    #[must_use]
    #[inline]
    pub fn lookup_v4(&self, destination: Ipv4Addr) -> Option<&Kind> {
        Some(&self.group_v4(destination)?.first)
    }

    /// The route to `destination`; `None` where there is none.
    #[must_use]
    #[inline]
    pub fn lookup_v6(&self, destination: Ipv6Addr) -> Option<&Kind> {
        Some(&self.v6.find(destination.to_bits())?.first)
    }

    /// The route to `destination`; `None` where there is none.
    #[must_use]
    #[inline]
    pub fn lookup(&self, destination: IpAddr) -> Option<&Kind> {
        match destination {
            IpAddr::V4(destination) => self.lookup_v4(destination),
            IpAddr::V6(destination) => self.lookup_v6(destination),
        }
    }

    /// Whether what comes from `source` comes in by `interface`: a packet back to `source` would
    /// leave by it, or might, for one of several equal routes does.
    ///
    /// Spec: RFC 3704, 2.2 "Strict Reverse Path Forwarding"; for equal routes 2.3, the "feasible"
    /// one.
    #[must_use]
    #[inline]
    pub fn is_reverse_path(&self, source: IpAddr, interface: InterfaceId) -> bool {
        let leaves = |kind: &Kind| matches!(kind, Kind::Unicast(hop) if hop.interface == interface);
        match source {
            IpAddr::V4(source) => self.group_v4(source).is_some_and(|group| group.iter().any(leaves)),
            IpAddr::V6(source) => {
                self.v6.find(source.to_bits()).is_some_and(|group| group.iter().any(leaves))
            }
        }
    }

    /// Where an address of IPv4 leads to; nowhere that is unicast, of reserved ones.
    #[inline(always)]
    pub(crate) fn way_v4(&self, address: [u8; 4]) -> Way {
        self.index.find(u32::from_be_bytes(address))
    }

    /// The next hop there.
    pub(crate) fn next_hop_v4(&self, way: Way) -> Option<NextHop> {
        match self.v4.group(way.group())?.first {
            Kind::Unicast(hop) => Some(hop),
            _ => None,
        }
    }

    /// How many groups of IPv4 there are places for: ways lead to no others.
    pub(crate) fn groups_v4(&self) -> usize {
        self.v4.groups()
    }

    /// The routes for an address of IPv4.
    #[inline]
    fn group_v4(&self, address: Ipv4Addr) -> Option<&Group> {
        let way = self.index.find(address.to_bits());
        if way.is_unknown() { self.v4.find(address.to_bits()) } else { self.v4.group(way.group()) }
    }

    /// Adds a route that is not settled yet.
    fn add(&mut self, route: Route) -> Result<bool, RouteError> {
        self.check(route, 0)?;
        let Route { prefix, kind } = route;
        let is_new = of_version!(self, prefix, |table, address| table.add(address, prefix.bits(), kind));
        self.routes = self.routes.saturating_add(is_new.into());
        Ok(is_new)
    }

    /// Whether `route` may come in when `less` others go.
    fn check(&self, route: Route, less: usize) -> Result<(), RouteError> {
        if let Kind::Unicast(NextHop { gateway: Some(gateway), .. }) = route.kind
            && gateway.is_ipv4() != route.prefix.address().is_ipv4()
        {
            return Err(RouteError::Version { gateway });
        }
        let limit = self.limit;
        if less == 0 && self.routes >= limit { Err(RouteError::Full { limit }) } else { Ok(()) }
    }

    /// Removes the routes of a prefix, which is not settled then.
    fn forget(&mut self, prefix: Prefix) -> bool {
        let removed = of_version!(self, prefix, |table, address| table.remove_all(address, prefix.bits()));
        self.routes = self.routes.saturating_sub(u32::try_from(removed).unwrap_or(u32::MAX));
        removed != 0
    }

    fn settle(&mut self, prefix: Prefix) {
        match prefix.address() {
            IpAddr::V4(address) => self.settle_v4(address.to_bits(), prefix.bits()),
            IpAddr::V6(address) => self.v6.settle(address.to_bits(), prefix.bits()),
        }
    }

    fn settle_v4(&mut self, address: u32, bits: u8) {
        self.v4.settle(address, bits);
        self.index.follow(&self.v4, address.first_of(bits), address.last_of(bits));
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => write!(f, "more than {limit} routes: remove some, or raise the limit"),
            Self::Version { gateway } => {
                write!(f, "the gateway {gateway} is of another IP version than the prefix")
            }
        }
    }
}

impl core::error::Error for RouteError {}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
