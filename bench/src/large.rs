//! What VMXNET3 does beyond small frames by one pair of queues: eight pairs, each served by itself;
//! a packet of 60 KiB that the device cuts; one of 44 segments that it put together.

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use paravane_hal::Failed;
use paravane_hal::irq::Interrupts;
use paravane_net::{
    Burst, ChecksumRequest, FrameLayout, FramePool, Running, RxOffloads, RxQueue, Segmentation,
    SegmentationKind, TxOffload, TxQueue,
};
use paravane_vmxnet3::{Config, Device, Pair};

use crate::device::vmxnet3::Port;
use crate::platform::Plain;
use crate::space::Space;
use crate::subject::{Kind, Moving};

/// Frames handed over at once by a queue.
const BURST: usize = 32;
/// Small frames.
const SMALL_BYTES: usize = 64;
const PAIRS: u16 = 8;
/// Buffers of each pool.
const BUFFERS: u32 = 2048;
/// A large packet on its way out, headers included.
const CUT_BYTES: usize = 60 << 10;
/// Segments of one on its way in.
const SEGMENTS: u32 = 44;
/// Payload of each segment.
const MSS_BYTES: u16 = 1448;
/// Ethernet, IPv4 and TCP with timestamps.
const HEADER_BYTES: u16 = 14 + 20 + 32;

/// One on its way in.
const LARGE_BYTES: usize = HEADER_BYTES as usize + SEGMENTS as usize * MSS_BYTES as usize;
/// What the sender of a large packet asks for.
const CUT: TxOffload = TxOffload {
    checksum: Some(ChecksumRequest { start_bytes: 14 + 20, offset_bytes: 16 }),
    segmentation: Some(Segmentation {
        kind: SegmentationKind::Tcp4,
        header_bytes: HEADER_BYTES,
        mss_bytes: MSS_BYTES,
        ecn: false,
    }),
};

/// What is counted, of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// A small frame sent, by each of eight pairs of queues in turn.
    EightSend,
    /// The same received.
    EightReceive,
    /// 60 KiB of TCP sent, in buffers of 16 KiB.
    Cut,
    /// 44 segments of TCP received as one packet, in buffers of 16 KiB.
    Large,
}

impl Work {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::EightSend => "eight-send",
            Self::EightReceive => "eight-receive",
            Self::Cut => "cut",
            Self::Large => "large",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::EightSend => "transmit, 64 bytes, burst 32, eight pairs in turn",
            Self::EightReceive => "receive, 64 bytes, burst 32, eight pairs in turn",
            Self::Cut => "transmit, 60 KiB of TCP for the device to cut, buffers of 16 KiB",
            Self::Large => "receive, 44 segments of TCP as one packet, buffers of 16 KiB",
        }
    }

    /// Packets of a turn.
    pub fn burst(self) -> usize {
        match self {
            Self::EightSend | Self::EightReceive => BURST,
            Self::Cut | Self::Large => 1,
        }
    }

    fn buffer_bytes(self) -> u16 {
        match self {
            Self::EightSend | Self::EightReceive => 2048,
            Self::Cut | Self::Large => 16384,
        }
    }
}

/// `work` on a device of its own.
pub fn start(work: Work) -> Result<Box<dyn Moving>> {
    let port: &'static Port = Box::leak(Box::default());
    let platform = Plain::new(port);
    let device = Device::new(Port::space().claim()?, platform).map_err(Failed::into_error)?;
    let layout = FrameLayout::new(BUFFERS).with_buffer_bytes(work.buffer_bytes());
    let pool = FramePool::new(platform, layout)?;
    let offloads = RxOffloads::CHECKSUM | RxOffloads::TCP4 | RxOffloads::TCP6;
    let config = match work {
        Work::EightSend | Work::EightReceive => Config::default().with_pairs(PAIRS).with_rx_entries(1024),
        Work::Cut => Config::default(),
        Work::Large => paravane_net::Config::default().with_rx_offloads(offloads).into(),
    };
    let running = device.start(&config, pool.clone(), Interrupts::POLLING);
    let mut running = running.map_err(Failed::into_error).context("the driver does not start")?;
    let pairs = running.rx.take_pairs();
    let mut packet = headers(LARGE_BYTES).to_vec();
    packet.resize(LARGE_BYTES, 0x5a);
    Ok(Box::new(Large {
        work,
        port,
        running,
        pairs,
        pool,
        burst: Burst::new(),
        turns: 0,
        received: 0,
        headers: headers(CUT_BYTES),
        packet,
    }))
}

struct Large {
    work: Work,
    port: &'static Port,
    running: Running<Device<Plain, Space>>,
    /// Those behind the first, where there are any.
    pairs: Vec<Pair<Plain>>,
    pool: FramePool,
    burst: Burst,
    turns: u64,
    received: u64,
    /// Of a large packet on its way out.
    headers: [u8; HEADER_BYTES as usize],
    /// One on its way in.
    packet: Vec<u8>,
}

/// Ethernet, IPv4 and TCP headers of a packet that is `bytes` long with them.
fn headers(bytes: usize) -> [u8; HEADER_BYTES as usize] {
    let mut headers = [0; HEADER_BYTES as usize];
    headers[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    headers[16..18].copy_from_slice(&u16::try_from(bytes - 14).unwrap_or(0).to_be_bytes());
    headers[23] = 6;
    headers[46] = 8 << 4;
    headers
}

impl Large {
    /// The pair whose turn it is.
    fn pair(&mut self) -> (&mut dyn RxQueue, &mut dyn TxQueue, usize) {
        let index = usize::try_from(self.turns).unwrap_or(0) % (self.pairs.len() + 1);
        let other = index.checked_sub(1).and_then(|other| self.pairs.get_mut(other));
        match other {
            Some(Pair { rx, tx: Some(tx) }) => (rx, tx, index),
            _ => (&mut self.running.rx, &mut self.running.tx, 0),
        }
    }

    fn fill(&mut self) {
        match self.work {
            Work::EightSend => {
                self.burst = self.pool.take_with(BURST, |mut frame| {
                    let _ = frame.set_segment_bytes(SMALL_BYTES);
                    frame
                });
            }
            Work::Cut => {
                let segment_bytes = paravane_net::payload_bytes(&self.pool);
                let mut rest = CUT_BYTES;
                let segments = self.pool.take_with(CUT_BYTES.div_ceil(segment_bytes), |mut segment| {
                    let len_bytes = rest.min(segment_bytes);
                    rest -= len_bytes;
                    let _ = segment.set_segment_bytes(len_bytes);
                    segment
                });
                let mut frame = segments.join();
                if let Some(frame) = &mut frame {
                    let _ = frame.write(0, &self.headers);
                    frame.set_offload(CUT);
                }
                self.burst.extend(frame);
            }
            Work::EightReceive | Work::Large => {}
        }
    }

    fn send(&mut self) {
        self.fill();
        let mut burst = core::mem::take(&mut self.burst);
        let _ = self.pair().1.transmit(&mut burst);
        self.burst = burst;
    }

    fn receive(&mut self) {
        let mut burst = core::mem::take(&mut self.burst);
        let packets = self.pair().0.receive(&mut burst).unwrap_or(0);
        self.received += packets as u64;
        burst.clear();
        self.burst = burst;
    }
}

impl Moving for Large {
    fn turn(&mut self, around: &mut dyn FnMut(&mut dyn FnMut())) {
        match self.work {
            Work::EightSend | Work::Cut => {
                around(&mut || self.send());
                self.port.device().transmit();
                around(&mut || {
                    let _ = self.pair().1.reclaim();
                });
            }
            Work::EightReceive => {
                let queue = self.pair().2;
                self.port.device().deliver_to(queue, &[0x5a; SMALL_BYTES], BURST, Kind::Plain);
                around(&mut || self.receive());
            }
            Work::Large => {
                self.port.device().deliver_large(&self.packet, SEGMENTS, MSS_BYTES);
                around(&mut || self.receive());
            }
        }
        self.turns += 1;
    }

    fn check(&self) -> Result<()> {
        let device = self.port.device();
        let expected = self.turns * self.work.burst() as u64;
        let moved = match self.work {
            Work::EightSend => device.sent,
            Work::Cut => device.sent_bytes / CUT_BYTES as u64,
            Work::EightReceive | Work::Large => self.received,
        };
        ensure!(moved == expected, "{}: {moved} packets moved of {expected}", self.work.title());
        Ok(())
    }
}
