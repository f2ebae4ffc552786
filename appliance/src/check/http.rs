//! HTTP: one request, and the status of its answer.
//!
//! Of an answer nothing is kept but how far it was read. What follows the status line is not looked
//! at, unless the status is one of those that come before the real one.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::settings::CheckError;
use crate::splice::proxy;

/// So much of an answer is read until its status is there.
pub const MAX_ANSWER_BYTES: u16 = 8192;

/// A page to ask for, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    request: Vec<u8>,
    first: u16,
    last: u16,
}

impl Http {
    /// Asks `host` for `path`, and expects a status of 200 to 399.
    ///
    /// # Errors
    ///
    /// [`CheckError::Path`], [`CheckError::Host`]: what would be more than one line, or one of
    /// something else, is not sent.
    pub fn get(host: &str, path: &str) -> Result<Self, CheckError> {
        let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !path.starts_with('/') || path.len() > 512 || !is_visible(path) {
            return Err(CheckError::Path);
        }
        if host.is_empty() || host.len() > 255 || !is_visible(host) {
            return Err(CheckError::Host);
        }
        let mut request = String::new();
        for part in ["GET ", path, " HTTP/1.1\r\nHost: ", host] {
            request.push_str(part);
        }
        request.push_str("\r\nUser-Agent: paravane\r\nAccept: */*\r\nConnection: close\r\n\r\n");
        Ok(Self { request: request.into_bytes(), first: 200, last: 399 })
    }

    /// Expects a status of these instead.
    ///
    /// # Errors
    ///
    /// [`CheckError::Range`]: there is none such.
    pub fn expecting(self, status: RangeInclusive<u16>) -> Result<Self, CheckError> {
        let (first, last) = status.into_inner();
        if first > last || first < 200 || last > 599 {
            return Err(CheckError::Range { first, last });
        }
        Ok(Self { first, last, ..self })
    }

    /// Says first, by the PROXY protocol, that nobody is behind the request: for servers that want
    /// its header in front of each.
    ///
    /// Spec: The PROXY protocol, versions 1 & 2, 2.2 "Binary header format (version 2)", LOCAL.
    #[must_use]
    pub fn behind_proxy_header(self) -> Self {
        let request = proxy::local_header().chain(self.request).collect();
        Self { request, ..self }
    }

    pub(super) const fn expected(&self) -> (u16, u16) {
        (self.first, self.last)
    }

    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }
}

/// It is not HTTP/1, or has no status within [`MAX_ANSWER_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHttp;

/// What an answer begins with.
const BEGINNING: &[u8] = b"HTTP/1.";

/// Where in an answer one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In front of that byte of [`BEGINNING`].
    Beginning(u8),
    /// In front of the version's last digit.
    Minor,
    /// In front of the blank behind it.
    Blank,
    /// In a status of which so many digits are read.
    Status { digits: u8, so_far: u16 },
    /// In the head of an answer before the real one: at the beginning of a line, or within one.
    Interim { is_line_empty: bool },
}

/// An answer as it is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    at: At,
    read_bytes: u16,
}

impl Default for Answer {
    fn default() -> Self {
        Self { at: At::Beginning(0), read_bytes: 0 }
    }
}

impl Answer {
    /// Reads on. `None` as long as nobody can say; what comes behind is not to be read.
    ///
    /// Spec: RFC 9112, 4 "Status Line"; RFC 9110, 15.2 "Informational 1xx".
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<Result<u16, NotHttp>> {
        for byte in bytes {
            self.read_bytes = self.read_bytes.saturating_add(1);
            if self.read_bytes > MAX_ANSWER_BYTES {
                return Some(Err(NotHttp));
            }
            match self.step(*byte) {
                Ok(Step::On(at)) => self.at = at,
                Ok(Step::Status(status)) => return Some(Ok(status)),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    fn step(&self, byte: u8) -> Result<Step, NotHttp> {
        let on = match (self.at, byte) {
            (At::Beginning(at), byte) if BEGINNING.get(usize::from(at)) == Some(&byte) => {
                let next = at.saturating_add(1);
                if usize::from(next) == BEGINNING.len() { At::Minor } else { At::Beginning(next) }
            }
            (At::Minor, b'0'..=b'9') => At::Blank,
            (At::Blank, b' ') => At::Status { digits: 0, so_far: 0 },
            (At::Status { digits: digits @ 0..3, so_far }, b'0'..=b'9') => {
                let digit = u16::from(byte.wrapping_sub(b'0'));
                let so_far = so_far.saturating_mul(10).saturating_add(digit);
                At::Status { digits: digits.saturating_add(1), so_far }
            }
            (At::Status { digits: 3, so_far }, b' ' | b'\r' | b'\n') => match so_far {
                100..=199 => At::Interim { is_line_empty: byte == b'\n' },
                200..=599 => return Ok(Step::Status(so_far)),
                _ => return Err(NotHttp),
            },
            (At::Interim { is_line_empty: true }, b'\n') => At::Beginning(0),
            (At::Interim { .. }, b'\n') => At::Interim { is_line_empty: true },
            (At::Interim { is_line_empty }, b'\r') => At::Interim { is_line_empty },
            (At::Interim { .. }, _) => At::Interim { is_line_empty: false },
            _ => return Err(NotHttp),
        };
        Ok(Step::On(on))
    }
}

/// What a byte brings.
enum Step {
    On(At),
    Status(u16),
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
