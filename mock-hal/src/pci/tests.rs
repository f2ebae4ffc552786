use std::sync::{Arc, Mutex};

use paravane_hal::addr::{Align, PhysAddr};
use paravane_hal::dma::{DeviceDma, DeviceTag, DmaBox};
use paravane_hal::irq::MsiMessage;
use paravane_hal::mmio::{Mmio, MmioMap};
use paravane_pci::{Command, ConfigAccess, Found, Function, PciAddress, enumerate};

use super::machine::{ESXI, FIRECRACKER, MACHINES, Machine, QEMU_PC, QEMU_Q35};
use super::{Bar, FunctionSpace, InterruptMode, PciDevice, PciHost};
use crate::{DeviceMemory, DeviceModel, FaultKind, MockPlatform, Width, message};

const MESSAGE: MsiMessage = message(0xfee0_1000, 0x51);

/// Remembers the last write, and answers with where it was read.
#[derive(Default)]
struct Echo(Option<(u8, usize, u32)>);

impl DeviceModel for Echo {
    fn read(&mut self, bar: u8, offset_bytes: usize, _width: Width) -> u32 {
        u32::from(bar) << 16 | u32::try_from(offset_bytes).unwrap()
    }
    fn write(&mut self, bar: u8, offset_bytes: usize, _width: Width, value: u32) {
        self.0 = Some((bar, offset_bytes, value));
    }
}

/// A NIC with registers in BAR 0, and MSI-X table and pending bits behind them.
fn nic(machine: &Machine) -> (MockPlatform, PciDevice) {
    let platform = MockPlatform::new();
    machine.build(platform.pci());
    let space = FunctionSpace::endpoint(0x1af4, 0x1041, 0x02)
        .bar(platform.pci().high_bar(0, 0x4000))
        .power(0x40)
        .msi(0x50)
        .msix(0x70, 3, 0x2000, 0x3000)
        .vendor(0x80, &[1, 2, 3])
        .express(0x90)
        .extended(0x100, 0x03, 1, &[7; 8])
        .extended(0x140, 0x0b, 1, &[0; 4]);
    platform.pci().insert(machine.address(0), machine.wired(space));
    platform.pci().connect(machine.address(0), Arc::new(Mutex::new(Echo::default())));
    let device = platform.pci().device(machine.address(0));
    (platform, device)
}

fn claim(platform: &MockPlatform, device: &PciDevice) -> Function<PciHost> {
    Function::claim(platform.pci().clone(), device.address()).unwrap()
}

#[test]
fn each_machine_shows_its_nic_and_its_bar_works() {
    for machine in MACHINES {
        let (platform, device) = nic(&machine);
        let mut found = Vec::new();
        enumerate(platform.pci(), &mut |what| {
            if let Found::Function(function) = what {
                found.push((function.address, function.path.len()));
            }
        });
        let bridges = usize::from(machine.bridge.is_some());
        let hosts = usize::from(machine.host_bridge.is_some());
        assert!(found.contains(&(device.address(), bridges)), "{}: {found:?}", machine.name);
        assert_eq!(found.len(), 1 + hosts + bridges, "{}", machine.name);
        let mut function = claim(&platform, &device);
        let bar = function.bar(0).unwrap();
        assert_eq!((bar.memory(), bar.len_bytes), (Some(PhysAddr::new(machine.high_start)), 0x4000));
        let region = function.map_bar(&platform, 0, 0x4000).unwrap();
        assert_eq!(region.read32(4), u32::MAX, "{}: not decoded yet", machine.name);
        function.enable(Command::MEMORY).unwrap();
        assert_eq!(region.read32(4), 4, "{}", machine.name);
        assert_eq!(function.read_interrupt_pin().is_some(), machine.has_pins);
    }
}

#[test]
fn registers_follow_the_bar() {
    let (platform, device) = nic(&QEMU_PC);
    let (pci, at) = (platform.pci(), device.address());
    pci.write16(at, 0x04, 0b10);
    let old = platform.map(PhysAddr::new(QEMU_PC.high_start), 0x1000).unwrap();
    assert_eq!(old.read16(0x10), 0x10);
    pci.write32(at, 0x10, 0xe000_0000);
    assert_eq!(old.read16(0x10), u16::MAX, "nobody there any more");
    let new = platform.map(PhysAddr::new(0x38_e000_0000), 0x4000).unwrap();
    assert_eq!(new.read16(0x10), 0x10);
    assert_eq!(new.read32(0x11), u32::MAX, "not aligned");
    assert!(platform.map(PhysAddr::new(0x38_e000_2000), 0x4000).is_err(), "past the end");
}

#[test]
fn a_one_shot_bar_answers_a_probe_once_and_stays() {
    let (platform, device) = nic(&FIRECRACKER);
    let (pci, at) = (platform.pci(), device.address());
    pci.write32(at, 0x10, u32::MAX);
    assert_eq!(pci.read32(at, 0x10), 0xffff_c00c);
    assert_eq!(pci.read32(at, 0x10), 0xc, "the probe is over");
    assert_eq!(pci.read32(at, 0x14), 0x40);
    pci.write32(at, 0x14, 0);
    assert_eq!(pci.read32(at, 0x14), 0x40, "it does not move");
}

#[test]
fn bars_come_in_kinds() {
    let host = PciHost::default();
    let at = PciAddress::from_devfn(0, 0, 8);
    let space = FunctionSpace::endpoint(1, 2, 0)
        .bar(Bar::io(0, 0xc000, 32))
        .bar(Bar::memory64(2, 0x1_0000_0000, 0x2000).prefetchable());
    host.insert(at, space);
    assert_eq!([0x10, 0x14, 0x18, 0x1c].map(|offset| host.read32(at, offset)), [0xc001, 0, 0xc, 1]);
    for offset in [0x10, 0x18, 0x1c] {
        host.write32(at, offset, u32::MAX);
    }
    assert_eq!([0x10, 0x18, 0x1c].map(|offset| host.read32(at, offset)), [0xffe1, 0xffff_e00c, u32::MAX]);
}

#[test]
fn a_function_reaches_memory_only_as_bus_master() {
    let (platform, device) = nic(&ESXI);
    let dma = DeviceDma::new(platform.clone(), DeviceTag::unique(), 64);
    let shared = DmaBox::<u64, _>::zeroed(&dma, Align::BYTE).unwrap();
    platform.memory().expect_leak(Some(1));
    let addr = shared.dma_addr().get();
    let memory = device.memory(platform.memory(), "nic");
    assert_eq!(memory.get64(addr).unwrap_err().kind, FaultKind::BusMasterOff);
    platform.pci().write16(device.address(), 0x04, 0b100);
    memory.write(addr, &7_u64.to_le_bytes()).unwrap();
    assert_eq!(memory.get64(addr), Ok(7));
    // The bridge above it counts too.
    let bridge = PciAddress::from_devfn(0, 0, 0x15 << 3);
    platform.pci().write16(bridge, 0x04, 0b010);
    assert_eq!(memory.write(addr, &[1]).unwrap_err().kind, FaultKind::BusMasterOff);
    let function = Function::claim(platform.pci(), device.address()).unwrap();
    function.enable_path(&[bridge]).unwrap();
    assert_eq!(memory.get16(addr), Ok(7));
    assert_eq!(platform.memory().forgive().0.len(), 2, "what was tried in vain is written down");
}

#[test]
#[should_panic(expected = "device `nic` read 8 bytes at dma:0x10, but bus mastering is off")]
fn an_access_without_bus_mastering_fails_the_test() {
    let (platform, device) = nic(&QEMU_PC);
    assert!(device.memory(platform.memory(), "nic").get64(0x10).is_err(), "and the driver goes on");
    platform.finish();
}

#[test]
fn a_bridge_hides_what_it_does_not_forward() {
    let (platform, device) = nic(&ESXI);
    let (pci, at) = (platform.pci(), device.address());
    let bridge = PciAddress::from_devfn(0, 0, 0x15 << 3);
    pci.write16(at, 0x04, 0b10);
    let region = platform.map(PhysAddr::new(ESXI.high_start), 0x1000).unwrap();
    assert_eq!(region.read32(8), 8);
    pci.write16(bridge, 0x24, 0xfff1);
    assert_eq!(region.read32(8), u32::MAX, "its window is closed");
    assert_eq!(pci.read32(at, 0), 0x1041_1af4);
    pci.write8(bridge, 0x19, 0);
    assert_eq!(pci.read32(at, 0), u32::MAX, "it leads nowhere");
}

#[test]
fn extended_space_is_there_where_it_can_be_reached() {
    let ids = |machine| {
        let (platform, device) = nic(machine);
        let function = claim(&platform, &device);
        function.extended_capabilities().map(|found| found.unwrap().id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&QEMU_PC), []);
    assert_eq!(ids(&QEMU_Q35), [3, 0xb]);
}

#[test]
fn bars_fill_a_window_and_no_more() {
    let host = PciHost::default();
    QEMU_Q35.build(&host);
    let starts = [0x1000, 0x4000, 0x1000].map(|len_bytes| host.low_bar(0, len_bytes).start());
    assert_eq!(starts, [0xfe80_0000, 0xfe80_4000, 0xfe80_8000], "naturally aligned, apart");
    assert_eq!(host.high_bar(0, 1 << 20).start(), 0x38_0000_0000);
}

#[test]
#[should_panic(expected = "no room for a BAR of 0x1000 bytes")]
fn a_bar_beyond_the_window_is_refused() {
    let host = PciHost::default();
    for len_bytes in [1 << 20, 0x1000] {
        let _ = host.high_bar(0, len_bytes);
    }
}

#[test]
fn several_functions_share_a_device() {
    let host = PciHost::default();
    for function in 0..3 {
        let space = FunctionSpace::endpoint(0x8086, 0x1000 + u16::from(function), 2);
        let space = if function == 0 { space.multi_function() } else { space.express(0x40).enabled() };
        host.insert(PciAddress::from_devfn(0, 0, 4 << 3 | function), space);
    }
    let mut count = 0;
    enumerate(&host, &mut |_| count += 1);
    assert_eq!(count, 3);
    host.remove(PciAddress::from_devfn(0, 0, 4 << 3 | 1));
    assert_eq!(host.read16(PciAddress::from_devfn(0, 0, 4 << 3 | 1), 0), u16::MAX);
}

#[test]
fn a_masked_vector_pends_until_it_may_interrupt() {
    let (platform, device) = nic(&QEMU_PC);
    let mut function = claim(&platform, &device);
    let mut table = function.msix().unwrap().unwrap().open(&mut function, &platform).unwrap();
    function.enable(Command::BUS_MASTER).unwrap();
    table.program(2, MESSAGE).unwrap();
    table.enable(&mut function).unwrap();
    assert_eq!(device.mode(), InterruptMode::Msix);
    device.raise_msix(2);
    assert_eq!(platform.take_interrupts(), [], "masked");
    let pba = platform.map(PhysAddr::new(QEMU_PC.high_start + 0x3000), 8).unwrap();
    assert_eq!(pba.read32(0), 0b100);
    table.unmask(2).unwrap();
    assert_eq!(platform.take_interrupts(), [MESSAGE]);
    assert_eq!(pba.read32(0), 0);
    device.raise_msix(2);
    assert_eq!(platform.interrupts().take_of(MESSAGE), 1);
    device.raise_msix(9);
    assert_eq!(platform.take_interrupts(), [], "no such vector");
}

#[test]
fn no_message_leaves_without_bus_mastering() {
    let (platform, device) = nic(&QEMU_PC);
    let mut function = claim(&platform, &device);
    let msi = function.msi().unwrap().unwrap();
    msi.program(&mut function, MESSAGE).unwrap();
    assert!(!device.raise_msi(), "not enabled");
    msi.enable(&mut function).unwrap();
    assert_eq!(device.mode(), InterruptMode::Msi);
    assert!(!device.raise_msi(), "a message is a write to memory");
    function.enable(Command::BUS_MASTER).unwrap();
    assert!(device.raise_msi());
    assert_eq!(platform.take_interrupts(), [MESSAGE]);
}

#[test]
fn the_pin_is_a_level_with_a_switch() {
    let (platform, device) = nic(&QEMU_PC);
    let raised = || platform.interrupts().is_raised(11);
    assert_eq!(device.mode(), InterruptMode::Pin);
    device.set_pin(true);
    assert!(raised());
    platform.pci().write16(device.address(), 0x04, 1 << 10);
    assert!(!raised(), "disabled, though still asserted");
    platform.pci().write16(device.address(), 0x04, 0);
    assert!(raised());
    platform.pci().remove(device.address());
    assert!(!raised(), "whoever is gone holds no line");
}

/// A model has its function and its way into memory, and the host has the model: a platform whose
/// parts held each other would never be checked.
#[test]
#[should_panic(expected = "1 pieces of memory are out, 0 expected")]
fn the_last_handle_checks_a_platform_with_a_device() {
    struct Device(#[expect(dead_code, reason = "it is there to be held")] (PciDevice, DeviceMemory));
    impl DeviceModel for Device {
        fn read(&mut self, _bar: u8, _offset_bytes: usize, _width: Width) -> u32 {
            0
        }
        fn write(&mut self, _bar: u8, _offset_bytes: usize, _width: Width, _value: u32) {}
    }
    let (platform, device) = nic(&QEMU_PC);
    let memory = device.memory(platform.memory(), "nic");
    platform.pci().connect(device.address(), Arc::new(Mutex::new(Device((device, memory)))));
    let of = DeviceDma::new(platform.memory().clone(), DeviceTag::unique(), 64);
    // Its address is out, so dropping it parks it; it holds memory, and neither bus nor device.
    let _ = DmaBox::<u64, _>::zeroed(&of, Align::BYTE).unwrap().dma_addr();
}

#[test]
fn a_function_in_d3_is_silent_and_wakes_as_after_power_on() {
    let (platform, device) = nic(&QEMU_PC);
    let (host, at) = (platform.pci(), device.address());
    let start = u64::from(host.read32(at, 0x10) & !0xf) | u64::from(host.read32(at, 0x14)) << 32;
    let region = MmioMap::map(&platform, PhysAddr::new(start), 0x4000).unwrap();
    host.write16(at, 0x04, 0b110);
    host.write16(at, 0x72, 0x8000);
    assert_eq!((region.read32(8), device.is_bus_master(), device.mode()), (8, true, InterruptMode::Msix));
    assert!(!device.wake_up_call(), "nobody asked for it");
    assert_eq!(host.read16(at, 0x44) & 0x8000, 0x8000);
    host.write16(at, 0x44, 0x8103);
    assert_eq!(host.read16(at, 0x44), 0x0103, "and the mark is cleared by a one");
    assert!(device.is_asleep() && device.wake_up_call());
    assert_eq!((region.read32(8), device.is_bus_master()), (u32::MAX, false));
    host.write16(at, 0x44, 0);
    assert_eq!(device.mode(), InterruptMode::Pin);
    assert_eq!((host.read16(at, 0x04), host.read32(at, 0x10) & !0xf, host.read32(at, 0x14)), (0, 0, 0));
}

#[test]
fn a_function_that_keeps_its_state_wakes_as_it_was() {
    let platform = MockPlatform::new();
    let space = FunctionSpace::endpoint(1, 2, 3).memory_bar(0, 0x1000, 0x1000).power(0x40).keeping_state();
    let at = PciAddress::new(0, 0, 4, 0).unwrap();
    platform.pci().insert(at, space);
    platform.pci().write16(at, 0x04, 0b110);
    platform.pci().write16(at, 0x44, 3);
    assert!(!platform.pci().is_bus_master(at));
    platform.pci().write16(at, 0x44, 0);
    assert_eq!((platform.pci().read16(at, 0x04), platform.pci().read32(at, 0x10)), (0b110, 0x1000));
    assert!(platform.pci().is_bus_master(at));
}
