use paravane_hal::addr::Align;
use paravane_hal::dma::{DeviceTag, DmaBox};
use paravane_mock_hal::MockPlatform;

use super::*;
use crate::ring::AnyRing;
use crate::ring::referee::Referee;

/// A ring of three, the device, and memory to be posted.
fn bench(event_idx: bool) -> (AnyRing<MockPlatform>, Referee, Segment) {
    let of = DeviceDma::new(MockPlatform::builder().allow_leaks().build(), DeviceTag::unique(), 64);
    let ring = PackedRing::new(&of, QueueSize::new(3).unwrap(), event_idx).unwrap();
    let mut ring = AnyRing::Packed(ring);
    let device = Referee::new(&mut ring, 0);
    let memory = DmaBox::<u8, _>::array_zeroed(&of, 64, Align::BYTE).unwrap();
    (ring, device, Segment { addr: memory.dma_addr(), len_bytes: 64, writable: true })
}

fn packed(ring: &mut AnyRing<MockPlatform>) -> &mut PackedRing<MockPlatform> {
    match ring {
        AnyRing::Packed(ring) => ring,
        AnyRing::Split(_) => unreachable!("it was made"),
    }
}

/// How many of the next completions are about the chain numbered 0, and what else the next one is.
fn in_turn(ring: &mut AnyRing<MockPlatform>) -> (u16, Behind) {
    let mut completions = packed(ring).completions(1);
    (completions.are_about(0), completions.behind())
}

#[test]
fn a_batch_is_shown_with_its_first_descriptor() {
    let (mut ring, mut device, segment) = bench(false);
    for lap in 0..5 {
        for number in 0..3 {
            packed(&mut ring).post(number, segment);
            assert!(device.fetch(&ring).is_empty(), "lap {lap}: nothing is shown yet");
        }
        assert_eq!(packed(&mut ring).publish(), Some(true));
        assert_eq!(packed(&mut ring).publish(), None);
        assert_eq!(device.fetch(&ring).len(), 3);
        for _ in 0..3 {
            let chain = device.take(0);
            device.complete(&ring, &chain, chain.id.into(), 9);
            let used = packed(&mut ring).read_used().unwrap();
            assert_eq!(used, UsedElement { id: chain.id.into(), len: 9 });
            packed(&mut ring).took(1, 1);
        }
        assert_eq!(packed(&mut ring).read_used(), None);
    }
}

#[test]
fn marks_of_another_lap_are_no_completion() {
    let (mut ring, device, segment) = bench(false);
    packed(&mut ring).post(0, segment);
    packed(&mut ring).publish();
    for flags in [0, 0x80, 0x8000, 0x7f7f] {
        device.write_used(packed(&mut ring), flags << 16, 64);
        assert_eq!((packed(&mut ring).is_used(1), packed(&mut ring).read_used()), (false, None));
        assert_eq!(in_turn(&mut ring), (0, Behind::NotThere));
    }
    device.write_used(packed(&mut ring), 0x8080 << 16, 64);
    assert_eq!((packed(&mut ring).is_used(1), in_turn(&mut ring)), (true, (1, Behind::Unread)));
}

#[test]
fn nothing_is_waiting_where_nothing_is_in_flight() {
    let (mut ring, device, _) = bench(false);
    device.write_used(packed(&mut ring), 0x8080 << 16, 64);
    assert_eq!((packed(&mut ring).waiting(), packed(&mut ring).is_used(0)), (0, false));
}

#[test]
fn the_doorbell_is_owed_as_the_device_wishes() {
    let owed = |event_idx: bool, wish: u32| {
        let (mut ring, _, segment) = bench(event_idx);
        packed(&mut ring).memory().store_device_wish(wish);
        packed(&mut ring).post(0, segment);
        packed(&mut ring).post(1, segment);
        packed(&mut ring).publish().unwrap()
    };
    assert!(owed(false, 0));
    assert!(!owed(false, 1 << 16));
    // Of the second descriptor of the first lap, and of the second lap.
    assert!(owed(true, 2 << 16 | 0x8000 | 1));
    assert!(!owed(true, 2 << 16 | 1));
    assert!(!owed(true, 2 << 16 | 0x8000 | 2));
    // No such place, no such wish, and not agreed.
    assert!(owed(true, 2 << 16 | 0x8000 | 3));
    assert!(owed(true, 3 << 16));
    assert!(owed(false, 2 << 16 | 1));
}

#[test]
fn the_driver_wishes_as_it_is_armed() {
    let (mut ring, _, segment) = bench(true);
    let ring = packed(&mut ring);
    ring.disarm();
    assert_eq!(ring.memory().load_driver_wish(), 1 << 16);
    ring.arm(1);
    assert_eq!(ring.memory().load_driver_wish(), 2 << 16 | 0x8000);
    ring.arm(3);
    assert_eq!(ring.memory().load_driver_wish(), 2 << 16 | 0x8002);
    for number in 0..3 {
        ring.post(number, segment);
    }
    ring.took(2, 2);
    ring.arm(2);
    assert_eq!(ring.memory().load_driver_wish(), 2 << 16, "the first of the second lap");
    ring.arm(0);
    assert_eq!(ring.memory().load_driver_wish(), 2 << 16 | 0x8002, "the next one");
    let (mut ring, ..) = bench(false);
    packed(&mut ring).disarm();
    packed(&mut ring).arm(3);
    assert_eq!(packed(&mut ring).memory().load_driver_wish(), 0);
}
