//! What differs from device to device.

use super::capability;
use super::layout::rss_field;
use super::revision::{ESXI_REVISIONS, QEMU_REVISIONS, Revision};

/// Whether a device can sleep, and what it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// It has no power management, as QEMU's.
    Never,
    /// It comes back from D3 as after power-on.
    Forgets,
    /// It comes back as it was.
    Keeps,
}

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
    /// Answer to `GET_LINK` while the link is up, until [`set_link_speed`] says otherwise.
    ///
    /// [`set_link_speed`]: super::Vmxnet3::set_link_speed
    pub link_up: u32,
    /// Answer to `GET_MAX_QUEUES_CONF`, which revision 6 brings: the most receive queues in bits
    /// 15:8, the most transmit queues in bits 7:0, 0 for "not known", which means 8 of each.
    /// [`with_queues`](Self::with_queues) sets it.
    pub max_queues_conf: u32,
    /// Spreads received frames over the queues by their hash. Otherwise queue 0 has them all.
    pub spreads: bool,
    /// What it grants of the fields that `SET_RSS_FIELDS` asks for.
    pub rss_fields: u32,
    /// Answer to `GET_TXDATA_DESC_SIZE`, which revision 3 brings: bytes of a slot in a transmit
    /// data ring.
    pub tx_data_slot_bytes: u32,
    /// Holds the headers of what is sent against what the descriptor asks for (a checksum,
    /// segments) and stops the queue when they do not fit. For tests whose frames have no headers,
    /// not.
    pub checks_headers: bool,
    /// Judges checksums of what is received, where the driver asks for that.
    pub verifies_checksums: bool,
    /// `DCR0`, from revision 7 on: what it can do on request. A reset forgets what was requested.
    /// Completions out of order are never granted.
    pub capabilities: u32,
    /// `PTCR0`: what of that the hardware can do that is passed through; bit 31 where none is.
    pub pass_through: u32,
    /// Whether it can sleep.
    pub sleep: Sleep,
    /// What `CMD` reads after a command that the agreed revision does not have.
    pub unknown_answer: u32,
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
            max_queues_conf: 0,
            spreads: false,
            rss_fields: 0,
            tx_data_slot_bytes: 0,
            checks_headers: false,
            verifies_checksums: false,
            capabilities: 0,
            pass_through: capability::NOT_APPLICABLE,
            sleep: Sleep::Never,
            unknown_answer: 0,
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
            max_queues_conf: 32 << 8 | 32,
            spreads: true,
            rss_fields: rss_field::ALL,
            tx_data_slot_bytes: 256,
            checks_headers: true,
            verifies_checksums: true,
            capabilities: capability::ALL,
            pass_through: capability::NOT_APPLICABLE,
            sleep: Sleep::Forgets,
            unknown_answer: u32::MAX,
        }
    }

    /// The same device, with no revision after `number` among those that it offers: what a driver
    /// agrees on that knows more.
    ///
    /// ```
    /// use paravane_mock_hal::model::vmxnet3::Personality;
    ///
    /// let fourth = Personality::esxi().up_to(4);
    /// assert_eq!(fourth.revisions.last().map(|revision| revision.number), Some(4));
    /// ```
    ///
    /// # Panics
    ///
    /// If none is left.
    #[must_use]
    pub const fn up_to(mut self, number: u8) -> Self {
        let mut left = self.revisions;
        while let [earlier @ .., last] = left
            && last.number > number
        {
            left = earlier;
        }
        assert!(!left.is_empty(), "a device without a revision");
        self.revisions = left;
        self
    }

    /// The same device, which takes at most so many queues and says so from revision 6 on.
    /// Activation with more of them is refused, at each revision.
    #[must_use]
    pub const fn with_queues(mut self, tx: u8, rx: u8) -> Self {
        self.max_queues_conf = (rx as u32) << 8 | tx as u32;
        self
    }

    /// The most queues of each kind, transmit first, that activation takes at `revision`.
    pub(super) fn max_queues(&self, revision: &Revision) -> [u8; 2] {
        let said = match self.max_queues_conf {
            0 => [8, 16],
            said => [said, said >> 8].map(|most| (most & 0xff) as u8),
        };
        [said[0].min(revision.tx_queues), said[1].min(revision.rx_queues)]
    }

    /// Vectors that the hardware has.
    pub(super) fn vectors(&self) -> u8 {
        self.revisions.iter().map(|revision| revision.vectors).max().unwrap_or(1)
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
