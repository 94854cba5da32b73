//! Moments as a source's clock tells them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment on a source's clock, in steps of 100 ns since 0001-01-01 00:00, ordered in time.
///
/// It has no zone: it is whatever the clock or the column showed. The proleptic Gregorian calendar applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Ticks(pub i64);

/// A stored moment. One outside of the calendar was never stored by us.
impl TryFrom<i64> for Ticks {
    type Error = &'static str;

    fn try_from(steps: i64) -> Result<Self, Self::Error> {
        let ticks = Self(steps);
        if ticks == ticks.clamped() {
            Ok(ticks)
        } else {
            Err("a moment lies outside of the calendar")
        }
    }
}

impl From<Ticks> for i64 {
    fn from(ticks: Ticks) -> Self {
        ticks.0
    }
}

const PER_MICRO: i64 = 10;
const PER_SECOND: i64 = 10_000_000;
const PER_DAY: i64 = 86_400 * PER_SECOND;
const DAYS_TO_1970: i64 = 719_162;

impl Ticks {
    /// The first moment that can be told: 0001-01-01 00:00.
    pub const MIN: Self = Self(0);
    /// The last moment that can be told: 9999-12-31 23:59:59.9999999.
    pub const MAX: Self = Self(3_652_059 * PER_DAY - 1);

    /// The moment with this number of microseconds since 1970-01-01.
    pub fn from_unix_micros(micros: i64) -> Self {
        let since_1970 = micros.saturating_mul(PER_MICRO);
        Self(since_1970.saturating_add(DAYS_TO_1970 * PER_DAY)).clamped()
    }

    /// Microseconds since 1970-01-01, rounded towards the past.
    pub fn unix_micros(self) -> i64 {
        (self.0 - DAYS_TO_1970 * PER_DAY).div_euclid(PER_MICRO)
    }

    /// Days since 0001-01-01 and steps of 100 ns since midnight.
    pub fn day_and_time(self) -> (i64, i64) {
        (self.0.div_euclid(PER_DAY), self.0.rem_euclid(PER_DAY))
    }

    /// This much earlier, but not before [`Ticks::MIN`].
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(steps(by))).clamped()
    }

    /// This much later, but not after [`Ticks::MAX`].
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(steps(by))).clamped()
    }

    /// How much later this is than `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        let steps = u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0);
        Duration::from_micros(steps / 10) + Duration::from_nanos(steps % 10 * 100)
    }

    fn clamped(self) -> Self {
        self.clamp(Self::MIN, Self::MAX)
    }
}

fn steps(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos() / 100).unwrap_or(i64::MAX)
}

/// As ISO 8601 writes it, with as many decimals as are needed: `2026-11-21 01:48:17.123`.
impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, time) = self.day_and_time();
        let (year, month, day) = civil(days);
        let (seconds, fraction) = (time / PER_SECOND, time % PER_SECOND);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )?;
        if fraction != 0 {
            write!(f, ".{}", format!("{fraction:07}").trim_end_matches('0'))?;
        }
        Ok(())
    }
}

/// Year, month and day of a number of days since 0001-01-01. The year is counted from March, so that the leap day is
/// its last.
fn civil(days: i64) -> (i64, i64, i64) {
    let from_march = days + 306;
    let era = from_march.div_euclid(146_097);
    let of_era = from_march.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_the_calendar_has_them() {
        for (micros, text) in [
            (-62_135_596_800_000_000, "0001-01-01 00:00:00"),
            (-6_847_804_800_000_000, "1753-01-01 00:00:00"),
            (0, "1970-01-01 00:00:00"),
            (951_782_400_000_000, "2000-02-29 00:00:00"),
            (951_868_800_000_000, "2000-03-01 00:00:00"),
            (3_453_321_540_000_000, "2079-06-06 23:59:00"),
            (253_402_300_799_997_000, "9999-12-31 23:59:59.997"),
        ] {
            let ticks = Ticks::from_unix_micros(micros);
            assert_eq!(ticks.to_string(), text);
            assert_eq!(ticks.unix_micros(), micros);
        }
        assert_eq!(Ticks::MAX.to_string(), "9999-12-31 23:59:59.9999999");
    }

    #[test]
    fn arithmetic_stays_in_the_calendar() {
        let second = Duration::from_secs(1);
        assert_eq!(Ticks::MIN.before(second), Ticks::MIN);
        assert_eq!(Ticks::MAX.after(Duration::MAX), Ticks::MAX);
        assert_eq!(Ticks::from_unix_micros(i64::MAX), Ticks::MAX);
        assert_eq!(Ticks(5).since(Ticks(7)), Duration::ZERO);
        assert_eq!(
            Ticks(10_000_003).since(Ticks(0)),
            second + Duration::from_nanos(300)
        );
        assert_eq!(Ticks(3).after(second).before(second), Ticks(3));
        assert_eq!(Ticks(-1).unix_micros(), Ticks(-10).unix_micros());
    }
}
