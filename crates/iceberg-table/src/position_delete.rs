//! Position delete files (format v2), each for one data file: readers then open it for that file only.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use iceberg::io::FileIO;
use iceberg::metadata_columns::{
    RESERVED_COL_NAME_DELETE_FILE_PATH, RESERVED_COL_NAME_DELETE_FILE_POS,
    RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_FIELD_ID_DELETE_FILE_POS,
};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum};
use model::{Error, ErrorKind, Result};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::iceberg_error;
use crate::read::LiveFile;

/// Writes a file at `path` that deletes `positions`, which ascend, of `file`.
pub(crate) async fn write(
    file_io: &FileIO,
    path: &str,
    file: &LiveFile,
    positions: &[u64],
) -> Result<DataFile> {
    let (bytes, split_offsets) = encode(&file.path, positions)?;
    let size = bytes.len() as u64;
    // Closing the writer makes the file durable, which writing it in one call does not.
    let written = async {
        let mut writer = file_io.new_output(path)?.writer().await?;
        writer.write(bytes.into()).await?;
        writer.close().await
    };
    written
        .await
        .map_err(|e| iceberg_error("cannot write position deletes")(e).with("file", path))?;
    let bound = |position: Option<&u64>| {
        let position = Datum::long(position.map_or(0, |position| *position as i64));
        HashMap::from([
            (
                RESERVED_FIELD_ID_DELETE_FILE_PATH,
                Datum::string(file.path.as_ref()),
            ),
            (RESERVED_FIELD_ID_DELETE_FILE_POS, position),
        ])
    };
    DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(path.to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(file.data_file.partition().clone())
        .partition_spec_id(file.spec_id)
        .record_count(positions.len() as u64)
        .file_size_in_bytes(size)
        .split_offsets(Some(split_offsets))
        .referenced_data_file(Some(file.path.to_string()))
        .lower_bounds(bound(positions.first()))
        .upper_bounds(bound(positions.last()))
        .build()
        .map_err(|e| Error::internal("a delete file is described incompletely").caused_by(e))
}

/// The file's bytes and where its row groups start.
fn encode(data_file: &str, positions: &[u64]) -> Result<(Vec<u8>, Vec<i64>)> {
    let failed = |e| Error::internal("position deletes cannot be encoded").caused_by(e);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let rows = rows(data_file, positions)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).map_err(failed)?;
    writer.write(&rows).map_err(failed)?;
    let metadata = writer.close().map_err(failed)?;
    let offsets = metadata
        .row_groups()
        .iter()
        .filter_map(|group| group.file_offset())
        .collect();
    Ok((bytes, offsets))
}

fn rows(data_file: &str, positions: &[u64]) -> Result<RecordBatch> {
    let field = |name: &str, id: i32, data_type| {
        let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        Field::new(name, data_type, false).with_metadata(metadata)
    };
    let schema = Schema::new(vec![
        field(
            RESERVED_COL_NAME_DELETE_FILE_PATH,
            RESERVED_FIELD_ID_DELETE_FILE_PATH,
            DataType::Utf8,
        ),
        field(
            RESERVED_COL_NAME_DELETE_FILE_POS,
            RESERVED_FIELD_ID_DELETE_FILE_POS,
            DataType::Int64,
        ),
    ]);
    let out_of_range = |e| Error::new(ErrorKind::Corrupt, "a position is out of range").caused_by(e);
    let longs: Vec<i64> = positions
        .iter()
        .map(|position| i64::try_from(*position))
        .collect::<std::result::Result<_, _>>()
        .map_err(out_of_range)?;
    let paths = StringArray::from_iter_values(std::iter::repeat_n(data_file, positions.len()));
    RecordBatch::try_new(
        Arc::new(schema),
        vec![Arc::new(paths), Arc::new(Int64Array::from(longs))],
    )
    .map_err(|e| Error::internal("position deletes do not fit their schema").caused_by(e))
}
