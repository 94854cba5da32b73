//! Change Tracking, as the catalog and its functions tell of it.

use std::collections::HashMap;
use std::time::Duration;

use model::{Error, Result};

use super::object_id;
use crate::{ChangeTrackingInfo, Connection, Param, Row, SqlType, TableInfo};

const TRACKED: &str = "\
SELECT t.object_id AS object_id, t.begin_version AS begin_version, CHANGE_TRACKING_MIN_VALID_VERSION(t.object_id) AS least_valid, \
 d.retention_period AS retention_period, d.retention_period_units AS retention_units, d.is_auto_cleanup_on AS forgets \
FROM sys.change_tracking_tables AS t CROSS JOIN sys.change_tracking_databases AS d WHERE d.database_id = DB_ID()";

impl Connection {
    /// How Change Tracking stands for a table; `None` if it is off.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn change_tracking(&mut self, table: &TableInfo) -> Result<Option<ChangeTrackingInfo>> {
        let sql = format!("{TRACKED} AND t.object_id = @table");
        let rows = self
            .query(&sql, &[Param::typed("table", table.object_id, SqlType::Int)])
            .await?;
        rows.first().map(|row| info(&row)).transpose()
    }

    /// How Change Tracking stands for every table that it is on for, by object id.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn tracked_tables(&mut self) -> Result<HashMap<i32, ChangeTrackingInfo>> {
        let rows = self.query(TRACKED, &[]).await?;
        let tables = rows.iter().map(|row| Ok((object_id(&row)?, info(&row)?)));
        tables.collect()
    }
}

fn info(row: &Row<'_>) -> Result<ChangeTrackingInfo> {
    let retention = row.flag("forgets")?.then(|| {
        retention(
            row.need_i64("retention_period")?,
            row.need_i64("retention_units")?,
        )
    });
    Ok(ChangeTrackingInfo {
        began: row.i64("begin_version")?.unwrap_or(0),
        least_valid: row.i64("least_valid")?,
        retention: retention.transpose()?,
    })
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
