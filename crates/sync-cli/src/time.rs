//! Times as text.

use chrono::{DateTime, SecondsFormat, Utc};
use model::{Error, ErrorKind, Result, Timestamp};

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn iso(time: Timestamp) -> String {
    match DateTime::<Utc>::from_timestamp_millis(time.0) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => format!("{} ms", time.0),
    }
}

/// Reads RFC 3339.
///
/// # Errors
///
/// `Config` if it is something else.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
        Error::new(ErrorKind::Config, format!("cannot read {text:?} as a time"))
            .caused_by(error)
            .hint("write it as 2026-11-21T09:30:00Z")
    })?;
    Ok(Timestamp(time.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_its_text() {
        let time = parse_time("2026-11-21T09:30:00.125+01:00").unwrap();
        assert_eq!(iso(time), "2026-11-21T08:30:00.125Z");
        assert!(parse_time("yesterday").is_err());
    }
}
