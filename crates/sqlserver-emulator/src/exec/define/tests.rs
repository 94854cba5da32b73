use super::*;
use crate::ast::{AlterTable, Statement, StatementKind};
use crate::parser::parse_batch;

/// A session without other tables, in which every expression is an int.
struct Nobody(i32);

impl Surroundings for Nobody {
    fn new_object_id(&mut self) -> i32 {
        self.0 += 1;
        self.0
    }

    fn type_of(&mut self, _: &Expr, _: &Table) -> SqlResult<TypeInfo> {
        Ok(TypeInfo::new(SqlType::Int))
    }

    fn referenced(&mut self, _: &ObjectName, from: &Table) -> SqlResult<(TableId, Arc<Table>)> {
        Ok((TableId(7), Arc::new(from.clone())))
    }
}

const NOW: Instant = Instant {
    days: 738_000,
    ticks: 0,
};

fn statement(sql: &str) -> StatementKind {
    let mut statements = parse_batch(sql, true).unwrap().statements;
    let Some(Statement { kind, .. }) = statements.pop() else {
        panic!("{sql} is no statement");
    };
    kind
}

/// Applies statements to one table, from its CREATE TABLE on.
fn table(statements: &[&str]) -> SqlResult<Table> {
    let mut table = empty_table(1, 5, "dbo", "Orders", NOW);
    let mut world = Nobody(100);
    let collation = Collation::server_default();
    for sql in statements {
        let mut definer = Definer {
            world: &mut world,
            collation,
            now: NOW,
        };
        match statement(sql) {
            StatementKind::CreateTable { table: items, .. } => definer.add(&mut table, &items, true)?,
            StatementKind::CreateIndex(index) => add_index(&mut table, &index)?,
            StatementKind::AlterTable {
                action: AlterTable::Add { items, .. },
                ..
            } => {
                definer.add(&mut table, &items, true)?;
            }
            StatementKind::AlterTable {
                action: AlterTable::AlterColumn(column),
                ..
            } => {
                definer.alter_column(&mut table, &column)?;
            }
            StatementKind::AlterTable { action, .. } => {
                drop_items(&mut table, &action, NOW)?;
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(table)
}

#[test]
fn a_table_has_what_its_statement_says() {
    let table = table(&["CREATE TABLE dbo.Orders (id int IDENTITY(5,2) PRIMARY KEY, name nvarchar(10) COLLATE Greek_CI_AS DEFAULT N'x', \
        v rowversion, code sysname, twice AS id * 2 PERSISTED, CONSTRAINT u UNIQUE (name, code), CHECK (id > 0))"])
    .unwrap();
    let nullable: Vec<_> = table.columns.iter().map(|column| column.info.nullable).collect();
    assert_eq!(nullable, [false, true, false, false, true]);
    assert_eq!(
        table.columns[0].identity,
        Some(Identity {
            seed: 5,
            increment: 2
        })
    );
    assert_eq!(table.columns[1].info.collation.unwrap().name, "Greek_CI_AS");
    assert_eq!(table.columns[3].alias.as_deref(), Some("sysname"));
    let indexes: Vec<_> = table
        .indexes
        .iter()
        .map(|index| (index.id, index.primary, index.clustered))
        .collect();
    assert_eq!(indexes, [(1, true, true), (2, false, false)]);
    assert!(
        table.indexes[0].name.starts_with("PK__Orders__"),
        "{}",
        table.indexes[0].name
    );
    assert_eq!(table.indexes[1].name, "u");
    assert!(
        table.columns[1]
            .default
            .as_ref()
            .unwrap()
            .name
            .starts_with("DF__Orders__name__")
    );
    assert_eq!((table.checks.len(), table.last_column_id), (1, 5));
}

#[test]
fn definitions_that_contradict_themselves_are_refused() {
    for (statements, number) in [
        (&["CREATE TABLE Orders (a int, A int)"][..], 2705),
        (&["CREATE TABLE Orders (a int NULL PRIMARY KEY)"], 8111),
        (
            &["CREATE TABLE Orders (a nvarchar(max) NOT NULL PRIMARY KEY)"],
            1919,
        ),
        (&["CREATE TABLE Orders (a nvarchar(5) IDENTITY)"], 2749),
        (&["CREATE TABLE Orders (a int IDENTITY, b int IDENTITY)"], 2744),
        (&["CREATE TABLE Orders (a rowversion, b rowversion)"], 2738),
        (
            &["CREATE TABLE Orders (a int COLLATE x, b varchar(5) COLLATE Nowhere_CI)"],
            448,
        ),
        (&["CREATE TABLE Orders (a int, PRIMARY KEY (b))"], 1911),
        (
            &[
                "CREATE TABLE Orders (a int NOT NULL, b int NOT NULL, PRIMARY KEY (a))",
                "ALTER TABLE Orders ADD PRIMARY KEY (b)",
            ],
            1779,
        ),
        (
            &[
                "CREATE TABLE Orders (a int)",
                "ALTER TABLE Orders ADD PRIMARY KEY (a)",
            ],
            8111,
        ),
        (
            &[
                "CREATE TABLE Orders (a int PRIMARY KEY, b int)",
                "CREATE CLUSTERED INDEX i ON Orders (b)",
            ],
            1902,
        ),
        (
            &[
                "CREATE TABLE Orders (a int)",
                "CREATE INDEX i ON Orders (a)",
                "CREATE INDEX I ON Orders (a)",
            ],
            1913,
        ),
        (
            &["CREATE TABLE Orders (a int, b int REFERENCES Orders (a))"],
            1776,
        ),
        (
            &[
                "CREATE TABLE Orders (a int DEFAULT 1)",
                "ALTER TABLE Orders DROP COLUMN a",
            ],
            5074,
        ),
        (
            &["CREATE TABLE Orders (a int)", "ALTER TABLE Orders DROP COLUMN b"],
            4924,
        ),
        (
            &[
                "CREATE TABLE Orders (a int)",
                "ALTER TABLE Orders DROP CONSTRAINT b",
            ],
            3728,
        ),
        (
            &[
                "CREATE TABLE Orders (a int)",
                "ALTER TABLE Orders ALTER COLUMN b int",
            ],
            4924,
        ),
    ] {
        let refused = table(statements).map(|_| ()).unwrap_err();
        assert_eq!(refused.number, number, "{statements:?}: {refused}");
    }
}

#[test]
fn a_dropped_column_moves_the_others_keys() {
    let table = table(&[
        "CREATE TABLE Orders (a int, b int NOT NULL, c int NOT NULL, PRIMARY KEY (c, b))",
        "CREATE INDEX i ON Orders (c) INCLUDE (b)",
        "ALTER TABLE Orders DROP COLUMN a",
        "ALTER TABLE Orders ADD d int NULL",
    ])
    .unwrap();
    let keys: Vec<_> = table.indexes[0].keys.iter().map(|key| key.column).collect();
    assert_eq!(keys, [1, 0]);
    assert_eq!(
        (table.indexes[1].keys[0].column, &table.indexes[1].included[..]),
        (1, &[0][..])
    );
    let ids: Vec<_> = table.columns.iter().map(|column| column.id).collect();
    assert_eq!(ids, [2, 3, 4], "a column id is never used again");
}
