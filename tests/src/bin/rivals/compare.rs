//! One kind of work, done by all who do it, on one kind of NIC: a table.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::contender::{Contender, Work};
use crate::hosts::Hosts;
use crate::load::{self, Load, Outcome};
use crate::machine::{self, MEMORY_MIB, Machine, Nic};
use crate::packet::Ends;

/// Windows that each give a figure; contenders take turns.
pub(crate) const WINDOWS: usize = 5;
/// Who is slow to answer is heard out: so long nothing more comes.
const QUIET: Duration = Duration::from_millis(200);
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// How long a guest with nothing to do is watched.
const IDLE: Duration = Duration::from_secs(1);
/// A flow that no window has.
const PROBED: u32 = 3_000_000;
const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

/// Boots all of them twice, counted and not, and measures them in turns. A row for each figure,
/// a column for each contender, and how often the last one's figure is in the first one's.
pub(crate) fn measure(
    contenders: &[Contender],
    work: Work,
    nic: Nic,
    plugin: &Path,
) -> Result<Vec<Vec<String>>> {
    let loads = load::of(work);
    let (counted, idle) = {
        let mut started = boot_all(contenders, work, nic, Some(plugin))?;
        let counted = windows(&mut started, &loads)?;
        let idle: Vec<f64> = started.iter_mut().map(Started::idle).collect::<Result<_>>()?;
        (counted, idle)
    };
    let mut started = boot_all(contenders, work, nic, None)?;
    let timed = windows(&mut started, &loads)?;

    let mut heading = vec![format!("{} on {}", work.name(), nic.name())];
    heading.extend(contenders.iter().map(|contender| contender.name.clone()));
    heading.push("times".into());
    let mut rows = vec![heading];
    for (index, load) in loads.iter().enumerate() {
        let of = |all: &[Vec<Figures>], pick: fn(&Figures) -> &Vec<f64>| -> Vec<Vec<f64>> {
            all.iter().filter_map(|loads| loads.get(index)).map(|figures| pick(figures).clone()).collect()
        };
        let unit = load.unit();
        let less = |name: String, figures: &[Vec<f64>]| row(name, figures, false);
        rows.push(less(format!("instructions a {unit}, {load}"), &of(&counted, |all| &all.instructions)));
        rows.push(row(format!("{unit}s/s, {load}"), &of(&timed, |all| &all.rates), true));
        let name = if matches!(load, Load::Connections(_)) { "connection" } else { "round" };
        rows.push(less(format!("p99 of a {name}, {load}, µs"), &of(&timed, |all| &all.p99_micros)));
    }
    let single = |figure: f64| vec![figure];
    let firsts =
        started.iter().map(|one| single(1000.0 * one.first_answer.as_secs_f64())).collect::<Vec<_>>();
    rows.push(row("first answer, ms from QEMU's start".into(), &firsts, false));
    let touched = started
        .iter()
        .map(|one| Ok(single(one.machine.touched_bytes()? as f64 / MIB)))
        .collect::<Result<Vec<_>>>()?;
    rows.push(row("RAM touched in the end, MiB".into(), &touched, false));
    let stored = contenders.iter().map(|one| single(one.stored_bytes as f64 / KIB)).collect::<Vec<_>>();
    rows.push(row("stored, KiB".into(), &stored, false));
    let idle: Vec<_> = idle.into_iter().map(single).collect();
    rows.push(row("instructions in a second with nothing to do".into(), &idle, false));
    Ok(rows)
}

/// One that runs and has answered.
struct Started {
    machine: Machine,
    hosts: Hosts,
    first_answer: Duration,
}

impl Started {
    /// Instructions in a second with nothing to do.
    fn idle(&mut self) -> Result<f64> {
        let (count, ()) = self.machine.counted(|_| {
            std::thread::sleep(IDLE);
            Ok(())
        })?;
        Ok(count as f64 / IDLE.as_secs_f64())
    }
}

/// Of one load, a figure a window.
#[derive(Clone, Debug, Default)]
struct Figures {
    instructions: Vec<f64>,
    rates: Vec<f64>,
    p99_micros: Vec<f64>,
}

fn boot_all(contenders: &[Contender], work: Work, nic: Nic, plugin: Option<&Path>) -> Result<Vec<Started>> {
    let boot = |contender: &Contender| -> Result<Started> {
        let how = if plugin.is_some() { ", counted" } else { "" };
        println!("==> {} on {}{how}", contender.name, nic.name());
        let mut machine = Machine::boot(contender, nic, MEMORY_MIB, plugin)?;
        let mut hosts = Hosts::new();
        let first = match work {
            Work::Nat | Work::Proxy => machine.wait_answer(|cables| hosts.probe(cables, machine::PROBE)),
            _ => {
                let ends = work.rules().map_or(Ends::routed(1), |rules| rules.flow(PROBED));
                machine.wait_answer(|cables| machine::probe_routing(cables, ends))
            }
        };
        let first_answer = first.map_err(|error| anyhow!("{error:#}\n{}", machine.report()));
        let first_answer = first_answer.with_context(|| contender.name.clone())?;
        machine.cables.drain(QUIET, DRAIN_LIMIT)?;
        machine.pause()?;
        Ok(Started { machine, hosts, first_answer })
    };
    contenders.iter().map(boot).collect()
}

/// A window of each in turn, so that whatever the host does it does to all; the first are not
/// counted. By contender, and by load.
fn windows(all: &mut [Started], loads: &[Load]) -> Result<Vec<Vec<Figures>>> {
    let mut figures = vec![Vec::new(); all.len()];
    for load in loads {
        for Started { machine, hosts, .. } in all.iter_mut() {
            let prepared = machine.counted(|cables| load.prepare(cables, hosts));
            prepared.map_err(|error| anyhow!("{error:#}\n{}", machine.report()))?;
        }
        let mut of_load = vec![Figures::default(); all.len()];
        for window in 0..=WINDOWS {
            for (Started { machine, hosts, .. }, figures) in all.iter_mut().zip(&mut of_load) {
                let done = machine.counted(|cables| load.run(cables, hosts));
                let (instructions, outcome) =
                    done.map_err(|error| anyhow!("{error:#}\n{}", machine.report()))?;
                if window > 0 {
                    figures.add(instructions, outcome);
                }
            }
        }
        figures.iter_mut().zip(of_load).for_each(|(all, one)| all.push(one));
    }
    Ok(figures)
}

impl Figures {
    fn add(&mut self, instructions: u64, Outcome { units, took, mut times }: Outcome) {
        self.instructions.push(instructions as f64 / units);
        self.rates.push(units / took.as_secs_f64());
        times.sort();
        let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
        self.p99_micros.push(times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e6));
    }
}

/// A row of figures, and how many times better the last one is than the first one.
fn row(name: String, figures: &[Vec<f64>], is_more_better: bool) -> Vec<String> {
    let spreads: Vec<[f64; 3]> = figures.iter().map(|figures| spread(figures)).collect();
    let text = |&[least, median, most]: &[f64; 3]| match least == most {
        true => format!("{median:.0}"),
        false => format!("{median:.0} ({least:.0} to {most:.0})"),
    };
    let mut row = vec![name];
    row.extend(spreads.iter().map(text));
    let ratio = match (spreads.as_slice(), is_more_better) {
        ([[_, theirs, _], .., [_, ours, _]], false) => theirs / ours,
        ([[_, theirs, _], .., [_, ours, _]], true) => ours / theirs,
        _ => return row,
    };
    row.push(format!("{ratio:.1}"));
    row
}

/// The least, the one in the middle, and the most.
fn spread(figures: &[f64]) -> [f64; 3] {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or_default();
    [at(0), at(figures.len() / 2), at(figures.len().saturating_sub(1))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_in_order() {
        assert_eq!(spread(&[3.0, 1.0, 9.0, 2.0, 4.0]), [1.0, 3.0, 9.0]);
        assert_eq!(spread(&[]), [0.0; 3]);
    }

    #[test]
    fn a_row_says_how_many_times_better_the_last_is() {
        let figures = [vec![30.0, 31.0, 32.0], vec![10.0]];
        assert_eq!(row("a".into(), &figures, false), ["a", "31 (30 to 32)", "10", "3.1"]);
        assert_eq!(row("a".into(), &figures, true), ["a", "31 (30 to 32)", "10", "0.3"]);
        assert_eq!(row("a".into(), &figures[..1], true), ["a", "31 (30 to 32)"]);
    }

    #[test]
    fn one_in_a_hundred_is_slower_than_the_99th() {
        let mut figures = Figures::default();
        let times = (1..=200).map(Duration::from_micros).collect();
        figures.add(1000, Outcome { units: 200.0, took: Duration::from_secs(2), times });
        assert_eq!((figures.instructions[0], figures.rates[0]), (5.0, 100.0));
        assert!((figures.p99_micros[0] - 198.0).abs() < 1e-6, "{figures:?}");
    }
}
