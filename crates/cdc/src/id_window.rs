//! The cut and the window of an ever-growing id in a table that rows are only added to.
//!
//! Ids are given out before they are committed, so a smaller one may appear after a greater one. An id at or below the
//! greatest that was seen at some moment can only still appear from a transaction that was open at that moment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{OldestWriter, Ticks, Writers};

/// Ids that were seen before every smaller one was known to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingIds {
    /// The greatest id of that moment.
    pub upto: i64,
    /// The source's clock before it was read.
    pub at: Ticks,
}

/// How far a table's ids have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdPosition {
    /// No id at or below this one can still appear; `None` if nothing is known.
    pub complete: Option<i64>,
    /// The greatest id that has been delivered; `None` if none has.
    pub seen: Option<i64>,
    /// The oldest ids beyond `complete` that wait for the transactions of their moment to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingIds>,
}

/// One look at a table's ids, in this order: the clock, the greatest id, the writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdLook {
    /// The source's clock.
    pub now: Ticks,
    /// The greatest id that is there; `None` if there is no row.
    pub greatest: Option<i64>,
    /// Who was writing afterwards.
    pub writers: Writers,
}

impl IdLook {
    /// The position up to which ids are delivered after `after`, and who holds its completeness back. `tolerance` is the
    /// largest step that the source's clock takes back. If writers cannot be seen, everything is taken for complete; the
    /// caller reads an overlap again and says so.
    pub fn position(
        &self,
        after: Option<&IdPosition>,
        tolerance: Duration,
    ) -> (IdPosition, Option<OldestWriter>) {
        let before = after.copied().unwrap_or(IdPosition {
            complete: None,
            seen: None,
            pending: None,
        });
        let seen = self.greatest.max(before.seen);
        let settled = |complete| IdPosition {
            complete,
            seen,
            pending: None,
        };
        let Writers::Known(Some(oldest)) = &self.writers else {
            return (settled(seen), None);
        };
        // The clock may have stepped back twice: since the remembered moment, and between this look's clock and its writers.
        let began = self.now.before(oldest.age).before(tolerance * 2);
        let ended = before.pending.filter(|pending| began > pending.at);
        let complete = ended.map(|pending| pending.upto).max(before.complete);
        let waiting = before.pending.filter(|_| ended.is_none());
        let newest = self.greatest.map(|upto| PendingIds { upto, at: self.now });
        let position = IdPosition {
            complete,
            seen,
            pending: waiting.or(newest),
        };
        let holder = (complete < seen).then(|| oldest.clone());
        (position, holder)
    }
}

/// The ids that an increment reads: above `above`, up to and including `upto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdWindow {
    /// Exclusive; `None` from the first.
    pub above: Option<i64>,
    /// Inclusive; `None` if there is nothing to read.
    pub upto: Option<i64>,
    delivered: Option<i64>,
}

impl IdWindow {
    /// The window from one position to the next; the last `overlap` ids below what is complete are read again.
    pub fn new(after: &IdPosition, upto: &IdPosition, overlap: u32) -> Self {
        Self {
            above: after.complete.map(|id| id.saturating_sub(i64::from(overlap))),
            upto: upto.seen,
            delivered: after.seen,
        }
    }

    /// Whether a row with this id was probably delivered before.
    pub fn was_delivered(&self, id: i64) -> bool {
        self.delivered.is_some_and(|delivered| id <= delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 10_000_000;

    fn at(seconds: i64) -> Ticks {
        Ticks(1_000_000 * SECOND + seconds * SECOND)
    }

    fn look(now: i64, greatest: Option<i64>, age: Option<u64>) -> IdLook {
        let oldest = age.map(|age| OldestWriter {
            age: Duration::from_secs(age),
            who: "session 53".into(),
        });
        IdLook {
            now: at(now),
            greatest,
            writers: Writers::Known(oldest),
        }
    }

    fn position(complete: Option<i64>, seen: Option<i64>, pending: Option<(i64, i64)>) -> IdPosition {
        let pending = pending.map(|(upto, moment)| PendingIds { upto, at: at(moment) });
        IdPosition {
            complete,
            seen,
            pending,
        }
    }

    #[test]
    fn an_id_is_complete_once_the_writers_of_its_moment_are_gone() {
        for (after, look, want) in [
            // Nobody writes: what is there is complete.
            (None, look(100, Some(7), None), position(Some(7), Some(7), None)),
            (None, look(100, None, None), position(None, None, None)),
            // Somebody writes: nothing is known yet, and the moment is remembered.
            (
                None,
                look(100, Some(7), Some(5)),
                position(None, Some(7), Some((7, 100))),
            ),
            // The same writer is still there: the oldest moment stays, the greatest id grows.
            (
                Some(position(None, Some(7), Some((7, 100)))),
                look(130, Some(9), Some(35)),
                position(None, Some(9), Some((7, 100))),
            ),
            // Only younger writers are there: the remembered moment is over, and the present one is remembered.
            (
                Some(position(None, Some(7), Some((7, 100)))),
                look(130, Some(9), Some(5)),
                position(Some(7), Some(9), Some((9, 130))),
            ),
            // A writer as old as the moment, give or take two steps of the clock, still counts.
            (
                Some(position(None, Some(7), Some((7, 100)))),
                look(130, Some(9), Some(15)),
                position(None, Some(9), Some((7, 100))),
            ),
            // The greatest rows were deleted: what was known stays known.
            (
                Some(position(Some(7), Some(7), None)),
                look(130, Some(3), None),
                position(Some(7), Some(7), None),
            ),
        ] {
            let (got, _) = look.position(after.as_ref(), Duration::from_secs(10));
            assert_eq!(got, want, "{after:?} {look:?}");
        }
    }

    #[test]
    fn without_sight_of_writers_everything_counts_as_complete() {
        let unseen = IdLook {
            writers: Writers::Unseen {
                why: "no right".into(),
            },
            ..look(100, Some(7), None)
        };
        let got = unseen.position(None, Duration::ZERO);
        assert_eq!(got, (position(Some(7), Some(7), None), None));
    }

    #[test]
    fn the_window_reads_again_what_is_not_complete() {
        let after = position(Some(7), Some(9), Some((9, 100)));
        let upto = position(Some(9), Some(12), None);
        for (overlap, above) in [(0, 7), (5, 2)] {
            let window = IdWindow::new(&after, &upto, overlap);
            assert_eq!((window.above, window.upto), (Some(above), Some(12)));
            assert!(window.was_delivered(9) && !window.was_delivered(10));
        }
        let first = IdWindow::new(&position(None, None, None), &upto, 5);
        assert!(first.above.is_none() && !first.was_delivered(1));
    }
}
