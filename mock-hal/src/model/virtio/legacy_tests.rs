//! The legacy interface against statements of the specification, in both places that have it.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "tests")]

use std::num::NonZeroUsize;

use paravane_hal::addr::Align;
use paravane_hal::dma::{Dma as _, DmaRegion, DmaRequest};
use paravane_hal::port::PortIo as _;
use paravane_pci::{Command, ConfigAccess as _, PciAddress};

use super::hand::Hand;
use super::net::{RX, TX, bits};
use super::*;

const BASIC: u64 = feature::ANY_LAYOUT | bits::MAC | bits::STATUS;
const AT: PciAddress = PciAddress::from_devfn(0, 0, 3 << 3);
const ENTRIES: u64 = 8;

fn net() -> Net {
    Net::new([0x52, 0x54, 0, 1, 2, 3])
}

fn on_no_bus() -> Hand<Net> {
    Hand::new(Personality::microvm_legacy(), net())
}

/// Tells where queue `queue` is: at its first part, whose page every hand has.
fn place(hand: &Hand<Net>, queue: usize) {
    hand.write(0x30, queue as u32);
    hand.write(0x28, 4096);
    hand.write(0x38, ENTRIES as u32);
    hand.write(0x3c, 1024);
    hand.write(0x40, (hand.area(queue, 0) / 4096) as u32);
}

fn set_up(hand: &Hand<Net>, features: u64) {
    assert_eq!((hand.status(1), hand.status(3)), (1, 3));
    hand.write(0x24, 0);
    hand.write(0x20, features as u32);
    place(hand, RX);
    place(hand, TX);
    assert_eq!(hand.status(7), 7);
}

/// A frame of 60 bytes behind a header of `header_bytes`, made available as the first.
fn offer_frame(hand: &Hand<Net>, header_bytes: u32) {
    let len_bytes = header_bytes + 60;
    hand.poke(hand.buffer(0), &vec![0; len_bytes as usize]);
    let descriptor = [&hand.buffer(0).to_le_bytes()[..], &len_bytes.to_le_bytes(), &[0; 4]].concat();
    hand.poke(hand.area(TX, 0), &descriptor);
    // Right behind the table.
    hand.poke(hand.area(TX, 0) + 16 * ENTRIES + 2, &1_u16.to_le_bytes());
}

#[test]
fn a_frame_goes_by_a_queue_that_is_one_area_2_7_2() {
    let hand = on_no_bus();
    assert_eq!([0x4, 0x8].map(|at| hand.read(at)), [1, 1]);
    set_up(&hand, BASIC);
    offer_frame(&hand, 10);
    hand.notify(TX);
    let sent = hand.device.lock().take_sent();
    assert_eq!((sent.len(), sent[0].bytes.len()), (1, 60));
    assert_eq!(hand.peek(hand.area(TX, 1) + 2), [1, 0], "the used ring is where it was asked to be aligned");
    assert_eq!((hand.violations(), hand.refusals()), (vec![], vec![]));
}

#[test]
fn the_header_is_longer_with_mergeable_buffers_5_1_6_1() {
    let hand = on_no_bus();
    set_up(&hand, BASIC | bits::MRG_RXBUF);
    offer_frame(&hand, 12);
    hand.notify(TX);
    assert_eq!(hand.device.lock().take_sent()[0].bytes.len(), 60);
}

#[test]
fn features_have_32_bits_and_are_never_confirmed_3_1_2() {
    let hand = on_no_bus();
    hand.write(0x14, 0);
    assert_eq!(u64::from(hand.read(0x10)) & (BASIC | feature::RING_PACKED), BASIC);
    hand.write(0x14, 1);
    assert_eq!(hand.read(0x10), 0, "not even VERSION_1");
    hand.status(1);
    hand.status(3);
    assert_eq!(hand.violations(), vec![""; 0]);
    hand.status(11);
    assert_eq!(hand.violations().len(), 1, "FEATURES_OK");
}

#[test]
fn registers_of_the_other_version_are_none_4_2_4() {
    let hand = on_no_bus();
    for at in [0x44, 0x80, 0x94, 0xfc] {
        hand.write(at, 1);
        hand.read(at);
        assert_eq!(hand.violations().len(), 2, "{at:#x}");
    }
}

#[test]
fn units_are_said_before_a_queue_is_placed_4_2_4() {
    for left_out in [0x28, 0x38, 0x3c] {
        let hand = on_no_bus();
        hand.status(1);
        hand.status(3);
        hand.write(0x30, 0);
        for (at, value) in [(0x28, 4096), (0x38, 8), (0x3c, 4096)] {
            if at != left_out {
                hand.write(at, value);
            }
        }
        hand.write(0x40, 1);
        assert_eq!((hand.violations().len(), hand.read(0x40)), (1, 0), "without {left_out:#x}");
    }
    let hand = on_no_bus();
    set_up(&hand, BASIC);
    assert_eq!(u64::from(hand.read(0x40)), hand.area(TX, 0) / 4096);
    place(&hand, TX);
    assert!(
        hand.violations().iter().any(|what| what.contains("placed")),
        "it has a place, and the device runs"
    );
    hand.write(0x40, 0);
    assert_eq!((hand.read(0x40), hand.violations().len()), (0, 0), "zero takes it away");
}

#[test]
fn without_any_layout_a_header_is_alone_5_1_6_6() {
    let hand = on_no_bus();
    set_up(&hand, BASIC & !feature::ANY_LAYOUT);
    offer_frame(&hand, 10);
    hand.notify(TX);
    assert_eq!(hand.violations().len(), 1);
}

/// The ports of a function that decodes them.
struct Ports {
    platform: MockPlatform,
    plugged: Plugged<Net>,
    first: u16,
    memory: Option<DmaRegion>,
}

impl Ports {
    fn new(personality: Personality) -> Self {
        let platform = MockPlatform::new();
        let plugged = Virtio::plug(&platform, AT, net(), personality);
        let first = (plugged.host.read32(AT, 0x10) & !3) as u16;
        plugged.host.write16(AT, 0x04, (Command::IO | Command::BUS_MASTER).bits());
        let request = DmaRequest {
            len_bytes: NonZeroUsize::new(0x8000).unwrap(),
            align: Align::PAGE,
            address_bits: 44,
        };
        let memory = Some(platform.alloc(request).unwrap());
        Self { platform, plugged, first, memory }
    }

    fn page(&self) -> u32 {
        (self.memory.as_ref().unwrap().dma().get() / 4096) as u32
    }

    fn status(&self, value: u8) -> u8 {
        self.platform.out8(self.first + 0x12, value);
        self.platform.in8(self.first + 0x12)
    }

    fn violations(&self) -> Vec<String> {
        std::mem::take(&mut self.plugged.lock().violations)
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        self.plugged.lock().reset();
        if let Some(memory) = self.memory.take() {
            #[expect(unsafe_code, reason = "memory is given back")]
            // SAFETY: allocated here, given back once, and the device was reset.
            unsafe {
                self.platform.free(memory);
            }
        }
    }
}

#[test]
fn ports_are_where_4_1_4_10_has_them() {
    for personality in [Personality::qemu_legacy(), Personality::qemu_transitional()] {
        let ports = Ports::new(personality);
        let (io, first) = (&ports.platform, ports.first);
        assert_eq!((ports.status(1), ports.status(3)), (1, 3));
        assert_eq!(u64::from(io.in32(first)) & BASIC, BASIC);
        io.out32(first + 4, BASIC as u32);
        io.out16(first + 0x0e, TX as u16);
        assert_eq!((io.in16(first + 0x0c), io.in32(first + 8)), (256, 0));
        io.out32(first + 8, ports.page());
        assert_eq!(io.in32(first + 8), ports.page());
        let start = u64::from(ports.page()) * 4096;
        assert_eq!(ports.plugged.lock().queues[TX].areas, [start, start + 4096, start + 8192]);
        assert_eq!((io.in8(first + 0x14), io.in8(first + 0x19)), (0x52, 3), "the configuration");
        assert_eq!(ports.status(7), 7);
        io.out16(first + 0x10, TX as u16);
        assert_eq!(ports.plugged.lock().doorbells, [1]);
        assert_eq!(ports.violations(), vec![""; 0]);
        let _ = (io.in16(first + 0x12), io.in8(first + 0x0e));
        io.out16(first + 0x0c, 8);
        assert_eq!(ports.violations().len(), 3, "other widths, and a length that cannot be written");
    }
}

#[test]
fn messages_move_the_configuration_4_1_4_10() {
    let ports = Ports::new(Personality::qemu_legacy());
    let (io, first) = (&ports.platform, ports.first);
    ports.plugged.host.write16(AT, 0x9a, 0x8000);
    assert!(ports.plugged.lock().has_msix_on());
    assert_eq!((io.in16(first + 0x14), io.in16(first + 0x16)), (NO_VECTOR, NO_VECTOR));
    io.out16(first + 0x14, 1);
    assert_eq!(io.in16(first + 0x14), 1);
    assert_eq!((io.in8(first + 0x18), io.in8(first + 0x1d)), (0x52, 3));
    assert_eq!(ports.violations(), vec![""; 0]);
}

#[test]
fn a_driver_uses_one_interface_at_a_time() {
    let ports = Ports::new(Personality::qemu_transitional());
    assert!(!ports.plugged.lock().is_legacy());
    ports.status(1);
    assert!(ports.plugged.lock().is_legacy());
    ports.plugged.lock().choose_interface(false, true);
    assert_eq!(ports.violations().len(), 1);
    ports.status(0);
    ports.plugged.lock().choose_interface(false, true);
    assert!(!ports.plugged.lock().is_legacy() && ports.violations().is_empty());
}
