//! Every type from the server to Arrow, from Arrow to the server, and as a parameter.

use arrow_array::{Array, RecordBatch};
use futures::{StreamExt, TryStreamExt, stream};
use model::{ErrorKind, TableName};
use sqlserver_client::{BulkColumn, Connection, Param, TypePolicy, Value};

use crate::{connect, run, start};

/// A declared type, and literals for its edges. Each literal is a row; the other columns are NULL there.
pub(crate) const TYPES: &[(&str, &[&str])] = &[
    ("bit", &["0", "1"]),
    ("tinyint", &["0", "255"]),
    ("smallint", &["-32768", "32767"]),
    ("int", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("decimal(9,2)", &["-9999999.99", "0.01"]),
    ("decimal(19,0)", &["9999999999999999999"]),
    ("decimal(28,10)", &["-1.0000000001"]),
    (
        "decimal(38,38)",
        &[
            "0.99999999999999999999999999999999999999",
            "-0.99999999999999999999999999999999999999",
        ],
    ),
    (
        "money",
        &["-922337203685477.5808", "922337203685477.5807", "1.2345"],
    ),
    ("smallmoney", &["-214748.3648", "214748.3647"]),
    ("real", &["-3.4E+38", "1.18E-38"]),
    ("float", &["-1.79E+308", "2.23E-308"]),
    ("date", &["'0001-01-01'", "'9999-12-31'", "'1970-01-01'"]),
    ("time(0)", &["'23:59:59'"]),
    ("time(3)", &["'23:59:59.999'"]),
    ("time(6)", &["'00:00:00.000001'", "'23:59:59.999999'"]),
    (
        "smalldatetime",
        &["'1900-01-01T00:00:00'", "'2079-06-06T23:59:00'"],
    ),
    (
        "datetime",
        &[
            "'1753-01-01T00:00:00'",
            "'9999-12-31T23:59:59.997'",
            "'2026-02-03T04:05:06.003'",
        ],
    ),
    ("datetime2(0)", &["'0001-01-01T00:00:00'"]),
    (
        "datetime2(6)",
        &["'9999-12-31T23:59:59.999999'", "'1969-12-31T23:59:59.999999'"],
    ),
    ("datetimeoffset(6)", &["'2026-01-01T00:00:00.000001+00:00'"]),
    ("char(3)", &["'ab'", "''"]),
    ("varchar(10)", &["'a '", "''", "'A'"]),
    (
        "varchar(max)",
        &["''", "REPLICATE(CAST('x' AS varchar(max)), 20000)"],
    ),
    ("nchar(3)", &["N'ä'"]),
    (
        "nvarchar(10)",
        &["N'日本'", "N'a' + NCHAR(55357) + NCHAR(56832)", "N''"],
    ),
    (
        "nvarchar(max)",
        &["N''", "REPLICATE(CAST(N'ü' AS nvarchar(max)), 40000)"],
    ),
    ("binary(3)", &["0x0102", "0x000000"]),
    ("varbinary(10)", &["0x", "0x00", "0xFF00"]),
    (
        "varbinary(max)",
        &[
            "0x",
            "CAST(REPLICATE(CAST('x' AS varchar(max)), 70000) AS varbinary(max))",
        ],
    ),
    ("uniqueidentifier", &["'00112233-4455-6677-8899-AABBCCDDEEFF'"]),
];

async fn read(connection: Connection, table: &str) -> (Connection, RecordBatch) {
    let mut connection = connection;
    let info = connection
        .table_info(&TableName::new("dbo", table))
        .await
        .unwrap();
    let schema = info.schema(&TypePolicy::lenient(), &[]).unwrap();
    let list = info.select_list(&schema).unwrap();
    let sql = format!("SELECT {list} FROM [dbo].[{table}] ORDER BY [id]");
    let mut rows = connection.select_arrow(sql, vec![], schema.arrow().clone(), 7);
    let batches: Vec<_> = rows.by_ref().try_collect().await.unwrap();
    let connection = rows.finish().unwrap();
    (connection, concat(&batches))
}

fn concat(batches: &[RecordBatch]) -> RecordBatch {
    let schema = batches[0].schema();
    let columns = (0..schema.fields().len()).map(|i| {
        let arrays: Vec<_> = batches.iter().map(|batch| batch.column(i).as_ref()).collect();
        arrow_select::concat::concat(&arrays).unwrap()
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

async fn create(connection: &mut Connection, table: &str) {
    let columns: Vec<_> = TYPES
        .iter()
        .enumerate()
        .map(|(i, (ty, _))| format!("c{i} {ty} NULL"))
        .collect();
    run(
        connection,
        &[&format!(
            "CREATE TABLE dbo.[{table}] (id int NOT NULL PRIMARY KEY, {})",
            columns.join(", ")
        )],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_to_arrow_and_back_unaltered() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    create(&mut connection, "from").await;
    create(&mut connection, "to").await;
    let mut id = 0;
    for (i, (_, literals)) in TYPES.iter().enumerate() {
        for literal in *literals {
            id += 1;
            run(
                &mut connection,
                &[&format!(
                    "INSERT INTO dbo.[from] (id, c{i}) VALUES ({id}, {literal})"
                )],
            )
            .await;
        }
    }
    run(&mut connection, &["INSERT INTO dbo.[from] (id) VALUES (0)"]).await;

    let (mut connection, batch) = read(connection, "from").await;
    assert_eq!(batch.num_rows(), id + 1);
    // Columns in another order than the table's: the load must put each where it belongs.
    let mut columns: Vec<_> = TYPES
        .iter()
        .enumerate()
        .map(|(i, (ty, _))| {
            (
                i + 1,
                BulkColumn {
                    name: format!("c{i}"),
                    ty: ty.parse().unwrap(),
                },
            )
        })
        .collect();
    columns.push((
        0,
        BulkColumn {
            name: "id".into(),
            ty: "int".parse().unwrap(),
        },
    ));
    columns.reverse();
    let (order, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let rows = stream::iter([Ok(batch.project(&order).unwrap())]);
    let loaded = connection.bulk_load("[dbo].[to]", &columns, rows).await.unwrap();
    assert_eq!(loaded, id as u64 + 1);

    let (mut connection, copied) = read(connection, "to").await;
    for (field, (original, copy)) in batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns().iter().zip(copied.columns()))
    {
        assert_eq!(original, copy, "{field}");
    }
    let differing = connection
        .query("SELECT COUNT(*) AS n FROM dbo.[from] AS a FULL JOIN dbo.[to] AS b ON a.id = b.id WHERE a.id IS NULL OR b.id IS NULL", &[])
        .await
        .unwrap();
    assert_eq!(differing.one().unwrap().need_i64("n").unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_vectors_arrive_as_they_should() {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Decimal128Type, TimestampMicrosecondType};

    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &[
            "CREATE TABLE dbo.edges (id int NOT NULL PRIMARY KEY, dt datetime, dt2 datetime2(7), utc datetimeoffset(7), m money, g uniqueidentifier)",
            "INSERT INTO dbo.edges VALUES (1, '1753-01-01', '0001-01-01', '2026-01-01T12:00:00.0000000+14:00', 1.2345, '00112233-4455-6677-8899-AABBCCDDEEFF'), \
             (2, '9999-12-31T23:59:59.997', '9999-12-31T23:59:59.9999999', '1970-01-01T00:00:00.0000019-01:00', -922337203685477.5808, NULL)",
        ],
    )
    .await;
    let (_, batch) = read(connection, "edges").await;
    let micros = |i: usize| {
        batch
            .column(i)
            .as_primitive::<TimestampMicrosecondType>()
            .values()
            .to_vec()
    };
    assert_eq!(micros(1), [-6_847_804_800_000_000, 253_402_300_799_997_000]);
    assert_eq!(micros(2), [-62_135_596_800_000_000, 253_402_300_799_999_999]);
    assert_eq!(micros(3), [1_767_218_400_000_000, 3_600_000_001]);
    let money = batch.column(4).as_primitive::<Decimal128Type>().values().to_vec();
    assert_eq!(money, [12_345, i128::from(i64::MIN)]);
    let guid = batch.column(5).as_fixed_size_binary().value(0);
    assert_eq!(
        guid,
        [
            0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_surrogate_is_an_error_that_names_the_column() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &[
            "CREATE TABLE dbo.s (id int NOT NULL PRIMARY KEY, name nvarchar(9))",
            "INSERT INTO dbo.s VALUES (1, N'a' + NCHAR(55357))",
        ],
    )
    .await;
    let info = connection.table_info(&TableName::new("dbo", "s")).await.unwrap();
    let schema = info.schema(&TypePolicy::default(), &[]).unwrap();
    let rows = connection.select_arrow("SELECT id, name FROM dbo.s", vec![], schema.arrow().clone(), 10);
    let error = rows.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(
        error.message().contains("\"name\"") && error.message().contains("surrogate"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_keep_their_type_and_value() {
    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    for value in [
        Value::Bit(true),
        Value::TinyInt(255),
        Value::SmallInt(-1),
        Value::Int(i32::MIN),
        Value::BigInt(i64::MAX),
        Value::Decimal {
            unscaled: -12345,
            precision: 9,
            scale: 2,
        },
        Value::Money(i64::MIN),
        Value::SmallMoney(-1),
        Value::Real(1.5),
        Value::Float(-0.0),
        Value::Date(3_652_058),
        Value::Time {
            ticks: 863_999_990_000,
            scale: 3,
        },
        Value::SmallDateTime {
            days: 65_535,
            minutes: 1_439,
        },
        Value::DateTime {
            days: -53_690,
            ticks: 25_919_999,
        },
        Value::DateTime2 {
            days: 0,
            ticks: 1,
            scale: 7,
        },
        Value::DateTimeOffset {
            days: 719_162,
            ticks: 10,
            scale: 6,
            offset: 0,
        },
        Value::Text("it's \u{1F600} ]".into()),
        Value::Text("x".repeat(5000)),
        Value::Text(String::new()),
        Value::Bytes(vec![]),
        Value::Bytes(vec![0, 1, 255]),
        Value::Bytes(vec![7; 9000]),
        Value::Guid([9; 16]),
    ] {
        let params = [Param::new("p", value.clone())];
        let rows = connection.query("SELECT @p AS v", &params).await.unwrap();
        assert_eq!(rows.one().unwrap().get("v").unwrap(), &value);
    }
    for ty in TYPES.iter().map(|(ty, _)| ty) {
        let params = [Param::typed("p", Value::Null, ty.parse().unwrap())];
        let rows = connection.query("SELECT @p AS v", &params).await.unwrap();
        assert!(rows.one().unwrap().get("v").unwrap().is_null(), "{ty}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_large_types_xml_and_rowversions_are_read() {
    use arrow_array::cast::AsArray;

    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &[
            "CREATE TABLE dbo.old (id int NOT NULL PRIMARY KEY, t text, n ntext, i image, x xml, rv rowversion)",
            "INSERT INTO dbo.old (id, t, n, i, x) VALUES (1, 'été', N'日本', 0x00FF, N'<a b=\"1\">ü</a>')",
            "INSERT INTO dbo.old (id) VALUES (2)",
        ],
    )
    .await;
    let (_, batch) = read(connection, "old").await;
    let texts = |i: usize| batch.column(i).as_string::<i64>().value(0).to_owned();
    assert_eq!(
        (texts(1), texts(2), texts(4)),
        ("été".into(), "日本".into(), "<a b=\"1\">ü</a>".into())
    );
    assert_eq!(batch.column(3).as_binary::<i64>().value(0), [0, 255]);
    let versions = batch.column(5).as_binary::<i32>();
    assert!(versions.value(0).len() == 8 && versions.value(0) < versions.value(1));
    for column in [1, 2, 3, 4] {
        assert!(batch.column(column).is_null(1), "column {column}");
    }
}

/// A `sql_variant` of each base type, as an expression and as the text that stands for it: the type with its length or precision, the
/// collation of text, and the value in the style that CAST and CONVERT (Transact-SQL) calls lossless.
pub(crate) const VARIANTS: &[(&str, &str)] = &[
    ("CAST(1 AS bit)", r#"{"type":"bit","value":"1"}"#),
    ("CAST(255 AS tinyint)", r#"{"type":"tinyint","value":"255"}"#),
    ("CAST(-1 AS smallint)", r#"{"type":"smallint","value":"-1"}"#),
    ("-2147483647", r#"{"type":"int","value":"-2147483647"}"#),
    (
        "CAST(9223372036854775807 AS bigint)",
        r#"{"type":"bigint","value":"9223372036854775807"}"#,
    ),
    (
        "CAST(-1.50 AS decimal(9,2))",
        r#"{"type":"decimal(9,2)","value":"-1.50"}"#,
    ),
    (
        "CAST(1.5 AS numeric(38,10))",
        r#"{"type":"numeric(38,10)","value":"1.5000000000"}"#,
    ),
    (
        "CAST(-922337203685477.5808 AS money)",
        r#"{"type":"money","value":"-922337203685477.5808"}"#,
    ),
    (
        "CAST(0.0001 AS smallmoney)",
        r#"{"type":"smallmoney","value":"0.0001"}"#,
    ),
    (
        "CAST(0.1E0 AS float)",
        r#"{"type":"float","value":"0.10000000000000001"}"#,
    ),
    (
        "CAST('0001-01-01' AS date)",
        r#"{"type":"date","value":"0001-01-01"}"#,
    ),
    (
        "CAST('23:59:59.9999999' AS time(7))",
        r#"{"type":"time(7)","value":"23:59:59.9999999"}"#,
    ),
    (
        "CAST('2026-11-21T12:34:56.003' AS datetime)",
        r#"{"type":"datetime","value":"2026-11-21T12:34:56.003"}"#,
    ),
    (
        "CAST('2079-06-06T23:59:00' AS smalldatetime)",
        r#"{"type":"smalldatetime","value":"2079-06-06T23:59:00"}"#,
    ),
    (
        "CAST('9999-12-31T23:59:59.999' AS datetime2(3))",
        r#"{"type":"datetime2(3)","value":"9999-12-31 23:59:59.9990000"}"#,
    ),
    (
        "CAST('2026-01-01T00:00:00.1234567-14:00' AS datetimeoffset(7))",
        r#"{"type":"datetimeoffset(7)","value":"2026-01-01 00:00:00.1234567 -14:00"}"#,
    ),
    (
        "CAST('00112233-4455-6677-8899-AABBCCDDEEFF' AS uniqueidentifier)",
        r#"{"type":"uniqueidentifier","value":"00112233-4455-6677-8899-AABBCCDDEEFF"}"#,
    ),
    (
        "CAST(0x00FF AS varbinary(9))",
        r#"{"type":"varbinary(9)","value":"0x00FF"}"#,
    ),
    (
        "CAST(0x01 AS binary(3))",
        r#"{"type":"binary(3)","value":"0x010000"}"#,
    ),
    (
        "''",
        r#"{"type":"varchar(1)","collation":"SQL_Latin1_General_CP1_CI_AS","value":""}"#,
    ),
    (
        "N''",
        r#"{"type":"nvarchar(1)","collation":"SQL_Latin1_General_CP1_CI_AS","value":""}"#,
    ),
    ("0x", r#"{"type":"varbinary(1)","value":"0x"}"#),
    (
        "CAST('a ' AS varchar(9))",
        r#"{"type":"varchar(9)","collation":"SQL_Latin1_General_CP1_CI_AS","value":"a "}"#,
    ),
    (
        "CAST(N'Ж' COLLATE Cyrillic_General_CI_AS AS varchar(9))",
        r#"{"type":"varchar(9)","collation":"Cyrillic_General_CI_AS","value":"Ж"}"#,
    ),
    (
        "CAST('b' COLLATE Latin1_General_BIN2 AS char(3))",
        r#"{"type":"char(3)","collation":"Latin1_General_BIN2","value":"b  "}"#,
    ),
    (
        "CAST(N'日\"\\/' + NCHAR(9) + NCHAR(1) AS nvarchar(20))",
        r#"{"type":"nvarchar(20)","collation":"SQL_Latin1_General_CP1_CI_AS","value":"日\"\\\/\t\u0001"}"#,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_read_with_their_types() {
    use arrow_array::cast::AsArray;

    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &["CREATE TABLE dbo.variants (id int NOT NULL PRIMARY KEY, v sql_variant NULL)"],
    )
    .await;
    for (id, (expression, _)) in VARIANTS.iter().enumerate() {
        let insert = format!("INSERT INTO dbo.variants VALUES ({id}, {expression})");
        run(&mut connection, &[&insert]).await;
    }
    run(&mut connection, &["INSERT INTO dbo.variants VALUES (1000, NULL)"]).await;
    let (_, batch) = read(connection, "variants").await;
    let texts = batch.column(1).as_string::<i64>();
    for (row, (expression, text)) in VARIANTS.iter().enumerate() {
        assert_eq!(texts.value(row), *text, "{expression}");
    }
    assert!(texts.is_null(VARIANTS.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn clr_types_are_read_as_their_bytes() {
    use arrow_array::cast::AsArray;

    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    // [MS-SSCLRT]: '/1/3/' (2.1.3), and POINT(3 4) in a plane and on the globe.
    run(
        &mut connection,
        &[
            "CREATE TABLE dbo.clr (id hierarchyid NOT NULL PRIMARY KEY, plane geometry NULL, globe geography)",
            "INSERT INTO dbo.clr VALUES (0x5BC0, 0x00000000010C00000000000008400000000000001040, 0xE6100000010C00000000000010400000000000000840)",
            "INSERT INTO dbo.clr (id) VALUES (0x)",
        ],
    )
    .await;
    let (_, batch) = read(connection, "clr").await;
    assert_eq!(batch.column(0).as_binary::<i32>().value(0), b"");
    assert_eq!(batch.column(0).as_binary::<i32>().value(1), [0x5B, 0xC0]);
    assert_eq!(batch.column(1).as_binary::<i64>().value(1).len(), 22);
    assert_eq!(
        batch.column(2).as_binary::<i64>().value(1)[..6],
        [0xE6, 0x10, 0, 0, 1, 0x0C]
    );
    assert!(batch.column(1).is_null(0) && batch.column(2).is_null(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_read_as_the_server_writes_it() {
    use arrow_array::cast::AsArray;

    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &[
            "CREATE TABLE dbo.j (id int NOT NULL PRIMARY KEY, d json NULL)",
            "INSERT INTO dbo.j VALUES (1, N'{ \"a\": [1, 2.50], \"ж\": \"日 \" }'), (2, NULL)",
        ],
    )
    .await;
    let (_, batch) = read(connection, "j").await;
    let documents = batch.column(1).as_string::<i64>();
    assert_eq!(documents.value(0), r#"{"a":[1,2.50],"ж":"日 "}"#);
    assert!(documents.is_null(1));
}

/// The second float prints as `1.0000000e+000` in the server's own text.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_read_to_their_last_bit() {
    use arrow_array::cast::AsArray;

    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    run(
        &mut connection,
        &[
            "CREATE TABLE dbo.v (id int NOT NULL PRIMARY KEY, v vector(3) NULL, w vector(1))",
            "INSERT INTO dbo.v VALUES (1, '[0.1, 1.00000012, -1e-30]', N'[1]'), (2, NULL, NULL)",
        ],
    )
    .await;
    let (_, batch) = read(connection, "v").await;
    let vectors = batch.column(1).as_string::<i64>();
    assert_eq!(vectors.value(0), "[0.1,1.0000001,-1e-30]");
    assert!(vectors.is_null(1));
    assert_eq!(batch.column(2).as_string::<i64>().value(0), "[1.0]");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_pages_arrive_as_their_characters() {
    use arrow_array::cast::AsArray;

    let emulator = start().await;
    let mut connection = connect(&emulator).await;
    for (i, (collation, text)) in [
        ("Latin1_General_CI_AS", "Ä€œÿ"),
        ("Cyrillic_General_CI_AS", "Жя"),
        ("Japanese_CI_AS", "日本ｱ"),
        ("Latin1_General_100_CI_AS_SC_UTF8", "ж日\u{1F600}"),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("cp{i}");
        run(
            &mut connection,
            &[
                &format!("CREATE TABLE dbo.{table} (id int NOT NULL PRIMARY KEY, c varchar(40) COLLATE {collation})"),
                &format!("INSERT INTO dbo.{table} VALUES (1, N'{text}')"),
            ],
        )
        .await;
        let batch;
        (connection, batch) = read(connection, &table).await;
        assert_eq!(batch.column(1).as_string::<i32>().value(0), text, "{collation}");
    }
}
