//! A [`model::ChangeSink`] over Iceberg tables: changes become Parquet data files and position deletes, and one snapshot commits
//! them together with the mark.
//!
//! # Invariants
//!
//! - Nothing that was staged is visible before its snapshot is; what is thrown away was certainly not committed.
//! - Rows are updated and deleted by position, never by equality: every reader understands that.
//! - Where a key's row is comes from looking at the table, not from memory.
//!
//! This crate must not know the source, nor which catalog holds the table.
//!
//! # Example
//!
//! Append two rows to a table that is created for them, with the mark of how far they go:
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures::stream;
//! use iceberg_table::FileSystemCatalog;
//! use iceberg_writer::{IcebergSink, WriterOptions};
//! use model::{BatchId, ChangeBatch, ChangeSink, Commit, CommitOutcome, Epoch, Mark, Op, Position, Prepare, Presence, Replace};
//! use model::{RandomIds, SyncId, SystemClock, TableName};
//! # use test_support::{SampleRow, sample_batch, sample_schema};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> model::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let warehouse = directory.path().to_str().unwrap();
//! let (clock, ids) = (Arc::new(SystemClock), Arc::new(RandomIds));
//! let catalog = Arc::new(FileSystemCatalog::new(warehouse, clock.clone(), ids.clone())?);
//! let sink = IcebergSink::new(catalog, WriterOptions::default(), clock, ids);
//!
//! let (sync, table, schema) = (SyncId::new("my loader/orders"), TableName::new("shop", "orders"), sample_schema(true));
//! let prepare = Prepare { sync: sync.clone(), table: table.clone(), schema: schema.clone(), create: true, replace: false, adopt: false, dry_run: false };
//! sink.prepare(&prepare).await?;
//!
//! let rows = sample_batch(&[SampleRow::new(1, "first", 10), SampleRow::new(2, "second", 20)]);
//! let batch = ChangeBatch::uniform(table.clone(), schema.clone(), rows, Op::Insert, Presence::Absent)?;
//! let staged = sink.stage(&sync, &table, &schema, Box::pin(stream::iter([Ok(batch)]))).await?.staged;
//!
//! let position = Position { kind: "file".into(), incarnation: "1".into(), value: "7".into(), label: "file 7".into(), late_micros: 0, lacks: Vec::new() };
//! let commit = Commit {
//!     sync,
//!     table,
//!     schema,
//!     batch: BatchId::new("file 7"),
//!     epoch: Epoch(1),
//!     after: None,
//!     mark: Mark::At(position),
//!     staged,
//!     replace: Replace::No,
//!     moment: None,
//! };
//! let CommitOutcome::Committed(receipt) = sink.commit(&commit).await? else { panic!("nobody else writes this table") };
//! assert_eq!(receipt.inserted, 2);
//! // Sending it again has no second effect.
//! assert_eq!(sink.commit(&commit).await?, CommitOutcome::Committed(receipt));
//! # Ok(())
//! # }
//! ```

mod batch_writer;
mod column_metrics;
mod data_file;
mod dictionary;
mod file_properties;
mod fit;
mod key_batch;
mod metrics_mode;
mod options;
mod partitioned_writer;
mod partitioning;
mod prepare;
mod replace;
mod schema_changes;
mod sink;
mod staged;
mod table_options;

pub use data_file::FileShape;
pub use options::WriterOptions;
pub use partitioned_writer::PartitionedWriter;
pub use schema_changes::SchemaPolicy;
pub use sink::IcebergSink;
pub use table_options::TableOptions;
