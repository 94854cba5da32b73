//! What a query returns, told without running it.

use model::Result;

use crate::{ColumnType, Connection, Param};

impl Connection {
    /// The names and types of the columns that a query returns. `declarations` are those of its parameters: `@a int, @b datetime2(7)`.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`]: by what is wrong with the query.
    pub async fn result_columns(
        &mut self,
        sql: &str,
        declarations: &str,
    ) -> Result<Vec<(String, ColumnType)>> {
        const DESCRIBE: &str = "EXEC sys.sp_describe_first_result_set @tsql = @sql, @params = @declarations, \
            @browse_information_mode = 0";
        let params = [Param::new("sql", sql), Param::new("declarations", declarations)];
        let rows = self.query(DESCRIBE, &params).await?;
        rows.iter()
            .map(|row| {
                let ty = row.text("system_type_name")?.unwrap_or_default();
                let ty = match ty.parse() {
                    Ok(mapped) => ColumnType::Mapped(mapped),
                    Err(_) => ColumnType::Unmapped(ty.to_owned()),
                };
                Ok((row.text("name")?.unwrap_or_default().to_owned(), ty))
            })
            .collect()
    }
}
