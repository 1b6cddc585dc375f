//! A keyed permutation of the first `n` numbers: an order that nobody can foresee without the seed, and that everybody
//! who has it finds again. It costs a few table reads a number, and a few kilobytes however many numbers there are.

use sha2::{Digest, Sha256};

const LABEL: &[u8] = b"gastank/status-list/shuffle/v1";
/// More than the ten that format-preserving encryption takes for a domain this small.
const ROUNDS: usize = 12;

/// A Feistel network over `2 * half_bits` bits, its round functions drawn from a seed; numbers past the end walk on.
#[derive(Debug)]
pub(super) struct Shuffle {
    count: u32,
    half_bits: u32,
    /// The round functions, one after the other.
    tables: Box<[u16]>,
}

impl Shuffle {
    /// The permutation of `0..count` that `seed` stands for. `count` is at least 2 and at most 2^24.
    pub(super) fn new(count: u32, seed: &[u8; 32]) -> Self {
        let bits = u32::BITS - (count - 1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        let width = 1_usize << half_bits;
        let draws = (0_u32..).flat_map(|block| {
            let digest = Sha256::new()
                .chain_update(LABEL)
                .chain_update(seed)
                .chain_update(count.to_le_bytes())
                .chain_update(block.to_le_bytes())
                .finalize();
            let (pairs, _) = digest.as_slice().as_chunks::<2>();
            pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect::<Vec<_>>()
        });
        let mask = u16::try_from(width - 1).expect("half of 24 bits is less than 16");
        Self { count, half_bits, tables: draws.take(ROUNDS * width).map(|draw| draw & mask).collect() }
    }

    /// Where `number` goes.
    pub(super) fn place(&self, number: u32) -> u32 {
        debug_assert!(number < self.count, "only what is there can be shuffled");
        let mut at = number;
        // A permutation of a larger set, followed until it is back in the smaller one, is one of the smaller.
        loop {
            at = self.step(at);
            if at < self.count {
                return at;
            }
        }
    }

    fn step(&self, number: u32) -> u32 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for table in self.tables.chunks_exact(1 << self.half_bits) {
            (left, right) = (right, left ^ u32::from(table[right as usize]));
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_has_a_place_of_its_own(count in 2_u32..5_000, seed: [u8; 32]) {
            let shuffle = Shuffle::new(count, &seed);
            let places: BTreeSet<u32> = (0..count).map(|number| shuffle.place(number)).collect();
            prop_assert_eq!(places.len(), count as usize);
            prop_assert_eq!(places.last(), Some(&(count - 1)));
        }
    }

    #[test]
    fn another_seed_is_another_order_and_neighbours_part() {
        let (one, other) = (Shuffle::new(1 << 20, &[1; 32]), Shuffle::new(1 << 20, &[2; 32]));
        let same = (0..10_000).filter(|number| one.place(*number) == other.place(*number)).count();
        assert!(same < 5, "{same}");
        let near = (0..10_000).filter(|number| one.place(*number).abs_diff(one.place(number + 1)) < 1_000).count();
        assert!(near < 60, "{near}");
    }
}
