//! The bulk load stream (MS-TDS 2.2.6.1): COLMETADATA, rows, DONE, decoded while its packets arrive.
#![warn(clippy::indexing_slicing)]

use crate::store::Stored;
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};
use crate::tds::token::kind;
use crate::tds::type_info::{Layout, WireType};
use crate::tds::value_decode::decode_in_place;
use crate::value::Value;

/// The rows of one bulk load.
pub(crate) struct BulkRows<S> {
    reader: WireReader<S>,
    columns: Vec<WireType>,
}

impl<S: PacketSource> BulkRows<S> {
    /// Reads the description of the columns.
    pub(crate) fn start(mut reader: WireReader<S>) -> Result<Self, (WireError, S)> {
        match columns(&mut reader) {
            Ok(columns) => Ok(Self { reader, columns }),
            Err(error) => Err((error, reader.into_source())),
        }
    }

    pub(crate) fn column_count(&self) -> usize {
        self.columns.len()
    }

    /// Gives the values of the next row to `taker`; false at DONE or the end of the message.
    pub(crate) fn next_row(&mut self, taker: &mut dyn FnMut(Stored<'_>)) -> WireResult<bool> {
        if self.reader.at_end()? {
            return Ok(false);
        }
        match self.reader.u8()? {
            kind::ROW => self.row(&[], taker)?,
            kind::NBC_ROW => {
                let bitmap = self.reader.take(self.columns.len().div_ceil(8))?.to_vec();
                self.row(&bitmap, taker)?;
            }
            kind::DONE => return Ok(false),
            other => {
                return Err(WireError::malformed(format_args!(
                    "the token 0x{other:02X} is not part of a bulk load"
                )));
            }
        }
        Ok(true)
    }

    pub(crate) fn into_source(self) -> S {
        self.reader.into_source()
    }

    fn row(&mut self, nulls: &[u8], taker: &mut dyn FnMut(Stored<'_>)) -> WireResult<()> {
        for (index, column) in self.columns.iter().enumerate() {
            let bits = nulls.get(index / 8).copied().unwrap_or(0);
            if bits >> (index % 8) & 1 == 1 {
                taker(Stored::Other(Value::Null));
            } else {
                decode_in_place(&mut self.reader, column, taker)?;
            }
        }
        Ok(())
    }
}

fn columns<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Vec<WireType>> {
    if reader.u8()? != kind::COL_METADATA {
        return Err(WireError::malformed(
            "a bulk load does not begin with COLMETADATA",
        ));
    }
    let count = reader.u16()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        reader.u32()?;
        reader.u16()?;
        let wire = WireType::read(reader)?;
        if wire.layout == Layout::Long {
            reader.us_varchar()?;
        }
        reader.b_varchar()?;
        columns.push(wire);
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytewise(std::vec::IntoIter<u8>);

    impl PacketSource for Bytewise {
        fn next_body(&mut self) -> WireResult<Option<Vec<u8>>> {
            Ok(self.0.next().map(|byte| vec![byte]))
        }
    }

    fn stream() -> Vec<u8> {
        let mut bytes = vec![kind::COL_METADATA, 2, 0];
        bytes.extend([0, 0, 0, 0, 8, 0, 0x38, 1, b'a', 0]);
        bytes.extend([
            0, 0, 0, 0, 9, 0, 0x22, 0xFF, 0xFF, 0xFF, 0x7F, 1, 0, b't', 0, 1, b'b', 0,
        ]);
        bytes.extend([kind::ROW, 7, 0, 0, 0, 0]);
        bytes.extend([kind::NBC_ROW, 2, 8, 0, 0, 0]);
        bytes.extend([kind::DONE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn rows_are_read_however_the_packets_are_cut() {
        let source = Bytewise(stream().into_iter());
        let Ok(mut rows) = BulkRows::start(WireReader::new(Vec::new(), source)) else {
            panic!("the columns were not read");
        };
        assert_eq!(rows.column_count(), 2);
        let mut read = Vec::new();
        let mut row = Vec::new();
        while rows.next_row(&mut |value| row.push(value.into_value())).unwrap() {
            read.push(std::mem::take(&mut row));
        }
        assert_eq!(read, [[Value::Int(7), Value::Null], [Value::Int(8), Value::Null]]);
    }

    #[test]
    fn a_cut_stream_is_an_error_until_its_rows_are_whole() {
        let whole = stream();
        for length in 0..whole.len() - 13 {
            let mut reader = WireReader::over(whole[..length].to_vec());
            let _ = columns(&mut reader).map(|columns| {
                let mut rows = BulkRows { reader, columns };
                while let Ok(true) = rows.next_row(&mut |_| ()) {}
            });
        }
        let mut reader = WireReader::over(vec![kind::ROW]);
        assert!(columns(&mut reader).is_err());
    }
}
