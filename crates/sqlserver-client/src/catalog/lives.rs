//! Many tables at once, as far as telling whether they are still the same needs it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use model::{Result, TableName};

use crate::{Connection, Param, SqlType};

/// So many parameters a statement may have, and a few that others need.
const MOST_PARAMETERS: usize = 2_000;

/// A table, told apart from others that have had its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLife {
    /// Its name.
    pub name: TableName,
    /// When it was created, as [`TableInfo::create_date`](crate::TableInfo::create_date) tells it.
    pub create_date: String,
    /// Whether it is kept in memory, where no SNAPSHOT transaction may read it.
    pub memory_optimized: bool,
    /// Its columns, with their ids.
    pub columns: BTreeMap<String, i32>,
}

impl Connection {
    /// The tables with these object ids, in one statement for up to 2,000 of them.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`].
    pub async fn table_lives(&mut self, ids: &[i32]) -> Result<HashMap<i32, TableLife>> {
        let mut lives: HashMap<i32, TableLife> = HashMap::new();
        for ids in ids.chunks(MOST_PARAMETERS) {
            let names: Vec<String> = (0..ids.len()).map(|place| format!("@t{place}")).collect();
            let sql = format!(
                "SELECT o.object_id AS object_id, s.name AS schema_name, o.name AS table_name, \
                 CONVERT(nvarchar(30), o.create_date, 126) AS create_date, \
                 CASE WHEN t.is_memory_optimized = 1 THEN 1 ELSE 0 END AS is_memory_optimized, c.name AS column_name, c.column_id AS column_id \
                 FROM sys.objects AS o INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id \
                 LEFT JOIN sys.tables AS t ON t.object_id = o.object_id \
                 INNER JOIN sys.columns AS c ON c.object_id = o.object_id WHERE o.object_id IN ({})",
                names.join(", ")
            );
            let params: Vec<Param> = ids
                .iter()
                .enumerate()
                .map(|(place, id)| Param::typed(format!("t{place}"), *id, SqlType::Int))
                .collect();
            for row in self.query(&sql, &params).await?.iter() {
                let (Ok(id), Ok(column)) = (
                    i32::try_from(row.need_i64("object_id")?),
                    i32::try_from(row.need_i64("column_id")?),
                ) else {
                    continue;
                };
                let life = match lives.entry(id) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(TableLife {
                        name: TableName::new(row.need_text("schema_name")?, row.need_text("table_name")?),
                        create_date: row.need_text("create_date")?.to_owned(),
                        memory_optimized: row.flag("is_memory_optimized")?,
                        columns: BTreeMap::new(),
                    }),
                };
                life.columns
                    .insert(row.need_text("column_name")?.to_owned(), column);
            }
        }
        Ok(lives)
    }
}
