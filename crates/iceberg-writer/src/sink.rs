//! The sink: every call starts from the table as the catalog has it now.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, future, stream};
use iceberg::spec::DataFile;
use iceberg_table::{
    Catalog, RowCounts, RowsToDelete, SnapshotCommit, Stamp, TableHandle, TableLayout, commit_snapshot,
    committed, iceberg_error, receipt, refuse_what_is_not_understood, remove_files, snapshot_of_batch,
};
use model::{
    Batches, ChangeSink, Clock, Commit, CommitOutcome, Committed, Error, ErrorKind, Ids, Mark, Prepare,
    Prepared, Receipt, Replace, Result, StageOutcome, Staged, SyncId, TableName, TableSchema,
};

use crate::fit::Fit;
use crate::options::WriterOptions;
use crate::replace::Present;
use crate::staged::StagedFiles;
use crate::table_options::TableOptions;
use crate::{batch_writer, prepare};

/// Staged files that are looked for at the same time.
const LOOKED_UP_AT_ONCE: usize = 16;

/// Writes changes into the Iceberg tables of one catalog.
#[derive(Debug, Clone)]
pub struct IcebergSink {
    catalog: Arc<dyn Catalog>,
    options: WriterOptions,
    tables: HashMap<TableName, TableOptions>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl IcebergSink {
    /// A sink into the tables of `catalog`.
    pub fn new(
        catalog: Arc<dyn Catalog>,
        options: WriterOptions,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
    ) -> Self {
        Self {
            catalog,
            options,
            tables: HashMap::new(),
            clock,
            ids,
        }
    }

    /// What these tables are to be like, by their names in the catalog. Others are of the default kind.
    pub fn with_tables(mut self, tables: impl IntoIterator<Item = (TableName, TableOptions)>) -> Self {
        self.tables.extend(tables);
        self
    }

    async fn table(&self, name: &TableName) -> Result<TableHandle> {
        self.catalog.load(name).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the Iceberg table does not exist").with("table", name)
        })
    }

    fn options_of(&self, table: &TableName) -> TableOptions {
        self.tables.get(table).cloned().unwrap_or_default()
    }

    fn fit(&self, table: &TableHandle, delivered: &Arc<TableSchema>) -> Result<Fit> {
        let policy = self.options_of(table.name()).schema_changes;
        Fit::new(table.name(), table.iceberg_schema(), delivered, policy)
    }

    async fn commit_rows(
        &self,
        table: &TableHandle,
        commit: &Commit,
        staged: Merged,
    ) -> Result<CommitOutcome> {
        let deletes = staged.files.deletes.into_iter();
        let change = SnapshotCommit {
            deletes: deletes.map(|(path, rows)| (path, rows.0)).collect(),
            located_at: staged.located_at,
            rows: staged.files.rows,
            ..snapshot_commit(table, commit, staged.data_files)
        };
        self.commit_snapshot(commit, &change).await
    }

    async fn commit_replacement(
        &self,
        table: &TableHandle,
        commit: &Commit,
        staged: Merged,
    ) -> Result<CommitOutcome> {
        let present = Present::of(table).await?;
        let newest = committed(table.metadata(), &commit.sync)?;
        let is_next = newest.mark == commit.after && newest.epoch <= commit.epoch;
        if is_next
            && matches!(commit.after, Some(Mark::At(_)))
            && present
                .equals(&staged.data_files, &self.fit(table, &commit.schema)?.schema)
                .await?
        {
            return self.keep_rows(table, commit, &staged, present.rows()).await;
        }
        let inserted = staged.data_files.iter().map(DataFile::record_count).sum();
        let change = SnapshotCommit {
            rows: RowCounts {
                inserted,
                updated: 0,
                deleted: present.rows(),
            },
            ..snapshot_commit(table, commit, staged.data_files)
        };
        self.commit_snapshot(commit, &change).await
    }

    /// Keeps rows that are equal to what replaces them. The mark is moved only if the new one is of another history of the source:
    /// the old one would fail the next increment.
    async fn keep_rows(
        &self,
        table: &TableHandle,
        commit: &Commit,
        staged: &Merged,
        rows: u64,
    ) -> Result<CommitOutcome> {
        let history = |mark: &Mark| {
            let position = mark.position();
            (position.kind.clone(), position.incarnation.clone())
        };
        let head = table.metadata().current_snapshot_id();
        let ended = if commit.after.as_ref().map(history) == Some(history(&commit.mark)) {
            CommitOutcome::Committed(Receipt {
                reference: head.map(|id| id.to_string()).unwrap_or_default(),
                ..Receipt::default()
            })
        } else {
            let mark_only = SnapshotCommit {
                located_at: HashSet::from([head]),
                replace: Replace::No,
                ..snapshot_commit(table, commit, Vec::new())
            };
            self.commit_snapshot(commit, &mark_only).await?
        };
        Ok(match ended {
            CommitOutcome::Committed(receipt) => {
                remove_files(table, paths(&staged.data_files)).await;
                CommitOutcome::Committed(Receipt {
                    unchanged: rows,
                    ..receipt
                })
            }
            undecided => undecided,
        })
    }

    async fn commit_snapshot(&self, commit: &Commit, change: &SnapshotCommit) -> Result<CommitOutcome> {
        commit_snapshot(
            self.catalog.as_ref(),
            &commit.table,
            change,
            self.clock.as_ref(),
            self.ids.as_ref(),
        )
        .await
    }
}

#[async_trait]
impl ChangeSink for IcebergSink {
    async fn committed(&self, sync: &SyncId, table: &TableName) -> Result<Committed> {
        match self.catalog.load(table).await? {
            Some(table) => committed(table.metadata(), sync),
            None => Ok(Committed::default()),
        }
    }

    async fn prepare(&self, prepare: &Prepare) -> Result<Prepared> {
        prepare::prepare(self.catalog.as_ref(), prepare, &self.options_of(&prepare.table)).await
    }

    async fn stage(
        &self,
        _sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        let table = self.table(table).await?;
        let fit = self.fit(&table, schema)?;
        let schema = fit.schema.clone();
        let rows = rows.map(move |batch| fit.batch(batch?)).boxed();
        batch_writer::stage(&table, &schema, rows, &self.options, self.ids.clone()).await
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome> {
        let table = self.table(&commit.table).await?;
        if let Some(snapshot) = snapshot_of_batch(table.metadata(), &commit.sync, &commit.batch) {
            return Ok(CommitOutcome::Committed(receipt(snapshot)));
        }
        refuse_what_is_not_understood(&table)?;
        let conflict = || -> Result<CommitOutcome> {
            let newest = committed(table.metadata(), &commit.sync)?;
            Ok(CommitOutcome::Conflict { newest })
        };
        let Some(staged) = Merged::of(&table, &commit.staged)? else {
            return conflict();
        };
        if let Some(file) = missing_file(&table, &staged.data_files).await? {
            tracing::info!(table = %commit.table, batch = %commit.batch, file, "a staged file is gone");
            return conflict();
        }
        match commit.replace {
            Replace::No => self.commit_rows(&table, commit, staged).await,
            Replace::Table => self.commit_replacement(&table, commit, staged).await,
        }
    }

    async fn discard(&self, staged: Vec<Staged>) -> Result<()> {
        for staged in &staged {
            let staged = StagedFiles::from_staged(staged)?;
            if let Some(table) = self.catalog.load(&staged.table).await? {
                remove_files(
                    &table,
                    staged.data_files.into_iter().map(|file| file.path).collect(),
                )
                .await;
            }
        }
        Ok(())
    }
}

/// Everything that is staged for one commit.
struct Merged {
    files: StagedFiles,
    data_files: Vec<DataFile>,
    located_at: HashSet<Option<i64>>,
}

impl Merged {
    /// `None` if something was staged for another table of this name, or for another schema or partition spec.
    fn of(table: &TableHandle, staged: &[Staged]) -> Result<Option<Self>> {
        let layout = TableLayout::of(table.metadata());
        let mut merged = Self {
            files: StagedFiles::new(table),
            data_files: Vec::new(),
            located_at: HashSet::new(),
        };
        for staged in staged {
            let staged = StagedFiles::from_staged(staged)?;
            if staged.layout != layout {
                return Ok(None);
            }
            merged
                .located_at
                .extend(staged.located_at.map(|located| located.snapshot));
            merged.files.merge(staged);
        }
        merged.data_files = merged
            .files
            .data_files
            .iter()
            .map(|file| file.data_file(table))
            .collect::<Result<_>>()?;
        Ok(Some(merged))
    }
}

/// A commit of these files alone.
fn snapshot_commit(table: &TableHandle, commit: &Commit, data_files: Vec<DataFile>) -> SnapshotCommit {
    SnapshotCommit {
        layout: TableLayout::of(table.metadata()),
        stamp: Stamp {
            sync: commit.sync.clone(),
            mark: commit.mark.clone(),
            batch: commit.batch.clone(),
            epoch: commit.epoch,
            moment: commit.moment.clone(),
        },
        after: commit.after.clone(),
        data_files,
        deletes: RowsToDelete::new(),
        located_at: HashSet::new(),
        replace: commit.replace,
        rows: RowCounts::default(),
    }
}

/// A staged file that is no longer there: staging took so long that it was taken for an orphan.
async fn missing_file(table: &TableHandle, staged: &[DataFile]) -> Result<Option<String>> {
    let file_io = table.table().file_io();
    let looked_up = stream::iter(paths(staged)).map(|path| {
        let file_io = file_io.clone();
        async move {
            match file_io.exists(&path).await {
                Ok(exists) => Ok(Some(path).filter(|_| !exists)),
                Err(error) => Err(iceberg_error("cannot look for a staged file")(error).with("file", path)),
            }
        }
    });
    let missing = looked_up
        .buffer_unordered(LOOKED_UP_AT_ONCE)
        .try_filter_map(future::ok);
    pin!(missing).try_next().await
}

fn paths(files: &[DataFile]) -> Vec<String> {
    files.iter().map(|file| file.file_path().to_owned()).collect()
}
