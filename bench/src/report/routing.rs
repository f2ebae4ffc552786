//! The part of the report that is about packets routed from one NIC to another.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::Bar;
use crate::count::count;
use crate::route::{BURST, Point};
use crate::subject::Driver;

/// A frame of 64 bytes: instructions at most, drivers included.
const MAX_FRAME: f64 = 250.0;

/// From which NIC to which.
pub(super) const WAYS: [(Driver, Driver); 4] = [
    (Driver::Vmxnet3, Driver::Vmxnet3),
    (Driver::Virtio, Driver::Virtio),
    (Driver::Vmxnet3, Driver::Virtio),
    (Driver::VirtioPacked, Driver::Vmxnet3),
];
/// How many destinations, and how many sources.
const CROWDS: [(u32, u32); 4] = [(1, 1), (1000, 1), (100_000, 1), (1000, 200)];

/// One figure of the table.
pub(super) struct Figure {
    point: Point,
    instructions: f64,
}

/// Measures all of them, and prints them.
pub(super) fn measure(scratch: &Path) -> Result<Vec<Figure>> {
    println!(
        "\ninstructions a frame of 64 bytes that is routed, by callgrind: both drivers, path and pool\n"
    );
    println!("{:<58} {:>8} {:>8} {:>8} {:>8}", "destinations", 1, 1000, 100_000, 1000);
    println!("{:<58} {:>8} {:>8} {:>8} {:>8}", "sources", 1, 1, 1, 200);
    let mut figures = Vec::new();
    for (from, to) in WAYS {
        print!("{:<58}", format!("{} to {}", from.name(), to.name()));
        for (destinations, sources) in CROWDS {
            let figure = Figure::measure(Point { from, to, bytes: 64, destinations, sources }, scratch)?;
            print!(" {:>8.1}", figure.instructions);
            figures.push(figure);
        }
        println!();
    }
    Ok(figures)
}

impl Figure {
    fn measure(point: Point, scratch: &Path) -> Result<Self> {
        let Point { from, to, bytes, destinations, sources } = point;
        let [bytes, destinations, sources] =
            [bytes.to_string(), destinations.to_string(), sources.to_string()];
        let words = ["counted-routing", from.name(), to.name(), &bytes, &destinations, &sources];
        Ok(Self { point, instructions: count(&words, BURST, scratch)? })
    }

    /// For one way, and a single source.
    pub(super) fn bar(&self) -> Option<Bar> {
        let Point { from, to, destinations, sources, .. } = self.point;
        let is_bar = (from, to, sources) == (Driver::Vmxnet3, Driver::Virtio, 1);
        let what = format!("vmxnet3 to virtio: instructions to route a frame, {destinations} destinations");
        let figure = Some(self.instructions);
        is_bar.then_some(Bar { what, figure, limit: MAX_FRAME, at_most: true })
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let Point { from, to, bytes, destinations, sources } = self.point;
        json!({
            "from": from.name(),
            "to": to.name(),
            "bytes": bytes,
            "destinations": destinations,
            "sources": sources,
            "instructions_per_frame": self.instructions,
        })
    }
}
