//! The seam to a catalog: where the current metadata of a table is found, and how it is swapped atomically.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::{
    FormatVersion, PartitionSpec, Schema, SchemaRef, SnapshotRef, SortOrder, TableMetadata,
    UnboundPartitionSpec,
};
use iceberg::table::Table;
use iceberg::{TableRequirement, TableUpdate};
use model::{Result, TableName, TableSchema};

use crate::schema::table_schema;
use crate::storage::{Storage, StoredFile};

/// A table as it was when it was loaded. Nothing in it changes; load again to see what others committed.
#[derive(Debug, Clone)]
pub struct TableHandle {
    name: TableName,
    table: Table,
    storage: Storage,
}

impl TableHandle {
    /// Wraps a table that a catalog has loaded.
    pub(crate) fn new(name: TableName, table: Table, storage: Storage) -> Self {
        Self { name, table, storage }
    }

    /// The name, by which the catalog knows it.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The iceberg library's view: metadata, file access, manifest lists.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// How the table's files are reached.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// All files below a location that is reached like the table's own, in no order; none if nothing is there.
    ///
    /// # Errors
    ///
    /// As the storage says, if any of them cannot be listed; `Unsupported` if a name is not Unicode.
    pub async fn files_below(&self, location: &str) -> Result<Vec<StoredFile>> {
        self.storage.list(location).await
    }

    /// The metadata.
    pub fn metadata(&self) -> &TableMetadata {
        self.table.metadata()
    }

    /// The head of the main branch; `None` for a table without snapshots.
    pub fn head(&self) -> Option<&SnapshotRef> {
        self.metadata().current_snapshot()
    }

    /// The current Iceberg schema, with its field ids.
    pub fn iceberg_schema(&self) -> &SchemaRef {
        self.metadata().current_schema()
    }

    /// The current schema in our vocabulary, see [`table_schema`].
    ///
    /// # Errors
    ///
    /// As [`table_schema`].
    pub fn schema(&self) -> Result<Arc<TableSchema>> {
        table_schema(self.iceberg_schema(), self.metadata().properties())
    }
}

/// What a new table looks like.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// The columns; field ids are assigned anew, 1 and up in this order.
    pub schema: Schema,
    /// How rows are partitioned, by the field ids of `schema`.
    pub partitions: UnboundPartitionSpec,
    /// How rows are sorted in files, by the field ids of `schema`.
    pub sort_order: SortOrder,
    /// The format.
    pub format: FormatVersion,
    /// The properties.
    pub properties: HashMap<String, String>,
}

impl NewTable {
    /// An unpartitioned, unsorted table of format v2, without properties.
    pub fn new(schema: Schema) -> Self {
        Self {
            schema,
            partitions: PartitionSpec::unpartition_spec().into_unbound(),
            sort_order: SortOrder::unsorted_order(),
            format: FormatVersion::V2,
            properties: HashMap::new(),
        }
    }
}

/// A change of a table's metadata.
#[derive(Debug, Clone, Default)]
pub struct MetadataChange {
    /// What must still hold.
    pub requirements: Vec<TableRequirement>,
    /// What is done, in order.
    pub updates: Vec<TableUpdate>,
}

/// How a catalog commit ended. Neither of the last two is an error.
#[derive(Debug, Clone)]
pub enum CatalogCommit {
    /// The metadata was swapped; this is the new table.
    Done(Box<TableHandle>),
    /// This request did not and will not: somebody else committed since the table was loaded, or a requirement failed. A link that
    /// repeats requests may hide that an earlier sending of it did.
    Conflict {
        /// What was in the way.
        why: String,
    },
    /// It may have been, or may still be. Load the table again and look.
    Unknown {
        /// What is known of the cause.
        why: String,
    },
}

/// Where tables are found and metadata is swapped.
///
/// # Contract
///
/// - **Guarantees.** `commit` changes the metadata atomically, and only if every requirement holds of what it replaces: of two commits
///   that require the same head and move it, at most one is `Done`. What is `Done` survives a crash. `load` sees every commit
///   that was `Done` before it began.
/// - **Does not guarantee** that an older handle's files still exist: maintenance may have removed them; nor that a commit is refused
///   because of a change that no requirement speaks of. A REST server applies it to what is there; other catalogs refuse it.
/// - **Failure.** An `Err` of `commit` means that nothing changed; everything uncertain is [`CatalogCommit::Unknown`]. An `Err` of
///   `create` leaves it open whether there is now an empty table.
#[async_trait]
pub trait Catalog: Debug + Send + Sync {
    /// The table as it is now; `None` if there is none.
    async fn load(&self, table: &TableName) -> Result<Option<TableHandle>>;

    /// Creates a table without snapshots. `None` if one is there already.
    async fn create(&self, table: &TableName, new: NewTable) -> Result<Option<TableHandle>>;

    /// Changes the metadata that `base` was loaded with.
    async fn commit(&self, base: &TableHandle, change: MetadataChange) -> Result<CatalogCommit>;

    /// Makes written files durable before metadata refers to them.
    async fn persist(&self, files: &[String]) -> Result<()>;

    /// All tables, in order.
    async fn list(&self) -> Result<Vec<TableName>>;

    /// Checks that tables can be created and changed, without leaving a trace.
    async fn check_writable(&self) -> Result<()>;
}
