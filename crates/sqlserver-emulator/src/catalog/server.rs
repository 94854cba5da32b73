//! Databases, logins and what else belongs to the server: `sys.databases`, `sys.server_principals` and their kin.

use super::{Kind, View, Viewer, bit, datetime, int, text};
use crate::collation::{CodePage, Collation};
use crate::store::{CaptureLog, Database, RetentionUnit};
use crate::value::Value;

pub(super) fn view(viewer: &Viewer<'_>, name: &str) -> Option<View> {
    Some(match name {
        "databases" => databases(viewer),
        "database_recovery_status" => recovery_status(viewer),
        "server_principals" | "sql_logins" => server_principals(viewer),
        "database_principals" => database_principals(viewer),
        "fn_helpcollations" => collations(),
        "configurations" => View::empty(&[
            ("configuration_id", Kind::Int),
            ("name", Kind::Text(35)),
            ("value", Kind::Variant),
            ("value_in_use", Kind::Variant),
        ]),
        "change_tracking_databases" => change_tracking_databases(viewer),
        "change_tracking_tables" => change_tracking_tables(viewer),
        _ => return None,
    })
}

const DATABASES: [(&str, Kind); 30] = [
    ("name", Kind::Name),
    ("database_id", Kind::Int),
    ("source_database_id", Kind::Int),
    ("owner_sid", Kind::Binary(85)),
    ("create_date", Kind::DateTime),
    ("compatibility_level", Kind::TinyInt),
    ("collation_name", Kind::Name),
    ("user_access", Kind::TinyInt),
    ("user_access_desc", Kind::Text(60)),
    ("is_read_only", Kind::Bit),
    ("is_auto_close_on", Kind::Bit),
    ("state", Kind::TinyInt),
    ("state_desc", Kind::Text(60)),
    ("is_in_standby", Kind::Bit),
    ("snapshot_isolation_state", Kind::TinyInt),
    ("snapshot_isolation_state_desc", Kind::Text(60)),
    ("is_read_committed_snapshot_on", Kind::Bit),
    ("recovery_model", Kind::TinyInt),
    ("recovery_model_desc", Kind::Text(60)),
    ("is_ansi_nulls_on", Kind::Bit),
    ("is_quoted_identifier_on", Kind::Bit),
    ("is_published", Kind::Bit),
    ("is_broker_enabled", Kind::Bit),
    ("log_reuse_wait_desc", Kind::Text(60)),
    ("is_cdc_enabled", Kind::Bit),
    ("is_encrypted", Kind::Bit),
    ("replica_id", Kind::Guid),
    ("containment", Kind::TinyInt),
    ("is_memory_optimized_elevate_to_snapshot_on", Kind::Bit),
    ("is_accelerated_database_recovery_on", Kind::Bit),
];

fn databases(viewer: &Viewer<'_>) -> View {
    View::new(
        &DATABASES,
        viewer
            .store
            .databases
            .values()
            .map(|database| database_values(viewer, database)),
    )
}

fn database_values(viewer: &Viewer<'_>, database: &Database) -> Vec<Value> {
    let options = &database.options;
    let (recovery, recovery_name) = match options.recovery_model.to_uppercase().as_str() {
        "SIMPLE" => (3, "SIMPLE"),
        "BULK_LOGGED" => (2, "BULK_LOGGED"),
        _ => (1, "FULL"),
    };
    let snapshot = options.allow_snapshot_isolation;
    let log = viewer.store.capture.get(&database.id);
    let awaited = database.capturing.is_some() && log.is_some_and(CaptureLog::is_awaited);
    vec![
        text(&database.name),
        int(database.id),
        Value::Null,
        Value::bytes(&[1]),
        datetime(database.created),
        Value::TinyInt(options.compatibility_level),
        text(database.collation.name),
        Value::TinyInt(0),
        text("MULTI_USER"),
        bit(options.read_only),
        bit(false),
        Value::TinyInt(0),
        text("ONLINE"),
        bit(false),
        Value::TinyInt(u8::from(snapshot)),
        text(if snapshot { "ON" } else { "OFF" }),
        bit(options.read_committed_snapshot),
        Value::TinyInt(recovery),
        text(recovery_name),
        bit(false),
        bit(false),
        bit(false),
        bit(false),
        text(if awaited { "REPLICATION" } else { "NOTHING" }),
        bit(database.capturing.is_some()),
        bit(false),
        Value::Null,
        Value::TinyInt(0),
        bit(false),
        bit(false),
    ]
}

/// Shown to those who may see every database's definition only.
fn recovery_status(viewer: &Viewer<'_>) -> View {
    let databases = viewer.store.databases.values().filter(|_| viewer.login.sysadmin);
    let rows = databases.map(|database| {
        vec![
            int(database.id),
            Value::Guid(database.guid),
            Value::Guid(database.guid),
            Value::Guid(database.fork),
        ]
    });
    View::new(
        &[
            ("database_id", Kind::Int),
            ("database_guid", Kind::Guid),
            ("family_guid", Kind::Guid),
            ("recovery_fork_guid", Kind::Guid),
        ],
        rows,
    )
}

fn server_principals(viewer: &Viewer<'_>) -> View {
    let logins = viewer.config.logins.iter().zip(1i32..);
    let visible = logins.filter(|(login, _)| viewer.login.sysadmin || login.name == viewer.login.name);
    let rows = visible.map(|(login, id)| {
        vec![
            text(&login.name),
            int(id),
            text("S"),
            text("SQL_LOGIN"),
            bit(false),
            text("master"),
            text("us_english"),
        ]
    });
    View::new(
        &[
            ("name", Kind::Name),
            ("principal_id", Kind::Int),
            ("type", Kind::Code(1)),
            ("type_desc", Kind::Text(60)),
            ("is_disabled", Kind::Bit),
            ("default_database_name", Kind::Name),
            ("default_language_name", Kind::Name),
        ],
        rows,
    )
}

fn database_principals(viewer: &Viewer<'_>) -> View {
    let fixed = ["dbo", "guest", "INFORMATION_SCHEMA", "sys"].map(str::to_owned);
    let users = viewer.database.users.iter().map(|(user, _)| user.clone());
    let rows = fixed
        .into_iter()
        .chain(users)
        .zip(1i32..)
        .map(|(name, id)| vec![text(&name), int(id), text("S"), text("SQL_USER"), text("dbo")]);
    View::new(
        &[
            ("name", Kind::Name),
            ("principal_id", Kind::Int),
            ("type", Kind::Code(1)),
            ("type_desc", Kind::Text(60)),
            ("default_schema_name", Kind::Name),
        ],
        rows,
    )
}

fn change_tracking_databases(viewer: &Viewer<'_>) -> View {
    let rows = viewer.store.databases.values().filter_map(|database| {
        let options = database.options.change_tracking?;
        let unit = match options.retention.unit {
            RetentionUnit::Minutes => "MINUTES",
            RetentionUnit::Hours => "HOURS",
            RetentionUnit::Days => "DAYS",
        };
        Some(vec![
            int(database.id),
            bit(options.auto_cleanup),
            Value::Int(options.retention.count as i32),
            Value::TinyInt(options.retention.unit as u8),
            text(unit),
        ])
    });
    View::new(
        &[
            ("database_id", Kind::Int),
            ("is_auto_cleanup_on", Kind::Bit),
            ("retention_period", Kind::Int),
            ("retention_period_units", Kind::TinyInt),
            ("retention_period_units_desc", Kind::Text(60)),
        ],
        rows,
    )
}

fn change_tracking_tables(viewer: &Viewer<'_>) -> View {
    let rows = viewer.table_contents().filter_map(|data| {
        let tracking = data.tracking.as_ref()?;
        Some(vec![
            int(data.definition.object_id),
            bit(tracking.columns),
            Value::BigInt(tracking.min_valid_version()),
            Value::BigInt(tracking.begin_version),
            Value::BigInt(tracking.cleanup_version),
        ])
    });
    View::new(
        &[
            ("object_id", Kind::Int),
            ("is_track_columns_updated_on", Kind::Bit),
            ("min_valid_version", Kind::BigInt),
            ("begin_version", Kind::BigInt),
            ("cleanup_version", Kind::BigInt),
        ],
        rows,
    )
}

fn collations() -> View {
    let rows = Collation::all().iter().map(|collation| {
        let page = match collation.code_page {
            CodePage::Utf8 => 65_001,
            CodePage::Windows(page) => page,
        };
        vec![text(collation.name), text(&format!("code page {page}"))]
    });
    View::new(&[("name", Kind::Name), ("description", Kind::Text(1000))], rows)
}
