//! mssql-tds.

use async_trait::async_trait;
use mssql_tds::connection::bulk_copy::{BulkCopy, BulkLoadRow, ColumnMapping};
use mssql_tds::connection::client_context::ClientContext;
use mssql_tds::connection::tds_client::{
    ExecuteOptions, PreparedStatement, ResultSet, StatementResult, TdsClient,
};
use mssql_tds::connection_provider::tds_connection_provider::TdsConnectionProvider;
use mssql_tds::core::{EncryptionOptions, EncryptionSetting, TdsResult};
use mssql_tds::datatypes::column_values::{
    ColumnValues, SqlDate, SqlDateTime, SqlDateTime2, SqlDateTimeOffset, SqlMoney, SqlSmallDateTime,
    SqlSmallMoney, SqlTime, SqlXml,
};
use mssql_tds::datatypes::decoder::DecimalParts;
use mssql_tds::datatypes::sql_string::SqlString;
use mssql_tds::datatypes::sql_tvp::{TvpColumnDef, TvpTableData, TvpTypeName};
use mssql_tds::datatypes::sqltypes::SqlType;
use mssql_tds::error::Error;
use mssql_tds::message::bulk_load::StreamingBulkLoadWriter;
use mssql_tds::message::parameters::rpc_parameters::{RpcParameter, StatusFlags};
use mssql_tds::message::transaction_management::TransactionIsolationLevel;

use crate::text::{self, DAYS_TO_1900, Parameter};
use crate::{CANCEL_AFTER, Client, Outcome, Target};

pub(crate) struct MssqlTds(TdsClient);

impl Client for MssqlTds {
    async fn connect(target: &Target) -> Result<Self, Outcome> {
        let mode = match target.mode.as_str() {
            "plain" => EncryptionSetting::PreferOff,
            "tls" => EncryptionSetting::Required,
            _ => EncryptionSetting::Strict,
        };
        let source = format!("tcp:localhost,{}", target.port);
        let mut context = ClientContext::with_data_source(&source);
        context.user_name.clone_from(&target.user);
        context.password.clone_from(&target.password);
        context.database.clone_from(&target.database);
        context.connect_retry_count = 0;
        context.encryption_options = EncryptionOptions {
            mode,
            server_certificate: Some(target.certificate.clone().into()),
            ..EncryptionOptions::new()
        };
        let client = TdsConnectionProvider::new()
            .create_client(context, &source, None)
            .await;
        client.map(Self).map_err(failed)
    }

    async fn batch(&mut self, sql: &str, _counts: bool) -> Outcome {
        let first = self.0.execute(sql.to_owned(), ()).await;
        self.drain(first).await
    }

    async fn with_parameters(&mut self, sql: &str, values: &[Parameter], _counts: bool) -> Outcome {
        let first = self
            .0
            .execute_sp_executesql(sql.to_owned(), named(values), ())
            .await;
        self.drain(first).await
    }

    async fn prepared(&mut self, sql: &str, runs: &[Vec<Parameter>], _counts: bool) -> Outcome {
        let mut statement = PreparedStatement::new(sql);
        let mut all = Outcome::default();
        for run in runs {
            let first = self
                .0
                .execute_prepared(&mut statement, named(run), &mut None, ())
                .await;
            all.extend(self.drain(first).await);
        }
        if let Some(id) = statement.take_id()
            && let Err(error) = self.0.unprepare(id, ()).await
        {
            all.extend(failed(error));
        }
        all
    }

    async fn table(
        &mut self,
        sql: &str,
        ty: &str,
        columns: Vec<Parameter>,
        rows: Vec<Vec<Parameter>>,
    ) -> Outcome {
        let (schema, name) = ty.split_once('.').unwrap();
        let columns = columns.iter().map(|column| TvpColumnDef {
            precision: column.numbers.first().map(|number| *number as u8),
            scale: column.numbers.last().map(|number| *number as u8),
            ..TvpColumnDef::new(native(column))
        });
        let rows = rows.iter().map(|row| row.iter().map(native).collect());
        let table = TvpTableData::new(columns.collect(), rows.collect());
        let ty = TvpTypeName::new(Some(schema.to_owned()), name.to_owned());
        let value = SqlType::Table(ty, Some(table));
        let parameter = RpcParameter::new(Some("@p1".to_owned()), StatusFlags::NONE, value);
        let first = self
            .0
            .execute_sp_executesql(sql.to_owned(), vec![parameter], ())
            .await;
        self.drain(first).await
    }

    async fn begin(&mut self, isolation: Option<&str>) -> Outcome {
        let isolation = match isolation {
            Some("SERIALIZABLE") => TransactionIsolationLevel::Serializable,
            Some("SNAPSHOT") => TransactionIsolationLevel::Snapshot,
            _ => TransactionIsolationLevel::ReadCommitted,
        };
        self.0
            .begin_transaction(isolation, None)
            .await
            .map_or_else(failed, |_| Outcome::default())
    }

    async fn end(&mut self, commit: bool) -> Outcome {
        let ended = match commit {
            true => self.0.commit_transaction(None, None).await,
            false => self.0.rollback_transaction(None, None).await,
        };
        ended.map_or_else(failed, |_| Outcome::default())
    }

    async fn bulk(&mut self, table: &str, columns: &[String], rows: Vec<Vec<Parameter>>) -> Outcome {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| Row(row.iter().map(|cell| value(native(cell))).collect()))
            .collect();
        let mut copy = BulkCopy::new(&mut self.0, table);
        for (ordinal, column) in columns.iter().enumerate() {
            copy = copy.add_column_mapping(ColumnMapping::by_ordinal(ordinal, column));
        }
        match copy.write_to_server_zerocopy(rows).await {
            Ok(done) => Outcome {
                counts: vec![Some(done.rows_affected as i64)],
                ..Outcome::default()
            },
            Err(error) => failed(error),
        }
    }

    async fn cancel(&mut self, sql: &str) -> Outcome {
        let limit = ExecuteOptions::new().timeout_secs(CANCEL_AFTER.as_secs() as u32);
        let first = self.0.execute(sql.to_owned(), limit).await;
        match self.drain(first).await.error {
            Some(_) => Outcome::default(),
            None => Outcome::failed(None, "the statement came to its end"),
        }
    }
}

impl MssqlTds {
    /// All results from the first on.
    async fn drain(&mut self, first: TdsResult<StatementResult>) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(error) = self.collect(first, &mut outcome).await {
            outcome.extend(failed(error));
        }
        if let Err(error) = self.0.close_query().await {
            outcome.extend(failed(error));
        }
        outcome
    }

    async fn collect(&mut self, first: TdsResult<StatementResult>, outcome: &mut Outcome) -> TdsResult<()> {
        let mut result = first?;
        loop {
            match result {
                StatementResult::Rows => {
                    outcome.results.push(Vec::new());
                    while let Some(row) = self.0.next_row().await? {
                        if let Some(rows) = outcome.results.last_mut() {
                            rows.push(row.into_iter().map(form).collect());
                        }
                    }
                }
                StatementResult::NoRows { rows_affected } => {
                    outcome.counts.push(rows_affected.map(|count| count as i64));
                }
                StatementResult::End => return Ok(()),
            }
            result = self.0.advance().await?;
        }
    }
}

struct Row(Vec<ColumnValues>);

#[async_trait]
impl BulkLoadRow for Row {
    async fn write_to_packet(
        &self,
        writer: &mut StreamingBulkLoadWriter<'_>,
        column: &mut usize,
    ) -> TdsResult<()> {
        for value in &self.0 {
            writer.write_column_value(*column, value).await?;
            *column += 1;
        }
        Ok(())
    }
}

fn failed(error: Error) -> Outcome {
    match &error {
        Error::SqlServerError { diagnostics } => match diagnostics.errors.first() {
            Some(first) => Outcome::failed(Some(first.number), &first.message),
            None => Outcome::failed(None, error),
        },
        _ => Outcome::failed(None, error),
    }
}

fn named(values: &[Parameter]) -> Vec<RpcParameter> {
    let one =
        |(at, value)| RpcParameter::new(Some(format!("@p{}", at + 1)), StatusFlags::NONE, native(value));
    values.iter().enumerate().map(one).collect()
}

fn native(value: &Parameter) -> SqlType {
    let number = |at: usize| value.numbers.get(at).copied().unwrap_or(0);
    let text = || value.value.clone().map(SqlString::from_utf8_string);
    let scale = value.numbers.last().map_or(7, |scale| *scale as u8);
    let time = |ticks: u64| SqlTime {
        time_nanoseconds: ticks,
        scale,
    };
    let moment = || value.moment();
    let money = || value.decimal().map(|(unscaled, _)| unscaled as i64);
    match value.family.as_str() {
        "bit" => SqlType::Bit(value.value.as_ref().map(|text| text == "1")),
        "tinyint" => SqlType::TinyInt(value.parse()),
        "smallint" => SqlType::SmallInt(value.parse()),
        "int" => SqlType::Int(value.parse()),
        "bigint" => SqlType::BigInt(value.parse()),
        "float" => SqlType::Float(value.parse()),
        "real" => SqlType::Real(value.parse()),
        "decimal" | "numeric" => SqlType::Decimal(value.decimal().map(|(unscaled, scale)| {
            DecimalParts::new(unscaled >= 0, number(0) as u8, scale, unscaled.unsigned_abs())
        })),
        "money" => {
            SqlType::Money(money().map(|scaled| SqlMoney::from((scaled as i32, (scaled >> 32) as i32))))
        }
        "smallmoney" => SqlType::SmallMoney(money().map(|scaled| SqlSmallMoney::from(scaled as i32))),
        "uniqueidentifier" => SqlType::Uuid(value.parse()),
        "date" => SqlType::Date(moment().and_then(|(days, ..)| SqlDate::create(days as u32).ok())),
        "time" => SqlType::Time(moment().map(|(_, ticks, _)| time(ticks))),
        "datetime" => SqlType::DateTime(moment().map(|(days, ticks, _)| SqlDateTime {
            days: (days - DAYS_TO_1900) as i32,
            time: text::to_thirds(ticks) as u32,
        })),
        "smalldatetime" => SqlType::SmallDateTime(moment().map(|(days, ticks, _)| SqlSmallDateTime {
            days: (days - DAYS_TO_1900) as u16,
            time: (ticks / 600_000_000) as u16,
        })),
        "datetime2" => SqlType::DateTime2(moment().map(|(days, ticks, _)| SqlDateTime2 {
            days: days as u32,
            time: time(ticks),
        })),
        "datetimeoffset" => SqlType::DateTimeOffset(moment().map(|(days, ticks, minutes)| {
            let (days, ticks) = text::utc(days, ticks, minutes);
            let datetime2 = SqlDateTime2 {
                days: days as u32,
                time: time(ticks),
            };
            SqlDateTimeOffset {
                datetime2,
                offset: minutes as i16,
            }
        })),
        "xml" => SqlType::Xml(value.value.as_ref().map(|text| SqlXml {
            bytes: text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        })),
        "image" => SqlType::VarBinaryMax(value.bytes()),
        "binary" | "varbinary" if number(0) == 0 => SqlType::VarBinaryMax(value.bytes()),
        "binary" => SqlType::Binary(value.bytes(), number(0) as u16),
        "varbinary" => SqlType::VarBinary(value.bytes(), number(0) as u16),
        "char" => SqlType::Char(text(), number(0) as u16),
        "nchar" => SqlType::NChar(text(), number(0) as u16),
        "varchar" if number(0) > 0 => SqlType::Varchar(text(), number(0) as u16),
        "varchar" => SqlType::VarcharMax(text()),
        "text" => SqlType::Text(text()),
        "ntext" => SqlType::NText(text()),
        _ if number(0) > 0 => SqlType::NVarchar(text(), number(0) as u16),
        _ => SqlType::NVarcharMax(text()),
    }
}

/// The value of a parameter, for a bulk load.
fn value(parameter: SqlType) -> ColumnValues {
    fn or_null<T>(value: Option<T>, column: fn(T) -> ColumnValues) -> ColumnValues {
        value.map_or(ColumnValues::Null, column)
    }
    match parameter {
        SqlType::Bit(value) => or_null(value, ColumnValues::Bit),
        SqlType::Int(value) => or_null(value, ColumnValues::Int),
        SqlType::BigInt(value) => or_null(value, ColumnValues::BigInt),
        SqlType::Float(value) => or_null(value, ColumnValues::Float),
        SqlType::Decimal(value) => or_null(value, ColumnValues::Decimal),
        SqlType::Date(value) => or_null(value, ColumnValues::Date),
        SqlType::VarBinary(value, _) => or_null(value, ColumnValues::Bytes),
        SqlType::NVarchar(value, _) => or_null(value, ColumnValues::String),
        other => panic!("no case loads {other:?}"),
    }
}

fn form(value: ColumnValues) -> Option<String> {
    let moment = |moment: &SqlDateTime2| {
        format!(
            "{} {}",
            text::date(i64::from(moment.days)),
            text::clock(moment.time.time_nanoseconds)
        )
    };
    Some(match value {
        ColumnValues::Null => return None,
        ColumnValues::TinyInt(value) => value.to_string(),
        ColumnValues::SmallInt(value) => value.to_string(),
        ColumnValues::Int(value) => value.to_string(),
        ColumnValues::BigInt(value) => value.to_string(),
        ColumnValues::Real(value) => value.to_string(),
        ColumnValues::Float(value) => value.to_string(),
        ColumnValues::Bit(value) => u8::from(value).to_string(),
        ColumnValues::Decimal(value) | ColumnValues::Numeric(value) => {
            text::decimal(!value.is_positive, value.magnitude(), usize::from(value.scale))
        }
        ColumnValues::Money(value) => {
            let scaled = (i64::from(value.msb_part) << 32) | i64::from(value.lsb_part as u32);
            text::decimal(scaled < 0, u128::from(scaled.unsigned_abs()), 4)
        }
        ColumnValues::SmallMoney(value) => {
            text::decimal(value.int_val < 0, u128::from(value.int_val.unsigned_abs()), 4)
        }
        ColumnValues::String(value) => value.to_utf8_string(),
        ColumnValues::Xml(value) => value.as_string(),
        ColumnValues::Json(value) => value.as_string(),
        ColumnValues::Bytes(value) => text::hex(&value),
        ColumnValues::Uuid(value) => value.to_string().to_uppercase(),
        ColumnValues::Date(value) => text::date(i64::from(value.get_days())),
        ColumnValues::Time(value) => text::clock(value.time_nanoseconds),
        ColumnValues::DateTime2(value) => moment(&value),
        ColumnValues::DateTimeOffset(value) => text::zoned(
            i64::from(value.datetime2.days),
            value.datetime2.time.time_nanoseconds,
            i64::from(value.offset),
        ),
        ColumnValues::DateTime(value) => {
            format!(
                "{} {}",
                text::date(i64::from(value.days) + DAYS_TO_1900),
                text::thirds(u64::from(value.time))
            )
        }
        ColumnValues::SmallDateTime(value) => {
            let day = text::date(i64::from(value.days) + DAYS_TO_1900);
            format!("{day} {}", text::clock(u64::from(value.time) * 600_000_000))
        }
        other => panic!("no case selects {other:?}"),
    })
}
