//! The driver seam: the only module that knows `mssql-tds`.

mod arrow_writer;
mod bulk_rows;
mod connect;
mod error;
mod link;
mod param;
mod text;
mod value_writer;

pub(crate) use error::LinkError;
pub(crate) use link::Link;
