//! Date and time functions.

use super::Arguments;
use crate::error::{SqlError, SqlResult};
use crate::eval::Context;
use crate::eval::calendar::{self, Date, Moment, TICKS_PER_DAY, TICKS_PER_SECOND, days_in_month};
use crate::eval::convert::{convert, overflow};
use crate::eval::time_parse;
use crate::types::{SqlType, TypeInfo};
use crate::value::Value;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

pub(super) fn is_temporal(ty: SqlType) -> bool {
    matches!(
        ty,
        SqlType::Date
            | SqlType::Time { .. }
            | SqlType::SmallDateTime
            | SqlType::DateTime
            | SqlType::DateTime2 { .. }
            | SqlType::DateTimeOffset { .. }
    )
}

/// The functions that tell the time, by the type that they tell it in.
pub(super) fn current_time_type(name: &str) -> Option<SqlType> {
    match name {
        "GETDATE" | "GETUTCDATE" | "CURRENT_TIMESTAMP" => Some(SqlType::DateTime),
        "SYSDATETIME" | "SYSUTCDATETIME" => Some(SqlType::DateTime2 { scale: 7 }),
        "SYSDATETIMEOFFSET" => Some(SqlType::DateTimeOffset { scale: 7 }),
        _ => None,
    }
}

/// The time of the statement's start. The server's local time is UTC.
pub(in crate::eval) fn now(context: &dyn Context, ty: SqlType) -> SqlResult<Value> {
    let moment = Moment::from(context.now());
    Ok(of_type(moment, ty).unwrap_or_default())
}

/// A moment as a value of a temporal type; none outside of the type's range.
fn of_type(moment: Moment, ty: SqlType) -> Option<Value> {
    match ty {
        SqlType::Date => Some(Value::Date(moment.days)),
        SqlType::Time { scale } => Some(calendar::time(moment, scale)),
        SqlType::SmallDateTime => calendar::smalldatetime(moment),
        SqlType::DateTime => calendar::datetime(moment),
        SqlType::DateTime2 { scale } => calendar::datetime2(moment, scale),
        SqlType::DateTimeOffset { scale } => calendar::datetimeoffset(moment, scale),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Year,
    Quarter,
    Month,
    DayOfYear,
    Day,
    Week,
    IsoWeek,
    Weekday,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
    Offset,
}

impl Part {
    /// 155 for a name that is none.
    fn find(name: &str, function: &str) -> SqlResult<Self> {
        Ok(match name {
            "year" | "yy" | "yyyy" => Self::Year,
            "quarter" | "qq" | "q" => Self::Quarter,
            "month" | "mm" | "m" => Self::Month,
            "dayofyear" | "dy" | "y" => Self::DayOfYear,
            "day" | "dd" | "d" => Self::Day,
            "week" | "wk" | "ww" => Self::Week,
            "iso_week" | "isowk" | "isoww" => Self::IsoWeek,
            "weekday" | "dw" | "w" => Self::Weekday,
            "hour" | "hh" => Self::Hour,
            "minute" | "mi" | "n" => Self::Minute,
            "second" | "ss" | "s" => Self::Second,
            "millisecond" | "ms" => Self::Millisecond,
            "microsecond" | "mcs" => Self::Microsecond,
            "nanosecond" | "ns" => Self::Nanosecond,
            "tzoffset" | "tz" => Self::Offset,
            other => {
                let message = format!("'{other}' is not a recognized {function} option.");
                return Err(SqlError::new(155, 15, 1, message));
            }
        })
    }

    /// 100 ns in the part, where it is a fixed length of at least that.
    fn ticks(self) -> Option<i64> {
        let second = TICKS_PER_SECOND as i64;
        Some(match self {
            Self::Week | Self::IsoWeek => 7 * TICKS_PER_DAY as i64,
            Self::DayOfYear | Self::Day | Self::Weekday => TICKS_PER_DAY as i64,
            Self::Hour => 3600 * second,
            Self::Minute => 60 * second,
            Self::Second => second,
            Self::Millisecond => second / 1000,
            Self::Microsecond => 10,
            _ => return None,
        })
    }
}

fn moment(arguments: &Arguments<'_>, at: usize) -> SqlResult<Moment> {
    Moment::of(arguments.value(at)).ok_or_else(|| SqlError::unsupported("this argument of a date function"))
}

/// 517
pub(super) fn date_add(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let part = Part::find(&arguments.string(0), "dateadd")?;
    let count = arguments.integer(1);
    let (ty, start) = (arguments.info.ty, moment(arguments, 2)?);
    if ty == SqlType::Date
        && part.ticks().is_none_or(|ticks| ticks < TICKS_PER_DAY as i64)
        && months_in(part).is_none()
    {
        let message = format!(
            "The datepart {} is not supported by date function dateadd for data type date.",
            arguments.string(0)
        );
        return Err(SqlError::user(9810, message));
    }
    let failed = || {
        let message = format!("Adding a value to a '{}' column caused an overflow.", ty.name());
        SqlError::new(517, 16, 1, message)
    };
    if let SqlType::Time { .. } = ty {
        let ticks = added(start, part, count).ok_or_else(failed)?.ticks;
        return of_type(Moment { ticks, ..start }, ty).ok_or_else(failed);
    }
    added(start, part, count)
        .and_then(|moment| of_type(moment, ty))
        .ok_or_else(failed)
}

fn months_in(part: Part) -> Option<i64> {
    match part {
        Part::Year => Some(12),
        Part::Quarter => Some(3),
        Part::Month => Some(1),
        _ => None,
    }
}

/// None outside of the calendar.
fn added(start: Moment, part: Part, count: i64) -> Option<Moment> {
    if let Some(months) = months_in(part) {
        let date = start.date();
        let start_month = i64::from(date.year) * 12 + i64::from(date.month) - 1;
        let total = start_month.checked_add(count.checked_mul(months)?)?;
        let (year, month) = (
            i32::try_from(total.div_euclid(12)).ok()?,
            total.rem_euclid(12) as u32 + 1,
        );
        if !(1..=9999).contains(&year) {
            return None;
        }
        // The last day of a shorter month stands in for one that it lacks.
        let day = date.day.min(days_in_month(year, month));
        return Some(Moment {
            days: Date::new(year, month, day)?.days(),
            ..start
        });
    }
    let span = match part {
        Part::Nanosecond => count.saturating_add(if count < 0 { -50 } else { 50 }) / 100,
        _ => count.checked_mul(part.ticks()?)?,
    };
    Moment::from_total(start.total().checked_add(span)?, start.offset)
}

/// Boundaries crossed. 535 when they do not fit.
pub(super) fn date_diff(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let big = arguments.info.ty == SqlType::BigInt;
    let name = if big { "datediff_big" } else { "datediff" };
    let part = Part::find(&arguments.string(0), name)?;
    let (from, to) = (moment(arguments, 1)?, moment(arguments, 2)?);
    let count = boundaries(part, from, to);
    let fits = if big {
        true
    } else {
        count.is_some_and(|count| i32::try_from(count).is_ok())
    };
    let Some(count) = count.filter(|_| fits) else {
        let message = format!(
            "The {name} function resulted in an overflow. The number of dateparts separating two date/time instances is too \
             large. Try to use {name} with a less precise datepart."
        );
        return Err(SqlError::new(535, 16, 0, message));
    };
    Ok(if big {
        Value::BigInt(count)
    } else {
        Value::Int(count as i32)
    })
}

fn boundaries(part: Part, from: Moment, to: Moment) -> Option<i64> {
    // Offsets are taken into account: both are compared in UTC.
    let (from, to) = (
        Moment::from_total(from.utc(), 0)?,
        Moment::from_total(to.utc(), 0)?,
    );
    let months = |moment: Moment| {
        let date = moment.date();
        i64::from(date.year) * 12 + i64::from(date.month) - 1
    };
    match part {
        Part::Year | Part::Quarter | Part::Month => {
            let unit = months_in(part)?;
            Some(months(to).div_euclid(unit) - months(from).div_euclid(unit))
        }
        Part::Nanosecond => (to.total() - from.total()).checked_mul(100),
        Part::Week | Part::IsoWeek => {
            // Weeks begin on Sunday whatever DATEFIRST says; 0001-01-01 was a Monday.
            let week = |moment: Moment| i64::from(moment.days + 1).div_euclid(7);
            Some(week(to) - week(from))
        }
        _ => {
            let unit = part.ticks()?;
            Some(to.total().div_euclid(unit) - from.total().div_euclid(unit))
        }
    }
}

pub(super) fn date_part(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let part = Part::find(&arguments.string(0), "datepart")?;
    Ok(Value::Int(number(part, moment(arguments, 1)?)))
}

pub(super) fn date_name(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let part = Part::find(&arguments.string(0), "datename")?;
    let moment = moment(arguments, 1)?;
    let number = number(part, moment);
    Ok(match part {
        Part::Month => Value::text(MONTHS.get(number as usize - 1).copied().unwrap_or_default()),
        Part::Weekday => Value::text(WEEKDAYS.get(number as usize - 1).copied().unwrap_or_default()),
        Part::Offset => {
            let sign = if number < 0 { '-' } else { '+' };
            Value::text(&format!(
                "{sign}{:02}:{:02}",
                number.abs() / 60,
                number.abs() % 60
            ))
        }
        _ => Value::text(&number.to_string()),
    })
}

/// Weeks and weekdays by `SET DATEFIRST 7`, the default of US English.
fn number(part: Part, moment: Moment) -> i32 {
    let date = moment.date();
    let second = moment.ticks / TICKS_PER_SECOND;
    let fraction = (moment.ticks % TICKS_PER_SECOND) as i32;
    let weekday = (moment.days + 1).rem_euclid(7);
    match part {
        Part::Year => date.year,
        Part::Quarter => (date.month as i32 + 2) / 3,
        Part::Month => date.month as i32,
        Part::DayOfYear => date.day_of_year() as i32,
        Part::Day => date.day as i32,
        Part::Week => {
            let first = Date {
                month: 1,
                day: 1,
                ..date
            };
            let first_weekday = (first.days() + 1).rem_euclid(7);
            (date.day_of_year() as i32 - 1 + first_weekday) / 7 + 1
        }
        Part::IsoWeek => iso_week(moment.days),
        Part::Weekday => weekday + 1,
        Part::Hour => (second / 3600) as i32,
        Part::Minute => (second / 60 % 60) as i32,
        Part::Second => (second % 60) as i32,
        Part::Millisecond => fraction / 10_000,
        Part::Microsecond => fraction / 10,
        Part::Nanosecond => fraction * 100,
        Part::Offset => i32::from(moment.offset),
    }
}

/// The week of the year that has the week's Thursday.
fn iso_week(days: i32) -> i32 {
    let thursday = Date::from_days(days - days.rem_euclid(7) + 3);
    (thursday.day_of_year() as i32 - 1) / 7 + 1
}

pub(super) fn day(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(Value::Int(number(Part::Day, moment(arguments, 0)?)))
}

pub(super) fn month(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(Value::Int(number(Part::Month, moment(arguments, 0)?)))
}

pub(super) fn year(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    Ok(Value::Int(number(Part::Year, moment(arguments, 0)?)))
}

pub(super) fn end_of_month(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let start = moment(arguments, 0)?;
    let shifted = added(start, Part::Month, arguments.integer(1))
        .ok_or_else(|| overflow("expression", SqlType::Date))?;
    let date = shifted.date();
    let last = Date {
        day: days_in_month(date.year, date.month),
        ..date
    };
    Ok(Value::Date(last.days()))
}

/// 289: parts that make no date.
fn parts_error(ty: &str) -> SqlError {
    SqlError::user(
        289,
        format!("Cannot construct data type {ty}, some of the arguments have values which are not valid."),
    )
}

fn date_of_parts(arguments: &Arguments<'_>) -> Option<Date> {
    let part = |at| u32::try_from(arguments.integer(at)).ok();
    Date::new(i32::try_from(arguments.integer(0)).ok()?, part(1)?, part(2)?)
}

/// Hours, minutes and seconds from the fourth argument on, as ticks.
fn time_of_parts(arguments: &Arguments<'_>) -> Option<u64> {
    let part = |at: usize, limit: u64| {
        u64::try_from(arguments.integer(at))
            .ok()
            .filter(|value| *value < limit)
    };
    Some(((part(3, 24)? * 60 + part(4, 60)?) * 60 + part(5, 60)?) * TICKS_PER_SECOND)
}

pub(super) fn date_from_parts(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let date = date_of_parts(arguments).ok_or_else(|| parts_error("date"))?;
    Ok(Value::Date(date.days()))
}

pub(super) fn datetime_from_parts(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let made = || {
        let days = date_of_parts(arguments)?.days();
        let milliseconds = u64::try_from(arguments.integer(6)).ok().filter(|ms| *ms < 1000)?;
        calendar::datetime(Moment {
            days,
            ticks: time_of_parts(arguments)? + milliseconds * 10_000,
            offset: 0,
        })
    };
    made().ok_or_else(|| parts_error("datetime"))
}

/// The last argument is the number of the fraction's digits.
pub(super) fn datetime2_from_parts(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let made = || {
        let days = date_of_parts(arguments)?.days();
        let scale = u32::try_from(arguments.integer(7))
            .ok()
            .filter(|scale| *scale <= 7)?;
        let fraction = u64::try_from(arguments.integer(6))
            .ok()
            .filter(|value| *value < 10_u64.pow(scale))?;
        let ticks = time_of_parts(arguments)? + fraction * 10_u64.pow(7 - scale);
        Some(Value::DateTime2 {
            days,
            ticks,
            scale: 7,
        })
    };
    made().ok_or_else(|| parts_error("datetime2"))
}

pub(super) fn is_date(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let info = arguments.info_of(0);
    let value = arguments.value(0).clone();
    let old = matches!(info.ty, SqlType::DateTime | SqlType::SmallDateTime);
    let valid = !value.is_null()
        && (old
            || info.ty.is_character()
                && convert(value, info.ty, TypeInfo::new(SqlType::DateTime), 0).is_ok());
    Ok(Value::Int(i32::from(valid)))
}

/// `'+02:00'` or minutes. 9812.
fn offset_argument(arguments: &Arguments<'_>) -> SqlResult<i16> {
    let minutes = match arguments.value(1) {
        Value::Str(text) => time_parse::offset_minutes(String::from_utf16_lossy(text).trim()),
        other => other.as_integer().and_then(|minutes| i16::try_from(minutes).ok()),
    };
    minutes.filter(|minutes| minutes.abs() <= 14 * 60).ok_or_else(|| {
        let message = "The timezone provided to builtin function is invalid.";
        SqlError::new(9812, 16, 0, message)
    })
}

/// The same instant at another offset.
pub(super) fn switch_offset(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let offset = offset_argument(arguments)?;
    match arguments.value(0) {
        Value::DateTimeOffset {
            days, ticks, scale, ..
        } => Ok(Value::DateTimeOffset {
            days: *days,
            ticks: *ticks,
            scale: *scale,
            offset,
        }),
        _ => Ok(Value::Null),
    }
}

/// The same local time, with an offset.
pub(super) fn to_datetimeoffset(arguments: &mut Arguments<'_>) -> SqlResult<Value> {
    let offset = offset_argument(arguments)?;
    let local = moment(arguments, 0)?;
    let value = calendar::datetimeoffset(Moment { offset, ..local }, 7);
    value.ok_or_else(|| {
        let message = "The conversion to datetimeoffset resulted in an out-of-range value.";
        SqlError::user(242, message)
    })
}
