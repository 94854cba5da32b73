//! Every type at its edges, written as literals and read back.

use crate::collect::{connect, engine, errors, query, run};
use sqlserver_emulator::{Decimal, Engine, EngineConfig, Value};

/// Limits from the types' documentation pages: "int, bigint, smallint, and tinyint", "money and smallmoney",
/// "decimal and numeric", "float and real", "datetime", "datetime2", "datetimeoffset", "smalldatetime", "date", "time".
#[test]
fn literals_at_the_edges_of_their_types_are_kept_exactly() {
    let decimal = |unscaled, precision, scale| {
        Value::Decimal(Decimal {
            unscaled,
            precision,
            scale,
        })
    };
    let nines = 10_i128.pow(38) - 1;
    let cases = [
        ("bit", "1", Value::Bit(true)),
        ("tinyint", "255", Value::TinyInt(255)),
        ("smallint", "-32768", Value::SmallInt(i16::MIN)),
        ("int", "-2147483648", Value::Int(i32::MIN)),
        ("bigint", "-9223372036854775808", Value::BigInt(i64::MIN)),
        ("bigint", "9223372036854775807", Value::BigInt(i64::MAX)),
        (
            "decimal(38,38)",
            "-0.99999999999999999999999999999999999999",
            decimal(-nines, 38, 38),
        ),
        (
            "decimal(38,0)",
            "99999999999999999999999999999999999999",
            decimal(nines, 38, 0),
        ),
        ("numeric(9,2)", "1234567.895", decimal(123_456_790, 9, 2)),
        ("money", "-922337203685477.5808", Value::Money(i64::MIN)),
        ("money", "$922337203685477.5807", Value::Money(i64::MAX)),
        ("smallmoney", "-214748.3648", Value::SmallMoney(i32::MIN)),
        ("real", "3.4028235E+38", Value::Real(f32::MAX)),
        ("float", "-1.7976931348623157E+308", Value::Float(f64::MIN)),
        ("float", "0.1", Value::Float(0.1)),
        (
            "float",
            "'2.2250738585072014E-308'",
            Value::Float(f64::MIN_POSITIVE),
        ),
        ("date", "'0001-01-01'", Value::Date(0)),
        ("date", "'9999-12-31'", Value::Date(3_652_058)),
        (
            "time",
            "'23:59:59.9999999'",
            Value::Time {
                ticks: 863_999_999_999,
                scale: 7,
            },
        ),
        (
            "time(0)",
            "'23:59:59.4'",
            Value::Time {
                ticks: 863_990_000_000,
                scale: 0,
            },
        ),
        (
            "smalldatetime",
            "'2079-06-06 23:59:00'",
            Value::SmallDateTime {
                days: 65_535,
                minutes: 1439,
            },
        ),
        (
            "datetime",
            "'1753-01-01'",
            Value::DateTime {
                days: -53_690,
                ticks: 0,
            },
        ),
        (
            "datetime",
            "'9999-12-31 23:59:59.997'",
            Value::DateTime {
                days: 2_958_463,
                ticks: 25_919_999,
            },
        ),
        (
            "datetime2",
            "'0001-01-01 00:00:00'",
            Value::DateTime2 {
                days: 0,
                ticks: 0,
                scale: 7,
            },
        ),
        (
            "datetime2",
            "'9999-12-31T23:59:59.9999999'",
            Value::DateTime2 {
                days: 3_652_058,
                ticks: 863_999_999_999,
                scale: 7,
            },
        ),
        (
            "datetime2(3)",
            "'2024-01-01 00:00:00.1235'",
            Value::DateTime2 {
                days: 738_885,
                ticks: 1_240_000,
                scale: 3,
            },
        ),
        (
            "datetimeoffset",
            "'0001-01-01 14:00:00 +14:00'",
            Value::DateTimeOffset {
                days: 0,
                ticks: 0,
                scale: 7,
                offset: 840,
            },
        ),
        (
            "datetimeoffset(0)",
            "'9999-12-31 09:59:59 -14:00'",
            Value::DateTimeOffset {
                days: 3_652_058,
                ticks: 863_990_000_000,
                scale: 0,
                offset: -840,
            },
        ),
        ("char(3)", "'a'", Value::text("a  ")),
        ("varchar(10)", "'naïve €'", Value::text("naïve €")),
        ("varchar(10)", "N'a中'", Value::text("a?")),
        ("nchar(2)", "N'😀'", Value::text("😀")),
        ("nvarchar(max)", "N''", Value::text("")),
        (
            "nvarchar(5)",
            "N'a' + NCHAR(0) + N'b'",
            Value::Str([97, 0, 98].as_slice().into()),
        ),
        (
            "nvarchar(5)",
            "NCHAR(55357)",
            Value::Str([0xD83D].as_slice().into()),
        ),
        ("text", "'abc'", Value::text("abc")),
        ("ntext", "N'中'", Value::text("中")),
        ("binary(4)", "0x0102", Value::bytes(&[1, 2, 0, 0])),
        ("varbinary(max)", "0x", Value::bytes(&[])),
        ("varbinary(4)", "0x0100", Value::bytes(&[1, 0])),
        ("image", "0xFF", Value::bytes(&[255])),
        (
            "uniqueidentifier",
            "'00112233-4455-6677-8899-AABBCCDDEEFF'",
            Value::Guid([
                0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
            ]),
        ),
        ("xml", "N'<a/>'", Value::Xml("<a/>".encode_utf16().collect())),
    ];
    let mut session = connect(&engine());
    for (ty, literal, expected) in cases {
        let sql = format!(
            "CREATE TABLE v (c {ty} NULL); INSERT v VALUES ({literal}), (NULL); SELECT c FROM v WHERE c IS NOT NULL; DROP TABLE v"
        );
        let out = run(&mut session, &sql);
        assert!(out.errors().is_empty(), "{ty} {literal}: {:?}", out.messages);
        assert_eq!(out.results[0], [[expected]], "{ty} {literal}");
    }
}

/// The pages of errors 220, 232, 242, 241, 8115, 2628.
#[test]
fn literals_beyond_the_edges_are_refused() {
    let mut session = connect(&engine());
    for (ty, literal, number) in [
        ("tinyint", "256", 220),
        ("int", "2147483648", 8115),
        ("bigint", "9223372036854775808", 8115),
        ("decimal(5,2)", "1000", 8115),
        ("smallmoney", "214748.3648", 8115),
        ("real", "1e39", 232),
        ("datetime", "'1752-12-31'", 242),
        ("smalldatetime", "'2079-06-07'", 242),
        ("date", "'2023-02-29'", 241),
        ("nvarchar(2)", "N'abc'", 2628),
        ("varbinary(1)", "0x0102", 2628),
        ("varbinary(5)", "'abc'", 257),
        ("date", "5", 206),
    ] {
        query(&mut session, &format!("CREATE TABLE v (c {ty} NULL)"));
        assert_eq!(
            errors(&mut session, &format!("INSERT v VALUES ({literal})"))[0],
            number,
            "{ty} {literal}"
        );
        query(&mut session, "DROP TABLE v");
    }
}

#[test]
fn a_value_longer_than_a_value_may_be_is_an_error() {
    let engine = Engine::new(EngineConfig {
        databases: vec!["db".to_owned()],
        longest_value: 2000,
        ..EngineConfig::default()
    });
    let mut session = connect(&engine);
    let fits = "DECLARE @x nvarchar(max) = REPLICATE(CAST('x' AS nvarchar(max)), 1000); SELECT LEN(@x)";
    assert_eq!(query(&mut session, fits), "1000");
    for grown in [
        "REPLICATE(CAST('x' AS nvarchar(max)), 2000000000)",
        "@x + @x",
        "CONCAT(@x, 'y')",
        "CONCAT_WS('y', @x, @x)",
        "REPLACE(@x, 'x', 'yy')",
        "STUFF(@x, 1, 0, 'y')",
    ] {
        assert_eq!(
            errors(&mut session, &format!("{fits}; SELECT {grown}")),
            [7119],
            "{grown}"
        );
    }
}
