//! Comparison of values: by collation for text, without regard to padding, NULLs apart.

use std::cmp::Ordering;

use super::decimal;
use crate::ast::CompareOp;
use crate::collation::Collation;
use crate::value::{Decimal, Value};

/// The order of two values of one type. None when either is NULL or they do not compare.
pub(crate) fn compare(a: &Value, b: &Value, collation: Option<&'static Collation>) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Variant(a), b) => compare(&a.value, b, a.info.collation),
        (a, Value::Variant(b)) => compare(a, &b.value, b.info.collation),
        (Value::Str(a) | Value::Xml(a), Value::Str(b) | Value::Xml(b)) => Some(compare_text(
            a,
            b,
            collation.unwrap_or_else(Collation::server_default),
        )),
        (Value::Bytes(a), Value::Bytes(b)) => Some(trimmed(a).cmp(trimmed(b))),
        (Value::Decimal(a), Value::Decimal(b)) => Some(compare_decimals(*a, *b)),
        (Value::Real(a), Value::Real(b)) => a.partial_cmp(b),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Money(a), Value::Money(b)) => Some(a.cmp(b)),
        (Value::SmallMoney(a), Value::SmallMoney(b)) => Some(a.cmp(b)),
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        (Value::Time { ticks: a, .. }, Value::Time { ticks: b, .. }) => Some(a.cmp(b)),
        (Value::SmallDateTime { days: a, minutes: c }, Value::SmallDateTime { days: b, minutes: d }) => {
            Some((a, c).cmp(&(b, d)))
        }
        (Value::DateTime { days: a, ticks: c }, Value::DateTime { days: b, ticks: d }) => {
            Some((a, c).cmp(&(b, d)))
        }
        (
            Value::DateTime2 {
                days: a, ticks: c, ..
            },
            Value::DateTime2 {
                days: b, ticks: d, ..
            },
        )
        | (
            Value::DateTimeOffset {
                days: a, ticks: c, ..
            },
            Value::DateTimeOffset {
                days: b, ticks: d, ..
            },
        ) => Some((a, c).cmp(&(b, d))),
        (Value::Guid(a), Value::Guid(b)) => Some(guid_order(a).cmp(&guid_order(b))),
        (Value::RowVersion(a), Value::RowVersion(b)) => Some(a.cmp(b)),
        (Value::RowVersion(a), Value::Bytes(b)) => Some(trimmed(&a.to_be_bytes()).cmp(trimmed(b))),
        (Value::Bytes(a), Value::RowVersion(b)) => Some(trimmed(a).cmp(trimmed(&b.to_be_bytes()))),
        _ => a.as_integer()?.partial_cmp(&b.as_integer()?),
    }
}

/// Whether two values of one type are equal; none for unknown. Cheaper than their order.
pub(super) fn equals(a: &Value, b: &Value, collation: Option<&'static Collation>) -> Option<bool> {
    if let (Value::Str(a), Value::Str(b)) = (a, b)
        && let Some(equal) = plain_equals(a, b, collation.unwrap_or_else(Collation::server_default))
    {
        return Some(equal);
    }
    compare(a, b, collation).map(Ordering::is_eq)
}

/// Printable ASCII needs no sort keys; none for other text.
pub(super) fn plain_equals(a: &[u16], b: &[u16], collation: &'static Collation) -> Option<bool> {
    const PRINTABLE: std::ops::RangeInclusive<u16> = 0x20..=0x7E;
    if !a.iter().chain(b).all(|unit| PRINTABLE.contains(unit)) {
        return None;
    }
    let (a, b) = (without_blanks(a), without_blanks(b));
    let same = |a: u16, b: u16| match collation.binary || collation.case_sensitive {
        true => a == b,
        false => (a as u8).eq_ignore_ascii_case(&(b as u8)),
    };
    Some(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(*a, *b)))
}

fn without_blanks(text: &[u16]) -> &[u16] {
    let end = text
        .iter()
        .rposition(|unit| *unit != u16::from(b' '))
        .map_or(0, |at| at + 1);
    &text[..end]
}

/// The result of an operator on an order.
pub(super) fn satisfies(op: CompareOp, order: Ordering) -> bool {
    match op {
        CompareOp::Equal => order.is_eq(),
        CompareOp::NotEqual => order.is_ne(),
        CompareOp::Less => order.is_lt(),
        CompareOp::LessOrEqual => order.is_le(),
        CompareOp::Greater => order.is_gt(),
        CompareOp::GreaterOrEqual => order.is_ge(),
    }
}

fn compare_text(a: &[u16], b: &[u16], collation: &'static Collation) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    collation.sort_key(a).cmp(&collation.sort_key(b))
}

/// Zeros at the end do not count: `0x = 0x00`.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    &bytes[..end]
}

fn compare_decimals(a: Decimal, b: Decimal) -> Ordering {
    let scale = a.scale.max(b.scale);
    match (decimal::rescale(a, 38, scale), decimal::rescale(b, 38, scale)) {
        (Some(a), Some(b)) => a.unscaled.cmp(&b.unscaled),
        // Too great for the common scale: the whole parts decide.
        _ => whole(a).cmp(&whole(b)),
    }
}

fn whole(value: Decimal) -> i128 {
    value.unscaled / decimal::power_of_ten(u32::from(value.scale)) as i128
}

/// The last group first, as SQL Server orders uniqueidentifier.
fn guid_order(guid: &[u8; 16]) -> [u8; 16] {
    const ORDER: [usize; 16] = [10, 11, 12, 13, 14, 15, 8, 9, 7, 6, 5, 4, 3, 2, 1, 0];
    ORDER.map(|at| guid[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_to_equality_agrees_with_the_order() {
        let words = [
            "", " ", "a", "A", "a ", "b", "ab", "a b", "-", "_", "~", "1", "é", "\u{1}a", "ß", "ss",
        ];
        for name in [
            "SQL_Latin1_General_CP1_CI_AS",
            "Latin1_General_CS_AS",
            "Latin1_General_BIN2",
        ] {
            let collation = Collation::find(name);
            for (a, b) in words
                .iter()
                .flat_map(|a| words.map(|b| (Value::text(a), Value::text(b))))
            {
                let ordered = compare(&a, &b, collation).map(Ordering::is_eq);
                assert_eq!(equals(&a, &b, collation), ordered, "{name}: {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn values_compare_as_documented() {
        let binary = Collation::find("Latin1_General_BIN2");
        let decimal = |unscaled, scale| {
            Value::Decimal(Decimal {
                unscaled,
                precision: 38,
                scale,
            })
        };
        for (a, b, collation, expected) in [
            (Value::text("a"), Value::text("A  "), None, Some(Ordering::Equal)),
            (
                Value::text("a"),
                Value::text("A"),
                binary,
                Some(Ordering::Greater),
            ),
            (Value::bytes(&[]), Value::bytes(&[0]), None, Some(Ordering::Equal)),
            (decimal(150, 2), decimal(15, 1), None, Some(Ordering::Equal)),
            (
                decimal(i128::pow(10, 37), 0),
                decimal(1, 30),
                None,
                Some(Ordering::Greater),
            ),
            (Value::Null, Value::Null, None, None),
            (Value::Int(-1), Value::Int(1), None, Some(Ordering::Less)),
        ] {
            assert_eq!(compare(&a, &b, collation), expected, "{a:?} {b:?}");
        }
    }
}
