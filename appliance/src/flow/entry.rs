//! A flow: both directions of what two hosts say to each other.

use paravane_hal::time::Instant;

use super::index::NONE;
use super::key::Key;
use super::tcp::{self, Segment, Side};
use super::time;
use crate::packet::edit::{Change, Rewrite};
use crate::packet::plain::PlainEnds;

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the first one.
    Original = 0,
    /// The other way.
    Reply = 1,
}

impl Direction {
    /// The other one.
    #[must_use]
    #[inline(always)]
    pub const fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    #[inline(always)]
    pub(super) const fn of(bit: u32) -> Self {
        if bit & 1 == 0 { Self::Original } else { Self::Reply }
    }
}

/// How far a flow has come.
///
/// Spec: RFC 9293, 3.3.2, as somebody sees it who stands between the two: of both sides in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// TCP: a SYN came.
    SynSent,
    /// TCP: and was answered by a SYN of the other side.
    SynReceived,
    /// TCP: which was acknowledged.
    Established,
    /// TCP: one side has said its last.
    FinWait,
    /// TCP: and that was acknowledged.
    CloseWait,
    /// TCP: both have said their last.
    LastAck,
    /// TCP: and both know.
    TimeWait,
    /// TCP: one side has cut it off.
    Close,
    /// Others: nothing came back so far.
    Unanswered,
    /// Others: something came back.
    Answered,
    /// Others: and then more was sent.
    Stream,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::Unanswered,
        Self::Answered,
        Self::Stream,
    ];

    /// As status pages have it: the names are those of connection trackers, where these have one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn_sent",
            Self::SynReceived => "syn_recv",
            Self::Established => "established",
            Self::FinWait => "fin_wait",
            Self::CloseWait => "close_wait",
            Self::LastAck => "last_ack",
            Self::TimeWait => "time_wait",
            Self::Close => "close",
            Self::Unanswered => "unreplied",
            Self::Answered => "replied",
            Self::Stream => "assured",
        }
    }
}

/// Whose a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The service, whose timeouts and limits it has.
    pub service: u16,
    /// The server that was chosen for it, by its [place](crate::pool::ServerId::place) in the
    /// service's pool; it keeps that while a connection is counted there.
    pub server: u16,
}

/// One flow, in two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Flow {
    pub(super) keys: [Key; 2],
    pub(super) sides: [Side; 2],
    /// In seconds of the table's time.
    pub(super) seen: u32,
    /// Its neighbours in its list.
    pub(super) before: u32,
    pub(super) after: u32,
    pub(super) tag: Tag,
    pub(super) change: Change,
    pub(super) list: u8,
    pub(super) state: State,
    /// Its source holds it.
    pub(super) is_held: bool,
    pub(super) translation: Translation,
}

/// What becomes of a flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Translation {
    /// They stay as they are.
    None,
    /// They get other ends,
    Ends,
    /// and other numbers too.
    Spliced,
}

/// How long one that is no TCP connection is taken to be open after a packet.
const OTHERS_OPEN_SECONDS: u32 = 5;

/// How long one is.
pub(super) const FLOW_BYTES: usize = 128;
const _: () = assert!(size_of::<Flow>() == FLOW_BYTES);

impl Flow {
    /// A place for one.
    pub(super) const FREE: Self = Self {
        keys: [Key::NONE; 2],
        sides: [Side::NONE; 2],
        seen: 0,
        before: NONE,
        after: NONE,
        tag: Tag { service: 0, server: 0 },
        change: Change::NONE,
        list: super::list::LOOSE,
        state: State::Close,
        is_held: false,
        translation: Translation::None,
    };

    /// One with these keys, in no list yet.
    pub(super) fn new(original: Key, reply: Key, tag: Tag) -> Self {
        let is_same = original.reversed(reply.zone()) == reply;
        let (translation, change) = if is_same {
            (Translation::None, Change::NONE)
        } else {
            (Translation::Ends, change(&original, &reply))
        };
        Self { keys: [original, reply], tag, change, translation, ..Self::FREE }
    }

    /// What its packets in that direction say when they come.
    #[must_use]
    #[inline(always)]
    pub const fn key(&self, direction: Direction) -> &Key {
        let [original, reply] = &self.keys;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// What becomes of the ends of packets in that direction: what comes back is for whom these are
    /// said to be from. `None` where nothing does.
    #[must_use]
    #[inline]
    pub fn rewrite(&self, direction: Direction) -> Option<Rewrite> {
        if !self.is_translated() {
            return None;
        }
        let (back, change) = (self.key(direction.other()), self.change(direction));
        match back.ends_v4() {
            Some(ends) => Some(Rewrite::changing_v4(ends.reversed(), change)),
            None => back.ends_v6().map(|ends| Rewrite::changing_v6(ends.reversed(), change)),
        }
    }

    /// The ends that its plain packets in that direction get; `None` over IPv6, and where they get
    /// other numbers too.
    #[inline(always)]
    pub(crate) fn plain_ends(&self, direction: Direction) -> Option<PlainEnds> {
        let (back, change) = (self.key(direction.other()), self.change(direction));
        let addresses = back.addresses_v4().filter(|_| !self.is_spliced())?.rotate_left(32);
        Some(PlainEnds { addresses, ports: back.ports().rotate_left(16), change })
    }

    /// Says that a packet came which leaves it where it was, as nearly all do: with the numbers of
    /// `segment`, if it is TCP's. False, and nothing changed, of all that
    /// [goes further](super::Table::goes_further), or has to be [tracked](super::Table::track).
    #[inline(always)]
    pub(crate) fn goes_on(&mut self, direction: Direction, segment: &Segment, now: Instant) -> bool {
        let goes_on = self.is_proven()
            && match self.state {
                State::Established => tcp::goes_on(&mut self.sides, direction, segment),
                State::Stream => true,
                _ => false,
            };
        if goes_on {
            self.seen = time::seconds(now);
        }
        goes_on
    }

    /// What becomes of the ends of a packet that is quoted by an ICMP error which goes in that
    /// direction, about one that went the other way: it says again what it said when it came.
    #[must_use]
    pub fn rewrite_quoted(&self, direction: Direction) -> Option<Rewrite> {
        if !self.is_translated() {
            return None;
        }
        let (key, change) = (self.key(direction.other()), self.change(direction));
        match key.ends_v4() {
            Some(ends) => Some(Rewrite::changing_v4(ends, change)),
            None => key.ends_v6().map(|ends| Rewrite::changing_v6(ends, change)),
        }
    }

    /// By how much sums change in that direction.
    #[inline(always)]
    const fn change(&self, direction: Direction) -> Change {
        self.change.reversed_by(direction as u16)
    }

    /// Whether its packets get other ends.
    #[must_use]
    #[inline]
    pub const fn is_translated(&self) -> bool {
        !matches!(self.translation, Translation::None)
    }

    /// Whether they get [other numbers](crate::splice) too.
    #[must_use]
    #[inline(always)]
    pub const fn is_spliced(&self) -> bool {
        matches!(self.translation, Translation::Spliced)
    }

    /// How far it has come.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether its ends are not done with it: of TCP, that they have not both said their last; of
    /// others, which have no end, that something came of late.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        match self.state {
            State::SynSent | State::SynReceived | State::Established | State::FinWait | State::CloseWait => {
                true
            }
            State::LastAck | State::TimeWait | State::Close => false,
            State::Unanswered | State::Answered | State::Stream => {
                time::seconds(now).wrapping_sub(self.seen) < OTHERS_OPEN_SECONDS
            }
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn tag(&self) -> Tag {
        self.tag
    }

    /// Whether both sides have shown that they are there: only then it does not give way to others.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.list != super::list::UNPROVEN
    }

    /// The number of the next byte that the sender of that direction would send, as far as is
    /// known; of TCP.
    #[must_use]
    pub const fn next_sequence(&self, direction: Direction) -> u32 {
        let [original, reply] = &self.sides;
        match direction {
            Direction::Original => original.end,
            Direction::Reply => reply.end,
        }
    }
}

/// By how much packets of the first direction change.
fn change(original: &Key, reply: &Key) -> Change {
    if let (Some(from), Some(back)) = (original.ends_v4(), reply.ends_v4()) {
        return Change::v4(&from, &back.reversed());
    }
    match (original.ends_v6(), reply.ends_v6()) {
        (Some(from), Some(back)) => Change::v6(&from, &back.reversed()),
        _ => Change::NONE,
    }
}
