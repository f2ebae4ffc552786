//! Flows that begin.

use paravane_hal::time::Instant;

use super::entry::{Direction, Flow, State, Tag, Translation};
use super::index::NONE;
use super::limits::{End, Refused, count};
use super::list::UNPROVEN;
use super::tcp::{self, Segment, Side};
use super::{Hit, Key, Table, slot, time};
use crate::limit::{Admitted, Ask, Bucket, Short};
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

/// How a connection began whose flow begins later: a cookie stood for it until its client had
/// answered.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// The client's SYN, the answer, and the acknowledgement of that.
    pub segments: [Segment; 3],
    /// It had a flow before, to another server: rates do not hold for it again.
    pub is_again: bool,
}

impl Table {
    /// Whether a flow may begin, as far as its service and its source go. Nothing is taken yet:
    /// this is for who chooses a server only then, so that what is refused costs no server
    /// anything. Neither `reply` nor the server of `tag` is looked at.
    ///
    /// # Errors
    ///
    /// [`Refused`], counted.
    pub fn admit(&mut self, new: &New<'_>, now: Instant) -> Result<(), Refused> {
        let entry = self.judge(new, is_new(new), now).map(|_| ());
        entry.map_err(|why| self.refuse(why))
    }

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
        ended: &mut impl FnMut(u32, &Flow, End),
    ) -> Result<Hit, Refused> {
        self.open_if(new, now, || Ok(()), ended)
    }

    /// The same where `may` has a say, which is asked last: of what could begin nothing it is asked
    /// nothing.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and those of `may`, which are not counted here.
    pub fn open_if<R: From<Refused>>(
        &mut self,
        new: &New<'_>,
        now: Instant,
        may: impl FnOnce() -> Result<(), R>,
        ended: &mut impl FnMut(u32, &Flow, End),
    ) -> Result<Hit, R> {
        let ready = self.prepare_open(new, is_new(new), now).map_err(|why| self.refuse(why))?;
        may()?;
        Ok(self.open_ready(new, ready, now, ended).map_err(|why| self.refuse(why))?)
    }

    /// Opens a flow whose packets get [other numbers](crate::splice) too. It is established, and
    /// proven. The numbers of `new` do not count: those of `handshake` do.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_spliced(
        &mut self,
        new: &New<'_>,
        handshake: &Handshake,
        now: Instant,
        ended: &mut impl FnMut(u32, &Flow, End),
    ) -> Result<Hit, Refused> {
        let [syn, syn_ack, ack] = &handshake.segments;
        let new = New { direction: Direction::Original, segment: Some(syn), ..*new };
        let opened = self
            .prepare_open(&new, !handshake.is_again, now)
            .and_then(|ready| self.open_ready(&new, ready, now, ended));
        let hit = opened.map_err(|why| self.refuse(why))?;
        // As if it had been tracked from its first segment on.
        let _ = self.track(Hit { direction: Direction::Reply, ..hit }, Some(syn_ack), now, ended);
        let _ = self.track(hit, Some(ack), now, ended);
        if let Some(flow) = self.flows.get_mut(hit.index as usize) {
            flow.translation = Translation::Spliced;
        }
        Ok(hit)
    }

    #[cold]
    fn refuse(&mut self, why: Refused) -> Refused {
        count(&mut self.counters.refused, why as usize);
        why
    }

    /// Whether a flow may begin, whose keys are nobody's. Nothing is taken yet.
    #[inline(always)]
    fn prepare_open(&self, new: &New<'_>, is_new: bool, now: Instant) -> Result<Ready, Refused> {
        let (original, reply) = (self.lookup(new.original), self.lookup(new.reply));
        let is_taken = |lookup| self.found(lookup).is_some();
        if new.original == new.reply || is_taken(&original) || is_taken(&reply) {
            return Err(Refused::Taken);
        }
        Ok(Ready { hashes: [original.hash, reply.hash], entry: self.judge(new, is_new, now)? })
    }

    /// Opens a flow that may begin, as was found just before.
    #[inline(always)]
    fn open_ready(
        &mut self,
        new: &New<'_>,
        Ready { hashes, entry }: Ready,
        now: Instant,
        ended: &mut impl FnMut(u32, &Flow, End),
    ) -> Result<Hit, Refused> {
        let Entry { beginning, bucket, source } = entry;
        if let Some(served) = self.services.get_mut(usize::from(new.tag.service)) {
            served.bucket = bucket;
        }
        let has_place = source.is_none_or(|source| self.sources.take(&source));
        let is_held = has_place && self.holds();
        let opened = self.make_room(ended).and_then(|()| self.place(new, hashes, beginning, is_held, now));
        if opened.is_err() && is_held {
            self.sources.give_back(new.original.host());
        }
        self.counters.uncounted = self.counters.uncounted.wrapping_add((opened.is_ok() && !has_place).into());
        opened
    }

    /// Whether a flow may begin, and how; rates hold for one that is new.
    fn judge(&self, new: &New<'_>, is_new: bool, now: Instant) -> Result<Entry, Refused> {
        let served = self.services.get(usize::from(new.tag.service)).ok_or(Refused::NoService)?;
        let beginning = beginning(new, served.service.picks_up).ok_or(Refused::NoBeginning)?;
        if served.flows >= served.service.flows {
            return Err(Refused::ServiceFull);
        }
        let source = self.limits.has_sources().then(|| self.admit_source(new, is_new, now)).transpose()?;
        let taken = || served.bucket.taken(served.pace, now.as_nanos()).ok_or(Refused::ServiceRate);
        Ok(Entry { beginning, bucket: if is_new { taken()? } else { served.bucket }, source })
    }

    /// Whether its source may begin it.
    fn admit_source(&self, new: &New<'_>, is_new: bool, now: Instant) -> Result<Admitted, Refused> {
        let ask = Ask { token: is_new, hold: self.holds() };
        self.sources.admit(new.original.host(), ask, now).map_err(|short| match short {
            Short::Room => Refused::SourceFull,
            Short::Tokens => Refused::SourceRate,
        })
    }

    /// Whether sources hold their flows: those without a limit would take places for nothing.
    const fn holds(&self) -> bool {
        self.limits.source_flows < u32::MAX
    }

    /// Sees to it that there is a free place.
    fn make_room(&mut self, ended: &mut impl FnMut(u32, &Flow, End)) -> Result<(), Refused> {
        if self.free == NONE || self.unproven >= self.limits.unproven {
            let oldest = self.lists.head(UNPROVEN).ok_or(Refused::Full)?;
            self.end(oldest, End::Evicted, ended);
        }
        Ok(())
    }

    /// Puts a flow into a free place.
    fn place(
        &mut self,
        new: &New<'_>,
        [original, reply]: [u64; 2],
        Beginning { state, sides }: Beginning,
        is_held: bool,
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
        let known = Flow::new(new.original, new.reply, new.tag);
        *flow = Flow { sides, state, seen: time::seconds(now), is_held, ..known };
        self.lists.push(&mut self.flows, UNPROVEN, index);
        self.len = self.len.wrapping_add(1);
        self.unproven = self.unproven.wrapping_add(1);
        if let Some(served) = self.services.get_mut(usize::from(new.tag.service)) {
            served.flows = served.flows.wrapping_add(1);
        }
        self.counters.opened = self.counters.opened.wrapping_add(1);
        Ok(Hit { index, direction: new.direction })
    }
}

/// That a flow may begin. Nothing is taken yet.
struct Entry {
    beginning: Beginning,
    /// What its service's bucket then has.
    bucket: Bucket,
    /// What its source then has; nothing is kept of sources without a limit.
    source: Option<Admitted>,
}

/// The same, and where it will be.
struct Ready {
    hashes: [u64; 2],
    entry: Entry,
}

/// How a flow begins.
struct Beginning {
    state: State,
    sides: [Side; 2],
}

/// Whether it begins with its first packet.
fn is_new(new: &New<'_>) -> bool {
    new.segment.is_none_or(Segment::is_syn)
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
