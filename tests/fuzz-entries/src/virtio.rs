//! virtio: everything of the split ring that lies in shared memory, configuration and status, and
//! the header in front of a received frame.

use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_mock_hal::model::virtio::net::bits;
use paravane_mock_hal::model::virtio::{Net as NetModel, Personality, Plugged, Virtio};
use paravane_mock_hal::{ChangingLoads, FaultKind, MockPlatform, PciHost, message};
use paravane_net::{Burst, Control as _, FrameLayout, FramePool, RxChecksum, RxQueue as _, TxQueue as _};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::net::{Config, Device, Running, StopError};
use paravane_virtio::transport::pci::{self, Pci};

use crate::input::{Input, as_often_as};
use crate::lie::{NET_POINTS, lie};
use crate::queue::{put, scribble, show};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const RX: usize = 0;
const TX: usize = 1;
const MESSAGES: [MsiMessage; 3] = [message(0xfee0_0000, 0x40); 3];

type Up = Running<MockPlatform, Pci<MockPlatform, PciHost>>;
type Stopped = Device<MockPlatform, Pci<MockPlatform, PciHost>>;

struct Bench {
    platform: MockPlatform,
    plugged: Plugged<NetModel>,
    pool: FramePool,
    interrupts: Interrupts<'static>,
    bytes_at_rest: usize,
}

impl Bench {
    fn new(features: u64, input: &mut Input<'_>) -> Self {
        let platform = MockPlatform::builder().without_sites().build();
        let net = NetModel::new(MAC).with_features(bits::MAC | bits::STATUS | features);
        let personality = input.pick(Personality::all());
        let plugged = Virtio::plug(&platform, PciAddress::new(0, 0, 3, 0).unwrap(), net, personality);
        let pool = FramePool::new(platform.clone(), FrameLayout::new(64)).unwrap();
        let interrupts = input.pick([Interrupts::POLLING, Interrupts::LINE, Interrupts::msix(&MESSAGES)]);
        let bytes_at_rest = platform.memory().bytes();
        Self { platform, plugged, pool, interrupts, bytes_at_rest }
    }

    fn claim(&self) -> Stopped {
        let function = Function::claim(self.plugged.host.clone(), self.plugged.address).unwrap();
        pci::open(function, self.platform.clone(), Device::new).unwrap_or_else(|failed| {
            self.plugged.lock().repent();
            let (_, function) = failed.into_parts();
            pci::open(function, self.platform.clone(), Device::new).unwrap()
        })
    }

    /// Starts the driver on a device that may still lie, and on an honest one after that.
    fn start(&self, mut device: Stopped) -> Up {
        let config = Config::default().with_tx_entries(16).with_rx_entries(16);
        for _ in 0..2 {
            match device.start(&config, self.pool.clone(), self.interrupts) {
                Ok(up) => return up,
                Err(failed) => (_, device) = failed.into_parts(),
            }
            self.assert_kept(device.keeps_memory());
            self.plugged.lock().repent();
        }
        panic!("an honest device does not start")
    }

    /// Stops the driver on a device that may still lie, and on an honest one after that: its parts
    /// are kept in between, and so nothing is lost.
    fn stop(&self, mut up: Up) -> Stopped {
        for _ in 0..2 {
            match up.stop() {
                Ok(device) => {
                    assert_eq!(self.missing(), (0, 0), "everything came home");
                    return device;
                }
                Err(failed) => {
                    assert_ne!(*failed.error(), StopError::ForeignQueue, "they are its own queues");
                    (_, up) = failed.into_parts();
                }
            }
            self.assert_kept(true);
            self.plugged.lock().repent();
        }
        panic!("an honest device does not stop")
    }

    /// Frames and bytes of memory that are not at home, while the driver is stopped.
    fn missing(&self) -> (usize, usize) {
        (self.pool.buffers() - self.pool.free(), self.platform.memory().bytes() - self.bytes_at_rest)
    }

    /// What is not at home is `kept`, by a device that lied about its reset; it is one start's.
    fn assert_kept(&self, kept: bool) {
        let (frames, bytes) = self.missing();
        let lied = self.plugged.lock().faults.hits() > 0;
        assert!(lied || !kept, "an honest device has {frames} frames, {bytes} bytes");
        assert!(kept || (frames, bytes) == (0, 0), "{frames} frames and {bytes} bytes are lost");
        // The receive queue may hold as many beside its ring.
        const STOCK: usize = 32;
        assert!(frames <= 2 * 16 + STOCK, "{frames} frames of two queues of 16");
    }

    /// Has the words of rings change between two loads from here on.
    fn changing_loads(&self, seed: u64) -> ChangingLoads {
        as_often_as(seed, self.plugged.changing_loads(&self.platform, seed))
    }

    /// What registers say about the device itself.
    fn change_registers(&self, input: &mut Input<'_>) {
        let mut model = self.plugged.lock();
        match input.byte() % 6 {
            0 => model.config_changed(),
            1 => model.restless_config = input.bit(),
            2 => model.need_reset(),
            3 => model.queues_stay_enabled = input.bit(),
            4 => model.rejects_features = input.bit(),
            _ => model.set_link(input.bit()),
        }
    }

    fn be_honest(&self) {
        let mut model = self.plugged.lock();
        model.repent();
        model.restless_config = false;
        model.queues_stay_enabled = false;
        model.rejects_features = false;
    }

    /// Stops what the device broke, and sees it work again.
    fn heal(self, up: Up) {
        let device = self.stop(up);
        self.be_honest();
        self.plugged.lock().violations.clear();
        let mut up = self.start(device);
        self.plugged.lock().take_sent();
        self.plugged.lock().set_link(true);
        let mut burst = Burst::new();
        assert!(self.plugged.lock().deliver(&[0x52; 60]));
        assert_eq!(up.rx.receive(&mut burst), Ok(1), "a restart heals");
        assert_eq!(up.tx.transmit(&mut burst), Ok(1));
        assert_eq!(self.plugged.lock().take_sent().len(), 1, "both ways");
        assert_eq!(up.tx.reclaim(), Ok(1));
        drop(self.stop(up));
        assert_eq!(self.plugged.lock().violations, [""; 0]);
        let Self { platform, pool, .. } = self;
        drop(pool);
        // A device that was cut off from memory in the middle of its work has tried to reach it.
        let (faults, violations) = platform.memory().forgive();
        assert!(faults.iter().all(|fault| fault.kind == FaultKind::BusMasterOff), "{faults:?}");
        assert_eq!(violations, [""; 0]);
        platform.finish();
    }
}

/// Each input byte is an act of the device or of the driver.
pub fn virtio_ring(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let features = input.pick([0, bits::MRG_RXBUF]);
    let bench = Bench::new(features, &mut input);
    for _ in 0..input.byte() % 4 {
        bench.plugged.lock().faults.add(lie(NET_POINTS, &mut input));
    }
    let loads = bench.changing_loads(input.seed());
    let mut up = bench.start(bench.claim());
    while !input.is_empty() {
        loads.next_call();
        match input.byte() % 16 {
            0 => put(&bench.plugged, input.pick([RX, TX]), input.word(), input.word()),
            // Likely ones get further than noise does.
            1 => {
                let [head, len] = input.array();
                put(&bench.plugged, RX, u32::from(head) % 20, u32::from(len) * 9);
            }
            2 => put(&bench.plugged, TX, u32::from(input.byte()) % 20, 0),
            3 => show(&bench.plugged, input.pick([RX, TX]), u16::from(input.byte() % 4)),
            4 => drop(bench.plugged.lock().deliver(&[input.byte(); 60])),
            5 | 6 => scribble(&bench.plugged, &bench.platform, input.pick([RX, TX]), &mut input),
            7 => bench.plugged.lock().faults.add(lie(NET_POINTS, &mut input)),
            8 => bench.change_registers(&mut input),
            9 => bench.plugged.lock().tick(),
            10 => receive(&mut up),
            11 => transmit(&mut up, &bench.pool, input.byte()),
            12 => drop(up.tx.reclaim()),
            13 => {
                let _ = (up.rx.arm(), up.tx.arm(), up.control.arm());
            }
            14 => {
                up.control.acknowledge();
                let _ = up.control.poll();
            }
            _ => {
                let device = bench.stop(up);
                bench.be_honest();
                up = bench.start(device);
            }
        }
    }
    drop(loads);
    bench.heal(up);
}

fn receive(up: &mut Up) {
    let mut burst = Burst::new();
    let _ = up.rx.receive(&mut burst);
    while let Some(frame) = burst.pop() {
        assert!(frame.total_bytes() >= 14);
        let mut bytes = vec![0; frame.total_bytes()];
        assert_eq!(frame.copy_out(&mut bytes), Some(bytes.len()), "a frame is as long as it says");
        if let RxChecksum::Partial(request) = frame.rx_checksum() {
            let end = usize::from(request.start_bytes) + usize::from(request.offset_bytes) + 2;
            assert!(end <= frame.total_bytes(), "the stack is sent outside the frame");
        }
    }
}

fn transmit(up: &mut Up, pool: &FramePool, count: u8) {
    let mut burst = Burst::new();
    for _ in 0..=count % 4 {
        if let Some(mut frame) = pool.get() {
            let _ = frame.append(&[5; 60]);
            burst.extend([frame]);
        }
    }
    let _ = up.tx.transmit(&mut burst);
}

/// The first bytes are the header, the rest is the frame. What reaches the stack keeps inside the
/// frame.
pub fn net_header(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let features = input.pick([
        0,
        bits::MRG_RXBUF,
        bits::CSUM | bits::GUEST_CSUM,
        bits::MRG_RXBUF | bits::CSUM | bits::GUEST_CSUM,
    ]);
    let header = input.array();
    let frame = vec![7; usize::from(input.half()) % 1990];
    let bench = Bench::new(features, &mut input);
    let loads = bench.changing_loads(Input::new(bytes).seed());
    let mut up = bench.start(bench.claim());
    bench.plugged.lock().deliver_with(header, &frame);
    for _ in 0..3 {
        receive(&mut up);
    }
    drop(loads);
    bench.heal(up);
}
