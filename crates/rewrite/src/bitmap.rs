//! A fixed set of small numbers: which words or halfwords of a page.
//!
//! Out-of-range numbers are never members, so callers may compute branch targets
//! first and ask later.

/// `N` times 32 bits.
#[derive(Clone)]
pub(crate) struct Bitmap<const N: usize> {
    words: [u32; N],
    /// No member is in a word below: popping resumes here.
    first: usize,
}

impl<const N: usize> Bitmap<N> {
    #[inline(never)]
    pub(crate) const fn new() -> Self {
        Self { words: [0; N], first: N }
    }

    #[inline]
    pub(crate) fn contains(&self, index: u32) -> bool {
        usize::try_from(index >> 5)
            .ok()
            .and_then(|word| self.words.get(word))
            .is_some_and(|word| word >> (index & 31) & 1 == 1)
    }

    #[inline]
    pub(crate) fn insert(&mut self, index: u32) {
        let Ok(place) = usize::try_from(index >> 5) else { return };
        if let Some(word) = self.words.get_mut(place) {
            *word |= 1 << (index & 31);
            self.first = self.first.min(place);
        }
    }

    /// Sets 32 members at once, from `block` times 32 upwards.
    #[inline]
    pub(crate) fn set_block(&mut self, block: usize, members: u32) {
        if let Some(word) = self.words.get_mut(block) {
            *word = members;
        }
    }

    /// 32 members at once, from `block` times 32 upwards.
    #[inline]
    pub(crate) fn block(&self, block: usize) -> u32 {
        self.words.get(block).copied().unwrap_or(0)
    }

    /// [`Bitmap::block`] for 32-bit arithmetic.
    #[inline]
    pub(crate) fn at(&self, block: u32) -> u32 {
        usize::try_from(block).map_or(0, |block| self.block(block))
    }

    /// [`Bitmap::set_block`] for 32-bit arithmetic; not for sets that are popped.
    #[inline]
    pub(crate) fn put(&mut self, block: u32, members: u32) {
        if let Ok(block) = usize::try_from(block) {
            self.set_block(block, members);
        }
    }

    /// Up to 32 members from `start` upwards, the first in bit 0.
    pub(crate) fn window(&self, start: u32) -> u32 {
        let word = |index: u32| {
            usize::try_from(index).ok().and_then(|index| self.words.get(index)).copied()
        };
        let low = word(start >> 5).unwrap_or(0);
        let high = word((start >> 5) + 1).unwrap_or(0);
        let both = u64::from(high) << 32 | u64::from(low);
        let [a, b, c, d, ..] = (both >> (start & 31)).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Removes and returns the lowest of what was inserted.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        while let Some(word) = self.words.get_mut(self.first) {
            if *word != 0 {
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                return u32::try_from(self.first << 5).ok().map(|base| base | bit);
            }
            self.first += 1;
        }
        None
    }

    /// Calls `each` for every member, ascending.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32)) {
        let mut base = 0;
        for word in &self.words {
            let mut left = *word;
            while left != 0 {
                each(base + left.trailing_zeros());
                left &= left - 1;
            }
            base += 32;
        }
    }
}
