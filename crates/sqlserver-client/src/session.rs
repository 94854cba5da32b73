//! The settings of a session, in one place, and the proof that the server took them.

use model::{Error, ErrorKind, Result};

use crate::{ConnectOptions, Connection};

/// `TEXTSIZE` below the maximum cuts MAX values in silence; a wrong ANSI setting changes comparisons; without `XACT_ABORT` a
/// failed statement leaves its transaction open.
const SETTINGS: &str = "\
SET ANSI_NULLS ON; SET ANSI_PADDING ON; SET ANSI_WARNINGS ON; SET ARITHABORT ON; \
SET CONCAT_NULL_YIELDS_NULL ON; SET QUOTED_IDENTIFIER ON; SET NUMERIC_ROUNDABORT OFF; \
SET IMPLICIT_TRANSACTIONS OFF; SET NOCOUNT OFF; SET XACT_ABORT ON; \
SET TEXTSIZE 2147483647; SET ROWCOUNT 0; SET DEADLOCK_PRIORITY LOW; \
SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCK_TIMEOUT ";

const READ_BACK: &str =
    "SELECT @@OPTIONS AS options, @@TEXTSIZE AS text_size, @@LOCK_TIMEOUT AS lock_timeout";

/// Bits of `@@OPTIONS` that must be set: ANSI_WARNINGS, ANSI_PADDING, ANSI_NULLS, ARITHABORT, QUOTED_IDENTIFIER,
/// CONCAT_NULL_YIELDS_NULL, XACT_ABORT.
const ON: i64 = 8 | 16 | 32 | 64 | 256 | 4096 | 16384;
/// Bits that must not: IMPLICIT_TRANSACTIONS, NOCOUNT, NUMERIC_ROUNDABORT.
const OFF: i64 = 2 | 512 | 8192;

pub(crate) async fn set_up(connection: &mut Connection, options: &ConnectOptions) -> Result<()> {
    let lock_timeout = match options.lock_timeout_seconds {
        0 => -1,
        seconds => i64::from(seconds) * 1000,
    };
    connection
        .execute(&format!("{SETTINGS}{lock_timeout};"), &[])
        .await?;
    let rows = connection.query(READ_BACK, &[]).await?;
    let row = rows.one()?;
    let bits = row.need_i64("options")?;
    check(bits & ON == ON && bits & OFF == 0, format!("@@OPTIONS is {bits}"))?;
    let text_size = row.need_i64("text_size")?;
    check(
        text_size == i64::from(i32::MAX) || text_size == -1,
        format!("@@TEXTSIZE is {text_size}"),
    )?;
    let applied = row.need_i64("lock_timeout")?;
    check(
        applied == lock_timeout,
        format!("@@LOCK_TIMEOUT is {applied}, not {lock_timeout}"),
    )
}

fn check(holds: bool, what: String) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("the server did not take the session settings: {what}; values could be altered in silence"),
    ))
}
