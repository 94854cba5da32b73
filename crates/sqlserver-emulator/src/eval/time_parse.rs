//! Points in time from text: ISO 8601, the unseparated form, and the numeric and named forms of US English.
//! ("Date and time literals", "CAST and CONVERT: date and time styles")

use super::calendar::{DAYS_TO_1900, Date, Moment, TICKS_PER_SECOND};

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The order of day, month and year in `01/02/03`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldOrder {
    MonthDayYear,
    DayMonthYear,
    YearMonthDay,
}

impl FieldOrder {
    /// The order that a style of CONVERT asks for; 0 is the session's.
    pub(super) fn of_style(style: i32) -> Self {
        match style % 100 {
            3..=5 => Self::DayMonthYear,
            2 | 11 => Self::YearMonthDay,
            _ => Self::MonthDayYear,
        }
    }
}

/// What a text said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) moment: Moment,
    /// Digits that stood behind the seconds.
    pub(super) fraction_digits: u8,
    /// Whether an offset or `Z` stood at the end.
    pub(super) has_offset: bool,
}

/// None for text that is no point in time.
pub(super) fn parse(text: &str, order: FieldOrder) -> Option<Parsed> {
    let text = text.trim();
    let mut parsed = Parsed {
        moment: Moment {
            days: DAYS_TO_1900,
            ticks: 0,
            offset: 0,
        },
        fraction_digits: 0,
        has_offset: false,
    };
    if text.is_empty() {
        return Some(parsed);
    }
    let (date, rest) = split_date(text, order)?;
    if let Some(date) = date {
        parsed.moment.days = date.days();
    }
    if !rest.is_empty() {
        time_of_day(rest, &mut parsed)?;
    }
    Some(parsed)
}

/// The date at the start, if there is one, and what follows it.
fn split_date(text: &str, order: FieldOrder) -> Option<(Option<Date>, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let after = text.as_bytes().get(digits).copied();
    if after == Some(b':') || (digits > 0 && digits <= 2 && is_meridiem(text.get(digits..)?.trim_start())) {
        return Some((None, text));
    }
    let rest = |at: usize| {
        text.get(at..)
            .map(|rest| rest.strip_prefix('T').unwrap_or(rest).trim_start())
    };
    if digits == 8 || digits == 6 {
        let year_digits = digits - 4;
        let year = full_year(text.get(..year_digits)?)?;
        let number = |from: usize| text.get(from..from + 2)?.parse().ok();
        let date = Date::new(year, number(year_digits)?, number(year_digits + 2)?)?;
        return Some((Some(date), rest(digits)?));
    }
    if digits == 4 && matches!(after, None | Some(b' ')) {
        let only_year = text.len() == 4;
        if only_year {
            return Some((Some(Date::new(text.parse().ok()?, 1, 1)?), ""));
        }
    }
    if matches!(after, Some(b'-' | b'/' | b'.')) {
        let (date, length) = separated(text, order)?;
        return Some((Some(date), rest(length)?));
    }
    let (date, rest) = named(text)?;
    Some((Some(date), rest))
}

/// `2024-01-31`, `1/31/2024`, `31.1.24`
fn separated(text: &str, order: FieldOrder) -> Option<(Date, usize)> {
    let mut fields = [""; 3];
    let mut at = 0;
    for (index, field) in fields.iter_mut().enumerate() {
        let length = text.get(at..)?.bytes().take_while(u8::is_ascii_digit).count();
        *field = text.get(at..at + length)?;
        at += length;
        if index < 2 {
            if !matches!(text.as_bytes().get(at), Some(b'-' | b'/' | b'.')) {
                return None;
            }
            at += 1;
        }
    }
    let order = if fields[0].len() == 4 {
        FieldOrder::YearMonthDay
    } else {
        order
    };
    let [year, month, day] = match order {
        FieldOrder::YearMonthDay => fields,
        FieldOrder::MonthDayYear => [fields[2], fields[0], fields[1]],
        FieldOrder::DayMonthYear => [fields[2], fields[1], fields[0]],
    };
    let date = Date::new(full_year(year)?, month.parse().ok()?, day.parse().ok()?)?;
    Some((date, at))
}

/// Two digits up to 49 are in this century ("two digit year cutoff" 2049).
fn full_year(digits: &str) -> Option<i32> {
    let year: i32 = digits.parse().ok()?;
    match digits.len() {
        4 => Some(year),
        1 | 2 => Some(if year < 50 { 2000 + year } else { 1900 + year }),
        _ => None,
    }
}

/// `Jan 31 2024`, `31 January 2024`, `Jan 31, 2024`
fn named(text: &str) -> Option<(Date, &str)> {
    let mut words = Vec::new();
    let mut at = 0;
    while words.len() < 3 {
        let rest = text.get(at..)?;
        let start = at + (rest.len() - rest.trim_start_matches([' ', ',', '-']).len());
        let rest = text.get(start..)?;
        let end = start + rest.find([' ', ',', '-']).unwrap_or(rest.len());
        if start == end {
            return None;
        }
        words.push(text.get(start..end)?);
        at = end;
    }
    let month_at = words.iter().position(|word| month(word).is_some())?;
    let month = month(words[month_at])?;
    let numbers: Vec<&str> = words
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != month_at)
        .map(|(_, word)| *word)
        .collect();
    let (day, year) = if numbers[0].len() == 4 {
        (numbers[1], numbers[0])
    } else {
        (numbers[0], numbers[1])
    };
    let date = Date::new(full_year(year)?, month, day.parse().ok()?)?;
    Some((date, text.get(at..)?.trim_start()))
}

fn month(word: &str) -> Option<u32> {
    let lower = word.to_ascii_lowercase();
    let found = MONTHS.iter().position(|month| lower.starts_with(month))?;
    Some(found as u32 + 1)
}

fn is_meridiem(text: &str) -> bool {
    text.eq_ignore_ascii_case("am") || text.eq_ignore_ascii_case("pm")
}

/// `hh:mm[:ss[.fffffff]] [AM|PM] [Z|±hh:mm]`
fn time_of_day(text: &str, parsed: &mut Parsed) -> Option<()> {
    let clock_length = text
        .bytes()
        .take_while(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'))
        .count();
    let (clock, rest) = text.split_at(clock_length);
    let mut rest = rest.trim_start();
    let mut fields = clock.splitn(3, ':');
    let mut hour: u64 = fields.next()?.parse().ok()?;
    let minute: Option<u64> = match fields.next() {
        Some(minute) => Some(minute.parse().ok()?),
        None => None,
    };
    let seconds = fields.next().unwrap_or("0");
    let meridiem = rest.get(..2).filter(|word| is_meridiem(word));
    if let Some(word) = meridiem {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + if word.eq_ignore_ascii_case("pm") { 12 } else { 0 };
        rest = rest.get(2..)?.trim_start();
    }
    if minute.is_none() && meridiem.is_none() {
        return None;
    }
    let minute = minute.unwrap_or(0);
    let (second, fraction) = seconds_and_fraction(seconds, parsed)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    parsed.moment.ticks = ((hour * 60 + minute) * 60 + second) * TICKS_PER_SECOND + fraction;
    offset(rest, parsed)
}

/// `ss`, `ss.fffffff` or `ss:mmm`, as seconds and 100 ns.
fn seconds_and_fraction(text: &str, parsed: &mut Parsed) -> Option<(u64, u64)> {
    if let Some((second, milliseconds)) = text.split_once(':') {
        parsed.fraction_digits = 3;
        return Some((second.parse().ok()?, milliseconds.parse::<u64>().ok()? * 10_000));
    }
    let Some((second, fraction)) = text.split_once('.') else {
        return Some((text.parse().ok()?, 0));
    };
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    parsed.fraction_digits = fraction.len() as u8;
    let value: u64 = fraction.parse().ok()?;
    let unit = 10_u64.pow(9 - fraction.len() as u32);
    Some((second.parse().ok()?, (value * unit + 50) / 100))
}

fn offset(text: &str, parsed: &mut Parsed) -> Option<()> {
    if text.is_empty() {
        return Some(());
    }
    parsed.has_offset = true;
    if text.eq_ignore_ascii_case("z") {
        return Some(());
    }
    parsed.moment.offset = offset_minutes(text)?;
    Some(())
}

/// `+02:00`; at most 14 hours.
pub(super) fn offset_minutes(text: &str) -> Option<i16> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    let total = i16::from(hours) * 60 + i16::from(minutes);
    (minutes < 60 && total <= 14 * 60).then_some(sign * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forms from the documentation of datetime, datetime2, datetimeoffset and time.
    #[test]
    fn the_documented_forms_are_read() {
        let second = TICKS_PER_SECOND;
        for (text, date, ticks, offset) in [
            ("2024-03-05", (2024, 3, 5), 0, 0),
            ("20240305", (2024, 3, 5), 0, 0),
            (
                "2024-03-05T10:11:12.1234567",
                (2024, 3, 5),
                (36_672 * second) + 1_234_567,
                0,
            ),
            (
                "2024-03-05 10:11:12.5 +02:00",
                (2024, 3, 5),
                36_672 * second + second / 2,
                120,
            ),
            ("2024-03-05T00:00:00Z", (2024, 3, 5), 0, 0),
            ("3/5/24 1:02PM", (2024, 3, 5), (13 * 60 + 2) * 60 * second, 0),
            ("Mar  5 2024 12:30AM", (2024, 3, 5), 30 * 60 * second, 0),
            (
                "5 March 2024 08:09:10:123",
                (2024, 3, 5),
                29_350 * second + 1_230_000,
                0,
            ),
            ("12:00", (1900, 1, 1), 43_200 * second, 0),
            ("", (1900, 1, 1), 0, 0),
            ("1999", (1999, 1, 1), 0, 0),
        ] {
            let parsed = parse(text, FieldOrder::MonthDayYear).unwrap_or_else(|| panic!("{text}"));
            let (year, month, day) = date;
            assert_eq!(parsed.moment.date(), Date { year, month, day }, "{text}");
            assert_eq!(
                (parsed.moment.ticks, parsed.moment.offset),
                (ticks, offset),
                "{text}"
            );
        }
        for text in [
            "2024-02-30",
            "13/13/2024",
            "abc",
            "2024-01-01 25:00",
            "10:11:12 +15:00",
            "2024-01-01 1",
        ] {
            assert_eq!(parse(text, FieldOrder::MonthDayYear), None, "{text}");
        }
    }
}
