//! A table of one kind in a warehouse, and the parts that write and read it.

use std::path::Path;
use std::sync::Arc;

use iceberg_table::{Catalog, FileSystemCatalog, Storage, TableHandle};
use iceberg_writer::{IcebergSink, SchemaPolicy, TableOptions, WriterOptions};
use model::{SyncId, TableName};
use test_support::{SeededIds, SimClock};

pub(crate) const CENTURY_MS: i64 = 100 * 365 * 86_400_000;

/// A kind of table: format version and partition field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableKind {
    pub(crate) format: u8,
    pub(crate) partition: &'static str,
    pub(crate) label: &'static str,
}

impl TableKind {
    /// The column that it is partitioned by, if by one that may go.
    pub(crate) fn column(self) -> Option<&'static str> {
        match self.label {
            "day" => Some("at"),
            "truncate" => Some("name"),
            _ => None,
        }
    }

    /// Partition fields of the same kind.
    pub(crate) fn variants(self) -> &'static [&'static str] {
        match self.label {
            "day" => &["day(at)"],
            "bucket" => &["bucket(4, id)", "bucket(3, id)"],
            "truncate" => &["truncate(1, name)", "truncate(2, name)", "truncate(20, id)"],
            _ => &[""],
        }
    }
}

const fn kind(format: u8, partition: &'static str, label: &'static str) -> TableKind {
    TableKind {
        format,
        partition,
        label,
    }
}

pub(crate) const KINDS: [TableKind; 8] = [
    kind(2, "", "whole"),
    kind(3, "", "whole"),
    kind(2, "day(at)", "day"),
    kind(3, "day(at)", "day"),
    kind(2, "bucket(4, id)", "bucket"),
    kind(3, "bucket(4, id)", "bucket"),
    kind(2, "truncate(1, name)", "truncate"),
    kind(3, "truncate(1, name)", "truncate"),
];

pub(crate) struct Lake {
    pub(crate) catalog: Arc<FileSystemCatalog>,
    pub(crate) clock: Arc<SimClock>,
    /// The iceberg library stamps metadata with the real time, and snapshots are never older than that. By this clock they all are old.
    pub(crate) later: SimClock,
    pub(crate) ids: Arc<SeededIds>,
    pub(crate) kind: TableKind,
    pub(crate) name: TableName,
    pub(crate) sync: SyncId,
    pub(crate) options: WriterOptions,
    pub(crate) layout: TableOptions,
}

impl Lake {
    pub(crate) fn new(directory: &Path, kind: TableKind, seed: u64) -> Self {
        Self::on(Storage::default(), directory.to_str().unwrap(), kind, seed)
    }

    /// In a warehouse of this storage.
    pub(crate) fn on(storage: Storage, warehouse: &str, kind: TableKind, seed: u64) -> Self {
        let (clock, ids) = (Arc::new(SimClock::default()), Arc::new(SeededIds::new(seed)));
        let catalog = FileSystemCatalog::on(storage, warehouse, clock.clone(), ids.clone());
        let name = format!("v{}_{}_{seed}", kind.format, kind.label);
        let later = SimClock::default();
        later.advance(CENTURY_MS);
        Self {
            later,
            catalog: Arc::new(catalog.unwrap()),
            clock,
            ids,
            kind,
            name: TableName::new("interop", &name),
            sync: SyncId::new("interop"),
            options: WriterOptions {
                target_file_bytes: 4 << 10,
                row_group_rows: 16,
                open_partitions: 2,
                ..WriterOptions::default()
            },
            layout: TableOptions {
                format_version: Some(kind.format),
                partition: Some(fields(kind.partition)),
                schema_changes: SchemaPolicy::Evolve,
                ..TableOptions::default()
            },
        }
    }

    pub(crate) fn sink(&self) -> IcebergSink {
        let (clock, ids) = (self.clock.clone(), self.ids.clone());
        IcebergSink::new(self.catalog.clone(), self.options.clone(), clock, ids)
            .with_tables([(self.name.clone(), self.layout.clone())])
    }

    pub(crate) async fn table(&self) -> TableHandle {
        self.catalog.load(&self.name).await.unwrap().unwrap()
    }
}

pub(crate) fn fields(field: &str) -> Vec<String> {
    Some(field.to_owned())
        .filter(|field| !field.is_empty())
        .into_iter()
        .collect()
}
