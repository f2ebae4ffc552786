//! The mirror's driver on its model: on either bus and either ring, through lies, and again.

use paravane_hal::Platform;
use paravane_hal::addr::Align;
use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::{InterruptMode, Interrupts};
use paravane_hal::pool::{Buffer, Pool, PoolLayout};
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::{Personality, Reset, Virtio, feature};
use paravane_mock_hal::{MockPlatform, PciHost};
use paravane_pci::{Function, PciAddress};

use super::queue::{MirrorQueue, Request};
use super::{Device, model};
use crate::error::StopError;
use crate::feature::{Allowed, RingFeatures};
use crate::transport::mmio::MmioTransport;
use crate::transport::{Transport, legacy, pci};

const MAX_BYTES: u32 = 12;
const MIRROR: model::Mirror = model::Mirror { features: model::SAYS_MAX, max_bytes: MAX_BYTES, mirrored: 0 };

/// It has either ring, on either bus, and shows no more of a configuration than there is.
const MONITOR: Personality = Personality::openvmm();

fn allowed(packed: bool) -> Allowed<super::MirrorFeatures> {
    let without = if packed { RingFeatures::empty() } else { RingFeatures::RING_PACKED };
    Allowed::default().with_ring(RingFeatures::IMPLEMENTED.difference(without))
}

fn pool(platform: &MockPlatform) -> Pool<Buffer<()>> {
    let layout = PoolLayout { buffers: 16, buffer_bytes: 16, align: Align::new(16), address_bits: 64 };
    Pool::new(platform.clone(), layout).unwrap()
}

fn request(pool: &Pool<Buffer<()>>, bytes: &[u8]) -> Request {
    let (mut text, image) = (pool.get().unwrap(), pool.get().unwrap());
    assert!(text.copy_in(0, bytes));
    Request { text, image, len_bytes: u32::try_from(bytes.len()).unwrap() }
}

/// Several at a time, until the ring was around more than once.
fn mirrors<P: Platform>(queue: &mut MirrorQueue<P>, pool: &Pool<Buffer<()>>) {
    for round in 0..9 {
        (0..4).for_each(|text| assert!(queue.submit(request(pool, &[b'a', round, text])).is_ok()));
        for text in 0..4 {
            let Request { image, len_bytes, .. } = queue.poll().unwrap().unwrap();
            assert_eq!((image.read::<[u8; 3]>(0), len_bytes), (Some([text, round, b'a']), 3));
        }
        assert!(queue.poll().unwrap().is_none());
    }
}

/// All of its life, twice, on a device that is opened already; then lies, each with what it comes
/// to.
fn lives<T: Transport<<MockPlatform as paravane_hal::mmio::MmioMap>::Region>>(
    platform: &MockPlatform,
    mut device: Device<MockPlatform, T>,
    lie: impl Fn(Action),
) {
    let pool = pool(platform);
    let at_rest = platform.memory().bytes();
    for packed in [false, true, false] {
        let (mut control, mut queue) = device.start(8, allowed(packed), Interrupts::LINE).unwrap();
        assert_eq!(control.interrupts(), InterruptMode::Line);
        let max_bytes = [1; MAX_BYTES as usize + 1];
        assert!(queue.submit(request(&pool, &max_bytes)).is_err(), "longer than the device takes");
        assert!(queue.submit(request(&pool, b"")).is_err());
        mirrors(&mut queue, &pool);
        assert_eq!(control.poll(), Ok(true), "the first look is due");
        device = Device::stop((control, queue)).unwrap();
        assert_eq!((platform.memory().bytes(), pool.free()), (at_rest, pool.buffers()));

        let set = |field, value| Action::Set { field, value };
        for (action, fault) in [
            (set(Field::Index, 7), DeviceFault::NotInFlight { index: 7 }),
            (set(Field::Index, 8), DeviceFault::IndexOutOfRange { index: 8, entries: 8 }),
            (set(Field::Length, 4), DeviceFault::LengthTooLong { len_bytes: 4, max_bytes: 3 }),
        ] {
            let (control, mut queue) = device.start(8, allowed(packed), Interrupts::LINE).unwrap();
            lie(action);
            assert!(queue.submit(request(&pool, b"abc")).is_ok());
            assert_eq!(queue.poll().err(), Some(fault));
            assert!(queue.submit(request(&pool, b"abc")).is_err(), "it is broken");
            device = Device::stop((control, queue)).unwrap();
            assert_eq!((platform.memory().bytes(), pool.free()), (at_rest, pool.buffers()));
        }
    }
}

type Plugged = paravane_mock_hal::model::virtio::Plugged<model::Mirror>;
type Pci = pci::Pci<MockPlatform, PciHost>;

fn plug(platform: &MockPlatform, number: u8, features: u64) -> (Plugged, Device<MockPlatform, Pci>) {
    let at = PciAddress::new(0, 0, number, 0).unwrap();
    let mirror = Virtio::plug(platform, at, model::Mirror { features, ..MIRROR }, MONITOR);
    let function = Function::claim(mirror.host.clone(), at).unwrap();
    let device = pci::open(function, platform.clone(), Device::new).unwrap();
    (mirror, device)
}

#[test]
fn a_mirror_on_pci_lives_through_lies() {
    let platform = MockPlatform::new();
    let (mirror, device) = plug(&platform, 3, model::SAYS_MAX);
    let lie = |action| mirror.lock().faults.add(Fault::nth(FaultPoint::RequestCompletion, 1, action));
    lives(&platform, device, lie);
    assert_eq!(mirror.lock().violations, [""; 0]);
}

#[test]
fn a_mirror_by_its_ports_lives_through_lies() {
    let platform = MockPlatform::new();
    let address = PciAddress::new(0, 0, 3, 0).unwrap();
    let personality = Personality { max_entries: 8, ..Personality::qemu_legacy() };
    let mirror = Virtio::plug(&platform, address, MIRROR, personality);
    let function = Function::claim(mirror.host.clone(), address).unwrap();
    let device = legacy::open(function, platform.clone(), Device::new).unwrap();
    let lie = |action| mirror.lock().faults.add(Fault::nth(FaultPoint::RequestCompletion, 1, action));
    lives(&platform, device, lie);
    assert_eq!(mirror.lock().violations, [""; 0]);
}

#[test]
fn a_mirror_on_no_bus_lives_through_lies() {
    let platform = MockPlatform::new();
    let (start, line) = MONITOR.place(0);
    let mirror = Virtio::plug_mmio(&platform, start, line, MIRROR, MONITOR);
    let transport = MmioTransport::open(mirror.claim(&platform).unwrap()).unwrap();
    let device = Device::new(transport, platform.clone()).unwrap();
    let lie = |action| mirror.lock().faults.add(Fault::nth(FaultPoint::RequestCompletion, 1, action));
    lives(&platform, device, lie);
    assert_eq!(mirror.lock().violations, [""; 0]);
}

#[test]
fn what_is_not_allowed_or_not_there_is_not_agreed() {
    let platform = MockPlatform::new();
    let (mirror, mut device) = plug(&platform, 3, 0);
    // Offered, with nowhere to say it.
    let offered = mirror.lock().offered() | model::SAYS_MAX;
    mirror.lock().offer(offered);
    for packed in [false, true] {
        let (control, queue) = device.start(8, allowed(packed), Interrupts::POLLING).unwrap();
        let has = |features| mirror.lock().has(features);
        assert_eq!((has(feature::RING_PACKED), has(model::SAYS_MAX)), (packed, false));
        device = Device::stop((control, queue)).unwrap();
    }
    assert_eq!(mirror.lock().violations, [""; 0]);
}

#[test]
fn what_cannot_be_stopped_comes_back_broken_and_what_is_anothers_as_it_was() {
    let platform = MockPlatform::new();
    let pool = pool(&platform);
    let (at_rest, [(mirror, a), (_other, b)]) =
        (platform.memory().bytes(), [3, 4].map(|number| plug(&platform, number, model::SAYS_MAX)));
    let [(control, queue), (other_control, other_queue)] =
        [a, b].map(|device| device.start(8, allowed(false), Interrupts::POLLING).unwrap());
    let (error, (control, mut other_queue)) = Device::stop((control, other_queue)).unwrap_err().into_parts();
    assert_eq!(error, StopError::ForeignQueue);
    mirrors(&mut other_queue, &pool);

    mirror.lock().personality.reset = Reset::Never;
    let (error, (mut control, mut queue)) = Device::stop((control, queue)).unwrap_err().into_parts();
    assert!(matches!(error, StopError::NoReset(_)), "{error}");
    assert!(queue.submit(request(&pool, b"abc")).is_err());
    assert_eq!(control.poll(), Err(DeviceFault::NeedsReset));

    mirror.lock().personality.reset = MONITOR.reset;
    assert!(Device::stop((control, queue)).is_ok() && Device::stop((other_control, other_queue)).is_ok());
    assert_eq!((platform.memory().bytes(), pool.free()), (at_rest, pool.buffers()));
}
