//! The driver's bulk copy, fed with rows that are encoded already.

use async_trait::async_trait;
use model::{Error, ErrorKind, Result};
use mssql_tds::connection::bulk_copy::{BulkCopy, BulkLoadRow, ColumnMapping};
use mssql_tds::core::TdsResult;
use mssql_tds::datatypes::bulk_copy_metadata::{BulkCopyColumnMetadata, SqlDbType};
use mssql_tds::datatypes::sql_string::{EncodingType, ResolvedEncoding};
use mssql_tds::error::Error as TdsError;
use mssql_tds::message::bulk_load::StreamingBulkLoadWriter;
use tokio::sync::mpsc;

use super::{Link, LinkError};
use crate::bulk::{BulkColumn, Feed};
use crate::row_encoder::{CodePage, encode_batch};
use crate::{Length, SqlType};

const TOKEN_ROW: u8 = 0xD1;

/// Many rows in one: the driver writes the row token before the first, the encoder writes those in between.
struct Block {
    bytes: Vec<u8>,
    columns: usize,
    failed: bool,
}

#[async_trait]
impl BulkLoadRow for Block {
    async fn write_to_packet(
        &self,
        writer: &mut StreamingBulkLoadWriter<'_>,
        column_index: &mut usize,
    ) -> TdsResult<()> {
        if self.failed {
            return Err(TdsError::UsageError("the rows ended early".to_owned()));
        }
        writer.write_raw_bytes(&self.bytes).await?;
        *column_index = self.columns;
        Ok(())
    }
}

/// A column of the target, in the target's order.
struct Target {
    /// Its index in the batches.
    source: usize,
    column: BulkColumn,
    code_page: Option<CodePage>,
}

/// The blocking iterator that the driver asks for: encodes what the channel brings.
struct Blocks<'a> {
    feed: mpsc::Receiver<Feed>,
    order: Vec<usize>,
    columns: Vec<(BulkColumn, Option<CodePage>)>,
    rows: &'a mut u64,
    error: &'a mut Option<Error>,
    ended: bool,
}

impl<'a> Blocks<'a> {
    fn new(
        feed: mpsc::Receiver<Feed>,
        plan: &[Target],
        rows: &'a mut u64,
        error: &'a mut Option<Error>,
    ) -> Self {
        Self {
            feed,
            order: plan.iter().map(|target| target.source).collect(),
            columns: plan
                .iter()
                .map(|target| (target.column.clone(), target.code_page.clone()))
                .collect(),
            rows,
            error,
            ended: false,
        }
    }

    fn next_block(&mut self) -> Result<Option<Block>> {
        loop {
            // This thread drives no reactor, so it may block; `blocking_recv` refuses to within `Handle::block_on`. The
            // iterator runs within one poll of the driver's future, whose budget would never be renewed.
            let batch = match futures::executor::block_on(tokio::task::unconstrained(self.feed.recv())) {
                None => return Err(Error::cancelled()),
                Some(Feed::End) => return Ok(None),
                Some(Feed::Batch(batch)) if batch.num_rows() == 0 => continue,
                Some(Feed::Batch(batch)) => batch,
            };
            let batch = batch.project(&self.order).map_err(|error| {
                Error::internal("a batch does not have the columns of its bulk load").caused_by(error)
            })?;
            let mut bytes = Vec::new();
            encode_batch(&batch, &self.columns, TOKEN_ROW, &mut bytes)?;
            *self.rows += batch.num_rows() as u64;
            return Ok(Some(Block {
                bytes,
                columns: self.columns.len(),
                failed: false,
            }));
        }
    }
}

impl Iterator for Blocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        if self.ended {
            return None;
        }
        match self.next_block() {
            Ok(Some(block)) => Some(block),
            Ok(None) => {
                self.ended = true;
                None
            }
            // The driver learns of an error when it writes the row, and cancels the load.
            Err(error) => {
                self.ended = true;
                *self.error = Some(error);
                Some(Block {
                    bytes: Vec::new(),
                    columns: 0,
                    failed: true,
                })
            }
        }
    }
}

impl Link {
    /// Loads rows until [`Feed::End`]; a feed that stops without it cancels the load.
    pub(crate) async fn bulk_load(
        &mut self,
        table: &str,
        columns: &[BulkColumn],
        feed: mpsc::Receiver<Feed>,
    ) -> Result<u64> {
        let mut copy = BulkCopy::new(&mut self.client, table)
            .timeout(std::time::Duration::ZERO)
            .keep_identity(true)
            .keep_nulls(true)
            .check_constraints(true)
            // A temporary table has one user, so the lock costs nothing and saves most of the logging.
            .table_lock(table.starts_with("[#"));
        let destination = copy.retrieve_destination_metadata().await.map_err(failed)?;
        let plan = plan(columns, &destination)?;
        for target in &plan {
            copy = copy.add_column_mapping(ColumnMapping::by_ordinal(target.source, &target.column.name));
        }
        let (mut rows, mut error) = (0, None);
        let result = copy
            .write_to_server_zerocopy(Blocks::new(feed, &plan, &mut rows, &mut error))
            .await;
        drop(copy);
        match (error, result) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(failed(error)),
            (None, Ok(_)) if self.client.take_code_page_conversion_loss() => Err(Error::new(
                ErrorKind::Data,
                "a character was replaced because a column's code page lacks it",
            )),
            (None, Ok(_)) => Ok(rows),
        }
    }
}

fn failed(error: TdsError) -> Error {
    LinkError::from(error).into_error()
}

/// Puts the columns into the table's order, in which the driver announces them, and checks that they have the types that the
/// rows will be encoded for.
fn plan(columns: &[BulkColumn], destination: &[BulkCopyColumnMetadata]) -> Result<Vec<Target>> {
    let mut targets = Vec::with_capacity(columns.len());
    for on_server in destination {
        let Some(source) = columns
            .iter()
            .position(|column| column.name == on_server.column_name)
        else {
            continue;
        };
        let column = columns
            .get(source)
            .cloned()
            .ok_or_else(|| Error::internal("a column is missing"))?;
        if !has_type(&column, on_server) {
            return Err(Error::new(
                ErrorKind::SchemaMismatch,
                format!("column {:?} does not have the type {}", column.name, column.ty),
            ));
        }
        let code_page = code_page(&column, on_server)?;
        targets.push(Target {
            source,
            column,
            code_page,
        });
    }
    match columns
        .iter()
        .find(|column| !targets.iter().any(|target| target.column.name == column.name))
    {
        None => Ok(targets),
        Some(missing) => Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!("the table has no column {:?} to load", missing.name),
        )),
    }
}

fn has_type(column: &BulkColumn, on_server: &BulkCopyColumnMetadata) -> bool {
    let length = |length: Length, unit: i32| match length {
        Length::Limited(length) => on_server.length == i32::from(length) * unit,
        Length::Max => on_server.is_plp(),
    };
    let scale = |scale: u8| on_server.scale == scale;
    match (column.ty, on_server.sql_type) {
        (SqlType::Bit, SqlDbType::Bit)
        | (SqlType::TinyInt, SqlDbType::TinyInt)
        | (SqlType::SmallInt, SqlDbType::SmallInt)
        | (SqlType::Int, SqlDbType::Int)
        | (SqlType::BigInt, SqlDbType::BigInt)
        | (SqlType::Money, SqlDbType::Money)
        | (SqlType::SmallMoney, SqlDbType::SmallMoney)
        | (SqlType::Real, SqlDbType::Real)
        | (SqlType::Float, SqlDbType::Float)
        | (SqlType::Date, SqlDbType::Date)
        | (SqlType::SmallDateTime, SqlDbType::SmallDateTime)
        | (SqlType::DateTime, SqlDbType::DateTime)
        | (SqlType::UniqueIdentifier, SqlDbType::UniqueIdentifier)
        | (SqlType::Xml, SqlDbType::Xml) => true,
        (
            SqlType::Decimal {
                precision,
                scale: digits,
            },
            SqlDbType::Decimal | SqlDbType::Numeric,
        ) => on_server.precision == precision && scale(digits),
        (SqlType::Time { scale: digits }, SqlDbType::Time)
        | (SqlType::DateTime2 { scale: digits }, SqlDbType::DateTime2)
        | (SqlType::DateTimeOffset { scale: digits }, SqlDbType::DateTimeOffset) => scale(digits),
        (SqlType::Char { length: bytes }, SqlDbType::Char)
        | (SqlType::Binary { length: bytes }, SqlDbType::Binary) => length(Length::Limited(bytes), 1),
        (SqlType::VarChar { length: bytes }, SqlDbType::VarChar)
        | (SqlType::VarBinary { length: bytes }, SqlDbType::VarBinary) => length(bytes, 1),
        (SqlType::NChar { length: units }, SqlDbType::NChar) => length(Length::Limited(units), 2),
        (SqlType::NVarChar { length: units }, SqlDbType::NVarChar) => length(units, 2),
        _ => false,
    }
}

/// How a `varchar` column's characters beyond ASCII become bytes. Code pages whose tables differ between Windows and here take ASCII only.
fn code_page(column: &BulkColumn, metadata: &BulkCopyColumnMetadata) -> Result<Option<CodePage>> {
    if !column.ty.is_code_page() {
        return Ok(None);
    }
    let collation = metadata.collation.ok_or_else(|| {
        Error::internal(format!(
            "the server told no collation of column {:?}",
            column.name
        ))
    })?;
    let Some(encoding) = EncodingType::LcidBased(collation).resolved_encoding() else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the code page of column {:?} is not known", column.name),
        ));
    };
    Ok(Some(CodePage::new(move |text| encode(encoding, text))))
}

fn encode(encoding: ResolvedEncoding, text: &str) -> Option<Vec<u8>> {
    let name = encoding.name();
    let exact = name == "UTF-8" || (name.starts_with("windows-125") && name != "windows-1258");
    let (bytes, _, lost) = encoding.encode(text);
    (exact && !lost).then(|| bytes.into_owned())
}
