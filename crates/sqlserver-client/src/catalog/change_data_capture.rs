//! Change Data Capture, as its catalog and its functions tell of it.

use std::time::Duration;

use model::{Error, Result};

use crate::{
    CaptureInstance, CaptureProgress, CapturedColumn, Connection, Length, Lsn, Param, Row, SqlType,
    TableInfo, quote,
};

impl Connection {
    /// The capture instances of a table, the oldest first. The database must have Change Data Capture switched on.
    ///
    /// # Errors
    ///
    /// `Denied` without the right to read the schema `cdc`; else as [`Connection::query`].
    pub async fn capture_instances(&mut self, table: &TableInfo) -> Result<Vec<CaptureInstance>> {
        // What the login may not see of the change table has no row in `sys.columns`, whose names have a collation of their own in Azure SQL
        // Database. A `rowversion` (189) is kept as `binary(8)` (173).
        const INSTANCES: &str = "\
SELECT t.capture_instance AS capture_instance, sys.fn_cdc_get_min_lsn(t.capture_instance) AS least_lsn, \
 c.column_name AS column_name, c.column_id AS column_id, \
 CASE WHEN k.max_length = s.max_length AND k.precision = s.precision AND k.scale = s.scale \
  AND COALESCE(k.collation_name, N'') = COALESCE(s.collation_name, N'') \
  AND (k.system_type_id = s.system_type_id AND k.is_ansi_padded = s.is_ansi_padded \
   OR k.system_type_id = 173 AND s.system_type_id = 189) AND k.is_masked = 0 THEN 1 ELSE 0 END AS alike, \
 CASE WHEN n.column_id IS NULL THEN 0 \
  ELSE COALESCE(HAS_PERMS_BY_NAME(N'cdc.' + QUOTENAME(t.capture_instance + N'_CT'), N'OBJECT', N'SELECT'), 0) END AS readable \
FROM cdc.change_tables AS t INNER JOIN cdc.captured_columns AS c ON c.object_id = t.object_id \
LEFT JOIN sys.columns AS s ON s.object_id = t.source_object_id AND s.column_id = c.column_id \
LEFT JOIN sys.columns AS k ON k.object_id = t.object_id \
 AND k.name COLLATE DATABASE_DEFAULT = c.column_name COLLATE DATABASE_DEFAULT \
LEFT JOIN sys.columns AS n ON n.object_id = t.object_id AND n.name = N'__$command_id' \
WHERE t.source_object_id = @table ORDER BY t.start_lsn, t.object_id, c.column_ordinal";
        let rows = self
            .query(INSTANCES, &[Param::typed("table", table.object_id, SqlType::Int)])
            .await?;
        let mut instances: Vec<CaptureInstance> = Vec::new();
        for row in rows.iter() {
            let name = row.need_text("capture_instance")?;
            let id = i32::try_from(row.need_i64("column_id")?)
                .map_err(|_| Error::internal("a column's id is no int"))?;
            let column = CapturedColumn {
                name: row.need_text("column_name")?.to_owned(),
                id,
                alike: row.need_i64("alike")? == 1,
            };
            match instances.last_mut().filter(|instance| instance.name == name) {
                Some(instance) => instance.columns.push(column),
                None => instances.push(CaptureInstance {
                    name: name.to_owned(),
                    least: lsn(&row, "least_lsn")?.unwrap_or_default(),
                    readable: row.need_i64("readable")? == 1,
                    columns: vec![column],
                }),
            }
        }
        Ok(instances)
    }

    /// How far the capture has got in the log, and how long ago `since` was committed.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn capture_progress(&mut self, since: Option<Lsn>) -> Result<CaptureProgress> {
        const PROGRESS: &str = "\
SELECT sys.fn_cdc_get_max_lsn() AS greatest_lsn, \
 DATEDIFF(second, COALESCE(sys.fn_cdc_map_lsn_to_time(sys.fn_cdc_get_max_lsn()), \
 (SELECT MIN(create_date) FROM cdc.change_tables)), GETDATE()) AS behind_seconds, \
 DATEDIFF(second, sys.fn_cdc_map_lsn_to_time(@since), GETDATE()) AS since_seconds";
        let since = since.unwrap_or_default().param("since");
        let rows = self.query(PROGRESS, &[since]).await?;
        let row = rows.one()?;
        let seconds = |column| -> Result<Option<Duration>> {
            let seconds = row.i64(column)?;
            Ok(seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
        };
        Ok(CaptureProgress {
            greatest: lsn(&row, "greatest_lsn")?,
            behind: seconds("behind_seconds")?.unwrap_or_default(),
            since: seconds("since_seconds")?,
        })
    }

    /// The least place in the log that the instance's changes can still be asked for; the first one if there is no such instance, or without the
    /// right to ask. Unlike [`Connection::capture_instances`] it does not look at the change table, which may be locked.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn least_captured(&mut self, instance: &str) -> Result<Lsn> {
        let name = Param::typed(
            "instance",
            instance,
            SqlType::NVarChar {
                length: Length::Limited(128),
            },
        );
        let sql = "SELECT sys.fn_cdc_get_min_lsn(@instance) AS least_lsn";
        let rows = self.query(sql, &[name]).await?;
        Ok(lsn(&rows.one()?, "least_lsn")?.unwrap_or_default())
    }

    /// The place of the `number`th change of an instance above `from` up to `to`; `None` if there are fewer.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn captured_after(
        &mut self,
        instance: &str,
        from: Lsn,
        to: Lsn,
        number: u64,
    ) -> Result<Option<Lsn>> {
        let function = quote::identifier(&format!("fn_cdc_get_all_changes_{instance}"));
        let sql = format!(
            "SELECT COUNT_BIG(*) AS changes, MAX(c.place) AS upto FROM (SELECT TOP (@most) __$start_lsn AS place \
             FROM cdc.{function}(sys.fn_cdc_increment_lsn(@from), @to, N'all') ORDER BY __$start_lsn) AS c"
        );
        let most = i64::try_from(number).unwrap_or(i64::MAX);
        let params = [
            Param::typed("most", most, SqlType::BigInt),
            from.param("from"),
            to.param("to"),
        ];
        let rows = self.query(&sql, &params).await?;
        let row = rows.one()?;
        match row.i64("changes")? {
            Some(changes) if changes >= most => lsn(&row, "upto"),
            _ => Ok(None),
        }
    }
}

fn lsn(row: &Row<'_>, column: &str) -> Result<Option<Lsn>> {
    let Some(bytes) = row.bytes(column)? else {
        return Ok(None);
    };
    let bytes = bytes
        .try_into()
        .map_err(|_| Error::internal(format!("{column} has {} bytes", bytes.len())))?;
    Ok(Some(Lsn(bytes)))
}
