//! The sink against the emulator, over the wire.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what supports a test fails it by panicking"
)]

mod chunks;
mod conformance;
mod faults;
mod odd_types;
mod other_tables;
mod preparing;
mod rows;
mod straight;

use std::sync::Arc;

use arrow_array::{Int8Array, RecordBatch};
use futures::{StreamExt, TryStreamExt, stream};
use model::{
    BatchId, Batches, ChangeBatch, ChangeSink, Commit, CommitOutcome, Epoch, Mark, Op, Position, Prepare,
    Presence, Receipt, Replace, Result, Staged, SyncId, TableName, TableSchema,
};
use sqlserver_client::{ConnectOptions, Connection, Encrypt, Secret, TypePolicy};
use sqlserver_emulator::{Emulator, EmulatorConfig, EngineConfig, Login};
use sqlserver_import::{ApplyOptions, SqlServerSink};
use test_support::{SampleRow, sample_rows};

/// A server with the empty database `target`.
struct Place {
    emulator: Emulator,
    apply: ApplyOptions,
}

impl Place {
    async fn new(apply: ApplyOptions) -> Self {
        Self::started(apply, |_| {}).await
    }

    /// A server that is not set up as usual.
    async fn started(apply: ApplyOptions, change: impl FnOnce(&mut EmulatorConfig)) -> Self {
        let mut engine = EngineConfig {
            databases: vec!["target".to_owned()],
            ..EngineConfig::default()
        };
        engine.logins.push(Login {
            name: "limited".to_owned(),
            password: "Limited!2022".to_owned(),
            sysadmin: false,
            view_server_state: false,
        });
        let mut config = EmulatorConfig {
            engine,
            ..EmulatorConfig::default()
        };
        change(&mut config);
        Self {
            emulator: Emulator::start(config).await.unwrap(),
            apply,
        }
    }

    fn options(&self) -> ConnectOptions {
        ConnectOptions {
            encrypt: Encrypt::Optional,
            trust_server_certificate: true,
            ..ConnectOptions::new(
                self.emulator.address().ip().to_string(),
                self.emulator.address().port(),
                "target",
                self.emulator.user(),
                Secret::new(self.emulator.password()),
            )
        }
    }

    async fn connect(&self) -> Connection {
        // Not the engine's name: what the tests send is not what it sends.
        let options = ConnectOptions {
            application_name: "test".to_owned(),
            ..self.options()
        };
        Connection::open(&options).await.unwrap()
    }

    async fn run(&self, statements: &[&str]) {
        let mut connection = self.connect().await;
        for statement in statements {
            connection
                .execute(statement, &[])
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    fn sink(&self) -> SqlServerSink {
        SqlServerSink::new(self.options(), self.apply.clone()).unwrap()
    }

    /// The rows of a table; none if it does not exist.
    async fn rows(&self, table: &TableName) -> Vec<RecordBatch> {
        let mut connection = self.connect().await;
        let Some(info) = connection.find_table(table).await.unwrap() else {
            return Vec::new();
        };
        let schema = info.schema(&TypePolicy::lenient(), &[]).unwrap();
        let sql = format!(
            "SELECT {} FROM {}",
            info.select_list(&schema).unwrap(),
            sqlserver_client::quote::table(table)
        );
        let rows = connection.select_arrow(sql, vec![], schema.arrow().clone(), 100);
        rows.try_collect().await.unwrap()
    }

    /// One value of the target as text.
    async fn value(&self, sql: &str) -> String {
        let mut connection = self.connect().await;
        let rows = connection.query(sql, &[]).await.unwrap();
        rows.one().unwrap().values()[0].to_string()
    }
}

/// One table sync against a place.
struct Case {
    place: Place,
    sink: SqlServerSink,
    sync: SyncId,
    table: TableName,
    schema: Arc<TableSchema>,
}

impl Case {
    fn new(place: Place, schema: Arc<TableSchema>) -> Self {
        Self {
            sink: place.sink(),
            place,
            sync: SyncId::new("test/dbo.T/to"),
            table: TableName::new("dbo", "T"),
            schema,
        }
    }

    fn prepare(&self, adopt: bool) -> Prepare {
        Prepare {
            sync: self.sync.clone(),
            table: self.table.clone(),
            schema: self.schema.clone(),
            create: false,
            replace: false,
            adopt,
            dry_run: false,
        }
    }

    async fn stage(&self, rows: RecordBatch, ops: &[Op]) -> Result<Vec<Staged>> {
        let ops: Int8Array = ops.iter().map(|op| Some(*op as i8)).collect();
        let batch = ChangeBatch::new(
            self.table.clone(),
            self.schema.clone(),
            rows,
            ops,
            Presence::Unknown,
        )
        .unwrap();
        let batches: Batches = stream::iter([Ok(batch)]).boxed();
        Ok(self
            .sink
            .stage(&self.sync, &self.table, &self.schema, batches)
            .await?
            .staged)
    }

    async fn next(&self, batch: &str, staged: Vec<Staged>) -> Commit {
        let newest = self.sink.committed(&self.sync, &self.table).await.unwrap();
        Commit {
            sync: self.sync.clone(),
            table: self.table.clone(),
            schema: self.schema.clone(),
            batch: BatchId::new(batch),
            epoch: Epoch(1),
            after: newest.mark,
            mark: at(batch),
            staged,
            replace: Replace::No,
            moment: None,
        }
    }

    /// Stages and commits.
    async fn apply(&self, batch: &str, rows: RecordBatch, ops: &[Op]) -> Result<Receipt> {
        let staged = self.stage(rows, ops).await?;
        let commit = self.next(batch, staged).await;
        match self.sink.commit(&commit).await? {
            CommitOutcome::Committed(receipt) => Ok(receipt),
            other => panic!("the commit ended as {other:?}"),
        }
    }

    async fn sample_rows(&self) -> Vec<SampleRow> {
        sample_rows(&self.place.rows(&self.table).await)
    }
}

/// Rows with these ids.
fn sample(ids: impl IntoIterator<Item = i32>) -> Vec<SampleRow> {
    let row = |id| SampleRow::new(id, &format!("row {id}"), i64::from(id));
    ids.into_iter().map(row).collect()
}

fn at(value: &str) -> Mark {
    Mark::At(Position {
        kind: "test".into(),
        incarnation: "i".into(),
        value: value.into(),
        label: value.into(),
        late_micros: 0,
        lacks: Vec::new(),
    })
}
