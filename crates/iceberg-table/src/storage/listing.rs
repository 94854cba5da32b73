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
    /// All files below a location, in no order; none if there is no such directory. Links are not followed. Empty objects are no files.
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
        // Programs mark directories so, with a slash at the end that is not in these paths. No file of a table is empty.
        .try_filter(|found| std::future::ready(found.size > 0))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::path::Path as ObjectPath;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;

    #[tokio::test]
    async fn objects_are_listed_below_any_location_without_marks_of_directories() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for (path, content) in [
            ("t/data", &b""[..]),
            ("t/data/p=1", b""),
            ("t/data/p=1/a b%20.parquet", b"12345"),
            ("t/data/p=2", b""),
            ("t/metadata/v1.metadata.json", b"{}"),
            ("tt/data/b.parquet", b"1"),
        ] {
            let path = ObjectPath::parse(path).unwrap();
            store.put(&path, content.into()).await.unwrap();
        }
        let data = "t/data/p=1/a b%20.parquet";
        let metadata = "t/metadata/v1.metadata.json";
        let other = "tt/data/b.parquet";
        for (bucket, directory, expected) in [
            ("s3://b", "", &[data, metadata, other][..]),
            ("s3://b", "/", &[data, metadata, other]),
            ("s3a://b", "/t", &[data, metadata]),
            ("gs://b", "/t/data", &[data]),
            ("gs://b", "/t/data/", &[data]),
            ("abfss://c@acc.dfs.core.windows.net", "", &[data, metadata, other]),
            ("abfss://c@acc.dfs.core.windows.net", "/t/data/p=2", &[]),
        ] {
            let storage = Storage::with_store(bucket, store.clone());
            let location = format!("{bucket}{directory}");
            let found = storage.list(&location).await.unwrap();
            let mut found: Vec<_> = found.into_iter().map(|file| file.location).collect();
            found.sort();
            let expected: Vec<_> = expected.iter().map(|path| format!("{bucket}/{path}")).collect();
            assert_eq!(found, expected, "{location}");
        }
    }
}
