use futures::stream::BoxStream;
use model::{Batches, Bound, Chunk, Cut, Description, SourceEvent, TableSchema, VerifyColumn};
use test_support::{MemorySource, MemoryTracking, SampleRow, SimClock, sample_schema};

use super::*;
use crate::key_range;

/// Two sides in memory with the same rows.
struct Sides {
    clock: Arc<SimClock>,
    source: MemorySource,
    copy: MemorySource,
    table: TableName,
}

impl Sides {
    fn new(rows: i32, keyed: bool) -> Self {
        let clock = Arc::new(SimClock::default());
        let tracking = MemoryTracking::Timestamp { tolerance: 5 };
        let sides = Self {
            source: MemorySource::new(clock.clone(), tracking),
            copy: MemorySource::new(clock.clone(), tracking),
            clock,
            table: TableName::new("dbo", "Orders"),
        };
        for side in [&sides.source, &sides.copy] {
            side.create(&sides.table, keyed);
            side.put(&sides.table, (0..rows).map(row));
        }
        sides.clock.advance(100);
        sides
    }

    async fn applied(&self) -> Position {
        newest(&self.source, &self.table).await
    }

    async fn verify(&self, upstream: Vec<Position>) -> VerifyColumn {
        self.compare(Arc::new(self.copy.clone()), upstream).await
    }

    async fn compare(&self, copy: Arc<dyn ChangeSource>, upstream: Vec<Position>) -> VerifyColumn {
        let mut report = self.verified(copy, upstream).await.report;
        assert_eq!(report.against, "source");
        report.columns.remove(0)
    }

    async fn verified(&self, copy: Arc<dyn ChangeSource>, upstream: Vec<Position>) -> Verified {
        let verify = self.comparison(copy, upstream);
        verify.run(&CancellationToken::new()).await.unwrap()
    }

    fn comparison(&self, copy: Arc<dyn ChangeSource>, upstream: Vec<Position>) -> Verify {
        let side = |name: &str, source: Arc<dyn ChangeSource>, upstream| Side {
            name: name.into(),
            source,
            table: self.table.clone(),
            upstream,
        };
        let upstream = upstream.into_iter().map(|applied| Upstream {
            source: Arc::new(self.source.clone()),
            table: self.table.clone(),
            applied,
        });
        Verify {
            table: "dbo.Orders".into(),
            first: side("source", Arc::new(self.source.clone()), vec![]),
            others: vec![side("iceberg", copy, upstream.collect())],
            keys_named: 10,
            range: None,
            keys_only: false,
            most_deletes_percent: None,
        }
    }
}

async fn newest(source: &MemorySource, table: &TableName) -> Position {
    match source.cut(table, None).await.unwrap() {
        Cut::Complete { upto, .. } => upto,
        gap @ Cut::Gap { .. } => panic!("{gap:?}"),
    }
}

fn row(id: i32) -> SampleRow {
    SampleRow::new(id, "row", i64::from(id))
}

#[tokio::test]
async fn equal_sides_match_in_every_row() {
    for (rows, keyed) in [(0, true), (5_000, true), (20, false)] {
        let column = Sides::new(rows, keyed).verify(vec![]).await;
        let matched = rows as u64;
        assert_eq!(
            (column.rows, column.rows_here, column.matched),
            (matched, matched, matched)
        );
        assert!(column.keys.is_empty());
    }
}

#[tokio::test]
async fn every_planted_difference_is_named() {
    let sides = Sides::new(5_000, true);
    let planted = [
        SampleRow::new(7, "rov", 7),
        SampleRow::new(8, "row ", 8),
        SampleRow {
            amount: None,
            ..row(4_000)
        },
        row(9_000),
    ];
    sides.copy.put(&sides.table, planted);
    sides.copy.delete(&sides.table, [100, 4_999]);
    let mut column = sides.verify(vec![]).await;
    column.keys.sort();
    assert_eq!(
        column.keys,
        [
            "different {\"id\":4000}",
            "different {\"id\":7}",
            "different {\"id\":8}",
            "extra {\"id\":9000}",
            "missing {\"id\":100}",
            "missing {\"id\":4999}",
        ]
    );
    assert_eq!((column.rows, column.rows_here), (5_000, 4_999));
    assert_eq!((column.different, column.missing, column.extra), (3, 2, 1));
    assert_eq!(column.matched, 4_995);
}

#[tokio::test]
async fn only_keys_of_the_range_are_compared() {
    let sides = Sides::new(5_000, true);
    sides.copy.put(
        &sides.table,
        [7, 100, 101, 4_900, 4_901].map(|id| SampleRow::new(id, "rov", 0)),
    );
    sides.copy.delete(&sides.table, [6, 150, 4_999]);
    sides.source.delete(&sides.table, [160, 4_950]);
    let schema = sides.source.describe(&sides.table).await.unwrap().schema;
    let verify = Verify {
        range: Some(key_range(&schema, Some("101"), Some("4900")).unwrap()),
        ..sides.comparison(Arc::new(sides.copy.clone()), vec![])
    };
    let verified = verify.run(&CancellationToken::new()).await.unwrap();
    let column = &verified.report.columns[0];
    // 100 and 4901 lie in the same buckets as the ends.
    assert_eq!(
        (column.rows, column.rows_here, column.range_keys),
        (4_799, 4_799, 2)
    );
    let mut keys = column.keys.clone();
    keys.sort();
    let named = [
        "different {\"id\":101}",
        "different {\"id\":4900}",
        "extra {\"id\":160}",
        "missing {\"id\":150}",
    ];
    assert_eq!(keys, named);
    let found = verified.differing[0].keys.iter();
    assert_eq!(found.map(|part| part.keys.num_rows()).sum::<usize>(), 4);
}

#[tokio::test]
async fn twins_count_without_a_key() {
    let sides = Sides::new(20, false);
    sides.source.put(&sides.table, [row(3), row(3)]);
    sides.copy.put(&sides.table, [row(3), row(9)]);
    let column = sides.verify(vec![]).await;
    assert_eq!((column.missing, column.extra, column.different), (1, 1, 0));
    assert_eq!(column.matched, 21);
    assert_eq!(
        column
            .keys
            .iter()
            .filter(|key| key.contains("\"name\":\"row\""))
            .count(),
        2,
        "{:?}",
        column.keys
    );
}

/// A repair deletes what is extra before it writes anything, so a key that the first side has must never be.
#[tokio::test]
async fn a_key_that_the_first_side_has_is_not_extra_however_often_it_is_here() {
    let sides = Sides::new(10, true);
    // Without a key it holds twins.
    sides.copy.create(&sides.table, false);
    sides.copy.put(&sides.table, (0..10).map(row));
    let twins = [row(3), SampleRow::new(4, "older", 4), row(99)];
    sides.copy.put(&sides.table, twins);
    let verified = sides.verified(Arc::new(sides.copy.clone()), vec![]).await;
    assert_eq!(verified.report.columns[0].extra, 3);
    let differing = &verified.differing[0];
    let keys: usize = differing.keys.iter().map(|part| part.keys.num_rows()).sum();
    assert_eq!((keys, differing.extra()), (3, 1));
}

#[tokio::test]
async fn what_changed_after_the_position_is_pending() {
    let sides = Sides::new(100, true);
    let applied = sides.applied().await;
    sides.clock.advance(10);
    sides
        .source
        .put(&sides.table, [SampleRow::new(5, "newer", 5), row(500)]);
    sides.clock.advance(10);
    sides.copy.put(&sides.table, [SampleRow::new(6, "wrong", 6)]);
    let column = sides.verify(vec![applied]).await;
    assert_eq!(
        (column.pending, column.different, column.missing, column.extra),
        (2, 1, 0, 0)
    );
    assert_eq!(column.keys, ["different {\"id\":6}"]);
    let column = sides.verify(vec![]).await;
    assert_eq!(
        (column.pending, column.different, column.missing),
        (0, 2, 1),
        "without a position nothing is pending"
    );
}

/// An open transaction holds the cut back; what was committed since is not captured yet.
#[tokio::test]
async fn what_a_cut_leaves_for_later_is_pending() {
    let sides = Sides::new(10, true);
    let open = sides.source.begin();
    sides.clock.advance(10);
    let applied = sides.applied().await;
    sides
        .source
        .put(&sides.table, [SampleRow::new(5, "newer", 5), row(50)]);
    sides.clock.advance(10);
    let column = sides.verify(vec![applied]).await;
    assert_eq!(
        (column.pending, column.different, column.missing),
        (2, 0, 0),
        "{:?}",
        column.keys
    );
    drop(open);
}

/// Rows of the tolerance window are only read again; they must not excuse a difference.
#[tokio::test]
async fn a_row_that_a_window_reads_again_is_not_pending() {
    let sides = Sides::new(10, true);
    sides.source.put(&sides.table, [SampleRow::new(5, "lost", 5)]);
    sides.clock.advance(2);
    let applied = sides.applied().await;
    sides.clock.advance(10);
    let column = sides.verify(vec![applied]).await;
    assert_eq!((column.pending, column.different), (0, 1));
}

/// The sides are read one after the other while rows change; a second look settles it.
#[tokio::test]
async fn a_row_that_changes_while_the_sides_are_read_is_looked_at_again() {
    for yields in 0..60 {
        let sides = Sides::new(30, true);
        let changes = async {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            for side in [&sides.source, &sides.copy] {
                side.put(&sides.table, [SampleRow::new(17, "both", 1)]);
                side.delete(&sides.table, [3]);
            }
        };
        let (column, ()) = tokio::join!(sides.verify(vec![]), changes);
        assert_eq!(
            (column.different, column.missing, column.extra),
            (0, 0, 0),
            "changed after {yields} yields: {:?}",
            column.keys
        );
    }
}

/// A side on which the rows with id 17 and 18 change just before single keys are read.
struct Late(MemorySource);

#[async_trait::async_trait]
impl ChangeSource for Late {
    async fn read(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        selection: Selection,
        at: Option<&Position>,
    ) -> Result<Batches> {
        if matches!(selection, Selection::Keys(_)) {
            self.0.put(table, [row(17)]);
            self.0.delete(table, [18]);
        }
        self.0.read(table, schema, selection, at).await
    }

    async fn describe(&self, table: &TableName) -> Result<Description> {
        self.0.describe(table).await
    }

    async fn cut(&self, table: &TableName, after: Option<&Position>) -> Result<Cut> {
        self.0.cut(table, after).await
    }

    async fn chunks(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        start: &Position,
        after: Option<Bound>,
        rows: usize,
    ) -> Result<BoxStream<'static, Result<Chunk>>> {
        self.0.chunks(table, schema, start, after, rows).await
    }

    async fn changes(
        &self,
        table: &TableName,
        schema: &Arc<TableSchema>,
        after: &Position,
        upto: &Position,
    ) -> Result<BoxStream<'static, Result<SourceEvent>>> {
        self.0.changes(table, schema, after, upto).await
    }

    async fn acknowledge(&self, table: &TableName, upto: &Position) -> Result<()> {
        self.0.acknowledge(table, upto).await
    }
}

#[tokio::test]
async fn a_second_look_settles_what_changed_between_two_reads() {
    let sides = Sides::new(30, true);
    sides.source.delete(&sides.table, [18]);
    sides.copy.put(
        &sides.table,
        [SampleRow::new(17, "not yet", 17), SampleRow::new(5, "wrong", 5)],
    );
    let column = sides.compare(Arc::new(Late(sides.copy.clone())), vec![]).await;
    assert_eq!(column.keys, ["different {\"id\":5}"]);
    assert_eq!((column.matched, column.different, column.extra), (28, 1, 0));
}

#[tokio::test]
async fn a_side_without_a_column_is_refused() {
    let sides = Sides::new(1, true);
    let side = Side {
        name: "target".into(),
        source: Arc::new(sides.copy.clone()),
        table: sides.table.clone(),
        upstream: vec![],
    };
    let layout = Layout::new(&sample_schema(true));
    let narrow = sample_schema(true).arrow().project(&[0, 1]).unwrap();
    let narrow = model::TableSchema::new(Arc::new(narrow), vec![0], vec![None, None]).unwrap();
    let error = Reader::new(&side, narrow, &layout, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
    assert!(error.to_string().contains("amount"), "{error}");
}

/// Ten rows that went from a source through Iceberg into a target.
struct Chain {
    source: MemorySource,
    iceberg: MemorySource,
    target: MemorySource,
    table: TableName,
    verify: Verify,
}

impl Chain {
    async fn in_step() -> Self {
        let clock = Arc::new(SimClock::default());
        let table = TableName::new("dbo", "Orders");
        let place = || {
            let place = MemorySource::new(clock.clone(), MemoryTracking::Versions);
            place.create(&table, true);
            place.put(&table, (0..10).map(row));
            place
        };
        let (source, iceberg, target) = (place(), place(), place());
        let upstream = |source: &MemorySource, applied| Upstream {
            source: Arc::new(source.clone()),
            table: table.clone(),
            applied,
        };
        let captured = upstream(&source, newest(&source, &table).await);
        let applied = upstream(&iceberg, newest(&iceberg, &table).await);
        let side = |name: &str, source: &MemorySource, upstream| Side {
            name: name.into(),
            source: Arc::new(source.clone()),
            table: table.clone(),
            upstream,
        };
        let verify = Verify {
            table: "dbo.Orders".into(),
            first: side("source", &source, vec![]),
            others: vec![
                side("iceberg", &iceberg, vec![captured.clone()]),
                side("target", &target, vec![captured, applied]),
            ],
            keys_named: 10,
            range: None,
            keys_only: false,
            most_deletes_percent: None,
        };
        Self {
            source,
            iceberg,
            target,
            table,
            verify,
        }
    }
}

#[tokio::test]
async fn what_has_still_to_come_through_the_nearest_table_is_pending() {
    let chain = Chain::in_step().await;
    chain
        .source
        .put(&chain.table, [SampleRow::new(5, "newer", 5), row(50)]);
    chain.source.delete(&chain.table, [6]);
    let verified = chain.verify.run(&CancellationToken::new()).await.unwrap();
    for column in &verified.report.columns {
        assert_eq!((column.pending, column.different), (3, 0), "{column:?}");
    }
    assert!(verified.differing.iter().all(Differing::is_empty));
}

/// The source's change makes the row what it is in Iceberg already, so nothing will be committed there, and nothing will be applied.
#[tokio::test]
async fn a_row_that_is_unlike_the_nearest_table_is_not_pending() {
    for forgotten in [false, true] {
        let chain = Chain::in_step().await;
        chain.target.put(&chain.table, [SampleRow::new(4, "damaged", 4)]);
        chain.source.put(&chain.table, [row(4)]);
        if forgotten {
            chain.iceberg.put(&chain.table, [row(9)]);
            chain.iceberg.forget_history();
        }
        let verified = chain
            .verify
            .run_for_repair(&CancellationToken::new())
            .await
            .unwrap();
        let target = &verified.report.columns[1];
        assert_eq!(
            (target.pending, target.different),
            (0, 1),
            "forgotten: {forgotten}"
        );
        assert_eq!(verified.differing[1].keys.len(), 1);
        assert_eq!(verified.differing[1].restart.is_some(), forgotten);
    }
}

/// So that a source that is empty by mistake is not found out by holding all keys of the others.
#[tokio::test]
async fn a_comparison_ends_once_too_much_would_be_deleted() {
    let gone = |sides: &Sides| sides.source.delete(&sides.table, 0..11);
    let emptied = |sides: &Sides| sides.source.delete(&sides.table, 0..100);
    let replaced = |sides: &Sides| {
        sides.source.delete(&sides.table, 0..11);
        sides.source.put(&sides.table, (200..220).map(row));
    };
    let changes: [fn(&Sides); 3] = [gone, emptied, replaced];
    for (case, change) in changes.into_iter().enumerate() {
        let sides = Sides::new(100, true);
        change(&sides);
        for (percent, refused) in [(None, false), (Some(10), true), (Some(100), false)] {
            let mut verify = sides.comparison(Arc::new(sides.copy.clone()), vec![]);
            verify.most_deletes_percent = percent;
            let ended = verify.run(&CancellationToken::new()).await;
            let failed = ended.err().map(|error| error.kind());
            assert_eq!(
                failed,
                refused.then_some(ErrorKind::Config),
                "case {case}, {percent:?}"
            );
        }
    }
}

/// Missing keys would be held for nothing.
#[tokio::test]
async fn of_keys_alone_only_those_that_are_extra_are_told() {
    let sides = Sides::new(100, true);
    sides.copy.create(&sides.table, false);
    sides.copy.put(&sides.table, (10..100).map(row));
    sides.copy.put(&sides.table, [row(20), row(20), row(500)]);
    let mut verify = sides.comparison(Arc::new(sides.copy.clone()), vec![]);
    verify.keys_only = true;
    let verified = verify.run(&CancellationToken::new()).await.unwrap();
    let (column, differing) = (&verified.report.columns[0], &verified.differing[0]);
    assert_eq!((column.missing, column.extra), (10, 3));
    let keys: usize = differing.keys.iter().map(|part| part.keys.num_rows()).sum();
    assert_eq!((keys, differing.extra(), differing.doubled), (1, 1, 2));
}
