use super::*;
use crate::dma::{DeviceTag, Quiet};
use crate::testing::Heap;

const LAYOUT: PoolLayout =
    PoolLayout { buffers: 10, buffer_bytes: 100, align: Align::new(64), address_bits: 64 };

impl Header for u32 {}

fn pool(heap: &Heap) -> Pool<Buffer<u32>> {
    Pool::new(heap.clone(), LAYOUT).unwrap()
}

/// Takes every buffer there is, and holds them.
fn all(pool: &Pool<Buffer<u32>>) -> Vec<Buffer<u32>> {
    std::iter::from_fn(|| pool.get()).collect()
}

/// A buffer, and `others` that continue it, numbered by their headers.
fn continued(pool: &Pool<Buffer<u32>>, others: u32) -> Buffer<u32> {
    let mut buffer = pool.get().unwrap();
    *buffer = 0;
    for index in 1..=others {
        let mut next = pool.get().unwrap();
        *next = index;
        assert!(buffer.change(index as usize - 1, |last| last.set_next(next)).is_some());
    }
    buffer
}

/// Buffers whose headers count.
fn counted(pool: &Pool<Buffer<u32>>, buffers: u32) -> Chain<Buffer<u32>> {
    let mut chain = Chain::new();
    for number in 0..buffers {
        let mut buffer = pool.get().unwrap();
        *buffer = number;
        chain.push(buffer);
    }
    chain
}

fn drained(chain: &mut Chain<Buffer<u32>>) -> Vec<Buffer<u32>> {
    std::iter::from_fn(|| chain.pop()).collect()
}

fn segments(buffer: &Buffer<u32>) -> impl Iterator<Item = &Buffer<u32>> {
    std::iter::successors(Some(buffer), |buffer| buffer.next())
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
        let pool = Pool::<Buffer<u32>>::new(Heap::default(), PoolLayout { buffers: 1, ..LAYOUT }).unwrap();
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
    let error = Pool::<Buffer<u32>>::new(heap.clone(), LAYOUT).err().unwrap();
    assert_eq!(error.reason, DmaErrorReason::TooLong { max_segment_bytes: 100 });
    assert!(Pool::<Buffer<u32>>::new(heap.clone(), PoolLayout { buffers: 0, ..LAYOUT }).is_err());
    assert!(
        Pool::<Buffer<u32>>::new(heap.clone(), PoolLayout { buffer_bytes: usize::MAX, ..LAYOUT }).is_err()
    );
    assert!(Pool::<Buffer<u32>>::new(Heap { full: true, ..Heap::default() }, LAYOUT).is_err());
    let heap = Heap { max_segment_bytes: None, ..heap };
    let error = Pool::<Buffer<u32>>::new(Heap { short_by: 1, ..heap.clone() }, LAYOUT).err().unwrap();
    assert_eq!(error.reason, DmaErrorReason::TooShort { has_bytes: 1279 });
    let narrow = Pool::<Buffer<u32>>::new(heap.clone(), PoolLayout { address_bits: 32, ..LAYOUT });
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
fn what_is_taken_is_what_was_asked_for() {
    let pool = pool(&Heap::default());
    assert!(pool.take(0).is_empty());
    let mut some = pool.take(4);
    assert_eq!((some.len(), pool.free()), (4, 6), "and no more is away from others");
    let rest = pool.take(100);
    assert_eq!((rest.len(), pool.free(), pool.is_dry()), (6, 0, true));
    assert!(pool.take(1).is_empty(), "there is none");
    some.append(rest);
    let mut indices: Vec<_> = drained(&mut some).iter().map(Buffer::index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..10).collect::<Vec<_>>());
    assert_eq!(pool.free(), 10);
}

#[test]
fn what_is_taken_may_be_made_something_of_at_once() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let mut number = 0;
    let mut chain = one.take_with(4, |mut buffer| {
        *buffer = number;
        number += 1;
        match number {
            2 => buffer.set_next(one.get().unwrap()),
            3 => return two.get().unwrap(),
            _ => {}
        }
        buffer
    });
    assert_eq!((chain.len(), chain.domain(), one.free(), two.free()), (4, None, 6, 9));
    let lens: Vec<_> = drained(&mut chain).iter().map(|buffer| segments(buffer).count()).collect();
    assert_eq!((lens, one.free(), two.free()), (vec![1, 2, 1, 1], 10, 10));
    assert_eq!(one.take_with(2, |buffer| buffer).domain(), Some(one.domain()));
}

#[test]
fn plenty_is_taken_only_where_there_is_plenty() {
    let pool = pool(&Heap::default());
    let many = pool.take_plenty(2, 8);
    assert_eq!((many.len(), pool.free()), (8, 2));
    assert_eq!(pool.take_plenty(1, 3).len(), 1, "two are too few to keep any at hand");
    drop(many);
    let (most, few) = (pool.take(7), pool.take_plenty(5, 8));
    assert_eq!((most.len(), few.len(), pool.free()), (7, 3, 0), "as many as there are");
    drop((most, few));
    assert_eq!(pool.take_plenty(10, 10).len(), 10);
    assert_eq!((pool.free(), all(&pool).len()), (10, 10));
}

#[test]
fn a_chain_goes_home_in_one_step_whatever_its_buffers_are_made_of() {
    let pool = pool(&Heap::default());
    let mut chain = Chain::new();
    for others in [0, 2, 0, 1] {
        chain.push(continued(&pool, others));
    }
    assert_eq!((chain.len(), pool.free()), (4, 3));
    let changes = || pool.shared().changes();
    let before = changes();
    drop(chain);
    assert_eq!((pool.free(), changes()), (10, before + 1));
    drop(continued(&pool, 9));
    assert_eq!(pool.free(), 10);
    assert!(all(&pool).iter().all(|buffer| buffer.next().is_none()), "each is free by itself");
}

#[test]
fn a_buffer_owns_what_continues_it() {
    let (pool, other) = (pool(&Heap::default()), pool(&Heap::default()));
    let mut head = continued(&pool, 2);
    assert_eq!(head.change(2, |buffer| core::mem::replace(&mut **buffer, 7)), Some(2));
    assert_eq!(head.change(3, |_| ()), None);
    assert_eq!(head.change(0, |buffer| **buffer), Some(0));
    let two = head.next().and_then(Buffer::next).map(|buffer| **buffer);
    assert_eq!((two, pool.free()), (Some(7), 7));
    // What is put in the place of one is there, and what was there goes with all behind it.
    assert_eq!(head.change(1, |buffer| *buffer = other.get().unwrap()), Some(()));
    assert_eq!((pool.free(), other.free()), (9, 9));
    assert_eq!(head.next().map(Buffer::domain), Some(other.domain()));
    head.set_next(continued(&pool, 1));
    assert_eq!((pool.free(), other.free()), (7, 10));
    let rest = head.take_next().unwrap();
    assert!(head.next().is_none() && rest.next().is_some());
    drop(head);
    assert_eq!(pool.free(), 8);
    drop(rest);
    assert_eq!(pool.free(), 10);
}

#[test]
fn a_buffer_of_several_pools_goes_home_to_each() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let mixed = || {
        let (mut head, mut middle) = (continued(&one, 1), two.get().unwrap());
        middle.set_next(one.get().unwrap());
        head.change(1, |buffer| buffer.set_next(middle)).unwrap();
        head
    };
    drop(mixed());
    assert_eq!((one.free(), two.free()), (10, 10));
    let mut chain = Chain::new();
    chain.push(one.get().unwrap());
    assert!(chain.domain().is_some());
    chain.push(mixed());
    assert_eq!(chain.domain(), None);
    drop(chain);
    assert_eq!((one.free(), two.free()), (10, 10));
    assert_eq!((all(&one).len(), all(&two).len()), (10, 10));
}

#[test]
fn a_chain_goes_home_each_buffer_to_its_own_pool() {
    let heap = Heap::default();
    let (one, two) = (pool(&heap), pool(&heap));
    let mut chain = Chain::new();
    for _ in 0..3 {
        chain.push(one.get().unwrap());
        chain.push(two.get().unwrap());
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
    let numbered = |pool: &Pool<Buffer<u32>>, number: u32| {
        let mut buffer = pool.get().unwrap();
        *buffer = number;
        buffer
    };
    let mut chain = Chain::new();
    (1..5).for_each(|number| chain.push(numbered(&one, number)));
    chain.push_front(numbered(&one, 0));
    assert_eq!(chain.pop().map(|buffer| *buffer), Some(0));
    let mut others = Chain::new();
    let below_3 = |buffer: Buffer<u32>| if *buffer < 3 { Ok(Some(buffer)) } else { Err(buffer) };
    assert_eq!(chain.walk(&mut others, 9, below_3), 2);
    assert_eq!((others.len(), chain.len()), (2, 2));
    assert_eq!(others.domain(), Some(one.domain()));
    // One comes from another pool than the one that goes.
    let came = chain.walk(&mut others, 1, |buffer| Ok(Some(numbered(&two, 10 + *buffer))));
    assert_eq!((came, others.len(), chain.len(), others.domain()), (1, 3, 1, None));
    others.append(chain);
    others.push(numbered(&two, 20));
    let mut more = Chain::new();
    assert_eq!(others.walk(&mut more, 4, |buffer| Ok(Some(buffer).filter(|buffer| **buffer != 2))), 4);
    assert_eq!((more.len(), others.len(), more.domain()), (3, 1, None));
    more.append(others);
    let order: Vec<u32> = drained(&mut more).iter().map(|buffer| **buffer).collect();
    assert_eq!(order, [1, 13, 4, 20]);
    assert_eq!((one.free(), two.free()), (10, 10));
}

/// What is looked at stays; continuations are passed over, and go with what they continue.
#[test]
fn a_look_passes_over_what_continues_others() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let mut chain = Chain::new();
    for number in 0..4 {
        let mut buffer = if number % 2 == 0 { continued(&one, number) } else { one.get().unwrap() };
        *buffer = number;
        chain.push(buffer);
    }
    chain.push(two.get().unwrap());
    let mut seen = Vec::new();
    let mut look = |chain: &Chain<Buffer<u32>>, items: &[u32]| {
        seen.clear();
        let count = chain.look_with(items, |buffer, item| {
            seen.push((**buffer, segments(buffer).count()));
            *item > 0
        });
        (count, seen.clone())
    };
    assert_eq!(look(&chain, &[1, 1, 0, 1]), (2, vec![(0, 1), (1, 1), (2, 3)]));
    let all = vec![(0, 1), (1, 1), (2, 3), (3, 1), (0, 1)];
    assert_eq!(look(&chain, &[1; 9]), (5, all));
    assert_eq!(look(&Chain::new(), &[1; 9]).0, 0);
    let mut noted = [9; 7];
    let note = |buffer: &Buffer<u32>, item: &mut u32| {
        *item = **buffer;
        **buffer != 3
    };
    assert_eq!((chain.look_with_mut(&mut noted, note), noted), (3, [0, 1, 2, 3, 9, 9, 9]));
    assert_eq!(chain.look_with_mut(&mut noted[..2], note), 2);
    let mut front = chain.take_front(3);
    assert_eq!(look(&front, &[1; 9]), (3, vec![(0, 1), (1, 1), (2, 3)]));
    assert_eq!((chain.len(), chain.take_front(0).len(), front.take_front(9).len()), (2, 0, 3));
    assert_eq!(chain.pop().map(|buffer| *buffer), Some(3));
    drop(chain);
    assert_eq!((one.free(), two.free()), (10, 10));
}

/// As a look, with bytes written on the way; what continues a buffer goes on doing so.
#[test]
fn buffers_of_a_chain_are_changed_where_they_are() {
    let pool = pool(&Heap::default());
    let mut chain = Chain::from(continued(&pool, 2));
    chain.push(continued(&pool, 0));
    let last = |mut buffer: BufferMut<'_, u32>, byte: &u8| buffer.write(99, byte);
    assert_eq!(chain.change_with(&[1, 2, 3], last), 2);
    let past_the_end = |mut buffer: BufferMut<'_, u32>, byte: &u8| buffer.write(100, byte);
    assert_eq!(chain.change_with(&[4], past_the_end), 0);
    let mut number = 0;
    let upto_the_second = |mut buffer: BufferMut<'_, u32>| {
        number += 1;
        *buffer.header_mut() = number;
        number < 2
    };
    assert_eq!(chain.change(upto_the_second), 1);
    let read = |buffer: Buffer<u32>| (*buffer, buffer.read::<u8>(99), segments(&buffer).count());
    assert_eq!(
        (chain.pop().map(read), chain.pop().map(read)),
        (Some((1, Some(1), 3)), Some((2, Some(2), 1)))
    );
    assert!(chain.is_empty() && pool.free() == 10);
}

#[test]
fn what_is_given_back_stays_in_front() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let (mut chain, mut others) = (counted(&one, 4), Chain::new());
    let mut kept = Vec::new();
    let went = chain.walk(&mut others, 9, |buffer| match *buffer {
        0 => Ok(Some(buffer)),
        1 => {
            kept.push(buffer);
            Ok(None)
        }
        _ => Err(two.get().unwrap()),
    });
    assert_eq!((went, others.len(), chain.len(), two.free()), (2, 1, 2, 9));
    assert_eq!(one.free(), 7, "the one that it was given for is home");
    assert_eq!(chain.pop().map(|buffer| buffer.domain()), Some(two.domain()));
    assert_eq!(chain.pop().map(|buffer| *buffer), Some(3));
    drop((others, kept));
    assert_eq!((one.free(), two.free()), (10, 10));
}

#[test]
fn a_walk_brings_what_is_swapped_in_and_what_was_linked_behind() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let (mut chain, mut to, mut swapped) = (one.take(4), Chain::new(), Vec::new());
    let all_came = chain.walk(&mut to, 4, |mut buffer| {
        if swapped.len() % 2 == 0 {
            swapped.push(buffer);
            return two.get().map(Some).ok_or_else(|| unreachable!());
        }
        swapped.push(one.get().unwrap());
        buffer.set_next(continued(&two, 1));
        Ok(Some(buffer))
    });
    assert_eq!((all_came, to.len(), swapped.len(), one.free(), two.free()), (4, 4, 4, 4, 4));
    assert_eq!(to.domain(), None);
    let mut rest = Chain::new();
    to.walk(&mut rest, 2, |buffer| Ok(Some(buffer)));
    let buffers: Vec<_> = [rest, to].iter_mut().flat_map(drained).collect();
    let lens: Vec<_> = buffers.iter().map(|buffer| segments(buffer).count()).collect();
    assert_eq!(lens, [1, 3, 1, 3]);
    drop((buffers, swapped));
    assert_eq!((one.free(), two.free()), (10, 10));
}

/// A single buffer that comes back as it was given is known to be of the pool that it was of; not
/// so one that got something behind it.
#[test]
fn what_comes_back_with_another_pools_behind_it_has_no_home_with_the_others() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let (mut chain, mut to) = (one.take(3), Chain::new());
    chain.walk(&mut to, 3, |mut buffer| {
        if buffer.index() == 1 {
            buffer.set_next(two.get().unwrap());
        }
        Ok(Some(buffer))
    });
    assert_eq!((to.len(), to.domain()), (3, None));
    drop(to);
    assert_eq!((one.free(), two.free()), (10, 10));
    // Nor does one that joins others.
    let (mut chain, mut to) = (one.take(3), two.take(1));
    chain.walk(&mut to, 3, |buffer| Ok(Some(buffer)));
    assert_eq!(to.domain(), None);
    drop(to);
    assert_eq!((one.free(), two.free()), (10, 10));
}

/// Whoever holds a buffer may link it elsewhere meanwhile, and take it out again: what its link
/// says then is not the chain's.
#[test]
fn a_walk_trusts_no_link_of_a_buffer_that_was_given_away() {
    let pool = pool(&Heap::default());
    for swaps in [false, true] {
        let (mut chain, mut elsewhere) = (Chain::new(), pool.take(4));
        let walked = pool.take(4).walk(&mut chain, 4, |buffer| {
            // Behind it lies one of the others, and nothing behind the last.
            elsewhere.push_front(buffer);
            let mut buffer = elsewhere.pop().unwrap();
            let other = elsewhere.pop().unwrap();
            elsewhere.push(if swaps { core::mem::replace(&mut buffer, other) } else { other });
            Ok(Some(buffer))
        });
        assert_eq!((walked, chain.len(), elsewhere.len(), pool.free()), (4, 4, 4, 2));
        let all: Vec<_> = drained(&mut chain).into_iter().chain(drained(&mut elsewhere)).collect();
        let mut indices: Vec<_> = all.iter().map(Buffer::index).collect();
        indices.sort_unstable();
        indices.dedup();
        assert_eq!(indices.len(), 8, "each has one owner");
        drop(all);
        assert_eq!(pool.free(), 10);
    }
}

/// What is not wanted stays as it was, with what continues it.
#[test]
fn what_is_taken_apart_goes_home_and_the_rest_is_whole() {
    for wanted in 0..=3 {
        let pool = pool(&Heap::default());
        let mut chain = Chain::new();
        [0, 2, 1].into_iter().for_each(|others| chain.push(continued(&pool, others)));
        let mut lens = Vec::new();
        let apart = chain.take_apart(|len| {
            lens.push(len);
            lens.len() <= wanted
        });
        let all_lens = [1, 3, 2];
        assert_eq!(lens, all_lens[..3.min(wanted + 1)]);
        assert_eq!(apart.len(), all_lens[..wanted].iter().sum::<usize>());
        assert_eq!((chain.len(), pool.free()), (3 - wanted, 4));
        let home = 4 + apart.len();
        drop(apart);
        assert_eq!(pool.free(), home);
        let rest = drained(&mut chain);
        assert!(rest.iter().map(|buffer| segments(buffer).count()).eq(all_lens[wanted..].iter().copied()));
        let is_whole =
            |buffer: &Buffer<u32>| segments(buffer).zip(0..).all(|(buffer, number)| **buffer == number);
        assert!(rest.iter().all(is_whole));
        drop(rest);
        assert_eq!(all(&pool).len(), 10, "and each is free by itself");
    }
}

/// Whatever continues which: one buffer, its segments in their order, and all home in the end.
#[test]
fn what_is_joined_is_one_and_goes_home_whole() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    assert!(Chain::<Buffer<u32>>::new().join().is_none());
    for others in [&[0][..], &[0, 0], &[0, 2, 1], &[3, 0], &[0, 0, 0, 0, 0, 0]] {
        let mut chain = Chain::new();
        others.iter().for_each(|others| chain.push(continued(&one, *others)));
        let numbers: Vec<_> = others.iter().flat_map(|others| 0..=*others).collect();
        // And behind another one, of another pool.
        let mut all = Chain::from(two.get().unwrap());
        all.push(chain.join().unwrap());
        assert_eq!(all.len(), 2);
        let joined = all.join().unwrap();
        assert!(segments(&joined).skip(1).map(|buffer| **buffer).eq(numbers.iter().copied()));
        drop(joined);
        assert_eq!((one.free(), two.free()), (10, 10), "{others:?}");
        assert_eq!((self::all(&one).len(), self::all(&two).len()), (10, 10), "and each is free by itself");
    }
}

#[test]
fn what_is_exchanged_brings_its_own_home_and_nothing_behind() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let (mut chain, mut to, mut went) = (counted(&one, 2), one.take(1), Vec::new());
    chain.push(continued(&one, 3));
    let exchanged = chain.exchange_with(&mut to, &[7, 8, 9], |buffer, item| {
        assert!(buffer.next().is_none(), "what continued it is gone");
        went.push(buffer);
        let mut other = two.get().unwrap();
        *other = *item;
        if *item == 9 { Err(other) } else { Ok(other) }
    });
    assert_eq!((exchanged, to.len(), chain.len(), one.free(), two.free()), (2, 3, 1, 6, 7));
    assert_eq!((to.domain(), chain.domain()), (None, Some(two.domain())));
    assert_eq!(chain.pop().map(|buffer| *buffer), Some(9));
    assert_eq!(drained(&mut to).iter().skip(1).map(|buffer| **buffer).collect::<Vec<_>>(), [7, 8]);
    drop(went);
    assert_eq!((one.free(), two.free()), (10, 10));
}

/// Of all sizes at once, by every way out and home: nobody gets what another one has, and nobody
/// finds the pool dry who finds it so when it is his.
#[test]
fn cores_share_a_pool_in_bulk() {
    let (shared, other) = (pool(&Heap::default()), pool(&Heap::default()));
    let rounds = if cfg!(miri) { 200 } else { 20_000 };
    std::thread::scope(|scope| {
        for id in 0..4_u32 {
            let (pool, other) = (shared.clone(), other.clone());
            scope.spawn(move || {
                for round in 0..rounds {
                    let mut taken = match round % 3 {
                        0 => pool.take(1 + round % 2),
                        1 => pool.take_plenty(1, 3),
                        _ => Chain::new(),
                    };
                    // Linked to another pool's meanwhile, which a walk that comes too late reads.
                    [other.get(), pool.get()].into_iter().flatten().for_each(|buffer| taken.push(buffer));
                    let mut held = Chain::new();
                    taken.walk(&mut held, 99, |mut buffer| {
                        *buffer = id;
                        if round % 5 == 0 {
                            pool.get().into_iter().for_each(|next| buffer.set_next(next));
                        }
                        Ok(Some(buffer))
                    });
                    let mut home = Chain::new();
                    held.walk(&mut home, 99, |buffer| {
                        assert_eq!(*buffer, id, "nobody else has it");
                        Ok(Some(buffer))
                    });
                }
            });
        }
    });
    assert_eq!((shared.free(), other.free()), (10, 10));
    assert_eq!((all(&shared).len(), all(&other).len()), (10, 10));
}

/// What a walk reads that comes too late may lead anywhere, by then to memory that is none.
#[test]
fn a_walk_follows_no_link_out_of_its_pool() {
    let (one, two) = (pool(&Heap::default()), pool(&Heap::default()));
    let (mine, other) = (one.get().unwrap(), two.get().unwrap());
    let leads = |link: &Buffer<u32>| one.shared().own(link.0.as_ptr()).is_some();
    assert!(leads(&mine) && !leads(&other));
    assert!(one.shared().own(core::ptr::null_mut()).is_none());
}

/// With two buffers for each of two cores, neither is ever without, whatever the other does.
#[test]
fn nobody_finds_the_pool_dry_because_another_one_takes() {
    let pool = Pool::<Buffer<u32>>::new(Heap::default(), PoolLayout { buffers: 4, ..LAYOUT }).unwrap();
    let rounds = if cfg!(miri) { 200 } else { 20_000 };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let pool = pool.clone();
            scope.spawn(move || {
                for round in 0..rounds {
                    assert_eq!(pool.take(1 + round % 2).len(), 1 + round % 2);
                }
            });
        }
    });
    assert_eq!(pool.free(), 4);
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

/// A driver's handle to its pool, kept so, is worth as much as what the device has.
#[test]
fn a_handle_that_is_lent_keeps_the_memory_until_there_is_proof() {
    let heap = Heap::default();
    let (device, other) = (DeviceTag::unique(), DeviceTag::unique());
    let lent = Lent::new(pool(&heap), device);
    drop(lent.get());
    std::iter::once(lent).for_each(|_dropped| ());
    assert_eq!(out(&heap), 1, "leaked");
    let lent = Lent::new(pool(&heap), device);
    // SAFETY: there is no device.
    let lent = lent.reclaim(&unsafe { Quiet::vouch(other) }).unwrap_err();
    // SAFETY: there is no device.
    drop(lent.reclaim(&unsafe { Quiet::vouch(device) }).unwrap());
    assert_eq!(out(&heap), 1);
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
