//! What differs from device to device.

/// What differs from device to device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Personality {
    /// `VRRS`.
    pub revisions: u32,
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
            revisions: 1,
            tx_threshold: 1,
            completes_every_frame: true,
            needs_doorbell: true,
            update_rx_prod: false,
            rcd_type: 0,
            restores_mac: true,
            conf_intr: 0,
            link_up: 0x03e8_0001,
        }
    }

    /// As the original is understood.
    #[must_use]
    pub const fn esxi() -> Self {
        Self {
            revisions: 0x7f,
            tx_threshold: 8,
            completes_every_frame: false,
            needs_doorbell: false,
            update_rx_prod: true,
            rcd_type: 3,
            restores_mac: false,
            conf_intr: 0,
            link_up: 0x2710_0001,
        }
    }
}
