//! What a platform has to bring along.

use alloc::vec::Vec;
use core::fmt;

use paravane_hal::Platform;
use paravane_hal::irq::MsiMessage;
use paravane_net::MacAddr;
use paravane_pci::ConfigAccess;

/// A NIC with a cable, on some platform.
pub trait Environment {
    /// Memory, registers, time.
    type Platform: Platform + Clone + Send + Sync + 'static;
    /// Configuration space.
    type Config: ConfigAccess + Clone + Send;

    /// The platform value that drivers are given.
    fn platform(&self) -> Self::Platform;

    /// Configuration space that drivers are given.
    fn config(&self) -> Self::Config;

    /// The address that the NIC was made with, as whoever made it knows.
    fn mac(&self) -> MacAddr;

    /// DMA memory in use. The tests allocate a pool of frames, and see that it all comes back.
    fn dma_bytes_in_use(&self) -> usize;

    /// Takes the cable out or puts it in. May return before it has happened.
    fn set_link(&mut self, up: bool);

    /// Whether the NIC can tell whether the cable is in. One that cannot is always up.
    fn tells_of_link(&self) -> bool {
        true
    }

    /// Gives the other end of the cable a chance to do what [`peer::answer`](crate::peer::answer)
    /// says. Called in every turn of a wait; empty where the other end moves by itself.
    fn turn(&mut self);

    /// A message for each vector that a driver may use: three, always the same.
    fn messages(&self) -> Vec<MsiMessage>;

    /// Whether any of the messages has come since the last call. May sleep a little to find out.
    fn rang(&mut self) -> bool;

    /// A line about what is going on.
    fn report(&mut self, line: fmt::Arguments<'_>);
}
