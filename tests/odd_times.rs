//! Rows whose time is odd, and what is declared for them: each is named by the report, and none is passed over in silence.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use async_trait::async_trait;
use futures::TryStreamExt;
use iceberg_writer::{IcebergSink, SchemaPolicy, TableOptions};
use model::{
    Batches, ChangeBatch, ChangeSink, Commit, CommitOutcome, Committed, OddTime, Prepare, Prepared, Result,
    RunReport, RunStatus, Selection, StageOutcome, Staged, SyncId, TableName, TableSchema,
};
use orchestrator::{Reconcile, Reconciled};
use sqlserver_source::{Late, TrackingOptions, Undated};

use crate::play::{HOUR, Play, SECOND};
use crate::twins::Leg;
use crate::world::dead_letters;

/// What the report says of odd times, by key: the key, what is odd, what it carries and what was done.
fn told(report: &RunReport) -> Vec<(&str, OddTime, &str, &str)> {
    let rows = report.late_arriving_data.iter();
    let told = rows.map(|row| {
        (
            row.record_id.as_str(),
            row.kind,
            row.actual.as_str(),
            row.handled.as_str(),
        )
    });
    let mut told: Vec<_> = told.collect();
    // The server returns rows in whatever order it likes.
    told.sort_by_key(|row| row.0);
    told
}

const SEVEN: &str = r#"{"id":7}"#;
const EIGHT: &str = r#"{"id":8}"#;

fn odd_rows(play: &Play) {
    play.sql("INSERT INTO dbo.Orders (id, name, updated_at) VALUES (7, N'no time', NULL), (8, N'for ever', '9999-12-31')");
    play.insert(9);
    play.later(5 * SECOND);
}

#[tokio::test]
async fn rows_without_a_time_and_of_the_future_are_named_when_they_change() {
    let play = Play::begin(None).await;
    play.sync().await;
    odd_rows(&play);
    let report = play.sync().await;
    assert_eq!(
        told(&report),
        [
            (SEVEN, OddTime::Missing, "NULL", "applied"),
            (EIGHT, OddTime::Ahead, "9999-12-31 00:00:00", "applied")
        ]
    );
    let counts = report.statistics;
    let counted = (
        counts.records_late,
        counts.records_without_time,
        counts.records_ahead,
        counts.records_held,
    );
    assert_eq!(counted, (0, 1, 1, 0));
    play.later(5 * SECOND);
    assert_eq!(
        told(&play.sync().await),
        [],
        "they are read again and have not changed"
    );
    play.end().await;
}

#[tokio::test]
async fn rows_are_held_until_they_have_a_time() {
    let mut play = Play::begin(None).await;
    (play.world.capture.window.nulls, play.world.capture.window.future) = (Undated::Hold, Undated::Hold);
    play.sync().await;
    odd_rows(&play);
    for _ in 0..2 {
        let report = play.sync().await;
        assert_eq!(
            told(&report),
            [
                (SEVEN, OddTime::Missing, "NULL", "held"),
                (EIGHT, OddTime::Ahead, "9999-12-31 00:00:00", "held")
            ]
        );
        assert_eq!(report.statistics.records_held, 2);
        play.later(5 * SECOND);
    }
    let snapshots = play.world.snapshots(&play.table()).await;
    let found = play.world.verify(&play.table()).await;
    for side in &found.columns {
        assert_eq!((side.pending, side.missing), (2, 0), "{found:#?}");
    }
    play.world.repair(&play.table()).await;
    let mut route = play.world.plain_route(&play.table());
    let iceberg = play.world.iceberg_source();
    route.syncs[0].reconcile = Some(Reconcile::new(Duration::ZERO, Reconciled::All, iceberg));
    let report = play.world.run(route).await;
    assert!(
        report.tables.iter().any(|table| table.mode == "reconcile"),
        "{report:#?}"
    );
    assert_eq!(play.world.snapshots(&play.table()).await, snapshots);
    for (id, held) in [(7, 1), (8, 0)] {
        play.sql(&format!(
            "UPDATE dbo.Orders SET updated_at = SYSUTCDATETIME() WHERE id = {id}"
        ));
        play.later(5 * SECOND);
        assert_eq!(told(&play.sync().await).len(), held);
    }
    play.end().await;
}

#[tokio::test]
async fn rows_that_must_not_be_stop_the_table_before_anything_is_applied() {
    for (null, id, name) in [(true, 7, SEVEN), (false, 8, EIGHT)] {
        let mut play = Play::begin(None).await;
        let window = &mut play.world.capture.window;
        *(if null {
            &mut window.nulls
        } else {
            &mut window.future
        }) = Undated::Fail;
        play.sync().await;
        let snapshots = play.world.snapshots(&play.table()).await;
        odd_rows(&play);
        let report = play.fails().await;
        assert_eq!(report.errors[0].kind, "data");
        assert!(report.errors[0].message.contains(name), "{report:#?}");
        assert!(
            told(&report)
                .iter()
                .any(|row| row.0 == name && row.3 == "refused"),
            "{report:#?}"
        );
        assert_eq!(play.world.snapshots(&play.table()).await, snapshots);
        let found = play.world.verify(&play.table()).await;
        assert!(!found.all_match(), "verify looks nevertheless");
        play.sql(&format!(
            "UPDATE dbo.Orders SET updated_at = SYSUTCDATETIME() WHERE id = {id}"
        ));
        play.later(5 * SECOND);
        play.sync().await;
        play.end().await;
    }
}

#[tokio::test]
async fn a_row_that_comes_late_stops_the_table_until_it_is_let_in() {
    let play = late_by(Late::Fail, 3).await;
    play.insert(11);
    play.later(5 * SECOND);
    let snapshots = play.world.snapshots(&play.table()).await;
    for _ in 0..2 {
        let report = play.fails().await;
        let [late] = &report.late_arriving_data[..] else {
            panic!("{report:#?}")
        };
        let named = (
            late.record_id.as_str(),
            late.kind,
            late.delay_seconds,
            late.handled.as_str(),
        );
        assert_eq!(named, (SEVEN, OddTime::Late, 3.0, "refused"));
        assert_eq!(report.statistics.records_late, 1);
        assert_eq!(play.world.snapshots(&play.table()).await, snapshots);
    }
    play.world.repair(&play.table()).await;
    assert_eq!(told(&play.sync().await), []);
    play.end().await;
}

#[tokio::test]
async fn rows_that_nobody_has_updated_yet_are_told_by_the_time_of_their_making() {
    let mut play = Play::begin(None).await;
    play.sql("ALTER TABLE dbo.Orders ADD created_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME()");
    play.sql("UPDATE dbo.Orders SET updated_at = NULL WHERE id = 1");
    play.later(HOUR);
    play.world.capture.window.nulls = Undated::Hold;
    play.world.capture.tracking = Some(TrackingOptions {
        column: "updated_at".into(),
        kind: None,
        clock: None,
        zone: None,
        also: vec!["created_at".into()],
    });
    play.sync().await;
    // The row of the watermark is read again, and no other.
    for (id, processed) in [(10, 1), (11, 2)] {
        play.sql(&format!(
            "INSERT INTO dbo.Orders (id, name, updated_at) VALUES ({id}, N'new', NULL)"
        ));
        play.later(30 * SECOND);
        let report = play.sync().await;
        assert_eq!(told(&report), []);
        let read = &report.tables[0].statistics;
        let counts = (read.records_processed, read.records_inserted);
        assert_eq!(counts, (processed, 1), "{report:#?}");
    }
    play.sql("UPDATE dbo.Orders SET name = N'changed', updated_at = SYSUTCDATETIME() WHERE id IN (1, 10)");
    play.later(30 * SECOND);
    let report = play.sync().await;
    assert_eq!(report.tables[0].statistics.records_updated, 2, "{report:#?}");
    // A last row, so that none of the others has the time of the watermark.
    play.insert(12);
    play.later(30 * SECOND);
    play.sync().await;
    play.end().await;
}

/// Other programs set other columns. A row's time is the latest, whichever it is.
#[tokio::test]
async fn a_change_is_told_by_any_of_several_columns() {
    for also in [vec![], vec!["priced_at".to_owned(), "packed_at".to_owned()]] {
        let mut play = Play::begin(None).await;
        play.sql("ALTER TABLE dbo.Orders ADD priced_at datetime2(3) NULL, packed_at datetime2(3) NULL");
        play.later(HOUR);
        play.world.capture.tracking = Some(TrackingOptions {
            column: "updated_at".into(),
            kind: None,
            clock: None,
            zone: None,
            also: also.clone(),
        });
        (play.world.capture.window.late, play.world.capture.window.future) =
            (Late::DeadLetter, Undated::Hold);
        play.sync().await;
        for column in ["priced_at", "packed_at", "updated_at"] {
            play.sql(&format!(
                "UPDATE dbo.Orders SET name = N'by {column}', {column} = SYSUTCDATETIME() WHERE id = 1"
            ));
            play.later(30 * SECOND);
            let report = play.sync().await;
            let updated = report.tables[0].statistics.records_updated;
            let told_of = column == "updated_at" || !also.is_empty();
            assert_eq!(updated, u64::from(told_of), "{column} {report:#?}");
        }
        if also.is_empty() {
            continue;
        }
        // Late is what all of its times are; ahead what any is.
        insert_before(&play, 7, 2, 1);
        play.sql(
            "UPDATE dbo.Orders SET priced_at = '9999-12-31', updated_at = SYSUTCDATETIME() WHERE id = 2",
        );
        play.sql("UPDATE dbo.Orders SET name = N'packed', updated_at = '2001-01-01', packed_at = SYSUTCDATETIME() WHERE id = 3");
        play.later(30 * SECOND);
        let report = play.sync().await;
        let odd = [
            (r#"{"id":2}"#, OddTime::Ahead, "9999-12-31 00:00:00", "held"),
            (SEVEN, OddTime::Late, told(&report)[1].2, "dead_letter"),
        ];
        assert_eq!(told(&report), odd, "{report:#?}");
        assert_eq!(report.tables[0].statistics.records_updated, 1);
        play.sql("UPDATE dbo.Orders SET priced_at = SYSUTCDATETIME() WHERE id IN (2, 7)");
        play.later(30 * SECOND);
        play.sync().await;
        // The columns are part of the position.
        if let Some(tracking) = &mut play.world.capture.tracking {
            tracking.also.pop();
        }
        let report = play.world.run(play.world.plain_route(&play.table())).await;
        assert_eq!(report.metadata.status, RunStatus::Gap, "{report:#?}");
    }
}

#[tokio::test]
async fn a_further_column_of_another_type_is_refused() {
    let mut play = Play::begin(None).await;
    play.world.capture.tracking = Some(TrackingOptions {
        column: "updated_at".into(),
        kind: None,
        clock: None,
        zone: None,
        also: vec!["name".into()],
    });
    let report = play.fails().await;
    assert!(report.errors[0].message.contains("also"), "{report:#?}");
}

/// The dead letters: the row, why it is one, and of which table it is.
async fn letters(play: &Play) -> Vec<String> {
    let (source, table) = (play.world.iceberg_source(), dead_letters(&play.table()));
    let schema = source.describe(&table).await.unwrap().schema;
    let rows = source.read(&table, &schema, Selection::All, None).await.unwrap();
    let batches: Vec<ChangeBatch> = rows.try_collect().await.unwrap();
    let mut letters = Vec::new();
    for rows in batches.iter().map(|batch| &batch.rows) {
        let column = |name| rows.column_by_name(name).unwrap();
        let text = |name, row| column(name).as_string::<i32>().value(row).to_owned();
        for row in 0..rows.num_rows() {
            let id = column("id").as_primitive::<Int32Type>().value(row);
            let told = ["name", "dead_letter_reason", "dead_letter_table"].map(|name| text(name, row));
            letters.push(format!("{id} {}", told.join("|")));
        }
    }
    letters.sort();
    letters
}

const LETTER_SEVEN: &str = "7 no time|missing|dbo.Orders";
const LETTER_EIGHT: &str = "8 for ever|ahead|dbo.Orders";

#[tokio::test]
async fn rows_that_have_no_time_go_whole_among_the_dead_letters_and_come_once_they_have_one() {
    let mut play = Play::begin(None).await;
    let window = &mut play.world.capture.window;
    (window.nulls, window.future) = (Undated::DeadLetter, Undated::DeadLetter);
    play.sync().await;
    odd_rows(&play);
    let report = play.sync().await;
    assert_eq!(
        told(&report),
        [
            (SEVEN, OddTime::Missing, "NULL", "dead_letter"),
            (EIGHT, OddTime::Ahead, "9999-12-31 00:00:00", "dead_letter")
        ]
    );
    let counts = report.statistics;
    assert_eq!(
        (counts.records_dead_lettered, counts.records_inserted),
        (2, 2),
        "{report:#?}"
    );
    assert_eq!(letters(&play).await, [LETTER_SEVEN, LETTER_EIGHT]);
    let found = play.world.verify(&play.table()).await;
    for side in &found.columns {
        assert_eq!((side.pending, side.missing), (2, 0), "{found:#?}");
    }
    play.world.repair(&play.table()).await;
    // They are read on every run, and are there.
    let snapshots = play.world.snapshots(&dead_letters(&play.table())).await;
    play.later(5 * SECOND);
    let report = play.sync().await;
    assert_eq!(
        (told(&report), report.statistics.records_dead_lettered),
        (vec![], 0)
    );
    assert_eq!(
        play.world.snapshots(&dead_letters(&play.table())).await,
        snapshots
    );
    // A letter is the row as it was last.
    play.sql("UPDATE dbo.Orders SET name = N'still none' WHERE id = 7");
    play.later(5 * SECOND);
    assert_eq!(play.sync().await.statistics.records_dead_lettered, 1);
    assert_eq!(
        letters(&play).await,
        ["7 still none|missing|dbo.Orders", LETTER_EIGHT]
    );
    for id in [7, 8] {
        play.sql(&format!(
            "UPDATE dbo.Orders SET updated_at = SYSUTCDATETIME() WHERE id = {id}"
        ));
        play.later(5 * SECOND);
        assert_eq!(play.sync().await.tables[0].statistics.records_inserted, 1);
    }
    play.end().await;
}

#[tokio::test]
async fn a_row_that_comes_late_is_a_dead_letter_until_it_is_let_in() {
    let play = late_by(Late::DeadLetter, 2).await;
    // The second run reads it again.
    for (id, new) in [(11, 1), (12, 0)] {
        play.insert(id);
        play.later(2 * SECOND);
        let report = play.sync().await;
        let counts = &report.tables[0].statistics;
        let counts = (
            counts.records_dead_lettered,
            counts.records_late,
            counts.records_inserted,
        );
        assert_eq!(counts, (new, 0, 1), "{report:#?}");
        assert_eq!(letters(&play).await, ["7 late|late|dbo.Orders"]);
    }
    assert_eq!(play.world.verify(&play.table()).await.columns[0].missing, 1);
    play.world.repair(&play.table()).await;
    play.later(2 * SECOND);
    assert_eq!(told(&play.sync().await), []);
    play.insert(20);
    play.later(HOUR);
    play.sync().await;
    play.end().await;
}

/// A process that is killed between the letters and the increment that they are of; one that knows nothing of the former's epoch.
#[tokio::test]
async fn a_repeated_cycle_does_not_double_dead_letters() {
    let mut play = Play::begin(None).await;
    let window = &mut play.world.capture.window;
    (window.nulls, window.future) = (Undated::DeadLetter, Undated::DeadLetter);
    play.sync().await;
    odd_rows(&play);
    let snapshots = play.world.snapshots(&play.table()).await;
    for _ in 0..3 {
        play.later(5 * SECOND);
        play.sync_killed(Leg::Capture).await;
        assert_eq!(letters(&play).await, [LETTER_SEVEN, LETTER_EIGHT]);
        if play.world.snapshots(&play.table()).await > snapshots {
            break;
        }
    }
    // The table of dead letters meets later epochs than the target does.
    for name in ["a", "b", "c", "d"] {
        if name == "d" {
            play.world.lose_state();
        }
        play.sql(&format!("UPDATE dbo.Orders SET name = N'{name}' WHERE id = 7"));
        play.later(5 * SECOND);
        let report = play.sync().await;
        assert_eq!(report.statistics.records_dead_lettered, 1, "{report:#?}");
        assert_eq!(letters(&play).await.len(), 2);
    }
    play.sql("UPDATE dbo.Orders SET updated_at = SYSUTCDATETIME() WHERE id IN (7, 8)");
    play.later(5 * SECOND);
    play.sync().await;
    play.end().await;
}

/// The main table has this policy, that of its letters the one that takes whatever it can.
fn with_policy(play: &mut Play, schema_changes: SchemaPolicy) {
    let policy = |schema_changes| TableOptions {
        schema_changes,
        ..TableOptions::default()
    };
    play.world.layouts = vec![
        (play.table(), policy(schema_changes)),
        (dead_letters(&play.table()), policy(SchemaPolicy::Lenient)),
    ];
    let window = &mut play.world.capture.window;
    (window.nulls, window.future) = (Undated::DeadLetter, Undated::DeadLetter);
}

/// The columns of letters.
async fn columns_of_letters(play: &Play) -> Vec<String> {
    let described = play
        .world
        .iceberg_source()
        .describe(&dead_letters(&play.table()))
        .await;
    let schema = described.unwrap().schema;
    let names = schema.arrow().fields().iter().map(|field| field.name().clone());
    names.filter(|name| !name.starts_with("dead_letter")).collect()
}

#[tokio::test]
async fn letters_are_whole_where_the_table_takes_less_or_has_wider_columns() {
    for (policy, before, after) in [
        (SchemaPolicy::Ignore, None, "ADD qty int NOT NULL DEFAULT 5"),
        (
            SchemaPolicy::Lenient,
            Some("ADD qty bigint NULL"),
            "ALTER COLUMN qty int NULL",
        ),
    ] {
        let mut play = Play::begin(None).await;
        with_policy(&mut play, policy);
        if let Some(before) = before {
            play.sql(&format!("ALTER TABLE dbo.Orders {before}"));
        }
        play.sync().await;
        play.sql(&format!("ALTER TABLE dbo.Orders {after}"));
        play.later(5 * SECOND);
        play.sync().await;
        odd_rows(&play);
        let report = play.sync().await;
        assert_eq!(report.statistics.records_dead_lettered, 2, "{report:#?}");
        assert_eq!(letters(&play).await, [LETTER_SEVEN, LETTER_EIGHT]);
        assert_eq!(
            columns_of_letters(&play).await,
            ["id", "name", "updated_at", "qty"]
        );
        let snapshots = play.world.snapshots(&dead_letters(&play.table())).await;
        play.later(5 * SECOND);
        play.sync().await;
        assert_eq!(
            play.world.snapshots(&dead_letters(&play.table())).await,
            snapshots
        );
    }
}

/// How many rows the Iceberg table has.
async fn rows(play: &Play) -> usize {
    let (source, table) = (play.world.iceberg_source(), play.table());
    let schema = source.describe(&table).await.unwrap().schema;
    let rows = source.read(&table, &schema, Selection::All, None).await.unwrap();
    let batches: Vec<ChangeBatch> = rows.try_collect().await.unwrap();
    batches.iter().map(ChangeBatch::len).sum()
}

#[tokio::test]
async fn rows_that_are_held_stay_so_when_a_column_is_added() {
    let mut play = Play::begin(None).await;
    with_policy(&mut play, SchemaPolicy::Ignore);
    let window = &mut play.world.capture.window;
    (window.nulls, window.future) = (Undated::Hold, Undated::Hold);
    play.sync().await;
    odd_rows(&play);
    play.sync().await;
    play.sql("ALTER TABLE dbo.Orders ADD c int NOT NULL DEFAULT 0");
    for _ in 0..2 {
        play.later(5 * SECOND);
        assert_eq!(play.sync().await.statistics.records_held, 2);
        assert_eq!(rows(&play).await, 4);
    }
}

#[tokio::test]
async fn letters_that_stand_take_new_columns() {
    let mut play = Play::begin(None).await;
    with_policy(&mut play, SchemaPolicy::Ignore);
    play.sync().await;
    odd_rows(&play);
    play.sync().await;
    play.sql("ALTER TABLE dbo.Orders ADD c nvarchar(max) NOT NULL DEFAULT N'x'");
    let mut put = Vec::new();
    for _ in 0..4 {
        play.later(5 * SECOND);
        put.push(play.sync().await.statistics.records_dead_lettered);
    }
    play.sql("UPDATE dbo.Orders SET c = N'y' WHERE id = 7");
    play.later(5 * SECOND);
    put.push(play.sync().await.statistics.records_dead_lettered);
    assert_eq!(put, [0, 2, 0, 0, 1], "the letters lack the column once");
    assert_eq!(letters(&play).await, [LETTER_SEVEN, LETTER_EIGHT]);
    assert_eq!(columns_of_letters(&play).await, ["id", "name", "updated_at", "c"]);
    assert_eq!(rows(&play).await, 4, "the new column lets no dead letter in");
}

#[tokio::test]
async fn a_table_that_only_has_the_name_of_dead_letters_is_left_alone() {
    let mut play = Play::begin(None).await;
    with_policy(&mut play, SchemaPolicy::Lenient);
    play.sync().await;
    let source = play.world.source(&play.table(), play.world.capture.clone());
    let prepare = Prepare {
        sync: SyncId::new("another"),
        table: dead_letters(&play.table()),
        schema: source.describe(&play.table()).await.unwrap().schema,
        create: true,
        replace: false,
        adopt: false,
        dry_run: false,
    };
    play.world.iceberg_sink().prepare(&prepare).await.unwrap();
    odd_rows(&play);
    let report = play.fails().await;
    assert!(
        report.errors[0].message.contains("holds something else"),
        "{report:#?}"
    );
    assert_eq!(columns_of_letters(&play).await, ["id", "name", "updated_at"]);
}

#[tokio::test]
async fn letters_of_another_key_must_make_way() {
    let mut play = Play::begin(None).await;
    with_policy(&mut play, SchemaPolicy::Lenient);
    play.sync().await;
    odd_rows(&play);
    play.sync().await;
    play.sql("DROP TABLE dbo.Orders");
    play.sql("CREATE TABLE dbo.Orders (id int NULL, name nvarchar(40) NOT NULL PRIMARY KEY, updated_at datetime2(3) NULL)");
    play.world.lose_state();
    play.sql("INSERT INTO dbo.Orders VALUES (1, N'odd', NULL)");
    play.later(5 * SECOND);
    let mut route = play.world.plain_route(&play.table());
    route.syncs.truncate(1);
    route.syncs[0].target_table = TableName::new("dbo", "Others");
    // The copy takes the row as it is, and the increment behind it reads it again.
    play.world.run(route.clone()).await;
    play.sql("UPDATE dbo.Orders SET id = 2");
    let report = play.world.run(route).await;
    let told = report.errors.first().map(|error| error.advice.as_str());
    assert!(
        told.is_some_and(|told| told.contains("rename or drop")),
        "{report:#?}"
    );
}

/// A target that compares only when it commits.
struct Blind(IcebergSink);

#[async_trait]
impl ChangeSink for Blind {
    async fn committed(&self, sync: &SyncId, table: &TableName) -> Result<Committed> {
        self.0.committed(sync, table).await
    }

    async fn prepare(&self, prepare: &Prepare) -> Result<Prepared> {
        self.0.prepare(prepare).await
    }

    async fn stage(
        &self,
        sync: &SyncId,
        table: &TableName,
        schema: &Arc<TableSchema>,
        rows: Batches,
    ) -> Result<StageOutcome> {
        let staged = self.0.stage(sync, table, schema, rows).await?;
        Ok(StageOutcome {
            not_identical: Vec::new(),
            ..staged
        })
    }

    async fn commit(&self, commit: &Commit) -> Result<CommitOutcome> {
        self.0.commit(commit).await
    }

    async fn discard(&self, staged: Vec<Staged>) -> Result<()> {
        self.0.discard(staged).await
    }
}

#[tokio::test]
async fn dead_letters_are_refused_where_the_target_does_not_tell_what_it_holds() {
    let mut play = Play::begin(None).await;
    play.world.capture.window.nulls = Undated::DeadLetter;
    play.sync().await;
    odd_rows(&play);
    let world = &play.world;
    for _ in 0..2 {
        let source = world.source(&play.table(), world.capture.clone());
        let (blind, target) = (Blind(world.iceberg_sink()), world.target_sink());
        let route = world.route(&play.table(), source, Arc::new(blind), Arc::new(target));
        let report = world.run(route).await;
        assert_eq!(report.errors[0].kind, "unsupported", "{report:#?}");
    }
    assert_eq!(play.sync().await.statistics.records_dead_lettered, 1);
}

/// A row 7 that comes so many seconds late.
async fn late_by(policy: Late, seconds: i32) -> Play {
    let mut play = Play::begin(None).await;
    play.world.capture.window.late = policy;
    play.sync().await;
    play.later(HOUR);
    play.insert(10);
    play.later(5 * SECOND);
    assert_eq!(told(&play.sync().await), []);
    insert_before(&play, 7, seconds, 10);
    play
}

/// A row as much before the one that was read last; the watermark is its time.
fn insert_before(play: &Play, id: i32, seconds: i32, last: i32) {
    play.sql(&format!(
        "INSERT INTO dbo.Orders (id, name, updated_at) SELECT {id}, N'late', DATEADD(second, -{seconds}, updated_at) FROM dbo.Orders WHERE id = {last}"
    ));
}

#[tokio::test]
async fn the_tolerance_widens_to_twice_the_lateness() {
    for (most, found) in [(None, false), (Some(12), false), (Some(60), true)] {
        let mut play = Play::begin(None).await;
        play.world.capture.window.tolerance_max_seconds = most;
        play.sync().await;
        play.later(HOUR);
        play.insert(10);
        play.later(5 * SECOND);
        play.sync().await;
        insert_before(&play, 7, 9, 10);
        play.insert(11);
        play.later(5 * SECOND);
        assert_eq!(told(&play.sync().await).len(), 1);
        // The mark in the target knows as well.
        play.world.lose_state();
        insert_before(&play, 8, 15, 11);
        play.insert(12);
        play.later(5 * SECOND);
        let report = play.sync().await;
        assert_eq!(told(&report).len(), usize::from(found), "{most:?} {report:#?}");
        let said = report
            .warnings
            .iter()
            .any(|warning| warning.contains("tolerance_seconds"));
        assert_eq!(said, most.is_some(), "{report:#?}");
        let missing = play.world.verify(&play.table()).await.columns[0].missing;
        assert_eq!(missing, u64::from(!found));
        // An increment that finds nothing forgets nothing.
        play.later(HOUR);
        play.sync().await;
        play.insert(13);
        play.later(5 * SECOND);
        play.sync().await;
        insert_before(&play, 9, 15, 13);
        play.insert(14);
        play.later(5 * SECOND);
        assert_eq!(told(&play.sync().await).len(), usize::from(found));
    }
}

#[tokio::test]
async fn the_tolerance_widens_to_the_steps_that_the_clock_takes_back() {
    // Small steps add up.
    let steps = [&[60_i64][..], &[8, 8, 8]].map(|steps| [(None, false, steps), (Some(300), true, steps)]);
    for (most, found, steps) in steps.into_iter().flatten() {
        let mut play = Play::begin(None).await;
        play.world.capture.window.tolerance_max_seconds = most;
        play.sync().await;
        play.later(HOUR);
        play.insert(10);
        play.later(5 * SECOND);
        play.sync().await;
        for step in steps {
            play.later(-step * SECOND);
            play.sync().await;
        }
        for id in 11..15 {
            play.insert(id);
            play.later(2 * SECOND);
            play.sync().await;
        }
        let missing = play.world.verify(&play.table()).await.columns[0].missing;
        assert_eq!(missing == 0, found, "{most:?} {steps:?}");
    }
}
