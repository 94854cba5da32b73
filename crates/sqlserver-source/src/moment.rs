//! Several tables as of one moment: a transaction that sees what had been committed when it began, and in which all of them are read.
//!
//! Change Tracking says what has changed in the same transaction, so that of a transaction that wrote several of the tables either all is told
//! or nothing. The version is asked for before the transaction begins: everything up to it is then seen, and what came between the two is told
//! once more by the next increment. No other way in which SQL Server tells of changes names all that the transaction sees: Change Data Capture
//! follows the log some seconds behind it, and columns do not tell of deletes.

use model::{Error, ErrorKind, Finding, Result, Severity};
use sqlserver_client::{Connection, Isolation, quote};

use crate::change_tracking;
use crate::clock::ServerClock;
use crate::options::Transactions;
use crate::plan::TablePlan;
use crate::tracker::Tracker;

/// Begins the transaction. Returns the moment's name, and the version that had been reached.
pub(crate) async fn begin(connection: &mut Connection) -> Result<(String, i64)> {
    let now = ServerClock::ask(connection).await?.utc;
    let version = change_tracking::current_version(connection).await?;
    let Some(version) = version else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "tables are read as of one moment by Change Tracking, which is off in the database",
        )
        .hint("`sync-cli check` prints the T-SQL that switches it on; or set `capture: { transactions: apart }`"));
    };
    connection.begin(Isolation::Snapshot).await?;
    Ok((format!("{now} version {version}"), version))
}

/// What is missing before the table can be read as of one moment together with others, if it is to be.
pub(crate) fn missing(plan: &TablePlan) -> Vec<Finding> {
    if plan.options.transactions == Transactions::Apart {
        return Vec::new();
    }
    let refused = |message: &str, remedy: String| Finding {
        severity: Severity::Error,
        message: message.to_owned(),
        remedy: Some(remedy),
    };
    let mut findings = Vec::new();
    if plan.tracked.tracker != Tracker::ChangeTracking {
        findings.push(refused(
            "transactions are kept whole by Change Tracking only, and the table is followed in another way",
            "capture: { mode: change_tracking }   # or { transactions: apart }".to_owned(),
        ));
    }
    if !plan.database.snapshot_isolation {
        let database = quote::identifier(&plan.database.name);
        findings.push(refused(
            "transactions are kept whole by reading all tables in one SNAPSHOT transaction, which the database does not allow",
            format!("ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION ON;"),
        ));
    }
    findings
}
