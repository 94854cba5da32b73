//! One table, from `sys.objects`, `sys.columns`, `sys.indexes` and their kin.

use std::collections::HashMap;

use model::{Error, Result, TableName};

use crate::{
    ColumnInfo, ColumnType, Connection, ForeignKey, IndexInfo, Param, Row, Rows, SqlType, TableInfo,
    TriggerInfo, Value,
};

const OBJECT: &str = "\
SELECT o.object_id AS object_id, s.name AS schema_name, o.name AS table_name, \
 CONVERT(nvarchar(30), o.create_date, 126) AS create_date, CASE WHEN o.type = 'V' THEN 1 ELSE 0 END AS is_view, \
 CASE WHEN t.is_memory_optimized = 1 THEN 1 ELSE 0 END AS is_memory_optimized, \
 CASE WHEN t.temporal_type = 1 THEN 1 ELSE 0 END AS is_history, \
 (SELECT SUM(p.rows) FROM sys.partitions AS p WHERE p.object_id = o.object_id AND p.index_id IN (0, 1)) AS approximate_rows, \
 (SELECT COUNT(*) FROM sys.security_predicates AS sp \
  INNER JOIN sys.security_policies AS pol ON pol.object_id = sp.object_id \
  WHERE sp.target_object_id = o.object_id AND pol.is_enabled = 1) AS security_predicates, \
 (SELECT COUNT(*) FROM sys.sql_expression_dependencies AS d \
  INNER JOIN sys.indexes AS vi ON vi.object_id = d.referencing_id AND vi.index_id = 1 \
  INNER JOIN sys.objects AS vo ON vo.object_id = d.referencing_id AND vo.type = 'V' \
  WHERE d.referenced_id = o.object_id) AS indexed_views \
FROM sys.objects AS o INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id \
LEFT JOIN sys.tables AS t ON t.object_id = o.object_id \
WHERE o.type IN ('U', 'V') AND s.name = @schema AND o.name = @name";

/// Alias types are resolved through `system_type_id`; CLR types keep their own name, and so does `vector`, whose system type is varbinary's.
const COLUMNS: &str = "\
SELECT c.column_id AS column_id, c.name AS column_name, \
 CASE WHEN ut.is_assembly_type = 1 AND ut.is_user_defined = 1 THEN 1 ELSE 0 END AS is_clr, \
 CASE WHEN ut.is_assembly_type = 1 OR (ut.is_user_defined = 0 AND ut.name = N'vector') THEN ut.name ELSE bt.name END AS type_name, c.max_length AS max_length, \
 c.[precision] AS type_precision, c.[scale] AS type_scale, CONVERT(nvarchar(128), c.collation_name) AS collation_name, \
 CONVERT(int, COLLATIONPROPERTY(c.collation_name, 'CodePage')) AS code_page, c.is_nullable AS is_nullable, \
 c.is_identity AS is_identity, c.is_computed AS is_computed, c.generated_always_type AS generated_always_type, \
 c.is_masked AS is_masked, c.encryption_type AS encryption_type, c.is_column_set AS is_column_set, \
 dc.definition AS default_definition \
FROM sys.columns AS c \
LEFT JOIN sys.types AS bt ON bt.user_type_id = c.system_type_id \
LEFT JOIN sys.types AS ut ON ut.user_type_id = c.user_type_id \
LEFT JOIN sys.default_constraints AS dc ON dc.object_id = c.default_object_id \
WHERE c.object_id = @id ORDER BY c.column_id";

/// What only servers with the type `vector` know of it, and whether such a value arrives in its binary form.
const VECTORS: &str = "\
SELECT c.column_id AS column_id, c.vector_dimensions AS dimensions, LOWER(c.vector_base_type_desc) AS base_type, \
 CAST(N'[1]' AS vector(1)) AS one \
FROM sys.columns AS c WHERE c.object_id = @id AND c.vector_dimensions IS NOT NULL";

const INDEXES: &str = "\
SELECT i.index_id AS index_id, i.name AS index_name, i.is_unique AS is_unique, i.is_primary_key AS is_primary_key, \
 CASE WHEN i.type = 1 THEN 1 ELSE 0 END AS is_clustered, i.has_filter AS has_filter, i.is_disabled AS is_disabled, \
 i.[ignore_dup_key] AS ignores_duplicates, \
 c.name AS column_name, ic.is_descending_key AS is_descending_key \
FROM sys.indexes AS i \
INNER JOIN sys.index_columns AS ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id \
INNER JOIN sys.columns AS c ON c.object_id = ic.object_id AND c.column_id = ic.column_id \
WHERE i.object_id = @id AND i.type IN (1, 2) AND i.is_hypothetical = 0 AND ic.key_ordinal > 0 \
ORDER BY i.is_primary_key DESC, i.index_id, ic.key_ordinal";

const FOREIGN_KEYS: &str = "\
SELECT f.name AS key_name, ps.name AS from_schema, p.name AS from_table, rs.name AS to_schema, r.name AS to_table, \
 f.is_disabled AS is_disabled, f.delete_referential_action + f.update_referential_action AS actions \
FROM sys.foreign_keys AS f \
INNER JOIN sys.objects AS p ON p.object_id = f.parent_object_id INNER JOIN sys.schemas AS ps ON ps.schema_id = p.schema_id \
INNER JOIN sys.objects AS r ON r.object_id = f.referenced_object_id \
INNER JOIN sys.schemas AS rs ON rs.schema_id = r.schema_id \
WHERE f.parent_object_id = @id OR f.referenced_object_id = @id ORDER BY f.name";

const TRIGGERS: &str = "\
SELECT t.name AS trigger_name, t.is_instead_of_trigger AS is_instead_of, t.is_disabled AS is_disabled \
FROM sys.triggers AS t WHERE t.parent_id = @id ORDER BY t.name";

const SHAPE: &str = "\
SELECT o.object_id AS object_id, CONVERT(nvarchar(30), o.create_date, 126) AS create_date, c.column_id AS column_id, \
 c.name AS column_name, c.user_type_id AS user_type_id, c.max_length AS max_length, c.[precision] AS type_precision, c.[scale] AS type_scale, \
 CONVERT(nvarchar(128), c.collation_name) AS collation_name, c.is_nullable AS is_nullable, c.is_identity AS is_identity, \
 c.is_computed AS is_computed, c.generated_always_type AS generated_always_type, \
 (SELECT COUNT(*) FROM sys.triggers AS t WHERE t.parent_id = o.object_id) AS triggers \
FROM sys.objects AS o INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id \
INNER JOIN sys.columns AS c ON c.object_id = o.object_id \
WHERE o.type IN ('U', 'V') AND s.name = @schema AND o.name = @name ORDER BY c.column_id";

/// Which table of its name it is, its columns with their types, and how many triggers it has. Two are equal as long as nobody has altered it in between.
#[derive(Debug, Clone, PartialEq)]
pub struct TableShape(Rows);

pub(super) async fn shape(connection: &mut Connection, name: &TableName) -> Result<TableShape> {
    let rows = connection.query(SHAPE, &named(name)).await?;
    Ok(TableShape(rows))
}

fn named(name: &TableName) -> [Param; 2] {
    [
        Param::new("schema", name.schema()),
        Param::new("name", name.name()),
    ]
}

pub(super) async fn load(connection: &mut Connection, name: &TableName) -> Result<Option<TableInfo>> {
    let objects = connection.query(OBJECT, &named(name)).await?;
    let Some(object) = objects.first() else {
        return Ok(None);
    };
    let object_id = i32::try_from(object.need_i64("object_id")?)
        .map_err(|error| Error::internal("an object_id is no int").caused_by(error))?;
    let id = [Param::new("id", object_id)];
    let columns = connection.query(COLUMNS, &id).await?;
    let vectors = vectors(connection, object_id, &columns).await?;
    let indexes = connection.query(INDEXES, &id).await?;
    let foreign_keys = connection.query(FOREIGN_KEYS, &id).await?;
    let triggers = connection.query(TRIGGERS, &id).await?;
    Ok(Some(TableInfo {
        name: TableName::new(object.need_text("schema_name")?, object.need_text("table_name")?),
        object_id,
        create_date: object.need_text("create_date")?.to_owned(),
        is_view: object.flag("is_view")?,
        memory_optimized: object.flag("is_memory_optimized")?,
        history: object.flag("is_history")?,
        columns: columns
            .iter()
            .map(|row| column(&row, &vectors))
            .collect::<Result<_>>()?,
        indexes: group_indexes(&indexes)?,
        foreign_keys: foreign_keys
            .iter()
            .map(|row| foreign_key(&row))
            .collect::<Result<_>>()?,
        triggers: triggers.iter().map(|row| trigger(&row)).collect::<Result<_>>()?,
        row_level_security: object.flag("security_predicates")?,
        has_indexed_view: object.flag("indexed_views")?,
        declared_key: None,
        approximate_rows: object
            .i64("approximate_rows")?
            .and_then(|rows| u64::try_from(rows).ok()),
    }))
}

/// The declared types of the columns of type `vector`, by column. One that would not arrive in its binary form is named so that it
/// is refused.
async fn vectors(
    connection: &mut Connection,
    object_id: i32,
    columns: &Rows,
) -> Result<HashMap<i64, String>> {
    let mut types = HashMap::new();
    let is_vector = |row: Row<'_>| matches!(row.text("type_name"), Ok(Some("vector")));
    if columns.iter().any(is_vector) {
        let vectors = connection.query(VECTORS, &[Param::new("id", object_id)]).await?;
        for row in vectors.iter() {
            let (dimensions, base) = (row.need_i64("dimensions")?, row.need_text("base_type")?);
            let declared = match (base, row.get("one")?) {
                ("float32", Value::Bytes(_)) => format!("vector({dimensions})"),
                ("float32", _) => format!("vector({dimensions}) (which this server sends as text)"),
                (other, _) => format!("vector({dimensions},{other})"),
            };
            types.insert(row.need_i64("column_id")?, declared);
        }
    }
    Ok(types)
}

fn column(row: &Row<'_>, vectors: &HashMap<i64, String>) -> Result<ColumnInfo> {
    Ok(ColumnInfo {
        name: row.need_text("column_name")?.to_owned(),
        id: row.need_i64("column_id")? as i32,
        ty: column_type(row, vectors)?,
        collation: row.text("collation_name")?.map(str::to_owned),
        code_page: row.i64("code_page")?.map(|code_page| code_page as i32),
        nullable: row.flag("is_nullable")?,
        identity: row.flag("is_identity")?,
        computed: row.flag("is_computed")?,
        generated: row.flag("generated_always_type")?,
        masked: row.flag("is_masked")?,
        encrypted: row.i64("encryption_type")?.is_some(),
        column_set: row.flag("is_column_set")?,
        default: row.text("default_definition")?.map(str::to_owned),
    })
}

fn column_type(row: &Row<'_>, vectors: &HashMap<i64, String>) -> Result<ColumnType> {
    if row.flag("is_clr")? {
        return Ok(ColumnType::Mapped(SqlType::Clr));
    }
    let declared = match vectors.get(&row.need_i64("column_id")?) {
        Some(vector) => vector.clone(),
        None => declared(row)?,
    };
    Ok(declared
        .parse()
        .map_or_else(|_| ColumnType::Unmapped(declared), ColumnType::Mapped))
}

/// The type as T-SQL writes it, from its name and the catalog's numbers.
fn declared(row: &Row<'_>) -> Result<String> {
    let name = row.text("type_name")?.unwrap_or("an unknown type");
    let length = |unit: i64| -> Result<String> {
        Ok(match row.need_i64("max_length")? {
            -1 => "max".to_owned(),
            bytes => (bytes / unit).to_string(),
        })
    };
    Ok(match name {
        "char" | "varchar" | "binary" | "varbinary" => format!("{name}({})", length(1)?),
        "nchar" | "nvarchar" => format!("{name}({})", length(2)?),
        "decimal" | "numeric" => {
            format!(
                "{name}({},{})",
                row.need_i64("type_precision")?,
                row.need_i64("type_scale")?
            )
        }
        "time" | "datetime2" | "datetimeoffset" => format!("{name}({})", row.need_i64("type_scale")?),
        _ => name.to_owned(),
    })
}

/// One row per key column, in the order of the indexes.
fn group_indexes(rows: &Rows) -> Result<Vec<IndexInfo>> {
    let mut indexes: Vec<(i64, IndexInfo)> = Vec::new();
    for row in rows.iter() {
        let id = row.need_i64("index_id")?;
        let column = (
            row.need_text("column_name")?.to_owned(),
            row.flag("is_descending_key")?,
        );
        match indexes.last_mut() {
            Some((last, index)) if *last == id => index.columns.push(column),
            _ => indexes.push((
                id,
                IndexInfo {
                    name: row.text("index_name")?.unwrap_or_default().to_owned(),
                    unique: row.flag("is_unique")?,
                    primary_key: row.flag("is_primary_key")?,
                    clustered: row.flag("is_clustered")?,
                    filtered: row.flag("has_filter")?,
                    disabled: row.flag("is_disabled")?,
                    ignores_duplicates: row.flag("ignores_duplicates")?,
                    columns: vec![column],
                },
            )),
        }
    }
    Ok(indexes.into_iter().map(|(_, index)| index).collect())
}

fn foreign_key(row: &Row<'_>) -> Result<ForeignKey> {
    Ok(ForeignKey {
        name: row.need_text("key_name")?.to_owned(),
        from: TableName::new(row.need_text("from_schema")?, row.need_text("from_table")?),
        to: TableName::new(row.need_text("to_schema")?, row.need_text("to_table")?),
        disabled: row.flag("is_disabled")?,
        cascades: row.flag("actions")?,
    })
}

fn trigger(row: &Row<'_>) -> Result<TriggerInfo> {
    Ok(TriggerInfo {
        name: row.need_text("trigger_name")?.to_owned(),
        instead_of: row.flag("is_instead_of")?,
        disabled: row.flag("is_disabled")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(columns: &[&str], values: Vec<Vec<Value>>) -> Rows {
        Rows {
            columns: columns.iter().map(|c| (*c).to_owned()).collect(),
            rows: values,
        }
    }

    #[test]
    fn the_catalog_is_read_as_declared_types() {
        for (name, length, precision, scale, expected) in [
            ("nvarchar", 20, 0, 0, "nvarchar(10)"),
            ("nvarchar", -1, 0, 0, "nvarchar(max)"),
            ("varchar", 20, 0, 0, "varchar(20)"),
            ("numeric", 9, 18, 4, "numeric(18,4)"),
            ("datetime2", 8, 27, 7, "datetime2(7)"),
            ("timestamp", 8, 0, 0, "timestamp"),
            ("float", 8, 53, 0, "float"),
            ("hierarchyid", 892, 0, 0, "hierarchyid"),
        ] {
            let row = vec![
                Value::from(name),
                Value::SmallInt(length),
                Value::TinyInt(precision),
                Value::TinyInt(scale),
            ];
            let rows = rows(
                &["type_name", "max_length", "type_precision", "type_scale"],
                vec![row],
            );
            assert_eq!(declared(&rows.one().unwrap()).unwrap(), expected);
        }
    }

    #[test]
    fn index_columns_are_grouped_in_order() {
        let columns = [
            "index_id",
            "index_name",
            "is_unique",
            "is_primary_key",
            "is_clustered",
            "has_filter",
            "is_disabled",
            "ignores_duplicates",
            "column_name",
            "is_descending_key",
        ];
        let row = |id: i32, name: &str, column: &str, descending: bool| {
            let flag = Value::Bit(id == 1);
            let off = Value::Bit(false);
            vec![
                Value::Int(id),
                name.into(),
                flag.clone(),
                flag.clone(),
                flag,
                off.clone(),
                off.clone(),
                off,
                column.into(),
                Value::Bit(descending),
            ]
        };
        let rows = rows(
            &columns,
            vec![
                row(1, "pk", "b", false),
                row(1, "pk", "a", true),
                row(2, "ix", "a", false),
            ],
        );
        let indexes = group_indexes(&rows).unwrap();
        assert_eq!(indexes.len(), 2);
        assert_eq!(
            indexes[0].columns,
            [("b".to_owned(), false), ("a".to_owned(), true)]
        );
        assert!(indexes[0].primary_key && !indexes[1].unique);
    }
}
