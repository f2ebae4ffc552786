//! DMA memory from the heap, who owns which bytes of it, and the device's way in.
//!
//! | Part | Holds |
//! |---|---|
//! | this file | [`Memory`]: what platforms and tests call |
//! | `dma` | the contract with drivers: allocating, mapping, and back |
//! | `domain` | which piece is where, what was given back, what went wrong |
//! | `block` | heap memory between guard bytes |
//! | `space` | device addresses |
//! | `site` | who asked, read from the stack |
//! | [`Lease`] | bytes that a device was given by descriptor |
//! | [`AccessFault`] | a refused access |

#![expect(unsafe_code, reason = "raw memory from the global allocator, reached from two sides")]

mod block;
mod dma;
mod domain;
mod fault;
mod lease;
mod settings;
mod site;
mod space;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use paravane_hal::dma::{Direction, DomainTag};

use crate::loads;
use domain::{Domain, Kind, POISON};

pub use fault::{AccessFault, FaultKind};
pub use lease::Lease;
pub(crate) use settings::Settings;

/// The memory of one DMA domain. A clone reaches the same domain.
///
/// As it comes from `default`, it refuses and writes down what breaks the rules
/// ([`faults`](Self::faults), [`violations`](Self::violations)); the memory of a
/// [`MockPlatform`](crate::MockPlatform) panics.
#[derive(Clone, Default)]
pub struct Memory(Arc<Inner>);

struct Inner {
    tag: DomainTag,
    domain: Mutex<Domain>,
    observers: Mutex<Vec<Observer>>,
}

impl Default for Inner {
    fn default() -> Self {
        let tag = DomainTag::unique();
        let mut domain = Domain::default();
        domain.space.number = tag.number();
        Self { tag, domain: Mutex::new(domain), observers: Mutex::default() }
    }
}

/// The memories of all platforms.
fn enlisted() -> MutexGuard<'static, Vec<Weak<Inner>>> {
    static ALL: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names the memory that the CPU finds at `place`, whichever platform's it is.
pub(crate) fn describe_place(place: usize) -> String {
    let all: Vec<_> = enlisted().iter().filter_map(Weak::upgrade).collect();
    let mut found = None;
    for inner in all {
        let domain = inner.domain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, offset, piece)) = domain.around_place(place) {
            found = Some(format!("offset {offset} of {piece}"));
        }
        drop(domain);
        // Its platform may have gone meanwhile: what is wrong with that is another test's matter.
        if let Some(inner) = Arc::into_inner(inner) {
            inner.domain.into_inner().unwrap_or_else(PoisonError::into_inner).is_finished = true;
        }
    }
    found.unwrap_or_else(|| "a place that no platform knows".into())
}

type Observer = Box<dyn FnMut(&DeviceWrite<'_>) + Send>;

/// A device's write to memory, as it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceWrite<'w> {
    /// The device address.
    pub addr: u64,
    /// Which allocation, or which mapping, counted from 1.
    pub number: u64,
    /// Where in it.
    pub offset_bytes: usize,
    /// What was written.
    pub bytes: &'w [u8],
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domain = self.lock();
        write!(f, "Memory({} pieces out, {} faults)", domain.pieces.len(), domain.faults.len())
    }
}

impl Memory {
    pub(crate) fn with_settings(settings: Settings) -> Self {
        let memory = Self::default();
        memory.lock().settings = settings;
        memory
    }

    fn lock(&self) -> MutexGuard<'_, Domain> {
        // The domain is consistent after each statement; a test that panicked elsewhere does not
        // change that.
        self.0.domain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many coherent regions are out.
    #[must_use]
    pub fn regions(&self) -> usize {
        self.lock().pieces.values().filter(|piece| piece.kind == Kind::Coherent).count()
    }

    /// How many mappings are out.
    #[must_use]
    pub fn mappings(&self) -> usize {
        self.lock().pieces.values().filter(|piece| piece.kind != Kind::Coherent).count()
    }

    /// How many bytes are in use, coherent and mapped together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().pieces.values().map(|piece| piece.len_bytes).sum()
    }

    /// What devices did that they must not do.
    #[must_use]
    pub fn faults(&self) -> Vec<AccessFault> {
        self.lock().faults.clone()
    }

    /// Which rules of the platform the driver broke: it gave memory back that a device had, or
    /// wrote past an end.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Takes faults and violations, which then count no more at the end.
    pub fn forgive(&self) -> (Vec<AccessFault>, Vec<String>) {
        let mut domain = self.lock();
        (std::mem::take(&mut domain.faults), std::mem::take(&mut domain.violations))
    }

    /// Everything that is wrong if this is the end: faults, violations, broken guards, writes to
    /// freed memory, leaks.
    #[must_use]
    pub fn verdict(&self) -> Vec<String> {
        self.lock().verdict()
    }

    /// Where devices find the memory that the CPU finds at `place`.
    #[must_use]
    pub fn dma_address_of(&self, place: usize) -> Option<u64> {
        self.lock().around_place(place).map(|(addr, ..)| addr)
    }

    /// Lets [`describe_place`] find what is in it.
    pub(crate) fn enlist(&self) {
        let mut all = enlisted();
        all.retain(|memory| memory.strong_count() > 0);
        all.push(Arc::downgrade(&self.0));
    }

    /// Lets the next `count` allocations and mappings succeed and all later ones fail; `None` lifts
    /// the limit.
    pub fn limit_allocations(&self, count: Option<usize>) {
        self.lock().calls_left = count;
    }

    /// Limits the longest contiguous piece.
    pub fn limit_segment(&self, max_segment_bytes: usize) {
        self.lock().settings.max_segment_bytes = max_segment_bytes;
    }

    /// So many regions and mappings are meant to be out at the end; `None` for no matter how many.
    pub fn expect_leak(&self, count: Option<usize>) {
        self.lock().settings.leaks = count;
    }

    /// Calls `observer` after every write by a device. It must not call back into this memory's
    /// devices.
    pub fn observe(&self, observer: Box<dyn FnMut(&DeviceWrite<'_>) + Send>) {
        self.observers().push(observer);
    }

    fn observers(&self) -> MutexGuard<'_, Vec<Observer>> {
        self.0.observers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device reads `to.len()` bytes at `addr`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`], which is also written down; `to` is untouched.
    #[track_caller]
    pub fn device_read(&self, addr: u64, to: &mut [u8]) -> Result<(), AccessFault> {
        self.read_as("device", addr, to)
    }

    /// A device writes `bytes` at `addr`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`], which is also written down; nothing is written.
    #[track_caller]
    pub fn device_write(&self, addr: u64, bytes: &[u8]) -> Result<(), AccessFault> {
        self.write_as("device", addr, bytes)
    }

    /// A device reads `N` bytes.
    ///
    /// # Errors
    ///
    /// As [`device_read`](Self::device_read).
    #[track_caller]
    pub fn device_get<const N: usize>(&self, addr: u64) -> Result<[u8; N], AccessFault> {
        let mut bytes = [0; N];
        self.device_read(addr, &mut bytes)?;
        Ok(bytes)
    }

    #[track_caller]
    pub(crate) fn read_as(&self, who: &str, addr: u64, to: &mut [u8]) -> Result<(), AccessFault> {
        loads::next_call();
        let mut domain = self.lock();
        match domain.reach(who, addr, to.len(), Direction::ToDevice) {
            Ok((from, ..)) => {
                // SAFETY: `reach` checked that all of it lies in a piece that is still given out;
                // `to` is a driver's or model's own memory elsewhere.
                unsafe { from.as_ptr().copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
                Ok(())
            }
            Err(fault) => Err(Self::fail(domain, fault)),
        }
    }

    #[track_caller]
    pub(crate) fn write_as(&self, who: &str, addr: u64, bytes: &[u8]) -> Result<(), AccessFault> {
        loads::next_call();
        let mut domain = self.lock();
        let (number, offset_bytes) = match domain.reach(who, addr, bytes.len(), Direction::FromDevice) {
            Ok((to, number, offset_bytes)) => {
                // SAFETY: as in `read_as`.
                unsafe { to.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                domain.sum_anew(who, addr, bytes.len());
                (number, offset_bytes)
            }
            Err(fault) => return Err(Self::fail(domain, fault)),
        };
        drop(domain);
        for observer in self.observers().iter_mut() {
            observer(&DeviceWrite { addr, number, offset_bytes, bytes });
        }
        Ok(())
    }

    /// Refuses an access of a function that may not reach memory.
    pub(crate) fn refuse(&self, who: &str, addr: u64, len_bytes: usize, access: Direction) -> AccessFault {
        self.lock().refuse(who, addr, len_bytes, access, FaultKind::BusMasterOff)
    }

    /// What is wrong with an access, if anything; nothing comes of it.
    pub(crate) fn missing(&self, addr: u64, len_bytes: usize, access: Direction) -> Option<AccessFault> {
        self.lock().missing(addr, len_bytes, access)
    }

    /// Ends the test with `fault`, or hands it to the model.
    #[track_caller]
    fn fail(domain: MutexGuard<'_, Domain>, fault: AccessFault) -> AccessFault {
        let panics = domain.settings.panics && !std::thread::panicking();
        drop(domain);
        assert!(!panics, "{fault}");
        fault
    }

    /// Ends the test with the violations that came up since there were `before`.
    #[track_caller]
    fn judge(domain: MutexGuard<'_, Domain>, before: usize) {
        let fresh = domain.violations.get(before..).unwrap_or_default().join("\n");
        let panics = domain.settings.panics && !std::thread::panicking();
        drop(domain);
        assert!(fresh.is_empty() || !panics, "{fresh}");
    }

    /// The device has these bytes from here on, as a descriptor said. What it may write is
    /// poisoned, what it only reads is summed up.
    #[track_caller]
    pub(crate) fn take_lease(&self, mut lease: Lease) -> Result<Lease, AccessFault> {
        let Lease { addr, len_bytes, direction, .. } = lease;
        let access =
            if direction == Direction::ToDevice { Direction::ToDevice } else { Direction::FromDevice };
        let mut domain = self.lock();
        let before = domain.violations.len();
        let to = match domain.reach(&lease.holder, addr, len_bytes, access) {
            Ok((to, ..)) => to,
            Err(fault) => return Err(Self::fail(domain, fault)),
        };
        if let Some(held) = domain.held(addr, len_bytes) {
            let what = format!("given to device `{}` while it is out already: {held}", lease.holder);
            domain.violations.push(what);
        }
        match direction {
            // SAFETY: `reach` checked that all of it lies in a piece that is still given out.
            Direction::FromDevice => unsafe { to.as_ptr().write_bytes(POISON, len_bytes) },
            Direction::ToDevice => lease.sum = domain.sum(addr, len_bytes),
            Direction::Both => {}
        }
        domain.leases.insert(addr, lease.clone());
        Self::judge(domain, before);
        Ok(lease)
    }

    #[track_caller]
    pub(crate) fn end_lease(&self, lease: &Lease) {
        let mut domain = self.lock();
        let before = domain.violations.len();
        let expected = domain.leases.remove(&lease.addr).and_then(|known| known.sum);
        // Memory that was freed under the device was a violation then.
        let sum = domain.sum(lease.addr, lease.len_bytes);
        if expected.is_some() && sum.is_some() && sum != expected {
            domain.violations.push(format!("changed while the device had it: {lease}"));
        }
        Self::judge(domain, before);
    }

    pub(crate) fn end_leases_of(&self, holder: &str) {
        self.lock().leases.retain(|_, lease| *lease.holder != *holder);
    }

    /// The end: what is wrong, once.
    pub(crate) fn finish(&self) -> Vec<String> {
        let mut domain = self.lock();
        domain.is_finished = true;
        domain.verdict()
    }
}
