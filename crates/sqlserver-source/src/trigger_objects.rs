//! The trigger that names changed keys, and the table that it writes them into: what they are, whether they are there, and how they are
//! made.
//!
//! Both stand in the schema of the table, so that they have its owner and no writer needs a right on them. The change table has no identity
//! column, which would change what `@@IDENTITY` tells the writers. Its key columns take NULL for the sake of one row, which is
//! written with the table and says that nothing has been removed.

use model::{ErrorKind, Finding, Result, Severity, TableName, TableSchema};
use sqlserver_client::{CommitEnd, Connection, Isolation, Permission, SqlType, TableInfo, ddl, quote};

use crate::keyset::Keyset;

/// The rowversion of the change table.
pub(crate) const VERSION: &str = "sync$version";
/// How the name of a change table begins; the id of the table follows.
const CHANGES: &str = "sync_changes_";
/// When its row was written.
pub(crate) const AT: &str = "sync$at";

/// The trigger of a table and its change table, by name and by what makes them.
#[derive(Debug)]
pub(crate) struct Objects {
    table: TableName,
    trigger: TableName,
    changes: TableName,
    first_key: String,
    /// The columns of the change table that hold the key, as they are declared.
    keys: Vec<String>,
    create_changes: String,
    create_trigger: String,
}

/// How the objects stand.
#[derive(Debug)]
pub(crate) enum Standing {
    /// They follow the table.
    Follows {
        /// Which trigger and which change table: others have another history.
        life: String,
    },
    /// They do not.
    Lacks {
        why: String,
        /// Whether creating them is all that is needed.
        can_be_installed: bool,
    },
}

impl Standing {
    pub(crate) fn can_be_installed(&self) -> bool {
        matches!(
            self,
            Self::Lacks {
                can_be_installed: true,
                ..
            }
        )
    }
}

fn lacks(why: impl Into<String>, can_be_installed: bool) -> Standing {
    Standing::Lacks {
        why: why.into(),
        can_be_installed,
    }
}

/// The name of the trigger of a table, which tells that it is ours.
fn trigger_name(table: &TableInfo) -> TableName {
    TableName::new(table.name.schema(), format!("sync_capture_{}", table.object_id))
}

fn changes_name(table: &TableInfo) -> TableName {
    TableName::new(table.name.schema(), format!("{CHANGES}{}", table.object_id))
}

/// Whether a table is a change table of ours, by its name.
pub fn is_change_table(table: &TableName) -> bool {
    let id = table.name().strip_prefix(CHANGES).unwrap_or_default();
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}

/// A key column, as the change table declares it.
fn declared(name: &str, ty: SqlType, collation: Option<String>) -> String {
    let column = ddl::ColumnDefinition {
        name: name.to_owned(),
        ty,
        collation,
        nullable: true,
    };
    column.sql()
}

impl Objects {
    /// Those of a table with a key.
    pub(crate) fn of(table: &TableInfo, schema: &TableSchema) -> Result<Self> {
        let keyset = Keyset::new(table, schema)?;
        let (trigger, changes) = (trigger_name(table), changes_name(table));
        let columns = keyset.columns().iter();
        let keys: Vec<_> = columns
            .map(|column| declared(&column.name, column.ty, column.collation.clone()))
            .collect();
        let first_key = keyset
            .columns()
            .first()
            .map(|column| column.quoted())
            .unwrap_or_default();
        let (version, at, list) = (quote::identifier(VERSION), quote::identifier(AT), keyset.list());
        let into = quote::table(&changes);
        let create_changes = format!(
            "CREATE TABLE {into} ({}, {version} rowversion NOT NULL, {at} datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME());\n\
             CREATE CLUSTERED INDEX {} ON {into} ({version});\n\
             INSERT INTO {into} ({first_key}) VALUES (NULL);",
            keys.join(", "),
            quote::identifier(&format!("{}_by_version", changes.name())),
        );
        // ROWCOUNT of the writer's session would limit what the trigger writes. Both settings are the writer's again afterwards.
        let create_trigger = format!(
            "CREATE TRIGGER {} ON {} AFTER INSERT, UPDATE, DELETE AS\n\
             BEGIN\n\
             SET NOCOUNT ON;\n\
             SET ROWCOUNT 0;\n\
             INSERT INTO {into} ({list}) SELECT {list} FROM inserted UNION SELECT {list} FROM deleted;\n\
             END;",
            quote::table(&trigger),
            quote::table(&table.name),
        );
        Ok(Self {
            table: table.name.clone(),
            trigger,
            changes,
            first_key,
            keys,
            create_changes,
            create_trigger,
        })
    }

    /// The change table, quoted.
    pub(crate) fn changes(&self) -> String {
        quote::table(&self.changes)
    }

    /// Its first key column, quoted: NULL in the row that was written with the table only.
    pub(crate) fn first_key(&self) -> &str {
        &self.first_key
    }

    /// The T-SQL that makes both, for a tool that knows `GO`.
    pub(crate) fn script(&self) -> String {
        format!("{}\nGO\n{}\nGO", self.create_changes, self.create_trigger)
    }

    /// The T-SQL that removes both.
    fn removal(table: &TableInfo) -> String {
        format!(
            "DROP TRIGGER IF EXISTS {};\nDROP TABLE IF EXISTS {};",
            quote::table(&trigger_name(table)),
            quote::table(&changes_name(table))
        )
    }

    /// The rights on the change table that following it needs, and what can be seen of the trigger.
    pub(crate) fn rights(&self, install: bool) -> Vec<Permission> {
        let schema = || self.table.schema().to_owned();
        let mut rights = vec![Permission::ViewDefinition(self.table.clone())];
        if install {
            // What is made belongs to the schema's owner, and is there only later.
            rights.extend(
                ["SELECT", "INSERT", "DELETE"].map(|right| Permission::RowsOfSchema(right, schema())),
            );
            rights.extend([
                Permission::CreateTable,
                Permission::AlterSchema(schema()),
                Permission::Alter(self.table.clone()),
            ]);
        } else {
            rights.extend([
                Permission::Select(self.changes.clone()),
                Permission::Delete(self.changes.clone()),
            ]);
        }
        rights
    }

    /// Asks the server how they stand.
    pub(crate) async fn standing(&self, connection: &mut Connection, table: &TableInfo) -> Result<Standing> {
        let Some(trigger) = connection.trigger(table, self.trigger.name()).await? else {
            return Ok(lacks("the table has no trigger that tells of its changes", true));
        };
        let Some(changes) = connection.find_table(&self.changes).await? else {
            return Ok(lacks(
                "the change table of the trigger is gone, or hidden from the login",
                false,
            ));
        };
        if trigger.disabled {
            return Ok(lacks(format!("the trigger {} is disabled", self.trigger), false));
        }
        let Some(definition) = trigger.definition else {
            return Ok(lacks(
                format!("the login may not see what the trigger {} does", self.trigger),
                false,
            ));
        };
        if !definition
            .split_whitespace()
            .eq(self.create_trigger.split_whitespace())
        {
            return Ok(lacks(
                format!(
                    "the trigger {} is another one than this version makes for the table's key",
                    self.trigger
                ),
                true,
            ));
        }
        if !self.holds_keys(&changes) {
            return Ok(lacks(
                "the key is of another type than the change table of the trigger has it in",
                true,
            ));
        }
        if !self.has_rows(connection).await? {
            return Ok(lacks("the change table of the trigger has been emptied", true));
        }
        Ok(Standing::Follows {
            life: format!(
                "{}@{} {}@{}",
                trigger.object_id, trigger.modified, changes.object_id, changes.create_date
            ),
        })
    }

    /// Whether the change table has the key as the table has it: one of another type would hold another key, and none to be told of.
    fn holds_keys(&self, changes: &TableInfo) -> bool {
        let held = changes.columns.iter().filter_map(|column| {
            let ty = column.ty.mapped(&column.name).ok()?;
            Some(declared(&column.name, ty, column.collation.clone()))
        });
        let held: Vec<_> = held.collect();
        self.keys.iter().all(|key| held.contains(key))
    }

    /// Whether anything is left in the change table: the newest row is never removed by us. Rows that are being written are no reason to wait.
    async fn has_rows(&self, connection: &mut Connection) -> Result<bool> {
        let sql = format!(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM {} WITH (NOLOCK)) THEN 1 ELSE 0 END AS kept",
            self.changes()
        );
        connection.query(&sql, &[]).await?.one()?.flag("kept")
    }

    /// Makes both anew in one transaction, unless somebody else just has.
    pub(crate) async fn install(&self, connection: &mut Connection, table: &TableInfo) -> Result<Standing> {
        connection.begin(Isolation::ReadCommitted).await?;
        if let Err(error) = self.made(connection, table).await {
            if !connection.is_dead() {
                connection.rollback().await?;
            }
            let hint = format!("have them made by somebody who may:\n{}", self.script());
            return Err(match error.kind() {
                ErrorKind::Denied => error.with("table", &self.table).hint(hint),
                _ => error.with("table", &self.table),
            });
        }
        match connection.commit().await {
            CommitEnd::Committed => self.standing(connection, table).await,
            // Whether it happened is seen by the next look.
            CommitEnd::Refused(error) | CommitEnd::Unknown(error) => Err(error),
        }
    }

    async fn made(&self, connection: &mut Connection, table: &TableInfo) -> Result<()> {
        // Waits for everybody who has written to the table, or is making the same. Who writes later is seen by the trigger.
        let alone = format!(
            "SELECT COUNT(*) AS n FROM (SELECT TOP (1) 1 AS one FROM {} WITH (TABLOCKX, HOLDLOCK)) AS locked",
            quote::table(&self.table)
        );
        connection.query(&alone, &[]).await?;
        if !self.standing(connection, table).await?.can_be_installed() {
            return Ok(());
        }
        tracing::info!(table = %self.table, trigger = %self.trigger, "making the trigger that tells of changes");
        for batch in [&Self::removal(table), &self.create_changes, &self.create_trigger] {
            connection.execute(batch, &[]).await?;
        }
        Ok(())
    }
}

/// What is to be known of a table that triggers follow, or that they followed.
pub(crate) async fn findings(
    connection: &mut Connection,
    table: &TableInfo,
    schema: &TableSchema,
    install: Option<bool>,
) -> Result<Vec<Finding>> {
    let finding = |severity, message: String, remedy: Option<String>| Finding {
        severity,
        message,
        remedy,
    };
    let Some(install) = install else {
        let ours = trigger_name(table);
        let stands = table.triggers.iter().any(|trigger| trigger.name == ours.name());
        return Ok(stands
            .then(|| {
                let message =
                    format!("the trigger {ours} still follows the table, and nobody reads what it writes");
                finding(Severity::Note, message, Some(Objects::removal(table)))
            })
            .into_iter()
            .collect());
    };
    let refused = |why: &str| Ok(vec![finding(Severity::Error, why.to_owned(), None)]);
    if !schema.has_key() {
        return refused(
            "the rows of the table are not told apart by a key, which a trigger could name changes by",
        );
    }
    if table.is_view || table.memory_optimized {
        return refused("triggers of this kind follow tables on disk only");
    }
    let objects = Objects::of(table, schema)?;
    let mut findings = Vec::new();
    if let Standing::Lacks {
        why,
        can_be_installed,
    } = objects.standing(connection, table).await?
    {
        findings.push(if install && can_be_installed {
            finding(
                Severity::Note,
                format!("{why}: the copy creates one, and drops an older one"),
                Some(objects.script()),
            )
        } else if can_be_installed {
            let message = format!("{why}, and `capture.trigger.install` does not ask for one");
            finding(Severity::Error, message, Some(objects.script()))
        } else {
            let remedy = format!(
                "ENABLE TRIGGER {} ON {}; GRANT VIEW DEFINITION ON {} TO [<user>]; -- or drop both, to have them made anew:\n{}",
                quote::table(&objects.trigger),
                quote::table(&table.name),
                quote::table(&table.name),
                Objects::removal(table)
            );
            finding(Severity::Error, why, Some(remedy))
        });
    }
    findings.push(finding(
        Severity::Note,
        "triggers are not told of TRUNCATE TABLE, of partitions that are switched, and of bulk loads without FIRE_TRIGGERS: \
         `sync-cli verify --repair` finds those; and statements with OUTPUT but no INTO fail on a table with triggers (error 334)"
            .to_owned(),
        None,
    ));
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_tables_are_known_by_name() {
        for (name, is_ours) in [
            ("sync_changes_245575913", true),
            ("sync_changes_", false),
            ("sync_changes_of_state", false),
            ("my_sync_changes_1", false),
        ] {
            assert_eq!(is_change_table(&TableName::new("dbo", name)), is_ours, "{name}");
        }
    }
}
