//! Where registers, commands and shared fields are, in the names of the public headers.
//!
//! Spec: docs/vmxnet3-device.md.

/// Registers of BAR0, each kind 8 bytes apart.
pub(crate) mod bar0 {
    pub(crate) const IMR: usize = 0x000;
    pub(crate) const TXPROD: usize = 0x600;
    /// Of both rings of a receive queue.
    pub(crate) const RXPROD: [usize; 2] = [0x800, 0xa00];
}

/// Registers of BAR1.
pub(crate) mod bar1 {
    pub(crate) const VRRS: usize = 0x00;
    pub(crate) const UVRS: usize = 0x08;
    pub(crate) const DSAL: usize = 0x10;
    pub(crate) const DSAH: usize = 0x18;
    pub(crate) const CMD: usize = 0x20;
    pub(crate) const MACL: usize = 0x28;
    pub(crate) const MACH: usize = 0x30;
    pub(crate) const ICR: usize = 0x38;
    pub(crate) const ECR: usize = 0x40;
    pub(crate) const DCR0: usize = 0x48;
    pub(crate) const PTCR0: usize = 0x88;
}

/// What is written to `CMD`.
pub(crate) mod cmd {
    pub(crate) const ACTIVATE_DEV: u32 = 0xcafe_0000;
    pub(crate) const QUIESCE_DEV: u32 = 0xcafe_0001;
    pub(crate) const RESET_DEV: u32 = 0xcafe_0002;
    pub(crate) const UPDATE_RX_MODE: u32 = 0xcafe_0003;
    pub(crate) const UPDATE_MAC_FILTERS: u32 = 0xcafe_0004;
    pub(crate) const UPDATE_VLAN_FILTERS: u32 = 0xcafe_0005;
    pub(crate) const UPDATE_RSSIDT: u32 = 0xcafe_0006;
    pub(crate) const UPDATE_FEATURE: u32 = 0xcafe_0009;
    pub(crate) const SET_COALESCE: u32 = 0xcafe_000e;
    pub(crate) const REGISTER_MEMREGS: u32 = 0xcafe_000f;
    pub(crate) const SET_RSS_FIELDS: u32 = 0xcafe_0010;
    pub(crate) const SET_RING_BUFFER_SIZE: u32 = 0xcafe_0013;
    pub(crate) const GET_QUEUE_STATUS: u32 = 0xf00d_0000;
    pub(crate) const GET_STATS: u32 = 0xf00d_0001;
    pub(crate) const GET_LINK: u32 = 0xf00d_0002;
    pub(crate) const GET_PERM_MAC_LO: u32 = 0xf00d_0003;
    pub(crate) const GET_PERM_MAC_HI: u32 = 0xf00d_0004;
    pub(crate) const GET_DID_LO: u32 = 0xf00d_0005;
    pub(crate) const GET_DID_HI: u32 = 0xf00d_0006;
    pub(crate) const GET_DEV_EXTRA_INFO: u32 = 0xf00d_0007;
    pub(crate) const GET_CONF_INTR: u32 = 0xf00d_0008;
    pub(crate) const GET_ADAPTIVE_RING_INFO: u32 = 0xf00d_0009;
    pub(crate) const GET_TXDATA_DESC_SIZE: u32 = 0xf00d_000a;
    pub(crate) const GET_COALESCE: u32 = 0xf00d_000b;
    pub(crate) const GET_RSS_FIELDS: u32 = 0xf00d_000c;
    pub(crate) const GET_MAX_QUEUES_CONF: u32 = 0xf00d_000f;
    pub(crate) const GET_MAX_CAPABILITIES: u32 = 0xf00d_0011;
    pub(crate) const GET_DCR0_REG: u32 = 0xf00d_0012;
}

/// Fields of `DriverShared`.
pub(crate) mod shared {
    pub(crate) const BYTES: usize = 800;
    pub(crate) const MAGIC: usize = 0x000;
    pub(crate) const MAGIC_VALUE: u32 = 0xbabe_fee1;
    pub(crate) const VERSION: usize = 0x008;
    pub(crate) const GOS: usize = 0x00c;
    /// 64 bits, of type Linux.
    pub(crate) const GOS_VALUE: u32 = 1 << 2 | 2;
    pub(crate) const REV_SPT: usize = 0x010;
    pub(crate) const UPT_SPT: usize = 0x014;
    pub(crate) const UPT_FEATURES: usize = 0x018;
    pub(crate) const QUEUE_DESC_PA: usize = 0x028;
    pub(crate) const QUEUE_DESC_LEN: usize = 0x034;
    pub(crate) const MTU: usize = 0x038;
    pub(crate) const MAX_NUM_RX_SG: usize = 0x03c;
    pub(crate) const NUM_TX_QUEUES: usize = 0x03e;
    pub(crate) const NUM_RX_QUEUES: usize = 0x03f;
    /// Where `autoMask`, `numIntrs` and `eventIntrIdx` are, and `intrCtrl`.
    pub(crate) const INTR_CONF: usize = 0x050;
    pub(crate) const INTR_CTRL: usize = 0x06c;
    /// The same, where there are more than 8 transmit or 16 receive queues.
    pub(crate) const INTR_CONF_EXT: usize = 0x2d0;
    pub(crate) const INTR_CTRL_EXT: usize = 0x2d4;
    pub(crate) const RX_MODE: usize = 0x078;
    pub(crate) const VF_TABLE: usize = 0x088;
    pub(crate) const VF_TABLE_WORDS: usize = 128;
    pub(crate) const RSS_CONF_DESC: usize = 0x288;
    pub(crate) const ECR: usize = 0x2b8;
    pub(crate) const CMD_INFO: usize = 0x2c0;
}

/// Bits of `uptFeatures`.
pub(crate) mod upt {
    pub(crate) const RXCSUM: u64 = 1;
    pub(crate) const RSS: u64 = 1 << 1;
    pub(crate) const RXVLAN: u64 = 1 << 2;
    pub(crate) const LRO: u64 = 1 << 3;
}

/// What a transmit descriptor asks for.
pub(crate) mod om {
    pub(crate) const TUNNEL: u32 = 1;
    pub(crate) const CSUM: u32 = 2;
    pub(crate) const TSO: u32 = 3;
}

/// Bits of `rxMode`.
pub(crate) mod rx_mode {
    pub(crate) const UCAST: u32 = 1;
    pub(crate) const PROMISC: u32 = 1 << 4;
}

/// Fields of a queue's descriptor, of transmit queues first.
pub(crate) mod queue {
    pub(crate) const BYTES: usize = 256;
    /// The same, as `queueDescLen` counts.
    pub(crate) const LEN: u32 = 256;
    pub(crate) const TX_NUM_DEFERRED: usize = 0x00;
    pub(crate) const TX_THRESHOLD: usize = 0x04;
    pub(crate) const UPDATE_RX_PROD: usize = 0x00;
    pub(crate) const RING_BASE_PA: usize = 0x10;
    /// Ring 2 of a receive queue.
    pub(crate) const RING2_BASE_PA: usize = 0x18;
    pub(crate) const COMP_RING_BASE_PA: usize = 0x20;
    /// Slots beside a transmit ring.
    pub(crate) const TX_DATA_BASE_PA: usize = 0x18;
    pub(crate) const TX_DATA_SIZE: usize = 0x3c;
    /// Slots beside ring 1 of a receive queue.
    pub(crate) const RX_DATA_BASE_PA: usize = 0x30;
    /// Bytes of a slot, of either.
    pub(crate) const DATA_DESC_SIZE: usize = 0x4a;
    pub(crate) const RING_SIZE: usize = 0x38;
    pub(crate) const RING2_SIZE: usize = 0x3c;
    pub(crate) const COMP_RING_SIZE: usize = 0x40;
    pub(crate) const STOPPED: usize = 0x50;
    pub(crate) const ERROR: usize = 0x54;
    pub(crate) const STATS: usize = 0x58;
}

/// Which of the ten counters of a queue.
pub(crate) mod stats {
    /// Frames to be cut, or what they were cut into.
    pub(crate) const TSO: usize = 0;
    pub(crate) const UCAST: usize = 2;
    pub(crate) const TX_ERROR: usize = 8;
    pub(crate) const RX_OUT_OF_BUF: usize = 8;
}

/// Events.
pub(crate) mod ecr {
    pub(crate) const TQERR: u32 = 1 << 1;
    pub(crate) const LINK: u32 = 1 << 2;
}

/// Why a queue stopped.
pub(crate) mod stop {
    pub(crate) const BIG_PKT: u32 = 0x8000_0002;
    pub(crate) const SMALL_BUF: u32 = 0x8000_0004;
}
