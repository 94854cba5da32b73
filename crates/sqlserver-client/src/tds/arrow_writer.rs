//! Rows straight off the wire into Arrow builders.

use std::borrow::Cow;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, SchemaRef};
use model::{Error, ErrorKind, Result};
use mssql_tds::datatypes::column_values::{
    SqlDate, SqlDateTime, SqlDateTime2, SqlDateTimeOffset, SqlMoney, SqlSmallDateTime, SqlSmallMoney,
    SqlTime, SqlXml,
};
use mssql_tds::datatypes::decoder::DecimalParts;
use mssql_tds::datatypes::row_writer::RowWriter;
use mssql_tds::datatypes::sql_json::SqlJson;
use mssql_tds::datatypes::sql_string::EncodingType;
use mssql_tds::datatypes::sql_vector::SqlVector;
use uuid::Uuid;

use super::text;
use super::value_writer::{money, unscaled};
use crate::builders::ColumnBuilder;
use crate::{datetime, vector};

/// A batch ends at this many bytes, so that wide rows and large values do not fill the memory.
const BATCH_BYTES: usize = 8 << 20;

/// What a batch took, for which the next one makes room.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    rows: usize,
    /// By column: the bytes of its text.
    texts: Vec<usize>,
}

/// Writes one batch. The trait's methods cannot fail, so the first error is kept for [`ArrowWriter::check`].
pub(super) struct ArrowWriter {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    most_rows: usize,
    bytes: usize,
    /// What a row takes besides its text and binary.
    row_bytes: usize,
    error: Option<Error>,
}

impl ArrowWriter {
    /// A batch of at most `most_rows` rows, with room for what the last one took.
    pub(super) fn new(schema: &SchemaRef, most_rows: usize, last: &Room) -> Result<Self> {
        let columns = schema.fields().iter().enumerate().map(|(col, field)| {
            let text = last.texts.get(col).copied().unwrap_or_default();
            ColumnBuilder::new(field.data_type(), last.rows, text)
        });
        Ok(Self {
            schema: schema.clone(),
            columns: columns.collect::<Result<_>>()?,
            rows: 0,
            most_rows: most_rows.max(1),
            bytes: 0,
            row_bytes: schema.fields().iter().map(|field| width(field.data_type())).sum(),
            error: None,
        })
    }

    /// What has been written; of a text that alone fills a batch, as much as another batch may have.
    pub(super) fn room(&self) -> Room {
        let texts = self
            .columns
            .iter()
            .map(|column| column.text_bytes().min(BATCH_BYTES));
        Room {
            rows: self.rows,
            texts: texts.collect(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= self.most_rows || self.bytes >= BATCH_BYTES
    }

    /// The first error since the last check.
    pub(super) fn check(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// The batch; `None` if it has no row.
    pub(super) fn finish(mut self) -> Result<Option<RecordBatch>> {
        self.check()?;
        if self.rows == 0 {
            return Ok(None);
        }
        let columns = self.columns.into_iter().map(ColumnBuilder::finish);
        RecordBatch::try_new(self.schema, columns.collect::<Result<_>>()?)
            .map(Some)
            .map_err(|error| {
                Error::new(
                    ErrorKind::SchemaMismatch,
                    "a result does not have its table's shape",
                )
                .caused_by(error)
            })
    }

    fn name(&self, col: usize) -> &str {
        self.schema.fields().get(col).map_or("?", |field| field.name())
    }

    fn fail(&mut self, kind: ErrorKind, col: usize, why: &str) {
        if self.error.is_none() {
            self.error = Some(Error::new(kind, format!("column {:?} {why}", self.name(col))));
        }
    }

    /// Appends by `append`, which says whether the column takes such a value.
    fn write(&mut self, col: usize, append: impl FnOnce(&mut ColumnBuilder) -> bool) {
        let taken = self.columns.get_mut(col).is_some_and(append);
        if !taken {
            self.fail(
                ErrorKind::SchemaMismatch,
                col,
                "no longer has the type that it had when the table was looked at",
            );
        }
    }

    fn write_text(
        &mut self,
        col: usize,
        decode: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), text::TextError>,
    ) {
        match self.columns.get_mut(col).map(|column| column.text(decode)) {
            Some(Ok(Some(bytes))) => self.bytes += bytes,
            Some(Err(error)) => self.fail(ErrorKind::Data, col, error.describe()),
            _ => self.write(col, |_| false),
        }
    }
}

impl RowWriter for ArrowWriter {
    fn write_null(&mut self, col: usize) {
        self.write(col, |column| {
            column.null();
            true
        });
    }

    fn write_bool(&mut self, col: usize, val: bool) {
        self.write(col, |column| column.bool(val));
    }

    fn write_u8(&mut self, col: usize, val: u8) {
        self.write(col, |column| column.int(i64::from(val)));
    }

    fn write_i16(&mut self, col: usize, val: i16) {
        self.write(col, |column| column.int(i64::from(val)));
    }

    fn write_i32(&mut self, col: usize, val: i32) {
        self.write(col, |column| column.int(i64::from(val)));
    }

    fn write_i64(&mut self, col: usize, val: i64) {
        self.write(col, |column| column.int(val));
    }

    fn write_f32(&mut self, col: usize, val: f32) {
        self.write(col, |column| column.real(val));
    }

    fn write_f64(&mut self, col: usize, val: f64) {
        self.write(col, |column| column.float(val));
    }

    fn write_string(&mut self, col: usize, bytes: Cow<'_, [u8]>, encoding_type: EncodingType) {
        self.write_text(col, |out| text::decode(&bytes, encoding_type, out));
    }

    fn write_bytes(&mut self, col: usize, bytes: Cow<'_, [u8]>) {
        self.bytes += bytes.len();
        self.write(col, |column| column.bytes(&bytes));
    }

    fn write_decimal(&mut self, col: usize, val: DecimalParts) {
        self.write(col, |column| column.decimal(unscaled(&val), val.scale));
    }

    fn write_numeric(&mut self, col: usize, val: DecimalParts) {
        self.write_decimal(col, val);
    }

    fn write_date(&mut self, col: usize, val: SqlDate) {
        self.write(col, |column| {
            column.date(datetime::date_from_days(val.get_days()))
        });
    }

    fn write_time(&mut self, col: usize, val: SqlTime) {
        // The field holds ticks of 100 ns, whatever its name says.
        self.write(col, |column| {
            column.time((val.time_nanoseconds / 10).cast_signed())
        });
    }

    fn write_datetime(&mut self, col: usize, val: SqlDateTime) {
        self.write(col, |column| {
            column.timestamp(datetime::micros_from_datetime(val.days, val.time))
        });
    }

    fn write_smalldatetime(&mut self, col: usize, val: SqlSmallDateTime) {
        self.write(col, |column| {
            column.timestamp(datetime::micros_from_smalldatetime(val.days, val.time))
        });
    }

    fn write_datetime2(&mut self, col: usize, val: SqlDateTime2) {
        let micros = datetime::micros_from_datetime2(val.days, val.time.time_nanoseconds);
        self.write(col, |column| column.timestamp(micros));
    }

    fn write_datetimeoffset(&mut self, col: usize, val: SqlDateTimeOffset) {
        // Date and time are UTC on the wire.
        let instant = val.datetime2;
        let micros = datetime::micros_from_datetime2(instant.days, instant.time.time_nanoseconds);
        self.write(col, |column| column.timestamp(micros));
    }

    fn write_money(&mut self, col: usize, val: SqlMoney) {
        self.write(col, |column| column.decimal(i128::from(money(&val)), 4));
    }

    fn write_smallmoney(&mut self, col: usize, val: SqlSmallMoney) {
        self.write(col, |column| column.decimal(i128::from(val.int_val), 4));
    }

    fn write_uuid(&mut self, col: usize, val: Uuid) {
        self.write(col, |column| column.uuid(val.as_bytes()));
    }

    fn write_xml(&mut self, col: usize, val: SqlXml) {
        self.write_text(col, |out| text::decode_utf16(text::without_bom(&val.bytes), out));
    }

    fn write_json(&mut self, col: usize, _val: SqlJson) {
        self.fail(
            ErrorKind::Unsupported,
            col,
            "has the type json, which is not mapped",
        );
    }

    fn write_vector(&mut self, col: usize, val: SqlVector) {
        let text = vector::text(val.as_f32().unwrap_or_default());
        self.write_text(col, |out| {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        });
    }

    fn end_row(&mut self) {
        self.rows += 1;
        self.bytes += self.row_bytes;
    }
}

/// The bytes of a value, or of the offset of one.
fn width(ty: &DataType) -> usize {
    match ty {
        DataType::LargeUtf8 | DataType::LargeBinary => 8,
        ty => ty.primitive_width().unwrap_or(4),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{Field, Schema};

    use super::*;

    /// Else a value of 100 MB would be paid for again by each batch that follows.
    #[test]
    fn one_large_text_makes_no_room_for_others() {
        let fields = [DataType::Utf8, DataType::Int32, DataType::LargeUtf8];
        let fields = fields.map(|ty| Field::new("column", ty, true));
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let mut writer = ArrowWriter::new(&schema, 10, &Room::default()).unwrap();
        writer.write_string(0, Cow::Borrowed(b"short"), EncodingType::Utf8);
        writer.write_i32(1, 1);
        let large = vec![b'x'; BATCH_BYTES + 1];
        writer.write_string(2, Cow::Borrowed(&large), EncodingType::Utf8);
        writer.end_row();
        let room = writer.room();
        assert_eq!((room.rows, room.texts), (1, vec![5, 0, BATCH_BYTES]));
        writer.check().unwrap();
    }
}
