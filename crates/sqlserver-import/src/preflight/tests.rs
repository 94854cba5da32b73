use arrow_schema::{DataType, Field, Schema};
use sqlserver_client::{ColumnInfo, ColumnType, IndexInfo, TriggerInfo};

use super::*;

fn column(name: &str, ty: &str) -> ColumnInfo {
    ColumnInfo::new(name, ColumnType::Mapped(ty.parse().unwrap()))
}

fn table() -> TableInfo {
    TableInfo {
        indexes: vec![IndexInfo {
            primary_key: true,
            clustered: true,
            ..IndexInfo::unique("pk", &["Id"])
        }],
        ..TableInfo::new(
            TableName::new("dbo", "T"),
            vec![column("Id", "int"), column("v", "int")],
        )
    }
}

fn schema() -> Arc<TableSchema> {
    let fields = vec![
        Field::new("id", DataType::Int32, false),
        Field::new("v", DataType::Int32, true),
    ];
    TableSchema::new(Arc::new(Schema::new(fields)), vec![0], vec![None, None]).unwrap()
}

#[test]
fn each_problem_is_named() {
    type Change = fn(&mut TableInfo);
    let cases: [(&str, Change); 9] = [
        ("view", |t| t.is_view = true),
        ("memory-optimized", |t| t.memory_optimized = true),
        ("INSTEAD OF", |t| {
            t.triggers.push(TriggerInfo {
                name: "tr".into(),
                instead_of: true,
                disabled: false,
            });
        }),
        ("\"v\" is missing", |t| {
            t.columns.truncate(1);
        }),
        ("Always Encrypted", |t| t.columns[1].encrypted = true),
        ("\"w\" is NOT NULL", |t| t.columns.push(column("w", "int"))),
        ("IGNORE_DUP_KEY", |t| t.indexes[0].ignores_duplicates = true),
        ("unique index", |t| t.indexes[0].filtered = true),
        ("unique index", |t| t.indexes[0].columns.push(("v".into(), false))),
    ];
    assert_eq!(shape_problems(&table(), &schema()), Vec::<String>::new());
    for (word, change) in cases {
        let mut changed = table();
        change(&mut changed);
        let problems = shape_problems(&changed, &schema());
        assert!(
            problems.len() == 1 && problems[0].contains(word),
            "{word}: {problems:?}"
        );
    }
}

#[test]
fn what_the_server_fills_is_no_problem() {
    let mut filled = table();
    filled.columns.push(ColumnInfo {
        computed: true,
        ..column("c", "int")
    });
    filled.columns.push(column("rv", "rowversion"));
    filled.columns.push(ColumnInfo {
        identity: true,
        ..column("n", "int")
    });
    filled.columns.push(ColumnInfo {
        default: Some("((0))".into()),
        ..column("d", "int")
    });
    filled.columns.push(ColumnInfo {
        nullable: true,
        ..column("o", "int")
    });
    assert_eq!(shape_problems(&filled, &schema()), Vec::<String>::new());
}

#[test]
fn notes_tell_what_can_stop_the_sync() {
    let mut narrow = table();
    narrow.columns[1].ty = ColumnType::Mapped("tinyint".parse().unwrap());
    narrow.triggers.push(TriggerInfo {
        name: "audit".into(),
        instead_of: false,
        disabled: false,
    });
    // The Arrow types are alike, so only a declared type can tell; nullability can.
    let notes = notes(&narrow, &schema());
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].contains("NOT NULL") && notes[1].contains("audit"),
        "{notes:?}"
    );
}
