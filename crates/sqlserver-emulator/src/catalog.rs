//! The catalog as SQL: `sys.*`, `INFORMATION_SCHEMA` and the functions about objects, all computed from the store.
//!
//! A view is made when a statement that names it is bound: its columns and all its rows, as the store is at that moment.
//! Knows neither queries nor sessions beyond the facts in [`Viewer`].

mod capture;
mod columns;
mod functions;
mod information_schema;
mod keys;
mod names;
mod objects;
mod permissions;
mod server;
mod transactions;

pub(crate) use capture::is_jobs_table;
pub(crate) use functions::catalog_function;
pub(crate) use names::ObjectReference;

use std::sync::Arc;

use crate::clock::Instant;
use crate::engine::{EngineConfig, Login};
use crate::error::SqlResult;
use crate::store::{Database, Row, Store, Table, TableData, TableId};
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

/// Who asks, and about which database.
pub(crate) struct Viewer<'a> {
    pub(crate) store: &'a Store,
    /// The database whose catalog is asked.
    pub(crate) database: &'a Database,
    pub(crate) config: &'a EngineConfig,
    /// `@@SPID` of who asks.
    pub(crate) session: u16,
    pub(crate) login: &'a Login,
    /// Whether SQL Server Agent runs.
    pub(crate) agent_runs: bool,
    /// All sessions, that of who asks included.
    pub(crate) sessions: &'a [SessionFacts],
    /// A temporary table of who asks, by its name with the `#`.
    pub(crate) temporary: &'a dyn Fn(&str) -> Option<TableId>,
}

/// What `sys.dm_exec_sessions` and `sys.dm_exec_requests` say of a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionFacts {
    pub(crate) id: u16,
    pub(crate) login_time: Instant,
    pub(crate) host_name: String,
    pub(crate) host_process_id: u32,
    pub(crate) program_name: String,
    pub(crate) login_name: String,
    pub(crate) database: i32,
    /// 1 READ UNCOMMITTED, 2 READ COMMITTED, 3 REPEATABLE READ, 4 SERIALIZABLE, 5 SNAPSHOT.
    pub(crate) isolation: i16,
    /// Milliseconds; −1 waits for ever.
    pub(crate) lock_timeout: i32,
    pub(crate) deadlock_priority: i32,
    pub(crate) open_transactions: i32,
    pub(crate) row_count: i64,
    pub(crate) text_size: i32,
    pub(crate) language: String,
    pub(crate) date_format: String,
    pub(crate) date_first: i16,
    pub(crate) quoted_identifier: bool,
    pub(crate) arithabort: bool,
    pub(crate) ansi_null_dflt_on: bool,
    pub(crate) ansi_warnings: bool,
    pub(crate) ansi_padding: bool,
    pub(crate) ansi_nulls: bool,
    pub(crate) concat_null_yields_null: bool,
    /// The request that it executes: its start and its command, `SELECT` for example.
    pub(crate) request: Option<(Instant, String)>,
}

/// A view with its content.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) columns: Vec<ViewColumn>,
    pub(crate) rows: Vec<Row>,
}

/// One column of a view.
#[derive(Debug)]
pub(crate) struct ViewColumn {
    pub(crate) name: &'static str,
    pub(crate) info: TypeInfo,
}

/// The view of that name, in any case; none if there is no such. Error 300 where the login may not look.
pub(crate) fn view(viewer: &Viewer<'_>, schema: &str, name: &str) -> SqlResult<Option<View>> {
    let name = name.to_lowercase();
    Ok(match schema.to_lowercase().as_str() {
        "sys" => match transactions::view(viewer, &name)? {
            Some(view) => Some(view),
            None => objects::view(viewer, &name)
                .or_else(|| columns::view(viewer, &name))
                .or_else(|| keys::view(viewer, &name))
                .or_else(|| server::view(viewer, &name))
                .map_or_else(|| capture::dynamic_view(viewer, &name), |view| Ok(Some(view)))?,
        },
        "information_schema" => information_schema::view(viewer, &name),
        "cdc" => capture::view(viewer, &name),
        "dbo" => capture::jobs_table(viewer, &name)?,
        _ => None,
    })
}

/// The result of a catalog procedure, by its name in lower case; none if there is no such.
pub(crate) fn procedure(viewer: &Viewer<'_>, name: &str, arguments: &[Value]) -> Option<View> {
    let first = || arguments.first().and_then(Value::as_text);
    match name {
        "sp_tablecollations_100" | "sp_tablecollations_90" | "sp_tablecollations" => {
            let reference = ObjectReference::parse(&first()?)?;
            let table = viewer.table_data(&reference)?;
            Some(columns::table_collations(&table.definition))
        }
        name => capture::procedure(viewer, name, arguments),
    }
}

impl Viewer<'_> {
    /// The tables of the database with their content: by name, then, in tempdb, the temporary ones of all sessions.
    fn table_contents(&self) -> impl Iterator<Item = &TableData> {
        let named = self
            .database
            .tables
            .values()
            .filter_map(|id| self.store.tables.get(id));
        let all = self.store.tables.values();
        let temporary = all.filter(|data| {
            let table = &data.definition;
            table.database == self.database.id && table.name.starts_with('#')
        });
        named.chain(temporary)
    }

    /// Their definitions.
    fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.table_contents().map(|data| &data.definition)
    }

    fn definition(&self, id: TableId) -> Option<&Arc<Table>> {
        self.store.tables.get(&id).map(|data| &data.definition)
    }

    fn schema_id(&self, name: &str) -> i32 {
        self.database.schema(name).map_or(1, |schema| schema.id)
    }

    fn sees_server_state(&self) -> bool {
        self.login.sysadmin || self.login.view_server_state
    }

    fn sees_database_state(&self) -> bool {
        self.sees_server_state() || self.allows("VIEW DATABASE STATE", None, false)
    }
}

/// The types that catalog columns have.
#[derive(Clone, Copy)]
enum Kind {
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    DateTime,
    /// `sysname`
    Name,
    /// `nvarchar(n)`
    Text(u16),
    /// `varchar(n)`
    Code(u16),
    /// `char(2)`
    Letters,
    MaxText,
    Binary(u16),
    /// `binary(10)`
    Lsn,
    Guid,
    Variant,
}

impl Kind {
    fn ty(self) -> SqlType {
        match self {
            Self::Bit => SqlType::Bit,
            Self::TinyInt => SqlType::TinyInt,
            Self::SmallInt => SqlType::SmallInt,
            Self::Int => SqlType::Int,
            Self::BigInt => SqlType::BigInt,
            Self::DateTime => SqlType::DateTime,
            Self::Name => SqlType::NVarChar {
                len: Length::Chars(128),
            },
            Self::Text(n) => SqlType::NVarChar {
                len: Length::Chars(n),
            },
            Self::Code(n) => SqlType::VarChar {
                len: Length::Chars(n),
            },
            Self::Letters => SqlType::Char { len: 2 },
            Self::MaxText => SqlType::NVarChar { len: Length::Max },
            Self::Binary(n) => SqlType::VarBinary {
                len: Length::Chars(n),
            },
            Self::Lsn => SqlType::Binary { len: 10 },
            Self::Guid => SqlType::UniqueIdentifier,
            Self::Variant => SqlType::SqlVariant,
        }
    }
}

impl View {
    fn new(columns: &[(&'static str, Kind)], rows: impl IntoIterator<Item = Vec<Value>>) -> Self {
        let column = |&(name, kind): &(&'static str, Kind)| ViewColumn {
            name,
            info: TypeInfo::new(kind.ty()),
        };
        Self {
            columns: columns.iter().map(column).collect(),
            rows: rows.into_iter().map(Row::from).collect(),
        }
    }

    /// A view of something that the emulator does not have.
    fn empty(columns: &[(&'static str, Kind)]) -> Self {
        Self::new(columns, [])
    }
}

fn text(text: &str) -> Value {
    Value::text(text)
}

fn bit(bit: bool) -> Value {
    Value::Bit(bit)
}

fn int(number: impl Into<i32>) -> Value {
    Value::Int(number.into())
}

/// `YES` or `NO`.
fn yes_no(yes: bool) -> Value {
    text(if yes { "YES" } else { "NO" })
}

/// An instant as `datetime`.
pub(crate) fn datetime(instant: Instant) -> Value {
    const DAYS_TO_1900: i32 = 693_595;
    const LAST_TICK: u64 = 25_919_999;
    let ticks = ((instant.ticks * 3 + 50_000) / 100_000).min(LAST_TICK);
    Value::DateTime {
        days: instant.days - DAYS_TO_1900,
        ticks: ticks as u32,
    }
}

/// An expression as `sys.default_constraints` and its kin show it: in parentheses, numbers in two pairs.
fn definition(text: &str) -> String {
    let mut bare = text.trim();
    while let Some(inner) = without_parentheses(bare) {
        bare = inner.trim();
    }
    let is_number = !bare.is_empty() && bare.strip_prefix('-').unwrap_or(bare).parse::<f64>().is_ok();
    if is_number {
        format!("(({bare}))")
    } else {
        format!("({bare})")
    }
}

/// What one pair of parentheses around all of `text` encloses.
fn without_parentheses(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let mut depth = 0i32;
    let mut quoted = false;
    for character in inner.chars() {
        match character {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    Some(inner)
}

#[cfg(test)]
mod tests;
