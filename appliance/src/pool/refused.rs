//! Why a connection goes to no server.

use core::fmt;

/// The reasons, with the names by which they are shown.
macro_rules! refusals {
    ($($(#[$doc:meta])* $refused:ident = $name:literal, $text:literal;)*) => {
        /// Why a connection goes to no server. Nothing was taken from any limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Refused {
            $($(#[$doc])* $refused,)*
        }

        impl Refused {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$refused),*];

            /// As metrics and status pages have it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$refused => $name,)*
                }
            }
        }

        impl fmt::Display for Refused {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$refused => $text,)*
                })
            }
        }
    };
}

refusals! {
    /// Each server is down, draining, maintained, without weight, or was tried.
    NoServer = "no_server", "no server of the pool takes connections";
    /// Each server that is left has its most connections, or gets new ones as fast as it may.
    Busy = "servers_busy", "each server that takes connections is at its limits";
    /// It is an old connection, and the algorithm does not tell where it went.
    Untold = "untold", "nothing tells which server the connection went to";
}

impl core::error::Error for Refused {}

/// How many there are.
const REFUSALS: usize = Refused::ALL.len();

/// How often each was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals([u64; REFUSALS]);

impl Refusals {
    #[cold]
    pub(super) fn count(&mut self, refused: Refused) {
        if let Some(count) = self.0.get_mut(refused as usize) {
            *count = count.wrapping_add(1);
        }
    }

    pub(super) fn of(&self, refused: Refused) -> u64 {
        self.0.get(refused as usize).copied().unwrap_or(0)
    }
}
