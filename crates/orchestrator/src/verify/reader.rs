//! Reads one side in the layout of the first.

use std::pin::Pin;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_schema::Schema;
use futures::{Stream, StreamExt};
use model::{Batches, Error, ErrorKind, Result, Selection, TableSchema};

use super::layout::Layout;
use super::{Side, lacks};

pub(super) struct Reader<'a> {
    pub(super) side: &'a Side,
    schema: Arc<TableSchema>,
    /// The layout's columns, by their indexes here.
    columns: Vec<usize>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(side: &'a Side, schema: Arc<TableSchema>, layout: &Layout) -> Result<Self> {
        let columns = layout
            .columns()
            .iter()
            .map(|name| schema.arrow().index_of(name).map_err(|_| lacks(side, name)))
            .collect::<Result<_>>()?;
        Ok(Self {
            side,
            schema,
            columns,
        })
    }

    /// Rows with the layout's columns.
    pub(super) async fn read(
        &self,
        selection: Selection,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>> {
        let rows = self
            .side
            .source
            .read(&self.side.table, &self.schema, selection, None)
            .await?;
        let columns = self.columns.clone();
        Ok(Box::pin(rows.map(move |batch| {
            let projected = batch?.rows.project(&columns);
            projected
                .map_err(|e| Error::internal("a column is missing in the rows that were read").caused_by(e))
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
        if self.schema.key().len() != keys.num_columns() {
            return Ok(None);
        }
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for &index in self.schema.key() {
            let field = self.schema.arrow().field(index);
            let Some(column) = keys.column_by_name(field.name()) else {
                return Ok(None);
            };
            let column = cast(column, field.data_type())
                .map_err(|e| Error::internal("a key cannot be looked up on another side").caused_by(e))?;
            fields.push(field.clone());
            columns.push(column);
        }
        let selected = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
        selected
            .map(Some)
            .map_err(|e| Error::internal("keys do not fit their schema").caused_by(e))
    }
}
