//! What comes out of files is what a fold in memory gives.

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, Int32Array, StringArray};
use model::Op;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn schema(key: Vec<usize>) -> Arc<TableSchema> {
    let fields = vec![
        Field::new("k", DataType::Int32, false),
        Field::new("v", DataType::Utf8, false),
    ];
    TableSchema::new(Arc::new(Schema::new(fields)), key, vec![None, None]).unwrap()
}

/// A batch of changes; a deleted row has its key only.
fn batch(schema: &Arc<TableSchema>, changes: &[(Op, i32)], presence: Presence, text: &str) -> ChangeBatch {
    let keys = Int32Array::from_iter_values(changes.iter().map(|change| change.1));
    let values = changes
        .iter()
        .map(|change| (change.0 != Op::Delete).then(|| format!("{text} {}", change.1)));
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(values.collect::<StringArray>())];
    let rows = RecordBatch::try_new(schema.relaxed(), columns).unwrap();
    let ops = Int8Array::from_iter_values(changes.iter().map(|change| change.0 as i8));
    ChangeBatch::new(TableName::new("s", "t"), schema.clone(), rows, ops, presence).unwrap()
}

fn random(schema: &Arc<TableSchema>, seed: u64, keys: i32) -> Vec<ChangeBatch> {
    let mut rng = StdRng::seed_from_u64(seed);
    let ops = [Op::Upsert, Op::Insert, Op::Update, Op::Delete];
    (0..40)
        .map(|number| {
            let changes: Vec<_> = (0..rng.random_range(1..50))
                .map(|_| (ops[rng.random_range(0..4)], rng.random_range(0..keys)))
                .collect();
            batch(
                schema,
                &changes,
                PRESENCES[rng.random_range(0..4)],
                &format!("batch {number}"),
            )
        })
        .collect()
}

type Told = (i32, Option<String>, Op, Presence);

/// Every row with all that is known of it, in the order of keys.
fn told(batches: impl Iterator<Item = Result<ChangeBatch>>) -> Vec<Told> {
    let mut told = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        let keys = batch.rows.column(0).as_primitive::<Int32Type>();
        let values = batch.rows.column(1).as_string::<i32>();
        for row in 0..batch.len() {
            let value = values.is_valid(row).then(|| values.value(row).to_owned());
            told.push((keys.value(row), value, batch.op(row), batch.presence));
        }
    }
    told.sort_by_key(|row| (row.0, row.1.clone()));
    told
}

fn spilled(batches: &[ChangeBatch], limit: usize) -> Vec<Told> {
    let first = &batches[0];
    let directory = tempfile::tempdir().unwrap();
    let options = SpillOptions {
        directory: directory.path().join("spill"),
    };
    let mut spill = Spill::new(&options, 0, first, &CancellationToken::new());
    spill.limit = limit;
    for batch in batches {
        spill.push(batch).unwrap();
    }
    let told = told(spill.finish().unwrap());
    let left = std::fs::read_dir(directory.path().join("spill")).unwrap();
    assert_eq!(left.count(), 0, "files are left behind");
    told
}

#[test]
fn each_key_comes_out_once_as_a_fold_in_memory_gives_it() {
    let schema = schema(vec![0]);
    for seed in 0..4 {
        let batches = random(&schema, seed, 300);
        let mut fold = Fold::new();
        for batch in &batches {
            fold.push(batch.clone()).unwrap();
        }
        let expect = told(fold.finish());
        // Nothing is divided again, some is, and everything as often as may be.
        for limit in [usize::MAX, 2_000, 0] {
            assert_eq!(spilled(&batches, limit), expect, "seed {seed}, limit {limit}");
        }
    }
}

#[test]
fn rows_without_a_key_come_out_as_they_went_in() {
    let schema = schema(vec![]);
    let batches = [
        batch(
            &schema,
            &[(Op::Insert, 1), (Op::Insert, 1)],
            Presence::Unknown,
            "twins",
        ),
        batch(&schema, &[(Op::Insert, 1)], Presence::Unknown, "twins"),
    ];
    let expect = told(batches.iter().cloned().map(Ok));
    assert_eq!(expect.len(), 3);
    assert_eq!(spilled(&batches, 0), expect);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let schema = schema(vec![0]);
    let batch = batch(&schema, &[(Op::Insert, 1)], Presence::Unknown, "row");
    let options = SpillOptions {
        directory: "/dev/null/spill".into(),
    };
    let cancel = CancellationToken::new();
    let error = Spill::new(&options, 0, &batch, &cancel).push(&batch).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("/dev/null/spill"), "{error}");
    let checked = options.check().unwrap_err();
    assert_eq!(checked.to_string(), error.to_string());
    let directory = tempfile::tempdir().unwrap();
    let options = SpillOptions {
        directory: directory.path().to_owned(),
    };
    options.check().unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let read_only = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(failed("make a file", &read_only).kind(), ErrorKind::Config);
}

/// What was written of these parts, in bytes, and what their rows weigh.
fn sizes(parts: &mut [Option<Part>]) -> (u64, usize) {
    let mut sizes = (0, 0);
    for part in parts.iter_mut().flatten() {
        part.write().unwrap();
        part.writer.flush().unwrap();
        sizes.0 += part.writer.get_ref().get_ref().metadata().unwrap().len();
        sizes.1 += part.weight;
    }
    sizes
}

#[test]
fn a_part_that_is_divided_is_as_large_as_its_parts() {
    let schema = schema(vec![0]);
    let options = SpillOptions::default();
    let batches = (0..100).map(|number| {
        let changes: Vec<_> = (0..200).map(|row| (Op::Upsert, number * 200 + row)).collect();
        batch(
            &schema,
            &changes,
            Presence::Unknown,
            "a row as it may be in a table of some width",
        )
    });
    let batches: Vec<_> = batches.collect();
    let mut spill = Spill::new(&options, 0, &batches[0], &CancellationToken::new());
    spill.limit = 16 << 20;
    for batch in &batches {
        spill.push(batch).unwrap();
    }
    let whole = sizes(&mut spill.parts);
    let mut divided = (0, 0);
    for part in std::mem::take(&mut spill.parts).into_iter().flatten() {
        let mut deeper = spill.deeper();
        for batch in part.batches(&spill).unwrap() {
            deeper.push(&batch.unwrap()).unwrap();
        }
        let (bytes, weight) = sizes(&mut deeper.parts);
        divided = (divided.0 + bytes, divided.1 + weight);
    }
    assert!(divided.0 < 2 * whole.0, "{divided:?} of {whole:?}");
    assert!(divided.1 < 2 * whole.1, "{divided:?} of {whole:?}");
}

#[test]
fn files_are_written_and_read_aside_until_the_run_is_cancelled() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build();
    runtime.unwrap().block_on(written_and_read_aside());
}

async fn written_and_read_aside() {
    let schema = schema(vec![0]);
    let batches = random(&schema, 1, 300);
    let fold = || {
        let mut fold = Fold::new();
        for batch in &batches {
            fold.push(batch.clone()).unwrap();
        }
        fold
    };
    let cancel = CancellationToken::new();
    let spill = || Spill::new(&SpillOptions::default(), 0, &batches[0], &cancel);
    // The one thread for such work is busy.
    let (go_on, waits) = std::sync::mpsc::channel();
    let busy = spawn_blocking(move || waits.recv());
    let mut taking = Box::pin(spill().take(fold()));
    assert!(futures::poll!(&mut taking).is_pending());
    go_on.send(()).unwrap();
    busy.await.unwrap().unwrap();
    let read: Vec<_> = taking.await.unwrap().into_stream().collect().await;
    assert_eq!(told(read.into_iter()), told(fold().finish()));

    let taken = spill().take(fold()).await.unwrap();
    let mut begun = spill();
    cancel.cancel();
    let error = taken.into_stream().next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let error = begun.push(&batches[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

/// `/dev/full` answers every write as a full disk does.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named_as_such() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let schema = schema(vec![0]);
    let batch = batch(&schema, &[(Op::Insert, 1)], Presence::Unknown, "row");
    let packed = packed(&batch).unwrap();
    let mut writer = StreamWriter::try_new(BufWriter::new(full), &packed.schema()).unwrap();
    let _ = writer.write(&packed);
    let part = Part {
        writer,
        weight: 1,
        waiting: Vec::new(),
        waiting_bytes: 0,
        presence: Presence::Unknown,
    };
    let spill = Spill::new(&SpillOptions::default(), 0, &batch, &CancellationToken::new());
    let Err(error) = part.batches(&spill) else {
        panic!("the disk is not full");
    };
    assert_eq!(error.kind(), ErrorKind::Exhausted);
}
