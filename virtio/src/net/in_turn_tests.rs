use std::collections::BTreeSet;
use std::vec::Vec;

use paravane_hal::dma::DeviceDma;
use paravane_mock_hal::{ChangingLoads, MockPlatform};
use paravane_net::{FrameLayout, FramePool};
use proptest::prelude::*;

use super::*;
use crate::ring::referee::Referee;
use crate::ring::{AnyRing, Format};

const ENTRIES: u16 = 64;
const FRAMES: u32 = 512;

struct Silent;

impl Doorbell for Silent {
    fn ring(&self) {}
}

/// Rings of both formats, the packed one of a length that split rings do not have.
fn rings() -> [(u16, Format); 3] {
    let packed = Format { packed: true, event_idx: false };
    [(ENTRIES, Format::default()), (ENTRIES, packed), (ENTRIES - 7, packed)]
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

    /// Posts as a driver does, what there is room for, and has the device look. The lengths that
    /// were posted.
    fn post(&mut self, frames: u16) {
        let mut burst = Burst::new();
        for _ in 0..frames {
            let frame = self.frame();
            burst.push(frame).unwrap();
        }
        let prepare = |frame: &mut Frame| {
            let len_bytes = u32::try_from(frame.segment_bytes()).unwrap();
            Some(Segment { addr: frame.dma_addr(), len_bytes, writable: false })
        };
        let mut posted = 0;
        while !burst.is_empty() && self.queue.room() > 0 {
            posted += match burst.len() {
                1 => u16::from(self.queue.post_front(&mut burst, prepare)),
                _ => self.queue.post_run(&mut burst, prepare),
            };
        }
        self.look(posted, 1);
    }

    fn post_chain(&mut self, segments: u16) -> bool {
        let mut chain = self.frame();
        for _ in 1..segments {
            let mut front = self.frame();
            front.set_next(chain);
            chain = front;
        }
        let posted = self.queue.post_frame(chain, |piece, _| {
            let len_bytes = u32::try_from(piece.len_bytes()).unwrap();
            Some(Segment { addr: piece.dma_addr(), len_bytes, writable: false })
        });
        self.look(posted.is_ok().into(), segments);
        posted.is_ok()
    }

    /// The device reads what was offered: exactly `chains`, each of `descriptors` that it does not
    /// have yet.
    fn look(&mut self, chains: u16, descriptors: u16) {
        let fetched = {
            self.queue.publish();
            self.device.fetch(self.queue.ring())
        };
        assert_eq!(fetched.len(), usize::from(chains));
        assert!(fetched.iter().all(|chain| chain.segments.len() == usize::from(descriptors)));
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
    burst.push(frame).unwrap();
    assert!(bench.queue.post_front(&mut burst, |frame| Some(Segment {
        addr: frame.dma_addr(),
        len_bytes: 1,
        writable: false
    })));
    assert_eq!(first_place(&bench, false), 7);
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

proptest! {
    /// Whatever is posted and in whatever order it is used: each descriptor is in one chain, and
    /// each frame comes home when its chain is used, not before.
    #[test]
    fn any_order_is_served(
        ring in prop::sample::select(rings().to_vec()),
        steps in proptest::collection::vec(
            (1_u16..=32, 0_u16..=5, proptest::collection::vec(any::<prop::sample::Index>(), 0..40), 0_u8..4),
            1..24,
        ),
    ) {
        let mut bench = Bench::new(ring);
        for (frames, segments, order, how) in steps {
            bench.post(frames);
            if segments > 0 {
                bench.post_chain(segments);
            }
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
