//! tiberius: logins, types, parameters, bulk load.

use std::borrow::Cow;

use futures::TryStreamExt;
use sqlserver_emulator::{Emulator, EmulatorConfig, Encryption};
use tiberius::error::Error;
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};
use tiberius::{AuthMethod, Client, ColumnData, Config, EncryptionLevel, FromSql, IntoRow, ToSql};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

type Connection = Client<Compat<TcpStream>>;

fn config(emulator: &Emulator, encryption: EncryptionLevel) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.port(emulator.address().port());
    config.authentication(AuthMethod::sql_server(emulator.user(), emulator.password()));
    config.encryption(encryption);
    config.trust_cert();
    config
}

async fn connect(config: Config) -> Result<Connection, Error> {
    let socket = TcpStream::connect(config.get_addr()).await?;
    socket.set_nodelay(true)?;
    Client::connect(config, socket.compat_write()).await
}

async fn connected(emulator: &Emulator) -> Connection {
    connect(config(emulator, EncryptionLevel::NotSupported))
        .await
        .unwrap()
}

async fn one_value(connection: &mut Connection, sql: &str) -> ColumnData<'static> {
    let rows = connection
        .simple_query(sql)
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    let row = rows.into_iter().next().unwrap();
    row.into_iter().next().unwrap()
}

#[tokio::test]
async fn logins_work_at_every_level_of_encryption() {
    for (server, client, works) in [
        (Encryption::Optional, EncryptionLevel::NotSupported, true),
        (Encryption::Optional, EncryptionLevel::Off, true),
        (Encryption::Optional, EncryptionLevel::On, true),
        (Encryption::Optional, EncryptionLevel::Required, true),
        (Encryption::Required, EncryptionLevel::Off, true),
        (Encryption::Required, EncryptionLevel::Required, true),
        (Encryption::NotSupported, EncryptionLevel::NotSupported, true),
        (Encryption::NotSupported, EncryptionLevel::Required, false),
    ] {
        let emulator = Emulator::start(EmulatorConfig {
            encryption: server,
            ..EmulatorConfig::default()
        })
        .await
        .unwrap();
        let connection = connect(config(&emulator, client)).await;
        assert_eq!(connection.is_ok(), works, "{client:?} against {server:?}");
        if let Ok(mut connection) = connection {
            let one = one_value(&mut connection, "SELECT 1").await;
            assert_eq!(one, ColumnData::I32(Some(1)), "{client:?} against {server:?}");
        }
    }
}

#[tokio::test]
async fn the_certificate_is_good_for_its_names_only() {
    for (host_names, trusted) in [(vec!["127.0.0.1"], true), (vec!["other.example"], false)] {
        let emulator = Emulator::start(EmulatorConfig {
            host_names: host_names.iter().map(ToString::to_string).collect(),
            ..EmulatorConfig::default()
        })
        .await
        .unwrap();
        let mut config = Config::new();
        config.host("127.0.0.1");
        config.port(emulator.address().port());
        config.authentication(AuthMethod::sql_server(emulator.user(), emulator.password()));
        config.encryption(EncryptionLevel::Required);
        config.trust_cert_ca_bundle(emulator.ca_pem());
        let connection = connect(config).await;
        assert_eq!(connection.is_ok(), trusted, "{host_names:?}");
    }
}

#[tokio::test]
async fn refused_logins_say_why() {
    let emulator = crate::emulator().await;
    let mut wrong_password = config(&emulator, EncryptionLevel::Required);
    wrong_password.authentication(AuthMethod::sql_server("sa", "wrong"));
    assert_eq!(connect(wrong_password).await.err().unwrap().code(), Some(18_456));
    let mut unknown_database = config(&emulator, EncryptionLevel::Required);
    unknown_database.database("nowhere");
    let code = connect(unknown_database).await.err().unwrap().code();
    assert!(matches!(code, Some(4060 | 18_456)), "{code:?}");
}

#[tokio::test]
async fn literals_arrive_with_their_type_and_value() {
    let emulator = crate::emulator().await;
    let mut connection = connected(&emulator).await;
    let text = |text: &str| ColumnData::String(Some(Cow::Owned(text.to_owned())));
    let numeric = |value, scale| ColumnData::Numeric(Some(Numeric::new_with_scale(value, scale)));
    for (sql, expect) in [
        ("CAST(1 AS bit)", ColumnData::Bit(Some(true))),
        ("CAST(255 AS tinyint)", ColumnData::U8(Some(255))),
        ("CAST(-32768 AS smallint)", ColumnData::I16(Some(i16::MIN))),
        ("CAST(-2147483648 AS int)", ColumnData::I32(Some(i32::MIN))),
        (
            "CAST(9223372036854775807 AS bigint)",
            ColumnData::I64(Some(i64::MAX)),
        ),
        ("CAST(NULL AS bigint)", ColumnData::I64(None)),
        ("CAST(1.5 AS real)", ColumnData::F32(Some(1.5))),
        ("CAST(-2.5E300 AS float)", ColumnData::F64(Some(-2.5e300))),
        (
            "CAST('-12345678901234567890123456789.123456789' AS decimal(38,9))",
            numeric(-12_345_678_901_234_567_890_123_456_789_123_456_789, 9),
        ),
        ("CAST(0.01 AS decimal(5,2))", numeric(1, 2)),
        ("CAST('a' AS char(3))", text("a  ")),
        ("CAST('é€' AS varchar(10))", text("é€")),
        ("CAST(N'Ж😀' AS nvarchar(10))", text("Ж😀")),
        ("CAST(N'' AS nvarchar(max))", text("")),
        (
            "REPLICATE(CAST('x' AS varchar(max)), 100000)",
            text(&"x".repeat(100_000)),
        ),
        (
            "CAST(0x00FF AS varbinary(10))",
            ColumnData::Binary(Some(Cow::Owned(vec![0, 255]))),
        ),
        ("CAST('0001-01-01' AS date)", ColumnData::Date(Some(Date::new(0)))),
        (
            "CAST('9999-12-31' AS date)",
            ColumnData::Date(Some(Date::new(3_652_058))),
        ),
        (
            "CAST('23:59:59.9999999' AS time(7))",
            ColumnData::Time(Some(Time::new(863_999_999_999, 7))),
        ),
        (
            "CAST('9999-12-31 23:59:59.999' AS datetime2(3))",
            ColumnData::DateTime2(Some(DateTime2::new(
                Date::new(3_652_058),
                Time::new(86_399_999, 3),
            ))),
        ),
        (
            "CAST('1753-01-01' AS datetime)",
            ColumnData::DateTime(Some(DateTime::new(-53_690, 0))),
        ),
        (
            "CAST('1900-01-02 00:05' AS smalldatetime)",
            ColumnData::SmallDateTime(Some(SmallDateTime::new(1, 5))),
        ),
        (
            "CAST('2000-01-01 00:00:00 +02:00' AS datetimeoffset(0))",
            ColumnData::DateTimeOffset(Some(DateTimeOffset::new(
                DateTime2::new(Date::new(730_118), Time::new(79_200, 0)),
                120,
            ))),
        ),
        (
            "CAST('00112233-4455-6677-8899-aabbccddeeff' AS uniqueidentifier)",
            ColumnData::Guid(Some("00112233-4455-6677-8899-aabbccddeeff".parse().unwrap())),
        ),
    ] {
        let value = one_value(&mut connection, &format!("SELECT {sql}")).await;
        assert!(value == expect, "{sql} gave {:.200}", format!("{value:?}"));
    }
}

async fn echo<T>(connection: &mut Connection, declared: &str, value: T)
where
    T: ToSql + Clone + PartialEq + std::fmt::Debug + for<'a> FromSql<'a> + 'static,
{
    let sql = format!("SELECT CAST(@P1 AS {declared})");
    let rows = connection
        .query(sql, &[&value])
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    assert_eq!(rows[0].get::<T, _>(0).as_ref(), Some(&value), "{declared}");
}

#[tokio::test]
async fn parameters_come_back() {
    let emulator = crate::emulator().await;
    let mut connection = connected(&emulator).await;
    echo(&mut connection, "bit", true).await;
    echo(&mut connection, "tinyint", 200u8).await;
    echo(&mut connection, "smallint", -7i16).await;
    echo(&mut connection, "int", i32::MAX).await;
    echo(&mut connection, "bigint", i64::MIN).await;
    echo(&mut connection, "real", 0.25f32).await;
    echo(&mut connection, "float", -1e-300f64).await;
    echo(
        &mut connection,
        "decimal(38,4)",
        Numeric::new_with_scale(-10i128.pow(37), 4),
    )
    .await;
    echo(&mut connection, "uniqueidentifier", tiberius::Uuid::from_u128(77)).await;
    let long = "ü".repeat(5000);
    let rows = connection
        .query(
            "SELECT @P1, DATALENGTH(@P1), @P2, @P3",
            &[&long.as_str(), &Option::<i32>::None, &&[1u8, 2][..]],
        )
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    assert!(
        rows[0].get::<&str, _>(0) == Some(long.as_str()),
        "the long text was changed"
    );
    assert_eq!(
        rows[0]
            .get::<i64, _>(1)
            .or(rows[0].try_get::<i32, _>(1).ok().flatten().map(i64::from)),
        Some(10_000)
    );
    assert_eq!(rows[0].get::<i32, _>(2), None);
    assert_eq!(rows[0].get::<&[u8], _>(3), Some(&[1u8, 2][..]));
}

#[tokio::test]
async fn results_counts_and_errors_of_a_batch_arrive_in_order() {
    let emulator = crate::emulator().await;
    let mut connection = connected(&emulator).await;
    let done = connection
        .execute(
            "CREATE TABLE #t (id int NOT NULL PRIMARY KEY, name nvarchar(10) NULL)",
            &[],
        )
        .await;
    assert!(done.is_ok(), "{done:?}");
    connection
        .simple_query("CREATE TABLE #u (id int NOT NULL PRIMARY KEY)")
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    let inserted = connection
        .execute("INSERT INTO #u VALUES (1), (2); INSERT INTO #u VALUES (3)", &[])
        .await
        .unwrap();
    assert_eq!(inserted.rows_affected(), [2, 1]);
    let duplicate = connection.execute("INSERT INTO #u VALUES (1)", &[]).await;
    assert_eq!(duplicate.err().and_then(|error| error.code()), Some(2627));
    let results = connection
        .simple_query("SELECT id FROM #u ORDER BY id; SELECT COUNT(*) FROM #u")
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    let ids: Vec<_> = results[0].iter().map(|row| row.get::<i32, _>(0)).collect();
    assert_eq!(ids, [Some(1), Some(2), Some(3)]);
    assert_eq!(results[1][0].get::<i32, _>(0), Some(3));
}

#[tokio::test]
async fn bulk_rows_are_loaded() {
    let emulator = crate::emulator().await;
    let mut connection = connected(&emulator).await;
    let create = "CREATE TABLE ##bulk (id int NOT NULL, name nvarchar(50) NULL, bytes varbinary(20) NULL, \
                  amount decimal(18,2) NULL, small smallint NULL, code varchar(10) NULL)";
    connection
        .simple_query(create)
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    let mut load = connection.bulk_insert("##bulk").await.unwrap();
    for id in 0..3000i32 {
        let name = (id % 3 != 0).then(|| format!("näme {id}"));
        let amount = Numeric::new_with_scale(i128::from(id) * 101, 2);
        let bytes = id.to_le_bytes().to_vec();
        let row = (id, name, bytes, amount, Some(id as i16), Some("c"));
        load.send(row.into_row()).await.unwrap();
    }
    assert_eq!(load.finalize().await.unwrap().total(), 3000);
    let mut stream = connection
        .query("SELECT id, name, bytes, amount FROM ##bulk ORDER BY id", &[])
        .await
        .unwrap()
        .into_row_stream();
    let mut expect = 0;
    while let Some(row) = stream.try_next().await.unwrap() {
        assert_eq!(row.get::<i32, _>(0), Some(expect));
        let name = (expect % 3 != 0).then(|| format!("näme {expect}"));
        assert_eq!(row.get::<&str, _>(1), name.as_deref());
        assert_eq!(row.get::<&[u8], _>(2), Some(&expect.to_le_bytes()[..]));
        assert_eq!(
            row.get::<Numeric, _>(3).map(Numeric::value),
            Some(i128::from(expect) * 101)
        );
        expect += 1;
    }
    assert_eq!(expect, 3000);
}
