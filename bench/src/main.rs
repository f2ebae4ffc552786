#![doc = include_str!("../README.md")]
#![allow(unreachable_pub, reason = "a program has no outside")]

mod count;
mod device;
mod platform;
mod ratio;
mod space;
mod subject;

use anyhow::Result;
use clap::{Parser, Subcommand};

use subject::{Direction, Driver, Point};

/// What the drivers cost a frame.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Moves the bursts of one point, for valgrind to count.
    Counted { driver: Driver, direction: Direction, bytes: usize, burst: usize },
    /// Prints the median ratio of one point, as this process sees it.
    Ratio { direction: Direction, bytes: usize, burst: usize },
    /// Counts everything.
    Quick,
}

fn main() -> Result<()> {
    match Args::parse().what {
        What::Counted { driver, direction, bytes, burst } => {
            count::run(driver, Point { direction, bytes, burst })
        }
        What::Ratio { direction, bytes, burst } => {
            println!("{}", ratio::measure(Point { direction, bytes, burst })?);
            Ok(())
        }
        What::Quick => {
            let dir = tempfile::tempdir()?;
            for point in Point::all() {
                print!("{point:40}");
                for driver in Driver::ALL {
                    print!(" {:8.1}", count::count(driver, point, dir.path())?);
                }
                println!(" {:6.2}", ratio::measure(point)?);
            }
            Ok(())
        }
    }
}
