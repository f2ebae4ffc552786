//! One class over any of the transports: which one, the device decides, and the program has one
//! driver.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use paravane_hal::irq::Interrupts;
use paravane_hal::mmio::MmioDevice;
use paravane_mock_hal::model::virtio::{Net, Personality, Virtio, VirtioNet};
use paravane_mock_hal::{MockPlatform, ModelRegion, PciHost};
use paravane_net::{Burst, FrameLayout, FramePool, RxQueue as _, TxQueue as _};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::net::Config;
use paravane_virtio::transport::any::{self, Any, AnyTransport, Place};
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::{blk, net};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const AT: PciAddress = PciAddress::from_devfn(0, 0, 3 << 3);
/// `ANY_LAYOUT`, `MAC`, `STATUS`, `MRG_RXBUF`.
const FEATURES: u64 = 1 << 27 | 1 << 5 | 1 << 16 | 1 << 15;

type Bus = Any<MockPlatform, PciHost>;
type Opened = net::Device<MockPlatform, Bus>;

/// Which transport it is.
fn name(transport: &Bus) -> &'static str {
    match transport {
        AnyTransport::Pci(_) => "modern",
        AnyTransport::Legacy(_) => "legacy",
        AnyTransport::Mmio(_) => "mmio",
        _ => "another",
    }
}

/// A frame each way, through one function for all of them; what the device was on, after a stop.
fn echo(
    device: Opened,
    platform: &MockPlatform,
    mut model: impl FnMut(&mut dyn FnMut(&mut VirtioNet)),
) -> Place<ModelRegion, PciHost> {
    let pool = FramePool::new(platform.clone(), FrameLayout::new(512)).unwrap();
    let mut up = device.start(&Config::default(), pool.clone(), Interrupts::POLLING).unwrap();
    model(&mut |model| assert!(model.deliver(&[7; 100])));
    let mut burst = Burst::new();
    assert_eq!(up.rx.receive(&mut burst), Ok(1));
    assert_eq!(up.tx.transmit(&mut burst), Ok(1));
    up.tx.flush();
    model(&mut |model| {
        assert_eq!(model.take_sent().iter().map(|sent| sent.bytes.len()).collect::<Vec<_>>(), [100]);
        assert_eq!((&model.violations, &model.refusals), (&Vec::new(), &Vec::new()));
    });
    let place = any::close(up.stop().unwrap().into_parts());
    assert_eq!(pool.free(), pool.buffers());
    place
}

#[test]
fn a_function_is_driven_by_its_modern_registers_where_it_has_them() {
    for (personality, expected) in [
        (Personality::qemu(), "modern"),
        (Personality::qemu_transitional(), "modern"),
        (Personality::qemu_legacy(), "legacy"),
    ] {
        let platform = MockPlatform::new();
        let plugged = Virtio::plug(&platform, AT, Net::new(MAC).with_features(FEATURES), personality);
        let function = Function::claim(plugged.host.clone(), AT).unwrap();
        let device: Opened = any::open_pci(function, platform.clone()).unwrap();
        assert_eq!(name(device.transport()), expected);
        let place = echo(device, &platform, |look| look(&mut plugged.lock()));
        assert!(matches!(place, Place::Pci(function) if function.address() == AT));
        assert_eq!(platform.mapped_regions(), 0, "{expected}");
    }
}

#[test]
fn a_place_of_registers_comes_back() {
    let platform = MockPlatform::new();
    let personality = Personality::microvm();
    let (start, line) = personality.place(0);
    let plugged =
        Virtio::plug_mmio(&platform, start, line, Net::new(MAC).with_features(FEATURES), personality);
    let transport = MmioTransport::open(plugged.claim(&platform).unwrap()).unwrap();
    let device: Opened = any::open_mmio(transport, platform.clone()).unwrap();
    assert_eq!(name(device.transport()), "mmio");
    let place = echo(device, &platform, |look| look(&mut plugged.lock()));
    let back: Option<MmioDevice<ModelRegion>> = match place {
        Place::Mmio(device) => Some(device),
        _ => None,
    };
    assert_eq!(back.map(|device| device.start()), Some(start));
}

#[test]
fn what_is_no_virtio_function_comes_back_with_a_reason() {
    let platform = MockPlatform::new();
    let plugged =
        Virtio::plug(&platform, AT, Net::new(MAC).with_features(FEATURES), Personality::qemu_legacy());
    let function = Function::claim(plugged.host.clone(), AT).unwrap();
    let opened: Result<blk::Device<_, Bus>, _> = any::open_pci(function, platform.clone());
    let (error, function) = opened.unwrap_err().into_parts();
    assert_eq!(error.to_string(), "00:03.0: virtio device of kind 1, expected 2");
    assert_eq!(function.address(), AT);
    assert_eq!(platform.mapped_regions(), 0);
}
