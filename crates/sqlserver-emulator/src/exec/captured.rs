//! Reading what CDC has captured: the functions over a change table and over LSNs.

use std::collections::HashMap;

use super::access::WantedOrder;
use super::draft::{Draft, LeafSource};
use super::output::unknown_object;
use super::plan::{CapturedRange, ReadPlan, RowFunction, ScanPlan};
use super::rows::Each;
use super::run::Run;
use super::scope::{Binder, BoundColumn, same};
use crate::ast::{Expr, ObjectName};
use crate::error::{SqlError, SqlResult};
use crate::eval::{EnvironmentFunction, bind, convert_to};
use crate::outcome::Flow;
use crate::session::SessionState;
use crate::store::{
    Access, BEFORE_CAPTURED, CaptureInstance, Capturing, KeyRange, Lsn, Row, TableId, key, successor,
};
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

const ALL: &str = "fn_cdc_get_all_changes_";
const NET: &str = "fn_cdc_get_net_changes_";

/// `__$operation` among the columns of a change table.
const OPERATION: usize = 3;
/// The operation of a row as it was before an update.
const BEFORE_UPDATE: i64 = 3;
/// Columns of a change table that `fn_cdc_get_all_changes_…` gives before the captured ones.
const ALL_COLUMNS: [usize; 4] = [0, 2, 3, 4];
/// And `fn_cdc_get_net_changes_…`.
const NET_COLUMNS: [usize; 3] = [0, 3, 4];

impl SessionState {
    /// Whether the login may read an instance: SELECT on the source, and the gating role if there is one.
    fn may_read(&self, instance: &CaptureInstance) -> bool {
        if self.login.sysadmin {
            return true;
        }
        let database = self.current_database();
        let member = instance.role.as_ref().is_none_or(|role| {
            let members = database.iter().flat_map(|database| &database.members);
            members
                .into_iter()
                .any(|(known, who)| same(known, role) && same(who, &self.login.name))
        });
        member && self.allow(instance.source, "SELECT").is_ok()
    }
}

impl Binder<'_> {
    /// A function that CDC made for a capture instance; none if the name is of another kind. Errors: 208, 229, 313.
    pub(super) fn draft_captured(
        &mut self,
        name: &ObjectName,
        arguments: &[Expr],
        exposed: &str,
    ) -> SqlResult<Option<Draft>> {
        let lower = name.name.to_lowercase();
        let in_schema = name.schema.as_deref().is_some_and(|schema| same(schema, "cdc"));
        let net = lower.starts_with(NET);
        if !in_schema || !(net || lower.starts_with(ALL)) {
            return Ok(None);
        }
        let database = self.session.database_of(name)?;
        let wanted = &lower[ALL.len()..];
        let instances = database
            .capturing
            .iter()
            .flat_map(|capturing| &capturing.instances);
        let mut fitting =
            instances.filter(|instance| same(&instance.name, wanted) && (!net || instance.net_changes));
        let instance = fitting.next().ok_or_else(|| unknown_object(name))?;
        if !self.session.may_read(instance) {
            return Err(SqlError::new(
                229,
                14,
                5,
                format!(
                    "The SELECT permission was denied on the object '{}', database '{}', schema 'cdc'.",
                    name.name, database.name
                ),
            ));
        }
        if arguments.len() < 3 {
            let message = format!(
                "An insufficient number of arguments were supplied for the procedure or function cdc.{}.",
                name.name
            );
            return Err(SqlError::new(313, 16, 3, message));
        }
        let filter = SqlType::NVarChar {
            len: Length::Chars(30),
        };
        let lsn = SqlType::Binary { len: 10 };
        let mut bound = Vec::with_capacity(3);
        for (argument, ty) in arguments.iter().zip([lsn, lsn, filter]) {
            bound.push(convert_to(bind(argument, self)?, TypeInfo::new(ty))?);
        }
        let table = self.session.table_definition(instance.changes)?;
        let places = kept(net, table.columns.len());
        let columns = places
            .filter_map(|at| table.columns.get(at))
            .map(|column| BoundColumn {
                table: exposed.to_owned(),
                schema: None,
                name: column.name.clone(),
                info: column.info,
                identity: false,
                read_only: true,
                hidden: false,
            });
        let range = CapturedRange {
            instance: instance.clone(),
            read: self.session.read_plan(&table, &[], false)?,
            net,
            arguments: bound,
            wanted: None,
        };
        Ok(Some(Draft::Leaf {
            source: LeafSource::Function(Box::new(RowFunction::Captured(range))),
            columns: columns.collect(),
            conditions: Vec::new(),
        }))
    }
}

impl RowFunction {
    /// Whether its rows come in this order of its columns: all changes come by their LSN, which is the first.
    pub(super) fn gives_order(&self, wanted: &WantedOrder) -> bool {
        matches!(self, Self::Captured(range) if !range.net) && matches!(wanted.as_slice(), [(0, false)])
    }
}

/// The places of a change table's columns that a function gives; `__$command_id`, the last, is none of them.
fn kept(net: bool, width: usize) -> impl Iterator<Item = usize> {
    let own: &[usize] = if net { &NET_COLUMNS } else { &ALL_COLUMNS };
    own.iter()
        .copied()
        .chain(BEFORE_CAPTURED..width.saturating_sub(1))
}

impl Run<'_> {
    /// Gives the rows of `fn_cdc_get_all_changes_…` or `fn_cdc_get_net_changes_…`. Error 313 for a range that is not within the
    /// instance's, or an option that does not exist: SQL Server has no better one.
    pub(super) fn captured_changes(&mut self, range: &CapturedRange, each: Each<'_>) -> SqlResult<Flow> {
        let mut given = Vec::with_capacity(3);
        for argument in &range.arguments {
            given.push(self.value(argument)?);
        }
        let ends = (given.first().and_then(Lsn::of), given.get(1).and_then(Lsn::of));
        let option = given.get(2).and_then(Value::as_text).unwrap_or_default();
        let option = option.trim().to_lowercase();
        let known: &[&str] = if range.net {
            &["all", "all with mask", "all with merge"]
        } else {
            &["all", "all update old"]
        };
        let (low, high) = self.timeline(&range.instance)?;
        let (Some(from), Some(to)) = ends else {
            return Err(outside(range.net));
        };
        if !known.contains(&option.as_str()) || from < low || high.is_none_or(|high| to > high) || from > to {
            return Err(outside(range.net));
        }
        let access = Access::Index {
            index: 0,
            range: between(from, to),
            backwards: false,
        };
        let scan = ScanPlan::whole(range.instance.changes, range.read);
        if range.net {
            let mut rows = Vec::new();
            self.visit(&scan, &[], vec![access], &mut |_, row| {
                rows.push(row);
                Ok(Flow::Continue)
            })?;
            let mut rows = self.net_rows(&range.instance, rows, &option).into_iter();
            return rows.try_fold(Flow::Continue, |flow, row| match flow {
                Flow::Continue => each(self, row),
                Flow::Stop => Ok(Flow::Stop),
            });
        }
        let width = self
            .session
            .table_definition(range.instance.changes)?
            .columns
            .len();
        let is_wanted = |at: usize| range.wanted.as_ref().is_none_or(|wanted| wanted.contains(&at));
        let given = kept(false, width).enumerate();
        let mut given: Vec<_> = given
            .map(|(at, column)| is_wanted(at).then_some(column))
            .collect();
        while given.pop_if(|last| last.is_none()).is_some() {}
        let old = option == "all update old";
        self.visit_stored(&scan, vec![access], &mut |run, _, row| {
            if !old && row.value(OPERATION).as_integer() == Some(BEFORE_UPDATE) {
                return Ok(Flow::Continue);
            }
            each(run, row.picked(&given))
        })
    }

    /// The lowest LSN of an instance and the highest of the database.
    fn timeline(&mut self, instance: &CaptureInstance) -> SqlResult<(Lsn, Option<Lsn>)> {
        let (database, capturing) = self.mapped_database()?;
        let low = self.session.engine.store().lock().low_water(database, instance);
        Ok((low, self.last_mapped(&capturing)?))
    }

    /// A table's rows in the order of its clustered index.
    fn index_rows(&mut self, table: TableId, read: ReadPlan, range: KeyRange) -> SqlResult<Vec<Row>> {
        let scan = ScanPlan::whole(table, read);
        let access = Access::Index {
            index: 0,
            range,
            backwards: false,
        };
        let mut rows = Vec::new();
        self.visit(&scan, &[], vec![access], &mut |_, row| {
            rows.push(row);
            Ok(Flow::Continue)
        })?;
        Ok(rows)
    }

    /// One row for each key: how it stands at the end, and what it takes to bring it there from the beginning.
    fn net_rows(&self, instance: &CaptureInstance, rows: Vec<Row>, option: &str) -> Vec<Row> {
        let Ok(table) = self.session.table_definition(instance.changes) else {
            return Vec::new();
        };
        let ids = instance.columns.iter().enumerate();
        let places: Vec<usize> = ids
            .filter(|(_, column)| instance.key.contains(&column.id))
            .map(|(at, _)| BEFORE_CAPTURED + at)
            .collect();
        let mut keys: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut by_key: Vec<Vec<Row>> = Vec::new();
        for row in rows.into_iter().filter(|row| operation(row) != BEFORE_UPDATE) {
            let mut bytes = Vec::new();
            for at in &places {
                if let (Some(value), Some(column)) = (row.get(*at), table.columns.get(*at)) {
                    key::append(value, column.info.collation, false, &mut bytes);
                }
            }
            let place = *keys.entry(bytes).or_insert_with(|| {
                by_key.push(Vec::new());
                by_key.len() - 1
            });
            if let Some(rows) = by_key.get_mut(place) {
                rows.push(row);
            }
        }
        by_key.iter().filter_map(|rows| net_row(rows, option)).collect()
    }

    /// The functions of CDC over LSNs and masks; none for all others.
    pub(super) fn capture_function(
        &mut self,
        function: EnvironmentFunction,
        arguments: &[Value],
    ) -> SqlResult<Option<Value>> {
        use EnvironmentFunction as Function;
        let text = |at: usize| arguments.get(at).and_then(Value::as_text).unwrap_or_default();
        let lsn = || arguments.first().and_then(Lsn::of);
        let or_null = |lsn: Option<Lsn>| lsn.map_or(Value::Null, Lsn::value);
        Ok(Some(match function {
            Function::CdcGetMaxLsn => {
                let (_, capturing) = self.mapped_database()?;
                or_null(self.last_mapped(&capturing)?)
            }
            Function::CdcGetMinLsn => self.least_lsn(&text(0))?,
            Function::CdcIncrementLsn => or_null(lsn().map(Lsn::next)),
            Function::CdcDecrementLsn => or_null(lsn().map(Lsn::previous)),
            Function::CdcMapTimeToLsn => {
                let time = arguments.get(1).cloned().unwrap_or_default();
                or_null(self.lsn_at(&text(0), &time)?)
            }
            Function::CdcMapLsnToTime => match lsn() {
                Some(lsn) => self.time_of(lsn)?,
                None => Value::Null,
            },
            Function::CdcGetColumnOrdinal => self.ordinal(&text(0), &text(1)).map_or(Value::Null, Value::Int),
            Function::CdcIsBitSet => {
                let ordinal = arguments.first().and_then(Value::as_integer).unwrap_or_default();
                bit(Self::mask_bit(ordinal, arguments.get(1).unwrap_or(&Value::Null)))
            }
            Function::CdcHasColumnChanged => {
                let ordinal = self.ordinal(&text(0), &text(1)).map(i64::from);
                let mask = arguments.get(2).unwrap_or(&Value::Null);
                bit(ordinal.and_then(|ordinal| Self::mask_bit(ordinal, mask)))
            }
            _ => return Ok(None),
        }))
    }

    /// Error 208 in a database without CDC, about a table that nobody named.
    fn mapped_database(&self) -> SqlResult<(i32, Capturing)> {
        let database = self.session.current_database();
        let found = database.and_then(|database| Some((database.id, database.capturing.clone()?)));
        found.ok_or_else(|| SqlError::user(208, "Invalid object name 'cdc.lsn_time_mapping'."))
    }

    fn mapping(&mut self, capturing: &Capturing) -> SqlResult<Vec<Row>> {
        let table = self.session.table_definition(capturing.mapping)?;
        let read = self.session.read_plan(&table, &[], false)?;
        self.index_rows(capturing.mapping, read, KeyRange::default())
    }

    fn last_mapped(&mut self, capturing: &Capturing) -> SqlResult<Option<Lsn>> {
        let last = self.first_mapped(capturing, KeyRange::default(), true)?;
        Ok(last.and_then(|row| row.first().and_then(Lsn::of)))
    }

    /// The first row of a range of the mapping, or the last.
    fn first_mapped(
        &mut self,
        capturing: &Capturing,
        range: KeyRange,
        backwards: bool,
    ) -> SqlResult<Option<Row>> {
        let table = self.session.table_definition(capturing.mapping)?;
        let read = self.session.read_plan(&table, &[], false)?;
        let access = Access::Index {
            index: 0,
            range,
            backwards,
        };
        let mut first = None;
        self.visit(
            &ScanPlan::whole(capturing.mapping, read),
            &[],
            vec![access],
            &mut |_, row| {
                first = Some(row);
                Ok(Flow::Stop)
            },
        )?;
        Ok(first)
    }

    /// Zero for an instance that does not exist or is not for this login; NULL while the capture, which has seen other
    /// changes, has not come to the place where the instance begins.
    fn least_lsn(&mut self, name: &str) -> SqlResult<Value> {
        let Ok((database, capturing)) = self.mapped_database() else {
            return Ok(Lsn::ZERO.value());
        };
        let found = capturing
            .instances
            .iter()
            .find(|instance| same(&instance.name, name));
        let Some(instance) = found.filter(|instance| self.session.may_read(instance)) else {
            return Ok(Lsn::ZERO.value());
        };
        let low = self.session.engine.store().lock().low_water(database, instance);
        let last = self.last_mapped(&capturing)?;
        Ok(if last.is_some_and(|last| last < low) {
            Value::Null
        } else {
            low.value()
        })
    }

    fn lsn_at(&mut self, relation: &str, time: &Value) -> SqlResult<Option<Lsn>> {
        let Value::DateTime { days, ticks } = time else {
            return Ok(None);
        };
        let wanted = (*days, *ticks);
        let (_, capturing) = self.mapped_database()?;
        let fits = |at: (i32, u32)| match relation.to_lowercase().as_str() {
            "largest less than" => Some(at < wanted),
            "largest less than or equal" => Some(at <= wanted),
            "smallest greater than" => Some(at > wanted),
            "smallest greater than or equal" => Some(at >= wanted),
            _ => None,
        };
        let smallest = relation.to_lowercase().starts_with("smallest");
        let mut found: Option<Lsn> = None;
        for row in self.mapping(&capturing)? {
            let (Some(lsn), Some(Value::DateTime { days, ticks })) =
                (row.first().and_then(Lsn::of), row.get(2))
            else {
                continue;
            };
            if fits((*days, *ticks)) == Some(true) {
                found = Some(found.map_or(
                    lsn,
                    |known| if smallest { known.min(lsn) } else { known.max(lsn) },
                ));
            }
        }
        Ok(found)
    }

    fn time_of(&mut self, lsn: Lsn) -> SqlResult<Value> {
        let (_, capturing) = self.mapped_database()?;
        let row = self.first_mapped(&capturing, between(lsn, lsn), false)?;
        Ok(row.and_then(|row| row.get(2).cloned()).unwrap_or_default())
    }

    fn ordinal(&self, instance: &str, column: &str) -> Option<i32> {
        let capturing = self.session.current_database()?.capturing.clone()?;
        let instance = capturing
            .instances
            .iter()
            .find(|known| same(&known.name, instance))?;
        let at = instance
            .columns
            .iter()
            .position(|known| same(&known.name, column))?;
        Some(at as i32 + 1)
    }
}

/// The keys of a change table or a mapping from one LSN to another, both included.
fn between(from: Lsn, to: Lsn) -> KeyRange {
    let key = |lsn: Lsn| {
        let mut out = Vec::new();
        key::append(&lsn.value(), None, false, &mut out);
        out
    };
    KeyRange {
        low: Some(key(from)),
        high: successor(&key(to)),
    }
}

fn operation(row: &Row) -> i64 {
    row.get(OPERATION).and_then(Value::as_integer).unwrap_or_default()
}

fn bit(set: Option<bool>) -> Value {
    set.map_or(Value::Null, Value::Bit)
}

/// None for a row that came and went.
fn net_row(rows: &[Row], option: &str) -> Option<Row> {
    let (first, last) = (rows.first()?, rows.last()?);
    let (was_there, is_there) = (operation(first) != 2, operation(last) != 1);
    let operation = match (was_there, is_there) {
        (false, false) => return None,
        (true, false) => 1,
        _ if option == "all with merge" => 5,
        (false, true) => 2,
        (true, true) => 4,
    };
    let mask = if option == "all with mask" && operation == 4 {
        united(rows)
    } else {
        Value::Null
    };
    let own = [last.first()?.clone(), Value::Int(operation), mask];
    let captured = last.get(BEFORE_CAPTURED..last.len().checked_sub(1)?)?;
    Some(own.into_iter().chain(captured.iter().cloned()).collect())
}

/// The bits that any of the rows has.
fn united(rows: &[Row]) -> Value {
    let mut all: Vec<u8> = Vec::new();
    for row in rows {
        if let Some(Value::Bytes(mask)) = row.get(4) {
            all.resize(mask.len().max(all.len()), 0);
            for (byte, own) in all.iter_mut().zip(mask.iter()) {
                *byte |= own;
            }
        }
    }
    Value::bytes(&all)
}

fn outside(net: bool) -> SqlError {
    let function = if net { NET } else { ALL };
    SqlError::new(
        313,
        16,
        3,
        format!(
            "An insufficient number of arguments were supplied for the procedure or function cdc.{function} ... ."
        ),
    )
}
