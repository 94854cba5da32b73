//! A table-valued parameter (MS-TDS 2.2.5.5.5): the type's name, its columns, and the rows.
#![warn(clippy::indexing_slicing)]

use crate::session::TableValue;
use crate::store::{RowBuilder, Stored};
use crate::tds::reader::{PacketSource, WireError, WireReader, WireResult};
use crate::tds::type_info::WireType;
use crate::tds::value_decode::{Place, decode};
use crate::types::TypeInfo;
use crate::value::Value;

/// How the type of such a parameter begins.
pub(super) const TABLE: u8 = 0xF3;
/// The number of columns that says NULL.
const NO_COLUMNS: u16 = 0xFFFF;
/// No column can be beyond.
const MOST_COLUMNS: u16 = 1024;
/// A column's flag: no row has a value for it.
const DEFAULT: u16 = 0x0200;
const END: u8 = 0x00;
const ROW: u8 = 0x01;
const ORDER_UNIQUE: u8 = 0x10;
const COLUMN_ORDERING: u8 = 0x11;

/// Reads what follows a parameter's flags. Its type's name is the one that the statement declares.
pub(super) fn read<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<TableValue> {
    reader.u8()?;
    for _ in ["database", "schema", "type"] {
        reader.b_varchar()?;
    }
    let columns = columns(reader)?;
    let order = order(reader, columns.len())?;
    let mut rows = Vec::new();
    let mut builder = RowBuilder::default();
    loop {
        match reader.u8()? {
            ROW => {}
            END => break,
            other => return Err(unexpected(other)),
        }
        let mut row = vec![Value::Null; columns.len()];
        for at in &order {
            if let (Some(Some(wire)), Some(value)) = (columns.get(*at), row.get_mut(*at)) {
                *value = decode(reader, wire, Place::Parameter)?;
            }
        }
        for (value, _) in row
            .into_iter()
            .zip(&columns)
            .filter(|(_, column)| column.is_some())
        {
            builder.push_stored(Stored::Other(value), None);
        }
        rows.push(builder.finish());
    }
    let declared = |wire: WireType| TypeInfo {
        ty: wire.ty,
        collation: wire.collation,
        nullable: true,
    };
    Ok(TableValue {
        columns: columns.into_iter().map(|column| column.map(declared)).collect(),
        rows,
    })
}

/// None for one that has its default in every row.
fn columns<S: PacketSource>(reader: &mut WireReader<S>) -> WireResult<Vec<Option<WireType>>> {
    let count = match reader.u16()? {
        NO_COLUMNS => 0,
        0 => return Err(WireError::malformed("a table without columns")),
        count if count > MOST_COLUMNS => {
            return Err(WireError::malformed("a table of more than 1024 columns"));
        }
        count => count,
    };
    let mut columns = Vec::new();
    for _ in 0..count {
        reader.u32()?;
        let flags = reader.u16()?;
        let wire = WireType::read(reader)?;
        reader.b_varchar()?;
        columns.push((flags & DEFAULT == 0).then_some(wire));
    }
    Ok(columns)
}

/// The columns as they follow each other in the rows.
fn order<S: PacketSource>(reader: &mut WireReader<S>, columns: usize) -> WireResult<Vec<usize>> {
    let mut order: Vec<usize> = (0..columns).collect();
    loop {
        match reader.u8()? {
            END => return Ok(order),
            // What the client says of its rows' order and uniqueness changes nothing.
            ORDER_UNIQUE => {
                for _ in 0..reader.u16()? {
                    reader.take(3)?;
                }
            }
            COLUMN_ORDERING => {
                let mut given = Vec::new();
                for _ in 0..reader.u16()? {
                    given.push(usize::from(reader.u16()?).wrapping_sub(1));
                }
                let mut sorted = given.clone();
                sorted.sort_unstable();
                if sorted != order {
                    return Err(WireError::malformed("an order of columns that is none"));
                }
                order = given;
            }
            other => return Err(unexpected(other)),
        }
    }
}

fn unexpected(token: u8) -> WireError {
    WireError::malformed(format_args!("the token 0x{token:02X} is not part of a table"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tds::token;
    use crate::tds::type_info::token::INT_N;
    use crate::types::SqlType;

    fn int(value: Option<i32>) -> Vec<u8> {
        match value {
            None => vec![0],
            Some(value) => [&[4][..], &value.to_le_bytes()].concat(),
        }
    }

    fn begin(columns: u16, defaults: &[u16]) -> Vec<u8> {
        let mut bytes = vec![TABLE];
        for name in ["", "dbo", "T"] {
            token::b_varchar(&mut bytes, name);
        }
        bytes.extend(columns.to_le_bytes());
        for column in 0..columns {
            let flags = if defaults.contains(&column) { DEFAULT } else { 0 };
            bytes.extend([0; 4]);
            bytes.extend(flags.to_le_bytes());
            bytes.extend([INT_N, 4]);
            token::b_varchar(&mut bytes, "");
        }
        bytes
    }

    fn values(table: &TableValue) -> Vec<Vec<Value>> {
        table.rows.iter().map(|row| row.row().to_vec()).collect()
    }

    #[test]
    fn rows_are_read_in_the_order_that_the_client_gives() {
        let mut bytes = begin(3, &[1]);
        bytes.extend([ORDER_UNIQUE, 1, 0, 1, 0, 1]);
        bytes.extend([COLUMN_ORDERING, 3, 0, 3, 0, 2, 0, 1, 0, END]);
        for (last, first) in [(Some(30), Some(10)), (None, Some(11))] {
            bytes.push(ROW);
            bytes.extend(int(last));
            bytes.extend(int(first));
        }
        bytes.push(END);
        let table = read(&mut WireReader::over(bytes.clone())).unwrap();
        let types: Vec<_> = table
            .columns
            .iter()
            .map(|column| column.map(|info| info.ty))
            .collect();
        assert_eq!(types, [Some(SqlType::Int), None, Some(SqlType::Int)]);
        let rows = [[Value::Int(10), Value::Int(30)], [Value::Int(11), Value::Null]];
        assert_eq!(values(&table), rows);
        for length in 0..bytes.len() {
            assert!(read(&mut WireReader::over(bytes[..length].to_vec())).is_err());
        }
    }

    #[test]
    fn null_is_a_table_without_columns() {
        let mut bytes = begin(0, &[]);
        let count = bytes.len() - 2;
        bytes[count..].copy_from_slice(&NO_COLUMNS.to_le_bytes());
        bytes.extend([END, END]);
        let table = read(&mut WireReader::over(bytes)).unwrap();
        assert!(table.columns.is_empty() && table.rows.is_empty());
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let none = begin(0, &[]);
        let mut twice = begin(2, &[]);
        twice.extend([COLUMN_ORDERING, 2, 0, 1, 0, 1, 0, END, END]);
        let mut token = begin(1, &[]);
        token.extend([END, 0x07]);
        for bytes in [none, twice, token] {
            assert!(read(&mut WireReader::over(bytes)).is_err());
        }
    }
}
