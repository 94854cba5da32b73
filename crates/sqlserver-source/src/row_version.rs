//! Increments by a column of type `rowversion`: the least version that an open transaction holds is asked for first, rows are read
//! afterwards.
//!
//! The server draws versions from one counter of the database while a transaction writes, so they are committed out of order.
//! `MIN_ACTIVE_ROWVERSION()` is the least one that can still appear; `@@DBTS` and the greatest version in the table are not.
//! What changes while rows are read gets a version at or above that bound, and belongs to the next increment.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use cdc::Writers;
use model::{Cut, Error, Holder, Result};
use sqlserver_client::{Connection, Param, SqlType, Value};

use crate::cut::{self, LOOK_AGAIN, Settle, writers};
use crate::plan::TablePlan;
use crate::position::{Kind, RowVersionPosition};
use crate::tracker::TrackingColumn;

/// Takes the cut: everything below the least version that is still to be committed.
pub(crate) async fn cut(
    connection: &mut Connection,
    plan: &TablePlan,
    column: &TrackingColumn,
    after: Option<RowVersionPosition>,
    settle: Settle,
) -> Result<Cut> {
    let (next, holding) = complete_below(connection, plan, settle).await?;
    if let Some(after) = after.filter(|after| after.next > next) {
        return Ok(plan.gap(behind(next, after.next)));
    }
    let column = column.name.clone();
    Ok(Cut::Complete {
        upto: RowVersionPosition { column, next }.position(&plan.incarnation().to_string())?,
        holding,
        assumed: None,
        warning: None,
        keeps: None,
    })
}

/// That the counter is at `next`, and was at `before` already.
pub(crate) fn behind(next: u64, before: u64) -> String {
    format!(
        "the database's counter of rowversions is at 0x{next:016X}, behind 0x{before:016X} of the last run: it has been restored"
    )
}

/// The least version that is still to be committed, and who holds it.
pub(crate) async fn complete_below(
    connection: &mut Connection,
    plan: &TablePlan,
    settle: Settle,
) -> Result<(u64, Option<Holder>)> {
    let mut began = None;
    loop {
        let counter = Counter::ask(connection).await?;
        let goal = *began.get_or_insert(counter.last);
        if counter.least_open > goal {
            return Ok((counter.least_open, None));
        }
        let holder = holder(connection, plan).await?;
        if !settle.again(LOOK_AGAIN, true).await {
            return Ok((counter.least_open, Some(holder)));
        }
    }
}

/// The database's counter.
struct Counter {
    /// The least version that an open transaction holds; the next one if none does.
    least_open: u64,
    /// The last one that was used, committed or not.
    last: u64,
}

impl Counter {
    async fn ask(connection: &mut Connection) -> Result<Self> {
        const COUNTER: &str = "SELECT CONVERT(bigint, MIN_ACTIVE_ROWVERSION()) AS least_open, \
            CONVERT(bigint, @@DBTS) AS last_used";
        let rows = connection.query(COUNTER, &[]).await?;
        let row = rows.one()?;
        Ok(Self {
            least_open: row.need_i64("least_open")?.cast_unsigned(),
            last: row.need_i64("last_used")?.cast_unsigned(),
        })
    }
}

/// Who has been writing longest.
async fn holder(connection: &mut Connection, plan: &TablePlan) -> Result<Holder> {
    let unseen = |who| Holder { who, age: None };
    Ok(match writers(connection, plan, None).await? {
        Writers::Known(Some(oldest)) => cut::holder(oldest),
        Writers::Known(None) => unseen("a transaction that has ended meanwhile".to_owned()),
        Writers::Unseen { why } => unseen(format!("an open transaction ({why})")),
    })
}

/// A version as the server compares it: eight bytes, the greatest one first.
pub(crate) fn param(name: &str, version: u64) -> Param {
    let bytes = Value::Bytes(version.to_be_bytes().to_vec());
    Param::typed(name, bytes, SqlType::Binary { length: 8 })
}

/// The greatest version of a column as it arrives.
pub(crate) fn greatest(column: &ArrayRef) -> Result<Option<u64>> {
    let column = column
        .as_binary_opt::<i32>()
        .ok_or_else(|| Error::internal(format!("the rowversions arrived as {}", column.data_type())))?;
    let mut greatest = None;
    for bytes in column.iter().flatten() {
        let bytes: [u8; 8] = bytes
            .try_into()
            .map_err(|_| Error::internal(format!("a rowversion arrived with {} bytes", bytes.len())))?;
        greatest = greatest.max(Some(u64::from_be_bytes(bytes)));
    }
    Ok(greatest)
}
