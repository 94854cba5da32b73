use super::*;
use crate::clock::Instant;
use crate::eval::EnvironmentFunction as Function;

/// A server with the database `Sales` and no tables.
fn answer<T>(login: &Login, ask: impl FnOnce(&Viewer<'_>) -> T) -> T {
    let shared = crate::store::Shared::new();
    let mut store = shared.lock();
    let created = Instant {
        days: 738_000,
        ticks: 0,
    };
    store.create_database("master", created, [1; 16]);
    let sales = store.create_database("Sales", created, [2; 16]);
    let database = Arc::clone(&store.databases[&sales]);
    let config = EngineConfig::default();
    ask(&Viewer {
        store: &store,
        database: &database,
        config: &config,
        session: 51,
        login,
        agent_runs: true,
        sessions: &[],
        temporary: &|_| None,
    })
}

fn sa() -> Login {
    Login::sysadmin("sa", "x")
}

#[test]
fn every_row_is_as_wide_as_its_view() {
    let names = [
        "schemas",
        "objects",
        "tables",
        "views",
        "procedures",
        "triggers",
        "sql_modules",
        "columns",
        "types",
        "table_types",
        "identity_columns",
        "computed_columns",
        "default_constraints",
        "indexes",
        "index_columns",
        "key_constraints",
        "check_constraints",
        "foreign_keys",
        "foreign_key_columns",
        "partitions",
        "databases",
        "database_recovery_status",
        "server_principals",
        "database_principals",
        "dm_exec_sessions",
        "dm_exec_requests",
        "dm_tran_active_transactions",
        "dm_tran_session_transactions",
        "dm_tran_database_transactions",
        "dm_server_services",
        "security_policies",
        "masked_columns",
        "change_tracking_databases",
    ];
    for name in names {
        let view = answer(&sa(), |viewer| view(viewer, "SYS", name)).unwrap();
        let view = view.unwrap_or_else(|| panic!("sys.{name} is missing"));
        for row in &view.rows {
            assert_eq!(row.len(), view.columns.len(), "sys.{name}");
        }
    }
    for name in [
        "TABLES",
        "COLUMNS",
        "SCHEMATA",
        "TABLE_CONSTRAINTS",
        "KEY_COLUMN_USAGE",
    ] {
        assert!(
            answer(&sa(), |viewer| view(viewer, "information_schema", name))
                .unwrap()
                .is_some()
        );
    }
    assert!(
        answer(&sa(), |viewer| view(viewer, "sys", "nothing"))
            .unwrap()
            .is_none()
    );
}

#[test]
fn transactions_are_shown_to_those_who_may_look() {
    let limited = Login::limited("reader", "x");
    let refused = answer(&limited, |viewer| {
        view(viewer, "sys", "dm_tran_active_transactions").map(|_| ())
    });
    assert_eq!(refused.unwrap_err().number, 300);
    assert!(answer(&limited, |viewer| view(viewer, "sys", "dm_exec_sessions")).is_ok());
}

#[test]
fn definitions_stand_in_parentheses() {
    for (written, shown) in [
        ("0", "((0))"),
        ("(0)", "((0))"),
        ("-1.5", "((-1.5))"),
        ("getdate()", "(getdate())"),
        ("(N'a')", "(N'a')"),
        ("(a) + (b)", "((a) + (b))"),
        ("(')')", "(')')"),
    ] {
        assert_eq!(definition(written), shown);
    }
}

#[test]
fn functions_answer_from_the_catalog() {
    let name = |name: &str| Value::text(name);
    let limited = Login::limited("reader", "x");
    for (login, function, arguments, expect) in [
        (
            sa(),
            Function::DatabaseId,
            vec![name("sales")],
            Value::SmallInt(2),
        ),
        (sa(), Function::DatabaseId, vec![name("none")], Value::Null),
        (sa(), Function::DatabaseName, vec![], name("Sales")),
        (sa(), Function::SchemaId, vec![name("dbo")], Value::Int(1)),
        (sa(), Function::ObjectId, vec![name("dbo.none")], Value::Null),
        (sa(), Function::TypeId, vec![name("nvarchar")], Value::Int(231)),
        (
            sa(),
            Function::ServerProperty,
            vec![name("EngineEdition")],
            Value::Int(3),
        ),
        (
            sa(),
            Function::ServerProperty,
            vec![name("ProductMajorVersion")],
            name("16"),
        ),
        (
            sa(),
            Function::MinActiveRowversion,
            vec![],
            Value::bytes(&2001u64.to_be_bytes()),
        ),
        (
            sa(),
            Function::CollationProperty,
            vec![name("Latin1_General_100_CI_AS_SC_UTF8"), name("CodePage")],
            Value::Int(65_001),
        ),
        (
            limited.clone(),
            Function::HasPermsByName,
            vec![Value::Null, Value::Null, name("VIEW SERVER STATE")],
            Value::Int(0),
        ),
        (
            sa(),
            Function::HasPermsByName,
            vec![Value::Null, Value::Null, name("VIEW SERVER STATE")],
            Value::Int(1),
        ),
        (limited, Function::UserName, vec![], name("reader")),
    ] {
        let value = answer(&login, |viewer| catalog_function(viewer, function, &arguments)).unwrap();
        assert_eq!(value, Some(expect), "{function:?}{arguments:?}");
    }
    let unknown = answer(&sa(), |viewer| {
        catalog_function(viewer, Function::ScopeIdentity, &[])
    })
    .unwrap();
    assert_eq!(unknown, None);
}
