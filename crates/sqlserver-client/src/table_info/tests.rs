use super::*;

fn column(name: &str, ty: &str, nullable: bool) -> ColumnInfo {
    let ty = ty
        .parse()
        .map_or_else(|_| ColumnType::Unmapped(ty.into()), ColumnType::Mapped);
    ColumnInfo {
        nullable,
        ..ColumnInfo::new(name, ty)
    }
}

fn index(name: &str, columns: &[&str], primary_key: bool) -> IndexInfo {
    IndexInfo {
        primary_key,
        clustered: primary_key,
        ..IndexInfo::unique(name, columns)
    }
}

fn table(columns: Vec<ColumnInfo>, indexes: Vec<IndexInfo>) -> TableInfo {
    TableInfo {
        indexes,
        ..TableInfo::new(TableName::new("dbo", "T"), columns)
    }
}

#[test]
fn the_primary_key_wins_and_a_usable_unique_index_stands_in() {
    let columns = || {
        vec![
            column("id", "int", false),
            column("code", "nvarchar(9)", false),
            column("n", "int", true),
        ]
    };
    let key = |indexes| table(columns(), indexes).key().map(|key| key.name.clone());
    assert_eq!(
        key(vec![index("u", &["code"], false), index("pk", &["id"], true)]),
        Some("pk".into())
    );
    assert_eq!(
        key(vec![index("n", &["n"], false), index("u", &["code"], false)]),
        Some("u".into())
    );
    assert_eq!(key(vec![index("n", &["id", "n"], false)]), None);
    let mut filtered = index("f", &["id"], false);
    filtered.filtered = true;
    assert_eq!(key(vec![filtered]), None);
    let coarse = table(
        vec![column("t", "datetime2(7)", false)],
        vec![index("pk", &["t"], true)],
    );
    assert_eq!(
        coarse.key(),
        None,
        "two keys may differ in the digit that is lost"
    );
}

#[test]
fn a_schema_names_what_it_cannot_carry() {
    let odd = table(
        vec![column("id", "int", false), column("g", "vector(3,float16)", true)],
        vec![],
    );
    let error = odd.schema(&TypePolicy::default(), &[]).unwrap_err();
    assert!(
        error.message().contains("\"g\"") && error.message().contains("vector(3,float16)"),
        "{error}"
    );
    let schema = odd.schema(&TypePolicy::default(), &["g".into()]).unwrap();
    assert_eq!(schema.arrow().fields().len(), 1);
    assert_eq!(
        odd.schema(&TypePolicy::default(), &["h".into()])
            .unwrap_err()
            .kind(),
        ErrorKind::Config
    );
}

#[test]
fn excluding_a_key_column_takes_the_key() {
    let pair = table(
        vec![column("a", "int", false), column("b", "int", false)],
        vec![index("pk", &["b", "a"], true)],
    );
    assert_eq!(pair.schema(&TypePolicy::default(), &[]).unwrap().key(), [1, 0]);
    assert!(
        !pair
            .schema(&TypePolicy::default(), &["a".into()])
            .unwrap()
            .has_key()
    );
}

#[test]
fn types_that_arrow_lacks_come_as_text_or_bytes() {
    for (ty, select) in [
        ("hierarchyid", "CAST([c] AS varbinary(892)) AS [c]"),
        ("geography", "CAST([c] AS varbinary(max)) AS [c]"),
        ("json", "CAST([c] AS nvarchar(max)) AS [c]"),
        ("xml", "[c]"),
        // As text it would have a digit less than a float.
        ("vector(3)", "[c]"),
    ] {
        assert_eq!(column("c", ty, true).select(), select);
    }
    let mut custom = column("c", "int", true);
    custom.ty = ColumnType::Mapped(SqlType::Clr);
    assert_eq!(custom.select(), "CAST([c] AS varbinary(max)) AS [c]");
    assert_eq!(custom.declared().unwrap().declared, "varbinary(max)");
}

#[test]
fn difficult_code_pages_are_converted_by_the_server() {
    for (ty, code_page, select) in [
        ("varchar(10)", 1252, "[c]"),
        ("varchar(10)", 65001, "[c]"),
        ("varchar(10)", 932, "CAST([c] AS nvarchar(10)) AS [c]"),
        ("varchar(8000)", 950, "CAST([c] AS nvarchar(max)) AS [c]"),
        ("text", 437, "CAST([c] AS nvarchar(max)) AS [c]"),
        ("nvarchar(10)", 932, "[c]"),
    ] {
        let mut c = column("c", ty, true);
        c.code_page = Some(code_page);
        assert_eq!(c.select(), select);
    }
}
