//! The driver seam: the only module that knows `mssql-tds`.

mod arrow_writer;
mod bulk_rows;
mod connect;
mod error;
mod link;
mod param;
mod text;
mod value_writer;

pub use error::is_there_already;
pub(crate) use error::{LOOK_FOR_TABLE, LinkError, is_unknown_to_server};
pub(crate) use link::Link;
