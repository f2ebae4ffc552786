//! Which accelerator to use: KVM only where it is there *and* fast.
//!
//! On some machines `/dev/kvm` opens and works, but interprets most of what a booting guest does,
//! which is slower than the translator by far. Nothing tells that in advance, so the image itself
//! is the probe.

use std::fs::OpenOptions;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use paravane_tests::qemu::{Accel, Config, Qemu};

/// A machine where KVM is what it should be needs a fraction of this, firmware included.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    Auto,
    Tcg,
    Kvm,
}

/// The accelerator, and why.
pub(crate) fn choose(choice: Choice, with_kvm: &Config) -> (Accel, String) {
    match choice {
        Choice::Tcg => (Accel::Tcg, "tcg, as asked".into()),
        Choice::Kvm => (Accel::Kvm, "kvm, as asked".into()),
        Choice::Auto => match probe(with_kvm) {
            Ok(took) => (Accel::Kvm, format!("kvm (the image boots in {:.1} s)", took.as_secs_f64())),
            Err(why_not) => (Accel::Tcg, format!("tcg ({why_not})")),
        },
    }
}

fn probe(with_kvm: &Config) -> Result<Duration, String> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(|error| format!("no /dev/kvm: {error}"))?;
    let start = Instant::now();
    let folder = Qemu::folder().map_err(|error| error.to_string())?;
    let qemu = Qemu::start(with_kvm, folder).map_err(|error| format!("{error:#}"))?;
    let found = qemu.console().find_by(0, &["boot:"], start + PROBE_LIMIT);
    match found {
        Some(_) => Ok(start.elapsed()),
        None if qemu.console().has_ended() => Err("kvm is there but does not run the image".into()),
        None => Err(format!("kvm is there but slow: no boot within {} s", PROBE_LIMIT.as_secs())),
    }
}
