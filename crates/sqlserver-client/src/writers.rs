//! Who else may be writing: the oldest transaction or statement of another session in this database.

use std::fmt;
use std::time::Duration;

use model::{ErrorKind, Result};

use crate::{Connection, Param, Row, SqlType, Value, quote};

/// The session that has been at it longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldestWork {
    /// How long its transaction or its statement has been open; `None` if it seems to have begun later than now, because the server's
    /// clock has gone back.
    pub age: Option<Duration>,
    /// Its session id.
    pub session: i64,
    /// Whether it is a transaction; else it is a statement outside of one.
    pub transaction: bool,
    /// Its login.
    pub login: String,
    /// The machine that it comes from.
    pub host: Option<String>,
    /// The program's name.
    pub program: Option<String>,
}

/// Local time that has gone back, as it does in autumn.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalFall {
    /// The `datetime2` before which work may have begun by the old time.
    pub until: Value,
    /// How far it has gone back.
    pub by: Duration,
}

/// What can be seen of others' work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenWork {
    /// All of it; `None` if there is none.
    Seen(Option<OldestWork>),
    /// The login may not see other sessions.
    Hidden {
        /// The T-SQL that lets it.
        grant: String,
    },
}

const RIGHTS: &str = "\
SELECT CAST(SERVERPROPERTY(N'EngineEdition') AS int) AS engine_edition,
       SUSER_SNAME() AS login_name, USER_NAME() AS user_name,
       HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW SERVER STATE') AS server_state,
       HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW SERVER PERFORMANCE STATE') AS server_performance,
       HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DATABASE STATE') AS database_state";

/// Ages are differences on the server's local clock, which the views use; what may have begun before that clock fell is older by the
/// fall. What has begun while the views were read seems to be ahead of now by a little; more than a second is a clock that has gone
/// back unseen. A transaction that has logged nothing counts: it may
/// hold a time already. Sessions of the same pool only read, and do not count; nothing but the program's name tells them from a writer of
/// the same machine, because the driver sends no process id.
const OLDEST: &str = "\
SELECT TOP (1) w.age_ms, CASE WHEN w.age_ms < -1000 THEN 1 ELSE 0 END AS seems_ahead, w.in_transaction,
       s.session_id, s.login_name, s.host_name, s.program_name
FROM (
    SELECT b.session_id, b.in_transaction, b.database_id,
           DATEDIFF_BIG(millisecond, b.began, SYSDATETIME())
           + CASE WHEN b.began < @fall_until THEN @fall_ms ELSE 0 END AS age_ms
    FROM (
        SELECT st.session_id, 1 AS in_transaction, 0 AS database_id, t.transaction_begin_time AS began
        FROM sys.dm_tran_session_transactions AS st
        JOIN sys.dm_tran_active_transactions AS t ON t.transaction_id = st.transaction_id
        UNION ALL
        SELECT r.session_id, 0, r.database_id, r.start_time
        FROM sys.dm_exec_requests AS r
    ) AS b
) AS w
JOIN sys.dm_exec_sessions AS s ON s.session_id = w.session_id
WHERE s.is_user_process = 1 AND s.session_id <> @@SPID
  AND (s.database_id = DB_ID() OR w.database_id = DB_ID() OR EXISTS (
        SELECT 1 FROM sys.dm_tran_session_transactions AS x
        JOIN sys.dm_tran_database_transactions AS d ON d.transaction_id = x.transaction_id
        WHERE x.session_id = s.session_id AND d.database_id = DB_ID()))
  AND NOT EXISTS (
        SELECT 1 FROM sys.dm_exec_sessions AS me
        WHERE me.session_id = @@SPID AND me.program_name = s.program_name)
ORDER BY seems_ahead DESC, w.age_ms DESC";

/// Azure SQL Database, where the views show one database and need a right in it.
const AZURE_SQL_DATABASE: i64 = 5;

impl Connection {
    /// Looks for the oldest transaction or statement that may write this database. Sessions with this one's program name are passed
    /// over, so it must be a pool's own: see [`ConnectOptions::for_one_pool`](crate::ConnectOptions::for_one_pool). Says nothing about
    /// other replicas: on a readable secondary the writers are elsewhere. `fall` is the last time that the server's local time went
    /// back, if that is known.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn oldest_work(&mut self, fall: Option<LocalFall>) -> Result<OpenWork> {
        let rights = self.query(RIGHTS, &[]).await?;
        let row = rights.one()?;
        let (allowed, grant) = if row.need_i64("engine_edition")? == AZURE_SQL_DATABASE {
            let user = quote::identifier(row.text("user_name")?.unwrap_or("user"));
            (
                row.flag("database_state")?,
                format!("GRANT VIEW DATABASE STATE TO {user};"),
            )
        } else {
            let login = quote::identifier(row.text("login_name")?.unwrap_or("login"));
            let allowed = row.flag("server_state")? || row.flag("server_performance")?;
            (
                allowed,
                format!("USE master; GRANT VIEW SERVER STATE TO {login};"),
            )
        };
        if !allowed {
            return Ok(OpenWork::Hidden { grant });
        }
        match self.query(OLDEST, &fall_params(fall)).await {
            Ok(rows) => Ok(OpenWork::Seen(rows.first().map(oldest).transpose()?)),
            // Small Azure tiers want more than the right that they report.
            Err(error) if error.kind() == ErrorKind::Denied => Ok(OpenWork::Hidden { grant }),
            Err(error) => Err(error),
        }
    }
}

fn fall_params(fall: Option<LocalFall>) -> [Param; 2] {
    let (until, by) = fall.map_or((Value::Null, Duration::ZERO), |fall| (fall.until, fall.by));
    [
        Param::typed("fall_until", until, SqlType::DateTime2 { scale: 7 }),
        Param::new("fall_ms", i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
    ]
}

fn oldest(row: Row<'_>) -> Result<OldestWork> {
    let owned = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let age = Duration::from_millis(u64::try_from(row.need_i64("age_ms")?).unwrap_or(0));
    Ok(OldestWork {
        age: (!row.flag("seems_ahead")?).then_some(age),
        session: row.need_i64("session_id")?,
        transaction: row.flag("in_transaction")?,
        login: row.text("login_name")?.unwrap_or_default().to_owned(),
        host: owned(row.text("host_name")?),
        program: owned(row.text("program_name")?),
    })
}

impl fmt::Display for OldestWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.transaction {
            "a transaction"
        } else {
            "a statement"
        };
        write!(f, "session {} of login {}", self.session, self.login)?;
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        if let Some(program) = &self.program {
            write!(f, " ({program})")?;
        }
        match self.age {
            Some(age) => write!(f, " has had {what} open for {:.1} s", age.as_secs_f64()),
            None => write!(
                f,
                " has had {what} open since before the server's clock went back"
            ),
        }
    }
}
