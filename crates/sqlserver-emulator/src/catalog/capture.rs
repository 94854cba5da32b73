//! What CDC shows of itself: `cdc.change_tables` and its kin, `msdb.dbo.cdc_jobs`, the dynamic views, the procedures that list.

use super::{Kind, View, Viewer, bit, datetime, int, text};
use crate::engine::AZURE_SQL_DATABASE;
use crate::error::{SqlError, SqlResult};
use crate::store::{CaptureInstance, CaptureJobs, Capturing, Database, Table};
use crate::value::Value;

/// A view of the schema `cdc`.
pub(super) fn view(viewer: &Viewer<'_>, name: &str) -> Option<View> {
    let capturing = viewer.database.capturing.as_ref()?;
    Some(match name {
        "change_tables" => change_tables(viewer, capturing),
        "captured_columns" => captured_columns(viewer, capturing),
        "index_columns" => index_columns(viewer, capturing),
        "ddl_history" => ddl_history(viewer),
        "cdc_jobs" if viewer.config.edition == AZURE_SQL_DATABASE => cdc_jobs(viewer, vec![viewer.database]),
        _ => return None,
    })
}

/// A dynamic management view. Error 262 without VIEW DATABASE STATE.
pub(super) fn dynamic_view(viewer: &Viewer<'_>, name: &str) -> SqlResult<Option<View>> {
    let view = match name {
        "dm_cdc_log_scan_sessions" => scan_sessions(viewer),
        "dm_cdc_errors" => View::empty(&[
            ("session_id", Kind::Int),
            ("phase_number", Kind::Int),
            ("entry_time", Kind::DateTime),
            ("error_number", Kind::Int),
            ("error_severity", Kind::Int),
            ("error_state", Kind::Int),
            ("error_message", Kind::Text(1024)),
            ("start_lsn", Kind::Text(23)),
            ("begin_lsn", Kind::Text(23)),
            ("sequence_value", Kind::Text(23)),
        ]),
        _ => return Ok(None),
    };
    if viewer.sees_database_state() {
        return Ok(Some(view));
    }
    let message = format!(
        "VIEW DATABASE PERFORMANCE STATE permission denied in database '{}'.",
        viewer.database.name
    );
    Err(SqlError::new(262, 14, 1, message))
}

/// Whether this is one of the tables that [`jobs_table`] makes up.
pub(crate) fn is_jobs_table(name: &str) -> bool {
    ["cdc_jobs", "sysjobactivity"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// `cdc_jobs` and `sysjobactivity` of the schema `dbo` of `msdb`, which Azure SQL Database has not; the first is not there until some database
/// has CDC. Error 229 without SELECT there.
pub(super) fn jobs_table(viewer: &Viewer<'_>, name: &str) -> SqlResult<Option<View>> {
    let enabled: Vec<&Database> = databases(viewer)
        .filter(|database| database.capturing.is_some())
        .collect();
    let view = match name {
        _ if !viewer.database.name.eq_ignore_ascii_case("msdb") => return Ok(None),
        _ if viewer.config.edition == AZURE_SQL_DATABASE => return Ok(None),
        "cdc_jobs" if !enabled.is_empty() => cdc_jobs(viewer, enabled),
        "sysjobactivity" => job_activity(viewer, enabled),
        _ => return Ok(None),
    };
    if viewer.may_read(name) {
        return Ok(Some(view));
    }
    let message =
        format!("The SELECT permission was denied on the object '{name}', database 'msdb', schema 'dbo'.");
    Err(SqlError::new(229, 14, 5, message))
}

/// What the jobs of CDC do: those that capture run or have ended, those that clean up wait for their hour.
fn job_activity(viewer: &Viewer<'_>, enabled: Vec<&Database>) -> View {
    let rows = enabled.into_iter().flat_map(|database| {
        let log = viewer.store.capture.get(&database.id);
        let jobs = log.map_or_else(CaptureJobs::default, |log| log.jobs);
        let switched = datetime(jobs.switched.unwrap_or(database.created));
        let own = job_rows(viewer, database);
        own.into_iter().map(move |row| {
            let (started, stopped) = match row[1].as_text().as_deref() {
                Some("capture") if jobs.running => (switched.clone(), Value::Null),
                Some("capture") => (datetime(database.created), switched.clone()),
                _ => (Value::Null, Value::Null),
            };
            let mut activity = vec![Value::Null; ACTIVITY.len()];
            activity[..2].clone_from_slice(&[int(1), row[0].clone()]);
            (activity[5], activity[8]) = (started, stopped);
            activity
        })
    });
    View::new(&ACTIVITY, rows)
}

const ACTIVITY: [(&str, Kind); 11] = [
    ("session_id", Kind::Int),
    ("job_id", Kind::Guid),
    ("run_requested_date", Kind::DateTime),
    ("run_requested_source", Kind::Name),
    ("queued_date", Kind::DateTime),
    ("start_execution_date", Kind::DateTime),
    ("last_executed_step_id", Kind::Int),
    ("last_executed_step_date", Kind::DateTime),
    ("stop_execution_date", Kind::DateTime),
    ("job_history_id", Kind::Int),
    ("next_scheduled_run_date", Kind::DateTime),
];

fn cdc_jobs(viewer: &Viewer<'_>, enabled: Vec<&Database>) -> View {
    let rows = enabled.into_iter().flat_map(|database| {
        let own = job_rows(viewer, database);
        own.into_iter().map(|mut row| {
            // In the table, unlike in the procedure's result, the type comes before the id.
            row.swap(0, 1);
            row.insert(0, int(database.id));
            row
        })
    });
    let mut columns = vec![("database_id", Kind::Int)];
    columns.extend([JOBS[1], JOBS[0]]);
    columns.extend(&JOBS[2..]);
    View::new(&columns, rows)
}

fn databases<'v>(viewer: &'v Viewer<'_>) -> impl Iterator<Item = &'v Database> {
    viewer.store.databases.values().map(|database| &**database)
}

/// The result of a procedure that lists.
pub(super) fn procedure(viewer: &Viewer<'_>, name: &str, arguments: &[Value]) -> Option<View> {
    let given = |at: usize| arguments.get(at).and_then(Value::as_text);
    let capturing = viewer.database.capturing.as_ref();
    match name {
        "sp_cdc_help_change_data_capture" => {
            let source = given(0).zip(given(1));
            Some(help(viewer, capturing?, source))
        }
        "sp_cdc_get_captured_columns" => Some(columns_of(viewer, capturing?, &given(0)?)),
        "sp_cdc_get_ddl_history" => Some(history_of(viewer, capturing?, &given(0)?)),
        "sp_cdc_help_jobs" => {
            capturing?;
            Some(View::new(&JOBS, job_rows(viewer, viewer.database)))
        }
        _ => None,
    }
}

const JOBS: [(&str, Kind); 8] = [
    ("job_id", Kind::Guid),
    ("job_type", Kind::Text(20)),
    ("maxtrans", Kind::Int),
    ("maxscans", Kind::Int),
    ("continuous", Kind::Bit),
    ("pollinginterval", Kind::BigInt),
    ("retention", Kind::BigInt),
    ("threshold", Kind::BigInt),
];

fn job_rows(viewer: &Viewer<'_>, database: &Database) -> Vec<Vec<Value>> {
    let log = viewer.store.capture.get(&database.id);
    let jobs = log.map_or_else(CaptureJobs::default, |log| log.jobs);
    let id = |kind: u8| {
        let mut id = database.guid;
        id[15] ^= kind;
        Value::Guid(id)
    };
    let (zero, null) = (Value::BigInt(0), Value::Null);
    let capture = jobs.capture.then(|| {
        vec![
            id(1),
            text("capture"),
            Value::Int(jobs.max_trans),
            Value::Int(jobs.max_scans),
            bit(jobs.continuous),
            Value::BigInt(jobs.polling_interval),
            zero.clone(),
            zero.clone(),
        ]
    });
    let cleanup = jobs.cleanup.then(|| {
        vec![
            id(2),
            text("cleanup"),
            Value::Int(0),
            Value::Int(0),
            bit(false),
            zero.clone(),
            Value::BigInt(jobs.retention),
            if jobs.threshold > 0 {
                Value::BigInt(jobs.threshold)
            } else {
                null
            },
        ]
    });
    capture.into_iter().chain(cleanup).collect()
}

fn source_of<'v>(viewer: &'v Viewer<'_>, instance: &CaptureInstance) -> Option<&'v Table> {
    viewer.definition(instance.source).map(|table| &**table)
}

fn object_id(viewer: &Viewer<'_>, table: crate::store::TableId) -> i32 {
    viewer.definition(table).map_or(0, |table| table.object_id)
}

fn or_null(text_or_not: Option<&str>) -> Value {
    text_or_not.map_or(Value::Null, text)
}

fn change_tables(viewer: &Viewer<'_>, capturing: &Capturing) -> View {
    let rows = capturing.instances.iter().map(|instance| {
        vec![
            int(object_id(viewer, instance.changes)),
            int(0),
            int(object_id(viewer, instance.source)),
            text(&instance.name),
            viewer.store.low_water(viewer.database.id, instance).value(),
            Value::Null,
            bit(instance.net_changes),
            bit(false),
            or_null(instance.role.as_deref()),
            or_null(instance.index.as_deref()),
            Value::Null,
            datetime(instance.created),
            bit(true),
        ]
    });
    View::new(
        &[
            ("object_id", Kind::Int),
            ("version", Kind::Int),
            ("source_object_id", Kind::Int),
            ("capture_instance", Kind::Name),
            ("start_lsn", Kind::Lsn),
            ("end_lsn", Kind::Lsn),
            ("supports_net_changes", Kind::Bit),
            ("has_drop_pending", Kind::Bit),
            ("role_name", Kind::Name),
            ("index_name", Kind::Name),
            ("filegroup_name", Kind::Name),
            ("create_date", Kind::DateTime),
            ("partition_switch", Kind::Bit),
        ],
        rows,
    )
}

/// `object_id` is the change table's, whatever the page says: readers join it with `cdc.change_tables`.
fn captured_columns(viewer: &Viewer<'_>, capturing: &Capturing) -> View {
    let mut rows = Vec::new();
    for instance in &capturing.instances {
        let id = object_id(viewer, instance.changes);
        let changes = viewer.definition(instance.changes);
        for (at, column) in instance.columns.iter().enumerate() {
            let own = changes.and_then(|table| table.columns.get(crate::store::BEFORE_CAPTURED + at));
            let source = source_of(viewer, instance);
            let source = source.and_then(|table| table.columns.iter().find(|known| known.id == column.id));
            let ty = source.or(own).map_or("", |column| column.info.ty.name());
            rows.push(vec![
                int(id),
                text(&column.name),
                int(column.id),
                text(ty),
                int(at as i32 + 1),
                bit(column.computed),
            ]);
        }
    }
    View::new(
        &[
            ("object_id", Kind::Int),
            ("column_name", Kind::Name),
            ("column_id", Kind::Int),
            ("column_type", Kind::Name),
            ("column_ordinal", Kind::Int),
            ("is_computed", Kind::Bit),
        ],
        rows,
    )
}

fn index_columns(viewer: &Viewer<'_>, capturing: &Capturing) -> View {
    let mut rows = Vec::new();
    for instance in &capturing.instances {
        let id = object_id(viewer, instance.changes);
        for (ordinal, key) in (1i32..).zip(&instance.key) {
            let column = instance.columns.iter().find(|column| column.id == *key);
            let name = column.map_or("", |column| column.name.as_str());
            rows.push(vec![
                int(id),
                text(name),
                Value::TinyInt(ordinal as u8),
                int(*key),
            ]);
        }
    }
    View::new(
        &[
            ("object_id", Kind::Int),
            ("column_name", Kind::Name),
            ("index_ordinal", Kind::TinyInt),
            ("column_id", Kind::Int),
        ],
        rows,
    )
}

fn ddl_history(viewer: &Viewer<'_>) -> View {
    let log = viewer.store.capture.get(&viewer.database.id);
    let records = log.into_iter().flat_map(|log| &log.ddl);
    let rows = records
        .filter(|record| viewer.definition(record.changes).is_some())
        .map(|record| {
            vec![
                int(object_id(viewer, record.source)),
                int(object_id(viewer, record.changes)),
                bit(record.altered),
                text(&record.command),
                record.lsn.value(),
                datetime(record.at),
            ]
        });
    View::new(
        &[
            ("source_object_id", Kind::Int),
            ("object_id", Kind::Int),
            ("required_column_update", Kind::Bit),
            ("ddl_command", Kind::MaxText),
            ("ddl_lsn", Kind::Lsn),
            ("ddl_time", Kind::DateTime),
        ],
        rows,
    )
}

fn history_of(viewer: &Viewer<'_>, capturing: &Capturing, name: &str) -> View {
    let named = |instance: &&CaptureInstance| instance.name.eq_ignore_ascii_case(name);
    let instance = capturing.instances.iter().find(named);
    let log = viewer.store.capture.get(&viewer.database.id);
    let records = log.into_iter().flat_map(|log| &log.ddl);
    let own = records.filter(|record| instance.is_some_and(|instance| instance.changes == record.changes));
    let source = instance.and_then(|instance| source_of(viewer, instance));
    let rows = own.map(|record| {
        vec![
            or_null(source.map(|table| table.schema.as_str())),
            or_null(source.map(|table| table.name.as_str())),
            text(name),
            bit(record.altered),
            text(&record.command),
            record.lsn.value(),
            datetime(record.at),
        ]
    });
    View::new(
        &[
            ("source_schema", Kind::Name),
            ("source_table", Kind::Name),
            ("capture_instance", Kind::Name),
            ("required_column_update", Kind::Bit),
            ("ddl_command", Kind::MaxText),
            ("ddl_lsn", Kind::Lsn),
            ("ddl_time", Kind::DateTime),
        ],
        rows,
    )
}

/// Names in brackets, with commas between them.
fn listed<'n>(names: impl Iterator<Item = &'n str>) -> Value {
    let quoted: Vec<String> = names
        .map(|name| format!("[{}]", name.replace(']', "]]")))
        .collect();
    text(&quoted.join(", "))
}

fn help(viewer: &Viewer<'_>, capturing: &Capturing, only: Option<(String, String)>) -> View {
    let rows = capturing.instances.iter().filter_map(|instance| {
        let source = source_of(viewer, instance)?;
        let wanted = only.as_ref().is_none_or(|(schema, name)| {
            source.schema.eq_ignore_ascii_case(schema) && source.name.eq_ignore_ascii_case(name)
        });
        let keys = instance.key.iter().filter_map(|id| {
            let column = instance.columns.iter().find(|column| column.id == *id)?;
            Some(column.name.as_str())
        });
        wanted.then(|| {
            vec![
                text(&source.schema),
                text(&source.name),
                text(&instance.name),
                int(object_id(viewer, instance.changes)),
                int(source.object_id),
                viewer.store.low_water(viewer.database.id, instance).value(),
                Value::Null,
                bit(instance.net_changes),
                Value::Null,
                or_null(instance.role.as_deref()),
                or_null(instance.index.as_deref()),
                Value::Null,
                datetime(instance.created),
                listed(keys),
                listed(instance.columns.iter().map(|column| column.name.as_str())),
            ]
        })
    });
    View::new(
        &[
            ("source_schema", Kind::Name),
            ("source_table", Kind::Name),
            ("capture_instance", Kind::Name),
            ("object_id", Kind::Int),
            ("source_object_id", Kind::Int),
            ("start_lsn", Kind::Lsn),
            ("end_lsn", Kind::Lsn),
            ("supports_net_changes", Kind::Bit),
            ("has_drop_pending", Kind::Bit),
            ("role_name", Kind::Name),
            ("index_name", Kind::Name),
            ("filegroup_name", Kind::Name),
            ("create_date", Kind::DateTime),
            ("index_column_list", Kind::MaxText),
            ("captured_column_list", Kind::MaxText),
        ],
        rows,
    )
}

fn columns_of(viewer: &Viewer<'_>, capturing: &Capturing, name: &str) -> View {
    let mut rows = Vec::new();
    for instance in capturing
        .instances
        .iter()
        .filter(|instance| instance.name.eq_ignore_ascii_case(name))
    {
        let Some(source) = source_of(viewer, instance) else {
            continue;
        };
        let changes = viewer.definition(instance.changes);
        for (at, column) in instance.columns.iter().enumerate() {
            let Some(own) = changes.and_then(|table| table.columns.get(crate::store::BEFORE_CAPTURED + at))
            else {
                continue;
            };
            let ty = own.info.ty;
            let length = match ty.is_character() {
                true if ty.is_max() => int(-1),
                true if ty.is_unicode() => int(ty.max_length() / 2),
                true => int(ty.max_length()),
                false => Value::Null,
            };
            rows.push(vec![
                text(&source.schema),
                text(&source.name),
                text(&instance.name),
                text(&column.name),
                int(column.id),
                int(at as i32 + 1),
                text(ty.name()),
                length,
                Value::TinyInt(ty.precision()),
                int(ty.scale()),
            ]);
        }
    }
    View::new(
        &[
            ("source_schema", Kind::Name),
            ("source_table", Kind::Name),
            ("capture_instance", Kind::Name),
            ("column_name", Kind::Name),
            ("column_id", Kind::Int),
            ("column_ordinal", Kind::Int),
            ("data_type", Kind::Name),
            ("character_maximum_length", Kind::Int),
            ("numeric_precision", Kind::TinyInt),
            ("numeric_scale", Kind::Int),
        ],
        rows,
    )
}

fn scan_sessions(viewer: &Viewer<'_>) -> View {
    let log = viewer.store.capture.get(&viewer.database.id);
    let sessions = log.into_iter().flat_map(|log| &log.sessions);
    let rows = sessions.zip(1i32..).map(|(session, id)| {
        let seconds =
            |at: crate::clock::Instant| i64::from(at.days) * 86_400 + (at.ticks / 10_000_000) as i64;
        let latency = seconds(session.at) - seconds(session.last_commit);
        vec![
            int(id),
            datetime(session.at),
            datetime(session.at),
            Value::BigInt(0),
            text("Done"),
            int(0),
            text(&session.first.spelled()),
            text(&session.last.spelled()),
            text(&session.last.spelled()),
            Value::BigInt(session.transactions),
            text(&session.last.spelled()),
            datetime(session.last_commit),
            Value::BigInt(session.commands),
            int(session.schema_changes),
            Value::BigInt(session.commands),
            text(&session.first.spelled()),
            text(&session.last.spelled()),
            datetime(session.last_commit),
            Value::Int(i32::try_from(latency).unwrap_or(i32::MAX)),
            int(0),
            int(0),
        ]
    });
    View::new(
        &[
            ("session_id", Kind::Int),
            ("start_time", Kind::DateTime),
            ("end_time", Kind::DateTime),
            ("duration", Kind::BigInt),
            ("scan_phase", Kind::Text(200)),
            ("error_count", Kind::Int),
            ("start_lsn", Kind::Text(23)),
            ("current_lsn", Kind::Text(23)),
            ("end_lsn", Kind::Text(23)),
            ("tran_count", Kind::BigInt),
            ("last_commit_lsn", Kind::Text(23)),
            ("last_commit_time", Kind::DateTime),
            ("log_record_count", Kind::BigInt),
            ("schema_change_count", Kind::Int),
            ("command_count", Kind::BigInt),
            ("first_begin_cdc_lsn", Kind::Text(23)),
            ("last_commit_cdc_lsn", Kind::Text(23)),
            ("last_commit_cdc_time", Kind::DateTime),
            ("latency", Kind::Int),
            ("empty_scan_count", Kind::Int),
            ("failed_sessions_count", Kind::Int),
        ],
        rows,
    )
}
