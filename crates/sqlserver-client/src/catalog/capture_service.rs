//! What drives Change Data Capture: SQL Server Agent, its jobs, the scans of the log. None of it is in the database's own tables, and
//! each has a right of its own, so each may be hidden from a login that reads the changes.

use std::time::Duration;

use model::{ErrorKind, Result};

use crate::{
    CaptureJob, CaptureScan, CaptureService, Connection, DatabaseInfo, Permission, Row, Rows, Sight,
};

/// `SERVERPROPERTY('EngineEdition')` of Azure SQL Database, where a scheduler of its own runs the jobs.
const AZURE_SQL_DATABASE: i64 = 5;

const LOG: &str = "\
SELECT CONVERT(nvarchar(60), log_reuse_wait_desc) AS log_reuse_wait, is_published AS is_published \
FROM sys.databases WHERE database_id = DB_ID()";

const AGENT: &str = "\
SELECT MAX(CASE WHEN status = 4 THEN 1 ELSE 0 END) AS is_running FROM sys.dm_server_services WHERE servicename LIKE N'%Agent%'";

const JOBS: &str = "\
SELECT job_type AS job_type, continuous AS is_continuous, retention AS retention_minutes \
FROM msdb.dbo.cdc_jobs WHERE database_id = DB_ID()";

const AZURE_JOBS: &str = "\
SELECT job_type AS job_type, continuous AS is_continuous, retention AS retention_minutes \
FROM cdc.cdc_jobs WHERE database_id = DB_ID()";

/// A job runs that has begun and not ended since SQL Server Agent was started last. This needs one right more than the jobs do.
const RUNNING: &str = "\
SELECT TOP (1) CASE WHEN a.start_execution_date IS NOT NULL AND a.stop_execution_date IS NULL THEN 1 ELSE 0 END AS is_running \
FROM msdb.dbo.cdc_jobs AS j JOIN msdb.dbo.sysjobactivity AS a ON a.job_id = j.job_id \
WHERE j.database_id = DB_ID() AND j.job_type = N'capture' ORDER BY a.session_id DESC";

/// The last scan that found something. An empty one says nothing of how far the capture is behind.
const SCAN: &str = "\
SELECT TOP (1) latency AS latency_seconds, DATEDIFF(second, end_time, GETDATE()) AS ended_seconds \
FROM sys.dm_cdc_log_scan_sessions WHERE session_id > 0 AND tran_count > 0 ORDER BY session_id DESC";

const SEE_JOBS: &str = "\
USE msdb; CREATE USER [<login>] FOR LOGIN [<login>]; GRANT SELECT ON dbo.cdc_jobs TO [<login>];";

const SEE_RUNNING: &str = "USE msdb; GRANT SELECT ON dbo.sysjobactivity TO [<login>];";

impl Connection {
    /// What drives the capture of the database, which must have Change Data Capture switched on.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`], but for rights: what the login may not see is [`Sight::Hidden`].
    pub async fn capture_service(&mut self, database: &DatabaseInfo) -> Result<CaptureService> {
        let log = self.query(LOG, &[]).await?;
        let log = log.one()?;
        let azure = database.engine_edition == AZURE_SQL_DATABASE;
        Ok(CaptureService {
            log_reuse_wait: log.text("log_reuse_wait")?.unwrap_or_default().to_owned(),
            published: log.flag("is_published")?,
            agent: match azure {
                true => Sight::Seen(None),
                false => self.agent().await?,
            },
            jobs: self.capture_jobs(database).await?,
            capturing: match azure {
                true => Sight::Seen(None),
                false => self.capturing().await?,
            },
            scan: self.capture_scan(azure).await?,
        })
    }

    /// The jobs of Change Data Capture in the database; none if they were lost, as by a failover to a server that never had them.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`], but for rights.
    pub async fn capture_jobs(&mut self, database: &DatabaseInfo) -> Result<Sight<Vec<CaptureJob>>> {
        let (jobs, grant) = match database.engine_edition {
            AZURE_SQL_DATABASE => (AZURE_JOBS, "GRANT SELECT ON SCHEMA::cdc TO [<user>];"),
            _ => (JOBS, SEE_JOBS),
        };
        match self.query(jobs, &[]).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Sight::Seen(Vec::new())),
            asked => sight(asked, grant, |rows| rows.iter().map(|row| job(&row)).collect()),
        }
    }

    async fn capturing(&mut self) -> Result<Sight<Option<bool>>> {
        match self.query(RUNNING, &[]).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Sight::Seen(None)),
            asked => sight(asked, SEE_RUNNING, |rows| match rows.first() {
                Some(row) => Ok(row.i64("is_running")?.map(|running| running == 1)),
                None => Ok(None),
            }),
        }
    }

    async fn agent(&mut self) -> Result<Sight<Option<bool>>> {
        let grant = format!("USE master; {};", Permission::ViewServerState.grant());
        let running = |rows: Rows| Ok(rows.one()?.i64("is_running")?.map(|running| running == 1));
        match self.query(AGENT, &[]).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Sight::Seen(None)),
            asked => sight(asked, &grant, running),
        }
    }

    async fn capture_scan(&mut self, azure: bool) -> Result<Sight<Option<CaptureScan>>> {
        let grant = match azure {
            true => format!("{};", Permission::ViewDatabaseState.grant()),
            false => format!("USE master; {};", Permission::ViewServerState.grant()),
        };
        sight(self.query(SCAN, &[]).await, &grant, |rows| {
            rows.first().map(|row| scan(&row)).transpose()
        })
    }
}

/// What was asked for, unless a right is missing that `grant` gives.
fn sight<T>(asked: Result<Rows>, grant: &str, read: impl FnOnce(Rows) -> Result<T>) -> Result<Sight<T>> {
    match asked {
        Err(error) if error.kind() == ErrorKind::Denied => Ok(Sight::Hidden {
            grant: grant.to_owned(),
        }),
        asked => read(asked?).map(Sight::Seen),
    }
}

fn job(row: &Row<'_>) -> Result<CaptureJob> {
    let minutes = row.i64("retention_minutes")?;
    Ok(CaptureJob {
        kind: row.need_text("job_type")?.to_owned(),
        continuous: row.flag("is_continuous")?,
        retention: minutes.map(|minutes| Duration::from_secs(u64::try_from(minutes).unwrap_or(0) * 60)),
    })
}

fn scan(row: &Row<'_>) -> Result<CaptureScan> {
    let seconds = |column| -> Result<Option<Duration>> {
        let seconds = row.i64(column)?;
        Ok(seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
    };
    Ok(CaptureScan {
        latency: seconds("latency_seconds")?.unwrap_or_default(),
        ended: seconds("ended_seconds")?,
    })
}
