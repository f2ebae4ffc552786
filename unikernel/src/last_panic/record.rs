//! What is kept of a panic, as bytes:
//!
//! ```text
//!  0 magic   8 sum   12 text_bytes   16 uptime_us   24 in_a_row   28 reserved   32 build   64 text
//! ```
//!
//! What is read back may be anything: another image's, half a record, or noise that was in memory
//! when the machine was switched on. All of it is checked; what does not add up is nothing.

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use core::fmt::{self, Write};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How long a record is, its unused end included.
pub const RECORD_BYTES: usize = 1024;
/// The most text that is kept; what is longer is cut.
pub const TEXT_BYTES: usize = RECORD_BYTES - HEAD_BYTES;

const HEAD_BYTES: usize = 64;
const BUILD_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"PVNPANIC";
/// More in a row are not believed: they are bounded where they are counted.
const MOST_IN_A_ROW: u32 = 1000;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    magic: [u8; 8],
    /// Of all that is behind it, up to the text's end.
    sum: u32,
    /// None: there is nothing to tell, but how many there were.
    text_bytes: u32,
    uptime_us: u64,
    in_a_row: u32,
    reserved: u32,
    /// Zeroes behind its end.
    build: [u8; BUILD_BYTES],
}

const _: () = assert!(size_of::<Head>() == HEAD_BYTES);

/// The bytes of a record.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bytes {
    head: Head,
    text: [u8; TEXT_BYTES],
}

const _: () = assert!(size_of::<Bytes>() == RECORD_BYTES);

/// A record that says what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'b> {
    /// What was said; empty where it was told before. Printable ASCII.
    pub text: &'b str,
    /// Which build said it. Likewise.
    pub build: &'b str,
    /// How long after its beginning, in microseconds.
    pub uptime_us: u64,
    /// The how many-eth in a row it was.
    pub in_a_row: u32,
}

/// Why something that begins as a record is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damaged {
    /// It says a length or a count that none has.
    Field,
    /// Its bytes do not add up.
    Sum,
    /// Its text, or its build, is not printable.
    Text,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Field => "it says a length or a count that none has",
            Self::Sum => "its bytes do not add up",
            Self::Text => "its text is not printable",
        })
    }
}

impl core::error::Error for Damaged {}

impl Bytes {
    /// Nothing.
    pub const NONE: Self = Self {
        head: Head {
            magic: [0; 8],
            sum: 0,
            text_bytes: 0,
            uptime_us: 0,
            in_a_row: 0,
            reserved: 0,
            build: [0; BUILD_BYTES],
        },
        text: [0; TEXT_BYTES],
    };

    /// A record of `text`, of which that is kept which fits, with a question mark for what is not
    /// printable.
    pub fn of(text: fmt::Arguments<'_>, build: &str, uptime_us: u64, in_a_row: u32) -> Self {
        let mut bytes = Self::NONE;
        let (head, room) = (&mut bytes.head, &mut bytes.text);
        let mut writer = Printable { room, len: 0 };
        // What does not fit is left out, and that is no error here.
        let _ = writer.write_fmt(text);
        head.text_bytes = u32::try_from(writer.len).unwrap_or(0);
        let mut writer = Printable { room: &mut head.build, len: 0 };
        let _ = writer.write_str(build);
        (head.magic, head.uptime_us, head.in_a_row) = (MAGIC, uptime_us, in_a_row.min(MOST_IN_A_ROW));
        bytes.head.sum = bytes.sum();
        bytes
    }

    /// What it says; `None` where nobody kept anything.
    ///
    /// # Errors
    ///
    /// [`Damaged`].
    pub fn read(&self) -> Result<Option<Record<'_>>, Damaged> {
        let Head { magic, sum, text_bytes, uptime_us, in_a_row, reserved, build } = &self.head;
        if *magic != MAGIC {
            return Ok(None);
        }
        if *in_a_row > MOST_IN_A_ROW || *reserved != 0 {
            return Err(Damaged::Field);
        }
        let text = usize::try_from(*text_bytes).ok().and_then(|len| self.text.get(..len));
        let text = text.ok_or(Damaged::Field)?;
        if *sum != self.sum() {
            return Err(Damaged::Sum);
        }
        let end = build.iter().position(|byte| *byte == 0).unwrap_or(BUILD_BYTES);
        let build = build.get(..end).and_then(printable).ok_or(Damaged::Text)?;
        let text = printable(text).ok_or(Damaged::Text)?;
        Ok(Some(Record { text, build, uptime_us: *uptime_us, in_a_row: *in_a_row }))
    }

    /// What the bytes behind the sum add up to: FNV-1a, which notices each byte that changes.
    fn sum(&self) -> u32 {
        const BASIS: u32 = 0x811c_9dc5;
        const PRIME: u32 = 0x0100_0193;
        const BEHIND_SUM: usize = 12;
        let head = self.head.as_bytes().iter().skip(BEHIND_SUM);
        let text = self.text.iter().take(usize::try_from(self.head.text_bytes).unwrap_or(TEXT_BYTES));
        head.chain(text).fold(BASIS, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(PRIME))
    }
}

/// The text that `bytes` are.
fn printable(bytes: &[u8]) -> Option<&str> {
    let is_so = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    core::str::from_utf8(bytes).ok().filter(|_| is_so)
}

/// Room that takes printable ASCII: lines come one behind the other.
struct Printable<'r> {
    room: &'r mut [u8],
    len: usize,
}

impl Printable<'_> {
    fn put(&mut self, byte: u8) {
        if let Some(place) = self.room.get_mut(self.len) {
            *place = byte;
            self.len = self.len.saturating_add(1);
        }
    }
}

impl Write for Printable<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            match u8::try_from(char) {
                Ok(b'\n') => b"; ".iter().for_each(|byte| self.put(*byte)),
                Ok(byte @ b' '..=b'~') => self.put(byte),
                _ => self.put(b'?'),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(text: &str) -> Bytes {
        Bytes::of(format_args!("{text}"), "0.1.0", 12_345_678, 2)
    }

    #[test]
    fn a_record_is_read_as_it_was_kept() {
        let bytes = kept("panic at a.rs:1:2: ouch");
        let record =
            Record { text: "panic at a.rs:1:2: ouch", build: "0.1.0", uptime_us: 12_345_678, in_a_row: 2 };
        assert_eq!(bytes.read(), Ok(Some(record)));
        assert_eq!(Bytes::NONE.read(), Ok(None));
    }

    /// Its places are those of the image before it.
    #[test]
    fn its_layout_stays() {
        let bytes = kept("ouch");
        let bytes = bytes.as_bytes();
        assert_eq!(bytes[..8], *b"PVNPANIC");
        assert_eq!(
            bytes[12..32],
            [&[4, 0, 0, 0][..], &[0x4e, 0x61, 0xbc, 0, 0, 0, 0, 0], &[2, 0, 0, 0], &[0; 4]].concat()
        );
        assert_eq!((&bytes[32..38], &bytes[64..69]), (&b"0.1.0\0"[..], &b"ouch\0"[..]));
    }

    #[test]
    fn what_is_long_or_odd_is_cut_or_replaced() {
        let long = "x".repeat(5000);
        assert_eq!(kept(&long).read().unwrap().unwrap().text, &long[..TEXT_BYTES]);
        assert_eq!(kept("a\nb\t\u{1b}[1mü").read().unwrap().unwrap().text, "a; b??[1m?");
        let bytes = Bytes::of(format_args!(""), &long, u64::MAX, u32::MAX);
        let record = bytes.read().unwrap().unwrap();
        assert_eq!((record.build.len(), record.in_a_row, record.text), (BUILD_BYTES, MOST_IN_A_ROW, ""));
    }

    #[test]
    fn each_byte_counts() {
        let whole = kept("ouch");
        for at in 0..HEAD_BYTES + 4 {
            let mut bytes = whole;
            bytes.as_mut_bytes()[at] ^= 0x10;
            let is_refused = if at < 8 { bytes.read() == Ok(None) } else { bytes.read().is_err() };
            assert!(is_refused, "byte {at}: {:?}", bytes.read());
        }
    }

    /// A stranger may make the sum right.
    #[test]
    fn what_adds_up_is_checked_all_the_same() {
        let changed = |change: &dyn Fn(&mut Bytes)| {
            let mut bytes = kept("ouch");
            change(&mut bytes);
            bytes.head.sum = bytes.sum();
            bytes.read().map(|_| ())
        };
        assert_eq!(changed(&|_| {}), Ok(()));
        assert_eq!(changed(&|bytes| bytes.head.text_bytes = 961), Err(Damaged::Field));
        assert_eq!(changed(&|bytes| bytes.head.text_bytes = u32::MAX), Err(Damaged::Field));
        assert_eq!(changed(&|bytes| bytes.head.in_a_row = 1001), Err(Damaged::Field));
        assert_eq!(changed(&|bytes| bytes.text[1] = 0x1b), Err(Damaged::Text));
        assert_eq!(changed(&|bytes| bytes.text[1] = 0x80), Err(Damaged::Text));
        assert_eq!(changed(&|bytes| bytes.head.build[1] = 0x7f), Err(Damaged::Text));
    }

    proptest! {
        /// Any bytes: a record that can be printed, none, or an error.
        #[test]
        fn arbitrary_bytes_are_survived(noise in prop::collection::vec(any::<u8>(), RECORD_BYTES), magic: bool, sum: bool) {
            let mut bytes = Bytes::NONE;
            bytes.as_mut_bytes().copy_from_slice(&noise);
            if magic {
                bytes.head.magic = MAGIC;
                bytes.head.text_bytes %= 2000;
                bytes.head.in_a_row %= 2000;
                bytes.head.reserved = 0;
            }
            if sum {
                bytes.head.sum = bytes.sum();
            }
            if let Ok(Some(record)) = bytes.read() {
                prop_assert!(record.text.bytes().chain(record.build.bytes()).all(|byte| byte.is_ascii() && !byte.is_ascii_control()));
            }
        }

        #[test]
        fn any_text_is_kept(text in "\\PC{0,1200}|[ -~]{0,100}") {
            let bytes = kept(&text);
            let read = bytes.read().unwrap().unwrap();
            if text.len() < TEXT_BYTES && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                prop_assert_eq!(read.text, text);
            }
        }
    }
}
