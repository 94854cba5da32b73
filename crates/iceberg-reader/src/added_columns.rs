//! Rows that have something in columns that were not delivered before.
//!
//! A column that is added with a default, renamed, or written between a look at the columns and a cut changes no file that a difference of snapshots
//! looks at. So the changes after a position that does not claim such a column end with the rows that have a value there, as the newest
//! snapshot holds them. Only their end claims the column.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::Array;
use futures::TryStreamExt;
use iceberg_table::{LiveFile, RowRanges, TableHandle};
use model::{ChangeBatch, Op, Presence, Result, TableName, TableSchema};
use serde::{Deserialize, Serialize};

use crate::file_lists::FileList;
use crate::file_scan::{FilePart, FileScan};
use crate::snapshot_diff::Changes;

/// What a target holds under the names of columns, in lower case: the field whose values it has, or those of a column that the table no longer
/// has under this name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Delivered(BTreeMap<String, Option<i32>>);

impl Delivered {
    /// The columns of a table as it is now.
    pub(crate) fn of(table: &TableHandle) -> Self {
        let schema = table.metadata().current_schema();
        let fields = schema.as_struct().fields().iter();
        Self(
            fields
                .map(|field| (field.name.to_lowercase(), Some(field.id)))
                .collect(),
        )
    }

    /// The same after these were delivered as well.
    pub(crate) fn followed_by(&self, next: &Self) -> Self {
        let mut all: BTreeMap<_, _> = self.0.keys().map(|name| (name.clone(), None)).collect();
        all.extend(next.0.clone());
        Self(all)
    }
}

/// What was not delivered of the rows that were.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// Nothing.
    Nothing,
    /// The values of these columns, where a target has NULL.
    Columns(Vec<usize>),
    /// What a target holds under the name of a column was perhaps another's.
    Rows,
}

impl Lacking {
    /// What a target lacks that has been given `delivered`; `None` if nobody knows. What it holds under the names `void` counts for nothing.
    pub(crate) fn of(
        table: &TableHandle,
        schema: &TableSchema,
        delivered: Option<&Delivered>,
        void: &[String],
    ) -> Self {
        let Some(Delivered(delivered)) = delivered else {
            return Self::Rows;
        };
        let current = table.metadata().current_schema();
        let mut columns = Vec::new();
        for (index, field) in schema.arrow().fields().iter().enumerate() {
            let id = current.field_by_name(field.name()).map(|field| field.id);
            match delivered.get(&field.name().to_lowercase()) {
                None => columns.push(index),
                Some(known) if *known == id && !void.contains(field.name()) => {}
                Some(_) => return Self::Rows,
            }
        }
        match columns.is_empty() {
            true => Self::Nothing,
            false => Self::Columns(columns),
        }
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
    /// The rows of `files`; `None` if nothing is lacking.
    pub(crate) fn new(
        table: &TableHandle,
        schema: &Arc<TableSchema>,
        scan: &Arc<FileScan>,
        files: FileList,
        lacking: &Lacking,
    ) -> Result<Option<Self>> {
        let columns = match lacking {
            Lacking::Nothing => return Ok(None),
            Lacking::Rows => None,
            Lacking::Columns(columns) => Some(scan.only(columns)?),
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
