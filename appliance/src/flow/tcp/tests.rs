//! Connections between two ends that are played, with somebody in between.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const FIN_ACK: u8 = FIN | ACK;
const SYN_ACK: u8 = SYN | ACK;
const RST_ACK: u8 = RST | ACK;
use Direction::{Original, Reply};

/// What is known of a connection, and takes segments.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Watch {
    state: State,
    sides: [Side; 2],
}

impl Watch {
    fn new(syn: &Segment) -> Self {
        let (state, sides) = begin(syn).unwrap();
        Self { state, sides }
    }

    /// One with client 1001 and server 5001 next.
    fn established() -> Self {
        let mut watch = Self::new(&Segment::test(SYN, 1000, 0, 0));
        assert_eq!(watch.take(Reply, &Segment::test(SYN_ACK, 5000, 1001, 0)), Step::To(State::SynReceived));
        assert_eq!(watch.take(Original, &Segment::test(ACK, 1001, 5001, 0)), Step::To(State::Established));
        watch
    }

    fn take(&mut self, direction: Direction, segment: &Segment) -> Step {
        let before = self.clone();
        let step = step(self.state, &mut self.sides, direction, segment);
        before.goes_on(direction, segment, step, &self.sides);
        match step {
            Step::To(state) => self.state = state,
            Step::Not(_) => assert_eq!(*self, before, "what is not taken changes nothing"),
            _ => {}
        }
        step
    }

    /// The short ways do what the long one did, or nothing.
    fn goes_on(&self, direction: Direction, segment: &Segment, step: Step, after: &[Side; 2]) {
        let mut short = self.clone();
        let goes_on = self.state == State::Established && goes_on(&mut short.sides, direction, segment);
        let is_usual = self.sides.iter().all(|side| side.flags & !(SCALES | SEEN) == 0);
        let stays = step == Step::To(State::Established);
        assert!(goes_on == (is_usual && stays && self.state == State::Established), "{self:?} {segment:?}");
        assert_eq!(short.sides, if goes_on { *after } else { self.sides }, "{self:?} {segment:?}");

        let mut short = self.clone();
        let further = goes_further(self.state, &mut short.sides, direction, segment);
        let is_there = !matches!(self.state, State::SynSent | State::TimeWait | State::Close);
        let wanted = match step {
            Step::To(state) if is_there && segment.is_usual() => Some(state),
            _ => None,
        };
        assert_eq!(further, wanted, "{self:?} {segment:?}");
        assert_eq!(short.sides, if further.is_some() { *after } else { self.sides }, "{self:?} {segment:?}");
    }
}

#[test]
fn a_reset_is_taken_where_its_sender_is_and_nowhere_else() {
    for (sequence, step) in [
        (1000, Step::Not(Invalid::Reset)),
        (1001, Step::To(State::Close)),
        (1002, Step::Not(Invalid::Reset)),
        (1500, Step::Not(Invalid::Reset)),
    ] {
        for flags in [RST, RST_ACK] {
            assert_eq!(Watch::established().take(Original, &Segment::test(flags, sequence, 5001, 0)), step);
        }
    }
    let mut watch = Watch::established();
    watch.take(Reply, &Segment::test(ACK, 5001, 1001, 300));
    for (sequence, is_taken) in [(5000, false), (5001, true), (5150, true), (5301, true), (5302, false)] {
        let step = watch.clone().take(Reply, &Segment::test(RST, sequence, 0, 0));
        assert_eq!(step == Step::To(State::Close), is_taken, "{sequence}");
    }
}

#[test]
fn a_server_that_refuses_says_what_it_refuses() {
    let watch = Watch::new(&Segment::test(SYN, 1000, 0, 0));
    for (flags, acknowledgement, step) in [
        (RST_ACK, 1001, Step::To(State::Close)),
        (RST_ACK, 1000, Step::Not(Invalid::Reset)),
        (RST_ACK, 1002, Step::Not(Invalid::Reset)),
        (RST, 1001, Step::Not(Invalid::Reset)),
    ] {
        assert_eq!(watch.clone().take(Reply, &Segment::test(flags, 0, acknowledgement, 0)), step);
    }
}

#[test]
fn a_syn_is_answered_by_who_acknowledges_it() {
    let watch = Watch::new(&Segment::test(SYN, 1000, 0, 0));
    for (acknowledgement, is_taken) in [(1000, false), (1001, true), (1002, false)] {
        let step = watch.clone().take(Reply, &Segment::test(SYN_ACK, 5000, acknowledgement, 0));
        assert_eq!(step == Step::To(State::SynReceived), is_taken);
    }
    let mut watch = watch;
    assert_eq!(watch.take(Original, &Segment::test(SYN_ACK, 5, 5, 0)), Step::Not(Invalid::State));
    assert_eq!(watch.take(Reply, &Segment::test(SYN, 5, 0, 0)), Step::Not(Invalid::State));
    assert_eq!(watch.take(Original, &Segment::test(ACK, 1001, 5001, 0)), Step::Unheard);
    // With data in it, of which the server took none.
    let mut fast = Watch::new(&Segment::test(SYN, 1000, 0, 500));
    assert_eq!(fast.take(Reply, &Segment::test(SYN_ACK, 5000, 1001, 0)), Step::To(State::SynReceived));
    for (acknowledgement, step) in [
        (5000, Step::Not(Invalid::Acknowledgement)),
        (5002, Step::Not(Invalid::Acknowledgement)),
        (5001, Step::To(State::Established)),
    ] {
        let ack = Segment::test(ACK, 1001, acknowledgement, 500);
        assert_eq!(fast.clone().take(Original, &ack), step, "{acknowledgement}");
    }
}

#[test]
fn a_server_that_remembers_another_connection_is_answered_by_a_reset() {
    // RFC 9293, 3.5.1, figure 9: half-open.
    let mut watch = Watch::new(&Segment::test(SYN, 400, 0, 0));
    assert_eq!(watch.take(Reply, &Segment::test(ACK, 300, 100, 0)), Step::Stays);
    assert_eq!(watch.take(Original, &Segment::test(RST, 100, 0, 0)), Step::Stays);
    assert_eq!(watch.take(Original, &Segment::test(SYN, 400, 0, 0)), Step::Stays);
    assert_eq!(watch.take(Reply, &Segment::test(SYN_ACK, 900, 401, 0)), Step::To(State::SynReceived));
    // And a client that forgot all, of whom the server is sure.
    let mut watch = Watch::established();
    assert_eq!(watch.take(Original, &Segment::test(SYN, 77, 0, 0)), Step::Stays);
    assert_eq!(watch.take(Reply, &Segment::test(ACK, 5001, 1001, 0)), Step::To(State::Established));
    assert_eq!(watch.take(Original, &Segment::test(RST, 1001, 0, 0)), Step::To(State::Close));
    assert_eq!(watch.take(Original, &Segment::test(SYN, 77, 0, 0)), Step::Reopens);
}

#[test]
fn a_server_may_answer_anew() {
    let mut watch = Watch::new(&Segment::test(SYN, 1000, 0, 0));
    watch.take(Reply, &Segment::test(SYN_ACK, 5000, 1001, 0));
    assert_eq!(watch.take(Reply, &Segment::test(SYN_ACK, 9000, 1001, 0)), Step::To(State::SynReceived));
    assert_eq!(watch.take(Original, &Segment::test(ACK, 1001, 9001, 0)), Step::To(State::Established));
    assert_eq!(watch.take(Reply, &Segment::test(SYN_ACK, 9000, 1001, 0)), Step::Stays, "its ACK was lost");
}

#[test]
fn a_waiting_connection_begins_anew_with_a_higher_number() {
    let mut watch = Watch::established();
    watch.take(Original, &Segment::test(FIN_ACK, 1001, 5001, 0));
    watch.take(Reply, &Segment::test(FIN_ACK, 5001, 1002, 0));
    assert_eq!(watch.take(Original, &Segment::test(SYN, 2000, 0, 0)), Step::Stays, "it is not over");
    assert_eq!(watch.take(Original, &Segment::test(ACK, 1002, 5001, 0)), Step::To(State::LastAck));
    assert_eq!(watch.take(Original, &Segment::test(ACK, 1002, 5002, 0)), Step::To(State::TimeWait));
    for (sequence, step) in [(1002, Step::Stays), (900, Step::Stays), (1003, Step::Reopens)] {
        assert_eq!(watch.clone().take(Original, &Segment::test(SYN, sequence, 0, 0)), step);
    }
}

#[test]
fn both_may_say_their_last_at_once() {
    let mut watch = Watch::established();
    assert_eq!(watch.take(Original, &Segment::test(FIN_ACK, 1001, 5001, 0)), Step::To(State::FinWait));
    assert_eq!(watch.take(Reply, &Segment::test(FIN_ACK, 5001, 1001, 0)), Step::To(State::LastAck));
    assert_eq!(watch.take(Original, &Segment::test(ACK, 1002, 5002, 0)), Step::To(State::LastAck));
    assert_eq!(watch.take(Reply, &Segment::test(ACK, 5002, 1002, 0)), Step::To(State::TimeWait));
    let behind = Segment::test(ACK, 1002, 5002, 1);
    assert_eq!(watch.take(Original, &behind), Step::Not(Invalid::Sequence), "after its last");
}

#[test]
fn windows_are_as_wide_as_was_said() {
    for (scales, widest) in
        [([Some(3), Some(2)], 1000 << 2), ([Some(3), None], 1000), ([None, Some(9)], 1000)]
    {
        let with = |mut segment: Segment, scale| {
            segment.scale = scale;
            segment
        };
        let mut watch = Watch::new(&with(Segment::test(SYN, 1000, 0, 0), scales[0]));
        watch.take(Reply, &with(Segment::test(SYN_ACK, 5000, 1001, 0), scales[1]));
        watch.take(Original, &Segment::test(ACK, 1001, 5001, 0));
        // The SYN's own was not scaled.
        let far = Segment::test(ACK, 1001 + 1001, 5001, 0);
        assert_eq!(watch.clone().take(Original, &far), Step::Not(Invalid::Sequence));
        watch.take(Reply, &Segment::test(ACK, 5001, 1001, 0));
        let last = Segment::test(ACK, 1001 + widest, 5001, 0);
        assert_eq!(watch.clone().take(Original, &last), Step::To(State::Established));
        let behind = Segment::test(ACK, 1002 + widest, 5001, 0);
        assert_eq!(watch.take(Original, &behind), Step::Not(Invalid::Sequence));
    }
}

#[test]
fn flags_that_nobody_sends_are_not_taken() {
    for flags in 0_u8..0x40 {
        let is_sane = matches!(flags & 0x17, 0x10 | 2 | 0x12 | 0x11 | 4 | 0x14);
        let step = Watch::established().take(Original, &Segment::test(flags, 1001, 5001, 0));
        assert_eq!(step != Step::Not(Invalid::Flags), is_sane, "{flags:#x}");
    }
}

/// One end: it sends `left` bytes and then its last, and takes what comes in order.
#[derive(Clone, Debug)]
struct Peer {
    acked: u32,
    next: u32,
    last: u32,
    expected: u32,
    others_window: u32,
}

impl Peer {
    fn segment(&self, sequence: u32, len: u32) -> Segment {
        // The last byte is the FIN.
        let has_fin = len > 0 && sequence.wrapping_add(len) == self.last;
        let flags = if has_fin { FIN_ACK } else { ACK };
        Segment::test(flags, sequence, self.expected, len - u32::from(has_fin))
    }

    /// More, as far as the other takes it.
    fn more(&mut self, most: u32) -> Segment {
        let open = self.acked.wrapping_add(self.others_window).wrapping_sub(self.next);
        let len = self.last.wrapping_sub(self.next).min(most).min(open);
        let segment = self.segment(self.next, len);
        self.next = self.next.wrapping_add(len);
        segment
    }

    /// The same again that was not acknowledged.
    fn again(&self, most: u32) -> Segment {
        self.segment(self.acked, self.next.wrapping_sub(self.acked).min(most))
    }

    fn is_next(&self, segment: &Segment) -> bool {
        !after(segment.sequence, self.expected) && after(segment.end(), self.expected)
    }

    /// Whether it takes it at all. Spec: RFC 9293, 3.10.7.4, first.
    fn takes(&self, segment: &Segment) -> bool {
        let is_in_window = !after(self.expected, segment.sequence)
            && !after(segment.sequence, self.expected.wrapping_add(1000));
        is_in_window || self.is_next(segment)
    }

    fn has_use_for(&self, segment: &Segment) -> bool {
        let is_news = self.is_next(segment) || after(segment.acknowledgement, self.acked);
        self.takes(segment) && is_news
    }

    fn take(&mut self, segment: &Segment) {
        if !self.takes(segment) {
            return;
        }
        if self.is_next(segment) {
            self.expected = segment.end();
        }
        if after(segment.acknowledgement, self.acked) {
            self.acked = segment.acknowledgement;
        }
    }

    fn is_done(&self) -> bool {
        self.acked == self.last
    }
}

proptest! {
    /// Segments are lost, come twice, and overtake each other, on either side of who watches.
    #[test]
    fn nothing_is_refused_that_its_receiver_needs(
        isns in any::<[u32; 2]>(),
        lens in [0_u32..9000, 0_u32..9000],
        turns in vec((any::<[bool; 6]>(), 1_u32..700, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut watch = Watch::new(&Segment::test(SYN, isns[0], 0, 0));
        let first = isns.map(|isn| isn.wrapping_add(1));
        watch.take(Reply, &Segment::test(SYN_ACK, isns[1], first[0], 0));
        watch.take(Original, &Segment::test(ACK, first[0], first[1], 0));
        let mut peers = [0, 1].map(|side| Peer {
            acked: first[side],
            next: first[side],
            last: first[side].wrapping_add(lens[side] + 1),
            expected: first[1 - side],
            others_window: 1000,
        });
        let mut under_way: Vec<(usize, Segment)> = Vec::new();
        let arrive = |watch: &mut Watch, peers: &mut [Peer; 2], (side, segment): (usize, Segment), lost| {
            let direction = if side == 0 { Original } else { Reply };
            match watch.take(direction, &segment) {
                Step::To(_) if lost => {}
                Step::To(_) => peers[1 - side].take(&segment),
                Step::Not(_) => prop_assert!(!peers[1 - side].has_use_for(&segment), "{segment:?} {watch:?}"),
                step => prop_assert!(false, "{step:?}"),
            }
            Ok(())
        };
        for ([is_reply, again, waits, twice, lost, lost_later], most, which) in turns {
            let side = usize::from(is_reply);
            let segment = if again { peers[side].again(most) } else { peers[side].more(most) };
            if !lost {
                under_way.push((side, segment));
            }
            if !waits && !under_way.is_empty() {
                let at = which.index(under_way.len());
                let next = if twice { under_way[at] } else { under_way.swap_remove(at) };
                arrive(&mut watch, &mut peers, next, lost_later)?;
            }
        }
        // What is left gets through at last.
        let mut rounds = 0;
        while !peers.iter().all(Peer::is_done) {
            for side in [0, 1] {
                let segments = [peers[side].again(500), peers[side].more(500)];
                for segment in segments {
                    arrive(&mut watch, &mut peers, (side, segment), false)?;
                }
            }
            rounds += 1;
            prop_assert!(rounds < 1000, "it does not get on: {peers:?} {watch:?}");
        }
        prop_assert_eq!(watch.state, State::TimeWait);
    }

    /// Who does not know the numbers changes nothing: what is far from them is not taken.
    #[test]
    fn who_guesses_moves_nothing(
        flags in 0_u8..0x40,
        offset in 70_000_u32..0xffff_0000,
        acknowledgement in any::<u32>(),
        len in 0_u32..1400,
        is_reply in any::<bool>(),
    ) {
        let mut watch = Watch::established();
        let before = watch.clone();
        let (direction, next) = if is_reply { (Reply, 5001_u32) } else { (Original, 1001) };
        let segment = Segment::test(flags, next.wrapping_add(offset), acknowledgement, len);
        let step = watch.take(direction, &segment);
        prop_assert!(matches!(step, Step::Stays | Step::Not(_)), "{step:?}");
        prop_assert_eq!(watch, before);
    }
}
