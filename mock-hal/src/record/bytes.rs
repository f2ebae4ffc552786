//! Bytes as a recording writes them: words of hexadecimal digits, and *ramps* for payloads.
//!
//! ```text
//! 525400123456 88b5      bytes, in order, two digits each; where a word ends means nothing
//! 00*256                 256 times the byte 00
//! 41+03*46               46 bytes: 41, 44, 47, ... modulo 256
//! ```
//!
//! A ramp needs nobody to announce it: the writer finds it in the bytes. So tests fill frames with
//! ramps, and their recordings stay short.

use std::fmt;

/// Shorter ramps are written out.
const RAMP_MIN: usize = 12;
/// Bytes to a word of digits.
const WORD_BYTES: usize = 16;

/// How many bytes at the start of `bytes` are a ramp, and its step.
fn ramp(bytes: &[u8]) -> (usize, u8) {
    let [first, second, ..] = bytes else { return (bytes.len(), 0) };
    let step = second.wrapping_sub(*first);
    let steps =
        bytes.windows(2).take_while(|pair| matches!(pair, [a, b] if b.wrapping_sub(*a) == step)).count();
    (steps + 1, step)
}

/// Writes `bytes`, a space in front of each piece.
pub(super) fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let mut rest = bytes;
    // Digits of the word that is being written.
    let mut in_word = 0;
    while let Some((first, tail)) = rest.split_first() {
        let (len, step) = ramp(rest);
        if len >= RAMP_MIN {
            match step {
                0 => write!(f, " {first:02x}*{len}")?,
                _ => write!(f, " {first:02x}+{step:02x}*{len}")?,
            }
            rest = rest.get(len..).unwrap_or_default();
            in_word = 0;
        } else {
            if in_word == 0 {
                f.write_str(" ")?;
            }
            write!(f, "{first:02x}")?;
            in_word = (in_word + 1) % WORD_BYTES;
            rest = tail;
        }
    }
    Ok(())
}

/// Reads what [`write`] wrote; `None` when it is not that, or more than `limit_bytes`.
pub(super) fn read<'a>(words: impl Iterator<Item = &'a str>, limit_bytes: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in words {
        match word.split_once('*') {
            Some((start, count)) => {
                let count: usize = count.parse().ok()?;
                if count > limit_bytes.checked_sub(bytes.len())? {
                    return None;
                }
                let (first, step) = start.split_once('+').unwrap_or((start, "00"));
                let (mut next, step) = (byte(first)?, byte(step)?);
                for _ in 0..count {
                    bytes.push(next);
                    next = next.wrapping_add(step);
                }
            }
            None => {
                let digits = word.as_bytes();
                if !digits.len().is_multiple_of(2) {
                    return None;
                }
                for pair in digits.chunks(2) {
                    bytes.push(byte(str::from_utf8(pair).ok()?)?);
                }
            }
        }
    }
    (bytes.len() <= limit_bytes).then_some(bytes)
}

fn byte(digits: &str) -> Option<u8> {
    let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Text<'a>(&'a [u8]);

    impl fmt::Display for Text<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write(f, self.0)
        }
    }

    #[test]
    fn ramps_are_found() {
        let mut bytes = vec![0x52, 0x54, 0x00, 0x12];
        bytes.extend([0; 256]);
        bytes.extend((0..46_u8).map(|i| (i * 3).wrapping_add(0x41)));
        assert_eq!(Text(&bytes).to_string(), " 52540012 00*256 41+03*46");
    }

    #[test]
    fn what_was_written_is_read() {
        let mut state = 1_u32;
        for len in 0..200_usize {
            let bytes: Vec<u8> = (0..len)
                .map(|i| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Noise, repeats and ramps in turn.
                    [state.to_be_bytes()[0], 7, u8::try_from(i).unwrap()][i / 20 % 3]
                })
                .collect();
            let text = Text(&bytes).to_string();
            assert_eq!(read(text.split_whitespace(), len), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_bytes_is_refused() {
        for word in
            ["1", "xy", "00*", "00*x", "0*4", "00+1*4", "00*9999999999999999999999", "+1", "00*5", "é0"]
        {
            assert_eq!(read([word].into_iter(), 4), None, "{word}");
        }
        assert_eq!(read(["00*2", "000000"].into_iter(), 4), None, "too many");
    }
}
