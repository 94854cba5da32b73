//! Triggers, as the catalog tells of them.

use model::Result;

use crate::{Connection, Param, SqlType, TableInfo, TriggerState};

impl Connection {
    /// How a trigger of a table stands; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn trigger(&mut self, table: &TableInfo, name: &str) -> Result<Option<TriggerState>> {
        const TRIGGER: &str = "\
SELECT t.object_id AS object_id, CONVERT(nvarchar(30), t.modify_date, 126) AS modify_date, t.is_disabled AS is_disabled, \
 m.definition AS definition \
FROM sys.triggers AS t LEFT JOIN sys.sql_modules AS m ON m.object_id = t.object_id \
WHERE t.parent_id = @table AND t.name = @name";
        let params = [
            Param::typed("table", table.object_id, SqlType::Int),
            Param::new("name", name),
        ];
        let rows = self.query(TRIGGER, &params).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(TriggerState {
            object_id: row.need_i64("object_id")?,
            modified: row.need_text("modify_date")?.to_owned(),
            disabled: row.flag("is_disabled")?,
            definition: row.text("definition")?.map(str::to_owned),
        }))
    }
}
