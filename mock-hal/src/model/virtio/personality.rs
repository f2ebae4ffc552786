//! Which monitor a device belongs to, as data.

use paravane_hal::addr::PhysAddr;

use super::blk::bits as blk;
use super::layout::{Layout, place};
use super::net::bits;
use super::{Trigger, feature};
use crate::pci::Reaction;

/// When a reset that was asked for is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// With the write.
    AtOnce,
    /// When the status was read so many times.
    AfterReads(u32),
    /// Not before the machine ends.
    Never,
}

/// Offloads of a back end that takes headers.
const OFFLOADS: u64 = bits::CSUM
    | bits::GUEST_CSUM
    | bits::GUEST_TSO4
    | bits::GUEST_TSO6
    | bits::GUEST_UFO
    | bits::HOST_TSO4
    | bits::HOST_TSO6
    | bits::HOST_UFO;

/// What most disks offer.
const BLK: u64 = blk::FLUSH | blk::SEG_MAX | blk::BLK_SIZE;

/// What differs from monitor to monitor. Each flag is a habit of at least one real monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Personality {
    /// What it is called.
    pub name: &'static str,
    /// Uses the device ID of a transitional device, with the type as the subsystem's ID.
    pub transitional: bool,
    /// Has the interface of version 1.0 and later.
    pub has_modern: bool,
    /// Has the legacy interface; without the other one, and on no bus, that is version 1.
    pub has_legacy: bool,
    /// Features that it offers there besides.
    pub legacy_features: u64,
    /// Where its registers are.
    pub layout: Layout,
    /// How its BARs react to writes.
    pub bar_reaction: Reaction,
    /// Where its first place without a bus is, and the line of that; each next one is as far on as
    /// its registers are long.
    pub mmio_first: (u64, u8),
    /// How long its registers are there.
    pub mmio_bytes: usize,
    /// `VendorID` there.
    pub mmio_vendor: u32,
    /// What its line does there.
    pub trigger: Trigger,
    /// MSI-X vectors.
    pub vectors: u16,
    /// Implements the interrupt status register, and the pin.
    pub has_isr: bool,
    /// Has a capability for access through configuration space.
    pub has_pci_cfg: bool,
    /// Features offered besides those of the device's kind.
    pub ring_features: u64,
    /// What a network device offers of its own kind's features.
    pub net_features: u64,
    /// What a block device offers of its own kind's features.
    pub blk_features: u64,
    /// Takes of a block device's requests those alone that are a header, at most one piece of data,
    /// and a status, each in a descriptor of its own.
    pub simple_requests: bool,
    /// Takes of a network device's commands those alone whose class and command, data and ack are a
    /// descriptor each.
    pub simple_commands: bool,
    /// The largest queue.
    pub max_entries: u16,
    /// Takes a status only if it adds exactly the next bit.
    pub steps_status: bool,
    /// Takes features only while the status is exactly `ACKNOWLEDGE | DRIVER`.
    pub steps_features: bool,
    /// Takes queue registers only between `FEATURES_OK` and `DRIVER_OK`.
    pub steps_queues: bool,
    /// Does not keep `FEATURES_OK` without `ACCESS_PLATFORM`.
    pub needs_access_platform: bool,
    /// Reports buffers in another order than they came in, unless `IN_ORDER` was agreed.
    pub shuffles: bool,
    /// Where `IN_ORDER` was agreed: reports several buffers by the last of them alone, as far as it
    /// used those before it whole.
    pub batches: bool,
    /// When a reset is done.
    pub reset: Reset,
}

impl Personality {
    /// QEMU, `-device virtio-net-pci,disable-legacy=on`: takes almost everything in any order.
    #[must_use]
    pub const fn qemu() -> Self {
        Self {
            name: "qemu",
            transitional: false,
            has_modern: true,
            has_legacy: false,
            legacy_features: 0,
            layout: Layout {
                bar: 4,
                bar_bytes: 0x4000,
                common: place(0, 0x1000),
                isr: place(0x1000, 0x1000),
                device: place(0x2000, 0x1000),
                notify: place(0x3000, 0x1000),
                notify_multiplier: 4,
                msix: (1, 0x1000, 0, 0x800),
            },
            bar_reaction: Reaction::Movable,
            mmio_first: (0xfeb0_0000, 5),
            mmio_bytes: 0x200,
            mmio_vendor: 0x554d_4551,
            trigger: Trigger::Level,
            vectors: 4,
            has_isr: true,
            has_pci_cfg: true,
            ring_features: feature::VERSION_1
                | feature::EVENT_IDX
                | feature::INDIRECT_DESC
                | feature::RING_RESET,
            net_features: OFFLOADS
                | bits::GUEST_ECN
                | bits::HOST_ECN
                | bits::CTRL_GUEST_OFFLOADS
                | bits::MAC
                | bits::MRG_RXBUF
                | bits::STATUS
                | bits::CTRL_VQ
                | bits::CTRL_RX
                | bits::CTRL_VLAN
                | bits::CTRL_RX_EXTRA
                | bits::CTRL_MAC_ADDR
                | bits::GUEST_ANNOUNCE,
            blk_features: BLK
                | blk::GEOMETRY
                | blk::TOPOLOGY
                | blk::CONFIG_WCE
                | blk::DISCARD
                | blk::WRITE_ZEROES,
            simple_requests: false,
            simple_commands: false,
            max_entries: 256,
            steps_status: false,
            steps_features: false,
            steps_queues: false,
            needs_access_platform: false,
            shuffles: false,
            batches: false,
            reset: Reset::AtOnce,
        }
    }

    /// The same device as it comes by default: transitional, here by its modern registers.
    #[must_use]
    pub const fn qemu_transitional() -> Self {
        Self { name: "qemu-transitional", has_modern: true, ..Self::qemu_legacy() }
    }

    /// The same with `disable-modern=on`: by ports alone.
    #[must_use]
    pub const fn qemu_legacy() -> Self {
        Self {
            name: "qemu-legacy",
            transitional: true,
            has_modern: false,
            has_legacy: true,
            legacy_features: feature::ANY_LAYOUT | feature::NOTIFY_ON_EMPTY,
            ..Self::qemu()
        }
    }

    /// A device from before `ANY_LAYOUT`.
    #[must_use]
    pub const fn ancient() -> Self {
        Self { name: "ancient", legacy_features: feature::NOTIFY_ON_EMPTY, ..Self::qemu_legacy() }
    }

    /// QEMU's `microvm`, `-device virtio-net-device` without `force-legacy`: on no bus.
    #[must_use]
    pub const fn microvm() -> Self {
        let ring_features = feature::VERSION_1 | feature::EVENT_IDX | feature::INDIRECT_DESC;
        Self { name: "microvm", ring_features, ..Self::qemu() }
    }

    /// The same with `force-legacy`, as it comes by default: version 1.
    #[must_use]
    pub const fn microvm_legacy() -> Self {
        Self {
            name: "microvm-legacy",
            has_modern: false,
            has_legacy: true,
            legacy_features: feature::ANY_LAYOUT | feature::NOTIFY_ON_EMPTY,
            ..Self::microvm()
        }
    }

    /// QEMU with `packed=on`.
    #[must_use]
    pub const fn qemu_packed() -> Self {
        let ring_features = Self::qemu().ring_features | feature::RING_PACKED;
        Self { name: "qemu-packed", ring_features, ..Self::qemu() }
    }

    /// Firecracker: a table of legal steps, and everything else is dropped without an error.
    #[must_use]
    pub const fn firecracker() -> Self {
        Self {
            name: "firecracker",
            transitional: false,
            has_modern: true,
            has_legacy: false,
            legacy_features: 0,
            layout: Layout {
                bar: 0,
                bar_bytes: 0x8_0000,
                common: place(0, 0x38),
                isr: place(0x2000, 1),
                device: place(0x4000, 0x1000),
                notify: place(0x6000, 0x1000),
                notify_multiplier: 4,
                msix: (0, 0, 0x8000, 0x4_8000),
            },
            bar_reaction: Reaction::OneShot,
            mmio_first: (0xc000_1000, 5),
            mmio_bytes: 0x1000,
            mmio_vendor: 0,
            trigger: Trigger::Edge,
            vectors: 3,
            has_isr: false,
            has_pci_cfg: true,
            ring_features: feature::VERSION_1 | feature::EVENT_IDX,
            net_features: OFFLOADS | bits::MAC | bits::MRG_RXBUF,
            blk_features: blk::FLUSH,
            simple_requests: true,
            simple_commands: true,
            max_entries: 256,
            steps_status: true,
            steps_features: true,
            steps_queues: true,
            needs_access_platform: false,
            shuffles: false,
            batches: false,
            reset: Reset::AtOnce,
        }
    }

    /// Firecracker with a back end that cannot be reset: what was started stays so until the
    /// machine ends.
    #[must_use]
    pub const fn firecracker_without_reset() -> Self {
        Self { name: "firecracker-without-reset", reset: Reset::Never, ..Self::firecracker() }
    }

    /// Firecracker with a back end that takes its time: the reset of a running device is done when
    /// the status was read so often that a driver, which waits for three seconds and relaxes in
    /// between, has given up once.
    #[must_use]
    pub const fn firecracker_slow_to_reset() -> Self {
        Self { name: "firecracker-slow-to-reset", reset: Reset::AfterReads(45_000), ..Self::firecracker() }
    }

    /// Cloud Hypervisor: the same layout, by MSI-X alone, and a status that is simply stored.
    #[must_use]
    pub const fn cloud_hypervisor() -> Self {
        Self {
            name: "cloud-hypervisor",
            bar_reaction: Reaction::Movable,
            ring_features: feature::VERSION_1
                | feature::EVENT_IDX
                | feature::INDIRECT_DESC
                | feature::ACCESS_PLATFORM,
            net_features: OFFLOADS
                | bits::GUEST_ECN
                | bits::HOST_ECN
                | bits::MAC
                | bits::MTU
                | bits::MRG_RXBUF
                | bits::CTRL_VQ
                | bits::MQ,
            blk_features: BLK | blk::TOPOLOGY | blk::CONFIG_WCE | blk::MQ,
            simple_requests: false,
            vectors: 6,
            steps_status: false,
            steps_features: false,
            steps_queues: false,
            ..Self::firecracker()
        }
    }

    /// OpenVMM: resets take their time, the configuration is exactly as long as it must be, and it
    /// offers what few drivers have.
    #[must_use]
    pub const fn openvmm() -> Self {
        Self {
            name: "openvmm",
            transitional: false,
            has_modern: true,
            has_legacy: false,
            legacy_features: 0,
            layout: Layout {
                bar: 0,
                bar_bytes: 0x1000,
                common: place(0, 0x38),
                notify: place(0x38, 4),
                notify_multiplier: 0,
                isr: place(0x3c, 4),
                device: place(0x40, 0),
                msix: (2, 0x1000, 0, 0x800),
            },
            bar_reaction: Reaction::Movable,
            mmio_first: (0xc000_1000, 5),
            mmio_bytes: 0x1000,
            mmio_vendor: 0x1af4,
            trigger: Trigger::Level,
            vectors: 3,
            has_isr: true,
            has_pci_cfg: false,
            ring_features: feature::VERSION_1
                | feature::EVENT_IDX
                | feature::INDIRECT_DESC
                | feature::ACCESS_PLATFORM
                | feature::RING_PACKED
                | feature::IN_ORDER,
            // No MRG_RXBUF, yet segmentation for the guest: who accepts that posts buffers of 64
            // KiB.
            net_features: bits::CSUM
                | bits::GUEST_CSUM
                | bits::GUEST_TSO4
                | bits::GUEST_TSO6
                | bits::HOST_TSO4
                | bits::HOST_TSO6
                | bits::MAC
                | bits::STATUS,
            blk_features: BLK | blk::TOPOLOGY | blk::DISCARD | blk::WRITE_ZEROES,
            simple_requests: false,
            simple_commands: false,
            max_entries: 256,
            steps_status: false,
            steps_features: false,
            steps_queues: true,
            needs_access_platform: true,
            shuffles: false,
            batches: false,
            reset: Reset::AfterReads(3),
        }
    }

    /// All that can be reset.
    #[must_use]
    pub const fn all() -> [Self; 5] {
        [
            Self::qemu(),
            Self::qemu_transitional(),
            Self::firecracker(),
            Self::cloud_hypervisor(),
            Self::openvmm(),
        ]
    }

    /// All that are found on no bus, and can be reset.
    #[must_use]
    pub const fn on_no_bus() -> [Self; 3] {
        [Self::microvm(), Self::firecracker(), Self::openvmm()]
    }

    /// Where device `index` of those without a bus is: its registers, and its line.
    #[must_use]
    pub const fn place(&self, index: u8) -> (PhysAddr, u8) {
        let (start, line) = self.mmio_first;
        (PhysAddr::new(start + index as u64 * self.mmio_bytes as u64), line + index)
    }
}
