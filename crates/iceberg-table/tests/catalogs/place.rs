//! Where the suite runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg_table::{Catalog, NewTable};
use model::TableName;

/// A place with tables.
pub(crate) trait Place: Sync {
    /// A catalog of this place. Each call is another process: nothing is shared but what is kept in the place.
    fn catalog(&self) -> Arc<dyn Catalog>;

    /// Names that this place takes.
    fn names(&self) -> Vec<TableName> {
        [
            ("dbo", "Orders"),
            ("dbo", "orders"),
            ("a b", "größe"),
            ("x", "日本.x"),
        ]
        .map(|(schema, name)| TableName::new(schema, name))
        .into()
    }
}

/// A new, empty table with a name of its own.
pub(crate) async fn new_table(place: &dyn Place) -> TableName {
    static TABLES: AtomicU64 = AtomicU64::new(0);
    let number = TABLES.fetch_add(1, Ordering::Relaxed);
    let name = TableName::new("suite", format!("t{number}"));
    let created = place.catalog().create(&name, definition()).await.unwrap();
    assert!(created.is_some(), "{name} is there already");
    name
}

pub(crate) fn definition() -> NewTable {
    let fields = [
        NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into(),
        NestedField::optional(2, "value", Type::Primitive(PrimitiveType::String)).into(),
    ];
    NewTable {
        properties: [("made-by".to_owned(), "the suite".to_owned())].into(),
        ..NewTable::new(Schema::builder().with_fields(fields).build().unwrap())
    }
}
