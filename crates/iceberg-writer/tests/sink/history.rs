//! Random histories of changes against a map from key to row.

use std::collections::BTreeMap;

use model::{ChangeBatch, ChangeSink, Commit, CommitOutcome, Mark, Op, Position, Presence, Replace};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use test_support::{SampleRow, sample_batch};

use crate::warehouse::{Target, Warehouse, rows_of, upserts};

/// What a reader must see at a snapshot.
pub(crate) type Expected = Vec<(String, Vec<SampleRow>)>;

/// Runs a history of `steps` commits and checks the table after each. Returns what each snapshot holds.
pub(crate) async fn run_history(target: &Target<'_>, seed: u64, steps: usize) -> Expected {
    let mut history = History {
        random: StdRng::seed_from_u64(seed),
        rows: BTreeMap::new(),
    };
    let mut expected = Vec::new();
    for step in 0..steps {
        let batch = format!("batch {step}");
        let reference = match history.random.random_range(0..10) {
            _ if step == 0 => Some(target.apply(&batch, &[], Presence::Absent).await.reference),
            0 => Some(history.replace(target, &batch).await),
            1 => history.kill(target, &batch).await,
            _ => Some(history.change(target, &batch).await),
        };
        let rows: Vec<_> = history.rows.values().cloned().collect();
        assert_eq!(target.rows().await, rows, "seed {seed}, step {step}");
        expected.extend(reference.map(|reference| (reference, rows)));
    }
    expected
}

struct History {
    random: StdRng,
    rows: BTreeMap<i32, SampleRow>,
}

impl History {
    async fn change(&mut self, target: &Target<'_>, batch: &str) -> String {
        let (changes, presence) = self.changes();
        let (inserted, updated, deleted, unchanged) = self.expect(&changes, presence);
        let staged = target.stage(&changes, presence).await;
        assert_eq!(staged.unchanged, unchanged, "unchanged in {batch}");
        let receipt = target.commit(&target.next(batch, staged.staged).await).await;
        assert_eq!(
            (receipt.inserted, receipt.updated, receipt.deleted),
            (inserted, updated, deleted),
            "counts of {batch}"
        );
        self.apply(&changes);
        receipt.reference
    }

    async fn replace(&mut self, target: &Target<'_>, batch: &str) -> String {
        let (before, old) = (
            self.rows.clone(),
            target.sink.committed(&target.sync, &target.name).await.unwrap(),
        );
        if self.random.random_bool(0.5) {
            self.rows = (0..self.random.random_range(0..30))
                .map(|id| (id, self.row(id)))
                .collect();
        }
        let all: Vec<_> = self
            .rows
            .values()
            .rev()
            .map(|row| (Op::Insert, row.clone()))
            .collect();
        let receipt = target.replace(batch, &all).await;
        if self.rows == before {
            assert_eq!(receipt.unchanged, before.len() as u64);
            assert_eq!(
                Some(receipt.reference.clone()),
                old.reference,
                "equal content makes no snapshot"
            );
        } else {
            assert_eq!(
                (receipt.inserted, receipt.deleted),
                (self.rows.len() as u64, before.len() as u64)
            );
        }
        receipt.reference
    }

    /// Kills staging and committing somewhere. What was killed may still land, so the same commit is sent again to decide it.
    async fn kill(&mut self, target: &Target<'_>, batch: &str) -> Option<String> {
        let (changes, presence) = self.changes();
        let polls = self.random.random_range(0..30);
        let commit = target.killed_commit(batch, &changes, presence, polls).await?;
        let receipt = target.commit(&commit).await;
        self.apply(&changes);
        Some(receipt.reference)
    }

    fn changes(&mut self) -> (Vec<(Op, SampleRow)>, Presence) {
        let presence = *[Presence::Present, Presence::Unknown, Presence::PerhapsIdentical]
            .choose(&mut self.random)
            .unwrap();
        let mut changes = BTreeMap::new();
        for _ in 0..self.random.random_range(1..25) {
            let id = self.random.random_range(0..60);
            let known = self.rows.get(&id).cloned();
            let change = match (self.random.random_range(0..4), known) {
                (0, _) => (
                    Op::Delete,
                    SampleRow {
                        id,
                        name: None,
                        amount: None,
                    },
                ),
                (1, Some(row)) => (Op::Upsert, row),
                _ => (Op::Upsert, self.row(id)),
            };
            changes.insert(id, change);
        }
        (changes.into_values().collect(), presence)
    }

    fn row(&mut self, id: i32) -> SampleRow {
        let texts = [
            Some(""),
            Some(" "),
            Some("x"),
            Some("X"),
            Some("x "),
            Some("größer 𝒳\0'"),
            None,
        ];
        let name = texts.choose(&mut self.random).unwrap().map(str::to_owned);
        let amount = [None, Some(0), Some(i64::MIN), Some(i64::MAX), Some(7)]
            .choose(&mut self.random)
            .copied()
            .flatten();
        SampleRow { id, name, amount }
    }

    /// Inserted, updated, deleted and unchanged.
    fn expect(&self, changes: &[(Op, SampleRow)], presence: Presence) -> (u64, u64, u64, u64) {
        let mut counts = (0, 0, 0, 0);
        for (op, row) in changes {
            match (op, self.rows.get(&row.id)) {
                (Op::Delete, None) => {}
                (Op::Delete, Some(_)) => counts.2 += 1,
                (_, None) => counts.0 += 1,
                (_, Some(present)) if present == row && presence != Presence::Present => counts.3 += 1,
                (_, Some(_)) => counts.1 += 1,
            }
        }
        counts
    }

    fn apply(&mut self, changes: &[(Op, SampleRow)]) {
        for (op, row) in changes {
            match op {
                Op::Delete => self.rows.remove(&row.id),
                _ => self.rows.insert(row.id, row.clone()),
            };
        }
    }
}

#[tokio::test]
async fn random_histories_end_as_the_model_says() {
    for seed in 0..16 {
        let warehouse = Warehouse::of_kind(seed);
        let target = Target::new(&warehouse).await;
        run_history(&target, seed, 12).await;
    }
}

/// A mark of another history of the source would fail every increment, and a full copy is the way out.
/// Many rows of unknown presence: whether they are compared with what is there depends on a sample, what is there afterwards does not.
#[tokio::test]
async fn many_rows_are_compared_only_if_it_pays() {
    for (equal, unchanged) in [(10_000, 10_000), (5_000, 5_000), (100, 0), (0, 0)] {
        let warehouse = Warehouse::new(3);
        let target = Target::new(&warehouse).await;
        target
            .apply("a", &upserts(0..8_000, "old"), Presence::Absent)
            .await;
        let new: Vec<_> = (0..10_000)
            .map(|id| {
                // Here and there, so that a sample sees them.
                let is_equal = id % 100 < equal / 100;
                (
                    Op::Upsert,
                    SampleRow::new(id, if is_equal { "old" } else { "new" }, i64::from(id)),
                )
            })
            .collect();
        let batch = ChangeBatch::uniform(
            target.name.clone(),
            target.schema.clone(),
            sample_batch(&rows_of(&new)),
            Op::Upsert,
            Presence::Unknown,
        );
        let outcome = target.stage_batches(vec![batch.unwrap()]).await.unwrap();
        // Keys above 8,000 are new, whatever the row.
        assert_eq!(outcome.unchanged, unchanged * 8 / 10, "{equal}");
        let receipt = target.commit(&target.next("b", outcome.staged).await).await;
        let updated = 8_000 - unchanged * 8 / 10;
        assert_eq!(
            (receipt.inserted, receipt.updated, receipt.deleted),
            (2_000, updated, 0)
        );
        let mut rows = target.rows().await;
        rows.sort_by_key(|row| row.id);
        assert_eq!(rows, rows_of(&new), "{equal}");
    }
}

#[tokio::test]
async fn an_equal_replacement_moves_only_a_mark_of_another_history() {
    let position = |kind: &str, incarnation: &str| Position {
        kind: kind.into(),
        incarnation: incarnation.into(),
        value: "1".into(),
        label: "1".into(),
        late_micros: 0,
        lacks: Vec::new(),
    };
    for (mark, moves) in [
        (position("test", "i"), false),
        (position("test", "another"), true),
        (position("another", "i"), true),
    ] {
        let warehouse = Warehouse::new(98);
        let target = Target::new(&warehouse).await;
        let rows = upserts(1..=3, "x");
        target.apply("first", &rows, Presence::Absent).await;
        let files = warehouse.data_files(&target.name);
        let before = target.sink.committed(&target.sync, &target.name).await.unwrap();
        let commit = Commit {
            mark: Mark::At(mark.clone()),
            replace: Replace::Table,
            ..target
                .next("again", target.stage(&rows, Presence::Absent).await.staged)
                .await
        };
        let receipt = target.commit(&commit).await;
        assert_eq!((receipt.unchanged, receipt.inserted), (3, 0), "{mark:?}");
        let after = target.sink.committed(&target.sync, &target.name).await.unwrap();
        let expected = if moves { Some(commit.mark) } else { before.mark };
        assert_eq!(after.mark, expected);
        assert_eq!(after.reference != before.reference, moves, "{mark:?}");
        assert_eq!(after.reference, Some(receipt.reference));
        assert_eq!(warehouse.data_files(&target.name), files, "{mark:?}");
        assert_eq!(target.rows().await, rows_of(&rows));
    }
}

/// Enough commits for manifests to be merged.
#[tokio::test]
async fn many_small_commits_keep_the_metadata_small() {
    let warehouse = Warehouse::new(99);
    let target = Target::new(&warehouse).await;
    for step in 0..50 {
        let rows = upserts([step, step / 2], "x");
        let rows = if step == 0 { rows[..1].to_vec() } else { rows };
        target
            .apply(&format!("batch {step}"), &rows, Presence::Unknown)
            .await;
    }
    let table = warehouse.table(&target.name).await;
    let list = table
        .table()
        .manifest_list_reader(table.head().unwrap())
        .load()
        .await
        .unwrap();
    assert!(list.entries().len() < 42, "{} manifests", list.entries().len());
    assert_eq!(target.rows().await.len(), 50);
    let totals = &table.head().unwrap().summary().additional_properties;
    let total = |name: &str| totals[name].parse::<usize>().unwrap();
    assert_eq!(total("total-records") - total("total-position-deletes"), 50);
    let outcome = target
        .sink
        .commit(&target.next("batch 1", vec![]).await)
        .await
        .unwrap();
    assert!(
        matches!(outcome, CommitOutcome::Committed(_)),
        "an old batch is found among the ancestors"
    );
}
