//! The platform's I/O ports: attached ones, and I/O BARs on the bus.

use std::sync::PoisonError;

use paravane_hal::port::PortIo;

use crate::loads;
use crate::platform::MockPlatform;
use crate::registers::Width;
use crate::watchdog::Access;

impl MockPlatform {
    pub(crate) fn read_port(&self, port: u16, width: Width) -> u32 {
        loads::next_call();
        self.clock().watchdog().count(Access::Port(port));
        match self.attached_port(port, width) {
            Some((model, bar, place)) => {
                model.lock().unwrap_or_else(PoisonError::into_inner).read(bar, place, width)
            }
            None => self.pci().read_port(port, width),
        }
    }

    pub(crate) fn write_port(&self, port: u16, width: Width, value: u32) {
        loads::next_call();
        match self.attached_port(port, width) {
            Some((model, bar, place)) => {
                model.lock().unwrap_or_else(PoisonError::into_inner).write(bar, place, width, value);
            }
            None => self.pci().write_port(port, width, value),
        }
    }
}

/// Where nobody answers, reads give all ones.
#[expect(clippy::cast_possible_truncation, reason = "the access is as wide as its method says")]
impl PortIo for MockPlatform {
    fn in8(&self, port: u16) -> u8 {
        self.read_port(port, Width::Byte) as u8
    }
    fn in16(&self, port: u16) -> u16 {
        self.read_port(port, Width::Half) as u16
    }
    fn in32(&self, port: u16) -> u32 {
        self.read_port(port, Width::Word)
    }
    fn out8(&self, port: u16, value: u8) {
        self.write_port(port, Width::Byte, value.into());
    }
    fn out16(&self, port: u16, value: u16) {
        self.write_port(port, Width::Half, value.into());
    }
    fn out32(&self, port: u16, value: u32) {
        self.write_port(port, Width::Word, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use paravane_pci::access::Cam;
    use paravane_pci::{Command, ConfigAccess, Found, Function, PciAddress, enumerate};

    use super::*;
    use crate::pci::{Bar, ConfigPorts, FunctionSpace};
    use crate::registers::DeviceModel;

    /// Remembers what was written; reads say where they landed.
    #[derive(Default)]
    struct Echo(Vec<(u8, usize, Width, u32)>);

    impl DeviceModel for Echo {
        fn read(&mut self, bar: u8, offset_bytes: usize, _width: Width) -> u32 {
            u32::from(bar) << 16 | u32::try_from(offset_bytes).unwrap()
        }
        fn write(&mut self, bar: u8, offset_bytes: usize, width: Width, value: u32) {
            self.0.push((bar, offset_bytes, width, value));
        }
    }

    const NIC: PciAddress = PciAddress::from_devfn(0, 1, 2 << 3);
    const BRIDGE: PciAddress = PciAddress::from_devfn(0, 0, 1 << 3);

    /// A device with ports `0xc040..0xc060` in BAR 1, behind a bridge that forwards
    /// `0xc000..=0xcfff`.
    fn machine() -> (MockPlatform, Arc<Mutex<Echo>>) {
        let platform = MockPlatform::new();
        let bridge = FunctionSpace::bridge(0x1b36, 0x000c, 1, 1).ports(0xc000, 0xcfff);
        platform.pci().insert(BRIDGE, bridge);
        let space = FunctionSpace::endpoint(0x1af4, 0x1000, 2).bar(Bar::io(1, 0xc040, 0x20));
        platform.pci().insert(NIC, space);
        let model = Arc::new(Mutex::new(Echo::default()));
        platform.pci().connect(NIC, model.clone());
        (platform, model)
    }

    fn with_config_ports(platform: &MockPlatform) -> Cam<MockPlatform> {
        let ports = ConfigPorts::new(platform.pci());
        platform.attach_ports(0xcf8, 8, Arc::new(Mutex::new(ports)), 0);
        Cam::new(platform.clone())
    }

    #[test]
    fn attached_ports_reach_their_model() {
        let platform = MockPlatform::new();
        let model = Arc::new(Mutex::new(Echo::default()));
        platform.attach_ports(0x3f8, 8, model.clone(), 2);
        assert_eq!((platform.in8(0x3fd), platform.in16(0x3fe), platform.in32(0x3f8)), (5, 6, 0x2_0000));
        platform.out8(0x3f9, 0xab);
        assert_eq!(platform.in16(0x3f9), u16::MAX, "not aligned");
        platform.out16(0x3f9, 1);
        assert_eq!(platform.in32(0x3fe), u32::MAX, "runs past the ports");
        platform.out16(0x3ff, 1);
        assert_eq!((platform.in8(0x3f7), platform.in8(0x400)), (u8::MAX, u8::MAX));
        assert_eq!(model.lock().unwrap().0, [(2, 1, Width::Byte, 0xab)]);
    }

    #[test]
    fn an_io_bar_answers_where_it_is_decoded() {
        let (platform, model) = machine();
        assert_eq!(platform.in32(0xc050), u32::MAX, "not decoded yet");
        platform.pci().write16(NIC, 0x04, Command::IO.bits());
        assert_eq!(platform.in32(0xc050), 0x1_0010);
        assert_eq!(platform.in16(0xc041), u16::MAX, "not aligned");
        platform.out16(0xc042, 7);
        assert_eq!(model.lock().unwrap().0, [(1, 2, Width::Half, 7)]);
        platform.pci().write32(NIC, 0x14, 0xc101);
        assert_eq!((platform.in8(0xc044), platform.in8(0xc104)), (u8::MAX, 4), "it has moved");
        platform.pci().write16(BRIDGE, 0x1c, 0xe0d0);
        assert_eq!(platform.in8(0xc104), u8::MAX, "outside the bridge's window");
        platform.pci().write16(BRIDGE, 0x1c, 0xd0c0);
        assert_eq!(platform.in8(0xc104), 4);
        platform.pci().write16(BRIDGE, 0x04, Command::MEMORY.bits());
        assert_eq!(platform.in8(0xc104), u8::MAX, "the bridge forwards no ports");
    }

    #[test]
    fn configuration_space_is_the_same_by_ports() {
        let (platform, _) = machine();
        assert!(!Cam::new(platform.clone()).is_present(), "a machine without the mechanism");
        let cam = with_config_ports(&platform);
        assert!(cam.is_present());
        let mut found = Vec::new();
        enumerate(&cam, &mut |what| {
            if let Found::Function(function) = what {
                found.push(function.address);
            }
        });
        assert_eq!(found, [BRIDGE, NIC]);
        for offset in 0..256 {
            assert_eq!(cam.read8(NIC, offset), platform.pci().read8(NIC, offset), "{offset:#x}");
        }
        assert_eq!(cam.read16(NIC, 0x02), 0x1000);
        cam.write8(NIC, 0x3c, 11);
        assert_eq!(platform.pci().read8(NIC, 0x3c), 11);
    }

    #[test]
    fn a_device_is_claimed_and_driven_by_ports_alone() {
        let (platform, model) = machine();
        let mut function = Function::claim(with_config_ports(&platform), NIC).unwrap();
        function.enable(Command::IO).unwrap();
        let port = function.bar(1).unwrap().port().unwrap();
        platform.out32(port + 8, 0xfeed);
        assert_eq!(model.lock().unwrap().0, [(1, 8, Width::Word, 0xfeed)]);
    }

    #[test]
    fn data_ports_are_silent_until_enabled() {
        let (platform, _) = machine();
        with_config_ports(&platform);
        platform.out32(0xcf8, 0x0000_0800);
        assert_eq!(platform.in32(0xcfc), u32::MAX);
        platform.out8(0xcfb, 0x80);
        assert_eq!(platform.in32(0xcf8), 0x800, "only all four bytes at once are the address");
        platform.out32(0xcf8, 0xff00_0803);
        assert_eq!((platform.in32(0xcf8), platform.in32(0xcfc)), (0x8000_0800, 0x000c_1b36));
    }
}
