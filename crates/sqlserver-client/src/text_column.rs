//! A column of text under construction. Values go from the wire into the column in one step; that the whole is UTF-8 is checked once, at
//! its end.

use arrow_array::{GenericStringArray, OffsetSizeTrait};
use arrow_buffer::{Buffer, NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use model::{Error, Result};

/// Text with offsets of type `O`.
#[derive(Debug)]
pub(crate) struct TextColumn<O> {
    values: Vec<u8>,
    offsets: Vec<O>,
    nulls: NullBufferBuilder,
}

impl<O: OffsetSizeTrait> TextColumn<O> {
    /// An empty column with room for so many rows and bytes; it grows.
    pub(crate) fn new(rows: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(O::usize_as(0));
        Self {
            values: Vec::with_capacity(bytes),
            offsets,
            nulls: NullBufferBuilder::new(rows),
        }
    }

    /// The bytes of the values so far.
    pub(crate) fn bytes(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn null(&mut self) {
        self.offsets.push(O::usize_as(self.values.len()));
        self.nulls.append_null();
    }

    /// Appends the value that `append` adds to the bytes, and returns its length; `None` if the column has become too long for its
    /// offsets. Then, and if `append` fails, nothing is appended.
    pub(crate) fn push<E>(
        &mut self,
        append: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), E>,
    ) -> std::result::Result<Option<usize>, E> {
        let start = self.values.len();
        let appended = append(&mut self.values);
        let end = O::from_usize(self.values.len()).filter(|_| appended.is_ok());
        let Some(end) = end else {
            self.values.truncate(start);
            return appended.map(|()| None);
        };
        self.offsets.push(end);
        self.nulls.append_non_null();
        Ok(Some(self.values.len() - start))
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

    fn push<O: OffsetSizeTrait>(column: &mut TextColumn<O>, value: &[u8]) -> Option<usize> {
        let pushed = column.push(|values| {
            values.extend_from_slice(value);
            Ok::<(), ()>(())
        });
        pushed.unwrap()
    }

    #[test]
    fn values_nulls_and_empty_texts_keep_their_places() {
        let mut column = TextColumn::<i32>::new(1, 0);
        assert_eq!(push(&mut column, b"a"), Some(1));
        column.null();
        assert_eq!(push(&mut column, b""), Some(0));
        let failed = column.push(|values| {
            values.extend_from_slice(b"half");
            Err("broken")
        });
        assert_eq!(failed, Err("broken"));
        assert_eq!(push(&mut column, "größer".as_bytes()), Some(8));
        let array = column.finish().unwrap();
        let read: Vec<_> = array.iter().collect();
        assert_eq!(read, [Some("a"), None, Some(""), Some("größer")]);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut column = TextColumn::<i64>::new(1, 0);
        push(&mut column, &[0xFF]);
        assert!(column.finish().is_err());
        // Two halves of a character are one only together.
        let mut column = TextColumn::<i64>::new(1, 0);
        push(&mut column, &[0xC3]);
        push(&mut column, &[0xA4]);
        assert!(column.finish().is_err());
    }
}
