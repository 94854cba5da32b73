//! Conditions and order over a key of one or more columns, compared by the server only.
//!
//! T-SQL has no comparison of rows, so `(a, b) > (x, y)` is written out; the first column's condition is repeated
//! outside, because an index is sought by that one.

use arrow_array::{BooleanArray, RecordBatch};
use model::{Error, ErrorKind, Result, TableSchema};
use sqlserver_client::{KeyColumn, Param, TableInfo, Value, quote};

/// The key of a table as the server compares it. Parameter `i` of a condition belongs to column `i` modulo the key's width.
#[derive(Debug, Clone)]
pub(crate) struct Keyset {
    columns: Vec<KeyColumn>,
    select: Vec<String>,
}

impl Keyset {
    /// The key of `schema`, with the types that `table` declares.
    pub(crate) fn new(table: &TableInfo, schema: &TableSchema) -> Result<Self> {
        let mut keyset = Self {
            columns: Vec::new(),
            select: Vec::new(),
        };
        for name in schema.key_names() {
            let column = table.column(name).ok_or_else(|| {
                Error::new(
                    ErrorKind::SchemaMismatch,
                    format!("the key column {name:?} is gone"),
                )
                .with("table", &table.name)
            })?;
            keyset.columns.push(KeyColumn {
                name: column.name.clone(),
                ty: column.ty.mapped(name)?,
                collation: column.collation.clone(),
            });
            keyset.select.push(column.select());
        }
        Ok(keyset)
    }

    /// The columns in key order.
    pub(crate) fn columns(&self) -> &[KeyColumn] {
        &self.columns
    }

    /// Which of the keys a row can have, by the types of the columns.
    pub(crate) fn can_hold(&self, keys: &RecordBatch) -> BooleanArray {
        let columns = self.columns.iter().zip(keys.columns());
        let held: Vec<_> = columns.map(|(column, values)| column.can_hold(values)).collect();
        let rows = (0..keys.num_rows()).map(|row| Some(held.iter().all(|column| column.value(row))));
        rows.collect()
    }

    /// Parameters for key values, the first of which is `@p{first}`.
    pub(crate) fn params(&self, first: usize, values: Vec<Value>) -> Vec<Param> {
        let columns = self.columns.iter().cycle();
        let numbered = columns.zip(values).enumerate();
        numbered
            .map(|(i, (column, value))| column.param(&name(first + i), value))
            .collect()
    }

    /// The key columns, in a form whose characters arrive unaltered.
    pub(crate) fn select_list(&self) -> String {
        self.select.join(", ")
    }

    /// `[a], [b]`.
    pub(crate) fn list(&self) -> String {
        quote::list(self.columns.iter().map(|c| c.name.as_str()))
    }

    /// `x.[a] DESC, x.[b] DESC` for the direction `DESC`. The columns are those of `alias`, never converted ones of the select list.
    pub(crate) fn order(&self, alias: &str, direction: &str) -> String {
        let columns = self.columns.iter();
        let parts: Vec<_> = columns
            .map(|c| format!("{alias}.{} {direction}", c.quoted()))
            .collect();
        parts.join(", ")
    }

    /// Rows of the table `t` whose key is in `#keys`.
    pub(crate) fn among_keys(&self) -> String {
        let equal: Vec<_> = self
            .columns
            .iter()
            .map(|c| format!("k.{0} = t.{0}", c.quoted()))
            .collect();
        format!("EXISTS (SELECT 1 FROM #keys AS k WHERE {})", equal.join(" AND "))
    }

    /// Keys above the bound whose first parameter is `@p{first}`.
    pub(crate) fn above(&self, first: usize) -> String {
        self.beyond(self.columns.len(), first, ">", ">")
    }

    /// Keys up to and including the bound whose first parameter is `@p{first}`.
    pub(crate) fn up_to(&self, first: usize) -> String {
        self.to(self.columns.len(), first)
    }

    /// Keys from those on whose first `columns` are `@p{first}` and the next parameters.
    pub(crate) fn from(&self, columns: usize, first: usize) -> String {
        self.beyond(columns, first, ">", ">=")
    }

    /// Keys up to and including those whose first `columns` are `@p{first}` and the next parameters.
    pub(crate) fn to(&self, columns: usize, first: usize) -> String {
        self.beyond(columns, first, "<", "<=")
    }

    fn beyond(&self, columns: usize, first: usize, strict: &str, last: &str) -> String {
        let end = columns.saturating_sub(1);
        let mut condition = self.compare(end, last, first);
        for i in (0..end).rev() {
            let (beyond, equal) = (self.compare(i, strict, first), self.compare(i, "=", first));
            condition = format!("({beyond} OR ({equal} AND {condition}))");
        }
        if end > 0 {
            condition = format!(
                "({} AND {condition})",
                self.compare(0, &format!("{strict}="), first)
            );
        }
        condition
    }

    fn compare(&self, column: usize, operator: &str, first: usize) -> String {
        let parameter = name(first + column);
        let column = &self.columns[column];
        format!("{} {operator} {}", column.quoted(), column.expression(&parameter))
    }
}

fn name(number: usize) -> String {
    format!("p{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyset(columns: &[(&str, &str, Option<&str>)]) -> Keyset {
        let columns = columns.iter().map(|(name, ty, collation)| KeyColumn {
            name: (*name).to_owned(),
            ty: ty.parse().unwrap(),
            collation: collation.map(str::to_owned),
        });
        Keyset {
            columns: columns.collect(),
            select: Vec::new(),
        }
    }

    #[test]
    fn one_column_is_compared_plainly() {
        let key = keyset(&[("id", "int", None)]);
        assert_eq!(key.above(0), "[id] > @p0");
        assert_eq!(key.up_to(1), "[id] <= @p1");
        assert_eq!(key.order("x", "DESC"), "x.[id] DESC");
    }

    #[test]
    fn several_columns_are_compared_in_order_and_the_first_one_bounds() {
        let key = keyset(&[("a]", "int", None), ("b", "date", None), ("c", "int", None)]);
        assert_eq!(
            key.above(0),
            "([a]]] >= @p0 AND ([a]]] > @p0 OR ([a]]] = @p0 AND ([b] > @p1 OR ([b] = @p1 AND [c] > @p2)))))"
        );
        assert_eq!(
            key.up_to(3),
            "([a]]] <= @p3 AND ([a]]] < @p3 OR ([a]]] = @p3 AND ([b] < @p4 OR ([b] = @p4 AND [c] <= @p5)))))"
        );
        assert_eq!(key.list(), "[a]]], [b], [c]");
        assert_eq!(key.from(1, 0), "[a]]] >= @p0");
        assert_eq!(
            key.to(2, 1),
            "([a]]] <= @p1 AND ([a]]] < @p1 OR ([a]]] = @p1 AND [b] <= @p2)))"
        );
    }

    #[test]
    fn the_written_out_comparison_is_that_of_rows() {
        // The condition's shape for two columns, evaluated: a >= x AND (a > x OR (a = x AND b > y)).
        for (a, b) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
            for (x, y) in (0..4).flat_map(|x| (0..4).map(move |y| (x, y))) {
                assert_eq!(a >= x && (a > x || (a == x && b > y)), (a, b) > (x, y));
                assert_eq!(a <= x && (a < x || (a == x && b <= y)), (a, b) <= (x, y));
            }
        }
    }

    #[test]
    fn a_code_page_key_is_compared_in_its_own_type() {
        let key = keyset(&[("k", "varchar(9)", Some("Thai_CI_AS"))]);
        assert_eq!(key.above(0), "[k] > CAST(@p0 COLLATE Thai_CI_AS AS varchar(9))");
    }

    #[test]
    fn parameters_are_numbered_on_and_typed_by_column() {
        let key = keyset(&[("a", "int", None), ("b", "date", None)]);
        let values = vec![Value::Int(1), Value::Date(2), Value::Int(3), Value::Date(4)];
        let names: Vec<_> = key
            .params(5, values)
            .into_iter()
            .map(|p| (p.name, p.ty.unwrap().to_string()))
            .collect();
        let want = [("p5", "int"), ("p6", "date"), ("p7", "int"), ("p8", "date")];
        assert_eq!(names, want.map(|(n, t)| (n.to_owned(), t.to_owned())));
    }
}
