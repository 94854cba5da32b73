//! How the source's columns differ from a table's, in words.

use std::fmt;

/// One way in which a delivered schema does not fit a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SchemaDifference {
    /// The source delivers a column that the table lacks.
    Added {
        /// The column and its Iceberg type.
        column: String,
    },
    /// The table has a column that the source does not deliver.
    Missing {
        /// The column.
        column: String,
    },
    /// A column's types differ.
    Type {
        /// The column.
        column: String,
        /// The Iceberg type in the table.
        table: String,
        /// The Iceberg type of what is delivered.
        delivered: String,
    },
    /// The source may deliver NULL where the table forbids it.
    Nullable {
        /// The column.
        column: String,
    },
    /// The keys differ.
    Key {
        /// The table's key columns.
        table: Vec<String>,
        /// The delivered key columns.
        delivered: Vec<String>,
    },
}

impl fmt::Display for SchemaDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { column } => write!(f, "the table lacks column {column}"),
            Self::Missing { column } => write!(f, "the source no longer delivers column {column}"),
            Self::Type {
                column,
                table,
                delivered,
            } => {
                write!(
                    f,
                    "column {column} is {table} in the table and {delivered} in the source"
                )
            }
            Self::Nullable { column } => {
                write!(
                    f,
                    "column {column} is required in the table and may be NULL in the source"
                )
            }
            Self::Key { table, delivered } => {
                write!(
                    f,
                    "the key is ({}) in the table and ({}) in the source",
                    table.join(", "),
                    delivered.join(", ")
                )
            }
        }
    }
}
