//! Against the transitions that the authorities announced, as the IANA database's commentary cites them.

use super::*;

/// `2026-10-25 01:00` as a moment.
fn at(text: &str) -> Ticks {
    let parsed = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
    Ticks::from_unix_micros(parsed.and_utc().timestamp_micros())
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// Zone, when its clocks change (UTC), and what they show before and after.
const CHANGES: &[(&str, &str, &str, &str)] = &[
    // Summer time of the European Union: the last Sundays of March and October, at 01:00 UTC.
    (
        "Europe/Berlin",
        "2026-03-29 01:00",
        "2026-03-29 02:00",
        "2026-03-29 03:00",
    ),
    (
        "Europe/Berlin",
        "2026-10-25 01:00",
        "2026-10-25 03:00",
        "2026-10-25 02:00",
    ),
    (
        "W. Europe Standard Time",
        "2026-10-25 01:00",
        "2026-10-25 03:00",
        "2026-10-25 02:00",
    ),
    // The United States: the second Sunday of March, the first of November, at 02:00 local time; from 2007 on.
    (
        "America/New_York",
        "2026-11-01 06:00",
        "2026-11-01 02:00",
        "2026-11-01 01:00",
    ),
    (
        "America/New_York",
        "2006-10-29 06:00",
        "2006-10-29 02:00",
        "2006-10-29 01:00",
    ),
    (
        "Eastern Standard Time",
        "2027-03-14 07:00",
        "2027-03-14 02:00",
        "2027-03-14 03:00",
    ),
    // The southern hemisphere: the clocks fall in April.
    (
        "Australia/Sydney",
        "2026-04-04 16:00",
        "2026-04-05 03:00",
        "2026-04-05 02:00",
    ),
    (
        "AUS Eastern Standard Time",
        "2026-10-03 16:00",
        "2026-10-04 02:00",
        "2026-10-04 03:00",
    ),
    // Lord Howe Island: half an hour.
    (
        "Australia/Lord_Howe",
        "2026-04-04 15:00",
        "2026-04-05 02:00",
        "2026-04-05 01:30",
    ),
    (
        "Lord Howe Standard Time",
        "2026-10-03 15:30",
        "2026-10-04 02:00",
        "2026-10-04 02:30",
    ),
    // Rules that changed: Russia went to winter time for good, Brazil gave summer time up, North Korea and Samoa moved.
    (
        "Europe/Moscow",
        "2014-10-25 22:00",
        "2014-10-26 02:00",
        "2014-10-26 01:00",
    ),
    (
        "America/Sao_Paulo",
        "2019-02-17 02:00",
        "2019-02-17 00:00",
        "2019-02-16 23:00",
    ),
    (
        "Asia/Pyongyang",
        "2015-08-14 15:00",
        "2015-08-15 00:00",
        "2015-08-14 23:30",
    ),
    (
        "Pacific/Apia",
        "2011-12-30 10:00",
        "2011-12-30 00:00",
        "2011-12-31 00:00",
    ),
];

#[test]
fn clocks_change_when_the_authorities_say() {
    for (name, utc, before, after) in CHANGES {
        let zone = Zone::named(name).unwrap();
        let change = zone.next_change(at(utc).before(minutes(600))).unwrap();
        assert_eq!(
            (change.at, change.local()),
            (at(utc), (at(before), at(after))),
            "{name}"
        );
        assert_eq!(change.fall(), at(before).since(at(after)), "{name}");
        assert_eq!(zone.local(at(utc)), at(after));
        let next = zone.next_change(at(utc));
        assert!(next.is_none_or(|next| next.at > at(utc)), "{name}: {next:?}");
    }
}

#[test]
fn a_zone_that_gave_summer_time_up_has_no_next_change() {
    for (name, now) in [
        ("America/Sao_Paulo", "2026-01-01 00:00"),
        ("Tokyo Standard Time", "2026-01-01 00:00"),
        ("UTC", "2026-01-01 00:00"),
        ("Etc/GMT+5", "2026-01-01 00:00"),
    ] {
        assert_eq!(Zone::named(name).unwrap().next_change(at(now)), None, "{name}");
    }
}

#[test]
fn names_of_both_kinds_are_known_in_any_case() {
    for (windows, iana) in windows::WINDOWS {
        let zone = Zone::named(windows);
        assert!(zone.is_some(), "{windows}: {iana}");
        assert_eq!(zone, Zone::named(&iana.to_lowercase()), "{windows}");
    }
    assert_eq!(
        Zone::named("w. europe standard time").unwrap().to_string(),
        "Europe/Berlin"
    );
    for unknown in ["", "Europe", "Berlin", "CEST+2", "local"] {
        assert_eq!(Zone::named(unknown), None, "{unknown}");
    }
}

#[test]
fn an_hour_that_is_repeated_is_open_until_it_is_over() {
    let berlin = Zone::named("Europe/Berlin").unwrap();
    for (utc, earliest, latest) in [
        ("2026-10-24 22:00", "2026-10-25 00:00", "2026-10-25 00:00"),
        // The first pass: what was shown since 02:00 comes again.
        ("2026-10-25 00:00", "2026-10-25 02:00", "2026-10-25 02:00"),
        ("2026-10-25 00:59", "2026-10-25 02:00", "2026-10-25 02:59"),
        // The second.
        ("2026-10-25 01:00", "2026-10-25 02:00", "2026-10-25 03:00"),
        ("2026-10-25 01:40", "2026-10-25 02:40", "2026-10-25 03:00"),
        ("2026-10-25 02:00", "2026-10-25 03:00", "2026-10-25 03:00"),
        ("2026-10-25 05:00", "2026-10-25 06:00", "2026-10-25 06:00"),
        // Spring repeats nothing.
        ("2026-03-29 00:59", "2026-03-29 01:59", "2026-03-29 01:59"),
        ("2026-03-29 01:00", "2026-03-29 03:00", "2026-03-29 03:00"),
    ] {
        let (from, until) = (berlin.earliest_from(at(utc)), berlin.latest_until(at(utc)));
        assert_eq!((from, until), (at(earliest), at(latest)), "{utc}");
    }
}

/// Rows are written every few minutes around each change and carry the zone's local time, and cuts are taken at many paces: each row
/// is in the window of the cut that follows it.
#[test]
fn every_row_around_a_change_is_in_the_window_of_the_cut_that_follows() {
    for (name, change, ..) in CHANGES {
        let zone = Zone::named(name).unwrap();
        let begin = at(change).before(minutes(200));
        let later = |by: u64| begin.after(minutes(by));
        for pace in [1, 7, 29, 30, 31, 45, 60, 90, 190] {
            for begun in 0..pace.min(20) {
                let cuts: Vec<_> = (0..)
                    .map(|n| begun + n * pace)
                    .take_while(|cut| *cut < 400)
                    .collect();
                for between in cuts.windows(2) {
                    let (from, until) = (
                        zone.earliest_from(later(between[0])),
                        zone.latest_until(later(between[1])),
                    );
                    for row in between[0]..between[1] {
                        let shown = zone.local(later(row));
                        assert!(
                            from <= shown && shown < until,
                            "{name} {between:?} {row}: {shown} {from} {until}"
                        );
                    }
                }
            }
        }
    }
}
