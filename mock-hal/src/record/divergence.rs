//! What was wrong with a driver that met a recording, for a person to read.

use std::fmt::{self, Write as _};

use super::recording::Recording;

/// Lines shown before and after.
const AROUND: usize = 5;

/// The first difference between a recording and what a driver does.
#[derive(Clone, PartialEq, Eq)]
pub struct Divergence {
    /// The line of the recording that was expected, or that follows its last one.
    pub line: usize,
    /// That line; `None` when the recording was at its end.
    pub expected: Option<String>,
    /// What the driver did instead, written as the recording would; or what is wrong.
    pub got: String,
    /// The lines around.
    context: String,
}

impl Divergence {
    /// Something else than entry `index`.
    pub(super) fn at(recording: &Recording, index: usize, got: String) -> Self {
        let expected = recording.entries.get(index).map(ToString::to_string);
        let mut context = String::new();
        let shown =
            recording.entries.iter().enumerate().skip(index.saturating_sub(AROUND)).take(AROUND * 2 + 1);
        for (at, entry) in shown.take_while(|(at, _)| *at <= index.saturating_add(AROUND)) {
            if at == index {
                // Writing to a string does not fail.
                let _ =
                    writeln!(context, "     - {:>6}  {entry}\n     + {:>6}  {got}", recording.line(at), "");
            } else {
                let _ = writeln!(context, "       {:>6}  {entry}", recording.line(at));
            }
        }
        if expected.is_none() {
            let _ = writeln!(context, "     - {:>6}  end\n     + {:>6}  {got}", recording.line(index), "");
        }
        Self { line: recording.line(index), expected, got, context }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = self.expected.as_deref().unwrap_or("the end of the recording");
        writeln!(f, "the driver left the recording at line {}", self.line)?;
        writeln!(f, "    expected: {expected}")?;
        writeln!(f, "         got: {}", self.got)?;
        f.write_str(&self.context)
    }
}

impl fmt::Debug for Divergence {
    /// As for people: this is what a failed `unwrap` shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\n")?;
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Divergence {}

/// Why a playing back did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError {
    /// The driver did something else than the recorded one.
    Divergence(Divergence),
    /// It did the same, and broke the rules of memory: what
    /// [`Memory::verdict`](crate::Memory::verdict) says.
    Memory(Vec<String>),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Divergence(divergence) => divergence.fmt(f),
            Self::Memory(wrong) => f.write_str(&wrong.join("\n")),
        }
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Divergence(divergence) => Some(divergence),
            Self::Memory(_) => None,
        }
    }
}
