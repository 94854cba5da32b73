//! A session under test, and what it says.

use std::sync::Arc;

use sqlserver_emulator::{
    Done, Engine, EngineConfig, EnvChange, Flow, LoginInfo, Output, ResultColumn, ReturnValue, Session,
    SqlError, Value,
};

/// Everything that a request emitted.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) columns: Vec<Vec<ResultColumn>>,
    pub(crate) results: Vec<Vec<Vec<Value>>>,
    pub(crate) done: Vec<Done>,
    pub(crate) messages: Vec<SqlError>,
    pub(crate) env: Vec<EnvChange>,
    pub(crate) returned: Vec<ReturnValue>,
    pub(crate) status: Option<i32>,
}

impl Output for Collected {
    fn columns(&mut self, columns: &[ResultColumn]) -> Flow {
        self.columns.push(columns.to_vec());
        self.results.push(Vec::new());
        Flow::Continue
    }
    fn row(&mut self, row: &[Value]) -> Flow {
        if let Some(rows) = self.results.last_mut() {
            rows.push(row.to_vec());
        }
        Flow::Continue
    }
    fn done(&mut self, done: Done) {
        self.done.push(done);
    }
    fn message(&mut self, message: &SqlError) {
        self.messages.push(message.clone());
    }
    fn env(&mut self, change: EnvChange) {
        self.env.push(change);
    }
    fn return_value(&mut self, value: ReturnValue) {
        self.returned.push(value);
    }
    fn return_status(&mut self, status: i32) {
        self.status = Some(status);
    }
}

impl Collected {
    /// Numbers of the errors, in order.
    pub(crate) fn errors(&self) -> Vec<i32> {
        self.messages
            .iter()
            .filter(|message| !message.is_info())
            .map(|message| message.number)
            .collect()
    }

    /// The results as text: columns by `|`, rows by `;`, result sets by newline.
    pub(crate) fn text(&self) -> String {
        let row = |row: &Vec<Value>| row.iter().map(show).collect::<Vec<_>>().join("|");
        let result = |rows: &Vec<Vec<Value>>| rows.iter().map(row).collect::<Vec<_>>().join(";");
        self.results.iter().map(result).collect::<Vec<_>>().join("\n")
    }
}

/// A value, briefly.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bit(bit) => u8::from(*bit).to_string(),
        Value::Str(_) | Value::Xml(_) => value.as_text().unwrap_or_default(),
        Value::Bytes(bytes) => bytes
            .iter()
            .fold("0x".to_owned(), |out, byte| format!("{out}{byte:02X}")),
        Value::RowVersion(version) => format!("rv{version}"),
        Value::Decimal(d) => {
            let scale = usize::from(d.scale);
            let digits = format!("{:0>width$}", d.unscaled.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if d.unscaled < 0 { "-" } else { "" };
            if scale == 0 {
                format!("{sign}{whole}")
            } else {
                format!("{sign}{whole}.{fraction}")
            }
        }
        Value::Money(n) => format!("${n}"),
        Value::Float(x) => x.to_string(),
        other => match other.as_integer() {
            Some(n) => n.to_string(),
            None => format!("{other:?}"),
        },
    }
}

/// An engine with the database `db`.
pub(crate) fn engine() -> Arc<Engine> {
    Engine::new(EngineConfig {
        databases: vec!["db".to_owned()],
        ..EngineConfig::default()
    })
}

/// A session of `sa` in `db`.
pub(crate) fn connect(engine: &Arc<Engine>) -> Session {
    connect_as(engine, "sa", "Emulator!2022")
}

#[expect(clippy::expect_used, reason = "a test's own login")]
pub(crate) fn connect_as(engine: &Arc<Engine>, user: &str, password: &str) -> Session {
    let login = LoginInfo {
        user: user.to_owned(),
        password: password.to_owned(),
        database: Some("db".to_owned()),
        ..LoginInfo::default()
    };
    Session::new(engine, login).expect("the login is known")
}

/// Runs a batch.
pub(crate) fn run(session: &mut Session, sql: &str) -> Collected {
    let mut out = Collected::default();
    session.batch(sql, &mut out);
    out
}

/// Runs a batch that must succeed, and gives its results as text.
#[track_caller]
pub(crate) fn query(session: &mut Session, sql: &str) -> String {
    let out = run(session, sql);
    let errors: Vec<_> = out.messages.iter().filter(|message| !message.is_info()).collect();
    assert!(errors.is_empty(), "{sql}: {errors:?}");
    out.text()
}

/// Runs a batch that must fail, and gives the errors' numbers.
#[track_caller]
pub(crate) fn errors(session: &mut Session, sql: &str) -> Vec<i32> {
    let out = run(session, sql);
    assert!(!out.errors().is_empty(), "{sql} succeeded: {}", out.text());
    out.errors()
}
