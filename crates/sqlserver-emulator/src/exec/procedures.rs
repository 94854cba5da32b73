//! EXEC: stored procedures, dynamic SQL, and the system procedures that clients and tests call.

use super::capture::Arguments;
use super::named::unknown_procedure;
use super::output::spelled;
use super::run::{MOST_NESTED, Run};
use super::statement::{Failure, Step};
use super::table_types::{TableArgument, clash};
use crate::ast::{
    Argument, CreateProcedure, DeclaredType, Execute, Expr, ObjectName, ParameterDefinition, ProcedureName,
};
use crate::error::{SqlError, SqlResult};
use crate::eval::convert_value;
use crate::outcome::{Command, ReturnValue};
use crate::parser::parse_parameters;
use crate::session::{Param, Prepared};
use crate::store::ModuleKind;
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

/// An argument with its value.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// With its `@`; empty by position.
    pub(crate) name: String,
    /// None: DEFAULT.
    pub(crate) value: Option<Value>,
    pub(crate) info: TypeInfo,
    pub(crate) output: bool,
    /// A table instead of a value.
    pub(crate) table: Option<TableArgument>,
}

impl Given {
    /// NULL, by position.
    pub(super) fn null() -> Self {
        Self {
            name: String::new(),
            value: Some(Value::Null),
            info: TypeInfo::new(SqlType::NVarChar { len: Length::Max }),
            output: false,
            table: None,
        }
    }
}

impl From<Param> for Given {
    fn from(param: Param) -> Self {
        let info = TypeInfo {
            ty: param.ty,
            collation: param.collation,
            nullable: true,
        };
        Self {
            name: param.name,
            value: Some(param.value),
            info,
            output: param.output,
            table: param.table.map(TableArgument::Sent),
        }
    }
}

/// A finished call: its status and its OUTPUT values, by the position of the argument.
pub(crate) struct Finished {
    pub(crate) status: i32,
    pub(crate) outputs: Vec<(usize, String, TypeInfo, Value)>,
}

pub(super) type Called = Result<Finished, Failure>;

impl Run<'_> {
    pub(super) fn fail(&self, error: SqlError) -> Failure {
        Failure::Error {
            error,
            scope: self.session.nest_level,
        }
    }

    /// EXEC procedure.
    pub(crate) fn execute(&mut self, call: &Execute) -> Result<i32, Failure> {
        let name = match &call.procedure {
            ProcedureName::Name(name) => name.clone(),
            ProcedureName::Variable(variable) => {
                let text = self
                    .variables
                    .value(variable)
                    .map_err(|error| self.fail(error))?
                    .as_text()
                    .unwrap_or_default();
                let reference = crate::catalog::ObjectReference::parse(&text);
                let reference = reference.ok_or_else(|| self.fail(unknown_procedure(&text)))?;
                reference.into_name()
            }
        };
        let given = self
            .reading("EXECUTE", |run| run.given(&call.arguments))
            .map_err(|error| self.fail(error))?;
        let finished = self.call(&name, given)?;
        for (at, _, info, value) in finished.outputs {
            if let Some(Argument {
                value: Some(Expr::Variable(variable)),
                output: true,
                ..
            }) = call.arguments.get(at)
            {
                self.assign_converted(variable, value, info)
                    .map_err(|error| self.fail(error))?;
            }
        }
        if let Some(variable) = &call.status {
            let int = TypeInfo::new(SqlType::Int);
            self.assign_converted(variable, Value::Int(finished.status), int)
                .map_err(|error| self.fail(error))?;
        }
        Ok(finished.status)
    }

    fn assign_converted(&mut self, variable: &str, value: Value, from: TypeInfo) -> SqlResult<()> {
        let to = self.variables.info(variable)?;
        self.variables.set(variable, convert_value(value, from, to)?);
        Ok(())
    }

    fn given(&mut self, arguments: &[Argument]) -> SqlResult<Vec<Given>> {
        let mut given = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let table = match &argument.value {
                Some(Expr::Variable(variable)) => self.variables.table_variable(variable).cloned(),
                _ => None,
            };
            let (value, info) = match &argument.value {
                _ if table.is_some() => (None, TypeInfo::new(SqlType::Int)),
                None => (None, TypeInfo::new(SqlType::Int)),
                // A bare word is text: EXEC sp_help t.
                Some(Expr::Column(word)) => (
                    Some(Value::text(&word.name)),
                    TypeInfo::new(SqlType::NVarChar {
                        len: Length::Chars(128),
                    }),
                ),
                Some(expr) => {
                    let bound = self.bind(|binder| crate::eval::bind(expr, binder))?;
                    (Some(self.value(&bound)?), bound.info())
                }
            };
            given.push(Given {
                name: argument.name.clone().unwrap_or_default(),
                value,
                info,
                output: argument.output,
                table: table.map(TableArgument::Variable),
            });
        }
        Ok(given)
    }

    /// EXEC ('text').
    pub(crate) fn execute_string(&mut self, text: &Expr) -> Result<i32, Failure> {
        let info = TypeInfo::new(SqlType::NVarChar { len: Length::Max });
        let text = self
            .reading("EXECUTE", |run| run.scalar(text, Some(info)))
            .map_err(|error| self.fail(error))?;
        let text = text.as_text().unwrap_or_default();
        self.body(&text, Vec::new(), String::new())
            .map(|finished| finished.status)
    }

    /// Calls a procedure by name.
    pub(crate) fn call(&mut self, name: &ObjectName, given: Vec<Given>) -> Called {
        if let Some(procedure) = self.find_procedure(name).map_err(|error| self.fail(error))? {
            let arguments = matched(&procedure, given).map_err(|error| self.fail(error))?;
            return self.body(&procedure.body, arguments, procedure.name.name.clone());
        }
        match name.name.to_lowercase().as_str() {
            "sp_executesql" => self.sp_executesql(given),
            "sp_prepexec" => self.sp_prepexec(given),
            "sp_prepare" => self.sp_prepare(given),
            "sp_execute" => self.sp_execute(given),
            "sp_unprepare" => {
                let handle = given
                    .first()
                    .and_then(|handle| handle.value.as_ref())
                    .and_then(Value::as_integer);
                self.session.prepared.remove(&(handle.unwrap_or_default() as i32));
                Ok(Finished {
                    status: 0,
                    outputs: Vec::new(),
                })
            }
            "sp_emulator_clock" => {
                let offset = given
                    .first()
                    .and_then(|offset| offset.value.as_ref())
                    .and_then(Value::as_integer);
                self.session
                    .engine
                    .clock()
                    .set_offset_ms(offset.unwrap_or_default());
                Ok(Finished {
                    status: 0,
                    outputs: Vec::new(),
                })
            }
            "sp_flush_ct_internal_table_on_demand" | "sp_flush_commit_table_on_demand" => {
                let table = given.first().and_then(|given| given.value.as_ref());
                let table = table.and_then(Value::as_text);
                self.flush_tracking(table.as_deref())
                    .map_err(|error| self.fail(error))?;
                Ok(Finished {
                    status: 0,
                    outputs: Vec::new(),
                })
            }
            "sp_emulator_fault" => self
                .order_fault(&given)
                .map(|()| Finished {
                    status: 0,
                    outputs: Vec::new(),
                })
                .map_err(|error| self.fail(error)),
            "sp_describe_first_result_set" => self.describe_first_result(&given),
            "sp_set_session_context" => {
                let text = |at: usize| {
                    given
                        .get(at)
                        .and_then(|given| given.value.clone())
                        .unwrap_or_default()
                };
                let key = text(0).as_text().unwrap_or_default().to_lowercase();
                self.session.session_context.insert(key, text(1));
                Ok(Finished {
                    status: 0,
                    outputs: Vec::new(),
                })
            }
            "sp_rename" => self
                .in_transaction("EXECUTE", |run| run.rename(&Arguments(&given)))
                .map(|()| Finished {
                    status: 0,
                    outputs: Vec::new(),
                })
                .map_err(|error| self.fail(error)),
            cursor if cursor.starts_with("sp_cursor") => Err(self.fail(SqlError::unsupported("cursors"))),
            other => match self.capture_procedure(other, &given) {
                Some(done) => done
                    .map(|()| Finished {
                        status: 0,
                        outputs: Vec::new(),
                    })
                    .map_err(|error| self.fail(error)),
                None => self.catalog_procedure(name, other, given),
            },
        }
    }

    fn catalog_procedure(&mut self, name: &ObjectName, lower: &str, given: Vec<Given>) -> Called {
        let arguments: Vec<Value> = given.into_iter().filter_map(|given| given.value).collect();
        let database = self.session.database_of(name).map_err(|error| self.fail(error))?;
        let found = self.session.with_viewer(database.id, |viewer| {
            Ok(crate::catalog::procedure(viewer, lower, &arguments))
        });
        let Some(view) = found.map_err(|error| self.fail(error))? else {
            return Err(self.fail(unknown_procedure(&spelled(name))));
        };
        let columns: Vec<_> = view
            .columns
            .iter()
            .map(|column| super::bind_query::result_column(column.name.to_owned(), column.info))
            .collect();
        self.start_result(&columns);
        for row in &view.rows {
            self.emit(row).map_err(|error| self.fail(error))?;
        }
        self.done(Command::Select, Some(view.rows.len() as u64));
        Ok(Finished {
            status: 0,
            outputs: Vec::new(),
        })
    }

    fn find_procedure(&self, name: &ObjectName) -> SqlResult<Option<Box<CreateProcedure>>> {
        let database = self.session.database_of(name)?;
        let module = database.module(name.schema.as_deref().unwrap_or("dbo"), &name.name);
        Ok(match module.map(|module| &module.kind) {
            Some(ModuleKind::Procedure(procedure)) => Some(procedure.clone()),
            _ => None,
        })
    }

    pub(super) fn sp_executesql(&mut self, given: Vec<Given>) -> Called {
        let mut given = given.into_iter();
        let sql = text_of(given.next());
        let declarations = text_of(given.next());
        let parameters = parse_parameters(&declarations).map_err(|error| self.fail(error))?;
        let called = Callee::Text {
            declarations: &declarations,
            sql: &sql,
        };
        let arguments = bound(&parameters, given.collect(), 2, called).map_err(|error| self.fail(error))?;
        self.body(&sql, arguments, String::new())
    }

    /// `sp_prepare @handle OUTPUT, @params, @sql`.
    fn sp_prepare(&mut self, given: Vec<Given>) -> Called {
        let mut given = given.into_iter().skip(1);
        let handle = self
            .prepare(given.next(), given.next())
            .map_err(|error| self.fail(error))?;
        Ok(Finished {
            status: 0,
            outputs: vec![handle_output(handle)],
        })
    }

    /// `sp_prepexec @handle OUTPUT, @params, @sql, values…`.
    fn sp_prepexec(&mut self, given: Vec<Given>) -> Called {
        let mut given = given.into_iter().skip(1);
        let handle = self
            .prepare(given.next(), given.next())
            .map_err(|error| self.fail(error))?;
        let mut finished = self.run_prepared(handle, given.collect(), 3)?;
        finished.outputs.insert(0, handle_output(handle));
        Ok(finished)
    }

    /// `sp_execute @handle, values…`. Error 8179 for an unknown handle.
    fn sp_execute(&mut self, given: Vec<Given>) -> Called {
        let mut given = given.into_iter();
        let handle = given
            .next()
            .and_then(|handle| handle.value)
            .and_then(|value| value.as_integer())
            .unwrap_or_default();
        self.run_prepared(handle as i32, given.collect(), 1)
    }

    fn prepare(&mut self, declarations: Option<Given>, sql: Option<Given>) -> SqlResult<i32> {
        let declarations = text_of(declarations);
        let parameters = parse_parameters(&declarations)?;
        let sql = text_of(sql);
        self.session.parse(&sql)?;
        self.session.last_handle += 1;
        let prepared = Prepared {
            sql,
            declarations,
            parameters,
        };
        self.session.prepared.insert(self.session.last_handle, prepared);
        Ok(self.session.last_handle)
    }

    fn run_prepared(&mut self, handle: i32, given: Vec<Given>, before: usize) -> Called {
        let Some(prepared) = self.session.prepared.get(&handle).cloned() else {
            return Err(self.fail(SqlError::user(
                8179,
                format!("Could not find prepared statement with handle {handle}."),
            )));
        };
        let called = Callee::Text {
            declarations: &prepared.declarations,
            sql: &prepared.sql,
        };
        let arguments =
            bound(&prepared.parameters, given, before, called).map_err(|error| self.fail(error))?;
        self.body(&prepared.sql, arguments, String::new())
    }

    /// Runs text as a scope of its own.
    pub(crate) fn body(&mut self, sql: &str, arguments: Vec<Bound>, procedure: String) -> Called {
        let batch = self.session.parse(sql).map_err(|error| self.fail(error))?;
        if self.session.nest_level >= MOST_NESTED {
            return Err(self.fail(SqlError::user(
                217,
                "Maximum stored procedure, function, trigger, or view nesting level exceeded (limit 32).",
            )));
        }
        let before = self.session.scope();
        let mut inner = Run::new(self.session, self.out, true);
        inner.tries = self.tries;
        inner.procedure = procedure;
        inner.captured = self.captured.take();
        inner.pseudo = std::mem::take(&mut self.pseudo);
        inner.session.nest_level += 1;
        let declared = arguments
            .iter()
            .try_for_each(|argument| inner.declare_argument(argument));
        let result = match declared {
            Ok(()) => inner.batch(&batch),
            Err(error) => Err(Failure::Error {
                error,
                scope: inner.session.nest_level,
            }),
        };
        inner.drop_table_variables();
        inner.session.nest_level -= 1;
        let outputs = arguments
            .iter()
            .filter(|argument| argument.output)
            .map(|argument| {
                let value = inner.variables.value(&argument.name).cloned().unwrap_or_default();
                (argument.place, argument.name.clone(), argument.info, value)
            });
        let outputs = outputs.collect();
        let (captured, pseudo) = (inner.captured.take(), std::mem::take(&mut inner.pseudo));
        self.captured = captured;
        self.pseudo = pseudo;
        self.session.leave_scope(before);
        let status = match result? {
            Step::Return(status) => status,
            _ => 0,
        };
        Ok(Finished { status, outputs })
    }

    fn declare_argument(&mut self, argument: &Bound) -> SqlResult<()> {
        if let Some(ty) = &argument.table_type {
            return self.declare_table_argument(argument, ty);
        }
        let info = if argument.info.ty.is_character() {
            self.session.in_database(argument.info.ty)
        } else {
            argument.info
        };
        self.variables.declare(&argument.name, info)?;
        let value = match &argument.value {
            Some((value, from)) => convert_value(value.clone(), *from, info)?,
            None => match &argument.default {
                Some(default) => self.scalar(default, Some(info))?,
                None => Value::Null,
            },
        };
        self.variables.set(&argument.name, value);
        Ok(())
    }

    /// Table variables end with their scope.
    pub(crate) fn drop_table_variables(&mut self) {
        let mut store = self.session.engine.store().lock();
        for id in self.variables.own_tables() {
            store.tables.remove(&id);
        }
    }

    /// A call by a client: results, then the return status and the OUTPUT values.
    pub(crate) fn remote_call(&mut self, procedure: &str, params: Vec<Param>) {
        let reference = crate::catalog::ObjectReference::parse(procedure);
        let called = match reference {
            Some(reference) => {
                let given = params.into_iter().map(Given::from).collect();
                self.call(&reference.into_name(), given)
            }
            None => Err(self.fail(unknown_procedure(procedure))),
        };
        match called {
            Ok(finished) => {
                self.out.return_status(finished.status);
                for (at, name, info, value) in finished.outputs {
                    self.out.return_value(ReturnValue {
                        name,
                        ordinal: at as u16,
                        ty: info.ty,
                        collation: info.collation,
                        value,
                    });
                }
            }
            Err(Failure::Error { error, .. }) => self.report_error(error),
            Err(Failure::Aborted | Failure::Ended) => {}
        }
    }
}

/// A parameter with what it was given.
pub(crate) struct Bound {
    pub(crate) name: String,
    pub(crate) info: TypeInfo,
    pub(super) value: Option<(Value, TypeInfo)>,
    default: Option<Expr>,
    output: bool,
    /// The argument's position in the call.
    place: usize,
    /// The parameter's, from 1.
    pub(super) number: usize,
    /// Of a table-valued parameter, with whether it is READONLY.
    table_type: Option<(ObjectName, bool)>,
    pub(super) table: Option<TableArgument>,
}

fn handle_output(handle: i32) -> (usize, String, TypeInfo, Value) {
    (
        0,
        "@handle".to_owned(),
        TypeInfo::new(SqlType::Int),
        Value::Int(handle),
    )
}

fn text_of(given: Option<Given>) -> String {
    given
        .and_then(|given| given.value)
        .and_then(|value| value.as_text())
        .unwrap_or_default()
}

fn matched(procedure: &CreateProcedure, given: Vec<Given>) -> SqlResult<Vec<Bound>> {
    let called = Callee::Procedure(&procedure.name.name);
    bound(&procedure.parameters, given, 0, called)
}

/// What arguments are given to, as errors spell it.
#[derive(Clone, Copy)]
enum Callee<'c> {
    Procedure(&'c str),
    /// A statement with parameters, which has no name.
    Text {
        declarations: &'c str,
        sql: &'c str,
    },
}

impl Callee<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Procedure(name) => name,
            Self::Text { .. } => "",
        }
    }

    fn misses(&self, parameter: &str) -> SqlError {
        match self {
            Self::Procedure(name) => {
                let message = format!(
                    "Procedure or function '{name}' expects parameter '{parameter}', which was not supplied."
                );
                SqlError::new(201, 16, 4, message)
            }
            Self::Text { declarations, sql } => {
                let message = format!(
                    "The parameterized query '({declarations}){sql}' expects the parameter '{parameter}', which was not supplied."
                );
                SqlError::user(8178, message)
            }
        }
    }
}

/// Arguments to parameters, by name or by position. Errors: 8144 too many, 8145 unknown name, 201 or 8178 missing.
fn bound(
    parameters: &[ParameterDefinition],
    given: Vec<Given>,
    before: usize,
    called: Callee<'_>,
) -> SqlResult<Vec<Bound>> {
    let mut slots: Vec<Option<(usize, Given)>> = parameters.iter().map(|_| None).collect();
    for (at, given) in given.into_iter().enumerate() {
        let place = if given.name.is_empty() {
            at
        } else {
            parameters
                .iter()
                .position(|parameter| super::scope::same(&parameter.name, &given.name))
                .ok_or_else(|| {
                    SqlError::new(
                        8145,
                        16,
                        2,
                        format!(
                            "{} is not a parameter for procedure {}.",
                            given.name,
                            called.name()
                        ),
                    )
                })?
        };
        match slots.get_mut(place) {
            Some(slot) => *slot = Some((before + at, given)),
            None => {
                return Err(SqlError::new(
                    8144,
                    16,
                    2,
                    format!(
                        "Procedure or function {} has too many arguments specified.",
                        called.name()
                    ),
                ));
            }
        }
    }
    let mut bound = Vec::with_capacity(parameters.len());
    for ((parameter, slot), number) in parameters.iter().zip(slots).zip(1..) {
        let (place, value, output, table) = match slot {
            Some((place, given)) => {
                let value = given.value.map(|value| (value, given.info));
                (place, value, given.output, given.table)
            }
            None => (0, None, false, None),
        };
        let (ty, table_type) = match &parameter.ty {
            DeclaredType::Scalar(ty) => (*ty, None),
            DeclaredType::Table(name) => (SqlType::Int, Some((name.clone(), parameter.read_only))),
        };
        if table.is_some() && table_type.is_none() {
            return Err(clash("table", ty.name()));
        }
        // A table that is not given is empty.
        if value.is_none() && parameter.default.is_none() && table_type.is_none() {
            return Err(called.misses(&parameter.name));
        }
        bound.push(Bound {
            name: parameter.name.clone(),
            info: TypeInfo::new(ty),
            value,
            default: parameter.default.clone(),
            output: output && parameter.output,
            place,
            number,
            table_type,
            table,
        });
    }
    Ok(bound)
}
