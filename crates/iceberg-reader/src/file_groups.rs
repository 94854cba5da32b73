//! A first copy in chunks: groups of whole data files of one snapshot, in the order of its manifests, which never changes.

use model::{Bound, Chunk, Error, ErrorKind, Result, Selection};
use serde::{Deserialize, Serialize};

use crate::file_lists::FileList;

/// The end of a group: the snapshot, and how many of its files come before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileBound {
    pub(crate) snapshot: i64,
    pub(crate) files: usize,
}

impl FileBound {
    /// # Errors
    ///
    /// `Config` if the bound is not one of ours.
    pub(crate) fn parse(bound: &Bound) -> Result<Self> {
        serde_json::from_str(bound.as_str()).map_err(|error| {
            Error::new(
                ErrorKind::Config,
                "a bound is not a group of files of an Iceberg table",
            )
            .with("bound", bound)
            .caused_by(error)
        })
    }

    fn to_bound(self) -> Result<Bound> {
        serde_json::to_string(&self)
            .map(Bound::new)
            .map_err(|error| Error::internal("cannot write a bound").caused_by(error))
    }
}

/// The chunks of `files` after the bound `after`, each of at least `rows` rows where there are so many. A table without a key
/// is one chunk, whose end no mark can name.
pub(crate) fn chunks(
    snapshot: i64,
    files: &FileList,
    after: Option<Bound>,
    rows: usize,
    has_key: bool,
) -> Result<Vec<Chunk>> {
    let done = match &after {
        Some(bound) => FileBound::parse(bound)?.files,
        None => 0,
    };
    let rows = if has_key { rows as u64 } else { u64::MAX };
    let counts = files.iter().map(|file| file.data_file.record_count());
    let mut lower = after;
    let chunks = group_ends(counts, done, rows).into_iter().map(|files| {
        let upper = FileBound { snapshot, files }.to_bound()?;
        let lower = lower.replace(upper.clone());
        Ok(Chunk {
            through: has_key.then(|| upper.clone()),
            selection: Selection::Range { lower, upper },
        })
    });
    chunks.collect()
}

/// The ends of groups of at least `rows` rows, as numbers of files, after the first `done` files.
fn group_ends(counts: impl Iterator<Item = u64>, done: usize, rows: u64) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut in_group = 0;
    for (index, count) in counts.enumerate().skip(done) {
        match ends.last_mut() {
            Some(end) if in_group < rows => *end = index + 1,
            _ => {
                ends.push(index + 1);
                in_group = 0;
            }
        }
        in_group += count;
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_grouped_by_their_rows() {
        for (counts, done, rows, ends) in [
            (vec![], 0, 10, vec![]),
            (vec![5, 5, 5], 0, 10, vec![2, 3]),
            (vec![50, 1, 1], 0, 10, vec![1, 3]),
            (vec![5, 5, 5], 1, 10, vec![3]),
            (vec![5, 5, 5], 3, 10, vec![]),
            (vec![5, 5, 5], 0, u64::MAX, vec![3]),
            (vec![0, 0, 5], 0, 10, vec![3]),
        ] {
            assert_eq!(
                group_ends(counts.iter().copied(), done, rows),
                ends,
                "{counts:?} {done} {rows}"
            );
        }
    }
}
