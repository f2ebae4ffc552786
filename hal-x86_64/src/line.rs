//! What an interrupt line does when its device wants something.

use core::fmt;

/// How a line says that something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By going up. Monitors that only pulse their lines want this; a handler ends the interrupt,
    /// and leaves the line open, for what comes while it is closed may be lost.
    Edge,
    /// By being up, until the device was served: PCI's pins, which devices may share. A handler
    /// closes the line until then.
    Level,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edge => "edge",
            Self::Level => "level",
        })
    }
}
