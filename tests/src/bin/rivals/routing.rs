//! Packets routed from `public` to `private`: instructions a frame, and time.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::contender::Contender;
use crate::forward::{self, Load};
use crate::machine::{self, MEMORY_MIB, Machine, Nic};

/// Windows that each give a figure; contenders take turns.
pub(crate) const WINDOWS: usize = 5;
/// Bursts of a window, and before the first one.
const ROUNDS: u32 = 200;
const LOADS: [Load; 2] = [Load { bytes: 64, burst: 1 }, Load { bytes: 64, burst: 32 }];
/// Who is slow to answer is heard out: so long nothing more comes.
const QUIET: Duration = Duration::from_millis(200);
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What the columns are.
pub(crate) fn heading() -> Vec<String> {
    [
        "",
        "NIC",
        "instructions a frame, burst 1",
        "burst 32",
        "frames/s, burst 1",
        "burst 32",
        "first answer",
        "RAM touched",
        "stored",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Boots all of them twice, counted and not, and measures them in turns. A row for each.
pub(crate) fn measure(contenders: &[Contender], nic: Nic, plugin: &Path) -> Result<Vec<Vec<String>>> {
    let counted = boot_all(contenders, nic, Some(plugin)).and_then(|mut started| windows(&mut started))?;
    let mut timed = boot_all(contenders, nic, None)?;
    let rates = windows(&mut timed)?;
    let figures = contenders.iter().zip(&timed).zip(counted.iter().zip(&rates));
    let row = |((contender, started), (counted, rates)): ((&Contender, &Started), (&Figures, &Figures))| {
        let mut row = vec![contender.name.clone(), nic.name().into()];
        row.extend(counted.instructions.iter().map(|figures| spread(figures)));
        row.extend(rates.frames_per_second.iter().map(|figures| spread(figures)));
        row.push(format!("{:.2} s", started.first_answer.as_secs_f64()));
        row.push(format!("{} MiB", started.touched_bytes / MIB));
        row.push(format!("{} KiB", contender.stored_bytes.div_ceil(KIB)));
        row
    };
    Ok(figures.map(row).collect())
}

/// One that runs and has answered.
struct Started {
    machine: Machine,
    first_answer: Duration,
    touched_bytes: u64,
}

/// By load, a figure a window.
#[derive(Default)]
struct Figures {
    instructions: [Vec<f64>; LOADS.len()],
    frames_per_second: [Vec<f64>; LOADS.len()],
}

fn boot_all(contenders: &[Contender], nic: Nic, plugin: Option<&Path>) -> Result<Vec<Started>> {
    let boot = |contender: &Contender| -> Result<Started> {
        println!(
            "==> {} on {}{}",
            contender.name,
            nic.name(),
            if plugin.is_some() { ", counted" } else { "" }
        );
        let mut machine = Machine::boot(contender, nic, MEMORY_MIB, plugin)?;
        let first = machine.wait_answer(machine::probe_routing);
        let first_answer = first.map_err(|error| anyhow!("{error:#}\n{}", machine.report()));
        let first_answer = first_answer.with_context(|| contender.name.clone())?;
        machine.cables.drain(QUIET, DRAIN_LIMIT)?;
        let touched_bytes = machine.touched_bytes()?;
        Ok(Started { machine, first_answer, touched_bytes })
    };
    contenders.iter().map(boot).collect()
}

/// A window of each in turn, so that whatever the host does it does to all; the first are not
/// counted.
fn windows(all: &mut [Started]) -> Result<Vec<Figures>> {
    let mut figures: Vec<Figures> = all.iter().map(|_| Figures::default()).collect();
    for (index, load) in LOADS.into_iter().enumerate() {
        for window in 0..=WINDOWS {
            for (started, figures) in all.iter_mut().zip(&mut figures) {
                let work = started.machine.counted(|cables| forward::bursts(cables, load, ROUNDS));
                let (instructions, times) =
                    work.map_err(|error| anyhow!("{error:#}\n{}", started.machine.report()))?;
                if window == 0 {
                    continue;
                }
                let frames = f64::from(ROUNDS) * f64::from(load.burst);
                let took: Duration = times.iter().sum();
                let places = (figures.instructions.get_mut(index), figures.frames_per_second.get_mut(index));
                if let (Some(counted), Some(rates)) = places {
                    counted.push(instructions as f64 / frames);
                    rates.push(frames / took.as_secs_f64());
                }
            }
        }
    }
    Ok(figures)
}

/// The least, the one in the middle, and the most.
fn spread(figures: &[f64]) -> String {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or_default();
    format!("{:.0} {:.0} {:.0}", at(0), at(figures.len() / 2), at(figures.len().saturating_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_in_order() {
        assert_eq!(spread(&[3.0, 1.0, 9.0, 2.0, 4.0]), "1 3 9");
        assert_eq!(spread(&[]), "0 0 0");
    }
}
