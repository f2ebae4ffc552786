//! A wire between two network devices: with delay, loss, reordering and duplication by a seed, and
//! a tap on it.
//!
//! The wire takes what one model sent and gives it to the other. It moves when told
//! ([`Wire::turn`]) and measures time by the platform's clock, so a run with the same seed and the
//! same turns is the same run.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use paravane_hal::time::Clock as _;

use crate::checksum::finish;
use crate::clock::ManualClock;
use crate::fault::Seeded;
use crate::model::virtio::VirtioNet;
use crate::model::vmxnet3::{Sent, Vmxnet3};
use crate::pcap::PcapWriter;

/// What can be at an end of a wire.
pub trait Port {
    /// Frames that it sent since the last call, in order. It has time of its own first.
    fn take_sent(&mut self) -> Vec<Vec<u8>>;
    /// Whether a frame of `len_bytes` would find a buffer.
    fn has_room(&mut self, len_bytes: usize) -> bool;
    /// A frame arrives. Whether it was received.
    fn deliver(&mut self, frame: &[u8]) -> bool;
}

fn lock<T>(model: &Mutex<T>) -> MutexGuard<'_, T> {
    // A model that panicked has failed its test already.
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port for Arc<Mutex<VirtioNet>> {
    fn take_sent(&mut self) -> Vec<Vec<u8>> {
        let mut model = lock(self);
        model.tick();
        model.take_sent().into_iter().map(|sent| complete(sent.checksum(), sent.bytes)).collect()
    }
    fn has_room(&mut self, len_bytes: usize) -> bool {
        lock(self).has_room(len_bytes)
    }
    fn deliver(&mut self, frame: &[u8]) -> bool {
        lock(self).deliver(frame)
    }
}

impl Port for Arc<Mutex<Vmxnet3>> {
    fn take_sent(&mut self) -> Vec<Vec<u8>> {
        let mut model = lock(self);
        model.tick();
        model.take_sent().iter().flat_map(Sent::on_wire).collect()
    }
    fn has_room(&mut self, len_bytes: usize) -> bool {
        lock(self).has_room(len_bytes)
    }
    fn deliver(&mut self, frame: &[u8]) -> bool {
        lock(self).deliver(frame)
    }
}

/// A frame as it goes over a wire: with the checksum that its sender left to the device, summed
/// from the first place on and stored at the second one. Frames that are to be cut travel whole,
/// and without.
fn complete(checksum: Option<(usize, usize)>, mut frame: Vec<u8>) -> Vec<u8> {
    if let Some((start, at)) = checksum {
        finish(&mut frame, start, at);
    }
    frame
}

/// What a wire does to frames. Chances are out of a million, each for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// How long a frame is under way.
    pub delay: Duration,
    /// How often one is lost.
    pub lost_per_million: u32,
    /// How often one arrives twice.
    pub doubled_per_million: u32,
    /// How often one changes places with the next.
    pub reordered_per_million: u32,
    /// What chance starts from.
    pub seed: u64,
}

/// What went over the wire, both ways together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounters {
    /// Frames taken from a device.
    pub sent: u64,
    /// Frames that a device received.
    pub received: u64,
    /// Lost on the way.
    pub lost: u64,
    /// Sent once more.
    pub doubled: u64,
    /// Let by the next one.
    pub reordered: u64,
    /// Arrived and not received: no buffer, and no time to wait for one, or the device did not want
    /// it.
    pub refused: u64,
}

/// Frames on their way in one direction.
#[derive(Debug, Default)]
struct Lane {
    /// When each may arrive, and its bytes.
    under_way: VecDeque<(u64, Vec<u8>)>,
    /// One that lets the next one by.
    behind: Option<Vec<u8>>,
}

/// A wire with a device at each end.
pub struct Wire<A, B> {
    a: A,
    b: B,
    clock: ManualClock,
    habits: Habits,
    chance: Seeded,
    /// From `a` to `b`, and back.
    lanes: [Lane; 2],
    /// Whether a frame waits for a buffer as on a link with flow control. Otherwise it is lost, as
    /// on others.
    waits: bool,
    tap: Option<PcapWriter<Box<dyn Write + Send>>>,
    counters: WireCounters,
}

impl<A, B> fmt::Debug for Wire<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("habits", &self.habits)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl<A: Port, B: Port> Wire<A, B> {
    /// Joins `a` and `b` by a wire that does what `habits` say.
    pub fn new(clock: &ManualClock, a: A, b: B, habits: Habits) -> Self {
        Self {
            a,
            b,
            clock: clock.clone(),
            habits,
            chance: Seeded::new(habits.seed),
            lanes: Default::default(),
            waits: false,
            tap: None,
            counters: WireCounters::default(),
        }
    }

    /// Lets frames wait for a buffer, as on a link with flow control, so that none is lost at the
    /// end.
    #[must_use]
    pub fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// Writes every frame that a device sent to `file`, before anything happens to it.
    ///
    /// # Errors
    ///
    /// Those of `file`.
    pub fn tap(&mut self, file: impl Write + Send + 'static) -> io::Result<()> {
        let file: Box<dyn Write + Send> = Box::new(file);
        self.tap = Some(PcapWriter::new(file)?);
        Ok(())
    }

    /// What went over it.
    #[must_use]
    pub fn counters(&self) -> WireCounters {
        self.counters
    }

    /// How many frames are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.lanes.iter().map(|lane| lane.under_way.len() + usize::from(lane.behind.is_some())).sum()
    }

    /// Takes what was sent, and delivers what is due. Returns how many frames arrived.
    ///
    /// # Errors
    ///
    /// Those of the tap's file.
    pub fn turn(&mut self) -> io::Result<usize> {
        let now_nanos = self.clock.now().as_nanos();
        let sent = [self.a.take_sent(), self.b.take_sent()];
        for (direction, frames) in sent.into_iter().enumerate() {
            for frame in frames {
                if let Some(tap) = &mut self.tap {
                    tap.frame(now_nanos, &frame)?;
                }
                self.accept(direction, frame, now_nanos);
            }
        }
        let before = self.counters.received;
        self.arrive(0, now_nanos);
        self.arrive(1, now_nanos);
        Ok(usize::try_from(self.counters.received - before).unwrap_or(usize::MAX))
    }

    fn accept(&mut self, direction: usize, frame: Vec<u8>, now_nanos: u64) {
        let Habits { delay, lost_per_million, doubled_per_million, reordered_per_million, .. } = self.habits;
        self.counters.sent += 1;
        // Chance is asked the same questions for every frame, so that one habit does not change
        // what another one does.
        let is_lost = self.chance.chance(lost_per_million);
        let is_doubled = self.chance.chance(doubled_per_million);
        let is_reordered = self.chance.chance(reordered_per_million);
        if is_lost {
            self.counters.lost += 1;
            return;
        }
        let due = now_nanos.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX));
        let lane = &mut self.lanes[direction];
        if is_reordered && lane.behind.is_none() {
            self.counters.reordered += 1;
            lane.behind = Some(frame);
            return;
        }
        if is_doubled {
            self.counters.doubled += 1;
            lane.under_way.push_back((due, frame.clone()));
        }
        lane.under_way.push_back((due, frame));
        lane.under_way.extend(lane.behind.take().map(|frame| (due, frame)));
    }

    fn arrive(&mut self, direction: usize, now_nanos: u64) {
        while let Some((_, frame)) =
            self.lanes[direction].under_way.front().filter(|(due, _)| *due <= now_nanos)
        {
            let end: &mut dyn Port = if direction == 0 { &mut self.b } else { &mut self.a };
            // Asked first: a frame that is refused has arrived, and its device counts it.
            if self.waits && !end.has_room(frame.len()) {
                return;
            }
            let is_received = end.deliver(frame);
            self.counters.received += u64::from(is_received);
            self.counters.refused += u64::from(!is_received);
            self.lanes[direction].under_way.pop_front();
        }
    }

    /// Lets frames go that wait for a next one to overtake them, when none will come.
    pub fn drain(&mut self) {
        let now_nanos = self.clock.now().as_nanos();
        for lane in &mut self.lanes {
            lane.under_way.extend(lane.behind.take().map(|frame| (now_nanos, frame)));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::pcap;

    /// An end that sends what it is given and keeps what it gets, while it has room.
    #[derive(Clone, Default)]
    struct End(Arc<Mutex<State>>);

    /// What it sends, what it got, its room, and how many frames it turned away.
    type State = (Vec<Vec<u8>>, Vec<Vec<u8>>, usize, u64);

    impl End {
        fn with_room(room: usize) -> Self {
            let end = Self::default();
            lock(&end.0).2 = room;
            end
        }
        fn send(&self, numbers: std::ops::Range<u32>) {
            lock(&self.0).0.extend(numbers.map(|number| number.to_le_bytes().to_vec()));
        }
        fn got(&self) -> Vec<u32> {
            let got = std::mem::take(&mut lock(&self.0).1);
            got.iter().map(|frame| u32::from_le_bytes(frame[..].try_into().unwrap())).collect()
        }
    }

    impl Port for End {
        fn take_sent(&mut self) -> Vec<Vec<u8>> {
            std::mem::take(&mut lock(&self.0).0)
        }
        fn has_room(&mut self, _len_bytes: usize) -> bool {
            lock(&self.0).2 > 0
        }
        fn deliver(&mut self, frame: &[u8]) -> bool {
            let has_room = self.has_room(frame.len());
            let mut end = lock(&self.0);
            if has_room {
                end.2 -= 1;
                end.1.push(frame.to_vec());
            } else {
                end.3 += 1;
            }
            has_room
        }
    }

    fn joined(habits: Habits) -> (ManualClock, End, End, Wire<End, End>) {
        let (clock, a, b) = (ManualClock::default(), End::with_room(usize::MAX), End::with_room(usize::MAX));
        let wire = Wire::new(&clock, a.clone(), b.clone(), habits);
        (clock, a, b, wire)
    }

    #[test]
    fn a_good_wire_carries_everything_both_ways_in_order() {
        let (_, a, b, mut wire) = joined(Habits::default());
        a.send(0..5);
        b.send(10..13);
        assert_eq!(wire.turn().unwrap(), 8);
        assert_eq!((b.got(), a.got()), (vec![0, 1, 2, 3, 4], vec![10, 11, 12]));
    }

    #[test]
    fn a_frame_has_its_checksum_on_the_wire() {
        let frame = vec![9, 9, 0x12, 0x34, 0x00, 0x07, 0xff];
        // 0x1234 + 0x0007 + 0xff00, folded, is 0x113c.
        assert_eq!(complete(Some((2, 4)), frame.clone()), [9, 9, 0x12, 0x34, 0xee, 0xc3, 0xff]);
        for elsewhere in [None, Some((8, 0)), Some((0, 6))] {
            assert_eq!(complete(elsewhere, frame.clone()), frame);
        }
    }

    #[test]
    fn a_long_wire_takes_its_time() {
        let (clock, a, b, mut wire) = joined(Habits { delay: Duration::from_millis(5), ..Habits::default() });
        a.send(0..2);
        assert_eq!(wire.turn().unwrap(), 0);
        clock.advance(Duration::from_micros(4_999));
        assert_eq!((wire.turn().unwrap(), wire.under_way()), (0, 2));
        clock.advance(Duration::from_micros(1));
        assert_eq!((wire.turn().unwrap(), b.got()), (2, vec![0, 1]));
    }

    #[test]
    fn a_bad_wire_is_as_bad_as_it_says_and_the_same_for_the_same_seed() {
        let run = |seed| {
            let habits = Habits {
                lost_per_million: 100_000,
                doubled_per_million: 50_000,
                reordered_per_million: 20_000,
                seed,
                ..Habits::default()
            };
            let (_, a, b, mut wire) = joined(habits);
            a.send(0..10_000);
            wire.turn().unwrap();
            wire.drain();
            wire.turn().unwrap();
            (b.got(), wire.counters())
        };
        let (got, counters) = run(7);
        assert_eq!(run(7), (got.clone(), counters));
        assert_ne!(run(8).0, got);
        assert!((900..1100).contains(&counters.lost), "{counters:?}");
        assert!((400..520).contains(&counters.doubled), "{counters:?}");
        assert!((140..220).contains(&counters.reordered), "{counters:?}");
        assert_eq!(counters.received, counters.sent - counters.lost + counters.doubled);
        assert_eq!(got.len() as u64, counters.received);
        let swaps = got.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
        assert_eq!(swaps, counters.reordered);
    }

    #[test]
    fn a_full_end_loses_frames_or_makes_them_wait() {
        let run = |waits: bool| {
            let (clock, a, b) = (ManualClock::default(), End::default(), End::with_room(3));
            let mut wire = Wire::new(&clock, a.clone(), b.clone(), Habits::default());
            wire.waits = waits;
            a.send(0..5);
            wire.turn().unwrap();
            wire.turn().unwrap();
            lock(&b.0).2 = 10;
            wire.turn().unwrap();
            let turned_away = lock(&b.0).3;
            (b.got(), wire.counters().refused, turned_away)
        };
        assert_eq!(run(false), (vec![0, 1, 2], 2, 2));
        assert_eq!(run(true), (vec![0, 1, 2, 3, 4], 0, 0), "and nobody noticed that they waited");
    }

    /// A file that is also still here.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_tap_sees_what_was_sent_when_it_was() {
        let (clock, a, b, mut wire) = joined(Habits { lost_per_million: 1_000_000, ..Habits::default() });
        let file = Shared::default();
        wire.tap(file.clone()).unwrap();
        clock.advance(Duration::from_nanos(5));
        a.send(0..1);
        wire.turn().unwrap();
        clock.advance(Duration::from_secs(1));
        b.send(1..2);
        wire.turn().unwrap();
        let frames = pcap::parse(&lock(&file.0)).unwrap();
        let seen: Vec<_> = frames.iter().map(|frame| (frame.at_nanos, frame.bytes[0])).collect();
        assert_eq!(seen, [(5, 0), (1_000_000_005, 1)]);
        assert_eq!((a.got(), b.got()), (vec![], vec![]), "all of it was lost");
    }
}
