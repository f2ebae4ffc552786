//! A network device: a wire on which frames wait, and one on which they have gone.
//!
//! Spec: VIRTIO 1.2, 5.1 "Network Device".

use std::collections::VecDeque;

use crate::machine::Broken;
use crate::registers::{Class, EVENT_IDX, VERSION_1};
use crate::ring::{Chain, Ring};

/// MRG_RXBUF.
pub const MRG_RXBUF: u64 = 1 << 15;
/// MAC.
const MAC: u64 = 1 << 5;
/// The address of every one.
const MAC_BYTES: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// Length of the header in front of each frame.
const HEADER_BYTES: usize = 12;
/// Where in it the number of buffers is.
const NUM_BUFFERS: usize = 10;

/// The receive queue.
const RX: usize = 0;
/// The transmit queue.
const TX: usize = 1;

/// A network device.
#[derive(Default)]
pub struct Net {
    /// Frames that wait for buffers.
    pub waiting: VecDeque<Vec<u8>>,
    /// Frames sent.
    pub sent: Vec<Vec<u8>>,
    /// Frames that took more than one buffer.
    pub spread: u64,
    offered: u64,
    agreed: u64,
    /// Buffers that were taken, and are too few for the next frame.
    collected: Vec<Chain>,
}

impl Net {
    /// One that offers `features` beside the least.
    #[must_use]
    pub fn new(features: u64) -> Self {
        Self { offered: VERSION_1 | MAC | features, ..Self::default() }
    }

    fn transmit(&mut self, ring: &mut Ring) -> Result<(), Broken> {
        while let Some(chain) = ring.take()? {
            let Some((header, frame)) = chain.readable.split_at_checked(HEADER_BYTES) else {
                return Err(format!("a frame of {} bytes with its header", chain.readable.len()));
            };
            if header != [0; HEADER_BYTES] || chain.writable != 0 {
                return Err(format!("header {header:?}, {} buffers to write", chain.writable));
            }
            self.sent.push(frame.to_vec());
            ring.give(&chain, 0)?;
        }
        ring.signal()
    }

    fn receive(&mut self, ring: &mut Ring) -> Result<(), Broken> {
        while let Some(frame) = self.waiting.front() {
            let whole = HEADER_BYTES + frame.len();
            let mut room: usize = self.collected.iter().map(|chain| chain.writable_bytes).sum();
            while room < whole {
                let Some(chain) = ring.take()? else { return ring.signal() };
                if !chain.readable.is_empty() || chain.writable_bytes < HEADER_BYTES {
                    return Err(format!("no buffer to receive into: {} bytes", chain.writable_bytes));
                }
                room += chain.writable_bytes;
                self.collected.push(chain);
                if room < whole && self.agreed & MRG_RXBUF == 0 {
                    return Err(format!("a buffer of {room} bytes for a frame of {whole}"));
                }
            }
            let mut bytes = vec![0; HEADER_BYTES];
            let buffers = u16::try_from(self.collected.len()).unwrap_or(0).to_le_bytes();
            bytes.splice(NUM_BUFFERS.., buffers);
            bytes.extend(frame);
            let mut rest = &bytes[..];
            self.spread += u64::from(self.collected.len() > 1);
            for chain in self.collected.drain(..) {
                let (here, later) = rest.split_at(rest.len().min(chain.writable_bytes));
                chain.write(0, here)?;
                ring.give(&chain, here.len())?;
                rest = later;
            }
            self.waiting.pop_front();
        }
        ring.signal()
    }
}

impl Class for Net {
    const ID: u32 = 1;
    const QUEUES: usize = 2;

    fn features(&self) -> u64 {
        self.offered
    }

    fn config(&self) -> Vec<u8> {
        MAC_BYTES.into()
    }

    fn agreed(&mut self, features: u64) {
        self.agreed = features;
    }

    fn turn(&mut self, rings: &mut [Ring]) -> Result<(), Broken> {
        self.transmit(&mut rings[TX])?;
        self.receive(&mut rings[RX])
    }

    fn reset(&mut self) {
        self.collected.clear();
    }
}

/// What devices are offered, for tests that go through all of it.
pub const OFFERS: [u64; 4] = [0, EVENT_IDX, MRG_RXBUF, EVENT_IDX | MRG_RXBUF];
