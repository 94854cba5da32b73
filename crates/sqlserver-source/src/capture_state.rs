//! Whether what drives Change Data Capture works: SQL Server Agent, the jobs, the log that waits for them. A capture that has stopped
//! looks like a table that nobody changes, until the log is full or the clean-up has gone past.

use std::time::Duration;

use model::{ErrorKind, Finding, Result, Severity, TableName};
use serde::Serialize;
use sqlserver_client::{CaptureJob, CaptureScan, CaptureService, Connection, DatabaseInfo, Sight};

use crate::change_data_capture::{SILENCE, silent};

/// A capture that is later than this cannot keep up, or something was in its way.
const LATE: Duration = Duration::from_secs(5 * 60);

/// A scan that ended longer ago says nothing of now.
const RECENT: Duration = Duration::from_secs(10 * 60);

/// `log_reuse_wait_desc` of a log that waits for replication or for the capture, which it does not tell apart.
const AWAITED: &str = "REPLICATION";

/// How the capture of a database stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureState {
    /// The tables that are followed by it.
    pub tables: Vec<TableName>,
    /// What was measured.
    pub signs: CaptureSigns,
    /// What an operator should know.
    pub findings: Vec<Finding>,
}

/// What was measured of a capture. What the login may not see is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CaptureSigns {
    /// How long ago the last transaction was committed that has been captured. A database at rest writes one every five minutes.
    pub behind_seconds: u64,
    /// How long after its commit the last change was captured.
    pub latency_seconds: Option<u64>,
    /// Whether SQL Server Agent runs.
    pub agent_running: Option<bool>,
    /// Whether the capture job runs.
    pub job_running: Option<bool>,
    /// Why the log could not be truncated.
    pub log_reuse_wait: String,
    /// How long the clean-up job keeps what has been captured.
    pub retention_seconds: Option<u64>,
}

impl CaptureSigns {
    /// Whether the log cannot be truncated before replication or the capture has read it. Under load that is usual for a while.
    pub fn holds_log(&self) -> bool {
        self.log_reuse_wait == AWAITED
    }
}

/// Looks at the capture of the database; `None` if the login may not read what it has captured.
pub(crate) async fn look(
    connection: &mut Connection,
    database: &DatabaseInfo,
) -> Result<Option<(CaptureSigns, Vec<Finding>)>> {
    let behind = match connection.capture_progress(None).await {
        Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound) => return Ok(None),
        progress => progress?.behind,
    };
    let mut service = connection.capture_service(database).await?;
    if !database.writable {
        // Agent and jobs of a secondary are not those that capture.
        service.agent = Sight::Seen(None);
        service.published = true;
        service.jobs = Sight::Seen(Vec::new());
        service.capturing = Sight::Seen(None);
    }
    let signs = CaptureSigns {
        behind_seconds: behind.as_secs(),
        latency_seconds: scan(&service).map(|scan| scan.latency.as_secs()),
        agent_running: service.agent.seen().copied().flatten(),
        job_running: service.capturing.seen().copied().flatten(),
        log_reuse_wait: service.log_reuse_wait.clone(),
        retention_seconds: job(&service, "cleanup")
            .and_then(|job| job.retention)
            .map(|retention| retention.as_secs()),
    };
    Ok(Some((signs, findings(&service, behind, has_jobs(database)))))
}

/// Azure SQL Database runs its captures by itself.
fn has_jobs(database: &DatabaseInfo) -> bool {
    const AZURE_SQL_DATABASE: i64 = 5;
    database.writable && database.engine_edition != AZURE_SQL_DATABASE
}

fn job<'s>(service: &'s CaptureService, kind: &str) -> Option<&'s CaptureJob> {
    service.jobs.seen()?.iter().find(|job| job.kind == kind)
}

fn scan(service: &CaptureService) -> Option<CaptureScan> {
    service.scan.seen().copied().flatten()
}

fn finding(severity: Severity, message: impl Into<String>, remedy: Option<&str>) -> Finding {
    Finding {
        severity,
        message: message.into(),
        remedy: remedy.map(str::to_owned),
    }
}

/// What is wrong, the worst first. `has_jobs` says whether the server runs captures by jobs of SQL Server Agent.
fn findings(service: &CaptureService, behind: Duration, has_jobs: bool) -> Vec<Finding> {
    let mut findings: Vec<_> = standstill(service, has_jobs).into_iter().collect();
    if findings.is_empty() {
        findings.extend(lagging(service, behind));
    }
    if service.log_reuse_wait == AWAITED {
        let (severity, while_) = match findings.is_empty() {
            true => (Severity::Note, "which is usual under load"),
            false => (Severity::Warning, "and grows until the capture has read it"),
        };
        let message = format!("the log cannot be truncated (log_reuse_wait_desc is {AWAITED}), {while_}");
        findings.push(finding(severity, message, None));
    }
    if has_jobs && service.jobs.seen().is_some() && job(service, "cleanup").is_none() {
        findings.push(finding(
            Severity::Warning,
            "the database has no clean-up job on this server, as after a failover to one that never had it: its change tables only grow",
            Some("EXEC sys.sp_cdc_add_job @job_type = N'cleanup';"),
        ));
    }
    findings.extend(hidden(service));
    findings
}

/// Why nothing is captured at all.
fn standstill(service: &CaptureService, has_jobs: bool) -> Option<Finding> {
    if service.agent.seen() == Some(&Some(false)) {
        return Some(finding(
            Severity::Error,
            "SQL Server Agent does not run, so nothing is captured",
            Some("start the service SQL Server Agent on the server, and let it start by itself"),
        ));
    }
    if !has_jobs || service.published || service.jobs.seen().is_none() {
        return None;
    }
    match job(service, "capture") {
        None => Some(finding(
            Severity::Error,
            "the database has no capture job on this server, as after a failover to one that never had it, so nothing is captured",
            Some("EXEC sys.sp_cdc_add_job @job_type = N'capture';"),
        )),
        Some(job) if job.continuous && service.capturing.seen() == Some(&Some(false)) => Some(finding(
            Severity::Error,
            "the capture job does not run, so nothing is captured",
            Some("EXEC sys.sp_cdc_start_job @job_type = N'capture';"),
        )),
        Some(_) => None,
    }
}

/// Whether the capture is late, or seems to have stopped.
fn lagging(service: &CaptureService, behind: Duration) -> Option<Finding> {
    let faster = "EXEC sys.sp_cdc_change_job @job_type = N'capture', @maxtrans = <more than 500>, @maxscans = <more than 10>; \
                  EXEC sys.sp_cdc_stop_job @job_type = N'capture'; EXEC sys.sp_cdc_start_job @job_type = N'capture';";
    let runs = service.capturing.seen() == Some(&Some(true));
    if let Some(message) = silent(behind).filter(|_| !runs) {
        let start = "EXEC sys.sp_cdc_start_job @job_type = N'capture'; -- and see that SQL Server Agent runs";
        return Some(finding(Severity::Warning, message, Some(start)));
    }
    let recent = |scan: &CaptureScan| scan.ended.is_none_or(|ended| ended < RECENT);
    let latency = scan(service).filter(recent).map(|scan| scan.latency);
    let late = latency
        .filter(|latency| *latency > LATE)
        .max((behind > SILENCE).then_some(behind))?;
    let message = format!(
        "the capture is {} min behind the transactions that it reads",
        late.as_secs() / 60
    );
    Some(finding(Severity::Warning, message, Some(faster)))
}

/// What cannot be seen, with the rights that would show it.
fn hidden(service: &CaptureService) -> Option<Finding> {
    let grant = |grant: Option<&str>, what| Some((what, grant?.to_owned()));
    let hidden = [
        grant(service.agent.grant(), "whether SQL Server Agent runs"),
        grant(service.jobs.grant(), "the jobs of the capture"),
        grant(service.capturing.grant(), "whether the capture job runs"),
        grant(service.scan.grant(), "how late the capture is"),
    ];
    let (what, mut grants): (Vec<_>, Vec<_>) = hidden.into_iter().flatten().unzip();
    if what.is_empty() {
        return None;
    }
    grants.sort();
    grants.dedup();
    let message = format!("the login cannot see {}", what.join(", "));
    Some(finding(Severity::Note, message, Some(&grants.join("\n"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> CaptureService {
        let job = |kind: &str| CaptureJob {
            kind: kind.into(),
            continuous: kind == "capture",
            retention: None,
        };
        CaptureService {
            log_reuse_wait: "NOTHING".into(),
            published: false,
            agent: Sight::Seen(Some(true)),
            jobs: Sight::Seen(vec![job("capture"), job("cleanup")]),
            capturing: Sight::Seen(Some(true)),
            scan: Sight::Seen(None),
        }
    }

    fn without_jobs(published: bool) -> CaptureService {
        CaptureService {
            published,
            jobs: Sight::Seen(Vec::new()),
            ..service()
        }
    }

    fn scanned(latency: u64, ended: Option<u64>) -> CaptureService {
        let scan = CaptureScan {
            latency: Duration::from_secs(latency),
            ended: ended.map(Duration::from_secs),
        };
        CaptureService {
            log_reuse_wait: AWAITED.into(),
            scan: Sight::Seen(Some(scan)),
            ..service()
        }
    }

    #[test]
    fn what_is_wrong_is_told_once_and_the_worst_first() {
        use Severity::{Error, Note, Warning};
        let agent_down = CaptureService {
            agent: Sight::Seen(Some(false)),
            log_reuse_wait: AWAITED.into(),
            ..service()
        };
        let stopped = CaptureService {
            capturing: Sight::Seen(Some(false)),
            ..service()
        };
        let mut once = stopped.clone();
        if let Sight::Seen(once) = &mut once.jobs {
            once[0].continuous = false;
        }
        let hide = |grant: &str| grant.to_owned();
        let blind = CaptureService {
            agent: Sight::Hidden { grant: hide("A") },
            jobs: Sight::Hidden { grant: hide("B") },
            capturing: Sight::Hidden { grant: hide("C") },
            scan: Sight::Hidden { grant: hide("A") },
            ..service()
        };
        let no_cleanup = (Warning, "no clean-up job");
        let held = |severity| (severity, "log_reuse_wait_desc is REPLICATION");
        for (service, behind, expect) in [
            (service(), 60, vec![]),
            (
                agent_down,
                3_600,
                vec![(Error, "Agent does not run"), held(Warning)],
            ),
            (stopped, 60, vec![(Error, "capture job does not run")]),
            // A job that is run by a schedule of its own does not run between two times.
            (once.clone(), 60, vec![]),
            (once, 1_200, vec![(Warning, "has said nothing for 20 min")]),
            (
                without_jobs(false),
                60,
                vec![(Error, "no capture job"), no_cleanup],
            ),
            (without_jobs(true), 60, vec![no_cleanup]),
            (service(), 1_200, vec![(Warning, "is 20 min behind")]),
            (scanned(2, Some(1)), 60, vec![held(Note)]),
            (
                scanned(600, Some(1)),
                600,
                vec![(Warning, "is 10 min behind"), held(Warning)],
            ),
            (
                scanned(600, None),
                60,
                vec![(Warning, "is 10 min behind"), held(Warning)],
            ),
            (scanned(600, Some(4_000)), 60, vec![held(Note)]),
            (
                blind.clone(),
                60,
                vec![(
                    Note,
                    "cannot see whether SQL Server Agent runs, the jobs of the capture, whether",
                )],
            ),
            (
                blind,
                1_200,
                vec![(Warning, "has said nothing"), (Note, "cannot see")],
            ),
        ] {
            let found = findings(&service, Duration::from_secs(behind), true);
            assert_eq!(found.len(), expect.len(), "{service:?}: {found:?}");
            for (found, (severity, part)) in found.iter().zip(expect) {
                assert_eq!(found.severity, severity, "{found:?}");
                assert!(found.message.contains(part), "{found:?}");
            }
        }
        assert_eq!(findings(&without_jobs(false), Duration::ZERO, false), []);
    }
}
