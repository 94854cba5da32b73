//! Applies changes to SQL Server tables: a [`ChangeSink`](model::ChangeSink) over `sqlserver-client`.
//!
//! Rows are bulk loaded into a `#temp` table with the target's exact types and collations, on a connection that is held. A commit is one
//! transaction on that connection: it takes the sync's row of `_sync.applied`, checks mark and epoch, applies the staged rows
//! and records the new mark.
//!
//! # Invariants
//!
//! - Data and mark are committed together or not at all.
//! - A row whose bytes are equal is not written, so triggers and rowversions stay quiet.
//! - A value that the target cannot hold exactly stops the commit.
//!
//! This crate must not know where rows come from.
//!
//! # Example
//!
//! Rows and the mark of how far they go, in one commit:
//!
//! ```
//! use model::{BatchId, Batches, ChangeSink, Commit, CommitOutcome, Mark, Prepare, Replace};
//! use sqlserver_client::ConnectOptions;
//! use sqlserver_import::{ApplyOptions, SqlServerSink};
//!
//! # async fn apply(options: ConnectOptions, prepare: Prepare, rows: Batches, mark: Mark) -> model::Result<()> {
//! # let again = options.clone();
//! let sink = SqlServerSink::new(options, ApplyOptions::default())?;
//! sink.prepare(&prepare).await?;
//! let Prepare { sync, table, schema, .. } = prepare;
//! let newest = sink.committed(&sync, &table).await?;
//! let staged = sink.stage(&sync, &table, &schema, rows).await?.staged;
//! let commit = Commit {
//!     sync,
//!     table,
//!     schema,
//!     batch: BatchId::new("2026-01-01/1"),
//!     epoch: newest.epoch,
//!     after: newest.mark,
//!     mark,
//!     staged,
//!     replace: Replace::No,
//!     moment: None,
//! };
//! match sink.commit(&commit).await? {
//!     CommitOutcome::Committed(receipt) => println!("{} rows inserted", receipt.inserted),
//!     CommitOutcome::Conflict { newest } => println!("somebody else is at {:?}", newest.mark),
//!     CommitOutcome::Unknown { why } => println!("ask again: {why}"),
//! }
//! # let rows = sqlserver_client::Connection::open(&again).await?.query("SELECT name FROM shop.orders ORDER BY id", &[]).await?;
//! # assert_eq!(rows.len(), 2);
//! # Ok(())
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! #     use model::{ChangeBatch, Op, Position, Presence, SyncId, TableName};
//! #     use sqlserver_client::Secret;
//! #     use sqlserver_emulator::{Emulator, EmulatorConfig, EngineConfig};
//! #     use test_support::{SampleRow, sample_batch, sample_schema};
//! #     let engine = EngineConfig { databases: vec!["target".into()], ..EngineConfig::default() };
//! #     let emulator = Emulator::start(EmulatorConfig { engine, ..EmulatorConfig::default() }).await.unwrap();
//! #     let password = Secret::new(emulator.password());
//! #     let mut options = ConnectOptions::new("localhost", emulator.address().port(), "target", emulator.user(), password);
//! #     options.trust_server_certificate = true;
//! #     let (table, schema) = (TableName::new("shop", "orders"), sample_schema(true));
//! #     let rows = sample_batch(&[SampleRow::new(1, "first", 10), SampleRow::new(2, "second", 20)]);
//! #     let batch = ChangeBatch::uniform(table.clone(), schema.clone(), rows, Op::Insert, Presence::Unknown).unwrap();
//! #     let prepare = Prepare { sync: SyncId::new("s"), table, schema, create: true, replace: false, adopt: false, dry_run: false };
//! #     let mark = Mark::At(Position { kind: "k".into(), incarnation: "i".into(), value: "v".into(), label: "l".into(), late_micros: 0, lacks: Vec::new() });
//! #     apply(options, prepare, Box::pin(futures::stream::iter([Ok(batch)])), mark).await.unwrap();
//! # }
//! ```

mod apply;
mod marks;
mod options;
mod preflight;
mod rights;
mod session;
mod sink;
mod target;
mod variants;

pub use options::{ApplyOptions, Existing, Statement, Strategy};
pub use rights::{missing_rights, needed_rights};
pub use sink::SqlServerSink;
