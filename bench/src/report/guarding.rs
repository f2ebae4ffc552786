//! The part of the report that is about packets that a firewall lets through from one NIC to
//! another.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::routing::WAYS;
use crate::count::count;
use crate::guard::{Packets, Point};
use crate::route::BURST;

/// One figure of the table.
pub(super) struct Figure {
    point: Point,
    instructions: f64,
}

/// Measures all of them, and prints them.
pub(super) fn measure(scratch: &Path) -> Result<Vec<Figure>> {
    println!(
        "\nthe same where rules say what may begin: a frame of one of 1,000 connections to six hosts in turn, and one \
         with which a flow begins and an old one ends\n"
    );
    let names = Packets::value_variants().iter().map(|packets| format!(" {:>11}", packets.name()));
    println!("{:<58}{}", "", names.collect::<String>());
    let mut figures = Vec::new();
    for (from, to) in WAYS {
        print!("{:<58}", format!("{} to {}", from.name(), to.name()));
        for packets in Packets::value_variants() {
            let point = Point { from, to, bytes: 64, packets: *packets };
            let words = ["counted-guarding", from.name(), to.name(), "64", packets.name()];
            let instructions = count(&words, BURST, scratch)?;
            print!(" {instructions:>11.1}");
            figures.push(Figure { point, instructions });
        }
        println!();
    }
    Ok(figures)
}

impl Figure {
    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let Point { from, to, bytes, packets } = self.point;
        json!({
            "from": from.name(),
            "to": to.name(),
            "bytes": bytes,
            "packets": packets.name(),
            "instructions_per_frame": self.instructions,
        })
    }
}
