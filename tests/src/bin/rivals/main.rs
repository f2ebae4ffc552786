//! Sets the appliance beside what others run in its place, in one run on one machine: the same
//! QEMU, NICs and traffic.

mod contender;
mod counter;
mod cpio;
mod forward;
mod link;
mod linux;
mod lz4;
mod machine;
mod modules;
mod packages;
mod packet;
mod routing;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use paravane_tests::{table, tool};

use contender::Work;
use machine::Nic;

/// Sets the appliance beside what others run in its place.
#[derive(Debug, Parser)]
#[command(name = "ci/bench --rivals", after_help = tool::QEMU_HELP)]
struct Options {
    /// Kinds of NIC
    #[arg(long, value_enum, value_delimiter = ',', default_value = "virtio,vmxnet3")]
    nics: Vec<Nic>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    tool::qemu()?;
    let plugin = counter::build()?;
    let contenders = contender::all(&[Work::Route])?;
    let mut rows = vec![routing::heading()];
    for &nic in &options.nics {
        rows.extend(routing::measure(&contenders, nic, &plugin)?);
    }
    println!("\nrouting, frames of 64 bytes: least, median and most of {} windows\n", routing::WINDOWS);
    print!("{}", table::layout(&rows));
    Ok(())
}
