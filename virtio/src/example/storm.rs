//! Storms over the mirror: what `tests/storm` has to know of it, whose driver is none of a user's.

#![allow(unreachable_pub, reason = "what is shared is another program's as well")]

#[path = "../../tests/storm/kind.rs"]
mod kind;
#[path = "../../tests/storm/looks.rs"]
mod looks;
#[path = "../../tests/storm/place.rs"]
mod place;
#[path = "../../tests/storm/runner.rs"]
mod runner;

use std::time::Duration;

use paravane_hal::addr::Align;
use paravane_hal::fault::DeviceFault;
use paravane_hal::pool::{Buffer, Pool, PoolLayout};
use paravane_hal::recover::Progress;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::fault::Seeded;
use paravane_mock_hal::model::virtio::{Personality, Virtio, Wish};

use super::queue::{MirrorQueue, Request};
use super::{Device, Running, model};
use crate::error::StopError;
use crate::feature::Allowed;
use kind::{Back, Kind, Left, PATIENCE, Scene, Trouble, Way};
use place::{Bus, OnMmio, OnPci, OnPorts, Place};
use runner::{Rings, storm};

const BUFFERS: u32 = 96;
const BUFFER_BYTES: u32 = 32;
/// How many times an honest device gets four requests.
const HONEST_ROUNDS: u32 = 250;

/// A mirror, and the buffers of what it is asked.
struct Mirrors {
    pool: Pool<Buffer<()>>,
    /// How long the text in each buffer is, by the buffer's number.
    asked_bytes: [u32; BUFFERS as usize],
}

impl Kind for Mirrors {
    type Model = model::Mirror;
    type Device<T: Bus> = Device<MockPlatform, T>;
    type Up<T: Bus> = Running<MockPlatform, T>;

    fn model(_: &Personality, chance: &mut Seeded) -> model::Mirror {
        let max_bytes = [1, 12, 24, 1000][chance.below(4) as usize];
        model::Mirror { features: chance.below(2).into(), max_bytes, mirrored: 0 }
    }

    fn new(platform: &MockPlatform) -> Self {
        let (buffers, align) = (BUFFERS, Align::new(16));
        let layout = PoolLayout { buffers, buffer_bytes: BUFFER_BYTES as usize, align, address_bits: 64 };
        Self { pool: Pool::new(platform.clone(), layout).unwrap(), asked_bytes: [0; BUFFERS as usize] }
    }

    fn open<T: Bus>(bus: T, platform: MockPlatform) -> Device<MockPlatform, T> {
        Device::new(bus, platform).unwrap()
    }

    fn keeps_memory<T: Bus>(device: &Device<MockPlatform, T>) -> bool {
        device.keeps_memory()
    }

    fn start<P: Place<Model = model::Mirror>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Device<MockPlatform, P::Bus>,
    ) -> Result<Running<MockPlatform, P::Bus>, Device<MockPlatform, P::Bus>> {
        let entries = 8 << scene.chance.below(4);
        let started = device.start(entries, Allowed::default(), scene.interrupts());
        started.map_err(|failed| failed.into_parts().1)
    }

    fn stop<T: Bus>(
        &mut self,
        up: Running<MockPlatform, T>,
    ) -> Result<Device<MockPlatform, T>, (StopError, Running<MockPlatform, T>)> {
        Device::stop(up).map_err(|failed| failed.into_parts())
    }

    /// There is no call for it: it is stopped, and started.
    fn recover<P: Place<Model = model::Mirror>>(
        &mut self,
        scene: &Scene<P>,
        up: Running<MockPlatform, P::Bus>,
    ) -> Back<Self, P> {
        let entries = up.1.ring.size().entries();
        let device = Device::stop(up).map_err(|failed| Left::NotStopped(failed.into_parts().1))?;
        let started = device.start(entries, Allowed::default(), scene.same_interrupts());
        started.map_err(|failed| Left::NotStarted(failed.into_parts().1))
    }

    fn terms<T: Bus>((control, queue): &Running<MockPlatform, T>) -> String {
        format!("{:?} {:?} {}", control.interrupts(), queue.ring.size(), queue.max_bytes)
    }

    fn told(&self, _: &Virtio<model::Mirror>) -> Option<String> {
        None
    }

    fn free(&self) -> usize {
        self.pool.free()
    }

    fn assert_home(&self) {
        assert_eq!(self.pool.free(), self.pool.buffers(), "every buffer came home");
    }

    fn calm(_: &mut Virtio<model::Mirror>) {}

    fn device_step<P: Place<Model = model::Mirror>>(&mut self, scene: &mut Scene<P>) {
        let chance = &mut scene.chance;
        let number = chance.next_u32();
        let id = if chance.below(8) == 0 { number } else { chance.below(70) };
        let len_bytes = if chance.below(8) == 0 { number } else { chance.below(40) };
        let ahead = [0, 0, 1, number.to_le_bytes()[0].into()][chance.below(4) as usize];
        let kind = chance.below(32);
        let mut model = scene.place.lock();
        let is_live = model.is_live() && model.queues[0].is_enabled;
        let lies = scene.lies && is_live;
        match kind {
            0..4 if is_live => model.scrawl(0, number),
            4 if lies => model.put(0, id, len_bytes),
            5 if lies => model.show(0, ahead),
            6 if lies => model.misplace(0, ahead),
            7 if lies => drop(model.take(0)),
            8..10 if is_live => {
                model.queues[0].wish = [Wish::Never, Wish::After(0), Wish::After(5)][number as usize % 3];
                model.tell_wish(0);
            }
            // It takes its time.
            10..14 => model.queues[0].is_stopped = true,
            14..16 => model.queues[0].is_stopped = false,
            16 => model.personality.shuffles = !model.personality.shuffles,
            _ => model.tick(),
        }
    }

    fn driver_step<P: Place<Model = model::Mirror>>(
        &mut self,
        scene: &mut Scene<P>,
        (control, queue): &mut Running<MockPlatform, P::Bus>,
    ) -> bool {
        let whole = match scene.chance.below(16) {
            0..5 => {
                for _ in 0..=scene.chance.below(8) {
                    let number = scene.chance.next_u32();
                    let len_bytes = scene.chance.below(BUFFER_BYTES + 2);
                    // What does not fit, or is not taken, is back in the pool.
                    let request = self.request(number, len_bytes);
                    request.map(|request| queue.submit(request).map_err(drop));
                }
                queue.ring.check().is_ok()
            }
            5..10 => self.poll_some(scene, queue),
            10 => {
                queue.ring.flush();
                true
            }
            11 => {
                queue.ring.remind();
                true
            }
            12 => queue.ring.arm(1).is_ok() & control.arm().is_ok(),
            13 => {
                queue.ring.disarm();
                control.acknowledge();
                true
            }
            14 => {
                scene.platform.clock().advance(Duration::from_millis(100));
                control.poll().is_ok()
            }
            _ => control.poll().is_ok(),
        };
        let out = self.pool.buffers() - self.pool.free();
        assert_eq!(out, 2 * queue.ring.in_flight(), "what is out is out");
        whole
    }

    fn start_well<P: Place<Model = model::Mirror>>(
        &mut self,
        scene: &mut Scene<P>,
        device: Device<MockPlatform, P::Bus>,
    ) -> Up<P> {
        scene.way = Way::Polling;
        device.start(8, Allowed::default(), scene.same_interrupts()).map_err(|_| "not started").unwrap()
    }

    /// What is asked is mirrored, in whatever order.
    fn prove<P: Place<Model = model::Mirror>>(&mut self, scene: &mut Scene<P>, (control, queue): &mut Up<P>) {
        let before = scene.place.lock().class.mirrored;
        for round in 0..HONEST_ROUNDS {
            for number in 0..4 {
                let len_bytes = 1 + (number + round) % queue.max_bytes.min(BUFFER_BYTES);
                let request = self.request(round * 4 + number, len_bytes).unwrap();
                assert!(queue.submit(request).is_ok());
            }
            for _ in 0..4 {
                let _ = scene.call_begins();
                let answered = queue.poll().unwrap().expect("a doorbell is served at once");
                self.assert_mirrored(&answered);
            }
            let _ = scene.call_begins();
            assert!(queue.poll().unwrap().is_none());
            let _ = scene.platform.take_interrupts();
        }
        assert_eq!(scene.place.lock().class.mirrored - before, 4 * HONEST_ROUNDS as usize);
        assert!(control.poll().is_ok());
    }

    fn get_into<P: Place<Model = model::Mirror>>(
        &mut self,
        trouble: Trouble,
        scene: &mut Scene<P>,
        (control, queue): &mut Up<P>,
    ) {
        scene.place.lock().queues[0].is_stopped = true;
        for number in 0..3 {
            let request = self.request(number, 1).unwrap();
            assert!(queue.submit(request).is_ok());
        }
        match trouble {
            Trouble::AsksForReset => {
                scene.place.lock().need_reset();
                scene.platform.clock().advance(Duration::from_millis(100));
                assert_eq!(control.poll(), Err(DeviceFault::NeedsReset));
            }
            Trouble::Lies => {
                let mut model = scene.place.lock();
                model.put(0, 77, 1);
                model.show(0, 0);
                drop(model);
                assert!(queue.poll().is_err());
            }
            Trouble::Hangs => {
                let progress = Progress { outstanding: 3, completed: 0 };
                assert_eq!(control.watch(0, progress, PATIENCE), Ok(()));
                scene.platform.clock().advance(PATIENCE);
                let fault = DeviceFault::NoAnswer { after_ms: 5000 };
                assert_eq!(control.watch(0, progress, PATIENCE), Err(fault));
            }
        }
    }
}

type Up<P> = Running<MockPlatform, <P as Place>::Bus>;

impl Mirrors {
    /// A request for so many bytes of a text that no other has, unless there are no buffers. A text
    /// that is longer than a buffer is not there.
    fn request(&mut self, number: u32, len_bytes: u32) -> Option<Request> {
        let (mut text, image) = (self.pool.get()?, self.pool.get()?);
        let bytes = number.to_le_bytes().repeat(BUFFER_BYTES as usize / 4);
        assert!(text.copy_in(0, &bytes));
        self.asked_bytes[text.index() as usize] = len_bytes;
        Some(Request { text, image, len_bytes })
    }

    fn poll_some<P: Place<Model = model::Mirror>>(
        &self,
        scene: &Scene<P>,
        queue: &mut MirrorQueue<MockPlatform>,
    ) -> bool {
        for _ in 0..=BUFFERS / 8 {
            let answered = match queue.poll() {
                Ok(Some(answered)) => answered,
                Ok(None) => break,
                Err(_) => return false,
            };
            if scene.place.lock().is_truthful() {
                self.assert_mirrored(&answered);
            }
            let _ = scene.call_begins();
        }
        true
    }

    /// As far as the device says that it wrote, the image is the text from back to front.
    fn assert_mirrored(&self, Request { text, image, len_bytes }: &Request) {
        let bytes = |buffer: &Buffer<()>, len_bytes| {
            let mut bytes = vec![0; len_bytes as usize];
            assert!(buffer.copy_out(0, &mut bytes));
            bytes
        };
        let mut text = bytes(text, self.asked_bytes[text.index() as usize]);
        text.reverse();
        assert!(text.starts_with(&bytes(image, *len_bytes)), "it was told of no lie");
    }
}

#[test]
fn a_mirror_on_pci_with_a_split_ring() {
    storm::<Mirrors, OnPci<model::Mirror>>(Rings::Split);
}

#[test]
fn a_mirror_on_pci_with_a_packed_ring() {
    storm::<Mirrors, OnPci<model::Mirror>>(Rings::Packed);
}

#[test]
fn a_mirror_by_its_ports() {
    storm::<Mirrors, OnPorts<model::Mirror>>(Rings::Split);
}

#[test]
fn a_mirror_on_no_bus_with_a_split_ring() {
    storm::<Mirrors, OnMmio<model::Mirror>>(Rings::Split);
}

#[test]
fn a_mirror_on_no_bus_with_a_packed_ring() {
    storm::<Mirrors, OnMmio<model::Mirror>>(Rings::Packed);
}
