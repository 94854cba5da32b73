//! BACKUP DATABASE and RESTORE DATABASE. A file is a name in the server's memory, and holds one backup.

use std::sync::Arc;

use super::run::Run;
use crate::error::{SqlError, SqlResult};

impl Run<'_> {
    /// Errors: 911, 3021.
    pub(super) fn back_up(&mut self, name: &str, path: &str, overwrite: bool) -> SqlResult<()> {
        self.refuse_transaction()?;
        let engine = Arc::clone(&self.session.engine);
        let mut store = engine.store().lock();
        let Some(id) = store.database_named(name).map(|database| database.id) else {
            let message =
                format!("Database '{name}' does not exist. Make sure that the name is entered correctly.");
            return Err(self.terminated("BACKUP", &SqlError::new(911, 16, 11, message)));
        };
        if store.has_backup(path) && !overwrite {
            return Err(SqlError::unsupported("a second backup set in one file"));
        }
        if store.has_open_definitions(id) {
            return Err(SqlError::unsupported(
                "BACKUP while a definition is being changed",
            ));
        }
        store.back_up(id, path);
        Ok(())
    }

    /// Errors: 3021, 3101, 3102, 3159, 3201; each is followed by 3013.
    pub(super) fn restore(&mut self, name: &str, path: &str, replace: bool) -> SqlResult<()> {
        self.refuse_transaction()?;
        let engine = Arc::clone(&self.session.engine);
        let mut store = engine.store().lock();
        let Some(backup) = store.backed_up(path) else {
            let message = format!(
                "Cannot open backup device '{path}'. Operating system error 2(The system cannot find the file specified.)."
            );
            return Err(self.terminated("RESTORE", &SqlError::new(3201, 16, 2, message)));
        };
        let Some(database) = store.database_named(name).cloned() else {
            return Err(SqlError::unsupported("RESTORE of a database that is not there"));
        };
        if database.id != backup {
            return Err(SqlError::unsupported("RESTORE over another database"));
        }
        if self.session.database == backup {
            let message = format!(
                "RESTORE cannot process database '{name}' because it is in use by this session. It is recommended that the master database be used when performing this operation."
            );
            return Err(self.terminated("RESTORE", &SqlError::user(3102, message)));
        }
        let others = engine.sessions();
        let mut others = others.iter().filter(|other| other.id != self.session.id);
        let connected = others.any(|other| other.database == backup);
        if connected || store.is_in_use(backup) {
            let message = "Exclusive access could not be obtained because the database is in use.";
            return Err(self.terminated("RESTORE", &SqlError::user(3101, message)));
        }
        if !replace && database.options.recovery_model != "SIMPLE" {
            let message = format!(
                "The tail of the log for the database \"{name}\" has not been backed up. Use BACKUP LOG WITH NORECOVERY to backup the log if it contains work you do not want to lose. Use the WITH REPLACE or WITH STOPAT clause of the RESTORE statement to just overwrite the contents of the log."
            );
            return Err(self.terminated("RESTORE", &SqlError::user(3159, message)));
        }
        let fork = engine.fork_guid(store.restored());
        store.restore(path, fork);
        Ok(())
    }

    fn refuse_transaction(&self) -> SqlResult<()> {
        if self.session.transaction.is_none() {
            return Ok(());
        }
        let message = "Cannot perform a backup or restore operation within a transaction.";
        Err(SqlError::new(3021, 16, 0, message))
    }

    /// Reports why, and gives error 3013, which follows.
    fn terminated(&mut self, verb: &str, why: &SqlError) -> SqlError {
        self.out.message(&why.clone().at_line(self.line));
        SqlError::user(3013, format!("{verb} DATABASE is terminating abnormally."))
    }
}
