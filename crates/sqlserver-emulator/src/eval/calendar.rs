//! Calendar arithmetic and the forms of points in time.

use crate::clock::Instant;
use crate::value::Value;

/// 100 ns in a day.
pub(super) const TICKS_PER_DAY: u64 = 864_000_000_000;
/// 100 ns in a second.
pub(super) const TICKS_PER_SECOND: u64 = 10_000_000;
/// Days from 0001-01-01 to 1900-01-01.
pub(super) const DAYS_TO_1900: i32 = 693_595;
/// Days from 0001-01-01 to 9999-12-31.
pub(super) const MAX_DAYS: i32 = 3_652_058;
/// Days from 1900-01-01 back to 1753-01-01, where datetime begins.
pub(super) const MIN_DATETIME_DAYS: i32 = -53_690;

/// A date of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i32,
    pub(super) month: u32,
    pub(super) day: u32,
}

impl Date {
    /// The date `days` after 0001-01-01.
    pub(super) fn from_days(days: i32) -> Self {
        // Years that begin in March put the leap day last.
        let shifted = i64::from(days) + 306;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = (of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        } as u32;
        let year = (year_of_era + era * 400) as i32 + i32::from(month <= 2);
        Self { year, month, day }
    }

    /// None for a date that does not exist or is outside 0001 to 9999.
    pub(super) fn new(year: i32, month: u32, day: u32) -> Option<Self> {
        let exists = (1..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        exists.then_some(Self { year, month, day })
    }

    /// Days since 0001-01-01.
    pub(super) fn days(self) -> i32 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = i64::from((self.month + 9) % 12);
        let of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        (era * 146_097 + of_era - 306) as i32
    }

    /// 1 for 1 January.
    pub(super) fn day_of_year(self) -> u32 {
        let first = Self {
            month: 1,
            day: 1,
            ..self
        };
        (self.days() - first.days() + 1) as u32
    }
}

/// The number of days in a month.
pub(super) fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A point in time, as wide as every type: local days and ticks, and the offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// Days since 0001-01-01, local.
    pub(super) days: i32,
    /// 100 ns since midnight, local.
    pub(super) ticks: u64,
    /// Minutes east of UTC; 0 for types that have none.
    pub(super) offset: i16,
}

impl Moment {
    /// Ticks since 0001-01-01, local.
    pub(super) fn total(self) -> i64 {
        i64::from(self.days) * TICKS_PER_DAY as i64 + self.ticks as i64
    }

    /// From ticks since 0001-01-01. None outside 0001 to 9999.
    pub(super) fn from_total(total: i64, offset: i16) -> Option<Self> {
        let days = i32::try_from(total.div_euclid(TICKS_PER_DAY as i64)).ok()?;
        let ticks = total.rem_euclid(TICKS_PER_DAY as i64) as u64;
        (0..=MAX_DAYS)
            .contains(&days)
            .then_some(Self { days, ticks, offset })
    }

    /// What a temporal value says; dates are midnight, times are on 1900-01-01.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let (days, ticks, offset) = match *value {
            Value::Date(days) => (days, 0, 0),
            Value::Time { ticks, .. } => (DAYS_TO_1900, ticks, 0),
            Value::SmallDateTime { days, minutes } => (
                DAYS_TO_1900 + i32::from(days),
                u64::from(minutes) * 60 * TICKS_PER_SECOND,
                0,
            ),
            Value::DateTime { days, ticks } => (DAYS_TO_1900 + days, three_hundredths_to_ticks(ticks), 0),
            Value::DateTime2 { days, ticks, .. } => (days, ticks, 0),
            Value::DateTimeOffset {
                days, ticks, offset, ..
            } => {
                let utc = Self { days, ticks, offset };
                let local = utc.total() + i64::from(offset) * 60 * TICKS_PER_SECOND as i64;
                return Self::from_total(local, offset);
            }
            _ => return None,
        };
        Some(Self { days, ticks, offset })
    }

    /// Ticks since 0001-01-01 in UTC.
    pub(super) fn utc(self) -> i64 {
        self.total() - i64::from(self.offset) * 60 * TICKS_PER_SECOND as i64
    }

    pub(super) fn date(self) -> Date {
        Date::from_days(self.days)
    }
}

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        Self {
            days: instant.days,
            ticks: instant.ticks,
            offset: 0,
        }
    }
}

/// A datetime's 1/300 s as 100 ns, rounded: .003 is really .0033333.
pub(super) fn three_hundredths_to_ticks(ticks: u32) -> u64 {
    (u64::from(ticks) * 200_000 + 3) / 6
}

/// The value as a datetime; None outside 1753 to 9999. 100 ns round to 1/300 s.
pub(super) fn datetime(moment: Moment) -> Option<Value> {
    let mut days = moment.days - DAYS_TO_1900;
    let mut ticks = ((moment.ticks * 6 + 100_000) / 200_000) as u32;
    if ticks == 300 * 86_400 {
        (days, ticks) = (days + 1, 0);
    }
    let in_range = (MIN_DATETIME_DAYS..=MAX_DAYS - DAYS_TO_1900).contains(&days);
    in_range.then_some(Value::DateTime { days, ticks })
}

/// The value as a smalldatetime, rounded to minutes; None outside 1900 to 2079-06-06.
pub(super) fn smalldatetime(moment: Moment) -> Option<Value> {
    let rounded = (moment.ticks + 30 * TICKS_PER_SECOND) / (60 * TICKS_PER_SECOND);
    let days = moment.days - DAYS_TO_1900 + (rounded / 1440) as i32;
    Some(Value::SmallDateTime {
        days: u16::try_from(days).ok()?,
        minutes: (rounded % 1440) as u16,
    })
}

/// The moment with its fraction rounded to `scale` digits; None beyond 9999.
pub(super) fn rounded(moment: Moment, scale: u8) -> Option<Moment> {
    let unit = 10_i64.pow(u32::from(7 - scale.min(7)));
    let total = moment.total();
    Moment::from_total((total + unit / 2).div_euclid(unit) * unit, moment.offset)
}

/// The value as a datetime2.
pub(super) fn datetime2(moment: Moment, scale: u8) -> Option<Value> {
    let moment = rounded(moment, scale)?;
    Some(Value::DateTime2 {
        days: moment.days,
        ticks: moment.ticks,
        scale,
    })
}

/// The value as a time; what rounds up to midnight starts again at zero.
pub(super) fn time(moment: Moment, scale: u8) -> Value {
    let unit = 10_u64.pow(u32::from(7 - scale.min(7)));
    let ticks = (moment.ticks + unit / 2) / unit * unit % TICKS_PER_DAY;
    Value::Time { ticks, scale }
}

/// The value as a datetimeoffset, which is kept in UTC.
pub(super) fn datetimeoffset(moment: Moment, scale: u8) -> Option<Value> {
    let local = rounded(moment, scale)?;
    let utc = Moment::from_total(local.utc(), 0)?;
    Some(Value::DateTimeOffset {
        days: utc.days,
        ticks: utc.ticks,
        scale,
        offset: moment.offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_agree() {
        for (year, month, day, days) in [
            (1, 1, 1, 0),
            (1900, 1, 1, DAYS_TO_1900),
            (1970, 1, 1, 719_162),
            (9999, 12, 31, MAX_DAYS),
            (2024, 2, 29, 738_944),
        ] {
            let date = Date::new(year, month, day).unwrap();
            assert_eq!((date.days(), Date::from_days(days)), (days, date));
        }
        assert_eq!(Date::new(2023, 2, 29), None);
        assert_eq!(
            Date::new(1753, 1, 1).unwrap().days() - DAYS_TO_1900,
            MIN_DATETIME_DAYS
        );
    }

    /// Documentation: "datetime (Transact-SQL)", rounding of fractional seconds.
    #[test]
    fn datetime_rounds_to_increments_of_three_hundredths() {
        for (milliseconds, expected) in [
            (999, 0),
            (998, 299),
            (997, 299),
            (995, 299),
            (994, 298),
            (993, 298),
            (992, 298),
            (991, 297),
            (990, 297),
        ] {
            let moment = Moment {
                days: DAYS_TO_1900,
                ticks: milliseconds * 10_000,
                offset: 0,
            };
            let Some(Value::DateTime { ticks, .. }) = datetime(moment) else {
                panic!()
            };
            assert_eq!(ticks % 300, expected, ".{milliseconds}");
        }
    }
}
