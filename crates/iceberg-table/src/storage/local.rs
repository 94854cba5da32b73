//! Making local files durable.

use std::fs::File;
use std::path::{Path, PathBuf};

use model::{Error, Result};

use crate::error::io_error;

/// Makes the names of files durable.
pub(super) async fn persist(files: impl Iterator<Item = &str>) -> Result<()> {
    let mut directories: Vec<PathBuf> = files
        .filter_map(|file| Path::new(file).parent().map(Path::to_owned))
        .collect();
    directories.sort();
    directories.dedup();
    if directories.is_empty() {
        return Ok(());
    }
    tokio::task::spawn_blocking(move || directories.iter().try_for_each(|directory| sync_up(directory)))
        .await
        .map_err(|e| Error::internal("a file system task did not finish").caused_by(e))?
}

/// Makes the names in a directory durable, and those of its parents up to the first that was surely durable before: a new table has
/// three new levels.
pub(crate) fn sync_up(directory: &Path) -> Result<()> {
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
