//! One table on one target, and what the checks do with it.

use std::sync::Arc;

use arrow_array::Int8Array;
use futures::stream;
use model::{
    BatchId, Batches, ChangeBatch, ChangeSink, Commit, CommitOutcome, Committed, Epoch, Mark, Op, Position,
    Prepare, Presence, Receipt, Replace, StageOutcome, Staged, SyncId, TableName, TableSchema,
};

use super::SinkUnderTest;
use crate::{SampleRow, sample_batch, sample_rows, sample_schema};

pub(super) struct Case {
    pub(super) place: Box<dyn SinkUnderTest>,
    pub(super) sink: Arc<dyn ChangeSink>,
    pub(super) sync: SyncId,
    pub(super) table: TableName,
    pub(super) schema: Arc<TableSchema>,
}

impl Case {
    pub(super) async fn new(place: Box<dyn SinkUnderTest>, keyed: bool) -> Self {
        let (sink, table) = (place.open().await, place.table());
        let case = Self {
            place,
            sink,
            sync: SyncId::new("conformance/dbo.Sample/to"),
            table,
            schema: sample_schema(keyed),
        };
        let prepared = case
            .sink
            .prepare(&case.prepare())
            .await
            .expect("the table is created");
        assert!(prepared.created);
        case
    }

    pub(super) fn prepare(&self) -> Prepare {
        Prepare {
            sync: self.sync.clone(),
            table: self.table.clone(),
            schema: self.schema.clone(),
            create: true,
            replace: false,
            adopt: false,
            dry_run: false,
        }
    }

    pub(super) async fn committed(&self) -> Committed {
        let newest = self.sink.committed(&self.sync, &self.table).await;
        newest.expect("the target tells how far it has got")
    }

    pub(super) async fn rows(&self) -> Vec<SampleRow> {
        sample_rows(&self.place.rows(&self.table).await)
    }

    pub(super) async fn stage(&self, changes: &[(Op, SampleRow)], presence: Presence) -> StageOutcome {
        let staged = self.stage_batches(self.batches(changes, presence)).await;
        assert_eq!(staged.read, changes.len() as u64, "rows taken from the stream");
        staged
    }

    pub(super) async fn stage_batches(&self, batches: Batches) -> StageOutcome {
        let staged = self
            .sink
            .stage(&self.sync, &self.table, &self.schema, batches)
            .await;
        staged.expect("rows are staged")
    }

    /// Stages new rows for a commit of their own.
    pub(super) async fn stage_alone(&self, rows: &[(Op, SampleRow)]) -> StageOutcome {
        let batches = self.batches(rows, Presence::Absent);
        let staged = self
            .sink
            .stage_alone(&self.sync, &self.table, &self.schema, batches)
            .await;
        let staged = staged.expect("rows are staged");
        assert_eq!(staged.read, rows.len() as u64, "rows taken from the stream");
        staged
    }

    fn batches(&self, changes: &[(Op, SampleRow)], presence: Presence) -> Batches {
        let batches: Vec<_> = changes.chunks(2).map(|part| self.batch(part, presence)).collect();
        Box::pin(stream::iter(batches.into_iter().map(Ok)))
    }

    pub(super) fn batch(&self, changes: &[(Op, SampleRow)], presence: Presence) -> ChangeBatch {
        let rows: Vec<_> = changes.iter().map(|(_, row)| row.clone()).collect();
        let ops: Int8Array = changes.iter().map(|(op, _)| Some(*op as i8)).collect();
        let batch = ChangeBatch::new(
            self.table.clone(),
            self.schema.clone(),
            sample_batch(&rows),
            ops,
            presence,
        );
        batch.expect("the batch fits the sample schema")
    }

    /// A commit on what the target says now.
    pub(super) async fn next(&self, batch: &str, mark: Mark, staged: Vec<Staged>) -> Commit {
        let newest = self.committed().await;
        Commit {
            sync: self.sync.clone(),
            table: self.table.clone(),
            schema: self.schema.clone(),
            batch: BatchId::new(batch),
            epoch: Epoch(1).max(newest.epoch),
            after: newest.mark,
            mark,
            staged,
            replace: Replace::No,
            moment: None,
        }
    }

    pub(super) async fn commit(&self, commit: &Commit) -> Receipt {
        match self.sink.commit(commit).await {
            Ok(CommitOutcome::Committed(receipt)) => receipt,
            other => panic!("committing {} ended as {other:?}", commit.batch),
        }
    }

    /// Stages and commits upserts.
    pub(super) async fn apply(
        &self,
        batch: &str,
        changes: &[(Op, SampleRow)],
        presence: Presence,
    ) -> (StageOutcome, Receipt) {
        let staged = self.stage(changes, presence).await;
        let commit = self.next(batch, at(batch), staged.staged.clone()).await;
        let receipt = self.commit(&commit).await;
        (staged, receipt)
    }

    /// Expects a conflict, and that it changed nothing.
    pub(super) async fn conflicts(&self, commit: &Commit) -> Committed {
        let (rows, before) = (self.rows().await, self.committed().await);
        let outcome = self.sink.commit(commit).await;
        let Ok(CommitOutcome::Conflict { newest }) = outcome else {
            panic!("a commit that must conflict ended as {outcome:?}");
        };
        assert_eq!(newest, before, "the conflict tells what the target says");
        assert_eq!(self.rows().await, rows, "a conflict changed rows");
        assert_eq!(self.committed().await, before, "a conflict moved the mark");
        newest
    }
}

pub(super) fn at(value: &str) -> Mark {
    Mark::At(position(value))
}

pub(super) fn position(value: &str) -> Position {
    Position {
        kind: "sample".into(),
        incarnation: "i".into(),
        value: value.into(),
        label: value.into(),
        late_micros: 0,
        lacks: Vec::new(),
    }
}

pub(super) fn inserts(ids: impl IntoIterator<Item = i32>) -> Vec<(Op, SampleRow)> {
    ids.into_iter()
        .map(|id| {
            (
                Op::Insert,
                SampleRow::new(id, &format!("row {id}"), i64::from(id)),
            )
        })
        .collect()
}

pub(super) fn rows_of(changes: &[(Op, SampleRow)]) -> Vec<SampleRow> {
    changes.iter().map(|(_, row)| row.clone()).collect()
}
