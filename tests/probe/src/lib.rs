//! Asks a VMXNET3 device about what is only believed of it, and reports what it answers.
//!
//! `docs/vmxnet3-device.md` says how each thing about the device is known. What is inferred, and
//! what was read and never seen, is asked here, on whatever device is at hand; on ESXi by somebody
//! who has a host and sends the report back. No driver is used: registers and rings are spoken to
//! directly, which is slow and plain, so that things are done which a driver never does.
//!
//! The report is lines by [`Environment::report`]: what the device says of itself, then a line a
//! fact, of one form:
//!
//! ```text
//! probe: identity VRRS: 0x1
//! probe: RESET-OFF-BUS: expected answer 0: seen answer 0: as expected
//! ```
//!
//! Each fact brings the device up anew and leaves it stopped. No wait is without an end: what does
//! not show in time is said to be so, and the next fact follows. A device that does not stop ends
//! the run, and the memory that it knows of is not given back.
//!
//! What passes between two devices of one host may never be on a wire: a checksum that was left to
//! the device may be left open all the way, what was to be cut may arrive whole, and what is short
//! may be filled up. The report says so where that shows; with the other end on another host, the
//! same fact tells more.
//!
//! What the other end of the cable has to do, [`peer`](paravane_suite::peer) says; where nobody
//! does, facts that need it are not shown. Left out is what is known to end QEMU: see the device's
//! description. A QEMU before 8 that nobody patched ends itself over an MTU that is out of range;
//! what may be refused is therefore asked last.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, clippy::expect_used)]

extern crate alloc;

mod bench;
mod facts;
mod frame;
mod identity;
mod raw;
mod report;

use alloc::string::{String, ToString as _};
use core::fmt;

use paravane_pci::{Function, Ids, PciAddress};
use paravane_suite::Environment;

pub use report::Summary;

use bench::Bench;
use raw::Raw;

/// Asks the device at `address` about everything. It is stopped afterwards.
///
/// # Errors
///
/// [`ProbeError`]; what was reported until then holds.
pub fn run<E: Environment>(environment: &mut E, address: PciAddress) -> Result<Summary, ProbeError> {
    let function = Function::claim(environment.config(), address);
    let function = function.map_err(|error| ProbeError::NotOpened { why: error.to_string() })?;
    let ids = function.ids();
    if (ids.vendor, ids.device) != (0x15ad, 0x07b0) {
        return Err(ProbeError::AnotherDevice { ids });
    }
    let raw = Raw::open(function, environment.platform()).map_err(|why| ProbeError::NotOpened { why })?;
    let mut bench = Bench::new(environment, raw);
    let stopped =
        |bench: &mut Bench<'_, E>, after| bench.down().map_err(|why| ProbeError::NotStopped { after, why });
    // What firmware left running.
    stopped(&mut bench, "the start")?;
    identity::report(&mut bench);
    let peer = match bench.look_for_peer() {
        Ok(true) => "answers".into(),
        Ok(false) => "nobody answers".into(),
        Err(why) => why,
    };
    report::identity(bench.environment, "peer", &peer);
    stopped(&mut bench, "the search for the other end")?;
    let mut summary = Summary::default();
    for fact in facts::all::<E>() {
        let answer = (fact.ask)(&mut bench);
        summary.tell(bench.environment, fact.id, fact.expected, &answer);
        stopped(&mut bench, fact.id)?;
    }
    bench.close();
    Ok(summary)
}

/// The run ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeError {
    /// It is no VMXNET3 device.
    AnotherDevice {
        /// Who it is.
        ids: Ids,
    },
    /// Its registers cannot be reached.
    NotOpened {
        /// Why not.
        why: String,
    },
    /// It may still reach memory, which it keeps.
    NotStopped {
        /// After which fact.
        after: &'static str,
        /// Why it is not known to have stopped.
        why: String,
    },
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherDevice { ids } => write!(f, "{ids} is no VMXNET3 device"),
            Self::NotOpened { why } => write!(f, "its registers cannot be reached: {why}"),
            Self::NotStopped { after, why } => write!(f, "it did not stop after {after}: {why}"),
        }
    }
}

impl core::error::Error for ProbeError {}
