//! From rows to delete to the delete files of a snapshot, in the form that the table's format has: position delete files in v2,
//! deletion vectors in v3.
//!
//! A vector stands for all deleted positions of its data file, so it is united with the vector, or the position deletes, that the
//! snapshot below has for that file, and takes their place.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use iceberg::spec::{DataFile, FormatVersion};
use model::{Ids, Result};
use roaring::RoaringTreemap;
use uuid::Uuid;

use crate::catalog::TableHandle;
use crate::layout::data_directory;
use crate::manifests::{FileKey, remove_files};
use crate::read::{DeletedRows, LiveFile, live_files};
use crate::{deletion_vector, position_delete};

/// Rows to delete: positions by the path of their data file.
pub type RowsToDelete = BTreeMap<String, BTreeSet<u64>>;

/// The delete files of one attempt to commit.
#[derive(Debug, Default)]
pub(crate) struct DeleteFiles {
    /// New delete files with the partition spec of each.
    pub(crate) added: Vec<(i32, DataFile)>,
    /// Delete files that the new ones take the place of.
    pub(crate) replaced: HashSet<FileKey>,
    /// The files that were written.
    pub(crate) written: Vec<String>,
}

/// Why rows cannot be deleted.
#[derive(Debug)]
pub(crate) struct MissingFile(pub(crate) String);

impl DeleteFiles {
    /// Writes delete files against the head of `table`, or says which data file is not live there.
    pub(crate) async fn write(
        table: &TableHandle,
        rows: &RowsToDelete,
        ids: &dyn Ids,
    ) -> Result<std::result::Result<Self, MissingFile>> {
        let mut deletes = Self::default();
        if rows.is_empty() {
            return Ok(Ok(deletes));
        }
        let live = live_by_path(table).await?;
        let mut wanted = Vec::with_capacity(rows.len());
        for (path, positions) in rows {
            match live.get(path.as_str()) {
                Some(file) => wanted.push((file.as_ref(), positions)),
                None => return Ok(Err(MissingFile(path.clone()))),
            }
        }
        let written = match table.metadata().format_version() {
            FormatVersion::V3 => deletes.write_vectors(table, &wanted, ids).await,
            _ => deletes.write_positions(table, &wanted, ids).await,
        };
        match written {
            Ok(()) => Ok(Ok(deletes)),
            Err(error) => {
                remove_files(table, deletes.written).await;
                Err(error)
            }
        }
    }

    async fn write_positions(
        &mut self,
        table: &TableHandle,
        wanted: &[(&LiveFile, &BTreeSet<u64>)],
        ids: &dyn Ids,
    ) -> Result<()> {
        for (file, positions) in wanted {
            let positions: Vec<u64> = positions.iter().copied().collect();
            let path = new_path(table, ids, "parquet");
            self.written.push(path.clone());
            let written = position_delete::write(table.table().file_io(), &path, file, &positions).await?;
            self.added.push((file.spec_id, written));
        }
        Ok(())
    }

    async fn write_vectors(
        &mut self,
        table: &TableHandle,
        wanted: &[(&LiveFile, &BTreeSet<u64>)],
        ids: &dyn Ids,
    ) -> Result<()> {
        let present = DeletedRows::new(table.table());
        let mut vectors = Vec::with_capacity(wanted.len());
        for (file, positions) in wanted {
            let mut vector: RoaringTreemap = present.by_position(file).await?.into_iter().collect();
            vector.extend(positions.iter().copied());
            self.replaced.extend(
                file.deletes
                    .iter()
                    .filter(|delete| delete.is_of_one_file())
                    .map(|delete| delete.key()),
            );
            vectors.push((*file, vector));
        }
        let path = new_path(table, ids, "puffin");
        self.written.push(path.clone());
        let described = deletion_vector::write(table.table().file_io(), &path, &vectors).await?;
        let specs = wanted.iter().map(|(file, _)| file.spec_id);
        self.added.extend(specs.zip(described));
        Ok(())
    }
}

async fn live_by_path(table: &TableHandle) -> Result<HashMap<Arc<str>, Arc<LiveFile>>> {
    let Some(head) = table.head() else {
        return Ok(HashMap::new());
    };
    let files = live_files(table, head).await?;
    Ok(files.into_iter().map(|file| (file.path.clone(), file)).collect())
}

fn new_path(table: &TableHandle, ids: &dyn Ids, extension: &str) -> String {
    let directory = data_directory(table.metadata());
    format!(
        "{directory}/{}-deletes.{extension}",
        Uuid::from_u128(ids.random())
    )
}
