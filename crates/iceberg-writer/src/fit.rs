//! Delivered rows in the columns of the table: what the table lacks is left out, and what it has wider is widened.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{Field, Schema};
use iceberg_table::{iceberg_schema, table_schema};
use model::{ChangeBatch, Error, ErrorKind, Result, TableName, TableSchema};

use crate::schema_changes::{SchemaPolicy, is_promotion};

/// How delivered rows become rows of a table.
#[derive(Debug)]
pub(crate) struct Fit {
    /// The delivered columns that the table takes, in its types.
    pub(crate) schema: Arc<TableSchema>,
    /// The indexes of these columns; `None` if rows fit as they are.
    columns: Option<Vec<usize>>,
}

impl Fit {
    /// Fits `delivered` to the columns of `have`, which are those of the table with this name.
    ///
    /// # Errors
    ///
    /// `SchemaMismatch` if a column does not fit and the policy does not let it be left out: then somebody changed the table since it was
    /// prepared.
    pub(crate) fn new(
        table: &TableName,
        have: &iceberg::spec::Schema,
        delivered: &Arc<TableSchema>,
        policy: SchemaPolicy,
    ) -> Result<Self> {
        let present = table_schema(have, &HashMap::new())?;
        let wanted = iceberg_schema(delivered)?;
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for (index, field) in delivered.arrow().fields().iter().enumerate() {
            let of_source = wanted.as_struct().field_by_name(field.name());
            let of_table = have.as_struct().field_by_name(field.name());
            let fitted = of_source.zip(of_table).and_then(|(source, table)| {
                let arrow = if source.field_type == table.field_type {
                    field.as_ref()
                } else if policy != SchemaPolicy::Exception
                    && is_promotion(&source.field_type, &table.field_type)
                {
                    present.arrow().field_with_name(field.name()).ok()?
                } else {
                    return None;
                };
                // What the source always delivers may be missing in rows from before.
                let nullable = field.is_nullable() || !table.required;
                Some(arrow.clone().with_nullable(nullable))
            });
            match fitted {
                Some(field) => {
                    columns.push(index);
                    fields.push(field);
                }
                None if policy.leaves_out() && !delivered.key().contains(&index) => {}
                None => {
                    return Err(Error::new(
                        ErrorKind::SchemaMismatch,
                        "a delivered column does not fit the Iceberg table",
                    )
                    .with("table", table)
                    .with("column", field.name())
                    .hint("run again: the table is prepared anew"));
                }
            }
        }
        if !policy.leaves_out() && columns.len() < have.as_struct().fields().len() {
            return Err(Error::new(
                ErrorKind::SchemaMismatch,
                "the Iceberg table has columns that are not delivered",
            )
            .with("table", table)
            .hint("run again: the table is prepared anew"));
        }
        let arrow = Schema::new(fields);
        let same_type = |(index, field): (&usize, &Arc<Field>)| {
            delivered.arrow().field(*index).data_type() == field.data_type()
        };
        let fits_as_it_is = columns.len() == delivered.arrow().fields().len()
            && columns.iter().zip(arrow.fields()).all(same_type);
        let key = delivered
            .key()
            .iter()
            .filter_map(|index| columns.iter().position(|kept| kept == index))
            .collect();
        let declared = columns
            .iter()
            .map(|index| delivered.declared().get(*index).cloned().flatten())
            .collect();
        Ok(Self {
            schema: TableSchema::new(Arc::new(arrow), key, declared)?,
            columns: (!fits_as_it_is).then_some(columns),
        })
    }

    /// A delivered batch as rows of the table.
    ///
    /// # Errors
    ///
    /// `Data` if a value does not survive.
    pub(crate) fn batch(&self, batch: ChangeBatch) -> Result<ChangeBatch> {
        let Some(columns) = &self.columns else {
            return Ok(batch);
        };
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let shape = self.schema.relaxed();
        let fitted = columns.iter().zip(shape.fields()).map(|(index, field)| {
            cast_with_options(batch.rows.column(*index), field.data_type(), &options).map_err(|e| {
                Error::new(
                    ErrorKind::Data,
                    "a value does not fit the column of the Iceberg table",
                )
                .with("column", field.name())
                .caused_by(e)
            })
        });
        let fitted = fitted.collect::<Result<Vec<_>>>()?;
        let rows = RecordBatch::try_new(shape, fitted)
            .map_err(|e| Error::new(ErrorKind::Data, "rows do not fit the table").caused_by(e))?;
        let (table, schema) = (batch.table, self.schema.clone());
        let fitted = ChangeBatch::new(table, schema, rows, batch.ops, batch.presence)?;
        Ok(ChangeBatch {
            asked_back: batch.asked_back,
            ..fitted
        })
    }
}
