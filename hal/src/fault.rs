//! What a device did that it may not do.
//!
//! One vocabulary for every driver, so that an embedder handles it once. A fault ends the queue
//! that saw it: the queue is *broken*, answers every further call with the same fault, and works
//! again after its device was stopped and started.

use core::fmt;

/// A device broke the rules, or said itself that it cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceFault {
    /// It named a slot that its ring does not have.
    IndexOutOfRange {
        /// What it said.
        index: u32,
        /// How many slots there are.
        entries: u32,
    },
    /// It completed something that it had not been given, or that it had completed before.
    NotInFlight {
        /// The slot it named.
        index: u32,
    },
    /// It says that it wrote more than fits.
    LengthTooLong {
        /// What it said, in bytes.
        len_bytes: u32,
        /// What it was given, in bytes.
        max_bytes: u32,
    },
    /// It says that it wrote less than its own header.
    LengthTooShort {
        /// What it said, in bytes.
        len_bytes: u32,
        /// The least that makes sense, in bytes.
        min_bytes: u32,
    },
    /// It completed more than was in flight.
    TooManyCompletions {
        /// What it said.
        completed: u32,
        /// How many were in flight.
        in_flight: u32,
    },
    /// It completed in an order that its specification rules out.
    OutOfSequence {
        /// What was wrong, in the specification's words.
        what: &'static str,
    },
    /// It names a queue, ring or kind that does not exist.
    UnknownKind {
        /// Of what.
        what: &'static str,
        /// The value.
        value: u32,
    },
    /// It stopped the queue and gave a reason.
    Stopped {
        /// The device's code.
        code: u32,
    },
    /// It did not answer what it was asked.
    NoAnswer {
        /// How long was waited, in milliseconds.
        after_ms: u32,
    },
    /// It asks to be reset.
    NeedsReset,
    /// It does not answer any more: registers read all ones.
    Gone,
}

impl fmt::Display for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IndexOutOfRange { index, entries } => {
                write!(f, "device named slot {index} of a ring of {entries}")
            }
            Self::NotInFlight { index } => {
                write!(f, "device completed slot {index}, which holds nothing of its")
            }
            Self::LengthTooLong { len_bytes, max_bytes } => {
                write!(f, "device says it wrote {len_bytes} bytes into a buffer of {max_bytes}")
            }
            Self::LengthTooShort { len_bytes, min_bytes } => {
                write!(f, "device says it wrote {len_bytes} bytes where its header alone takes {min_bytes}")
            }
            Self::TooManyCompletions { completed, in_flight } => {
                write!(f, "device completed {completed} with {in_flight} in flight")
            }
            Self::OutOfSequence { what } => write!(f, "device completed out of sequence: {what}"),
            Self::UnknownKind { what, value } => {
                write!(f, "device named {what} {value:#x}, which does not exist")
            }
            Self::Stopped { code } => write!(f, "device stopped the queue with code {code:#x}"),
            Self::NoAnswer { after_ms } => write!(f, "device did not answer for {after_ms} ms"),
            Self::NeedsReset => f.write_str("device asks for a reset"),
            Self::Gone => f.write_str("device is gone: its registers read all ones"),
        }
    }
}

impl core::error::Error for DeviceFault {}
