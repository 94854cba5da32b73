//! Lengths of time as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of time: `500ms`, `2s`, `5m`, `24h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub struct Period(Duration);

/// The units in milliseconds, the longest first, so that one that divides a length is found before its parts.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Period {
    /// So many seconds.
    pub const fn seconds(number: u64) -> Self {
        Self(Duration::from_secs(number))
    }

    /// The length.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = UNITS.into_iter().find(|(unit, _)| *unit == &text[digits.len()..]);
        let number: Option<u64> = digits.trim_end().parse().ok();
        number
            .zip(unit)
            .and_then(|(number, (_, factor))| number.checked_mul(factor))
            .map(|milliseconds| Self(Duration::from_millis(milliseconds)))
            .ok_or_else(|| {
                format!("{text:?} is no length of time; write it like `500ms`, `2s`, `5m`, `24h` or `7d`")
            })
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let whole = |(_, factor): &(&str, u64)| milliseconds != 0 && milliseconds.is_multiple_of(*factor);
        match UNITS.into_iter().find(whole) {
            Some((unit, factor)) => write!(f, "{}{unit}", milliseconds / factor),
            None => write!(f, "0s"),
        }
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written_with_their_unit() {
        for (text, milliseconds, written) in [
            ("500ms", 500, "500ms"),
            ("1500ms", 1_500, "1500ms"),
            ("2s", 2_000, "2s"),
            ("120 s", 120_000, "2m"),
            ("24h", 86_400_000, "1d"),
            ("7d", 604_800_000, "7d"),
            ("0s", 0, "0s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.duration(), Duration::from_millis(milliseconds), "{text}");
            assert_eq!(period.to_string(), written, "{text}");
        }
        for text in [
            "",
            "s",
            "5",
            "5 parsecs",
            "1.5h",
            "-1s",
            "99999999999999999d",
            "5m s",
            "５s",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
