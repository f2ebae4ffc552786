//! What there is to see of a pool.

use core::net::{IpAddr, SocketAddr};

use paravane_hal::time::Instant;

use super::refused::Refused;
use super::server::{Health, Member, Server, ServerId, State, WHOLE};
use super::{Pool, Settings};

/// What there is to see of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// Which one.
    pub id: ServerId,
    /// What its operator says of it.
    pub server: &'a Server,
    /// What is done with it.
    pub state: State,
    /// So many connections it has; of one that is draining, so many are left.
    pub connections: u32,
    /// So many it had since it was added, those included.
    pub total: u64,
    /// How much of its share it takes by now.
    pub ramp_percent: u8,
}

impl Pool {
    /// All servers, in the order of their places.
    pub fn servers(&self, now: Instant) -> impl Iterator<Item = View<'_>> {
        self.members().map(move |(id, member)| self.view(id, member, now))
    }

    /// One server; `None` of one that is out.
    #[must_use]
    pub fn server(&self, id: ServerId, now: Instant) -> Option<View<'_>> {
        self.member(id).map(|member| self.view(id, member, now))
    }

    /// The server of that name that is not leaving.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ServerId> {
        self.staying().find(|(_, member)| member.server.name == name).map(|(id, _)| id)
    }

    /// The server at a place; `None` where there is none.
    #[must_use]
    pub fn at(&self, place: u16) -> Option<ServerId> {
        self.member_at(place).map(|(id, _)| id)
    }

    /// Whether connections of the server at a place are to be ended: it was to have none any more
    /// by now, or there is none. Whoever has them releases each then, as always. Cheap enough to be
    /// asked for each packet.
    #[must_use]
    #[inline]
    pub fn is_over(&self, place: u16, now: Instant) -> bool {
        self.member_at(place).is_none_or(|(_, member)| now >= member.ends_at)
    }

    /// Where a server listens; `None` of one that is out.
    #[must_use]
    pub fn address(&self, id: ServerId) -> Option<SocketAddr> {
        self.member(id).map(|member| member.server.address)
    }

    /// Whether a server answers, as far as anybody knows; `None` of one that is out.
    #[must_use]
    pub fn health(&self, id: ServerId) -> Option<Health> {
        self.member(id).map(|member| member.health)
    }

    /// Whether any server has that address.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.members().any(|(_, member)| member.server.address.ip() == address)
    }

    /// Whether a server listens just there.
    #[must_use]
    pub fn serves_at(&self, address: SocketAddr) -> bool {
        self.members().any(|(_, member)| member.server.address == address)
    }

    /// Whether the server at a place takes new connections, as far as there is no limit.
    #[must_use]
    pub fn is_serving(&self, place: u16) -> bool {
        self.member_at(place).is_some_and(|(_, member)| member.is_serving())
    }

    /// Whether any server has connections that [are to be ended](Self::is_over).
    #[must_use]
    pub fn has_left_over(&self, now: Instant) -> bool {
        self.members().any(|(_, member)| member.connections > 0 && now >= member.ends_at)
    }

    /// How many connections the server has that has most.
    #[must_use]
    pub fn most_connections(&self) -> u32 {
        self.members().map(|(_, member)| member.connections).max().unwrap_or(0)
    }

    /// Whether any server takes new connections, as far as there is no limit.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.members().any(|(_, member)| member.is_serving())
    }

    /// Where the first server listens that takes new connections, as far as there is no limit.
    pub(crate) fn first(&self) -> Option<SocketAddr> {
        self.members().find(|(_, member)| member.is_serving()).map(|(_, member)| member.server.address)
    }

    /// So many connections there are.
    #[must_use]
    pub const fn connections(&self) -> u32 {
        self.connections
    }

    /// So many there were, those included.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// So many were refused for that.
    #[must_use]
    pub fn refusals(&self, refused: Refused) -> u64 {
        self.refusals.of(refused)
    }

    /// As it was made.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    fn view<'a>(&self, id: ServerId, member: &'a Member, now: Instant) -> View<'a> {
        let ramp = member.ramp(self.slow_start, now);
        let ramp = ramp.saturating_mul(100).saturating_add(WHOLE / 2) / WHOLE;
        View {
            id,
            server: &member.server,
            state: member.state(),
            connections: member.connections,
            total: member.total,
            ramp_percent: u8::try_from(ramp).unwrap_or(100),
        }
    }
}
