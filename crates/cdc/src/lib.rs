//! Change detection, source-neutral and pure: which column tells of changes, up to where a source is
//! complete, which rows an increment reads, and how changes are folded to the last one per key.
//!
//! # Invariants
//!
//! - A watermark is the greatest value that is known to be complete, and never a wall clock.
//! - What a window reads again is told as [`model::Presence::PerhapsIdentical`]; nothing is left out because it
//!   was probably delivered before.
//!
//! This crate must not know any driver or dialect, and does no I/O: every moment comes in through a parameter.

mod fold;
mod id_window;
mod ticks;
mod timestamp_window;
mod tracking;
mod zone;

pub use fold::Fold;
pub use id_window::{IdLook, IdPosition, IdWindow, PendingIds};
pub use ticks::Ticks;
pub use timestamp_window::{
    CutRules, OldestWriter, RowClass, TimestampCut, TimestampWindow, Writers, timestamp_cut, tolerance,
};
pub use tracking::{ColumnFacts, ColumnKind, TrackingChoice, TrackingKind, choose_tracking, detect_tracking};
pub use zone::{Zone, ZoneChange};
