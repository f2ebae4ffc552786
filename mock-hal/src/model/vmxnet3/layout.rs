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
    /// Where doorbells are in a large BAR: of transmit queues, of both rings of receive queues, and
    /// behind the last.
    pub(crate) const LARGE: [usize; 4] = [0x1000, 0x1400, 0x1800, 0x1c00];
    pub(crate) const CLASSIC: [usize; 4] = [TXPROD, RXPROD, RXPROD2, END];
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
    /// The first of eight.
    pub(crate) const DCR: usize = 0x48;
    /// The first of six.
    pub(crate) const PTCR: usize = 0x88;
    pub(crate) const PTCR_END: usize = 0xb8;
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
    pub(crate) const UPDATE_RSSIDT: u32 = FIRST_SET + 6;
    pub(crate) const UPDATE_IML: u32 = FIRST_SET + 7;
    pub(crate) const UPDATE_PMCFG: u32 = FIRST_SET + 8;
    pub(crate) const UPDATE_FEATURE: u32 = FIRST_SET + 9;
    pub(crate) const SET_COALESCE: u32 = FIRST_SET + 0x0e;
    pub(crate) const REGISTER_MEMREGS: u32 = FIRST_SET + 0x0f;
    pub(crate) const SET_RSS_FIELDS: u32 = FIRST_SET + 0x10;
    pub(crate) const SET_RING_BUFFER_SIZE: u32 = FIRST_SET + 0x13;
    pub(crate) const FIRST_GET: u32 = 0xf00d_0000;
    pub(crate) const GET_QUEUE_STATUS: u32 = FIRST_GET;
    pub(crate) const GET_STATS: u32 = FIRST_GET + 1;
    pub(crate) const GET_LINK: u32 = FIRST_GET + 2;
    pub(crate) const GET_PERM_MAC_LO: u32 = FIRST_GET + 3;
    pub(crate) const GET_PERM_MAC_HI: u32 = FIRST_GET + 4;
    pub(crate) const GET_DID_LO: u32 = FIRST_GET + 5;
    pub(crate) const GET_DID_HI: u32 = FIRST_GET + 6;
    pub(crate) const GET_DEV_EXTRA_INFO: u32 = FIRST_GET + 7;
    pub(crate) const GET_CONF_INTR: u32 = FIRST_GET + 8;
    pub(crate) const GET_ADAPTIVE_RING_INFO: u32 = FIRST_GET + 9;
    pub(crate) const GET_TXDATA_DESC_SIZE: u32 = FIRST_GET + 0x0a;
    pub(crate) const GET_COALESCE: u32 = FIRST_GET + 0x0b;
    pub(crate) const GET_RSS_FIELDS: u32 = FIRST_GET + 0x0c;
    pub(crate) const GET_MAX_QUEUES_CONF: u32 = FIRST_GET + 0x0f;
    pub(crate) const GET_MAX_CAPABILITIES: u32 = FIRST_GET + 0x11;
    pub(crate) const GET_DCR0_REG: u32 = FIRST_GET + 0x12;
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
    /// `autoMask`, and `numIntrs` and `eventIntrIdx` behind it.
    pub(crate) const AUTO_MASK: u64 = 0x050;
    pub(crate) const INTR_CTRL: u64 = 0x06c;
    pub(crate) const RX_MODE: u64 = 0x078;
    pub(crate) const MF_TABLE_LEN: u64 = 0x07c;
    pub(crate) const MF_TABLE_PA: u64 = 0x080;
    pub(crate) const VF_TABLE: u64 = 0x088;
    /// `confVer`, `confLen`, `confPA`.
    pub(crate) const RSS_CONF_DESC: u64 = 0x288;
    pub(crate) const PM_CONF_DESC: u64 = 0x298;
    pub(crate) const ECR: u64 = 0x2b8;
    pub(crate) const CMD_INFO: u64 = 0x2c0;
    /// What replaces the interrupt configuration from [`AUTO_MASK`] on with more queues than the
    /// first revisions have.
    pub(crate) const AUTO_MASK_EXT: u64 = 0x2d0;
    pub(crate) const MOD_LEVELS: u64 = 0x053;
    pub(crate) const MOD_LEVELS_EXT: u64 = 0x2dc;
    pub(crate) const INTR_CTRL_EXT: u64 = 0x2d4;
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
    pub(crate) const TX_DATA_RING_BASE_PA: u64 = 0x18;
    pub(crate) const COMP_RING_BASE_PA: u64 = 0x20;
    pub(crate) const RX_DATA_RING_BASE_PA: u64 = 0x30;
    pub(crate) const RING_SIZE: u64 = 0x38;
    pub(crate) const RING2_SIZE: u64 = 0x3c;
    pub(crate) const TX_DATA_RING_SIZE: u64 = 0x3c;
    pub(crate) const COMP_RING_SIZE: u64 = 0x40;
    pub(crate) const INTR_IDX: u64 = 0x48;
    pub(crate) const DATA_SLOT_BYTES: u64 = 0x4a;
    pub(crate) const STOPPED: u64 = 0x50;
    pub(crate) const ERROR: u64 = 0x54;
    pub(crate) const STATS: u64 = 0x58;
}

/// Bits of a receive completion, by word.
pub(super) mod rcd {
    pub(crate) const EOP: u32 = 1 << 14;
    pub(crate) const SOP: u32 = 1 << 15;
    /// The verdict is about the frame inside a tunnel.
    pub(crate) const INNER: u32 = 1 << 13;
    pub(crate) const CNC: u32 = 1 << 30;
    pub(crate) const RQ_ID_SHIFT: u32 = 16;
    pub(crate) const RSS_TYPE_SHIFT: u32 = 26;
    pub(crate) const ERR: u32 = 1 << 14;
    pub(crate) const TS: u32 = 1 << 15;
    pub(crate) const TUC: u32 = 1 << 16;
    pub(crate) const UDP: u32 = 1 << 17;
    pub(crate) const TCP: u32 = 1 << 18;
    pub(crate) const IPC: u32 = 1 << 19;
    pub(crate) const V6: u32 = 1 << 20;
    pub(crate) const V4: u32 = 1 << 21;
    pub(crate) const FRG: u32 = 1 << 22;
    pub(crate) const FCS: u32 = 1 << 23;
    pub(crate) const TYPE_SHIFT: u32 = 24;
    /// `type` of a start that was put together from several frames.
    pub(crate) const LRO: u32 = 4;
}

/// The offload modes of a transmit descriptor, `om`.
pub(super) mod om {
    pub(crate) const ENCAPSULATED: u32 = 1;
    pub(crate) const CSUM: u32 = 2;
    pub(crate) const TSO: u32 = 3;
}

/// `rqID`: what a completion of one of `queues` calls its rings: `source` is 0 or 1 for the command
/// rings, and 2 for the data ring.
pub(super) fn queue_id(queue: usize, source: usize, queues: usize) -> u32 {
    u32::try_from(queue + source * queues).unwrap_or(u32::MAX) & 0x3ff
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
    pub(crate) const RXCSUM: u64 = 1;
    pub(crate) const RSS: u64 = 1 << 1;
    pub(crate) const RXVLAN: u64 = 1 << 2;
    pub(crate) const LRO: u64 = 1 << 3;
    pub(crate) const RXINNEROFLD: u64 = 1 << 4;
}

/// `hashType` of the RSS configuration.
pub(super) mod hash_type {
    pub(crate) const IPV4: u16 = 1;
    pub(crate) const TCP_IPV4: u16 = 1 << 1;
    pub(crate) const IPV6: u16 = 1 << 2;
    pub(crate) const TCP_IPV6: u16 = 1 << 3;
    pub(crate) const ALL: u16 = 0xf;
}

/// What `SET_RSS_FIELDS` takes.
pub(super) mod rss_field {
    pub(crate) const TCP4: u32 = 1;
    pub(crate) const TCP6: u32 = 1 << 1;
    pub(crate) const UDP4: u32 = 1 << 2;
    pub(crate) const UDP6: u32 = 1 << 3;
    pub(crate) const ESP4: u32 = 1 << 4;
    pub(crate) const ESP6: u32 = 1 << 5;
    pub(crate) const ALL: u32 = 0x3f;
}

/// `rssType` of a receive completion.
pub(super) mod rss_type {
    pub(crate) const IPV4: u32 = 1;
    pub(crate) const TCP4: u32 = 2;
    pub(crate) const IPV6: u32 = 3;
    pub(crate) const TCP6: u32 = 4;
    pub(crate) const UDP4: u32 = 5;
    pub(crate) const UDP6: u32 = 6;
    pub(crate) const ESP4: u32 = 7;
    pub(crate) const ESP6: u32 = 8;
}

/// Why a queue stopped: `status.error`.
pub mod stop {
    /// No EOP in a frame.
    pub const NOEOP: u32 = 0x8000_0000;
    /// A descriptor used again before it was completed.
    pub const TXD_REUSE: u32 = 0x8000_0001;
    /// Too many descriptors in a frame.
    pub const BIG_PKT: u32 = 0x8000_0002;
    /// A type of descriptor that is not supported.
    pub const DESC_NOT_SPT: u32 = 0x8000_0003;
    /// A HEAD buffer that is too small.
    pub const SMALL_BUF: u32 = 0x8000_0004;
    /// The host was told to stop queues by chance.
    pub const STRESS: u32 = 0x8000_0005;
    /// What stands behind the device could not be changed.
    pub const SWITCH: u32 = 0x8000_0006;
    /// An invalid transmit descriptor.
    pub const TXD_INVALID: u32 = 0x8000_0007;
}
