//! Chunks: every row once, whatever the key is.

use futures::StreamExt;
use model::{ChangeSource, ErrorKind, Selection};

use crate::shop::{Shop, collect, complete, schema, table};

async fn check(setup: &str, rows: usize) {
    let shop = Shop::open(setup).await;
    let source = shop.source("{}");
    let schema = schema(&source).await;
    let start = complete(source.cut(&table(), None).await.unwrap()).0;
    for chunk_rows in [1, 3, 1_000] {
        let chunks = source.chunks(&table(), &schema, &start, None, chunk_rows).await;
        let mut chunks = chunks.unwrap();
        let (mut seen, mut bounds) = (0, Vec::new());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.unwrap();
            bounds.push(chunk.through.clone().unwrap());
            let batches = collect(
                source
                    .read(&table(), &schema, chunk.selection, None)
                    .await
                    .unwrap(),
            )
            .await;
            let read: usize = batches.iter().map(|batch| batch.len()).sum();
            assert!(read <= chunk_rows && read > 0, "{setup}");
            seen += read;
        }
        assert_eq!(seen, rows, "{setup} in chunks of {chunk_rows}");
        // Resuming behind the second chunk reads the rest.
        if let Some(after) = bounds.get(1) {
            let rest = source
                .chunks(&table(), &schema, &start, Some(after.clone()), chunk_rows)
                .await
                .unwrap();
            assert_eq!(rest.count().await, bounds.len() - 2, "{setup}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_in_one_chunk() {
    for (columns, key, rows, count) in [
        (
            "a int NOT NULL",
            "a",
            "(1), (2), (3), (4), (5), (-6), (2147483647)",
            7,
        ),
        (
            "a int NOT NULL, b varchar(9) COLLATE Latin1_General_CI_AS NOT NULL, c date NOT NULL",
            "a, b, c",
            "(1, 'a', '2026-01-01'), (1, 'a', '2026-01-02'), (1, 'B', '2026-01-01'), (1, 'c', '2025-01-01'), \
             (2, 'A', '2026-01-01'), (2, 'b', '2026-01-01'), (3, '', '2026-01-01')",
            7,
        ),
        (
            "a nvarchar(9) COLLATE Latin1_General_100_CI_AS NOT NULL",
            "a",
            "(N'a'), (N'B'), (N'ä'), (N'z'), (N'Z-1'), (N'-z'), (N'')",
            7,
        ),
        (
            "a uniqueidentifier NOT NULL",
            "a",
            "('00000000-0000-0000-0000-000000000001'), ('01000000-0000-0000-0000-000000000000'), \
             ('00000000-0000-0000-0100-000000000000'), ('00000001-0000-0000-0000-000000000000')",
            4,
        ),
        (
            "a decimal(20,4) NOT NULL",
            "a",
            "(-1.5), (0), (12345678901234.5678)",
            3,
        ),
        (
            "a datetime2(3) NOT NULL",
            "a",
            "('0001-01-01'), ('2026-01-01T00:00:00.001'), ('9999-12-31')",
            3,
        ),
        (
            "a varbinary(8) NOT NULL",
            "a",
            "(0x), (0x00FF), (0xFF), (0x01)",
            4,
        ),
    ] {
        check(
            &format!("CREATE TABLE dbo.T ({columns}, PRIMARY KEY ({key})); INSERT INTO dbo.T VALUES {rows};"),
            count,
        )
        .await;
    }
    check("CREATE TABLE dbo.T (a int NOT NULL PRIMARY KEY)", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_is_one_chunk() {
    let shop = Shop::open("CREATE TABLE dbo.T (a int NULL); INSERT INTO dbo.T VALUES (1), (1), (NULL)").await;
    let source = shop.source("{}");
    let schema = schema(&source).await;
    let start = complete(source.cut(&table(), None).await.unwrap()).0;
    let chunks: Vec<_> = source
        .chunks(&table(), &schema, &start, None, 1)
        .await
        .unwrap()
        .collect()
        .await;
    assert_eq!(chunks.len(), 1);
    let batches = collect(
        source
            .read(&table(), &schema, Selection::All, None)
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(batches.iter().map(|batch| batch.len()).sum::<usize>(), 3);
    let refused = source.read(&table(), &schema, Selection::All, Some(&start)).await;
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(ErrorKind::Unsupported)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_only_names() {
    let shop = Shop::open(
        "CREATE TABLE dbo.T ([a ]]b.c] int NOT NULL, [it's \"𝒳\"] varchar(9) NOT NULL, [updated]]at] datetime2(3) NOT NULL \
         DEFAULT SYSUTCDATETIME(), CONSTRAINT [pk ]]] PRIMARY KEY ([a ]]b.c], [it's \"𝒳\"])); \
         INSERT INTO dbo.T ([a ]]b.c], [it's \"𝒳\"]) VALUES (1, 'x'), (2, 'y')",
    )
    .await;
    shop.pass(60);
    let source = shop.source("{}");
    let schema = schema(&source).await;
    let after = complete(source.cut(&table(), None).await.unwrap()).0;
    assert_eq!(after.kind, "timestamp");
    assert_eq!(
        source
            .chunks(&table(), &schema, &after, None, 1)
            .await
            .unwrap()
            .count()
            .await,
        2
    );
    let events = source.changes(&table(), &schema, &after, &after).await.unwrap();
    assert!(events.count().await > 0);
}

/// What begins no copy, as the cut that `verify` takes behind a gap, and what reads the whole table each time, counts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_declared_key_is_counted_where_a_copy_begins() {
    let setup = "CREATE TABLE dbo.T (id int NOT NULL, v nvarchar(20) NULL, updated_at datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME()); \
                 INSERT INTO dbo.T (id, v) VALUES (1, N'one'), (2, N'two'), (2, N'a twin')";
    for (mode, refused) in [("incremental", true), ("full", false)] {
        let shop = Shop::open(setup).await;
        let source = shop.source(&format!(r#"{{"mode":"{mode}","key":["id"]}}"#));
        let schema = schema(&source).await;
        let start = complete(source.cut(&table(), None).await.unwrap()).0;
        let begun = source
            .chunks(&table(), &schema, &start, None, 1_000)
            .await
            .map(drop);
        let error = begun
            .err()
            .map(|error| (error.kind(), error.message().to_owned()));
        let expect = refused.then(|| {
            let why = "`capture.key` does not tell rows apart: 2 rows have the same id";
            (ErrorKind::Config, why.to_owned())
        });
        assert_eq!(error, expect, "{mode}");
    }
}
