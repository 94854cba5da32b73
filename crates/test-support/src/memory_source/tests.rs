use super::*;
use crate::{SourceUnderTest, source_conformance};

struct InMemory {
    source: MemorySource,
    table: TableName,
}

#[async_trait]
impl SourceUnderTest for InMemory {
    fn source(&self) -> Arc<dyn ChangeSource> {
        Arc::new(self.source.clone())
    }

    fn table(&self) -> TableName {
        self.table.clone()
    }

    async fn put(&self, rows: &[SampleRow]) {
        self.source.put(&self.table, rows.iter().cloned());
    }

    async fn delete(&self, ids: &[i32]) {
        self.source.delete(&self.table, ids.iter().copied());
    }

    async fn settle(&self) {
        self.source.clock.advance(1_000);
    }
}

async fn conforms(tracking: MemoryTracking, off: Option<SourceRule>) {
    source_conformance(|| async move {
        let mut source = MemorySource::new(Arc::default(), tracking);
        if let Some(rule) = off {
            source = source.without(rule);
        }
        let table = TableName::new("dbo", "Sample");
        source.create(&table, true);
        Box::new(InMemory { source, table }) as Box<dyn SourceUnderTest>
    })
    .await;
}

#[tokio::test]
async fn the_source_in_memory_keeps_the_contract() {
    for tracking in [
        MemoryTracking::Timestamp { tolerance: 10_000 },
        MemoryTracking::Versions,
        MemoryTracking::Nothing,
    ] {
        conforms(tracking, None).await;
    }
}

#[tokio::test]
async fn the_suite_finds_a_source_that_forgets_its_incarnation() {
    let broken = conforms(MemoryTracking::Versions, Some(SourceRule::Incarnation));
    assert!(tokio::spawn(broken).await.is_err());
}
