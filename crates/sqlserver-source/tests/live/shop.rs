//! A server with one table, a source over it, and a target that applies what the source delivers.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use futures::StreamExt;
use model::{
    Batches, ChangeBatch, ChangeSource, Cut, Op, Position, Presence, Selection, SourceEvent, TableName,
    TableSchema,
};
use sqlserver_client::{ConnectOptions, Connection, Encrypt, Secret};
use sqlserver_emulator::{Emulator, EmulatorConfig, EngineConfig, Login};
use sqlserver_source::{CaptureOptions, SqlServerSource};

/// Rows by key: `id` → `v`.
pub(crate) type Rows = BTreeMap<i64, Option<String>>;

pub(crate) struct Shop {
    pub(crate) emulator: Emulator,
}

/// `id int` is the key, `v` the payload.
pub(crate) fn table() -> TableName {
    TableName::new("dbo", "T")
}

impl Shop {
    /// A server with database `shop`, in which `setup` has run.
    pub(crate) async fn open(setup: &str) -> Self {
        Self::open_edition(EngineConfig::default().edition, setup).await
    }

    /// The same on a server of another edition.
    pub(crate) async fn open_edition(edition: i32, setup: &str) -> Self {
        let engine = EngineConfig {
            edition,
            logins: vec![
                Login::sysadmin("sa", "Emulator!2022"),
                Login::limited("reader", "Reader!2022"),
            ],
            databases: vec!["shop".to_owned()],
            ..EngineConfig::default()
        };
        let config = EmulatorConfig {
            engine,
            ..EmulatorConfig::default()
        };
        let shop = Self {
            emulator: Emulator::start(config).await.unwrap(),
        };
        shop.sql(setup);
        shop
    }

    /// Runs a batch that waits for nobody.
    pub(crate) fn sql(&self, text: &str) {
        if let Err(error) = self.emulator.execute("shop", text) {
            panic!("{text}: {error:?}");
        }
    }

    /// Waits until a session waits for another one.
    pub(crate) async fn until_blocked(&self) {
        let sql = "SELECT COUNT(*) AS n FROM sys.dm_exec_requests WHERE blocking_session_id <> 0";
        let mut looker = self.writer().await;
        for _ in 0..500 {
            let waiting = looker.query(sql, &[]).await.unwrap();
            if waiting.one().unwrap().need_i64("n").unwrap() > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no session waits for another one");
    }

    /// Lets `seconds` pass on a clock that otherwise stands still.
    pub(crate) fn pass(&self, seconds: i64) {
        self.emulator.clock().freeze();
        self.emulator.clock().step_ms(seconds * 1_000);
    }

    pub(crate) fn connect(&self, user: &str, application: &str) -> ConnectOptions {
        let password = if user == "sa" {
            "Emulator!2022"
        } else {
            "Reader!2022"
        };
        let address = self.emulator.address();
        let host = address.ip().to_string();
        let mut options = ConnectOptions::new(host, address.port(), "shop", user, Secret::new(password));
        options.encrypt = Encrypt::Optional;
        options.trust_server_certificate = true;
        options.application_name = application.to_owned();
        options
    }

    /// A session of somebody else.
    pub(crate) async fn writer(&self) -> Connection {
        Connection::open(&self.connect("sa", "writer")).await.unwrap()
    }

    /// A source as `user`. `options` is JSON of the section `capture`; a run does not wait unless it says so.
    pub(crate) fn source_as(&self, user: &str, options: &str) -> SqlServerSource {
        let mut json: serde_json::Value = serde_json::from_str(options).unwrap();
        let window = json
            .as_object_mut()
            .unwrap()
            .entry("window")
            .or_insert_with(|| serde_json::json!({}));
        window
            .as_object_mut()
            .unwrap()
            .entry("settle_seconds")
            .or_insert(0.into());
        let options: CaptureOptions = serde_json::from_value(json).unwrap();
        options.validate().unwrap();
        SqlServerSource::new(self.connect(user, "source"), [(table(), options)])
    }

    pub(crate) fn source(&self, options: &str) -> SqlServerSource {
        self.source_as("sa", options)
    }
}

/// What a target would hold, and how far it has got.
pub(crate) struct Target {
    pub(crate) source: SqlServerSource,
    pub(crate) rows: Rows,
    pub(crate) position: Position,
    /// The positions of the last increment at which a commit was allowed.
    pub(crate) parts: Vec<Position>,
    /// Rows of the last increment that were new, by the source's word.
    pub(crate) fresh: usize,
    /// Rows of the last increment that were probably delivered before.
    pub(crate) again: usize,
    /// Rows of the last increment that were left out because of their time.
    pub(crate) left_out: usize,
}

pub(crate) async fn schema(source: &SqlServerSource) -> std::sync::Arc<TableSchema> {
    source.describe(&table()).await.unwrap().schema
}

impl Target {
    /// Why the table cannot be followed from `position` on.
    pub(crate) async fn gap(&self, position: &Position) -> String {
        match self.source.cut(&table(), Some(position)).await.unwrap() {
            Cut::Gap { why, .. } => why,
            Cut::Complete { .. } => panic!("{position} can be continued from"),
        }
    }

    /// Copies the table in chunks of two rows; `meanwhile` happens after the first.
    pub(crate) async fn copy(source: SqlServerSource, meanwhile: impl FnOnce()) -> Self {
        let position = complete(source.cut(&table(), None).await.unwrap()).0;
        let mut target = Self {
            source,
            rows: Rows::new(),
            position,
            parts: Vec::new(),
            fresh: 0,
            again: 0,
            left_out: 0,
        };
        let schema = schema(&target.source).await;
        let start = target.position.clone();
        let chunks = target.source.chunks(&table(), &schema, &start, None, 2).await;
        let mut chunks = chunks.unwrap();
        let mut meanwhile = Some(meanwhile);
        while let Some(chunk) = chunks.next().await {
            let selection = chunk.unwrap().selection;
            let rows = target
                .source
                .read(&table(), &schema, selection, None)
                .await
                .unwrap();
            for batch in collect(rows).await {
                target.apply(&batch);
            }
            if let Some(meanwhile) = meanwhile.take() {
                meanwhile();
            }
        }
        target
    }

    /// The keys of rows that the position leaves for later, as `verify` asks for them.
    pub(crate) async fn pending(&self) -> Vec<i64> {
        let schema = schema(&self.source).await;
        let later = Selection::ChangedAfter(self.position.clone());
        let left = self.source.read(&table(), &schema, later, None).await.unwrap();
        let batches = collect(left).await;
        batches
            .iter()
            .flat_map(|batch| rows(&batch.rows).into_keys())
            .collect()
    }

    /// Runs an increment. Returns who holds it back and what is assumed.
    pub(crate) async fn increment(&mut self) -> (Option<String>, Option<String>) {
        self.increment_with(|_, _| ()).await
    }

    /// Runs an increment whose positions (`after`, `upto`) have been tampered with: a rule is switched off.
    pub(crate) async fn increment_with(
        &mut self,
        tamper: impl Fn(&mut serde_json::Value, &mut serde_json::Value),
    ) -> (Option<String>, Option<String>) {
        let cut = self.source.cut(&table(), Some(&self.position)).await.unwrap();
        let (mut upto, holding, assumed) = complete(cut);
        let mut after = self.position.clone();
        let json = |position: &Position| serde_json::from_str(&position.value).unwrap();
        let (mut from, mut to) = (json(&after), json(&upto));
        tamper(&mut from, &mut to);
        after.value = from.to_string();
        upto.value = to.to_string();
        self.apply_changes(&after, &upto).await;
        (holding, assumed)
    }

    /// Applies the changes between two positions.
    pub(crate) async fn apply_changes(&mut self, after: &Position, upto: &Position) {
        let schema = schema(&self.source).await;
        let mut events = self.source.changes(&table(), &schema, after, upto).await.unwrap();
        (self.fresh, self.again, self.left_out) = (0, 0, 0);
        self.parts.clear();
        let mut ended = false;
        while let Some(event) = events.next().await {
            match event.unwrap() {
                SourceEvent::Changes(batch) => {
                    let count = match batch.presence {
                        Presence::PerhapsIdentical => &mut self.again,
                        _ => &mut self.fresh,
                    };
                    *count += batch.len();
                    self.apply(&batch);
                    ended = false;
                }
                SourceEvent::Expected(_) => {}
                SourceEvent::LeftOut { rows, .. } => self.left_out += rows.num_rows(),
                SourceEvent::Boundary { at } => {
                    self.parts.push(at.clone());
                    self.position = at;
                    ended = true;
                }
            }
        }
        assert!(ended, "an increment ends with a boundary");
    }

    fn apply(&mut self, batch: &ChangeBatch) {
        for row in 0..batch.len() {
            let image = rows(&batch.rows.slice(row, 1));
            match batch.op(row) {
                Op::Delete => self.rows.retain(|id, _| !image.contains_key(id)),
                _ => self.rows.extend(image),
            }
        }
    }

    /// Whether the target holds what the server holds.
    pub(crate) async fn is_equal(&self) -> bool {
        self.rows == everything(&self.source).await
    }
}

/// All rows of the table, read as `verify` does.
pub(crate) async fn everything(source: &SqlServerSource) -> Rows {
    let schema = schema(source).await;
    let batches = source
        .read(&table(), &schema, Selection::All, None)
        .await
        .unwrap();
    collect(batches)
        .await
        .iter()
        .flat_map(|batch| rows(&batch.rows))
        .collect()
}

pub(crate) async fn collect(batches: Batches) -> Vec<ChangeBatch> {
    batches.map(Result::unwrap).collect().await
}

pub(crate) fn rows(batch: &RecordBatch) -> Rows {
    let keys = batch.column_by_name("id").unwrap();
    let id = |i| match keys.as_primitive_opt::<Int32Type>() {
        Some(keys) => i64::from(keys.value(i)),
        None => keys.as_primitive::<Int64Type>().value(i),
    };
    let column = batch.column_by_name("v").unwrap();
    let values: Vec<_> = match column.as_string_opt::<i32>() {
        Some(values) => values.iter().collect(),
        None => column.as_string::<i64>().iter().collect(),
    };
    let rows = values.into_iter().enumerate();
    rows.map(|(i, v)| (id(i), v.map(str::to_owned))).collect()
}

pub(crate) fn complete(cut: Cut) -> (Position, Option<String>, Option<String>) {
    match cut {
        Cut::Complete {
            upto,
            holding,
            assumed,
            ..
        } => (upto, holding.map(|holder| holder.who), assumed),
        Cut::Gap { why, .. } => panic!("gap: {why}"),
    }
}
