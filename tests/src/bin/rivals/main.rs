//! Sets the appliance beside what others run in its place, in one run on one machine: the same
//! QEMU, NICs and traffic.

mod compare;
mod contender;
mod counter;
mod cpio;
mod forward;
mod hosts;
mod link;
mod linux;
mod load;
mod lz4;
mod machine;
mod modules;
mod packages;
mod packet;
mod rules;
mod tcp;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use paravane_tests::{table, tool};

use contender::Work;
use machine::Nic;
use packages::Packages;

/// Sets the appliance beside what others run in its place.
#[derive(Debug, Parser)]
#[command(name = "ci/bench --rivals", after_help = tool::QEMU_HELP)]
struct Options {
    /// Kinds of NIC
    #[arg(long, value_enum, value_delimiter = ',', default_value = "virtio,vmxnet3")]
    nics: Vec<Nic>,
    /// What they do
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "route,nat,proxy,filter16,filter256,filter4096,filter-set"
    )]
    works: Vec<Work>,
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
    let packages = Packages::fetch()?;
    for &work in &options.works {
        let contenders = contender::all(work, &packages)?;
        for &nic in &options.nics {
            let rows = compare::measure(&contenders, work, nic, &plugin)?;
            println!("\nmedian (least to most) of {} windows\n\n{}", compare::WINDOWS, table::layout(&rows));
        }
    }
    Ok(())
}
