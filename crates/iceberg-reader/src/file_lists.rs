//! The file lists of the snapshots that were looked at last: every chunk of a copy needs the list of the same snapshot.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::spec::SnapshotRef;
use iceberg_table::{LiveFile, TableHandle, live_files};
use model::Result;

/// The files of a snapshot.
pub(crate) type FileList = Arc<Vec<Arc<LiveFile>>>;

/// Lists that are kept: a difference has two snapshots.
const KEPT: usize = 2;

#[derive(Debug, Default)]
pub(crate) struct FileLists {
    kept: Mutex<VecDeque<(Key, FileList)>>,
}

/// A snapshot never changes, so its table and its id say which list it is.
type Key = (String, i64);

impl FileLists {
    /// The data files of a snapshot with their deletes; none without a snapshot.
    pub(crate) async fn of(&self, table: &TableHandle, snapshot: Option<&SnapshotRef>) -> Result<FileList> {
        let Some(snapshot) = snapshot else {
            return Ok(FileList::default());
        };
        let key = (table.metadata().uuid().to_string(), snapshot.snapshot_id());
        if let Some((_, list)) = self.kept().iter().find(|(kept, _)| *kept == key) {
            return Ok(list.clone());
        }
        let list = Arc::new(live_files(table, snapshot).await?);
        let mut kept = self.kept();
        kept.truncate(KEPT - 1);
        kept.push_front((key, list.clone()));
        Ok(list)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<(Key, FileList)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
