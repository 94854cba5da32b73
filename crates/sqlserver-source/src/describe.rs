//! What an operator should know of a table before it is synchronised.

use cdc::Writers;
use model::{Description, ErrorKind, Finding, Result, Severity};
use sqlserver_client::{ColumnInfo, Connection, Permission, quote};

use crate::clock::{ColumnClock, ServerClock};
use crate::cut::writers_of;
use crate::options::{DeleteOptions, HardDeletes, Late, Mode};
use crate::plan::TablePlan;
use crate::tracker::Tracker;
use crate::trigger_objects::{self, Objects};
use crate::{change_data_capture, deletes, moment};

/// `SERVERPROPERTY('EngineEdition')` of Azure SQL Database, where a right in the database stands for the server's.
const AZURE_SQL_DATABASE: i64 = 5;

/// Describes a table.
pub(crate) async fn describe(connection: &mut Connection, plan: &TablePlan) -> Result<Description> {
    let mut findings = plan.tracked.findings.clone();
    findings.extend(readable(connection, plan).await?);
    findings.extend(complete(connection, plan).await?);
    if plan.tracked.tracker == Tracker::Cdc && plan.database.cdc {
        findings.extend(change_data_capture::uncaptured(plan));
    }
    let install = (plan.tracked.tracker == Tracker::Trigger).then_some(plan.options.trigger.install);
    findings.extend(trigger_objects::findings(connection, &plan.table, &plan.schema, install).await?);
    findings.extend(unread_times(plan));
    findings.extend(dead_letters(plan));
    findings.extend(shape(plan));
    findings.extend(deletes::findings(plan));
    findings.extend(moment::missing(plan));
    if plan.read_columns().any(|column| column.masked) && !sees_masked(connection).await? {
        findings.push(masked(plan));
    }
    Ok(Description {
        schema: plan.schema.clone(),
        approximate_rows: plan.table.approximate_rows,
        tracking: plan.tracked.tracking(),
        keeps_deleted: plan.options.deletes.hard == HardDeletes::Ignore,
        findings,
    })
}

/// Whether rows can be read at all: the right, every column, and the configured filter.
async fn readable(connection: &mut Connection, plan: &TablePlan) -> Result<Option<Finding>> {
    let list = plan.table.select_list(&plan.schema)?;
    let probe = format!(
        "SELECT TOP (0) {list} FROM {} AS t{}",
        plan.from(),
        plan.filtered(&[])
    );
    let probed = match connection.query(&probe, &[]).await {
        Ok(_) => match deletes::probe(plan) {
            Some(probe) => connection.query(&probe, &[]).await,
            None => return Ok(None),
        },
        refused => refused,
    };
    match probed {
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::Transient | ErrorKind::Unavailable) => Err(error),
        Err(error) => {
            let filter = plan.options.filter.as_ref().map(|_| "`capture.where`");
            let deletes = (plan.options.deletes != DeleteOptions::default()).then_some("`capture.deletes`");
            let configured: Vec<_> = filter.into_iter().chain(deletes).collect();
            let configured = configured.join(" and ");
            let with = match configured.is_empty() {
                true => String::new(),
                false => format!(" with {configured}"),
            };
            // The table and its columns come from the catalog, so what the server does not know is not theirs.
            let remedy = match error.kind() {
                ErrorKind::NotFound if !configured.is_empty() => format!("correct {configured}"),
                _ => error.advice().to_owned(),
            };
            Ok(Some(Finding {
                severity: Severity::Error,
                message: format!("rows cannot be read{with}: {error}"),
                remedy: Some(remedy),
            }))
        }
    }
}

/// What is told by the times of rows has no effect where these are not read.
fn unread_times(plan: &TablePlan) -> Vec<Finding> {
    let Tracker::Timestamp { column, .. } = &plan.tracked.tracker else {
        return Vec::new();
    };
    let mut names = column.names();
    let Some(unread) = names.find(|name| plan.schema.arrow().index_of(name).is_err()) else {
        return Vec::new();
    };
    let window = &plan.options.window;
    let declared = [
        (!window.dead_letters().is_empty(), Severity::Error, "dead_letter"),
        (window.late == Late::Fail, Severity::Error, "late: fail"),
        (
            window.tolerance_max_seconds.is_some(),
            Severity::Warning,
            "tolerance_max_seconds",
        ),
    ];
    let findings = declared.into_iter().filter(|(declared, ..)| *declared);
    findings
        .map(|(_, severity, what)| Finding {
            severity,
            message: format!(
                "`window` names `{what}`, which is told by the column {unread}, and that is not read"
            ),
            remedy: Some("read the column, or leave this out".into()),
        })
        .collect()
}

/// A dead letter tells more than the row, in columns of its own.
fn dead_letters(plan: &TablePlan) -> Option<Finding> {
    let mut names = plan.schema.arrow().fields().iter().map(|field| field.name());
    let taken = names.find(|name| name.to_lowercase().starts_with("dead_letter_"))?;
    (!plan.options.window.dead_letters().is_empty()).then(|| Finding {
        severity: Severity::Error,
        message: format!(
            "`window` names `dead_letter`, and such letters have columns like {taken:?} of their own"
        ),
        remedy: Some(format!(
            "capture: {{ columns: {{ exclude: [{taken}] }} }}   # or choose another policy"
        )),
    })
}

/// The least that reading a table in this way needs.
pub(crate) fn least_rights(plan: &TablePlan) -> Result<Vec<Permission>> {
    let table = || plan.table.name.clone();
    let mut rights = vec![Permission::Select(table())];
    match plan.tracked.tracker {
        Tracker::Timestamp { .. } | Tracker::Polling { .. } | Tracker::Id(_)
            if plan.database.engine_edition == AZURE_SQL_DATABASE =>
        {
            rights.push(Permission::ViewDatabaseState);
        }
        Tracker::Timestamp { .. } | Tracker::Polling { .. } | Tracker::Id(_) => {
            rights.push(Permission::ViewServerState)
        }
        Tracker::ChangeTracking => rights.push(Permission::ViewChangeTracking(table())),
        Tracker::Cdc => rights.push(Permission::RowsOfSchema("SELECT", "cdc".into())),
        Tracker::Trigger => {
            let objects = Objects::of(&plan.table, &plan.schema)?;
            rights.extend(objects.rights(plan.options.trigger.install));
        }
        Tracker::RowVersion(_) | Tracker::Full => {}
    }
    Ok(rights)
}

/// Whether increments are known or assumed to be complete.
async fn complete(connection: &mut Connection, plan: &TablePlan) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if matches!(
        plan.tracked.tracker,
        Tracker::Timestamp { .. } | Tracker::Polling { .. } | Tracker::Id(_)
    ) && let Writers::Unseen { why } = writers_of(connection, plan, None).await?
    {
        let lag = plan.options.window.lag_seconds;
        let grant = why
            .find("GRANT")
            .or(why.find("USE master"))
            .map(|at| why[at..].to_owned());
        findings.push(Finding {
            severity: Severity::Warning,
            message: format!(
                "that an increment is complete is assumed, not known: no transaction may stay open for more than {lag} s ({why})"
            ),
            remedy: grant,
        });
    }
    if let Tracker::Timestamp { column, clock } | Tracker::Polling { column, clock, .. } =
        &plan.tracked.tracker
        && matches!(clock, ColumnClock::Zoned { .. })
    {
        let server = ServerClock::ask(connection).await?;
        findings.extend(clock.next_change(&column.name, &server));
        findings.extend(clock.contradicted(&server).map(|message| {
            Finding {
                severity: Severity::Error,
                message,
                remedy: Some(
                    "capture: { tracking: { column: …, clock: local, zone: <the server's> } }   # or leave out the zone"
                        .into(),
                ),
            }
        }));
    }
    if matches!(plan.tracked.tracker, Tracker::RowVersion(_) | Tracker::Trigger) && !plan.database.writable {
        findings.push(Finding {
            severity: Severity::Error,
            message: "the database is read-only here: which rowversions are still to be committed can be asked of the primary only"
                .into(),
            remedy: Some("connect to the primary, or track by another column".into()),
        });
    }
    if !plan.database.incarnation_is_exact {
        findings.push(Finding {
            severity: Severity::Note,
            message: "a restored database is recognised by the date of its creation only, because \
                      sys.database_recovery_status cannot be read"
                .into(),
            remedy: Some(
                "USE master; GRANT VIEW ANY DATABASE TO [<login>]; -- not in Azure SQL Database".into(),
            ),
        });
    }
    Ok(findings)
}

fn shape(plan: &TablePlan) -> Vec<Finding> {
    let (table, database) = (&plan.table, &plan.database);
    let mut findings = Vec::new();
    let mut find = |severity, message: String, remedy: Option<String>| {
        findings.push(Finding {
            severity,
            message,
            remedy,
        });
    };
    for column in plan.read_columns().filter(|column| column.encrypted) {
        find(
            Severity::Error,
            format!(
                "column {} is under Always Encrypted, and only its ciphertext could be read",
                column.name
            ),
            Some(format!(
                "capture: {{ columns: {{ exclude: [{}] }} }}",
                column.name
            )),
        );
    }
    if table.row_level_security {
        find(
            Severity::Warning,
            "a security policy may hide rows from the login; hidden rows count as absent".into(),
            Some("exempt the login in the policy's predicate".into()),
        );
    }
    if !plan.schema.has_key() && plan.options.mode == Mode::Full {
        find(
            Severity::Note,
            "the table has no key, and is replaced whole by each run".into(),
            None,
        );
    } else if !plan.schema.has_key() {
        find(
            Severity::Warning,
            "the table has no key: the first run copies it, a later one can only replace it whole".into(),
            Some("capture: { key: [<columns that tell its rows apart>] }   # or give it a primary key, or a unique index on columns that are NOT NULL".into()),
        );
    }
    let reads_whole = !plan.schema.has_key() || plan.tracked.tracker == Tracker::Full;
    if !database.snapshot_isolation && !database.read_committed_snapshot {
        let severity = if reads_whole {
            Severity::Warning
        } else {
            Severity::Note
        };
        let database = quote::identifier(&database.name);
        find(
            severity,
            "reading takes locks, waits for writers, and may miss a row that moves meanwhile".into(),
            Some(format!(
                "ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION ON;"
            )),
        );
    }
    if plan.options.filter.is_some() && !plan.tracked.tracker.names_keys() {
        find(
            Severity::Note,
            "rows that stop meeting `where` stay in the target until `sync-cli run --full`".into(),
            None,
        );
    }
    findings
}

async fn sees_masked(connection: &mut Connection) -> Result<bool> {
    let sql = "SELECT HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'UNMASK') AS unmask";
    connection.query(sql, &[]).await?.one()?.flag("unmask")
}

fn masked(plan: &TablePlan) -> Finding {
    let masked = plan.read_columns().filter(|column| column.masked);
    let names: Vec<_> = masked.map(|column: &ColumnInfo| column.name.as_str()).collect();
    Finding {
        severity: Severity::Error,
        message: format!(
            "values of {} would be read masked, and written so",
            names.join(", ")
        ),
        remedy: Some("GRANT UNMASK TO [<user>]; -- or exclude the columns".into()),
    }
}
