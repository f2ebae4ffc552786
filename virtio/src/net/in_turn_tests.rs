use std::collections::BTreeSet;
use std::vec::Vec;

use paravane_mock_hal::{ChangingLoads, MockPlatform};
use paravane_net::{FrameLayout, FramePool};
use proptest::prelude::*;

use super::*;
use crate::ring::split::layout::DESC_F_NEXT;
use crate::ring::split::memory::SplitMemory;
use crate::ring::{AnyRing, Format};
use paravane_hal::dma::DeviceDma;

const ENTRIES: u16 = 64;
const FRAMES: u32 = 512;

struct Silent;

impl Doorbell for Silent {
    fn ring(&self) {}
}

/// A queue, and a device that knows only what the shared memory says.
struct Bench {
    pool: FramePool,
    queue: Virtqueue<InTurn, MockPlatform, Silent>,
    /// Every frame has a length of its own, by which it is known.
    next_bytes: u16,
    /// The chains that the device has: heads, with the length of the first descriptor and the
    /// number of descriptors.
    has: Vec<(u16, u32, u16)>,
    seen: u16,
    used: u16,
}

impl Bench {
    fn new() -> Self {
        let platform = MockPlatform::new();
        let pool = FramePool::new(platform.clone(), FrameLayout::new(FRAMES)).unwrap();
        let of = DeviceDma::new(platform, DeviceTag::unique(), 64);
        let queue = Virtqueue::new(&of, QueueSize::new(ENTRIES).unwrap(), Format::default(), Silent).unwrap();
        Self { pool, queue, next_bytes: 1, has: Vec::new(), seen: 0, used: 0 }
    }

    fn memory(&self) -> &SplitMemory<MockPlatform> {
        let AnyRing::Split(ring) = self.queue.ring();
        ring.memory()
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
        assert_eq!(self.queue.in_flight(), self.has.len() + usize::from(chains));
        let mut taken: BTreeSet<u16> = self.has.iter().flat_map(|chain| self.walk(chain.0)).collect();
        for _ in 0..chains {
            let head = self.memory().avail_run(self.seen, 1)[0].load();
            self.seen = self.seen.wrapping_add(1);
            let chain = self.walk(head);
            assert_eq!(chain.len(), usize::from(descriptors));
            assert!(chain.iter().all(|descriptor| taken.insert(*descriptor)), "a descriptor of two chains");
            let first_bytes = self.memory().descriptors()[usize::from(head)].load::<2>();
            self.has.push((head, first_bytes, descriptors));
        }
        let distinct: BTreeSet<u32> = self.has.iter().map(|chain| chain.1).collect();
        assert_eq!(distinct.len(), self.has.len(), "a frame in two chains");
    }

    fn walk(&self, head: u16) -> Vec<u16> {
        let mut chain = std::vec![head];
        loop {
            let word = self.memory().descriptors()[usize::from(*chain.last().unwrap())].load::<3>();
            if word & DESC_F_NEXT == 0 {
                return chain;
            }
            chain.push(u16::try_from(word >> 16).unwrap());
        }
    }

    /// The device writes that it is done with `id`.
    fn complete(&mut self, id: u32) {
        self.memory().used_run(self.used, 1)[0][0].store(id);
        self.used = self.used.wrapping_add(1);
    }

    /// The device is done with the chains at these places of what it has, and the driver takes
    /// them.
    fn send(&mut self, which: impl IntoIterator<Item = usize>) {
        let mut sent = 0;
        for at in which {
            let (head, ..) = self.has.remove(at);
            self.complete(head.into());
            sent += 1;
        }
        assert_eq!(self.queue.take_sent(sent).unwrap(), sent);
        let held: usize = self.has.iter().map(|chain| usize::from(chain.2)).sum();
        assert_eq!(self.pool.free() + held, FRAMES as usize, "all home but what the device has");
        assert_eq!(self.queue.in_flight(), self.has.len());
    }
}

#[test]
fn a_lap_of_single_descriptors_is_written_once() {
    let mut bench = Bench::new();
    for _ in 0..4 {
        bench.post(32);
        bench.send([0; 32]);
    }
    // What a lap before wrote is left as it is, so what is spoilt stays so.
    bench.memory().avail_run(0, 1)[0].store(7);
    let mut burst = Burst::new();
    let frame = bench.frame();
    burst.push(frame).unwrap();
    assert!(bench.queue.post_front(&mut burst, |frame| Some(Segment {
        addr: frame.dma_addr(),
        len_bytes: 1,
        writable: false
    })));
    assert_eq!(bench.memory().avail_run(0, 1)[0].load(), 7);
}

#[test]
fn what_is_used_out_of_turn_is_home_at_once_and_its_descriptors_later() {
    let mut bench = Bench::new();
    bench.post(4);
    bench.send([3, 1]);
    assert_eq!(bench.queue.room(), ENTRIES - 4);
    bench.send([0]);
    assert_eq!(bench.queue.room(), ENTRIES - 2);
    bench.send([0]);
    assert_eq!(bench.queue.room(), ENTRIES);
}

#[test]
fn what_the_device_does_not_have_breaks_the_queue() {
    let unknown = |id: u32| {
        let mut bench = Bench::new();
        bench.post(3);
        assert!(bench.post_chain(3));
        // Descriptor 1 is used, out of turn.
        bench.send([1]);
        bench.complete(id);
        let fault = bench.queue.take_sent(1).unwrap_err();
        assert_eq!(bench.queue.check(), Err(fault));
        fault
    };
    for index in [1, 4, 5, 6, 63] {
        assert_eq!(unknown(index), DeviceFault::NotInFlight { index });
    }
    for index in [64, 65_536, 65_536 + 2, u32::MAX] {
        assert_eq!(unknown(index), DeviceFault::IndexOutOfRange { index, entries: 64 });
    }
}

/// What the device says may change from look to look. What it never said is lent still.
#[test]
fn what_loads_that_change_do_not_name_stays_lent() {
    let mut changed = 0;
    for seed in 0..400 {
        let mut bench = Bench::new();
        for _ in 0..3 {
            bench.post(3);
        }
        for head in 0..3 {
            bench.complete(head);
        }
        let loads = ChangingLoads::armed(seed).first_too(4);
        let _ = bench.queue.take_sent(3);
        changed += loads.changed();
        drop(loads);
        let (home, in_flight) = (bench.pool.free(), bench.queue.in_flight());
        assert_eq!(home + in_flight, FRAMES as usize, "seed {seed}: what is in flight is lent, and no more");
    }
    assert!(changed > 100, "{changed} loads were changed");
}

proptest! {
    /// Whatever is posted and in whatever order it is used: each descriptor is in one chain, and
    /// each frame comes home when its chain is used, not before.
    #[test]
    fn any_order_is_served(
        steps in proptest::collection::vec(
            (1_u16..=32, 0_u16..=5, proptest::collection::vec(any::<prop::sample::Index>(), 0..40), 0_u8..4),
            1..24,
        ),
    ) {
        let mut bench = Bench::new();
        for (frames, segments, order, how) in steps {
            bench.post(frames);
            if segments > 0 {
                bench.post_chain(segments);
            }
            let mut which: Vec<usize> = Vec::new();
            for (taken, index) in order.iter().enumerate() {
                let left = bench.has.len() - taken;
                if left == 0 {
                    break;
                }
                // Mostly in turn, as devices do.
                which.push(if how == 0 { index.index(left) } else { 0 });
            }
            bench.send(which);
        }
        let left = bench.has.len();
        bench.send(std::iter::repeat_n(0, left));
        prop_assert_eq!(bench.queue.room(), ENTRIES);
        prop_assert_eq!(bench.pool.free(), FRAMES as usize);
    }
}
