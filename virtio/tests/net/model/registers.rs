//! The registers. Every access is held against the specification: width, order, state.

use paravane_mock_hal::{DeviceModel, Memory, Width};

use super::config_space::{COMMON, ConfigSpace, DEVICE, ISR, MSIX_TABLE, NOTIFY};
use super::rings::Ring;

pub const ACKNOWLEDGE: u8 = 1;
pub const DRIVER: u8 = 2;
pub const DRIVER_OK: u8 = 4;
pub const FEATURES_OK: u8 = 8;
pub const NEEDS_RESET: u8 = 64;
pub const FAILED: u8 = 128;

/// How the device refuses to play along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moods {
    /// The status never becomes zero.
    pub never_resets: bool,
    /// The status becomes zero after so many reads.
    pub slow_reset: u32,
    /// FEATURES_OK does not stick.
    pub rejects_features: bool,
    /// DRIVER does not stick.
    pub ignores_status: bool,
    /// Registers read all ones.
    pub gone: bool,
    /// The generation moves at every read.
    pub restless_config: bool,
    /// Queues read as enabled after a reset.
    pub queues_stay_enabled: bool,
}

/// The device.
pub struct NetModel {
    pub memory: Memory,
    pub space: ConfigSpace,
    pub offered: u64,
    pub accepted: u64,
    pub status: u8,
    /// Every status written, in order.
    pub statuses: Vec<u8>,
    pub mac: [u8; 6],
    pub link_up: bool,
    pub mtu: u16,
    pub speed_mbps: u32,
    pub max_entries: u16,
    /// Vectors below this can be had.
    pub vectors: u16,
    pub rings: Vec<Ring>,
    pub config_vector: u16,
    pub isr: u8,
    pub moods: Moods,
    /// Doorbells rung, by queue, in order.
    pub doorbells: Vec<u16>,
    /// Messages sent: data words, in order.
    pub messages: Vec<u32>,
    /// Frames sent by the driver, header first.
    pub sent: Vec<Vec<u8>>,
    /// Whether a doorbell makes the device look at the ring at once.
    pub serves_doorbells: bool,
    pub violations: Vec<String>,
    device_select: u32,
    driver_select: u32,
    pub(super) queue_select: u16,
    generation: u8,
    reads_until_reset: u32,
    msix: [[u32; 4]; 3],
}

/// Offset and width of each register of the common configuration.
const FIELDS: [(usize, usize); 17] = [
    (0x00, 4),
    (0x04, 4),
    (0x08, 4),
    (0x0c, 4),
    (0x10, 2),
    (0x12, 2),
    (0x14, 1),
    (0x15, 1),
    (0x16, 2),
    (0x18, 2),
    (0x1a, 2),
    (0x1c, 2),
    (0x1e, 2),
    (0x20, 8),
    (0x28, 8),
    (0x30, 8),
    (0x38, 0),
];

impl NetModel {
    pub fn new(memory: Memory, space: ConfigSpace, offered: u64) -> Self {
        Self {
            memory,
            space,
            offered,
            accepted: 0,
            status: 0,
            statuses: Vec::new(),
            mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
            link_up: true,
            mtu: 1500,
            speed_mbps: 10_000,
            max_entries: 256,
            vectors: 3,
            rings: vec![Ring::default(), Ring::default()],
            config_vector: 0xffff,
            isr: 0,
            moods: Moods::default(),
            doorbells: Vec::new(),
            messages: Vec::new(),
            sent: Vec::new(),
            serves_doorbells: true,
            violations: Vec::new(),
            device_select: 0,
            driver_select: 0,
            queue_select: 0,
            generation: 0,
            reads_until_reset: 0,
            msix: [[0, 0, 0, 1]; 3],
        }
    }

    pub(super) fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Whether `feature` was agreed.
    pub fn has(&self, feature: u64) -> bool {
        self.accepted & feature == feature
    }

    fn write_status(&mut self, value: u8) {
        self.statuses.push(value);
        if value == 0 {
            self.reads_until_reset = self.moods.slow_reset;
            if !self.moods.never_resets {
                self.reset();
            }
            return;
        }
        let added = value & !self.status;
        let lost = self.status & !value & !NEEDS_RESET;
        let in_order = match added {
            ACKNOWLEDGE => self.status == 0,
            DRIVER => self.status == ACKNOWLEDGE,
            FEATURES_OK => self.status == ACKNOWLEDGE | DRIVER,
            DRIVER_OK => self.status & !NEEDS_RESET == ACKNOWLEDGE | DRIVER | FEATURES_OK,
            FAILED => true,
            _ => false,
        };
        if !in_order || lost != 0 {
            self.violation(format!("status {:#x} after {:#x}", value, self.status));
            return;
        }
        let refused = (added == FEATURES_OK && self.moods.rejects_features)
            || (added == DRIVER && self.moods.ignores_status);
        if !refused {
            self.status = value;
        }
    }

    fn reset(&mut self) {
        self.status = 0;
        self.accepted = 0;
        self.config_vector = 0xffff;
        self.isr = 0;
        self.rings = vec![Ring::default(), Ring::default()];
        if self.moods.queues_stay_enabled {
            self.rings[0].enabled = true;
        }
    }

    fn ring(&mut self) -> Option<&mut Ring> {
        self.rings.get_mut(usize::from(self.queue_select))
    }

    /// Queues may be set up between FEATURES_OK and DRIVER_OK alone.
    fn may_set_up(&mut self) -> bool {
        let may = self.status == ACKNOWLEDGE | DRIVER | FEATURES_OK;
        if !may {
            self.violation(format!("queue register written in status {:#x}", self.status));
        }
        may && self.ring().is_some_and(|ring| !ring.enabled)
    }

    fn read_common(&mut self, at: usize) -> u32 {
        let max_entries = self.max_entries;
        let ring = self.ring().cloned();
        match at {
            0x04 => match self.device_select {
                0 => u32::try_from(self.offered & 0xffff_ffff).unwrap(),
                1 => u32::try_from(self.offered >> 32).unwrap(),
                _ => 0,
            },
            0x10 => self.config_vector.into(),
            0x12 => 2,
            0x14 => {
                if self.reads_until_reset > 0 {
                    self.reads_until_reset -= 1;
                    return 0x0f;
                }
                self.status.into()
            }
            0x15 => {
                if self.moods.restless_config {
                    self.generation = self.generation.wrapping_add(1);
                }
                self.generation.into()
            }
            0x18 => ring.map_or(0, |ring| if ring.size == 0 { max_entries } else { ring.size }).into(),
            0x1a => ring.map_or(0xffff, |ring| ring.vector).into(),
            0x1c => ring.is_some_and(|ring| ring.enabled).into(),
            0x1e => self.queue_select.into(),
            _ => {
                self.violation(format!("common configuration read at {at:#x}"));
                0
            }
        }
    }

    fn write_common(&mut self, at: usize, value: u32) {
        let [a, b, ..] = value.to_le_bytes();
        let half = u16::from_le_bytes([a, b]);
        let vector = if half < self.vectors { half } else { 0xffff };
        match at {
            0x00 => self.device_select = value,
            0x08 => self.driver_select = value,
            0x0c => {
                if self.status != ACKNOWLEDGE | DRIVER {
                    self.violation(format!("features written in status {:#x}", self.status));
                }
                let shift = 32 * self.driver_select;
                self.accepted = self.accepted & !(0xffff_ffff << shift) | u64::from(value) << shift;
                if self.accepted & !self.offered != 0 {
                    self.violation("features accepted that were not offered");
                }
            }
            0x10 => self.config_vector = vector,
            0x14 => self.write_status(a),
            0x16 => self.queue_select = half,
            0x18..0x38 => {
                if !self.may_set_up() {
                    return;
                }
                let max_entries = self.max_entries;
                let bad_size = !half.is_power_of_two() || half > max_entries;
                match at {
                    0x18 if bad_size => self.violation(format!("queue size {half}")),
                    0x1c if half != 1 => self.violation(format!("queue_enable {half}")),
                    0x1e => self.violation("queue_notify_off written"),
                    _ => {}
                }
                let Some(ring) = self.ring() else { return };
                match at {
                    0x18 => ring.size = half,
                    0x1a => ring.vector = vector,
                    0x1c => ring.enabled = true,
                    0x20..0x38 => {
                        let address = [&mut ring.descriptors, &mut ring.driver, &mut ring.device]
                            .into_iter()
                            .nth((at - 0x20) / 8)
                            .unwrap();
                        let shift = if at.is_multiple_of(8) { 0 } else { 32 };
                        *address = *address & !(0xffff_ffff << shift) | u64::from(value) << shift;
                    }
                    _ => {}
                }
            }
            _ => self.violation(format!("common configuration written at {at:#x}")),
        }
    }

    fn check_width(&mut self, at: usize, width: usize) {
        let field = FIELDS.windows(2).find(|pair| (pair[0].0..pair[1].0).contains(&at)).map(|pair| pair[0]);
        let right = field.is_some_and(
            |(start, bytes)| if bytes == 8 { width == 4 } else { at == start && width == bytes },
        );
        if !right {
            self.violation(format!("{width}-byte access at {at:#x} of the common configuration"));
        }
    }

    fn device_config(&mut self, at: usize, width: usize) -> u32 {
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&self.mac);
        bytes[6] = self.link_up.into();
        bytes[10..12].copy_from_slice(&self.mtu.to_le_bytes());
        bytes[12..].copy_from_slice(&self.speed_mbps.to_le_bytes());
        // A field is there for whoever agreed on it; before that, only to find out whether to agree.
        let gate = match at {
            0..6 => 1 << 5,
            6..8 => 1 << 16,
            10..12 => 1 << 3,
            _ => 1 << 63,
        };
        let sealed = self.status & FEATURES_OK != 0;
        if self.offered & gate == 0 || (sealed && self.accepted & gate == 0) {
            self.violation(format!("configuration field at {at} read without its feature"));
        }
        let mut value = [0; 4];
        value[..width].copy_from_slice(&bytes[at..at + width]);
        u32::from_le_bytes(value)
    }

    /// Changes the link, as a host does.
    pub fn set_link(&mut self, up: bool) {
        self.link_up = up;
        self.generation = self.generation.wrapping_add(1);
        self.interrupt_config();
    }

    /// Gives up, as a device does whose back end died.
    pub fn need_reset(&mut self) {
        self.status |= NEEDS_RESET;
        self.interrupt_config();
    }

    fn interrupt_config(&mut self) {
        if self.space.msix_enabled() {
            self.send_message(self.config_vector);
        } else {
            self.isr |= 2;
        }
    }

    pub(super) fn interrupt_queue(&mut self, queue: usize) {
        if self.space.msix_enabled() {
            self.send_message(self.rings[queue].vector);
        } else {
            self.isr |= 1;
        }
    }

    fn send_message(&mut self, vector: u16) {
        if let Some([address, _, data, masked]) = self.msix.get(usize::from(vector)).copied()
            && masked & 1 == 0
        {
            assert_eq!(address, 0xfee0_0000);
            self.messages.push(data);
        }
    }
}

impl DeviceModel for NetModel {
    fn read(&mut self, _bar: u8, at: usize, width: Width) -> u32 {
        if self.moods.gone {
            return u32::MAX;
        }
        match at {
            COMMON..ISR => {
                self.check_width(at - COMMON, width.bytes());
                self.read_common(at - COMMON)
            }
            ISR..DEVICE => {
                if self.space.msix_enabled() {
                    self.violation("interrupt status read with MSI-X enabled");
                }
                u32::from(std::mem::take(&mut self.isr))
            }
            DEVICE..NOTIFY => self.device_config(at - DEVICE, width.bytes()),
            NOTIFY..MSIX_TABLE => {
                self.violation("doorbell read");
                0
            }
            _ => self.msix[(at - MSIX_TABLE) / 16][(at - MSIX_TABLE) % 16 / 4],
        }
    }

    fn write(&mut self, _bar: u8, at: usize, width: Width, value: u32) {
        if self.moods.gone {
            return;
        }
        match at {
            COMMON..ISR => {
                self.check_width(at - COMMON, width.bytes());
                self.write_common(at - COMMON, value);
            }
            NOTIFY..MSIX_TABLE => {
                let queue = u16::try_from((at - NOTIFY) / 4).unwrap();
                if u32::from(queue) != value || width != Width::Half {
                    self.violation(format!("doorbell {value} at {at:#x}"));
                }
                if self.status & DRIVER_OK == 0 {
                    self.violation("doorbell before DRIVER_OK");
                }
                self.doorbells.push(queue);
                if queue == 1 && self.serves_doorbells {
                    self.send_all();
                }
            }
            ISR..NOTIFY => self.violation(format!("write at {at:#x}")),
            _ => self.msix[(at - MSIX_TABLE) / 16][(at - MSIX_TABLE) % 16 / 4] = value,
        }
    }
}
