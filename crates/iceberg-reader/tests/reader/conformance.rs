//! The source seam's suite.

use std::sync::Arc;

use async_trait::async_trait;
use model::{ChangeSource, TableName};
use test_support::{SampleRow, SourceUnderTest, sample_batch, sample_schema, source_conformance};

use crate::lake::{Change, Lake};

struct LakeUnderTest(Lake);

#[async_trait]
impl SourceUnderTest for LakeUnderTest {
    fn source(&self) -> Arc<dyn ChangeSource> {
        Arc::new(self.0.source())
    }

    fn table(&self) -> TableName {
        self.0.table()
    }

    async fn put(&self, rows: &[SampleRow]) {
        let rows = sample_batch(rows);
        self.0
            .commit(Change {
                delete: Some(rows.project(&[0]).unwrap()),
                files: vec![rows],
                ..Change::default()
            })
            .await;
    }

    async fn delete(&self, ids: &[i32]) {
        let rows: Vec<_> = ids.iter().map(|id| SampleRow::new(*id, "", 0)).collect();
        self.0
            .commit(Change {
                delete: Some(sample_batch(&rows).project(&[0]).unwrap()),
                ..Change::default()
            })
            .await;
    }

    /// A commit is complete when it is made.
    async fn settle(&self) {}
}

#[tokio::test]
async fn the_reader_keeps_the_contract_of_a_source() {
    source_conformance(|| async {
        let lake = Lake::new(sample_schema(true), 1).await;
        Box::new(LakeUnderTest(lake)) as Box<dyn SourceUnderTest>
    })
    .await;
}
