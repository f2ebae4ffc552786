//! Mistakes in memory and clock, each found without a device, and blamed on the platform in words.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use paravane_hal::addr::Align;
use paravane_hal::time::Clock;
use paravane_hal_check::{Check, Report, Settings, Verdict, check_platform};
use paravane_mock_hal::MockPlatform;
use support::{Mistake, Planted, words};

fn settings() -> Settings<'static> {
    Settings::default().with_free_rounds(64).with_clock_looks(200_000)
}

fn check(mistake: Mistake) -> Report {
    check_platform(&Planted::new(mistake), &settings())
}

/// The only thing wrong is `check`, and its words have all of `parts`.
fn blames(mistake: Mistake, check: Check, parts: &[&str]) {
    let report = self::check(mistake);
    let words = words(&report, check);
    for part in parts {
        assert!(words.contains(part), "{mistake:?}: {words:?} lacks {part:?}");
    }
    assert!(words.starts_with("the HAL's `"), "{words}");
    // A mistake may break more than one promise.
    let failed: Vec<_> = report.findings().map(|(check, _)| check).collect();
    let also: &[Check] = match mistake {
        Mistake::Limits => &[Check::Refusal],
        Mistake::Overlap => &[Check::AddressWidth],
        Mistake::OneDevicePage => &[Check::DeviceAlignment, Check::AddressWidth],
        _ => &[],
    };
    assert!(failed.iter().all(|failed| *failed == check || also.contains(failed)), "{report}");
}

#[test]
fn a_clean_platform_passes() {
    for builder in [
        MockPlatform::builder(),
        MockPlatform::builder().address_bits(32),
        MockPlatform::builder().max_segment(1 << 14),
        MockPlatform::builder().mapping_granule(Align::PAGE),
        MockPlatform::builder().bounce(),
        MockPlatform::builder().clock_step(Duration::from_micros(1)),
    ] {
        let shown = format!("{builder:?}");
        let platform = builder.build();
        let in_use = || platform.memory().bytes();
        let report = check_platform(&platform, &settings().with_bytes_in_use(&in_use));
        assert!(report.is_clean(), "{shown}: {report}");
        assert_eq!(report.verdict(Check::Mapping), Some(&Verdict::Passed), "{report}");
        platform.finish();
    }
}

#[test]
fn each_check_is_named_before_it_runs() {
    let named = std::cell::RefCell::new(Vec::new());
    let before = |check: Check| named.borrow_mut().push(check);
    let report = check_platform(&MockPlatform::new(), &settings().with_before(&before));
    let known = named.borrow();
    // Those that come of one look at regions of all shapes are named once.
    let shapes = [Check::Length, Check::CpuAlignment, Check::DeviceAlignment, Check::AddressWidth];
    assert!(
        report
            .outcomes()
            .iter()
            .all(|outcome| { known.contains(&outcome.check) || shapes.contains(&outcome.check) })
    );
}

#[test]
fn limits_that_change() {
    blames(Mistake::Limits, Check::Limits, &["`Dma::limits`", "one answer for its whole life"]);
}

#[test]
fn a_clone_of_another_domain() {
    let report = check(Mistake::Clone);
    let words = words(&report, Check::Domain);
    assert!(words.starts_with("the HAL's `Dma::domain` says DMA domain "), "{words}");
    assert!(words.contains("a clone reaches the same memory"), "{words}");
}

#[test]
fn an_alignment_that_drivers_need_refused() {
    let parts = ["was asked for 1 bytes aligned to 4096 below 2^64 and said", "every driver needs such"];
    blames(Mistake::Refuses, Check::Alloc, &parts);
}

#[test]
fn a_region_that_is_too_short() {
    blames(Mistake::Short, Check::Length, &["asked for 4097 bytes", "gave 4096; expected as many or more"]);
}

#[test]
fn misaligned_for_the_cpu() {
    let report = check(Mistake::CpuMisaligned);
    let words = words(&report, Check::CpuAlignment);
    assert!(words.contains("expected a CPU address that is a multiple of"), "{words}");
    assert_eq!(report.verdict(Check::DeviceAlignment), Some(&Verdict::Passed), "{report}");
}

#[test]
fn misaligned_for_the_device() {
    let parts = ["expected a device address that is a multiple of 8", "has to keep the alignment"];
    blames(Mistake::DeviceMisaligned, Check::DeviceAlignment, &parts);
}

#[test]
fn beyond_what_the_device_drives() {
    let parts = ["below 2^32 and gave dma:0x", "the device drives no more bits"];
    blames(Mistake::TooHigh, Check::AddressWidth, &parts);
}

#[test]
fn memory_that_is_not_zeroed() {
    let parts =
        ["`Dma::alloc` gave", "holds 0xa5", "as its last owner left it", "zero each region in `alloc`"];
    blames(Mistake::NotZeroed, Check::Zeroing, &parts);
}

#[test]
fn regions_that_overlap() {
    let parts = ["gave two regions at once that share bytes", "expected regions apart"];
    blames(Mistake::Overlap, Check::Overlap, &parts);
}

#[test]
fn regions_that_overlap_for_the_device_alone() {
    let parts = ["share device addresses, though not CPU addresses"];
    blames(Mistake::OneDevicePage, Check::Overlap, &parts);
}

#[test]
fn memory_that_somebody_else_uses() {
    blames(Mistake::Shared, Check::Overlap, &["0x77 is there now", "belongs to nobody else"]);
}

#[test]
fn more_than_there_is_granted() {
    let parts = ["was asked for 0x4000000000000000 bytes", "expected an error"];
    blames(Mistake::Grants, Check::Refusal, &parts);
}

#[test]
fn a_free_that_does_nothing() {
    let parts = ["`Dma::free` does not give back", "65536 bytes were allocated and freed", "none left"];
    blames(Mistake::FreeDoesNothing, Check::Free, &parts);
}

#[test]
fn a_free_that_returns_less_than_was_taken() {
    let platform = Planted::new(Mistake::FreeReturnsLess);
    let in_use = || platform.bytes_taken();
    let report = check_platform(&platform, &settings().with_bytes_in_use(&in_use));
    let words = words(&report, Check::Free);
    assert!(
        words.starts_with("the HAL's `Dma::free` does not give all back: 0 bytes were out before"),
        "{words}"
    );
}

#[test]
fn an_unmap_that_writes() {
    blames(Mistake::MapSpoils, Check::Mapping, &["changed byte 0", "nothing is to be copied back"]);
}

#[test]
fn a_clock_that_stands_still_is_found_and_hangs_nobody() {
    let parts = ["`Clock::now` stands still: 200000 looks", "every wait for a device is endless"];
    blames(Mistake::StoppedClock, Check::Clock, &parts);
}

#[test]
fn a_clock_that_goes_back() {
    blames(Mistake::BackwardsClock, Check::Clock, &["`Clock::now` went back from", "never does"]);
}

#[test]
fn a_clock_in_the_wrong_unit() {
    blames(Mistake::SlowClock, Check::Clock, &["which no CPU can", "look at the unit"]);
}

#[test]
fn a_clock_that_is_thrice_as_fast_as_time() {
    let platform = Planted::new(Mistake::FastClock);
    let reference = platform.mock.clock().clone();
    let nanos = || reference.now().as_nanos();
    let report = check_platform(&platform, &settings().with_reference_nanos(&nanos));
    let words = words(&report, Check::ClockRate);
    assert!(words.contains("expected the same within a factor of two"), "{words}");

    let sound = check_platform(&platform.mock, &settings().with_reference_nanos(&nanos));
    assert_eq!(sound.verdict(Check::ClockRate), Some(&Verdict::Passed), "{sound}");
    let still = check_platform(&platform.mock, &settings().with_reference_nanos(&|| 5));
    assert!(support::words(&still, Check::ClockRate).starts_with("the reference"), "{still}");
}
