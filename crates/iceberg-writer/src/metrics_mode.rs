//! How much a manifest says of a column, as the table's `write.metadata.metrics.*` properties ask for.

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType, TableMetadata};
use model::{Error, ErrorKind, Result};

const DEFAULT: &str = "write.metadata.metrics.default";
const OF_COLUMN: &str = "write.metadata.metrics.column.";
/// Characters of a text that its bounds have where the table says nothing. Parquet shortens them to as many bytes.
const OWN_LENGTH: usize = 64;

/// What is told of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricsMode {
    /// Nothing.
    None,
    /// Sizes, values, NULLs and NaNs.
    Counts,
    /// Bounds as well, of texts and bytes with so many characters or bytes.
    Truncate(usize),
    /// Whole bounds.
    Full,
}

impl MetricsMode {
    /// The mode of a column.
    ///
    /// # Errors
    ///
    /// `Config` if the property is none of the four modes.
    pub(crate) fn of(table: &TableMetadata, column: &str) -> Result<Self> {
        let names = [format!("{OF_COLUMN}{column}"), DEFAULT.to_owned()];
        for name in names {
            if let Some(value) = table.properties().get(&name) {
                return Self::parse(value).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Config,
                        format!("the table's property {name} is {value:?}, and not none, counts, truncate(16) or full"),
                    )
                    .hint("change the property in the table")
                });
            }
        }
        Ok(Self::Truncate(OWN_LENGTH))
    }

    fn parse(value: &str) -> Option<Self> {
        let value = value.trim().to_ascii_lowercase();
        match value.as_str() {
            "none" => Some(Self::None),
            "counts" => Some(Self::Counts),
            "full" => Some(Self::Full),
            _ => {
                let length = value.strip_prefix("truncate(")?.strip_suffix(')')?;
                let length = length.trim().parse().ok().filter(|length| *length > 0)?;
                Some(Self::Truncate(length))
            }
        }
    }

    /// Bytes that Parquet's own bounds need so that this many characters are left; `None` for all.
    pub(crate) fn statistics_bytes(self) -> Option<usize> {
        const LONGEST_CHARACTER: usize = 4;
        match self {
            Self::Full => None,
            Self::Truncate(length) if length != OWN_LENGTH => {
                Some(length.saturating_mul(LONGEST_CHARACTER).max(OWN_LENGTH))
            }
            _ => Some(OWN_LENGTH),
        }
    }

    pub(crate) fn has_counts(self) -> bool {
        self != Self::None
    }

    /// What is told of the smallest value.
    pub(crate) fn lower(self, bound: Datum) -> Option<Datum> {
        match (self, bound.literal()) {
            (Self::None | Self::Counts, _) => None,
            (Self::Truncate(length), PrimitiveLiteral::String(text)) => {
                Some(shortened(text, length).map_or(bound.clone(), Datum::string))
            }
            (Self::Truncate(length), PrimitiveLiteral::Binary(bytes))
                if is_binary(&bound) && bytes.len() > length =>
            {
                Some(Datum::binary(bytes[..length].iter().copied()))
            }
            _ => Some(bound),
        }
    }

    /// What is told of the largest value: something above it if it is shortened, and nothing where nothing that short is above it.
    pub(crate) fn upper(self, bound: Datum) -> Option<Datum> {
        match (self, bound.literal()) {
            (Self::None | Self::Counts, _) => None,
            (Self::Truncate(length), PrimitiveLiteral::String(text)) => match shortened(text, length) {
                Some(prefix) => above(prefix).map(Datum::string),
                None => Some(bound),
            },
            (Self::Truncate(length), PrimitiveLiteral::Binary(bytes))
                if is_binary(&bound) && bytes.len() > length =>
            {
                bytes_above(&bytes[..length]).map(Datum::binary)
            }
            _ => Some(bound),
        }
    }
}

fn is_binary(bound: &Datum) -> bool {
    *bound.data_type() == PrimitiveType::Binary
}

/// The first characters, if there are more.
fn shortened(text: &str, length: usize) -> Option<&str> {
    let (end, _) = text.char_indices().nth(length)?;
    Some(&text[..end])
}

/// The least text that is not longer and above all that begin with this one.
fn above(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // There are no characters where UTF-16 has its surrogates.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

fn bytes_above(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut above = prefix[..=last].to_vec();
    above[last] += 1;
    Some(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_others_write_them() {
        for (value, mode) in [
            ("none", Some(MetricsMode::None)),
            ("Counts", Some(MetricsMode::Counts)),
            ("full", Some(MetricsMode::Full)),
            ("truncate(16)", Some(MetricsMode::Truncate(16))),
            ("Truncate( 3 )", Some(MetricsMode::Truncate(3))),
            ("truncate(0)", None),
            ("truncate(-1)", None),
            ("truncate", None),
            ("", None),
        ] {
            assert_eq!(MetricsMode::parse(value), mode, "{value}");
        }
    }

    #[test]
    fn shortened_bounds_enclose_the_values() {
        let mode = MetricsMode::Truncate(3);
        for (text, lower, upper) in [
            ("abc", "abc", Some("abc")),
            ("abcd", "abc", Some("abd")),
            ("a😀bc", "a😀b", Some("a😀c")),
            ("ab\u{d7ff}x", "ab\u{d7ff}", Some("ab\u{e000}")),
            ("ab\u{10ffff}x", "ab\u{10ffff}", Some("ac")),
            (
                "\u{10ffff}\u{10ffff}\u{10ffff}x",
                "\u{10ffff}\u{10ffff}\u{10ffff}",
                None,
            ),
        ] {
            assert_eq!(
                mode.lower(Datum::string(text)),
                Some(Datum::string(lower)),
                "{text}"
            );
            assert_eq!(
                mode.upper(Datum::string(text)),
                upper.map(Datum::string),
                "{text}"
            );
        }
        for (bytes, lower, upper) in [
            (&[1, 2, 3][..], &[1, 2, 3][..], Some(&[1, 2, 3][..])),
            (&[1, 2, 3, 0], &[1, 2, 3], Some(&[1, 2, 4])),
            (&[1, 255, 255, 0], &[1, 255, 255], Some(&[2])),
            (&[255, 255, 255, 0], &[255, 255, 255], None),
        ] {
            let datum = |bytes: &[u8]| Datum::binary(bytes.iter().copied());
            assert_eq!(mode.lower(datum(bytes)), Some(datum(lower)), "{bytes:?}");
            assert_eq!(mode.upper(datum(bytes)), upper.map(datum), "{bytes:?}");
        }
        let number = Datum::long(7);
        assert_eq!(mode.lower(number.clone()), Some(number.clone()));
        assert_eq!(MetricsMode::Counts.upper(number.clone()), None);
        assert_eq!(
            MetricsMode::Full.upper(Datum::string("abcd")),
            Some(Datum::string("abcd"))
        );
    }
}
