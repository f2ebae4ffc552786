use super::*;
use crate::dma::{DeviceTag, Quiet};
use crate::testing::Heap;

const LAYOUT: PoolLayout =
    PoolLayout { buffers: 10, buffer_bytes: 100, align: Align::new(64), address_bits: 64 };

impl Header for u32 {}

fn pool(heap: &Heap) -> Pool<u32> {
    Pool::new(heap.clone(), LAYOUT).unwrap()
}

/// Takes every buffer there is, and holds them.
fn all(pool: &Pool<u32>) -> Vec<Buffer<u32>> {
    std::iter::from_fn(|| pool.get()).collect()
}

fn out(heap: &Heap) -> usize {
    heap.regions.load(Ordering::SeqCst)
}

#[test]
fn every_buffer_is_given_out_once() {
    let pool = pool(&Heap::default());
    let buffers = all(&pool);
    let mut indices: Vec<_> = buffers.iter().map(Buffer::index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..10).collect::<Vec<_>>());
    assert_eq!(pool.free(), 0);
    let mut starts: Vec<_> = buffers.iter().map(|buffer| buffer.dma_addr(0).unwrap().get()).collect();
    starts.sort_unstable();
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 100), "apart from one another");
    assert!(starts.iter().all(|start| start % 64 == 0));
    drop(buffers);
    assert_eq!(pool.free(), 10);
}

#[test]
fn bytes_and_headers_stay_with_their_buffer() {
    let pool = pool(&Heap::default());
    let mut buffer = pool.get().unwrap();
    *buffer = 42;
    assert!(buffer.copy_in(97, b"abc"));
    assert!(!buffer.copy_in(98, b"abc"), "past the end");
    assert!(!buffer.copy_in(usize::MAX, b"abc"));
    let mut back = [0; 3];
    assert!(buffer.copy_out(97, &mut back));
    assert_eq!((&back, *buffer), (b"abc", 42));
    assert!(buffer.write(1, &0x0102_0304_u32));
    assert_eq!(buffer.read::<u32>(1), Some(0x0102_0304), "unaligned");
    assert_eq!(buffer.read::<u32>(97), None);
    for at in [0, 4, 8, 12] {
        assert!(buffer.write(at, &[0xff_u8; 24]));
        assert!(
            buffer.write(at + 4, &[1_u32, 2, 3]),
            "a header of three words, at either half of a longer one"
        );
        assert_eq!(buffer.read::<[u32; 3]>(at + 4), Some([1, 2, 3]));
        assert_eq!((buffer.read::<u32>(at), buffer.read::<u64>(at + 16)), (Some(u32::MAX), Some(u64::MAX)));
    }
    assert_eq!(buffer.dma_addr(101), None);
}

#[test]
fn a_pool_spans_as_many_regions_as_its_domain_asks_for() {
    let heap = Heap { max_segment_bytes: Some(400), ..Heap::default() };
    let pool = pool(&heap);
    assert_eq!(out(&heap), 4, "three buffers of 128 bytes a region");
    assert_eq!(all(&pool).len(), 10);
}

#[test]
fn the_memory_goes_when_the_last_handle_goes() {
    let heap = Heap::default();
    let pool = pool(&heap);
    let other = pool.clone();
    drop(pool);
    assert!(other.get().is_some());
    assert_eq!(out(&heap), 1);
    drop(other);
    assert_eq!(out(&heap), 0);
}

/// For Miri: on its way home, the last buffer has no claim on what the last handle frees meanwhile.
#[test]
fn the_last_buffer_races_with_the_last_handle() {
    for in_bulk in [false, true] {
        let pool = Pool::<u32>::new(Heap::default(), PoolLayout { buffers: 1, ..LAYOUT }).unwrap();
        let buffer = pool.get().unwrap();
        let going_home = std::thread::spawn(move || {
            if in_bulk {
                Chain::new().push(buffer);
            }
        });
        while pool.free() == 0 {
            std::thread::yield_now();
        }
        drop(pool);
        going_home.join().unwrap();
    }
}

#[test]
fn memory_is_leaked_rather_than_pulled_from_under_a_buffer() {
    let heap = Heap::default();
    let pool = pool(&heap);
    let mut buffer = pool.get().unwrap();
    drop(pool);
    assert!(buffer.copy_in(0, b"still here"));
    drop(buffer);
    assert_eq!(out(&heap), 1);
}

#[test]
fn a_pool_that_cannot_be_made_leaves_nothing() {
    let heap = Heap { max_segment_bytes: Some(100), ..Heap::default() };
    let error = Pool::<u32>::new(heap.clone(), LAYOUT).err().unwrap();
    assert_eq!(error.reason, DmaErrorReason::TooLong { max_segment_bytes: 100 });
    assert!(Pool::<u32>::new(heap.clone(), PoolLayout { buffers: 0, ..LAYOUT }).is_err());
    assert!(Pool::<u32>::new(heap.clone(), PoolLayout { buffer_bytes: usize::MAX, ..LAYOUT }).is_err());
    assert!(Pool::<u32>::new(Heap { full: true, ..Heap::default() }, LAYOUT).is_err());
    let heap = Heap { max_segment_bytes: None, ..heap };
    let error = Pool::<u32>::new(Heap { short_by: 1, ..heap.clone() }, LAYOUT).err().unwrap();
    assert_eq!(error.reason, DmaErrorReason::TooShort { has_bytes: 1279 });
    let narrow = Pool::<u32>::new(heap.clone(), PoolLayout { address_bits: 32, ..LAYOUT });
    assert_eq!(narrow.err().unwrap().reason, DmaErrorReason::AddressWidth { address_bits: 32 });
    assert_eq!(out(&heap), 0);
}

#[test]
fn cores_share_a_pool() {
    let pool = pool(&Heap::default());
    let rounds = if cfg!(miri) { 200 } else { 20_000 };
    std::thread::scope(|scope| {
        for id in 0..4_u32 {
            let pool = pool.clone();
            scope.spawn(move || {
                for round in 0..rounds {
                    let held: Vec<_> = (0..1 + round % 3)
                        .filter_map(|_| pool.get())
                        .map(|mut buffer| {
                            *buffer = id;
                            buffer
                        })
                        .collect();
                    assert!(held.iter().all(|buffer| **buffer == id), "nobody else has it");
                }
            });
        }
    });
    assert_eq!(pool.free(), 10);
    assert_eq!(all(&pool).len(), 10);
}

#[test]
fn a_supply_is_as_long_as_the_pool_allows() {
    let pool = pool(&Heap::default());
    assert_eq!(pool.take(0).count(), 0);
    let mut supply = pool.take(4);
    assert_eq!(pool.free(), 0, "a segment is taken as a whole");
    let held: Vec<_> = supply.by_ref().take(3).collect();
    drop(supply);
    assert_eq!(pool.free(), 7, "what is not used goes back");
    let rest: Vec<_> = pool.take(100).collect();
    assert_eq!((rest.len(), pool.free()), (7, 0));
    assert_eq!(pool.take(1).count(), 0, "empty");
    let mut indices: Vec<_> = held.iter().chain(&rest).map(Buffer::index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_supply_takes_as_many_segments_as_it_needs() {
    let pool = pool(&Heap::default());
    // Ten segments of one.
    drop(all(&pool));
    assert_eq!(pool.take(3).count(), 3);
    let mut chain = Chain::new();
    let filled = pool.take(9).fill(&mut chain, 7, |mut buffer| {
        *buffer = 5;
        buffer
    });
    assert_eq!((filled, chain.len(), pool.free()), (7, 7, 3));
    assert!(std::iter::from_fn(|| chain.pop()).all(|buffer| *buffer == 5));
    assert_eq!(pool.free(), 10);
}

#[test]
fn a_long_segment_is_no_longer_than_segments_are() {
    let layout = PoolLayout { buffers: 100, ..LAYOUT };
    let pool = Pool::<u32>::new(Heap::default(), layout).unwrap();
    let mut chain = Chain::new();
    assert_eq!(pool.take(100).fill(&mut chain, 100, |buffer| buffer), 100);
    drop(chain);
    assert_eq!(pool.free(), 100);
    let supply = pool.take(1);
    assert!(pool.free() >= 100 - SEGMENT_BUFFERS, "the others are there for others meanwhile");
    drop(supply);
    assert_eq!(pool.free(), 100);
}

#[test]
fn a_chain_goes_home_each_buffer_to_its_own_pool() {
    let heap = Heap::default();
    let (one, two) = (pool(&heap), pool(&heap));
    let mut chain = Chain::new();
    for (a, b) in one.take(3).zip(two.take(3)).collect::<Vec<_>>() {
        chain.push(a);
        chain.push(b);
    }
    assert_eq!((one.free(), two.free()), (7, 7));
    drop(chain);
    assert_eq!((one.free(), two.free()), (10, 10));
    assert_eq!((all(&one).len(), all(&two).len()), (10, 10));
}

/// What a chain does, against a queue that does the same.
#[test]
fn a_chain_is_first_in_first_out_by_every_door() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let numbered = |pool: &Pool<u32>, number: u32| {
        let mut buffer = pool.get().unwrap();
        *buffer = number;
        buffer
    };
    let mut chain = Chain::new();
    (1..5).for_each(|number| chain.push(numbered(&one, number)));
    chain.push_front(numbered(&one, 0));
    assert_eq!(chain.pop().map(|buffer| *buffer), Some(0));
    let mut split = chain.split_while(&[(); 9], |buffer, ()| **buffer < 3);
    assert_eq!((split.len(), chain.len()), (2, 2));
    // Those that come are of another pool than those that go, and join both.
    let came = chain.exchange_zip(&[(); 9], &mut split, |buffer, ()| Ok(numbered(&two, 10 + *buffer)));
    assert_eq!((came, split.len(), chain.len()), (1, 3, 1), "ends early where the home is another");
    split.append(chain);
    split.push(numbered(&two, 20));
    let order: Vec<u32> = std::iter::from_fn(|| split.pop()).map(|buffer| *buffer).collect();
    assert_eq!(order, [1, 2, 13, 4, 20]);
    assert_eq!((one.free(), two.free()), (10, 10));
}

#[test]
fn what_is_not_exchanged_stays_in_front() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let (mut chain, mut others) = (Chain::new(), Chain::new());
    let mut numbers = 0..;
    one.take(4).fill(&mut chain, 4, |mut buffer| {
        *buffer = numbers.next().unwrap();
        buffer
    });
    let came = chain.exchange_zip(&[10, 20, 30], &mut others, |buffer, item| {
        assert_eq!(*item, 10 * (*buffer + 1));
        if *buffer < 2 { Ok(buffer) } else { Err(two.get().unwrap()) }
    });
    assert_eq!((came, others.len(), chain.len(), two.free()), (2, 2, 2, 9));
    assert_eq!(one.free(), 7, "the one given away is home");
    assert_eq!(chain.pop().map(|buffer| buffer.domain()), Some(two.domain()));
    assert_eq!(chain.pop().map(|buffer| *buffer), Some(3));
    drop(others);
    assert_eq!((one.free(), two.free()), (10, 10));
}

#[test]
fn a_split_leaves_what_is_not_let_pass() {
    let pool = pool(&Heap::default());
    let mut chain: Chain<u32> = Chain::new();
    let mut numbers = 0..;
    pool.take(6).fill(&mut chain, 6, |mut buffer| {
        *buffer = numbers.next().unwrap();
        buffer
    });
    let mut seen = Vec::new();
    let mut split = chain.split_while(&[10, 20, 30, 40], |mut buffer, place| {
        seen.push((**buffer, *place));
        **buffer < 2 && buffer.write(0, place)
    });
    assert_eq!(seen, [(0, 10), (1, 20), (2, 30)]);
    assert_eq!((split.len(), chain.len()), (2, 4));
    split.push(chain.pop().unwrap());
    let rest = chain.split_while(&[(); 9], |_, ()| true);
    assert_eq!((rest.len(), chain.len()), (3, 0));
    split.append(rest);
    let order: Vec<u32> = std::iter::from_fn(|| split.pop()).map(|buffer| *buffer).collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
    assert_eq!(pool.free(), 10);
}

#[test]
fn a_fill_takes_what_is_swapped_in() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let (mut chain, mut swapped) = (Chain::new(), Vec::new());
    let filled = one.take(4).fill(&mut chain, 4, |buffer| {
        swapped.push(buffer);
        two.get().unwrap()
    });
    assert_eq!((filled, chain.len(), swapped.len()), (4, 4, 4));
    assert_eq!((one.free(), two.free()), (6, 6), "the rest of the supply is home");
    drop((chain, swapped));
    assert_eq!((one.free(), two.free()), (10, 10));
}

/// Whoever holds a buffer may link it elsewhere meanwhile, and take it out again: what its link
/// says then is not the chain's.
#[test]
fn a_fill_trusts_no_link_of_a_buffer_that_was_given_away() {
    let pool = pool(&Heap::default());
    let (mut chain, mut elsewhere) = (Chain::new(), Chain::new());
    for _ in 0..4 {
        elsewhere.push(pool.get().unwrap());
    }
    let filled = pool.take(4).fill(&mut chain, 4, |buffer| {
        // Behind it lies one of the others, and nothing behind the last.
        elsewhere.push_front(buffer);
        let buffer = elsewhere.pop().unwrap();
        let other = elsewhere.pop().unwrap();
        elsewhere.push(other);
        buffer
    });
    assert_eq!((filled, chain.len(), elsewhere.len(), pool.free()), (4, 4, 4, 2));
    let all: Vec<_> =
        std::iter::from_fn(|| chain.pop()).chain(std::iter::from_fn(|| elsewhere.pop())).collect();
    let mut indices: Vec<_> = all.iter().map(Buffer::index).collect();
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), 8, "each has one owner");
    drop(all);
    assert_eq!(pool.free(), 10);
}

#[test]
fn cores_share_a_pool_in_bulk() {
    let pool = pool(&Heap::default());
    let rounds = if cfg!(miri) { 200 } else { 20_000 };
    std::thread::scope(|scope| {
        for id in 0..4_u32 {
            let pool = pool.clone();
            scope.spawn(move || {
                for round in 0..rounds {
                    let mut returns = Chain::new();
                    let held: Vec<_> = pool
                        .take(1 + round % 4)
                        .take(3)
                        .map(|mut buffer| {
                            *buffer = id;
                            buffer
                        })
                        .collect();
                    assert!(held.iter().all(|buffer| **buffer == id), "nobody else has it");
                    held.into_iter().for_each(|buffer| returns.push(buffer));
                }
            });
        }
    });
    assert_eq!(pool.free(), 10);
    assert_eq!(all(&pool).len(), 10);
}

#[test]
fn what_is_posted_is_leaked_without_proof() {
    let heap = Heap::default();
    let pool = pool(&heap);
    let device = DeviceTag::unique();
    let mut posted = Posted::new(4, device).unwrap();
    posted.put(1, pool.get().unwrap()).unwrap();
    posted.put(2, pool.get().unwrap()).unwrap();
    assert!(posted.put(2, pool.get().unwrap()).is_err(), "taken");
    assert!(posted.put(4, pool.get().unwrap()).is_err(), "no such slot");
    assert_eq!((posted.posted(), posted.holds(1), posted.holds(0)), (2, true, false));
    assert!(posted.take(0).is_none());
    drop(posted.take(1));
    assert_eq!((posted.posted(), pool.free()), (1, 9));
    drop(posted);
    assert_eq!(pool.free(), 9, "the device may still have the other one");
}

/// Whatever a driver without `unsafe` does: the memory that a device may write to stays a device's
/// memory.
#[test]
fn what_is_taken_too_early_is_the_pools_and_nobody_elses() {
    let heap = Heap::default();
    let pool = pool(&heap);
    let mut posted = Posted::new(1, DeviceTag::unique()).unwrap();
    posted.put(0, pool.get().unwrap()).unwrap();
    drop(posted.take(0));
    drop(posted);
    assert_eq!((pool.free(), out(&heap)), (10, 1), "with a handle left, it is no ordinary memory");
    let mut posted = Posted::new(1, DeviceTag::unique()).unwrap();
    posted.put(0, pool.get().unwrap()).unwrap();
    drop((pool, posted));
    assert_eq!(out(&heap), 1, "and without one, what a device has keeps it so");
}

#[test]
fn what_is_posted_comes_home_on_proof() {
    let pool = pool(&Heap::default());
    let (device, other) = (DeviceTag::unique(), DeviceTag::unique());
    let mut posted = Posted::new(4, device).unwrap();
    posted.put(3, pool.get().unwrap()).unwrap();
    let index = posted.get(3).unwrap().index();
    let before = posted.replace(3, pool.get().unwrap()).unwrap();
    assert_eq!((before.index(), pool.free()), (index, 8));
    drop(before);
    // SAFETY: there is no device.
    let posted = posted.reclaim(&unsafe { Quiet::vouch(other) }).err().unwrap();
    assert_eq!(pool.free(), 9);
    // SAFETY: there is no device.
    assert!(posted.reclaim(&unsafe { Quiet::vouch(device) }).is_ok());
    assert_eq!(pool.free(), 10);
}
