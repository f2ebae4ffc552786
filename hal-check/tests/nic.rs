//! A NIC on platforms with mistakes: registers, and whether the device reaches the memory.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use paravane_hal_check::{Check, Report, Settings, Verdict, frames_wanted};
use support::nic::{Machine, Model};
use support::{Mistake, words};

const MODELS: [Model; 3] = [Model::Vmxnet3, Model::Virtio, Model::Firecracker];

/// `check` fails on each of `models`, and its words have all of `parts`.
fn blames(models: &[Model], mistake: Mistake, check: Check, parts: &[&str]) {
    for model in models {
        let report = Machine::new(*model, mistake).check();
        let words = words(&report, check);
        for part in parts {
            assert!(words.contains(part), "{model:?}, {mistake:?}: {words:?} lacks {part:?}");
        }
        assert!(words.contains("the HAL's `"), "{words}");
    }
}

#[test]
fn a_clean_platform_passes_with_each_device() {
    for model in MODELS {
        let machine = Machine::new(model, Mistake::None);
        let report = machine.check();
        assert!(report.is_clean(), "{model:?}: {report}");
        assert_eq!(report.verdict(Check::NicReceive), Some(&Verdict::Passed), "{report}");
        assert_eq!(machine.violations(), Vec::<String>::new(), "{model:?}");
        assert_eq!(machine.platform.mock.memory().faults(), [], "{model:?}");
        assert_eq!(machine.platform.mock.memory().bytes(), 0, "everything is back");
    }
}

#[test]
fn a_register_offset_that_is_off() {
    for by in [1, 2, 4, 8] {
        blames(&MODELS, Mistake::Offset(by), Check::Registers, &["look", "offset"]);
    }
}

#[test]
fn a_mapping_that_starts_at_its_page() {
    blames(&MODELS, Mistake::PageStart, Check::RegisterPart, &["keep the offset within the page"]);
}

#[test]
fn sixteen_bits_read_as_thirty_two() {
    let parts = ["`Mmio::read16`", "num_queues (16 bits at 0x12", "one of exactly 16 bits"];
    blames(&[Model::Virtio, Model::Firecracker], Mistake::Wide, Check::Registers, &parts);
}

#[test]
fn a_byte_written_as_a_word() {
    let parts = ["`Mmio::write8`", "writing device_status", "changed queue_select", "do not widen it"];
    blames(&[Model::Virtio, Model::Firecracker], Mistake::WideWrites, Check::RegisterWidth, &parts);
}

#[test]
fn a_region_without_an_end() {
    blames(&MODELS, Mistake::NoBounds, Check::RegisterBounds, &["expected all ones", "compare the end"]);
}

#[test]
fn a_mapping_that_takes_another_ones_place() {
    blames(&MODELS, Mistake::OneMapping, Check::RegisterOverlap, &["regions may overlap"]);
}

#[test]
fn an_unmap_that_ends_other_mappings() {
    blames(&MODELS, Mistake::Unmaps, Check::RegisterOverlap, &["count mappings and clones in `unmap`"]);
}

#[test]
fn an_unmap_that_gives_nothing_back() {
    blames(
        &MODELS,
        Mistake::KeepsMaps,
        Check::RegisterPart,
        &["15 times, and then said: cannot map 8 bytes"],
    );
}

#[test]
fn nonsense_that_is_mapped() {
    blames(&MODELS, Mistake::Nonsense, Check::RegisterRefusal, &["mapped 0 bytes", "OutOfRange"]);
}

#[test]
fn a_device_address_that_is_off_by_a_page() {
    for (by, shown) in [(4096, "+4096"), (-4096, "-4096"), (8192, "+8192"), (-8192, "-8192")] {
        for model in MODELS {
            let report = Machine::new(model, Mistake::Off(by)).check();
            let words = words(&report, Check::NicSend);
            assert!(words.starts_with("the HAL's `Dma::alloc` gave the wrong device address"), "{words}");
            assert!(words.contains(&format!("the device writes {shown} bytes from")), "{words}");
        }
    }
}

#[test]
fn a_device_address_that_leads_nowhere() {
    let far = Mistake::Off(1 << 40);
    let parts = ["does not find what was stored", "look at the translation to device addresses"];
    blames(&[Model::Vmxnet3], far, Check::NicStart, &parts);
    let parts =
        ["the device answers at its registers", "none of its writes arrived", "do not lead to the memory"];
    blames(&[Model::Virtio, Model::Firecracker], far, Check::NicSend, &parts);
}

#[test]
fn what_a_device_writes_does_not_show() {
    let parts = ["none of its writes arrived", "coherent"];
    blames(&MODELS, Mistake::WritesHidden, Check::NicSend, &parts);
    let report = Machine::new(Model::Vmxnet3, Mistake::WritesHidden).check();
    assert!(words(&report, Check::NicSend).contains("the addresses are right for reading"), "{report}");
}

#[test]
fn memory_that_neither_side_shares() {
    blames(&[Model::Vmxnet3], Mistake::Incoherent, Check::NicStart, &["stores that stay in a cache"]);
    let parts = ["none of its writes arrived", "whether the memory is coherent"];
    blames(&[Model::Virtio, Model::Firecracker], Mistake::Incoherent, Check::NicSend, &parts);
}

#[test]
fn a_clock_that_stands_still_hangs_no_driver() {
    for model in MODELS {
        let settings = Settings::default().with_clock_looks(10_000);
        let report = Machine::new(model, Mistake::StoppedClock).check_with(settings);
        assert!(words(&report, Check::Clock).contains("`Clock::now` stands still"), "{report}");
        assert!(matches!(report.verdict(Check::NicStart), Some(Verdict::NotRun(_))), "{report}");
    }
}

#[test]
fn a_pool_too_small_is_a_matter_of_its_size() {
    assert_eq!(frames_wanted(32, 32), 128);
    for (model, frames) in MODELS.into_iter().flat_map(|model| [(model, 8), (model, 127), (model, 0)]) {
        let settings = Settings::default().with_pool_frames(frames);
        let report = Machine::new(model, Mistake::None).check_with(settings);
        let words = words(&report, Check::PoolSize);
        assert!(
            words.starts_with("the pool is too small, which is a matter of its size and not of the device")
        );
        assert!(words.contains(&format!("{frames} frames;")) && words.contains("want 128"), "{words}");
    }
}

#[test]
fn memory_too_small_for_the_pool_is_said() {
    let settings = Settings::default().with_pool_frames(4096);
    let report = Machine::new(Model::Vmxnet3, Mistake::FreeDoesNothing).check_with(settings);
    let words = words(&report, Check::PoolSize);
    assert!(words.contains("no memory for a pool of 4096 frames of 2 KiB"), "{words}");
}

#[test]
fn a_doorbell_that_is_lost() {
    let parts = ["was once the device was told again", "`barrier::before_mmio`"];
    blames(&[Model::Virtio], Mistake::Doorbell, Check::NicSend, &parts);
}

/// What the same mistakes look like without the self-test: a fault of the device, a wait without an
/// end, or nothing at all.
#[test]
fn drivers_alone_blame_the_device_or_notice_nothing() {
    let alone = |model, mistake| Machine::new(model, mistake).by_driver_alone();
    let mut shown = Vec::new();
    for mistake in [
        Mistake::Clone,
        Mistake::Short,
        Mistake::CpuMisaligned,
        Mistake::DeviceMisaligned,
        Mistake::TooHigh,
        Mistake::NotZeroed,
        Mistake::FreeDoesNothing,
        Mistake::FreeReturnsLess,
        Mistake::BackwardsClock,
        Mistake::SlowClock,
        Mistake::Offset(4),
        Mistake::PageStart,
        Mistake::Wide,
        Mistake::WideWrites,
        Mistake::NoBounds,
        Mistake::OneMapping,
        Mistake::Off(4096),
        Mistake::WritesHidden,
        Mistake::Incoherent,
        Mistake::Doorbell,
    ] {
        for model in [Model::Vmxnet3, Model::Virtio] {
            let words = alone(model, mistake);
            println!("{mistake:?}, {model:?}: {}", words.as_deref().unwrap_or("nothing"));
            shown.push(words);
        }
    }
    assert!(shown.iter().flatten().all(|words| !words.contains("HAL")));
}

/// Reports are read on consoles: each line says how it ended, and names its check.
#[test]
fn a_report_is_lines() {
    let report: Report = Machine::new(Model::Vmxnet3, Mistake::PageStart).check();
    let text = report.to_string();
    let starts = ["passed       ", "not offered  ", "not run      ", "FAILED       "];
    let lines: Vec<_> = text.lines().collect();
    let (last, outcomes) = lines.split_last().unwrap();
    assert!(outcomes.iter().all(|line| starts.iter().any(|start| line.starts_with(start))), "{text}");
    assert_eq!(*last, format!("{} checks, 1 failed", outcomes.len()));
}
