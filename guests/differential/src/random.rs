//! Numbers that look random and are the same in every run.

/// A xorshift generator (Marsaglia, 2003).
pub(crate) struct Random(u32);

impl Random {
    /// A sequence of its own for each number.
    pub(crate) fn new(number: u32) -> Self {
        let mut random = Self(number.wrapping_mul(0x9e37_79b9) ^ 0x5eed_d1ff);
        // Neighbours differ little at first.
        for _ in 0..4 {
            random.next();
        }
        random
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.next() % bound
    }

    /// Once in `of`.
    pub(crate) fn once_in(&mut self, of: u32) -> bool {
        self.below(of) == 0
    }
}
