//! Window functions: each appends one column to the rows.

use std::sync::Arc;

use super::aggregate::Accumulator;
use super::plan::{AggregatePlan, WindowFunction, WindowPlan};
use super::run::Run;
use crate::error::SqlResult;
use crate::eval::BoundExpr;
use crate::store::{Row, key};
use crate::value::Value;

/// A row's place: partition key, order key, position in the input.
type Place = (Vec<u8>, Vec<u8>, usize);

/// The rows with the windows' values appended.
pub(super) fn append(run: &mut Run<'_>, windows: &[WindowPlan], rows: Vec<Row>) -> SqlResult<Vec<Row>> {
    let mut added: Vec<Vec<Value>> = vec![Vec::with_capacity(windows.len()); rows.len()];
    for plan in windows {
        let mut places = Vec::with_capacity(rows.len());
        for (at, row) in rows.iter().enumerate() {
            run.set_row(row.clone());
            let partition = keys(run, plan.partition.iter().map(|e| (e, false)))?;
            let order = keys(run, plan.order.iter().map(|(e, descending)| (e, *descending)))?;
            places.push((partition, order, at));
        }
        places.sort();
        for partition in places.chunk_by(|a, b| a.0 == b.0) {
            let values = values(run, plan, &rows, partition)?;
            for ((_, _, at), value) in partition.iter().zip(values) {
                added[*at].push(value);
            }
        }
    }
    Ok(rows
        .into_iter()
        .zip(added)
        .map(|(row, added)| row.iter().cloned().chain(added).collect::<Arc<[_]>>())
        .collect())
}

fn keys<'e>(run: &mut Run<'_>, exprs: impl Iterator<Item = (&'e BoundExpr, bool)>) -> SqlResult<Vec<u8>> {
    let mut out = Vec::new();
    for (expr, descending) in exprs {
        let value = run.value(expr)?;
        key::append(&value, expr.info().collation, descending, &mut out);
    }
    Ok(out)
}

/// A window function's values over one partition, in its order.
fn values(run: &mut Run<'_>, plan: &WindowPlan, rows: &[Row], partition: &[Place]) -> SqlResult<Vec<Value>> {
    let row = |at: usize| &rows[partition[at].2];
    let count = partition.len();
    match &plan.function {
        WindowFunction::RowNumber => Ok((1..=count as i64).map(Value::BigInt).collect()),
        WindowFunction::Rank | WindowFunction::DenseRank => {
            let dense = matches!(plan.function, WindowFunction::DenseRank);
            let (mut rank, mut out) = (0, Vec::with_capacity(count));
            for at in 0..count {
                if at == 0 || partition[at].1 != partition[at - 1].1 {
                    rank = if dense { rank + 1 } else { at as i64 + 1 };
                }
                out.push(Value::BigInt(rank));
            }
            Ok(out)
        }
        WindowFunction::Ntile(buckets) => {
            let buckets = run.value_over(buckets, row(0))?.as_f64().unwrap_or(1.0).max(1.0) as usize;
            let (size, larger) = (count / buckets, count % buckets);
            let bucket = |at: usize| {
                let in_larger = larger * (size + 1);
                if at < in_larger {
                    at / (size + 1)
                } else {
                    larger + (at - in_larger) / size.max(1)
                }
            };
            Ok((0..count)
                .map(|at| Value::BigInt(bucket(at) as i64 + 1))
                .collect())
        }
        WindowFunction::Shift {
            value,
            offset,
            default,
            ahead,
        } => {
            let mut out = Vec::with_capacity(count);
            for at in 0..count {
                let by = match offset {
                    Some(offset) => run.value_over(offset, row(at))?.as_f64().unwrap_or(1.0) as i64,
                    None => 1,
                };
                let from = at as i64 + if *ahead { by } else { -by };
                let found = usize::try_from(from).ok().filter(|from| *from < count);
                out.push(match (found, default) {
                    (Some(from), _) => run.value_over(value, row(from))?,
                    (None, Some(default)) => run.value_over(default, row(at))?,
                    (None, None) => Value::Null,
                });
            }
            Ok(out)
        }
        WindowFunction::FirstValue(value) => {
            let first = run.value_over(value, row(0))?;
            Ok(vec![first; count])
        }
        WindowFunction::LastValue(value) => {
            let ends = peer_ends(partition, false);
            ends.into_iter()
                .map(|end| run.value_over(value, row(end)))
                .collect()
        }
        WindowFunction::Aggregate {
            plan, running: false, ..
        } => {
            let whole = aggregate(run, plan, rows, partition)?;
            Ok(vec![whole; count])
        }
        WindowFunction::Aggregate {
            plan,
            running: true,
            rows: by_rows,
        } => running(run, plan, rows, partition, *by_rows),
    }
}

fn aggregate(run: &mut Run<'_>, plan: &AggregatePlan, rows: &[Row], partition: &[Place]) -> SqlResult<Value> {
    let mut accumulator = Accumulator::new(plan);
    for (_, _, at) in partition {
        run.set_row(rows[*at].clone());
        run.accumulate(plan, &mut accumulator)?;
    }
    accumulator.finish(plan)
}

/// From the partition's start to each row (ROWS), or to its last peer (RANGE).
fn running(
    run: &mut Run<'_>,
    plan: &AggregatePlan,
    rows: &[Row],
    partition: &[Place],
    by_rows: bool,
) -> SqlResult<Vec<Value>> {
    let mut out: Vec<Value> = Vec::with_capacity(partition.len());
    let mut accumulator = Accumulator::new(plan);
    let mut added = 0;
    for end in peer_ends(partition, by_rows) {
        if end < added {
            let same = out.last().cloned().unwrap_or_default();
            out.push(same);
            continue;
        }
        for (_, _, at) in &partition[added..=end] {
            run.set_row(rows[*at].clone());
            run.accumulate(plan, &mut accumulator)?;
        }
        added = end + 1;
        out.push(accumulator.clone().finish(plan)?);
    }
    Ok(out)
}

/// For each row the last row of its frame.
fn peer_ends(partition: &[Place], by_rows: bool) -> Vec<usize> {
    if by_rows {
        return (0..partition.len()).collect();
    }
    let mut ends = Vec::with_capacity(partition.len());
    for peers in partition.chunk_by(|a, b| a.1 == b.1) {
        let end = ends.len() + peers.len() - 1;
        ends.extend(std::iter::repeat_n(end, peers.len()));
    }
    ends
}
