//! What QEMU's vmxnet3 is told while it runs: address, groups, VLANs; and that it comes back with
//! all of it. Skipped, with a word about why, where QEMU is not installed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::result_large_err,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::time::Duration;

use paravane_hal::fault::DeviceFault;
use paravane_hal::irq::Interrupts;
use paravane_hal::time::wait_for;
use paravane_net::{
    Burst, Change, Control as _, FrameLayout, FramePool, MacAddr, MacTable, RxFilter, RxQueue as _,
    TxQueue as _,
};
use paravane_pci::Function;
use paravane_qtest_hal::{Chipset, Machine, Qtest, Setup};
use paravane_vmxnet3::{Config, Device, Running};

const LIMIT: Duration = Duration::from_secs(10);

type Up = Running<Qtest, paravane_qtest_hal::Config>;

const fn group(low: u8) -> MacAddr {
    MacAddr([1, 0, 0x5e, 0, 0, low])
}

/// A frame to an address; in a VLAN, where one is named.
fn frame(to: MacAddr, vid: Option<u16>) -> Vec<u8> {
    let tag = vid.map(|vid| [&[0x81, 0][..], &vid.to_be_bytes()].concat()).unwrap_or_default();
    let mut frame = [&to.0[..], &[2, 0, 0, 0, 0, 9], &tag, &[0x88, 0xb5]].concat();
    frame.resize(64, 7);
    frame
}

/// Which of these are received. Behind them comes one that always is.
fn heard(machine: &Machine, up: &mut Up, frames: &[Vec<u8>]) -> Vec<bool> {
    let mut own = frame(up.control.info().mac, None);
    // Unlike all of theirs, of which one may be to us.
    own.push(1);
    let mut seen = Vec::new();
    for bytes in frames.iter().chain([&own]) {
        machine.cable(0).unwrap().send(bytes).unwrap();
    }
    wait_for(machine.platform(), LIMIT, || {
        let mut burst = Burst::new();
        up.rx.receive(&mut burst).unwrap();
        while let Some(frame) = burst.pop() {
            let mut bytes = vec![0; frame.total_bytes()];
            frame.copy_out(&mut bytes).unwrap();
            seen.push(bytes);
        }
        (seen.last() == Some(&own)).then_some(())
    })
    .unwrap();
    frames.iter().map(|frame| seen.contains(frame)).collect()
}

#[test]
fn it_is_told_while_it_runs_and_comes_back_with_all_of_it() {
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic("vmxnet3")) else { return };
    let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
    let device = Device::new(function, machine.platform().clone()).unwrap();
    let pool = FramePool::new(machine.platform().clone(), FrameLayout::new(1000)).unwrap();
    let config = Config::default().with_pairs(2);
    let mut up = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
    let permanent = up.control.info().mac;
    let probes = [
        frame(group(1), None),
        frame(group(2), None),
        frame(permanent, Some(5)),
        frame(permanent, Some(6)),
        frame(MacAddr::local(7), None),
    ];
    assert_eq!(heard(&machine, &mut up, &probes), [false, false, true, true, false]);
    let groups = MacTable::of(&[group(2), group(3)]).unwrap();
    let addresses = Change::Addresses { unicast: MacTable::EMPTY, multicast: groups };
    for change in [addresses, Change::Vlan { vid: 5, wanted: true }] {
        assert_eq!(up.control.change(change), Ok(()));
    }
    assert_eq!(heard(&machine, &mut up, &probes), [false, true, true, false, false]);
    assert_eq!(up.control.change(Change::Mac(MacAddr::local(7))), Ok(()));
    let with_another = [false, true, false, false, true];
    assert_eq!(heard(&machine, &mut up, &probes), with_another);

    let (settings, counted) = (up.control.settings(), up.control.read_device_stats().unwrap().unwrap());
    let mut up = up.recover(Interrupts::POLLING).unwrap();
    assert_eq!(up.control.settings(), settings);
    assert_eq!(heard(&machine, &mut up, &probes), with_another);
    let since = up.control.read_device_stats().unwrap().unwrap();
    assert!(since.rx_frames > counted.rx_frames, "{since:?} after {counted:?}");

    let further = |unicast: &[MacAddr]| Change::Addresses {
        unicast: MacTable::of(unicast).unwrap(),
        multicast: groups,
    };
    assert_eq!(up.control.change(further(&[MacAddr::local(8)])), Ok(()));
    let of_another = [frame(MacAddr::local(8), None), frame(MacAddr::local(7), Some(6))];
    // Promiscuous, it looks at no VLAN.
    assert_eq!(heard(&machine, &mut up, &of_another), [true, true]);
    assert_eq!(up.control.change(further(&[])), Ok(()));
    let filter = |filter| Change::Filter(filter);
    assert_eq!(up.control.change(filter(RxFilter::PROMISCUOUS)), Ok(()));
    assert_eq!(heard(&machine, &mut up, &probes), [true; 5]);
    assert_eq!(up.control.change(filter(RxFilter::UNICAST | RxFilter::ALL_MULTICAST)), Ok(()));
    assert_eq!(heard(&machine, &mut up, &probes), [true, true, false, false, true]);
    up.stop().unwrap();
    assert_eq!(pool.free(), pool.buffers());
    machine.check().unwrap();
}

/// A frame that is never completed.
#[test]
fn a_device_that_sends_nothing_is_noticed() {
    let Some(machine) = Machine::start_or_skip(&Setup::new(Chipset::Q35).nic("vmxnet3")) else { return };
    let function = Function::claim(machine.config().clone(), machine.nic_address(0).unwrap()).unwrap();
    let device = Device::new(function, machine.platform().clone()).unwrap();
    let pool = FramePool::new(machine.platform().clone(), FrameLayout::new(1000)).unwrap();
    let mut up = device.start(&Config::default(), pool.clone(), Interrupts::POLLING).unwrap();
    let mut burst = Burst::new();
    let mut out = pool.get().unwrap();
    assert!(out.append(&frame(MacAddr::local(1), None)));
    burst.push(out);
    assert_eq!(up.tx.transmit(&mut burst), Ok(1));
    // It did send it, and nobody looks for that: to control it is the same.
    let counters = up.tx.counters();
    let fault = wait_for(machine.platform(), LIMIT, || {
        up.control.watch(counters.into(), Duration::from_millis(50)).err()
    });
    assert_eq!(fault, Ok(DeviceFault::NoAnswer { after_ms: 50 }));
    let up = up.recover(Interrupts::POLLING).unwrap();
    up.stop().unwrap();
    assert_eq!(pool.free(), pool.buffers());
    machine.check().unwrap();
}
