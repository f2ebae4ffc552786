//! Interrupt vectors: how many, who uses which, and who masks.
//!
//! The device numbers vectors from 0; with MSI and on the pin there is vector 0 only, and anything
//! else makes QEMU end itself. All vectors are masked by reset and stay so until something is
//! armed. Not here: programming messages into config space, which is `pci`'s part.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::mmio::{Mmio, MmioExt};
use paravane_hal::reg::{Reg, WriteOnly};

use crate::regs::MaskMode;
use crate::regs::bar0::IMR;
use crate::table::QueueCounts;

/// Which kind of interrupt a device would rather have: answer to `GET_CONF_INTR`, bits 1:0.
///
/// An administrator's wish, not a limit: the others work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedInterrupts {
    /// Whichever is best.
    Any,
    /// The interrupt pin.
    Intx,
    /// MSI.
    Msi,
    /// MSI-X.
    Msix,
}

impl WantedInterrupts {
    /// Reads the answer.
    pub(crate) const fn from_conf_intr(answer: u32) -> Self {
        match answer & 0b11 {
            1 => Self::Intx,
            2 => Self::Msi,
            3 => Self::Msix,
            _ => Self::Any,
        }
    }
}

/// Which vector serves what.
#[derive(Clone, Debug)]
pub(crate) struct Vectors {
    pub(crate) mode: InterruptMode,
    /// `numIntrs`; without interrupts one as well, for every index has to be below it.
    pub(crate) count: u8,
    queues: QueueCounts,
    /// Those that have several users, a bit each.
    shared: u128,
    pin: Option<Pin>,
}

impl Vectors {
    /// How many vectors so many queues have a use for: one each, and one for events.
    fn wanted(queues: QueueCounts) -> usize {
        // With 8 and 16 queues that is 25, with 32 and 32 it is 65: as many as there are.
        queues.all().saturating_add(1).into()
    }

    /// What of `interrupts` so many queues make use of.
    ///
    /// Where the driver masks, whoever acknowledges an interrupt does not say which message it came
    /// by, so there is no more than one that has several users: with fewer messages than users, the
    /// queues share the first, and events have the second.
    pub(crate) fn used(
        interrupts: Interrupts<'_>,
        queues: QueueCounts,
        mask_mode: MaskMode,
    ) -> Interrupts<'_> {
        let wanted = Self::wanted(queues);
        let are_shared = interrupts.msix.len() < wanted;
        interrupts.with_at_most(if are_shared && mask_mode == MaskMode::Active { 2 } else { wanted })
    }

    /// Spreads the queues and events over what there is.
    pub(crate) fn spread(mode: InterruptMode, queues: QueueCounts) -> Self {
        let pin = (mode == InterruptMode::Line).then(Pin::default);
        let mut vectors = Self { mode, count: byte(mode.messages().max(1)), queues, shared: 0, pin };
        let tx = (0..queues.tx).map(|queue| vectors.tx(queue));
        let rx = (0..queues.rx).map(|queue| vectors.rx(queue));
        let (_, shared) = tx.chain(rx).chain([vectors.events()]).fold((0, 0), |(used, shared), user| {
            // Below 65.
            let bit = 1_u128.wrapping_shl(user.into());
            (used | bit, shared | used & bit)
        });
        vectors.shared = shared;
        vectors
    }

    /// The vector of receive queue `queue`.
    pub(crate) fn rx(&self, queue: u8) -> u8 {
        let QueueCounts { tx, .. } = self.queues;
        let has_pair = queue < tx;
        // Where there is a vector for each, receive queues without a pair come one by one behind
        // the pairs; where there is not, they are pairs, to share with their like.
        let number = if has_pair || self.mode.messages() <= self.queues.all() {
            u16::from(queue).saturating_mul(2)
        } else {
            u16::from(tx).saturating_add(queue.into())
        };
        byte(self.mode.queue_vector(number))
    }

    /// The vector of transmit queue `queue`.
    pub(crate) fn tx(&self, queue: u8) -> u8 {
        byte(self.mode.queue_vector(u16::from(queue).saturating_mul(2).saturating_add(1)))
    }

    /// The vector of events.
    pub(crate) fn events(&self) -> u8 {
        byte(self.mode.event_vector())
    }

    /// The mask of vector `index`, for one of its users.
    pub(crate) fn vector(&self, index: u8) -> Vector {
        let imr = if self.mode == InterruptMode::Polling { None } else { IMR.get(index.into()) };
        let is_shared = self.shared & 1_u128.wrapping_shl(index.into()) != 0;
        Vector { imr, is_shared, pin: self.pin.clone() }
    }

    /// Masks the vectors that several users share, none of whom does it for himself.
    pub(crate) fn mask_shared(&self, bar0: &impl Mmio) {
        for index in 0..self.count {
            let Vector { imr, is_shared, .. } = self.vector(index);
            if let Some(imr) = imr.filter(|_| is_shared) {
                bar0.write(&imr, 1);
            }
        }
    }

    /// Masks every vector. Comes before the device is stopped: afterwards it does not listen, and
    /// remembers.
    pub(crate) fn mask_all(&self, bar0: &impl Mmio) {
        for index in 0..self.count {
            if let Some(imr) = IMR.get(index.into()) {
                bar0.write(&imr, 1);
            }
        }
    }
}

/// Vectors are numbered in a byte.
fn byte(vector: u16) -> u8 {
    u8::try_from(vector).unwrap_or(0)
}

/// Whether the pin is unmasked, for all of its users, wherever they run.
///
/// QEMU lowers a raised pin at any write to its mask, and does not raise it again. So the mask is
/// written by the first user that arms, and then by none until the device was asked about the pin
/// and all users are served: a raised pin stays up until somebody has seen it.
#[derive(Clone, Debug, Default)]
struct Pin(Arc<AtomicBool>);

impl Pin {
    /// Whether the caller is the one who has to unmask it.
    fn must_unmask(&self) -> bool {
        // Between the question about the pin, on control's core, and the write to its mask.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// It fell and is masked.
    fn fell(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// One user's view of its vector.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    /// `None`: no interrupts.
    imr: Option<Reg<u32, WriteOnly>>,
    is_shared: bool,
    pin: Option<Pin>,
}

impl Vector {
    /// Lets it interrupt. What the device held back meanwhile comes now.
    #[inline]
    pub(crate) fn unmask(&self, bar0: &impl Mmio) {
        if let Some(imr) = self.imr
            && self.pin.as_ref().is_none_or(Pin::must_unmask)
        {
            bar0.write(&imr, 0);
        }
    }

    /// Keeps it from interrupting, unless others depend on it.
    #[inline]
    pub(crate) fn mask_own(&self, bar0: &impl Mmio) {
        if let Some(imr) = self.imr.filter(|_| !self.is_shared) {
            bar0.write(&imr, 1);
        }
    }

    /// The pin was asked, fell, and is masked: from now on, arming unmasks it.
    pub(crate) fn pin_fell(&self) {
        if let Some(pin) = &self.pin {
            pin.fell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const ONE: QueueCounts = QueueCounts { tx: 1, rx: 1 };
    const MOST: QueueCounts = QueueCounts { tx: 8, rx: 16 };

    fn all_of(vectors: &Vectors) -> Vec<u8> {
        let QueueCounts { tx, rx } = vectors.queues;
        let tx = (0..tx).map(|queue| vectors.tx(queue));
        tx.chain((0..rx).map(|queue| vectors.rx(queue))).chain([vectors.events()]).collect()
    }

    #[test]
    fn each_index_is_below_the_count() {
        let modes = [InterruptMode::Msi, InterruptMode::Line, InterruptMode::Polling];
        for queues in [ONE, QueueCounts { tx: 4, rx: 4 }, MOST] {
            let msix = (1..=queues.all() + 1).map(|vectors| InterruptMode::Msix { vectors });
            for mode in modes.into_iter().chain(msix) {
                let vectors = Vectors::spread(mode, queues);
                assert!(all_of(&vectors).iter().all(|index| *index < vectors.count), "{mode}, {queues:?}");
            }
        }
    }

    #[test]
    fn where_there_are_enough_each_has_its_own() {
        for queues in [ONE, QueueCounts { tx: 8, rx: 8 }, MOST] {
            let wanted = Vectors::wanted(queues);
            assert_eq!(wanted, usize::from(queues.all()) + 1);
            let vectors = Vectors::spread(InterruptMode::Msix { vectors: queues.all() + 1 }, queues);
            let mut all = all_of(&vectors);
            all.sort_unstable();
            assert!(all.iter().copied().map(usize::from).eq(0..wanted), "{queues:?}: {all:?}");
            assert!(all.iter().all(|index| !vectors.vector(*index).is_shared));
        }
    }

    #[test]
    fn where_there_are_too_few_like_shares_with_like() {
        for vectors in 3..25 {
            let vectors = Vectors::spread(InterruptMode::Msix { vectors }, MOST);
            let tx: Vec<_> = (0..8).map(|queue| vectors.tx(queue)).collect();
            let rx: Vec<_> = (0..16).map(|queue| vectors.rx(queue)).collect();
            assert!(rx.iter().all(|index| !tx.contains(index)), "{vectors:?}: {rx:?} {tx:?}");
            assert!(!vectors.vector(vectors.events()).is_shared);
        }
        let five = Vectors::spread(InterruptMode::Msix { vectors: 5 }, QueueCounts { tx: 4, rx: 4 });
        assert_eq!(all_of(&five), [1, 3, 1, 3, 0, 2, 0, 2, 4]);
        assert!((0..4).all(|index| five.vector(index).is_shared));
        let most = Vectors::spread(InterruptMode::Msix { vectors: 65 }, QueueCounts { tx: 32, rx: 32 });
        assert!((0..65).all(|index| !most.vector(index).is_shared));
    }

    #[test]
    fn the_wanted_kind_is_two_bits_of_the_answer() {
        use WantedInterrupts::{Any, Intx, Msi, Msix};
        assert_eq!([0b0100, 0b0101, 2, 0b1011].map(WantedInterrupts::from_conf_intr), [Any, Intx, Msi, Msix]);
    }

    #[test]
    fn without_msix_everything_is_on_vector_0() {
        for mode in [InterruptMode::Msi, InterruptMode::Line] {
            let vectors = Vectors::spread(mode, MOST);
            assert_eq!(vectors.count, 1);
            assert!(all_of(&vectors).iter().all(|index| *index == 0) && vectors.vector(0).is_shared);
        }
    }

    #[test]
    fn a_vector_knows_whether_it_is_shared() {
        let two = Vectors::spread(InterruptMode::Msix { vectors: 2 }, ONE);
        assert!(two.vector(two.rx(0)).is_shared && !two.vector(two.events()).is_shared);
        let three = Vectors::spread(InterruptMode::Msix { vectors: 3 }, ONE);
        assert!(!three.vector(three.tx(0)).is_shared);
        assert!(Vectors::spread(InterruptMode::Polling, ONE).vector(0).imr.is_none());
    }
}
