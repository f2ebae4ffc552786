//! The plain values: what they add up to, and how they read.

use paravane_hal::fault::DeviceFault;
use paravane_net::{Link, MacAddr, RxCounters, RxFilter, RxFilterError, TxCounters};

#[test]
fn counters_of_queues_that_follow_one_another_add_up() {
    let rx = RxCounters {
        frames: 1,
        bytes: 2,
        doorbells: 3,
        no_buffer: 4,
        errors: 5,
        oversized: 6,
        disordered: 7,
        skipped: u64::MAX,
    };
    let twice = rx + rx;
    assert_eq!((twice.frames, twice.bytes, twice.doorbells), (2, 4, 6));
    assert_eq!((twice.no_buffer, twice.errors, twice.oversized, twice.disordered), (8, 10, 12, 14));
    assert_eq!(twice.skipped, u64::MAX, "the end of counting does not wrap");
    assert_eq!(twice.dropped(), 44, "a skipped buffer is no frame");

    let tx = TxCounters {
        frames: 1,
        bytes: 2,
        completed: 3,
        doorbells: 4,
        doorbells_saved: 5,
        refused: 6,
        ring_full: u64::MAX,
    };
    let twice = tx + tx;
    assert_eq!((twice.frames, twice.bytes, twice.completed), (2, 4, 6));
    assert_eq!((twice.doorbells, twice.doorbells_saved, twice.refused), (8, 10, 12));
    assert_eq!(twice.ring_full, u64::MAX);
}

#[test]
fn links_and_addresses_read_as_people_write_them() {
    assert_eq!(Link::default().to_string(), "down");
    assert_eq!(Link::Up { mbps: None, duplex: None }.to_string(), "up");
    assert_eq!(Link::Up { mbps: Some(10_000), duplex: None }.to_string(), "up 10000 Mbit/s");
    assert!(Link::Up { mbps: None, duplex: None }.is_up() && !Link::Down.is_up());
    assert_eq!(MacAddr::local(0x0102_0304).to_string(), "02:00:01:02:03:04");
    assert_eq!(format!("{:?}", MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0xff])), "52:54:00:12:34:ff");
}

#[test]
fn a_filter_that_is_not_there_says_what_is() {
    let error = RxFilterError::NotOffered(RxFilter::default());
    assert!(error.to_string().contains("UNICAST | BROADCAST"), "{error}");
    let error = RxFilterError::Fault(DeviceFault::Gone);
    assert_eq!(error.to_string(), format!("receive filter not set: {}", DeviceFault::Gone));
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
    assert_eq!(source, Some(&DeviceFault::Gone));
}
