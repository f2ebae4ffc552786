//! Entropy: bytes that nobody can guess, for the keys and seeds of a machine.

use core::fmt;

/// A source of entropy: an instruction, a device, a kernel's own.
///
/// **Those who take some** take 32 bytes at the start, as the seed of a generator, and not a word a
/// packet. Where there is none they leave out what needs it, and say so: the clock is no
/// substitute.
///
/// **Platform authors**: a fill is all or nothing. After `Ok` every byte of it is one that nobody
/// else can know, with at least 128 bits of strength in 32 bytes, and given to nobody before;
/// after an error none of it may be used. It ends in bounded time whatever the source does: one
/// that has nothing right now is asked again a bounded number of times, with a pause, and then it
/// is [`Silent`](EntropyErrorReason::Silent). What a broken source gives
/// ([`RepetitionCount`] knows it) is an error and is never passed on.
pub trait Entropy {
    /// What it is called: `rdseed`, `virtio-rng`.
    fn name(&self) -> &'static str;

    /// Fills `to`.
    ///
    /// # Errors
    ///
    /// [`EntropyError`]; what is in `to` is then not to be used.
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError>;
}

impl<E: Entropy + ?Sized> Entropy for &E {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        (**self).fill(to)
    }
}

/// No entropy of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyError {
    /// Which one, by its name.
    pub source: &'static str,
    /// Why.
    pub reason: EntropyErrorReason,
}

/// Why there is no entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntropyErrorReason {
    /// The machine has no such source.
    NotThere,
    /// It had nothing each time that it was asked.
    Silent {
        /// How often that was.
        tries: u32,
    },
    /// It gave what no working source gives: all zeros, all ones, or the same twice in a row.
    Stuck,
    /// It is a device that failed, which says more on the console.
    Broken,
}

impl EntropyError {
    /// An error of `source`.
    #[must_use]
    pub const fn new(source: &'static str, reason: EntropyErrorReason) -> Self {
        Self { source, reason }
    }

    /// Whether the source is there, and does not work.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        !matches!(self.reason, EntropyErrorReason::NotThere)
    }
}

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no entropy from {}: ", self.source)?;
        match self.reason {
            EntropyErrorReason::NotThere => {
                f.write_str("this machine does not have it; give it one that does")
            }
            EntropyErrorReason::Silent { tries } => {
                write!(f, "it had nothing, {tries} times; try again later, or use another source")
            }
            EntropyErrorReason::Stuck => {
                f.write_str("it repeats itself, and is broken; use another source, or another machine")
            }
            EntropyErrorReason::Broken => f.write_str("the device failed; use another source"),
        }
    }
}

impl core::error::Error for EntropyError {}

/// The words of one source in their order: refuses those that only a broken one gives.
///
/// Two random words are the same once in 2⁶⁴, so a second one like the first is enough to know.
///
/// Spec: NIST SP 800-90B (2018), 4.4.1 "Repetition Count Test", with a cutoff of two.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepetitionCount {
    last: Option<u64>,
}

impl RepetitionCount {
    /// Whether `word` may come next: neither all zeros nor all ones, nor the one before.
    #[must_use]
    pub fn accepts(&mut self, word: u64) -> bool {
        let before = self.last.replace(word);
        word != 0 && word != u64::MAX && before != Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_only_a_broken_source_gives_are_refused() {
        let mut count = RepetitionCount::default();
        let judged = [1, 2, 2, 2, 1, 0, 3, u64::MAX, 3, !3].map(|word| count.accepts(word));
        assert_eq!(judged, [true, true, false, false, true, false, true, false, true, true]);
    }

    #[test]
    fn the_first_word_is_judged_too() {
        for word in [0, u64::MAX] {
            assert!(!RepetitionCount::default().accepts(word), "{word:#x}");
        }
    }

    #[test]
    fn an_error_says_which_source_and_what_to_do() {
        for (reason, failing, words) in [
            (EntropyErrorReason::NotThere, false, ["rdrand: ", "does not have it", "give it one"]),
            (EntropyErrorReason::Silent { tries: 10 }, true, ["rdrand: ", "10 times", "try again"]),
            (EntropyErrorReason::Stuck, true, ["rdrand: ", "repeats", "another source"]),
            (EntropyErrorReason::Broken, true, ["rdrand: ", "failed", "another source"]),
        ] {
            let error = EntropyError::new("rdrand", reason);
            let said = error.to_string();
            assert!(words.iter().all(|word| said.contains(word)), "{said}");
            assert_eq!(error.is_failing(), failing, "{said}");
        }
    }
}
