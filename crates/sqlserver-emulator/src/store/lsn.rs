//! Log sequence numbers: ten bytes, compared as they stand.

use crate::value::Value;

const LENGTH: usize = 10;
/// The number of the log file that everything lies in.
const FILE: u128 = 0x2C;
/// Records in a block.
const SLOTS: u64 = 16;

/// A place in a database's log, or any other ten bytes that a client compares with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lsn(u128);

impl Lsn {
    /// What functions give for an instance that is not there.
    pub(crate) const ZERO: Self = Self(0);

    /// The place of the record with this number.
    pub(crate) fn at(position: u64) -> Self {
        let block = u128::from(position / SLOTS) * 8 + 16;
        let slot = u128::from(position % SLOTS) + 1;
        Self((FILE << 48) | (block << 16) | slot)
    }

    /// A `binary(10)`; shorter ones are padded. None for NULL.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let Value::Bytes(bytes) = value else { return None };
        let mut padded = [0; 16];
        for (place, byte) in padded[16 - LENGTH..].iter_mut().zip(bytes.iter()) {
            *place = *byte;
        }
        Some(Self(u128::from_be_bytes(padded)))
    }

    pub(crate) fn value(self) -> Value {
        Value::bytes(&self.bytes())
    }

    pub(crate) fn bytes(self) -> [u8; LENGTH] {
        let [_, _, _, _, _, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    /// `0000002c:00000010:0001`, as the dynamic views spell it.
    pub(crate) fn spelled(self) -> String {
        format!(
            "{:08x}:{:08x}:{:04x}",
            self.0 >> 48,
            (self.0 >> 16) & 0xFFFF_FFFF,
            self.0 & 0xFFFF
        )
    }

    pub(crate) fn next(self) -> Self {
        Self((self.0 + 1) & ((1 << (8 * LENGTH)) - 1))
    }

    pub(crate) fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_records_have_greater_numbers() {
        for position in 0..100 {
            assert!(Lsn::at(position) < Lsn::at(position + 1));
            assert!(Lsn::at(position).next() <= Lsn::at(position + 1));
        }
        assert_eq!(Lsn::of(&Lsn::at(7).value()), Some(Lsn::at(7)));
        assert_eq!(Lsn::at(7).next().previous(), Lsn::at(7));
    }
}
