//! Which server a connection goes to, and what is counted.

use core::net::IpAddr;

use paravane_hal::time::Instant;

use super::maglev::{Table, mix};
use super::refused::Refused;
use super::server::{Member, ServerId};
use super::{Algorithm, Pool};

impl Pool {
    /// Finds a server for a new connection from `source`, and counts it there until it is
    /// [released](Self::release).
    ///
    /// # Errors
    ///
    /// [`Refused`], which is counted.
    pub fn choose(&mut self, source: IpAddr, now: Instant) -> Result<ServerId, Refused> {
        let server = self.pick(source, |_| false, now).map_err(|refused| self.refuse(refused))?;
        self.total = self.total.wrapping_add(1);
        self.enter(server, |member| member.take(now));
        Ok(server)
    }

    /// Finds the server of a connection that another balancer had, which is in its midst, and
    /// counts it there: the one of the [table](Self::lookup). The server's limits do not hold, for
    /// it is there already.
    ///
    /// It is right if the operator said the same to both balancers since the connection began, and
    /// the server was up then, and took all of its share.
    ///
    /// # Errors
    ///
    /// [`Refused`], which is counted.
    pub fn adopt(&mut self, source: IpAddr) -> Result<ServerId, Refused> {
        let nobody = if self.table.is_some() { Refused::NoServer } else { Refused::Untold };
        let server = self.lookup(source).ok_or(nobody).map_err(|refused| self.refuse(refused))?;
        self.total = self.total.wrapping_add(1);
        self.enter(server, Member::hold);
        Ok(server)
    }

    /// The server of all connections from `source`, by the table: where they go as long as it is
    /// not at its limits. `None` when none is up, or the algorithm has no table.
    #[must_use]
    pub fn lookup(&self, source: IpAddr) -> Option<ServerId> {
        let table = self.table.as_ref()?;
        self.find_by_hash(table, source, |_, member, _| member.is_serving())
    }

    /// Finds another server for a connection whose own, at `place`, does not answer; neither that
    /// one, nor one that was `tried` before. It is the same connection for the service.
    ///
    /// # Errors
    ///
    /// [`Refused`], which is counted. The connection is released.
    pub fn retry(
        &mut self,
        place: u16,
        source: IpAddr,
        tried: &[ServerId],
        now: Instant,
    ) -> Result<ServerId, Refused> {
        let is_tried = |id: ServerId| id.place == place || tried.contains(&id);
        let found = self.pick(source, is_tried, now);
        self.release(place);
        let server = found.map_err(|refused| self.refuse(refused))?;
        self.enter(server, |member| member.take(now));
        Ok(server)
    }

    /// A connection ended whose server has that place.
    pub fn release(&mut self, place: u16) {
        let seat = self.seats.get_mut(usize::from(place));
        let Some(member) = seat.and_then(|seat| seat.member.as_mut()) else { return };
        let Some(connections) = member.connections.checked_sub(1) else { return };
        member.connections = connections;
        self.connections = self.connections.saturating_sub(1);
        self.free_if_left(place);
    }

    fn refuse(&mut self, refused: Refused) -> Refused {
        self.refusals.count(refused);
        refused
    }

    /// A server has one connection more.
    fn enter(&mut self, id: ServerId, count: impl FnOnce(&mut Member)) {
        if let Some(member) = self.member_mut(id) {
            count(member);
            self.connections = self.connections.saturating_add(1);
        }
    }

    /// A server that takes one more, none of those that are `out`.
    fn pick(
        &mut self,
        source: IpAddr,
        out: impl Fn(ServerId) -> bool,
        now: Instant,
    ) -> Result<ServerId, Refused> {
        let takes = |id, member: &Member| member.has_room(now) && !out(id);
        let slow_start = self.slow_start;
        let found = match (self.settings.algorithm, &self.table) {
            (Algorithm::RoundRobin, _) => self.next_in_turn(takes, now),
            (Algorithm::LeastConnections, _) => self.least(takes, now),
            (Algorithm::Maglev { .. }, None) => None,
            (Algorithm::Maglev { .. }, Some(table)) => {
                self.find_by_hash(table, source, |id, member, from| {
                    from < member.ramp(slow_start, now) && takes(id, member)
                })
            }
        };
        found.ok_or_else(|| {
            let is_any_up = self.members().any(|(id, member)| member.is_serving() && !out(id));
            if is_any_up { Refused::Busy } else { Refused::NoServer }
        })
    }

    /// The one whose turn it is. All of them get credit by their weight; the one with most gets the
    /// connection, and pays with as much as all of them got. So nobody's turns come in a row that
    /// could be apart.
    fn next_in_turn(&mut self, takes: impl Fn(ServerId, &Member) -> bool, now: Instant) -> Option<ServerId> {
        let slow_start = self.slow_start;
        let mut all = 0_i64;
        let mut best: Option<(ServerId, i64)> = None;
        for (id, member) in self.members_mut().filter(|(id, member)| takes(*id, member)) {
            // All servers of such weights are below 2⁴⁰, and nobody's credit is far from that.
            let weight = i64::from(member.weight(slow_start, now));
            all = all.wrapping_add(weight);
            member.credit = member.credit.wrapping_add(weight);
            if best.is_none_or(|(_, most)| member.credit > most) {
                best = Some((id, member.credit));
            }
        }
        let (id, _) = best?;
        let member = self.member_mut(id)?;
        member.credit = member.credit.wrapping_sub(all);
        Some(id)
    }

    /// The one that has the fewest connections for its weight with this one: the first of them from
    /// behind the last one that was found.
    fn least(&mut self, takes: impl Fn(ServerId, &Member) -> bool, now: Instant) -> Option<ServerId> {
        let slow_start = self.slow_start;
        let turn = self.turn;
        let (before, behind) = (self.members().filter(|(id, _)| id.place < turn), self.members());
        let in_turn = behind.filter(|(id, _)| id.place >= turn).chain(before);
        let mut best: Option<(ServerId, u64, u64)> = None;
        for (id, member) in in_turn.filter(|(id, member)| takes(*id, member)) {
            // 2³² connections and weights of 2²⁴.
            let weight = u64::from(member.weight(slow_start, now));
            let load = u64::from(member.connections).wrapping_add(1);
            let is_less =
                |(_, least, of): (ServerId, u64, u64)| load.wrapping_mul(of) < least.wrapping_mul(weight);
            if best.is_none_or(is_less) {
                best = Some((id, load, weight));
            }
        }
        let (id, ..) = best?;
        self.turn = id.place.saturating_add(1);
        Some(id)
    }

    /// The first one that takes the source where its hash says to look; it is told a number of 16
    /// bits as well, which is another for each source and place.
    ///
    /// When nobody takes it there, most of all take nothing: then the rest shares, each source by
    /// the highest number that it has with one of them.
    #[inline]
    fn find_by_hash(
        &self,
        table: &Table,
        source: IpAddr,
        takes: impl Fn(ServerId, &Member, u32) -> bool,
    ) -> Option<ServerId> {
        let hash = table.source_hash(source);
        let found = table.tries(hash).find_map(|at| {
            let (id, member) = self.member_at(at.member)?;
            takes(id, member, at.threshold).then_some(id)
        });
        found.or_else(|| {
            let takers = self.members().filter(|(id, member)| takes(*id, member, 0));
            let highest = takers.max_by_key(|(_, member)| mix(hash ^ member.name_hash));
            highest.map(|(id, _)| id)
        })
    }
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
