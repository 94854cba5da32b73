//! A second driver under the same tests: tiberius, which others wrote, sees what the client sees, and the client sees what it did.
//!
//! What tiberius alters is asked for in another form, see [`asked_for`]; nothing else is made easier for it.

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use model::TableName;
use sqlserver_client::{BulkColumn, Connection, Isolation, Param, SqlType, TypePolicy, Value};
use sqlserver_emulator::Emulator;
use tiberius::{AuthMethod, ColumnData, Config, EncryptionLevel, IsolationLevel, ToSql};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::types::{TYPES, VARIANTS};
use crate::{connect, run, start};

/// What both are asked for.
#[async_trait]
trait Driver: Send + Sized {
    async fn open(emulator: &Emulator) -> Self;
    /// The counts of a batch, or the number of its error.
    async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<Vec<u64>, String>;
    /// The rows of `table` by `id`, in these columns.
    async fn rows(self, table: &str, columns: &[(String, SqlType)]) -> Vec<Vec<Value>>;
    async fn begin(&mut self, isolation: Isolation);
    async fn commit(&mut self);
    async fn rollback(&mut self);
}

#[async_trait]
impl Driver for Connection {
    async fn open(emulator: &Emulator) -> Self {
        connect(emulator).await
    }

    async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<Vec<u64>, String> {
        let done = Self::execute(self, sql, params).await;
        done.map_err(|error| {
            let text = error.to_string();
            let number = text
                .split("error: ")
                .nth(1)
                .and_then(|rest| rest.split(',').next());
            number.unwrap_or(&text).to_owned()
        })
    }

    async fn rows(mut self, table: &str, columns: &[(String, SqlType)]) -> Vec<Vec<Value>> {
        let info = self.table_info(&TableName::new("dbo", table)).await.unwrap();
        let schema = info.schema(&TypePolicy::lenient(), &[]).unwrap();
        let list = info.select_list(&schema).unwrap();
        let sql = format!("SELECT {list} FROM [dbo].[{table}] ORDER BY [id]");
        let batches = self.select_arrow(sql, vec![], schema.arrow().clone(), 7);
        let batches: Vec<_> = batches.try_collect().await.unwrap();
        let mut rows = Vec::new();
        for batch in batches {
            for row in 0..batch.num_rows() {
                let values = columns.iter().map(|(name, ty)| {
                    let array = batch.column_by_name(name).unwrap();
                    Value::from_arrow(*ty, array, row).unwrap()
                });
                rows.push(values.map(comparable).collect());
            }
        }
        rows
    }

    async fn begin(&mut self, isolation: Isolation) {
        Self::begin(self, isolation).await.unwrap();
    }

    async fn commit(&mut self) {
        let end = Self::commit(self).await;
        assert!(matches!(end, sqlserver_client::CommitEnd::Committed), "{end:?}");
    }

    async fn rollback(&mut self) {
        Self::rollback(self).await.unwrap();
    }
}

struct Tiberius(tiberius::Client<Compat<TcpStream>>);

#[async_trait]
impl Driver for Tiberius {
    async fn open(emulator: &Emulator) -> Self {
        let mut config = Config::new();
        config.host(emulator.address().ip().to_string());
        config.port(emulator.address().port());
        config.database("shop");
        config.authentication(AuthMethod::sql_server(emulator.user(), emulator.password()));
        config.encryption(EncryptionLevel::NotSupported);
        let socket = TcpStream::connect(config.get_addr()).await.unwrap();
        let client = tiberius::Client::connect(config, socket.compat_write()).await;
        let mut opened = Self(client.unwrap());
        // As the client does for each session.
        let settings = "SET XACT_ABORT ON; SET TEXTSIZE 2147483647";
        Driver::execute(&mut opened, settings, &[]).await.unwrap();
        opened
    }

    async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<Vec<u64>, String> {
        let values: Vec<Bound> = params.iter().map(|param| Bound(native(&param.value))).collect();
        let values: Vec<&dyn ToSql> = values.iter().map(|value| value as &dyn ToSql).collect();
        match self.0.execute(numbered(sql, params), &values).await {
            Ok(done) => Ok(done.rows_affected().to_vec()),
            Err(error) => Err(error.code().map_or(error.to_string(), |code| code.to_string())),
        }
    }

    async fn rows(mut self, table: &str, columns: &[(String, SqlType)]) -> Vec<Vec<Value>> {
        let list: Vec<_> = columns
            .iter()
            .map(|(name, ty)| asked_for(&format!("[{name}]"), *ty))
            .collect();
        let sql = format!("SELECT {} FROM [dbo].[{table}] ORDER BY [id]", list.join(", "));
        let rows = self.0.simple_query(sql).await.unwrap();
        let rows = rows.into_first_result().await.unwrap();
        rows.into_iter()
            .map(|row| row.into_iter().map(|data| comparable(value(data))).collect())
            .collect()
    }

    async fn begin(&mut self, isolation: Isolation) {
        let isolation = match isolation {
            Isolation::ReadCommitted => IsolationLevel::ReadCommitted,
            Isolation::RepeatableRead => IsolationLevel::RepeatableRead,
            Isolation::Snapshot => IsolationLevel::Snapshot,
            Isolation::Serializable => IsolationLevel::Serializable,
        };
        self.0.begin_transaction_with_isolation(isolation).await.unwrap();
    }

    async fn commit(&mut self) {
        self.0.commit_transaction().await.unwrap();
    }

    async fn rollback(&mut self) {
        self.0.rollback_transaction().await.unwrap();
    }
}

/// The form that tiberius reads unaltered. It makes a double of money, has no sql_variant that keeps its type, and no CLR types.
fn asked_for(column: &str, ty: SqlType) -> String {
    match ty {
        SqlType::Money | SqlType::SmallMoney => format!("CAST({column} AS decimal(19,4))"),
        SqlType::SqlVariant => sqlserver_client::variant::json(column),
        _ => column.to_owned(),
    }
}

/// A parameter of tiberius, which are `@P1`, `@P2`, …
struct Bound(ColumnData<'static>);

impl ToSql for Bound {
    fn to_sql(&self) -> ColumnData<'_> {
        self.0.clone()
    }
}

fn numbered(sql: &str, params: &[Param]) -> String {
    let numbered = params.iter().zip(1..);
    numbered.fold(sql.to_owned(), |sql, (param, number)| {
        sql.replace(&format!("@{}", param.name), &format!("@P{number}"))
    })
}

fn native(value: &Value) -> ColumnData<'static> {
    match value {
        Value::Int(value) => ColumnData::I32(Some(*value)),
        Value::Text(text) => ColumnData::String(Some(text.clone().into())),
        Value::Bytes(bytes) => ColumnData::Binary(Some(bytes.clone().into())),
        other => panic!("no test binds {other:?}"),
    }
}

fn ticks(time: tiberius::time::Time) -> u64 {
    time.increments() * 10_u64.pow(7 - u32::from(time.scale()))
}

fn value(data: ColumnData<'static>) -> Value {
    let found = match data {
        ColumnData::U8(v) => v.map(Value::TinyInt),
        ColumnData::I16(v) => v.map(Value::SmallInt),
        ColumnData::I32(v) => v.map(Value::Int),
        ColumnData::I64(v) => v.map(Value::BigInt),
        ColumnData::F32(v) => v.map(Value::Real),
        ColumnData::F64(v) => v.map(Value::Float),
        ColumnData::Bit(v) => v.map(Value::Bit),
        ColumnData::String(v) => v.map(|text| Value::Text(text.into_owned())),
        ColumnData::Guid(v) => v.map(|guid| Value::Guid(guid.into_bytes())),
        ColumnData::Binary(v) => v.map(|bytes| Value::Bytes(bytes.into_owned())),
        ColumnData::Numeric(v) => v.map(|number| Value::Decimal {
            unscaled: number.value(),
            precision: number.precision(),
            scale: number.scale(),
        }),
        ColumnData::Xml(v) => v.map(|xml| Value::Text(xml.as_ref().as_ref().to_owned())),
        ColumnData::DateTime(v) => v.map(|at| Value::DateTime {
            days: at.days(),
            ticks: at.seconds_fragments(),
        }),
        ColumnData::SmallDateTime(v) => v.map(|at| Value::SmallDateTime {
            days: at.days(),
            minutes: at.seconds_fragments(),
        }),
        ColumnData::Time(v) => v.map(|time| Value::Time {
            ticks: ticks(time),
            scale: time.scale(),
        }),
        ColumnData::Date(v) => v.map(|date| Value::Date(date.days())),
        ColumnData::DateTime2(v) => v.map(|at| Value::DateTime2 {
            days: at.date().days(),
            ticks: ticks(at.time()),
            scale: at.time().scale(),
        }),
        ColumnData::DateTimeOffset(v) => v.map(|at| Value::DateTimeOffset {
            days: at.datetime2().date().days(),
            ticks: ticks(at.datetime2().time()),
            scale: at.datetime2().time().scale(),
            offset: at.offset(),
        }),
    };
    found.unwrap_or(Value::Null)
}

/// Precision is a matter of the column, and money one of its form.
fn comparable(value: Value) -> Value {
    let decimal = |unscaled, scale| Value::Decimal {
        unscaled,
        precision: 38,
        scale,
    };
    match value {
        Value::Decimal { unscaled, scale, .. } => decimal(unscaled, scale),
        Value::Money(value) => decimal(i128::from(value), 4),
        Value::SmallMoney(value) => decimal(i128::from(value), 4),
        other => other,
    }
}

/// Every type of [`TYPES`] and [`VARIANTS`], a value a row, and what the deprecated types and `xml` hold.
async fn fill(connection: &mut Connection, table: &str) -> Vec<(String, SqlType)> {
    let more = [
        ("text", "'été'"),
        ("ntext", "N'日本'"),
        ("image", "0x00FF"),
        ("xml", "N'<a b=\"1\">ü</a>'"),
    ];
    let mut columns: Vec<(String, SqlType)> = vec![("id".into(), SqlType::Int)];
    let mut literals = Vec::new();
    for (ty, values) in TYPES {
        literals.extend(
            values
                .iter()
                .map(|literal| (columns.len(), (*literal).to_owned())),
        );
        columns.push((format!("c{}", columns.len()), ty.parse().unwrap()));
    }
    for (ty, literal) in more {
        literals.push((columns.len(), literal.to_owned()));
        columns.push((format!("c{}", columns.len()), ty.parse().unwrap()));
    }
    literals.extend(
        VARIANTS
            .iter()
            .map(|(expression, _)| (columns.len(), (*expression).to_owned())),
    );
    columns.push((format!("c{}", columns.len()), SqlType::SqlVariant));

    let declared = columns
        .iter()
        .skip(1)
        .map(|(name, ty)| format!("{name} {ty} NULL"));
    let declared: Vec<_> = declared.collect();
    let create = format!(
        "CREATE TABLE dbo.[{table}] (id int NOT NULL PRIMARY KEY, {})",
        declared.join(", ")
    );
    run(connection, &[&create]).await;
    for (id, (column, literal)) in literals.iter().enumerate() {
        let insert = format!("INSERT INTO dbo.[{table}] (id, c{column}) VALUES ({id}, {literal})");
        run(connection, &[&insert]).await;
    }
    columns
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_driver_reads_the_same_values() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    let columns = fill(&mut connection, "both").await;
    let ours = Driver::rows(connection, "both", &columns).await;
    let theirs = Tiberius::open(&emulator).await.rows("both", &columns).await;
    assert_eq!(ours.len(), theirs.len());
    assert!(ours.len() > 80, "{} rows", ours.len());
    for (row, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        for ((name, ty), (ours, theirs)) in columns.iter().zip(ours.iter().zip(theirs)) {
            assert_eq!(ours, theirs, "row {row}, {name} {ty}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_driver_reads_what_was_loaded() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    let columns = fill(&mut connection, "from").await;
    let loadable: Vec<_> = columns
        .into_iter()
        .filter(|(_, ty)| ty.loadable() == *ty)
        .collect();
    let declared: Vec<_> = loadable
        .iter()
        .map(|(name, ty)| format!("{name} {ty} NULL"))
        .collect();
    let create = format!("CREATE TABLE dbo.[to] ({})", declared.join(", "));
    run(&mut connection, &[&create]).await;

    let info = connection
        .table_info(&TableName::new("dbo", "from"))
        .await
        .unwrap();
    let left_out: Vec<_> = info
        .columns
        .iter()
        .map(|column| column.name.clone())
        .filter(|name| !loadable.iter().any(|(loaded, _)| loaded == name))
        .collect();
    let schema = info.schema(&TypePolicy::lenient(), &left_out).unwrap();
    let sql = format!("SELECT {} FROM dbo.[from]", info.select_list(&schema).unwrap());
    let mut rows = connection.select_arrow(sql, vec![], schema.arrow().clone(), 1000);
    let batches: Vec<_> = rows.by_ref().try_collect().await.unwrap();
    let mut connection = rows.finish().unwrap();
    let into: Vec<_> = loadable
        .iter()
        .map(|(name, ty)| BulkColumn {
            name: name.clone(),
            ty: *ty,
        })
        .collect();
    let batches = stream::iter(batches.into_iter().map(Ok));
    connection.bulk_load("[dbo].[to]", &into, batches).await.unwrap();

    let before = Tiberius::open(&emulator).await.rows("from", &loadable).await;
    let after = Tiberius::open(&emulator).await.rows("to", &loadable).await;
    assert_eq!(before, after);
}

async fn counts_and_errors<D: Driver>() {
    let emulator = start().await;
    let mut driver = D::open(&emulator).await;
    let create =
        "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(9) NULL, b varbinary(9) NULL)";
    driver.execute(create, &[]).await.unwrap();
    let params = [
        Param::new("id", 1),
        Param::new("name", "日 "),
        Param::new("bytes", Value::Bytes(vec![0, 1])),
    ];
    let insert = "INSERT INTO dbo.t VALUES (@id, @name, @bytes)";
    assert_eq!(driver.execute(insert, &params).await, Ok(vec![1]));
    let more = "INSERT INTO dbo.t (id) VALUES (2), (3); DELETE FROM dbo.t WHERE id > 1; UPDATE dbo.t SET id = id WHERE id > 1";
    assert_eq!(driver.execute(more, &[]).await, Ok(vec![2, 2, 0]));
    for (sql, number) in [
        ("INSERT INTO dbo.t (id) VALUES (1)", "2627"),
        ("INSERT INTO dbo.t (id) VALUES (NULL)", "515"),
        ("INSERT INTO dbo.t VALUES (2, N'0123456789', NULL)", "2628"),
        ("SELECT * FROM dbo.nowhere", "208"),
        ("SELEC 1", "102"),
    ] {
        let error = driver.execute(sql, &[]).await.unwrap_err();
        // A typing mistake is a call to a procedure that does not exist, or a syntax error.
        assert!(
            error == number || number == "102" && error == "2812",
            "{sql}: {error}"
        );
    }
    let columns = [
        ("id".to_owned(), SqlType::Int),
        ("name".to_owned(), "nvarchar(9)".parse().unwrap()),
        ("b".to_owned(), "varbinary(9)".parse().unwrap()),
    ];
    let expected = vec![vec![
        Value::Int(1),
        Value::Text("日 ".into()),
        Value::Bytes(vec![0, 1]),
    ]];
    assert_eq!(driver.rows("t", &columns).await, expected);
}

async fn transactions<D: Driver>() {
    let emulator = start().await;
    let id = [("id".to_owned(), SqlType::Int)];
    let mut driver = D::open(&emulator).await;
    let create = "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY)";
    driver.execute(create, &[]).await.unwrap();
    driver.begin(Isolation::ReadCommitted).await;
    driver.execute("INSERT INTO dbo.t VALUES (1)", &[]).await.unwrap();
    driver.rollback().await;
    driver.begin(Isolation::Serializable).await;
    driver.execute("INSERT INTO dbo.t VALUES (2)", &[]).await.unwrap();
    driver.commit().await;
    driver.begin(Isolation::RepeatableRead).await;
    driver.execute("INSERT INTO dbo.t VALUES (3)", &[]).await.unwrap();
    // Dropped with its transaction open.
    drop(driver);
    let seen = D::open(&emulator).await.rows("t", &id).await;
    assert_eq!(seen, [[Value::Int(2)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_drivers_tell_the_same_counts_and_errors() {
    counts_and_errors::<Connection>().await;
    counts_and_errors::<Tiberius>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_end_alike_with_both_drivers() {
    transactions::<Connection>().await;
    transactions::<Tiberius>().await;
}
