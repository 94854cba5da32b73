//! A source, a target and a store in memory, and runs between them.

use std::sync::Arc;

use model::{ErrorKind, Ids, RunStatus, SyncId, TableName};
use test_support::{
    Faults, FaultySink, FaultySource, FaultyStore, MemorySink, MemorySource, MemoryStore, MemoryTracking,
    SampleRow, SeededIds, SimClock,
};
use tokio_util::sync::CancellationToken;

use crate::report::TableOutcome;
use crate::run::{Route, Runner};
use crate::table_sync::{TableRun, TableSync};

pub(super) const TIMESTAMP: MemoryTracking = MemoryTracking::Timestamp { tolerance: 20 };

pub(super) struct World {
    pub(super) clock: Arc<SimClock>,
    pub(super) source: MemorySource,
    pub(super) sink: MemorySink,
    pub(super) store: MemoryStore,
    pub(super) table: TableName,
    ids: SeededIds,
}

impl World {
    pub(super) fn new(seed: u64, tracking: MemoryTracking, keyed: bool) -> Self {
        let clock = Arc::new(SimClock::default());
        let source = MemorySource::new(clock.clone(), tracking);
        let table = TableName::new("dbo", "Orders");
        source.create(&table, keyed);
        Self {
            store: MemoryStore::new(clock.clone()),
            clock,
            source,
            sink: MemorySink::default(),
            table,
            ids: SeededIds::new(seed),
        }
    }

    pub(super) fn with_sink(mut self, change: impl FnOnce(MemorySink) -> MemorySink) -> Self {
        self.sink = change(self.sink);
        self
    }

    pub(super) fn with_source(mut self, change: impl FnOnce(MemorySource) -> MemorySource) -> Self {
        self.source = change(self.source);
        self
    }

    /// Writes rows `ids` with this name, and lets them fall below the next cut.
    pub(super) fn put(&self, ids: impl IntoIterator<Item = i32>, name: &str) {
        let rows = ids.into_iter().map(|id| SampleRow::new(id, name, i64::from(id)));
        self.source.put(&self.table, rows);
        self.clock.advance(10);
    }

    /// A process of its own: nothing but the three places is shared with the runs before it.
    pub(super) fn process(&self, faults: Faults) -> Process {
        let store = FaultyStore::new(self.store.clone(), faults.clone());
        let source = FaultySource::new(self.source.clone(), faults.clone());
        let sink = FaultySink::new(self.sink.clone(), faults);
        self.process_with(store, source, sink)
    }

    pub(super) fn process_with(
        &self,
        store: impl model::StateStore + 'static,
        source: impl model::ChangeSource + 'static,
        sink: impl model::ChangeSink + 'static,
    ) -> Process {
        let ids = SeededIds::new(self.ids.random() as u64);
        let runner = Runner::new(Arc::new(store), self.clock.clone(), Arc::new(ids));
        let mut sync = TableSync::new(
            SyncId::new("shop/dbo.Orders/export"),
            "source → target",
            (Arc::new(source), self.table.clone()),
            (Arc::new(sink), self.table.clone()),
        );
        sync.batch_rows = 4;
        Process {
            runner,
            sync,
            cancel: CancellationToken::new(),
        }
    }

    /// A run in which nothing fails.
    pub(super) async fn run(&self) -> TableOutcome {
        self.process(Faults::never()).run().await
    }

    pub(super) async fn succeeds(&self) -> TableOutcome {
        let outcome = self.run().await;
        assert_eq!(outcome.report.status, RunStatus::Succeeded, "{:?}", outcome.error);
        outcome
    }

    pub(super) fn is_equal(&self) -> bool {
        self.sink.rows(&self.table) == self.source.rows(&self.table)
    }

    pub(super) fn assert_equal(&self, when: &str) {
        assert_eq!(
            self.sink.rows(&self.table),
            self.source.rows(&self.table),
            "the target differs {when}"
        );
    }
}

pub(super) struct Process {
    pub(super) runner: Runner,
    pub(super) sync: TableSync,
    pub(super) cancel: CancellationToken,
}

impl Process {
    pub(super) fn full(mut self) -> Self {
        self.sync.full = true;
        self
    }

    pub(super) fn table_run(&self) -> TableRun<'_> {
        TableRun::new(&self.runner, &self.sync, &self.cancel)
    }

    pub(super) async fn run(&self) -> TableOutcome {
        let route = Route::new(vec![self.sync.clone()]);
        let mut outcomes = self.runner.run_route(&route, &self.cancel).await;
        outcomes.remove(0)
    }
}

pub(super) fn failed_as(outcome: &TableOutcome, kind: ErrorKind) -> bool {
    outcome
        .error
        .as_ref()
        .is_some_and(|error| error.kind == kind.name())
}
