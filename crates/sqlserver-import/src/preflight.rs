//! What is looked at before any row: whether the target exists, fits and may be written.

use std::sync::Arc;

use model::{Error, ErrorKind, Prepare, Prepared, Result, TableName, TableSchema};
use sqlserver_client::{
    CommitEnd, Connection, IndexInfo, Isolation, Permission, SqlType, TableInfo, ddl, is_there_already,
};
use tracing::warn;

use crate::marks::{self, Owner};
use crate::options::{ApplyOptions, Strategy};
use crate::rights::{missing_rights, to_write};
use crate::target::{Target, find};

/// How often what is missing is looked for: more often than things are created – two schemas, the table of marks and the table.
const LOOKS: usize = 5;

/// Creates or checks the target.
///
/// The tables of a first run, and other processes, create the same schemas and the same table of marks at the same time. Who comes
/// second finds them when it looks again.
pub(crate) async fn run(
    connection: &mut Connection,
    prepare: &Prepare,
    options: &ApplyOptions,
) -> Result<Prepared> {
    for _ in 1..LOOKS {
        match create_or_check(connection, prepare, options).await {
            Err(error) if is_there_already(&error) && !connection.is_dead() => {}
            ended => return ended,
        }
    }
    create_or_check(connection, prepare, options).await
}

async fn create_or_check(
    connection: &mut Connection,
    prepare: &Prepare,
    options: &ApplyOptions,
) -> Result<Prepared> {
    let mut prepared = Prepared::default();
    let Some(info) = connection.find_table(&prepare.table).await? else {
        create(connection, prepare, &mut prepared).await?;
        return Ok(prepared);
    };
    let additions = additions(connection, prepare, &info).await?;
    if additions.is_empty() {
        check(connection, prepare, options, &info, &mut prepared).await?;
        return Ok(prepared);
    }
    prepared.altered = true;
    prepared.actions.clone_from(&additions);
    if !prepare.dry_run {
        create_marks(connection).await?;
        marks::note_columns(connection, &prepare.sync, &info).await?;
        for addition in &additions {
            connection.execute(addition, &[]).await?;
        }
        let info = connection.table_info(&prepare.table).await?;
        check(connection, prepare, options, &info, &mut prepared).await?;
    }
    Ok(prepared)
}

/// The statements that add columns which the source has gained, if the table is ours to change.
async fn additions(connection: &mut Connection, prepare: &Prepare, info: &TableInfo) -> Result<Vec<String>> {
    let missing = |name: &str| find(info, name).is_none();
    let fields = prepare.schema.arrow().fields();
    let key_is_there = prepare.schema.key_names().iter().all(|name| !missing(name));
    if !key_is_there || !fields.iter().any(|field| missing(field.name())) {
        return Ok(Vec::new());
    }
    let owner = marks::owner(connection, &prepare.sync, &prepare.table).await?;
    if !matches!(owner, Owner::Ours { created: true }) {
        return Ok(Vec::new());
    }
    let columns = ddl::column_definitions(&prepare.schema)?;
    let added = columns.iter().filter(|column| missing(&column.name));
    Ok(added.map(|column| ddl::add_column(&info.name, column)).collect())
}

async fn create(connection: &mut Connection, prepare: &Prepare, prepared: &mut Prepared) -> Result<()> {
    let applied = marks::read(connection, &prepare.sync).await?;
    let missing = || {
        Error::new(
            ErrorKind::NotFound,
            format!("the target table {} does not exist", prepare.table),
        )
    };
    if applied.committed.mark.is_some() && !prepare.replace {
        return Err(missing().hint(
            "a table that was applied to before is not created anew in silence; run once with `--full`, which creates it and copies \
             everything",
        ));
    }
    if !prepare.create {
        return Err(missing().hint("create it, or set `Prepare::create`"));
    }
    let columns = ddl::column_definitions(&prepare.schema)?;
    let statements = [
        ddl::create_schema(prepare.table.schema()),
        ddl::create_table(&prepare.table, &columns, &prepare.schema.key_names()),
    ];
    prepared.created = true;
    prepared.actions.extend(statements.iter().cloned());
    if prepare.dry_run {
        return Ok(());
    }
    connection.begin(Isolation::ReadCommitted).await?;
    if let Err(error) = create_noted(connection, prepare, &statements).await {
        if let Err(rollback) = connection.rollback().await {
            warn!(error = %rollback, "cannot roll back; the server does when the link is gone");
        }
        return Err(error);
    }
    match connection.commit().await {
        CommitEnd::Committed => Ok(()),
        // Whoever prepares again finds the table with its note, or neither.
        CommitEnd::Refused(error) | CommitEnd::Unknown(error) => Err(error),
    }
}

/// The table and the note that it is ours, in one transaction: without the note it would be somebody else's.
async fn create_noted(connection: &mut Connection, prepare: &Prepare, statements: &[String]) -> Result<()> {
    create_marks(connection).await?;
    for statement in statements {
        connection.execute(statement, &[]).await?;
    }
    marks::note_created(connection, &prepare.sync, &prepare.table).await
}

/// The statements change nothing if they find what they create.
async fn create_marks(connection: &mut Connection) -> Result<()> {
    for statement in marks::ddl() {
        connection.execute(&statement, &[]).await?;
    }
    Ok(())
}

async fn check(
    connection: &mut Connection,
    prepare: &Prepare,
    options: &ApplyOptions,
    info: &TableInfo,
    prepared: &mut Prepared,
) -> Result<()> {
    let problems = shape_problems(info, &prepare.schema);
    if !problems.is_empty() {
        return Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "rows cannot be applied to {}:\n- {}",
                info.name,
                problems.join("\n- ")
            ),
        ));
    }
    let sets_identity = written(info, &prepare.schema).any(|column| column.identity);
    let missing = missing_rights(connection, &to_write(info, sets_identity)).await?;
    if !missing.is_empty() {
        return Err(Error::new(
            ErrorKind::Denied,
            format!("the login may not write to {}", info.name),
        )
        .hint(Permission::grants(&missing)));
    }
    Target::new(info, &prepare.schema)?;
    let applied = marks::read(connection, &prepare.sync).await?;
    match applied.check_target(&prepare.table, &marks::incarnation(info)) {
        Ok(()) if applied.committed.mark.is_some() => {}
        Err(gap) if !prepare.replace => return Err(gap),
        _ => check_first_use(connection, prepare, options, info).await?,
    }
    prepared.actions.extend(notes(info, &prepare.schema));
    if !prepare.dry_run {
        create_marks(connection).await?;
    }
    Ok(())
}

/// A table that this sync has not written yet: whose is it, and what is in it?
async fn check_first_use(
    connection: &mut Connection,
    prepare: &Prepare,
    options: &ApplyOptions,
    info: &TableInfo,
) -> Result<()> {
    if !prepare.adopt {
        let table = &info.name;
        match marks::owner(connection, &prepare.sync, &prepare.table).await? {
            Owner::Ours { .. } => {}
            Owner::Another(sync) => {
                let why = format!("another sync writes to the table {table}");
                return Err(Error::new(ErrorKind::Config, why)
                    .with("sync", sync)
                    .hint("choose another table; or set `adopt: true` for it if both are to write to it"));
            }
            Owner::Nobody => {
                let why = format!("the table {table} exists and was not created by this engine");
                return Err(Error::new(ErrorKind::Config, why).hint("set `adopt: true` to write to it"));
            }
        }
    }
    if options.strategy == Strategy::Mirror && !prepare.replace && !is_empty(connection, &info.name).await? {
        return Err(Error::new(
            ErrorKind::Config,
            format!("the table {} holds rows that a mirror would not have", info.name),
        )
        .hint("run once with `--full`, which replaces them in one commit, or use `apply: { strategy: upsert }`, which keeps them"));
    }
    Ok(())
}

async fn is_empty(connection: &mut Connection, table: &TableName) -> Result<bool> {
    let sql = format!(
        "SELECT TOP (1) 1 AS n FROM {}",
        sqlserver_client::quote::table(table)
    );
    Ok(connection.query(&sql, &[]).await?.is_empty())
}

fn written<'a>(
    info: &'a TableInfo,
    schema: &'a Arc<TableSchema>,
) -> impl Iterator<Item = &'a sqlserver_client::ColumnInfo> {
    let fields = schema.arrow().fields().iter();
    fields
        .filter_map(|field| find(info, field.name()))
        .filter(|column| column.is_writable())
}

/// Everything about the table's shape that forbids the sync, so that one run shows it all.
fn shape_problems(info: &TableInfo, schema: &Arc<TableSchema>) -> Vec<String> {
    let mut problems = Vec::new();
    if info.is_view || info.history || info.memory_optimized {
        problems.push("it is a view, a history table or memory-optimized".to_owned());
    }
    for trigger in info
        .triggers
        .iter()
        .filter(|trigger| trigger.instead_of && !trigger.disabled)
    {
        problems.push(format!(
            "the INSTEAD OF trigger {:?} would take the rows",
            trigger.name
        ));
    }
    for index in info
        .indexes
        .iter()
        .filter(|index| index.ignores_duplicates && !index.disabled)
    {
        problems.push(format!(
            "the index {:?} has IGNORE_DUP_KEY = ON and would drop rows in silence; rebuild it with OFF",
            index.name
        ));
    }
    for field in schema.arrow().fields() {
        match find(info, field.name()) {
            None => problems.push(format!("column {:?} is missing", field.name())),
            Some(column) if column.encrypted => {
                problems.push(format!("column {:?} is under Always Encrypted", column.name));
            }
            Some(_) => {}
        }
    }
    for column in &info.columns {
        let filled = schema
            .arrow()
            .fields()
            .iter()
            .any(|field| find(info, field.name()) == Some(column));
        let optional =
            column.nullable || column.default.is_some() || column.identity || !column.is_writable();
        if !filled && !optional {
            problems.push(format!(
                "column {:?} is NOT NULL without a default, and no row brings a value",
                column.name
            ));
        }
    }
    if schema.has_key() && !has_unique_key(info, schema) {
        problems.push(format!(
            "no enabled, unfiltered unique index has exactly the key columns ({})",
            schema.key_names().join(", ")
        ));
    }
    problems
}

fn has_unique_key(info: &TableInfo, schema: &Arc<TableSchema>) -> bool {
    info.indexes
        .iter()
        .filter(|index| index.unique && !index.filtered && !index.disabled)
        .any(|index| is_of_key(index, info, schema))
}

/// Whether an index has exactly the key columns, in any order.
fn is_of_key(index: &IndexInfo, info: &TableInfo, schema: &Arc<TableSchema>) -> bool {
    let names = schema.key_names();
    let key: Vec<_> = names.iter().filter_map(|name| find(info, name)).collect();
    let in_key = |name: &String| key.iter().any(|column| column.name == *name);
    index.columns.len() == key.len() && index.columns.iter().all(|(name, _)| in_key(name))
}

/// What an operator should know and what forbids nothing.
fn notes(info: &TableInfo, schema: &Arc<TableSchema>) -> Vec<String> {
    let mut notes = Vec::new();
    for (field, declared) in schema.arrow().fields().iter().zip(schema.declared()) {
        let Some(column) = find(info, field.name()) else {
            continue;
        };
        if !column.is_writable() {
            notes.push(format!(
                "column {:?} is filled by the server and is left out",
                column.name
            ));
            continue;
        }
        if field.is_nullable() && !column.nullable {
            notes.push(format!(
                "column {:?} is NOT NULL: a NULL stops the sync",
                column.name
            ));
        }
        let source = declared
            .as_ref()
            .and_then(|declared| declared.declared.parse::<SqlType>().ok());
        let target = column.ty.mapped(&column.name).ok();
        if let Some(target) =
            target.filter(|target| source.map_or(target.arrow() != *field.data_type(), |s| s != *target))
        {
            let source = source.map_or_else(|| field.data_type().to_string(), |source| source.to_string());
            notes.push(format!(
                "column {:?} takes {source} into {target}: a value that does not fit exactly stops the sync",
                column.name
            ));
        }
    }
    let unique = info
        .indexes
        .iter()
        .filter(|index| index.unique && !index.disabled);
    for index in unique.filter(|index| !is_of_key(index, info, schema)) {
        notes.push(format!("the unique index {:?} can refuse rows", index.name));
    }
    for key in info.foreign_keys.iter().filter(|key| !key.disabled) {
        let side = if key.from == info.name {
            "needs its parent rows first"
        } else {
            "may refuse deletes, or cascade"
        };
        notes.push(format!(
            "the foreign key {:?} ({} → {}) {side}",
            key.name, key.from, key.to
        ));
    }
    for trigger in info
        .triggers
        .iter()
        .filter(|trigger| !trigger.disabled && !trigger.instead_of)
    {
        notes.push(format!("the trigger {:?} runs on every change", trigger.name));
    }
    notes
}

#[cfg(test)]
mod tests;
