//! The server's clocks, and which of them a column holds.

use cdc::{Ticks, Zone};
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
    /// The local time of a zone, of the server if `of_server`, else of those who set the column.
    Zoned {
        zone: Zone,
        of_server: bool,
    },
}

impl ColumnClock {
    /// Told by the type, the configuration, or the column's default.
    pub(crate) fn of(
        ty: SqlType,
        configured: Option<ClockKind>,
        zone: Option<Zone>,
        default: Option<&str>,
    ) -> Self {
        if matches!(ty, SqlType::DateTimeOffset { .. }) {
            return Self::Utc;
        }
        if let Some(zone) = zone {
            let of_server = configured == Some(ClockKind::Local);
            return Self::Zoned { zone, of_server };
        }
        match configured {
            Some(ClockKind::Local) => Self::Local,
            Some(ClockKind::Utc) => Self::Utc,
            None => default.map_or(Self::Unknown, Self::of_default),
        }
    }

    /// The clock by which columns of these clocks can be told together; unknown if one of them is, and `None` if they are not the same.
    pub(crate) fn shared(clocks: &[Self]) -> Option<Self> {
        let mut known = clocks.iter().filter(|clock| **clock != Self::Unknown);
        let first = known.next();
        if known.any(|clock| Some(clock) != first) {
            return None;
        }
        let all_known = !clocks.contains(&Self::Unknown);
        Some(first.copied().filter(|_| all_known).unwrap_or(Self::Unknown))
    }

    /// That a column's default sets another clock than the one that the configuration says.
    pub(crate) fn contradicted_by(self, column: &str, default: Option<&str>) -> Option<Finding> {
        let default = default.map(|default| (default, Self::of_default(default)));
        let (default, says) = match (self, default?) {
            (Self::Utc, (default, Self::Local)) => (default, "UTC"),
            (Self::Local | Self::Zoned { .. }, (default, Self::Utc)) => (default, "local time"),
            _ => return None,
        };
        Some(Finding {
            severity: Severity::Warning,
            message: format!("{column} is taken to hold {says}, and its default is {default}"),
            remedy: Some(
                "capture: { tracking: { column: …, clock: utc } }   # or local, as the default has it; or another default".into(),
            ),
        })
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
            Self::Zoned { zone, .. } => zone.local(clock.utc),
        }
    }

    /// Why the clock is not the one that the configuration says, if the server's shows so.
    pub(crate) fn contradicted(self, clock: &ServerClock) -> Option<String> {
        let Self::Zoned {
            zone,
            of_server: true,
        } = self
        else {
            return None;
        };
        let (server, named) = (clock.offset_minutes(), zone.offset(clock.utc).div_euclid(60));
        (server != named).then(|| {
            format!(
                "the server's local time is {server} min ahead of UTC, that of {zone} {named} min: it is not the server's zone, or one of \
                 the two does not know the zone's newest rules"
            )
        })
    }

    /// What an operator should know about it.
    pub(crate) fn finding(self, column: &str) -> Option<Finding> {
        let (severity, message, remedy) = match self {
            Self::Utc | Self::Zoned { .. } => return None,
            Self::Local => (
                Severity::Note,
                format!(
                    "{column} holds local time: the hour that is repeated in autumn is read again if a run saw the time before it"
                ),
                "capture: { tracking: { column: …, clock: local, zone: <the server's> } }   # or set the column by SYSUTCDATETIME()",
            ),
            Self::Unknown => (
                Severity::Warning,
                format!(
                    "nothing says whether {column} holds local time or UTC: the earlier of the server's two clocks is used, and \
                     changes may be seen later by the difference"
                ),
                "capture: { tracking: { column: …, clock: utc } }   # or local, or zone: <where applications set it>",
            ),
        };
        Some(Finding {
            severity,
            message,
            remedy: Some(remedy.to_owned()),
        })
    }

    /// When local time changes next.
    pub(crate) fn next_change(self, column: &str, clock: &ServerClock) -> Option<Finding> {
        let Self::Zoned { zone, .. } = self else {
            return None;
        };
        let now = format!(
            "{column} holds local time of {zone}, now {}",
            zone.local(clock.utc)
        );
        let message = match zone.next_change(clock.utc) {
            None => format!("{now}, whose clocks will not change in the next two years"),
            Some(change) => {
                let (from, to) = change.local();
                let then = if change.fall().is_zero() {
                    format!("spring from {from} to {to}, and no row has a time in between")
                } else {
                    format!("fall from {from} to {to}: what lies in between is read again until it is over")
                };
                format!("{now}; on {} UTC its clocks {then}", change.at)
            }
        };
        Some(Finding {
            severity: Severity::Note,
            message,
            remedy: None,
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
                ColumnClock::of(ty.parse().unwrap(), configured, None, default),
                expect,
                "{ty} {default:?}"
            );
        }
    }

    #[test]
    fn columns_are_told_by_the_clock_that_they_share() {
        use ColumnClock::{Local, Unknown, Utc};
        for (clocks, shared) in [
            (&[Utc][..], Some(Utc)),
            (&[Utc, Utc], Some(Utc)),
            (&[Local, Utc], None),
            (&[Local, Unknown, Utc], None),
            (&[Unknown, Local], Some(Unknown)),
            (&[Utc, Unknown], Some(Unknown)),
            (&[Unknown], Some(Unknown)),
        ] {
            assert_eq!(ColumnClock::shared(clocks), shared, "{clocks:?}");
        }
        for (clock, default, contradicted) in [
            (Utc, Some("(getdate())"), true),
            (Local, Some("(sysutcdatetime())"), true),
            (Local, Some("(sysdatetime())"), false),
            (Unknown, Some("(getdate())"), false),
            (Utc, None, false),
        ] {
            let found = clock.contradicted_by("c", default);
            assert_eq!(found.is_some(), contradicted, "{clock:?} {default:?}");
        }
    }

    #[test]
    fn a_zone_says_when_its_clocks_change_and_whether_the_server_is_in_it() {
        let zoned = |name: &str, of_server| ColumnClock::Zoned {
            zone: Zone::named(name).unwrap(),
            of_server,
        };
        let day = 864_000_000_000;
        // 2026-10-20, by a server two hours ahead of UTC.
        let utc = Ticks(739_908 * day);
        let clock = ServerClock {
            local: utc.after(std::time::Duration::from_secs(7_200)),
            utc,
        };
        for (name, says) in [
            (
                "Europe/Berlin",
                "c holds local time of Europe/Berlin, now 2026-10-20 02:00:00; on 2026-10-25 01:00:00 UTC its clocks fall from \
                 2026-10-25 03:00:00 to 2026-10-25 02:00:00: what lies in between is read again until it is over",
            ),
            (
                "Cen. Australia Standard Time",
                "c holds local time of Australia/Adelaide, now 2026-10-20 10:30:00; on 2027-04-03 16:30:00 UTC its clocks fall from \
                 2027-04-04 03:00:00 to 2027-04-04 02:00:00: what lies in between is read again until it is over",
            ),
            (
                "Asia/Tokyo",
                "c holds local time of Asia/Tokyo, now 2026-10-20 09:00:00, whose clocks will not change in the next two years",
            ),
        ] {
            assert_eq!(zoned(name, false).next_change("c", &clock).unwrap().message, says);
        }
        assert_eq!(ColumnClock::Local.next_change("c", &clock), None);
        for (zone, contradicted) in [
            (zoned("Europe/Berlin", true), false),
            (zoned("Europe/London", true), true),
            (zoned("Europe/London", false), false),
        ] {
            assert_eq!(zone.contradicted(&clock).is_some(), contradicted, "{zone:?}");
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
