//! What a position of this source holds. Only this file reads and writes [`Position::value`].

use std::time::Duration;

use cdc::{IdPosition, Ticks};
use model::{Error, ErrorKind, Position, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlserver_client::Lsn;

use crate::clock::ServerClock;

/// Up to where a column of times has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimestampPosition {
    /// The tracking column.
    pub(crate) column: String,
    /// Its declared type, for people; the ticks below do not depend on it.
    #[serde(rename = "type")]
    pub(crate) declared: String,
    /// The greatest value that has been delivered with everything below it.
    pub(crate) watermark: Ticks,
    /// The server's clock when the cut was taken, of the kind that the column holds.
    pub(crate) now: Ticks,
    /// How far the server's local time was ahead of UTC, for a column that may hold local time; else 0.
    #[serde(default)]
    pub(crate) offset_minutes: i64,
    /// Where the hour begins that local time repeats in autumn, until the clock has passed the watermark again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repeated_from: Option<Ticks>,
    /// The server's local time when the cut was taken, whatever the column holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) local: Option<LocalTime>,
}

impl TimestampPosition {
    /// From where rows must be read again because local time repeats itself, if the offset is now `offset_minutes` and the cut is
    /// at `hi`.
    pub(crate) fn repeated_from(&self, offset_minutes: i64, hi: Ticks) -> Option<Ticks> {
        let back = u64::try_from(self.offset_minutes.saturating_sub(offset_minutes)).unwrap_or(0);
        if back > 0 {
            let from = self
                .watermark
                .before(Duration::from_secs(back.saturating_mul(60)));
            Some(self.repeated_from.map_or(from, |earlier| earlier.min(from)))
        } else {
            self.repeated_from.filter(|_| hi < self.watermark)
        }
    }
}

/// The server's local time, by which it tells when work began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalTime {
    /// How far it was ahead of UTC.
    pub(crate) offset_minutes: i64,
    /// When it last went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fall: Option<Fall>,
}

/// Local time that went back between two cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fall {
    /// What seems to have begun before this local time may have begun before the fall.
    pub(crate) until: Ticks,
    /// How far it went back.
    pub(crate) minutes: u32,
}

impl LocalTime {
    /// What is known of it now, if `before` was known at the cut before.
    pub(crate) fn after(before: Option<Self>, clock: &ServerClock) -> Self {
        let offset_minutes = clock.offset_minutes();
        let back = before.map_or(0, |before| before.offset_minutes.saturating_sub(offset_minutes));
        let fall = match u32::try_from(back) {
            Ok(minutes) if minutes > 0 => Some(Fall {
                until: clock.local.after(Duration::from_secs(u64::from(minutes) * 60)),
                minutes,
            }),
            _ => before.and_then(|before| before.fall),
        };
        Self { offset_minutes, fall }
    }
}

/// Up to where a column of ids has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdColumnPosition {
    /// The tracking column.
    pub(crate) column: String,
    /// How far its ids have been read.
    #[serde(flatten)]
    pub(crate) ids: IdPosition,
    /// Whether `complete` is assumed, so that some ids below it are read again.
    #[serde(default)]
    pub(crate) assumed: bool,
    /// The server's local time when the cut was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) local: Option<LocalTime>,
}

/// Up to where a column of rowversions has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowVersionPosition {
    /// The tracking column.
    pub(crate) column: String,
    /// Every version below this one has been delivered, or never will be.
    pub(crate) next: u64,
}

/// Up to where the change table of a trigger has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TriggerPosition {
    /// Every version below this one has been delivered, or never will be.
    pub(crate) next: u64,
    /// Which trigger, and which change table.
    pub(crate) life: String,
}

/// Up to where Change Tracking has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeTrackingPosition {
    /// The version of the last transaction that had committed.
    pub(crate) version: i64,
    /// The version at which tracking of the table had begun.
    pub(crate) began: i64,
    /// The server's clock (UTC) then, to tell how soon the server forgets.
    pub(crate) now: Ticks,
}

/// Up to where Change Data Capture has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapturePosition {
    /// The place in the log, as the server writes it.
    lsn: String,
}

impl CapturePosition {
    pub(crate) fn at(lsn: Lsn) -> Self {
        Self { lsn: lsn.to_string() }
    }

    pub(crate) fn lsn(&self) -> Result<Lsn> {
        Lsn::parse(&self.lsn)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("{:?} is no place in a log", self.lsn)))
    }
}

/// When a table was read that is read whole every time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FullPosition {
    /// The server's clock (UTC) before the first row was read.
    pub(crate) now: Ticks,
}

/// The kinds of position that this source makes.
pub(crate) trait Kind: Serialize + DeserializeOwned {
    /// [`Position::kind`].
    const NAME: &'static str;
    /// [`Position::label`].
    fn label(&self) -> String;

    /// The position in this life of the table.
    fn position(&self, incarnation: &str) -> Result<Position> {
        let value = serde_json::to_string(self)
            .map_err(|e| Error::internal("could not write a position").caused_by(e))?;
        Ok(Position {
            kind: Self::NAME.to_owned(),
            incarnation: incarnation.to_owned(),
            value,
            label: self.label(),
            late_micros: 0,
            lacks: Vec::new(),
        })
    }

    /// Reads a position of this kind.
    fn read(position: &Position) -> Result<Self> {
        if position.kind != Self::NAME {
            return Err(Error::new(
                ErrorKind::Gap,
                format!(
                    "the position is one of kind {:?}, the table is now read by {:?}",
                    position.kind,
                    Self::NAME
                ),
            ));
        }
        serde_json::from_str(&position.value).map_err(|e| {
            Error::new(ErrorKind::Corrupt, "cannot read a position that this source made").caused_by(e)
        })
    }
}

impl Kind for TimestampPosition {
    const NAME: &'static str = "timestamp";

    fn label(&self) -> String {
        format!("{} {}", self.column, self.watermark)
    }
}

impl Kind for IdColumnPosition {
    const NAME: &'static str = "id";

    fn label(&self) -> String {
        let id = |id: Option<i64>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let (complete, seen) = (id(self.ids.complete), id(self.ids.seen));
        if complete == seen {
            format!("{} {seen}", self.column)
        } else {
            format!("{} {seen}, complete up to {complete}", self.column)
        }
    }
}

impl Kind for RowVersionPosition {
    const NAME: &'static str = "rowversion";

    fn label(&self) -> String {
        format!("{} below 0x{:016X}", self.column, self.next)
    }
}

impl Kind for TriggerPosition {
    const NAME: &'static str = "trigger";

    fn label(&self) -> String {
        format!("changes below 0x{:016X}", self.next)
    }
}

impl Kind for ChangeTrackingPosition {
    const NAME: &'static str = "change_tracking";

    fn label(&self) -> String {
        format!("version {}", self.version)
    }
}

impl Kind for CapturePosition {
    const NAME: &'static str = "cdc";

    fn label(&self) -> String {
        format!("LSN {}", self.lsn)
    }
}

impl Kind for FullPosition {
    const NAME: &'static str = "full";

    fn label(&self) -> String {
        format!("read whole at {} UTC", self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdc::PendingIds;

    #[test]
    fn positions_survive_and_are_told_to_people() {
        let timestamp = TimestampPosition {
            column: "updated_at".into(),
            declared: "datetime2(3)".into(),
            watermark: Ticks(638_000_000_000_000_000),
            now: Ticks(638_000_000_010_000_000),
            offset_minutes: 60,
            repeated_from: None,
            local: Some(LocalTime {
                offset_minutes: 60,
                fall: Some(Fall {
                    until: Ticks(638_000_000_000_000_000),
                    minutes: 60,
                }),
            }),
        };
        let position = timestamp.position("life").unwrap();
        assert_eq!(TimestampPosition::read(&position).unwrap(), timestamp);
        assert_eq!(position.label, "updated_at 2022-09-28 22:13:20");
        assert_eq!(FullPosition::read(&position).unwrap_err().kind(), ErrorKind::Gap);

        let ids = IdPosition {
            complete: Some(7),
            seen: Some(9),
            pending: Some(PendingIds {
                upto: 9,
                at: Ticks(1),
            }),
        };
        let id = IdColumnPosition {
            column: "id".into(),
            ids,
            assumed: true,
            local: None,
        };
        let position = id.position("life").unwrap();
        assert_eq!(IdColumnPosition::read(&position).unwrap(), id);
        assert_eq!(position.label, "id 9, complete up to 7");
    }

    #[test]
    fn a_rowversion_is_told_as_the_server_writes_it() {
        let version = RowVersionPosition {
            column: "rv".into(),
            next: u64::MAX - 1,
        };
        let position = version.position("life").unwrap();
        assert_eq!(RowVersionPosition::read(&position).unwrap(), version);
        assert_eq!(position.label, "rv below 0xFFFFFFFFFFFFFFFE");
    }

    #[test]
    fn the_hour_that_autumn_repeats_is_read_again_until_it_is_over() {
        let hour = 36_000_000_000;
        let watermark = Ticks(1_000 * hour);
        let before = |offset_minutes, repeated_from| TimestampPosition {
            column: "c".into(),
            declared: "datetime".into(),
            watermark,
            now: watermark,
            offset_minutes,
            repeated_from,
            local: None,
        };
        let (start, later) = (Ticks(watermark.0 - hour), Ticks(watermark.0 + 1));
        for (position, offset, hi, expect) in [
            (before(60, None), 60, later, None),
            (before(120, None), 60, start, Some(start)),
            // The first run after the hour is over still reads it.
            (before(120, None), 60, later, Some(start)),
            (before(60, Some(start)), 60, start, Some(start)),
            (before(60, Some(start)), 60, later, None),
            // Spring skips an hour and repeats nothing.
            (before(60, None), 120, later, None),
        ] {
            assert_eq!(
                position.repeated_from(offset, hi),
                expect,
                "{position:?} {offset}"
            );
        }
    }

    #[test]
    fn a_damaged_position_is_said_to_be_damaged() {
        let full = FullPosition { now: Ticks(0) };
        let mut position = full.position("life").unwrap();
        position.value = "{".into();
        assert_eq!(
            FullPosition::read(&position).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }

    /// What a position leads to: when it is read from again, and with which parameters.
    fn use_timestamp(position: &Position) -> Result<()> {
        let position = TimestampPosition::read(position)?;
        let clock = ServerClock {
            local: Ticks(638_000_000_000_000_000),
            utc: Ticks(638_000_000_000_000_000),
        };
        LocalTime::after(position.local, &clock);
        let hi = Ticks(638_000_000_000_000_001);
        let repeated = position.repeated_from(0, hi);
        let rules = crate::WindowOptions::default().rules(Duration::from_millis(1), Duration::ZERO);
        let window = cdc::TimestampWindow::new(position.watermark, hi, position.now, &rules);
        for moment in [Some(window.lo), Some(window.hi), Some(window.future), repeated] {
            let moment = moment.unwrap_or(position.now);
            for ty in ["datetime", "smalldatetime", "datetime2(3)", "datetimeoffset(7)"] {
                crate::column_time::value(ty.parse()?, moment)?;
            }
            assert!(!moment.to_string().is_empty());
        }
        Ok(())
    }

    #[test]
    fn a_damaged_position_is_no_panic() {
        let text = |value: &str| Position {
            kind: TimestampPosition::NAME.into(),
            incarnation: "life".into(),
            value: value.into(),
            label: String::new(),
            late_micros: 0,
            lacks: Vec::new(),
        };
        let sample = r#"{"column":"updated_at","type":"datetime2(3)","watermark":638000000000000000,"now":638000000010000000,
            "offset_minutes":60,"repeated_from":637999000000000000,
            "local":{"offset_minutes":60,"fall":{"until":638000000000000000,"minutes":60}}}"#;
        use_timestamp(&text(sample)).unwrap();
        test_support::damage(&[sample], |damaged| {
            std::str::from_utf8(damaged).is_ok_and(|damaged| use_timestamp(&text(damaged)).is_ok())
        });
    }
}
