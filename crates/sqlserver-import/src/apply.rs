//! The T-SQL that applies staged rows.
//!
//! A staging table has a column `op` with the code of an [`Op`](model::Op), and the values. Rows are told apart by the target's own
//! comparison; whether a row has changed is told by its bytes.

use crate::options::Existing;
use crate::target::Target;

/// The code of [`Op::Update`](model::Op::Update).
const UPDATE: i8 = model::Op::Update as i8;
/// The code of [`Op::Delete`](model::Op::Delete).
const DELETE: i8 = model::Op::Delete as i8;

/// What the statements do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) existing: Existing,
    /// Whether updates and deletes of the source are passed over.
    pub(crate) append_only: bool,
    /// Whether rows that are not staged are deleted.
    pub(crate) replace: bool,
    pub(crate) merge: bool,
}

/// A batch that applies the rows of `stages` and selects one row of counts: `deleted`, `updated`, `inserted`, `skipped`,
/// `staged` (without deletes).
pub(crate) fn batch(target: &Target, stages: &[String], rules: Rules) -> String {
    let mut sql = String::from(
        "DECLARE @deleted bigint = 0, @updated bigint = 0, @inserted bigint = 0, @skipped bigint = 0, @staged bigint = 0;\n",
    );
    for stage in stages {
        sql += &format!("SELECT @staged = @staged + COUNT_BIG(*) FROM {stage} WHERE op <> {DELETE};\n");
    }
    if target.keyed {
        sql += &keyed(target, stages, rules);
    } else {
        if rules.replace {
            sql += &counted("deleted", &format!("DELETE FROM {}", target.table));
        }
        for stage in stages {
            sql += &insert(target, stage, "");
        }
    }
    sql += "SELECT @deleted AS deleted, @updated AS updated, @inserted AS inserted, @skipped AS skipped, @staged AS staged;";
    sql
}

fn keyed(target: &Target, stages: &[String], rules: Rules) -> String {
    let mut sql = String::new();
    if rules.replace && !rules.append_only {
        sql += &counted("deleted", &delete_others(target, stages));
    }
    for stage in stages {
        if let Some(kept) = kept_ops(rules) {
            sql += &count_existing(target, stage, &kept);
        }
        if rules.merge {
            sql += &merge(target, stage, rules);
        }
    }
    if rules.merge {
        return sql;
    }
    for stage in stages.iter().filter(|_| !rules.append_only) {
        sql += &counted("deleted", &delete(target, stage));
    }
    for stage in stages.iter().filter(|_| !rules.append_only) {
        if let Some(update) = update(target, stage, rules) {
            sql += &counted("updated", &update);
        }
    }
    for stage in stages {
        let absent = format!(
            " AND NOT EXISTS (SELECT 1 FROM {} AS t WITH (UPDLOCK, HOLDLOCK) WHERE {})",
            target.table,
            same_key(target)
        );
        sql += &insert(target, stage, &absent);
    }
    sql
}

fn counted(counter: &str, statement: &str) -> String {
    format!("{statement};\nSET @{counter} = @{counter} + @@ROWCOUNT;\n")
}

/// The condition on `s.op` of rows that leave an existing row as it is; `None` if there are none.
fn kept_ops(rules: Rules) -> Option<String> {
    match (rules.append_only, rules.existing) {
        (true, _) => Some(format!("s.op <> {DELETE}")),
        (false, Existing::Overwrite) => None,
        (false, Existing::Skip | Existing::Error) => Some(format!("s.op NOT IN ({UPDATE}, {DELETE})")),
    }
}

/// The condition on `s.op` of rows that overwrite.
fn overwriting_ops(rules: Rules) -> String {
    match rules.existing {
        Existing::Overwrite => format!("s.op <> {DELETE}"),
        Existing::Skip | Existing::Error => format!("s.op = {UPDATE}"),
    }
}

fn same_key(target: &Target) -> String {
    let pairs = target.keys().map(|key| {
        format!(
            "t.{} = s.{}",
            sqlserver_client::quote::identifier(&key.name),
            key.staged()
        )
    });
    pairs.collect::<Vec<_>>().join(" AND ")
}

fn joined(target: &Target, stage: &str, hint: &str) -> String {
    format!(
        "{} AS t{hint} INNER JOIN {stage} AS s ON {}",
        target.table,
        same_key(target)
    )
}

fn count_existing(target: &Target, stage: &str, ops: &str) -> String {
    format!(
        "SELECT @skipped = @skipped + COUNT_BIG(*) FROM {} WHERE {ops};\n",
        joined(target, stage, " WITH (UPDLOCK, HOLDLOCK)")
    )
}

fn delete(target: &Target, stage: &str) -> String {
    format!(
        "DELETE t FROM {} WHERE s.op = {DELETE}",
        joined(target, stage, "")
    )
}

fn delete_others(target: &Target, stages: &[String]) -> String {
    let mut sql = format!("DELETE t FROM {} AS t WHERE 1 = 1", target.table);
    for stage in stages {
        sql += &format!(
            " AND NOT EXISTS (SELECT 1 FROM {stage} AS s WHERE {} AND s.op <> {DELETE})",
            same_key(target)
        );
    }
    sql
}

/// Whether any byte of a row differs. NULLs are equal in EXCEPT.
fn differs(target: &Target) -> Option<String> {
    let updated: Vec<_> = target
        .columns
        .iter()
        .filter(|column| column.is_updated())
        .collect();
    let images = |side: &str| {
        let images = updated.iter().map(|column| {
            column.image(&match side {
                "t" => format!("t.{}", sqlserver_client::quote::identifier(&column.name)),
                _ => format!("s.{}", column.staged()),
            })
        });
        images.collect::<Vec<_>>().join(", ")
    };
    (!updated.is_empty()).then(|| format!("EXISTS (SELECT {} EXCEPT SELECT {})", images("t"), images("s")))
}

fn assignments(target: &Target) -> String {
    let assigned = target.columns.iter().filter(|column| column.is_updated());
    let pairs = assigned.map(|column| {
        format!(
            "{} = s.{}",
            sqlserver_client::quote::identifier(&column.name),
            column.staged()
        )
    });
    pairs.collect::<Vec<_>>().join(", ")
}

fn update(target: &Target, stage: &str, rules: Rules) -> Option<String> {
    let differs = differs(target)?;
    Some(format!(
        "UPDATE t SET {} FROM {} WHERE {} AND {differs}",
        assignments(target),
        joined(target, stage, " WITH (UPDLOCK, HOLDLOCK)"),
        overwriting_ops(rules)
    ))
}

fn insert(target: &Target, stage: &str, condition: &str) -> String {
    let statement = format!(
        "INSERT INTO {} ({}) SELECT {} FROM {stage} AS s WHERE s.op <> {DELETE}{condition}",
        target.table,
        target_list(target),
        staged_list(target)
    );
    with_identity(target, counted("inserted", &statement))
}

fn target_list(target: &Target) -> String {
    sqlserver_client::quote::list(target.columns.iter().map(|column| column.name.as_str()))
}

fn staged_list(target: &Target) -> String {
    let columns = target
        .columns
        .iter()
        .map(|column| format!("s.{}", column.staged()));
    columns.collect::<Vec<_>>().join(", ")
}

fn with_identity(target: &Target, sql: String) -> String {
    if !target.has_identity() {
        return sql;
    }
    let table = &target.table;
    format!("SET IDENTITY_INSERT {table} ON;\n{sql}SET IDENTITY_INSERT {table} OFF;\n")
}

fn merge(target: &Target, stage: &str, rules: Rules) -> String {
    let actions = format!("@actions_{}", stage.trim_start_matches('#'));
    let mut sql = format!("DECLARE {actions} TABLE (action nvarchar(10) NOT NULL);\n");
    let mut statement = format!(
        "MERGE INTO {} WITH (HOLDLOCK) AS t USING {stage} AS s ON {}\n",
        target.table,
        same_key(target)
    );
    if !rules.append_only {
        statement += &format!("WHEN MATCHED AND s.op = {DELETE} THEN DELETE\n");
        if let Some(differs) = differs(target) {
            statement += &format!(
                "WHEN MATCHED AND {} AND {differs} THEN UPDATE SET {}\n",
                overwriting_ops(rules),
                assignments(target)
            );
        }
    }
    statement += &format!(
        "WHEN NOT MATCHED BY TARGET AND s.op <> {DELETE} THEN INSERT ({}) VALUES ({})\nOUTPUT $action INTO {actions};\n",
        target_list(target),
        staged_list(target)
    );
    sql += &with_identity(target, statement);
    for (counter, action) in [
        ("deleted", "DELETE"),
        ("updated", "UPDATE"),
        ("inserted", "INSERT"),
    ] {
        sql += &format!(
            "SELECT @{counter} = @{counter} + COUNT_BIG(*) FROM {actions} WHERE action = N'{action}';\n"
        );
    }
    sql
}

/// Counts staged rows whose identity differs from the row they match: an identity cannot be updated. `None` if that
/// cannot be.
pub(crate) fn identity_conflicts(target: &Target, stage: &str) -> Option<String> {
    let identity = target
        .columns
        .iter()
        .find(|column| column.identity && !column.in_key)?;
    if !target.keyed {
        return None;
    }
    Some(format!(
        "SELECT COUNT_BIG(*) AS n FROM {} WHERE s.op <> {DELETE} AND t.{} <> s.{}",
        joined(target, stage, ""),
        sqlserver_client::quote::identifier(&identity.name),
        identity.staged()
    ))
}

/// Counts staged deletes, which a table without a key cannot apply.
pub(crate) fn deletes(stage: &str) -> String {
    format!("SELECT COUNT_BIG(*) AS n FROM {stage} WHERE op = {DELETE}")
}

#[cfg(test)]
mod tests;
