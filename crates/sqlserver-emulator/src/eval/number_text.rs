//! Numbers as text and back, in the forms that CONVERT gives and takes.

use super::decimal;
use crate::value::Decimal;

/// `-12.50`
pub(super) fn decimal_text(value: Decimal) -> String {
    fixed_point(value.unscaled, u32::from(value.scale))
}

fn fixed_point(unscaled: i128, scale: u32) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let magnitude = unscaled.unsigned_abs();
    if scale == 0 {
        return format!("{sign}{magnitude}");
    }
    let unit = decimal::power_of_ten(scale);
    format!(
        "{sign}{}.{:0width$}",
        magnitude / unit,
        magnitude % unit,
        width = scale as usize
    )
}

/// Style 0: two digits; 1: two digits and commas; 2: four digits.
pub(super) fn money_text(ten_thousandths: i64, style: i32) -> String {
    let value = i128::from(ten_thousandths);
    if matches!(style, 2 | 126) {
        return fixed_point(value, 4);
    }
    let sign = i128::from(value.signum() as i8);
    let hundredths = sign * decimal::divide_rounded(value.unsigned_abs(), 100) as i128;
    let text = fixed_point(hundredths, 2);
    if style != 1 {
        return text;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "00"));
    let digits = whole.trim_start_matches('-');
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    format!("{sign}{grouped}.{fraction}")
}

/// Style 0: up to six digits, scientific where that is shorter; 1: eight digits and 2: sixteen, always scientific;
/// 3: seventeen digits.
pub(super) fn float_text(value: f64, style: i32, is_real: bool) -> String {
    match style {
        1 => scientific(value, 8),
        2 => scientific(value, 16),
        3 => general(value, if is_real { 9 } else { 17 }),
        _ => general(value, 6),
    }
}

/// `digits` significant ones: `1.0000000e+000`
fn scientific(value: f64, digits: usize) -> String {
    let text = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:03}", exponent.abs())
}

/// As C's `%g` has it, with three digits of exponent.
fn general(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = scientific(value, digits);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "+000"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let mantissa = trim_zeros(mantissa);
        return format!(
            "{mantissa}e{}{:03}",
            if exponent < 0 { '-' } else { '+' },
            exponent.abs()
        );
    }
    let fraction = (digits as i32 - 1 - exponent).max(0) as usize;
    trim_zeros(&format!("{value:.fraction$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// An exact number; None for other text. Digits beyond what fits are an error of the caller's target type.
pub(super) fn parse_decimal(text: &str) -> Option<Decimal> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text.strip_prefix('+').unwrap_or(text).trim_start()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let valid = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !valid(whole) || !valid(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.get(..fraction.len().min(38 - whole.len().min(38)))?;
    let unscaled: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let precision = (whole.len() + fraction.len()).max(1) as u8;
    Some(Decimal {
        unscaled: if negative { -unscaled } else { unscaled },
        precision,
        scale: fraction.len() as u8,
    })
}

/// A number with an exponent or without; None for other text.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim();
    if text.is_empty() {
        return Some(0.0);
    }
    let numeric = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    let value: f64 = if numeric { text.parse().ok()? } else { return None };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documentation: "CAST and CONVERT", float and real styles, money styles.
    #[test]
    fn floats_and_money_have_the_documented_text() {
        for (value, style, expected) in [
            (1.5, 0, "1.5"),
            (1_000_000.0, 0, "1e+006"),
            (123_456.7, 0, "123457"),
            (0.000_01, 0, "1e-005"),
            (-0.25, 0, "-0.25"),
            (1.0 / 3.0, 1, "3.3333333e-001"),
            (1.0 / 3.0, 2, "3.333333333333333e-001"),
            (0.1, 3, "0.10000000000000001"),
        ] {
            assert_eq!(float_text(value, style, false), expected, "{value} {style}");
        }
        assert_eq!(money_text(12_345_678_950, 0), "1234567.90");
        assert_eq!(money_text(12_345_678_950, 1), "1,234,567.90");
        assert_eq!(money_text(-12_345, 2), "-1.2345");
    }
}
