//! The tables that are measured. Every value follows from the number of its row, so what arrives can be checked against sums that no
//! server has computed.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Date32Array, Decimal128Array, Int32Array, Int64Array, RecordBatch};
use arrow_array::{Float64Array, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema, SchemaRef};
use sqlserver_client::{BulkColumn, Length, SqlType, quote};

/// A table of the benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Table {
    /// Ten columns of the common types, about 140 bytes a row on the wire.
    Orders,
    /// TPC-H's widest table: 16 columns, a key of two.
    Lineitem,
    /// 120 columns; a tenth of the rows.
    Wide,
    /// A large text in each row; a fiftieth of the rows.
    Texts,
}

/// 2025-01-01 in days since 1970.
const FIRST_DAY: i32 = 20_089;
const DAY_MICROS: i64 = 86_400_000_000;

/// How a column's values follow from the row's number.
#[derive(Debug, Clone, Copy)]
enum Make {
    /// The number itself, divided.
    Key {
        divisor: i64,
    },
    /// Small numbers in turn.
    Below(i32),
    /// Hundredths, in turn.
    Hundredths(i64),
    Fraction,
    Day,
    Instant,
    /// One word of a list.
    Word(&'static [&'static str]),
    /// Text of this many to twice as many characters; NULL in one row of eight if `or_null`.
    Text {
        characters: usize,
        or_null: bool,
    },
}

/// A column with its type and its values.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    ty: SqlType,
    make: Make,
}

/// What is compared of what arrived: rows, the sum of the key, the sum of an amount in hundredths, the characters of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Sums {
    pub(crate) rows: u64,
    pub(crate) key: i64,
    pub(crate) amount: i64,
    pub(crate) text: i64,
}

const STATES: &[&str] = &["new", "paid", "packed", "shipped", "closed", "returned"];
const CITIES: &[&str] = &[
    "Amsterdam",
    "Berlin",
    "Copenhagen",
    "Dublin",
    "Edinburgh",
    "Florence",
    "Geneva",
    "Helsinki",
];
const MODES: &[&str] = &["AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK"];
const INSTRUCTIONS: &[&str] = &["COLLECT COD", "DELIVER IN PERSON", "NONE", "TAKE BACK RETURN"];
const SENTENCE: &str = "carefully final deposits sleep above the furiously regular requests; ";

fn column(name: &str, ty: SqlType, make: Make) -> Column {
    Column {
        name: name.to_owned(),
        ty,
        make,
    }
}

fn national(length: u16) -> SqlType {
    SqlType::NVarChar {
        length: Length::Limited(length),
    }
}

fn money(precision: u8) -> SqlType {
    SqlType::Decimal { precision, scale: 2 }
}

impl Table {
    /// Its name on a server.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Lineitem => "lineitem",
            Self::Wide => "wide",
            Self::Texts => "texts",
        }
    }

    /// `dbo.name`, quoted.
    pub(crate) fn quoted(self) -> String {
        format!("{}.{}", quote::identifier("dbo"), quote::identifier(self.name()))
    }

    /// How many rows it has when `orders` has `size`.
    pub(crate) fn rows(self, size: u64) -> u64 {
        match self {
            Self::Orders | Self::Lineitem => size,
            Self::Wide => size / 10,
            Self::Texts => size / 50,
        }
    }

    /// The columns that [`Sums`] are made of: key, amount, text.
    pub(crate) fn summed(self) -> [&'static str; 3] {
        match self {
            Self::Orders => ["OrderId", "Amount", "Note"],
            Self::Lineitem => ["l_orderkey", "l_extendedprice", "l_comment"],
            Self::Wide => ["id", "amount", "text"],
            Self::Texts => ["id", "amount", "body"],
        }
    }

    /// Where they lie among the columns.
    pub(crate) fn summed_places(self) -> [usize; 3] {
        let columns = self.columns();
        self.summed().map(|name| {
            columns
                .iter()
                .position(|column| column.name == name)
                .unwrap_or_default()
        })
    }

    fn key(self) -> &'static [&'static str] {
        match self {
            Self::Orders => &["OrderId"],
            Self::Lineitem => &["l_orderkey", "l_linenumber"],
            Self::Wide | Self::Texts => &["id"],
        }
    }

    fn columns(self) -> Vec<Column> {
        let key = Make::Key { divisor: 1 };
        let text = |characters, or_null| Make::Text { characters, or_null };
        match self {
            Self::Orders => vec![
                column("OrderId", SqlType::BigInt, key),
                column("CustomerId", SqlType::Int, Make::Below(100_003)),
                column("OrderDate", SqlType::Date, Make::Day),
                column("Status", national(20), Make::Word(STATES)),
                column("Amount", money(18), Make::Hundredths(1_000_003)),
                column("Quantity", SqlType::Int, Make::Below(97)),
                column("City", national(40), Make::Word(CITIES)),
                column("Weight", SqlType::Float, Make::Fraction),
                column("Note", national(100), text(16, true)),
                column("updated_at", SqlType::DateTime2 { scale: 3 }, Make::Instant),
            ],
            Self::Lineitem => vec![
                column("l_orderkey", SqlType::BigInt, Make::Key { divisor: 4 }),
                column("l_linenumber", SqlType::Int, Make::Below(4)),
                column("l_partkey", SqlType::BigInt, Make::Below(200_003)),
                column("l_suppkey", SqlType::BigInt, Make::Below(10_007)),
                column("l_quantity", money(15), Make::Hundredths(5_003)),
                column("l_extendedprice", money(15), Make::Hundredths(10_000_019)),
                column("l_discount", money(15), Make::Hundredths(11)),
                column("l_tax", money(15), Make::Hundredths(9)),
                column(
                    "l_returnflag",
                    SqlType::Char { length: 1 },
                    Make::Word(&["A", "N", "R"]),
                ),
                column(
                    "l_linestatus",
                    SqlType::Char { length: 1 },
                    Make::Word(&["F", "O"]),
                ),
                column("l_shipdate", SqlType::Date, Make::Day),
                column("l_commitdate", SqlType::Date, Make::Day),
                column("l_receiptdate", SqlType::Date, Make::Day),
                column(
                    "l_shipinstruct",
                    SqlType::Char { length: 25 },
                    Make::Word(INSTRUCTIONS),
                ),
                column("l_shipmode", SqlType::Char { length: 10 }, Make::Word(MODES)),
                column(
                    "l_comment",
                    SqlType::VarChar {
                        length: Length::Limited(60),
                    },
                    text(20, false),
                ),
            ],
            Self::Wide => {
                let mut columns = vec![
                    column("id", SqlType::BigInt, key),
                    column("amount", money(18), Make::Hundredths(1_000_003)),
                    column("text", national(100), text(10, true)),
                ];
                columns.extend((columns.len()..120).map(|number| {
                    let name = format!("c{number}");
                    match number % 6 {
                        0 => column(&name, SqlType::Int, Make::Below(10_007)),
                        1 => column(&name, money(18), Make::Hundredths(1_000_003)),
                        2 => column(&name, national(40), Make::Word(CITIES)),
                        3 => column(&name, SqlType::Float, Make::Fraction),
                        4 => column(&name, SqlType::Date, Make::Day),
                        _ => column(&name, SqlType::DateTime2 { scale: 3 }, Make::Instant),
                    }
                }));
                columns
            }
            Self::Texts => vec![
                column("id", SqlType::BigInt, key),
                column("amount", money(18), Make::Hundredths(1_000_003)),
                column(
                    "body",
                    SqlType::NVarChar { length: Length::Max },
                    text(4_000, true),
                ),
            ],
        }
    }

    /// Creates it, empty.
    pub(crate) fn ddl(self) -> String {
        let columns = self.columns().into_iter().map(|column| {
            let null = match column.make {
                Make::Text { or_null: true, .. } => "NULL",
                _ => "NOT NULL",
            };
            format!("{} {} {null}", quote::identifier(&column.name), column.ty)
        });
        format!(
            "CREATE TABLE {} ({}, PRIMARY KEY ({}))",
            self.quoted(),
            columns.collect::<Vec<_>>().join(", "),
            quote::list(self.key().iter().copied())
        )
    }

    /// An index of the column by which increments are read, if there is one.
    pub(crate) fn index(self) -> Option<String> {
        matches!(self, Self::Orders)
            .then(|| format!("CREATE INDEX by_time ON {} (updated_at)", self.quoted()))
    }

    /// Its columns for a bulk load.
    pub(crate) fn bulk_columns(self) -> Vec<BulkColumn> {
        let columns = self.columns().into_iter();
        columns
            .map(|Column { name, ty, .. }| BulkColumn { name, ty })
            .collect()
    }

    /// Its columns as Arrow has them.
    pub(crate) fn schema(self) -> SchemaRef {
        let fields = self.columns().into_iter();
        Arc::new(Schema::new(
            fields
                .map(|column| Field::new(column.name, column.ty.arrow(), true))
                .collect::<Vec<_>>(),
        ))
    }

    /// Reads all of it.
    pub(crate) fn select(self) -> String {
        let names = self.columns();
        let list = quote::list(names.iter().map(|column| column.name.as_str()));
        format!("SELECT {list} FROM {}", self.quoted())
    }

    /// The sums as the server computes them, in columns `n`, `k`, `a` and `t`.
    pub(crate) fn select_sums(self) -> String {
        let [key, amount, text] = self.summed().map(quote::identifier);
        let unit = if self == Self::Lineitem { 1 } else { 2 };
        format!(
            "SELECT COUNT_BIG(*) AS n, SUM({key}) AS k, CAST(SUM({amount}) * 100 AS bigint) AS a, \
             SUM(CAST(DATALENGTH({text}) / {unit} AS bigint)) AS t FROM {}",
            self.quoted()
        )
    }

    /// The rows numbered from `from` to before `to`, and what they add to the sums.
    pub(crate) fn batch(self, from: u64, to: u64) -> Result<(RecordBatch, Sums)> {
        let numbers: Vec<i64> = (from..to).map(u64::cast_signed).collect();
        let columns = self.columns();
        let arrays = columns
            .iter()
            .map(|column| array(column, &numbers))
            .collect::<Result<Vec<_>>>()?;
        let batch = RecordBatch::try_new(self.schema(), arrays)?;
        let sums = sums(self, &batch)?;
        Ok((batch, sums))
    }
}

/// The sums of a batch with a table's columns.
pub(crate) fn sums(table: Table, batch: &RecordBatch) -> Result<Sums> {
    let [key, amount, text] = table.summed().map(|name| batch.column_by_name(name));
    let key = downcast::<Int64Array>(key)?;
    let amount = downcast::<Decimal128Array>(amount)?;
    let text = text.context("a column to sum is missing")?;
    let text: i64 = match text.as_any().downcast_ref::<arrow_array::LargeStringArray>() {
        Some(large) => large.iter().flatten().map(characters).sum(),
        None => {
            let text = downcast::<arrow_array::StringArray>(Some(text))?;
            text.iter().flatten().map(characters).sum()
        }
    };
    Ok(Sums {
        rows: batch.num_rows() as u64,
        key: key.values().iter().sum(),
        amount: amount.values().iter().map(|value| *value as i64).sum(),
        text,
    })
}

fn characters(text: &str) -> i64 {
    // What is made here is ASCII.
    text.len() as i64
}

fn downcast<T: 'static>(array: Option<&ArrayRef>) -> Result<&T> {
    array
        .and_then(|array| array.as_any().downcast_ref())
        .context("a column to sum has another type")
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.key += other.key;
        self.amount += other.amount;
        self.text += other.text;
    }
}

/// Spreads numbers evenly over a range, in no order that a codec would see.
fn spread(number: i64, range: i64) -> i64 {
    number
        .wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed())
        .rotate_left(29)
        .rem_euclid(range)
}

fn array(column: &Column, numbers: &[i64]) -> Result<ArrayRef> {
    let numbers = numbers.iter().copied();
    Ok(match column.make {
        Make::Key { divisor } => Arc::new(Int64Array::from_iter_values(numbers.map(|n| n / divisor))),
        // The line number of an order counts; everything else is spread.
        Make::Below(range) if range < 10 => Arc::new(Int32Array::from_iter_values(
            numbers.map(|n| (n % i64::from(range)) as i32),
        )),
        Make::Below(range) if column.ty == SqlType::BigInt => Arc::new(Int64Array::from_iter_values(
            numbers.map(|n| spread(n, i64::from(range))),
        )),
        Make::Below(range) => Arc::new(Int32Array::from_iter_values(
            numbers.map(|n| spread(n, i64::from(range)) as i32),
        )),
        Make::Hundredths(range) => {
            let values = numbers.map(|n| i128::from(spread(n, range)));
            Arc::new(Decimal128Array::from_iter_values(values).with_data_type(column.ty.arrow()))
        }
        Make::Fraction => Arc::new(Float64Array::from_iter_values(
            numbers.map(|n| spread(n, 1_000_003) as f64 / 8.0),
        )),
        Make::Day => Arc::new(Date32Array::from_iter_values(
            numbers.map(|n| FIRST_DAY + spread(n, 365) as i32),
        )),
        Make::Instant => {
            Arc::new(TimestampMicrosecondArray::from_iter_values(numbers.map(|n| {
                i64::from(FIRST_DAY) * DAY_MICROS + spread(n, 365 * 86_400_000) * 1000
            })))
        }
        Make::Word(words) => {
            let mut builder = StringBuilder::new();
            for number in numbers {
                let word = words.get(spread(number, words.len() as i64) as usize);
                let padding = match column.ty {
                    // The server pads with blanks; what is sent is what comes back.
                    SqlType::Char { length } => usize::from(length),
                    _ => 0,
                };
                builder.append_value(format!("{:padding$}", word.copied().unwrap_or_default()));
            }
            Arc::new(builder.finish())
        }
        Make::Text { characters, or_null } => {
            let long = SENTENCE.repeat(characters * 2 / SENTENCE.len() + 2);
            let texts = numbers.map(|n| {
                let length = characters + spread(n, characters as i64) as usize;
                let start = spread(n / 3, SENTENCE.len() as i64) as usize;
                (!or_null || n % 8 != 0).then(|| long.get(start..start + length).unwrap_or_default())
            });
            if column.ty.arrow() == arrow_schema::DataType::LargeUtf8 {
                Arc::new(arrow_array::LargeStringArray::from_iter(texts))
            } else {
                Arc::new(arrow_array::StringArray::from_iter(texts))
            }
        }
    })
}
