//! The network device: frames both ways.

use std::time::Duration;

use paravane_hal::fault::DeviceFault;
use paravane_hal::recover::RecoverError;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::fault::Seeded;
use paravane_mock_hal::model::virtio::net::{RX, TX, bits};
use paravane_mock_hal::model::virtio::{Net, Personality, VirtioNet, Wish};
use paravane_net::{
    Burst, Change, ChangeError, Control as _, Frame, FrameLayout, FramePool, HashReport, MacAddr, MacTable,
    Remains, Rss, RssKinds, RxFilter, RxFilterError, RxOffloads, RxQueue as _, Settings, TxQueue as _,
};
use paravane_virtio::QueueResetError;
use paravane_virtio::feature::RingFeatures;
use paravane_virtio::net::{Config, Device, NetFeatures, Running, StartError, StopError};

use crate::kind::{Back, Kind, Left, PATIENCE, Scene, Trouble, Way};
use crate::place::{Bus, Place};

/// How many an honest device carries, each way.
const HONEST_FRAMES: u32 = 2_500;
const FRAMES: u32 = 512;
const MAC: [u8; 6] = [0x52, 0x54, 0, 0xba, 0xd0, 1];

pub struct Nic {
    pool: FramePool,
    /// Frames that are there when nothing runs.
    at_rest: usize,
    /// The device was told what the driver's settings are: no change is under way, or was refused.
    is_settled: bool,
    /// The one change that is open is under way.
    is_under_way: bool,
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
        let more_to_tell = bits::CTRL_VLAN | bits::CTRL_MAC_ADDR | bits::CTRL_GUEST_OFFLOADS;
        let with = [
            0,
            bits::HASH_REPORT,
            bits::GUEST_USO4 | bits::HOST_USO,
            more_to_tell,
            more_to_tell | bits::MQ | bits::RSS,
        ];
        let features = net.features | with[chance.below(5) as usize];
        net.with_features(features)
    }

    fn new(platform: &MockPlatform) -> Self {
        let pool = FramePool::new(platform.clone(), FrameLayout::new(FRAMES)).unwrap();
        let at_rest = pool.free();
        Self { pool, at_rest, is_settled: true, is_under_way: false }
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
        (self.is_settled, self.is_under_way) = (true, false);
        started.map_err(|failed| failed.into_parts().1)
    }

    fn stop<T: Bus>(
        &mut self,
        up: Running<MockPlatform, T>,
    ) -> Result<Device<MockPlatform, T>, (StopError, Running<MockPlatform, T>)> {
        up.stop().map_err(|failed| failed.into_parts())
    }

    fn recover<P: Place<Model = Net>>(&mut self, scene: &Scene<P>, up: Up<P>) -> Back<Self, P> {
        let (error, remains) = match up.recover(scene.same_interrupts()) {
            Ok(up) => {
                (self.is_settled, self.is_under_way) = (true, false);
                return Ok(up);
            }
            Err(failed) => failed.into_parts(),
        };
        Err(match (error, remains) {
            (RecoverError::NotStopped(error), Remains::Running(up)) => {
                assert!(matches!(error, StopError::NoReset(_) | StopError::NotQuiet(_)), "{error}");
                Left::NotStopped(up)
            }
            (RecoverError::NotStarted(StartError::Setting { .. }), Remains::Stopped(device, ..)) => {
                Left::Refused(device)
            }
            (RecoverError::NotStarted(_), Remains::Stopped(device, ..)) => Left::NotStarted(device),
            (RecoverError::Changed, Remains::Running(up)) => Left::Changed(up),
            (error, remains) => panic!("{error}, and what is left is {remains:?}"),
        })
    }

    fn terms<T: Bus>(up: &Running<MockPlatform, T>) -> String {
        let control = &up.control;
        let (features, pairs, settings) = (control.features(), control.pairs(), control.settings());
        let (info, interrupts) = (control.info(), control.interrupts());
        format!("{info:?} {features:?} {interrupts:?} pairs: {pairs} {settings:?}")
    }

    fn told(&self, model: &VirtioNet) -> Option<String> {
        self.is_settled.then(|| format!("{:?}", model.class.told))
    }

    fn free(&self) -> usize {
        self.pool.free()
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
                self.is_settled &= matches!(
                    up.control.set_filter(filter),
                    Ok(()) | Err(RxFilterError::NotOffered(_) | RxFilterError::Busy)
                );
                true
            }
            14 => {
                scene.platform.clock().advance(Duration::from_millis(100));
                up.control.poll().is_ok()
            }
            15 => {
                let submitted = up.control.submit_change(any_change(scene.chance.next_u32()));
                self.is_settled &= submitted.is_err();
                self.is_under_way = submitted.is_ok();
                !matches!(submitted, Err(ChangeError::Fault(_)))
            }
            16 => match up.control.poll_change() {
                Ok(is_done) => {
                    self.is_settled |= is_done && core::mem::take(&mut self.is_under_way);
                    true
                }
                Err(error) => !matches!(error, ChangeError::Fault(_)),
            },
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

    fn start_well<P: Place<Model = Net>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Device<MockPlatform, P::Bus>,
    ) -> Up<P> {
        let config = config(&scene.place.lock(), 64, 64);
        scene.way = Way::Polling;
        let up = device.start(&config, self.pool.clone(), scene.same_interrupts()).unwrap();
        (self.is_settled, self.is_under_way) = (true, false);
        up
    }

    /// Every frame arrives, both ways, once, in order as far as queues keep it, as it was.
    fn prove<P: Place<Model = Net>>(&mut self, scene: &mut Scene<P>, up: &mut Up<P>) {
        scene.place.lock().take_sent();
        let everything = up.control.set_filter(RxFilter::PROMISCUOUS);
        assert!(matches!(everything, Ok(()) | Err(RxFilterError::NotOffered(_))), "{everything:?}");
        let features = up.control.features();
        let makes_large =
            (NetFeatures::GUEST_TSO4 | NetFeatures::GUEST_TSO6).iter().any(|feature| features.has(feature));
        // Where each buffer holds the longest packet, there is one.
        let at_once = if makes_large && !features.has(NetFeatures::MRG_RXBUF) { 1 } else { 16 };
        for first in (0..HONEST_FRAMES).step_by(at_once as usize) {
            if first % 400 == 0 && up.control.features().has_ring(RingFeatures::RING_RESET) {
                assert_eq!(up.control.reset_tx(&mut up.tx), Ok(()));
                for queue in up.rx.queues_mut() {
                    assert_eq!(up.control.reset_rx(queue), Ok(()));
                }
            }
            let numbers = first..first + at_once;
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
        let frames = HONEST_FRAMES.next_multiple_of(at_once).into();
        assert_eq!((rx.frames, rx.dropped(), tx.frames), (frames, 0, frames));
    }

    fn get_into<P: Place<Model = Net>>(&mut self, trouble: Trouble, scene: &mut Scene<P>, up: &mut Up<P>) {
        for _ in 0..12 {
            let change = any_change(scene.chance.next_u32());
            match up.control.change(change) {
                Ok(()) | Err(ChangeError::NotOffered | ChangeError::OutOfRange) => {}
                Err(error) => panic!("{change:?}: {error}"),
            }
        }
        scene.place.lock().class.serves_doorbells = false;
        let mut burst = Burst::new();
        (0..8).filter_map(|number| self.frame(number)).for_each(|frame| burst.push(frame));
        assert_eq!(up.tx.transmit(&mut burst), Ok(8));
        match trouble {
            Trouble::AsksForReset => {
                scene.place.lock().need_reset();
                scene.platform.clock().advance(Duration::from_millis(100));
                assert_eq!(up.control.poll(), Err(DeviceFault::NeedsReset));
            }
            Trouble::Lies => {
                let mut model = scene.place.lock();
                model.put(TX, 77, 0);
                model.show(TX, 0);
                drop(model);
                assert!(up.tx.reclaim().is_err());
            }
            Trouble::Hangs => {
                let progress = up.tx.counters().into();
                assert_eq!(up.control.watch(progress, PATIENCE), Ok(()));
                scene.platform.clock().advance(PATIENCE);
                let fault = DeviceFault::NoAnswer { after_ms: 5000 };
                assert_eq!(up.control.watch(progress, PATIENCE), Err(fault));
            }
        }
        scene.place.lock().class.serves_doorbells = true;
    }
}

type Up<P> = Running<MockPlatform, <P as Place>::Bus>;

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

/// Anything that a device may be told while it runs, and some that this one cannot be.
fn any_change(number: u32) -> Change {
    let [_, bits, more, _] = number.to_le_bytes();
    match number % 8 {
        0 => Change::Filter(RxFilter::from_bits_truncate(bits)),
        1 => Change::Mac(MacAddr::local(number)),
        2 => Change::RxOffloads(RxOffloads::from_bits_truncate(bits)),
        3 | 4 => Change::Vlan { vid: u16::from(bits) % 16, wanted: more & 3 != 0 },
        5 => {
            let kinds = RssKinds::from_bits_truncate(bits.into());
            Change::Rss(Rss::new(kinds, &[0, u16::from(more & 1)]).unwrap())
        }
        6 => {
            let some = |first: u8, count: u8| {
                let address = |last| MacAddr([first, 0, 0, bits, more, last]);
                let addresses: Vec<_> = (0..count % 3).map(address).collect();
                MacTable::of(&addresses).unwrap()
            };
            Change::Addresses { unicast: some(2, bits), multicast: some(3, more) }
        }
        _ => Change::Announced,
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
        settings.with_hash_report(HashReport::new(RssKinds::VIRTIO))
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
