//! Everything that is left to chance, from one seed.

use gastank::entropy::Entropy;
use parking_lot::Mutex;

/// Numbers that are the same for the same seed (SplitMix64). Who asks first gets the first.
#[derive(Debug)]
pub struct Chance(Mutex<u64>);

impl Chance {
    /// The numbers that this seed stands for.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed ^ 0x6761_7374_616e_6b21))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = *state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number from `from` up to, but not, `to`.
    pub fn within(&self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).max(1)
    }

    /// A place in something that has `len` of them.
    pub fn place(&self, len: usize) -> usize {
        usize::try_from(self.next() % len.max(1) as u64).expect("it is below len")
    }

    /// `true` in `percent` of all cases.
    pub fn percent(&self, percent: u64) -> bool {
        self.within(0, 100) < percent
    }

    /// The seed of another sequence.
    pub fn branch(&self) -> u64 {
        self.next()
    }
}

impl Entropy for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
