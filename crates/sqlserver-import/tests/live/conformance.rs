//! The suite of the seam, in both statement forms.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use model::{ChangeSink, TableName};
use sqlserver_import::{ApplyOptions, Statement};
use test_support::{SinkUnderTest, sink_conformance};

use crate::Place;

#[async_trait]
impl SinkUnderTest for Place {
    async fn open(&self) -> Arc<dyn ChangeSink> {
        Arc::new(self.sink())
    }

    async fn rows(&self, table: &TableName) -> Vec<RecordBatch> {
        Place::rows(self, table).await
    }

    fn staged_rows_outlive_their_process(&self) -> bool {
        false
    }
}

async fn conforms(statement: Statement) {
    sink_conformance(|| async move {
        let apply = ApplyOptions {
            statement,
            ..ApplyOptions::default()
        };
        Box::new(Place::new(apply).await) as Box<dyn SinkUnderTest>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn update_and_insert_keep_the_contract() {
    conforms(Statement::UpdateInsert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_keeps_the_contract() {
    conforms(Statement::Merge).await;
}
