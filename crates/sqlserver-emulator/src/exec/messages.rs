//! PRINT, RAISERROR, THROW, variables, DBCC.

use super::change::combined;
use super::run::Run;
use super::scope::same;
use super::variables::TableVariable;
use crate::ast::{
    BinaryOp, DeclaredType, Expr, RaisError, TableDefinition, ThrowArguments, VariableDeclaration,
};
use crate::error::{SqlError, SqlResult};
use crate::outcome::Command;
use crate::session::Isolation;
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

/// Longer messages are cut by PRINT.
const MOST_PRINTED: usize = 4000;

fn text_type() -> TypeInfo {
    TypeInfo::new(SqlType::NVarChar { len: Length::Max })
}

impl Run<'_> {
    fn text_of(&mut self, expr: &Expr) -> SqlResult<Option<String>> {
        Ok(self.scalar(expr, Some(text_type()))?.as_text())
    }

    /// A name, written as one or as text.
    fn word_of(&mut self, expr: &Expr) -> SqlResult<String> {
        match expr {
            Expr::Column(name) => Ok(name.name.clone()),
            other => Ok(self.text_of(other)?.unwrap_or_default()),
        }
    }

    fn number_of(&mut self, expr: &Expr) -> SqlResult<i64> {
        let value = self.scalar(expr, Some(TypeInfo::new(SqlType::BigInt)))?;
        Ok(value.as_integer().unwrap_or_default())
    }

    pub(crate) fn print(&mut self, message: &Expr) -> SqlResult<()> {
        let text = self.reading("PRINT", |run| run.text_of(message))?;
        let text: String = text
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| " ".to_owned());
        let text = text.chars().take(MOST_PRINTED).collect::<String>();
        self.out.message(&SqlError::info(text).at_line(self.line));
        self.session.row_count = 0;
        Ok(())
    }

    pub(crate) fn throw(&mut self, arguments: Option<&ThrowArguments>) -> SqlResult<()> {
        self.thrown = true;
        let Some(arguments) = arguments else {
            return Err(match self.caught.last() {
                Some(error) => error.clone(),
                None => SqlError::new(
                    10_704,
                    15,
                    1,
                    "To rethrow an error, a THROW statement must be used inside a CATCH block. Insert the THROW statement inside a CATCH block, or add error parameters to the THROW statement.",
                ),
            });
        };
        let number = self.number_of(&arguments.number)?;
        let message = self.text_of(&arguments.message)?.unwrap_or_default();
        let state = self.number_of(&arguments.state)?;
        if number < 50_000 {
            return Err(SqlError::new(
                35_100,
                15,
                10,
                format!(
                    "Error number {number} in the THROW statement is outside the valid range. Specify an error number in the valid range of 50000 to 2147483647."
                ),
            ));
        }
        Err(SqlError::new(number as i32, 16, state as u8, message))
    }

    /// Error 2754 for a grave error without LOG.
    pub(crate) fn raise_error(&mut self, arguments: &RaisError) -> SqlResult<()> {
        let severity = self.number_of(&arguments.severity)?.clamp(0, 25) as u8;
        if severity > 18 && !arguments.log {
            return Err(SqlError::user(
                2754,
                "Error severity levels greater than 18 can only be specified by members of the sysadmin role, using the WITH LOG option.",
            ));
        }
        let state = self.number_of(&arguments.state)?.clamp(0, 255) as u8;
        let message = self.scalar(&arguments.message, None)?;
        let (number, format) = match message.as_integer() {
            Some(number) => (
                number as i32,
                format!(
                    "Error {number}, severity {severity}, state {state} was raised, but no message with that error number was found in sys.messages."
                ),
            ),
            None => (50_000, message.as_text().unwrap_or_default()),
        };
        let mut values = Vec::with_capacity(arguments.arguments.len());
        for argument in &arguments.arguments {
            values.push(self.text_of(argument)?.unwrap_or_else(|| "(null)".to_owned()));
        }
        let error = SqlError::new(number, severity, state, filled(&format, &values));
        if error.is_info() {
            self.out.message(&error.at_line(self.line));
            self.session.row_count = 0;
            if arguments.seterror {
                self.session.last_error = number;
            }
            return Ok(());
        }
        Err(error)
    }

    pub(crate) fn declare(&mut self, variables: &[VariableDeclaration]) -> SqlResult<()> {
        for (variable, number) in variables.iter().zip(1..) {
            let ty = match &variable.ty {
                DeclaredType::Scalar(ty) => *ty,
                DeclaredType::Table(ty) => {
                    self.declare_typed_table(&variable.name, number, ty)?;
                    continue;
                }
            };
            let info = self.session.in_database(ty);
            if !self.redeclares(&variable.name) {
                self.variables.declare(&variable.name, info)?;
            }
            if let Some(value) = &variable.value {
                let value = self.reading("SELECT", |run| run.scalar(value, Some(info)))?;
                self.variables.set(&variable.name, value);
            }
        }
        Ok(())
    }

    /// A DECLARE in a loop's body is met again on each turn.
    fn redeclares(&self, name: &str) -> bool {
        self.variables.is_declared(name)
    }

    /// A second visit, in a loop, finds the table as it is.
    pub(crate) fn declare_table(&mut self, name: &str, table: &TableDefinition) -> SqlResult<()> {
        if self.variables.table(name).is_ok() {
            return Ok(());
        }
        self.in_transaction("DECLARE", |run| {
            let id = run.create_variable_table(name, table)?;
            let variable = TableVariable {
                id,
                ty: None,
                read_only: false,
                borrowed: false,
            };
            run.variables.declare_table(name, variable);
            Ok(())
        })
    }

    pub(crate) fn set_variable(&mut self, name: &str, op: Option<BinaryOp>, value: &Expr) -> SqlResult<()> {
        let info = self.variables.info(name)?;
        let value = combined(&Expr::Variable(name.to_owned()), op, value);
        let value = self.reading("SELECT", |run| run.scalar(&value, Some(info)))?;
        self.variables.set(name, value);
        self.session.row_count = 1;
        Ok(())
    }

    pub(crate) fn dbcc(&mut self, command: &str, arguments: &[Expr]) -> SqlResult<()> {
        match command.to_uppercase().as_str() {
            "USEROPTIONS" => self.user_options(),
            "CHECKIDENT" => self.check_identity(arguments),
            "TRACEON" | "TRACEOFF" | "DROPCLEANBUFFERS" | "FREEPROCCACHE" => {
                self.out.message(&SqlError { number: 2528, ..SqlError::info("DBCC execution completed. If DBCC printed error messages, contact your system administrator.") });
                self.done(Command::Other, None);
                Ok(())
            }
            other => Err(SqlError::unsupported(format_args!("DBCC {other}"))),
        }
    }

    fn user_options(&mut self) -> SqlResult<()> {
        let column = |name: &str| {
            super::bind_query::result_column(
                name.to_owned(),
                TypeInfo::new(SqlType::NVarChar {
                    len: Length::Chars(128),
                }),
            )
        };
        self.start_result(&[column("Set Option"), column("Value")]);
        let isolation = match self.session.isolation {
            Isolation::ReadUncommitted => "read uncommitted",
            Isolation::ReadCommitted => "read committed",
            Isolation::RepeatableRead => "repeatable read",
            Isolation::Serializable => "serializable",
            Isolation::Snapshot => "snapshot",
        };
        let mut listed = self.session.options.listed();
        listed.push(("isolation level", isolation.to_owned()));
        for (name, value) in &listed {
            super::statement::wanted(self.out.row(&[Value::text(name), Value::text(value)]))?;
        }
        self.done(Command::Select, Some(listed.len() as u64));
        Ok(())
    }

    /// `DBCC CHECKIDENT ('t', RESEED, n)`.
    fn check_identity(&mut self, arguments: &[Expr]) -> SqlResult<()> {
        let Some(first) = arguments.first() else {
            return Err(SqlError::new(
                2526,
                16,
                3,
                "Incorrect DBCC statement. Check the documentation for the correct DBCC syntax and options.",
            ));
        };
        let name = self.word_of(first)?;
        let reference = crate::catalog::ObjectReference::parse(&name).ok_or_else(|| {
            SqlError::user(
                2501,
                format!("Cannot find a table or object with the name \"{name}\". Check the system catalog."),
            )
        })?;
        let object = reference.into_name();
        let id = self.session.find_table(&object)?.ok_or_else(|| {
            SqlError::user(
                2501,
                format!("Cannot find a table or object with the name \"{name}\". Check the system catalog."),
            )
        })?;
        let reseeds = match arguments.get(1) {
            Some(option) => same(&self.word_of(option)?, "RESEED"),
            None => false,
        };
        if reseeds && let Some(value) = arguments.get(2) {
            let seed = self.number_of(value)?;
            if let Some(data) = self.session.engine.store().lock().tables.get_mut(&id) {
                data.identity = Some(seed);
            }
        }
        self.done(Command::Other, None);
        Ok(())
    }
}

/// RAISERROR's printf places: `%s`, `%d`, `%i`, `%u`, `%%`, with flags and widths left out.
fn filled(format: &str, values: &[String]) -> String {
    let mut out = String::with_capacity(format.len());
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        while chars
            .next_if(|c| matches!(c, '-' | '+' | '0'..='9' | '.' | '#' | ' ' | 'l' | 'h' | 'I' | '*'))
            .is_some()
        {}
        match chars.next() {
            Some('%') | None => out.push('%'),
            Some(_) => out.push_str(values.next().map_or("(null)", String::as_str)),
        }
    }
    out
}
