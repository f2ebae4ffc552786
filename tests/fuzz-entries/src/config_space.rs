//! What a driver reads first: configuration space, by hand and by both drivers.

use paravane_hal::irq::MsiMessage;
use paravane_mock_hal::model::virtio::{Net, Personality as Monitor, Virtio};
use paravane_mock_hal::model::vmxnet3::{Personality, Vmxnet3};
use paravane_mock_hal::pci::{Bar, Reaction};
use paravane_mock_hal::{FunctionSpace, MockPlatform, PciHost, message};
use paravane_pci::{AddressWindow, Command, Function, PciAddress, Resource, Windows, assign_all, enumerate};
use paravane_virtio::net::Device as VirtioNet;
use paravane_virtio::transport::pci;
use paravane_vmxnet3::Device as VmxDevice;

use crate::input::Input;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const MESSAGE: MsiMessage = message(0xfee0_0000, 0x41);

/// Who looks at the function first.
#[derive(Clone, Copy)]
enum Driver {
    None,
    Vmxnet3,
    VirtioNet,
}

/// A function whose space the bytes change: a few bytes anywhere, and then a run of them.
pub fn config_space(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let platform = MockPlatform::builder().without_sites().build();
    let at = PciAddress::new(0, 0, 4, 0).unwrap();
    let driver = input.pick([Driver::None, Driver::Vmxnet3, Driver::VirtioNet]);
    plug(driver, &platform, at, &mut input);
    platform.pci().set_extended(input.bit());
    platform.pci().with(at, |space| change(space, &mut input)).unwrap();

    enumerate(platform.pci(), &mut |_| {});
    // Nothing it says may keep the whole bus from being set up.
    let mut list = [Resource::EMPTY; 64];
    let _ = assign_all(platform.pci(), 0..=7, &mut windows(), &mut list);
    let Ok(function) = Function::claim(platform.pci().clone(), at) else { return };
    let mut function = drive(driver, function, &platform);
    exercise(&mut function, &platform);
    drop(function);
    platform.finish();
}

fn plug(driver: Driver, platform: &MockPlatform, at: PciAddress, input: &mut Input<'_>) {
    match driver {
        Driver::Vmxnet3 => drop(Vmxnet3::plug(platform, at, MAC, Personality::esxi())),
        Driver::VirtioNet => drop(Virtio::plug(platform, at, Net::new(MAC), input.pick(Monitor::all()))),
        Driver::None => {
            let mut space = FunctionSpace::endpoint(0x15ad, 0x07b0, 0x02).enabled();
            for index in (0..6).step_by(2) {
                space = space.bar(bar(index, input));
            }
            platform.pci().insert(at, space);
        }
    }
}

/// Of any kind and length, with an address or without.
fn bar(index: u8, input: &mut Input<'_>) -> Bar {
    let len_bits = 4 + input.byte() % 20;
    let place = input.byte() % 2;
    let bar = match input.byte() % 4 {
        0 => Bar::memory32(index, u32::from(place) << 30, 1 << len_bits),
        1 => Bar::memory64(index, u64::from(place) << 46, 1 << (len_bits * 2)),
        2 => Bar::memory64(index, u64::from(place) << 46, 1 << len_bits).prefetchable(),
        _ => Bar::io(index, u16::from(place) << 12, 1 << (len_bits / 3 + 2)),
    };
    bar.reacting(input.pick([Reaction::Movable, Reaction::OneShot, Reaction::Fixed]))
}

fn change(space: &mut FunctionSpace, input: &mut Input<'_>) {
    for _ in 0..input.byte() % 16 {
        let at = usize::from(input.half());
        // Mostly where capabilities are.
        space.set8(if at < 0x8000 { at % 0x100 } else { at % 0x1000 }, input.byte());
    }
    let start = input.pick([0x40, 0x04, 0x100]);
    for (at, byte) in (start..0x1000).zip(input.rest()) {
        space.set8(at, *byte);
    }
}

/// A driver takes the function, or says why not.
fn drive(driver: Driver, function: Function<PciHost>, platform: &MockPlatform) -> Function<PciHost> {
    let (reason, function) = match driver {
        Driver::None => return function,
        Driver::Vmxnet3 => match VmxDevice::new(function, platform.clone()) {
            Ok(device) => return device.into_function(),
            Err(failed) => (failed.to_string(), failed.into_parts().1),
        },
        Driver::VirtioNet => match pci::open(function, platform.clone(), VirtioNet::new) {
            Ok(device) => return pci::close(device.into_parts()),
            Err(failed) => (failed.to_string(), failed.into_parts().1),
        },
    };
    assert!(!reason.is_empty());
    function
}

fn windows() -> Windows {
    Windows {
        io: AddressWindow::new(0x1000, 0x1000),
        memory32: AddressWindow::new(0x1000_0000, 1 << 28),
        memory64: AddressWindow::new(1 << 47, 1 << 47),
        ..Windows::default()
    }
}

/// Everything that can be done with a function.
fn exercise(function: &mut Function<PciHost>, platform: &MockPlatform) {
    let _ = function.ensure_d0(platform);
    let _ = function.assign_bars(&mut windows());
    for index in 0..7 {
        let _ = function.map_bar(platform, index, 16);
    }
    assert!(function.capabilities().count() <= 49, "48 places, and one error");
    assert!(function.extended_capabilities().count() <= 961);
    for vendor in function.vendor_capabilities().flatten() {
        let _ = (vendor.read8(3), vendor.read16(u8::MAX), vendor.read32(vendor.len_bytes()));
    }
    let _ = function.enable(Command::MEMORY);
    if let Ok(Some(msi)) = function.msi() {
        let _ = msi.program(function, MESSAGE);
        let _ = msi.enable(function);
        msi.disable(function);
    }
    if let Ok(Some(msix)) = function.msix()
        && let Ok(mut table) = msix.open(function, platform)
    {
        let last = table.entries().saturating_sub(1);
        let _ = (table.program(last, MESSAGE), table.unmask(last), table.enable(function));
        table.disable(function);
    }
    let _ = function.quiesce(platform);
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_mock_hal::fault::Seeded;

    /// Bytes that change little let a driver in, bytes that change more keep it out: neither half
    /// of its first steps goes untested.
    #[test]
    fn drivers_are_let_in_and_kept_out() {
        for driver in [Driver::Vmxnet3, Driver::VirtioNet] {
            let (mut took, mut refused) = (0, 0);
            for seed in 0..200_u16 {
                let mut chance = Seeded::new(seed.into());
                let bytes: Vec<u8> = (0..60).map(|_| chance.below(256).to_le_bytes()[0]).collect();
                let mut input = Input::new(&bytes);
                let platform = MockPlatform::new();
                let at = PciAddress::new(0, 0, 4, 0).unwrap();
                plug(driver, &platform, at, &mut input);
                let few = Input::new(&bytes[..usize::from(seed) % bytes.len()]);
                platform.pci().with(at, |space| change(space, &mut { few })).unwrap();
                let Ok(function) = Function::claim(platform.pci().clone(), at) else { continue };
                let is_taken = match driver {
                    Driver::VirtioNet => pci::open(function, platform.clone(), VirtioNet::new).is_ok(),
                    _ => VmxDevice::new(function, platform.clone()).is_ok(),
                };
                *if is_taken { &mut took } else { &mut refused } += 1;
            }
            assert!(took > 20 && refused > 20, "{took} took it, {refused} refused");
        }
    }
}
