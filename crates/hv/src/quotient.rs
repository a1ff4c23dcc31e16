//! Division of double words.
//!
//! Bit by bit: the compiler's own is a kilobyte and a half of text, and nothing that is
//! done often divides.

/// `dividend / divisor`; 0 if `divisor` is 0, which must be below 2^63. About 500 instructions.
#[must_use]
#[inline(never)]
pub fn quotient(dividend: u64, divisor: u64) -> u64 {
    let (mut rest, mut quotient) = (0_u64, 0_u64);
    for bit in (0..64).rev() {
        rest = rest << 1 | dividend >> bit & 1;
        if divisor != 0 && rest >= divisor {
            rest -= divisor;
            quotient |= 1 << bit;
        }
    }
    quotient
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
