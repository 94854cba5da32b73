//! Statements: control flow, errors and what they end, transactions around single statements.

use std::time::{Duration, Instant as Deadline};

use super::run::{Run, StatementState};
use crate::ast::{Batch, SetOption, Statement, StatementKind, WaitKind};
use crate::error::{SqlError, SqlResult};
use crate::outcome::{Command, Done, EnvChange, Flow, ResultColumn};
use crate::session::Isolation;
use crate::store::TxId;
use crate::types::SqlType;
use crate::value::Value;

/// What follows a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Next,
    Break,
    Continue,
    Return(i32),
}

/// Why a list of statements ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// For the TRY around it; `scope` is the nesting level where it was raised.
    Error { error: SqlError, scope: u32 },
    /// The client knows already: the batch is over.
    Aborted,
}

impl Failure {
    /// The error, for a caller that has to fail with it.
    pub(crate) fn into_error(self) -> SqlError {
        match self {
            Self::Error { error, .. } => error,
            Self::Aborted => crate::store::cancelled(),
        }
    }
}

/// A statement that has run: its transaction, whether that ends with it, and the marks from its start.
struct Ended {
    tx: TxId,
    own: bool,
    failed: bool,
    undo: usize,
    locks: usize,
}

pub(crate) type Outcome = Result<Step, Failure>;

/// What an error ends when no TRY is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Statement,
    /// The batch or procedure, as for an unknown table.
    Scope,
    /// The batch and the transaction.
    Transaction,
}

/// Errors of names and syntax, found when a statement is compiled: a TRY of the same scope does not catch them.
fn is_compilation(number: i32) -> bool {
    matches!(
        number,
        102 | 105
            | 137
            | 156
            | 195
            | 205
            | 207
            | 208
            | 209
            | 1087
            | 4104
            | 8120
            | 263
            | 213
            | 109
            | 110
            | 120
            | 121
            | 911
    )
}

fn reach(error: &SqlError, xact_abort: bool) -> Reach {
    match error.number {
        // Conversions, deadlocks and snapshot conflicts take the transaction with them.
        241 | 242 | 245 | 295 | 1205 | 3960 | 8114 | 8169 | 9420 => Reach::Transaction,
        // RAISERROR does not heed XACT_ABORT.
        50_000 => Reach::Statement,
        _ if xact_abort => Reach::Transaction,
        number if is_compilation(number) => Reach::Scope,
        3930 | 3609 => Reach::Transaction,
        3617 => Reach::Scope,
        _ => Reach::Statement,
    }
}

impl Run<'_> {
    /// Runs a parsed batch or body.
    pub(crate) fn batch(&mut self, batch: &Batch) -> Outcome {
        self.statements(&batch.statements)
    }

    fn statements(&mut self, statements: &[Statement]) -> Outcome {
        for statement in statements {
            match self.statement(statement)? {
                Step::Next => {}
                step => return Ok(step),
            }
        }
        Ok(Step::Next)
    }

    fn statement(&mut self, statement: &Statement) -> Outcome {
        if let Err(error) = self.check_cancelled() {
            return Err(Failure::Error {
                error,
                scope: u32::MAX,
            });
        }
        self.clear_plans();
        match &statement.kind {
            StatementKind::Block(statements) => self.statements(statements),
            StatementKind::If {
                condition,
                then,
                otherwise,
            } => {
                let holds = self.guarded(statement.line, |run| {
                    run.reading("SELECT", |run| run.condition(condition))
                })?;
                match (holds, otherwise) {
                    (Some(true), _) => self.statement(then),
                    (Some(false), Some(otherwise)) => self.statement(otherwise),
                    _ => Ok(Step::Next),
                }
            }
            StatementKind::While { condition, body } => self.repeat(statement.line, condition, body),
            StatementKind::Break => Ok(Step::Break),
            StatementKind::Continue => Ok(Step::Continue),
            StatementKind::TryCatch { attempt, catch } => self.try_catch(attempt, catch),
            StatementKind::Return(value) => {
                let Some(value) = value else {
                    return Ok(Step::Return(0));
                };
                let status = self.guarded(statement.line, |run| {
                    run.reading("SELECT", |run| {
                        run.scalar(value, Some(crate::types::TypeInfo::new(SqlType::Int)))
                    })
                })?;
                Ok(Step::Return(
                    status.and_then(|value| value.as_integer()).unwrap_or_default() as i32,
                ))
            }
            StatementKind::Execute(call) => self.nested(statement.line, |run| run.execute(call)),
            StatementKind::ExecuteString(text) => self.nested(statement.line, |run| run.execute_string(text)),
            kind => {
                self.guarded(statement.line, |run| run.perform(kind))?;
                Ok(Step::Next)
            }
        }
    }

    fn nested(&mut self, line: u32, body: impl FnOnce(&mut Self) -> Result<i32, Failure>) -> Outcome {
        match body(self) {
            Ok(_) => Ok(Step::Next),
            Err(Failure::Error { error, scope }) if scope == self.session.nest_level => self
                .failed(error.at_line(line), Command::Execute)
                .map(|()| Step::Next),
            Err(failure) => Err(failure),
        }
    }

    fn repeat(&mut self, line: u32, condition: &crate::ast::Expr, body: &Statement) -> Outcome {
        loop {
            self.clear_plans();
            let holds = self.guarded(line, |run| {
                run.check_cancelled()?;
                run.reading("SELECT", |run| run.condition(condition))
            })?;
            if holds != Some(true) {
                return Ok(Step::Next);
            }
            match self.statement(body)? {
                Step::Next | Step::Continue => {}
                Step::Break => return Ok(Step::Next),
                step => return Ok(step),
            }
        }
    }

    fn try_catch(&mut self, attempt: &[Statement], catch: &[Statement]) -> Outcome {
        self.tries += 1;
        let result = self.statements(attempt);
        self.tries -= 1;
        let (error, scope) = match result {
            Err(Failure::Error { error, scope }) => (error, scope),
            other => return other,
        };
        let level = self.session.nest_level;
        if error.number == 3617 || (is_compilation(error.number) && scope == level) {
            return self.failed(error, Command::None).map(|()| Step::Next);
        }
        if self.session.transaction.is_some()
            && reach(&error, self.session.options.xact_abort) == Reach::Transaction
        {
            self.session.doomed = true;
        }
        self.session.last_error = error.number;
        self.caught.push(error);
        let result = self.statements(catch);
        self.caught.pop();
        result
    }

    /// Runs a statement's work. None: it failed, the client was told, and the batch goes on.
    fn guarded<T>(
        &mut self,
        line: u32,
        work: impl FnOnce(&mut Self) -> SqlResult<T>,
    ) -> Result<Option<T>, Failure> {
        match work(self) {
            Ok(value) => {
                self.session.last_error = 0;
                Ok(Some(value))
            }
            Err(error) => {
                let mut error = error.at_line(line);
                if error.procedure.is_empty() {
                    error.procedure.clone_from(&self.procedure);
                }
                self.failed(error, Command::None).map(|()| None)
            }
        }
    }

    /// Hands an error to the TRY around it, or tells the client and ends what the error ends.
    fn failed(&mut self, error: SqlError, command: Command) -> Result<(), Failure> {
        let number = error.number;
        self.session.last_error = number;
        if self.tries > 0 {
            return Err(Failure::Error {
                error,
                scope: self.session.nest_level,
            });
        }
        let reach = reach(&error, self.session.options.xact_abort);
        // After ATTENTION the client expects only its acknowledgement.
        if number != 3617 {
            self.out.message(&error);
        }
        if reach == Reach::Transaction && self.session.transaction.is_some() {
            self.rollback_all();
        }
        self.session.row_count = 0;
        self.out.done(Done {
            command,
            rows: None,
            error: true,
            in_proc: self.in_proc,
        });
        if reach == Reach::Statement {
            Ok(())
        } else {
            Err(Failure::Aborted)
        }
    }

    /// Tells the client of an error that ended the request.
    pub(crate) fn report_error(&mut self, error: SqlError) {
        self.tries = 0;
        // It is over either way.
        let _ = self.failed(error, Command::None);
    }

    fn perform(&mut self, kind: &StatementKind) -> SqlResult<()> {
        match kind {
            StatementKind::Select(select) => self.select_statement(select),
            StatementKind::Insert(insert) => {
                self.counted("INSERT", Command::Insert, |run| run.insert(insert))
            }
            StatementKind::Update(update) => {
                self.counted("UPDATE", Command::Update, |run| run.update(update))
            }
            StatementKind::Delete(delete) => {
                self.counted("DELETE", Command::Delete, |run| run.delete(delete))
            }
            StatementKind::Merge(merge) => self.counted("MERGE", Command::Merge, |run| run.merge(merge)),
            StatementKind::InsertBulk(bulk) => self.begin_bulk(bulk),
            StatementKind::Declare(variables) => self.declare(variables),
            StatementKind::DeclareTable { name, table } => self.declare_table(name, table),
            StatementKind::SetVariable { name, op, value } => self.set_variable(name, *op, value),
            StatementKind::SetOption(option) => self.set_option(option),
            StatementKind::Throw(arguments) => self.throw(arguments.as_deref()),
            StatementKind::RaisError(arguments) => self.raise_error(arguments),
            StatementKind::Print(message) => self.print(message),
            StatementKind::Use(name) => self.session.use_database(name, self.out),
            StatementKind::WaitFor { kind, value } => self.wait_for(*kind, value),
            StatementKind::BeginTransaction { name } => self.begin_transaction(name.as_ref()),
            StatementKind::Commit => self.commit_transaction(),
            StatementKind::Rollback { name } => self.rollback_transaction(name.as_ref()),
            StatementKind::SaveTransaction { name } => self.save_transaction(name),
            StatementKind::NoEffect | StatementKind::Checkpoint => {
                self.done(Command::Other, None);
                Ok(())
            }
            StatementKind::Dbcc { command, arguments } => self.dbcc(command, arguments),
            other => self.define(other),
        }
    }

    /// Runs work in the open transaction, or in one of its own that commits at the end.
    pub(crate) fn in_transaction<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> SqlResult<T>,
    ) -> SqlResult<T> {
        let engine = std::sync::Arc::clone(&self.session.engine);
        if self.session.transaction.is_none()
            && self.session.statement_transaction.is_none()
            && self.session.options.implicit_transactions
        {
            self.open_transaction("implicit_transaction");
        }
        let outer = self.session.transaction.or(self.session.statement_transaction);
        let tx = match outer {
            Some(tx) => tx,
            None => {
                let mut store = engine.store().lock();
                let tx = store.begin(self.session.id, name, false, engine.clock());
                if let Some(transaction) = store.transaction(tx) {
                    transaction.deadlock_priority = self.session.options.deadlock_priority;
                }
                tx
            }
        };
        if outer.is_none() {
            self.session.statement_transaction = Some(tx);
        }
        let before = self.statement;
        let (undo, locks) = self.start_statement(tx);
        engine.change_session(self.session.id, |facts| {
            if let Some((_, command)) = &mut facts.request {
                name.clone_into(command);
            }
        });
        let result = work(self);
        if self.session.isolation != Isolation::Snapshot {
            engine.store().lock().release_snapshot(self.statement.snapshot);
        }
        self.statement = before;
        if outer.is_none() {
            self.session.statement_transaction = None;
        }
        let ended = Ended {
            tx,
            own: outer.is_none(),
            failed: result.is_err(),
            undo,
            locks,
        };
        self.end_statement(ended, matches!(name, "UPDATE" | "DELETE"));
        result
    }

    /// Takes the statement's time. Gives the marks to return to.
    fn start_statement(&mut self, tx: TxId) -> (usize, usize) {
        let engine = std::sync::Arc::clone(&self.session.engine);
        let now = engine.clock().now();
        let mut store = engine.store().lock();
        store.touch_read(tx, self.session.database);
        let Some(transaction) = store.transaction(tx) else {
            return (0, 0);
        };
        let snapshot = transaction
            .snapshot
            .filter(|_| self.session.isolation == Isolation::Snapshot);
        self.statement = StatementState { tx, snapshot, now };
        (transaction.undo.len(), transaction.row_locks.len())
    }

    /// `searches`: its update locks on rows that it did not change end with it.
    fn end_statement(&mut self, ended: Ended, searches: bool) {
        let Ended {
            tx,
            own,
            failed,
            undo,
            locks,
        } = ended;
        let engine = std::sync::Arc::clone(&self.session.engine);
        let mut store = engine.store().lock();
        if failed {
            store.rollback_to(tx, undo, false);
        }
        let keeps_locks = matches!(
            self.session.isolation,
            Isolation::RepeatableRead | Isolation::Serializable
        );
        match (own, failed) {
            (true, false) => store.commit(tx),
            (true, true) => store.rollback(tx),
            (false, _) if !keeps_locks && searches => store.release_row_locks_after(tx, locks),
            (false, _) => {}
        }
        drop(store);
        engine.store().notify();
    }

    /// Like `in_transaction`, for expressions outside of queries; cheap when they read nothing.
    pub(crate) fn reading<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> SqlResult<T>,
    ) -> SqlResult<T> {
        self.in_transaction(name, work)
    }

    /// Runs a statement that changes rows. Error 3930 in a doomed transaction.
    fn counted(
        &mut self,
        name: &str,
        command: Command,
        work: impl FnOnce(&mut Self) -> SqlResult<u64>,
    ) -> SqlResult<()> {
        self.refuse_if_doomed()?;
        if self.session.options.fmt_only {
            return Ok(());
        }
        let rows = self.in_transaction(name, work)?;
        self.session.row_count = rows as i64;
        self.session.last_error = 0;
        self.done(command, Some(rows));
        Ok(())
    }

    pub(crate) fn refuse_if_doomed(&self) -> SqlResult<()> {
        if self.session.doomed {
            return Err(SqlError::user(
                3930,
                "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back the transaction.",
            ));
        }
        Ok(())
    }

    /// Announces a result set, unless its rows are captured.
    pub(crate) fn start_result(&mut self, columns: &[ResultColumn]) {
        self.text_limits = super::result::text_limits(columns, self.session.options.text_size);
        if self.captured.is_none() {
            self.out.columns(columns);
        }
    }

    /// A statement's end; its count only with NOCOUNT OFF.
    pub(crate) fn done(&mut self, command: Command, rows: Option<u64>) {
        let rows = rows.filter(|_| !self.session.options.nocount);
        self.out.done(Done {
            command,
            rows,
            error: false,
            in_proc: self.in_proc,
        });
    }

    /// Ends the explicit transaction and everything in it.
    pub(crate) fn rollback_all(&mut self) {
        if let Some(tx) = self.session.rollback() {
            self.out.env(EnvChange::RollbackTran(tx));
        }
    }

    fn wait_for(&mut self, kind: WaitKind, value: &crate::ast::Expr) -> SqlResult<()> {
        let text = self.scalar(value, None)?.as_text().unwrap_or_default();
        let delay = parse_delay(&text).filter(|_| kind == WaitKind::Delay);
        let delay = delay.ok_or_else(|| {
            SqlError::new(
                148,
                15,
                1,
                format!("Incorrect time syntax in time string '{text}' used with WAITFOR."),
            )
        })?;
        self.session.engine.change_session(self.session.id, |facts| {
            if let Some((_, command)) = &mut facts.request {
                "WAITFOR".clone_into(command);
            }
        });
        let end = Deadline::now() + delay;
        while Deadline::now() < end {
            self.check_cancelled()?;
            std::thread::sleep((end - Deadline::now().min(end)).min(Duration::from_millis(10)));
        }
        self.done(Command::Other, None);
        Ok(())
    }

    fn set_option(&mut self, option: &SetOption) -> SqlResult<()> {
        match option {
            SetOption::Switch { names, on } => {
                for name in names {
                    self.session.options.switch(name, *on)?;
                }
            }
            SetOption::Value { name, value } => self.set_value(name, value)?,
            SetOption::Isolation(isolation) => self.session.isolation = *isolation,
            SetOption::IdentityInsert { table, on } => self.identity_insert(table, *on)?,
            SetOption::Statistics { .. } => {}
        }
        self.session.publish();
        self.session.row_count = 0;
        self.done(Command::Set, None);
        Ok(())
    }

    fn set_value(&mut self, name: &str, value: &crate::ast::Expr) -> SqlResult<()> {
        let value = match value {
            // A bare word: SET DATEFORMAT mdy, SET DEADLOCK_PRIORITY LOW.
            crate::ast::Expr::Column(word) => Value::text(&word.name),
            value => self.scalar(value, None)?,
        };
        let number = || match &value {
            Value::Decimal(d) => i64::try_from(d.unscaled).ok(),
            other => other.as_integer(),
        };
        let text = value.as_text().unwrap_or_default().to_lowercase();
        let options = &mut self.session.options;
        match (name, number()) {
            ("TEXTSIZE", Some(size)) => {
                options.text_size = match size {
                    0 => 4096,
                    -1 => i32::MAX,
                    size => i32::try_from(size).unwrap_or(i32::MAX),
                }
            }
            ("LOCK_TIMEOUT", Some(timeout)) => options.lock_timeout = timeout as i32,
            ("ROWCOUNT", Some(count)) => options.row_count = count,
            ("DATEFIRST", Some(first @ 1..=7)) => options.date_first = first as u8,
            ("DEADLOCK_PRIORITY", Some(priority @ -10..=10)) => options.deadlock_priority = priority as i8,
            ("DEADLOCK_PRIORITY", None) => {
                options.deadlock_priority = match text.as_str() {
                    "low" => -5,
                    "high" => 5,
                    _ => 0,
                }
            }
            ("DATEFORMAT", _) => options.date_format = text,
            ("LANGUAGE", _) => options.language = text,
            ("CONTEXT_INFO", _) => {
                self.session.context_info = match value {
                    Value::Bytes(bytes) => bytes.to_vec(),
                    _ => Vec::new(),
                }
            }
            ("QUERY_GOVERNOR_COST_LIMIT" | "FIPS_FLAGGER", _) => {}
            (other, _) => {
                return Err(SqlError::new(
                    195,
                    15,
                    5,
                    format!("'{other}' is not a recognized SET option."),
                ));
            }
        }
        let (tx, priority) = (self.session.transaction, self.session.options.deadlock_priority);
        if let Some(tx) = tx
            && let Some(transaction) = self.session.engine.store().lock().transaction(tx)
        {
            transaction.deadlock_priority = priority;
        }
        Ok(())
    }

    /// Errors: 8107 for a second table, 8106 without identity column.
    fn identity_insert(&mut self, table: &crate::ast::ObjectName, on: bool) -> SqlResult<()> {
        let id = self.session.find_table(table)?.ok_or_else(|| {
            SqlError::user(
                1088,
                format!(
                    "Cannot find the object \"{}\" because it does not exist or you do not have permissions.",
                    super::output::spelled(table)
                ),
            )
        })?;
        let definition = self.session.table_definition(id)?;
        if definition.identity().is_none() {
            return Err(SqlError::user(
                8106,
                format!(
                    "Table '{}' does not have the identity property. Cannot perform SET operation.",
                    super::output::spelled(table)
                ),
            ));
        }
        match (on, self.session.identity_insert) {
            (true, Some(other)) if other != id => {
                let other = self.session.table_definition(other)?;
                let database = self.session.database_name(other.database);
                return Err(SqlError::user(
                    8107,
                    format!(
                        "IDENTITY_INSERT is already ON for table '{database}.{}'. Cannot perform SET operation for table '{}'.",
                        other.qualified(),
                        super::output::spelled(table)
                    ),
                ));
            }
            (true, _) => self.session.identity_insert = Some(id),
            (false, Some(current)) if current == id => self.session.identity_insert = None,
            (false, _) => {}
        }
        Ok(())
    }
}

/// `hh:mm[:ss[.fff]]`.
fn parse_delay(text: &str) -> Option<Duration> {
    let mut parts = text.trim().split(':');
    let hours: f64 = parts.next()?.parse().ok()?;
    let minutes: f64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next().map_or(Some(0.0), |seconds| seconds.parse().ok())?;
    let total = hours * 3600.0 + minutes * 60.0 + seconds;
    (parts.next().is_none() && (0.0..86_400.0).contains(&total)).then(|| Duration::from_secs_f64(total))
}

/// Whether a result's receiver wants more.
pub(crate) fn wanted(flow: Flow) -> SqlResult<()> {
    match flow {
        Flow::Continue => Ok(()),
        Flow::Stop => Err(crate::store::cancelled()),
    }
}
