//! Keys that wait to be looked up together: a lookup scans the table's key columns, so many keys share one.

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use iceberg_table::{LocatedRows, TableHandle, locate};
use model::{Error, Result, TableSchema};

/// Keys with something about each.
#[derive(Debug)]
pub(crate) struct KeyBatch<T> {
    schema: SchemaRef,
    parts: Vec<RecordBatch>,
    notes: Vec<T>,
}

impl<T> KeyBatch<T> {
    pub(crate) fn new(schema: &TableSchema) -> Self {
        let fields: Vec<_> = schema
            .key()
            .iter()
            .map(|&index| schema.arrow().field(index).clone())
            .collect();
        Self {
            schema: SchemaRef::new(Schema::new(fields)),
            parts: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.notes.len()
    }

    /// Adds the keys of `rows`, and a note on each.
    pub(crate) fn push(
        &mut self,
        schema: &TableSchema,
        rows: &RecordBatch,
        notes: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        let columns = schema
            .key()
            .iter()
            .map(|&index| rows.column(index).clone())
            .collect();
        let keys = RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| {
            Error::internal("the key columns of a batch are not those of its schema").caused_by(e)
        })?;
        self.parts.push(keys);
        self.notes.extend(notes);
        Ok(())
    }

    /// Looks all keys up in the head of `table` and forgets them: the notes, and the rows that have their keys.
    pub(crate) async fn locate(
        &mut self,
        table: &TableHandle,
        schema: &TableSchema,
    ) -> Result<(Vec<T>, LocatedRows)> {
        let (parts, notes) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.notes));
        let locations = match table.head() {
            Some(head) if !notes.is_empty() => {
                let keys = concat_batches(&self.schema, &parts)
                    .map_err(|e| Error::internal("keys cannot be looked up together").caused_by(e))?;
                locate(table, head, schema, &keys).await?
            }
            _ => LocatedRows::none(notes.len()),
        };
        Ok((notes, locations))
    }
}
