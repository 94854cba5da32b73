//! tiberius.

use std::borrow::Cow;

use futures::TryStreamExt;
use tiberius::error::Error;
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};
use tiberius::{AuthMethod, ColumnData, Config, EncryptionLevel, IsolationLevel, ToSql, TokenRow};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use crate::text::{self, DAYS_TO_1900, Parameter};
use crate::{CANCEL_AFTER, Client, Outcome, Target};

pub(crate) struct Tiberius(tiberius::Client<Compat<TcpStream>>);

impl Client for Tiberius {
    async fn connect(target: &Target) -> Result<Self, Outcome> {
        let mut config = Config::new();
        config.host("localhost");
        config.port(target.port);
        config.database(&target.database);
        config.authentication(AuthMethod::sql_server(&target.user, &target.password));
        config.trust_cert_ca(&target.authority);
        config.encryption(match target.mode.as_str() {
            "plain" => EncryptionLevel::NotSupported,
            "tls" => EncryptionLevel::Required,
            _ => EncryptionLevel::Strict,
        });
        let connect = async {
            let socket = TcpStream::connect(config.get_addr()).await?;
            socket.set_nodelay(true)?;
            tiberius::Client::connect(config.clone(), socket.compat_write()).await
        };
        connect.await.map(Self).map_err(failed)
    }

    async fn batch(&mut self, sql: &str, counts: bool) -> Outcome {
        // Only calls give counts; what a batch creates for the session would go with the call.
        if counts {
            return self.with_parameters(sql, &[], counts).await;
        }
        let rows = async { self.0.simple_query(sql).await?.into_results().await };
        rows.await.map_or_else(failed, results)
    }

    async fn with_parameters(&mut self, sql: &str, values: &[Parameter], counts: bool) -> Outcome {
        let values: Vec<&dyn ToSql> = values.iter().map(|value| value as &dyn ToSql).collect();
        if counts {
            let done = self.0.execute(sql, &values).await;
            return done.map_or_else(failed, |done| Outcome {
                counts: done
                    .rows_affected()
                    .iter()
                    .map(|count| Some(*count as i64))
                    .collect(),
                ..Outcome::default()
            });
        }
        let rows = async { self.0.query(sql, &values).await?.into_results().await };
        rows.await.map_or_else(failed, results)
    }

    async fn prepared(&mut self, sql: &str, runs: &[Vec<Parameter>], counts: bool) -> Outcome {
        let mut all = Outcome::default();
        for run in runs {
            all.extend(self.with_parameters(sql, run, counts).await);
        }
        all
    }

    async fn begin(&mut self, isolation: Option<&str>) -> Outcome {
        let isolation = match isolation {
            Some("SERIALIZABLE") => IsolationLevel::Serializable,
            Some("SNAPSHOT") => IsolationLevel::Snapshot,
            _ => IsolationLevel::Unspecified,
        };
        let begun = self.0.begin_transaction_with_isolation(isolation).await;
        begun.map_or_else(failed, |()| Outcome::default())
    }

    async fn end(&mut self, commit: bool) -> Outcome {
        let ended = match commit {
            true => self.0.commit_transaction().await,
            false => self.0.rollback_transaction().await,
        };
        ended.map_or_else(failed, |()| Outcome::default())
    }

    async fn bulk(&mut self, table: &str, _columns: &[String], rows: Vec<Vec<Parameter>>) -> Outcome {
        let load = async {
            let mut load = self.0.bulk_insert(table).await?;
            for row in &rows {
                let mut cells = TokenRow::new();
                row.iter().for_each(|cell| cells.push(native(cell)));
                load.send(cells).await?;
            }
            load.finalize().await
        };
        load.await.map_or_else(failed, |done| Outcome {
            counts: vec![Some(done.total() as i64)],
            ..Outcome::default()
        })
    }

    async fn cancel(&mut self, sql: &str) -> Outcome {
        // A result is left after whole rows: the client cannot resume in the middle of one.
        let rows = tokio::time::timeout(CANCEL_AFTER, async {
            let mut stream = self.0.simple_query(sql).await?;
            for _ in 0..100 {
                stream.try_next().await?;
            }
            Ok::<_, Error>(())
        });
        match rows.await {
            Ok(Err(error)) => failed(error),
            Ok(Ok(())) | Err(_) => self
                .0
                .cancel_query()
                .await
                .map_or_else(failed, |()| Outcome::default()),
        }
    }
}

fn failed(error: Error) -> Outcome {
    Outcome::failed(error.code(), error)
}

fn results(results: Vec<Vec<tiberius::Row>>) -> Outcome {
    let row = |row: tiberius::Row| row.into_iter().map(form).collect();
    let results = results
        .into_iter()
        .map(|rows| rows.into_iter().map(row).collect())
        .collect();
    Outcome {
        results,
        ..Outcome::default()
    }
}

impl ToSql for Parameter {
    fn to_sql(&self) -> ColumnData<'_> {
        native(self)
    }
}

fn native(value: &Parameter) -> ColumnData<'static> {
    let scale = value.numbers.last().map_or(7, |scale| *scale as u8);
    let moment = value.moment_of_type();
    let time = |ticks: u64| Time::new(ticks / 10u64.pow(7 - u32::from(scale)), scale);
    match value.family.as_str() {
        "bit" => ColumnData::Bit(value.value.as_ref().map(|text| text == "1")),
        "tinyint" => ColumnData::U8(value.parse()),
        "smallint" => ColumnData::I16(value.parse()),
        "int" => ColumnData::I32(value.parse()),
        "bigint" => ColumnData::I64(value.parse()),
        "float" => ColumnData::F64(value.parse()),
        "real" => ColumnData::F32(value.parse()),
        "decimal" | "numeric" | "money" | "smallmoney" => ColumnData::Numeric(
            value
                .decimal()
                .map(|(unscaled, scale)| Numeric::new_with_scale(unscaled, scale)),
        ),
        "binary" | "varbinary" | "image" => ColumnData::Binary(value.bytes().map(Cow::Owned)),
        "uniqueidentifier" => ColumnData::Guid(value.parse()),
        "date" => ColumnData::Date(moment.map(|(days, ..)| Date::new(days as u32))),
        "time" => ColumnData::Time(moment.map(|(_, ticks, _)| time(ticks))),
        "datetime" => ColumnData::DateTime(moment.map(|(days, ticks, _)| {
            DateTime::new((days - DAYS_TO_1900) as i32, text::to_thirds(ticks) as u32)
        })),
        "smalldatetime" => ColumnData::SmallDateTime(moment.map(|(days, ticks, _)| {
            SmallDateTime::new((days - DAYS_TO_1900) as u16, (ticks / 600_000_000) as u16)
        })),
        "datetime2" => ColumnData::DateTime2(
            moment.map(|(days, ticks, _)| DateTime2::new(Date::new(days as u32), time(ticks))),
        ),
        "datetimeoffset" => ColumnData::DateTimeOffset(moment.map(|(days, ticks, minutes)| {
            let (days, ticks) = text::utc(days, ticks, minutes);
            DateTimeOffset::new(
                DateTime2::new(Date::new(days as u32), time(ticks)),
                minutes as i16,
            )
        })),
        _ => ColumnData::String(value.value.clone().map(Cow::Owned)),
    }
}

impl Parameter {
    /// The moment, for the types that are one.
    fn moment_of_type(&self) -> Option<(i64, u64, i64)> {
        (self.family.contains("time") || self.family == "date")
            .then(|| self.moment())
            .flatten()
    }
}

fn form(value: ColumnData<'static>) -> Option<String> {
    let ticks = |time: Time| time.increments() * 10u64.pow(7 - u32::from(time.scale()));
    match value {
        ColumnData::U8(value) => value.map(|value| value.to_string()),
        ColumnData::I16(value) => value.map(|value| value.to_string()),
        ColumnData::I32(value) => value.map(|value| value.to_string()),
        ColumnData::I64(value) => value.map(|value| value.to_string()),
        ColumnData::F32(value) => value.map(|value| value.to_string()),
        ColumnData::F64(value) => value.map(|value| value.to_string()),
        ColumnData::Bit(value) => value.map(|value| u8::from(value).to_string()),
        ColumnData::String(value) => value.map(Cow::into_owned),
        ColumnData::Guid(value) => value.map(|value| value.to_string().to_uppercase()),
        ColumnData::Binary(value) => value.map(|value| text::hex(&value)),
        ColumnData::Numeric(value) => value.map(|value| {
            text::decimal(
                value.value() < 0,
                value.value().unsigned_abs(),
                usize::from(value.scale()),
            )
        }),
        ColumnData::Xml(value) => value.map(|value| value.as_ref().to_string()),
        ColumnData::DateTime(value) => value.map(|value| {
            let day = text::date(i64::from(value.days()) + DAYS_TO_1900);
            format!("{day} {}", text::thirds(u64::from(value.seconds_fragments())))
        }),
        ColumnData::SmallDateTime(value) => value.map(|value| {
            let day = text::date(i64::from(value.days()) + DAYS_TO_1900);
            format!(
                "{day} {}",
                text::clock(u64::from(value.seconds_fragments()) * 600_000_000)
            )
        }),
        ColumnData::Time(value) => value.map(|value| text::clock(ticks(value))),
        ColumnData::Date(value) => value.map(|value| text::date(i64::from(value.days()))),
        ColumnData::DateTime2(value) => value.map(|value| {
            format!(
                "{} {}",
                text::date(i64::from(value.date().days())),
                text::clock(ticks(value.time()))
            )
        }),
        ColumnData::DateTimeOffset(value) => value.map(|value| {
            let moment = value.datetime2();
            text::zoned(
                i64::from(moment.date().days()),
                ticks(moment.time()),
                i64::from(value.offset()),
            )
        }),
    }
}
