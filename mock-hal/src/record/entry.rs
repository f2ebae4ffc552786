//! What passes between a driver and its device, as plain values.

use std::fmt;

use paravane_hal::addr::Align;
use paravane_hal::dma::{Direction, DmaRequest};
use paravane_pci::PciAddress;

use crate::registers::Width;

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The driver reads or writes.
    Access(Access),
    /// The driver maps registers.
    Map {
        /// What the recording calls the register block, and where in it the mapping starts.
        place: Place,
        /// The address on the CPU's bus.
        start: u64,
        /// How long the mapping is.
        len_bytes: usize,
    },
    /// The driver allocates coherent memory.
    Alloc {
        /// What the recording calls it.
        memory: u32,
        /// What was asked for.
        request: DmaRequest,
    },
    /// The driver asks for coherent memory and gets none.
    Refuse {
        /// What was asked for.
        request: DmaRequest,
    },
    /// The driver gives coherent memory back.
    Free {
        /// Which.
        memory: u32,
    },
    /// The driver lends memory of its own.
    Lend {
        /// What the recording calls it.
        memory: u32,
        /// How long it is.
        len_bytes: usize,
        /// Who writes it.
        direction: Direction,
    },
    /// The driver takes lent memory back.
    Return {
        /// Which.
        memory: u32,
    },
    /// The driver looks at the clock, and sees what follows.
    Look,
    /// The device writes to memory.
    Device {
        /// Which.
        memory: u32,
        /// From which byte on.
        offset_bytes: usize,
        /// What.
        bytes: Vec<u8>,
    },
    /// Firmware left this in memory before the driver came.
    Firmware {
        /// At which physical address.
        start: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// The device interrupts.
    Interrupt {
        /// On which vector; 0 for a pin.
        vector: u16,
    },
    /// Whoever drives the driver begins something.
    Step(String),
    /// A frame (a request, a character) is given to the device from outside.
    Give(Vec<u8>),
    /// The device gave one to the outside.
    Take(Vec<u8>),
}

/// One read or write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Read or write.
    pub operation: Operation,
    /// How wide.
    pub width: Width,
    /// Where.
    pub space: Space,
    /// What was read or written.
    pub value: Value,
    /// How often in a row: 1, but for reads that gave the same again and again.
    pub times: u32,
}

/// Read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The driver reads.
    Read,
    /// The driver writes.
    Write,
}

/// Where an access goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Space {
    /// Mapped registers.
    Register(Place),
    /// An I/O port.
    Port(u16),
    /// Configuration space.
    Config {
        /// Of which function.
        at: PciAddress,
        /// Which byte of it.
        offset: u16,
    },
}

/// A byte of something that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `bar1`, `mmio0`, `mem3`.
    pub name: String,
    /// Which byte.
    pub offset_bytes: usize,
}

/// A value that was read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u32),
    /// The low half of the device address of a byte in memory.
    Low(Place),
    /// The high half.
    High(Place),
}

/// The name of the `number`th memory.
pub(super) fn memory_name(number: u32) -> String {
    format!("mem{number}")
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset_bytes)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number:#x}"),
            Self::Low(place) => write!(f, "low {place}"),
            Self::High(place) => write!(f, "high {place}"),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.width.bytes() * 8;
        let word = match (&self.space, self.operation) {
            (Space::Port(_), Operation::Read) => "in",
            (Space::Port(_), Operation::Write) => "out",
            (_, Operation::Read) => "read",
            (_, Operation::Write) => "write",
        };
        match &self.space {
            Space::Register(place) => write!(f, "{word}{bits} {place}")?,
            Space::Port(port) => write!(f, "{word}{bits} {port:#x}")?,
            Space::Config { at, offset } => write!(f, "config {at} {word}{bits} {offset:#04x}")?,
        }
        write!(f, " = {}", self.value)?;
        if self.times > 1 {
            write!(f, " times {}", self.times)?;
        }
        Ok(())
    }
}

/// The words that stand for who writes lent memory.
pub(super) const DIRECTIONS: [(&str, Direction); 3] = [
    ("to-device", Direction::ToDevice),
    ("from-device", Direction::FromDevice),
    ("both-ways", Direction::Both),
];

/// What a request for memory looks like behind its first words.
struct RequestText<'a>(&'a DmaRequest);

impl fmt::Display for RequestText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DmaRequest { len_bytes, align, address_bits } = self.0;
        write!(f, "{len_bytes}")?;
        if *align != Align::BYTE {
            write!(f, " align {}", align.bytes())?;
        }
        write!(f, " bits {address_bits}")
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(access) => access.fmt(f),
            Self::Map { place, start, len_bytes } => write!(f, "map {place} at {start:#x} {len_bytes}"),
            Self::Alloc { memory, request } => {
                write!(f, "alloc {} {}", memory_name(*memory), RequestText(request))
            }
            Self::Refuse { request } => write!(f, "refuse {}", RequestText(request)),
            Self::Free { memory } => write!(f, "free {}", memory_name(*memory)),
            Self::Lend { memory, len_bytes, direction } => {
                let word =
                    DIRECTIONS.iter().find(|(_, other)| other == direction).map_or("", |(word, _)| word);
                write!(f, "lend {} {len_bytes} {word}", memory_name(*memory))
            }
            Self::Return { memory } => write!(f, "return {}", memory_name(*memory)),
            Self::Look => f.write_str("look"),
            Self::Device { memory, offset_bytes, bytes } => {
                write!(f, "device {}+{offset_bytes:#x} =", memory_name(*memory))?;
                super::bytes::write(f, bytes)
            }
            Self::Firmware { start, bytes } => {
                write!(f, "firmware {start:#x} =")?;
                super::bytes::write(f, bytes)
            }
            Self::Interrupt { vector } => write!(f, "interrupt {vector}"),
            Self::Step(name) => write!(f, "step {name}"),
            Self::Give(bytes) => {
                f.write_str("give")?;
                super::bytes::write(f, bytes)
            }
            Self::Take(bytes) => {
                f.write_str("take")?;
                super::bytes::write(f, bytes)
            }
        }
    }
}
