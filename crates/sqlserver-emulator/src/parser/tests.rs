//! What parses, what it becomes, and what errors say.

mod accepted;
mod mutated;

use super::*;
use crate::ast::*;
use crate::types::{Length, SqlType};

fn one(sql: &str) -> StatementKind {
    let batch = parse_batch(sql, true).unwrap_or_else(|error| panic!("{sql}: {error}"));
    match <[Statement; 1]>::try_from(batch.statements) {
        Ok([statement]) => statement.kind,
        Err(statements) => panic!("{sql}: {} statements", statements.len()),
    }
}

fn query(sql: &str) -> Select {
    match one(sql) {
        StatementKind::Select(statement) => match statement.query.body {
            QueryBody::Select(select) => *select,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn expr(sql: &str) -> Expr {
    parse_expression(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The expression with every operator in parentheses.
fn shape(expr: &Expr) -> String {
    match expr {
        Expr::Literal(Literal::Int(n)) => n.to_string(),
        Expr::Column(c) => c.name.clone(),
        Expr::Binary { op, left, right } => format!("({} {op:?} {})", shape(left), shape(right)),
        Expr::Compare { op, left, right } => format!("({} {op:?} {})", shape(left), shape(right)),
        Expr::And(left, right) => format!("({} And {})", shape(left), shape(right)),
        Expr::Or(left, right) => format!("({} Or {})", shape(left), shape(right)),
        Expr::Not(operand) => format!("(Not {})", shape(operand)),
        Expr::Unary { op, operand } => format!("({op:?} {})", shape(operand)),
        other => panic!("{other:?}"),
    }
}

/// Documentation: "Operator precedence (Transact-SQL)".
#[test]
fn operators_bind_as_documented() {
    for (sql, expected) in [
        ("a + b * c", "(a Add (b Multiply c))"),
        ("a - b - c", "((a Subtract b) Subtract c)"),
        ("a | b + c", "((a BitOr b) Add c)"),
        ("-a * b", "((Negate a) Multiply b)"),
        ("~a & b", "((BitNot a) BitAnd b)"),
        (
            "a = 1 OR b = 2 AND NOT c = 3",
            "((a Equal 1) Or ((b Equal 2) And (Not (c Equal 3))))",
        ),
        (
            "(a = 1 OR b = 2) AND c !< 3",
            "(((a Equal 1) Or (b Equal 2)) And (c GreaterOrEqual 3))",
        ),
        ("(a + 1) * 2 <> 4", "(((a Add 1) Multiply 2) NotEqual 4)"),
    ] {
        assert_eq!(shape(&expr(sql)), expected, "{sql}");
    }
}

/// Numbers and lines as SQL Server gives them ("Database Engine errors"); class 15 throughout.
#[test]
fn errors_carry_number_text_and_line() {
    for (sql, number, line, text) in [
        (
            "SELECT 1\nSELEC 2\nSELECT 3",
            102,
            2,
            "Incorrect syntax near '2'.",
        ),
        ("SELECT * FROM t WHERE", 102, 1, "Incorrect syntax near 'WHERE'."),
        (
            "SELECT a FROM\nORDER BY a",
            156,
            2,
            "Incorrect syntax near the keyword 'ORDER'.",
        ),
        ("INSERT INTO t VALUES (1", 102, 1, "Incorrect syntax near '1'."),
        (
            "MERGE t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
            10_713,
            1,
            "A MERGE statement must be terminated by a semi-colon (;).",
        ),
        ("SELECT (a = 1)", 102, 1, "Incorrect syntax near ')'."),
        (
            "SELECT 1; CREATE VIEW v AS SELECT 1 a",
            111,
            1,
            "'CREATE VIEW' must be the first statement in a query batch.",
        ),
        (
            "SELECT 'a",
            105,
            1,
            "Unclosed quotation mark after the character string 'a'.",
        ),
        (
            "SELECT 1\nEND",
            156,
            2,
            "Incorrect syntax near the keyword 'END'.",
        ),
        ("SELECT * FROM t LIMIT 5", 102, 1, "Incorrect syntax near '5'."),
        (
            "IF 1 SELECT 1",
            4145,
            1,
            "An expression of non-boolean type specified in a context where a condition is expected, near 'SELECT'.",
        ),
        (
            "SELECT a FROM CHANGETABLE(CHANGES t, @l + 1) c",
            102,
            1,
            "Incorrect syntax near ')'.",
        ),
        (
            "DECLARE @a varchar(8001)",
            131,
            1,
            "The size (8001) given to the type 'varchar' exceeds the maximum allowed for any data type (8000).",
        ),
        (
            "SELECT CAST(1 AS nonsense)",
            243,
            1,
            "Type nonsense is not a defined system type.",
        ),
        ("BEGIN END", 156, 1, "Incorrect syntax near the keyword 'END'."),
    ] {
        let error = parse_batch(sql, true).map(|batch| batch.statements).unwrap_err();
        assert_eq!(
            (error.number, error.line, error.message.as_str()),
            (number, line, text),
            "{sql}"
        );
    }
}

#[test]
fn nesting_ends_with_an_error_before_the_stack_does() {
    let sql = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    let parsed = std::thread::Builder::new()
        .stack_size(8 << 20)
        .spawn(move || parse_batch(&sql, true))
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(parsed.unwrap_err().number, 191);
}

#[test]
fn statements_need_no_semicolons_and_keep_their_lines() {
    let batch = parse_batch(
        "SELECT 1 SELECT 2\nDECLARE @a int = 1;;\n\nIF @a = 1 PRINT 'x' ELSE PRINT 'y'",
        true,
    );
    let lines: Vec<u32> = batch
        .unwrap()
        .statements
        .iter()
        .map(|statement| statement.line)
        .collect();
    assert_eq!(lines, [1, 1, 2, 4]);
}

#[test]
fn types_take_their_documented_defaults() {
    for (sql, expected) in [
        (
            "@a varchar",
            SqlType::VarChar {
                len: Length::Chars(1),
            },
        ),
        ("@a nvarchar(max)", SqlType::NVarChar { len: Length::Max }),
        (
            "@a decimal",
            SqlType::Decimal {
                precision: 18,
                scale: 0,
            },
        ),
        (
            "@a numeric(10)",
            SqlType::Numeric {
                precision: 10,
                scale: 0,
            },
        ),
        ("@a datetime2", SqlType::DateTime2 { scale: 7 }),
        ("@a float(24)", SqlType::Real),
        ("@a double precision", SqlType::Float),
        (
            "@a sysname",
            SqlType::NVarChar {
                len: Length::Chars(128),
            },
        ),
        ("@a [sys].[int]", SqlType::Int),
        (
            "@a national character varying(5)",
            SqlType::NVarChar {
                len: Length::Chars(5),
            },
        ),
        ("@a timestamp", SqlType::RowVersion),
    ] {
        assert_eq!(
            parse_parameters(sql).unwrap()[0].ty,
            DeclaredType::Scalar(expected),
            "{sql}"
        );
    }
    let Expr::Cast { ty, .. } = expr("CAST(a AS varchar)") else {
        panic!()
    };
    assert_eq!(
        ty,
        SqlType::VarChar {
            len: Length::Chars(30)
        }
    );
}

#[test]
fn names_have_up_to_four_parts() {
    let name = |sql: &str| match &query(&format!("SELECT * FROM {sql}")).from[0] {
        TableSource::Named { name, .. } => name.clone(),
        other => panic!("{other:?}"),
    };
    let some = |text: &str| Some(text.to_owned());
    for (sql, server, database, schema, last) in [
        ("t", None, None, None, "t"),
        ("db..t", None, some("db"), None, "t"),
        ("[s].[a]]b]", None, None, some("s"), "a]b"),
        (
            "srv.db.dbo.\"t\"\"u\"",
            some("srv"),
            some("db"),
            some("dbo"),
            "t\"u",
        ),
    ] {
        let expected = ObjectName {
            server,
            database,
            schema,
            name: last.to_owned(),
        };
        assert_eq!(name(sql), expected, "{sql}");
    }
}

#[test]
fn quotes_are_strings_when_the_session_says_so() {
    let batch = parse_batch("SELECT \"a\"", false).unwrap();
    assert!(format!("{batch:?}").contains("Literal(Str"));
}

#[test]
fn select_items_aliases_and_assignments() {
    let select =
        query("SELECT TOP (5) WITH TIES *, t.*, a AS x, b y, z = c, d 'w', @v += 1 FROM t ORDER BY a");
    let aliases: Vec<_> = select
        .items
        .iter()
        .map(|item| match item {
            SelectItem::Star { qualifier } => format!("{}*", qualifier.concat()),
            SelectItem::Expr { alias, .. } => alias.clone().unwrap_or_default(),
            SelectItem::Assign { variable, op, .. } => format!("{variable} {op:?}"),
        })
        .collect();
    assert_eq!(aliases, ["*", "t*", "x", "y", "z", "w", "@v Some(Add)"]);
    assert!(select.top.is_some_and(|top| top.with_ties && !top.percent));
}

#[test]
fn hints_in_both_forms() {
    for (sql, expected) in [
        (
            "SELECT * FROM t WITH (UPDLOCK, HOLDLOCK)",
            vec![TableHint::UpdLock, TableHint::HoldLock],
        ),
        ("SELECT * FROM t u (NOLOCK)", vec![TableHint::NoLock]),
        (
            "SELECT * FROM t AS u WITH (READCOMMITTEDLOCK UPDLOCK)",
            vec![TableHint::ReadCommittedLock, TableHint::UpdLock],
        ),
        (
            "SELECT * FROM t WITH (INDEX(1))",
            vec![TableHint::Other("INDEX(1)".into())],
        ),
    ] {
        let TableSource::Named { hints, .. } = query(sql).from.remove(0) else {
            panic!("{sql}")
        };
        assert_eq!(hints, expected, "{sql}");
    }
}

#[test]
fn joins_nest_by_their_on_clauses() {
    let from = query("SELECT * FROM a LEFT JOIN b JOIN c ON b.x = c.x ON a.x = b.x CROSS APPLY f(a.x) g")
        .from
        .remove(0);
    let TableSource::Apply {
        outer: false, left, ..
    } = from
    else {
        panic!()
    };
    let TableSource::Join {
        kind: JoinKind::Left,
        right,
        ..
    } = *left
    else {
        panic!()
    };
    assert!(matches!(
        *right,
        TableSource::Join {
            kind: JoinKind::Inner,
            ..
        }
    ));
}

#[test]
fn a_merge_keeps_its_clauses_in_order() {
    let StatementKind::Merge(merge) = one(
        "MERGE TOP (10) INTO dbo.t WITH (HOLDLOCK) AS T USING (SELECT 1 AS id) AS S ON T.id = S.id
         WHEN MATCHED AND S.id > 0 THEN UPDATE SET T.v = S.id, w += 1
         WHEN NOT MATCHED THEN INSERT (id) VALUES (S.id)
         WHEN NOT MATCHED BY SOURCE THEN DELETE
         OUTPUT $action, inserted.id, deleted.id INTO @log (a, b, c) OPTION (RECOMPILE);",
    ) else {
        panic!()
    };
    let when: Vec<_> = merge.clauses.iter().map(|clause| clause.when).collect();
    assert_eq!(
        when,
        [
            MergeWhen::Matched,
            MergeWhen::NotMatchedByTarget,
            MergeWhen::NotMatchedBySource
        ]
    );
    assert_eq!(
        (merge.alias.as_deref(), merge.hints.as_slice()),
        (Some("T"), [TableHint::HoldLock].as_slice())
    );
    let output = merge.output.unwrap();
    assert_eq!(output.items.len(), 3);
    assert_eq!(output.into.unwrap().columns, ["a", "b", "c"]);
}

#[test]
fn execute_takes_named_and_output_arguments() {
    let StatementKind::Execute(call) =
        one("EXEC @rc = sys.sp_foo 1, @b = N'x', @c = @v OUTPUT, @d = DEFAULT, @e = -5")
    else {
        panic!()
    };
    assert_eq!(call.status.as_deref(), Some("@rc"));
    let names: Vec<_> = call
        .arguments
        .iter()
        .map(|argument| argument.name.as_deref().unwrap_or(""))
        .collect();
    assert_eq!(names, ["", "@b", "@c", "@d", "@e"]);
    assert!(call.arguments[2].output && call.arguments[3].value.is_none());
}

#[test]
fn table_definitions_keep_constraints_and_their_text() {
    let StatementKind::CreateTable { table, .. } = one(
        "CREATE TABLE dbo.t (id int IDENTITY(10, 5) NOT NULL PRIMARY KEY CLUSTERED, v nvarchar(20) COLLATE Latin1_General_BIN2 NULL
           CONSTRAINT df DEFAULT (N'a' + 'b'), c AS (id * 2) PERSISTED, rv rowversion, timestamp,
           CONSTRAINT uq UNIQUE NONCLUSTERED (v DESC, id) WITH (IGNORE_DUP_KEY = ON),
           CONSTRAINT fk FOREIGN KEY (id) REFERENCES dbo.u (id) ON DELETE CASCADE,
           CHECK (id > 0 AND v <> ''), INDEX ix (v)) ON [PRIMARY]",
    ) else {
        panic!()
    };
    assert_eq!(table.columns.len(), 5);
    assert_eq!(
        table.columns[0].identity,
        Some(IdentityDefinition {
            seed: 10,
            increment: 5
        })
    );
    assert_eq!(
        table.columns[1].default.as_ref().unwrap().value.text,
        "(N'a' + 'b')"
    );
    assert_eq!(
        table.columns[4].ty,
        Some(ColumnType::Builtin(SqlType::RowVersion))
    );
    assert_eq!((table.constraints.len(), table.indexes.len()), (3, 1));
    let ConstraintKind::Check(check) = &table.constraints[2].kind else {
        panic!()
    };
    assert_eq!(check.text, "id > 0 AND v <> ''");
}

#[test]
fn a_triggers_body_stays_text_with_its_line() {
    let StatementKind::CreateTrigger(trigger) =
        one("CREATE TRIGGER dbo.tr ON dbo.t AFTER INSERT, UPDATE\nAS\nBEGIN\n  IF UPDATE(v) PRINT 'x';\nEND")
    else {
        panic!()
    };
    assert_eq!(
        (trigger.body_line, trigger.insert, trigger.delete),
        (3, true, false)
    );
    assert!(trigger.body.starts_with("BEGIN") && trigger.body.ends_with("END"));
}
