//! What is asked of a hash: no more keys in one place than chance puts there.

#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "tests")]

use super::*;

fn key(number: u8) -> HashKey {
    HashKey::new(&mut Random::from_seed([number; 32]))
}

/// Hashes of keys that are as alike as a stranger makes them, of both versions.
fn hashes(key: &HashKey) -> Vec<Vec<u64>> {
    const MANY: u64 = 1 << 16;
    let rest = 0x0406_0050_0000;
    let words = |all: &dyn Fn(u64) -> u64| (0..MANY).map(all).collect();
    vec![
        // Ports, addresses that follow each other, high bits only, both the same.
        words(&|n| key.v4(0x5000_0002_0a00_0001, rest | n)),
        words(&|n| key.v4(n, rest)),
        words(&|n| key.v4(n << 48, rest)),
        words(&|n| key.v4(n << 16, n << 32)),
        words(&|n| key.v6([1, n, 2, 3], rest)),
        words(&|n| key.v6([1, 2, 3, n << 48], rest)),
        words(&|n| key.v6([n << 32, 2, 3, n], rest)),
    ]
}

#[test]
fn places_fill_as_chance_fills_them() {
    for (number, key) in (0..8).map(|number| (number, key(number))) {
        for (kind, hashes) in hashes(&key).iter().enumerate() {
            // The two places of a key, and its tag: which bits are used for what.
            for shift in [0, 12, 24, 36, 48] {
                let mut places = vec![0_u64; 4096];
                for hash in hashes {
                    places[(hash >> shift & 0xfff) as usize] += 1;
                }
                // 16 each: squares of differences add up to that many, ± √2 of it.
                let chi: f64 = places.iter().map(|count| (*count as f64 - 16.0).powi(2) / 16.0).sum();
                assert!((chi - 4096.0).abs() < 6.0 * 90.5, "key {number}, kind {kind}, {shift}: {chi}");
                assert!(places.iter().all(|count| *count < 64), "key {number}, kind {kind}, {shift}");
            }
        }
    }
}

#[test]
fn each_bit_of_a_key_turns_half_of_all_bits() {
    let key = key(1);
    for bit in 0..64 {
        let turned = |number: u64| {
            let [a, b] = [number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number << 7];
            let of_v4 = key.v4(a ^ 1 << bit, b) ^ key.v4(a, b);
            let of_rest = key.v4(a, b ^ 1 << bit) ^ key.v4(a, b);
            let six = key.v6([a, b, a, b], a);
            let of_v6 = [0, 1, 2, 3].map(|at| {
                let mut words = [a, b, a, b];
                words[at] ^= 1 << bit;
                key.v6(words, a) ^ six
            });
            [of_v4, of_rest].into_iter().chain(of_v6).map(|bits| bits.count_ones()).collect::<Vec<_>>()
        };
        let mut sums = [0; 6];
        for number in 0..1000 {
            sums.iter_mut().zip(turned(number)).for_each(|(sum, bits)| *sum += bits);
        }
        assert!(sums.iter().all(|sum| (31_000..33_000).contains(sum)), "bit {bit}: {sums:?}");
    }
}

#[test]
fn what_comes_to_one_place_with_one_key_does_not_with_another() {
    let [one, other] = [key(1), key(2)];
    let mut together = 0;
    for n in 0..1_u64 << 20 {
        // Both places of 4096 as those of the first key of all.
        let is_with = |key: &HashKey| (key.v4(n, 7) ^ key.v4(u64::MAX, 7)) & 0xf_ff00_0fff == 0;
        together += u32::from(is_with(&one) && is_with(&other));
    }
    assert_eq!(together, 0);
}
