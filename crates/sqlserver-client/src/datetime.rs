//! Exact conversions between SQL Server's date and time forms and microseconds since 1970.
//!
//! Days count from 0001-01-01 unless a name says otherwise; ticks are 100 ns.

/// 1970-01-01 in days since 0001-01-01.
const UNIX_EPOCH_DAY: i64 = 719_162;
/// 1900-01-01 in days since 1970-01-01.
const DAY_1900: i64 = -25_567;
/// 9999-12-31 in days since 0001-01-01.
const LAST_DAY: i64 = 3_652_058;
/// A day in microseconds.
pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

/// Days since 1970, from days since 0001-01-01.
pub(crate) fn date_from_days(days: u32) -> i32 {
    (i64::from(days) - UNIX_EPOCH_DAY) as i32
}

/// Days since 0001-01-01, from days since 1970; `None` outside 0001..9999.
pub(crate) fn days_from_date(date: i32) -> Option<u32> {
    in_range(i64::from(date) + UNIX_EPOCH_DAY)
}

fn in_range(days: i64) -> Option<u32> {
    (0..=LAST_DAY).contains(&days).then_some(days as u32)
}

/// Microseconds since 1970, from `datetime2`'s days and ticks. The seventh digit is cut off: rounding up could leave the
/// range of the type.
pub(crate) fn micros_from_datetime2(days: u32, ticks: u64) -> i64 {
    (i64::from(days) - UNIX_EPOCH_DAY) * DAY_MICROS + (ticks / 10) as i64
}

/// `datetime2`'s days and ticks, from microseconds since 1970; `None` outside 0001..9999.
pub(crate) fn datetime2_from_micros(micros: i64) -> Option<(u32, u64)> {
    let days = in_range(micros.div_euclid(DAY_MICROS) + UNIX_EPOCH_DAY)?;
    Some((days, micros.rem_euclid(DAY_MICROS) as u64 * 10))
}

/// Microseconds since 1970, from `datetime`'s days since 1900 and 1/300 s.
pub(crate) fn micros_from_datetime(days: i32, ticks: u32) -> i64 {
    let millis = (i64::from(ticks) * 10 + 1) / 3;
    (i64::from(days) + DAY_1900) * DAY_MICROS + millis * 1000
}

/// `datetime`'s days since 1900 and 1/300 s, from microseconds since 1970. `None` if the value is not one that
/// `datetime` can hold exactly, or lies outside 1753..9999.
pub(crate) fn datetime_from_micros(micros: i64) -> Option<(i32, u32)> {
    let days = micros.div_euclid(DAY_MICROS) - DAY_1900;
    if !(-53_690..=2_958_463).contains(&days) {
        return None;
    }
    let millis = micros.rem_euclid(DAY_MICROS) / 1000;
    let ticks = ((millis * 3 + 5) / 10) as u32;
    let value = (i32::try_from(days).ok()?, ticks);
    let exact = micros_from_datetime(value.0, value.1) == micros;
    exact.then_some(value)
}

/// Microseconds since 1970, from `smalldatetime`'s days since 1900 and minutes.
pub(crate) fn micros_from_smalldatetime(days: u16, minutes: u16) -> i64 {
    (i64::from(days) + DAY_1900) * DAY_MICROS + i64::from(minutes) * 60_000_000
}

/// `smalldatetime`'s days since 1900 and minutes, from microseconds since 1970. `None` if the value is not a whole
/// minute or lies outside 1900..2079-06-06.
pub(crate) fn smalldatetime_from_micros(micros: i64) -> Option<(u16, u16)> {
    let days = u16::try_from(micros.div_euclid(DAY_MICROS) - DAY_1900).ok()?;
    let within = micros.rem_euclid(DAY_MICROS);
    (within % 60_000_000 == 0).then_some((days, (within / 60_000_000) as u16))
}

/// Ticks of 100 ns at a scale: whether the digits below it are zero.
pub(crate) fn fits_scale(ticks: u64, scale: u8) -> bool {
    ticks.is_multiple_of(10_u64.pow(7 - u32::from(scale.min(7))))
}

/// Year, month and day, from days since 0001-01-01.
pub(crate) fn civil_from_days(days: u32) -> (u32, u32, u32) {
    // Howard Hinnant's algorithm, counted from 0000-03-01.
    let z = u64::from(days) + 306;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_vectors_hold() {
        assert_eq!(micros_from_datetime(-53_690, 0), -6_847_804_800_000_000);
        assert_eq!(
            micros_from_datetime(2_958_463, 25_919_999),
            253_402_300_799_997_000
        );
        assert_eq!(micros_from_datetime2(0, 0), -62_135_596_800_000_000);
        assert_eq!(
            micros_from_datetime2(3_652_058, 863_999_999_999),
            253_402_300_799_999_999
        );
        assert_eq!(micros_from_smalldatetime(65_535, 1_439), 3_453_321_540_000_000);
        assert_eq!(
            (date_from_days(0), date_from_days(3_652_058)),
            (-719_162, 2_932_896)
        );
    }

    #[test]
    fn every_datetime_tick_comes_back() {
        for ticks in (0..25_920_000).step_by(7).chain([25_919_999, 1, 2, 3]) {
            for days in [-53_690, 0, 2_958_463] {
                let micros = micros_from_datetime(days, ticks);
                assert_eq!(datetime_from_micros(micros), Some((days, ticks)));
            }
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_none() {
        assert_eq!(
            datetime_from_micros(1_000),
            None,
            "a millisecond is not a 1/300 s"
        );
        assert_eq!(datetime_from_micros(3_333), None);
        assert_eq!(datetime_from_micros(3_000), Some((25_567, 1)));
        assert_eq!(datetime_from_micros(-6_847_804_800_000_001), None, "before 1753");
        assert_eq!(smalldatetime_from_micros(1), None);
        assert_eq!(
            smalldatetime_from_micros(3_453_321_540_000_000),
            Some((65_535, 1_439))
        );
        assert_eq!(
            smalldatetime_from_micros(-2_208_988_800_000_001),
            None,
            "before 1900"
        );
        assert_eq!(datetime2_from_micros(253_402_300_800_000_000), None, "year 10000");
        assert_eq!(datetime2_from_micros(-62_135_596_800_000_001), None, "year 0");
        assert_eq!(days_from_date(-719_163), None);
        assert_eq!(days_from_date(2_932_897), None);
    }

    #[test]
    fn datetime2_comes_back() {
        for micros in [-62_135_596_800_000_000, -1, 0, 1, 253_402_300_799_999_999] {
            let (days, ticks) = datetime2_from_micros(micros).unwrap();
            assert_eq!(micros_from_datetime2(days, ticks), micros);
        }
    }

    #[test]
    fn the_calendar_is_proleptic_gregorian() {
        for (days, civil) in [
            (0, (1, 1, 1)),
            (719_162, (1970, 1, 1)),
            (730_178, (2000, 2, 29)),
            (730_179, (2000, 3, 1)),
            (3_652_058, (9999, 12, 31)),
        ] {
            assert_eq!(civil_from_days(days), civil);
        }
    }

    #[test]
    fn a_scale_has_so_many_digits() {
        assert!(fits_scale(1, 7) && !fits_scale(1, 6) && fits_scale(10, 6));
        assert!(fits_scale(10_000_000, 0) && !fits_scale(9_999_999, 0));
    }
}
