//! The kernel command line: words between spaces, `key` or `key=value`.
//!
//! Which words mean something, the program decides; one that it does not know is worth a line on
//! the console, never a stop.

use core::fmt;

/// The longest line that is kept, in bytes.
pub const CAPACITY: usize = 2048;

/// A copy of the line.
#[derive(Clone)]
pub struct CommandLine {
    bytes: [u8; CAPACITY],
    len: usize,
    cut: bool,
}

impl CommandLine {
    /// Nothing.
    pub const EMPTY: Self = Self { bytes: [0; CAPACITY], len: 0, cut: false };

    /// Adds a byte; one that is not printable ASCII becomes a question mark or, if it is white
    /// space, a space. False when there is no room: the line is then cut for good, before the word
    /// that does not fit.
    pub fn push(&mut self, byte: u8) -> bool {
        let byte = match byte {
            b' '..=b'~' => byte,
            b'\t' | b'\n' | b'\r' => b' ',
            _ => b'?',
        };
        if self.cut {
            return false;
        }
        let Some(place) = self.bytes.get_mut(self.len) else {
            self.cut = true;
            if byte != b' ' {
                self.drop_last_word();
            }
            return false;
        };
        *place = byte;
        self.len += 1;
        true
    }

    fn drop_last_word(&mut self) {
        self.len = self.as_str().rfind(' ').unwrap_or(0);
    }

    /// The line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII goes in.
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// Whether the loader's line was longer than what is kept. The words that are kept are whole.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The words, in order.
    pub fn words(&self) -> impl Iterator<Item = Word<'_>> {
        words(self.as_str())
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// The whole of it.
    pub text: &'a str,
    /// What stands before the first `=`, or the whole.
    pub key: &'a str,
    /// What stands after it.
    pub value: Option<&'a str>,
}

/// The words of `line`, in order.
pub fn words(line: &str) -> impl Iterator<Item = Word<'_>> {
    line.split_ascii_whitespace().map(|text| match text.split_once('=') {
        Some((key, value)) => Word { text, key, value: Some(value) },
        None => Word { text, key: text, value: None },
    })
}

/// Words that monitors, and people who start Linux, pass by habit, and that mean nothing here,
const LINUXES: [&str; 13] = [
    "earlycon",
    "earlyprintk",
    "no_timer_check",
    "noacpi",
    "noapic",
    "nokaslr",
    "nomodule",
    "nomodules",
    "noreplace-smp",
    "quiet",
    "ro",
    "rootwait",
    "rw",
];
/// and what others of them begin with.
const LINUXES_WITH_MORE: [&str; 25] = [
    "8250.",
    "acpi=",
    "clocksource=",
    "console=",
    "cryptomgr.",
    "earlycon=",
    "earlyprintk=",
    "i8042.",
    "init=",
    "iommu=",
    "ip=",
    "loglevel=",
    "lpj=",
    "panic=",
    "pci=",
    "printk.",
    "random.",
    "rcupdate.",
    "reboot=",
    "root=",
    "rootdelay=",
    "rootflags=",
    "rootfstype=",
    "swiotlb=",
    "tsc=",
];

/// Whether `word` is one of Linux's, which is no mistake: it is named, and passed over.
#[must_use]
pub fn is_for_linux(word: &str) -> bool {
    LINUXES.contains(&word) || LINUXES_WITH_MORE.iter().any(|known| word.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_monitors_tell_linux_is_known() {
        let firecracker = "reboot=k panic=1 nomodule nomodules 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd \
                           swiotlb=noforce root=/dev/vda rw pci=off";
        let others =
            "console=ttyS0 noapic noacpi pci=conf1 earlyprintk=serial,ttyS0 rootfstype=ext4 ro quiet";
        for word in words(firecracker).chain(words(others)) {
            assert!(is_for_linux(word.text), "{}", word.text);
        }
        for word in
            ["", "=", "quux", "roof", "router=1", "quietly", "rootless", "admin=dhcp", "irq=msi", "panics=1"]
        {
            assert!(!is_for_linux(word), "{word}");
        }
    }

    #[test]
    fn words_have_keys_and_perhaps_values() {
        let found: Vec<_> = words("  admin=dhcp quiet pci-patch=00:04.0+34=ff x= ")
            .map(|word| (word.key, word.value))
            .collect();
        assert_eq!(
            found,
            [("admin", Some("dhcp")), ("quiet", None), ("pci-patch", Some("00:04.0+34=ff")), ("x", Some(""))]
        );
        assert_eq!(words("").count(), 0);
    }

    #[test]
    fn strange_bytes_do_no_harm() {
        let mut line = CommandLine::EMPTY;
        for byte in b"a\tb\xff\x1b" {
            assert!(line.push(*byte));
        }
        assert_eq!(line.as_str(), "a b??");
    }

    #[test]
    fn a_long_line_is_cut_between_words_and_says_so() {
        let cut_after = |line: &str| {
            let mut kept = CommandLine::EMPTY;
            assert!(line.bytes().all(|byte| kept.push(byte)) && !kept.is_cut());
            kept
        };
        let full = "x".repeat(CAPACITY - 6) + " irq=m";
        let mut within = cut_after(&full);
        assert!(!within.push(b's') && !within.push(b'i'));
        assert_eq!((within.as_str(), within.is_cut()), (&full[..CAPACITY - 6], true));
        let mut behind = cut_after(&full);
        assert!(!behind.push(b' ') && !behind.push(b'x'));
        assert_eq!((behind.as_str(), behind.is_cut()), (full.as_str(), true));
        let mut one_word = cut_after(&"x".repeat(CAPACITY));
        assert!(!one_word.push(b'x'));
        assert_eq!(one_word.as_str(), "");
    }
}
