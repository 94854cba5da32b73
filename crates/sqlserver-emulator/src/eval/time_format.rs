//! Points in time as text, by the styles of CONVERT.

use super::calendar::{Date, Moment, TICKS_PER_SECOND};
use crate::value::Value;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The text of a temporal value in a style; None for a style that does not exist.
pub(super) fn format(value: &Value, style: i32) -> Option<String> {
    let moment = Moment::of(value)?;
    let kind = Kind::of(value);
    let style = if style == 0 && kind.is_iso_by_default() {
        121
    } else {
        style
    };
    let moment = if style == 127 {
        Moment::from_total(moment.utc(), 0)?
    } else {
        moment
    };
    let text = Formatter {
        moment,
        date: moment.date(),
        kind,
    };
    text.format(style)
}

/// What parts a value has, and digits of its fraction.
#[derive(Clone, Copy)]
struct Kind {
    has_date: bool,
    has_time: bool,
    /// None for datetime and smalldatetime, whose fraction is milliseconds.
    scale: Option<u8>,
    has_offset: bool,
}

impl Kind {
    fn of(value: &Value) -> Self {
        let kind = |has_date, has_time, scale, has_offset| Self {
            has_date,
            has_time,
            scale,
            has_offset,
        };
        match *value {
            Value::Date(_) => kind(true, false, Some(0), false),
            Value::Time { scale, .. } => kind(false, true, Some(scale), false),
            Value::DateTime2 { scale, .. } => kind(true, true, Some(scale), false),
            Value::DateTimeOffset { scale, .. } => kind(true, true, Some(scale), true),
            _ => kind(true, true, None, false),
        }
    }

    fn is_iso_by_default(self) -> bool {
        self.scale.is_some()
    }
}

struct Formatter {
    moment: Moment,
    date: Date,
    kind: Kind,
}

impl Formatter {
    fn format(&self, style: i32) -> Option<String> {
        let Date { year, month, day } = self.date;
        let short = if style < 100 && style != 0 && style != 9 && style != 13 && style != 20 && style != 21 {
            format!("{:02}", year % 100)
        } else {
            format!("{year:04}")
        };
        let name = MONTHS.get(month as usize - 1)?;
        let (date, time) = match style {
            0 | 100 => (format!("{name} {day:2} {year}"), self.twelve_hours(false)),
            9 | 109 => (format!("{name} {day:2} {year}"), self.twelve_hours(true)),
            1 | 101 => (format!("{month:02}/{day:02}/{short}"), String::new()),
            2 | 102 => (format!("{short}.{month:02}.{day:02}"), String::new()),
            3 | 103 => (format!("{day:02}/{month:02}/{short}"), String::new()),
            4 | 104 => (format!("{day:02}.{month:02}.{short}"), String::new()),
            5 | 105 => (format!("{day:02}-{month:02}-{short}"), String::new()),
            6 | 106 => (format!("{day:02} {name} {short}"), String::new()),
            7 | 107 => (format!("{name} {day:02}, {short}"), String::new()),
            8 | 24 | 108 => (String::new(), self.seconds()),
            10 | 110 => (format!("{month:02}-{day:02}-{short}"), String::new()),
            11 | 111 => (format!("{short}/{month:02}/{day:02}"), String::new()),
            12 | 112 => (format!("{short}{month:02}{day:02}"), String::new()),
            13 | 113 => (format!("{day:02} {name} {year:04}"), self.with_fraction(":")),
            14 | 114 => (String::new(), self.with_fraction(":")),
            20 | 120 => (format!("{year:04}-{month:02}-{day:02}"), self.seconds()),
            21 | 25 | 121 => (format!("{year:04}-{month:02}-{day:02}"), self.with_fraction(".")),
            23 => (format!("{year:04}-{month:02}-{day:02}"), String::new()),
            126 | 127 => return Some(self.iso8601(style == 127)),
            _ => return None,
        };
        let date = if self.kind.has_date { date } else { String::new() };
        let time = if self.kind.has_time { time } else { String::new() };
        let space = if date.is_empty() || time.is_empty() {
            ""
        } else {
            " "
        };
        let offset = if self.kind.has_offset && !time.is_empty() {
            format!(" {}", self.offset())
        } else {
            String::new()
        };
        Some(format!("{date}{space}{time}{offset}"))
    }

    /// Without the fraction when it is zero.
    fn iso8601(&self, utc: bool) -> String {
        let Date { year, month, day } = self.date;
        let date = format!("{year:04}-{month:02}-{day:02}");
        if !self.kind.has_time {
            return date;
        }
        let fraction = self.moment.ticks % TICKS_PER_SECOND;
        let time = if fraction == 0 {
            self.seconds()
        } else {
            self.with_fraction(".")
        };
        let zone = match (utc, self.kind.has_offset) {
            (true, _) => "Z".to_owned(),
            (false, true) => self.offset(),
            (false, false) => String::new(),
        };
        if self.kind.has_date {
            format!("{date}T{time}{zone}")
        } else {
            format!("{time}{zone}")
        }
    }

    fn clock(&self) -> (u64, u64, u64) {
        let seconds = self.moment.ticks / TICKS_PER_SECOND;
        (seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    fn seconds(&self) -> String {
        let (hour, minute, second) = self.clock();
        format!("{hour:02}:{minute:02}:{second:02}")
    }

    /// Milliseconds, or as many digits as the type's scale.
    fn fraction(&self) -> String {
        let ticks = self.moment.ticks % TICKS_PER_SECOND;
        match self.kind.scale {
            None => format!("{:03}", (ticks + 5_000) / 10_000),
            Some(0) => String::new(),
            Some(scale) => format!("{ticks:07}").chars().take(usize::from(scale)).collect(),
        }
    }

    fn with_fraction(&self, separator: &str) -> String {
        let fraction = self.fraction();
        let separator = if self.kind.scale.is_some() { "." } else { separator };
        if fraction.is_empty() {
            self.seconds()
        } else {
            format!("{}{separator}{fraction}", self.seconds())
        }
    }

    fn twelve_hours(&self, with_seconds: bool) -> String {
        let (hour, minute, second) = self.clock();
        let meridiem = if hour < 12 { "AM" } else { "PM" };
        let hour = (hour + 11) % 12 + 1;
        if !with_seconds {
            return format!("{hour:2}:{minute:02}{meridiem}");
        }
        let separator = if self.kind.scale.is_some() { "." } else { ":" };
        let fraction = self.fraction();
        let separator = if fraction.is_empty() { "" } else { separator };
        format!("{hour:2}:{minute:02}:{second:02}{separator}{fraction}{meridiem}")
    }

    fn offset(&self) -> String {
        let sign = if self.moment.offset < 0 { '-' } else { '+' };
        let minutes = self.moment.offset.unsigned_abs();
        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::calendar::{DAYS_TO_1900, Date};

    /// Documentation: "CAST and CONVERT", date and time styles.
    #[test]
    fn styles_give_the_documented_text() {
        let days = Date {
            year: 2024,
            month: 3,
            day: 5,
        }
        .days();
        let ticks = 49_332 * TICKS_PER_SECOND + 1_230_000;
        let datetime = Value::DateTime {
            days: days - DAYS_TO_1900,
            ticks: 49_332 * 300 + 37,
        };
        let datetime2 = Value::DateTime2 {
            days,
            ticks,
            scale: 7,
        };
        let offset = Value::DateTimeOffset {
            days,
            ticks,
            scale: 3,
            offset: 90,
        };
        let date = Value::Date(days);
        for (value, style, expected) in [
            (&datetime, 0, "Mar  5 2024  1:42PM"),
            (&datetime, 101, "03/05/2024"),
            (&datetime, 3, "05/03/24"),
            (&datetime, 106, "05 Mar 2024"),
            (&datetime, 109, "Mar  5 2024  1:42:12:123PM"),
            (&datetime, 112, "20240305"),
            (&datetime, 114, "13:42:12:123"),
            (&datetime, 120, "2024-03-05 13:42:12"),
            (&datetime, 121, "2024-03-05 13:42:12.123"),
            (&datetime, 126, "2024-03-05T13:42:12.123"),
            (&datetime, 23, "2024-03-05"),
            (&datetime2, 0, "2024-03-05 13:42:12.1230000"),
            (&datetime2, 127, "2024-03-05T13:42:12.1230000Z"),
            (&offset, 121, "2024-03-05 15:12:12.123 +01:30"),
            (&offset, 126, "2024-03-05T15:12:12.123+01:30"),
            (&offset, 127, "2024-03-05T13:42:12.123Z"),
            (&date, 0, "2024-03-05"),
            (&date, 104, "05.03.2024"),
        ] {
            assert_eq!(format(value, style).as_deref(), Some(expected), "style {style}");
        }
        assert_eq!(format(&datetime, 77), None);
    }
}
