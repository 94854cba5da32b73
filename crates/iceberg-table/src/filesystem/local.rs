//! Versions in a local directory: written aside, synced and hard-linked to their names, so that of two writers one wins.

use std::fs::{self, File};
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use model::{Error, Result, Timestamp};

use super::versions::{Creation, HINT, Version, VersionFiles, hinted, version_of};
use crate::error::io_error;
use crate::storage::{local_path, sync_up};

/// The metadata directory of one table.
#[derive(Debug, Clone)]
pub(super) struct LocalVersions {
    location: String,
    directory: PathBuf,
}

impl LocalVersions {
    /// In the directory of this location.
    pub(super) fn new(location: String) -> Self {
        Self {
            directory: local_path(&location).unwrap_or(&location).into(),
            location,
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("v{number}.metadata.json"))
    }

    fn list_now(&self) -> Result<Vec<Version>> {
        let failed = |e| io_error("cannot list the table's metadata", &self.directory, e);
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut versions = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some((name, number)) = name.to_str().and_then(|name| Some((name, version_of(name)?))) else {
                continue;
            };
            match entry.metadata() {
                Ok(metadata) => versions.push(Version {
                    number,
                    location: format!("{}/{name}", self.location),
                    written: written(&metadata),
                }),
                Err(e) if e.kind() == Io::NotFound => {}
                Err(e) => return Err(failed(e)),
            }
        }
        versions.sort_by_key(|version| version.number);
        Ok(versions)
    }

    fn create_now(&self, number: u64, metadata: &[u8], unique: &str) -> Result<Creation> {
        fs::create_dir_all(&self.directory)
            .map_err(|e| io_error("cannot create the table's metadata directory", &self.directory, e))?;
        let temporary = self.directory.join(format!(".{unique}.tmp"));
        let linked = write_synced(&temporary, metadata)
            .map_err(|e| io_error("cannot write the table's metadata", &self.path(number), e))
            .map(|()| self.link(&temporary, number));
        if let Err(error) = fs::remove_file(&temporary) {
            tracing::warn!(%error, file = %temporary.display(), "a temporary file is left behind");
        }
        Ok(match linked? {
            Ok(true) => match sync_up(&self.directory) {
                Ok(()) => Creation::Created,
                Err(error) => Creation::Uncertain(format!(
                    "version {number} was written, but perhaps not to the disk: {error}"
                )),
            },
            Ok(false) => Creation::Taken,
            Err(error) => Creation::Uncertain(format!("version {number} was perhaps not written: {error}")),
        })
    }

    /// Links the temporary file to its version; `false` if the number is taken. An error leaves open whether the name was made.
    fn link(&self, temporary: &Path, number: u64) -> std::io::Result<bool> {
        let path = self.path(number);
        match fs::hard_link(temporary, &path) {
            Ok(()) => Ok(true),
            // A network file system may report a failure although the name was made, and then fail to show it.
            Err(e) => match (fs::metadata(temporary), fs::metadata(&path)) {
                (Ok(ours), Ok(present)) if (ours.dev(), ours.ino()) == (present.dev(), present.ino()) => {
                    Ok(true)
                }
                (_, Ok(_)) if e.kind() == Io::AlreadyExists => Ok(false),
                _ => Err(e),
            },
        }
    }

    fn read_hint(&self) -> Result<Option<Vec<u8>>> {
        let path = self.directory.join(HINT);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => Ok(None),
            Err(e) => Err(io_error("cannot read the version hint", &path, e)),
        }
    }

    fn raise_hint_now(&self, number: u64) {
        let present = self.read_hint().ok().flatten();
        if present
            .as_deref()
            .and_then(hinted)
            .is_some_and(|present| present >= number)
        {
            return;
        }
        let path = self.directory.join(HINT);
        let temporary = self
            .directory
            .join(format!(".hint-{number}-{}.tmp", std::process::id()));
        let failed = |e| io_error("cannot write the version hint", &path, e);
        let written = sync_up(&self.directory).and_then(|()| {
            write_synced(&temporary, number.to_string().as_bytes())
                .and_then(|()| fs::rename(&temporary, &path))
                .inspect_err(|_| drop(fs::remove_file(&temporary)))
                .map_err(failed)
        });
        if let Err(error) = written {
            tracing::warn!(%error, "the version hint stays as it is; readers probe from there");
        }
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> Result<T> {
        let files = self.clone();
        blocking(move || work(&files)).await
    }
}

#[async_trait]
impl VersionFiles for LocalVersions {
    fn location(&self) -> &str {
        &self.location
    }

    async fn find(&self, number: u64) -> Result<Option<String>> {
        self.blocking(move |files| {
            for name in [
                format!("v{number}.metadata.json"),
                format!("v{number}.gz.metadata.json"),
            ] {
                let path = files.directory.join(&name);
                match fs::metadata(&path) {
                    Ok(_) => return Ok(Some(format!("{}/{name}", files.location))),
                    Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => {}
                    Err(e) => return Err(io_error("cannot look for the table's metadata", &path, e)),
                }
            }
            Ok(None)
        })
        .await?
    }

    async fn list(&self) -> Result<Vec<Version>> {
        self.blocking(|files| files.list_now()).await?
    }

    async fn create(&self, number: u64, metadata: Vec<u8>, unique: &str) -> Result<Creation> {
        let unique = unique.to_owned();
        self.blocking(move |files| files.create_now(number, &metadata, &unique))
            .await?
    }

    async fn remove(&self, version: &Version) -> Result<()> {
        let path = PathBuf::from(local_path(&version.location).unwrap_or(&version.location));
        self.blocking(move |_| {
            fs::remove_file(&path).map_err(|e| io_error("cannot remove an old metadata file", &path, e))
        })
        .await?
    }

    async fn hint(&self) -> Result<Option<Vec<u8>>> {
        self.blocking(|files| files.read_hint()).await?
    }

    async fn raise_hint(&self, number: u64) {
        if let Err(error) = self.blocking(move |files| files.raise_hint_now(number)).await {
            tracing::warn!(%error, "the version hint stays as it is; readers probe from there");
        }
    }
}

/// Runs blocking work on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("a file system task did not finish").caused_by(e))
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn written(metadata: &fs::Metadata) -> Timestamp {
    let since = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
