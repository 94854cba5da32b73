//! Files for `freebcp in` with numbers in binary and text in UTF-16 behind its length, as `bcp -N` writes them, and the format file that
//! says so. Of such files `freebcp` neither looks for the end of a field nor converts its text, which is most of what it does with text files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef};
use sqlserver_client::SqlType;

use super::tables::Table;

/// Rows that are made at once.
const BATCH_ROWS: u64 = 16_384;
/// 1970-01-01 in days since 1900.
const DAYS_TO_1970: i32 = 25_567;
/// The length of a NULL.
const NULL: i32 = -1;

/// A table's rows in files.
#[derive(Debug)]
pub(crate) struct NativeFiles {
    pub(crate) format: PathBuf,
    pub(crate) data: Vec<PathBuf>,
}

impl NativeFiles {
    /// Writes `rows` rows of a table into `parts` files, and the format.
    pub(crate) fn write(table: Table, rows: u64, parts: u64, directory: &Path) -> Result<Self> {
        let columns = table.bulk_columns();
        let format = directory.join("native.fmt");
        let mut lines = format!("10.0\n{}\n", columns.len());
        for (number, column) in (1..).zip(&columns) {
            let host = host_type(&column.ty);
            lines += &format!("{number} {host} \"\" {number} {} \"\"\n", column.name);
        }
        std::fs::write(&format, lines)?;
        let mut data = Vec::new();
        for part in 0..parts {
            let path = directory.join(format!("native-{part}.dat"));
            let mut file = BufWriter::new(File::create(&path)?);
            let (mut from, end) = (rows * part / parts, rows * (part + 1) / parts);
            while from < end {
                let to = end.min(from + BATCH_ROWS);
                let (batch, _) = table.batch(from, to)?;
                for row in 0..batch.num_rows() {
                    for (column, values) in columns.iter().zip(batch.columns()) {
                        put(&mut file, &column.ty, values, row)
                            .with_context(|| format!("column {}", column.name))?;
                    }
                }
                from = to;
            }
            file.flush()?;
            data.push(path);
        }
        Ok(Self { format, data })
    }
}

/// FreeTDS's name of what a file has of a type, the bytes of its length, and its own bytes where they are always as many.
fn host_type(ty: &SqlType) -> &'static str {
    match ty {
        SqlType::BigInt => "SYBINT8 0 8",
        SqlType::Int => "SYBINT4 0 4",
        SqlType::Float => "SYBFLT8 0 8",
        SqlType::Date => "SYBDATETIME 0 8",
        _ => "SYBCHAR 4 -1",
    }
}

fn put(file: &mut impl Write, ty: &SqlType, values: &ArrayRef, row: usize) -> Result<()> {
    if values.is_null(row) {
        return Ok(file.write_all(&NULL.to_le_bytes())?);
    }
    let other = || "an Arrow type that the SQL type does not have";
    let text = match ty {
        SqlType::BigInt => {
            let values = values.as_primitive_opt::<Int64Type>().with_context(other)?;
            return Ok(file.write_all(&values.value(row).to_le_bytes())?);
        }
        SqlType::Int => {
            let values = values.as_primitive_opt::<Int32Type>().with_context(other)?;
            return Ok(file.write_all(&values.value(row).to_le_bytes())?);
        }
        SqlType::Float => {
            let values = values.as_primitive_opt::<Float64Type>().with_context(other)?;
            return Ok(file.write_all(&values.value(row).to_le_bytes())?);
        }
        // A `datetime` at midnight.
        SqlType::Date => {
            let values = values.as_primitive_opt::<Date32Type>().with_context(other)?;
            let days = i64::from(values.value(row) + DAYS_TO_1970);
            return Ok(file.write_all(&days.to_le_bytes())?);
        }
        SqlType::Decimal { .. } => {
            let values = values.as_primitive_opt::<Decimal128Type>();
            values.with_context(other)?.value_as_string(row).into_bytes()
        }
        SqlType::DateTime2 { .. } => {
            let values = values.as_primitive_opt::<TimestampMicrosecondType>();
            let time = values.with_context(other)?.value_as_datetime(row);
            time.context("a time that no calendar has")?
                .to_string()
                .into_bytes()
        }
        SqlType::NVarChar { .. } => {
            let text = values.as_string_opt::<i32>().map(|values| values.value(row));
            let text = text.or_else(|| values.as_string_opt::<i64>().map(|values| values.value(row)));
            let units = text.with_context(other)?.encode_utf16();
            units.flat_map(u16::to_le_bytes).collect()
        }
        SqlType::Char { .. } => {
            let values = values.as_string_opt::<i32>().with_context(other)?;
            values.value(row).as_bytes().to_vec()
        }
        _ => bail!("no native form of {ty} is written here"),
    };
    file.write_all(&i32::try_from(text.len())?.to_le_bytes())?;
    Ok(file.write_all(&text)?)
}
