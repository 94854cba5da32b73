//! The window of an increment in T-SQL and over its rows.

use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray};
use cdc::{CutRules, IdPosition, IdWindow, RowClass, Ticks, TimestampWindow};
use model::{Error, ErrorKind, ExpectedTimes, Position, Result};
use sqlserver_client::{Param, SqlType, Value};

use crate::column_time::{grain, moments, value};
use crate::options::{Late, Undated, WindowOptions};
use crate::plan::TablePlan;
use crate::position::{IdColumnPosition, Kind, RowVersionPosition, TimestampPosition};
use crate::row_version;
use crate::tracker::{Tracker, TrackingColumn};

/// What an increment reads, and how far its rows have got.
pub(crate) struct Window {
    column: TrackingColumn,
    incarnation: String,
    reach: Reach,
}

enum Reach {
    Timestamp {
        window: TimestampWindow,
        /// From where on rows are expected.
        expected: Ticks,
        policy: WindowOptions,
        upto: TimestampPosition,
        greatest: Option<Ticks>,
    },
    Id {
        window: IdWindow,
        upto: IdColumnPosition,
        greatest: Option<i64>,
    },
    RowVersion {
        from: u64,
        upto: RowVersionPosition,
        greatest: Option<u64>,
    },
}

impl Window {
    /// The window between two positions of this table.
    pub(crate) fn new(plan: &TablePlan, after: &Position, upto: &Position) -> Result<Self> {
        let options = &plan.options.window;
        let (column, reach) = match &plan.tracked.tracker {
            Tracker::Full
            | Tracker::ChangeTracking
            | Tracker::Cdc
            | Tracker::Trigger
            | Tracker::Polling { .. } => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the table's changes are told by no column",
                )
                .with("table", &plan.table.name));
            }
            Tracker::Timestamp { column, .. } => {
                let late = late(after, upto);
                let (after, upto) = (TimestampPosition::read(after)?, TimestampPosition::read(upto)?);
                let rules = options.rules(grain(column.ty).unwrap_or_default(), late);
                let window = timestamp_window(&after, &upto, &rules);
                (
                    column,
                    Reach::Timestamp {
                        window,
                        expected: expected_from(&after, &upto),
                        policy: options.clone(),
                        upto,
                        greatest: None,
                    },
                )
            }
            Tracker::Id(column) => {
                let (after, upto) = (IdColumnPosition::read(after)?, IdColumnPosition::read(upto)?);
                let overlap = if after.assumed { options.overlap_ids } else { 0 };
                let window = IdWindow::new(&after.ids, &upto.ids, overlap);
                (
                    column,
                    Reach::Id {
                        window,
                        upto,
                        greatest: None,
                    },
                )
            }
            Tracker::RowVersion(column) => {
                let (after, upto) = (RowVersionPosition::read(after)?, RowVersionPosition::read(upto)?);
                (
                    column,
                    Reach::RowVersion {
                        from: after.next,
                        upto,
                        greatest: None,
                    },
                )
            }
        };
        let incarnation = plan.incarnation().to_string();
        Ok(Self {
            column: column.clone(),
            incarnation,
            reach,
        })
    }

    /// Holds what would be dead letters for once.
    pub(crate) fn without_dead_letters(mut self) -> Self {
        if let Reach::Timestamp { policy, .. } = &mut self.reach {
            for undated in [&mut policy.nulls, &mut policy.future] {
                if *undated == Undated::DeadLetter {
                    *undated = Undated::Hold;
                }
            }
        }
        self
    }

    /// The names of the tracking column and of further ones.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.column.names()
    }

    /// The tracking column, quoted.
    pub(crate) fn quoted_column(&self) -> String {
        self.column.quoted()
    }

    /// Whether rows are asked for in the column's order, which an index gives for nothing.
    pub(crate) fn is_ordered(&self) -> bool {
        self.column.leads_index && self.column.also.is_empty()
    }

    /// The condition on rows, with its parameters.
    pub(crate) fn conditions(&self) -> Result<(String, Vec<Param>)> {
        let column = self.column.quoted();
        let (mut any, mut params) = (Vec::new(), Vec::new());
        match &self.reach {
            Reach::Timestamp { window, policy, .. } => {
                let within = |column: &str| format!("({column} >= @lo AND {column} < @hi)");
                let mut within = self.column.any_time(within);
                params.push(self.moment("lo", window.lo)?);
                params.push(self.moment("hi", window.hi)?);
                if !is_read(policy.future) && !self.column.also.is_empty() {
                    within = format!("({within} AND {})", self.column.none_ahead());
                    params.push(self.moment("future", window.future)?);
                }
                any.push(within);
                if is_read(policy.nulls) {
                    any.push(self.column.no_time());
                }
                if is_read(policy.future) {
                    any.push(self.column.any_time(|column| format!("{column} > @future")));
                    params.push(self.moment("future", window.future)?);
                }
            }
            Reach::Id { window, .. } => {
                let Some(upto) = window.upto else {
                    return Ok(("1 = 0".to_owned(), params));
                };
                let mut range = format!("{column} <= @upto");
                params.push(self.number("upto", upto));
                if let Some(above) = window.above {
                    range = format!("{column} > @above AND {range}");
                    params.push(self.number("above", above));
                }
                any.push(range);
            }
            Reach::RowVersion { from, upto, .. } => {
                any.push(format!("({column} >= @from AND {column} < @next)"));
                params.push(row_version::param("from", *from));
                params.push(row_version::param("next", upto.next));
            }
        }
        Ok((format!("({})", any.join(" OR ")), params))
    }

    /// The condition on rows that the cut at the window's end leaves for later, with its parameters. Values that time will not
    /// reach are among them only if increments do not apply their rows: else they do so every time.
    pub(crate) fn beyond(&self) -> Result<(String, Vec<Param>)> {
        let column = self.column.quoted();
        Ok(match &self.reach {
            Reach::Timestamp {
                window, policy, upto, ..
            } => {
                // Of an hour that local time repeats, more may come.
                let open = upto.repeated_from.map_or(window.hi, |from| from.min(window.hi));
                let open_ahead = |column: &str| format!("({column} >= @hi AND {column} <= @future)");
                let mut any = vec![self.column.any_time(open_ahead)];
                if matches!(policy.nulls, Undated::Hold | Undated::DeadLetter) {
                    any.push(self.column.no_time());
                }
                if matches!(policy.future, Undated::Hold | Undated::DeadLetter) {
                    any.push(self.column.any_time(|column| format!("{column} > @future")));
                }
                let params = vec![self.moment("hi", open)?, self.moment("future", window.future)?];
                (format!("({})", any.join(" OR ")), params)
            }
            Reach::Id { window, .. } => match window.upto {
                Some(upto) => (format!("{column} > @upto"), vec![self.number("upto", upto)]),
                None => (format!("{column} IS NOT NULL"), Vec::new()),
            },
            Reach::RowVersion { upto, .. } => (
                format!("{column} >= @next"),
                vec![row_version::param("next", upto.next)],
            ),
        })
    }

    fn moment(&self, name: &str, moment: Ticks) -> Result<Param> {
        Ok(Param::typed(name, value(self.column.ty, moment)?, self.column.ty))
    }

    /// Bound as bigint: an index on a smaller integer is still sought, and a bound below its range does not overflow.
    fn number(&self, name: &str, number: i64) -> Param {
        Param::typed(name, Value::BigInt(number), SqlType::BigInt)
    }

    /// The conditions on rows that are left out because of their time, with their parameters, and whether such rows are refused.
    pub(crate) fn left_out(&self) -> Result<Vec<(String, Vec<Param>, bool)>> {
        let mut left_out = Vec::new();
        if let Reach::Timestamp { window, policy, .. } = &self.reach {
            if !is_read(policy.nulls) {
                let refused = policy.nulls == Undated::Fail;
                left_out.push((self.column.no_time(), Vec::new(), refused));
            }
            if !is_read(policy.future) {
                let future = self.moment("future", window.future)?;
                let refused = policy.future == Undated::Fail;
                let ahead = self.column.any_time(|column| format!("{column} > @future"));
                left_out.push((ahead, vec![future], refused));
            }
        }
        Ok(left_out)
    }

    /// The conditions on rows that are not left out because of their time, with their parameters.
    pub(crate) fn not_left_out(&self) -> Result<(Vec<String>, Vec<Param>)> {
        let (mut conditions, mut params) = (Vec::new(), Vec::new());
        if let Reach::Timestamp { window, policy, .. } = &self.reach {
            if !is_read(policy.nulls) {
                conditions.push(format!("NOT ({})", self.column.no_time()));
            }
            if !is_read(policy.future) {
                conditions.push(self.column.none_ahead());
                params.push(self.moment("future", window.future)?);
            }
        }
        Ok((conditions, params))
    }

    /// Which times are expected, where rows hold one.
    pub(crate) fn expected(&self) -> Option<ExpectedTimes> {
        match &self.reach {
            Reach::Timestamp {
                window,
                expected,
                policy,
                ..
            } => Some(ExpectedTimes {
                columns: self.columns().map(str::to_owned).collect(),
                from: expected.unix_micros(),
                upto: window.future.unix_micros(),
                late_refused: policy.late == Late::Fail,
                dead_letters: policy.dead_letters(),
            }),
            _ => None,
        }
    }

    /// Takes note of rows by their tracking column, and further ones, and says which of them are new.
    pub(crate) fn take(&mut self, tracking: &ArrayRef, also: &[&ArrayRef]) -> Result<BooleanArray> {
        match &mut self.reach {
            Reach::Timestamp { window, greatest, .. } => {
                let mut latest: Vec<_> = moments(tracking)?.collect();
                for column in also {
                    for (latest, moment) in latest.iter_mut().zip(moments(column)?) {
                        *latest = moment.max(*latest);
                    }
                }
                let new = latest.into_iter().map(|moment| {
                    let new = window.class(moment) == RowClass::New;
                    *greatest = moment.filter(|_| new).max(*greatest);
                    Some(new)
                });
                Ok(new.collect())
            }
            Reach::Id { window, greatest, .. } => {
                let new = numbers(tracking)?.map(|id| {
                    *greatest = id.max(*greatest);
                    Some(id.is_some_and(|id| !window.was_delivered(id)))
                });
                Ok(new.collect())
            }
            Reach::RowVersion { greatest, .. } => {
                *greatest = row_version::greatest(tracking)?.max(*greatest);
                Ok(BooleanArray::from(vec![true; tracking.len()]))
            }
        }
    }

    /// The position behind the rows so far; `None` where rows come in no order, or none has moved it.
    pub(crate) fn part(&self) -> Result<Option<Position>> {
        if !self.is_ordered() {
            return Ok(None);
        }
        match &self.reach {
            Reach::Timestamp {
                window,
                upto,
                greatest: Some(greatest),
                ..
            } => {
                let watermark = window.advanced(Some(*greatest));
                let part = TimestampPosition {
                    watermark,
                    ..upto.clone()
                };
                part.position(&self.incarnation).map(Some)
            }
            Reach::Id {
                window,
                upto,
                greatest: Some(greatest),
            } if !window.was_delivered(*greatest) => {
                let ids = IdPosition {
                    complete: upto.ids.complete.map(|complete| complete.min(*greatest)),
                    seen: Some(*greatest),
                    pending: None,
                };
                let part = IdColumnPosition { ids, ..upto.clone() };
                part.position(&self.incarnation).map(Some)
            }
            // Rows that SELECT INTO copied share a version, so the greatest one is read again.
            Reach::RowVersion {
                upto,
                greatest: Some(greatest),
                ..
            } => {
                let part = RowVersionPosition {
                    next: *greatest,
                    ..upto.clone()
                };
                part.position(&self.incarnation).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The position behind all rows.
    pub(crate) fn end(&self) -> Result<Position> {
        match &self.reach {
            Reach::Timestamp {
                window,
                upto,
                greatest,
                ..
            } => {
                let watermark = window.advanced(*greatest);
                TimestampPosition {
                    watermark,
                    ..upto.clone()
                }
                .position(&self.incarnation)
            }
            Reach::Id { upto, .. } => upto.position(&self.incarnation),
            Reach::RowVersion { upto, .. } => upto.position(&self.incarnation),
        }
    }
}

/// Whether increments read rows for which this is declared.
fn is_read(undated: Undated) -> bool {
    matches!(undated, Undated::Accept | Undated::DeadLetter)
}

/// How late rows have come on the way to either position.
pub(crate) fn late(after: &Position, upto: &Position) -> Duration {
    Duration::from_micros(after.late_micros.max(upto.late_micros))
}

/// What is read between two positions.
pub(crate) fn timestamp_window(
    after: &TimestampPosition,
    upto: &TimestampPosition,
    rules: &CutRules,
) -> TimestampWindow {
    let window = TimestampWindow::new(after.watermark, upto.watermark, upto.now, rules);
    let lo = expected_from(after, upto).before(rules.tolerance);
    TimestampWindow { lo, ..window }
}

/// The watermark, or where local time began to repeat itself before it.
fn expected_from(after: &TimestampPosition, upto: &TimestampPosition) -> Ticks {
    let repeated = [after.repeated_from, upto.repeated_from].into_iter().flatten();
    repeated.fold(after.watermark, Ticks::min)
}

fn numbers(column: &ArrayRef) -> Result<Box<dyn Iterator<Item = Option<i64>> + '_>> {
    if let Some(column) = column.as_primitive_opt::<Int64Type>() {
        return Ok(Box::new(column.iter()));
    }
    let column = column
        .as_primitive_opt::<Int32Type>()
        .ok_or_else(|| Error::internal(format!("the tracking column arrived as {}", column.data_type())))?;
    Ok(Box::new(column.iter().map(|id| id.map(i64::from))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::WindowOptions;

    #[test]
    fn the_hour_that_local_time_repeats_is_in_the_window() {
        let second = 10_000_000;
        let at = |seconds: i64| Ticks((1_000_000 + seconds) * second);
        let position = |watermark, repeated_from: Option<i64>| TimestampPosition {
            column: "c".into(),
            declared: "datetime2(7)".into(),
            watermark: at(watermark),
            now: at(watermark),
            offset_minutes: 0,
            repeated_from: repeated_from.map(at),
            local: None,
        };
        let rules = WindowOptions::default().rules(Duration::ZERO, Duration::ZERO);
        for (after, upto, lo) in [
            (position(5_000, None), position(6_000, None), 4_990),
            (position(5_000, None), position(5_000, Some(1_400)), 1_390),
            (position(5_000, Some(1_400)), position(6_000, None), 1_390),
        ] {
            let window = timestamp_window(&after, &upto, &rules);
            assert_eq!((window.lo, window.hi), (at(lo), upto.watermark));
            assert_eq!(window.class(Some(at(4_000))), RowClass::ReadAgain);
        }
    }
}
