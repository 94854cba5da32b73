//! The versions of one table's metadata: finding the newest, publishing the next, pruning the oldest.
//!
//! - The hint names a version that once was the newest; from there on the newest is found by probing. It is only ever
//!   written after its version is durable, so a hint above all versions means that files were lost.
//! - Versions are pruned strictly oldest first and never younger than an hour. A writer that slept across pruning may find its
//!   number free again; it notices afterwards that the version it built on is gone, or that higher ones exist.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use model::{Error, ErrorKind, Result, Timestamp};

const MINIMUM_AGE_MS: i64 = 3_600_000;

/// The name of the hint.
pub(super) const HINT: &str = "version-hint.text";

/// The files of one table's metadata.
#[async_trait]
pub(super) trait VersionFiles: Debug + Send + Sync {
    /// Where they are.
    fn location(&self) -> &str;

    /// The file of a version, if there is one.
    async fn find(&self, number: u64) -> Result<Option<String>>;

    /// All versions, oldest first.
    async fn list(&self) -> Result<Vec<Version>>;

    /// Creates `v{number}.metadata.json`, durably. `unique` is a name that nobody else uses.
    async fn create(&self, number: u64, metadata: Vec<u8>, unique: &str) -> Result<Creation>;

    /// Removes an old version.
    async fn remove(&self, version: &Version) -> Result<()>;

    /// What the hint says; `None` without one.
    async fn hint(&self) -> Result<Option<Vec<u8>>>;

    /// Makes this version, which is there, durable and writes the hint, unless that already names it or a higher one. It is only a
    /// hint: failing is no error.
    async fn raise_hint(&self, number: u64);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) location: String,
    /// When it was written.
    pub(super) written: Timestamp,
}

/// How creating a version's file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Creation {
    /// It is there, it is ours, and it is durable.
    Created,
    /// Somebody else's is there.
    Taken,
    /// It is perhaps there, or will be, or is there and perhaps not durable.
    Uncertain(String),
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

#[derive(Debug, Clone)]
pub(super) struct Versions(Arc<dyn VersionFiles>);

impl Versions {
    pub(super) fn new(files: impl VersionFiles + 'static) -> Self {
        Self(Arc::new(files))
    }

    /// The file that a version has if we publish it.
    pub(super) fn file(&self, number: u64) -> String {
        format!("{}/v{number}.metadata.json", self.0.location())
    }

    /// The number and the file of the newest version; `None` if there is no table.
    pub(super) async fn newest(&self) -> Result<Option<(u64, String)>> {
        let hint = self.0.hint().await?;
        let hinted = hint.as_deref().map(hinted);
        if let Some(Some(number)) = hinted
            && let Some(location) = self.0.find(number).await?
        {
            let mut newest = (number, location);
            while let Some(next) = self.0.find(newest.0 + 1).await? {
                newest = (newest.0 + 1, next);
            }
            // Its writer may have died before it raised the hint, by which others read.
            if newest.0 > number {
                self.0.raise_hint(newest.0).await;
            }
            return Ok(Some(newest));
        }
        let newest = self.0.list().await?.pop();
        match (hinted, newest) {
            (Some(Some(hinted)), found) if found.as_ref().is_none_or(|found| found.number < hinted) => {
                Err(self.lost(hinted, found.as_ref()))
            }
            (Some(None), None) => Err(self.lost(0, None)),
            (_, Some(found)) => {
                tracing::warn!(
                    directory = self.0.location(),
                    version = found.number,
                    "the version hint was missing or damaged and is written again"
                );
                self.0.raise_hint(found.number).await;
                Ok(Some((found.number, found.location)))
            }
            (_, None) => Ok(None),
        }
    }

    /// Makes `metadata` the version after `after`, which is 0 for a new table. `unique` is a name that nobody else uses.
    pub(super) async fn publish(&self, after: u64, metadata: Vec<u8>, unique: &str) -> Result<Publication> {
        let number = after + 1;
        if self.0.find(number).await?.is_some() {
            return Ok(Publication::Taken);
        }
        match self.0.create(number, metadata, unique).await? {
            Creation::Created => {}
            Creation::Taken => return Ok(Publication::Taken),
            Creation::Uncertain(why) => return Ok(Publication::Uncertain(why)),
        }
        let base_is_there = after == 0 || matches!(self.0.find(after).await, Ok(Some(_)));
        let listed = self.0.list().await;
        let is_newest = listed.is_ok_and(|versions| versions.last().is_some_and(|v| v.number == number));
        if !base_is_there || !is_newest {
            return Ok(Publication::Uncertain(format!(
                "version {number} was written, but others were written meanwhile"
            )));
        }
        self.0.raise_hint(number).await;
        Ok(Publication::Published)
    }

    /// Removes old versions, oldest first, until the first that must stay.
    pub(super) async fn prune(&self, pruning: Pruning) -> Result<()> {
        let versions = self.0.list().await?;
        let surplus = versions
            .len()
            .saturating_sub(pruning.keep_previous.saturating_add(1));
        for version in versions.into_iter().take(surplus) {
            if pruning.now.0 - version.written.0 < MINIMUM_AGE_MS {
                break;
            }
            self.0.remove(&version).await?;
        }
        Ok(())
    }

    fn lost(&self, hinted: u64, found: Option<&Version>) -> Error {
        let hint = format!("{}/{HINT}", self.0.location());
        let (message, remedy) = match found {
            Some(found) => (
                format!(
                    "metadata was lost: the version hint names {hinted}, and the newest version is {}",
                    found.number
                ),
                format!(
                    "restore the missing files, or, if version {} is the state that you want, remove {hint}",
                    found.number
                ),
            ),
            None => (
                "metadata was lost: there is a version hint and no version".to_owned(),
                format!("restore the files v*.metadata.json, or remove {hint} to start a new table"),
            ),
        };
        Error::new(ErrorKind::Corrupt, message)
            .with("directory", self.0.location())
            .hint(remedy)
    }
}

/// The version that a hint names; `None` if the hint is damaged.
pub(super) fn hinted(hint: &[u8]) -> Option<u64> {
    std::str::from_utf8(hint).ok()?.trim().parse().ok()
}

/// The number of `v{N}.metadata.json` or `v{N}.gz.metadata.json`, by the last segment of a location.
pub(super) fn version_of(location: &str) -> Option<u64> {
    let name = location.rsplit('/').next()?;
    let number = name.strip_prefix('v')?.strip_suffix(".metadata.json")?;
    number.strip_suffix(".gz").unwrap_or(number).parse().ok()
}

#[cfg(test)]
mod tests;
