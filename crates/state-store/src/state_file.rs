//! The file of one sync: a line with a checksum, then its versions as JSON.

use model::{StoredState, SyncId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::file_name::hex;

/// What the first line begins with; another layout gets another number.
const FORMAT: &str = "sync-state 1 sha256 ";

/// How many versions are kept.
const KEPT: usize = 20;

/// The versions of one sync, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateFile {
    pub(crate) sync: SyncId,
    pub(crate) versions: Vec<StoredState>,
}

impl StateFile {
    pub(crate) fn empty(sync: &SyncId) -> Self {
        Self {
            sync: sync.clone(),
            versions: Vec::new(),
        }
    }

    pub(crate) fn newest(&self) -> Option<&StoredState> {
        self.versions.first()
    }

    /// Adds a version and lets go of the oldest one beyond those that are kept.
    pub(crate) fn push(&mut self, stored: StoredState) {
        self.versions.insert(0, stored);
        self.versions.truncate(KEPT);
    }

    pub(crate) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        Ok(framed(&serde_json::to_vec_pretty(self)?))
    }

    /// Reads a file back, or says why it cannot be read.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(bytes.len());
        let (first, rest) = bytes.split_at(end);
        let expected = std::str::from_utf8(first)
            .ok()
            .and_then(|line| line.strip_prefix(FORMAT))
            .ok_or("its first line is not that of a state file")?;
        let body = rest.trim_ascii();
        if checksum(body) != expected {
            return Err("its checksum does not fit its contents".into());
        }
        serde_json::from_slice(body).map_err(|e| format!("its contents cannot be read: {e}"))
    }
}

/// A file with this body.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{FORMAT}{}\n", checksum(body)).into_bytes();
    bytes.extend(body);
    bytes.push(b'\n');
    bytes
}

fn checksum(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

#[cfg(test)]
mod tests {
    use model::{TableState, Timestamp};

    use super::*;

    fn file() -> StateFile {
        let mut file = StateFile::empty(&SyncId::new("s"));
        for version in 1..=30 {
            file.push(StoredState {
                version,
                saved_at: Timestamp(0),
                state: TableState::default(),
            });
        }
        file
    }

    #[test]
    fn the_newest_versions_survive_the_file() {
        let read = StateFile::from_bytes(&file().to_bytes().unwrap()).unwrap();
        let versions: Vec<_> = read.versions.iter().map(|stored| stored.version).collect();
        assert_eq!(versions, (11..=30).rev().collect::<Vec<_>>());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let mut file = file();
        file.versions.truncate(2);
        let bytes = file.to_bytes().unwrap();
        for i in 0..bytes.len() - 1 {
            let mut flipped = bytes.clone();
            flipped[i] ^= 4;
            assert!(StateFile::from_bytes(&flipped).is_err(), "byte {i}");
            assert!(StateFile::from_bytes(&bytes[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_damaged_body_under_a_checksum_that_fits_is_no_panic() {
        let mut file = file();
        file.versions.truncate(2);
        file.versions[0].state.position = Some(model::Position {
            kind: "id".into(),
            incarnation: "life".into(),
            value: "7".into(),
            label: "id 7".into(),
            late_micros: 0,
            lacks: Vec::new(),
        });
        let body = serde_json::to_vec_pretty(&file).unwrap();
        test_support::damage(&[body], |body| {
            let read = StateFile::from_bytes(&framed(body));
            read.is_ok_and(|file| file.newest().is_some())
        });
    }
}
