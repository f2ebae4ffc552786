//! Where things are and what they are called, in the names of the public headers.

/// BAR0. Registers of a kind are [`STRIDE`](bar0::STRIDE) apart.
pub(super) mod bar0 {
    pub(crate) const STRIDE: usize = 8;
    pub(crate) const IMR: usize = 0x000;
    pub(crate) const TXPROD: usize = 0x600;
    pub(crate) const RXPROD: usize = 0x800;
    pub(crate) const RXPROD2: usize = 0xa00;
    /// Behind the last `RXPROD2`.
    pub(crate) const END: usize = 0xc00;
}

/// BAR1.
pub(super) mod bar1 {
    pub(crate) const VRRS: usize = 0x00;
    pub(crate) const UVRS: usize = 0x08;
    pub(crate) const DSAL: usize = 0x10;
    pub(crate) const DSAH: usize = 0x18;
    pub(crate) const CMD: usize = 0x20;
    pub(crate) const MACL: usize = 0x28;
    pub(crate) const MACH: usize = 0x30;
    pub(crate) const ICR: usize = 0x38;
    pub(crate) const ECR: usize = 0x40;
}

/// What is written to `CMD`.
pub(super) mod cmd {
    pub(crate) const FIRST_SET: u32 = 0xcafe_0000;
    pub(crate) const ACTIVATE_DEV: u32 = FIRST_SET;
    pub(crate) const QUIESCE_DEV: u32 = FIRST_SET + 1;
    pub(crate) const RESET_DEV: u32 = FIRST_SET + 2;
    pub(crate) const UPDATE_RX_MODE: u32 = FIRST_SET + 3;
    pub(crate) const UPDATE_MAC_FILTERS: u32 = FIRST_SET + 4;
    pub(crate) const UPDATE_VLAN_FILTERS: u32 = FIRST_SET + 5;
    pub(crate) const UPDATE_FEATURE: u32 = FIRST_SET + 9;
    pub(crate) const FIRST_GET: u32 = 0xf00d_0000;
    pub(crate) const GET_QUEUE_STATUS: u32 = FIRST_GET;
    pub(crate) const GET_STATS: u32 = FIRST_GET + 1;
    pub(crate) const GET_LINK: u32 = FIRST_GET + 2;
    pub(crate) const GET_PERM_MAC_LO: u32 = FIRST_GET + 3;
    pub(crate) const GET_PERM_MAC_HI: u32 = FIRST_GET + 4;
    pub(crate) const GET_CONF_INTR: u32 = FIRST_GET + 8;
}

/// `DriverShared`, by offset.
pub(super) mod shared {
    pub(crate) const MAGIC: u64 = 0x000;
    pub(crate) const GOS: u64 = 0x00c;
    /// `vmxnet3RevSpt`, and `uptVerSpt` behind it.
    pub(crate) const REV_SPT: u64 = 0x010;
    pub(crate) const UPT_FEATURES: u64 = 0x018;
    pub(crate) const QUEUE_DESC_PA: u64 = 0x028;
    pub(crate) const QUEUE_DESC_LEN: u64 = 0x034;
    pub(crate) const MTU: u64 = 0x038;
    pub(crate) const MAX_NUM_RX_SG: u64 = 0x03c;
    pub(crate) const NUM_TX_QUEUES: u64 = 0x03e;
    pub(crate) const NUM_RX_QUEUES: u64 = 0x03f;
    pub(crate) const AUTO_MASK: u64 = 0x050;
    pub(crate) const NUM_INTRS: u64 = 0x051;
    pub(crate) const EVENT_INTR_IDX: u64 = 0x052;
    pub(crate) const INTR_CTRL: u64 = 0x06c;
    pub(crate) const RX_MODE: u64 = 0x078;
    pub(crate) const MF_TABLE_LEN: u64 = 0x07c;
    pub(crate) const MF_TABLE_PA: u64 = 0x080;
    pub(crate) const VF_TABLE: u64 = 0x088;
    pub(crate) const ECR: u64 = 0x2b8;
    /// What `MAGIC` holds.
    pub(crate) const MAGIC_VALUE: u32 = 0xbabe_fee1;
    /// `intrCtrl`: no interrupts.
    pub(crate) const DISABLE_ALL: u32 = 1;
}

/// `TxQueueDesc` and `RxQueueDesc`, by offset.
pub(super) mod queue_desc {
    pub(crate) const BYTES: u64 = 256;
    pub(crate) const TX_NUM_DEFERRED: u64 = 0x00;
    pub(crate) const TX_THRESHOLD: u64 = 0x04;
    pub(crate) const UPDATE_RX_PROD: u64 = 0x00;
    pub(crate) const RING_BASE_PA: u64 = 0x10;
    pub(crate) const RING2_BASE_PA: u64 = 0x18;
    pub(crate) const COMP_RING_BASE_PA: u64 = 0x20;
    pub(crate) const RING_SIZE: u64 = 0x38;
    pub(crate) const RING2_SIZE: u64 = 0x3c;
    pub(crate) const COMP_RING_SIZE: u64 = 0x40;
    pub(crate) const INTR_IDX: u64 = 0x48;
    pub(crate) const STOPPED: u64 = 0x50;
    pub(crate) const ERROR: u64 = 0x54;
    pub(crate) const STATS: u64 = 0x58;
}

/// Bits of `ecr`.
pub(super) mod ecr {
    pub(crate) const RQERR: u32 = 1;
    pub(crate) const TQERR: u32 = 1 << 1;
    pub(crate) const LINK: u32 = 1 << 2;
    pub(crate) const DIC: u32 = 1 << 3;
}

/// Bits of `rxMode`.
pub(super) mod rx_mode {
    pub(crate) const UCAST: u32 = 1;
    pub(crate) const MCAST: u32 = 1 << 1;
    pub(crate) const BCAST: u32 = 1 << 2;
    pub(crate) const ALL_MULTI: u32 = 1 << 3;
    pub(crate) const PROMISC: u32 = 1 << 4;
}

/// Bits of `uptFeatures`.
pub(super) mod upt {
    pub(crate) const RXVLAN: u64 = 1 << 2;
}

/// Why a queue stopped: `status.error`.
pub mod stop {
    /// No EOP in a frame.
    pub const NOEOP: u32 = 0x8000_0000;
    /// Too many descriptors in a frame.
    pub const BIG_PKT: u32 = 0x8000_0002;
    /// A type of descriptor that is not supported.
    pub const DESC_NOT_SPT: u32 = 0x8000_0003;
    /// A HEAD buffer that is too small.
    pub const SMALL_BUF: u32 = 0x8000_0004;
    /// An invalid transmit descriptor.
    pub const TXD_INVALID: u32 = 0x8000_0007;
}
