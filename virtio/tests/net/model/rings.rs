//! The device's side of the split queues, written from the specification's text: sections 2.7.5 to 2.7.14.

use super::registers::NetModel;
use super::{EVENT_IDX, MRG_RXBUF};

pub const RX: usize = 0;
pub const TX: usize = 1;

/// What the device knows of one queue.
#[derive(Clone, Debug)]
pub struct Ring {
    pub size: u16,
    pub vector: u16,
    pub enabled: bool,
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
    /// Next available entry to take.
    pub next_avail: u16,
    /// Next used entry to write.
    pub next_used: u16,
    /// Used index at the last decision about an interrupt.
    signalled: u16,
    /// How many more entries the device lets pass before it wants to be told; `None`: it never wants to.
    pub wants_after: Option<u16>,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            size: 0,
            vector: 0xffff,
            enabled: false,
            descriptors: 0,
            driver: 0,
            device: 0,
            next_avail: 0,
            next_used: 0,
            signalled: 0,
            wants_after: Some(0),
        }
    }
}

/// One descriptor of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub addr: u64,
    pub len: u32,
    pub writable: bool,
}

/// A chain the driver made available.
#[derive(Clone, Debug)]
pub struct Chain {
    pub head: u16,
    pub pieces: Vec<Piece>,
}

impl NetModel {
    fn get16(&self, addr: u64) -> u16 {
        u16::from_le_bytes(self.memory.device_get(addr).unwrap())
    }

    fn put16(&self, addr: u64, value: u16) {
        self.memory.device_write(addr, &value.to_le_bytes()).unwrap();
    }

    /// Available entries not taken yet.
    pub fn available(&self, queue: usize) -> u16 {
        let ring = &self.rings[queue];
        self.get16(ring.driver + 2).wrapping_sub(ring.next_avail)
    }

    /// Takes the next available chain.
    pub fn take(&mut self, queue: usize) -> Option<Chain> {
        let ring = self.rings[queue].clone();
        assert!(ring.enabled, "a queue is enabled before it is used");
        if !self.space.masters_bus() {
            self.violation("memory used without bus mastering");
        }
        let waiting = self.available(queue);
        if waiting > ring.size {
            self.violation(format!("{waiting} entries available in a ring of {}", ring.size));
            return None;
        }
        if waiting == 0 {
            return None;
        }
        let slot = u64::from(ring.next_avail % ring.size);
        let head = self.get16(ring.driver + 4 + 2 * slot);
        self.rings[queue].next_avail = ring.next_avail.wrapping_add(1);
        let mut pieces = Vec::new();
        let mut index = head;
        loop {
            assert!(index < ring.size, "descriptor {index} of {}", ring.size);
            let raw: [u8; 16] = self.memory.device_get(ring.descriptors + 16 * u64::from(index)).unwrap();
            let flags = u16::from_le_bytes([raw[12], raw[13]]);
            pieces.push(Piece {
                addr: u64::from_le_bytes(raw[..8].try_into().unwrap()),
                len: u32::from_le_bytes(raw[8..12].try_into().unwrap()),
                writable: flags & 2 != 0,
            });
            if flags & 1 == 0 || pieces.len() > usize::from(ring.size) {
                break;
            }
            index = u16::from_le_bytes([raw[14], raw[15]]);
        }
        if pieces.iter().any(|piece| piece.len == 0) {
            self.violation("empty descriptor");
        }
        Some(Chain { head, pieces })
    }

    /// Says from when on the device wants to be told, by event index or by flag.
    pub fn write_wish(&mut self, queue: usize) {
        let ring = self.rings[queue].clone();
        if self.has(EVENT_IDX) {
            let event =
                ring.wants_after.map_or(ring.next_avail.wrapping_sub(1), |n| ring.next_avail.wrapping_add(n));
            self.put16(ring.device + 4 + 8 * u64::from(ring.size), event);
        } else {
            self.put16(ring.device, u16::from(ring.wants_after.is_none()));
        }
    }

    /// Writes one used element, without showing it yet.
    pub fn write_used(&mut self, queue: usize, id: u32, len: u32) {
        let ring = &mut self.rings[queue];
        let at = ring.device + 4 + 8 * u64::from(ring.next_used % ring.size);
        ring.next_used = ring.next_used.wrapping_add(1);
        self.memory.device_write(at, &id.to_le_bytes()).unwrap();
        self.memory.device_write(at + 4, &len.to_le_bytes()).unwrap();
    }

    /// Shows the used elements written so far, and interrupts if the driver asked for it.
    pub fn show_used(&mut self, queue: usize) {
        let ring = self.rings[queue].clone();
        self.put16(ring.device + 2, ring.next_used);
        let owed = if self.has(EVENT_IDX) {
            let event = self.get16(ring.driver + 4 + 2 * u64::from(ring.size));
            ring.next_used.wrapping_sub(event).wrapping_sub(1) < ring.next_used.wrapping_sub(ring.signalled)
        } else {
            self.get16(ring.driver) & 1 == 0
        };
        self.rings[queue].signalled = ring.next_used;
        if owed {
            self.interrupt_queue(queue);
        }
    }

    /// Shows a used index that is `ahead` further than it should be.
    pub fn jump_used(&mut self, queue: usize, ahead: u16) {
        let ring = &self.rings[queue];
        self.put16(ring.device + 2, ring.next_used.wrapping_add(ahead));
    }

    /// Reads a chain that the device may only read.
    pub fn read_chain(&mut self, chain: &Chain) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in &chain.pieces {
            if piece.writable {
                self.violation("writable descriptor in a transmit chain");
            }
            let start = bytes.len();
            bytes.resize(start + piece.len as usize, 0);
            self.memory.device_read(piece.addr, &mut bytes[start..]).unwrap();
        }
        bytes
    }

    /// Sends one frame, if there is one, without showing it as used.
    pub fn send_one(&mut self) -> Option<u16> {
        let chain = self.take(TX)?;
        let frame = self.read_chain(&chain);
        self.sent.push(frame);
        self.write_used(TX, chain.head.into(), 0);
        Some(chain.head)
    }

    /// Sends whatever there is, then says when it wants to hear of more.
    pub fn send_all(&mut self) {
        loop {
            let mut any = false;
            while self.send_one().is_some() {
                any = true;
            }
            if any {
                self.show_used(TX);
            }
            self.write_wish(TX);
            // What came between the last look and the wish.
            if self.available(TX) == 0 {
                return;
            }
        }
    }

    /// Writes `header` and `payload` to the next receive buffer, and one used element. False when there is no buffer.
    pub fn fill_one(&mut self, bytes: &[u8]) -> bool {
        let Some(chain) = self.take(RX) else { return false };
        let [piece] = chain.pieces[..] else { panic!("a receive buffer is one descriptor") };
        assert!(piece.writable);
        assert!(bytes.len() <= piece.len as usize, "{} bytes into {}", bytes.len(), piece.len);
        self.memory.device_write(piece.addr, bytes).unwrap();
        self.write_used(RX, chain.head.into(), u32::try_from(bytes.len()).unwrap());
        true
    }

    /// Delivers a frame behind a header of zeroes (with a count of buffers where that was agreed), and shows it.
    pub fn deliver(&mut self, payload: &[u8]) -> bool {
        let mut header = [0; 12];
        header[10] = u8::from(self.has(MRG_RXBUF));
        self.deliver_with(header, payload)
    }

    /// Delivers a frame behind `header`.
    pub fn deliver_with(&mut self, header: [u8; 12], payload: &[u8]) -> bool {
        let delivered = self.fill_one(&[&header[..], payload].concat());
        if delivered {
            self.write_wish(RX);
            self.show_used(RX);
        }
        delivered
    }

    /// Delivers a frame over buffers of `buffer_bytes`, all shown at once.
    pub fn deliver_spread(&mut self, payload: &[u8], buffer_bytes: usize) {
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(payload);
        let count = bytes.len().div_ceil(buffer_bytes);
        bytes[10] = u8::try_from(count).unwrap();
        for piece in bytes.chunks(buffer_bytes) {
            assert!(self.fill_one(piece));
        }
        self.write_wish(RX);
        self.show_used(RX);
    }
}
