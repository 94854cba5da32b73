//! The contract that every sink keeps.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use model::{ChangeSink, TableName};
use test_support::{SinkUnderTest, sink_conformance};

use crate::warehouse::Warehouse;

#[async_trait]
impl SinkUnderTest for Warehouse {
    async fn open(&self) -> Arc<dyn ChangeSink> {
        Arc::new(self.sink())
    }

    async fn rows(&self, table: &TableName) -> Vec<RecordBatch> {
        self.batches(table).await
    }
}

#[tokio::test]
async fn the_sink_keeps_the_contract() {
    sink_conformance(async || Box::new(Warehouse::new(1)) as Box<dyn SinkUnderTest>).await;
}

#[tokio::test]
async fn the_sink_keeps_the_contract_with_small_files() {
    sink_conformance(async || Box::new(Warehouse::with_small_files(2)) as Box<dyn SinkUnderTest>).await;
}
