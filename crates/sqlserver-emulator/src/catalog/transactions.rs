//! Sessions and transactions as the dynamic management views show them.
//!
//! Without VIEW SERVER STATE a login sees its own session in `dm_exec_*`, and error 300 elsewhere.

use super::{Kind, SessionFacts, View, Viewer, bit, datetime, int, text};
use crate::error::{SqlError, SqlResult};
use crate::store::{Transaction, TxId};
use crate::value::Value;

pub(super) fn view(viewer: &Viewer<'_>, name: &str) -> SqlResult<Option<View>> {
    let guarded = |view: fn(&Viewer<'_>) -> View| {
        if viewer.sees_server_state() {
            Ok(Some(view(viewer)))
        } else {
            Err(denied())
        }
    };
    match name {
        "dm_exec_sessions" => Ok(Some(sessions(viewer))),
        "dm_exec_requests" => Ok(Some(requests(viewer))),
        "dm_exec_connections" => guarded(connections),
        "dm_tran_active_transactions" => guarded(active_transactions),
        "dm_tran_session_transactions" => guarded(session_transactions),
        "dm_tran_database_transactions" => guarded(database_transactions),
        "dm_tran_current_transaction" => guarded(current_transaction),
        "dm_server_services" => guarded(services),
        _ => Ok(None),
    }
}

fn denied() -> SqlError {
    SqlError::new(
        300,
        14,
        1,
        "VIEW SERVER PERFORMANCE STATE permission was denied on object 'server', database 'master'.",
    )
}

/// The server itself and SQL Server Agent.
fn services(viewer: &Viewer<'_>) -> View {
    let service = |name: &str, file: &str, runs: bool| {
        let (status, description) = if runs { (4, "Running") } else { (1, "Stopped") };
        vec![
            text(name),
            int(2),
            text("Automatic"),
            int(status),
            text(description),
            int(0),
            Value::Null,
            text("LocalSystem"),
            text(file),
            text("N"),
            Value::Null,
        ]
    };
    let rows = [
        service("SQL Server (MSSQLSERVER)", "sqlservr.exe", true),
        service(
            "SQL Server Agent (MSSQLSERVER)",
            "SQLAGENT.EXE",
            viewer.agent_runs,
        ),
    ];
    View::new(
        &[
            ("servicename", Kind::Text(256)),
            ("startup_type", Kind::Int),
            ("startup_type_desc", Kind::Text(256)),
            ("status", Kind::Int),
            ("status_desc", Kind::Text(256)),
            ("process_id", Kind::Int),
            ("last_startup_time", Kind::DateTime),
            ("service_account", Kind::Text(256)),
            ("filename", Kind::Text(256)),
            ("is_clustered", Kind::Text(1)),
            ("cluster_nodename", Kind::Text(256)),
        ],
        rows,
    )
}

fn visible<'a>(viewer: &'a Viewer<'_>) -> impl Iterator<Item = &'a SessionFacts> {
    let all = viewer.sees_server_state();
    viewer
        .sessions
        .iter()
        .filter(move |session| all || session.id == viewer.session)
}

fn sessions(viewer: &Viewer<'_>) -> View {
    let rows = visible(viewer).map(|session| {
        vec![
            Value::SmallInt(session.id as i16),
            datetime(session.login_time),
            text(&session.host_name),
            text(&session.program_name),
            int(session.host_process_id as i32),
            int(7),
            text("TDS"),
            text(&session.login_name),
            text(&session.login_name),
            text(if session.request.is_some() {
                "running"
            } else {
                "sleeping"
            }),
            bit(true),
            int(session.text_size),
            text(&session.language),
            text(&session.date_format),
            Value::SmallInt(session.date_first),
            bit(session.quoted_identifier),
            bit(session.arithabort),
            bit(session.ansi_null_dflt_on),
            bit(false),
            bit(session.ansi_warnings),
            bit(session.ansi_padding),
            bit(session.ansi_nulls),
            bit(session.concat_null_yields_null),
            Value::SmallInt(session.isolation),
            int(session.lock_timeout),
            int(session.deadlock_priority),
            Value::BigInt(session.row_count),
            Value::SmallInt(session.database as i16),
            int(session.open_transactions),
        ]
    });
    View::new(
        &[
            ("session_id", Kind::SmallInt),
            ("login_time", Kind::DateTime),
            ("host_name", Kind::Text(128)),
            ("program_name", Kind::Text(128)),
            ("host_process_id", Kind::Int),
            ("client_version", Kind::Int),
            ("client_interface_name", Kind::Text(32)),
            ("login_name", Kind::Text(128)),
            ("original_login_name", Kind::Text(128)),
            ("status", Kind::Text(30)),
            ("is_user_process", Kind::Bit),
            ("text_size", Kind::Int),
            ("language", Kind::Text(128)),
            ("date_format", Kind::Text(3)),
            ("date_first", Kind::SmallInt),
            ("quoted_identifier", Kind::Bit),
            ("arithabort", Kind::Bit),
            ("ansi_null_dflt_on", Kind::Bit),
            ("ansi_defaults", Kind::Bit),
            ("ansi_warnings", Kind::Bit),
            ("ansi_padding", Kind::Bit),
            ("ansi_nulls", Kind::Bit),
            ("concat_null_yields_null", Kind::Bit),
            ("transaction_isolation_level", Kind::SmallInt),
            ("lock_timeout", Kind::Int),
            ("deadlock_priority", Kind::Int),
            ("row_count", Kind::BigInt),
            ("database_id", Kind::SmallInt),
            ("open_transaction_count", Kind::Int),
        ],
        rows,
    )
}

/// The newest transaction of a session.
fn transaction_of<'a>(viewer: &'a Viewer<'_>, session: u16) -> Option<&'a Transaction> {
    viewer
        .store
        .transactions
        .values()
        .rev()
        .find(|transaction| transaction.session == session)
}

/// The session that `transaction` waits for; 0 for none.
fn blocker(viewer: &Viewer<'_>, transaction: Option<&Transaction>) -> i16 {
    let session = |id: TxId| {
        viewer
            .store
            .transactions
            .get(&id)
            .map(|blocking| blocking.session as i16)
    };
    transaction
        .and_then(Transaction::blocked_by)
        .and_then(session)
        .unwrap_or(0)
}

fn requests(viewer: &Viewer<'_>) -> View {
    let rows = visible(viewer).filter_map(|session| {
        let (started, command) = session.request.as_ref()?;
        let transaction = transaction_of(viewer, session.id);
        let blocker = blocker(viewer, transaction);
        let waits = blocker != 0;
        Some(vec![
            Value::SmallInt(session.id as i16),
            int(0),
            datetime(*started),
            text(if waits { "suspended" } else { "running" }),
            text(command),
            Value::SmallInt(session.database as i16),
            Value::SmallInt(blocker),
            if waits { text("LCK_M_X") } else { Value::Null },
            int(0),
            int(session.open_transactions),
            Value::BigInt(transaction.map_or(0, |transaction| transaction.id as i64)),
            Value::SmallInt(session.isolation),
        ])
    });
    View::new(
        &[
            ("session_id", Kind::SmallInt),
            ("request_id", Kind::Int),
            ("start_time", Kind::DateTime),
            ("status", Kind::Text(30)),
            ("command", Kind::Text(32)),
            ("database_id", Kind::SmallInt),
            ("blocking_session_id", Kind::SmallInt),
            ("wait_type", Kind::Text(60)),
            ("wait_time", Kind::Int),
            ("open_transaction_count", Kind::Int),
            ("transaction_id", Kind::BigInt),
            ("transaction_isolation_level", Kind::SmallInt),
        ],
        rows,
    )
}

fn connections(viewer: &Viewer<'_>) -> View {
    let rows = viewer.sessions.iter().map(|session| {
        vec![
            int(i32::from(session.id)),
            datetime(session.login_time),
            text("TCP"),
            text("TSQL"),
            int(0x7400_0004),
        ]
    });
    View::new(
        &[
            ("session_id", Kind::Int),
            ("connect_time", Kind::DateTime),
            ("net_transport", Kind::Text(40)),
            ("protocol_type", Kind::Text(40)),
            ("protocol_version", Kind::Int),
        ],
        rows,
    )
}

fn transactions<'a>(viewer: &'a Viewer<'_>) -> impl Iterator<Item = &'a Transaction> {
    viewer.store.transactions.values()
}

fn active_transactions(viewer: &Viewer<'_>) -> View {
    let rows = transactions(viewer).map(|transaction| {
        vec![
            Value::BigInt(transaction.id as i64),
            text(&transaction.name),
            datetime(transaction.began),
            int(if transaction.wrote() { 1 } else { 2 }),
            Value::Null,
            int(2),
            int(0),
            int(0),
        ]
    });
    View::new(
        &[
            ("transaction_id", Kind::BigInt),
            ("name", Kind::Text(32)),
            ("transaction_begin_time", Kind::DateTime),
            ("transaction_type", Kind::Int),
            ("transaction_uow", Kind::Guid),
            ("transaction_state", Kind::Int),
            ("transaction_status", Kind::Int),
            ("dtc_state", Kind::Int),
        ],
        rows,
    )
}

fn session_transactions(viewer: &Viewer<'_>) -> View {
    let rows = transactions(viewer).map(|transaction| {
        let session = viewer
            .sessions
            .iter()
            .find(|session| session.id == transaction.session);
        vec![
            int(i32::from(transaction.session)),
            Value::BigInt(transaction.id as i64),
            Value::bytes(&transaction.id.to_be_bytes()),
            int(0),
            bit(transaction.explicit),
            bit(true),
            bit(false),
            bit(false),
            int(session.map_or(1, |session| session.open_transactions)),
        ]
    });
    View::new(
        &[
            ("session_id", Kind::Int),
            ("transaction_id", Kind::BigInt),
            ("transaction_descriptor", Kind::Binary(8)),
            ("enlist_count", Kind::Int),
            ("is_user_transaction", Kind::Bit),
            ("is_local", Kind::Bit),
            ("is_enlisted", Kind::Bit),
            ("is_bound", Kind::Bit),
            ("open_transaction_count", Kind::Int),
        ],
        rows,
    )
}

fn database_transactions(viewer: &Viewer<'_>) -> View {
    let rows = transactions(viewer).flat_map(|transaction| {
        transaction.databases.iter().map(|(database, first_write)| {
            let (kind, state) = if first_write.is_some() { (1, 4) } else { (2, 3) };
            vec![
                Value::BigInt(transaction.id as i64),
                int(*database),
                first_write.map_or(Value::Null, datetime),
                int(kind),
                int(state),
                Value::BigInt(if first_write.is_some() {
                    transaction.undo.len() as i64
                } else {
                    0
                }),
            ]
        })
    });
    View::new(
        &[
            ("transaction_id", Kind::BigInt),
            ("database_id", Kind::Int),
            ("database_transaction_begin_time", Kind::DateTime),
            ("database_transaction_type", Kind::Int),
            ("database_transaction_state", Kind::Int),
            ("database_transaction_log_record_count", Kind::BigInt),
        ],
        rows,
    )
}

fn current_transaction(viewer: &Viewer<'_>) -> View {
    let rows = transaction_of(viewer, viewer.session).map(|transaction| {
        vec![
            Value::BigInt(transaction.id as i64),
            Value::BigInt(transaction.snapshot.unwrap_or(0) as i64),
            bit(transaction.snapshot.is_some()),
        ]
    });
    View::new(
        &[
            ("transaction_id", Kind::BigInt),
            ("transaction_sequence_num", Kind::BigInt),
            ("transaction_is_snapshot", Kind::Bit),
        ],
        rows,
    )
}
