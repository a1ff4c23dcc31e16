//! Numbers that look random and are the same in every run.

/// A xorshift generator (Marsaglia, 2003).
#[derive(Clone, Debug)]
pub struct Random(u32);

impl Random {
    /// The sequence that begins behind `seed`, which is not 0.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// A sequence of its own for each number, neighbours included.
    #[must_use]
    pub fn numbered(number: u32) -> Self {
        let mut random = Self(number.wrapping_mul(0x9e37_79b9) ^ 0x5eed_d1ff);
        // Neighbours differ little at first.
        for _ in 0..4 {
            random.word();
        }
        random
    }

    /// The next word.
    pub const fn word(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Less than `bound`, which is not 0.
    pub const fn below(&mut self, bound: u32) -> u32 {
        self.word() % bound
    }

    /// Once in `of`, which is not 0.
    pub const fn once_in(&mut self, of: u32) -> bool {
        self.below(of) == 0
    }
}
