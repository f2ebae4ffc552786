//! Words of rings, headers and statuses that change between two loads of a driver, and an end to a
//! driver that loads one for ever.
//!
//! A device may write while a driver reads, so a word that a driver loads twice may differ from
//! itself. Here devices act only when somebody calls them, and would never come in between.
//! [`ChangingLoads`] has them: while it is armed, the second load of a word within one call into
//! the driver, and each later one, may be answered with another value.
//!
//! **What one call is.** It ends where the driver passes the platform (a register, a port,
//! configuration space, a look at the clock), where a device reads or writes memory, and where the
//! test says so, by [`ChangingLoads::next_call`]. A barrier ends nothing: a driver that looks again
//! behind one has to be prepared for a word that has changed, which is why it looks.
//!
//! What is copied out as a value counts as loaded, eight bytes at a time. Data of frames and
//! requests, which is copied in bulk, does not.
//!
//! What is loaded once in a call is never changed, so a driver that keeps to that does not notice.
//! One that looks twice on purpose, at a hint and then at the word that counts, sees what a device
//! can do to it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Once;

use paravane_hal::dma::load::changing;

use crate::fault::Seeded;
use crate::memory;
use crate::watchdog::{LAST, Tally};

/// A driver that loads so many words in one call looks at something that will not come.
const MOST_LOADS: u64 = 10_000_000;

/// A load that was answered with another value than the one that lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedLoad {
    /// Where the word is, for the CPU; [`Memory::dma_address_of`](crate::Memory::dma_address_of)
    /// says where for the device.
    pub place: usize,
    /// How long it is.
    pub width_bytes: usize,
    /// What lies there.
    pub value: u64,
    /// What the driver was told.
    pub told: u64,
    /// Whether the same call had loaded the word before.
    pub is_repeated: bool,
}

/// Whoever has to know of a changed load.
type Listener = Rc<dyn Fn(ChangedLoad)>;

/// The loads of this thread.
struct Loads {
    chance: Seeded,
    /// One in so many of the loads that are no first ones is changed; none at 0.
    one_in: u32,
    /// The same of first loads.
    first_one_in: u32,
    call: u64,
    /// In which call each half word was loaded last.
    loaded: HashMap<usize, u64>,
    /// Values that were seen lately, which may be valid where they do not belong.
    lately: [u64; 8],
    count: u64,
    /// How often each place was loaded again.
    again: HashMap<usize, u64>,
    changed: u64,
    listener: Option<Listener>,
}

thread_local! {
    static ARMED: RefCell<Option<Loads>> = const { RefCell::new(None) };
    /// Loads since the current call began, armed or not.
    static IN_CALL: Cell<u64> = const { Cell::new(0) };
    static TALLY: RefCell<Tally<(usize, usize)>> = const { RefCell::new(Tally::new()) };
}

/// While it lives, the words that this thread loads change. Off by its drop.
///
/// The changes follow from the seed and from what the driver loads, so a run can be repeated. It
/// stays on its thread:
///
/// ```compile_fail,E0277
/// fn goes_elsewhere<T: Send>() {}
/// goes_elsewhere::<paravane_mock_hal::ChangingLoads>();
/// ```
#[must_use]
pub struct ChangingLoads {
    /// Bound to the thread that armed it.
    thread: PhantomData<*const ()>,
}

impl fmt::Debug for ChangingLoads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (loads, again, changed) = (self.loads(), self.again(), self.changed());
        write!(f, "ChangingLoads({loads} loads, {again} of them again, {changed} changed)")
    }
}

impl ChangingLoads {
    /// Half of the loads that are no first ones are answered with another value: a neighbour, zero,
    /// all ones, one bit turned over, a value of another word, anything.
    ///
    /// # Panics
    ///
    /// When this thread's loads are armed already.
    pub fn armed(seed: u64) -> Self {
        Self::arm(seed, 2)
    }

    /// Counts, and changes nothing.
    ///
    /// # Panics
    ///
    /// As [`armed`](Self::armed).
    pub fn counted() -> Self {
        Self::arm(0, 0)
    }

    fn arm(seed: u64, one_in: u32) -> Self {
        watch();
        let fresh = Loads {
            chance: Seeded::new(seed),
            one_in,
            first_one_in: 0,
            call: 1,
            loaded: HashMap::new(),
            lately: [0; 8],
            count: 0,
            again: HashMap::new(),
            changed: 0,
            listener: None,
        };
        let before = ARMED.replace(Some(fresh));
        assert!(before.is_none(), "the loads of this thread are armed already");
        Self { thread: PhantomData }
    }

    /// Changes fewer: one in `count` of the loads that could be. A driver that breaks at each of
    /// them comes to nothing else.
    pub fn one_in(self, count: u32) -> Self {
        ARMED.with_borrow_mut(|armed| {
            if let Some(loads) = armed {
                loads.one_in = count;
            }
        });
        self
    }

    /// Changes one in `count` of the first loads as well: a later load of the word in the same call
    /// may tell the truth. A driver has to live with that, but even one that loads each word once
    /// notices.
    pub fn first_too(self, count: u32) -> Self {
        ARMED.with_borrow_mut(|armed| {
            if let Some(loads) = armed {
                loads.first_one_in = count;
            }
        });
        self
    }

    /// Tells `listener` of each changed load, before the driver sees it: for a model that is not to
    /// be surprised by what its driver does then.
    pub fn telling(self, listener: impl Fn(ChangedLoad) + 'static) -> Self {
        ARMED.with_borrow_mut(|armed| {
            if let Some(loads) = armed {
                loads.listener = Some(Rc::new(listener));
            }
        });
        self
    }

    /// The next call into a driver begins: every word may be loaded once more.
    pub fn next_call(&self) {
        next_call();
    }

    fn count_of(of: impl Fn(&Loads) -> u64) -> u64 {
        ARMED.with_borrow(|armed| armed.as_ref().map_or(0, of))
    }

    /// How many loads there were.
    #[must_use]
    pub fn loads(&self) -> u64 {
        Self::count_of(|loads| loads.count)
    }

    /// How many of them were of a word that the same call had loaded before.
    #[must_use]
    pub fn again(&self) -> u64 {
        Self::count_of(|loads| loads.again.values().sum())
    }

    /// Where those words are, each once: for a test of what a driver looks at twice on purpose.
    #[must_use]
    pub fn again_at(&self) -> Vec<usize> {
        ARMED.with_borrow(|armed| armed.iter().flat_map(|loads| loads.again.keys().copied()).collect())
    }

    /// How many were changed.
    #[must_use]
    pub fn changed(&self) -> u64 {
        Self::count_of(|loads| loads.changed)
    }
}

impl Drop for ChangingLoads {
    fn drop(&mut self) {
        // Dropped outside the cell: a listener may be the last to hold a platform.
        drop(ARMED.take());
    }
}

/// The driver passed the platform, or a device memory: what is loaded from here on may have
/// changed.
pub(crate) fn next_call() {
    IN_CALL.set(0);
    // Not from within a listener: the driver's call goes on behind it.
    let _ = ARMED.try_with(|armed| {
        if let Ok(mut armed) = armed.try_borrow_mut()
            && let Some(loads) = armed.as_mut()
        {
            loads.call += u64::from(!IS_TELLING.get());
        }
    });
}

thread_local! {
    static IS_TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Has loads of words ask here, from the first platform on.
pub(crate) fn watch() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| changing::install(answer));
}

/// What a driver sees of `value`, which lies at `place`.
fn answer(place: *const (), width_bytes: usize, value: u64) -> u64 {
    let place = place.addr();
    let in_call = IN_CALL.get() + 1;
    IN_CALL.set(in_call);
    if in_call > MOST_LOADS - LAST {
        watch_loop(in_call, place, width_bytes);
    }
    let ((told, is_repeated), listener) = ARMED.with_borrow_mut(|armed| match armed {
        Some(loads) => (loads.answer(place, width_bytes, value), loads.listener.clone()),
        None => ((value, false), None),
    });
    if told != value
        && let Some(listener) = listener
    {
        IS_TELLING.set(true);
        listener(ChangedLoad { place, width_bytes, value, told, is_repeated });
        IS_TELLING.set(false);
    }
    told
}

/// Remembers the last loads of a call that goes on and on, and ends the test.
#[cold]
fn watch_loop(in_call: u64, place: usize, width_bytes: usize) {
    let most = TALLY.with_borrow_mut(|tally| {
        tally.add((place, width_bytes));
        (in_call >= MOST_LOADS).then(|| tally.take_most()).flatten()
    });
    if let Some(((place, width_bytes), share)) = most {
        IN_CALL.set(0);
        let word = memory::describe_place(place);
        assert!(
            std::thread::panicking(),
            "{MOST_LOADS} words were loaded without a register access or a look at the clock; of the last {LAST}, {share} were \
             {width_bytes} bytes at {word}. What ends this loop, if the device never writes there?"
        );
    }
}

impl Loads {
    /// What is told, and whether the word is loaded again.
    fn answer(&mut self, place: usize, width_bytes: usize, value: u64) -> (u64, bool) {
        self.count += 1;
        let mut is_again = false;
        for half in (place..place + width_bytes).step_by(2) {
            is_again |= self.loaded.insert(half, self.call) == Some(self.call);
        }
        self.lately.rotate_right(1);
        self.lately[0] = value;
        if is_again {
            *self.again.entry(place).or_insert(0) += 1;
        }
        let one_in = if is_again { self.one_in } else { self.first_one_in };
        if one_in == 0 || self.chance.below(one_in) != 0 {
            return (value, is_again);
        }
        self.changed += 1;
        (self.other_than(value, width_bytes), is_again)
    }

    /// Another value for a word of `width_bytes`.
    fn other_than(&mut self, value: u64, width_bytes: usize) -> u64 {
        let bits = 8 * u32::try_from(width_bytes.clamp(1, 8)).unwrap_or(8);
        let mask = u64::MAX >> (64 - bits);
        let other = match self.chance.below(10) {
            0 => value.wrapping_add(1),
            1 => value.wrapping_sub(1),
            // The neighbours of a word's upper half, which may be an index of its own.
            2 => value.wrapping_add(1 << (bits / 2)),
            3 => value.wrapping_sub(1 << (bits / 2)),
            4 => 0,
            5 => u64::MAX,
            // Where generations are.
            6 => value ^ 1 << (bits - 1),
            7 => value ^ 1 << self.chance.below(bits),
            8 => self.lately[self.chance.below(8) as usize],
            _ => self.chance.next_u64(),
        };
        let other = other & mask;
        if other == value { value ^ 1 } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MockPlatform;
    use paravane_hal::addr::Align;
    use paravane_hal::dma::{DeviceDma, DeviceTag, DmaRing, DmaWords, Word16, Word32};
    use paravane_hal::time::Clock as _;
    use std::cell::RefCell;

    fn ring(platform: &MockPlatform) -> DmaRing<4, MockPlatform> {
        let of = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
        DmaRing::zeroed(&of, 4, Align::PAGE).unwrap()
    }

    #[test]
    fn what_is_loaded_once_in_a_call_is_never_changed() {
        let platform = MockPlatform::new();
        let ring = ring(&platform);
        ring.slots()[0].store::<1>(7);
        let loads = ChangingLoads::armed(1);
        for _ in 0..1000 {
            assert_eq!(ring.slots()[0].load::<1>(), 7);
            assert_eq!(ring.slots()[1].load::<1>(), 0, "another word");
            loads.next_call();
        }
        for _ in 0..1000 {
            assert_eq!(ring.slots()[0].load::<1>(), 7);
            let _ = platform.now();
        }
        let of = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
        let words = DmaWords::<Word32, _>::zeroed(&of, 4, Align::PAGE).unwrap();
        let device = platform.device_memory("nic");
        for number in 0..1000_u32 {
            device.write(words.dma_addr().get(), &number.to_le_bytes()).unwrap();
            assert_eq!(words.words()[0].load(), number, "a device wrote in between");
        }
        assert_eq!((loads.loads(), loads.again(), loads.changed()), (4000, 0, 0));
        platform.memory().expect_leak(None);
    }

    #[test]
    fn the_second_load_is_changed_and_the_same_seed_changes_the_same() {
        let platform = MockPlatform::new();
        let ring = ring(&platform);
        ring.slots()[0].store::<1>(0x8000_0000);
        let run = |seed| {
            let loads = ChangingLoads::armed(seed);
            let seen: Vec<u32> = (0..200).map(|_| ring.slots()[0].load::<1>()).collect();
            assert_eq!(seen[0], 0x8000_0000, "the first load is the truth");
            let changed = seen.iter().filter(|seen| **seen != 0x8000_0000).count();
            assert_eq!(u64::try_from(changed), Ok(loads.changed()));
            assert!((50..150).contains(&changed), "{changed} of 199");
            for expected in [0, u32::MAX, 0x8000_0001, 0x7fff_ffff, 0x8001_0000] {
                assert!(seen.contains(&expected), "{expected:#x} is among them");
            }
            seen
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        assert_eq!(ring.slots()[0].load::<1>(), 0x8000_0000, "off when it is dropped");
    }

    #[test]
    fn words_that_overlap_are_one() {
        let platform = MockPlatform::new();
        let of = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
        let halves = DmaWords::<Word16, _>::zeroed(&of, 4, Align::PAGE).unwrap();
        let ring = ring(&platform);
        let loads = ChangingLoads::counted();
        let _ = (ring.slots()[0].load::<1>(), ring.slots()[0].load_pair::<0>(), ring.slots()[0].snapshot());
        assert_eq!((loads.loads(), loads.again()), (6, 3));
        let entry = std::ptr::from_ref(&ring.slots()[0]).addr();
        let mut places = loads.again_at();
        places.sort_unstable();
        assert_eq!(places, [entry, entry + 4], "the first by the pair and by the snapshot");
        let _ = (halves.words()[0].load(), halves.words()[1].load());
        assert_eq!((loads.loads(), loads.again(), loads.changed()), (8, 3, 0));
    }

    #[test]
    fn a_listener_hears_of_each_change_before_the_driver() {
        let platform = MockPlatform::new();
        let ring = ring(&platform);
        let heard = Rc::new(RefCell::new(Vec::new()));
        let all = Rc::clone(&heard);
        let loads = ChangingLoads::armed(5).telling(move |change| {
            // What a model does about it ends no call.
            next_call();
            all.borrow_mut().push(change.told);
        });
        let seen: Vec<u64> =
            (0..100).map(|_| ring.slots()[2].load::<3>().into()).filter(|seen| *seen != 0).collect();
        assert_eq!(*heard.borrow(), seen);
        assert!(loads.changed() > 0);
    }

    #[test]
    #[should_panic(
        expected = "of the last 1000, 1000 were 4 bytes at offset 20 of region #1 (64 bytes, coherent"
    )]
    fn a_loop_without_an_end_is_ended() {
        let platform = MockPlatform::new();
        let ring = ring(&platform);
        while ring.slots()[1].load::<1>() == 0 {}
    }
}
