//! The part of the report that is about what VMXNET3 does beyond small frames by one pair of
//! queues.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::Bar;
use crate::count::count;
use crate::large::Work;

/// A small frame sent and one received, by eight pairs; a large packet sent, and one received:
/// instructions at most.
const MAX_EIGHT: f64 = 110.0;
const MAX_CUT: f64 = 900.0;
const MAX_LARGE: f64 = 400.0;

/// One figure of the table.
pub(super) struct Figure {
    work: Work,
    instructions: f64,
}

/// Measures all of them, and prints them.
pub(super) fn measure(scratch: &Path) -> Result<Vec<Figure>> {
    println!("\nvmxnet3 beyond that, instructions a packet\n");
    let mut figures = Vec::new();
    for work in Work::value_variants() {
        let instructions = count(&["counted-large", work.name()], work.burst(), scratch)?;
        println!("{:<70} {instructions:>8.1}", work.title());
        figures.push(Figure { work: *work, instructions });
    }
    Ok(figures)
}

/// The bars on them.
pub(super) fn bars(figures: &[Figure]) -> Vec<Bar> {
    let of = |works: &[Work]| {
        let each = works.iter().map(|work| figures.iter().find(|figure| figure.work == *work));
        each.map(|figure| figure.map(|figure| figure.instructions)).sum()
    };
    let bar = |what: &str, figure, limit| Bar { what: what.into(), figure, limit, at_most: true };
    vec![
        bar(
            "vmxnet3: the same, by eight pairs in turn",
            of(&[Work::EightSend, Work::EightReceive]),
            MAX_EIGHT,
        ),
        bar("vmxnet3: instructions to send 60 KiB that the device cuts", of(&[Work::Cut]), MAX_CUT),
        bar("vmxnet3: instructions to receive 44 segments in one", of(&[Work::Large]), MAX_LARGE),
    ]
}

impl Figure {
    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        json!({ "work": self.work.name(), "instructions_per_packet": self.instructions })
    }
}
