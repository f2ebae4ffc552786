use std::collections::BTreeSet;
use std::vec::Vec;

use paravane_hal::dma::DeviceDma;
use paravane_mock_hal::{ChangingLoads, MockPlatform};
use paravane_net::{FrameLayout, FramePool, FrameSegment};
use proptest::prelude::*;

use super::*;
use crate::ring::referee::{Piece, Referee, piece as sees};
use crate::ring::{AnyRing, Format};

const ENTRIES: u16 = 64;
const FRAMES: u32 = 512;

struct Silent;

impl Doorbell for Silent {
    fn ring(&self, _: impl FnOnce() -> u16) {}
}

/// Rings of both formats, the packed one of a length that split rings do not have.
fn rings() -> [(u16, Format); 3] {
    let packed = Format { packed: true, ..Format::default() };
    [(ENTRIES, Format::default()), (ENTRIES, packed), (ENTRIES - 7, packed)]
}

/// Says of each segment where it lies, and nothing else. Frames with an empty one it drops.
struct Bare;

fn bare(piece: FrameSegment<'_>) -> Segment {
    Segment { addr: piece.dma_addr(), len_bytes: piece.len_bytes().try_into().unwrap(), writable: false }
}

impl Post for Bare {
    fn plain(&self, frame: FrameSegmentMut<'_>) -> Option<Segment> {
        let first = frame.look();
        first.next().is_none().then(|| bare(first))
    }

    fn several<'r, R: Run<'r>>(&mut self, _frame: FrameSegmentMut<'_>, _run: &mut R) -> bool {
        false
    }

    fn posted(&mut self, _frames: usize, _bytes: u64) {}

    fn other<'r, R: Run<'r>>(&mut self, frame: Frame, run: &mut R) -> Result<Option<Frame>, Frame> {
        let before = run.clone();
        for (at, piece) in frame.segments().enumerate() {
            if piece.len_bytes() == 0 {
                run.give_up(before);
                return Ok(None);
            }
            if !run.part(bare(piece), at == 0, piece.next().is_some()) {
                run.give_up(before);
                return Err(frame);
            }
        }
        run.chained(&before);
        Ok(Some(frame))
    }
}

/// A queue, and a device that knows only what the shared memory says.
struct Bench {
    pool: FramePool,
    queue: Virtqueue<InTurn, MockPlatform, Silent>,
    device: Referee,
    /// Every frame has a length of its own, by which it is known.
    next_bytes: u16,
}

impl Bench {
    fn new((entries, format): (u16, Format)) -> Self {
        let platform = MockPlatform::new();
        let pool = FramePool::new(platform.clone(), FrameLayout::new(FRAMES)).unwrap();
        let of = DeviceDma::new(platform, DeviceTag::unique(), 64);
        let mut queue = Virtqueue::new(&of, QueueSize::new(entries).unwrap(), format, Silent).unwrap();
        let device = Referee::new(queue.parts().0, 0);
        Self { pool, queue, device, next_bytes: 1 }
    }

    fn frame(&mut self) -> Frame {
        let mut frame = self.pool.get().unwrap();
        assert!(frame.set_segment_bytes(self.next_bytes.into()));
        self.next_bytes = self.next_bytes % 1900 + 1;
        frame
    }

    fn frame_of(&mut self, segments: u16) -> Frame {
        let mut chain = self.frame();
        for _ in 1..segments {
            let mut front = self.frame();
            front.set_next(chain);
            chain = front;
        }
        chain
    }

    /// Posts frames of so many segments each as a driver does, what there is room for, and has the
    /// device look. How many were posted.
    fn post_frames(&mut self, segments: impl IntoIterator<Item = u16>) -> usize {
        let (mut burst, mut pieces) = (Burst::new(), Vec::new());
        for segments in segments {
            let frame = self.frame_of(segments);
            pieces.push(frame.segments().map(|piece| sees(&bare(piece))).collect::<Vec<_>>());
            burst.push(frame);
        }
        let mut left = usize::MAX;
        while burst.len() < left {
            left = burst.len();
            self.queue.post(&mut burst, &mut Bare);
        }
        pieces.truncate(pieces.len() - burst.len());
        self.look(&pieces);
        pieces.len()
    }

    fn post(&mut self, frames: u16) {
        self.post_frames((0..frames).map(|_| 1));
    }

    fn post_chain(&mut self, segments: u16) -> bool {
        self.post_frames([segments]) == 1
    }

    /// The device reads what was offered: exactly these pieces, in descriptors that it does not
    /// have yet.
    fn look(&mut self, pieces: &[Vec<Piece>]) {
        let fetched = {
            self.queue.publish();
            self.device.fetch(self.queue.ring())
        };
        assert!(fetched.iter().map(|chain| &chain.segments).eq(pieces));
        let has = self.device.chains();
        let descriptors = || has.iter().flat_map(|chain| &chain.places);
        let distinct: BTreeSet<&u16> = descriptors().collect();
        assert_eq!(distinct.len(), descriptors().count(), "a descriptor of two chains");
        let lengths: BTreeSet<u32> = has.iter().map(|chain| chain.segments[0].1).collect();
        assert_eq!(lengths.len(), has.len(), "a frame in two chains");
    }

    /// The device is done with the chains at these places of what it has, and the driver takes
    /// them.
    fn send(&mut self, which: impl IntoIterator<Item = usize>) {
        let mut sent = 0;
        for at in which {
            let chain = self.device.take(at);
            self.device.complete(self.queue.ring(), &chain, chain.id.into(), 0);
            sent += 1;
        }
        self.takes(sent);
    }

    /// The device is done with the first of what it has, so many at a time, and speaks of the last
    /// of these alone.
    fn send_together(&mut self, counts: impl IntoIterator<Item = usize>) {
        let mut sent = 0;
        for count in counts {
            let chains: Vec<_> = (0..count).map(|_| self.device.take(0)).collect();
            self.device.complete_all(self.queue.ring(), &chains, chains[count - 1].id.into(), 0);
            sent += u16::try_from(count).unwrap();
        }
        self.takes(sent);
    }

    /// The driver takes so many that were sent.
    fn takes(&mut self, sent: u16) {
        let waiting = self.queue.observe().unwrap();
        assert_eq!(self.queue.take_sent(waiting).unwrap(), sent);
        let held: usize = self.device.chains().iter().map(|chain| chain.segments.len()).sum();
        assert_eq!(self.pool.free() + held, FRAMES as usize, "all home but what the device has");
        assert_eq!(self.queue.in_flight(), self.device.has());
    }
}

#[test]
fn a_lap_of_single_descriptors_is_written_once() {
    let mut bench = Bench::new((ENTRIES, Format::default()));
    for _ in 0..4 {
        bench.post(32);
        bench.send([0; 32]);
    }
    let first_place = |bench: &Bench, spoil: bool| match bench.queue.ring() {
        AnyRing::Split(ring) => {
            let place = &ring.memory().avail_run(0, 1)[0];
            if spoil {
                place.store(7);
            }
            place.load()
        }
        AnyRing::Packed(_) => unreachable!("it was made"),
    };
    // What a lap before wrote is left as it is, so what is spoilt stays so.
    assert_eq!(first_place(&bench, true), 7);
    let mut burst = Burst::new();
    let frame = bench.frame();
    burst.push(frame);
    bench.queue.post(&mut burst, &mut Bare);
    assert!(burst.is_empty());
    assert_eq!(first_place(&bench, false), 7);
}

/// Of a frame that is given up when some of it is described, the device sees nothing, whatever is
/// posted in its place; also where it goes round the end of the ring.
#[test]
fn what_is_given_up_leaves_no_trace() {
    for ring in rings() {
        for start in [0, ring.0 - 3, ring.0 - 2, ring.0 - 1] {
            let mut bench = Bench::new(ring);
            for _ in 0..start {
                bench.post(1);
                bench.send([0]);
            }
            let mut burst = Burst::new();
            let mut pieces = Vec::new();
            for gives_up in [false, true, false, true] {
                let mut frame = bench.frame_of(if gives_up { 3 } else { 1 });
                if gives_up {
                    let mut empty = bench.frame();
                    assert!(empty.set_segment_bytes(0));
                    frame.extend(empty);
                } else {
                    pieces.push(frame.segments().map(|piece| sees(&bare(piece))).collect::<Vec<_>>());
                }
                burst.push(frame);
            }
            while !burst.is_empty() {
                bench.queue.post(&mut burst, &mut Bare);
            }
            bench.look(&pieces);
            bench.send([0, 0]);
            bench.post_frames([2, 1, 3]);
            bench.send([0, 0, 0]);
        }
    }
}

#[test]
fn what_is_used_out_of_turn_is_home_at_once_and_its_descriptors_later() {
    for (entries, format) in rings() {
        let mut bench = Bench::new((entries, format));
        bench.post(4);
        bench.send([3, 1]);
        assert_eq!(bench.queue.room(), entries - 4);
        bench.send([0]);
        assert_eq!(bench.queue.room(), entries - 2);
        bench.send([0]);
        assert_eq!(bench.queue.room(), entries);
    }
}

#[test]
fn what_the_device_does_not_have_breaks_the_queue() {
    let unknown = |ring: (u16, Format), id: u32| {
        let mut bench = Bench::new(ring);
        bench.post(3);
        assert!(bench.post_chain(3));
        // Descriptor 1 is used, out of turn.
        bench.send([1]);
        let chain = bench.device.take(0);
        bench.device.complete(bench.queue.ring(), &chain, id, 0);
        let waiting = bench.queue.observe().unwrap();
        let fault = bench.queue.take_sent(waiting).unwrap_err();
        assert_eq!(bench.queue.check(), Err(fault));
        fault
    };
    for (entries, format) in rings() {
        for index in [1, 4, 5, 6, entries - 1] {
            let index = index.into();
            assert_eq!(unknown((entries, format), index), DeviceFault::NotInFlight { index });
        }
        // A packed ring has no room for more than 16 bits.
        let larger = [65_536, 65_536 + 2, u32::MAX];
        let larger = larger.into_iter().filter(|_| !format.packed);
        for index in larger.chain([entries.into(), 65_535]) {
            let entries = u32::from(entries);
            let ring = (u16::try_from(entries).unwrap(), format);
            assert_eq!(unknown(ring, index), DeviceFault::IndexOutOfRange { index, entries });
        }
    }
}

/// What the device says may change from look to look. What it never said is lent still.
#[test]
fn what_loads_that_change_do_not_name_stays_lent() {
    for ring in rings() {
        let mut changed = 0;
        for seed in 0..400 {
            let mut bench = Bench::new(ring);
            for _ in 0..3 {
                bench.post(3);
            }
            for _ in 0..3 {
                let chain = bench.device.take(0);
                bench.device.complete(bench.queue.ring(), &chain, chain.id.into(), 0);
            }
            let loads = ChangingLoads::armed(seed).first_too(4);
            let _ = bench.queue.take_sent(3);
            changed += loads.changed();
            drop(loads);
            let (home, in_flight) = (bench.pool.free(), bench.queue.in_flight());
            assert_eq!(
                home + in_flight,
                FRAMES as usize,
                "seed {seed}: what is in flight is lent, and no more"
            );
        }
        assert!(changed > 100, "{changed} loads were changed");
    }
}

/// What comes of a device that has so many chains of one to five descriptors, is done with `count`,
/// and calls the last of them `id`.
fn batch_fault((entries, format): (u16, Format), count: usize, id: u32) -> DeviceFault {
    let mut bench = Bench::new((entries, Format { in_order: true, ..format }));
    bench.post_frames([1, 1, 5, 2, 1]);
    let chains: Vec<_> = (0..count).map(|_| bench.device.take(0)).collect();
    bench.device.complete_all(bench.queue.ring(), &chains, id, 0);
    let waiting = bench.queue.observe().unwrap();
    let fault = bench.queue.take_sent(waiting).unwrap_err();
    assert_eq!(bench.pool.free(), FRAMES as usize - 10, "nothing came home");
    fault
}

#[test]
fn a_batch_names_a_frame_that_is_there_and_counted() {
    for ring in rings() {
        // Within a chain, behind the last one, and nowhere.
        assert_eq!(batch_fault(ring, 2, 4), DeviceFault::NotInFlight { index: 4 });
        assert_eq!(batch_fault(ring, 2, 10), DeviceFault::NotInFlight { index: 10 });
        let entries = u32::from(ring.0);
        assert_eq!(batch_fault(ring, 2, entries), DeviceFault::IndexOutOfRange { index: entries, entries });
        if !ring.1.packed {
            assert_eq!(batch_fault(ring, 2, 2), BATCH_TOO_LONG);
            assert_eq!(batch_fault(ring, 4, 9), BATCH_TOO_LONG);
        }
    }
}

proptest! {
    /// However many frames the device says it sent at a time: they come home together, and those
    /// behind them do not.
    #[test]
    fn any_batches_are_served_in_order(
        ring in prop::sample::select(rings().to_vec()),
        steps in proptest::collection::vec(
            (
                proptest::collection::vec(prop_oneof![4 => Just(1_u16), 1 => 2_u16..=5], 1..=32),
                proptest::collection::vec(1_usize..12, 0..8),
            ),
            1..24,
        ),
    ) {
        let mut bench = Bench::new((ring.0, Format { in_order: true, ..ring.1 }));
        let mut next = 0;
        for (segments, counts) in steps {
            let posted = bench.post_frames(segments);
            let chains = bench.device.chains();
            for place in chains[chains.len() - posted..].iter().flat_map(|chain| &chain.places) {
                prop_assert_eq!(*place, next);
                next = (next + 1) % ring.0;
            }
            let mut left = bench.device.has();
            let fitting = counts.into_iter().map_while(|count| {
                left = left.checked_sub(count)?;
                Some(count)
            });
            let counts: Vec<usize> = fitting.collect();
            bench.send_together(counts);
        }
        let left = bench.device.has();
        bench.send_together(Some(left).filter(|left| *left > 0));
        prop_assert_eq!(bench.queue.room(), ring.0);
        prop_assert_eq!(bench.pool.free(), FRAMES as usize);
    }
}

proptest! {
    /// Whatever is posted and in whatever order it is used: each descriptor is in one chain, and
    /// each frame comes home when its chain is used, not before.
    #[test]
    fn any_order_is_served(
        ring in prop::sample::select(rings().to_vec()),
        steps in proptest::collection::vec(
            (
                proptest::collection::vec(prop_oneof![4 => Just(1_u16), 1 => 2_u16..=5], 1..=32),
                proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
                0_u8..4,
            ),
            1..24,
        ),
    ) {
        let mut bench = Bench::new(ring);
        for (segments, order, how) in steps {
            bench.post_frames(segments);
            let mut which: Vec<usize> = Vec::new();
            for (taken, index) in order.iter().enumerate() {
                let left = bench.device.has() - taken;
                if left == 0 {
                    break;
                }
                // Mostly in turn, as devices do.
                which.push(if how == 0 { index.index(left) } else { 0 });
            }
            bench.send(which);
        }
        let left = bench.device.has();
        bench.send(std::iter::repeat_n(0, left));
        prop_assert_eq!(bench.queue.room(), ring.0);
        prop_assert_eq!(bench.pool.free(), FRAMES as usize);
    }
}
