//! Where the suite runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg_table::{Catalog, NewTable};
use model::TableName;
use test_support::SimClock;

use crate::faults::Fault;

/// A place with tables.
#[async_trait]
pub(crate) trait Place: Sync {
    /// A catalog of this place. Each call is another process: nothing is shared but what is kept in the place.
    fn catalog(&self) -> Arc<dyn Catalog>;

    /// A catalog of this place over a link that breaks at one request; `None` if it is reached over none.
    async fn over_a_bad_link(&self, _fault: Fault, _at: usize) -> Option<Faulty> {
        None
    }

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

/// A catalog that fails once.
pub(crate) struct Faulty {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) has_failed: Box<dyn Fn() -> bool + Send + Sync>,
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

/// A clock for which everything that a test writes is old enough to be pruned.
pub(crate) fn late_clock() -> Arc<SimClock> {
    const CENTURY_MS: i64 = 100 * 365 * 24 * 3_600_000;
    let clock = SimClock::default();
    clock.advance(CENTURY_MS);
    Arc::new(clock)
}
