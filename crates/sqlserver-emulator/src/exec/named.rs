//! What a name in FROM means: a CTE, a trigger's table, a temporary or stored table, a view, the catalog.

use std::sync::Arc;

use super::draft::{Draft, LeafSource, derived};
use super::output::unknown_object;
use super::scope::{Binder, BoundColumn, same};
use crate::ast::{Expr, ObjectName, TableHint};
use crate::catalog::{View, view};
use crate::error::{SqlError, SqlResult};
use crate::store::ModuleKind;

impl Binder<'_> {
    /// The draft of a name.
    pub(crate) fn draft_named(
        &mut self,
        name: &ObjectName,
        alias: Option<&str>,
        hints: &[TableHint],
    ) -> SqlResult<Draft> {
        let exposed = alias.unwrap_or(&name.name);
        if name.schema.is_none() && name.database.is_none() {
            if let Some(at) = self.ctes.iter().rposition(|cte| same(&cte.name, &name.name)) {
                return self.draft_cte(at, exposed);
            }
            if let Some(pseudo) = self.pseudo.get(&name.name.to_lowercase()) {
                let columns = pseudo.columns.iter().map(|column| BoundColumn {
                    table: exposed.to_owned(),
                    ..column.clone()
                });
                let columns = columns.collect();
                return Ok(Draft::Leaf {
                    source: LeafSource::Rows(Arc::clone(&pseudo.rows)),
                    columns,
                    conditions: Vec::new(),
                });
            }
        }
        if name.schema.is_none() && self.defining.iter().any(|cte| same(cte, &name.name)) {
            return Err(SqlError::unsupported("recursive common table expressions"));
        }
        if let Some(id) = self.session.find_table(name)? {
            self.session.allow(id, "SELECT")?;
            let schema = match alias {
                Some(_) => None,
                None => Some(self.session.table_definition(id)?.schema.clone()),
            };
            return self.draft_table(id, exposed, schema.as_deref(), hints);
        }
        if let Some(draft) = self.draft_view(name, exposed)? {
            return Ok(draft);
        }
        self.draft_catalog(name, exposed)?
            .ok_or_else(|| unknown_object(name))
    }

    /// A CTE sees those before it, not itself.
    fn draft_cte(&mut self, at: usize, exposed: &str) -> SqlResult<Draft> {
        let later = self.ctes.split_off(at);
        let result = match later.first() {
            Some(cte) => {
                let cte = cte.clone();
                self.defining.push(cte.name.clone());
                let plan = self.query(&cte.query);
                self.defining.pop();
                plan.and_then(|plan| derived(plan, exposed, &cte.columns))
            }
            None => Ok(Draft::Nothing),
        };
        self.ctes.extend(later);
        result
    }

    fn draft_view(&mut self, name: &ObjectName, exposed: &str) -> SqlResult<Option<Draft>> {
        let database = self.session.database_of(name)?;
        let module = database.module(name.schema.as_deref().unwrap_or("dbo"), &name.name);
        let Some(ModuleKind::View { definition, .. }) = module.map(|module| &module.kind) else {
            return Ok(None);
        };
        let ctes = std::mem::take(&mut self.ctes);
        let plan = self.query(&definition.query);
        self.ctes = ctes;
        derived(plan?, exposed, &definition.columns).map(Some)
    }

    fn draft_catalog(&mut self, name: &ObjectName, exposed: &str) -> SqlResult<Option<Draft>> {
        let database = self.session.database_of(name)?;
        let schema = name.schema.as_deref().unwrap_or("sys");
        let found = self
            .session
            .with_viewer(database.id, |viewer| view(viewer, schema, &name.name))?;
        Ok(found.map(|found| {
            let schema = same(exposed, &name.name).then(|| schema.to_owned());
            catalog_leaf(found, exposed, schema)
        }))
    }

    /// A table-valued function.
    pub(crate) fn draft_function(
        &mut self,
        name: &ObjectName,
        arguments: &[Expr],
        alias: Option<&str>,
    ) -> SqlResult<Draft> {
        let exposed = alias.unwrap_or(&name.name);
        // Functions without arguments in `sys`, such as fn_helpcollations(), are views here.
        if arguments.is_empty()
            && let Some(draft) = self.draft_catalog(name, exposed)?
        {
            return Ok(draft);
        }
        if let Some(draft) = self.draft_captured(name, arguments, exposed)? {
            return Ok(draft);
        }
        const BUILT_IN: [&str; 4] = ["STRING_SPLIT", "OPENJSON", "GENERATE_SERIES", "OPENROWSET"];
        if BUILT_IN.iter().any(|known| same(known, &name.name)) {
            return Err(SqlError::unsupported(format_args!(
                "the function {}",
                name.name.to_uppercase()
            )));
        }
        Err(unknown_object(name))
    }
}

fn catalog_leaf(view: View, exposed: &str, schema: Option<String>) -> Draft {
    let columns = view.columns.iter().map(|column| BoundColumn {
        table: exposed.to_owned(),
        schema: schema.clone(),
        name: column.name.to_owned(),
        info: column.info,
        identity: false,
        read_only: true,
        hidden: false,
    });
    let columns = columns.collect();
    Draft::Leaf {
        source: LeafSource::Rows(Arc::new(view.rows)),
        columns,
        conditions: Vec::new(),
    }
}

/// The error for a call of something unknown.
pub(crate) fn unknown_procedure(name: &str) -> SqlError {
    SqlError::new(2812, 16, 62, format!("Could not find stored procedure '{name}'."))
}
