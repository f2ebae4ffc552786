//! What driver and device share besides rings: [`DriverShared`], and the table of queue
//! descriptors.
//!
//! These are plain layouts with their offsets pinned. All fields are little-endian. The device
//! writes `ecr` here, and of a queue descriptor `txThreshold`, `updateRxProd`, `status` and
//! `stats`; everything else is the driver's, and stands still while a command runs.

use core::mem::offset_of;

use paravane_net::{MAC_TABLE_ENTRIES, RSS_KEY_BYTES, RSS_TABLE_ENTRIES};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `DriverShared.magic`.
pub(crate) const MAGIC: u32 = 0xbabe_fee1;
/// `driverInfo.version`: of this driver, in a form of its own choosing.
pub(crate) const DRIVER_VERSION: u32 = 0x0001_0000;
/// `driverInfo.gos`: 64 bits, Linux. The type is not vanity: at "Windows" QEMU chains receive
/// buffers in another way.
pub(crate) const GUEST_OS: u32 = 1 << 2 | 2;
/// `intrCtrl`: no interrupts at all.
pub(crate) const DISABLE_ALL: u32 = 1;
/// `modLevels`: the device adapts its rate by itself.
pub(crate) const ADAPTIVE: u8 = 8;
/// `uptFeatures`: verify receive checksums.
pub(crate) const FEATURE_RXCSUM: u64 = 1;
/// `uptFeatures`: spread received frames over queues.
pub(crate) const FEATURE_RSS: u64 = 1 << 1;
/// `uptFeatures`: take VLAN tags off.
pub(crate) const FEATURE_RXVLAN: u64 = 1 << 2;
/// `uptFeatures`: put TCP packets together.
pub(crate) const FEATURE_LRO: u64 = 1 << 3;
/// `uptFeatures` (`RXINNEROFLD`), from revision 4 on: both of these inside of tunnels.
pub(crate) const FEATURE_INNER: u64 = 1 << 4;

/// `rssConfDesc.confLen`.
pub(crate) const RSS_CONF_BYTES: u32 = 176;
/// `pmConfDesc.confLen`.
pub(crate) const PM_CONF_BYTES: u32 = 920;
/// `hashKeySize`.
pub(crate) const HASH_KEY_BYTES: u16 = 40;

/// All that control and the device share besides queues, in one piece of memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Shared {
    /// The root, which comes first.
    pub(crate) driver: DriverShared,
    /// What `rssConfDesc` points at.
    pub(crate) rss: RssConf,
    /// What `mfTablePA` points at: groups, one after the other.
    pub(crate) groups: [[u8; 6]; MAC_TABLE_ENTRIES],
    /// What `SET_COALESCE` points at, for as long as the command takes: a mode, and what it takes.
    pub(crate) coalesce: [U32; 4],
    /// What `pmConfDesc` points at, once the device is to wake the machine.
    pub(crate) pm: PmConf,
}

/// `DriverShared`, the root of everything that the device reads.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DriverShared {
    /// [`MAGIC`].
    pub(crate) magic: U32,
    /// Unused by every known device.
    pub(crate) size: U32,
    pub(crate) misc: MiscConf,
    pub(crate) intr_conf: IntrConf,
    pub(crate) rx_filter_conf: RxFilterConf,
    pub(crate) rss_conf: VariableLenDesc,
    pub(crate) pm_conf: VariableLenDesc,
    pub(crate) plugin_conf: VariableLenDesc,
    /// Events; the device sets bits, a write to the `ECR` register clears them.
    pub(crate) ecr: U32,
    pub(crate) reserved: U32,
    /// Argument of a command, from revision 3 on: [`cmd_info`](crate::cmd_info).
    pub(crate) cmd_info: [u8; 16],
    /// `intrConfExt`, from revision 6 on.
    pub(crate) intr_conf_ext: IntrConfExt,
}

/// `devRead.misc`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MiscConf {
    /// [`DRIVER_VERSION`].
    pub(crate) driver_version: U32,
    /// [`GUEST_OS`].
    pub(crate) gos: U32,
    /// 1, whatever revision was agreed.
    pub(crate) vmxnet3_rev_spt: U32,
    /// 1.
    pub(crate) upt_ver_spt: U32,
    /// [`FEATURE_RXCSUM`] and others.
    pub(crate) upt_features: U64,
    pub(crate) dd_pa: U64,
    /// Where the queue descriptors are, at 128 bytes.
    pub(crate) queue_desc_pa: U64,
    pub(crate) dd_len: U32,
    /// In bytes, all queues.
    pub(crate) queue_desc_len: U32,
    /// The IP MTU, in bytes.
    pub(crate) mtu: U32,
    /// Most buffers that one received frame may take. QEMU takes 0 for 1.
    pub(crate) max_num_rx_sg: U16,
    pub(crate) num_tx_queues: u8,
    pub(crate) num_rx_queues: u8,
    pub(crate) reserved: [U32; 4],
}

/// `devRead.intrConf`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IntrConf {
    /// Whether the device masks a vector that fires.
    pub(crate) auto_mask: u8,
    /// How many vectors there are; every index used is below it.
    pub(crate) num_intrs: u8,
    /// The vector of events.
    pub(crate) event_intr_idx: u8,
    /// Moderation by vector; [`ADAPTIVE`].
    pub(crate) mod_levels: [u8; 25],
    /// [`DISABLE_ALL`] or 0.
    pub(crate) intr_ctrl: U32,
    pub(crate) reserved: [U32; 2],
}

/// `devReadExt.intrConfExt`: the same for more queues than that has vectors for.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IntrConfExt {
    pub(crate) auto_mask: u8,
    pub(crate) num_intrs: u8,
    pub(crate) event_intr_idx: u8,
    pub(crate) reserved: u8,
    pub(crate) intr_ctrl: U32,
    pub(crate) reserved1: U32,
    pub(crate) mod_levels: [u8; 65],
    pub(crate) reserved2: [u8; 3],
}

/// `devRead.rxFilterConf`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RxFilterConf {
    /// Which kinds of address are let through: [`RxMode`](crate::filter::RxMode).
    pub(crate) rx_mode: U32,
    /// Multicast table, in bytes.
    pub(crate) mf_table_len: U16,
    pub(crate) pad: U16,
    pub(crate) mf_table_pa: U64,
    /// One bit a VLAN id; bit 0 stands for untagged frames too.
    pub(crate) vf_table: [U32; 128],
}

/// How received frames are spread.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RssConf {
    /// What is hashed: bit 0 IPv4, 1 TCP over IPv4, 2 IPv6, 3 TCP over IPv6.
    pub(crate) hash_type: U16,
    /// 1: Toeplitz.
    pub(crate) hash_func: U16,
    /// In bytes.
    pub(crate) hash_key_size: U16,
    /// How many entries count.
    pub(crate) ind_table_size: U16,
    pub(crate) hash_key: [u8; RSS_KEY_BYTES],
    /// Which receive queue, by the low bits of a hash.
    pub(crate) ind_table: [u8; RSS_TABLE_ENTRIES],
}

/// What wakes the machine.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct PmConf {
    /// Bit 0 magic packets, 1 what passes a filter.
    pub(crate) wake_up_events: U16,
    pub(crate) num_filters: u8,
    pub(crate) pad: [u8; 5],
    pub(crate) filters: [PmFilter; 6],
}

/// How a frame starts that wakes it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct PmFilter {
    pub(crate) mask_bytes: u8,
    pub(crate) pattern_bytes: u8,
    /// One bit a byte of the pattern, from the low one on: that byte counts.
    pub(crate) mask: [u8; 16],
    pub(crate) pattern: [u8; 128],
    pub(crate) pad: [u8; 6],
}

/// Points at a structure that is not always there.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct VariableLenDesc {
    pub(crate) conf_ver: U32,
    pub(crate) conf_len: U32,
    pub(crate) conf_pa: U64,
}

/// A transmit queue's descriptor.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct TxQueueDesc {
    /// Frames published since the last doorbell. The driver's.
    pub(crate) tx_num_deferred: U32,
    /// From how many of them on a doorbell is wanted. The device's.
    pub(crate) tx_threshold: U32,
    pub(crate) reserved0: U64,
    pub(crate) tx_ring_base_pa: U64,
    pub(crate) data_ring_base_pa: U64,
    pub(crate) comp_ring_base_pa: U64,
    pub(crate) dd_pa: U64,
    pub(crate) reserved1: U64,
    pub(crate) tx_ring_size: U32,
    pub(crate) data_ring_size: U32,
    pub(crate) comp_ring_size: U32,
    pub(crate) dd_len: U32,
    pub(crate) intr_idx: u8,
    pub(crate) pad0: u8,
    pub(crate) tx_data_ring_desc_size: U16,
    pub(crate) pad1: U32,
    pub(crate) status: QueueStatus,
    pub(crate) stats: [U64; 10],
    pub(crate) pad2: [u8; 88],
}

/// A receive queue's descriptor.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RxQueueDesc {
    /// Whether the device wants to be told about fresh buffers. The device's.
    pub(crate) update_rx_prod: u8,
    pub(crate) pad0: [u8; 15],
    pub(crate) rx_ring_base_pa: [U64; 2],
    pub(crate) comp_ring_base_pa: U64,
    pub(crate) dd_pa: U64,
    pub(crate) rx_data_ring_base_pa: U64,
    pub(crate) rx_ring_size: [U32; 2],
    pub(crate) comp_ring_size: U32,
    pub(crate) dd_len: U32,
    pub(crate) intr_idx: u8,
    pub(crate) pad1: u8,
    pub(crate) rx_data_ring_desc_size: U16,
    pub(crate) pad2: U32,
    pub(crate) status: QueueStatus,
    pub(crate) stats: [U64; 10],
    pub(crate) pad3: [u8; 88],
}

/// Whether a queue stopped, and why; written on
/// [`Query::QueueStatus`](crate::regs::Query::QueueStatus).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct QueueStatus {
    pub(crate) stopped: u8,
    pub(crate) pad: [u8; 3],
    pub(crate) error: U32,
}

const _: () = {
    assert!(offset_of!(Shared, driver) == 0);
    assert!(offset_of!(Shared, coalesce) % 8 == 0);
    assert!(size_of::<DriverShared>() == 800);
    assert!(offset_of!(DriverShared, misc.upt_features) == 0x18);
    assert!(offset_of!(DriverShared, misc.queue_desc_pa) == 0x28);
    assert!(offset_of!(DriverShared, misc.mtu) == 0x38);
    assert!(offset_of!(DriverShared, misc.max_num_rx_sg) == 0x3c);
    assert!(offset_of!(DriverShared, misc.num_tx_queues) == 0x3e);
    assert!(offset_of!(DriverShared, intr_conf) == 0x50);
    assert!(offset_of!(DriverShared, intr_conf.mod_levels) == 0x53);
    assert!(offset_of!(DriverShared, intr_conf.intr_ctrl) == 0x6c);
    assert!(offset_of!(DriverShared, rx_filter_conf) == 0x78);
    assert!(offset_of!(DriverShared, rx_filter_conf.mf_table_pa) == 0x80);
    assert!(offset_of!(DriverShared, rx_filter_conf.vf_table) == 0x88);
    assert!(offset_of!(DriverShared, rss_conf) == 0x288);
    assert!(offset_of!(DriverShared, ecr) == 0x2b8);
    assert!(offset_of!(DriverShared, cmd_info) == 0x2c0);
    assert!(offset_of!(DriverShared, intr_conf_ext) == 0x2d0);
    assert!(offset_of!(DriverShared, intr_conf_ext.intr_ctrl) == 0x2d4);
    assert!(offset_of!(DriverShared, intr_conf_ext.mod_levels) == 0x2dc);

    assert!(offset_of!(Shared, pm) % 8 == 0);
    assert!(offset_of!(DriverShared, pm_conf) == 0x298);
    assert!(size_of::<PmConf>() == PM_CONF_BYTES as usize);
    assert!(offset_of!(PmConf, filters) == 8);
    assert!(size_of::<PmFilter>() == 152);
    assert!(offset_of!(PmFilter, pattern) == 18);

    assert!(size_of::<RssConf>() == RSS_CONF_BYTES as usize);
    assert!(RSS_KEY_BYTES == HASH_KEY_BYTES as usize);
    assert!(offset_of!(RssConf, hash_key) == 0x08);
    assert!(offset_of!(RssConf, ind_table) == 0x30);

    assert!(size_of::<TxQueueDesc>() == 256);
    assert!(offset_of!(TxQueueDesc, tx_threshold) == 0x04);
    assert!(offset_of!(TxQueueDesc, tx_ring_base_pa) == 0x10);
    assert!(offset_of!(TxQueueDesc, comp_ring_base_pa) == 0x20);
    assert!(offset_of!(TxQueueDesc, tx_ring_size) == 0x38);
    assert!(offset_of!(TxQueueDesc, intr_idx) == 0x48);
    assert!(offset_of!(TxQueueDesc, tx_data_ring_desc_size) == 0x4a);
    assert!(offset_of!(TxQueueDesc, status.error) == 0x54);
    assert!(offset_of!(TxQueueDesc, stats) == 0x58);

    assert!(size_of::<RxQueueDesc>() == 256);
    assert!(offset_of!(RxQueueDesc, rx_ring_base_pa) == 0x10);
    assert!(offset_of!(RxQueueDesc, comp_ring_base_pa) == 0x20);
    assert!(offset_of!(RxQueueDesc, rx_data_ring_base_pa) == 0x30);
    assert!(offset_of!(RxQueueDesc, rx_ring_size) == 0x38);
    assert!(offset_of!(RxQueueDesc, comp_ring_size) == 0x40);
    assert!(offset_of!(RxQueueDesc, intr_idx) == 0x48);
    assert!(offset_of!(RxQueueDesc, status) == 0x50);
    assert!(offset_of!(RxQueueDesc, stats) == 0x58);
};
