//! A state store in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use model::{
    Clock, Lease, LeaseOutcome, Loaded, Result, SaveOutcome, StateStore, StoredState, SyncId, TableState,
};

/// A state store that forgets everything when it is dropped. Clones share their contents, as processes share a directory.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    contents: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    versions: BTreeMap<SyncId, Vec<StoredState>>,
    damaged: BTreeSet<SyncId>,
    leases: BTreeMap<String, String>,
}

impl MemoryStore {
    /// An empty store that dates its versions by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            contents: Arc::default(),
        }
    }

    /// Loses everything but the leases, as when somebody removes the directory.
    pub fn lose(&self) {
        let mut contents = self.contents();
        contents.versions.clear();
        contents.damaged.clear();
    }

    /// Makes the state of a sync unreadable.
    pub fn damage(&self, sync: &SyncId) {
        let mut contents = self.contents();
        contents.versions.remove(sync);
        contents.damaged.insert(sync.clone());
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents
            .lock()
            .expect("no test panics while it holds the store")
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn load(&self, sync: &SyncId) -> Result<Loaded> {
        tokio::task::yield_now().await;
        let contents = self.contents();
        if contents.damaged.contains(sync) {
            return Ok(Loaded::Damaged {
                why: "the test damaged it".into(),
            });
        }
        let newest = contents.versions.get(sync).and_then(|versions| versions.last());
        Ok(newest
            .cloned()
            .map(Box::new)
            .map_or(Loaded::Absent, Loaded::Found))
    }

    async fn save(&self, sync: &SyncId, expected: Option<u64>, state: &TableState) -> Result<SaveOutcome> {
        tokio::task::yield_now().await;
        let mut contents = self.contents();
        contents.damaged.remove(sync);
        let versions = contents.versions.entry(sync.clone()).or_default();
        let newest = versions.last().map(|stored| stored.version);
        if newest != expected {
            return Ok(SaveOutcome::Stale { newest });
        }
        let version = newest.unwrap_or(0) + 1;
        versions.push(StoredState {
            version,
            saved_at: self.clock.now(),
            state: state.clone(),
        });
        Ok(SaveOutcome::Saved(version))
    }

    async fn history(&self, sync: &SyncId) -> Result<Vec<StoredState>> {
        let versions = self.contents().versions.get(sync).cloned();
        Ok(versions.unwrap_or_default().into_iter().rev().collect())
    }

    async fn list(&self) -> Result<Vec<SyncId>> {
        let contents = self.contents();
        let saved = contents
            .versions
            .iter()
            .filter(|(_, versions)| !versions.is_empty());
        Ok(saved.map(|(sync, _)| sync.clone()).collect())
    }

    async fn remove(&self, sync: &SyncId) -> Result<()> {
        let mut contents = self.contents();
        contents.versions.remove(sync);
        contents.damaged.remove(sync);
        Ok(())
    }

    async fn lease(&self, name: &str, holder: &str) -> Result<LeaseOutcome> {
        let mut contents = self.contents();
        if let Some(holder) = contents.leases.get(name) {
            return Ok(LeaseOutcome::Busy {
                holder: holder.clone(),
            });
        }
        contents.leases.insert(name.to_owned(), holder.to_owned());
        Ok(LeaseOutcome::Held(Box::new(Held {
            name: name.to_owned(),
            contents: self.contents.clone(),
        })))
    }
}

#[derive(Debug)]
struct Held {
    name: String,
    contents: Arc<Mutex<Contents>>,
}

impl Lease for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        if let Ok(mut contents) = self.contents.lock() {
            contents.leases.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SimClock, store_conformance};

    #[tokio::test]
    async fn the_store_in_memory_keeps_the_contract() {
        store_conformance(|| Arc::new(MemoryStore::new(Arc::new(SimClock::default())))).await;
    }
}
