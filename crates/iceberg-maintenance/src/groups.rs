//! Which data files are compacted together.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::spec::TableMetadata;
use iceberg_table::{DeletedRows, LiveFile};
use model::{Result, Timestamp};

use crate::compact::CompactOptions;

/// Files smaller than this part of the target size are small.
const SMALL: f64 = 0.75;

/// A file with how many of its rows are left.
#[derive(Debug, Clone)]
struct Candidate {
    file: Arc<LiveFile>,
    live_rows: u64,
}

impl Candidate {
    fn rows(&self) -> u64 {
        self.file.data_file.record_count()
    }

    /// About what its rows will take.
    fn live_bytes(&self) -> u64 {
        let bytes = self.file.data_file.file_size_in_bytes() as f64;
        (bytes * self.live_rows as f64 / self.rows().max(1) as f64) as u64
    }

    fn deleted_part(&self) -> f64 {
        1.0 - self.live_rows as f64 / self.rows().max(1) as f64
    }
}

/// Groups of files to compact, each of one partition.
pub(crate) async fn groups(
    metadata: &TableMetadata,
    files: &[Arc<LiveFile>],
    deletes: &DeletedRows,
    options: &CompactOptions,
    now: Timestamp,
) -> Result<Vec<Vec<Arc<LiveFile>>>> {
    let times: BTreeMap<i64, i64> = metadata
        .snapshots()
        .map(|snapshot| (snapshot.sequence_number(), snapshot.timestamp_ms()))
        .collect();
    let mut partitions: BTreeMap<(i32, String), Vec<Arc<LiveFile>>> = BTreeMap::new();
    for file in files {
        let partition = format!("{:?}", file.data_file.partition());
        partitions
            .entry((file.spec_id, partition))
            .or_default()
            .push(file.clone());
    }
    let mut groups = Vec::new();
    for files in partitions.into_values() {
        let newest = files.iter().map(|file| file.sequence_number).max();
        let written = newest.and_then(|sequence| times.get(&sequence));
        let unsettled = |written: &i64| options.settled_ms > 0 && now.0 - written < options.settled_ms;
        if written.is_some_and(unsettled) {
            continue;
        }
        let mut candidates = Vec::new();
        for file in files {
            let live_rows = live_rows(&file, deletes).await?;
            candidates.push(Candidate { file, live_rows });
        }
        groups.extend(of_partition(candidates, metadata, options));
    }
    Ok(groups)
}

/// About how many rows of a file are left: by the manifests where they say it.
async fn live_rows(file: &LiveFile, deletes: &DeletedRows) -> Result<u64> {
    if file.deletes.iter().all(|delete| delete.is_of_one_file()) {
        let deleted = file.deletes.iter().map(|delete| delete.record_count).sum();
        return Ok(file.data_file.record_count().saturating_sub(deleted));
    }
    Ok(deletes.live_rows(file).await?.count())
}

fn of_partition(
    mut candidates: Vec<Candidate>,
    metadata: &TableMetadata,
    options: &CompactOptions,
) -> Vec<Vec<Arc<LiveFile>>> {
    let target = options.write.target_file_bytes_of(metadata);
    let spec_id = metadata.default_partition_spec_id();
    let small = (target as f64 * SMALL) as u64;
    let must = |candidate: &Candidate| {
        candidate.deleted_part() > options.deleted_part || candidate.file.spec_id != spec_id
    };
    candidates.retain(|candidate| must(candidate) || candidate.live_bytes() < small);
    // Files of one time stay together, and so do the values that grow with time.
    candidates.sort_by_key(|candidate| candidate.file.sequence_number);
    let mut bins: Vec<(u64, Vec<Candidate>)> = Vec::new();
    for candidate in candidates {
        let bytes = candidate.live_bytes();
        match bins.last_mut() {
            Some((held, bin)) if *held + bytes <= target => {
                *held += bytes;
                bin.push(candidate);
            }
            _ => bins.push((bytes, vec![candidate])),
        }
    }
    bins.into_iter()
        .map(|(_, bin)| bin)
        .filter(|bin| bin.len() >= options.files_at_least || bin.iter().any(must))
        .map(|bin| bin.into_iter().map(|candidate| candidate.file).collect())
        .collect()
}
