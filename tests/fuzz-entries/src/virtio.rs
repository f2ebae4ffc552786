//! virtio: the split ring's used elements and indices, and the header in front of a received frame.

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::virtio::net::bits;
use paravane_mock_hal::model::virtio::{Net as NetModel, Personality, Plugged, Virtio};
use paravane_mock_hal::{MockPlatform, PciHost};
use paravane_net::{Burst, FramePool, RxChecksum, RxQueue as _, TxQueue as _};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::net::{Config, Device, Running};

use crate::input::Input;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const RX: usize = 0;
const TX: usize = 1;

type Up = Running<MockPlatform, PciHost>;
type Stopped = Device<MockPlatform, PciHost>;

struct Bench {
    platform: MockPlatform,
    plugged: Plugged<NetModel>,
    pool: FramePool,
}

impl Bench {
    fn new(features: u64) -> Self {
        let platform = MockPlatform::builder().record_faults().without_sites().build();
        let net = NetModel::new(MAC).with_features(bits::MAC | bits::STATUS | features);
        let [personality, ..] = Personality::all();
        let plugged = Virtio::plug(&platform, PciAddress::new(0, 0, 3, 0).unwrap(), net, personality);
        let pool = FramePool::new(platform.clone(), 128, 2048, 64).unwrap();
        Self { platform, plugged, pool }
    }

    fn device(&self) -> Stopped {
        let function = Function::claim(self.plugged.host.clone(), self.plugged.address).unwrap();
        Device::new(function, self.platform.clone()).map_err(|(error, _)| error).unwrap()
    }

    fn start(&self, device: Stopped) -> Up {
        let config = Config { tx_entries: 16, rx_entries: 16, ..Config::default() };
        device.start(&config, self.pool.clone(), Interrupts::Polling).map_err(|(error, _)| error).unwrap()
    }

    /// Stops what the device broke, and sees it work again.
    fn heal(&self, up: Up) {
        let device = up.control.stop(up.rx, up.tx).map_err(|error| error.to_string()).unwrap();
        assert_eq!(self.pool.free(), self.pool.frames(), "every buffer came home");
        let mut up = self.start(device);
        let mut burst = Burst::new();
        assert!(self.plugged.lock().deliver(&[0x52; 60]));
        assert_eq!(up.rx.receive(&mut burst), Ok(1), "a restart heals");
        drop(burst);
        drop(up.control.stop(up.rx, up.tx).map_err(|error| error.to_string()).unwrap());
        assert_eq!(self.pool.free(), self.pool.frames());
    }
}

/// Each input byte is an act of the device or of the driver.
pub fn virtio_ring(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let bench = Bench::new(if input.byte() & 1 == 1 { bits::MRG_RXBUF } else { 0 });
    let mut up = bench.start(bench.device());
    let mut burst = Burst::new();
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => bench.plugged.lock().put(usize::from(input.byte() & 1), input.word(), input.word()),
            1 => {
                let [head, len] = input.array();
                bench.plugged.lock().put(RX, u32::from(head) % 20, u32::from(len) * 9);
            }
            2 => bench.plugged.lock().put(TX, u32::from(input.byte()) % 20, 0),
            3 => bench.plugged.lock().show(usize::from(input.byte() & 1), u16::from(input.byte() % 4)),
            4 => {
                let _ = up.rx.receive(&mut burst);
                burst.clear();
            }
            5 => {
                if let Some(mut frame) = bench.pool.get() {
                    frame.append(&[5; 60]);
                    burst.extend([frame]);
                }
                let _ = up.tx.transmit(&mut burst);
                burst.clear();
            }
            6 => drop(up.tx.reclaim()),
            _ => drop(bench.plugged.lock().deliver(&[input.byte(); 60])),
        }
    }
    drop(burst);
    bench.heal(up);
}

/// The first bytes are the header, the rest is the frame. What reaches the stack keeps inside the frame.
pub fn net_header(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let features =
        [0, bits::MRG_RXBUF, bits::CSUM | bits::GUEST_CSUM, bits::MRG_RXBUF | bits::CSUM | bits::GUEST_CSUM];
    let bench = Bench::new(features[usize::from(input.byte() & 3)]);
    let mut up = bench.start(bench.device());
    let header = input.array();
    let frame = vec![7; usize::from(input.half()) % 1990];
    bench.plugged.lock().deliver_with(header, &frame);
    let mut burst = Burst::new();
    for _ in 0..3 {
        let _ = up.rx.receive(&mut burst);
    }
    while let Some(frame) = burst.pop() {
        assert!(frame.total_bytes() >= 14);
        if let RxChecksum::Partial(request) = frame.rx_checksum() {
            let end = usize::from(request.start_bytes) + usize::from(request.offset_bytes) + 2;
            assert!(end <= frame.total_bytes(), "the stack is sent outside the frame");
        }
    }
    bench.heal(up);
}
