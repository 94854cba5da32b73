//! A lease: a locked file that the operating system frees when its process ends, and the holder's name beside it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use model::Lease;

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct FileLease {
    // Unlocked when it is closed.
    _locked: File,
    holder: PathBuf,
}

impl Lease for FileLease {}

impl Drop for FileLease {
    fn drop(&mut self) {
        // Only for people; the next holder overwrites it.
        let _ = std::fs::remove_file(&self.holder);
    }
}

/// What trying to take a lease found.
#[derive(Debug)]
pub(crate) enum Taken {
    Ours(FileLease),
    Theirs { holder: String },
}

/// Takes the lease whose files are `path` with `.lock` and `.holder` appended, without waiting.
pub(crate) fn take(path: &Path, holder: &str) -> io::Result<Taken> {
    let with = |extension: &str| {
        let mut path = path.as_os_str().to_owned();
        path.push(extension);
        PathBuf::from(path)
    };
    let locked = open(&with(".lock"))?;
    let beside = with(".holder");
    match locked.try_lock() {
        Ok(()) => {
            std::fs::write(&beside, holder)?;
            Ok(Taken::Ours(FileLease {
                _locked: locked,
                holder: beside,
            }))
        }
        Err(TryLockError::WouldBlock) => Ok(Taken::Theirs {
            holder: std::fs::read_to_string(&beside)
                .unwrap_or_else(|_| "a process that has just begun".into()),
        }),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Waits for the lock file at `path`; it is free again when the file is closed.
pub(crate) fn wait(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    file.lock()?;
    Ok(file)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}
