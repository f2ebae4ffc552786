//! Platforms that are narrow, slow or out of memory: the driver runs as on any other, or says what
//! it lacks and leaves nothing behind.

use std::time::Duration;

use crate::support::*;
use paravane_hal::addr::Align;
use paravane_hal::dma::DmaErrorReason;
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::model::virtio::{Net as NetModel, Personality, Virtio};
use paravane_mock_hal::{Builder, MockPlatform};
use paravane_net::{Burst, FrameLayout, FramePool, RxFilter, RxQueue, Settings, TxQueue};
use paravane_pci::{Function, PciAddress};
use paravane_virtio::net::{SetUpError, StartError};
use paravane_virtio::transport::pci;

/// Start, frames both ways until the rings went round, stop; and nothing is out.
fn life(platform: &MockPlatform) -> Result<(), DmaErrorReason> {
    let personality = Personality::qemu();
    let address = PciAddress::new(0, 0, 3, 0).unwrap();
    let plugged = Virtio::plug(platform, address, NetModel::of(&personality, MAC), personality);
    let pool = FramePool::new(platform.clone(), FrameLayout::new(64)).map_err(|error| error.reason)?;
    let function = Function::claim(plugged.host.clone(), address).unwrap();
    let device = pci::open(function, platform.clone(), Net::new).unwrap();
    let settings = Settings::default().with_filter(RxFilter::PROMISCUOUS);
    let mut up =
        match device.start(&small().with_settings(settings), pool.clone(), Interrupts::msix(&MESSAGES)) {
            Ok(up) => up,
            Err(failed) => match failed.into_error() {
                StartError::SetUp(SetUpError::Dma(error)) => return Err(error.reason),
                error => panic!("{error}"),
            },
        };
    for number in 0..40 {
        assert!(plugged.lock().deliver(&[number; 60]));
        let mut burst = Burst::new();
        assert_eq!(up.rx.receive(&mut burst), Ok(1));
        assert_eq!(up.tx.transmit(&mut burst), Ok(1));
        assert_eq!(up.tx.reclaim(), Ok(1));
        assert_eq!(plugged.lock().take_sent()[0].bytes, [number; 60]);
    }
    assert!(up.control.stop(up.rx, up.tx).is_ok());
    assert_eq!(pool.free(), pool.buffers());
    assert_eq!(plugged.lock().violations, Vec::<String>::new());
    Ok(())
}

fn on(builder: Builder) -> Result<(), DmaErrorReason> {
    let platform = builder.build();
    let outcome = life(&platform);
    platform.finish();
    outcome
}

#[test]
fn a_narrow_or_slow_platform_is_enough() {
    let new = MockPlatform::builder;
    for (what, builder) in [
        ("32 bits", new().address_bits(32)),
        ("segments of a page", new().max_segment(4096)),
        ("mappings by the page", new().mapping_granule(Align::PAGE)),
        ("bounced", new().bounce()),
        ("a clock that moves when looked at", new().clock_step(Duration::from_micros(50))),
        ("all of it", new().address_bits(32).max_segment(4096).mapping_granule(Align::PAGE).bounce()),
    ] {
        assert_eq!(on(builder), Ok(()), "{what}");
    }
}

#[test]
fn segments_too_short_for_a_ring_are_named() {
    let too_long = Err(DmaErrorReason::TooLong { max_segment_bytes: 128 });
    assert_eq!(on(MockPlatform::builder().max_segment(128)), too_long);
}

#[test]
fn every_allocation_may_be_the_one_that_fails() {
    let failed = (1..)
        .map(|nth| on(MockPlatform::builder().fail_allocation(nth)))
        .take_while(|outcome| {
            assert!(matches!(outcome, Ok(()) | Err(DmaErrorReason::OutOfMemory)), "{outcome:?}");
            outcome.is_err()
        })
        .count();
    // The pool, and a table and two rings for each of two queues, at least.
    assert!(failed >= 7, "{failed}");
}

#[test]
fn nothing_depends_on_a_mapping() {
    assert_eq!(on(MockPlatform::builder().fail_mapping(1)), Ok(()));
}
