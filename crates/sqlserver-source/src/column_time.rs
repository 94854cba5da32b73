//! Moments in the type of a column: bound exactly, and rounded towards the past where the type is coarser.
//!
//! A `datetime` column compared with a `datetime2` parameter skips or repeats rows from compatibility level 130 on, so a
//! moment is always bound in the column's own type and scale.

use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef};
use cdc::Ticks;
use model::{Error, Result};
use sqlserver_client::{SqlType, Value};

/// 1900-01-01 in days since 0001-01-01.
const DAY_1900: i64 = 693_595;
/// 1753-01-01 in days since 0001-01-01, where `datetime` begins.
const DAY_1753: i64 = 639_905;
/// Steps of 100 ns.
const MINUTE: i64 = 600_000_000;
const DAY: i64 = 1_440 * MINUTE;

/// The smallest difference between two values of a type that holds a date with a time; `None` for other types.
pub(crate) fn grain(ty: SqlType) -> Option<Duration> {
    let of_scale = |scale: u8| Duration::from_nanos(10_u64.pow(9 - u32::from(scale.min(7))));
    match ty {
        SqlType::SmallDateTime => Some(Duration::from_secs(60)),
        SqlType::DateTime => Some(Duration::from_nanos(3_333_334)),
        SqlType::DateTime2 { scale } | SqlType::DateTimeOffset { scale } => Some(of_scale(scale)),
        _ => None,
    }
}

/// The greatest value of the type that is not after `moment`; the first one if all are.
pub(crate) fn value(ty: SqlType, moment: Ticks) -> Result<Value> {
    let (days, time) = moment.day_and_time();
    let cut = |scale: u8| time - time % 10_i64.pow(7 - u32::from(scale.min(7)));
    Ok(match ty {
        SqlType::DateTime2 { scale } => Value::DateTime2 {
            days: fit(days)?,
            ticks: fit(cut(scale))?,
            scale,
        },
        SqlType::DateTimeOffset { scale } => Value::DateTimeOffset {
            days: fit(days)?,
            ticks: fit(cut(scale))?,
            scale,
            offset: 0,
        },
        SqlType::DateTime if days < DAY_1753 => Value::DateTime {
            days: fit(DAY_1753 - DAY_1900)?,
            ticks: 0,
        },
        SqlType::DateTime => Value::DateTime {
            days: fit(days - DAY_1900)?,
            ticks: fit(time * 3 / 100_000)?,
        },
        SqlType::SmallDateTime => {
            let minutes = (moment.0 - DAY_1900 * DAY).div_euclid(MINUTE);
            let minutes = minutes.clamp(0, 65_536 * 1_440 - 1);
            Value::SmallDateTime {
                days: fit(minutes / 1_440)?,
                minutes: fit(minutes % 1_440)?,
            }
        }
        other => return Err(Error::internal(format!("the type {other} holds no moment"))),
    })
}

/// `moment`, rounded towards the past to what the type can hold.
pub(crate) fn floor(ty: SqlType, moment: Ticks) -> Result<Ticks> {
    let ticks = match value(ty, moment)? {
        Value::DateTime { days, ticks } => {
            // Thirds of a millisecond: rounded up, so that the same value is bound again.
            (i64::from(days) + DAY_1900) * DAY + (i64::from(ticks) * 100_000 + 2) / 3
        }
        Value::SmallDateTime { days, minutes } => {
            (i64::from(days) + DAY_1900) * DAY + i64::from(minutes) * MINUTE
        }
        Value::DateTime2 { days, ticks, .. } | Value::DateTimeOffset { days, ticks, .. } => {
            i64::from(days) * DAY + fit::<i64, _>(ticks)?
        }
        other => return Err(Error::internal(format!("{other} is no moment"))),
    };
    Ok(Ticks(ticks))
}

/// The moment that the server's clock showed.
pub(crate) fn moment(value: &Value) -> Result<Ticks> {
    match value {
        Value::DateTime2 { days, ticks, .. } => Ok(Ticks(i64::from(*days) * DAY + fit::<i64, _>(*ticks)?)),
        other => Err(Error::internal(format!("{other} is no datetime2"))),
    }
}

/// The moments of a column as it arrives. Below a microsecond they are cut off, towards the past.
pub(crate) fn moments(column: &ArrayRef) -> Result<impl Iterator<Item = Option<Ticks>> + '_> {
    let column = column
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| Error::internal(format!("the tracking column arrived as {}", column.data_type())))?;
    Ok(column.iter().map(|micros| micros.map(Ticks::from_unix_micros)))
}

fn fit<T: TryFrom<N>, N>(number: N) -> Result<T> {
    T::try_from(number).map_err(|_| Error::internal("a moment lies outside of its type"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21 01:48:17.1234567.
    const MOMENT: Ticks = Ticks(739_940 * DAY + (108 * MINUTE) + 171_234_567);

    #[test]
    fn a_moment_is_bound_in_the_columns_type_and_never_later() {
        assert_eq!(MOMENT.to_string(), "2026-11-21 01:48:17.1234567");
        for (ty, moment, shown) in [
            ("datetime2(7)", MOMENT, "2026-11-21T01:48:17.1234567"),
            ("datetime2(3)", MOMENT, "2026-11-21T01:48:17.123"),
            ("datetime2(0)", MOMENT, "2026-11-21T01:48:17"),
            ("datetimeoffset(2)", MOMENT, "2026-11-21T01:48:17.12Z"),
            ("datetime", MOMENT, "2026-11-21T01:48:17.123"),
            ("smalldatetime", MOMENT, "2026-11-21T01:48:00"),
            ("datetime", Ticks::MIN, "1753-01-01T00:00:00.000"),
            ("datetime", Ticks::MAX, "9999-12-31T23:59:59.997"),
            ("smalldatetime", Ticks::MIN, "1900-01-01T00:00:00"),
            ("smalldatetime", Ticks::MAX, "2079-06-06T23:59:00"),
            ("datetime2(7)", Ticks::MIN, "0001-01-01T00:00:00.0000000"),
            ("datetime2(7)", Ticks::MAX, "9999-12-31T23:59:59.9999999"),
        ] {
            let ty = ty.parse().unwrap();
            assert_eq!(value(ty, moment).unwrap().to_string(), shown, "{ty} {moment}");
        }
    }

    #[test]
    fn rounding_down_twice_is_rounding_down_once() {
        for ty in [
            "datetime",
            "smalldatetime",
            "datetime2(0)",
            "datetime2(3)",
            "datetime2(7)",
            "datetimeoffset(5)",
        ] {
            let ty = ty.parse().unwrap();
            for step in 0..2_000 {
                let moment = Ticks(MOMENT.0 + step * 7_919);
                let floored = floor(ty, moment).unwrap();
                assert_eq!(
                    value(ty, floored).unwrap(),
                    value(ty, moment).unwrap(),
                    "{ty} {moment}"
                );
                assert!(moment.since(floored) < grain(ty).unwrap(), "{ty} {moment}");
            }
        }
    }

    #[test]
    fn only_dates_with_times_have_a_grain() {
        for (ty, nanos) in [
            ("smalldatetime", Some(60_000_000_000)),
            ("datetime", Some(3_333_334)),
            ("datetime2(0)", Some(1_000_000_000)),
            ("datetime2(7)", Some(100)),
            ("datetimeoffset(3)", Some(1_000_000)),
            ("date", None),
            ("time(7)", None),
            ("rowversion", None),
            ("int", None),
        ] {
            assert_eq!(
                grain(ty.parse().unwrap()),
                nanos.map(Duration::from_nanos),
                "{ty}"
            );
        }
        assert!(value(SqlType::Int, MOMENT).is_err());
    }
}
