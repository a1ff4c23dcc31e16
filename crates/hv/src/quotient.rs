//! Division of double words.
//!
//! The compiler's own is a kilobyte and a half of text, and takes long. Who divides knows by what
//! long before: a [`Divisor`] is made once, bit by bit, and multiplies.

use crate::bus::low_word;

/// What is divided by.
#[derive(Clone, Copy, Debug)]
pub struct Divisor {
    divisor: u64,
    /// How often it is in 2^64 - 1.
    inverse: u64,
}

impl Divisor {
    /// Nothing changes by it.
    pub const ONE: Self = Self { divisor: 1, inverse: u64::MAX };

    /// Divides by so much, which must be below 2^63; by 1 if it is 0. About 1,600 instructions.
    #[must_use]
    pub fn new(divisor: u64) -> Self {
        let divisor = divisor.max(1);
        Self { divisor, inverse: quotient(u64::MAX, divisor) }
    }

    /// What is divided by.
    #[must_use]
    pub const fn get(&self) -> u64 {
        self.divisor
    }

    /// The quotient. About 60 instructions.
    #[must_use]
    #[inline(never)]
    pub fn divide(&self, dividend: u64) -> u64 {
        let [(high, low), (above, below)] =
            [dividend, self.inverse].map(|it| (it >> 32, u64::from(low_word(it))));
        let middle = high * below + ((low * below) >> 32);
        let other = low * above + u64::from(low_word(middle));
        let mut quotient = high * above + (middle >> 32) + (other >> 32);
        let mut rest = dividend - quotient * self.divisor;
        // It is too small by two at most.
        while rest >= self.divisor {
            rest -= self.divisor;
            quotient += 1;
        }
        quotient
    }
}

/// `dividend / divisor`, which is not 0. About 1,600 instructions.
#[inline(never)]
pub fn quotient(mut dividend: u64, divisor: u64) -> u64 {
    let mut rest = 0_u64;
    for _ in 0..u64::BITS {
        rest = rest << 1 | dividend >> 63;
        // The quotient comes in where the dividend leaves.
        dividend <<= 1;
        if rest >= divisor {
            rest -= divisor;
            dividend |= 1;
        }
    }
    dividend
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_divides_by_zero() {
        assert_eq!(Divisor::new(0).divide(7), 7);
        assert_eq!(Divisor::ONE.divide(u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn it_is_the_quotient(
            dividend: u64,
            divisor in 1_u64..1 << 63,
            shift in 0_u32..63,
            down in 0_u32..64,
        ) {
            let divisor = (divisor >> shift).max(1);
            let dividend = dividend >> down;
            prop_assert_eq!(Divisor::new(divisor).divide(dividend), dividend / divisor);
            let multiple = dividend - dividend % divisor;
            prop_assert_eq!(Divisor::new(divisor).divide(multiple), multiple / divisor);
        }
    }
}
