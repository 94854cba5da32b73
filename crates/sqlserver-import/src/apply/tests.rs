use super::*;
use crate::target::TargetColumn;

fn column(name: &str, source: usize, ty: &str, in_key: bool) -> TargetColumn {
    TargetColumn {
        name: name.into(),
        source,
        ty: ty.parse().unwrap(),
        travels_as: None,
        collation: None,
        identity: false,
        in_key,
        compares_alike: true,
    }
}

fn target(keyed: bool) -> Target {
    Target {
        takes_rows_straight: false,
        table: "[dbo].[T]".into(),
        columns: vec![
            column("id", 0, "int", keyed),
            column("a]", 1, "nvarchar(9)", false),
            column("at", 2, "datetimeoffset(3)", false),
        ],
        keyed,
        mergeable: true,
    }
}

const PLAIN: Rules = Rules {
    existing: Existing::Overwrite,
    append_only: false,
    replace: false,
    merge: false,
};

fn sql(target: &Target, rules: Rules) -> String {
    let batches = batches(target, &["#s".to_owned()], rules);
    assert_eq!(batches.len(), 1, "one staging table takes one batch");
    batches.concat()
}

#[test]
fn changes_are_found_by_bytes_and_keys_by_collation() {
    let sql = sql(&target(true), PLAIN);
    let differs = "EXISTS (SELECT CAST(t.[a]]] AS varbinary(max)), DATALENGTH(t.[a]]]), CONVERT(char(34), t.[at], 121) \
                   EXCEPT SELECT CAST(s.c1 AS varbinary(max)), DATALENGTH(s.c1), CONVERT(char(34), s.c2, 121))";
    for part in [
        "DELETE t OUTPUT N'DELETE' INTO @actions FROM [dbo].[T] AS t INNER JOIN #s AS s ON t.[id] = s.c0 WHERE s.op = 3;",
        "UPDATE t SET [a]]] = s.c1, [at] = s.c2 OUTPUT N'UPDATE' INTO @actions FROM [dbo].[T] AS t WITH (UPDLOCK, HOLDLOCK) INNER JOIN #s AS s ON t.[id] = s.c0 WHERE s.op <> 3 AND ",
        differs,
        "INSERT INTO [dbo].[T] ([id], [a]]], [at]) OUTPUT N'INSERT' INTO @actions SELECT s.c0, s.c1, s.c2 FROM #s AS s WHERE s.op <> 3 \
         AND NOT EXISTS (SELECT 1 FROM [dbo].[T] AS t WITH (UPDLOCK, HOLDLOCK) WHERE t.[id] = s.c0);",
    ] {
        assert!(sql.contains(part), "{part}\nis not in\n{sql}");
    }
    assert!(
        !sql.contains("IDENTITY_INSERT") && !sql.contains("@skipped = @skipped"),
        "{sql}"
    );
}

#[test]
fn both_forms_say_the_same() {
    let merge = sql(&target(true), Rules { merge: true, ..PLAIN });
    for part in [
        "MERGE INTO [dbo].[T] WITH (HOLDLOCK) AS t USING #s AS s ON t.[id] = s.c0\n",
        "WHEN MATCHED AND s.op = 3 THEN DELETE",
        "WHEN MATCHED AND s.op <> 3 AND EXISTS (SELECT ",
        "WHEN NOT MATCHED BY TARGET AND s.op <> 3 THEN INSERT ([id], [a]]], [at]) VALUES (s.c0, s.c1, s.c2)",
        "OUTPUT $action INTO @actions;",
    ] {
        assert!(merge.contains(part), "{part}\nis not in\n{merge}");
    }
    assert!(
        !merge.contains("UPDATE t SET") && !merge.contains("NOT EXISTS"),
        "{merge}"
    );
}

#[test]
fn rules_choose_the_rows() {
    for (rules, has, has_not) in [
        (
            Rules {
                existing: Existing::Skip,
                ..PLAIN
            },
            vec!["WHERE s.op NOT IN (2, 3);", "WHERE s.op = 2 AND EXISTS"],
            vec![],
        ),
        (
            Rules {
                append_only: true,
                existing: Existing::Skip,
                ..PLAIN
            },
            vec!["INSERT INTO", "WHERE s.op <> 3;"],
            vec!["DELETE t", "UPDATE t"],
        ),
        (
            Rules {
                replace: true,
                ..PLAIN
            },
            vec![
                "DELETE t OUTPUT N'DELETE' INTO @actions FROM [dbo].[T] AS t WHERE 1 = 1 AND NOT EXISTS (SELECT 1 FROM #s AS s WHERE t.[id] = s.c0 AND s.op <> 3)",
            ],
            vec![],
        ),
        (
            Rules {
                merge: true,
                existing: Existing::Skip,
                append_only: true,
                ..PLAIN
            },
            vec!["WHEN NOT MATCHED BY TARGET"],
            vec!["THEN UPDATE", "DELETE t", "THEN DELETE"],
        ),
    ] {
        let sql = sql(&target(true), rules);
        for part in has {
            assert!(sql.contains(part), "{part}\nis not in\n{sql}");
        }
        for part in has_not {
            assert!(!sql.contains(part), "{part}\nis in\n{sql}");
        }
    }
}

#[test]
fn a_table_without_a_key_is_appended_or_replaced() {
    let append = sql(&target(false), PLAIN);
    assert!(
        append.contains("INSERT INTO") && !append.contains("DELETE FROM") && !append.contains("EXISTS"),
        "{append}"
    );
    let replace = sql(
        &target(false),
        Rules {
            replace: true,
            ..PLAIN
        },
    );
    assert!(
        replace.contains("DELETE FROM [dbo].[T] OUTPUT N'DELETE' INTO @actions;"),
        "{replace}"
    );
}

#[test]
fn rows_of_no_staging_table_are_found_by_all_keys_together() {
    let mut target = target(true);
    target.columns[1] = column("code", 1, "nvarchar(400)", true);
    let stages = ["#a", "#b", "#c"].map(str::to_owned);
    assert_eq!(
        delete_others(&target, &stages),
        [
            "SELECT op, c0, c1 INTO [#sync_keys] FROM #a WHERE op <> 3;\n",
            "INSERT INTO [#sync_keys] (op, c0, c1) SELECT op, c0, c1 FROM #b WHERE op <> 3;\n",
            "INSERT INTO [#sync_keys] (op, c0, c1) SELECT op, c0, c1 FROM #c WHERE op <> 3;\n",
            "CREATE CLUSTERED INDEX [sync_key] ON [#sync_keys] (c0, c1);\n",
            "DELETE t OUTPUT N'DELETE' INTO @actions FROM [dbo].[T] AS t WHERE 1 = 1 AND NOT EXISTS \
             (SELECT 1 FROM [#sync_keys] AS s WHERE t.[id] = s.c0 AND t.[code] = s.c1 AND s.op <> 3);\n",
            "DROP TABLE [#sync_keys];\n",
        ]
    );
    assert_eq!(
        delete_others(&target, &[]),
        ["DELETE t OUTPUT N'DELETE' INTO @actions FROM [dbo].[T] AS t WHERE 1 = 1;\n"]
    );
    target.columns[1].compares_alike = false;
    let bytes = "AND NOT EXISTS (SELECT CAST(t.[code] AS varbinary(max)), DATALENGTH(t.[code]) EXCEPT \
                 SELECT CAST(s.c1 AS varbinary(max)), DATALENGTH(s.c1)) AND s.op <> 3);";
    let deletes = delete_others(&target, &stages);
    assert!(deletes[4].contains(bytes), "{}", deletes[4]);
    target.columns[1].ty = "nvarchar(500)".parse().unwrap();
    let index = &delete_others(&target, &stages)[3];
    assert!(index.starts_with("CREATE NONCLUSTERED INDEX"), "{index}");
}

#[test]
fn a_batch_grows_with_the_columns_and_not_with_the_staging_tables() {
    let longest = |keyed, stages: i32, rules| {
        let stages: Vec<_> = (0..stages)
            .map(|number| format!("#sync_stage_{number:03}"))
            .collect();
        let batches = batches(&target(keyed), &stages, rules);
        batches.iter().map(String::len).max().unwrap()
    };
    let replace = Rules {
        replace: true,
        ..PLAIN
    };
    for keyed in [false, true] {
        for rules in [
            PLAIN,
            replace,
            Rules {
                merge: true,
                ..replace
            },
        ] {
            let (some, many) = (longest(keyed, 50, rules), longest(keyed, 500, rules));
            assert_eq!(some, many, "{keyed} {rules:?}");
        }
    }
}

#[test]
fn identities_are_inserted_and_never_updated() {
    let mut target = target(true);
    target.columns[1] = TargetColumn {
        identity: true,
        ..column("n", 1, "bigint", false)
    };
    let sql = sql(&target, PLAIN);
    assert!(
        sql.contains("SET IDENTITY_INSERT [dbo].[T] ON;\nINSERT")
            && sql.contains("IDENTITY_INSERT [dbo].[T] OFF")
    );
    assert!(sql.contains("UPDATE t SET [at] = s.c2 OUTPUT"), "{sql}");
    let conflicts = identity_conflicts(&target, "#s").unwrap();
    assert!(conflicts.contains("t.[n] <> s.c1"), "{conflicts}");
}

#[test]
fn a_key_whose_bytes_differ_is_updated_apart() {
    let mut target = target(true);
    target.columns[0] = column("id", 0, "varchar(5)", true);
    let sql = sql(&target, PLAIN);
    let respelled = "UPDATE t SET [id] = s.c0, [a]]] = s.c1, [at] = s.c2 OUTPUT";
    let deleted = "WHERE s.op = 3 AND NOT EXISTS (SELECT CAST(t.[id] AS varbinary(max)), DATALENGTH(t.[id]) EXCEPT \
                   SELECT CAST(s.c0 AS varbinary(max)), DATALENGTH(s.c0));";
    let others = "UPDATE t SET [a]]] = s.c1, [at] = s.c2 OUTPUT";
    let place = |sql: &str, part: &str| {
        sql.find(part)
            .unwrap_or_else(|| panic!("{part}\nis not in\n{sql}"))
    };
    assert!(place(&sql, respelled) < place(&sql, deleted));
    assert!(place(&sql, deleted) < place(&sql, others));
    let merge = self::sql(&target, Rules { merge: true, ..PLAIN });
    let others = "THEN UPDATE SET [a]]] = s.c1, [at] = s.c2\n";
    assert!(place(&merge, respelled) < place(&merge, deleted));
    assert!(place(&merge, deleted) < place(&merge, others));
}
