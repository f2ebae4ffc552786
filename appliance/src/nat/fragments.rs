//! Fragments: the first says whose they are, and others are known by it.
//!
//! Nothing is put together here. The first fragment of a datagram has the ports, and is remembered
//! for two seconds; the others go the way that it went. Those that come before it wait for it, four
//! of a datagram, and so many in all. A datagram of which two parts overlap is dropped, as far as
//! it has not gone on: its end would see what no filter saw.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use paravane_hal::time::Instant;
use paravane_net::{Burst, Frame};

use super::part::{Extents, Part};
use crate::flow::{HashKey, Hit, Key, Table};
use crate::packet::wire::PROTOCOL_TCP;
use crate::random::Random;

/// How many wait for the first one of their datagram.
const WAITING: usize = 4;
/// How many datagrams share a row.
const ROW: usize = 4;
/// How long a datagram is remembered.
const REMEMBERED: Duration = Duration::from_secs(2);

/// How many of anything there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FragmentLimits {
    /// Datagrams that are remembered; rounded up to a power of two, 4 at least. The oldest gives
    /// way to the newest.
    pub datagrams: u16,
    /// Frames that wait, of all of them.
    pub waiting: u16,
    /// Whether parts of TCP segments are passed on: no honest sender makes them.
    pub tcp: bool,
}

impl FragmentLimits {
    /// 1024 datagrams, 256 frames, no TCP.
    pub const GENERAL: Self = Self { datagrams: 1024, waiting: 256, tcp: false };
}

/// Why a fragment is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lost {
    /// No packet has a part of that length at that place.
    Place,
    /// It is of TCP.
    Tcp,
    /// It is where another one is; so are those after it.
    Overlap,
    /// Too many wait.
    Full,
    /// Its flow is no more.
    Flow,
    /// The first one did not come.
    Expired,
}

impl Lost {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Place, Self::Tcp, Self::Overlap, Self::Full, Self::Flow, Self::Expired];
}

/// What becomes of a later fragment.
#[derive(Debug)]
pub enum Later {
    /// It goes on, as its flow does in that direction.
    Goes(Frame, Hit),
    /// It is of a packet of no flow.
    Nobodys(Frame),
    /// It waits for the first one.
    Waits,
    /// It is to be dropped.
    Lost(Frame, Lost),
}

/// All datagrams of which parts came lately. Nothing is allocated once it is made.
#[derive(Debug)]
pub struct Fragments {
    rows: Box<[[Datagram; ROW]]>,
    hash_key: HashKey,
    limits: FragmentLimits,
    waiting: usize,
    lost: [u64; Lost::ALL.len()],
}

/// Whose a datagram is.
#[derive(Clone, Copy, Debug)]
enum Owner {
    /// Its first part did not come yet.
    Unknown,
    /// A flow's, with that key then.
    Flow(Hit, Key),
    Nobody,
}

#[derive(Debug)]
struct Datagram {
    packet: Key,
    /// Free from then on.
    until: Instant,
    owner: Owner,
    extents: Extents,
    is_spoilt: bool,
    waiting: [Option<Frame>; WAITING],
}

impl Datagram {
    const FREE: Self = Self {
        packet: Key::NONE,
        until: Instant::from_nanos(0),
        owner: Owner::Unknown,
        extents: Extents::NONE,
        is_spoilt: false,
        waiting: [const { None }; WAITING],
    };

    /// Drops those that wait; how many.
    fn clear(&mut self) -> usize {
        self.waiting.iter_mut().filter_map(Option::take).count()
    }
}

impl Fragments {
    /// None yet.
    #[must_use]
    pub fn new(limits: FragmentLimits, random: &mut Random) -> Self {
        let rows = usize::from(limits.datagrams).div_ceil(ROW).next_power_of_two();
        let rows: Vec<_> = (0..rows).map(|_| [const { Datagram::FREE }; ROW]).collect();
        Self {
            rows: rows.into(),
            hash_key: HashKey::new(random),
            limits,
            waiting: 0,
            lost: [0; Lost::ALL.len()],
        }
    }

    /// Remembers the flow that `hit` is and has that `key`: the one that the first part of a
    /// datagram belongs to. Those that waited for it come to `released`, to go the same way, behind
    /// it.
    ///
    /// # Errors
    ///
    /// [`Lost`], counted: the first part is to be dropped.
    pub fn first(
        &mut self,
        part: &Part,
        hit: Hit,
        key: &Key,
        now: Instant,
        released: &mut Burst,
    ) -> Result<(), Lost> {
        self.set_owner(part, Owner::Flow(hit, *key), now, released)
    }

    /// The same of a first part that is of no flow.
    ///
    /// # Errors
    ///
    /// [`Lost`], counted: the first part is to be dropped.
    pub fn first_of_nobody(&mut self, part: &Part, now: Instant, released: &mut Burst) -> Result<(), Lost> {
        self.set_owner(part, Owner::Nobody, now, released)
    }

    fn set_owner(
        &mut self,
        part: &Part,
        owner: Owner,
        now: Instant,
        released: &mut Burst,
    ) -> Result<(), Lost> {
        let added = self.add(part, now);
        let datagram = added.map_err(|lost| self.count(lost, 1))?;
        let mut waited = 0;
        if let Some(datagram) = self.at(datagram) {
            datagram.owner = owner;
            for frame in datagram.waiting.iter_mut().filter_map(Option::take) {
                released.push(frame);
                waited += 1;
            }
        }
        self.waiting = self.waiting.saturating_sub(waited);
        Ok(())
    }

    /// What becomes of a part that is not the first.
    pub fn later(&mut self, part: &Part, frame: Frame, flows: &Table, now: Instant) -> Later {
        let place = match self.add(part, now) {
            Ok(place) => place,
            Err(lost) => return Later::Lost(frame, self.count(lost, 1)),
        };
        let is_full = self.waiting >= self.limits.waiting.into();
        let Some(datagram) = self.at(place) else { return Later::Lost(frame, Lost::Full) };
        let lost = match &datagram.owner {
            Owner::Nobody => return Later::Nobodys(frame),
            Owner::Flow(hit, key) => {
                let flow = flows.get(hit.index);
                if flow.is_some_and(|flow| flow.key(hit.direction) == key) {
                    return Later::Goes(frame, *hit);
                }
                Lost::Flow
            }
            Owner::Unknown => match datagram.waiting.iter_mut().find(|waiting| waiting.is_none()) {
                Some(waiting) if !is_full => {
                    *waiting = Some(frame);
                    self.waiting = self.waiting.saturating_add(1);
                    return Later::Waits;
                }
                _ => Lost::Full,
            },
        };
        Later::Lost(frame, self.count(lost, 1))
    }

    /// Whether a part may go on at all, whosever it is.
    ///
    /// # Errors
    ///
    /// [`Lost::Tcp`], counted: it is to be dropped.
    pub fn admit(&mut self, part: &Part) -> Result<(), Lost> {
        self.may_be(part).map_err(|lost| self.count(lost, 1))
    }

    fn may_be(&self, part: &Part) -> Result<(), Lost> {
        if part.protocol() == PROTOCOL_TCP && !self.limits.tcp { Err(Lost::Tcp) } else { Ok(()) }
    }

    /// Adds a part to its datagram, and makes one where there is none. Its place.
    fn add(&mut self, part: &Part, now: Instant) -> Result<[usize; 2], Lost> {
        self.may_be(part)?;
        let place = self.place(part, now);
        let Some(datagram) = self.at(place) else { return Err(Lost::Full) };
        if datagram.is_spoilt {
            return Err(Lost::Overlap);
        }
        match datagram.extents.add(part) {
            Some(is_whole) => {
                if is_whole {
                    // Its identification may be another's at once. This part still goes on by it.
                    datagram.until = now;
                }
                Ok(place)
            }
            None => {
                datagram.is_spoilt = true;
                let dropped = datagram.clear();
                self.waiting = self.waiting.saturating_sub(dropped);
                self.count(Lost::Overlap, dropped as u64);
                Err(Lost::Overlap)
            }
        }
    }

    /// The place of a part's datagram: its own, or a new one, for which the oldest gives way.
    fn place(&mut self, part: &Part, now: Instant) -> [usize; 2] {
        let hash = usize::try_from(part.packet.hash(&self.hash_key) & 0xffff).unwrap_or(0);
        // A power of two of rows, so that their number less one is a mask.
        let row_at = hash & self.rows.len().wrapping_sub(1);
        let row = self.rows.get(row_at).map_or(&[][..], |row| row);
        let own = |datagram: &Datagram| datagram.packet == part.packet && datagram.until > now;
        if let Some(at) = row.iter().position(own) {
            return [row_at, at];
        }
        // The one that is free longest, or will be first.
        let oldest = row.iter().enumerate().min_by_key(|(_, datagram)| datagram.until);
        let at = oldest.map_or(0, |(at, _)| at);
        if let Some(datagram) = self.at([row_at, at]) {
            let dropped = datagram.clear();
            let until = now.saturating_add(REMEMBERED);
            *datagram = Datagram { packet: part.packet, until, ..Datagram::FREE };
            self.waiting = self.waiting.saturating_sub(dropped);
            self.count(Lost::Expired, dropped as u64);
        }
        [row_at, at]
    }

    fn at(&mut self, [row, at]: [usize; 2]) -> Option<&mut Datagram> {
        self.rows.get_mut(row)?.get_mut(at)
    }

    /// Drops those that waited in vain; how many. To be called now and then, each second say, and
    /// costs nothing where none waits.
    pub fn poll(&mut self, now: Instant) -> u64 {
        if self.waiting == 0 {
            return 0;
        }
        let over = self.rows.iter_mut().flatten().filter(|datagram| datagram.until <= now);
        let dropped: usize = over.map(Datagram::clear).sum();
        self.waiting = self.waiting.saturating_sub(dropped);
        self.count(Lost::Expired, dropped as u64);
        dropped as u64
    }

    fn count(&mut self, lost: Lost, frames: u64) -> Lost {
        if let Some(count) = self.lost.get_mut(lost as usize) {
            *count = count.wrapping_add(frames);
        }
        lost
    }

    /// How many frames wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many were dropped for that reason.
    #[must_use]
    pub fn lost(&self, lost: Lost) -> u64 {
        self.lost.get(lost as usize).copied().unwrap_or(0)
    }
}
