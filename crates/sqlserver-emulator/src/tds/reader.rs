//! Checked reading of what a client sent, from one message in memory or from packets as they arrive.
#![warn(clippy::indexing_slicing)]

use std::fmt;

use crate::error::SqlError;

/// Why a message could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WireError {
    /// The bytes break the protocol, or name something that the emulator does not read.
    Malformed(String),
    /// A value is outside its type's domain.
    InvalidValue(&'static str),
    /// The client went away or gave the message up.
    Ended,
}

impl WireError {
    pub(crate) fn malformed(what: impl fmt::Display) -> Self {
        Self::Malformed(what.to_string())
    }

    /// What the client is told; nothing if nobody listens any more.
    pub(crate) fn to_sql(&self) -> Option<SqlError> {
        match self {
            Self::Malformed(what) => Some(SqlError::new(
                8009,
                16,
                1,
                format!("The incoming tabular data stream (TDS) protocol stream is incorrect: {what}."),
            )),
            Self::InvalidValue(ty) => Some(SqlError::new(
                8023,
                16,
                1,
                format!(
                    "The incoming tabular data stream (TDS) protocol stream is incorrect. The supplied value is not a valid instance of data type {ty}."
                ),
            )),
            Self::Ended => None,
        }
    }
}

pub(crate) type WireResult<T> = Result<T, WireError>;

/// Where a reader gets more bytes of its message.
pub(crate) trait PacketSource {
    /// The next packet's body, or nothing at the end of the message.
    fn next_body(&mut self) -> WireResult<Option<Vec<u8>>>;
}

/// A message that is in memory as a whole.
pub(crate) struct Complete;

impl PacketSource for Complete {
    fn next_body(&mut self) -> WireResult<Option<Vec<u8>>> {
        Ok(None)
    }
}

/// A cursor over a message's bytes. Memory grows with what was received, never with a length that a client claims.
pub(crate) struct WireReader<S> {
    buffer: Vec<u8>,
    position: usize,
    source: S,
}

impl WireReader<Complete> {
    pub(crate) fn over(message: Vec<u8>) -> Self {
        Self::new(message, Complete)
    }

    /// All that is left, as UTF-16 text.
    pub(crate) fn rest_as_text(self) -> String {
        let rest = self.buffer.get(self.position..).unwrap_or_default();
        String::from_utf16_lossy(&units(rest))
    }
}

impl<S: PacketSource> WireReader<S> {
    pub(crate) fn new(buffer: Vec<u8>, source: S) -> Self {
        Self {
            buffer,
            position: 0,
            source,
        }
    }

    pub(crate) fn into_source(self) -> S {
        self.source
    }

    /// True when nothing is left of the message.
    pub(crate) fn at_end(&mut self) -> WireResult<bool> {
        Ok(!self.fill(1)?)
    }

    pub(crate) fn take(&mut self, count: usize) -> WireResult<&[u8]> {
        if !self.fill(count)? {
            return Err(WireError::malformed(format_args!(
                "{count} bytes expected where the message ends"
            )));
        }
        let start = self.position;
        self.position += count;
        self.buffer
            .get(start..self.position)
            .ok_or_else(|| WireError::malformed("the message ends early"))
    }

    pub(crate) fn skip(&mut self, count: usize) -> WireResult<()> {
        self.take(count).map(|_| ())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> WireResult<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn peek_u8(&mut self) -> WireResult<Option<u8>> {
        self.fill(1)?;
        Ok(self.buffer.get(self.position).copied())
    }

    pub(crate) fn u8(&mut self) -> WireResult<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(crate) fn u16(&mut self) -> WireResult<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> WireResult<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> WireResult<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// `count` UTF-16 units.
    pub(crate) fn utf16(&mut self, count: usize) -> WireResult<Vec<u16>> {
        Ok(units(self.take(count.saturating_mul(2))?))
    }

    /// A name whose length in UTF-16 units is one byte (B_VARCHAR).
    pub(crate) fn b_varchar(&mut self) -> WireResult<String> {
        let count = self.u8()?;
        Ok(String::from_utf16_lossy(&self.utf16(usize::from(count))?))
    }

    /// A name whose length in UTF-16 units is two bytes (US_VARCHAR).
    pub(crate) fn us_varchar(&mut self) -> WireResult<String> {
        let count = self.u16()?;
        Ok(String::from_utf16_lossy(&self.utf16(usize::from(count))?))
    }

    /// Makes `count` unread bytes available; false if the message ends before.
    #[inline]
    fn fill(&mut self, count: usize) -> WireResult<bool> {
        if self.buffer.len() - self.position >= count {
            return Ok(true);
        }
        self.fill_from_source(count)
    }

    fn fill_from_source(&mut self, count: usize) -> WireResult<bool> {
        while self.buffer.len() - self.position < count {
            let Some(body) = self.source.next_body()? else {
                return Ok(false);
            };
            self.buffer.drain(..self.position);
            self.position = 0;
            self.buffer.extend_from_slice(&body);
        }
        Ok(true)
    }
}

/// UTF-16 units of little-endian bytes; an odd last byte is dropped.
pub(crate) fn units(bytes: &[u8]) -> Vec<u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Packets(Vec<Vec<u8>>);

    impl PacketSource for Packets {
        fn next_body(&mut self) -> WireResult<Option<Vec<u8>>> {
            Ok((!self.0.is_empty()).then(|| self.0.remove(0)))
        }
    }

    #[test]
    fn a_number_may_span_packets() {
        let packets = Packets(vec![vec![1], vec![2, 3], vec![4, 5]]);
        let mut reader = WireReader::new(Vec::new(), packets);
        assert_eq!(reader.u32(), Ok(0x0403_0201));
        assert_eq!(reader.u8(), Ok(5));
        assert_eq!(reader.at_end(), Ok(true));
    }

    #[test]
    fn a_claimed_length_beyond_the_message_is_an_error() {
        let mut reader = WireReader::over(vec![0xFF, 0xFF, 1, 2]);
        assert!(matches!(reader.us_varchar(), Err(WireError::Malformed(_))));
        let mut reader = WireReader::over(vec![1]);
        assert!(reader.take(usize::MAX).is_err());
    }
}
