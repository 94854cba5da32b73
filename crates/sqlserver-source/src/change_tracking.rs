//! Increments by Change Tracking: the net effect per key since a version, deletes among it.
//!
//! Versions are given out when a transaction commits, so nothing that is open can appear below the current one. The cut asks for
//! the current version first and for the least valid one after it; the least valid one is asked for again after the last row,
//! because the server forgets while it is read.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{StreamExt, once};
use model::{Cut, Error, ErrorKind, Finding, Position, Presence, Result, Severity, SourceEvent, TableSchema};
use sqlserver_client::{ChangeTrackingInfo, Connection, Param, Permission, SqlType, TableInfo, quote};

use crate::changes::Changes;
use crate::clock::ServerClock;
use crate::key_feed::KeyFeed;
use crate::plan::TablePlan;
use crate::pool::Pool;
use crate::position::{ChangeTrackingPosition, Kind};
use crate::tracker::Seen;

/// Takes the cut: the version of the last transaction that has committed.
pub(crate) async fn cut(
    connection: &mut Connection,
    plan: &TablePlan,
    after: Option<&Position>,
) -> Result<Cut> {
    let after = match after {
        None => None,
        Some(after) => match plan.lost(after, ChangeTrackingPosition::NAME) {
            Some(why) => return Ok(plan.gap(why)),
            None => Some(ChangeTrackingPosition::read(after)?),
        },
    };
    let version = match plan.held_at {
        Some(version) => Some(version),
        None => current_version(connection).await?,
    };
    let now = ServerClock::ask(connection).await?.utc;
    let info = connection.change_tracking(&plan.table).await?;
    let (Some(version), Some(info)) = (version, info) else {
        return Err(off(plan));
    };
    let Some(least_valid) = info.least_valid else {
        return Err(off(plan));
    };
    let upto = ChangeTrackingPosition {
        version,
        began: info.began,
        now,
    };
    let mut warning = None;
    if let Some(after) = after {
        if let Some(why) = forgotten(&after, &upto, least_valid) {
            return Ok(plan.gap(why));
        }
        let age = now.since(after.now);
        warning = info
            .retention
            .and_then(|retention| close_call(age, retention, "raise CHANGE_RETENTION"));
    }
    Ok(Cut::Complete {
        upto: upto.position(&plan.incarnation().to_string())?,
        holding: None,
        assumed: None,
        warning,
        keeps: info.retention,
    })
}

/// The version of the last transaction that has committed; `None` where nothing is tracked.
pub(crate) async fn current_version(connection: &mut Connection) -> Result<Option<i64>> {
    let sql = "SELECT CHANGE_TRACKING_CURRENT_VERSION() AS version";
    connection.query(sql, &[]).await?.one()?.i64("version")
}

fn off(plan: &TablePlan) -> Error {
    Error::new(
        ErrorKind::Denied,
        "the server tells no version: Change Tracking is off for the table, or the login may not see it",
    )
    .with("table", &plan.table.name)
}

/// Why the changes after `after` are not all kept any more.
fn forgotten(
    after: &ChangeTrackingPosition,
    now: &ChangeTrackingPosition,
    least_valid: i64,
) -> Option<String> {
    if after.version > now.version {
        Some(format!(
            "the database is at version {}, behind version {} of the last run: it has been restored",
            now.version, after.version
        ))
    } else if after.began != now.began {
        // The least valid version alone does not tell: where nothing else is tracked, no version passes meanwhile.
        Some(format!(
            "since the last run the table has been truncated, or its Change Tracking switched off and on again: it begins at \
             version {}, and not at {} as before",
            now.began, after.began
        ))
    } else if after.version < least_valid {
        Some(format!(
            "the server has forgotten changes up to version {least_valid}, and the last run, {} ago, ended at version {}",
            hours(now.now.since(after.now)),
            after.version
        ))
    } else {
        None
    }
}

/// Warns when a run came after more than half of the time that the server keeps changes for.
pub(crate) fn close_call(age: Duration, retention: Duration, more: &str) -> Option<String> {
    (age > retention / 2).then(|| {
        format!(
            "the server keeps changes for {}, and the table is {} behind: run more often, or {more}",
            hours(retention),
            hours(age)
        )
    })
}

fn hours(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min"),
        _ => format!("{} h", minutes / 60),
    }
}

/// Reads the changes above `after`, whatever has changed since `upto` among them.
pub(crate) async fn changes(
    pool: &Arc<Pool>,
    plan: &Arc<TablePlan>,
    schema: &Arc<TableSchema>,
    after: &Position,
    upto: &Position,
) -> Result<Changes> {
    let version = ChangeTrackingPosition::read(after)?.version;
    let feed = KeyFeed {
        with: String::new(),
        keys: format!("CHANGETABLE(CHANGES {}, @after)", plan.from()),
        params: vec![Param::typed("after", version, SqlType::BigInt)],
        presence: Presence::Unknown,
    };
    let events = feed.events(pool, plan, schema).await?;
    Ok(events
        .chain(once(end(pool.clone(), plan.clone(), version, upto.clone())))
        .boxed())
}

/// The boundary, if the server still keeps everything that was to be read.
async fn end(pool: Arc<Pool>, plan: Arc<TablePlan>, version: i64, upto: Position) -> Result<SourceEvent> {
    let mut connection = pool.take().await?;
    let info = connection.change_tracking(&plan.table).await?;
    pool.put(connection);
    match info.and_then(|info| info.least_valid) {
        Some(least_valid) if version >= least_valid => Ok(SourceEvent::Boundary { at: upto }),
        _ => Err(Error::new(
            ErrorKind::Gap,
            format!("while changes after version {version} were read, the server forgot some of them"),
        )
        .with("table", &plan.table.name)),
    }
}

/// What is missing before a table can be followed by Change Tracking, with the T-SQL that mends it.
pub(crate) fn missing(seen: &Seen<'_>) -> Option<Finding> {
    let refused = |message: &str, remedy: String| {
        Some(Finding {
            severity: Severity::Error,
            message: message.to_owned(),
            remedy: Some(remedy),
        })
    };
    if !seen.database.writable {
        return refused(
            "the database is read-only here, and Change Tracking can be asked of the primary only",
            "connect to the primary".to_owned(),
        );
    }
    if !(seen.schema.has_key() && seen.table.key().is_some_and(|key| key.primary_key)) {
        return refused(
            "Change Tracking goes by the primary key, and the rows of this table are not told apart by one",
            "give the table a primary key whose types are exact, and do not exclude its columns".to_owned(),
        );
    }
    match seen.change_tracking {
        None => refused("Change Tracking is off for the table", enable(seen)),
        Some(ChangeTrackingInfo {
            least_valid: None, ..
        }) => refused(
            "the login may not see the table's Change Tracking",
            grant(seen.table),
        ),
        Some(_) => None,
    }
}

/// The T-SQL that switches it on.
pub(crate) fn enable(seen: &Seen<'_>) -> String {
    let mut sql = String::new();
    if !seen.database.change_tracking {
        let database = quote::identifier(&seen.database.name);
        sql += &format!(
            "ALTER DATABASE {database} SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON);\n"
        );
    }
    let table = quote::table(&seen.table.name);
    sql + &format!(
        "ALTER TABLE {table} ENABLE CHANGE_TRACKING;\n{}",
        grant(seen.table)
    )
}

fn grant(table: &TableInfo) -> String {
    Permission::ViewChangeTracking(table.name.clone()).grant() + ";"
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdc::Ticks;

    #[test]
    fn what_is_forgotten_is_told_apart() {
        let at = |version, began, hours: u64| ChangeTrackingPosition {
            version,
            began,
            now: Ticks(0).after(Duration::from_secs(hours * 3_600)),
        };
        for (after, now, least_valid, why) in [
            (at(5, 0, 0), at(5, 0, 1), 5, None),
            (at(5, 0, 0), at(9, 0, 1), 0, None),
            (
                at(5, 0, 0),
                at(9, 0, 72),
                6,
                Some("forgotten changes up to version 6, and the last run, 72 h ago"),
            ),
            (at(5, 0, 0), at(9, 7, 1), 7, Some("truncated")),
            (at(5, 0, 0), at(5, 5, 1), 5, Some("switched off")),
            (at(5, 0, 0), at(4, 0, 1), 0, Some("restored")),
        ] {
            let found = forgotten(&after, &now, least_valid);
            match (why, &found) {
                (None, None) => {}
                (Some(why), Some(found)) if found.contains(why) => {}
                _ => panic!("{after:?} {now:?} {least_valid}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_run_that_nearly_came_too_late_is_warned_of() {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        for (age, retention, warned) in [(hours(38), hours(41), true), (hours(20), hours(41), false)] {
            assert_eq!(
                close_call(age, retention, "wait").is_some(),
                warned,
                "{age:?} {retention:?}"
            );
        }
        let text = close_call(hours(38), hours(41), "wait").unwrap();
        assert!(
            text.contains("for 41 h") && text.contains("38 h behind"),
            "{text}"
        );
    }
}
