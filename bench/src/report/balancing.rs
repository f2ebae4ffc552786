//! The part of the report that is about segments balanced from one NIC to another.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Bar, routing::WAYS};
use crate::balance::Point;
use crate::count::count_by;
use crate::route::BURST;
use crate::subject::Driver;

/// A frame of 64 bytes, its destination replaced: instructions at most, drivers included.
const MAX_FRAME: f64 = 350.0;

/// How many connections there are.
const FLOWS: [u32; 3] = [1, 1000, 100_000];
/// To how many servers they go.
const SERVERS: [u8; 2] = [1, 4];

/// What a frame passes, and the functions of each: what they call is in them, where it is not told
/// apart.
const STAGES: [(&str, &[&str]); 5] = [
    ("read, checked, and hashed", &["Path>::look"]),
    ("its flow looked for", &["Table::prepare"]),
    ("its flow followed, other ends written", &["take_flow_row"]),
    ("next hop and counters, once a row", &["path::"]),
    ("sent, and the buffer home", &["TxQueue", "net::tx", "tx_ring"]),
];

/// One figure of the table.
pub(super) struct Figure {
    point: Point,
    instructions: f64,
    /// As [`STAGES`]; the rest is the NIC's that received.
    stages: Vec<f64>,
}

/// Measures all of them, and prints them.
pub(super) fn measure(scratch: &Path) -> Result<Vec<Figure>> {
    println!(
        "\nthe same of a TCP segment that is balanced: its connection is followed, its destination replaced\n"
    );
    let points = SERVERS.map(|servers| FLOWS.map(|flows| (flows, servers)));
    let points = points.as_flattened();
    let head = |of: &dyn Fn(&(u32, u8)) -> u32| {
        points.iter().map(|point| format!(" {:>8}", of(point))).collect::<String>()
    };
    println!("{:<58}{}", "connections", head(&|(flows, _)| *flows));
    println!("{:<58}{}", "servers, in turn", head(&|(_, servers)| (*servers).into()));
    let mut figures = Vec::new();
    for (from, to) in WAYS {
        print!("{:<58}", format!("{} to {}", from.name(), to.name()));
        for (flows, servers) in points {
            let point = Point { from, to, bytes: 64, flows: *flows, servers: *servers };
            let figure = Figure::measure(point, scratch)?;
            print!(" {:>8.1}", figure.instructions);
            figures.push(figure);
        }
        println!();
    }
    println!();
    let of_bars: Vec<_> = figures.iter().filter(|figure| figure.is_vmxnet3_to_virtio()).collect();
    for (number, (stage, _)) in STAGES.iter().enumerate() {
        let spent: Vec<_> = of_bars.iter().map(|figure| format!(" {:>8.1}", figure.stages[number])).collect();
        println!("{:<58}{}", format!("vmxnet3 to virtio: {stage}"), spent.concat());
    }
    let rest: Vec<_> = of_bars.iter().map(|figure| format!(" {:>8.1}", figure.rest())).collect();
    println!("{:<58}{}", "vmxnet3 to virtio: received, a fresh buffer; the rest", rest.concat());
    Ok(figures)
}

impl Figure {
    fn measure(point: Point, scratch: &Path) -> Result<Self> {
        let Point { from, to, bytes, flows, servers } = point;
        let [bytes, flows, servers] = [bytes.to_string(), flows.to_string(), servers.to_string()];
        let words = ["counted-balancing", from.name(), to.name(), &bytes, &flows, &servers];
        let (instructions, stages) = count_by(&words, BURST, scratch, &STAGES.map(|(_, texts)| texts))?;
        Ok(Self { point, instructions, stages })
    }

    fn rest(&self) -> f64 {
        self.instructions - self.stages.iter().sum::<f64>()
    }

    fn is_vmxnet3_to_virtio(&self) -> bool {
        (self.point.from, self.point.to) == (Driver::Vmxnet3, Driver::Virtio)
    }

    /// For one way, and a single server.
    pub(super) fn bar(&self) -> Option<Bar> {
        let what =
            format!("vmxnet3 to virtio: instructions to balance a frame, {} connections", self.point.flows);
        let figure = Some(self.instructions);
        let is_bar = self.is_vmxnet3_to_virtio() && self.point.servers == 1;
        is_bar.then_some(Bar { what, figure, limit: MAX_FRAME, at_most: true })
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let Point { from, to, bytes, flows, servers } = self.point;
        let stages: Vec<_> = STAGES
            .iter()
            .zip(&self.stages)
            .map(|((stage, _), instructions)| json!({"stage": stage, "instructions": instructions}))
            .collect();
        json!({
            "from": from.name(),
            "to": to.name(),
            "bytes": bytes,
            "connections": flows,
            "servers": servers,
            "instructions_per_frame": self.instructions,
            "stages": stages,
        })
    }
}
