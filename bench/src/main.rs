#![doc = include_str!("../README.md")]
#![allow(unreachable_pub, reason = "a program has no outside")]

mod count;
mod device;
mod guest;
mod platform;
mod ratio;
mod report;
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
        /// Leave QEMU out.
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
}

fn main() -> Result<()> {
    match Args::parse().what {
        What::Report { json, no_guest, strict } => report::run(json.as_deref(), !no_guest, strict),
        What::Ratio { direction, bytes, burst } => {
            println!("{}", ratio::measure(Point { direction, bytes, burst, kind: Kind::Plain })?);
            Ok(())
        }
        What::Counted { driver, direction, bytes, burst, kind } => {
            count::run(driver, Point { direction, bytes, burst, kind })
        }
    }
}
