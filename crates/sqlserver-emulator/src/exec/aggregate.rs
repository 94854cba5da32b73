//! Aggregate functions.

use std::collections::HashSet;

use super::plan::{AggregateKind, AggregatePlan};
use crate::error::{SqlError, SqlResult};
use crate::store::key;
use crate::types::SqlType;
use crate::value::{Decimal, Value};

/// The greatest magnitude of a decimal(38, s).
const MOST_UNSCALED: i128 = 10i128.pow(38) - 1;

/// What STRING_AGG needs beside the text.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Its place in the order of WITHIN GROUP.
    pub(crate) place: Vec<u8>,
    pub(crate) separator: Value,
}

/// One aggregate's state for one group.
#[derive(Clone, Debug)]
pub(crate) struct Accumulator {
    seen: HashSet<Vec<u8>>,
    count: i64,
    /// Exact sums, in units of the argument's scale.
    exact: i128,
    float: f64,
    squares: f64,
    extreme: Option<(Vec<u8>, Value)>,
    /// STRING_AGG's texts with their separators, by their places in its order.
    pieces: Vec<(Piece, Value)>,
    scale: u8,
}

impl Accumulator {
    pub(crate) fn new(plan: &AggregatePlan) -> Self {
        let scale = plan
            .argument
            .as_ref()
            .map_or(0, |argument| argument.info().ty.scale());
        Self {
            seen: HashSet::new(),
            count: 0,
            exact: 0,
            float: 0.0,
            squares: 0.0,
            extreme: None,
            pieces: Vec::new(),
            scale,
        }
    }

    /// Whether no value has counted yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a value; NULLs do not count.
    pub(crate) fn add(&mut self, plan: &AggregatePlan, value: Value, piece: Piece) -> SqlResult<()> {
        if value.is_null() {
            return Ok(());
        }
        let collation = plan
            .argument
            .as_ref()
            .and_then(|argument| argument.info().collation);
        let sort_key = |value: &Value| {
            let mut out = Vec::new();
            key::append(value, collation, false, &mut out);
            out
        };
        if plan.distinct && !self.seen.insert(sort_key(&value)) {
            return Ok(());
        }
        self.count += 1;
        match plan.kind {
            AggregateKind::Count | AggregateKind::CountBig => {}
            AggregateKind::Sum | AggregateKind::Avg => self.add_number(&value)?,
            AggregateKind::StdDev { .. } | AggregateKind::Variance { .. } => {
                let x = value.as_f64().unwrap_or_default();
                self.float += x;
                self.squares += x * x;
            }
            AggregateKind::Min | AggregateKind::Max => {
                let key = sort_key(&value);
                let better = match &self.extreme {
                    None => true,
                    Some((best, _)) if plan.kind == AggregateKind::Min => key < *best,
                    Some((best, _)) => key > *best,
                };
                if better {
                    self.extreme = Some((key, value));
                }
            }
            AggregateKind::StringAgg => self.pieces.push((piece, value)),
            AggregateKind::ChecksumAgg => self.exact ^= i128::from(value.as_integer().unwrap_or_default()),
        }
        Ok(())
    }

    fn add_number(&mut self, value: &Value) -> SqlResult<()> {
        let exact = match value {
            Value::Decimal(d) => Some(d.unscaled),
            Value::Money(n) => Some(i128::from(*n)),
            Value::SmallMoney(n) => Some(i128::from(*n)),
            other => other.as_integer().map(i128::from),
        };
        match exact {
            Some(n) => self.exact = self.exact.checked_add(n).ok_or_else(|| overflow("numeric"))?,
            None => self.float += value.as_f64().unwrap_or_default(),
        }
        Ok(())
    }

    /// The result.
    pub(crate) fn finish(self, plan: &AggregatePlan) -> SqlResult<Value> {
        match plan.kind {
            AggregateKind::Count => {
                return i32::try_from(self.count)
                    .map(Value::Int)
                    .map_err(|_| overflow("int"));
            }
            AggregateKind::CountBig => return Ok(Value::BigInt(self.count)),
            AggregateKind::ChecksumAgg if self.count > 0 => return Ok(Value::Int(self.exact as i32)),
            AggregateKind::Min | AggregateKind::Max => {
                return Ok(self.extreme.map_or(Value::Null, |(_, value)| value));
            }
            _ if self.count == 0 => return Ok(Value::Null),
            AggregateKind::StringAgg => return Ok(joined(self.pieces)),
            AggregateKind::StdDev { population } => {
                return Ok(self
                    .variance(population)
                    .map_or(Value::Null, |variance| Value::Float(variance.sqrt())));
            }
            AggregateKind::Variance { population } => {
                return Ok(self.variance(population).map_or(Value::Null, Value::Float));
            }
            _ => {}
        }
        let average = plan.kind == AggregateKind::Avg;
        let count = i128::from(self.count);
        let exact = if average { self.exact / count } else { self.exact };
        match plan.info.ty {
            SqlType::Int => i32::try_from(exact).map(Value::Int).map_err(|_| overflow("int")),
            SqlType::BigInt => i64::try_from(exact)
                .map(Value::BigInt)
                .map_err(|_| overflow("bigint")),
            SqlType::Money => i64::try_from(exact)
                .map(Value::Money)
                .map_err(|_| overflow("money")),
            SqlType::Decimal { precision, scale } => self.decimal(average, precision, scale),
            _ => Ok(Value::Float(if average {
                self.float / self.count as f64
            } else {
                self.float
            })),
        }
    }

    fn decimal(&self, average: bool, precision: u8, scale: u8) -> SqlResult<Value> {
        let factor = 10i128.pow(u32::from(scale.saturating_sub(self.scale)));
        let scaled = self
            .exact
            .checked_mul(factor)
            .ok_or_else(|| overflow("numeric"))?;
        let unscaled = if average {
            scaled / i128::from(self.count)
        } else {
            scaled
        };
        if unscaled.abs() > MOST_UNSCALED {
            return Err(overflow("numeric"));
        }
        Ok(Value::Decimal(Decimal {
            unscaled,
            precision,
            scale,
        }))
    }

    fn variance(&self, population: bool) -> Option<f64> {
        let n = self.count as f64;
        let divisor = if population { n } else { n - 1.0 };
        (divisor > 0.0).then(|| ((self.squares - self.float * self.float / n) / divisor).max(0.0))
    }
}

/// The pieces in order, each but the first after its separator.
fn joined(mut pieces: Vec<(Piece, Value)>) -> Value {
    pieces.sort_by(|(a, _), (b, _)| a.place.cmp(&b.place));
    let mut text = Vec::new();
    for (at, (piece, value)) in pieces.iter().enumerate() {
        if at > 0
            && let Value::Str(separator) = &piece.separator
        {
            text.extend(separator.iter());
        }
        if let Value::Str(value) = value {
            text.extend(value.iter());
        }
    }
    Value::Str(text.into())
}

fn overflow(ty: &str) -> SqlError {
    SqlError::new(
        8115,
        16,
        2,
        format!("Arithmetic overflow error converting expression to data type {ty}."),
    )
}
