//! Captures: frames in a file that Wireshark opens.
//!
//! The classic format with times in nanoseconds, written little-endian: a file header, then a
//! header in front of each frame.
//!
//! Spec: draft-ietf-opsawg-pcap, "PCAP Capture File Format", 4 "General File Structure".

use std::fmt;
use std::io::{self, Write};

/// Says that times are in nanoseconds, and by its byte order that of the file.
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// Major, minor.
const VERSION: [u16; 2] = [2, 4];
const LINKTYPE_ETHERNET: u32 = 1;
/// No frame is longer than this. What Wireshark takes at most.
const SNAP_BYTES: u32 = 262_144;
const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Writes a capture.
#[derive(Debug)]
pub struct PcapWriter<W>(W);

impl<W: Write> PcapWriter<W> {
    /// Starts a capture in `to`.
    ///
    /// # Errors
    ///
    /// Those of `to`.
    pub fn new(mut to: W) -> io::Result<Self> {
        let [major, minor] = VERSION;
        to.write_all(&MAGIC_NANOS.to_le_bytes())?;
        to.write_all(&major.to_le_bytes())?;
        to.write_all(&minor.to_le_bytes())?;
        // Time zone and accuracy, which are zero by convention.
        to.write_all(&[0; 8])?;
        to.write_all(&SNAP_BYTES.to_le_bytes())?;
        to.write_all(&LINKTYPE_ETHERNET.to_le_bytes())?;
        Ok(Self(to))
    }

    /// Adds a frame, seen `at_nanos` after the epoch. What is beyond 256 KiB of it is left out, and
    /// said to be missing.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn frame(&mut self, at_nanos: u64, frame: &[u8]) -> io::Result<()> {
        let kept = frame.get(..SNAP_BYTES as usize).unwrap_or(frame);
        // 32 bits of seconds last until 2106.
        let seconds = u32::try_from(at_nanos / NANOS_PER_SECOND).unwrap_or(u32::MAX);
        let nanos = u32::try_from(at_nanos % NANOS_PER_SECOND).unwrap_or(0);
        let [kept_bytes, whole_bytes] =
            [kept, frame].map(|bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        for word in [seconds, nanos, kept_bytes, whole_bytes] {
            self.0.write_all(&word.to_le_bytes())?;
        }
        self.0.write_all(kept)
    }

    /// Ends the capture and hands the file back.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn finish(mut self) -> io::Result<W> {
        self.0.flush()?;
        Ok(self.0)
    }
}

/// A frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When it was seen, after the epoch.
    pub at_nanos: u64,
    /// Its bytes, as far as they were kept.
    pub bytes: Vec<u8>,
    /// How long it was.
    pub whole_bytes: u32,
}

/// Why a capture cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PcapError {
    /// It does not start like one of ours.
    NotPcap,
    /// Another version, or another kind of link.
    Unknown {
        /// Major, minor.
        version: [u16; 2],
        /// Link type.
        link: u32,
    },
    /// It ends inside a frame.
    CutOff {
        /// Where that frame starts.
        offset_bytes: usize,
    },
    /// A frame that cannot be: longer than it was, or with a second of more than a second.
    BadRecord {
        /// Where it starts.
        offset_bytes: usize,
    },
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPcap => f.write_str("not a little-endian capture with times in nanoseconds"),
            Self::Unknown { version: [major, minor], link } => {
                write!(
                    f,
                    "a capture of version {major}.{minor} with link type {link}, where 2.4 and 1 are known"
                )
            }
            Self::CutOff { offset_bytes } => {
                write!(f, "the capture ends in the frame that starts at byte {offset_bytes}")
            }
            Self::BadRecord { offset_bytes } => {
                write!(f, "the frame at byte {offset_bytes} contradicts itself")
            }
        }
    }
}

impl std::error::Error for PcapError {}

/// Reads a capture that a [`PcapWriter`] made.
///
/// # Errors
///
/// [`PcapError`], for a file that is no such capture, or not all of one.
pub fn parse(file: &[u8]) -> Result<Vec<Captured>, PcapError> {
    let word = |at: usize| {
        let bytes = file.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    if word(0) != Some(MAGIC_NANOS) || file.len() < FILE_HEADER_BYTES {
        return Err(PcapError::NotPcap);
    }
    let version = word(4).map_or([0, 0], |both| [(both & 0xffff) as u16, (both >> 16) as u16]);
    let link = word(20).unwrap_or(0);
    if version != VERSION || link != LINKTYPE_ETHERNET {
        return Err(PcapError::Unknown { version, link });
    }
    let mut frames = Vec::new();
    let mut at = FILE_HEADER_BYTES;
    while at < file.len() {
        let cut_off = PcapError::CutOff { offset_bytes: at };
        let field = |index: usize| word(at + 4 * index).ok_or(cut_off);
        let (seconds, nanos, kept_bytes, whole_bytes) = (field(0)?, field(1)?, field(2)?, field(3)?);
        if kept_bytes > whole_bytes || kept_bytes > SNAP_BYTES || u64::from(nanos) >= NANOS_PER_SECOND {
            return Err(PcapError::BadRecord { offset_bytes: at });
        }
        let start = at + RECORD_HEADER_BYTES;
        let end = start + kept_bytes as usize;
        let bytes = file.get(start..end).ok_or(cut_off)?.to_vec();
        let at_nanos = u64::from(seconds) * NANOS_PER_SECOND + u64::from(nanos);
        frames.push(Captured { at_nanos, bytes, whole_bytes });
        at = end;
    }
    Ok(frames)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn capture() -> Vec<u8> {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        writer.frame(3_000_000_007, &[0xab; 60]).unwrap();
        writer.frame(3_999_999_999, &[]).unwrap();
        writer.finish().unwrap()
    }

    /// Byte for byte what the format's description says.
    #[test]
    fn a_capture_has_the_bytes_that_readers_expect() {
        let file = capture();
        let header = [
            0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0,
            7, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 0xab,
        ];
        assert_eq!(file[..header.len()], header);
        assert_eq!(file.len(), 24 + 16 + 60 + 16);
    }

    #[test]
    fn what_was_written_is_read_back() {
        let frames = parse(&capture()).unwrap();
        assert_eq!(frames[0], Captured { at_nanos: 3_000_000_007, bytes: vec![0xab; 60], whole_bytes: 60 });
        assert_eq!(frames[1], Captured { at_nanos: 3_999_999_999, bytes: vec![], whole_bytes: 0 });
        assert_eq!(frames.len(), 2);
    }

    #[test]
    fn a_frame_that_is_too_long_is_cut_and_says_so() {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        writer.frame(0, &vec![1; 300_000]).unwrap();
        let frames = parse(&writer.finish().unwrap()).unwrap();
        assert_eq!((frames[0].bytes.len(), frames[0].whole_bytes), (262_144, 300_000));
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_or_ends_between_frames() {
        let file = capture();
        for len in 0..file.len() {
            match parse(&file[..len]) {
                Err(PcapError::NotPcap) => assert!(len < 24),
                Err(PcapError::CutOff { offset_bytes }) => assert!(offset_bytes < len && len > 24),
                Ok(frames) => assert_eq!(len, [24, 100][frames.len()]),
                Err(other) => panic!("{other}"),
            }
        }
        let mut other = file.clone();
        other[20] = 105;
        assert_eq!(parse(&other), Err(PcapError::Unknown { version: VERSION, link: 105 }));
        let mut longer = file;
        longer[32] = 61;
        assert_eq!(parse(&longer), Err(PcapError::BadRecord { offset_bytes: 24 }));
    }
}
