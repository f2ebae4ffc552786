//! Platforms that differ: narrow addresses, short segments, coarse mappings, bounce buffers, a
//! clock that runs, memory that runs out.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use paravane_hal::Failed;
use paravane_hal::addr::Align;
use paravane_hal::irq::Interrupts;
use paravane_mock_hal::MockPlatform;
use paravane_mock_hal::model::vmxnet3::{Personality, Vmxnet3};
use paravane_net::{FrameLayout, FramePool, TxQueue as _};
use paravane_pci::{Function, PciAddress};
use paravane_vmxnet3::{Device, StartError};
use support::{MAC, Machine, bytes_of, numbered, receive_all, send, small};

/// Start, a frame each way, stop; what the platform is strict about ends the test.
fn live(platform: MockPlatform) -> Result<(), StartError> {
    let address = PciAddress::new(0, 0, 4, 0).unwrap();
    let device = Vmxnet3::plug(&platform, address, MAC, Personality::esxi());
    let Ok(pool) = FramePool::new(platform.clone(), FrameLayout::new(64)) else { return Ok(()) };
    let machine = Machine { platform, device, pool };
    let function = Function::claim(machine.device.config.clone(), address).unwrap();
    let stopped = Device::new(function, machine.platform.clone()).unwrap();
    let started = stopped.start(&small(), machine.pool.clone(), Interrupts::POLLING);
    let outcome = started.map_err(Failed::into_error).map(|mut running| {
        assert!(machine.model().deliver(&numbered(1)));
        assert_eq!(receive_all(&mut running).iter().map(bytes_of).collect::<Vec<_>>(), [numbered(1)]);
        send(&mut running, machine.frame(&numbered(2)));
        running.tx.flush();
        assert_eq!(machine.model().take_sent()[0].bytes, numbered(2));
        assert_eq!(running.tx.reclaim(), Ok(1));
        assert!(running.stop().is_ok());
    });
    machine.assert_clean();
    let Machine { platform, device, pool } = machine;
    assert_eq!(pool.free(), pool.buffers(), "everything came home");
    drop((pool, device));
    platform.finish();
    outcome
}

#[test]
fn the_driver_lives_on_each_kind_of_platform() {
    let builders = [
        MockPlatform::builder().address_bits(32),
        MockPlatform::builder().max_segment(1 << 18),
        MockPlatform::builder().mapping_granule(Align::PAGE),
        MockPlatform::builder().bounce(),
        MockPlatform::builder().clock_step(Duration::from_millis(1)),
        // Nothing is mapped by streaming, so nothing can fail there.
        MockPlatform::builder().fail_mapping(1),
    ];
    for builder in builders {
        let shown = format!("{builder:?}");
        assert_eq!(live(builder.build()), Ok(()), "{shown}");
    }
}

#[test]
fn each_allocation_may_fail_and_nothing_is_kept() {
    let mut failures = 0;
    for nth in 1.. {
        match live(MockPlatform::builder().fail_allocation(nth).build()) {
            // The first ones are the pool's.
            Ok(()) if failures == 0 => {}
            Ok(()) => break,
            Err(error) => {
                assert!(matches!(error, StartError::Memory(_)), "allocation {nth}: {error}");
                failures += 1;
            }
        }
        assert!(nth < 100, "they come to an end");
    }
    assert!(failures > 4, "several pieces were asked for: {failures}");
}
