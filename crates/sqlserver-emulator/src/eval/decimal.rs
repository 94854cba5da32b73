//! Exact decimal arithmetic and the types of its results ("Precision, scale, and length (Transact-SQL)").

use super::wide::Wide;
use crate::ast::BinaryOp;
use crate::value::Decimal;

/// The most digits that a decimal has.
pub(super) const MAX_PRECISION: u8 = 38;

/// `10^digits`; saturates beyond what fits.
pub(super) fn power_of_ten(digits: u32) -> u128 {
    10_u128.checked_pow(digits).unwrap_or(u128::MAX)
}

/// Precision and scale of `left op right`.
pub(super) fn result_type(op: BinaryOp, left: (u8, u8), right: (u8, u8)) -> (u8, u8) {
    let wide = |(p, s): (u8, u8)| (i32::from(p), i32::from(s));
    let ((p1, s1), (p2, s2)) = (wide(left), wide(right));
    let whole = (p1 - s1).max(p2 - s2);
    let (precision, scale) = match op {
        BinaryOp::Multiply => (p1 + p2 + 1, s1 + s2),
        BinaryOp::Divide => {
            let scale = (s1 + p2 + 1).max(6);
            (p1 - s1 + s2 + scale, scale)
        }
        BinaryOp::Modulo => ((p1 - s1).min(p2 - s2) + s1.max(s2), s1.max(s2)),
        _ => {
            let scale = s1.max(s2);
            let precision = scale + whole + 1;
            return if precision > 38 {
                (38, scale.min(38 - whole) as u8)
            } else {
                (precision as u8, scale as u8)
            };
        }
    };
    if precision <= 38 {
        return (precision as u8, scale as u8);
    }
    // The whole part is kept, down to a scale of six.
    let kept = (38 - (precision - scale)).min(scale).max(scale.min(6));
    (38, kept as u8)
}

/// The type that holds both kinds of values.
pub(super) fn common_type(left: (u8, u8), right: (u8, u8)) -> (u8, u8) {
    let scale = left.1.max(right.1);
    let whole = (left.0 - left.1).max(right.0 - right.1);
    if whole + scale > MAX_PRECISION {
        (MAX_PRECISION, MAX_PRECISION - whole)
    } else {
        (whole + scale, scale)
    }
}

/// The value at another scale, rounded half away from zero. None if it has more than `precision` digits.
pub(super) fn rescale(value: Decimal, precision: u8, scale: u8) -> Option<Decimal> {
    let magnitude = value.unscaled.unsigned_abs();
    let magnitude = if scale >= value.scale {
        magnitude.checked_mul(power_of_ten(u32::from(scale - value.scale)))?
    } else {
        divide_rounded(magnitude, power_of_ten(u32::from(value.scale - scale)))
    };
    finish(value.unscaled < 0, magnitude, precision, scale)
}

/// Rounds half up.
pub(super) fn divide_rounded(value: u128, divisor: u128) -> u128 {
    let (quotient, rest) = (value / divisor, value % divisor);
    quotient + u128::from(rest >= divisor - rest)
}

fn finish(negative: bool, magnitude: u128, precision: u8, scale: u8) -> Option<Decimal> {
    if magnitude >= power_of_ten(u32::from(precision)) {
        return None;
    }
    let unscaled = i128::try_from(magnitude).ok()?;
    Some(Decimal {
        unscaled: if negative { -unscaled } else { unscaled },
        precision,
        scale,
    })
}

/// `left op right` as `decimal(precision, scale)`; the divisor is not zero. None is an overflow.
pub(super) fn calculate(
    op: BinaryOp,
    left: Decimal,
    right: Decimal,
    precision: u8,
    scale: u8,
) -> Option<Decimal> {
    match op {
        BinaryOp::Multiply => multiply(left, right, precision, scale),
        BinaryOp::Divide => divide(left, right, precision, scale),
        BinaryOp::Modulo => {
            let common = left.scale.max(right.scale);
            let (a, b) = (rescale(left, 38, common)?, rescale(right, 38, common)?);
            let rest = Decimal {
                unscaled: a.unscaled % b.unscaled,
                precision: 38,
                scale: common,
            };
            rescale(rest, precision, scale)
        }
        _ => {
            let common = left.scale.max(right.scale);
            let (a, b) = (rescale(left, 38, common)?, rescale(right, 38, common)?);
            let unscaled = match op {
                BinaryOp::Subtract => a.unscaled.checked_sub(b.unscaled)?,
                _ => a.unscaled.checked_add(b.unscaled)?,
            };
            rescale(
                Decimal {
                    unscaled,
                    precision: 38,
                    scale: common,
                },
                precision,
                scale,
            )
        }
    }
}

/// Rounds what the result's scale cannot hold.
fn multiply(left: Decimal, right: Decimal, precision: u8, scale: u8) -> Option<Decimal> {
    let product = Wide::product(left.unscaled.unsigned_abs(), right.unscaled.unsigned_abs());
    let excess = u32::from(left.scale + right.scale).saturating_sub(u32::from(scale));
    let (first, second) = (excess.min(38), excess - excess.min(38));
    let (quotient, rest) = product.divide(power_of_ten(first))?;
    let rounded = if second == 0 {
        let divisor = power_of_ten(first);
        quotient + u128::from(excess > 0 && rest >= divisor - rest)
    } else {
        divide_rounded(quotient, power_of_ten(second))
    };
    finish(
        (left.unscaled < 0) != (right.unscaled < 0),
        rounded,
        precision,
        scale,
    )
}

/// Cuts what the result's scale cannot hold, as SQL Server does: `2.0 / 3` is `0.666666`.
fn divide(left: Decimal, right: Decimal, precision: u8, scale: u8) -> Option<Decimal> {
    let shift = i32::from(scale) + i32::from(right.scale) - i32::from(left.scale);
    let divisor = right.unscaled.unsigned_abs();
    let quotient = if shift >= 0 {
        let up = shift as u32;
        // Beyond 38 digits the divisor shrinks in step: the digits lost are below the result's scale.
        let numerator = Wide::product(left.unscaled.unsigned_abs(), power_of_ten(up.min(38)));
        let (quotient, rest) = numerator.divide(divisor)?;
        let more = up - up.min(38);
        let (tail, _) = Wide::product(rest, power_of_ten(more)).divide(divisor)?;
        quotient.checked_mul(power_of_ten(more))?.checked_add(tail)?
    } else {
        let (quotient, _) = Wide::product(left.unscaled.unsigned_abs(), 1).divide(divisor)?;
        quotient / power_of_ten(shift.unsigned_abs())
    };
    finish(
        (left.unscaled < 0) != (right.unscaled < 0),
        quotient,
        precision,
        scale,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(unscaled: i128, precision: u8, scale: u8) -> Decimal {
        Decimal {
            unscaled,
            precision,
            scale,
        }
    }

    /// Documentation: "Precision, scale, and length (Transact-SQL)", with its examples.
    #[test]
    fn results_have_the_documented_types() {
        use BinaryOp::{Add, Divide, Modulo, Multiply};
        for (op, left, right, expected) in [
            (Multiply, (38, 10), (38, 10), (38, 6)),
            (Multiply, (38, 9), (3, 2), (38, 7)),
            (Multiply, (5, 2), (4, 1), (10, 3)),
            (Multiply, (20, 10), (20, 10), (38, 17)),
            (Divide, (2, 1), (1, 0), (7, 6)),
            (Divide, (38, 10), (38, 10), (38, 6)),
            (Add, (5, 2), (4, 3), (7, 3)),
            (Add, (38, 10), (38, 10), (38, 10)),
            (Modulo, (5, 2), (3, 0), (5, 2)),
        ] {
            assert_eq!(
                result_type(op, left, right),
                expected,
                "{op:?} {left:?} {right:?}"
            );
        }
    }

    #[test]
    fn products_round_and_quotients_are_cut() {
        let big = decimal(12_345_678_901, 38, 10);
        assert_eq!(
            calculate(BinaryOp::Multiply, big, big, 38, 6),
            Some(decimal(1_524_158, 38, 6))
        );
        let two_thirds = calculate(BinaryOp::Divide, decimal(20, 2, 1), decimal(3, 1, 0), 7, 6);
        assert_eq!(two_thirds, Some(decimal(666_666, 7, 6)));
        let overflow = calculate(BinaryOp::Add, decimal(99, 2, 0), decimal(1, 1, 0), 2, 0);
        assert_eq!(overflow, None);
        assert_eq!(rescale(decimal(-125, 3, 2), 3, 1), Some(decimal(-13, 3, 1)));
    }
}
