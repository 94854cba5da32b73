//! The server's clocks, and which of them a column holds.

use cdc::Ticks;
use model::{Finding, Result, Severity};
use sqlserver_client::{Connection, SqlType};

use crate::column_time::moment;
use crate::options::ClockKind;

/// What the server's clocks showed, in one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerClock {
    pub(crate) local: Ticks,
    pub(crate) utc: Ticks,
}

impl ServerClock {
    /// Asks, in a statement of its own: a moment that is taken together with rows would be taken before or after a wait for
    /// their locks, and nobody could say which.
    pub(crate) async fn ask(connection: &mut Connection) -> Result<Self> {
        let rows = connection
            .query(
                "SELECT SYSDATETIME() AS local_now, SYSUTCDATETIME() AS utc_now",
                &[],
            )
            .await?;
        let row = rows.one()?;
        Ok(Self {
            local: moment(row.get("local_now")?)?,
            utc: moment(row.get("utc_now")?)?,
        })
    }

    /// How far local time is ahead of UTC, in whole minutes.
    pub(crate) fn offset_minutes(&self) -> i64 {
        // The two clocks are read one after the other.
        (self.local.0 - self.utc.0 + 300_000_000).div_euclid(600_000_000)
    }
}

/// Which clock a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnClock {
    Local,
    Utc,
    /// Nobody says; the earlier one is taken, so that nothing is passed over.
    Unknown,
}

impl ColumnClock {
    /// Told by the type, the configuration, or the column's default.
    pub(crate) fn of(ty: SqlType, configured: Option<ClockKind>, default: Option<&str>) -> Self {
        if matches!(ty, SqlType::DateTimeOffset { .. }) {
            return Self::Utc;
        }
        match configured {
            Some(ClockKind::Local) => Self::Local,
            Some(ClockKind::Utc) => Self::Utc,
            None => default.map_or(Self::Unknown, Self::of_default),
        }
    }

    fn of_default(expression: &str) -> Self {
        let expression = expression.to_lowercase();
        let calls = |names: &[&str]| names.iter().any(|name| expression.contains(name));
        if calls(&["getutcdate", "sysutcdatetime", "'utc'"]) {
            Self::Utc
        } else if calls(&["getdate", "sysdatetime", "current_timestamp"]) {
            Self::Local
        } else {
            Self::Unknown
        }
    }

    /// What this clock shows.
    pub(crate) fn now(self, clock: &ServerClock) -> Ticks {
        match self {
            Self::Local => clock.local,
            Self::Utc => clock.utc,
            Self::Unknown => clock.local.min(clock.utc),
        }
    }

    /// What an operator should know about it.
    pub(crate) fn finding(self, column: &str) -> Option<Finding> {
        let (severity, message, remedy) = match self {
            Self::Utc => return None,
            Self::Local => (
                Severity::Note,
                format!(
                    "{column} holds local time: the hour that is repeated in autumn is read again until it is over"
                ),
                "set the column by SYSUTCDATETIME()",
            ),
            Self::Unknown => (
                Severity::Warning,
                format!(
                    "nothing says whether {column} holds local time or UTC: the earlier of the server's two clocks is used, and \
                     changes may be seen later by the difference"
                ),
                "tracking: { column: …, clock: utc }   # or local",
            ),
        };
        Some(Finding {
            severity,
            message,
            remedy: Some(remedy.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_told_by_type_configuration_or_default() {
        use ColumnClock::{Local, Unknown, Utc};
        for (ty, configured, default, expect) in [
            ("datetimeoffset(3)", None, Some("(getdate())"), Utc),
            (
                "datetime2(3)",
                Some(ClockKind::Local),
                Some("(getutcdate())"),
                Local,
            ),
            ("datetime2(3)", Some(ClockKind::Utc), None, Utc),
            ("datetime2(3)", None, Some("(sysutcdatetime())"), Utc),
            ("datetime2(3)", None, Some("(SYSDATETIME())"), Local),
            ("datetime", None, Some("(getdate())"), Local),
            ("datetime", None, Some("(CURRENT_TIMESTAMP)"), Local),
            (
                "datetime2(7)",
                None,
                Some("(CONVERT([datetime2],sysdatetimeoffset() AT TIME ZONE 'UTC'))"),
                Utc,
            ),
            ("datetime2(7)", None, Some("('1900-01-01')"), Unknown),
            ("datetime2(7)", None, None, Unknown),
        ] {
            assert_eq!(
                ColumnClock::of(ty.parse().unwrap(), configured, default),
                expect,
                "{ty} {default:?}"
            );
        }
    }

    #[test]
    fn an_unknown_clock_is_the_earlier_one() {
        let hour = 36_000_000_000;
        let east = ServerClock {
            local: Ticks(5 * hour + 9),
            utc: Ticks(3 * hour),
        };
        let west = ServerClock {
            local: Ticks(hour),
            utc: Ticks(4 * hour + 1_799),
        };
        for (clock, now, offset) in [(east, east.utc, 120), (west, west.local, -180)] {
            assert_eq!(ColumnClock::Unknown.now(&clock), now);
            assert_eq!(clock.offset_minutes(), offset);
        }
        assert_eq!(ColumnClock::Local.now(&east), east.local);
    }
}
