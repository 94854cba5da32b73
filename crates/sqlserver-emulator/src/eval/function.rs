//! Built-in scalar functions: their arguments, their result types, their dispatch.

mod bytes;
mod errors;
mod names;
mod numbers;
mod strings;
mod table;
mod times;
mod variant;

#[cfg(test)]
pub(super) use table::signatures;
pub(super) use times::now;

use super::bind::{convert_to, unify_all};
use super::bound::{BoundExpr, Label, Node};
use super::convert::{Way, check, plain_text};
use super::types::{length, with_length};
use super::{Context, EnvironmentFunction, Scope, bind as bind_expr};
use crate::ast::{CompareOp, Expr, FunctionCall};
use crate::error::{SqlError, SqlResult};
use crate::types::{Length, SqlType, TypeInfo};
use crate::value::Value;

/// What a function wants of an argument.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Param {
    /// Left as it is.
    Any,
    /// Text of any kind; other types become text.
    Text,
    /// Converted to this type.
    Of(SqlType),
    /// A number; text becomes a float.
    Number,
    /// A point in time; text becomes a datetime, which shows in the result's type.
    Time,
    /// A point in time; text is read with all of its digits and its offset.
    Instant,
}

/// The type of a function's result.
#[derive(Clone, Copy, Debug)]
enum Returns {
    Fixed(SqlType),
    /// That of an argument.
    Same(usize),
    /// Variable-length text of the kind and length of an argument.
    TextOf(usize),
    /// The same, as long as it can be.
    LongTextOf(usize),
    Computed(fn(&[TypeInfo]) -> TypeInfo),
}

/// How NULL arguments are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nulls {
    /// One of them makes the result NULL.
    Propagate,
    /// The function sees them.
    Pass,
}

/// A function of this crate.
struct Builtin {
    name: &'static str,
    least: usize,
    most: usize,
    /// The last one stands for all that follow.
    params: &'static [Param],
    returns: Returns,
    nulls: Nulls,
    run: fn(&mut Arguments<'_>) -> SqlResult<Value>,
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A bound call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    function: &'static Builtin,
    arguments: Vec<BoundExpr>,
}

/// What a function's implementation works with.
struct Arguments<'a> {
    values: Vec<Value>,
    call: &'a Call,
    info: TypeInfo,
    context: &'a mut dyn Context,
}

impl Call {
    pub(super) fn eval(&self, info: TypeInfo, context: &mut dyn Context) -> SqlResult<Value> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            let value = argument.eval(context)?;
            if value.is_null() && self.function.nulls == Nulls::Propagate {
                return Ok(Value::Null);
            }
            values.push(value);
        }
        let value = (self.function.run)(&mut Arguments {
            values,
            call: self,
            info,
            context,
        })?;
        within_limits(value, context)
    }
}

/// The value, unless it is longer than one may be: 7119.
pub(super) fn within_limits(value: Value, context: &dyn Context) -> SqlResult<Value> {
    let bytes = match &value {
        Value::Str(units) | Value::Xml(units) => 2 * units.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => return Ok(value),
    };
    grown(bytes, context).map(|()| value)
}

/// Error 7119 if a value of so many bytes is longer than one may be.
fn grown(bytes: usize, context: &dyn Context) -> SqlResult<()> {
    let longest = context.longest_value();
    if bytes <= longest {
        return Ok(());
    }
    let message = format!("Attempting to grow LOB beyond maximum allowed size of {longest} bytes.");
    Err(SqlError::user(7119, message))
}

impl Arguments<'_> {
    fn value(&self, at: usize) -> &Value {
        const NULL: &Value = &Value::Null;
        self.values.get(at).unwrap_or(NULL)
    }

    fn info_of(&self, at: usize) -> TypeInfo {
        self.call
            .arguments
            .get(at)
            .map_or(TypeInfo::new(SqlType::Null), BoundExpr::info)
    }

    fn text(&self, at: usize) -> &[u16] {
        match self.value(at) {
            Value::Str(text) | Value::Xml(text) => text,
            _ => &[],
        }
    }

    fn string(&self, at: usize) -> String {
        String::from_utf16_lossy(self.text(at))
    }

    fn integer(&self, at: usize) -> i64 {
        self.value(at).as_integer().unwrap_or(0)
    }

    fn float(&self, at: usize) -> f64 {
        match self.value(at) {
            Value::Float(x) => *x,
            Value::Real(x) => f64::from(*x),
            _ => 0.0,
        }
    }

    fn given(&self, at: usize) -> bool {
        at < self.values.len()
    }
}

fn text(units: impl Into<Vec<u16>>) -> Value {
    Value::Str(units.into().into())
}

/// Binds a call. Errors: 174 and 189 for the number of arguments, 195 for an unknown name.
pub(super) fn bind(call: &FunctionCall, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    if call.over.is_some() || call.star || call.distinct {
        return Err(unknown(&call.name));
    }
    match call.name.as_str() {
        "COALESCE" => return coalesce(call, scope),
        "ISNULL" => return is_null(call, scope),
        "NULLIF" => return null_if(call, scope),
        "CHOOSE" => return choose(call, scope),
        "UPDATE" => return Err(SqlError::unsupported("UPDATE() in triggers")),
        "GREATEST" => return extreme(call, CompareOp::Greater, scope),
        "LEAST" => return extreme(call, CompareOp::Less, scope),
        _ => {}
    }
    if let Some(ty) = times::current_time_type(&call.name) {
        count(call, 0, 0)?;
        return Ok(BoundExpr::new(Node::Now, TypeInfo::new(ty).not_null()));
    }
    let upper = call.name.to_ascii_uppercase();
    if let Some(function) = EnvironmentFunction::find(&upper) {
        return environment(function, call, scope);
    }
    let Some(function) = table::find(&upper) else {
        return Err(unknown(&call.name));
    };
    count(call, function.least, function.most)?;
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for (at, argument) in call.arguments.iter().enumerate() {
        let bound = bind_expr(argument, scope)?;
        let param = function
            .params
            .get(at)
            .or(function.params.last())
            .copied()
            .unwrap_or(Param::Any);
        arguments.push(fit(bound, param)?);
    }
    let infos: Vec<TypeInfo> = arguments.iter().map(BoundExpr::info).collect();
    let label = arguments
        .iter()
        .filter(|a| a.info.ty.is_character())
        .map(|a| a.label)
        .max();
    let mut info = result(function.returns, &infos);
    if info.ty.is_character() {
        let inherited = infos
            .iter()
            .find(|info| info.ty.is_character())
            .and_then(|info| info.collation);
        info.collation = inherited.or(Some(scope.collation()));
    }
    let node = Node::Call(Box::new(Call { function, arguments }));
    Ok(BoundExpr {
        node,
        info,
        label: label.unwrap_or(Label::Default),
    })
}

fn count(call: &FunctionCall, least: usize, most: usize) -> SqlResult<()> {
    let given = call.arguments.len();
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let name = call.name.to_lowercase();
    if least == most {
        return Err(SqlError::new(
            174,
            15,
            1,
            format!("The {name} function requires {least} argument(s)."),
        ));
    }
    let message = format!("The {name} function requires {least} to {most} arguments.");
    Err(SqlError::new(189, 15, 1, message))
}

pub(crate) fn unknown(name: &str) -> SqlError {
    if name.contains('.') {
        let message = format!(
            "Cannot find either column \"{}\" or the user-defined function or aggregate \"{name}\", or the name is ambiguous.",
            name.split('.').next().unwrap_or_default()
        );
        return SqlError::user(4121, message);
    }
    let message = format!(
        "'{}' is not a recognized built-in function name.",
        name.to_lowercase()
    );
    SqlError::new(195, 15, 10, message)
}

fn fit(argument: BoundExpr, param: Param) -> SqlResult<BoundExpr> {
    let info = argument.info;
    let target = match param {
        Param::Any => return Ok(argument),
        Param::Text if info.ty.is_character() => return Ok(argument),
        Param::Text if info.ty == SqlType::Xml => SqlType::NVarChar { len: Length::Max },
        Param::Text => SqlType::VarChar {
            len: Length::Chars(8000),
        },
        Param::Of(ty) => ty,
        Param::Number if is_number(info.ty) => return Ok(argument),
        Param::Number => SqlType::Float,
        Param::Time | Param::Instant if times::is_temporal(info.ty) => return Ok(argument),
        Param::Instant if info.ty.is_character() => SqlType::DateTimeOffset { scale: 7 },
        Param::Time | Param::Instant => SqlType::DateTime,
    };
    check(Way::Explicit, info.ty, target)?;
    let collation = if info.ty.is_character() {
        info.collation
    } else {
        TypeInfo::new(target).collation
    };
    let target = TypeInfo {
        collation: collation.filter(|_| target.is_character()),
        ..TypeInfo::new(target)
    };
    Ok(super::bind::implicit(argument, target))
}

fn is_number(ty: SqlType) -> bool {
    super::types::as_decimal(ty).is_some() || matches!(ty, SqlType::Float | SqlType::Real)
}

fn result(returns: Returns, arguments: &[TypeInfo]) -> TypeInfo {
    let of = |at: usize| arguments.get(at).map_or(SqlType::Int, |info| info.ty);
    let ty = match returns {
        Returns::Fixed(ty) => ty,
        Returns::Same(at) => of(at),
        Returns::TextOf(at) => variable(of(at), length(of(at)).unwrap_or(Length::Max)),
        Returns::LongTextOf(at) => match length(of(at)) {
            Some(Length::Max) => variable(of(at), Length::Max),
            _ => variable(of(at), Length::Chars(8000)),
        },
        Returns::Computed(compute) => return compute(arguments),
    };
    TypeInfo::new(ty)
}

/// The variable-length form of a character or binary type.
fn variable(ty: SqlType, len: Length) -> SqlType {
    let flexible = match ty {
        SqlType::Char { .. } => SqlType::VarChar { len },
        SqlType::NChar { .. } => SqlType::NVarChar { len },
        SqlType::Binary { .. } => SqlType::VarBinary { len },
        other => other,
    };
    with_length(flexible, len)
}

fn environment(
    function: EnvironmentFunction,
    call: &FunctionCall,
    scope: &mut dyn Scope,
) -> SqlResult<BoundExpr> {
    count(call, function.required(), function.arguments().len())?;
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for (argument, ty) in call.arguments.iter().zip(function.arguments()) {
        arguments.push(fit(bind_expr(argument, scope)?, Param::Of(*ty))?);
    }
    let info = TypeInfo::new(function.result());
    Ok(BoundExpr::new(Node::Environment { function, arguments }, info))
}

fn bind_all(arguments: &[Expr], scope: &mut dyn Scope) -> SqlResult<Vec<BoundExpr>> {
    arguments
        .iter()
        .map(|argument| bind_expr(argument, scope))
        .collect()
}

/// The type of highest precedence.
fn coalesce(call: &FunctionCall, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    count(call, 2, usize::MAX)?;
    let arguments = bind_all(&call.arguments, scope)?;
    if arguments
        .iter()
        .all(|argument| argument.constant_value() == Some(&Value::Null))
    {
        let message =
            "At least one of the arguments to COALESCE must be an expression that is not the NULL constant.";
        return Err(SqlError::user(4127, message));
    }
    let (list, info, label) = unify_all(arguments, "COALESCE")?;
    let nullable = list.iter().all(|argument| argument.info.nullable);
    Ok(BoundExpr {
        node: Node::Coalesce(list),
        info: TypeInfo { nullable, ..info },
        label,
    })
}

/// The type of the first argument, which cuts the second.
fn is_null(call: &FunctionCall, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    count(call, 2, 2)?;
    let mut arguments = bind_all(&call.arguments, scope)?.into_iter();
    let (Some(first), Some(second)) = (arguments.next(), arguments.next()) else {
        return Err(unknown(&call.name));
    };
    let ty = if first.info.ty == SqlType::Null {
        second.info
    } else {
        first.info
    };
    let nullable = first.info.nullable && second.info.nullable;
    let info = TypeInfo { nullable, ..ty };
    let label = first.label;
    let list = vec![convert_to(first, info)?, convert_to(second, info)?];
    Ok(BoundExpr {
        node: Node::Coalesce(list),
        info,
        label,
    })
}

/// `NULLIF(a, b)` is `CASE WHEN a = b THEN NULL ELSE a END`, with the type of `a`.
fn null_if(call: &FunctionCall, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    count(call, 2, 2)?;
    let mut arguments = bind_all(&call.arguments, scope)?.into_iter();
    let (Some(first), Some(second)) = (arguments.next(), arguments.next()) else {
        return Err(unknown(&call.name));
    };
    let info = TypeInfo {
        nullable: true,
        ..first.info
    };
    let label = first.label;
    let equal = super::bind::comparison(CompareOp::Equal, first.clone(), second)?;
    let branches = vec![(equal, BoundExpr::constant(Value::Null, info))];
    Ok(BoundExpr {
        node: Node::Case {
            branches,
            otherwise: Some(Box::new(first)),
        },
        info,
        label,
    })
}

/// `CHOOSE(n, a, b)` is `CASE n WHEN 1 THEN a WHEN 2 THEN b END`.
fn choose(call: &FunctionCall, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    count(call, 2, usize::MAX)?;
    let mut arguments = bind_all(&call.arguments, scope)?;
    let index = fit(arguments.remove(0), Param::Of(SqlType::Int))?;
    let (list, info, label) = unify_all(arguments, "CHOOSE")?;
    let mut branches = Vec::with_capacity(list.len());
    for (at, value) in list.into_iter().enumerate() {
        let number = BoundExpr::constant(Value::Int(at as i32 + 1), TypeInfo::new(SqlType::Int));
        branches.push((
            super::bind::comparison(CompareOp::Equal, index.clone(), number)?,
            value,
        ));
    }
    let info = TypeInfo {
        nullable: true,
        ..info
    };
    let node = Node::Case {
        branches,
        otherwise: None,
    };
    Ok(BoundExpr { node, info, label })
}

/// GREATEST and LEAST.
fn extreme(call: &FunctionCall, op: CompareOp, scope: &mut dyn Scope) -> SqlResult<BoundExpr> {
    count(call, 1, 254)?;
    let (list, info, label) = unify_all(bind_all(&call.arguments, scope)?, &call.name.to_lowercase())?;
    let nullable = list.iter().all(|argument| argument.info.nullable);
    Ok(BoundExpr {
        node: Node::Extreme { op, list },
        info: TypeInfo { nullable, ..info },
        label,
    })
}

/// A value's text, for functions that take anything.
fn shown(value: &Value, info: TypeInfo) -> SqlResult<Vec<u16>> {
    match value {
        Value::Str(text) | Value::Xml(text) => Ok(text.to_vec()),
        other => Ok(plain_text(other, info.ty, 0)?.encode_utf16().collect()),
    }
}
