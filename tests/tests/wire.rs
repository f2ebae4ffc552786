//! Four drivers, two kinds of device, two wires: a station sends, a forwarder passes frames from
//! one kind of device to the other, a second station sends them back. Past the first station, no
//! one copies a byte: what was received is what is sent.
//!
//! ```text
//! station (vmxnet3) --- wire --- virtio | forwarder | vmxnet3 --- wire --- station (virtio)
//! ```

#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "tests")]

use std::fs;
use std::time::Duration;

use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::virtio::{self, Net, Virtio, net::bits};
use paravane_mock_hal::model::vmxnet3::{self, Vmxnet3};
use paravane_mock_hal::wire::{Habits, Wire, WireCounters};
use paravane_mock_hal::{MockPlatform, PciHost, pcap};
use paravane_net::{
    Burst, ChecksumRequest, FrameLayout, FramePool, RxChecksum, RxOffloads, RxQueue, Segmentation,
    SegmentationKind, TxOffload, TxQueue,
};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::transport::pci::{self, Pci};

const FRAMES: u32 = 3_000;
const SLOT: PciAddress = PciAddress::new(0, 0, 4, 0).unwrap();
const OTHER_SLOT: PciAddress = PciAddress::new(0, 0, 5, 0).unwrap();
const THIRD_SLOT: PciAddress = PciAddress::new(0, 0, 6, 0).unwrap();
const FOURTH_SLOT: PciAddress = PciAddress::new(0, 0, 7, 0).unwrap();

type VirtioUp = paravane_virtio::net::Running<MockPlatform, Pci<MockPlatform, PciHost>>;
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
    virtio_net_up(platform, pool, SLOT, net, personality)
}

fn virtio_net_up(
    platform: &MockPlatform,
    pool: &FramePool,
    slot: PciAddress,
    net: Net,
    personality: virtio::Personality,
) -> (virtio::Plugged<Net>, VirtioUp) {
    let plugged = Virtio::plug(platform, slot, net, personality);
    let function = Function::claim(plugged.host.clone(), slot).unwrap();
    let device = pci::open(function, platform.clone(), paravane_virtio::net::Device::new).unwrap();
    let config = paravane_virtio::net::Config::default().with_tx_entries(64).with_rx_entries(64);
    let up = device.start(&config, pool.clone(), Interrupts::POLLING).unwrap();
    (plugged, up)
}

fn vmxnet3_up(
    platform: &MockPlatform,
    pool: &FramePool,
    personality: vmxnet3::Personality,
) -> (vmxnet3::Plugged, Vmxnet3Up) {
    let config = paravane_vmxnet3::Config::default().with_tx_entries(64).with_rx_entries(64);
    vmxnet3_up_with(platform, pool, personality, &config)
}

fn vmxnet3_up_with(
    platform: &MockPlatform,
    pool: &FramePool,
    personality: vmxnet3::Personality,
    config: &paravane_vmxnet3::Config,
) -> (vmxnet3::Plugged, Vmxnet3Up) {
    let plugged = Vmxnet3::plug(platform, OTHER_SLOT, [2, 0, 0, 0, 0, 5], personality);
    let function = Function::claim(plugged.config.clone(), OTHER_SLOT).unwrap();
    let device = paravane_vmxnet3::Device::new(function, platform.clone()).unwrap();
    let up = device.start(config, pool.clone(), Interrupts::POLLING).unwrap();
    (plugged, up)
}

/// Receives what is there and sends the same frames on. What does not fit yet stays in `held`.
fn forward(rx: &mut impl RxQueue, tx: &mut impl TxQueue, held: &mut Burst) {
    rx.receive(held).unwrap();
    tx.transmit(held).unwrap();
    tx.flush();
    tx.reclaim().unwrap();
}

/// Sends [`FRAMES`] frames around. Which ones came back, in order, and what went over the two
/// wires.
fn around(
    personalities: (virtio::Personality, vmxnet3::Personality),
    habits: Habits,
    tap: Option<fs::File>,
) -> (Vec<u32>, [WireCounters; 2]) {
    let (near, middle, far) = (MockPlatform::new(), MockPlatform::new(), MockPlatform::new());
    let pools = [&near, &middle, &far]
        .map(|platform| FramePool::new(platform.clone(), FrameLayout::new(512)).unwrap());
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
            out.push(frame);
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
    assert!(pools.iter().all(|pool| pool.free() == pool.buffers()), "every frame is home");
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
    // Every loss takes one frame out of the round, every double puts one in; the drivers do
    // neither.
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

/// A UDP datagram that says "odd", from a neighbour on the same host: its checksum field holds
/// `checksum`.
fn datagram(checksum: u16) -> Vec<u8> {
    let [high, low] = checksum.to_be_bytes();
    [&[0xff; 34][..], &[0x03, 0xe8, 0x07, 0xd0, 0, 11, high, low], b"odd", &[0; 15]].concat()
}

/// The header of a frame whose checksum is to be completed: `NEEDS_CSUM`, `csum_start` 34,
/// `csum_offset` 6.
const PARTIAL: [u8; 12] = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
/// The pseudo-header's sum, and the checksum that follows from it.
const SUMS: [u16; 2] = [0x141f, 0x0cb9];

#[test]
fn a_checksum_left_partial_is_complete_on_the_wire() {
    let platform = MockPlatform::new();
    let pool = FramePool::new(platform.clone(), FrameLayout::new(512)).unwrap();
    let qemu = virtio::Personality::qemu();
    let net = |mac, features| Net::new([2, 0, 0, 0, 0, mac]).with_features(features);
    let (near, mut from) = virtio_net_up(&platform, &pool, SLOT, net(4, bits::GUEST_CSUM), qemu);
    let (vmxnet3_model, mut vmxnet3) = vmxnet3_up(&platform, &pool, vmxnet3::Personality::esxi());
    let mut receive = || {
        assert!(near.lock().deliver_with(PARTIAL, &datagram(SUMS[0])));
        let mut burst = Burst::new();
        assert_eq!(from.rx.receive(&mut burst), Ok(1));
        let frame = burst.pop().unwrap();
        assert!(matches!(frame.rx_checksum(), RxChecksum::Partial(_)));
        burst.push(frame);
        burst
    };

    // A device that can is asked.
    assert_eq!(vmxnet3.tx.transmit(&mut receive()), Ok(1));
    vmxnet3.tx.flush();
    let [sent] = &vmxnet3_model.model.lock().unwrap().take_sent()[..] else { panic!("one frame") };
    assert_eq!((sent.om, sent.hlen, sent.msscof), (2, 34, 40));
    assert_eq!(sent.bytes, datagram(SUMS[0]));
    let (able, mut up) = virtio_net_up(&platform, &pool, THIRD_SLOT, net(6, bits::CSUM), qemu);
    assert_eq!(up.tx.transmit(&mut receive()), Ok(1));
    let [sent] = &able.lock().take_sent()[..] else { panic!("one frame") };
    assert_eq!((sent.header, &sent.bytes), (PARTIAL, &datagram(SUMS[0])));
    assert!(up.control.stop(up.rx, up.tx).is_ok());

    // For one that cannot, the driver does it.
    let (unable, mut up) = virtio_net_up(&platform, &pool, FOURTH_SLOT, net(7, 0), qemu);
    assert_eq!(up.tx.transmit(&mut receive()), Ok(1));
    let [sent] = &unable.lock().take_sent()[..] else { panic!("one frame") };
    assert_eq!((sent.header, &sent.bytes), ([0; 12], &datagram(SUMS[1])));
    assert!(up.control.stop(up.rx, up.tx).is_ok());
    assert!(vmxnet3.control.stop(vmxnet3.rx, vmxnet3.tx).is_ok());
    assert!(from.control.stop(from.rx, from.tx).is_ok());
    assert_eq!(pool.free(), pool.buffers());
}

/// A packet of 60 000 bytes over IPv4 or IPv6, with a TCP header of eight words, its checksum left
/// open; and the header in front of it where it is cut into pieces of 1448 bytes.
fn large(is_ip6: bool) -> (Vec<u8>, [u8; 12]) {
    large_of(is_ip6, 60_000)
}

/// The same, of that length.
fn large_of(is_ip6: bool, len_bytes: usize) -> (Vec<u8>, [u8; 12]) {
    let start: u8 = if is_ip6 { 54 } else { 34 };
    let kind = if is_ip6 { 4 } else { 1 };
    let mut packet: Vec<u8> = (0..len_bytes).map(|i| (i % 251) as u8).collect();
    packet[..6].fill(0xff);
    let behind_ip = u16::try_from(len_bytes - usize::from(start)).unwrap();
    let addresses = if is_ip6 {
        packet[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        packet[18..20].copy_from_slice(&behind_ip.to_be_bytes());
        packet[20] = 6;
        &packet[22..54]
    } else {
        packet[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        packet[16..18].copy_from_slice(&(behind_ip + 20).to_be_bytes());
        packet[20..22].fill(0);
        packet[23] = 6;
        &packet[26..34]
    };
    let words = addresses.as_chunks().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let sum = words.sum::<u32>() + u32::from(behind_ip) + 6;
    let sum = u16::try_from(sum % 0xffff).unwrap();
    packet[usize::from(start) + 16..][..2].copy_from_slice(&sum.to_be_bytes());
    packet[usize::from(start) + 12] = 8 << 4;
    (packet, [1, kind, start + 32, 0, 0xa8, 0x05, start, 0, 16, 0, 0, 0])
}

/// `packet` as vmxnet3 wants it that is to cut it: IPv4's checksum empty, and no length in the sum
/// of the pseudo-header.
fn as_vmxnet3_cuts(packet: &[u8], is_ip6: bool) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let start = if is_ip6 { 54 } else { 34 };
    if !is_ip6 {
        packet[24..26].fill(0);
    }
    let sum = u32::from(u16::from_be_bytes([packet[start + 16], packet[start + 17]]));
    let len = u32::try_from(packet.len() - start).unwrap();
    let sum = u16::try_from((sum + 0xffff - len) % 0xffff).unwrap();
    packet[start + 16..][..2].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// In buffers so long that no packet takes more than vmxnet3 has descriptors for.
#[test]
fn a_large_packet_leaves_through_the_other_devices_segmentation_as_it_came() {
    let platform = MockPlatform::new();
    let layout = FrameLayout::new(1024).with_buffer_bytes(4096);
    let pool = FramePool::new(platform.clone(), layout).unwrap();
    let qemu = virtio::Personality::qemu();
    let (model, mut up) = {
        let plugged = Virtio::plug(&platform, SLOT, Net::of(&qemu, [2, 0, 0, 0, 0, 4]), qemu);
        let function = Function::claim(plugged.host.clone(), SLOT).unwrap();
        let device = pci::open(function, platform.clone(), paravane_virtio::net::Device::new).unwrap();
        let config = paravane_net::Config::default().with_rx_offloads(RxOffloads::TCP4 | RxOffloads::TCP6);
        (plugged, device.start(&config.into(), pool.clone(), Interrupts::POLLING).unwrap())
    };
    let jumbo = paravane_vmxnet3::Config::default().with_rx_entries(64).with_ip_mtu_bytes(9000);
    let esxi = vmxnet3::Personality::esxi();
    let (vmxnet3_model, mut vmxnet3) = vmxnet3_up_with(&platform, &pool, esxi, &jumbo);
    let mut burst = Burst::new();
    for is_ip6 in [false, true] {
        let (packet, header) = large(is_ip6);
        let [_, kind, header_bytes, ..] = header;
        assert!(model.lock().deliver_large(kind, 1448, (header[6].into(), 16), &packet));
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        assert_eq!(vmxnet3.tx.transmit(&mut burst), Ok(1));
        vmxnet3.tx.flush();
        let sent = vmxnet3_model.model.lock().unwrap().take_sent();
        let [sent] = &sent[..] else { panic!("one packet") };
        // Segmentation, behind headers of that length, into such pieces.
        assert_eq!((sent.om, sent.hlen, sent.msscof), (3, header_bytes.into(), 1448));
        assert!(sent.bytes == as_vmxnet3_cuts(&packet, is_ip6));
        assert_eq!(vmxnet3.tx.reclaim(), Ok(1));
        assert_eq!(vmxnet3.tx.counters().refused, 0);

        // And back: a frame over many buffers of vmxnet3's, which is to be cut by virtio.
        let (back, _) = large_of(is_ip6, 9000);
        assert!(vmxnet3_model.model.lock().unwrap().deliver(&back));
        assert_eq!(vmxnet3.rx.receive(&mut burst), Ok(1));
        let mut frame = burst.pop().unwrap();
        let checksum = ChecksumRequest { start_bytes: header[6].into(), offset_bytes: 16 };
        let kind = if is_ip6 { SegmentationKind::Tcp6 } else { SegmentationKind::Tcp4 };
        let cut = Segmentation { kind, header_bytes: header_bytes.into(), mss_bytes: 1448, ecn: false };
        frame.set_offload(TxOffload { checksum: Some(checksum), segmentation: Some(cut) });
        burst.push(frame);
        assert_eq!(up.tx.transmit(&mut burst), Ok(1));
        let sent = model.lock().take_sent();
        let [sent] = &sent[..] else { panic!("one packet") };
        assert_eq!((sent.header, &sent.bytes), (header, &back));
        assert_eq!(up.tx.reclaim(), Ok(1));
    }
    assert_eq!(model.lock().violations, [""; 0]);
    assert_eq!(vmxnet3_model.model.lock().unwrap().violations, [""; 0]);
    assert!(vmxnet3.control.stop(vmxnet3.rx, vmxnet3.tx).is_ok());
    assert!(up.control.stop(up.rx, up.tx).is_ok());
    assert_eq!(pool.free(), pool.buffers());
}
