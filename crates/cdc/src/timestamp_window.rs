//! The cut and the window of a column that holds the time of a row's last change.
//!
//! The order matters, and is the caller's: first the source's clock (`now0`) in a statement of its own, then who
//! may still be writing, and only then the rows. A transaction that began before `now0` and is still open has set no
//! time before its own beginning; one that began later has set none before `now0`; every other one is visible.

use std::time::Duration;

use crate::Ticks;

/// How carefully a column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutRules {
    /// How far before the watermark is read again: at least the largest step that the source's clock ever takes back.
    pub tolerance: Duration,
    /// How far the cut stays behind the oldest writer; at least a second and the column's grain are kept in any case.
    pub margin: Duration,
    /// How far the cut stays behind the clock if open transactions cannot be seen.
    pub lag: Duration,
    /// How far ahead of the clock a value may be before it is taken for one that time will not reach.
    pub future_after: Duration,
    /// The column's grain: the smallest difference between two of its values.
    pub grain: Duration,
}

impl CutRules {
    /// The margin that is kept.
    pub fn kept_margin(&self) -> Duration {
        self.margin.max(Duration::from_secs(1)).max(self.grain)
    }
}

/// How far before the watermark is read again where rows have come so `late`: twice as far, because a row that comes later than all others
/// before it must be found to be told, and no farther than `most`.
pub fn tolerance(least: Duration, most: Option<Duration>, late: Duration) -> Duration {
    let wide = late.saturating_mul(2);
    least.max(most.map_or(least, |most| wide.min(most)))
}

/// The writer that has been at it longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldestWriter {
    /// How long its transaction or statement has been open; [`Duration::MAX`] if nobody knows.
    pub age: Duration,
    /// Who it is, for people.
    pub who: String,
}

/// Who may still commit a value that was set earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writers {
    /// Everybody who writes could be seen.
    Known(Option<OldestWriter>),
    /// Open transactions cannot be seen.
    Unseen {
        /// Why, and what would help.
        why: String,
    },
}

/// Up to where a column is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampCut {
    /// Every value below this one is visible, or never will be set.
    pub hi: Ticks,
    /// Who holds the cut back by more than the margin.
    pub holding: Option<OldestWriter>,
    /// Why completeness is assumed rather than known.
    pub assumed: Option<String>,
}

/// The cut at `now0`, with `writers` looked at after it.
pub fn timestamp_cut(now0: Ticks, writers: &Writers, rules: &CutRules) -> TimestampCut {
    let margin = rules.kept_margin();
    match writers {
        Writers::Known(oldest) => {
            let age = oldest.as_ref().map_or(Duration::ZERO, |writer| writer.age);
            let holder = oldest.as_ref().filter(|writer| writer.age > margin);
            TimestampCut {
                hi: now0.before(age).before(margin),
                holding: holder.cloned(),
                assumed: None,
            }
        }
        Writers::Unseen { why } => TimestampCut {
            hi: now0.before(rules.lag.max(margin)),
            holding: None,
            assumed: Some(format!(
                "no transaction is assumed to stay open for more than {} s: {why}",
                rules.lag.max(margin).as_secs()
            )),
        },
    }
}

/// What an increment reads: `[lo, hi)`, rows without a value, and rows that lie beyond `future`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampWindow {
    /// The greatest value that is known to have been delivered.
    pub watermark: Ticks,
    /// The lowest value that is read.
    pub lo: Ticks,
    /// The lowest value that is not read yet.
    pub hi: Ticks,
    /// Values above it are read every time, because waiting for the clock would not help.
    pub future: Ticks,
}

/// What a row in the window is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowClass {
    /// It was not delivered before, unless its transaction was cut in two.
    New,
    /// It lies in the tolerance, and was probably delivered before.
    ReadAgain,
    /// It has no value, or one that time will not reach; it is read every time and moves nothing.
    Undated,
}

impl TimestampWindow {
    /// The window after `watermark` up to the cut `hi` that was taken at `now0`. A cut below the watermark, because a clock
    /// went back or somebody's transaction is older, does not take back what was known.
    pub fn new(watermark: Ticks, hi: Ticks, now0: Ticks, rules: &CutRules) -> Self {
        Self {
            watermark,
            lo: watermark.before(rules.tolerance),
            hi: hi.max(watermark),
            future: now0.after(rules.future_after).max(hi).max(watermark),
        }
    }

    /// What a row with this value is.
    pub fn class(&self, value: Option<Ticks>) -> RowClass {
        match value {
            None => RowClass::Undated,
            Some(value) if value > self.future => RowClass::Undated,
            Some(value) if value <= self.watermark => RowClass::ReadAgain,
            Some(_) => RowClass::New,
        }
    }

    /// The watermark after a window whose greatest new value below `hi` was `greatest`. A window without new rows is complete up
    /// to its end, so that a table at rest is not read again and again.
    pub fn advanced(&self, greatest: Option<Ticks>) -> Ticks {
        match greatest {
            Some(value) => value.min(self.hi).max(self.watermark),
            None => self.hi,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 10_000_000;

    fn at(seconds: i64) -> Ticks {
        Ticks(1_000_000 * SECOND + seconds * SECOND)
    }

    fn rules() -> CutRules {
        CutRules {
            tolerance: Duration::from_secs(10),
            margin: Duration::from_secs(1),
            lag: Duration::from_secs(300),
            future_after: Duration::from_secs(86_400),
            grain: Duration::from_millis(1),
        }
    }

    fn writer(age: u64) -> Writers {
        Writers::Known(Some(OldestWriter {
            age: Duration::from_secs(age),
            who: "session 53".into(),
        }))
    }

    fn unseen() -> Writers {
        Writers::Unseen {
            why: "no right".into(),
        }
    }

    #[test]
    fn the_cut_stays_behind_the_oldest_writer() {
        let coarse = CutRules {
            grain: Duration::from_secs(60),
            ..rules()
        };
        let hasty = CutRules {
            margin: Duration::ZERO,
            ..rules()
        };
        let short = CutRules {
            lag: Duration::from_millis(10),
            ..rules()
        };
        for (writers, rules, hi, holding, assumed) in [
            (Writers::Known(None), rules(), 99, false, false),
            (writer(0), rules(), 99, false, false),
            (writer(30), rules(), 69, true, false),
            (writer(30), coarse, 10, false, false),
            (Writers::Known(None), hasty, 99, false, false),
            (unseen(), rules(), -200, false, true),
            (unseen(), short, 99, false, true),
        ] {
            let cut = timestamp_cut(at(100), &writers, &rules);
            let got = (cut.hi, cut.holding.is_some(), cut.assumed.is_some());
            assert_eq!(got, (at(hi), holding, assumed), "{writers:?} {rules:?}");
        }
    }

    #[test]
    fn nothing_is_complete_beside_a_writer_of_unknown_age() {
        let unknown = Writers::Known(Some(OldestWriter {
            age: Duration::MAX,
            who: "session 53".into(),
        }));
        let cut = timestamp_cut(at(100), &unknown, &rules());
        assert_eq!((cut.hi, cut.holding.is_some()), (Ticks::MIN, true));
        let window = TimestampWindow::new(at(50), cut.hi, at(100), &rules());
        assert_eq!(window.hi, at(50));
    }

    #[test]
    fn the_tolerance_widens_to_twice_the_lateness_and_no_farther_than_it_may() {
        let seconds = Duration::from_secs;
        for (least, most, late, expect) in [
            (10, None, 100, 10),
            (10, Some(60), 0, 10),
            (10, Some(60), 4, 10),
            (10, Some(60), 9, 18),
            (10, Some(60), 100, 60),
            (10, Some(5), 100, 10),
        ] {
            let found = tolerance(seconds(least), most.map(seconds), seconds(late));
            assert_eq!(found, seconds(expect), "{least} {most:?} {late}");
        }
    }

    #[test]
    fn no_writer_can_commit_a_value_below_the_cut() {
        // A writer that began `began` and took its time then or later; now0 is 100, the views are looked at a second later.
        for began in [0, 40, 99, 100, 101] {
            let age = u64::try_from(101 - began).unwrap();
            let cut = timestamp_cut(at(100), &writer(age), &rules());
            assert!(cut.hi < at(began), "began {began}: cut {}", cut.hi);
        }
    }

    #[test]
    fn the_window_reads_again_but_never_goes_back() {
        for (watermark, hi, want_lo, want_hi) in [(50, 99, 40, 99), (50, 20, 40, 50), (99, 99, 89, 99)] {
            let window = TimestampWindow::new(at(watermark), at(hi), at(100), &rules());
            assert_eq!((window.lo, window.hi), (at(want_lo), at(want_hi)));
        }
    }

    #[test]
    fn rows_are_classed_by_watermark_and_future() {
        let window = TimestampWindow::new(at(50), at(99), at(100), &rules());
        for (value, class) in [
            (Some(at(40)), RowClass::ReadAgain),
            (Some(at(50)), RowClass::ReadAgain),
            (Some(Ticks(at(50).0 + 1)), RowClass::New),
            (Some(at(98)), RowClass::New),
            (None, RowClass::Undated),
            (Some(at(100 + 86_400)), RowClass::New),
            (Some(Ticks(at(100 + 86_400).0 + 1)), RowClass::Undated),
            (Some(Ticks::MAX), RowClass::Undated),
        ] {
            assert_eq!(window.class(value), class, "{value:?}");
        }
    }

    #[test]
    fn the_watermark_is_the_least_of_cut_and_greatest_value() {
        let window = TimestampWindow::new(at(50), at(99), at(100), &rules());
        for (greatest, watermark) in [(None, 99), (Some(70), 70), (Some(120), 99), (Some(45), 50)] {
            assert_eq!(window.advanced(greatest.map(at)), at(watermark), "{greatest:?}");
        }
    }
}
