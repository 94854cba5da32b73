//! Deletion vectors: the deleted positions of one data file as a blob in a Puffin file (format v3).
//!
//! A blob is the big-endian length of what the checksum covers, the magic, a 64-bit Roaring bitmap in the portable format, and a
//! big-endian CRC-32 (Iceberg's Puffin specification, `deletion-vector-v1`).

use std::collections::HashMap;

use iceberg::io::FileIO;
use iceberg::metadata_columns::RESERVED_FIELD_ID_POS;
use iceberg::puffin::{Blob, CompressionCodec, DELETION_VECTOR_V1, PuffinWriter};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat};
use model::{Error, ErrorKind, Result};
use roaring::RoaringTreemap;

use crate::error::iceberg_error;
use crate::read::LiveFile;

const MAGIC: [u8; 4] = [0xd1, 0xd3, 0x39, 0x64];
/// Where the first blob of a Puffin file starts: after the file's own magic.
const FIRST_BLOB: usize = 4;
/// The bytes of a blob besides magic and bitmap: length and checksum.
const FRAME: usize = 8;

/// The blob of these positions.
pub(crate) fn encode(positions: &RoaringTreemap) -> Result<Vec<u8>> {
    let mut covered = MAGIC.to_vec();
    positions
        .serialize_into(&mut covered)
        .map_err(|e| Error::internal("cannot encode a deletion vector").caused_by(e))?;
    let length = u32::try_from(covered.len()).map_err(|e| {
        Error::new(
            ErrorKind::Unsupported,
            "a data file has so many deleted rows that no deletion vector can hold them",
        )
        .hint("compact the table")
        .caused_by(e)
    })?;
    let mut blob = length.to_be_bytes().to_vec();
    blob.extend_from_slice(&covered);
    blob.extend_from_slice(&crc32fast::hash(&covered).to_be_bytes());
    Ok(blob)
}

/// The positions in a blob.
///
/// # Errors
///
/// `Corrupt` if it is not one, or is damaged.
pub(crate) fn decode(blob: &[u8]) -> Result<RoaringTreemap> {
    let damaged = |why: &str| {
        Error::new(ErrorKind::Corrupt, "cannot read a deletion vector").with("why", why.to_owned())
    };
    let covered = blob
        .len()
        .checked_sub(FRAME)
        .and_then(|length| blob.get(4..4 + length))
        .ok_or_else(|| damaged("it is too short"))?;
    let number = |at: usize| {
        let bytes = blob.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes)
    };
    if number(0).map(|length| length as usize) != Some(covered.len()) {
        return Err(damaged("its length is not the one that the manifest says"));
    }
    if number(4 + covered.len()) != Some(crc32fast::hash(covered)) {
        return Err(damaged("its checksum does not match"));
    }
    let bitmap = covered
        .strip_prefix(&MAGIC)
        .ok_or_else(|| damaged("it is of another kind"))?;
    RoaringTreemap::deserialize_from(bitmap).map_err(|e| damaged("its bitmap is malformed").caused_by(e))
}

/// Writes the vectors of some data files into one Puffin file at `path`; how a manifest describes each, in the same order.
pub(crate) async fn write(
    file_io: &FileIO,
    path: &str,
    vectors: &[(&LiveFile, RoaringTreemap)],
) -> Result<Vec<DataFile>> {
    let failed = |e| iceberg_error("cannot write deletion vectors")(e).with("file", path);
    let output = file_io.new_output(path).map_err(failed)?;
    let created_by = HashMap::from([("created-by".to_owned(), crate::CREATOR.to_owned())]);
    let mut writer = PuffinWriter::new(&output, created_by, false)
        .await
        .map_err(failed)?;
    let mut offset = FIRST_BLOB;
    let mut described = Vec::with_capacity(vectors.len());
    for (file, positions) in vectors {
        let data = encode(positions)?;
        let length = data.len();
        described.push((*file, positions.len(), offset, length));
        offset += length;
        let properties = HashMap::from([
            ("referenced-data-file".to_owned(), file.path.to_string()),
            ("cardinality".to_owned(), positions.len().to_string()),
        ]);
        let blob = Blob::builder()
            .r#type(DELETION_VECTOR_V1.to_owned())
            .fields(vec![RESERVED_FIELD_ID_POS])
            .snapshot_id(-1)
            .sequence_number(-1)
            .data(data)
            .properties(properties)
            .build();
        writer.add(blob, CompressionCodec::None).await.map_err(failed)?;
    }
    writer.close().await.map_err(failed)?;
    let size = async { file_io.new_input(path)?.metadata().await };
    let size = size.await.map_err(failed)?.size;
    let described = described.into_iter().map(|(file, rows, offset, length)| {
        DataFileBuilder::default()
            .content(DataContentType::PositionDeletes)
            .file_path(path.to_owned())
            .file_format(DataFileFormat::Puffin)
            .partition(file.data_file.partition().clone())
            .partition_spec_id(file.spec_id)
            .record_count(rows)
            .file_size_in_bytes(size)
            .referenced_data_file(Some(file.path.to_string()))
            .content_offset(Some(offset as i64))
            .content_size_in_bytes(Some(length as i64))
            .build()
            .map_err(|e| Error::internal("a deletion vector is described incompletely").caused_by(e))
    });
    described.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by CRoaring (`pyroaring.BitMap64.serialize`) and Python's `zlib.crc32` of the same positions.
    const OUTSIDE: &str = "0000005cd1d339640300000000000000000000003a300000020000000000020001000000180000001e0000000000010007000000010000003a3000000100000000000000100000000000050000003a300000010000000000000010000000030010fe2dc8";
    const POSITIONS: [u64; 6] = [0, 1, 7, 65_536, 1 << 32, (5 << 32) + 3];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn vectors_are_those_of_other_implementations() {
        let positions: RoaringTreemap = POSITIONS.into_iter().collect();
        assert_eq!(encode(&positions).unwrap(), bytes(OUTSIDE));
        assert_eq!(decode(&bytes(OUTSIDE)).unwrap(), positions);
        let none = RoaringTreemap::new();
        assert_eq!(decode(&encode(&none).unwrap()).unwrap(), none);
    }

    #[test]
    fn a_damaged_bitmap_under_a_checksum_that_fits_is_no_panic() {
        let whole = bytes(OUTSIDE);
        let bitmap = &whole[4 + MAGIC.len()..whole.len() - 4];
        test_support::damage(&[bitmap], |bitmap| {
            let covered = [&MAGIC[..], bitmap].concat();
            let length = u32::try_from(covered.len()).unwrap().to_be_bytes();
            let checksum = crc32fast::hash(&covered).to_be_bytes();
            let read = decode(&[&length[..], &covered, &checksum].concat());
            read.is_ok_and(|positions| positions.iter().take(1_000).count() > 0)
        });
    }

    #[test]
    fn damage_is_found() {
        let whole = bytes(OUTSIDE);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(
                decode(&damaged).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "byte {at}"
            );
            assert_eq!(
                decode(&whole[..at]).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{at} bytes"
            );
        }
    }
}
