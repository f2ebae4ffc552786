//! Machines that nobody set up: no firmware ran, the bridges have no numbers, no BAR has an
//! address. `paravane-pci` does it, and QEMU's own list of the bus says the same. Skipped, with a
//! word about why, where QEMU is not installed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use paravane_hal::irq::Interrupts;

use paravane_net::{Burst, Control as _, FramePool, TxQueue as _};
use paravane_pci::assign::{Outcome, Part};
use paravane_pci::bar::BarKind;
use paravane_pci::bridge::WindowKind;
use paravane_pci::{Command, Found, Function, PciAddress, enumerate_from};
use paravane_qtest_hal::{Chipset, Machine, Setup};
use paravane_virtio::transport::pci;

const LIMIT: Duration = Duration::from_secs(5);

/// One function in the answer to `info pci`.
#[derive(Debug, Default)]
struct Info {
    buses: Option<(u8, u8)>,
    /// Ports, memory, prefetchable memory.
    windows: [Option<(u64, u64)>; 3],
    /// Register, whether in port space, first, last.
    bars: Vec<(u8, bool, u64, u64)>,
}

/// Reads what QEMU prints:
///
/// ```text
///   Bus  0, device   2, function 0:
///     PCI bridge: PCI device 1b36:000c
///       secondary bus 1.
///       subordinate bus 3.
///       IO range [0xc000, 0xcfff]
///       memory range [0xe0000000, 0xe00fffff]
///       prefetchable memory range [0x1000000000, 0x10000fffff]
///       BAR0: 32 bit memory at 0xe0100000 [0xe0100fff].
/// ```
fn parse(text: &str) -> BTreeMap<PciAddress, Info> {
    let number = |text: &str| {
        let digits = text.trim_matches(|sign: char| !sign.is_ascii_alphanumeric());
        match digits.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap(),
            None => digits.parse().unwrap_or_else(|_| panic!("{text}")),
        }
    };
    let small = |text: &str| u8::try_from(number(text)).unwrap();
    let range = |text: &str| {
        let (first, last) = text.split_once(',').unwrap();
        // A window that ends before it starts is closed; one that nobody set starts with 0.
        Some((number(first), number(last))).filter(|(first, last)| *first != 0 && first <= last)
    };
    let mut functions = BTreeMap::<_, Info>::new();
    let mut at = None;
    for line in text.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("Bus") {
            let parts: Vec<_> =
                place.split(',').map(|part| part.split_whitespace().last().unwrap()).collect();
            at = PciAddress::new(0, small(parts[0]), small(parts[1]), small(parts[2]));
            functions.insert(at.unwrap(), Info::default());
        }
        let Some(info) = at.and_then(|at| functions.get_mut(&at)) else { continue };
        if let Some(bus) = line.strip_prefix("secondary bus") {
            info.buses = Some((small(bus), 0));
        } else if let Some(bus) = line.strip_prefix("subordinate bus") {
            info.buses = info.buses.map(|(secondary, _)| (secondary, small(bus)));
        } else if let Some(ends) = line.strip_prefix("IO range") {
            info.windows[0] = range(ends);
        } else if let Some(ends) = line.strip_prefix("memory range") {
            info.windows[1] = range(ends);
        } else if let Some(ends) = line.strip_prefix("prefetchable memory range") {
            info.windows[2] = range(ends);
        } else if let Some(bar) = line.strip_prefix("BAR") {
            let (index, what) = bar.split_once(':').unwrap();
            let (_, place) = what.split_once(" at ").unwrap();
            let (first, last) = place.split_once(' ').unwrap();
            // One without an address is printed as all ones, "at 0xffffffffffffffff".
            if number(last) > number(first) {
                info.bars.push((small(index), what.contains("I/O"), number(first), number(last)));
            }
        }
    }
    functions
}

/// Whether what was given is what QEMU says that its devices have, and is sound.
fn agree(machine: &Machine) {
    // QEMU says where a BAR is once its function answers there.
    let with_bars = machine.resources().iter().filter(|resource| matches!(resource.part(), Part::Bar { .. }));
    for resource in with_bars {
        let mut function = Function::claim(machine.config(), resource.address()).unwrap();
        // One that has only one kind may have the bit for the other fixed.
        let _ = function.enable(Command::IO | Command::MEMORY);
    }
    let text = machine.monitor().command_line("info pci").unwrap();
    let info = parse(&text);
    let mut ranges: BTreeMap<(u8, bool), Vec<(u64, u64)>> = BTreeMap::new();
    let mut behind: BTreeMap<u8, PciAddress> = BTreeMap::new();
    for resource in machine.resources() {
        let seen = &info[&resource.address()];
        let bus = resource.address().bus();
        match (resource.part(), resource.outcome(), resource.range()) {
            (Part::Bar { index, shape }, Outcome::Given, Some((first, last))) => {
                let is_io = shape.kind == BarKind::Io;
                assert!(seen.bars.contains(&(index, is_io, first, last)), "{resource}\n{text}");
                assert!(first.is_multiple_of(shape.len_bytes));
                ranges.entry((bus, is_io)).or_default().push((first, last));
            }
            (Part::Window(kind), outcome, range) => {
                assert_eq!(seen.windows[kind as usize], range, "{resource}\n{text}");
                assert!(matches!(outcome, Outcome::Given | Outcome::Nothing), "{resource}");
                let granule = if kind == WindowKind::Io { 1 << 12 } else { 1 << 20 };
                if let Some((first, last)) = range {
                    assert!(first.is_multiple_of(granule) && (last + 1).is_multiple_of(granule));
                    ranges.entry((bus, kind == WindowKind::Io)).or_default().push((first, last));
                }
            }
            (Part::Buses, Outcome::Given, Some((secondary, subordinate))) => {
                let buses = (u8::try_from(secondary).unwrap(), u8::try_from(subordinate).unwrap());
                assert_eq!(seen.buses, Some(buses), "{resource}\n{text}");
                behind.insert(buses.0, resource.address());
            }
            other => panic!("{resource}: {other:?}"),
        }
    }
    for ((bus, is_io), ranges) in &mut ranges {
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            assert!(pair[0].1 < pair[1].0, "bus {bus}: {pair:x?} overlap\n{text}");
        }
        // Inside a window of the bridge before them.
        let Some(bridge) = behind.get(bus) else { continue };
        let windows = &info[bridge].windows;
        for (first, last) in ranges {
            let windows = if *is_io { &windows[..1] } else { &windows[1..] };
            let covers = |window: &(u64, u64)| window.0 <= *first && *last <= window.1;
            assert!(windows.iter().flatten().any(covers), "{first:#x} behind {bridge}\n{text}");
        }
    }
    // Nothing was passed over: QEMU's list has no address that ours has not.
    let given = machine.resources().iter().filter(|resource| matches!(resource.part(), Part::Bar { .. }));
    assert_eq!(info.values().map(|info| info.bars.len()).sum::<usize>(), given.count(), "{text}");
}

/// The bridges before the NIC.
fn path_to(machine: &Machine, nic: PciAddress) -> Vec<PciAddress> {
    let mut path = None;
    for root in machine.root_buses() {
        enumerate_from(machine.config(), *root, &mut |found| match found {
            Found::Function(found) if found.address == nic => path = Some(found.path.to_vec()),
            Found::Function(_) => {}
            Found::Skipped(skip) => panic!("{skip}"),
        });
    }
    path.unwrap()
}

fn frame() -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5]].concat();
    frame.extend((0..=u8::MAX).cycle().take(286));
    frame
}

/// The driver of NIC 0 starts and sends a frame, which arrives; its link was seen before.
fn carry_a_frame(machine: &Machine, bridges: usize) {
    let nic = machine.nic_address(0).unwrap();
    let path = path_to(machine, nic);
    assert_eq!(path.len(), bridges, "{path:?}");
    let function = Function::claim(machine.config().clone(), nic).unwrap();
    function.enable_path(&path).unwrap();
    let is_virtio = function.ids().vendor == 0x1af4;
    let pool = FramePool::new(machine.platform().clone(), paravane_net::FrameLayout::new(400)).unwrap();
    let mut burst = Burst::new();
    let mut out = pool.get().unwrap();
    assert!(out.append(&frame()));
    burst.push(out);
    if is_virtio {
        let device =
            pci::open(function, machine.platform().clone(), paravane_virtio::net::Device::new).unwrap();
        let config = paravane_virtio::net::Config::default();
        let mut running = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
        assert!(running.control.link().is_up());
        assert_eq!(running.tx.transmit(&mut burst), Ok(1));
        running.tx.flush();
        assert_eq!(machine.cable(0).unwrap().receive_by(LIMIT), Some(frame()));
        running.stop().unwrap();
    } else {
        let device = paravane_vmxnet3::Device::new(function, machine.platform().clone()).unwrap();
        let config = paravane_vmxnet3::Config::default();
        let mut running = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
        assert!(running.control.link().is_up());
        assert_eq!(running.tx.transmit(&mut burst), Ok(1));
        running.tx.flush();
        assert_eq!(machine.cable(0).unwrap().receive_by(LIMIT), Some(frame()));
        running.stop().unwrap();
    }
    machine.check().unwrap();
}

fn with(mut setup: Setup, devices: &[&str]) -> Setup {
    for device in devices {
        setup = setup.arguments(["-device", device]);
    }
    setup
}

#[test]
fn a_nic_behind_three_express_bridges_is_reached() {
    let switch = [
        "pcie-root-port,id=rp0,slot=1,chassis=1",
        "x3130-upstream,id=up,bus=rp0",
        "xio3130-downstream,id=down0,bus=up,slot=2,chassis=2",
        "xio3130-downstream,id=down1,bus=up,slot=3,chassis=3",
        "pcie-root-port,id=rp1,slot=4,chassis=4",
        "edu,bus=down0",
        "pci-testdev,membar=64M,bus=rp1",
        "edu",
    ];
    for nic in ["vmxnet3", "virtio-net-pci,disable-legacy=on"] {
        let setup = with(Setup::new(Chipset::Q35), &switch).nic(&format!("{nic},bus=down1"));
        let Some(machine) = Machine::start_or_skip(&setup) else { return };
        agree(&machine);
        carry_a_frame(&machine, 3);
    }
}

#[test]
fn a_nic_behind_three_conventional_bridges_is_reached() {
    let chain = [
        "pci-bridge,id=b0,chassis_nr=1,addr=3",
        "pci-bridge,id=b1,bus=b0,chassis_nr=2,addr=1",
        "pci-bridge,id=b2,bus=b1,chassis_nr=3,addr=2",
        "pci-testdev,membar=4M,bus=b1,addr=5",
        "edu,bus=b0,addr=7",
        "edu,addr=9",
    ];
    for nic in ["vmxnet3", "virtio-net-pci,disable-modern=off"] {
        let setup = with(Setup::new(Chipset::Pc), &chain).nic(&format!("{nic},bus=b2,addr=4"));
        let Some(machine) = Machine::start_or_skip(&setup) else { return };
        agree(&machine);
        carry_a_frame(&machine, 3);
    }
}

#[test]
fn prefetchable_memory_goes_beyond_4_gib() {
    let devices = ["pcie-root-port,id=rp0,slot=1,chassis=1", "pci-testdev,membar=8G,bus=rp0"];
    let Some(machine) = Machine::start_or_skip(&with(Setup::new(Chipset::Q35), &devices)) else { return };
    agree(&machine);
    let far = machine.resources().iter().filter_map(paravane_pci::Resource::range);
    assert!(far.clone().any(|(first, last)| first > u32::MAX.into() && last - first == (8 << 30) - 1));
}

#[test]
fn a_nic_on_another_root_bus_is_reached() {
    for (chipset, root, slot, expander, port) in [
        (Chipset::Pc, "pci.0", 1, "pxb,id=x,bus_nr=0x80", "pci-bridge,id=p,bus=x,chassis_nr=5,addr=1"),
        (
            Chipset::Q35,
            "pcie.0",
            0,
            "pxb-pcie,id=x,bus_nr=0x80,addr=3",
            "pcie-root-port,id=p,bus=x,slot=5,chassis=5",
        ),
    ] {
        let setup = with(Setup::new(chipset), &[expander, port, &format!("edu,bus={root},addr=9")])
            .nic(&format!("vmxnet3,bus=p,addr={slot}"));
        let Some(machine) = Machine::start_or_skip(&setup) else { return };
        assert_eq!(machine.root_buses(), [0, 0x80]);
        agree(&machine);
        let nic = machine.nic_address(0).unwrap();
        assert!(nic.bus() > 0x80, "{nic}");
        carry_a_frame(&machine, path_to(&machine, nic).len());
    }
}
