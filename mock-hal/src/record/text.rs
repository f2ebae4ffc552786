//! From text to a recording. Whatever the text holds, the answer is a recording or an error with a
//! line.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use paravane_hal::addr::Align;
use paravane_hal::dma::{DmaLimits, DmaRequest};

use super::bytes;
use super::entry::{Access, DIRECTIONS, Entry, Operation, Place, Space, Value};
use super::recording::{ConfigShape, MAGIC, Recording, VERSION};
use super::seal::{Seal, says_something};
use crate::registers::Width;

/// The longest run of bytes that one line may name.
const RUN_LIMIT_BYTES: usize = 1 << 20;

/// A text is not a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// In which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: ParseReason,
}

/// Why a text is not a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseReason {
    /// The first line does not begin with the format's name.
    NotARecording,
    /// Another version of the format.
    Version {
        /// As the text has it.
        found: String,
    },
    /// A line that begins with no word of the format, or that goes on in a way that word does not.
    Line {
        /// The line.
        text: String,
        /// What it should look like, if its first word says so.
        expected: &'static str,
    },
    /// The text stops before its `end`.
    Truncated {
        /// How many entries there are.
        entries: usize,
    },
    /// `end` counts other entries than there are: lines were taken out or put in.
    Count {
        /// As `end` says.
        declared: usize,
        /// As there are.
        found: usize,
    },
    /// `end` sums up other lines than there are: some were changed.
    Sum {
        /// As `end` says.
        declared: u32,
        /// As the lines give.
        found: u32,
    },
    /// Something follows `end`.
    AfterEnd,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.reason {
            ParseReason::NotARecording => write!(f, "not a recording, which begins with `{MAGIC} {VERSION}`"),
            ParseReason::Version { found } => {
                write!(f, "a recording of version {found}; this is a reader of version {VERSION}")
            }
            ParseReason::Line { text, expected } => write!(f, "expected `{expected}`, found `{text}`"),
            ParseReason::Truncated { entries } => {
                write!(f, "the recording is truncated: no `end` after {entries} entries")
            }
            ParseReason::Count { declared, found } => {
                write!(f, "the recording was edited: `end` counts {declared} entries, there are {found}")
            }
            ParseReason::Sum { declared, found } => {
                write!(
                    f,
                    "the recording was edited: `end` sums up lines to {declared:#010x}, these give {found:#010x}"
                )
            }
            ParseReason::AfterEnd => f.write_str("something follows the `end` of the recording"),
        }
    }
}

impl std::error::Error for ParseError {}

/// The last line, not looked at yet.
struct End<'t> {
    line: usize,
    text: &'t str,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// [`ParseError`] names the first line that does not fit; where lines were changed but can be
    /// read, that is the `end` which sums them up.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (recording, end) = Self::read(text)?;
        let entries = recording.entries.len();
        let Some(End { line, text: end }) = end else {
            let line = text.lines().count();
            return Err(ParseError { line, reason: ParseReason::Truncated { entries } });
        };
        let fails = |reason| Err(ParseError { line, reason });
        let found = Seal::of(entries, text.lines().take(line - 1));
        match seal(end) {
            None => fails(wrong(end, "end COUNT CRC32")),
            Some(Seal { entries: declared, .. }) if declared != entries => {
                fails(ParseReason::Count { declared, found: entries })
            }
            Some(Seal { crc32: declared, .. }) if declared != found.crc32 => {
                fails(ParseReason::Sum { declared, found: found.crc32 })
            }
            Some(_) => Ok(recording),
        }
    }

    /// Reads a recording that was written or changed by hand: its `end` may be missing, and may say
    /// anything. The text of the result has one that fits.
    ///
    /// # Errors
    ///
    /// [`ParseError`] names the first line that does not fit.
    pub fn parse_edited(text: &str) -> Result<Self, ParseError> {
        Self::read(text).map(|(recording, _)| recording)
    }

    /// The recording in `text`, and its `end`.
    fn read(text: &str) -> Result<(Self, Option<End<'_>>), ParseError> {
        let mut recording = Self {
            provenance: Vec::new(),
            limits: DmaLimits::NONE,
            config: None,
            entries: Vec::new(),
            lines: Vec::new(),
        };
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        check_first(lines.next())?;
        while let Some((line, text)) = lines.next() {
            if !says_something(text) {
                continue;
            }
            if text.starts_with("end ") {
                return match lines.find(|(_, rest)| !rest.is_empty()) {
                    Some((line, _)) => Err(ParseError { line, reason: ParseReason::AfterEnd }),
                    None => Ok((recording, Some(End { line, text }))),
                };
            }
            let outcome = match text.split_once(": ").filter(|_| recording.entries.is_empty()) {
                Some((name, value)) if !name.contains(' ') => recording.header(name, value, text),
                _ => entry(text).map(|entry| {
                    recording.entries.push(entry);
                    recording.lines.push(line);
                }),
            };
            outcome.map_err(|reason| ParseError { line, reason })?;
        }
        Ok((recording, None))
    }

    fn header(&mut self, name: &str, value: &str, text: &str) -> Result<(), ParseReason> {
        match name {
            "limits" => {
                const SHAPE: &str = "limits: segment BYTES bits BITS granule BYTES";
                self.limits = limits(value).ok_or_else(|| wrong(text, SHAPE))?;
            }
            "config" => {
                const SHAPE: &str = "config: BYTES bytes segment SEGMENT buses FIRST-LAST";
                self.config = Some(config_shape(value).ok_or_else(|| wrong(text, SHAPE))?);
            }
            _ => self.provenance.push((name.to_owned(), value.trim().to_owned())),
        }
        Ok(())
    }
}

impl FromStr for Recording {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

fn wrong(text: &str, expected: &'static str) -> ParseReason {
    // A line of a damaged file may be anything, of any length.
    ParseReason::Line { text: text.chars().take(80).collect(), expected }
}

fn check_first(first: Option<(usize, &str)>) -> Result<(), ParseError> {
    let fails = |reason| Err(ParseError { line: 1, reason });
    let Some(version) = first.and_then(|(_, line)| line.strip_prefix(MAGIC)) else {
        return fails(ParseReason::NotARecording);
    };
    match version.trim() {
        found if found.parse() == Ok(VERSION) => Ok(()),
        found => fails(ParseReason::Version { found: found.chars().take(20).collect() }),
    }
}

/// The words of a line, taken one by one.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.split_whitespace())
    }

    fn next(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        number(self.next()?)
    }

    /// Takes `word`, which has to be next.
    fn exactly(&mut self, word: &str) -> Option<()> {
        (self.next()? == word).then_some(())
    }

    /// `value`, when no word is left.
    fn end<T>(&mut self, value: T) -> Option<T> {
        self.next().is_none().then_some(value)
    }
}

fn number<T: TryFrom<u64>>(word: &str) -> Option<T> {
    let value = match word.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()?
        }
        Some(_) => return None,
        None if word.bytes().all(|digit| digit.is_ascii_digit()) => word.parse().ok()?,
        None => return None,
    };
    T::try_from(value).ok()
}

fn place(word: &str) -> Option<Place> {
    let (name, offset) = word.rsplit_once('+')?;
    Some(Place { name: name.to_owned(), offset_bytes: number(offset)? })
}

fn memory(word: &str) -> Option<u32> {
    number(word.strip_prefix("mem")?)
}

fn limits(value: &str) -> Option<DmaLimits> {
    let mut words = Words::of(value);
    words.exactly("segment")?;
    let max_segment_bytes = match words.next()? {
        "any" => usize::MAX,
        word => number(word)?,
    };
    words.exactly("bits")?;
    let address_bits = words.number()?;
    words.exactly("granule")?;
    let mapping_granule = Align::checked(words.number()?)?;
    let limits = DmaLimits::NONE
        .with_max_segment_bytes(max_segment_bytes)
        .with_address_bits(address_bits)
        .with_mapping_granule(mapping_granule);
    words.end(limits)
}

fn config_shape(value: &str) -> Option<ConfigShape> {
    let mut words = Words::of(value);
    let config_bytes = words.number()?;
    words.exactly("bytes")?;
    words.exactly("segment")?;
    let segment = words.number()?;
    words.exactly("buses")?;
    let (first, last) = words.next()?.split_once('-')?;
    words.end(ConfigShape { config_bytes, segment, buses: number(first)?..=number(last)? })
}

fn seal(text: &str) -> Option<Seal> {
    let mut words = Words::of(text);
    words.exactly("end")?;
    let entries = words.number()?;
    let crc32 = words.number()?;
    words.end(Seal { entries, crc32 })
}

fn entry(text: &str) -> Result<Entry, ParseReason> {
    const ACCESS: &str = "read32 NAME+OFFSET = VALUE";
    let (first, _) = text.split_once(' ').unwrap_or((text, ""));
    let mut words = Words::of(text);
    words.next();
    let (parsed, expected) = match first {
        "look" => (words.end(Entry::Look), "look"),
        "step" => {
            let name = text.strip_prefix("step").unwrap_or_default().trim();
            ((!name.is_empty()).then(|| Entry::Step(name.to_owned())), "step NAME")
        }
        "map" => (map(&mut words), "map NAME+OFFSET at ADDRESS LENGTH"),
        "alloc" => (alloc(&mut words), "alloc memN LENGTH align ALIGN bits BITS"),
        "refuse" => (
            request(&mut words).map(|request| Entry::Refuse { request }),
            "refuse LENGTH align ALIGN bits BITS",
        ),
        "free" => (named(&mut words).map(|memory| Entry::Free { memory }), "free memN"),
        "return" => (named(&mut words).map(|memory| Entry::Return { memory }), "return memN"),
        "lend" => (lend(&mut words), "lend memN LENGTH to-device|from-device|both-ways"),
        "device" => (device(&mut words), "device memN+OFFSET = BYTES"),
        "firmware" => (firmware(&mut words), "firmware ADDRESS = BYTES"),
        "interrupt" => {
            (words.number().and_then(|vector| words.end(Entry::Interrupt { vector })), "interrupt VECTOR")
        }
        "give" => (bytes::read(words.0, RUN_LIMIT_BYTES).map(Entry::Give), "give BYTES"),
        "take" => (bytes::read(words.0, RUN_LIMIT_BYTES).map(Entry::Take), "take BYTES"),
        "config" => (config(&mut words), "config ADDRESS read32 OFFSET = VALUE"),
        _ if first.starts_with("in") || first.starts_with("out") => {
            (port(first, &mut words), "in32 PORT = VALUE")
        }
        _ if first.starts_with("read") || first.starts_with("write") => (register(first, &mut words), ACCESS),
        _ => (None, "an entry of a recording"),
    };
    parsed.ok_or_else(|| wrong(text, expected))
}

fn map(words: &mut Words<'_>) -> Option<Entry> {
    let place = place(words.next()?)?;
    words.exactly("at")?;
    let start = words.number()?;
    let len_bytes = words.number()?;
    words.end(Entry::Map { place, start, len_bytes })
}

fn alloc(words: &mut Words<'_>) -> Option<Entry> {
    let memory = memory(words.next()?)?;
    Some(Entry::Alloc { memory, request: request(words)? })
}

fn request(words: &mut Words<'_>) -> Option<DmaRequest> {
    let len_bytes: NonZeroUsize = NonZeroUsize::new(words.number()?)?;
    let (align, next) = match words.next()? {
        "align" => (Align::checked(words.number()?)?, words.next()?),
        other => (Align::BYTE, other),
    };
    let address_bits = (next == "bits").then(|| words.number())??;
    words.end(DmaRequest { len_bytes, align, address_bits })
}

fn named(words: &mut Words<'_>) -> Option<u32> {
    let memory = memory(words.next()?)?;
    words.end(memory)
}

fn lend(words: &mut Words<'_>) -> Option<Entry> {
    let memory = memory(words.next()?)?;
    let len_bytes = words.number()?;
    let word = words.next()?;
    let (_, direction) = DIRECTIONS.into_iter().find(|(other, _)| *other == word)?;
    words.end(Entry::Lend { memory, len_bytes, direction })
}

fn device(words: &mut Words<'_>) -> Option<Entry> {
    let Place { name, offset_bytes } = place(words.next()?)?;
    words.exactly("=")?;
    let memory = memory(&name)?;
    Some(Entry::Device { memory, offset_bytes, bytes: bytes::read(words.0.clone(), RUN_LIMIT_BYTES)? })
}

fn firmware(words: &mut Words<'_>) -> Option<Entry> {
    let start = words.number()?;
    words.exactly("=")?;
    Some(Entry::Firmware { start, bytes: bytes::read(words.0.clone(), RUN_LIMIT_BYTES)? })
}

/// Read or write, and how wide, of a word like `read32`.
fn operation(word: &str, read: &str, write: &str) -> Option<(Operation, Width)> {
    let (operation, bits) = match (word.strip_prefix(read), word.strip_prefix(write)) {
        (Some(bits), _) => (Operation::Read, bits),
        (None, Some(bits)) => (Operation::Write, bits),
        (None, None) => return None,
    };
    let width = [Width::Byte, Width::Half, Width::Word]
        .into_iter()
        .find(|width| number(bits) == Some(width.bytes() * 8))?;
    Some((operation, width))
}

/// What follows the place of an access.
fn access(words: &mut Words<'_>, (operation, width): (Operation, Width), space: Space) -> Option<Entry> {
    words.exactly("=")?;
    let value = match words.next()? {
        "low" => Value::Low(place(words.next()?)?),
        "high" => Value::High(place(words.next()?)?),
        word => Value::Number(number(word)?),
    };
    let times = match words.next() {
        None => 1,
        Some("times") if operation == Operation::Read => words.number().filter(|times| *times > 0)?,
        Some(_) => return None,
    };
    words.end(Entry::Access(Access { operation, width, space, value, times }))
}

fn register(first: &str, words: &mut Words<'_>) -> Option<Entry> {
    let kind = operation(first, "read", "write")?;
    let space = Space::Register(place(words.next()?)?);
    access(words, kind, space)
}

fn port(first: &str, words: &mut Words<'_>) -> Option<Entry> {
    let kind = operation(first, "in", "out")?;
    let space = Space::Port(words.number()?);
    access(words, kind, space)
}

fn config(words: &mut Words<'_>) -> Option<Entry> {
    let at = words.next()?.parse().ok()?;
    let kind = operation(words.next()?, "read", "write")?;
    let space = Space::Config { at, offset: words.number()? };
    access(words, kind, space)
}
