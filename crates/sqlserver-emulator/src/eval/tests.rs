//! Expressions from text to value, against the documentation of operators, types and functions.

use super::*;
use crate::ast::{ColumnName, Query};
use crate::clock::Instant;
use crate::collation::Collation;
use crate::error::SqlError;
use crate::parser::parse_expression;
use crate::types::{Length, SqlType};

/// Columns `v` (varchar, default collation), `b` (varchar, BIN2), `n` (nvarchar, NULL), `i` (int, 7);
/// the variable `@x` (int, 5).
struct World {
    columns: Vec<(&'static str, TypeInfo, Value)>,
}

impl World {
    fn new() -> Self {
        let varchar = TypeInfo::new(SqlType::VarChar {
            len: Length::Chars(10),
        });
        let binary = TypeInfo {
            collation: Collation::find("Latin1_General_BIN2"),
            ..varchar
        };
        let nvarchar = TypeInfo::new(SqlType::NVarChar {
            len: Length::Chars(10),
        });
        Self {
            columns: vec![
                ("v", varchar, Value::text("abc")),
                ("b", binary, Value::text("ABC")),
                ("n", nvarchar, Value::Null),
                ("i", TypeInfo::new(SqlType::Int), Value::Int(7)),
            ],
        }
    }
}

impl Scope for World {
    fn column(&mut self, name: &ColumnName) -> SqlResult<SlotInfo> {
        let at = self.columns.iter().position(|(known, ..)| *known == name.name);
        let at = at.ok_or_else(|| SqlError::user(207, format!("Invalid column name '{}'.", name.name)))?;
        Ok(SlotInfo {
            slot: Slot {
                depth: 0,
                index: at as u32,
            },
            info: self.columns[at].1,
        })
    }

    fn variable(&mut self, name: &str) -> SqlResult<TypeInfo> {
        match name {
            "@x" => Ok(TypeInfo::new(SqlType::Int)),
            _ => Err(SqlError::user(137, "")),
        }
    }

    /// Every subquery has the rows 1, 2 and NULL.
    fn subquery(&mut self, _: &Query) -> SqlResult<SubqueryInfo> {
        Ok(SubqueryInfo {
            id: 0,
            info: TypeInfo::new(SqlType::Int),
            columns: 1,
        })
    }
}

impl Context for World {
    fn column(&self, slot: Slot) -> &Value {
        &self.columns[slot.index as usize].2
    }

    fn variable(&self, _: &str) -> SqlResult<Value> {
        Ok(Value::Int(5))
    }

    fn subquery(&mut self, _: usize, each: &mut dyn FnMut(&Value) -> SqlResult<bool>) -> SqlResult<()> {
        for value in [Value::Int(1), Value::Int(2), Value::Null] {
            if !each(&value)? {
                break;
            }
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant {
            days: 738_949,
            ticks: 123_456_789,
        }
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(0xAB);
    }

    fn global(&self, _: Global) -> SqlResult<Value> {
        Ok(Value::Int(3))
    }

    fn environment(&mut self, _: EnvironmentFunction, arguments: &[Value]) -> SqlResult<Value> {
        Ok(Value::Int(arguments.len() as i32))
    }

    fn caught(&self) -> Option<&SqlError> {
        None
    }
}

/// Type and value of an expression, the value as text.
fn run(sql: &str) -> SqlResult<(String, String)> {
    let mut world = World::new();
    let bound = bind(&parse_expression(sql)?, &mut world)?;
    let info = bound.info();
    let value = bound.eval(&mut world)?;
    let shown = match &value {
        Value::Null => "NULL".to_owned(),
        Value::Bytes(bytes) => format!(
            "0x{}",
            bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>()
        ),
        value => convert_value(
            value.clone(),
            info,
            TypeInfo::new(SqlType::NVarChar { len: Length::Max }),
        )?
        .as_text()
        .unwrap_or_default(),
    };
    Ok((info.ty.to_string(), shown))
}

fn check(cases: &[(&str, &str, &str)]) {
    let mut failures = Vec::new();
    for (sql, ty, value) in cases {
        match run(sql) {
            Ok(result) if result == ((*ty).to_owned(), (*value).to_owned()) => {}
            other => failures.push(format!("{sql}: expected {ty} {value}, got {other:?}")),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn check_errors(cases: &[(&str, i32)]) {
    let mut failures = Vec::new();
    for (sql, number) in cases {
        match run(sql) {
            Err(error) if error.number == *number => {}
            other => failures.push(format!("{sql}: expected error {number}, got {other:?}")),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Documentation: "/ (Division)", "Precision, scale, and length", "money and smallmoney", "int, bigint, smallint, and tinyint".
#[test]
fn arithmetic_has_the_documented_types_and_values() {
    check(&[
        ("-7/2", "int", "-3"),
        ("-7%3", "int", "-1"),
        ("2147483648", "numeric(10,0)", "2147483648"),
        ("2.0/3", "numeric(7,6)", "0.666666"),
        (
            "CAST(1 AS decimal(38,10)) * CAST(2 AS decimal(38,10))",
            "decimal(38,6)",
            "2.000000",
        ),
        (
            "CAST(1.67574 AS decimal(38,10)) / CAST(10000 AS decimal(38,10))",
            "decimal(38,6)",
            "0.000167",
        ),
        ("1.5 + 1", "numeric(3,1)", "2.5"),
        ("$100/339*10000", "money", "2949.00"),
        ("CAST(5 AS bigint) * 2", "bigint", "10"),
        ("CAST(5 AS tinyint) + CAST(6 AS smallint)", "smallint", "11"),
        ("1 + '2'", "int", "3"),
        ("1e0 / 4", "float", "0.25"),
        ("6 & 3 | 8 ^ 1", "int", "11"),
        ("~5", "int", "-6"),
        (
            "CAST('2024-01-01' AS datetime) + 1.5",
            "datetime",
            "Jan  2 2024 12:00PM",
        ),
        ("1 + NULL", "int", "NULL"),
        ("@x + i", "int", "12"),
    ]);
    check_errors(&[
        ("1/0", 8134),
        ("2147483647 + 1", 8115),
        ("CAST(1 AS bit) + CAST(1 AS bit)", 8117),
        ("CAST('2024-01-01' AS date) + 1", 206),
        ("1.5 % 0", 8134),
        ("1.5 & 1", 8117),
        ("-'a'", 8117),
    ]);
}

/// Documentation: "Data type precedence", "Collation precedence", "LIKE", "COALESCE", "ISNULL".
#[test]
fn comparisons_convert_by_precedence_and_compare_by_collation() {
    let truth = |sql: &str| run(&format!("CASE WHEN {sql} THEN 1 ELSE 0 END")).map(|(_, value)| value == "1");
    for (sql, expected) in [
        ("'a' = 'A '", true),
        ("'a' LIKE 'a '", false),
        ("'a ' LIKE 'a'", true),
        ("N'a ' LIKE 'a'", false),
        ("0x = 0x00", true),
        ("v = N'ABC'", true),
        ("b = 'abc'", false),
        ("v COLLATE Latin1_General_BIN2 = 'ABC'", false),
        ("1 = '1'", true),
        ("1.0 = 1", true),
        ("n = 'x' OR n IS NULL", true),
        ("NOT n = 'x'", false),
        ("i BETWEEN 5 AND 7", true),
        ("i NOT IN (1, 2, NULL)", false),
        ("i IN (SELECT 1)", false),
        ("1 IN (SELECT 1)", true),
        ("7 NOT IN (SELECT 1)", false),
        ("0 < ALL (SELECT 1)", false),
        ("2 >= ANY (SELECT 1)", true),
        ("EXISTS (SELECT 1)", true),
        ("n IS NOT DISTINCT FROM NULL", true),
        (
            "CAST('2024-01-01' AS date) = CAST('2024-01-01' AS datetime2)",
            true,
        ),
    ] {
        assert_eq!(truth(sql), Ok(expected), "{sql}");
    }
    for (sql, number) in [
        ("v = b", 468),
        ("1 = 'abc'", 245),
        ("v COLLATE Nonsense = ''", 448),
        ("CAST('' AS xml) = ''", 402),
    ] {
        assert_eq!(truth(sql).map_err(|error| error.number), Err(number), "{sql}");
    }
}

#[test]
fn choices_take_the_documented_types() {
    check(&[
        ("COALESCE(NULL, 1, 2.5)", "numeric(11,1)", "1.0"),
        ("ISNULL(CAST(NULL AS varchar(3)), 'abcdef')", "varchar(3)", "abc"),
        (
            "COALESCE(CAST(NULL AS varchar(3)), 'abcdef')",
            "varchar(6)",
            "abcdef",
        ),
        ("NULLIF(v, 'ABC')", "varchar(10)", "NULL"),
        ("CASE i WHEN 7 THEN 'seven' ELSE N'x' END", "nvarchar(5)", "seven"),
        ("IIF(i > 3, 1, 0)", "int", "1"),
        ("CHOOSE(2, 'a', N'bc')", "nvarchar(2)", "bc"),
        ("CHOOSE(3, 'a', 'b')", "varchar(1)", "NULL"),
        ("GREATEST(1, 2.5, i)", "numeric(11,1)", "7.0"),
        ("LEAST('b', NULL, 'A')", "varchar(1)", "A"),
        ("CASE WHEN 1 = 0 THEN 1 END", "int", "NULL"),
    ]);
    check_errors(&[
        ("COALESCE(NULL, NULL)", 4127),
        ("CASE WHEN 1 = 1 THEN NULL END", 8133),
        ("(SELECT 1) + 1", 512),
    ]);
}

/// Documentation: "CAST and CONVERT".
#[test]
fn casts_and_styles() {
    check(&[
        ("CAST('abc' AS varchar(2))", "varchar(2)", "ab"),
        (
            "CAST(N'abcdefghijabcdefghijabcdefghijX' AS varchar)",
            "varchar(30)",
            "abcdefghijabcdefghijabcdefghij",
        ),
        ("CONVERT(varbinary(4), 258)", "varbinary(4)", "0x00000102"),
        ("CONVERT(varchar(10), 0x0AFF, 1)", "varchar(10)", "0x0AFF"),
        (
            "CONVERT(char(34), CAST('2024-03-05 10:00:00.5 +02:00' AS datetimeoffset), 121)",
            "char(34)",
            "2024-03-05 10:00:00.5000000 +02:00",
        ),
        (
            "CONVERT(varchar(30), CAST('2024-03-05T10:11:12.997' AS datetime), 126)",
            "varchar(30)",
            "2024-03-05T10:11:12.997",
        ),
        ("TRY_CAST('abc' AS int)", "int", "NULL"),
        ("TRY_CONVERT(date, '2024-02-30')", "date", "NULL"),
        ("CAST(CAST(0x0102 AS binary(3)) AS int)", "int", "66048"),
        ("CONVERT(varchar(10), $1234.5, 1)", "varchar(10)", "1,234.50"),
    ]);
    check_errors(&[
        ("CAST('abc' AS int)", 245),
        ("CAST(1 AS date)", 529),
        ("CONVERT(varchar(30), GETDATE(), 77)", 281),
    ]);
}

/// Documentation: the page of each function, mostly with its example.
#[test]
fn string_functions() {
    check(&[
        ("LEN('abc  ')", "int", "3"),
        ("LEN(CAST('a' AS nvarchar(max)))", "bigint", "1"),
        ("DATALENGTH(N'abc ')", "int", "8"),
        ("DATALENGTH(CAST('a' AS char(5)))", "int", "5"),
        ("LEFT('abc', 2) + RIGHT('abc', 5)", "varchar(6)", "ababc"),
        ("SUBSTRING('abcdef', 2, 3)", "varchar(6)", "bcd"),
        ("SUBSTRING('abc', 0, 2)", "varchar(3)", "a"),
        ("SUBSTRING(0x010203, 2, 5)", "varbinary(3)", "0x0203"),
        ("CHARINDEX('B', 'abcb')", "int", "2"),
        ("CHARINDEX('b', 'abcb', 3)", "int", "4"),
        ("PATINDEX('%en_ure%', 'Please ensure the door')", "int", "8"),
        ("REPLACE('abcABC', 'b', 'x')", "varchar(8000)", "axcAxC"),
        ("STUFF('abcdef', 2, 3, 'ijklmn')", "varchar(8000)", "aijklmnef"),
        ("UPPER('straße') + LOWER('ABC')", "varchar(9)", "STRAßEabc"),
        (
            "'[' + LTRIM('  a ') + '|' + RTRIM(' a  ') + '|' + TRIM('  a  ') + ']'",
            "varchar(17)",
            "[a | a|a]",
        ),
        ("TRIM('.,' FROM '.a,b,')", "varchar(5)", "a,b"),
        ("REPLICATE('ab', 3)", "varchar(8000)", "ababab"),
        ("'a' + SPACE(2) + 'b'", "varchar(8000)", "a  b"),
        ("REVERSE('abc')", "varchar(3)", "cba"),
        ("CONCAT('a', NULL, 1, N'b')", "nvarchar(15)", "a1b"),
        ("CONCAT_WS('-', 'a', NULL, 'b')", "varchar(5)", "a-b"),
        ("QUOTENAME('a]b')", "nvarchar(258)", "[a]]b]"),
        ("QUOTENAME('a''b', '''')", "nvarchar(258)", "'a''b'"),
        ("PARSENAME('[s.x].t', 2)", "nvarchar(128)", "s.x"),
        ("ASCII('A') + UNICODE(N'中')", "int", "20078"),
        ("CHAR(65) + NCHAR(20013)", "nvarchar(2)", "A中"),
        ("STR(123.45, 6, 1)", "varchar(8000)", " 123.5"),
        ("STR(1234, 2)", "varchar(8000)", "**"),
        ("TRANSLATE('2*[3+4]', '[]', '()')", "varchar(7)", "2*(3+4)"),
        ("LEN(NULL)", "int", "NULL"),
    ]);
    check_errors(&[
        ("LEFT('a', -1)", 536),
        ("SUBSTRING('a', 1, -1)", 537),
        ("LEN()", 174),
        ("NONSENSE(1)", 195),
        ("x.nonsense(1)", 4121),
    ]);
}

#[test]
fn numeric_functions() {
    check(&[
        ("ABS(-1.5)", "numeric(2,1)", "1.5"),
        ("CEILING(1.2) + FLOOR(-1.2)", "numeric(3,0)", "0"),
        ("CEILING($-123.45)", "money", "-123.00"),
        ("ROUND(123.4545, 2)", "numeric(7,4)", "123.4500"),
        ("ROUND(150.75, 0, 1)", "numeric(5,2)", "150.00"),
        ("ROUND(748, -2)", "int", "700"),
        ("POWER(2, 10)", "int", "1024"),
        ("SQRT(16) + SQUARE(2)", "float", "8"),
        ("SIGN(-5)", "int", "-1"),
        ("LOG(EXP(2))", "float", "2"),
        (
            "ISNUMERIC('1e5') + ISNUMERIC('abc') + ISNUMERIC('$1,000')",
            "int",
            "2",
        ),
    ]);
    check_errors(&[
        ("SQRT(-1)", 3623),
        ("ABS(CAST(-2147483648 AS int))", 8115),
        ("ROUND(748.58, -3)", 8115),
        ("POWER(2, 40)", 232),
    ]);
}

/// Documentation: "DATEADD", "DATEDIFF", "DATEPART", "EOMONTH", "SWITCHOFFSET", "TODATETIMEOFFSET".
#[test]
fn date_functions() {
    check(&[
        ("GETDATE()", "datetime", "Mar  5 2024 12:00AM"),
        ("{ts '2024-01-01 10:00:00'}", "datetime", "Jan  1 2024 10:00AM"),
        ("{fn LEFT({d '2024-01-01'}, 3)}", "varchar(8000)", "Jan"),
        ("SYSUTCDATETIME()", "datetime2(7)", "2024-03-05 00:00:12.3456789"),
        (
            "DATEADD(month, 1, '2024-01-31')",
            "datetime",
            "Feb 29 2024 12:00AM",
        ),
        (
            "DATEADD(ns, 100, CAST('2024-01-01' AS datetime2))",
            "datetime2(7)",
            "2024-01-01 00:00:00.0000001",
        ),
        (
            "DATEADD(day, -1, CAST('2024-03-01' AS date))",
            "date",
            "2024-02-29",
        ),
        (
            "DATEDIFF(year, '2005-12-31 23:59:59.9999999', CAST('2006-01-01' AS datetime2))",
            "int",
            "1",
        ),
        (
            "DATEDIFF(week, CAST('2024-03-02' AS date), CAST('2024-03-03' AS date))",
            "int",
            "1",
        ),
        (
            "DATEDIFF_BIG(ns, CAST('2024-01-01' AS datetime2), CAST('2024-01-02' AS datetime2))",
            "bigint",
            "86400000000000",
        ),
        ("DATEPART(iso_week, CAST('2021-01-03' AS date))", "int", "53"),
        ("DATEPART(weekday, CAST('2024-03-05' AS date))", "int", "3"),
        ("DATEPART(dayofyear, CAST('2024-03-05' AS date))", "int", "65"),
        (
            "DATENAME(month, CAST('2024-03-05' AS date))",
            "nvarchar(128)",
            "March",
        ),
        (
            "YEAR('2024-03-05') * 10000 + MONTH('2024-03-05') * 100 + DAY('2024-03-05')",
            "int",
            "20240305",
        ),
        ("EOMONTH('2024-02-10', 1)", "date", "2024-03-31"),
        ("DATEFROMPARTS(2024, 2, 29)", "date", "2024-02-29"),
        (
            "DATETIME2FROMPARTS(2024, 1, 2, 3, 4, 5, 67, 3)",
            "datetime2(7)",
            "2024-01-02 03:04:05.0670000",
        ),
        (
            "SWITCHOFFSET(CAST('2024-01-01 12:00 +00:00' AS datetimeoffset), '+02:00')",
            "datetimeoffset(7)",
            "2024-01-01 14:00:00.0000000 +02:00",
        ),
        (
            "TODATETIMEOFFSET(CAST('2024-01-01 12:00' AS datetime2), 120)",
            "datetimeoffset(7)",
            "2024-01-01 12:00:00.0000000 +02:00",
        ),
        ("ISDATE('2024-02-30') + ISDATE('20240101')", "int", "1"),
    ]);
    check_errors(&[
        (
            "DATEDIFF(ms, CAST('2024-01-01' AS datetime2), CAST('2025-01-01' AS datetime2))",
            535,
        ),
        ("DATEADD(day, 1, CAST('9999-12-31' AS date))", 517),
        ("DATEADD(nonsense, 1, GETDATE())", 155),
        ("DATEADD(hour, 1, CAST('2024-01-01' AS date))", 9810),
        ("DATEFROMPARTS(2023, 2, 29)", 289),
    ]);
}

/// SHA-256 of the empty string and of "abc": FIPS 180-2, appendix B.
#[test]
fn hashes_and_random_values() {
    check(&[
        (
            "HASHBYTES('SHA2_256', 'abc')",
            "varbinary(8000)",
            "0xBA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
        ),
        (
            "HASHBYTES('MD5', '')",
            "varbinary(8000)",
            "0xD41D8CD98F00B204E9800998ECF8427E",
        ),
        ("HASHBYTES('nonsense', 'abc')", "varbinary(8000)", "NULL"),
        (
            "NEWID()",
            "uniqueidentifier",
            "ABABABAB-ABAB-4BAB-ABAB-ABABABABABAB",
        ),
        ("CRYPT_GEN_RANDOM(2)", "varbinary(8000)", "0xABAB"),
        ("CHECKSUM('abc') - CHECKSUM('ABC')", "int", "0"),
        ("ERROR_NUMBER()", "int", "NULL"),
        ("@@SPID", "smallint", "3"),
        ("HAS_PERMS_BY_NAME('t', 'OBJECT', 'SELECT')", "int", "3"),
    ]);
}

/// Whatever the arguments, a call ends with a value or an error of SQL Server's.
#[test]
fn no_argument_breaks_a_function() {
    const EXTREMES: [&str; 10] = [
        "NULL",
        "-9223372036854775808",
        "CAST(9223372036854775807 AS bigint)",
        "0",
        "-1.7e308",
        "N''",
        "N'year 😀%['",
        "0x80FFFFFFFFFFFFFF",
        "$922337203685477.5807",
        "CAST('9999-12-31 23:59:59.9999999 -14:00' AS datetimeoffset)",
    ];
    let mut calls = 0;
    for (name, least, most) in function::signatures() {
        for count in least..=most.min(3).max(least) {
            for seed in 0..EXTREMES.len().pow(count.min(3) as u32) {
                let argument =
                    |at: usize| EXTREMES[seed / EXTREMES.len().pow(at.min(2) as u32) % EXTREMES.len()];
                let dated = name.starts_with("DATE") && !name.contains("FROM");
                let part = ["year", "ns", "week"][seed % 3];
                let list: Vec<&str> = (0..count)
                    .map(|at| if dated && at == 0 { part } else { argument(at) })
                    .collect();
                let _ = run(&format!("{name}({})", list.join(", ")));
                calls += 1;
            }
        }
    }
    for operator in ["+", "-", "*", "/", "%", "&", "=", "<", "LIKE"] {
        for left in EXTREMES {
            for right in EXTREMES {
                let _ = run(&format!(
                    "CASE WHEN NULLIF({left} {operator} {right}, 1) IS NULL THEN 1 END"
                ));
                let _ = run(&format!("CASE WHEN {left} {operator} {right} THEN 1 END"));
            }
        }
    }
    assert!(calls > 10_000);
}

/// Whatever the value and the type, a conversion ends with a value or an error of SQL Server's.
#[test]
fn no_value_breaks_a_conversion() {
    const VALUES: [&str; 9] = [
        "-9223372036854775808",
        "99999999999999999999999999999999999999",
        "-1.7976931348623157e308",
        "N'99999999999999999999999999999999999999999999'",
        "N'2024-13-45T99:99:99.9999999+99:99'",
        "'Feb 29 😀'",
        "0xFFFFFFFFFFFFFFFFFF",
        "CAST('0001-01-01' AS datetime2)",
        "CAST('9999-12-31 23:59:59.9999999 -14:00' AS datetimeoffset)",
    ];
    const TYPES: [&str; 22] = [
        "bit",
        "tinyint",
        "smallint",
        "int",
        "bigint",
        "decimal(38,38)",
        "decimal(1)",
        "money",
        "smallmoney",
        "real",
        "float",
        "date",
        "time(0)",
        "smalldatetime",
        "datetime",
        "datetime2(0)",
        "datetimeoffset(0)",
        "char(1)",
        "nvarchar(max)",
        "binary(1)",
        "uniqueidentifier",
        "rowversion",
    ];
    let mut converted = 0;
    for value in VALUES {
        for ty in TYPES {
            for style in [0, 1, 2, 3, 103, 121, 126, 127] {
                converted += usize::from(run(&format!("CONVERT({ty}, {value}, {style})")).is_ok());
            }
        }
    }
    assert!(converted > 300, "{converted}");
}
