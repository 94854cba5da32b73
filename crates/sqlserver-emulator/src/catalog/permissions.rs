//! Who may do what: `HAS_PERMS_BY_NAME` and what GRANT and DENY left.

use super::Viewer;
use super::functions::{Arguments, object_id};
use crate::store::{Permission, Table};

/// None, that is NULL, for a securable that does not exist or a permission that has no such name.
pub(super) fn has_permission(viewer: &Viewer<'_>, arguments: &Arguments<'_>) -> Option<bool> {
    let login = viewer.login;
    let class = arguments.word(1);
    let permission = arguments.word(2)?;
    if login.sysadmin {
        return match class.as_deref() {
            Some("OBJECT") => object_id(viewer, &Arguments(arguments.0.get(..1)?)).map(|_| true),
            Some("DATABASE") => viewer.database_named(arguments.text(0).as_deref()).map(|_| true),
            _ => Some(true),
        };
    }
    let reads_and_writes = matches!(
        permission.as_str(),
        "SELECT"
            | "INSERT"
            | "UPDATE"
            | "DELETE"
            | "REFERENCES"
            | "EXECUTE"
            | "CONNECT"
            | "VIEW DEFINITION"
            | "VIEW CHANGE TRACKING"
    );
    match class.as_deref() {
        None | Some("SERVER") => Some(match permission.as_str() {
            "CONNECT SQL" | "CONNECT ANY DATABASE" => true,
            "VIEW SERVER STATE" | "VIEW SERVER PERFORMANCE STATE" => login.view_server_state,
            _ => false,
        }),
        Some("OBJECT") => {
            let table = viewer.table_called(arguments.text(0));
            let known = table.is_some() || object_id(viewer, &Arguments(arguments.0.get(..1)?)).is_some();
            known.then(|| viewer.allows(&permission, table.map(|data| &*data.definition), reads_and_writes))
        }
        Some("DATABASE") => {
            let database = viewer.database_named(arguments.text(0).as_deref())?;
            let state = permission.starts_with("VIEW DATABASE") && login.view_server_state;
            Some(state || viewer.of(database).allows(&permission, None, reads_and_writes))
        }
        Some("SCHEMA") => {
            let schema = arguments.text(0)?;
            let schema = schema.trim_matches(['[', ']']);
            Some(viewer.decided(&permission, reads_and_writes, |known| {
                let same = known
                    .schema
                    .as_deref()
                    .map(|name| name.eq_ignore_ascii_case(schema));
                same.unwrap_or(known.table.is_none() && known.view.is_none())
            }))
        }
        Some(_) => Some(viewer.allows(&permission, None, reads_and_writes)),
    }
}

impl Viewer<'_> {
    /// Whether the login may do `action` to a table, or to the whole database; `otherwise` if nothing was granted or denied.
    pub(crate) fn allows(&self, action: &str, table: Option<&Table>, otherwise: bool) -> bool {
        if self.login.sysadmin {
            return true;
        }
        self.decided(action, otherwise, |permission| {
            let same_table = match (permission.table, table) {
                (Some(id), Some(table)) => self
                    .definition(id)
                    .is_some_and(|d| d.object_id == table.object_id),
                (Some(_), None) => false,
                (None, _) => true,
            };
            let same_schema = match (&permission.schema, table) {
                (Some(schema), Some(table)) => schema.eq_ignore_ascii_case(&table.schema),
                (Some(_), None) => false,
                (None, _) => true,
            };
            same_table && same_schema && permission.view.is_none()
        })
    }

    /// Whether the login may read a table that is made up, on which the whole database's SELECT counts as well.
    pub(super) fn may_read(&self, view: &str) -> bool {
        let covers = |permission: &Permission| match &permission.view {
            Some(granted) => granted.eq_ignore_ascii_case(view),
            None => permission.table.is_none() && permission.schema.is_none(),
        };
        self.login.sysadmin || self.decided("SELECT", false, covers)
    }

    /// What was granted or denied to the login on what `covers` picks; `otherwise` if nothing was.
    fn decided(&self, action: &str, otherwise: bool, covers: impl Fn(&Permission) -> bool) -> bool {
        let concerns = |permission: &&Permission| {
            let whom = permission.principal.eq_ignore_ascii_case(&self.login.name)
                || permission.principal.eq_ignore_ascii_case("public");
            whom && permission.action.eq_ignore_ascii_case(action) && covers(permission)
        };
        let mut found = self.database.permissions.iter().filter(concerns).peekable();
        if found.peek().is_none() {
            return otherwise;
        }
        found.all(|permission| !permission.denied)
    }
}
