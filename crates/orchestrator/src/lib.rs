//! The sync loop: brings one table of a target up to date with its source, many tables at once, and compares them.
//!
//! # Invariants
//!
//! - How far a table has got is asked of the target. The state store only saves work; whatever it says, or lost, no row is lost,
//!   doubled or altered.
//! - Every commit names the mark that it was built on. A commit whose outcome is unknown is looked for by its batch id and sent
//!   again as it is; what was staged is thrown away only when it certainly was not committed.
//! - A run may be cancelled or killed anywhere; the next one resumes from the target's mark.
//! - Counts and positions in a report come from receipts.
//!
//! This crate must not know any driver, catalog or store: everything comes in through the seams of [`model`].
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use model::{RunStatus, SyncId, TableName};
//! use orchestrator::{Route, Run, RunOutcome, Runner, TableSync};
//! use test_support::{MemorySink, MemorySource, MemoryStore, MemoryTracking, SampleRow, SeededIds, SimClock};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let clock = Arc::new(SimClock::default());
//! let source = MemorySource::new(clock.clone(), MemoryTracking::Timestamp { tolerance: 60_000 });
//! let orders = TableName::new("dbo", "Orders");
//! source.create(&orders, true);
//! source.put(&orders, [SampleRow::new(1, "first", 10), SampleRow::new(2, "second", 20)]);
//! clock.advance(1_000);
//!
//! let sink = MemorySink::default();
//! let runner = Runner::new(
//!     Arc::new(MemoryStore::new(clock.clone())),
//!     clock.clone(),
//!     Arc::new(SeededIds::new(1)),
//! );
//! let export = TableSync::new(
//!     SyncId::new("shop/dbo.Orders/export"),
//!     "source → iceberg",
//!     (Arc::new(source.clone()), orders.clone()),
//!     (Arc::new(sink.clone()), orders.clone()),
//! );
//! let run = Run {
//!     name: "shop".into(),
//!     holder: "process 1".into(),
//!     source: "memory".into(),
//!     destination: "memory".into(),
//!     routes: vec![Route::new(vec![export])],
//! };
//!
//! let RunOutcome::Finished(report) = runner.run(&run, &CancellationToken::new()).await else {
//!     panic!("another process runs this sync");
//! };
//! assert_eq!(report.metadata.status, RunStatus::Succeeded);
//! assert_eq!(report.statistics.records_inserted, 2);
//!
//! source.put(&orders, [SampleRow::new(2, "changed", 21), SampleRow::new(3, "third", 30)]);
//! clock.advance(1_000);
//! let RunOutcome::Finished(report) = runner.run(&run, &CancellationToken::new()).await else {
//!     panic!("another process runs this sync");
//! };
//! assert_eq!((report.statistics.records_inserted, report.statistics.records_updated), (1, 1));
//! assert_eq!(sink.rows(&orders), source.rows(&orders));
//! # }
//! ```

mod follow;
mod key_text;
mod memory;
mod progress;
mod reconcile;
mod report;
mod retry;
mod run;
mod spill;
mod table_sync;
mod verify;
mod whole;

pub use follow::{Follow, Following};
pub use key_text::key_range;
pub use memory::Memory;
pub use progress::{NoProgress, Progress, ProgressEvent};
pub use reconcile::{Reconcile, Reconciled};
pub use retry::RetryPolicy;
pub use run::{Route, Run, RunOutcome, Runner};
pub use spill::SpillOptions;
pub use table_sync::{DeadLetters, Flush, Repair, TableSync, position_beyond_mark};
pub use verify::{Differing, Side, Upstream, Verified, Verify};
