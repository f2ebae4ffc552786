//! Interrupt vectors: how many, who uses which, and who masks.
//!
//! The device numbers vectors from 0; with MSI and on the pin there is vector 0 only, and anything
//! else makes QEMU end itself. All vectors are masked by reset and stay so until something is
//! armed. Not here: programming messages into config space, which is `pci`'s part.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use paravane_hal::irq::InterruptMode;
use paravane_hal::mmio::{Mmio, MmioExt};
use paravane_hal::reg::{Reg, WriteOnly};

use crate::regs::bar0::IMR;

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

/// Most vectors the driver has a use for.
pub(crate) const MAX_VECTORS: usize = 3;

/// Which vector serves what.
#[derive(Clone, Debug)]
pub(crate) struct Vectors {
    pub(crate) mode: InterruptMode,
    /// `numIntrs`; without interrupts one as well, for every index has to be below it.
    pub(crate) count: u8,
    pub(crate) rx: u8,
    pub(crate) tx: u8,
    pub(crate) events: u8,
    pin: Option<Pin>,
}

impl Vectors {
    /// Spreads three users over what there is.
    pub(crate) fn spread(mode: InterruptMode) -> Self {
        // Three at most.
        let byte = |vector: u16| u8::try_from(vector).unwrap_or(0);
        let [rx, tx] = [0, 1].map(|queue| byte(mode.queue_vector(queue)));
        let (count, events) = (byte(mode.messages().max(1)), byte(mode.event_vector()));
        let pin = (mode == InterruptMode::Line).then(Pin::default);
        Self { mode, count, rx, tx, events, pin }
    }

    /// The mask of vector `index`, for one of its users.
    pub(crate) fn vector(&self, index: u8) -> Vector {
        let users = [self.rx, self.tx, self.events].iter().filter(|user| **user == index).count();
        let imr = if self.mode == InterruptMode::Polling { None } else { IMR.get(index.into()) };
        Vector { imr, is_shared: users > 1, pin: self.pin.clone() }
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

    #[test]
    fn each_index_is_below_the_count() {
        let modes = [InterruptMode::Msi, InterruptMode::Line, InterruptMode::Polling];
        for mode in modes.into_iter().chain((1..=3).map(|vectors| InterruptMode::Msix { vectors })) {
            let vectors = Vectors::spread(mode);
            assert!(
                [vectors.rx, vectors.tx, vectors.events].into_iter().all(|index| index < vectors.count),
                "{mode}"
            );
        }
    }

    #[test]
    fn the_wanted_kind_is_two_bits_of_the_answer() {
        use WantedInterrupts::{Any, Intx, Msi, Msix};
        assert_eq!([0b0100, 0b0101, 2, 0b1011].map(WantedInterrupts::from_conf_intr), [Any, Intx, Msi, Msix]);
    }

    #[test]
    fn without_msix_everything_is_on_vector_0() {
        for mode in [InterruptMode::Msi, InterruptMode::Line] {
            let vectors = Vectors::spread(mode);
            assert_eq!((vectors.count, vectors.rx, vectors.tx, vectors.events), (1, 0, 0, 0));
        }
    }

    #[test]
    fn a_vector_knows_whether_it_is_shared() {
        let two = Vectors::spread(InterruptMode::Msix { vectors: 2 });
        assert!(two.vector(two.rx).is_shared && !two.vector(two.events).is_shared);
        let three = Vectors::spread(InterruptMode::Msix { vectors: 3 });
        assert!(!three.vector(three.tx).is_shared);
        assert!(Vectors::spread(InterruptMode::Polling).vector(0).imr.is_none());
    }
}
