//! INSERT.

use super::bind_query::info_of;
use super::output::{OutputPlan, OutputRow, target_table};
use super::plan::QueryPlan;
use super::rows::Each;
use super::run::Run;
use super::scope::{Binder, same};
use super::writer::{Change, TableWriter, stored, unlimited};
use crate::ast::{Expr, Insert, InsertSource};
use crate::error::{SqlError, SqlResult};
use crate::eval::{BoundExpr, Slot, SlotInfo, convert_to};
use crate::outcome::Flow;
use crate::store::{Row, Table, TableId};
use crate::types::SqlType;
use crate::value::Value;

/// Where the rows come from, bound.
enum Rows {
    /// `None`: the column's default.
    Values(Vec<Vec<Option<BoundExpr>>>),
    Query(Box<QueryPlan>, Vec<BoundExpr>),
    /// Rows that EXEC has given.
    Given(Vec<Row>),
}

impl Run<'_> {
    /// Runs INSERT and gives the number of rows.
    pub(crate) fn insert(&mut self, insert: &Insert) -> SqlResult<u64> {
        let given = match &insert.source {
            InsertSource::Execute(call) => Some(self.capture(|run| run.execute(call))?),
            InsertSource::ExecuteString(text) => Some(self.capture(|run| run.execute_string(text))?),
            _ => None,
        };
        let (writer, places, rows, output, top) = self.bind(|binder| {
            binder.ctes.extend(insert.ctes.iter().cloned());
            let id = target_table(binder, &insert.target)?;
            binder.session.allow(id, "INSERT")?;
            let writer = TableWriter::prepare(binder, id, true)?;
            let places = match insert.source {
                InsertSource::DefaultValues => Vec::new(),
                _ => insertable(binder, &writer.table, id, &insert.columns)?,
            };
            let rows = bind_rows(binder, insert, &writer, &places, given)?;
            let output = insert.output.as_ref();
            let output = output
                .map(|clause| OutputPlan::bind(binder, clause, &writer.table, &[]))
                .transpose()?;
            if let Some(output) = &output {
                binder.session.refuse_output_with_triggers(id, output)?;
            }
            let top = binder.count(insert.top.as_ref().map(|top| &top.count))?;
            Ok((writer, places, rows, output, top))
        })?;
        let limit = match &top {
            Some(top) => self.value(top)?.as_integer().unwrap_or_default() as u64,
            None => u64::MAX,
        };
        let rows = self.gather(rows, &writer, &places, limit)?;
        self.write_inserts(&writer, rows, output.as_ref())
    }

    /// Completes, writes and reports new rows.
    pub(crate) fn write_inserts(
        &mut self,
        writer: &TableWriter,
        rows: Vec<Vec<Value>>,
        output: Option<&OutputPlan>,
    ) -> SqlResult<u64> {
        let mut changes = Vec::with_capacity(rows.len());
        for values in rows {
            changes.push(Change::insert(writer.complete(self, values, "INSERT")?));
        }
        let count = changes.len() as u64;
        let written = writer.write(self, changes)?;
        self.check_references(writer, written.iter().flatten(), "INSERT")?;
        if let Some(output) = output {
            let width = writer.table.columns.len();
            let mut rows = Vec::with_capacity(written.len());
            for row in written.iter().flatten() {
                let over = OutputRow {
                    inserted: Some(row),
                    deleted: None,
                    source: &[],
                    action: "INSERT",
                    width,
                };
                rows.push(output.row(self, over)?);
            }
            output.deliver(self, rows)?;
        }
        let inserted: Vec<Row> = written.into_iter().flatten().collect();
        self.fire(writer, "INSERT", &inserted, &[])?;
        Ok(count)
    }

    fn gather(
        &mut self,
        rows: Rows,
        writer: &TableWriter,
        places: &[usize],
        limit: u64,
    ) -> SqlResult<Vec<Vec<Value>>> {
        let mut gathered = Vec::new();
        match rows {
            Rows::Values(rows) => {
                for row in rows {
                    let mut values = Vec::with_capacity(row.len());
                    for (value, at) in row.iter().zip(places) {
                        values.push(match value {
                            Some(value) => self.value(value)?,
                            None => writer.default(self, *at)?,
                        });
                    }
                    gathered.push(writer.values(self, places.iter().copied().zip(values))?);
                }
            }
            Rows::Query(plan, items) => {
                let mut left = limit;
                let each: Each<'_> = &mut |run, row| {
                    if left == 0 {
                        return Ok(Flow::Stop);
                    }
                    left -= 1;
                    run.set_row(row);
                    let values = items
                        .iter()
                        .map(|item| run.value(item))
                        .collect::<SqlResult<Vec<_>>>()?;
                    gathered.push(writer.values(run, places.iter().copied().zip(values))?);
                    Ok(Flow::Continue)
                };
                self.query(&plan, each)?;
            }
            Rows::Given(rows) => {
                for row in rows {
                    if row.len() != places.len() {
                        return Err(SqlError::user(
                            213,
                            "Column name or number of supplied values does not match table definition.",
                        ));
                    }
                    let given = places.iter().copied().zip(row.iter().cloned());
                    gathered.push(writer.values(self, given)?);
                }
            }
        }
        Ok(gathered)
    }
}

fn bind_rows(
    binder: &mut Binder<'_>,
    insert: &Insert,
    writer: &TableWriter,
    places: &[usize],
    given: Option<Vec<Row>>,
) -> SqlResult<Rows> {
    if let Some(given) = given {
        return Ok(Rows::Given(given));
    }
    let columns = &writer.table.columns;
    match &insert.source {
        InsertSource::Values(rows) => {
            let mut bound = Vec::with_capacity(rows.len());
            for row in rows {
                if row.len() != places.len() {
                    return Err(count_mismatch(insert, &writer.table, row.len(), places.len()));
                }
                let values = row.iter().zip(places).map(|(value, at)| match value {
                    Expr::Default => Ok(None),
                    value => stored(binder, value, &columns[*at]).map(Some),
                });
                bound.push(values.collect::<SqlResult<Vec<_>>>()?);
            }
            Ok(Rows::Values(bound))
        }
        InsertSource::Query(query) => {
            let plan = binder.query(query)?;
            if plan.columns.len() != places.len() {
                let (given, wanted) = (plan.columns.len(), places.len());
                return Err(if insert.columns.is_empty() {
                    count_mismatch(insert, &writer.table, given, wanted)
                } else {
                    select_mismatch(given > wanted)
                });
            }
            let items = plan
                .columns
                .iter()
                .zip(places)
                .enumerate()
                .map(|(at, (column, place))| {
                    let slot = SlotInfo {
                        slot: Slot {
                            depth: 0,
                            index: at as u32,
                        },
                        info: info_of(column),
                    };
                    convert_to(BoundExpr::column(slot), unlimited(columns[*place].info))
                });
            let items = items.collect::<SqlResult<_>>()?;
            Ok(Rows::Query(Box::new(plan), items))
        }
        _ => Ok(Rows::Values(vec![Vec::new()])),
    }
}

fn count_mismatch(insert: &Insert, table: &Table, given: usize, wanted: usize) -> SqlError {
    let has_identity = table.columns.iter().any(|column| column.identity.is_some());
    if insert.columns.is_empty() && has_identity && given == wanted + 1 {
        return identity_without_columns(table);
    }
    if insert.columns.is_empty() {
        return SqlError::user(
            213,
            "Column name or number of supplied values does not match table definition.",
        );
    }
    if given > wanted {
        return SqlError::new(
            110,
            15,
            1,
            "There are fewer columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.",
        );
    }
    SqlError::new(
        109,
        15,
        1,
        "There are more columns in the INSERT statement than values specified in the VALUES clause. The number of values in the VALUES clause must match the number of columns specified in the INSERT statement.",
    )
}

fn identity_without_columns(table: &Table) -> SqlError {
    SqlError::new(
        8101,
        16,
        1,
        format!(
            "An explicit value for the identity column in table '{}' can only be specified when a column list is used and IDENTITY_INSERT is ON.",
            table.name
        ),
    )
}

fn select_mismatch(more: bool) -> SqlError {
    let (number, word) = if more { (121, "more") } else { (120, "fewer") };
    SqlError::new(
        number,
        15,
        1,
        format!(
            "The select list for the INSERT statement contains {word} items than the insert list. The number of SELECT values must match the number of INSERT columns."
        ),
    )
}

/// The columns that values are given for. Errors: 207, 264, 271, 273, 544, 545.
pub(crate) fn insertable(
    binder: &Binder<'_>,
    table: &Table,
    id: TableId,
    named: &[String],
) -> SqlResult<Vec<usize>> {
    let explicit_identity = binder.session.identity_insert == Some(id);
    if named.is_empty() {
        let places = table.columns.iter().enumerate().filter(|(_, column)| {
            column.computed.is_none() && column.info.ty != SqlType::RowVersion && column.identity.is_none()
        });
        if explicit_identity {
            return Err(identity_without_columns(table));
        }
        return Ok(places.map(|(at, _)| at).collect());
    }
    let mut places = Vec::with_capacity(named.len());
    for name in named {
        let at = table
            .column(name)
            .ok_or_else(|| SqlError::user(207, format!("Invalid column name '{name}'.")))?;
        let column = &table.columns[at];
        if places.contains(&at) {
            return Err(SqlError::user(
                264,
                format!(
                    "The column name '{}' is specified more than once in the SET clause or column list of an INSERT. A column cannot be assigned more than one value in the same clause.",
                    column.name
                ),
            ));
        }
        if column.computed.is_some() {
            return Err(SqlError::user(
                271,
                format!(
                    "The column \"{}\" cannot be modified because it is either a computed column or is the result of a UNION operator.",
                    column.name
                ),
            ));
        }
        if column.info.ty == SqlType::RowVersion {
            return Err(SqlError::user(
                273,
                "Cannot insert an explicit value into a timestamp column. Use INSERT with a column list to exclude the timestamp column, or insert a DEFAULT into the timestamp column.",
            ));
        }
        if column.identity.is_some() && !explicit_identity {
            return Err(SqlError::user(
                544,
                format!(
                    "Cannot insert explicit value for identity column in table '{}' when IDENTITY_INSERT is set to OFF.",
                    table.name
                ),
            ));
        }
        places.push(at);
    }
    if explicit_identity && !table.identity().is_some_and(|at| places.contains(&at)) {
        return Err(SqlError::user(
            545,
            format!(
                "Explicit value must be specified for identity column in table '{}' either when IDENTITY_INSERT is set to ON or when a replication user is inserting into a NOT FOR REPLICATION identity column.",
                table.name
            ),
        ));
    }
    Ok(places)
}

impl TableWriter {
    /// A whole row from the values of some columns: defaults and the identity for the others.
    pub(crate) fn values(
        &self,
        run: &mut Run<'_>,
        given: impl IntoIterator<Item = (usize, Value)>,
    ) -> SqlResult<Vec<Value>> {
        let mut values: Vec<Option<Value>> = vec![None; self.table.columns.len()];
        for (at, value) in given {
            values[at] = Some(value);
        }
        let identity = self.table.identity();
        let mut row = Vec::with_capacity(values.len());
        for (at, value) in values.into_iter().enumerate() {
            let generated = identity == Some(at);
            row.push(match value {
                Some(value) => {
                    if generated {
                        run.note_identity(self.id, &self.table, &value);
                    }
                    value
                }
                None if generated => run.next_identity(self.id, &self.table, at)?,
                None => self.default(run, at)?,
            });
        }
        Ok(row)
    }
}

impl Run<'_> {
    /// The next identity value. It is used up even if the insert fails. Error 8115 when the type is exhausted.
    fn next_identity(&mut self, id: TableId, table: &Table, at: usize) -> SqlResult<Value> {
        let column = &table.columns[at];
        let Some(identity) = column.identity else {
            return Ok(Value::Null);
        };
        let mut store = self.session.engine.store().lock();
        let data = store
            .tables
            .get_mut(&id)
            .ok_or_else(|| SqlError::user(208, "Invalid object name."))?;
        let next = data
            .identity
            .map_or(Some(identity.seed), |last| last.checked_add(identity.increment));
        let value = next.and_then(|next| super::keys::key_value(Value::BigInt(next), column.info.ty));
        let (Some(next), Some(value)) = (next, value) else {
            return Err(SqlError::new(
                8115,
                16,
                1,
                format!(
                    "Arithmetic overflow error converting IDENTITY to data type {}.",
                    column.info.ty.name()
                ),
            ));
        };
        data.identity = Some(next);
        drop(store);
        self.session.last_identity = Some(next);
        self.session.scope_identity = Some(next);
        Ok(value)
    }

    /// An explicit identity value moves the counter on if it is beyond it.
    fn note_identity(&mut self, id: TableId, table: &Table, value: &Value) {
        let explicit = match value {
            Value::Decimal(d) => i64::try_from(d.unscaled).ok(),
            other => other.as_integer(),
        };
        let (Some(explicit), Some(at)) = (explicit, table.identity()) else {
            return;
        };
        let ascending = table.columns[at]
            .identity
            .is_none_or(|identity| identity.increment > 0);
        if let Some(data) = self.session.engine.store().lock().tables.get_mut(&id) {
            let beyond = data.identity.is_none_or(|last| {
                if ascending {
                    explicit > last
                } else {
                    explicit < last
                }
            });
            if beyond {
                data.identity = Some(explicit);
            }
        }
        self.session.last_identity = Some(explicit);
        self.session.scope_identity = Some(explicit);
    }

    /// Runs `body` and keeps the rows of its results.
    fn capture(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<i32, super::statement::Failure>,
    ) -> SqlResult<Vec<Row>> {
        let before = self.captured.replace(Vec::new());
        let result = body(self);
        let rows = std::mem::replace(&mut self.captured, before).unwrap_or_default();
        match result {
            Ok(_) => Ok(rows),
            Err(failure) => Err(failure.into_error()),
        }
    }
}

/// Names of columns, compared without case.
pub(crate) fn contains_name(names: &[String], name: &str) -> bool {
    names.iter().any(|known| same(known, name))
}
