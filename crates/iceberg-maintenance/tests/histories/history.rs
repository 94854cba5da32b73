//! What happens to a table, step by step, and to the model beside it.

use std::collections::BTreeMap;

use arrow_array::Int8Array;
use futures::{TryStreamExt, stream};
use iceberg_maintenance::{CompactOptions, ExpireOptions, compact, expire, merge_manifests};
use iceberg_reader::{IcebergSource, SnapshotChoice};
use iceberg_table::live_files;
use model::{
    BatchId, ChangeBatch, ChangeSink, ChangeSource, Commit, CommitOutcome, Epoch, Mark, Op, Position,
    Prepare, Presence, Replace, Selection, Staged,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

use crate::lake::{Lake, fields};
use crate::rows::{Column, Kind, Row, Value, batch, json_rows, rows, schema};

const DAY: i64 = 86_400_000_000;
const KEYS: i64 = 60;

/// What a snapshot holds.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: BTreeMap<i64, Row>,
}

pub(crate) struct History {
    pub(crate) lake: Lake,
    random: StdRng,
    pub(crate) now: State,
    pub(crate) snapshots: BTreeMap<i64, State>,
    identities: usize,
}

impl History {
    pub(crate) async fn new(lake: Lake, seed: u64) -> Self {
        let column = |identity, name: &str, kind, nullable| Column {
            identity,
            name: name.into(),
            kind,
            nullable,
        };
        let columns = vec![
            column(0, "id", Kind::Int, false),
            column(1, "at", Kind::At, true),
            column(2, "name", Kind::Text, true),
            column(3, "price", Kind::Money { precision: 9 }, true),
        ];
        let history = Self {
            lake,
            random: StdRng::seed_from_u64(seed),
            now: State {
                columns,
                rows: BTreeMap::new(),
            },
            snapshots: BTreeMap::new(),
            identities: 4,
        };
        history.prepare().await;
        history
    }

    async fn prepare(&self) {
        let prepare = Prepare {
            sync: self.lake.sync.clone(),
            table: self.lake.name.clone(),
            schema: schema(&self.now.columns),
            create: true,
            replace: false,
            adopt: false,
            dry_run: false,
        };
        self.lake.sink().prepare(&prepare).await.unwrap();
    }

    pub(crate) async fn step(&mut self, step: usize) {
        self.lake.clock.advance(1_000);
        let name = format!("step {step}");
        match self.random.random_range(0..100) {
            0..66 => self.change(&name).await,
            66..68 => self.replace(&name).await,
            68..77 => self.change_columns().await,
            77..82 => self.change_partitions().await,
            82..91 => self.compact().await,
            91..93 => self.merge_manifests().await,
            _ => self.expire().await,
        }
    }

    /// Deletes rows in a commit that the model does not take note of.
    pub(crate) async fn delete(&mut self, name: &str, keys: &[i64]) {
        let images: Vec<_> = keys
            .iter()
            .map(|key| Row::from([(0, Value::Number(*key))]))
            .collect();
        let staged = self
            .stage(&vec![Op::Delete; images.len()], &images, Presence::Present)
            .await;
        self.send(name, staged, Replace::No).await;
    }

    pub(crate) async fn change(&mut self, name: &str) {
        let presence = *[Presence::Present, Presence::Unknown, Presence::PerhapsIdentical]
            .choose(&mut self.random)
            .unwrap();
        let mut changes: BTreeMap<i64, (Op, Row)> = BTreeMap::new();
        for _ in 0..self.random.random_range(1..16) {
            let key = self.random.random_range(0..KEYS);
            let is_delete = self.random.random_bool(0.3);
            let change = if is_delete {
                (Op::Delete, Row::from([(0, Value::Number(key))]))
            } else {
                (Op::Upsert, self.row(key))
            };
            changes.insert(key, change);
        }
        let (ops, images): (Vec<_>, Vec<_>) = changes.values().cloned().unzip();
        let staged = self.stage(&ops, &images, presence).await;
        for (key, (op, row)) in changes {
            match op {
                Op::Delete => self.now.rows.remove(&key),
                _ => self.now.rows.insert(key, row),
            };
        }
        self.commit(name, staged, Replace::No).await;
    }

    async fn replace(&mut self, name: &str) {
        self.now.rows = (0..self.random.random_range(0..KEYS / 2))
            .map(|key| (key, self.row(key)))
            .collect();
        let images: Vec<_> = self.now.rows.values().cloned().collect();
        let staged = self
            .stage(&vec![Op::Insert; images.len()], &images, Presence::Absent)
            .await;
        self.commit(name, staged, Replace::Table).await;
    }

    fn row(&mut self, key: i64) -> Row {
        let mut row = Row::from([(0, Value::Number(key))]);
        for column in self
            .now
            .columns
            .clone()
            .iter()
            .filter(|column| column.identity > 0)
        {
            let value = match column.kind {
                _ if column.nullable && self.random.random_bool(0.15) => continue,
                Kind::Int | Kind::Long => Value::Number(self.random.random_range(-5..5)),
                Kind::At => Value::Number(self.random.random_range(-2 * DAY..3 * DAY)),
                Kind::Money { .. } => Value::Number(self.random.random_range(0..100_000)),
                Kind::Text => {
                    let texts = ["", "a", "ab", "größer", "𝒳y", "x "];
                    Value::Text((*texts.choose(&mut self.random).unwrap()).into())
                }
            };
            row.insert(column.identity, value);
        }
        row
    }

    async fn stage(&self, ops: &[Op], images: &[Row], presence: Presence) -> Vec<Staged> {
        let columns = &self.now.columns;
        let (table, schema) = (self.lake.name.clone(), schema(columns));
        let ops: Int8Array = ops.iter().map(|op| Some(*op as i8)).collect();
        let rows = batch(columns, images);
        let batch = ChangeBatch::new(table, schema.clone(), rows, ops, presence).unwrap();
        let batches = Box::pin(stream::iter([Ok(batch)]));
        let sink = self.lake.sink();
        let outcome = sink
            .stage(&self.lake.sync, &self.lake.name, &schema, batches)
            .await;
        outcome.unwrap().staged
    }

    async fn commit(&mut self, name: &str, staged: Vec<Staged>, replace: Replace) {
        self.send(name, staged, replace).await;
        self.remember().await;
        self.check(None).await;
    }

    async fn send(&self, name: &str, staged: Vec<Staged>, replace: Replace) {
        let sink = self.lake.sink();
        let newest = sink.committed(&self.lake.sync, &self.lake.name).await.unwrap();
        let commit = Commit {
            sync: self.lake.sync.clone(),
            table: self.lake.name.clone(),
            schema: schema(&self.now.columns),
            batch: BatchId::new(name),
            epoch: Epoch(1),
            after: newest.mark,
            mark: Mark::At(Position {
                kind: "interop".into(),
                incarnation: "1".into(),
                value: name.into(),
                label: name.into(),
                late_micros: 0,
                lacks: Vec::new(),
            }),
            staged,
            replace,
            moment: None,
        };
        let ended = sink.commit(&commit).await.unwrap();
        assert!(matches!(ended, CommitOutcome::Committed(_)), "{name}: {ended:?}");
    }

    async fn remember(&mut self) {
        if let Some(head) = self.lake.table().await.metadata().current_snapshot_id() {
            self.snapshots.entry(head).or_insert_with(|| self.now.clone());
        }
    }

    /// The source's columns change, and the table follows.
    async fn change_columns(&mut self) {
        let mut in_use: Vec<_> = self.lake.layout.partition.iter().flatten().cloned().collect();
        in_use.extend(self.lake.kind.column().map(String::from));
        let is_used = |column: &Column| in_use.iter().any(|field| field.contains(&column.name));
        let others: Vec<usize> = (0..self.now.columns.len())
            .filter(|index| self.now.columns[*index].identity > 0 && !is_used(&self.now.columns[*index]))
            .collect();
        let chosen = others.choose(&mut self.random).copied();
        self.lake.layout.renames.clear();
        match (self.random.random_range(0..5), chosen) {
            (0, _) | (_, None) => {
                let kinds = [Kind::Int, Kind::Text, Kind::Money { precision: 5 }];
                let is_free = |name: &&str| self.now.columns.iter().all(|column| column.name != *name);
                // The name of one that is gone, or a new one.
                let free = ["name", "at", "price"].into_iter().find(is_free);
                let new = format!("c{}", self.identities);
                let name = free
                    .filter(|_| self.random.random_bool(0.3))
                    .map_or(new, String::from);
                self.now.columns.push(Column {
                    identity: self.identities,
                    name,
                    kind: *kinds.choose(&mut self.random).unwrap(),
                    nullable: true,
                });
                self.identities += 1;
            }
            (1, Some(index)) if self.now.columns.len() > 3 => {
                self.now.columns.remove(index);
            }
            (2, Some(index)) => {
                let column = &mut self.now.columns[index];
                let new = format!("{}r", column.name);
                self.lake.layout.renames.insert(column.name.clone(), new.clone());
                column.name = new;
            }
            (3, Some(index)) => {
                let column = self.now.columns.remove(index);
                self.now.columns.push(column);
            }
            (_, Some(index)) => {
                let index = if self.random.random_bool(0.3) {
                    self.now
                        .columns
                        .iter()
                        .position(|column| column.identity == 0)
                        .unwrap()
                } else {
                    index
                };
                let column = &mut self.now.columns[index];
                column.kind = match column.kind {
                    Kind::Int => Kind::Long,
                    Kind::Money { precision } => Kind::Money {
                        precision: precision + 2,
                    },
                    kind => kind,
                };
            }
        }
        self.follow_columns().await;
    }

    /// The table gets the columns of the model, and its rows are looked at.
    pub(crate) async fn follow_columns(&mut self) {
        let columns = &self.now.columns;
        for row in self.now.rows.values_mut() {
            row.retain(|identity, _| columns.iter().any(|column| column.identity == *identity));
        }
        self.prepare().await;
        self.check(None).await;
    }

    /// Every other time to the table's own kind.
    async fn change_partitions(&mut self) {
        let has = |name: &str| self.now.columns.iter().any(|column| column.name == name);
        let mut choices = self.lake.kind.variants().to_vec();
        if self.random.random_bool(0.5) {
            choices = vec!["", "bucket(4, id)", "truncate(20, id)", "void(id)"];
            choices.extend(["day(at)", "month(at)"].into_iter().filter(|_| has("at")));
            choices.extend(["truncate(1, name)", "name"].into_iter().filter(|_| has("name")));
        }
        let field = *choices.choose(&mut self.random).unwrap();
        self.partition(field).await;
    }

    pub(crate) async fn rename(&mut self, old: &str, new: &str) {
        let column = self.now.columns.iter_mut().find(|column| column.name == old);
        column.unwrap().name = new.into();
        self.lake.layout.renames.insert(old.into(), new.into());
        self.follow_columns().await;
        self.lake.layout.renames.clear();
    }

    pub(crate) async fn partition(&mut self, field: &str) {
        self.lake.layout.partition = Some(fields(field));
        self.prepare().await;
    }

    async fn compact(&mut self) {
        let options = CompactOptions {
            write: self.lake.options.clone(),
            files_at_least: self.random.random_range(2..5),
            ..CompactOptions::default()
        };
        let (catalog, clock) = (self.lake.catalog.as_ref(), self.lake.clock.as_ref());
        let done = compact(catalog, &self.lake.name, &options, clock, self.lake.ids.clone()).await;
        done.unwrap();
        self.remember().await;
        self.check(None).await;
    }

    async fn merge_manifests(&mut self) {
        let (catalog, clock) = (self.lake.catalog.as_ref(), self.lake.clock.as_ref());
        merge_manifests(catalog, &self.lake.name, clock, self.lake.ids.as_ref())
            .await
            .unwrap();
        self.remember().await;
        self.check(None).await;
    }

    async fn expire(&mut self) {
        let options = ExpireOptions {
            older_than_ms: Some(0),
            keep_at_least: Some(self.random.random_range(1..8)),
            ..ExpireOptions::default()
        };
        let clock = &self.lake.later;
        expire(self.lake.catalog.as_ref(), &self.lake.name, &options, clock)
            .await
            .unwrap();
        let table = self.lake.table().await;
        self.snapshots
            .retain(|id, _| table.metadata().snapshot_by_id(*id).is_some());
        assert_eq!(self.snapshots.len(), table.metadata().snapshots().len());
    }

    /// Reads a snapshot, or the head, in the table's present columns.
    pub(crate) async fn check(&self, snapshot: Option<i64>) {
        let state = snapshot.map_or(&self.now, |id| &self.snapshots[&id]);
        let choice = snapshot.map_or(SnapshotChoice::Current, SnapshotChoice::Id);
        let source = IcebergSource::new(self.lake.catalog.clone()).pinned(choice);
        let columns = &self.now.columns;
        let batches = source
            .read(&self.lake.name, &schema(columns), Selection::All, None)
            .await
            .unwrap();
        let batches: Vec<_> = batches.try_collect().await.unwrap();
        let mut found: Vec<Row> = batches
            .iter()
            .flat_map(|batch| rows(columns, &batch.rows))
            .collect();
        let mut wanted: Vec<Row> = state.rows.values().cloned().collect();
        for row in &mut wanted {
            row.retain(|identity, _| columns.iter().any(|column| column.identity == *identity));
        }
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{} at {snapshot:?}", self.lake.name);
    }

    /// Reads the head and every retained snapshot.
    pub(crate) async fn check_all(&self) {
        self.check(None).await;
        for snapshot in self.snapshots.keys() {
            self.check(Some(*snapshot)).await;
        }
    }

    /// What other engines must find.
    pub(crate) async fn expected(&self) -> Json {
        let of = |state: &State| {
            let names: Vec<_> = state.columns.iter().map(|column| column.name.clone()).collect();
            json!({"columns": names, "rows": json_rows(&state.columns, state.rows.values())})
        };
        let table = self.lake.table().await;
        let files = match table.head() {
            Some(head) => live_files(&table, head).await.unwrap(),
            None => Vec::new(),
        };
        let deletes = files.iter().flat_map(|file| &file.deletes);
        let deletes: BTreeMap<_, _> = deletes
            .map(|delete| ((delete.path.clone(), delete.offset()), delete.record_count))
            .collect();
        let snapshots: serde_json::Map<_, _> = self
            .snapshots
            .iter()
            .map(|(id, state)| (id.to_string(), of(state)))
            .collect();
        json!({
            "head": of(&self.now),
            "snapshots": snapshots,
            "data_files": files.len(),
            "delete_files": deletes.len(),
            "deleted_rows": deletes.values().sum::<u64>(),
        })
    }
}
