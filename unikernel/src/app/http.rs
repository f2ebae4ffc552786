//! HTTP/1.1, as far as the program speaks it: a [`Connection`] takes bytes and gives bytes, and
//! knows no socket.
//!
//! Nothing is collected that a peer could make large: a request's head is at most
//! [`MAX_HEAD_BYTES`], bodies stream through a hash, `/bytes` is made as it is sent, and files go
//! piece by piece from and to whoever has them.

pub mod body;
pub mod bytes;
mod connection;
mod files;
mod request;
mod transfer;

pub use connection::{Connection, Wanted};
pub use files::{Files, Handle, Name, NoFiles};
pub use request::{Change, MAX_HEAD_BYTES, Refusal, Request, Route, Routes, only, routes};
pub(crate) use transfer::PIECE_BYTES;

use alloc::string::String;
use core::fmt::Write;

/// Thirty-two bytes as hexadecimal digits.
#[must_use]
pub fn hex(digest: &[u8]) -> String {
    let mut text = String::with_capacity(digest.len().saturating_mul(2));
    for byte in digest {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
