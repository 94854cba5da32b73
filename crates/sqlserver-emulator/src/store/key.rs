//! Index keys: byte strings in the order of the column's type and collation, comparable with `memcmp`.
//!
//! Each component is a marker (NULL sorts lowest), then the value's ordered form. Variable-length forms are
//! escaped and terminated, so that components can be concatenated; descending components are inverted.

use super::packed::Stored;
use crate::collation::Collation;
use crate::value::Value;

const NULL: u8 = 0;
const PRESENT: u8 = 1;

/// Appends one component. Values of one component must all be of one type.
pub(crate) fn append(
    value: &Value,
    collation: Option<&'static Collation>,
    descending: bool,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    if value.is_null() {
        out.push(NULL);
    } else {
        out.push(PRESENT);
        append_value(value, collation, out);
    }
    if descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// The same of a value where it lies.
pub(crate) fn append_stored(
    value: Stored<'_>,
    collation: Option<&'static Collation>,
    descending: bool,
    out: &mut Vec<u8>,
) {
    let Stored::Bytes(bytes) = value else {
        return append(&value.into_value(), collation, descending, out);
    };
    let start = out.len();
    out.push(PRESENT);
    append_bytes(bytes, out);
    if descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn append_value(value: &Value, collation: Option<&'static Collation>, out: &mut Vec<u8>) {
    match value {
        Value::Null => {}
        Value::Bit(b) => out.push(u8::from(*b)),
        Value::TinyInt(n) => out.push(*n),
        Value::SmallInt(n) => out.extend((n ^ i16::MIN).to_be_bytes()),
        Value::Int(n) | Value::Date(n) | Value::SmallMoney(n) => out.extend((n ^ i32::MIN).to_be_bytes()),
        Value::BigInt(n) | Value::Money(n) => out.extend((n ^ i64::MIN).to_be_bytes()),
        Value::Decimal(d) => out.extend((d.unscaled ^ i128::MIN).to_be_bytes()),
        Value::Real(x) => out.extend(ordered_float(f64::from(*x))),
        Value::Float(x) => out.extend(ordered_float(*x)),
        Value::Time { ticks, .. } => out.extend(ticks.to_be_bytes()),
        Value::SmallDateTime { days, minutes } => {
            out.extend(days.to_be_bytes());
            out.extend(minutes.to_be_bytes());
        }
        Value::DateTime { days, ticks } => {
            out.extend((days ^ i32::MIN).to_be_bytes());
            out.extend(ticks.to_be_bytes());
        }
        Value::DateTime2 { days, ticks, .. } | Value::DateTimeOffset { days, ticks, .. } => {
            out.extend((days ^ i32::MIN).to_be_bytes());
            out.extend(ticks.to_be_bytes());
        }
        Value::Str(text) | Value::Xml(text) => {
            let key = collation.unwrap_or_else(Collation::server_default).sort_key(text);
            append_escaped(&key, out);
        }
        Value::Bytes(bytes) => append_bytes(bytes, out),
        Value::Guid(guid) => out.extend(guid_order(guid)),
        Value::RowVersion(n) => out.extend(n.to_be_bytes()),
        Value::Variant(held) => append_value(&held.value, held.info.collation, out),
    }
}

/// Zeros at the end do not count.
fn append_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    append_escaped(&bytes[..end], out);
}

/// Floats order as their bits do once negative ones are inverted; -0 equals 0.
fn ordered_float(x: f64) -> [u8; 8] {
    let bits = (x + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | (1 << 63) };
    ordered.to_be_bytes()
}

/// SQL Server compares the last six bytes first, then the others group by group from the right; the first three groups
/// are stored little-endian and compared in stored order.
fn guid_order(rfc: &[u8; 16]) -> [u8; 16] {
    const ORDER: [usize; 16] = [10, 11, 12, 13, 14, 15, 8, 9, 7, 6, 5, 4, 3, 2, 1, 0];
    ORDER.map(|at| rfc[at])
}

/// `00` becomes `00 FF`, and `00 00` ends the component.
fn append_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend([0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        append(value, None, false, &mut out);
        out
    }

    #[test]
    fn keys_order_as_the_values_do() {
        let ascending = [
            vec![
                Value::Null,
                Value::Int(i32::MIN),
                Value::Int(-1),
                Value::Int(0),
                Value::Int(7),
            ],
            vec![
                Value::Float(f64::NEG_INFINITY),
                Value::Float(-1.5),
                Value::Float(0.0),
                Value::Float(2.0),
            ],
            vec![
                Value::text(""),
                Value::text("a"),
                Value::text("ab"),
                Value::text("b"),
            ],
            vec![
                Value::bytes(&[]),
                Value::bytes(&[0, 1]),
                Value::bytes(&[1]),
                Value::bytes(&[1, 0, 1]),
            ],
            vec![Value::BigInt(i64::MIN), Value::BigInt(0), Value::BigInt(i64::MAX)],
        ];
        for values in ascending {
            for pair in values.windows(2) {
                assert!(key(&pair[0]) < key(&pair[1]), "{pair:?}");
            }
        }
    }

    #[test]
    fn padding_does_not_count() {
        assert_eq!(key(&Value::text("A")), key(&Value::text("a  ")));
        assert_eq!(key(&Value::bytes(&[])), key(&Value::bytes(&[0])));
        assert_eq!(key(&Value::Float(-0.0)), key(&Value::Float(0.0)));
    }

    #[test]
    fn a_descending_component_inverts_the_order() {
        let descending = |n| {
            let mut out = Vec::new();
            append(&Value::Int(n), None, true, &mut out);
            out
        };
        assert!(descending(2) < descending(1));
    }
}
