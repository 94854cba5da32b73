//! What became of keys that lost a row for which none of the same key came.
//!
//! Iceberg does not keep a key from being held twice, nor from being spelled in several ways: the newer snapshot may have other rows of
//! it. So the keys are looked up there. The rows that it has are told, for a target may hold the one that went in their place; a key of
//! which it has no row of the very same bytes is deleted.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use futures::TryStreamExt;
use iceberg_table::KeyFold;
use model::{ChangeBatch, Error, Op, Presence, Result, RowHash, TableName, TableSchema};

use crate::file_lists::FileList;
use crate::file_scan::{FilePart, FileScan};
use crate::snapshot_diff::Changes;

/// About what a key takes in memory while it is looked up.
const KEY_BYTES: usize = 256;

/// A comparison of two snapshots, as far as such keys are concerned.
pub(crate) struct Bereft<'a> {
    pub(crate) table: &'a TableName,
    pub(crate) schema: &'a Arc<TableSchema>,
    pub(crate) fold: &'a KeyFold,
    pub(crate) scan: &'a Arc<FileScan>,
    /// The newer snapshot.
    pub(crate) after: &'a FileList,
    /// About how many bytes the keys may take that are looked up at a time.
    pub(crate) memory: usize,
}

impl Bereft<'_> {
    /// Sends the rows that are there, and what is gone. `removed` are rows of the older snapshot.
    pub(crate) async fn tell(&self, removed: Vec<FilePart>, output: &mut Changes<'_>) -> Result<()> {
        let there = self.tell_rows(removed.clone(), output).await?;
        let mut removed = self.scan.read(removed);
        while let Some((_, batch)) = removed.try_next().await? {
            let keys = self.keys(&batch.rows)?;
            let gone: BooleanArray = keys.iter().map(|key| Some(!there.contains(key))).collect();
            let rows = filter_record_batch(&batch.rows, &gone)
                .map_err(|error| Error::internal("cannot filter removed rows").caused_by(error))?;
            self.send(rows, Op::Delete, output).await?;
        }
        Ok(())
    }

    /// Sends the newer snapshot's rows of the removed rows' keys, and returns their keys, byte for byte.
    async fn tell_rows(&self, removed: Vec<FilePart>, output: &mut Changes<'_>) -> Result<HashSet<RowHash>> {
        let most = (self.memory / KEY_BYTES).max(1);
        let mut removed = self.scan.only(self.schema.key())?.read(removed);
        let (mut there, mut keys, mut held) = (HashSet::new(), Vec::new(), 0);
        while let Some((_, batch)) = removed.try_next().await? {
            held += batch.rows.num_rows();
            keys.push(batch.rows);
            if held >= most {
                there.extend(self.look_up(std::mem::take(&mut keys), output).await?);
                held = 0;
            }
        }
        there.extend(self.look_up(keys, output).await?);
        Ok(there)
    }

    async fn look_up(&self, keys: Vec<RecordBatch>, output: &mut Changes<'_>) -> Result<Vec<RowHash>> {
        let Some(first) = keys.first() else {
            return Ok(Vec::new());
        };
        let keys = concat_batches(first.schema_ref(), &keys)
            .map_err(|error| Error::internal("keys to look up do not fit together").caused_by(error))?;
        let mut there = Vec::new();
        let mut rows = self
            .scan
            .read(self.scan.with_keys(self.after, self.schema, &keys).await?);
        while let Some((_, batch)) = rows.try_next().await? {
            there.extend(self.keys(&batch.rows)?);
            self.send(batch.rows, Op::Upsert, output).await?;
        }
        Ok(there)
    }

    fn keys(&self, rows: &RecordBatch) -> Result<Vec<RowHash>> {
        let keys = rows
            .project(self.schema.key())
            .map_err(|error| Error::internal("rows do not have the key's columns").caused_by(error))?;
        let hashes = self.fold.hashes(&keys)?;
        Ok(hashes.into_iter().map(|key| key.exact).collect())
    }

    async fn send(&self, rows: RecordBatch, op: Op, output: &mut Changes<'_>) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let (table, schema) = (self.table.clone(), self.schema.clone());
        output
            .send(ChangeBatch::uniform(table, schema, rows, op, Presence::Unknown)?)
            .await
    }
}
