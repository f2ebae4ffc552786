//! VMXNET3: completions of both kinds, the device's words of shared memory, results of commands and
//! registers, and a device that stops.

use std::sync::MutexGuard;

use paravane_hal::irq::{Interrupts, MsiMessage};
use paravane_mock_hal::model::vmxnet3::{Personality, Plugged, QueueId, Vmxnet3};
use paravane_mock_hal::{MockPlatform, PciHost, message};
use paravane_net::{Burst, Control as _, FrameLayout, FramePool, RxFilter, RxQueue as _, TxQueue as _};
use paravane_pci::{Function, PciAddress};
use paravane_vmxnet3::{Config, Device, Running, ShutDownError, StartError, StopError, TunnelPorts, TxQueue};

use crate::input::{Input, as_often_as};
use crate::lie::{NET_POINTS, lie};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const SLOTS: u16 = 32;
const MESSAGES: [MsiMessage; 3] = [message(0xfee0_0000, 0x40); 3];

type Up = Running<MockPlatform, PciHost>;
type Stopped = Device<MockPlatform, PciHost>;

struct Bench {
    platform: MockPlatform,
    plugged: Plugged,
    pool: FramePool,
    config: Config,
    interrupts: Interrupts<'static>,
}

impl Bench {
    fn new(input: &mut Input<'_>) -> Self {
        let platform = MockPlatform::builder().without_sites().build();
        let address = PciAddress::new(0, 0, 4, 0).unwrap();
        // QEMU's, or ESXi's with all its revisions or with the first ones.
        let kind = input.byte();
        let personality = match kind % 2 {
            0 => Personality::qemu(),
            _ => Personality::esxi().up_to(7 - kind / 2 % 7),
        };
        let plugged = Vmxnet3::plug(&platform, address, MAC, personality);
        let shape = input.byte();
        let pairs = 1 << (shape / 2 % 4);
        let frames = 96 * u32::from(pairs) + 32;
        let pool = FramePool::new(platform.clone(), FrameLayout::new(frames)).unwrap();
        let has = |bit: u8| shape >> bit & 1 == 1;
        let config = Config::default()
            .with_tx_entries(SLOTS)
            .with_rx_entries(SLOTS * pairs)
            .with_rx2_entries(SLOTS)
            .with_pairs(pairs)
            .with_max_revision(7)
            .with_ip_mtu_bytes(if has(0) { 9000 } else { 1500 })
            .with_lro(has(3))
            .with_tx_copy_bytes(if has(4) { 100 } else { 0 })
            .with_rx_copy_bytes(if has(5) { 256 } else { 0 })
            .with_tunnels(if has(6) { TunnelPorts::ASSIGNED } else { TunnelPorts::NONE });
        let interrupts = input.pick([
            Interrupts::POLLING,
            Interrupts::LINE,
            Interrupts::msi(MESSAGES[0]),
            Interrupts::msix(&MESSAGES),
        ]);
        Self { platform, plugged, pool, config, interrupts }
    }

    fn model(&self) -> MutexGuard<'_, Vmxnet3> {
        self.plugged.model.lock().unwrap()
    }

    /// As many as were asked for.
    fn pairs(&self) -> u8 {
        u8::try_from(self.config.pairs).unwrap_or(1)
    }

    fn claim(&self) -> Stopped {
        self.open(Function::claim(self.plugged.config.clone(), self.plugged.address).unwrap())
    }

    fn open(&self, function: Function<PciHost>) -> Stopped {
        Device::new(function, self.platform.clone()).unwrap_or_else(|failed| {
            self.model().be_honest();
            Device::new(failed.into_parts().1, self.platform.clone()).unwrap()
        })
    }

    /// Starts the driver on a device that may still lie, on an honest one after that, and last on
    /// one that is opened anew: what it said then (how it masks interrupts) may have been the lie.
    fn start(&self, mut device: Stopped) -> Up {
        let mut refused = None;
        for attempt in 0..3 {
            if attempt == 2 {
                device = self.open(device.into_function());
            }
            match device.start(&self.config, self.pool.clone(), self.interrupts) {
                Ok(up) => return up,
                Err(failed) => {
                    let (error, back) = failed.into_parts();
                    // Where it does not confirm that it let go, the next start has it confirm that
                    // first.
                    if !matches!(error, StartError::NotStopped(_)) {
                        assert_eq!(self.pool.free(), self.pool.buffers(), "a start that failed kept buffers");
                    }
                    device = back;
                    refused = Some(error);
                }
            }
            self.model().be_honest();
        }
        panic!("an honest device does not start: {refused:?}, {:?}", self.model().violations)
    }

    fn stop(&self, up: Up) -> Stopped {
        let device = up.stop().unwrap_or_else(|failed| {
            let (error, up) = failed.into_parts();
            assert!(matches!(error, StopError::StillRunning(ShutDownError::Unconfirmed { .. })), "{error}");
            self.model().be_honest();
            up.stop().unwrap()
        });
        assert_eq!(self.pool.free(), self.pool.buffers(), "every buffer came home");
        device
    }

    /// Noise over what the device may write.
    fn scribble(&self, input: &mut Input<'_>) {
        let places = self.model().own_memory();
        let which = usize::from(input.byte());
        if !places.is_empty() {
            let place = &places[which % places.len()];
            let (offset, noise) = input.noise(place.end - place.start);
            self.model().overwrite(place.start + offset, &noise);
        }
    }

    /// Stops what the device broke, and sees it work again.
    fn heal(self, up: Up) {
        self.model().be_honest();
        let function = self.stop(up).into_function();
        self.model().violations.clear();
        // From the beginning, where a liar may have told a false address.
        let mut up = self.start(self.open(function));
        self.model().take_sent();
        self.model().set_link(true);
        let mut burst = Burst::new();
        for queue in 0..usize::from(up.control.pairs()) {
            let filled = if self.model().personality.spreads { queue } else { 0 };
            assert!(self.model().deliver_to(filled, &to_us(9)));
            assert_eq!(up.rx.receive(&mut burst), Ok(1), "a restart heals");
            let tx = tx_of(&mut up, queue);
            assert_eq!(tx.transmit(&mut burst), Ok(1));
            self.model().tick();
            assert_eq!(self.model().take_sent().len(), 1, "both ways");
            assert_eq!(tx.reclaim(), Ok(1));
        }
        drop(self.stop(up));
        assert_eq!(self.model().violations, [""; 0]);
        let Self { platform, pool, .. } = self;
        drop(pool);
        platform.finish();
    }
}

/// A frame that the filter lets through.
fn to_us(fill: u8) -> [u8; 60] {
    let mut frame = [fill; 60];
    frame[..6].copy_from_slice(&MAC);
    frame
}

/// Each input byte is an act of the device or of the driver; what a completion says is in the bytes
/// after it.
pub fn vmxnet3(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let bench = Bench::new(&mut input);
    for _ in 0..input.byte() % 4 {
        bench.model().faults.add(lie(NET_POINTS, &mut input));
    }
    let seed = input.seed();
    let loads = as_often_as(seed, bench.plugged.changing_loads(&bench.platform, seed));
    let mut up = bench.start(bench.claim());
    while !input.is_empty() {
        loads.next_call();
        let act = input.byte();
        let queue = usize::from(act / 16 % bench.pairs());
        match act % 16 {
            0 => {
                let words = [input.word(), input.word(), input.word(), input.word() & 0x7fff_ffff];
                bench.model().complete_rx_in(queue, words);
            }
            // Likely ones get further than noise does.
            1 => {
                let [index, flags] = input.array();
                let word0 =
                    (u32::from(index) % 40) | u32::from(flags & 3) << 14 | u32::from(flags >> 2 & 3) << 16;
                let len_bytes = u32::from(input.half()) % 2100;
                bench.model().complete_rx_in(queue, [word0, 0, len_bytes, 0]);
            }
            2 => bench.model().complete_tx_in(queue, u32::from(input.byte()) % 40),
            3 => drop(bench.model().deliver_to(queue, &to_us(input.byte()))),
            4 => bench.model().set_link(input.bit()),
            5 => {
                let queue = input.pick([QueueId::Tx(queue), QueueId::Rx(queue)]);
                bench.model().stop_queue(queue, input.word());
            }
            6 => bench.scribble(&mut input),
            7 => bench.model().faults.add(lie(NET_POINTS, &mut input)),
            8 => bench.model().tick(),
            9 => receive(&mut up),
            10 => transmit(tx_of(&mut up, queue), &bench.pool, input.byte()),
            11 => drop(tx_of(&mut up, queue).reclaim()),
            12 => {
                let _ = (up.rx.arm(), tx_of(&mut up, queue).arm(), up.control.arm());
            }
            13 => {
                up.control.acknowledge();
                let _ = up.control.poll();
            }
            14 => {
                let _ = up.control.read_device_stats();
                let _ = up.control.set_filter(RxFilter::from_bits_truncate(input.byte()));
            }
            _ => up = bench.start(bench.stop(up)),
        }
    }
    drop(loads);
    bench.heal(up);
}

fn receive(up: &mut Up) {
    let mut burst = Burst::new();
    let _ = up.rx.receive(&mut burst);
    while let Some(frame) = burst.pop() {
        let mut bytes = vec![0; frame.total_bytes()];
        assert_eq!(frame.copy_out(&mut bytes), Some(bytes.len()), "a frame is as long as it says");
    }
}

fn transmit(tx: &mut TxQueue<MockPlatform>, pool: &FramePool, count: u8) {
    let mut burst = Burst::new();
    for _ in 0..=count % 4 {
        if let Some(mut frame) = pool.get() {
            let _ = frame.append(&[5; 60]);
            burst.extend([frame]);
        }
    }
    let _ = tx.transmit(&mut burst);
}

/// The transmit queue of a pair; the first one's where there are fewer pairs.
fn tx_of(up: &mut Up, pair: usize) -> &mut TxQueue<MockPlatform> {
    match pair.checked_sub(1).and_then(|other| up.rx.others_mut().get_mut(other)?.tx.as_mut()) {
        Some(tx) => tx,
        None => &mut up.tx,
    }
}
