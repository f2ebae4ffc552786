//! Configuration mechanism #1: an address port and a data port.
//!
//! An access is two port accesses, and whoever comes between them sends the second one astray.
//! [`Exclusive`] is how the platform keeps others out; [`Alone`] is for one on which there are
//! none.
//!
//! ```text
//! CONFIG_ADDRESS  31      30     24 23   16 15    11 10     8 7      2 1 0
//!               +--------+---------+-------+--------+--------+--------+---+
//!               | enable |    0    |  bus  | device |function| dword  | 0 |
//!               +--------+---------+-------+--------+--------+--------+---+
//! ```
//!
//! Spec: PCI Local Bus 3.0, 3.2.2.3.2 "Software Generation of Configuration Transactions".

use core::ops::RangeInclusive;

use paravane_hal::port::PortIo;

use super::{CONFIG_BYTES, ConfigAccess, answers};
use crate::PciAddress;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// Keeps others out while two port accesses belong together.
///
/// **Platform authors**: on more than one core, a lock shared by everything that uses `0xCF8`;
/// where an interrupt handler reads configuration space too, one that keeps interrupts off.
pub trait Exclusive {
    /// Runs `access` while nothing else runs under this value, or under one that shares its lock.
    fn run<T>(&self, access: impl FnOnce() -> T) -> T;
}

impl<X: Exclusive + ?Sized> Exclusive for &X {
    fn run<T>(&self, access: impl FnOnce() -> T) -> T {
        (**self).run(access)
    }
}

/// Nobody else uses the ports: one core, and no interrupt handler that reads configuration space.
///
/// Using it is saying so. It is `Send` and `Sync`, for a driver moves with its function, and on one
/// core threads take turns; a kernel that switches threads between any two instructions needs an
/// [`Exclusive`] of its own, as one with a second core does. Where it is used wrongly, accesses
/// reach the wrong register: a write does what any wrong write to configuration space does, and a
/// read may tell of another function, one that has stopped, where proof is taken that this one has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Exclusive for Alone {
    fn run<T>(&self, access: impl FnOnce() -> T) -> T {
        access()
    }
}

/// Configuration space by ports `0xCF8` and `0xCFC`: segment 0, 256 bytes a function.
#[derive(Clone, Debug)]
pub struct Cam<P, X = Alone> {
    ports: P,
    exclusive: X,
}

impl<P: PortIo> Cam<P> {
    /// For a platform on which nobody else uses the ports: [`Alone`] says what that means.
    #[must_use]
    pub fn new(ports: P) -> Self {
        Self::with_exclusive(ports, Alone)
    }
}

impl<P: PortIo, X: Exclusive> Cam<P, X> {
    /// For a platform that serialises the users of the ports by `exclusive`.
    #[must_use]
    pub fn with_exclusive(ports: P, exclusive: X) -> Self {
        Self { ports, exclusive }
    }

    /// Whether the machine has the mechanism: the address port keeps what is written to it.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.exclusive.run(|| {
            let before = self.ports.in32(CONFIG_ADDRESS);
            self.ports.out32(CONFIG_ADDRESS, ENABLE);
            let kept = self.ports.in32(CONFIG_ADDRESS) == ENABLE;
            self.ports.out32(CONFIG_ADDRESS, before);
            kept
        })
    }

    /// Selects the dword of `offset` and runs `access` on its data port; `None` where nobody
    /// answers.
    fn select<T>(
        &self,
        at: PciAddress,
        offset: u16,
        width_bytes: u16,
        access: impl FnOnce(&P, u16) -> T,
    ) -> Option<T> {
        if at.segment() != 0 || !answers(offset, width_bytes, CONFIG_BYTES) {
            return None;
        }
        let dword = u32::from(offset & !0b11);
        let select = ENABLE | u32::from(at.bus()) << 16 | u32::from(at.devfn()) << 8 | dword;
        Some(self.exclusive.run(|| {
            self.ports.out32(CONFIG_ADDRESS, select);
            access(&self.ports, CONFIG_DATA | (offset & 0b11))
        }))
    }
}

impl<P: PortIo, X: Exclusive> ConfigAccess for Cam<P, X> {
    fn read8(&self, at: PciAddress, offset: u16) -> u8 {
        self.select(at, offset, 1, P::in8).unwrap_or(u8::MAX)
    }
    fn read16(&self, at: PciAddress, offset: u16) -> u16 {
        self.select(at, offset, 2, P::in16).unwrap_or(u16::MAX)
    }
    fn read32(&self, at: PciAddress, offset: u16) -> u32 {
        self.select(at, offset, 4, P::in32).unwrap_or(u32::MAX)
    }
    fn write8(&self, at: PciAddress, offset: u16, value: u8) {
        self.select(at, offset, 1, |ports, port| ports.out8(port, value));
    }
    fn write16(&self, at: PciAddress, offset: u16, value: u16) {
        self.select(at, offset, 2, |ports, port| ports.out16(port, value));
    }
    fn write32(&self, at: PciAddress, offset: u16, value: u32) {
        self.select(at, offset, 4, |ports, port| ports.out32(port, value));
    }
    fn config_bytes(&self) -> u16 {
        CONFIG_BYTES
    }
    fn segment(&self) -> u16 {
        0
    }
    fn buses(&self) -> RangeInclusive<u8> {
        0..=u8::MAX
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Remembers every access; an address port that keeps its value, data ports that count.
    #[derive(Default)]
    struct Ports {
        address: Cell<u32>,
        log: RefCell<Vec<(u16, u8, Option<u32>)>>,
        deaf: bool,
    }

    impl Ports {
        fn note(&self, port: u16, width: u8, value: Option<u32>) -> u32 {
            self.log.borrow_mut().push((port, width, value));
            match (port, value) {
                (CONFIG_ADDRESS, Some(value)) if !self.deaf => self.address.set(value),
                (CONFIG_ADDRESS, None) => return if self.deaf { u32::MAX } else { self.address.get() },
                _ => {}
            }
            0x4433_2211 >> (u32::from(port & 3) * 8)
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low bytes are the point")]
    impl PortIo for Ports {
        fn in8(&self, port: u16) -> u8 {
            self.note(port, 1, None) as u8
        }
        fn in16(&self, port: u16) -> u16 {
            self.note(port, 2, None) as u16
        }
        fn in32(&self, port: u16) -> u32 {
            self.note(port, 4, None)
        }
        fn out8(&self, port: u16, value: u8) {
            self.note(port, 1, Some(value.into()));
        }
        fn out16(&self, port: u16, value: u16) {
            self.note(port, 2, Some(value.into()));
        }
        fn out32(&self, port: u16, value: u32) {
            self.note(port, 4, Some(value));
        }
    }

    fn nic() -> PciAddress {
        "3c:1e.5".parse().unwrap()
    }

    #[test]
    fn an_access_selects_its_dword_and_uses_its_own_width() {
        let ports = Ports::default();
        let cam = Cam::new(&ports);
        assert_eq!(cam.read8(nic(), 0x43), 0x44);
        cam.write16(nic(), 0x06, 0xbeef);
        assert_eq!(
            *ports.log.borrow(),
            [
                (0xcf8, 4, Some(0x803c_f540)),
                (0xcff, 1, None),
                (0xcf8, 4, Some(0x803c_f504)),
                (0xcfe, 2, Some(0xbeef)),
            ]
        );
    }

    #[test]
    fn what_the_ports_cannot_name_is_not_sent_to_them() {
        let ports = Ports::default();
        let cam = Cam::new(&ports);
        let elsewhere = PciAddress::new(1, 0, 0, 0).unwrap();
        assert_eq!(cam.read32(elsewhere, 0), u32::MAX, "another segment");
        assert_eq!(cam.read32(nic(), 0x100), u32::MAX, "extended space");
        assert_eq!(cam.read16(nic(), 0x41), u16::MAX, "misaligned");
        assert_eq!(cam.read8(nic(), u16::MAX), u8::MAX);
        cam.write32(nic(), 0x102, 0);
        cam.write16(nic(), 0x03, 0);
        assert_eq!(*ports.log.borrow(), []);
    }

    #[test]
    fn a_machine_without_the_mechanism_is_noticed() {
        assert!(Cam::new(Ports::default()).is_present());
        assert!(!Cam::new(Ports { deaf: true, ..Ports::default() }).is_present());
    }

    #[test]
    fn the_two_accesses_run_under_the_lock() {
        #[derive(Default)]
        struct Lock(Cell<u32>);
        impl Exclusive for Lock {
            fn run<T>(&self, access: impl FnOnce() -> T) -> T {
                self.0.set(self.0.get() + 1);
                access()
            }
        }
        let lock = Lock::default();
        let cam = Cam::with_exclusive(Ports::default(), &lock);
        cam.read32(nic(), 0);
        cam.write8(nic(), 0x3c, 11);
        assert_eq!(lock.0.get(), 2);
    }
}
