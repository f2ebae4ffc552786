//! A service that serves: its servers, whether they answer, and what passed to them.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use paravane_hal::time::Instant;

use super::service::{BalanceError, Protocol, Service, Settings};
use crate::check::{Checks, Report};
use crate::drops::Reason;
use crate::flow::{Direction, Key, Tag};
use crate::nat::{Mode, Nat};
use crate::pool::{Health, Pool, PoolError, Server, ServerId};
use crate::random::Random;

/// A service with its servers.
#[derive(Debug)]
pub struct Serving {
    pub(super) service: Service,
    pub(super) pool: Pool,
    checks: Checks,
    /// By a server's place.
    traffic: Vec<Traffic>,
    /// Of servers that are gone.
    before: Traffic,
    /// The machine has its address. (Machines may share one.)
    pub(super) is_here: bool,
}

/// What passed to a server, and from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes of IP packets from clients.
    pub in_bytes: u64,
    /// Bytes of IP packets to clients.
    pub out_bytes: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
}

impl Traffic {
    #[inline(always)]
    const fn count(&mut self, direction: Direction, total_bytes: u64) {
        let (bytes, packets) = match direction {
            Direction::Original => (&mut self.in_bytes, &mut self.in_packets),
            Direction::Reply => (&mut self.out_bytes, &mut self.out_packets),
        };
        *bytes = bytes.wrapping_add(total_bytes);
        *packets = packets.wrapping_add(1);
    }

    const fn and(self, other: Self) -> Self {
        Self {
            in_bytes: self.in_bytes.wrapping_add(other.in_bytes),
            out_bytes: self.out_bytes.wrapping_add(other.out_bytes),
            in_packets: self.in_packets.wrapping_add(other.in_packets),
            out_packets: self.out_packets.wrapping_add(other.out_packets),
        }
    }
}

impl Serving {
    pub(super) fn new(service: Service, random: &mut Random) -> Result<Self, BalanceError> {
        let servers = service.pool.max_servers;
        Ok(Self {
            pool: Pool::new(service.pool)?,
            checks: Checks::new(service.checks.clone(), servers, service.max_checks, random)?,
            traffic: vec![Traffic::default(); servers.into()],
            before: Traffic::default(),
            is_here: true,
            service,
        })
    }

    /// As its operator described it.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// Whether the machine has its address: of one that machines share, another one may.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        self.is_here
    }

    /// Its servers.
    #[must_use]
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether they answer.
    #[must_use]
    pub const fn checks(&self) -> &Checks {
        &self.checks
    }

    /// What who has sockets asks servers by, and tells of answers. A change of a server's health is
    /// to be [marked](Self::mark).
    pub fn checks_mut(&mut self) -> &mut Checks {
        &mut self.checks
    }

    /// Adds a server.
    ///
    /// # Errors
    ///
    /// [`BalanceError::Version`], and what [`Pool::add`] says.
    pub fn add(&mut self, server: Server, health: Health, now: Instant) -> Result<ServerId, BalanceError> {
        let address = server.address.ip();
        if address.is_ipv4() != self.service.listen.is_ipv4() {
            return Err(BalanceError::Version { address });
        }
        let id = self.pool.add(server, health)?;
        if let Some(traffic) = self.traffic.get_mut(usize::from(id.place())) {
            // The one before it at this place is gone.
            self.before = self.before.and(core::mem::take(traffic));
        }
        self.checks.add(id, health, now);
        Ok(id)
    }

    /// Says that a server was found up, or down; false when that was known.
    pub fn mark(&mut self, server: ServerId, health: Health, now: Instant) -> bool {
        self.pool.mark(server, health, now).unwrap_or(false)
    }

    /// Nothing new goes to a server; what is left at `until` is cut off.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn drain(&mut self, server: ServerId, until: Option<Instant>) -> Result<(), PoolError> {
        self.pool.drain(server, until)
    }

    /// Nothing new goes to a server, and it is not asked whether it answers.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn maintain(&mut self, server: ServerId) -> Result<(), PoolError> {
        self.pool.maintain(server)?;
        self.checks.remove(server);
        Ok(())
    }

    /// A server that was drained or maintained is there again.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn resume(&mut self, server: ServerId, now: Instant) -> Result<(), PoolError> {
        self.pool.resume(server, now)?;
        if self.checks.health(server).is_none() {
            self.checks.add(server, self.pool.health(server).unwrap_or(Health::Down), now);
        }
        Ok(())
    }

    /// Takes a server out; what is left at `until` is cut off.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn remove(&mut self, server: ServerId, until: Option<Instant>) -> Result<(), PoolError> {
        self.pool.remove(server, until)?;
        self.checks.remove(server);
        Ok(())
    }

    /// Changes a server's weight.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`], [`PoolError::Weight`].
    pub fn set_weight(&mut self, server: ServerId, weight: u16) -> Result<(), PoolError> {
        self.pool.set_weight(server, weight)
    }

    /// What passed to a server, and from it, since it was added.
    #[must_use]
    pub fn traffic_of(&self, server: ServerId) -> Traffic {
        self.traffic.get(usize::from(server.place())).copied().unwrap_or_default()
    }

    /// What passed to all servers, and from them, those that are gone included.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic.iter().fold(self.before, |all, traffic| all.and(*traffic))
    }

    pub(super) fn poll(&mut self) {
        self.pool.poll();
    }

    pub(super) fn release(&mut self, place: u16) {
        self.pool.release(place);
    }

    /// Another server for a connection of the one at `place`, which has it no more; neither that
    /// one, nor those at the places that were `tried` before.
    pub(super) fn retry(
        &mut self,
        place: u16,
        client: IpAddr,
        tried: [u16; 2],
        now: Instant,
    ) -> Result<ServerId, Reason> {
        let pool = &mut self.pool;
        let [first, second] = tried.map(|place| pool.at(place));
        let nobody = pool.at(place).ok_or(Reason::NoServer)?;
        let tried = [first.unwrap_or(nobody), second.unwrap_or(nobody)];
        Ok(pool.retry(place, client, &tried, now)?)
    }

    /// A connection to a server began so.
    pub(super) fn report(&mut self, place: u16, report: Report, now: Instant) {
        let Some(server) = self.pool.at(place) else { return };
        if let Some(health) = self.checks.report(server, report, now) {
            self.mark(server, health, now);
        }
    }

    #[inline]
    pub(super) fn count(&mut self, place: u16, direction: Direction, total_bytes: usize) {
        if let Some(traffic) = self.traffic.get_mut(usize::from(place)) {
            traffic.count(direction, total_bytes as u64);
        }
    }

    /// Whether a server's time is over that still has connections.
    pub(super) fn has_left_over(&self, now: Instant) -> bool {
        self.pool.has_left_over(now)
    }

    pub(super) fn is_over(&self, tag: Tag, now: Instant) -> bool {
        self.pool.is_over(tag.server, now)
    }

    pub(super) fn has_server(&self, address: IpAddr) -> bool {
        self.pool.has_address(address)
    }

    pub(super) fn ports_free(&self, nat: &Nat) -> Option<u32> {
        let is_full = self.service.ends() != Mode::Dnat;
        is_full.then(|| nat.ports_free(self.pool.most_connections(), self.service.listen.is_ipv6()))
    }
}

/// Where services listen.
#[derive(Debug)]
pub(super) struct Listeners(Vec<(SocketAddr, u8, u16)>);

impl Listeners {
    pub(super) fn new(services: &[Service], settings: &Settings) -> Result<Self, BalanceError> {
        let mut all: Vec<_> =
            services.iter().zip(0..).map(|(s, number)| (s.listen, s.protocol.number(), number)).collect();
        all.sort_unstable();
        for (one, other) in all.iter().zip(all.iter().skip(1)) {
            if (one.0, one.1) == (other.0, other.1) {
                return Err(BalanceError::ListenerTaken { listen: one.0 });
            }
        }
        for service in services {
            let listen = service.listen;
            if service.is_spliced() && service.protocol != Protocol::Tcp {
                return Err(BalanceError::Splice { listen });
            }
            if service.ends() != Mode::Dnat && settings.sources.count(listen.is_ipv6()) == 0 {
                return Err(BalanceError::NoSources { listen });
            }
        }
        Ok(Self(all))
    }

    /// The number of the service that packets with this key are for.
    pub(super) fn find(&self, key: &Key) -> Option<u16> {
        let wanted = (SocketAddr::new(key.destination(), key.destination_port()), key.protocol());
        let place =
            self.0.binary_search_by(|(listen, protocol, _)| (*listen, *protocol).cmp(&wanted)).ok()?;
        self.0.get(place).map(|(_, _, number)| *number)
    }

    /// Whether any service has that address.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(listen, _, _)| listen.ip() == address)
    }
}
