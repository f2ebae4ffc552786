//! What a connection needs of files: names that are sound, and somebody who has the files.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use super::request::Refusal;

/// The longest name, in characters: FAT's.
const MAX_CHARS: usize = 255;

/// The name of a file in a folder: none that leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// What names that the program keeps for itself begin with.
    pub const OWN: char = '~';

    /// The name that the last part of a path says, where `%` and two hexadecimal digits are a byte.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: it is none.
    pub fn of(part: &str) -> Result<Self, Refusal> {
        let bad = |why| Refusal::new("400 Bad Request", why);
        let mut bytes = Vec::with_capacity(part.len());
        let mut rest = part.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let byte = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
            bytes.push(byte.ok_or(bad("'%' stands before two hexadecimal digits"))?);
        }
        let name = String::from_utf8(bytes).map_err(|_| bad("a file's name is UTF-8"))?;
        let is_odd = |char: char| char.is_control() || "\"*/:<>?\\|".contains(char);
        if name.is_empty() || name.chars().count() > MAX_CHARS {
            Err(bad("a file's name has 1 to 255 characters"))
        } else if name.contains(is_odd) {
            Err(bad("a file's name has no control characters, and none of \" * / : < > ? \\ |"))
        } else if name.ends_with(['.', ' ']) || name.starts_with(' ') {
            Err(bad("a file's name does not end in a dot, nor begin or end with a space"))
        } else if name.starts_with(Self::OWN) {
            Err(bad("names that begin with '~' are the program's own"))
        } else {
            Ok(Self(name))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An open file. It is closed some time after the last clone was dropped.
#[derive(Clone, Debug)]
pub struct Handle(Rc<usize>);

impl Handle {
    /// For the open file of this number.
    #[must_use]
    pub fn new(index: usize) -> Self {
        Self(Rc::new(index))
    }

    /// Its number.
    #[must_use]
    pub fn index(&self) -> usize {
        *self.0
    }

    /// Whether both are clones of one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Whether this is the last clone.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}

/// Who has the files. Each call may wait for a disk, a bounded time.
///
/// # Errors
///
/// Each gives a [`Refusal`]: what to answer.
pub trait Files {
    /// Opens a file for reading. How many bytes it has, too.
    fn open(&mut self, name: &Name) -> Result<(Handle, u64), Refusal>;
    /// Fills `room` with what the file has from `offset` on.
    fn read(&mut self, handle: &Handle, offset: u64, room: &mut [u8]) -> Result<(), Refusal>;
    /// Begins a file that is to have `len_bytes`, and to take the place of one of that name if
    /// there is one.
    fn create(&mut self, name: &Name, len_bytes: u64) -> Result<Handle, Refusal>;
    /// Adds to it.
    fn write(&mut self, handle: &Handle, bytes: &[u8]) -> Result<(), Refusal>;
    /// Puts it in its place. From then on it is there, whatever happens. Whether there was none
    /// before.
    fn finish(&mut self, handle: &Handle) -> Result<bool, Refusal>;
    /// Closes files whose handles were all dropped; what was not finished is removed.
    fn close_left(&mut self);
    /// Has the disk keep all that was written.
    fn flush(&mut self) -> Result<(), Refusal>;
}

/// Where there is no disk.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl NoFiles {
    const REFUSAL: Refusal = Refusal::new(
        "503 Service Unavailable",
        "no disk is mounted: the image has no files (paravane-files has), or the console says why",
    );
}

impl Files for NoFiles {
    fn open(&mut self, _name: &Name) -> Result<(Handle, u64), Refusal> {
        Err(Self::REFUSAL)
    }
    fn read(&mut self, _handle: &Handle, _offset: u64, _room: &mut [u8]) -> Result<(), Refusal> {
        Err(Self::REFUSAL)
    }
    fn create(&mut self, _name: &Name, _len_bytes: u64) -> Result<Handle, Refusal> {
        Err(Self::REFUSAL)
    }
    fn write(&mut self, _handle: &Handle, _bytes: &[u8]) -> Result<(), Refusal> {
        Err(Self::REFUSAL)
    }
    fn finish(&mut self, _handle: &Handle) -> Result<bool, Refusal> {
        Err(Self::REFUSAL)
    }
    fn close_left(&mut self) {}
    fn flush(&mut self) -> Result<(), Refusal> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded() {
        for (part, name) in [
            ("a.txt", "a.txt"),
            ("My%20file.txt", "My file.txt"),
            ("%c3%A4.txt", "ä.txt"),
            (".profile", ".profile"),
            ("a..b", "a..b"),
        ] {
            assert_eq!(Name::of(part).unwrap().as_str(), name);
        }
        assert_eq!(Name::of(&"a".repeat(255)).unwrap().as_str().len(), 255);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = "a".repeat(256);
        for part in [
            "",
            ".",
            "..",
            "../a",
            "%2e%2e",
            "%2e%2e%2fa",
            "a/b",
            "a%2Fb",
            "a%5cb",
            "a\\b",
            "a%00",
            "a%0a",
            "C:a",
            "a.",
            "a%20",
            "%20a",
            "a*",
            "a?",
            "%",
            "%4",
            "%zz",
            "a%ff",
            "~put0.tmp",
            "%7eput0.tmp",
            &long,
        ] {
            assert_eq!(Name::of(part).unwrap_err().status, "400 Bad Request", "{part:?}");
        }
    }
}
