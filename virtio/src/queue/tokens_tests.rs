use std::collections::BTreeMap;
use std::vec::Vec;

use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceDma, DmaBox};
use paravane_hal::irq::Armed;
use paravane_mock_hal::MockPlatform;
use proptest::prelude::*;

use super::*;
use crate::queue::{BATCH_TOO_LONG, Kick};
use crate::ring::Format;
use crate::ring::referee::{Fetched, Piece, Referee, piece};

struct Silent;

impl Doorbell for Silent {
    fn ring(&self, _: impl FnOnce() -> u16) {}
}

/// Posts a chain of whatever segments.
fn post(
    queue: &mut Virtqueue<Tokens<u64>, MockPlatform, Silent>,
    segments: &[Segment],
    token: u64,
) -> Result<(), u64> {
    queue.submit_each(token, |_, post| segments.iter().for_each(|segment| post(*segment)))
}

/// A queue whose tokens are numbers, and the device that plays against it.
struct Bench {
    queue: Virtqueue<Tokens<u64>, MockPlatform, Silent>,
    device: Referee,
    next: u64,
    /// What each chain in flight was made of.
    lent: BTreeMap<u64, Vec<Piece>>,
    /// Whence the addresses come.
    memory: DmaBox<u8, MockPlatform>,
}

impl Bench {
    fn new(entries: u16, format: Format, start: u16) -> Self {
        // What the device was told of is leaked: nobody here vouches for its silence.
        let platform = MockPlatform::builder().allow_leaks().without_sites().build();
        let of = DeviceDma::new(platform, DeviceTag::unique(), 64);
        let mut queue = Virtqueue::new(&of, QueueSize::new(entries).unwrap(), format, Silent).unwrap();
        let device = Referee::new(queue.parts().0, start);
        let memory = DmaBox::array_zeroed(&of, 0x1_0000, Align::BYTE).unwrap();
        Self { queue, device, next: 0, lent: BTreeMap::new(), memory }
    }

    /// Posts a chain of segments that no other chain has, and has the device fetch it.
    fn submit(&mut self, readable: u16, writable: u16) -> bool {
        let token = self.next;
        let segments: Vec<Segment> = (0..readable + writable)
            .map(|at| Segment {
                addr: self
                    .memory
                    .dma_addr_of(usize::try_from(token * 1031 + u64::from(at)).unwrap() & 0xffff)
                    .unwrap(),
                len_bytes: 1 + u32::from(at) * 3,
                writable: at >= readable,
            })
            .collect();
        if let Err(back) = post(&mut self.queue, &segments, token) {
            assert_eq!(back, token);
            return false;
        }
        assert_ne!(self.queue.publish(), Kick::Nothing);
        let fetched = self.device.fetch(self.queue.ring());
        assert_eq!(fetched.len(), 1, "one chain was offered");
        let pieces: Vec<Piece> = segments.iter().map(piece).collect();
        assert_eq!(fetched[0].segments, pieces);
        self.lent.insert(token, pieces);
        self.next += 1;
        true
    }

    /// The device is done with the chain at this place of what it has, in full.
    fn serve(&mut self, at: usize) {
        let chain = self.device.take(at);
        let written = chain.segments.iter().filter(|piece| piece.2).map(|piece| piece.1).sum();
        self.device.complete(self.queue.ring(), &chain, chain.id.into(), written);
        let (token, bytes) = self.queue.complete().unwrap().expect("one is done");
        assert_eq!(bytes, written);
        assert_eq!(self.lent.remove(&token), Some(chain.segments), "the token of that chain");
        assert_eq!(self.queue.complete(), Ok(None));
    }

    fn fault(&mut self, id: u32, written: u32) -> DeviceFault {
        let chain = self.device.take(0);
        self.device.complete(self.queue.ring(), &chain, id, written);
        let fault = self.queue.complete().unwrap_err();
        assert_eq!(self.queue.complete(), Err(fault), "broken for good");
        fault
    }
}

fn formats() -> impl Iterator<Item = Format> {
    [(false, false), (false, true), (true, false), (true, true)]
        .into_iter()
        .map(|(packed, event_idx)| Format { packed, event_idx, ..Format::default() })
}

#[test]
fn any_chain_comes_back_whole_when_indices_wrap() {
    let cycles = if cfg!(miri) { 10 } else { 3000 };
    for format in formats() {
        let odd = [3_u16, 7, 100, 1000].into_iter().filter(|_| format.packed);
        for entries in [1, 2, 4, 64, 256].into_iter().chain(odd) {
            let mut bench = Bench::new(entries, format, u16::MAX - 3);
            for cycle in 0..cycles {
                let descriptors = 1 + cycle % entries.min(7);
                assert!(bench.submit(descriptors / 2, descriptors - descriptors / 2));
                bench.serve(0);
            }
            assert_eq!(bench.queue.room(), entries);
        }
    }
}

#[test]
fn many_are_in_flight_and_used_in_any_order() {
    let rounds: u16 = if cfg!(miri) { 4 } else { 500 };
    for format in formats() {
        let mut bench = Bench::new(32, format, 65_520);
        for round in 0..rounds {
            while bench.submit(1, round % 4) {}
            assert!(bench.queue.room() < 1 + round % 4);
            let has = bench.device.has();
            for step in 0..has / 2 + 1 {
                bench.serve((usize::from(round) * 7 + step * 5) % (has - step));
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "a quarter of a million descriptors take Miri hours")]
fn the_largest_ring_is_filled_and_emptied() {
    for format in formats() {
        let mut bench = Bench::new(32768, format, 40_000);
        for _ in 0..2 {
            while bench.submit(1000, 24) {}
            assert_eq!(bench.queue.in_flight(), 32);
            while bench.device.has() > 0 {
                bench.serve(bench.device.has() - 1);
            }
        }
        assert_eq!(bench.queue.room(), 32768);
    }
}

#[test]
fn what_is_no_chain_is_refused() {
    for format in formats() {
        let mut bench = Bench::new(4, format, u16::MAX);
        let addr = bench.memory.dma_addr();
        let segment = |len_bytes, writable| Segment { addr, len_bytes, writable };
        let (read, write) = (segment(8, false), segment(8, true));
        let large = segment(u32::MAX, false);
        let refused = [&[write, read][..], &[read; 5], &[large, read], &[large, write], &[read, write, read]];
        // At each place of the ring, in either lap.
        for _ in 0..11 {
            for segments in refused {
                assert_eq!(post(&mut bench.queue, segments, 7), Err(7));
                assert_eq!(bench.queue.publish(), Kick::Nothing);
                assert_eq!(bench.queue.room(), 4);
            }
            // What was refused is not behind what is posted.
            assert!(bench.submit(0, 1));
            bench.serve(0);
        }
        assert_eq!(post(&mut bench.queue, &[large], 7), Ok(()));
    }
}

/// A queue whose chains may be in tables, and what its device finds of a chain.
fn with_tables(entries: u16, format: Format) -> Bench {
    Bench::new(entries, Format { indirect: true, ..format }, u16::MAX)
}

#[test]
fn what_is_no_chain_is_refused_in_a_table_either() {
    for format in formats() {
        let mut bench = with_tables(4, format);
        let descriptors = [2, 4, 5, 8].map(|segments| bench.queue.descriptors_of(segments));
        assert_eq!(descriptors, [1, 1, 5, 8], "no longer than the queue");
        let addr = bench.memory.dma_addr();
        let segment = |len_bytes, writable| Segment { addr, len_bytes, writable };
        let (read, write) = (segment(8, false), segment(8, true));
        let large = segment(u32::MAX, false);
        let refused: [&[Segment]; 5] =
            [&[write, read], &[read; 5], &[large, read], &[large, write], &[read, write, read]];
        for _ in 0..3 {
            for segments in refused {
                let (head, data, tail) =
                    (segments[0], &segments[1..segments.len() - 1], segments[segments.len() - 1]);
                let submitted = bench.queue.submit(2, head, data.iter().copied(), tail, 7);
                assert_eq!(submitted, Err(7));
                assert_eq!(bench.queue.publish(), Kick::Nothing);
                assert_eq!(bench.queue.room(), 4);
            }
            for token in 0..4 {
                assert_eq!(bench.queue.submit(3, read, [read], write, token), Ok(()));
            }
            assert_eq!(bench.queue.submit(2, read, [], write, 9), Err(9), "the ring is full");
            assert_ne!(bench.queue.publish(), Kick::Nothing);
            assert_eq!(bench.device.fetch(bench.queue.ring()).len(), 4);
            for token in [3, 0, 1, 2] {
                let at = bench.device.chains().iter().position(|chain| chain.places.len() == 1).unwrap();
                let chain = bench.device.take(at);
                bench.device.complete(bench.queue.ring(), &chain, chain.id.into(), 8);
                let (_, bytes) = bench.queue.complete().unwrap().expect("one is done");
                assert_eq!(bytes, 8, "{token}");
            }
        }
    }
}

/// Spec: VIRTIO 1.2, 2.7.5 (links and flags) and 2.8.7 (flags alone, of which there is one).
#[test]
fn a_table_is_written_as_its_ring_has_it() {
    for format in formats() {
        let mut bench = with_tables(8, format);
        let addr = bench.memory.dma_addr();
        let segment = |len_bytes, writable| Segment { addr, len_bytes, writable };
        let (head, data, tail) =
            (segment(16, false), [segment(512, true), segment(7, true)], segment(1, true));
        assert_eq!(bench.queue.submit(4, head, data, tail, 1), Ok(()));
        bench.queue.publish();
        let [fetched] = &bench.device.fetch(bench.queue.ring())[..] else { panic!("one chain") };
        let (table, at) = bench.queue.tables.as_ref().unwrap().of(fetched.id).unwrap();
        assert_eq!(fetched.segments, [(at.get(), 4 * 16, false)]);
        let written = table.iter().take(4).map(|entry| {
            let word = entry.load::<3>();
            let (flags, next) =
                if format.packed { (word >> 16, word & 0xffff) } else { (word & 0xffff, word >> 16) };
            assert_eq!(entry.load_pair::<0>(), addr.get());
            (entry.load::<2>(), flags, next)
        });
        let written: Vec<_> = written.collect();
        if format.packed {
            assert_eq!(written, [(16, 0, 0), (512, 2, 0), (7, 2, 0), (1, 2, 0)]);
        } else {
            assert_eq!(written, [(16, 1, 1), (512, 3, 2), (7, 3, 3), (1, 2, 0)]);
        }
    }
}

/// All that a queue was is forgotten, and what was lent is at home.
#[test]
fn a_queue_that_starts_over_is_as_it_was_at_first() {
    for format in formats() {
        let mut bench = Bench::new(8, format, 0);
        for laps in 0..5 {
            for _ in 0..5 + 3 * laps {
                assert!(bench.submit(1, 1));
                bench.serve(0);
            }
            assert!(bench.submit(1, 2));
            assert!(bench.submit(2, 0));
            bench.lent.clear();
            bench.queue.fail(DeviceFault::NeedsReset);
            bench.queue.renew();
            bench.device = Referee::new(bench.queue.parts().0, 0);
            assert_eq!((bench.queue.room(), bench.queue.in_flight()), (8, 0));
            assert_eq!(bench.queue.complete(), Ok(None));
        }
    }
}

#[test]
fn what_is_refused_behind_a_chain_leaves_that_alone() {
    for format in formats() {
        let mut bench = Bench::new(8, format, u16::MAX);
        let addr = bench.memory.dma_addr();
        let segment = |writable| Segment { addr, len_bytes: 8, writable };
        for _ in 0..11 {
            assert_eq!(post(&mut bench.queue, &[segment(false)], 1), Ok(()));
            assert_eq!(post(&mut bench.queue, &[segment(false), segment(true), segment(false)], 2), Err(2));
            assert_ne!(bench.queue.publish(), Kick::Nothing);
            let fetched = bench.device.fetch(bench.queue.ring());
            assert_eq!(fetched.len(), 1);
            assert_eq!(fetched[0].segments, [piece(&segment(false))]);
            let chain = bench.device.take(0);
            bench.device.complete(bench.queue.ring(), &chain, chain.id.into(), 0);
            assert_eq!(bench.queue.complete(), Ok(Some((1, 0))));
        }
        assert_eq!(bench.queue.room(), 8);
    }
}

#[test]
fn what_the_device_does_not_have_breaks_the_queue() {
    for format in formats() {
        let fault = |id: u32| {
            let mut bench = Bench::new(16, format, 65_535);
            assert!(bench.submit(1, 2));
            assert!(bench.submit(1, 0));
            bench.fault(id, 0)
        };
        for index in [1, 2, 4, 15] {
            assert_eq!(fault(index), DeviceFault::NotInFlight { index });
        }
        assert_eq!(fault(16), DeviceFault::IndexOutOfRange { index: 16, entries: 16 });
    }
}

#[test]
fn what_was_used_once_is_not_used_again() {
    for format in formats() {
        let mut bench = Bench::new(16, format, 65_535);
        assert!(bench.submit(1, 0));
        assert!(bench.submit(1, 0));
        let index = bench.device.chains()[0].id;
        bench.serve(0);
        assert_eq!(bench.fault(index.into(), 0), DeviceFault::NotInFlight { index: index.into() });
    }
}

#[test]
fn more_written_than_the_chain_holds_breaks_the_queue() {
    for format in formats() {
        let mut bench = Bench::new(16, format, 0);
        // Of 1, 4 and 7 bytes, the last two to be written.
        assert!(bench.submit(1, 2));
        assert_eq!(bench.fault(0, 12), DeviceFault::LengthTooLong { len_bytes: 12, max_bytes: 11 });
    }
}

/// A ring whose device uses chains in order.
fn in_order(entries: u16, format: Format, start: u16) -> Bench {
    Bench::new(entries, Format { in_order: true, ..format }, start)
}

impl Bench {
    /// The device is done with the first `count` chains that it has: it speaks of the last alone,
    /// of which it wrote a byte less than all. Each comes out, those before it as written in full.
    fn serve_together(&mut self, count: usize) {
        let chains: Vec<_> = (0..count).map(|_| self.device.take(0)).collect();
        let room = |chain: &Fetched| chain.segments.iter().filter(|piece| piece.2).map(|piece| piece.1).sum();
        let last = &chains[count - 1];
        let written = u32::saturating_sub(room(last), 1);
        self.device.complete_all(self.queue.ring(), &chains, last.id.into(), written);
        for (at, chain) in chains.iter().enumerate() {
            assert_eq!(self.queue.arm(1), Ok(Armed::Pending), "those that nothing was said of are there");
            let expected = if at + 1 < count { room(chain) } else { written };
            let (token, bytes) = self.queue.complete().unwrap().expect("one is done");
            assert_eq!(bytes, expected);
            assert_eq!(self.lent.remove(&token).as_ref(), Some(&chain.segments), "the token of that chain");
        }
        assert_eq!(self.queue.complete(), Ok(None));
        assert_eq!(self.queue.arm(1), Ok(Armed::Idle));
    }

    /// It has four chains, and is done with so many: it names that of `id`.
    fn batch_fault(&mut self, count: usize, id: u32) -> DeviceFault {
        (0..4).for_each(|_| assert!(self.submit(1, 1)));
        let chains: Vec<_> = (0..count).map(|_| self.device.take(0)).collect();
        self.device.complete_all(self.queue.ring(), &chains, id, 0);
        let fault = self.queue.complete().unwrap_err();
        assert_eq!(self.queue.complete(), Err(fault), "broken for good");
        fault
    }
}

#[test]
fn a_batch_names_a_chain_that_is_there_and_counted() {
    for format in formats() {
        let not_in_flight = |index| DeviceFault::NotInFlight { index };
        let out_of_range = DeviceFault::IndexOutOfRange { index: 8, entries: 8 };
        // Within a chain, and of no descriptor.
        assert_eq!(in_order(8, format, 0).batch_fault(2, 3), not_in_flight(3));
        assert_eq!(in_order(8, format, 0).batch_fault(2, 8), out_of_range);
        // Of nothing in flight.
        let mut bench = in_order(16, format, 0);
        assert_eq!(bench.batch_fault(2, 8), not_in_flight(8));
        if !format.packed {
            assert_eq!(in_order(8, format, 0).batch_fault(2, 4), BATCH_TOO_LONG);
            assert_eq!(in_order(8, format, u16::MAX).batch_fault(1, 6), BATCH_TOO_LONG);
        }
    }
}

#[test]
fn the_last_of_a_batch_writes_no_more_than_fits() {
    for format in formats() {
        let mut bench = in_order(8, format, 0);
        (0..3).for_each(|_| assert!(bench.submit(1, 1)));
        let chains: Vec<_> = (0..3).map(|_| bench.device.take(0)).collect();
        bench.device.complete_all(bench.queue.ring(), &chains, 4, 5);
        assert_eq!(bench.queue.complete(), Ok(Some((0, 4))));
        assert_eq!(bench.queue.complete(), Ok(Some((1, 4))));
        assert_eq!(bench.queue.complete(), Err(DeviceFault::LengthTooLong { len_bytes: 5, max_bytes: 4 }));
    }
}

proptest! {
    /// Whatever is posted, and however many the device says it used at a time: each chain lies
    /// behind the one before it, and each token comes home in its turn.
    #[test]
    fn any_batches_are_served_in_order(
        entries in 1_u16..64,
        packed in any::<bool>(),
        event_idx in any::<bool>(),
        start in any::<u16>(),
        steps in proptest::collection::vec((0_u16..4, 0_u16..4, any::<prop::sample::Index>(), 0_u8..3), 1..200),
    ) {
        let entries = if packed { entries } else { 1 << entries.ilog2() };
        let mut bench = in_order(entries, Format { packed, event_idx, ..Format::default() }, start);
        let mut next = 0;
        for (readable, writable, which, serves) in steps {
            if bench.submit(readable, writable) {
                for place in &bench.device.chains().last().unwrap().places {
                    prop_assert_eq!(*place, next);
                    next = (next + 1) % entries;
                }
            }
            if serves == 0 && bench.device.has() > 0 {
                bench.serve_together(which.index(bench.device.has()) + 1);
            }
        }
        while bench.device.has() > 0 {
            bench.serve_together(1);
        }
        prop_assert!(bench.lent.is_empty());
        prop_assert_eq!(bench.queue.room(), entries);
    }
}

proptest! {
    /// Whatever is posted and in whatever order it is used: each chain arrives as it was posted,
    /// and each token comes home when its chain is used, not before.
    #[test]
    fn any_order_is_served(
        entries in 1_u16..256,
        packed in any::<bool>(),
        event_idx in any::<bool>(),
        start in any::<u16>(),
        steps in proptest::collection::vec(
            (0_u16..4, 0_u16..4, any::<prop::sample::Index>(), any::<bool>()),
            1..200,
        ),
    ) {
        let entries = if packed { entries } else { 1 << entries.ilog2() };
        let mut bench = Bench::new(entries, Format { packed, event_idx, ..Format::default() }, start);
        for (readable, writable, which, serves) in steps {
            let (before, descriptors) = (bench.queue.room(), readable + writable);
            let is_posted = bench.submit(readable, writable);
            prop_assert_eq!(is_posted, (1..=before).contains(&descriptors));
            if serves && bench.device.has() > 0 {
                bench.serve(which.index(bench.device.has()));
            }
        }
        while bench.device.has() > 0 {
            bench.serve(0);
        }
        prop_assert!(bench.lent.is_empty());
        prop_assert_eq!(bench.queue.room(), entries);
    }
}
