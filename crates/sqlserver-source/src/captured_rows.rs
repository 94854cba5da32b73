//! Changes as a change table keeps them: rows with all their values, in the order of the log.
//!
//! So a change costs the server a row of one table that it reads in order, and not a search in another. Not every table's changes can be
//! read so. A large value that an update did not touch, a computed column and a text outside the database's code page are kept as
//! NULL or wrongly, and a filter may look at anything: such tables are told by their [present rows](crate::key_feed). What is
//! told here is as of the increment's cut, and not newer.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, Int8Array, RecordBatch};
use arrow_schema::{Field, Schema};
use futures::TryStreamExt;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use model::{ChangeBatch, Error, Op, Presence, Result, TableName, TableSchema};
use sqlserver_client::{CaptureInstance, ColumnInfo, ColumnType, Length, Lsn, SqlType, quote};

use crate::options::HardDeletes;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::read::{Select, run};

/// `__$operation` of a row that was deleted,
const DELETED: i32 = 1;
/// and of one as it was before an update.
const BEFORE_UPDATE: i32 = 3;

/// Whether each row that the instance keeps of an insert or an update is the row that the table had then.
pub(crate) fn are_whole(plan: &TablePlan, instance: &CaptureInstance) -> bool {
    let options = &plan.options;
    let all_are_told = options.filter.is_none()
        && plan.unmarked.is_none()
        && options.deletes.hard == HardDeletes::Apply
        && !plan.table.row_level_security;
    instance.readable
        && all_are_told
        && plan.read_columns().all(|column| {
            let captured = instance.captured(column);
            captured.is_some_and(|(_, captured)| captured.alike) && is_kept(column, &plan.database.collation)
        })
}

/// Whether a change table keeps the column's values as they are.
fn is_kept(column: &ColumnInfo, database_collation: &str) -> bool {
    use SqlType::{
        BigInt, Binary, Bit, Char, Date, DateTime, DateTime2, DateTimeOffset, Decimal, Float, Int, Money,
        NChar, NVarChar, Real, RowVersion, SmallDateTime, SmallInt, SmallMoney, Time, TinyInt,
        UniqueIdentifier, VarBinary, VarChar,
    };
    if column.computed || column.generated || column.masked || column.encrypted {
        return false;
    }
    let ColumnType::Mapped(ty) = column.ty else {
        return false;
    };
    match ty {
        Char { .. }
        | VarChar {
            length: Length::Limited(_),
        } => column.collation.as_deref() == Some(database_collation),
        NVarChar { length } | VarBinary { length } => length != Length::Max,
        _ => matches!(
            ty,
            Bit | TinyInt
                | SmallInt
                | Int
                | BigInt
                | Decimal { .. }
                | Money
                | SmallMoney
                | Real
                | Float
                | Date
                | Time { .. }
                | SmallDateTime
                | DateTime
                | DateTime2 { .. }
                | DateTimeOffset { .. }
                | NChar { .. }
                | Binary { .. }
                | UniqueIdentifier
                | RowVersion
        ),
    }
}

/// What was read.
pub(crate) enum Captured {
    /// Changes, one after the other.
    Changes(ChangeBatch),
    /// Everything up to here has been told.
    Upto(Lsn),
    /// What follows cannot be told from the rows. One lacks a value that the table's rows always have by now, because its column became NOT NULL
    /// later. Or a key was changed by an update: of several rows that take each other's keys, and one row that takes them in turn, the
    /// change table has the same.
    Unclear,
}

/// The changes above `from` up to `to`. After so many of them as `part`, with the transaction of the last, it is told how far they reach; not at
/// their end.
pub(crate) async fn changes(
    pool: &Arc<Pool>,
    plan: &TablePlan,
    schema: &Arc<TableSchema>,
    instance: &CaptureInstance,
    (from, to): (Lsn, Lsn),
    part: usize,
) -> Result<BoxStream<'static, Result<Captured>>> {
    let own = [
        Field::new("__$start_lsn", SqlType::Binary { length: 10 }.arrow(), false),
        Field::new("__$operation", SqlType::Int.arrow(), false),
    ];
    let fields = own.into_iter().map(Arc::new);
    let fields: Vec<_> = fields.chain(schema.relaxed().fields().iter().cloned()).collect();
    let select = Select {
        sql: format!(
            "SELECT [__$start_lsn], [__$operation], {list} FROM cdc.{table} \
             WHERE [__$start_lsn] > @from AND [__$start_lsn] <= @to AND ([__$operation] <> {BEFORE_UPDATE}{moved}) \
             ORDER BY [__$start_lsn], [__$command_id], [__$seqval], [__$operation]",
            list = plan.table.select_list(schema)?,
            table = quote::identifier(&format!("{}_CT", instance.name)),
            moved = moved(plan, schema, instance),
        ),
        params: vec![from.param("from"), to.param("to")],
        shape: Arc::new(Schema::new(fields)),
    };
    let log = Log {
        rows: run(pool, plan, select).await?,
        table: plan.table.name.clone(),
        schema: schema.clone(),
        part,
        since: 0,
        last: from,
        rest: None,
    };
    let told = try_unfold(log, |mut log| async move {
        Ok(log.next().await?.map(|told| (told, log)))
    });
    Ok(told.boxed())
}

/// A change table's rows, on their way.
struct Log {
    rows: BoxStream<'static, Result<RecordBatch>>,
    table: TableName,
    schema: Arc<TableSchema>,
    part: usize,
    /// How many have been told since it was told how far they reach.
    since: usize,
    /// The place of the last of them.
    last: Lsn,
    /// Rows that have come and were not told.
    rest: Option<RecordBatch>,
}

impl Log {
    async fn next(&mut self) -> Result<Option<Captured>> {
        let rows = match self.rest.take() {
            Some(rest) => rest,
            None => match self.rows.try_next().await? {
                Some(rows) => rows,
                None => return Ok(None),
            },
        };
        let places = rows.column(0).as_binary::<i32>();
        let ended = |row: &usize| {
            let before = row
                .checked_sub(1)
                .map_or(self.last.0.as_slice(), |before| places.value(before));
            self.since + row >= self.part && places.value(*row) != before
        };
        let told = match (0..rows.num_rows()).find(ended) {
            Some(0) => {
                self.since = 0;
                self.rest = Some(rows);
                return Ok(Some(Captured::Upto(self.last)));
            }
            Some(row) => {
                self.rest = Some(rows.slice(row, rows.num_rows() - row));
                rows.slice(0, row)
            }
            None => rows.clone(),
        };
        self.since += told.num_rows();
        let last = places.value(told.num_rows() - 1).try_into();
        self.last = Lsn(last.map_err(|_| Error::internal("a place in the log has not ten bytes"))?);
        captured(&self.table, &self.schema, &told).map(Some)
    }
}

/// The condition that an update changed the key: its bits of `__$update_mask`, whose last byte has the first eight columns, the least bit the
/// first of them.
fn moved(plan: &TablePlan, schema: &TableSchema, instance: &CaptureInstance) -> String {
    let key = schema.key_names().into_iter();
    let places = key.filter_map(|name| Some(instance.captured(plan.table.column(name)?)?.0));
    let changed = places.map(|place| {
        let (byte, bit) = (place / 8, 1 << (place % 8));
        format!(" OR SUBSTRING([__$update_mask], DATALENGTH([__$update_mask]) - {byte}, 1) & {bit} <> 0")
    });
    changed.collect()
}

fn captured(table: &TableName, schema: &Arc<TableSchema>, rows: &RecordBatch) -> Result<Captured> {
    let operations = rows.column(1).as_primitive::<Int32Type>();
    let images = &rows.columns()[2..];
    if operations.values().contains(&BEFORE_UPDATE) {
        return Ok(Captured::Unclear);
    }
    let fields = schema.arrow().fields().iter();
    let needed = fields.zip(images).filter(|(field, _)| !field.is_nullable());
    for (_, column) in needed.filter(|(_, column)| column.null_count() > 0) {
        let mut rows = operations.values().iter().enumerate();
        if rows.any(|(row, operation)| column.is_null(row) && *operation != DELETED) {
            return Ok(Captured::Unclear);
        }
    }
    let ops = operations.values().iter().map(|operation| match *operation {
        DELETED => Op::Delete as i8,
        _ => Op::Upsert as i8,
    });
    let ops = Int8Array::from_iter_values(ops);
    let shape = match ops.values().contains(&(Op::Delete as i8)) {
        true => schema.relaxed(),
        false => schema.arrow().clone(),
    };
    let images = RecordBatch::try_new(shape, images.to_vec())
        .map_err(|e| Error::internal("rows that were captured do not fit their schema").caused_by(e))?;
    let batch = ChangeBatch::new(table.clone(), schema.clone(), images, ops, Presence::Unknown)?;
    Ok(Captured::Changes(batch))
}
