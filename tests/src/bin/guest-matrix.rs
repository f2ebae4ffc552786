//! Judges the image under QEMU: every machine, NIC and interrupt mode, and what happens when things
//! go wrong.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use paravane_tests::runner::{self, Subject};
use paravane_tests::{cases, image, tool};

/// Boots the image under QEMU in many ways and checks that it does its work.
#[derive(Debug, Parser)]
#[command(after_help = tool::QEMU_HELP)]
struct Options {
    /// Run only cases whose name contains this, such as `pc/vmxnet3/msix`; may be repeated
    #[arg(long, value_name = "PART")]
    filter: Vec<String>,
    /// Cases at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Judge this ELF file instead of building one
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Print the names of the cases and end
    #[arg(long)]
    list: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let mut cases = cases::all();
    cases.retain(|case| case.is_picked_by(&options.filter));
    ensure!(!cases.is_empty(), "no case is called anything like {:?}; --list names them", options.filter);
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name()));
        return Ok(ExitCode::SUCCESS);
    }

    let image = image::find_or_build(options.image.as_deref())?;
    println!("{} cases, {} at a time, image {}", cases.len(), options.jobs, image.display());
    let start = Instant::now();
    let summary = runner::run(&cases, options.jobs, Subject { image: &image }, |line| println!("{line}"));
    println!("took {:.0} s", start.elapsed().as_secs_f64());
    for name in &summary.failed {
        println!("failed: {name}");
    }
    println!("{} passed, {} failed", summary.passed, summary.failed.len());
    Ok(if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
