//! Statements: control flow, errors and what they end.

use super::run::Run;
use crate::ast::{Batch, Statement, StatementKind};
use crate::error::{SqlError, SqlResult};
use crate::outcome::{Command, Done, EnvChange, Flow, ResultColumn};
use crate::types::SqlType;

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
    /// The client knows already: this scope is over, what called it goes on.
    Ended,
}

impl Failure {
    /// The error, for a caller that has to fail with it.
    pub(crate) fn into_error(self) -> SqlError {
        match self {
            Self::Error { error, .. } => error,
            Self::Aborted | Self::Ended => crate::store::cancelled(),
        }
    }
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
        _ if error.is_fatal() => Reach::Transaction,
        // Conversions, deadlocks and snapshot conflicts take the transaction with them.
        241 | 242 | 245 | 295 | 1205 | 3951 | 3960 | 3961 | 8114 | 8169 | 9420 => Reach::Transaction,
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
        self.line = statement.line;
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
            Err(Failure::Ended) => Ok(Step::Next),
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

    /// Hands an error to the TRY around it, unless it ends the connection, or tells the client and ends what the error ends.
    fn failed(&mut self, error: SqlError, command: Command) -> Result<(), Failure> {
        let number = error.number;
        self.session.last_error = number;
        if self.tries > 0 && !error.is_fatal() {
            self.thrown = false;
            return Err(Failure::Error {
                error,
                scope: self.session.nest_level,
            });
        }
        let thrown = std::mem::take(&mut self.thrown);
        let reach = match reach(&error, self.session.options.xact_abort) {
            Reach::Statement if thrown => Reach::Scope,
            reach => reach,
        };
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
        match reach {
            Reach::Statement => Ok(()),
            Reach::Scope if is_compilation(number) => Err(Failure::Ended),
            Reach::Scope | Reach::Transaction => Err(Failure::Aborted),
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
            StatementKind::WithChangeTrackingContext { context, statement } => {
                self.with_change_context(context, |run| run.perform(statement))
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

    /// Announces a result set, unless its rows are captured.
    pub(crate) fn start_result(&mut self, columns: &[ResultColumn]) {
        self.text_limits = super::result::text_limits(columns, self.session.options.text_size);
        if self.captured.is_none() {
            self.out.columns(columns);
        }
    }

    /// A statement's end; its count only with NOCOUNT OFF. NOCOUNT ON also silences procedures and triggers, but for the
    /// ends of their results.
    pub(crate) fn done(&mut self, command: Command, rows: Option<u64>) {
        let nocount = self.session.options.nocount;
        if nocount && self.in_proc && command != Command::Select {
            return;
        }
        let rows = rows.filter(|_| !nocount);
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
}

/// Whether a result's receiver wants more.
pub(crate) fn wanted(flow: Flow) -> SqlResult<()> {
    match flow {
        Flow::Continue => Ok(()),
        Flow::Stop => Err(crate::store::cancelled()),
    }
}
