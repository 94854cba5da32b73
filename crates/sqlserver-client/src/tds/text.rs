//! Characters from the wire. Nothing is replaced in silence: what is no text is an error.

use mssql_tds::datatypes::sql_string::EncodingType;

/// Why bytes are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextError {
    /// A UTF-16 surrogate without its other half.
    LoneSurrogate,
    /// Bytes that the column's code page does not have.
    Malformed,
    /// A code page that is not known.
    UnknownEncoding,
}

impl TextError {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::LoneSurrogate => "holds half of a surrogate pair, which is no character",
            Self::Malformed => "holds bytes that its code page does not have",
            Self::UnknownEncoding => "has a code page that is not known",
        }
    }
}

/// Replaces `out` by the characters of `bytes`.
pub(super) fn decode(bytes: &[u8], encoding: EncodingType, out: &mut String) -> Result<(), TextError> {
    out.clear();
    match encoding {
        EncodingType::Utf16 => decode_utf16(bytes, out),
        EncodingType::Utf8 => {
            out.push_str(std::str::from_utf8(bytes).map_err(|_| TextError::Malformed)?);
            Ok(())
        }
        EncodingType::LcidBased(_) | EncodingType::DelayedSet => {
            let encoding = encoding.resolved_encoding().ok_or(TextError::UnknownEncoding)?;
            let (text, malformed) = encoding.decode_without_bom_handling(bytes);
            if malformed {
                return Err(TextError::Malformed);
            }
            out.push_str(&text);
            Ok(())
        }
    }
}

/// The code units of UTF-16LE `bytes` if all of them are ASCII.
pub(super) fn ascii(bytes: &[u8]) -> Option<&[[u8; 2]]> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let beyond = pairs
        .iter()
        .fold(0, |seen, pair| seen | (u16::from_le_bytes(*pair) & 0xFF80));
    (rest.is_empty() && beyond == 0).then_some(pairs)
}

/// Replaces `out` by the characters of UTF-16LE `bytes`.
pub(super) fn decode_utf16(bytes: &[u8], out: &mut String) -> Result<(), TextError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(TextError::Malformed);
    }
    out.clear();
    out.reserve(pairs.len());
    let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
    for character in char::decode_utf16(units) {
        out.push(character.map_err(|_| TextError::LoneSurrogate)?);
    }
    Ok(())
}

/// XML may begin with a byte order mark, which is no part of it.
pub(super) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&[0xFF, 0xFE]).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(units: &[u16]) -> Vec<u8> {
        units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }

    #[test]
    fn utf16_is_exact_or_an_error() {
        let mut out = String::from("before");
        for text in ["", "abc", "ä\u{1F600}\0z", "日本"] {
            let units: Vec<_> = text.encode_utf16().collect();
            decode(&utf16(&units), EncodingType::Utf16, &mut out).unwrap();
            assert_eq!(out, text);
        }
        for lone in [&[0xD83D_u16][..], &[0xDE00], &[0xD83D, 0x61], &[0x61, 0xD83D]] {
            let result = decode(&utf16(lone), EncodingType::Utf16, &mut out);
            assert_eq!(result, Err(TextError::LoneSurrogate));
        }
        assert_eq!(
            decode(&[1], EncodingType::Utf16, &mut out),
            Err(TextError::Malformed)
        );
    }

    #[test]
    fn only_ascii_is_taken_for_ascii() {
        for (units, expect) in [
            (&[][..], true),
            (&[0x61, 0, 0x7F], true),
            (&[0x61, 0x80], false),
            (&[0x100], false),
            (&[0x6100], false),
        ] {
            assert_eq!(ascii(&utf16(units)).is_some(), expect, "{units:?}");
        }
        assert!(ascii(&[0x61]).is_none());
    }

    #[test]
    fn bad_utf8_is_an_error() {
        let mut out = String::new();
        decode("ü".as_bytes(), EncodingType::Utf8, &mut out).unwrap();
        assert_eq!(out, "ü");
        assert_eq!(
            decode(&[0xFF], EncodingType::Utf8, &mut out),
            Err(TextError::Malformed)
        );
    }
}
