//! What the reader does not understand is refused by name, not read past.

use iceberg::spec::{DataContentType, DataFileFormat};
use model::{ChangeSource, ErrorKind, Selection, Severity};
use test_support::{SampleRow, sample_batch, sample_schema};

use crate::lake::{Change, Lake};

#[tokio::test]
async fn deletes_that_cannot_be_applied_are_refused() {
    for (content, format, named) in [
        (
            DataContentType::EqualityDeletes,
            DataFileFormat::Parquet,
            "equality deletes",
        ),
        (
            DataContentType::PositionDeletes,
            DataFileFormat::Puffin,
            "deletion vectors",
        ),
    ] {
        let lake = Lake::new(sample_schema(true), 1).await;
        let rows = sample_batch(&[SampleRow::new(1, "x", 0)]);
        lake.commit(Change {
            files: vec![rows.clone()],
            ..Change::default()
        })
        .await;
        lake.commit_foreign_deletes(&rows, content, format).await;
        let source = lake.source();
        let read = source
            .read(&lake.table(), lake.schema(), Selection::All, None)
            .await;
        let refused = read.err().expect("the read is refused");
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.message().contains(named), "{refused}");
        let findings = source.describe(&lake.table()).await.unwrap().findings;
        let is_error = findings.iter().any(|finding| finding.severity == Severity::Error);
        assert_eq!(is_error, content == DataContentType::EqualityDeletes);
    }
}
