//! The entropy device's driver on a model of it: on every transport, through short answers, lies
//! and silence.

#![allow(clippy::unwrap_used, clippy::panic, clippy::result_large_err, reason = "tests")]

use std::time::Duration;

use paravane_hal::Failed;
use paravane_hal::entropy::{Entropy as _, EntropyError, EntropyErrorReason};
use paravane_hal::fault::DeviceFault;
use paravane_mock_hal::fault::{Action, Fault, FaultPoint, Field};
use paravane_mock_hal::model::virtio::{Class, Personality, Plugged, Virtio};
use paravane_mock_hal::{MockPlatform, PciHost};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::rng::{self, ReadError, Source};
use paravane_virtio::transport::any::{self, Any};
use paravane_virtio::transport::mmio::MmioTransport;

const LIMIT: Duration = Duration::from_millis(100);

/// What an entropy device has that others have not.
#[derive(Clone, Copy)]
struct Model {
    /// The most that it gives at once.
    most: usize,
    /// The next byte: each is one more than the one before, so all is seen that is lost or comes
    /// twice.
    next: u8,
    /// Gives this byte for ever.
    stuck: Option<u8>,
    is_silent: bool,
    requests: usize,
}

const MODEL: Model = Model { most: usize::MAX, next: 1, stuck: None, is_silent: false, requests: 0 };

/// Spec: VIRTIO 1.2, 5.4 "Entropy Device": no features, no configuration, one queue.
impl Class for Model {
    const TYPE: u16 = 4;
    const PCI_CLASS: u8 = 0xff;
    const PLAYED: u64 = 0;

    fn queues(&self) -> u16 {
        1
    }
    fn features(&self) -> u64 {
        0
    }
    fn config(&self) -> Vec<u8> {
        Vec::new()
    }
    fn gate(&self, _: usize) -> Option<u64> {
        None
    }
    fn notified(device: &mut Virtio<Self>, queue: u16) {
        if !device.class.is_silent {
            device.answer_all(queue.into(), give);
        }
    }
}

/// Spec: VIRTIO 1.2, 5.4.6 "Device Operation": buffers to write, one byte or more in each.
fn give(device: &mut Virtio<Model>, asked: &[u8], room: usize) -> Vec<u8> {
    if !asked.is_empty() {
        device.ring_violation(0, "a buffer to read, 5.4.6.1");
    }
    if room == 0 {
        device.ring_violation(0, "no room for a byte");
    }
    device.class.requests += 1;
    let model = &mut device.class;
    (0..room.min(model.most))
        .map(|_| {
            let byte = model.stuck.unwrap_or(model.next);
            model.next = model.next.wrapping_add(1);
            byte
        })
        .collect()
}

type Device = rng::Device<MockPlatform, Any<MockPlatform, PciHost>>;

fn plug(platform: &MockPlatform, model: Model, personality: Personality) -> (Plugged<Model>, Device) {
    let at = PciAddress::new(0, 0, 3, 0).unwrap();
    let plugged = Virtio::plug(platform, at, model, personality);
    let function = Function::claim(plugged.host.clone(), at).unwrap();
    (plugged, any::open_pci(function, platform.clone()).map_err(Failed::into_error).unwrap())
}

fn counting<const N: usize>(first: u8) -> [u8; N] {
    let mut bytes = [first; N];
    bytes.iter_mut().zip(0_u8..=255).for_each(|(byte, at)| *byte = byte.wrapping_add(at));
    bytes
}

/// Reads pieces of any length, and leaves nothing behind.
fn reads(platform: &MockPlatform, mut device: Device) {
    let at_rest = platform.memory().bytes();
    let mut first = 1_u8;
    for len_bytes in [1, 7, 32, 64, 65, 200] {
        let mut to = vec![0; len_bytes];
        device = device.read(&mut to, LIMIT).map_err(Failed::into_error).unwrap();
        assert_eq!(to, counting::<200>(first)[..len_bytes]);
        assert_eq!(platform.memory().bytes(), at_rest, "it keeps nothing");
        first = first.wrapping_add(u8::try_from(len_bytes).unwrap());
    }
}

#[test]
fn every_byte_comes_once_on_every_monitor() {
    let monitors = Personality::all();
    for personality in monitors.into_iter().chain([Personality::qemu_packed(), Personality::qemu_legacy()]) {
        let platform = MockPlatform::new();
        let (plugged, device) = plug(&platform, MODEL, personality);
        reads(&platform, device);
        let model = plugged.lock();
        assert_eq!((&model.violations, &model.refusals), (&Vec::new(), &Vec::new()));
        assert_eq!(model.status(), 0, "it does not run in between");
    }
}

#[test]
fn a_device_on_no_bus_gives_as_much() {
    for personality in Personality::on_no_bus() {
        let platform = MockPlatform::new();
        let (start, line) = personality.place(0);
        let plugged = Virtio::plug_mmio(&platform, start, line, MODEL, personality);
        let transport = MmioTransport::open(plugged.claim(&platform).unwrap()).map_err(Failed::into_error);
        let device: Device =
            any::open_mmio(transport.unwrap(), platform.clone()).map_err(Failed::into_error).unwrap();
        reads(&platform, device);
        assert_eq!(plugged.model.lock().unwrap().violations, [""; 0]);
    }
}

#[test]
fn what_comes_in_short_pieces_is_put_together() {
    let platform = MockPlatform::new();
    let (plugged, device) = plug(&platform, Model { most: 5, ..MODEL }, Personality::qemu());
    let mut to = [0; 32];
    device.read(&mut to, LIMIT).unwrap();
    assert_eq!((to, plugged.lock().class.requests), (counting(1), 7));
}

#[test]
fn an_answer_without_a_byte_ends_it() {
    let platform = MockPlatform::new();
    let (plugged, device) = plug(&platform, Model { most: 0, ..MODEL }, Personality::qemu());
    let (error, _) = device.read(&mut [0; 32], LIMIT).unwrap_err().into_parts();
    assert_eq!((error, plugged.lock().class.requests), (ReadError::NoBytes, 1));
}

#[test]
fn a_device_that_is_silent_is_waited_for_and_not_for_ever() {
    let platform = MockPlatform::new();
    let (plugged, device) = plug(&platform, Model { is_silent: true, ..MODEL }, Personality::qemu());
    let at_rest = platform.memory().bytes();
    let (error, device) = device.read(&mut [0; 32], LIMIT).unwrap_err().into_parts();
    assert_eq!(error, ReadError::Fault(DeviceFault::NoAnswer { after_ms: 100 }));
    assert!(error.to_string().contains("no entropy: device did not answer for 100 ms"), "{error}");
    assert_eq!(platform.memory().bytes(), at_rest, "it was reset, and has nothing of ours");
    plugged.lock().class.is_silent = false;
    reads(&platform, device);
}

#[test]
fn a_lie_ends_it_and_it_can_be_read_again() {
    for (field, value, fault) in [
        (Field::Index, 3, DeviceFault::NotInFlight { index: 3 }),
        (Field::Index, 4, DeviceFault::IndexOutOfRange { index: 4, entries: 4 }),
        (Field::Length, 33, DeviceFault::LengthTooLong { len_bytes: 33, max_bytes: 32 }),
    ] {
        let platform = MockPlatform::new();
        let (plugged, device) = plug(&platform, MODEL, Personality::qemu());
        let at_rest = platform.memory().bytes();
        let lie = Action::Set { field, value };
        plugged.lock().faults.add(Fault::nth(FaultPoint::RequestCompletion, 1, lie));
        let (error, device) = device.read(&mut [0; 32], LIMIT).unwrap_err().into_parts();
        assert_eq!(error, ReadError::Fault(fault));
        assert_eq!(platform.memory().bytes(), at_rest);
        let mut to = [0; 8];
        assert!(device.read(&mut to, LIMIT).is_ok());
    }
}

#[test]
fn a_source_judges_what_comes() {
    let platform = MockPlatform::new();
    let (plugged, device) = plug(&platform, MODEL, Personality::qemu());
    let source = Source::new(device);
    let mut to = [0; 32];
    assert_eq!((source.name(), source.fill(&mut to)), ("virtio-rng", Ok(())));
    assert_eq!(to, counting(1));
    for byte in [0, 0xff, 0x5a] {
        plugged.lock().class.stuck = Some(byte);
        let stuck = EntropyError::new("virtio-rng", EntropyErrorReason::Stuck);
        assert_eq!(source.fill(&mut to), Err(stuck), "{byte:#x}");
    }
    plugged.lock().class = Model { most: 0, ..MODEL };
    assert_eq!(source.fill(&mut to), Err(EntropyError::new("virtio-rng", EntropyErrorReason::Broken)));
    plugged.lock().class = MODEL;
    assert_eq!(source.fill(&mut to), Ok(()), "it is asked anew each time");
    assert!(source.into_device().is_some());
}
