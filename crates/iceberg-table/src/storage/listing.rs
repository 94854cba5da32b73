//! Which files there are.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use futures::TryStreamExt;
use model::{Error, ErrorKind, Result, Timestamp};

use super::{Located, Storage, local_path, object_error};
use crate::error::io_error;

/// A file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Where it is.
    pub location: String,
    /// How large it is.
    pub bytes: u64,
    /// When it was written, by the clock of the storage.
    pub modified: Timestamp,
}

impl Storage {
    /// All files below a location, in no order; none if there is no such directory. Links are not followed.
    ///
    /// # Errors
    ///
    /// Whatever cannot be listed: a part of the files is never taken for all of them. `Unsupported` if a name is not Unicode.
    pub(crate) async fn list(&self, location: &str) -> Result<Vec<StoredFile>> {
        if let Some(object) = self.object(location)? {
            return list_objects(object, location).await;
        }
        let directory = PathBuf::from(local_path(location).unwrap_or(location));
        tokio::task::spawn_blocking(move || list_directory(directory))
            .await
            .map_err(|e| Error::internal("listing a directory did not finish").caused_by(e))?
    }
}

async fn list_objects(directory: Located, location: &str) -> Result<Vec<StoredFile>> {
    let bucket = location
        .trim_end_matches('/')
        .strip_suffix(directory.path.as_ref())
        .map(|bucket| bucket.trim_end_matches('/'));
    let bucket = bucket.ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "the files below this location cannot be told",
        )
        .with("location", location)
    })?;
    let found = directory
        .store
        .list(Some(&directory.path))
        .map_ok(|found| StoredFile {
            location: format!("{bucket}/{}", found.location),
            bytes: found.size,
            modified: Timestamp(found.last_modified.timestamp_millis()),
        });
    found
        .try_collect()
        .await
        .map_err(|e| object_error("cannot list files", location, e))
}

fn list_directory(root: PathBuf) -> Result<Vec<StoredFile>> {
    let mut files = Vec::new();
    let is_there = std::fs::symlink_metadata(&root).is_ok_and(|found| found.is_dir());
    let mut directories: Vec<_> = is_there.then_some(root).into_iter().collect();
    while let Some(directory) = directories.pop() {
        let failed = |e| io_error("cannot list files", &directory, e);
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let metadata = entry.metadata().map_err(failed)?;
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.is_file() {
                files.push(StoredFile {
                    location: format!("file://{}", unicode(&entry.path())?),
                    bytes: metadata.len(),
                    modified: modified(&metadata).map_err(failed)?,
                });
            }
        }
    }
    Ok(files)
}

fn unicode(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "a file's name is not Unicode").with("file", path.display())
    })
}

fn modified(metadata: &std::fs::Metadata) -> std::io::Result<Timestamp> {
    let since_1970 = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Timestamp(
        i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX),
    ))
}
