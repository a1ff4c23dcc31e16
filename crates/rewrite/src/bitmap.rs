//! A fixed set of small numbers: which words or halfwords of a page.
//!
//! Out-of-range numbers are never members, so callers may compute branch targets
//! first and ask later.

/// `N` times 32 bits.
pub(crate) struct Bitmap<const N: usize>([u32; N]);

impl<const N: usize> Bitmap<N> {
    pub(crate) const fn new() -> Self {
        Self([0; N])
    }

    #[inline]
    pub(crate) fn contains(&self, index: u32) -> bool {
        usize::try_from(index >> 5)
            .ok()
            .and_then(|word| self.0.get(word))
            .is_some_and(|word| word >> (index & 31) & 1 == 1)
    }

    #[inline]
    pub(crate) fn insert(&mut self, index: u32) {
        if let Some(word) = usize::try_from(index >> 5).ok().and_then(|word| self.0.get_mut(word)) {
            *word |= 1 << (index & 31);
        }
    }

    /// Removes and returns the lowest member.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let mut base = 0;
        for word in &mut self.0 {
            if *word != 0 {
                let index = base + word.trailing_zeros();
                *word &= *word - 1;
                return Some(index);
            }
            base += 32;
        }
        None
    }

    /// Calls `each` for every member, ascending.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32)) {
        let mut base = 0;
        for word in &self.0 {
            let mut left = *word;
            while left != 0 {
                each(base + left.trailing_zeros());
                left &= left - 1;
            }
            base += 32;
        }
    }
}
