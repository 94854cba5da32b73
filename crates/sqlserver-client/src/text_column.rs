//! A column of text under construction. Values that are ASCII, as most are, go from the wire into the column in one step; that the
//! whole is UTF-8 is checked once, at its end.

use arrow_array::{GenericStringArray, OffsetSizeTrait};
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use model::{Error, Result};

/// Rows that a column has room for at first; it grows.
const ROWS: usize = 1024;

/// Text with offsets of type `O`.
#[derive(Debug)]
pub(crate) struct TextColumn<O> {
    values: Vec<u8>,
    offsets: Vec<O>,
    nulls: NullBufferBuilder,
}

impl<O: OffsetSizeTrait> TextColumn<O> {
    pub(crate) fn new() -> Self {
        Self {
            values: Vec::new(),
            offsets: vec![O::usize_as(0)],
            nulls: NullBufferBuilder::new(ROWS),
        }
    }

    pub(crate) fn null(&mut self) {
        self.offsets.push(O::usize_as(self.values.len()));
        self.nulls.append_null();
    }

    /// Appends a value. False if the column has become too long for its offsets; nothing is appended then.
    pub(crate) fn push(&mut self, text: impl Iterator<Item = u8>) -> bool {
        let start = self.values.len();
        self.values.extend(text);
        let Some(end) = O::from_usize(self.values.len()) else {
            self.values.truncate(start);
            return false;
        };
        self.offsets.push(end);
        self.nulls.append_non_null();
        true
    }

    pub(crate) fn finish(mut self) -> Result<GenericStringArray<O>> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        GenericStringArray::try_new(offsets, Buffer::from_vec(self.values), self.nulls.finish())
            .map_err(|error| Error::internal("a column of text is no text").caused_by(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_nulls_and_empty_texts_keep_their_places() {
        let mut column = TextColumn::<i32>::new();
        assert!(column.push("a".bytes()));
        column.null();
        assert!(column.push("".bytes()));
        assert!(column.push("größer".bytes()));
        let array = column.finish().unwrap();
        let read: Vec<_> = array.iter().collect();
        assert_eq!(read, [Some("a"), None, Some(""), Some("größer")]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut column = TextColumn::<i64>::new();
        column.push([0xFF].into_iter());
        assert!(column.finish().is_err());
        // Two halves of a character are one only together.
        let mut column = TextColumn::<i64>::new();
        column.push([0xC3].into_iter());
        column.push([0xA4].into_iter());
        assert!(column.finish().is_err());
    }
}
