//! A fleet of balancers, and how many connections it breaks.
//!
//! Routers spread connections over equal balancers by ECMP. Balancers fail and come back, servers
//! crash, come and go, and all of it at once; of each connection that is open it is asked whether
//! its packets still reach the server where it began: *without* a flow table, where each packet
//! goes by the Maglev table of the balancer that got it, and *with* one, where a balancer that has
//! seen the connection remembers, and only one that gets it in its midst asks its table.
//!
//! Tables are those of the balancer itself: `paravane_appliance::pool`. Two runs print the same.
//!
//! ```text
//! cargo run --release -p paravane-appliance --example fleet -- --full
//! ```

#![expect(clippy::cast_possible_truncation, reason = "random numbers are cut to what is wanted")]

mod ecmp;
mod options;
mod play;
mod report;
mod scenario;
mod servers;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use ecmp::Kind;
use options::Options;
use play::World;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        print!("{}", options::HELP);
        return Ok(());
    };
    let began = Instant::now();
    report::head(&options);
    servers::check_tables(&options)?;
    println!("{} tables, each told of the servers in another order: all alike", options.balancers);
    for kind in Kind::ALL {
        if options.ecmp.is_none_or(|only| only == kind) {
            let world = World::new(&options, kind)?;
            report::table(&world, &world.play());
        }
    }
    eprintln!("\n{:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests;
