//! Entropy that the CPU has: `RDSEED`, else `RDRAND`.
//!
//! `RDSEED` gives what its noise source gave; `RDRAND` a generator's words, which that source seeds
//! again and again, with 128 bits of strength. Either may have nothing for a moment.
//!
//! Neither is believed blindly. Known to have given constants as if all were well: `RDRAND` of some
//! AMD CPUs after a suspend (all ones), `RDSEED` of others (all ones, or zeros in its forms of 16
//! and 32 bits, which are not used here). So each fill begins with a word that goes to nobody, and
//! each word is compared with the one before.
//!
//! Spec: Intel SDM volume 1, 7.3.17 "Random Number Generator Instructions"; volume 2, "RDRAND",
//! "RDSEED", "CPUID".

#![expect(unsafe_code, reason = "instructions that not every CPU has")]

use core::arch::x86_64::{__cpuid_count, _rdrand64_step, _rdseed64_step, CpuidResult};

use paravane_hal::entropy::{Entropy, EntropyError, EntropyErrorReason, RepetitionCount};

/// How often `RDRAND` is asked for one word.
///
/// Spec: Intel SDM volume 1, 7.3.17.1 "RDRAND": ten in a row without a word mean that it is broken.
const RDRAND_TRIES: u32 = 10;
/// `RDSEED` likewise, with a pause in between. Other cores take from the same source, so nobody
/// says how often is enough: this is below a millisecond.
const RDSEED_TRIES: u32 = 1000;

/// How many words the test at the start looks at.
const TEST_WORDS: usize = 8;

/// An instruction of this CPU that was found to work.
///
/// ```
/// use paravane_hal::entropy::Entropy as _;
/// use paravane_hal_x86_64::entropy::CpuEntropy;
///
/// match CpuEntropy::find() {
///     Ok(cpu) => {
///         let mut seed = [0; 32];
///         cpu.fill(&mut seed)?;
///     }
///     Err(reason) => println!("{reason}"),
/// }
/// # Ok::<(), paravane_hal::entropy::EntropyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuEntropy {
    /// One that CPUID names: only `find` makes this value.
    instruction: Instruction,
}

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    Rdseed,
    Rdrand,
}

impl CpuEntropy {
    /// What this CPU has: the first of `RDSEED` and `RDRAND` that is there and passes a test of
    /// some words, all different.
    ///
    /// # Errors
    ///
    /// [`NotThere`](EntropyErrorReason::NotThere) without any. If there is one and none works, why
    /// the last of them does not.
    pub fn find() -> Result<Self, EntropyError> {
        find_by(__cpuid_count, |instruction| Self { instruction }.test())
            .map(|instruction| Self { instruction })
    }

    fn test(&self) -> Result<(), EntropyErrorReason> {
        test(self.instruction.tries(), || self.step())
    }

    /// One word, if there is one right now.
    fn step(&self) -> Option<u64> {
        match self.instruction {
            // SAFETY: the CPU has the instruction: CPUID said so before this value was made, and no
            // CPU that an image runs on loses one.
            Instruction::Rdseed => unsafe { rdseed() },
            // SAFETY: as above.
            Instruction::Rdrand => unsafe { rdrand() },
        }
    }
}

impl Entropy for CpuEntropy {
    fn name(&self) -> &'static str {
        self.instruction.name()
    }

    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        let filled = fill(self.instruction.tries(), || self.step(), to);
        filled.map_err(|reason| EntropyError::new(self.name(), reason))
    }
}

impl Instruction {
    const fn name(self) -> &'static str {
        match self {
            Self::Rdseed => "rdseed",
            Self::Rdrand => "rdrand",
        }
    }

    const fn tries(self) -> u32 {
        match self {
            Self::Rdseed => RDSEED_TRIES,
            Self::Rdrand => RDRAND_TRIES,
        }
    }

    /// Whether the CPU has it.
    fn is_there(self, cpuid: impl Fn(u32, u32) -> CpuidResult) -> bool {
        match self {
            Self::Rdseed => cpuid(0, 0).eax >= 7 && cpuid(7, 0).ebx & 1 << 18 != 0,
            Self::Rdrand => cpuid(1, 0).ecx & 1 << 30 != 0,
        }
    }
}

/// The first instruction that is there and passes `test`.
fn find_by(
    cpuid: impl Fn(u32, u32) -> CpuidResult,
    test: impl Fn(Instruction) -> Result<(), EntropyErrorReason>,
) -> Result<Instruction, EntropyError> {
    let mut found = Err(EntropyError::new("rdseed and rdrand", EntropyErrorReason::NotThere));
    for instruction in [Instruction::Rdseed, Instruction::Rdrand] {
        if !instruction.is_there(&cpuid) {
            continue;
        }
        match test(instruction) {
            Ok(()) => return Ok(instruction),
            Err(reason) => found = Err(EntropyError::new(instruction.name(), reason)),
        }
    }
    found
}

/// The next word of `step`, asked up to `tries` times.
fn word(tries: u32, step: &mut impl FnMut() -> Option<u64>) -> Result<u64, EntropyErrorReason> {
    for _ in 0..tries {
        if let Some(word) = step() {
            return Ok(word);
        }
        core::hint::spin_loop();
    }
    Err(EntropyErrorReason::Silent { tries })
}

/// Fills `to` with words of `step`, after one that only the next is compared with.
fn fill(tries: u32, mut step: impl FnMut() -> Option<u64>, to: &mut [u8]) -> Result<(), EntropyErrorReason> {
    let mut repetitions = RepetitionCount::default();
    let mut next = || match word(tries, &mut step)? {
        word if repetitions.accepts(word) => Ok(word.to_ne_bytes()),
        _ => Err(EntropyErrorReason::Stuck),
    };
    next()?;
    for bytes in to.chunks_mut(8) {
        let word = next()?;
        bytes.iter_mut().zip(word).for_each(|(byte, of_word)| *byte = of_word);
    }
    Ok(())
}

/// Looks at some words of `step`: no two are alike.
fn test(tries: u32, mut step: impl FnMut() -> Option<u64>) -> Result<(), EntropyErrorReason> {
    let mut words = [0; TEST_WORDS];
    for taken in 0..TEST_WORDS {
        let next = word(tries, &mut step)?;
        let before = words.get(..taken).unwrap_or_default();
        if !RepetitionCount::default().accepts(next) || before.contains(&next) {
            return Err(EntropyErrorReason::Stuck);
        }
        if let Some(slot) = words.get_mut(taken) {
            *slot = next;
        }
    }
    Ok(())
}

/// A word of the noise source. To be called only where the CPU has the instruction.
#[target_feature(enable = "rdseed")]
fn rdseed() -> Option<u64> {
    let mut word = 0;
    (_rdseed64_step(&mut word) == 1).then_some(word)
}

/// A word of the generator. To be called only where the CPU has the instruction.
#[target_feature(enable = "rdrand")]
fn rdrand() -> Option<u64> {
    let mut word = 0;
    (_rdrand64_step(&mut word) == 1).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that is asked for more than it has is silent.
    fn played(answers: &[Option<u64>]) -> impl FnMut() -> Option<u64> {
        let mut answers = answers.iter().copied();
        move || answers.next().flatten()
    }

    fn of_words(words: &[u64]) -> impl FnMut() -> Option<u64> {
        let mut words = words.iter().copied();
        move || words.next()
    }

    /// A CPU with these instructions.
    fn cpu(last_leaf: u32, rdseed: bool, rdrand: bool) -> impl Fn(u32, u32) -> CpuidResult {
        move |leaf, sub| {
            let none = CpuidResult { eax: 0, ebx: 0, ecx: 0, edx: 0 };
            match (leaf, sub) {
                (0, _) => CpuidResult { eax: last_leaf, ..none },
                (1, _) => CpuidResult { ecx: u32::from(rdrand) << 30, ..none },
                (7, 0) => CpuidResult { ebx: u32::from(rdseed) << 18, ..none },
                _ => CpuidResult { eax: !0, ebx: !0, ecx: !0, edx: !0 },
            }
        }
    }

    const STUCK: Result<(), EntropyErrorReason> = Err(EntropyErrorReason::Stuck);

    #[test]
    fn rdseed_comes_first_and_rdrand_takes_its_place() {
        let found = |cpuid, broken: &[Instruction]| {
            find_by(cpuid, |instruction| if broken.contains(&instruction) { STUCK } else { Ok(()) })
        };
        let (seed, rand) = (Instruction::Rdseed, Instruction::Rdrand);
        assert_eq!(found(cpu(7, true, true), &[]), Ok(seed));
        assert_eq!(found(cpu(7, true, true), &[seed]), Ok(rand));
        assert_eq!(found(cpu(7, false, true), &[]), Ok(rand));
        assert_eq!(found(cpu(6, true, true), &[]), Ok(rand), "no such leaf");
        let none = found(cpu(7, false, false), &[]).unwrap_err();
        assert_eq!(none.reason, EntropyErrorReason::NotThere);
        let stuck = found(cpu(7, true, true), &[seed, rand]).unwrap_err();
        assert_eq!((stuck.source, stuck.reason), ("rdrand", EntropyErrorReason::Stuck));
        let stuck = found(cpu(7, true, false), &[seed]).unwrap_err();
        assert_eq!((stuck.source, stuck.reason), ("rdseed", EntropyErrorReason::Stuck));
    }

    #[test]
    fn a_source_that_pauses_is_asked_again_and_not_for_ever() {
        let mut to = [0; 8];
        let pausing = [None, None, Some(1), None, None, Some(2)];
        assert_eq!(fill(3, played(&pausing), &mut to), Ok(()));
        assert_eq!(to, 2_u64.to_ne_bytes(), "the first word is for comparing");
        let mut asked = 0;
        let silent = || {
            asked += 1;
            None
        };
        assert_eq!(fill(10, silent, &mut to), Err(EntropyErrorReason::Silent { tries: 10 }));
        assert_eq!(asked, 10);
        assert_eq!(fill(2, played(&pausing), &mut to), Err(EntropyErrorReason::Silent { tries: 2 }));
    }

    #[test]
    fn what_a_broken_source_gives_is_refused_wherever_it_begins() {
        let good = [1, 2, 3, 4, 5];
        let mut to = [0; 32];
        assert_eq!(fill(1, of_words(&good), &mut to), Ok(()));
        for at in 0..good.len() {
            for bad in [0, u64::MAX] {
                let mut words = good;
                words[at] = bad;
                assert_eq!(fill(1, of_words(&words), &mut to), STUCK, "{bad:#x} at {at}");
            }
            let mut words = good;
            words[at] = words[at.saturating_sub(1)];
            assert_eq!(fill(1, of_words(&words), &mut to).is_err(), at > 0, "the same again at {at}");
        }
        assert_eq!(fill(1, of_words(&[7, 7]), &mut [0; 1]), STUCK, "a constant shows in the shortest fill");
    }

    #[test]
    fn the_last_bytes_may_be_fewer_than_a_word() {
        let mut to = [0; 11];
        assert_eq!(
            fill(1, of_words(&[1, u64::from_le_bytes([2; 8]), u64::from_le_bytes([3; 8])]), &mut to),
            Ok(())
        );
        assert_eq!(to, [2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3]);
    }

    #[test]
    fn the_test_at_the_start_wants_words_that_are_all_different() {
        let good = [8, 2, 7, 1, 6, 3, 5, 4];
        assert_eq!(test(1, of_words(&good)), Ok(()));
        assert_eq!(test(1, of_words(&good[1..])), Err(EntropyErrorReason::Silent { tries: 1 }));
        for at in 1..good.len() {
            let mut words = good;
            words[at] = words[0];
            assert_eq!(test(1, of_words(&words)), STUCK, "the first again at {at}");
        }
        assert_eq!(test(1, || Some(u64::MAX)), STUCK);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it has no such instructions")]
    fn what_this_cpu_has_works() {
        let there = [Instruction::Rdseed, Instruction::Rdrand].map(|one| one.is_there(__cpuid_count));
        for (instruction, _) in
            [Instruction::Rdseed, Instruction::Rdrand].into_iter().zip(there).filter(|(_, there)| *there)
        {
            let cpu = CpuEntropy { instruction };
            assert_eq!(cpu.test(), Ok(()), "{}", cpu.name());
            let mut pieces = [[0; 32]; 4];
            for piece in &mut pieces {
                cpu.fill(piece).unwrap();
            }
            pieces.sort_unstable();
            assert!(pieces.windows(2).all(|pair| pair[0] != pair[1]), "{}", cpu.name());
        }
        assert_eq!(CpuEntropy::find().is_ok(), there.contains(&true));
    }
}
