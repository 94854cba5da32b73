//! Which conversions exist ("CAST and CONVERT", the conversion chart).

use crate::error::{SqlError, SqlResult};
use crate::types::{ClrType, SqlType};

/// How a conversion is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::eval) enum Way {
    /// CAST and CONVERT.
    Explicit,
    /// Assignment and mixed operands.
    Implicit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Text,
    LongText,
    Binary,
    Image,
    Number,
    /// float and real: no binary forms.
    Approximate,
    /// datetime, smalldatetime: convert from numbers too.
    OldTime,
    /// date, time, datetime2, datetimeoffset.
    NewTime,
    Guid,
    RowVersion,
    Xml,
    Clr(ClrType),
    Json,
    Vector,
    Any,
}

fn family(ty: SqlType) -> Family {
    match ty {
        SqlType::Char { .. } | SqlType::VarChar { .. } | SqlType::NChar { .. } | SqlType::NVarChar { .. } => {
            Family::Text
        }
        SqlType::Text | SqlType::NText => Family::LongText,
        SqlType::Binary { .. } | SqlType::VarBinary { .. } => Family::Binary,
        SqlType::Image => Family::Image,
        SqlType::Real | SqlType::Float => Family::Approximate,
        SqlType::DateTime | SqlType::SmallDateTime => Family::OldTime,
        SqlType::Date | SqlType::Time { .. } | SqlType::DateTime2 { .. } | SqlType::DateTimeOffset { .. } => {
            Family::NewTime
        }
        SqlType::UniqueIdentifier => Family::Guid,
        SqlType::RowVersion => Family::RowVersion,
        SqlType::Xml => Family::Xml,
        SqlType::Clr(ty) => Family::Clr(ty),
        SqlType::Json => Family::Json,
        SqlType::Vector { .. } => Family::Vector,
        SqlType::SqlVariant | SqlType::Null => Family::Any,
        _ => Family::Number,
    }
}

/// Errors: 529 for an explicit conversion that does not exist, 206 or 257 for an implicit one.
pub(in crate::eval) fn check(way: Way, from: SqlType, to: SqlType) -> SqlResult<()> {
    if is_allowed(way, from, to) {
        Ok(())
    } else {
        Err(not_allowed(way, from, to))
    }
}

fn is_allowed(way: Way, from: SqlType, to: SqlType) -> bool {
    use Family::{
        Any, Approximate, Binary, Clr, Guid, Image, Json, LongText, NewTime, Number, OldTime, RowVersion,
        Text, Vector, Xml,
    };
    let explicit = way == Way::Explicit;
    let is_date = |ty| matches!(ty, SqlType::Date);
    let is_time = |ty| matches!(ty, SqlType::Time { .. });
    match (family(from), family(to)) {
        (a, b) if a == b => !(is_date(from) && is_time(to) || is_time(from) && is_date(to)),
        (Clr(_) | Json | Vector, Any) => to != SqlType::SqlVariant,
        (Any, Clr(_) | Json | Vector) => from != SqlType::SqlVariant,
        (Any, _) | (_, Any) => true,
        // Text would be parsed by the type's own code.
        (Binary | Text, Clr(_)) => true,
        (Clr(_), Binary | Text) => explicit,
        (Text, Json | Vector) | (Vector, Text) => true,
        (Json, Text) => explicit,
        (Text, LongText | Number | Approximate | OldTime | NewTime | Guid | Xml) => true,
        (Text, Binary | Image | RowVersion) => explicit,
        (LongText, Text | Xml) => true,
        (Number | Approximate, Text) | (Number, Approximate) | (Approximate, Number) => true,
        (Number, Binary | RowVersion) => true,
        (Number | Approximate, OldTime) => true,
        (OldTime, Number | Approximate) => explicit,
        (OldTime | NewTime | Guid, Text) | (OldTime, NewTime) | (NewTime, OldTime) => true,
        (OldTime, Binary) | (NewTime, Binary) | (Binary, NewTime) => explicit,
        (Binary, Text) => true,
        (Binary, Number | OldTime | Guid | Image | RowVersion | Xml) => true,
        (Image, Binary) | (Guid, Binary) => true,
        (RowVersion, Binary | Number | OldTime | Text) => true,
        (Xml, Text | Binary) => explicit,
        (Xml, LongText) => false,
        (Approximate, Binary) => explicit,
        _ => false,
    }
}

/// The error of a conversion that does not exist.
pub(super) fn not_allowed(way: Way, from: SqlType, to: SqlType) -> SqlError {
    let (from_name, to_name) = (from.name(), to.name());
    if way == Way::Explicit {
        let message = format!("Explicit conversion from data type {from_name} to {to_name} is not allowed.");
        return SqlError::new(529, 16, 2, message);
    }
    if is_allowed(Way::Explicit, from, to) {
        let message = format!(
            "Implicit conversion from data type {from_name} to {to_name} is not allowed. Use the CONVERT function to run \
             this query."
        );
        return SqlError::new(257, 16, 3, message);
    }
    SqlError::new(
        206,
        16,
        2,
        format!("Operand type clash: {from_name} is incompatible with {to_name}"),
    )
}
