//! What a table is: columns, keys, constraints. Immutable; a change makes a new one.

use crate::ast;
use crate::clock::Instant;
use crate::types::TypeInfo;

/// `IDENTITY (seed, increment)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) seed: i64,
    pub(crate) increment: i64,
}

/// A column's default.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DefaultConstraint {
    pub(crate) object_id: i32,
    pub(crate) name: String,
    pub(crate) system_named: bool,
    pub(crate) value: ast::ExprText,
}

/// `AS (…)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Computed {
    pub(crate) value: ast::ExprText,
    pub(crate) persisted: bool,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    /// `sys.columns.column_id`: stable over the table's life.
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) info: TypeInfo,
    /// An alias type's name, `sysname` for example.
    pub(crate) alias: Option<String>,
    pub(crate) identity: Option<Identity>,
    pub(crate) computed: Option<Computed>,
    pub(crate) default: Option<DefaultConstraint>,
    pub(crate) rowguid: bool,
    pub(crate) sparse: bool,
    /// The masking function, told in the catalog: values are given to everybody as they are.
    pub(crate) masked: Option<String>,
}

/// One column of an index key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexKey {
    /// Position in the table's columns.
    pub(crate) column: usize,
    pub(crate) descending: bool,
}

/// An index, a primary key or a unique constraint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Index {
    /// `sys.indexes.index_id`: 1 for the clustered one.
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) unique: bool,
    pub(crate) primary: bool,
    /// The key constraint's object id, for PRIMARY KEY and UNIQUE.
    pub(crate) constraint: Option<i32>,
    pub(crate) system_named: bool,
    pub(crate) clustered: bool,
    pub(crate) columnstore: bool,
    pub(crate) keys: Vec<IndexKey>,
    pub(crate) included: Vec<usize>,
    pub(crate) filter: Option<ast::ExprText>,
    pub(crate) ignore_dup_key: bool,
    pub(crate) disabled: bool,
}

/// `CHECK (…)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckConstraint {
    pub(crate) object_id: i32,
    pub(crate) name: String,
    pub(crate) system_named: bool,
    pub(crate) condition: ast::ExprText,
    pub(crate) disabled: bool,
    pub(crate) trusted: bool,
}

/// `FOREIGN KEY (…) REFERENCES …`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ForeignKey {
    pub(crate) object_id: i32,
    pub(crate) name: String,
    pub(crate) system_named: bool,
    pub(crate) columns: Vec<usize>,
    pub(crate) referenced: super::TableId,
    pub(crate) referenced_columns: Vec<usize>,
    pub(crate) on_delete: ast::ReferentialAction,
    pub(crate) on_update: ast::ReferentialAction,
    pub(crate) disabled: bool,
    pub(crate) trusted: bool,
}

/// A table's definition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) object_id: i32,
    /// `sys.databases.database_id`.
    pub(crate) database: i32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) created: Instant,
    pub(crate) modified: Instant,
    pub(crate) columns: Vec<Column>,
    pub(crate) indexes: Vec<Index>,
    pub(crate) checks: Vec<CheckConstraint>,
    pub(crate) foreign_keys: Vec<ForeignKey>,
    /// The greatest column id ever given.
    pub(crate) last_column_id: i32,
    /// A table variable: outside of transactions.
    pub(crate) variable: bool,
}

impl Table {
    /// A column's position by name.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| same_name(&column.name, name))
    }

    /// The identity column's position.
    pub(crate) fn identity(&self) -> Option<usize> {
        self.columns.iter().position(|column| column.identity.is_some())
    }

    /// The primary key's position among the indexes.
    pub(crate) fn primary_key(&self) -> Option<usize> {
        self.indexes.iter().position(|index| index.primary)
    }

    /// `schema.name`, as errors spell it.
    pub(crate) fn qualified(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Names compare without case, as in a database of the default collation.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}
