//! 256-bit unsigned integers, for the intermediate results of decimal arithmetic.

/// `hi × 2^128 + lo`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wide {
    hi: u128,
    lo: u128,
}

impl Wide {
    /// The exact product.
    pub(super) fn product(a: u128, b: u128) -> Self {
        const MASK: u128 = u64::MAX as u128;
        let (a1, a0, b1, b0) = (a >> 64, a & MASK, b >> 64, b & MASK);
        let low = a0 * b0;
        let (middle, carry) = (a1 * b0).overflowing_add(a0 * b1);
        let (lo, overflow) = low.overflowing_add(middle << 64);
        let hi = a1 * b1 + (middle >> 64) + (u128::from(carry) << 64) + u128::from(overflow);
        Self { hi, lo }
    }

    /// Quotient, if it fits 128 bits, and remainder. A zero divisor has no quotient.
    pub(super) fn divide(self, divisor: u128) -> Option<(u128, u128)> {
        if self.hi == 0 && divisor != 0 {
            return Some((self.lo / divisor, self.lo % divisor));
        }
        if self.hi >= divisor {
            return None;
        }
        let (mut quotient, mut rest) = (0_u128, self.hi);
        for bit in (0..128).rev() {
            let carry = rest >> 127 == 1;
            rest = rest << 1 | (self.lo >> bit & 1);
            quotient <<= 1;
            if carry || rest >= divisor {
                rest = rest.wrapping_sub(divisor);
                quotient |= 1;
            }
        }
        Some((quotient, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_divide_back() {
        for (a, b) in [
            (3, 5),
            (u128::MAX, 7),
            (10_u128.pow(38) - 1, 10_u128.pow(38) - 1),
            (u128::MAX, u128::MAX - 1),
        ] {
            assert_eq!(Wide::product(a, b).divide(b), Some((a, 0)), "{a} {b}");
        }
        assert_eq!(Wide::product(10_u128.pow(38), 10_u128.pow(20)).divide(10), None);
        assert_eq!(Wide::product(1, 17).divide(5), Some((3, 2)));
        assert_eq!(Wide::product(1, 1).divide(0), None);
    }
}
