//! The difference of two snapshots as changes by key.
//!
//! It is computed from what the snapshots hold, whatever led from the one to the other: rows removed (in files that are gone, or
//! deleted since) against rows added (in new files, or deleted no longer), paired by key; a pair with equal hashes is no change. What
//! becomes of the keys of removed rows without a partner, [`Bereft`] tells.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt;
use iceberg_table::{KeyFold, LiveFile, RowRanges};
use model::{ChangeBatch, Position, Presence, Result, SourceEvent, TableName, TableSchema};

use crate::background::Output;
use crate::bereft::Bereft;
use crate::file_lists::FileList;
use crate::file_scan::{FilePart, FileScan};
use crate::row_pairing::{Pass, REMOVED_BYTES, RowPairing};

/// Two snapshots of a table to compare.
pub(crate) struct SnapshotDiff {
    pub(crate) table: TableName,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) scan: Arc<FileScan>,
    pub(crate) before: FileList,
    pub(crate) after: FileList,
    /// What a commit may claim after some of the changes; `None` if they can only be taken together.
    pub(crate) on_the_way: Option<Position>,
    /// What it may claim after all of them.
    pub(crate) end: Position,
    /// About how many bytes the removed rows may take at a time; more of them take another pass over the rows.
    pub(crate) memory: usize,
}

/// Where the changes go.
pub(crate) struct Changes<'a> {
    output: &'a Output<SourceEvent>,
    on_the_way: Option<Position>,
    bytes: usize,
    /// After about so many bytes a commit is allowed on the way.
    bytes_per_boundary: usize,
}

impl<'a> Changes<'a> {
    /// Changes after some of which a commit may claim `on_the_way`. `memory` is what a comparison may take, a part of which is what
    /// is told between two commits.
    pub(crate) fn new(output: &'a Output<SourceEvent>, on_the_way: Option<Position>, memory: usize) -> Self {
        Self {
            output,
            on_the_way,
            bytes: 0,
            bytes_per_boundary: memory / 6,
        }
    }

    pub(crate) async fn send(&mut self, batch: ChangeBatch) -> Result<()> {
        self.bytes += batch.rows.get_array_memory_size();
        self.output.send(SourceEvent::Changes(batch)).await?;
        match self.on_the_way.clone() {
            Some(at) if self.bytes >= self.bytes_per_boundary => self.boundary(at).await,
            _ => Ok(()),
        }
    }

    async fn boundary(&mut self, at: Position) -> Result<()> {
        self.bytes = 0;
        self.output.send(SourceEvent::Boundary { at }).await
    }
}

/// Where the rows are that only one of two snapshots has.
#[derive(Debug, Default)]
struct Moved {
    removed: Vec<FilePart>,
    added: Vec<FilePart>,
}

impl SnapshotDiff {
    /// Sends the changes that lead from `before` to `after`: each key once, unless it is held twice or spelled anew.
    pub(crate) async fn run(self, output: &Output<SourceEvent>) -> Result<()> {
        let mut output = Changes::new(output, self.on_the_way.clone(), self.memory);
        let moved = self.moved().await?;
        let removed: u64 = moved.removed.iter().map(FilePart::rows_at_most).sum();
        let rows_per_pass = (self.memory / REMOVED_BYTES).max(1) as u64;
        let passes = removed.div_ceil(rows_per_pass).max(1);
        tracing::debug!(
            table = %self.table,
            removed_parts = moved.removed.len(),
            added_parts = moved.added.len(),
            passes,
            "comparing two snapshots"
        );
        for number in 0..passes {
            self.pass(&moved, Pass { number, of: passes }, &mut output)
                .await?;
        }
        output.boundary(self.end).await
    }

    async fn pass(&self, moved: &Moved, pass: Pass, output: &mut Changes<'_>) -> Result<()> {
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
                output.send(batch).await?;
            }
        }
        let unpaired = pairing.unpaired().into_iter().map(|(part, positions)| FilePart {
            file: moved.removed[part].file.clone(),
            rows: Some(RowRanges::of_sorted(positions)),
        });
        let bereft = Bereft {
            table: &self.table,
            schema: &self.schema,
            fold: &fold,
            scan: &self.scan,
            after: &self.after,
            memory: self.memory,
        };
        bereft.tell(unpaired.collect(), output).await
    }

    async fn moved(&self) -> Result<Moved> {
        let mut before: HashMap<&str, &Arc<LiveFile>> = self
            .before
            .iter()
            .map(|file| (file.path.as_ref(), file))
            .collect();
        let mut moved = Moved::default();
        for file in self.after.iter() {
            match before.remove(file.path.as_ref()) {
                None => moved.added.push(FilePart::live(file.clone())),
                Some(older) => self.compare_deletes(older, file, &mut moved).await?,
            }
        }
        moved
            .removed
            .extend(before.into_values().cloned().map(FilePart::live));
        Ok(moved)
    }

    /// A file that both snapshots have: rows deleted since are removed, rows deleted no longer are added.
    async fn compare_deletes(
        &self,
        older: &Arc<LiveFile>,
        newer: &Arc<LiveFile>,
        moved: &mut Moved,
    ) -> Result<()> {
        if older.deletes == newer.deletes {
            return Ok(());
        }
        let deleted_before = self.scan.deleted(older).await?;
        let deleted_after = self.scan.deleted(newer).await?;
        let only_in = |these: Vec<u64>, others: &[u64]| {
            let only = these
                .into_iter()
                .filter(|position| others.binary_search(position).is_err());
            Some(RowRanges::of_sorted(only)).filter(|rows| !rows.is_empty())
        };
        let removed = only_in(deleted_after.clone(), &deleted_before);
        let added = only_in(deleted_before, &deleted_after);
        moved.removed.extend(removed.map(|rows| FilePart {
            file: older.clone(),
            rows: Some(rows),
        }));
        moved.added.extend(added.map(|rows| FilePart {
            file: newer.clone(),
            rows: Some(rows),
        }));
        Ok(())
    }
}
