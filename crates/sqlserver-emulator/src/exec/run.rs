//! One scope of execution: a batch, a procedure's body, `sp_executesql`, a trigger. Holds the rows that
//! expressions stand over while a statement runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::plan::{QueryPlan, ReadPlan, ScanPlan};
use super::rows::HashedRows;
use super::scope::{Binder, PseudoTable};
use super::variables::Variables;
use crate::ast::Expr;
use crate::clock::Instant;
use crate::error::{SqlError, SqlResult};
use crate::eval::{
    BoundExpr, Context, EnvironmentFunction, Global, Members, Slot, bind, bind_predicate, convert_to,
    convert_value, holds,
};
use crate::outcome::{Flow, Output};
use crate::session::{Isolation, SessionState};
use crate::store::{LockMode, Patience, Read, Row, TableId, TxId, key};
use crate::types::{SqlType, TypeInfo};
use crate::value::Value;

/// How deep procedures, triggers and dynamic batches may nest (error 217).
pub(crate) const MOST_NESTED: u32 = 32;

/// What a statement reads under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatementState {
    pub(crate) tx: TxId,
    /// The commit that snapshot reads of this statement see.
    pub(crate) snapshot: Option<u64>,
    pub(crate) now: Instant,
}

/// A scope of execution.
pub(crate) struct Run<'a> {
    pub(crate) session: &'a mut SessionState,
    pub(crate) out: &'a mut dyn Output,
    pub(crate) variables: Variables,
    /// `inserted` and `deleted`, in a trigger.
    pub(crate) pseudo: HashMap<String, PseudoTable>,
    pub(crate) statement: StatementState,
    /// Errors that the CATCH blocks around the current statement handle, innermost last.
    pub(crate) caught: Vec<SqlError>,
    /// How many TRY blocks are around the current statement.
    pub(crate) tries: u32,
    /// Results come as from a procedure.
    pub(crate) in_proc: bool,
    /// The procedure or trigger, for messages; empty in a batch.
    pub(crate) procedure: String,
    /// The error on its way was raised by THROW, which ends the batch.
    pub(crate) thrown: bool,
    /// Line of the current statement.
    pub(crate) line: u32,
    /// The current row of each query around the expression being evaluated, innermost last.
    pub(crate) rows: Vec<Row>,
    subqueries: Vec<Arc<QueryPlan>>,
    /// Results of subqueries that do not depend on outer rows.
    cached: HashMap<usize, Arc<Vec<Value>>>,
    /// Subqueries as sets, for IN.
    members: HashMap<usize, Arc<Members>>,
    /// Tables hashed for probing, by the probe's number.
    pub(crate) hashed: HashMap<u64, Arc<HashedRows>>,
    probes: u64,
    /// WITH CHANGE_TRACKING_CONTEXT of the statement that runs.
    pub(crate) change_context: Option<Arc<[u8]>>,
    /// The next select list's rows go here rather than to the client: INSERT … EXEC.
    pub(crate) captured: Option<Vec<Row>>,
    /// By column of the current result: how many bytes SET TEXTSIZE leaves of it.
    pub(crate) text_limits: Vec<Option<usize>>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(session: &'a mut SessionState, out: &'a mut dyn Output, in_proc: bool) -> Self {
        let now = session.engine.clock().now();
        Self {
            session,
            out,
            variables: Variables::default(),
            pseudo: HashMap::new(),
            statement: StatementState {
                tx: 0,
                snapshot: None,
                now,
            },
            caught: Vec::new(),
            tries: 0,
            in_proc,
            procedure: String::new(),
            thrown: false,
            line: 0,
            rows: vec![Arc::from([])],
            subqueries: Vec::new(),
            cached: HashMap::new(),
            members: HashMap::new(),
            hashed: HashMap::new(),
            probes: 0,
            change_context: None,
            captured: None,
            text_limits: Vec::new(),
        }
    }

    /// Binds with `bind`, and keeps the subqueries that it met for the evaluation.
    pub(crate) fn bind<T>(&mut self, bind: impl FnOnce(&mut Binder<'_>) -> SqlResult<T>) -> SqlResult<T> {
        let mut binder = Binder::new(self.session, &self.variables, &self.pseudo);
        binder.subqueries = std::mem::take(&mut self.subqueries);
        binder.probes = self.probes;
        let known = binder.subqueries.len();
        let result = bind(&mut binder);
        self.subqueries = binder.subqueries;
        self.probes = binder.probes;
        if result.is_err() {
            self.subqueries.truncate(known);
        }
        result
    }

    /// Forgets the statement's subqueries.
    pub(crate) fn clear_plans(&mut self) {
        self.subqueries.clear();
        self.cached.clear();
        self.members.clear();
        self.hashed.clear();
    }

    /// The value of an expression over no rows, converted to `target` when given.
    pub(crate) fn scalar(&mut self, expr: &Expr, target: Option<TypeInfo>) -> SqlResult<Value> {
        let bound = self.bind(|binder| {
            let bound = bind(expr, binder)?;
            target.map_or(Ok(bound.clone()), |target| convert_to(bound, target))
        })?;
        self.value(&bound)
    }

    /// Whether a condition over no rows is true.
    pub(crate) fn condition(&mut self, expr: &Expr) -> SqlResult<bool> {
        let bound = self.bind(|binder| bind_predicate(expr, binder))?;
        holds(&bound, self)
    }

    /// The value of a bound expression over the current rows.
    pub(crate) fn value(&mut self, expr: &BoundExpr) -> SqlResult<Value> {
        expr.eval(self)
    }

    /// The value of a bound expression over `row`.
    pub(crate) fn value_over(&mut self, expr: &BoundExpr, row: &Row) -> SqlResult<Value> {
        self.set_row(row.clone());
        expr.eval(self)
    }

    /// Whether all conditions hold over `row`.
    pub(crate) fn all_hold(&mut self, conditions: &[BoundExpr], row: &Row) -> SqlResult<bool> {
        if conditions.is_empty() {
            return Ok(true);
        }
        self.set_row(row.clone());
        for condition in conditions {
            if !holds(condition, self)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes `row` the innermost query's current row.
    pub(crate) fn set_row(&mut self, row: Row) {
        match self.rows.last_mut() {
            Some(current) => *current = row,
            None => self.rows.push(row),
        }
    }

    /// An error if the client has sent ATTENTION.
    pub(crate) fn check_cancelled(&self) -> SqlResult<()> {
        if self.session.cancel.load(Ordering::Relaxed) {
            return Err(crate::store::cancelled());
        }
        Ok(())
    }

    /// How a scan sees the store now. A snapshot begins with the first row that is wanted of it.
    pub(crate) fn read(&mut self, scan: &ScanPlan) -> SqlResult<(Read, Option<LockMode>)> {
        self.session.note_access();
        Ok(match scan.read {
            ReadPlan::As(read) => (read, None),
            ReadPlan::Range(mode) => (Read::Committed { lock: Some(mode) }, Some(mode)),
            ReadPlan::Snapshot => {
                let at = self.snapshot_of(scan.table)?;
                (Read::Snapshot { at }, None)
            }
        })
    }

    /// The snapshot in which a table is accessed. Errors under SNAPSHOT: 3951 if the transaction has accessed data under another level
    /// first, 3961 if the table was defined anew since the snapshot.
    pub(crate) fn snapshot_of(&mut self, table: TableId) -> SqlResult<u64> {
        if self.session.isolation != Isolation::Snapshot {
            return Ok(self.snapshot());
        }
        let late = self.session.began_unversioned();
        let at = self.snapshot();
        let store = self.session.engine.store().lock();
        let Some(data) = store.tables.get(&table) else {
            return Ok(at);
        };
        let (database, redefined) = (data.definition.database, data.redefined);
        drop(store);
        let database = self.session.database_name(database);
        if late {
            let message = format!(
                "Transaction failed in database '{database}' because the statement was run under snapshot isolation but the transaction did not start in snapshot isolation. You cannot change the isolation level of the transaction to snapshot after the transaction has started unless the transaction was originally started under snapshot isolation level."
            );
            return Err(SqlError::user(3951, message));
        }
        if redefined > at {
            let message = format!(
                "Snapshot isolation transaction failed in database '{database}' because the object accessed by the statement has been modified by a DDL statement in another concurrent transaction since the start of this transaction. It is disallowed because the metadata is not versioned. A concurrent update to metadata can lead to inconsistency if mixed with snapshot isolation."
            );
            return Err(SqlError::user(3961, message));
        }
        Ok(at)
    }

    /// The commit that this statement's snapshot reads see; under SNAPSHOT it is the whole transaction's.
    pub(crate) fn snapshot(&mut self) -> u64 {
        if let Some(at) = self.statement.snapshot {
            return at;
        }
        let mut store = self.session.engine.store().lock();
        let at = store.take_snapshot();
        if self.session.isolation == Isolation::Snapshot
            && let Some(transaction) = store.transaction(self.statement.tx)
        {
            transaction.snapshot = Some(at);
        }
        self.statement.snapshot = Some(at);
        at
    }

    pub(crate) fn patience(&self) -> Patience {
        self.session.patience()
    }

    /// Gives a row to the client, or to the INSERT … EXEC that waits for it.
    pub(crate) fn emit(&mut self, row: &Row) -> SqlResult<()> {
        if let Some(captured) = &mut self.captured {
            captured.push(row.clone());
            return Ok(());
        }
        if let Some(cut) = super::result::cut(row, &self.text_limits) {
            return super::statement::wanted(self.out.row(&cut));
        }
        super::statement::wanted(self.out.row(row))
    }
}

impl Context for Run<'_> {
    fn column(&self, slot: Slot) -> &Value {
        const NULL: &Value = &Value::Null;
        let at = self.rows.len().checked_sub(1 + usize::from(slot.depth));
        let row = at.and_then(|at| self.rows.get(at));
        row.and_then(|row| row.get(slot.index as usize)).unwrap_or(NULL)
    }

    fn variable(&self, name: &str) -> SqlResult<Value> {
        self.variables.value(name).cloned()
    }

    fn longest_value(&self) -> usize {
        self.session.engine.config().longest_value
    }

    fn subquery(&mut self, id: usize, each: &mut dyn FnMut(&Value) -> SqlResult<bool>) -> SqlResult<()> {
        let Some(plan) = self.subqueries.get(id).cloned() else {
            return Err(SqlError::unsupported("a subquery here"));
        };
        if let Some(values) = self.cached.get(&id).cloned() {
            for value in values.iter() {
                if !each(value)? {
                    break;
                }
            }
            return Ok(());
        }
        let mut values = Vec::new();
        let mut complete = true;
        self.query(&plan, &mut |_, row| {
            let value = row.first().unwrap_or(&Value::Null);
            complete = each(value)?;
            if complete && !plan.correlated {
                values.push(value.clone());
            }
            Ok(if complete { Flow::Continue } else { Flow::Stop })
        })?;
        if complete && !plan.correlated {
            self.cached.insert(id, Arc::new(values));
        }
        Ok(())
    }

    fn members(&mut self, id: usize, from: SqlType, common: TypeInfo) -> SqlResult<Option<Arc<Members>>> {
        if self.subqueries.get(id).is_none_or(|plan| plan.correlated) {
            return Ok(None);
        }
        if let Some(known) = self.members.get(&id) {
            return Ok(Some(Arc::clone(known)));
        }
        let mut members = Members::default();
        let from = TypeInfo { ty: from, ..common };
        self.subquery(id, &mut |value| {
            let value = convert_value(value.clone(), from, common)?;
            if value.is_null() {
                members.null = true;
            } else {
                let mut key = Vec::new();
                key::append(&value, common.collation, false, &mut key);
                members.keys.insert(key);
            }
            Ok(true)
        })?;
        let members = Arc::new(members);
        self.members.insert(id, Arc::clone(&members));
        Ok(Some(members))
    }

    fn now(&self) -> Instant {
        self.statement.now
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.session.random(bytes);
    }

    fn global(&self, global: Global) -> SqlResult<Value> {
        self.session.global(global)
    }

    fn environment(&mut self, function: EnvironmentFunction, arguments: &[Value]) -> SqlResult<Value> {
        if let Some(answer) = self.capture_function(function, arguments)? {
            return Ok(answer);
        }
        if let Some(answer) = self.tracking_function(function, arguments)? {
            return Ok(answer);
        }
        let tx = self.statement.tx;
        self.session.environment(function, arguments, tx)
    }

    fn caught(&self) -> Option<&SqlError> {
        self.caught.last()
    }
}
