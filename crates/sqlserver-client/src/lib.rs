//! Everything that speaks to SQL Server: connections, rows to Arrow, bulk load, the catalog, types and DDL.
//!
//! # Invariants
//!
//! - Every value is bound with a type and every identifier is quoted ([`quote`]).
//! - A connection whose state is not known (a dropped stream, a lost link, a timeout) is never used again, and nothing
//!   reconnects in silence.
//! - What cannot be carried over exactly is an error that names the column, never a replacement character.
//! - Nothing outside this crate writes T-SQL against `sys.*`, and no driver's type is in the public API.
//!
//! This crate must not know what a sync is.
//!
//! # Example
//!
//! A table as Arrow batches:
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use model::TableName;
//! use sqlserver_client::{ConnectOptions, Connection, Secret, TypePolicy, quote};
//!
//! # async fn read() -> model::Result<()> {
//! let options = ConnectOptions::new("localhost", 1433, "shop", "reader", Secret::new("secret"));
//! let mut connection = Connection::open(&options).await?;
//! let table = TableName::new("dbo", "Orders");
//! let info = connection.table_info(&table).await?;
//! let schema = info.schema(&TypePolicy::default(), &[])?;
//! let sql = format!("SELECT {} FROM {}", info.select_list(&schema)?, quote::table(&table));
//! let mut rows = connection.select_arrow(sql, vec![], schema.arrow().clone(), 65_536);
//! while let Some(batch) = rows.try_next().await? {
//!     println!("{} rows", batch.num_rows());
//! }
//! let connection = rows.finish()?;
//! # Ok(())
//! # }
//! ```

mod arrow_rows;
mod arrow_value;
mod bound;
mod builders;
mod bulk;
mod catalog;
mod connection;
mod datetime;
pub mod ddl;
mod lsn;
mod options;
pub mod quote;
mod row_encoder;
mod rows;
mod session;
mod sql_type;
mod table_info;
mod tds;
mod text_column;
mod value;
pub mod variant;
mod vector;
mod writers;

pub use arrow_rows::ArrowRows;
pub use bound::{KeyColumn, bound_from_values, values_from_bound};
pub use bulk::BulkColumn;
pub use catalog::{Permission, TableShape, TableSummary, no_such_table};
pub use connection::{CommitEnd, Connection, Isolation, Param};
pub use lsn::Lsn;
pub use model::Secret;
pub use options::{ApplicationIntent, ConnectOptions, Encrypt};
pub use rows::{Row, Rows};
pub use sql_type::{Length, Loss, SqlType, TypePolicy};
pub use table_info::{
    Capabilities, CaptureInstance, CaptureJob, CaptureProgress, CaptureScan, CaptureService, CapturedColumn,
    ChangeTrackingInfo, ColumnInfo, ColumnType, DatabaseInfo, ForeignKey, IndexInfo, Sight, TableInfo,
    TriggerInfo, TriggerState,
};
pub use tds::is_there_already;
pub use value::Value;
pub use writers::{LocalFall, OldestWork, OpenWork};
