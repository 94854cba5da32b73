use std::collections::HashSet;

use arrow_array::{
    ArrayRef, BinaryArray, Decimal128Array, FixedSizeBinaryArray, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, FormatVersion, Literal, NestedField, PartitionSpec, PrimitiveType, SortOrder,
    Struct, TableMetadata, TableMetadataBuilder, Type,
};
use iceberg::writer::file_writer::{FileWriter, FileWriterBuilder, ParquetWriterBuilder};
use model::{DeclaredType, ErrorKind};
use parquet::file::properties::WriterProperties;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::KeyHash;
use crate::read::DeleteFile;
use crate::schema::iceberg_schema;

/// The column that makes rows with equal keys differ.
const PAYLOAD: &str = "payload";
/// A column that many rows have in common.
const MARK: &str = "mark";

/// The payload of the row with this number, counted over all files.
fn payload_of(number: i32) -> i64 {
    i64::from(number)
}

fn mark_of(payload: i64) -> Option<&'static str> {
    [Some("x"), None, Some("")][payload.rem_euclid(3) as usize]
}

/// Data files in memory, and what was written into them.
struct Files {
    file_io: FileIO,
    schema: Arc<TableSchema>,
    metadata: TableMetadata,
    files: Vec<Arc<LiveFile>>,
    rows: Vec<RecordBatch>,
    deleted: HashSet<(usize, u64)>,
}

impl Files {
    /// Without files. `key` holds the key columns; bytes are declared as those of a source.
    fn new(key: &[(&str, DataType, Option<&str>)]) -> Self {
        let mut fields: Vec<_> = key
            .iter()
            .map(|(name, ty, _)| Field::new(*name, ty.clone(), false))
            .collect();
        fields.push(Field::new(PAYLOAD, DataType::Int64, false));
        fields.push(Field::new(MARK, DataType::Utf8, true));
        let declare = |name: &str, collation: Option<&str>| DeclaredType {
            declared: name.into(),
            collation: collation.map(str::to_owned),
        };
        let mut declared: Vec<_> = key
            .iter()
            .map(|(_, ty, collation)| match ty {
                DataType::Binary => Some(declare("varbinary(20)", None)),
                _ => collation.map(|_| declare("nvarchar(20)", *collation)),
            })
            .collect();
        declared.extend([None, None]);
        let schema =
            TableSchema::new(Arc::new(Schema::new(fields)), (0..key.len()).collect(), declared).unwrap();
        let metadata = TableMetadataBuilder::new(
            iceberg_schema(&schema).unwrap(),
            PartitionSpec::unpartition_spec(),
            SortOrder::unsorted_order(),
            "memory://t".into(),
            FormatVersion::V2,
            Default::default(),
        );
        Self {
            file_io: FileIO::new_with_memory(),
            schema,
            metadata: metadata.unwrap().build().unwrap().metadata,
            files: Vec::new(),
            rows: Vec::new(),
            deleted: HashSet::new(),
        }
    }

    fn path(&self, kind: &str) -> String {
        format!("memory://t/{kind}-{}.parquet", self.files.len())
    }

    /// Adds a file with these keys, of which those at `deleted` are deleted.
    async fn add(&mut self, mut columns: Vec<ArrayRef>, deleted: &[u64]) {
        let first = self.rows.iter().map(RecordBatch::num_rows).sum::<usize>() as i64;
        let payloads = first..first + columns[0].len() as i64;
        columns.push(Arc::new(Int64Array::from_iter_values(payloads.clone())));
        columns.push(Arc::new(payloads.map(mark_of).collect::<StringArray>()));
        let rows = RecordBatch::try_new(self.schema.arrow().clone(), columns.clone()).unwrap();
        let path = self.path("data");
        let iceberg = self.metadata.current_schema().clone();
        let data_file = write(&self.file_io, &path, iceberg, columns, DataContentType::Data).await;
        let mut deletes = Vec::new();
        if !deleted.is_empty() {
            deletes.push(self.delete_file(&path, deleted).await);
        }
        let index = self.files.len();
        self.deleted
            .extend(deleted.iter().map(|position| (index, *position)));
        self.rows.push(rows);
        self.files.push(Arc::new(LiveFile {
            path: path.into(),
            spec_id: 0,
            sequence_number: 1,
            data_file: Arc::new(data_file),
            deletes,
        }));
    }

    async fn delete_file(&self, data_path: &str, positions: &[u64]) -> Arc<DeleteFile> {
        let field = |id, name, ty| NestedField::required(id, name, Type::Primitive(ty)).into();
        let fields = vec![
            field(i32::MAX - 101, "file_path", PrimitiveType::String),
            field(i32::MAX - 102, "pos", PrimitiveType::Long),
        ];
        let schema = iceberg::spec::Schema::builder()
            .with_fields(fields)
            .build()
            .unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![data_path; positions.len()])),
            Arc::new(Int64Array::from_iter_values(positions.iter().map(|p| *p as i64))),
        ];
        let path = self.path("deletes");
        let file = write(
            &self.file_io,
            &path,
            Arc::new(schema),
            columns,
            DataContentType::PositionDeletes,
        )
        .await;
        Arc::new(DeleteFile::new(0, 2, &file).unwrap())
    }

    fn search(&self, keys: &RecordBatch) -> Search {
        let metadata = Arc::new(self.metadata.clone());
        Search::new(&self.file_io, metadata, &self.schema, keys).unwrap()
    }

    async fn locate(&self, keys: &RecordBatch) -> Vec<Vec<(usize, u64)>> {
        let located = self.search(keys).run(&self.files).await.unwrap();
        let index = |path: &str| self.files.iter().position(|file| file.path.as_ref() == path);
        let places = |key: usize| {
            let by_file = located.by_file([key]).into_iter();
            let places = by_file.flat_map(|(file, positions)| {
                let index = index(&file.path).unwrap();
                positions.into_iter().map(move |position| (index, position))
            });
            let mut places: Vec<_> = places.collect();
            places.sort_unstable();
            places
        };
        (0..located.keys()).map(places).collect()
    }

    /// Where the rows are, by comparing every key with every row.
    fn expected(&self, keys: &RecordBatch) -> Vec<Vec<(usize, u64)>> {
        let fold = KeyFold::of(&self.schema);
        let mut live = Vec::new();
        for (file, rows) in self.rows.iter().enumerate() {
            let hashes = fold.hashes(&rows.project(self.schema.key()).unwrap()).unwrap();
            let places = (0..).map(|position| (file, position));
            live.extend(
                places
                    .zip(hashes)
                    .filter(|(place, _)| !self.deleted.contains(place)),
            );
        }
        let wanted = fold.hashes(keys).unwrap();
        let places = |matches: &dyn Fn(&KeyHash) -> bool| -> Vec<_> {
            let rows = live.iter().filter(|(_, hash)| matches(hash));
            rows.map(|(place, _)| *place).collect()
        };
        wanted
            .iter()
            .map(|key| {
                let exact = places(&|hash| hash.exact == key.exact);
                if exact.is_empty() {
                    places(&|hash| hash.folded == key.folded)
                } else {
                    exact
                }
            })
            .collect()
    }
}

/// A Parquet file with row groups of 8 rows, pages of 3, bloom filters, and bounds that are cut after 3 bytes.
async fn write(
    file_io: &FileIO,
    path: &str,
    schema: Arc<iceberg::spec::Schema>,
    columns: Vec<ArrayRef>,
    content: DataContentType,
) -> DataFile {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(8))
        .set_data_page_row_count_limit(3)
        .set_write_batch_size(3)
        .set_bloom_filter_enabled(true)
        .set_statistics_truncate_length(Some(3))
        .set_column_index_truncate_length(Some(3))
        .build();
    let arrow = Arc::new(schema_to_arrow_schema(&schema).unwrap());
    let columns = columns.iter().zip(arrow.fields());
    let columns = columns.map(|(column, field)| arrow_cast::cast(column, field.data_type()).unwrap());
    let rows = RecordBatch::try_new(arrow.clone(), columns.collect()).unwrap();
    let output = file_io.new_output(path).unwrap();
    let mut writer = ParquetWriterBuilder::new(properties, schema)
        .build(output)
        .await
        .unwrap();
    writer.write(&rows).await.unwrap();
    let mut file = writer.close().await.unwrap().remove(0);
    file.content(content)
        .partition(Struct::empty())
        .partition_spec_id(0);
    file.build().unwrap()
}

type MakeColumn = fn(Vec<i32>) -> ArrayRef;

/// A key column of each kind: its type, its collation, and its values by number.
fn kinds() -> Vec<(DataType, Option<&'static str>, MakeColumn)> {
    fn text(numbers: Vec<i32>) -> ArrayRef {
        let spell = |number: i32| {
            let blanks = " ".repeat(number.rem_euclid(3) as usize);
            let text = format!("k{}{blanks}", number / 3);
            if number.rem_euclid(4) < 2 {
                text.to_uppercase()
            } else {
                text
            }
        };
        Arc::new(StringArray::from_iter_values(numbers.into_iter().map(spell)))
    }
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    vec![
        (DataType::Int32, None, |n| Arc::new(Int32Array::from(n))),
        (micros, None, |n| {
            Arc::new(TimestampMicrosecondArray::from_iter_values(
                n.into_iter().map(|n| i64::from(n) * 1_000_003),
            ))
        }),
        (DataType::Decimal128(30, 2), None, |n| {
            let values = n.into_iter().map(|n| i128::from(n) * 10_i128.pow(20));
            let decimals = Decimal128Array::from_iter_values(values);
            Arc::new(decimals.with_precision_and_scale(30, 2).unwrap())
        }),
        (DataType::Binary, None, |n| {
            let spell = |n: i32| {
                [
                    n.div_euclid(3).to_be_bytes().as_slice(),
                    &[0; 2][..n.rem_euclid(3) as usize],
                ]
                .concat()
            };
            Arc::new(BinaryArray::from_iter_values(n.into_iter().map(spell)))
        }),
        (DataType::FixedSizeBinary(16), None, |n| {
            let uuids = n
                .into_iter()
                .map(|n| (n as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
            Arc::new(FixedSizeBinaryArray::try_from_iter(uuids).unwrap())
        }),
        (DataType::Utf8, None, text),
        (DataType::Utf8, Some("Latin1_General_100_BIN2"), text),
        (DataType::Utf8, Some("SQL_Latin1_General_CP1_CI_AS"), text),
    ]
}

#[tokio::test]
async fn every_live_row_of_a_key_is_found_and_no_other() {
    for (kind, (data_type, collation, make)) in kinds().into_iter().enumerate() {
        for seed in 0..8 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut files = Files::new(&[
                ("part", DataType::Int32, None),
                ("key", data_type.clone(), collation),
            ]);
            for _ in 0..rng.random_range(1..5) {
                let mut numbers: Vec<i32> = (0..rng.random_range(1..60))
                    .map(|_| rng.random_range(-50..50))
                    .collect();
                if rng.random_bool(0.5) {
                    numbers.sort_unstable();
                }
                let parts: Vec<i32> = numbers.iter().map(|n| n.rem_euclid(2)).collect();
                let deleted: Vec<u64> = (0..numbers.len() as u64)
                    .filter(|_| rng.random_bool(0.2))
                    .collect();
                files
                    .add(vec![Arc::new(Int32Array::from(parts)), make(numbers)], &deleted)
                    .await;
            }
            let mut wanted: Vec<i32> = (-60..60).collect();
            wanted.shuffle(&mut rng);
            wanted.truncate(rng.random_range(1..30));
            let parts = Int32Array::from_iter_values(wanted.iter().map(|n| n.rem_euclid(2)));
            let schema = files.schema.arrow().project(files.schema.key()).unwrap();
            let keys = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(parts), make(wanted)]).unwrap();
            assert_eq!(
                files.locate(&keys).await,
                files.expected(&keys),
                "kind {kind}, seed {seed}"
            );
        }
    }
}

fn ints(files: &Files, keys: &[i32]) -> RecordBatch {
    let schema = files.schema.arrow().project(files.schema.key()).unwrap();
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int32Array::from(keys.to_vec()))]).unwrap()
}

/// Rows that differ in the column that tells most are told by it alone, and a few differ only in the other one.
#[tokio::test]
async fn rows_are_the_same_only_if_every_column_is() {
    const ROWS: i32 = 100;
    for (payloads_differ, marks_differ) in [
        (0.0, 0.0),
        (1.0, 0.0),
        (0.9, 0.1),
        (0.5, 0.5),
        (0.0, 0.1),
        (0.1, 0.0),
    ] {
        for seed in 0..4 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut files = Files::new(&[("key", DataType::Int32, None)]);
            for first in [0, ROWS / 2] {
                let keys = Int32Array::from_iter_values(first..first + ROWS / 2);
                files.add(vec![Arc::new(keys)], &[7]).await;
            }
            let mut numbers: Vec<i32> = (0..ROWS).collect();
            numbers.shuffle(&mut rng);
            let changed: Vec<(bool, bool)> = numbers
                .iter()
                .map(|_| (rng.random_bool(payloads_differ), rng.random_bool(marks_differ)))
                .collect();
            let payloads = numbers
                .iter()
                .zip(&changed)
                .map(|(n, (payload, _))| payload_of(*n) + i64::from(*payload));
            let marks = numbers.iter().zip(&changed).map(|(n, (_, mark))| match mark {
                true => None,
                false => mark_of(payload_of(*n)),
            });
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int32Array::from(numbers.clone())),
                Arc::new(Int64Array::from_iter_values(payloads)),
                Arc::new(marks.collect::<StringArray>()),
            ];
            let delivered = RecordBatch::try_new(files.schema.arrow().clone(), columns).unwrap();
            let batches = [delivered.slice(0, 30), delivered.slice(30, 70)];
            let search = files.search(&delivered.project(&[0]).unwrap());
            let search = search.comparing(&batches, &files.schema).unwrap();
            let found = search.run(&files.files).await.unwrap();
            let same: Vec<Vec<_>> = found
                .iter()
                .map(|rows| rows.iter().map(|row| row.is_same).collect())
                .collect();
            let is_deleted = |number: i32| number % (ROWS / 2) == 7;
            let expected: Vec<Vec<_>> = numbers
                .iter()
                .zip(&changed)
                .map(|(number, (payload, mark))| {
                    // The mark of some is NULL before and after.
                    let mark = *mark && mark_of(payload_of(*number)).is_some();
                    let is_same = (!is_deleted(*number)).then_some(Some(!payload && !mark));
                    is_same.into_iter().collect()
                })
                .collect();
            assert_eq!(
                same, expected,
                "{payloads_differ} and {marks_differ}, seed {seed}"
            );
        }
    }
}

#[tokio::test]
async fn a_row_with_other_bytes_in_its_key_is_not_the_same() {
    let collation = Some("Latin1_General_CI_AS");
    let mut files = Files::new(&[("key", DataType::Utf8, collation)]);
    files
        .add(vec![Arc::new(StringArray::from(vec!["a", "b"]))], &[])
        .await;
    let mut columns = files.rows[0].columns().to_vec();
    columns[0] = Arc::new(StringArray::from(vec!["A", "b"]));
    let delivered = RecordBatch::try_new(files.schema.arrow().clone(), columns).unwrap();
    let search = files.search(&delivered.project(&[0]).unwrap());
    let search = search.comparing(&[delivered], &files.schema).unwrap();
    let found = search.run(&files.files).await.unwrap();
    let same: Vec<_> = found.iter().flatten().map(|row| row.is_same).collect();
    assert_eq!(same, [Some(false), Some(true)]);
}

/// A column that a file is older than tells most, and costs nothing. Two delivered rows are compared with each row of the file.
#[tokio::test]
async fn a_column_that_is_younger_than_the_file_is_compared_too() {
    const ROWS: i32 = 40;
    for default in [None, Some("y")] {
        let mut files = Files::new(&[("key", DataType::Int32, None)]);
        let schema = files.metadata.current_schema().as_ref().clone();
        let fields = schema.as_struct().fields().iter().map(|field| {
            let mut field = field.as_ref().clone();
            if field.name == MARK {
                field.initial_default = default.map(Literal::string);
            }
            Arc::new(field)
        });
        let fields: Vec<_> = fields.collect();
        let older: Vec<_> = fields
            .iter()
            .filter(|field| field.name != MARK)
            .cloned()
            .collect();
        let schema = |fields: Vec<_>| {
            iceberg::spec::Schema::builder()
                .with_fields(fields)
                .build()
                .unwrap()
        };
        let metadata = TableMetadataBuilder::new(
            schema(fields),
            PartitionSpec::unpartition_spec(),
            SortOrder::unsorted_order(),
            "memory://t".into(),
            FormatVersion::V3,
            Default::default(),
        );
        files.metadata = metadata.unwrap().build().unwrap().metadata;
        let keys: ArrayRef = Arc::new(Int32Array::from_iter_values(0..ROWS));
        let payloads: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(payload_of)));
        let written = write(
            &files.file_io,
            "memory://t/older.parquet",
            Arc::new(schema(older)),
            vec![keys, payloads],
            DataContentType::Data,
        )
        .await;
        let size = written.file_size_in_bytes();
        let reader = DataFileReader::open(&files.file_io, &"memory://t/older.parquet".into(), size)
            .await
            .unwrap();

        // The first of two has another mark. The second has the one that the file is read with, and every third has another payload.
        let delivered = |row: i32| {
            let (key, is_second) = (row / 2, row % 2 == 1);
            let mark = if is_second { default } else { Some("x") };
            (key, payload_of(key) + i64::from(is_second && key % 3 == 0), mark)
        };
        let rows: Vec<_> = (0..2 * ROWS).map(delivered).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>()),
        ];
        let batch = RecordBatch::try_new(files.schema.arrow().clone(), columns).unwrap();
        let projection = Projection::of_table(&files.metadata, &files.schema).unwrap();
        let comparison = RowComparison::new(&[batch], &files.schema, &projection).unwrap();
        let pair = |row: i32| Pair {
            position: row as u64 / 2,
            delivered: row as usize,
        };
        let pairs: Vec<_> = (0..2 * ROWS).map(pair).collect();
        let same = comparison.compare(&reader, &pairs).await.unwrap();
        let expected: Vec<_> = (0..2 * ROWS)
            .map(|row| row % 2 == 1 && (row / 2) % 3 != 0)
            .collect();
        assert_eq!(same, expected, "default {default:?}");
    }
}

/// A pair that reading does not reach is never one whose rows are the same.
#[tokio::test]
async fn every_pair_is_compared_or_an_error() {
    let mut files = Files::new(&[("key", DataType::Int32, None)]);
    files
        .add(vec![Arc::new(Int32Array::from_iter_values(0..8))], &[])
        .await;
    let file = &files.files[0];
    let size = file.data_file.file_size_in_bytes();
    let reader = DataFileReader::open(&files.file_io, &file.path, size)
        .await
        .unwrap();
    let projection = Projection::of_table(&files.metadata, &files.schema).unwrap();
    let comparison = RowComparison::new(&files.rows, &files.schema, &projection).unwrap();
    for (positions, kind) in [
        (vec![3, 5], None),
        (vec![3, 3, 5], None),
        (vec![5, 3], Some(ErrorKind::Internal)),
        (vec![5, 8], Some(ErrorKind::Corrupt)),
    ] {
        let pair = |position: &u64| Pair {
            position: *position,
            delivered: 3,
        };
        let pairs: Vec<_> = positions.iter().map(pair).collect();
        let compared = comparison.compare(&reader, &pairs).await;
        assert_eq!(
            compared.as_ref().err().map(|error| error.kind()),
            kind,
            "{positions:?}"
        );
        if let Ok(same) = compared {
            let expected: Vec<_> = positions.iter().map(|position| *position == 3).collect();
            assert_eq!(same, expected, "{positions:?}");
        }
    }
}

#[tokio::test]
async fn only_pages_that_can_hold_a_key_are_read() {
    let mut files = Files::new(&[("key", DataType::Int32, None)]);
    files
        .add(vec![Arc::new(Int32Array::from_iter_values(0..400))], &[])
        .await;
    let file = &files.files[0];
    let size = file.data_file.file_size_in_bytes();
    let reader = DataFileReader::open(&files.file_io, &file.path, size)
        .await
        .unwrap();
    for (keys, most) in [(vec![17], 3), (vec![0, 399], 6), (vec![-1, 1_000], 0)] {
        let search = files.search(&ints(&files, &keys));
        let rows = search.bounds.may_be_at(reader.metadata()).count();
        assert!(rows <= most, "{rows} rows are read for {keys:?}");
    }
    let outside = files.search(&ints(&files, &[400]));
    assert!(!outside.bounds.may_be_in(&file.data_file));
}

/// UUIDs come in no order, so bounds exclude little, and the filters of the row groups nearly everything.
#[tokio::test]
async fn row_groups_that_surely_lack_a_key_are_not_read() {
    let mut files = Files::new(&[("key", DataType::FixedSizeBinary(16), None)]);
    let uuids = |numbers: std::ops::Range<u128>| -> ArrayRef {
        let spread = numbers.map(|n| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        Arc::new(FixedSizeBinaryArray::try_from_iter(spread.map(u128::to_be_bytes)).unwrap())
    };
    files.add(vec![uuids(0..400)], &[]).await;
    let file = &files.files[0];
    let size = file.data_file.file_size_in_bytes();
    let reader = DataFileReader::open(&files.file_io, &file.path, size)
        .await
        .unwrap();
    let schema = files.schema.arrow().project(files.schema.key()).unwrap();
    for (wanted, least, most) in [(3..4, 1, 40), (1_000..1_001, 0, 40), (0..400, 400, 400)] {
        let keys = RecordBatch::try_new(Arc::new(schema.clone()), vec![uuids(wanted)]).unwrap();
        let search = files.search(&keys);
        let by_bounds = search.bounds.may_be_at(reader.metadata());
        let left = without_absent_keys(&search.bounds, &reader, by_bounds.clone())
            .await
            .unwrap();
        assert!(by_bounds.count() > 100, "{} rows by bounds", by_bounds.count());
        assert!(
            (least..=most).contains(&left.count()),
            "{} rows are read",
            left.count()
        );
    }
}
