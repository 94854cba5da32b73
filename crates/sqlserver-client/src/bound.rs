//! Key bounds: a row's key as text, and back as parameters of the column's exact type.

use arrow_array::{Array, BooleanArray};
use model::{Bound, Error, ErrorKind, Result};

use crate::row_encoder::can_hold;
use crate::{Param, SqlType, Value, quote};

/// A column of a key, with what a parameter needs to be compared with it by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
    /// Its collation, if it holds characters.
    pub collation: Option<String>,
}

impl KeyColumn {
    /// Whether the column can hold each of the values: a row cannot have another one. Of characters in a code page only the number is
    /// looked at.
    pub fn can_hold(&self, values: &dyn Array) -> BooleanArray {
        can_hold(self.ty.varying(), values)
    }

    /// An expression for a parameter that has this column's type, so that comparing them uses the index and the column's rules. An
    /// `nvarchar` parameter would convert a `varchar` **column**, which scans.
    pub fn expression(&self, parameter: &str) -> String {
        match &self.collation {
            Some(collation) if self.ty.is_code_page() => {
                format!("CAST(@{parameter} COLLATE {collation} AS {})", self.ty)
            }
            _ => format!("@{parameter}"),
        }
    }

    /// The parameter itself.
    pub fn param(&self, parameter: &str, value: Value) -> Param {
        Param::typed(parameter, value, self.ty)
    }

    /// The column, quoted.
    pub fn quoted(&self) -> String {
        quote::identifier(&self.name)
    }
}

/// The bound of a row with these key values.
///
/// # Errors
///
/// `Internal` if a value has no JSON form, such as a float that is not finite.
pub fn bound_from_values(values: &[Value]) -> Result<Bound> {
    serde_json::to_string(values)
        .map(Bound::new)
        .map_err(|error| Error::internal("a key value cannot be written as a bound").caused_by(error))
}

/// The key values of a bound, one per column of the key.
///
/// # Errors
///
/// `Corrupt` if the text is not a bound of this key.
pub fn values_from_bound(bound: &Bound, key: &[KeyColumn]) -> Result<Vec<Value>> {
    let corrupt = || {
        Error::new(
            ErrorKind::Corrupt,
            format!("{:?} is not a bound of the table's key", bound.as_str()),
        )
        .hint(
            "the key of the table has changed since the copy began; run `sync-cli run --full` for this table",
        )
    };
    let values: Vec<Value> =
        serde_json::from_str(bound.as_str()).map_err(|error| corrupt().caused_by(error))?;
    if values.len() == key.len() {
        Ok(values)
    } else {
        Err(corrupt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(ty: &str, collation: Option<&str>) -> KeyColumn {
        KeyColumn {
            name: "k".into(),
            ty: ty.parse().unwrap(),
            collation: collation.map(str::to_owned),
        }
    }

    #[test]
    fn a_varchar_key_is_compared_as_varchar() {
        let varchar = column("varchar(20)", Some("Latin1_General_CI_AS"));
        assert_eq!(
            varchar.expression("p0"),
            "CAST(@p0 COLLATE Latin1_General_CI_AS AS varchar(20))"
        );
        assert_eq!(column("nvarchar(20)", Some("X")).expression("p0"), "@p0");
        assert_eq!(column("int", None).expression("p0"), "@p0");
    }

    #[test]
    fn a_bound_comes_back_and_must_fit_the_key() {
        let key = [column("int", None), column("varchar(9)", Some("X"))];
        let values = vec![Value::Int(-3), Value::Text("a \"]'".into())];
        let bound = bound_from_values(&values).unwrap();
        assert_eq!(values_from_bound(&bound, &key).unwrap(), values);
        for bad in ["", "[]", "{}", "[{\"int\":1}]", "[1,2]"] {
            let error = values_from_bound(&Bound::new(bad), &key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{bad}");
        }
    }

    #[test]
    fn a_damaged_bound_is_no_panic() {
        let key = [
            column("int", None),
            column("datetime2(3)", None),
            column("decimal(18,4)", None),
        ];
        let values = [
            Value::Int(7),
            Value::DateTime2 {
                days: 739_940,
                ticks: 1_000_000,
                scale: 3,
            },
            Value::Decimal {
                unscaled: -12_345,
                precision: 18,
                scale: 4,
            },
        ];
        let bound = bound_from_values(&values).unwrap();
        test_support::damage(&[bound.as_str()], |damaged| {
            let Ok(text) = std::str::from_utf8(damaged) else {
                return false;
            };
            let values = values_from_bound(&Bound::new(text), &key);
            // People see them in messages.
            values.is_ok_and(|values| values.iter().all(|value| !value.to_string().is_empty()))
        });
    }
}
