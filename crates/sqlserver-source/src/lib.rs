//! A SQL Server database as a [`model::ChangeSource`]: the copy in key ranges, and increments by a column of times, of
//! growing ids or of rowversions, by Change Tracking, by Change Data Capture, by triggers of ours or by a query of the operator's.
//!
//! # Invariants
//!
//! - A cut asks first how far the server has got (its clock, its counter, its version) and who is writing second; rows are read
//!   only afterwards.
//! - Keys and moments are compared by the server only, and bound in the column's own type.
//! - What nobody can know (whether a hidden transaction is open, which clock a column holds) is assumed on the side that loses
//!   nothing, and said.
//!
//! This crate must not know any target; T-SQL against the catalog lives in `sqlserver-client`.

mod added_columns;
mod capture_state;
mod captured_rows;
mod change_data_capture;
mod change_tracking;
mod changes;
mod chunks;
mod clock;
mod column_time;
mod cut;
mod declared_key;
mod deletes;
mod describe;
mod fingerprint;
mod hint;
mod incarnation;
mod key_feed;
mod keyset;
mod moment;
mod options;
mod plan;
mod polling;
mod polling_query;
mod pool;
mod position;
mod read;
mod row_version;
mod source;
mod tracker;
mod trigger;
mod trigger_objects;
mod window;

pub use capture_state::{CaptureSigns, CaptureState};
pub use options::{
    CaptureOptions, ClockKind, Columns, DeleteOptions, HardDeletes, KindOption, Late, Mode, TrackingOptions,
    Transactions, TriggerOptions, Undated, WindowOptions,
};
pub use source::SqlServerSource;
pub use trigger_objects::is_change_table;
