//! What differs from device to device.

/// What a revision of the protocol adds or allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Which, from 1.
    pub number: u8,
    /// The last command of the SET family, counted from its first.
    pub last_set: u16,
    /// The same of the GET family.
    pub last_get: u16,
    /// Most transmit queues.
    pub tx_queues: u8,
    /// Most receive queues.
    pub rx_queues: u8,
    /// Takes numbers of queues that are no power of two.
    pub any_number: bool,
    /// Longest IP packet.
    pub max_mtu: u32,
    /// Interrupt vectors.
    pub vectors: u8,
}

const V1: Revision = Revision {
    number: 1,
    last_set: 0x09,
    last_get: 0x09,
    tx_queues: 8,
    rx_queues: 16,
    any_number: false,
    max_mtu: 9000,
    vectors: 25,
};
const V3: Revision = Revision { number: 3, last_set: 0x0f, last_get: 0x0b, ..V1 };
const V4: Revision = Revision { number: 4, last_set: 0x10, last_get: 0x0c, ..V3 };
const V6: Revision = Revision {
    number: 6,
    last_get: 0x0f,
    tx_queues: 32,
    rx_queues: 32,
    any_number: true,
    max_mtu: 9190,
    vectors: 65,
    ..V4
};

/// QEMU knows one, and takes fewer queues than that has.
pub const QEMU_REVISIONS: &[Revision] = &[Revision { rx_queues: 8, ..V1 }];

/// What ESXi 7 offers. The model plays the first of them; the others wait for theirs to be written.
pub const ESXI_REVISIONS: &[Revision] = &[
    V1,
    Revision { number: 2, ..V1 },
    V3,
    V4,
    Revision { number: 5, ..V4 },
    V6,
    Revision { number: 7, last_set: 0x13, last_get: 0x12, ..V6 },
];

/// What differs from device to device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Personality {
    /// What it is called.
    pub name: &'static str,
    /// What it offers in `VRRS`.
    pub revisions: &'static [Revision],
    /// Written to `txThreshold` at activation.
    pub tx_threshold: u32,
    /// A completion for every frame, asked for or not.
    pub completes_every_frame: bool,
    /// Looks at the transmit ring only when its doorbell rings.
    pub needs_doorbell: bool,
    /// Wants to be told about fresh receive buffers.
    pub update_rx_prod: bool,
    /// `type` of receive completions.
    pub rcd_type: u32,
    /// Activation brings the permanent address back.
    pub restores_mac: bool,
    /// Reset forgets where `DriverShared` is. One that does not keeps looking there until told
    /// otherwise.
    pub forgets_shared: bool,
    /// Activation reads the filters, not only the commands that are about them.
    pub activates_filters: bool,
    /// Stops a queue over a descriptor that it cannot work with, where the other kind ends itself
    /// or goes on.
    pub stops_queues: bool,
    /// Counts the segments of what it cuts, not what it was given.
    pub counts_segments: bool,
    /// Lets untagged frames, and VLANs 0 and 4095, past the VLAN filter whatever the table says.
    pub passes_untagged: bool,
    /// A write to a mask, whatever it says, drops the pin when nothing newer waits.
    pub mask_drops_pin: bool,
    /// Answer to `GET_CONF_INTR`.
    pub conf_intr: u32,
    /// Answer to `GET_LINK` while the link is up.
    pub link_up: u32,
}

impl Personality {
    /// As QEMU's device.
    #[must_use]
    pub const fn qemu() -> Self {
        Self {
            name: "qemu",
            revisions: QEMU_REVISIONS,
            tx_threshold: 1,
            completes_every_frame: true,
            needs_doorbell: true,
            update_rx_prod: false,
            rcd_type: 0,
            restores_mac: true,
            forgets_shared: true,
            activates_filters: true,
            stops_queues: false,
            counts_segments: false,
            passes_untagged: true,
            mask_drops_pin: true,
            conf_intr: 0,
            link_up: 0x03e8_0001,
        }
    }

    /// As the original is understood.
    #[must_use]
    pub const fn esxi() -> Self {
        Self {
            name: "esxi",
            revisions: ESXI_REVISIONS,
            tx_threshold: 8,
            completes_every_frame: false,
            needs_doorbell: false,
            update_rx_prod: true,
            rcd_type: 3,
            restores_mac: false,
            forgets_shared: false,
            activates_filters: false,
            stops_queues: true,
            counts_segments: true,
            passes_untagged: false,
            mask_drops_pin: false,
            conf_intr: 0,
            link_up: 0x2710_0001,
        }
    }

    /// `VRRS`.
    pub(super) fn vrrs(&self) -> u32 {
        self.revisions.iter().fold(0, |offered, revision| offered | 1 << (revision.number - 1))
    }

    /// The revision that a write to `VRRS` chose, if it is offered.
    pub(super) fn revision(&self, chosen: u32) -> Option<Revision> {
        self.revisions.iter().find(|revision| 1 << (revision.number - 1) == chosen).copied()
    }
}
