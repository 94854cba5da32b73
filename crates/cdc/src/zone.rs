//! Local time of a named zone: what it shows, what it will show again, and when it changes.
//!
//! A column of local times has no order in which nothing goes back: when the clocks fall in autumn, an hour is shown twice. So what is
//! complete is known in UTC, and two local times follow from it: from where rows may still come, and up to where they may have come.
//! The rules are those of the IANA database that this program was built with.

mod windows;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::Ticks;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// No clocks ever fell by more.
const GREATEST_FALL: Duration = Duration::from_secs(25 * 3_600);

/// A time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(Tz);

/// A change of a zone's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneChange {
    /// When, in UTC.
    pub at: Ticks,
    /// How far local time is ahead of UTC before it, in seconds.
    pub before: i64,
    /// How far it is afterwards.
    pub after: i64,
}

impl ZoneChange {
    /// The local times at which it begins and ends: from the later to the earlier one if the clocks fall.
    pub fn local(&self) -> (Ticks, Ticks) {
        (shifted(self.at, self.before), shifted(self.at, self.after))
    }

    /// How far the clocks fall; zero if they spring forward.
    pub fn fall(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.before - self.after).unwrap_or(0))
    }
}

impl Zone {
    /// The zone of this name, IANA's (`Europe/Berlin`) or Windows' (`W. Europe Standard Time`), in any case.
    pub fn named(name: &str) -> Option<Self> {
        let of_windows = windows::WINDOWS
            .iter()
            .find(|(windows, _)| windows.eq_ignore_ascii_case(name));
        let name = of_windows.map_or(name, |(_, iana)| iana);
        let known = chrono_tz::TZ_VARIANTS.iter();
        let mut named = known.filter(|zone| zone.name().eq_ignore_ascii_case(name));
        named.next().copied().map(Self)
    }

    /// How far local time is ahead of UTC, in seconds.
    pub fn offset(self, utc: Ticks) -> i64 {
        let utc = DateTime::from_timestamp_micros(utc.unix_micros()).unwrap_or_default();
        let offset = self.0.offset_from_utc_datetime(&utc.naive_utc());
        i64::from(offset.fix().local_minus_utc())
    }

    /// What the zone's clocks show.
    pub fn local(self, utc: Ticks) -> Ticks {
        shifted(utc, self.offset(utc))
    }

    /// The least that the clocks show at `utc` or any time later: rows that are written from then on have no earlier time.
    pub fn earliest_from(self, utc: Ticks) -> Ticks {
        let falls = self.changes(utc, utc.after(GREATEST_FALL));
        falls
            .map(|change| change.local().1)
            .fold(self.local(utc), Ticks::min)
    }

    /// The moment that the clocks had not reached before `utc`: rows that were written until then have earlier times.
    pub fn latest_until(self, utc: Ticks) -> Ticks {
        let falls = self.changes(utc.before(GREATEST_FALL), utc);
        falls
            .map(|change| change.local().0)
            .fold(self.local(utc), Ticks::max)
    }

    /// The first change after `utc` within two years, if there is one.
    pub fn next_change(self, utc: Ticks) -> Option<ZoneChange> {
        self.changes(utc, utc.after(HOUR * 24 * 731)).next()
    }

    /// The changes in `(from, until]`.
    fn changes(self, from: Ticks, until: Ticks) -> impl Iterator<Item = ZoneChange> {
        let mut at = from;
        std::iter::from_fn(move || {
            while at < until {
                let next = at.after(HOUR).min(until);
                let (before, after) = (self.offset(at), self.offset(next));
                let began = std::mem::replace(&mut at, next);
                if before != after {
                    let at = self.first_with(after, began, next);
                    return Some(ZoneChange { at, before, after });
                }
            }
            None
        })
    }

    /// The first whole second in `(from, until]` at which local time is ahead by `offset`; it is at `until`.
    fn first_with(self, offset: i64, mut from: Ticks, mut until: Ticks) -> Ticks {
        while until.since(from) > SECOND {
            let middle = from.after(until.since(from) / 2);
            if self.offset(middle) == offset {
                until = middle;
            } else {
                from = middle;
            }
        }
        Ticks(until.0 - until.0.rem_euclid(10_000_000))
    }
}

/// The zone's IANA name.
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

fn shifted(utc: Ticks, seconds: i64) -> Ticks {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        utc.before(by)
    } else {
        utc.after(by)
    }
}

#[cfg(test)]
mod tests;
