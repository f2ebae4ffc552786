//! Four drivers, two kinds of device, two wires: a station sends, a forwarder passes frames from one kind of device to the other, a second station sends
//! them back. Past the first station, no one copies a byte: what was received is what is sent.
//!
//! ```text
//! station (vmxnet3) --- wire --- virtio | forwarder | vmxnet3 --- wire --- station (virtio)
//! ```

#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "tests")]

use std::fs;
use std::time::Duration;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::virtio::{self, Net, Virtio};
use paravane_mock_hal::model::vmxnet3::{self, Vmxnet3};
use paravane_mock_hal::wire::{Habits, Wire, WireCounters};
use paravane_mock_hal::{MockPlatform, PciHost, pcap};
use paravane_net::{Burst, FramePool, RxQueue, TxQueue};
use paravane_pci::{Function, PciAddress};

const FRAMES: u32 = 3_000;
const SLOT: PciAddress = PciAddress::new(0, 0, 4, 0).unwrap();
const OTHER_SLOT: PciAddress = PciAddress::new(0, 0, 5, 0).unwrap();

type VirtioUp = paravane_virtio::net::Running<MockPlatform, PciHost>;
type Vmxnet3Up = paravane_vmxnet3::Running<MockPlatform, PciHost>;

/// A frame to everybody that says which one it is, in one of all sizes.
fn numbered(number: u32) -> Vec<u8> {
    let len = 60 + number as usize * 37 % 1455;
    [0xff; 6].into_iter().chain(number.to_le_bytes().into_iter().cycle()).take(len).collect()
}

fn virtio_up(
    platform: &MockPlatform,
    pool: &FramePool,
    personality: virtio::Personality,
) -> (virtio::Plugged<Net>, VirtioUp) {
    let net = Net::of(&personality, [2, 0, 0, 0, 0, 4]);
    let plugged = Virtio::plug(platform, SLOT, net, personality);
    let function = Function::claim(plugged.host.clone(), SLOT).unwrap();
    let device =
        paravane_virtio::net::Device::new(function, platform.clone()).map_err(|(error, _)| error).unwrap();
    let config = paravane_virtio::net::Config { tx_entries: 64, rx_entries: 64, ..Default::default() };
    let up = device.start(&config, pool.clone(), Interrupts::Polling).map_err(|(error, _)| error).unwrap();
    (plugged, up)
}

fn vmxnet3_up(
    platform: &MockPlatform,
    pool: &FramePool,
    personality: vmxnet3::Personality,
) -> (vmxnet3::Plugged, Vmxnet3Up) {
    let plugged = Vmxnet3::plug(platform, OTHER_SLOT, [2, 0, 0, 0, 0, 5], personality);
    let function = Function::claim(plugged.config.clone(), OTHER_SLOT).unwrap();
    let device =
        paravane_vmxnet3::Device::new(function, platform.clone()).map_err(|(error, _)| error).unwrap();
    let config = paravane_vmxnet3::Config { tx_entries: 64, rx_entries: 64, ..Default::default() };
    let up = device.start(&config, pool.clone(), Interrupts::Polling).map_err(|(error, _)| error).unwrap();
    (plugged, up)
}

/// Receives what is there and sends the same frames on. What does not fit yet stays in `held`.
fn forward(rx: &mut impl RxQueue, tx: &mut impl TxQueue, held: &mut Burst) {
    rx.receive(held).unwrap();
    tx.transmit(held).unwrap();
    tx.flush();
    tx.reclaim().unwrap();
}

/// Sends [`FRAMES`] frames around. Which ones came back, in order, and what went over the two wires.
fn around(
    personalities: (virtio::Personality, vmxnet3::Personality),
    habits: Habits,
    tap: Option<fs::File>,
) -> (Vec<u32>, [WireCounters; 2]) {
    let (near, middle, far) = (MockPlatform::new(), MockPlatform::new(), MockPlatform::new());
    let pools =
        [&near, &middle, &far].map(|platform| FramePool::new(platform.clone(), 512, 2048, 64).unwrap());
    let (virtio, vmxnet3) = personalities;
    let (near_model, mut station) = vmxnet3_up(&near, &pools[0], vmxnet3);
    let (left_model, mut left) = virtio_up(&middle, &pools[1], virtio);
    let (right_model, mut right) = vmxnet3_up(&middle, &pools[1], vmxnet3);
    let (far_model, mut mirror) = virtio_up(&far, &pools[2], virtio);
    let clock = middle.clock();
    let mut wires = (
        Wire::new(clock, near_model.model.clone(), left_model.model.clone(), habits).waiting(),
        Wire::new(
            clock,
            right_model.model.clone(),
            far_model.model.clone(),
            Habits { seed: habits.seed + 1, ..habits },
        )
        .waiting(),
    );
    if let Some(file) = tap {
        wires.0.tap(file).unwrap();
    }

    let (mut next, mut idle_turns) = (0, 0);
    let mut back = Vec::new();
    let [mut out, mut there, mut returned, mut mirrored] =
        [Burst::new(), Burst::new(), Burst::new(), Burst::new()];
    // A still machine has nothing left; a wire with a delay is not still before its frames arrived.
    while idle_turns < 50 {
        while next < FRAMES && out.len() < 16 {
            let Some(mut frame) = pools[0].get() else { break };
            assert!(frame.append(&numbered(next)));
            out.push(frame).map_err(|_| "full").unwrap();
            next += 1;
        }
        station.tx.transmit(&mut out).unwrap();
        station.tx.flush();
        station.tx.reclaim().unwrap();
        let mut moved = wires.0.turn().unwrap();
        forward(&mut left.rx, &mut right.tx, &mut there);
        moved += wires.1.turn().unwrap();
        forward(&mut mirror.rx, &mut mirror.tx, &mut mirrored);
        moved += wires.1.turn().unwrap();
        forward(&mut right.rx, &mut left.tx, &mut returned);
        moved += wires.0.turn().unwrap();
        let mut arrived = Burst::new();
        station.rx.receive(&mut arrived).unwrap();
        while let Some(frame) = arrived.pop() {
            let mut bytes = vec![0; frame.total_bytes()];
            frame.copy_out(&mut bytes).unwrap();
            let number = u32::from_le_bytes(bytes[6..10].try_into().unwrap());
            assert_eq!(bytes, numbered(number), "whole and unchanged");
            back.push(number);
        }
        if moved == 0 {
            idle_turns += 1;
            wires.0.drain();
            wires.1.drain();
        } else {
            idle_turns = 0;
        }
        clock.advance(Duration::from_micros(50));
    }

    assert_eq!(wires.0.under_way() + wires.1.under_way(), 0);
    let counters = [wires.0.counters(), wires.1.counters()];
    for model in [&left_model, &far_model] {
        assert_eq!(model.lock().violations, Vec::<String>::new());
        assert_eq!(model.lock().refusals, Vec::<String>::new());
    }
    for model in [&near_model, &right_model] {
        assert_eq!(model.model.lock().unwrap().violations, Vec::<String>::new());
    }
    drop((out, there, returned, mirrored));
    assert!(station.control.stop(station.rx, station.tx).is_ok());
    assert!(left.control.stop(left.rx, left.tx).is_ok());
    assert!(right.control.stop(right.rx, right.tx).is_ok());
    assert!(mirror.control.stop(mirror.rx, mirror.tx).is_ok());
    assert!(pools.iter().all(|pool| pool.free() == pool.frames()), "every frame is home");
    (back, counters)
}

#[test]
fn a_good_wire_brings_every_frame_back_in_order_on_every_monitor() {
    for vmxnet3 in [vmxnet3::Personality::qemu(), vmxnet3::Personality::esxi()] {
        for virtio in virtio::Personality::all() {
            let (back, _) = around((virtio, vmxnet3), Habits::default(), None);
            assert!(back.iter().copied().eq(0..FRAMES), "{}: {} frames", virtio.name, back.len());
        }
    }
}

#[test]
fn a_bad_wire_loses_and_doubles_exactly_what_it_says() {
    let habits = Habits {
        delay: Duration::from_millis(1),
        lost_per_million: 50_000,
        doubled_per_million: 30_000,
        reordered_per_million: 20_000,
        seed: 11,
    };
    let (back, counters) = around((virtio::Personality::qemu(), vmxnet3::Personality::qemu()), habits, None);
    let lost: u64 = counters.iter().map(|wire| wire.lost).sum();
    let doubled: u64 = counters.iter().map(|wire| wire.doubled).sum();
    assert!(lost > 0 && doubled > 0 && counters.iter().all(|wire| wire.reordered > 0 && wire.refused == 0));
    // Every loss takes one frame out of the round, every double puts one in; the drivers do neither.
    assert_eq!(back.len() as u64, u64::from(FRAMES) - lost + doubled);
}

#[test]
fn a_tap_writes_a_capture_of_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wire.pcap");
    let file = fs::File::create(&path).unwrap();
    let personalities = (virtio::Personality::firecracker(), vmxnet3::Personality::qemu());
    around(personalities, Habits::default(), Some(file));
    let frames = pcap::parse(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(frames.len(), 2 * FRAMES as usize);
    let count = |number: u32| frames.iter().filter(|frame| frame.bytes == numbered(number)).count();
    assert_eq!((count(0), count(FRAMES - 1)), (2, 2), "out and back");
    assert!(frames.is_sorted_by_key(|frame| frame.at_nanos));
}
