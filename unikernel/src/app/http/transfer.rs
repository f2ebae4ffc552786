//! A file on its way out or in, piece by piece: what a connection does with [`Files`].

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::files::{Files, Handle, Name};
use super::request::{Refusal, Request};

/// So much of a file is in memory for a connection, and read or written in one go.
pub(crate) const PIECE_BYTES: usize = 32 * 1024;

/// Where it stands.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) request: Request,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// To be opened and sent.
    Open(Name),
    /// Being sent.
    Send { handle: Handle, offset: u64, left: u64 },
    /// To be stored, with so many bytes.
    Create(Name, u64),
    /// Being stored: so many bytes are still to come, and these came.
    Store { handle: Handle, left: u64, piece: Vec<u8> },
}

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing is to be done until more came or went.
    Waits,
    /// This is to be sent; there is more to come.
    Stage(Vec<u8>),
    /// This is the end of what is to be sent.
    Last(Vec<u8>),
    /// That is the answer.
    Refused(Refusal),
    /// The answer cannot be taken back, and what it promised is not there.
    Broken,
}

impl Transfer {
    /// The file called `name` is to be sent.
    pub(super) fn fetch(request: Request, name: Name) -> Self {
        Self { request, step: Step::Open(name) }
    }

    /// `len_bytes` that follow are to be the file called `name`.
    pub(super) fn store(request: Request, name: Name, len_bytes: u64) -> Self {
        Self { request, step: Step::Create(name, len_bytes) }
    }

    /// Whether it waits for bytes of the peer.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(&self.step, Step::Store { left: 1.., piece, .. } if piece.len() < PIECE_BYTES)
    }

    /// Whether a file was to be stored, so that there may be more of it on the way.
    pub(super) fn is_upload(&self) -> bool {
        matches!(self.step, Step::Create(..) | Step::Store { .. })
    }

    /// The file, while it is open.
    #[cfg(test)]
    pub(super) fn handle(&self) -> Option<Handle> {
        match &self.step {
            Step::Send { handle, .. } | Step::Store { handle, .. } => Some(handle.clone()),
            _ => None,
        }
    }

    /// Takes what of `bytes` belongs to the file and fits. Returns how much that was.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> usize {
        let Step::Store { left, piece, .. } = &mut self.step else { return 0 };
        let room = PIECE_BYTES.saturating_sub(piece.len());
        let len = usize::try_from(*left).unwrap_or(usize::MAX).min(room).min(bytes.len());
        piece.extend(bytes.iter().take(len));
        *left = left.saturating_sub(len as u64);
        len
    }

    /// Goes on.
    pub(super) fn step(&mut self, files: &mut dyn Files) -> Outcome {
        self.try_step(files).unwrap_or_else(|refusal| match self.step {
            Step::Send { .. } => Outcome::Broken,
            _ => Outcome::Refused(refusal),
        })
    }

    fn try_step(&mut self, files: &mut dyn Files) -> Result<Outcome, Refusal> {
        match &mut self.step {
            Step::Open(name) => {
                let (handle, left) = files.open(name)?;
                let head = head(
                    &self.request,
                    "200 OK",
                    &format!("Content-Type: application/octet-stream\r\nContent-Length: {left}\r\n"),
                );
                if left == 0 || self.request.head_only {
                    return Ok(Outcome::Last(head));
                }
                self.step = Step::Send { handle, offset: 0, left };
                Ok(Outcome::Stage(head))
            }
            Step::Send { handle, offset, left } => {
                let len = usize::try_from(*left).unwrap_or(usize::MAX).min(PIECE_BYTES);
                let mut piece = alloc::vec![0; len];
                files.read(handle, *offset, &mut piece)?;
                *offset = offset.saturating_add(len as u64);
                *left = left.saturating_sub(len as u64);
                Ok(if *left == 0 { Outcome::Last(piece) } else { Outcome::Stage(piece) })
            }
            Step::Create(name, len_bytes) => {
                let (handle, left) = (files.create(name, *len_bytes)?, *len_bytes);
                self.step = Step::Store { handle, left, piece: Vec::new() };
                let says_go = self.request.expects_continue && left > 0;
                Ok(Outcome::Stage(if says_go {
                    b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()
                } else {
                    Vec::new()
                }))
            }
            Step::Store { left: 1.., piece, .. } if piece.len() < PIECE_BYTES => Ok(Outcome::Waits),
            Step::Store { handle, left, piece } => {
                if !piece.is_empty() {
                    files.write(handle, piece)?;
                    piece.clear();
                }
                if *left > 0 {
                    return Ok(Outcome::Stage(Vec::new()));
                }
                let is_new = files.finish(handle)?;
                let (status, length) =
                    if is_new { ("201 Created", "Content-Length: 0\r\n") } else { ("204 No Content", "") };
                Ok(Outcome::Last(head(&self.request, status, length)))
            }
        }
    }
}

fn head(request: &Request, status: &str, fields: &str) -> Vec<u8> {
    let close = if request.keep_alive { "" } else { "Connection: close\r\n" };
    String::into_bytes(format!("HTTP/1.1 {status}\r\n{fields}Cache-Control: no-store\r\n{close}\r\n"))
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
