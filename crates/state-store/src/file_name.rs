//! File names for any text.

use sha2::{Digest, Sha256};

/// Encoded names longer than this are cut and told apart by a hash; file systems allow 255 bytes.
const MAX_LENGTH: usize = 160;

/// A file name for `name`: different names get different ones, also where a file system ignores case.
pub(crate) fn encode(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02x}")),
        }
    }
    if encoded.len() > MAX_LENGTH {
        encoded.truncate(MAX_LENGTH);
        encoded.push('~');
        encoded.push_str(&hex(&Sha256::digest(name)));
    }
    encoded
}

/// The bytes as lowercase hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_readable_harmless_and_different() {
        for (name, encoded) in [
            ("shop/orders", "shop%2forders"),
            ("A", "%41"),
            ("..", ".."),
            ("%41", "%2541"),
            ("é", "%c3%a9"),
            ("", ""),
        ] {
            assert_eq!(encode(name), encoded);
        }
        let long = ["x".repeat(300), "x".repeat(301), "é".repeat(300)];
        let encoded: HashSet<_> = long.iter().map(|name| encode(name)).collect();
        assert_eq!(encoded.len(), 3);
        assert!(encoded.iter().all(|name| name.len() < 240));
    }
}
