//! Looking through expressions without binding them. Subqueries are not entered.

use crate::ast::{Expr, FunctionCall};

/// Calls `visit` for `expr` and, where it returns true, for the expressions within.
pub(crate) fn walk<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e Expr) -> bool) {
    if !visit(expr) {
        return;
    }
    match expr {
        Expr::Unary { operand, .. }
        | Expr::Not(operand)
        | Expr::IsNull { operand, .. }
        | Expr::InQuery { operand, .. }
        | Expr::Cast { operand, .. }
        | Expr::Collate { operand, .. }
        | Expr::Quantified { left: operand, .. } => walk(operand, visit),
        Expr::Binary { left, right, .. }
        | Expr::Compare { left, right, .. }
        | Expr::And(left, right)
        | Expr::Or(left, right)
        | Expr::IsDistinct { left, right, .. } => {
            walk(left, visit);
            walk(right, visit);
        }
        Expr::Like {
            operand,
            pattern,
            escape,
            ..
        } => {
            walk(operand, visit);
            walk(pattern, visit);
            escape.iter().for_each(|e| walk(e, visit));
        }
        Expr::Between {
            operand, low, high, ..
        } => {
            walk(operand, visit);
            walk(low, visit);
            walk(high, visit);
        }
        Expr::InList { operand, list, .. } => {
            walk(operand, visit);
            list.iter().for_each(|e| walk(e, visit));
        }
        Expr::Case {
            operand,
            branches,
            otherwise,
        } => {
            operand.iter().for_each(|e| walk(e, visit));
            for (when, then) in branches {
                walk(when, visit);
                walk(then, visit);
            }
            otherwise.iter().for_each(|e| walk(e, visit));
        }
        Expr::Convert { operand, style, .. } => {
            walk(operand, visit);
            style.iter().for_each(|e| walk(e, visit));
        }
        Expr::Function(call) => walk_call(call, visit),
        _ => {}
    }
}

fn walk_call<'e>(call: &'e FunctionCall, visit: &mut dyn FnMut(&'e Expr) -> bool) {
    call.arguments.iter().for_each(|e| walk(e, visit));
    call.within_group.iter().for_each(|item| walk(&item.expr, visit));
    if let Some(window) = &call.over {
        window.partition_by.iter().for_each(|e| walk(e, visit));
        window.order_by.iter().for_each(|item| walk(&item.expr, visit));
    }
}

/// The conditions that `expr` joins by AND.
pub(crate) fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::And(left, right) => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        other => vec![other],
    }
}

/// The conditions that `expr` joins by OR.
pub(super) fn disjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Or(left, right) => {
            let mut all = disjuncts(left);
            all.extend(disjuncts(right));
            all
        }
        other => vec![other],
    }
}

/// Whether it contains a subquery.
pub(crate) fn has_subquery(expr: &Expr) -> bool {
    let mut found = false;
    walk(expr, &mut |e| {
        found |= matches!(
            e,
            Expr::Subquery(_) | Expr::Exists(_) | Expr::InQuery { .. } | Expr::Quantified { .. }
        );
        !found
    });
    found
}

/// Whether a call is of an aggregate function, windowed or not.
pub(crate) fn is_aggregate(call: &FunctionCall) -> bool {
    matches!(
        call.name.as_str(),
        "COUNT"
            | "COUNT_BIG"
            | "SUM"
            | "AVG"
            | "MIN"
            | "MAX"
            | "STDEV"
            | "STDEVP"
            | "VAR"
            | "VARP"
            | "STRING_AGG"
            | "CHECKSUM_AGG"
    )
}

/// Adds the aggregates and the window functions in `expr` that are not yet listed.
pub(crate) fn collect_functions(expr: &Expr, aggregates: &mut Vec<Expr>, windows: &mut Vec<Expr>) {
    walk(expr, &mut |e| {
        let Expr::Function(call) = e else { return true };
        if call.over.is_some() {
            if !windows.contains(e) {
                windows.push(e.clone());
            }
            return true;
        }
        if is_aggregate(call) {
            if !aggregates.contains(e) {
                aggregates.push(e.clone());
            }
            return false;
        }
        true
    });
}
