//! A service's servers, and which one a new connection goes to.
//!
//! ```
//! use paravane_appliance::pool::{Algorithm, Health, Pool, Server, Settings};
//! use paravane_hal::time::Instant;
//!
//! type Outcome<T> = Result<T, Box<dyn core::error::Error>>;
//!
//! fn serve(now: Instant) -> Outcome<()> {
//!     let settings = Settings { algorithm: Algorithm::maglev([1, 2]), ..Settings::new(16) };
//!     let mut pool = Pool::new(settings)?;
//!     let one = pool.add(Server::new("one", "10.0.0.1:80".parse()?), Health::Up)?;
//!     pool.add(Server { weight: 3, ..Server::new("two", "10.0.0.2:80".parse()?) }, Health::Up)?;
//!     pool.poll();
//!
//!     // The first packet of a connection: its flow keeps the server's place.
//!     let place = pool.choose("192.0.2.1".parse()?, now)?.place();
//!
//!     // The operator takes a server out: what it has goes on.
//!     pool.drain(one, None)?;
//!     pool.poll();
//!     assert!(!pool.is_over(place, now));
//!     // The flow's end.
//!     pool.release(place);
//!     Ok(())
//! }
//! ```
//!
//! Servers are allocated as they are added, and nothing else is once a pool is made: names, that
//! is. What comes with packets ([`choose`](Pool::choose), [`adopt`](Pool::adopt),
//! [`retry`](Pool::retry), [`release`](Pool::release)) allocates nothing.
//!
//! A connection is known by its server's [place](ServerId::place) alone, and counts there until it
//! is released. Until then the place is no other server's, whatever becomes of this one. Limits of
//! the service and of sources are [`flow`](crate::flow)'s.
//!
//! # Who is asked
//!
//! | Algorithm | New connections go to | Looks at |
//! |---|---|---|
//! | [`RoundRobin`](Algorithm::RoundRobin) | each in its turn, as often as its weight says, and evenly between | all servers, by 50 instructions each |
//! | [`LeastConnections`](Algorithm::LeastConnections) | who has least for its weight; equals take turns | all servers, by 65 each |
//! | [`Maglev`](Algorithm::Maglev) | who has the source's place in a table that is the same on each balancer | one server, or up to eight; 290 in all |
//!
//! What the operator says of a server (that it is there, its weight, that it drains) changes the
//! table, at the next [`poll`](Pool::poll). What a balancer finds out by itself does not: that a
//! server is down, has its most connections, or takes its share by and by. Connections that would
//! go to such a server go to others, by the same source hash, and the rest stay where they are. So
//! balancers that disagree on the health of one server disagree on its connections alone.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Pool`], and what an operator does with it |
//! | `server` | [`Server`], and what is known of one |
//! | `settings` | [`Settings`], and why there is no such pool |
//! | `choose` | which one it is |
//! | `refused` | why it is none |
//! | `maglev` | the table |
//! | `view` | what there is to see |

mod choose;
mod maglev;
mod refused;
mod server;
mod settings;
mod view;

use alloc::vec::Vec;

use paravane_hal::time::Instant;

use maglev::Table;
use refused::Refusals;
pub use refused::Refused;
pub use server::{Health, Server, ServerId, State};
use server::{Member, NEVER, Wanted, check_weight};
pub use settings::{Algorithm, MAX_NAME_BYTES, MAX_WEIGHT, PLACES, PoolError, Settings};
pub use view::View;

/// Where a server is, or may be.
#[derive(Debug, Default)]
struct Seat {
    generation: u16,
    member: Option<Member>,
}

/// A service's servers.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    /// In nanoseconds.
    slow_start: u64,
    /// As many as were ever taken at a time; there is room for all.
    seats: Vec<Seat>,
    /// Of the algorithm that has one.
    table: Option<Table>,
    /// What the operator says changed since it was built.
    is_table_old: bool,
    /// Where the search for the least begins.
    turn: u16,
    connections: u32,
    total: u64,
    refusals: Refusals,
}

impl Pool {
    /// One without servers.
    ///
    /// # Errors
    ///
    /// [`PoolError::Places`].
    pub fn new(settings: Settings) -> Result<Self, PoolError> {
        let table = match settings.algorithm {
            Algorithm::Maglev { places, key } => Some(Table::new(places, settings.max_servers, key)?),
            Algorithm::RoundRobin | Algorithm::LeastConnections => None,
        };
        Ok(Self {
            seats: Vec::with_capacity(settings.max_servers.into()),
            table,
            is_table_old: false,
            turn: 0,
            connections: 0,
            total: 0,
            refusals: Refusals::default(),
            slow_start: u64::try_from(settings.slow_start.as_nanos()).unwrap_or(u64::MAX),
            settings,
        })
    }

    /// Adds a server. One that is up takes all of its share at once, as at the start of the
    /// machine; one that is down does so by and by, once it is [found up](Self::mark).
    ///
    /// # Errors
    ///
    /// [`PoolError`]: it is none, another is like it, or there are too many.
    pub fn add(&mut self, server: Server, health: Health) -> Result<ServerId, PoolError> {
        server.check()?;
        for (_, other) in self.staying() {
            if other.server.name == server.name {
                return Err(PoolError::NameTaken);
            }
            if other.server.address == server.address {
                return Err(PoolError::AddressTaken { address: server.address });
            }
        }
        let name_hash = self.table.as_ref().map_or(0, |table| table.name_hash(&server.name).first);
        let full = PoolError::Full { limit: self.settings.max_servers };
        let place = self.seats.iter().position(|seat| seat.member.is_none()).unwrap_or(self.seats.len());
        if place >= usize::from(self.settings.max_servers) {
            return Err(full);
        }
        if place == self.seats.len() {
            self.seats.push(Seat::default());
        }
        let seat = self.seats.get_mut(place).ok_or(full)?;
        seat.member = Some(Member::new(server, health, name_hash));
        self.is_table_old = true;
        Ok(ServerId { place: u16::try_from(place).map_err(|_| full)?, generation: seat.generation })
    }

    /// Nothing new goes to a server from now on. At `until`, if there is such a time, what it still
    /// has [is over](Self::is_over).
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn drain(&mut self, id: ServerId, until: Option<Instant>) -> Result<(), PoolError> {
        self.want(id, Wanted::Drain, until)
    }

    /// Nothing new goes to a server, and nobody asks whether it answers. What it has goes on.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn maintain(&mut self, id: ServerId) -> Result<(), PoolError> {
        self.want(id, Wanted::Maintenance, None)
    }

    /// A server that was drained or maintained is there again: for its share by and by.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn resume(&mut self, id: ServerId, now: Instant) -> Result<(), PoolError> {
        if self.standing(id)?.wanted != Wanted::Service {
            self.want(id, Wanted::Service, None)?;
            self.standing(id)?.begin(now);
        }
        Ok(())
    }

    /// Takes a server out: nothing new goes there, and its name and address may be another's at
    /// once. At `until`, if there is such a time, what it still has [is over](Self::is_over); its
    /// place is free once the last connection is released.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn remove(&mut self, id: ServerId, until: Option<Instant>) -> Result<(), PoolError> {
        self.want(id, Wanted::Leave, until)?;
        self.free_if_left(id.place);
        Ok(())
    }

    /// Changes a server's weight.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`], [`PoolError::Weight`].
    pub fn set_weight(&mut self, id: ServerId, weight: u16) -> Result<(), PoolError> {
        check_weight(weight)?;
        self.standing(id)?.server.weight = weight;
        self.is_table_old = true;
        Ok(())
    }

    /// Says that a server was found up, or down; false when that was known. One that comes up takes
    /// its share by and by.
    ///
    /// # Errors
    ///
    /// [`PoolError::Unknown`].
    pub fn mark(&mut self, id: ServerId, health: Health, now: Instant) -> Result<bool, PoolError> {
        let member = self.standing(id)?;
        if member.health == health {
            return Ok(false);
        }
        member.health = health;
        if health == Health::Up {
            member.begin(now);
        }
        Ok(true)
    }

    /// Takes up what was changed: to be called once a turn, and before the first connection. Where
    /// a table is built, which only an operator has done, that is about a hundred instructions for
    /// each of its places.
    pub fn poll(&mut self) {
        if core::mem::take(&mut self.is_table_old) {
            self.build();
        }
    }

    #[cold]
    fn build(&mut self) {
        let Some(table) = &mut self.table else { return };
        let members = (0_u16..).zip(&self.seats).filter_map(|(place, seat)| {
            let member = seat.member.as_ref().filter(|member| member.is_wanted())?;
            Some((member.server.name.as_str(), place, member.server.weight))
        });
        table.build(members);
    }

    fn want(&mut self, id: ServerId, wanted: Wanted, until: Option<Instant>) -> Result<(), PoolError> {
        let member = self.standing(id)?;
        member.wanted = wanted;
        member.ends_at = until.unwrap_or(NEVER);
        self.is_table_old = true;
        Ok(())
    }

    /// Frees the place of a server that is leaving and has nothing left.
    fn free_if_left(&mut self, place: u16) {
        let Some(seat) = self.seats.get_mut(usize::from(place)) else { return };
        let is_left = |member: &Member| member.wanted == Wanted::Leave && member.connections == 0;
        if seat.member.as_ref().is_some_and(is_left) {
            seat.member = None;
            seat.generation = seat.generation.wrapping_add(1);
        }
    }

    /// A server that is not leaving.
    fn standing(&mut self, id: ServerId) -> Result<&mut Member, PoolError> {
        let member = self.member_mut(id).filter(|member| member.wanted != Wanted::Leave);
        member.ok_or(PoolError::Unknown)
    }

    #[inline]
    fn member(&self, id: ServerId) -> Option<&Member> {
        self.member_at(id.place).filter(|(at, _)| *at == id).map(|(_, member)| member)
    }

    fn member_mut(&mut self, id: ServerId) -> Option<&mut Member> {
        let seat = self.seats.get_mut(usize::from(id.place))?;
        let is_same = seat.generation == id.generation;
        seat.member.as_mut().filter(|_| is_same)
    }

    /// The server at a place.
    #[inline]
    fn member_at(&self, place: u16) -> Option<(ServerId, &Member)> {
        let seat = self.seats.get(usize::from(place))?;
        Some((ServerId { place, generation: seat.generation }, seat.member.as_ref()?))
    }

    /// All servers.
    fn members(&self) -> impl Iterator<Item = (ServerId, &Member)> {
        (0..).zip(&self.seats).filter_map(|(place, seat)| {
            Some((ServerId { place, generation: seat.generation }, seat.member.as_ref()?))
        })
    }

    fn members_mut(&mut self) -> impl Iterator<Item = (ServerId, &mut Member)> {
        (0..).zip(&mut self.seats).filter_map(|(place, seat)| {
            Some((ServerId { place, generation: seat.generation }, seat.member.as_mut()?))
        })
    }

    /// All that are not leaving.
    fn staying(&self) -> impl Iterator<Item = (ServerId, &Member)> {
        self.members().filter(|(_, member)| member.wanted != Wanted::Leave)
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
