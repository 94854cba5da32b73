//! `vector`: stored as a header and single-precision floats, shown as a JSON array.

use crate::error::{SqlError, SqlResult};
use crate::types::VECTOR_HEADER;
use crate::value::Value;

/// A value of so many dimensions, from another vector or from the text of an array.
pub(super) fn convert(value: &Value, dimensions: u16) -> SqlResult<Value> {
    let floats = match value {
        Value::Bytes(stored) => floats(stored).collect(),
        Value::Str(text) => parse(&String::from_utf16_lossy(text))?,
        _ => return Err(SqlError::unsupported("a vector of anything but text")),
    };
    if floats.len() != usize::from(dimensions) {
        let message = format!(
            "The vector dimensions {dimensions} and {} do not match.",
            floats.len()
        );
        return Err(SqlError::user(42_204, message));
    }
    Ok(Value::Bytes(store(&floats).into()))
}

/// The array as SQL Server writes it: eight digits and three of the exponent, so that the last bit may be lost.
pub(crate) fn text(stored: &[u8]) -> String {
    let floats = floats(stored).map(|float| {
        // A negative zero is shown as zero.
        let shown = format!("{:.7e}", if float == 0.0 { 0.0 } else { float });
        let (digits, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        format!("{digits}e{sign}{exponent:0>3}")
    });
    format!("[{}]", floats.collect::<Vec<_>>().join(","))
}

/// The header of the wire form: layout and version, dimensions, the type of its floats, padding (MS-TDS, vector).
fn store(floats: &[f32]) -> Vec<u8> {
    let [low, high] = (floats.len() as u16).to_le_bytes();
    let mut stored = vec![0xA9, 1, low, high, 0, 0, 0, 0];
    stored.extend(floats.iter().flat_map(|float| float.to_le_bytes()));
    stored
}

fn floats(stored: &[u8]) -> impl Iterator<Item = f32> {
    let (floats, _) = stored
        .get(usize::from(VECTOR_HEADER)..)
        .unwrap_or_default()
        .as_chunks::<4>();
    floats.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

/// Each number is read as a double, then made a float.
fn parse(text: &str) -> SqlResult<Vec<f32>> {
    let refused = || SqlError::unsupported("text that is no array of numbers as a vector");
    let inner = text
        .trim()
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let numbers = inner.ok_or_else(refused)?.split(',').map(|number| {
        let number = number.trim();
        let plain = number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let float = number
            .parse::<f64>()
            .ok()
            .filter(|_| plain)
            .map(|number| number as f32);
        float.filter(|float| float.is_finite()).ok_or_else(refused)
    });
    numbers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text as mssql-jdbc's tests expect it of a server.
    #[test]
    fn a_vector_is_made_of_an_array_and_shown_as_one() {
        let made = convert(&Value::text(" [1, 2.0 ,-0.05, 3e38] "), 4).unwrap();
        let Value::Bytes(stored) = &made else {
            panic!("{made:?}")
        };
        assert_eq!(stored[..8], [0xA9, 1, 4, 0, 0, 0, 0, 0]);
        assert_eq!(stored[8..12], 1_f32.to_le_bytes());
        assert_eq!(
            text(stored),
            "[1.0000000e+000,2.0000000e+000,-5.0000001e-002,3.0000000e+038]"
        );
        assert_eq!(convert(&made, 4).unwrap(), made);
        assert_eq!(convert(&made, 3).unwrap_err().number, 42_204);
        for bad in [
            "", "[]", "[1,]", "[\"1\"]", "[null]", "1", "[1e39]", "[inf]", "[[1]]",
        ] {
            assert!(convert(&Value::text(bad), 1).is_err(), "{bad}");
        }
    }
}
