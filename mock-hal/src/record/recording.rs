//! A whole recording.

use std::fmt;
use std::ops::RangeInclusive;

use paravane_hal::addr::PhysAddr;
use paravane_hal::dma::DmaLimits;

use super::entry::Entry;
use super::seal::Seal;

/// How much configuration space there was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigShape {
    /// Bytes of a function's space that could be reached.
    pub config_bytes: u16,
    /// The segment.
    pub segment: u16,
    /// The buses.
    pub buses: RangeInclusive<u8>,
}

/// A recording: where it comes from, and what happened, in order.
///
/// # Text
///
/// ```text
/// paravane-recording 2               the format's version
/// # anything                         a comment; blank lines may be anywhere too
/// device: vmxnet3                    where it comes from: any number of such lines
/// limits: segment any bits 64 granule 1
/// config: 256 bytes segment 0 buses 0-0
///
/// step claim                         whoever drove the driver began something
/// config 0000:00:04.0 read16 0x00 = 0x15ad
/// map bar1+0x0 at 0xfebf1000 4096    registers got a name
/// read32 bar1+0x20 = 0x0             the driver read 0
/// read8 bar1+0x24 = 0x1 times 3      the same, three times in a row
/// in32 0xcfc = 0x0                   from an I/O port
/// alloc mem2 4096 align 512 bits 64  coherent memory got a name
/// write32 bar1+0x10 = low mem2+0x0   the low half of its device address
/// write32 bar1+0x14 = high mem2+0x0
/// device mem2+0x40 = 00*12 01020304  the device wrote, seen after the access above
/// look                               the driver looked at the clock, and saw:
/// device mem2+0x50 = 41+03*46        46 bytes: 41, 44, 47 and so on
/// firmware 0xf5a40 = 52534420        left in memory at a physical address, before the driver came
/// interrupt 1                        a vector
/// give ffffffffffff 88b5             a frame given to the device from outside
/// take ffffffffffff 88b5             one that came out
/// lend mem3 1514 to-device           memory of the driver's own, for a while
/// return mem3
/// free mem2
/// refuse 4096 align 512 bits 64      there was no memory
/// end 20 0x4fd2a1c7                  how many entries there are, and the CRC-32 of all lines before this one
/// ```
///
/// Numbers with `0x` are hexadecimal, others decimal. `device` lines belong to the access, `look`,
/// `step`, `interrupt` or `return` before them. The CRC-32 is Ethernet's, of each line without the
/// spaces around it and with one `\n`, comments and blank lines left out. A recording that is
/// changed by hand is read by [`parse_edited`](Self::parse_edited).
#[derive(Clone, Debug)]
pub struct Recording {
    pub(super) provenance: Vec<(String, String)>,
    pub(super) limits: DmaLimits,
    pub(super) config: Option<ConfigShape>,
    pub(super) entries: Vec<Entry>,
    /// The line of each entry in the text it was read from.
    pub(super) lines: Vec<usize>,
}

/// The first word of every recording.
pub(super) const MAGIC: &str = "paravane-recording";
/// The version written, and the only one read.
pub(super) const VERSION: u32 = 2;

impl Recording {
    /// Where it comes from: names and values in the order of the text.
    #[must_use]
    pub fn provenance(&self) -> &[(String, String)] {
        &self.provenance
    }

    /// The value of one line of its provenance.
    #[must_use]
    pub fn provenance_of(&self, name: &str) -> Option<&str> {
        self.provenance.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// What happened.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Copies what firmware left at `from` to `into`. Whether all of it was recorded; if not,
    /// `into` holds anything.
    #[must_use]
    pub fn read_firmware(&self, from: PhysAddr, into: &mut [u8]) -> bool {
        self.entries.iter().any(|entry| {
            let Entry::Firmware { start, bytes } = entry else { return false };
            let inside = from.get().checked_sub(*start).and_then(|at| usize::try_from(at).ok());
            let found = inside.and_then(|at| bytes.get(at..)).and_then(|bytes| bytes.get(..into.len()));
            found.map(|bytes| into.copy_from_slice(bytes)).is_some()
        })
    }

    /// The line of entry `index`; one past the last for one that is not there.
    pub(super) fn line(&self, index: usize) -> usize {
        self.lines.get(index).copied().unwrap_or_else(|| self.lines.last().map_or(1, |last| last + 1))
    }
}

impl Recording {
    /// All lines but the last.
    fn write_lines(&self, f: &mut impl fmt::Write) -> fmt::Result {
        writeln!(f, "{MAGIC} {VERSION}")?;
        for (name, value) in &self.provenance {
            writeln!(f, "{name}: {value}")?;
        }
        let DmaLimits { max_segment_bytes, address_bits, mapping_granule, .. } = self.limits;
        f.write_str("limits: segment ")?;
        match max_segment_bytes {
            usize::MAX => f.write_str("any")?,
            bytes => write!(f, "{bytes}")?,
        }
        writeln!(f, " bits {address_bits} granule {}", mapping_granule.bytes())?;
        if let Some(ConfigShape { config_bytes, segment, buses }) = &self.config {
            writeln!(
                f,
                "config: {config_bytes} bytes segment {segment} buses {}-{}",
                buses.start(),
                buses.end()
            )?;
        }
        for entry in &self.entries {
            // A step begins something, so it gets air.
            if matches!(entry, Entry::Step(_)) {
                writeln!(f)?;
            }
            writeln!(f, "{entry}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = String::new();
        self.write_lines(&mut lines)?;
        let seal = Seal::of(self.entries.len(), lines.lines());
        writeln!(f, "{lines}{seal}")
    }
}
