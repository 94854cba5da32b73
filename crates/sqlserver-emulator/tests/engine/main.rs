//! The engine driven as the protocol drives it, against what SQL Server's documentation says.

mod backups;
mod bulk;
mod change_data_capture;
mod change_tracking;
mod changes;
mod collect;
mod concurrency;
mod conformance;
mod definitions;
mod model;
mod queries;
mod sessions;
mod table_types;
mod unsupported;
mod values;
