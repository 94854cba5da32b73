//! The capture and clean-up jobs of CDC: run by hand, stopped, started, given other parameters.

use super::capture::Arguments;
use super::run::Run;
use super::scope::same;
use crate::error::{SqlError, SqlResult};
use crate::store::{CaptureJobs, Lsn};
use crate::value::Value;

impl Run<'_> {
    /// `sp_cdc_scan`: captures everything that has been committed, whether the job runs or not.
    pub(super) fn scan_now(&mut self) -> SqlResult<()> {
        let (database, _) = self.session.capturing()?;
        let engine = std::sync::Arc::clone(&self.session.engine);
        engine
            .store()
            .lock()
            .scan_log(database.id, None, engine.commit_time());
        Ok(())
    }

    /// `sp_cdc_cleanup_change_table`. Errors: 22920, 22964.
    pub(super) fn clean_change_table(&mut self, arguments: &Arguments<'_>) -> SqlResult<()> {
        let (database, capturing) = self.session.capturing()?;
        let name = arguments.text("@capture_instance", 0).unwrap_or_default();
        let instance = capturing
            .instances
            .iter()
            .find(|instance| same(&instance.name, &name));
        let instance = instance.ok_or_else(|| {
            SqlError::user(
                22_920,
                format!(
                    "The named capture instance {name} does not exist for database {}.",
                    database.name
                ),
            )
        })?;
        let given = arguments
            .get("@low_water_mark", 1)
            .and_then(|given| given.value.as_ref());
        let low = given.and_then(Lsn::of);
        let engine = std::sync::Arc::clone(&self.session.engine);
        let mut store = engine.store().lock();
        if let Some(low) = low {
            let mapping = store.tables.get(&capturing.mapping);
            let mut known = mapping.into_iter().flat_map(|data| data.newest_rows());
            if !known.any(|(_, row)| row.first().and_then(Lsn::of) == Some(low)) {
                return Err(SqlError::user(
                    22_964,
                    format!(
                        "LSN {}, specified as the new low end point for change table cleanup must represent the start_lsn value of a current entry in the cdc.lsn_time_mapping table. Choose an LSN value that satisfies this requirement.",
                        low.spelled()
                    ),
                ));
            }
        }
        store.clean_up_changes(database.id, instance, low, engine.commit_time());
        Ok(())
    }

    /// `sp_cdc_change_job`.
    pub(super) fn change_job(&mut self, arguments: &Arguments<'_>) -> SqlResult<()> {
        // Those of `sp_cdc_add_job` have the same names and other places; only by name are they told apart.
        let number = |name: &str| arguments.number(name, usize::MAX);
        self.change_jobs(|jobs| {
            let shorten = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
            jobs.max_trans = number("@maxtrans").map_or(jobs.max_trans, shorten);
            jobs.max_scans = number("@maxscans").map_or(jobs.max_scans, shorten);
            jobs.continuous = number("@continuous").map_or(jobs.continuous, |number| number != 0);
            jobs.polling_interval = number("@pollinginterval").unwrap_or(jobs.polling_interval);
            jobs.retention = number("@retention").unwrap_or(jobs.retention);
            jobs.threshold = number("@threshold").unwrap_or(jobs.threshold);
        })
    }

    /// `sp_cdc_start_job` and `sp_cdc_stop_job`; the clean-up job is no job here that could run. Without SQL Server Agent none starts.
    pub(super) fn switch_job(&mut self, arguments: &Arguments<'_>, running: bool) -> SqlResult<()> {
        let kind = arguments
            .text("@job_type", 0)
            .unwrap_or_else(|| "capture".to_owned());
        let (now, agent_runs) = (self.statement.now, self.session.engine.agent_runs());
        self.change_jobs(|jobs| {
            if same(&kind, "capture") {
                jobs.switch(running && agent_runs, now);
            }
        })
    }

    /// `sp_cdc_add_job` and `sp_cdc_drop_job`: the job comes, and the capture job starts, or goes.
    pub(super) fn keep_job(&mut self, arguments: &Arguments<'_>, keep: bool) -> SqlResult<()> {
        let kind = arguments.required("@job_type", 0)?;
        let (now, agent_runs) = (self.statement.now, self.session.engine.agent_runs());
        let starts = arguments.number("@start_job", 1).is_none_or(|start| start != 0);
        self.change_jobs(|jobs| {
            if same(&kind, "capture") {
                jobs.capture = keep;
                jobs.switch(keep && starts && agent_runs, now);
            } else {
                jobs.cleanup = keep;
            }
        })?;
        if keep { self.change_job(arguments) } else { Ok(()) }
    }

    fn change_jobs(&mut self, change: impl FnOnce(&mut CaptureJobs)) -> SqlResult<()> {
        let (database, _) = self.session.capturing()?;
        let mut store = self.session.engine.store().lock();
        if let Some(log) = store.capture.get_mut(&database.id) {
            change(&mut log.jobs);
        }
        Ok(())
    }

    /// A bit of a change table's mask; none for a mask that is NULL.
    pub(super) fn mask_bit(ordinal: i64, mask: &Value) -> Option<bool> {
        let Value::Bytes(mask) = mask else { return None };
        let at = usize::try_from(ordinal - 1).ok()?;
        let byte = mask
            .len()
            .checked_sub(1 + at / 8)
            .and_then(|place| mask.get(place));
        Some(byte.is_some_and(|byte| byte & (1 << (at % 8)) != 0))
    }
}
