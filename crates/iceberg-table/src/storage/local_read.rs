//! Reads of local files.
//!
//! A scan takes tens of megabytes for the bytes of a row group, gives them back, and takes as much for the next one. The allocator often has
//! memory for that which the system clears first, and that is a twentieth of the scan. So the memory of a large read is used again.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use iceberg::io::FileRead;
use iceberg::{Error, ErrorKind, Result};

/// A read takes so much memory before it is known that the file has as much.
const MOST_AT_ONCE: usize = 1 << 30;
/// So much is kept for later reads at most,
const KEPT_BYTES: usize = 64 << 20;
/// of reads of at least so many bytes.
const LARGE_BYTES: usize = 1 << 20;

/// Memory of former reads. It goes with the last file that is open for reading and the last bytes that were read.
#[derive(Debug, Default)]
pub(super) struct SpareMemory(Mutex<Vec<Vec<u8>>>);

impl SpareMemory {
    /// Nothing, with room for `bytes`: kept memory that is not more than twice as large, or new one.
    fn take(&self, bytes: usize) -> Vec<u8> {
        let fits = |memory: &Vec<u8>| (bytes..=bytes.saturating_mul(2)).contains(&memory.capacity());
        let mut kept = self.kept();
        let found = kept.iter().position(fits).map(|index| kept.remove(index));
        drop(kept);
        found.unwrap_or_else(|| Vec::with_capacity(bytes))
    }

    /// Keeps memory, in place of the oldest where it would be too much.
    fn keep(&self, mut memory: Vec<u8>) {
        memory.clear();
        let mut kept = self.kept();
        kept.push(memory);
        while kept.iter().map(Vec::capacity).sum::<usize>() > KEPT_BYTES {
            kept.remove(0);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes whose memory is kept when nobody needs them any more.
struct Reusable {
    bytes: Vec<u8>,
    spare: Arc<SpareMemory>,
}

impl AsRef<[u8]> for Reusable {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Reusable {
    fn drop(&mut self) {
        self.spare.keep(std::mem::take(&mut self.bytes));
    }
}

/// An open local file. The library's fills memory with zeros before it reads into it, which is a fiftieth of a scan.
pub(super) struct LocalRead {
    file: Mutex<File>,
    spare: Arc<SpareMemory>,
}

impl LocalRead {
    pub(super) fn new(file: File, spare: Arc<SpareMemory>) -> Self {
        let file = Mutex::new(file);
        Self { file, spare }
    }
}

#[async_trait]
impl FileRead for LocalRead {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        // A damaged file may ask for more than there is.
        let at_once = usize::try_from(wanted).unwrap_or_default().min(MOST_AT_ONCE);
        let mut bytes = match at_once {
            LARGE_BYTES.. => self.spare.take(at_once),
            _ => Vec::with_capacity(at_once),
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let read = file.seek(SeekFrom::Start(range.start));
        read.and_then(|_| (&*file).take(wanted).read_to_end(&mut bytes))
            .map_err(|error| Error::new(ErrorKind::Unexpected, format!("cannot read a file: {error}")))?;
        if bytes.len() as u64 != wanted {
            return Err(Error::new(
                ErrorKind::DataInvalid,
                format!("a file ends {} bytes early", wanted - bytes.len() as u64),
            ));
        }
        let spare = self.spare.clone();
        Ok(match bytes.len() {
            LARGE_BYTES.. => Bytes::from_owner(Reusable { bytes, spare }),
            _ => Bytes::from(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: u64 = LARGE_BYTES as u64;

    /// A file of numbers, four bytes each, so that no part of it is like another one.
    fn file_of(bytes: u64) -> (tempfile::NamedTempFile, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..bytes as u32 / 4).flat_map(u32::to_le_bytes).collect();
        std::fs::write(file.path(), &content).unwrap();
        (file, content)
    }

    #[tokio::test]
    async fn a_file_is_read_where_it_is_asked_for_and_a_short_one_is_told() {
        let size = 3 * LARGE;
        let (file, content) = file_of(size);
        let file = LocalRead::new(file.reopen().unwrap(), Arc::default());
        for range in [3..6, 0..size, 5..LARGE + 5, LARGE..3 * LARGE, size..size] {
            let read = file.read(range.clone()).await.unwrap();
            assert!(
                read == content[range.start as usize..range.end as usize],
                "{range:?}"
            );
        }
        for range in [5..size + 1, 0..u64::MAX] {
            assert_eq!(file.read(range).await.unwrap_err().kind(), ErrorKind::DataInvalid);
        }
    }

    #[tokio::test]
    async fn memory_is_used_again_once_nobody_has_a_part_of_what_was_read() {
        let (file, content) = file_of(3 * LARGE);
        let spare = Arc::<SpareMemory>::default();
        let file = LocalRead::new(file.reopen().unwrap(), spare.clone());
        let first = file.read(0..2 * LARGE).await.unwrap();
        let (place, part) = (first.as_ptr(), first.slice(7..9));
        drop(first);
        let second = file.read(LARGE..3 * LARGE).await.unwrap();
        assert_ne!(second.as_ptr(), place);
        assert_eq!(part, content[7..9]);
        drop(part);
        let third = file.read(4..LARGE + 8).await.unwrap();
        assert_eq!(third.as_ptr(), place);
        assert!(third == content[4..LARGE_BYTES + 8]);
        assert!(second == content[LARGE_BYTES..]);
        drop((second, third));
        assert_eq!(spare.kept().len(), 2);
    }

    #[test]
    fn little_is_kept_and_not_for_what_is_much_smaller() {
        let spare = SpareMemory::default();
        for megabytes in [40, 20, 10] {
            spare.keep(Vec::with_capacity(megabytes << 20));
        }
        let sizes = || -> Vec<usize> { spare.kept().iter().map(|kept| kept.capacity() >> 20).collect() };
        assert_eq!(sizes(), [20, 10]);
        assert_eq!(spare.take(4 << 20).capacity(), 4 << 20);
        assert_eq!(sizes(), [20, 10]);
        assert_eq!(spare.take(9 << 20).capacity(), 10 << 20);
        assert_eq!(sizes(), [20]);
        assert_eq!(spare.take(21 << 20).capacity(), 21 << 20);
        spare.keep(Vec::with_capacity(KEPT_BYTES + 1));
        assert!(sizes().is_empty());
    }
}
