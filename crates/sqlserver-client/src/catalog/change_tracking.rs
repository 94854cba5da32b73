//! Change Tracking, as the catalog and its functions tell of it.

use std::time::Duration;

use model::{Error, Result};

use crate::{ChangeTrackingInfo, Connection, Param, SqlType, TableInfo};

impl Connection {
    /// How Change Tracking stands for a table; `None` if it is off.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn change_tracking(&mut self, table: &TableInfo) -> Result<Option<ChangeTrackingInfo>> {
        const TRACKED: &str = "\
SELECT t.begin_version AS begin_version, CHANGE_TRACKING_MIN_VALID_VERSION(t.object_id) AS least_valid, \
 d.retention_period AS retention_period, d.retention_period_units AS retention_units, d.is_auto_cleanup_on AS forgets \
FROM sys.change_tracking_tables AS t CROSS JOIN sys.change_tracking_databases AS d \
WHERE t.object_id = @table AND d.database_id = DB_ID()";
        let rows = self
            .query(TRACKED, &[Param::typed("table", table.object_id, SqlType::Int)])
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let retention = row.flag("forgets")?.then(|| {
            retention(
                row.need_i64("retention_period")?,
                row.need_i64("retention_units")?,
            )
        });
        Ok(Some(ChangeTrackingInfo {
            began: row.i64("begin_version")?.unwrap_or(0),
            least_valid: row.i64("least_valid")?,
            retention: retention.transpose()?,
        }))
    }
}

/// `retention_period` in its unit: 1 minutes, 2 hours, 3 days.
fn retention(period: i64, unit: i64) -> Result<Duration> {
    let seconds = match unit {
        1 => 60,
        2 => 3_600,
        3 => 86_400,
        other => return Err(Error::internal(format!("an unknown unit of retention: {other}"))),
    };
    let period = u64::try_from(period).unwrap_or(0);
    Ok(Duration::from_secs(period.saturating_mul(seconds)))
}
