//! States in a directory: one file per sync, replaced atomically.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use model::{
    Clock, Error, ErrorKind, LeaseOutcome, Loaded, Result, SaveOutcome, StateStore, StoredState, SyncId,
    TableState, Timestamp,
};

use crate::file_lock::{self, Taken};
use crate::file_name::encode;
use crate::state_file::StateFile;

/// A directory of state files, each with the last twenty versions of one sync.
///
/// A version is written to a temporary file, flushed, renamed over the old one, and the directory is flushed. Compare-and-set
/// holds among all processes that use the directory on one machine, and on network file systems as far as their
/// locks do. The directory is created by the first call that writes.
///
/// # Cancel safety
///
/// A call that was begun runs to its end although its future is dropped.
#[derive(Debug, Clone)]
pub struct FileStore {
    directory: Arc<PathBuf>,
    clock: Arc<dyn Clock>,
}

impl FileStore {
    /// The store in `directory`, whose versions are dated by `clock`.
    pub fn new(directory: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            directory: Arc::new(directory.into()),
            clock,
        }
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let directory = self.directory.clone();
        let done = tokio::task::spawn_blocking(move || work(&directory)).await;
        done.map_err(|e| Error::internal("work on the state store ended early").caused_by(e))?
    }
}

#[async_trait]
impl StateStore for FileStore {
    async fn load(&self, sync: &SyncId) -> Result<Loaded> {
        let sync = sync.clone();
        self.blocking(move |directory| load(directory, &sync)).await
    }

    async fn save(&self, sync: &SyncId, expected: Option<u64>, state: &TableState) -> Result<SaveOutcome> {
        let (sync, state, now) = (sync.clone(), state.clone(), self.clock.now());
        self.blocking(move |directory| save(directory, &sync, expected, state, now))
            .await
    }

    async fn history(&self, sync: &SyncId) -> Result<Vec<StoredState>> {
        let sync = sync.clone();
        let read = self.blocking(move |directory| read(&state_path(directory, &sync)));
        Ok(match read.await? {
            Contents::Read(file) => file.versions,
            Contents::Absent | Contents::Damaged(_) => Vec::new(),
        })
    }

    async fn list(&self) -> Result<Vec<SyncId>> {
        self.blocking(list).await
    }

    async fn remove(&self, sync: &SyncId) -> Result<()> {
        let sync = sync.clone();
        self.blocking(move |directory| remove(directory, &sync)).await
    }

    async fn lease(&self, name: &str, holder: &str) -> Result<LeaseOutcome> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.blocking(move |directory| {
            create(directory)?;
            let path = directory.join(format!("lease-{}", encode(&name)));
            let taken = file_lock::take(&path, &holder).map_err(|e| failed("take the lease", &path, e))?;
            Ok(match taken {
                Taken::Ours(lease) => LeaseOutcome::Held(Box::new(lease)),
                Taken::Theirs { holder } => LeaseOutcome::Busy { holder },
            })
        })
        .await
    }
}

/// What a state file holds.
enum Contents {
    Absent,
    Read(StateFile),
    Damaged(String),
}

fn read(path: &Path) -> Result<Contents> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(StateFile::from_bytes(&bytes).map_or_else(Contents::Damaged, Contents::Read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::Absent),
        Err(error) => Err(failed("read the state", path, error)),
    }
}

fn load(directory: &Path, sync: &SyncId) -> Result<Loaded> {
    let path = state_path(directory, sync);
    if let Contents::Damaged(_) = read(&path)? {
        let _locked = lock(directory)?;
        // Somebody may have replaced it while we waited.
        if let Contents::Damaged(why) = read(&path)? {
            let kept = set_aside(&path)?;
            return Ok(Loaded::Damaged {
                why: format!("{why}; it is kept as {}", kept.display()),
            });
        }
    }
    Ok(match read(&path)? {
        Contents::Read(file) => {
            let newest = file.newest().cloned().map(Box::new);
            newest.map_or(Loaded::Absent, Loaded::Found)
        }
        Contents::Absent | Contents::Damaged(_) => Loaded::Absent,
    })
}

fn save(
    directory: &Path,
    sync: &SyncId,
    expected: Option<u64>,
    state: TableState,
    now: Timestamp,
) -> Result<SaveOutcome> {
    create(directory)?;
    let path = state_path(directory, sync);
    let _locked = lock(directory)?;
    let mut file = match read(&path)? {
        Contents::Read(file) => file,
        Contents::Absent => StateFile::empty(sync),
        Contents::Damaged(_) => {
            set_aside(&path)?;
            StateFile::empty(sync)
        }
    };
    let newest = file.newest().map(|stored| stored.version);
    if newest != expected {
        return Ok(SaveOutcome::Stale { newest });
    }
    let version = newest.unwrap_or(0) + 1;
    file.push(StoredState {
        version,
        saved_at: now,
        state,
    });
    let bytes = file
        .to_bytes()
        .map_err(|e| Error::internal("cannot write a state as JSON").caused_by(e))?;
    replace(directory, &path, &bytes).map_err(|e| failed("save the state", &path, e))?;
    Ok(SaveOutcome::Saved(version))
}

fn list(directory: &Path) -> Result<Vec<SyncId>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list the states", directory, error)),
    };
    let mut syncs = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| failed("list the states", directory, e))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        match read(&path)? {
            Contents::Read(file) => syncs.push(file.sync),
            Contents::Damaged(why) => tracing::warn!(path = %path.display(), why, "a state file is damaged"),
            Contents::Absent => {}
        }
    }
    syncs.sort();
    Ok(syncs)
}

fn remove(directory: &Path, sync: &SyncId) -> Result<()> {
    let path = state_path(directory, sync);
    if !path.exists() {
        return Ok(());
    }
    let _locked = lock(directory)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove the state", &path, error))
        }
        _ => flush_directory(directory).map_err(|e| failed("remove the state", &path, e)),
    }
}

/// The prefix keeps names such as `con`, `..` and the empty one harmless.
fn state_path(directory: &Path, sync: &SyncId) -> PathBuf {
    directory.join(format!("state-{}.json", encode(sync.as_str())))
}

fn create(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).map_err(|e| failed("create the directory of states", directory, e))
}

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join("states.lock");
    file_lock::wait(&path).map_err(|e| failed("lock the states", &path, e))
}

/// Renames a damaged file to the first free name beside it.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let free = (1..)
        .map(|number| path.with_extension(format!("damaged-{number}")))
        .find(|kept| !kept.exists())
        .ok_or_else(|| Error::internal("there is no free name for a damaged state"))?;
    std::fs::rename(path, &free).map_err(|e| failed("keep the damaged state aside", path, e))?;
    Ok(free)
}

fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One writer at a time holds the lock, so the name cannot meet another writer's.
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    flush_directory(directory)
}

#[cfg(unix)]
fn flush_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A directory cannot be opened as a file here; renames are durable when they return.
#[cfg(not(unix))]
fn flush_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists => {
            ErrorKind::Config
        }
        _ => ErrorKind::Unavailable,
    };
    let failed = Error::new(kind, format!("cannot {what}"))
        .with("path", path.display())
        .with("cause", &error)
        .caused_by(error);
    match kind {
        ErrorKind::Denied => {
            failed.hint("give this user the right to write there, or name another state directory")
        }
        ErrorKind::Config => failed.hint("name a directory for the states, not a file"),
        _ => failed,
    }
}

#[cfg(test)]
mod tests;
