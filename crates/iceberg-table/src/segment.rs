//! Names as directory names, reversibly.
//!
//! ASCII letters, digits, `_`, `-` and inner dots stay; every other byte of the UTF-8 text becomes `~` and two hexadecimal
//! digits. So no name leaves the warehouse, is hidden, or means something to a URI parser.

use std::fs;
use std::io::ErrorKind as Io;
use std::path::Path;

use model::Result;

use crate::error::io_error;

pub(crate) fn encode(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for (i, byte) in name.bytes().enumerate() {
        let inner_dot = byte == b'.' && i > 0;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || inner_dot {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("~{byte:02x}"));
        }
    }
    segment
}

/// The name of a segment that [`encode`] made; `None` for any other.
pub(crate) fn decode(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut parts = segment.split('~');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    let name = String::from_utf8(bytes).ok()?;
    (encode(&name) == segment).then_some(name)
}

/// The names of the directories in `parent` that are encoded names. A missing parent has none.
pub(crate) fn names_in(parent: &Path) -> Result<Vec<String>> {
    let failed = |e| io_error("cannot list the warehouse", parent, e);
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(e) if e.kind() == Io::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(decode);
        if let (Some(name), true) = (name, path.is_dir()) {
            found.push(name);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_from_a_safe_segment() {
        for name in [
            "Orders",
            "a.b",
            ".",
            "..",
            "...",
            ".hidden",
            "a/b",
            "../../etc",
            "a\\b",
            "a b",
            "quote'\"`",
            "]",
            "%2e",
            "~7e",
            "~",
            "#?&",
            "größe",
            "日本",
            "𝒳",
            "a\u{0}b",
            "CON",
            "-rf",
            "a\nb",
        ] {
            let segment = encode(name);
            assert!(
                segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_-.~".contains(&b)),
                "{segment}"
            );
            assert!(!segment.starts_with('.'), "{segment}");
            assert_eq!(decode(&segment).as_deref(), Some(name));
        }
        assert_eq!(encode("Order_Lines-2.x"), "Order_Lines-2.x");
    }

    #[test]
    fn what_was_not_encoded_is_not_a_name() {
        for segment in [".git", "a b", "~", "~7", "~zz", "~ff", "~41", "a~2", "é", "~2E"] {
            assert_eq!(decode(segment), None, "{segment}");
        }
    }
}
