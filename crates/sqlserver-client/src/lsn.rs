//! Log sequence numbers.

use std::fmt;

use crate::{Param, SqlType, Value};

/// A place in the log, as Change Data Capture tells it. Ordered as the log is; the first one lies before every other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(pub [u8; 10]);

impl Lsn {
    /// The place with this text, as [`Lsn`] is displayed; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text
            .strip_prefix("0x")
            .filter(|digits| digits.len() == 20 && digits.is_ascii())?;
        let mut bytes = [0; 10];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Bound as `binary(10)`.
    pub fn param(self, name: &str) -> Param {
        Param::typed(
            name,
            Value::Bytes(self.0.to_vec()),
            SqlType::Binary { length: 10 },
        )
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_as_the_server_writes_it() {
        let text = "0x0000002C000000A80003";
        let lsn = Lsn::parse(text).unwrap();
        assert_eq!(lsn.to_string(), text);
        assert!(lsn > Lsn::default() && lsn < Lsn::parse("0x0000002C000000A80004").unwrap());
        for wrong in [
            "",
            "0x",
            "0000002C000000A80003",
            "0x0000002C000000A8000",
            "0x0000002C000000A8000G",
        ] {
            assert_eq!(Lsn::parse(wrong), None, "{wrong}");
        }
    }
}
