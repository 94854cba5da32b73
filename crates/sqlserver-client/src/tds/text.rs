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

/// Appends the characters of `bytes` to `out` as UTF-8. After an error a part of them may have been appended.
pub(super) fn decode(bytes: &[u8], encoding: EncodingType, out: &mut Vec<u8>) -> Result<(), TextError> {
    match encoding {
        EncodingType::Utf16 => decode_utf16(bytes, out),
        EncodingType::Utf8 => {
            let text = std::str::from_utf8(bytes).map_err(|_| TextError::Malformed)?;
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        EncodingType::LcidBased(_) | EncodingType::DelayedSet => {
            let encoding = encoding.resolved_encoding().ok_or(TextError::UnknownEncoding)?;
            let (text, malformed) = encoding.decode_without_bom_handling(bytes);
            if malformed {
                return Err(TextError::Malformed);
            }
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
}

/// Appends the characters of UTF-16LE `bytes` to `out` as UTF-8. After an error a part of them may have been appended.
pub(super) fn decode_utf16(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
    /// Code units that are looked at together.
    const BLOCK: usize = 8;
    let (mut units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(TextError::Malformed);
    }
    out.reserve(units.len());
    while let Some((block, after)) = units.split_first_chunk::<BLOCK>() {
        if is_ascii(block) {
            out.extend_from_slice(&block.map(|unit| unit[0]));
            units = after;
        } else {
            // One or two of them may be the second half of a pair's first.
            let read = decode_units(units, BLOCK, out)?;
            units = units.get(read..).unwrap_or_default();
        }
    }
    decode_units(units, units.len(), out).map(|_| ())
}

fn is_ascii(units: &[[u8; 2]]) -> bool {
    let all = units.iter().fold(0, |all, unit| all | u16::from_le_bytes(*unit));
    all & 0xFF80 == 0
}

/// Appends characters until at least `most` units are read, and returns how many were.
fn decode_units(units: &[[u8; 2]], most: usize, out: &mut Vec<u8>) -> Result<usize, TextError> {
    let mut read = 0;
    while read < most {
        let unit = |at: usize| units.get(at).map(|unit| u32::from(u16::from_le_bytes(*unit)));
        let Some(first) = unit(read) else { break };
        read += 1;
        match first {
            0..0x80 => out.push(first as u8),
            0x80..0x800 => out.extend_from_slice(&[0xC0 | (first >> 6) as u8, 0x80 | (first & 0x3F) as u8]),
            0xD800..0xE000 => {
                let second = unit(read).filter(|second| first < 0xDC00 && (0xDC00..0xE000).contains(second));
                let second = second.ok_or(TextError::LoneSurrogate)?;
                read += 1;
                let point = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                out.extend_from_slice(&[
                    0xF0 | (point >> 18) as u8,
                    0x80 | (point >> 12 & 0x3F) as u8,
                    0x80 | (point >> 6 & 0x3F) as u8,
                    0x80 | (point & 0x3F) as u8,
                ]);
            }
            _ => out.extend_from_slice(&[
                0xE0 | (first >> 12) as u8,
                0x80 | (first >> 6 & 0x3F) as u8,
                0x80 | (first & 0x3F) as u8,
            ]),
        }
    }
    Ok(read)
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

    fn decoded(bytes: &[u8], encoding: EncodingType) -> Result<String, TextError> {
        let mut out = b"before".to_vec();
        decode(bytes, encoding, &mut out)?;
        let text = String::from_utf8(out).unwrap();
        Ok(text.strip_prefix("before").unwrap().to_owned())
    }

    /// Against the standard library: every character that begins or ends a range, at every place of a block.
    #[test]
    fn utf16_is_exact() {
        let edges = "\0a\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\u{10FFFF}";
        for edge in edges.chars() {
            for before in 0..35 {
                for after in [0, 1, 20] {
                    let text = format!("{}{edge}{}", "x".repeat(before), "y".repeat(after));
                    let units: Vec<_> = text.encode_utf16().collect();
                    assert_eq!(decoded(&utf16(&units), EncodingType::Utf16).unwrap(), text);
                }
            }
        }
        for text in ["", "ä\u{1F600}\0z", "日本語のとても長い文字列、十六文字を超える"]
        {
            let units: Vec<_> = text.encode_utf16().collect();
            assert_eq!(decoded(&utf16(&units), EncodingType::Utf16).unwrap(), text);
        }
    }

    #[test]
    fn half_a_character_is_an_error() {
        for before in [0, 14, 15, 16, 17] {
            for lone in [&[0xD83D_u16][..], &[0xDE00], &[0xD83D, 0x61], &[0x61, 0xD83D]] {
                let units: Vec<_> = std::iter::repeat_n(0x61, before)
                    .chain(lone.iter().copied())
                    .collect();
                let result = decoded(&utf16(&units), EncodingType::Utf16);
                assert_eq!(result, Err(TextError::LoneSurrogate), "{before} {lone:X?}");
            }
        }
        assert_eq!(decoded(&[1], EncodingType::Utf16), Err(TextError::Malformed));
    }

    #[test]
    fn bad_utf8_is_an_error() {
        assert_eq!(decoded("ü".as_bytes(), EncodingType::Utf8).unwrap(), "ü");
        assert_eq!(decoded(&[0xFF], EncodingType::Utf8), Err(TextError::Malformed));
    }
}
