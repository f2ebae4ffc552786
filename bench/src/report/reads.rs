//! The part of the report that is about disks.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{ratio_of_processes, text};
use crate::blk::{Driver, Point};
use crate::count::count;
use crate::guest;

/// One line of the table.
pub(super) struct Line {
    point: Point,
    /// By driver, in the order of [`Driver::ALL`]; none where a driver does not do that.
    instructions: [Option<f64>; 4],
    ratio: Option<f64>,
}

/// Reads of 4 KiB by fio in a guest of Linux on the same device, how many at once, and instructions
/// each: `docs/performance.md` says how they were counted.
const LINUX: [(&str, u32, f64); 2] =
    [("Linux 6.1, fio by libaio (system calls, and fio, included)", 1, 14_900.0), ("the same", 32, 8300.0)];

/// One line of the table about the guest.
pub(super) struct GuestLine {
    driver: Driver,
    figures: guest::reads::Figures,
}

/// Counts reads in the guest, and prints them.
pub(super) fn measure_in_guest() -> Result<Vec<GuestLine>> {
    println!(
        "\ninstructions a read of 4 KiB in a guest, on QEMU's device, by -icount; {} boots\n",
        guest::reads::BOOTS
    );
    println!("{:<60} {:>5} {:>8} {:>8} {:>8}", "", "depth", "least", "median", "most");
    let mut lines = Vec::new();
    for (driver, packed) in [(Driver::Virtio, false), (Driver::VirtioPacked, true)] {
        for figures in guest::reads::count(packed)? {
            let guest::reads::Figures { depth, instructions } = &figures;
            let (min, median, max) = (instructions.min(), instructions.median(), instructions.max());
            println!("{:<60} {depth:>5} {min:>8.1} {median:>8.1} {max:>8.1}", driver.name());
            lines.push(GuestLine { driver, figures });
        }
    }
    println!("\nfor comparison, measured apart from this program\n");
    for (name, depth, instructions) in LINUX {
        println!("{name:<60} {depth:>5} {:>8} {instructions:>8.0}", "");
    }
    Ok(lines)
}

impl GuestLine {
    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let guest::reads::Figures { depth, instructions } = &self.figures;
        json!({
            "driver": self.driver.name(),
            "bytes": 4096,
            "depth": depth,
            "instructions_per_read": {
                "min": instructions.min(),
                "median": instructions.median(),
                "max": instructions.max(),
            },
        })
    }
}

/// Measures all points, and prints them; `virtio-driver` only with QEMU, whose device it is on.
pub(super) fn measure(scratch: &Path, with_qemu: bool) -> Result<Vec<Line>> {
    println!(
        "\ninstructions a read, by callgrind: driver and buffer pool, without the device; and interleaved time\n"
    );
    println!(
        "{:<52} {:>8} {:>8} {:>14} {:>15} {:>16}",
        "", "virtio", "virtio", "virtio-driver", "virtio-drivers", "times as fast as"
    );
    println!(
        "{:<52} {:>8} {:>8} {:>14} {:>15} {:>16}",
        "", "split", "packed", "0.6.1", "0.13.0", "virtio-drivers"
    );
    let mut lines = Vec::new();
    for point in Point::all() {
        let line = Line::measure(point, scratch, with_qemu)?;
        let [split, packed, drivers, driver] = line.instructions.map(|figure| text(figure, 1));
        let (what, ratio) = (point.to_string(), text(line.ratio, 2));
        println!("{what:<52} {split:>8} {packed:>8} {driver:>14} {drivers:>15} {ratio:>16}");
        lines.push(line);
    }
    Ok(lines)
}

impl Line {
    fn measure(point: Point, scratch: &Path, with_qemu: bool) -> Result<Self> {
        let (bytes, depth) = (point.bytes.to_string(), point.depth.to_string());
        let mut instructions = Vec::new();
        for driver in Driver::ALL {
            let words = ["counted-reads", driver.name(), &bytes, &depth];
            let counted = || count(&words, point.depth, scratch);
            let is_there = with_qemu || driver != Driver::Libblkio;
            instructions.push((is_there && point.is_for(driver)).then(counted).transpose()?);
        }
        let Ok(instructions) = instructions.try_into() else { bail!("there are four drivers") };
        let both = point.is_for(Driver::VirtioDrivers);
        let ratio = both.then(|| ratio_of_processes(&["ratio-of-reads", &bytes, &depth])).transpose()?;
        Ok(Self { point, instructions, ratio })
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let by_driver = Driver::ALL.iter().zip(self.instructions);
        let instructions: serde_json::Map<_, _> =
            by_driver.map(|(driver, figure)| (driver.name().into(), json!(figure))).collect();
        json!({
            "bytes": self.point.bytes,
            "depth": self.point.depth,
            "instructions_per_read": instructions,
            "times_as_fast_as_virtio_drivers": self.ratio,
        })
    }
}
