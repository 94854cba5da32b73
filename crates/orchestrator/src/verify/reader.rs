//! Reads one side in the layout of the first.

use std::pin::Pin;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::display::FormatOptions;
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::filter::filter_record_batch;
use futures::{Stream, StreamExt};
use model::{Batches, Error, ErrorKind, KeyRange, Result, Selection, TableSchema, column_like};

use super::layout::{Layout, common_type};
use super::{Side, lacks};

pub(super) struct Reader<'a> {
    pub(super) side: &'a Side,
    schema: Arc<TableSchema>,
    /// The layout's columns.
    columns: Vec<Compared>,
    /// The keys that are compared, if not all.
    range: Option<KeyRange>,
}

/// A column of the layout.
#[derive(Clone)]
struct Compared {
    /// Its name there.
    name: String,
    /// Its index here.
    place: usize,
    /// The type to compare it in, if that is another than here.
    cast: Option<DataType>,
}

/// What does not fit is an error, and not NULL.
const EXACT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};

impl<'a> Reader<'a> {
    pub(super) fn new(
        side: &'a Side,
        schema: Arc<TableSchema>,
        layout: &Layout,
        range: Option<&KeyRange>,
    ) -> Result<Self> {
        let columns = layout.columns().iter().zip(layout.types()).map(|(name, ty)| {
            let place = column_like(schema.arrow(), name).ok_or_else(|| lacks(side, name))?;
            let common = common_type(schema.arrow().field(place).data_type(), ty);
            Ok(Compared {
                name: name.clone(),
                place,
                cast: common.filter(|common| common == ty),
            })
        });
        let columns = columns.collect::<Result<_>>()?;
        let end = |end: Option<&RecordBatch>| {
            // In the order of the first side's key. A key that begins with other columns has no such range.
            let names = end.map(RecordBatch::schema_ref).into_iter();
            let names: Vec<&str> = names
                .flat_map(|end| end.fields())
                .map(|f| f.name().as_str())
                .collect();
            end.map(|end| typed(&schema, end, &names)).transpose()
        };
        let range = range.map(|range| KeyRange::new(&schema, end(range.from())?, end(range.to())?));
        Ok(Self {
            side,
            range: range.transpose()?,
            schema,
            columns,
        })
    }

    /// Rows with the layout's columns, of the keys that are compared.
    pub(super) async fn read(
        &self,
        selection: Selection,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>> {
        let selection = match (selection, &self.range) {
            (Selection::All, Some(range)) => Selection::Between(range.clone()),
            (selection, _) => selection,
        };
        let rows = self
            .side
            .source
            .read(&self.side.table, &self.schema, selection, None)
            .await?;
        let (columns, range) = (self.columns.clone(), self.range.clone());
        Ok(Box::pin(rows.map(move |batch| {
            let rows = batch?.rows;
            let Some(range) = &range else {
                return in_layout(&rows, &columns);
            };
            let rows = filter_record_batch(&rows, &range.within(&rows)?)
                .map_err(|e| Error::internal("rows cannot be filtered by key").caused_by(e))?;
            in_layout(&rows, &columns)
        })))
    }

    /// Those of the keys that this side does not have and that others keep by its policy; `None` if it has no policy.
    pub(super) async fn kept(&self, keys: &RecordBatch) -> Result<Option<Batches>> {
        let Some(keys) = self.typed(keys)? else {
            return Ok(None);
        };
        let selection = Selection::KeptKeys(keys);
        let read = self
            .side
            .source
            .read(&self.side.table, &self.schema, selection, None);
        match read.await {
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
            read => read.map(Some),
        }
    }

    /// A selection of the rows with these keys; `None` if this side has another key.
    pub(super) fn keys(&self, keys: &RecordBatch) -> Result<Option<Selection>> {
        Ok(self.typed(keys)?.map(Selection::Keys))
    }

    /// The keys with this side's types and key order.
    fn typed(&self, keys: &RecordBatch) -> Result<Option<RecordBatch>> {
        let key = self.schema.key_names();
        let has = |name: &&str| column_like(keys.schema_ref(), name).is_some();
        if key.len() != keys.num_columns() || !key.iter().all(has) {
            return Ok(None);
        }
        typed(&self.schema, keys, &key).map(Some)
    }
}

/// The layout's columns of what was read, by the layout's names.
fn in_layout(rows: &RecordBatch, columns: &[Compared]) -> Result<RecordBatch> {
    let failed = |e| Error::internal("what was read cannot be compared").caused_by(e);
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for column in columns {
        let there = rows.columns().get(column.place);
        let there = there.ok_or_else(|| Error::internal("a column is missing in the rows that were read"))?;
        let array = match &column.cast {
            Some(ty) => cast_with_options(there, ty, &EXACT).map_err(failed)?,
            None => there.clone(),
        };
        fields.push(Field::new(&column.name, array.data_type().clone(), true));
        arrays.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(failed)
}

/// These columns of `keys` with the types of `schema`.
fn typed(schema: &TableSchema, keys: &RecordBatch, names: &[&str]) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for name in names {
        let field = column_like(schema.arrow(), name).map(|place| &schema.arrow().fields()[place]);
        let column = column_like(keys.schema_ref(), name).map(|place| keys.column(place));
        let Some((field, column)) = field.zip(column) else {
            return Err(Error::internal(format!("a side has no key column {name:?}")));
        };
        let column = cast(column, field.data_type())
            .map_err(|e| Error::internal("a key cannot be looked up on another side").caused_by(e))?;
        fields.push(field.clone());
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| Error::internal("keys do not fit their schema").caused_by(e))
}
