//! Local Parquet files, page by page.
//!
//! The asynchronous reader fetches all that it needs of a row group before it decodes any of it, as object stores want it. Of a local file that
//! would be tens of megabytes that are copied before they are used, and are in no cache of the processor when they are: a twentieth of a scan.

use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use crate::storage::LocalRead;

/// Most page headers have fewer bytes.
const HEADER_BYTES: usize = 512;

/// An open file, and what went wrong with it: Parquet's reader tells only what an error says, not what it is.
#[derive(Debug, Clone)]
pub(super) struct LocalPages {
    file: Arc<LocalRead>,
    size: u64,
    failure: Arc<Mutex<Option<iceberg::Error>>>,
}

impl LocalPages {
    pub(super) fn new(file: LocalRead, size: u64) -> Self {
        Self {
            file: Arc::new(file),
            size,
            failure: Arc::default(),
        }
    }

    /// What a reader of these pages gives, with errors as the storage tells them.
    pub(super) fn batches(
        self,
        reader: ParquetRecordBatchReader,
    ) -> impl Iterator<Item = Result<RecordBatch>> {
        reader.map(move |batch| {
            batch.map_err(|error| {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                match failure.take() {
                    Some(failure) => ParquetError::External(Box::new(failure)),
                    None => error.into(),
                }
            })
        })
    }

    fn bytes(&self, start: u64, length: u64) -> io::Result<Bytes> {
        self.file
            .bytes(start..start.saturating_add(length))
            .map_err(|error| {
                let told = io::Error::other(error.to_string());
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                told
            })
    }
}

impl Length for LocalPages {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for LocalPages {
    type T = BufReader<Tail>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let pages = self.clone();
        Ok(BufReader::with_capacity(HEADER_BYTES, Tail { pages, start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        Ok(self.bytes(start, length as u64)?)
    }
}

/// The file from some place on.
#[derive(Debug)]
pub(super) struct Tail {
    pages: LocalPages,
    start: u64,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.pages.size.saturating_sub(self.start);
        let bytes = self.pages.bytes(self.start, left.min(buffer.len() as u64))?;
        self.start += bytes.len() as u64;
        (&*bytes).read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers of pages can have whole values in them.
    #[test]
    fn what_is_longer_than_most_headers_is_read_to_its_end() {
        let content: Vec<u8> = (0..u16::MAX).flat_map(u16::to_le_bytes).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &content).unwrap();
        let pages = LocalPages::new(LocalRead::new(file.reopen().unwrap()), content.len() as u64);
        for (start, length) in [(0, HEADER_BYTES / 2), (5, 7 * HEADER_BYTES + 3), (1_000, 100_000)] {
            let mut read = vec![0; length];
            let mut header = pages.get_read(start as u64).unwrap();
            // As a decoder reads: a few bytes, then a long value.
            let (short, long) = read.split_at_mut(length / 3);
            for byte in short {
                header.read_exact(std::slice::from_mut(byte)).unwrap();
            }
            header.read_exact(long).unwrap();
            assert!(read == content[start..start + length], "{start}, {length}");
            assert_eq!(pages.get_bytes(start as u64, length).unwrap(), read);
        }
        let mut rest = Vec::new();
        let end = content.len() as u64 - 3;
        pages.get_read(end).unwrap().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, content[content.len() - 3..]);
        assert!(pages.get_bytes(end, 4).is_err());
    }
}
