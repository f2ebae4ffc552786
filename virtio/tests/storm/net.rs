//! The network device: frames both ways.

use std::time::Duration;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::fault::Seeded;
use paravane_mock_hal::model::virtio::net::{RX, TX, bits};
use paravane_mock_hal::model::virtio::{Net, Personality, VirtioNet, Wish};
use paravane_net::{
    Burst, Change, ChangeError, Control as _, Frame, FrameLayout, FramePool, HashReport, MacAddr, RssKinds,
    RxFilter, RxOffloads, RxQueue as _, Settings, TxQueue as _,
};
use paravane_virtio::feature::RingFeatures;
use paravane_virtio::net::{Config, Device, Running};
use paravane_virtio::{QueueResetError, StopError};

use crate::kind::{Kind, Scene};
use crate::place::{Bus, Place};

/// How many an honest device carries, each way.
const HONEST_FRAMES: u32 = 2_500;
const FRAMES: u32 = 512;
const MAC: [u8; 6] = [0x52, 0x54, 0, 0xba, 0xd0, 1];

pub struct Nic {
    pool: FramePool,
    /// Frames that are there when nothing runs.
    at_rest: usize,
}

impl Kind for Nic {
    type Model = Net;
    type Device<T: Bus> = Device<MockPlatform, T>;
    type Up<T: Bus> = Running<MockPlatform, T>;

    fn model(personality: &Personality, chance: &mut Seeded) -> Net {
        let mut net = Net::of(personality, MAC);
        // Fewer than the monitor has make other paths.
        let without = [0, bits::MRG_RXBUF, bits::CSUM | bits::GUEST_CSUM, bits::MAC | bits::STATUS];
        net.features &= !without[chance.below(4) as usize];
        // And some that it has not.
        let with = [0, bits::HASH_REPORT, bits::GUEST_USO4 | bits::HOST_USO];
        net.features |= with[chance.below(3) as usize];
        net
    }

    fn new(platform: &MockPlatform) -> Self {
        let pool = FramePool::new(platform.clone(), FrameLayout::new(FRAMES)).unwrap();
        let at_rest = pool.free();
        Self { pool, at_rest }
    }

    fn open<T: Bus>(bus: T, platform: MockPlatform) -> Device<MockPlatform, T> {
        Device::new(bus, platform).unwrap()
    }

    fn keeps_memory<T: Bus>(device: &Device<MockPlatform, T>) -> bool {
        device.keeps_memory()
    }

    fn start<P: Place<Model = Net>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Device<MockPlatform, P::Bus>,
    ) -> Result<Running<MockPlatform, P::Bus>, Device<MockPlatform, P::Bus>> {
        let [tx, rx] = [(); 2].map(|()| 16 << scene.chance.below(3));
        let config = config(&scene.place.lock(), tx, rx);
        let started = device.start(&config, self.pool.clone(), scene.interrupts());
        started.map_err(|failed| failed.into_parts().1)
    }

    fn stop<T: Bus>(
        &mut self,
        up: Running<MockPlatform, T>,
    ) -> Result<Device<MockPlatform, T>, (StopError, Running<MockPlatform, T>)> {
        up.stop().map_err(|failed| failed.into_parts())
    }

    fn assert_home(&self) {
        assert_eq!(self.pool.free(), self.at_rest, "every frame came home");
    }

    fn calm(model: &mut VirtioNet) {
        model.class.link_up = true;
    }

    fn device_step<P: Place<Model = Net>>(&mut self, scene: &mut Scene<P>) {
        let chance = &mut scene.chance;
        let number = chance.next_u32();
        let bytes = chance.below(5000) as usize;
        let queues = scene.place.lock().queues.len();
        let queue = chance.below(queues.try_into().unwrap()) as usize;
        let id = if chance.below(8) == 0 { number } else { chance.below(70) };
        let len_bytes = if chance.below(8) == 0 { number } else { chance.below(2100) };
        let ahead = [0, 0, 1, number.to_le_bytes()[0].into()][chance.below(4) as usize];
        let header = number.to_le_bytes().repeat(3).try_into().unwrap();
        let kind = chance.below(32);
        let mut model = scene.place.lock();
        let is_live = model.is_live() && model.queues[queue].is_enabled;
        let lies = scene.lies && is_live;
        match kind {
            0..16 => _ = model.deliver(&numbered(number)),
            16 | 17 => _ = model.deliver(&vec![7; bytes]),
            18 if scene.lies => _ = model.deliver_with(header, &numbered(number)),
            19 => model.set_link(number & 1 == 0),
            20 if lies => model.put(queue, id, len_bytes),
            21 if lies => model.show(queue, ahead),
            22 if lies => _ = model.fill_one(&numbered(number)[..bytes % 60]),
            23 if lies => _ = model.send_one(),
            24 if is_live => {
                model.queues[TX].wish = [Wish::Never, Wish::After(0), Wish::After(5)][number as usize % 3];
                model.tell_wish(TX);
            }
            25 if is_live => model.tell_wish(RX),
            26 => {
                let mut packet = vec![5 << 4; 60 + bytes * 13];
                packet[..6].fill(0xff);
                let kind = [1, 4, 5, 0x81][number as usize % 4];
                _ = model.deliver_large(kind, 1448, (34, if kind == 5 { 6 } else { 16 }), &packet);
            }
            _ => model.tick(),
        }
        model.take_sent();
    }

    fn driver_step<P: Place<Model = Net>>(
        &mut self,
        scene: &mut Scene<P>,
        up: &mut Running<MockPlatform, P::Bus>,
    ) -> bool {
        let mut burst = Burst::new();
        let choice = scene.chance.below(20);
        if (5..8).contains(&choice) {
            for _ in 0..=scene.chance.below(8) {
                if let Some(frame) = self.frame(scene.chance.next_u32()) {
                    burst.push(frame);
                }
            }
        }
        match choice {
            0..5 => up.rx.receive(&mut burst).is_ok(),
            5..8 => up.tx.transmit(&mut burst).is_ok(),
            8 | 9 => up.tx.reclaim().is_ok(),
            10 => {
                up.tx.flush();
                up.rx.refill();
                true
            }
            11 => up.rx.arm().is_ok() & up.tx.arm().is_ok() & up.control.arm().is_ok(),
            12 => {
                up.rx.disarm();
                up.tx.disarm();
                up.control.acknowledge();
                true
            }
            13 => {
                let filter = RxFilter::from_bits_truncate(scene.chance.below(32).try_into().unwrap());
                // What the device does not have is refused, which breaks nothing.
                let _ = up.control.set_filter(filter);
                true
            }
            14 => {
                scene.platform.clock().advance(Duration::from_millis(100));
                up.control.poll().is_ok()
            }
            15 => {
                let number = scene.chance.next_u32();
                let change = match number % 4 {
                    0 => Change::Filter(RxFilter::from_bits_truncate(number.to_le_bytes()[1])),
                    1 => Change::Mac(MacAddr::local(number)),
                    2 => Change::RxOffloads(RxOffloads::from_bits_truncate(number.to_le_bytes()[1])),
                    _ => Change::Announced,
                };
                !matches!(up.control.submit_change(change), Err(ChangeError::Fault(_)))
            }
            16 => !matches!(up.control.poll_change(), Err(ChangeError::Fault(_))),
            17 if scene.chance.below(4) == 0 => may_go_on(up.control.reset_tx(&mut up.tx)),
            18 if scene.chance.below(4) == 0 => {
                let count = up.control.pairs().into();
                let which = scene.chance.below(count) as usize;
                let queue = up.rx.queues_mut().nth(which).unwrap();
                may_go_on(up.control.reset_rx(queue))
            }
            _ => up.control.poll().is_ok(),
        }
    }

    /// Every frame arrives, both ways, once, in order as far as queues keep it, as it was.
    fn prove<P: Place<Model = Net>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Device<MockPlatform, P::Bus>,
    ) -> Running<MockPlatform, P::Bus> {
        scene.place.lock().take_sent();
        let config = config(&scene.place.lock(), 64, 64);
        let mut up = device.start(&config, self.pool.clone(), Interrupts::POLLING).unwrap();
        for first in (0..HONEST_FRAMES).step_by(16) {
            if first % 400 == 0 && up.control.features().has_ring(RingFeatures::RING_RESET) {
                assert_eq!(up.control.reset_tx(&mut up.tx), Ok(()));
                for queue in up.rx.queues_mut() {
                    assert_eq!(up.control.reset_rx(queue), Ok(()));
                }
            }
            let numbers = first..first + 16;
            let mut burst = Burst::new();
            for number in numbers.clone() {
                assert!(scene.place.lock().deliver(&numbered(number)), "frame {number} is lost");
                let mut frame = self.pool.get().unwrap();
                let _ = frame.append(&numbered(number));
                burst.push(frame);
            }
            while !burst.is_empty() {
                up.tx.transmit(&mut burst).unwrap();
                scene.place.lock().tick();
                up.tx.reclaim().unwrap();
            }
            let sent = scene.place.lock().take_sent();
            assert!(sent.into_iter().map(|sent| sent.bytes).eq(numbers.clone().map(numbered)));
            let mut received = Burst::new();
            up.rx.receive(&mut received).unwrap();
            let received = std::iter::from_fn(|| received.pop()).map(|frame| {
                let mut bytes = vec![0; frame.total_bytes()];
                frame.copy_out(&mut bytes).unwrap();
                bytes
            });
            let mut received: Vec<_> = received.collect();
            let mut expected: Vec<_> = numbers.map(numbered).collect();
            if up.control.pairs() > 1 {
                // The order is kept in each.
                received.sort();
                expected.sort();
            }
            assert_eq!(received, expected);
            let _ = scene.platform.take_interrupts();
        }
        let (rx, tx) = (up.rx.counters(), up.tx.counters());
        let frames = HONEST_FRAMES.next_multiple_of(16).into();
        assert_eq!((rx.frames, rx.dropped(), tx.frames), (frames, 0, frames));
        up
    }
}

impl Nic {
    /// A frame to send, in one piece or three.
    fn frame(&self, number: u32) -> Option<Frame> {
        if self.pool.free() < 4 {
            return None;
        }
        let mut frame = self.pool.get()?;
        let _ = frame.append(&numbered(number));
        if number.is_multiple_of(3) {
            let [mut second, mut third] = [self.pool.get()?, self.pool.get()?];
            let _ = second.append(&[1; 100]);
            let _ = third.append(&[2; 9]);
            second.set_next(third);
            frame.set_next(second);
        }
        Some(frame)
    }
}

/// Whether a device goes on whose queue was to be reset.
fn may_go_on(reset: Result<(), QueueResetError>) -> bool {
    matches!(reset, Ok(()) | Err(QueueResetError::NotOffered))
}

/// Rings of so many entries, and everything received that is there.
fn config(model: &VirtioNet, tx: u16, rx: u16) -> Config {
    let filters = bits::CTRL_VQ | bits::CTRL_RX;
    let filter =
        if model.offered() & filters == filters { RxFilter::PROMISCUOUS } else { RxFilter::default() };
    let settings = Settings::default().with_filter(filter);
    let reports = bits::CTRL_VQ | bits::HASH_REPORT;
    // Of which the legacy interface has no such bit.
    let settings = if model.offered() & reports == reports && !model.personality.has_legacy {
        settings.with_hash_report(HashReport::new(RssKinds::all()))
    } else {
        settings
    };
    let config = Config::default().with_tx_entries(tx).with_rx_entries(rx).with_settings(settings);
    config.with_rx_offloads(RxOffloads::all())
}

/// A frame that says which one it is, in one of all sizes.
fn numbered(number: u32) -> Vec<u8> {
    let len = 60 + number as usize % 1455;
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}
