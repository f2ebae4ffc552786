//! The registers: BAR0 with masks and doorbells, BAR1 with everything else, and the commands that
//! go through `CMD`.
//!
//! All are 32 bits wide and eight bytes apart. The names are the device headers'. Not here: who may
//! write when; that is [`command`](crate::command) for `CMD` and [`start`](crate::start) for the
//! rest.

use paravane_hal::reg::{ReadClear, Reg, RegArray, WriteOnly};

/// How much of either BAR the driver uses, and so must be there.
pub(crate) const BAR_BYTES: usize = 0x1000;

/// BAR0, "PT": what the data path writes.
///
/// QEMU ignores every write here while the device is not active.
pub(crate) mod bar0 {
    use super::{RegArray, WriteOnly};

    /// Which BAR it is.
    pub(crate) const INDEX: u8 = 0;

    /// `IMR`: one per interrupt vector; 1 masks, 0 unmasks.
    ///
    /// QEMU gives back what was written; elsewhere that is not known, so the driver keeps its own
    /// record and never reads.
    pub(crate) const IMR: RegArray<u32, WriteOnly> = RegArray::at(0x000, 8, 65);
    /// `TXPROD` of each transmit queue: the index that the driver will fill next. A queue that the
    /// device was not told of must not be rung, QEMU would work on it.
    pub(crate) const TXPROD: RegArray<u32, WriteOnly> = RegArray::at(0x600, 8, 32);
    /// `RXPROD` of each receive queue: the same for its first ring.
    pub(crate) const RXPROD: RegArray<u32, WriteOnly> = RegArray::at(0x800, 8, 32);
    /// `RXPROD2` of each receive queue: the same for its second ring.
    pub(crate) const RXPROD2: RegArray<u32, WriteOnly> = RegArray::at(0xa00, 8, 32);
}

/// BAR1, "VD": what control writes.
pub(crate) mod bar1 {
    use super::{ReadClear, Reg, WriteOnly};

    /// Which BAR it is.
    pub(crate) const INDEX: u8 = 1;

    /// `VRRS`: read, the revisions that the device speaks, bit n for revision n + 1; write, the one
    /// bit chosen.
    pub(crate) const VRRS: Reg<u32> = Reg::at(0x00);
    /// `UVRS`: the same for versions of the pass-through protocol, of which there is one.
    pub(crate) const UVRS: Reg<u32> = Reg::at(0x08);
    /// `DSAL`: low half of where `DriverShared` is. Comes first.
    pub(crate) const DSAL: Reg<u32, WriteOnly> = Reg::at(0x10);
    /// `DSAH`: high half. Writing it makes the address valid.
    pub(crate) const DSAH: Reg<u32, WriteOnly> = Reg::at(0x18);
    /// `CMD`: write a command, then read the result of that command from the same place.
    pub(crate) const CMD: Reg<u32> = Reg::at(0x20);
    /// `MACL`: the first four bytes of our address, first byte lowest. Comes first.
    pub(crate) const MACL: Reg<u32> = Reg::at(0x28);
    /// `MACH`: the last two. Writing it makes the address valid.
    pub(crate) const MACH: Reg<u32> = Reg::at(0x30);
    /// `ICR`: whether the device raised its interrupt line; reading lowers the line. Not to be
    /// touched with MSI or MSI-X on: QEMU can end itself over it.
    pub(crate) const ICR: Reg<u32, ReadClear> = Reg::at(0x38);
    /// `ECR`: ones written acknowledge those events. Which events wait is read from `DriverShared`,
    /// not here.
    pub(crate) const ECR: Reg<u32, WriteOnly> = Reg::at(0x40);
    /// `DCR0`, from revision 7 on: read, what the device can do; write, what it is to do of that.
    pub(crate) const DCR0: Reg<u32> = Reg::at(0x48);
    /// `PTCR0`: the same of hardware that is passed through.
    pub(crate) const PTCR0: Reg<u32> = Reg::at(0x88);
}

/// What a register that nobody answers reads as.
pub(crate) const GONE: u32 = u32::MAX;

/// What the driver can tell the device to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Command {
    /// Start, with the configuration in `DriverShared`. Result 0: started.
    ActivateDev = 0xcafe_0000,
    /// Stop memory accesses and interrupts.
    QuiesceDev = 0xcafe_0001,
    /// Return to the state after power-on.
    ResetDev = 0xcafe_0002,
    /// Read `rxMode` again.
    UpdateRxMode = 0xcafe_0003,
    /// Read the multicast table again.
    UpdateMacFilters = 0xcafe_0004,
    /// Read `vfTable` again.
    UpdateVlanFilters = 0xcafe_0005,
    /// Read the indirection table again.
    UpdateRssidt = 0xcafe_0006,
    /// Wake the machine so, as `pmConfDesc` points at. Result 0: it will.
    UpdatePmConf = 0xcafe_0008,
    /// Read `uptFeatures` again.
    UpdateFeature = 0xcafe_0009,
    /// Interrupt so, as `cmdInfo` points at. Result 0: done. From revision 3 on.
    SetCoalesce = 0xcafe_000e,
    /// Spread by these fields, from `cmdInfo`. From revision 4 on, and not with one receive queue:
    /// some hosts misbehave over that.
    SetRssFields = 0xcafe_0010,
    /// Learn how long receive buffers are, from `cmdInfo`. Result 0: done. From revision 7 on.
    SetRingBufferSize = 0xcafe_0013,
}

/// What the driver can ask the device for; the answer is read from `CMD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Query {
    /// Fill `status` of every queue descriptor.
    QueueStatus = 0xf00d_0000,
    /// Fill `stats` of every queue descriptor.
    Stats = 0xf00d_0001,
    /// Bit 0: link up; upper half: Mbit/s.
    Link = 0xf00d_0002,
    /// The address that the device was made with, first four bytes.
    PermMacLow = 0xf00d_0003,
    /// The last two.
    PermMacHigh = 0xf00d_0004,
    /// Which kind of interrupt is wanted, and who masks.
    ConfIntr = 0xf00d_0008,
    /// Lower half: how long a slot of a transmit data ring is, from revision 3 on.
    TxDataDescSize = 0xf00d_000a,
    /// Write how it interrupts where `cmdInfo` points at, from revision 3 on.
    Coalesce = 0xf00d_000b,
    /// By which fields frames are spread, from revision 4 on.
    RssFields = 0xf00d_000c,
    /// Which capabilities the device took on, from revision 7 on.
    Dcr0 = 0xf00d_0012,
    /// How many queues there may be, from revision 6 on.
    MaxQueuesConf = 0xf00d_000f,
}

bitflags::bitflags! {
    /// Events, in `DriverShared.ecr`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct EventCause: u32 {
        /// A receive queue stopped.
        const RQERR = 1;
        /// A transmit queue stopped.
        const TQERR = 1 << 1;
        /// The link changed.
        const LINK = 1 << 2;
        /// Another implementation of the device took over.
        const DIC = 1 << 3;
        /// For the device's makers.
        const DEBUG = 1 << 4;
        const _ = !0;
    }
}

/// Who masks a vector that fires: answer to [`Query::ConfIntr`], bits 3:2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaskMode {
    /// The device.
    Auto,
    /// The driver, in its handler: "active", and "lazy" or what is not known yet, where the device
    /// is as little asked to. A needless write of a mask is all that can go wrong.
    Active,
}

impl MaskMode {
    /// Reads the answer: 0 automatic, 1 active, 2 lazy.
    pub(crate) const fn from_conf_intr(answer: u32) -> Self {
        if answer >> 2 & 0b11 == 0 { Self::Auto } else { Self::Active }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_lie_where_the_headers_say() {
        assert_eq!(bar0::IMR.get(24).unwrap().offset_bytes(), 0xc0);
        assert_eq!(bar0::IMR.get(64).unwrap().offset_bytes(), 0x200);
        let doorbells = |queue| {
            [bar0::TXPROD, bar0::RXPROD, bar0::RXPROD2].map(|of| of.get(queue).unwrap().offset_bytes())
        };
        assert_eq!(doorbells(0), [0x600, 0x800, 0xa00]);
        assert_eq!(doorbells(31), [0x6f8, 0x8f8, 0xaf8]);
        assert_eq!(doorbells(15), [0x678, 0x878, 0xa78]);
        let offsets = [bar1::VRRS.offset_bytes(), bar1::UVRS.offset_bytes(), bar1::CMD.offset_bytes()];
        assert_eq!(offsets, [0x00, 0x08, 0x20]);
        assert_eq!((bar1::DSAL.offset_bytes(), bar1::DSAH.offset_bytes()), (0x10, 0x18));
        assert_eq!((bar1::MACL.offset_bytes(), bar1::MACH.offset_bytes()), (0x28, 0x30));
        assert_eq!((bar1::ICR.offset_bytes(), bar1::ECR.offset_bytes()), (0x38, 0x40));
        assert_eq!((bar1::DCR0.offset_bytes(), bar1::PTCR0.offset_bytes()), (0x48, 0x88));
    }

    #[test]
    fn the_mask_mode_is_two_bits_of_the_answer() {
        assert_eq!(MaskMode::from_conf_intr(0b0011), MaskMode::Auto, "automatic, MSI-X wanted");
        assert_eq!(MaskMode::from_conf_intr(0b0111), MaskMode::Active, "active, MSI-X wanted");
        assert_eq!(MaskMode::from_conf_intr(0b1000), MaskMode::Active, "lazy");
        assert_eq!(MaskMode::from_conf_intr(0b1100), MaskMode::Active, "not known yet");
    }
}
