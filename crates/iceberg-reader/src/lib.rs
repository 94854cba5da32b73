//! Iceberg tables as a source of rows and changes: scans of any snapshot, time travel, and the difference of two snapshots as changes
//! by key. What the command line shows of a table comes from here as well.
//!
//! # Invariants
//!
//! - Every read is of one snapshot, with its deletes applied; nothing of an older or newer one is mixed in.
//! - The difference of two snapshots is computed from their rows, not from how they came about: a compaction yields nothing, a
//!   rollback yields what it undid.
//! - Memory does not grow with the table: batches are bounded, and a large difference is paired in passes.
//!
//! This crate must not know where the rows go.
//!
//! # Example
//!
//! Read the rows of a table at its newest snapshot:
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures::TryStreamExt;
//! use iceberg_reader::{IcebergSource, SnapshotChoice};
//! use iceberg_table::FileSystemCatalog;
//! use model::{ChangeSource, RandomIds, Selection, SystemClock, TableName};
//! # use model::{BatchId, ChangeBatch, ChangeSink, Commit, Epoch, Mark, Op, Position, Prepare, Presence, Replace, SyncId};
//! # use test_support::{SampleRow, sample_batch, sample_schema};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> model::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let warehouse = directory.path().to_str().unwrap();
//! let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
//! let catalog = Arc::new(FileSystemCatalog::new(warehouse, clock.clone(), ids.clone())?);
//! let table = TableName::new("shop", "orders");
//! # let sink = iceberg_writer::IcebergSink::new(catalog.clone(), Default::default(), clock, ids);
//! # let (sync, schema) = (SyncId::new("s"), sample_schema(true));
//! # sink.prepare(&Prepare { sync: sync.clone(), table: table.clone(), schema: schema.clone(), create: true, replace: false, adopt: false, dry_run: false }).await?;
//! # let rows = sample_batch(&[SampleRow::new(1, "first", 10), SampleRow::new(2, "second", 20)]);
//! # let batch = ChangeBatch::uniform(table.clone(), schema.clone(), rows, Op::Insert, Presence::Absent)?;
//! # let staged = sink.stage(&sync, &table, &schema, Box::pin(futures::stream::iter([Ok(batch)]))).await?.staged;
//! # let mark = Mark::At(Position { kind: "k".into(), incarnation: "i".into(), value: "v".into(), label: "l".into(), late_micros: 0, lacks: Vec::new() });
//! # let (batch, epoch, replace) = (BatchId::new("b"), Epoch(1), Replace::No);
//! # sink.commit(&Commit { sync, table: table.clone(), schema, batch, epoch, after: None, mark, staged, replace, moment: None }).await?;
//! let source = IcebergSource::new(catalog).pinned(SnapshotChoice::Current);
//! let schema = source.describe(&table).await?.schema;
//! let mut batches = source.read(&table, &schema, Selection::All, None).await?;
//! let mut rows = 0;
//! while let Some(batch) = batches.try_next().await? {
//!     rows += batch.len();
//! }
//! assert_eq!(rows, 2);
//! # Ok(())
//! # }
//! ```

mod added_columns;
mod background;
mod bereft;
mod file_groups;
mod file_lists;
mod file_scan;
mod inspect;
mod row_pairing;
mod snapshot;
mod snapshot_diff;
mod source;

pub use inspect::{FileInfo, SnapshotInfo, files, schema_text, snapshots};
pub use snapshot::{SnapshotChoice, snapshots_of_position};
pub use source::IcebergSource;
