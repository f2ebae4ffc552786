//! Flows that begin.

use paravane_hal::time::Instant;

use super::entry::{Direction, Flow, State, Tag};
use super::index::NONE;
use super::limits::{End, Refused, count};
use super::list::UNPROVEN;
use super::tcp::{self, Segment, Side};
use super::{Hit, Key, Table, slot, time};
use crate::limit::Empty;
use crate::packet::wire::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP};

/// A flow that is to begin.
#[derive(Clone, Copy, Debug)]
pub struct New<'s> {
    /// What the packets say that go as the first one does.
    pub original: Key,
    /// What those say that come back: the original's, [reversed](Key::reversed), where nothing is
    /// translated.
    pub reply: Key,
    /// Whose it is.
    pub tag: Tag,
    /// Which way the first packet goes: back only where a connection is picked up.
    pub direction: Direction,
    /// Its numbers; of TCP.
    pub segment: Option<&'s Segment>,
}

impl Table {
    /// Opens a flow whose first packet is there. Where there are as many as may be, the oldest that
    /// is unproven gives way; `ended` hears of it.
    ///
    /// # Errors
    ///
    /// [`Refused`], counted; nothing began. One that was to give way is gone where the reason is
    /// [`Crowded`](Refused::Crowded).
    pub fn open(
        &mut self,
        new: &New<'_>,
        now: Instant,
        ended: &mut impl FnMut(&Flow, End),
    ) -> Result<Hit, Refused> {
        let opened = self.try_open(new, now, ended);
        match opened {
            Ok(_) => self.counters.opened = self.counters.opened.wrapping_add(1),
            Err(why) => count(&mut self.counters.refused, why as usize),
        }
        opened
    }

    #[inline(never)]
    fn try_open(
        &mut self,
        new: &New<'_>,
        now: Instant,
        ended: &mut impl FnMut(&Flow, End),
    ) -> Result<Hit, Refused> {
        let [original, reply] = [new.original, new.reply].map(|key| self.lookup(key));
        let is_taken = |lookup| self.found(lookup).is_some();
        if new.original == new.reply || is_taken(&original) || is_taken(&reply) {
            return Err(Refused::Taken);
        }
        let service = self.services.get_mut(usize::from(new.tag.service)).ok_or(Refused::Tag)?;
        if usize::from(new.tag.server) >= self.servers.len() {
            return Err(Refused::Tag);
        }
        let beginning = beginning(new, service.service.picks_up).ok_or(Refused::NoBeginning)?;
        if service.flows >= service.service.flows {
            return Err(Refused::ServiceFull);
        }
        self.sources.take_with((&mut service.bucket, service.pace), new.original.host(), now).map_err(
            |empty| match empty {
                Empty::Interface => Refused::ServiceRate,
                Empty::Network => Refused::SourceRate,
            },
        )?;
        if self.free == NONE || self.unproven >= self.limits.unproven {
            let oldest = self.lists.head(UNPROVEN).ok_or(Refused::Full)?;
            self.end(oldest, End::Evicted, ended);
        }
        self.place(new, [original.hash, reply.hash], beginning, now)
    }

    /// Puts a flow into a free place.
    fn place(
        &mut self,
        new: &New<'_>,
        [original, reply]: [u64; 2],
        Beginning { state, sides }: Beginning,
        now: Instant,
    ) -> Result<Hit, Refused> {
        let index = self.free;
        let flow = self.flows.get_mut(index as usize).ok_or(Refused::Full)?;
        let first = slot(index, Direction::Original);
        if !self.index.insert(original, first) {
            return Err(Refused::Crowded);
        }
        if !self.index.insert(reply, slot(index, Direction::Reply)) {
            self.index.remove(original, first);
            return Err(Refused::Crowded);
        }
        self.free = flow.after;
        *flow =
            Flow { sides, state, seen: time::seconds(now), ..Flow::new(new.original, new.reply, new.tag) };
        self.lists.push(&mut self.flows, UNPROVEN, index);
        self.len = self.len.wrapping_add(1);
        self.unproven = self.unproven.wrapping_add(1);
        self.tally(new.tag, |count| count.wrapping_add(1));
        Ok(Hit { index, direction: new.direction })
    }
}

/// How a flow begins.
struct Beginning {
    state: State,
    sides: [Side; 2],
}

/// Whether nothing begins with a packet that has no numbers: it is part of a TCP segment, or the
/// reply to an echo that nobody sent.
fn is_answer(key: &Key) -> bool {
    let is_echo = matches!(key.protocol(), PROTOCOL_ICMP | PROTOCOL_ICMPV6);
    key.protocol() == PROTOCOL_TCP || is_echo && key.destination_port() != 0
}

/// How the flow of a first packet begins; `None` when it cannot.
fn beginning(new: &New<'_>, picks_up: bool) -> Option<Beginning> {
    let of = |(state, sides)| Beginning { state, sides };
    let is_forward = new.direction == Direction::Original;
    match new.segment {
        Some(segment) if is_forward && segment.is_syn() => tcp::begin(segment).map(of),
        Some(segment) if picks_up => tcp::pick_up(segment, new.direction).map(of),
        None if is_forward && !is_answer(&new.original) => Some(of((State::Unanswered, [Side::NONE; 2]))),
        _ => None,
    }
}
