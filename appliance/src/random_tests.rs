use super::*;
use core::cell::Cell;

use paravane_hal::entropy::EntropyErrorReason;
use proptest::prelude::*;

/// Fills with the same byte, another one each time.
#[derive(Default)]
struct Played {
    fills: Cell<u8>,
    is_over: Cell<bool>,
}

impl Entropy for Played {
    fn name(&self) -> &'static str {
        "played"
    }
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        if self.is_over.get() {
            return Err(EntropyError::new(self.name(), EntropyErrorReason::Stuck));
        }
        assert_eq!(to.len(), 32, "a seed, and nothing more");
        to.fill(self.fills.get());
        self.fills.set(self.fills.get() + 1);
        Ok(())
    }
}

fn bound(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// What `random` says, as far as `N` bytes go.
fn said<const N: usize>(mut random: Random) -> [u8; N] {
    random.array()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// Spec: RFC 8439, appendix A.1 "The ChaCha20 Block Functions", vectors 1 to 4: those whose nonce
/// is zero.
#[test]
fn its_bytes_are_those_that_were_published() {
    let mut zero = Random::from_seed([0; 32]);
    let first = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7
                 da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586";
    let second = "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed
                  29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f";
    assert_eq!(zero.array::<64>().as_slice(), hex(first));
    assert_eq!(zero.array::<64>().as_slice(), hex(second), "and it counts on");

    let mut seed = [0; 32];
    seed[31] = 1;
    let third = "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a
                 8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0";
    assert_eq!(said::<128>(Random::from_seed(seed))[64..], hex(third));

    seed = [0; 32];
    seed[1] = 0xff;
    let fourth = "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca
                  13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096";
    assert_eq!(said::<192>(Random::from_seed(seed))[128..], hex(fourth));
}

#[test]
fn numbers_are_its_bytes_in_their_order() {
    let mut random = Random::from_seed([0; 32]);
    assert_eq!(random.u32(), 0xade0_b876);
    assert_eq!(random.u64(), 0xe56a_5d40_903d_f1a0);
    assert_eq!(random.hash_key(), [0xb819_d2bd_28bd_8653, 0xccef_36a8_1aed_8da0]);
}

#[test]
fn without_entropy_there_is_none() {
    let played = Played::default();
    played.is_over.set(true);
    let error = Random::new(&played).unwrap_err();
    assert_eq!(error, EntropyError::new("played", EntropyErrorReason::Stuck));
}

#[test]
fn it_begins_with_the_entropy_it_is_given() {
    let played = Played::default();
    let random = [(); 2].map(|()| Random::new(&played).unwrap());
    let [zeros, ones] = random.map(said::<32>);
    assert_eq!(zeros, said(Random::from_seed([0; 32])));
    assert_eq!(ones, said(Random::from_seed([1; 32])));
}

#[test]
fn forks_differ_from_each_other_and_from_where_they_come() {
    let mut random = Random::from_seed([0; 32]);
    let forks = [random.fork(), random.fork()];
    let of_forks = random.fork().fork();
    let [left, right] = forks.map(said::<64>);
    let all = [left, right, said(of_forks), said(random), said(Random::from_seed([0; 32]))];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[..index].contains(one), "{index}");
        let windows: Vec<&[u8]> = all[..index].iter().flat_map(|other| other.windows(8)).collect();
        assert!(one.windows(8).all(|part| !windows.contains(&part)), "no part of {index} is another's");
    }
}

#[test]
fn a_new_seed_is_mixed_with_what_was() {
    let played = Played::default();
    played.fills.set(7);
    let reseeded = |seed| {
        let mut random = Random::from_seed([seed; 32]);
        played.fills.set(7);
        random.reseed(&played).unwrap();
        said::<32>(random)
    };
    let (zero, one) = (reseeded(0), reseeded(1));
    assert_ne!(zero, one, "what was counts");
    played.fills.set(8);
    let mut other = Random::from_seed([0; 32]);
    other.reseed(&played).unwrap();
    assert_ne!(zero, said(other), "what is new counts");
    assert_ne!(zero, said(Random::from_seed([7; 32])), "and not alone");
}

#[test]
fn it_goes_on_where_there_is_no_new_seed() {
    let played = Played::default();
    played.is_over.set(true);
    let mut random = Random::from_seed([0; 32]);
    assert!(random.reseed(&played).is_err());
    assert_eq!(said::<32>(random), said(Random::from_seed([0; 32])));
}

#[test]
fn its_state_is_not_shown() {
    assert_eq!(format!("{:?}", Random::from_seed([0x55; 32])), "Random { .. }");
}

#[test]
fn too_many_words_are_left_out_and_no_more() {
    // The lowest word of each number but where 2⁶⁴ is a multiple: 2⁶⁴ modulo 3 is one.
    assert_eq!(scaled(0, bound(3)), None);
    assert_eq!(scaled(1, bound(3)), Some(0));
    assert_eq!(scaled(u64::MAX, bound(3)), Some(2));
    let third = u64::MAX / 3;
    assert_eq!((scaled(third, bound(3)), scaled(third + 1, bound(3))), (Some(0), Some(1)));
    assert_eq!((scaled(2 * third, bound(3)), scaled(2 * third + 1, bound(3))), (Some(1), Some(2)));
    // Nothing is left out of a power of two.
    assert_eq!(scaled(0, bound(1 << 31)), Some(0));
    assert_eq!(scaled(u64::MAX, bound(1)), Some(0));
}

#[test]
fn each_number_below_a_bound_comes_as_often() {
    let mut random = Random::from_seed([3; 32]);
    let mut seen = [0_u32; 6];
    for _ in 0..60_000 {
        seen[random.below(bound(6)) as usize] += 1;
    }
    // Six deviations of a binomial distribution: 6 × √(60000 × 1/6 × 5/6) ≈ 548.
    assert!(seen.iter().all(|count| count.abs_diff(10_000) < 548), "{seen:?}");
}

proptest! {
    #[test]
    fn numbers_are_below_their_bound(seed: [u8; 32], limit in 1_u32..) {
        let mut random = Random::from_seed(seed);
        for _ in 0..16 {
            prop_assert!(random.below(bound(limit)) < limit);
        }
    }

    /// As many words lead to each number: 2⁶⁴ / bound, those left out not counted.
    #[test]
    fn each_number_has_as_many_words(limit in 1_u32.., number: u32) {
        let number = number % limit;
        let (words, wide) = (1_u128 << 64, u128::from(limit));
        let share = words / wide;
        // The words w with floor(w × limit / 2⁶⁴) = number.
        let first = (u128::from(number) * words).div_ceil(wide);
        let end = (u128::from(number + 1) * words).div_ceil(wide);
        let of = |word: u128| scaled(u64::try_from(word).unwrap(), bound(limit));
        let first = if of(first).is_none() { first + 1 } else { first };
        prop_assert_eq!(end - first, share);
        prop_assert_eq!((of(first), of(end - 1)), (Some(number), Some(number)));
    }

    #[test]
    fn however_it_is_taken_the_bytes_are_the_same(seed: [u8; 32], cut in 0_usize..=64) {
        let cut = cut / 4 * 4;
        let whole: [u8; 64] = said(Random::from_seed(seed));
        let mut random = Random::from_seed(seed);
        let mut parts = [0; 64];
        let (left, right) = parts.split_at_mut(cut);
        random.fill(left);
        random.fill(right);
        prop_assert_eq!(whole, parts);
    }
}
