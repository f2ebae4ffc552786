//! An archive of the kind that Linux unpacks as its first file system.
//!
//! Spec: Linux, Documentation/driver-api/early-userspace/buffer-format.rst, "newc".

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that is being made.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a folder; what it is in has to be there before.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, DIRECTORY, &[]);
    }

    /// Adds a file that may be executed.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, content);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK, to.as_bytes());
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // inode, mode, owner, group, links, time, length, four of devices, length of the name, sum
        let lengths = (content.len(), path.len() + 1);
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}",
            self.entries, 0, 0, 1, 0, lengths.0, 0, 0, 0, 0, lengths.1, 0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_the_last_one_says_so() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.file("bin/a", b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"07070100000001000041ed"));
        // The second header stands behind 110 + 4 bytes and their padding; its length is its 7th.
        let second = &bytes[116..];
        assert!(second.starts_with(b"07070100000002000081ed"));
        assert_eq!(&second[6 + 6 * 8..6 + 7 * 8], b"00000005");
        assert_eq!(&second[110..124], b"bin/a\x0012345\0\0\0");
        assert!(bytes.windows(11).any(|bytes| bytes == b"TRAILER!!!\0"));
    }
}
