//! `inspect` and `snapshots`: what an Iceberg table holds.

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use iceberg_reader::{FileInfo, IcebergSource, SnapshotChoice, SnapshotInfo};
use iceberg_table::TableHandle;
use model::{ChangeSource, Error, ErrorKind, Result, Selection, TableName, Timestamp};
use serde::Serialize;

use super::Answer;
use crate::arguments::{Inspect, OneTable};
use crate::parts::Parts;
use crate::table::TextTable;
use crate::time::{iso, parse_time};

#[derive(Serialize)]
struct Inspected {
    table: String,
    location: String,
    uuid: String,
    format_version: u8,
    snapshot: Option<i64>,
    schema: Vec<String>,
    data_files: usize,
    delete_files: usize,
    records: u64,
    deleted: u64,
    bytes: u64,
    rows: Vec<Vec<Option<String>>>,
}

/// Shape, files and first rows of a table.
pub(crate) async fn run(parts: &Parts, inspect: &Inspect) -> Result<Answer> {
    let table = load(parts, &inspect.table).await?;
    let choice = match (&inspect.snapshot, &inspect.at) {
        (Some(snapshot), _) => SnapshotChoice::parse(snapshot),
        (None, Some(time)) => SnapshotChoice::AsOf(parse_time(time)?),
        (None, None) => SnapshotChoice::Current,
    };
    let snapshot = choice.resolve(&table)?;
    let files = match &snapshot {
        Some(snapshot) => iceberg_reader::files(&table, snapshot).await?,
        None => Vec::new(),
    };
    let source = IcebergSource::new(parts.catalog().clone()).pinned(choice);
    let (columns, rows) = first_rows(&source, table.name(), inspect.rows).await?;
    let inspected = summarise(
        &table,
        snapshot.map(|snapshot| snapshot.snapshot_id()),
        &files,
        rows,
    );
    let text = describe(&inspected, &columns);
    Answer::new(text, &inspected)
}

/// The table with this name, as the configuration maps it.
async fn load(parts: &Parts, name: &str) -> Result<TableHandle> {
    let name = parts.iceberg_name(name)?;
    parts.catalog().load(&name).await?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "the warehouse has no such Iceberg table")
            .with("table", name)
            .hint("`sync-cli run` creates it; `sync-cli tables` lists the source's tables")
    })
}

async fn first_rows(
    source: &IcebergSource,
    table: &TableName,
    rows: usize,
) -> Result<(Vec<String>, Vec<Vec<Option<String>>>)> {
    let schema = source.describe(table).await?.schema;
    let columns = schema
        .arrow()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let mut batches = source.read(table, &schema, Selection::All, None).await?;
    let mut shown = Vec::new();
    while shown.len() < rows {
        let Some(batch) = batches.try_next().await? else {
            break;
        };
        shown.extend(cells(&batch.rows, rows - shown.len())?);
    }
    Ok((columns, shown))
}

/// The first rows of a batch as text; NULL stays apart from an empty text.
fn cells(batch: &RecordBatch, rows: usize) -> Result<Vec<Vec<Option<String>>>> {
    let options = FormatOptions::default();
    let formatters: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| Error::internal("a column cannot be shown").caused_by(error))?;
    let show = |row| {
        let cells = batch.columns().iter().zip(&formatters);
        cells
            .map(|(column, formatter)| (!column.is_null(row)).then(|| formatter.value(row).to_string()))
            .collect()
    };
    Ok((0..batch.num_rows().min(rows)).map(show).collect())
}

fn summarise(
    table: &TableHandle,
    snapshot: Option<i64>,
    files: &[FileInfo],
    rows: Vec<Vec<Option<String>>>,
) -> Inspected {
    let (deletes, data): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.is_deletes);
    Inspected {
        table: table.name().to_string(),
        location: table.metadata().location().to_owned(),
        uuid: table.metadata().uuid().to_string(),
        format_version: table.metadata().format_version() as u8,
        snapshot,
        schema: iceberg_reader::schema_text(table)
            .lines()
            .map(str::to_owned)
            .collect(),
        data_files: data.len(),
        delete_files: deletes.len(),
        records: data.iter().map(|file| file.records).sum(),
        deleted: deletes.iter().map(|file| file.records).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        rows,
    }
}

fn describe(inspected: &Inspected, columns: &[String]) -> String {
    let mut text = format!(
        "{}\n  location  {}\n  uuid      {}\n  format    v{}\n  snapshot  {}\n  files     {} of data with {} rows, {} of deletes with {} positions, {} bytes\n",
        inspected.table,
        inspected.location,
        inspected.uuid,
        inspected.format_version,
        inspected
            .snapshot
            .map_or_else(|| "none".to_owned(), |id| id.to_string()),
        inspected.data_files,
        inspected.records,
        inspected.delete_files,
        inspected.deleted,
        inspected.bytes,
    );
    for line in &inspected.schema {
        text.push_str(&format!("  {line}\n"));
    }
    let mut table = TextTable::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &inspected.rows {
        table.row(
            row.iter()
                .map(|cell| cell.clone().unwrap_or_else(|| "NULL".to_owned())),
        );
    }
    if !table.is_empty() {
        text.push_str(&format!("\n{table}"));
    }
    text
}

/// The snapshots of a table.
pub(crate) async fn snapshots(parts: &Parts, table: &OneTable) -> Result<Answer> {
    let table = load(parts, &table.table).await?;
    let snapshots = iceberg_reader::snapshots(&table);
    let mut text = TextTable::new(&[
        "snapshot",
        "time",
        "operation",
        "added",
        "deleted",
        "rows",
        "mark",
    ]);
    for snapshot in &snapshots {
        text.row(snapshot_cells(snapshot));
    }
    Answer::new(text, &snapshots)
}

fn snapshot_cells(snapshot: &SnapshotInfo) -> [String; 7] {
    let counted = |key: &str| {
        let count = snapshot.summary.get(key);
        count.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
    };
    // The first total counts the rows in data files, those that are deleted by position included.
    let rows = counted("total-records").saturating_sub(counted("total-position-deletes"));
    let mark = snapshot
        .summary
        .get(iceberg_table::SYNC_MARK)
        .and_then(|mark| serde_json::from_str::<model::Mark>(mark).ok());
    let moment = snapshot.summary.get(iceberg_table::SYNC_MOMENT);
    let mark = match mark {
        Some(model::Mark::At(position)) => moment.cloned().unwrap_or(position.label),
        Some(model::Mark::Copying { .. }) => "copying".to_owned(),
        None => "not ours".to_owned(),
    };
    [
        format!("{}{}", snapshot.id, if snapshot.is_current { " *" } else { "" }),
        iso(Timestamp(snapshot.timestamp.0)),
        snapshot.operation.clone(),
        counted("added-records").to_string(),
        counted("added-position-deletes").to_string(),
        rows.to_string(),
        mark,
    ]
}
