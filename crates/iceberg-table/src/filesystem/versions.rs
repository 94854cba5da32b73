//! The versions of one table's metadata: finding the newest, publishing the next, pruning the oldest. Blocking.
//!
//! - The hint names a version that once was the newest; from there on the newest is found by probing. It is only ever
//!   written after its version is durable, so a hint above all versions means that files were lost.
//! - Versions are pruned strictly oldest first and never younger than an hour. A writer that slept across pruning may find its
//!   number free again; it notices afterwards that the version it built on is gone, or that higher ones exist.

use std::fs::{self, File};
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use model::{Error, ErrorKind, Result, Timestamp};

use crate::error::io_error;

const HINT: &str = "version-hint.text";
const MINIMUM_AGE_MS: i64 = 3_600_000;

#[derive(Debug, Clone)]
pub(super) struct Versions {
    directory: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) path: PathBuf,
}

/// How publishing a version ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Publication {
    /// It is there, durable and the newest.
    Published,
    /// The number is taken.
    Taken,
    /// It is perhaps there, or there, but perhaps not durable, or not a successor of what it was built on.
    Uncertain(String),
}

pub(super) struct Pruning {
    pub(super) keep_previous: usize,
    pub(super) now: Timestamp,
}

enum Hint {
    Absent,
    Damaged,
    At(u64),
}

impl Versions {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("v{number}.metadata.json"))
    }

    /// The newest version; `None` if there is no table.
    pub(super) fn newest(&self) -> Result<Option<Version>> {
        let hint = self.hint()?;
        if let Hint::At(number) = hint
            && let Some(mut newest) = self.existing(number)
        {
            while let Some(next) = self.existing(newest.number + 1) {
                newest = next;
            }
            return Ok(Some(newest));
        }
        let newest = self.listed()?.pop();
        match (hint, &newest) {
            (Hint::At(hinted), found) if found.as_ref().is_none_or(|found| found.number < hinted) => {
                Err(self.lost(hinted, found.as_ref()))
            }
            (Hint::Damaged, None) => Err(self.lost(0, None)),
            (_, Some(found)) => {
                tracing::warn!(
                    directory = %self.directory.display(),
                    version = found.number,
                    "the version hint was missing or damaged and is written again"
                );
                self.write_hint(found.number);
                Ok(newest)
            }
            (_, None) => Ok(None),
        }
    }

    /// Makes `metadata` the version after `after`, which is 0 for a new table. `temporary` is a name that nobody else uses.
    pub(super) fn publish(&self, after: u64, metadata: &[u8], temporary: &str) -> Result<Publication> {
        fs::create_dir_all(&self.directory)
            .map_err(|e| io_error("cannot create the table's metadata directory", &self.directory, e))?;
        let number = after + 1;
        if self.existing(number).is_some() {
            return Ok(Publication::Taken);
        }
        let temporary = self.directory.join(temporary);
        let linked = write_synced(&temporary, metadata)
            .map_err(|e| io_error("cannot write the table's metadata", &self.path(number), e))
            .map(|()| self.link(&temporary, number));
        if let Err(error) = fs::remove_file(&temporary) {
            tracing::warn!(%error, file = %temporary.display(), "a temporary file is left behind");
        }
        match linked? {
            Ok(true) => {}
            Ok(false) => return Ok(Publication::Taken),
            Err(error) => {
                return Ok(Publication::Uncertain(format!(
                    "version {number} was perhaps not written: {error}"
                )));
            }
        }
        if let Err(error) = sync_up(&self.directory) {
            return Ok(Publication::Uncertain(format!(
                "version {number} was written, but perhaps not to the disk: {error}"
            )));
        }
        let base_is_there = after == 0 || self.existing(after).is_some();
        let is_newest = self
            .listed()
            .is_ok_and(|versions| versions.last().is_some_and(|v| v.number == number));
        if !base_is_there || !is_newest {
            return Ok(Publication::Uncertain(format!(
                "version {number} was written, but others were written meanwhile"
            )));
        }
        self.write_hint(number);
        Ok(Publication::Published)
    }

    /// Removes old versions, oldest first, until the first that must stay.
    pub(super) fn prune(&self, pruning: Pruning) -> Result<()> {
        let versions = self.listed()?;
        let surplus = versions
            .len()
            .saturating_sub(pruning.keep_previous.saturating_add(1));
        for version in versions.into_iter().take(surplus) {
            if pruning.now.0 - modified(&version.path)?.0 < MINIMUM_AGE_MS {
                break;
            }
            fs::remove_file(&version.path)
                .map_err(|e| io_error("cannot remove an old metadata file", &version.path, e))?;
        }
        Ok(())
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

    fn hint(&self) -> Result<Hint> {
        let path = self.directory.join(HINT);
        match fs::read(&path) {
            Ok(bytes) => {
                let number = std::str::from_utf8(&bytes)
                    .ok()
                    .and_then(|text| text.trim().parse().ok());
                Ok(number.map_or(Hint::Damaged, Hint::At))
            }
            Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => Ok(Hint::Absent),
            Err(e) => Err(io_error("cannot read the version hint", &path, e)),
        }
    }

    /// Writes the hint unless it already names this version or a higher one. It is only a hint: failing is no error.
    fn write_hint(&self, number: u64) {
        if matches!(self.hint(), Ok(Hint::At(present)) if present >= number) {
            return;
        }
        let path = self.directory.join(HINT);
        let temporary = self
            .directory
            .join(format!(".hint-{number}-{}.tmp", std::process::id()));
        let written = write_synced(&temporary, number.to_string().as_bytes())
            .and_then(|()| fs::rename(&temporary, &path))
            .inspect_err(|_| drop(fs::remove_file(&temporary)));
        if let Err(error) = written {
            tracing::warn!(%error, file = %path.display(), "the version hint stays as it is; readers probe from there");
        }
    }

    fn existing(&self, number: u64) -> Option<Version> {
        let plain = self.path(number);
        let zipped = self.directory.join(format!("v{number}.gz.metadata.json"));
        [plain, zipped]
            .into_iter()
            .find(|path| path.exists())
            .map(|path| Version { number, path })
    }

    /// All versions, oldest first.
    fn listed(&self) -> Result<Vec<Version>> {
        let failed = |e| io_error("cannot list the table's metadata", &self.directory, e);
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), Io::NotFound | Io::NotADirectory) => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut versions = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if let Some(number) = version_of(&path) {
                versions.push(Version { number, path });
            }
        }
        versions.sort_by_key(|version| version.number);
        Ok(versions)
    }

    fn lost(&self, hinted: u64, found: Option<&Version>) -> Error {
        let hint = self.directory.join(HINT);
        let (message, remedy) = match found {
            Some(found) => (
                format!(
                    "metadata was lost: the version hint names {hinted}, and the newest version is {}",
                    found.number
                ),
                format!(
                    "restore the missing files, or, if version {} is the state that you want, remove {}",
                    found.number,
                    hint.display()
                ),
            ),
            None => (
                "metadata was lost: there is a version hint and no version".to_owned(),
                format!(
                    "restore the files v*.metadata.json, or remove {} to start a new table",
                    hint.display()
                ),
            ),
        };
        Error::new(ErrorKind::Corrupt, message)
            .with("directory", self.directory.display())
            .hint(remedy)
    }
}

/// The number of `v{N}.metadata.json` or `v{N}.gz.metadata.json`.
pub(super) fn version_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let number = name.strip_prefix('v')?.strip_suffix(".metadata.json")?;
    number.strip_suffix(".gz").unwrap_or(number).parse().ok()
}

/// Makes the names in a directory durable, and those of its parents up to the first that was surely durable before: a new table has
/// three new levels.
pub(super) fn sync_up(directory: &Path) -> Result<()> {
    for level in directory
        .ancestors()
        .take(4)
        .filter(|level| !level.as_os_str().is_empty())
    {
        File::open(level)
            .and_then(|opened| opened.sync_all())
            .map_err(|e| io_error("cannot make a directory durable", level, e))?;
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn modified(path: &Path) -> Result<Timestamp> {
    let time = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .map_err(|e| io_error("cannot read the age of a metadata file", path, e))?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests;
