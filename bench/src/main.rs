#![doc = include_str!("../README.md")]
#![allow(unreachable_pub, reason = "a program has no outside")]

mod balance;
mod blk;
mod count;
mod decide;
mod device;
mod guard;
mod guest;
#[cfg(test)]
mod heap;
mod large;
mod platform;
mod ratio;
mod report;
mod route;
mod space;
mod subject;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use subject::{Direction, Driver, Kind, Point};

/// What the drivers cost a frame.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Measures everything; prints a table and the bars.
    Report {
        /// Write the figures to this file as well.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Leave QEMU out, and with it the device of `virtio-driver`.
        #[arg(long)]
        no_guest: bool,
        /// Fail if a bar is missed.
        #[arg(long)]
        strict: bool,
    },
    /// Prints the median ratio of one point, as this process sees it.
    Ratio { direction: Direction, bytes: usize, burst: usize },
    /// Moves the bursts of one point, for valgrind to count.
    Counted {
        driver: Driver,
        direction: Direction,
        bytes: usize,
        burst: usize,
        #[arg(default_value = "plain")]
        kind: Kind,
    },
    /// As `ratio`, of reads from a disk.
    RatioOfReads { bytes: usize, depth: usize },
    /// As `counted`, of what VMXNET3 does beyond small frames by one pair of queues.
    CountedLarge { work: large::Work },
    /// As `counted`, of packets that the appliance routes from one NIC to another.
    CountedRouting {
        from: Driver,
        to: Driver,
        bytes: usize,
        #[arg(default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        destinations: u32,
        #[arg(default_value = "1", value_parser = clap::value_parser!(u32).range(1..=250))]
        sources: u32,
    },
    /// As `counted`, of segments that the appliance balances: each goes to another destination.
    CountedBalancing {
        from: Driver,
        to: Driver,
        bytes: usize,
        #[arg(default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        flows: u32,
        #[arg(default_value = "1", value_parser = clap::value_parser!(u8).range(1..=64))]
        servers: u8,
    },
    /// As `counted`, of packets that a firewall's rules let through: of so many connections, or
    /// `syn`s or `datagram`s, each the first of another flow.
    CountedGuarding { from: Driver, to: Driver, bytes: usize, packets: guard::Packets },
    /// As `counted`, of decisions by the rules of this name.
    CountedDecisions { rules: String },
    /// As `counted`, of reads from a disk.
    CountedReads { driver: blk::Driver, bytes: usize, depth: usize },
}

fn main() -> Result<()> {
    match Args::parse().what {
        What::Report { json, no_guest, strict } => report::run(json.as_deref(), !no_guest, strict),
        What::Ratio { direction, bytes, burst } => {
            let start = |driver| subject::start(driver, Point { direction, bytes, burst, kind: Kind::Plain });
            let (mut ours, mut theirs) = (start(Driver::Virtio)?, start(Driver::VirtioDrivers)?);
            println!("{}", ratio::measure(&mut *ours, &mut *theirs)?);
            Ok(())
        }
        What::Counted { driver, direction, bytes, burst, kind } => {
            count::run(&mut *subject::start(driver, Point { direction, bytes, burst, kind })?)
        }
        What::CountedLarge { work } => count::run(&mut *large::start(work)?),
        What::CountedRouting { from, to, bytes, destinations, sources } => {
            count::run(&mut *route::start(route::Point { from, to, bytes, destinations, sources })?)
        }
        What::CountedBalancing { from, to, bytes, flows, servers } => {
            count::run(&mut *balance::start(balance::Point { from, to, bytes, flows, servers })?)
        }
        What::CountedGuarding { from, to, bytes, packets } => {
            count::run(&mut *guard::start(guard::Point { from, to, bytes, packets })?)
        }
        What::CountedDecisions { rules } => count::run(&mut *decide::start(&rules)?),
        What::RatioOfReads { bytes, depth } => {
            let start = |driver| blk::start(driver, blk::Point { bytes, depth });
            let (mut ours, mut theirs) = (start(blk::Driver::Virtio)?, start(blk::Driver::VirtioDrivers)?);
            println!("{}", ratio::measure(&mut *ours, &mut *theirs)?);
            Ok(())
        }
        What::CountedReads { driver, bytes, depth } => {
            count::run(&mut *blk::start(driver, blk::Point { bytes, depth })?)
        }
    }
}
