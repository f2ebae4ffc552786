//! Recordings of a real device, and their playing back.
//!
//! A [`Recorder`] wraps any platform and writes down what passes between a driver and its device; a
//! [`Replayer`] is a platform that answers from such a [`Recording`], on any host, and objects when
//! the driver does something else.
//!
//! | Part | Holds |
//! |---|---|
//! | [`Entry`], [`Recording`] | what a recording is: a list of plain values |
//! | [`Recording::parse`], `Display` | its text, one line an entry; the format is described at [`Recording`] |
//! | [`Recorder`] | a platform that writes down |
//! | [`Replayer`] | a platform that plays back |
//! | [`Divergence`], [`ReplayError`] | the first difference, or what was done to memory, to be read by a person |
//!
//! It knows no device, and no particular platform: not even an emulator's.
//!
//! # Example
//!
//! ```
//! use paravane_hal::addr::PhysAddr;
//! use paravane_hal::mmio::{Mmio, MmioMap};
//! use paravane_mock_hal::record::{Recording, Replayer};
//!
//! let recording = Recording::parse(
//!     "paravane-recording 2
//!      device: a doorbell and a counter
//!      step ring it
//!      map mmio0+0x0 at 0xfe000000 16
//!      write32 mmio0+0x4 = 0x1
//!      read32 mmio0+0x8 = 0x2a
//!      end 4 0xfcab5be8",
//! )?;
//! let platform = Replayer::new(recording);
//! platform.step("ring it");
//! let regs = MmioMap::map(&platform, PhysAddr::new(0xfe00_0000), 16)?;
//! regs.write32(0x4, 1);
//! assert_eq!(regs.read32(0x8), 42);
//! platform.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The other way round, `Recorder::new(platform)` takes the place of the platform, and
//! [`Recorder::finish`] gives the recording.
//!
//! # Who wrote that byte
//!
//! No platform says which of the two sides stored a byte in coherent memory, and a recording has to
//! hold the device's stores and not the driver's. So a recorder gives the driver memory of its own
//! beside the device's, and carries bytes over in both directions at *points of synchronisation*:
//! each access to registers, ports or configuration space, each look at the clock, each
//! [`step`](Recorder::step). Between two of them neither side sees what the other stores. What is
//! recorded is therefore exactly what the driver could see, and when.
//!
//! The price: where a real platform shows a store at once, a recorder shows it at the next point. A
//! driver may be recorded while its device is at rest, or is being polled through one of those
//! points; a race between both sides is not for a recording anyway.

mod bytes;
mod divergence;
mod entry;
mod log;
mod mirror;
mod play;
mod recorder;
mod recording;
mod replay;
mod seal;
mod text;

#[cfg(test)]
mod tests;

pub use divergence::{Divergence, ReplayError};
pub use entry::{Access, Entry, Operation, Place, Space, Value};
pub use recorder::{RecordedConfig, RecordedPorts, RecordedRegion, Recorder};
pub use recording::{ConfigShape, Recording};
pub use replay::{ReplayConfig, ReplayPorts, ReplayRegion, Replayer};
pub use text::{ParseError, ParseReason};
