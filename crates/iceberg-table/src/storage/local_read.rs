//! Reads of local files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::FileRead;
use iceberg::{Error, ErrorKind, Result};

/// A read takes so much memory before it is known that the file has as much.
const MOST_AT_ONCE: usize = 1 << 30;

/// An open local file. The library's fills memory with zeros before it reads into it, which is a fiftieth of a scan.
#[derive(Debug)]
pub(crate) struct LocalRead(Mutex<File>);

impl LocalRead {
    pub(crate) fn new(file: File) -> Self {
        Self(Mutex::new(file))
    }

    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// `Unexpected`, with what the system says.
    pub(crate) fn open(path: &str) -> Result<Self> {
        File::open(path)
            .map(Self::new)
            .map_err(|error| Error::new(ErrorKind::Unexpected, format!("cannot open a file: {error}")))
    }

    /// All of the file at `path`.
    ///
    /// # Errors
    ///
    /// `DataInvalid` if it is not there; `Unexpected`, with what the system says, if it cannot be read.
    pub(crate) fn all(path: &str) -> Result<Bytes> {
        std::fs::read(path).map(Bytes::from).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::DataInvalid,
                _ => ErrorKind::Unexpected,
            };
            Error::new(kind, format!("cannot read {path}: {error}"))
        })
    }

    /// These bytes of the file.
    ///
    /// # Errors
    ///
    /// `DataInvalid` if the file ends before, or no file could have them; `Unexpected` if it cannot be read.
    pub(crate) fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A damaged file may ask for more than there is.
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default().min(MOST_AT_ONCE));
        let read = file.seek(SeekFrom::Start(range.start));
        read.and_then(|_| (&*file).take(wanted).read_to_end(&mut bytes))
            .map_err(|error| {
                // Where no file can have bytes is no place to go to.
                let kind = match error.kind() {
                    io::ErrorKind::InvalidInput => ErrorKind::DataInvalid,
                    _ => ErrorKind::Unexpected,
                };
                Error::new(kind, format!("cannot read a file: {error}"))
            })?;
        if bytes.len() as u64 != wanted {
            return Err(Error::new(
                ErrorKind::DataInvalid,
                format!("a file ends {} bytes early", wanted - bytes.len() as u64),
            ));
        }
        Ok(Bytes::from(bytes))
    }
}

#[async_trait]
impl FileRead for LocalRead {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.bytes(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is not there is damage to what names it; one that cannot be read now may be later.
    #[test]
    fn a_missing_file_is_told_from_one_that_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("file"), b"0123").unwrap();
        assert_eq!(LocalRead::all(&path("file")).unwrap(), "0123");
        let told = |path: &str| LocalRead::all(path).unwrap_err().kind();
        assert_eq!(told(&path("missing")), ErrorKind::DataInvalid);
        assert_eq!(told(&path("")), ErrorKind::Unexpected);
    }

    #[test]
    fn a_file_is_read_where_it_is_asked_for_and_a_short_one_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        let file = LocalRead::new(file.reopen().unwrap());
        for (range, found) in [(3..6, "345"), (0..10, "0123456789"), (10..10, "")] {
            assert_eq!(file.bytes(range).unwrap(), found);
        }
        for range in [5..11, 0..u64::MAX, 1 << 50..(1 << 50) + 1, u64::MAX - 1..u64::MAX] {
            assert_eq!(file.bytes(range).unwrap_err().kind(), ErrorKind::DataInvalid);
        }
    }
}
