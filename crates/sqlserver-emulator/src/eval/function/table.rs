//! The table of functions, by name.

use super::Nulls::{Pass, Propagate};
use super::Param::{Any, Instant, Number, Of, Text, Time};
use super::Returns::{Computed, Fixed, LongTextOf, Same, TextOf};
use super::{
    Arguments, Builtin, Nulls, Param, Returns, bytes, errors, names, numbers, strings, times, variant,
};
use crate::error::SqlResult;
use crate::types::{Length, SqlType};
use crate::value::Value;

type Run = fn(&mut Arguments<'_>) -> SqlResult<Value>;

const INT: Param = Of(SqlType::Int);
const BIGINT: Param = Of(SqlType::BigInt);
const FLOAT: Param = Of(SqlType::Float);
const NAME: SqlType = SqlType::NVarChar {
    len: Length::Chars(128),
};
const LONG_NAME: SqlType = SqlType::NVarChar {
    len: Length::Chars(258),
};
const DIGEST: SqlType = SqlType::VarBinary {
    len: Length::Chars(8000),
};
const NTEXT: SqlType = SqlType::NVarChar {
    len: Length::Chars(4000),
};
const MAX_NTEXT: SqlType = SqlType::NVarChar { len: Length::Max };
const VTEXT: SqlType = SqlType::VarChar {
    len: Length::Chars(8000),
};
const TIME2: Param = Of(SqlType::DateTime2 { scale: 7 });

const fn f(
    name: &'static str,
    arity: (usize, usize),
    params: &'static [Param],
    returns: Returns,
    nulls: Nulls,
    run: Run,
) -> Builtin {
    Builtin {
        name,
        least: arity.0,
        most: arity.1,
        params,
        returns,
        nulls,
        run,
    }
}

/// By name in upper case.
pub(super) fn find(name: &str) -> Option<&'static Builtin> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Names with the numbers of arguments that they take.
#[cfg(test)]
pub(in crate::eval) fn signatures() -> impl Iterator<Item = (&'static str, usize, usize)> {
    FUNCTIONS
        .iter()
        .map(|function| (function.name, function.least, function.most))
}

// One function a line, however long.
#[rustfmt::skip]
static FUNCTIONS: &[Builtin] = &[
    f("ASCII", (1, 1), &[Text], Fixed(SqlType::Int), Propagate, strings::ascii),
    f("CHAR", (1, 1), &[INT], Fixed(SqlType::Char { len: 1 }), Propagate, strings::char),
    f("CHARINDEX", (2, 3), &[Text, Text, BIGINT], Computed(strings::position_type), Propagate, strings::char_index),
    f("CONCAT", (2, 254), &[Any], Computed(strings::concat_type), Pass, strings::concat),
    f("CONCAT_WS", (3, 254), &[Any], Computed(strings::concat_ws_type), Pass, strings::concat_ws),
    f("LEFT", (2, 2), &[Text, INT], TextOf(0), Propagate, strings::left),
    f("LEN", (1, 1), &[Text], Computed(strings::length_type), Propagate, strings::len),
    f("LOWER", (1, 1), &[Text], TextOf(0), Propagate, strings::lower),
    f("LTRIM", (1, 1), &[Text], TextOf(0), Propagate, strings::ltrim),
    f("NCHAR", (1, 1), &[INT], Fixed(SqlType::NChar { len: 1 }), Propagate, strings::nchar),
    f("PATINDEX", (2, 2), &[Text], Computed(strings::position_type), Propagate, strings::pat_index),
    f("QUOTENAME", (1, 2), &[Of(NAME), Of(SqlType::NChar { len: 1 })], Fixed(LONG_NAME), Propagate, names::quote_name),
    f("PARSENAME", (2, 2), &[Of(NTEXT), INT], Fixed(NAME), Propagate, names::parse_name),
    f("REPLACE", (3, 3), &[Text], LongTextOf(0), Propagate, strings::replace),
    f("REPLICATE", (2, 2), &[Text, BIGINT], LongTextOf(0), Propagate, strings::replicate),
    f("REVERSE", (1, 1), &[Text], TextOf(0), Propagate, strings::reverse),
    f("RIGHT", (2, 2), &[Text, INT], TextOf(0), Propagate, strings::right),
    f("RTRIM", (1, 1), &[Text], TextOf(0), Propagate, strings::rtrim),
    f("SPACE", (1, 1), &[INT], Fixed(VTEXT), Propagate, strings::space),
    f("STR", (1, 3), &[FLOAT, INT, INT], Fixed(VTEXT), Propagate, numbers::str),
    f("STRING_ESCAPE", (2, 2), &[Text, Text], Fixed(MAX_NTEXT), Propagate, strings::string_escape),
    f("STUFF", (4, 4), &[Text, INT, INT, Text], LongTextOf(0), Propagate, strings::stuff),
    f("SUBSTRING", (3, 3), &[Any, BIGINT, BIGINT], TextOf(0), Propagate, strings::substring),
    f("TRANSLATE", (3, 3), &[Text], TextOf(0), Propagate, strings::translate),
    f("TRIM", (1, 2), &[Text], TextOf(0), Propagate, strings::trim),
    f("UNICODE", (1, 1), &[Text], Fixed(SqlType::Int), Propagate, strings::unicode),
    f("UPPER", (1, 1), &[Text], TextOf(0), Propagate, strings::upper),
    f("DATALENGTH", (1, 1), &[Any], Computed(strings::length_type), Propagate, bytes::data_length),
    f("HASHBYTES", (2, 2), &[Text, Any], Fixed(DIGEST), Propagate, bytes::hash_bytes),
    f("CHECKSUM", (1, 254), &[Any], Fixed(SqlType::Int), Pass, bytes::checksum),
    f("BINARY_CHECKSUM", (1, 254), &[Any], Fixed(SqlType::Int), Pass, bytes::binary_checksum),
    f("CRYPT_GEN_RANDOM", (1, 1), &[INT], Fixed(DIGEST), Propagate, bytes::crypt_gen_random),
    f("NEWID", (0, 0), &[], Fixed(SqlType::UniqueIdentifier), Propagate, bytes::new_id),
    f("ABS", (1, 1), &[Number], Same(0), Propagate, numbers::abs),
    f("ACOS", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::acos),
    f("ASIN", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::asin),
    f("ATAN", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::atan),
    f("CEILING", (1, 1), &[Number], Computed(numbers::whole_type), Propagate, numbers::ceiling),
    f("COS", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::cos),
    f("EXP", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::exp),
    f("FLOOR", (1, 1), &[Number], Computed(numbers::whole_type), Propagate, numbers::floor),
    f("LOG", (1, 2), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::log),
    f("LOG10", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::log10),
    f("PI", (0, 0), &[], Fixed(SqlType::Float), Propagate, numbers::pi),
    f("POWER", (2, 2), &[Number, FLOAT], Same(0), Propagate, numbers::power),
    f("RAND", (0, 1), &[INT], Fixed(SqlType::Float), Pass, numbers::rand),
    f("ROUND", (2, 3), &[Number, INT, INT], Same(0), Propagate, numbers::round),
    f("SIGN", (1, 1), &[Number], Same(0), Propagate, numbers::sign),
    f("SIN", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::sin),
    f("SQRT", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::sqrt),
    f("SQUARE", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::square),
    f("TAN", (1, 1), &[FLOAT], Fixed(SqlType::Float), Propagate, numbers::tan),
    f("ISNUMERIC", (1, 1), &[Any], Fixed(SqlType::Int), Pass, numbers::is_numeric),
    f("DATEADD", (3, 3), &[Text, BIGINT, Time], Same(2), Propagate, times::date_add),
    f("DATEDIFF", (3, 3), &[Text, Instant, Instant], Fixed(SqlType::Int), Propagate, times::date_diff),
    f("DATEDIFF_BIG", (3, 3), &[Text, Instant, Instant], Fixed(SqlType::BigInt), Propagate, times::date_diff),
    f("DATEFROMPARTS", (3, 3), &[INT], Fixed(SqlType::Date), Propagate, times::date_from_parts),
    f("DATETIMEFROMPARTS", (7, 7), &[INT], Fixed(SqlType::DateTime), Propagate, times::datetime_from_parts),
    f("DATETIME2FROMPARTS", (8, 8), &[INT], Fixed(SqlType::DateTime2 { scale: 7 }), Propagate, times::datetime2_from_parts),
    f("DATENAME", (2, 2), &[Text, Instant], Fixed(NAME), Propagate, times::date_name),
    f("DATEPART", (2, 2), &[Text, Instant], Fixed(SqlType::Int), Propagate, times::date_part),
    f("DAY", (1, 1), &[Instant], Fixed(SqlType::Int), Propagate, times::day),
    f("MONTH", (1, 1), &[Instant], Fixed(SqlType::Int), Propagate, times::month),
    f("YEAR", (1, 1), &[Instant], Fixed(SqlType::Int), Propagate, times::year),
    f("EOMONTH", (1, 2), &[TIME2, INT], Fixed(SqlType::Date), Propagate, times::end_of_month),
    f("ISDATE", (1, 1), &[Any], Fixed(SqlType::Int), Pass, times::is_date),
    f("SWITCHOFFSET", (2, 2), &[Of(SqlType::DateTimeOffset { scale: 7 }), Any], Fixed(SqlType::DateTimeOffset { scale: 7 }), Propagate, times::switch_offset),
    f("TODATETIMEOFFSET", (2, 2), &[TIME2, Any], Fixed(SqlType::DateTimeOffset { scale: 7 }), Propagate, times::to_datetimeoffset),
    f("SQL_VARIANT_PROPERTY", (2, 2), &[Any, Of(NAME)], Fixed(SqlType::SqlVariant), Pass, variant::property),
    f("ERROR_LINE", (0, 0), &[], Fixed(SqlType::Int), Pass, errors::line),
    f("ERROR_MESSAGE", (0, 0), &[], Fixed(NTEXT), Pass, errors::message),
    f("ERROR_NUMBER", (0, 0), &[], Fixed(SqlType::Int), Pass, errors::number),
    f("ERROR_PROCEDURE", (0, 0), &[], Fixed(NAME), Pass, errors::procedure),
    f("ERROR_SEVERITY", (0, 0), &[], Fixed(SqlType::Int), Pass, errors::severity),
    f("ERROR_STATE", (0, 0), &[], Fixed(SqlType::Int), Pass, errors::state),
];
