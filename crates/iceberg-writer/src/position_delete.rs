//! Position delete files, each for one data file: readers then open it for that file only.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use iceberg::metadata_columns::{
    RESERVED_COL_NAME_DELETE_FILE_PATH, RESERVED_COL_NAME_DELETE_FILE_POS,
    RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_FIELD_ID_DELETE_FILE_POS,
};
use iceberg::spec::{DataContentType, DataFile, Datum};
use iceberg_table::TableHandle;
use model::{Error, ErrorKind, Ids, Result};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::async_writer::AsyncArrowWriter;
use uuid::Uuid;

use crate::data_file::{Output, built, describe, failed, properties};
use crate::options::WriterOptions;

/// Writes a file that deletes `positions`, which ascend, of the data file at `data_file`.
pub(crate) async fn write_position_deletes(
    table: &TableHandle,
    data_file: &str,
    spec_id: i32,
    positions: &[u64],
    options: &WriterOptions,
    ids: &dyn Ids,
) -> Result<DataFile> {
    let location = table.metadata().location();
    let path = format!(
        "{location}/data/{}-deletes.parquet",
        Uuid::from_u128(ids.random())
    );
    let output = Output::create(table.table().file_io(), &path).await?;
    let rows = rows(data_file, positions)?;
    let mut writer = AsyncArrowWriter::try_new(output, rows.schema(), Some(properties(options)?.build()))
        .map_err(|e| failed(&path, e))?;
    writer.write(&rows).await.map_err(|e| failed(&path, e))?;
    let metadata = writer.finish().await.map_err(|e| failed(&path, e))?;
    let mut file = describe(&metadata, &path, writer.bytes_written() as u64, spec_id);
    let bound = |position: Option<&u64>| {
        let position = Datum::long(position.map_or(0, |position| *position as i64));
        HashMap::from([
            (RESERVED_FIELD_ID_DELETE_FILE_PATH, Datum::string(data_file)),
            (RESERVED_FIELD_ID_DELETE_FILE_POS, position),
        ])
    };
    file.content(DataContentType::PositionDeletes)
        .referenced_data_file(Some(data_file.to_owned()))
        .lower_bounds(bound(positions.first()))
        .upper_bounds(bound(positions.last()));
    built(&file)
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
