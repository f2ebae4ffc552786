//! Everything measured, as a table for a person, a JSON file for a program, and a verdict on the
//! bars.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::guest::{self, Figures};
use crate::subject::{Direction, Driver, Kind, Point};
use crate::{count, ratio};

mod balancing;
mod deciding;
mod guarding;
mod large;
mod reads;
mod routing;

/// Processes that each give a median ratio, of which the median counts.
const PROCESSES: usize = 5;

/// A 64-byte frame sent and one received, at bursts of 32: instructions at most.
const MAX_PAIR: [(Driver, f64); 3] =
    [(Driver::Vmxnet3, 110.0), (Driver::Virtio, 120.0), (Driver::VirtioPacked, 120.0)];
/// One sent alone by vmxnet3, and one received alone.
const MAX_SINGLE: f64 = 300.0;
/// In the guest, on QEMU's vmxnet3: instructions at most, to send and to receive.
const MAX_GUEST_TX: f64 = 180.0;
const MAX_GUEST_RX: f64 = 150.0;
/// Times as fast as `virtio-drivers`, at bursts of 32; and anywhere.
const MIN_RATIO: f64 = 3.0;
const MIN_RATIO_ANYWHERE: f64 = 1.0;

/// Figures of others for plain 64-byte frames at bursts of 32 unless said otherwise: measured apart
/// from this program, by the same methods, on the same kind of machine. What they count is in the
/// name.
const ANCHORS: [(&str, Option<f64>, Option<f64>); 13] = [
    ("DPDK 22.11 virtio-user, split ring, callgrind (buffer alloc and free in)", Some(247.0), Some(202.2)),
    ("the same, a TCP checksum asked for", Some(273.0), None),
    ("the same, plain, burst 1 (of it about 9 the counting)", Some(476.0), Some(565.0)),
    ("the same, packed ring, burst 1", Some(441.0), Some(513.0)),
    ("split ring, without transmit's alloc and receive's free", Some(214.3), Some(160.9)),
    ("packed ring, likewise", Some(208.4), Some(170.1)),
    ("split ring, driver alone, burst 1", Some(372.0), Some(453.0)),
    ("split ring, cycles at the floor", Some(47.3), Some(36.5)),
    ("packed ring, likewise", Some(49.9), Some(46.8)),
    (
        "DPDK 22.11 vmxnet3 in QEMU, guest (testpmd: alloc, build, send / receive, free)",
        Some(359.0),
        Some(306.0),
    ),
    ("DPDK 22.11 virtio-net in QEMU, guest (likewise)", None, Some(246.0)),
    ("Linux 6.1 vmxnet3 in QEMU, guest (pktgen in)", Some(529.0), None),
    ("the same, burst 1", Some(1668.0), None),
];

/// One bar.
struct Bar {
    what: String,
    /// None where nothing was measured.
    figure: Option<f64>,
    limit: f64,
    at_most: bool,
}

impl Bar {
    fn holds(&self) -> bool {
        self.figure
            .is_some_and(|figure| if self.at_most { figure <= self.limit } else { figure >= self.limit })
    }
}

/// One line of the table.
struct Line {
    point: Point,
    /// By driver, in the order of [`Driver::ALL`]; none where a driver does not do that.
    instructions: Vec<Option<f64>>,
    /// None where it was not measured.
    ratio: Option<f64>,
}

/// Measures everything, prints it, writes `json`. An error if a bar is missed and `strict` asks for
/// that.
pub fn run(json: Option<&Path>, with_guest: bool, strict: bool) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut lines = Vec::new();
    println!(
        "instructions a frame, by callgrind: driver and buffer pool, without the device; and interleaved time\n"
    );
    println!(
        "{:<58} {:>8} {:>8} {:>8} {:>15} {:>16}",
        "", "vmxnet3", "virtio", "virtio", "virtio-drivers", "times as fast as"
    );
    println!("{:<58} {:>8} {:>8} {:>8} {:>15} {:>16}", "", "", "split", "packed", "0.13.0", "virtio-drivers");
    for point in Point::all() {
        let mut instructions = Vec::new();
        for driver in Driver::ALL {
            let counted =
                point.is_for(driver).then(|| count_frames(driver, point, scratch.path())).transpose()?;
            instructions.push(counted);
        }
        let ratio = (point.kind == Kind::Plain).then(|| ratio_of_frames(point)).transpose()?;
        let [vmxnet3, split, packed, theirs] = instructions[..] else { bail!("there are four drivers") };
        println!(
            "{:<58} {:>8} {:>8} {:>8} {:>15} {:>16}",
            point.to_string(),
            text(vmxnet3, 1),
            text(split, 1),
            text(packed, 1),
            text(theirs, 1),
            text(ratio, 2)
        );
        lines.push(Line { point, instructions, ratio });
    }
    let reads = reads::measure(scratch.path(), with_guest)?;
    let large = large::measure(scratch.path())?;
    let routing = routing::measure(scratch.path())?;
    let balancing = balancing::measure(scratch.path())?;
    let guarding = guarding::measure(scratch.path())?;
    let deciding = deciding::measure(scratch.path())?;
    println!("\nfor comparison, measured apart from this program (64 bytes, burst 32)\n");
    for (name, tx, rx) in ANCHORS {
        println!("{name:<82} transmit {:>6}  receive {:>6}", text(tx, 1), text(rx, 1));
    }
    let guest = if with_guest { count_in_guest()? } else { Vec::new() };
    let guest_reads = if with_guest { reads::measure_in_guest()? } else { Vec::new() };
    let mut bars = bars(&lines, with_guest.then_some(&guest));
    bars.extend(large::bars(&large));
    bars.extend(routing.iter().filter_map(routing::Figure::bar));
    bars.extend(balancing.iter().filter_map(balancing::Figure::bar));
    bars.extend(deciding.iter().filter_map(deciding::Figure::bar));
    println!("\nbars\n");
    for bar in &bars {
        let (word, sign) =
            (if bar.holds() { "met   " } else { "MISSED" }, if bar.at_most { "at most" } else { "at least" });
        let figure = bar.figure.map_or("nothing".into(), |figure| format!("{figure:.2}"));
        println!("{word}  {:<72} {figure:>7}, {sign} {}", bar.what, bar.limit);
    }
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&as_json(
            &lines,
            (&reads, &guest_reads),
            (&large, &routing, &balancing, &guarding, &deciding),
            &guest,
            &bars,
        ))?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if strict && bars.iter().any(|bar| !bar.holds()) {
        bail!("not every bar is met");
    }
    Ok(())
}

/// A figure with so many decimals, or the sign for none.
fn text(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or("-".into(), |figure| format!("{figure:.decimals$}"))
}

fn count_frames(driver: Driver, point: Point, scratch: &Path) -> Result<f64> {
    let (bytes, burst) = (point.bytes.to_string(), point.burst.to_string());
    let words = ["counted", driver.name(), point.direction.name(), &bytes, &burst, point.kind.name()];
    count::count(&words, point.burst, scratch)
}

fn ratio_of_frames(point: Point) -> Result<f64> {
    let (bytes, burst) = (point.bytes.to_string(), point.burst.to_string());
    ratio_of_processes(&["ratio", point.direction.name(), &bytes, &burst])
}

/// The median over processes that `words` make of this program: how memory happens to lie differs
/// from one to the next.
fn ratio_of_processes(words: &[&str]) -> Result<f64> {
    let mut ratios = Vec::with_capacity(PROCESSES);
    for _ in 0..PROCESSES {
        let run = Command::new(std::env::current_exe()?).args(words).output()?;
        if !run.status.success() {
            bail!("{}: {}", words.join(" "), String::from_utf8_lossy(&run.stderr));
        }
        ratios.push(String::from_utf8_lossy(&run.stdout).trim().parse().context("a ratio is a number")?);
    }
    Ok(ratio::median(&mut ratios))
}

fn count_in_guest() -> Result<Vec<Figures>> {
    let image = guest::build()?;
    let mut all = Vec::new();
    println!(
        "\ninstructions a frame in a guest, on QEMU's device, by -icount (headers written as well); {} boots\n",
        guest::BOOTS
    );
    println!("{:<10} {:<34} {:>8} {:>8} {:>8}", "", "", "least", "median", "most");
    for driver in [Driver::Vmxnet3, Driver::Virtio] {
        for bytes in [64, 1514] {
            for figures in guest::count(&image, driver, bytes)? {
                println!(
                    "{:<10} {:<34} {:>8.1} {:>8.1} {:>8.1}",
                    driver.name(),
                    figures.point.to_string(),
                    figures.instructions.min(),
                    figures.instructions.median(),
                    figures.instructions.max()
                );
                all.push(figures);
            }
        }
    }
    Ok(all)
}

/// The bars; those about the guest only where it was asked for.
fn bars(lines: &[Line], guest: Option<&Vec<Figures>>) -> Vec<Bar> {
    let mut bars = Vec::new();
    let small = |direction| Point { direction, bytes: 64, burst: 32, kind: Kind::Plain };
    for (index, (driver, limit)) in MAX_PAIR.into_iter().enumerate() {
        let figure = lines
            .iter()
            .filter(|line| line.point == small(Direction::Tx) || line.point == small(Direction::Rx))
            .filter_map(|line| *line.instructions.get(index)?)
            .sum();
        let what =
            format!("{}: instructions to send and to receive a 64-byte frame, burst 32", driver.name());
        bars.push(Bar { what, figure: Some(figure), limit, at_most: true });
    }
    for direction in [Direction::Tx, Direction::Rx] {
        let point = Point { burst: 1, ..small(direction) };
        let figure = lines.iter().find(|line| line.point == point);
        bars.push(Bar {
            what: format!("vmxnet3: {point}"),
            figure: figure.and_then(|line| *line.instructions.first()?),
            limit: MAX_SINGLE,
            at_most: true,
        });
    }
    for (direction, limit) in [(Direction::Tx, MAX_GUEST_TX), (Direction::Rx, MAX_GUEST_RX)] {
        let Some(guest) = guest else { continue };
        let point = small(direction);
        let figures =
            guest.iter().find(|figures| figures.driver == Driver::Vmxnet3 && figures.point == point);
        let what = format!("vmxnet3 in the guest: {point}");
        bars.push(Bar {
            what,
            figure: figures.map(|figures| figures.instructions.median()),
            limit,
            at_most: true,
        });
    }
    for line in lines.iter().filter(|line| line.point.kind == Kind::Plain) {
        let limit = if line.point.burst == 32 { MIN_RATIO } else { MIN_RATIO_ANYWHERE };
        let what = format!("virtio against virtio-drivers: {}", line.point);
        bars.push(Bar { what, figure: line.ratio, limit, at_most: false });
    }
    bars
}

/// Figures of what is built on drivers, and of what one of them does beyond others.
type Appliance<'f> = (
    &'f [large::Figure],
    &'f [routing::Figure],
    &'f [balancing::Figure],
    &'f [guarding::Figure],
    &'f [deciding::Figure],
);

fn as_json(
    lines: &[Line],
    (reads, guest_reads): (&[reads::Line], &[reads::GuestLine]),
    (large, routing, balancing, guarding, deciding): Appliance<'_>,
    guest: &[Figures],
    bars: &[Bar],
) -> Value {
    let place = |point: &Point| {
        json!({
            "direction": point.direction.name(),
            "bytes": point.bytes,
            "burst": point.burst,
            "kind": point.kind.name(),
        })
    };
    let callgrind: Vec<Value> = lines
        .iter()
        .flat_map(|line| {
            Driver::ALL.iter().zip(&line.instructions).filter_map(move |(driver, instructions)| {
                let instructions = (*instructions)?;
                Some(json!({"driver": driver.name(), "point": place(&line.point), "instructions_per_frame": instructions}))
            })
        })
        .collect();
    let ratios: Vec<Value> = lines
        .iter()
        .filter_map(|line| {
            Some(json!({"point": place(&line.point), "times_as_fast_as_virtio_drivers": line.ratio?}))
        })
        .collect();
    let guest: Vec<Value> = guest
        .iter()
        .map(|figures| {
            json!({
                "driver": figures.driver.name(),
                "point": place(&figures.point),
                "instructions_per_frame": {
                    "min": figures.instructions.min(),
                    "median": figures.instructions.median(),
                    "max": figures.instructions.max(),
                    "boots": guest::BOOTS,
                },
            })
        })
        .collect();
    let anchors: Vec<Value> =
        ANCHORS.iter().map(|(name, tx, rx)| json!({"name": name, "tx": tx, "rx": rx})).collect();
    let bars: Vec<Value> = bars
        .iter()
        .map(|bar| {
            let limit = if bar.at_most { "at_most" } else { "at_least" };
            json!({"what": bar.what, "figure": bar.figure, limit: bar.limit, "met": bar.holds()})
        })
        .collect();
    json!({
        "format": 7,
        "virtio_drivers": "0.13.0",
        "virtio_driver": "0.6.1",
        "callgrind": callgrind,
        "interleaved": ratios,
        "large": large.iter().map(large::Figure::as_json).collect::<Vec<_>>(),
        "routing": routing.iter().map(routing::Figure::as_json).collect::<Vec<_>>(),
        "balancing": balancing.iter().map(balancing::Figure::as_json).collect::<Vec<_>>(),
        "guarding": guarding.iter().map(guarding::Figure::as_json).collect::<Vec<_>>(),
        "deciding": deciding.iter().map(deciding::Figure::as_json).collect::<Vec<_>>(),
        "reads": reads.iter().map(reads::Line::as_json).collect::<Vec<_>>(),
        "guest_icount": guest,
        "guest_icount_reads": guest_reads.iter().map(reads::GuestLine::as_json).collect::<Vec<_>>(),
        "measured_elsewhere_64_bytes_burst_32": anchors,
        "bars": bars,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_not_there_misses_its_bar() {
        let bar = |figure| Bar { what: String::new(), figure, limit: 10.0, at_most: true };
        assert!(bar(Some(10.0)).holds() && !bar(Some(10.1)).holds() && !bar(None).holds());
        let of_guest = |guest: Option<&Vec<Figures>>| {
            bars(&[], guest)
                .into_iter()
                .filter(|bar| bar.what.contains("guest"))
                .map(|bar| bar.figure)
                .collect()
        };
        let (none, asked): (Vec<_>, Vec<_>) = (of_guest(None), of_guest(Some(&Vec::new())));
        assert_eq!((none, asked), (vec![], vec![None, None]));
    }
}
