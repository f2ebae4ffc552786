//! How a TCP connection goes on, as somebody sees it who stands between its ends.
//!
//! Only what its receiver would take moves it: what lies within the window that the other side
//! opened, and acknowledges what was sent. So somebody who can send from the address of an end, but
//! does not see what passes, ends no connection, and keeps none alive.
//!
//! Of each side three numbers are kept: `end`, behind the last byte that it sent; `acked`, the
//! first byte that the other has not acknowledged; and the largest window that it opened.
//!
//! Spec: RFC 9293, 3.10.7; G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter", 2001
//! (the bounds); RFC 5961, 3 (resets).

mod segment;

use super::entry::{Direction, State};
pub use segment::Segment;
use segment::{ACK, FIN, RST, SYN};

/// What is known of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) end: u32,
    acked: u32,
    /// The largest, in units of its scale.
    window: u16,
    scale: u8,
    flags: u8,
}

/// Of [`Side::flags`]: it scales its window, or offers to.
const SCALES: u8 = 1;
/// It has said its last,
const FINISHED: u8 = 1 << 1;
/// which was acknowledged.
const FINISHED_ACKED: u8 = 1 << 2;
/// Something came from it since the flow is known.
const SEEN: u8 = 1 << 3;
/// Its beginning was not seen.
const PICKED_UP: u8 = 1 << 4;

/// No window is larger: its scale is 14 at most.
///
/// Spec: RFC 7323, 2.3.
const MAX_SCALE: u8 = 14;
/// How far behind an acknowledgement may be, where windows are smaller.
const MAX_ACK_BEHIND: u32 = 66_000;

/// Why a packet is none of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalid {
    /// Flags that nobody sends together.
    Flags,
    /// It makes no sense in this state.
    State,
    /// It is not in the window.
    Sequence,
    /// It acknowledges what was not sent, or long before.
    Acknowledgement,
    /// It cuts the connection off, at a place where that cannot be.
    Reset,
}

impl Invalid {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Flags, Self::State, Self::Sequence, Self::Acknowledgement, Self::Reset];
}

/// What a packet does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on; where it was, or further.
    To(State),
    /// It is for its receiver to judge, and changes nothing here.
    Stays,
    /// It would go on with an answer that was not seen here.
    Unheard,
    /// It begins another connection of the same ends, and this one is over.
    Reopens,
    Not(Invalid),
}

/// Whether `a` is behind `b`. Numbers go round.
#[inline(always)]
const fn after(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).cast_signed() < 0
}

impl Side {
    pub(super) const NONE: Self = Self { end: 0, acked: 0, window: 0, scale: 0, flags: 0 };

    /// The one that sends a SYN, or answers one.
    fn of_syn(syn: &Segment) -> Self {
        let (scale, flags) = match syn.scale {
            Some(scale) => (scale.min(MAX_SCALE), SCALES),
            None => (0, 0),
        };
        Self { end: syn.end(), acked: syn.sequence, window: syn.window, scale, flags }
    }

    /// One of which nothing was seen but that it may begin at `next`: what its windows mean is not
    /// known, so they count as the largest.
    const fn unseen(next: u32, window: u16) -> Self {
        Self { end: next, acked: next, window, scale: MAX_SCALE, flags: PICKED_UP }
    }

    /// Whether something came from it since the flow is known.
    pub(super) const fn is_seen(&self) -> bool {
        self.is(SEEN)
    }

    /// Whether its beginning was not seen.
    pub(super) const fn is_picked_up(&self) -> bool {
        self.is(PICKED_UP)
    }

    #[inline(always)]
    const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// How much it takes, one byte at least: that is how its window is asked for.
    #[inline(always)]
    fn window_bytes(&self) -> u32 {
        (u32::from(self.window) << self.scale).max(1)
    }

    /// The window of a SYN is never scaled: from here on, its units are those of others.
    fn settle(&mut self, is_scaled: bool) {
        if is_scaled {
            self.window = self.window.div_ceil(1 << self.scale);
        } else {
            self.scale = 0;
        }
    }
}

/// How a connection begins with a SYN.
pub(super) fn begin(first: &Segment) -> Option<(State, [Side; 2])> {
    let is_syn = first.is_sane() && first.is_syn();
    is_syn.then(|| (State::SynSent, [Side::of_syn(first), Side::NONE]))
}

/// How it goes on that began elsewhere, or whose other half goes elsewhere, with the first segment
/// that is seen here. What a server answers to a SYN counts, whichever it is: a client's end of a
/// connection that nobody here knows does not.
pub(super) fn pick_up(first: &Segment, direction: Direction) -> Option<(State, [Side; 2])> {
    let state = match direction {
        _ if !first.is_sane() => return None,
        _ if first.is_usual() => State::Established,
        Direction::Reply if first.is(RST) => State::Close,
        Direction::Reply if first.is(SYN) && first.is(ACK) => State::SynReceived,
        _ => return None,
    };
    let mut sender = Side::unseen(first.sequence, first.window);
    let mut receiver = Side::unseen(first.acknowledgement, u16::MAX);
    take(&mut sender, &mut receiver, first);
    let state = closing(state, &sender, &receiver);
    Some((state, if direction == Direction::Original { [sender, receiver] } else { [receiver, sender] }))
}

/// What `segment` does to a connection that is in `state`. What it does not do changes no side.
#[inline(always)]
pub(super) fn step(
    state: State,
    [original, reply]: &mut [Side; 2],
    direction: Direction,
    segment: &Segment,
) -> Step {
    let (sender, receiver) = match direction {
        Direction::Original => (original, reply),
        Direction::Reply => (reply, original),
    };
    if !segment.is_usual() {
        return step_rarely(state, sender, receiver, direction, segment);
    }
    match (state, direction) {
        // Its server remembers another connection, and says so: the client cuts that off.
        (State::SynSent, Direction::Reply) => return Step::Stays,
        (State::SynSent, Direction::Original) => return Step::Unheard,
        _ => {}
    }
    if let Err(invalid) = check(sender, receiver, segment) {
        return Step::Not(invalid);
    }
    let is_first_ack = state == State::SynReceived && direction == Direction::Original;
    if is_first_ack && !after(segment.acknowledgement, receiver.acked) {
        return Step::Not(Invalid::Acknowledgement);
    }
    if state == State::Close {
        return Step::Stays;
    }
    take(sender, receiver, segment);
    Step::To(match state {
        State::SynReceived if !is_first_ack && !sender.is_picked_up() => state,
        State::SynReceived => closing(State::Established, sender, receiver),
        _ => closing(state, sender, receiver),
    })
}

/// Does what [`step`] does with a segment that leaves an established connection so: nearly all.
/// False, and nothing changed, of all else.
#[inline(always)]
pub(super) fn goes_on(sides: &mut [Side; 2], direction: Direction, segment: &Segment) -> bool {
    let [original, reply] = &mut *sides;
    let (sender, receiver) = match direction {
        Direction::Original => (original, reply),
        Direction::Reply => (reply, original),
    };
    if sender.is(FINISHED | PICKED_UP) || receiver.is(FINISHED | PICKED_UP) {
        return false;
    }
    let is_right = segment.is_usual() && !segment.is(FIN) && bounds(sender, receiver, segment, false).is_ok();
    if is_right {
        follow(sender, receiver, segment);
    }
    is_right
}

/// The same with one that takes a connection further, from the answer to its SYN to its last
/// segment: how far it is then. `None`, and nothing changed, of all else.
pub(super) fn goes_further(
    state: State,
    sides: &mut [Side; 2],
    direction: Direction,
    segment: &Segment,
) -> Option<State> {
    let is_under_way = matches!(
        state,
        State::SynReceived | State::Established | State::FinWait | State::CloseWait | State::LastAck
    );
    if !is_under_way || !segment.is_usual() {
        return None;
    }
    let mut then = *sides;
    let Step::To(state) = step(state, &mut then, direction, segment) else { return None };
    *sides = then;
    Some(state)
}

/// Whether `segment` lies within the bounds of what its receiver takes.
#[inline(always)]
fn check(sender: &Side, receiver: &Side, segment: &Segment) -> Result<(), Invalid> {
    // Nothing comes after the last.
    if sender.is(FINISHED) && after(segment.end(), sender.end) {
        return Err(Invalid::Sequence);
    }
    bounds(sender, receiver, segment, receiver.is_picked_up())
}

/// The same of one before the last. What is `ahead` of all that was seen may be acknowledged, if
/// not all was seen.
#[inline(always)]
fn bounds(sender: &Side, receiver: &Side, segment: &Segment, ahead: bool) -> Result<(), Invalid> {
    let (sequence, end, acknowledgement) = (segment.sequence, segment.end(), segment.acknowledgement);
    let window = receiver.window_bytes();
    let is_ahead = after(sequence, sender.acked.wrapping_add(window));
    let is_old = after(sender.end.wrapping_sub(window), end);
    if is_ahead || is_old {
        return Err(Invalid::Sequence);
    }
    let behind = sender.window_bytes().max(MAX_ACK_BEHIND);
    let is_acknowledgement = !after(receiver.end.wrapping_sub(behind), acknowledgement)
        && (ahead || !after(acknowledgement, receiver.end));
    if is_acknowledgement { Ok(()) } else { Err(Invalid::Acknowledgement) }
}

/// Keeps what `segment` says, which is right.
#[inline(always)]
fn take(sender: &mut Side, receiver: &mut Side, segment: &Segment) {
    follow(sender, receiver, segment);
    if receiver.is_picked_up() {
        // Sent before anything was seen here, or elsewhere.
        if after(segment.acknowledgement, receiver.end) {
            receiver.end = segment.acknowledgement;
        }
        // What was acknowledged elsewhere is not known here: all of it may be.
        if !receiver.is_seen() {
            sender.acked = sender.end;
        }
    }
    if segment.is(FIN) {
        sender.flags |= FINISHED;
    }
    if receiver.is(FINISHED) && segment.acknowledgement == receiver.end {
        receiver.flags |= FINISHED_ACKED;
    }
}

/// What it says of bytes and windows.
#[inline(always)]
fn follow(sender: &mut Side, receiver: &mut Side, segment: &Segment) {
    if after(segment.end(), sender.end) {
        sender.end = segment.end();
    }
    sender.window = sender.window.max(segment.window);
    if after(segment.acknowledgement, receiver.acked) {
        receiver.acked = segment.acknowledgement;
    }
    sender.flags |= SEEN;
}

/// How far a connection has come that was in `state`, by who has said their last.
#[inline(always)]
fn closing(state: State, a: &Side, b: &Side) -> State {
    if (a.flags | b.flags) & FINISHED == 0 {
        return state;
    }
    match (a.is(FINISHED), b.is(FINISHED)) {
        (true, true) if a.is(FINISHED_ACKED) && b.is(FINISHED_ACKED) => State::TimeWait,
        (true, true) => State::LastAck,
        _ if a.is(FINISHED_ACKED) || b.is(FINISHED_ACKED) => State::CloseWait,
        _ => State::FinWait,
    }
}

/// The same of what begins a connection, or cuts it off, or is nothing at all.
#[cold]
fn step_rarely(
    state: State,
    sender: &mut Side,
    receiver: &mut Side,
    direction: Direction,
    segment: &Segment,
) -> Step {
    match direction {
        _ if !segment.is_sane() => Step::Not(Invalid::Flags),
        _ if segment.is(RST) => reset(state, sender, receiver, direction, segment),
        Direction::Original if segment.is(ACK) => Step::Not(Invalid::State),
        Direction::Original => syn(state, sender, segment),
        Direction::Reply if segment.is(ACK) => syn_ack(state, sender, receiver, segment),
        Direction::Reply => Step::Not(Invalid::State),
    }
}

/// A SYN of who began.
///
/// Spec: RFC 9293, 3.6.1 (one that reopens what waits has a higher number); RFC 5961, 4 (in others,
/// the receiver asks whether it is meant).
fn syn(state: State, sender: &mut Side, segment: &Segment) -> Step {
    match state {
        State::SynSent => {
            *sender = Side::of_syn(segment);
            Step::Stays
        }
        State::Close => Step::Reopens,
        State::TimeWait if after(segment.sequence, sender.end) => Step::Reopens,
        _ => Step::Stays,
    }
}

/// The answer to it.
fn syn_ack(state: State, sender: &mut Side, receiver: &mut Side, segment: &Segment) -> Step {
    // Of one that was picked up, the first is the one that counts.
    if !matches!(state, State::SynSent | State::SynReceived) || sender.is_picked_up() {
        return Step::Stays;
    }
    let acknowledgement = segment.acknowledgement;
    let is_first = state == State::SynSent;
    let is_right = if is_first {
        after(acknowledgement, receiver.acked) && !after(acknowledgement, receiver.end)
    } else {
        acknowledgement == receiver.acked
    };
    if !is_right {
        return Step::Not(Invalid::Acknowledgement);
    }
    // Another one than before is of a server that had forgotten, and begins anew.
    *sender = Side::of_syn(segment);
    let is_scaled = sender.is(SCALES) && receiver.is(SCALES);
    sender.settle(is_scaled);
    if is_first {
        receiver.settle(is_scaled);
    }
    receiver.acked = acknowledgement;
    Step::To(State::SynReceived)
}

/// A reset: it is at a byte that was sent and not acknowledged, or right behind.
fn reset(state: State, sender: &Side, receiver: &Side, direction: Direction, segment: &Segment) -> Step {
    let within = |number: u32, side: &Side| !after(side.acked, number) && !after(number, side.end);
    let is_right = match (state, direction) {
        (State::Close, _) => return Step::Stays,
        (State::SynSent, Direction::Reply) => {
            segment.is(ACK)
                && within(segment.acknowledgement, receiver)
                && segment.acknowledgement != receiver.acked
        }
        _ => within(segment.sequence, sender),
    };
    match state {
        _ if is_right => Step::To(State::Close),
        // It may be about a connection of the same ends before this one.
        State::SynSent | State::SynReceived if direction == Direction::Original => Step::Stays,
        _ => Step::Not(Invalid::Reset),
    }
}

#[cfg(test)]
mod tests;
