//! Values from and to their text forms.

use serde_json::Value;

/// 100 ns steps of a second.
const TICKS: u64 = 10_000_000;
/// Days from 0001-01-01 to 1900-01-01.
pub(crate) const DAYS_TO_1900: i64 = 693_595;

/// A value to bind, with its declared type.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    /// The type without its length.
    pub(crate) family: String,
    /// The numbers in parentheses: length, precision and scale; `max` is 0.
    pub(crate) numbers: Vec<u32>,
    /// The text form.
    pub(crate) value: Option<String>,
}

impl Parameter {
    fn new(declared: &str, value: Option<&str>) -> Self {
        let (family, rest) = declared.split_once('(').unwrap_or((declared, ""));
        let numbers = rest
            .trim_end_matches(')')
            .split(',')
            .filter(|part| !part.is_empty());
        Self {
            family: family.to_owned(),
            numbers: numbers.map(|part| part.trim().parse().unwrap_or(0)).collect(),
            value: value.map(str::to_owned),
        }
    }

    /// The text parsed as Rust does it.
    pub(crate) fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(&self) -> Option<T> {
        self.value.as_ref().map(|text| text.parse().unwrap())
    }

    /// A decimal without its point, and its scale.
    pub(crate) fn decimal(&self) -> Option<(i128, u8)> {
        let text = self.value.as_ref()?;
        let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        Some((text.replace('.', "").parse().unwrap(), scale as u8))
    }

    pub(crate) fn bytes(&self) -> Option<Vec<u8>> {
        let text = self.value.as_ref()?.strip_prefix("0x").unwrap();
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        Some((0..text.len()).step_by(2).map(byte).collect())
    }

    /// Days since 0001-01-01, 100 ns steps since midnight, and minutes east of UTC; the moment is local.
    pub(crate) fn moment(&self) -> Option<(i64, u64, i64)> {
        let text = self.value.as_ref()?;
        let mut parts = text.split(' ');
        let first = parts.next().unwrap();
        if first.contains(':') {
            return Some((0, time(first), 0));
        }
        let ticks = parts.next().map_or(0, time);
        let zone = parts.next().map_or(0, |zone| {
            let minutes = zone[1..3].parse::<i64>().unwrap() * 60 + zone[4..6].parse::<i64>().unwrap();
            if zone.starts_with('-') { -minutes } else { minutes }
        });
        Some((days(first), ticks, zone))
    }
}

/// The parameters of each run of a step.
pub(crate) fn parameters(runs: &Value) -> Vec<Vec<Parameter>> {
    let one = |value: &Value| Parameter::new(value["type"].as_str().unwrap(), value["value"].as_str());
    let run = |run: &Value| run.as_array().unwrap().iter().map(one).collect();
    runs.as_array().unwrap().iter().map(run).collect()
}

/// The columns' names and the rows of a load.
pub(crate) fn rows(step: &Value) -> (Vec<String>, Vec<Vec<Parameter>>) {
    let columns = step["columns"].as_array().unwrap();
    let names = columns
        .iter()
        .map(|column| column["name"].as_str().unwrap().to_owned())
        .collect();
    let row = |row: &Value| {
        let cells = row.as_array().unwrap().iter().zip(columns);
        cells
            .map(|(cell, column)| Parameter::new(column["type"].as_str().unwrap(), cell.as_str()))
            .collect()
    };
    (names, step["load"].as_array().unwrap().iter().map(row).collect())
}

/// The types of a load's columns, as NULLs.
pub(crate) fn columns(step: &Value) -> Vec<Parameter> {
    let columns = step["columns"].as_array().unwrap().iter();
    columns
        .map(|column| Parameter::new(column["type"].as_str().unwrap(), None))
        .collect()
}

fn time(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = whole
        .split(':')
        .fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap());
    seconds * TICKS + format!("{fraction:0<7}")[..7].parse::<u64>().unwrap()
}

/// Days since 0001-01-01 in the proleptic Gregorian calendar.
fn days(text: &str) -> i64 {
    let numbers: Vec<i64> = text.split('-').map(|part| part.parse().unwrap()).collect();
    let [mut year, month, day] = numbers[..] else {
        panic!("{text} is no date")
    };
    year -= i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 306
}

/// The text form of a day since 0001-01-01.
pub(crate) fn date(days: i64) -> String {
    let days = days + 306;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!(
        "{:04}-{month:02}-{day:02}",
        era * 400 + year + i64::from(month <= 2)
    )
}

/// The text form of 100 ns steps since midnight.
pub(crate) fn clock(ticks: u64) -> String {
    let (seconds, fraction) = (ticks / TICKS, ticks % TICKS);
    format!(
        "{:02}:{:02}:{:02}.{fraction:07}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The text form of a moment that is given in UTC, as TDS carries it, and of its zone in minutes.
pub(crate) fn zoned(days: i64, ticks: u64, minutes: i64) -> String {
    let day = 86_400 * TICKS as i64;
    let local = days * day + ticks as i64 + minutes * 60 * TICKS as i64;
    let sign = if minutes < 0 { '-' } else { '+' };
    let zone = format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
    format!(
        "{} {} {zone}",
        date(local.div_euclid(day)),
        clock(local.rem_euclid(day) as u64)
    )
}

/// A moment in its own zone as UTC.
pub(crate) fn utc(days: i64, ticks: u64, minutes: i64) -> (i64, u64) {
    let day = 86_400 * TICKS as i64;
    let utc = days * day + ticks as i64 - minutes * 60 * TICKS as i64;
    (utc.div_euclid(day), utc.rem_euclid(day) as u64)
}

/// The text form of three hundredths of a second since midnight.
pub(crate) fn thirds(fragments: u64) -> String {
    let milliseconds = (fragments * 10 + 1) / 3;
    clock(milliseconds * 10_000)
}

/// Three hundredths of a second of 100 ns steps.
pub(crate) fn to_thirds(ticks: u64) -> u64 {
    (ticks * 3 + 50_000) / 100_000
}

/// The text form of a scaled integer.
pub(crate) fn decimal(negative: bool, magnitude: u128, scale: usize) -> String {
    let digits = format!("{magnitude:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    let sign = if negative && magnitude != 0 { "-" } else { "" };
    format!("{sign}{whole}{point}{fraction}")
}

/// The text form of bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold("0x".to_owned(), |text, byte| text + &format!("{byte:02X}"))
}
