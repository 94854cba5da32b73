//! The T-SQL that applies staged rows.
//!
//! A staging table has a column `op` with the code of an [`Op`](model::Op), and the values. Rows are told apart by the target's own
//! comparison; whether a row has changed is told by its bytes. If the source may tell rows apart that are one to the target, other bytes of
//! a key are not taken for a new spelling, and are counted.
//!
//! A delete names the bytes of a key: a row of another spelling is another row by now, or the same one that has been brought anew. So
//! rows are spelled anew before any is deleted.
//!
//! Each statement looks at one staging table, however many there are: the server refuses a statement that is too complex (8623, 8632).

use model::Result;
use sqlserver_client::{Row, SqlType, quote};

use crate::options::Existing;
use crate::target::{Target, TargetColumn};

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

/// How many statements a batch has at most. Those of two staging tables fit into one.
const BATCH_STATEMENTS: usize = 20;

/// What batches did.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) deleted: u64,
    pub(crate) updated: u64,
    pub(crate) inserted: u64,
    pub(crate) skipped: u64,
    /// Staged rows, without deletes.
    pub(crate) staged: u64,
    pub(crate) collided: u64,
}

impl Counts {
    /// Adds the row that a batch selects.
    pub(crate) fn add(&mut self, row: &Row<'_>) -> Result<()> {
        for (name, count) in [
            ("deleted", &mut self.deleted),
            ("updated", &mut self.updated),
            ("inserted", &mut self.inserted),
            ("skipped", &mut self.skipped),
            ("staged", &mut self.staged),
            ("collided", &mut self.collided),
        ] {
            *count += u64::try_from(row.need_i64(name)?).unwrap_or(0);
        }
        Ok(())
    }
}

/// Batches that apply the rows of `stages`, to be run in this order in one transaction. Each selects one row of [`Counts`]. The statements
/// count themselves by OUTPUT, which triggers cannot disturb.
pub(crate) fn batches(target: &Target, stages: &[String], rules: Rules) -> Vec<String> {
    let statements = statements(target, stages, rules);
    statements.chunks(BATCH_STATEMENTS).map(batch).collect()
}

fn batch(statements: &[String]) -> String {
    let count = |action: &str| format!("COUNT_BIG(CASE WHEN action = N'{action}' THEN 1 END)");
    format!(
        "DECLARE @actions TABLE (action nvarchar(10) NOT NULL);\nDECLARE @skipped bigint = 0, @staged bigint = 0, @collided bigint = 0;\n\
         {}SELECT {} AS deleted, {} AS updated, {} AS inserted, @skipped AS skipped, @staged AS staged, @collided AS collided FROM @actions;",
        statements.concat(),
        count("DELETE"),
        count("UPDATE"),
        count("INSERT")
    )
}

fn statements(target: &Target, stages: &[String], rules: Rules) -> Vec<String> {
    let mut all: Vec<_> = stages.iter().map(|stage| count_staged(stage)).collect();
    if target.keyed {
        all.extend(keyed(target, stages, rules));
        all.extend(stages.iter().filter_map(|stage| count_collisions(target, stage)));
        return all;
    }
    if rules.replace {
        all.push(format!("DELETE FROM {} {};\n", target.table, output("DELETE")));
    }
    all.extend(stages.iter().map(|stage| insert(target, stage, "")));
    all
}

fn output(action: &str) -> String {
    format!("OUTPUT N'{action}' INTO @actions")
}

fn keyed(target: &Target, stages: &[String], rules: Rules) -> Vec<String> {
    let mut all = Vec::new();
    if rules.replace && !rules.append_only {
        all.extend(delete_others(target, stages));
    }
    if let Some(kept) = kept_ops(rules) {
        all.extend(stages.iter().map(|stage| count_existing(target, stage, &kept)));
    }
    if !rules.append_only {
        all.extend(stages.iter().filter_map(|stage| respell(target, stage, rules)));
    }
    // Where MERGE can, it deletes: rows that refer to one another go and come in one statement.
    if !rules.append_only && (!rules.merge || target.has_spellings()) {
        all.extend(stages.iter().map(|stage| delete(target, stage)));
    }
    if rules.merge {
        all.extend(stages.iter().map(|stage| merge(target, stage, rules)));
        return all;
    }
    if !rules.append_only {
        all.extend(stages.iter().filter_map(|stage| update(target, stage, rules)));
    }
    let absent = format!(
        " AND NOT EXISTS (SELECT 1 FROM {} WHERE {})",
        rows(target, Locks::Kept),
        same_key(target)
    );
    all.extend(stages.iter().map(|stage| insert(target, stage, &absent)));
    all
}

fn count_staged(stage: &str) -> String {
    format!("SELECT @staged = @staged + COUNT_BIG(*) FROM {stage} WHERE op <> {DELETE};\n")
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

/// The key of a clustered index has at most so many bytes; that of another one may have 1700.
const CLUSTERED_KEY_BYTES: u32 = 900;

/// Indexes the key columns of a staging table.
pub(crate) fn index_keys(target: &Target, stage: &str, unique: bool) -> String {
    let bytes: u32 = target.keys().map(|key| key.ty.key_bytes()).sum();
    let kind = match bytes {
        ..=CLUSTERED_KEY_BYTES => "CLUSTERED",
        _ => "NONCLUSTERED",
    };
    let unique = if unique { "UNIQUE " } else { "" };
    let keys = staged_keys(target);
    format!("CREATE {unique}{kind} INDEX [sync_key] ON {stage} ({keys});")
}

/// The key columns of a staging table.
fn staged_keys(target: &Target) -> String {
    target
        .keys()
        .map(TargetColumn::staged)
        .collect::<Vec<_>>()
        .join(", ")
}

fn same_key(target: &Target) -> String {
    let pairs = target
        .keys()
        .map(|key| format!("t.{} = {}", quote::identifier(&key.name), key.value()));
    pairs.collect::<Vec<_>>().join(" AND ")
}

/// How the target's rows are locked where they are looked at.
#[derive(Clone, Copy)]
enum Locks {
    /// As the statement does it.
    Usual,
    /// Rows, and places where there are none, stay as they are until the end of the transaction.
    Kept,
}

/// The target as `t`.
fn rows(target: &Target, locks: Locks) -> String {
    match locks {
        Locks::Usual => format!("{} AS t", target.table),
        Locks::Kept => format!("{} AS t WITH (UPDLOCK, HOLDLOCK)", target.table),
    }
}

fn joined(target: &Target, stage: &str, locks: Locks) -> String {
    format!(
        "{} INNER JOIN {stage} AS s ON {}",
        rows(target, locks),
        same_key(target)
    )
}

fn count_existing(target: &Target, stage: &str, ops: &str) -> String {
    format!(
        "SELECT @skipped = @skipped + COUNT_BIG(*) FROM {} WHERE {ops};\n",
        joined(target, stage, Locks::Kept)
    )
}

/// Counts the staged values that the column's code page cannot hold.
pub(crate) fn altered_by_code_page(column: &TargetColumn, stage: &str) -> String {
    let name = column.staged();
    let there_and_back = format!("CAST(CAST({name} AS varchar(max)) AS nvarchar(max))");
    format!(
        "SELECT COUNT_BIG(*) AS n FROM {stage} WHERE CAST({there_and_back} AS varbinary(max)) <> \
         CAST(CAST({name} AS nvarchar(max)) AS varbinary(max))"
    )
}

/// Counts the staged values that the column would pad. `None` if it pads none.
pub(crate) fn padded(column: &TargetColumn, stage: &str) -> Option<String> {
    let SqlType::Char { length } = column.ty else {
        return None;
    };
    let name = column.staged();
    Some(format!(
        "SELECT COUNT_BIG(*) AS n FROM {stage} WHERE DATALENGTH(CAST({name} AS varchar(max))) < {length}"
    ))
}

/// Counts staged rows in whose place there is, after everything else, a row whose key has other bytes. `None` if that cannot be.
fn count_collisions(target: &Target, stage: &str) -> Option<String> {
    let differs = differs(&columns(target, TargetColumn::can_collide))?;
    Some(format!(
        "SELECT @collided = @collided + COUNT_BIG(*) FROM {} WHERE s.op <> {DELETE} AND {differs};\n",
        joined(target, stage, Locks::Usual)
    ))
}

/// Counts the keys of which more than one row is to be there.
pub(crate) fn doubled(target: &Target, stage: &str) -> String {
    let keys = staged_keys(target);
    format!(
        "SELECT COUNT_BIG(*) AS n FROM (SELECT COUNT_BIG(*) AS n FROM {stage} WHERE op <> {DELETE} GROUP BY {keys} \
         HAVING COUNT_BIG(*) > 1) AS doubled"
    )
}

fn delete(target: &Target, stage: &str) -> String {
    format!(
        "DELETE t {} FROM {} WHERE s.op = {DELETE}{};\n",
        output("DELETE"),
        joined(target, stage, Locks::Usual),
        and_alike(&columns(target, TargetColumn::has_spellings))
    )
}

/// The keys of several staging tables.
const ALL_KEYS: &str = "[#sync_keys]";

/// Deletes the rows that are not staged. If the transaction is rolled back, so is the table of keys.
fn delete_others(target: &Target, stages: &[String]) -> Vec<String> {
    let (first, others) = match stages {
        [] => return vec![delete_absent(target, None)],
        [stage] => return vec![delete_absent(target, Some(stage))],
        [first, others @ ..] => (first, others),
    };
    let columns = format!("op, {}", staged_keys(target));
    let from = |stage: &str| format!("FROM {stage} WHERE op <> {DELETE};\n");
    let mut all = vec![format!("SELECT {columns} INTO {ALL_KEYS} {}", from(first))];
    let add = |stage: &String| {
        format!(
            "INSERT INTO {ALL_KEYS} ({columns}) SELECT {columns} {}",
            from(stage)
        )
    };
    all.extend(others.iter().map(add));
    all.extend([
        // A key may be in two of them.
        index_keys(target, ALL_KEYS, false) + "\n",
        delete_absent(target, Some(ALL_KEYS)),
        format!("DROP TABLE {ALL_KEYS};\n"),
    ]);
    all
}

/// Deletes the rows whose keys are not in a table; without one, all.
fn delete_absent(target: &Target, keys: Option<&str>) -> String {
    let same_bytes = and_alike(&columns(target, TargetColumn::can_collide));
    let absent = keys.map(|keys| {
        format!(
            " AND NOT EXISTS (SELECT 1 FROM {keys} AS s WHERE {}{same_bytes} AND s.op <> {DELETE})",
            same_key(target)
        )
    });
    format!(
        "DELETE t {} FROM {} WHERE 1 = 1{};\n",
        output("DELETE"),
        rows(target, Locks::Usual),
        absent.unwrap_or_default()
    )
}

/// The condition that no byte of these columns differs.
fn and_alike(columns: &[&TargetColumn]) -> String {
    differs(columns).map_or_else(String::new, |differs| format!(" AND NOT {differs}"))
}

/// Whether any byte of these columns differs, or may differ; `None` if there are no columns. NULLs are equal in EXCEPT.
fn differs(columns: &[&TargetColumn]) -> Option<String> {
    if columns.iter().any(|column| !column.has_image()) {
        return Some("1 = 1".to_owned());
    }
    let images = |image: fn(&TargetColumn) -> String| {
        columns
            .iter()
            .map(|column| image(column))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let stored = images(|column| column.image(&format!("t.{}", quote::identifier(&column.name))));
    let staged = images(|column| column.image(&column.value()));
    (!columns.is_empty()).then(|| format!("EXISTS (SELECT {stored} EXCEPT SELECT {staged})"))
}

fn assignments(columns: &[&TargetColumn]) -> String {
    let pairs = columns
        .iter()
        .map(|column| format!("{} = {}", quote::identifier(&column.name), column.value()));
    pairs.collect::<Vec<_>>().join(", ")
}

fn columns(target: &Target, chosen: fn(&TargetColumn) -> bool) -> Vec<&TargetColumn> {
    target.columns.iter().filter(|column| chosen(column)).collect()
}

/// Updates rows whose other columns differ.
fn update(target: &Target, stage: &str, rules: Rules) -> Option<String> {
    let updated = columns(target, TargetColumn::is_updated);
    update_where(target, stage, rules, &updated, &updated)
}

/// Updates rows whose key has other bytes, all columns at once. It is a statement of its own, because setting a key column makes the
/// server delete and insert the row, which Change Tracking and CDC would show.
fn respell(target: &Target, stage: &str, rules: Rules) -> Option<String> {
    let keys = columns(target, TargetColumn::is_respelled);
    let all = columns(target, |column| column.is_respelled() || column.is_updated());
    update_where(target, stage, rules, &keys, &all)
}

fn update_where(
    target: &Target,
    stage: &str,
    rules: Rules,
    compared: &[&TargetColumn],
    set: &[&TargetColumn],
) -> Option<String> {
    let differs = differs(compared)?;
    Some(format!(
        "UPDATE t SET {} {} FROM {} WHERE {} AND {differs};\n",
        assignments(set),
        output("UPDATE"),
        joined(target, stage, Locks::Kept),
        overwriting_ops(rules)
    ))
}

fn insert(target: &Target, stage: &str, condition: &str) -> String {
    let statement = format!(
        "INSERT INTO {} ({}) {} SELECT {} FROM {stage} AS s WHERE s.op <> {DELETE}{condition};\n",
        target.table,
        target_list(target),
        output("INSERT"),
        staged_list(target)
    );
    with_identity(target, statement)
}

fn target_list(target: &Target) -> String {
    quote::list(target.columns.iter().map(|column| column.name.as_str()))
}

fn staged_list(target: &Target) -> String {
    let columns = target.columns.iter().map(TargetColumn::value);
    columns.collect::<Vec<_>>().join(", ")
}

fn with_identity(target: &Target, sql: String) -> String {
    if !target.has_identity() {
        return sql;
    }
    let table = &target.table;
    format!("SET IDENTITY_INSERT {table} ON;\n{sql}SET IDENTITY_INSERT {table} OFF;\n")
}

/// No row of the target may match two of the stage, so it leaves deletes alone where the stage may tell that of another spelling.
fn merge(target: &Target, stage: &str, rules: Rules) -> String {
    let undeleted = match target.has_spellings() {
        true => format!(" AND s.op <> {DELETE}"),
        false => String::new(),
    };
    let mut sql = format!(
        "MERGE INTO {} WITH (HOLDLOCK) AS t USING {stage} AS s ON {}{undeleted}\n",
        target.table,
        same_key(target)
    );
    if !rules.append_only {
        if !target.has_spellings() {
            sql += &format!("WHEN MATCHED AND s.op = {DELETE} THEN DELETE\n");
        }
        let updated = columns(target, TargetColumn::is_updated);
        if let Some(differs) = differs(&updated) {
            sql += &format!(
                "WHEN MATCHED AND {} AND {differs} THEN UPDATE SET {}\n",
                overwriting_ops(rules),
                assignments(&updated)
            );
        }
    }
    sql += &format!(
        "WHEN NOT MATCHED BY TARGET AND s.op <> {DELETE} THEN INSERT ({}) VALUES ({})\nOUTPUT $action INTO @actions;\n",
        target_list(target),
        staged_list(target)
    );
    with_identity(target, sql)
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
        joined(target, stage, Locks::Usual),
        quote::identifier(&identity.name),
        identity.staged()
    ))
}

/// Counts staged deletes, which a table without a key cannot apply.
pub(crate) fn deletes(stage: &str) -> String {
    format!("SELECT COUNT_BIG(*) AS n FROM {stage} WHERE op = {DELETE}")
}

#[cfg(test)]
mod tests;
