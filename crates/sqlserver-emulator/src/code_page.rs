//! `char` and `varchar` text as bytes: what a column stores and what the wire carries.

use encoding_rs::{EncoderResult, Encoding};

use crate::collation::CodePage;

impl CodePage {
    /// The bytes of `units`. A character that the code page lacks becomes `?`, as SQL Server stores it.
    pub(crate) fn encode(self, units: &[u16]) -> Vec<u8> {
        if units.iter().all(|unit| *unit < 0x80) {
            return units.iter().map(|unit| *unit as u8).collect();
        }
        match self {
            Self::Utf8 => String::from_utf16_lossy(units).into_bytes(),
            Self::Windows(number) => encode_with(encoding(number), units),
        }
    }

    /// The UTF-16 units of `bytes`; what is malformed becomes U+FFFD.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<u16> {
        if bytes.is_ascii() {
            return bytes.iter().map(|byte| u16::from(*byte)).collect();
        }
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).encode_utf16().collect(),
            Self::Windows(number) => {
                let (text, _) = encoding(number).decode_without_bom_handling(bytes);
                text.encode_utf16().collect()
            }
        }
    }
}

fn encoding(number: u16) -> &'static Encoding {
    match number {
        874 => encoding_rs::WINDOWS_874,
        932 => encoding_rs::SHIFT_JIS,
        936 => encoding_rs::GBK,
        949 => encoding_rs::EUC_KR,
        950 => encoding_rs::BIG5,
        1250 => encoding_rs::WINDOWS_1250,
        1251 => encoding_rs::WINDOWS_1251,
        1253 => encoding_rs::WINDOWS_1253,
        1254 => encoding_rs::WINDOWS_1254,
        1255 => encoding_rs::WINDOWS_1255,
        1256 => encoding_rs::WINDOWS_1256,
        1257 => encoding_rs::WINDOWS_1257,
        1258 => encoding_rs::WINDOWS_1258,
        _ => encoding_rs::WINDOWS_1252,
    }
}

fn encode_with(encoding: &'static Encoding, units: &[u16]) -> Vec<u8> {
    let mut encoder = encoding.new_encoder();
    let mut bytes = vec![0; units.len() * 2 + 16];
    let (mut read, mut written) = (0, 0);
    loop {
        let from = units.get(read..).unwrap_or_default();
        let into = bytes.get_mut(written..).unwrap_or_default();
        let (result, used, made) = encoder.encode_from_utf16_without_replacement(from, into, true);
        read += used;
        written += made;
        match result {
            EncoderResult::InputEmpty => break,
            EncoderResult::OutputFull => bytes.resize(bytes.len() * 2, 0),
            EncoderResult::Unmappable(_) => {
                if bytes.len() == written {
                    bytes.resize(bytes.len() * 2, 0);
                }
                if let Some(byte) = bytes.get_mut(written) {
                    *byte = b'?';
                    written += 1;
                }
            }
        }
    }
    bytes.truncate(written);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn text_survives_its_code_page_and_the_rest_becomes_a_question_mark() {
        for (page, text, bytes, back) in [
            (CodePage::Windows(1252), "aé€", &b"a\xe9\x80"[..], "aé€"),
            (CodePage::Windows(1252), "aЖ", b"a?", "a?"),
            (CodePage::Windows(1251), "Жa", b"\xc6a", "Жa"),
            (CodePage::Windows(932), "日本", b"\x93\xfa\x96\x7b", "日本"),
            (CodePage::Utf8, "é😀", "é😀".as_bytes(), "é😀"),
            (CodePage::Windows(1252), "😀", b"?", "?"),
        ] {
            let encoded = page.encode(&units(text));
            assert_eq!(encoded, bytes, "{text} in {page:?}");
            assert_eq!(String::from_utf16_lossy(&page.decode(&encoded)), back);
        }
    }

    #[test]
    fn many_unmappable_characters_still_fit() {
        let text = "Ж".repeat(5000);
        assert_eq!(CodePage::Windows(1252).encode(&units(&text)), b"?".repeat(5000));
    }
}
