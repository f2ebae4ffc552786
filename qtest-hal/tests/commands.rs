//! What QEMU's network device makes of what it is told over the control queue: that it filters, by
//! kinds, addresses and VLANs, as was said, on either ring, with a bus and without.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use paravane_hal::irq::{Armed, Interrupts};
use paravane_hal::mmio::MmioMap;
use paravane_hal::time::wait_for;
use paravane_net::{
    Burst, Change, ChangeError, Control as _, FrameLayout, FramePool, MacAddr, MacTable, RxFilter,
    RxOffloads, RxQueue as _, Settings, VlanSet,
};
use paravane_pci::Function;
use paravane_qtest_hal::{Chipset, Machine, Qtest, Setup};
use paravane_virtio::net::{Config, Device, NetFeatures, Running};
use paravane_virtio::transport::mmio::MmioTransport;
use paravane_virtio::transport::{Transport, pci};

const LIMIT: Duration = Duration::from_secs(5);
const BROADCAST: [u8; 6] = [0xff; 6];
const GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 1];
const OTHER_GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const STRANGER: [u8; 6] = [0x02, 9, 9, 9, 9, 9];

fn pool(machine: &Machine) -> FramePool {
    FramePool::new(machine.platform().clone(), FrameLayout::new(400)).unwrap()
}

fn frame(to: [u8; 6], tag: Option<u16>) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, 9]].concat();
    if let Some(vid) = tag {
        frame.extend([0x81, 0]);
        frame.extend(vid.to_be_bytes());
    }
    frame.extend([0x88, 0xb5]);
    frame.resize(60, 7);
    frame
}

/// A running device, and the cable that it hangs on.
struct Bench<'m, T: Transport<<Qtest as MmioMap>::Region> + Send> {
    machine: &'m Machine,
    up: Running<Qtest, T>,
    /// An address that it lets through.
    passes: [u8; 6],
}

impl<T: Transport<<Qtest as MmioMap>::Region> + Send> Bench<'_, T> {
    /// Which of `frames` it lets through: all that come before one that it does.
    fn pass<const N: usize>(&mut self, frames: [Vec<u8>; N]) -> [bool; N] {
        let cable = self.machine.cable(0).unwrap();
        let mut last = frame(self.passes, None);
        last[59] = 0xee;
        frames.iter().chain([&last]).for_each(|frame| cable.send(frame).unwrap());
        let mut received = Vec::new();
        let rx = &mut self.up.rx;
        wait_for(self.machine.platform(), LIMIT, || {
            let mut burst = Burst::new();
            rx.receive(&mut burst).unwrap();
            while let Some(frame) = burst.pop() {
                let mut bytes = vec![0; frame.total_bytes()];
                frame.copy_out(&mut bytes).unwrap();
                received.push(bytes);
            }
            (received.last() == Some(&last)).then_some(())
        })
        .unwrap();
        frames.map(|frame| received.contains(&frame))
    }

    fn pass_to<const N: usize>(&mut self, addresses: [[u8; 6]; N]) -> [bool; N] {
        self.pass(addresses.map(|to| frame(to, None)))
    }
}

/// Everything that there is to tell.
fn tell<T: Transport<<Qtest as MmioMap>::Region> + Send>(machine: &Machine, device: Device<Qtest, T>) {
    let (mac, pool) = (Setup::mac(0), pool(machine));
    let everyone = [mac, BROADCAST, GROUP, OTHER_GROUP, STRANGER];
    let start = |device: Device<Qtest, T>, settings| {
        let config = Config::default().with_settings(settings);
        let up = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
        Bench { machine, up, passes: mac }
    };
    let vlans = VlanSet::EMPTY.with(7, true).with(4095, true);
    let mut bench = start(device, Settings::default().with_vlans(vlans));
    let commands = NetFeatures::CTRL_RX
        | NetFeatures::CTRL_RX_EXTRA
        | NetFeatures::CTRL_VLAN
        | NetFeatures::CTRL_MAC_ADDR
        | NetFeatures::CTRL_GUEST_OFFLOADS
        | NetFeatures::GUEST_ANNOUNCE;
    assert!(bench.up.control.features().has(commands), "{}", bench.up.control.features());

    for (filter, expected) in [
        (RxFilter::default(), [true, true, false, false, false]),
        (RxFilter::UNICAST, [true, false, false, false, false]),
        (RxFilter::default() | RxFilter::ALL_MULTICAST, [true, true, true, true, false]),
        (RxFilter::default() | RxFilter::ALL_UNICAST, [true, true, false, false, true]),
        (RxFilter::PROMISCUOUS, [true; 5]),
        (RxFilter::default(), [true, true, false, false, false]),
    ] {
        assert_eq!(bench.up.control.set_filter(filter), Ok(()));
        assert_eq!(bench.pass_to(everyone), expected, "{filter:?}");
    }

    let table = |address| MacTable::of(&[MacAddr(address)]).unwrap();
    let addresses = Change::Addresses { unicast: table(STRANGER), multicast: table(GROUP) };
    assert_eq!(bench.up.control.change(addresses), Ok(()));
    assert_eq!(bench.pass_to(everyone), [true, true, true, false, true]);

    let tagged = [7, 4095, 8].map(|vid| frame(mac, Some(vid)));
    assert_eq!(bench.pass(tagged.clone()), [true, true, false]);
    assert_eq!(bench.up.control.change(Change::Vlan { vid: 8, wanted: true }), Ok(()));
    assert_eq!(bench.up.control.change(Change::Vlan { vid: 7, wanted: false }), Ok(()));
    assert_eq!(bench.pass(tagged.clone()), [false, true, true]);

    let other = [2, 0, 0, 0, 0, 0x77];
    assert_eq!(bench.up.control.change(Change::Mac(MacAddr(other))), Ok(()));
    bench.passes = other;
    assert_eq!(bench.pass_to([mac, other]), [false, true]);

    // A back-end without headers has none to switch. More than was agreed is not even asked for.
    let none = Change::RxOffloads(RxOffloads::empty());
    assert_eq!(bench.up.control.change(none), Err(ChangeError::Refused));
    let large = Change::RxOffloads(RxOffloads::TCP4);
    assert_eq!(bench.up.control.change(large), Err(ChangeError::NotOffered));
    // Nothing to announce: refused by the device itself, and nothing broke.
    assert_eq!(bench.up.control.change(Change::Announced), Err(ChangeError::Refused));
    assert_eq!(bench.up.control.poll().map(|_| ()), Ok(()));

    // By steps, which QEMU takes while nobody waits for it.
    assert_eq!(bench.up.control.submit_change(Change::Filter(RxFilter::default())), Ok(()));
    let control = &mut bench.up.control;
    wait_for(machine.platform(), LIMIT, || control.poll_change().unwrap().then_some(())).unwrap();
    assert_eq!(control.arm(), Ok(Armed::Idle));

    let settings = bench.up.control.settings();
    let device = bench.up.stop().unwrap();
    let mut bench = start(device, settings);
    bench.passes = other;
    assert_eq!(
        bench.pass_to([other, BROADCAST, GROUP, OTHER_GROUP, STRANGER]),
        [true, true, true, false, true]
    );
    assert_eq!(bench.pass_to([mac]), [false]);
    let tagged = [7, 4095, 8].map(|vid| frame(other, Some(vid)));
    assert_eq!(bench.pass(tagged), [false, true, true], "a restart brings all of it back");
    bench.up.stop().unwrap();
    assert_eq!(pool.free(), pool.buffers());
    machine.check().unwrap();
}

fn on_pci(chipset: Chipset, nic: &str) {
    let Some(machine) = Machine::start_or_skip(&Setup::new(chipset).nic(nic)) else { return };
    let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
    let device = pci::open(function, machine.platform().clone(), Device::new).unwrap();
    tell(&machine, device);
}

#[test]
fn split_rings_on_pci() {
    on_pci(Chipset::Q35, "virtio-net-pci,disable-legacy=on");
}

#[test]
fn packed_rings_on_pci() {
    on_pci(Chipset::Q35, "virtio-net-pci,disable-legacy=on,packed=on");
}

#[test]
fn a_transitional_device() {
    on_pci(Chipset::Pc, "virtio-net-pci,disable-legacy=off");
}

/// With `mq=on` and a back-end of one queue: a pair, and the control queue behind it.
#[test]
fn several_pairs_of_which_there_is_one() {
    on_pci(Chipset::Q35, "virtio-net-pci,disable-legacy=on,mq=on");
}

#[test]
fn on_no_bus() {
    let setup = Setup::new(Chipset::Microvm).nic("virtio-net-device,bus=virtio-mmio-bus.1");
    let Some(machine) = Machine::start_or_skip(&setup) else { return };
    let registers = machine.claim_virtio_mmio(1).unwrap();
    let transport = MmioTransport::open(registers).unwrap();
    tell(&machine, Device::new(transport, machine.platform().clone()).unwrap());
}
