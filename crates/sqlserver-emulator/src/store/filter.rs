//! The WHERE of a filtered index. SQL Server allows only comparisons of columns with constants there, joined by AND.

use super::key;
use super::schema::Table;
use crate::ast::{CompareOp, Expr, Literal};
use crate::error::{SqlError, SqlResult};
use crate::eval::convert_value;
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::{Decimal, Value};

/// A compiled condition on one row.
#[derive(Clone, Debug)]
pub(crate) enum IndexFilter {
    All(Vec<IndexFilter>),
    /// Against a constant's key; a NULL satisfies no comparison.
    Compare {
        column: usize,
        op: CompareOp,
        key: Vec<u8>,
    },
    In {
        column: usize,
        keys: Vec<Vec<u8>>,
    },
    Null {
        column: usize,
        wanted: bool,
    },
}

impl IndexFilter {
    /// Compiles a condition. Error 10735 for what a filtered index does not allow.
    pub(crate) fn compile(table: &Table, expr: &Expr) -> SqlResult<Self> {
        match expr {
            Expr::And(left, right) => Ok(Self::All(vec![
                Self::compile(table, left)?,
                Self::compile(table, right)?,
            ])),
            Expr::Compare { op, left, right } => {
                let column = column(table, left)?;
                Ok(Self::Compare {
                    column,
                    op: *op,
                    key: constant(table, column, right)?,
                })
            }
            Expr::IsNull { operand, negated } => Ok(Self::Null {
                column: column(table, operand)?,
                wanted: !negated,
            }),
            Expr::InList {
                operand,
                list,
                negated: false,
            } => {
                let column = column(table, operand)?;
                let keys = list.iter().map(|item| constant(table, column, item));
                Ok(Self::In {
                    column,
                    keys: keys.collect::<SqlResult<_>>()?,
                })
            }
            _ => Err(refused(table)),
        }
    }

    /// Whether a row belongs to the index.
    pub(super) fn admits(&self, table: &Table, row: &[Value]) -> bool {
        let key_of = |column: usize| {
            let value = row.get(column).filter(|value| !value.is_null())?;
            let mut out = Vec::new();
            key::append(value, table.columns[column].info.collation, false, &mut out);
            Some(out)
        };
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.admits(table, row)),
            Self::Null { column, wanted } => row.get(*column).is_none_or(Value::is_null) == *wanted,
            Self::In { column, keys } => key_of(*column).is_some_and(|key| keys.contains(&key)),
            Self::Compare { column, op, key } => key_of(*column).is_some_and(|own| match op {
                CompareOp::Equal => own == *key,
                CompareOp::NotEqual => own != *key,
                CompareOp::Less => own < *key,
                CompareOp::LessOrEqual => own <= *key,
                CompareOp::Greater => own > *key,
                CompareOp::GreaterOrEqual => own >= *key,
            }),
        }
    }
}

fn refused(table: &Table) -> SqlError {
    SqlError::new(
        10_735,
        15,
        4,
        format!(
            "Incorrect WHERE clause for filtered index on table '{}'.",
            table.name
        ),
    )
}

fn column(table: &Table, expr: &Expr) -> SqlResult<usize> {
    match expr {
        Expr::Column(name) => table
            .column(&name.name)
            .ok_or_else(|| SqlError::user(207, format!("Invalid column name '{}'.", name.name))),
        _ => Err(refused(table)),
    }
}

/// The key of a constant as a value of the column.
fn constant(table: &Table, column: usize, expr: &Expr) -> SqlResult<Vec<u8>> {
    let info = table.columns[column].info;
    let (value, ty) = literal(expr).ok_or_else(|| refused(table))?;
    let value = convert_value(value, TypeInfo::new(ty), info)?;
    let mut out = Vec::new();
    key::append(&value, info.collation, false, &mut out);
    Ok(out)
}

fn literal(expr: &Expr) -> Option<(Value, SqlType)> {
    let Expr::Literal(literal) = expr else { return None };
    Some(match literal {
        Literal::Int(n) => (Value::Int(*n), SqlType::Int),
        Literal::Decimal {
            unscaled,
            precision,
            scale,
        } => {
            let (unscaled, precision, scale) = (*unscaled, *precision, *scale);
            (
                Value::Decimal(Decimal {
                    unscaled,
                    precision,
                    scale,
                }),
                SqlType::Decimal { precision, scale },
            )
        }
        Literal::Float(x) => (Value::Float(*x), SqlType::Float),
        Literal::Money(n) => (Value::Money(*n), SqlType::Money),
        Literal::Binary(bytes) => (
            Value::Bytes(bytes.clone()),
            SqlType::VarBinary { len: Length::Max },
        ),
        Literal::Str { text, .. } => (Value::Str(text.clone()), SqlType::NVarChar { len: Length::Max }),
        Literal::Null => return None,
    })
}
