//! The difference of two snapshots as changes by key.
//!
//! It is computed from what the snapshots hold, whatever led from the one to the other: rows removed (in files that are gone, or
//! deleted since) against rows added (in new files, or deleted no longer), paired by key; a pair with equal hashes is no change.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt;
use iceberg::spec::SnapshotRef;
use iceberg_table::{KeyFold, LiveFile, RowRanges, live_files};
use model::{ChangeBatch, Op, Presence, Result, SourceEvent, TableName, TableSchema};

use crate::background::Output;
use crate::file_scan::{FilePart, FileScan};
use crate::row_pairing::{Pass, RowPairing};

/// Removed rows that are held in memory at a time, 48 bytes each; more take another pass over the rows.
const ROWS_PER_PASS: u64 = 2_000_000;

/// Two snapshots of a table to compare.
pub(crate) struct SnapshotDiff {
    pub(crate) table: TableName,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) scan: Arc<FileScan>,
    pub(crate) before: Option<SnapshotRef>,
    pub(crate) after: Option<SnapshotRef>,
}

/// Where the rows are that only one of two snapshots has.
#[derive(Debug, Default)]
struct Moved {
    removed: Vec<FilePart>,
    added: Vec<FilePart>,
}

impl SnapshotDiff {
    /// Sends the changes that lead from `before` to `after`, each key once.
    pub(crate) async fn run(self, output: &Output<SourceEvent>) -> Result<()> {
        self.run_in_passes(output, ROWS_PER_PASS).await
    }

    async fn run_in_passes(self, output: &Output<SourceEvent>, rows_per_pass: u64) -> Result<()> {
        let moved = self.moved().await?;
        let removed: u64 = moved.removed.iter().map(FilePart::rows_at_most).sum();
        let passes = removed.div_ceil(rows_per_pass).max(1);
        tracing::debug!(
            table = %self.table,
            removed_parts = moved.removed.len(),
            added_parts = moved.added.len(),
            passes,
            "comparing two snapshots"
        );
        for number in 0..passes {
            self.pass(&moved, Pass { number, of: passes }, output).await?;
        }
        Ok(())
    }

    async fn pass(&self, moved: &Moved, pass: Pass, output: &Output<SourceEvent>) -> Result<()> {
        let fold = KeyFold::of(&self.schema);
        let mut pairing = RowPairing::new(&self.schema, &fold, pass);
        let mut removed = self.scan.read(moved.removed.clone());
        while let Some((part, batch)) = removed.try_next().await? {
            pairing.remove(part, &batch)?;
        }
        pairing.seal();
        let mut added = self.scan.read(moved.added.clone());
        while let Some((_, batch)) = added.try_next().await? {
            let (rows, ops) = pairing.add(&batch.rows)?;
            if rows.num_rows() > 0 {
                let (table, schema) = (self.table.clone(), self.schema.clone());
                let batch = ChangeBatch::new(table, schema, rows, ops, Presence::Unknown)?;
                output.send(SourceEvent::Changes(batch)).await?;
            }
        }
        let deleted = pairing.deleted().into_iter().map(|(part, positions)| FilePart {
            file: moved.removed[part].file.clone(),
            rows: Some(RowRanges::of_sorted(positions)),
        });
        let mut deleted = self.scan.read(deleted.collect());
        while let Some((_, batch)) = deleted.try_next().await? {
            let (table, schema) = (self.table.clone(), self.schema.clone());
            let batch = ChangeBatch::uniform(table, schema, batch.rows, Op::Delete, Presence::Unknown)?;
            output.send(SourceEvent::Changes(batch)).await?;
        }
        Ok(())
    }

    async fn moved(&self) -> Result<Moved> {
        let mut before: HashMap<Arc<str>, Arc<LiveFile>> = self
            .files(self.before.as_ref())
            .await?
            .into_iter()
            .map(|file| (file.path.clone(), file))
            .collect();
        let mut moved = Moved::default();
        for file in self.files(self.after.as_ref()).await? {
            match before.remove(&file.path) {
                None => moved.added.push(FilePart::live(file)),
                Some(older) => self.compare_deletes(older, file, &mut moved).await?,
            }
        }
        moved.removed.extend(before.into_values().map(FilePart::live));
        Ok(moved)
    }

    async fn files(&self, snapshot: Option<&SnapshotRef>) -> Result<Vec<Arc<LiveFile>>> {
        match snapshot {
            Some(snapshot) => live_files(self.scan.table().table(), snapshot).await,
            None => Ok(Vec::new()),
        }
    }

    /// A file that both snapshots have: rows deleted since are removed, rows deleted no longer are added.
    async fn compare_deletes(
        &self,
        older: Arc<LiveFile>,
        newer: Arc<LiveFile>,
        moved: &mut Moved,
    ) -> Result<()> {
        if older.deletes == newer.deletes {
            return Ok(());
        }
        let deleted_before = self.scan.deleted(&older).await?;
        let deleted_after = self.scan.deleted(&newer).await?;
        let only_in = |these: Vec<u64>, others: &[u64]| {
            let only = these
                .into_iter()
                .filter(|position| others.binary_search(position).is_err());
            Some(RowRanges::of_sorted(only)).filter(|rows| !rows.is_empty())
        };
        let removed = only_in(deleted_after.clone(), &deleted_before);
        let added = only_in(deleted_before, &deleted_after);
        moved.removed.extend(removed.map(|rows| FilePart {
            file: older,
            rows: Some(rows),
        }));
        moved.added.extend(added.map(|rows| FilePart {
            file: newer,
            rows: Some(rows),
        }));
        Ok(())
    }
}
