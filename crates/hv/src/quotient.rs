//! Division of double words.
//!
//! Bit by bit: the compiler's own is a kilobyte and a half of text, and nothing that is
//! done often divides.

/// `dividend / divisor`; 0 if `divisor` is 0, which must be below 2^63. About 1,600 instructions.
#[must_use]
#[inline(never)]
pub fn quotient(mut dividend: u64, divisor: u64) -> u64 {
    if divisor == 0 {
        return 0;
    }
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
        assert_eq!(quotient(1, 0), 0);
    }

    proptest! {
        #[test]
        fn it_is_the_quotient(dividend: u64, divisor in 1_u64..1 << 63, shift in 0_u32..63) {
            let divisor = (divisor >> shift).max(1);
            prop_assert_eq!(quotient(dividend, divisor), dividend / divisor);
        }
    }
}
