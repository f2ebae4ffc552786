#![doc = include_str!("../README.md")]

mod bus;
mod cable;
mod error;
mod interrupts;
mod link;
mod machine;
mod monitor;
mod platform;
mod process;
mod ram;
mod setup;

pub use cable::Cable;
pub use error::QtestError;
pub use interrupts::Mailbox;
pub use machine::{Config, Machine, PortLock};
pub use monitor::Monitor;
pub use platform::{Qtest, Registers};
pub use setup::{Chipset, Setup};

/// Drivers and their tests run on any thread.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Qtest>();
    is_send_and_sync::<Config>();
    is_send_and_sync::<Machine>();
};
