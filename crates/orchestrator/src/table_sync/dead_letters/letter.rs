//! What a dead letter is: the row, and what is told of it besides.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use model::{ChangeBatch, Epoch, Error, OddTime, Op, Position, Presence, Result, TableName, TableSchema};

/// The column that every dead letter has.
const REASON: &str = "dead_letter_reason";

/// What dead letters tell besides the row.
pub(super) struct Envelope<'a> {
    pub(super) table: &'a TableName,
    /// When the run or the cycle began that found the rows, in milliseconds since 1970.
    pub(super) seen_at: i64,
    pub(super) epoch: Epoch,
    /// Up to where that run read the source.
    pub(super) upto: &'a Position,
}

impl Envelope<'_> {
    /// The columns of a table's rows, and behind them what a dead letter tells besides. The first of these is the reason.
    pub(super) fn schema(rows: &TableSchema) -> Result<Arc<TableSchema>> {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let added = [
            (REASON, DataType::Utf8),
            ("dead_letter_table", DataType::Utf8),
            ("dead_letter_seen_at", instant),
            ("dead_letter_epoch", DataType::Int64),
            ("dead_letter_position", DataType::Utf8),
        ];
        let mut fields = rows.arrow().fields().to_vec();
        let mut declared = rows.declared().to_vec();
        for (name, ty) in added {
            fields.push(Arc::new(Field::new(name, ty, false)));
            declared.push(None);
        }
        TableSchema::new(Arc::new(Schema::new(fields)), rows.key().to_vec(), declared)
    }

    /// These rows with their reasons as letters.
    pub(super) fn of(
        &self,
        schema: &Arc<TableSchema>,
        rows: &RecordBatch,
        reasons: &[OddTime],
    ) -> Result<ChangeBatch> {
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        let text = |text: &str| {
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, count))) as ArrayRef
        };
        let seen_at = TimestampMicrosecondArray::from(vec![self.seen_at.saturating_mul(1_000); count]);
        let epoch = i64::try_from(self.epoch.0).unwrap_or(i64::MAX);
        columns.extend([
            Arc::new(StringArray::from_iter_values(
                reasons.iter().map(|reason| reason.name()),
            )) as ArrayRef,
            text(&self.table.to_string()),
            Arc::new(seen_at.with_timezone("UTC")),
            Arc::new(Int64Array::from(vec![epoch; count])),
            text(&self.upto.label),
        ]);
        let letters = RecordBatch::try_new(schema.arrow().clone(), columns)
            .map_err(|e| Error::internal("rows do not fit the table of dead letters").caused_by(e))?;
        let table = self.table.clone();
        ChangeBatch::uniform(table, schema.clone(), letters, Op::Upsert, Presence::Unknown)
    }
}

/// Whether the rows of such a table are dead letters.
pub(super) fn is_letter(columns: &TableSchema) -> bool {
    columns.arrow().index_of(REASON).is_ok()
}

/// What is compared of letters with those in a table of these columns: the row and the reason. What the table lacks is not compared, nor
/// what it could not follow, which is NULL there.
pub(super) fn compared(columns: &TableSchema, letters: &RecordBatch) -> Result<RecordBatch> {
    let unfit = |e| Error::internal("dead letters cannot be compared").caused_by(e);
    let reason = letters.schema_ref().index_of(REASON).map_err(unfit)?;
    let mut compared = Vec::new();
    let all = letters.schema_ref().fields().iter().zip(letters.columns());
    for (field, column) in all.take(reason + 1) {
        let there = columns.arrow().field_with_name(field.name());
        let there = there.ok().map(Field::data_type);
        let column = match (column.data_type(), there) {
            (DataType::Float32, Some(wide @ DataType::Float64)) => cast(column, wide).map_err(unfit)?,
            (delivered, Some(there)) if is_encoded_alike(delivered, there) => column.clone(),
            _ => continue,
        };
        compared.push((field.name().clone(), column, true));
    }
    RecordBatch::try_from_iter_with_nullable(compared).map_err(unfit)
}

/// Whether equal values of both types have one canonical encoding.
fn is_encoded_alike(one: &DataType, other: &DataType) -> bool {
    use DataType::{Binary, Decimal128, LargeBinary, LargeUtf8, Utf8};
    match (one, other) {
        (Decimal128(_, one), Decimal128(_, other)) => one == other,
        (Utf8 | LargeUtf8, Utf8 | LargeUtf8) | (Binary | LargeBinary, Binary | LargeBinary) => true,
        _ => one == other || (one.is_integer() && other.is_integer()),
    }
}
