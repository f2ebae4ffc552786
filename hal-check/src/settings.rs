//! How much is checked, and with what.

use core::fmt;
use core::time::Duration;

use crate::report::Check;

/// How much is checked, and with what help. The defaults need none.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Settings<'a> {
    /// Called before each check: if the machine dies in one, its name is the last line on the
    /// console.
    pub before: &'a dyn Fn(Check),
    /// How often 64 KiB are allocated and freed to see whether they come back. Together more than
    /// the machine has for devices, if that is to be sure.
    pub free_rounds: u32,
    /// How many bytes of DMA memory are out, where the platform counts: finds every leak at once.
    pub bytes_in_use: Option<&'a dyn Fn() -> usize>,
    /// How often the clock is looked at before it counts as stopped.
    pub clock_looks: u32,
    /// Another clock, in nanoseconds, to measure the platform's against.
    pub reference_nanos: Option<&'a dyn Fn() -> u64>,
    /// How many frames the pool has; `None` for as many as it should.
    pub pool_frames: Option<u32>,
    /// How many descriptors each ring of the NIC has.
    pub ring_entries: u16,
    /// A station on the NIC's wire that answers ARP, to see frames received.
    pub peer: Option<ArpPeer>,
    /// Called in every turn of a wait for the NIC, for a wire that does not move by itself.
    pub turn: &'a dyn Fn(),
    /// How long the NIC is waited for.
    pub wait: Duration,
}

/// A station that answers ARP, on the wire of the NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpPeer {
    /// The IPv4 address that the NIC asks as.
    pub own: [u8; 4],
    /// The address asked for.
    pub peer: [u8; 4],
}

impl ArpPeer {
    /// QEMU's `-netdev user`, with its default network.
    pub const QEMU_USER: Self = Self { own: [10, 0, 2, 15], peer: [10, 0, 2, 2] };
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            before: &|_| {},
            free_rounds: 4096,
            bytes_in_use: None,
            clock_looks: 4_000_000,
            reference_nanos: None,
            pool_frames: None,
            ring_entries: 32,
            peer: None,
            turn: &|| {},
            wait: Duration::from_secs(2),
        }
    }
}

impl fmt::Debug for Settings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("free_rounds", &self.free_rounds)
            .field("clock_looks", &self.clock_looks)
            .field("pool_frames", &self.pool_frames)
            .field("ring_entries", &self.ring_entries)
            .field("peer", &self.peer)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

impl<'a> Settings<'a> {
    /// Says what is about to be checked.
    #[must_use]
    pub fn with_before(self, before: &'a dyn Fn(Check)) -> Self {
        Self { before, ..self }
    }

    /// Allocates and frees so often.
    #[must_use]
    pub fn with_free_rounds(self, free_rounds: u32) -> Self {
        Self { free_rounds, ..self }
    }

    /// Asks how much is out.
    #[must_use]
    pub fn with_bytes_in_use(self, bytes_in_use: &'a dyn Fn() -> usize) -> Self {
        Self { bytes_in_use: Some(bytes_in_use), ..self }
    }

    /// Looks so often before a clock counts as stopped.
    #[must_use]
    pub fn with_clock_looks(self, clock_looks: u32) -> Self {
        Self { clock_looks, ..self }
    }

    /// Measures the clock against another.
    #[must_use]
    pub fn with_reference_nanos(self, reference_nanos: &'a dyn Fn() -> u64) -> Self {
        Self { reference_nanos: Some(reference_nanos), ..self }
    }

    /// Makes a pool of so many frames.
    #[must_use]
    pub fn with_pool_frames(self, frames: u32) -> Self {
        Self { pool_frames: Some(frames), ..self }
    }

    /// Makes rings of so many descriptors.
    #[must_use]
    pub fn with_ring_entries(self, entries: u16) -> Self {
        Self { ring_entries: entries, ..self }
    }

    /// Asks a station on the wire.
    #[must_use]
    pub fn with_peer(self, peer: ArpPeer) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// Moves the wire.
    #[must_use]
    pub fn with_turn(self, turn: &'a dyn Fn()) -> Self {
        Self { turn, ..self }
    }

    /// Waits so long for the NIC.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}
