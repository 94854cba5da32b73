//! The suite of [`ChangeSource`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::{Int32Array, RecordBatch};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use model::{
    Batches, Bound, ChangeSource, Chunk, Cut, KeyRange, Op, Position, Presence, Selection, SourceEvent,
    TableName, TableSchema, Tracking,
};

use crate::{SampleRow, sample_rows};

/// A source to test, with one empty table of the sample schema (further columns, such as `updated_at`, are passed over)
/// whose key is `id`.
#[async_trait]
pub trait SourceUnderTest: Send + Sync {
    /// The source.
    fn source(&self) -> Arc<dyn ChangeSource>;

    /// The table.
    fn table(&self) -> TableName;

    /// Writes rows in one transaction; those whose `id` is there replace it.
    async fn put(&self, rows: &[SampleRow]);

    /// Deletes rows in one transaction.
    async fn delete(&self, ids: &[i32]);

    /// Lets so much time pass that the next cut covers what has been written.
    async fn settle(&self);
}

/// Asks a source whether it keeps the contract. `make` returns one with a fresh, empty table.
pub async fn source_conformance<F>(make: impl Fn() -> F)
where
    F: Future<Output = Box<dyn SourceUnderTest>>,
{
    an_empty_table_has_no_rows(&Case::new(make().await).await).await;
    the_chunks_cover_the_table_in_key_order(&Case::new(make().await).await).await;
    chunks_resume_after_a_bound(&Case::new(make().await).await).await;
    the_chunks_of_a_growing_table_have_an_end(&Case::new(make().await).await).await;
    keys_select_their_rows(&Case::new(make().await).await).await;
    a_range_selects_its_keys(&Case::new(make().await).await).await;
    a_dropped_stream_leaves_nothing_behind(&Case::new(make().await).await).await;
    let case = Case::new(make().await).await;
    if let Tracking::Incremental { sees_deletes, .. } = case.tracking {
        increments_lead_to_the_table(&case, sees_deletes).await;
        a_quiet_source_tells_nothing_new(&Case::new(make().await).await).await;
        an_increment_may_be_read_again(&Case::new(make().await).await).await;
        another_incarnation_is_a_gap(&Case::new(make().await).await).await;
    }
}

struct Case {
    under_test: Box<dyn SourceUnderTest>,
    source: Arc<dyn ChangeSource>,
    table: TableName,
    schema: Arc<TableSchema>,
    tracking: Tracking,
}

impl Case {
    async fn new(under_test: Box<dyn SourceUnderTest>) -> Self {
        let (source, table) = (under_test.source(), under_test.table());
        let description = source.describe(&table).await.expect("the table is described");
        assert_eq!(description.schema.key_names(), ["id"]);
        Self {
            under_test,
            source,
            table,
            schema: description.schema,
            tracking: description.tracking,
        }
    }

    async fn put(&self, rows: &[SampleRow]) {
        self.under_test.put(rows).await;
    }

    async fn read(&self, selection: Selection) -> Vec<SampleRow> {
        let batches = self
            .source
            .read(&self.table, &self.schema, selection, None)
            .await
            .expect("a read starts");
        all_rows(batches).await
    }

    async fn chunks(&self, start: &Position, after: Option<Bound>, rows: usize) -> Vec<Chunk> {
        let (table, schema) = (&self.table, &self.schema);
        let chunks = self.source.chunks(table, schema, start, after, rows).await;
        let chunks = chunks.expect("chunks start");
        chunks.try_collect().await.expect("chunks are listed")
    }

    async fn cut(&self, after: Option<&Position>) -> Position {
        self.under_test.settle().await;
        match self.source.cut(&self.table, after).await.expect("a cut is taken") {
            Cut::Complete { upto, .. } => upto,
            gap => panic!("the cut after {after:?} is {gap:?}"),
        }
    }

    async fn changes(&self, after: &Position, upto: &Position) -> Vec<SourceEvent> {
        let events = self
            .source
            .changes(&self.table, &self.schema, after, upto)
            .await
            .expect("changes start");
        let events: Vec<_> = events.try_collect().await.expect("changes are read");
        assert!(
            matches!(events.last(), Some(SourceEvent::Boundary { .. })),
            "the changes end with a boundary"
        );
        events
    }
}

async fn all_rows(batches: Batches) -> Vec<SampleRow> {
    let batches: Vec<_> = batches.try_collect().await.expect("rows are read");
    let rows: Vec<RecordBatch> = batches.into_iter().map(|batch| batch.rows).collect();
    sample_rows(&rows)
}

fn numbered(ids: impl IntoIterator<Item = i32>) -> Vec<SampleRow> {
    ids.into_iter()
        .map(|id| SampleRow::new(id, &format!("row {id}"), i64::from(id) * 10))
        .collect()
}

async fn an_empty_table_has_no_rows(case: &Case) {
    assert!(case.read(Selection::All).await.is_empty());
    let start = case.cut(None).await;
    for chunk in case.chunks(&start, None, 10).await {
        assert!(
            case.read(chunk.selection).await.is_empty(),
            "an empty table's chunk has rows"
        );
    }
}

async fn the_chunks_cover_the_table_in_key_order(case: &Case) {
    let mut rows = numbered([-5, 0, 1, 2, 3, 40, 41, 1_000_000]);
    rows[2].name = None;
    rows[3].amount = None;
    rows[4].name = Some(String::new());
    case.put(&rows).await;
    let start = case.cut(None).await;
    assert_eq!(case.read(Selection::All).await, rows);
    let mut covered = Vec::new();
    for chunk in case.chunks(&start, None, 3).await {
        let part = case.read(chunk.selection).await;
        assert!(
            covered.last() < part.first(),
            "a chunk begins above the one before it"
        );
        covered.extend(part);
    }
    assert_eq!(covered, rows, "the chunks hold every row once");
}

async fn chunks_resume_after_a_bound(case: &Case) {
    let rows = numbered(1..=10);
    case.put(&rows).await;
    let start = case.cut(None).await;
    let chunks = case.chunks(&start, None, 3).await;
    let bounds: Vec<_> = chunks.iter().filter_map(|chunk| chunk.through.clone()).collect();
    let mut below = Vec::new();
    for (chunk, bound) in chunks.into_iter().zip(bounds) {
        below.extend(case.read(chunk.selection).await);
        let mut resumed = below.clone();
        for chunk in case.chunks(&start, Some(bound), 4).await {
            resumed.extend(case.read(chunk.selection).await);
        }
        assert_eq!(resumed, rows, "resuming loses or doubles rows");
    }
}

/// What is added meanwhile is for the increments: a copy that followed it would never come to them.
async fn the_chunks_of_a_growing_table_have_an_end(case: &Case) {
    case.put(&numbered(1..=5)).await;
    let start = case.cut(None).await;
    let (table, schema) = (&case.table, &case.schema);
    let chunks = case.source.chunks(table, schema, &start, None, 2).await;
    let mut chunks = chunks.expect("chunks start");
    let (mut covered, mut next) = (Vec::new(), 6);
    while let Some(chunk) = chunks.try_next().await.expect("chunks are listed") {
        covered.extend(case.read(chunk.selection).await);
        case.put(&numbered(next..next + 3)).await;
        next += 3;
        assert!(next < 60, "the chunks follow a table that grows");
    }
    assert_eq!(covered.get(..5), Some(numbered(1..=5).as_slice()));
}

async fn keys_select_their_rows(case: &Case) {
    case.put(&numbered(1..=6)).await;
    case.cut(None).await;
    let field = case.schema.arrow().field(0).clone();
    let key_schema = Arc::new(arrow_schema::Schema::new(vec![field]));
    let keys = RecordBatch::try_new(key_schema, vec![Arc::new(Int32Array::from(vec![6, 2, 99]))]);
    let keys = Selection::Keys(keys.expect("the key column fits"));
    assert_eq!(case.read(keys).await, numbered([2, 6]));
}

async fn a_range_selects_its_keys(case: &Case) {
    case.put(&numbered(-3..=6)).await;
    case.cut(None).await;
    let field = case.schema.arrow().field(0).clone();
    let key_schema = Arc::new(arrow_schema::Schema::new(vec![field]));
    let end = |id: i32| {
        let key = RecordBatch::try_new(key_schema.clone(), vec![Arc::new(Int32Array::from(vec![id]))]);
        Some(key.expect("the key column fits"))
    };
    for (from, to, ids) in [
        (end(-1), end(4), -1..=4),
        (end(5), None, 5..=6),
        (None, end(-2), -3..=-2),
        (end(6), end(6), 6..=6),
    ] {
        let range = KeyRange::new(&case.schema, from, to).expect("a range of numbers");
        assert_eq!(case.read(Selection::Between(range)).await, numbered(ids));
    }
}

async fn a_dropped_stream_leaves_nothing_behind(case: &Case) {
    case.put(&numbered(1..=20)).await;
    case.cut(None).await;
    for taken in 0..3 {
        let read = case
            .source
            .read(&case.table, &case.schema, Selection::All, None)
            .await;
        let started: Vec<_> = read.expect("a read starts").take(taken).collect().await;
        drop(started);
    }
    assert_eq!(case.read(Selection::All).await.len(), 20);
}

/// Applies what an increment tells to `rows`.
fn apply(rows: &mut BTreeMap<i32, SampleRow>, events: &[SourceEvent]) {
    for event in events {
        let SourceEvent::Changes(batch) = event else {
            continue;
        };
        for i in 0..batch.len() {
            for row in sample_rows(&[batch.rows.slice(i, 1)]) {
                match batch.op(i) {
                    Op::Delete => rows.remove(&row.id),
                    _ => rows.insert(row.id, row),
                };
            }
        }
    }
}

async fn increments_lead_to_the_table(case: &Case, sees_deletes: bool) {
    case.put(&numbered(1..=5)).await;
    let mut position = case.cut(None).await;
    let mut rows: BTreeMap<i32, SampleRow> = case
        .read(Selection::All)
        .await
        .into_iter()
        .map(|row| (row.id, row))
        .collect();
    for round in 0..4 {
        case.put(&[SampleRow::new(2, &format!("round {round}"), round)])
            .await;
        case.put(&[SampleRow::new(2, &format!("round {round}, again"), round)])
            .await;
        case.put(&numbered([100 + round as i32])).await;
        if sees_deletes {
            case.under_test.delete(&[3 + round as i32]).await;
        }
        let upto = case.cut(Some(&position)).await;
        apply(&mut rows, &case.changes(&position, &upto).await);
        let table = case.read(Selection::All).await;
        assert_eq!(
            rows.values().cloned().collect::<Vec<_>>(),
            table,
            "after increment {round}"
        );
        case.source
            .acknowledge(&case.table, &upto)
            .await
            .expect("acknowledging works");
        case.source
            .acknowledge(&case.table, &upto)
            .await
            .expect("acknowledging again works");
        position = upto;
    }
}

async fn a_quiet_source_tells_nothing_new(case: &Case) {
    case.put(&numbered(1..=3)).await;
    let before = case.cut(None).await;
    let after = case.cut(Some(&before)).await;
    for event in case.changes(&before, &after).await {
        if let SourceEvent::Changes(batch) = event {
            assert_eq!(
                batch.presence,
                Presence::PerhapsIdentical,
                "rows at or below the cut that was applied are told as new"
            );
        }
    }
}

async fn an_increment_may_be_read_again(case: &Case) {
    case.put(&numbered(1..=3)).await;
    let after = case.cut(None).await;
    case.put(&numbered(3..=9)).await;
    let upto = case.cut(Some(&after)).await;
    let ids = |events: &[SourceEvent]| {
        let mut rows = BTreeMap::new();
        apply(&mut rows, events);
        rows.into_keys().collect::<BTreeSet<_>>()
    };
    let first = ids(&case.changes(&after, &upto).await);
    assert!(first.is_superset(&(4..=9).collect()), "{first:?}");
    assert_eq!(ids(&case.changes(&after, &upto).await), first);
}

async fn another_incarnation_is_a_gap(case: &Case) {
    case.put(&numbered(1..=3)).await;
    let mut foreign = case.cut(None).await;
    foreign.incarnation.push_str(" of another life");
    let cut = case.source.cut(&case.table, Some(&foreign)).await;
    assert!(
        matches!(cut, Ok(Cut::Gap { .. })),
        "a position of another incarnation is cut as {cut:?}"
    );
}
