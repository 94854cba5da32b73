//! Binding GROUP BY, aggregates and window functions.

use std::collections::HashMap;

use super::plan::{AggregateKind, AggregatePlan, GroupPlan, WindowFunction, WindowPlan};
use super::scope::Binder;
use crate::ast::{Expr, FrameBound, FunctionCall};
use crate::error::{SqlError, SqlResult};
use crate::eval::{BoundExpr, Slot, SlotInfo, bind, convert_to};
use crate::types::{ClrType, SqlType, TypeInfo};

impl Binder<'_> {
    pub(super) fn group(&mut self, keys: &[Expr], aggregates: &[Expr]) -> SqlResult<GroupPlan> {
        let bound = keys
            .iter()
            .map(|key| bind(key, self))
            .collect::<SqlResult<Vec<_>>>()?;
        let mut plans = Vec::with_capacity(aggregates.len());
        for aggregate in aggregates {
            let Expr::Function(call) = aggregate else { continue };
            plans.push(self.aggregate(call)?);
        }
        let mut places = HashMap::new();
        let mut computed = Vec::new();
        let columns = self.block().columns.clone();
        let slot = |index: usize, info| SlotInfo {
            slot: Slot {
                depth: 0,
                index: index as u32,
            },
            info,
        };
        for (at, (key, bound)) in keys.iter().zip(&bound).enumerate() {
            if let Expr::Column(name) = key
                && let Some(column) = super::scope::find_column(&columns, name)?
            {
                places.insert(column, at as u32);
            }
            computed.push((key.clone(), slot(at, bound.info())));
        }
        for (at, (aggregate, plan)) in aggregates.iter().zip(&plans).enumerate() {
            computed.push((aggregate.clone(), slot(keys.len() + at, plan.info)));
        }
        let block = self.block();
        block.grouped = Some(places);
        block.computed = computed;
        Ok(GroupPlan {
            keys: bound,
            aggregates: plans,
            scalar: keys.is_empty(),
            by_first: false,
        })
    }

    pub(super) fn aggregate(&mut self, call: &FunctionCall) -> SqlResult<AggregatePlan> {
        let kind = match call.name.as_str() {
            "COUNT" => AggregateKind::Count,
            "COUNT_BIG" => AggregateKind::CountBig,
            "SUM" => AggregateKind::Sum,
            "AVG" => AggregateKind::Avg,
            "MIN" => AggregateKind::Min,
            "MAX" => AggregateKind::Max,
            "STDEV" => AggregateKind::StdDev { population: false },
            "STDEVP" => AggregateKind::StdDev { population: true },
            "VAR" => AggregateKind::Variance { population: false },
            "VARP" => AggregateKind::Variance { population: true },
            "STRING_AGG" => AggregateKind::StringAgg,
            "CHECKSUM_AGG" => AggregateKind::ChecksumAgg,
            other => {
                return Err(SqlError::new(
                    195,
                    15,
                    10,
                    format!("'{other}' is not a recognized built-in function name."),
                ));
            }
        };
        let argument = match call.arguments.first() {
            Some(argument) if !call.star => Some(bind(argument, self)?),
            _ => None,
        };
        let argument = match argument {
            Some(bound) if kind == AggregateKind::StringAgg && !bound.info().ty.is_character() => {
                Some(convert_to(
                    bound,
                    TypeInfo::new(SqlType::NVarChar {
                        len: crate::types::Length::Chars(4000),
                    }),
                )?)
            }
            other => other,
        };
        let separator = call
            .arguments
            .get(1)
            .map(|separator| bind(separator, self))
            .transpose()?;
        let mut order = Vec::with_capacity(call.within_group.len());
        for item in &call.within_group {
            order.push((bind(&item.expr, self)?, item.descending));
        }
        let info = aggregate_type(kind, argument.as_ref().map(BoundExpr::info))?;
        Ok(AggregatePlan {
            kind,
            argument,
            separator,
            order,
            distinct: call.distinct,
            info,
        })
    }

    pub(super) fn windows(
        &mut self,
        windows: &[Expr],
        group: Option<&GroupPlan>,
    ) -> SqlResult<Vec<WindowPlan>> {
        let base = group.map_or(self.block().columns.len(), |group| {
            group.keys.len() + group.aggregates.len()
        });
        let mut plans = Vec::with_capacity(windows.len());
        for window in windows {
            let Expr::Function(call) = window else { continue };
            plans.push(self.window(call)?);
        }
        for (at, (window, plan)) in windows.iter().zip(&plans).enumerate() {
            let slot = SlotInfo {
                slot: Slot {
                    depth: 0,
                    index: (base + at) as u32,
                },
                info: plan.info,
            };
            self.block().computed.push((window.clone(), slot));
        }
        Ok(plans)
    }

    fn window(&mut self, call: &FunctionCall) -> SqlResult<WindowPlan> {
        let window = call.over.clone().unwrap_or(crate::ast::Window {
            partition_by: Vec::new(),
            order_by: Vec::new(),
            frame: None,
        });
        let partition = window
            .partition_by
            .iter()
            .map(|e| bind(e, self))
            .collect::<SqlResult<Vec<_>>>()?;
        let mut order = Vec::with_capacity(window.order_by.len());
        for item in &window.order_by {
            order.push((bind(&item.expr, self)?, item.descending));
        }
        let (function, info) = self.window_function(call, &window)?;
        if order.is_empty() && !matches!(function, WindowFunction::Aggregate { .. }) {
            let message = format!(
                "The function '{}' must have an OVER clause with ORDER BY.",
                call.name
            );
            return Err(SqlError::user(4112, message));
        }
        Ok(WindowPlan {
            function,
            partition,
            order,
            info,
        })
    }

    fn window_function(
        &mut self,
        call: &FunctionCall,
        window: &crate::ast::Window,
    ) -> SqlResult<(WindowFunction, TypeInfo)> {
        let big = TypeInfo::new(SqlType::BigInt).not_null();
        Ok(match call.name.as_str() {
            "ROW_NUMBER" => (WindowFunction::RowNumber, big),
            "RANK" => (WindowFunction::Rank, big),
            "DENSE_RANK" => (WindowFunction::DenseRank, big),
            "NTILE" => (WindowFunction::Ntile(self.first_argument(call)?), big),
            "LAG" | "LEAD" => self.shift(call)?,
            "FIRST_VALUE" => {
                let value = self.first_argument(call)?;
                let info = TypeInfo {
                    nullable: true,
                    ..value.info()
                };
                (WindowFunction::FirstValue(value), info)
            }
            "LAST_VALUE" => {
                let value = self.first_argument(call)?;
                let info = TypeInfo {
                    nullable: true,
                    ..value.info()
                };
                (WindowFunction::LastValue(value), info)
            }
            _ => {
                let plan = self.aggregate(call)?;
                let info = plan.info;
                let (running, rows) = frame(window, !window.order_by.is_empty())?;
                (WindowFunction::Aggregate { plan, running, rows }, info)
            }
        })
    }

    fn shift(&mut self, call: &FunctionCall) -> SqlResult<(WindowFunction, TypeInfo)> {
        let value = self.first_argument(call)?;
        let info = TypeInfo {
            nullable: true,
            ..value.info()
        };
        let offset = self.argument(call, 1)?;
        let default = self
            .argument(call, 2)?
            .map(|default| convert_to(default, info))
            .transpose()?;
        let ahead = call.name == "LEAD";
        Ok((
            WindowFunction::Shift {
                value,
                offset,
                default,
                ahead,
            },
            info,
        ))
    }

    fn argument(&mut self, call: &FunctionCall, at: usize) -> SqlResult<Option<BoundExpr>> {
        call.arguments
            .get(at)
            .map(|argument| bind(argument, self))
            .transpose()
    }

    fn first_argument(&mut self, call: &FunctionCall) -> SqlResult<BoundExpr> {
        self.argument(call, 0)?.ok_or_else(|| {
            let name = call.name.to_lowercase();
            SqlError::new(174, 15, 1, format!("The {name} function requires 1 argument(s)."))
        })
    }
}

/// Which frame: (running, by rows).
fn frame(window: &crate::ast::Window, ordered: bool) -> SqlResult<(bool, bool)> {
    match &window.frame {
        None => Ok((ordered, false)),
        Some(frame) => match (&frame.start, &frame.end) {
            (FrameBound::UnboundedPreceding, FrameBound::UnboundedFollowing) => Ok((false, frame.rows)),
            (FrameBound::UnboundedPreceding, FrameBound::CurrentRow) => Ok((true, frame.rows)),
            _ => Err(SqlError::unsupported(
                "window frames other than UNBOUNDED PRECEDING to CURRENT ROW or UNBOUNDED FOLLOWING",
            )),
        },
    }
}

fn aggregate_type(kind: AggregateKind, argument: Option<TypeInfo>) -> SqlResult<TypeInfo> {
    let argument_type = argument.map_or(SqlType::Int, |info| info.ty);
    let wrong = |name: &str| {
        Err(SqlError::user(
            8117,
            format!(
                "Operand data type {} is invalid for {name} operator.",
                argument_type.name()
            ),
        ))
    };
    let ty = match kind {
        AggregateKind::Count => return Ok(TypeInfo::new(SqlType::Int).not_null()),
        AggregateKind::CountBig => return Ok(TypeInfo::new(SqlType::BigInt).not_null()),
        AggregateKind::Min | AggregateKind::Max => match argument_type {
            SqlType::Bit
            | SqlType::Clr(ClrType::Geometry | ClrType::Geography)
            | SqlType::Json
            | SqlType::Xml
            | SqlType::Image
            | SqlType::Text
            | SqlType::NText => {
                return wrong(if kind == AggregateKind::Min { "min" } else { "max" });
            }
            _ => {
                return Ok(TypeInfo {
                    nullable: true,
                    ..argument.unwrap_or(TypeInfo::new(SqlType::Int))
                });
            }
        },
        AggregateKind::Sum | AggregateKind::Avg => match argument_type {
            SqlType::TinyInt | SqlType::SmallInt | SqlType::Int | SqlType::Null => SqlType::Int,
            SqlType::BigInt => SqlType::BigInt,
            SqlType::Decimal { scale, .. } | SqlType::Numeric { scale, .. } => {
                let scale = if kind == AggregateKind::Avg {
                    scale.max(6)
                } else {
                    scale
                };
                SqlType::Decimal { precision: 38, scale }
            }
            SqlType::Money | SqlType::SmallMoney => SqlType::Money,
            SqlType::Real | SqlType::Float => SqlType::Float,
            _ => return wrong(if kind == AggregateKind::Sum { "sum" } else { "avg" }),
        },
        AggregateKind::StdDev { .. } | AggregateKind::Variance { .. } => SqlType::Float,
        AggregateKind::StringAgg => {
            let unicode = argument_type.is_unicode() || !argument_type.is_character();
            let len = match (argument_type.is_max(), unicode) {
                (true, _) => crate::types::Length::Max,
                (false, true) => crate::types::Length::Chars(4000),
                (false, false) => crate::types::Length::Chars(8000),
            };
            let ty = if unicode {
                SqlType::NVarChar { len }
            } else {
                SqlType::VarChar { len }
            };
            let collation = argument
                .and_then(|info| info.collation)
                .or(TypeInfo::new(ty).collation);
            return Ok(TypeInfo {
                ty,
                collation,
                nullable: true,
            });
        }
        AggregateKind::ChecksumAgg => SqlType::Int,
    };
    Ok(TypeInfo::new(ty))
}
