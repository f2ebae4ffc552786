//! What is printed.

use crate::options::Options;
use crate::play::{Count, Tally, World};

pub(crate) fn head(options: &Options) {
    let Options { balancers, servers, flows, places, seed, .. } = options;
    println!(
        "{balancers} balancers, {servers} servers, {} flows in an hour, each of 1 s to 1 h; {} places; seed {seed}",
        grouped(*flows),
        grouped((*places).into()),
    );
}

pub(crate) fn table(world: &World, tally: &Tally) {
    println!("\nECMP by {}", world.kind.name());
    println!("                                          open      moved       broken      broken");
    println!("   min  what happens                     flows               without table  with table");
    let mut all = Count::default();
    for (event, count) in world.events.iter().zip(&tally.counts) {
        println!(
            "  {:4.0}  {:<24} {:>13} {:>9} {:>13} {:>11}",
            f64::from(event.at) / 60_000.0,
            event.text(),
            grouped(count.open),
            percent(count.moved, count.open),
            percent(count.without, count.open),
            percent(count.with, count.open),
        );
        all.without += count.without;
        all.with += count.with;
        all.died += count.died;
    }
    let of = |flows: u64, name: &str| {
        println!(
            "        {name:<24} {:>13}           {:>13} {:>11}",
            grouped(flows),
            percent(all.without, flows),
            percent(all.with, flows)
        );
    };
    of(world.options.flows, "of all flows");
    of(tally.met_any, "of those that met any");
    println!(
        "        ended with their server: {}; began at one that was gone: {}",
        percent(all.died, world.options.flows),
        percent(tally.began_dead, world.options.flows)
    );
}

/// With a comma after each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nothing at all looks different from hardly anything.
fn percent(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    match part {
        0 => "0".into(),
        _ if percent < 0.001 => "< 0.001 %".into(),
        _ => format!("{percent:.3} %"),
    }
}
