//! Interrupt vectors: how many, who uses which, and who masks.
//!
//! The device numbers vectors from 0; with MSI and on the pin there is vector 0 only, and anything else makes QEMU end itself. All vectors are masked by reset
//! and stay so until something is armed. Not here: programming messages into config space, which [`start`](crate::Device::start) does through `pci`.

use core::fmt;

use paravane_hal::mmio::{Mmio, MmioExt};
use paravane_hal::reg::{Reg, WriteOnly};

use crate::regs::bar0::IMR;

/// How the device interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptMode {
    /// By MSI-X.
    Msix {
        /// Messages in use: three for receive, transmit and events; two for both queues and events; one for all.
        vectors: u8,
    },
    /// By MSI: one message for all.
    Msi,
    /// By the interrupt pin.
    Intx,
    /// Not at all.
    Polling,
}

impl fmt::Display for InterruptMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Msix { vectors } => write!(f, "msix ({vectors})"),
            Self::Msi => f.write_str("msi"),
            Self::Intx => f.write_str("intx"),
            Self::Polling => f.write_str("polling"),
        }
    }
}

/// Most vectors the driver has a use for.
pub(crate) const MAX_VECTORS: u8 = 3;

/// Which vector serves what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vectors {
    pub(crate) mode: InterruptMode,
    /// `numIntrs`; without interrupts one as well, for every index has to be below it.
    pub(crate) count: u8,
    pub(crate) rx: u8,
    pub(crate) tx: u8,
    pub(crate) events: u8,
}

impl Vectors {
    /// Spreads three users over what there is.
    pub(crate) const fn spread(mode: InterruptMode) -> Self {
        match mode {
            InterruptMode::Msix { vectors: 2 } => Self { mode, count: 2, rx: 0, tx: 0, events: 1 },
            InterruptMode::Msix { vectors: MAX_VECTORS.. } => {
                Self { mode, count: 3, rx: 0, tx: 1, events: 2 }
            }
            _ => Self { mode, count: 1, rx: 0, tx: 0, events: 0 },
        }
    }

    /// The mask of vector `index`, for one of its users.
    pub(crate) fn vector(&self, index: u8) -> Vector {
        let users = [self.rx, self.tx, self.events].iter().filter(|user| **user == index).count();
        let imr = if self.mode == InterruptMode::Polling { None } else { IMR.get(index.into()) };
        Vector { imr, is_shared: users > 1 }
    }

    /// Masks every vector. Comes before the device is stopped: afterwards it does not listen, and remembers.
    pub(crate) fn mask_all(&self, bar0: &impl Mmio) {
        for index in 0..self.count {
            if let Some(imr) = IMR.get(index.into()) {
                bar0.write(&imr, 1);
            }
        }
    }
}

/// One user's view of its vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vector {
    /// `None`: no interrupts.
    imr: Option<Reg<u32, WriteOnly>>,
    is_shared: bool,
}

impl Vector {
    /// Lets it interrupt. What the device held back meanwhile comes now.
    #[inline]
    pub(crate) fn unmask(&self, bar0: &impl Mmio) {
        if let Some(imr) = self.imr {
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

    /// Keeps it from interrupting, whoever depends on it: for the pin, whose handler serves all users.
    pub(crate) fn mask(&self, bar0: &impl Mmio) {
        if let Some(imr) = self.imr {
            bar0.write(&imr, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_is_below_the_count() {
        let modes = [InterruptMode::Msi, InterruptMode::Intx, InterruptMode::Polling];
        for mode in modes.into_iter().chain((1..=MAX_VECTORS).map(|vectors| InterruptMode::Msix { vectors }))
        {
            let vectors = Vectors::spread(mode);
            assert!(
                [vectors.rx, vectors.tx, vectors.events].into_iter().all(|index| index < vectors.count),
                "{mode}"
            );
        }
    }

    #[test]
    fn without_msix_everything_is_on_vector_0() {
        for mode in [InterruptMode::Msi, InterruptMode::Intx] {
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
