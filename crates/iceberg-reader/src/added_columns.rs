//! Rows that have something in columns that were not delivered before.
//!
//! A column that is added with a default, renamed, or written between a look at the columns and a cut changes no file that a difference of snapshots
//! looks at. So the changes after a position that does not claim such a column begin with the rows that have a value there, as
//! the position's snapshot holds them. Only what comes after claims the column.

use std::sync::Arc;

use arrow_array::Array;
use arrow_schema::Schema;
use futures::TryStreamExt;
use iceberg_table::{LiveFile, RowRanges, TableHandle};
use model::{ChangeBatch, Op, Presence, Result, TableName, TableSchema};

use crate::file_lists::FileList;
use crate::file_scan::{FilePart, FileScan};
use crate::snapshot_diff::Changes;

/// What was not delivered of the rows that were.
#[derive(Debug, PartialEq, Eq)]
enum Lacking {
    /// Nothing.
    Nothing,
    /// The values of these columns, where a target has NULL.
    Columns(Vec<usize>),
    /// What a target holds under the name of a column was perhaps another's.
    Rows,
}

impl Lacking {
    /// What a target lacks that was given the columns of the schema with the id `delivered`; `None` if nobody knows.
    fn of(table: &TableHandle, schema: &TableSchema, delivered: Option<i32>) -> Result<Self> {
        let metadata = table.metadata();
        let current = metadata.current_schema();
        let Some(delivered) = delivered.and_then(|id| metadata.schema_by_id(id)) else {
            return Ok(Self::Rows);
        };
        // Schemas that were removed, and a return to an older one, hide what a name once meant.
        let newest = current.schema_id();
        let is_whole =
            delivered.schema_id() <= newest && (0..newest).all(|id| metadata.schema_by_id(id).is_some());
        let mut columns = Vec::new();
        for (index, field) in schema.arrow().fields().iter().enumerate() {
            let id = current.field_by_name(field.name()).map(|field| field.id);
            match delivered.field_by_name_case_insensitive(field.name()) {
                Some(known) if Some(known.id) == id => {}
                Some(_) => return Ok(Self::Rows),
                None => columns.push(index),
            }
        }
        let was_there = |index: &usize| {
            let name = schema.arrow().field(*index).name();
            metadata.schemas_iter().any(|older| {
                older.schema_id() < newest && older.field_by_name_case_insensitive(name).is_some()
            })
        };
        Ok(match columns.is_empty() {
            true => Self::Nothing,
            false if !is_whole || columns.iter().any(was_there) => Self::Rows,
            false => Self::Columns(columns),
        })
    }
}

/// The rows that a position lacks something of.
pub(crate) struct AddedColumns {
    table: TableName,
    schema: Arc<TableSchema>,
    scan: Arc<FileScan>,
    /// Reads the columns alone; `None` if all rows are told.
    columns: Option<Arc<FileScan>>,
    files: FileList,
}

impl AddedColumns {
    /// The rows of `files` that lack something; `None` if nothing is lacking. `delivered` is the id of the schema whose columns the position claims.
    pub(crate) fn new(
        table: &TableHandle,
        schema: &Arc<TableSchema>,
        scan: &Arc<FileScan>,
        files: FileList,
        delivered: Option<i32>,
    ) -> Result<Option<Self>> {
        let columns = match Lacking::of(table, schema, delivered)? {
            Lacking::Nothing => return Ok(None),
            Lacking::Rows => None,
            Lacking::Columns(columns) => Some(FileScan::new(table, &*narrowed(schema, &columns)?)?),
        };
        Ok(Some(Self {
            table: table.name().clone(),
            schema: schema.clone(),
            scan: scan.clone(),
            columns,
            files,
        }))
    }

    /// Sends the rows.
    pub(crate) async fn run(self, output: &mut Changes<'_>) -> Result<()> {
        for file in self.files.iter() {
            let rows = match &self.columns {
                Some(columns) => Some(filled(columns, file).await?),
                None => None,
            };
            if rows.as_ref().is_some_and(RowRanges::is_empty) {
                continue;
            }
            let mut rows = self.scan.read(vec![FilePart {
                file: file.clone(),
                rows,
            }]);
            while let Some((_, batch)) = rows.try_next().await? {
                let (table, schema) = (self.table.clone(), self.schema.clone());
                let (op, presence) = (Op::Upsert, Presence::PerhapsIdentical);
                let batch = ChangeBatch::uniform(table, schema, batch.rows, op, presence)?;
                output.send(batch).await?;
            }
        }
        Ok(())
    }
}

/// The live rows of a file with a value in one of the columns.
async fn filled(columns: &Arc<FileScan>, file: &Arc<LiveFile>) -> Result<RowRanges> {
    let mut filled = Vec::new();
    let mut rows = columns.read(vec![FilePart::live(file.clone())]);
    while let Some((_, batch)) = rows.try_next().await? {
        let values = batch.rows.columns();
        let has_value = |row: &usize| values.iter().any(|column| column.is_valid(*row));
        filled.extend(
            (0..batch.rows.num_rows())
                .filter(has_value)
                .map(|row| batch.positions[row]),
        );
    }
    filled.sort_unstable();
    Ok(RowRanges::of_sorted(filled))
}

/// Some columns of a schema, without a key.
fn narrowed(schema: &TableSchema, columns: &[usize]) -> Result<Arc<TableSchema>> {
    let fields: Vec<_> = columns
        .iter()
        .map(|&index| schema.arrow().fields()[index].clone())
        .collect();
    TableSchema::new(
        Arc::new(Schema::new(fields)),
        Vec::new(),
        vec![None; columns.len()],
    )
}
