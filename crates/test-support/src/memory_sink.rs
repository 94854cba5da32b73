//! A target in memory that commits rows and mark in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use model::{
    Batches, ChangeBatch, ChangeSink, Commit, CommitOutcome, Committed, Error, ErrorKind, Op, Prepare,
    Prepared, Presence, Receipt, Replace, Result, RowEncoder, StageOutcome, Staged, SyncId, TableName,
    TableSchema,
};
use tokio::task::yield_now;

use crate::{SampleRow, sample_rows};

/// A rule of the sink's contract that a test may switch off, to show what the rule is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkRule {
    /// A commit happens only on the mark that it was built on.
    CompareMark,
    /// A commit with an older epoch is refused.
    CompareEpoch,
    /// A batch that is applied already is not applied again.
    RecogniseBatch,
    /// Rows that are perhaps identical are compared with what is there.
    DropIdentical,
}

/// A target in memory. Clones share their contents, as processes share a database.
///
/// It looks for existing rows only as far as [`Presence`] asks for, so a row that a wrong presence lets in twice is
/// there twice. A commit that gives a key twice, or rows that were discarded, is refused as a defect; rows that are
/// discarded although they were committed are gone, as a table's files would be.
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    contents: Arc<Mutex<Contents>>,
    off: Vec<SinkRule>,
    alone: bool,
}

#[derive(Debug, Default)]
struct Contents {
    tables: BTreeMap<TableName, Table>,
    staged: BTreeMap<u64, Vec<StagedRow>>,
    next_staged: u64,
    /// What was staged alone and waits for its commit.
    open: BTreeMap<(SyncId, TableName), u64>,
    /// What was staged alone and has come too late for its commit.
    rolled_back: BTreeSet<u64>,
    rests: u64,
}

#[derive(Debug, Default)]
struct Table {
    schema: Option<Arc<TableSchema>>,
    committed: BTreeMap<SyncId, (Committed, Receipt)>,
    rows: Vec<Row>,
    commits: u64,
}

#[derive(Debug, Clone)]
struct Row {
    /// What it was staged as, as a row is in the file that it was written to.
    staged: Option<u64>,
    key: Vec<u8>,
    encoding: Vec<u8>,
    row: RecordBatch,
}

#[derive(Debug, Clone)]
struct StagedRow {
    row: Row,
    op: Op,
    presence: Presence,
}

impl MemorySink {
    /// The same target with one rule of the contract switched off.
    pub fn without(mut self, rule: SinkRule) -> Self {
        self.off.push(rule);
        self
    }

    /// The same target, which wants rows of a first copy alone. Such rows are gone as soon as anything else is staged for their table or
    /// committed to it, as an open transaction's would be; their commit is then a conflict.
    pub fn staging_alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// The rows that a reader sees.
    pub fn batches(&self, table: &TableName) -> Vec<RecordBatch> {
        let contents = self.contents();
        let rows = contents.tables.get(table).map(|table| table.rows.clone());
        rows.unwrap_or_default().into_iter().map(|row| row.row).collect()
    }

    /// The rows that a reader sees, of a table of the sample schema, in order of `id`.
    pub fn rows(&self, table: &TableName) -> Vec<SampleRow> {
        sample_rows(&self.batches(table))
    }

    /// How many commits the table has had.
    pub fn commits(&self, table: &TableName) -> u64 {
        self.contents().tables.get(table).map_or(0, |table| table.commits)
    }

    /// How many rows are staged and neither committed nor discarded.
    pub fn staged_left(&self) -> usize {
        self.contents().staged.values().map(Vec::len).sum()
    }

    /// How many times it was told that it may rest.
    pub fn rests(&self) -> u64 {
        self.contents().rests
    }

    /// Changes the table behind the sync's back, as a foreign writer would: rows with these keys are replaced.
    pub fn write_foreign(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: &RecordBatch,
    ) -> Result<()> {
        let mut contents = self.contents();
        let table = contents.tables.entry(table.clone()).or_default();
        for row in encoded_rows(schema, rows)? {
            table.rows.retain(|have| have.key != row.key);
            table.rows.push(row);
        }
        Ok(())
    }

    /// Removes rows behind the sync's back.
    pub fn delete_foreign(&self, table: &TableName, mut gone: impl FnMut(&SampleRow) -> bool) {
        if let Some(table) = self.contents().tables.get_mut(table) {
            table
                .rows
                .retain(|row| !sample_rows(std::slice::from_ref(&row.row)).iter().any(&mut gone));
        }
    }

    fn is_on(&self, rule: SinkRule) -> bool {
        !self.off.contains(&rule)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents
            .lock()
            .expect("no test panics while it holds the sink")
    }

    /// Whether the target already holds this row, byte for byte.
    fn holds(&self, table: &TableName, row: &StagedRow) -> bool {
        let contents = self.contents();
        contents.tables.get(table).is_some_and(|table| {
            let mut same_key = table.rows.iter().filter(|have| have.key == row.row.key);
            match row.op {
                Op::Delete => same_key.next().is_none(),
                _ => same_key.any(|have| have.encoding == row.row.encoding),
            }
        })
    }

    fn commit_now(&self, commit: &Commit) -> Result<CommitOutcome> {
        let mut contents = self.contents();
        let Contents {
            tables,
            staged,
            open,
            rolled_back,
            ..
        } = &mut *contents;
        let table = tables
            .get_mut(&commit.table)
            .ok_or_else(|| not_there(&commit.table))?;
        let (have, last) = table.committed.get(&commit.sync).cloned().unwrap_or_default();
        if self.is_on(SinkRule::RecogniseBatch) && have.batch.as_ref() == Some(&commit.batch) {
            return Ok(CommitOutcome::Committed(last));
        }
        let moved = self.is_on(SinkRule::CompareMark) && have.mark != commit.after;
        let fenced = self.is_on(SinkRule::CompareEpoch) && have.epoch > commit.epoch;
        if moved || fenced {
            return Ok(CommitOutcome::Conflict { newest: have });
        }
        let ids: Vec<u64> = commit.staged.iter().filter_map(id_of).collect();
        let place = (commit.sync.clone(), commit.table.clone());
        if let Some(other) = open.remove(&place).filter(|open| !ids.contains(open)) {
            staged.remove(&other);
            rolled_back.insert(other);
        }
        if ids.iter().any(|id| rolled_back.contains(id)) {
            return Ok(CommitOutcome::Conflict { newest: have });
        }
        let rows = take_staged(staged, &ids)?;
        let mut receipt = table.apply(rows, commit.replace);
        table.commits += 1;
        receipt.reference = format!("commit-{}", table.commits);
        let now = Committed {
            mark: Some(commit.mark.clone()),
            epoch: commit.epoch,
            batch: Some(commit.batch.clone()),
            reference: Some(receipt.reference.clone()),
            added: Vec::new(),
            moment: commit.moment.clone(),
        };
        table
            .committed
            .insert(commit.sync.clone(), (now, receipt.clone()));
        Ok(CommitOutcome::Committed(receipt))
    }
}

impl Contents {
    /// Ends what was staged alone for this table and has not been committed.
    fn roll_back(&mut self, sync: &SyncId, table: &TableName) {
        if let Some(open) = self.open.remove(&(sync.clone(), table.clone())) {
            self.staged.remove(&open);
            self.rolled_back.insert(open);
        }
    }
}

impl Table {
    fn apply(&mut self, rows: Vec<StagedRow>, replace: Replace) -> Receipt {
        let mut receipt = Receipt::default();
        if replace == Replace::Table {
            receipt.deleted = self.rows.len() as u64;
            self.rows.clear();
        }
        let keyed = self.schema.as_ref().is_some_and(|schema| schema.has_key());
        for StagedRow { row, op, presence } in rows {
            let before = self.rows.len();
            if keyed && presence != Presence::Absent {
                self.rows.retain(|have| have.key != row.key);
            }
            let found = before > self.rows.len();
            match (op, found) {
                (Op::Delete, true) => receipt.deleted += 1,
                (Op::Delete, false) => {}
                (_, true) => receipt.updated += 1,
                (_, false) => receipt.inserted += 1,
            }
            if op != Op::Delete {
                self.rows.push(row);
            }
        }
        receipt
    }
}

fn id_of(staged: &Staged) -> Option<u64> {
    staged.value.as_u64()
}

fn take_staged(staged: &mut BTreeMap<u64, Vec<StagedRow>>, ids: &[u64]) -> Result<Vec<StagedRow>> {
    if ids.iter().any(|id| !staged.contains_key(id)) {
        return Err(Error::internal(
            "a commit names rows that were discarded or committed before",
        ));
    }
    let rows: Vec<StagedRow> = ids.iter().filter_map(|id| staged.remove(id)).flatten().collect();
    let mut keys = BTreeSet::new();
    if rows
        .iter()
        .any(|row| !row.row.key.is_empty() && !keys.insert(&row.row.key))
    {
        return Err(Error::internal("a commit gives one key twice"));
    }
    Ok(rows)
}

fn not_there(table: &TableName) -> Error {
    Error::new(ErrorKind::NotFound, "the table does not exist").with("table", table)
}

fn encoded_rows(schema: &TableSchema, rows: &RecordBatch) -> Result<Vec<Row>> {
    let keys = RowEncoder::new(rows, schema.key().iter().copied())?;
    let whole = RowEncoder::whole(rows)?;
    let encode = |encoder: &RowEncoder, row| {
        let mut bytes = Vec::new();
        encoder.encode(row, &mut bytes);
        bytes
    };
    Ok((0..rows.num_rows())
        .map(|row| Row {
            staged: None,
            key: encode(&keys, row),
            encoding: encode(&whole, row),
            row: rows.slice(row, 1),
        })
        .collect())
}

fn staged_rows(schema: &TableSchema, batch: &ChangeBatch) -> Result<Vec<StagedRow>> {
    let rows = encoded_rows(schema, &batch.rows)?.into_iter().enumerate();
    Ok(rows
        .map(|(i, row)| StagedRow {
            row,
            op: batch.op(i),
            presence: batch.presence,
        })
        .collect())
}

#[async_trait]
impl ChangeSink for MemorySink {
    async fn committed(&self, sync: &SyncId, table: &TableName) -> Result<Committed> {
        yield_now().await;
        let contents = self.contents();
        let table = contents.tables.get(table);
        let committed = table.and_then(|table| table.committed.get(sync));
        Ok(committed
            .map(|(committed, _)| committed.clone())
            .unwrap_or_default())
    }

    async fn prepare(&self, prepare: &Prepare) -> Result<Prepared> {
        yield_now().await;
        let mut contents = self.contents();
        let created = !contents.tables.contains_key(&prepare.table);
        if created && !prepare.create {
            return Err(not_there(&prepare.table));
        }
        let actions = if created {
            vec![format!("create {}", prepare.table)]
        } else {
            vec![]
        };
        if !prepare.dry_run {
            let table = contents.tables.entry(prepare.table.clone()).or_default();
            table.schema = Some(prepare.schema.clone());
        }
        Ok(Prepared {
            created,
            altered: false,
            actions,
            losses: vec![],
        })
    }

    async fn stage(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        mut rows: Batches,
    ) -> Result<StageOutcome> {
        self.contents().roll_back(sync, table);
        let mut outcome = StageOutcome::default();
        let mut kept = Vec::new();
        while let Some(batch) = rows.next().await {
            yield_now().await;
            let batch = batch?;
            for (i, row) in staged_rows(schema, &batch)?.into_iter().enumerate() {
                outcome.read += 1;
                let compare =
                    row.presence == Presence::PerhapsIdentical && self.is_on(SinkRule::DropIdentical);
                if compare && self.holds(table, &row) {
                    outcome.unchanged += 1;
                } else {
                    if compare && batch.asked_back {
                        outcome.not_identical.push(batch.rows.slice(i, 1));
                    }
                    kept.push(row);
                }
            }
        }
        if !kept.is_empty() {
            let mut contents = self.contents();
            let id = contents.next_staged;
            contents.next_staged += 1;
            for kept in &mut kept {
                kept.row.staged = Some(id);
            }
            outcome.staged.push(Staged {
                rows: kept.len() as u64,
                value: id.into(),
            });
            contents.staged.insert(id, kept);
        }
        Ok(outcome)
    }

    async fn stages_alone(
        &self,
        _sync: &SyncId,
        _table: &TableName,
        _schema: &Arc<TableSchema>,
    ) -> Result<bool> {
        Ok(self.alone)
    }

    async fn stage_alone(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        let rows = rows.map(|batch| match batch {
            Ok(batch) if batch.presence != Presence::Absent => {
                Err(Error::internal("rows that may be there are staged alone"))
            }
            batch => batch,
        });
        let outcome = self.stage(sync, table, schema, Box::pin(rows)).await?;
        if self.alone
            && let Some(id) = outcome.staged.first().and_then(id_of)
        {
            let mut contents = self.contents();
            contents.roll_back(sync, table);
            contents.open.insert((sync.clone(), table.clone()), id);
        }
        Ok(outcome)
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome> {
        yield_now().await;
        let outcome = self.commit_now(commit);
        // A kill here has committed, and nobody was told.
        yield_now().await;
        outcome
    }

    async fn discard(&self, staged: Vec<Staged>) -> Result<()> {
        let mut contents = self.contents();
        for id in staged.iter().filter_map(id_of) {
            contents.staged.remove(&id);
            contents.open.retain(|_, open| *open != id);
            for table in contents.tables.values_mut() {
                table.rows.retain(|row| row.staged != Some(id));
            }
        }
        Ok(())
    }

    fn rest(&self) {
        self.contents().rests += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SinkUnderTest, sink_conformance};

    #[async_trait]
    impl SinkUnderTest for MemorySink {
        async fn open(&self) -> Arc<dyn ChangeSink> {
            Arc::new(self.clone())
        }

        async fn rows(&self, table: &TableName) -> Vec<RecordBatch> {
            self.batches(table)
        }
    }

    async fn conforms(sink: fn() -> MemorySink) {
        sink_conformance(|| async move { Box::new(sink()) as Box<dyn SinkUnderTest> }).await;
    }

    #[tokio::test]
    async fn the_sink_in_memory_keeps_the_contract() {
        conforms(MemorySink::default).await;
    }

    #[tokio::test]
    async fn so_does_one_that_wants_first_copies_alone() {
        conforms(|| MemorySink::default().staging_alone()).await;
    }

    #[tokio::test]
    async fn the_suite_finds_each_rule_that_is_switched_off() {
        let broken: [fn() -> MemorySink; 3] = [
            || MemorySink::default().without(SinkRule::CompareMark),
            || MemorySink::default().without(SinkRule::CompareEpoch),
            || MemorySink::default().without(SinkRule::DropIdentical),
        ];
        for sink in broken {
            let found = tokio::spawn(conforms(sink)).await.is_err();
            assert!(found, "{:?} passed", sink().off);
        }
    }
}
