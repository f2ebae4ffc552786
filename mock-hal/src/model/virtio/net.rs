//! The network device.
//!
//! Spec: VIRTIO 1.2, 5.1 "Network Device".

mod control;
mod rss;

use super::faults::{Said, low16};
use super::queue::Chain;
use super::{Class, Personality, Virtio};
use crate::fault::{Action, FaultPoint};

pub use control::{ERR, OK, Told};
pub use rss::{Hashes, Spread};

/// Feature bits of a network device.
///
/// Spec: VIRTIO 1.2, 5.1.3 "Feature bits".
pub mod bits {
    /// `CSUM`.
    pub const CSUM: u64 = 1;
    /// `GUEST_CSUM`.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// `CTRL_GUEST_OFFLOADS`.
    pub const CTRL_GUEST_OFFLOADS: u64 = 1 << 2;
    /// `MTU`.
    pub const MTU: u64 = 1 << 3;
    /// `MAC`.
    pub const MAC: u64 = 1 << 5;
    /// `GUEST_TSO4`.
    pub const GUEST_TSO4: u64 = 1 << 7;
    /// `GUEST_TSO6`.
    pub const GUEST_TSO6: u64 = 1 << 8;
    /// `GUEST_ECN`.
    pub const GUEST_ECN: u64 = 1 << 9;
    /// `GUEST_UFO`.
    pub const GUEST_UFO: u64 = 1 << 10;
    /// `HOST_TSO4`.
    pub const HOST_TSO4: u64 = 1 << 11;
    /// `HOST_TSO6`.
    pub const HOST_TSO6: u64 = 1 << 12;
    /// `HOST_ECN`.
    pub const HOST_ECN: u64 = 1 << 13;
    /// `HOST_UFO`.
    pub const HOST_UFO: u64 = 1 << 14;
    /// `MRG_RXBUF`.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// `STATUS`.
    pub const STATUS: u64 = 1 << 16;
    /// `CTRL_VQ`.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// `CTRL_RX`.
    pub const CTRL_RX: u64 = 1 << 18;
    /// `CTRL_VLAN`.
    pub const CTRL_VLAN: u64 = 1 << 19;
    /// `CTRL_RX_EXTRA`.
    pub const CTRL_RX_EXTRA: u64 = 1 << 20;
    /// `GUEST_ANNOUNCE`.
    pub const GUEST_ANNOUNCE: u64 = 1 << 21;
    /// `MQ`.
    pub const MQ: u64 = 1 << 22;
    /// `CTRL_MAC_ADDR`.
    pub const CTRL_MAC_ADDR: u64 = 1 << 23;
    /// `VQ_NOTF_COAL`.
    pub const VQ_NOTF_COAL: u64 = 1 << 52;
    /// `NOTF_COAL`.
    pub const NOTF_COAL: u64 = 1 << 53;
    /// `GUEST_USO4`.
    pub const GUEST_USO4: u64 = 1 << 54;
    /// `GUEST_USO6`.
    pub const GUEST_USO6: u64 = 1 << 55;
    /// `HOST_USO`.
    pub const HOST_USO: u64 = 1 << 56;
    /// `HASH_REPORT`.
    pub const HASH_REPORT: u64 = 1 << 57;
    /// `RSS`.
    pub const RSS: u64 = 1 << 60;
    /// `SPEED_DUPLEX`.
    pub const SPEED_DUPLEX: u64 = 1 << 63;
}

/// `receiveq1`.
pub const RX: usize = 0;
/// `transmitq1`.
pub const TX: usize = 1;
const RX_SUBJECT: u32 = 0;
/// Header of `VERSION_1` without `HASH_REPORT`.
pub const HEADER_BYTES: usize = 12;
/// Header with it.
pub const HASH_HEADER_BYTES: usize = 20;
/// How many buffers a device that shuffles takes ahead.
const STOCK: usize = 4;

/// What has a device make large packets,
const MAKES_LARGE: u64 = bits::GUEST_TSO4 | bits::GUEST_TSO6 | bits::GUEST_USO4 | bits::GUEST_USO6;
/// and how long these are at most, header included.
const LONGEST_BYTES: usize = 65_562;

/// A virtio network device.
pub type VirtioNet = Virtio<Net>;

/// A frame that the driver sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The header in front of it.
    pub header: [u8; HEADER_BYTES],
    /// The frame.
    pub bytes: Vec<u8>,
    /// Descriptors that it was made of.
    pub segments: usize,
    /// The pair of queues that it came by.
    pub pair: usize,
}

impl Sent {
    /// The checksum that is left to the device: summed from where on, stored where.
    pub(crate) fn checksum(&self) -> Option<(usize, usize)> {
        let [flags, gso_type, _, _, _, _, start @ .., offset_low, offset_high, _, _] = self.header;
        let (start, offset) = (u16::from_le_bytes(start), u16::from_le_bytes([offset_low, offset_high]));
        (flags & 1 != 0 && gso_type == 0).then_some((start.into(), usize::from(start) + usize::from(offset)))
    }
}

/// What a network device has that others have not.
#[derive(Clone, Debug)]
pub struct Net {
    /// Its address.
    pub mac: [u8; 6],
    /// Whether the cable is in.
    pub link_up: bool,
    /// The largest IP packet.
    pub mtu: u16,
    /// Its speed.
    pub speed_mbps: u32,
    /// Whether both sides may send at once.
    pub full_duplex: bool,
    /// Its own features.
    pub features: u64,
    /// Looks at the transmit queue when it is notified. Otherwise at ticks alone.
    pub serves_doorbells: bool,
    /// `max_virtqueue_pairs`.
    pub max_pairs: u16,
    /// Spreads what it receives over all pairs that were enabled, whatever it was told.
    pub spreads_over_all: bool,
    /// Looks at its control queue at all.
    pub answers_commands: bool,
    /// The class and command that it refuses.
    pub refuses: Option<(u8, u8)>,
    /// Wants the addresses announced.
    pub wants_announcement: bool,
    /// What the driver told it.
    pub told: Told,
    /// Class and command of all that it was told, in order.
    pub commands: Vec<(u8, u8)>,
    /// Frames that were kept out, as the driver had asked.
    pub filtered: u64,
    /// Frames received for which no buffer was posted, or none that is long enough.
    pub lost: u64,
    sent: Vec<Sent>,
    /// A frame that changes places with the next one.
    late: Option<Vec<u8>>,
}

impl Net {
    /// A card with address `mac`, with what the simple ones have: `MAC`, `STATUS`, `MRG_RXBUF`.
    #[must_use]
    pub fn new(mac: [u8; 6]) -> Self {
        Self {
            mac,
            link_up: true,
            mtu: 1500,
            speed_mbps: 10_000,
            full_duplex: true,
            features: bits::MAC | bits::STATUS | bits::MRG_RXBUF,
            serves_doorbells: true,
            max_pairs: 1,
            spreads_over_all: false,
            answers_commands: true,
            refuses: None,
            wants_announcement: false,
            told: Told::default(),
            commands: Vec::new(),
            filtered: 0,
            lost: 0,
            sent: Vec::new(),
            late: None,
        }
    }

    /// What the network device of this monitor offers.
    #[must_use]
    pub fn of(personality: &Personality, mac: [u8; 6]) -> Self {
        Self::new(mac).with_features(personality.net_features)
    }

    /// The same, with exactly these features of its own; with two pairs of queues, if it may have
    /// several.
    #[must_use]
    pub fn with_features(mut self, features: u64) -> Self {
        self.features = features;
        self.max_pairs = if features & (bits::MQ | bits::RSS) == 0 { 1 } else { 2 };
        self
    }

    /// The same with so many pairs of queues.
    #[must_use]
    pub fn with_pairs(self, max_pairs: u16) -> Self {
        Self { max_pairs, ..self }
    }
}

impl Class for Net {
    const TYPE: u16 = 1;
    const PCI_CLASS: u8 = 2;
    const HAS_LINK: bool = true;

    /// What this plays; of what it only offers, it agrees to nothing.
    const PLAYED: u64 = bits::CSUM
        | bits::GUEST_CSUM
        | bits::MTU
        | bits::MAC
        | bits::HOST_TSO4
        | bits::HOST_TSO6
        | bits::HOST_ECN
        | bits::HOST_USO
        | bits::GUEST_TSO4
        | bits::GUEST_TSO6
        | bits::GUEST_ECN
        | bits::GUEST_USO4
        | bits::GUEST_USO6
        | bits::MRG_RXBUF
        | bits::STATUS
        | bits::SPEED_DUPLEX
        | bits::CTRL_GUEST_OFFLOADS
        | bits::CTRL_VQ
        | bits::CTRL_RX
        | bits::CTRL_VLAN
        | bits::CTRL_RX_EXTRA
        | bits::GUEST_ANNOUNCE
        | bits::MQ
        | bits::CTRL_MAC_ADDR
        | bits::NOTF_COAL
        | bits::VQ_NOTF_COAL
        | bits::HASH_REPORT
        | bits::RSS;

    /// Spec: VIRTIO 1.2, 5.1.2 "Virtqueues".
    fn queues(&self) -> u16 {
        2 * self.max_pairs + u16::from(self.features & bits::CTRL_VQ != 0)
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn config(&self) -> Vec<u8> {
        let mut config = self.mac.to_vec();
        config.extend([u8::from(self.link_up) | u8::from(self.wants_announcement) << 1, 0]);
        config.extend(self.max_pairs.to_le_bytes());
        config.extend(self.mtu.to_le_bytes());
        config.extend(self.speed_mbps.to_le_bytes());
        config.extend([u8::from(self.full_duplex), rss::MAX_KEY_BYTES]);
        config.extend(rss::MAX_TABLE_ENTRIES.to_le_bytes());
        config.extend(rss::HASH_TYPES.to_le_bytes());
        // As long as what is offered needs.
        let fields = [
            (bits::RSS | bits::HASH_REPORT, 24),
            (bits::SPEED_DUPLEX, 17),
            (bits::MTU, 12),
            (bits::MQ, 10),
            (bits::STATUS, 8),
        ];
        let len_bytes = fields
            .into_iter()
            .find_map(|(feature, len_bytes)| (self.features & feature != 0).then_some(len_bytes))
            .unwrap_or(6);
        config.truncate(len_bytes);
        config
    }

    fn gate(&self, offset_bytes: usize) -> Option<u64> {
        match offset_bytes {
            0..6 => Some(bits::MAC),
            6..8 => Some(bits::STATUS),
            8..10 => Some(bits::MQ | bits::RSS),
            10..12 => Some(bits::MTU),
            12..17 => Some(bits::SPEED_DUPLEX),
            17..24 => Some(bits::RSS | bits::HASH_REPORT),
            _ => None,
        }
    }

    fn notified(device: &mut Virtio<Self>, queue: u16) {
        let queue = usize::from(queue);
        if device.accepted & bits::CTRL_VQ != 0 && queue == device.control_queue() {
            device.serve_commands();
        } else if queue % 2 == TX && device.class.serves_doorbells {
            device.send_all_of(queue);
        }
    }

    fn tick(device: &mut Virtio<Self>) {
        for frame in device.late_frames() {
            device.deliver_now(&frame);
        }
        if device.is_live() && device.class.serves_doorbells {
            device.send_all();
        }
        if device.is_live() {
            device.serve_commands();
        }
    }

    fn reset(&mut self) {
        self.late = None;
        self.told = Told::default();
    }

    /// Spec: VIRTIO 1.3, 5.1.6.5.8 "Notifications Coalescing": one that is enabled again goes by
    /// what was said of all of its direction.
    fn queue_disabled(&mut self, queue: u16) {
        self.told.queue_coalescing.remove(&queue);
    }

    fn flap(&mut self) {
        self.link_up = !self.link_up;
    }
}

impl Virtio<Net> {
    /// Plugs or pulls the cable.
    pub fn set_link(&mut self, up: bool) {
        self.class.link_up = up;
        self.config_changed();
    }

    /// Frames sent since the last call.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.class.sent)
    }

    /// Sends whatever there is, of every pair.
    pub fn send_all(&mut self) {
        for queue in (TX..2 * usize::from(self.class.max_pairs)).step_by(2) {
            if self.queues[queue].is_enabled && !self.queues[queue].is_stopped {
                self.send_all_of(queue);
            }
        }
    }

    /// Sends whatever there is in `queue`, then says when it wants to hear of more.
    fn send_all_of(&mut self, queue: usize) {
        let subject = u32::try_from(queue).unwrap_or(u32::MAX);
        // Each round takes entries that the driver made available, of which there are only so many
        // in a still ring.
        loop {
            let mut chains: Vec<Chain> = std::iter::from_fn(|| self.take(queue)).collect();
            if self.shuffles() {
                chains.reverse();
            }
            let any = !chains.is_empty();
            let mut ahead = 0;
            let mut frames = Vec::new();
            for chain in chains {
                frames.extend(self.frame_of(queue, &chain).map(|sent| (chain.head, sent)));
                let mut said = Said { index: chain.head.into(), ..Said::default() };
                let here = Self::plays_completion;
                let action = self.ask(FaultPoint::TxCompletion, subject, &mut said, here);
                ahead = low16(said.generation);
                self.say(queue, said, action);
            }
            if self.shuffles() {
                frames.reverse();
            }
            self.class.sent.extend(frames.into_iter().map(|(_, sent)| sent));
            if any {
                self.show(queue, ahead);
            }
            self.tell_wish(queue);
            // What came between the last look and the wish.
            if !any || self.waiting(queue) == 0 {
                return;
            }
        }
    }

    /// Sends one frame, if there is one. Not shown as used before [`show`](Self::show).
    pub fn send_one(&mut self) -> Option<u16> {
        let chain = self.take(TX)?;
        let head = chain.head;
        let sent = self.frame_of(TX, &chain);
        self.class.sent.extend(sent);
        self.put_used(TX, head.into(), 0);
        Some(head)
    }

    /// The frame that a chain is.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.2 "Packet Transmission".
    fn frame_of(&mut self, queue: usize, chain: &Chain) -> Option<Sent> {
        if chain.writable_bytes() != 0 {
            self.ring_violation(queue, "a writable descriptor in a transmit chain");
        }
        let bytes = match chain.read(&self.memory_of(queue)) {
            Ok(bytes) => bytes,
            Err(fault) => {
                self.ring_violation(queue, fault.to_string());
                return None;
            }
        };
        self.check_layout(queue, chain);
        let Some((shown, frame)) = bytes.split_at_checked(self.header_bytes()) else {
            self.ring_violation(queue, format!("{} bytes to send, less than a header", bytes.len()));
            return None;
        };
        // What a short one does not have is zero. What a long one has on top, only the device says.
        let mut header = [0; HEADER_BYTES];
        let len_bytes = shown.len().min(HEADER_BYTES);
        header[..len_bytes].copy_from_slice(&shown[..len_bytes]);
        self.check_header(&header, frame.len());
        let pair = queue / 2;
        if pair >= self.used_pairs() {
            self.content_violation(format!("a frame by pair {pair}, which is not in use, 5.1.6.5.5.1"));
        }
        Some(Sent { header, bytes: frame.to_vec(), segments: chain.segments.len(), pair })
    }

    /// Spec: VIRTIO 1.2, 5.1.6.2.1 "Driver Requirements: Packet Transmission".
    fn check_header(&mut self, header: &[u8; HEADER_BYTES], frame_bytes: usize) {
        let half = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let [flags, gso_type, ..] = *header;
        let (start, offset) = (half(6), half(8));
        let mut complain = |holds: bool, what: &str| {
            if !holds {
                self.content_violation(format!("{what}: header {header:02x?}, {frame_bytes} bytes"));
            }
        };
        complain(half(10) == 0, "num_buffers in a frame to send");
        complain(flags & !1 == 0, "a flag that drivers must not set");
        complain(gso_type == 0 || flags & 1 != 0, "segmentation without a checksum");
        complain(flags & 1 == 0 || start + offset + 2 <= frame_bytes, "a checksum outside the frame");
        complain(gso_type == 0 || half(4) != 0, "segments of zero bytes");
        let has = |feature| self.accepted & feature != 0;
        let is_agreed = match gso_type & 0x7f {
            0 => true,
            1 => has(bits::HOST_TSO4),
            4 => has(bits::HOST_TSO6),
            5 => has(bits::HOST_USO),
            _ => false,
        };
        let is_agreed = is_agreed
            && match gso_type {
                0x81 | 0x84 => has(bits::HOST_ECN),
                _ => gso_type & 0x80 == 0,
            };
        let has_checksum = flags & 1 == 0 || has(bits::CSUM);
        if !is_agreed || !has_checksum {
            self.content_violation(format!("an offload that was not agreed: {header:02x?}"));
        }
    }

    /// A frame arrives. Whether it was received.
    pub fn deliver(&mut self, frame: &[u8]) -> bool {
        let has_late = self.class.late.is_some();
        let here = |action: &Action| match action {
            Action::Drop | Action::Delay { .. } | Action::Duplicate => true,
            Action::Reorder => !has_late,
            _ => false,
        };
        match self.ask(FaultPoint::Frame, RX_SUBJECT, &mut (), here) {
            Some(Action::Drop) => return false,
            Some(Action::Delay { ticks }) => {
                self.delay_frame(ticks, frame);
                return true;
            }
            Some(Action::Duplicate) => {
                self.deliver_now(frame);
            }
            Some(Action::Reorder) => {
                self.class.late = Some(frame.to_vec());
                return true;
            }
            _ => {}
        }
        let delivered = self.deliver_now(frame);
        if let Some(late) = self.class.late.take() {
            self.deliver_now(&late);
        }
        delivered
    }

    fn deliver_now(&mut self, frame: &[u8]) -> bool {
        self.deliver_with([0; HEADER_BYTES], frame)
    }

    /// A frame arrives, to be shown behind `header`, in which the device fills in the number of
    /// buffers.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.4 "Processing of Incoming Packets".
    pub fn deliver_with(&mut self, mut header: [u8; HEADER_BYTES], frame: &[u8]) -> bool {
        if !self.is_live() || !self.class.link_up {
            return false;
        }
        if !self.lets_through(frame) {
            self.class.filtered += 1;
            return false;
        }
        let rx = self.steer(frame);
        if self.queues[rx].is_stopped {
            return false;
        }
        let Some(chains) = self.gather(rx, frame.len()) else {
            self.class.lost += 1;
            return false;
        };
        let count = if self.has(bits::MRG_RXBUF) { chains.len() } else { 1 };
        // What is said falsely is said of the first buffer.
        let header_bytes = self.header_bytes();
        let (head, first_bytes) = chains.first().map_or((0, 0), |chain| (chain.head, chain.writable_bytes()));
        let mut said = Said {
            index: head.into(),
            length: u32::try_from(first_bytes.min(header_bytes + frame.len())).unwrap_or(u32::MAX),
            flags: header[0].into(),
            kind: header[1].into(),
            queue: u32::try_from(count).unwrap_or(u32::MAX),
            ..Said::default()
        };
        let subject = u32::try_from(rx).unwrap_or(u32::MAX);
        let action = self.ask(FaultPoint::RxCompletion, subject, &mut said, Self::plays_completion);
        header[0] = low16(said.flags).to_le_bytes()[0];
        header[1] = low16(said.kind).to_le_bytes()[0];
        header[10..].copy_from_slice(&low16(said.queue).to_le_bytes());
        let mut shown = header.to_vec();
        if self.has(bits::HASH_REPORT) {
            let (value, report) = self.hash_of(frame);
            shown.extend(value.to_le_bytes());
            shown.extend(report.to_le_bytes());
        }
        shown.resize(header_bytes, 0);
        let bytes = [&shown[..], frame].concat();
        let mut rest = &bytes[..];
        for (position, chain) in chains.into_iter().enumerate() {
            let (now, later) = rest.split_at(rest.len().min(chain.writable_bytes()));
            rest = later;
            if let Err(fault) = chain.write(&self.memory_of(rx), now) {
                self.ring_violation(rx, fault.to_string());
            }
            let (told, action) = if position == 0 {
                (said, action)
            } else {
                let length = u32::try_from(now.len()).unwrap_or(u32::MAX);
                (Said { index: chain.head.into(), length, ..Said::default() }, None)
            };
            self.say(rx, told, action);
        }
        self.tell_wish(rx);
        self.show(rx, low16(said.generation));
        true
    }

    /// A packet arrives that the device has put together, of `gso_type`, each piece of which has
    /// `gso_size`; its checksum is open at `csum`: from where on, and where from there. False, too,
    /// where that was not agreed, or the driver switched it off: then this device loses it.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.4.1 "Device Requirements: Processing of Incoming Packets".
    pub fn deliver_large(&mut self, gso_type: u8, gso_size: u16, csum: (u16, u16), frame: &[u8]) -> bool {
        let needs: &[u64] = match gso_type {
            1 => &[bits::GUEST_TSO4],
            4 => &[bits::GUEST_TSO6],
            0x81 => &[bits::GUEST_TSO4, bits::GUEST_ECN],
            0x84 => &[bits::GUEST_TSO6, bits::GUEST_ECN],
            5 if frame.get(12..14) == Some(&[0x86, 0xdd]) => &[bits::GUEST_USO6],
            5 => &[bits::GUEST_USO4],
            _ => return false,
        };
        let on = self.accepted & self.class.told.guest_offloads.unwrap_or(u64::MAX);
        if needs.iter().any(|feature| on & feature == 0) || on & bits::GUEST_CSUM == 0 {
            return false;
        }
        let mut header = [0; HEADER_BYTES];
        header[..2].copy_from_slice(&[1, gso_type]);
        // A hint, and one that bugs have: as long as it happens to be.
        header[2..4].copy_from_slice(&128_u16.to_le_bytes());
        header[4..6].copy_from_slice(&gso_size.to_le_bytes());
        header[6..8].copy_from_slice(&csum.0.to_le_bytes());
        header[8..10].copy_from_slice(&csum.1.to_le_bytes());
        self.deliver_with(header, frame)
    }

    /// Whether a frame of `len_bytes` would find buffers.
    pub fn has_room(&mut self, len_bytes: usize) -> bool {
        if !self.is_live() {
            return false;
        }
        let chains = self.gather(RX, len_bytes);
        let has_room = chains.is_some();
        self.put_back(RX, chains.unwrap_or_default());
        has_room
    }

    /// How long the header is that goes with every frame.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6 "Device Operation", 5.1.6.1 "Legacy Interface: Device Operation".
    fn header_bytes(&self) -> usize {
        if self.accepted & bits::HASH_REPORT != 0 {
            return HASH_HEADER_BYTES;
        }
        let is_short = self.is_legacy() && self.accepted & bits::MRG_RXBUF == 0;
        if is_short { HEADER_BYTES - 2 } else { HEADER_BYTES }
    }

    /// A header is alone in its descriptor, unless more was agreed.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.6 "Legacy Interface: Framing Requirements".
    fn check_layout(&mut self, queue: usize, chain: &Chain) {
        let header_bytes = self.header_bytes();
        let first = chain.segments.first().map_or(0, |first| first.len_bytes as usize);
        if self.wants_old_layout() && first != header_bytes {
            self.ring_violation(
                queue,
                format!("{first} bytes where a header of {header_bytes} is alone, 5.1.6.6"),
            );
        }
    }

    /// Where a frame is in one buffer, each holds the longest packet that may come.
    ///
    /// Spec: VIRTIO 1.2, 5.1.6.3.1 "Driver Requirements: Setting Up Receive Buffers".
    fn check_length(&mut self, queue: usize, chain: &Chain) {
        let makes_large = self.accepted & MAKES_LARGE != 0;
        let length = chain.writable_bytes();
        if makes_large && !self.has(bits::MRG_RXBUF) && length < LONGEST_BYTES {
            self.ring_violation(queue, format!("{length} bytes for what may be {LONGEST_BYTES}, 5.1.6.3.1"));
        }
    }

    /// Takes buffers for a frame of `len_bytes` and its header: enough, or none.
    fn gather(&mut self, rx: usize, len_bytes: usize) -> Option<Vec<Chain>> {
        let mut total = self.header_bytes() + len_bytes;
        let mut chains = Vec::new();
        let most = if self.has(bits::MRG_RXBUF) { usize::from(self.queues[rx].entries) } else { 1 };
        while total > 0 && chains.len() < most {
            self.stock_up(rx);
            let Some(chain) = self.take(rx) else { break };
            if chain.writable_bytes() == 0 {
                self.ring_violation(rx, "a receive buffer that cannot be written");
            }
            self.check_layout(rx, &chain);
            self.check_length(rx, &chain);
            total = total.saturating_sub(chain.writable_bytes());
            chains.push(chain);
        }
        if total > 0 {
            self.put_back(rx, chains);
            return None;
        }
        Some(chains)
    }

    /// Keeps buffers for the next frame. The last in stock is the first used.
    fn put_back(&mut self, rx: usize, mut chains: Vec<Chain>) {
        chains.reverse();
        self.queues[rx].stock.append(&mut chains);
    }

    /// Takes some buffers ahead and shuffles them, if it is that kind of device.
    fn stock_up(&mut self, rx: usize) {
        if !self.shuffles() || !self.queues[rx].stock.is_empty() {
            return;
        }
        // The last one taken is the first one used.
        let stock: Vec<Chain> = (0..STOCK).map_while(|_| self.take(rx)).collect();
        self.queues[rx].stock = stock;
    }

    /// Fills the next buffer with `bytes`, header or not, and puts a used element for it. False
    /// when there is no buffer.
    pub fn fill_one(&mut self, bytes: &[u8]) -> bool {
        let Some(chain) = self.take(RX) else { return false };
        if let Err(fault) = chain.write(&self.memory_of(RX), bytes) {
            self.ring_violation(RX, fault.to_string());
        }
        self.put_used(RX, chain.head.into(), u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        true
    }
}
