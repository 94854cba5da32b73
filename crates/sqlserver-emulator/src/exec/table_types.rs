//! Table types, and tables as arguments.

use std::sync::Arc;

use super::output::spelled;
use super::procedures::Bound;
use super::run::Run;
use super::scope::same;
use super::variables::TableVariable;
use super::writer::{Change, TableWriter, unlimited};
use crate::ast::{DeclaredType, ObjectName, ParameterDefinition, TableDefinition};
use crate::error::{SqlError, SqlResult};
use crate::eval::convert_value;
use crate::session::TableValue;
use crate::store::{ModuleKind, TableId, TableType};

/// The first `user_type_id` of types that users make.
const FIRST_USER_TYPE: i32 = 257;

/// A table that a caller gives.
#[derive(Clone, Debug)]
pub(crate) enum TableArgument {
    /// By a client.
    Sent(TableValue),
    /// A variable of the caller's.
    Variable(TableVariable),
}

/// Error 206.
pub(super) fn clash(given: &str, wanted: &str) -> SqlError {
    let message = format!("Operand type clash: {given} is incompatible with {wanted}");
    SqlError::new(206, 16, 2, message)
}

/// Error 352.
fn must_be_read_only(parameter: &str, read_only: bool) -> SqlResult<()> {
    if read_only {
        return Ok(());
    }
    let message =
        format!("The table-valued parameter \"{parameter}\" must be declared with the READONLY option.");
    Err(SqlError::new(352, 15, 1, message))
}

impl Run<'_> {
    /// CREATE TYPE … AS TABLE. Error 219 if the name is taken.
    pub(super) fn create_table_type(&mut self, name: &ObjectName, table: &TableDefinition) -> SqlResult<()> {
        let (database, schema) = self.place(name)?;
        if database.table_type(&schema, &name.name).is_some() {
            let message = format!(
                "The type '{}' already exists, or you do not have permission to create it.",
                spelled(name)
            );
            return Err(SqlError::user(219, message));
        }
        // What is wrong with the columns is told now, not when somebody uses the type.
        let mut shape = self.empty(&database, &schema, &name.name);
        shape.variable = true;
        self.definer(&database, |definer| definer.add(&mut shape, table, true))?;
        let (name, definition) = (name.name.clone(), Arc::new(table.clone()));
        self.change_catalog(database.id, move |database| {
            let last = database.table_types.iter().map(|ty| ty.id).max();
            database.table_types.push(TableType {
                id: last.map_or(FIRST_USER_TYPE, |last| last + 1),
                object_id: shape.object_id,
                schema,
                name,
                definition,
            });
        })
    }

    /// DROP TYPE. Errors: 218 if it does not exist, 3732 if a procedure needs it.
    pub(super) fn drop_table_type(&mut self, name: &ObjectName, if_exists: bool) -> SqlResult<()> {
        let (database, schema) = self.place(name)?;
        if database.table_type(&schema, &name.name).is_none() {
            let message = format!(
                "Could not find the type '{}'. Either it does not exist or you do not have the necessary permission.",
                spelled(name)
            );
            return if if_exists {
                Ok(())
            } else {
                Err(SqlError::user(218, message))
            };
        }
        let needs = |parameter: &ParameterDefinition| match &parameter.ty {
            DeclaredType::Scalar(_) => false,
            DeclaredType::Table(ty) => {
                same(ty.schema.as_deref().unwrap_or("dbo"), &schema) && same(&ty.name, &name.name)
            }
        };
        let needed = database.modules.iter().find(|module| match &module.kind {
            ModuleKind::Procedure(procedure) => procedure.parameters.iter().any(needs),
            _ => false,
        });
        if let Some(module) = needed {
            let message = format!(
                "Cannot drop type '{}' because it is being referenced by object '{}'. There may be other objects that reference this type.",
                spelled(name),
                module.name
            );
            return Err(SqlError::user(3732, message));
        }
        let (id, name) = (database.id, name.name.clone());
        self.change_catalog(id, move |database| {
            database
                .table_types
                .retain(|ty| !(same(&ty.schema, &schema) && same(&ty.name, &name)));
        })
    }

    /// That the table types of a procedure's parameters exist, and that nobody writes to them.
    pub(super) fn check_table_parameters(&self, parameters: &[ParameterDefinition]) -> SqlResult<()> {
        for (parameter, number) in parameters.iter().zip(1..) {
            if let DeclaredType::Table(ty) = &parameter.ty {
                self.table_type(number, ty)?;
                must_be_read_only(&parameter.name, parameter.read_only)?;
            }
        }
        Ok(())
    }

    /// The type of the variable or parameter that is declared in this place, from 1. Error 2715 if there is none.
    fn table_type(&self, number: usize, ty: &ObjectName) -> SqlResult<Arc<TableDefinition>> {
        let database = self.session.database_of(ty)?;
        let found = database.table_type(ty.schema.as_deref().unwrap_or("dbo"), &ty.name);
        let found = found.ok_or_else(|| {
            let message = format!(
                "Column, parameter, or variable #{number}: Cannot find data type {}.",
                spelled(ty)
            );
            SqlError::user(2715, message)
        })?;
        Ok(Arc::clone(&found.definition))
    }

    /// DECLARE of a variable of a table type. A second visit, in a loop, finds the table as it is.
    pub(super) fn declare_typed_table(
        &mut self,
        name: &str,
        number: usize,
        ty: &ObjectName,
    ) -> SqlResult<()> {
        if self.variables.table_variable(name).is_some() {
            return Ok(());
        }
        let definition = self.table_type(number, ty)?;
        self.in_transaction("DECLARE", |run| {
            run.declare_table_of(name, ty, &definition, false).map(drop)
        })
    }

    fn declare_table_of(
        &mut self,
        name: &str,
        ty: &ObjectName,
        definition: &TableDefinition,
        read_only: bool,
    ) -> SqlResult<TableId> {
        let id = self.create_variable_table(name, definition)?;
        let variable = TableVariable {
            id,
            ty: Some(ty.clone()),
            read_only,
            borrowed: false,
        };
        self.variables.declare_table(name, variable);
        Ok(id)
    }

    /// A table-valued parameter with what it was given. Errors: 206 for something else than a table of the type.
    pub(super) fn declare_table_argument(
        &mut self,
        argument: &Bound,
        (ty, read_only): &(ObjectName, bool),
    ) -> SqlResult<()> {
        let definition = self.table_type(argument.number, ty)?;
        must_be_read_only(&argument.name, *read_only)?;
        if let Some((_, given)) = &argument.value
            && argument.table.is_none()
        {
            return Err(clash(given.ty.name(), &ty.name));
        }
        if let Some(TableArgument::Variable(variable)) = &argument.table {
            let of_type = variable.ty.as_ref().is_some_and(|own| {
                let schema = |name: &ObjectName| name.schema.clone().unwrap_or_else(|| "dbo".to_owned());
                same(&own.name, &ty.name) && same(&schema(own), &schema(ty))
            });
            if !of_type {
                return Err(clash("table", &ty.name));
            }
            let lent = TableVariable {
                read_only: true,
                borrowed: true,
                ..variable.clone()
            };
            self.variables.declare_table(&argument.name, lent);
            return Ok(());
        }
        self.in_transaction("DECLARE", |run| {
            let id = run.declare_table_of(&argument.name, ty, &definition, true)?;
            match &argument.table {
                Some(TableArgument::Sent(sent)) => run.fill(id, sent),
                _ => Ok(()),
            }
        })
    }

    /// Writes the rows that a client has sent. Errors: 500 for another number of columns, 1077 for the value of an identity, and what
    /// constraints say.
    fn fill(&mut self, id: TableId, sent: &TableValue) -> SqlResult<()> {
        let writer = self.bind(|binder| TableWriter::prepare(binder, id, true))?;
        let wanted = writer.table.columns.len();
        // NULL is an empty table.
        if sent.columns.is_empty() {
            return Ok(());
        }
        if sent.columns.len() != wanted {
            let message = format!(
                "Trying to pass a table-valued parameter with {} column(s) where the corresponding user-defined table type requires {wanted} column(s).",
                sent.columns.len()
            );
            return Err(SqlError::user(500, message));
        }
        let mut places = Vec::new();
        for (at, (sent, target)) in sent.columns.iter().zip(&writer.table.columns).enumerate() {
            let Some(info) = sent else { continue };
            if target.identity.is_some() {
                let message = "INSERT into an identity column not allowed on table variables.";
                return Err(SqlError::user(1077, message));
            }
            places.push((at, *info, unlimited(target.info)));
        }
        let mut changes = Vec::with_capacity(sent.rows.len());
        for row in &sent.rows {
            let mut given = Vec::with_capacity(places.len());
            for ((at, from, to), value) in places.iter().zip(row.row().iter()) {
                given.push((*at, convert_value(value.clone(), *from, *to)?));
            }
            let values = writer.values(self, given)?;
            changes.push(Change::insert(writer.complete(self, values, "INSERT")?));
        }
        writer.write(self, changes).map(drop)
    }
}
