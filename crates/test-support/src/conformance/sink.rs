//! The suite of [`ChangeSink`].

mod case;

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use futures::stream;
use model::{
    BatchId, ChangeSink, CommitOutcome, Committed, Epoch, Mark, Op, Prepare, Presence, Replace, StageOutcome,
    SyncId, TableName,
};

use crate::{SampleRow, kill_after, sample_schema};
use case::{Case, at, inserts, position, rows_of};

/// A target to test: a fresh place without tables.
#[async_trait]
pub trait SinkUnderTest: Send + Sync {
    /// A sink over this place. Each call is another process: nothing is shared but what is durable.
    async fn open(&self) -> Arc<dyn ChangeSink>;

    /// The rows of a table as a reader of the target sees them.
    async fn rows(&self, table: &TableName) -> Vec<RecordBatch>;

    /// Whether another process can commit what one has staged. If not, committing it there ends as a conflict on an
    /// unmoved mark, and the rows are staged again.
    fn staged_rows_outlive_their_process(&self) -> bool {
        true
    }

    /// The table that the suite creates.
    fn table(&self) -> TableName {
        TableName::new("dbo", "Sample")
    }
}

/// Asks a sink whether it keeps the contract. `make` returns a fresh, empty place.
pub async fn sink_conformance<F>(make: impl Fn() -> F)
where
    F: Future<Output = Box<dyn SinkUnderTest>>,
{
    preparing_creates_once(make().await).await;
    let keyed = async || Case::new(make().await, true).await;
    an_empty_commit_records_the_mark(keyed().await).await;
    staged_rows_are_invisible_until_they_are_committed(keyed().await).await;
    a_copy_advances_chunk_by_chunk(keyed().await).await;
    changes_apply_by_key(keyed().await).await;
    identical_rows_are_dropped_and_almost_identical_ones_are_not(keyed().await).await;
    a_commit_on_another_mark_conflicts(keyed().await).await;
    an_older_epoch_conflicts(keyed().await).await;
    the_same_commit_twice_is_one(keyed().await).await;
    of_two_commits_on_one_mark_one_wins(keyed().await).await;
    replacing_swaps_the_whole_table(keyed().await).await;
    discarded_rows_never_appear(keyed().await).await;
    rows_staged_alone_are_committed_or_gone(keyed().await).await;
    for polls in 0..12 {
        a_cancelled_commit_is_all_or_nothing(keyed().await, polls).await;
        a_cancelled_commit_of_rows_staged_alone_is_all_or_nothing(keyed().await, polls).await;
        rows_whose_staging_alone_was_cancelled_never_appear(keyed().await, polls).await;
    }
    twins_survive_without_a_key(Case::new(make().await, false).await).await;
}

async fn preparing_creates_once(place: Box<dyn SinkUnderTest>) {
    let case = Case {
        sink: place.open().await,
        sync: SyncId::new("conformance/dbo.Sample/to"),
        table: place.table(),
        schema: sample_schema(true),
        place,
    };
    assert_eq!(
        case.committed().await,
        Committed::default(),
        "a table that does not exist carries no mark"
    );
    let dry = Prepare {
        dry_run: true,
        ..case.prepare()
    };
    for _ in 0..2 {
        let would = case.sink.prepare(&dry).await.expect("a dry run works");
        assert!(would.created, "a dry run tells that the table would be created");
    }
    let missing = Prepare {
        create: false,
        ..case.prepare()
    };
    assert!(
        case.sink.prepare(&missing).await.is_err(),
        "a missing table is refused unless it may be created"
    );
    assert!(
        case.sink
            .prepare(&case.prepare())
            .await
            .expect("the table is created")
            .created
    );
    let again = case
        .sink
        .prepare(&case.prepare())
        .await
        .expect("our own table is prepared again");
    assert!(!again.created);
    assert_eq!(case.committed().await.mark, None, "preparing sets no mark");
}

async fn an_empty_commit_records_the_mark(case: Case) {
    let commit = case.next("empty", at("empty"), vec![]).await;
    let receipt = case.commit(&commit).await;
    assert_eq!((receipt.inserted, receipt.updated, receipt.deleted), (0, 0, 0));
    let elsewhere = case.place.open().await;
    let newest = elsewhere
        .committed(&case.sync, &case.table)
        .await
        .expect("another process sees the mark");
    assert_eq!(newest.mark, Some(at("empty")));
    assert_eq!(newest.batch, Some(BatchId::new("empty")));
    assert_eq!(newest.epoch, Epoch(1));
    assert_eq!(newest.reference, Some(receipt.reference));
    assert!(case.rows().await.is_empty());
}

async fn staged_rows_are_invisible_until_they_are_committed(case: Case) {
    let changes = inserts(1..=5);
    let staged = case.stage(&changes, Presence::Absent).await;
    assert!(case.rows().await.is_empty(), "staged rows can be seen");
    assert_eq!(case.committed().await.mark, None);
    let commit = case.next("a", at("a"), staged.staged).await;
    let receipt = case.commit(&commit).await;
    assert_eq!(receipt.inserted, 5);
    assert_eq!(case.rows().await, rows_of(&changes));
}

async fn a_copy_advances_chunk_by_chunk(case: Case) {
    let mut expect = Vec::new();
    for chunk in 0..3 {
        let changes = inserts(chunk * 10..chunk * 10 + 4);
        let staged = case.stage(&changes, Presence::Absent).await;
        let mark = Mark::Copying {
            start: position("start"),
            through: Some(model::Bound::new(format!("[{chunk}]"))),
        };
        let commit = case
            .next(&format!("chunk {chunk}"), mark.clone(), staged.staged)
            .await;
        assert_eq!(case.commit(&commit).await.inserted, 4);
        assert_eq!(case.committed().await.mark, Some(mark));
        expect.extend(rows_of(&changes));
        assert_eq!(case.rows().await, expect);
    }
    let done = case.next("done", at("start"), vec![]).await;
    case.commit(&done).await;
    assert_eq!(case.committed().await.mark, Some(at("start")));
    assert_eq!(case.rows().await, expect);
}

async fn changes_apply_by_key(case: Case) {
    case.apply("first", &inserts(1..=6), Presence::Absent).await;
    let null = SampleRow {
        id: 2,
        name: None,
        amount: None,
    };
    let changes = [
        (Op::Update, SampleRow::new(1, "", 0)),
        (Op::Upsert, null.clone()),
        (Op::Upsert, SampleRow::new(7, "seven", 7)),
        (Op::Insert, SampleRow::new(8, "größer 𝒳 '\"", i64::MIN)),
        (Op::Delete, SampleRow::new(3, "row 3", 3)),
        (
            Op::Delete,
            SampleRow {
                id: 4,
                name: None,
                amount: None,
            },
        ),
        (Op::Delete, SampleRow::new(99, "never there", 0)),
    ];
    let (_, receipt) = case.apply("second", &changes, Presence::Unknown).await;
    assert_eq!(
        (receipt.inserted, receipt.updated, receipt.deleted),
        (2, 2, 2),
        "the receipt counts what was done"
    );
    let expect = [
        SampleRow::new(1, "", 0),
        null,
        SampleRow::new(5, "row 5", 5),
        SampleRow::new(6, "row 6", 6),
        SampleRow::new(7, "seven", 7),
        SampleRow::new(8, "größer 𝒳 '\"", i64::MIN),
    ];
    assert_eq!(case.rows().await, expect);
}

async fn identical_rows_are_dropped_and_almost_identical_ones_are_not(case: Case) {
    let rows = [(1, "abc"), (2, "abc"), (3, "abc"), (4, "abc")];
    let rows = rows.map(|(id, name)| (Op::Upsert, SampleRow::new(id, name, 1)));
    case.apply("first", &rows, Presence::Absent).await;

    let staged = case.stage(&rows, Presence::PerhapsIdentical).await;
    let mut unchanged = staged.unchanged;
    if !staged.staged.is_empty() {
        let commit = case.next("same", at("same"), staged.staged).await;
        let receipt = case.commit(&commit).await;
        assert_eq!((receipt.inserted, receipt.updated, receipt.deleted), (0, 0, 0));
        unchanged += receipt.unchanged;
    }
    assert_eq!(
        unchanged, 4,
        "rows that the target holds are counted as unchanged"
    );
    assert_eq!(case.rows().await, rows_of(&rows));

    let almost = [(1, "abc"), (2, "ABC"), (3, "abc "), (4, "abc\0")];
    let almost = almost.map(|(id, name)| (Op::Upsert, SampleRow::new(id, name, 1)));
    let (staged, receipt) = case.apply("almost", &almost, Presence::PerhapsIdentical).await;
    let told: usize = staged.not_identical.iter().map(|rows| rows.num_rows()).sum();
    assert_eq!(told, 0, "rows are given back that nobody asked for");
    assert_eq!(
        (receipt.updated, staged.unchanged + receipt.unchanged),
        (3, 1),
        "case, a trailing blank and a trailing NUL are differences"
    );
    assert_eq!(case.rows().await, rows_of(&almost));

    let batch = case.batch(&rows[..2], Presence::PerhapsIdentical).asked_back();
    let staged = case.stage_batches(Box::pin(stream::iter([Ok(batch)]))).await;
    let told: usize = staged.not_identical.iter().map(|rows| rows.num_rows()).sum();
    assert_eq!(told, if staged.unchanged == 0 { 0 } else { 1 });
    case.sink.discard(staged.staged).await.expect("discarding works");
}

async fn a_commit_on_another_mark_conflicts(case: Case) {
    let staged = case.stage(&inserts([1]), Presence::Unknown).await;
    let early = case.next("early", at("early"), staged.staged).await;
    case.apply("first", &inserts([2]), Presence::Unknown).await;
    let newest = case.conflicts(&early).await;
    assert_eq!(newest.mark, Some(at("first")));
    let staged = case.stage(&inserts([3]), Presence::Unknown).await;
    let mut wrong = case.next("wrong", at("wrong"), staged.staged).await;
    wrong.after = Some(Mark::Copying {
        start: position("first"),
        through: None,
    });
    case.conflicts(&wrong).await;
}

async fn an_older_epoch_conflicts(case: Case) {
    let mut newer = case.next("newer", at("newer"), vec![]).await;
    newer.epoch = Epoch(5);
    case.commit(&newer).await;
    let staged = case.stage(&inserts([1]), Presence::Unknown).await;
    let mut older = case.next("older", at("older"), staged.staged).await;
    older.epoch = Epoch(4);
    let newest = case.conflicts(&older).await;
    assert_eq!(newest.epoch, Epoch(5), "the conflict tells who took over");
}

async fn the_same_commit_twice_is_one(case: Case) {
    let staged = case.stage(&inserts(1..=3), Presence::Absent).await;
    let commit = case.next("once", at("once"), staged.staged).await;
    let first = case.commit(&commit).await;
    let rows = case.rows().await;
    for process in [case.sink.clone(), case.place.open().await] {
        match process.commit(&commit).await {
            Ok(CommitOutcome::Committed(again)) => assert_eq!(again.reference, first.reference),
            Ok(CommitOutcome::Conflict { newest }) => assert_eq!(newest.batch, Some(commit.batch.clone())),
            other => panic!("the second sending ended as {other:?}"),
        }
        assert_eq!(case.rows().await, rows, "the second sending changed rows");
        assert_eq!(case.committed().await.reference, Some(first.reference.clone()));
    }
}

async fn of_two_commits_on_one_mark_one_wins(case: Case) {
    let mut racing = Vec::new();
    for (id, batch) in [(1, "a"), (2, "b"), (3, "c")] {
        let process = match case.place.staged_rows_outlive_their_process() {
            true => case.place.open().await,
            false => case.sink.clone(),
        };
        let staged = case.stage(&inserts([id]), Presence::Unknown).await;
        let commit = case.next(batch, at(batch), staged.staged).await;
        racing.push(async move { (id, batch, process.commit(&commit).await) });
    }
    let ended = futures::future::join_all(racing).await;
    let won: Vec<_> = ended
        .iter()
        .filter(|(.., outcome)| matches!(outcome, Ok(CommitOutcome::Committed(_))))
        .collect();
    assert_eq!(won.len(), 1, "{ended:?}");
    let (id, batch, _) = won[0];
    assert_eq!(case.rows().await, rows_of(&inserts([*id])));
    assert_eq!(case.committed().await.mark, Some(at(batch)));
}

async fn replacing_swaps_the_whole_table(case: Case) {
    case.apply("first", &inserts(1..=5), Presence::Absent).await;
    let changes = inserts(4..=9);
    let mut staged = case.stage(&changes[..3], Presence::Absent).await.staged;
    staged.extend(case.stage(&changes[3..], Presence::Absent).await.staged);
    let mut commit = case.next("all", at("all"), staged).await;
    commit.replace = Replace::Table;
    case.commit(&commit).await;
    assert_eq!(case.rows().await, rows_of(&changes));

    let mut empty = case.next("none", at("none"), vec![]).await;
    empty.replace = Replace::Table;
    let receipt = case.commit(&empty).await;
    assert_eq!(receipt.deleted, 6);
    assert!(case.rows().await.is_empty());
}

async fn discarded_rows_never_appear(case: Case) {
    let void = case.stage(&inserts(1..=3), Presence::Absent).await;
    let kept = case.stage(&inserts(4..=5), Presence::Absent).await;
    case.sink.discard(void.staged).await.expect("discarding works");
    let commit = case.next("kept", at("kept"), kept.staged).await;
    case.commit(&commit).await;
    assert_eq!(case.rows().await, rows_of(&inserts(4..=5)));
}

async fn rows_staged_alone_are_committed_or_gone(case: Case) {
    let void = case.stage_alone(&inserts(1..=3)).await;
    case.sink.discard(void.staged).await.expect("discarding works");
    assert!(case.rows().await.is_empty(), "rows that were discarded appear");

    let first = case.stage_alone(&inserts(1..=3)).await;
    let commit = case.next("first", at("first"), first.staged).await;
    assert_eq!(case.commit(&commit).await.inserted, 3);
    assert_eq!(case.rows().await, rows_of(&inserts(1..=3)));

    let second = case.stage_alone(&inserts(4..=5)).await;
    let mut commit = case.next("second", at("second"), second.staged).await;
    commit.after = Some(at("elsewhere"));
    let outcome = case.sink.commit(&commit).await;
    assert!(
        matches!(outcome, Ok(CommitOutcome::Conflict { .. })),
        "a commit on another mark ended as {outcome:?}"
    );
    assert_eq!(
        case.rows().await,
        rows_of(&inserts(1..=3)),
        "a conflict changed rows"
    );

    let second = case.stage_alone(&inserts(4..=5)).await;
    let commit = case.next("second", at("second"), second.staged).await;
    for _ in 0..2 {
        assert_eq!(case.commit(&commit).await.inserted, 2);
        assert_eq!(case.rows().await, rows_of(&inserts(1..=5)));
    }
    assert_eq!(case.committed().await.mark, Some(at("second")));
    let gone = [(Op::Delete, SampleRow::new(1, "row 1", 1))];
    case.apply("third", &gone, Presence::Unknown).await;
    assert_eq!(case.rows().await, rows_of(&inserts(2..=5)));
}

async fn rows_whose_staging_alone_was_cancelled_never_appear(case: Case, polls: usize) {
    let _ended = kill_after(polls, case.stage_alone(&inserts(1..=3))).await;
    let staged = case.stage_alone(&inserts(2..=4)).await;
    let commit = case.next("new", at("new"), staged.staged).await;
    case.commit(&commit).await;
    assert_eq!(
        case.rows().await,
        rows_of(&inserts(2..=4)),
        "cancelled after {polls} polls"
    );
}

async fn a_cancelled_commit_of_rows_staged_alone_is_all_or_nothing(case: Case, polls: usize) {
    let staged = case.stage_alone(&inserts(1..=3)).await;
    a_cancelled_commit_decides(case, staged, polls).await;
}

async fn a_cancelled_commit_is_all_or_nothing(case: Case, polls: usize) {
    let staged = case.stage(&inserts(1..=3), Presence::Absent).await;
    a_cancelled_commit_decides(case, staged, polls).await;
}

async fn a_cancelled_commit_decides(case: Case, staged: StageOutcome, polls: usize) {
    let commit = case.next("cut off", at("cut off"), staged.staged).await;
    let ended = kill_after(polls, case.sink.commit(&commit)).await;
    let elsewhere = case.place.open().await;
    // The same commit again decides it, whatever the first one did.
    match elsewhere.commit(&commit).await {
        Ok(CommitOutcome::Committed(_)) => {}
        Ok(CommitOutcome::Conflict { newest })
            if newest.mark.is_none() && !case.place.staged_rows_outlive_their_process() =>
        {
            let staged = case.stage(&inserts(1..=3), Presence::Absent).await;
            let again = case.next("cut off", at("cut off"), staged.staged).await;
            case.commit(&again).await;
        }
        Ok(CommitOutcome::Conflict { newest }) => assert_eq!(newest.batch, Some(commit.batch.clone())),
        other => panic!("after {polls} polls ({ended:?}) the second sending ended as {other:?}"),
    }
    assert_eq!(
        case.rows().await,
        rows_of(&inserts(1..=3)),
        "cancelled after {polls} polls"
    );
    assert_eq!(case.committed().await.mark, Some(at("cut off")));
}

async fn twins_survive_without_a_key(case: Case) {
    let twin = SampleRow::new(1, "twin", 1);
    let rows = [
        (Op::Insert, twin.clone()),
        (Op::Insert, twin.clone()),
        (Op::Insert, twin.clone()),
        (Op::Insert, SampleRow::new(2, "single", 2)),
    ];
    let (_, receipt) = case.apply("first", &rows, Presence::Absent).await;
    assert_eq!(receipt.inserted, 4);
    assert_eq!(case.rows().await, rows_of(&rows));
    let staged = case.stage(&rows[1..], Presence::Absent).await;
    let mut commit = case.next("again", at("again"), staged.staged).await;
    commit.replace = Replace::Table;
    case.commit(&commit).await;
    assert_eq!(case.rows().await, rows_of(&rows[1..]));
}
