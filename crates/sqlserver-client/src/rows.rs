//! Small results: a few rows of single values.

use model::{Error, Result};

use crate::Value;

/// The rows of one result set. For metadata and counts; tables are read with
/// [`Connection::select_arrow`](crate::Connection::select_arrow).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Rows {
    /// The columns' names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row {
            columns: &self.columns,
            values,
        })
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// The only row.
    ///
    /// # Errors
    ///
    /// `Internal` if there is not exactly one.
    pub fn one(&self) -> Result<Row<'_>> {
        match (self.first(), self.len()) {
            (Some(row), 1) => Ok(row),
            (_, len) => Err(Error::internal(format!(
                "a query that returns one row returned {len}"
            ))),
        }
    }
}

/// One row. The getters return `None` for NULL.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl<'a> Row<'a> {
    /// The values in order.
    pub fn values(&self) -> &'a [Value] {
        self.values
    }

    /// A value by its column's name, without regard to case.
    ///
    /// # Errors
    ///
    /// `Internal` if there is no such column; the getters below also if the type is another one.
    pub fn get(&self, column: &str) -> Result<&'a Value> {
        self.columns
            .iter()
            .position(|name| name.eq_ignore_ascii_case(column))
            .and_then(|i| self.values.get(i))
            .ok_or_else(|| Error::internal(format!("the result has no column {column:?}")))
    }

    fn typed<T>(&self, column: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        match self.get(column)? {
            Value::Null => Ok(None),
            value => read(value).map(Some).ok_or_else(|| {
                Error::internal(format!(
                    "column {column:?} has an unexpected type: {}",
                    value.type_name()
                ))
            }),
        }
    }

    /// An integer.
    ///
    /// # Errors
    ///
    /// As [`Row::get`].
    pub fn i64(&self, column: &str) -> Result<Option<i64>> {
        self.typed(column, Value::as_i64)
    }

    /// A flag; NULL is false.
    ///
    /// # Errors
    ///
    /// As [`Row::get`].
    pub fn flag(&self, column: &str) -> Result<bool> {
        Ok(self.i64(column)?.unwrap_or(0) != 0)
    }

    /// Text.
    ///
    /// # Errors
    ///
    /// As [`Row::get`].
    pub fn text(&self, column: &str) -> Result<Option<&'a str>> {
        self.typed(column, Value::as_str)
    }

    /// Bytes.
    ///
    /// # Errors
    ///
    /// As [`Row::get`].
    pub fn bytes(&self, column: &str) -> Result<Option<&'a [u8]>> {
        self.typed(column, Value::as_bytes)
    }

    /// An integer that cannot be NULL.
    ///
    /// # Errors
    ///
    /// As [`Row::get`], and for NULL.
    pub fn need_i64(&self, column: &str) -> Result<i64> {
        self.i64(column)?.ok_or_else(|| null(column))
    }

    /// Text that cannot be NULL.
    ///
    /// # Errors
    ///
    /// As [`Row::get`], and for NULL.
    pub fn need_text(&self, column: &str) -> Result<&'a str> {
        self.text(column)?.ok_or_else(|| null(column))
    }
}

fn null(column: &str) -> Error {
    Error::internal(format!("column {column:?} is NULL, which it cannot be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_checked_by_type() {
        let rows = Rows {
            columns: vec!["Id".into(), "Name".into()],
            rows: vec![vec![Value::Int(7), Value::Null]],
        };
        let row = rows.one().unwrap();
        assert_eq!(row.i64("id").unwrap(), Some(7));
        assert_eq!(row.text("NAME").unwrap(), None);
        assert!(row.need_text("name").is_err());
        assert!(row.text("id").is_err());
        assert!(row.i64("other").is_err());
        assert!(Rows::default().one().is_err());
    }

    #[test]
    fn a_value_of_another_type_is_not_shown() {
        let rows = Rows {
            columns: vec!["n".into(), "name".into()],
            rows: vec![vec![Value::Text("SECRET".into()), Value::Int(4711)]],
        };
        let row = rows.one().unwrap();
        assert_eq!(
            row.i64("n").unwrap_err().to_string(),
            "column \"n\" has an unexpected type: text"
        );
        assert_eq!(
            row.text("name").unwrap_err().to_string(),
            "column \"name\" has an unexpected type: int"
        );
    }
}
